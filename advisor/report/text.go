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

const (
	defaultWidth = 80
	perRule      = 20  // findings of one rule that are shown; a host with more has one fault, not many
	perGroup     = 8   // names in one list
	valueWidth   = 160 // columns of one value: a reserved port set can be very long
)

// printer writes one text report.
type printer struct {
	buf    bytes.Buffer
	limit  int // columns; negative: none
	colour bool
	zh     map[string]string // nil: English
}

// writeText writes what a person reads from the top: the worst first, each with what to type, then what could not be judged,
// and last the answer, where the eye is when the prompt returns.
func writeText(w io.Writer, d *advisor.Diagnosis, o Options) error {
	p := &printer{limit: cmp.Or(o.Width, defaultWidth), colour: o.Color}
	if o.Lang == "zh" {
		p.zh = chinese()
	}
	shown, below := choose(d.Findings, o.MinSeverity)
	if !o.Quiet {
		p.head(d.Host, o)
	}
	p.findings(shown)
	if !o.Quiet {
		p.waived(d.Findings)
		p.undecided(d.Unknown)
		p.inputs(p.count(len(d.Gaps), "%d input could not be read:", "%d inputs could not be read:"), d.Gaps)
		p.conflicts(d.Conflicts)
		p.inputs(p.say("not read, and not asked for:"), d.Notices)
		p.hints(shown)
		p.summary(d, below, o)
	}
	p.verdict(d, o.Quiet)
	_, err := w.Write(p.buf.Bytes())
	return err
}

// choose returns the findings to show, and how many unwaived ones are below the least severity.
func choose(all []advisor.Finding, least advisor.Severity) (shown []advisor.Finding, below int) {
	for _, f := range all {
		switch {
		case f.Waived != nil:
		case f.Severity < least:
			below++
		default:
			shown = append(shown, f)
		}
	}
	return shown, below
}

// say formats a phrase in the reader's language; the English one is its key.
func (p *printer) say(phrase string, args ...any) string {
	if zh, ok := p.zh[phrase]; ok {
		phrase = zh
	}
	return fmt.Sprintf(phrase, args...)
}

// count is say for a phrase that begins with a number.
func (p *printer) count(n int, one, many string, more ...any) string {
	if n != 1 {
		one = many
	}
	return p.say(one, append([]any{n}, more...)...)
}

func (p *printer) join(parts []string) string { return strings.Join(parts, p.say(", ")) }

// space separates sections.
func (p *printer) space() {
	if p.buf.Len() > 0 {
		p.buf.WriteByte('\n')
	}
}

// line writes a paragraph indented by columns; its further lines hang two deeper.
func (p *printer) line(indent int, words []word) {
	if len(words) == 0 {
		return
	}
	p.buf.WriteString(strings.Repeat(" ", indent))
	p.fill(indent, indent+2, words)
}

// block writes a paragraph that does not hang.
func (p *printer) block(indent int, words []word) {
	if len(words) == 0 {
		return
	}
	p.buf.WriteString(strings.Repeat(" ", indent))
	p.fill(indent, indent, words)
}

// item writes a labelled paragraph that hangs under its text.
func (p *printer) item(indent int, label string, s style, words []word) {
	const labels = 8 // the widest label and a blank, in each language
	if len(words) == 0 {
		return
	}
	column := indent + labels
	p.buf.WriteString(strings.Repeat(" ", indent) + s.paint(p.colour, label) + strings.Repeat(" ", max(1, labels-width(label))))
	p.fill(column, column, words)
}

func (p *printer) head(h advisor.Host, o Options) {
	var parts []string
	if h.Source != "files" {
		parts = append(parts, cmp.Or(h.Name, p.say("a host without a name")))
	}
	switch h.Source {
	case "files":
		parts = append(parts, p.say("files alone"))
	case "capture":
		parts = append(parts, p.say("from a capture"))
	case "root":
		parts = append(parts, p.say("from another root"))
	case "live":
		parts = append(parts, p.say("live"))
	}
	if h.Netns != "" {
		parts = append(parts, p.say("network namespace %s", h.Netns))
	}
	if h.Kernel != "" && h.Source == "files" {
		parts = append(parts, p.say("judged for Linux %s", h.Kernel))
	} else if h.Kernel != "" {
		parts = append(parts, "Linux "+h.Kernel)
	}
	if h.OS != "" {
		parts = append(parts, h.OS)
	}
	p.line(0, prose(p.join(parts)))
	var versions []string
	if o.Tool != "" {
		versions = append(versions, "tcpadvise "+o.Tool)
	}
	if o.RulesVersion != "" {
		versions = append(versions, p.say("rules %s", o.RulesVersion))
	}
	if len(versions) > 0 {
		p.line(0, styled(isFaint, prose(p.join(versions))...))
	}
}

func (p *printer) waived(all []advisor.Finding) {
	var waived []advisor.Finding
	for _, f := range all {
		if f.Waived != nil {
			waived = append(waived, f)
		}
	}
	if len(waived) == 0 {
		return
	}
	p.space()
	p.line(0, prose(p.count(len(waived), "%d finding is waived:", "%d findings are waived:")))
	for _, f := range waived[:min(len(waived), perRule)] {
		words := []word{whole(f.Rule)}
		if at := cmp.Or(place(f.Where()), f.Subject.Key); at != "" {
			words = append(words, whole(at))
		}
		p.line(2, append(tail(words, p.say(":")), prose(*f.Waived)...))
	}
	p.more(2, len(waived)-perRule)
}

// more says how many lines of a list were left out.
func (p *printer) more(indent, n int) {
	if n > 0 {
		p.line(indent, prose(p.count(n, "and %d more: --format json lists it", "and %d more: --format json lists them")))
	}
}

// undecided groups rules by the reason, the commonest first: one "run as root" often answers for most of them.
func (p *printer) undecided(all []advisor.Undecided) {
	groups := map[string][]string{}
	var reasons []string
	for _, u := range all {
		if groups[u.Why] == nil {
			reasons = append(reasons, u.Why)
		}
		groups[u.Why] = append(groups[u.Why], u.Rule)
	}
	slices.SortStableFunc(reasons, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(groups[b]), len(groups[a])), strings.Compare(a, b))
	})
	if len(all) > 0 {
		p.space()
	}
	rest := len(all)
	for _, why := range reasons[:min(len(reasons), perGroup)] {
		rules := groups[why]
		rest -= len(rules)
		p.line(0, prose(p.count(len(rules), "%d rule undecided (%s):", "%d rules undecided (%s):", cmp.Or(why, p.say("for no stated reason")))))
		p.block(2, p.names(rules))
	}
	p.more(0, rest)
}

// names lists rules; the first few of many.
func (p *printer) names(all []string) []word {
	var words []word
	for i, name := range all {
		if i == perGroup && len(all) > perGroup+1 {
			return append(words, prose(p.count(len(all)-i, "and %d more", "and %d more"))...)
		}
		if words = append(words, whole(name)); i < len(all)-1 {
			words = tail(words, p.say(","))
		}
	}
	return words
}

// inputs lists what was not read, under a heading.
func (p *printer) inputs(heading string, all []advisor.Gap) {
	if len(all) == 0 {
		return
	}
	p.space()
	p.line(0, prose(heading))
	for _, g := range all[:min(len(all), perRule)] {
		p.line(2, append([]word{whole(g.Source + p.say(":"))}, prose(g.Why)...))
	}
	p.more(2, len(all)-perRule)
}

func (p *printer) conflicts(all []advisor.Conflict) {
	if len(all) == 0 {
		return
	}
	p.space()
	p.line(0, prose(p.count(len(all), "findings disagree on %d setting; no change is proposed:", "findings disagree on %d settings; no change is proposed:")))
	for _, c := range all {
		words := append([]word{whole(strings.TrimPrefix(c.Setting, "sysctl:") + p.say(":"))}, prose(c.Why)...)
		p.line(2, append(words, parenthesised(p.names(c.Rules))...))
	}
}

// hints tell once what to type next.
func (p *printer) hints(shown []advisor.Finding) {
	if len(shown) == 0 {
		return
	}
	p.space()
	p.line(0, styled(isFaint, append(prose(p.say("reasons and exceptions:")), whole("tcpadvise explain RULE"))...))
}
