package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// owner is a process that holds a socket which was asked for.
type owner struct {
	pid    int
	comm   string // 15 bytes of the program's name, as the kernel keeps it
	cgroup string // path, "" where not readable
	fds    int    // open descriptors
	nth    int    // how many records came before its own
	soft   string // the soft limit of descriptors as /proc/PID/limits has it: a number, "unlimited", or "" for not readable
}

// owners are the holders of the wanted sockets, by inode.
type owners struct {
	byInode    map[uint32]*owner
	unreadable int // processes that could not be looked into
	records    int
	err        error
}

// missing is why the owner of a socket with an inode is not known. That an inode is 0 is knowledge, and no case of this.
func (o *owners) missing() string {
	switch {
	case o.err != nil:
		return "owner unknown: " + o.err.Error()
	case o.unreadable > 0:
		return "owner unknown: " + unreadProcesses(o.unreadable)
	}
	return "owner unknown: no visible process holds the socket (it ended, or lives behind hidepid or in another pid namespace)"
}

// unreadProcesses says what it takes to look into the others: in a container root often has not got it.
func unreadProcesses(n int) string {
	what := "processes"
	if n == 1 {
		what = "process"
	}
	return fmt.Sprintf("%d %s could not be read (run as root, with CAP_SYS_PTRACE)", n, what)
}

// wantedInodes are sockets whose owners are looked for.
type wantedInodes struct {
	byInode   map[uint32]wanted
	questions int
	services  int
}

type wanted struct {
	question int // from 0; any of the inodes with the same number answers it
	service  int // from 0; who holds a socket of it may well hold its others; alone: none
}

const alone = -1

func newWantedInodes() *wantedInodes { return &wantedInodes{byInode: map[uint32]wanted{}} }

// ask adds a question that any of the inodes answers. 0 is no socket's, and one that is asked for already brings no answer.
func (w *wantedInodes) ask(service int, inodes ...uint32) {
	asked := false
	for _, inode := range inodes {
		if _, twice := w.byInode[inode]; inode != 0 && !twice {
			w.byInode[inode], asked = wanted{w.questions, service}, true
		}
	}
	w.questions += b2i(asked)
	w.services = max(w.services, service+1)
}

// ownerSearch is the search for owners, which runs beside the one who needs them.
type ownerSearch struct {
	wants chan *wantedInodes
	found chan *owners
}

const maxWants = 3 // of a search: those of listeners, of CLOSE_WAIT, and of destinations

// startSearch looks for the processes that hold the wanted inodes, as they are added. Each piece of the answer is one line:
// "pid fds soft cgroup comm inode inode ...", texts quoted, and at last "unreadable N".
func startSearch(ctx context.Context, t tree) *ownerSearch {
	s := &ownerSearch{wants: make(chan *wantedInodes, maxWants), found: make(chan *owners, 1)}
	go func() { s.found <- s.run(ctx, t) }()
	return s
}

// add wants more, and does not wait.
func (s *ownerSearch) add(want *wantedInodes) { s.wants <- want }

// end waits for the owners of all that was wanted. It is called once.
func (s *ownerSearch) end() *owners {
	close(s.wants)
	return <-s.found
}

func (s *ownerSearch) run(ctx context.Context, t tree) *owners {
	o := &owners{byInode: map[uint32]*owner{}}
	want := s.next()
	if want == nil {
		return o
	}
	o.err = t.ask("owners", func(emit func([]byte) error) error {
		w := ownerWalk{bySize: statCountsFDs()}
		for ; want != nil; want = s.next() {
			if err := w.find(ctx, want, emit); err != nil {
				return err
			}
		}
		return emit(fmt.Appendf(nil, "unreadable %d\n", w.unreadable))
	}, o.piece)
	return o
}

// next is the next that is wanted; nil where nothing will be any more.
func (s *ownerSearch) next() *wantedInodes {
	for want := range s.wants {
		if want.questions > 0 {
			return want
		}
	}
	return nil
}

func (o *owners) piece(p []byte) error {
	line := strings.TrimSuffix(string(p), "\n")
	if n, ok := strings.CutPrefix(line, "unreadable "); ok {
		count, err := strconv.Atoi(n)
		o.unreadable = count
		return err
	}
	own, rest := &owner{nth: o.records}, line
	o.records++
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
		if _, taken := o.byInode[uint32(n)]; !taken { // the first process that was read: see ownerWalk.find
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

// firstFDs is how many descriptors of each process are looked at before more of any is; each further round looks at
// moreFDs times as many. A program opens its listeners and its oldest connections early, and the kernel gives the lowest
// free number: most of what is wanted is found early, and where nothing is left no process is looked at whole in vain.
const (
	firstFDs = 64
	moreFDs  = 8
)

// ownerWalk reads /proc/PID/fd of the live machine. A descriptor costs one readlinkat(2) and no allocation, for hosts have
// 100,000 of them. The descriptors that epoll watches could be had in one read of its fdinfo, but the kernel holds the lock
// meanwhile under which that program waits for its events (fs/eventpoll.c ep_show_fdinfo).
type ownerWalk struct {
	want       *wantedInodes
	unreadable int  // processes
	bySize     bool // see statCountsFDs

	answered []atomic.Bool // by question
	open     atomic.Int64  // questions without an answer
	sizeOf   []int         // sockets by service
}

// find looks at the first descriptors of each process, then at all of those that hold a socket of a service, and then deeper
// into the others, and emits a record of each process that holds what none before it does. Each round goes by number,
// process 1 last: of several holders, who mostly have a socket under the same number, the oldest is the master of workers,
// but systemd also holds the sockets that it opened for others. It ends when all is answered.
func (w *ownerWalk) find(ctx context.Context, want *wantedInodes, emit func([]byte) error) error {
	w.begin(want)
	pids, err := listPIDs()
	if err != nil {
		return err
	}
	unreadable, owned := 0, make(map[uint32]bool, len(want.byInode))
	for from, to := 0, firstFDs; len(pids) > 0; from, to = to, to*moreFDs {
		deeper := pids[:0]
		for i, h := range w.round(ctx, pids, from, to) {
			unreadable += b2i(h.denied)
			if h.more {
				deeper = append(deeper, pids[i])
			}
			h.inodes = slices.DeleteFunc(h.inodes, func(inode uint32) bool {
				taken := owned[inode]
				owned[inode] = true
				return taken
			})
			if len(h.inodes) > 0 {
				if err := emit(h.record(pids[i])); err != nil {
					return err
				}
			}
		}
		pids = deeper
	}
	if w.open.Load() > 0 { // else nothing is missing, and how many were looked at is chance
		w.unreadable = max(w.unreadable, unreadable)
	}
	return ctx.Err()
}

func (w *ownerWalk) begin(want *wantedInodes) {
	w.want = want
	w.answered, w.sizeOf = make([]atomic.Bool, want.questions), make([]int, want.services)
	w.open.Store(int64(want.questions))
	for _, x := range want.byInode {
		if x.service != alone {
			w.sizeOf[x.service]++
		}
	}
}

// round looks at several processes at once, for a look waits for memory most of the time. A process that was begun is looked
// at as far as the round goes though all is answered meanwhile: which of two holders is named must not be chance.
func (w *ownerWalk) round(ctx context.Context, pids []int, from, to int) []holding {
	const most = 4
	all := make([]holding, len(pids))
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(most, runtime.GOMAXPROCS(0), len(pids)) {
		readers.Go(func() {
			r := fdReader{walk: w, services: map[int]int{}}
			for w.open.Load() > 0 && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(pids) {
					return
				}
				all[i] = r.process(pids[i], from, to)
			}
		})
	}
	readers.Wait()
	return all
}

func (w *ownerWalk) answer(question int) {
	if !w.answered[question].Swap(true) {
		w.open.Add(-1)
	}
}

// holding is what was seen of a process. One that ended meanwhile holds nothing.
type holding struct {
	inodes []uint32 // wanted ones
	fds    int      // open descriptors; 0 where none is wanted or was looked for
	more   bool     // there are descriptors that were not looked at
	denied bool
}

// fdReader looks at one process after the other.
type fdReader struct {
	walk     *ownerWalk
	dir      int           // /proc/PID/fd
	entries  [8 << 10]byte // of it
	name     [16]byte      // of a descriptor
	link     [64]byte
	found    holding
	services map[int]int // how many were found of each
	expected int         // services of which some were found, and not all
}

// process looks at the descriptors of a process from one on and below another. Where there is one of a service it looks at
// the rest as well, until all of that service are found.
func (r *fdReader) process(pid, from, to int) holding {
	r.found, r.expected = holding{}, 0
	clear(r.services)
	dir, err := unix.Open(fmt.Sprintf("/proc/%d/fd", pid), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(dir)
		r.dir = dir
		var next int
		if next, err = r.upward(from, to); err == nil && next >= 0 {
			r.found.more, err = r.rest(next)
		}
	}
	if len(r.found.inodes) > 0 && r.found.fds == 0 && err == nil {
		r.found.fds, err = r.count()
	}
	if err != nil {
		return holding{denied: errors.Is(err, fs.ErrPermission)}
	}
	return r.found
}

// rest looks from a descriptor on for what is expected of the process, the youngest first: what is wrong now mostly began late.
// It reports whether there are descriptors that it did not look at.
func (r *fdReader) rest(from int) (more bool, err error) {
	if r.expected == 0 {
		return true, nil
	}
	r.found.fds, err = r.count()
	for fd := r.found.fds - 1; err == nil && fd >= from && r.expected > 0; fd-- { // where the numbers have gaps there are some above, too
		_, err = r.descriptor(fd)
	}
	fd := max(from, r.found.fds)
	for err == nil && fd >= 0 && r.expected > 0 {
		fd, err = r.upward(fd, fd+firstFDs)
	}
	return fd >= 0, err
}

// upward looks at the descriptors from one on and below another, and returns the next; -1 where there is none.
func (r *fdReader) upward(from, to int) (next int, err error) {
	for next = from; next < to; next++ {
		open, err := r.descriptor(next)
		if err != nil {
			return -1, err
		}
		if open {
			continue
		}
		if next, err = r.next(next); err != nil || next < 0 {
			return -1, err
		}
		if _, err = r.descriptor(next); err != nil {
			return -1, err
		}
	}
	return next, nil
}

// note counts a socket of a service. What other processes have of it does not count: which of two holders is named must not
// be chance.
func (r *fdReader) note(service int) {
	if service == alone {
		return
	}
	r.services[service]++
	switch n, all := r.services[service], r.walk.sizeOf[service]; {
	case n == 1 && all > 1:
		r.expected++
	case n == all && all > 1:
		r.expected--
	}
}

// descriptor looks at one descriptor and reports whether it is open. Who may list a process' descriptors may not always look at
// them: that takes CAP_SYS_PTRACE, too.
func (r *fdReader) descriptor(fd int) (open bool, err error) {
	name := append(strconv.AppendInt(r.name[:0], int64(fd), 10), 0)
	// unix.Readlinkat would copy the name into a new string.
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(r.dir), uintptr(unsafe.Pointer(&name[0])),
		uintptr(unsafe.Pointer(&r.link[0])), uintptr(len(r.link)), 0, 0)
	switch {
	case errno == unix.EACCES || errno == unix.EPERM:
		return false, fs.ErrPermission
	case errno != 0:
		return false, nil
	}
	inode, ok := linkedSocket(r.link[:min(int(n), len(r.link))])
	if hit, wanted := r.walk.want.byInode[inode]; ok && wanted {
		r.found.inodes = append(r.found.inodes, inode)
		r.walk.answer(hit.question)
		r.note(hit.service)
	}
	return true, nil
}

// next returns the first open descriptor after fd, -1 where there is none. In the directory the descriptor n stands at the
// offset n+2 (fs/proc/fd.c proc_readfd_common).
func (r *fdReader) next(fd int) (int, error) {
	if _, err := unix.Seek(r.dir, int64(fd)+1+2, unix.SEEK_SET); err != nil {
		return -1, err
	}
	const one = 32 // bytes of an entry with seven digits: the kernel goes as far as the buffer does
	for name, err := range r.names(one) {
		n, ok := procNumber(name, 10)
		if err != nil || !ok {
			return -1, err
		}
		return int(n), nil
	}
	return -1, nil
}

// count is how many descriptors a process has, for its limit is compared with them.
func (r *fdReader) count() (fds int, err error) {
	if r.walk.bySize {
		var st unix.Stat_t
		err = unix.Fstat(r.dir, &st)
		return int(st.Size), err
	}
	if _, err := unix.Seek(r.dir, 2, unix.SEEK_SET); err != nil { // behind "." and ".."
		return 0, err
	}
	for _, err := range r.names(len(r.entries)) {
		if err != nil {
			return 0, err
		}
		fds++
	}
	return fds, nil
}

// names reads a directory from where it stands, with so large a buffer. A name is good until the next.
func (r *fdReader) names(size int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			var n int
			err := retry(func() (err error) { n, err = unix.ReadDirent(r.dir, r.entries[:size]); return err })
			if err != nil {
				yield(nil, err)
				return
			}
			// struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name with NULs.
			for b := r.entries[:n]; len(b) >= 20; {
				record := min(max(int(binary.NativeEndian.Uint16(b[16:])), 20), len(b))
				name, _, _ := bytes.Cut(b[19:record], []byte{0})
				if !yield(name, nil) {
					return
				}
				b = b[record:]
			}
			if n <= 0 {
				return
			}
		}
	}
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

func (h *holding) record(pid int) []byte {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	cgroup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	limits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	b := fmt.Appendf(nil, `"%d" "%d" %q %q %q`, pid, h.fds, softNoFile(limits), cgroupOf(cgroup),
		bytes.TrimSuffix(comm, []byte{'\n'}))
	for _, inode := range h.inodes {
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
