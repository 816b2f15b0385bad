package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// The pages are what `tcpadvise explain` prints and what docs/ holds: the same Markdown in both places.

// RulePage is a rule's full explanation, in the language of lang if the rule speaks it. example is the judgement of its first
// firing test in the same language, nil where there is none.
func RulePage(r *advisor.Rule, example *advisor.Diagnosis, lang string) string {
	var b strings.Builder
	body := r.Body()
	p, text := &printer{}, advisor.Translation{Title: body.Title, Why: body.Why, Unless: body.Unless}
	if lang == "zh" && r.Translated().Zh != nil {
		p.zh, text = chinese(), *r.Translated().Zh
	}
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", r.ID, p.sentence(upperFirst(text.Title)))
	var levels []string
	for _, s := range slices.Backward(body.Severities) {
		levels = append(levels, p.level(s))
	}
	fmt.Fprintf(&b, "%s\n\n", p.say("Severity: %s. What helps: %s. Since rule set %s.", strings.Join(levels, p.say(" or ")), p.helps(body.Remedy), body.Since))
	fmt.Fprintf(&b, "## %s\n\n%s\n\n", p.say("Why"), text.Why)
	fmt.Fprintf(&b, "## %s\n\n", p.say("When it fires"))
	if r.Table != "" {
		fmt.Fprintf(&b, "%s\n\n", p.say("For each row of [%s](%s), if all of these hold:", r.Table, toRoot(r.ID)+"facts.md#"+r.Table))
	}
	for _, c := range body.Conditions {
		fmt.Fprintf(&b, "    %s\n", c)
	}
	fmt.Fprintf(&b, "\n%s\n\n", p.say("It may be ignored when: %s", p.sentence(text.Unless)))
	if len(body.Params) > 0 {
		fmt.Fprintf(&b, "## %s\n\n", p.say("Parameters"))
		for _, param := range body.Params {
			fmt.Fprintf(&b, "* `%s` = %s%s%s\n", param.Name, param.Value, p.say(": "), param.Why)
		}
		b.WriteString("\n")
	}
	if example != nil && len(example.Findings) > 0 {
		fmt.Fprintf(&b, "## %s\n\n", p.say("Example"))
		b.WriteString(p.example(example.Findings[0]))
	}
	if len(body.Explains) > 0 {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", p.say("Explains"), p.say("Where these fire on the same thing they are symptoms of this one: %s.", strings.Join(body.Explains, p.say(", "))))
	}
	fmt.Fprintf(&b, "## %s\n\n", p.say("Sources"))
	for _, ref := range body.Refs {
		fmt.Fprintf(&b, "* %s\n", ref)
	}
	return b.String()
}

func (p *printer) helps(r advisor.Remedy) string {
	switch r {
	case advisor.RemedyKernel:
		return p.say("a kernel setting")
	case advisor.RemedyService:
		return p.say("the configuration of a service")
	}
	return p.say("the program's code; no kernel setting does")
}

// level is a severity as rules and flags write it.
func (p *printer) level(s advisor.Severity) string {
	switch s {
	case advisor.SeverityError:
		return p.say("error")
	case advisor.SeverityWarning:
		return p.say("warning")
	}
	return p.say("info")
}

// sentence ends a text with the language's full stop.
func (p *printer) sentence(s string) string {
	if p.zh != nil {
		return strings.TrimSuffix(s, "。") + "。"
	}
	return strings.TrimSuffix(s, ".") + "."
}

// toRoot is the way from a rule's page to docs/.
func toRoot(id string) string { return strings.Repeat("../", strings.Count(id, "/")+1) }

func upperFirst(s string) string {
	if s == "" || s[0] >= utf8.RuneSelf {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// example shows a finding as the text report words it.
func (p *printer) example(f advisor.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "    %s%s%s\n", p.level(f.Severity), p.say(": "), f.Message)
	for _, e := range f.Evidence {
		fmt.Fprintf(&b, "      %s = %s%s\n", e.What, e.Value, placeText(e.Origin))
	}
	for _, c := range f.Changes {
		safety := c.Safety.String() // as rules write it
		if p.zh != nil {
			safety = p.safety(c.Safety)
		}
		fmt.Fprintf(&b, "      %s\n", p.say("change (%s): %s", safety, p.move(c)))
	}
	for _, s := range f.Do {
		fmt.Fprintf(&b, "      %s\n", p.say("do: %s", s))
	}
	for _, s := range f.Dont {
		fmt.Fprintf(&b, "      %s\n", p.say("not: %s", s))
	}
	return b.String() + "\n"
}

func placeText(o advisor.Origin) string {
	switch {
	case o.Line > 0:
		return fmt.Sprintf("  (%s:%d)", o.Path, o.Line)
	case o.Path != "":
		return "  (" + o.Path + ")"
	}
	return ""
}

func (p *printer) move(c advisor.ProposedChange) string {
	switch {
	case c.Remove:
		return p.say("remove %s", c.Setting)
	case c.From != nil:
		return p.say("%s from %s to %s", c.Setting, c.From, c.To)
	}
	return p.say("%s to %s", c.Setting, c.To)
}

// RuleIndex is docs/rules/README.md: each rule with its title, by area.
func RuleIndex(set *advisor.RuleSet) string {
	var b strings.Builder
	b.WriteString("# Rules\n\nWhat `tcpadvise check` judges. Each page says why, when, and what to do; `tcpadvise explain RULE` prints it.\n")
	area := ""
	for _, r := range set.Rules {
		if a, _, _ := strings.Cut(r.ID, "/"); a != area {
			area = a
			fmt.Fprintf(&b, "\n## %s\n\n", area)
		}
		fmt.Fprintf(&b, "* [%s](%s.md): %s\n", r.ID, r.ID, r.Body().Title)
	}
	return b.String()
}

// ParameterPage is what is known of one kernel parameter, with the rules that propose to change it.
func ParameterPage(p *advisor.Parameter, set *advisor.RuleSet, kernel advisor.Version) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", p.Key, p.Summary)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "* %s: %s\n", name, text)
		}
	}
	if p.MistakenFor != "" {
		line("never existed", "people mean "+p.MistakenFor)
	}
	line("type", parameterType(p))
	for _, n := range slices.Sorted(maps.Keys(p.Values)) {
		line(fmt.Sprintf("value %d", n), p.Values[n])
	}
	for _, bounds := range p.Accepts {
		line("accepted since kernel "+bounds.Since.String(), bounds.String()+", else EINVAL")
	}
	for i, d := range p.Defaults {
		until := ""
		if i+1 < len(p.Defaults) {
			until = " until before " + p.Defaults[i+1].Since.String()
		}
		line("default since "+d.Since.String()+until, defaultText(d))
	}
	line("kernels", lifeText(p))
	line("on kernel "+kernel.String(), statusText(p, kernel))
	line("network namespaces", namespaceText(p))
	line("module", p.Module)
	line("takes effect", p.TakesEffect)
	line("depends on", strings.Join(p.DependsOn, ", "))
	if len(p.Misconception) > 0 {
		b.WriteString("\nWhat people believe, and what is true:\n\n")
		for _, m := range p.Misconception {
			fmt.Fprintf(&b, "* %s\n", m)
		}
	}
	if rules := rulesFor(p.Key, set); len(rules) > 0 {
		b.WriteString("\nJudged by:\n\n")
		for _, r := range rules {
			fmt.Fprintf(&b, "* %s: %s\n", r.ID, r.Body().Title)
		}
	}
	b.WriteString("\nSources:\n\n")
	for _, s := range p.Sources {
		fmt.Fprintf(&b, "* %s\n", s)
	}
	return b.String()
}

func parameterType(p *advisor.Parameter) string {
	t := p.Type.String()
	if p.Elements > 0 {
		t = fmt.Sprintf("%d numbers", p.Elements)
	}
	if p.Unit != "" {
		t += ", " + p.Unit
	}
	if p.ReadOnly {
		t += ", read-only"
	}
	return t
}

func defaultText(d advisor.Default) string {
	text := d.Is.String()
	switch {
	case d.Unknown != "":
		text = d.Unknown
	case d.Computed != nil:
		text = "computed: " + d.About
		if d.About == "" {
			text += strings.Join(d.Computed, ", ")
		}
	case text == "":
		text = "empty"
	}
	if d.Confidence < advisor.ConfidenceHigh {
		text += " (confidence " + d.Confidence.String() + ")"
	}
	return text
}

func lifeText(p *advisor.Parameter) string {
	var parts []string
	if !p.Introduced.IsZero() {
		parts = append(parts, "since "+p.Introduced.String())
	}
	if p.NoEffect != nil {
		parts = append(parts, fmt.Sprintf("without effect since %s: %s", p.NoEffect.Since, p.NoEffect.Because))
	}
	if !p.Removed.IsZero() {
		parts = append(parts, "removed in "+p.Removed.String())
	}
	if p.ReplacedBy != "" {
		parts = append(parts, "use "+p.ReplacedBy)
	}
	if p.Vendor != "" {
		parts = append(parts, "only on "+p.Vendor)
	}
	return strings.Join(parts, "; ")
}

// statusText says in one phrase what the key is on one kernel; empty where no kernel was asked for.
func statusText(p *advisor.Parameter, kernel advisor.Version) string {
	switch {
	case kernel.IsZero() || p.MistakenFor != "":
		return ""
	case !p.Removed.IsZero() && !kernel.Before(p.Removed):
		return "does not exist any more"
	case kernel.Before(p.Introduced):
		return "does not exist yet"
	case p.NoEffect != nil && !kernel.Before(p.NoEffect.Since):
		return "exists and does nothing"
	}
	if d, ok := p.DefaultFor(kernel); ok {
		return "default " + defaultText(d)
	}
	return "exists"
}

func namespaceText(p *advisor.Parameter) string {
	switch {
	case p.Namespaced == "":
		return ""
	case p.Namespaced == "never":
		return "one value for the whole machine"
	case p.Inherits:
		return "a value each since " + p.Namespaced + "; a new one starts with a copy of the initial namespace's"
	}
	return "a value each since " + p.Namespaced + "; a new one starts with the kernel's default, not with the host's value"
}

// rulesFor lists the rules whose conditions or wants name a key.
func rulesFor(key string, set *advisor.RuleSet) []*advisor.Rule {
	var out []*advisor.Rule
	for _, r := range set.Rules {
		if strings.Contains(strings.Join(r.Body().Conditions, "\n")+"\n"+strings.Join(r.Body().Wants, "\n")+"\n", key) {
			out = append(out, r)
		}
	}
	return out
}

// ParameterIndex is docs/sysctls.md: all kernel parameters of the catalogue.
func ParameterIndex(set *advisor.RuleSet) string {
	var b strings.Builder
	b.WriteString("# Kernel parameters\n\nWhat the catalogue knows; `tcpadvise explain KEY` prints one of these. Facts by version are for mainline kernels up to " +
		set.Catalogue.Newest().String() + "; distributions that backport may have a key or a default earlier.\n\n")
	for _, key := range set.Catalogue.Keys() {
		p, _ := set.Catalogue.Lookup(key)
		b.WriteString("#" + ParameterPage(p, set, advisor.Version{}) + "\n")
	}
	return b.String()
}

// FactsPage is docs/facts.md: the vocabulary.
func FactsPage(v *advisor.Vocabulary) string {
	var b strings.Builder
	b.WriteString("# Facts\n\nWhat rules may read. Each reading is known, absent or unknown; see [writing-rules.md](writing-rules.md).\n\n## Scalars\n\n")
	terms(&b, v.Scalars)
	b.WriteString("\n## Families\n\nA member is written `family[\"key\"]`.\n\n")
	terms(&b, v.Families)
	for _, name := range v.Tables() {
		t, _ := v.Table(name)
		fmt.Fprintf(&b, "\n## %s\n\n%s A row is named by %s.\n\n", name, t.Doc, strings.Join(t.Key, ", "))
		terms(&b, t.Columns)
	}
	return b.String()
}

func terms(b *strings.Builder, all advisor.Terms) {
	for _, name := range all.Names() {
		t := all.Term(name)
		unit := ""
		if t.Unit != "" {
			unit = ", " + t.Unit
		}
		fmt.Fprintf(b, "* `%s` (%s%s): %s\n", name, t.Type, unit, t.Doc)
	}
}

// LanguagePage is docs/rule-language.md: the functions of the rule language.
func LanguagePage() string {
	var b strings.Builder
	b.WriteString("# Functions of the rule language\n\nBeside the operators that [writing-rules.md](writing-rules.md) lists there are these. All are pure; an argument " +
		"that is absent or unknown makes the result so.\n\n")
	functions := advisor.Functions()
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		call, text, _ := strings.Cut(functions[name], ": ")
		fmt.Fprintf(&b, "* `%s`: %s\n", call, text)
	}
	return b.String()
}

// TopicPage is the page of a TCP state or a counter, laid out for one screen of a terminal.
func TopicPage(t advisor.Topic) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", t.Name, t.Title)
	for _, s := range t.Sections {
		fmt.Fprintf(&b, "%s\n%s\n", strings.ToUpper(s.Title), strings.TrimRight(s.Text, "\n"))
	}
	if len(t.Keys) > 0 {
		fmt.Fprintln(&b, wrapText("Kernel parameters: "+strings.Join(t.Keys, ", "), 80, ""))
	}
	fmt.Fprintln(&b, wrapText("Sources: "+strings.Join(t.Sources, "; "), 80, ""))
	return b.String()
}

// ForTerminal fills the paragraphs and list items of a Markdown page to a width. Headings stay, and so do indented lines,
// which are examples and conditions.
func ForTerminal(page string, width int) string {
	var b strings.Builder
	var paragraph []string
	flush := func() {
		if paragraph == nil {
			return
		}
		text, hang := strings.Join(paragraph, " "), ""
		if strings.HasPrefix(text, "* ") {
			hang = "  "
		}
		b.WriteString(wrapText(text, width, hang) + "\n")
		paragraph = nil
	}
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "", strings.HasPrefix(line, "#"), strings.HasPrefix(line, "    "):
			flush()
			b.WriteString(line + "\n")
		case strings.HasPrefix(line, "* "):
			flush()
			paragraph = []string{line}
		default:
			paragraph = append(paragraph, line)
		}
	}
	flush()
	return b.String()
}

// wrapText breaks a line at blanks and between East Asian characters so that none is wider than so many columns, where the words
// allow it; further lines begin with hang.
func wrapText(s string, columns int, hang string) string {
	var b strings.Builder
	column := 0
	for i, field := range strings.Fields(s) {
		for j, part := range splitWide(field) {
			blank := ""
			if i > 0 && j == 0 {
				blank = " "
			}
			if size := width(part); column > len(hang) && column+len(blank)+size > columns {
				b.WriteString("\n" + hang + part)
				column = len(hang) + size
			} else {
				b.WriteString(blank + part)
				column += len(blank) + size
			}
		}
	}
	return b.String()
}
