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
	if h := pr.harm(a, facts, after); h.why != "" {
		pr.blame(a, h, search)
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
	why      string // empty: nothing
	finding  string // by sameFinding; empty: another setting would change
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
		return harm{fmt.Sprintf("%s would say then: %s", f.Rule, f.Message), id, culprits}
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

// blame finds the change that does the harm: known by its key, or the one without which there is none. Where no single one
// is at fault those of services are given up, or all.
func (pr *proof) blame(a *attempt, h harm, search bool) {
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
	for _, s := range culprits {
		a.fault(s, h.why)
	}
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
