package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// threadTask is the directory of this thread below /proc. /proc/self and /proc/net tell of the process' first thread, which
// never enters another namespace; /proc/thread-self is there since 3.17 only.
func threadTask() string { return fmt.Sprintf("/proc/self/task/%d", unix.Gettid()) }

func threadNet() string { return threadTask() + "/net" }

// threadTree is the live machine as the thread's network namespace has it. /proc/sys is the reader's anyway.
type threadTree struct{ tree }

func (t threadTree) read(path string, limit int64) ([]byte, error) {
	if rest, ok := strings.CutPrefix(path, "/proc/net/"); ok {
		path = threadNet() + "/" + rest
	}
	return t.tree.read(path, limit)
}

// onOwnThread runs do on a thread that nothing else ever runs on: do may enter a namespace, and the thread ends with it. It
// is never the process' first thread, which cannot end and for which /proc/self stands.
func onOwnThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			onOwnThread(do)
			runtime.UnlockOSThread() // nothing has changed it
			return
		}
		do() // a goroutine that returns with its thread locked takes the thread with it: nothing to switch back
	}()
	<-done
}

// netns is one network namespace of the live machine.
type netns struct {
	inode     uint64 // of its file sockstat: what tells namespaces apart also for those who may not read /proc/PID/ns
	link      string // "net:[4026531840]"; empty where it may not be read
	name      string // below /run/netns; empty: none
	own       bool   // this thread's
	pid       int    // the lowest of its processes; 0: it has none
	comm      string
	processes int
	inUse     int64 // TCP sockets of both families
	timeWait  int64
	alloc     int64 // of the whole machine
}

const (
	netnsDir   = "/run/netns" // ip-netns(8)
	netnsNamed = 10           // namespaces that a notice names
)

// socketInode is the inode number of a file of /proc/PID/net: each network namespace has its own (fs/proc/generic.c
// proc_register), and whoever sees the process may ask.
func socketInode(file string) (uint64, bool) {
	var st unix.Stat_t
	if unix.Stat(file, &st) != nil {
		return 0, false
	}
	return st.Ino, true
}

// walkNamespaces finds the network namespaces that have processes, or a name, by the number of their first process; this
// thread's own first.
func walkNamespaces(ctx context.Context) ([]netns, error) {
	pids, err := listPIDs()
	if err != nil {
		return nil, err
	}
	slices.Sort(pids)
	w := namespaceWalk{byInode: map[uint64]*netns{}, byLink: map[string]*netns{}}
	own, _ := socketInode(threadNet() + "/sockstat")
	w.byInode[own] = &netns{inode: own, own: true}
	w.byInode[own].link, _ = os.Readlink(threadTask() + "/ns/net")
	w.byLink[w.byInode[own].link] = w.byInode[own]
	w.list = append(w.list, w.byInode[own])
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		w.process(pid)
	}
	w.names()
	var all []netns
	for _, ns := range w.list {
		if ns.own {
			ns.count(threadNet())
		} else if ns.pid > 0 {
			ns.count(fmt.Sprintf("/proc/%d/net", ns.pid))
		}
		all = append(all, *ns)
	}
	return all, nil
}

type namespaceWalk struct {
	list    []*netns
	byInode map[uint64]*netns
	byLink  map[string]*netns
}

// process counts one process. To read the link costs less than to find the file, but takes rights.
func (w *namespaceWalk) process(pid int) {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	ns := w.byLink[link]
	if err != nil || ns == nil {
		inode, ok := socketInode(fmt.Sprintf("/proc/%d/net/sockstat", pid))
		if !ok {
			return // ended meanwhile, or hidden
		}
		if ns = w.byInode[inode]; ns == nil {
			ns = &netns{inode: inode}
			w.byInode[inode] = ns
			w.list = append(w.list, ns)
		}
		if err == nil {
			ns.link = link
			w.byLink[link] = ns
		}
	}
	if ns.processes++; ns.pid == 0 {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		ns.pid, ns.comm = pid, strings.TrimSuffix(string(comm), "\n")
	}
}

// names adds the names of `ip netns`; a named namespace need not have processes.
func (w *namespaceWalk) names() {
	entries, _ := os.ReadDir(netnsDir) // none: no names
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Stat(path.Join(netnsDir, e.Name()), &st) != nil {
			continue
		}
		link := fmt.Sprintf("net:[%d]", st.Ino)
		if ns := w.byLink[link]; ns != nil {
			ns.name = cmp.Or(ns.name, e.Name())
			continue
		}
		ns := &netns{link: link, name: e.Name()}
		w.byLink[link] = ns
		w.list = append(w.list, ns)
	}
}

// count reads sockstat of a namespace: the sockets in its tables, and what the whole machine has.
func (n *netns) count(dir string) {
	members := map[string]advisor.Fact{}
	for _, name := range []string{"/sockstat", "/sockstat6"} {
		if data, err := os.ReadFile(dir + name); err == nil {
			parseSockstat(data, dir+name, members)
		}
	}
	number := func(key string) int64 {
		v, _ := members[key].Value.Int()
		return v
	}
	n.inUse, n.timeWait, n.alloc = number("TCP.inuse")+number("TCP6.inuse"), number("TCP.tw"), number("TCP.alloc")
}

// label is what a person calls the namespace.
func (n *netns) label() string {
	switch {
	case n.name != "":
		return n.name
	case n.pid > 0:
		return fmt.Sprintf("%s %d", n.comm, n.pid)
	}
	return n.link
}

func (n *netns) encode() []byte {
	return fmt.Appendf(nil, "%q %q %t %d %q %d %d %d %d\n", n.link, n.name, n.own, n.pid, n.comm, n.processes, n.inUse, n.timeWait, n.alloc)
}

func (n *netns) decode(line []byte) error {
	_, err := fmt.Sscanf(string(line), "%q %q %t %d %q %d %d %d %d\n", &n.link, &n.name, &n.own, &n.pid, &n.comm, &n.processes, &n.inUse, &n.timeWait, &n.alloc)
	if err != nil {
		return fmt.Errorf("record of namespaces %q: %w", line, err)
	}
	return nil
}

// collectNamespaces names the network namespaces that are not read, and suspects hidden sockets where the kernel has clearly
// more TCP sockets than all namespaces show. In a container only some of them are seen, so there nothing is suspected.
func (p *part) collectNamespaces(ctx context.Context, b *advisor.Builder) []advisor.Gap {
	if p.file != nil || p.name != "" {
		return nil
	}
	var all []netns
	err := p.tree.ask("namespaces", func(emit func([]byte) error) error {
		found, err := walkNamespaces(ctx)
		for i := range found {
			err = cmp.Or(err, emit(found[i].encode()))
		}
		return err
	}, func(piece []byte) error {
		var n netns
		err := n.decode(piece)
		all = append(all, n)
		return err
	})
	switch {
	case errors.Is(err, errNotLive), errors.Is(err, errNotCaptured):
		return nil
	case err != nil:
		return []advisor.Gap{{Source: "network namespaces", Why: err.Error(), Notice: true}}
	}
	if contained, ok := b.Scalar("host.container").Value.Bool(); ok && !contained {
		p.suspicious = exceeds(all)
	}
	if p.host.chosen {
		return nil
	}
	return unreadNamespaces(all)
}

// exceeds compares what the kernel has with what the tables show. A few sockets are always made and not connected yet.
func exceeds(all []netns) bool {
	const few, share = 16, 20
	var shown, alloc int64
	for _, n := range all {
		shown += n.inUse
		if n.own {
			alloc = n.alloc
		}
	}
	return alloc-shown >= few+shown/share
}

// unreadNamespaces are the notices of the namespaces that have TCP sockets and were not read, those with the most first.
func unreadNamespaces(all []netns) []advisor.Gap {
	others := slices.DeleteFunc(slices.Clone(all), func(n netns) bool { return n.own || n.inUse+n.timeWait == 0 })
	slices.SortStableFunc(others, func(a, b netns) int { return cmp.Compare(b.inUse+b.timeWait, a.inUse+a.timeWait) })
	var gaps []advisor.Gap
	var more, sockets int64
	for i, n := range others {
		if i >= netnsNamed {
			more++
			sockets += n.inUse + n.timeWait
			continue
		}
		target := strconv.Itoa(n.pid)
		if n.name != "" {
			target = n.name
		}
		gaps = append(gaps, advisor.Gap{
			Source: "network namespace of " + n.label(), Notice: true,
			Why: fmt.Sprintf("%s here, not read: as root, use --netns %s", sockCount(n.inUse+n.timeWait), target),
		})
	}
	if more > 0 {
		gaps = append(gaps, advisor.Gap{
			Source: fmt.Sprintf("%d further network namespaces", more), Notice: true,
			Why: sockCount(sockets) + " there, not read: as root, use --netns all",
		})
	}
	return gaps
}

func sockCount(n int64) string {
	if n == 1 {
		return "1 TCP socket"
	}
	return fmt.Sprintf("%d TCP sockets", n)
}

// findParts decides which namespaces are read: this program's, or those that --netns names. A capture tells which were.
func (h *Host) findParts(ctx context.Context) error {
	if h.options.Netns == "" && h.tree.source() != "capture" {
		h.parts = []*part{h.newPart(target{own: true})}
		return nil
	}
	h.chosen = true
	var found []target
	err := h.tree.ask("netns", func(emit func([]byte) error) error {
		targets, err := findTargets(ctx, h.options.Netns)
		if err != nil {
			return err
		}
		for _, t := range targets {
			h.files = append(h.files, t.file)
			if err := emit(fmt.Appendf(nil, "%t %q %q\n", t.own, t.name, t.why)); err != nil {
				return err
			}
		}
		return nil
	}, func(piece []byte) error {
		var t target
		_, err := fmt.Sscanf(string(piece), "%t %q %q\n", &t.own, &t.name, &t.why)
		found = append(found, t)
		return err
	})
	switch {
	case errors.Is(err, errNotCaptured) && h.options.Netns == "":
		found, h.chosen = []target{{own: true}}, false
	case errors.Is(err, errNotCaptured), errors.Is(err, errNotLive):
		return errors.New("other network namespaces are read on the live machine only: drop --netns")
	case err != nil:
		return fmt.Errorf("--netns %s: %w", h.options.Netns, err)
	}
	for i, t := range found {
		if i < len(h.files) {
			t.file = h.files[i]
		}
		if t.why != "" {
			h.unread = append(h.unread, advisor.Gap{Source: "network namespace of " + t.name, Why: t.why})
			continue
		}
		h.parts = append(h.parts, h.newPart(t))
	}
	return nil
}

// target is a namespace to read.
type target struct {
	own  bool
	name string   // what a person calls it; empty: own
	file *os.File // nil: own, or a replay
	why  string   // not empty: it cannot be read
}

// findTargets opens the namespaces that --netns asks for: a number is a process', a word a name of ip-netns(8).
func findTargets(ctx context.Context, which string) ([]target, error) {
	all, err := walkNamespaces(ctx)
	if err != nil {
		return nil, err
	}
	pid, errNumber := strconv.Atoi(which)
	switch {
	case which == "all":
		targets := []target{{own: true}}
		for _, n := range all {
			if !n.own {
				t := n.target()
				if errors.Is(t.open(n.file()), fs.ErrNotExist) {
					continue // its last process ended meanwhile
				}
				targets = append(targets, t)
			}
		}
		return targets, nil
	case errNumber == nil:
		return oneTarget(all, fmt.Sprintf("/proc/%d/ns/net", pid), fmt.Sprintf("no process %d", pid))
	case strings.Contains(which, "/") || which == "." || which == "..":
		return nil, errors.New("wants a process number, a name that 'ip netns' lists, or all")
	}
	return oneTarget(all, path.Join(netnsDir, which), "'ip netns' knows no such name")
}

func (n *netns) target() target { return target{name: n.label()} }

func (n *netns) file() string {
	if n.pid > 0 {
		return fmt.Sprintf("/proc/%d/ns/net", n.pid)
	}
	return path.Join(netnsDir, n.name)
}

// oneTarget is the namespace of that file, which may be our own.
func oneTarget(all []netns, file, missing string) ([]target, error) {
	var st unix.Stat_t
	switch err := unix.Stat(file, &st); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New(missing)
	case errors.Is(err, fs.ErrPermission):
		return nil, errors.New("may not be entered: run as root")
	case err != nil:
		return nil, err
	}
	link := fmt.Sprintf("net:[%d]", st.Ino)
	t := target{name: link}
	for i := range all {
		if all[i].link == link {
			t = all[i].target()
			t.own = all[i].own
		}
	}
	if t.own {
		return []target{{own: true}}, nil
	}
	if err := t.open(file); err != nil {
		return nil, err
	}
	if t.why != "" {
		return nil, errors.New(t.why)
	}
	return []target{t}, nil
}

// open holds the namespace, so that it stays though its processes end, and tries to enter it.
func (t *target) open(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fs.ErrNotExist
	}
	if err == nil {
		onOwnThread(func() { err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET) })
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		t.why = "may not be entered: run as root"
	case err != nil:
		t.why = cause(err).Error()
	default:
		t.file = f
	}
	return nil
}

// fixedParameters are the catalogue's net.* parameters that cannot be written in this namespace: the kernel shows some to
// others than the first read-only, and a container's /proc/sys may be mounted so.
func (p *part) fixedParameters(b *advisor.Builder, keys []sysctlKey) {
	p.initial = b.Member("sysctl", "net.ipv4.tcp_mem").State == advisor.StateKnown // the first namespace alone has it
	if p.initial || p.tree.source() == "root" {
		return
	}
	// Where this is not known, nothing is held back.
	_ = p.tree.ask("sysctl/read-only", func(emit func([]byte) error) error {
		var st unix.Statfs_t
		mounted := unix.Statfs(procSys+"/net", &st) == nil && st.Flags&unix.ST_RDONLY != 0
		for _, k := range keys {
			file, err := sysctlPath(k.name)
			if err != nil || !strings.HasPrefix(k.name, "net.") {
				continue
			}
			var mode unix.Stat_t
			if unix.Stat(file, &mode) != nil || !mounted && mode.Mode&0o222 != 0 {
				continue
			}
			if err := emit([]byte(k.name)); err != nil {
				return err
			}
		}
		return nil
	}, func(piece []byte) error {
		if p.fixed == nil {
			p.fixed = map[string]bool{}
		}
		p.fixed[string(bytes.TrimSpace(piece))] = true
		return nil
	})
}
