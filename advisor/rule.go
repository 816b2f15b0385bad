package advisor

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"
)

// Rule is one piece of knowledge: pure data, as its file says it. It never holds a result.
type Rule struct {
	ID    string // path under the rule directory without suffix: unsafe/tcp-sack-off
	Path  string // file that it was read from
	Table string // table of its `each`; empty: the host is the subject

	head   func() *Body // what judging needs; decoded at first use
	full   func() *Body
	whole  func() *Body
	remake func(params map[string]Value) *Rule // the same rule with other parameters
}

// Body decodes the rule without its translation, at first use.
func (r *Rule) Body() *Body { return r.full() }

// Translated decodes the whole rule, at first use.
func (r *Rule) Translated() *Body { return r.whole() }

// Body is what a rule's file says.
type Body struct {
	Title      string
	Since      string // version of the rule set that brought it
	Remedy     Remedy
	Why        string // why it matters, for the documentation
	Unless     string // when the finding may be ignored
	Refs       []string
	Explains   []string // rules whose finding on the same thing is a symptom of this one's
	Supersedes []string // rules, with * for a part, that stay silent on a kernel parameter which this one has judged
	Params     []Param
	Conditions []string // source of `when`, for the documentation
	Severities []Severity
	Wants      []string     // settings that it may propose to change, for the documentation
	Zh         *Translation // nil: no Chinese text

	table      string
	replaces   bool
	applies    *code
	when       []*code
	severity   []grade[Severity]
	confidence []grade[Confidence]
	text       texts
	zh         texts
	wants      []want
	fault      error // not nil: the file is broken
}

// Param is a threshold of a rule, which a user's configuration may override.
type Param struct {
	Name  string
	Value Value // integer, text or duration
	Why   string
}

// Translation is the prose of a rule in another language: all of it, or the rule does not load.
type Translation struct{ Title, Why, Unless string }

// texts is what a finding says, with the placeholders compiled.
type texts struct {
	says  *template
	do    []*template
	dont  []*template
	notes []*template // of the wants that have one, in their order
}

// grade is one entry of a severity or confidence list: the first whose condition holds counts.
type grade[T any] struct {
	is   T
	when *code // nil: always
}

// want is a setting and a constraint on it.
type want struct {
	setting *template
	op      WantOp
	value   *code // nil for OpRemove
	safety  Safety
	when    *code // nil: always
	note    int   // number of its note among the texts, from 1; 0: none
}

// WantOp is the kind of constraint. The zero WantOp is invalid.
type WantOp uint8

// The constraints.
const (
	OpAtLeast WantOp = iota + 1
	OpAtMost
	OpExactly
	OpOneOf
	OpInclude // set union, for port lists
	OpRemove
)

var wantOps = map[string]WantOp{
	"at_least": OpAtLeast, "at_most": OpAtMost, "exactly": OpExactly, "one_of": OpOneOf, "include": OpInclude, "remove": OpRemove,
}

var (
	severityNames = map[string]Severity{"info": SeverityInfo, "warning": SeverityWarning, "error": SeverityError}
	remedyNames   = map[string]Remedy{"kernel": RemedyKernel, "service": RemedyService, "application": RemedyApplication}
	safetyNames   = map[string]Safety{"manual": SafetyManual, "review": SafetyReview, "safe": SafetySafe}
	eachForm      = regexp.MustCompile(`^([a-z][a-z0-9_]*) in ([a-z][a-z0-9_]*)$`)
	idForm        = regexp.MustCompile(`^[a-z][a-z0-9-]*/[a-z0-9][a-z0-9-]*$`)
)

// headFields are those that decide whether a rule fires, and how badly.
func headFields() []string {
	return []string{"each", "params", "applies", "when", "severity", "confidence", "remedy", "explains", "supersedes"}
}

// newRule prepares a rule whose text is decoded in steps: what judging needs, the English text when the rule fires or is
// explained, and the translation when somebody reads it. Most rules stay quiet, and prose is most of a file.
func newRule(id, file string, data []byte, base scope) *Rule {
	_, fields := chunk{1, data}.split(0)
	r := &Rule{ID: id, Path: file}
	if m := eachForm.FindStringSubmatch(fields["each"].field("each")); m != nil {
		r.Table = m[2]
	}
	r.head = sync.OnceValue(func() *Body {
		var head []byte
		for _, name := range headFields() {
			head = append(head, fields[name].text...)
		}
		var errs LoadErrors
		d := newRuleDecoder(file, base, &errs)
		if top := d.parse(head); top != nil {
			d.decode(top)
		}
		d.body.fault = errs.sorted()
		return &d.body
	})
	decoded := func(data []byte) func() *Body {
		return sync.OnceValue(func() *Body {
			var errs LoadErrors
			return decodeRule(id, file, data, base, &errs)
		})
	}
	r.whole = decoded(data)
	r.full = r.whole
	if zh := fields["zh"].text; len(zh) > 0 {
		r.full = decoded(bytes.Replace(data, zh, nil, 1))
	}
	r.remake = func(params map[string]Value) *Rule {
		with := base
		with.overrides = params
		return newRule(id, file, data, with)
	}
	return r
}

// ruleDecoder turns one rule file into a Body.
type ruleDecoder struct {
	*doc
	scope
	body Body
	seen map[string]bool
}

func newRuleDecoder(file string, base scope, errs *LoadErrors) *ruleDecoder {
	return &ruleDecoder{doc: &doc{path: file, errs: errs}, scope: base, seen: map[string]bool{}}
}

func (r *ruleDecoder) decode(top *yaml.Node) {
	r.declarations(top)
	r.fields(top, "a rule", r.ruleFields())
}

// decodeRule decodes a whole file and reports all its faults.
func decodeRule(id, file string, data []byte, base scope, errs *LoadErrors) *Body {
	var found LoadErrors
	r := newRuleDecoder(file, base, &found)
	if !idForm.MatchString(id) {
		r.fail(nil, "a rule's file is AREA/SLUG.yaml in lower case with hyphens; %q is not", id)
	}
	if top := r.parse(data); top != nil {
		r.decode(top)
		r.required(top)
	}
	*errs = append(*errs, found...)
	r.body.fault = found.sorted()
	return &r.body
}

// declarations reads what expressions depend on, wherever it stands in the file: each and params.
func (r *ruleDecoder) declarations(top *yaml.Node) {
	r.params = map[string]Param{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		v := unalias(top.Content[i+1])
		switch top.Content[i].Value {
		case "each":
			m := eachForm.FindStringSubmatch(v.Value)
			if m == nil {
				r.fail(v, "each reads NAME in TABLE, such as: listener in listeners")
				continue
			}
			if !r.vocabulary.HasTable(m[2]) {
				r.fail(v, "unknown table %q%s", m[2], didYouMean(m[2], r.vocabulary.Tables()))
				continue
			}
			r.rowName, r.rowTable, r.body.table = m[1], m[2], m[2]
		case "params":
			r.mapping(v, "params", func(name string, k, n *yaml.Node) {
				p := r.param(name, n)
				if v, ok := r.overrides[name]; ok {
					p.Value = v
				}
				r.params[name] = p
				r.body.Params = append(r.body.Params, p)
			})
		}
	}
}

func (r *ruleDecoder) param(name string, n *yaml.Node) Param {
	p := Param{Name: name}
	r.fields(n, "a parameter", map[string]func(*yaml.Node){
		"value": func(n *yaml.Node) {
			v, err := parseParam(n)
			if err != "" {
				r.fail(n, "%s", err)
			}
			p.Value = v
		},
		"why": func(n *yaml.Node) { p.Why = r.text(n) },
	})
	if p.Value.IsZero() || p.Why == "" {
		r.fail(n, "parameter %s needs a value and a why", name)
	}
	return p
}

func (r *ruleDecoder) ruleFields() map[string]func(*yaml.Node) {
	prose := func(to *string) func(*yaml.Node) {
		return func(n *yaml.Node) { *to = strings.TrimSpace(r.text(n)) }
	}
	list := func(to *[]string) func(*yaml.Node) { return func(n *yaml.Node) { *to = r.texts(n) } }
	fields := map[string]func(*yaml.Node){
		"title": prose(&r.body.Title), "since": prose(&r.body.Since), "why": prose(&r.body.Why), "unless": prose(&r.body.Unless),
		"refs": list(&r.body.Refs), "explains": list(&r.body.Explains), "supersedes": list(&r.body.Supersedes),
		"remedy":     func(n *yaml.Node) { r.body.Remedy = oneOf(r.doc, n, remedyNames) },
		"replaces":   func(n *yaml.Node) { r.body.replaces = r.boolean(n) },
		"each":       func(*yaml.Node) {}, // read before
		"params":     func(*yaml.Node) {}, // read before
		"applies":    func(n *yaml.Node) { r.body.applies = r.expression(n, TypeBoolean) },
		"severity":   func(n *yaml.Node) { r.body.severity = grades(r, n, severityNames) },
		"confidence": func(n *yaml.Node) { r.body.confidence = grades(r, n, confidenceNames) },
		"when": func(n *yaml.Node) {
			for _, item := range r.items(n) {
				r.body.when = append(r.body.when, r.expression(item, TypeBoolean))
				r.body.Conditions = append(r.body.Conditions, item.Value)
			}
		},
		"says": func(n *yaml.Node) { r.body.text.says = r.template(n) },
		"do":   func(n *yaml.Node) { r.body.text.do = r.templates(n) },
		"dont": func(n *yaml.Node) { r.body.text.dont = r.templates(n) },
		"want": func(n *yaml.Node) {
			if n.Kind != yaml.SequenceNode {
				r.fail(n, "want is a list")
				return
			}
			for _, item := range r.items(n) {
				r.want(item)
			}
		},
		"zh": r.translation,
	}
	for name, decode := range fields {
		fields[name] = func(n *yaml.Node) { r.seen[name] = true; decode(n) }
	}
	return fields
}

// translated finds what a translation lacks: half of it would mix the languages in one finding.
func (r *ruleDecoder) translated(top *yaml.Node) {
	zh, text, own := r.body.Zh, r.body.zh, r.body.text
	switch {
	case zh == nil:
	case zh.Title == "" || zh.Why == "" || zh.Unless == "" || text.says == nil:
		r.fail(top, "zh needs title, says, why and unless")
	case len(text.do) != len(own.do) || len(text.dont) != len(own.dont) || len(text.notes) != len(own.notes):
		r.fail(top, "zh needs as many entries in do, dont and notes as the rule has: %d, %d and %d", len(own.do), len(own.dont), len(own.notes))
	}
}

func (r *ruleDecoder) required(top *yaml.Node) {
	r.translated(top)
	for _, name := range []string{"title", "severity", "confidence", "remedy", "since", "when", "says", "why", "unless", "refs"} {
		if !r.seen[name] {
			r.fail(top, "a rule needs the field %q", name)
		}
	}
	for _, g := range r.body.severity {
		r.body.Severities = append(r.body.Severities, g.is)
	}
	slices.Sort(r.body.Severities)
	r.body.Severities = slices.Compact(r.body.Severities)
}

func (r *ruleDecoder) translation(n *yaml.Node) {
	zh, texts := &Translation{}, &r.body.zh
	r.fields(n, "zh", map[string]func(*yaml.Node){
		"title":  func(n *yaml.Node) { zh.Title = strings.TrimSpace(r.text(n)) },
		"why":    func(n *yaml.Node) { zh.Why = strings.TrimSpace(r.text(n)) },
		"unless": func(n *yaml.Node) { zh.Unless = strings.TrimSpace(r.text(n)) },
		"says":   func(n *yaml.Node) { texts.says = r.template(n) },
		"do":     func(n *yaml.Node) { texts.do = r.templates(n) },
		"dont":   func(n *yaml.Node) { texts.dont = r.templates(n) },
		"notes":  func(n *yaml.Node) { texts.notes = r.templates(n) },
	})
	r.body.Zh = zh
}

// grades decodes a scalar, or a list of {is, when} whose last has no condition or leaves the rule silent.
func grades[T any](r *ruleDecoder, n *yaml.Node, names map[string]T) []grade[T] {
	if n.Kind == yaml.ScalarNode {
		return []grade[T]{{is: oneOf(r.doc, n, names)}}
	}
	var out []grade[T]
	for _, item := range r.items(n) {
		var g grade[T]
		r.fields(item, "an entry", map[string]func(*yaml.Node){
			"is":   func(n *yaml.Node) { g.is = oneOf(r.doc, n, names) },
			"when": func(n *yaml.Node) { g.when = r.expression(n, TypeBoolean) },
		})
		out = append(out, g)
	}
	if len(out) == 0 || out[len(out)-1].when != nil {
		r.fail(n, "the last entry must have no condition: it is what holds otherwise")
	}
	return out
}

// expression compiles an expression and places its faults in the file.
func (r *ruleDecoder) expression(n *yaml.Node, want Type) *code {
	src := r.text(n)
	c, err := r.compile(src, want)
	if err != nil {
		r.failInside(n, err.offset, "%s", err.message)
		return nil
	}
	return c
}

// failInside reports a fault at a rune offset of a scalar. In block scalars the line is right and the column approximate.
func (r *ruleDecoder) failInside(n *yaml.Node, offset int, format string, args ...any) {
	at := *n
	switch n.Style {
	case yaml.LiteralStyle, yaml.FoldedStyle:
		before := string([]rune(n.Value)[:min(offset, len([]rune(n.Value)))])
		at.Line += 1 + strings.Count(before, "\n")
	case yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle:
		at.Column += 1 + offset
	default:
		at.Column += offset
	}
	r.fail(&at, format, args...)
}

func (r *ruleDecoder) want(n *yaml.Node) {
	var w want
	fields := map[string]func(*yaml.Node){
		"setting": func(n *yaml.Node) {
			w.setting = r.template(n)
			r.body.Wants = append(r.body.Wants, n.Value)
		},
		"safety": func(n *yaml.Node) { w.safety = oneOf(r.doc, n, safetyNames) },
		"when":   func(n *yaml.Node) { w.when = r.expression(n, TypeBoolean) },
		"note": func(n *yaml.Node) {
			w.note = len(r.body.text.notes) + 1
			r.body.text.notes = append(r.body.text.notes, r.template(n))
		},
	}
	for name, op := range wantOps {
		fields[name] = func(n *yaml.Node) {
			if w.op != 0 {
				r.fail(n, "one want has one constraint")
			}
			w.op = op
			if op == OpRemove {
				r.boolean(n)
				return
			}
			w.value = r.expression(n, 0)
		}
	}
	r.fields(n, "a want", fields)
	if w.setting == nil || w.op == 0 || w.safety == 0 {
		r.fail(n, "a want needs setting, safety and one of at_least, at_most, exactly, one_of, include, remove")
		return
	}
	if r.body.Remedy == RemedyApplication && strings.HasPrefix(w.setting.source, "sysctl:") {
		r.fail(n, "no kernel setting helps where the remedy is the application")
	}
	r.body.wants = append(r.body.wants, w)
}
