package report

import (
	"bufio"
	"bytes"
	"cmp"
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
// by an option that somebody set for his eyes. It is written piece by piece, for there may be 100,000 findings.
func writeJSON(w io.Writer, d *advisor.Diagnosis, o Options) error {
	j := jsonWriter{w: bufio.NewWriterSize(w, 1<<16)}
	j.field("{", "schema", jsonSchema)
	j.field(",", "tool", jsonTool{Version: o.Tool, Rules: o.RulesVersion})
	j.field(",", "host", d.Host)
	j.field(",", "summary", d.Summary)
	jsonList(&j, "findings", d.Findings, func(f advisor.Finding) advisor.Finding {
		f.Evidence, f.Changes, f.Do, f.Dont = listed(f.Evidence), listed(f.Changes), listed(f.Do), listed(f.Dont)
		return f
	})
	jsonList(&j, "unknown", d.Unknown, func(u advisor.Undecided) advisor.Undecided {
		u.Needs = listed(u.Needs)
		return u
	})
	jsonList(&j, "conflicts", d.Conflicts, func(c advisor.Conflict) advisor.Conflict {
		c.Rules = listed(c.Rules)
		return c
	})
	jsonList(&j, "gaps", jsonGaps(d), func(g jsonGap) jsonGap { return g })
	if len(d.Sockets) > 0 {
		j.field(",", "sockets", d.Sockets)
	}
	j.text("\n}\n")
	if j.err != nil {
		return j.err
	}
	return j.w.Flush()
}

// jsonWriter writes an indented object field by field; err is the first failure.
type jsonWriter struct {
	w   *bufio.Writer
	err error
}

func (j *jsonWriter) text(s string) {
	if j.err == nil {
		_, j.err = j.w.WriteString(s)
	}
}

// field writes what opens or separates, and then a field.
func (j *jsonWriter) field(before, name string, value any) {
	j.text(before + "\n  \"" + name + "\": ")
	j.value("  ", value)
}

// value writes a value that stands behind so many blanks.
func (j *jsonWriter) value(indent string, value any) {
	text, err := jsonText(indent, value)
	j.err = cmp.Or(j.err, err)
	j.text(string(text))
}

// encodeJSON writes a document that is safe to look at.
func encodeJSON(w io.Writer, doc any) error {
	text, err := jsonText("", doc)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// jsonText is a value as the report has it, without a last newline.
func jsonText(indent string, value any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent(indent, "  ")
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return printable(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))), nil
}

// jsonList writes a field that is a list, one item after the other, as filled makes it.
func jsonList[T any](j *jsonWriter, name string, list []T, filled func(T) T) {
	if len(list) == 0 {
		j.field(",", name, []T{})
		return
	}
	j.text(",\n  \"" + name + "\": [")
	for i, item := range list {
		if i > 0 {
			j.text(",")
		}
		j.text("\n    ")
		j.value("    ", filled(item))
	}
	j.text("\n  ]")
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
