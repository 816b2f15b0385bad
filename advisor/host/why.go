package host

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// Why tells the story of one kernel parameter: what it is, each line that sets it, and which of them wins. The name is a full one, with
// dots or slashes.
func (h *Host) Why(ctx context.Context, name string) *advisor.Why {
	key := conf.SysctlName(conf.SysctlTarget(strings.TrimPrefix(name, procSys+"/")))
	c := h.options.Catalogue
	w := &advisor.Why{Key: key, Known: c.Known(key)}
	kind, ok := c.TypeOf(key)
	if !ok {
		kind = advisor.TypeText
	}
	var b advisor.Builder
	collectIdentity(ctx, h.tree, &b)
	collectSysctls(ctx, h.tree, &b, []sysctlKey{{key, kind}})
	w.Running = b.Member("sysctl", key)
	w.Kernel, _ = b.Scalar("kernel.release").Value.Text()
	if h.options.Kernel != "" {
		w.Kernel = h.options.Kernel
	}
	setKernel(&b, h.options)
	kernel, _ := kernelOf(&b)
	if w.Kernel == "" {
		w.Kernel = kernel.String()
	}
	w.Default, w.DefaultNote = c.DefaultValue(key, kernel, b.View())
	loads := loadSysctls(h.tree, nil)
	w.Boot = h.story(loads.boot, key)
	w.BootWhy = loads.why
	switch loads.loader {
	case bootSystemd, bootProcps:
	case bootUnknown:
		w.Boot.Loader = "not known; as " + w.Boot.Loader + " would"
	case bootNothing:
		w.Boot = advisor.WhyLoad{Loader: loads.loader, Winner: -1}
	default:
		w.Boot.Loader = loads.loader + "; as " + w.Boot.Loader + " would"
	}
	if has, why := reloadCommand(h.tree); has {
		w.Reload = h.story(loads.reload, key)
	} else {
		w.Reload, w.ReloadWhy = advisor.WhyLoad{Winner: -1}, why
	}
	w.Others = whyOthers(h.tree, &b, key)
	w.Gaps = distinctGaps(slices.Concat(loads.boot.Gaps, loads.reload.Gaps))
	w.Notes = h.whyNotes(w, loads, kernel)
	return w
}

// story is the chain of a key by one loader, and the lines of files that it never opens.
func (h *Host) story(l *sysctlLoad, key string) advisor.WhyLoad {
	out := advisor.WhyLoad{Loader: l.Loader, Winner: -1}
	for _, s := range l.chain(key) {
		a := l.All[s.Index]
		step := whyStep(a)
		step.Fate = l.fateText(s)
		if s.Fate == sysctlWins {
			step.Won, out.Winner = true, len(out.Steps)
		}
		out.Steps = append(out.Steps, step)
	}
	for _, m := range l.Masked {
		for _, a := range maskedLines(h.tree, m.Path, key, l.systemd) {
			step := whyStep(a)
			step.Fate = "not read: hidden by " + m.By
			out.Steps = append(out.Steps, step)
		}
	}
	return out
}

func whyStep(a sysctlAssignment) advisor.WhyStep {
	s := advisor.WhyStep{Path: a.File, Line: a.Line, Key: a.Key, Value: a.Value, Exclude: a.Exclude}
	if a.Path != a.File {
		s.As = a.Path
	}
	return s
}

func (l *sysctlLoad) fateText(s sysctlStep) string {
	by := ""
	if s.By >= 0 {
		by = whereOf(l.All[s.By])
	}
	switch s.Fate {
	case sysctlWins:
		return "wins"
	case sysctlReplaced:
		if by == "" {
			return "not in force"
		}
		return "replaced by " + by
	case sysctlTakenBack:
		return "taken back by " + by
	case sysctlYields:
		return "a pattern, which leaves the key to " + by
	case sysctlExcludes:
		if l.systemd {
			return "takes earlier lines back, and keeps patterns off the key"
		}
		return "keeps patterns off the key"
	case sysctlRefused:
		return "never written: " + l.All[s.Index].Refused
	}
	return ""
}

// maskedLines are the lines on a key in a file that the loader does not open. In a capture it may be missing; then nothing is known of it.
func maskedLines(t tree, name, key string, systemd bool) []sysctlAssignment {
	l := newSysctlLoad("", t, nil)
	l.systemd = systemd
	l.preload(name)
	l.index()
	lines := slices.Clone(l.byKey[key])
	for _, i := range l.globs {
		if l.matches(i, conf.SysctlTarget(key)) {
			lines = append(lines, i)
		}
	}
	slices.Sort(lines)
	var out []sysctlAssignment
	for _, i := range lines {
		out = append(out, l.All[i])
	}
	return out
}

// whyOthers are those beside the loaders that set a key.
func whyOthers(t tree, b *advisor.Builder, key string) []advisor.WhyWriter {
	var all []advisor.WhyWriter
	for _, row := range b.View().Table("cmdline_sysctls").Rows {
		if k, _ := row.Cells["key"].Value.Text(); k == key {
			value, _ := row.Cells["value"].Value.Text()
			all = append(all, advisor.WhyWriter{Who: "the kernel command line, before the files", Value: value, Place: "/proc/cmdline"})
		}
	}
	for _, w := range otherWriters(t) {
		at := w.origin.Path
		if w.origin.Line > 0 {
			at = fmt.Sprintf("%s:%d", at, w.origin.Line)
		}
		switch w.key {
		case key:
			all = append(all, advisor.WhyWriter{Who: w.who + ", after the files", Value: w.value, Place: at})
		case "*":
			all = append(all, advisor.WhyWriter{Who: w.who + " may set it, with a profile that could not be followed", Place: at})
		}
	}
	return all
}

// whyNotes say what the steps do not show.
func (h *Host) whyNotes(w *advisor.Why, loads sysctlLoads, kernel advisor.Version) []string {
	c := h.options.Catalogue
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	boot, bootSets := w.Boot.Winning()
	reload, reloadSets := w.Reload.Winning()
	switch running := w.Running.Value.String(); {
	case w.Running.State != advisor.StateKnown || !bootSets:
	case c.Refuses(w.Key, boot.Value, kernel) != "":
	case !c.SameValue(w.Key, boot.Value, running):
		note("drift: %s runs, and the next boot sets %s", running, boot.Value)
	}
	if w.Running.State == advisor.StateKnown && !bootSets && !reloadSets && len(w.Others) == 0 && !w.Default.IsZero() &&
		w.DefaultNote == "" && !w.Default.Equal(w.Running.Value) {
		note("drift: %s runs, which is not the kernel's default, and no file sets it: the next boot loses it", w.Running.Value)
	}
	if w.Reload.Loader != "" && len(w.Boot.Steps)+len(w.Reload.Steps) > 0 && w.Boot.Loader != bootNothing &&
		(bootSets != reloadSets || bootSets && !c.SameValue(w.Key, boot.Value, reload.Value)) {
		note("a boot and sysctl --system end with different values")
	}
	if why := c.Refuses(w.Key, boot.Value, kernel); bootSets && why != "" {
		note("the kernel refuses the value of %s:%d: %s", boot.Path, boot.Line, why)
	}
	if module := moduleOf(c, w.Key); module != "" && bootSets {
		release, _ := h.release()
		if !bootModules(h.tree, loads.loader, release)(module) {
			note("the key comes with the module %s, which nothing loads before the files are read", module)
		}
	}
	if p, _ := c.Lookup(w.Key); p.MistakenFor != "" {
		note("no kernel has this key: people mean %s", p.MistakenFor)
	}
	return notes
}

func (h *Host) release() (string, bool) { return kernelRelease(h.tree).Value.Text() }
