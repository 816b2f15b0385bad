package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

//go:embed html.tmpl
var htmlPage string

//go:embed html.css
var htmlStyle string

// The types below are what html.tmpl shows. Their texts went through escape; html/template makes them harmless as HTML.

// htmlTop is what stands before the body.
type htmlTop struct {
	Style  template.CSS
	Policy string
	Title  string
}

type htmlReport struct {
	htmlTop
	Host      string
	Verdict   string
	Level     string // of the verdict: error, warning, pass or none
	Facts     []hostFact
	Tiles     []htmlTile
	Summary   string
	Gaps      []htmlInput
	Findings  []htmlFinding
	Waived    []htmlWaived
	Undecided []htmlReason
	Conflicts []htmlConflict
	Notices   []htmlInput
	Machine   machine
	Groups    []htmlGroup
}

type htmlTile struct {
	Name, Level string
	Count       int
}

type htmlInput struct {
	Source string
	Why    []span
}

type htmlFinding struct {
	Anchor, Level, Label, Rule, Subject string
	Depth                               int
	Remarks                             []string
	Message                             []span
	Evidence                            []htmlEvidence
	Changes                             []htmlChange
	Do, Dont                            [][]span
	DoAbove                             bool // what to do was said just above
	Explain                             string
}

// htmlEvidence is what was read in one place.
type htmlEvidence struct {
	Place    string
	Readings []string
}

type htmlChange struct {
	Setting, From, To, Safety, SafetyText string
	HasFrom, Remove                       bool
	Note                                  []span
}

type htmlWaived struct {
	Rule, Subject   string
	Reason, Message []span
}

type htmlReason struct {
	Why   []span
	Rules []string
}

type htmlConflict struct {
	Setting string
	Why     []span
	Rules   []string
}

// writeHTML writes one page that needs nothing else: no script, no font, no picture from anywhere. Its policy forbids the
// browser to load anything, and to run anything, even if something planted found its way in.
func writeHTML(w io.Writer, d *advisor.Diagnosis, o Options) error {
	page, err := template.New("report").Parse(htmlPage)
	if err != nil {
		return err
	}
	shown, _ := choose(d.Findings, 0)
	host := escape(hostName(d.Host))
	r := htmlReport{
		htmlTop: newHTMLTop("tcpadvise: " + host + ", " + string(d.Summary.Verdict)),
		Host:    host,
		Verdict: verdictText(d), Level: verdictLevel(d), Tiles: htmlTiles(d), Summary: summaryText(d),
		Gaps: htmlInputs(d.Gaps), Notices: htmlInputs(d.Notices), Findings: htmlFindings(shown),
		Machine: newMachine(d, shown), Groups: htmlGroups(shown),
	}
	for _, f := range hostFacts(d.Host, o) {
		if f.Name != "host" {
			r.Facts = append(r.Facts, hostFact{f.Name, escape(f.Value)})
		}
	}
	r.rest(d)
	var buf bytes.Buffer
	if err := page.Execute(&buf, r); err != nil {
		return err
	}
	_, err = w.Write(buf.Bytes())
	return err
}

func newHTMLTop(title string) htmlTop {
	sum := sha256.Sum256([]byte(htmlStyle))
	return htmlTop{
		Style: template.CSS(htmlStyle), //nolint:gosec // our own file
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'",
		Title: title,
	}
}

// rest fills in what stands after the findings.
func (r *htmlReport) rest(d *advisor.Diagnosis) {
	for _, f := range d.Findings {
		if f.Waived != nil {
			r.Waived = append(r.Waived, htmlWaived{
				Rule: escape(f.Rule), Subject: escape(subjectText(f)), Reason: spans(prose(*f.Waived)), Message: spans(prose(f.Message)),
			})
		}
	}
	for _, g := range byReason(d.Unknown) {
		r.Undecided = append(r.Undecided, htmlReason{spans(prose(g.Why)), escapeAll(g.Rules)})
	}
	for _, c := range d.Conflicts {
		r.Conflicts = append(r.Conflicts, htmlConflict{escape(strings.TrimPrefix(c.Setting, "sysctl:")), spans(prose(c.Why)), escapeAll(c.Rules)})
	}
}

func hostName(h advisor.Host) string {
	if h.Source == "files" {
		return cmp.Or(h.Name, "files alone")
	}
	return cmp.Or(h.Name, "a host without a name")
}

func escapeAll(list []string) []string {
	out := slices.Clone(list)
	for i, s := range out {
		out[i] = escape(s)
	}
	return out
}

// verdictLevel is green only for a pass without reservations.
func verdictLevel(d *advisor.Diagnosis) string {
	switch d.Summary.Verdict {
	case advisor.VerdictFail:
		return "error"
	case advisor.VerdictIncomplete:
		return "warning"
	}
	p := &printer{limit: -1}
	fresh, known := gating(d)
	if look, _ := p.passes(d, fresh+known); look == isPass {
		return "pass"
	}
	return "none"
}

func htmlTiles(d *advisor.Diagnosis) []htmlTile {
	s := d.Summary
	return []htmlTile{
		{"errors", "error", s.Error},
		{"warnings", "warning", s.Warning},
		{"notes", "info", s.Info},
		{"waived", "none", s.Waived},
		{"inputs not read", "warning", len(d.Gaps)},
		{"rules undecided", "warning", s.Unknown},
		{"rules quiet", "none", s.Quiet},
		{"do not apply", "none", s.NotApplicable},
		{"skipped", "none", s.Skipped},
	}
}

func htmlInputs(all []advisor.Gap) []htmlInput {
	var out []htmlInput
	for _, g := range all {
		out = append(out, htmlInput{escape(g.Source), spans(prose(g.Why))})
	}
	return out
}

// anchor names the finding with that index on the page.
func anchor(i int) string { return fmt.Sprintf("f%d", i+1) }

// htmlFindings keeps the diagnosis's order and puts a symptom under its cause. What the finding just above it, of the same
// rule, has advised already is not said again.
func htmlFindings(shown []advisor.Finding) []htmlFinding {
	const deepest = 3
	var out []htmlFinding
	depth := depths(shown)
	var above advisor.Finding
	p := &printer{limit: -1}
	for i, f := range shown {
		h := htmlFinding{
			Anchor: anchor(i), Level: f.Severity.String(), Rule: escape(f.Rule), Subject: escape(subjectText(f)),
			Message: spans(prose(f.Message)), Explain: escape("tcpadvise explain " + f.Rule),
		}
		h.Label, _ = p.severity(f.Severity)
		h.Depth = min(depth[i], deepest)
		h.Remarks = htmlRemarks(p, f, depth[i] > 0)
		h.facts(p, f)
		same := above.Rule == f.Rule
		if h.DoAbove = same && len(f.Do) > 0 && slices.Equal(f.Do, above.Do); !h.DoAbove {
			h.Do = allSpans(f.Do, code)
		}
		if !same || !slices.Equal(f.Dont, above.Dont) {
			h.Dont = allSpans(f.Dont, prose)
		}
		above = f
		out = append(out, h)
	}
	return out
}

func htmlRemarks(p *printer, f advisor.Finding, under bool) []string {
	var out []string
	switch {
	case under:
		out = append(out, "a symptom of the above")
	case f.ExplainedBy != nil:
		out = append(out, "a symptom of "+escape(*f.ExplainedBy))
	}
	if sure := p.confidence(f.Confidence); sure != "" {
		out = append(out, sure)
	}
	if f.Remedy == advisor.RemedyApplication {
		out = append(out, "helped in the program's code, by no kernel setting")
	}
	if f.Known {
		out = append(out, "known to the baseline")
	}
	return out
}

func (h *htmlFinding) facts(p *printer, f advisor.Finding) {
	for _, e := range f.Evidence {
		at := escape(place(e.Origin))
		i := slices.IndexFunc(h.Evidence, func(x htmlEvidence) bool { return x.Place == at })
		if i < 0 {
			i = len(h.Evidence)
			h.Evidence = append(h.Evidence, htmlEvidence{Place: at})
		}
		h.Evidence[i].Readings = append(h.Evidence[i].Readings, escape(e.What)+" = "+shown(e.Value))
	}
	h.Changes = htmlChanges(p, f.Changes)
}

func htmlChanges(p *printer, changes []advisor.ProposedChange) []htmlChange {
	var out []htmlChange
	for _, c := range changes {
		change := htmlChange{
			Setting: escape(strings.TrimPrefix(c.Setting, "sysctl:")), Safety: c.Safety.String(), SafetyText: p.safety(c.Safety),
			HasFrom: c.From != nil, Remove: c.Remove || c.To == nil,
		}
		if c.From != nil {
			change.From = shown(*c.From)
		}
		if !change.Remove {
			change.To = shown(*c.To)
		}
		if c.Note != "" {
			change.Note = spans(code(c.Note))
		}
		out = append(out, change)
	}
	return out
}

func allSpans(items []string, words func(string) []word) [][]span {
	var out [][]span
	for _, item := range items {
		out = append(out, spans(words(item)))
	}
	return out
}

// htmlGroup is a bar: a group of sockets of the findings, or a queue or a table that fills up.
type htmlGroup struct {
	Table, Key, Anchor, Level string
	Value, Of                 string
	Bar                       int
	n                         int64
}

// htmlGroups draws what the findings counted: against its limit where it has one, else against the largest of its kind.
func htmlGroups(shown []advisor.Finding) []htmlGroup {
	measures := []struct{ what, limit, name string }{
		{"listeners.queue_used", "listeners.queue_limit", "accept queue"},
		{"close_wait.count", "", "CLOSE_WAIT"},
		{"fin_wait2.owned", "", "FIN_WAIT2, owned"},
		{"fin_wait2.orphaned", "", "FIN_WAIT2, orphaned"},
		{"time_wait.count", "", "TIME_WAIT"},
		{"dialled.holding", "", "ports held"},
		{"dialled.time_wait", "", "ports in TIME_WAIT"},
		{"established.count", "", "ESTABLISHED"},
		{"processes.fds", "processes.nofile_soft", "open files"},
		{"conntrack.count", "conntrack.max", "tracked connections"},
		{"files.open", "files.max", "open files"},
	}
	var out []htmlGroup
	for _, m := range measures {
		var kind []htmlGroup
		most := int64(0)
		for i, f := range shown {
			g := htmlGroup{Table: m.name, Key: escape(cmp.Or(f.Subject.Key, "this host")), Anchor: anchor(i), Level: f.Severity.String()}
			n, ok := counted(f, m.what)
			if !ok || slices.ContainsFunc(kind, func(k htmlGroup) bool { return k.Key == g.Key }) {
				continue
			}
			g.n, g.Value = n, grouped(n)
			if limit, ok := counted(f, m.limit); ok {
				g.Of, g.Bar = grouped(limit), percent(n, limit)
			}
			most = max(most, n)
			kind = append(kind, g)
		}
		for i := range kind {
			if kind[i].Of == "" {
				kind[i].Bar = percent(kind[i].n, most)
			}
		}
		slices.SortStableFunc(kind, func(a, b htmlGroup) int { return cmp.Compare(b.n, a.n) })
		out = append(out, kind...)
	}
	return out
}

// counted is an integer among the evidence.
func counted(f advisor.Finding, what string) (int64, bool) {
	for _, e := range f.Evidence {
		if e.What == what {
			return e.Value.Int()
		}
	}
	return 0, false
}
