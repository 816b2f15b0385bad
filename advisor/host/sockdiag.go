package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// TCP states as the kernel numbers them (include/net/tcp_states.h).
const (
	stateEstablished = 1
	stateSynSent     = 2
	stateSynRecv     = 3
	stateFinWait1    = 4
	stateFinWait2    = 5
	stateTimeWait    = 6
	stateCloseWait   = 8
	stateLastAck     = 9
	stateListen      = 10
	stateClosing     = 11
	stateBound       = 13 // bound and nothing more; kernels before 6.8 do not tell
	stateCount       = 16 // one more than each state that four bits hold
)

// State masks of the three passes. CLOSE (7) is not asked for: such a socket is in no table of connections.
const (
	maskListen    = 1 << stateListen
	maskCloseWait = 1 << stateCloseWait
	maskOthers    = 1<<stateEstablished | 1<<stateSynSent | 1<<stateSynRecv | 1<<stateFinWait1 | 1<<stateFinWait2 |
		1<<stateTimeWait | 1<<stateLastAck | 1<<stateClosing
	maskBound = 1 << stateBound
)

// Timers (idiag_timer, net/ipv4/inet_diag.c inet_sk_diag_fill).
const (
	timerRetransmit = 1
	timerKeepalive  = 2
	timerMiniSocket = 3 // TIME_WAIT, and FIN_WAIT2 without an owner
	timerZeroWindow = 4
)

// Attributes of an answer, and the request bits (attribute - 1) that ask for them (include/uapi/linux/inet_diag.h).
const (
	attrInfo     = 2
	attrSkMem    = 7
	attrV6Only   = 11
	attrCgroupID = 21

	askInfo  = 1 << (attrInfo - 1)
	askSkMem = 1 << (attrSkMem - 1)
)

const (
	nlHeaderSize   = 16
	tcpDiagGetSock = 18        // TCPDIAG_GETSOCK, the request before families were told apart
	diagReqSize    = 56        // struct inet_diag_req_v2
	diagOldReqSize = 60        // struct inet_diag_req
	diagMsgSize    = 72        // struct inet_diag_msg
	diagBufferSize = 32 * 1024 // netlink_dump() makes no chunk larger than this (net/netlink/af_netlink.c)
	diagTimeout    = 10        // seconds; a dump is answered inside recvmsg(), so silence is a broken kernel or filter
	diagAttempts   = 3
)

// What a dump answers beside an errno.
var (
	errMalformed = errors.New("malformed netlink answer")
	errNoEnd     = errors.New("the answer ends in the middle")
)

// ipAddr is an address as sockets are compared: IPv4 stands in its v4-mapped form, so that an IPv4 peer of an IPv6
// socket is the same peer.
type ipAddr [16]byte

// setV4 makes a the v4-mapped form of four bytes, in two stores: each socket of a dump comes here twice.
func (a *ipAddr) setV4(b []byte) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.LittleEndian.PutUint64(a[8:], uint64(binary.LittleEndian.Uint32(b))<<32|0xffff0000)
}

func (a *ipAddr) isV4() bool {
	return binary.LittleEndian.Uint64(a[:8]) == 0 && binary.LittleEndian.Uint32(a[8:12]) == 0xffff0000
}

// isWildcard reports whether a is 0.0.0.0 or "::".
func (a *ipAddr) isWildcard() bool {
	return binary.LittleEndian.Uint64(a[:8]) == 0 && binary.LittleEndian.Uint32(a[12:]) == 0 &&
		(binary.LittleEndian.Uint32(a[8:12]) == 0 || a.isV4())
}

// isLoopback follows tcp_twsk_unique (net/ipv4/tcp_ipv4.c): 127/8, plain or v4-mapped, and ::1.
func (a *ipAddr) isLoopback() bool {
	return a.isV4() && a[12] == 127 || *a == ipAddr{15: 1}
}

// diagSocket is one socket of an answer. It is valid only while the visitor runs: the walk uses one for all.
type diagSocket struct {
	state, timer          uint8
	localPort, remotePort uint16
	local, remote         ipAddr
	expires               uint32 // ms left of timer
	rqueue, wqueue        uint32
	uid, inode            uint32 // 0 of a mini-socket means nothing
	cookie                uint64 // 0: not told (/proc/net/tcp)
	attrs                 []byte
}

// parse reads a struct inet_diag_msg with its attributes; b holds at least diagMsgSize bytes.
func (s *diagSocket) parse(b []byte) {
	_ = b[diagMsgSize-1]
	s.state, s.timer = b[1]&(stateCount-1), b[2]
	s.localPort = binary.BigEndian.Uint16(b[4:])
	s.remotePort = binary.BigEndian.Uint16(b[6:])
	if b[0] == unix.AF_INET {
		s.local.setV4(b[8:12])
		s.remote.setV4(b[24:28])
	} else {
		s.local = ipAddr(b[8:24])
		s.remote = ipAddr(b[24:40])
	}
	s.cookie = uint64(binary.NativeEndian.Uint32(b[44:])) | uint64(binary.NativeEndian.Uint32(b[48:]))<<32
	s.expires = binary.NativeEndian.Uint32(b[52:])
	s.rqueue = binary.NativeEndian.Uint32(b[56:])
	s.wqueue = binary.NativeEndian.Uint32(b[60:])
	s.uid = binary.NativeEndian.Uint32(b[64:])
	s.inode = binary.NativeEndian.Uint32(b[68:])
	s.attrs = b[diagMsgSize:]
}

// attr returns the payload of the first attribute of that type; nil where there is none.
func (s *diagSocket) attr(want uint16) []byte {
	for a := s.attrs; len(a) >= 4; {
		size, kind := int(binary.NativeEndian.Uint16(a)), binary.NativeEndian.Uint16(a[2:])
		if size < 4 || size > len(a) {
			return nil
		}
		if kind == want {
			return a[4:size]
		}
		a = a[min(align4(size), len(a)):]
	}
	return nil
}

// socketTimes are three fields of struct tcp_info: milliseconds since the last payload was sent, the last payload was
// received, and the last ACK was received. A FIN renews the ACK's and, without payload, not the receive time, so that
// ack <= time since the FIN <= received.
type socketTimes struct {
	sent, received, ack uint32
	known               bool
}

func (s *diagSocket) times() socketTimes {
	info := s.attr(attrInfo)
	if len(info) < 60 { // the kernel sends the tcp_info it knows; these fields are in each since 2.4
		return socketTimes{}
	}
	return socketTimes{
		sent:     binary.NativeEndian.Uint32(info[44:]),
		received: binary.NativeEndian.Uint32(info[52:]),
		ack:      binary.NativeEndian.Uint32(info[56:]),
		known:    true,
	}
}

// cgroup is the inode number of the socket's cgroup v2 directory; 0 where the kernel does not tell (before 5.8).
func (s *diagSocket) cgroup() uint64 {
	if b := s.attr(attrCgroupID); len(b) >= 8 {
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}

// v6Only reports IPV6_V6ONLY of a listener.
func (s *diagSocket) v6Only() bool {
	b := s.attr(attrV6Only)
	return len(b) > 0 && b[0] != 0
}

// drops is the number of connections that this listener lost, from SK_MEMINFO_DROPS; tcp_listendrop() counts there
// since 4.9, and the length of tcp_info (tcpi_delivery_rate, same release) tells such a kernel.
func (s *diagSocket) drops() (n uint32, known bool) {
	b := s.attr(attrSkMem)
	if len(b) < 36 || len(s.attr(attrInfo)) < 168 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(b[32:]), true
}

// diagWalk takes one dump's pieces, as they came from the kernel or from a capture, and calls visit for each socket.
type diagWalk struct {
	visit       func(*diagSocket)
	sock        diagSocket
	done        bool
	interrupted bool  // NLM_F_DUMP_INTR: the table changed under the dump
	err         error // the kernel's refusal, or a malformed answer
}

// piece walks the messages of one datagram.
func (w *diagWalk) piece(p []byte) error {
	for len(p) > 0 && !w.done {
		if len(p) < nlHeaderSize {
			return w.fail(errMalformed)
		}
		size := int(binary.NativeEndian.Uint32(p))
		if size < nlHeaderSize || size > len(p) {
			return w.fail(errMalformed)
		}
		if err := w.message(binary.NativeEndian.Uint16(p[4:]), binary.NativeEndian.Uint16(p[6:]), p[nlHeaderSize:size]); err != nil {
			return err
		}
		p = p[min(align4(size), len(p)):]
	}
	return nil
}

func (w *diagWalk) message(kind, flags uint16, body []byte) error {
	if flags&unix.NLM_F_DUMP_INTR != 0 {
		w.interrupted = true
	}
	switch kind {
	case unix.SOCK_DIAG_BY_FAMILY, tcpDiagGetSock: // the kernel repeats the request's
		if len(body) < diagMsgSize {
			return w.fail(errMalformed)
		}
		w.sock.parse(body)
		w.visit(&w.sock)
	case unix.NLMSG_DONE:
		w.done = true
		if len(body) >= 4 { // netlink_dump_done() puts the dump's result there
			return w.refused(int32(binary.NativeEndian.Uint32(body)))
		}
	case unix.NLMSG_ERROR:
		w.done = true
		if len(body) < 4 {
			return w.fail(errMalformed)
		}
		return w.refused(int32(binary.NativeEndian.Uint32(body)))
	case unix.NLMSG_OVERRUN:
		return w.fail(unix.ENOBUFS)
	}
	return nil // NLMSG_NOOP, and what a later kernel may add
}

func (w *diagWalk) refused(code int32) error {
	if code >= 0 {
		return nil
	}
	return w.fail(unix.Errno(-int64(code)))
}

func (w *diagWalk) fail(err error) error {
	w.done, w.err = true, err
	return err
}

// result says how the dump ended; asked is what tree.ask returned.
func (w *diagWalk) result(asked error) error {
	switch {
	case w.err != nil:
		return w.err // before asked: a capture holds the messages, perhaps not the errno
	case asked != nil:
		return asked
	case !w.done:
		return errNoEnd
	}
	return nil
}

// diagRequest is one dump: the sockets of a family in some states, with extensions. AF_UNSPEC means both families.
type diagRequest struct {
	name   string // for the capture: "sock_diag/listen"; "sock_diag/4/listen" of one family
	family uint8
	states uint32
	ext    uint8
}

// marshal makes the netlink message. Both families are what the old request dumps (net/ipv4/inet_diag.c
// inet_diag_dump_compat); the newer one refuses AF_UNSPEC (net/core/sock_diag.c __sock_diag_cmd).
func (r diagRequest) marshal() []byte {
	kind, size := uint16(unix.SOCK_DIAG_BY_FAMILY), nlHeaderSize+diagReqSize
	if r.family == unix.AF_UNSPEC {
		kind, size = tcpDiagGetSock, nlHeaderSize+diagOldReqSize
	}
	b := make([]byte, size)
	binary.NativeEndian.PutUint32(b, uint32(size))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(b[8:], 1)
	if kind == tcpDiagGetSock {
		b[19] = r.ext
		binary.NativeEndian.PutUint32(b[68:], r.states)
		return b
	}
	b[16], b[17], b[18] = r.family, unix.IPPROTO_TCP, r.ext
	binary.NativeEndian.PutUint32(b[20:], r.states)
	return b
}

// scan streams the sockets of one dump to visit. Nothing is allocated per socket.
func scan(ctx context.Context, t tree, r diagRequest, visit func(*diagSocket)) (interrupted bool, err error) {
	w := diagWalk{visit: visit}
	asked := t.ask(r.name, func(emit func([]byte) error) error {
		return dump(ctx, r, emit, &w.done)
	}, w.piece)
	return w.interrupted, w.result(asked)
}

// dump sends the request to this thread's network namespace and hands over what comes, until the walk has seen its end.
// A failing system call is handed over as the netlink message that says the same: a capture then replays it exactly.
func dump(ctx context.Context, r diagRequest, emit func([]byte) error, done *bool) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return emit(errnoMessage(err))
	}
	defer unix.Close(fd)
	// Best effort: without it a kernel that never answers would hold us, with it we fail.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: diagTimeout})
	if err := unix.Sendto(fd, r.marshal(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return emit(errnoMessage(err))
	}
	buf := make([]byte, diagBufferSize)
	for !*done {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := receive(fd, buf)
		if err != nil {
			return emit(errnoMessage(err))
		}
		if err := emit(buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// receive reads one datagram of the kernel. MSG_TRUNC makes the kernel tell the true length, so a cut is never silent.
func receive(fd int, buf []byte) (int, error) {
	for {
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_TRUNC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN: // SO_RCVTIMEO
			return 0, unix.ETIMEDOUT
		case err != nil:
			return 0, err
		case n > len(buf):
			return 0, unix.EMSGSIZE
		case n == 0:
			return 0, unix.ENODATA
		}
		if sa, ok := from.(*unix.SockaddrNetlink); ok && sa.Pid != 0 {
			continue // another process may write to our port; only 0 is the kernel
		}
		return n, nil
	}
}

// errnoMessage is the NLMSG_ERROR that tells err.
func errnoMessage(err error) []byte {
	errno := unix.EIO
	errors.As(err, &errno)
	b := make([]byte, nlHeaderSize+4)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_ERROR)
	binary.NativeEndian.PutUint32(b[nlHeaderSize:], uint32(-int32(errno)))
	return b
}

// diagPass is one set of states, asked for both families.
type diagPass struct {
	name   string // "listen"
	states uint32
	ext    uint8
}

// run makes a pass. A dump that was interrupted or failed repeats the whole pass with a fresh visitor, for two families
// share one aggregate; the answer of the last attempt stands, approximate where it was interrupted.
func (p diagPass) run(ctx context.Context, t tree, fresh func() func(*diagSocket)) (approximate bool, err error) {
	for attempt := 1; ; attempt++ {
		approximate, err = p.attempt(ctx, t, attempt, fresh())
		again := approximate || isPassing(err)
		if !again || attempt == diagAttempts {
			return approximate, err
		}
	}
}

// attempt asks for both families at once, for each dump walks the whole table of connections; and family by family
// where the kernel does not know that request, or a capture was made without it.
func (p diagPass) attempt(ctx context.Context, t tree, attempt int, visit func(*diagSocket)) (approximate bool, err error) {
	approximate, err = p.dump(ctx, t, attempt, "", unix.AF_UNSPEC, visit)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, errNotCaptured) {
		return approximate, err
	}
	if approximate, err = p.dump(ctx, t, attempt, "4/", unix.AF_INET, visit); err != nil {
		return false, err
	}
	also, err := p.dump(ctx, t, attempt, "6/", unix.AF_INET6, visit)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, errNotCaptured) {
		err = nil // a kernel without IPv6, or a capture of one without IPv6 sockets, for IPv4 was answered
	}
	return approximate || also, err
}

func (p diagPass) dump(ctx context.Context, t tree, attempt int, part string, family uint8, visit func(*diagSocket)) (bool, error) {
	r := diagRequest{name: "sock_diag/" + part + p.name, family: family, states: p.states, ext: p.ext}
	if attempt > 1 {
		r.name += fmt.Sprintf("~%d", attempt)
	}
	interrupted, err := scan(ctx, t, r, visit)
	if err != nil {
		return false, fmt.Errorf("%s: %w", r.name, err)
	}
	return interrupted, nil
}

// isPassing tells what a repetition may mend. A refusal is not: no inet_diag module (ENOENT), a security filter (EPERM).
func isPassing(err error) bool {
	for _, target := range [...]error{errMalformed, errNoEnd, unix.ENOBUFS, unix.ENOMEM, unix.EMSGSIZE, unix.ENODATA} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func align4(n int) int { return (n + 3) &^ 3 }
