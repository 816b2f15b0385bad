package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// owner is a process that holds a socket which was asked for.
type owner struct {
	pid    int
	comm   string // 15 bytes of the program's name, as the kernel keeps it
	cgroup string // path, "" where not readable
	fds    int    // open descriptors
	soft   string // the soft limit of descriptors as /proc/PID/limits has it: a number, "unlimited", or "" for not readable
}

// owners are the holders of the wanted sockets, by inode.
type owners struct {
	byInode    map[uint32]*owner
	unreadable int // processes that could not be looked into
	err        error
}

// missing is why the owner of a socket with an inode is not known. That an inode is 0 is knowledge, and no case of this.
func (o *owners) missing() string {
	switch {
	case o.err != nil:
		return "owner unknown: " + o.err.Error()
	case o.unreadable > 0:
		return fmt.Sprintf("owner unknown: %d processes could not be read (run as root)", o.unreadable)
	}
	return "owner unknown: no visible process holds the socket (it ended, or lives behind hidepid or in another pid namespace)"
}

// findOwners looks for the processes that hold the wanted inodes. Each piece of the answer is one line:
// "pid fds soft cgroup comm inode inode ...", texts quoted, and at last "unreadable N".
func findOwners(ctx context.Context, t tree, want map[uint32]struct{}) *owners {
	o := &owners{byInode: make(map[uint32]*owner, len(want))}
	if len(want) == 0 {
		return o
	}
	o.err = t.ask("owners", func(emit func([]byte) error) error {
		w := ownerWalk{want: want, left: len(want), buf: make([]byte, 32<<10)}
		return w.run(ctx, emit)
	}, o.piece)
	return o
}

func (o *owners) piece(p []byte) error {
	line := strings.TrimSuffix(string(p), "\n")
	if n, ok := strings.CutPrefix(line, "unreadable "); ok {
		count, err := strconv.Atoi(n)
		o.unreadable = count
		return err
	}
	own, rest := &owner{}, line
	for i := range 5 {
		field, err := strconv.QuotedPrefix(rest)
		if err == nil {
			rest = strings.TrimPrefix(rest[len(field):], " ")
			field, err = strconv.Unquote(field)
		}
		if err != nil {
			return fmt.Errorf("owner record %q: %w", line, err)
		}
		if err := own.set(i, field); err != nil {
			return fmt.Errorf("owner record %q: %w", line, err)
		}
	}
	for inode := range strings.FieldsSeq(rest) {
		n, err := strconv.ParseUint(inode, 10, 32)
		if err != nil {
			return fmt.Errorf("owner record %q: %w", line, err)
		}
		if _, taken := o.byInode[uint32(n)]; !taken { // the first process that was read: see ownerWalk.run
			o.byInode[uint32(n)] = own
		}
	}
	return nil
}

func (o *owner) set(field int, text string) (err error) {
	switch field {
	case 0:
		o.pid, err = strconv.Atoi(text)
	case 1:
		o.fds, err = strconv.Atoi(text)
	case 2:
		o.soft = text
	case 3:
		o.cgroup = text
	case 4:
		o.comm = text
	}
	return err
}

// ownerWalk reads /proc/PID/fd of the live machine. A directory entry becomes one readlinkat(2) and no allocation, for
// hosts have 100,000 descriptors.
type ownerWalk struct {
	want       map[uint32]struct{}
	left       int // wanted inodes that nobody was found to hold yet
	found      map[uint32]struct{}
	unreadable int
	buf        []byte // directory entries
	link       [64]byte
	hits       []uint32 // of the process at hand
}

// run walks the processes by number, process 1 last: of several holders the oldest is the master of workers, but
// systemd also holds the sockets that it opened for others. It ends when each wanted inode has an owner.
func (w *ownerWalk) run(ctx context.Context, emit func([]byte) error) error {
	pids, err := listPIDs()
	if err != nil {
		return err
	}
	w.found = make(map[uint32]struct{}, len(w.want))
	for _, pid := range pids {
		if w.left == 0 {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		fds, err := w.process(pid)
		switch {
		case errors.Is(err, fs.ErrPermission):
			w.unreadable++
		case err != nil || len(w.hits) == 0: // it ended meanwhile, or holds nothing of ours
		default:
			if err := emit(w.record(pid, fds)); err != nil {
				return err
			}
		}
	}
	return emit(fmt.Appendf(nil, "unreadable %d\n", w.unreadable))
}

func listPIDs() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		if pid, bad := strconv.Atoi(name); bad == nil {
			pids = append(pids, pid)
		}
	}
	slices.SortFunc(pids, func(a, b int) int {
		if a == 1 || b == 1 {
			return cmp.Compare(b, a)
		}
		return cmp.Compare(a, b)
	})
	return pids, err
}

// process puts the wanted inodes of that process into hits and returns how many descriptors it has.
func (w *ownerWalk) process(pid int) (fds int, err error) {
	w.hits = w.hits[:0]
	dir, err := unix.Open(fmt.Sprintf("/proc/%d/fd", pid), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(dir)
	for {
		n, err := unix.ReadDirent(dir, w.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return fds, err
		}
		fds += w.entries(dir, w.buf[:n])
	}
}

// entries walks struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name with its NUL.
func (w *ownerWalk) entries(dir int, b []byte) (fds int) {
	for len(b) >= 20 {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size < 20 || size > len(b) {
			return fds
		}
		if name := b[19:size]; name[0] != '.' {
			fds++
			if w.left > 0 { // after the last hit the count goes on, for the process' limit is compared with it
				w.descriptor(dir, name)
			}
		}
		b = b[size:]
	}
	return fds
}

func (w *ownerWalk) descriptor(dir int, name []byte) {
	// unix.Readlinkat takes a string and copies it; name is NUL-terminated by the kernel already.
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&name[0])),
		uintptr(unsafe.Pointer(&w.link[0])), uintptr(len(w.link)), 0, 0)
	if errno != 0 || int(n) > len(w.link) {
		return // closed meanwhile
	}
	digits, ok := bytes.CutPrefix(w.link[:n], []byte("socket:["))
	if !ok {
		return
	}
	inode, ok := procNumber(bytes.TrimSuffix(digits, []byte{']'}), 10)
	if _, wanted := w.want[inode]; !ok || !wanted {
		return
	}
	if _, dup := w.found[inode]; dup {
		return
	}
	w.found[inode] = struct{}{}
	w.left--
	w.hits = append(w.hits, inode)
}

func (w *ownerWalk) record(pid, fds int) []byte {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	cgroup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	limits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	b := fmt.Appendf(nil, `"%d" "%d" %q %q %q`, pid, fds, softNoFile(limits), cgroupOf(cgroup),
		bytes.TrimSuffix(comm, []byte{'\n'}))
	for _, inode := range w.hits {
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(inode), 10)
	}
	return append(b, '\n')
}

// softNoFile is the soft value of "Max open files  1024  524288  files".
func softNoFile(limits []byte) string {
	for line := range bytes.Lines(limits) {
		if rest, ok := bytes.CutPrefix(line, []byte("Max open files")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				return string(f[0])
			}
		}
	}
	return ""
}

// cgroupOf is the path in /proc/PID/cgroup that names the unit: version 2's ("0::"), or systemd's own tree where the
// host still runs version 1 and version 2's is "/".
func cgroupOf(text []byte) string {
	found := ""
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		if p, ok := bytes.CutPrefix(line, []byte("0::")); ok && (found == "" || len(p) > 1) {
			found = string(p)
		}
		if _, p, ok := bytes.Cut(line, []byte(":name=systemd:")); ok && len(found) <= 1 {
			found = string(p)
		}
	}
	return found
}

// unitOf is the systemd unit that a cgroup path belongs to: its last component that is a unit of processes; "" if none.
func unitOf(cgroup string) string {
	parts := strings.Split(cgroup, "/")
	for _, part := range slices.Backward(parts) {
		if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
			return part
		}
	}
	return ""
}

// maxCgroups bounds the search where a cgroup cannot be opened by its number.
const maxCgroups = 20_000

// findCgroups gives the paths of cgroups by the inode numbers that sock_diag tells: how an unprivileged reader learns
// the unit of a socket. Each piece of the answer is "id path", the path quoted. What is not found is not in the map.
func findCgroups(ctx context.Context, t tree, want map[uint64]struct{}) map[uint64]string {
	found := make(map[uint64]string, len(want))
	if len(want) == 0 {
		return found
	}
	// An error leaves the rest without a unit, which is what the facts then say.
	_ = t.ask("cgroups", func(emit func([]byte) error) error {
		return walkCgroups(ctx, want, emit)
	}, func(p []byte) error {
		number, quoted, _ := strings.Cut(strings.TrimSuffix(string(p), "\n"), " ")
		id, err := strconv.ParseUint(number, 10, 64)
		text, errText := strconv.Unquote(quoted)
		if err := errors.Join(err, errText); err != nil {
			return fmt.Errorf("cgroup record %q: %w", p, err)
		}
		found[id] = text
		return nil
	})
	return found
}

func walkCgroups(ctx context.Context, want map[uint64]struct{}, emit func([]byte) error) error {
	root, err := cgroupRoot()
	if err != nil {
		return err
	}
	left := make(map[uint64]struct{}, len(want))
	for _, id := range slices.Sorted(maps.Keys(want)) {
		name, err := cgroupByHandle(root, id)
		if err != nil {
			left[id] = struct{}{}
		} else if err := emit(fmt.Appendf(nil, "%d %q\n", id, name)); err != nil {
			return err
		}
	}
	return searchCgroups(ctx, root, left, emit)
}

// searchCgroups walks the directories, breadth first, until each wanted number was seen.
func searchCgroups(ctx context.Context, root string, left map[uint64]struct{}, emit func([]byte) error) error {
	queue := []string{"/"}
	for seen := 0; len(queue) > 0 && len(left) > 0 && seen < maxCgroups && ctx.Err() == nil; seen++ {
		name := queue[0]
		queue = queue[1:]
		var st unix.Stat_t
		if unix.Stat(root+name, &st) != nil {
			continue // removed meanwhile
		}
		if _, wanted := left[st.Ino]; wanted {
			delete(left, st.Ino)
			if err := emit(fmt.Appendf(nil, "%d %q\n", st.Ino, name)); err != nil {
				return err
			}
		}
		entries, _ := os.ReadDir(root + name) // removed meanwhile, or another user's: the others go on
		for _, e := range entries {
			if e.IsDir() {
				queue = append(queue, path.Join(name, e.Name()))
			}
		}
	}
	return ctx.Err()
}

// cgroupRoot is where version 2 is mounted: alone, or beside version 1 (systemd's hybrid layout).
func cgroupRoot() (string, error) {
	for _, dir := range [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", errors.New("cgroup version 2 is not mounted")
}

// cgroupByHandle opens a cgroup by number, which costs nothing but needs CAP_DAC_READ_SEARCH (fs/kernfs/mount.c
// kernfs_fh_to_dentry; the handle is the 64-bit number, type FILEID_KERNFS, since 5.5).
func cgroupByHandle(root string, id uint64) (string, error) {
	const fileIDKernfs = 0xfe
	mount, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(mount)
	handle := unix.NewFileHandle(fileIDKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	full, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", err
	}
	name, ok := strings.CutPrefix(full, root)
	if !ok {
		return "", fs.ErrNotExist
	}
	return "/" + strings.TrimPrefix(name, "/"), nil
}
