package host

import (
	"bytes"
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

// readings remember what files held when they were first read, so that a patch is not made of others.
type readings struct {
	seed  maphash.Seed
	keeps bool     // of a large file the content, which its syntax keeps alive anyway
	files sync.Map // reading by path
}

// reading is a content as it was first read, or its sum.
type reading struct {
	sum  uint64
	data []byte // nil: not kept
}

func newReadings(keeps bool) *readings { return &readings{seed: maphash.MakeSeed(), keeps: keeps} }

// note takes in the content of a file, as it was on the disk and as the collectors see it; the kernel's own files change as
// they please.
func (r *readings) note(file string, data, shown []byte) {
	if r == nil || strings.HasPrefix(file, "/proc/") || strings.HasPrefix(file, "/sys/") {
		return
	}
	const large = 1 << 20
	if len(data) >= large && r.keeps && identical(data, shown) {
		r.files.LoadOrStore(file, reading{data: data})
		return
	}
	r.files.LoadOrStore(file, reading{sum: maphash.Bytes(r.seed, shown)})
}

// kept is what a file held when it was first read; nil where only its sum is known.
func (r *readings) kept(file string) []byte {
	first, _ := r.first(file)
	return first.data
}

// same reports whether a file held just this when it was first read.
func (r *readings) same(file string, data []byte) bool {
	first, ok := r.first(file)
	return ok && r.equal(first, data)
}

// changed reports whether a file held something else when it was first read.
func (r *readings) changed(file string, data []byte) bool {
	first, ok := r.first(file)
	return ok && !r.equal(first, data)
}

func (r *readings) first(file string) (reading, bool) {
	if r == nil {
		return reading{}, false
	}
	first, ok := r.files.Load(file)
	if !ok {
		return reading{}, false
	}
	return first.(reading), true //nolint:forcetypeassert // note stores nothing else
}

func (r *readings) equal(first reading, data []byte) bool {
	if first.data != nil {
		return identical(first.data, data) || bytes.Equal(first.data, data)
	}
	return first.sum == maphash.Bytes(r.seed, data)
}

// identical reports whether a and b are the same bytes in memory.
func identical(a, b []byte) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }
