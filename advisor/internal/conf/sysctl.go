package conf

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// SysctlFile is the syntax of one file in the format of sysctl.conf(5) and sysctl.d(5).
//
// Two programs read that format, and not alike. What a line says to each of them is SystemdReads and ProcpsReads, both
// checked against the programs themselves (systemd 252, procps 4.0.2). The fields of a SysctlLine say what a person sees,
// which is also what both read on any line without a NUL or a carriage return in its middle, and without a vertical tab,
// a form feed or a second '-' before the key.
type SysctlFile struct {
	Lines []SysctlLine
	text  string // the file, of which keys and values are parts
	stop  int    // the line at which systemd-sysctl gives the file up: see longLine; len(Lines) if it reads all
}

// SysctlLine is one line; there are no continuations (sysctl.d(5) knows none, and both programs agree).
type SysctlLine struct {
	Span    Span          // without its "\n", but with a "\r" before it
	Key     Span          // as written, without a '-' in front; empty where there is none
	Value   Span          // without blanks around, any comment after it included, for so both programs take it; empty likewise
	Kind    SysctlKind    // never zero
	Ignore  bool          // an assignment with '-' in front: its failure to be written is not an error
	Glob    bool          // the key holds '*', '?' or '[': it stands for every key that matches
	Defects SysctlDefects // what is odd about the line; zero is none
}

// SysctlKind is what a line is. The zero SysctlKind is invalid.
type SysctlKind uint8

// The kinds of a line.
const (
	SysctlBlank      SysctlKind = iota + 1 // nothing but blanks
	SysctlComment                          // '#' or ';' is the first character that is not blank
	SysctlAssignment                       // key = value, the value perhaps empty
	SysctlExclusion                        // -key without '=': keeps the key out of globs
	SysctlMalformed                        // neither: both programs complain and skip it, or can only fail on it
)

// SysctlDefects is a set of oddities of a line.
type SysctlDefects uint32

// The defects.
const (
	SysctlNoEquals       SysctlDefects = 1 << iota // no '=', and it is no exclusion
	SysctlNoKey                                    // nothing before the '=', or after the '-'
	SysctlCommand                                  // a shell command: "sysctl -w key=value"
	SysctlQuotes                                   // the value or the key stands in quotes, which both programs keep
	SysctlBlankInKey                               // the key holds a space or tab
	SysctlBOM                                      // the file begins with U+FEFF, which becomes part of this line
	SysctlInvisibleKey                             // a character that nobody sees is part of the key: U+200B, NBSP, a control character
	SysctlInvisibleValue                           // likewise in the value
	SysctlFullWidth                                // full-width forms of ASCII: '＝', '．', '１'
	SysctlNotUTF8                                  // bytes that are not UTF-8
	SysctlNUL                                      // a NUL: to procps the line ends there, to systemd another begins
	SysctlCRLF                                     // ends in "\r\n", which both programs take off
	SysctlLoneCR                                   // a carriage return inside: systemd begins another line, procps does not
	SysctlInlineComment                            // '#' or ';' after the value, which neither program takes off
	SysctlBackslash                                // ends in a backslash, which continues nothing
	SysctlDoubleDash                               // more than one '-' in front: procps takes two off, systemd one
	SysctlTooLong                                  // 1 MiB or more: systemd-sysctl reads the file no further
)

// String names the defects, for messages in tests.
func (d SysctlDefects) String() string {
	names := [...]string{
		"no-equals", "no-key", "command", "quotes", "blank-in-key", "bom", "invisible-key", "invisible-value",
		"full-width", "not-utf8", "nul", "crlf", "lone-cr", "inline-comment", "backslash", "double-dash", "too-long",
	}
	var set []string
	for i, name := range names {
		if d&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, " ")
}

// longLine is LONG_LINE_MAX of systemd (src/basic/fileio.h): read_line fails with ENOBUFS once it has taken that many
// bytes, and systemd-sysctl then drops the rest of the file, keeping what came before. procps (getline(3)) has no limit.
const longLine = 1 << 20

// ParseSysctl reads a file. Keys and values are parts of data, which must not change afterwards.
func ParseSysctl(data []byte) *SysctlFile {
	f := &SysctlFile{text: unsafe.String(unsafe.SliceData(data), len(data))} // a copy would cost half of the parsing
	count := bytes.Count(data, []byte{'\n'})
	if len(data) > 0 && data[len(data)-1] != '\n' {
		count++
	}
	f.Lines = make([]SysctlLine, 0, count)
	f.stop = count
	// Most files hold neither; to ask once is far cheaper than to look in each line.
	breaks := bytes.IndexByte(data, '\r') >= 0 || bytes.IndexByte(data, 0) >= 0
	for start := 0; start < len(data); {
		end := len(data)
		if n := strings.IndexByte(f.text[start:], '\n'); n >= 0 {
			end = start + n
		}
		l := f.parseLine(Span{start, end}, breaks)
		if end-start >= longLine {
			f.markLong(&l)
		}
		f.Lines = append(f.Lines, l)
		start = end + 1
	}
	if strings.HasPrefix(f.text, bom) {
		f.Lines[0].Defects |= SysctlBOM
	}
	return f
}

const bom = "\uFEFF"

// markLong finds whether systemd-sysctl stops within a line: it counts its own lines, which "\r" and NUL end too.
func (f *SysctlFile) markLong(l *SysctlLine) {
	for part := range splitSystemd(f.text, l.Span) {
		if part.Len() >= longLine {
			l.Defects |= SysctlTooLong
			f.stop = min(f.stop, len(f.Lines))
			return
		}
	}
}

func (f *SysctlFile) parseLine(whole Span, breaks bool) SysctlLine {
	l := SysctlLine{Span: whole, Kind: SysctlBlank}
	s := whole
	if breaks {
		s = l.cutBreaks(f.text)
	}
	s = trimBlanks(f.text, s)
	if s.Len() == 0 {
		return l
	}
	switch f.text[s.Start] {
	case '#', ';':
		l.Kind = SysctlComment
		return l
	case '-':
		l.parseDash(f.text, s)
	default:
		l.parsePlain(f.text, s)
	}
	l.examine(f.text, s)
	return l
}

// parsePlain takes "key = value".
func (l *SysctlLine) parsePlain(text string, s Span) {
	eq := strings.IndexByte(text[s.Start:s.End], '=')
	if eq < 0 {
		l.Kind = SysctlMalformed
		l.Defects |= SysctlNoEquals
		return
	}
	l.Kind = SysctlAssignment
	l.Key = trimBlanks(text, Span{s.Start, s.Start + eq})
	l.Value = trimBlanks(text, Span{s.Start + eq + 1, s.End})
	if l.Key.Len() == 0 {
		l.Kind = SysctlMalformed
		l.Defects |= SysctlNoKey
	}
}

// parseDash takes what begins with '-': an assignment whose failure is ignored, or an exclusion.
func (l *SysctlLine) parseDash(text string, s Span) {
	s = trimBlanks(text, Span{s.Start + 1, s.End})
	if s.Len() > 0 && text[s.Start] == '-' {
		l.Defects |= SysctlDoubleDash
	}
	if strings.IndexByte(text[s.Start:s.End], '=') >= 0 {
		l.parsePlain(text, s)
		l.Ignore = l.Kind == SysctlAssignment
		return
	}
	l.Key = s
	l.Kind = SysctlExclusion
	if s.Len() == 0 {
		l.Kind = SysctlMalformed
		l.Defects |= SysctlNoKey
	}
}

// cutBreaks notes NUL and CR, and returns what systemd-sysctl takes for the first line in the line: its read_line ends
// at "\n", "\r" and NUL alike (src/basic/fileio.c, categorize_eol).
func (l *SysctlLine) cutBreaks(text string) Span {
	s := l.Span
	if s.Len() > 0 && text[s.End-1] == '\r' {
		l.Defects |= SysctlCRLF
	}
	if strings.IndexByte(text[s.Start:s.End], 0) >= 0 {
		l.Defects |= SysctlNUL
	}
	for s.Start < s.End && isBlankOrBreak(text[s.Start]) {
		s.Start++
	}
	for s.Start < s.End && isBlankOrBreak(text[s.End-1]) {
		s.End--
	}
	if strings.IndexByte(text[s.Start:s.End], '\r') >= 0 {
		l.Defects |= SysctlLoneCR
	}
	if n := strings.IndexAny(text[s.Start:s.End], "\r\x00"); n >= 0 {
		s.End = s.Start + n
	}
	return s
}

func isBlankOrBreak(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == 0 }

// trimBlanks takes off what systemd does: WHITESPACE of src/basic/string-util.h less the line ends.
func trimBlanks(text string, s Span) Span {
	for s.Start < s.End && (text[s.Start] == ' ' || text[s.Start] == '\t') {
		s.Start++
	}
	for s.Start < s.End && (text[s.End-1] == ' ' || text[s.End-1] == '\t') {
		s.End--
	}
	return s
}

// What a byte may have to do with a defect.
const (
	byteBlank uint8 = 1 << iota
	byteControl
	byteHigh
	byteQuote
	byteMark
	byteGlob
	byteBackslash
)

// bytesOf returns which of these stand in s. The comparisons come in an order that lets the letters, digits and dots of
// an ordinary key or value pass with few of them.
func bytesOf(s string) (seen uint8) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '.' && c <= '9', c == '_':
		case c == ' ' || c == '\t':
			seen |= byteBlank
		case c >= 0x80:
			seen |= byteHigh
		case c < ' ' || c == 0x7f:
			seen |= byteControl
		case c == '"' || c == '\'':
			seen |= byteQuote
		case c == '#' || c == ';':
			seen |= byteMark
		case c == '*' || c == '?' || c == '[':
			seen |= byteGlob
		case c == '\\':
			seen |= byteBackslash
		}
	}
	return seen
}

// examine notes the defects of a line with content s.
func (l *SysctlLine) examine(text string, s Span) {
	if l.Kind == SysctlMalformed {
		l.examineKey(text[s.Start:s.End], bytesOf(text[s.Start:s.End]))
		l.Glob = false
		l.Defects &^= SysctlBlankInKey | SysctlQuotes // of prose, not of a key
		return
	}
	key := text[l.Key.Start:l.Key.End]
	if seen := bytesOf(key); seen != 0 {
		l.examineKey(key, seen)
	}
	value := text[l.Value.Start:l.Value.End]
	if seen := bytesOf(value); seen != 0 {
		l.examineValue(value, seen)
	}
}

func (l *SysctlLine) examineKey(key string, seen uint8) {
	l.Glob = seen&byteGlob != 0
	if seen&byteBlank != 0 {
		l.Defects |= SysctlBlankInKey
		if isCommand(key) {
			l.Defects |= SysctlCommand
		}
	}
	if seen&byteQuote != 0 {
		l.Defects |= SysctlQuotes
	}
	if seen&byteControl != 0 {
		l.Defects |= SysctlInvisibleKey
	}
	if seen&byteHigh != 0 {
		l.Defects |= examineRunes(key, SysctlInvisibleKey)
	}
}

func (l *SysctlLine) examineValue(value string, seen uint8) {
	if seen&byteQuote != 0 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] && len(value) > 1 {
		l.Defects |= SysctlQuotes
	}
	if seen&byteMark != 0 && commentIn(value) >= 0 {
		l.Defects |= SysctlInlineComment
	}
	if seen&byteBackslash != 0 && value[len(value)-1] == '\\' {
		l.Defects |= SysctlBackslash
	}
	if seen&byteControl != 0 {
		l.Defects |= SysctlInvisibleValue
	}
	if seen&byteHigh != 0 {
		l.Defects |= examineRunes(value, SysctlInvisibleValue)
	}
}

// examineRunes looks at text that is not ASCII. Chinese, or an accent, is no defect.
func examineRunes(s string, invisible SysctlDefects) (d SysctlDefects) {
	for i, r := range s {
		switch {
		case r < utf8.RuneSelf:
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				d |= SysctlNotUTF8
			}
		case r >= 0xFF01 && r <= 0xFF5E || r == 0xFE66: // fullwidth forms; small equals sign
			d |= SysctlFullWidth
		case unicode.In(r, unicode.Cf, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Cc):
			d |= invisible
		}
	}
	return d
}

// isCommand tells "sysctl -w net.x", "sudo /sbin/sysctl net.x" and their like from a key with a blank in it.
func isCommand(key string) bool {
	for word := range strings.FieldsSeq(key) {
		if word == "sysctl" || strings.HasSuffix(word, "/sysctl") {
			return true
		}
		if word != "sudo" && word != "$" && word != "#" && word != "-" {
			return false
		}
	}
	return false
}

// commentIn returns where in a value a comment begins that its author thought would be taken off, or -1. It begins at
// '#' or ';' after a blank, or right after a number; elsewhere these may be part of a text (kernel.core_pattern).
func commentIn(value string) int {
	number := true
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '#' || c == ';':
			if number || value[i-1] == ' ' || value[i-1] == '\t' {
				return i
			}
		case c != ' ' && c != '\t' && c != '-' && (c < '0' || c > '9'):
			number = false
		}
	}
	return -1
}

// Text returns the bytes of a span; it copies nothing.
func (f *SysctlFile) Text(s Span) string { return f.text[s.Start:s.End] }

// Key returns the canonical name that a line speaks of (see SysctlName); empty where there is no key.
func (f *SysctlFile) Key(line int) string {
	key := f.Text(f.Lines[line].Key)
	if isName(key) {
		return key
	}
	return SysctlName(swapSeparators(key))
}

// Comment returns the span of the comment after a line's value, if it has one.
func (f *SysctlFile) Comment(line int) (Span, bool) {
	v := f.Lines[line].Value
	n := commentIn(f.Text(v))
	return Span{v.Start + max(n, 0), v.End}, n >= 0
}

// SysctlReading is what one program takes from a line.
type SysctlReading struct {
	Kind   SysctlKind // SysctlAssignment or SysctlExclusion
	Key    Span       // as written
	Value  Span       // as it is written to the kernel; empty in an exclusion
	Target string     // path below /proc/sys as the program forms it, by which it knows whether two lines speak of one key
	Ignore bool       // see SysctlLine
	Glob   bool       // Target holds '*', '?' or '['
	key    string     // the text of Key
}

// Name is the canonical name of the key.
func (r SysctlReading) Name() string {
	if isName(r.key) {
		return r.key
	}
	return SysctlName(r.Target)
}

// isName reports whether a key is written as its canonical name, without slashes, as nearly all are: then it need not be
// made a path and back.
func isName(key string) bool {
	last := byte('.')
	for i := 0; i < len(key); i++ {
		if key[i] == '/' || key[i] == '.' && last == '.' {
			return false
		}
		last = key[i]
	}
	return last != '.'
}

// SystemdReads yields what systemd-sysctl takes from a line: mostly one reading or none; but a carriage return or a NUL
// in a line begins another for it. After a line of 1 MiB it reads nothing more.
func (f *SysctlFile) SystemdReads(line int) iter.Seq[SysctlReading] {
	return func(yield func(SysctlReading) bool) {
		if line > f.stop {
			return
		}
		l := f.Lines[line]
		if l.Defects&(SysctlNUL|SysctlLoneCR|SysctlTooLong) == 0 {
			if r, ok := f.systemdReading(l); ok {
				yield(r)
			}
			return
		}
		for part := range splitSystemd(f.text, l.Span) {
			if part.Len() >= longLine {
				return
			}
			if r, ok := f.systemdReading(f.parseLine(part, false)); ok && !yield(r) {
				return
			}
		}
	}
}

// splitSystemd yields the lines that systemd's read_line finds in a line.
func splitSystemd(text string, s Span) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		for s.Start < s.End {
			end := s.End
			if n := strings.IndexAny(text[s.Start:s.End], "\r\x00"); n >= 0 {
				end = s.Start + n
			}
			if !yield(Span{s.Start, end}) {
				return
			}
			s.Start = end + 1
		}
	}
}

// systemdReading is what the loop body of parse_file in src/sysctl/sysctl.c makes of one of its lines. An assignment to
// the empty key is one to the directory /proc/sys itself (EISDIR), and so malformed here.
func (f *SysctlFile) systemdReading(l SysctlLine) (SysctlReading, bool) {
	if l.Kind != SysctlAssignment && l.Kind != SysctlExclusion {
		return SysctlReading{}, false
	}
	key := f.Text(l.Key)
	target := simplifyPath(swapSeparators(key))
	return SysctlReading{Kind: l.Kind, Key: l.Key, Value: l.Value, Target: target, Ignore: l.Ignore, Glob: l.Glob, key: key}, true
}

// ProcpsReads returns what sysctl(8) of procps takes from a line: parse_setting_line in src/sysctl.c. It differs from
// systemd in that isspace(3) also takes off "\v" and "\f"; in that the line ends at a NUL, and not at a "\r"; and in
// that blanks after the '-' stay, so that "- key" names no key, while of "--key" both go.
func (f *SysctlFile) ProcpsReads(line int) (SysctlReading, bool) {
	s := f.Lines[line].Span
	if n := strings.IndexByte(f.text[s.Start:s.End], 0); n >= 0 {
		s.End = s.Start + n
	}
	s = trimSpace(f.text, s)
	if s.Len() == 0 || f.text[s.Start] == '#' || f.text[s.Start] == ';' {
		return SysctlReading{}, false
	}
	r := SysctlReading{Kind: SysctlAssignment, Key: s}
	eq := strings.IndexByte(f.text[s.Start:s.End], '=')
	dash := f.text[s.Start] == '-'
	switch {
	case eq >= 0:
		r.Key.End = s.Start + eq
		r.Value = trimSpace(f.text, Span{r.Key.End + 1, s.End})
		r.Ignore = dash
	case dash:
		r.Kind = SysctlExclusion
	default:
		return SysctlReading{}, false
	}
	for n := 0; dash && n < 2 && r.Key.Len() > 0 && f.text[r.Key.Start] == '-'; n++ {
		r.Key.Start++ // once in parse_setting_line, once more in setting_new
	}
	for r.Key.Len() > 0 && isSpace(f.text[r.Key.End-1]) {
		r.Key.End--
	}
	r.key = f.Text(r.Key)
	r.Target = swapSeparators(r.key)
	r.Glob = isGlob(r.Target)
	return r, r.Key.Len() > 0
}

// isSpace is isspace(3) in the C and UTF-8 locales.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func trimSpace(text string, s Span) Span {
	for s.Start < s.End && isSpace(text[s.Start]) {
		s.Start++
	}
	for s.Start < s.End && isSpace(text[s.End-1]) {
		s.End--
	}
	return s
}

func isGlob(target string) bool { return bytesOf(target)&byteGlob != 0 }

// SysctlTarget returns the path below /proc/sys of a key in any spelling.
func SysctlTarget(key string) string { return simplifyPath(swapSeparators(key)) }

// SysctlName returns the canonical name of a path below /proc/sys: dots between its parts, and slashes where a part has
// a dot of its own, as in "net.ipv4.conf.eth0/100.rp_filter". It is the spelling of sysctl -a.
func SysctlName(target string) string {
	return swapAll(simplifyPath(target))
}

// swapSeparators makes a path of a key by the rule that the first separator decides: is it a dot, then dots and slashes
// change places; is it a slash, then the key is a path already (sysctl.d(5); sysctl_normalize in
// src/shared/sysctl-util.c, slashdot in procps).
func swapSeparators(key string) string {
	n := separator(key)
	if n < 0 || key[n] == '/' {
		return key
	}
	return swapAll(key)
}

// separator is strings.IndexAny(s, "./"), which is slower on texts as short as a key.
func separator(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] == '.' || s[i] == '/' {
			return i
		}
	}
	return -1
}

func swapAll(s string) string {
	n := separator(s)
	if n < 0 {
		return s
	}
	b := []byte(s)
	for i := n; i < len(b); i++ {
		switch b[i] {
		case '.':
			b[i] = '/'
		case '/':
			b[i] = '.'
		}
	}
	return string(b)
}

// simplifyPath takes off what path_simplify in src/basic/path-util.c does, doubled and final slashes and "." as a part,
// and a leading slash, as sysctl_normalize does.
func simplifyPath(path string) string {
	if isSimple(path) {
		return path
	}
	var b strings.Builder
	b.Grow(len(path))
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(part)
	}
	return b.String()
}

// isSimple reports whether no part of a path is empty or ".".
func isSimple(path string) bool {
	part := 0 // where the present part begins
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if i == part || i == part+1 && path[part] == '.' {
			return false
		}
		part = i + 1
	}
	return true
}

// errTwoReadings is why a line with a break inside is not edited.
var errTwoReadings = errors.New("a NUL or a carriage return in the line makes two lines of it for systemd-sysctl: mend that by hand first")

// Set returns the edits that give the assignment on a line a new value. A comment after the old value, which both
// programs take for a part of it, goes on a line of its own above.
func (f *SysctlFile) Set(line int, value string) ([]Edit, error) {
	l, err := f.editable(line)
	if err != nil {
		return nil, err
	}
	if l.Kind != SysctlAssignment {
		return nil, fmt.Errorf("line %d: not an assignment", line+1)
	}
	if value == "" || isSpace(value[0]) || isSpace(value[len(value)-1]) || strings.ContainsAny(value, "\n\r\x00") {
		return nil, fmt.Errorf("line %d: the value %q cannot be written: it is empty, has blanks around it or a line end inside", line+1, value)
	}
	edits := []Edit{{l.Value, value}}
	if c, ok := f.Comment(line); ok {
		end := "\n"
		if l.Defects&SysctlCRLF != 0 {
			end = "\r\n"
		}
		edits = []Edit{{Span{l.Span.Start, l.Span.Start}, f.Text(c) + end}, edits[0]}
	}
	return edits, nil
}

// Remove returns the edit that takes a line out, with its line end.
func (f *SysctlFile) Remove(line int) ([]Edit, error) {
	l, err := f.editable(line)
	if err != nil {
		return nil, err
	}
	return []Edit{{Span: Span{l.Span.Start, min(l.Span.End+1, len(f.text))}}}, nil
}

func (f *SysctlFile) editable(line int) (SysctlLine, error) {
	if line < 0 || line >= len(f.Lines) {
		return SysctlLine{}, fmt.Errorf("line %d: the file has %d lines", line+1, len(f.Lines))
	}
	l := f.Lines[line]
	if l.Defects&(SysctlNUL|SysctlLoneCR) != 0 {
		return SysctlLine{}, fmt.Errorf("line %d: %w", line+1, errTwoReadings)
	}
	return l, nil
}
