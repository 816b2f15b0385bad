package host

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

// patchOf is the patch of a tree, for kernel 6.1 and with all that a person may decide.
func patchOf(t *testing.T, h *Host, style advisor.PatchStyle) *advisor.Patch {
	t.Helper()
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	facts, id, _ := h.Facts(context.Background())
	judge := func(f *advisor.Facts) *advisor.Diagnosis { return set.Evaluate(f, advisor.Options{Host: id}) }
	d := judge(facts)
	changes, conflicts := d.Changes(advisor.SafetyManual)
	if len(conflicts) > 0 {
		t.Fatalf("conflicts: %v", conflicts)
	}
	return h.Edits(context.Background(), facts, d, changes, PatchOptions{Style: style, Judge: judge})
}

func openRoot(t *testing.T, root string) *Host {
	t.Helper()
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(Options{Root: root, Kernel: "6.1.0", Catalogue: set.Catalogue, Edits: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Abort)
	return h
}

// settingsIn are the lines of a file that are no comment and not blank.
func settingsIn(data []byte) string {
	var lines []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != ';' {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "|")
}

func TestEditsGoWhereTheyWin(t *testing.T) {
	systemd := sysctlHost{"/usr/lib/systemd/systemd-sysctl": ""}
	procps := sysctlHost{"/etc/init.d/procps": ""}
	busybox := sysctlHost{"/sbin/sysctl": "->/bin/busybox", "/bin/busybox": ""}
	const sack, recycle = "net.ipv4.tcp_sack = 0\n", "net.ipv4.tcp_tw_recycle = 1\n"
	for _, c := range []struct {
		name     string
		boots    sysctlHost
		host     sysctlHost
		want     map[string]string // the settings of each file that is changed or new
		withheld string            // a part of the reason
	}{
		{
			name: "the line that wins, in the administrator's file", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/10.conf": "net.ipv4.tcp_sack = 1\n", "/etc/sysctl.d/20.conf": "# c\n" + sack},
			want: map[string]string{"/etc/sysctl.d/20.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "and all that say the same and lose: they would contradict it", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/10.conf": sack, "/etc/sysctl.d/20.conf": sack + "vm.swappiness=1\n" + sack},
			want: map[string]string{"/etc/sysctl.d/10.conf": "net.ipv4.tcp_sack = 1", "/etc/sysctl.d/20.conf": "net.ipv4.tcp_sack = 1|vm.swappiness=1|net.ipv4.tcp_sack = 1"},
		},
		{
			name: "through Debian's link", boots: systemd,
			host: sysctlHost{"/etc/sysctl.conf": sack, "/etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf"},
			want: map[string]string{"/etc/sysctl.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "a package's file is overridden", boots: systemd,
			host: sysctlHost{"/usr/lib/sysctl.d/50-v.conf": sack},
			want: map[string]string{"/etc/sysctl.d/90-tcpadvise.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "by a name that is read after it", boots: systemd,
			host: sysctlHost{"/usr/lib/sysctl.d/95-v.conf": sack},
			want: map[string]string{"/etc/sysctl.d/96-tcpadvise.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "whatever its own is", boots: systemd,
			host: sysctlHost{"/usr/lib/sysctl.d/zzz.conf": sack},
			want: map[string]string{"/etc/sysctl.d/zzz_tcpadvise.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "our own file is used again", boots: systemd,
			host: sysctlHost{"/usr/lib/sysctl.d/50-v.conf": sack, "/etc/sysctl.d/90-tcpadvise.conf": "vm.swappiness = 1"},
			want: map[string]string{"/etc/sysctl.d/90-tcpadvise.conf": "vm.swappiness = 1|net.ipv4.tcp_sack = 1"},
		},
		{
			name: "a name that would hide another file is not", boots: systemd,
			host: sysctlHost{"/usr/lib/sysctl.d/90-tcpadvise.conf": sack},
			want: map[string]string{"/etc/sysctl.d/91-tcpadvise.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "nor one that is a mask", boots: systemd,
			host: sysctlHost{"/usr/lib/sysctl.d/50.conf": sack, "/etc/sysctl.d/90-tcpadvise.conf": "->/dev/null"},
			want: map[string]string{"/etc/sysctl.d/91-tcpadvise.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "a link out of /etc leads to a file that is not the administrator's", boots: systemd,
			host: sysctlHost{"/srv/k.conf": sack, "/etc/sysctl.d/60.conf": "->/srv/k.conf"}, want: map[string]string{},
			withheld: "/srv/k.conf is not the administrator's",
		},
		{
			name: "a pattern is left alone: it sets more", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/50.conf": "net.ipv4.tcp_sac? = 0\n", "/proc/sys/net/ipv4/tcp_sack": "0\n"},
			want: map[string]string{"/etc/sysctl.d/90-tcpadvise.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "sysctl --system reads sysctl.conf last", boots: procps,
			host: sysctlHost{"/etc/sysctl.d/99-z.conf": "net.ipv4.tcp_sack = 1\n", "/etc/sysctl.conf": sack},
			want: map[string]string{"/etc/sysctl.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "and a drop-in otherwise", boots: procps,
			host: sysctlHost{"/usr/lib/sysctl.d/50.conf": sack, "/etc/sysctl.conf": "vm.swappiness = 1\n"},
			want: map[string]string{"/etc/sysctl.d/90-tcpadvise.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "busybox knows sysctl.conf only", boots: busybox,
			host: sysctlHost{"/usr/lib/sysctl.d/50.conf": sack},
			want: map[string]string{"/etc/sysctl.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "a line that only sysctl --system reads goes along", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/60.conf": sack + recycle, "/etc/sysctl.conf": sack + recycle},
			want: map[string]string{"/etc/sysctl.d/60.conf": "net.ipv4.tcp_sack = 1", "/etc/sysctl.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "all lines of a removed key go, the comments beside them stay", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/10.conf": "# a\n" + recycle + "# b\n", "/etc/sysctl.d/20.conf": "net/ipv4/tcp_tw_recycle=1\n" + recycle},
			want: map[string]string{"/etc/sysctl.d/10.conf": "", "/etc/sysctl.d/20.conf": ""},
		},
		{
			name: "a removed key in a package's file cannot be taken back", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/10.conf": recycle, "/usr/lib/sysctl.d/05.conf": recycle}, want: map[string]string{},
			withheld: "/usr/lib/sysctl.d/05.conf:1, which is not the administrator's, sets it, too",
		},
		{
			name: "a lowered limit in a package's file is raised to the kernel's own", boots: systemd,
			host: sysctlHost{"/usr/lib/sysctl.d/05.conf": "net.core.somaxconn = 100\n"},
			want: map[string]string{"/etc/sysctl.d/90-tcpadvise.conf": "net.core.somaxconn = 4096"},
		},
		{
			name: "a secret three lines off an early file: the edit goes elsewhere", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/10.conf": sack + "net.ipv4.tcp_fastopen_key = 1-2-3-4\n"},
			want: map[string]string{"/etc/sysctl.d/90-tcpadvise.conf": "net.ipv4.tcp_sack = 1"},
		},
		{
			name: "but not where that brings a contradiction", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/60.conf": sack + "net.ipv4.tcp_fastopen_key = 1-2-3-4\n"}, want: map[string]string{},
			withheld: "would show line 2 of /etc/sysctl.d/60.conf, which holds a secret",
		},
		{
			name: "a secret four lines off is not shown", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/10.conf": sack + "\n\n\nnet.ipv4.tcp_fastopen_key = 1-2-3-4\n"},
			want: map[string]string{"/etc/sysctl.d/10.conf": "net.ipv4.tcp_sack = 1|net.ipv4.tcp_fastopen_key = 1-2-3-4"},
		},
		{
			name: "a file with a zero byte is no text", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/10.conf": recycle + "\x00\n"}, want: map[string]string{}, withheld: "holds a zero byte",
		},
		{
			name: "tabs between numbers stay", boots: systemd,
			host: sysctlHost{"/etc/sysctl.d/10.conf": "net.ipv4.tcp_rmem = 4096\t8388608  16777216\n"},
			want: map[string]string{"/etc/sysctl.d/10.conf": "net.ipv4.tcp_rmem = 4096\t131072  16777216"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := maps.Clone(c.boots)
			maps.Copy(host, c.host)
			p := patchOf(t, openRoot(t, host.lay(t)), advisor.PatchInPlace)
			got := map[string]string{}
			for _, f := range slices.Concat(p.Files, p.NewFiles) {
				got[f.Path] = settingsIn(f.New)
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("got %q, want %q; withheld %v", got, c.want, p.Withheld)
			}
			switch {
			case c.withheld == "" && len(p.Withheld) > 0:
				t.Errorf("withheld: %v", p.Withheld)
			case c.withheld != "" && (len(p.Withheld) == 0 || !strings.Contains(p.Withheld[0].Why, c.withheld)):
				t.Errorf("withheld %v, want %q", p.Withheld, c.withheld)
			}
		})
	}
}

func TestEditsWarnOfManagedFiles(t *testing.T) {
	for head, want := range map[string]string{
		"# Ansible managed\n": "Ansible", "# This file is managed by Puppet. DO NOT EDIT\n": "Puppet", "; Generated by Chef for web1\n": "Chef",
		"# written by cloud-init at first boot\n": "cloud-init", "# the chef likes it fast\n": "", "# for ansible hosts\n": "", "": "",
	} {
		p := patchOf(t, openRoot(t, sysctlHost{"/etc/sysctl.d/10.conf": head + "net.ipv4.tcp_sack = 0\n"}.lay(t)), advisor.PatchInPlace)
		got := strings.Join(p.Warnings, "")
		if want == "" && got != "" || want != "" && !strings.Contains(got, "says that "+want+" manages it") {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}

// TestEditsRefuseAFileThatChanges: of a large file the content is compared piece by piece.
func TestEditsRefuseAFileThatChanges(t *testing.T) {
	const name = "/etc/sysctl.d/10.conf"
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	small := "net.ipv4.tcp_tw_recycle = 1\n"
	large := small + strings.Repeat("# a long comment\n", 100_000)
	for _, c := range []struct{ before, after string }{
		{small, small},
		{small, "# somebody was here\n" + small},
		{large, large},
		{large, large + "# somebody was here\n"},
		{large, large[:len(large)-1]},
		{large, strings.Replace(large, "comment", "Comment", 1)},
		{large, ""},
	} {
		root := sysctlHost{name: c.before}.lay(t)
		h := openRoot(t, root)
		facts, id, _ := h.Facts(t.Context())
		judge := func(f *advisor.Facts) *advisor.Diagnosis { return set.Evaluate(f, advisor.Options{Host: id}) }
		changes, _ := judge(facts).Changes(advisor.SafetySafe)
		if err := os.WriteFile(filepath.Join(root, name), []byte(c.after), 0o644); err != nil {
			t.Fatal(err)
		}
		p := h.Edits(t.Context(), facts, judge(facts), changes, PatchOptions{Style: advisor.PatchInPlace, Judge: judge})
		refused := len(p.Files) == 0 && len(p.Withheld) == 1 && strings.Contains(p.Withheld[0].Why, name+" has changed since it was read")
		if refused != (c.before != c.after) || !refused && len(p.Files) != 1 {
			t.Errorf("%d bytes, then %d: %d files, withheld %+v", len(c.before), len(c.after), len(p.Files), p.Withheld)
		}
	}
}

// TestEditsOfACapture: a capture gives the patch that its host gave.
func TestEditsOfACapture(t *testing.T) {
	root := sysctlHost{
		"/usr/lib/systemd/systemd-sysctl": "", "/etc/sysctl.d/10.conf": "net.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_fin_timeout=3",
		"/usr/lib/sysctl.d/50.conf": "net.ipv4.tcp_sack = 0\n", "/proc/sys/net/ipv4/tcp_sack": "0\n", "/proc/sys/net/ipv4/tcp_fin_timeout": "3\n",
	}.lay(t)
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "a")
	h, err := Open(Options{Root: root, Kernel: "6.1.0", Catalogue: set.Catalogue, Record: archive})
	if err != nil {
		t.Fatal(err)
	}
	h.Facts(context.Background())
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	replay, err := Open(Options{Capture: archive, Kernel: "6.1.0", Catalogue: set.Catalogue})
	if err != nil {
		t.Fatal(err)
	}
	got, want := patchOf(t, replay, advisor.PatchInPlace), patchOf(t, openRoot(t, root), advisor.PatchInPlace)
	if len(want.Files) != 1 || len(want.NewFiles) != 1 || len(want.Commands) != 2 {
		t.Fatalf("%+v", want)
	}
	for i, f := range slices.Concat(want.Files, want.NewFiles) {
		g := slices.Concat(got.Files, got.NewFiles)[i]
		if string(g.New) != string(f.New) || g.Hash != f.Hash || g.Path != f.Path {
			t.Errorf("got %+v, want %+v", g, f)
		}
	}
	if !slices.Equal(got.Commands, want.Commands) {
		t.Errorf("commands %v, want %v", got.Commands, want.Commands)
	}
}

func TestCommandsUndo(t *testing.T) {
	h := openRoot(t, sysctlHost{
		"/etc/sysctl.d/10.conf":        "net.ipv4.tcp_tw_recycle = 1\nnet.core.somaxconn = 100\nnet.ipv4.tcp_sack = 0\nnet.ipv4.tcp_mem = 1 2 3\n",
		"/proc/sys/net/core/somaxconn": "100\n", "/proc/sys/net/ipv4/tcp_sack": "1\n", "/proc/sys/net/ipv4/tcp_mem": "1\t2\t3\n",
		"/proc/meminfo": "MemTotal: 16777216 kB\n",
	}.lay(t))
	p := patchOf(t, h, advisor.PatchInPlace)
	want := []advisor.PatchedCommand{{Key: "net.core.somaxconn", Value: "4096", Undo: "100"}}
	if !slices.Equal(p.Commands, want) { // tcp_sack runs right; tcp_tw_recycle is no key any more; of tcp_mem the default is not sure
		t.Errorf("commands %+v, want %+v", p.Commands, want)
	}
	if len(p.Remarks) == 0 || !strings.Contains(p.Remarks[0], "net.ipv4.tcp_mem keeps its value 1 2 3 until the next boot") {
		t.Errorf("remarks %q", p.Remarks)
	}
}

func TestAnsibleModule(t *testing.T) {
	for _, c := range []struct{ before, name, value, after string }{
		{"# c\na = 1 \r\nb=2", "b", "3", "# c\na=1\nb=3\n"},
		{"a=1\nb=2\na=3\n", "c", "4", "a=1\nb=2\nc=4\n"}, // the module's own fault: the last a is lost
		{"a=1\n\n;x\nno equals\na=3\n", "a", "", "\n;x\nno equals\n"},
		{"", "a", "1", "a=1\n"},
	} {
		got := string(ansibleTask{name: c.name, value: c.value, absent: c.value == ""}.apply([]byte(c.before)))
		if got != c.after {
			t.Errorf("%q with %s=%s: %q, want %q", c.before, c.name, c.value, got, c.after)
		}
	}
}

// TestAnsibleEditsChangeNothingElse: the module would change the meaning of a key that stands twice.
func TestAnsibleEditsChangeNothingElse(t *testing.T) {
	h := openRoot(t, sysctlHost{"/etc/sysctl.d/10.conf": "vm.swappiness = 1\nnet.ipv4.tcp_sack = 0\nvm.swappiness = 60\n"}.lay(t))
	p := patchOf(t, h, advisor.PatchAnsible)
	for _, s := range p.Settings {
		if s.Path == "/etc/sysctl.d/10.conf" {
			t.Errorf("%+v", s)
		}
	}
	for _, w := range p.Withheld {
		if !strings.Contains(w.Why, "vm.swappiness would change, too") {
			t.Errorf("%+v", w)
		}
	}
}

func TestVerify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.conf")
	content := "kernel.ostype = Other\nkernel.ostype = Linux\nnet.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_fastopen_key = 1-2-3-4\nkernel.pid_max=1\n"
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	h := openRoot(t, "/")
	got, err := h.Verify(context.Background(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []Outcome{Holds, Differs, Secret, Differs}
	for i, v := range got {
		if i >= len(want) || v.Outcome != want[i] {
			t.Errorf("%+v", v)
		}
	}
	if len(got) != len(want) || strings.Contains(got[2].Text, "1-2-3-4") {
		t.Errorf("%+v", got)
	}
	if _, err := h.Verify(context.Background(), name+"x", ""); err == nil {
		t.Error("a file that is not there holds")
	}
}

// TestVerifyRefusesServices: what such a file sets is no kernel parameter, though some of its lines look like one.
func TestVerifyRefusesServices(t *testing.T) {
	h, dir := openRoot(t, "/"), t.TempDir()
	for name, c := range map[string]struct{ kind, text string }{
		"nginx.conf":                        {"nginx", mainNginx("\tset $a = b;\n")},
		"server.xml":                        {"server.xml", "<Server><Service name=\"a\"><Connector port=\"1\"/></Service></Server>\n"},
		"a.service":                         {"unit", "[Service]\nLimitNOFILE=1\n"},
		"limits.conf":                       {"limits", "* - nofile 1\n"},
		"src/main/application.properties":   {"spring", "server.port=1\n"},
		"docker-compose.yml":                {"compose", "services: {a: {sysctls: {net.core.somaxconn: 1}}}\n"},
		"copied from a server, its name is": {"nginx", mainNginx("\tkeepalive_timeout 0;\n")},
	} {
		file := filepath.Join(dir, name)
		layFile(t, file, []byte(c.text))
		if got, err := h.Verify(t.Context(), file, ""); err == nil || !strings.Contains(err.Error(), file+" is no sysctl file but of type "+c.kind+":") {
			t.Errorf("%v %v", got, err)
		}
		if got, err := h.Verify(t.Context(), file, "sysctl"); err != nil {
			t.Errorf("%v %v", got, err)
		}
	}
}

// moduleScript lets the module's own code edit files: what it would run is replaced, how it edits is not.
const moduleScript = `
import json, sys
from ansible_collections.ansible.posix.plugins.modules.sysctl import SysctlModule
class Move:
    def __init__(self): self.params = {}
    def atomic_move(self, src, dst):
        import os
        os.replace(src, dst)
for case in json.load(sys.stdin):
    m = SysctlModule.__new__(SysctlModule)
    m.module, m.args, m.sysctl_file = Move(), {"name": case["name"], "value": case["value"], "state": case["state"]}, case["file"]
    m.file_lines, m.file_values = [], {}
    m.read_sysctl_file()
    m.fix_lines()
    m.write_sysctl()
`

// TestAnsibleAsTheModule: what we expect of the module is what it does, whatever the file.
func TestAnsibleAsTheModule(t *testing.T) {
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Fatal("the collection ansible.posix is needed to test against: apt-get install -y ansible (make test does it)")
	}
	file := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
			"a=1\n", "a = 2\r\n", " b\t=  3 # x\n", "-a = 4\n", "# a = 5\n", "\n", "a\n", "b=\n", "=6\n", " ; b=7\r", "a/b=8=9\n", "a", "\u00a0b=1\n", "\x1fa=2\n", "b = \u3000x\n", "\v\n",
		}), 0, 8).Draw(t, "lines"), "")
	})
	dir := t.TempDir()
	var tasks []map[string]string
	var want []string
	for n := range 500 {
		content := file.Example(n)
		do := ansibleTask{name: []string{"a", "b", "a/b", "c"}[n%4], value: "42", absent: n%3 == 0}
		at := filepath.Join(dir, strconv.Itoa(n))
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		state := map[bool]string{true: "absent", false: "present"}[do.absent]
		tasks = append(tasks, map[string]string{"name": do.name, "value": do.value, "state": state, "file": at})
		want = append(want, string(do.apply([]byte(content))))
	}
	input, err := json.Marshal(tasks)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "-c", moduleScript) // that of the Debian package
	cmd.Stdin, cmd.Env = bytes.NewReader(input), append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for n, expected := range want {
		got, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(n)))
		if err != nil || string(got) != expected {
			t.Errorf("%v of %q: the module makes %q, we expect %q: %v", tasks[n], file.Example(n), got, expected, err)
		}
	}
}
