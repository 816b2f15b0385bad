package advisor

import (
	"encoding/json"
	"fmt"
)

// baselineSchema names the format; another one is refused, never guessed at.
const baselineSchema = "tcpadvise.baseline/1"

// Baseline is the findings that a gate knows already: only what is new, or has become worse, counts.
type Baseline struct {
	Schema   string          `json:"schema"`
	Findings []BaselineEntry `json:"findings"`
}

// BaselineEntry is one known finding. It holds no message: numbers change from run to run.
type BaselineEntry struct {
	Rule     string  `json:"rule"`
	Subject  Subject `json:"subject"`
	Severity string  `json:"severity"`
}

// NewBaseline records the unwaived findings of a diagnosis.
func NewBaseline(d *Diagnosis) Baseline {
	b := Baseline{Schema: baselineSchema, Findings: []BaselineEntry{}}
	for _, f := range d.Findings {
		if f.Waived == nil {
			b.Findings = append(b.Findings, BaselineEntry{f.Rule, f.Subject, f.Severity.String()})
		}
	}
	return b
}

// ParseBaseline reads what NewBaseline wrote; path names the file in errors.
func ParseBaseline(path string, data []byte) (Baseline, error) {
	var b Baseline
	if err := json.Unmarshal(data, &b); err != nil {
		return b, fmt.Errorf("baseline %s is no valid JSON: %w; write a new one with --write-baseline", path, err)
	}
	if b.Schema != baselineSchema {
		return b, fmt.Errorf("baseline %s has the schema %q, this version reads %q: write a new one with --write-baseline", path, b.Schema, baselineSchema)
	}
	for _, e := range b.Findings {
		if _, err := ParseSeverity(e.Severity); err != nil {
			return b, fmt.Errorf("baseline %s: %s: severity %w", path, e.Rule, err)
		}
	}
	return b, nil
}

// Apply marks the findings that the baseline has, at this severity or a worse one. Finish counts again afterwards.
func (b Baseline) Apply(d *Diagnosis) {
	known := map[BaselineEntry]Severity{}
	for _, e := range b.Findings {
		severity := severityNames[e.Severity]
		e.Severity = ""
		known[e] = max(known[e], severity)
	}
	for i := range d.Findings {
		f := &d.Findings[i]
		f.Known = f.Severity <= known[BaselineEntry{Rule: f.Rule, Subject: f.Subject}]
	}
}
