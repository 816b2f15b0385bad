package host

import (
	"io/fs"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// memTree is a host in memory: files by path, links by path, answers by name, and failures by either. Its zero value has
// nothing. A kind other than "capture" answers no question, as a directory does.
type memTree struct {
	kind  string // what source says; empty is "root"
	files map[string]string
	links map[string]string // absolute targets; only whole paths
	asks  map[string][]string
	errs  map[string]error
}

func (m *memTree) source() string {
	if m.kind == "" {
		return "root"
	}
	return m.kind
}

func (m *memTree) missing(op, p string) error {
	if err := m.errs[p]; err != nil {
		return &fs.PathError{Op: op, Path: p, Err: err}
	}
	return &fs.PathError{Op: op, Path: p, Err: fs.ErrNotExist}
}

func (m *memTree) follow(p string) string {
	for range maxLinks {
		target, ok := m.links[p]
		if !ok {
			break
		}
		p = target
	}
	return p
}

func (m *memTree) isDir(p string) bool {
	for file := range m.files {
		if strings.HasPrefix(file, strings.TrimSuffix(p, "/")+"/") {
			return true
		}
	}
	return false
}

func (m *memTree) read(p string, limit int64) ([]byte, error) {
	if err := checkPath("read", p); err != nil {
		return nil, err
	}
	p = m.follow(p)
	text, ok := m.files[p]
	switch {
	case m.errs[p] != nil || !ok && !m.isDir(p):
		return nil, m.missing("read", p)
	case !ok:
		return nil, &fs.PathError{Op: "read", Path: p, Err: errNotRegular}
	case int64(len(text)) > limit:
		return nil, tooLarge(p, limit)
	}
	return []byte(text), nil
}

func (m *memTree) list(p string) ([]entry, error) {
	p = m.follow(p)
	names := map[string]fs.FileMode{}
	for _, all := range []map[string]string{m.files, m.links} {
		for file := range all {
			rest, ok := strings.CutPrefix(file, strings.TrimSuffix(p, "/")+"/")
			name, _, deeper := strings.Cut(rest, "/")
			switch {
			case !ok:
			case deeper:
				names[name] = fs.ModeDir
			case m.links[path.Join(p, name)] != "":
				names[name] = fs.ModeSymlink
			default:
				names[name] = 0
			}
		}
	}
	if m.errs[p] != nil || len(names) == 0 {
		return nil, m.missing("list", p)
	}
	var out []entry
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, entry{name, names[name]})
	}
	return out, nil
}

func (m *memTree) resolve(p string) (string, error) {
	p = m.follow(p)
	if _, ok := m.files[p]; m.errs[p] != nil || !ok && !m.isDir(p) {
		return "", m.missing("resolve", p)
	}
	return p, nil
}

func (m *memTree) ask(name string, _ func(emit func([]byte) error) error, use func([]byte) error) error {
	if m.errs[name] != nil {
		return m.missing("ask", name)
	}
	pieces, ok := m.asks[name]
	switch {
	case m.source() != "capture":
		return &fs.PathError{Op: "ask", Path: name, Err: errNotLive}
	case !ok:
		return &fs.PathError{Op: "ask", Path: name, Err: errNotCaptured}
	}
	for _, piece := range pieces {
		if err := use([]byte(piece)); err != nil {
			return err
		}
	}
	return nil
}

// memRecorder passes on what another tree says and keeps it, so that replay says the same.
type memRecorder struct {
	tree
	replay memTree
	seen   map[string]string // resolved paths and listings, which memTree cannot hold
}

func newMemRecorder(inner tree) *memRecorder {
	return &memRecorder{tree: inner, seen: map[string]string{}, replay: memTree{
		kind: "capture", files: map[string]string{}, links: map[string]string{}, asks: map[string][]string{}, errs: map[string]error{},
	}}
}

func (r *memRecorder) read(p string, limit int64) ([]byte, error) {
	data, err := r.tree.read(p, limit)
	if err != nil {
		r.replay.errs[p] = cause(err)
	} else {
		r.replay.files[p] = string(data)
	}
	return data, err
}

func (r *memRecorder) resolve(p string) (string, error) {
	target, err := r.tree.resolve(p)
	if err != nil {
		r.replay.errs[p] = cause(err)
	} else if _, ok := r.replay.files[p]; !ok {
		r.replay.files[p] = ""
	}
	return target, err
}

func (r *memRecorder) ask(name string, live func(emit func([]byte) error) error, use func([]byte) error) error {
	r.replay.asks[name] = nil
	err := r.tree.ask(name, live, func(piece []byte) error {
		r.replay.asks[name] = append(r.replay.asks[name], string(piece))
		return use(piece)
	})
	if err != nil {
		r.replay.errs[name] = cause(err)
	}
	return err
}

// liveTree is this machine.
func liveTree(t testing.TB) tree {
	t.Helper()
	live, err := newDirTree("/")
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// asNobody runs do as an unprivileged user, on a thread of its own that ends with it: the raw calls change the credentials
// of one thread only. do must not start goroutines, nor call a method of t that ends the test.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	if syscall.Geteuid() != 0 {
		do()
		return
	}
	const nobody = 65534
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for _, call := range []uintptr{syscall.SYS_SETRESGID, syscall.SYS_SETRESUID} {
			if call == syscall.SYS_SETRESUID {
				syscall.RawSyscall(syscall.SYS_SETGROUPS, 0, 0, 0)
			}
			if _, _, errno := syscall.RawSyscall(call, nobody, nobody, nobody); errno != 0 {
				t.Log("cannot become nobody:", errno)
				return
			}
		}
		do()
		done <- true
	}()
	if !<-done {
		t.Skip("not as nobody")
	}
}

// wantScalars compares scalars in the short form of show.
func wantScalars(t *testing.T, f *advisor.Facts, want map[string]string) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got := showFact(f.Scalar(key)); got != want[key] {
			t.Errorf("%s: %s, want %s", key, got, want[key])
		}
	}
}

// showFact is a fact on one line: the value, "absent: why" or "unknown: why".
func showFact(f advisor.Fact) string {
	switch f.State {
	case advisor.StateKnown:
		return f.Value.String()
	case advisor.StateAbsent:
		return "absent: " + f.Why
	case advisor.StateUnknown:
		return "unknown: " + f.Why
	}
	return "invalid"
}
