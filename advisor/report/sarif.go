package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// The types below are the part of SARIF 2.1.0 (OASIS) that a diagnosis fills. Members that would be empty are left out.

const (
	sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	project     = "https://github.com/tcpadvise/tcpadvise"
	hostRoot    = "HOSTROOT" // names the root directory of the judged host, wherever that was mounted
)

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool        sarifTool                        `json:"tool"`
	Automation  sarifID                          `json:"automationDetails"`
	Bases       map[string]sarifArtifactLocation `json:"originalUriBaseIds"`
	ColumnKind  string                           `json:"columnKind"`
	Invocations []sarifInvocation                `json:"invocations"`
	Results     []sarifResult                    `json:"results"`
	Properties  sarifRunProperties               `json:"properties"`
}

type sarifID struct {
	ID string `json:"id"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string            `json:"name"`
	Version        string            `json:"version,omitempty"`
	InformationURI string            `json:"informationUri"`
	Rules          []sarifDescriptor `json:"rules"`
	Notifications  []sarifDescriptor `json:"notifications"`
	Properties     map[string]string `json:"properties,omitempty"`
}

type sarifDescriptor struct {
	ID               string              `json:"id"`
	ShortDescription sarifMessage        `json:"shortDescription"`
	FullDescription  *sarifMessage       `json:"fullDescription,omitempty"`
	Help             *sarifMessage       `json:"help,omitempty"`
	HelpURI          string              `json:"helpUri,omitempty"`
	Configuration    *sarifConfiguration `json:"defaultConfiguration,omitempty"`
	Properties       map[string][]string `json:"properties,omitempty"`
}

type sarifConfiguration struct {
	Level string `json:"level"`
}

type sarifMessage struct {
	Text     string `json:"text"`
	Markdown string `json:"markdown,omitempty"`
}

type sarifResult struct {
	RuleID        string                `json:"ruleId"`
	RuleIndex     int                   `json:"ruleIndex"`
	Level         string                `json:"level"`
	Message       sarifMessage          `json:"message"`
	Locations     []sarifLocation       `json:"locations"`
	Related       []sarifLocation       `json:"relatedLocations,omitempty"`
	Fingerprints  map[string]string     `json:"partialFingerprints"`
	BaselineState string                `json:"baselineState,omitempty"`
	Suppressions  []sarifSuppression    `json:"suppressions,omitempty"`
	Fixes         []sarifFix            `json:"fixes,omitempty"`
	Properties    sarifResultProperties `json:"properties"`
}

type sarifLocation struct {
	ID       int                    `json:"id,omitempty"`
	Physical *sarifPhysicalLocation `json:"physicalLocation,omitempty"`
	Logical  []sarifLogicalLocation `json:"logicalLocations,omitempty"`
	Message  *sarifMessage          `json:"message,omitempty"`
}

type sarifPhysicalLocation struct {
	File   sarifArtifactLocation `json:"artifactLocation"`
	Region *sarifRegion          `json:"region,omitempty"`
}

type sarifArtifactLocation struct {
	URI         string        `json:"uri,omitempty"`
	Base        string        `json:"uriBaseId,omitempty"`
	Description *sarifMessage `json:"description,omitempty"`
}

type sarifRegion struct {
	StartLine   int  `json:"startLine,omitempty"`
	StartColumn int  `json:"startColumn,omitempty"`
	EndColumn   int  `json:"endColumn,omitempty"`
	ByteOffset  *int `json:"byteOffset,omitempty"`
	ByteLength  int  `json:"byteLength,omitempty"`
}

type sarifLogicalLocation struct {
	Name           string `json:"name"`
	FullyQualified string `json:"fullyQualifiedName,omitempty"`
	Kind           string `json:"kind"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Status        string `json:"status"`
	Justification string `json:"justification"`
}

type sarifFix struct {
	Description sarifMessage          `json:"description"`
	Changes     []sarifArtifactChange `json:"artifactChanges"`
}

type sarifArtifactChange struct {
	File         sarifArtifactLocation `json:"artifactLocation"`
	Replacements []sarifReplacement    `json:"replacements"`
}

type sarifReplacement struct {
	Deleted  sarifRegion  `json:"deletedRegion"`
	Inserted sarifMessage `json:"insertedContent"`
}

type sarifInvocation struct {
	Successful    bool                `json:"executionSuccessful"`
	Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotification struct {
	Descriptor sarifReference  `json:"descriptor"`
	Rule       *sarifReference `json:"associatedRule,omitempty"`
	Level      string          `json:"level"`
	Message    sarifMessage    `json:"message"`
}

type sarifReference struct {
	ID    string `json:"id"`
	Index int    `json:"index"`
}

type sarifRunProperties struct {
	Host    advisor.Host     `json:"host"`
	Summary advisor.Summary  `json:"summary"`
	Sockets map[string]int64 `json:"sockets,omitempty"`
}

type sarifResultProperties struct {
	Remedy      string                   `json:"remedy"`
	Confidence  string                   `json:"confidence"`
	ExplainedBy string                   `json:"explainedBy,omitempty"`
	Changes     []advisor.ProposedChange `json:"changes,omitempty"`
}

// sarifWriter numbers the rules as they are met.
type sarifWriter struct {
	d     *advisor.Diagnosis
	set   *advisor.RuleSet // nil: rules are described by their findings alone
	rules []sarifDescriptor
	index map[string]int
}

// writeSARIF writes the Static Analysis Results Interchange Format, version 2.1.0, for code scanning pages and editors.
func writeSARIF(w io.Writer, d *advisor.Diagnosis, o Options) error {
	s := &sarifWriter{d: d, set: o.Rules, index: map[string]int{}, rules: []sarifDescriptor{}}
	results := []sarifResult{}
	for _, f := range d.Findings {
		results = append(results, s.result(f))
	}
	run := sarifRun{
		Automation:  sarifID{"tcpadvise/" + cmp.Or(escape(d.Host.Name), "unnamed") + "/"},
		Bases:       map[string]sarifArtifactLocation{hostRoot: {Description: &sarifMessage{Text: "The root directory of the judged host."}}},
		ColumnKind:  "unicodeCodePoints",
		Invocations: []sarifInvocation{{Successful: d.Summary.Verdict != advisor.VerdictIncomplete, Notifications: s.notifications()}},
		Results:     results,
		Properties:  sarifRunProperties{d.Host, d.Summary, d.Sockets},
	}
	run.Tool.Driver = sarifDriver{Name: "tcpadvise", Version: o.Tool, InformationURI: project, Rules: s.rules, Notifications: sarifKinds()}
	if o.RulesVersion != "" {
		run.Tool.Driver.Properties = map[string]string{"rules": o.RulesVersion}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(sarifLog{sarifSchema, "2.1.0", []sarifRun{run}}); err != nil {
		return err
	}
	_, err := w.Write(printable(buf.Bytes()))
	return err
}

// rule returns the rule's number; it is described when first met.
func (s *sarifWriter) rule(id string, f *advisor.Finding) int {
	if i, ok := s.index[id]; ok {
		return i
	}
	i := len(s.rules)
	s.index[id] = i
	r := sarifDescriptor{ID: escape(id), ShortDescription: sarifMessage{Text: escape(id)}, HelpURI: helpURI("docs/rules/" + id + ".md")}
	r.Properties = map[string][]string{"tags": {escape(area(id))}}
	help := "tcpadvise explain " + escape(id)
	if f != nil {
		r.HelpURI, r.Configuration = helpURI(f.Docs), &sarifConfiguration{level(f.Severity)}
		if f.Title != "" {
			r.ShortDescription.Text = sarifText(upperFirst(f.Title) + ".")
		}
		r.Help = &sarifMessage{
			Text:     "What helps: " + (&printer{}).helps(f.Remedy) + ". Reasons and exceptions: " + help,
			Markdown: "What helps: " + (&printer{}).helps(f.Remedy) + ". Reasons and exceptions: " + markdownCode(help),
		}
	}
	if rule := s.known(id); rule != nil {
		s.describe(&r, rule.Body())
	}
	if r.FullDescription == nil {
		r.FullDescription = &sarifMessage{Text: r.ShortDescription.Text}
	}
	s.rules = append(s.rules, r)
	return i
}

func (s *sarifWriter) known(id string) *advisor.Rule {
	if s.set == nil {
		return nil
	}
	return s.set.Rule(id)
}

// describe takes from the rule set what holds on every host.
func (s *sarifWriter) describe(r *sarifDescriptor, body *advisor.Body) {
	why := strings.Join(strings.Fields(body.Why), " ")
	unless := "It may be ignored when: " + strings.TrimSuffix(strings.Join(strings.Fields(body.Unless), " "), ".") + "."
	help := "What helps: " + (&printer{}).helps(body.Remedy) + "."
	r.ShortDescription.Text = sarifText(upperFirst(body.Title) + ".")
	r.FullDescription = &sarifMessage{Text: sarifText(why)}
	r.Help = &sarifMessage{
		Text:     strings.Join([]string{sarifText(why), help, sarifText(unless)}, "\n\n"),
		Markdown: strings.Join([]string{markdownProse(why), help, markdownProse(unless)}, "\n\n"),
	}
	if len(body.Refs) > 0 {
		r.Help.Text += "\n\nSources: " + sarifText(strings.Join(body.Refs, "; ")) + "."
		r.Help.Markdown += "\n\nSources:\n"
		for _, ref := range body.Refs {
			r.Help.Markdown += "\n* " + markdownProse(ref)
		}
	}
	if len(body.Severities) > 0 {
		r.Configuration = &sarifConfiguration{level(slices.Max(body.Severities))}
	}
}

func (s *sarifWriter) result(f advisor.Finding) sarifResult {
	r := sarifResult{
		RuleIndex: s.rule(f.Rule, &f), RuleID: escape(f.Rule), Level: level(f.Severity), Message: sarifAdvice(f),
		Locations: []sarifLocation{}, Fingerprints: map[string]string{"ruleAndSubject/v1": fingerprint(f)},
		Properties: sarifResultProperties{Remedy: f.Remedy.String(), Confidence: f.Confidence.String(), Changes: f.Changes},
	}
	main, related := s.locations(f)
	if main.Physical != nil || main.Logical != nil {
		r.Locations = append(r.Locations, main)
	}
	r.Related = related
	if f.ExplainedBy != nil {
		r.Properties.ExplainedBy = *f.ExplainedBy
	}
	if f.Waived != nil {
		r.Suppressions = []sarifSuppression{{Kind: "external", Status: "accepted", Justification: escape(*f.Waived)}}
	}
	r.BaselineState = s.baselineState(f)
	for _, c := range f.Changes {
		if fix, ok := s.fix(f, c); ok {
			r.Fixes = append(r.Fixes, fix)
		}
	}
	return r
}

// baselineState is empty where no finding is known: then there was no baseline, or nothing of it was found.
func (s *sarifWriter) baselineState(f advisor.Finding) string {
	switch {
	case f.Known:
		return "unchanged"
	case slices.ContainsFunc(s.d.Findings, func(f advisor.Finding) bool { return f.Known }):
		return "new"
	}
	return ""
}

// locations returns where to look first, and one location for each further reading.
func (s *sarifWriter) locations(f advisor.Finding) (main sarifLocation, related []sarifLocation) {
	at := slices.IndexFunc(f.Evidence, func(e advisor.Evidence) bool { return e.Origin.Path != "" && e.Origin.Line > 0 })
	if at < 0 {
		at = slices.IndexFunc(f.Evidence, func(e advisor.Evidence) bool { return e.Origin.Path != "" })
	}
	for i, e := range f.Evidence {
		if i == at {
			main.Physical = physical(e)
			continue
		}
		l := sarifLocation{ID: len(related) + 1, Physical: physical(e), Message: &sarifMessage{Text: sarifText(e.What + " = " + shown(e.Value))}}
		if e.Origin.Source != "" {
			l.Logical = []sarifLogicalLocation{{Name: escape(e.Origin.Source), Kind: "source"}}
		}
		related = append(related, l)
	}
	if f.Subject.Key != "" {
		main.Logical = []sarifLogicalLocation{{
			Name: escape(f.Subject.Key), FullyQualified: escape(f.Subject.Table + "/" + f.Subject.Key), Kind: "resource",
		}}
	} else if main.Physical == nil && s.d.Host.Name != "" {
		main.Logical = []sarifLogicalLocation{{Name: escape(s.d.Host.Name), Kind: "host"}}
	}
	return main, related
}

func physical(e advisor.Evidence) *sarifPhysicalLocation {
	if e.Origin.Path == "" {
		return nil
	}
	p := &sarifPhysicalLocation{File: inHost(e.Origin.Path)}
	if e.Origin.Line > 0 {
		p.Region = region(e)
	}
	return p
}

// region is where a value stands. The columns are bytes: they are characters too unless some that are not ASCII come before
// the value in its line, and the byte offsets are right in any case.
func region(e advisor.Evidence) *sarifRegion {
	o := e.Origin
	r := &sarifRegion{StartLine: o.Line, StartColumn: o.Column}
	if o.End > o.Start {
		r.ByteOffset, r.ByteLength = &o.Start, o.End-o.Start
		if o.Column > 0 && !strings.Contains(e.Value.String(), "\n") {
			r.EndColumn = o.Column + o.End - o.Start
		}
	}
	return r
}

// inHost names a file of the judged host below its root, and one given as an operand as it was given.
func inHost(path string) sarifArtifactLocation {
	relative, absolute := strings.CutPrefix(path, "/")
	l := sarifArtifactLocation{URI: (&url.URL{Path: strings.TrimLeft(relative, "/")}).String()}
	if absolute {
		l.Base = hostRoot
	}
	return l
}

// fingerprint names a finding from run to run: by its rule and subject, and, where the host is the subject, by the file, as
// several files may be judged together.
func fingerprint(f advisor.Finding) string {
	parts := []string{f.Rule, f.Subject.Table, f.Subject.Key}
	if f.Subject.Key == "" {
		parts = append(parts, f.Where().Path)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// fix replaces a value where its bytes are known and are the plain value, as nothing else could be replaced unseen. What
// findings disagree about has none.
func (s *sarifWriter) fix(f advisor.Finding, c advisor.ProposedChange) (sarifFix, bool) {
	disputed := slices.ContainsFunc(s.d.Conflicts, func(x advisor.Conflict) bool { return x.Setting == c.Setting })
	key, isSysctl := strings.CutPrefix(c.Setting, "sysctl:")
	if disputed || !isSysctl || c.To == nil || c.From == nil || c.Remove || c.Safety < advisor.SafetyReview {
		return sarifFix{}, false
	}
	for _, e := range f.Evidence {
		o, old := e.Origin, e.Value.String()
		if e.What != key || o.Path == "" || o.Line == 0 || o.End-o.Start != len(old) || old != c.From.String() {
			continue
		}
		return sarifFix{
			Description: sarifMessage{Text: sarifText((&printer{}).move(c) + " (" + c.Safety.String() + ")")},
			Changes: []sarifArtifactChange{{
				File:         inHost(o.Path),
				Replacements: []sarifReplacement{{Deleted: *region(e), Inserted: sarifMessage{Text: escape(c.To.String())}}},
			}},
		}, true
	}
	return sarifFix{}, false
}

// The kinds of notifications, as they are numbered in every report.
const (
	sarifGap = iota
	sarifUndecided
	sarifConflict
	sarifNotice
)

func sarifKinds() []sarifDescriptor {
	return []sarifDescriptor{
		sarifGap:       {ID: "gap", ShortDescription: sarifMessage{Text: "An input that was asked for could not be read."}},
		sarifUndecided: {ID: "undecided", ShortDescription: sarifMessage{Text: "A rule could not be judged."}},
		sarifConflict:  {ID: "conflict", ShortDescription: sarifMessage{Text: "Findings disagree on a setting; no change is proposed."}},
		sarifNotice:    {ID: "notice", ShortDescription: sarifMessage{Text: "Something was not read, and not asked for."}},
	}
}

// notifications are all that keeps silence from meaning health.
func (s *sarifWriter) notifications() []sarifNotification {
	var out []sarifNotification
	add := func(kind int, level, text string) *sarifNotification {
		out = append(out, sarifNotification{
			Descriptor: sarifReference{sarifKinds()[kind].ID, kind}, Level: level, Message: sarifMessage{Text: sarifText(text)},
		})
		return &out[len(out)-1]
	}
	graveness := "error"
	if s.d.Summary.Verdict != advisor.VerdictIncomplete {
		graveness = "warning" // the user allows gaps
	}
	for _, g := range s.d.Gaps {
		add(sarifGap, graveness, "could not be read: "+g.Source+": "+g.Why)
	}
	for _, u := range s.d.Unknown {
		text := "undecided: " + u.Rule + ": " + cmp.Or(u.Why, "for no stated reason")
		if len(u.Needs) > 0 {
			text += " (needs " + strings.Join(u.Needs, ", ") + ")"
		}
		add(sarifUndecided, "warning", text).Rule = &sarifReference{escape(u.Rule), s.rule(u.Rule, nil)}
	}
	for _, c := range s.d.Conflicts {
		add(sarifConflict, "warning", "no change of "+c.Setting+" is proposed: "+c.Why+" ("+strings.Join(c.Rules, ", ")+")")
	}
	for _, g := range s.d.Notices {
		add(sarifNotice, "note", "not read, and not asked for: "+g.Source+": "+g.Why)
	}
	return out
}

// sarifAdvice is the sentence of the finding, then what to do and what not.
func sarifAdvice(f advisor.Finding) sarifMessage {
	m := sarifMessage{Text: sarifText(f.Message), Markdown: markdownProse(f.Message)}
	list := func(label string, items []string, words func(string) []word) {
		if len(items) == 0 {
			return
		}
		m.Text += "\n\n" + label
		m.Markdown += "\n\n" + label + "\n"
		for _, item := range items {
			m.Text += "\n- " + sarifText(item)
			m.Markdown += "\n* " + markdownWords(words(item))
		}
	}
	list("Do:", f.Do, code)
	list("Not:", f.Dont, prose)
	return m
}

// sarifText is plain text of a message, in which SARIF knows links, "[text](target)". What was read from a host makes none: a
// backslash takes the bracket's meaning away.
func sarifText(s string) string { return strings.ReplaceAll(escape(s), "](", `\](`) }

func level(s advisor.Severity) string {
	switch s {
	case advisor.SeverityError:
		return "error"
	case advisor.SeverityWarning:
		return "warning"
	case advisor.SeverityInfo:
	}
	return "note"
}

// helpURI makes the path of a page in the project a link.
func helpURI(docs string) string {
	return project + (&url.URL{Path: "/blob/main/" + docs}).EscapedPath()
}
