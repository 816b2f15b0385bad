package host

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// mainNginx is a main file with something in its block http.
func mainNginx(http string) string {
	return "worker_processes auto;\nevents {\n}\nhttp {\n" + http + "}\n"
}

const (
	backend  = "\tupstream b {\n\t\tserver 10.0.0.7:8080;\n\t\tkeepalive 8;\n\t}\n"
	cleared  = "proxy_set_header Connection \"\";\n"
	version  = "proxy_http_version 1.1;\n"
	nginxTop = "/etc/nginx/nginx.conf"
)

// TestNginxEdited: which lines are edited, and where a new one goes.
func TestNginxEdited(t *testing.T) {
	for _, c := range []struct {
		name     string
		host     sysctlHost
		want     map[string]string // each file that is changed
		withheld string            // a part of the reason
	}{
		{
			name: "a time, in all lines of a file that say the same; units are said",
			host: sysctlHost{nginxTop: mainNginx("\tserver {\n\t\tproxy_connect_timeout 600;\n\t}\n\tserver {\n\t\tproxy_connect_timeout 600; # long\n\t\tproxy_connect_timeout_ 600;\n\t}\n")},
			want: map[string]string{nginxTop: mainNginx("\tserver {\n\t\tproxy_connect_timeout 75s;\n\t}\n\tserver {\n\t\tproxy_connect_timeout 75s; # long\n\t\tproxy_connect_timeout_ 600;\n\t}\n")},
		},
		{
			name: "a line that goes; the comments beside it stay",
			host: sysctlHost{nginxTop: mainNginx("\t# why\n\tkeepalive_timeout 0;\n\tproxy_ignore_client_abort on; # both\n\tsendfile on;\n")},
			want: map[string]string{nginxTop: mainNginx("\t# why\n\t # both\n\tsendfile on;\n")},
		},
		{
			name: "both lines beside the proxy_pass",
			host: sysctlHost{nginxTop: mainNginx(backend + "\tserver {\n\t\tlocation / {\n\t\t\tproxy_pass http://b; # the shop\n\t\t\tproxy_buffering off;\n\t\t}\n\t}\n")},
			want: map[string]string{nginxTop: mainNginx(backend + "\tserver {\n\t\tlocation / {\n\t\t\tproxy_pass http://b; # the shop\n\t\t\t" + version + "\t\t\t" + cleared + "\t\t\tproxy_buffering off;\n\t\t}\n\t}\n")},
		},
		{
			name: "the header where the others come from: alone it would undo them; the version where it is missing",
			host: sysctlHost{nginxTop: mainNginx(backend + "\tproxy_set_header Host $host;\n\tserver {\n\t\tlocation / {\n\t\t\tproxy_pass http://b;\n\t\t}\n\t\tlocation /a {\n\t\t\tproxy_http_version 1.1;\n\t\t\tproxy_pass http://b;\n\t\t}\n\t}\n")},
			want: map[string]string{nginxTop: mainNginx(backend + "\tproxy_set_header Host $host;\n\t" + cleared + "\tserver {\n\t\tlocation / {\n\t\t\tproxy_pass http://b;\n\t\t\t" + version + "\t\t}\n\t\tlocation /a {\n\t\t\tproxy_http_version 1.1;\n\t\t\tproxy_pass http://b;\n\t\t}\n\t}\n")},
		},
		{
			name: "what somebody wrote is mended where he wrote it",
			host: sysctlHost{nginxTop: mainNginx(backend + "\tproxy_http_version 1.0;\n\tproxy_set_header connection close;\n\tserver {\n\t\tlocation / {\n\t\t\tproxy_pass http://b;\n\t\t}\n\t}\n")},
			want: map[string]string{nginxTop: mainNginx(backend + "\tproxy_http_version 1.1;\n\tproxy_set_header connection \"\";\n\tserver {\n\t\tlocation / {\n\t\t\tproxy_pass http://b;\n\t\t}\n\t}\n")},
		},
		{
			name: "an if may have neither: its location has them for it",
			host: sysctlHost{nginxTop: mainNginx(backend + "\tserver {\n\t\tlocation / {\n\t\t\tif ($x) {\n\t\t\t\tproxy_pass http://b;\n\t\t\t}\n\t\t\troot /srv;\n\t\t}\n\t}\n")},
			want: map[string]string{nginxTop: mainNginx(backend + "\tserver {\n\t\tlocation / {\n\t\t\tif ($x) {\n\t\t\t\tproxy_pass http://b;\n\t\t\t}\n\t\t\troot /srv;\n\t\t\t" + version + "\t\t\t" + cleared + "\t\t}\n\t}\n")},
		},
		{
			name: "two upstreams want one line, which comes once",
			host: sysctlHost{nginxTop: mainNginx("\tproxy_set_header Host $host;\n\tproxy_http_version 1.1;\n" + backend + strings.ReplaceAll(backend, "upstream b", "upstream c") + "\tserver {\n\t\tlocation /b { proxy_pass http://b; }\n\t\tlocation /c { proxy_pass http://c; }\n\t}\n")},
			want: map[string]string{nginxTop: mainNginx("\tproxy_set_header Host $host;\n\t" + cleared + "\tproxy_http_version 1.1;\n" + backend + strings.ReplaceAll(backend, "upstream b", "upstream c") + "\tserver {\n\t\tlocation /b { proxy_pass http://b; }\n\t\tlocation /c { proxy_pass http://c; }\n\t}\n")},
		},
		{
			name: "a block on one line",
			host: sysctlHost{nginxTop: mainNginx(backend + "\tserver {\n\t\tlocation / { proxy_pass http://b; }\n\t}\n")},
			want: map[string]string{nginxTop: mainNginx(backend + "\tserver {\n\t\tlocation / { proxy_pass http://b; " + strings.TrimSpace(version) + " " + strings.TrimSpace(cleared) + " }\n\t}\n")},
		},
		{
			name: "through Debian's link, and beside headers that a location includes",
			host: sysctlHost{
				nginxTop: mainNginx(backend + "\tinclude sites-enabled/*;\n"), "/etc/nginx/sites-enabled/s": "->../sites-available/s", "/etc/nginx/proxy_params": "proxy_set_header Host $host;\n",
				"/etc/nginx/sites-available/s": "server {\n  location / {\n    include proxy_params;\n    proxy_pass http://b;\n  }\n}",
			},
			want: map[string]string{"/etc/nginx/sites-available/s": "server {\n  location / {\n    include proxy_params;\n    proxy_pass http://b;\n    " + version + "    " + cleared + "  }\n}"},
		},
		{
			name: "a file that is included twice is edited once",
			host: sysctlHost{nginxTop: mainNginx("\tserver {\n\t\tinclude s.conf;\n\t}\n\tserver {\n\t\tinclude s.conf;\n\t}\n" + backend), "/etc/nginx/s.conf": "location / {\r\n\tproxy_pass http://b;\r\n}\r\nkeepalive_requests 1;\r\n"},
			want: map[string]string{"/etc/nginx/s.conf": "location / {\r\n\tproxy_pass http://b;\r\n\t" + strings.ReplaceAll(version+"\t"+cleared, "\n", "\r\n") + "}\r\n"},
		},
		{
			name: "a file of the administrator's that is not below /etc",
			host: sysctlHost{nginxTop: mainNginx("\tinclude /opt/app/nginx.conf;\n"), "/opt/app/nginx.conf": "keepalive_timeout 0;\n"},
			want: map[string]string{"/opt/app/nginx.conf": ""},
		},
		{
			name: "a package's file is left alone",
			host: sysctlHost{nginxTop: mainNginx("\tinclude /usr/share/nginx/x.conf;\n"), "/usr/share/nginx/x.conf": "keepalive_timeout 0;\n"},
			want: map[string]string{}, withheld: "/usr/share/nginx/x.conf is not the administrator's: what is below /usr",
		},
		{
			name: "half a cure is none: without the header the version is withheld, too",
			host: sysctlHost{
				nginxTop:                  mainNginx(backend + "\tinclude /usr/share/nginx/x.conf;\n\tserver {\n\t\tlocation / {\n\t\t\tproxy_pass http://b;\n\t\t}\n\t}\n"),
				"/usr/share/nginx/x.conf": "proxy_set_header Connection close;\n",
			},
			want: map[string]string{}, withheld: "nginx/upstream-keepalive-inert would still say",
		},
		{
			name: "a secret three lines off",
			host: sysctlHost{nginxTop: mainNginx("\tkeepalive_timeout 0;\n\tproxy_set_header Authorization \"Basic abcd\";\n")},
			want: map[string]string{}, withheld: "would show line 6 of /etc/nginx/nginx.conf, which holds a secret: change it by hand",
		},
		{
			name: "a secret four lines off is not shown",
			host: sysctlHost{nginxTop: mainNginx("\tkeepalive_timeout 0;\n\n\n\n\tproxy_set_header Authorization \"Basic abcd\";\n")},
			want: map[string]string{nginxTop: mainNginx("\n\n\n\tproxy_set_header Authorization \"Basic abcd\";\n")},
		},
		{
			name: "a file with a zero byte is no text",
			host: sysctlHost{nginxTop: mainNginx("\tkeepalive_timeout 0;\n# \x00\n")}, want: map[string]string{}, withheld: "holds a zero byte",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := openRoot(t, c.host.lay(t))
			p := patchOf(t, h, advisor.PatchInPlace)
			got := map[string]string{}
			for _, f := range p.Files {
				got[f.Path] = string(f.New)
			}
			if !maps.Equal(got, c.want) || len(p.NewFiles) > 0 {
				t.Errorf("got %q, want %q; withheld %v", got, c.want, p.Withheld)
			}
			switch {
			case c.withheld == "" && len(p.Withheld) > 0:
				t.Errorf("withheld: %v", p.Withheld)
			case c.withheld != "" && !slices.ContainsFunc(p.Withheld, func(w advisor.WithheldChange) bool { return strings.Contains(w.Why, c.withheld) }):
				t.Errorf("withheld %v, want %q", p.Withheld, c.withheld)
			case c.withheld == "" && (len(p.Services) != 1 || p.Services[0].Name != "nginx"):
				t.Errorf("services %v", p.Services)
			}
			wantAsTasks(t, h, p)
		})
	}
}

// wantAsTasks: Ansible's tasks make the same of each file, or the change is withheld in that format.
func wantAsTasks(t *testing.T, h *Host, p *advisor.Patch) {
	t.Helper()
	tasks := patchOf(t, h, advisor.PatchAnsible)
	for _, f := range p.Files {
		i := slices.IndexFunc(tasks.Files, func(o advisor.FileEdit) bool { return o.Path == f.Path })
		if i < 0 {
			if !slices.ContainsFunc(tasks.Withheld, func(w advisor.WithheldChange) bool { return strings.Contains(w.Why, "no module of Ansible") }) {
				t.Errorf("no tasks for %s: %v", f.Path, tasks.Withheld)
			}
			continue
		}
		made := f.Old
		for _, r := range tasks.Replaces {
			if r.Path == f.Path {
				made = replaceLines(made, r)
			}
		}
		if !bytes.Equal(made, f.New) {
			t.Errorf("tasks make %q of %s", made, f.Path)
		}
	}
}

// TestNginxMainLevel: a directive of the main block is set where it is, or comes below worker_processes.
func TestNginxMainLevel(t *testing.T) {
	change := advisor.Change{Setting: "nginx:" + nginxTop + ":1:worker_rlimit_nofile", To: advisor.Int(8192), Safety: advisor.SafetyReview}
	for before, after := range map[string]string{
		"user x;\nworker_processes auto; # all\npid /p;\nevents {}\n": "user x;\nworker_processes auto; # all\nworker_rlimit_nofile 8192;\npid /p;\nevents {}\n",
		"worker_rlimit_nofile 1024;\nevents {}\n":                     "worker_rlimit_nofile 8192;\nevents {}\n",
		"events {}": "events {}\nworker_rlimit_nofile 8192;\n",
	} {
		h := openRoot(t, sysctlHost{nginxTop: before}.lay(t))
		facts, id, _ := h.Facts(t.Context())
		set := builtinSet(t)
		judge := func(f *advisor.Facts) *advisor.Diagnosis { return set.Evaluate(f, advisor.Options{Host: id}) }
		p := h.Edits(t.Context(), facts, judge(facts), []advisor.Change{change}, PatchOptions{Style: advisor.PatchInPlace, Judge: judge})
		if len(p.Files) != 1 || string(p.Files[0].New) != after {
			t.Errorf("%q becomes %+v, want %q; withheld %v", before, p.Files, after, p.Withheld)
		}
	}
}

// TestNginxEditsRefuseAFileThatChanges: between the check and the patch.
func TestNginxEditsRefuseAFileThatChanges(t *testing.T) {
	set := builtinSet(t)
	root := sysctlHost{nginxTop: mainNginx("\tkeepalive_timeout 0;\n")}.lay(t)
	name := filepath.Join(root, nginxTop)
	file := OpenFiles([]string{name}, nil, FileOptions{Catalogue: set.Catalogue})
	host := openRoot(t, root)
	hostFacts, id, _ := host.Facts(t.Context())
	judge := func(f *advisor.Facts) *advisor.Diagnosis { return set.Evaluate(f, advisor.Options{Host: id}) }
	o := PatchOptions{Style: advisor.PatchInPlace, Judge: judge}
	for facts := range file.Facts(t.Context()) {
		if err := os.WriteFile(name, []byte(mainNginx("\t# somebody was here\n\tkeepalive_timeout 0;\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*advisor.Patch{
			file.Edits(t.Context(), facts, judge(facts), changesOf(judge(facts)), o),
			host.Edits(t.Context(), hostFacts, judge(hostFacts), changesOf(judge(hostFacts)), o),
		} {
			if len(p.Files) > 0 || len(p.Withheld) != 1 || !strings.Contains(p.Withheld[0].Why, "nginx.conf has changed since it was read") && !strings.Contains(p.Withheld[0].Why, "is not what it was") {
				t.Errorf("%+v", p)
			}
		}
	}
}

func changesOf(d *advisor.Diagnosis) []advisor.Change {
	changes, _ := d.Changes(advisor.SafetyManual)
	return changes
}

// TestHarmIsMendedOrBlamed: two changes that only together bring another finding are made with what that one wants. Where that
// is not wanted with them they are withheld together, and no others with them.
func TestHarmIsMendedOrBlamed(t *testing.T) {
	const race = "hop/upstream-keepalive-outlives-backend"
	files := badServices()
	files[nginxTop] = strings.ReplaceAll(files[nginxTop], "10.0.0.7", "127.0.0.1")
	files["/etc/sysctl.d/10.conf"] = "net.ipv4.tcp_sack = 0\n"
	before := judgeRoot(t, builtinSet(t), sysctlHost(files).lay(t), "6.1.0")
	for _, style := range []advisor.PatchStyle{advisor.PatchInPlace, advisor.PatchAnsible} {
		p := before.patch(t, style)
		if len(p.Withheld) > 0 || len(p.Files) != 4 {
			t.Errorf("%d files are changed, withheld %+v", len(p.Files), p.Withheld)
		}
		server := slices.IndexFunc(p.Files, func(f advisor.FileEdit) bool { return strings.HasSuffix(f.Path, "server.xml") })
		if server < 0 || !bytes.Contains(p.Files[server].New, []byte(`keepAliveTimeout="75000"`)) {
			t.Errorf("Tomcat's patience is not made longer: %+v", p.Files)
		}
		if len(p.Services) != 2 || p.Services[0].Name != "Tomcat" {
			t.Errorf("Tomcat is not restarted first: %+v", p.Services)
		}
		if remarks := strings.Join(p.Remarks, "\n"); !strings.Contains(remarks, "keepAliveTimeout: without this change "+race+" would be found") {
			t.Errorf("not told why: %s", remarks)
		}
	}
	changes, _ := before.d.Changes(advisor.SafetyManual)
	p := before.host.Edits(t.Context(), before.f, before.d, changes, PatchOptions{Style: advisor.PatchInPlace, Judge: func(f *advisor.Facts) *advisor.Diagnosis {
		d := before.set.Evaluate(f, advisor.Options{Host: advisor.Host{Kernel: "6.1.0"}})
		for i := range d.Findings {
			if d.Findings[i].Rule == race {
				d.Findings[i].Changes = nil
			}
		}
		return d
	}})
	var names []string
	for _, w := range p.Withheld {
		if !strings.Contains(w.Why, race+" would say then") {
			t.Errorf("%+v", w)
		}
		_, at := kindOf(w.Setting)
		names = append(names, at.name)
	}
	slices.Sort(names)
	if want := []string{"proxy_http_version", "proxy_set_header Connection"}; !slices.Equal(names, want) || len(p.Files) != 4 {
		t.Errorf("withheld %v, want %v; %d files are changed", names, want, len(p.Files))
	}
}
