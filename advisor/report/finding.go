package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clipperhouse/displaywidth"
	"github.com/tcpadvise/tcpadvise/advisor"
)

// findings writes them in the diagnosis's order, a symptom indented under its cause, and folds the many of one rule.
func (p *printer) findings(all []advisor.Finding) {
	total, done := map[string]int{}, map[string]int{}
	for _, f := range all {
		total[f.Rule]++
	}
	var causes []string // rules of the finding just written and of those it stands under
	var last advisor.Finding
	for _, f := range all {
		done[f.Rule]++
		if n := total[f.Rule] - perRule; n > 0 && done[f.Rule] > perRule {
			if done[f.Rule] == perRule+1 {
				p.space()
				p.line(0, prose(p.count(n, "and %d more of %s: --format json lists it", "and %d more of %s: --format json lists them", f.Rule)))
			}
			continue
		}
		depth := 0
		if f.ExplainedBy != nil {
			depth = slices.Index(causes, *f.ExplainedBy) + 1
		}
		causes = append(causes[:depth:depth], f.Rule)
		if depth == 0 {
			p.space()
		}
		p.finding(2*depth, f, last)
		last = f
	}
}

// finding writes one. What the finding just above it, of the same rule, has advised already is not said again.
func (p *printer) finding(indent int, f, above advisor.Finding) {
	p.title(indent, f)
	indent += 2
	p.block(indent, prose(f.Message))
	for _, line := range p.evidence(f) {
		p.item(indent, p.say("found:"), isFaint, line)
	}
	for _, c := range f.Changes {
		p.item(indent, p.say("change:"), isAction, p.change(c))
	}
	same := above.Rule == f.Rule
	if f.Remedy == advisor.RemedyApplication && !same {
		p.item(indent, p.say("remedy:"), plain, prose(p.say("in the program's code; no kernel setting helps")))
	}
	if same && len(f.Do) > 0 && slices.Equal(f.Do, above.Do) {
		p.item(indent, p.say("do:"), isAction, prose(p.say("as above")))
	} else {
		for _, s := range f.Do {
			p.item(indent, p.say("do:"), isAction, code(s))
		}
	}
	if !same || !slices.Equal(f.Dont, above.Dont) {
		for _, s := range f.Dont {
			p.item(indent, p.say("not:"), isWarning, prose(s))
		}
	}
}

// title writes severity, rule, and place (or subject where no file is at fault). The severity is a word in capitals, so that
// it is found without colour, by eye and by grep.
func (p *printer) title(indent int, f advisor.Finding) {
	var remarks []string
	name, look := p.severity(f.Severity)
	words := append(styled(look, whole(name)), styled(isRule, whole(f.Rule))...)
	if where := f.Where(); !where.IsZero() {
		words = append(words, whole(place(where)))
	} else if f.Subject.Key != "" {
		remarks = append(remarks, f.Subject.Key)
	}
	if sure := p.confidence(f.Confidence); sure != "" {
		remarks = append(remarks, sure)
	}
	if f.ExplainedBy != nil && indent > 0 {
		remarks = append(remarks, p.say("a symptom of the above"))
	} else if f.ExplainedBy != nil {
		remarks = append(remarks, p.say("a symptom of %s", *f.ExplainedBy))
	}
	if len(remarks) > 0 {
		words = append(words, styled(isFaint, parenthesised(prose(p.join(remarks)))...)...)
	}
	p.line(indent, words)
}

func (p *printer) severity(s advisor.Severity) (string, style) {
	switch s {
	case advisor.SeverityError:
		return p.say("ERROR"), isError
	case advisor.SeverityWarning:
		return p.say("WARNING"), isWarning
	case advisor.SeverityInfo:
	}
	return p.say("NOTE"), isNote
}

// confidence is silent where there is no doubt.
func (p *printer) confidence(c advisor.Confidence) string {
	switch c {
	case advisor.ConfidenceCertain:
		return ""
	case advisor.ConfidenceHigh:
		return p.say("high confidence")
	case advisor.ConfidenceMedium:
		return p.say("medium confidence")
	case advisor.ConfidenceLow:
	}
	return p.say("low confidence")
}

// place is path:line:column, which editors and terminals open.
func place(o advisor.Origin) string {
	switch {
	case o.Path == "":
		return o.Source
	case o.Line == 0:
		return o.Path
	case o.Column == 0:
		return fmt.Sprintf("%s:%d", o.Path, o.Line)
	}
	return fmt.Sprintf("%s:%d:%d", o.Path, o.Line, o.Column)
}

// evidence makes one line for each place, with all that was read there. A single place that stands in the title is not
// repeated.
func (p *printer) evidence(f advisor.Finding) [][]word {
	var places []string
	lines := map[string][]word{}
	for _, e := range tellingEvidence(f) {
		at := place(e.Origin)
		if _, ok := lines[at]; !ok {
			places = append(places, at)
		} else {
			lines[at] = tail(lines[at], p.say(","))
		}
		lines[at] = append(lines[at], reading(e)...)
	}
	var out [][]word
	for _, at := range places {
		line := lines[at]
		if at != "" && (len(places) > 1 || at != place(f.Where())) {
			line = append(line, styled(isFaint, parenthesised([]word{whole(at)})...)...)
		}
		out = append(out, line)
	}
	return out
}

// tellingEvidence leaves out, for a reader's eyes only, what the finding's head line has said already: the columns that name
// its row, and the row's marks (settings.effective = true). If nothing else decided, all of it is shown.
func tellingEvidence(f advisor.Finding) []advisor.Evidence {
	var telling []advisor.Evidence
	for _, e := range f.Evidence {
		ofRow := f.Subject.Table != "" && strings.HasPrefix(e.What, f.Subject.Table+".")
		if ofRow && (e.Value.Kind() == advisor.KindBool || strings.Contains(f.Subject.Key, e.Value.String()) && e.Value.Kind() == advisor.KindText) {
			continue
		}
		telling = append(telling, e)
	}
	if telling == nil {
		return f.Evidence
	}
	return telling
}

// reading keeps short readings together and lets long values break at their blanks.
func reading(e advisor.Evidence) []word {
	const short = 32
	text := e.What + " = " + shown(e.Value)
	if width(escape(text)) <= short {
		return []word{whole(text)}
	}
	return prose(text)
}

// shown is a value on paper: quoted where its ends would not be seen, cut where it would fill the screen.
func shown(v advisor.Value) string {
	s := v.String()
	if strings.Join(strings.Fields(s), " ") != s || s == "" {
		s = `"` + s + `"`
	}
	return displaywidth.TruncateString(escape(s), valueWidth, "...")
}

// change reads like the line to write: sysctls without their prefix, since that is how files and sysctl -w name them.
func (p *printer) change(c advisor.ProposedChange) []word {
	setting := strings.TrimPrefix(c.Setting, "sysctl:")
	to := p.say("removed")
	if c.To != nil && !c.Remove {
		to = shown(*c.To)
	}
	words := []word{whole(setting)}
	move := "-> " + to
	if c.From != nil {
		words = tail(words, ":")
		move = shown(*c.From) + " " + move
	}
	words = append(words, bind(move, func(field string) bool { return field == "->" })...)
	words = append(words, whole("("+p.safety(c.Safety)+")"))
	if c.Note != "" {
		words = append(tail(words, p.say(",")), prose(p.say("then: %s", c.Note))...)
	}
	return words
}

func (p *printer) safety(s advisor.Safety) string {
	switch s {
	case advisor.SafetySafe:
		return p.say("safe")
	case advisor.SafetyReview:
		return p.say("review first")
	case advisor.SafetyManual:
	}
	return p.say("by hand only")
}
