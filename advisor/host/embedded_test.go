package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

var embeddedCatalogue = sync.OnceValue(func() *advisor.Catalogue {
	set, err := advisor.Load(rules.FS)
	if err != nil {
		panic(err)
	}
	return set.Catalogue
})

// embeddedRows judges operands and renders each setting: PATH:LINE:COLUMN KEY = VALUE, "?" where the value is not known,
// "(over: X)" where a later line with X replaces it, "[n]" the scope if it is not the first.
func embeddedRows(t testing.TB, o FileOptions, stdin []byte, operands ...string) (rows []string, gaps []advisor.Gap) {
	t.Helper()
	o.Catalogue = embeddedCatalogue()
	f := OpenFiles(operands, bytes.NewReader(stdin), o)
	scope := 0
	for facts := range f.Facts(context.Background()) {
		scope++
		for _, row := range facts.Table("settings").Rows {
			rows = append(rows, embeddedRow(t, row, stdin, scope))
		}
	}
	return rows, f.Gaps()
}

func embeddedRow(t testing.TB, row advisor.Row, stdin []byte, scope int) string {
	t.Helper()
	text := func(column string) string {
		switch c := row.Cells[column]; c.State {
		case advisor.StateKnown:
			return c.Value.String()
		case advisor.StateUnknown:
			return "?"
		}
		return ""
	}
	o := row.Origin
	data := stdin
	if o.Path != "-" {
		var err error
		if data, err = os.ReadFile(o.Path); err != nil {
			t.Fatal(err)
		}
	}
	if o.Start < 0 || o.End < o.Start || o.End > len(data) { // a sysctl file may set nothing: "key ="
		t.Fatalf("%s: value of %s at bytes %d to %d of %d", o.Path, text("key"), o.Start, o.End, len(data))
	}
	before := data[:o.Start]
	if len(data) > 1<<16 { // hostile files: time is what counts
		return ""
	}
	if line, column := 1+bytes.Count(before, []byte{'\n'}), o.Start-bytes.LastIndexByte(before, '\n'); line != o.Line || column != o.Column {
		t.Fatalf("%s: value of %s at byte %d is at %d:%d, not %d:%d", o.Path, text("key"), o.Start, line, column, o.Line, o.Column)
	}
	out := fmt.Sprintf("%s:%d:%d %s = %s", filepath.Base(o.Path), o.Line, o.Column, text("key"), text("value"))
	if later := text("last_value"); later != "" {
		out += " (over: " + later + ")"
	}
	if (text("last_value") == "") != (text("effective") == "true") {
		out += " effective=" + text("effective")
	}
	if text("ignores_errors") == "true" {
		out += " ignored"
	}
	if scope > 1 {
		out += fmt.Sprintf(" [%d]", scope)
	}
	return out
}

func wantRows(t *testing.T, name string, got []string, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(want, "\t", "")), "\n")
	if want == "" {
		lines = nil
	}
	for i := range max(len(got), len(lines)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(lines) {
			w = lines[i]
		}
		if g != w {
			t.Errorf("%s: setting %d is\n  %s\nwant\n  %s", name, i+1, g, w)
		}
	}
}

func TestEmbeddedSettings(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"playbook.yml", `
			playbook.yml:18:17 net.ipv4.tcp_tw_reuse = 1
			playbook.yml:21:56 net.ipv4.ip_local_port_range = 1024 65000
			playbook.yml:24:20 net.ipv4.tcp_syncookies = 1 ignored
			playbook.yml:26:58 net.ipv4.tcp_fin_timeout = 30
			playbook.yml:6:27 net.core.somaxconn = 1024
			playbook.yml:7:29 net.ipv4.tcp_rmem = 4096 131072 6291456
			playbook.yml:39:21 net.ipv4.tcp_slow_start_after_idle = 0
			playbook.yml:9:38 vm.swappiness = 10
			playbook.yml:10:41 net.ipv4.tcp_sack = 1
			playbook.yml:46:48 net.core.rmem_max = ?
			playbook.yml:48:37 net.core.wmem_max = 212992
			playbook.yml:4:14 net.core.netdev_max_backlog = 4096
			playbook.yml:53:16 net.ipv4.conf.all.rp_filter = 1
			playbook.yml:53:16 net.ipv4.conf.default.rp_filter = 1
			playbook.yml:56:38 net.ipv4.tcp_keepalive_time = 600
			playbook.yml:59:67 net.netfilter.nf_conntrack_max = 262144 ignored
			playbook.yml:60:38 net.ipv4.tcp_wmem = 4096 16384 4194304
			playbook.yml:60:83 net.ipv4.tcp_mtu_probing = 1
			playbook.yml:63:70 net.ipv4.tcp_retries2 = 8
			playbook.yml:65:50 net.ipv4.tcp_retries1 = 3
			playbook.yml:69:38 net.core.optmem_max = 131072
			playbook.yml:72:39 net.ipv4.tcp_orphan_retries = 0
			playbook.yml:79:32 net.core.busy_read = 50
			playbook.yml:80:32 net.core.busy_poll = ?
			playbook.yml:81:50 net.ipv4.tcp_dsack = ?
			playbook.yml:12:25 net.ipv4.tcp_ecn = 1
			playbook.yml:86:49 net.core.somaxconn = 512 (over: 2048) [2]
			playbook.yml:87:49 net.core.somaxconn = 2048 [2]
			playbook.yml:88:47 net.ipv4.tcp_ecn = 0 [2]
			playbook.yml:90:47 net.ipv4.tcp_ecn = 2 [2]`},
		{"role", `
			main.yml:2:23 net.core.somaxconn = 4096 [2]
			main.yml:1:11 net.core.rmem_max = 8388608 [3]
			main.yml:8:45 net.core.wmem_max = ? [3]
			all.yml:3:14 net.core.netdev_max_backlog = 5000 [3]`},
		{"compose.yaml", `
			compose.yaml:8:33 net.ipv4.tcp_syncookies = 0
			compose.yaml:9:46 net.ipv4.ip_local_port_range = 1024 65000
			compose.yaml:2:23 net.core.somaxconn = 1024
			compose.yaml:16:28 net.core.somaxconn = 512 [2]
			compose.yaml:17:35 net.ipv4.tcp_fin_timeout = ? [2]
			compose.yaml:18:38 net.ipv4.tcp_keepalive_time = $5 [2]`},
		{"pods.yaml", `
			pods.yaml:8:15 net.core.somaxconn = 1024
			pods.yaml:9:45 net.ipv4.tcp_tw_reuse = 1
			pods.yaml:21:20 net.ipv4.tcp_fin_timeout = 30 [2]`},
		{"chart.yaml", `
			chart.yaml:15:19 net.core.somaxconn = 65535
			chart.yaml:18:49 net.core.somaxconn = 4096
			chart.yaml:21:18 net.ipv4.tcp_fin_timeout = ?
			chart.yaml:23:19 net.ipv4.tcp_keepalive_time = ?`},
		{"tuned/tuned.conf", `
			tuned.conf:10:22 net.core.somaxconn = ?
			tuned.conf:6:11 net.core.netdev_max_backlog = 4096
			tuned.conf:6:11 net.ipv4.tcp_max_syn_backlog = 4096
			tuned.conf:13:20 net.ipv4.tcp_rmem = 4096 131072 16777216
			tuned.conf:14:28 net.ipv4.tcp_fin_timeout = ?
			tuned.conf:16:19 net.ipv4.tcp_sack = 1 (over: 0)
			tuned.conf:17:19 net.ipv4.tcp_sack = 0
			tuned.conf:24:15 vm.swappiness = 10`},
		{"sysctl.conf.j2", `
			sysctl.conf.j2:3:21 net.ipv4.tcp_sack = 1
			sysctl.conf.j2:5:21 net.ipv4.tcp_sack = 0
			sysctl.conf.j2:7:45 net.core.somaxconn = 1024
			sysctl.conf.j2:8:21 net.core.rmem_max = ?
			sysctl.conf.j2:9:21 net.ipv4.tcp_rmem = 4096 131072 6291456
			sysctl.conf.j2:14:38 net.ipv4.tcp_fin_timeout = 30`},
	} {
		rows, gaps := embeddedRows(t, FileOptions{}, nil, filepath.Join("testdata/embedded", c.file))
		for _, gap := range gaps {
			if !gap.Notice {
				t.Errorf("%s: gap %v", c.file, gap)
			}
		}
		wantRows(t, c.file, rows, c.want)
	}
}

// What the value is taken for, where it stands, and what is no setting, in files too small for testdata.
func TestEmbeddedSpellings(t *testing.T) {
	const task = "- sysctl:\n    name: net.core.somaxconn\n    value: "
	for _, c := range []struct{ name, as, text, want string }{
		{"plain", "", task + "1024\n", "-:3:12 net.core.somaxconn = 1024"},
		{"comment", "", task + "1024 # so many\n", "-:3:12 net.core.somaxconn = 1024"},
		{"anchor", "", task + "&n 1024\n", "-:3:15 net.core.somaxconn = 1024"},
		{"folded", "", task + ">-\n      1024\n", "-:4:7 net.core.somaxconn = 1024"},
		{"next line", "", task + "\n      \"1024\"\n", "-:4:8 net.core.somaxconn = 1024"},
		{"escapes", "", task + "\"10\\u00324\"\n", "-:3:13 net.core.somaxconn = 1024"},
		{"an escape ends it", "", task + "\"1\\x30\"\n", "-:3:13 net.core.somaxconn = 10"},
		{"groups of digits", "", task + "1_024\n", "-:3:12 net.core.somaxconn = 1024"},
		{"octal stays as it is", "", task + "0100\n", "-:3:12 net.core.somaxconn = 0100"},
		{"no value", "", task + "\n", ""},
		{"null", "", task + "~\n", ""},
		{"column in bytes", "", "- sysctl: {comment: \"é中\", name: net.core.somaxconn, value: 1}\n", "-:1:63 net.core.somaxconn = 1"},
		{"byte order mark", "", "\ufeff- sysctl: {name: net.core.somaxconn, value: 1}\n", "-:1:48 net.core.somaxconn = 1"},
		{"CRLF", "", strings.ReplaceAll(task, "\n", "\r\n") + "1024\r\n", "-:3:12 net.core.somaxconn = 1024"},
		{"a line end of YAML alone", "", "# a\u2028" + task + "1024\n", "-:3:12 net.core.somaxconn = 1024"},
		{"boolean", "", task + "No\n", "-:3:12 net.core.somaxconn = 0"},
		{"unquoted marker", "", task + "{{ x }}\n", "-:3:12 net.core.somaxconn = ?"},
		{"unquoted default", "", task + "{{ x | default(4096) }}\n", "-:3:27 net.core.somaxconn = 4096"},
		{"quoted default", "", task + "'{{ x | d(\"4096\", true) | int }}'\n", "-:3:23 net.core.somaxconn = 4096"},
		{"default in escaped quotes", "", task + "\"{{ x | d(\\\"4096\\\") }}\"\n", "-:3:24 net.core.somaxconn = 4096"},
		{"default of a fact", "", task + "'{{ ansible_processor_vcpus | d(1) }}'\n", "-:3:13 net.core.somaxconn = ?"},
		{"omit", "", task + "'{{ x | default(omit) }}'\n", "-:3:13 net.core.somaxconn = ?"},
		{"statement", "", task + "'{% if x %}1{% else %}2{% endif %}'\n", "-:3:13 net.core.somaxconn = ?"},
		{"part", "", task + "'4096 {{ x }}'\n", "-:3:13 net.core.somaxconn = ?"},
		{"state of an expression", "", "- sysctl: {name: net.core.somaxconn, value: 1, state: '{{ s }}'}\n", ""},
		{"state by default", "", "- sysctl: {name: net.core.somaxconn, value: 1, state: '{{ s | d(\"present\") }}'}\n", "-:1:45 net.core.somaxconn = 1"},
		{
			"taken out and set again", "", task + "1\n- sysctl: name=net.core.somaxconn state=absent\n" + task + "2\n",
			"-:3:12 net.core.somaxconn = 1\n-:7:12 net.core.somaxconn = 2",
		},
		{
			"conditions", "", task + "1\n  when: a\n" + task + "2\n  when: b\n" + task + "3\n  when: [a]\n" + task + "4\n  when: a\n",
			"-:3:12 net.core.somaxconn = 1 (over: 4)\n-:7:12 net.core.somaxconn = 2\n-:11:12 net.core.somaxconn = 3\n-:15:12 net.core.somaxconn = 4",
		},
		{
			"loop over what is not known", "", "- sysctl: {name: '{{ item }}', value: 1}\n  loop: '{{ x }}'\n" + task + "'{{ item }}'\n  loop: '{{ x }}'\n",
			"-:5:13 net.core.somaxconn = ?",
		},
		{
			"combine", "", "- hosts: a\n  vars:\n    a: {net.core.somaxconn: 1, net.core.rmem_max: 2}\n    b: {net.core.somaxconn: 3}\n  tasks:\n" +
				"  - sysctl: {name: '{{ item.key }}', value: '{{ item.value }}'}\n    with_dict: '{{ a | combine(b) | combine(c | default({})) }}'\n",
			"-:4:29 net.core.somaxconn = 3\n-:3:51 net.core.rmem_max = 2\n-:3:29 net.core.somaxconn = 1",
		},
		{
			"absent over a mapping", "", "- hosts: a\n  vars: {old: {net.ipv4.tcp_tw_recycle: 1}}\n  tasks:\n" +
				"  - sysctl: {name: '{{ item.key }}', state: absent}\n    with_dict: '{{ old }}'\n", "",
		},
		{"endless variables", "", "- hosts: a\n  vars: {x: '{{ y }}', y: '{{ x }}'}\n  tasks:\n  - sysctl: {name: net.core.somaxconn, value: '{{ x }}'}\n", "-:2:28 net.core.somaxconn = ?"},
		{"endless alias", "", "- &a\n  sysctl: {name: net.core.somaxconn, value: 1}\n  block: [*a]\n", ""},
		{"other modules", "ansible", "- debug: {name: net.core.somaxconn, value: 1}\n- apt: name=sysctl\n", ""},
		{"command that prints", "ansible", "- command: sysctl net.core.somaxconn\n- shell: sysctl -n net.core.somaxconn = 1\n", ""},
		{"command of a variable", "ansible", "- shell: sysctl -w net.core.somaxconn=$N net.core.rmem_max=1\n", "-:1:60 net.core.rmem_max = 1"},
		{"variables", "", "a:\n  net.core.somaxconn: 5\n  fs.file-max: [1]\n  other.key: 5\n", "-:2:23 net.core.somaxconn = 5"},
		{"variables with a state", "", "a:\n- {name: net.core.somaxconn, value: 5, state: absent}\n- {name: net.core.rmem_max, value: 5, state: present}\n", "-:3:36 net.core.rmem_max = 5"},
		{"a secret", "", "a: {net.ipv4.tcp_fastopen_key: 01-02}\n", "-:1:32 net.ipv4.tcp_fastopen_key = *****"},
		{"compose list", "compose", "services:\n  a: {image: x, sysctls: ['net.core.somaxconn=1', net.core.somaxconn]}\n", "-:2:47 net.core.somaxconn = 1"},
		{"compose template", "", "services:\n{% if x %}\n  a:\n    image: x\n    sysctls:\n      net.core.somaxconn: {{ n }}0\n{% endif %}\n", "-:6:27 net.core.somaxconn = ?"},
		{"helm inline", "", "apiVersion: v1\nkind: Pod\nspec: {securityContext: {sysctls: [{name: net.core.somaxconn, value: 1{{ if .x }}0{{ end }}0}]}}\n", "-:3:70 net.core.somaxconn = ?"},
		{"tuned less", "tuned", "[sysctl]\nnet.core.somaxconn=<5\nnet.core.rmem_max=5 # five\nnet.core.wmem_max=5\n  6\n", "-:2:20 net.core.somaxconn = ?\n-:3:19 net.core.rmem_max = 5\n-:4:19 net.core.wmem_max = ?"},
		{"tuned marker", "", "[sysctl]\nnet.core.somaxconn={{ n | default(7) }}\n", "-:2:35 net.core.somaxconn = 7"},
		{"ERB", "sysctl", "net.core.somaxconn = <%= @n %>\n<% if @x -%>\nnet.core.rmem_max = 1\n<% end -%>\n", "-:1:22 net.core.somaxconn = ?\n-:3:21 net.core.rmem_max = 1"},
		{"template by blanks", "sysctl", "net.core.somaxconn = {{n}} # no comment\nnet.core.rmem_max={{ x }}\n", "-:1:22 net.core.somaxconn = ?\n-:2:19 net.core.rmem_max = ?"},
		{"sysctl -a", "sysctl", "kernel.osrelease = 5.4.0\nkernel.core_modes = file\nkernel.core_modes = pipe\nnet.netfilter.nf_conntrack_count = 1\n", "-:1:20 kernel.osrelease = 5.4.0\n-:2:21 kernel.core_modes = file\n-:3:21 kernel.core_modes = pipe"},
	} {
		rows, gaps := embeddedRows(t, FileOptions{As: c.as}, []byte(c.text), "-")
		if len(gaps) > 0 {
			t.Errorf("%s: gaps %v", c.name, gaps)
		}
		wantRows(t, c.name, rows, c.want)
	}
}

// A broken file of a known type is a gap with its line; what is of no known type in a directory is not.
func TestEmbeddedBroken(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name, text string
		line       int // 0: no line in the gap
		notice     bool
	}{
		{"roles/a/tasks/main.yml", "- sysctl:\n    name: net.core.somaxconn\n   value: 1\n", 3, false},
		{"b.yml", "- hosts: all\n  tasks:\n\t- sysctl: name=a.b value=1\n", 3, false},
		{"c/compose.yml", "services:\n  a:\n    sysctls: [net.core.somaxconn=1\n", 3, false},
		{"d.yaml", "apiVersion: v1\nkind: Pod\nspec:\n  a: b: c\n  securityContext:\n    sysctls: []\n", 4, false},
		{"e.yml", "- sysctl: {name: vm.swappiness, value: *none}\n", 0, false},
		{"f/tuned.conf", "[main]\ninclude=x\n[sysctl\na.b=1\n", 3, false},
		{"g/tuned.conf", "vm.swappiness=1\n", 1, false},
		{"h/compose.yml", "services: {sysctls: {% if x %}}\n  - ]\n", 0, true},
		{"i.yml", "- sysctl: {name: vm.swappiness, value: \"\xff\"}\n", 0, false},
	} {
		path := write(c.name, c.text)
		for _, operand := range []string{path, dir} {
			rows, gaps := embeddedRows(t, FileOptions{}, nil, operand)
			want := path
			if c.line > 0 {
				want = fmt.Sprintf("%s:%d", path, c.line)
			}
			i := slices.IndexFunc(gaps, func(g advisor.Gap) bool { return strings.HasPrefix(g.Source, want) })
			if i < 0 || len(rows) > 0 || gaps[i].Notice != (c.notice && operand == dir) {
				t.Errorf("%s as %s: rows %q, gaps %+v, want one of %s", c.name, operand, rows, gaps, want)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, text string }{
		{"x.yml", "a: [\n"},
		{"values.yaml", "image: x\n"},
		{"notes.md", "run sysctl -w net.core.somaxconn=1: or not\n- sysctl: x\n"},
		{"openapi.yaml", "paths: {}\n# sysctl\n"},
	} {
		path := write(c.name, c.text)
		if rows, gaps := embeddedRows(t, FileOptions{}, nil, dir); len(rows) > 0 || len(gaps) != 1 || !gaps[0].Notice {
			t.Errorf("%s: rows %q, gaps %v", c.name, rows, gaps)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// What several plays, conditions or containers set differently is not known as a whole; one value that all give is.
func TestEmbeddedDeclared(t *testing.T) {
	text := "- sysctl: {name: net.ipv4.tcp_sack, value: 1}\n  when: a\n- sysctl: {name: net.ipv4.tcp_sack, value: 0}\n  when: b\n" +
		"- sysctl: {name: net.ipv4.tcp_dsack, value: 0}\n  when: a\n- sysctl: {name: net.ipv4.tcp_dsack, value: '0 '}\n  when: b\n" +
		"- sysctl: {name: net.core.somaxconn, value: 1}\n- sysctl: {name: net.core.somaxconn, value: 2}\n" +
		"- sysctl: {name: net.core.rmem_max, value: '{{ x }}'}\n"
	f := OpenFiles([]string{"-"}, strings.NewReader(text), FileOptions{Catalogue: embeddedCatalogue()})
	for facts := range f.Facts(context.Background()) {
		for key, want := range map[string]string{
			"net.ipv4.tcp_sack": "?", "net.ipv4.tcp_dsack": "0", "net.core.somaxconn": "2", "net.core.rmem_max": "?", "net.core.wmem_max": "",
		} {
			got := ""
			switch fact := facts.Member("declared", key); fact.State {
			case advisor.StateKnown:
				got = fact.Value.String()
			case advisor.StateUnknown:
				got = "?"
			}
			if got != want {
				t.Errorf("declared %s is %q, want %q", key, got, want)
			}
		}
	}
}

// The kernel that printed its values judges them; that of --kernel if one is given.
func TestEmbeddedPrintedKernel(t *testing.T) {
	many := strings.Repeat("net.ipv4.tcp_sack = 1\n", 101) + "net.netfilter.nf_conntrack_count = 1\nnet.ipv4.tcp_available_ulp = tls\n"
	for _, c := range []struct{ text, kernel, want string }{
		{"kernel.osrelease = 5.4.0-42-generic\nnet.ipv4.tcp_sack = 1\n", "", "5 4 0"},
		{"kernel.osrelease = 5.4.0-42-generic\nnet.ipv4.tcp_sack = 1\n", "6.1", "6 1 0"},
		{many, "", "unknown"},
		{many, "6.1", "6 1 0"},
		{"net.ipv4.tcp_available_ulp = tls\n", "4.18", "4 18 0"},
	} {
		f := OpenFiles([]string{"-"}, strings.NewReader(c.text), FileOptions{Catalogue: embeddedCatalogue(), Kernel: c.kernel, As: "sysctl"})
		for facts := range f.Facts(context.Background()) {
			got := "unknown"
			if v := facts.Scalar("kernel.version"); v.State == advisor.StateKnown {
				got = v.Value.String()
			}
			if got != c.want {
				t.Errorf("--kernel %q: judged for %s, want %s", c.kernel, got, c.want)
			}
		}
	}
}

// hostileEmbedded are files that must be survived, quickly.
func hostileEmbedded() map[string][]byte {
	bomb := "- hosts: a\n  vars:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("    a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	merges := "services:\n  s0: &s0 {image: x, sysctls: {net.core.somaxconn: 1}}\n"
	sums := "- hosts: a\n  vars:\n    v0: [1, 1, 1, 1]\n"
	for i := range 60 {
		merges += fmt.Sprintf("  s%d: &s%d {<<: [%s], k%d: 1}\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*s%d, ", i), 50), ", "), i)
		sums += fmt.Sprintf("    v%d: \"{{ %sv%d }}\"\n", i+1, strings.Repeat(fmt.Sprintf("v%d + ", i), 50), i)
	}
	sums += "  tasks:\n  - sysctl: {name: '{{ item }}', value: 1}\n    loop: '{{ v60 }}'\n  - sysctl: {name: net.core.somaxconn, value: '{{ v7 }}'}\n"
	return map[string][]byte{
		"aliases": []byte(bomb), "merges": []byte(merges), "sums": []byte(sums),
		"brackets": []byte("- sysctl: " + strings.Repeat("[", 1<<18)),
		"braces":   []byte("- sysctl: " + strings.Repeat("{{", 1<<18)),
		"markers":  []byte("- sysctl: '" + strings.Repeat("{{ x }} ", 1<<15) + "'\n"),
		"open":     []byte(strings.Repeat("{% {{ <% {# ", 1<<15)),
		"indents":  []byte("- sysctl:\n" + strings.Repeat("- ", 5_000)),
		"ladder":   []byte("sysctl:\n" + ladder(1500)),
		"one line": []byte("{net.core.somaxconn: 1, a: [" + strings.Repeat("x, ", 1<<15) + "]}"),
		"tasks":    []byte(strings.Repeat("- sysctl: {name: net.core.somaxconn, value: 1}\n", 5_000)),
		"words":    []byte("- shell: sysctl -w " + strings.Repeat("net.core.somaxconn=1 ", 1<<13)),
		"defaults": []byte("- sysctl: {name: net.core.somaxconn, value: '{{ x" + strings.Repeat(" | default(y", 300) + strings.Repeat(")", 300) + " }}'}\n"),
		"tuned":    []byte("[sysctl]\n[variables]\na=${a}${a}\n" + strings.Repeat("b=${a}\n", 100) + "[sysctl]\nnet.core.somaxconn=" + strings.Repeat("${a}", 1000)),
		"keys":     []byte("a:\n" + strings.Repeat("  net.core.somaxconn: 1\n", 5_000)),
	}
}

func ladder(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestEmbeddedSurvives(t *testing.T) {
	for name, data := range hostileEmbedded() {
		for _, as := range []string{"", "ansible", "compose", "k8s", "tuned", "sysctl"} {
			start := time.Now()
			embeddedRows(t, FileOptions{As: as}, data, "-")
			if took := time.Since(start); took > 20*time.Second { // seconds under the race detector
				t.Errorf("%s as %q took %v", name, as, took)
			}
		}
	}
}

// Of 10,000 files of a directory only those are parsed that could hold a setting.
func BenchmarkEmbeddedRecognise(b *testing.B) {
	data := []byte(strings.Repeat("- name: a task\n  apt: {name: nginx, state: present}\n", 25))
	f := OpenFiles(nil, nil, FileOptions{Catalogue: embeddedCatalogue()})
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		f.recognise("roles/a/tasks/main.yml", data, false)
	}
}

// FuzzEmbedded: no input panics or hangs, and each value stands where its row says, as any type.
func FuzzEmbedded(f *testing.F) {
	files, err := filepath.Glob("testdata/embedded/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range append(files, "testdata/embedded/tuned/tuned.conf") {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, data := range hostileEmbedded() {
		if len(data) < 8192 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, as := range []string{"ansible", "compose", "k8s", "tuned", "sysctl"} {
			embeddedRows(t, FileOptions{As: as}, data, "-")
		}
	})
}

// A comment waives a rule in these files as in a sysctl file.
func TestEmbeddedWaivers(t *testing.T) {
	text := "services:\n  a:\n    image: x\n    sysctls:\n      # tcpadvise:ignore unsafe/tcp-sack-off measured\n      net.ipv4.tcp_sack: 0\n"
	f := OpenFiles([]string{"-"}, strings.NewReader(text), FileOptions{Catalogue: embeddedCatalogue()})
	for facts := range f.Facts(context.Background()) {
		rows := facts.Table("inline_waivers").Rows
		if len(rows) != 1 || rows[0].Origin.Line != 5 || rows[0].Cells["rule"].Value.String() != "unsafe/tcp-sack-off" {
			t.Errorf("waivers are %v", rows)
		}
	}
}
