package advisor

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// Options choose what a run judges and how it counts.
type Options struct {
	Host   Host
	Only   []string  // rule IDs with * for a part; empty: all
	Skip   []string  // likewise; wins over Only
	FailOn Severity  // the gate; 0: nothing fails
	Gaps   []Gap     // what the collectors could not read
	Config *Config   // waivers; nil: none
	Now    time.Time // for waivers that run out; zero: none does
	// AllowGaps keeps gaps from making the verdict incomplete.
	AllowGaps bool
	Lang      string // "zh" for the rules' Chinese texts where they have them; else English
}

// Evaluate judges facts. It is pure: the same facts and options give the same Diagnosis.
func (s *RuleSet) Evaluate(facts *Facts, o Options) *Diagnosis {
	run := &run{set: s, facts: facts, options: o, diagnosis: &Diagnosis{Host: o.Host, verdicts: map[string]verdict{}}}
	if kernel := facts.Scalar("kernel.version"); kernel.State == StateKnown {
		copy(run.kernel[:], kernel.Value.numbers())
	}
	run.frame = &frame{facts: facts, catalogue: s.Catalogue, kernel: run.kernel, backports: Backports(o.Host.Kernel)}
	for _, r := range s.Rules {
		if !chosen(r.ID, o) {
			run.diagnosis.Summary.Skipped++
			continue
		}
		run.judge(r)
	}
	run.supersede()
	run.explain()
	for _, c := range run.candidates {
		run.diagnosis.Findings = append(run.diagnosis.Findings, c.Finding)
	}
	run.diagnosis.Conflicts = run.conflicts()
	run.diagnosis.Sockets = facts.sockets()
	run.diagnosis.ConfigFaults = run.diagnosis.waiveInline(facts, s.IDs())
	run.diagnosis.Finish(o)
	return run.diagnosis
}

func chosen(id string, o Options) bool {
	match := func(pattern string) bool { return MatchID(pattern, id) }
	return (len(o.Only) == 0 || slices.ContainsFunc(o.Only, match)) && !slices.ContainsFunc(o.Skip, match)
}

// run is one evaluation.
type run struct {
	set        *RuleSet
	facts      *Facts
	options    Options
	kernel     Version
	frame      *frame // one rule after the other uses it
	candidates []*candidate
	diagnosis  *Diagnosis
}

// candidate is a finding with what is needed to compare it with others.
type candidate struct {
	Finding
	rule  *Body
	row   boundRow // the subject's; no cells for the host
	keys  []string // kernel parameters that decided it
	wants []Want
	texts texts // what it says, in the reader's language
}

// judge evaluates one rule on each of its subjects.
func (r *run) judge(rule *Rule) {
	t := &table{rows: make([]storedRow, 1)} // the host
	if rule.Table != "" {
		t = r.facts.table(rule.Table)
	}
	got := quiet
	if t.about.Absent != "" {
		got = notApplicable
	}
	var needs []need
	decided := false
	f := r.frame
	f.steps, f.rows = 0, f.rows[:0]
	if rule.Table != "" {
		f.rows = append(f.rows, boundRow{})
	}
	for i, row := range t.bound() {
		if f.trace = f.trace[:0]; rule.Table != "" {
			f.rows[0] = row
		}
		switch res := rule.head().decide(f); {
		case res.isTrue():
			got = firing
			r.candidates = append(r.candidates, r.candidate(rule, f, row, i))
		case res.state == StateUnknown:
			needs = append(needs, res.needs...)
		case res.state == StateKnown:
			decided = true
		case !decided && got != firing:
			got = notApplicable
		}
	}
	if decided {
		got = max(got, quiet)
	}
	if t.about.Unknown != "" {
		needs = append(needs, need{rule.Table, t.about.Unknown})
	}
	if len(needs) > 0 {
		got = max(got, undecidable)
		r.diagnosis.Unknown = append(r.diagnosis.Unknown, undecided(rule.ID, needs))
	}
	r.diagnosis.verdicts[rule.ID] = got
}

// verdict of a rule over all its subjects; the weightiest counts.
type verdict uint8

const (
	notApplicable verdict = iota + 1
	quiet
	undecidable
	firing
)

// undecided folds the missing readings of a rule into one entry.
func undecided(id string, needs []need) Undecided {
	u := Undecided{Rule: id}
	whys := map[string]bool{}
	for _, n := range needs {
		if !slices.Contains(u.Needs, n.what) {
			u.Needs = append(u.Needs, n.what)
		}
		whys[n.why] = true
	}
	slices.Sort(u.Needs)
	u.Why = strings.Join(slices.Sorted(maps.Keys(whys)), "; ")
	return u
}

// decide is true where the rule fires: `applies` and then each condition, as Kleene's and.
func (rule *Body) decide(f *frame) result {
	if rule.fault != nil { // the embedded set is checked whole in the tests, a user's when it is loaded
		return unknownResult("the rule itself", rule.fault.Error())
	}
	if rule.applies != nil {
		if r := rule.applies.eval(f); r.isFalse() {
			return absentResult()
		} else if r.state != StateKnown {
			return r
		}
	}
	all := knownResult(Bool(true))
	for _, cond := range rule.when {
		r := cond.eval(f)
		if r.isFalse() {
			return r
		}
		all = weaker(all, r)
		if r.state == StateAbsent { // what the later conditions would ask of does not exist here
			break
		}
	}
	return all
}

// pick returns the first entry whose condition holds. A condition that cannot be decided does not hold: the severity and
// the confidence never rise on a guess.
func pick[T any](f *frame, list []grade[T]) T {
	for _, g := range list {
		if g.when == nil {
			return g.is
		}
		mark := len(f.trace)
		if g.when.eval(f).isTrue() {
			return g.is
		}
		f.trace = f.trace[:mark]
	}
	var none T
	return none
}

func (r *run) candidate(rule *Rule, f *frame, row boundRow, index int) *candidate {
	body := rule.Body()
	if r.options.Lang == "zh" {
		body = rule.Translated()
	}
	c := &candidate{rule: body, row: row}
	c.place = row.origin
	c.Rule, c.Title, c.Remedy = rule.ID, body.Title, body.Remedy
	c.Severity, c.Confidence = pick(f, body.severity), pick(f, body.confidence)
	if c.Confidence < ConfidenceHigh {
		c.Severity = min(c.Severity, SeverityWarning)
	}
	if r.set.config != nil && r.set.config.Severities[rule.ID] != 0 {
		c.Severity = r.set.config.Severities[rule.ID]
	}
	c.texts = body.text
	if body.Zh != nil && r.options.Lang == "zh" { // a user's rule comes whole
		c.texts, c.Title = body.zh, body.Zh.Title
	}
	c.Subject = r.subject(rule.Table, row, index)
	c.Message = c.texts.says.render(f)
	c.Do, c.Dont = renderAll(c.texts.do, f), renderAll(c.texts.dont, f)
	c.Evidence = distinct(f.trace)
	c.keys = r.keysOf(c)
	c.Docs = "docs/rules/" + rule.ID + ".md"
	r.propose(c, f)
	return c
}

// subject names a row by its table's key columns.
func (r *run) subject(table string, row boundRow, index int) Subject {
	if table == "" {
		return Subject{}
	}
	var parts []string
	term, _ := r.set.Vocabulary.Table(table)
	for _, column := range term.Key {
		if v := row.known(column); !v.IsZero() {
			parts = append(parts, v.String())
		}
	}
	if len(parts) == 0 {
		parts = append(parts, fmt.Sprint(index+1))
	}
	return Subject{Table: table, Key: strings.Join(parts, " ")}
}

// distinct drops repeated readings, keeping the first. What it returns outlives the facts, and shares no text with them.
func distinct(trace []Evidence) []Evidence {
	out := []Evidence{}
	for _, e := range trace {
		if !slices.ContainsFunc(out, func(o Evidence) bool { return o.What == e.What && o.Origin == e.Origin }) {
			e.What, e.Value = strings.Clone(e.What), e.Value.apart()
			out = append(out, e)
		}
	}
	return out
}

// keysOf lists the kernel parameters that a finding is about: those of the subject's row, else those read.
func (r *run) keysOf(c *candidate) []string {
	if key := c.row.known("key"); !key.IsZero() {
		return []string{key.text}
	}
	var keys []string
	for _, e := range c.Evidence {
		if _, ok := r.set.Catalogue.chunks[e.What]; ok {
			keys = append(keys, e.What)
		}
	}
	return keys
}

// supersede drops the findings of general rules on a kernel parameter that a special rule has judged: one mistake makes one finding.
func (r *run) supersede() {
	covered := func(general *candidate) bool {
		return slices.ContainsFunc(r.candidates, func(special *candidate) bool {
			return special != general && slices.ContainsFunc(special.rule.Supersedes, func(p string) bool { return MatchID(p, general.Rule) }) &&
				slices.ContainsFunc(general.keys, func(k string) bool { return slices.Contains(special.keys, k) })
		})
	}
	var kept []*candidate
	for _, c := range r.candidates {
		if !covered(c) {
			kept = append(kept, c)
		}
	}
	for _, c := range r.candidates { // a rule that loses all its findings is quiet
		stays := slices.ContainsFunc(kept, func(k *candidate) bool { return k.Rule == c.Rule })
		if !stays && r.diagnosis.verdicts[c.Rule] == firing {
			r.diagnosis.verdicts[c.Rule] = quiet
		}
	}
	r.candidates = kept
}

// explain marks symptoms with their cause. When both directions are declared the first by ID wins.
func (r *run) explain() {
	for _, symptom := range r.candidates {
		for _, cause := range r.candidates {
			if cause != symptom && cause.ExplainedBy == nil &&
				slices.ContainsFunc(cause.rule.Explains, func(p string) bool { return MatchID(p, symptom.Rule) }) && r.sameThing(cause, symptom) {
				symptom.ExplainedBy, symptom.cause = &cause.Rule, cause.Subject
				break
			}
		}
	}
}

// sameThing reports whether two findings are about one thing: the host, the same row, or rows that agree in each column by
// which both tables can be joined.
func (r *run) sameThing(a, b *candidate) bool {
	if a.Subject.Table == "" || b.Subject.Table == "" || a.Subject == b.Subject {
		return true
	}
	left, _ := r.set.Vocabulary.Table(a.Subject.Table)
	right, _ := r.set.Vocabulary.Table(b.Subject.Table)
	agree := false
	for _, column := range left.Joins {
		if !slices.Contains(right.Joins, column) {
			continue
		}
		x, y := a.row.known(column), b.row.known(column)
		if x.IsZero() || y.IsZero() || !x.Equal(y) {
			return false
		}
		agree = true
	}
	return agree
}

// Finish sorts, waives, counts and decides, for the host, the gate and the gaps of the options. It may be called again after
// the findings were changed.
func (d *Diagnosis) Finish(o Options) {
	d.Host = o.Host
	d.sort()
	d.waiverNotices, d.waiversUsed, d.waiversUnused = nil, nil, nil
	d.waive(o)
	d.Gaps, d.Notices = nil, nil
	d.Summary = Summary{Skipped: d.Summary.Skipped}
	sum := &d.Summary
	sum.FailOn, sum.Verdict = "never", VerdictPass
	if o.FailOn != 0 {
		sum.FailOn = o.FailOn.String()
	}
	for _, f := range d.Findings {
		switch {
		case f.Waived != nil:
			sum.Waived++
			continue
		case f.Severity == SeverityError:
			sum.Error++
		case f.Severity == SeverityWarning:
			sum.Warning++
		default:
			sum.Info++
		}
		if o.FailOn != 0 && f.Severity >= o.FailOn && !f.Known {
			sum.Verdict = VerdictFail
		}
	}
	for _, v := range d.verdicts {
		switch v {
		case notApplicable:
			sum.NotApplicable++
		case quiet:
			sum.Quiet++
		}
	}
	sum.Unknown = len(d.Unknown)
	for _, gap := range slices.Concat(o.Gaps, d.waiverNotices) {
		if gap.Notice {
			d.Notices = append(d.Notices, gap)
			continue
		}
		d.Gaps = append(d.Gaps, gap)
		if !o.AllowGaps {
			sum.Verdict = VerdictIncomplete
		}
	}
}

// about is what a finding says and of what: by this a symptom names its cause.
type about struct {
	rule    string
	subject Subject
}

// groupSeverities is the severity of the worst symptom below each finding that explains one.
func (d *Diagnosis) groupSeverities() map[about]Severity {
	worst := map[about]Severity{}
	for grown := true; grown; { // a symptom may explain others
		grown = false
		for i := range d.Findings {
			f := &d.Findings[i]
			if f.ExplainedBy == nil {
				continue
			}
			cause, s := about{*f.ExplainedBy, f.cause}, max(f.Severity, worst[about{f.Rule, f.Subject}])
			if s > worst[cause] {
				worst[cause], grown = s, true
			}
		}
	}
	return worst
}

// sort puts findings worst first, and each symptom after the worst cause that explains it; a cause ranks with its worst symptom.
func (d *Diagnosis) sort() {
	worst := d.groupSeverities()
	rank := func(f Finding) Severity { return max(f.Severity, worst[about{f.Rule, f.Subject}]) }
	byRank := func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(b.Severity, a.Severity), strings.Compare(a.Rule, b.Rule),
			strings.Compare(a.Where().Path, b.Where().Path), cmp.Compare(a.Where().Line, b.Where().Line),
			strings.Compare(a.Subject.Key, b.Subject.Key), strings.Compare(a.Message, b.Message))
	}
	slices.SortStableFunc(d.Findings, byRank)
	if !slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.ExplainedBy != nil }) {
		return
	}
	var ordered, symptoms []Finding
	for _, f := range d.Findings {
		if f.ExplainedBy == nil {
			ordered = append(ordered, f)
		} else {
			symptoms = append(symptoms, f)
		}
	}
	for placed := true; placed; { // a symptom's cause may itself be a symptom, and be placed later
		placed = false
		symptoms = slices.DeleteFunc(symptoms, func(s Finding) bool {
			i := slices.IndexFunc(ordered, func(f Finding) bool { return f.Rule == *s.ExplainedBy && f.Subject == s.cause })
			if i < 0 {
				return false
			}
			for i++; i < len(ordered) && ordered[i].ExplainedBy != nil && *ordered[i].ExplainedBy == *s.ExplainedBy; {
				i++ // after the symptoms placed before
			}
			ordered = slices.Insert(ordered, i, s)
			placed = true
			return true
		})
	}
	d.Findings = slices.Concat(ordered, symptoms)
}

// Merge folds the diagnoses of several independent inputs (files linted alone) into one. A rule counts by its weightiest
// verdict: firing, unknown, quiet, not applicable. Finish completes the result.
func Merge(parts iter.Seq[*Diagnosis]) *Diagnosis {
	out := &Diagnosis{verdicts: map[string]verdict{}}
	unknown := map[string]Undecided{}
	for p := range parts {
		out.Findings = append(out.Findings, p.Findings...)
		out.Conflicts = append(out.Conflicts, p.Conflicts...)
		out.wants = append(out.wants, p.wants...)
		out.ConfigFaults = append(out.ConfigFaults, p.ConfigFaults...)
		out.Summary.Skipped = p.Summary.Skipped
		for _, u := range p.Unknown {
			unknown[u.Rule] = u
		}
		for id, v := range p.verdicts {
			out.verdicts[id] = max(out.verdicts[id], v)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(unknown)) {
		out.Unknown = append(out.Unknown, unknown[id])
	}
	return out
}
