package host

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

func countersOf(t tree) (*advisor.Facts, []advisor.Gap) {
	var b advisor.Builder
	gaps := collectCounters(context.Background(), t, &b)
	return b.Facts(), gaps
}

// Every column of the kernel's files is a fact.
func TestCountersLive(t *testing.T) {
	f, gaps := countersOf(liveTree(t))
	columns := 0
	for _, file := range []string{"/proc/net/netstat", "/proc/net/snmp"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
			if i%2 == 0 {
				columns += len(strings.Fields(line)) - 1
			}
		}
	}
	if got := len(f.Members("counter")); got != columns || got < 200 {
		t.Errorf("%d counters of %d columns", got, columns)
	}
	for family, keys := range map[string][]string{
		"counter":  {"TcpExt.ListenOverflows", "TcpExt.TCPTimeWaitOverflow", "Tcp.ActiveOpens", "IpExt.InOctets", "Tcp.MaxConn"},
		"sockstat": {"TCP.inuse", "TCP.tw", "TCP.alloc", "TCP.mem", "TCP.orphan", "sockets.used"},
		"softnet":  {"processed", "dropped", "time_squeeze"},
	} {
		for _, key := range keys {
			if fact := f.Member(family, key); fact.Value.Kind() != advisor.KindInt || fact.Origin.Path == "" {
				t.Errorf("%s %s: %s", family, key, showFact(fact))
			}
		}
		if fact := f.Member(family, "no such"); fact.State != advisor.StateAbsent {
			t.Errorf("%s: %s", family, showFact(fact))
		}
	}
	if got := showFact(f.Member("counter", "Tcp.MaxConn")); got != "-1" {
		t.Error("Tcp.MaxConn:", got)
	}
	for _, key := range []string{"files.open", "files.max"} {
		if n, ok := f.Scalar(key).Value.Int(); !ok || n <= 0 {
			t.Errorf("%s: %s", key, showFact(f.Scalar(key)))
		}
	}
	if got := f.Member("rate", "TcpExt.ListenDrops"); got.State != advisor.StateAbsent || got.Why == "" {
		t.Error(showFact(got))
	}
	if len(gaps) > 0 {
		t.Error(gaps)
	}
}

func TestCountersReplayAndNobody(t *testing.T) {
	r := newMemRecorder(liveTree(t))
	live, liveGaps := countersOf(r)
	replay, gaps := countersOf(&r.replay)
	if !reflect.DeepEqual(live, replay) || !reflect.DeepEqual(liveGaps, gaps) {
		t.Error("live and replay differ")
	}
	tree := liveTree(t)
	asNobody(t, func() {
		f, gaps := countersOf(tree)
		if len(gaps) > 0 || len(f.Members("counter")) != len(live.Members("counter")) {
			t.Error(gaps)
		}
	})
}

func composedCounters() *memTree {
	return &memTree{kind: "capture", files: map[string]string{
		"/proc/net/netstat":                        "TcpExt: ListenOverflows ListenDrops\nTcpExt: 3 18446744073709551615\nIpExt: InOctets\nIpExt: 7\n",
		"/proc/net/snmp":                           "Tcp: MaxConn CurrEstab\nTcp: -1 5\n",
		"/proc/net/sockstat":                       "sockets: used 200\nTCP: inuse 5 orphan 0 tw 2 alloc 9 mem 3\nFRAG: inuse 0 memory 0\n",
		"/proc/net/softnet_stat":                   "0000000a 00000001 00000002 00000000\nffffffff 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000004 00000005 00000000 00000001\n",
		"/proc/net/stat/nf_conntrack":              "entries  searched insert_failed drop early_drop\n00000010  00000000 00000001 0000000a 00000000\n00000010  00000000 00000002 00000006 00000000\n",
		conntrackCount:                             "16\n",
		"/proc/sys/net/netfilter/nf_conntrack_max": "0\n",
		"/proc/sys/fs/file-nr":                     "1024\t24\t9223372036854775807\n",
	}}
}

func TestCountersComposed(t *testing.T) {
	f, gaps := countersOf(composedCounters())
	for name, want := range map[string]string{
		"counter TcpExt.ListenOverflows": "3", "counter TcpExt.ListenDrops": "unknown: 18446744073709551615 does not fit into 63 bits",
		"counter IpExt.InOctets": "7", "counter Tcp.MaxConn": "-1", "counter TcpExt.New": "absent: this kernel does not count it",
		"sockstat TCP.tw": "2", "sockstat sockets.used": "200", "sockstat TCP6.inuse": "absent: this kernel does not count it",
		"softnet processed": "4294967305", "softnet time_squeeze": "3", "softnet received_rps": "4", "softnet flow_limit_count": "5",
		"conntrack drop": "16", "conntrack insert_failed": "3", "conntrack entries": "absent: this kernel does not count it",
		"rate TcpExt.ListenDrops": "absent: one sample only: use --sample",
	} {
		family, key, _ := strings.Cut(name, " ")
		if got := showFact(f.Member(family, key)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	wantScalars(t, f, map[string]string{
		"conntrack.count": "16", "conntrack.max": "unlimited", "files.open": "1000", "files.max": "9223372036854775807",
	})
	if len(gaps) > 0 {
		t.Error(gaps)
	}
}

func TestCountersMissing(t *testing.T) {
	f, gaps := countersOf(debianRoot())
	for _, family := range []string{"counter", "sockstat", "softnet", "conntrack"} {
		if got := showFact(f.Member(family, "x")); got != "absent: "+noKernel {
			t.Errorf("%s: %s", family, got)
		}
	}
	wantScalars(t, f, map[string]string{"files.open": "absent: " + noKernel, "conntrack.max": "absent: " + noKernel})
	if len(gaps) > 0 {
		t.Error(gaps)
	}
	m := composedCounters()
	delete(m.files, "/proc/net/stat/nf_conntrack")
	f, _ = countersOf(m)
	if got := showFact(f.Member("conntrack", "drop")); !strings.HasPrefix(got, "unknown: this kernel has no statistics") {
		t.Error(got)
	}
	delete(m.files, conntrackCount)
	f, gaps = countersOf(m)
	if got := showFact(f.Member("conntrack", "drop")); got != "absent: connection tracking is not loaded" || len(gaps) > 0 {
		t.Error(got, gaps)
	}
	wantScalars(t, f, map[string]string{"conntrack.count": "absent: connection tracking is not loaded"})
}

func TestCountersOdd(t *testing.T) {
	m := composedCounters()
	m.files["/proc/net/netstat"] = "TcpExt: A B\nTcpExt: 1\nIpExt: C\nIpExt: 2\n"
	m.errs = map[string]error{"/proc/net/softnet_stat": fs.ErrPermission}
	m.files["/proc/net/sockstat"] = "TCP: inuse\nUDP: inuse 4\n"
	m.files["/proc/net/stat/nf_conntrack"] = "entries drop\n00000001 zz\n"
	m.files["/proc/sys/fs/file-nr"] = "many\n"
	m.files["/proc/net/snmp"] = ""
	f, gaps := countersOf(m)
	for name, want := range map[string]string{
		"counter TcpExt.A": `unknown: not understood: "TcpExt: 1\n"`, "counter IpExt.C": "2",
		"counter Tcp.MaxConn": `unknown: not understood: "TcpExt: 1\n"`,
		"sockstat TCP.inuse":  `unknown: not understood: "TCP: inuse\n"`, "sockstat UDP.inuse": "4",
		"softnet dropped": "unknown: permission denied: run as root",
		"conntrack drop":  `unknown: not understood: "00000001 zz\n"`,
	} {
		family, key, _ := strings.Cut(name, " ")
		if got := showFact(f.Member(family, key)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	var sources []string
	for _, g := range gaps {
		sources = append(sources, g.Source)
	}
	want := []string{"/proc/net/netstat", "/proc/net/snmp", "/proc/net/sockstat", "/proc/net/softnet_stat", "/proc/net/stat/nf_conntrack", "/proc/sys/fs/file-nr"}
	if !slices.Equal(sources, want) {
		t.Error(sources)
	}
}

func TestParseNetstatOdd(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "map[]",
		"A: x y\nA: 1 2\n":              "map[A.x:1 A.y:2]",
		"A: x y\nA: 1 2":                "map[A.x:1 A.y:2]",
		"A: x\nB: y\nB: 2\n":            `map[B.y:2] "A: x\n"`,
		"A: 1 2\nA: x\nA: 3\n":          `map[A.x:3] "A: 1 2\n"`,
		"A: x\n":                        `map[] "A: x\n"`,
		"nonsense\n":                    `map[] "nonsense\n"`,
		"A: x\nA: one\n":                `map[A.x:unknown: not understood: "one"]`,
		"A: x\nA: -9223372036854775808": "map[A.x:-9223372036854775808]",
	} {
		into := map[string]advisor.Fact{}
		bad := parseNetstat([]byte(text), "", into)
		shown := map[string]string{}
		for key, fact := range into {
			shown[key] = showFact(fact)
		}
		got := fmt.Sprint(shown)
		if bad != nil {
			got += fmt.Sprintf(" %q", bad)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestRates(t *testing.T) {
	known := func(n int64) advisor.Fact { return advisor.Known(advisor.Int(n), advisor.Origin{}) }
	before := map[string]advisor.Fact{"one": known(5), "none": known(5), "back": known(5), "odd": advisor.Unknown("why", advisor.Origin{}), "max": known(0), "even": known(0)}
	after := map[string]advisor.Fact{"one": known(6), "none": known(5), "back": known(4), "odd": known(5), "new": known(1), "max": known(math.MaxInt64), "even": known(20)}
	for _, c := range []struct {
		dt   time.Duration
		want map[string]string
	}{
		{10 * time.Second, map[string]string{
			"one": "1", "none": "0", "back": "unknown: the counter went back between the samples", "odd": "unknown: why",
			"new": "unknown: the first sample does not have it", "max": "922337203685477581", "even": "2",
		}},
		{time.Nanosecond, map[string]string{"max": "unknown: the rate does not fit into 63 bits", "even": "20000000000"}},
		{0, map[string]string{"one": "unknown: no time passed between the samples"}},
	} {
		got := rates(before, after, c.dt)
		for _, key := range slices.Sorted(maps.Keys(c.want)) {
			if showFact(got[key]) != c.want[key] {
				t.Errorf("%s in %s: %s, want %s", key, c.dt, showFact(got[key]), c.want[key])
			}
		}
	}
}

// No gauge has a rate: between two samples it may well go back.
func TestCumulative(t *testing.T) {
	s := readCounters(composedCounters()).cumulative()
	for key, want := range map[string]bool{
		"TcpExt.ListenOverflows": true, "softnet.dropped": true, "conntrack.drop": true, "Tcp.CurrEstab": false, "Tcp.MaxConn": false,
	} {
		if _, got := s[key]; got != want {
			t.Errorf("%s: %v", key, got)
		}
	}
}

func FuzzCounters(f *testing.F) {
	for _, text := range composedCounters().files {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, parse := range map[string]func([]byte, string, map[string]advisor.Fact) []byte{
			"netstat": parseNetstat, "sockstat": parseSockstat, "softnet": parseSoftnet, "conntrack": parseConntrack,
		} {
			into := map[string]advisor.Fact{}
			bad := parse(data, "/x", into)
			if bad != nil && len(bad) == 0 {
				t.Errorf("%s: not understood, but no line", name)
			}
			for key, fact := range into {
				n, known := fact.Value.Int()
				if known && n < 0 && (name == "softnet" || name == "conntrack") || fact.State == advisor.StateAbsent {
					t.Errorf("%s %q: %s", name, key, showFact(fact))
				}
			}
		}
	})
}

func BenchmarkCounters(b *testing.B) {
	live := liveTree(b)
	b.ReportAllocs()
	for b.Loop() {
		countersOf(live)
	}
}
