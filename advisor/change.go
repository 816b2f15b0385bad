package advisor

import (
	"fmt"
	"slices"
	"strings"
)

// Want is one finding's constraint on one setting, its expressions computed.
type Want struct {
	Setting string // "sysctl:net.core.somaxconn", "sysctl:net.ipv4.tcp_rmem[2]", "nginx:...", "unit:..."
	Op      WantOp
	Value   Value // zero for OpRemove
	Safety  Safety
	Rule    string
	Note    string // what must follow, such as the restart of a service
}

// Change is what all wants on one setting come to.
type Change struct {
	Setting string
	From    Value // zero where the present value is not known
	To      Value // zero for a removal
	Remove  bool
	Safety  Safety // the lowest of the wants'
	Rules   []string
	Notes   []string
}

// propose computes a finding's wants. One that depends on something unknown is dropped, and the finding says so.
func (r *run) propose(c *candidate, f *frame) {
	c.Changes = []ProposedChange{}
	for _, w := range c.rule.wants {
		if w.when != nil && !w.when.eval(f).isTrue() {
			continue
		}
		got := Want{Setting: w.setting.render(f), Op: w.op, Safety: w.safety, Rule: c.Rule}
		if w.note != nil {
			got.Note = w.note.render(f)
		}
		if w.value != nil {
			v := w.value.eval(f)
			if v.state != StateKnown {
				c.Do = append(c.Do, fmt.Sprintf("no value is proposed for %s: %s", got.Setting, missing(v)))
				continue
			}
			got.Value = v.value
		}
		from := r.present(got.Setting)
		to, ok := got.apply(from)
		if !ok {
			continue // holds already
		}
		c.wants = append(c.wants, got)
		c.Changes = append(c.Changes, proposed(Change{Setting: got.Setting, From: from, To: to, Remove: got.Op == OpRemove, Safety: got.Safety, Notes: []string{got.Note}}))
	}
	r.diagnosis.wants = append(r.diagnosis.wants, c.wants...)
}

func missing(r result) string {
	if r.state == StateAbsent {
		return "what it depends on does not exist here"
	}
	return r.needs[0].what + " is unknown (" + r.needs[0].why + ")"
}

func proposed(c Change) ProposedChange {
	p := ProposedChange{Setting: c.Setting, Remove: c.Remove, Safety: c.Safety, Note: strings.Join(c.Notes, "; ")}
	if !c.From.IsZero() {
		p.From = &c.From
	}
	if !c.To.IsZero() {
		p.To = &c.To
	}
	return p
}

// present is a sysctl's present value: what the files declare, else what runs; zero where neither is known or for another kind of setting.
func (r *run) present(setting string) Value {
	key, ok := strings.CutPrefix(setting, "sysctl:")
	if !ok {
		return Value{}
	}
	key, index := splitElement(key)
	for _, family := range []string{"declared", "sysctl"} {
		fact := r.facts.Member(family, key)
		if fact.State != StateKnown {
			continue
		}
		if index < 0 {
			return fact.Value
		}
		if index < len(fact.Value.tuple) {
			return Int(fact.Value.tuple[index])
		}
	}
	return Value{}
}

// splitElement takes "net.ipv4.tcp_rmem[2]" apart; the index is -1 where there is none.
func splitElement(key string) (string, int) {
	var index int
	if i := strings.IndexByte(key, '['); i > 0 {
		if _, err := fmt.Sscanf(key[i:], "[%d]", &index); err == nil {
			return key[:i], index
		}
	}
	return key, -1
}

// apply computes the value that fulfils w, starting from the present one; ok is false where it is fulfilled already.
func (w Want) apply(from Value) (to Value, ok bool) {
	if from.IsZero() {
		return w.Value, true
	}
	switch w.Op {
	case OpAtLeast:
		return w.Value, order(from, w.Value) < 0
	case OpAtMost:
		return w.Value, order(from, w.Value) > 0
	case OpInclude:
		to = Ports(from.ports.Union(w.Value.ports))
		return to, !to.Equal(from)
	case OpRemove:
		return Value{}, true
	default:
		return w.Value, !from.Equal(w.Value)
	}
}

// Changes merges the wants of all findings at or above a safety by meaning: of two at_least the larger counts, port sets
// unite. Wants that cannot all hold are a Conflict, and no change.
func (d *Diagnosis) Changes(least Safety) ([]Change, []Conflict) {
	var wants []Want
	for _, w := range d.wants {
		if w.Safety >= least {
			wants = append(wants, w)
		}
	}
	return mergeWants(wants, func(setting string) Value { return d.present(setting) })
}

func (d *Diagnosis) present(setting string) Value {
	for _, f := range d.Findings {
		for _, c := range f.Changes {
			if c.Setting == setting && c.From != nil {
				return *c.From
			}
		}
	}
	return Value{}
}

func (r *run) conflicts() []Conflict {
	_, conflicts := mergeWants(r.diagnosis.wants, r.present)
	return conflicts
}

func mergeWants(wants []Want, present func(string) Value) (changes []Change, conflicts []Conflict) {
	bySetting := map[string][]Want{}
	var settings []string
	for _, w := range wants {
		if bySetting[w.Setting] == nil {
			settings = append(settings, w.Setting)
		}
		bySetting[w.Setting] = append(bySetting[w.Setting], w)
	}
	slices.Sort(settings)
	for _, setting := range settings {
		c, why := mergeSetting(setting, bySetting[setting], present(setting))
		if why != "" {
			conflicts = append(conflicts, Conflict{Setting: setting, Rules: c.Rules, Why: why})
			continue
		}
		changes = append(changes, c)
	}
	return changes, conflicts
}

// mergeSetting applies each want to the outcome of the others until nothing moves; then all must hold.
func mergeSetting(setting string, wants []Want, from Value) (c Change, conflict string) {
	c = Change{Setting: setting, From: from, Safety: SafetySafe}
	removes := 0
	for _, w := range wants {
		if !slices.Contains(c.Rules, w.Rule) {
			c.Rules = append(c.Rules, w.Rule)
		}
		if w.Note != "" && !slices.Contains(c.Notes, w.Note) {
			c.Notes = append(c.Notes, w.Note)
		}
		c.Safety = min(c.Safety, w.Safety)
		if w.Op == OpRemove {
			removes++
		}
	}
	if removes == len(wants) {
		c.Remove = true
		return c, ""
	}
	if removes > 0 {
		return c, "one rule wants the setting removed, another wants it set"
	}
	to := from
	for range 2 {
		for _, w := range wants {
			if next, changed := w.apply(to); changed {
				to = next
			}
		}
	}
	for _, w := range wants {
		if _, unfulfilled := w.apply(to); unfulfilled {
			return c, "no value fulfils all of them"
		}
	}
	c.To = to
	return c, ""
}
