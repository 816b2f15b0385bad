package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/ruletest"
	"github.com/tcpadvise/tcpadvise/rules"
)

// image is a host's files below a directory: content by path. What begins with "->" is a link to the rest.
type image map[string]string

func (im image) lay(t testing.TB) string {
	t.Helper()
	root, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range im {
		at := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, isLink := strings.CutPrefix(content, "->"); err == nil && isLink {
			err = os.Symlink(target, at)
		} else if err == nil {
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// files reads a tree back; links as "->".
func files(t testing.TB, root string) image {
	t.Helper()
	im := image{}
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		at := strings.TrimPrefix(name, root)
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(name)
			im[at] = "->" + target
			return err
		}
		data, err := os.ReadFile(name)
		im[at] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

type tester interface {
	Helper()
	Fatalf(string, ...any)
}

// tcpadvise runs the program in this process.
func tcpadvise(t tester, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(context.Background(), append(args, "--lang", "en"), strings.NewReader(""), &out, &errOut)
	if code != want {
		t.Fatalf("tcpadvise %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, out.String(), errOut.String())
	}
	return out.String(), errOut.String()
}

// applyDiff applies a diff with a tool in a directory.
func applyDiff(t tester, tool, root, diff string) {
	t.Helper()
	if diff == "" {
		return
	}
	cmd := exec.Command("patch", "-p1", "-s", "-d", root)
	if tool == "git" {
		cmd = exec.Command("git", "apply", "--whitespace=nowarn", "-")
	}
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(root), "GIT_CONFIG_NOSYSTEM=1", "HOME="+root)
	cmd.Stdin = strings.NewReader(diff)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s does not apply: %v\n%s\n%s", tool, err, out, diff)
	}
}

// findings are what check says, by rule and subject, without the number of a line among those of its key; true where it is
// more than a mention.
func findings(t tester, args ...string) map[string]bool {
	t.Helper()
	out, _ := tcpadvise(t, exitPass, append([]string{"check", "--format", "json", "--fail-on", "never", "--allow-gaps"}, args...)...)
	var report struct {
		Findings []struct {
			Rule     string
			Severity string
			Subject  advisor.Subject
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v", err)
	}
	found := map[string]bool{}
	for _, f := range report.Findings {
		subject, _, _ := strings.Cut(f.Subject.Key, " #")
		found[f.Rule+" "+subject] = f.Severity != "info"
	}
	return found
}

// drawImage draws hosts with settings that findings want changed, in all the places and spellings where they may stand.
func drawImage(t *rapid.T) image {
	im := image{"/proc/meminfo": "MemTotal:       16777216 kB\n"}
	switch rapid.SampledFrom([]string{"systemd", "procps", "openrc", "unknown"}).Draw(t, "boots by") {
	case "systemd":
		im["/usr/lib/systemd/systemd-sysctl"] = ""
	case "procps":
		im["/etc/init.d/procps"] = ""
	case "openrc":
		im["/sbin/openrc"] = ""
	}
	names := []string{"10-a.conf", "50-b.conf", "90-tcpadvise.conf", "99-z.conf", "zz.conf", "a b.conf", "Ä.conf"}
	dirs := []string{"/etc/sysctl.d/", "/etc/sysctl.d/", "/etc/sysctl.d/", "/run/sysctl.d/", "/usr/lib/sysctl.d/"}
	for range rapid.IntRange(1, 5).Draw(t, "files") {
		name := rapid.SampledFrom(dirs).Draw(t, "dir") + rapid.SampledFrom(names).Draw(t, "name")
		im[name] = rapid.OneOf(drawSysctls(), drawSysctls(), drawSysctls(), drawSysctls(),
			rapid.SampledFrom([]string{"", "->/dev/null", "->../sysctl.conf", "->/usr/lib/sysctl.d/50-b.conf"})).Draw(t, "content")
	}
	if rapid.Bool().Draw(t, "has sysctl.conf") {
		im["/etc/sysctl.conf"] = drawSysctls().Draw(t, "sysctl.conf")
	}
	if rapid.Bool().Draw(t, "Debian's link") {
		im["/etc/sysctl.d/99-sysctl.conf"] = "->../sysctl.conf"
	}
	if rapid.Bool().Draw(t, "has nginx") {
		drawNginx(t, im)
	}
	return im
}

// drawNginx draws servers that proxy in good ways and bad, some of them in files of their own.
func drawNginx(t *rapid.T, im image) {
	eol := rapid.SampledFrom([]string{"\n", "\n", "\r\n"}).Draw(t, "nginx's line end")
	some := func(indent, level string, lines ...string) string {
		var b strings.Builder
		for _, line := range rapid.SliceOfN(rapid.SampledFrom(lines), 0, 4).Draw(t, level) {
			b.WriteString(indent + line + eol)
		}
		return b.String()
	}
	anywhere := []string{
		"proxy_set_header Host $host;", "proxy_set_header Connection close; # why", "proxy_set_header Connection \"\";", "proxy_http_version 1.1;", "proxy_http_version 1.0;",
		"proxy_connect_timeout 600;", "proxy_read_timeout 1d; # long", "proxy_ignore_client_abort on;", "keepalive_timeout 0;", "keepalive_requests 1; sendfile on;", "# a comment", "",
		"proxy_set_header Authorization \"Basic abc\";", "include /etc/nginx/more;", "include /usr/share/nginx/more;",
	}
	server := func() string {
		b := "server {" + eol + some("    ", "server", anywhere...)
		for n := range rapid.IntRange(0, 3).Draw(t, "locations") {
			pass := rapid.SampledFrom([]string{"proxy_pass http://app;", "proxy_pass http://other; # there", "proxy_pass http://10.0.0.9;", "if ($x) { proxy_pass http://app; }"}).Draw(t, "pass")
			if rapid.IntRange(0, 4).Draw(t, "on one line") == 0 {
				b += fmt.Sprintf("    location /%d { %s }%s", n, strings.ReplaceAll(pass, " # there", ""), eol)
				continue
			}
			b += fmt.Sprintf("    location /%d {%s", n, eol) + some("\t", "location", anywhere...) + "\t" + pass + eol + some("\t", "below", "# below", "", "root /srv;") + "    }" + eol
		}
		return b + "}" + eol
	}
	im["/etc/nginx/nginx.conf"] = "worker_processes 2;" + eol + "events { worker_connections 64; }" + eol + "http {" + eol + some("  ", "http", anywhere...) +
		"  upstream app { server 10.0.0.7; keepalive 8; }" + eol + "  upstream other {" + eol + "\tserver 10.0.0.8;" + eol + "\tkeepalive 4;" + eol + "  }" + eol + server() + "  include sites-enabled/*;" + eol + "}"
	im["/etc/nginx/more"] = some("", "included", anywhere[:len(anywhere)-2]...)
	im["/usr/share/nginx/more"] = some("", "a package's", anywhere[:len(anywhere)-2]...)
	im["/etc/nginx/sites-available/a"] = server()
	im["/etc/nginx/sites-enabled/a"] = "->../sites-available/a"
}

func drawSysctls() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		eol := rapid.SampledFrom([]string{"\n", "\n", "\r\n"}).Draw(t, "line end")
		var b strings.Builder
		for range rapid.IntRange(1, 14).Draw(t, "lines") {
			b.WriteString(drawSysctl(t) + eol)
		}
		text := b.String()
		if rapid.IntRange(0, 3).Draw(t, "no final line end") == 0 {
			text = strings.TrimSuffix(text, eol)
		}
		return text
	})
}

func drawSysctl(t *rapid.T) string {
	values := map[string][]string{
		"net.ipv4.tcp_tw_recycle": {"1", "0"}, "net.ipv4.tcp_sack": {"0", "1"}, "net.ipv4.tcp_timestamps": {"0", "1"},
		"net.ipv4.tcp_fin_timeout": {"2", "30", "60 # short", "3#x"}, "net.core.somaxconn": {"100", "4096", "8192 ; more"},
		"net.ipv4.tcp_rmem":           {"4096 8388608 16777216", "4096\t87380\t6291456", "4096  16777216 16777216 # big"},
		"net.ipv4.tcp_max_tw_buckets": {"5000", "262144"}, "net.ipv4.tcp_retries2": {"3", "15"}, "net.ipv4.tcp_syncookies": {"0", "1"},
		"net.ipv4.tcp_low_latency": {"1"}, "net.core.rmem_default": {"16777216"}, "net.ipv4.tcp_abort_on_overflow": {"1"},
		"net.ipv4.tcp_mem": {"1 2 3", "8388608 12582912 16777216"},
	}
	key := rapid.SampledFrom(slices.Sorted(maps.Keys(values))).Draw(t, "key")
	value := rapid.SampledFrom(values[key]).Draw(t, "value")
	spelt := rapid.SampledFrom([]string{key, key, key, key, strings.ReplaceAll(key, ".", "/"), "-" + key}).Draw(t, "spelling")
	equals := rapid.SampledFrom([]string{" = ", "=", "\t= "}).Draw(t, "equals")
	return rapid.SampledFrom([]string{
		spelt + equals + value, spelt + equals + value, spelt + equals + value, spelt + equals + value, " " + spelt + equals + value + "  ",
		"# " + spelt + equals + value, "; a comment", "", "# --- not a header", "--- a/x", "@@ -1 +1 @@", "net.ipv4.conf.*.rp_filter = 2",
		"net.ipv4.tcp_s*k = 0", "-" + key, "no equals here", "vm.swappiness = 10", "# 日本語", "# caf\xe9", "kernel.core_pattern = |/bin/x %p",
	}).Draw(t, "line")
}

// TestPatchAsTheRealTools: whatever the tree, the diff applies with patch(1) and git apply alike, what it does not speak of
// stays byte for byte, no finding comes, nothing more is to do, and the reverse restores all.
func TestPatchAsTheRealTools(t *testing.T) {
	changed, served := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		im := drawImage(rt)
		include := rapid.SampledFrom([]string{"safe", "review", "manual"}).Draw(rt, "include")
		root, other := im.lay(t), im.lay(t)
		defer os.RemoveAll(root)
		defer os.RemoveAll(other)
		args := []string{"--root", root, "--kernel", "6.1", "--include", include}
		diff, _ := tcpadvise(rt, exitPass, append([]string{"patch"}, args...)...)
		back, _ := tcpadvise(rt, exitPass, append([]string{"patch", "--reverse"}, args...)...)
		before := findings(rt, args[:4]...)
		if diff != "" {
			changed++
		}
		if strings.Contains(diff, "\n+++ b/etc/nginx/") {
			served++
		}
		applyDiff(rt, "patch", root, diff)
		applyDiff(rt, "git", other, diff)
		after := files(t, root)
		if viaGit := files(t, other); !maps.Equal(after, viaGit) {
			rt.Fatalf("patch and git disagree on\n%s\n%q\n%q", diff, after, viaGit)
		}
		for name, content := range im {
			mark := "="
			if strings.Contains(name, "nginx") {
				mark = ";"
			}
			if why := onlySettingsChanged(content, after[name], mark); why != "" {
				rt.Fatalf("%s: %s\nbefore %q\nafter  %q\n%s", name, why, content, after[name], diff)
			}
		}
		for f, bad := range findings(rt, args[:4]...) {
			if _, known := before[f]; !known && bad { // a fair value in place of a bad one may still have a mention
				rt.Fatalf("the patch brings %s\n%q\n%s", f, im, diff)
			}
		}
		if again, _ := tcpadvise(rt, exitPass, append([]string{"patch"}, args...)...); again != "" {
			rt.Fatalf("a second patch of %q\nafter\n%s\nis not empty:\n%s", im, diff, again)
		}
		applyDiff(rt, "patch", root, back)
		applyDiff(rt, "git", other, back)
		for _, at := range []string{root, other} {
			if restored := files(t, at); !maps.Equal(restored, im) {
				rt.Fatalf("the reverse does not restore\n%q\n%q\n%s\n%s", im, restored, diff, back)
			}
		}
	})
	if changed == 0 || served == 0 {
		t.Errorf("%d trees were changed, in %d of them nginx", changed, served)
	}
	t.Log(changed, served)
}

// onlySettingsChanged: the lines that set nothing, for they lack the mark of those that do, are all still there, in order.
func onlySettingsChanged(before, after, mark string) string {
	rest := strings.SplitAfter(after, "\n")
	for line := range strings.Lines(before) {
		if content := strings.TrimSpace(line); strings.Contains(content, mark) && !strings.HasPrefix(content, "#") && !strings.HasPrefix(content, ";") {
			continue
		}
		i := slices.IndexFunc(rest, func(l string) bool { return l == line || strings.TrimRight(l, "\r\n") == line })
		if i < 0 {
			return fmt.Sprintf("the line %q is gone", line)
		}
		rest = rest[i+1:]
	}
	return ""
}

// TestPatchClosure: for each firing case of each rule that wants a kernel parameter, put down as files: the patch applied and
// its commands run, the rule is silent, or the change was withheld with a reason.
func TestPatchClosure(t *testing.T) {
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]int{}
	for _, rule := range set.Rules {
		cases, err := ruletest.Load(rules.FS, set, rule.ID)
		if err != nil {
			continue // a law of its own
		}
		for _, c := range cases {
			wants, _ := c.Judge(set).Changes(advisor.SafetyManual)
			if len(wants) == 0 {
				continue
			}
			root := imageOf(&c).lay(t)
			kernel := c.Kernel
			if kernel == "" {
				kernel = set.Catalogue.Newest().String()
			}
			args := []string{"--root", root, "--kernel", kernel, "--only", rule.ID}
			if len(findings(t, args...)) == 0 {
				continue // it needs more than files can say
			}
			diff, notes := tcpadvise(t, exitPass, append([]string{"patch", "--include", "manual"}, args...)...)
			if strings.Contains(diff+notes, "withheld:") {
				t.Logf("%s: %s: %s", rule.ID, c.Name, diff+notes)
				continue
			}
			tried[rule.ID]++
			applyDiff(t, "patch", root, diff)
			runCommands(t, root, diff+notes)
			if left := findings(t, args...); len(left) > 0 {
				t.Errorf("%s: %s: still says %v after\n%s%s", rule.ID, c.Name, left, diff, notes)
			}
		}
	}
	if len(tried) < 15 {
		t.Errorf("only the rules %v were tried", tried)
	}
	t.Log(tried)
}

// imageOf puts the facts of a case into files.
func imageOf(c *ruletest.Case) image {
	im := image{"/usr/lib/systemd/systemd-sysctl": "", "/proc/sys/kernel/ostype": "Linux\n"}
	const file = "/etc/sysctl.d/99-tuning.conf"
	rows := c.Facts.Table("settings").Rows
	for _, row := range rows {
		name, _ := row.Cells["path"].Value.Text()
		if !strings.HasPrefix(name, "/") {
			name = "/etc/sysctl.d/" + filepath.Base(name)
		}
		key, _ := row.Cells["key"].Value.Text()
		value, _ := row.Cells["value"].Value.Text()
		im[name] += key + " = " + value + "\n"
	}
	for _, key := range c.Facts.Members("declared") {
		if v := c.Facts.Member("declared", key); v.State == advisor.StateKnown && len(rows) == 0 {
			im[file] += key + " = " + v.Value.String() + "\n"
		}
	}
	for _, key := range c.Facts.Members("sysctl") {
		if v := c.Facts.Member("sysctl", key); v.State == advisor.StateKnown {
			im[procFile(key)] = v.Value.String() + "\n"
		}
	}
	if n, ok := c.Facts.Scalar("memory.total").Value.Int(); ok {
		im["/proc/meminfo"] = fmt.Sprintf("MemTotal: %d kB\n", n/1024)
	}
	return im
}

func procFile(key string) string { return "/proc/sys/" + strings.ReplaceAll(key, ".", "/") }

// runCommands does what the commands in a patch's preamble would do to the kernel below root.
func runCommands(t testing.TB, root, text string) {
	t.Helper()
	for _, command := range commandsIn(text) {
		key, value, _ := strings.Cut(strings.Trim(strings.TrimPrefix(command, "sysctl -w "), "'"), "=")
		file := filepath.Join(root, procFile(key))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func commandsIn(text string) (commands []string) {
	for line := range strings.Lines(text) {
		if c := strings.TrimSpace(strings.TrimLeft(line, "# ")); strings.HasPrefix(c, "sysctl -w ") {
			commands = append(commands, c)
		}
	}
	return commands
}

// largeSysctls is 10 MB with 50 lines that are to go.
func largeSysctls() string {
	var b strings.Builder
	for n := 0; b.Len() < 10_000_000; n++ {
		fmt.Fprintf(&b, "# %06d %s\n", n, strings.Repeat("-", 180))
		if n%1000 == 0 && n/1000 < 50 {
			b.WriteString("net.ipv4.tcp_tw_recycle = 1\n")
		}
	}
	return b.String()
}

// TestPatchOfLargeFile: 10 MB with 50 changes.
func TestPatchOfLargeFile(t *testing.T) {
	large := largeSysctls()
	root := image{"/etc/sysctl.d/99-big.conf": large, "/usr/lib/systemd/systemd-sysctl": ""}.lay(t)
	start := time.Now()
	diff, _ := tcpadvise(t, exitPass, "patch", "--root", root, "--kernel", "6.1")
	took := time.Since(start)
	t.Logf("%v", took)
	if n := strings.Count(diff, "\n-net.ipv4.tcp_tw_recycle = 1\n"); n != 50 {
		t.Errorf("%d changes", n)
	}
	if took > 20*time.Second { // 1 s alone; races are looked for and machines are busy
		t.Errorf("took %v", took)
	}
	applyDiff(t, "patch", root, diff)
	if files(t, root)["/etc/sysctl.d/99-big.conf"] != strings.ReplaceAll(large, "net.ipv4.tcp_tw_recycle = 1\n", "") {
		t.Error("the lines around are changed")
	}
}

// TestPatchShowsNoSecret: a planted secret is in no format, forwards or back.
func TestPatchShowsNoSecret(t *testing.T) {
	const secret = "deadbeef-0badcafe-12345678-9abcdef0"
	root := image{
		"/etc/sysctl.d/99-a.conf":         "net.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_fastopen_key = " + secret + "\nnet.ipv4.tcp_sack = 0\n",
		"/usr/lib/systemd/systemd-sysctl": "",
	}.lay(t)
	inputs := [][]string{{"--root", root}, {filepath.Join(root, "etc/sysctl.d/99-a.conf")}}
	for _, input := range inputs {
		for _, args := range [][]string{{}, {"--reverse"}, {"--format", "drop-in"}, {"--format", "ansible"}, {"--format", "commands"}} {
			if len(input) == 1 && slices.Contains(args, "drop-in") {
				continue
			}
			out, notes := tcpadvise(t, exitPass, slices.Concat([]string{"patch", "--include", "manual"}, args, input)...)
			if strings.Contains(out+notes, secret) {
				t.Errorf("%v shows the secret:\n%s%s", args, out, notes)
			}
			if len(args) == 0 && !strings.Contains(out+notes, "holds a secret") {
				t.Errorf("nothing is said of what was withheld:\n%s%s", out, notes)
			}
		}
	}
}
