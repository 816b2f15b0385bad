package host

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcpadvise/tcpadvise/advisor"
)

const systemdBinary = "/lib/systemd/systemd"

// unitTree writes files below a directory that each user may read; a text "-> TARGET" is a link, absolute within the tree.
func unitTree(t *testing.T, files map[string]string) (string, tree) {
	t.Helper()
	root := t.TempDir()
	readable(t, root)
	for name, text := range files {
		file := root + name
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		target, isLink := strings.CutPrefix(text, "-> ")
		if isLink && target != "/dev/null" { // relative, so that it leads to the same file in and out of the tree
			target = strings.Repeat("../", strings.Count(name, "/")-1) + target[1:]
		}
		err := os.WriteFile(file, []byte(text), 0o644)
		if isLink {
			err = os.Remove(file)
			if err == nil {
				err = os.Symlink(target, file)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	d, err := newDirTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return root, d
}

// readable lets each user into a directory of this test.
func readable(t *testing.T, dir string) {
	t.Helper()
	for ; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// systemdLimits asks systemd itself: it loads all units in test mode and prints the limits of each.
func systemdLimits(t *testing.T, root string, units []string) map[string]string {
	t.Helper()
	if _, err := os.Stat(systemdBinary); err != nil {
		t.Fatal("systemd is not installed: apt-get install systemd")
	}
	lib := filepath.Join(root, "usr/lib/systemd/system")
	for _, target := range []string{"sysinit.target", "basic.target", "shutdown.target"} {
		if err := os.WriteFile(filepath.Join(lib, target), []byte("[Unit]\nDefaultDependencies=no\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all := "[Unit]\nDefaultDependencies=no\nWants=" + strings.Join(units, " ") + "\n"
	if err := os.WriteFile(filepath.Join(lib, "all.target"), []byte(all), 0o644); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, dir := range unitDirs() {
		dirs = append(dirs, filepath.Join(root, dir))
	}
	home := filepath.Join(root, "home")
	if err := os.Mkdir(home, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), systemdBinary, "--test", "--system", "--unit=all.target", "--log-level=debug", "--log-target=console", "--no-pager")
	cmd.Env = []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home, "TMPDIR=" + home, "SYSTEMD_UNIT_PATH=" + strings.Join(dirs, ":")}
	cmd.WaitDelay = time.Minute
	if os.Geteuid() == 0 { // it refuses to test as root
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var log bytes.Buffer
	cmd.Stderr = &log // apart from the units: written together, a message may stand in the middle of a line of theirs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, log.Bytes())
	}
	found := map[string]string{}
	unit, hard := "", ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "-> Unit "); ok {
			unit = strings.TrimSuffix(name, ":")
		}
		if value, ok := strings.CutPrefix(line, "LimitNOFILE: "); ok {
			hard = value
		}
		if value, ok := strings.CutPrefix(line, "LimitNOFILESoft: "); ok {
			found[unit] = strings.ReplaceAll(value+":"+hard, "18446744073709551615", "infinity")
		}
	}
	return found
}

// showLimit is a limit as systemdLimits has it.
func showLimit(l unitNoFile) string {
	text := func(f advisor.Fact) string { return strings.ReplaceAll(showFact(f), "unlimited", "infinity") }
	return text(l.soft) + ":" + text(l.hard)
}

// TestUnitLimitsAgreeWithSystemd compares values, syntax and precedence with systemd itself.
func TestUnitLimitsAgreeWithSystemd(t *testing.T) {
	const etc, run, lib = "/etc/systemd/system/", "/run/systemd/system/", "/usr/lib/systemd/system/"
	const service = "[Service]\nExecStart=/bin/true\n"
	files := map[string]string{lib + "plain.service": service}
	var units []string
	add := func(name string, more map[string]string) {
		units = append(units, name)
		for file, text := range more {
			files[file] = text
		}
	}
	for i, text := range []string{
		"LimitNOFILE=", "LimitNOFILE=infinity", "LimitNOFILE=16:infinity", "LimitNOFILE=infinity:16", "LimitNOFILE=32:16", "LimitNOFILE=16 : 32",
		"LimitNOFILE=16: 32", "LimitNOFILE=:32", "LimitNOFILE=16:", "LimitNOFILE=0x20", "LimitNOFILE=040", "LimitNOFILE=+40", "LimitNOFILE=-1",
		"LimitNOFILE=40 # c", "LimitNOFILE=\"40\"", "LimitNOFILE=1K", "LimitNOFILE=1073741816", "LimitNOFILE=99999999999999999999",
		"LimitNOFILE = 41", "  LimitNOFILE=42", "limitnofile=43", "[service]\nLimitNOFILE=44", "[Service] \nLimitNOFILE=45", "[Service] # x\nLimitNOFILE=46",
		"LimitNOFILE=4\\\n7", "LimitNOFILE=4\\\n# c\n7", "LimitNOFILE=\\\n# c\n\\\n48", "Foo=x\\\nLimitNOFILE=49", "Foo=x\\\\\nLimitNOFILE=50",
		"Foo=x\\\n\nLimitNOFILE=51", "# c\\\nLimitNOFILE=52", "LimitNOFILE=0b101", "LimitNOFILE=unlimited", "LimitNOFILE=55\r\nFoo=3", "Foo\nLimitNOFILE=56",
		"[Foo\nLimitNOFILE=57", "LimitNOFILE=58\\", "LimitNOFILE=1_000", "LimitNOFILE=60:INFINITY", "LimitNOFILE=61,62", "LimitNOFILE=%i", "LimitNOFILE=64;65",
		"LimitNOFILE=infinity:infinity", "LimitNOFILE=0o101", "=5\nLimitNOFILE=66", "LimitNOFILE==67", "LimitNOFILE=6 8", "Foo=x\\\n  ; c\n\\\nLimitNOFILE=70",
		"[X-Foo]\nLimitNOFILE=71", "[Unit]\nLimitNOFILE=72\n[Service]\nLimitNOFILE=73", "LimitNOFILE=74\rLimitNOFILE=75", "LimitNOFILE=76\nLimitNOFILE=x", "LimitNOFILE=0",
		"LimitNOFILE= 16:\t32 ", "LimitNOFILE=00", "LimitNOFILE=08", "LimitNOFILE=0x", "LimitNOFILE=+", "LimitNOFILE=++5", "LimitNOFILE=9223372036854775807",
	} {
		name := fmt.Sprintf("v%d.service", i)
		add(name, map[string]string{lib + name: service + "LimitNOFILE=77\n" + text + "\n"})
	}
	set := func(n int) string { return fmt.Sprintf("[Service]\nLimitNOFILE=%d\n", n) }
	add("plain.service", nil)
	add("dropin.service", map[string]string{lib + "dropin.service": service + "LimitNOFILE=1", lib + "dropin.service.d/a.conf": set(2)})
	add("order.service", map[string]string{ // by name, whichever directory
		lib + "order.service": service, etc + "order.service.d/10.conf": set(1), run + "order.service.d/20.conf": set(2), lib + "order.service.d/15.conf": set(3),
	})
	add("hidden.service", map[string]string{lib + "hidden.service": service, etc + "hidden.service.d/x.conf": set(1), lib + "hidden.service.d/x.conf": set(2)})
	add("null.service", map[string]string{lib + "null.service": service, etc + "null.service.d/x.conf": "-> /dev/null", lib + "null.service.d/x.conf": set(2), lib + "null.service.d/a.conf": set(3)})
	add("empty.service", map[string]string{lib + "empty.service": service, etc + "empty.service.d/x.conf": "", lib + "empty.service.d/x.conf": set(2), lib + "empty.service.d/a.conf": set(3)})
	add("over.service", map[string]string{lib + "over.service": service + "LimitNOFILE=1", etc + "over.service": service + "LimitNOFILE=2", run + "over.service": service + "LimitNOFILE=3"})
	add("a-b-c.service", map[string]string{lib + "a-b-c.service": service, etc + "a-b-.service.d/x.conf": set(1), etc + "a-.service.d/x.conf": set(2), etc + "a-.service.d/y.conf": set(3)})
	add("p-q.service", map[string]string{lib + "p-q.service": service, etc + "p-.service.d/x.conf": set(1), run + "p-q.service.d/x.conf": set(2)})
	add("inst@one.service", map[string]string{lib + "inst@.service": service + "LimitNOFILE=1", etc + "inst@.service.d/x.conf": set(2), etc + "inst@one.service.d/x.conf": set(3)})
	add("inst@two.service", nil)
	add("inst@own.service", map[string]string{etc + "inst@own.service": service})
	add("d-i@x.service", map[string]string{lib + "d-i@.service": service, etc + "d-@x.service.d/a.conf": set(1), etc + "d-@.service.d/b.conf": set(2), etc + "d-i@.service.d/a.conf": set(3)})
	add("-lead-x.service", map[string]string{lib + "-lead-x.service": service, etc + "-lead-.service.d/a.conf": set(1), etc + "-.service.d/b.conf": set(2)})
	add("twice--x.service", map[string]string{lib + "twice--x.service": service, etc + "twice--.service.d/a.conf": set(1), etc + "twice-.service.d/b.conf": set(2)})
	add("real.service", map[string]string{lib + "real.service": service, etc + "alias.service": "-> " + lib + "real.service", etc + "alias.service.d/a.conf": set(5), etc + "real.service.d/a.conf": set(6)})
	add("linked.service", map[string]string{"/opt/linked.service": service + "LimitNOFILE=7", etc + "linked.service": "-> /opt/linked.service"})
	add("dots.service", map[string]string{lib + "dots.service": service, etc + "dots.service.d/.x.conf": set(8), etc + "dots.service.d/x.conf~": set(9), etc + "dots.service.d/x": set(9)})
	add("stopped.service", map[string]string{lib + "stopped.service": service, etc + "stopped.service.d/x.conf": "[Service]\nLimitNOFILE=10\n[Service\nLimitNOFILE=11\n"})
	add("kind.service", map[string]string{lib + "kind.service": service + "LimitNOFILE=9"})
	root, d := unitTree(t, files)
	want := systemdLimits(t, root, units)
	u := newUnits(d)
	for _, unit := range units {
		got := u.noFile(unit)
		text := showLimit(got)
		switch {
		case strings.Contains(text, "refuses the unit"):
			text = ""
		case !got.written:
			text = want["plain.service"]
		}
		if text != want[unit] {
			t.Errorf("%s: %s, systemd says %s (%s)\n%s", unit, text, want[unit], got.from, files[lib+unit])
		}
	}
	if refused := 2; len(want) < len(units)-refused {
		t.Errorf("systemd told of %d units only", len(want))
	}

	root, d = unitTree(t, map[string]string{ // drop-ins for all services, which would change each unit above
		lib + "a.service": service, lib + "b.service": service, lib + "c.service": service + "LimitNOFILE=9",
		etc + "service.d/m.conf": set(1), lib + "service.d/z.conf": "", run + "a.service.d/m.conf": set(2), lib + "b.service.d/n.conf": set(3),
	})
	units = []string{"a.service", "b.service", "c.service"}
	want = systemdLimits(t, root, units)
	for _, unit := range units {
		if got := showLimit(newUnits(d).noFile(unit)); got != want[unit] {
			t.Errorf("%s: %s, systemd says %s", unit, got, want[unit])
		}
	}
}

// TestUnitPathsAreSystemds compares where units are looked for, and the order of the files of system.conf.
func TestUnitPathsAreSystemds(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "unit-paths").Output()
	if err != nil {
		t.Fatal(err)
	}
	theirs := strings.Fields(string(out))
	ours := slices.DeleteFunc(unitDirs(), func(dir string) bool { return !slices.Contains(theirs, dir) }) // a merged /usr has one of two
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Error(diff)
	}
	set := func(n int) string { return fmt.Sprintf("[Manager]\nDefaultLimitNOFILE=%d\n", n) }
	root, d := unitTree(t, map[string]string{
		"/etc/systemd/system.conf": set(1), "/etc/systemd/system.conf.d/b.conf": set(2), "/usr/lib/systemd/system.conf.d/c.conf": set(3),
		"/run/systemd/system.conf.d/c.conf": set(4), "/usr/local/lib/systemd/system.conf.d/a.conf": set(5), "/usr/lib/systemd/system/x.service": "[Service]\n",
	})
	out, err = exec.Command("systemd-analyze", "--root="+root, "cat-config", "systemd/system.conf").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	last := regexp.MustCompile(`DefaultLimitNOFILE=(\d+)`).FindAllSubmatch(out, -1)
	got := newUnits(d).noFile("x.service")
	if want := string(last[len(last)-1][1]); showFact(got.soft) != want || got.written || got.place != "/run/systemd/system.conf.d/c.conf:2" {
		t.Errorf("%+v, systemd's last is %s", got, want)
	}
}

func TestUnitDefaults(t *testing.T) {
	const unit = "/usr/lib/systemd/system/x.service"
	for name, want := range map[string]string{
		"/usr/lib/systemd/libsystemd-shared-252.so":                  "1024:524288",
		"/usr/lib/systemd/libsystemd-shared-252-37.el9.so":           "1024:524288",
		"/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so": "1024:524288",
		"/usr/lib/systemd/libsystemd-shared-239.so":                  "1024:unknown: systemd's default depends on its version, which is not known",
		"/usr/lib/systemd/systemd":                                   "1024:unknown: systemd's default depends on its version, which is not known",
	} {
		got := newUnits(&memTree{files: map[string]string{unit: "[Service]\n", name: ""}}).noFile("x.service")
		if showLimit(got) != want || got.from != "systemd's default" {
			t.Errorf("%s: %s from %q", name, showLimit(got), got.from)
		}
	}
	hidden := newUnits(&memTree{files: map[string]string{unit: "[Service]\n"}, errs: map[string]error{"/etc/systemd/system": os.ErrPermission}}).noFile("x.service")
	if got := showLimit(hidden); !strings.HasPrefix(got, "unknown: /etc/systemd/system: permission denied") {
		t.Error(got)
	}
}

func TestSystemUnit(t *testing.T) {
	for cgroup, want := range map[string]bool{
		"/system.slice/nginx.service":         true,
		"/nginx.service":                      true,
		"/a.slice/a-b.slice/x.service/worker": true,
		"/user.slice/user-1000.slice/user@1000.service/app.slice/x.service":        false,
		"/system.slice/docker-0.scope":                                             true,
		"/lxc.payload.web/system.slice/nginx.service":                              false,
		"/machine.slice/systemd-nspawn@a.service/payload/system.slice/web.service": false,
		"/system.slice": false, "/": false, "": false,
	} {
		if isSystemUnit(cgroup) != want {
			t.Errorf("%s: %v", cgroup, !want)
		}
	}
}

// pamSession opens a session with pam_limits in a mount namespace that has these files in its place, and tells the result of each
// user: the limits, or "refused".
const pamSession = `
import ctypes, os, resource, sys
pam = ctypes.CDLL("libpam.so.0")
class Conversation(ctypes.Structure):
    _fields_ = [("function", ctypes.c_void_p), ("data", ctypes.c_void_p)]
for user in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        handle = ctypes.c_void_p()
        if pam.pam_start_confdir(b"limits", user.encode(), ctypes.byref(Conversation()), sys.argv[1].encode(), ctypes.byref(handle)):
            os._exit(1)
        result = pam.pam_open_session(handle, 0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        os.write(1, f"{user} {soft}:{hard} {result}\n".encode())
        os._exit(0)
    os.waitpid(child, 0)
`

func pamLimits(t *testing.T, dir string, most int, users []string) []byte {
	t.Helper()
	script := fmt.Sprintf(`mount --bind %s/etc/security /etc/security && ulimit -S -n %d && exec /usr/bin/python3 -ISc "$PAM" %s %s`, dir, most, dir, strings.Join(users, " "))
	cmd := exec.Command("unshare", "-rm", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "PAM="+pamSession)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	return out
}

// TestLoginLimitsAgreeWithPam compares with pam_limits itself, in a namespace whose /etc/security is the case's.
func TestLoginLimitsAgreeWithPam(t *testing.T) {
	users := []string{"root", "nobody", "daemon", "games"}
	const most = 4096 // each limit stays below what the test has, so that no privilege is needed
	for i, files := range []map[string]string{
		{"limits.conf": "* - nofile 1000\n"},
		{"limits.conf": "* soft nofile 3000\n* hard nofile 2000\n"},
		{"limits.conf": "* hard nofile 900\n"},
		{"limits.conf": "@nogroup - nofile 700\nnobody - nofile 600\n* - nofile 500\nnobody soft nofile 400\n@nogroup - nofile 300\n"},
		{"limits.conf": "* - nofile 500\nnobody -\n"},
		{"limits.conf": "@nogroup -\n* - nofile 345\n"},
		{"limits.conf": "* -\n* - nofile 345\n"},
		{"limits.conf": "* - nofile 500 600\n:65534 - nofile 345\n"},
		{"limits.conf": "65534:65534 - nofile 346\nnobody - nofile 200\n1: - nofile 400\n"},
		{"limits.conf": "nobody - nofile 200\n65534: - nofile 346\n0: hard nofile 333\n"},
		{"limits.conf": "@0: - nofile 200\n"},
		{"limits.conf": "@60:60 - nofile 300\n@:65534 - nofile 301\n* - nofile 200\n@games - nofile 302\n"},
		{"limits.conf": "@1:60 - nofile 300\n@nope - nofile 301\n1:x - nofile 302\n"},
		{"limits.conf": "% - nofile 345\n%nogroup - nofile 222\n"},
		{"limits.conf": "root - nofile 345\n@root - nofile 300\n"},
		{"limits.conf": "* HARD NoFile 345\n* soft NOFILE 200K\n"},
		{"limits.conf": "* - nofile 65x\n* - nofile x65\n* both nofile 300\n* - nofiles 301\n* nofile 302\n"},
		{"limits.conf": "  *\t-\tnofile\t345#comment\n#* - nofile 300\n"},
		{"limits.conf": "\tnobody\t-\tnofile\t345 \r\n*  - nofile +355\n"},
		{"limits.conf": "* - nofile 100\n", "limits.d/20.conf": "* - nofile 120\n", "limits.d/10.conf": "* - nofile 110\n"},
		{"limits.conf": "nobody - nofile 100\n", "limits.d/a.conf": "* - nofile 120\n", "limits.d/B.conf": "* - nofile 130\n", "limits.d/.z.conf": "* - nofile 140\n", "limits.d/z": "* - nofile 150\n"},
		{"limits.conf": "", "limits.d/x.conf": "nobody -\n", "limits.d/y.conf": "* - nofile 140\n"},
	} {
		dir, d := unitTree(t, prefixed("/etc/security/", files))
		os.MkdirAll(dir+"/etc/security/limits.d", 0o755)
		if err := os.WriteFile(filepath.Join(dir, "limits"), []byte("session required pam_limits.so\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		theirs := map[string]string{}
		for line := range bytes.Lines(pamLimits(t, dir, most, users)) {
			f := strings.Fields(string(line))
			theirs[f[0]] = f[1] + " " + f[2]
		}
		l := loadLimits(d)
		accounts, err := findAccounts(liveTree(t), users)
		if err != nil {
			t.Fatal(err)
		}
		var rlimit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &rlimit); err != nil {
			t.Fatal(err)
		}
		for _, user := range users {
			soft, hard := l.login(accounts[user])
			now := limitPair{advisor.Int(most), advisor.Int(int64(rlimit.Max))}
			if soft != nil {
				now.soft = soft.value
			}
			if hard != nil {
				now.hard = hard.value
			}
			if above(now.soft, now.hard) {
				now.soft = now.hard
			}
			if got := now.soft.String() + ":" + now.hard.String() + " 0"; got != theirs[user] {
				t.Errorf("case %d, %s: %s, pam_limits says %s\n%s", i, user, got, theirs[user], files)
			}
		}
	}
}

func prefixed(prefix string, files map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range files {
		out[path.Join(prefix, name)] = text
	}
	return out
}

func TestLimitsValue(t *testing.T) {
	for text, want := range map[string]string{
		"65536": "65536", "0": "0", "65,536": "65", "64k": "64", "0x10": "0", "+5": "5", "-1": "unlimited", "-": "unlimited", "unlimited": "unlimited",
		"infinity": "unlimited", "99999999999999999999": "unlimited", "max": "", "+": "", "--5": "", "${x}": "",
	} {
		got := ""
		if v := limitsValue(text); !v.IsZero() {
			got = v.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestAccountsReplay: what a capture holds of users is what was asked for, and reads back.
func TestAccountsReplay(t *testing.T) {
	passwd := "root:x:0:0:root:/root:/bin/sh\nweb user:x:33:44::/:\nother:x:1:1::/:\nroot:x:5:5:second:/:\n"
	group := "root:x:0:\na b:x:44:\nadm:x:4:other,web user\n"
	m := &memTree{files: map[string]string{"/etc/passwd": passwd, "/etc/group": group}}
	direct, err := findAccounts(m, []string{"root", "web user"})
	if err != nil {
		t.Fatal(err)
	}
	r := &memTree{kind: "capture", asks: map[string][]string{"accounts": {}}}
	for _, a := range direct {
		r.asks["accounts"] = append(r.asks["accounts"], string(a.encode()))
	}
	again, err := findAccounts(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	show := func(all map[string]*account) string {
		var out []string
		for _, a := range all {
			out = append(out, fmt.Sprintf("%+v", *a))
		}
		slices.Sort(out)
		return strings.Join(out, "\n")
	}
	if diff := cmp.Diff(show(direct), show(again)); diff != "" || !strings.Contains(show(direct), "{name:web user uid:33 gid:44 groups:[{name:a b gid:44} {name:adm gid:4}]}") || len(direct) != 2 {
		t.Errorf("%s\n%s", show(direct), diff)
	}
	for _, record := range []string{"", "x", `"a"`, `"a" 1 b`, `"a" 1 2 "g"`} {
		if _, err := findAccounts(&memTree{kind: "capture", asks: map[string][]string{"accounts": {record}}}, nil); err == nil {
			t.Errorf("%q was taken", record)
		}
	}
}

// TestKernelRefusesAboveNrOpen: the claim of fd/nofile-above-nr-open. Above fs.nr_open no privilege helps (kernel/sys.c do_prlimit).
func TestKernelRefusesAboveNrOpen(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("ulimit -H -n %d", most+1)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err == nil {
		t.Errorf("%s was taken: %s", script, out)
	}
}
