package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// TestJoinListens: configured addresses find their live listener, and only theirs.
func TestJoinListens(t *testing.T) {
	text := func(s string) advisor.Fact { return advisor.Known(advisor.Text(s), advisor.Origin{}) }
	number := func(n int64) advisor.Fact { return advisor.Known(advisor.Int(n), advisor.Origin{}) }
	truth := func(v bool) advisor.Fact { return advisor.Known(advisor.Bool(v), advisor.Origin{}) }
	live := func(address string, port, limit int64, process advisor.Fact) advisor.Row {
		return advisor.Row{Cells: map[string]advisor.Fact{
			"address": text(address), "port": number(port), "queue_limit": number(limit), "process": process,
			"wildcard": truth(address == "0.0.0.0" || address == "::"),
		}}
	}
	hidden := advisor.Unknown("run as root", advisor.Origin{})
	var b advisor.Builder
	b.SetTable("listeners", advisor.Table{Rows: []advisor.Row{
		live("0.0.0.0", 80, 511, text("nginx")), live("::", 80, 100, text("nginx")), live("127.0.0.1", 81, 511, text("haproxy")),
		live("::", 82, 200, hidden), live("10.0.0.1", 83, 300, text("nginx")), live("0.0.0.0", 22, 128, text("sshd")),
	}})
	listen := func(path, address string, port, backlog int64) advisor.Row {
		cells := map[string]advisor.Fact{"path": text(path), "port": number(port), "backlog": number(backlog), "backlog_written": truth(true)}
		if address != "" {
			cells["address"] = text(address)
		}
		return advisor.Row{Cells: cells}
	}
	b.SetTable("nginx_main", advisor.Table{Rows: []advisor.Row{{Cells: map[string]advisor.Fact{"path": text("/a"), "pid": number(7)}}, {Cells: map[string]advisor.Fact{"path": text("/off")}}}})
	b.SetTable("nginx_listens", advisor.Table{Rows: []advisor.Row{
		listen("/a", "0.0.0.0", 80, 1), listen("/a", "::", 80, 2), listen("/a", "127.0.0.1", 81, 3), listen("/a", "0.0.0.0", 82, 4),
		listen("/a", "10.0.0.2", 83, 5), listen("/off", "10.0.0.1", 83, 6), listen("/a", "", 22, 7),
		{Cells: map[string]advisor.Fact{"path": text("/a"), "unix": text("/run/x"), "backlog": number(8)}},
	}})
	joinListens(&b)
	f := b.Facts()
	wantCells(t, f, "service_listens", []string{"path", "address", "port", "backlog", "pid", "queue_limit"},
		"/a | 0.0.0.0 | 80 | 1 | 7 | 511", "/a | :: | 80 | 2 | 7 | 100", "/a | 127.0.0.1 | 81 | 3 | 7 | -", "/a | 0.0.0.0 | 82 | 4 | 7 | 200",
		"/a | 10.0.0.2 | 83 | 5 | 7 | -", "/off | 10.0.0.1 | 83 | 6 | - | -", "/a | - | 22 | 7 | 7 | -")
	const none = "unknown: no configuration that was read says it"
	wantCells(t, f, "listeners", []string{"address", "port", "backlog_configured"},
		"0.0.0.0 | 80 | 1", ":: | 80 | 2", "127.0.0.1 | 81 | "+none, ":: | 82 | 4", "10.0.0.1 | 83 | "+none, "0.0.0.0 | 22 | "+none)

	var empty advisor.Builder
	joinListens(&empty)
	if absent := empty.Facts().Table("service_listens").Absent; absent == "" {
		t.Error("no configuration is a table")
	}
}

// queueFindings judges the queues of the nginx of the lab as a live check of its namespace would.
func (l *nginxLab) queueFindings(t *testing.T, set *advisor.RuleSet) (fired []string, limit string) {
	var b advisor.Builder
	live := liveTree(t)
	sockets, _, err := observeSockets(t.Context(), live, socketOptions{})
	if err != nil {
		t.Error(err)
		return nil, ""
	}
	sockets.facts(&b)
	s := findServices(t.Context(), live)
	var ours []service
	for _, v := range s.running {
		if v.arg("conf") == filepath.Join(l.dir, "nginx.conf") {
			ours = append(ours, v)
		}
	}
	s.running = ours
	collectNginx(live, s, newUnits(live), nil, &b)
	joinListens(&b)
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Error(err)
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	b.SetMember("sysctl", "net.core.somaxconn", advisor.Known(advisor.Int(n), advisor.Origin{}))
	b.Set("boot.loader", advisor.Known(advisor.Text(bootSystemd), advisor.Origin{}))
	b.Set("kernel.version", advisor.Known(advisor.Tuple(6, 1, 0), advisor.Origin{}))
	f := b.Facts()
	if rows := nginxCells(f, "service_listens", "queue_limit"); len(rows) == 1 {
		limit = rows[0]
	}
	for _, finding := range set.Evaluate(f, advisor.Options{Only: []string{"queue/*"}}).Findings {
		fired = append(fired, fmt.Sprint(finding.Severity, " ", finding.Rule))
	}
	return fired, limit
}

// TestQueueRulesAreTrue shows the claims of queue/somaxconn-caps-listener and queue/listener-keeps-old-backlog by a real nginx: the cap is
// silent, raising somaxconn changes no open socket, a reload with the same backlog neither, one with another backlog does.
func TestQueueRulesAreTrue(t *testing.T) {
	set := builtinRules(t)
	somaxconn := func(n int) {
		if err := os.WriteFile("/proc/sys/net/core/somaxconn", []byte(strconv.Itoa(n)), 0o644); err != nil {
			t.Error(err)
		}
	}
	inLab(t, func(l *nginxLab) {
		text := func(backlog int) string {
			return fmt.Sprintf(`daemon off;
worker_processes 1;
pid %[1]s/pid;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	server { listen unix:%[1]s/front.sock; listen 127.0.0.1:8080 backlog=%[2]d; location / { return 200 "ok"; } }
}
`, l.dir, backlog)
		}
		want := func(when, limit string, rules ...string) {
			var fired []string
			got := ""
			for range 60 { // a reload takes a moment
				if fired, got = l.queueFindings(t, set); got == limit {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if diff := cmp.Diff(rules, fired); diff != "" || got != limit {
				t.Errorf("%s: the queue is %s, want %s\n%s", when, got, limit, diff)
			}
		}
		reload := func(backlog int) {
			pid, err := os.ReadFile(filepath.Join(l.dir, "pid"))
			if err != nil {
				t.Error(err)
				return
			}
			n, _ := strconv.Atoi(strings.TrimSpace(string(pid)))
			workers := func() string {
				children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", n, n))
				return string(children)
			}
			before := workers()
			if err := os.WriteFile(filepath.Join(l.dir, "nginx.conf"), []byte(text(backlog)), 0o600); err != nil {
				t.Error(err)
			}
			if err := syscall.Kill(n, syscall.SIGHUP); err != nil {
				t.Error(err)
			}
			for range 100 {
				if now := workers(); now != before && len(strings.Fields(now)) == 1 {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Error("nginx did not reload")
		}
		const caps, keeps = "warning queue/somaxconn-caps-listener", "warning queue/listener-keeps-old-backlog"
		somaxconn(128)
		l.serve(t, text(4096), 1, func() {
			want("started", "128", caps)
			somaxconn(4096)
			want("somaxconn raised", "128", keeps)
			reload(4096)
			want("reloaded with the same backlog", "128", keeps)
			reload(2048)
			want("reloaded with another backlog", "2048")
		})
		l.serve(t, text(4096), 1, func() { want("started anew", "4096") })
	})
}
