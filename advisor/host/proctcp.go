package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// procTCPLimit bounds /proc/net/tcp: some 400,000 sockets at 150 bytes each. The file is the fallback only; it is held
// as a whole since the listeners of both files must be known before the first connection is judged.
const procTCPLimit = 64 << 20

// readProcTCP returns /proc/net/tcp and tcp6, for a kernel or container that refuses sock_diag. There are no ages, no
// cookies and no queue limits in it (net/ipv4/tcp_ipv4.c tcp4_seq_show).
func readProcTCP(t tree) (v4, v6 []byte, err error) {
	v4, err = t.read("/proc/net/tcp", procTCPLimit)
	if err != nil {
		return nil, nil, fmt.Errorf("reading /proc/net/tcp: %w", err)
	}
	v6, err = t.read("/proc/net/tcp6", procTCPLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // missing: a kernel without IPv6
		return nil, nil, fmt.Errorf("reading /proc/net/tcp6: %w", err)
	}
	return v4, v6, nil
}

// walkProcTCP calls visit for each socket of that text whose state is in the mask, and returns how many lines it did
// not understand.
func walkProcTCP(text []byte, states uint32, visit func(*diagSocket)) (bad int) {
	var s diagSocket
	_, text, _ = bytes.Cut(text, []byte{'\n'}) // the heading
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !s.parseProc(line) {
			bad++
		} else if states>>s.state&1 != 0 {
			visit(&s)
		}
	}
	return bad
}

// parseProc reads one line: "sl: local remote st tx:rx tr:when retransmits uid timeout inode ...".
func (s *diagSocket) parseProc(line []byte) bool {
	var f [10][]byte
	for i := range f {
		line = bytes.TrimLeft(line, " ")
		f[i], line, _ = bytes.Cut(line, []byte{' '})
	}
	*s = diagSocket{}
	var ok [8]bool
	s.local, s.localPort, ok[0] = procEndpoint(f[1])
	s.remote, s.remotePort, ok[1] = procEndpoint(f[2])
	state, okState := procNumber(f[3], 16)
	tx, rx, okQueue := procPair(f[4])
	timer, when, okTimer := procPair(f[5])
	uid, okUID := procNumber(f[7], 10)
	inode, okInode := procNumber(f[9], 10)
	s.state, s.timer = uint8(state)&(stateCount-1), uint8(timer)
	s.wqueue, s.rqueue = tx, rx
	s.expires = min(when, 1<<28) * 10 // USER_HZ is 100
	s.uid, s.inode = uid, inode
	return ok[0] && ok[1] && okState && okQueue && okTimer && okUID && okInode
}

// procEndpoint reads "0100007F:1F90": the address as host-order words in hexadecimal, the port likewise.
func procEndpoint(b []byte) (addr ipAddr, port uint16, ok bool) {
	words, portText, found := bytes.Cut(b, []byte{':'})
	p, okPort := procNumber(portText, 16)
	if !found || !okPort || p > 0xffff || len(words) != 8 && len(words) != 32 {
		return addr, 0, false
	}
	at := 0
	if len(words) == 8 {
		addr.setV4(make([]byte, 4))
		at = 12
	}
	for ; len(words) > 0; words = words[8:] {
		n, okWord := procNumber(words[:8], 16)
		if !okWord {
			return addr, 0, false
		}
		binary.NativeEndian.PutUint32(addr[at:], n)
		at += 4
	}
	return addr, uint16(p), true
}

// procPair reads two hexadecimal numbers with a colon between.
func procPair(b []byte) (first, second uint32, ok bool) {
	left, right, found := bytes.Cut(b, []byte{':'})
	first, okFirst := procNumber(left, 16)
	second, okSecond := procNumber(right, 16)
	return first, second, found && okFirst && okSecond
}

// procNumber reads an unsigned number without allocating; a line has nine.
func procNumber(b []byte, base uint64) (uint32, bool) {
	var n uint64
	for _, c := range b {
		var d uint64
		switch {
		case c >= '0' && c <= '9':
			d = uint64(c - '0')
		case c >= 'A' && c <= 'F':
			d = uint64(c-'A') + 10
		case c >= 'a' && c <= 'f':
			d = uint64(c-'a') + 10
		default:
			return 0, false
		}
		if n = n*base + d; d >= base || n > 0xffffffff {
			return 0, false
		}
	}
	return uint32(n), len(b) > 0
}
