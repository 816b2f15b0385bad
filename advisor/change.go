package advisor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Want is one finding's constraint on one setting, its expressions computed.
type Want struct {
	Setting string // "sysctl:net.core.somaxconn", "sysctl:net.ipv4.tcp_rmem[2]", "nginx:...", "unit:..."
	Op      WantOp
	Value   Value // zero for OpRemove; for OpOneOf of numbers a tuple of the choices
	Safety  Safety
	Rule    string
	Note    string // what must follow, such as the restart of a service

	now     presence
	respell bool // the value stays, but the line that sets it must be written anew
}

// presence is what a setting has before anything is changed.
type presence struct {
	declared  Fact  // what the files say, for a key as a whole
	running   Fact  // what the kernel says; absent too where no kernel runs
	byDefault Value // the kernel's own value on this machine; zero where it is not known well
	gone      bool  // the judged kernel has no such key
}

// Change is what all wants on one setting come to. Wants on single numbers of a kernel parameter are one change of the whole.
type Change struct {
	Setting string
	From    Value // zero where the present value is not known
	To      Value // zero for a removal
	Remove  bool
	Safety  Safety // the lowest of the wants'
	Rules   []string
	Reasons []string // what the findings of these rules say, in the order of Rules
	Notes   []string

	Running Fact  // the running kernel's value; absent or of no state where no kernel runs
	Default Value // the kernel's own value on this machine; zero where it is not known well enough to write it
	Gone    bool  // the judged kernel has no such key: there is nothing to set or to undo in it
	Respell bool  // the value stays, but the line that sets it must be written anew
}

// propose computes a finding's wants. One that depends on something unknown is dropped, and the finding says so.
func (r *run) propose(c *candidate, f *frame) {
	c.Changes = []ProposedChange{}
	for _, w := range c.rule.wants {
		if w.when != nil && !w.when.eval(f).isTrue() {
			continue
		}
		got := Want{Setting: w.setting.render(f), Op: w.op, Safety: w.safety, Rule: c.Rule}
		if w.note > 0 {
			got.Note = c.texts.notes[w.note-1].render(f)
		}
		if w.value != nil {
			v := w.value.eval(f)
			if v.state != StateKnown {
				c.Do = append(c.Do, fmt.Sprintf("no value is proposed for %s: %s", got.Setting, missing(v)))
				continue
			}
			got.Value = v.value
		}
		got.now = r.presence(got.Setting, c.row, f)
		written := writtenBy(c.row, got.Setting)
		got.respell = got.Op == OpExactly && written != "" && !sameText(written, got.Value.String())
		from, to, ok := got.move()
		if !ok {
			continue // holds already
		}
		if from.Equal(to) && !from.IsZero() { // only its spelling is wrong: show that
			from = Text(written)
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
	from, to := c.From.apart(), c.To // not of c, which would be kept whole
	if !from.IsZero() {
		p.From = &from
	}
	if !to.IsZero() {
		p.To = &to
	}
	return p
}

// presence reads what a kernel parameter has now; empty for another kind of setting.
func (r *run) presence(setting string, row boundRow, f *frame) presence {
	key, ok := strings.CutPrefix(setting, "sysctl:")
	if !ok {
		return presence{}
	}
	key, _ = splitElement(key)
	p := presence{declared: r.facts.Member("declared", key), running: r.facts.Member("sysctl", key)}
	entry, known := r.set.Catalogue.Lookup(key)
	kernelRuns := len(r.facts.families["sysctl"]) > 0
	exists, asked := row.cell("exists")
	switch {
	case asked && exists.State == StateKnown && row.known("key").text == key:
		p.gone = exists.Value.num == 0
	case kernelRuns && known:
		p.gone = p.running.State == StateAbsent
	case known && !f.kernel.IsZero():
		p.gone = !entry.Removed.IsZero() && !f.kernel.Before(entry.Removed) || f.kernel.Before(entry.Introduced)
	}
	def, ok := entry.DefaultFor(f.kernel)
	if sure := def.Confidence >= ConfidenceHigh && (!f.backports || len(entry.Defaults) == 1); ok && sure && !p.gone {
		if v := f.keyDefault(key, true); v.state == StateKnown {
			p.byDefault, _ = r.set.Catalogue.ParseSysctl(key, v.value.text) // the catalogue's own value: what it cannot read stays zero
		}
	}
	return p
}

// writtenBy is the text that a subject's own line gives to a setting; "" where the subject is no such line.
func writtenBy(row boundRow, setting string) string {
	if key := row.known("key"); !key.IsZero() && "sysctl:"+key.text == setting {
		return row.known("value").text
	}
	return ""
}

func sameText(a, b string) bool { return slices.Equal(strings.Fields(a), strings.Fields(b)) }

// move returns the value to start from and the one that fulfils w; ok is false where both the files and the kernel do. Where
// only one of them does, the other follows it; where no file sets it and the kernel's own value does, the running one goes back
// to that.
func (w Want) move() (from, to Value, ok bool) {
	_, index := splitElement(w.Setting)
	declared, running := element(w.now.declared, index), element(w.now.running, index)
	if boots := w.now.boots(); declared.IsZero() && !running.IsZero() && !boots.IsZero() && w.Op != OpRemove {
		if _, unfulfilled := w.apply(part(boots, index)); !unfulfilled {
			_, bad := w.apply(running)
			return running, part(boots, index), bad
		}
	}
	from = declared
	if from.IsZero() {
		from = running
	}
	to, moved := w.apply(from)
	switch {
	case moved:
		return from, to, true
	case !running.IsZero() && !declared.IsZero():
		if _, unfulfilled := w.apply(running); unfulfilled {
			return running, declared, true
		}
	}
	return from, from, w.respell
}

// boots is the kernel's own value where no file sets another; zero where one does, or the value is not known.
func (p presence) boots() Value {
	if p.declared.State != StateAbsent {
		return Value{}
	}
	return p.byDefault
}

// element is the value of a fact, or one number of it where index is not negative; zero where there is none.
func element(f Fact, index int) Value {
	if f.State != StateKnown {
		return Value{}
	}
	return part(f.Value, index)
}

func part(v Value, index int) Value {
	switch {
	case index < 0:
		return v
	case index < len(v.numbers()):
		return Int(v.numbers()[index])
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
		if w.Op == OpOneOf {
			return w.choices()[0], true
		}
		return w.Value, true
	}
	switch w.Op {
	case OpAtLeast:
		return w.Value, order(from, w.Value) < 0
	case OpAtMost:
		return w.Value, order(from, w.Value) > 0
	case OpInclude:
		to = Ports(from.portSet().Union(w.Value.portSet()))
		return to, !to.Equal(from)
	case OpRemove:
		return Value{}, true
	case OpOneOf:
		choices := w.choices()
		return choices[0], !slices.ContainsFunc(choices, from.Equal)
	default:
		return w.Value, !from.Equal(w.Value)
	}
}

// choices are the values of one_of.
func (w Want) choices() []Value {
	if len(w.Value.numbers()) == 0 {
		return []Value{w.Value}
	}
	var out []Value
	for _, n := range w.Value.numbers() {
		out = append(out, Int(n))
	}
	return out
}

// Changes merges the wants of all unwaived findings at or above a safety by meaning: of two at_least the larger counts, port
// sets unite, numbers of one tuple come together. Wants that cannot all hold are a Conflict, and no change.
func (d *Diagnosis) Changes(least Safety) ([]Change, []Conflict) {
	changes, conflicts := mergeWants(d.live(least))
	for i := range changes {
		for _, rule := range changes[i].Rules {
			changes[i].Reasons = append(changes[i].Reasons, d.reason(rule, changes[i].Setting))
		}
	}
	return changes, conflicts
}

// live are the wants of findings that count: not waived, and not superseded by another finding.
func (d *Diagnosis) live(least Safety) []Want {
	type by struct{ rule, setting string }
	counts := map[by]bool{}
	for _, f := range d.Findings {
		for _, c := range f.Changes {
			if f.Waived == nil {
				counts[by{f.Rule, c.Setting}] = true
			}
		}
	}
	var wants []Want
	for _, w := range d.wants {
		if w.Safety >= least && counts[by{w.Rule, w.Setting}] {
			wants = append(wants, w)
		}
	}
	return wants
}

// reason is what the first finding of a rule that wants a setting changed says.
func (d *Diagnosis) reason(rule, setting string) string {
	for _, f := range d.Findings {
		if f.Rule == rule && f.Waived == nil && slices.ContainsFunc(f.Changes, func(c ProposedChange) bool { return wholeSetting(c.Setting) == setting }) {
			return f.Message
		}
	}
	return ""
}

func (r *run) conflicts() []Conflict {
	_, conflicts := mergeWants(r.diagnosis.live(SafetyManual))
	return conflicts
}

// wholeSetting is the setting that a want on one number of a kernel parameter is a part of.
func wholeSetting(setting string) string {
	if key, ok := strings.CutPrefix(setting, "sysctl:"); ok {
		key, _ = splitElement(key)
		return "sysctl:" + key
	}
	return setting
}

func mergeWants(wants []Want) (changes []Change, conflicts []Conflict) {
	bySetting := map[string][]Want{}
	for _, w := range wants {
		setting := wholeSetting(w.Setting)
		bySetting[setting] = append(bySetting[setting], w)
	}
	for _, setting := range slices.Sorted(maps.Keys(bySetting)) {
		c, why := mergeSetting(setting, bySetting[setting])
		if why != "" {
			conflicts = append(conflicts, Conflict{Setting: setting, Rules: c.Rules, Why: why})
			continue
		}
		changes = append(changes, c)
	}
	return changes, conflicts
}

// mergeSetting finds the value that all wants on one setting come to.
func mergeSetting(setting string, wants []Want) (c Change, conflict string) {
	c = Change{Setting: setting, Safety: SafetySafe}
	removes := 0
	for _, w := range wants {
		if !slices.Contains(c.Rules, w.Rule) {
			c.Rules = append(c.Rules, w.Rule)
		}
		c.Safety = min(c.Safety, w.Safety)
		c.Respell = c.Respell || w.respell
		if w.Op == OpRemove {
			removes++
		}
	}
	c.Notes = notes(wants)
	now := wants[0].now
	c.Running, c.Default, c.Gone = now.running, now.byDefault, now.gone
	c.From = element(now.declared, -1)
	if c.From.IsZero() {
		c.From = element(now.running, -1)
	}
	// A line that is only to be written anew is so with any other value, and with none.
	demanding := slices.DeleteFunc(slices.Clone(wants), func(w Want) bool { _, changed := w.apply(c.From); return w.respell && !changed })
	if len(demanding) > 0 {
		wants = demanding
	}
	switch removes {
	case 0:
	case len(wants):
		c.Remove, c.Respell = true, false
		return c, ""
	default:
		if now.gone || now.byDefault.IsZero() {
			return c, "one rule wants the setting removed, another wants it set"
		}
		if defaultFulfils(wants) {
			c.Remove, c.Respell = true, false
			return c, ""
		}
		// Who wants a line gone because it is worse than none may be content with a better one: the proof of the patch tells.
		wants = slices.DeleteFunc(slices.Clone(wants), func(w Want) bool { return w.Op == OpRemove })
		c.Notes = notes(wants)
	}
	if boots := now.boots(); !boots.IsZero() && now.running.State == StateKnown {
		if to, ok := settleAll(wants, boots); ok && to.Equal(boots) {
			c.To = boots
			return c, ""
		}
	}
	var ok bool
	if c.To, ok = settleAll(wants, c.From); !ok {
		return c, "no value fulfils all of them"
	}
	return c, ""
}

// notes are what the wants say of what follows, each once.
func notes(wants []Want) (all []string) {
	for _, w := range wants {
		if w.Note != "" && !slices.Contains(all, w.Note) {
			all = append(all, w.Note)
		}
	}
	return all
}

// defaultFulfils reports whether the kernel's own value, which a removal brings back, is what the other wants ask for.
func defaultFulfils(wants []Want) bool {
	back := wants[0].now.byDefault
	return !slices.ContainsFunc(wants, func(w Want) bool {
		_, index := splitElement(w.Setting)
		if w.Op == OpRemove {
			return false
		}
		v := part(back, index)
		_, unfulfilled := w.apply(v)
		return v.IsZero() || unfulfilled
	})
}

// settleAll settles the wants on a setting as a whole, and then those on its single numbers.
func settleAll(wants []Want, from Value) (Value, bool) {
	byIndex := map[int][]Want{}
	for _, w := range wants {
		_, index := splitElement(w.Setting)
		byIndex[index] = append(byIndex[index], w)
	}
	to, ok := settle(byIndex[-1], from)
	if !ok {
		return to, false
	}
	for _, index := range slices.Sorted(maps.Keys(byIndex)) {
		if index < 0 {
			continue
		}
		if index >= len(to.numbers()) {
			return Value{}, false
		}
		part, ok := settle(byIndex[index], Int(to.numbers()[index]))
		if !ok {
			return Value{}, false
		}
		ns := slices.Clone(to.numbers())
		ns[index] = part.num
		to = Tuple(ns...)
	}
	_, ok = settle(byIndex[-1], to) // the numbers may have undone what holds for the whole
	return to, ok && (len(byIndex[-1]) == 0 || holdsAll(byIndex[-1], to))
}

// settle finds the value nearest to the present one that fulfils all wants.
func settle(wants []Want, from Value) (Value, bool) {
	candidates := []Value{from}
	for _, w := range wants {
		if w.Op == OpOneOf {
			candidates = append(candidates, w.choices()...)
		}
	}
	for _, start := range candidates {
		to := start
		for range 2 { // the second round undoes what the first overshot
			for _, w := range wants {
				if next, changed := w.apply(to); changed {
					to = next
				}
			}
		}
		if holdsAll(wants, to) {
			return to, true
		}
	}
	return Value{}, false
}

func holdsAll(wants []Want, v Value) bool {
	return !slices.ContainsFunc(wants, func(w Want) bool { _, unfulfilled := w.apply(v); return unfulfilled })
}
