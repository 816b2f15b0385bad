package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// elsewhere is an address of this host that the kernel does not take for loopback, nor do the rules: tcp_tw_reuse = 2 spares it.
const elsewhere = "10.0.0.1"

// startProxyPair runs two nginx, one in front of the other on 8081 of an address, with 1000 local ports. What keeps connections open or not
// stands in the location of the first.
func startProxyPair(t *testing.T, backend, upstream, location string) (front *server) {
	t.Helper()
	must(t, run1("ip", "address", "add", elsewhere+"/32", "dev", "lo"))
	setSysctl(t, "net.ipv4.ip_local_port_range=20000 20999")
	startNginx(t, 8081, "server { listen 8081; location / { return 200 ok; } }")
	return startNginx(t, 80, fmt.Sprintf("upstream backend { server %s:8081; %s }\nserver { listen 80; keepalive_requests 1000000; location / { "+
		"proxy_pass http://backend; %s } }", backend, upstream, location))
}

// load has four clients of nginx ask as fast as they can and counts the answers by status.
func load(t *testing.T, d time.Duration) (ok, bad int64) {
	t.Helper()
	var good, failed atomic.Int64
	var all sync.WaitGroup
	end := time.Now().Add(d)
	for range 4 {
		all.Go(func() {
			client := http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
			defer client.CloseIdleConnections()
			for time.Now().Before(end) {
				answer, err := client.Get("http://127.0.0.1/")
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				if answer.StatusCode == http.StatusOK {
					good.Add(1)
				} else {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	return good.Load(), failed.Load()
}

// perRequest makes nginx the side that closes first, and so the one that holds TIME_WAIT: the worst location that is in use.
const perRequest = `proxy_http_version 1.1; proxy_set_header Connection "";`

// What each setting of the connecting host does to TIME_WAIT, as popular guides have them; measured with real connections.
func TestTimeWaitSettings(t *testing.T) {
	ports, more := [2]float64{1000, 1000}, [2]float64{1500, 1e9}
	for name, c := range map[string]struct {
		sysctls            []string
		backend            string
		upstream, location string
		answers, timeWait  [2]float64 // how many there are, and what nginx holds in the end
		finds              func(t *testing.T, r diagnosis)
	}{
		"reuse off": {
			[]string{"net.ipv4.tcp_tw_reuse=0"}, elsewhere, "", perRequest, ports, ports,
			func(t *testing.T, r diagnosis) {
				f := exhausted(t, r)
				f.changes(t, "sysctl:net.ipv4.tcp_tw_reuse=1 review")
				r.quiet(t, f.Rule, f.ExplainedBy, "ports/range-narrow")
			},
		},
		"reuse on loopback only, to another host": {
			[]string{"net.ipv4.tcp_tw_reuse=2"}, elsewhere, "", perRequest, ports, ports,
			func(t *testing.T, r diagnosis) {
				f := exhausted(t, r)
				f.changes(t, "sysctl:net.ipv4.tcp_tw_reuse=1 review")
				r.only(t, "time-wait/reuse-loopback-only", "warning", "high").changes(t, "sysctl:net.ipv4.tcp_tw_reuse=1 review")
				r.quiet(t, f.Rule, f.ExplainedBy, "time-wait/reuse-loopback-only", "ports/range-narrow")
			},
		},
		"reuse on loopback only, on loopback": {
			[]string{"net.ipv4.tcp_tw_reuse=2"}, "127.0.0.1", "", perRequest, more, ports, quietly,
		},
		"reuse": {
			[]string{"net.ipv4.tcp_tw_reuse=1"}, elsewhere, "", perRequest, more, ports, quietly,
		},
		"reuse without timestamps": {
			[]string{"net.ipv4.tcp_tw_reuse=1", "net.ipv4.tcp_timestamps=0"}, elsewhere, "", perRequest, ports, ports,
			func(t *testing.T, r diagnosis) {
				f := exhausted(t, r)
				f.changes(t)
				r.only(t, "time-wait/reuse-inert", "warning", "certain").changes(t, "sysctl:net.ipv4.tcp_timestamps=1 review")
				r.quiet(t, f.Rule, f.ExplainedBy, "time-wait/reuse-inert", "ports/range-narrow")
			},
		},
		"fin_timeout": {
			[]string{"net.ipv4.tcp_tw_reuse=0", "net.ipv4.tcp_fin_timeout=2"}, elsewhere, "", perRequest, ports, ports,
			func(t *testing.T, r diagnosis) {
				f := exhausted(t, r)
				r.quiet(t, f.Rule, f.ExplainedBy, "ports/range-narrow")
			},
		},
		"reuse after 100 ms": { // tcp_tw_reuse_delay, from Linux 6.14 on; before, the delay is a second
			[]string{"net.ipv4.tcp_tw_reuse=1", "net.ipv4.tcp_tw_reuse_delay=100"}, elsewhere, "", perRequest, more, [2]float64{400, 1000}, quietly,
		},
		"a small table": {
			[]string{"net.ipv4.tcp_tw_reuse=0", "net.ipv4.tcp_max_tw_buckets=200"}, elsewhere, "", perRequest, more, [2]float64{200, 200},
			func(t *testing.T, r diagnosis) {
				n := r.only(t, "time-wait/bucket-overflow", "info", "high").says(t, "%d connections ended since boot without TIME_WAIT, because its table was "+
					"full (net.ipv4.tcp_max_tw_buckets is 200 at present, by default %d) or memory short")
				near(t, "ended", n[0], 300, 1e6)
				r.quiet(t, "time-wait/bucket-overflow")
			},
		},
		// HTTP/1.0, nginx's default: the backend closes, and its sockets hold no local port. Where nginx, which knows the length, is
		// quicker than the backend's close(2), it is first: on a busy machine with each third connection, for which there are ports.
		"the backend closes first": {
			[]string{"net.ipv4.tcp_tw_reuse=0", "net.ipv4.ip_local_port_range=20000 23999"}, elsewhere, "", "", more, [2]float64{0, 1200}, quietly,
		},
		"connections are kept": {
			[]string{"net.ipv4.tcp_tw_reuse=0"}, elsewhere, "keepalive 8;", perRequest, more, [2]float64{0, 100}, quietly,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !inOwnNetns(t) {
				return
			}
			front := startProxyPair(t, c.backend, c.upstream, c.location)
			delay := time.Second
			if slices.Contains(c.sysctls, "net.ipv4.tcp_tw_reuse_delay=100") {
				if exists("/proc/sys/net/ipv4/tcp_tw_reuse_delay") {
					delay /= 10
				} else {
					c.sysctls = c.sysctls[:1]
				}
			}
			setSysctl(t, c.sysctls...)
			ok, bad := load(t, 1500*time.Millisecond)
			for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && // a slow machine has more time
				(ok < int64(c.answers[0]) || dialled(stTimeWait, 8081) < int(c.timeWait[0])); {
				good, failed := load(t, time.Second)
				ok, bad = ok+good, bad+failed
			}
			near(t, "answers", float64(ok), c.answers[0], c.answers[1])
			if refused := strings.Contains(front.log(t, "error.log"), "(99: Cannot assign requested address)"); c.answers == ports && !refused || refused != (bad > 0) {
				t.Errorf("%d failed, without a port: %v", bad, refused)
			}
			time.Sleep(delay + 300*time.Millisecond) // until what is left may be taken over
			near(t, "TIME_WAIT", float64(dialled(stTimeWait, 8081)), c.timeWait[0], c.timeWait[1])
			c.finds(t, check(t))
		})
	}
}

// exhausted is the finding that all ports are taken, under the line of nginx's configuration that is missing.
func exhausted(t *testing.T, r diagnosis) finding {
	t.Helper()
	f := r.only(t, "time-wait/port-exhaustion", "error", "high")
	f.says(t, "1000 of 1000 local ports from 10.0.0.1 to 10.0.0.1 port 8081 are taken, so that connect() fails with EADDRNOTAVAIL or soon will: "+
		"1000 in TIME_WAIT, 0 open, 0 in other states")
	r.explained(t, f.Rule, "time-wait/no-connection-reuse")
	r.only(t, "time-wait/no-connection-reuse", "warning", "high").says(t, "at least 50 % of the 1000 local ports to 10.0.0.1:8081 of upstream backend are "+
		"taken, and nginx opens a connection to it for each request: the upstream block has no keepalive")
	return f
}

func quietly(t *testing.T, r diagnosis) {
	t.Helper()
	r.quiet(t)
	r.exits(t, 0)
}

// A full table is a warning while it overflows.
func TestTimeWaitTableOverflowsNow(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	startProxyPair(t, elsewhere, "", perRequest)
	setSysctl(t, "net.ipv4.tcp_max_tw_buckets=100")
	done := make(chan struct{})
	go func() { defer close(done); load(t, 4*time.Second) }()
	time.Sleep(time.Second)
	r := check(t, "--sample", "2s")
	<-done
	n := r.only(t, "time-wait/bucket-overflow", "warning", "high").says(t, "now: %d connections a second end without TIME_WAIT, because its table was full "+
		"(net.ipv4.tcp_max_tw_buckets is 100 at present, by default %d) or memory short")
	near(t, "a second", n[0], 20, 1e5)
	r.exits(t, 1)
}
