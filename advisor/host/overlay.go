package host

import (
	"errors"
	"hash/maphash"
	"io/fs"
	"slices"
	"strings"
	"sync"
)

// overlay is a tree with some files changed or added. It holds what the collectors may see, without secrets.
type overlay struct {
	tree
	changed map[string][]byte
}

func (o overlay) read(file string, limit int64) ([]byte, error) {
	real := file
	if _, ok := o.changed[file]; !ok {
		if r, err := o.tree.resolve(file); err == nil {
			real = r
		}
	}
	if data, ok := o.changed[real]; ok {
		return data, nil
	}
	return o.tree.read(file, limit)
}

func (o overlay) resolve(file string) (string, error) {
	if _, ok := o.changed[file]; ok {
		return file, nil
	}
	real, err := o.tree.resolve(file)
	if err != nil && o.hasBelow(file) {
		return file, nil
	}
	return real, err
}

func (o overlay) hasBelow(dir string) bool {
	for file := range o.changed {
		if strings.HasPrefix(file, dir+"/") {
			return true
		}
	}
	return false
}

func (o overlay) list(dir string) ([]entry, error) {
	entries, err := o.tree.list(dir)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || !o.hasBelow(dir)) {
		return entries, err
	}
	entries = slices.Clone(entries)
	for file := range o.changed {
		below, ok := strings.CutPrefix(file, strings.TrimSuffix(dir, "/")+"/")
		name, _, deeper := strings.Cut(below, "/")
		if !ok || slices.ContainsFunc(entries, func(e entry) bool { return e.Name == name }) {
			continue
		}
		added := entry{Name: name}
		if deeper { // the directory is new as well
			added.Type = fs.ModeDir
		}
		entries = append(entries, added)
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// readings remember what files held when they were first read, so that a patch is not made of others. The zero readings is
// ready for use.
type readings struct {
	seed maphash.Seed
	sums sync.Map // by path: the sum of the content
}

func newReadings() *readings { return &readings{seed: maphash.MakeSeed()} }

// note takes in the content of a file; the kernel's own files change as they please.
func (r *readings) note(file string, data []byte) {
	if r != nil && !strings.HasPrefix(file, "/proc/") && !strings.HasPrefix(file, "/sys/") {
		r.sums.LoadOrStore(file, maphash.Bytes(r.seed, data))
	}
}

// same reports whether a file held just this when it was first read.
func (r *readings) same(file string, data []byte) bool {
	if r == nil {
		return false
	}
	sum, ok := r.sums.Load(file)
	return ok && sum == maphash.Bytes(r.seed, data)
}

// changed reports whether a file held something else when it was first read.
func (r *readings) changed(file string, data []byte) bool {
	if r == nil {
		return false
	}
	sum, ok := r.sums.Load(file)
	return ok && sum != maphash.Bytes(r.seed, data)
}
