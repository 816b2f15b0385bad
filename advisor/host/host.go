package host

import (
	"context"
	"errors"
	"io/fs"
	"time"

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
}

// Host is a machine, a directory that holds one's files, or a capture.
type Host struct {
	tree    tree
	options Options
	record  *recorder // nil where nothing is recorded
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
		return h, nil
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
	h.tree = masked{t}
	if o.Record != "" {
		h.record, err = newRecorder(h.tree, o.Record, captureManifest{Tool: o.Tool, Time: o.Now}, nil)
		if err != nil {
			return nil, err
		}
		h.tree = h.record
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
	if h.record == nil {
		return nil
	}
	return h.record.Close()
}

// Abort gives the archive up; nothing of it remains.
func (h *Host) Abort() {
	if h.record != nil {
		h.record.Abort()
	}
}

// collector reads one source into facts. What it cannot read it records as unknown facts where the vocabulary has a
// place for them, and returns as gaps; it never fails the run.
type collector func(ctx context.Context, b *advisor.Builder) []advisor.Gap

// collectors in order: later ones look at what earlier ones found.
func (h *Host) collectors() []collector {
	onTree := func(collect func(context.Context, tree, *advisor.Builder) []advisor.Gap) collector {
		return func(ctx context.Context, b *advisor.Builder) []advisor.Gap { return collect(ctx, h.tree, b) }
	}
	return []collector{
		onTree(collectIdentity),
		h.collectParameters,
		h.collectSettings,
		onTree(collectCounters),
		onTree(collectProcesses),
		h.collectSockets,
	}
}

// Facts reads all sources. The gaps name what could not be read; those that nobody asked for by name are notices.
func (h *Host) Facts(ctx context.Context) (*advisor.Facts, advisor.Host, []advisor.Gap) {
	var b advisor.Builder
	var gaps []advisor.Gap
	for _, collect := range h.collectors() {
		if ctx.Err() != nil {
			break
		}
		for _, gap := range collect(ctx, &b) {
			gap.Notice = true // a host is asked for as a whole; what it hides from this user leaves rules undecided
			gaps = append(gaps, gap)
		}
	}
	setKernel(&b, h.options)
	facts := b.Facts()
	return facts, h.identity(facts), gaps
}

func (h *Host) identity(facts *advisor.Facts) advisor.Host {
	id := hostOf(facts, h.tree.source())
	if h.options.Kernel != "" {
		id.Kernel = h.options.Kernel
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

func (h *Host) collectParameters(ctx context.Context, b *advisor.Builder) []advisor.Gap {
	var keys []sysctlKey
	for _, key := range h.options.Catalogue.Keys() {
		if t, ok := h.options.Catalogue.TypeOf(key); ok {
			keys = append(keys, sysctlKey{key, t})
		}
	}
	return collectSysctls(ctx, h.tree, b, keys)
}

func (h *Host) collectSockets(ctx context.Context, b *advisor.Builder) []advisor.Gap {
	o := socketOptions{sockstat: socketCounts(b)}
	if ms, ok := b.Member("sysctl", "net.ipv4.tcp_tw_reuse_delay").Value.Int(); ok {
		o.reuseDelay = time.Duration(ms) * time.Millisecond
	}
	return collectSockets(ctx, h.tree, o, b)
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
