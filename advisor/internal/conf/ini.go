package conf

import (
	"fmt"
	"strings"
)

// INI is the syntax of a file of sections with "key = value" lines, as the ConfigParser of Python reads it when TuneD asks:
// '=' alone parts key and value, '#' after a blank ends a value, a line that is indented deeper continues the one before.
type INI struct {
	Entries []INIEntry
	text    string
}

// INIEntry is one key of a section.
type INIEntry struct {
	Section   string
	Key       string
	Value     Span // without blanks around and without a comment; of a continued value its first line
	Continued bool // further lines belong to the value
}

// Text returns the bytes of a span.
func (f *INI) Text(s Span) string { return f.text[s.Start:s.End] }

// SyntaxError is why a file is not of the format that it is meant to be.
type SyntaxError struct {
	Line    int // 1-based
	Message string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Message) }

// ParseINI reads a file. What ParseINI could read before an error is returned with it.
func ParseINI(data []byte) (*INI, error) {
	f := &INI{text: string(data)}
	section, indent, line := "", 0, 0
	open := false // a line that is indented deeper than this one's indent continues the last entry
	for start := 0; start < len(data); {
		line++
		end := len(data)
		if n := strings.IndexByte(f.text[start:], '\n'); n >= 0 {
			end = start + n
		}
		s := f.content(Span{start, end}, line == 1)
		begins := start
		start = end + 1
		if s.Len() == 0 {
			continue
		}
		text := f.Text(s)
		if open && s.Start-begins > indent {
			f.Entries[len(f.Entries)-1].Continued = true
			continue
		}
		indent, open = s.Start-begins, false
		if text[0] == '[' {
			n := strings.IndexByte(text, ']')
			if n < 2 {
				return f, &SyntaxError{line, "a section begins with [ and a name, and the ] is missing"}
			}
			section = text[1:n]
			continue
		}
		key, _, ok := strings.Cut(text, "=")
		switch {
		case section == "":
			return f, &SyntaxError{line, "a line stands before the first [section]"}
		case !ok || strings.TrimSpace(key) == "":
			return f, &SyntaxError{line, "neither a [section] nor key=value"}
		}
		value := trimSpace(f.text, Span{s.Start + len(key) + 1, s.End})
		f.Entries = append(f.Entries, INIEntry{Section: section, Key: strings.TrimSpace(key), Value: value})
		open = true
	}
	return f, nil
}

// content is a line without blanks around and without comments.
func (f *INI) content(s Span, first bool) Span {
	if first && strings.HasPrefix(f.text[s.Start:s.End], bom) {
		s.Start += len(bom)
	}
	for i := s.Start; i < s.End; i++ {
		if f.text[i] == '#' && (i == s.Start || isSpace(f.text[i-1])) {
			s.End = i
		}
	}
	s = trimSpace(f.text, s)
	if s.Len() > 0 && f.text[s.Start] == ';' {
		return Span{s.Start, s.Start}
	}
	return s
}
