package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const answers = "keepalive_timeout 75s; server { listen 80 backlog=4; location / { return 200 ok; } }"

// More clients than the accept queue holds, and a worker that does not accept: SYNs are dropped, and each repeated one counts.
func TestListenOverflow(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	nginx := startNginx(t, 80, answers)
	worker := nginx.worker(t)
	must(t, syscall.Kill(worker, syscall.SIGSTOP))
	defer crowd(t, 30, 80, "/")()
	eventually(t, "the queue is full", func() bool { return sockets(stEstablished, 80) == 5 })
	time.Sleep(1500 * time.Millisecond) // until SYNs were repeated
	full := fmt.Sprintf("the accept queue of port 80 is full: 5 finished connections wait for accept() where 4 may, process nginx (pid %d); "+
		"%%d connection attempts were dropped here since it listens", nginx.pid)
	once := check(t)
	f := once.only(t, "queue/accept-queue-full", "error", "certain")
	n := f.says(t, full)
	near(t, "dropped", n[0], 25, 500)
	if !slices.ContainsFunc(f.Do, func(do string) bool { return strings.Contains(do, fmt.Sprintf("--ppid %d ", nginx.pid)) }) {
		t.Errorf("the workers are not looked at: %q", f.Do)
	}
	once.quiet(t, "queue/accept-queue-full")
	once.exits(t, 1)

	twice := check(t, "--sample", "3s")
	twice.only(t, "queue/accept-queue-full", "error", "certain").says(t, full)
	n = twice.explained(t, "queue/listen-overflows", "queue/accept-queue-full").says(t, "now: %d connection attempts a second are dropped because an accept "+
		"queue is full; listeners that dropped some: port 80")
	near(t, "a second", n[0], 1, 50)
	twice.quiet(t, "queue/accept-queue-full", "queue/listen-overflows")

	must(t, syscall.Kill(worker, syscall.SIGCONT))
	eventually(t, "all are accepted", func() bool { return sockets(stEstablished, 80) == 30 })
	over := check(t)
	over.quiet(t)
	over.exits(t, 0)
}

// An outgoing connection has taken nginx's port while it was down. With the port reserved, as the finding says, nginx starts.
func TestPortOverlap(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	dir := nginxFiles(t, "server { listen 8080; location / { return 200 ok; } }")
	setSysctl(t, "net.ipv4.ip_local_port_range=8070 8089")
	startNginx(t, 81, "server { listen 81; location / { return 200 ok; } }")
	takeAll := func() (taken []net.Conn) {
		for {
			c, err := net.DialTimeout("tcp4", "127.0.0.1:81", 20*time.Second)
			if err != nil {
				return taken
			}
			taken = append(taken, c)
		}
	}
	taken := takeAll()
	err := run1("nginx", "-p", dir, "-e", "error.log", "-c", filepath.Join(dir, "nginx.conf"))
	if len(taken) != 20 || err == nil || !strings.Contains(err.Error(), "bind() to 0.0.0.0:8080 failed (98: Address already in use)") {
		t.Errorf("%d connections, nginx: %v", len(taken), err)
	}
	for _, c := range taken { // with a reset, for TIME_WAIT would hold the port for a minute
		must(t, c.(*net.TCPConn).SetLinger(0))
		c.Close()
	}
	runNginx(t, dir, 8080)
	r := check(t)
	f := r.only(t, "ports/range-overlaps-service", "warning", "high")
	if !strings.HasPrefix(f.Message, "net.ipv4.ip_local_port_range = 8070 8089") || !strings.Contains(f.Message, " unreserved: 8080; while a service restarts, "+
		"an outgoing connection can take its port, and bind() fails with EADDRINUSE") {
		t.Errorf("%s says %s", f.Rule, f.Message)
	}
	f.changes(t, "sysctl:net.ipv4.ip_local_reserved_ports=8080 safe")
	r.quiet(t, f.Rule)

	setSysctl(t, "net.ipv4.ip_local_reserved_ports=8080")
	check(t).quiet(t)
	taken = takeAll()
	if len(taken) != 19 {
		t.Errorf("%d connections with one port reserved", len(taken))
	}
}

// inNetnsOf runs do in the network namespace of a process, on a thread that nothing else runs on from then on. It is kept, for what it has
// started before ends with it: see Pdeathsig in start.
func inNetnsOf(pid int, do func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			done <- inNetnsOf(pid, do) // /proc/self stands for the first thread; while it is held here, another is taken
			runtime.UnlockOSThread()
			return
		}
		ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err = errors.Join(err, unix.Setns(ns, unix.CLONE_NEWNET), unix.Close(ns)); err == nil {
			do()
		}
		done <- err
		select {}
	}()
	return <-done
}

// A container's leak, looked at from the host: --netns PID.
func TestServerInOtherNetns(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	leaky := startJava(t, []string{"unshare", "-n", "sh", "-c", `ip link set lo up && exec "$@"`, "sh"}, 0, "LeakyServer")
	listens := func() (yes bool) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp6", leaky.pid))
		return strings.Contains(string(text), ":2328 ") // 9000
	}
	eventually(t, "LeakyServer listens", listens)
	must(t, inNetnsOf(leaky.pid, func() {
		for range 12 {
			c, err := net.Dial("tcp4", "127.0.0.1:9000")
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
			time.Sleep(50 * time.Millisecond)
		}
	}))
	time.Sleep(beyondTraffic)
	own := check(t)
	own.quiet(t)
	if !slices.ContainsFunc(own.Gaps, func(g gap) bool {
		return g.Source == fmt.Sprintf("network namespace of java %d", leaky.pid) && strings.HasPrefix(g.Why, "25 TCP sockets here, not read")
	}) {
		t.Errorf("the namespace and its listener, 12 sockets and their 12 peers are not named: %+v", own.Gaps)
	}
	r := check(t, "--netns", fmt.Sprint(leaky.pid))
	if rule := r.rules(); len(rule) != 1 || !strings.Contains(r.Findings[0].Message, fmt.Sprintf("java %d", leaky.pid)) ||
		!strings.Contains(r.Findings[0].Message, " :9000") || rule[0] != "close-wait/server-leak" && rule[0] != "close-wait/handler-busy" { // by their spread
		t.Errorf("found: %v", rule)
	} else if do := r.Findings[0].Do[0]; do != fmt.Sprintf("what follows is for its network namespace: sudo nsenter -t %d -n sh", leaky.pid) {
		t.Errorf("the first thing to do: %s", do)
	}
	if got := r.Sockets["close_wait"]; got != 12 {
		t.Errorf("%d sockets in CLOSE_WAIT", got)
	}
}

// The configuration of an nginx is judged with the namespace that it listens in: elsewhere its ports are not those of its neighbours.
func TestNginxInOtherNetns(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	dir := nginxFiles(t, "server { listen 80; location / { proxy_pass http://127.0.0.1:8080; proxy_ignore_client_abort on; } }")
	nginx := start(t, dir, 0, syscall.SIGTERM, "unshare", "-n", "sh", "-c", `ip link set lo up && exec "$@"`, "sh",
		"nginx", "-p", dir, "-e", "error.log", "-c", filepath.Join(dir, "nginx.conf"))
	eventually(t, "it has a worker", func() bool { return len(nginx.children(t)) == 1 && exists(filepath.Join(dir, "nginx.pid")) })
	args := []string{"--only", "nginx/*"}
	conf := filepath.Join(dir, "nginx.conf")
	mentioned := func(r diagnosis) bool {
		return slices.ContainsFunc(r.Findings, func(f finding) bool {
			return f.Rule == "nginx/ignore-client-abort" && strings.Contains(f.Message, conf)
		})
	}
	if r := check(t, args...); mentioned(r) || slices.ContainsFunc(r.Gaps, func(g gap) bool { return strings.HasPrefix(g.Source, "nginx, process ") }) {
		t.Errorf("found %v, gaps %+v", r.rules(), r.Gaps)
	}
	if r := check(t, append(args, "--netns", fmt.Sprint(nginx.pid))...); !mentioned(r) {
		t.Errorf("found %v, gaps %+v", r.rules(), r.Gaps)
	}
}

// Normal closing at 2000 connections a second: no look, of fifty, takes what it sees for a fault. It has the machine to itself.
func TestNormalTraffic(t *testing.T) {
	if !inOwnNetns(t) {
		return
	}
	startNginx(t, 80, strings.ReplaceAll(answers, " backlog=4", ""))
	const rate, clients = 2000, 8
	var served atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	begun := time.Now()
	for range clients {
		all.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Until(begun.Add(time.Duration(n) * time.Second * clients / rate))):
				}
				if err := visitNginx(); err != nil {
					t.Error(err)
					return
				}
				served.Add(1)
			}
		})
	}
	seen := 0
	for range 50 {
		r := check(t, "--only", "fd/*")
		seen += r.Sockets["close_wait"]
		for _, f := range r.Findings {
			if f.Rule != "time-wait/server-side-harmless" {
				t.Errorf("%s %s: %s", f.Severity, f.Rule, f.Message)
			}
		}
	}
	took := time.Since(begun)
	close(stop)
	all.Wait()
	t.Logf("%d connections in %s, %d sockets in CLOSE_WAIT were seen", served.Load(), took, seen)
	near(t, "connections a second", float64(served.Load())/took.Seconds(), rate/4, rate*1.1)
}

// visitNginx asks, reads the answer and closes, as a client does that keeps no connection.
func visitNginx() error {
	d := net.Dialer{KeepAlive: -1, Timeout: 20 * time.Second}
	c, err := d.Dial("tcp4", "127.0.0.1:80")
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1024))
	return err
}

// nginx asks for more than somaxconn allows and is not told; after somaxconn was raised a reload keeps the short queue.
func TestCappedBacklog(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	setSysctl(t, "net.core.somaxconn=128")
	dir := nginxFiles(t, "server {\nlisten 80 backlog=3000;\nlocation / { return 200 ok; } }")
	asks := fmt.Sprintf("3000 (%s:%d)", filepath.Join(dir, "nginx.conf"), lineOf(t, dir, "backlog=3000"))
	nginx := runNginx(t, dir, 80)
	capped := check(t)
	f := capped.only(t, "queue/somaxconn-caps-listener", "warning", "certain")
	f.says(t, strings.Replace(fmt.Sprintf("nginx asks for an accept queue of %s, and net.core.somaxconn cuts it to 128; neither the kernel nor nginx says so", asks),
		"3000 (", "3000 on port 80 (", 1))
	f.changes(t, "sysctl:net.core.somaxconn=4096 safe") // the default, which is more
	capped.quiet(t, f.Rule)

	setSysctl(t, "net.core.somaxconn=4096")
	old := fmt.Sprintf("the accept queue of port 80 holds 128, though nginx asks for %s and net.core.somaxconn = 4096 allows 3000: it was opened before one "+
		"of them was raised", asks)
	for _, reloads := range []int{0, 1} {
		r := check(t)
		r.only(t, "queue/listener-keeps-old-backlog", "warning", "certain").says(t, old)
		r.quiet(t, "queue/listener-keeps-old-backlog")
		worker := nginx.worker(t)
		must(t, syscall.Kill(nginx.pid, syscall.SIGHUP))
		eventually(t, fmt.Sprintf("reload %d", reloads), func() bool { return !slices.Contains(nginx.children(t), worker) && len(nginx.children(t)) == 1 })
	}
	text, err := os.ReadFile(filepath.Join(dir, "nginx.conf"))
	must(t, err)
	writeFiles(t, dir, map[string]string{"nginx.conf": strings.Replace(string(text), "backlog=3000", "backlog=2999", 1)})
	must(t, syscall.Kill(nginx.pid, syscall.SIGHUP))
	eventually(t, "the changed backlog is applied", func() bool {
		out, err := exec.Command("ss", "-Hltn", "sport = :80").Output()
		must(t, err)
		return strings.Fields(string(out))[2] == "2999"
	})
	check(t).quiet(t)
}

// lineOf is the line of nginx.conf that has this text.
func lineOf(t *testing.T, dir, text string) int {
	t.Helper()
	conf, err := os.ReadFile(filepath.Join(dir, "nginx.conf"))
	must(t, err)
	before, _, found := strings.Cut(string(conf), text)
	if !found {
		t.Fatalf("no %s", text)
	}
	return strings.Count(before, "\n") + 1
}
