package host

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeHost is a live machine that never answers twice the same: what is recorded once must be given again.
type fakeHost struct {
	mu    sync.Mutex
	reads int
}

func (f *fakeHost) source() string { return "live" }

func (f *fakeHost) read(path string, limit int64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	switch {
	case strings.HasPrefix(path, "/denied"):
		return nil, &fs.PathError{Op: "read", Path: path, Err: unix.EACCES}
	case strings.HasPrefix(path, "/odd"):
		return nil, errors.New("what nobody\nfore\xffsaw")
	case strings.HasPrefix(path, "/large") && limit < 1<<20:
		return nil, tooLarge(path, limit)
	case strings.HasPrefix(path, "/large"):
		return bytes.Repeat([]byte("large "), 1<<17), nil
	}
	return fmt.Appendf(nil, "%s password=hunter2 read %d", path, f.reads), nil
}

func (f *fakeHost) list(path string) ([]entry, error) {
	var names []entry
	for i, m := range letterTypes() {
		names = append(names, entry{fmt.Sprintf("%c %d\n%%\xff", 'a'+i, i), m})
	}
	return names, nil
}

func (f *fakeHost) resolve(path string) (string, error) { return "socket:[\xff]", nil }

func (f *fakeHost) ask(_ string, live func(func([]byte) error) error, use func([]byte) error) error {
	return live(use)
}

func hide(_ string, content []byte) []byte {
	return bytes.ReplaceAll(content, []byte("hunter2"), []byte("*******"))
}

func testManifest() captureManifest {
	return captureManifest{Tool: "0.1.0", Time: time.Date(2025, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))}
}

func record1(t testing.TB, inner tree, use func(r *recorder)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "host.tar.gz")
	r, err := newRecorder(inner, path, testManifest(), hide)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Abort()
	use(r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func open1(t testing.TB, path string) *captureTree {
	t.Helper()
	c, err := openCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCaptureReplaysTree(t *testing.T) {
	for _, limit := range []int64{1 << 20, 3} {
		root := nastyRoot(t)
		d, _ := newDirTree(root)
		plain := answers(d, nastyPaths(), limit)
		var recorded map[string]string
		path := record1(t, d, func(r *recorder) {
			recorded = answers(r, nastyPaths(), limit)
			wantSame(t, answers(r, nastyPaths(), limit), recorded) // again, from what is recorded
			if err := r.ask("sock", nil, nil); !errors.Is(err, errNotLive) {
				t.Error(err)
			}
		})
		wantSame(t, recorded, plain)
		c := open1(t, path)
		wantSame(t, answers(c, nastyPaths(), limit), recorded)
		if err := c.ask("sock", nil, nil); !errors.Is(err, errNotLive) || err.Error() != "ask sock: needs a running kernel" {
			t.Error(err)
		}
	}
}

func TestCaptureIsOneLook(t *testing.T) {
	host := &fakeHost{}
	paths := []string{"/etc/x", "/denied", "/odd", "/odd\xff\n%", "//", "/a/../b", "/large"}
	var recorded map[string]string
	path := record1(t, host, func(r *recorder) {
		recorded = answers(r, paths, 1000)
		wantSame(t, answers(r, paths, 1000), recorded)
		if host.reads != len(paths) {
			t.Errorf("%d reads of %d paths", host.reads, len(paths))
		}
		if b, _ := r.read("/etc/x", 1000); !bytes.Contains(b, []byte("password=*******")) {
			t.Errorf("not masked: %s", b)
		}
	})
	c := open1(t, path)
	wantSame(t, answers(c, paths, 1000), recorded)
	if got := c.manifest(); got.Tool != "0.1.0" || got.Source != "live" || got.Time.String() != "2025-01-02 02:04:05 +0000 UTC" || c.source() != "capture" {
		t.Errorf("%+v", got)
	}
	if raw := unpackAll(t, path); bytes.Contains(raw, []byte("hunter2")) {
		t.Error("the secret is in the capture")
	}
}

func TestCaptureLimitsOfReads(t *testing.T) {
	const size = 6 << 17
	path := record1(t, &fakeHost{}, func(r *recorder) {
		for _, limit := range []int64{10, 5, 20, 1 << 20, 10} {
			b, err := r.read("/large", limit)
			if large := limit < 1<<20; large != errors.Is(err, errTooLarge) || !large && len(b) != size {
				t.Errorf("limit %d: %d, %v", limit, len(b), err)
			}
		}
		r.read("/large2", 100)
	})
	c := open1(t, path)
	for limit, want := range map[int64]error{10: errTooLarge, size - 1: errTooLarge, size: nil, 1 << 30: nil} {
		if b, err := c.read("/large", limit); !errors.Is(err, want) || want == nil && len(b) != size {
			t.Errorf("limit %d: %d, %v", limit, len(b), err)
		}
	}
	for limit, want := range map[int64]error{100: errTooLarge, 99: errTooLarge, 101: errNotCaptured} {
		if _, err := c.read("/large2", limit); !errors.Is(err, want) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

func TestCaptureNotCaptured(t *testing.T) {
	c := open1(t, record1(t, &fakeHost{}, func(*recorder) {}))
	_, err1 := c.read("/etc/x", 1)
	_, err2 := c.list("/etc")
	_, err3 := c.resolve("/etc")
	err4 := c.ask("sock_diag", nil, nil)
	for _, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, errNotCaptured) || errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), ": not in this capture") {
			t.Error(err)
		}
	}
}

// pieces are random enough not to shrink to nothing, and of all sizes.
func pieces(n, max int) [][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	all := make([][]byte, n)
	for i := range all {
		all[i] = make([]byte, rnd.IntN(max))
		for j := range all[i] {
			all[i][j] = byte(rnd.IntN(16))
		}
	}
	return all
}

func source(all [][]byte, end error) func(func([]byte) error) error {
	return func(emit func([]byte) error) error {
		buf := []byte{}
		for _, p := range all {
			buf = append(buf[:0], p...) // the same buffer: nobody may keep a piece
			if err := emit(buf); err != nil {
				return fmt.Errorf("the source adds its words: %w", err)
			}
		}
		return end
	}
}

func gather(tr tree, name string, live func(func([]byte) error) error, stopAt int) ([][]byte, error) {
	var got [][]byte
	err := tr.ask(name, live, func(p []byte) error {
		got = append(got, bytes.Clone(p))
		if len(got) == stopAt {
			return io.EOF // what a collector says is its own affair
		}
		return nil
	})
	return got, err
}

func TestCaptureAsk(t *testing.T) {
	all := pieces(900, 1000)
	denied := fmt.Errorf("dump of tcp6: %w (run as root)", unix.EPERM)
	asks := []struct {
		name string
		live func(func([]byte) error) error
		stop int
		n    int
		end  string
	}{
		{"sock_diag/4/listen", source(all, nil), 0, len(all), "[] <nil>"},
		{"none", source(nil, nil), 0, 0, "[] <nil>"},
		{"denied", source(nil, denied), 0, 0, "[permission] " + denied.Error()},
		{"late/../%\xff", source(all[:400], denied), 0, 400, "[permission] " + denied.Error()},
		{"stopped", source(all, nil), 700, 700, "[] EOF"},
		{"stopped on the last", source(all[:5], denied), 5, 5, "[] EOF"},
	}
	check := func(tr tree, how string) {
		t.Helper()
		for _, a := range asks {
			got, err := gather(tr, a.name, a.live, a.stop)
			end := "[] <nil>"
			if err != nil {
				end = show(nil, err)
			}
			if len(got) != a.n || end != a.end {
				t.Errorf("%s %s: %d pieces, %s; want %d, %s", how, a.name, len(got), end, a.n, a.end)
			}
			for i := range got {
				if !bytes.Equal(got[i], all[i]) {
					t.Fatalf("%s %s: piece %d differs", how, a.name, i)
				}
			}
		}
	}
	path := record1(t, &fakeHost{}, func(r *recorder) {
		check(r, "recording")
		check(r, "from the recording")
		if got, err := gather(r, "stopped", nil, 0); len(got) != 700 || !errors.Is(err, errNotCaptured) {
			t.Error(len(got), err)
		}
	})
	c := open1(t, path)
	check(c, "replay")
	if got, err := gather(c, "stopped", nil, 0); len(got) != 700 || !errors.Is(err, errNotCaptured) {
		t.Error(len(got), err)
	}
}

// A replay of 40 MiB holds no more than a chunk of it at a time.
func TestCaptureAskStreams(t *testing.T) {
	piece := bytes.Repeat([]byte("0123456789abcdef"), 2048)
	path := record1(t, &fakeHost{}, func(r *recorder) {
		r.ask("big", func(emit func([]byte) error) error {
			for range 1280 {
				if err := emit(piece); err != nil {
					return err
				}
			}
			return nil
		}, func([]byte) error { return nil })
	})
	c := open1(t, path)
	n, peak := 0, uint64(0)
	if err := c.ask("big", nil, func(p []byte) error {
		if n += len(p); n%(8<<20) == 0 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
		return nil
	}); err != nil || n != 40<<20 {
		t.Error(n, err)
	}
	if peak > 16<<20 {
		t.Errorf("%d bytes held", peak)
	}
}

func TestCaptureConcurrent(t *testing.T) {
	all := pieces(100, 3000)
	var answered [8]map[string]string
	var paths []string
	for i := range 200 {
		paths = append(paths, fmt.Sprintf("/etc/%d", i))
	}
	path := record1(t, &fakeHost{}, func(r *recorder) {
		var wg sync.WaitGroup
		for i := range answered {
			wg.Go(func() {
				answered[i] = answers(r, paths, 1000)
				for _, name := range []string{"shared", fmt.Sprint("own/", i)} {
					if got, err := gather(r, name, source(all, nil), 0); len(got) != len(all) || err != nil {
						t.Error(name, len(got), err)
					}
				}
			})
		}
		wg.Wait()
	})
	c := open1(t, path)
	var wg sync.WaitGroup
	for i := range answered {
		wg.Go(func() {
			wantSame(t, answers(c, paths, 1000), answered[i])
			if got, err := gather(c, "shared", nil, 0); len(got) != len(all) || err != nil {
				t.Error(len(got), err)
			}
		})
	}
	wg.Wait()
}

func dirNames(t *testing.T, dir string) string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Name())
	}
	return strings.Join(names, " ")
}

func TestCaptureFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar.gz")
	os.WriteFile(path, []byte("an older one"), 0o644)
	begin := func() *recorder {
		r, err := newRecorder(&fakeHost{}, path, testManifest(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.read("/etc/x", 1000)
		return r
	}
	r := begin()
	r.Abort()
	r.Abort()
	if b, _ := os.ReadFile(path); string(b) != "an older one" || dirNames(t, dir) != "x.tar.gz" {
		t.Errorf("after Abort: %q in %s", b, dirNames(t, dir))
	}
	if err := r.Close(); err == nil {
		t.Error("Close after Abort says all is well")
	}
	r = begin()
	r.left.total = 1
	if b, err := r.read("/etc/y", 1000); err != nil || len(b) == 0 {
		t.Errorf("a full disk must not disturb a collector: %v", err)
	}
	if err := r.Close(); !errors.Is(err, errCaptureLimit) || dirNames(t, dir) != "x.tar.gz" {
		t.Errorf("%v, and left: %s", err, dirNames(t, dir))
	}
	r = begin()
	busy := r.ask("x", func(func([]byte) error) error { return r.Close() }, nil)
	if busy == nil || dirNames(t, dir) != "x.tar.gz" {
		t.Errorf("closed in an ask: %v, and left: %s", busy, dirNames(t, dir))
	}
	r = begin()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.Abort()
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || dirNames(t, dir) != "x.tar.gz" {
		t.Errorf("%v, %v, left: %s", info.Mode(), err, dirNames(t, dir))
	}
	first, _ := os.ReadFile(path)
	r = begin()
	r.Close()
	if second, _ := os.ReadFile(path); !bytes.Equal(first, second) {
		t.Error("the same answers make other bytes")
	}
	open1(t, path)
}

func TestCaptureRefusesTarget(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	os.Symlink("/dev/null", link)
	for _, p := range []string{"/dev/null", link, dir, filepath.Join(dir, "no/such/x.tgz")} {
		if _, err := newRecorder(&fakeHost{}, p, testManifest(), nil); err == nil || !strings.HasPrefix(err.Error(), "capture "+p+": ") || strings.Contains(err.Error(), ".tmp") {
			t.Errorf("%s: %v", p, err)
		}
	}
	if dirNames(t, dir) != "link" {
		t.Errorf("left: %s", dirNames(t, dir))
	}
}

func TestCaptureDamaged(t *testing.T) {
	path := record1(t, &fakeHost{}, func(r *recorder) {
		answers(r, []string{"/a", "/denied", "/b"}, 1000)
		gather(r, "sock", source(pieces(50, 200), nil), 0)
	})
	whole, _ := os.ReadFile(path)
	broken := filepath.Join(t.TempDir(), "broken.tgz")
	try := func(what string, content []byte, want string) {
		t.Helper()
		os.WriteFile(broken, content, 0o600)
		_, err := openCapture(broken)
		if err == nil || !strings.HasPrefix(err.Error(), "capture "+broken+": ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := 0; n < len(whole); n += 17 {
		try(fmt.Sprint("cut at ", n), whole[:n], "cut short: copy it again")
	}
	try("cut at the last byte", whole[:len(whole)-1], "cut short: copy it again")
	for n := 10; n < len(whole); n += 23 {
		bad := bytes.Clone(whole)
		if bad[n] ^= 0x10; bytes.Equal(unzip(bad), unzip(whole)) {
			continue // RFC 1951, 3.2.4: the bits up to the byte boundary of a stored block mean nothing
		}
		try(fmt.Sprint("flipped at ", n), bad, "tcpadvise capture -o FILE")
	}
	try("junk behind", append(bytes.Clone(whole), "junk"...), "")
	try("text", []byte("net.ipv4.tcp_sack = 1\n"), "not a capture of tcpadvise")
	try("other archive", packAll(t, "etc/passwd", "x"), "not a capture of tcpadvise")
	try("zip of a text", zipped(bytes.Repeat([]byte("text "), 1000)), "not a capture of tcpadvise")
	try("other format", packAll(t, manifestName, `{"format":"sosreport/1"}`), "not a capture of tcpadvise")
	try("newer", packAll(t, manifestName, `{"format":"tcpadvise.capture/2","tool":{}}`), `newer tcpadvise: update tcpadvise`)
	const manifest = `{"format":"tcpadvise.capture/1","time":"2025-01-02T03:04:05Z"}`
	try("no end", packAll(t, manifestName, manifest, "read/x", "1"), "cut short")
	for _, name := range []string{
		"read/../x", "read/./x", "read//x", "read/x%2f", "read/%00x", "other/x", "read", "list/x", "resolve/x", "failed/x%error",
		"failed/read/x", "ask/x", "ask/x%2", "ask/%1", "read/%", "/read/x", "../read/x",
	} {
		try(name, packAll(t, manifestName, manifest, name, "x 1\n", endName, `{"entries":2}`), "damaged")
	}
	for _, name := range []string{".", "..", "a/b", "%00", ""} {
		try("listing "+name, packAll(t, manifestName, manifest, "list/x%list", "- "+name+"\n", endName, `{"entries":2}`), "damaged")
	}
	try("miscounted", packAll(t, manifestName, manifest, endName, `{"entries":2}`), "damaged (entries are missing)")
	try("after the end", packAll(t, manifestName, manifest, endName, `{"entries":1}`, "read/x", "1"), "damaged (more after the end)")
	try("no end of answer", packAll(t, manifestName, manifest, "ask/x%1", "", endName, `{"entries":2}`), "damaged")
	for _, p := range []string{filepath.Dir(broken), "/no/such.tgz"} {
		if _, err := openCapture(p); err == nil || !strings.HasPrefix(err.Error(), "capture "+p+": ") {
			t.Error(err)
		}
	}
}

func TestCaptureBombs(t *testing.T) {
	const manifest = `{"format":"tcpadvise.capture/1","time":"2025-01-02T03:04:05Z"}`
	limits := captureLimits{total: 1 << 20, entry: 1 << 19, names: 1000, entries: 20}
	many := []string{manifestName, manifest}
	for i := range 30 {
		many = append(many, fmt.Sprint("read/", i), "")
	}
	zeros := strings.Repeat("\x00", 1<<18)
	for what, archive := range map[string][]byte{
		"large entry": packAll(t, manifestName, manifest, "read/x", strings.Repeat("\x00", 1<<19+1)),
		"all":         packAll(t, manifestName, manifest, "read/1", zeros, "read/2", zeros, "read/3", zeros, "read/4", zeros),
		"many":        packAll(t, many...),
		"names":       packAll(t, manifestName, manifest, "read/"+strings.Repeat("x", 1100), ""),
		"padding":     zipped(append(unzip(packAll(t, manifestName, manifest, endName, `{"entries":1}`)), make([]byte, 4<<20)...)),
		"sparse":      zipped(sparseBomb(1 << 40)),
	} {
		if _, err := readCapture(bytes.NewReader(archive), limits); !errors.Is(err, errCaptureLimit) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// sparseBomb is a tar of one PAX sparse file (GNU format 1.0): no data, and any size.
func sparseBomb(size int64) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	line := func(k, v string) string {
		for n := 0; ; n++ {
			if s := fmt.Sprintf("%d %s=%s\n", n, k, v); len(s) == n {
				return s
			}
		}
	}
	pax := line("GNU.sparse.major", "1") + line("GNU.sparse.minor", "0") + line("GNU.sparse.name", "read/x") + line("GNU.sparse.realsize", fmt.Sprint(size))
	w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: int64(len(pax))})
	io.WriteString(w, pax)
	w.WriteHeader(&tar.Header{Name: "read/x", Typeflag: tar.TypeReg, Size: 512})
	w.Write(append([]byte("0\n"), make([]byte, 510)...))
	w.Close()
	raw := b.Bytes()
	raw[156] = 'x' // the type: a PAX header, which package tar does not let us write
	copy(raw[148:156], "        ")
	sum := 0
	for _, c := range raw[:512] {
		sum += int(c)
	}
	copy(raw[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return raw
}

func packAll(t testing.TB, namesAndBodies ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(namesAndBodies); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: namesAndBodies[i], Typeflag: tar.TypeReg, Size: int64(len(namesAndBodies[i+1]))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, namesAndBodies[i+1])
	}
	w.Close()
	return zipped(b.Bytes())
}

func zipped(raw []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(raw)
	w.Close()
	return b.Bytes()
}

func unzip(b []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	raw, _ := io.ReadAll(r)
	return raw
}

func unpackAll(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return unzip(b)
}

// TestCaptureNamesRoundTrip: two paths never share a name, and no name climbs.
func TestCaptureNamesRoundTrip(t *testing.T) {
	for _, s := range []string{"", ".", "..", "/", "a", "a/", "a//b", "../..", "%", "%41", "a b\n\xff", "...", ".a", "é", "%list"} {
		e := escape(s)
		if got, err := unescape(e); err != nil || got != s {
			t.Errorf("%q: %q: %q, %v", s, e, got, err)
		}
		if !fs.ValidPath(e) {
			t.Errorf("%q: unpacks elsewhere: %q", s, e)
		}
	}
}

func FuzzOpenCapture(f *testing.F) {
	path := record1(f, &fakeHost{}, func(r *recorder) {
		answers(r, []string{"/a", "/denied", "/large"}, 100)
		gather(r, "sock", source(pieces(5, 20), unix.EPERM), 0)
	})
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, false)
	f.Add(unzip(whole), true) // past the checksum of gzip
	f.Add(sparseBomb(1<<40), true)
	f.Fuzz(func(t *testing.T, b []byte, zip bool) {
		if zip {
			b = zipped(b)
		}
		c, err := readCapture(bytes.NewReader(b), captureLimits{total: 1 << 22, entry: 1 << 20, names: 1 << 16, entries: 1000})
		if err != nil {
			if text := explainCapture(err).Error(); text == "" || strings.Contains(text, "\n") {
				t.Errorf("%q", text)
			}
			return
		}
		for k := range c.records {
			answers(c, []string{k.path}, 1<<20)
		}
		for name := range c.asks {
			c.ask(name, nil, func([]byte) error { return nil })
		}
	})
}
