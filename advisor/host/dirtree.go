package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dirTree reads the files of a host below a directory; below "/" it is the live machine.
type dirTree struct {
	root     string // absolute and clean; "/" is live
	walkOnly bool   // never openat2: what kernels before 5.6 and some seccomp filters leave
}

const (
	// readFlags never wait for a peer (fifo(7)), never become a controlling terminal, and leak to no child.
	readFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	// pathFlags only find a file: open(2) runs no driver for O_PATH, and wakes no writer of a FIFO.
	pathFlags = unix.O_PATH | unix.O_CLOEXEC
	// maxNames bounds a listing; the largest honest one is /proc, with pid_max (at most 4194304, proc(5)) far off.
	maxNames = 1 << 20
)

// newDirTree returns the tree below root, which must be a directory.
func newDirTree(root string) (*dirTree, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("root directory %s: %w", root, err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, fmt.Errorf("root directory %s: %w", root, cause(err))
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("root directory %s: %w", root, unix.ENOTDIR)
	}
	return &dirTree{root: abs}, nil
}

func (t *dirTree) live() bool { return t.root == "/" }

func (t *dirTree) source() string {
	if t.live() {
		return "live"
	}
	return "root"
}

func (t *dirTree) read(path string, limit int64) ([]byte, error) {
	if err := checkPath("read", path); err != nil {
		return nil, err
	}
	fd, err := t.openRegular(path)
	if err != nil {
		return nil, pathError("read", path, err)
	}
	defer unix.Close(fd)
	content, err := readAll(fd, limit)
	if errors.Is(err, errTooLarge) {
		return nil, tooLarge(path, limit)
	}
	if err != nil {
		return nil, pathError("read", path, err)
	}
	return content, nil
}

// holds reports whether a regular file holds just this, in a fraction of the memory and time that reading it would take.
func (t *dirTree) holds(path string, want []byte) bool {
	fd, err := t.openRegular(path)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	buf := make([]byte, 64<<10)
	for {
		n, err := readSome(fd, buf)
		if err != nil || n > len(want) || !bytes.Equal(buf[:n], want[:n]) {
			return false
		}
		if n == 0 {
			return len(want) == 0
		}
		want = want[n:]
	}
}

func (t *dirTree) list(path string) ([]entry, error) {
	if err := checkPath("list", path); err != nil {
		return nil, err
	}
	fd, err := t.open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, pathError("list", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	found, err := dir.ReadDir(maxNames + 1)
	if err != nil && !errors.Is(err, io.EOF) { // EOF: an empty directory
		return nil, pathError("list", path, cause(err))
	}
	if len(found) > maxNames {
		return nil, pathError("list", path, fmt.Errorf("%w of %d names", errTooLarge, maxNames))
	}
	names := make([]entry, 0, len(found))
	for _, d := range found {
		names = append(names, entry{Name: d.Name(), Type: d.Type()})
	}
	slices.SortFunc(names, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return names, nil
}

func (t *dirTree) resolve(path string) (string, error) {
	if err := checkPath("resolve", path); err != nil {
		return "", err
	}
	find := t.resolveBelow
	if t.live() {
		find = resolveLive
	}
	target, err := find(path)
	if err != nil {
		return "", pathError("resolve", path, err)
	}
	return target, nil
}

func (t *dirTree) ask(name string, live func(emit func(piece []byte) error) error, use func(piece []byte) error) error {
	if !t.live() {
		return &fs.PathError{Op: "ask", Path: name, Err: errNotLive}
	}
	var stopped error
	err := live(func(piece []byte) error {
		if stopped == nil { // live may go on after use has failed: use must not
			stopped = use(piece)
		}
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// openRegular opens a regular file for reading. It looks before it opens, for to open a device can rewind a tape or
// start a watchdog, and to open a FIFO wakes its writer; and it looks again, for the name may mean another file by then.
func (t *dirTree) openRegular(path string) (int, error) {
	if err := t.statRegular(path); err != nil {
		return -1, err
	}
	fd, err := t.open(path, readFlags)
	if err != nil {
		return -1, err
	}
	if err := fstatRegular(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (t *dirTree) statRegular(path string) error {
	if t.live() {
		var st unix.Stat_t
		if err := retry(func() error { return unix.Stat(path, &st) }); err != nil {
			return err
		}
		return regular(&st)
	}
	fd, err := t.open(path, pathFlags)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fstatRegular(fd)
}

func fstatRegular(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return regular(&st)
}

func regular(st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errNotRegular
	}
	return nil
}

// open opens path on the judged host. The live machine needs no fence, and the links of /proc only work without one.
func (t *dirTree) open(path string, flags int) (int, error) {
	if t.live() {
		return openat(unix.AT_FDCWD, path, flags)
	}
	if !t.walkOnly {
		fd, err := t.openat2(path, flags)
		if !unavailable(err) {
			return fd, err
		}
	}
	w, err := t.walk(path)
	defer w.close()
	if err != nil {
		return -1, err
	}
	return w.open(flags)
}

// openat2 lets the kernel resolve path with t.root as its root: openat2(2), RESOLVE_IN_ROOT, since Linux 5.6.
func (t *dirTree) openat2(path string, flags int) (int, error) {
	root, err := openat(unix.AT_FDCWD, t.root, pathFlags|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	// EAGAIN means that a rename elsewhere raced with a ".."; a host that renames all the time is left to the walk.
	for range 16 {
		var fd int
		err = retry(func() (err error) { fd, err = unix.Openat2(root, path, &how); return err })
		if !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
	return -1, err
}

// unavailable tells that openat2 itself is missing: an older kernel says ENOSYS, a seccomp filter that does not know
// the call mostly EPERM. A true EPERM comes back from the walk.
func unavailable(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EAGAIN)
}

// resolveLive asks the kernel where a path ends: proc(5), /proc/pid/fd.
func resolveLive(path string) (string, error) {
	fd, err := openat(unix.AT_FDCWD, path, pathFlags)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
		return target, nil
	}
	target, err := filepath.EvalSymlinks(path) // no /proc here
	return target, cause(err)
}

// resolveBelow walks, for openat2 does not tell the path that it took.
func (t *dirTree) resolveBelow(path string) (string, error) {
	w, err := t.walk(path)
	defer w.close()
	switch {
	case w.masked():
		return devNull, nil
	case err != nil:
		return "", err
	}
	return w.path(), nil
}

const devNull = "/dev/null"

// walk resolves a path component by component as path_resolution(7) tells, without ever leaving the root. Each step
// holds a descriptor, so that a rename meanwhile cannot lead out: ".." goes back to the step before.
type walk struct {
	steps []step   // the root, then each component found; none is a link
	todo  []string // the components still to find
	links int      // followed so far
	null  bool     // the path ended in a link with the text /dev/null
}

type step struct {
	fd   int // O_PATH
	name string
}

const (
	maxLinks = 40  // MAXSYMLINKS of include/linux/namei.h; path_resolution(7)
	maxDepth = 500 // each step holds a descriptor; the deepest honest path in /sys has some 20
)

// walk returns how far it came also with an error; the caller closes it in any case.
func (t *dirTree) walk(path string) (*walk, error) {
	w := &walk{todo: strings.Split(path, "/")}
	root, err := openat(unix.AT_FDCWD, t.root, pathFlags|unix.O_DIRECTORY)
	if err != nil {
		return w, err
	}
	w.steps = append(w.steps, step{fd: root})
	for len(w.todo) > 0 {
		if err := w.next(); err != nil {
			return w, err
		}
	}
	return w, nil
}

// next finds the first component to do. After a failure that component is still in todo.
func (w *walk) next() error {
	name, rest := w.todo[0], w.todo[1:]
	top := w.steps[len(w.steps)-1].fd
	switch name {
	case "": // of a leading, doubled or trailing slash; the last demands a directory
		if len(rest) == 0 && !isDir(top) {
			return unix.ENOTDIR
		}
	case ".", "..": // need the right to search, as any name does
		fd, err := openat(top, ".", pathFlags)
		if err != nil {
			return err
		}
		unix.Close(fd)
		if name == ".." && len(w.steps) > 1 {
			w.back(len(w.steps) - 1)
		}
	default:
		return w.enter(top, name, rest)
	}
	w.todo = rest
	return nil
}

func (w *walk) enter(top int, name string, rest []string) error {
	if len(w.steps) > maxDepth {
		return unix.ENAMETOOLONG
	}
	fd, err := openat(top, name, pathFlags|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.steps = append(w.steps, step{fd: fd, name: name})
		w.todo = rest
		return nil
	}
	defer unix.Close(fd)
	return w.follow(fd, rest)
}

func (w *walk) follow(link int, rest []string) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	buf := make([]byte, 2*unix.PathMax)
	n, err := unix.Readlinkat(link, "", buf) // the empty name is the link itself: readlinkat(2)
	if err != nil {
		return err
	}
	target := string(buf[:n])
	if magic(link, target) {
		return unix.EXDEV // as openat2(2) says
	}
	if strings.HasPrefix(target, "/") {
		w.back(1)
	}
	w.null = w.null || target == devNull && len(rest) == 0
	w.todo = append(strings.Split(target, "/"), rest...)
	return nil
}

// magic tells a link of /proc that stands for an open file, not for its text ("/", "socket:[4711]"): proc(5). Nothing
// in stat(2) marks it; but the texts of the other links of /proc ("self", "mounts") are plain relative paths.
func magic(link int, target string) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(link, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return false
	}
	return strings.HasPrefix(target, "/") || strings.HasPrefix(target, "(") || strings.Contains(target, ":")
}

// masked tells a link to /dev/null: by its text, whatever the tree has there (an image often has an empty /dev), or by
// a relative text that ends at the place where it would be.
func (w *walk) masked() bool {
	if w.links == 0 {
		return false
	}
	return w.null || path.Join(w.path(), path.Join(w.todo...)) == devNull
}

// path is where the walk is, as the judged host names it.
func (w *walk) path() string {
	names := []string{"/"}
	for _, s := range w.steps {
		names = append(names, s.name)
	}
	return path.Join(names...)
}

// open opens the end of a finished walk. O_NOFOLLOW: it was no link, and what has become one since must not lead out.
func (w *walk) open(flags int) (int, error) {
	last := len(w.steps) - 1
	if last == 0 {
		return openat(w.steps[0].fd, ".", flags)
	}
	return openat(w.steps[last-1].fd, w.steps[last].name, flags|unix.O_NOFOLLOW)
}

func (w *walk) back(to int) {
	for _, s := range w.steps[to:] {
		unix.Close(s.fd)
	}
	w.steps = w.steps[:to]
}

func (w *walk) close() { w.back(0) }

func isDir(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func openat(dir int, name string, flags int) (fd int, err error) {
	err = retry(func() (err error) { fd, err = unix.Openat(dir, name, flags, 0); return err })
	return fd, err
}

// retry repeats a call that a signal interrupted: on FUSE and NFS open(2) and read(2) do return EINTR.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// readAll reads a file of unknown length: files of /proc say 0, those of /sys one page. It reads without os.File, whose
// poller would wait for ever on a file such as /proc/kmsg, where O_NONBLOCK has read(2) say EAGAIN.
func readAll(fd int, limit int64) ([]byte, error) {
	const first, large = 4 << 10, 256 << 10
	buf := make([]byte, first)
	n, err := readSome(fd, buf)
	if err != nil {
		return nil, err
	}
	if n == first {
		// A list in /proc/sys answers the first read only, cut to the buffer (proc_do_large_bitmap in kernel/sysctl.c:
		// ip_local_reserved_ports, up to 192 KiB). So what fills the buffer is read anew, with one that it cannot fill.
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err == nil {
			n = 0
		}
		buf = make([]byte, max(large, sizeWithin(fd, limit)+1))
	}
	return readRest(fd, buf, n, limit)
}

// sizeWithin is how long a file says that it is, so that it is read into one buffer; 0 where that is beyond the limit.
func sizeWithin(fd int, limit int64) int64 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Size > limit {
		return 0
	}
	return st.Size
}

// readRest reads on behind the n bytes that buf holds, until the end of the file or the limit.
func readRest(fd int, buf []byte, n int, limit int64) ([]byte, error) {
	for {
		if int64(n) > limit {
			return nil, errTooLarge
		}
		if n == len(buf) {
			buf = slices.Grow(buf, 1)
			buf = buf[:cap(buf)]
		}
		got, err := readSome(fd, buf[n:])
		if err != nil {
			return nil, err
		}
		if got == 0 && n > len(buf)/2 {
			return buf[:n:n], nil
		} else if got == 0 {
			return bytes.Clone(buf[:n]), nil // most files are far smaller than the buffer
		}
		n += got
	}
}

func readSome(fd int, buf []byte) (n int, err error) {
	err = retry(func() (err error) { n, err = unix.Read(fd, buf); return err })
	return n, err
}

// pathError names the path as the judged host does, and folds what the kernel says into what a tree answers.
func pathError(op, path string, err error) error {
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV): // too many links; a magic link under RESOLVE_IN_ROOT: openat2(2)
		err = errOutside
	case errors.Is(err, unix.ENXIO): // open(2): a socket
		err = errNotRegular
	case errors.Is(err, unix.ESRCH): // a process that went away between open and read of its file in /proc
		err = fs.ErrNotExist
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// cause strips the path of the machine that a failure of package os names.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
