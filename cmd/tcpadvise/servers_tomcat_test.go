package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// about keeps the findings about one Tomcat, and of hops those from one nginx to it: other tests run servers at the same time, and the
// files of all are seen here.
func (r diagnosis) about(tomcat, nginx *server) diagnosis {
	r.Findings = slices.DeleteFunc(r.Findings, func(f finding) bool {
		return !strings.Contains(f.Subject.Key, tomcat.dir) || f.Subject.Table == "hops" && !strings.Contains(f.Subject.Key, nginx.dir)
	})
	return r
}

// opened is how many connections were opened in this namespace meanwhile.
func opened(t *testing.T, do func()) int {
	t.Helper()
	active := func() int {
		text, err := os.ReadFile("/proc/self/net/snmp")
		must(t, err)
		var names []string
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if f[0] == "Tcp:" && names != nil {
				for i, name := range names {
					if name == "ActiveOpens" {
						n, err := strconv.Atoi(f[i])
						must(t, err)
						return n
					}
				}
			}
			if f[0] == "Tcp:" {
				names = f
			}
		}
		t.Fatal("no ActiveOpens")
		return 0
	}
	before := active()
	do()
	return active() - before
}

// ask sends requests one after the other over one connection of the client.
func ask(t *testing.T, n int) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for range n {
		answer, err := client.Get("http://127.0.0.1/")
		must(t, err)
		_, err = io.Copy(io.Discard, answer.Body)
		must(t, err)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status)
		}
	}
}

// silent connects to Tomcat and says nothing. It returns how long Tomcat bore it; most if it did for that long.
func silent(t *testing.T, most time.Duration) time.Duration {
	t.Helper()
	c, err := net.Dial("tcp4", "127.0.0.1:8080")
	must(t, err)
	defer c.Close()
	start := time.Now()
	must(t, c.SetReadDeadline(start.Add(most)))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("Tomcat speaks first")
	}
	return min(time.Since(start), most)
}

// idle has nginx open a connection to Tomcat and waits until Tomcat closes it. It returns how long that took; most if it did not.
func idle(t *testing.T, most time.Duration) time.Duration {
	t.Helper()
	ask(t, 1)
	start := time.Now()
	for time.Since(start) < most && dialled(stEstablished, 8080) > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	return min(time.Since(start), most)
}

// What attributes of a connector do behind an nginx that keeps connections, and what the rules say of them.
func TestTomcatBehindNginx(t *testing.T) {
	const race = "hop/upstream-keepalive-outlives-backend"
	for name, c := range map[string]struct {
		attributes string
		shows      func(t *testing.T)
		finds      map[string]string // severity by rule
		says       string            // of the first rule
		changes    string            // setting and value of the first rule
	}{
		"one request a connection": {
			`connectionTimeout="90000" maxKeepAliveRequests="1"`,
			func(t *testing.T) {
				near(t, "connections for 40 requests", float64(opened(t, func() { ask(t, 40) })), 41, 45)
			},
			map[string]string{"tomcat/max-keepalive-requests-one": "warning"}, "turns keep-alive off", "maxKeepAliveRequests=100",
		},
		"the default of requests": {
			`connectionTimeout="90000"`,
			func(t *testing.T) {
				near(t, "connections for 40 requests", float64(opened(t, func() { ask(t, 40) })), 2, 4)
			},
			nil, "", "",
		},
		"keepAliveTimeout is connectionTimeout": {
			`connectionTimeout="2000"`,
			func(t *testing.T) { near(t, "an idle connection lasts", idle(t, 20*time.Second).Seconds(), 1.5, 10) },
			map[string]string{race: "warning"}, "closes them after 2 s", "keepAliveTimeout=75000",
		},
		"keepAliveTimeout alone": {
			`connectionTimeout="2000" keepAliveTimeout="75000"`,
			func(t *testing.T) { near(t, "an idle connection lasts", idle(t, 8*time.Second).Seconds(), 8, 8) },
			nil, "", "",
		},
		"no limit": {
			`connectionTimeout="-1"`,
			func(t *testing.T) { near(t, "a silent client is borne", silent(t, 8*time.Second).Seconds(), 8, 8) },
			map[string]string{"tomcat/connection-timeout-infinite": "warning"}, "holds one of its 8192 places for ever, and so does each idle connection", "connectionTimeout=20000",
		},
		"zero is no limit": {
			`connectionTimeout="0" keepAliveTimeout="75000"`,
			func(t *testing.T) { near(t, "a silent client is borne", silent(t, 8*time.Second).Seconds(), 8, 8) },
			map[string]string{"tomcat/connection-timeout-infinite": "warning"}, "holds one of its 8192 places for ever", "connectionTimeout=20000",
		},
		"two seconds": {
			`connectionTimeout="2000" keepAliveTimeout="75000"`,
			func(t *testing.T) { near(t, "a silent client is borne", silent(t, 20*time.Second).Seconds(), 1.5, 10) },
			nil, "", "",
		},
		"idle connections take all places": {
			`connectionTimeout="90000" maxConnections="2"`,
			func(t *testing.T) {
				first, second := get(t, 80, "/?seconds=1"), get(t, 80, "/?seconds=1")
				for _, c := range []net.Conn{first, second} {
					_, err := c.Read(make([]byte, 1))
					must(t, err)
				}
				c := get(t, 8080, "/")
				must(t, c.SetReadDeadline(time.Now().Add(4*time.Second)))
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Error("Tomcat answers though nginx holds both places")
				}
			},
			map[string]string{"hop/pool-larger-than-backend": "warning"}, "8 idle connections each to upstream app, 8 in all", "maxConnections=16",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !inOwnNetns(t) {
				return
			}
			tomcat := startTomcat(t, c.attributes)
			nginx := startNginx(t, 80, "upstream app { server 127.0.0.1:8080; keepalive 8; }\nserver { listen 80; location / { "+
				"proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; } }")
			c.shows(t)
			r := check(t, "--only", "tomcat/*", "--only", "hop/*").about(tomcat, nginx)
			for _, f := range r.Findings {
				if c.finds[f.Rule] != f.Severity {
					t.Errorf("unexpected: %s %s: %s", f.Severity, f.Rule, f.Message)
				}
				if !strings.Contains(f.Message, c.says) {
					t.Errorf("%s says %s, want %s", f.Rule, f.Message, c.says)
				}
				f.changes(t, fmt.Sprintf("tomcat:%s/conf/server.xml:3:%s review", tomcat.dir, c.changes))
			}
			if len(r.Findings) != len(c.finds) {
				t.Errorf("%v, want %v", r.rules(), c.finds)
			}
		})
	}
}
