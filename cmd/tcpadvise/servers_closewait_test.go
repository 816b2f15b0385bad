package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// beyondTraffic is longer than an end of stream stays unnoticed in normal traffic: the rules say 2 s.
const beyondTraffic = 2300 * time.Millisecond

// A slow handler, and clients that give up: the socket stays with the program until its handler ends.
func TestSlowHandler(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	tomcat := startTomcat(t, "")
	left := leaving(t, 20, 8080, "/?seconds=60", 1500*time.Millisecond)
	time.Sleep(beyondTraffic)
	says := fmt.Sprintf("20 requests on :8080 (java %d) are still being worked on though their clients left %%t ago, after waiting %%t", tomcat.pid)

	once := check(t)
	n := once.only(t, "close-wait/handler-busy", "warning", "medium").says(t, says)
	once.age(t, "left", n[0], left)
	near(t, "waited", n[1], 1.4, 8)
	once.quiet(t, "close-wait/handler-busy")
	once.exits(t, 1)

	twice := check(t, "--sample", "2s")
	n = twice.only(t, "close-wait/handler-busy", "error", "high").says(t, says)
	twice.age(t, "left", n[0], left)
	twice.quiet(t, "close-wait/handler-busy")
	twice.exits(t, 1)
}

// proxyTo8080 is a server of nginx in front of Tomcat, with further directives for its location.
func proxyTo8080(directives string) string {
	return "server { listen 80; location / { proxy_pass http://127.0.0.1:8080; " + directives + " } }"
}

// nginx closes to a backend whose client has left, logs 499, and the backend's handler works on.
func TestClientsLeaveTheProxy(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	tomcat := startTomcat(t, "")
	nginx := startNginx(t, 80, proxyTo8080(""))
	left := leaving(t, 12, 80, "/?seconds=60", 1500*time.Millisecond)
	time.Sleep(beyondTraffic)
	r := check(t)
	n := r.only(t, "close-wait/handler-busy", "warning", "medium").says(t, fmt.Sprintf(
		"12 requests on :8080 (java %d) are still being worked on though their clients left %%t ago, after waiting %%t", tomcat.pid))
	r.age(t, "left", n[0], left)
	near(t, "waited", n[1], 1, 8) // nginx passes the request on when it comes to it
	r.quiet(t, "close-wait/handler-busy")
	if got := strings.Count(nginx.log(t, "access.log"), `" 499 0 `); got != 12 {
		t.Errorf("nginx logged 499 for %d requests", got)
	}
}

// What nginx waits is what the backend's finding shows: it names the setting. The popular cures are set, and do nothing.
func TestProxyReadTimeout(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	setSysctl(t, "net.ipv4.tcp_fin_timeout=1", "net.ipv4.tcp_tw_reuse=1",
		"net.ipv4.tcp_keepalive_time=1", "net.ipv4.tcp_keepalive_intvl=1", "net.ipv4.tcp_keepalive_probes=1")
	tomcat := startTomcat(t, "")
	nginx := startNginx(t, 80, proxyTo8080("proxy_read_timeout 2s;"))
	for range 6 {
		get(t, 80, "/?seconds=60")
	}
	eventually(t, "nginx gives up", func() bool { return strings.Count(nginx.log(t, "access.log"), `" 504 `) == 6 })
	gaveUp := span{time.Now().Add(-2 * time.Second), time.Now()}
	time.Sleep(beyondTraffic)
	r := check(t)
	n := r.only(t, "close-wait/handler-busy", "warning", "medium").says(t, fmt.Sprintf(
		"6 requests on :8080 (java %d) are still being worked on though their clients left %%t ago, after waiting %%t", tomcat.pid))
	r.age(t, "left", n[0], gaveUp)
	near(t, "waited", n[1], 2, 8)
	r.only(t, "close-wait/kernel-settings-do-not-help", "info", "certain").says(t, "the usual cures are set, tcp_keepalive_time = 1, tcp_keepalive_intvl = 1, "+
		"tcp_keepalive_probes = 1, tcp_fin_timeout = 1, tcp_tw_reuse = 1: none of them ends any of the 6 sockets that have been in CLOSE_WAIT for 2 s or longer")
	r.quiet(t, "close-wait/handler-busy", "close-wait/kernel-settings-do-not-help")
}

// With proxy_ignore_client_abort the state moves to nginx; the backend sees nothing.
func TestProxyIgnoresClientAbort(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	startTomcat(t, "")
	nginx := startNginx(t, 80, proxyTo8080("proxy_ignore_client_abort on;"))
	left := leaving(t, 8, 80, "/?seconds=60", 1500*time.Millisecond)
	time.Sleep(beyondTraffic)
	says := fmt.Sprintf("nginx %d holds 8 connections on :80 whose clients left %%t ago, after waiting %%t: it waits for answers of its backend "+
		"and nobody waits for it any more", nginx.worker(t))
	once := check(t)
	n := once.only(t, "close-wait/proxied", "warning", "high").says(t, says)
	once.age(t, "left", n[0], left)
	near(t, "waited", n[1], 1.4, 8)
	once.quiet(t, "close-wait/proxied")
	twice := check(t, "--sample", "2s")
	twice.only(t, "close-wait/proxied", "error", "high").says(t, says)
	twice.quiet(t, "close-wait/proxied")
}

// Two threads, five connections, a queue of five: what overflows is explained by the handlers.
func TestSaturation(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	tomcat := startTomcat(t, `maxThreads="2" maxConnections="5" acceptCount="4"`)
	leave := crowd(t, 15, 8080, "/?seconds=60")
	eventually(t, "the queue is full", func() bool { return sockets(stEstablished, 8080) == 10 })
	time.Sleep(1500 * time.Millisecond) // until SYNs were repeated
	waiting := check(t)
	n := waiting.only(t, "queue/accept-queue-full", "error", "certain").says(t, fmt.Sprintf("the accept queue of port 8080 is full: 5 finished "+
		"connections wait for accept() where 4 may, process java (pid %d); %%d connection attempts were dropped here since it listens", tomcat.pid))
	near(t, "dropped", n[0], 5, 500) // each SYN is repeated, longer on a slow machine
	waiting.quiet(t, "queue/accept-queue-full")

	leave()
	eventually(t, "all have left", func() bool { return sockets(stEstablished, 8080) == 0 })
	time.Sleep(beyondTraffic)
	says := fmt.Sprintf("5 clients connected to :8080 and left again, and still java %d has not accepted them; 5 connections wait in its queue of 4; "+
		"5 accepted ones whose clients have left are open too", tomcat.pid)
	once := check(t)
	once.only(t, "close-wait/unaccepted", "error", "certain").says(t, says)
	once.explained(t, "queue/accept-queue-full", "close-wait/unaccepted")
	once.quiet(t, "close-wait/unaccepted", "queue/accept-queue-full")

	defer crowd(t, 5, 8080, "/")()
	twice := check(t, "--sample", "3s")
	twice.only(t, "close-wait/unaccepted", "error", "certain").says(t, says)
	twice.explained(t, "queue/listen-overflows", "close-wait/unaccepted")
	twice.quiet(t, "close-wait/unaccepted", "queue/accept-queue-full", "queue/listen-overflows")
}

// crowd are n clients that ask as soon as they are connected, which some may never be. They leave when told, all at once.
func crowd(t *testing.T, n, port int, path string) (leave func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			d := net.Dialer{KeepAlive: -1}
			c, err := d.DialContext(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
			<-ctx.Done()
		})
	}
	return func() { cancel(); all.Wait() }
}

// keepaliveServer is a server on 80 that closes idle connections after a while and has a small and a large answer.
func keepaliveServer(t *testing.T, idle time.Duration) {
	t.Helper()
	dir := nginxFiles(t, fmt.Sprintf("keepalive_timeout %d; server { listen 80; root .; }", int(idle.Seconds())))
	writeFiles(t, dir, map[string]string{"small": "ok", "large": strings.Repeat("x", 60_000)})
	runNginx(t, dir, 80)
}

// order has the client do something and waits until it is done.
func order(t *testing.T, client *server, format string, args ...any) {
	t.Helper()
	done := strings.Count(client.log(t, "out.log"), "\n")
	fmt.Fprintf(client.orders, format+"\n", args...)
	eventually(t, format, func() bool { return strings.Count(client.log(t, "out.log"), "\n") > done })
}

// A pool whose responses are never closed. The same look cannot tell it from an idle pool, unless answers lie unread.
func TestPoolLeak(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	keepaliveServer(t, 2*time.Second)
	client := startJava(t, nil, 0, "PooledClient", "8")
	order(t, client, "leak 8 http://127.0.0.1/small")
	eventually(t, "the server closes", func() bool { return sockets(stCloseWait, 0) == 8 })
	closed := span{time.Now().Add(-time.Second), time.Now()}
	time.Sleep(beyondTraffic)
	r := check(t)
	n := r.only(t, "close-wait/client-pool", "info", "medium").says(t, fmt.Sprintf("java %d holds 8 connections to 127.0.0.1:80 which that server closed "+
		"%%t ago, after waiting %%t, and no live one: leaked by the program, or idle in its pool, which is harmless", client.pid))
	r.age(t, "closed", n[0], closed)
	near(t, "waited", n[1], 1.9, 8)
	r.quiet(t, "close-wait/client-pool")
	r.exits(t, 0)
}

// Abandoned answers that are larger than the program's buffer show before the server closes, and after.
func TestPoolLeakOfLargeAnswers(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	keepaliveServer(t, 6*time.Second)
	client := startJava(t, nil, 0, "PooledClient", "8")
	order(t, client, "leak 8 http://127.0.0.1/large")
	early := check(t)
	n := early.only(t, "established/unread-body", "info", "low").says(t, "all 8 connections to 127.0.0.1:80 hold unread data, up to %f KiB: "+
		"answers that were abandoned without reading or closing them, or a reader that cannot keep up")
	near(t, "unread", n[0], 45, 60)
	early.quiet(t, "established/unread-body")
	eventually(t, "the server closes", func() bool { return sockets(stCloseWait, 0) == 8 })
	time.Sleep(beyondTraffic)
	late := check(t)
	late.only(t, "close-wait/client-pool", "info", "medium").says(t, fmt.Sprintf("java %d holds 8 connections to 127.0.0.1:80 which that server closed "+
		"%%t ago, after waiting %%t, and no live one: up to %%f KiB of answers lie unread in each, so they were abandoned, or the reader is very slow",
		client.pid))
	late.quiet(t, "close-wait/client-pool")
	late.exits(t, 0)
}

// Two looks across traffic: what is idle would have been used.
func TestPoolLeakUnderTraffic(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	keepaliveServer(t, 2*time.Second)
	client := startJava(t, nil, 0, "PooledClient", "200")
	order(t, client, "leak 10 http://127.0.0.1/small")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				fmt.Fprintln(client.orders, "leak 1 http://127.0.0.1/small")
			}
		}
	}()
	eventually(t, "the server closes", func() bool { return sockets(stCloseWait, 0) >= 15 })
	time.Sleep(beyondTraffic)
	r := check(t, "--sample", "2s")
	close(stop)
	<-stopped
	n := r.only(t, "close-wait/client-pool", "warning", "medium").says(t, fmt.Sprintf("java %d holds %%d connections to 127.0.0.1:80 which that server closed "+
		"%%t ago, after waiting %%t, and %%d live ones: in %%t none of them was used again and %%d more came, so most likely the program leaks them",
		client.pid))
	near(t, "connections", n[0], 20, 120)
	near(t, "more", n[5], 3, 60)
	r.quiet(t, "close-wait/client-pool")
	r.exits(t, 1)
}

// The control: an idle pool looks the same once, fails nothing, and is gone at the next request.
func TestIdlePool(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	keepaliveServer(t, 2*time.Second)
	client := startJava(t, nil, 0, "PooledClient", "8")
	order(t, client, "use 8 http://127.0.0.1/small")
	eventually(t, "the server closes", func() bool { return sockets(stCloseWait, 0) == 8 })
	time.Sleep(beyondTraffic)
	for _, args := range [][]string{nil, {"--sample", "2s"}} {
		r := check(t, args...)
		r.only(t, "close-wait/client-pool", "info", "medium").says(t, fmt.Sprintf("java %d holds 8 connections to 127.0.0.1:80 which that server closed "+
			"%%t ago, after waiting %%t, and no live one: leaked by the program, or idle in its pool, which is harmless", client.pid))
		r.quiet(t, "close-wait/client-pool")
		r.exits(t, 0)
	}
	order(t, client, "use 1 http://127.0.0.1/small")
	used := check(t)
	used.quiet(t)
	used.exits(t, 0)
}

// visit connects to a server of testdata, says a word and closes what it is told to close.
func visit(t *testing.T, close func(*net.TCPConn) error) {
	t.Helper()
	d := net.Dialer{KeepAlive: -1, Timeout: 20 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp4", "127.0.0.1:9000")
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = c.Write([]byte("hello\n"))
	must(t, err)
	must(t, close(c.(*net.TCPConn)))
}

// visits are n visits at 10 a second.
func visits(t *testing.T, n int) {
	t.Helper()
	for range n {
		visit(t, (*net.TCPConn).Close)
		time.Sleep(100 * time.Millisecond)
	}
}

// A server that forgets close(): one look tells the rate and the time that is left.
func TestServerLeak(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	leaky := startJava(t, []string{"prlimit", "--nofile=300"}, 9000, "LeakyServer")
	begun := time.Now()
	visits(t, 40)
	took := time.Since(begun)
	once := check(t)
	n := once.only(t, "close-wait/server-leak", "warning", "medium").says(t, fmt.Sprintf("java %d has read the end of 40 connections on :9000 and not "+
		"closed them, the oldest %%t ago; %%d more come each hour, and if none is ever closed, no descriptor of 300 is left in %%t", leaky.pid))
	once.age(t, "oldest", n[0], span{begun, begun.Add(time.Second)})
	hour := 40 * 3600 / took.Seconds()
	near(t, "an hour", n[1], hour*0.7, hour*1.1)
	near(t, "left", n[2], 200*3600/n[1], 300*3600/n[1])
	once.explained(t, "fd/time-to-exhaustion", "close-wait/server-leak")
	once.quiet(t, "close-wait/server-leak", "fd/time-to-exhaustion")

	done := make(chan struct{})
	go func() { defer close(done); visits(t, 15) }()
	twice := check(t, "--sample", "2s")
	<-done
	twice.only(t, "close-wait/server-leak", "error", "high")
	twice.explained(t, "fd/time-to-exhaustion", "close-wait/server-leak")
	twice.quiet(t, "close-wait/server-leak", "fd/time-to-exhaustion")
}

// At the limit accept() fails, and clients connect all the same.
func TestServerLeakUsesUpDescriptors(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	leaky := startJava(t, []string{"prlimit", "--nofile=60"}, 9000, "LeakyServer")
	visits(t, 20)
	for !strings.Contains(leaky.log(t, "out.log"), "Too many open files") {
		visits(t, 5)
	}
	time.Sleep(beyondTraffic)
	r := check(t, "--only", "fd/exhausted")
	leak := r.only(t, "close-wait/server-leak", "error", "high")
	if !strings.HasPrefix(leak.Do[0], "at once: ") {
		t.Errorf("the first thing to do: %s", leak.Do[0])
	}
	n := leak.says(t, fmt.Sprintf("java %d has read the end of %%d connections on :9000 and not closed them, "+
		"the oldest %%t ago; its 60 descriptors are used up", leaky.pid))
	near(t, "connections", n[0], 35, 60)
	r.explained(t, "fd/exhausted", "close-wait/server-leak").says(t, fmt.Sprintf("java (pid %d) has %%d files and sockets open and may have 60: "+
		"accept(), connect() and open() fail with EMFILE (Too many open files)", leaky.pid))
	if got := r.only(t, "fd/exhausted", "error", "high").Changes; len(got) > 0 {
		t.Errorf("changes %v", got)
	}
	r.quiet(t, "close-wait/server-leak", "fd/exhausted", "close-wait/unaccepted", "queue/accept-queue-full")
}

// The client has said all it had to say, and the server streams on.
func TestHalfCloseByDesign(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	startJava(t, nil, 9000, "LeakyServer", "stream")
	for range 12 {
		visit(t, (*net.TCPConn).CloseWrite)
	}
	time.Sleep(beyondTraffic)
	if n := sockets(stCloseWait, 9000); n != 12 {
		t.Errorf("%d sockets in CLOSE_WAIT", n)
	}
	for _, args := range [][]string{nil, {"--sample", "2s"}} {
		r := check(t, args...)
		r.quiet(t)
		r.exits(t, 0)
	}
}

// A worker that stands still has connections of both roles in the state, and clients at the door.
func TestStalledWorker(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	startTomcat(t, `keepAliveTimeout="2000"`)
	nginx := startNginx(t, 80, `upstream backend { server 127.0.0.1:8080; keepalive 16; }
server { listen 80; location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; } }`)
	var clients []net.Conn
	for range 12 {
		clients = append(clients, get(t, 80, "/?seconds=1"))
	}
	for _, c := range clients {
		_, err := c.Read(make([]byte, 1024))
		must(t, err)
	}
	worker := nginx.worker(t)
	must(t, syscall.Kill(worker, syscall.SIGSTOP))
	for _, c := range clients[:4] {
		c.Close()
	}
	leaving(t, 3, 80, "/", 0)
	eventually(t, "Tomcat closes idle connections", func() bool { return sockets(stCloseWait, 0) == 12+4+3 })
	time.Sleep(beyondTraffic)
	says := fmt.Sprintf("nginx (%d or its workers) does not react: 3 connections wait on :80 to be accepted, and 7 clients of it and 12 backend "+
		"connections were closed by the other side, up to %%t ago, without an answer", worker)
	once := check(t)
	once.only(t, "close-wait/event-loop", "warning", "medium").says(t, says)
	once.quiet(t, "close-wait/event-loop")
	twice := check(t, "--sample", "2s")
	twice.only(t, "close-wait/event-loop", "error", "high").says(t, says)
	twice.quiet(t, "close-wait/event-loop")
	must(t, syscall.Kill(worker, syscall.SIGCONT))
	eventually(t, "all is closed", func() bool { return sockets(stCloseWait, 0) == 0 })
	check(t).quiet(t)
}

// Keepalive, the popular cure, hides the sockets: threads and descriptors stay.
func TestKeepaliveHidesSockets(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	setSysctl(t, "net.ipv4.tcp_keepalive_time=2", "net.ipv4.tcp_keepalive_intvl=1", "net.ipv4.tcp_keepalive_probes=2", "net.ipv4.tcp_fin_timeout=2")
	tomcat := startTomcat(t, `socket.soKeepAlive="true"`)
	leaving(t, 10, 8080, "/?seconds=60", time.Second)
	eventually(t, "the sockets have gone", func() bool { return sockets(stCloseWait, 0) == 0 })
	r := check(t, "--deep")
	r.only(t, "close-wait/hidden", "warning", "medium").says(t, fmt.Sprintf("java %d holds 10 TCP sockets that ss and netstat do not show: most likely a "+
		"reset ended their connections and the program has not closed them", tomcat.pid))
	r.quiet(t, "close-wait/hidden")
	r.exits(t, 1)
}

// A broker that stops reading because nobody consumes.
func TestBlockedReader(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	broker := startJava(t, nil, 61616, "ThrottlingBroker", "broker")
	producers := startJava(t, nil, 0, "ThrottlingBroker", "producers")
	eventually(t, "all is sent", func() bool { return strings.Count(producers.log(t, "out.log"), "sent") == 6 })
	if !strings.Contains(broker.log(t, "out.log"), "Producers will be throttled") {
		t.Error("the broker does not throttle")
	}
	must(t, syscall.Kill(producers.pid, syscall.SIGKILL))
	eventually(t, "the producers have left", func() bool { return sockets(stCloseWait, 61616) == 6 })
	left := span{time.Now().Add(-time.Second), time.Now()}
	says := fmt.Sprintf("java %d has stopped reading 6 connections on :61616 with up to %%f KiB unread each, though the peers left %%t ago", broker.pid)
	time.Sleep(beyondTraffic)
	check(t).only(t, "close-wait/reader-blocked", "info", "high").says(t, says)
	time.Sleep(10*time.Second - beyondTraffic)
	once := check(t)
	n := once.only(t, "close-wait/reader-blocked", "warning", "high").says(t, says)
	near(t, "unread", n[0], 25, 130)
	once.age(t, "left", n[1], left)
	once.quiet(t, "close-wait/reader-blocked")
	twice := check(t, "--sample", "2s")
	twice.only(t, "close-wait/reader-blocked", "error", "high").says(t, says)
	twice.quiet(t, "close-wait/reader-blocked")
}

// When it stops while they send, the end of those that die cannot come in: no CLOSE_WAIT shows.
func TestReaderStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	broker := startJava(t, nil, 61616, "ThrottlingBroker", "broker")
	producers := startJava(t, nil, 0, "ThrottlingBroker", "flood")
	eventually(t, "the broker throttles", func() bool { return strings.Contains(broker.log(t, "out.log"), "Producers will be throttled") })
	eventually(t, "all are connected", func() bool { return dialled(stEstablished, 61616) == 6 })
	time.Sleep(3 * time.Second) // until the windows are full
	must(t, syscall.Kill(producers.pid, syscall.SIGKILL))
	eventually(t, "the producers wait with their ends", func() bool { return dialled(stFinWait1, 61616) == 6 })
	r := check(t)
	n := r.only(t, "established/reader-stopped", "info", "low").says(t, fmt.Sprintf("all 6 connections on :61616 (java %d) hold unread data, up to %%f KiB: "+
		"the program has stopped reading, or its clients send faster than it reads", broker.pid))
	near(t, "unread", n[0], 40, 1000)
	r.quiet(t, "established/reader-stopped")
	r.exits(t, 0)
}
