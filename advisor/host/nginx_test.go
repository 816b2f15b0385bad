package host

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
	"github.com/tcpadvise/tcpadvise/rules"
)

// nginxHost is a host whose nginx is configured by these files; a version makes dpkg know it.
func nginxHost(version string, files map[string]string) *memTree {
	m := &memTree{files: files}
	if version != "" {
		m.files["/var/lib/dpkg/status"] = "Package: curl\nStatus: install ok installed\nVersion: 7.88.1\n\n" +
			"Package: nginx-common\nStatus: deinstall ok config-files\nVersion: 1.2.3-1\n\n" +
			"Package: nginx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:" + version + "-9+deb12u3\n"
	}
	return m
}

func nginxFactsOf(t testing.TB, m tree) (*advisor.Facts, []advisor.Gap) {
	t.Helper()
	var b advisor.Builder
	b.Set("cpus", advisor.Known(advisor.Int(4), advisor.Origin{Source: "test"}))
	gaps := collectNginx(m, findServices(t.Context(), m), newUnits(m), nil, &b)
	return b.Facts(), gaps
}

// nginxCells is a table in short: the columns named, of each row.
func nginxCells(f *advisor.Facts, table string, columns ...string) []string {
	var out []string
	for _, row := range f.Table(table).Rows {
		var parts []string
		for _, column := range columns {
			text := showFact(row.Cells[column])
			if row.Cells[column].State == advisor.StateAbsent || row.Cells[column].State == 0 {
				text = "-"
			}
			parts = append(parts, text)
		}
		out = append(out, strings.Join(parts, " | "))
	}
	return out
}

func wantCells(t *testing.T, f *advisor.Facts, table string, columns []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, nginxCells(f, table, columns...)); diff != "" {
		t.Errorf("%s:\n%s", table, diff)
	}
}

func TestNginxEffectiveValues(t *testing.T) {
	m := nginxHost("1.22.1", map[string]string{
		"/etc/nginx/nginx.conf": `user www-data;
worker_processes auto;
worker_rlimit_nofile 4096;
error_log /var/log/nginx/error.log;
events { worker_connections 768; }
http {
	access_log /var/log/nginx/access.log;
	proxy_http_version 1.1;
	include conf.d/*.conf;
	include /etc/nginx/sites-enabled/*;
	proxy_set_header Connection ""; # behind the include, and holds there all the same
}
`,
		"/etc/nginx/conf.d/b.conf":       "upstream App { server 10.0.0.1; server [2001:db8::1]:81 backup; server unix:/run/app.sock; keepalive 16; keepalive_timeout 20s; }\n",
		"/etc/nginx/conf.d/a.conf":       "proxy_read_timeout 90;\nkeepalive_timeout 0;\n",
		"/etc/nginx/conf.d/.hidden.conf": "}",
		"/etc/nginx/conf.d/x.conf.bak":   "}",
		"/etc/nginx/sites-enabled/one": `server {
	listen 80 backlog=4096;
	listen [::]:80;
	listen 127.0.0.1:8000-8001;
	listen unix:/run/n.sock;
	listen 443 quic;
	server_name one.example www.one.example;
	location / { proxy_pass http://app/x; }
	location /host { proxy_pass http://APP; proxy_set_header Host $host; proxy_read_timeout 1h 30m; }
	location /old { proxy_pass http://app; proxy_http_version 1.0; }
	location /ws { proxy_pass http://app; proxy_set_header Upgrade $http_upgrade; proxy_set_header connection "upgrade"; proxy_read_timeout 1d; }
	location /map { proxy_pass http://app; proxy_set_header Connection $connection_upgrade; }
	location /plain { proxy_pass https://user:pa55word@10.0.0.9/; proxy_connect_timeout 100ms; proxy_ignore_client_abort on; }
	location /any { proxy_pass http://$backend; }
	location /php { fastcgi_pass unix:/run/php.sock; }
}
`,
		"/etc/nginx/sites-enabled/two": "server { listen *:80; location / { proxy_pass http://app; } }\nserver { }\n",
	})
	m.files["/etc/nginx/sites-enabled/one"] = strings.ReplaceAll(m.files["/etc/nginx/sites-enabled/one"], "1h 30m", `"1h 30m"`)
	f, gaps := nginxFactsOf(t, m)
	if len(gaps) > 0 {
		t.Error(gaps)
	}
	wantCells(t, f, "nginx_main", []string{"path", "version", "pid", "worker_processes", "worker_connections", "worker_rlimit_nofile", "listens", "logs", "nofile", "nofile_from"},
		"/etc/nginx/nginx.conf | 1.22.1 | - | 4 | 768 | 4096 | 5 | 2 | 4096 | worker_rlimit_nofile")
	wantCells(t, f, "nginx_listens", []string{"listen", "address", "port", "unix", "backlog", "backlog_written", "servers"},
		"*:80 | 0.0.0.0 | 80 | - | 4096 | true | 3",
		"[::]:80 | :: | 80 | - | 511 | false | 1",
		"127.0.0.1:8000 | 127.0.0.1 | 8000 | - | 511 | false | 1",
		"127.0.0.1:8001 | 127.0.0.1 | 8001 | - | 511 | false | 1",
		"unix:/run/n.sock | - | - | /run/n.sock | 511 | false | 1")
	wantCells(t, f, "nginx_upstreams", []string{"path", "name", "block", "servers", "keepalive", "keepalive_timeout", "locations", "websockets", "inert", "inert_at", "inert_why", "assumed"},
		"/etc/nginx/conf.d/b.conf | App | true | 3 | 16 | 20 s | 6 | 1 | 2 | /etc/nginx/sites-enabled/one:9 | the header Connection is not cleared (a block with proxy_set_header lines of its own inherits none) | -",
		"/etc/nginx/sites-enabled/one | 10.0.0.9 | false | 1 | 0 | - | 1 | 0 | 0 | - | - | -")
	wantCells(t, f, "nginx_servers", []string{"upstream", "server", "address", "port", "unix", "keepalive_timeout"},
		"App | 10.0.0.1 | 10.0.0.1 | 80 | - | 20 s", "App | [2001:db8::1]:81 | 2001:db8::1 | 81 | - | 20 s", "App | unix:/run/app.sock | - | - | /run/app.sock | 20 s",
		"10.0.0.9 | 10.0.0.9 | 10.0.0.9 | 443 | - | -")
	wantCells(t, f, "nginx_locations", []string{"id", "count", "upstream", "http_version", "connection", "read_timeout", "connect_timeout", "ignores_client_abort"},
		"/etc/nginx/sites-enabled/one server one.example, location / | 2 | app | 1.1 |  | 1 min 30 s | 1 min | false",
		"/etc/nginx/sites-enabled/one server one.example, location /host | 1 | app | 1.1 | close | 1 h 30 min | 1 min | false",
		"/etc/nginx/sites-enabled/one server one.example, location /old | 1 | app | 1.0 |  | 1 min 30 s | 1 min | false",
		"/etc/nginx/sites-enabled/one server one.example, location /ws | 1 | app | 1.1 | upgrade | 1 d | 1 min | false",
		"/etc/nginx/sites-enabled/one server one.example, location /map | 1 | app | 1.1 | unknown: a variable decides it: $connection_upgrade | 1 min 30 s | 1 min | false",
		"/etc/nginx/sites-enabled/one server one.example, location /plain | 1 | 10.0.0.9 | 1.1 |  | 1 min 30 s | 0.1 s | true",
		"/etc/nginx/sites-enabled/one server one.example, location /any | 1 | unknown: a variable decides it: http://$backend | 1.1 |  | 1 min 30 s | 1 min | false")
	wantCells(t, f, "nginx_settings", []string{"id", "line", "duration", "block", "upgrade"},
		"/etc/nginx/nginx.conf proxy_http_version 1.1 | 8 | - | http | false",
		"/etc/nginx/conf.d/a.conf proxy_read_timeout 90 | 1 | 1 min 30 s | http | false",
		"/etc/nginx/conf.d/a.conf keepalive_timeout 0 | 2 | 0 s | http | false",
		"/etc/nginx/sites-enabled/one proxy_read_timeout 1h 30m | 9 | 1 h 30 min | server one.example, location /host | false",
		"/etc/nginx/sites-enabled/one proxy_http_version 1.0 | 10 | - | server one.example, location /old | false",
		"/etc/nginx/sites-enabled/one proxy_read_timeout 1d for WebSockets | 11 | 1 d | server one.example, location /ws | true",
		"/etc/nginx/sites-enabled/one proxy_connect_timeout 100ms | 13 | 0.1 s | server one.example, location /plain | false",
		"/etc/nginx/sites-enabled/one proxy_ignore_client_abort on | 13 | - | server one.example, location /plain | false")
	o := f.Table("nginx_upstreams").Rows[0].Cells["keepalive"].Origin
	if o.Path != "/etc/nginx/conf.d/b.conf" || o.Line != 1 || o.Column != 102 || m.files[o.Path][o.Start:o.End] != "16" {
		t.Errorf("origin %+v", o)
	}
	for table := range strings.FieldsSeq("nginx_main nginx_upstreams nginx_servers nginx_locations nginx_settings") {
		if strings.Contains(fmt.Sprint(f.Table(table)), "pa55word") {
			t.Errorf("%s tells a password", table)
		}
	}
}

// TestNginxDefaultsByVersion: 1.29.7 asks upstreams in HTTP/1.1, clears Connection and keeps 32 connections in each block.
func TestNginxDefaultsByVersion(t *testing.T) {
	const text = `events {}
http {
	upstream a { server 10.0.0.1; }
	upstream b { server 10.0.0.1; keepalive 4; }
	upstream off { server 10.0.0.1; keepalive 0; }
	server {
		location /a { proxy_pass http://a; }
		location /b { proxy_pass http://b; }
		location /off { proxy_pass http://off; }
		location /addr { proxy_pass http://10.0.0.1:8080; }
		location /1.0 { proxy_pass http://b; proxy_http_version 1.0; proxy_set_header Connection Close; }
	}
}
`
	for version, want := range map[string][]string{
		"1.18.0": {"a | 0 | - | - | 1 | -", "b | 4 | 1 min | 100 | 2 | -", "off | 0 | - | - | 1 | -", "10.0.0.1:8080 | 0 | - | - | 1 | -"},
		"1.29.6": {"a | 0 | - | - | 1 | -", "b | 4 | 1 min | 1000 | 2 | -", "off | 0 | - | - | 1 | -", "10.0.0.1:8080 | 0 | - | - | 1 | -"},
		"1.29.7": {"a | 32 | 1 min | 1000 | 0 | -", "b | 4 | 1 min | 1000 | 1 | -", "off | 0 | - | - | 0 | -", "10.0.0.1:8080 | 0 | - | - | 0 | -"},
		"1.30.0": {"a | 32 | 1 min | 1000 | 0 | -", "b | 4 | 1 min | 1000 | 1 | -", "off | 0 | - | - | 0 | -", "10.0.0.1:8080 | 0 | - | - | 0 | -"},
		"": {
			"a | 0 | - | - | 1 | nginx is older than 1.29.7", "b | 4 | 1 min | 1000 | 2 | nginx is older than 1.29.7",
			"off | 0 | - | - | 1 | nginx is older than 1.29.7", "10.0.0.1:8080 | 0 | - | - | 1 | -",
		},
	} {
		t.Run(version, func(t *testing.T) {
			f, _ := nginxFactsOf(t, nginxHost(version, map[string]string{"/etc/nginx/nginx.conf": text}))
			wantCells(t, f, "nginx_upstreams", []string{"name", "keepalive", "keepalive_timeout", "keepalive_requests", "inert", "assumed"}, want...)
		})
	}
}

func TestNginxIncludes(t *testing.T) {
	const head = "events {}\nhttp {\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		gaps  []string
		inert string // of the upstream
	}{
		{
			"missing",
			map[string]string{"/etc/nginx/nginx.conf": head + "include none.conf; upstream u { server a:1; keepalive 1; } server { location / { proxy_pass http://u; } } }"},
			[]string{"/etc/nginx/none.conf: no such file"},
			"unknown: /etc/nginx/none.conf was not read: no such file",
		},
		{"glob without a match", map[string]string{"/etc/nginx/nginx.conf": head + "include none/*.conf; upstream u { server a:1; keepalive 1; } server { location / { proxy_pass http://u; } } }"}, nil, "1"},
		{"in a location", map[string]string{
			"/etc/nginx/nginx.conf":   head + "upstream u { server a:1; keepalive 1; } server { location / { proxy_pass http://u; include proxy_params; } } }",
			"/etc/nginx/proxy_params": "proxy_http_version 1.1;\nproxy_set_header Connection '';\n",
		}, nil, "0"},
		{
			"cycle",
			map[string]string{
				"/etc/nginx/nginx.conf": head + "upstream u { server a:1; keepalive 1; } server { location / { proxy_pass http://u; } } include a; }",
				"/etc/nginx/a":          "include b;", "/etc/nginx/b": "proxy_http_version 1.1;\ninclude a;",
			},
			[]string{"/etc/nginx/a: includes itself: /etc/nginx/a includes /etc/nginx/b includes /etc/nginx/a"},
			"unknown: /etc/nginx/a was not read: includes itself: /etc/nginx/a includes /etc/nginx/b includes /etc/nginx/a",
		},
		{
			"itself",
			map[string]string{"/etc/nginx/nginx.conf": "include nginx.conf;\n" + head + "upstream u { server a:1; keepalive 1; } server { location / { proxy_pass http://u; } } }"},
			[]string{"/etc/nginx/nginx.conf: includes itself: /etc/nginx/nginx.conf includes /etc/nginx/nginx.conf"},
			"unknown: /etc/nginx/nginx.conf was not read: includes itself: /etc/nginx/nginx.conf includes /etc/nginx/nginx.conf",
		},
		{
			"broken beside a good one",
			map[string]string{
				"/etc/nginx/nginx.conf": head + "include s/*; }",
				"/etc/nginx/s/1":        "server {\n  listen 80\n}\n",
				"/etc/nginx/s/2":        "upstream u { server a:1; keepalive 1; } server { location / { proxy_pass http://u; proxy_set_header Connection close; } }",
			},
			[]string{"/etc/nginx/s/1:3:1: unexpected '}': the ';' after \"80\" is missing"},
			"1",
		},
		{
			"a directory",
			map[string]string{"/etc/nginx/nginx.conf": head + "include s; upstream u { server a:1; keepalive 1; } }", "/etc/nginx/s/1": ""},
			[]string{"/etc/nginx/s: is no regular file"},
			"0",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, gaps := nginxFactsOf(t, nginxHost("1.22.1", c.files))
			var got []string
			for _, gap := range gaps {
				got = append(got, gap.Source+": "+gap.Why)
			}
			if diff := cmp.Diff(c.gaps, got); diff != "" {
				t.Error(diff)
			}
			wantCells(t, f, "nginx_upstreams", []string{"inert"}, c.inert)
			if incomplete := f.Table("nginx_upstreams").Unknown != ""; incomplete != (len(gaps) > 0) {
				t.Errorf("table says %q", f.Table("nginx_upstreams").Unknown)
			}
		})
	}
}

// TestNginxNeverWaits: a FIFO, a device and a link to one are not read; doubling includes end.
func TestNginxNeverWaits(t *testing.T) {
	dir := t.TempDir()
	etc := filepath.Join(dir, "etc/nginx")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nginx.conf", "events {}\nhttp { include fifo; include zero; include bomb0; }\n")
	if err := unix.Mkfifo(filepath.Join(etc, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(etc, "zero")); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		write(fmt.Sprintf("bomb%d", i), fmt.Sprintf("include bomb%d;\ninclude bomb%d;\n", i+1, i+1))
	}
	write("bomb40", strings.Repeat("a b;\n", 1000))
	root, err := newDirTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	f, gaps := nginxFactsOf(t, root)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if len(gaps) < 3 || f.Table("nginx_main").Unknown == "" {
		t.Errorf("%d gaps: %v", len(gaps), gaps)
	}
}

func TestNginxFilesAlone(t *testing.T) {
	for _, c := range []struct {
		name, text string
		gaps       []string
		upstreams  []string // name, inert, assumed
	}{
		{
			"conf.d/shop.conf", "upstream u { server a:1; keepalive 1; }\nserver { location / { proxy_pass http://u; } }\n", nil,
			[]string{"u | 1 | nginx is older than 1.29.7, and the blocks around this file set nothing else"},
		},
		{
			"nginx.conf", "events {}\nhttp { include conf.d/*.conf; include mime.types; upstream u { server a:1; keepalive 1; }\nserver { location / { proxy_pass http://u; } } }\n", nil,
			[]string{"u | 1 | nginx is older than 1.29.7, and what conf.d/*.conf includes sets nothing for all servers"},
		},
		{
			"proxied.conf", "upstream u { server a:1; keepalive 1; }\nserver { location / { proxy_pass http://u; include proxy_params; } }\n", nil,
			[]string{"u | unknown: proxy_params was not read: a file that is named is judged alone | -"},
		},
		{"elsewhere.conf", "server { location / { proxy_pass http://u; } location /p { proxy_pass http://u:1; } }\n", nil, []string{"u | 1 | -", "u:1 | 1 | -"}},
		{"nginx.conf.j2", "{% for s in servers %}\nserver {\n  listen {{ s.port }};\n  server_name {{ s.name }};\n" +
			"  location / { proxy_pass http://{{ backend }}; {% if x %}proxy_read_timeout {{ t }}s;{% else %}proxy_read_timeout 3h;{% endif %} }\n}\n{% endfor %}\n", nil, nil},
		{"sites-available/lines.conf", "gzip on\ngzip_types a b;\n", []string{":1:1 \"gzip\" takes 1 argument, 4 given: is a ';' missing? Line 1 ends without one"}, nil},
		{"bom.conf", "\uFEFFserver {\n listen 80; location / { return 200 a; }\n}\n", []string{":1:1 the file begins with a byte order mark (U+FEFF), which nginx takes for a part of the first word: save it without"}, nil},
		{"broken/nginx.conf", "events {\n", []string{":1:8 the '{' of \"events\" is never closed"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), c.name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			files := OpenFiles([]string{file}, nil, FileOptions{Catalogue: builtinRules(t).Catalogue})
			for f := range files.Facts(t.Context()) {
				if got := nginxCells(f, "nginx_upstreams", "name", "inert", "assumed"); !slices.Equal(got, c.upstreams) {
					t.Errorf("upstreams %q, want %q", got, c.upstreams)
				}
			}
			var gaps []string
			for _, gap := range files.Gaps() {
				gaps = append(gaps, strings.TrimPrefix(gap.Source, file)+" "+gap.Why)
			}
			if !slices.Equal(gaps, c.gaps) {
				t.Errorf("gaps %q, want %q", gaps, c.gaps)
			}
		})
	}
}

func builtinRules(t testing.TB) *advisor.RuleSet {
	t.Helper()
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestNginxVocabulary: each cell is a column of the vocabulary, of its type, and each column is filled by some cell.
func TestNginxVocabulary(t *testing.T) {
	set := builtinRules(t)
	text := `worker_rlimit_nofile 99; events {} http {
		upstream u { server a:1; server unix:/x; keepalive 1; keepalive_timeout 3; } proxy_read_timeout 2m; keepalive_requests 5;
		server { listen 80; listen unix:/y; location / { proxy_pass http://u; } } }`
	filled := map[string]bool{}
	look := func(f *advisor.Facts) {
		for _, table := range nginxTables() {
			columns := set.Vocabulary.Columns(table)
			for _, row := range f.Table(table).Rows {
				for name := range row.Cells {
					if _, ok := columns.Type(name); !ok {
						t.Errorf("%s.%s is not in the vocabulary", table, name)
					}
					filled[table+"."+name] = true
				}
			}
		}
	}
	f, _ := nginxFactsOf(t, nginxHost("", map[string]string{"/etc/nginx/nginx.conf": text}))
	look(f)
	f, _ = nginxFactsOf(t, &memTree{
		kind: "capture", files: map[string]string{"/etc/nginx/nginx.conf": text},
		asks: map[string][]string{"services": {`nginx 7 "soft=1024" "conf=/etc/nginx/nginx.conf" "version=1.22.1" "binary=/usr/sbin/nginx" "workers=2"` + "\n"}},
	})
	look(f)
	for _, table := range nginxTables() {
		for _, column := range set.Vocabulary.Columns(table).Names() {
			if !filled[table+"."+column] {
				t.Errorf("%s.%s is never filled", table, column)
			}
		}
	}
}

func TestNginxFound(t *testing.T) {
	files := map[string]string{"/srv/a.conf": "events {}", "/etc/nginx/nginx.conf": "events { worker_connections 9; }"}
	line := func(pid int, conf, container string) string {
		v := service{kind: nginxService, pid: int64(pid), soft: "1024", container: container, args: nginxArgs(conf, nginxBinary{version: "1.25.3", path: "/usr/sbin/nginx"})}
		return string(v.encode())
	}
	f, gaps := nginxFactsOf(t, &memTree{
		kind: "capture", files: files,
		asks: map[string][]string{"services": {line(7, "/srv/a.conf", ""), line(8, "/srv/a.conf", ""), line(9, "/x", "container abc")}},
	})
	wantCells(t, f, "nginx_main", []string{"path", "pid", "version", "nofile", "nofile_from"}, "/srv/a.conf | 7 | 1.25.3 | 1024 | the running workers' limit")
	if len(gaps) != 1 || !strings.Contains(gaps[0].Source+gaps[0].Why, "process 9runs in container abc") {
		t.Error(gaps)
	}
	// One with ports of its own hides nothing that is judged here.
	f, gaps = nginxFactsOf(t, &memTree{kind: "capture", files: files, asks: map[string][]string{"services": {strings.Replace(line(9, "/x", "container abc"), "\n", ` "netns=another"`+"\n", 1)}}})
	if table := f.Table("nginx_main"); table.Unknown != "" || len(gaps) != 0 {
		t.Error(table, gaps)
	}
	f, gaps = nginxFactsOf(t, &memTree{kind: "capture", files: files, asks: map[string][]string{"services": {line(9, "/x", "container abc")}}})
	if f.Table("nginx_main").Unknown != "nginx, process 9 runs in container abc and has files of its own: not judged" || len(gaps) != 1 {
		t.Error(f.Table("nginx_main"), gaps)
	}
	f, _ = nginxFactsOf(t, &memTree{files: files})
	wantCells(t, f, "nginx_main", []string{"path", "pid", "version", "worker_connections"},
		"/etc/nginx/nginx.conf | - | unknown: neither a running nginx nor a package of dpkg names its version | 9")
	f, _ = nginxFactsOf(t, &memTree{})
	if f.Table("nginx_main").Absent != noNginx {
		t.Error(f.Table("nginx_main"))
	}
}

func TestNginxTitle(t *testing.T) {
	for title, want := range map[string]string{
		"nginx: master process /usr/sbin/nginx -g daemon on; master_process on;": "master||",
		"nginx: master process nginx -c /srv/x.conf -p /srv/":                    "master|/srv/x.conf|/srv/",
		"nginx: master process nginx -c/srv/x.conf":                              "master|/srv/x.conf|",
		"nginx: worker process":                                                  "worker||",
		"nginx: worker process is shutting down":                                 "worker||",
		"nginx: cache manager process":                                           "helper||",
		"nginx\x00-p\x00/srv\x00-c\x00x.conf\x00":                                "master|x.conf|/srv",
	} {
		role, file, prefix := nginxTitle(title)
		if got := role + "|" + file + "|" + prefix; got != want {
			t.Errorf("%q: %s, want %s", title, got, want)
		}
	}
	bin := nginxBinary{conf: "/etc/nginx/nginx.conf", prefix: "/usr/share/nginx"}
	for want, got := range map[string]string{
		"/etc/nginx/nginx.conf": nginxMainFile("", "", bin), "/srv/x.conf": nginxMainFile("/srv/x.conf", "", bin),
		"/srv/conf/x.conf": nginxMainFile("conf/x.conf", "/srv/", bin), "/usr/share/nginx/x.conf": nginxMainFile("x.conf", "", bin),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestNginxTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"60": time.Minute, "0": 0, "1m30s": 90 * time.Second, "1h 30m": 90 * time.Minute, "500ms": 500 * time.Millisecond, "1d": 24 * time.Hour,
		"1m 5": 65 * time.Second, "1M": 30 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1y": 365 * 24 * time.Hour,
	} {
		if got, ok := nginxTime(text); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "x", "1s1m", "1x", "-1", "1.5", "5 5", "99999999y", "1ss", "ms"} {
		if got, ok := nginxTime(text); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestNginxSecrets: headers and variables with secrets are masked where files are read, and the masked file parses as it did.
func TestNginxSecrets(t *testing.T) {
	const text = `log_format j escape=json '{'
	'"key":"$request_id",'
	'"token": "$http_x; {",'
'}';
server {
	secure_link_secret hunter2;
	location / { proxy_set_header Authorization "Basic hunter2; x"; proxy_set_header X-Api-Key 'hunter2'; proxy_pass http://u:hunter2@b/; }
	location /2 {
		set $api_token hunter2; # it's
		fastcgi_param DB_PASSWORD hunter2;
		proxy_set_header Cookie a=hunter2;
		proxy_set_header Connection "";
		ssl_certificate_key /etc/x.key;
	}
	content_by_lua_block {
		local secret = "hunter2}"
		password: x = 'hunter2' -- }
	}
}
`
	masked := maskSecrets("/etc/nginx/nginx.conf", []byte(text))
	if strings.Contains(string(masked), "hunter2") {
		t.Errorf("a secret is left:\n%s", masked)
	}
	for _, stays := range []string{`proxy_set_header Connection "";`, "ssl_certificate_key /etc/x.key;"} {
		if !strings.Contains(string(masked), stays) {
			t.Errorf("%s is gone:\n%s", stays, masked)
		}
	}
	plain, err := conf.ParseNginx([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	f, err := conf.ParseNginx(masked)
	if err != nil || f.Len() != plain.Len() {
		t.Errorf("%d directives, %v:\n%s", f.Len(), err, masked)
	}
}

// TestNginxOfDebianIsQuiet judges the configuration that Debian ships, as it lies on this machine.
func TestNginxOfDebianIsQuiet(t *testing.T) {
	root := t.TempDir()
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("no Debian machine: its configuration is not here to be judged")
	}
	out, err := exec.Command("dpkg-query", "-L", "nginx-common").Output()
	if err != nil {
		t.Fatal("Debian's nginx is missing: apt-get install -y nginx-light")
	}
	copied := 0
	for file := range strings.Lines(string(out) + "/etc/nginx/sites-enabled/default\n") {
		file = strings.TrimSpace(file)
		source := file
		if strings.HasPrefix(file, "/etc/nginx/sites-enabled/") {
			source = "/etc/nginx/sites-available/default"
		}
		data, err := os.ReadFile(source)
		if err != nil || !strings.HasPrefix(file, "/etc/nginx/") {
			continue
		}
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
		copied++
	}
	if copied < 3 {
		t.Fatal("Debian's configuration is missing: apt-get install -y --reinstall nginx-common")
	}
	tree, err := newDirTree(root)
	if err != nil {
		t.Fatal(err)
	}
	f, gaps := nginxFactsOf(t, tree)
	if len(gaps) > 0 || len(f.Table("nginx_listens").Rows) != 2 {
		t.Errorf("%v %v", gaps, nginxCells(f, "nginx_listens", "listen"))
	}
	for _, finding := range builtinRules(t).Evaluate(f, advisor.Options{Only: []string{"nginx/*"}}).Findings {
		t.Errorf("%v %s: %s", finding.Severity, finding.Rule, finding.Message)
	}
}

// nginxLab is a private network with a web server in it, and nginx in front.
type nginxLab struct {
	dir         string
	backend     string
	connections atomic.Int64
}

// inLab runs do in a network namespace of its own, with a backend for nginx.
func inLab(t *testing.T, do func(l *nginxLab)) {
	t.Helper()
	if _, err := exec.LookPath("/usr/sbin/nginx"); err != nil {
		t.Fatal("nginx is not installed: apt-get install nginx-light")
	}
	if !inOwnNetns(t) {
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &nginxLab{dir: t.TempDir(), backend: listener.Addr().String()}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				l.connections.Add(1)
			}
		},
	}
	go server.Serve(listener)
	defer server.Close()
	do(l)
}

// serve starts nginx with a configuration, sends requests through it and returns how many connections the other side got.
func (l *nginxLab) serve(t *testing.T, text string, requests int, while func()) int64 {
	file := filepath.Join(l.dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Error(err)
		return -1
	}
	socket := filepath.Join(l.dir, "front.sock")
	os.Remove(socket)
	cmd := exec.Command("/usr/sbin/nginx", "-c", file, "-p", l.dir, "-e", "stderr", "-g", "user root root;")
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return -1
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	for range 100 { // between bind(2), which makes the file, and listen(2) it refuses
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	before := l.connections.Load()
	for i := range requests {
		answer, err := client.Get("http://front/")
		if err != nil {
			t.Errorf("request %d: %v\n%s", i, err, log.String())
			return -1
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("request %d: %s\n%s", i, answer.Status, log.String())
			return -1
		}
	}
	if while != nil {
		while()
	}
	client.CloseIdleConnections()
	return l.connections.Load() - before
}

// TestNginxKeepaliveInertIsTrue shows the claim of nginx/upstream-keepalive-inert by nginx's own behaviour: as found, each request
// opens a connection; with the lines that the rule wants, inserted by our edits, one carries all.
func TestNginxKeepaliveInertIsTrue(t *testing.T) {
	const requests = 200
	set := builtinRules(t)
	judge := func(text string) []string {
		var fired []string
		f, gaps := nginxFactsOf(t, nginxHost("1.22.1", map[string]string{"/etc/nginx/nginx.conf": text}))
		if len(gaps) > 0 {
			t.Error(gaps)
		}
		for _, finding := range set.Evaluate(f, advisor.Options{Only: []string{"nginx/upstream-keepalive-inert"}}).Findings {
			fired = append(fired, finding.Message)
		}
		return fired
	}
	inLab(t, func(l *nginxLab) {
		before := `daemon off;
worker_processes 1;
pid ` + l.dir + `/pid;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	upstream backend { server ` + l.backend + `; keepalive 8; }
	server {
		listen unix:` + l.dir + `/front.sock;
		location / {
			proxy_pass http://backend;
			proxy_set_header Host $host;
		}
	}
}
`
		after := fixInert(t, before)
		if n := len(judge(before)); n != 1 {
			t.Errorf("the rule fired %d times before", n)
		}
		if fired := judge(after); len(fired) > 0 {
			t.Errorf("the rule fired after: %v\n%s", fired, after)
		}
		if got := l.serve(t, before, requests, func() { l.isFound(t) }); got < requests {
			t.Errorf("before: %d connections for %d requests", got, requests)
		}
		if got := l.serve(t, after, requests, nil); got < 1 || got > 8 {
			t.Errorf("after: %d connections for %d requests", got, requests)
		} else {
			t.Logf("%d requests: a connection each before, %d in all after", requests, got)
		}
	})
}

// fixInert inserts the two lines beside the proxy_pass.
func fixInert(t *testing.T, text string) string {
	f, err := conf.ParseNginx([]byte(text))
	if err != nil {
		t.Error(err) // and not Fatal: this is another goroutine than the test's
	}
	var edits []conf.Edit
	for i := range f.Len() {
		if f.Name(i) != "proxy_pass" {
			continue
		}
		for _, line := range [][]string{{"proxy_http_version", "1.1"}, {"proxy_set_header", "Connection", ""}} {
			e, err := f.InsertDirective(f.Parent(i), line...)
			if err != nil {
				t.Error(err)
			}
			edits = append(edits, e)
		}
	}
	out, err := conf.Apply([]byte(text), edits)
	if err != nil {
		t.Error(err)
	}
	return string(out)
}

// isFound looks for the running nginx as a live check does.
func (l *nginxLab) isFound(t *testing.T) {
	var found services
	if err := walkServices(t.Context(), found.piece); err != nil {
		t.Error(err)
		return
	}
	i := slices.IndexFunc(found.running, func(v service) bool { return v.arg("conf") == filepath.Join(l.dir, "nginx.conf") })
	if i < 0 {
		t.Errorf("not found among %+v", found.running)
		return
	}
	v := &found.running[i]
	version := v.arg("version")
	out, _ := exec.Command("/usr/sbin/nginx", "-v").CombinedOutput()
	if v.arg("workers") != "1" || v.container != "" || !strings.Contains(string(out), "nginx/"+version) || version == "" || v.soft == "" {
		t.Errorf("found as %+v, nginx -v says %s", v, out)
	}
}

// BenchmarkRatioNginxFactsToParse compares reading 14 MB of 9,000 servers into facts and judging them with the parse alone.
func BenchmarkRatioNginxFactsToParse(b *testing.B) {
	var text strings.Builder
	text.WriteString("events {}\nhttp {\nupstream backend { server 127.0.0.1:8080; keepalive 32; }\n")
	for i := range 9000 {
		fmt.Fprintf(&text, "server {\n\tlisten 80;\n\tserver_name customer%[1]d.example.com www.customer%[1]d.example.com;\n"+
			"\troot /srv/www/customer%[1]d/htdocs;\n\taccess_log /var/log/nginx/customer%[1]d.access.log combined;\n"+
			strings.Repeat("\tadd_header Strict-Transport-Security \"max-age=31536000; includeSubDomains\" always;\n\trewrite ^/old/(.*)$ /new/$1 permanent;\n", 8)+
			"\tlocation /api/ {\n\t\tproxy_pass http://backend;\n\t\tproxy_http_version 1.1;\n\t\tproxy_set_header Connection \"\";\n\t\tproxy_read_timeout 30s;\n\t}\n}\n", i)
	}
	text.WriteString("}\n")
	data := []byte(text.String())
	set := builtinRules(b)
	files := OpenFiles(nil, nil, FileOptions{Catalogue: set.Catalogue})
	judge := func() {
		facts, err := nginxFacts("nginx.conf", data, files)
		if err != nil {
			b.Fatal(err)
		}
		set.Evaluate(facts[0], advisor.Options{})
	}
	for b.Loop() {
	}
	b.ReportMetric(float64(len(data))/1e6, "MB")
	b.ReportMetric(medianRatio(7, judge, func() { conf.ParseNginx(data) }), "ratio")
}
