package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// Options say which host is read, and how.
type Options struct {
	Root      string             // directory with the host's files; empty: "/", the live machine
	Capture   string             // archive to replay instead; empty: none
	Kernel    string             // release to judge for instead of the host's; empty: the host's
	Catalogue *advisor.Catalogue // types the kernel parameters
	Record    string             // archive to write of all that is read; empty: none
	Tool      string             // version that the archive names
	Now       time.Time          // time that the archive names

	Sample   time.Duration            // two looks at sockets and counters this far apart; 0: one. A capture has what it has
	Progress func(left time.Duration) // told each second of the wait between them, at last 0; nil: nobody
	Deep     bool                     // also look for what costs a walk over all descriptors
	Netns    string                   // network namespace to read: a process' number, a name of ip-netns(8), or "all"; empty: this program's
	Follow   bool                     // compare each Facts with the one before
	Edits    bool                     // Edits follow: what was parsed is kept for them

	NginxConfs  []string // main files of nginx to read beside those that run; none: what runs or is installed
	TomcatBases []string // directories with conf/server.xml, likewise
}

// Host is a machine, a directory that holds one's files, or a capture.
type Host struct {
	tree     tree
	options  Options
	record   *recorder    // nil where nothing is recorded
	direct   tree         // the live machine, unrecorded; nil for another host
	readings *readings    // what its files held; nil: a capture's never change
	loads    *sysctlLoads // its sysctl files as they were judged; nil: not kept
	parts    []*part
	chosen   bool          // the namespaces were asked for
	unread   []advisor.Gap // namespaces that were asked for and cannot be entered
	files    []*os.File    // of the namespaces in parts, as they were found
}

// part is one network namespace of the host.
type part struct {
	host    *Host
	name    string   // what a person calls it; empty: this program's own
	file    *os.File // to enter it by; nil: this program's own, or a replay
	tree    tree
	direct  tree // the live machine as this namespace has it
	machine bool // it is the first of the host's, which tells what belongs to the machine as well

	initial    bool            // it is the machine's first, for which the files are
	fixed      map[string]bool // parameters that cannot be written in it
	suspicious bool            // the kernel has more TCP sockets than its tables show
	now        observation
	looking    *socketLook // the sockets being read
	units      *units      // see unitFiles
	services   *services   // that run on the machine; none in a further namespace
}

func (h *Host) newPart(t target) *part {
	p := &part{host: h, name: t.name, file: t.file, tree: h.tree, direct: h.direct, machine: len(h.parts) == 0}
	if t.own {
		p.name = ""
		return p
	}
	p.direct = threadTree{h.direct}
	p.tree = named{h.tree, "netns/" + t.name + "/", p.direct}
	return p
}

// Open prepares to read a host. It fails where the root or the capture cannot be read at all, or the archive not be written.
func Open(o Options) (*Host, error) {
	h := &Host{options: o}
	if o.Capture != "" {
		t, err := openCapture(o.Capture)
		if err != nil {
			return nil, err
		}
		h.tree = t
		return h, h.findParts(context.Background())
	}
	root := o.Root
	if root == "" {
		root = "/"
	}
	t, err := newDirTree(root)
	if err != nil {
		return nil, err
	}
	if _, err := t.resolve("/proc/sys"); root == "/" && errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("/proc is not mounted, and a live check reads it: mount it, or judge files with --root DIR or FILE operands")
	}
	h.readings = newReadings(o.Edits)
	h.tree = masked{t, h.readings}
	if root == "/" {
		h.direct = h.tree
	}
	if o.Record != "" {
		h.record, err = newRecorder(h.tree, o.Record, captureManifest{Tool: o.Tool, Time: o.Now}, nil)
		if err != nil {
			return nil, err
		}
		h.tree = h.record
	}
	if err := h.findParts(context.Background()); err != nil {
		h.Abort()
		return nil, err
	}
	return h, nil
}

// Captured is when the capture was recorded that is replayed; zero where none is.
func (h *Host) Captured() time.Time {
	if c, ok := h.tree.(*captureTree); ok {
		return c.manifest().Time
	}
	return time.Time{}
}

// Close completes the archive, if one is written. Until then there is none under its name.
func (h *Host) Close() error {
	h.leave()
	if h.record == nil {
		return nil
	}
	return h.record.Close()
}

// Abort gives the archive up; nothing of it remains.
func (h *Host) Abort() {
	h.leave()
	if h.record != nil {
		h.record.Abort()
	}
}

// leave lets go of the namespaces.
func (h *Host) leave() {
	for _, f := range h.files {
		if f != nil {
			f.Close()
		}
	}
	h.files = nil
}

// collector reads one source into facts. What it cannot read it records as unknown facts where the vocabulary has a
// place for them, and returns as gaps; it never fails the run.
type collector func(ctx context.Context, b *advisor.Builder) []advisor.Gap

// collectors in order: later ones look at what earlier ones found. The sockets take as long as there are sockets, so they are
// read beside what does not need them.
func (p *part) collectors() []collector {
	return slices.Concat([]collector{
		p.collectCounters,
		p.startSockets,
		p.onTree(collectIdentity),
		p.collectParameters,
		p.collectSettings,
		p.collectNamespaces,
		p.ofMachine(p.onTree(collectProcesses), "processes"),
		p.findServices,
	}, p.fileCollectors(), []collector{p.collectSockets, p.collectHidden}, p.joiningCollectors())
}

func (p *part) onTree(collect func(context.Context, tree, *advisor.Builder) []advisor.Gap) collector {
	return func(ctx context.Context, b *advisor.Builder) []advisor.Gap { return collect(ctx, p.tree, b) }
}

// fileCollectors read what services have in their files: a patch of these runs them again over the files that it changes.
func (p *part) fileCollectors() []collector {
	return []collector{
		p.ofMachine(p.collectUnits, "units", "nofile_lines"),
		p.ofMachine(p.collectNginx, nginxTables()...),
		p.ofMachine(p.collectTomcat, tomcatTables()...),
		p.ofMachine(p.collectSpring, "spring_settings", "spring_servers"),
		p.ofMachine(p.collectActiveMQ, "activemq_connectors"),
		p.collectApart,
	}
}

// joiningCollectors join what files and sockets tell.
func (p *part) joiningCollectors() []collector {
	return []collector{p.ofMachine(collectHops, "hops"), collectListens}
}

// ofMachine is a collector of what belongs to the machine: with a further namespace its tables are absent.
func (p *part) ofMachine(collect collector, tables ...string) collector {
	if p.machine {
		return collect
	}
	return func(_ context.Context, b *advisor.Builder) []advisor.Gap {
		for _, name := range tables {
			b.SetTable(name, advisor.Table{Absent: otherNamespace})
		}
		return nil
	}
}

// Part is what one network namespace of a host told.
type Part struct {
	Name  string // what a person calls the namespace: the name of `ip netns`, or its first process; empty: this program's own
	Facts *advisor.Facts
	Host  advisor.Host
	Gaps  []advisor.Gap
	Whole bool // one look is complete, though the second was perhaps broken off

	part *part
}

// Enter is the command that runs another one in that namespace; empty where none is needed, or none is known.
func (p *Part) Enter() string {
	at := strings.LastIndexByte(p.Name, ' ')
	switch _, err := strconv.Atoi(p.Name[at+1:]); {
	case p.Name == "" || strings.HasPrefix(p.Name, "net:["):
		return ""
	case at > 0 && err == nil:
		return "sudo nsenter -t " + p.Name[at+1:] + " -n"
	}
	return "sudo ip netns exec " + p.Name
}

// Refuses is why a change of a kernel parameter cannot be made in that namespace; empty where nothing is known against it.
func (p *Part) Refuses(key string) string {
	switch {
	case p.part.initial || p.part.tree.source() == "root":
	case p.part.fixed[key]:
		return "it can only be read in this network namespace"
	case strings.HasPrefix(key, "net.") && p.Facts.Member("sysctl", key).State == advisor.StateAbsent:
		return "this network namespace does not have it"
	}
	return ""
}

// Parts reads the network namespaces that were asked for; without Options.Netns the one of this program.
func (h *Host) Parts(ctx context.Context) []Part {
	out := readParts(ctx, h.parts)
	if len(out) > 0 {
		out[0].Gaps = append(out[0].Gaps, h.unread...)
	}
	return out
}

// Facts reads the first of the network namespaces that were asked for, which without Options.Netns is the only one.
func (h *Host) Facts(ctx context.Context) (*advisor.Facts, advisor.Host, []advisor.Gap) {
	p := readParts(ctx, h.parts[:1])[0]
	return p.Facts, p.Host, p.Gaps
}

// readParts reads parts at once, so that all of them wait for their second look together.
func readParts(ctx context.Context, parts []*part) []Part {
	const atOnce = 4 // the kernel walks one table of connections for all namespaces
	out := make([]Part, len(parts))
	turn := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, p := range parts {
		all.Go(func() {
			if p.file == nil {
				out[i] = p.read(ctx, turn)
			} else {
				onOwnThread(func() { out[i] = p.enter(ctx, turn) })
			}
		})
	}
	all.Wait()
	return out
}

// enter reads the part on a thread in its namespace. Open has tried it, so a failure is a surprise.
func (p *part) enter(ctx context.Context, turn chan struct{}) Part {
	if err := p.setns(); err != nil {
		gap := advisor.Gap{Source: "network namespace of " + p.name, Why: err.Error()}
		return Part{Name: p.name, Facts: new(advisor.Builder).Facts(), Gaps: []advisor.Gap{gap}, part: p}
	}
	return p.read(ctx, turn)
}

// setns brings this thread into the part's network namespace.
func (p *part) setns() error {
	if err := unix.Setns(int(p.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("may not be entered: %w", err)
	}
	return nil
}

// read reads all sources. The gaps name what could not be read; those that nobody asked for by name are notices.
func (p *part) read(ctx context.Context, turn chan struct{}) Part {
	var b advisor.Builder
	var gaps []advisor.Gap
	take := func(more []advisor.Gap) {
		for _, gap := range more {
			gap.Notice = !gap.Broken // a host is asked for as a whole; what it hides from this user leaves rules undecided
			if !slices.Contains(gaps, gap) {
				gaps = append(gaps, gap)
			}
		}
	}
	if !exists(p.tree, procSys) {
		take([]advisor.Gap{{Source: "/proc", Why: "is not in this root: running values, counters, processes and sockets are not judged"}})
	}
	before := p.now
	p.now = observation{}
	turn <- struct{}{}
	for _, collect := range p.collectors() {
		if ctx.Err() != nil {
			break
		}
		take(collect(ctx, &b))
	}
	if p.looking != nil {
		p.looking.wait()
	}
	<-turn
	whole := ctx.Err() == nil
	b.Set("sample.interval", advisor.Absent(oneSample, advisor.Origin{}))
	switch {
	case !whole:
	case !p.host.options.Follow:
		take(p.again(ctx, &b))
	case before.counters != nil:
		p.compare(&b, before, p.now.at.Sub(before.at))
	}
	setKernel(&b, p.host.options)
	facts := b.Facts()
	return Part{Name: p.name, Facts: facts, Host: p.identity(facts), Gaps: gaps, Whole: whole, part: p}
}

func (p *part) identity(facts *advisor.Facts) advisor.Host {
	id := hostOf(facts, p.tree.source())
	if p.host.options.Kernel != "" {
		id.Kernel = p.host.options.Kernel
	}
	return id
}

// setKernel lets --kernel take the place of the host's, and the newest known kernel that of none.
func setKernel(b *advisor.Builder, o Options) {
	origin := advisor.Origin{Source: "--kernel"}
	v, err := advisor.ParseVersion(o.Kernel)
	if o.Kernel == "" {
		if b.Scalar("kernel.version").State == advisor.StateKnown {
			return
		}
		v, err = o.Catalogue.Newest(), nil
		origin.Source = "newest kernel of the catalogue"
	}
	if err == nil {
		b.Set("kernel.version", advisor.Known(advisor.Tuple(v[:]...), origin))
	}
}

// otherNamespace is why a further namespace does not tell what belongs to the machine.
const otherNamespace = "judged with the first network namespace"

func (p *part) collectParameters(ctx context.Context, b *advisor.Builder) []advisor.Gap {
	catalogue := p.host.options.Catalogue
	var keys []sysctlKey
	for _, key := range catalogue.Keys() {
		if t, ok := catalogue.TypeOf(key); ok && (p.machine || strings.HasPrefix(key, "net.")) {
			keys = append(keys, sysctlKey{key, t})
		}
	}
	gaps := collectSysctls(ctx, p.tree, b, keys)
	p.fixedParameters(b, keys)
	if !p.machine {
		b.SetFamily("sysctl", advisor.Absent(otherNamespace, advisor.Origin{}))
	}
	return gaps
}

// collectSettings reads the files, which are for the machine's first namespace: systemd-sysctl and procps write there.
func (p *part) collectSettings(ctx context.Context, b *advisor.Builder) []advisor.Gap {
	if p.name == "" || p.initial && p.machine {
		return p.host.collectSettings(ctx, b)
	}
	const why = "the files of this host set the machine's first network namespace only"
	b.SetFamily("declared", advisor.Absent(why, advisor.Origin{}))
	for _, table := range []string{"settings", "inline_waivers", "cmdline_sysctls"} {
		b.SetTable(table, advisor.Table{Absent: why})
	}
	b.Set("boot.loader", advisor.Absent(why, advisor.Origin{}))
	return nil
}

func (p *part) collectCounters(_ context.Context, b *advisor.Builder) []advisor.Gap {
	p.now.at = time.Now()
	p.now.counters = readCounters(p.tree)
	gaps := p.now.counters.record(p.tree, b)
	if !p.machine {
		absent := advisor.Absent(otherNamespace, advisor.Origin{})
		b.Set("files.open", absent)
		b.Set("files.max", absent)
	}
	return gaps
}

// socketLook is a reading of the sockets beside other work.
type socketLook struct {
	wait func() // the others are valid then
	snap *socketSnapshot
	gaps []advisor.Gap
	err  error
}

func (p *part) startSockets(ctx context.Context, b *advisor.Builder) []advisor.Gap {
	look, needs := &socketLook{}, p.socketNeeds(b)
	look.wait = p.beside(func(err error) {
		if look.err = err; err == nil {
			look.snap, look.gaps, look.err = observeSockets(ctx, p.tree, needs)
		}
	})
	p.looking = look
	return nil
}

func (p *part) collectSockets(_ context.Context, b *advisor.Builder) []advisor.Gap {
	look := p.looking
	look.wait()
	if look.err != nil {
		return append(look.gaps, noSockets(look.err, b)...)
	}
	p.now.sockets = look.snap
	look.snap.facts(b)
	return look.gaps
}

// beside runs do in this part's network namespace, or with the reason why it could not enter it, while the caller goes on.
// It returns what waits for its end. Where nothing is asked of a kernel there is nothing to gain, and a recording keeps its order.
func (p *part) beside(do func(error)) (wait func()) {
	if p.tree.source() != "live" {
		do(nil)
		return func() {}
	}
	return atOnce(func() {
		if p.file == nil {
			do(nil)
		} else {
			onOwnThread(func() { do(p.setns()) })
		}
	})
}

// atOnce runs do while the caller goes on, and returns what waits for its end.
func atOnce(do func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	runtime.Gosched() // it begins now, and not when the caller first waits: it is what takes longest
	return func() { <-done }
}

// socketNeeds is what the socket collector takes from earlier ones. It begins before the kernel parameters are read, and reads
// the one that it needs, which kernels before 6.14 do not have.
func (p *part) socketNeeds(b *advisor.Builder) socketOptions {
	o := socketOptions{sockstat: socketCounts(b), beside: p.beside}
	text, _ := p.tree.read(procSys+"/net/ipv4/tcp_tw_reuse_delay", 64)
	if ms, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		o.reuseDelay = time.Duration(ms) * time.Millisecond
	}
	return o
}

// socketCounts is what sockstat counted; nil where a number is not known, so that nothing is taken for empty. A kernel
// without IPv6 has no IPv6 sockets.
func socketCounts(b *advisor.Builder) *sockstatCounts {
	inUse, ok4 := b.Member("sockstat", "TCP.inuse").Value.Int()
	tw, okTW := b.Member("sockstat", "TCP.tw").Value.Int()
	six := b.Member("sockstat", "TCP6.inuse")
	inUse6, _ := six.Value.Int() // absent: none
	if !ok4 || !okTW || six.State == advisor.StateUnknown {
		return nil
	}
	return &sockstatCounts{inUse: inUse, inUse6: inUse6, timeWait: tw}
}
