package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/report"
	"github.com/tcpadvise/tcpadvise/rules"
)

// TestNothingLooksClean: whatever was not read, not decided or waived changes the bytes of each format.
func TestNothingLooksClean(t *testing.T) {
	for what, change := range map[string]func(*advisor.Diagnosis){
		"a gap": func(d *advisor.Diagnosis) {
			d.Gaps, d.Summary.Verdict = []advisor.Gap{{Source: "a", Why: "b"}}, advisor.VerdictIncomplete
		},
		"a gap that is allowed": func(d *advisor.Diagnosis) { d.Gaps = []advisor.Gap{{Source: "a", Why: "b"}} },
		"a notice":              func(d *advisor.Diagnosis) { d.Notices = []advisor.Gap{{Source: "a", Why: "b", Notice: true}} },
		"an undecided rule": func(d *advisor.Diagnosis) {
			d.Unknown, d.Summary.Unknown = []advisor.Undecided{{Rule: "a/b", Why: "c"}}, 1
		},
		"a conflict": func(d *advisor.Diagnosis) {
			d.Conflicts = []advisor.Conflict{{Setting: "a", Rules: []string{"b"}, Why: "c"}}
		},
		"a waived finding":    func(d *advisor.Diagnosis) { d.Findings, d.Summary.Waived = []advisor.Finding{waivedFinding()}, 1 },
		"a skipped rule":      func(d *advisor.Diagnosis) { d.Summary.Skipped = 1 },
		"sockets not counted": func(d *advisor.Diagnosis) { delete(d.Sockets, "close_wait") },
	} {
		for _, format := range report.Formats() {
			if format == "text" && what == "sockets not counted" {
				continue // it shows no count
			}
			d := diagnoses()["healthy"]
			before := write(t, format, d, report.Options{})
			change(d)
			if write(t, format, d, report.Options{}) == before {
				t.Errorf("%s looks the same with %s", format, what)
			}
		}
	}
}

// TestSameBytes: maps and clocks do not show.
func TestSameBytes(t *testing.T) {
	for _, format := range report.Formats() {
		for name := range diagnoses() {
			first := write(t, format, diagnoses()[name], report.Options{Tool: "1"})
			for range 5 {
				if write(t, format, diagnoses()[name], report.Options{Tool: "1"}) != first {
					t.Errorf("%s of %s differs from run to run", format, name)
				}
			}
			if !strings.HasSuffix(first, "\n") || strings.HasSuffix(first, "\n\n") {
				t.Errorf("%s of %s ends with %q", format, name, first[max(0, len(first)-5):])
			}
		}
	}
}

// TestSocketCounts: what was not read is no zero.
func TestSocketCounts(t *testing.T) {
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	if d := set.Evaluate((&advisor.Builder{}).Facts(), advisor.Options{Only: []string{"unsafe/*"}}); d.Sockets != nil {
		t.Errorf("files alone have sockets: %v", d.Sockets)
	}
	var b advisor.Builder
	b.Set("tcp.close_wait", advisor.Known(advisor.Int(0), sockDiag))
	b.Set("tcp.syn_recv", advisor.Unknown("refused", sockDiag))
	d := set.Evaluate(b.Facts(), advisor.Options{Only: []string{"unsafe/*"}})
	if n, ok := d.Sockets["close_wait"]; len(d.Sockets) != 1 || !ok || n != 0 {
		t.Errorf("got %v", d.Sockets)
	}
	for _, state := range advisor.SocketStates() {
		if !slices.Contains(set.Vocabulary.Scalars.Names(), "tcp."+state) {
			t.Errorf("no fact is called tcp.%s", state)
		}
	}
}

func sarifRules(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile("testdata/sarif-2.1.0-subset.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("sarif.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("sarif.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSARIF(t *testing.T) {
	schema := sarifRules(t)
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range diagnoses() {
		for _, o := range []report.Options{{}, {Tool: "0.1.0", RulesVersion: "0.1.0", Rules: set}} {
			out := write(t, "sarif", d, o)
			if err := schema.Validate(instance(t, out)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			sarifReferences(t, name, out, d)
		}
	}
	base := write(t, "sarif", busy(), report.Options{})
	for _, c := range []struct{ old, new string }{
		{`"version": "2.1.0"`, `"version": "2.0.0"`},
		{`"level": "error"`, `"level": "info"`},
		{`"startLine": 4`, `"startLine": 0`},
		{`"uri": "etc/`, `"uri": "/etc/`},
		{`"executionSuccessful": true`, `"executionSuccessful": 1`},
	} {
		broken := strings.Replace(base, c.old, c.new, 1)
		if broken == base || schema.Validate(instance(t, broken)) == nil {
			t.Errorf("the schema accepts %s for %s", c.new, c.old)
		}
	}
}

// sarifReferences checks what no schema can: each number points at what it names, and each finding and silence is there.
func sarifReferences(t *testing.T, name, out string, d *advisor.Diagnosis) {
	t.Helper()
	type reference struct {
		ID    string
		Index int
	}
	var log struct {
		Runs []struct {
			Tool struct {
				Driver struct{ Rules, Notifications []struct{ ID string } }
			}
			Invocations []struct {
				ExecutionSuccessful        bool
				ToolExecutionNotifications []struct {
					Descriptor     reference
					AssociatedRule *reference
				}
			}
			Results []struct {
				RuleID    string
				RuleIndex int
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &log); err != nil || len(log.Runs) != 1 || len(log.Runs[0].Invocations) != 1 {
		t.Fatal(name, err)
	}
	run := log.Runs[0]
	driver, invocation := run.Tool.Driver, run.Invocations[0]
	for _, r := range run.Results {
		if driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("%s: rule %d is not %s", name, r.RuleIndex, r.RuleID)
		}
	}
	for _, n := range invocation.ToolExecutionNotifications {
		if driver.Notifications[n.Descriptor.Index].ID != n.Descriptor.ID || n.AssociatedRule != nil && driver.Rules[n.AssociatedRule.Index].ID != n.AssociatedRule.ID {
			t.Errorf("%s: a notification points elsewhere: %+v", name, n)
		}
	}
	silences := len(d.Gaps) + len(d.Unknown) + len(d.Conflicts) + len(d.Notices)
	if len(run.Results) != len(d.Findings) || len(invocation.ToolExecutionNotifications) != silences {
		t.Errorf("%s: %d results of %d, %d notifications of %d", name, len(run.Results), len(d.Findings), len(invocation.ToolExecutionNotifications), silences)
	}
	if invocation.ExecutionSuccessful != (d.Summary.Verdict != advisor.VerdictIncomplete) {
		t.Errorf("%s: executionSuccessful is %v", name, invocation.ExecutionSuccessful)
	}
}

// TestSARIFFix: a fix needs the value's bytes, and no other finding that objects.
func TestSARIFFix(t *testing.T) {
	fixed := func(change func(*advisor.Diagnosis)) int {
		d := busy()
		d.Findings = d.Findings[2:3]
		change(d)
		return strings.Count(write(t, "sarif", d, report.Options{}), `"fixes"`)
	}
	if n := fixed(func(*advisor.Diagnosis) {}); n != 1 {
		t.Errorf("%d fixes", n)
	}
	for what, change := range map[string]func(*advisor.Diagnosis){
		"in conflict":  func(d *advisor.Diagnosis) { d.Conflicts = []advisor.Conflict{{Setting: "sysctl:net.core.somaxconn"}} },
		"bytes":        func(d *advisor.Diagnosis) { d.Findings[0].Evidence[2].Origin.End = 0 },
		"other bytes":  func(d *advisor.Diagnosis) { d.Findings[0].Evidence[2].Origin.End++ },
		"other value":  func(d *advisor.Diagnosis) { d.Findings[0].Evidence[2].Value = advisor.Int(129) },
		"by hand":      func(d *advisor.Diagnosis) { d.Findings[0].Changes[0].Safety = advisor.SafetyManual },
		"unknown from": func(d *advisor.Diagnosis) { d.Findings[0].Changes[0].From = nil },
	} {
		if n := fixed(change); n != 0 {
			t.Errorf("%s: %d fixes", what, n)
		}
	}
}

type junitCounts struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
}

type junitSuite struct {
	junitCounts
	Name  string `xml:"name,attr"`
	Cases []struct {
		Class   string    `xml:"classname,attr"`
		Name    string    `xml:"name,attr"`
		Error   *struct{} `xml:"error"`
		Failure *struct{} `xml:"failure"`
		Skipped *struct{} `xml:"skipped"`
	} `xml:"testcase"`
}

// TestJUnit parses the reports back: the counts are those of the cases, and the names are unique.
func TestJUnit(t *testing.T) {
	for name, d := range diagnoses() {
		var doc struct {
			XMLName xml.Name `xml:"testsuites"`
			junitCounts
			Suites []junitSuite `xml:"testsuite"`
		}
		if err := xml.Unmarshal([]byte(write(t, "junit", d, report.Options{})), &doc); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var sum junitCounts
		for _, s := range doc.Suites {
			if got := countCases(t, s); got != s.junitCounts {
				t.Errorf("%s: %s says %+v and has %+v", name, s.Name, s.junitCounts, got)
			}
			sum = junitCounts{sum.Tests + s.Tests, sum.Failures + s.Failures, sum.Errors + s.Errors, sum.Skipped + s.Skipped}
		}
		if sum != doc.junitCounts || sum.Tests == 0 {
			t.Errorf("%s: says %+v and has %+v", name, doc.junitCounts, sum)
		}
		if red := sum.Failures+sum.Errors > 0; red != (d.Summary.Verdict != advisor.VerdictPass) {
			t.Errorf("%s: %+v does not fit the verdict %s", name, sum, d.Summary.Verdict)
		}
	}
}

func countCases(t *testing.T, s junitSuite) junitCounts {
	t.Helper()
	seen := map[string]bool{}
	n := junitCounts{Tests: len(s.Cases)}
	for _, c := range s.Cases {
		if seen[c.Name] || c.Class != s.Name {
			t.Errorf("%s: %s stands there twice, or in the class %s", s.Name, c.Name, c.Class)
		}
		seen[c.Name] = true
		switch {
		case c.Error != nil:
			n.Errors++
		case c.Failure != nil:
			n.Failures++
		case c.Skipped != nil:
			n.Skipped++
		}
	}
	return n
}

// TestPrometheus reads the text format strictly: each family once, in order, with HELP and TYPE before its samples, samples
// unique and sorted, names and labels as the format allows them.
func TestPrometheus(t *testing.T) {
	head := regexp.MustCompile(`^# HELP (tcpadvise_[a-z_]+) [^\\]+$`)
	sample := regexp.MustCompile(`^(tcpadvise_[a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+\})? (\d+)$`)
	for name, d := range diagnoses() {
		values := map[string]string{}
		family, last := "", ""
		lines := strings.Split(strings.TrimSuffix(write(t, "prometheus", d, report.Options{}), "\n"), "\n")
		for i := 0; i < len(lines); i++ {
			if m := head.FindStringSubmatch(lines[i]); m != nil {
				if m[1] <= family || i+1 == len(lines) || lines[i+1] != "# TYPE "+m[1]+" gauge" {
					t.Fatalf("%s: family %s", name, m[1])
				}
				family, last = m[1], ""
				i++
				continue
			}
			m := sample.FindStringSubmatch(lines[i])
			if m == nil || m[1] != family || last != "" && m[2] <= last || strings.HasSuffix(m[2], ",}") {
				t.Fatalf("%s: bad line %q", name, lines[i])
			}
			last = m[2]
			values[m[1]+m[2]] = m[3]
		}
		for key, want := range map[string]int{
			`tcpadvise_gaps`: len(d.Gaps), fmt.Sprintf(`tcpadvise_verdict{verdict=%q}`, d.Summary.Verdict): 1,
			`tcpadvise_findings_by_severity{severity="error"}`: d.Summary.Error, `tcpadvise_findings_by_severity{severity="warning"}`: d.Summary.Warning,
			`tcpadvise_rules{verdict="undecided"}`: d.Summary.Unknown, `tcpadvise_sockets_uncounted`: len(advisor.SocketStates()) - len(d.Sockets),
		} {
			if values[key] != strconv.Itoa(want) {
				t.Errorf("%s: %s is %q, want %d", name, key, values[key], want)
			}
		}
	}
}

// TestMarkdown takes the code out of each line: what is left has no character of markup but our own.
func TestMarkdown(t *testing.T) {
	ours := regexp.MustCompile(`^(#{1,6} |\* |\*\*[A-Z][a-z]+\*\*$|\*[^*]+\*$)`)
	for name, d := range diagnoses() {
		for line := range strings.Lines(write(t, "markdown", d, report.Options{})) {
			line = strings.TrimSuffix(line, "\n")
			rest := withoutCode(t, line)
			if strings.HasPrefix(rest, "|") {
				if strings.Trim(rest, "|-: 0123456789abcdefghijklmnopqrstuvwxyz") != "" {
					t.Errorf("%s: table row %q", name, line)
				}
				continue
			}
			if m := ours.FindString(rest); strings.HasPrefix(m, "#") || m == "* " {
				rest = strings.TrimPrefix(rest, m)
			} else {
				rest = strings.Trim(rest, "*")
			}
			rest = regexp.MustCompile(`^\d+\\[.)] ?`).ReplaceAllString(rest, "")
			if strings.ContainsAny(rest, "`*_[]<>#|@\\~!$&{}=+/") || regexp.MustCompile(`^(\s|-|\d+[.)]|GH-)|www\.|://`).MatchString(rest) {
				t.Errorf("%s: %q leaves %q", name, line, rest)
			}
		}
	}
}

// withoutCode removes code spans as CommonMark finds them: a run of backticks closes at the next run of the same length.
func withoutCode(t *testing.T, line string) string {
	t.Helper()
	runs := regexp.MustCompile("`+")
	var b strings.Builder
	for {
		open := runs.FindStringIndex(line)
		if open == nil {
			return b.String() + line
		}
		b.WriteString(line[:open[0]])
		fence, rest := line[open[0]:open[1]], line[open[1]:]
		end := slices.IndexFunc(runs.FindAllStringIndex(rest, -1), func(r []int) bool { return r[1]-r[0] == len(fence) })
		if end < 0 {
			t.Fatalf("code is not closed in %q", line)
		}
		b.WriteString("x")
		line = rest[runs.FindAllStringIndex(rest, -1)[end][1]:]
	}
}
