package report

import (
	"bytes"
	"cmp"
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

//go:embed fleet.tmpl
var fleetPage string

// The types below are what fleet.tmpl shows, with the parts of html.tmpl; their texts went through escape.

type htmlFleet struct {
	htmlTop
	Hosts, Verdict, Level string
	Facts                 []hostFact
	Tiles                 []htmlTile
	Unread                []htmlInput
	Gaps, Notices         []htmlPlaced
	Findings              []htmlFleetFinding
	Settings, Mixtures    []htmlSetting
	Waived, Conflicts     []htmlPlaced
	Undecided             []htmlTogether
	All                   []htmlFleetHost
}

// htmlHosts are hosts, and how many of all they are.
type htmlHosts struct {
	Text  string
	Names []string
}

type htmlPlaced struct {
	Source string
	Why    []span
	Hosts  htmlHosts
}

type htmlFleetFinding struct {
	Anchor, Level, Label, Rule, Share, More, Explain string
	Bar                                              int
	Few                                              bool
	Messages                                         []htmlMessage
	Do, Dont                                         [][]span
}

type htmlMessage struct {
	Message []span
	Subject string
	Hosts   htmlHosts
	Changes []htmlChange
}

type htmlSetting struct {
	Key    string
	Values []htmlValue
}

type htmlValue struct {
	Text    string
	Code    bool // it is to be read as it stands
	Default bool
	Hosts   htmlHosts
}

type htmlTogether struct {
	Why   []span
	Rules []string
	Hosts htmlHosts
}

type htmlFleetHost struct {
	Name, About                   string
	Verdict                       advisor.Verdict
	Error, Warning, Info, Unknown int
}

// writeFleetHTML writes one page under the same rules as writeHTML.
func writeFleetHTML(w io.Writer, r *advisor.FleetReport, o Options) error {
	page, err := template.New("report").Parse(htmlPage)
	if err == nil {
		page, err = page.New("fleet").Parse(fleetPage)
	}
	if err != nil {
		return err
	}
	p := &printer{limit: -1}
	look, verdict := p.fleetVerdict(r)
	hosts := p.count(len(r.Hosts), "%d host", "%d hosts")
	h := &htmlFleet{
		htmlTop: newHTMLTop("tcpadvise: " + hosts + ", " + string(r.Summary.Verdict)),
		Hosts:   hosts, Verdict: verdict, Level: map[style]string{isError: "error", isWarning: "warning", isPass: "pass"}[look],
		Tiles: fleetTiles(r.Summary), Unread: htmlInputs(r.Unread),
	}
	h.Level = cmp.Or(h.Level, "none")
	for _, f := range hostFacts(advisor.Host{Source: "capture"}, o) {
		if f.Name != "source" {
			h.Facts = append(h.Facts, hostFact{f.Name, escape(f.Value)})
		}
	}
	h.fill(p, r)
	var buf bytes.Buffer
	if err := page.Execute(&buf, h); err != nil {
		return err
	}
	_, err = w.Write(buf.Bytes())
	return err
}

func fleetTiles(s advisor.FleetSummary) []htmlTile {
	return []htmlTile{
		{"errors", "error", s.Error},
		{"warnings", "warning", s.Warning},
		{"notes", "info", s.Info},
		{"waived", "none", s.Waived},
		{"captures not read", "warning", s.Unread},
		{"rules undecided", "warning", s.Unknown},
		{"hosts incomplete", "warning", s.Incomplete},
		{"hosts fail", "error", s.Fail},
		{"hosts pass", "pass", s.Pass},
	}
}

func (h *htmlFleet) fill(p *printer, r *advisor.FleetReport) {
	all := len(r.Hosts)
	for i := range r.Findings {
		f := &r.Findings[i]
		if len(f.Hosts) > 0 {
			h.Findings = append(h.Findings, fleetFinding(p, f, all, anchor(i)))
		}
		for _, w := range f.Waived {
			h.Waived = append(h.Waived, htmlPlaced{escape(f.Rule), spans(prose(w.Reason)), newHTMLHosts(w.Hosts, all)})
		}
	}
	for _, s := range r.Settings {
		h.Settings = append(h.Settings, htmlSetting{escape(s.Key), htmlValues(s.Values, all)})
	}
	for _, m := range []htmlSetting{{"kernels", htmlValues(r.Kernels, all)}, {"systems", htmlValues(r.Systems, all)}} {
		if len(m.Values) > 0 {
			h.Mixtures = append(h.Mixtures, m)
		}
	}
	for _, u := range undecidedTogether(r.Unknown) {
		h.Undecided = append(h.Undecided, htmlTogether{spans(prose(cmp.Or(u.Why, "for no stated reason"))), escapeAll(u.Rules), newHTMLHosts(u.Hosts, all)})
	}
	for _, c := range r.Conflicts {
		why := fmt.Sprintf("%s (%s)", c.Why, strings.Join(c.Rules, ", "))
		h.Conflicts = append(h.Conflicts, htmlPlaced{escape(strings.TrimPrefix(c.Setting, "sysctl:")), spans(prose(why)), newHTMLHosts(c.Hosts, all)})
	}
	h.Gaps, h.Notices = htmlGaps(r.Gaps, all), htmlGaps(r.Notices, all)
	for _, host := range r.Hosts {
		about := strings.Join([]string{host.Kernel, host.OS, host.File}, ", ")
		h.All = append(h.All, htmlFleetHost{
			escape(host.Name), escape(strings.TrimPrefix(strings.TrimPrefix(about, ", "), ", ")), host.Verdict,
			host.Error, host.Warning, host.Info, host.Unknown,
		})
	}
}

func fleetFinding(p *printer, f *advisor.FleetFinding, all int, anchor string) htmlFleetFinding {
	const most = 50 // wordings; where each host has numbers of its own, more make no page that is read
	out := htmlFleetFinding{
		Anchor: anchor, Level: f.Severity.String(), Rule: escape(f.Rule), Few: f.Few,
		Share: fmt.Sprintf("%d of %d hosts", len(f.Hosts), all), Bar: percent(int64(len(f.Hosts)), int64(all)),
		Do: allSpans(f.Do, code), Dont: allSpans(f.Dont, prose), Explain: escape("tcpadvise explain " + f.Rule),
	}
	out.Label, _ = p.severity(f.Severity)
	for i, m := range f.Messages {
		if i == most {
			out.More = fmt.Sprintf("and %d more like it: --format json lists them", len(f.Messages)-i)
			break
		}
		out.Messages = append(out.Messages, htmlMessage{
			spans(prose(m.Message)), escape(cmp.Or(m.Path, m.Subject.Key)), newHTMLHosts(m.Hosts, all), htmlChanges(p, m.Changes),
		})
	}
	return out
}

func newHTMLHosts(names []string, all int) htmlHosts {
	return htmlHosts{fmt.Sprintf("%d of %d hosts", len(names), all), escapeAll(names)}
}

func htmlValues(values []advisor.FleetValue, all int) []htmlValue {
	var out []htmlValue
	for _, v := range values {
		h := htmlValue{Text: "the default, which each kernel computes", Hosts: newHTMLHosts(v.Hosts, all)}
		if v.Value != nil {
			h.Text, h.Code, h.Default = shown(*v.Value), true, v.Default
		}
		if v.Value != nil && v.Value.String() == "" {
			h.Text, h.Code = "unknown", false
		}
		out = append(out, h)
	}
	return out
}

func htmlGaps(gaps []advisor.FleetGap, all int) []htmlPlaced {
	var out []htmlPlaced
	for _, g := range gaps {
		out = append(out, htmlPlaced{escape(g.Source), spans(prose(g.Why)), newHTMLHosts(g.Hosts, all)})
	}
	return out
}
