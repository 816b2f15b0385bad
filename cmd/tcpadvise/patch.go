package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/host"
	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// patchFlags are those of patch beside the input's.
type patchFlags struct {
	input
	format  string
	include string
	reverse bool
	verify  bool
}

func (a *app) patchCommand() *cobra.Command {
	var flags patchFlags
	cmd := &cobra.Command{
		Use:   "patch [FILE|DIR...]",
		Short: "Print what to change; write nothing",
		Long: `patch judges as check does, and prints the changes that its findings want: the fewest bytes, in the file that the host's boot loader
reads and that wins. Each change was made in memory, read again and judged again; one after which its finding stays, or
another one comes, is withheld with the reason. Nothing is written to the host.

Formats: diff, for patch -p1 -d / and git apply; drop-in, one file of sysctl.d; ansible, tasks; commands, sysctl -w for this boot only.
Settings of services, such as nginx's, are changed by diff and ansible; the commands that make the service take them up stand above.

With --verify, FILEs that were applied are read back: each value that they set is compared with the running kernel. Files of services,
such as nginx.conf, hold none and are refused.

Exit codes: 0 done, also where there is nothing to change; 1 --verify found another value; 2 wrong usage or a bad rule set; 3 an
input that was asked for could not be read, or --verify cannot compare it.`,
		Example: `  tcpadvise patch                                     what is safe, as a diff
  tcpadvise patch --include review | patch -p1 -d /   apply what a person has read
  tcpadvise patch --include review --reverse > undo   before it is applied: how to take it back
  tcpadvise patch --root image --format drop-in
  tcpadvise patch --verify /etc/sysctl.d/99-tuning.conf`,
		RunE: func(cmd *cobra.Command, operands []string) error {
			if flags.verify {
				return a.verifyApplied(cmd.Context(), &flags, operands)
			}
			return a.patch(cmd.Context(), &flags, operands)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	flags.register(f)
	f.StringVar(&flags.format, "format", "diff", "form of the changes: "+strings.Join(report.PatchFormats(), ", "))
	f.StringVar(&flags.include, "include", "safe", "changes of this safety or more: safe, review (read them first) or manual (a person must decide)")
	f.BoolVar(&flags.reverse, "reverse", false, "print how to take the changes back; computed from what is there now, so before they are made")
	f.BoolVar(&flags.verify, "verify", false, "compare what FILEs set with the running kernel")
	return cmd
}

// check finds contradictions among the flags.
func (p *patchFlags) check(operands []string) (least advisor.Safety, err error) {
	if err := p.input.verify(operands); err != nil {
		return 0, err
	}
	style, reversible := report.PatchStyle(p.format)
	if least, err = advisor.ParseSafety(p.include); err != nil {
		return 0, fmt.Errorf("--include: %w", err)
	}
	switch {
	case style == 0:
		return 0, fmt.Errorf("--format takes %s, not %q", strings.Join(report.PatchFormats(), ", "), p.format)
	case p.reverse && !reversible:
		return 0, fmt.Errorf("--reverse goes with --format diff and commands, not with %s", p.format)
	case style == advisor.PatchDropIn && len(operands) > 0:
		return 0, errors.New("--format drop-in overrides a host's files: FILE operands are judged alone; take --root DIR, or --format diff")
	}
	return least, nil
}

func (a *app) patch(ctx context.Context, flags *patchFlags, operands []string) error {
	least, err := flags.check(operands)
	if err != nil {
		return err
	}
	set, config, err := flags.ruleSet()
	if err != nil {
		return err
	}
	style, _ := report.PatchStyle(flags.format)
	m := &patchMaker{
		a: a, set: set, least: least, style: style,
		options: advisor.Options{
			Only: flags.only, Skip: flags.skip, AllowGaps: flags.allowGaps, Lang: a.lang, Config: config, Now: time.Now(),
		},
	}
	gaps, err := m.make(ctx, &flags.input, operands)
	if err != nil {
		return err
	}
	if len(m.faults) > 0 {
		return m.faults
	}
	for _, c := range m.conflicts {
		m.patch.Withheld = append(m.patch.Withheld, advisor.WithheldChange(c))
	}
	for _, gap := range gaps {
		if !gap.Notice {
			fmt.Fprintf(a.stderr, "tcpadvise: not read: %s: %s\n", gap.Source, gap.Why)
			if !flags.allowGaps {
				a.code = exitIncomplete
			}
		}
	}
	return report.WritePatch(a.stdout, a.stderr, flags.format, &m.patch, report.PatchOptions{
		Tool: version, Reverse: flags.reverse, Alone: len(operands) > 0, Root: flags.root, Include: least, Left: m.left, Steps: m.steps,
	})
}

// patchMaker gathers the patch of a host, or of several files.
type patchMaker struct {
	a         *app
	set       *advisor.RuleSet
	options   advisor.Options
	least     advisor.Safety
	style     advisor.PatchStyle
	patch     advisor.Patch
	left      []advisor.Change
	steps     []advisor.Finding
	conflicts []advisor.Conflict
	faults    advisor.LoadErrors
	refuses   func(key string) string // why a parameter cannot be set in this network namespace; nil: nothing is known
}

func (m *patchMaker) make(ctx context.Context, in *input, operands []string) ([]advisor.Gap, error) {
	if len(operands) == 0 {
		return m.makeHost(ctx, in)
	}
	files := host.OpenFiles(operands, m.a.stdin, host.FileOptions{As: in.as, Kernel: in.kernel, Catalogue: m.set.Catalogue})
	m.options.Host = files.Host()
	for facts := range files.Facts(ctx) {
		m.add(facts, func(d *advisor.Diagnosis, changes []advisor.Change, o host.PatchOptions) *advisor.Patch {
			return files.Edits(ctx, facts, d, changes, o)
		})
	}
	return files.Gaps(), nil
}

func (m *patchMaker) makeHost(ctx context.Context, in *input) ([]advisor.Gap, error) {
	options := in.host(m.set)
	options.Edits = true
	h, err := host.Open(options)
	if err != nil {
		return nil, incomplete(err)
	}
	defer h.Abort()    // nothing is recorded: it lets go of what was opened
	go m.set.Prepare() // the rules are decoded while the host answers
	if h.Captured() != (time.Time{}) {
		m.options.Now = h.Captured()
	}
	part := &h.Parts(ctx)[0]
	facts, gaps := part.Facts, part.Gaps
	if err := ctx.Err(); err != nil {
		return nil, incomplete(fmt.Errorf("interrupted: %w", err))
	}
	m.options.Host, m.refuses = part.Host, part.Refuses
	m.add(facts, func(d *advisor.Diagnosis, changes []advisor.Change, o host.PatchOptions) *advisor.Patch {
		return h.Edits(ctx, facts, d, changes, o)
	})
	return gaps, nil
}

// add judges facts and takes in what is to change.
func (m *patchMaker) add(facts *advisor.Facts, edits func(*advisor.Diagnosis, []advisor.Change, host.PatchOptions) *advisor.Patch) {
	judge := func(f *advisor.Facts) *advisor.Diagnosis {
		d := m.set.Evaluate(f, m.options)
		if m.refuses != nil {
			d.Withhold(m.refuses)
		}
		return d
	}
	d := judge(facts)
	m.faults = append(m.faults, d.ConfigFaults...)
	changes, conflicts := d.Changes(m.least)
	m.patch.Add(edits(d, changes, host.PatchOptions{Style: m.style, Judge: judge}))
	m.conflicts = append(m.conflicts, conflicts...)
	all, _ := d.Changes(advisor.SafetyManual)
	for _, c := range all {
		if !slices.ContainsFunc(changes, func(o advisor.Change) bool { return o.Setting == c.Setting }) {
			m.left = append(m.left, c)
		}
	}
	for _, f := range d.Findings {
		if f.Remedy == advisor.RemedyApplication && f.Waived == nil {
			m.steps = append(m.steps, f)
		}
	}
}

// verifyApplied compares what files set with the running kernel.
func (a *app) verifyApplied(ctx context.Context, flags *patchFlags, operands []string) error {
	switch {
	case len(operands) == 0:
		return errors.New("--verify needs the FILEs that were applied")
	case flags.capture != "" || flags.root != "" || flags.reverse:
		return errors.New("--verify reads the running kernel: drop --root, --capture and --reverse")
	}
	set, err := loadRules(flags.rules)
	if err != nil {
		return err
	}
	h, err := host.Open(host.Options{Kernel: flags.kernel, Catalogue: set.Catalogue})
	if err != nil {
		return incomplete(err)
	}
	count := 0
	for _, name := range operands {
		results, err := h.Verify(ctx, name, flags.as)
		if err != nil {
			fmt.Fprintf(a.stderr, "tcpadvise: %v\n", err)
			a.code = exitIncomplete
			continue
		}
		for _, r := range results {
			count++
			switch r.Outcome {
			case host.Differs:
				a.code = max(a.code, exitFail)
				fmt.Fprintf(a.stdout, "%s:%d: %s\n", name, r.Line, r.Text)
			case host.NotRead:
				a.code = exitIncomplete
				fmt.Fprintf(a.stderr, "tcpadvise: %s:%d: %s\n", name, r.Line, r.Text)
			case host.Secret:
				count--
				fmt.Fprintf(a.stderr, "tcpadvise: %s:%d: %s\n", name, r.Line, r.Text)
			case host.Holds:
			}
		}
	}
	if a.code == exitPass {
		fmt.Fprintf(a.stdout, "%d values are as the files set them\n", count)
	}
	return nil
}
