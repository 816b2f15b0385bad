package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// A TCP socket that died under its process, by a RST of the peer or by `ss -K`, leaves each table of sockets while the
// descriptor, and the thread that waits on it, stay. Only /proc/PID/fd still shows it: a link to an inode that no table has,
// whose protocol is TCP by getxattr(2). A socket that was made and never connected looks the same.

// hiddenSockets are the TCP descriptors of processes that are in no table.
type hiddenSockets struct {
	rows       []hiddenRow
	unreadable int   // processes that could not be looked into
	err        error // why there is no, or no complete answer
	before     map[hiddenName]int64
	compared   bool
}

// hiddenRow is one line of the answer: "COUNT PID COMM CGROUP", texts quoted.
type hiddenRow struct {
	hiddenName
	cgroup string
	count  int64
}

type hiddenName struct {
	pid  int64
	comm string
}

const maxHidden = 256 // rows of the table, those with the most sockets

// collectHidden fills the table where hidden sockets are looked for: on demand, with a second look, or where the kernel has
// clearly more TCP sockets than its tables show. A replay has what was looked for.
func (p *part) collectHidden(ctx context.Context, b *advisor.Builder) []advisor.Gap {
	wanted := !p.host.options.Follow && (p.host.options.Deep || p.host.options.Sample > 0 || p.suspicious || p.tree.source() == "capture")
	if wanted {
		p.now.hidden = findHidden(ctx, p.tree)
	}
	h := p.now.hidden
	if h == nil || errors.Is(h.err, errNotLive) || errors.Is(h.err, errNotCaptured) {
		p.now.hidden = nil
		b.SetTable("hidden_sockets", advisor.Table{Absent: "not looked for: use --deep or --sample"})
		return nil
	}
	b.SetTable("hidden_sockets", h.table())
	if h.err != nil {
		return []advisor.Gap{{Source: "/proc/PID/fd", Why: h.err.Error(), Notice: true}}
	}
	return nil
}

// findHidden asks for the hidden sockets of this namespace's processes.
func findHidden(ctx context.Context, t tree) *hiddenSockets {
	h := &hiddenSockets{}
	h.err = t.ask("hidden", func(emit func([]byte) error) error { return walkHidden(ctx, emit) }, h.piece)
	slices.SortFunc(h.rows, func(a, b hiddenRow) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.pid, b.pid))
	})
	return h
}

func (h *hiddenSockets) piece(p []byte) error {
	line := strings.TrimSuffix(string(p), "\n")
	if n, ok := strings.CutPrefix(line, "unreadable "); ok {
		count, err := strconv.Atoi(n)
		h.unreadable = count
		return err
	}
	var r hiddenRow
	if _, err := fmt.Sscanf(line, "%d %d %q %q", &r.count, &r.pid, &r.comm, &r.cgroup); err != nil {
		return fmt.Errorf("record of hidden sockets %q: %w", line, err)
	}
	h.rows = append(h.rows, r)
	return nil
}

// since adds what an earlier look found.
func (h *hiddenSockets) since(earlier *hiddenSockets) {
	h.compared, h.before = true, map[hiddenName]int64{}
	for _, r := range earlier.rows {
		h.before[r.hiddenName] = r.count
	}
}

func (h *hiddenSockets) table() advisor.Table {
	var table advisor.Table
	switch {
	case h.err != nil:
		table.Unknown = h.err.Error()
	case h.unreadable > 0:
		table.Unknown = unreadProcesses(h.unreadable)
	}
	for i, r := range h.rows {
		if i == maxHidden {
			table.Omitted = len(h.rows) - i
			break
		}
		origin := advisor.Origin{Path: fmt.Sprintf("/proc/%d/fd", r.pid)}
		c := map[string]advisor.Fact{
			"pid":     advisor.Known(advisor.Int(r.pid), origin),
			"process": advisor.Known(advisor.Text(r.comm), origin),
			"count":   advisor.Known(advisor.Int(r.count), origin),
			"unit":    advisor.Absent("in no systemd unit", origin),
		}
		if unit := unitOf(r.cgroup); unit != "" {
			c["unit"] = advisor.Known(advisor.Text(unit), origin)
		}
		if h.compared {
			c["grew"] = advisor.Known(advisor.Int(r.count-h.before[r.hiddenName]), origin)
		}
		table.Rows = append(table.Rows, advisor.Row{Origin: origin, Cells: c})
	}
	return table
}

// hiddenWalk looks for the hidden sockets of the live machine, below /proc.
type hiddenWalk struct {
	tables     map[uint32]struct{} // inodes that the tables of sockets show
	candidates []hiddenDescriptor
	unreadable int
}

type hiddenDescriptor struct {
	pid   int
	fd    string
	inode uint32
}

// walkHidden reads the tables, then the descriptors, then the tables again: a socket that was made between stands in the
// second reading or is closed by then. Only where something is left are the tables of other namespaces read too, for a
// process may hold sockets of a namespace that it has left.
func walkHidden(ctx context.Context, emit func([]byte) error) error {
	w := hiddenWalk{tables: map[uint32]struct{}{}}
	if err := w.readOwn(ctx); err != nil {
		return err
	}
	if err := w.walk(ctx); err != nil {
		return err
	}
	if len(w.candidates) > 0 {
		if err := w.readOwn(ctx); err != nil {
			return err
		}
		w.settle()
	}
	if len(w.candidates) > 0 {
		if err := w.readOthers(ctx); err != nil {
			return err
		}
		w.settle()
	}
	return w.report(emit)
}

// readOwn adds the inodes of this thread's namespace.
func (w *hiddenWalk) readOwn(ctx context.Context) error {
	add := func(k *diagSocket) { w.tables[k.inode] = struct{}{} }
	live := &dirTree{root: "/"}
	all := uint32(maskListen | maskCloseWait | maskOthers | maskBound)
	if _, err := (diagPass{name: "all", states: all}).run(ctx, live, func() func(*diagSocket) { return add }); err == nil || ctx.Err() != nil {
		return err
	}
	return w.readText(threadNet() + "/")
}

// readText adds those of /proc/net/tcp and tcp6 in a directory.
func (w *hiddenWalk) readText(dir string) error {
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(dir + name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // missing: no IPv6
			return err
		}
		walkProcTCP(text, ^uint32(0), func(k *diagSocket) { w.tables[k.inode] = struct{}{} })
	}
	return nil
}

func (w *hiddenWalk) readOthers(ctx context.Context) error {
	all, err := walkNamespaces(ctx)
	if err != nil {
		return err
	}
	for _, ns := range all {
		if !ns.own && ns.pid > 0 {
			// One that ended meanwhile has no process, and so no descriptor.
			_ = w.readText(fmt.Sprintf("/proc/%d/net/", ns.pid))
		}
	}
	return nil
}

// walk takes the descriptors of this namespace's processes that lead to a TCP socket in no table.
func (w *hiddenWalk) walk(ctx context.Context) error {
	pids, err := listPIDs()
	if err != nil {
		return err
	}
	own, _ := socketInode(threadNet() + "/sockstat")
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if ino, ok := socketInode(fmt.Sprintf("/proc/%d/net/sockstat", pid)); !ok || ino != own || pid == os.Getpid() {
			continue
		}
		if err := w.process(pid); errors.Is(err, fs.ErrPermission) {
			w.unreadable++
		}
	}
	return nil
}

func (w *hiddenWalk) process(pid int) error {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		for _, fd := range names {
			inode, err := descriptorInode(pid, fd)
			if errors.Is(err, fs.ErrPermission) {
				return err
			}
			if _, shown := w.tables[inode]; err == nil && !shown && isTCP(pid, fd) {
				w.candidates = append(w.candidates, hiddenDescriptor{pid, fd, inode})
			}
		}
		if err != nil || len(names) == 0 { // its end, or the process'
			return nil
		}
	}
}

// descriptorInode is the socket that a descriptor leads to; fs.ErrNotExist where it leads elsewhere.
func descriptorInode(pid int, fd string) (uint32, error) {
	var buf [64]byte
	n, err := unix.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd), buf[:])
	if err != nil {
		return 0, err
	}
	inode, ok := linkedSocket(buf[:n])
	if !ok {
		return 0, fs.ErrNotExist
	}
	return inode, nil
}

// linkedSocket reads the inode from the text of a descriptor's link: "socket:[4711]".
func linkedSocket(link []byte) (inode uint32, ok bool) {
	digits, ok := bytes.CutPrefix(link, []byte("socket:["))
	if !ok {
		return 0, false
	}
	return procNumber(bytes.TrimSuffix(digits, []byte{']'}), 10)
}

// isTCP asks a socket for its protocol (net/socket.c sockfs_xattr_get, since 2.6.12): "TCP" or "TCPv6".
func isTCP(pid int, fd string) bool {
	var buf [32]byte
	n, err := unix.Getxattr(fmt.Sprintf("/proc/%d/fd/%s", pid, fd), "system.sockprotoname", buf[:])
	if err != nil {
		return false
	}
	name := string(bytes.TrimRight(buf[:n], "\x00"))
	return name == "TCP" || name == "TCPv6"
}

// settle keeps the candidates that the tables still do not show and that are still open.
func (w *hiddenWalk) settle() {
	w.candidates = slices.DeleteFunc(w.candidates, func(c hiddenDescriptor) bool {
		_, shown := w.tables[c.inode]
		inode, err := descriptorInode(c.pid, c.fd)
		return shown || err != nil || inode != c.inode
	})
}

// report counts by process. A socket that several descriptors lead to is one, and belongs to the process with the lowest
// number, the parent mostly.
func (w *hiddenWalk) report(emit func([]byte) error) error {
	counts, seen := map[int]int64{}, map[uint32]bool{}
	slices.SortFunc(w.candidates, func(a, b hiddenDescriptor) int { return cmp.Compare(a.pid, b.pid) })
	for _, c := range w.candidates {
		if !seen[c.inode] {
			seen[c.inode] = true
			counts[c.pid]++
		}
	}
	for _, pid := range slices.Sorted(maps.Keys(counts)) {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		cgroup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		line := fmt.Appendf(nil, "%d %d %q %q\n", counts[pid], pid, bytes.TrimSuffix(comm, []byte{'\n'}), cgroupOf(cgroup))
		if err := emit(line); err != nil {
			return err
		}
	}
	return emit(fmt.Appendf(nil, "unreadable %d\n", w.unreadable))
}
