package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// span is a run of words for the formats with fonts: prose, or what is typed and read as it stands.
type span struct {
	Text  string // escaped
	Code  bool
	Tight bool // follows the span before it without a blank
}

// spans tells names, numbers with units and commands from prose: by what cannot be an English or Chinese word.
func spans(words []word) []span {
	var out []span
	for i, w := range words {
		tight := w.tight || i > 0 && endsWide(words[i-1].text)
		if isProse(w.text) {
			out = joined(out, span{Text: w.text, Tight: tight})
			continue
		}
		before, core, after := unwrap(w.text)
		if before != "" {
			out, tight = joined(out, span{Text: before, Tight: tight}), true
		}
		out = append(out, span{Text: core, Code: true, Tight: tight})
		if after != "" {
			out = joined(out, span{Text: after, Tight: true})
		}
	}
	return out
}

// joined appends a span of prose, to the prose before it where there is some.
func joined(out []span, s span) []span {
	n := len(out)
	if n == 0 || out[n-1].Code {
		return append(out, s)
	}
	if !s.Tight {
		out[n-1].Text += " "
	}
	out[n-1].Text += s.Text
	return out
}

// unwrap parts code from the sentence's punctuation around it: "(see", "sysctl -p)," and "file:".
func unwrap(text string) (before, core, after string) {
	core = strings.TrimRight(text, ",.;:")
	if strings.HasPrefix(core, "(") {
		before, core = "(", core[1:]
	}
	if strings.HasSuffix(core, ")") && strings.Count(core, ")") > strings.Count(core, "(") {
		core = core[:len(core)-1]
	}
	if core == "" || strings.HasSuffix(core, " ") {
		return "", text, ""
	}
	return before, core, text[len(before)+len(core):]
}

// isProse reports whether text holds only words with the punctuation around them. What does not is set as code, which also
// takes from it any power that Markdown or a forge would give it: @names, #numbers, addresses.
func isProse(text string) bool {
	for field := range strings.FieldsSeq(text) {
		if _, core, _ := bare(field); !isWord(core) {
			return false
		}
	}
	return true
}

// bare parts a field from the punctuation around it that has no meaning in Markdown in the middle of a line.
func bare(field string) (before, core, after string) {
	core = strings.TrimLeft(field, `("'`)
	before = field[:len(field)-len(core)]
	trimmed := strings.TrimRight(core, `,.;:?)"'%`)
	return before, trimmed, core[len(trimmed):]
}

// isWord reports letters and digits, with a hyphen or an apostrophe inside, or a number with a point: "round-trip", "4.12".
func isWord(s string) bool {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-'.,，。、；：（）「」", r)
	}) {
		return false
	}
	_, notNumber := strconv.ParseFloat(s, 64)
	if strings.ContainsAny(s, ".") && notNumber != nil {
		return false
	}
	issue := len(s) > 3 && strings.EqualFold(s[:3], "gh-") // a forge makes it a link, and a note there
	return !issue && !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, "-")
}

// verdictText is the exit code in words, as the text report ends.
func verdictText(d *advisor.Diagnosis) string {
	p := &printer{limit: -1}
	p.verdict(d, false)
	return strings.TrimSpace(p.buf.String())
}

// summaryText is the line of the text report above the verdict.
func summaryText(d *advisor.Diagnosis) string {
	p := &printer{limit: -1}
	p.summary(d, 0, Options{})
	return strings.TrimSpace(p.buf.String())
}

// subjectText is what a finding is about, for a title: the row's key, but a place in a file for what is a line of one.
func subjectText(f advisor.Finding) string {
	where := place(f.Where())
	if f.Subject.Table == "settings" {
		return cmp.Or(where, f.Subject.Key)
	}
	return cmp.Or(f.Subject.Key, where)
}

// depths says how deep each finding stands under its causes, of which one stands just above it or above its siblings.
func depths(findings []advisor.Finding) []int {
	var causes []string // rules of the finding above and of those it stands under
	out := make([]int, len(findings))
	for i, f := range findings {
		if f.ExplainedBy != nil {
			out[i] = slices.Index(causes, *f.ExplainedBy) + 1
		}
		causes = append(causes[:out[i]:out[i]], f.Rule)
	}
	return out
}

// area is the first part of a rule's ID.
func area(rule string) string {
	a, _, _ := strings.Cut(rule, "/")
	return a
}

// gates reports whether a finding is at or above the gate and counts there.
func gates(d *advisor.Diagnosis, f advisor.Finding) bool {
	gate, err := advisor.ParseSeverity(d.Summary.FailOn)
	return err == nil && f.Waived == nil && !f.Known && f.Severity >= gate
}

// firing counts the rules that have a finding, waived ones included: they were judged.
func firing(d *advisor.Diagnosis) int {
	rules := map[string]bool{}
	for _, f := range d.Findings {
		rules[f.Rule] = true
	}
	return len(rules)
}

// unread lists the states that were not counted.
func unread(d *advisor.Diagnosis) []string {
	var out []string
	for _, state := range advisor.SocketStates() {
		if _, ok := d.Sockets[state]; !ok {
			out = append(out, state)
		}
	}
	return out
}

// hostFact is a line about the host or the run, for heads.
type hostFact struct{ Name, Value string }

// hostFacts are what is known of the judged host and of the judge.
func hostFacts(h advisor.Host, o Options) []hostFact {
	source := map[string]string{"live": "live", "root": "another root", "capture": "a capture", "files": "files alone"}[h.Source]
	all := []hostFact{
		{"host", h.Name},
		{"source", cmp.Or(source, h.Source)},
		{"network namespace", h.Netns},
		{"Linux", h.Kernel},
		{"system", h.OS},
		{"tcpadvise", o.Tool},
		{"rules", o.RulesVersion},
	}
	if h.Source == "files" {
		all[3].Name = "judged for Linux"
	}
	return slices.DeleteFunc(all, func(f hostFact) bool { return f.Value == "" })
}

// reason is why rules are undecided, and which.
type reason struct {
	Why   string
	Rules []string
}

// byReason groups undecided rules, the commonest reason first.
func byReason(all []advisor.Undecided) []reason {
	var out []reason
	for _, u := range all {
		why := cmp.Or(u.Why, "for no stated reason")
		i := slices.IndexFunc(out, func(r reason) bool { return r.Why == why })
		if i < 0 {
			i = len(out)
			out = append(out, reason{Why: why})
		}
		out[i].Rules = append(out[i].Rules, u.Rule)
	}
	slices.SortStableFunc(out, func(a, b reason) int { return cmp.Or(len(b.Rules)-len(a.Rules), strings.Compare(a.Why, b.Why)) })
	return out
}
