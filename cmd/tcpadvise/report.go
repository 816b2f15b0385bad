package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/host"
	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// reportFlags are those of report: what is judged, and what is shown.
type reportFlags struct {
	input
	view
}

func (a *app) reportCommand() *cobra.Command {
	var flags reportFlags
	cmd := &cobra.Command{
		Use:   "report CAPTURE...",
		Short: "Fold the captures of many hosts into one report",
		Long: `report judges each capture as check --capture does, and folds what is equal: a finding with the hosts that have it, the kernel
parameters of which the hosts have different values, what could not be read and where. The order of the captures does not matter, and
no more than one is in memory.

Exit codes: 0 judged, no host has a finding at or above --fail-on; 1 at least one has; 2 wrong usage or a bad rule set, nothing was judged;
3 a capture, or something on a host that was asked for, could not be read, what could be judged is printed all the same.`,
		Example: `  tcpadvise report captures/*
  tcpadvise report --format html -o fleet.html captures/*
  tcpadvise report --only 'unsafe/*' --format json captures/* | jq -r '.findings[] | "\(.rule) \(.hosts | length)"'`,
		RunE: func(cmd *cobra.Command, captures []string) error {
			return a.report(cmd.Context(), &flags, captures)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	flags.registerRules(f)
	flags.view.register(f, report.FleetFormats())
	return cmd
}

func (a *app) report(ctx context.Context, flags *reportFlags, captures []string) error {
	if len(captures) == 0 {
		return errors.New("report needs CAPTURE files; 'tcpadvise capture -o FILE' makes one on each host")
	}
	set, config, err := flags.ruleSet()
	if err != nil {
		return err
	}
	options, show, err := flags.options(a, &flags.input, set, config)
	if err != nil {
		return err
	}
	fleet := advisor.NewFleet(set, options)
	for _, capture := range distinctFiles(captures) {
		if err := a.addCapture(ctx, fleet, capture, set, options); err != nil {
			return err
		}
	}
	r := fleet.Report()
	a.code = exitCode(r.Summary.Verdict)
	return flags.outputs.write(a, show, func(w io.Writer, format string, show report.Options) error {
		return report.WriteFleet(w, format, r, show)
	})
}

// distinctFiles drops what is named twice: a host must not count twice.
func distinctFiles(names []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, name := range names {
		if clean := filepath.Clean(name); !seen[clean] {
			seen[clean] = true
			out = append(out, name)
		}
	}
	return out
}

// addCapture judges one host; of the capture nothing stays in memory. What cannot be read is noted, and the others go on.
func (a *app) addCapture(ctx context.Context, fleet *advisor.Fleet, capture string, set *advisor.RuleSet, o advisor.Options) error {
	h, err := host.Open(host.Options{Capture: capture, Catalogue: set.Catalogue})
	if err != nil {
		fleet.Unread(capture, strings.TrimPrefix(err.Error(), "capture "+capture+": "))
		return nil
	}
	defer h.Abort() // nothing is recorded: it lets go of what was opened
	if h.Captured() != (time.Time{}) {
		o.Now = h.Captured() // as check --capture judges it
	}
	parts := h.Parts(ctx)
	d, _, err := judge(ctx, parts, set, o)
	switch {
	case err != nil:
		return err
	case len(d.ConfigFaults) > 0: // waivers in this host's files: nothing may be concluded of it, but of the others
		fleet.Unread(capture, d.ConfigFaults.Error())
	default:
		fleet.Add(capture, d, parts[0].Facts)
	}
	return nil
}
