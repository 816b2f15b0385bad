// Package ruletest runs the tests that lie beside rules as AREA/SLUG_test.yaml. It owns the format of those files, which
// docs/writing-rules.md describes; the facts of a case are typed by the vocabulary, so a misspelt fact is an error.
package ruletest

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// Case is one test of one rule.
type Case struct {
	Rule       string
	Path       string
	Line       int
	Name       string
	Kernel     string                   // release; empty: the newest that the catalogue knows
	Params     map[string]advisor.Value // parameters as a user's configuration would set them
	Facts      *advisor.Facts
	Lang       string // of the finding's texts, as advisor.Options has it
	Expect     string // firing, quiet, unknown or not_applicable
	Severity   string // of the first finding; empty: not checked
	Confidence string
	Findings   int      // how many; 0: not checked
	Says       []string // each must stand in the first finding's message
	Want       []string // "SETTING = VALUE (SAFETY)" or "SETTING removed (SAFETY)"; nil: not checked, empty: none
	checksWant bool
}

// Load reads the test file of a rule; a missing file is fs.ErrNotExist.
func Load(dir fs.FS, set *advisor.RuleSet, rule string) ([]Case, error) {
	path := rule + "_test.yaml"
	data, err := fs.ReadFile(dir, path)
	if err != nil {
		return nil, err
	}
	var top yaml.Node
	if err := yaml.Unmarshal(data, &top); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(top.Content) == 0 || top.Content[0].Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("%s: want a list of cases", path)
	}
	var cases []Case
	for _, n := range top.Content[0].Content {
		c, err := decodeCase(set, n)
		if err != nil {
			return nil, fmt.Errorf("%s:%w", path, err)
		}
		c.Rule, c.Path = rule, path
		cases = append(cases, c)
	}
	return cases, nil
}

// at is an error with the node's position in front.
func at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%d:%d: %s", n.Line, n.Column, fmt.Sprintf(format, args...))
}

func decodeCase(set *advisor.RuleSet, n *yaml.Node) (Case, error) {
	c := Case{Line: n.Line}
	var b advisor.Builder
	var facts *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		var err error
		switch k.Value {
		case "name":
			c.Name = v.Value
		case "kernel":
			c.Kernel = v.Value
		case "params":
			err = decodeParams(v, &c)
		case "facts":
			facts = v
		case "expect":
			c.Expect = v.Value
			if !slices.Contains([]string{"firing", "quiet", "unknown", "not_applicable"}, v.Value) {
				err = at(v, "expect is firing, quiet, unknown or not_applicable; found %q", v.Value)
			}
		case "severity":
			c.Severity = v.Value
		case "confidence":
			c.Confidence = v.Value
		case "findings":
			err = v.Decode(&c.Findings)
		case "says":
			err = decodeTexts(v, &c.Says)
		case "want":
			c.checksWant = true
			err = decodeTexts(v, &c.Want)
		default:
			err = at(k, "a case has no field %q", k.Value)
		}
		if err != nil {
			return c, err
		}
	}
	if c.Name == "" || c.Expect == "" {
		return c, at(n, "a case needs name and expect")
	}
	if err := setKernel(set, &c, &b); err != nil {
		return c, at(n, "%v", err)
	}
	if facts != nil {
		if err := decodeFacts(set, facts, &b); err != nil {
			return c, err
		}
	}
	c.Facts = b.Facts()
	return c, nil
}

func decodeParams(n *yaml.Node, c *Case) error {
	c.Params = map[string]advisor.Value{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		v, err := advisor.ParseParam(n.Content[i+1].Value)
		if err != nil {
			return at(n.Content[i+1], "%v", err)
		}
		c.Params[n.Content[i].Value] = v
	}
	return nil
}

func decodeTexts(n *yaml.Node, to *[]string) error {
	if n.Kind == yaml.ScalarNode {
		*to = []string{n.Value}
		return nil
	}
	return n.Decode(to)
}

func setKernel(set *advisor.RuleSet, c *Case, b *advisor.Builder) error {
	v := set.Catalogue.Newest()
	if c.Kernel != "" {
		var err error
		if v, err = advisor.ParseVersion(c.Kernel); err != nil {
			return err
		}
	}
	b.Set("kernel.version", advisor.Known(advisor.Tuple(v[:]...), advisor.Origin{Path: "/proc/sys/kernel/osrelease"}))
	return nil
}

// decodeFacts reads `facts`: scalars, families and tables by name. {unknown: WHY} and {absent: WHY} stand for any of them.
func decodeFacts(set *advisor.RuleSet, n *yaml.Node, b *advisor.Builder) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		var err error
		if t, ok := set.Vocabulary.Scalars.Type(k.Value); ok {
			var f advisor.Fact
			f, err = decodeFact(v, t, advisor.Origin{Source: "test"})
			b.Set(k.Value, f)
		} else if t, ok := set.Vocabulary.Families.Type(k.Value); ok {
			err = decodeFamily(set, k.Value, t, v, b)
		} else if table, ok := set.Vocabulary.Table(k.Value); ok {
			err = decodeTable(table, v, b)
		} else {
			err = at(k, "the vocabulary has no %q", k.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exceptional recognises {unknown: WHY} and {absent: WHY}.
func exceptional(n *yaml.Node, o advisor.Origin) (advisor.Fact, bool) {
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 {
		switch n.Content[0].Value {
		case "unknown":
			return advisor.Unknown(n.Content[1].Value, o), true
		case "absent":
			return advisor.Absent(n.Content[1].Value, o), true
		}
	}
	return advisor.Fact{}, false
}

func decodeFact(n *yaml.Node, t advisor.Type, o advisor.Origin) (advisor.Fact, error) {
	if f, ok := exceptional(n, o); ok {
		return f, nil
	}
	text := n.Value
	if n.Kind == yaml.SequenceNode {
		var parts []string
		for _, item := range n.Content {
			parts = append(parts, item.Value)
		}
		text = strings.Join(parts, " ")
	}
	v, err := advisor.ParseValue(t, text)
	if err != nil {
		return advisor.Fact{}, at(n, "%v", err)
	}
	return advisor.Known(v, o), nil
}

func decodeFamily(set *advisor.RuleSet, family string, typ advisor.Type, n *yaml.Node, b *advisor.Builder) error {
	if f, ok := exceptional(n, advisor.Origin{}); ok {
		b.SetFamily(family, f)
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		t, origin := typ, advisor.Origin{Source: "test"}
		if t == advisor.TypeCatalogue {
			p, ok := set.Catalogue.Lookup(k.Value)
			if !ok {
				return at(k, "the catalogue has no %q", k.Value)
			}
			t, origin = p.Type, advisor.Origin{Path: "/proc/sys/" + strings.ReplaceAll(k.Value, ".", "/")}
			if family == "declared" {
				origin = advisor.Origin{Path: "/etc/sysctl.d/99-tuning.conf", Line: i/2 + 1, Column: len(k.Value) + 4}
			}
		}
		f, err := decodeFact(v, t, origin)
		if err != nil {
			return err
		}
		b.SetMember(family, k.Value, f)
	}
	return nil
}

func decodeTable(term advisor.TableTerm, n *yaml.Node, b *advisor.Builder) error {
	if f, ok := exceptional(n, advisor.Origin{}); ok {
		t := advisor.Table{Unknown: f.Why}
		if f.State == advisor.StateAbsent {
			t = advisor.Table{Absent: f.Why}
		}
		b.SetTable(term.Name, t)
		return nil
	}
	var t advisor.Table
	for _, item := range n.Content {
		row := advisor.Row{Cells: map[string]advisor.Fact{}}
		for i := 0; i+1 < len(item.Content); i += 2 {
			k, v := item.Content[i], item.Content[i+1]
			column, ok := term.Columns.Type(k.Value)
			if !ok {
				return at(k, "table %s has no column %q", term.Name, k.Value)
			}
			f, err := decodeFact(v, column, rowOrigin(item))
			if err != nil {
				return err
			}
			row.Cells[k.Value] = f
		}
		t.Rows = append(t.Rows, row)
	}
	b.SetTable(term.Name, t)
	return nil
}

// rowOrigin is the place that a row itself names by its columns path and line, as the rows of settings do.
func rowOrigin(item *yaml.Node) advisor.Origin {
	o := advisor.Origin{Source: "test"}
	for i := 0; i+1 < len(item.Content); i += 2 {
		switch item.Content[i].Value {
		case "path":
			o.Path, o.Source = item.Content[i+1].Value, ""
		case "line":
			if item.Content[i+1].Decode(&o.Line) == nil {
				o.Column = 1
			}
		}
	}
	return o
}

// Run judges the case and returns what differs from its expectation; empty: it holds.
func (c *Case) Run(set *advisor.RuleSet) []string {
	d := c.Judge(set)
	var faults []string
	if got := verdict(d); got != c.Expect {
		return []string{fmt.Sprintf("expected %s, got %s%s", c.Expect, got, details(d))}
	}
	if c.Expect != "firing" {
		return nil
	}
	first := d.Findings[0]
	check := func(what, want, got string) {
		if want != "" && want != got {
			faults = append(faults, fmt.Sprintf("expected %s %q, got %q", what, want, got))
		}
	}
	check("severity", c.Severity, first.Severity.String())
	check("confidence", c.Confidence, first.Confidence.String())
	if c.Findings != 0 && c.Findings != len(d.Findings) {
		faults = append(faults, fmt.Sprintf("expected %d findings, got %d", c.Findings, len(d.Findings)))
	}
	for _, s := range c.Says {
		if !strings.Contains(first.Message, s) {
			faults = append(faults, fmt.Sprintf("the message lacks %q: %s", s, first.Message))
		}
	}
	if got := Wants(first); c.checksWant && !slices.Equal(got, c.Want) {
		faults = append(faults, fmt.Sprintf("expected want %q, got %q", c.Want, got))
	}
	return faults
}

// Judge evaluates the rule alone on the case's facts.
func (c *Case) Judge(set *advisor.RuleSet) *advisor.Diagnosis {
	kernel := c.Kernel
	if kernel == "" {
		kernel = set.Catalogue.Newest().String()
	}
	return set.With(c.Rule, c.Params).Evaluate(c.Facts, advisor.Options{Only: []string{c.Rule}, Lang: c.Lang, Host: advisor.Host{Kernel: kernel, Source: "test"}})
}

func verdict(d *advisor.Diagnosis) string {
	switch {
	case len(d.Findings) > 0:
		return "firing"
	case d.Summary.Unknown > 0:
		return "unknown"
	case d.Summary.NotApplicable > 0:
		return "not_applicable"
	}
	return "quiet"
}

func details(d *advisor.Diagnosis) string {
	if len(d.Findings) > 0 {
		return ": " + d.Findings[0].Message
	}
	if len(d.Unknown) > 0 {
		return fmt.Sprintf(": needs %v (%s)", d.Unknown[0].Needs, d.Unknown[0].Why)
	}
	return ""
}

// Wants renders a finding's changes as the test files write them.
func Wants(f advisor.Finding) []string {
	out := []string{}
	for _, c := range f.Changes {
		if c.Remove {
			out = append(out, fmt.Sprintf("%s removed (%s)", c.Setting, c.Safety))
		} else {
			out = append(out, fmt.Sprintf("%s = %s (%s)", c.Setting, c.To, c.Safety))
		}
	}
	return out
}
