package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// maxProcesses bounds the table. Beyond it the processes with the fewest open descriptors are left out.
const maxProcesses = 20_000

// collectProcesses fills the table of running processes, kernel threads and this program left out. Arguments and
// environments are never read: they hold secrets.
func collectProcesses(ctx context.Context, t tree, b *advisor.Builder) []advisor.Gap {
	const name = "processes"
	var found processList
	err := t.ask(name, func(emit func([]byte) error) error { return walkProcesses(ctx, emit) }, found.piece)
	if err != nil && len(found.rows) == 0 {
		fact := unread(t, "/proc", err)
		if fact.State == advisor.StateAbsent {
			b.SetTable(name, advisor.Table{Absent: fact.Why})
			return nil
		}
		b.SetTable(name, advisor.Table{Unknown: fact.Why})
		return gapsOf(fact)
	}
	if err != nil {
		found.incomplete = err.Error()
	}
	table := advisor.Table{Unknown: found.incomplete}
	found.rows, table.Omitted = mostDescriptors(found.rows, maxProcesses)
	for i := range found.rows {
		table.Rows = append(table.Rows, found.rows[i].row())
	}
	b.SetTable(name, table)
	if table.Unknown != "" {
		return []advisor.Gap{{Source: "/proc", Why: table.Unknown, Notice: true}}
	}
	return nil
}

// mostDescriptors cuts a list to most rows. What is not known counts as many: it may be.
func mostDescriptors(rows []process, most int) (kept []process, omitted int) {
	if len(rows) <= most {
		return rows, 0
	}
	weight := func(p *process) int64 {
		n, err := strconv.ParseInt(p.fds, 10, 64)
		if err != nil {
			return 1 << 62
		}
		return n
	}
	slices.SortStableFunc(rows, func(a, b process) int { return cmp.Compare(weight(&b), weight(&a)) })
	kept = rows[:most]
	slices.SortFunc(kept, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	return kept, len(rows) - most
}

// process is one line of the answer: what the live walk writes and a capture replays. Texts are quoted as in Go, so that
// a name keeps whatever bytes it has.
type process struct {
	pid        int64
	uid        string // effective; a number, or denied
	fds        string // likewise
	soft, hard string // a number, "unlimited", or denied
	comm       string
	user       string // by the machine's /etc/passwd; "" where it has no such number
	cgroup     string // path; "" where not readable
}

// denied stands for a number that only root may read.
const denied = "denied"

func (p *process) encode(b []byte) []byte {
	return fmt.Appendf(b, "%d %s %s %s %s %q %q %q\n", p.pid, p.uid, p.fds, p.soft, p.hard, p.comm, p.user, p.cgroup)
}

func (p *process) decode(line string) error {
	f := strings.SplitN(line, " ", 6)
	if len(f) != 6 {
		return fmt.Errorf("record of processes %q", line)
	}
	pid, err := strconv.ParseInt(f[0], 10, 64)
	p.pid, p.uid, p.fds, p.soft, p.hard = pid, f[1], f[2], f[3], f[4]
	rest := f[5]
	for _, to := range []*string{&p.comm, &p.user, &p.cgroup} {
		quoted, bad := strconv.QuotedPrefix(rest)
		text, unquoted := strconv.Unquote(quoted)
		err = cmp.Or(err, bad, unquoted)
		*to, rest = text, strings.TrimPrefix(rest[len(quoted):], " ")
	}
	if err != nil || rest != "" {
		return fmt.Errorf("record of processes %q", line)
	}
	return nil
}

// processList takes the answer.
type processList struct {
	rows       []process
	incomplete string
}

// piece takes lines: one process each, and "hidden" where /proc does not show all.
func (l *processList) piece(b []byte) error {
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "hidden" {
			l.incomplete = "/proc hides other users' processes (hidepid): run as root"
			continue
		}
		var p process
		if err := p.decode(line); err != nil {
			return err
		}
		l.rows = append(l.rows, p)
	}
	return nil
}

func (p *process) row() advisor.Row {
	dir := "/proc/" + strconv.FormatInt(p.pid, 10)
	at := func(file string) advisor.Origin { return advisor.Origin{Path: dir + file} }
	cells := map[string]advisor.Fact{
		"pid":         advisor.Known(advisor.Int(p.pid), at("/stat")),
		"name":        advisor.Known(advisor.Text(p.comm), at("/stat")),
		"uid":         processNumber(p.uid, at("/status")),
		"fds":         processNumber(p.fds, at("/fd")),
		"nofile_soft": processNumber(p.soft, at("/limits")),
		"nofile_hard": processNumber(p.hard, at("/limits")),
		"user":        advisor.Absent("no user of that number in /etc/passwd", at("/status")),
		"unit":        advisor.Absent("in no systemd unit", at("/cgroup")),
		"system_unit": advisor.Absent("in no systemd unit", at("/cgroup")),
		"container":   advisor.Absent("in no container of this machine", at("/cgroup")),
	}
	if p.user != "" {
		cells["user"] = advisor.Known(advisor.Text(p.user), at("/status"))
	}
	if unit := unitOf(p.cgroup); unit != "" {
		cells["unit"] = advisor.Known(advisor.Text(unit), at("/cgroup"))
		cells["system_unit"] = knownBool(isSystemUnit(p.cgroup), at("/cgroup"))
	}
	if id := containerOf(p.cgroup); id != "" {
		cells["container"] = advisor.Known(advisor.Text(id), at("/cgroup"))
	}
	if p.cgroup == "" {
		cells["unit"] = advisor.Unknown("the control group could not be read", at("/cgroup"))
		cells["container"], cells["system_unit"] = cells["unit"], cells["unit"]
	}
	return advisor.Row{Origin: advisor.Origin{Path: dir}, Cells: cells}
}

func processNumber(s string, origin advisor.Origin) advisor.Fact {
	switch s {
	case denied:
		return advisor.Unknown(runAsRoot, origin)
	case "unlimited":
		return advisor.Known(advisor.Unlimited(), origin)
	}
	return counted(s, origin)
}

// containerOf is the container that a control group belongs to, by the first 12 digits of its number, as docker(1) and
// crictl print it: /docker/ID, docker-ID.scope, cri-containerd-ID.scope, libpod-ID.scope, POD:cri-containerd:ID.
// The innermost counts. A container of another kind, such as lxc's, has a name and no such number.
func containerOf(cgroup string) string {
	const digits, shown = 64, 12
	for _, part := range slices.Backward(strings.Split(cgroup, "/")) {
		part = strings.TrimSuffix(part, ".scope")
		if len(part) < digits {
			continue
		}
		head, id := part[:len(part)-digits], part[len(part)-digits:]
		if (head == "" || strings.HasSuffix(head, "-") || strings.HasSuffix(head, ":")) && strings.Trim(id, "0123456789abcdef") == "" {
			return id[:shown]
		}
	}
	return ""
}

// walkProcesses reads the live machine's processes in the order of their numbers. One that ends meanwhile is left out.
func walkProcesses(ctx context.Context, emit func([]byte) error) error {
	const pieceSize = 16 << 10
	pids, err := listPIDs()
	if err != nil {
		return err
	}
	slices.Sort(pids)
	w := processWalk{users: readUsers("/etc/passwd"), buf: make([]byte, 8<<10), fdSize: statCountsFDs()}
	var lines []byte
	// There is a process 1 in each process namespace: where it does not show, or not let itself be read, hidepid is on.
	hidden := len(pids) == 0 || pids[0] != 1
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := w.process(pid)
		hidden = hidden || errors.Is(err, fs.ErrPermission)
		if err != nil || p == nil {
			continue
		}
		lines = p.encode(lines)
		if len(lines) > pieceSize {
			if err := emit(lines); err != nil {
				return err
			}
			lines = lines[:0]
		}
	}
	if hidden {
		lines = append(lines, "hidden\n"...)
	}
	if len(lines) == 0 {
		return nil
	}
	return emit(lines)
}

// processWalk reads single processes.
type processWalk struct {
	users  map[string]string // names by number
	buf    []byte
	fdSize bool // stat(2) of /proc/PID/fd counts the descriptors
}

// process reads one process; nil if it is none of ours: a kernel thread, a dead one, or this program.
func (w *processWalk) process(pid int) (*process, error) {
	if pid == os.Getpid() {
		return nil, nil
	}
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := w.read(dir + "/stat")
	if err != nil {
		return nil, err
	}
	comm, ours := parseStat(stat)
	if !ours {
		return nil, nil
	}
	if strings.Contains(comm, `\`) { // stat writes a newline and a backslash as escapes (fs/proc/array.c proc_task_name)
		text, err := w.read(dir + "/comm")
		if err != nil {
			return nil, err
		}
		comm = strings.TrimSuffix(string(text), "\n")
	}
	p := &process{pid: int64(pid), comm: comm}
	if p.uid, err = w.uid(dir); err != nil {
		return nil, err
	}
	p.user = w.users[p.uid]
	if cgroup, err := w.read(dir + "/cgroup"); err == nil { // a kernel without control groups has no such file
		p.cgroup = cgroupOf(cgroup)
	}
	if p.soft, p.hard, err = w.nofile(dir); err != nil {
		return nil, err
	}
	p.fds, err = w.countFDs(dir + "/fd")
	return p, err
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// deniedOr turns any failure but the end of the process into denied: the others are of the security modules' making.
func deniedOr(err error) (string, error) {
	if isGone(err) {
		return "", err
	}
	return denied, nil
}

// read reads a file of /proc/PID that the kernel writes in one go (single_open, fs/seq_file.c): what does not fill the
// buffer is all, and needs no second read(2) to say so. The result is good until the next read.
func (w *processWalk) read(file string) ([]byte, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for n := 0; ; {
		got, err := readSome(fd, w.buf[n:])
		if err != nil {
			return nil, err
		}
		if n += got; got == 0 || n < len(w.buf) {
			return w.buf[:n], nil
		}
		w.buf = append(w.buf, make([]byte, len(w.buf))...)
	}
}

// parseStat reads the name, and whether this is a running process of user space, from /proc/PID/stat (proc_pid_stat(5)).
// The name may hold blanks and parentheses: it ends at the last one.
func parseStat(stat []byte) (comm string, ours bool) {
	const kernelThread = 0x00200000 // PF_KTHREAD, include/linux/sched.h
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return "", false
	}
	f := bytes.Fields(stat[end+1:]) // from field 3, the state, on
	if len(f) < 7 || bytes.ContainsAny(f[0], "ZXx") {
		return "", false
	}
	flags, err := strconv.ParseUint(string(f[6]), 10, 64)
	return string(stat[open+1 : end]), err == nil && flags&kernelThread == 0
}

// uid is the effective user. The owner of /proc/PID is not: a process that is not dumpable, such as each worker of nginx,
// has its directory owned by root (proc_pid(5)).
func (w *processWalk) uid(dir string) (string, error) {
	status, err := w.read(dir + "/status")
	if err != nil {
		return deniedOr(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("\nUid:"))
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	if f := bytes.Fields(line); len(f) == 4 {
		return string(f[1]), nil
	}
	return denied, nil
}

// nofile is both limits of open files. Until 2.6.36 only the owner might read them.
func (w *processWalk) nofile(dir string) (soft, hard string, err error) {
	limits, err := w.read(dir + "/limits")
	if err != nil {
		soft, err = deniedOr(err)
		return soft, soft, err
	}
	if soft, hard, ok := parseLimits(limits); ok {
		return soft, hard, nil
	}
	return denied, denied, nil
}

// parseLimits reads "Max open files  1024  524288  files" (fs/proc/base.c proc_pid_limits).
func parseLimits(limits []byte) (soft, hard string, ok bool) {
	for line := range bytes.Lines(limits) {
		if rest, found := bytes.CutPrefix(line, []byte("Max open files")); found {
			if f := strings.Fields(string(rest)); len(f) == 3 {
				return f[0], f[1], true
			}
		}
	}
	return "", "", false
}

// statCountsFDs tries what proc_fd_getattr (fs/proc/fd.c, since 6.2) does: the size of /proc/PID/fd is the number of open
// descriptors, also for whoever may not list them. Older kernels say 0, and this program has open ones.
func statCountsFDs() bool {
	var st unix.Stat_t
	return unix.Stat("/proc/self/fd", &st) == nil && st.Size > 0
}

// countFDs counts the open descriptors: by one call where the kernel can, else by listing them, which takes root.
func (w *processWalk) countFDs(dir string) (string, error) {
	if w.fdSize {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return deniedOr(err)
		}
		return strconv.FormatInt(st.Size, 10), nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return deniedOr(err)
	}
	defer d.Close()
	count := 0
	for {
		names, err := d.Readdirnames(1024)
		count += len(names)
		switch {
		case err == io.EOF:
			return strconv.Itoa(count), nil
		case err != nil:
			return deniedOr(err)
		}
	}
}

// readUsers reads the names of users by number from passwd(5); empty where it cannot. It is read here and not through the
// tree so that a capture holds the names of users with processes only.
func readUsers(file string) map[string]string {
	const most = 16 << 20
	users := map[string]string{}
	data, err := readRegular(file, most)
	if err != nil {
		return users
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.SplitN(line, ":", 4); len(f) == 4 && users[f[2]] == "" { // the first entry counts: getpwuid(3)
			users[f[2]] = f[0]
		}
	}
	return users
}

// readRegular reads a file of the live machine, no FIFO and no device.
func readRegular(file string, limit int64) ([]byte, error) {
	fd, err := unix.Open(file, readFlags, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := fstatRegular(fd); err != nil {
		return nil, err
	}
	return readAll(fd, limit)
}
