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
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

const (
	smallFile = 64 << 10 // a file of one value or one page of text
	largeFile = 16 << 20 // /proc/cpuinfo with thousands of processors, /proc/net/netstat

	noKernel  = "no running kernel was read"
	runAsRoot = "permission denied: run as root"
)

// unread is the fact that stands for a file of the kernel, or a question to it, that gave no answer. Nothing of a
// running kernel is in a directory of files: there a missing file is no news about the kernel.
func unread(t tree, where string, err error) advisor.Fact {
	origin := advisor.Origin{Path: where}
	if !strings.HasPrefix(where, "/") {
		origin = advisor.Origin{Source: where}
	}
	switch {
	case errors.Is(err, errNotLive), errors.Is(err, fs.ErrNotExist) && t.source() == "root":
		return advisor.Absent(noKernel, origin)
	case errors.Is(err, fs.ErrNotExist):
		return advisor.Absent("this kernel has no "+where, origin)
	case errors.Is(err, fs.ErrPermission):
		return advisor.Unknown(runAsRoot, origin)
	}
	return advisor.Unknown(err.Error(), origin)
}

// gapsOf makes a notice of each source that is unknown. Nobody asked for these sources by name, so they do not make a
// verdict incomplete; the rules that need them are listed as undecided.
func gapsOf(facts ...advisor.Fact) []advisor.Gap {
	var gaps []advisor.Gap
	for _, f := range facts {
		if f.State != advisor.StateUnknown {
			continue
		}
		g := advisor.Gap{Source: cmp.Or(f.Origin.Path, f.Origin.Source), Why: f.Why, Notice: true}
		if !slices.Contains(gaps, g) {
			gaps = append(gaps, g)
		}
	}
	return gaps
}

// notUnderstood is the reason for a format that is not the documented one; it quotes the line, never more than fits one.
func notUnderstood(line []byte) string {
	const most = 80
	if len(line) > most {
		return fmt.Sprintf("not understood: %q...", line[:most])
	}
	return fmt.Sprintf("not understood: %q", line)
}

// askText asks for one short text that no file holds.
func askText(t tree, name string, live func() (string, error)) (string, error) {
	var text []byte
	err := t.ask(name, func(emit func([]byte) error) error {
		s, err := live()
		if err != nil {
			return err
		}
		return emit([]byte(s))
	}, func(piece []byte) error {
		text = append(text, piece...)
		return nil
	})
	return string(text), err
}

// collectIdentity reads what the judged host is: kernel, distribution, memory, processors, container, init system, and the
// kernel parameters that its boot loader sets.
func collectIdentity(_ context.Context, t tree, b *advisor.Builder) []advisor.Gap {
	scalars := map[string]advisor.Fact{
		"kernel.release": kernelRelease(t),
		"host.name":      hostName(t),
		"memory.total":   memoryTotal(t),
		"page_size":      pageSize(t),
		"cpus":           cpus(t),
		"host.container": container(t),
		"host.init":      initSystem(t),
		"host.netns":     namespace(t, "net"),
	}
	scalars["kernel.version"] = kernelVersion(scalars["kernel.release"])
	for key, fact := range osRelease(t) {
		scalars[key] = fact
	}
	var gaps []advisor.Gap
	for _, key := range slices.Sorted(maps.Keys(scalars)) {
		b.Set(key, scalars[key])
		if key != "host.container" { // contradicting marks are no input that could not be read
			gaps = append(gaps, gapsOf(scalars[key])...)
		}
	}
	return append(slices.Compact(gaps), cmdlineSysctls(t, b)...)
}

// hostOf says in the report's terms what collectIdentity found.
func hostOf(f *advisor.Facts, source string) advisor.Host {
	text := func(key string) string {
		s, _ := f.Scalar(key).Value.Text()
		return s
	}
	return advisor.Host{
		Name: text("host.name"), Kernel: text("kernel.release"), OS: text("host.os"),
		Source: source, Netns: text("host.netns"),
	}
}

// kernelRelease is `uname -r`; of a directory without /proc the newest kernel that is installed there, which is the one
// that a boot would start unless somebody chose another.
func kernelRelease(t tree) advisor.Fact {
	const file = "/proc/sys/kernel/osrelease"
	fact := textFile(t, file)
	if fact.State != advisor.StateAbsent || t.source() != "root" {
		return fact
	}
	newest, where := "", ""
	for _, c := range installedKernels(t) {
		release := strings.TrimPrefix(path.Base(c), "vmlinuz-")
		if newest == "" || compareReleases(release, newest) > 0 {
			newest, where = release, c
		}
	}
	if newest == "" {
		return advisor.Absent("no kernel was read: nothing in /proc, /lib/modules and /boot", advisor.Origin{})
	}
	return advisor.Known(advisor.Text(newest), advisor.Origin{Path: where})
}

// installedKernels are the paths that are named after a kernel release. A directory of modules without an index is what a
// removed kernel leaves behind (depmod(8) writes modules.dep). /boot decides only where no modules are.
func installedKernels(t tree) []string {
	var found []string
	for _, dir := range []string{"/lib/modules", "/usr/lib/modules"} {
		entries, _ := t.list(dir)
		for _, e := range entries {
			p := path.Join(dir, e.Name)
			if isRelease(e.Name) && exists(t, p+"/modules.dep") {
				found = append(found, p)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	entries, _ := t.list("/boot")
	for _, e := range entries {
		if release, ok := strings.CutPrefix(e.Name, "vmlinuz-"); ok && isRelease(release) {
			found = append(found, path.Join("/boot", e.Name))
		}
	}
	return found
}

func isRelease(s string) bool {
	_, err := advisor.ParseVersion(s)
	return err == nil
}

// compareReleases orders `uname -r` strings: runs of digits by number, all else by text; a "-rc" comes before whatever
// else may follow the number, nothing included.
func compareReleases(a, b string) int {
	for a != "" && b != "" {
		runA, runB := firstRun(a), firstRun(b)
		a, b = a[len(runA):], b[len(runB):]
		if isDigit(runA[0]) && isDigit(runB[0]) {
			runA, runB = strings.TrimLeft(runA, "0"), strings.TrimLeft(runB, "0")
			if c := cmp.Compare(len(runA), len(runB)); c != 0 {
				return c
			}
		}
		if runA != runB {
			return cmp.Or(-preRelease(runA, runB), strings.Compare(runA, runB))
		}
	}
	return cmp.Or(-preRelease(a, b), cmp.Compare(len(a), len(b)))
}

// preRelease is 1 where only a starts a release candidate's suffix, -1 where only b does.
func preRelease(a, b string) int {
	const mark = "-rc"
	switch isA, isB := strings.HasPrefix(a, mark), strings.HasPrefix(b, mark); {
	case isA == isB:
		return 0
	case isA:
		return 1
	}
	return -1
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// firstRun is the longest start of s that is all digits or all other bytes; s is not empty.
func firstRun(s string) string {
	n := 1
	for n < len(s) && isDigit(s[n]) == isDigit(s[0]) {
		n++
	}
	return s[:n]
}

// kernelVersion is the release's leading numbers. Distributions count their own patches behind them, and backport: the
// suffix says nothing that could be compared, and 4.18 of RHEL 8 is no mainline 4.18.
func kernelVersion(release advisor.Fact) advisor.Fact {
	text, ok := release.Value.Text()
	if !ok {
		return release
	}
	v, err := advisor.ParseValue(advisor.TypeVersion, text)
	if err != nil {
		return advisor.Unknown(err.Error(), release.Origin)
	}
	return advisor.Known(v, release.Origin)
}

// textFile is the content of a file of one line, without the newline.
func textFile(t tree, file string) advisor.Fact {
	data, err := t.read(file, smallFile)
	if err != nil {
		return unread(t, file, err)
	}
	return advisor.Known(advisor.Text(string(bytes.TrimRight(data, "\n"))), advisor.Origin{Path: file})
}

// hostName is the running name; of a directory the one of hostname(5): its first line that is no comment.
func hostName(t tree) advisor.Fact {
	fact := textFile(t, "/proc/sys/kernel/hostname")
	if fact.State != advisor.StateAbsent {
		return fact
	}
	const file = "/etc/hostname"
	data, err := t.read(file, smallFile)
	if err != nil {
		return fact
	}
	for line := range bytes.Lines(data) {
		if name := bytes.TrimSpace(line); len(name) > 0 && name[0] != '#' {
			return advisor.Known(advisor.Text(string(name)), advisor.Origin{Path: file})
		}
	}
	return fact
}

// memoryTotal is MemTotal of /proc/meminfo in bytes: proc_meminfo(5) prints it in units of 1024 bytes and calls them kB.
func memoryTotal(t tree) advisor.Fact {
	const file = "/proc/meminfo"
	data, err := t.read(file, smallFile)
	if err != nil {
		return unread(t, file, err)
	}
	origin := advisor.Origin{Path: file}
	for line := range bytes.Lines(data) {
		rest, ok := bytes.CutPrefix(line, []byte("MemTotal:"))
		if !ok {
			continue
		}
		f := strings.Fields(string(rest))
		if len(f) == 2 && f[1] == "kB" {
			if n, err := strconv.ParseInt(f[0], 10, 53); err == nil && n > 0 {
				return advisor.Known(advisor.Int(n<<10), origin)
			}
		}
		return advisor.Unknown(notUnderstood(line), origin)
	}
	return advisor.Unknown("has no line MemTotal", origin)
}

// pageSize is asked of the C library's source, the auxiliary vector, by os.Getpagesize: no text file of /proc holds it.
func pageSize(t tree) advisor.Fact {
	const name = "page_size"
	text, err := askText(t, name, func() (string, error) { return strconv.Itoa(os.Getpagesize()), nil })
	if err != nil {
		return unread(t, name, err)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return advisor.Unknown(notUnderstood([]byte(text)), advisor.Origin{Source: name})
	}
	return advisor.Known(advisor.Int(n), advisor.Origin{Source: name})
}

// cpus counts the processors that are online. /sys comes first: lxcfs hides processors in a container's /proc/cpuinfo,
// but the kernel sizes its tables by all of them.
func cpus(t tree) advisor.Fact {
	const online, cpuinfo = "/sys/devices/system/cpu/online", "/proc/cpuinfo"
	if data, err := t.read(online, smallFile); err == nil {
		if n, ok := countList(strings.TrimSpace(string(data))); ok {
			return advisor.Known(advisor.Int(n), advisor.Origin{Path: online})
		}
	}
	data, err := t.read(cpuinfo, largeFile)
	if err != nil {
		return unread(t, cpuinfo, err)
	}
	var n int64
	for line := range bytes.Lines(data) {
		// "processor : 0" nearly everywhere, "processor 0: version = ..." on s390. ARM adds a line "Processor : ARMv7 ...".
		if bytes.HasPrefix(line, []byte("processor")) {
			n++
		}
	}
	if n == 0 {
		return advisor.Unknown("has no line of a processor", advisor.Origin{Path: cpuinfo})
	}
	return advisor.Known(advisor.Int(n), advisor.Origin{Path: cpuinfo})
}

// countList counts the members of a list such as "0-3,6" (cpuset(7), "List format").
func countList(s string) (int64, bool) {
	var n int64
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		l, errLo := strconv.ParseInt(lo, 10, 32)
		h, errHi := strconv.ParseInt(hi, 10, 32)
		if errLo != nil || errHi != nil || h < l {
			return 0, false
		}
		n += h - l + 1
	}
	return n, true
}

func exists(t tree, p string) bool {
	_, err := t.resolve(p)
	return err == nil
}

// namespace names the namespace of this program, as `readlink /proc/self/ns/net` does: "net:[4026531833]".
func namespace(t tree, kind string) advisor.Fact {
	where := "/proc/self/ns/" + kind
	text, err := askText(t, "ns/"+kind, func() (string, error) { return os.Readlink(threadTask() + "/ns/" + kind) })
	if err != nil {
		return unread(t, where, err)
	}
	return advisor.Known(advisor.Text(text), advisor.Origin{Path: where})
}

// container says whether the kernel belongs to somebody else. The first process namespace has a fixed number
// (PROC_PID_INIT_INO, include/linux/proc_ns.h): another number is a container. In that namespace a container's mark is no
// proof: an image's files may have been started as a machine, and `docker run --pid=host` shares the namespace.
func container(t tree) advisor.Fact {
	const initPID = "pid:[4026531836]"
	ns := namespace(t, "pid")
	if ns.State == advisor.StateAbsent && ns.Why == noKernel {
		return ns
	}
	mark := ""
	for _, p := range []string{"/run/systemd/container", "/run/.containerenv", "/.dockerenv"} {
		if exists(t, p) {
			mark = p
			break
		}
	}
	text, known := ns.Value.Text()
	switch {
	case known && text != initPID:
		return advisor.Known(advisor.Bool(true), ns.Origin)
	case known && mark == "":
		return advisor.Known(advisor.Bool(false), ns.Origin)
	case known:
		return advisor.Unknown(mark+" says container, but the process namespace is the machine's", ns.Origin)
	case mark != "":
		return advisor.Known(advisor.Bool(true), advisor.Origin{Path: mark})
	}
	return advisor.Unknown("neither a container's mark nor "+ns.Origin.Path+" could be read", ns.Origin)
}

// initSystem is "systemd" where sd_booted(3) says so, else the name of process 1; of a directory what /sbin/init leads to.
func initSystem(t tree) advisor.Fact {
	const booted = "/run/systemd/system"
	if exists(t, booted) {
		return advisor.Known(advisor.Text("systemd"), advisor.Origin{Path: booted})
	}
	fact := textFile(t, "/proc/1/comm")
	if fact.State != advisor.StateAbsent || t.source() != "root" {
		return fact
	}
	for _, p := range []string{"/sbin/init", "/usr/sbin/init"} {
		if end, err := t.resolve(p); err == nil {
			return advisor.Known(advisor.Text(path.Base(end)), advisor.Origin{Path: p})
		}
	}
	return advisor.Absent("no init program is installed", fact.Origin)
}

// osRelease reads os-release(5): /etc first, /usr/lib where /etc has none.
func osRelease(t tree) map[string]advisor.Fact {
	names := map[string]string{"PRETTY_NAME": "host.os", "ID": "host.os_id", "ID_LIKE": "host.os_id_like", "VERSION_ID": "host.os_version"}
	facts := make(map[string]advisor.Fact, len(names))
	file := "/etc/os-release"
	data, err := t.read(file, smallFile)
	if errors.Is(err, fs.ErrNotExist) {
		file = "/usr/lib/os-release"
		data, err = t.read(file, smallFile)
	}
	missing := advisor.Absent("not in "+file, advisor.Origin{Path: file})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		missing = advisor.Absent("there is no os-release file", advisor.Origin{})
	case err != nil:
		missing = advisor.Unknown(err.Error(), advisor.Origin{Path: file})
	}
	for _, key := range names {
		facts[key] = missing
	}
	for _, a := range parseOSRelease(data) {
		if key, ok := names[a.name]; ok {
			a.origin.Path = file
			facts[key] = advisor.Known(advisor.Text(a.value), a.origin)
		}
	}
	return facts
}

type osAssignment struct {
	name, value string
	origin      advisor.Origin // of the value, quotes included; without the path
}

// parseOSRelease reads the assignments of os-release(5): a line each, values quoted as in a shell, no expansion. What is no
// assignment is skipped, as all readers of that file do; an empty value is none.
func parseOSRelease(data []byte) []osAssignment {
	var found []osAssignment
	line, start := 0, 0
	for raw := range bytes.Lines(data) {
		line++
		at := start
		start += len(raw)
		text := strings.TrimRight(string(raw), " \t\r\n")
		name, quoted, ok := strings.Cut(text, "=")
		if !ok || strings.HasPrefix(strings.TrimSpace(name), "#") {
			continue
		}
		if value := shellUnquote(quoted); value != "" {
			column := len(name) + 1
			found = append(found, osAssignment{strings.TrimSpace(name), value, advisor.Origin{
				Line: line, Column: column + 1, Start: at + column, End: at + len(text),
			}})
		}
	}
	return found
}

// shellUnquote removes the quoting of one shell word: '...' is literal, in "..." and outside a backslash quotes one byte.
func shellUnquote(s string) string {
	var out strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			out.WriteByte(s[i])
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// cmdlineSysctls fills the table of the kernel parameters that the kernel command line sets before init starts
// (process_sysctl_arg in fs/proc/proc_sysctl.c, since Linux 5.8). A command line may hold secrets, so on the live machine
// only these words leave the read: no capture ever holds the rest.
func cmdlineSysctls(t tree, b *advisor.Builder) []advisor.Gap {
	const file = "/proc/cmdline"
	words, err := askText(t, "cmdline_sysctls", func() (string, error) {
		data, err := os.ReadFile(file)
		var own []string
		for _, w := range cmdlineWords(string(data)) {
			if _, _, ok := cmdlineSysctl(w); ok {
				own = append(own, w)
			}
		}
		return strings.Join(own, "\n"), err
	})
	list := strings.Split(words, "\n")
	if err != nil { // a directory, or a capture that was composed by hand
		var data []byte
		data, err = t.read(file, smallFile)
		list = cmdlineWords(string(data))
	}
	if err != nil {
		fact := unread(t, file, err)
		table := advisor.Table{Absent: fact.Why}
		if fact.State == advisor.StateUnknown {
			table = advisor.Table{Unknown: fact.Why}
		}
		b.SetTable("cmdline_sysctls", table)
		return gapsOf(fact)
	}
	origin := advisor.Origin{Path: file}
	rows := []advisor.Row{}
	for _, w := range list {
		if key, value, ok := cmdlineSysctl(w); ok {
			rows = append(rows, advisor.Row{Origin: origin, Cells: map[string]advisor.Fact{
				"key": advisor.Known(advisor.Text(key), origin), "value": advisor.Known(advisor.Text(value), origin),
			}})
		}
	}
	b.SetTable("cmdline_sysctls", advisor.Table{Rows: rows})
	return nil
}

// cmdlineWords cuts a kernel command line as next_arg in lib/cmdline.c does: at blanks outside of double quotes. A lone
// "--" ends it: what follows is for init.
func cmdlineWords(s string) []string {
	var words []string
	quoted := false
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] == '"' {
			quoted = !quoted
		}
		if i < len(s) && (quoted || !strings.ContainsRune(" \t\n\v\f\r", rune(s[i]))) {
			continue
		}
		word := s[start:i]
		start = i + 1
		if word == "--" {
			return words
		}
		if word != "" {
			words = append(words, word)
		}
	}
	return words
}

// cmdlineSysctl reads "sysctl.net.core.somaxconn=4096" and "sysctl/net/core/somaxconn=4096". The kernel turns each dot
// into a slash, so a name with a dot in it has to be written with slashes; the key keeps the spelling of sysctl(8).
func cmdlineSysctl(word string) (key, value string, ok bool) {
	if inner, isQuoted := strings.CutPrefix(word, `"`); isQuoted { // next_arg takes the quotes from the whole word
		word = strings.TrimSuffix(inner, `"`)
	}
	rest, ok := strings.CutPrefix(word, "sysctl")
	if !ok || rest == "" || rest[0] != '.' && rest[0] != '/' {
		return "", "", false
	}
	key, value, ok = strings.Cut(rest[1:], "=")
	if !ok || key == "" {
		return "", "", false
	}
	if inner, isQuoted := strings.CutPrefix(value, `"`); isQuoted {
		value = strings.TrimSuffix(inner, `"`)
	}
	return strings.ReplaceAll(key, "/", "."), value, true
}
