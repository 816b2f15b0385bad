package report

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// JUnit has no schema of its own: these are the elements and attributes that Jenkins, GitLab and the like agree on.

type junitReport struct {
	XMLName  xml.Name      `xml:"testsuites"`
	Name     string        `xml:"name,attr"`
	Tests    int           `xml:"tests,attr"`
	Failures int           `xml:"failures,attr"`
	Errors   int           `xml:"errors,attr"`
	Skipped  int           `xml:"skipped,attr"`
	Suites   []*junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string           `xml:"name,attr"`
	Tests      int              `xml:"tests,attr"`
	Failures   int              `xml:"failures,attr"`
	Errors     int              `xml:"errors,attr"`
	Skipped    int              `xml:"skipped,attr"`
	Hostname   string           `xml:"hostname,attr,omitempty"`
	Properties *junitProperties `xml:"properties"`
	Cases      []*junitCase     `xml:"testcase"`
}

type junitProperties struct {
	List []junitProperty `xml:"property"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Error   *junitOutcome `xml:"error"`
	Failure *junitOutcome `xml:"failure"`
	Skipped *junitOutcome `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitOutcome struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// junitWriter collects the suites: one for the run and its inputs, one for each area of rules.
type junitWriter struct {
	d      *advisor.Diagnosis
	run    *junitSuite
	areas  map[string]*junitSuite
	titles map[string]int // how often a name was given
}

// writeJUnit writes what build servers show as tests. A finding at or above the gate is a failure, one below it a test that
// passed with an output, what could not be judged is skipped, and what could not be read is an error.
func writeJUnit(w io.Writer, d *advisor.Diagnosis, o Options) error {
	j := &junitWriter{d: d, areas: map[string]*junitSuite{}, titles: map[string]int{}}
	j.run = j.suite("run")
	j.run.Properties = junitRunProperties(d, o)
	j.judged()
	j.inputs()
	for _, f := range d.Findings {
		j.finding(f)
	}
	for _, u := range d.Unknown {
		c := j.add(j.area(u.Rule), u.Rule, "")
		c.Skipped = &junitOutcome{Message: "undecided: " + escape(cmp.Or(u.Why, "for no stated reason"))}
		if len(u.Needs) > 0 {
			c.Skipped.Text = "needs " + escape(strings.Join(u.Needs, ", "))
		}
	}
	all := junitReport{Name: "tcpadvise", Suites: []*junitSuite{j.run}}
	for _, name := range slices.Sorted(maps.Keys(j.areas)) {
		all.Suites = append(all.Suites, j.areas[name])
	}
	all.count()
	var buf bytes.Buffer
	buf.WriteString(xml.Header)
	enc := xml.NewEncoder(&buf)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	buf.WriteByte('\n')
	_, err := w.Write(bytes.ReplaceAll(buf.Bytes(), []byte("&#xA;"), []byte("\n"))) // only texts have line feeds
	return err
}

func (j *junitWriter) suite(name string) *junitSuite {
	return &junitSuite{Name: "tcpadvise." + escape(name), Hostname: escape(j.d.Host.Name)}
}

// area is the suite of a rule.
func (j *junitWriter) area(rule string) *junitSuite {
	name := area(rule)
	if j.areas[name] == nil {
		j.areas[name] = j.suite(name)
	}
	return j.areas[name]
}

// add makes a test case. Servers follow a test from build to build by its name, so that has no line and no number of this
// run; and they merge cases with one name, so a second one gets a number.
func (j *junitWriter) add(s *junitSuite, name, subject string) *junitCase {
	if subject != "" {
		name += " " + subject
	}
	name = escape(name)
	key := s.Name + "\x00" + name
	if j.titles[key]++; j.titles[key] > 1 {
		name = fmt.Sprintf("%s #%d", name, j.titles[key])
	}
	c := &junitCase{Class: s.Name, Name: name}
	s.Cases = append(s.Cases, c)
	return c
}

// judged is the case that says how much was judged: it keeps an empty report from being none, and passes only where
// something was.
func (j *junitWriter) judged() {
	c := j.add(j.run, "rules judged", "")
	text := summaryText(j.d) + "\n" + verdictText(j.d)
	if j.d.Summary.Quiet+firing(j.d) == 0 {
		c.Skipped = &junitOutcome{Message: "no rule was judged", Text: text}
		return
	}
	c.Out = text
}

func (j *junitWriter) inputs() {
	for _, g := range j.d.Gaps {
		c := j.add(j.run, "input", g.Source)
		outcome := &junitOutcome{Message: "could not be read: " + escape(g.Why)}
		if j.d.Summary.Verdict == advisor.VerdictIncomplete {
			outcome.Type = "gap"
			c.Error = outcome
		} else {
			c.Skipped = outcome // the user allows gaps
		}
	}
	for _, x := range j.d.Conflicts {
		j.add(j.run, "disagreement", x.Setting).Skipped = &junitOutcome{
			Message: "no change is proposed: " + escape(x.Why), Text: escape(strings.Join(x.Rules, ", ")),
		}
	}
	for _, g := range j.d.Notices {
		j.add(j.run, "notice", g.Source).Skipped = &junitOutcome{Message: "not read, and not asked for: " + escape(g.Why)}
	}
	if missing := unread(j.d); len(missing) > 0 && j.d.Host.Source != "files" {
		j.add(j.run, "socket counts", "").Skipped = &junitOutcome{Message: "not read: " + strings.Join(missing, ", ")}
	}
}

func (j *junitWriter) finding(f advisor.Finding) {
	where := f.Where()
	c := j.add(j.area(f.Rule), f.Rule, cmp.Or(f.Subject.Key, where.Path))
	c.File, c.Line = escape(where.Path), where.Line
	switch {
	case f.Waived != nil:
		c.Skipped = &junitOutcome{Message: "waived: " + escape(*f.Waived), Text: junitText(f)}
	case gates(j.d, f):
		c.Failure = &junitOutcome{Message: escape(f.Message), Type: f.Severity.String(), Text: junitText(f)}
	case f.Known:
		c.Out = "known to the baseline\n" + junitText(f)
	default:
		c.Out = junitText(f)
	}
}

// junitText is the finding as the text report has it, unwrapped.
func junitText(f advisor.Finding) string {
	p := &printer{limit: -1}
	p.finding(0, f, advisor.Finding{})
	return strings.TrimSuffix(p.buf.String(), "\n")
}

func (r *junitReport) count() {
	for _, s := range r.Suites {
		s.Tests = len(s.Cases)
		for _, c := range s.Cases {
			switch {
			case c.Error != nil:
				s.Errors++
			case c.Failure != nil:
				s.Failures++
			case c.Skipped != nil:
				s.Skipped++
			}
		}
		r.Tests, r.Failures = r.Tests+s.Tests, r.Failures+s.Failures
		r.Errors, r.Skipped = r.Errors+s.Errors, r.Skipped+s.Skipped
	}
}

func junitRunProperties(d *advisor.Diagnosis, o Options) *junitProperties {
	p := &junitProperties{}
	add := func(name string, value any) {
		p.List = append(p.List, junitProperty{name, escape(fmt.Sprint(value))})
	}
	for _, fact := range hostFacts(d.Host, o) {
		add(fact.Name, fact.Value)
	}
	s := d.Summary
	add("verdict", s.Verdict)
	add("fail_on", s.FailOn)
	for _, n := range []struct {
		name  string
		count int
	}{{"quiet", s.Quiet}, {"not_applicable", s.NotApplicable}, {"undecided", s.Unknown}, {"skipped", s.Skipped}} {
		add("rules."+n.name, n.count)
	}
	for _, state := range advisor.SocketStates() {
		if n, ok := d.Sockets[state]; ok {
			add("sockets."+state, n)
		}
	}
	return p
}
