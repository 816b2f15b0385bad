package host

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// judge compares what is found after with what was found before.
func (pr *proof) judge(a *attempt, search bool) {
	facts := pr.factsAfter(a)
	after := pr.options.Judge(facts)
	a.found = map[string]bool{}
	for _, f := range after.Findings {
		a.found[sameFinding(f)] = true
	}
	if pr.options.Style != advisor.PatchCommands { // of these the files know nothing, and that may be a finding
		for _, f := range after.Findings {
			for _, s := range a.steps {
				if !pr.mustGo(f, s, a) {
					continue
				}
				why := fmt.Sprintf("%s would still say: %s", f.Rule, f.Message)
				if left := a.load.assignments(s.key); s.way() == wayRemove && len(left) > 0 {
					why = fmt.Sprintf("%s:%d, which is not the administrator's, sets it, too", left[0].File, left[0].Line)
				}
				a.fault(s, why)
			}
		}
	}
	if len(a.faults) > 0 {
		return
	}
	h := pr.harm(a, facts, after)
	if h.why == "" {
		return
	}
	culprits := pr.culprits(a, h, search)
	if search {
		a.needs = pr.companions(a, after, h, culprits)
	}
	if len(a.needs) == 0 {
		for _, s := range culprits {
			a.fault(s, h.why)
		}
	}
}

// mustGo reports whether a finding afterwards is one that the change was to silence: its rule read the setting, and all that
// it wants is part of the attempt.
func (pr *proof) mustGo(f advisor.Finding, s *placing, a *attempt) bool {
	if s.kind != nil {
		return pr.stays(f, s)
	}
	if f.Waived != nil || !slices.Contains(s.change.Rules, f.Rule) || !about(f, s.key) {
		return false
	}
	for _, old := range pr.diagnosis.Findings {
		if old.Rule != f.Rule || old.Subject.Table != f.Subject.Table || !about(old, s.key) {
			continue
		}
		for _, c := range old.Changes {
			if !slices.ContainsFunc(a.steps, func(o *placing) bool {
				return c.Setting == o.change.Setting || strings.HasPrefix(c.Setting, o.change.Setting+"[")
			}) {
				return false
			}
		}
	}
	return true
}

// about reports whether a finding reads a kernel parameter.
func about(f advisor.Finding, key string) bool {
	if f.Subject.Table == "settings" {
		return slices.Contains(strings.Fields(f.Subject.Key), key)
	}
	return slices.ContainsFunc(f.Evidence, func(e advisor.Evidence) bool { return e.What == key })
}

var pathLine = regexp.MustCompile(`(/[^\s:]+):\d+`)

// sameFinding tells findings apart over an edit: the number of a line, in its file or among those of its key, may change.
func sameFinding(f advisor.Finding) string {
	subject, _, _ := strings.Cut(f.Subject.Key, " #")
	return f.Rule + "\x00" + f.Subject.Table + "\x00" + pathLine.ReplaceAllString(subject, "$1")
}

// harm is what an attempt makes worse.
type harm struct {
	why      string                   // empty: nothing
	finding  string                   // by sameFinding; empty: another setting would change
	changes  []advisor.ProposedChange // what that finding wants
	culprits []*placing
}

// harm is a finding that was not there, or another setting that would change.
func (pr *proof) harm(a *attempt, facts *advisor.Facts, after *advisor.Diagnosis) harm {
	before := map[string][]advisor.Severity{}
	for _, f := range pr.diagnosis.Findings {
		before[sameFinding(f)] = append(before[sameFinding(f)], f.Severity)
	}
	for _, f := range after.Findings {
		id := sameFinding(f)
		known := slices.IndexFunc(before[id], func(s advisor.Severity) bool { return s >= f.Severity })
		if known >= 0 {
			before[id] = slices.Delete(before[id], known, known+1)
			continue
		}
		if f.Waived != nil || pr.expected(f, facts) {
			continue
		}
		var culprits []*placing
		milder := false
		for _, s := range a.steps {
			if s.kind == nil && about(f, s.key) {
				culprits = append(culprits, s)
				milder = milder || len(f.Changes) == 0 && pr.worse(s, f.Severity)
			}
		}
		if milder { // of a bad value and a fair one the fair one is better, though there is something to say about it
			a.remarks = append(a.remarks, fmt.Sprintf("%s will mention then: %s", f.Rule, f.Message))
			continue
		}
		return harm{fmt.Sprintf("%s would say then: %s", f.Rule, f.Message), id, f.Changes, culprits}
	}
	return harm{why: pr.sideEffect(a, facts)}
}

// worse reports whether what a change silences is worse than a mention.
func (pr *proof) worse(s *placing, than advisor.Severity) bool {
	return than == advisor.SeverityInfo && slices.ContainsFunc(pr.diagnosis.Findings, func(f advisor.Finding) bool {
		return f.Severity > than && slices.Contains(s.change.Rules, f.Rule) && about(f, s.key)
	})
}

// expected are findings that a style brings by its nature: a drop-in overrides lines, and a command leaves the files as they
// are.
func (pr *proof) expected(f advisor.Finding, facts *advisor.Facts) bool {
	switch pr.options.Style {
	case advisor.PatchCommands:
		return f.Severity < advisor.SeverityError
	case advisor.PatchDropIn:
		for row := range facts.Rows("settings") {
			id, _ := row.Cells["id"].Value.Text()
			effective, known := row.Cells["effective"].Value.Bool()
			if f.Subject.Table == "settings" && f.Subject.Key == id && known && !effective {
				return true
			}
		}
	case advisor.PatchInPlace, advisor.PatchAnsible:
	}
	return false
}

// sideEffect names a kernel parameter that no change speaks of, and that the next boot would set otherwise than before.
func (pr *proof) sideEffect(a *attempt, facts *advisor.Facts) string {
	meant := func(key string) bool {
		return slices.ContainsFunc(a.steps, func(s *placing) bool { return s.kind == nil && s.key == key })
	}
	for _, key := range slices.Sorted(slices.Values(append(pr.facts.Members("declared"), facts.Members("declared")...))) {
		was, is := pr.facts.Member("declared", key), facts.Member("declared", key)
		if !meant(key) && (was.State != is.State || !was.Value.Equal(is.Value)) {
			return key + " would change, too"
		}
	}
	return ""
}

// culprits are the changes that do the harm: known by their key, or the one without which there is none. Where no single one
// is at fault it is those of services, or all.
func (pr *proof) culprits(a *attempt, h harm, search bool) []*placing {
	culprits := h.culprits
	for i := 0; search && len(culprits) == 0 && i < len(a.steps); i++ {
		rest, group := without(a.steps, a.steps[i])
		trial := pr.attempt(rest, false)
		if gone := h.finding != "" && trial.found != nil && !trial.found[h.finding]; gone || len(trial.faults) == 0 {
			culprits = group
		}
	}
	if len(culprits) == 0 {
		culprits = slices.DeleteFunc(slices.Clone(a.steps), func(s *placing) bool { return s.kind == nil })
	}
	if len(culprits) == 0 {
		culprits = a.steps
	}
	return culprits
}

// without parts steps into one, with those that are no cure without it, and the rest.
func without(steps []*placing, one *placing) (rest, group []*placing) {
	for _, s := range steps {
		together := s.kind != nil && one.kind != nil && slices.ContainsFunc(s.change.Rules, func(rule string) bool { return slices.Contains(one.change.Rules, rule) })
		if s == one || together {
			group = append(group, s)
		} else {
			rest = append(rest, s)
		}
	}
	return rest, group
}

// companions are the changes that a finding wants which the attempt brings: a connection that is kept needs a server behind it that
// keeps it longer. They are made along, once, if each of them may be, and is as safe as what it goes with.
func (pr *proof) companions(a *attempt, after *advisor.Diagnosis, h harm, culprits []*placing) (needs []*placing) {
	if h.finding == "" || len(h.changes) == 0 || pr.tried[h.finding] {
		return nil
	}
	pr.tried[h.finding] = true
	least := advisor.SafetySafe
	for _, s := range culprits {
		least = min(least, s.change.Safety)
	}
	changes, _ := after.Changes(least)
	for _, want := range h.changes {
		i := slices.IndexFunc(changes, func(c advisor.Change) bool { return c.Setting == want.Setting })
		if i < 0 {
			return nil
		}
		c := changes[i]
		c.Setting = a.settingBefore(c.Setting)
		if slices.ContainsFunc(a.steps, func(s *placing) bool { return s.change.Setting == c.Setting }) {
			return nil // it is changed already, and to something else
		}
		s := pr.step(c)
		s.with = culprits
		needs = append(needs, s)
	}
	return needs
}

// settingBefore is a setting by its line before the edits.
func (a *attempt) settingBefore(setting string) string {
	kind, at := kindOf(setting)
	if kind == nil || a.files[at.file] == nil || at.line == 0 {
		return setting
	}
	return fmt.Sprintf("%s:%s:%d:%s", kind.prefix, at.file, a.files[at.file].lineBefore(at.line), at.name)
}

// isLost tells a companion that is not made, or that has lost what it goes with.
func (s *placing) isLost() bool {
	return len(s.with) > 0 && (s.why != "" || !slices.ContainsFunc(s.with, func(o *placing) bool { return o.why == "" }))
}
