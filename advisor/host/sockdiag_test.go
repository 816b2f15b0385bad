package host

import (
	"context"
	"encoding/binary"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// fakeSocket is what a simulated kernel tells of one socket.
type fakeSocket struct {
	state, timer            uint8
	local, remote           string // "192.0.2.1:8080", "[::1]:80"
	expires, rqueue, wqueue uint32
	uid, inode              uint32
	cookie                  uint64
	sent, received, ack     uint32 // tcp_info; none where all are 0
	cgroup                  uint64
	v6Only                  bool
}

func netlinkMessage(kind, flags uint16, body []byte) []byte {
	b := make([]byte, nlHeaderSize, align4(nlHeaderSize+len(body)))
	binary.NativeEndian.PutUint32(b, uint32(nlHeaderSize+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	b = append(b, body...)
	return b[:align4(len(b))]
}

func doneMessage() []byte { return netlinkMessage(unix.NLMSG_DONE, 0, make([]byte, 4)) }

func attribute(kind uint16, payload []byte) []byte {
	b := make([]byte, 4, align4(4+len(payload)))
	binary.NativeEndian.PutUint16(b, uint16(4+len(payload)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	b = append(b, payload...)
	return b[:align4(len(b))]
}

func (f fakeSocket) message() []byte {
	b := make([]byte, diagMsgSize)
	local, remote := netip.MustParseAddrPort(f.local), netip.MustParseAddrPort(f.remote)
	b[0], b[1], b[2] = unix.AF_INET6, f.state, f.timer
	if local.Addr().Is4() {
		b[0] = unix.AF_INET
	}
	binary.BigEndian.PutUint16(b[4:], local.Port())
	binary.BigEndian.PutUint16(b[6:], remote.Port())
	copy(b[8:24], local.Addr().AsSlice())
	copy(b[24:40], remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[44:], uint32(f.cookie))
	binary.NativeEndian.PutUint32(b[48:], uint32(f.cookie>>32))
	for i, n := range [...]uint32{f.expires, f.rqueue, f.wqueue, f.uid, f.inode} {
		binary.NativeEndian.PutUint32(b[52+4*i:], n)
	}
	if f.sent|f.received|f.ack != 0 {
		info := make([]byte, 232)
		binary.NativeEndian.PutUint32(info[44:], f.sent)
		binary.NativeEndian.PutUint32(info[52:], f.received)
		binary.NativeEndian.PutUint32(info[56:], f.ack)
		b = append(b, attribute(attrInfo, info)...)
	}
	if f.cgroup != 0 {
		b = append(b, attribute(attrCgroupID, binary.NativeEndian.AppendUint64(nil, f.cgroup))...)
	}
	if f.v6Only {
		b = append(b, attribute(attrV6Only, []byte{1})...)
	}
	return netlinkMessage(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, b)
}

// answer is what a scriptTree says to one question.
type answer struct {
	pieces [][]byte
	err    error
}

// scriptTree is a machine whose answers are written down. A question without an answer is errNotCaptured.
type scriptTree struct {
	answers map[string]answer
	files   map[string]string
	mu      sync.Mutex
	asked   []string
}

func (s *scriptTree) ask(name string, _ func(func([]byte) error) error, use func([]byte) error) error {
	s.mu.Lock()
	s.asked = append(s.asked, name)
	s.mu.Unlock()
	a, ok := s.answers[name]
	if !ok {
		return errNotCaptured
	}
	for _, p := range a.pieces {
		if err := use(p); err != nil {
			return err
		}
	}
	return a.err
}

func (s *scriptTree) read(path string, _ int64) ([]byte, error) {
	text, ok := s.files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (s *scriptTree) list(string) ([]entry, error)         { return nil, fs.ErrNotExist }
func (s *scriptTree) resolve(p string) (string, error)     { return p, nil }
func (s *scriptTree) source() string                       { return "capture" }
func (s *scriptTree) say(name string, messages ...[]byte)  { s.answers[name] = answer{pieces: messages} }
func (s *scriptTree) sockets(name string, f ...fakeSocket) { s.answers[name] = sayAll(f) }
func (s *scriptTree) lines(name string, piece ...string) {
	s.answers[name] = answer{pieces: bytesOf(piece)}
}

func (s *scriptTree) questions(prefix string) (list []string) {
	for _, name := range s.asked {
		if strings.HasPrefix(name, prefix) {
			list = append(list, name)
		}
	}
	return list
}

func sayAll(sockets []fakeSocket) (a answer) {
	for _, f := range sockets {
		a.pieces = append(a.pieces, f.message())
	}
	a.pieces = append(a.pieces, doneMessage())
	return a
}

func bytesOf(lines []string) (pieces [][]byte) {
	for _, l := range lines {
		pieces = append(pieces, []byte(l))
	}
	return pieces
}

// newScriptTree is a machine without any socket.
func newScriptTree() *scriptTree {
	s := &scriptTree{answers: map[string]answer{}, files: map[string]string{}}
	for _, pass := range []string{"listen", "close-wait", "others"} {
		s.sockets("sock_diag/" + pass)
	}
	s.lines("owners", "unreadable 0\n")
	return s
}

// collectSockets reads the sockets as a part of a host does.
func collectSockets(ctx context.Context, t tree, opts socketOptions, b *advisor.Builder) []advisor.Gap {
	s, gaps, err := observeSockets(ctx, t, opts)
	if err != nil {
		return append(gaps, noSockets(err, b)...)
	}
	s.facts(b)
	return gaps
}

func collectFrom(t *testing.T, tr tree, opts socketOptions) (*advisor.Facts, []advisor.Gap) {
	t.Helper()
	var b advisor.Builder
	gaps := collectSockets(t.Context(), tr, opts, &b)
	return b.Facts(), gaps
}

func number(t *testing.T, f advisor.Fact) int64 {
	t.Helper()
	n, ok := f.Value.Int()
	if !ok || f.State != advisor.StateKnown {
		t.Fatalf("no known number: %+v", f)
	}
	return n
}

var listening = fakeSocket{state: stateListen, local: "0.0.0.0:80", remote: "0.0.0.0:0", wqueue: 128, inode: 7, cookie: 1}

func established(n int) fakeSocket {
	return fakeSocket{
		state: stateEstablished, local: "192.0.2.1:80", cookie: uint64(100 + n), inode: uint32(100 + n),
		remote: netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), uint16(1000+n)).String(),
	}
}

func TestScanRepeatsWhatWasInterrupted(t *testing.T) {
	interrupted := netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, make([]byte, 4))
	for _, c := range []struct {
		name   string
		broken [][]byte
	}{
		{"NLM_F_DUMP_INTR", [][]byte{established(1).message(), interrupted}},
		{"ENOBUFS", [][]byte{established(1).message(), errnoMessage(unix.ENOBUFS)}},
		{"overrun", [][]byte{netlinkMessage(unix.NLMSG_OVERRUN, 0, nil)}},
		{"cut message", [][]byte{established(1).message()[:60]}},
		{"cut header", [][]byte{append(established(1).message(), 1, 2, 3)}},
		{"short socket", [][]byte{netlinkMessage(unix.SOCK_DIAG_BY_FAMILY, 0, make([]byte, 20))}},
		{"no end", [][]byte{established(1).message()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScriptTree()
			s.sockets("sock_diag/listen", listening)
			s.say("sock_diag/others", c.broken...)
			s.sockets("sock_diag/others~2", established(1), established(2))
			facts, gaps := collectFrom(t, s, socketOptions{})
			if n := number(t, facts.Scalar("tcp.established")); n != 2 {
				t.Errorf("tcp.established = %d, want 2: an attempt was counted twice or not at all", n)
			}
			if approximate, _ := facts.Scalar("tcp.approximate").Value.Bool(); approximate || len(gaps) != 0 {
				t.Errorf("approximate %v, gaps %v after a successful repetition", approximate, gaps)
			}
		})
	}
}

// A kernel that does not know the request for both families is asked family by family, and so is a capture of the time
// when this was not tried. Where the second family's answer breaks, the first is asked again as well.
func TestScanFamilyByFamily(t *testing.T) {
	six := fakeSocket{state: stateCloseWait, local: "[2001:db8::1]:80", remote: "[2001:db8::2]:4711", inode: 10, cookie: 2}
	for _, unknown := range []answer{
		{pieces: [][]byte{errnoMessage(unix.EOPNOTSUPP)}},
		{pieces: [][]byte{errnoMessage(unix.EINVAL)}},
		{err: errNotCaptured},
	} {
		s := newScriptTree()
		for _, pass := range []string{"listen", "close-wait", "others", "others~2"} {
			s.answers["sock_diag/"+pass] = unknown
			s.sockets("sock_diag/4/" + pass)
			s.say("sock_diag/6/"+pass, errnoMessage(unix.ENOENT)) // a kernel without IPv6
		}
		s.sockets("sock_diag/4/listen", listening)
		s.sockets("sock_diag/6/close-wait", six)
		s.sockets("sock_diag/4/others", established(1), established(2))
		s.sockets("sock_diag/4/others~2", established(1), established(2))
		s.say("sock_diag/6/others", established(3).message()[:60])
		facts, gaps := collectFrom(t, s, socketOptions{})
		for key, want := range map[string]int64{"tcp.listen": 1, "tcp.close_wait": 1, "tcp.established": 2} {
			if n := number(t, facts.Scalar(key)); n != want {
				t.Errorf("%v: %s = %d, want %d", unknown, key, n, want)
			}
		}
		if len(gaps) != 0 {
			t.Errorf("gaps %+v", gaps)
		}
	}
}

func TestScanGivesUpAndSaysApproximate(t *testing.T) {
	s := newScriptTree()
	s.sockets("sock_diag/listen", listening)
	interrupted := [][]byte{established(1).message(), netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, make([]byte, 4))}
	for _, suffix := range []string{"", "~2", "~3"} {
		s.say("sock_diag/others"+suffix, interrupted...)
	}
	facts, gaps := collectFrom(t, s, socketOptions{})
	if approximate, ok := facts.Scalar("tcp.approximate").Value.Bool(); !ok || !approximate {
		t.Error("tcp.approximate is not true after three interrupted dumps")
	}
	if n := number(t, facts.Scalar("tcp.established")); n != 1 {
		t.Errorf("tcp.established = %d, want 1", n)
	}
	if len(gaps) != 1 || !gaps[0].Notice {
		t.Errorf("gaps %+v, want one notice", gaps)
	}
	if n := len(s.questions("sock_diag/others")); n != diagAttempts {
		t.Errorf("%d attempts, want %d", n, diagAttempts)
	}
}

const procHeading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func TestRefusedFallsBackToProc(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Fatal("the sample text below is of a little-endian machine")
	}
	for _, errno := range []unix.Errno{unix.ENOENT, unix.EPERM, unix.EPROTONOSUPPORT} {
		s := newScriptTree()
		s.say("sock_diag/listen", errnoMessage(errno))
		s.files["/proc/net/tcp"] = procHeading +
			"   0: 00000000:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n" +
			"   1: 0100007F:1F90 0100007F:C350 08 00000000:0000002C 00:00000000 00000000  1000        0 4712 1 0 20 4 30 10 -1\n" +
			"   2: 0100007F:C350 0100007F:1F90 05 00000000:00000000 03:00000F00 00000000     0        0 0 3 0\n" +
			"   3: 0100007F:C351 0200007F:01BB 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0\n"
		s.files["/proc/net/tcp6"] = procHeading +
			"   0: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:C352 08 00000000:00000001 00:00000000 00000000  1000        0 4713 1 0 20 4 30 10 -1\n"
		s.lines("owners", `"99" "12" "1024" "/system.slice/x.service" "srv" 4711 4712 4713`+"\n", "unreadable 0\n")
		facts, gaps := collectFrom(t, s, socketOptions{})
		if len(gaps) != 1 || !gaps[0].Notice || !strings.Contains(gaps[0].Why, errno.Error()) {
			t.Errorf("%v: gaps %+v, want one notice with the reason", errno, gaps)
		}
		if n := len(s.questions("sock_diag")); n != 1 {
			t.Errorf("%v: asked %d times what was refused", errno, n)
		}
		row := onlyRow(t, facts, "close_wait")
		for column, want := range map[string]int64{"count": 2, "unread": 1, "read_all": 1, "unread_bytes": 43, "port": 8080, "queue_used": 3} {
			if n := number(t, row.Cells[column]); n != want {
				t.Errorf("%v: close_wait %s = %d, want %d", errno, column, n, want)
			}
		}
		for _, column := range []string{"oldest_at_least", "oldest_at_most", "stale", "spread", "queue_limit"} {
			if row.Cells[column].State != advisor.StateUnknown {
				t.Errorf("%v: close_wait %s = %+v, want unknown", errno, column, row.Cells[column])
			}
		}
		if row.Origin.Path != "/proc/net/tcp" {
			t.Errorf("origin %+v", row.Origin)
		}
		d := socketRow(t, facts, "dialled", map[string]string{"destination": "127.0.0.2"})
		if number(t, d.Cells["time_wait"]) != 1 || number(t, d.Cells["time_wait_young"]) != 1 {
			t.Errorf("dialled %+v", d.Cells)
		}
		if n := number(t, onlyRow(t, facts, "fin_wait2").Cells["orphaned"]); n != 1 {
			t.Errorf("%d orphaned, want 1", n)
		}
	}
}

func TestNothingReadable(t *testing.T) {
	s := newScriptTree()
	s.say("sock_diag/listen", errnoMessage(unix.EPERM))
	facts, gaps := collectFrom(t, s, socketOptions{})
	if len(gaps) != 1 || gaps[0].Notice || facts.Table("close_wait").Unknown == "" ||
		facts.Scalar("tcp.close_wait").State != advisor.StateUnknown {
		t.Errorf("gaps %+v, table %+v: want a gap and unknown facts", gaps, facts.Table("close_wait"))
	}
	s.answers["sock_diag/listen"] = answer{err: errNotLive}
	facts, gaps = collectFrom(t, s, socketOptions{})
	if len(gaps) != 0 || facts.Table("listeners").Absent == "" {
		t.Errorf("gaps %+v: files without a kernel have no sockets, which is no gap", gaps)
	}
}

func TestStopsWhenToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var b advisor.Builder
	gaps := collectSockets(ctx, thisMachine{}, socketOptions{}, &b)
	if f := b.Facts(); len(gaps) != 1 || f.Scalar("tcp.listen").State != advisor.StateUnknown {
		t.Errorf("gaps %+v: want the interruption", gaps)
	}
}

// TestScanAgreesWithMdlayher reads the same sockets through another implementation of netlink.
func TestScanAgreesWithMdlayher(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	for range 50 {
		c, s := pair(t, ln)
		hold(t, c, s)
	}
	unread := listen(t, "tcp", "[::1]:0")
	for range 7 {
		c, s := pair(t, unread)
		hold(t, s)
		write(t, c, "12345")
		c.Close()
	}
	type line struct {
		cookie                uint64
		state                 uint8
		local, remote         ipAddr
		localPort, remotePort uint16
		rqueue, inode         uint32
		received, ack         bool
	}
	parse := func(k *diagSocket) line {
		times := k.times()
		return line{k.cookie, k.state, k.local, k.remote, k.localPort, k.remotePort, k.rqueue, k.inode, times.known, times.ack < 60_000}
	}
	byCookie := func(a, b line) int { return int(int64(a.cookie) - int64(b.cookie)) }
	var both []line
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6, unix.AF_UNSPEC} {
		r := diagRequest{name: "x", family: family, states: maskListen | maskCloseWait | maskOthers, ext: askInfo}
		var ours, theirs []line
		if _, err := scan(t.Context(), thisMachine{}, r, func(k *diagSocket) { ours = append(ours, parse(k)) }); err != nil {
			t.Fatal(err)
		}
		for _, m := range mdlayherDump(t, r) {
			var k diagSocket
			k.parse(m.Data)
			theirs = append(theirs, parse(&k))
		}
		slices.SortFunc(ours, byCookie)
		slices.SortFunc(theirs, byCookie)
		if len(ours) == 0 || !slices.Equal(ours, theirs) {
			t.Errorf("family %d: %d sockets, mdlayher has %d, or they differ", family, len(ours), len(theirs))
		}
		if family != unix.AF_UNSPEC {
			both = append(both, ours...)
		} else if slices.SortFunc(both, byCookie); !slices.Equal(ours, both) {
			t.Errorf("%d sockets at once, %d family by family, or they differ", len(ours), len(both))
		}
	}
}

func mdlayherDump(t *testing.T, r diagRequest) []netlink.Message {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := r.marshal()
	messages, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(binary.NativeEndian.Uint16(request[4:])), Flags: netlink.Request | netlink.Dump},
		Data:   request[nlHeaderSize:],
	})
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// FuzzDiagWalk: no answer makes the walk fall, run for ever, or read beyond the piece.
func FuzzDiagWalk(f *testing.F) {
	full := fakeSocket{
		state: stateCloseWait, local: "192.0.2.1:80", remote: "198.51.100.1:999", rqueue: 1, inode: 5,
		cookie: 77, sent: 1, received: 2, ack: 1, cgroup: 9, v6Only: true,
	}
	f.Add(full.message())
	f.Add(append(full.message(), doneMessage()...))
	f.Add(errnoMessage(unix.EPERM))
	f.Add(netlinkMessage(unix.NLMSG_OVERRUN, 0, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		seen := 0
		ls := newListenSet()
		ss := newSuspectSet(ls)
		fl := newFlowSet(ls, func(destination) bool { return false }, defaultReuse)
		w := diagWalk{visit: func(k *diagSocket) {
			seen++
			k.times()
			k.cgroup()
			k.drops()
			k.v6Only()
			switch k.state {
			case stateListen:
				ls.add(k)
				fl.accepted = append(fl.accepted, listenerFlow{})
			case stateCloseWait:
				ss.add(k)
			default:
				fl.add(k)
			}
		}}
		err := w.piece(slices.Clip(data))
		if seen*(nlHeaderSize+diagMsgSize) > len(data) {
			t.Errorf("%d sockets in %d bytes", seen, len(data))
		}
		if err != nil && !w.done {
			t.Error("an error did not end the walk")
		}
		ss.finish()
		for _, g := range ss.group(&owners{}) {
			g.untilLimit()
		}
	})
}

// FuzzProcTCP: no text makes the parser fall, and what it takes it takes whole.
func FuzzProcTCP(f *testing.F) {
	f.Add([]byte(procHeading + "   0: 00000000:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 4711 1 0\n"))
	f.Add([]byte(procHeading + "\n\n   0: x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		seen := 0
		bad := walkProcTCP(data, ^uint32(0), func(*diagSocket) { seen++ })
		if lines := strings.Count(string(data), "\n") + 1; seen+bad > lines {
			t.Errorf("%d sockets and %d bad lines of %d lines", seen, bad, lines)
		}
	})
}

// FuzzOwnerRecord: a capture's line may be anything.
func FuzzOwnerRecord(f *testing.F) {
	f.Add([]byte(`"99" "12" "1024" "/system.slice/x.service" "srv" 4711 4712` + "\n"))
	f.Add([]byte("unreadable 3\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := &owners{byInode: map[uint32]*owner{}}
		if err := o.piece(data); err != nil && len(o.byInode) > strings.Count(string(data), " ") {
			t.Error(err)
		}
	})
}

// thisMachine is the tree of the live machine, as far as sockets need it.
type thisMachine struct{}

func (thisMachine) read(path string, limit int64) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil && int64(len(b)) > limit {
		return nil, errTooLarge
	}
	return b, err
}

func (thisMachine) list(string) ([]entry, error)     { return nil, fs.ErrNotExist }
func (thisMachine) resolve(p string) (string, error) { return p, nil }
func (thisMachine) source() string                   { return "live" }

func (thisMachine) ask(_ string, live func(func([]byte) error) error, use func([]byte) error) error {
	var failed error
	err := live(func(p []byte) error {
		failed = use(p)
		return failed
	})
	if failed != nil {
		return failed
	}
	return err
}

// TestScanThatStaysBrokenIsAGap: after three attempts the text files are read instead and the reason is told; where these cannot
// be read either, it is a gap, and each fact is unknown.
func TestScanThatStaysBrokenIsAGap(t *testing.T) {
	for _, c := range []struct {
		name     string
		pass     string
		pieces   [][]byte
		attempts int
		says     string
	}{
		{"ENOBUFS while the listeners are read", "listen", [][]byte{errnoMessage(unix.ENOBUFS)}, diagAttempts, unix.ENOBUFS.Error()},
		{"ENOBUFS in the midst of CLOSE_WAIT", "close-wait", [][]byte{errnoMessage(unix.ENOBUFS)}, diagAttempts, unix.ENOBUFS.Error()},
		{"ENOMEM", "others", [][]byte{established(1).message(), errnoMessage(unix.ENOMEM)}, diagAttempts, unix.ENOMEM.Error()},
		{"no end", "others", [][]byte{established(1).message()}, diagAttempts, errNoEnd.Error()},
		{"EPERM by a filter", "others", [][]byte{errnoMessage(unix.EPERM)}, 1, unix.EPERM.Error()},
		{"no inet_diag", "close-wait", [][]byte{errnoMessage(unix.ENOENT)}, 1, unix.ENOENT.Error()},
		{"a kernel that is silent", "others", [][]byte{errnoMessage(unix.ETIMEDOUT)}, 1, unix.ETIMEDOUT.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScriptTree()
			for _, pass := range []string{"listen", "close-wait", "others"} {
				for _, suffix := range []string{"", "~2", "~3"} {
					s.sockets("sock_diag/" + pass + suffix)
					if pass == c.pass {
						s.say("sock_diag/"+pass+suffix, c.pieces...)
					}
				}
			}
			facts, gaps := collectFrom(t, s, socketOptions{})
			if len(gaps) != 1 || gaps[0].Notice || !strings.Contains(gaps[0].Why, c.says) || !strings.Contains(gaps[0].Why, "/proc/net/tcp") {
				t.Errorf("gaps %+v, want one that gives both reasons", gaps)
			}
			for _, key := range []string{"tcp.established", "tcp.close_wait", "tcp.listen", "tcp.approximate"} {
				if f := facts.Scalar(key); f.State != advisor.StateUnknown {
					t.Errorf("%s = %+v, want unknown", key, f)
				}
			}
			if n := len(s.questions("sock_diag/" + c.pass)); n != c.attempts {
				t.Errorf("%d attempts, want %d", n, c.attempts)
			}
			s.files["/proc/net/tcp"], s.files["/proc/net/tcp6"] = procHeading, procHeading
			facts, gaps = collectFrom(t, s, socketOptions{})
			if len(gaps) != 1 || !gaps[0].Notice || !strings.Contains(gaps[0].Why, c.says) {
				t.Errorf("gaps %+v, want one notice with the reason", gaps)
			}
			if n := number(t, facts.Scalar("tcp.established")); n != 0 {
				t.Errorf("%d established: what a broken dump told is counted", n)
			}
		})
	}
}

// TestReceiveAfterASignal: a signal that breaks recvfrom() off, which SO_RCVTIMEO makes it do whatever the handler's flags are
// (signal(7)), loses no datagram.
func TestReceiveAfterASignal(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if err := unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: diagTimeout}); err != nil {
		t.Fatal(err)
	}
	thread := make(chan int)
	go func() {
		tid := <-thread
		for range 50 { // Go has a handler for SIGURG, which preempts
			time.Sleep(2 * time.Millisecond)
			_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // the thread is locked, and so alive
		}
		_, _ = unix.Write(fds[1], []byte("datagram")) // without it the receiver times out, and fails
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread <- unix.Gettid()
	buf := make([]byte, 64)
	if n, err := receive(fds[0], buf); err != nil || string(buf[:n]) != "datagram" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}
