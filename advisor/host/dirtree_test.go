package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nastyRoot builds a directory that tries to lead a reader out of it. It returns a tree below it for each way to
// resolve links; outside holds a secret that no tree may show.
func nastyRoot(t *testing.T) (root string) {
	t.Helper()
	top := t.TempDir()
	root = filepath.Join(top, "root")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"etc/sysctl.d", "usr/lib", "dir/sub", "empty"} {
		must(os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	must(os.WriteFile(filepath.Join(top, "secret"), []byte("outside"), 0o644))
	for name, content := range map[string]string{"etc/a.conf": "inside", "usr/lib/b.conf": "lib", "secret": "the one inside", "zero-length": "", "dir/sub/odd\xff name": "odd"} {
		must(os.WriteFile(filepath.Join(root, name), []byte(content), 0o644))
	}
	for name, target := range map[string]string{
		"abs": "/etc/a.conf", "rel": "etc/a.conf", "etc/up": "../../../../../../secret", "absup": "/../../secret",
		"out": filepath.Join(top, "secret"), "loop1": "loop2", "loop2": "loop1", "self": "self", "dangling": "/nope",
		"etc/sysctl.d/mask": "/dev/null", "etc/sysctl.d/relmask": "../../dev/null", "etc/sysctl.d/mask2": "mask",
		"etc/sysctl.d/notmask": "../../dev/nullx", "zero": "/dev/zero", "dirlink": "/dir", "dirlink/../up": "",
		"slash": "etc/a.conf/", "dirslash": "dir/", "rootlink": "/", "dotdot": "dir/sub/../..", "through": "dirlink/sub/..",
		"filedot": "etc/a.conf/..", "deep": "rootlink/rootlink/rootlink/abs", "etc/doubled": "//etc///a.conf",
	} {
		if target != "" {
			must(os.Symlink(target, filepath.Join(root, name)))
		}
	}
	must(os.Symlink("/etc/a.conf", filepath.Join(root, "chain0")))
	for i := 1; i <= 41; i++ {
		must(os.Symlink(fmt.Sprintf("chain%d", i-1), filepath.Join(root, fmt.Sprintf("chain%d", i))))
	}
	must(unix.Mkfifo(filepath.Join(root, "fifo"), 0o644))
	must(os.Symlink("fifo", filepath.Join(root, "fifolink")))
	sock, err := net.Listen("unix", filepath.Join(root, "sock"))
	must(err)
	t.Cleanup(func() { sock.Close() })
	return root
}

func nastyPaths() []string {
	paths := []string{
		"/", "/.", "/..", "//", "/etc", "/etc/", "/etc/a.conf", "/etc/a.conf/", "/etc/a.conf/.", "/etc/a.conf/..", "/abs", "/rel",
		"/etc/up", "/absup", "/out", "/loop1", "/loop2", "/self", "/dangling", "/dangling/x", "/etc/sysctl.d/mask", "/etc/sysctl.d/relmask",
		"/etc/sysctl.d/mask2", "/etc/sysctl.d/notmask", "/zero", "/dirlink", "/dirlink/", "/dirlink/sub", "/dirlink/sub/../../etc/a.conf",
		"/slash", "/dirslash", "/dirslash/sub", "/rootlink", "/rootlink/etc/a.conf", "/dotdot", "/through", "/filedot", "/deep",
		"/etc/doubled", "/fifo", "/fifolink", "/sock", "/zero-length", "/empty", "/secret", "/../secret", "/etc/../../secret", "/nope", "/nope/..",
		"/dir/sub/odd\xff name", "/" + strings.Repeat("x", 256), "/" + strings.Repeat("a/", 2100), "relative", "", "/a\x00b",
	}
	for i := 38; i <= 41; i++ {
		paths = append(paths, fmt.Sprintf("/chain%d", i))
	}
	return paths
}

// answers is all that a tree says, as text that two trees can be compared by.
func answers(tr tree, paths []string, limit int64) map[string]string {
	got := map[string]string{}
	for _, p := range paths {
		b, err := tr.read(p, limit)
		got["read "+p] = show(b, err)
		names, err := tr.list(p)
		got["list "+p] = show(names, err)
		target, err := tr.resolve(p)
		got["resolve "+p] = show(target, err)
	}
	return got
}

func show(v any, err error) string {
	if err == nil {
		return fmt.Sprintf("%#v", v)
	}
	var kinds []string
	for _, k := range failureKinds() {
		if errors.Is(err, k.is) {
			kinds = append(kinds, k.name)
		}
	}
	return fmt.Sprintf("%v %v", kinds, err)
}

func wantSame(t *testing.T, got, want map[string]string) {
	t.Helper()
	for what, w := range want {
		if got[what] != w {
			t.Errorf("%q:\n got  %s\n want %s", what, got[what], w)
		}
	}
}

func bothWays(t *testing.T, root string) map[string]*dirTree {
	t.Helper()
	d, err := newDirTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*dirTree{"openat2": d, "walk": {root: d.root, walkOnly: true}}
}

func TestTreeBothWaysAgree(t *testing.T) {
	root := nastyRoot(t)
	ways := bothWays(t, root)
	if fd, err := ways["openat2"].openat2("/", pathFlags); unavailable(err) {
		t.Skip("no openat2 here: nothing to compare")
	} else {
		unix.Close(fd)
	}
	want := answers(ways["openat2"], nastyPaths(), 1<<20)
	wantSame(t, answers(ways["walk"], nastyPaths(), 1<<20), want)
	for what, answer := range want {
		if strings.Contains(answer, "outside") && !strings.HasPrefix(answer, "[outside]") {
			t.Errorf("%s leads out: %s", what, answer)
		}
	}
}

func TestTreeBelowRoot(t *testing.T) {
	for way, d := range bothWays(t, nastyRoot(t)) {
		t.Run(way, func(t *testing.T) {
			for p, want := range map[string]string{
				"/abs": "inside", "/rel": "inside", "/etc/up": "the one inside", "/absup": "the one inside",
				"/deep": "inside", "/zero-length": "", "/etc/doubled": "inside", "/chain39": "inside", "/dir/sub/odd\xff name": "odd",
			} {
				b, err := d.read(p, 100)
				if err != nil || string(b) != want {
					t.Errorf("read %s: %q, %v; want %q", p, b, err, want)
				}
			}
			for p, want := range map[string]error{
				"/fifo": errNotRegular, "/fifolink": errNotRegular, "/sock": errNotRegular, "/etc": errNotRegular,
				"/zero": fs.ErrNotExist, "/out": fs.ErrNotExist, "/dangling": fs.ErrNotExist, "/loop1": errOutside, "/self": errOutside,
				"/chain40": errOutside, "/slash": unix.ENOTDIR, "relative": fs.ErrInvalid,
			} {
				if b, err := d.read(p, 100); !errors.Is(err, want) || b != nil {
					t.Errorf("read %s: %q, %v; want %v", p, b, err, want)
				} else if !strings.Contains(err.Error(), p) || strings.Contains(err.Error(), d.root) {
					t.Errorf("read %s: the error must name the host's path: %v", p, err)
				}
			}
			for p, want := range map[string]string{
				"/abs": "/etc/a.conf", "/etc/up": "/secret", "/": "/", "/dotdot": "/", "/dirlink/sub": "/dir/sub",
				"/etc/sysctl.d/mask": devNull, "/etc/sysctl.d/mask2": devNull, "/etc/sysctl.d/relmask": devNull,
			} {
				if got, err := d.resolve(p); err != nil || got != want {
					t.Errorf("resolve %s: %q, %v; want %q", p, got, err, want)
				}
			}
			for _, p := range []string{"/dangling", "/etc/sysctl.d/notmask", devNull} {
				if got, err := d.resolve(p); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("resolve %s: %q, %v; want not exist", p, got, err)
				}
			}
		})
	}
}

// A mask stays a mask where the image has something of its own at /dev/null.
func TestTreeMaskWithOddDevNull(t *testing.T) {
	root := t.TempDir()
	os.Mkdir(filepath.Join(root, "dev"), 0o755)
	os.Symlink("/dev/null", filepath.Join(root, "mask"))
	os.Symlink("../elsewhere", filepath.Join(root, "dev/null"))
	d, _ := newDirTree(root)
	if got, err := d.resolve("/mask"); got != devNull {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTreeDevices(t *testing.T) {
	root := t.TempDir()
	os.Mkdir(filepath.Join(root, "dev"), 0o755)
	os.Symlink("/dev/zero", filepath.Join(root, "zero"))
	if err := unix.Mknod(filepath.Join(root, "dev/zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil {
		t.Skip("cannot make a device: ", err)
	}
	for way, d := range bothWays(t, root) {
		for _, p := range []string{"/zero", "/dev/zero"} {
			if _, err := d.read(p, 100); !errors.Is(err, errNotRegular) {
				t.Errorf("%s: read %s: %v", way, p, err)
			}
		}
		names, err := d.list("/dev")
		if want := []entry{{"zero", fs.ModeDevice | fs.ModeCharDevice}}; err != nil || !reflect.DeepEqual(names, want) {
			t.Errorf("%s: %v, %v", way, names, err)
		}
	}
	live, _ := newDirTree("/")
	if _, err := live.read("/dev/zero", 100); !errors.Is(err, errNotRegular) {
		t.Errorf("live: %v", err)
	}
}

func TestTreeFIFODoesNotWait(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	live, _ := newDirTree("/")
	done := make(chan error, 1)
	go func() { _, err := live.read(fifo, 100); done <- err }()
	select {
	case err := <-done:
		if !errors.Is(err, errNotRegular) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("waits for a writer")
	}
}

func TestTreeLimit(t *testing.T) {
	root := t.TempDir()
	sparse, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	sparse.Truncate(1 << 30)
	sparse.Close()
	exact := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, n := range []int{4095, 4096, 4097, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1 << 20} {
		os.WriteFile(filepath.Join(root, fmt.Sprint(n)), exact[:n], 0o600)
	}
	d, _ := newDirTree(root)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = d.read("/sparse", 1<<20)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, errTooLarge) || !strings.Contains(err.Error(), "/sparse") {
		t.Errorf("1 GiB: %v", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("took %d bytes to find 1 MiB exceeded", used)
	}
	for _, n := range []int{4095, 4096, 4097, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1 << 20} {
		if b, err := d.read(fmt.Sprint("/", n), int64(n)); err != nil || !bytes.Equal(b, exact[:n]) {
			t.Errorf("%d bytes under a limit of as many: got %d, %v", n, len(b), err)
		}
		if _, err := d.read(fmt.Sprint("/", n), int64(n-1)); !errors.Is(err, errTooLarge) {
			t.Errorf("%d bytes under a limit of one less: %v", n, err)
		}
	}
}

func TestTreeLive(t *testing.T) {
	live, err := newDirTree("/.//")
	if err != nil || live.source() != "live" {
		t.Fatal(live, err)
	}
	b, err := live.read("/proc/self/status", 1<<20)
	if err != nil || !bytes.Contains(b, []byte(fmt.Sprintf("Pid:\t%d\n", os.Getpid()))) {
		t.Errorf("%s, %v", b, err)
	}
	if got, err := live.resolve("/proc/self"); got != fmt.Sprintf("/proc/%d", os.Getpid()) {
		t.Errorf("%q, %v", got, err)
	}
	sock, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	raw, _ := sock.(*net.TCPListener).SyscallConn()
	raw.Control(func(fd uintptr) {
		if got, err := live.resolve(fmt.Sprint("/proc/self/fd/", fd)); !strings.HasPrefix(got, "socket:[") {
			t.Errorf("%q, %v", got, err)
		}
	})
	if _, err := live.read("/proc/4194305/stat", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	names, err := live.list("/proc/self/task")
	if err != nil || len(names) == 0 || !names[0].Type.IsDir() {
		t.Error(names, err)
	}
}

// Below a container's root the links of /proc that stand for open files lead out, whatever their text says.
func TestTreeMagicLinks(t *testing.T) {
	for way, d := range bothWays(t, "/proc/self/root") {
		if d.source() != "root" {
			t.Fatal("taken for live")
		}
		for _, p := range []string{"/proc/self/exe", "/proc/self/root/etc/passwd", "/proc/self/cwd/x"} {
			if _, err := d.read(p, 1<<30); !errors.Is(err, errOutside) {
				t.Errorf("%s: read %s: %v", way, p, err)
			}
		}
		if b, err := d.read("/proc/mounts", 1<<20); err != nil || len(b) == 0 {
			t.Errorf("%s: %v", way, err)
		}
		if got, err := d.resolve("/proc/mounts"); got != fmt.Sprintf("/proc/%d/mounts", os.Getpid()) {
			t.Errorf("%s: %q, %v", way, got, err)
		}
	}
}

// The kernel answers a list in /proc/sys once, cut to the reader's buffer.
func TestTreeLongSysctl(t *testing.T) {
	const path = "/proc/sys/net/ipv4/ip_local_reserved_ports"
	done := make(chan string)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its own network namespace
		defer close(done)
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- "skip: " + err.Error()
			return
		}
		var ports strings.Builder
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			done <- "skip: " + err.Error()
			return
		}
		for p := 10001; p < 60000; p += 2 {
			fmt.Fprintf(&ports, "%d,", p)
			if p%1000 == 999 { // the kernel takes less than a page at a time, and adds to what the same descriptor wrote
				if _, err := f.WriteString(strings.TrimSuffix(ports.String(), ",")); err != nil {
					done <- "skip: " + err.Error()
					return
				}
				ports.Reset()
			}
		}
		f.Close()
		live, _ := newDirTree("/")
		b, err := live.read(path, 1<<20)
		done <- fmt.Sprint(strings.Count(string(b), ",")+1, " ports ", err)
	}()
	got := <-done
	if strings.HasPrefix(got, "skip") {
		t.Skip(got)
	}
	if got != "25000 ports <nil>" {
		t.Error(got)
	}
}

func TestTreeUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads all")
	}
	root := t.TempDir()
	os.WriteFile(filepath.Join(root, "x"), nil, 0)
	for way, d := range bothWays(t, root) {
		if _, err := d.read("/x", 1); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", way, err)
		}
	}
}

func TestTreeNoRoot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	for _, p := range []string{file, "/no/such/root"} {
		if _, err := newDirTree(p); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestTreeAsk(t *testing.T) {
	live, _ := newDirTree("/")
	below, _ := newDirTree(t.TempDir())
	source := func(emit func([]byte) error) error {
		for _, p := range []string{"one", "two", "three"} {
			if err := emit([]byte(p)); err != nil {
				return fmt.Errorf("wrapped by the source: %w", err)
			}
		}
		return nil
	}
	var got []string
	if err := live.ask("x", source, func(p []byte) error { got = append(got, string(p)); return nil }); err != nil || len(got) != 3 {
		t.Error(got, err)
	}
	enough := errors.New("enough")
	if err := live.ask("x", source, func(p []byte) error { return enough }); err != enough {
		t.Error(err)
	}
	if err := below.ask("x", source, nil); !errors.Is(err, errNotLive) {
		t.Error(err)
	}
}
