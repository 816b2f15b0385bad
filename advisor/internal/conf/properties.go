package conf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Properties is the syntax of a .properties file as java.util.Properties.load reads it (checked against JDK 17), and the
// documents that Spring Boot 2.4 and later finds in one (OriginTrackedPropertiesLoader).
//
// The readers disagree about the encoding: load(InputStream) and Spring Boot take each byte for a character of ISO-8859-1,
// load(Reader) of a program mostly UTF-8. All that decides about the structure is ASCII, so bytes beyond it are kept as they
// are, and what is written is ASCII, which means the same to all.
type Properties struct {
	Entries []PropertiesEntry // in the order of the file; of a key that stands there twice in one document the last counts
	text    string
	ended   bool // the last line ends in a backslash: what is appended would belong to it
}

// PropertiesEntry is one key with its value.
type PropertiesEntry struct {
	Key, Value string // without escapes and line continuations; the value keeps the blanks at its end, as load does
	KeySpan    Span   // as written
	ValueSpan  Span   // as written, over all its lines; where there is no value the empty span at its place
	Line       Span   // the lines that it stands on, from the first's start to before the last's end
	Document   int    // from 0; #--- and !--- part documents

	bare bool // nothing parts the key from a value
	odd  bool // a line of nothing but a backslash comes before: it would join to what comes next
}

// propertiesLimit is far beyond what a person writes: each byte of a line is kept with its place.
const propertiesLimit = 4 << 20

// ParseProperties reads a file. An error is a *SyntaxError with the line; the entries before it are returned with it.
func ParseProperties(data []byte) (*Properties, error) {
	if len(data) > propertiesLimit {
		return &Properties{}, &SyntaxError{1, "larger than any properties that a person writes"}
	}
	f := &Properties{text: string(data)}
	r := propertiesReader{text: f.text, bare: true}
	for r.readLine() {
		e, err := r.entry()
		if err != nil {
			line, _ := IndexLines(data).Position(r.begin)
			return f, &SyntaxError{line, err.Error()}
		}
		f.Entries = append(f.Entries, e)
	}
	f.ended = r.dangling
	return f, nil
}

// propertiesReader makes logical lines of the natural ones.
type propertiesReader struct {
	text  string
	next  int    // the byte to read next
	line  []byte // the logical line, without comments, blanks in front and continuations
	at    []int  // where each of its bytes stands
	begin int    // start of the natural line that it begins on
	end   int    // of its last natural line, before the line end
	cut   int    // where the last backslash of a continuation stands
	odd   bool

	document int
	bare     bool // the document has no entry yet
	comment  byte // '#' or '!' if the line before is such a comment, else 0
	dangling bool // the text ended behind a backslash
}

// readLine reads one logical line; false at the end. It follows LineReader.readLine of java/util/Properties.java, with its
// oddities: a line that only continues is no beginning, so the next may still be a comment.
func (r *propertiesReader) readLine() bool {
	r.line, r.at, r.odd = r.line[:0], r.at[:0], false
	skip, appended, backslash := true, false, false
	natural := r.next
	for r.next < len(r.text) {
		i := r.next
		c := r.text[i]
		r.next++
		lineEnd := c == '\n' || c == '\r'
		if skip {
			if isPropertiesBlank(c) {
				continue
			}
			if !appended && lineEnd {
				r.comment, natural = 0, r.next
				continue
			}
			skip, appended = false, false
		}
		if len(r.line) == 0 && (c == '#' || c == '!') {
			r.skipComment(i, i == natural)
			skip, natural = true, r.next
			continue
		}
		if !lineEnd {
			if len(r.line) == 0 {
				r.begin = natural
			}
			r.line, r.at = append(r.line, c), append(r.at, i)
			backslash = c == '\\' && !backslash
			continue
		}
		if c == '\r' && r.next < len(r.text) && r.text[r.next] == '\n' {
			r.next++
		}
		natural = r.next
		switch {
		case len(r.line) == 0:
			skip = true
		case !backslash || r.next == len(r.text):
			r.finish(i, backslash)
			return true
		default:
			r.cutBackslash()
			r.odd = r.odd || len(r.line) == 0
			skip, appended, backslash = true, true, false
		}
	}
	if len(r.line) == 0 {
		return false
	}
	r.dangling = backslash
	r.finish(len(r.text), backslash)
	return true
}

func (r *propertiesReader) finish(end int, backslash bool) {
	r.end, r.comment = end, 0
	if backslash {
		r.cutBackslash()
		r.dangling = true
	}
}

func (r *propertiesReader) cutBackslash() {
	r.cut = r.at[len(r.at)-1]
	r.line, r.at = r.line[:len(r.line)-1], r.at[:len(r.at)-1]
}

func isPropertiesBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\f' }

// skipComment goes to the next line, and counts documents. #--- parts them only at the start of a line, and not beside
// another comment of the same kind; one that a comment follows takes itself back.
func (r *propertiesReader) skipComment(at int, first bool) {
	prefix := r.text[at]
	end := len(r.text)
	if n := strings.IndexAny(r.text[at:], "\r\n"); n >= 0 {
		end = at + n
	}
	r.next = min(end+1, len(r.text))
	if end+1 < len(r.text) && r.text[end:end+2] == "\r\n" {
		r.next++
	}
	switch {
	case first && r.comment != prefix && strings.TrimRight(r.text[at+1:end], " \t\f") == "---":
		if !r.bare {
			r.document++
		}
		r.bare = true
		return
	case r.bare && r.document > 0:
		r.document--
		r.bare = false
	}
	r.comment = prefix
}

// entry takes the logical line apart, as Properties.load0 does.
func (r *propertiesReader) entry() (PropertiesEntry, error) {
	key, value, separator, backslash := 0, len(r.line), false, false
	for ; key < len(r.line); key++ {
		c := r.line[key]
		if !backslash && (c == '=' || c == ':' || isPropertiesBlank(c)) {
			separator = c == '=' || c == ':'
			value = key + 1
			break
		}
		backslash = c == '\\' && !backslash
	}
	bare := key == len(r.line)
	for ; value < len(r.line); value++ {
		c := r.line[value]
		if !isPropertiesBlank(c) && (separator || c != '=' && c != ':') {
			break
		}
		separator = separator || !isPropertiesBlank(c)
	}
	e := PropertiesEntry{KeySpan: r.span(0, key), ValueSpan: r.span(value, len(r.line)), Line: Span{r.begin, r.end}, bare: bare, odd: r.odd}
	var badKey, badValue error
	e.Key, badKey = unescapeProperties(r.line[:key])
	e.Value, badValue = unescapeProperties(r.line[value:])
	if e.Key != "" { // Document.put drops the others
		r.bare = false
	}
	e.Document = r.document
	return e, errors.Join(badKey, badValue)
}

// span is where a part of the logical line stands.
func (r *propertiesReader) span(from, to int) Span {
	switch {
	case from < to:
		return Span{r.at[from], r.at[to-1] + 1}
	case from > 0:
		return Span{r.at[from-1] + 1, r.at[from-1] + 1}
	case len(r.at) > 0:
		return Span{r.at[0], r.at[0]}
	}
	return Span{r.cut, r.cut}
}

var errUnicodeEscape = errors.New(`\u without four hexadecimal digits`)

// unescapeProperties is Properties.loadConvert. A half of a surrogate pair without its other becomes U+FFFD.
func unescapeProperties(text []byte) (string, error) {
	if !slices.Contains(text, '\\') {
		return string(text), nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			out = append(out, text[i])
			continue
		}
		i++
		if n := strings.IndexByte("trnf", text[i]); n >= 0 {
			out = append(out, "\t\r\n\f"[n])
			continue
		}
		if text[i] != 'u' {
			out = append(out, text[i])
			continue
		}
		unit, ok := hexUnit(text[i+1:])
		if !ok {
			return "", errUnicodeEscape
		}
		i += 4
		if utf16.IsSurrogate(unit) && i+2 < len(text) && text[i+1] == '\\' && text[i+2] == 'u' {
			low, ok := hexUnit(text[i+3:])
			if pair := utf16.DecodeRune(unit, low); ok && pair != utf8.RuneError {
				unit = pair
				i += 6
			}
		}
		out = utf8.AppendRune(out, unit)
	}
	return string(out), nil
}

// hexUnit reads the four digits of \uXXXX.
func hexUnit(text []byte) (rune, bool) {
	if len(text) < 4 {
		return 0, false
	}
	var unit rune
	for _, c := range text[:4] {
		n := strings.IndexByte("0123456789abcdef", c|0x20)
		if n < 0 || c < '0' {
			return 0, false
		}
		unit = unit<<4 | rune(n)
	}
	return unit, true
}

// Text returns the bytes of a span.
func (f *Properties) Text(s Span) string { return f.text[s.Start:s.End] }

var errNotText = errors.New("a text that is not UTF-8 cannot be written")

// Set returns the edit that gives an entry a new value, on one line.
func (f *Properties) Set(entry int, value string) ([]Edit, error) {
	if entry < 0 || entry >= len(f.Entries) {
		return nil, fmt.Errorf("entry %d: the file has %d", entry+1, len(f.Entries))
	}
	if !utf8.ValidString(value) {
		return nil, errNotText
	}
	e := f.Entries[entry]
	text := escapeProperties(value, false)
	if e.bare && value != "" {
		text = "=" + text
	}
	return []Edit{{e.ValueSpan, text}}, nil
}

// Remove returns the edit that takes an entry out, with its line end.
func (f *Properties) Remove(entry int) ([]Edit, error) {
	if entry < 0 || entry >= len(f.Entries) {
		return nil, fmt.Errorf("entry %d: the file has %d", entry+1, len(f.Entries))
	}
	e := f.Entries[entry]
	if e.odd {
		return nil, errors.New("a line of a single backslash comes before it: mend that by hand first")
	}
	alone := !slices.ContainsFunc(f.Entries, func(o PropertiesEntry) bool { return o.Document == e.Document && o.Line != e.Line && o.Key != "" })
	if alone && f.Entries[len(f.Entries)-1].Document > 0 {
		return nil, errors.New("it is all that its document holds: take the document out by hand")
	}
	end := e.Line.End
	switch rest := f.text[end:]; {
	case strings.HasPrefix(rest, "\r\n"):
		end += 2
	case rest != "":
		end++
	}
	return []Edit{{Span: Span{e.Line.Start, end}}}, nil
}

// Add returns the edit that adds a key to a document, behind its last entry.
func (f *Properties) Add(document int, key, value string) ([]Edit, error) {
	line := escapeProperties(key, true) + "=" + escapeProperties(value, false)
	at, last := len(f.text), 0
	for _, e := range f.Entries {
		if e.Document == document {
			at = e.Line.End
		}
		last = max(last, e.Document)
	}
	switch {
	case document < 0 || document > last:
		return nil, fmt.Errorf("document %d: the file has %d", document+1, last+1)
	case f.ended && f.Entries[len(f.Entries)-1].Document == document:
		return nil, errors.New("the file ends in a backslash, so that a line behind it would belong to the last one: mend that by hand first")
	case key == "":
		return nil, errors.New("a setting without a key")
	case !utf8.ValidString(key + value):
		return nil, errNotText
	}
	lineEnd := f.lineEnd()
	if at == len(f.text) && (f.text == "" || strings.HasSuffix(f.text, "\n") || strings.HasSuffix(f.text, "\r")) {
		return []Edit{{Span{at, at}, line + lineEnd}}, nil
	}
	return []Edit{{Span{at, at}, lineEnd + line}}, nil
}

// lineEnd is how the file ends its lines.
func (f *Properties) lineEnd() string {
	switch n := strings.IndexAny(f.text, "\r\n"); {
	case n < 0 || f.text[n] == '\n':
		return "\n"
	case strings.HasPrefix(f.text[n:], "\r\n"):
		return "\r\n"
	}
	return "\r"
}

// escapeProperties writes a text so that all readers take it for the same.
func escapeProperties(text string, key bool) string {
	var out strings.Builder
	for i, r := range text {
		first := i == 0
		switch {
		case strings.ContainsRune("\t\r\n\f", r):
			out.WriteByte('\\')
			out.WriteByte("trnf"[strings.IndexRune("\t\r\n\f", r)])
		case r == '\\', r == ' ' && (key || first), strings.ContainsRune("=:", r) && (key || first), strings.ContainsRune("#!", r) && key:
			out.WriteByte('\\')
			out.WriteRune(r)
		case r < ' ' || r > '~':
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&out, `\u%04X`, unit)
			}
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
