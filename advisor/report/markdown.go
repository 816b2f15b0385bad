package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// writeMarkdown writes what goes into a ticket or a comment: CommonMark with one table. What was read from a host stands
// either in code, where nothing has a meaning, or is plain words: it makes no link, no mention, no heading and no markup.
func writeMarkdown(w io.Writer, d *advisor.Diagnosis, o Options) error {
	m := &markdown{}
	m.line("# tcpadvise: %s", markdownProse(verdictText(d)))
	m.head(d.Host, o)
	m.counts(d)
	m.findings(d)
	m.waived(d.Findings)
	m.undecided(d.Unknown)
	m.inputs("Could not be read", d.Gaps)
	m.conflicts(d.Conflicts)
	m.inputs("Not read, and not asked for", d.Notices)
	m.sockets(d)
	_, err := w.Write(m.buf.Bytes())
	return err
}

type markdown struct{ buf bytes.Buffer }

// line writes a paragraph or a heading. Its arguments are Markdown already.
func (m *markdown) line(format string, args ...any) {
	if m.buf.Len() > 0 {
		m.buf.WriteByte('\n')
	}
	fmt.Fprintf(&m.buf, format+"\n", args...)
}

// item writes an element of a list.
func (m *markdown) item(format string, args ...any) { fmt.Fprintf(&m.buf, "* "+format+"\n", args...) }

// list begins one under a label.
func (m *markdown) list(label string) { m.line("%s\n", label) }

func (m *markdown) head(h advisor.Host, o Options) {
	var parts []string
	for _, fact := range hostFacts(h, o) {
		parts = append(parts, fact.Name+" "+markdownCode(fact.Value))
	}
	m.line("%s", strings.Join(parts, ", "))
}

func (m *markdown) counts(d *advisor.Diagnosis) {
	s := d.Summary
	m.line("| errors | warnings | notes | waived | rules quiet | do not apply | undecided | skipped | inputs not read |")
	m.buf.WriteString(strings.Repeat("|---:", 9) + "|\n")
	fmt.Fprintf(&m.buf, "| %d | %d | %d | %d | %d | %d | %d | %d | %d |\n",
		s.Error, s.Warning, s.Info, s.Waived, s.Quiet, s.NotApplicable, s.Unknown, s.Skipped, len(d.Gaps))
}

func (m *markdown) findings(d *advisor.Diagnosis) {
	shown, _ := choose(d.Findings, 0)
	if len(shown) == 0 {
		m.line("%s", upperFirst(markdownProse(summaryText(d)))+".")
		return
	}
	total, done := map[string]int{}, map[string]int{}
	for _, f := range shown {
		total[f.Rule]++
	}
	depth := depths(shown)
	for i, f := range shown {
		switch done[f.Rule]++; {
		case done[f.Rule] <= perRule:
			m.finding(f, depth[i])
		case done[f.Rule] == perRule+1:
			m.line("*And %d more of %s: `--format json` lists them.*", total[f.Rule]-perRule, markdownCode(f.Rule))
		}
	}
}

func (m *markdown) finding(f advisor.Finding, depth int) {
	const deepest = 4 // a heading of the sixth level is the last
	p := &printer{limit: -1}
	name, _ := p.severity(f.Severity)
	title := name + " " + markdownCode(f.Rule)
	if at := subjectText(f); at != "" {
		title += ": " + markdownCode(at)
	}
	m.line("##%s %s", strings.Repeat("#", min(depth, deepest)), title)
	m.line("%s", markdownProse(f.Message))
	if remarks := remarks(f); len(remarks) > 0 {
		m.line("*%s*", upperFirst(strings.Join(remarks, ", "))+".")
	}
	if len(f.Evidence) > 0 {
		m.list("**Found**")
	}
	for _, e := range f.Evidence {
		at := ""
		if e.Origin != (advisor.Origin{}) {
			at = " in " + markdownCode(place(e.Origin))
		}
		m.item("%s%s", markdownCode(e.What+" = "+shown(e.Value)), at)
	}
	if len(f.Changes) > 0 {
		m.list("**Change**")
	}
	for _, c := range f.Changes {
		m.item("%s", markdownChange(c))
	}
	m.advice("**Do**", f.Do, code)
	m.advice("**Not**", f.Dont, prose)
	if f.Docs != "" {
		m.line("Reasons and exceptions: %s", markdownCode("tcpadvise explain "+f.Rule))
	}
}

// remarks are what makes a finding weigh less, or its cause; they are Markdown.
func remarks(f advisor.Finding) []string {
	var out []string
	p := &printer{limit: -1}
	if sure := p.confidence(f.Confidence); sure != "" {
		out = append(out, sure)
	}
	if f.ExplainedBy != nil {
		out = append(out, "a symptom of "+markdownCode(*f.ExplainedBy))
	}
	if f.Remedy == advisor.RemedyApplication {
		out = append(out, "the remedy is in the program's code; no kernel setting helps")
	}
	if f.Known {
		out = append(out, "known to the baseline")
	}
	return out
}

func (m *markdown) advice(label string, items []string, words func(string) []word) {
	if len(items) == 0 {
		return
	}
	m.list(label)
	for _, item := range items {
		m.item("%s", markdownWords(words(item)))
	}
}

func markdownChange(c advisor.ProposedChange) string {
	p := &printer{limit: -1}
	text := markdownCode(strings.TrimPrefix(c.Setting, "sysctl:")) + ": "
	if c.From != nil {
		text += markdownCode(shown(*c.From)) + " → "
	}
	if c.To != nil && !c.Remove {
		text += markdownCode(shown(*c.To))
	} else {
		text += "removed"
	}
	text += " (" + p.safety(c.Safety) + ")"
	if c.Note != "" {
		text += ", then: " + markdownWords(code(c.Note))
	}
	return text
}

func (m *markdown) waived(all []advisor.Finding) {
	var waived []advisor.Finding
	for _, f := range all {
		if f.Waived != nil {
			waived = append(waived, f)
		}
	}
	if len(waived) == 0 {
		return
	}
	m.list("## Waived")
	for _, f := range waived[:min(len(waived), perRule)] {
		at := ""
		if subject := subjectText(f); subject != "" {
			at = " " + markdownCode(subject)
		}
		m.item("%s%s: %s", markdownCode(f.Rule), at, markdownProse(*f.Waived))
	}
	m.more(len(waived) - perRule)
}

// more says how many lines of a list were left out: comments of forges have a greatest length.
func (m *markdown) more(n int) {
	if n > 0 {
		m.item("and %d more: `--format json` lists them", n)
	}
}

func (m *markdown) undecided(all []advisor.Undecided) {
	if len(all) == 0 {
		return
	}
	m.list("## Undecided")
	for _, g := range byReason(all) {
		var rules []string
		for _, rule := range g.Rules {
			rules = append(rules, markdownCode(rule))
		}
		rest := ""
		if n := len(rules) - perRule; n > 0 {
			rules, rest = rules[:perRule], fmt.Sprintf(" and %d more", n)
		}
		m.item("%s: %s%s", markdownProse(g.Why), strings.Join(rules, ", "), rest)
	}
}

func (m *markdown) inputs(title string, all []advisor.Gap) {
	if len(all) == 0 {
		return
	}
	m.list("## " + title)
	for _, g := range all[:min(len(all), perRule)] {
		m.item("%s: %s", markdownCode(g.Source), markdownProse(g.Why))
	}
	m.more(len(all) - perRule)
}

func (m *markdown) conflicts(all []advisor.Conflict) {
	if len(all) == 0 {
		return
	}
	m.list("## Findings disagree; no change is proposed")
	for _, c := range all {
		var rules []string
		for _, rule := range c.Rules {
			rules = append(rules, markdownCode(rule))
		}
		m.item("%s: %s (%s)", markdownCode(strings.TrimPrefix(c.Setting, "sysctl:")), markdownProse(c.Why), strings.Join(rules, ", "))
	}
}

func (m *markdown) sockets(d *advisor.Diagnosis) {
	var parts []string
	for _, state := range advisor.SocketStates() {
		if n, ok := d.Sockets[state]; ok {
			parts = append(parts, fmt.Sprintf("`%s` %d", strings.ToUpper(state), n))
		}
	}
	if missing := unread(d); len(parts) == 0 {
		parts = []string{"not read"}
	} else if len(missing) > 0 {
		parts = append(parts, "not read: `"+strings.ToUpper(strings.Join(missing, "`, `"))+"`")
	}
	m.line("Sockets: %s", strings.Join(parts, ", "))
}

// markdownProse is a text of words and names.
func markdownProse(s string) string { return markdownWords(prose(s)) }

// markdownWords sets what is no prose as code. A number with a point or bracket after it would begin a list; nothing else
// that is left has a meaning.
func markdownWords(words []word) string {
	var b strings.Builder
	for i, s := range spans(words) {
		if i > 0 && !s.Tight {
			b.WriteByte(' ')
		}
		if s.Code {
			b.WriteString(markdownCode(s.Text))
			continue
		}
		text := s.Text
		if digits := strings.TrimLeft(text, "0123456789"); i == 0 && digits != text && (strings.HasPrefix(digits, ".") || strings.HasPrefix(digits, ")")) {
			text = text[:len(text)-len(digits)] + `\` + digits
		}
		b.WriteString(text)
	}
	return b.String()
}

// markdownCode sets s as code, in as many backticks as it takes.
func markdownCode(s string) string {
	s = cmp.Or(escape(s), `""`)
	longest := 0
	for _, run := range slices.Collect(strings.FieldsFuncSeq(s, func(r rune) bool { return r != '`' })) {
		longest = max(longest, len(run))
	}
	fence, pad := strings.Repeat("`", longest+1), ""
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || strings.HasPrefix(s, " ") && strings.HasSuffix(s, " ") {
		pad = " "
	}
	return fence + pad + s + pad + fence
}
