package host

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	sysctl "github.com/lorenzosaino/go-sysctl"
	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

func sysctlsOf(t tree, keys ...sysctlKey) (*advisor.Facts, []advisor.Gap) {
	var b advisor.Builder
	gaps := collectSysctls(context.Background(), t, &b, keys)
	return b.Facts(), gaps
}

// allSysctls are the keys of this machine, in the spelling of sysctl(8).
func allSysctls(t testing.TB) []string {
	t.Helper()
	var keys []string
	err := filepath.WalkDir(procSys, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		names := strings.Split(strings.TrimPrefix(p, procSys+"/"), "/")
		for i, name := range names {
			names[i] = strings.ReplaceAll(name, ".", "/")
		}
		keys = append(keys, strings.Join(names, "."))
		return nil
	})
	if err != nil || len(keys) < 100 {
		t.Fatalf("%d keys: %v", len(keys), err)
	}
	return keys
}

// go-sysctl and the own path code agree on each key that can be read here; what moves by itself gets a few tries.
func TestSysctlWaysAgree(t *testing.T) {
	client, err := sysctl.NewClient(procSys)
	if err != nil {
		t.Fatal(err)
	}
	live, compared := liveTree(t), 0
	for _, key := range allSysctls(t) {
		file, err := sysctlPath(key)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if isSecret(key) || strings.Contains(key, "/") || strings.HasPrefix(key, "kernel.random.") || key == "fs.file-nr" {
			continue // the last two change while they are read
		}
		var differ string
		for range 5 {
			s := getSysctl(client, key)
			data, err := live.read(file, 1<<20)
			differ = ""
			if (s.err == nil) != (err == nil) || s.text != strings.TrimSpace(string(data)) {
				differ = fmt.Sprintf("%s: go-sysctl %q %v, own %q %v", key, s.text, s.err, data, err)
				continue
			}
			compared++
			break
		}
		if differ != "" {
			t.Error(differ)
		}
	}
	t.Logf("compared %d keys", compared)
}

func TestSysctlsLive(t *testing.T) {
	live := liveTree(t)
	f, gaps := sysctlsOf(live,
		sysctlKey{"net.core.somaxconn", advisor.TypeInteger}, sysctlKey{"net.ipv4.ip_local_port_range", advisor.TypeTuple},
		sysctlKey{"net.ipv4.ip_local_reserved_ports", advisor.TypePorts}, sysctlKey{"net.ipv4.conf.lo.rp_filter", advisor.TypeInteger},
		sysctlKey{"net.ipv4.tcp_congestion_control", advisor.TypeText}, sysctlKey{"net.ipv4.tcp_tw_recycle", advisor.TypeInteger},
		sysctlKey{"net.ipv4.tcp_fastopen_key", advisor.TypeText}, sysctlKey{"kernel.shmmax", advisor.TypeInteger},
		sysctlKey{"fs.file-max", advisor.TypeInteger},
	)
	for key, kind := range map[string]advisor.Kind{
		"net.core.somaxconn": advisor.KindInt, "net.ipv4.ip_local_port_range": advisor.KindTuple,
		"net.ipv4.ip_local_reserved_ports": advisor.KindPorts, "net.ipv4.conf.lo.rp_filter": advisor.KindInt,
		"net.ipv4.tcp_congestion_control": advisor.KindText, "fs.file-max": advisor.KindInt,
	} {
		fact := f.Member("sysctl", key)
		if fact.Value.Kind() != kind || fact.Origin.Path != "/proc/sys/"+strings.ReplaceAll(key, ".", "/") {
			t.Errorf("%s: %s %v", key, showFact(fact), fact.Origin)
		}
	}
	for key, want := range map[string]string{
		"net.ipv4.tcp_tw_recycle": "absent: this kernel has no such key", "net.ipv4.tcp_fastopen_key": "unknown: a secret: never read",
		"net.ipv4.not_asked": "unknown: not read",
	} {
		if got := showFact(f.Member("sysctl", key)); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	if len(gaps) > 0 {
		t.Error(gaps)
	}
}

func TestSysctlsReplay(t *testing.T) {
	var keys []sysctlKey
	for _, key := range allSysctls(t) {
		if !strings.HasPrefix(key, "kernel.random.") {
			keys = append(keys, sysctlKey{key, advisor.TypeText})
		}
	}
	r := newMemRecorder(liveTree(t))
	live, liveGaps := sysctlsOf(r, keys...)
	replay, gaps := sysctlsOf(&r.replay, keys...)
	if !reflect.DeepEqual(live, replay) || !reflect.DeepEqual(liveGaps, gaps) {
		t.Errorf("live and replay differ: %v, %v", liveGaps, gaps)
	}
	if all := fmt.Sprint(r.replay.asks, r.replay.files); strings.Contains(all, "fastopen_key=") || strings.Contains(all, "stable_secret:") {
		t.Error("a secret was read")
	}
	older, gaps := sysctlsOf(&r.replay, sysctlKey{"net.ipv4.tcp_of_later", advisor.TypeInteger})
	if got := showFact(older.Member("sysctl", "net.ipv4.tcp_of_later")); strings.HasPrefix(got, "invalid") || len(gaps) > 0 {
		t.Error(got, gaps)
	}
}

func TestSysctlsAsNobody(t *testing.T) {
	live := liveTree(t)
	asNobody(t, func() {
		f, gaps := sysctlsOf(live, sysctlKey{"vm.drop_caches", advisor.TypeInteger}, sysctlKey{"net.ipv4.tcp_sack", advisor.TypeInteger},
			sysctlKey{"net.ipv6.conf.lo.stable_secret", advisor.TypeText})
		if got := showFact(f.Member("sysctl", "vm.drop_caches")); got != "unknown: permission denied: run as root" {
			t.Error(got)
		}
		if got := f.Member("sysctl", "net.ipv4.tcp_sack"); got.State != advisor.StateKnown || len(gaps) > 0 {
			t.Error(showFact(got), gaps)
		}
	})
}

// A list longer than the first buffer of os.ReadFile comes back whole.
func TestSysctlLongList(t *testing.T) {
	done := make(chan string)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its own network namespace
		defer close(done)
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- "skip: " + err.Error()
			return
		}
		var ports strings.Builder
		for p := 10001; p < 11400; p += 2 {
			fmt.Fprintf(&ports, "%d,", p)
		}
		const key = "net.ipv4.ip_local_reserved_ports"
		file, _ := sysctlPath(key)
		if err := os.WriteFile(file, []byte(strings.TrimSuffix(ports.String(), ",")), 0); err != nil {
			done <- "skip: " + err.Error()
			return
		}
		f, _ := sysctlsOf(liveTree(t), sysctlKey{key, advisor.TypePorts})
		set, _ := f.Member("sysctl", key).Value.Ports()
		done <- fmt.Sprint(set.Len(), " ports")
	}()
	got := <-done
	if strings.HasPrefix(got, "skip") {
		t.Skip(got)
	}
	if got != "700 ports" {
		t.Error(got)
	}
}

func TestSysctlsOfDirectory(t *testing.T) {
	m := &memTree{files: map[string]string{
		"/proc/sys/net/ipv4/tcp_rmem":                       "4096\t131072\t6291456\n",
		"/proc/sys/net/ipv4/conf/eth0.100/rp_filter":        "2\n",
		"/proc/sys/net/ipv4/ip_local_reserved_ports":        "\n",
		"/proc/sys/net/ipv4/tcp_sack":                       "yes\n",
		"/proc/sys/net/ipv4/tcp_fack":                       "",
		"/proc/sys/kernel/shmmax":                           "18446744073692774399\n",
		"/proc/sys/fs/file-max":                             "9223372036854775807\n",
		"/proc/sys/net/ipv4/tcp_allowed_congestion_control": "reno cubic\n",
	}, errs: map[string]error{"/proc/sys/net/ipv4/tcp_dsack": fs.ErrPermission}}
	integer := advisor.TypeInteger
	f, gaps := sysctlsOf(m, sysctlKey{"net.ipv4.tcp_rmem", advisor.TypeTuple}, sysctlKey{"net.ipv4.conf.eth0/100.rp_filter", integer},
		sysctlKey{"net/ipv4/conf/eth0.100/rp_filter", integer}, sysctlKey{"net.ipv4.ip_local_reserved_ports", advisor.TypePorts},
		sysctlKey{"net.ipv4.tcp_sack", integer}, sysctlKey{"net.ipv4.tcp_fack", integer}, sysctlKey{"kernel.shmmax", integer},
		sysctlKey{"fs.file-max", integer}, sysctlKey{"net.ipv4.tcp_allowed_congestion_control", advisor.TypeText},
		sysctlKey{"net.ipv4.tcp_dsack", integer}, sysctlKey{"net.ipv4.tcp_tw_recycle", integer}, sysctlKey{"net.core.somaxconn", integer},
		sysctlKey{"net.ipv4./..tcp_sack", integer})
	for key, want := range map[string]string{
		"net.ipv4.tcp_rmem": "4096 131072 6291456", "net.ipv4.conf.eth0/100.rp_filter": "2", "net/ipv4/conf/eth0.100/rp_filter": "2",
		"net.ipv4.ip_local_reserved_ports": "", "net.ipv4.tcp_sack": `unknown: not understood: "yes"`,
		"net.ipv4.tcp_fack": `unknown: not understood: ""`, "kernel.shmmax": "unknown: 18446744073692774399 does not fit into 63 bits",
		"fs.file-max": "9223372036854775807", "net.ipv4.tcp_allowed_congestion_control": "reno cubic",
		"net.ipv4.tcp_dsack":      "unknown: permission denied: run as root",
		"net.ipv4.tcp_tw_recycle": "absent: this kernel has no such key",
		"net.core.somaxconn":      "unknown: this directory holds a part of /proc/sys only",
		"net.ipv4./..tcp_sack":    `unknown: "net.ipv4./..tcp_sack" names no kernel parameter`,
	} {
		if got := showFact(f.Member("sysctl", key)); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	if len(gaps) != 3 { // what is not understood, and the name that is none
		t.Error(gaps)
	}
	none, gaps := sysctlsOf(debianRoot(), sysctlKey{"net.ipv4.tcp_sack", integer})
	if got := showFact(none.Member("sysctl", "net.ipv4.tcp_sack")); got != "absent: "+noKernel || len(gaps) > 0 {
		t.Error(got, gaps)
	}
}

func TestSysctlsUnreadable(t *testing.T) {
	m := &memTree{kind: "capture", asks: map[string][]string{"sysctl": {
		"a.fine=1", "a.gone!absent", "a.mine!denied", "a.odd!failed input/output error",
	}}, errs: map[string]error{"/proc/sys/a/later": errNotCaptured}}
	integer := advisor.TypeInteger
	f, gaps := sysctlsOf(m, sysctlKey{"a.fine", integer}, sysctlKey{"a.gone", integer}, sysctlKey{"a.mine", integer},
		sysctlKey{"a.odd", integer}, sysctlKey{"a.later", integer})
	for key, want := range map[string]string{
		"a.fine": "1", "a.gone": "absent: this kernel has no such key", "a.mine": "unknown: permission denied: run as root",
		"a.odd": "unknown: input/output error", "a.later": "unknown: not in this capture",
	} {
		if got := showFact(f.Member("sysctl", key)); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	if len(gaps) != 1 || gaps[0].Source != "/proc/sys/a/odd" || !gaps[0].Notice {
		t.Error(gaps)
	}
}

func TestSysctlsCancelled(t *testing.T) {
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	var b advisor.Builder
	gaps := collectSysctls(ctx, liveTree(t), &b, []sysctlKey{{"net.ipv4.tcp_sack", advisor.TypeInteger}})
	if len(gaps) != 1 || !strings.Contains(gaps[0].Why, "deadline") {
		t.Error(gaps)
	}
}

func FuzzSysctl(f *testing.F) {
	f.Add("net.ipv4.conf.eth0/100.rp_filter", "4096 1 2", "a.b=c")
	f.Add("net/ipv4/tcp_sack", "18446744073692774399", "a.b!failed x")
	f.Add("../../etc/passwd", "", "a!b")
	f.Fuzz(func(t *testing.T, key, text, piece string) {
		if file, err := sysctlPath(key); err == nil && filepath.Clean(file) != file || err == nil && !strings.HasPrefix(file, procSys+"/") {
			t.Errorf("%q leads to %q", key, file)
		}
		for kind := advisor.TypeInteger; kind <= advisor.TypeCatalogue; kind++ {
			if fact, _ := sysctlFact(kind, text, advisor.Origin{}); fact.State != advisor.StateKnown && fact.Why == "" {
				t.Errorf("%s %q is unknown for no reason", kind, text)
			}
		}
		if key, s, err := decodeSysctl(piece); err == nil {
			k, again, err := decodeSysctl(string(encodeSysctl(key, s)))
			if k != key || again.text != s.text || fmt.Sprint(again.err) != fmt.Sprint(s.err) || err != nil {
				t.Errorf("%q: %q %+v", piece, k, again)
			}
		}
	})
}

// 235 keys, as many as the catalogue has.
func BenchmarkSysctls(b *testing.B) {
	var keys []sysctlKey
	for _, key := range allSysctls(b) {
		if strings.HasPrefix(key, "net.") && len(keys) < 235 {
			keys = append(keys, sysctlKey{key, advisor.TypeText})
		}
	}
	live := liveTree(b)
	b.ReportAllocs()
	for b.Loop() {
		sysctlsOf(live, keys...)
	}
}
