package host

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// holder is another process with these descriptors.
func holder(t testing.TB, conns ...net.Conn) (pid int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "120")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, c := range conns {
		f, err := c.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 100 { // until exec: before, its name is ours
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid)); string(comm) == "sleep\n" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return int64(cmd.Process.Pid)
}

// die kills the server's sockets by a RST of the client.
func die(t testing.TB, clients []net.Conn) {
	t.Helper()
	for _, c := range clients {
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// Sockets that a RST has taken from under their process are in no table, and their descriptors stay.
func TestHiddenSockets(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "[::]:0")
	clients := make([]net.Conn, 12)
	servers := make([]net.Conn, 12)
	for i := range clients {
		clients[i], servers[i] = pair(t, ln)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pid := holder(t, append(servers, udp.(net.Conn))...)
	twin := holder(t, servers...) // shares each socket: counted once, for the first
	for _, s := range servers {
		s.Close()
	}
	udp.Close()
	die(t, clients[:5])
	time.Sleep(20 * time.Millisecond)
	parts := readTwice(t.Context(), t, Options{Deep: true, Sample: 300 * time.Millisecond, Progress: during(func() { die(t, clients[5:7]) })})
	row := onlyRow(t, parts[0].Facts, "hidden_sockets")
	expect(t, row, map[string]string{"pid": itoa(min(pid, twin)), "process": "sleep", "count": "7", "grew": "2"})
	if n := number(t, parts[0].Facts.Scalar("tcp.established")); n != 10 {
		t.Errorf("tcp.established = %d, want 10", n)
	}
	f := readTwice(t.Context(), t, Options{Deep: true})[0].Facts
	expect(t, onlyRow(t, f, "hidden_sockets"), map[string]string{"count": "7", "grew": ""})
}

// Without netlink the text files say the same.
func TestHiddenSocketsFromText(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "[::]:0")
	c, s := pair(t, ln)
	hold(t, c, s)
	w := hiddenWalk{tables: map[uint32]struct{}{}}
	if err := w.readText(threadNet() + "/"); err != nil {
		t.Fatal(err)
	}
	text := len(w.tables)
	if err := w.readOwn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text != 3 || len(w.tables) != 3 {
		t.Errorf("%d inodes by text, %d with netlink, want 3", text, len(w.tables))
	}
	var inode unix.Stat_t
	f, err := s.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), &inode); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.tables[uint32(inode.Ino)]; !ok || !isTCP(os.Getpid(), fmt.Sprint(f.Fd())) {
		t.Error("a live connection is not among them, or is no TCP")
	}
}

// Nobody walks all descriptors of a host for the few sockets that are being made.
func TestHiddenSocketsAreSuspected(t *testing.T) {
	for _, c := range []struct {
		alloc, own, other int64
		want              bool
	}{{100, 90, 10, false}, {115, 90, 10, false}, {121, 90, 10, true}, {10_400, 9_000, 1_000, false}, {10_600, 9_000, 1_000, true}, {0, 10, 0, false}} {
		if got := exceeds([]netns{{own: true, inUse: c.own, alloc: c.alloc}, {inUse: c.other, alloc: 1 << 40}}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestHiddenRecord(t *testing.T) {
	s := newScriptTree()
	s.lines("hidden", `3 10 "a b\"\\" "/system.slice/x.service"`+"\n", `9 11 "java" ""`+"\n", "unreadable 4\n")
	h := findHidden(t.Context(), s)
	var b advisor.Builder
	b.SetTable("hidden_sockets", h.table())
	f := b.Facts()
	expect(t, socketRow(t, f, "hidden_sockets", map[string]string{"pid": "10"}), map[string]string{"process": `a b"\`, "unit": "x.service", "count": "3"})
	expect(t, socketRow(t, f, "hidden_sockets", map[string]string{"pid": "11"}), map[string]string{"process": "java", "unit": "", "count": "9"})
	if why := f.Table("hidden_sockets").Unknown; why != "4 processes could not be read (run as root, with CAP_SYS_PTRACE)" {
		t.Error(why)
	}
	s.lines("hidden", "nonsense\n")
	if h := findHidden(t.Context(), s); h.err == nil {
		t.Error("no error")
	}
}
