package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/host"
	"github.com/tcpadvise/tcpadvise/advisor/report"
	"github.com/tcpadvise/tcpadvise/rules"
)

// input is what the commands that read a host or files have in common.
type input struct {
	root, capture, kernel, as string
	rules                     []string
	config                    string
	inlineConfig              []byte // the configuration itself; nil: it is in a file
	only, skip                []string
	allowGaps                 bool
	nginxConfs, tomcatBases   []string
	observe                   observation
}

func (in *input) register(f *pflag.FlagSet) {
	f.StringVar(&in.root, "root", "", "judge the host whose files lie under `DIR`: a mounted image, a container's root")
	f.StringVar(&in.capture, "capture", "", "judge the host recorded in `FILE` by 'tcpadvise capture'")
	f.StringVar(&in.kernel, "kernel", "", "judge for this kernel `VERSION` (default: the host's; for files alone the newest known)")
	f.StringVar(&in.as, "as", "", "`TYPE` of FILE operands: "+strings.Join(host.FileTypes(), ", ")+" (default: by path, then content)")
	f.StringArrayVar(&in.nginxConfs, "nginx-conf", nil, "read nginx's main `FILE` where it is not found by itself; repeatable")
	f.StringArrayVar(&in.tomcatBases, "tomcat-base", nil, "read the Tomcat of `DIR`, which has conf/server.xml, where it is not found by itself; repeatable")
	in.registerRules(f)
}

// registerRules are the flags that say what is judged, and what counts.
func (in *input) registerRules(f *pflag.FlagSet) {
	f.StringArrayVar(&in.rules, "rules", nil, "add the rules in `DIR`; repeatable")
	f.StringVar(&in.config, "config", "", "waivers, severities, parameters from `FILE` (default "+defaultConfig+", if it exists)")
	f.StringArrayVar(&in.only, "only", nil, "judge only the rules whose ID matches `GLOB`; repeatable")
	f.StringArrayVar(&in.skip, "skip", nil, "leave out the rules whose ID matches `GLOB`; repeatable")
	f.BoolVar(&in.allowGaps, "allow-gaps", false, "do not exit 3 where an input that was asked for could not be read")
}

// verify finds contradictions among the flags before anything is read.
func (in *input) verify(operands []string) error {
	if len(operands) > 0 && (in.root != "" || in.capture != "") {
		return errors.New("FILE operands are judged alone: drop --root and --capture, or drop the operands")
	}
	if len(operands) > 0 && len(in.nginxConfs)+len(in.tomcatBases) > 0 {
		return errors.New("--nginx-conf and --tomcat-base name a host's servers: drop them, or name their files as operands and nothing else")
	}
	if in.root != "" && in.capture != "" {
		return errors.New("--root and --capture exclude each other")
	}
	if err := in.observe.verify(in.notLive(operands)); err != nil {
		return err
	}
	if in.as != "" && !slices.Contains(host.FileTypes(), in.as) {
		return fmt.Errorf("--as takes %s, not %q", strings.Join(host.FileTypes(), ", "), in.as)
	}
	if in.kernel != "" {
		if _, err := advisor.ParseVersion(in.kernel); err != nil {
			return fmt.Errorf("--kernel: %w", err)
		}
	}
	return nil
}

// host is which host is read.
func (in *input) host(set *advisor.RuleSet) host.Options {
	return host.Options{
		Root: in.root, Capture: in.capture, Kernel: in.kernel, Catalogue: set.Catalogue, NginxConfs: in.nginxConfs, TomcatBases: in.tomcatBases,
	}
}

// ruleSet loads the rules that the flags ask for, set up as the user's configuration says.
func (in *input) ruleSet() (*advisor.RuleSet, *advisor.Config, error) {
	config, err := in.configuration()
	if err != nil {
		return nil, nil, err
	}
	set, err := loadRules(slices.Concat(config.RuleDirs, in.rules))
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(set.Configure(config), verifyGlobs(set, "--only", in.only), verifyGlobs(set, "--skip", in.skip))
	return set, config, err
}

// verifyGlobs finds patterns that choose no rule: a misspelt --skip would gate on what its author meant to leave out.
func verifyGlobs(set *advisor.RuleSet, flag string, globs []string) error {
	for _, glob := range globs {
		if !slices.ContainsFunc(set.IDs(), func(id string) bool { return advisor.MatchID(glob, id) }) {
			hint := "; 'tcpadvise rules list' names them all"
			if near := advisor.Nearest(glob, set.IDs()); near != "" {
				hint = fmt.Sprintf(", did you mean %q?", near)
			}
			return fmt.Errorf("%s %s matches no rule%s", flag, glob, hint)
		}
	}
	return nil
}

// checkFlags are those of check beside the input's.
type checkFlags struct {
	input
	view
	gate gate
}

// view is the flags that say what fails, and what is shown where.
type view struct {
	outputs     outputs
	failOn      string
	minSeverity string
	quiet       bool
}

func (v *view) register(f *pflag.FlagSet, formats []string) {
	f.StringVar(&v.failOn, "fail-on", "warning", "exit 1 at findings of this `SEVERITY` or worse: error, warning, info or never")
	f.StringVar(&v.minSeverity, "min-severity", "info", "show findings of this `SEVERITY` or worse; the gate is not changed")
	f.BoolVarP(&v.quiet, "quiet", "q", false, "print findings and the verdict only")
	v.outputs.register(f, formats)
}

// options are how these flags and the input's are understood; an error is wrong usage.
func (v *view) options(a *app, in *input, set *advisor.RuleSet, config *advisor.Config) (judge advisor.Options, show report.Options, err error) {
	judge = advisor.Options{Only: in.only, Skip: in.skip, AllowGaps: in.allowGaps, Lang: a.lang, Config: config, Now: time.Now()}
	show = report.Options{Rules: set, Quiet: v.quiet, Tool: version, RulesVersion: rules.Version, Lang: a.lang}
	if v.failOn != "never" {
		if judge.FailOn, err = advisor.ParseSeverity(v.failOn); err != nil {
			return judge, show, fmt.Errorf("--fail-on: %w, or never", err)
		}
	}
	if show.MinSeverity, err = advisor.ParseSeverity(v.minSeverity); err != nil {
		return judge, show, fmt.Errorf("--min-severity: %w", err)
	}
	return judge, show, v.outputs.verify()
}

func (a *app) checkCommand() *cobra.Command {
	var flags checkFlags
	cmd := &cobra.Command{
		Use:   "check [FILE|DIR|-...]",
		Short: "Judge this host, or lint configuration files",
		Long: `check judges this host, live. With FILE operands it lints just these (- is standard input, a directory is searched), each
file alone, and needs no host.

Exit codes: 0 judged, nothing at or above --fail-on; 1 at least one such finding; 2 wrong usage or a bad rule set, nothing was
judged; 3 an input that was asked for could not be read, what could be judged is printed all the same.`,
		Example: `  tcpadvise check
  tcpadvise check --only 'time-wait/*' --format json
  tcpadvise check --kernel 4.18 roles/tuning/files/sysctl.conf
  tcpadvise check --format text --format json -o report.json
  ssh host cat /etc/sysctl.conf | tcpadvise check --as sysctl -`,
		RunE: func(cmd *cobra.Command, operands []string) error {
			return a.check(cmd.Context(), &flags, operands)
		},
	}
	cmd.Flags().SortFlags = false
	flags.register(cmd.Flags())
	return cmd
}

func (flags *checkFlags) register(f *pflag.FlagSet) {
	flags.input.register(f)
	flags.observe.register(f)
	flags.gate.register(f)
	flags.view.register(f, report.Formats())
}

func (a *app) check(ctx context.Context, flags *checkFlags, operands []string) error {
	d, show, err := a.judge(ctx, flags, operands)
	if err != nil {
		return err
	}
	if err := flags.gate.write(d); err != nil {
		return incomplete(err)
	}
	a.code = exitCode(d.Summary.Verdict)
	return flags.outputs.write(a, show, func(w io.Writer, format string, show report.Options) error {
		return report.Write(w, format, d, show)
	})
}

// judge does all of check but to write: what was found, and how it is to be shown.
func (a *app) judge(ctx context.Context, flags *checkFlags, operands []string) (*advisor.Diagnosis, report.Options, error) {
	var show report.Options
	if err := flags.verify(operands); err != nil {
		return nil, show, err
	}
	set, config, err := flags.ruleSet()
	if err != nil {
		return nil, show, err
	}
	baseline, err := flags.gate.read()
	if err != nil {
		return nil, show, err
	}
	options, show, err := flags.options(a, &flags.input, set, config)
	if err != nil {
		return nil, show, err
	}
	d, options, err := a.diagnose(ctx, &flags.input, operands, set, options)
	if err != nil {
		return nil, show, err
	}
	if len(d.ConfigFaults) > 0 {
		return nil, show, d.ConfigFaults
	}
	if baseline != nil {
		baseline.Apply(d)
		d.Finish(options)
	}
	return d, show, nil
}

func exitCode(v advisor.Verdict) int {
	switch v {
	case advisor.VerdictPass:
		return exitPass
	case advisor.VerdictFail:
		return exitFail
	}
	return exitIncomplete
}

// diagnose reads the host, or each file, and judges it. The options come back with what was read: host, gaps, time.
func (a *app) diagnose(ctx context.Context, in *input, operands []string, set *advisor.RuleSet, o advisor.Options) (*advisor.Diagnosis, advisor.Options, error) {
	if len(operands) > 0 {
		d, o := a.diagnoseFiles(ctx, in, operands, set, o)
		return d, o, nil
	}
	h, err := host.Open(in.observe.host(a, in.host(set)))
	if err != nil {
		return nil, o, incomplete(err)
	}
	defer h.Abort()  // nothing is recorded: it lets go of what was opened
	go set.Prepare() // the rules are decoded while the host answers
	if h.Captured() != (time.Time{}) {
		o.Now = h.Captured() // a capture is judged as of its own time, so that it replays alike
	}
	return judge(ctx, h.Parts(ctx), set, o)
}

// diagnoseFiles judges each file alone: they need not belong to one host.
func (a *app) diagnoseFiles(ctx context.Context, in *input, operands []string, set *advisor.RuleSet, o advisor.Options) (*advisor.Diagnosis, advisor.Options) {
	files := host.OpenFiles(operands, a.stdin, host.FileOptions{As: in.as, Kernel: in.kernel, Catalogue: set.Catalogue})
	o.Host = files.Host()
	var parts iter.Seq[*advisor.Diagnosis] = func(yield func(*advisor.Diagnosis) bool) {
		for facts := range files.Facts(ctx) {
			if !yield(set.Evaluate(facts, advisor.Options{Host: o.Host, Only: o.Only, Skip: o.Skip, Lang: o.Lang})) {
				return
			}
		}
	}
	merged := advisor.Merge(parts)
	o.Gaps = files.Gaps()
	merged.Finish(o)
	return merged, o
}

func (a *app) captureCommand() *cobra.Command {
	var in input
	var output string
	cmd := &cobra.Command{
		Use:   "capture -o FILE",
		Short: "Record all that check reads into one archive, for check --capture",
		Long: `capture runs the collectors of check and records what they read: files, kernel answers, and what could not be read. The archive has
mode 0600; secrets are masked. 'tcpadvise check --capture FILE' judges it anywhere, with the result that check had here.`,
		Example: `  tcpadvise capture -o web1.tcpadvise
  tcpadvise capture --sample 30s --deep -o web1.tcpadvise
  tcpadvise check --capture web1.tcpadvise`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.capture(cmd.Context(), &in, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "archive to write")
	cmd.Flags().StringVar(&in.root, "root", "", "record the host whose files lie under `DIR`")
	in.observe.register(cmd.Flags())
	return cmd
}

func (a *app) capture(ctx context.Context, in *input, output string) error {
	if output == "" {
		return errors.New("capture needs -o FILE")
	}
	if err := in.verify(nil); err != nil {
		return err
	}
	set, err := loadRules(nil)
	if err != nil {
		return err
	}
	h, err := host.Open(in.observe.host(a, host.Options{
		Root: in.root, Catalogue: set.Catalogue, Record: output, Tool: version, Now: time.Now(),
	}))
	if err != nil {
		return incomplete(err)
	}
	var gaps []advisor.Gap
	for _, p := range h.Parts(ctx) {
		if err := ctx.Err(); err != nil && !p.Whole {
			h.Abort()
			return incomplete(fmt.Errorf("interrupted, nothing was written: %w", err))
		}
		for _, gap := range p.Gaps {
			if p.Name != "" {
				gap.Source += " in network namespace " + p.Name
			}
			gaps = append(gaps, gap)
		}
	}
	if err := h.Close(); err != nil {
		return incomplete(err)
	}
	for _, gap := range gaps {
		fmt.Fprintf(a.stderr, "tcpadvise: not recorded: %s: %s\n", gap.Source, gap.Why)
	}
	_, err = fmt.Fprintf(a.stdout, "wrote %s; judge it with: tcpadvise check --capture %s\n", output, output)
	return err
}
