package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// jsonSchema names the contract of docs/json.md. It changes only where a reader of the old one would break.
const jsonSchema = "tcpadvise.report/1"

type jsonReport struct {
	Schema    string              `json:"schema"`
	Tool      jsonTool            `json:"tool"`
	Host      advisor.Host        `json:"host"`
	Summary   advisor.Summary     `json:"summary"`
	Findings  []advisor.Finding   `json:"findings"`
	Unknown   []advisor.Undecided `json:"unknown"`
	Conflicts []advisor.Conflict  `json:"conflicts"`
	Gaps      []jsonGap           `json:"gaps"`
	Sockets   map[string]int64    `json:"sockets,omitempty"`
}

// jsonGap tells what makes the verdict incomplete from what nobody asked for by name.
type jsonGap struct {
	Source string `json:"source"`
	Why    string `json:"why"`
	Asked  bool   `json:"asked"`
}

func jsonGaps(d *advisor.Diagnosis) []jsonGap {
	gaps := []jsonGap{}
	for _, g := range d.Gaps {
		gaps = append(gaps, jsonGap{g.Source, g.Why, true})
	}
	for _, g := range d.Notices {
		gaps = append(gaps, jsonGap{g.Source, g.Why, false})
	}
	return gaps
}

type jsonTool struct {
	Version string `json:"version"`
	Rules   string `json:"rules"`
}

// writeJSON writes the whole diagnosis: a program filters for itself, and one that trusts an empty list must not be misled
// by an option that somebody set for his eyes.
func writeJSON(w io.Writer, d *advisor.Diagnosis, o Options) error {
	doc := jsonReport{
		Schema: jsonSchema, Tool: jsonTool{Version: o.Tool, Rules: o.RulesVersion},
		Host: d.Host, Summary: d.Summary,
		Findings: listed(d.Findings), Unknown: listed(d.Unknown), Conflicts: listed(d.Conflicts),
		Gaps: jsonGaps(d), Sockets: d.Sockets,
	}
	for i := range doc.Findings {
		f := &doc.Findings[i]
		f.Evidence, f.Changes, f.Do, f.Dont = listed(f.Evidence), listed(f.Changes), listed(f.Do), listed(f.Dont)
	}
	for i := range doc.Unknown {
		doc.Unknown[i].Needs = listed(doc.Unknown[i].Needs)
	}
	for i := range doc.Conflicts {
		doc.Conflicts[i].Rules = listed(doc.Conflicts[i].Rules)
	}
	return encodeJSON(w, doc)
}

// encodeJSON writes a document that is safe to look at.
func encodeJSON(w io.Writer, doc any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := w.Write(printable(buf.Bytes()))
	return err
}

// listed copies a list, so that the caller's diagnosis stays as it is; nil becomes the empty list, so that a reader never
// meets null where he iterates.
func listed[T any](list []T) []T { return append([]T{}, list...) }

// printable rewrites the strings of a JSON document without changing their meaning: what hidden refuses becomes \uXXXX (the
// encoder escapes only what JSON demands, and a report is also looked at with cat), and <, > and & become themselves (a
// MarshalJSON method escapes them whatever the encoder is told).
func printable(doc []byte) []byte {
	out := make([]byte, 0, len(doc))
	for i := 0; i < len(doc); {
		r, size := utf8.DecodeRune(doc[i:])
		switch {
		case r == '\\':
			var raw []byte
			raw, size = readable(doc[i:])
			out = append(out, raw...)
		case r >= 0x7f && hidden(r):
			for _, unit := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		default:
			out = append(out, doc[i:i+size]...)
		}
		i += size
	}
	return out
}

// readable returns the JSON escape that doc starts with, undone where it is one of HTML's, and how long it was.
func readable(doc []byte) (raw []byte, size int) {
	const long = len(`\u003c`)
	if len(doc) >= long {
		switch code := string(doc[:long]); code {
		case `\u003c`:
			return []byte("<"), long
		case `\u003e`:
			return []byte(">"), long
		case `\u0026`:
			return []byte("&"), long
		}
	}
	return slices.Clone(doc[:2]), 2
}
