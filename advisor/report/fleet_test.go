package report_test

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
	"golang.org/x/tools/txtar"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/report"
	"github.com/tcpadvise/tcpadvise/rules"
)

// fleets are the reports that each format is tried on, by the name of their golden file.
func fleets(t *testing.T) map[string]*advisor.FleetReport {
	t.Helper()
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	fold := func(o advisor.Options, unread map[string]string, hosts ...*advisor.Diagnosis) *advisor.FleetReport {
		fleet := advisor.NewFleet(set, o)
		for file, why := range unread {
			fleet.Unread(file, why)
		}
		for i, d := range hosts {
			var b advisor.Builder
			b.Set("kernel.version", advisor.Known(advisor.Tuple(6, 1, 0), advisor.Origin{}))
			b.SetMember("sysctl", "net.ipv4.tcp_sack", advisor.Known(advisor.Int(int64(min(i, 1))), advisor.Origin{}))
			b.SetMember("sysctl", "net.ipv4.tcp_congestion_control", advisor.Known(advisor.Text(d.Host.OS), advisor.Origin{}))
			fleet.Add(fmt.Sprintf("captures/%02d", i), d, b.Facts())
		}
		return fleet.Report()
	}
	all := diagnoses()
	var alike []*advisor.Diagnosis
	for i := range 40 {
		d := *all[[]string{"healthy", "bad-night", "waived-only"}[min(i%8, 2)]]
		d.Host.Name = fmt.Sprintf("web%02d", i)
		alike = append(alike, &d)
	}
	gate := advisor.Options{FailOn: advisor.SeverityWarning}
	broken := map[string]string{"captures/db1": "cut short: copy it again", "captures/db2": "no such file or directory"}
	return map[string]*advisor.FleetReport{
		"mixed": fold(gate, broken, all["bad-night"], all["busy"], all["gaps"], all["not-root"], all["many-alike"]),
		"alike": fold(gate, nil, alike...),
		"hostile": fold(gate, map[string]string{"a\x1b]0;x\x07": "b\u202e<script>"},
			all["hostile"], all["markup"]),
		"unread":  fold(gate, broken),
		"healthy": fold(gate, nil, all["healthy"]),
		"never":   fold(advisor.Options{}, nil, all["healthy"], all["nothing"]),
	}
}

func writeFleet(t *testing.T, format string, r *advisor.FleetReport, o report.Options) string {
	t.Helper()
	var buf bytes.Buffer
	if err := report.WriteFleet(&buf, format, r, o); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// TestFleetGolden walks all formats over all fleets.
func TestFleetGolden(t *testing.T) {
	for name, r := range fleets(t) {
		t.Run(name, func(t *testing.T) {
			got := &txtar.Archive{}
			o := report.Options{Tool: "0.1.0", RulesVersion: "0.1.0"}
			looks := map[string]report.Options{"": o}
			if name == "mixed" || name == "alike" {
				looks["quiet"], looks["errors only"], looks["Chinese"], looks["colour"] = o, o, o, o
				for look, change := range map[string]func(*report.Options){
					"quiet":       func(o *report.Options) { o.Quiet = true },
					"errors only": func(o *report.Options) { o.MinSeverity = advisor.SeverityError },
					"Chinese":     func(o *report.Options) { o.Lang = "zh" },
					"colour":      func(o *report.Options) { o.Color = true },
				} {
					o := o
					change(&o)
					looks[look] = o
				}
			}
			for _, format := range report.FleetFormats() {
				for _, look := range slices.Sorted(maps.Keys(looks)) {
					if look != "" && format != "text" {
						continue
					}
					data := unstyled(t, strings.ReplaceAll(writeFleet(t, format, r, looks[look]), "\x1b", "␛"))
					got.Files = append(got.Files, txtar.File{Name: strings.TrimSuffix(format+", "+look, ", "), Data: []byte(data)})
				}
			}
			compare(t, filepath.Join("testdata", "fleet", name+".txtar"), txtar.Format(got))
		})
	}
}

// TestFleetSafeBytes: what was planted on a host, or in a file's name, reaches no terminal and no browser.
func TestFleetSafeBytes(t *testing.T) {
	for name, r := range fleets(t) {
		for _, format := range report.FleetFormats() {
			out := writeFleet(t, format, r, report.Options{})
			if bad := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); bad >= 0 || !utf8.ValidString(out) {
				t.Errorf("%s of %s holds %q", format, name, out[max(bad, 0):])
			}
		}
	}
}

// TestFleetSaysAll: no format leaves out a rule, a host, or what was not read. The text may count hosts where they are many.
func TestFleetSaysAll(t *testing.T) {
	for name, r := range fleets(t) {
		if name == "hostile" {
			continue // the same, escaped
		}
		for _, format := range report.FleetFormats() {
			out := squeezed(writeFleet(t, format, r, report.Options{Width: -1}))
			switch format {
			case "json":
				out = strings.ReplaceAll(out, `\"`, `"`)
			case "html":
				out = html.UnescapeString(squeezed(tagForm.ReplaceAllString(writeFleet(t, format, r, report.Options{}), "")))
			}
			has := func(what string) {
				t.Helper()
				if !strings.Contains(out, squeezed(what)) {
					t.Errorf("%s of %s: %q is missing", format, name, what)
				}
			}
			for _, f := range r.Findings {
				has(f.Rule)
				for _, w := range f.Waived {
					has(w.Reason)
				}
			}
			for _, s := range r.Settings {
				has(s.Key)
			}
			for _, u := range r.Unknown {
				has(u.Why)
			}
			for _, g := range slices.Concat(r.Gaps, r.Notices) {
				has(g.Source)
				has(g.Why)
			}
			for _, g := range r.Unread {
				has(g.Source)
				has(g.Why)
			}
			if format != "text" {
				for _, h := range r.Hosts {
					has(h.Name)
				}
			}
		}
	}
}

// TestFleetVerdictWords: the last line is the exit code in words, and no pass hides what was not judged.
func TestFleetVerdictWords(t *testing.T) {
	for _, c := range []struct {
		summary advisor.FleetSummary
		gaps    int
		want    string
	}{
		{advisor.FleetSummary{Hosts: 2, Verdict: "pass"}, 0, "passes: no finding at or above warning on 2 hosts"},
		{advisor.FleetSummary{Hosts: 1, Waived: 1, Verdict: "pass"}, 0, "passes: no unwaived finding at or above warning on 1 host"},
		{advisor.FleetSummary{Hosts: 2, Unknown: 1, Unread: 1, Verdict: "pass"}, 1, "passes: no finding at or above warning on 2 hosts; 1 rule is undecided, 2 inputs were not read"},
		{advisor.FleetSummary{Hosts: 1, FailOn: "never", Verdict: "pass"}, 0, "passes: --fail-on never"},
		{advisor.FleetSummary{Verdict: "pass", Unread: 1}, 0, "passes: nothing was found because nothing was judged"},
		{advisor.FleetSummary{Hosts: 9, Fail: 1, Verdict: "fail"}, 0, "fails: 1 host has findings at or above warning"},
		{advisor.FleetSummary{Hosts: 9, Fail: 2, Incomplete: 1, Unread: 1, Verdict: "incomplete"}, 0,
			"incomplete: 1 capture could not be read; 1 host could not be read in full; 2 hosts have findings at or above warning"},
	} {
		r := &advisor.FleetReport{Summary: c.summary, Gaps: make([]advisor.FleetGap, c.gaps)}
		if r.Summary.FailOn == "" {
			r.Summary.FailOn = "warning"
		}
		for _, quiet := range []bool{false, true} {
			lines := strings.Split(strings.TrimSpace(writeFleet(t, "text", r, report.Options{Quiet: quiet, Width: -1})), "\n")
			if got := lines[len(lines)-1]; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		}
	}
}

// TestFleetWidth: no line is longer than asked for.
func TestFleetWidth(t *testing.T) {
	for name, r := range fleets(t) {
		if name == "hostile" {
			continue // is made of words that are longer
		}
		for _, lang := range []string{"en", "zh"} {
			for line := range strings.Lines(writeFleet(t, "text", r, report.Options{Width: 80, Lang: lang})) {
				line = strings.TrimSuffix(line, "\n")
				if n := displaywidth.String(line); n > 80 && !strings.Contains(line, "/srv/images/") || line != strings.TrimRight(line, " ") {
					t.Errorf("%s: %d columns, or blanks at the end: %q", name, n, line)
				}
			}
		}
	}
}

// TestFleetHTML: balanced, and under the same rules as the page of one host.
func TestFleetHTML(t *testing.T) {
	for name, r := range fleets(t) {
		body, style := cutStyle(t, writeFleet(t, "html", r, report.Options{Tool: "0.1.0"}))
		checkTags(t, name, body)
		checkPolicy(t, name, body, style)
	}
}

func TestFleetUnknownFormat(t *testing.T) {
	if err := report.WriteFleet(io.Discard, "sarif", &advisor.FleetReport{}, report.Options{}); err == nil || !strings.Contains(err.Error(), "html, json, text") {
		t.Error(err)
	}
}

// TestFleetJSONSchema holds the reports against the published schema, which refuses what is no report.
func TestFleetJSONSchema(t *testing.T) {
	const path = "../../docs/schema/fleet-v1.json"
	published, strict := compileSchema(t, path, false), compileSchema(t, path, true)
	for name, r := range fleets(t) {
		out := writeFleet(t, "json", r, report.Options{Quiet: true, MinSeverity: advisor.SeverityError, Lang: "zh"})
		if err := strict.Validate(instance(t, out)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(out, "null") {
			t.Errorf("%s: a list is null", name)
		}
	}
	base := writeFleet(t, "json", fleets(t)["mixed"], report.Options{})
	for _, c := range []struct{ old, new string }{
		{`"verdict": "incomplete"`, `"verdict": "bad"`},
		{`"tcpadvise.fleet/1"`, `"tcpadvise.fleet/2"`},
		{`"unread": [`, `"lost": [`},
		{`"severity": "error"`, `"severity": "critical"`},
		{`"few": false`, `"few": 0`},
	} {
		broken := strings.Replace(base, c.old, c.new, 1)
		if broken == base || published.Validate(instance(t, broken)) == nil {
			t.Errorf("the schema accepts %s for %s", c.new, c.old)
		}
	}
	if newer := regexp.MustCompile(`"tool": \{`).ReplaceAllString(base, `"future": 1, "tool": {"future": 1, `); newer == base || published.Validate(instance(t, newer)) != nil {
		t.Error("the published schema refuses a report with more members")
	}
}
