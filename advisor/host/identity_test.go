package host

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

func identityOf(t tree) (*advisor.Facts, []advisor.Gap) {
	var b advisor.Builder
	gaps := collectIdentity(context.Background(), t, &b)
	return b.Facts(), gaps
}

func TestIdentityLive(t *testing.T) {
	f, gaps := identityOf(liveTree(t))
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	name, _ := os.Hostname()
	wantScalars(t, f, map[string]string{
		"kernel.release": unix.ByteSliceToString(u.Release[:]),
		"host.name":      name,
		"page_size":      fmt.Sprint(os.Getpagesize()),
	})
	if n, ok := f.Scalar("cpus").Value.Int(); !ok || n < int64(runtime.NumCPU()) {
		t.Errorf("cpus: %s, this program may use %d", showFact(f.Scalar("cpus")), runtime.NumCPU())
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Scalar("memory.total").Value.Int(); n>>10 != int64(info.Totalram)*int64(info.Unit)>>10 {
		t.Errorf("memory.total: %d, sysinfo(2) says %d", n, info.Totalram)
	}
	for _, key := range f.Scalars() {
		if fact := f.Scalar(key); fact.State == advisor.StateUnknown && key != "host.container" {
			t.Errorf("%s: %s", key, showFact(fact))
		}
	}
	for _, g := range gaps {
		if !g.Notice {
			t.Errorf("a gap that nobody asked for makes the verdict incomplete: %v", g)
		}
	}
	if h := hostOf(f, "live"); h.Kernel == "" || h.Source != "live" || !strings.HasPrefix(h.Netns, "net:[") {
		t.Errorf("%+v", h)
	}
}

func TestIdentityReplays(t *testing.T) {
	r := newMemRecorder(liveTree(t))
	live, _ := identityOf(r)
	replay, _ := identityOf(&r.replay)
	if !reflect.DeepEqual(live, replay) {
		t.Errorf("live\n%+v\nreplay\n%+v", live, replay)
	}
	for name := range r.replay.files {
		if name == "/proc/cmdline" {
			t.Error("a capture holds the whole kernel command line")
		}
	}
}

func TestIdentityAsNobody(t *testing.T) {
	live := liveTree(t)
	asNobody(t, func() {
		f, _ := identityOf(live)
		for _, key := range []string{"kernel.version", "memory.total", "cpus", "page_size", "host.init", "host.netns"} {
			if fact := f.Scalar(key); fact.State != advisor.StateKnown {
				t.Errorf("%s: %s", key, showFact(fact))
			}
		}
	})
}

// All collectors of this file's neighbours run once more in new user and network namespaces, where much is missing.
func TestCollectorsInNewNamespaces(t *testing.T) {
	out, err := exec.Command("unshare", "-Urn", "true").CombinedOutput()
	if err != nil {
		t.Skipf("unshare: %v: %s", err, out)
	}
	cmd := exec.Command("unshare", "-Urn", os.Args[0], "-test.run=^Test(Identity|Sysctls|Counters|Processes)Live$")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func debianRoot() *memTree {
	return &memTree{
		files: map[string]string{
			"/usr/lib/os-release":                          "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n# c\nID=debian\nVERSION_ID='12'\n",
			"/etc/hostname":                                "# a comment\n\n  web-1 \n",
			"/usr/lib/modules/6.1.0-9-amd64/modules.dep":   "",
			"/usr/lib/modules/6.1.0-21-amd64/modules.dep":  "",
			"/usr/lib/modules/6.1.0-30-amd64/left-over.ko": "",
			"/usr/lib/modules/extra/modules.dep":           "",
			"/usr/lib/systemd/systemd":                     "",
		},
		links: map[string]string{"/etc/os-release": "/usr/lib/os-release", "/sbin/init": "/usr/lib/systemd/systemd"},
	}
}

func TestIdentityOfDirectory(t *testing.T) {
	f, gaps := identityOf(debianRoot())
	wantScalars(t, f, map[string]string{
		"kernel.release":  "6.1.0-21-amd64",
		"kernel.version":  "6 1 0",
		"host.name":       "web-1",
		"host.os":         "Debian GNU/Linux 12 (bookworm)",
		"host.os_id":      "debian",
		"host.os_id_like": "absent: not in /etc/os-release",
		"host.os_version": "12",
		"host.init":       "systemd",
		"host.container":  "absent: no running kernel was read",
		"host.netns":      "absent: no running kernel was read",
		"memory.total":    "absent: no running kernel was read",
		"page_size":       "absent: no running kernel was read",
		"cpus":            "absent: no running kernel was read",
	})
	if tab := f.Table("cmdline_sysctls"); tab.Absent != noKernel || len(gaps) > 0 {
		t.Errorf("%+v %v", tab, gaps)
	}
	if o := f.Scalar("kernel.release").Origin; o.Path != "/usr/lib/modules/6.1.0-21-amd64" {
		t.Error(o)
	}
	if h := hostOf(f, "root"); h != (advisor.Host{Name: "web-1", Kernel: "6.1.0-21-amd64", OS: "Debian GNU/Linux 12 (bookworm)", Source: "root"}) {
		t.Errorf("%+v", h)
	}
	empty, gaps := identityOf(&memTree{})
	for _, key := range empty.Scalars() {
		if empty.Scalar(key).State != advisor.StateAbsent || len(gaps) > 0 {
			t.Errorf("%s of an empty directory: %s %v", key, showFact(empty.Scalar(key)), gaps)
		}
	}
}

func TestKernelOfDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		tree memTree
		want string
	}{
		"boot alone": {memTree{files: map[string]string{
			"/boot/vmlinuz-5.14.0-427.el9.x86_64": "", "/boot/vmlinuz-5.14.0-70.el9.x86_64": "", "/boot/vmlinuz-0-rescue-abc": "",
		}}, "5.14.0-427.el9.x86_64"},
		"proc wins": {memTree{files: map[string]string{
			"/proc/sys/kernel/osrelease": "4.18.0-553.el8\n", "/boot/vmlinuz-9.9.9": "",
		}}, "4.18.0-553.el8"},
		"not captured": {
			memTree{kind: "capture", errs: map[string]error{"/proc/sys/kernel/osrelease": errNotCaptured}},
			"unknown: read /proc/sys/kernel/osrelease: not in this capture",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := showFact(kernelRelease(&c.tree)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	if got := kernelVersion(advisor.Known(advisor.Text("weird"), advisor.Origin{})); got.State != advisor.StateUnknown {
		t.Error(showFact(got))
	}
}

func TestCompareReleases(t *testing.T) {
	rising := []string{"5.4", "5.10.0-9-amd64", "5.10.0-30-amd64", "5.10.223", "6.1.0-rc3", "6.1.0", "6.1.0-1", "6.18.44-fc-v669"}
	for i, a := range rising {
		for j, b := range rising {
			if got, want := compareReleases(a, b), i-j; got < 0 != (want < 0) || got > 0 != (want > 0) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
}

func TestParseOSRelease(t *testing.T) {
	text := "\n# ID=no\nID=\"a b\"\r\nNAME='it''s'\nX=\"q\\\"\\$\"\nEMPTY=\nEMPTY2=\"\"\nnonsense\nVERSION_ID=9.4"
	var got []string
	for _, a := range parseOSRelease([]byte(text)) {
		got = append(got, fmt.Sprintf("%d:%d %s=%s (%s)", a.origin.Line, a.origin.Column, a.name, a.value, text[a.origin.Start:a.origin.End]))
	}
	want := []string{
		`3:4 ID=a b ("a b")`, `4:6 NAME=its ('it''s')`, `5:3 X=q"$ ("q\"\$")`, `9:12 VERSION_ID=9.4 (9.4)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestOddIdentity(t *testing.T) {
	m := &memTree{
		kind: "capture", files: map[string]string{
			"/proc/meminfo": "MemTotal:   lots kB\n", "/proc/cpuinfo": "model name: x\n", "/sys/devices/system/cpu/online": "0-",
			"/etc/os-release": "garbage\x00\xff",
		}, asks: map[string][]string{"page_size": {"4k"}},
		errs: map[string]error{"/proc/1/comm": fs.ErrPermission},
	}
	f, gaps := identityOf(m)
	wantScalars(t, f, map[string]string{
		"memory.total": `unknown: not understood: "MemTotal:   lots kB\n"`,
		"cpus":         "unknown: has no line of a processor",
		"page_size":    `unknown: not understood: "4k"`,
		"host.init":    "unknown: permission denied: run as root",
		"host.os":      "absent: not in /etc/os-release",
	})
	if !slices.ContainsFunc(gaps, func(g advisor.Gap) bool { return g.Source == "/proc/meminfo" && g.Notice }) {
		t.Errorf("%v", gaps)
	}
}

func TestCPUs(t *testing.T) {
	for list, want := range map[string]string{
		"0": "1", "0-3": "4", "0-3,8-11,15": "9", "": "2", "3-1": "2", "x": "2",
	} {
		m := &memTree{files: map[string]string{
			"/sys/devices/system/cpu/online": list + "\n", "/proc/cpuinfo": "processor\t: 0\nProcessor : ARM\nprocessor 1: version = FF\n",
		}}
		if got := showFact(cpus(m)); got != want {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
}

func TestContainer(t *testing.T) {
	machine, inner := "pid:[4026531836]", "pid:[4026532200]"
	for name, c := range map[string]struct {
		ns, mark, want string
	}{
		"machine":                {machine, "", "false"},
		"docker":                 {inner, "/.dockerenv", "true"},
		"pod without a mark":     {inner, "", "true"},
		"image run as a machine": {machine, "/.dockerenv", "unknown: /.dockerenv says container, but the process namespace is the machine's"},
		"mark alone":             {"", "/run/systemd/container", "true"},
		"nothing":                {"", "", "unknown: neither a container's mark nor /proc/self/ns/pid could be read"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memTree{kind: "capture", files: map[string]string{c.mark: ""}, asks: map[string][]string{"ns/pid": {c.ns}}}
			if c.ns == "" {
				m.asks = nil
			}
			if got := showFact(container(m)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestCmdlineSysctls(t *testing.T) {
	line := `quiet sysctl.net.core.somaxconn=4096 password=x sysctl/kernel/pid_max="7 8" sysctl.a sysctlx.b=1 ` +
		`"sysctl.vm.x=1 2" sysctl. -- sysctl.late=1` + "\n"
	for name, m := range map[string]*memTree{
		"directory": {files: map[string]string{"/proc/cmdline": line}},
		"capture": {kind: "capture", asks: map[string][]string{
			"cmdline_sysctls": {"sysctl.net.core.somaxconn=4096\nsysctl/kernel/pid_max=\"7 8\"\n\"sysctl.vm.x=1 2\""},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := identityOf(m)
			var got []string
			for _, r := range f.Table("cmdline_sysctls").Rows {
				got = append(got, showFact(r.Cells["key"])+"="+showFact(r.Cells["value"]))
			}
			if want := []string{"net.core.somaxconn=4096", "kernel.pid_max=7 8", "vm.x=1 2"}; !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
		})
	}
	f, _ := identityOf(&memTree{kind: "capture", asks: map[string][]string{"cmdline_sysctls": nil}})
	if tab := f.Table("cmdline_sysctls"); tab.Absent+tab.Unknown != "" || len(tab.Rows) > 0 {
		t.Errorf("%+v", tab)
	}
}

func FuzzIdentityParsers(f *testing.F) {
	f.Add([]byte("ID=\"a\\\"b'\nX='"), "6.1.0-18-amd64", "sysctl.a.b=\"c d\" -- x")
	f.Fuzz(func(t *testing.T, data []byte, release, line string) {
		for _, a := range parseOSRelease(data) {
			if a.origin.Start < 0 || a.origin.End > len(data) || a.origin.Start >= a.origin.End {
				t.Errorf("%+v of %d bytes", a, len(data))
			}
		}
		if compareReleases(release, line) != -compareReleases(line, release) {
			t.Errorf("%q and %q", release, line)
		}
		for _, w := range cmdlineWords(line) {
			cmdlineSysctl(w)
		}
		countList(release)
		shellUnquote(line)
	})
}
