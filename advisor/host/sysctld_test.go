package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sysctlHost is a host's files below a directory: content by path on the host. What begins with "->" is a link to the
// rest, and "dir" a directory.
type sysctlHost map[string]string

// lay writes the files below a new directory and returns it.
func (h sysctlHost) lay(t testing.TB) string {
	t.Helper()
	root, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	h.layAt(t, root)
	return root
}

func (h sysctlHost) layAt(t testing.TB, root string) {
	t.Helper()
	for _, dir := range []string{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range h {
		at := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, isLink := strings.CutPrefix(content, "->"); err == nil && isLink {
			err = os.Symlink(target, at)
		} else if err == nil && content == "dir" {
			err = os.Mkdir(at, 0o755)
		} else if err == nil {
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func dirTreeAt(t testing.TB, root string) tree {
	t.Helper()
	at, err := newDirTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// writesOf renders the writes: "net.ipv4.x=1", a pattern in parentheses.
func writesOf(l *sysctlLoad) string {
	var all []string
	for _, w := range l.Writes {
		s := w.Key + "=" + w.Value
		if w.Glob {
			s = "(" + s + ")"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func filesOf(l *sysctlLoad) string {
	var all []string
	for _, f := range l.Files {
		s := f.Path
		if f.File != f.Path {
			s += "->" + f.File
		}
		if f.Syntax == nil {
			s += "!"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func maskedOf(l *sysctlLoad) string {
	var all []string
	for _, m := range l.Masked {
		all = append(all, m.Path+"<"+m.By)
	}
	return strings.Join(all, " ")
}

func TestLoadSysctlsByHand(t *testing.T) {
	for _, c := range []struct {
		name            string
		host            sysctlHost
		systemd, procps string // writes
		files           string // of systemd, then "|" and of procps, if that says something
		masked          string // of systemd
	}{
		{
			name: "an earlier directory hides the file of that name, whatever its order in time",
			host: sysctlHost{
				"/usr/lib/sysctl.d/a.conf": "k.a=lib\n", "/usr/local/lib/sysctl.d/a.conf": "k.a=local\n",
				"/run/sysctl.d/a.conf": "k.a=run\n", "/etc/sysctl.d/a.conf": "k.a=etc\n",
			},
			systemd: "k.a=etc", procps: "k.a=etc",
			masked: "/run/sysctl.d/a.conf</etc/sysctl.d/a.conf /usr/local/lib/sysctl.d/a.conf</etc/sysctl.d/a.conf " +
				"/usr/lib/sysctl.d/a.conf</etc/sysctl.d/a.conf",
		},
		{
			name: "files go by base name in bytes, and sysctl.conf is last for procps only",
			host: sysctlHost{
				"/etc/sysctl.d/a.conf": "k.a=4\n", "/usr/lib/sysctl.d/Z.conf": "k.a=3\n", "/run/sysctl.d/a-b.conf": "k.a=3.5\n",
				"/etc/sysctl.d/10.conf": "k.a=1\n", "/usr/lib/sysctl.d/20.conf": "k.a=2\n", "/etc/sysctl.conf": "k.a=5\n",
			},
			systemd: "k.a=4", procps: "k.a=1 k.a=2 k.a=3 k.a=3.5 k.a=4 k.a=5",
			files: "/etc/sysctl.d/10.conf /usr/lib/sysctl.d/20.conf /usr/lib/sysctl.d/Z.conf /run/sysctl.d/a-b.conf /etc/sysctl.d/a.conf",
		},
		{
			name: "a link to /dev/null, a broken link, an empty file and a directory hide, and hold nothing",
			host: sysctlHost{
				"/usr/lib/sysctl.d/a.conf": "k.a=1\n", "/etc/sysctl.d/a.conf": "->/dev/null",
				"/usr/lib/sysctl.d/b.conf": "k.b=1\n", "/etc/sysctl.d/b.conf": "->nowhere",
				"/usr/lib/sysctl.d/c.conf": "k.c=1\n", "/etc/sysctl.d/c.conf": "",
				"/usr/lib/sysctl.d/d.conf": "k.d=1\n", "/etc/sysctl.d/d.conf": "dir", "/etc/sysctl.d/e.conf": "k.e=1",
			},
			systemd: "k.e=1", procps: "k.e=1",
			files: "/etc/sysctl.d/a.conf->/dev/null! /etc/sysctl.d/b.conf->! /etc/sysctl.d/c.conf /etc/sysctl.d/d.conf! /etc/sysctl.d/e.conf",
			masked: "/usr/lib/sysctl.d/a.conf</etc/sysctl.d/a.conf /usr/lib/sysctl.d/b.conf</etc/sysctl.d/b.conf " +
				"/usr/lib/sysctl.d/c.conf</etc/sysctl.d/c.conf /usr/lib/sysctl.d/d.conf</etc/sysctl.d/d.conf",
		},
		{
			name:    "Debian 12's link makes systemd read sysctl.conf, and procps read it twice",
			host:    sysctlHost{"/etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf", "/etc/sysctl.conf": "k.a=1\n"},
			systemd: "k.a=1", procps: "k.a=1 k.a=1", files: "/etc/sysctl.d/99-sysctl.conf->/etc/sysctl.conf",
		},
		{
			name:    "an absolute link starts at the root of the tree",
			host:    sysctlHost{"/etc/sysctl.d/a.conf": "->/srv/k.conf", "/srv/k.conf": "k.a=1\n"},
			systemd: "k.a=1", procps: "k.a=1", files: "/etc/sysctl.d/a.conf->/srv/k.conf",
		},
		{
			name: "hidden files are procps's alone, other suffixes nobody's",
			host: sysctlHost{
				"/etc/sysctl.d/.h.conf": "k.a=1\n", "/etc/sysctl.d/.conf": "k.b=1\n", "/etc/sysctl.d/a.conf~": "k.c=1\n",
				"/etc/sysctl.d/a.CONF": "k.c=1\n", "/etc/sysctl.d/conf": "k.c=1\n",
			},
			systemd: "", procps: "k.b=1 k.a=1",
		},
		{
			name:    "a file name with a pattern is one to procps",
			host:    sysctlHost{"/etc/sysctl.d/[x].conf": "k.a=1\n", "/etc/sysctl.d/x.conf": "k.b=1\n", "/etc/sysctl.d/[z].conf": "k.c=1\n"},
			systemd: "k.a=1 k.c=1 k.b=1", procps: "k.b=1 k.c=1 k.b=1",
		},
		{
			name:    "the last assignment wins, in whatever spelling",
			host:    sysctlHost{"/etc/sysctl.d/a.conf": "k.a=1\nk/b=2\nk/a=3\n-k.b=4\n"},
			systemd: "k.a=3 k.b=4", procps: "k.a=1 k.b=2 k.a=3 k.b=4",
		},
		{
			name:    "the same value again keeps the earlier line's place with systemd",
			host:    sysctlHost{"/etc/sysctl.d/a.conf": "k.a=1\nk.b=1\nk.a=1\n"},
			systemd: "k.a=1 k.b=1", procps: "k.a=1 k.b=1 k.a=1",
		},
		{
			name:    "a pattern leaves out what a line names or excludes, before or after it",
			host:    sysctlHost{"/etc/sysctl.d/a.conf": "net.ipv4.conf.*.rp_filter=2\n-net.ipv4.conf.all.rp_filter\nnet.ipv4.conf.lo.rp_filter=1\n"},
			systemd: "net.ipv4.conf.default.rp_filter=2 net.ipv4.conf.lo.rp_filter=1",
			procps:  "net.ipv4.conf.default.rp_filter=2 net.ipv4.conf.lo.rp_filter=1",
		},
		{
			name:    "an exclusion undoes an earlier assignment with systemd, not with procps",
			host:    sysctlHost{"/etc/sysctl.d/a.conf": "k.a=1\n-k.a\nk.b=1\n-k.b\nk.b=2\n"},
			systemd: "k.b=2", procps: "k.a=1 k.b=1 k.b=2",
		},
		{
			name:    "a pattern as an exclusion excludes nothing but itself",
			host:    sysctlHost{"/etc/sysctl.d/a.conf": "-net.ipv4.conf.a*.rp_filter\nnet.ipv4.conf.[ad]*.rp_filter=2\n"},
			systemd: "net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.default.rp_filter=2",
			procps:  "net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.default.rp_filter=2",
		},
		{
			name:    "braces are systemd's, and only in a key that is a pattern anyway",
			host:    sysctlHost{"/etc/sysctl.d/a.conf": "net.ipv4.conf.{lo,a*}.rp_filter=2\nk.{a,b}=1\n"},
			systemd: "net.ipv4.conf.lo.rp_filter=2 net.ipv4.conf.all.rp_filter=2 k.{a,b}=1", procps: "k.{a,b}=1",
		},
		{
			name:    "systemd tidies a path and refuses dots in it, procps leaves both to the kernel",
			host:    sysctlHost{"/etc/sysctl.d/a.conf": "k//a=1\nk.b.=1\n/k/c=1\nk/d/../d=1\n"},
			systemd: "k.a=1 k.b=1 k.c=1", procps: "k.a=1 k.c=1 k.d=1",
		},
	} {
		at := dirTreeAt(t, c.host.lay(t))
		systemd, procps := loadSystemd(at, fakeExpand, nil), loadProcps(at, fakeExpand, nil)
		if got := writesOf(systemd); got != c.systemd {
			t.Errorf("%s: systemd writes %q, want %q", c.name, got, c.systemd)
		}
		if got := writesOf(procps); got != c.procps {
			t.Errorf("%s: procps writes %q, want %q", c.name, got, c.procps)
		}
		if got := filesOf(systemd); c.files != "" && got != c.files {
			t.Errorf("%s: systemd reads %q, want %q", c.name, got, c.files)
		}
		if got := maskedOf(systemd); c.masked != "" && got != c.masked {
			t.Errorf("%s: masked %q, want %q", c.name, got, c.masked)
		}
		if len(systemd.Gaps)+len(procps.Gaps) > 0 {
			t.Errorf("%s: gaps %v %v", c.name, systemd.Gaps, procps.Gaps)
		}
	}
}

// fakeExpand knows three interfaces.
func fakeExpand(pattern string) (found []string) {
	for _, dev := range []string{"all", "default", "lo"} {
		if target := "net/ipv4/conf/" + dev + "/rp_filter"; matchTarget(pattern, target) {
			found = append(found, target)
		}
	}
	return found
}

func TestSysctlPositions(t *testing.T) {
	at := dirTreeAt(t, sysctlHost{
		"/etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf",
		"/etc/sysctl.conf":             "# x\n\nnet.ipv4.a\t= 1 2\r\n  -net.ipv4.b\n",
	}.lay(t))
	got := loadSystemd(at, nil, nil).All
	want := []sysctlAssignment{
		{
			Key: "net.ipv4.a", Value: "1 2", Path: "/etc/sysctl.d/99-sysctl.conf", File: "/etc/sysctl.conf", Line: 3, Column: 14,
			Start: 18, End: 21, Target: "net/ipv4/a", By: -1,
		},
		{
			Key: "net.ipv4.b", Path: "/etc/sysctl.d/99-sysctl.conf", File: "/etc/sysctl.conf", Line: 4, Column: 4,
			Start: 26, End: 36, Target: "net/ipv4/b", Exclude: true, By: -1,
		},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestSysctlChain is what "why KEY" prints.
func TestSysctlChain(t *testing.T) {
	at := dirTreeAt(t, sysctlHost{
		"/usr/lib/sysctl.d/10.conf": "net.ipv4.conf.*.rp_filter = 2\nnet.ipv4.conf.lo.rp_filter = 0\n",
		"/etc/sysctl.d/20.conf":     "net/ipv4/conf/lo/rp_filter = 1\n-net.ipv4.conf.all.rp_filter\n",
		"/etc/sysctl.d/30.conf":     "net.ipv4.conf.all.rp_filter=1\n-net.ipv4.conf.all.rp_filter\nnet.ipv4.conf.d*.rp_filter = 3\n",
	}.lay(t))
	show := func(l *sysctlLoad, key string) string {
		names := []string{"", "wins", "replaced", "taken back", "yields", "excludes", "refused"}
		var out []string
		for _, s := range l.chain(key) {
			step := fmt.Sprintf("%d %s", s.Index, names[s.Fate])
			if s.By >= 0 {
				step += fmt.Sprint(" by ", s.By)
			}
			out = append(out, step)
		}
		return strings.Join(out, ", ")
	}
	// Lines: 0 *, 1 lo, 2 lo, 3 -all, 4 all, 5 -all, 6 d*.
	for _, c := range []struct{ key, systemd, procps string }{
		{"net.ipv4.conf.lo.rp_filter", "0 yields by 2, 1 replaced by 2, 2 wins", "0 yields by 2, 1 replaced by 2, 2 wins"},
		{"net.ipv4.conf.all.rp_filter", "0 yields by 5, 3 excludes, 4 taken back by 5, 5 excludes", "0 yields by 5, 3 excludes, 4 wins, 5 excludes"},
		{"net.ipv4.conf.default.rp_filter", "0 replaced by 6, 6 wins", "0 replaced by 6, 6 wins"},
		{"net.ipv4.conf.eth0.rp_filter", "0 wins", "0 wins"},
		{"net.ipv4.ip_forward", "", ""},
	} {
		if got := show(loadSystemd(at, nil, nil), c.key); got != c.systemd {
			t.Errorf("%s: systemd %q, want %q", c.key, got, c.systemd)
		}
		if got := show(loadProcps(at, nil, nil), c.key); got != c.procps {
			t.Errorf("%s: procps %q, want %q", c.key, got, c.procps)
		}
	}
}

func TestLoadSysctlFile(t *testing.T) {
	at := dirTreeAt(t, sysctlHost{"/etc/sysctl.conf": "k.a=1\n--k.b = 2\n", "/etc/sysctl.d/a.conf": "k.c=1\n"}.lay(t))
	if got := writesOf(loadFile(at, "/etc/sysctl.conf", nil)); got != "k.a=1 k.b=2" {
		t.Errorf("sysctl -p writes %q", got)
	}
}

// brokenTree fails to read or list some paths.
type brokenTree struct {
	tree
	broken map[string]error
}

func (t brokenTree) read(path string, limit int64) ([]byte, error) {
	if err := t.broken[path]; err != nil {
		return nil, err
	}
	return t.tree.read(path, limit)
}

func (t brokenTree) list(path string) ([]entry, error) {
	if err := t.broken[path]; err != nil {
		return nil, err
	}
	return t.tree.list(path)
}

func TestSysctlGaps(t *testing.T) {
	root := sysctlHost{
		"/etc/sysctl.d/a.conf": "k.a=1\n", "/etc/sysctl.d/b.conf": "k.b=1\n", "/run/sysctl.d/c.conf": "k.c=1\n",
		"/etc/sysctl.d/loop.conf": "->loop.conf",
	}.lay(t)
	at := brokenTree{dirTreeAt(t, root), map[string]error{
		"/etc/sysctl.d/a.conf": &fs.PathError{Op: "read", Path: "/etc/sysctl.d/a.conf", Err: fs.ErrPermission},
		"/run/sysctl.d":        errNotCaptured,
	}}
	for _, l := range []*sysctlLoad{loadSystemd(at, nil, nil), loadProcps(at, nil, nil)} {
		if got := writesOf(l); got != "k.b=1" {
			t.Errorf("%s writes %q, want %q", l.Loader, got, "k.b=1")
		}
		var sources []string
		for _, g := range l.Gaps {
			sources = append(sources, g.Source)
		}
		if got, want := strings.Join(sources, " "), "/run/sysctl.d /etc/sysctl.d/a.conf"; got != want {
			t.Errorf("%s: gaps of %q, want %q", l.Loader, got, want)
		}
	}
}

// TestSysctlLoadIsLinear: no input may take a product of its lines.
func TestSysctlLoadIsLinear(t *testing.T) {
	var b strings.Builder
	const n = 34_000
	for i := range n {
		fmt.Fprintf(&b, "k.a%d=1\nk.b=%d\n-k.a%d\n", i, i, i)
	}
	b.WriteString(strings.Repeat("{", 4000) + "*" + strings.Repeat(",}", 4000) + " = 1\n")
	at := dirTreeAt(t, sysctlHost{"/etc/sysctl.d/a.conf": b.String()}.lay(t))
	start := time.Now()
	for _, l := range []*sysctlLoad{loadSystemd(at, fakeExpand, nil), loadProcps(at, fakeExpand, nil)} {
		if w, ok := l.winner("k.b"); !ok || w.Value != strconv.Itoa(n-1) {
			t.Errorf("%s: k.b ends as %q, %v", l.Loader, w.Value, ok)
		}
	}
	// Half a second on a slow machine; one that is also busy and detects races stays far below what a square takes.
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("%d lines took %v", 3*n, took)
	}
}

func TestMatchTarget(t *testing.T) {
	for _, c := range []struct {
		pattern, target string
		want            bool
	}{
		{"a/*/c", "a/b/c", true},
		{"a/*/c", "a/b/d/c", false},
		{"a/*", "a/", true},
		{"*", "a/b", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a[bc]d", "acd", true},
		{"a[!bc]d", "acd", false},
		{"a[^b]d", "acd", true},
		{"a[a-c]", "ab", true},
		{"a[]]", "a]", true},
		{"a[b", "a[b", true},
		{`a\*`, "a*", true},
		{`a\*`, "ab", false},
		{"*a*b*c", "xxaxxbxxc", true},
		{"*a*b*c", "xxaxxcxxb", false},
		{"a[-b]", "a-", true},
		{"a**", "a", true},
		{"", "a", false},
		{strings.Repeat("*a", 100), strings.Repeat("a", 200) + "b", false},
	} {
		if got := matchTarget(c.pattern, c.target); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.target, got)
		}
	}
}

func TestExpandBraces(t *testing.T) {
	for _, c := range []struct{ pattern, want string }{
		{"a", "a"},
		{"a{b,c}d", "abd acd"},
		{"{a,b{c,d}}", "a bc bd"},
		{"{a,b}{c,d}", "ac ad bc bd"},
		{"a{b", "a{b"},
		{"a{}b", "a{}b"},
		{"{,x}a", "a xa"},
	} {
		if got := strings.Join(expandBraces(c.pattern), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.pattern, got, c.want)
		}
	}
	if n := len(expandBraces(strings.Repeat("{a,b}", 100))); n > 1<<13 {
		t.Errorf("%d patterns of one", n)
	}
}

func TestBootLoader(t *testing.T) {
	for _, c := range []struct {
		name string
		host sysctlHost
		want string
	}{
		{"nothing known", sysctlHost{}, bootUnknown},
		{"systemd runs", sysctlHost{"/run/systemd/system": "dir", "/proc/1/comm": "x\n"}, bootSystemd},
		{"systemd is process 1", sysctlHost{"/proc/1/comm": "systemd\n"}, bootSystemd},
		{"systemd is installed", sysctlHost{"/usr/lib/systemd/systemd-sysctl": "", "/etc/init.d/procps": ""}, bootSystemd},
		{"systemd is installed, but another process 1 runs", sysctlHost{"/lib/systemd/systemd-sysctl": "", "/proc/1/comm": "tini\n"}, bootUnknown},
		{"the service is masked", sysctlHost{"/etc/systemd/system/systemd-sysctl.service": "->/dev/null", "/run/systemd/system": "dir"}, bootNothing},
		{"System V", sysctlHost{"/etc/init.d/procps": "", "/proc/1/comm": "init\n", "/lib/systemd/systemd-sysctl": ""}, bootProcps},
		{"System V, files alone", sysctlHost{"/etc/init.d/procps": ""}, bootProcps},
		{"OpenRC runs", sysctlHost{"/run/openrc/softlevel": "", "/proc/1/comm": "init\n"}, bootOpenRC},
		{"OpenRC is installed", sysctlHost{"/sbin/openrc": ""}, bootOpenRC},
		{"busybox", sysctlHost{"/sbin/sysctl": "->/bin/busybox", "/bin/busybox": ""}, bootBusybox},
	} {
		got, why := bootLoader(dirTreeAt(t, c.host.lay(t)))
		if got != c.want || why == "" {
			t.Errorf("%s: %q because %q, want %q", c.name, got, why, c.want)
		}
	}
}

// FuzzLoadSysctls: no content makes a loader panic, and where no pattern is in play a key has one winner.
func FuzzLoadSysctls(f *testing.F) {
	f.Add([]byte("k.a = 1\n-k.a\nk.*=2\n"), []byte("k/a=3\rk.b={a,*}\x00--k.c=1"))
	f.Add([]byte("net.{a,b*}.c = 1\nk//a=1\nk/../a=1\n"), []byte("[=1\n[]=1\n\\=1\n{*=1\n"))
	root := sysctlHost{}.lay(f)
	at := dirTreeAt(f, root)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for name, content := range map[string][]byte{"etc/sysctl.d/a.conf": a, "usr/lib/sysctl.d/b.conf": b} {
			if err := os.WriteFile(filepath.Join(root, name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, load := range []func(tree, func(string) []string, parsedFiles) *sysctlLoad{loadSystemd, loadProcps} {
			for _, expand := range []func(string) []string{nil, fakeExpand} {
				checkLoad(t, load(at, expand, nil))
			}
		}
	})
}

// checkLoad holds the laws of any load: one line of a chain wins if any does, and a line yields only to a later one.
func checkLoad(t interface{ Fatalf(string, ...any) }, l *sysctlLoad) {
	keys := slices.Collect(maps.Keys(l.byKey))
	for _, key := range keys[:min(len(keys), 50)] {
		wins := 0
		for _, s := range l.chain(key) {
			if s.Fate == sysctlWins {
				wins++
			}
			if s.Fate == 0 || s.Fate == sysctlReplaced && s.By < 0 {
				t.Fatalf("%s: key %q: step %+v", l.Loader, key, s)
			}
		}
		if _, ok := l.winner(key); wins > 1 || ok && wins == 0 {
			t.Fatalf("%s: key %q has %d winners", l.Loader, key, wins)
		}
	}
	for i, a := range l.All {
		if a.By >= 0 && a.By <= i {
			t.Fatalf("%s: line %d is replaced by line %d", l.Loader, i, a.By)
		}
	}
}

// What follows runs the real loaders. They know no root, so they run in name spaces of their own: our files are mounted
// over the directories that they read, the network name space gives them fresh keys to write, and the rest of /proc/sys
// is read-only there, so that the machine is never changed.

const systemdSysctl = "/lib/systemd/systemd-sysctl"

const realScript = `
set -e
root=$1 loader=$2; shift 2
mount --bind /proc/sys/net "$root/keep"
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
mount --bind "$root/keep" /proc/sys/net
mount --bind "$root/usr/local/lib" /usr/local/lib
mount --bind "$root/usr/lib/sysctl.d" /usr/lib/sysctl.d
mount --bind "$root/run" /run
mount --bind "$root/etc" /etc
show() { for key; do printf '%s\t' "$key"; tr '\t\n' ' ' <"/proc/sys/$key"; echo; done; }
show "$@"
set +e
case $loader in
systemd) SYSTEMD_LOG_TARGET=console /lib/systemd/systemd-sysctl >&2 ;;
procps) sysctl --system >&2 ;;
esac
echo ==
show "$@"
`

// realKeys are read before and after: all in the network name space, and with no influence on each other but the one
// that realKernel knows.
func realKeys() []string {
	return []string{
		"net/ipv4/tcp_fin_timeout", "net/ipv4/tcp_keepalive_time", "net/ipv4/tcp_keepalive_intvl", "net/ipv4/tcp_retries2",
		"net/ipv4/ip_local_port_range",
		"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter", "net/ipv4/conf/lo/rp_filter",
		"net/ipv4/conf/all/arp_ignore", "net/ipv4/conf/default/arp_ignore", "net/ipv4/conf/lo/arp_ignore",
	}
}

// needRealLoaders fails, for what is only skipped is soon not tested.
func needRealLoaders(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the loaders are Linux programs")
	}
	for _, c := range []struct{ program, install string }{
		{systemdSysctl, "apt-get install -y systemd"}, {"sysctl", "apt-get install -y procps"}, {"unshare", "apt-get install -y util-linux"},
	} {
		if _, err := exec.LookPath(c.program); err != nil {
			t.Fatalf("%s is needed to test against: %s", c.program, c.install)
		}
	}
}

// runReal returns the keys' values before and after a real loader, and what it said.
func runReal(t testing.TB, root, loader string) (before, after map[string]string, said string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "keep"), 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-Urnm", "--propagation", "private", "sh", "-c", realScript, "sh", root, loader}, realKeys()...)
	cmd := exec.Command("unshare", args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	first, second, ok := strings.Cut(string(out), "==\n")
	if err != nil || !ok {
		t.Fatalf("%s in a name space of its own: %v\n%s%s", loader, err, out, stderr.String())
	}
	return parseValues(first), parseValues(second), stderr.String()
}

func parseValues(s string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(s) {
		key, value, _ := strings.Cut(line, "\t")
		values[key] = strings.Join(strings.Fields(value), " ")
	}
	return values
}

// realExpand is expandSysctls on the names that a fresh network name space has.
func realExpand(t testing.TB) func(string) []string {
	t.Helper()
	out, err := exec.Command("unshare", "-Urn", "find", "/proc/sys/net/ipv4", "-type", "f").Output()
	if err != nil {
		t.Fatalf("the names of a fresh network name space: %v", err)
	}
	names := sysctlHost{}
	for name := range strings.Lines(string(out)) {
		names[strings.TrimSpace(name)] = ""
	}
	return expandSysctls(dirTreeAt(t, names.lay(t)))
}

// realKernel is as much of the kernel as these keys need. It returns the values after a load.
func realKernel(before map[string]string, l *sysctlLoad) map[string]string {
	values := maps.Clone(before)
	touched := map[string]bool{}
	for _, w := range l.Writes {
		target := strings.ReplaceAll(w.Key, ".", "/")
		if _, known := values[target]; !known || strings.Contains(w.Key, "/") {
			continue
		}
		if l.systemd && values[target] == w.Value && target != "net/ipv4/ip_local_port_range" {
			continue // WRITE_STRING_FILE_SUPPRESS_REDUNDANT_VIRTUAL: no write at all
		}
		touched[target] = true // devinet_conf_proc sets the bit even where the write fails
		value, ok := kernelInts(w.Value, map[bool]int{true: 2, false: 1}[target == "net/ipv4/ip_local_port_range"])
		if !ok {
			value = values[target]
		}
		values[target] = value
		// devinet_copy_dflt_conf in net/ipv4/devinet.c: the default goes to each device that was never written.
		if device := strings.Replace(target, "/default/", "/lo/", 1); device != target && !touched[device] {
			values[device] = value
		}
	}
	return values
}

// kernelInts is proc_dointvec on write: it takes n numbers, and does not look at what follows the last one's blank.
func kernelInts(value string, n int) (string, bool) {
	var all []string
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t\n", r) }) {
		if _, err := strconv.Atoi(word); err != nil {
			break
		}
		if all = append(all, word); len(all) == n {
			return strings.Join(all, " "), true
		}
	}
	return "", false
}

// drawHost draws files that try the loaders' rules, and their quarrels.
func drawHost(t *rapid.T) sysctlHost {
	h := sysctlHost{}
	dirs := sysctlDirs()[:4] // the fifth is the fourth on a merged /usr
	names := []string{"10-a.conf", "50-b.conf", "99-sysctl.conf", "a.conf", "Z.conf", "x.conf", ".h.conf", "[x].conf", "b.conf~", "a_b.conf"}
	for range rapid.IntRange(1, 6).Draw(t, "files") {
		name := rapid.SampledFrom(dirs).Draw(t, "dir") + "/" + rapid.SampledFrom(names).Draw(t, "name")
		h[name] = rapid.OneOf(
			drawFile(), drawFile(), drawFile(), drawFile(),
			rapid.SampledFrom([]string{"", "dir", "->/dev/null", "->nowhere.conf", "->../sysctl.conf", "->a.conf", "->/usr/lib/sysctl.d/10-a.conf"}),
		).Draw(t, "content")
		if h[name] == "->a.conf" && filepath.Base(name) == "a.conf" {
			delete(h, name) // a loop is a gap, and tested by hand
		}
	}
	if rapid.Bool().Draw(t, "has sysctl.conf") {
		h[sysctlConf] = drawFile().Draw(t, "sysctl.conf")
	}
	return h
}

func drawFile() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for range rapid.IntRange(1, 6).Draw(t, "lines") {
			b.WriteString(drawLine(t))
			b.WriteString(rapid.SampledFrom([]string{"\n", "\n", "\n", "\n", "\n", "\n", "\r\n", "\r", "\x00", "\n\n", "\v\n"}).Draw(t, "end"))
		}
		return b.String()
	})
}

func drawLine(t *rapid.T) string {
	key := drawKey(t)
	value := fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "value"))
	if strings.Contains(key, "tcp") || strings.Contains(key, "t?p") {
		value = fmt.Sprint(rapid.IntRange(10, 30).Draw(t, "value"))
	}
	if strings.Contains(key, "range") {
		value = fmt.Sprint(rapid.IntRange(1024, 2000).Draw(t, "low"), rapid.SampledFrom([]string{" ", "\t", "  "}).Draw(t, "blank"), 60000)
	}
	before := rapid.SampledFrom([]string{"", "", "", "", "-", " ", "\t", "- ", "--", "\v", "\ufeff", "# ", ";", " -"}).Draw(t, "before")
	after := rapid.SampledFrom([]string{"", "", "", "", " ", "\t ", " # x", "# x", " ; x", " \\", "\v"}).Draw(t, "after")
	equals := rapid.SampledFrom([]string{"=", " = ", " =", "= ", "\t=\t", "", " ", "＝"}).Draw(t, "equals")
	return rapid.SampledFrom([]string{
		key + "=" + value, before + key + " = " + value + after, before + key + equals + value + after,
		key + " = " + value, "-" + key, "-" + key, "net.ipv4.tcp_fin_timeout =" + after, "sysctl -w " + key + "=" + value, "= 1", "x", "-", "",
	}).Draw(t, "line")
}

func drawKey(t *rapid.T) string {
	key := rapid.SampledFrom(slices.Concat(realKeys(), []string{
		"net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/rp_filter", "net/ipv4/conf/[al]*/rp_filter", "net/ipv4/conf/[!a]*/arp_ignore",
		"net/ipv4/conf/*/*_*ore", "net/ipv4/conf/{lo,a*}/rp_filter", "net/ipv4/conf/{lo,all}/rp_filter", "net/ipv4/tcp_keepalive_[it]*",
		"net/ipv4/t?p_fin_timeout", "net/ipv4/no_such_key", "net/ipv4/conf/lo.1/rp_filter",
	})).Draw(t, "key")
	switch rapid.IntRange(0, 9).Draw(t, "spelling") {
	case 0, 1:
		return key
	case 2:
		return strings.Replace(key, "/", "//", 1)
	case 3:
		return "/" + key
	case 4:
		return strings.Replace(key, "/ipv4/", "/./ipv4/../ipv4/", 1)
	case 5:
		return dotted(key) + "."
	case 6:
		return strings.Replace(dotted(key), ".", "..", 1)
	}
	return dotted(key)
}

func dotted(key string) string { return strings.NewReplacer("/", ".", ".", "/").Replace(key) }

// TestLoadersAsTheRealOnes draws files, and compares what our loaders say with what the real ones do to the kernel.
func TestLoadersAsTheRealOnes(t *testing.T) {
	needRealLoaders(t)
	expand := realExpand(t)
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHost(rt)
		root := h.lay(t)
		defer os.RemoveAll(root)
		compareLoaders(rt, t, h, root, expand)
	})
}

type failer interface{ Errorf(string, ...any) }

func compareLoaders(t failer, tb testing.TB, h sysctlHost, root string, expand func(string) []string) {
	at := dirTreeAt(tb, root)
	for loader, load := range map[string]func(tree, func(string) []string, parsedFiles) *sysctlLoad{"systemd": loadSystemd, "procps": loadProcps} {
		before, after, said := runReal(tb, root, loader)
		l := load(at, expand, nil)
		want := realKernel(before, l)
		if !maps.Equal(after, want) {
			t.Errorf("%s made of %q\n%v, we expect\n%v of the writes %s\nit said: %s", l.Loader, h, after, want, writesOf(l), said)
		}
		// Where the names that exist are not known, the winner of each key is the same.
		unexpanded := load(at, nil, nil)
		for _, target := range realKeys() {
			key := dotted(target)
			w1, ok1 := l.winner(key)
			if w2, ok2 := unexpanded.winner(key); ok1 != ok2 || w1.From != w2.From || w1.Value != w2.Value {
				t.Errorf("%s of %q: %s is %v with the names known, %v without", l.Loader, h, key, w1, w2)
			}
		}
	}
}

// TestReadingsAsTheRealOnes tries one line at a time: what each program takes it for.
func TestReadingsAsTheRealOnes(t *testing.T) {
	needRealLoaders(t)
	expand := realExpand(t)
	const k, k2 = "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_retries2"
	for _, content := range []string{
		"--" + k + " = 11", "- " + k + " = 11", "net//ipv4/tcp_fin_timeout = 11", "net.ipv4..tcp_fin_timeout = 11", k + ". = 11",
		"/net/ipv4/tcp_fin_timeout = 11", "net/ipv4/../ipv4/tcp_fin_timeout=11", "net/./ipv4/tcp_fin_timeout=11",
		"/proc/sys/net/ipv4/tcp_fin_timeout=11", k + "=11\r" + k2 + "=7\n", k + "=11\r\n" + k2 + "=7\r\n", "# x\r" + k + "=11\n",
		k + "=11\x00" + k2 + "=7\n", "\x00" + k + "=11\n", "\v" + k + "=11", k + "\f=11", k + "=11\v", k + "=11 # x", k + "=11# x",
		"net.ipv4.ip_local_port_range = 1024 65000 # x", "net.ipv4.ip_local_port_range = 1024 # x", k + `="11"`, k + "=", "\ufeff" + k + "=11",
		"\u200b" + k + "=11", "\u00a0" + k + "=11", k + "＝11", k + "=11 \\\n" + k2 + "=7", k + "= \\\n11\n", "sysctl -w " + k + "=11",
		"net.ipv4.conf.lo.rp_filter=1\n-net.ipv4.conf.lo.rp_filter\n", "net.ipv4.conf.*.rp_filter=2\n-net.ipv4.conf.*.rp_filter\n",
		"net.ipv4.conf.{lo,a*}.rp_filter=2", "net.ipv4.conf.{lo,all}.rp_filter=2",
		k2 + "=7\n#" + strings.Repeat("x", 1<<20-2) + "\n" + k + "=11\n", k2 + "=7\n#" + strings.Repeat("x", 1<<20-1) + "\n" + k + "=11\n",
	} {
		h := sysctlHost{"/etc/sysctl.d/a.conf": content}
		shown := h
		if len(content) > 1000 {
			shown = sysctlHost{"a long line": ""}
		}
		compareLoaders(t, t, shown, h.lay(t), expand)
	}
}

// This one reads the machine itself.
func TestExpandSysctlsLive(t *testing.T) {
	got := expandSysctls(dirTreeAt(t, "/"))("net/ipv4/conf/{all,default}/rp_filter")
	if len(got) != 0 {
		t.Errorf("braces are taken apart by the caller: %q", got)
	}
	got = expandSysctls(dirTreeAt(t, "/"))("net/ipv4/conf/*/rp_filter")
	for _, want := range []string{"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if _, err := os.Stat("/proc/sys/net"); errors.Is(err, fs.ErrNotExist) {
		t.Fatal("no /proc/sys on this machine")
	}
}

// TestFileOrderAgreesWithSystemdAnalyze: systemd-analyze cat-config prints the files in the order in which they count, masks
// included, and takes a root.
func TestFileOrderAgreesWithSystemdAnalyze(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is missing: apt-get install -y systemd")
	}
	rapid.Check(t, func(rt *rapid.T) {
		root := t.TempDir()
		dirs := []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"}
		for range rapid.IntRange(1, 12).Draw(rt, "files") {
			dir := filepath.Join(root, rapid.SampledFrom(dirs).Draw(rt, "dir"))
			name := filepath.Join(dir, rapid.SampledFrom([]string{"10-a.conf", "50-b.conf", "B.conf", "99-z.conf", "readme", "9.conf"}).Draw(rt, "name"))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				rt.Fatal(err)
			}
			os.Remove(name)
			if rapid.IntRange(0, 3).Draw(rt, "mask") == 0 {
				err = os.Symlink("/dev/null", name)
			} else {
				err = os.WriteFile(name, []byte("net.ipv4.tcp_fin_timeout = 30\n"), 0o644)
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		out, err := exec.Command(analyze, "--root="+root, "cat-config", "sysctl.d").Output()
		if err != nil {
			rt.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(string(out)) {
			if path, ok := strings.CutPrefix(strings.TrimSpace(line), "# "+root); ok {
				want = append(want, path)
			}
		}
		tr, err := newDirTree(root)
		if err != nil {
			rt.Fatal(err)
		}
		var got []string
		for _, src := range loadSystemd(tr, nil, nil).Files {
			got = append(got, src.Path)
		}
		if !slices.Equal(got, want) {
			rt.Errorf("read in the order %q, systemd-analyze says %q", got, want)
		}
	})
}
