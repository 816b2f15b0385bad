package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

const (
	maxSuspects    = 32 << 10         // CLOSE_WAIT sockets kept one by one: 3 MB
	maxGroups      = 8 << 10          // destinations and peers counted at once
	maxSocketRows  = 256              // rows of a table
	maxListenRows  = 4096             // rows of listeners, each of which a rule may judge
	ownedFrom      = 1000             // sockets to one destination from which the process that dials is looked for
	sampledFrom    = 32               // sockets to a destination from which more than one is kept
	sampledInodes  = 512              // of a destination: its process is mostly told by its first descriptors then, see firstFDs
	timeWaitLength = 60 * time.Second // TCP_TIMEWAIT_LEN, fixed (include/net/tcp.h)
	defaultReuse   = time.Second      // tcp_tw_reuse_delay, fixed before 6.14
	freshMillis    = 2000             // an end of stream younger than this is normal traffic: under load 8 ms were measured
	patienceFloor  = 100              // ms; less is a peer that sent its end together with its data, not one that waited
	spreadSlices   = 10
	leastGrowth    = 3 // sockets between two looks from which a rate is told
)

// socketOptions is what the socket collector needs from others.
type socketOptions struct {
	reuseDelay time.Duration   // tcp_tw_reuse_delay; 0: the default of one second
	sockstat   *sockstatCounts // nil: not known, so that all states are read
	// beside runs something in the same network namespace while the caller goes on, perhaps; nil: in any thread.
	beside func(do func(error)) (wait func())
}

// sockstatCounts are /proc/net/sockstat and sockstat6: TCP inuse (listeners too), TCP6 inuse, and tw.
type sockstatCounts struct{ inUse, inUse6, timeWait int64 }

// noSockets records that nothing was read. Files alone have no sockets: that is no gap.
func noSockets(err error, b *advisor.Builder) []advisor.Gap {
	table := advisor.Table{Unknown: err.Error()}
	fact := advisor.Unknown(err.Error(), advisor.Origin{Source: "sock_diag"})
	gaps := []advisor.Gap{{Source: "sock_diag", Why: err.Error()}}
	if errors.Is(err, errNotLive) {
		table = advisor.Table{Absent: "files alone have no sockets"}
		fact, gaps = advisor.Absent(table.Absent, advisor.Origin{}), nil
	}
	for _, name := range socketTables() {
		b.SetTable(name, table)
	}
	for _, st := range countedStates() {
		b.Set(st.key, fact)
	}
	b.Set("tcp.keepalive", fact)
	b.Set("tcp.approximate", fact)
	return gaps
}

func socketTables() []string {
	return []string{"listeners", "dialled", "time_wait", "close_wait", "fin_wait2", "established"}
}

type countedState struct {
	key   string
	state uint8
}

func countedStates() []countedState {
	return []countedState{
		{"tcp.established", stateEstablished},
		{"tcp.syn_sent", stateSynSent},
		{"tcp.syn_recv", stateSynRecv},
		{"tcp.fin_wait1", stateFinWait1},
		{"tcp.fin_wait2", stateFinWait2},
		{"tcp.time_wait", stateTimeWait},
		{"tcp.close_wait", stateCloseWait},
		{"tcp.last_ack", stateLastAck},
		{"tcp.listen", stateListen},
		{"tcp.closing", stateClosing},
	}
}

// socketSnapshot is one look at the sockets. Its size does not grow with their number: see the limits above.
type socketSnapshot struct {
	origin      advisor.Origin
	fromProc    bool // /proc/net/tcp: no ages, no cookies, no cgroups, no queue limits
	approximate bool // the table changed under each attempt
	unlooked    bool // sockstat says that there is nothing but listeners
	reuseDelay  time.Duration
	listeners   *listenSet
	suspects    *suspectSet
	flows       *flowSet
	search      *ownerSearch
	owners      *owners
	cgroups     map[uint64]string
	closeWait   []*closeWaitGroup // by count, largest first
	earlier     *earlierLook      // nil: this is the first
}

// earlierLook is what an earlier snapshot adds to a later one.
type earlierLook struct {
	dt        time.Duration // between the two
	closeWait map[closeWaitName]closeWaitTrend
	drops     map[*listener]int64 // since then, of those listeners that count
}

// observeSockets takes a snapshot: from sock_diag, or where that is refused from /proc/net/tcp.
func observeSockets(ctx context.Context, t tree, opts socketOptions) (*socketSnapshot, []advisor.Gap, error) {
	if opts.beside == nil {
		opts.beside = func(do func(error)) func() { return atOnce(func() { do(nil) }) }
	}
	s := newSocketSnapshot(opts)
	var gaps []advisor.Gap
	if err := s.readDiag(ctx, t, opts); err != nil {
		if ctx.Err() != nil || errors.Is(err, context.Canceled) || errors.Is(err, errNotLive) { // the replay of an interruption is one
			return nil, nil, err
		}
		s = newSocketSnapshot(opts)
		bad, errProc := s.readProc(ctx, t)
		if errProc != nil {
			return nil, nil, fmt.Errorf("%w; %w", err, errProc)
		}
		gaps = append(gaps, advisor.Gap{
			Source: "sock_diag", Notice: true,
			Why: err.Error() + "; /proc/net/tcp was read instead, so ages, cgroups and queue limits are unknown",
		})
		if bad > 0 {
			gaps = append(gaps, advisor.Gap{Source: "/proc/net/tcp", Why: fmt.Sprintf("%d lines not understood", bad)})
		}
	}
	if s.approximate {
		gaps = append(gaps, advisor.Gap{
			Source: "sock_diag", Notice: true,
			Why: fmt.Sprintf("the socket table changed during %d attempts to read it: counts are approximate", diagAttempts),
		})
	}
	return s, append(gaps, s.finish(ctx, t)...), nil
}

func newSocketSnapshot(opts socketOptions) *socketSnapshot {
	s := &socketSnapshot{origin: advisor.Origin{Source: "sock_diag"}, reuseDelay: opts.reuseDelay, listeners: newListenSet()}
	if s.reuseDelay <= 0 {
		s.reuseDelay = defaultReuse
	}
	s.suspects = newSuspectSet(s.listeners)
	s.flows = newFlowSet(s.listeners, s.isSuspected, s.reuseDelay)
	return s
}

// readDiag makes three passes: the listeners, which give each other socket its role; the connections; and, where one of
// these is in CLOSE_WAIT, all that are, with tcp_info, which costs three times the bytes. LISTEN has a hash of its own and
// costs nothing; either other pass walks the whole table of connections, so they run at once, and are left out where
// sockstat says that there is none. Owners are looked for meanwhile, too.
func (s *socketSnapshot) readDiag(ctx context.Context, t tree, opts socketOptions) error {
	pass := diagPass{name: "listen", states: maskListen, ext: askInfo | askSkMem}
	approximate, err := pass.run(ctx, t, func() func(*diagSocket) {
		s.listeners = newListenSet()
		return s.listeners.add
	})
	if err != nil {
		return err
	}
	s.approximate = approximate
	s.suspects = newSuspectSet(s.listeners)
	s.flows = newFlowSet(s.listeners, s.isSuspected, s.reuseDelay)
	s.search = startSearch(ctx, t)
	s.search.add(s.listenerInodes())
	counts := opts.sockstat
	if counts != nil && counts.inUse+counts.inUse6+counts.timeWait <= s.listeners.sockets {
		s.unlooked = true
		return nil
	}
	if err := s.readConnections(ctx, t, opts.beside); err != nil {
		s.search.end()
		return err
	}
	return nil
}

func (s *socketSnapshot) readConnections(ctx context.Context, t tree, beside func(func(error)) func()) error {
	known := make(chan struct{}) // closed when it is known what is in CLOSE_WAIT
	var approximate bool
	var err error
	var wait func() // nil: there is nothing
	suspect := func() {
		if wait != nil {
			return
		}
		wait = beside(func(failed error) {
			defer close(known)
			if err = failed; err == nil {
				approximate, err = s.readSuspects(ctx, t)
			}
		})
	}
	if t.source() == "capture" { // one that was made before CLOSE_WAIT was in the pass of connections says nothing of it there
		suspect()
	}
	pass := diagPass{name: "others", states: maskOthers | maskCloseWait}
	also, errOthers := pass.run(ctx, t, func() func(*diagSocket) {
		flows := newFlowSet(s.listeners, func(d destination) bool { suspect(); <-known; return s.isSuspected(d) }, s.reuseDelay)
		s.flows = flows
		return func(k *diagSocket) {
			if k.state == stateCloseWait {
				suspect()
				return
			}
			flows.add(k)
		}
	})
	if wait != nil {
		wait()
	}
	s.approximate = s.approximate || approximate || also
	return cmp.Or(err, errOthers)
}

// readSuspects reads what is in CLOSE_WAIT and has the owners looked for. A capture of a host where there was nothing does not
// have the answer.
func (s *socketSnapshot) readSuspects(ctx context.Context, t tree) (approximate bool, err error) {
	pass := diagPass{name: "close-wait", states: maskCloseWait, ext: askInfo}
	approximate, err = pass.run(ctx, t, func() func(*diagSocket) {
		s.suspects = newSuspectSet(s.listeners)
		return s.suspects.add
	})
	if err != nil && !errors.Is(err, errNotCaptured) {
		return approximate, err
	}
	s.suspects.finish()
	s.search.add(s.suspectInodes())
	return approximate, nil
}

// isSuspected tells destinations with a connection in CLOSE_WAIT.
func (s *socketSnapshot) isSuspected(d destination) bool {
	_, suspected := s.suspects.destinations[d]
	return suspected
}

// readProc fills the same aggregates from the text files.
func (s *socketSnapshot) readProc(ctx context.Context, t tree) (bad int, err error) {
	s.fromProc, s.origin = true, advisor.Origin{Path: "/proc/net/tcp"}
	v4, v6, err := readProcTCP(t)
	if err != nil {
		return 0, err
	}
	bad = walkProcTCP(v4, maskListen, s.listeners.add) + walkProcTCP(v6, maskListen, s.listeners.add)
	s.flows = newFlowSet(s.listeners, s.isSuspected, s.reuseDelay) // it counts by listener
	for _, text := range [...][]byte{v4, v6} {
		walkProcTCP(text, maskCloseWait, s.suspects.add)
		walkProcTCP(text, maskOthers, s.flows.add)
	}
	s.suspects.finish()
	s.search = startSearch(ctx, t)
	s.search.add(s.listenerInodes())
	s.search.add(s.suspectInodes())
	return bad, nil
}

// finish finds owners and groups the suspects by them.
func (s *socketSnapshot) finish(ctx context.Context, t tree) []advisor.Gap {
	s.flows.finish(s.suspects)
	s.search.add(s.destinationInodes())
	s.owners = s.search.end()
	for i := range s.flows.dialled.rows {
		s.flows.dialled.rows[i].nameDialler(s.owners)
	}
	for i := range s.listeners.all {
		l := &s.listeners.all[i]
		l.owner = s.owners.byInode[l.inode]
	}
	s.closeWait = s.suspects.group(s.owners)
	s.cgroups = findCgroups(ctx, t, s.wantedCgroups())
	if s.owners.err != nil || s.owners.unreadable > 0 {
		return []advisor.Gap{{Source: "/proc/PID/fd", Why: s.owners.missing(), Notice: true}}
	}
	return nil
}

func (s *socketSnapshot) listenerInodes() *wantedInodes {
	want := newWantedInodes()
	for i := range s.listeners.all {
		want.ask(alone, s.listeners.all[i].inode)
	}
	return want
}

// suspectInodes are those in CLOSE_WAIT. A listener or a destination is a service; who holds the listener will hold them.
func (s *socketSnapshot) suspectInodes() *wantedInodes {
	want := newWantedInodes()
	destinations := map[destination]int{}
	for i := range s.suspects.kept {
		x := &s.suspects.kept[i]
		service := int(x.listener)
		if service < 0 {
			to := destination{x.remote, x.remotePort}
			if _, ok := destinations[to]; !ok {
				destinations[to] = len(s.listeners.all) + len(destinations)
			}
			service = destinations[to]
		}
		if want.ask(service, x.inode); x.listener >= 0 {
			want.ask(service, s.listeners.all[x.listener].inode)
		}
	}
	return want
}

// destinationInodes are some for each destination under pressure, any of which tells the process.
func (s *socketSnapshot) destinationInodes() *wantedInodes {
	want := newWantedInodes()
	for i := range s.flows.dialled.rows {
		g := &s.flows.dialled.rows[i]
		if g.holding() < ownedFrom {
			continue
		}
		inodes := g.inodes()
		if j, ok := s.suspects.dialled.index[s.flows.dialled.keys[i]]; ok && s.suspects.dialled.rows[j].inode == g.inode {
			inodes = inodes[:len(inodes)-1] // it is in CLOSE_WAIT, and looked for already
		}
		want.ask(alone, inodes...)
	}
	return want
}

// nameDialler makes the socket whose owner was found the group's own; of several the first that was found.
func (g *dialGroup) nameDialler(o *owners) {
	best := o.byInode[g.inode]
	for _, x := range g.some {
		if own := o.byInode[x.inode]; own != nil && (best == nil || own.nth < best.nth) {
			best, g.heldSocket = own, x
		}
	}
}

func (g *dialGroup) inodes() []uint32 {
	list := make([]uint32, 0, len(g.some)+1)
	for _, x := range g.some {
		list = append(list, x.inode)
	}
	return append(list, g.inode)
}

// wantedCgroups are those of sockets whose process is not known: a process tells its cgroup itself, and better, for a
// socket belongs to the cgroup that made it, which under socket activation is systemd's.
func (s *socketSnapshot) wantedCgroups() map[uint64]struct{} {
	want := map[uint64]struct{}{}
	for i := range s.listeners.all {
		if l := &s.listeners.all[i]; l.owner == nil {
			want[l.cgroup] = struct{}{}
		}
	}
	for _, g := range s.closeWait {
		if g.owner == nil {
			want[g.key.cgroupID] = struct{}{}
		}
	}
	for _, g := range s.flows.dialled.rows {
		if s.owners.byInode[g.inode] == nil {
			want[g.cgroup] = struct{}{}
		}
	}
	delete(want, 0)
	return want
}

// listener is one address and port; the siblings of SO_REUSEPORT are one.
type listener struct {
	addr         ipAddr
	port         uint16
	next         uint16 // 1 + index of another listener of this port; 0: none
	v4, v6       bool   // a wildcard that takes this family
	dual         bool   // "::" without IPV6_V6ONLY
	sockets      int64
	used, limit  uint32 // of the fullest sibling
	drops        int64
	dropsUnknown bool
	inode, uid   uint32
	cgroup       uint64
	owner        *owner
}

// listenSet are the listeners, by port.
type listenSet struct {
	all     []listener
	head    *[1 << 16]uint16 // 1 + index of the first listener of a port; an array, for each socket asks once
	sockets int64
}

func newListenSet() *listenSet { return &listenSet{head: new([1 << 16]uint16)} }

func (ls *listenSet) add(k *diagSocket) {
	ls.sockets++
	drops, known := k.drops()
	l := ls.find(k)
	if l == nil {
		if len(ls.all) == 1<<16-1 { // as many as next can name: 65,535 different listeners
			return
		}
		wild := k.local.isWildcard()
		isV4 := k.local.isV4()
		dual := wild && !isV4 && !k.v6Only()
		ls.all = append(ls.all, listener{
			addr: k.local, port: k.localPort, next: ls.head[k.localPort],
			v4: wild && (isV4 || dual), v6: wild && !isV4, dual: dual,
		})
		ls.head[k.localPort] = uint16(len(ls.all))
		l = &ls.all[len(ls.all)-1]
	}
	l.sockets++
	l.drops += int64(drops)
	l.dropsUnknown = l.dropsUnknown || !known
	if l.sockets == 1 || int64(k.rqueue)-int64(k.wqueue) > int64(l.used)-int64(l.limit) {
		l.used, l.limit = k.rqueue, k.wqueue
		l.inode, l.uid, l.cgroup = k.inode, k.uid, k.cgroup()
	}
}

func (ls *listenSet) find(k *diagSocket) *listener {
	for i := ls.head[k.localPort]; i != 0; i = ls.all[i-1].next {
		if l := &ls.all[i-1]; l.addr == k.local {
			return l
		}
	}
	return nil
}

// match returns the listener that took the connection, preferred as inet_lookup_listener does: the address itself,
// then the wildcard of the family, then "::" for IPv4; -1 where the socket was dialled from here.
func (ls *listenSet) match(k *diagSocket) int32 {
	best := int32(-1)
	for i := ls.head[k.localPort]; i != 0; {
		l := &ls.all[i-1]
		if l.addr == k.local {
			return int32(i - 1)
		}
		if v4 := k.local.isV4(); v4 && l.v4 && (best < 0 || !l.v6) || !v4 && l.v6 {
			best = int32(i - 1)
		}
		i = l.next
	}
	return best
}

// capped counts by key in bounded memory. When it is full the smallest groups go, so that a group which matters stays:
// it may lose what it had counted while it was still small.
type capped[K comparable, V any] struct {
	index   map[K]int32
	keys    []K
	rows    []V
	omitted int // groups that went
	weight  func(*V) int64
	keep    func(*K) bool // nil: none is kept regardless of its weight
	rest    V             // counts what has no place any more
	last    int32         // index of the group that at returned; a hint only
}

func newCapped[K comparable, V any](weight func(*V) int64) *capped[K, V] {
	return &capped[K, V]{index: map[K]int32{}, weight: weight}
}

// at returns the group of k; the pointer is valid until the next call.
func (c *capped[K, V]) at(k *K) *V {
	if i, ok := c.index[*k]; ok {
		c.last = i
		return &c.rows[i]
	}
	if len(c.rows) >= maxGroups {
		c.prune()
		if len(c.rows) >= maxGroups {
			c.omitted++
			return &c.rest
		}
	}
	c.last = int32(len(c.rows))
	c.index[*k] = c.last
	c.keys = append(c.keys, *k)
	var zero V
	c.rows = append(c.rows, zero)
	return &c.rows[len(c.rows)-1]
}

// prune drops the lighter half at least, in place.
func (c *capped[K, V]) prune() {
	for floor := int64(1); len(c.rows) > maxGroups/2 && floor < 1<<32; floor *= 2 {
		n := 0
		for i := range c.rows {
			if c.weight(&c.rows[i]) > floor || c.keep != nil && c.keep(&c.keys[i]) {
				c.rows[n], c.keys[n] = c.rows[i], c.keys[i]
				n++
			}
		}
		c.omitted += len(c.rows) - n
		c.rows, c.keys = c.rows[:n], c.keys[:n]
	}
	clear(c.index)
	for i, k := range c.keys {
		c.index[k] = int32(i)
	}
}

// dialKey names what an ephemeral port is unique for: source address, destination address and port.
type dialKey struct {
	src, dst ipAddr
	port     uint16
}

// destination is a peer's address and service port.
type destination struct {
	addr ipAddr
	port uint16
}

type dialGroup struct {
	timeWait, young, established, other int64
	unread                              int64
	unreadMax                           uint32
	heldSocket                                       // one that has an owner
	some                                []heldSocket // others, a sample
	seen                                uint64       // sockets that have an owner
}

// heldSocket is what the kernel tells of a socket's owner.
type heldSocket struct {
	inode, uid uint32 // inode 0: there is no such socket
	cgroup     uint64
}

func (g *dialGroup) holding() int64 { return g.timeWait + g.established + g.other }

// listenerFlow counts the connections of one listener.
type listenerFlow struct {
	established, unaccepted, unread, timeWait, halfOpen int64
	unreadMax                                           uint32
}

type peerKey struct {
	accepted bool
	peer     ipAddr
	port     uint16 // the service's: ours if accepted, else the peer's
}

type finWait2Group struct{ orphaned, owned int64 }

func (g *finWait2Group) count() int64 { return g.orphaned + g.owned }

// flowSet aggregates all sockets but LISTEN and CLOSE_WAIT.
type flowSet struct {
	listeners *listenSet
	youngFrom uint32 // ms: a TIME_WAIT with more than this left is younger than the reuse delay
	counts    [stateCount]int64
	keepalive int64          // sockets whose keepalive timer runs; those in CLOSE_WAIT are the suspects'
	accepted  []listenerFlow // by index of listeners.all
	dialled   *capped[dialKey, dialGroup]
	finWait2  *capped[peerKey, finWait2Group]
	recent    [256]int32 // where in dialled the last key of some hash was found: a map's look-up would be half the cost
}

// newFlowSet takes what tells a destination with a connection in CLOSE_WAIT.
func newFlowSet(ls *listenSet, suspected func(destination) bool, reuseDelay time.Duration) *flowSet {
	f := &flowSet{
		listeners: ls,
		youngFrom: uint32(max(timeWaitLength-reuseDelay, 0).Milliseconds()),
		accepted:  make([]listenerFlow, len(ls.all)),
		dialled:   newCapped[dialKey]((*dialGroup).holding),
		finWait2:  newCapped[peerKey]((*finWait2Group).count),
	}
	// That there is no live connection beside the ones in CLOSE_WAIT is a signature: it must be exact.
	f.dialled.keep = func(k *dialKey) bool { return suspected(destination{k.dst, k.port}) }
	return f
}

func (f *flowSet) add(k *diagSocket) {
	f.counts[k.state]++
	f.keepalive += int64(b2i(k.timer == timerKeepalive))
	i := f.listeners.match(k)
	if k.state == stateFinWait2 {
		key := peerKey{i >= 0, k.remote, k.remotePort}
		if i >= 0 {
			key.port = k.localPort
		}
		if g := f.finWait2.at(&key); k.inode == 0 {
			g.orphaned++ // a mini-socket, or a full one that has more than 60 s to go: either way without a process
		} else {
			g.owned++
		}
	}
	if i >= 0 {
		f.accepted[i].add(k)
	} else if k.state != stateSynRecv {
		f.dial(k)
	}
}

func (a *listenerFlow) add(k *diagSocket) {
	switch k.state {
	case stateTimeWait:
		a.timeWait++
	case stateSynRecv:
		a.halfOpen++
	case stateEstablished:
		if k.inode == 0 {
			a.unaccepted++
			return
		}
		a.established++
		if k.rqueue > 0 {
			a.unread++
			a.unreadMax = max(a.unreadMax, k.rqueue)
		}
	}
}

// to returns the group of a dialled socket.
func (f *flowSet) to(k *diagSocket) *dialGroup {
	slot := &f.recent[uint8(k.remote[15]+k.remote[14]*31+k.local[15]*7+uint8(k.remotePort)+uint8(k.remotePort>>8))]
	if i := int(*slot); i < len(f.dialled.keys) {
		if key := &f.dialled.keys[i]; key.dst == k.remote && key.port == k.remotePort && key.src == k.local {
			return &f.dialled.rows[i]
		}
	}
	g := f.dialled.at(&dialKey{k.local, k.remote, k.remotePort})
	*slot = f.dialled.last
	return g
}

func (f *flowSet) dial(k *diagSocket) {
	g := f.to(k)
	switch k.state {
	case stateTimeWait:
		g.timeWait++
		if k.expires > f.youngFrom {
			g.young++
		}
		return
	case stateEstablished:
		g.established++
		if k.rqueue > 0 {
			g.unread++
			g.unreadMax = max(g.unreadMax, k.rqueue)
		}
	default:
		g.other++
	}
	if k.inode == 0 {
		return
	}
	if g.inode == 0 {
		g.heldSocket = heldSocket{k.inode, k.uid, k.cgroup()}
	}
	g.sample(k)
}

// sample keeps each socket with the same chance (Algorithm R). Newer kernels add the local port to the hash (inet_ehashfn,
// net/ipv4/inet_hashtables.c), so that sockets come in the order of their making: any simpler choice would keep the young.
// The chance is a hash, so that a replay keeps the same.
func (g *dialGroup) sample(k *diagSocket) {
	const golden = 0x9e3779b97f4a7c15 // 2^64 by the golden ratio, as in include/linux/hash.h
	if g.seen++; g.seen < sampledFrom {
		return
	}
	nth := g.seen - sampledFrom + 1
	if len(g.some) < sampledInodes {
		g.some = append(g.some, heldSocket{k.inode, k.uid, k.cgroup()})
	} else if at := nth * golden >> 32 % nth; at < sampledInodes {
		g.some[at] = heldSocket{k.inode, k.uid, k.cgroup()}
	}
}

// finish adds the ports that CLOSE_WAIT holds, and their exact count of live connections.
func (f *flowSet) finish(suspects *suspectSet) {
	for i := range suspects.dialled.keys {
		from := &suspects.dialled.rows[i]
		g := f.dialled.at(&suspects.dialled.keys[i])
		g.other += from.other
		if g.inode == 0 {
			g.heldSocket = from.heldSocket
		}
	}
	for i := range f.dialled.keys {
		k := &f.dialled.keys[i]
		if _, suspect := suspects.destinations[destination{k.dst, k.port}]; suspect {
			suspects.destinations[destination{k.dst, k.port}] += f.dialled.rows[i].established
		}
	}
}

// suspect is one socket in CLOSE_WAIT. Its cookie is the same in a later sample.
type suspect struct {
	cookie     uint64
	cgroup     uint64
	inode, uid uint32
	unread     uint32 // receive queue: unread bytes, and 1 for the end of stream that nobody read
	wqueue     uint32
	times      socketTimes
	timer      uint8
	listener   int32 // -1: dialled
	group      int32 // index in suspectSet.groups.list; -1: none, there were too many
	remotePort uint16
	remote     ipAddr
}

// suspectSet keeps CLOSE_WAIT sockets one by one up to a limit, and the rest in groups without owner.
type suspectSet struct {
	listeners    *listenSet
	total        int64
	kept         []suspect // sorted by cookie once finished
	groups       closeWaitGroups
	unkept       int64           // sockets beyond maxSuspects
	rest         closeWaitGroups // of these, by what the kernel tells
	dialled      *capped[dialKey, dialGroup]
	destinations map[destination]int64 // of dialled ones: how many live connections there are
}

func newSuspectSet(ls *listenSet) *suspectSet {
	return &suspectSet{
		listeners:    ls,
		dialled:      newCapped[dialKey]((*dialGroup).holding),
		destinations: map[destination]int64{},
	}
}

func (ss *suspectSet) add(k *diagSocket) {
	ss.total++
	x := suspect{
		cookie: k.cookie, cgroup: k.cgroup(), inode: k.inode, uid: k.uid, unread: k.rqueue, wqueue: k.wqueue,
		times: k.times(), timer: k.timer, listener: ss.listeners.match(k), remotePort: k.remotePort, remote: k.remote,
	}
	if x.listener < 0 {
		key := dialKey{k.local, k.remote, k.remotePort}
		g := ss.dialled.at(&key)
		g.other++
		if g.inode == 0 {
			g.heldSocket = heldSocket{x.inode, x.uid, x.cgroup}
		}
		if len(ss.destinations) < maxGroups {
			ss.destinations[destination{k.remote, k.remotePort}] = 0
		}
	}
	if len(ss.kept) < maxSuspects {
		ss.kept = append(ss.kept, x)
		return
	}
	ss.unkept++
	ss.rest.add(ss.key(&x, nil), &x, nil)
}

// finish removes what the kernel told twice, which it may when the table changes under the dump.
func (ss *suspectSet) finish() {
	slices.SortStableFunc(ss.kept, func(a, b suspect) int { return cmp.Compare(a.cookie, b.cookie) })
	before := len(ss.kept)
	ss.kept = slices.CompactFunc(ss.kept, func(a, b suspect) bool { return a.cookie == b.cookie && a.cookie != 0 })
	ss.total -= int64(before - len(ss.kept))
}

// closeWaitKey names a group: who holds the sockets, and the service that they belong to.
type closeWaitKey struct {
	listener int32 // -1: dialled, to peer
	peer     destination
	comm     string // of the owner, with his cgroup; without owner what the kernel tells of the socket
	cgroup   string
	cgroupID uint64
	uid      uint32
}

func (ss *suspectSet) key(x *suspect, own *owner) closeWaitKey {
	k := closeWaitKey{listener: x.listener}
	if x.listener < 0 {
		k.peer = destination{x.remote, x.remotePort}
	}
	switch {
	case own != nil:
		k.comm, k.cgroup = own.comm, own.cgroup
	case x.inode == 0 && x.listener >= 0: // not accepted yet: its uid is not told
		k.uid, k.cgroupID = ss.listeners.all[x.listener].uid, ss.listeners.all[x.listener].cgroup
	default:
		k.uid, k.cgroupID = x.uid, x.cgroup
	}
	return k
}

// closeWaitGroups are groups by name, up to a limit.
type closeWaitGroups struct {
	list    []*closeWaitGroup
	byKey   map[closeWaitKey]int32
	omitted int // sockets whose group found no place
}

// add puts x into its group and returns the group's index; -1 where there are too many.
func (cg *closeWaitGroups) add(key closeWaitKey, x *suspect, own *owner) int32 {
	i, ok := cg.byKey[key]
	if !ok {
		if len(cg.list) >= maxGroups {
			cg.omitted++
			return -1
		}
		i = int32(len(cg.list))
		if cg.byKey == nil {
			cg.byKey = map[closeWaitKey]int32{}
		}
		cg.byKey[key] = i
		cg.list = append(cg.list, &closeWaitGroup{key: key})
	}
	cg.list[i].add(x, own)
	return i
}

// group puts the kept ones into groups by owner. A connection that waits for accept() is its listener's.
func (ss *suspectSet) group(o *owners) []*closeWaitGroup {
	for i := range ss.kept {
		x := &ss.kept[i]
		own := o.byInode[x.inode]
		if x.inode == 0 && x.listener >= 0 {
			own = ss.listeners.all[x.listener].owner
		}
		x.group = ss.groups.add(ss.key(x, own), x, own)
	}
	for i := range ss.kept {
		if x := &ss.kept[i]; x.group >= 0 {
			ss.groups.list[x.group].arrived(x)
		}
	}
	ss.joinRest()
	for _, g := range ss.groups.list {
		g.finish()
	}
	return slices.Clone(ss.groups.list)
}

// joinRest adds the sockets that were not kept. Where all that were kept of a service have one owner, the others are
// his as well; else they stand alone, without owner.
func (ss *suspectSet) joinRest() {
	type service struct {
		listener int32
		peer     destination
	}
	owned := map[service]*closeWaitGroup{} // nil: several
	for _, g := range ss.groups.list {
		name := service{g.key.listener, g.key.peer}
		if _, second := owned[name]; second {
			owned[name] = nil
		} else {
			owned[name] = g
		}
	}
	for _, g := range ss.rest.list {
		if to := owned[service{g.key.listener, g.key.peer}]; to != nil {
			to.join(g)
		} else {
			g.unkept = true
			ss.groups.list = append(ss.groups.list, g)
		}
	}
}

// closeWaitGroup is a row of the table close_wait in the making. Times are in milliseconds.
type closeWaitGroup struct {
	key                      closeWaitKey
	count, unaccepted        int64
	eofSeen, readAll, unread int64 // of the accepted ones
	unreadBytes, unreadMax   int64
	timed, untimed           int64 // with tcp_info, and without
	oldestLow, oldestHigh    uint32
	youngestLow, youngHigh   uint32
	highUnknown              bool
	patient                  int64
	patienceMin, patienceMax uint32
	sending, stale, maybe    int64
	keepalive                int64
	slices                   uint32 // of the time since the oldest: which held an arrival
	held                     map[int]int64
	owners                   map[int]*owner
	owner                    *owner // the one that holds most
	unkept                   bool   // beyond maxSuspects, and nobody knows whose
	joined                   int64  // beyond maxSuspects, counted with the owner of the others
	peer                     ipAddr
	peers                    bool // more than one
}

func (g *closeWaitGroup) add(x *suspect, own *owner) {
	if g.count++; g.count == 1 {
		g.peer, g.youngestLow, g.youngHigh, g.patienceMin = x.remote, ^uint32(0), ^uint32(0), ^uint32(0)
	}
	g.peers = g.peers || g.peer != x.remote
	if x.unread > 1 { // the FIN takes one sequence number
		g.unreadBytes += int64(x.unread - 1)
		g.unreadMax = max(g.unreadMax, int64(x.unread-1))
	}
	switch {
	case x.inode == 0:
		g.unaccepted++
	case x.unread == 0:
		g.eofSeen++
	case x.unread == 1:
		g.readAll++
	default:
		g.unread++
	}
	if x.timer == timerKeepalive {
		g.keepalive++
	}
	if own != nil && x.inode != 0 {
		g.holds(own)
	} else if own != nil && g.owner == nil {
		g.owner = own // the listener's, of a group that is all unaccepted
	}
	g.age(x)
}

func (g *closeWaitGroup) holds(own *owner) {
	if g.held == nil {
		g.held, g.owners = map[int]int64{}, map[int]*owner{}
	}
	g.held[own.pid]++
	g.owners[own.pid] = own
}

// age takes what tcp_info says. The ACK's time is a lower bound always, and the age itself unless keepalive probes or
// our own data draw further ACKs; the receive time is an upper bound.
func (g *closeWaitGroup) age(x *suspect) {
	waiting := x.wqueue > 0 || x.timer == timerRetransmit || x.timer == timerZeroWindow
	if !x.times.known {
		g.untimed++
		if waiting {
			g.sending++
		}
		return
	}
	g.timed++
	low, high := x.times.ack, x.times.received
	g.oldestLow, g.youngestLow = max(g.oldestLow, low), min(g.youngestLow, low)
	if high < low { // 32 bits of milliseconds have wrapped, or a kernel that never set it
		g.highUnknown = true
	}
	g.oldestHigh, g.youngHigh = max(g.oldestHigh, high), min(g.youngHigh, high)
	switch {
	case waiting || x.times.sent < freshMillis:
		g.sending++
	case low >= freshMillis:
		g.stale++
	case x.hidesItsAge():
		g.maybe++
	}
	g.patience(x)
}

// hidesItsAge tells a socket that looks fresh for the answers to keepalive probes alone.
func (x *suspect) hidesItsAge() bool {
	return x.timer == timerKeepalive && x.wqueue == 0 && x.times.sent >= freshMillis && x.times.ack < freshMillis &&
		x.times.received >= freshMillis
}

// patience is how long the peer waited before it closed: from the last data to its FIN. Where a TLS alert came with
// the FIN the last data is that alert, and what we sent last is the better start.
func (g *closeWaitGroup) patience(x *suspect) {
	ack, since := x.times.ack, x.times.received
	if x.timer == timerKeepalive || uint64(x.times.sent) < uint64(ack)+patienceFloor {
		return // answers to probes or to our data renew the end of the measure; or the peer closed on our answer
	}
	if since < ack || since-ack < patienceFloor {
		since = x.times.sent
	}
	if since < ack { // wrapped
		return
	}
	g.patient++
	g.patienceMin, g.patienceMax = min(g.patienceMin, since-ack), max(g.patienceMax, since-ack)
}

// join adds the sums of sockets that were not kept.
func (g *closeWaitGroup) join(o *closeWaitGroup) {
	g.count += o.count
	g.joined += o.count - o.unaccepted
	g.unaccepted += o.unaccepted
	g.eofSeen, g.readAll, g.unread = g.eofSeen+o.eofSeen, g.readAll+o.readAll, g.unread+o.unread
	g.unreadBytes, g.unreadMax = g.unreadBytes+o.unreadBytes, max(g.unreadMax, o.unreadMax)
	g.timed, g.untimed = g.timed+o.timed, g.untimed+o.untimed
	g.oldestLow, g.oldestHigh = max(g.oldestLow, o.oldestLow), max(g.oldestHigh, o.oldestHigh)
	g.youngestLow, g.youngHigh = min(g.youngestLow, o.youngestLow), min(g.youngHigh, o.youngHigh)
	g.highUnknown = g.highUnknown || o.highUnknown
	g.patient += o.patient
	g.patienceMin, g.patienceMax = min(g.patienceMin, o.patienceMin), max(g.patienceMax, o.patienceMax)
	g.sending, g.stale, g.maybe = g.sending+o.sending, g.stale+o.stale, g.maybe+o.maybe
	g.keepalive += o.keepalive
	g.peers = g.peers || o.peers || g.peer != o.peer
}

// arrived marks the slice of time in which a socket that a process holds came into the state.
func (g *closeWaitGroup) arrived(x *suspect) {
	if x.inode != 0 && x.times.known {
		g.slices |= 1 << (uint64(x.times.ack) * spreadSlices / (uint64(g.oldestLow) + 1))
	}
}

// finish chooses the process that holds most, which also has what was not looked up.
func (g *closeWaitGroup) finish() {
	for pid, n := range g.held {
		top := g.owner
		if top == nil || n > g.held[top.pid] || n == g.held[top.pid] && pid < top.pid {
			g.owner = g.owners[pid]
		}
	}
	if len(g.held) == 1 {
		g.held[g.owner.pid] += g.joined
	}
}

func (g *closeWaitGroup) owned() int64 { return g.count - g.unaccepted }

// spread is how many percent of the slices of time since the oldest hold an arrival: even arrivals fill them, a batch
// fills one.
func (g *closeWaitGroup) spread() int64 {
	return int64(bits.OnesCount32(g.slices)) * 100 / spreadSlices
}

// growing reports whether one look tells a rate: arrivals spread over a time that is worth the name.
func (g *closeWaitGroup) growing() bool {
	return g.owned() >= 3 && g.oldestLow >= freshMillis && g.spread() >= 30 && g.keepalive == 0 && g.untimed == 0
}

// untilLimit is the time until the process that holds most has no descriptor left, if arrivals go on as they came.
func (g *closeWaitGroup) untilLimit() (time.Duration, bool) {
	if g.owner == nil || g.held[g.owner.pid] == 0 || !g.growing() {
		return 0, false
	}
	soft, err := strconv.ParseInt(g.owner.soft, 10, 64)
	if err != nil {
		return 0, false
	}
	left := float64(max(soft-int64(g.owner.fds), 0)) * float64(g.oldestLow) / float64(g.held[g.owner.pid])
	return time.Duration(min(left, 3e12)) * time.Millisecond, true // 3e12 ms: 95 years, below the type's end
}

// closeWaitTrend is what two samples say of one group.
type closeWaitTrend struct {
	before, after int64
	persisted     int64 // the same sockets, by cookie
	partial       bool  // more sockets than are kept one by one: persisted is a lower bound
}

// closeWaitName is what a row of close_wait is called in each sample.
type closeWaitName struct {
	side, address string
	port          uint16
	process, unit string
}

// compare matches the sockets of s with those of a later sample.
func (s *socketSnapshot) compare(later *socketSnapshot) map[closeWaitName]closeWaitTrend {
	trends := map[closeWaitName]closeWaitTrend{}
	partial := s.suspects.unkept+later.suspects.unkept > 0 || s.fromProc || later.fromProc
	for _, g := range s.suspects.groups.list {
		t := trends[s.name(g)]
		t.before, t.partial = t.before+g.count, partial
		trends[s.name(g)] = t
	}
	for _, g := range later.suspects.groups.list {
		t := trends[later.name(g)]
		t.after, t.partial = t.after+g.count, partial
		trends[later.name(g)] = t
	}
	old := s.suspects.kept
	for i := range later.suspects.kept {
		x := &later.suspects.kept[i]
		_, same := slices.BinarySearchFunc(old, x.cookie, func(y suspect, cookie uint64) int { return cmp.Compare(y.cookie, cookie) })
		if !same || x.cookie == 0 || x.group < 0 {
			continue
		}
		name := later.name(later.suspects.groups.list[x.group]) // the later name: its owner may have accepted it meanwhile
		t := trends[name]
		t.persisted++
		trends[name] = t
	}
	return trends
}

// since adds what an earlier snapshot tells, dt before this one.
func (s *socketSnapshot) since(before *socketSnapshot, dt time.Duration) {
	s.earlier = &earlierLook{dt: dt, closeWait: before.compare(s), drops: map[*listener]int64{}}
	for i := range s.listeners.all {
		l := &s.listeners.all[i]
		was := before.listeners.find(&diagSocket{local: l.addr, localPort: l.port})
		switch {
		case l.dropsUnknown || was != nil && was.dropsUnknown:
		case was == nil || was.drops > l.drops: // opened since then, and so all that it counts
			s.earlier.drops[l] = l.drops
		default:
			s.earlier.drops[l] = l.drops - was.drops
		}
	}
	if dt < freshMillis*time.Millisecond {
		return
	}
	known := make(map[uint64]struct{}, len(before.suspects.kept))
	for i := range before.suspects.kept {
		known[before.suspects.kept[i].cookie] = struct{}{}
	}
	for i := range s.suspects.kept {
		x := &s.suspects.kept[i]
		if _, seen := known[x.cookie]; seen && x.cookie != 0 && x.group >= 0 {
			s.suspects.groups.list[x.group].outlasted(x, dt)
		}
	}
}

// outlasted takes a socket that two looks saw: it is in the state since the first at least, whatever keepalive answers
// have renewed since.
func (g *closeWaitGroup) outlasted(x *suspect, dt time.Duration) {
	if x.timer != timerKeepalive || !x.times.known {
		return
	}
	g.oldestLow = max(g.oldestLow, uint32(min(dt.Milliseconds(), 1<<31)))
	if x.hidesItsAge() {
		g.maybe--
		g.stale++
	}
}

func (s *socketSnapshot) name(g *closeWaitGroup) closeWaitName {
	n := closeWaitName{side: "dialled", address: g.key.peer.addr.String(), port: g.key.peer.port, process: g.key.comm}
	if g.key.listener >= 0 {
		l := &s.listeners.all[g.key.listener]
		n.side, n.address, n.port = "accepted", l.addr.String(), l.port
	}
	if n.unit = unitOf(g.key.cgroup); g.owner == nil {
		n.unit = unitOf(s.cgroups[g.key.cgroupID])
	}
	return n
}

// String is the address as people write it: IPv4 without its mapping.
func (a ipAddr) String() string { return netip.AddrFrom16(a).Unmap().String() }

func (a ipAddr) compare(b ipAddr) int { return bytes.Compare(a[:], b[:]) }

// facts hands the snapshot over.
func (s *socketSnapshot) facts(b *advisor.Builder) {
	for _, st := range countedStates() {
		n := s.flows.counts[st.state]
		switch st.state {
		case stateListen:
			n = s.listeners.sockets
		case stateCloseWait:
			n = s.suspects.total
		}
		b.Set(st.key, s.number(n))
	}
	if s.unlooked { // half-open connections are in no count of sockstat
		b.Set("tcp.syn_recv", advisor.Unknown("not counted: /proc/net/sockstat shows no connection", s.origin))
	}
	keepalive := s.flows.keepalive
	for _, g := range s.closeWait {
		keepalive += g.keepalive
	}
	b.Set("tcp.keepalive", s.number(keepalive))
	b.Set("tcp.approximate", advisor.Known(advisor.Bool(s.approximate), s.origin))
	b.SetTable("listeners", s.listenerTable())
	b.SetTable("dialled", s.dialledTable())
	b.SetTable("time_wait", s.timeWaitTable())
	b.SetTable("close_wait", s.closeWaitTable())
	b.SetTable("fin_wait2", s.finWait2Table())
	b.SetTable("established", s.establishedTable())
}

func (s *socketSnapshot) number(n int64) advisor.Fact { return advisor.Known(advisor.Int(n), s.origin) }

func (s *socketSnapshot) millis(n uint32) advisor.Fact {
	return advisor.Known(advisor.Duration(time.Duration(n)*time.Millisecond), s.origin)
}

// cells is a row in the making.
type cells map[string]advisor.Fact

func (s *socketSnapshot) row(c cells) advisor.Row { return advisor.Row{Origin: s.origin, Cells: c} }

func (c cells) number(s *socketSnapshot, column string, n int64) { c[column] = s.number(n) }

func (c cells) text(s *socketSnapshot, column, text string) {
	c[column] = advisor.Known(advisor.Text(text), s.origin)
}

func (c cells) truth(s *socketSnapshot, column string, v bool) {
	c[column] = advisor.Known(advisor.Bool(v), s.origin)
}

// owner writes process, pid, uid, unit and cgroup. Without a process the kernel's word on the socket stands.
func (c cells) owner(s *socketSnapshot, own *owner, inode, uid uint32, cgroupID uint64) {
	if inode == 0 && own == nil {
		why := advisor.Unknown("owner unknown: sockets that wait out their time belong to no process", s.origin)
		c["process"], c["pid"], c["uid"], c["unit"], c["cgroup"] = why, why, why, why, why
		return
	}
	c.number(s, "uid", int64(uid))
	path, origin := s.cgroups[cgroupID], s.origin
	if own == nil {
		why := advisor.Unknown(s.owners.missing(), s.origin)
		c["process"], c["pid"] = why, why
	} else {
		origin = advisor.Origin{Path: fmt.Sprintf("/proc/%d/fd", own.pid)}
		c["process"] = advisor.Known(advisor.Text(own.comm), origin)
		c["pid"] = advisor.Known(advisor.Int(int64(own.pid)), origin)
		path, origin = own.cgroup, advisor.Origin{Path: fmt.Sprintf("/proc/%d/cgroup", own.pid)}
	}
	switch unit := unitOf(path); {
	case path == "":
		why := advisor.Unknown("the cgroup could not be read (run as root)", origin)
		c["unit"], c["cgroup"] = why, why
		return
	case unit == "":
		c["unit"] = advisor.Absent("the cgroup "+path+" is no unit", origin)
	default:
		c["unit"] = advisor.Known(advisor.Text(unit), origin)
	}
	c["cgroup"] = advisor.Known(advisor.Text(path), origin)
}

// listenerOrder is the listeners by port and address, IPv4 first.
func (s *socketSnapshot) listenerOrder() []int32 {
	order := make([]int32, len(s.listeners.all))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(i, j int32) int {
		a, b := &s.listeners.all[i], &s.listeners.all[j]
		return cmp.Or(cmp.Compare(a.port, b.port), b2i(b.addr.isV4())-b2i(a.addr.isV4()), a.addr.compare(b.addr))
	})
	return order
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *socketSnapshot) listenerTable() advisor.Table {
	var table advisor.Table
	for _, i := range s.listenerOrder() {
		if len(table.Rows) == maxListenRows {
			table.Omitted = len(s.listeners.all) - maxListenRows
			break
		}
		l := &s.listeners.all[i]
		c := s.listenerName(l)
		c.owner(s, l.owner, l.inode, l.uid, l.cgroup)
		c.truth(s, "wildcard", l.addr.isWildcard())
		c.truth(s, "dual_stack", l.dual)
		c.number(s, "sockets", l.sockets)
		s.queue(c, l)
		c["drops"] = s.number(l.drops)
		if l.dropsUnknown {
			c["drops"] = advisor.Unknown("this kernel does not count drops by listener (4.9 does, over sock_diag)", s.origin)
		}
		if s.earlier != nil {
			c["drops_grew"] = c["drops"]
			if n, ok := s.earlier.drops[l]; ok {
				c.number(s, "drops_grew", n)
			}
		}
		c.number(s, "half_open", s.flows.accepted[i].halfOpen)
		if s.unlooked {
			c["half_open"] = advisor.Unknown("not counted: /proc/net/sockstat shows no connection", s.origin)
		}
		table.Rows = append(table.Rows, s.row(c))
	}
	return table
}

func (s *socketSnapshot) listenerName(l *listener) cells {
	c := cells{}
	c.text(s, "address", l.addr.String())
	c.number(s, "port", int64(l.port))
	return c
}

func (s *socketSnapshot) queue(c cells, l *listener) {
	c.number(s, "queue_used", int64(l.used))
	c.number(s, "queue_limit", int64(l.limit))
	if s.fromProc {
		c["queue_limit"] = advisor.Unknown("/proc/net/tcp does not show it: sock_diag was refused", s.origin)
	}
}

func (s *socketSnapshot) timeWaitTable() advisor.Table {
	var table advisor.Table
	for _, i := range s.listenerOrder() {
		n := s.flows.accepted[i].timeWait
		if n == 0 {
			continue
		}
		if len(table.Rows) == maxSocketRows {
			table.Omitted++
			continue
		}
		l := &s.listeners.all[i]
		c := s.listenerName(l)
		c.owner(s, l.owner, l.inode, l.uid, l.cgroup)
		c.number(s, "count", n)
		table.Rows = append(table.Rows, s.row(c))
	}
	return table
}

// heaviest are the groups of c in order, at most maxSocketRows, and how many more there were.
func heaviest[K comparable, V any](c *capped[K, V], compare func(a, b *K) int) (order []int, omitted int) {
	order = make([]int, len(c.rows))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(c.weight(&c.rows[j]), c.weight(&c.rows[i])), compare(&c.keys[i], &c.keys[j]))
	})
	n := min(len(order), maxSocketRows)
	return order[:n], c.omitted + len(order) - n
}

func (k *dialKey) compare(o *dialKey) int {
	return cmp.Or(k.dst.compare(o.dst), cmp.Compare(k.port, o.port), k.src.compare(o.src))
}

func (s *socketSnapshot) dialledTable() advisor.Table {
	var table advisor.Table
	d := s.flows.dialled
	order, omitted := heaviest(d, (*dialKey).compare)
	table.Omitted = omitted
	for _, i := range order {
		k, g, c := &d.keys[i], &d.rows[i], cells{}
		c.text(s, "source", k.src.String())
		c.text(s, "destination", k.dst.String())
		c.number(s, "port", int64(k.port))
		c.truth(s, "loopback", k.src.isLoopback() || k.dst.isLoopback())
		c.number(s, "time_wait", g.timeWait)
		c.number(s, "time_wait_young", g.young)
		c.number(s, "established", g.established)
		c.number(s, "other", g.other)
		c.number(s, "holding", g.holding())
		c.owner(s, s.owners.byInode[g.inode], g.inode, g.uid, g.cgroup)
		if s.owners.byInode[g.inode] == nil && g.inode != 0 && g.holding() < ownedFrom {
			why := advisor.Unknown(fmt.Sprintf("the process is looked for only where %d sockets or more hold ports", ownedFrom), s.origin)
			c["process"], c["pid"] = why, why
		}
		table.Rows = append(table.Rows, s.row(c))
	}
	return table
}

func (k *peerKey) compare(o *peerKey) int {
	return cmp.Or(b2i(o.accepted)-b2i(k.accepted), k.peer.compare(o.peer), cmp.Compare(k.port, o.port))
}

func (s *socketSnapshot) finWait2Table() advisor.Table {
	var table advisor.Table
	f := s.flows.finWait2
	order, omitted := heaviest(f, (*peerKey).compare)
	table.Omitted = omitted
	for _, i := range order {
		k, g, c := &f.keys[i], &f.rows[i], cells{}
		c.text(s, "side", sideOf(k.accepted))
		c.text(s, "peer", k.peer.String())
		c.number(s, "port", int64(k.port))
		c.truth(s, "loopback", k.peer.isLoopback())
		c.number(s, "orphaned", g.orphaned)
		c.number(s, "owned", g.owned)
		table.Rows = append(table.Rows, s.row(c))
	}
	return table
}

func sideOf(accepted bool) string {
	if accepted {
		return "accepted"
	}
	return "dialled"
}

func (s *socketSnapshot) establishedTable() advisor.Table {
	var table advisor.Table
	for _, i := range s.listenerOrder() {
		f, l := &s.flows.accepted[i], &s.listeners.all[i]
		if f.established+f.unaccepted == 0 {
			continue
		}
		if len(table.Rows) == maxSocketRows {
			table.Omitted++
			continue
		}
		c := s.listenerName(l)
		c.text(s, "side", "accepted")
		c.owner(s, l.owner, l.inode, l.uid, l.cgroup)
		c.number(s, "count", f.established)
		c.number(s, "unaccepted", f.unaccepted)
		c.number(s, "unread", f.unread)
		c.number(s, "unread_bytes_max", int64(f.unreadMax))
		table.Rows = append(table.Rows, s.row(c))
	}
	s.establishedDialled(&table)
	return table
}

// establishedDialled adds the destinations, summed over our addresses.
func (s *socketSnapshot) establishedDialled(table *advisor.Table) {
	d := s.flows.dialled
	sum := newCapped[destination](func(g *dialGroup) int64 { return g.established })
	for i := range d.rows {
		if d.rows[i].established == 0 {
			continue
		}
		to := sum.at(&destination{d.keys[i].dst, d.keys[i].port})
		to.established += d.rows[i].established
		to.unread += d.rows[i].unread
		to.unreadMax = max(to.unreadMax, d.rows[i].unreadMax)
	}
	order, omitted := heaviest(sum, func(a, b *destination) int {
		return cmp.Or(a.addr.compare(b.addr), cmp.Compare(a.port, b.port))
	})
	table.Omitted += omitted + d.omitted
	for _, i := range order {
		k, g, c := &sum.keys[i], &sum.rows[i], cells{}
		c.text(s, "side", "dialled")
		c.text(s, "address", k.addr.String())
		c.number(s, "port", int64(k.port))
		c.number(s, "count", g.established)
		c.number(s, "unaccepted", 0)
		c.number(s, "unread", g.unread)
		c.number(s, "unread_bytes_max", int64(g.unreadMax))
		table.Rows = append(table.Rows, s.row(c))
	}
}

func (s *socketSnapshot) closeWaitTable() advisor.Table {
	var table advisor.Table
	slices.SortStableFunc(s.closeWait, func(a, b *closeWaitGroup) int {
		x, y := s.name(a), s.name(b)
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(x.side, y.side), cmp.Compare(x.port, y.port),
			cmp.Compare(x.address, y.address), cmp.Compare(x.process, y.process), cmp.Compare(x.unit, y.unit))
	})
	table.Omitted = s.suspects.groups.omitted + s.suspects.rest.omitted
	for i, g := range s.closeWait {
		if i == maxSocketRows {
			table.Omitted += len(s.closeWait) - i
			break
		}
		c := s.closeWaitName(g)
		s.closeWaitCounts(c, g)
		s.closeWaitAges(c, g)
		s.closeWaitGrowth(c, g)
		s.closeWaitTrend(c, g)
		table.Rows = append(table.Rows, s.row(c))
	}
	return table
}

func (s *socketSnapshot) closeWaitName(g *closeWaitGroup) cells {
	n, c := s.name(g), cells{}
	c.text(s, "side", n.side)
	c.text(s, "address", n.address)
	c.number(s, "port", int64(n.port))
	c.owner(s, g.owner, 1, g.key.uid, g.key.cgroupID) // 1: each of them has a process, known or not
	if g.owner != nil {
		delete(c, "uid") // several may share a group; the process is the name
	} else if g.unkept {
		why := advisor.Unknown(fmt.Sprintf("owners are looked for of %d sockets at most", maxSuspects), s.origin)
		c["process"], c["pid"] = why, why
	}
	if !g.peers {
		c.text(s, "peer", g.peer.String())
	}
	c.truth(s, "loopback", !g.peers && g.peer.isLoopback())
	if g.key.listener < 0 {
		c.number(s, "established", s.suspects.destinations[g.key.peer])
		return c
	}
	s.queue(c, &s.listeners.all[g.key.listener])
	c.number(s, "established", s.flows.accepted[g.key.listener].established)
	return c
}

func (s *socketSnapshot) closeWaitCounts(c cells, g *closeWaitGroup) {
	c.number(s, "count", g.count)
	c.number(s, "unaccepted", g.unaccepted)
	c.number(s, "eof_seen", g.eofSeen)
	c.number(s, "read_all", g.readAll)
	c.number(s, "unread", g.unread)
	c.number(s, "unread_bytes", g.unreadBytes)
	c.number(s, "unread_bytes_max", g.unreadMax)
	c.number(s, "keepalive", g.keepalive)
}

// closeWaitAges writes what tcp_info told; /proc/net/tcp tells nothing.
func (s *socketSnapshot) closeWaitAges(c cells, g *closeWaitGroup) {
	if g.timed == 0 {
		why := advisor.Unknown("ages need sock_diag, which was refused", s.origin)
		for _, column := range [...]string{
			"oldest_at_least", "oldest_at_most", "youngest_at_least", "youngest_at_most",
			"patience_min", "patience_max", "still_sending", "stale", "stale_at_most",
		} {
			c[column] = why
		}
		return
	}
	c["oldest_at_least"], c["youngest_at_least"] = s.millis(g.oldestLow), s.millis(g.youngestLow)
	c["oldest_at_most"], c["youngest_at_most"] = s.millis(g.oldestHigh), s.millis(g.youngHigh)
	if g.highUnknown {
		why := advisor.Unknown("the kernel's time of the last data received is no time", s.origin)
		c["oldest_at_most"], c["youngest_at_most"] = why, why
	}
	if g.patient > 0 {
		c["patience_min"], c["patience_max"] = s.millis(g.patienceMin), s.millis(g.patienceMax)
	}
	c.number(s, "still_sending", g.sending)
	c.number(s, "stale", g.stale)
	c.number(s, "stale_at_most", g.stale+g.maybe+g.untimed)
}

func (s *socketSnapshot) closeWaitGrowth(c cells, g *closeWaitGroup) {
	if g.owner != nil {
		c.number(s, "processes", max(int64(len(g.held)), 1))
		fd := advisor.Origin{Path: fmt.Sprintf("/proc/%d/fd", g.owner.pid)}
		c["fds"] = advisor.Known(advisor.Int(int64(g.owner.fds)), fd)
		c["fd_limit"] = limitFact(g.owner)
	} else {
		why := advisor.Unknown(s.owners.missing(), s.origin)
		c["processes"], c["fds"], c["fd_limit"] = why, why, why
	}
	switch {
	case g.untimed > 0 || g.keepalive > 0:
		why := advisor.Unknown("arrival times are not known: take two samples", s.origin)
		if g.keepalive > 0 {
			why = advisor.Unknown("keepalive answers renew the time that would tell the age: take two samples", s.origin)
		}
		c["spread"], c["per_hour"], c["until_fd_limit"] = why, why, why
		return
	case g.owned() == 0:
		return
	}
	c.number(s, "spread", g.spread())
	if g.growing() {
		c.number(s, "per_hour", g.owned()*3_600_000/int64(g.oldestLow))
	}
	if left, ok := g.untilLimit(); ok {
		c["until_fd_limit"] = advisor.Known(advisor.Duration(left), advisor.Origin{Source: "computed"})
	} else if g.owner == nil && g.growing() {
		c["until_fd_limit"] = advisor.Unknown(s.owners.missing(), s.origin)
	}
}

// closeWaitTrend writes what two looks tell; after one look the columns are absent.
func (s *socketSnapshot) closeWaitTrend(c cells, g *closeWaitGroup) {
	if s.earlier == nil {
		return
	}
	t := s.earlier.closeWait[s.name(g)]
	c.number(s, "persisted", t.persisted)
	if t.persisted == 0 && t.partial && t.before > 0 {
		c["persisted"] = advisor.Unknown("sockets cannot be told apart: sock_diag was refused, or there are too many", s.origin)
	}
	grew := t.after - t.before
	c.number(s, "grew", grew)
	if g.growing() || grew < leastGrowth || s.earlier.dt <= 0 {
		return // ages over a long time tell a rate better than a short growth
	}
	c.number(s, "per_hour", int64(float64(grew)*float64(time.Hour)/float64(s.earlier.dt)))
	if g.owner == nil || len(g.held) != 1 || g.unaccepted > 0 {
		return
	}
	if soft, err := strconv.ParseInt(g.owner.soft, 10, 64); err == nil {
		left := float64(max(soft-int64(g.owner.fds), 0)) * float64(s.earlier.dt) / float64(grew)
		c["until_fd_limit"] = advisor.Known(advisor.Duration(time.Duration(min(left, 3e18))), advisor.Origin{Source: "computed"})
	}
}

// limitFact is the soft limit of descriptors, which is what accept() meets.
func limitFact(own *owner) advisor.Fact {
	origin := advisor.Origin{Path: fmt.Sprintf("/proc/%d/limits", own.pid)}
	if own.soft == "unlimited" {
		return advisor.Known(advisor.Unlimited(), origin)
	}
	n, err := strconv.ParseInt(own.soft, 10, 64)
	if err != nil {
		return advisor.Unknown("the limits of the process could not be read", origin)
	}
	return advisor.Known(advisor.Int(n), origin)
}
