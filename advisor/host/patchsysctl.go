package host

import (
	"fmt"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// This file chooses where a change of a kernel parameter is made, and tells what it comes to for the loader and for the
// kernel that runs.

// gaps says which file that the loader reads could not be read: what such a file sets is not known, and might win.
func (pr *proof) gaps() string {
	if len(pr.load.Gaps) == 0 || pr.options.Style == advisor.PatchCommands {
		return ""
	}
	return pr.load.Gaps[0].Source + " could not be read, and may decide: run as root"
}

func (pr *proof) refused(key string, v advisor.Value) string {
	var kernel advisor.Version
	if ns, ok := pr.facts.Scalar("kernel.version").Value.Tuple(); ok {
		copy(kernel[:], ns)
	}
	return pr.catalogue.Refuses(key, v.String(), kernel)
}

func (pr *proof) waysToSet(s *placing) []way {
	w, declared := pr.load.winner(s.key)
	right := declared && pr.catalogue.SameValue(s.key, w.Value, s.value()) && !s.change.Respell
	byDefault := !declared && !s.change.Default.IsZero() && pr.catalogue.SameValue(s.key, s.change.Default.String(), s.value())
	switch style := pr.options.Style; {
	case style == advisor.PatchCommands || right || byDefault:
		return []way{wayKernel}
	case style == advisor.PatchDropIn:
		return []way{wayDropIn}
	case pr.alone != "":
		return []way{wayInPlace, wayAppend}
	case pr.load.systemd:
		return []way{wayInPlace, wayDropIn}
	}
	return []way{wayInPlace, wayDropIn, wayConf}
}

func (pr *proof) waysToRemove(s *placing) (ways []way, why string) {
	lines := pr.load.assignments(s.key)
	known := !s.change.Default.IsZero() && !s.change.Gone
	w, declared := pr.load.winner(s.key)
	switch style := pr.options.Style; {
	case pr.gaps() != "":
		return nil, pr.gaps()
	case style == advisor.PatchCommands || !declared && len(lines) == 0:
		return []way{wayKernel}, ""
	case style == advisor.PatchDropIn && known:
		return []way{wayDropIn}, ""
	case style == advisor.PatchDropIn && s.change.Gone:
		return nil, fmt.Sprintf("the line in %s must go, and a drop-in can only override: --format diff removes it", pr.at(w))
	case style == advisor.PatchDropIn:
		return nil, "the kernel's own value is not known, so that no line can set it: --format diff removes the old one"
	case known && pr.alone == "":
		return []way{wayRemove, wayOverride}, ""
	}
	return []way{wayRemove}, ""
}

// at is where a write stands.
func (pr *proof) at(w sysctlWrite) string {
	a := pr.load.All[w.From]
	return fmt.Sprintf("%s:%d", a.File, a.Line)
}

// effective checks that the loader would end with what the change wants.
func (pr *proof) effective(a *attempt, s *placing) {
	w, ok := a.load.winner(s.key)
	switch {
	case s.way() == wayKernel:
	case s.way() == wayRemove:
		for _, left := range a.load.assignments(s.key) {
			if strings.HasPrefix(left.File, etc) || pr.alone != "" {
				a.fault(s, fmt.Sprintf("%s:%d still sets it", left.File, left.Line))
			}
		}
	case !ok:
		a.fault(s, "no line would set it")
	case !pr.catalogue.SameValue(s.key, w.Value, s.value()) || s.change.Respell && w.Value != s.value():
		left := a.load.All[w.From]
		a.fault(s, fmt.Sprintf("%s:%d would still win, with %s", left.File, left.Line, w.Value))
	}
}

// command is what brings the running kernel to the value that the next boot ends with.
func (pr *proof) command(a *attempt, s *placing) {
	c := s.change
	final, known := pr.final(a, s)
	now, runs := "", c.Running.State == advisor.StateKnown
	if runs {
		now = c.Running.Value.String()
	} else {
		now, runs = pr.live(s.key)
	}
	kernel := len(pr.facts.Members("sysctl")) > 0
	switch {
	case c.Gone, !kernel && pr.alone == "", kernel && !runs && c.Running.State == advisor.StateAbsent:
		return // there is nothing to command
	case known && runs && pr.catalogue.SameValue(s.key, now, final):
		return
	case !known && c.Remove:
		a.remarks = append(a.remarks, fmt.Sprintf("%s%s until the next boot: the kernel's own value for this machine is not known well enough to write it", s.key, keeps(now)))
		a.running[s.key] = advisor.Unknown("the next boot decides", advisor.Origin{})
		return
	}
	cmd := advisor.PatchedCommand{Key: s.key, Value: final, Undo: now}
	if !runs {
		cmd.UndoWhy = "the running value was not read"
		if c.Running.State == advisor.StateUnknown {
			cmd.UndoWhy = c.Running.Why
		}
	}
	a.commands = append(a.commands, cmd)
	if v, err := pr.catalogue.ParseSysctl(s.key, final); err == nil && kernel {
		a.running[s.key] = advisor.Known(v, advisor.Origin{Source: "sysctl -w"})
	}
}

func keeps(now string) string {
	if now == "" {
		return " keeps its running value"
	}
	return " keeps its value " + now
}

// final is the value that the next boot ends with.
func (pr *proof) final(a *attempt, s *placing) (string, bool) {
	if pr.options.Style == advisor.PatchCommands {
		return s.value(), !s.change.Remove || !s.change.Default.IsZero()
	}
	if w, ok := a.load.winner(s.key); ok {
		if v, err := pr.catalogue.ParseSysctl(s.key, w.Value); err == nil {
			return v.String(), true // without the file's tabs
		}
		return w.Value, true
	}
	if s.change.Remove || s.way() == wayKernel {
		return s.change.Default.String(), !s.change.Default.IsZero()
	}
	return s.value(), true
}

// mirrors are scalars that repeat a kernel parameter.
func mirrors() map[string]string {
	return map[string]string{"net.netfilter.nf_conntrack_max": "conntrack.max", "fs.file-max": "files.max"}
}

// lost is what becomes of a running value at the next boot.
func (pr *proof) lost(s advisor.PatchedSetting) string {
	w, ok := pr.load.winner(s.Key)
	switch {
	case !ok:
		return "the next boot brings back the kernel's own value: no file sets it"
	case pr.catalogue.SameValue(s.Key, w.Value, s.Value) && !s.Remove:
		return "the next boot sets the same, by " + pr.at(w)
	}
	return fmt.Sprintf("the next boot sets it to %s again, by %s", w.Value, pr.at(w))
}
