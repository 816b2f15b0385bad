package host

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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

const netnsChild = "TCPADVISE_TEST_IN_NETNS"

// inOwnNetns runs the test again in a network namespace of its own, where it sees its own sockets only, and reports
// whether this is that run. No privilege is needed but user namespaces.
func inOwnNetns(t testing.TB) bool {
	t.Helper()
	if os.Getenv(netnsChild) == t.Name() {
		if err := loopbackUp(); err != nil {
			t.Fatalf("lo up: %v", err)
		}
		return true
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.timeout=180s", "-test.v"}
	if _, ok := t.(*testing.B); ok {
		args = []string{"-test.run=^$", "-test.bench=^" + t.Name() + "$", "-test.timeout=300s", "-test.benchtime=1x"}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), netnsChild+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Fatalf("this test needs user and network namespaces, and the kernel refuses them here: %v\n"+
			"allow them: sysctl user.max_user_namespaces (above 0), kernel.unprivileged_userns_clone=1 (Debian), "+
			"kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), or run the container with its seccomp filter off", err)
	case err != nil || !strings.Contains(string(out), "PASS"):
		t.Errorf("in its own namespace: %v\n%s", err, out)
	default:
		t.Logf("%s", out)
	}
	return false
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// listen opens a listener as most programs have it: without keepalive, without MPTCP.
func listen(t testing.TB, network, address string) net.Listener {
	t.Helper()
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// rawListener has a backlog and does not accept.
func rawListener(t testing.TB, backlog int) (port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, backlog)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return sa.(*unix.SockaddrInet4).Port
}

func dial(t testing.TB, network, address string) net.Conn {
	t.Helper()
	d := net.Dialer{KeepAlive: -1, Timeout: 10 * time.Second}
	c, err := d.DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func pair(t testing.TB, ln net.Listener) (client, server net.Conn) {
	t.Helper()
	client = dial(t, "tcp", ln.Addr().String())
	return client, accept(t, ln)
}

func accept(t testing.TB, ln net.Listener) net.Conn {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hold keeps connections open to the end of the test.
func hold(t testing.TB, conns ...net.Conn) {
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
}

func write(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func readN(t testing.TB, c net.Conn, n int) {
	t.Helper()
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
}

func port(a net.Addr) int64 { return int64(a.(*net.TCPAddr).Port) }

func look(t testing.TB) *advisor.Facts {
	t.Helper()
	var b advisor.Builder
	for _, g := range collectSockets(t.Context(), thisMachine{}, socketOptions{}, &b) {
		t.Logf("gap: %+v", g)
	}
	facts := b.Facts()
	dumpFacts(t, facts)
	return facts
}

func dumpFacts(t testing.TB, facts *advisor.Facts) {
	for _, name := range facts.Tables() {
		table := facts.Table(name)
		for _, row := range table.Rows {
			var b strings.Builder
			for _, column := range slices.Sorted(maps.Keys(row.Cells)) {
				f := row.Cells[column]
				text := f.Value.String()
				if f.State != advisor.StateKnown {
					text = fmt.Sprintf("?%d(%s)", f.State, f.Why)
				}
				fmt.Fprintf(&b, " %s=%s", column, text)
			}
			t.Logf("%s:%s", name, b.String())
		}
	}
}

// socketRow is the only row of a table whose cells read like want.
func socketRow(t testing.TB, facts *advisor.Facts, table string, want map[string]string) advisor.Row {
	t.Helper()
	var found []advisor.Row
	for _, row := range facts.Table(table).Rows {
		match := true
		for column, text := range want {
			match = match && row.Cells[column].Value.String() == text
		}
		if match {
			found = append(found, row)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d rows of %s are %v, want 1 (%d rows, unknown %q)", len(found), table, want,
			len(facts.Table(table).Rows), facts.Table(table).Unknown)
	}
	return found[0]
}

func onlyRow(t testing.TB, facts *advisor.Facts, table string) advisor.Row {
	t.Helper()
	return socketRow(t, facts, table, nil)
}

// expect compares cells as people read them; "" means absent, "?" unknown.
func expect(t testing.TB, row advisor.Row, want map[string]string) {
	t.Helper()
	for _, column := range slices.Sorted(maps.Keys(want)) {
		f, got := row.Cells[column], ""
		switch f.State {
		case advisor.StateKnown:
			got = f.Value.String()
		case advisor.StateUnknown:
			got = "?"
		}
		if got != want[column] {
			t.Errorf("%s = %q, want %q (%s)", column, got, want[column], f.Why)
		}
	}
}

// between checks a length of time. The upper bounds leave room for a machine that does other things meanwhile: a wrong
// reading is off by orders, or by its unit.
func between(t testing.TB, row advisor.Row, column string, low, high time.Duration) {
	t.Helper()
	d, ok := row.Cells[column].Value.Duration()
	if !ok || d < low || d > high {
		t.Errorf("%s = %v (%+v), want %v to %v", column, d, row.Cells[column], low, high)
	}
}

func itoa(n int64) string { return fmt.Sprint(n) }

const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// Scenario A and C's end: nobody calls accept(), the clients leave; the queue is full and the next SYN is dropped.
func TestUnacceptedCloseWaitAndFullQueue(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	p := rawListener(t, 4)
	address := fmt.Sprintf("127.0.0.1:%d", p)
	for range 5 { // backlog + 1
		c := dial(t, "tcp", address)
		write(t, c, request)
		c.Close()
	}
	for range 3 {
		d := net.Dialer{Timeout: 50 * time.Millisecond}
		if c, err := d.Dial("tcp", address); err == nil {
			c.Close()
			t.Error("connected to a full accept queue")
		}
	}
	facts := look(t)
	row := onlyRow(t, facts, "close_wait")
	expect(t, row, map[string]string{
		"side": "accepted", "address": "127.0.0.1", "port": itoa(int64(p)), "count": "5", "unaccepted": "5",
		"eof_seen": "0", "read_all": "0", "unread": "0", "unread_bytes": itoa(int64(5 * len(request))),
		"queue_used": "5", "queue_limit": "4", "pid": itoa(int64(os.Getpid())), "stale": "0", "keepalive": "0",
		"peer": "127.0.0.1", "loopback": "true", "established": "0", "spread": "", "per_hour": "", "patience_min": "",
	})
	l := onlyRow(t, facts, "listeners")
	expect(t, l, map[string]string{"queue_used": "5", "queue_limit": "4", "wildcard": "false", "sockets": "1", "half_open": "0"})
	if n := number(t, l.Cells["drops"]); n < 3 {
		t.Errorf("drops = %d, want 3 at least", n)
	}
	expect(t, onlyRow(t, facts, "fin_wait2"), map[string]string{"orphaned": "5", "owned": "0", "side": "dialled", "port": itoa(int64(p))})
}

// Scenario A: the handler has read the request and works; the clients waited half a second.
func TestBusyHandler(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp4", "0.0.0.0:0")
	var clients []net.Conn
	for range 6 {
		c := dial(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port(ln.Addr())))
		s := accept(t, ln)
		hold(t, s)
		write(t, c, request)
		readN(t, s, len(request))
		clients = append(clients, c)
	}
	keep, s := pair(t, ln)
	hold(t, keep, s)
	time.Sleep(500 * time.Millisecond)
	closed := time.Now()
	for _, c := range clients {
		c.Close()
	}
	time.Sleep(2200 * time.Millisecond)
	age := time.Since(closed)
	row := onlyRow(t, look(t), "close_wait")
	expect(t, row, map[string]string{
		"side": "accepted", "address": "0.0.0.0", "count": "6", "unaccepted": "0", "eof_seen": "0", "read_all": "6", "unread": "0",
		"stale": "6", "stale_at_most": "6", "still_sending": "0", "established": "1", "spread": "10", "per_hour": "",
		"until_fd_limit": "", "processes": "1",
	})
	between(t, row, "oldest_at_least", 2*time.Second, age+100*time.Millisecond)
	between(t, row, "oldest_at_most", age+400*time.Millisecond, age+5*time.Second)
	between(t, row, "patience_min", 450*time.Millisecond, 5*time.Second)
	between(t, row, "patience_max", 450*time.Millisecond, 5*time.Second)
}

// Scenario C: the server sees each end of stream and never closes. One look tells the rate.
func TestLeakingServer(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	limit := unix.Rlimit{Cur: 200, Max: 200}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	leak := func(n int) {
		for range n {
			c, s := pair(t, ln)
			hold(t, s)
			c.Close()
			if _, err := s.Read(make([]byte, 1)); err != io.EOF {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	leak(30)
	var b advisor.Builder
	first, _, err := observeSockets(t.Context(), thisMachine{}, socketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first.facts(&b)
	facts := b.Facts()
	dumpFacts(t, facts)
	row := onlyRow(t, facts, "close_wait")
	expect(t, row, map[string]string{"count": "30", "eof_seen": "30", "read_all": "0", "unread": "0", "spread": "100", "fd_limit": "200"})
	if rate := number(t, row.Cells["per_hour"]); rate < 30_000 || rate > 37_000 {
		t.Errorf("per_hour = %d, want some 36000", rate)
	}
	left := 200 - number(t, row.Cells["fds"])
	want := time.Duration(left) * 100 * time.Millisecond
	between(t, row, "until_fd_limit", want*8/10, want*12/10)
	leak(5)
	second, _, err := observeSockets(t.Context(), thisMachine{}, socketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	trends := first.compare(second)
	name := closeWaitName{side: "accepted", address: "127.0.0.1", port: uint16(port(ln.Addr())), process: textOf(row, "process"), unit: textOf(row, "unit")}
	if got := trends[name]; len(trends) != 1 || got != (closeWaitTrend{before: 30, after: 35, persisted: 30}) {
		t.Errorf("trends %+v, want 30 that persisted of 35", trends)
	}
}

func textOf(row advisor.Row, column string) string {
	s, _ := row.Cells[column].Value.Text()
	return s
}

// Scenario E: the reader stopped in the middle.
func TestBlockedReader(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	for i := range 3 {
		c, s := pair(t, ln)
		hold(t, s)
		write(t, c, strings.Repeat("x", 1000+i))
		c.Close()
	}
	live, s := pair(t, ln)
	hold(t, live, s)
	write(t, live, "y")
	time.Sleep(20 * time.Millisecond)
	facts := look(t)
	expect(t, onlyRow(t, facts, "close_wait"), map[string]string{
		"count": "3", "unread": "3", "unread_bytes": "3003", "unread_bytes_max": "1002", "eof_seen": "0", "read_all": "0", "established": "1",
	})
	expect(t, socketRow(t, facts, "established", map[string]string{"side": "accepted"}), map[string]string{
		"count": "1", "unread": "1", "unread_bytes_max": "1", "unaccepted": "0",
	})
}

// Scenario B: a client's pool of connections that the server gave up.
func TestClientPool(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	pool, other := listen(t, "tcp", "127.0.0.2:0"), listen(t, "tcp", "127.0.0.3:0")
	var servers []net.Conn
	for range 8 {
		c, s := pair(t, pool)
		hold(t, c)
		write(t, c, request)
		readN(t, s, len(request))
		write(t, s, "ok")
		readN(t, c, 2)
		servers = append(servers, s)
	}
	c, s := pair(t, other)
	hold(t, c, s)
	time.Sleep(300 * time.Millisecond)
	for _, s := range servers {
		s.Close()
	}
	time.Sleep(150 * time.Millisecond) // the FIN's ACK may be delayed by 40 ms: FIN_WAIT1 until then
	facts := look(t)
	row := onlyRow(t, facts, "close_wait")
	expect(t, row, map[string]string{
		"side": "dialled", "address": "127.0.0.2", "port": itoa(port(pool.Addr())), "count": "8", "read_all": "8",
		"established": "0", "queue_used": "", "queue_limit": "", "peer": "127.0.0.2", "pid": itoa(int64(os.Getpid())),
	})
	between(t, row, "patience_min", 250*time.Millisecond, 5*time.Second)
	d := socketRow(t, facts, "dialled", map[string]string{"destination": "127.0.0.2"})
	expect(t, d, map[string]string{"source": "127.0.0.1", "other": "8", "established": "0", "holding": "8", "time_wait": "0", "loopback": "true"})
	expect(t, socketRow(t, facts, "fin_wait2", map[string]string{"side": "accepted"}), map[string]string{"orphaned": "8"})
}

// Scenario D: who closes first holds the TIME_WAIT, and only the dialler's holds a port.
func TestTimeWaitBothSides(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	server, client := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.2:0")
	for range 12 {
		c, s := pair(t, server)
		s.Close()
		io.Copy(io.Discard, c)
		c.Close()
	}
	closeClient := func(n int) {
		for range n {
			c, s := pair(t, client)
			c.Close()
			io.Copy(io.Discard, s)
			s.Close()
		}
	}
	closeClient(7)
	time.Sleep(1200 * time.Millisecond)
	closeClient(4)
	facts := look(t)
	expect(t, onlyRow(t, facts, "time_wait"), map[string]string{"address": "127.0.0.1", "port": itoa(port(server.Addr())), "count": "12"})
	expect(t, onlyRow(t, facts, "dialled"), map[string]string{
		"destination": "127.0.0.2", "port": itoa(port(client.Addr())), "time_wait": "11", "time_wait_young": "4",
		"holding": "11", "loopback": "true", "process": "?", "unit": "?",
	})
	if n := number(t, facts.Scalar("tcp.time_wait")); n != 23 {
		t.Errorf("tcp.time_wait = %d, want 23", n)
	}
	if n := len(facts.Table("close_wait").Rows); n != 0 {
		t.Errorf("%d rows of close_wait after normal closing", n)
	}
}

// Scenario C's control: the client said all it had to say, and the server streams on. No fault.
func TestHalfCloseByDesign(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 3 {
		c, s := pair(t, ln)
		hold(t, c, s)
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, s)
		go io.Copy(io.Discard, c)
		go func() {
			for ctx.Err() == nil {
				io.WriteString(s, "tick")
				time.Sleep(50 * time.Millisecond)
			}
		}()
	}
	time.Sleep(2300 * time.Millisecond)
	facts := look(t)
	expect(t, onlyRow(t, facts, "close_wait"), map[string]string{
		"count": "3", "eof_seen": "3", "still_sending": "3", "stale": "0", "stale_at_most": "0", "patience_min": "",
	})
	expect(t, onlyRow(t, facts, "fin_wait2"), map[string]string{"orphaned": "0", "owned": "3"})
}

// Keepalive answers renew the time stamp that would be the age: what one look cannot tell is unknown, not wrong.
func TestKeepaliveHidesAge(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	for range 3 {
		c, s := pair(t, ln)
		hold(t, s)
		s.(*net.TCPConn).SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 5})
		c.Close() // FIN_WAIT2 answers probes for a minute
	}
	time.Sleep(2600 * time.Millisecond)
	row := onlyRow(t, look(t), "close_wait")
	expect(t, row, map[string]string{
		"count": "3", "keepalive": "3", "stale": "0", "stale_at_most": "3", "spread": "?", "per_hour": "?", "patience_min": "",
	})
	between(t, row, "oldest_at_most", 2500*time.Millisecond, 10*time.Second)
}

// IPv6, and IPv4 through an IPv6 listener, which stands in the table as ::ffff:127.0.0.1.
func TestIPv6AndMapped(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	dual, only := listen(t, "tcp", "[::]:0"), listen(t, "tcp6", "[::1]:0")
	leave := func(address string, ln net.Listener) {
		c := dial(t, "tcp", address)
		hold(t, accept(t, ln))
		c.Close()
	}
	leave(fmt.Sprintf("127.0.0.1:%d", port(dual.Addr())), dual)
	leave(fmt.Sprintf("[::1]:%d", port(dual.Addr())), dual)
	leave(only.Addr().String(), only)
	time.Sleep(20 * time.Millisecond)
	facts := look(t)
	expect(t, socketRow(t, facts, "listeners", map[string]string{"address": "::"}), map[string]string{"wildcard": "true", "dual_stack": "true"})
	expect(t, socketRow(t, facts, "listeners", map[string]string{"address": "::1"}), map[string]string{"wildcard": "false", "dual_stack": "false"})
	expect(t, socketRow(t, facts, "close_wait", map[string]string{"address": "::"}), map[string]string{"side": "accepted", "count": "2", "peer": "", "read_all": "2"})
	expect(t, socketRow(t, facts, "close_wait", map[string]string{"address": "::1"}), map[string]string{"side": "accepted", "count": "1", "peer": "::1", "loopback": "true"})
	for _, peer := range []string{"127.0.0.1", "::1"} {
		socketRow(t, facts, "dialled", map[string]string{"destination": peer, "port": itoa(port(dual.Addr())), "loopback": "true"})
	}
}

// A Go program listens over MPTCP by default; its sockets must look like any other's.
func TestMultipathListener(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	c, s := pair(t, ln)
	hold(t, s)
	c.Close()
	waiting := dial(t, "tcp", ln.Addr().String())
	waiting.Close()
	time.Sleep(20 * time.Millisecond)
	row := onlyRow(t, look(t), "close_wait")
	expect(t, row, map[string]string{"count": "2", "unaccepted": "1", "read_all": "1", "side": "accepted", "pid": itoa(int64(os.Getpid()))})
}

// A socket whose descriptor is in flight between processes is in nobody's /proc/PID/fd: its owner is not known, which
// is another thing than that it has none.
func TestOwnerUnknown(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	pipe, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	ln := listen(t, "tcp", "127.0.0.1:0")
	c, s := pair(t, ln)
	c.Close()
	file, err := s.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(pipe[0], []byte{1}, unix.UnixRights(int(file.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	file.Close()
	s.Close()
	time.Sleep(20 * time.Millisecond)
	row := onlyRow(t, look(t), "close_wait")
	expect(t, row, map[string]string{
		"count": "1", "unaccepted": "0", "read_all": "1", "process": "?", "pid": "?", "fds": "?", "fd_limit": "?", "processes": "?",
	})
}

// tapeRecorder keeps what a machine answered, as a capture does.
type tapeRecorder struct {
	thisMachine
	script *scriptTree
}

func (r tapeRecorder) ask(name string, live func(func([]byte) error) error, use func([]byte) error) error {
	var a answer
	a.err = r.thisMachine.ask(name, live, func(p []byte) error {
		a.pieces = append(a.pieces, slices.Clone(p))
		return use(p)
	})
	r.script.mu.Lock()
	r.script.answers[name] = a
	r.script.mu.Unlock()
	return a.err
}

// What was recorded gives the same facts; and sock_diag and /proc/net/tcp agree where both know.
func TestReplayAndFallbackAgree(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln, six := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "[::1]:0")
	for i := range 9 {
		c, s := pair(t, ln)
		hold(t, s)
		if i%3 > 0 {
			write(t, c, "abc"[:i%3])
		}
		c.Close()
	}
	c, s := pair(t, six)
	hold(t, c, s)
	time.Sleep(250 * time.Millisecond) // a FIN is acknowledged within TCP_DELACK_MAX, 200 ms, and until then its sender is in FIN_WAIT1
	tape := &scriptTree{answers: map[string]answer{}}
	var live, replay, proc advisor.Builder
	collectSockets(t.Context(), tapeRecorder{script: tape}, socketOptions{}, &live)
	collectSockets(t.Context(), tape, socketOptions{}, &replay)
	a, b := render(live.Facts()), render(replay.Facts())
	if a != b {
		t.Errorf("live:\n%s\nreplay:\n%s", a, b)
	}
	collectSockets(t.Context(), refusing{}, socketOptions{}, &proc)
	compareKnown(t, a, render(proc.Facts()))
}

// CLOSE_WAIT costs a walk of its own only where something is in it, and a replay knows that as well.
func TestCloseWaitIsReadWhereThereIsSome(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	c, s := pair(t, ln)
	hold(t, c, s)
	for _, some := range []bool{false, true} {
		if some {
			c, s := pair(t, ln)
			hold(t, s)
			c.Close()
			time.Sleep(250 * time.Millisecond)
		}
		tape := &scriptTree{answers: map[string]answer{}}
		var live, replay advisor.Builder
		collectSockets(t.Context(), tapeRecorder{script: tape}, socketOptions{}, &live)
		if _, asked := tape.answers["sock_diag/close-wait"]; asked != some {
			t.Errorf("some in CLOSE_WAIT: %v; asked for: %v", some, asked)
		}
		facts := live.Facts()
		if n := number(t, facts.Scalar("tcp.close_wait")); n != int64(b2i(some)) {
			t.Errorf("%d in CLOSE_WAIT", n)
		}
		collectSockets(t.Context(), tape, socketOptions{}, &replay)
		if a, b := render(facts), render(replay.Facts()); a != b {
			t.Errorf("live:\n%s\nreplay:\n%s", a, b)
		}
	}
}

// refusing is this machine under a filter that forbids netlink.
type refusing struct{ thisMachine }

func (r refusing) ask(name string, live func(func([]byte) error) error, use func([]byte) error) error {
	if strings.HasPrefix(name, "sock_diag") {
		return use(errnoMessage(unix.EPERM))
	}
	return r.thisMachine.ask(name, live, use)
}

// compareKnown wants each line of the fallback, but for unknown cells, among sock_diag's.
func compareKnown(t *testing.T, diag, proc string) {
	t.Helper()
	known := map[string]bool{}
	for line := range strings.Lines(diag) {
		known[line] = true
	}
	for line := range strings.Lines(proc) {
		own := strings.Contains(line, "].fds = ") // those of this process, which has more open while it asks sock_diag
		if !known[line] && !own && !strings.Contains(line, "= ?") {
			t.Errorf("only in /proc/net/tcp: %s", line)
		}
	}
}

// render writes each fact on a line, rows by their place.
func render(f *advisor.Facts) string {
	var b strings.Builder
	line := func(name string, fact advisor.Fact) {
		switch fact.State {
		case advisor.StateKnown:
			fmt.Fprintf(&b, "%s = %s\n", name, fact.Value)
		case advisor.StateUnknown:
			fmt.Fprintf(&b, "%s = ? %s\n", name, fact.Why)
		}
	}
	for _, key := range f.Scalars() {
		line(key, f.Scalar(key))
	}
	for _, name := range f.Tables() {
		for i, row := range f.Table(name).Rows {
			for _, column := range slices.Sorted(maps.Keys(row.Cells)) {
				line(fmt.Sprintf("%s[%d].%s", name, i, column), row.Cells[column])
			}
		}
	}
	return b.String()
}

// With nothing but listeners in sockstat no other table is read.
func TestOnlyListenersAreReadWhereThereIsNothingElse(t *testing.T) {
	s := newScriptTree()
	s.sockets("sock_diag/listen", listening)
	facts, gaps := collectFrom(t, s, socketOptions{sockstat: &sockstatCounts{inUse: 1}})
	if got := s.questions("sock_diag"); len(got) != 1 || len(gaps) != 0 {
		t.Errorf("asked %v, gaps %v", got, gaps)
	}
	if n := number(t, facts.Scalar("tcp.close_wait")); n != 0 || facts.Scalar("tcp.syn_recv").State != advisor.StateUnknown {
		t.Errorf("close_wait %d, syn_recv %+v", n, facts.Scalar("tcp.syn_recv"))
	}
	s = newScriptTree()
	s.sockets("sock_diag/listen", listening)
	collectFrom(t, s, socketOptions{sockstat: &sockstatCounts{inUse: 1, timeWait: 1}})
	if got := s.questions("sock_diag"); len(got) != 3 {
		t.Errorf("asked %v, want all", got)
	}
}

// The kernel may tell a socket twice: the cookie tells.
func TestTwiceToldSocketCountsOnce(t *testing.T) {
	s := newScriptTree()
	cw := fakeSocket{state: stateCloseWait, local: "192.0.2.1:80", remote: "198.51.100.1:999", inode: 50, cookie: 9, sent: 9000, received: 5000, ack: 3000}
	s.sockets("sock_diag/listen", listening)
	s.sockets("sock_diag/close-wait", cw, cw)
	facts, _ := collectFrom(t, s, socketOptions{})
	expect(t, onlyRow(t, facts, "close_wait"), map[string]string{"count": "1", "patience_max": "2 s"})
	if n := number(t, facts.Scalar("tcp.close_wait")); n != 1 {
		t.Errorf("tcp.close_wait = %d", n)
	}
}

// Workers of one program are one row, two programs are two; the process that holds most gives its number and limit.
func TestCloseWaitGroupsByOwner(t *testing.T) {
	s := newScriptTree()
	s.sockets("sock_diag/listen", listening)
	var all []fakeSocket
	for i := range uint32(6) {
		all = append(all, fakeSocket{
			state: stateCloseWait, local: "192.0.2.1:4000", remote: "203.0.113.5:5432", inode: 50 + i,
			cookie: uint64(50 + i), rqueue: 1, sent: 9000, received: 9000, ack: 4000,
		})
	}
	s.sockets("sock_diag/close-wait", all...)
	s.lines("owners", `"10" "40" "1024" "/system.slice/nginx.service" "nginx" 7 50`+"\n",
		`"11" "41" "1024" "/system.slice/nginx.service" "nginx" 51 52`+"\n",
		`"12" "9" "unlimited" "/user.slice" "java \"x\"" 53`+"\n", "unreadable 4\n")
	facts, gaps := collectFrom(t, s, socketOptions{})
	expect(t, socketRow(t, facts, "close_wait", map[string]string{"process": "nginx"}), map[string]string{
		"count": "3", "pid": "11", "fds": "41", "fd_limit": "1024", "processes": "2", "unit": "nginx.service", "side": "dialled",
	})
	expect(t, socketRow(t, facts, "close_wait", map[string]string{"process": `java "x"`}), map[string]string{
		"count": "1", "fd_limit": "unlimited", "unit": "", "cgroup": "/user.slice",
	})
	row := socketRow(t, facts, "close_wait", map[string]string{"count": "2"})
	expect(t, row, map[string]string{"process": "?", "uid": "0"})
	if why := row.Cells["process"].Why; !strings.Contains(why, "4 processes could not be read (run as root, with CAP_SYS_PTRACE)") {
		t.Errorf("why: %q", why)
	}
	if len(gaps) != 1 || !gaps[0].Notice {
		t.Errorf("gaps %+v, want one notice", gaps)
	}
}

// A flood of one program is one row, though not each socket is kept.
func TestSuspectsBeyondTheLimitJoinTheirOwner(t *testing.T) {
	s := newScriptTree()
	s.sockets("sock_diag/listen", listening)
	all := make([]fakeSocket, maxSuspects+1000)
	record := `"10" "40000" "50000" "/system.slice/a.service" "srv" 7`
	for i := range all {
		all[i] = fakeSocket{
			state: stateCloseWait, local: "192.0.2.1:80", remote: "198.51.100.1:999", inode: uint32(100 + i),
			cookie: uint64(i + 1), rqueue: 1, sent: 90_000, received: 90_000, ack: uint32(3000 + i),
		}
		if i < maxSuspects {
			record += " " + itoa(int64(100+i))
		}
	}
	s.sockets("sock_diag/close-wait", all...)
	s.lines("owners", record+"\n", "unreadable 0\n")
	facts, _ := collectFrom(t, s, socketOptions{})
	expect(t, onlyRow(t, facts, "close_wait"), map[string]string{
		"count": itoa(int64(len(all))), "process": "srv", "read_all": itoa(int64(len(all))), "spread": "100",
	})
	s.lines("owners", "unreadable 5\n")
	facts, _ = collectFrom(t, s, socketOptions{})
	expect(t, onlyRow(t, facts, "close_wait"), map[string]string{"count": itoa(int64(len(all))), "process": "?"})
}

// SO_REUSEPORT siblings are one row, with the fullest one's queue.
func TestReusePortSiblings(t *testing.T) {
	s := newScriptTree()
	a, b := listening, listening
	a.rqueue, b.rqueue, b.inode, b.cookie = 3, 90, 8, 2
	s.sockets("sock_diag/listen", a, b, fakeSocket{state: stateListen, local: "[::]:80", remote: "[::]:0", wqueue: 5, inode: 9, v6Only: true})
	s.lines("owners", `"10" "40" "1024" "/" "nginx" 7 8 9`+"\n", "unreadable 0\n")
	facts, _ := collectFrom(t, s, socketOptions{})
	expect(t, socketRow(t, facts, "listeners", map[string]string{"address": "0.0.0.0"}), map[string]string{
		"sockets": "2", "queue_used": "90", "queue_limit": "128", "drops": "?", "process": "nginx", "unit": "",
	})
	expect(t, socketRow(t, facts, "listeners", map[string]string{"address": "::"}), map[string]string{"dual_stack": "false", "wildcard": "true"})
}

// Without the right to see processes the kernel's cgroup number still names the unit.
func TestUnitWithoutOwner(t *testing.T) {
	s := newScriptTree()
	l := listening
	l.cgroup, l.uid = 4711, 33
	s.sockets("sock_diag/listen", l)
	s.lines("owners", "unreadable 300\n")
	s.lines("cgroups", `4711 "/system.slice/nginx.service"`+"\n")
	facts, _ := collectFrom(t, s, socketOptions{})
	expect(t, onlyRow(t, facts, "listeners"), map[string]string{"process": "?", "unit": "nginx.service", "uid": "33"})
}

// Of many destinations the heavy ones stay, whatever comes first.
func TestCappedKeepsTheHeavy(t *testing.T) {
	c := newCapped[uint32](func(n *int64) int64 { return *n })
	for i := range uint32(300_000) {
		*c.at(&i)++
		if heavy := uint32(1 << 30); i%3 == 0 {
			*c.at(&heavy)++
		}
	}
	heavy := uint32(1 << 30)
	if n := *c.at(&heavy); n != 100_000 {
		t.Errorf("the heavy group counts %d, want 100000", n)
	}
	if len(c.rows) > maxGroups || c.omitted+len(c.rows) != 300_001 {
		t.Errorf("%d groups, %d omitted", len(c.rows), c.omitted)
	}
}

func TestCgroupPaths(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/nginx.service\n":                         "/system.slice/nginx.service",
		"9:name=systemd:/system.slice/a.service\n8:pids:/\n0::/\n": "/system.slice/a.service",
		"9:name=systemd:/\n0::/docker/abc\n":                       "/docker/abc",
		"1:name=systemd:/old\n0::/system.slice/docker-abc.scope\n": "/system.slice/docker-abc.scope",
		"4:memory:/x\n": "",
		"0::/user.slice/user-1.slice/user@1.service/app.slice/run-r1.scope/payload\n": "/user.slice/user-1.slice/user@1.service/app.slice/run-r1.scope/payload",
	} {
		if got := cgroupOf([]byte(text)); got != want {
			t.Errorf("cgroupOf(%q) = %q, want %q", text, got, want)
		}
	}
	for path, want := range map[string]string{
		"/system.slice/nginx.service": "nginx.service", "/docker/abc": "", "/": "",
		"/user.slice/user-1.slice/user@1.service/app.slice/run-r1.scope/payload": "run-r1.scope",
	} {
		if got := unitOf(path); got != want {
			t.Errorf("unitOf(%q) = %q, want %q", path, got, want)
		}
	}
}

// The live walk of processes, against what this process knows of itself.
func TestFindOwnersOfThisProcess(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	hold(t, dial(t, "tcp", ln.Addr().String()))
	row := onlyRow(t, look(t), "listeners")
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	expect(t, row, map[string]string{"pid": itoa(int64(os.Getpid())), "process": strings.TrimSpace(string(comm))})
	self, err := os.Open("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	text, _ := io.ReadAll(bufio.NewReader(self))
	expect(t, row, map[string]string{"cgroup": cmp.Or(cgroupOf(text), "?")})
}

// The search by inode number, over a tree of directories that stands for the cgroups.
func TestSearchCgroups(t *testing.T) {
	root := t.TempDir()
	deep := "/system.slice/nginx.service"
	if err := os.MkdirAll(root+deep+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(root+deep, &st); err != nil {
		t.Fatal(err)
	}
	var lines []string
	left := map[uint64]struct{}{st.Ino: {}}
	err := searchCgroups(t.Context(), root, left, func(p []byte) error {
		lines = append(lines, string(p))
		return nil
	})
	if want := fmt.Sprintf("%d %q\n", st.Ino, deep); err != nil || len(lines) != 1 || lines[0] != want {
		t.Errorf("%v, %q, want %q", err, lines, want)
	}
}

// TestKeepaliveTimersAreCounted: the option shows as a timer, on live connections and on those in CLOSE_WAIT.
func TestKeepaliveTimersAreCounted(t *testing.T) {
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp4", "127.0.0.1:0")
	for i := range 5 {
		c, s := pair(t, ln) // dial and the listener leave keepalive off
		hold(t, c, s)
		if i < 2 {
			if err := s.(*net.TCPConn).SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute}); err != nil {
				t.Fatal(err)
			}
		}
		if i == 1 {
			c.Close()
		}
	}
	time.Sleep(100 * time.Millisecond)
	if n := number(t, look(t).Scalar("tcp.keepalive")); n != 2 {
		t.Errorf("%d sockets with a keepalive timer, want 2: one established, one in CLOSE_WAIT", n)
	}
}

// A destination's row tells one socket's owner: its process and its user.
func TestDialledRowIsOfOneSocket(t *testing.T) {
	s := newScriptTree()
	var all []fakeSocket
	others := `"11" "40" "1024" "/system.slice/b.service" "others"`
	for i := range 1200 {
		socket := fakeSocket{
			state: stateEstablished, local: "192.0.2.1:" + itoa(int64(20_000+i)), remote: "198.51.100.9:5432",
			inode: uint32(100 + i), uid: 1001, cookie: uint64(i + 1),
		}
		if i == 0 {
			socket.uid = 1000 // of a process that could not be looked into
		} else {
			others += " " + itoa(int64(socket.inode))
		}
		all = append(all, socket)
	}
	s.sockets("sock_diag/others", all...)
	s.lines("owners", others+"\n", "unreadable 1\n")
	facts, _ := collectFrom(t, s, socketOptions{})
	expect(t, onlyRow(t, facts, "dialled"), map[string]string{"process": "others", "pid": "11", "uid": "1001", "unit": "b.service", "holding": "1200"})
}
