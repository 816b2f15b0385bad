package host

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// snippets are what guides tell people to put into sysctl files.
func snippets() map[string]string {
	return map[string]string{
		"against TIME_WAIT":  "net.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_tw_reuse = 1\nnet.ipv4.tcp_fin_timeout = 3\nnet.ipv4.tcp_max_tw_buckets = 5000\nnet.ipv4.tcp_timestamps = 0\n",
		"for throughput":     "net.ipv4.tcp_rmem = 4096 16777216 16777216\nnet.ipv4.tcp_wmem = 4096\t16777216 16777216\nnet.core.rmem_default=16777216\nnet.ipv4.tcp_mem = 16777216 16777216 16777216\nnet.ipv4.tcp_low_latency = 1\nnet.ipv4.tcp_sack = 0\nnet.ipv4.tcp_window_scaling = 0",
		"against floods":     "net.ipv4.tcp_syncookies = 0\r\nnet.ipv4.tcp_synack_retries = 0\r\nnet.ipv4.tcp_syn_retries = 1\r\nnet.ipv4.tcp_abort_on_overflow = 1\r\nnet.ipv4.tcp_orphan_retries = 1\r\n",
		"a hardened laptop":  "net.ipv4.tcp_sack=0\nnet.ipv4.tcp_fack=0\nnet.ipv4.tcp_dsack=0 # off\n-net.ipv4.tcp_frto = 0\nnet/ipv4/tcp_timestamps = 0\n",
		"for file servers":   "fs.file-max = 1000\nnet.core.somaxconn = 100\nnet.core.netdev_max_backlog = 100\nnet.ipv4.tcp_retries2 = 3\nnet.ipv4.tcp_keepalive_time = 20\n",
		"mistyped":           "net.ipv4.tcp_fin_timeout = 30 # seconds\nnet.ipv4.tcp_fin_timeot = 15\nnet.ipv4.tcp_sack: 1\nnet.ipv4.tcp_retries2 = 8\nnet.ipv4.tcp_retries2 = 15\n",
		"for a busy proxy":   "net.ipv4.ip_local_port_range = 1024 65535\nnet.netfilter.nf_conntrack_tcp_timeout_established = 60\nnet.ipv4.tcp_max_orphans = 100\nnet.core.optmem_max = 1000\n",
		"for no host at all": "net.ipv4.tcp_congestion_control = cubic\n; net.ipv4.tcp_tw_recycle = 1\nkernel.pid_max = 65536\n",
	}
}

// badServices are configurations with the mistakes that rules want changed.
func badServices() map[string]string {
	return map[string]string{
		"/etc/nginx/nginx.conf":              mainNginx("\tkeepalive_timeout 0;\n\tproxy_ignore_client_abort on;\n" + backend + "\tinclude sites-enabled/*;\n"),
		"/etc/nginx/sites-available/default": "server {\n\tproxy_set_header Host $host;\n\tlocation / {\n\t\tproxy_pass http://b;\n\t\tproxy_connect_timeout 600;\n\t}\n\tlocation /a {\n\t\tproxy_pass http://b;\n\t\tproxy_read_timeout 1d;\n\t}\n}\n",
		"/etc/nginx/sites-enabled/default":   "->../sites-available/default",
		"/usr/local/tomcat/conf/server.xml": "<Server port=\"8005\">\n  <GlobalNamingResources>\n    <Resource name=\"jdbc/a\" type=\"javax.sql.DataSource\"\n      maxWaitMillis=\"-1\"/>\n  </GlobalNamingResources>\n  <Service name=\"Catalina\">\n" +
			"    <Connector port=\"8080\" protocol=\"HTTP/1.1\" connectionTimeout='-1'\n               maxKeepAliveRequests=\"1\"/>\n  </Service>\n</Server>\n",
	}
}

// hostsIn are the composed hosts with the kernels that are judged, and one that boots by procps' script.
func hostsIn(t testing.TB) map[string]sysctlHost {
	t.Helper()
	hosts := map[string]sysctlHost{}
	entries, err := os.ReadDir("testdata/hosts")
	if err != nil || len(entries) < 12 {
		t.Fatal(len(entries), err)
	}
	for _, e := range entries {
		hosts[e.Name()] = treeOf(t, filepath.Join("testdata/hosts", e.Name()))
	}
	procps := maps.Clone(hosts["debian12"])
	delete(procps, "/usr/lib/systemd/systemd-sysctl")
	procps["/etc/init.d/procps"] = ""
	hosts["sysvinit"] = procps
	return hosts
}

// treeOf reads the files below a directory; links as "->".
func treeOf(t testing.TB, root string) sysctlHost {
	t.Helper()
	h := sysctlHost{}
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		at := strings.TrimPrefix(name, root)
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(name)
			h[at] = "->" + target
			return err
		}
		data, err := os.ReadFile(name)
		h[at] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// kernelFor is a kernel that such a host runs.
func kernelFor(host string) string {
	switch host {
	case "rhel8-like", "oracle":
		return "4.18.0-553.el8_10.x86_64"
	case "rhel9-like":
		return "5.14.0-427.el9.x86_64"
	case "ubuntu2204", "k8s-node", "docker-host":
		return "5.15.0-118-generic"
	case "debian13":
		return "6.12.43+deb13-amd64"
	}
	return "6.1.0-38-amd64"
}

// judged is a tree with what is found in it.
type judged struct {
	host *Host
	set  *advisor.RuleSet
	d    *advisor.Diagnosis
	f    *advisor.Facts
}

func judgeRoot(t testing.TB, set *advisor.RuleSet, root, kernel string) judged {
	t.Helper()
	h, err := Open(Options{Root: root, Kernel: kernel, Catalogue: set.Catalogue, Edits: true, TomcatBases: []string{"/usr/local/tomcat"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Abort)
	facts, id, _ := h.Facts(t.Context())
	return judged{h, set, set.Evaluate(facts, advisor.Options{Host: id}), facts}
}

func (j judged) patch(t testing.TB, style advisor.PatchStyle) *advisor.Patch {
	changes, _ := j.d.Changes(advisor.SafetyManual)
	id := advisor.Host{Kernel: j.host.options.Kernel}
	return j.host.Edits(t.Context(), j.f, j.d, changes, PatchOptions{Style: style, Judge: func(f *advisor.Facts) *advisor.Diagnosis { return j.set.Evaluate(f, advisor.Options{Host: id}) }})
}

// lawFailer is a test, or one try of a property.
type lawFailer interface {
	Helper()
	Errorf(format string, args ...any)
}

// holdPatchLaws are laws 3, 4 and 8 over one host. It returns the rules whose changes were made.
func holdPatchLaws(t lawFailer, tb testing.TB, set *advisor.RuleSet, files sysctlHost, kernel string, style advisor.PatchStyle) map[string]bool {
	t.Helper()
	root := files.lay(tb)
	defer os.RemoveAll(root)
	before := judgeRoot(tb, set, root, kernel)
	for _, f := range before.d.Findings {
		if f.Remedy == advisor.RemedyApplication && slices.ContainsFunc(f.Changes, func(c advisor.ProposedChange) bool { return strings.HasPrefix(c.Setting, "sysctl:") }) {
			t.Errorf("%s wants a kernel parameter changed, and only the program can help", f.Rule)
		}
	}
	p := before.patch(tb, style)
	if wanted := len(first(before.d.Changes(advisor.SafetyManual))); len(p.Settings)+len(p.Files) == 0 && wanted > len(p.Withheld) {
		t.Errorf("%d changes are wanted, %d withheld, and none is made", wanted, len(p.Withheld))
	}
	for _, w := range p.Withheld {
		if w.Why == "" {
			t.Errorf("%s is withheld for no reason", w.Setting)
		}
	}
	made := map[string]bool{}
	for _, f := range slices.Concat(p.Files, p.NewFiles) {
		for _, h := range f.Hunks {
			for _, rule := range h.Rules {
				made[rule] = true
			}
		}
		isLocal(t, f, style)
		layFile(tb, filepath.Join(root, f.Path), f.New)
	}
	after := judgeRoot(tb, set, root, kernel)
	had := map[string]bool{}
	for _, f := range before.d.Findings {
		had[sameFinding(f)] = true
	}
	for _, f := range after.d.Findings {
		byNature := style == advisor.PatchDropIn && f.Rule == "sysctl/shadowed" // it overrides lines, and leaves them where they are
		if !had[sameFinding(f)] && f.Severity > advisor.SeverityInfo && !byNature {
			t.Errorf("the patch brings %s: %s", f.Rule, f.Message)
		}
	}
	again := after.patch(tb, style)
	if len(again.Files)+len(again.NewFiles) > 0 {
		t.Errorf("a second patch is not empty: %+v", again.Files)
	}
	for _, f := range p.Files {
		layFile(tb, filepath.Join(root, f.Path), f.Reverse().New)
	}
	for _, f := range p.NewFiles {
		if err := os.Remove(filepath.Join(root, f.Path)); err != nil {
			tb.Fatal(err)
		}
	}
	if back := treeOf(tb, root); !maps.Equal(back, files) {
		t.Errorf("the reverse does not restore %q: %q", files, back)
	}
	return made
}

func first[A, B any](a A, _ B) A { return a }

func layFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// isLocal: the new content is the old one but for the edits. What Ansible's module writes anew is judged as a whole.
func isLocal(t lawFailer, f advisor.FileEdit, style advisor.PatchStyle) {
	t.Helper()
	if style == advisor.PatchAnsible {
		return
	}
	var made bytes.Buffer
	at := 0
	for _, e := range f.Edits {
		made.Write(f.Old[at:e.Start])
		made.WriteString(e.New)
		at = e.End
	}
	made.Write(f.Old[at:])
	if !bytes.Equal(made.Bytes(), f.New) {
		t.Errorf("%s: the edits make %q, and the file becomes %q", f.Path, made.Bytes(), f.New)
	}
}

// TestPatchFixpoint: each host with each snippet where people put it, and with badly configured services: what can be mended is,
// in one go, nothing comes instead, and the reverse restores each byte.
func TestPatchFixpoint(t *testing.T) {
	set := builtinSet(t)
	made := map[string]bool{}
	for name, clean := range hostsIn(t) {
		for what, text := range snippets() {
			for i, style := range []advisor.PatchStyle{advisor.PatchInPlace, advisor.PatchAnsible, advisor.PatchDropIn} {
				files := maps.Clone(clean)
				if i == 0 {
					files["/etc/sysctl.conf"] = strings.TrimSuffix(clean["/etc/sysctl.conf"], "\n") + "\n" + text
				} else {
					files["/etc/sysctl.d/99-tuning.conf"] = text
				}
				if what == "against floods" {
					maps.Copy(files, badServices())
				}
				t.Run(name+" "+what, func(t *testing.T) {
					maps.Copy(made, holdPatchLaws(t, t, set, files, kernelFor(name), style))
				})
			}
		}
	}
	services := 0
	for rule := range made {
		if strings.HasPrefix(rule, "nginx/") || strings.HasPrefix(rule, "tomcat/") {
			services++
		}
	}
	if len(made) < 20 || services < 7 {
		t.Errorf("only the rules %v were tried, %d of services", slices.Sorted(maps.Keys(made)), services)
	}
}

// TestPatchFixpointOfAnyMix: and with lines drawn from all of them, in files of several names.
func TestPatchFixpointOfAnyMix(t *testing.T) {
	set, hosts := builtinSet(t), hostsIn(t)
	var lines []string
	for _, text := range snippets() {
		lines = append(lines, strings.SplitAfter(text, "\n")...)
	}
	slices.Sort(lines)
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(hosts))).Draw(r, "host")
		files := maps.Clone(hosts[name])
		for _, file := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"/etc/sysctl.conf", "/etc/sysctl.d/10-a.conf", "/etc/sysctl.d/99-z.conf", "/usr/lib/sysctl.d/60-v.conf", "/run/sysctl.d/70-r.conf"}), 1, 3, rapid.ID[string]).Draw(r, "files") {
			files[file] += strings.Join(rapid.SliceOfN(rapid.SampledFrom(lines), 1, 8).Draw(r, file), "")
		}
		if rapid.Bool().Draw(r, "services") {
			maps.Copy(files, badServices())
		}
		style := rapid.SampledFrom([]advisor.PatchStyle{advisor.PatchInPlace, advisor.PatchInPlace, advisor.PatchAnsible}).Draw(r, "style")
		holdPatchLaws(r, t, set, files, kernelFor(name), style)
	})
}
