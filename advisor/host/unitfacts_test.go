package host

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// limitsHost is a host with a service at systemd's default, whose user limits.conf raises.
func limitsHost() *memTree {
	var processes []string
	for _, p := range []process{
		{pid: 1, uid: "0", fds: "200", soft: "1048576", hard: "1048576", comm: "systemd", user: "root", cgroup: "/init.scope"},
		{pid: 10, uid: "7", fds: "300", soft: "1024", hard: "524288", comm: "orders", user: "orders", cgroup: "/system.slice/orders.service"},
		{pid: 11, uid: "7", fds: "700", soft: "1024", hard: "524288", comm: "orders-worker", user: "orders", cgroup: "/system.slice/orders.service/w"},
		{pid: 12, uid: "8", fds: denied, soft: "4096", hard: "4096", comm: "db", user: "db", cgroup: "/system.slice/db@one.service"},
		{pid: 13, uid: "7", fds: "900", soft: "1024", hard: "4096", comm: "orders", user: "orders", cgroup: "/user.slice/user-7.slice/user@7.service/app.slice/orders.service"},
		{pid: 14, uid: "7", fds: "900", soft: "1024", hard: "4096", comm: "x", user: "orders", cgroup: "/docker/" + strings.Repeat("a", 64)},
	} {
		processes = append(processes, string(p.encode(nil)))
	}
	orders := account{name: "orders", uid: 7, gid: 7, groups: []accountGroup{{"apps", 70}}}
	db := account{name: "db", uid: 8, gid: 8}
	return &memTree{
		kind: "capture", files: map[string]string{
			"/usr/lib/systemd/libsystemd-shared-252.so":  "",
			"/etc/systemd/system.conf":                   "[Manager]\n#DefaultLimitNOFILE=\nDefaultLimitNOFILE=4096:2048\n",
			"/usr/lib/systemd/system/ssh.service":        "[Service]\n",
			"/usr/lib/systemd/system/nginx.service":      "[Service]\n",
			"/etc/systemd/system/orders.service":         "[Service]\nExecStart=/x\n",
			"/etc/systemd/system/idle.service":           "[Service]\nLimitNOFILE=9000 # idle\nLimitNOFILE=8000\n",
			"/usr/lib/systemd/system/db@.service":        "[Service]\nLimitNOFILE=4096\n",
			"/etc/systemd/system/db@one.service.d/x.cnf": "[Service]\nLimitNOFILE=1\n",
			"/etc/security/limits.conf":                  "@apps soft nofile 65536\n* - nofile 99999\n* soft nofile 2O00\n",
			"/etc/security/limits.d/90.conf":             "db - nofile 100\n",
		},
		links: map[string]string{"/etc/systemd/system/sshd.service": "/usr/lib/systemd/system/ssh.service"},
		asks:  map[string][]string{"processes": processes, "accounts": {string(orders.encode()), string(db.encode())}},
	}
}

func TestUnitFacts(t *testing.T) {
	m := limitsHost()
	p := &part{host: &Host{}, tree: m, machine: true}
	var b advisor.Builder
	if gaps := append(collectProcesses(t.Context(), m, &b), p.collectUnits(t.Context(), &b)...); len(gaps) > 0 {
		t.Error(gaps)
	}
	b.SetMember("sysctl", "fs.nr_open", advisor.Known(advisor.Int(1048576), advisor.Origin{}))
	f := b.Facts()
	wantCells(t, f, "units", []string{"unit", "nofile_soft", "nofile_hard", "nofile_written", "nofile_from", "processes", "pid", "user", "fds", "running_soft", "login_soft", "login_at"},
		"db@one.service | 4096 | 4096 | true | LimitNOFILE=4096 in /usr/lib/systemd/system/db@.service:2 | 1 | 12 | db | unknown: permission denied: run as root | 4096 | 100 | /etc/security/limits.d/90.conf:1",
		"idle.service | 8000 | 8000 | true | LimitNOFILE=8000 in /etc/systemd/system/idle.service:3 | 0 | - | - | - | - | - | -",
		"nginx.service | 1024 | 524288 | false | systemd's default | 0 | - | - | - | - | - | -",
		"orders.service | 1024 | 524288 | false | systemd's default | 2 | 11 | orders | 700 | 1024 | 65536 | /etc/security/limits.conf:1")
	wantCells(t, f, "nofile_lines", []string{"id", "kind", "domain", "value", "number", "decides_hard", "misread"},
		"/etc/systemd/system.conf:3 | unit | every service | 4096:2048 | - | false | systemd ignores the line: the soft limit, in front, is above the hard one (DefaultLimitNOFILE)",
		"/usr/lib/systemd/system/db@.service:2 | unit | db@one.service | 4096 | 4096 | true | -",
		"/etc/systemd/system/idle.service:2 | unit | idle.service | 9000 # idle | - | false | systemd ignores the line: a comment needs a line of its own (LimitNOFILE)",
		"/etc/systemd/system/idle.service:3 | unit | idle.service | 8000 | 8000 | true | -",
		"/etc/security/limits.conf:1 | limits.conf | @apps | 65536 | 65536 | false | -",
		"/etc/security/limits.conf:2 | limits.conf | * | 99999 | 99999 | true | -",
		"/etc/security/limits.conf:3 | limits.conf | * | 2O00 | 2 | false | pam_limits takes the digits in front: 2",
		"/etc/security/limits.d/90.conf:1 | limits.conf | db | 100 | 100 | true | -")
	var fired []string
	for _, finding := range builtinRules(t).Evaluate(f, advisor.Options{Only: []string{"fd/limit*"}}).Findings {
		fired = append(fired, finding.Rule+": "+finding.Message)
	}
	want := "/etc/security/limits.conf:1 gives orders 65536 open files, but orders.service runs with 1024 (systemd's default) and orders-worker (pid 11) has used 700"
	if len(fired) != 4 || !strings.Contains(strings.Join(fired, "\n"), want) {
		t.Errorf("%d: %s", len(fired), strings.Join(fired, "\n"))
	}
}

// TestNginxLimitOfUnit: an nginx that does not run has the limit that its unit will give it.
func TestNginxLimitOfUnit(t *testing.T) {
	const conf = "events { worker_connections 4096; }\nhttp { server { listen 80; } }\n"
	for name, want := range map[string]struct {
		files map[string]string
		cells string
	}{
		"no unit":           {nil, "unknown: no nginx runs here, and no unit starts it | -"},
		"default":           {map[string]string{"/lib/systemd/system/nginx.service": "[Service]\n"}, "1024 | systemd's default (nginx.service)"},
		"drop-in":           {map[string]string{"/lib/systemd/system/nginx.service": "[Service]\n", "/etc/systemd/system/nginx.service.d/a.conf": "[Service]\nLimitNOFILE=8192:infinity\n"}, "8192 | LimitNOFILE=8192:infinity in /etc/systemd/system/nginx.service.d/a.conf:2 (nginx.service)"},
		"nginx's own limit": {map[string]string{"/lib/systemd/system/nginx.service": "[Service]\nLimitNOFILE=1\n", "/etc/nginx/nginx.conf": "worker_rlimit_nofile 9000;\n" + conf}, "9000 | worker_rlimit_nofile"},
	} {
		files := map[string]string{"/etc/nginx/nginx.conf": conf}
		for file, text := range want.files {
			files[file] = text
		}
		f, _ := nginxFactsOf(t, nginxHost("1.22.1", files))
		if diff := cmp.Diff([]string{want.cells}, nginxCells(f, "nginx_main", "nofile", "nofile_from")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestTomcatLimitOfUnit: likewise a Tomcat, by the unit that is named as its directory.
func TestTomcatLimitOfUnit(t *testing.T) {
	const server = `<Server><Service name="Catalina"><Connector port="8080" maxConnections="20000"/></Service></Server>`
	m := &memTree{files: map[string]string{
		"/var/lib/tomcat10/conf/server.xml": server, "/lib/systemd/system/tomcat10.service": "[Service]\nLimitNOFILE=1024:4096\n",
	}}
	var b advisor.Builder
	collectTomcat(m, findServices(t.Context(), m), newUnits(m), nil, &b)
	wantCells(t, b.Facts(), "tomcat_connectors", []string{"unit", "nofile_hard"}, "tomcat10.service | 4096")
	delete(m.files, "/lib/systemd/system/tomcat10.service")
	collectTomcat(m, findServices(t.Context(), m), newUnits(m), nil, &b)
	wantCells(t, b.Facts(), "tomcat_connectors", []string{"unit", "nofile_hard"}, "- | unknown: no Tomcat runs here, and no unit of its name starts it")
}

// TestLimitFilesAlone judges units and limits.conf as FILE operands, by name, by content and as templates.
func TestLimitFilesAlone(t *testing.T) {
	set := builtinRules(t)
	for _, c := range []struct {
		name, as, text string
		fired          string // rules, separated by blanks; "broken" for a file that is not understood, "none" of no known type
	}{
		{"limits.conf", "", "* - nofile 65536\n", ""},
		{"limits.conf", "", "* hard nofile 2000000\n* hard nofile 1000000\n", ""},
		{"etc/security/limits.d/90-app.conf", "", "app - nofile 2000000\n", "fd/nofile-above-nr-open"},
		{"files/app", "", "app - nofile 2000000\napp - nproc 100\n", "fd/nofile-above-nr-open"},
		{"limits.conf.j2", "", "{% for u in users %}\n{{ u }} - nofile {{ n }}\n{% endfor %}\n* soft nofile 64k\n", "fd/limit-misread"},
		{"x.txt", "limits", "* nofile 100\n", "fd/limit-misread"},
		{"app.service", "", "[Service]\nExecStart=/x\nLimitNOFILE=65536\n", ""},
		{"app.service.d/override.conf", "", "[Service]\nLimitNOFILE=64K\n", "fd/limit-misread"},
		{"app.service.d/override.conf", "", "[Service]\nLimitNOFILE=5000000\n", "fd/nofile-above-nr-open"},
		{"app.service.j2", "", "[Service]\nExecStart={{ x }}\nLimitNOFILE={{ n }}\n", ""},
		{"unit", "", "[Unit]\nDescription=x\n[Service]\nExecStart=/x\nLimitNOFILE=unlimited\n", "fd/limit-misread"},
		{"systemd/system.conf", "", "[Manager]\nDefaultLimitNOFILE=\"65536\"\n", "fd/limit-misread"},
		{"app.service", "", "[Service]\nLimitNOFILE=1\n[Install\nWantedBy=x\n", "broken"},
		{"notes", "", "a b c d\n", "none"},
	} {
		files := OpenFiles(nil, nil, FileOptions{As: c.as, Catalogue: set.Catalogue})
		kind, ok := files.recognise(c.name, []byte(c.text), true)
		if !ok {
			if c.fired != "none" {
				t.Errorf("%s: of no known type", c.name)
			}
			continue
		}
		facts, err := kind.facts(c.name, []byte(c.text), files)
		var fired []string
		if err != nil {
			fired = append(fired, "broken")
		}
		for _, finding := range set.Evaluate(facts[0], advisor.Options{}).Findings {
			fired = append(fired, finding.Rule)
		}
		if got := strings.Join(fired, " "); got != c.fired {
			t.Errorf("%s (%s): %q, want %q", c.name, kind.name, got, c.fired)
		}
	}
}
