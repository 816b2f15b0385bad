package conf

import (
	"fmt"
	"slices"
	"strings"
)

// Unit is the syntax of systemd.syntax(7): unit files, their drop-ins, and system.conf.
//
// It shares no lexer with INI, which is Python's: there '#' ends a value and an indented line continues one; here '#' is text
// unless it begins a line, a backslash continues, and comment lines inside a continuation vanish. Checked against
// systemd 252 itself.
type Unit struct {
	Assignments []UnitAssignment
	Faults      []UnitFault // what systemd warns of and skips; it reads the rest, unless Stopped
	Stopped     bool        // the last fault ended the reading: systemd takes nothing of the file from there on
	text        string
	sections    []unitSection
}

// UnitAssignment is one KEY=VALUE.
type UnitAssignment struct {
	Section string
	Key     string
	Value   Span   // without blanks around; of a continued one from its first byte to its last, comments between them included
	Text    string // as systemd takes it: continuations joined, quotes and specifiers as they stand
}

// UnitFault is a place that systemd does not understand.
type UnitFault struct {
	Line    int // 1-based
	Message string
}

// unitSection is where a section's lines end.
type unitSection struct {
	name string
	end  int // just after the last assignment, or the header
}

// ParseUnit reads a file as config_parse does (src/shared/conf-parser.c). It keeps no reference to data.
func ParseUnit(data []byte) *Unit {
	u := &Unit{text: string(data)}
	p := unitParser{Unit: u}
	for s := range systemdLines(u.text) {
		if !p.line(s) {
			break
		}
	}
	if p.open && !u.Stopped { // the file ends in a continuation: what there is counts
		p.number++
		p.assign()
	}
	return u
}

// systemdLines yields the lines that read_line finds (src/basic/fileio.c): "\n", "\r" and NUL end one, "\r\n" ends one.
func systemdLines(text string) func(yield func(Span) bool) {
	return func(yield func(Span) bool) {
		for at := 0; at < len(text); {
			end := len(text)
			if n := strings.IndexAny(text[at:], "\n\r\x00"); n >= 0 {
				end = at + n
			}
			next := end + 1
			if strings.HasPrefix(text[end:], "\r\n") {
				next++
			}
			if !yield(Span{at, end}) {
				return
			}
			at = next
		}
	}
}

// unitParser is the reading of a file up to some line.
type unitParser struct {
	*Unit
	section string
	number  int // of the line
	bom     bool

	open  bool            // lines are being joined
	whole Span            // from the first of them to the last
	joins strings.Builder // their text, the backslashes turned into blanks
	parts []Span          // of these lines, as they stand in the file
}

func (p *unitParser) fault(format string, args ...any) {
	p.Faults = append(p.Faults, UnitFault{p.number, fmt.Sprintf(format, args...)})
}

// stop gives the file up.
func (p *unitParser) stop(format string, args ...any) bool {
	p.fault(format, args...)
	p.Stopped = true
	return false
}

// line takes one line in; false where systemd reads no further.
func (p *unitParser) line(s Span) bool {
	p.number++
	if s.Len()+p.joins.Len() >= longLine {
		return p.stop("a line of 1 MiB or more: systemd reads the file no further")
	}
	if first := strings.TrimLeft(p.text[s.Start:s.End], " \t"); first != "" && (first[0] == '#' || first[0] == ';') {
		return true // also where lines are being joined
	}
	if !p.bom && strings.HasPrefix(p.text[s.Start:s.End], bom) {
		s.Start += len(bom)
		p.bom = true
	}
	text := p.text[s.Start:s.End]
	trailing := len(text) - len(strings.TrimRight(text, `\`))
	goesOn := trailing%2 == 1 // an even number are backslashes that stand for themselves
	if !p.open && !goesOn {
		p.whole, p.parts = s, nil
		return p.statement(text)
	}
	if !p.open {
		p.open, p.whole, p.parts = true, s, nil
	}
	p.whole.End = s.End
	p.parts = append(p.parts, s)
	if goesOn {
		p.joins.WriteString(text[:len(text)-1] + " ")
		return true
	}
	p.joins.WriteString(text)
	return p.assign()
}

// assign ends a continuation.
func (p *unitParser) assign() bool {
	text := p.joins.String()
	p.joins.Reset()
	p.open = false
	return p.statement(text)
}

// statement takes a header or an assignment, continuations joined.
func (p *unitParser) statement(text string) bool {
	text = strings.Trim(text, unitBlanks)
	key, value, assigns := strings.Cut(text, "=")
	switch {
	case text == "":
	case text[0] == '[':
		if !strings.HasSuffix(text, "]") {
			return p.stop("the section header %q does not end in ]: systemd reads the file no further", shorten(text))
		}
		p.section = text[1 : len(text)-1]
		p.sections = append(p.sections, unitSection{p.section, p.whole.End})
	case p.section == "":
		p.fault("an assignment outside of any section")
	case !assigns:
		p.fault("neither a comment nor KEY=VALUE: %q", shorten(text))
	case key == "":
		p.fault("nothing before the =")
	default:
		p.sections[len(p.sections)-1].end = p.whole.End
		p.Assignments = append(p.Assignments, UnitAssignment{
			Section: p.section, Key: strings.TrimRight(key, unitBlanks), Value: p.valueSpan(), Text: strings.Trim(value, unitBlanks),
		})
	}
	return true
}

// unitBlanks is WHITESPACE of systemd (src/basic/string-util.h).
const unitBlanks = " \t\n\r"

// valueSpan is where the value stands: behind the first '=' outside of the comments between joined lines.
func (p *unitParser) valueSpan() Span {
	parts := p.parts
	if len(parts) == 0 {
		parts = []Span{p.whole}
	}
	s := p.whole
	for _, part := range parts {
		if n := strings.IndexByte(p.text[part.Start:part.End], '='); n >= 0 {
			s.Start = part.Start + n + 1
			break
		}
	}
	s.Start += len(p.text[s.Start:s.End]) - len(strings.TrimLeft(p.text[s.Start:s.End], unitBlanks))
	s.End = s.Start + len(strings.TrimRight(p.text[s.Start:s.End], unitBlanks))
	return s
}

// Last is the assignment of a key that decides among those of a file, for keys that hold one value; -1 if there is none.
func (u *Unit) Last(section, key string) int {
	for i, a := range slices.Backward(u.Assignments) {
		if a.Section == section && a.Key == key {
			return i
		}
	}
	return -1
}

// Set returns the edit that gives an assignment another value. Of a continued value all lines go, the comments between them too.
func (u *Unit) Set(assignment int, value string) (Edit, error) {
	if err := unitValue(value); err != nil {
		return Edit{}, err
	}
	return Edit{u.Assignments[assignment].Value, value}, nil
}

// Add returns the edit that writes a further assignment: behind the last of its section, or in a new section at the end.
func (u *Unit) Add(section, key, value string) (Edit, error) {
	if err := unitValue(value); err != nil {
		return Edit{}, err
	}
	newline := "\n"
	if strings.Contains(u.text, "\r\n") {
		newline = "\r\n"
	}
	for _, s := range slices.Backward(u.sections) {
		if s.name != section {
			continue
		}
		if strings.HasSuffix(u.text[:s.end], `\`) {
			return Edit{}, fmt.Errorf("the last line of [%s] ends in a backslash, which would take in what follows", section)
		}
		return Edit{Span{s.end, s.end}, newline + key + "=" + value}, nil
	}
	if u.Stopped {
		return Edit{}, fmt.Errorf("line %d: %s", u.Faults[len(u.Faults)-1].Line, u.Faults[len(u.Faults)-1].Message)
	}
	end := len(u.text)
	text := "[" + section + "]" + newline + key + "=" + value + newline
	if end > 0 && u.text[end-1] != '\n' {
		text = newline + text
	}
	if strings.HasSuffix(strings.TrimRight(u.text, "\r\n"), `\`) {
		return Edit{}, fmt.Errorf("the file ends in a backslash, which would take in what follows")
	}
	return Edit{Span{end, end}, text}, nil
}

// UnitText is the text of a new drop-in that sets one key.
func UnitText(section, key, value string) string {
	return "[" + section + "]\n" + key + "=" + value + "\n"
}

// unitValue refuses what would not be read back as one value.
func unitValue(value string) error {
	if strings.Trim(value, unitBlanks) != value || strings.ContainsAny(value, "\n\r\x00") || strings.HasSuffix(value, `\`) {
		return fmt.Errorf("the value %q cannot be written: it has blanks around it, a line end inside or a backslash behind", value)
	}
	return nil
}
