package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// observation is one observation of what moves: counters and sockets, and where they were looked for the hidden ones.
type observation struct {
	at       time.Time // when the counters were read; of a live machine only
	counters *sample
	sockets  *socketSnapshot // nil: could not be read
	hidden   *hiddenSockets  // nil: not looked for
}

// named is a tree whose kernel is asked under names of its own. A tree is one look at one network namespace, and a recorder
// repeats its first answer; a second look, and another namespace, is therefore a question of another name.
type named struct {
	tree
	prefix string // "sample2/", "netns/web/"
	direct tree   // reads the live machine's /proc for the answer
}

func (n named) ask(name string, live func(emit func([]byte) error) error, use func([]byte) error) error {
	return n.tree.ask(n.prefix+name, live, use)
}

// read asks for files of the kernel; others are the same in each look.
func (n named) read(path string, limit int64) ([]byte, error) {
	if !strings.HasPrefix(path, "/proc/") {
		return n.tree.read(path, limit)
	}
	data := []byte{}
	err := n.ask(strings.TrimPrefix(path, "/"), func(emit func([]byte) error) error {
		content, err := n.direct.read(path, limit)
		if err != nil {
			return err
		}
		return emit(content)
	}, func(piece []byte) error {
		data = append(data, piece...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

const secondLook = "sample2/"

// again waits and looks a second time, and hands over the later numbers with what both together tell. Where the wait was
// broken off, and in a capture without a second look, the first one stands. A replay does not wait.
func (p *part) again(ctx context.Context, b *advisor.Builder) []advisor.Gap {
	const source = "--sample"
	if p.host.options.Sample <= 0 && p.tree.source() != "capture" {
		return nil
	}
	t := named{p.tree, secondLook, p.direct}
	elapsed, err := askText(t, "elapsed", func() (string, error) { return p.wait(ctx) })
	switch {
	case errors.Is(err, errNotLive), errors.Is(err, errNotCaptured):
		return nil
	case err != nil:
		return []advisor.Gap{{Source: source, Why: err.Error(), Notice: true}}
	}
	ns, err := strconv.ParseInt(elapsed, 10, 64)
	if err != nil {
		return []advisor.Gap{{Source: source, Why: notUnderstood([]byte(elapsed)), Notice: true}}
	}
	before := p.now
	p.now = observation{counters: readCounters(t)}
	p.now.counters.facts(b)
	var gaps []advisor.Gap
	if p.now.sockets, gaps, err = observeSockets(ctx, t, p.socketNeeds(b)); err != nil {
		gaps = append(gaps, advisor.Gap{Source: source, Why: "the second look at the sockets failed, the first stands: " + err.Error(), Notice: true})
	} else if before.hidden != nil {
		p.now.hidden = findHidden(ctx, t)
	}
	p.compare(b, before, time.Duration(ns))
	return gaps
}

// wait lets the time between the looks pass, and tells how long it was from the first counters to now, in nanoseconds.
func (p *part) wait(ctx context.Context) (string, error) {
	length, start := p.host.options.Sample, time.Now()
	end := time.NewTimer(length)
	defer end.Stop()
	each := time.NewTicker(time.Second)
	defer each.Stop()
	progress := p.host.options.Progress
	if progress == nil || !p.machine {
		progress = func(time.Duration) {}
	}
	progress(length)
	defer progress(0)
	for {
		select {
		case <-ctx.Done():
			return "", interrupted(time.Since(start).Round(100 * time.Millisecond))
		case <-each.C:
			progress(max(length-time.Since(start), 0).Round(time.Second))
		case <-end.C:
			return strconv.FormatInt(time.Since(p.now.at).Nanoseconds(), 10), nil
		}
	}
}

// interrupted is the wait for a second look that a person broke off.
type interrupted time.Duration

func (i interrupted) Error() string {
	return fmt.Sprintf("interrupted after %s: judged by one look", time.Duration(i))
}

func (i interrupted) Is(target error) bool { return target == context.Canceled }

// compare hands over the later look, p.now, with what it and an earlier one tell together.
func (p *part) compare(b *advisor.Builder, before observation, dt time.Duration) {
	setRates(b, before.counters, p.now.counters, dt)
	if p.now.sockets != nil {
		if before.sockets != nil {
			p.now.sockets.since(before.sockets, dt)
			b.Set("sample.interval", advisor.Known(advisor.Duration(dt.Round(time.Millisecond)), advisor.Origin{Source: "--sample"}))
		}
		p.now.sockets.facts(b)
		joinListens(b)
	}
	if p.now.hidden != nil && before.hidden != nil {
		p.now.hidden.since(before.hidden)
		b.SetTable("hidden_sockets", p.now.hidden.table())
	}
}

// setRates fills the family of rates. What a source lacks wholly its rates lack too, for the same reason.
func setRates(b *advisor.Builder, before, after *sample, dt time.Duration) {
	b.SetFamily("rate", after.whole["counter"])
	for _, s := range []*sample{before, after} {
		for family, keys := range map[string][]string{
			"softnet":   {"processed", "dropped", "time_squeeze", "received_rps", "flow_limit_count"},
			"conntrack": {"found", "invalid", "insert", "insert_failed", "drop", "early_drop", "icmp_error", "search_restart"},
		} {
			for _, key := range keys {
				if _, ok := s.members[family][key]; !ok {
					b.SetMember("rate", family+"."+key, s.whole[family])
				}
			}
		}
	}
	all := rates(before.cumulative(), after.cumulative(), dt)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		b.SetMember("rate", key, all[key])
	}
}
