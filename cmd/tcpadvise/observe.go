package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/host"
)

// observation is the flags that say how a live machine is looked at.
type observation struct {
	sample time.Duration
	deep   bool
	netns  string
}

func (o *observation) register(f *pflag.FlagSet) {
	f.Var((*sampleFlag)(&o.sample), "sample", "look twice, `DURATION` apart (30s; a number is seconds): growth, persistence, rates (default: once)")
	f.BoolVar(&o.deep, "deep", false, "also look for what costs a walk over all descriptors: dead sockets that no table shows")
	o.registerNetns(f)
}

func (o *observation) registerNetns(f *pflag.FlagSet) {
	f.StringVar(&o.netns, "netns", "", "read the network namespace of process `PID`, the one that ip netns calls NAME, or all; as root")
}

// sampleFlag is a duration that also takes whole seconds.
type sampleFlag time.Duration

func (s *sampleFlag) Type() string   { return "DURATION" }
func (s *sampleFlag) String() string { return "" }
func (s *sampleFlag) Set(text string) error {
	const longest = 24 * time.Hour
	d, err := time.ParseDuration(text)
	if n, bad := strconv.ParseUint(text, 10, 32); bad == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	switch {
	case err != nil:
		return errors.New("want a duration such as 30s, 2m or 500ms")
	case d < 0 || d > longest:
		return fmt.Errorf("want a duration from 0 to %s", longest)
	}
	*s = sampleFlag(d)
	return nil
}

// verify refuses the flags where nothing is live.
func (o *observation) verify(why string) error {
	if why == "" {
		return nil
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"--sample", o.sample > 0}, {"--deep", o.deep}, {"--netns", o.netns != ""}} {
		if f.set {
			return fmt.Errorf("%s looks at the live machine: %s", f.name, why)
		}
	}
	return nil
}

// notLive is why these flags make no sense; empty where they do.
func (in *input) notLive(operands []string) string {
	switch {
	case len(operands) > 0:
		return "drop it, or the FILE operands"
	case in.capture != "":
		return "a capture has what was looked at when it was made; drop it here"
	case in.root != "":
		return "drop it, or --root"
	}
	return ""
}

// host fills in what the flags say.
func (o *observation) host(a *app, options host.Options) host.Options {
	options.Sample, options.Deep, options.Netns = o.sample, o.deep, o.netns
	options.Progress = a.progress()
	return options
}

// progress shows a person at a terminal how long a wait still takes; nil where there is none.
func (a *app) progress() func(left time.Duration) {
	f, ok := a.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	const clearLine = "\r\x1b[K"
	return func(left time.Duration) {
		if left <= 0 {
			fmt.Fprint(f, clearLine)
			return
		}
		fmt.Fprintf(f, "%ssecond look in %s (Ctrl-C: judge the first)", clearLine, left)
	}
}

// judge judges each network namespace that was read. What was read when a person interrupts the wait for the second look
// counts.
func judge(ctx context.Context, parts []host.Part, set *advisor.RuleSet, o advisor.Options) (*advisor.Diagnosis, advisor.Options, error) {
	var all []*advisor.Diagnosis
	for i := range parts {
		p := &parts[i]
		if err := ctx.Err(); err != nil && !p.Whole {
			return nil, o, incomplete(fmt.Errorf("interrupted: %w", err))
		}
		each := o
		each.Host, each.Gaps = p.Host, p.Gaps
		if i == 0 {
			o.Host, o.Gaps = p.Host, p.Gaps
		}
		d := set.Evaluate(p.Facts, each)
		d.Withhold(p.Refuses)
		if enter := p.Enter(); enter != "" {
			d.Within(enter)
		}
		if len(parts) == 1 {
			return d, each, nil
		}
		if i > 0 {
			d.Locate("network namespace " + p.Name)
			for _, gap := range p.Gaps {
				gap.Source += " in network namespace " + p.Name
				o.Gaps = append(o.Gaps, gap)
			}
		}
		all = append(all, d)
	}
	d := advisor.MergePlaces(all)
	d.Finish(o)
	return d, o, nil
}
