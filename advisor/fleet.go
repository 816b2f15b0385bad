package advisor

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Fleet folds the diagnoses of many hosts: what is equal is kept once, with the hosts that have it. Hosts are added one after the
// other, in any order, and of each one no more remains than a line and what no other host has said.
type Fleet struct {
	catalogue *Catalogue
	failOn    string
	allowGaps bool

	hosts     []FleetHost
	unread    []Gap
	rules     map[string]*foldedRule
	settings  map[string]folds[FleetValue] // by key
	kernels   folds[FleetValue]
	systems   folds[FleetValue]
	unknown   folds[FleetUndecided]
	conflicts folds[FleetConflict]
	gaps      folds[FleetGap]
	notices   folds[FleetGap]
	useless   folds[FleetGap] // waivers that matched nothing, each on the hosts where it did so
	useful    map[string]bool // places of waivers that matched somewhere
}

// FleetReport is what is to be said of many hosts. Lists of hosts are in the order of Hosts, and name them as FleetHost.Name does.
type FleetReport struct {
	Summary   FleetSummary     `json:"summary"`
	Hosts     []FleetHost      `json:"hosts"`     // by name
	Unread    []Gap            `json:"unread"`    // the captures that could not be read; the source is the file
	Kernels   []FleetValue     `json:"kernels"`   // releases, the commonest first
	Systems   []FleetValue     `json:"systems"`   // PRETTY_NAME of os-release, the commonest first
	Findings  []FleetFinding   `json:"findings"`  // by severity (worst first), number of hosts, rule
	Settings  []FleetSetting   `json:"settings"`  // the running kernel parameters of which the hosts have different values, by key
	Unknown   []FleetUndecided `json:"unknown"`   // rules that could not be judged, by rule
	Conflicts []FleetConflict  `json:"conflicts"` // by setting
	Gaps      []FleetGap       `json:"gaps"`      // what was asked for and not read on a host
	Notices   []FleetGap       `json:"notices"`   // not read, and not asked for; waivers that ran out, or matched nothing on any host
}

// FleetSummary counts. Error, Warning, Info and Waived count rules with such findings, each once however many hosts have them,
// by the worst finding.
type FleetSummary struct {
	Hosts      int     `json:"hosts"`  // that were judged
	Unread     int     `json:"unread"` // captures that could not be read
	Pass       int     `json:"pass"`   // hosts by verdict
	Fail       int     `json:"fail"`
	Incomplete int     `json:"incomplete"`
	Error      int     `json:"error"`
	Warning    int     `json:"warning"`
	Info       int     `json:"info"`
	Waived     int     `json:"waived"`
	Unknown    int     `json:"unknown"` // rules that are undecided on some host
	FailOn     string  `json:"fail_on"`
	Verdict    Verdict `json:"verdict"`
}

// FleetHost is one host that was judged.
type FleetHost struct {
	Name    string  `json:"name"` // the host's own; with the file after it where two have the same, and the file alone where none is known
	File    string  `json:"file"` // the capture
	Kernel  string  `json:"kernel,omitempty"`
	OS      string  `json:"os,omitempty"`
	Verdict Verdict `json:"verdict"`
	Error   int     `json:"error"` // findings of this host
	Warning int     `json:"warning"`
	Info    int     `json:"info"`
	Waived  int     `json:"waived"`
	Unknown int     `json:"unknown"` // rules
	Gaps    int     `json:"gaps"`
}

// FleetValue is one of several values, and who has it.
type FleetValue struct {
	Value   *Value   `json:"value,omitempty"`   // nil: each host's kernel computes its own
	Default bool     `json:"default,omitempty"` // it is the kernel's own
	Hosts   []string `json:"hosts"`
}

// FleetSetting is a kernel parameter of which hosts have different values.
type FleetSetting struct {
	Key    string       `json:"key"`
	Values []FleetValue `json:"values"` // the commonest first
}

// FleetFinding is all findings of one rule.
type FleetFinding struct {
	Rule     string         `json:"rule"`
	Severity Severity       `json:"severity"` // the worst that counts; the worst of all where all are waived
	Remedy   Remedy         `json:"remedy"`
	Title    string         `json:"title"`
	Hosts    []string       `json:"hosts"`    // with a finding that is not waived
	Few      bool           `json:"few"`      // at most a quarter of four or more hosts: what sets these apart?
	Messages []FleetMessage `json:"messages"` // the commonest first
	Waived   []FleetWaiver  `json:"waived"`
	Do       []string       `json:"do"` // what all its findings advise
	Dont     []string       `json:"dont"`
	Docs     string         `json:"docs"`
}

// FleetMessage is a finding that hosts have in the same words.
type FleetMessage struct {
	Severity Severity         `json:"severity"`
	Subject  Subject          `json:"subject"`
	Path     string           `json:"path,omitempty"` // the file that the finding is about
	Message  string           `json:"message"`
	Changes  []ProposedChange `json:"changes"`
	Hosts    []string         `json:"hosts"`
}

// FleetWaiver is a reason for which findings of a rule are waived, and where.
type FleetWaiver struct {
	Reason string   `json:"reason"`
	Hosts  []string `json:"hosts"`
}

// FleetUndecided is a rule that could not be judged, for one reason.
type FleetUndecided struct {
	Rule  string   `json:"rule"`
	Why   string   `json:"why"`
	Hosts []string `json:"hosts"`
}

// FleetConflict is a setting on which findings disagree.
type FleetConflict struct {
	Setting string   `json:"setting"`
	Rules   []string `json:"rules"`
	Why     string   `json:"why"`
	Hosts   []string `json:"hosts"`
}

// FleetGap is an input that was not read.
type FleetGap struct {
	Source string   `json:"source"`
	Why    string   `json:"why"`
	Hosts  []string `json:"hosts"`
}

// NewFleet begins with no host. The set tells which kernel parameters have a default that differs by machine; of the options
// the gate counts, and whether gaps are allowed.
func NewFleet(set *RuleSet, o Options) *Fleet {
	f := &Fleet{
		catalogue: set.Catalogue, failOn: "never", allowGaps: o.AllowGaps,
		rules: map[string]*foldedRule{}, settings: map[string]folds[FleetValue]{}, kernels: folds[FleetValue]{}, systems: folds[FleetValue]{},
		unknown: folds[FleetUndecided]{}, conflicts: folds[FleetConflict]{}, gaps: folds[FleetGap]{}, notices: folds[FleetGap]{},
		useless: folds[FleetGap]{}, useful: map[string]bool{},
	}
	if o.FailOn != 0 {
		f.failOn = o.FailOn.String()
	}
	return f
}

// Unread notes a capture that could not be read.
func (f *Fleet) Unread(file, why string) { f.unread = append(f.unread, Gap{Source: file, Why: why}) }

// Add folds in one host: its diagnosis, and the facts of its first network namespace, of which the running kernel parameters are
// compared. It keeps neither.
func (f *Fleet) Add(file string, d *Diagnosis, facts *Facts) {
	id := int32(len(f.hosts)) // a fleet of 2^31 hosts has other troubles
	s := d.Summary
	f.hosts = append(f.hosts, FleetHost{
		Name: d.Host.Name, File: file, Kernel: d.Host.Kernel, OS: d.Host.OS, Verdict: s.Verdict,
		Error: s.Error, Warning: s.Warning, Info: s.Info, Waived: s.Waived, Unknown: s.Unknown, Gaps: len(d.Gaps),
	})
	f.kernels.add(textValue(d.Host.Kernel), id)
	f.systems.add(textValue(d.Host.OS), id)
	for i := range d.Findings {
		rule := f.rules[d.Findings[i].Rule]
		if rule == nil {
			rule = &foldedRule{messages: folds[FleetMessage]{}, waived: folds[FleetWaiver]{}}
			f.rules[d.Findings[i].Rule] = rule
		}
		rule.add(&d.Findings[i], id)
	}
	for _, u := range d.Unknown {
		f.unknown.add(FleetUndecided{Rule: u.Rule, Why: u.Why}, id)
	}
	for _, c := range d.Conflicts {
		f.conflicts.add(FleetConflict{Setting: c.Setting, Rules: c.Rules, Why: c.Why}, id)
	}
	for _, g := range d.Gaps {
		f.gaps.add(FleetGap{Source: g.Source, Why: g.Why}, id)
	}
	for _, g := range d.Notices {
		if slices.Contains(d.waiversUnused, g.Source) {
			f.useless.add(FleetGap{Source: g.Source, Why: g.Why}, id)
		} else {
			f.notices.add(FleetGap{Source: g.Source, Why: g.Why}, id)
		}
	}
	for _, place := range d.waiversUsed {
		f.useful[place] = true
	}
	f.compare(facts, id)
}

// compare notes the values of the running kernel parameters. Where the kernel computes the default from the machine, hosts that
// have it agree, whatever the number; where nothing is known of how, nothing is said.
func (f *Fleet) compare(facts *Facts, id int32) {
	var kernel Version
	if v := facts.Scalar("kernel.version"); v.State == StateKnown {
		copy(kernel[:], v.Value.numbers())
	}
	for _, key := range f.catalogue.Keys() {
		fact := facts.Member("sysctl", key)
		p, ok := f.catalogue.Lookup(key)
		if !ok || p.ReadOnly || fact.State != StateKnown {
			continue
		}
		value := FleetValue{Value: &fact.Value}
		def, known := p.DefaultFor(kernel)
		is, _ := f.catalogue.DefaultValue(key, kernel, facts)
		if known && is.IsZero() && (def.Unknown != "" || def.formula != nil) {
			continue
		}
		if value.Default = !is.IsZero() && is.Equal(fact.Value); value.Default && def.formula != nil {
			value.Value = nil
		}
		if f.settings[key] == nil {
			f.settings[key] = folds[FleetValue]{}
		}
		f.settings[key].add(value, id)
	}
}

func textValue(s string) FleetValue {
	v := Text(s)
	return FleetValue{Value: &v}
}

// foldedRule is the findings of one rule.
type foldedRule struct {
	about    Finding // rule, remedy, title and page, and the advice that all findings have in common
	begun    bool
	messages folds[FleetMessage]
	waived   folds[FleetWaiver]
	hosts    hostSet // with a finding that counts
	severity Severity
	quietly  Severity // of the waived ones
}

func (r *foldedRule) add(f *Finding, id int32) {
	if !r.begun {
		r.begun = true
		r.about = Finding{Rule: f.Rule, Remedy: f.Remedy, Title: f.Title, Docs: f.Docs, Do: f.Do, Dont: f.Dont}
	}
	r.about.Do, r.about.Dont = common(r.about.Do, f.Do), common(r.about.Dont, f.Dont)
	if f.Waived != nil {
		r.quietly = max(r.quietly, f.Severity)
		r.waived.add(FleetWaiver{Reason: *f.Waived}, id)
		return
	}
	r.severity = max(r.severity, f.Severity)
	r.hosts = r.hosts.with(id)
	r.messages.add(FleetMessage{Severity: f.Severity, Subject: f.Subject, Path: f.Where().Path, Message: f.Message, Changes: f.Changes}, id)
}

// common keeps what both lists hold, in the order of the rule's file, which is that of both.
func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// folds keep equal things once, by their JSON form without hosts.
type folds[T any] map[string]*folded[T]

type folded[T any] struct {
	what  T
	hosts hostSet
}

func (f folds[T]) add(what T, id int32) {
	raw, err := json.Marshal(what)
	if err != nil {
		panic("advisor: a folded type has no JSON form: " + err.Error()) // only the zero Value has none, and no finding holds it
	}
	e := f[string(raw)]
	if e == nil {
		e = &folded[T]{what: what}
		f[string(raw)] = e
	}
	e.hosts = e.hosts.with(id)
}

// hostSet is hosts by their number, rising, as runs: most of what is folded most hosts have, and a run of them weighs as much as one.
type hostSet []hostRun

type hostRun struct{ first, last int32 }

func (s hostSet) with(id int32) hostSet {
	if n := len(s); n > 0 && id-s[n-1].last <= 1 {
		s[n-1].last = id
		return s
	}
	return append(s, hostRun{id, id})
}

func (s hostSet) len() int {
	n := 0
	for _, run := range s {
		n += int(run.last-run.first) + 1
	}
	return n
}

// commonest hands out the folded things, those of the most hosts first.
func (f folds[T]) commonest() []*folded[T] {
	keys := slices.SortedFunc(maps.Keys(f), func(a, b string) int {
		return cmp.Or(f[b].hosts.len()-f[a].hosts.len(), strings.Compare(a, b))
	})
	out := make([]*folded[T], len(keys))
	for i, key := range keys {
		out[i] = f[key]
	}
	return out
}

// Report says what was folded. More hosts may be added afterwards.
func (f *Fleet) Report() *FleetReport {
	r := &FleetReport{Hosts: slices.Clone(f.hosts), Unread: slices.Clone(f.unread)}
	names := f.name(r)
	r.Kernels, r.Systems = values(f.kernels, names), values(f.systems, names)
	for _, rule := range f.rules {
		r.Findings = append(r.Findings, rule.finding(names, len(f.hosts)))
	}
	slices.SortFunc(r.Findings, func(a, b FleetFinding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), len(b.Hosts)-len(a.Hosts), strings.Compare(a.Rule, b.Rule))
	})
	for _, key := range slices.Sorted(maps.Keys(f.settings)) {
		if len(f.settings[key]) > 1 {
			r.Settings = append(r.Settings, FleetSetting{key, values(f.settings[key], names)})
		}
	}
	for _, u := range f.unknown.commonest() {
		r.Unknown = append(r.Unknown, FleetUndecided{u.what.Rule, u.what.Why, names(u.hosts)})
	}
	slices.SortStableFunc(r.Unknown, func(a, b FleetUndecided) int { return strings.Compare(a.Rule, b.Rule) })
	for _, c := range f.conflicts.commonest() {
		r.Conflicts = append(r.Conflicts, FleetConflict{c.what.Setting, c.what.Rules, c.what.Why, names(c.hosts)})
	}
	slices.SortStableFunc(r.Conflicts, func(a, b FleetConflict) int { return strings.Compare(a.Setting, b.Setting) })
	r.Gaps, r.Notices = gapsOf(f.gaps, names), gapsOf(f.notices, names)
	for _, g := range gapsOf(f.useless, names) {
		if !f.useful[g.Source] {
			r.Notices = append(r.Notices, g)
		}
	}
	f.count(r)
	return r
}

// name sorts the hosts, makes their names differ, and returns what lists the names of hosts.
func (f *Fleet) name(r *FleetReport) func(hostSet) []string {
	order := make([]int32, len(f.hosts)) // ids by rank
	seen := map[string]int{}
	for i, h := range f.hosts {
		order[i] = int32(i)
		seen[h.Name]++
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, y := f.hosts[a], f.hosts[b]
		return cmp.Or(strings.Compare(cmp.Or(x.Name, x.File), cmp.Or(y.Name, y.File)), strings.Compare(x.File, y.File))
	})
	slices.SortFunc(r.Unread, func(a, b Gap) int { return strings.Compare(a.Source, b.Source) })
	ranks := make([]int, len(order))
	for rank, id := range order {
		h := f.hosts[id]
		switch {
		case h.Name == "":
			h.Name = h.File
		case seen[h.Name] > 1:
			h.Name += " (" + h.File + ")"
		}
		r.Hosts[rank], ranks[id] = h, rank
	}
	return func(set hostSet) []string {
		places := make([]int, 0, set.len())
		for _, run := range set {
			for id := run.first; id <= run.last; id++ {
				places = append(places, ranks[id])
			}
		}
		slices.Sort(places)
		out := make([]string, len(places))
		for i, rank := range places {
			out[i] = r.Hosts[rank].Name
		}
		return out
	}
}

func (r *foldedRule) finding(names func(hostSet) []string, hosts int) FleetFinding {
	const several, few = 4, 4
	out := FleetFinding{
		Rule: r.about.Rule, Remedy: r.about.Remedy, Title: r.about.Title, Docs: r.about.Docs, Do: r.about.Do, Dont: r.about.Dont,
		Severity: cmp.Or(r.severity, r.quietly), Hosts: names(r.hosts),
		Few: hosts >= several && len(r.hosts) > 0 && r.hosts.len()*few <= hosts,
	}
	for _, m := range r.messages.commonest() {
		m := *m
		m.what.Hosts = names(m.hosts)
		out.Messages = append(out.Messages, m.what)
	}
	for _, w := range r.waived.commonest() {
		out.Waived = append(out.Waived, FleetWaiver{w.what.Reason, names(w.hosts)})
	}
	return out
}

func values(f folds[FleetValue], names func(hostSet) []string) []FleetValue {
	var out []FleetValue
	for _, v := range f.commonest() {
		out = append(out, FleetValue{v.what.Value, v.what.Default, names(v.hosts)})
	}
	return out
}

func gapsOf(f folds[FleetGap], names func(hostSet) []string) []FleetGap {
	var out []FleetGap
	for _, g := range f.commonest() {
		out = append(out, FleetGap{g.what.Source, g.what.Why, names(g.hosts)})
	}
	return out
}

// count sums up, and decides: a host or a capture that could not be read makes the answer incomplete, then one bad host makes it
// a failure.
func (f *Fleet) count(r *FleetReport) {
	s := &r.Summary
	s.Hosts, s.Unread, s.FailOn, s.Verdict = len(r.Hosts), len(r.Unread), f.failOn, VerdictPass
	for _, h := range r.Hosts {
		switch h.Verdict {
		case VerdictPass:
			s.Pass++
		case VerdictFail:
			s.Fail++
		default:
			s.Incomplete++
		}
	}
	for _, finding := range r.Findings {
		switch {
		case len(finding.Hosts) == 0:
			s.Waived++
		case finding.Severity == SeverityError:
			s.Error++
		case finding.Severity == SeverityWarning:
			s.Warning++
		default:
			s.Info++
		}
	}
	undecided := map[string]bool{}
	for _, u := range r.Unknown {
		undecided[u.Rule] = true
	}
	s.Unknown = len(undecided)
	switch {
	case s.Incomplete > 0 || s.Unread > 0 && !f.allowGaps:
		s.Verdict = VerdictIncomplete
	case s.Fail > 0:
		s.Verdict = VerdictFail
	}
}
