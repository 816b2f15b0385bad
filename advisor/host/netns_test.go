package host

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// otherNetns is a further network namespace with a process in it, a listener that has leaked n connections, and a parameter
// of its own.
func otherNetns(t *testing.T, leaked int) (pid int, ln net.Listener) {
	t.Helper()
	var failed error
	onOwnThread(func() {
		failed = errors.Join(unix.Unshare(unix.CLONE_NEWNET), loopbackUp(), os.WriteFile("/proc/sys/net/ipv4/tcp_fin_timeout", []byte("33"), 0))
		if failed != nil {
			return
		}
		cmd := exec.CommandContext(t.Context(), "sleep", "120") // the thread's namespace is the child's
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		if failed = cmd.Start(); failed != nil {
			return
		}
		pid = cmd.Process.Pid
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		ln, failed = net.Listen("tcp4", "127.0.0.1:8099")
		for i := 0; i < leaked && failed == nil; i++ {
			var c, s net.Conn
			if c, failed = net.Dial("tcp4", "127.0.0.1:8099"); failed != nil {
				return
			}
			if s, failed = ln.Accept(); failed == nil {
				hold(t, s)
				c.Close()
			}
		}
	})
	if failed != nil {
		t.Fatal(failed)
	}
	t.Cleanup(func() { ln.Close() })
	for range 100 { // until exec: before, its name is ours
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(comm) == "sleep\n" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	return pid, ln
}

// A namespace is entered by what it is called.
func TestEnter(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "net:[4026532177]": "", "web": "sudo ip netns exec web", "java 476": "sudo nsenter -t 476 -n", "kube proxy 9": "sudo nsenter -t 9 -n",
	} {
		if got := (&Part{Name: name}).Enter(); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func finTimeout(f *advisor.Facts) string {
	return showFact(f.Member("sysctl", "net.ipv4.tcp_fin_timeout"))
}

// A process' namespace: its sockets, counters and parameters; not its files, for they set the machine's first.
func TestNetnsOfAProcess(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	own := listen(t, "tcp4", "127.0.0.1:8100")
	pid, _ := otherNetns(t, 4)
	before, _ := os.Readlink(threadTask() + "/ns/net")
	parts := readTwice(t.Context(), t, Options{Netns: fmt.Sprint(pid), Sample: 200 * time.Millisecond, Deep: true})
	if len(parts) != 1 || parts[0].Name != fmt.Sprintf("sleep %d", pid) {
		t.Fatalf("%d parts, %q", len(parts), parts[0].Name)
	}
	f := parts[0].Facts
	expect(t, onlyRow(t, f, "listeners"), map[string]string{"port": "8099", "pid": itoa(int64(os.Getpid()))})
	expect(t, onlyRow(t, f, "close_wait"), map[string]string{"count": "4", "persisted": "4", "grew": "0", "pid": itoa(int64(os.Getpid()))})
	for name, want := range map[string]string{
		"sysctl net.ipv4.tcp_fin_timeout": "33", "counter Tcp.ActiveOpens": "4", "rate Tcp.ActiveOpens": "0",
		"sysctl net.ipv4.tcp_mem":           "absent: this kernel has no such key",
		"declared net.ipv4.tcp_fin_timeout": "absent: the files of this host set the machine's first network namespace only",
	} {
		family, key, _ := strings.Cut(name, " ")
		if got := showFact(f.Member(family, key)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	link, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if parts[0].Host.Netns != link {
		t.Errorf("netns %s, want %s", parts[0].Host.Netns, link)
	}
	if after, _ := os.Readlink(threadTask() + "/ns/net"); after != before || after == link {
		t.Errorf("this thread is in %s, was in %s", after, before)
	}
	// And then, in the same process, our own again.
	mine := readHost(t.Context(), t, Options{})[0]
	expect(t, onlyRow(t, mine.Facts, "listeners"), map[string]string{"port": itoa(port(own.Addr()))})
	if got := finTimeout(mine.Facts); got == "33" || mine.Host.Netns != before {
		t.Errorf("own namespace: %s, tcp_fin_timeout %s", mine.Host.Netns, got)
	}
}

// All: our own first, with what belongs to the machine, then the others without.
func TestNetnsAll(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	listen(t, "tcp4", "127.0.0.1:8100")
	var pids []int
	for i := range 2 {
		pid, _ := otherNetns(t, 3+i)
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	parts := readTwice(t.Context(), t, Options{Netns: "all", Sample: 300 * time.Millisecond})
	// Other tests' namespaces may be seen and not be entered: those are gaps.
	if len(parts) != 3 || parts[0].Name != "" {
		t.Fatalf("%d parts", len(parts))
	}
	expect(t, onlyRow(t, parts[0].Facts, "listeners"), map[string]string{"port": "8100"})
	if got := finTimeout(parts[0].Facts); got == "33" {
		t.Error("the parameter of another namespace in our own")
	}
	if _, ok := parts[0].Facts.Scalar("files.open").Value.Int(); !ok || len(parts[0].Facts.Table("processes").Rows) == 0 {
		t.Error("the machine is missing")
	}
	for i, p := range parts[1:] {
		if p.Name != fmt.Sprintf("sleep %d", pids[i]) || finTimeout(p.Facts) != "33" {
			t.Errorf("%q: tcp_fin_timeout %s", p.Name, finTimeout(p.Facts))
		}
		row := onlyRow(t, p.Facts, "close_wait")
		if n := number(t, row.Cells["count"]); n != 3 && n != 4 {
			t.Errorf("count %d", n)
		}
		if p.Facts.Scalar("files.open").State != advisor.StateAbsent || p.Facts.Table("processes").Absent == "" {
			t.Error("the machine is told again")
		}
	}
}

// What cannot be changed in a namespace is told.
func TestNetnsRefuses(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	p := readTwice(t.Context(), t, Options{})[0]
	for key, want := range map[string]string{
		"net.ipv4.tcp_fin_timeout": "", "net.core.netdev_max_backlog": "this network namespace does not have it", "vm.swappiness": "",
	} {
		if got := p.Refuses(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/sys/net/core/rmem_max", &st); err == nil && st.Mode&0o222 == 0 {
		if got := p.Refuses("net.core.rmem_max"); got == "" {
			t.Error("net.core.rmem_max is read-only here and not refused")
		}
	}
}

// Without --netns the report names what it did not read.
func TestNetnsNotRead(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	pid, _ := otherNetns(t, 2)
	p := readTwice(t.Context(), t, Options{})[0]
	want := advisor.Gap{
		Source: fmt.Sprintf("network namespace of sleep %d", pid), Notice: true,
		Why: fmt.Sprintf("5 TCP sockets here, not read: as root, use --netns %d", pid),
	}
	if !slices.Contains(p.Gaps, want) {
		t.Errorf("gaps %+v, want %+v", p.Gaps, want)
	}
}

func TestNetnsFaults(t *testing.T) {
	for netns, want := range map[string]string{
		"2000000000": "--netns 2000000000: no process 2000000000", "no-such-name": "--netns no-such-name: 'ip netns' knows no such name",
		"/proc/1/ns/net": "--netns /proc/1/ns/net: wants a process number, a name that 'ip netns' lists, or all",
	} {
		if _, err := Open(Options{Catalogue: catalogue(t), Netns: netns}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", netns, err, want)
		}
	}
	if _, err := Open(Options{Catalogue: catalogue(t), Root: t.TempDir(), Netns: "all"}); err == nil || !strings.Contains(err.Error(), "live machine only") {
		t.Error(err)
	}
	// Our own by number is no other, and takes no rights. The process's first thread may be one that an earlier test left in
	// another namespace, since the runtime cannot end it; then the number names that one.
	asNobody(t, func() {
		first, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", os.Getpid()))
		if ours, _ := os.Readlink("/proc/thread-self/ns/net"); first != ours {
			t.Logf("the first thread is in %s, this one in %s", first, ours)
			return
		}
		h, err := Open(Options{Netns: fmt.Sprint(os.Getpid())})
		if err != nil {
			t.Log("the process of a test that was root may not be looked at by nobody:", err)
		} else if len(h.parts) != 1 || h.parts[0].name != "" {
			t.Errorf("%+v", h.parts[0])
		}
	})
}

func TestNetnsNotices(t *testing.T) {
	all := []netns{{own: true, inUse: 100}, {name: "idle"}}
	for i := range 12 {
		all = append(all, netns{pid: 100 + i, comm: "srv", inUse: int64(i + 1)})
	}
	all[13].name = "web"
	gaps := unreadNamespaces(all)
	if len(gaps) != 11 || gaps[0].Source != "network namespace of web" || !strings.HasSuffix(gaps[0].Why, "use --netns web") {
		t.Errorf("%+v", gaps)
	}
	if last := gaps[10]; last.Source != "2 further network namespaces" || !strings.HasPrefix(last.Why, "3 TCP sockets there") {
		t.Errorf("%+v", last)
	}
	var n netns
	for _, ns := range all {
		if err := n.decode(ns.encode()); err != nil {
			t.Error(err)
		}
	}
	odd := netns{link: "net:[1]", comm: "a \"b\"\n%d", pid: 3, alloc: 9}
	if err := n.decode(odd.encode()); err != nil || n != odd {
		t.Errorf("%+v %v", n, err)
	}
}
