package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

func catalogue(t testing.TB) *advisor.Catalogue {
	t.Helper()
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	return set.Catalogue
}

// readHost opens a host, reads it and closes it.
func readHost(ctx context.Context, t testing.TB, o Options) []Part {
	t.Helper()
	o.Catalogue = catalogue(t)
	h, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	parts := h.Parts(ctx)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	return parts
}

// readTwice reads this machine into a capture and replays it, and wants the same.
func readTwice(ctx context.Context, t testing.TB, o Options) []Part {
	t.Helper()
	o.Record = filepath.Join(t.TempDir(), "host.tcpadvise")
	live := readHost(ctx, t, o)
	replay := readHost(t.Context(), t, Options{Capture: o.Record, Progress: func(time.Duration) { t.Error("the replay waits") }})
	if len(live) != len(replay) {
		t.Fatalf("%d parts live, %d in the replay", len(live), len(replay))
	}
	for i := range live {
		if !reflect.DeepEqual(live[i].Gaps, replay[i].Gaps) || live[i].Name != replay[i].Name {
			t.Errorf("part %d\nlive   %q %+v\nreplay %q %+v", i, live[i].Name, live[i].Gaps, replay[i].Name, replay[i].Gaps)
		}
		if a, b := all(live[i].Facts), all(replay[i].Facts); !slices.Equal(a, b) {
			for j := range min(len(a), len(b)) {
				if a[j] != b[j] {
					t.Errorf("part %d\nlive   %s\nreplay %s", i, a[j], b[j])
				}
			}
			t.Errorf("part %d: %d facts live, %d in the replay", i, len(a), len(b))
		}
	}
	return live
}

// all writes each fact on a line.
func all(f *advisor.Facts) []string {
	var out []string
	for _, key := range f.Scalars() {
		out = append(out, key+" = "+showFact(f.Scalar(key)))
	}
	for _, family := range f.Families() {
		out = append(out, family+" = "+showFact(f.Member(family, "no such")))
		for _, key := range f.Members(family) {
			out = append(out, family+" "+key+" = "+showFact(f.Member(family, key)))
		}
	}
	for _, name := range f.Tables() {
		table := f.Table(name)
		out = append(out, fmt.Sprintf("%s unknown %q absent %q omitted %d", name, table.Unknown, table.Absent, table.Omitted))
		for i, row := range table.Rows {
			for column, fact := range row.Cells {
				out = append(out, fmt.Sprintf("%s[%d].%s = %s", name, i, column, showFact(fact)))
			}
		}
	}
	slices.Sort(out)
	return out
}

// leave makes n connections whose clients have left and which the server holds on to.
func leave(t testing.TB, ln net.Listener, n int) {
	t.Helper()
	for range n {
		c, s := pair(t, ln)
		hold(t, s)
		c.Close()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
}

// during runs do once, when the wait for the second look has begun.
func during(do func()) func(time.Duration) {
	begun := false
	return func(time.Duration) {
		if !begun {
			begun = true
			do()
		}
	}
}

// Two looks: what persists, what grew, which listener drops, and the rates of the counters. The capture holds both.
func TestTwoLooks(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln, full := listen(t, "tcp", "127.0.0.1:0"), rawListener(t, 1)
	for range 2 {
		dial(t, "tcp", fmt.Sprintf("127.0.0.1:%d", full))
	}
	leave(t, ln, 6)
	parts := readTwice(t.Context(), t, Options{Sample: 500 * time.Millisecond, Progress: during(func() {
		leave(t, ln, 4)
		d := net.Dialer{Timeout: 50 * time.Millisecond}
		for range 3 {
			if c, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", full)); err == nil {
				c.Close()
				t.Error("connected to a full accept queue")
			}
		}
	})})
	f := parts[0].Facts
	row := socketRow(t, f, "close_wait", map[string]string{"port": itoa(port(ln.Addr()))})
	expect(t, row, map[string]string{"count": "10", "persisted": "6", "grew": "4", "eof_seen": "10"})
	if n := number(t, row.Cells["per_hour"]); n < 1000 || n > 29_000 {
		t.Errorf("per_hour = %d, want some 28800", n)
	}
	drops := number(t, socketRow(t, f, "listeners", map[string]string{"port": itoa(int64(full))}).Cells["drops_grew"])
	if drops < 3 {
		t.Errorf("drops_grew = %d, want 3 at least", drops)
	}
	expect(t, socketRow(t, f, "listeners", map[string]string{"port": itoa(port(ln.Addr()))}), map[string]string{"drops_grew": "0"})
	for key, least := range map[string]int64{"TcpExt.ListenOverflows": 1, "Tcp.ActiveOpens": 1, "Tcp.InErrs": 0} {
		if n, ok := f.Member("rate", key).Value.Int(); !ok || n < least || n > least*40 {
			t.Errorf("rate %s = %s, want %d at least", key, showFact(f.Member("rate", key)), least)
		}
	}
	if d, ok := f.Scalar("sample.interval").Value.Duration(); !ok || d < 500*time.Millisecond || d > 30*time.Second {
		t.Errorf("sample.interval = %s", showFact(f.Scalar("sample.interval")))
	}
	if !parts[0].Whole {
		t.Error("not whole")
	}
}

// Keepalive answers hide the age from one look and not from two.
func TestTwoLooksKnowTheAgeUnderKeepalive(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	for range 3 {
		c, s := pair(t, ln)
		hold(t, s)
		err := s.(*net.TCPConn).SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 9})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	time.Sleep(1500 * time.Millisecond)
	f := readTwice(t.Context(), t, Options{Sample: 2100 * time.Millisecond})[0].Facts
	row := onlyRow(t, f, "close_wait")
	expect(t, row, map[string]string{
		"count": "3", "keepalive": "3", "stale": "3", "stale_at_most": "3", "persisted": "3", "grew": "0", "spread": "?",
	})
	between(t, row, "oldest_at_least", 2100*time.Millisecond, 20*time.Second)
}

// What was seen until the person loses patience is judged, and is no failure.
func TestInterruptedWaitLeavesOneLook(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	leave(t, ln, 5)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := time.Now()
	p := readTwice(ctx, t, Options{Sample: time.Minute, Progress: during(cancel)})[0]
	if time.Since(start) > 30*time.Second || !p.Whole {
		t.Errorf("whole %v after %s", p.Whole, time.Since(start))
	}
	expect(t, onlyRow(t, p.Facts, "close_wait"), map[string]string{"count": "5", "persisted": "", "grew": ""})
	if got := showFact(p.Facts.Member("rate", "TcpExt.ListenDrops")); got != "absent: "+oneSample {
		t.Error(got)
	}
	if !slices.ContainsFunc(p.Gaps, func(g advisor.Gap) bool { return g.Notice && strings.HasPrefix(g.Why, "interrupted after") }) {
		t.Errorf("gaps %+v", p.Gaps)
	}
}

// One look is what a run without --sample has, also in its capture; its gaps are the machine's.
func TestOneLook(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	leave(t, ln, 3)
	f := readTwice(t.Context(), t, Options{})[0].Facts
	expect(t, onlyRow(t, f, "close_wait"), map[string]string{"count": "3", "persisted": "", "grew": ""})
	expect(t, onlyRow(t, f, "listeners"), map[string]string{"drops_grew": ""})
	for _, table := range []string{"hidden_sockets"} {
		if got := f.Table(table).Absent; got == "" {
			t.Errorf("%s was looked for", table)
		}
	}
}

// A watcher's reading is compared with the one before.
func TestFollow(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	leave(t, ln, 3)
	h, err := Open(Options{Catalogue: catalogue(t), Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := h.Facts(t.Context())
	expect(t, onlyRow(t, first, "close_wait"), map[string]string{"count": "3", "persisted": ""})
	leave(t, ln, 2)
	for _, want := range []map[string]string{{"persisted": "3", "grew": "2"}, {"persisted": "5", "grew": "0"}} {
		f, _, _ := h.Facts(t.Context())
		expect(t, onlyRow(t, f, "close_wait"), want)
	}
}

// A source that is missing from one sample has no rate, and says why.
func TestRatesOfWhatIsMissing(t *testing.T) {
	var b advisor.Builder
	second := composedCounters()
	delete(second.files, "/proc/net/stat/nf_conntrack")
	delete(second.files, conntrackCount)
	setRates(&b, readCounters(composedCounters()), readCounters(second), time.Second)
	f := b.Facts()
	for key, want := range map[string]string{
		"TcpExt.ListenOverflows": "0", "softnet.dropped": "0", "conntrack.drop": "absent: connection tracking is not loaded",
		"TcpExt.NoSuch": "absent: this kernel does not count it",
	} {
		if got := showFact(f.Member("rate", key)); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}
