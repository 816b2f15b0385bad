package advisor

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Config is what a user's configuration file says. The zero Config changes nothing.
type Config struct {
	Waivers    []Waiver
	Severities map[string]Severity         // by rule ID
	Params     map[string]map[string]Value // by rule ID and parameter
	RuleDirs   []string                    // further rule directories

	path  string
	nodes map[string]*yaml.Node // where rules are named, for Configure
}

// Waiver keeps findings from counting.
type Waiver struct {
	Rule    string // rule ID, with * for a part
	Subject string // subject key, with * for a part; empty: each
	Host    string // host name, with * for a part; empty: each
	Reason  string // never empty
	Until   string // last day on which it holds, YYYY-MM-DD; empty: for ever
	Place   string // file and line, for messages
}

// LoadConfig decodes a configuration file strictly: unknown fields, missing reasons and bad dates are LoadErrors.
func LoadConfig(path string, data []byte) (*Config, error) {
	var errs LoadErrors
	d := &doc{path: path, errs: &errs}
	c := &Config{path: path, Severities: map[string]Severity{}, Params: map[string]map[string]Value{}, nodes: map[string]*yaml.Node{}}
	if !saysAnything(data) {
		return c, nil // an example whose lines are all commented out configures nothing
	}
	if top := d.parse(data); top != nil {
		d.fields(top, "the configuration", map[string]func(*yaml.Node){
			"waivers": func(n *yaml.Node) {
				for _, item := range d.sequence(n) {
					c.Waivers = append(c.Waivers, d.waiver(item, c))
				}
			},
			"severity": func(n *yaml.Node) {
				d.mapping(n, "severity", func(rule string, k, v *yaml.Node) {
					c.nodes[rule] = k
					c.Severities[rule] = oneOf(d, v, severityNames)
				})
			},
			"params": func(n *yaml.Node) {
				d.mapping(n, "params", func(rule string, k, v *yaml.Node) {
					c.nodes[rule] = k
					c.Params[rule] = d.paramValues(v, rule, c)
				})
			},
			"rules": func(n *yaml.Node) { c.RuleDirs = d.texts(n) },
		})
	}
	return c, errs.sorted()
}

// saysAnything reports whether a YAML file holds more than blank lines and comments.
func saysAnything(data []byte) bool {
	for line := range bytes.Lines(data) {
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' {
			return true
		}
	}
	return false
}

// sequence returns the elements of a list.
func (d *doc) sequence(n *yaml.Node) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "want a list here")
		return nil
	}
	return d.items(n)
}

func (d *doc) waiver(n *yaml.Node, c *Config) Waiver {
	w := Waiver{Place: fmt.Sprintf("%s:%d", d.path, n.Line)}
	d.fields(n, "a waiver", map[string]func(*yaml.Node){
		"rule":    func(n *yaml.Node) { w.Rule = d.text(n); c.nodes[w.Rule] = n },
		"subject": func(n *yaml.Node) { w.Subject = d.text(n) },
		"host":    func(n *yaml.Node) { w.Host = d.text(n) },
		"reason":  func(n *yaml.Node) { w.Reason = strings.TrimSpace(d.text(n)) },
		"until": func(n *yaml.Node) {
			w.Until = n.Value
			if _, err := time.Parse(time.DateOnly, n.Value); err != nil {
				d.fail(n, "until is a day such as 2027-01-31; found %q", n.Value)
			}
		},
	})
	if n.Kind == yaml.MappingNode && (w.Rule == "" || w.Reason == "") {
		d.fail(n, "a waiver needs a rule and a reason")
	}
	return w
}

func (d *doc) paramValues(n *yaml.Node, rule string, c *Config) map[string]Value {
	out := map[string]Value{}
	d.mapping(n, "params of "+rule, func(name string, k, v *yaml.Node) {
		value, fault := parseParam(v)
		if fault != "" {
			d.fail(v, "%s", fault)
		}
		c.nodes[rule+"."+name] = k
		out[name] = value
	})
	return out
}

// Configure makes the set follow a configuration: severities and parameters of its rules. Rules and parameters that do not
// exist are LoadErrors. Waivers are applied by Finish, from Options.Config.
func (s *RuleSet) Configure(c *Config) error {
	var errs LoadErrors
	d := &doc{path: c.path, errs: &errs}
	for _, w := range c.Waivers {
		if !slices.ContainsFunc(s.IDs(), func(id string) bool { return MatchID(w.Rule, id) }) {
			d.fail(c.nodes[w.Rule], "no rule is called %q%s", w.Rule, didYouMean(w.Rule, s.IDs()))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.Severities)) {
		if s.Rule(id) == nil {
			d.fail(c.nodes[id], "no rule is called %q%s", id, didYouMean(id, s.IDs()))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.Params)) {
		r := s.Rule(id)
		if r == nil {
			d.fail(c.nodes[id], "no rule is called %q%s", id, didYouMean(id, s.IDs()))
			continue
		}
		s.checkParams(d, c, r)
		if r.remake != nil {
			*r = *r.remake(c.Params[id])
		}
	}
	s.config = c
	return errs.sorted()
}

func (s *RuleSet) checkParams(d *doc, c *Config, r *Rule) {
	known := map[string]Param{}
	for _, p := range r.Body().Params {
		known[p.Name] = p
	}
	for _, name := range slices.Sorted(maps.Keys(c.Params[r.ID])) {
		p, ok := known[name]
		switch value := c.Params[r.ID][name]; {
		case !ok:
			d.fail(c.nodes[r.ID+"."+name], "%s has no parameter %q%s", r.ID, name, didYouMean(name, slices.Sorted(maps.Keys(known))))
		case value.Kind() != p.Value.Kind():
			d.fail(c.nodes[r.ID+"."+name], "%s of %s is of kind %s, such as %s", name, r.ID, p.Value.Kind(), p.Value)
		}
	}
}

// waive marks the findings that waivers keep from counting, and says which waivers have run out or matched nothing.
func (d *Diagnosis) waive(o Options) {
	if o.Config == nil {
		return
	}
	for _, w := range o.Config.Waivers {
		expired := w.Until != "" && !o.Now.IsZero() && o.Now.Format(time.DateOnly) > w.Until
		matched := false
		for i := range d.Findings {
			if f := &d.Findings[i]; w.matches(f, o.Host) {
				matched = true
				if !expired && f.Waived == nil {
					f.Waived = &w.Reason
				}
			}
		}
		if matched {
			d.waiversUsed = append(d.waiversUsed, w.Place)
		}
		switch {
		case expired && matched:
			d.notice(w.Place, fmt.Sprintf("the waiver of %s ran out on %s: what it kept quiet counts again", w.Rule, w.Until))
		case !matched && d.hostMatches(w, o.Host):
			d.waiversUnused = append(d.waiversUnused, w.Place)
			d.notice(w.Place, fmt.Sprintf("the waiver of %s matched nothing: remove it", w.Rule))
		}
	}
}

func (d *Diagnosis) notice(source, why string) {
	d.waiverNotices = append(d.waiverNotices, Gap{Source: source, Why: why, Notice: true})
}

// WaiverNotices are the waivers that ran out while they kept something quiet, and those that matched nothing, with where each
// stands. They are among the Notices too.
func (d *Diagnosis) WaiverNotices() []Gap { return slices.Clone(d.waiverNotices) }

// hostMatches keeps the waivers for other hosts from being called useless here.
func (d *Diagnosis) hostMatches(w Waiver, host Host) bool {
	return w.Host == "" || MatchID(w.Host, host.Name)
}

func (w Waiver) matches(f *Finding, host Host) bool {
	return MatchID(w.Rule, f.Rule) && (w.Subject == "" || MatchID(w.Subject, f.Subject.Key)) && (w.Host == "" || MatchID(w.Host, host.Name))
}

// waiveInline marks the findings on a setting above which its file says so (table inline_waivers). One without a reason
// counts for nothing and is returned as a fault of the configuration.
func (d *Diagnosis) waiveInline(facts *Facts, rules []string) (faults LoadErrors) {
	for _, row := range facts.table("inline_waivers").bound() {
		text := func(column string) string { return row.known(column).text }
		line, rule, reason := int(row.known("line").num), text("rule"), text("reason")
		fault := func(format string, args ...any) {
			faults = append(faults, LoadError{Path: text("path"), Line: line, Column: 1, Message: fmt.Sprintf(format, args...)})
		}
		switch {
		case !slices.ContainsFunc(rules, func(id string) bool { return MatchID(rule, id) }):
			fault("tcpadvise:ignore names no rule %q%s", rule, didYouMean(rule, rules))
			continue
		case reason == "":
			fault("tcpadvise:ignore %s needs a reason after the rule", rule)
			continue
		}
		for i := range d.Findings {
			f := &d.Findings[i]
			if w := f.Where(); MatchID(rule, f.Rule) && f.Waived == nil && w.Path == text("path") && w.Line == line+1 {
				f.Waived = &reason
			}
		}
	}
	return faults
}
