package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/host"
	"github.com/tcpadvise/tcpadvise/advisor/report"
)

func (a *app) whyCommand() *cobra.Command {
	var in input
	cmd := &cobra.Command{
		Use:   "why KEY",
		Short: "Say who sets a kernel parameter, and which line wins",
		Long: `why prints one kernel parameter's running value and the kernel's own, each line of the sysctl files that sets it in the order in which it
is read, which of them wins at boot and which with sysctl --system, and what becomes of the others.

Exit codes: 0 answered; 2 wrong usage, or nothing is known of the name; 3 a file that a loader reads could not be read, so that the answer
may be wrong.`,
		Example: `  tcpadvise why somaxconn
  tcpadvise why net.ipv4.conf.eth0.rp_filter
  tcpadvise why --root /mnt/image tcp_rmem`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.why(cmd.Context(), &in, args[0]) },
		ValidArgsFunction: func(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			set, err := loadRules(nil)
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return set.Catalogue.Keys(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&in.root, "root", "", "read the host whose files lie under `DIR`: a mounted image, a container's root")
	f.StringVar(&in.capture, "capture", "", "read the host recorded in `FILE` by 'tcpadvise capture'")
	f.StringVar(&in.kernel, "kernel", "", "give the default of this kernel `VERSION` (default: the host's, else the newest known)")
	return cmd
}

func (a *app) why(ctx context.Context, in *input, subject string) error {
	if err := in.verify(nil); err != nil {
		return err
	}
	set, err := loadRules(nil)
	if err != nil {
		return err
	}
	h, err := host.Open(host.Options{Root: in.root, Capture: in.capture, Kernel: in.kernel, Catalogue: set.Catalogue})
	if err != nil {
		return incomplete(err)
	}
	names := parametersNamed(set, subject)
	names = slices.DeleteFunc(names, func(key string) bool { // names that no kernel has are answered only in full
		p, _ := set.Catalogue.Lookup(key)
		return p.MistakenFor != "" && len(names) > 1
	})
	if len(names) == 0 {
		names = []string{subject}
	}
	var show report.Options
	show.Color, show.Width = a.terminal()
	for i, name := range names {
		w := h.Why(ctx, name)
		if err := ctx.Err(); err != nil {
			return incomplete(fmt.Errorf("interrupted: %w", err))
		}
		if nobodyKnows(w) {
			return errors.New("nothing is known of " + fmt.Sprintf("%q", subject) + ", and no file sets it" + nearKey(set, subject))
		}
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		if err := report.WriteWhy(a.stdout, w, show); err != nil {
			return err
		}
		if len(w.Gaps) > 0 {
			a.code = exitIncomplete
		}
	}
	return nil
}

// nobodyKnows reports a name that neither the catalogue nor the kernel nor any file has.
func nobodyKnows(w *advisor.Why) bool {
	return !w.Known && w.Running.State != advisor.StateKnown && len(w.Boot.Steps)+len(w.Reload.Steps)+len(w.Others) == 0
}

func nearKey(set *advisor.RuleSet, subject string) string {
	candidates := slices.Clone(set.Catalogue.Keys())
	for _, key := range set.Catalogue.Keys() {
		candidates = append(candidates, key[strings.LastIndexByte(key, '.')+1:])
	}
	if near := advisor.Nearest(subject, candidates); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; write a name such as net.core.somaxconn"
}
