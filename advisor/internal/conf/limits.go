package conf

import (
	"fmt"
	"slices"
	"strings"
)

// Limits is the syntax of one file of limits.conf(5), as pam_limits reads it: each line four words, what follows them ignored, and
// '#' a comment wherever it stands. Checked against pam_limits 1.5.2 itself.
type Limits struct {
	Lines []LimitsLine
	text  string
}

// LimitsLine is one line.
type LimitsLine struct {
	Span                      Span // without its "\n"
	Kind                      LimitsKind
	Domain, Type, Item, Value Span // words; empty where the line has fewer
}

// LimitsKind is what a line is. The zero LimitsKind is invalid.
type LimitsKind uint8

// The kinds of a line.
const (
	LimitsBlank     LimitsKind = iota + 1 // nothing, or a comment
	LimitsSet                             // domain type item value
	LimitsExempt                          // domain and '-': pam_limits sets nothing at all for these users
	LimitsMalformed                       // any other number of words: pam_limits logs it and goes on
)

// ParseLimits reads a file. It keeps no reference to data.
func ParseLimits(data []byte) *Limits {
	f := &Limits{text: string(data)}
	for start := 0; start < len(data); {
		end := len(data)
		if n := strings.IndexByte(f.text[start:], '\n'); n >= 0 {
			end = start + n
		}
		f.Lines = append(f.Lines, f.parseLine(Span{start, end}))
		start = end + 1
	}
	return f
}

func (f *Limits) parseLine(s Span) LimitsLine {
	l := LimitsLine{Span: s, Kind: LimitsBlank}
	if n := strings.IndexAny(f.text[s.Start:s.End], "#\x00"); n >= 0 { // to C a NUL ends the text
		s.End = s.Start + n
	}
	count := 0
	for _, to := range []*Span{&l.Domain, &l.Type, &l.Item, &l.Value} {
		word := f.word(s)
		if word.Len() == 0 {
			break
		}
		*to = word
		s.Start = word.End
		count++
	}
	switch {
	case count == 4:
		l.Kind = LimitsSet
	case count == 2 && f.text[l.Type.Start] == '-':
		l.Kind = LimitsExempt
	case count > 0:
		l.Kind = LimitsMalformed
	}
	return l
}

// word is the first word of a span, in the sense of scanf(3).
func (f *Limits) word(s Span) Span {
	for s.Start < s.End && isSpace(f.text[s.Start]) {
		s.Start++
	}
	end := s.Start
	for end < s.End && !isSpace(f.text[end]) {
		end++
	}
	return Span{s.Start, end}
}

// Text returns the bytes of a span.
func (f *Limits) Text(s Span) string { return f.text[s.Start:s.End] }

// Words are a line's four words as pam_limits compares them: all but the domain without regard to case.
func (f *Limits) Words(line int) (domain, kind, item, value string) {
	l := f.Lines[line]
	return f.Text(l.Domain), asciiLower(f.Text(l.Type)), asciiLower(f.Text(l.Item)), asciiLower(f.Text(l.Value))
}

// asciiLower is tolower(3) of the C locale on each byte.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Set returns the edit that gives a line another value.
func (f *Limits) Set(line int, value string) (Edit, error) {
	if line < 0 || line >= len(f.Lines) || f.Lines[line].Kind != LimitsSet {
		return Edit{}, fmt.Errorf("line %d: sets no limit", line+1)
	}
	if err := limitsWords(value); err != nil {
		return Edit{}, err
	}
	return Edit{f.Lines[line].Value, value}, nil
}

// Add returns the edit that writes a further line behind all others: of lines for one domain the last counts.
func (f *Limits) Add(domain, kind, item, value string) (Edit, error) {
	if err := limitsWords(domain, kind, item, value); err != nil {
		return Edit{}, err
	}
	end, text := len(f.text), strings.Join([]string{domain, kind, item, value}, "\t")+"\n"
	if end > 0 && f.text[end-1] != '\n' {
		text = "\n" + text
	}
	return Edit{Span{end, end}, text}, nil
}

// limitsWords refuses what would not be read back as words.
func limitsWords(words ...string) error {
	bad := func(w string) bool {
		return w == "" || strings.ContainsAny(w, "#\x00") || slices.ContainsFunc([]byte(w), isSpace)
	}
	if i := slices.IndexFunc(words, bad); i >= 0 {
		return fmt.Errorf("%q cannot be written: it is empty, or holds a blank or a #", words[i])
	}
	return nil
}
