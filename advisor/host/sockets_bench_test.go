package host

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// flood is a tree whose kernel tells n sockets of a busy host, made while they are read: it holds one datagram.
type flood struct {
	*scriptTree
	n       int
	distant bool // each connection goes to another destination
}

func (f *flood) ask(name string, live func(func([]byte) error) error, use func([]byte) error) error {
	share, ok := map[string]int{"sock_diag/close-wait": 10, "sock_diag/others": 90}[name]
	if !ok {
		return f.scriptTree.ask(name, live, use)
	}
	if err := f.stream(f.n*share/100, stateCloseWait*b2u(share == 10), use); err != nil {
		return err
	}
	return use(doneMessage())
}

func b2u(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// stream sends chunks of 32 KiB. Four of nine are TIME_WAIT of a listener, the rest was dialled.
func (f *flood) stream(n int, state uint8, use func([]byte) error) error {
	cw := fakeSocket{state: stateCloseWait, local: "192.0.2.1:80", remote: "198.51.100.7:9999", rqueue: 1, sent: 9000, received: 8000, ack: 7000}
	server := fakeSocket{state: stateTimeWait, timer: timerMiniSocket, local: "192.0.2.1:80", remote: "198.51.100.7:9999", expires: 50_000}
	client := fakeSocket{state: stateEstablished, local: "192.0.2.1:40000", remote: "203.0.113.7:5432", inode: 77}
	kinds := [][]byte{
		server.message(), client.message(), server.message(), client.message(), client.message(),
		server.message(), client.message(), server.message(), client.message(),
	}
	if state == stateCloseWait {
		kinds = [][]byte{cw.message()}
	}
	chunk := make([]byte, 0, diagBufferSize)
	for i := range n {
		m := kinds[i%len(kinds)]
		if len(chunk)+len(m) > cap(chunk) {
			if err := use(chunk); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
		chunk = append(chunk, m...)
		last := chunk[len(chunk)-len(m)+nlHeaderSize:]
		binary.NativeEndian.PutUint32(last[44:], uint32(i+1)) // cookie
		if state == stateCloseWait {
			binary.NativeEndian.PutUint32(last[68:], uint32(i+1))
		}
		if f.distant {
			binary.BigEndian.PutUint32(last[24:], uint32(i+1))
		}
	}
	return use(chunk)
}

func newFlood(n int, distant bool) *flood {
	f := &flood{scriptTree: newScriptTree(), n: n, distant: distant}
	f.sockets("sock_diag/listen", listening)
	return f
}

// allocated is what one collection of n sockets allocates.
func allocated(t *testing.T, n int, distant bool) uint64 {
	t.Helper()
	tr := newFlood(n, distant)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var b advisor.Builder
	collectSockets(context.Background(), tr, socketOptions{}, &b)
	runtime.ReadMemStats(&after)
	facts := b.Facts()
	if got := number(t, facts.Scalar("tcp.close_wait")); got != int64(n/10) {
		t.Fatalf("%d in CLOSE_WAIT, want %d", got, n/10)
	}
	return after.TotalAlloc - before.TotalAlloc
}

// TestMemoryIsFlat: the limit is 32 Ki suspects and 8 Ki groups. All that is ever allocated counts, not what is left.
func TestMemoryIsFlat(t *testing.T) {
	const mebi = 1 << 20
	for _, distant := range []bool{false, true} {
		small, full, huge := allocated(t, 1000, distant), allocated(t, 400_000, distant), allocated(t, 1_000_000, distant)
		t.Logf("distant %v: 1,000 sockets %d KiB, 400,000 %d KiB, 1,000,000 %d KiB", distant, small>>10, full>>10, huge>>10)
		if huge > full+mebi {
			t.Errorf("distant %v: memory grows beyond the limits: %d KiB, then %d KiB", distant, full>>10, huge>>10)
		}
		if huge > 48*mebi {
			t.Errorf("distant %v: %d MiB for a million sockets", distant, huge/mebi)
		}
	}
}

// TestNoAllocationPerSocket: the walk and the aggregates of known groups allocate nothing.
func TestNoAllocationPerSocket(t *testing.T) {
	ls := newListenSet()
	fl := newFlowSet(ls, func(destination) bool { return false }, defaultReuse)
	piece := slices.Concat(established(1).message(), established(2).message())
	w := diagWalk{visit: fl.add}
	if n := testing.AllocsPerRun(100, func() { _ = w.piece(piece) }); n != 0 {
		t.Errorf("%v allocations for two sockets", n)
	}
}

// BenchmarkAggregate is what this code adds to the kernel's work, without a kernel.
func BenchmarkAggregate(b *testing.B) {
	const n = 100_000
	tr := newFlood(n, false)
	b.ReportAllocs()
	for b.Loop() {
		var builder advisor.Builder
		collectSockets(b.Context(), tr, socketOptions{}, &builder)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/socket")
}

// BenchmarkRatioScanToBareDump compares, over 100,000 real sockets, the whole collection with the same dumps thrown away:
// the median of 15 interleaved pairs. At most 1.1 is the aim.
func BenchmarkRatioScanToBareDump(b *testing.B) {
	if !inOwnNetns(b) {
		return
	}
	const want = 100_000
	crowd(b, want)
	bare := func() {
		for _, p := range [...]diagPass{{name: "listen", states: maskListen, ext: askInfo | askSkMem}, {name: "close-wait", states: maskCloseWait, ext: askInfo}, {name: "others", states: maskOthers}} {
			bareDump(b, diagRequest{family: unix.AF_UNSPEC, states: p.states, ext: p.ext})
		}
	}
	full := func() {
		s := newSocketSnapshot(socketOptions{})
		if err := s.readDiag(b.Context(), thisMachine{}, socketOptions{}); err != nil {
			b.Fatal(err)
		}
		s.suspects.finish()
		s.flows.finish(s.suspects)
		if n := s.flows.counts[stateTimeWait] + s.flows.counts[stateEstablished] + s.suspects.total; n < want*9/10 {
			b.Fatalf("%d sockets, want some %d", n, want)
		}
	}
	b.ReportMetric(medianRatio(15, full, bare), "ratio")
}

// medianRatio times a and b in turn and returns the median of a's time over b's.
func medianRatio(pairs int, a, b func()) float64 {
	timed := func(f func()) float64 {
		start := time.Now()
		f()
		return time.Since(start).Seconds()
	}
	ratios := make([]float64, pairs)
	for i := range ratios {
		x := timed(a)
		ratios[i] = x / timed(b)
	}
	slices.Sort(ratios)
	return ratios[pairs/2]
}

// bareDump reads an answer and looks at its end only.
func bareDump(t testing.TB, r diagRequest) (total int) {
	t.Helper()
	done := false
	err := dump(t.Context(), r, func(p []byte) error {
		total += len(p)
		// DONE is a datagram's last message, 20 bytes with the dump's result; an empty answer is nothing else.
		tail := p[max(len(p)-20, 0):]
		done = len(tail) == 20 && binary.NativeEndian.Uint16(tail[4:]) == unix.NLMSG_DONE && binary.NativeEndian.Uint32(tail) == 20
		return nil
	}, &done)
	if err != nil {
		t.Fatal(err)
	}
	return total
}

// crowd makes n sockets: one in eight connected (both ends), the rest TIME_WAIT of either side.
func crowd(t testing.TB, n int) {
	t.Helper()
	ln := listen(t, "tcp4", "0.0.0.0:0")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go answerByte(c)
		}
	}()
	const workers = 8
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range n / workers {
				// A destination of 127/8 gives 28,000 ports; the kernel would run out at one.
				client(t, fmt.Sprintf("127.0.%d.%d:%d", w+1, i%16+1, port(ln.Addr())), i%16 == 0, i%2 == 0)
			}
		})
	}
	wg.Wait()
	time.Sleep(200 * time.Millisecond)
}

// answerByte closes first where the client says so, and else when he did.
func answerByte(c net.Conn) {
	var b [1]byte
	if _, err := c.Read(b[:]); err == nil && b[0] == 's' {
		c.Close()
		return
	}
	io.Copy(io.Discard, c)
	c.Close()
}

func client(t testing.TB, address string, stay, serverFirst bool) {
	d := net.Dialer{KeepAlive: -1, Timeout: 10 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	switch {
	case stay:
		hold(t, c)
		c.Write([]byte{'c'})
		return
	case serverFirst:
		c.Write([]byte{'s'})
		io.Copy(io.Discard, c)
	}
	c.Close()
}
