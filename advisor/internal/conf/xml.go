package conf

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// XML is the syntax of one XML 1.0 document: elements and their attributes with the bytes that they stand in. Well-formedness
// is judged as a parser judges it that does not validate. Entities that the DOCTYPE declares are noted, never expanded and never
// fetched: whose value or content depends on one has Entity.
type XML struct {
	Entities []XMLEntity // declared in the DOCTYPE
	External string      // system identifier of the DTD that the DOCTYPE names; empty: none. It is not read either
	text     string      // what offsets point into: the file itself, but of UTF-16 a copy
	nodes    []xmlNode   // in the order of their start tags
	attrs    []XMLAttr   // likewise
	encoding string      // lower case; empty: UTF-8
	readOnly string      // why there are no edits; empty: there may be
}

// XMLEntity is a general entity that the DOCTYPE declares, or with a '%' before its name a parameter entity.
type XMLEntity struct {
	Name   string
	System string // system identifier of an external one; empty: internal
	Span   Span   // of the declaration
}

// XMLAttr is one attribute of an element.
type XMLAttr struct {
	Name   string // as written, with its prefix
	Value  string // references undone, line breaks as blanks; with Entity as it stands in the file
	Span   Span   // of the value, without its quotes
	Entity string // an entity of the DOCTYPE that the value refers to; empty: none
	whole  Span   // with name and quotes
	before int    // where the white space before it begins
}

type xmlNode struct {
	parent, after int32 // after: the first element behind those inside
	attr, attrEnd int32 // its attributes
	name          Span
	open, end     Span   // tags; end is empty where <a/> has none
	entity        string // an entity that stands in its content
}

// XMLError is why a document is not well-formed, or is not read.
type XMLError struct {
	Line, Column int // 1-based; the column counts bytes
	Message      string
}

func (e *XMLError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// Limits of a document. One that goes beyond is refused, never cut.
const (
	xmlMaxDepth    = 200
	xmlMaxElements = 1 << 20
	xmlMaxAttrs    = 256 // of one element
)

// ParseXML reads a document. The error is an *XMLError; what stands before it is returned with it.
func ParseXML(data []byte) (*XML, error) {
	p := xmlParser{f: &XML{}, known: map[string]bool{}}
	var why string
	if data, why = p.decode(data); why != "" {
		return p.f, &XMLError{1, 1, why}
	}
	p.f.text = string(data)
	p.parse(data)
	for i := len(p.stack) - 1; i >= 0; i-- { // of a broken file
		p.f.nodes[p.stack[i]].after = int32(len(p.f.nodes))
	}
	if p.err != "" {
		line, column := IndexLines(data).Position(p.at)
		return p.f, &XMLError{line, column, p.err}
	}
	return p.f, nil
}

type xmlParser struct {
	f     *XML
	stack []int32         // open elements
	known map[string]bool // general entities
	any   bool            // entities may be declared where nobody looks: in another file
	typed bool            // a DOCTYPE was seen
	err   string
	at    int
}

func (p *xmlParser) fail(at int, format string, args ...any) bool {
	p.at, p.err = at, fmt.Sprintf(format, args...)
	return false
}

var xmlEncoding = regexp.MustCompile(`^<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z][\w.-]*)["']`)

// decode finds out the encoding. UTF-16 becomes UTF-8, of which nothing is written back.
func (p *xmlParser) decode(data []byte) (text []byte, why string) {
	big := bytes.HasPrefix(data, []byte{0xFE, 0xFF}) || bytes.HasPrefix(data, []byte{0, '<'})
	if little := bytes.HasPrefix(data, []byte{0xFF, 0xFE}) || bytes.HasPrefix(data, []byte{'<', 0}); big || little {
		p.f.readOnly = "a file in UTF-16 is read only"
		if len(data)%2 != 0 {
			return nil, "an odd number of bytes, which UTF-16 cannot be"
		}
		units := make([]uint16, len(data)/2)
		for i := range units {
			a, b := uint16(data[2*i]), uint16(data[2*i+1])
			if !big {
				a, b = b, a
			}
			units[i] = a<<8 | b
		}
		p.f.encoding = "utf-16"
		return []byte(strings.TrimPrefix(string(utf16.Decode(units)), bom)), ""
	}
	const declaration = 200
	m := xmlEncoding.FindSubmatch(bytes.TrimPrefix(data[:min(len(data), declaration)], []byte(bom)))
	if m == nil {
		return data, ""
	}
	switch name := strings.ToLower(string(m[1])); {
	case name == "utf-8" || name == "utf8":
	case isSingleByte(name):
		p.f.encoding = name
	default:
		return nil, fmt.Sprintf("the encoding %s is not read", m[1])
	}
	return data, ""
}

// isSingleByte reports whether an encoding has one byte for each character, of which those below 0x80 are ASCII.
func isSingleByte(name string) bool {
	return name == "us-ascii" || name == "ascii" || name == "latin1" || name == "koi8-r" ||
		strings.HasPrefix(name, "iso-8859-") || strings.HasPrefix(name, "windows-125") || strings.HasPrefix(name, "cp125")
}

// plain is what encoding/xml reads: of a single-byte encoding a copy of the same length, so that offsets stay true.
func (p *xmlParser) plain(data []byte) []byte {
	if !isSingleByte(p.f.encoding) {
		return data
	}
	out := bytes.Clone(data)
	for i, c := range out {
		if c >= 0x80 {
			out[i] = '?'
		}
	}
	return out
}

func (p *xmlParser) parse(data []byte) {
	plain := p.plain(data)
	d := xml.NewDecoder(bytes.NewReader(plain))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	d.Entity = map[string]string{}
	for p.err == "" {
		start := int(d.InputOffset())
		token, err := d.RawToken()
		end := int(d.InputOffset())
		switch {
		case errors.Is(err, io.EOF):
			p.finish(len(data))
			return
		case err != nil:
			p.syntax(err, start, end)
			return
		}
		switch token := token.(type) {
		case xml.StartElement:
			p.open(start, end)
		case xml.EndElement:
			if p.f.text[end-1] == '>' && start != end { // of <a/> the decoder tells an end of no bytes
				p.close(start, end)
			} else {
				p.pop(Span{end, end})
			}
		case xml.CharData:
			p.content(start, end)
		case xml.Directive:
			if p.doctype(start, end) {
				p.declare(d.Entity)
			}
		case xml.ProcInst:
			if declared := strings.EqualFold(token.Target, "xml"); declared && start != 0 && p.f.text[:start] != bom {
				p.fail(start, "an <?xml declaration stands at the very beginning or not at all")
			}
		}
	}
}

// declare tells the decoder which entities there are.
func (p *xmlParser) declare(to map[string]string) {
	for name := range p.known {
		to[name] = ""
	}
	if !p.any {
		return
	}
	for _, m := range xmlReference.FindAllStringSubmatch(p.f.text, -1) {
		to[m[1]] = ""
		p.known[m[1]] = true
	}
}

var xmlReference = regexp.MustCompile(`&([A-Za-z_:\x80-\xff][\w:.\x80-\xff-]*);`)

// syntax words what the decoder found.
func (p *xmlParser) syntax(err error, start, end int) {
	message := strings.TrimPrefix(err.Error(), "xml: ")
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		message = syntax.Msg
	}
	at := min(end, len(p.f.text))
	switch {
	case strings.HasPrefix(message, "invalid character entity"):
		name, after, _ := strings.Cut(strings.TrimPrefix(message, "invalid character entity "), " ")
		if n := strings.Index(p.f.text[start:at], name); n >= 0 {
			at = start + n
		}
		message = fmt.Sprintf("the entity %s is not declared", name)
		if after != "" { // "(no semicolon)"
			message = "this & begins no entity: a lone & is written &amp;"
		}
	case strings.HasPrefix(message, "unexpected EOF"):
		at = start
		message = "the file ends inside this tag or comment"
	case at > start && at < len(p.f.text):
		at--
	}
	p.fail(at, "%s", message)
}

func (p *xmlParser) finish(end int) {
	switch {
	case len(p.stack) > 0:
		n := p.f.nodes[p.stack[len(p.stack)-1]]
		p.fail(n.open.Start, "<%s> is never closed", p.f.text[n.name.Start:n.name.End])
	case len(p.f.nodes) == 0:
		p.fail(end, "no element: is this XML?")
	}
}

// open takes in a start tag.
func (p *xmlParser) open(start, end int) {
	name := Span{start + 1, start + 1}
	for name.End < end && !isXMLSpace(p.f.text[name.End]) && p.f.text[name.End] != '/' && p.f.text[name.End] != '>' {
		name.End++
	}
	parent := int32(-1)
	switch {
	case len(p.stack) > 0:
		parent = p.stack[len(p.stack)-1]
	case len(p.f.nodes) > 0:
		p.fail(start, "a second element <%s> at the top: a document has one", p.f.text[name.Start:name.End])
		return
	}
	switch {
	case len(p.stack) >= xmlMaxDepth:
		p.fail(start, "more than %d elements within one another", xmlMaxDepth)
		return
	case len(p.f.nodes) >= xmlMaxElements:
		p.fail(start, "more than %d elements", xmlMaxElements)
		return
	}
	at := int32(len(p.f.attrs))
	if !p.attributes(name.End, end) {
		return
	}
	p.stack = append(p.stack, int32(len(p.f.nodes)))
	p.f.nodes = append(p.f.nodes, xmlNode{parent: parent, attr: at, attrEnd: int32(len(p.f.attrs)), name: name, open: Span{start, end}})
}

// attributes scans the rest of a start tag that the decoder has read without complaint: it tells no positions.
func (p *xmlParser) attributes(at, end int) bool {
	text, first := p.f.text, len(p.f.attrs)
	for {
		before := at
		for isXMLSpace(text[at]) {
			at++
		}
		if text[at] == '/' || text[at] == '>' {
			return true
		}
		a := XMLAttr{before: before}
		if before == at {
			return p.fail(at, "a blank is missing before this attribute")
		}
		start := at
		for text[at] != '=' && !isXMLSpace(text[at]) {
			at++
		}
		a.Name = text[start:at]
		for text[at] != '"' && text[at] != '\'' {
			at++
		}
		a.Span.Start = at + 1
		a.Span.End = a.Span.Start + strings.IndexByte(text[a.Span.Start:end], text[at])
		at = a.Span.End + 1
		a.whole = Span{start, at}
		if len(p.f.attrs)-first >= xmlMaxAttrs {
			return p.fail(start, "more than %d attributes", xmlMaxAttrs)
		}
		if slices.ContainsFunc(p.f.attrs[first:], func(o XMLAttr) bool { return o.Name == a.Name }) {
			return p.fail(start, "the attribute %s stands here twice", a.Name)
		}
		a.Value, a.Entity = p.f.unescape(a.Span, true)
		p.f.attrs = append(p.f.attrs, a)
	}
}

func (p *xmlParser) close(start, end int) {
	name := strings.TrimRight(p.f.text[start+2:end-1], " \t\r\n")
	if len(p.stack) == 0 {
		p.fail(start, "</%s> closes nothing", name)
		return
	}
	n := p.f.nodes[p.stack[len(p.stack)-1]]
	if open := p.f.text[n.name.Start:n.name.End]; open != name {
		line, _ := IndexLines([]byte(p.f.text[:n.open.Start])).Position(n.open.Start)
		p.fail(start, "</%s> stands where </%s> is missing, which closes the <%s> of line %d", name, open, open, line)
		return
	}
	p.pop(Span{start, end})
}

func (p *xmlParser) pop(end Span) {
	n := &p.f.nodes[p.stack[len(p.stack)-1]]
	n.end, n.after = end, int32(len(p.f.nodes))
	p.stack = p.stack[:len(p.stack)-1]
}

// content takes in text between tags.
func (p *xmlParser) content(start, end int) {
	text := p.f.text[start:end]
	if len(p.stack) == 0 {
		if start == 0 {
			text = strings.TrimPrefix(text, bom)
		}
		if rest := strings.TrimLeft(text, " \t\r\n"); rest != "" {
			p.fail(end-len(rest), "text outside of the document's element")
		}
		return
	}
	if strings.IndexByte(text, '&') < 0 || strings.HasPrefix(text, "<![CDATA[") {
		return
	}
	if _, entity := p.f.unescape(Span{start, end}, false); entity != "" {
		p.f.nodes[p.stack[len(p.stack)-1]].entity = entity
	}
}

// doctype takes in <!DOCTYPE ...>, of which only the declarations of entities matter here.
func (p *xmlParser) doctype(start, end int) bool {
	text := p.f.text[start:end]
	rest, ok := strings.CutPrefix(text, "<!DOCTYPE")
	switch {
	case !ok || rest == "" || !isXMLSpace(rest[0]):
		return p.fail(start, "neither an element nor a DOCTYPE")
	case p.typed || len(p.f.nodes) > 0:
		return p.fail(start, "a DOCTYPE stands before the document's element, and once")
	}
	p.typed = true
	head, _, _ := strings.Cut(text, "[")
	if literals := xmlLiteral.FindAllString(head, 2); len(literals) > 0 {
		p.f.External = unquoteXML(literals[len(literals)-1])
		p.any = true
	}
	hidden := []byte(text)
	for _, s := range xmlHidden.FindAllStringIndex(text, -1) {
		blank(hidden[s[0]:s[1]], ' ')
	}
	for _, m := range xmlDeclaration.FindAllSubmatchIndex(hidden, -1) {
		e := XMLEntity{Name: text[m[4]:m[5]], Span: Span{start + m[0], start + m[1]}}
		if m[6] >= 0 {
			e.System = unquoteXML(text[m[8]:m[9]])
		}
		if m[2] >= 0 {
			e.Name = "%" + e.Name
		} else {
			p.known[e.Name] = true
		}
		p.f.Entities = append(p.f.Entities, e)
	}
	p.any = p.any || xmlParameter.Match(hidden)
	return true
}

var (
	xmlLiteral     = regexp.MustCompile(`"[^"]*"|'[^']*'`)
	xmlHidden      = regexp.MustCompile(`(?s)<!--.*?-->|<\?.*?\?>`)
	xmlDeclaration = regexp.MustCompile(`(?s)<!ENTITY\s+(?:(%)\s+)?([^\s"'<>]+)\s+(?:(SYSTEM|PUBLIC\s+(?:"[^"]*"|'[^']*'))\s+)?("[^"]*"|'[^']*')[^>]*>`)
	xmlParameter   = regexp.MustCompile(`%[A-Za-z_:][\w:.-]*;`)
)

func unquoteXML(s string) string { return s[1 : len(s)-1] }

func isXMLSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// unescape is what a parser makes of a value or of text: the five entities and references to characters undone, line ends as
// XML 1.0 section 2.11 and in attributes 3.3.3 want them. Of what refers to a declared entity it returns the bytes as they are.
func (f *XML) unescape(s Span, attribute bool) (value, entity string) {
	raw := f.text[s.Start:s.End]
	if strings.IndexByte(raw, '&') < 0 && (!attribute || !strings.ContainsAny(raw, "\t\r\n")) && strings.IndexByte(raw, '\r') < 0 {
		return f.shown(raw), ""
	}
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '\r', '\n', '\t':
			if c == '\r' {
				if c = '\n'; i+1 < len(raw) && raw[i+1] == '\n' {
					i++
				}
			}
			if attribute {
				c = ' '
			}
			b.WriteByte(c)
		case '&':
			n := max(strings.IndexByte(raw[i:], ';'), 1)
			r, ok := xmlCharacter(raw[i+1 : i+n])
			if !ok {
				return f.shown(raw), raw[i+1 : i+n]
			}
			b.WriteString(r)
			i += n
		default:
			b.WriteString(f.shown(raw[i : i+1]))
		}
	}
	return b.String(), ""
}

// xmlCharacter is a reference that needs no declaration: lt, #10, #x41.
func xmlCharacter(name string) (string, bool) {
	switch name {
	case "lt":
		return "<", true
	case "gt":
		return ">", true
	case "amp":
		return "&", true
	case "quot":
		return `"`, true
	case "apos":
		return "'", true
	}
	digits, ok := strings.CutPrefix(name, "#")
	base := 10
	if hex, is := strings.CutPrefix(digits, "x"); is {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 21)
	return string(rune(n)), ok && err == nil
}

// shown is text of the file in UTF-8; of single-byte encodings beside ISO 8859-1 what is not ASCII is not told.
func (f *XML) shown(s string) string {
	if !isSingleByte(f.encoding) || isASCIIText(s) {
		return s
	}
	out := make([]rune, len(s))
	for i := range len(s) {
		out[i] = rune(s[i])
		if s[i] >= 0x80 && f.encoding != "iso-8859-1" && f.encoding != "latin1" {
			out[i] = utf8.RuneError
		}
	}
	return string(out)
}

func isASCIIText(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// Len is the number of elements. They are numbered from 0, the document's own, in the order of their start tags.
func (f *XML) Len() int { return len(f.nodes) }

// Children yields the elements directly inside one.
func (f *XML) Children(element int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := element + 1; i < int(f.nodes[element].after); i = int(f.nodes[i].after) {
			if !yield(i) {
				return
			}
		}
	}
}

// After is the number of the first element behind all that are inside one: those inside are element+1 to After-1.
func (f *XML) After(element int) int { return int(f.nodes[element].after) }

// Parent is the element that one stands in; -1 for the document's own.
func (f *XML) Parent(element int) int { return int(f.nodes[element].parent) }

// Name is an element's name as written, with its prefix.
func (f *XML) Name(element int) string {
	n := f.nodes[element].name
	return f.text[n.Start:n.End]
}

// LocalName is an element's name without its prefix.
func (f *XML) LocalName(element int) string {
	name := f.Name(element)
	return name[strings.IndexByte(name, ':')+1:]
}

// Namespace is what an element's prefix, or the lack of one, stands for by the xmlns attributes around it; empty: nothing.
func (f *XML) Namespace(element int) string {
	declared := "xmlns"
	if prefix, _, ok := strings.Cut(f.Name(element), ":"); ok {
		declared = "xmlns:" + prefix
	}
	for ; element >= 0; element = f.Parent(element) {
		if a, ok := f.Attr(element, declared); ok {
			return a.Value
		}
	}
	return ""
}

// Span is where an element stands, from its start tag to its end tag.
func (f *XML) Span(element int) Span {
	return Span{f.nodes[element].open.Start, f.nodes[element].end.End}
}

// Entity is an entity of the DOCTYPE that stands in an element's content, so that there may be more than what is seen; empty: none.
func (f *XML) Entity(element int) string { return f.nodes[element].entity }

// Attrs are the attributes of an element.
func (f *XML) Attrs(element int) []XMLAttr {
	n := f.nodes[element]
	return f.attrs[n.attr:n.attrEnd:n.attrEnd]
}

// Attr is the attribute of that name, as written.
func (f *XML) Attr(element int, name string) (XMLAttr, bool) {
	for _, a := range f.Attrs(element) {
		if a.Name == name {
			return a, true
		}
	}
	return XMLAttr{}, false
}

// Position is the line and the column of an offset, as IndexLines counts them.
func (f *XML) Position(offset int) (line, column int) { return f.Lines().Position(offset) }

// Lines finds the lines of offsets.
func (f *XML) Lines() LineIndex { return IndexLines([]byte(f.text)) }

// Text is the text directly inside an element; with an Entity in it, as it stands in the file.
func (f *XML) Text(element int) string {
	var b strings.Builder
	for s, markup := range f.pieces(element) {
		switch {
		case !markup:
			text, _ := f.unescape(s, false)
			b.WriteString(text)
		case strings.HasPrefix(f.text[s.Start:], "<![CDATA["):
			b.WriteString(f.shown(strings.ReplaceAll(f.text[s.Start+len("<![CDATA["):s.End-len("]]>")], "\r\n", "\n")))
		}
	}
	return b.String()
}

// pieces yields what stands directly inside an element: text, and as markup elements, comments, instructions, CDATA sections.
func (f *XML) pieces(element int) iter.Seq2[Span, bool] {
	return func(yield func(Span, bool) bool) {
		at, end := f.nodes[element].open.End, f.nodes[element].end.Start
		child := element + 1
		for at < end {
			n := strings.IndexByte(f.text[at:end], '<')
			if n < 0 {
				n = end - at
			}
			if n > 0 && !yield(Span{at, at + n}, false) || at+n == end {
				return
			}
			at += n
			s := Span{at, end}
			if child < f.After(element) && f.nodes[child].open.Start == at {
				s.End = f.nodes[child].end.End
				child = f.After(child)
			} else {
				s.End = at + markupEnd(f.text[at:end])
			}
			if !yield(s, true) {
				return
			}
			at = s.End
		}
	}
}

// markupEnd is the length of the comment, instruction or CDATA section that a text begins with.
func markupEnd(text string) int {
	for opening, closing := range map[string]string{"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>"} {
		if strings.HasPrefix(text, opening) {
			return len(opening) + strings.Index(text[len(opening):], closing) + len(closing)
		}
	}
	return len(text)
}

// SetAttr replaces the value of an attribute. Its quotes stay.
func (f *XML) SetAttr(element int, name, value string) (Edit, error) {
	a, ok := f.Attr(element, name)
	switch {
	case f.readOnly != "":
		return Edit{}, errors.New(f.readOnly)
	case !ok:
		return Edit{}, fmt.Errorf("<%s> has no attribute %s", f.Name(element), name)
	}
	text, err := f.escape(value, f.text[a.Span.End])
	return Edit{a.Span, text}, err
}

// AddAttr adds an attribute behind the last one, parted, spaced and quoted as that one is.
func (f *XML) AddAttr(element int, name, value string) (Edit, error) {
	_, there := f.Attr(element, name)
	switch {
	case f.readOnly != "":
		return Edit{}, errors.New(f.readOnly)
	case there:
		return Edit{}, fmt.Errorf("<%s> has an attribute %s", f.Name(element), name)
	case !xmlName.MatchString(name):
		return Edit{}, fmt.Errorf("%q is no name of an attribute", name)
	}
	at, before, equals, quote := f.nodes[element].name.End, " ", "=", byte('"')
	if attrs := f.Attrs(element); len(attrs) > 0 {
		last := attrs[len(attrs)-1]
		at, quote = last.whole.End, f.text[last.Span.End]
		before = f.text[last.before:last.whole.Start]
		equals = f.text[last.whole.Start+len(last.Name) : last.Span.Start-1]
	}
	text, err := f.escape(value, quote)
	return Edit{Span{at, at}, before + name + equals + string(quote) + text + string(quote)}, err
}

var xmlName = regexp.MustCompile(`^[A-Za-z_:][\w:.-]*$`)

// RemoveAttr takes an attribute out, with the white space before it.
func (f *XML) RemoveAttr(element int, name string) (Edit, error) {
	a, ok := f.Attr(element, name)
	switch {
	case f.readOnly != "":
		return Edit{}, errors.New(f.readOnly)
	case !ok:
		return Edit{}, fmt.Errorf("<%s> has no attribute %s", f.Name(element), name)
	}
	return Edit{Span: Span{a.before, a.whole.End}}, nil
}

// SetText replaces the text of an element that has nothing but text. White space around it stays.
func (f *XML) SetText(element int, value string) (Edit, error) {
	if f.readOnly != "" {
		return Edit{}, errors.New(f.readOnly)
	}
	n := f.nodes[element]
	if n.end.Len() == 0 {
		return Edit{}, fmt.Errorf("<%s/> has no text", f.Name(element))
	}
	for _, markup := range f.pieces(element) {
		if markup {
			return Edit{}, fmt.Errorf("<%s> has more than text", f.Name(element))
		}
	}
	s := Span{n.open.End, n.end.Start}
	raw := f.text[s.Start:s.End]
	if inner := strings.Trim(raw, " \t\r\n"); inner != "" {
		s.Start += strings.Index(raw, inner)
		s.End = s.Start + len(inner)
	}
	text, err := f.escape(value, 0)
	return Edit{s, text}, err
}

// escape writes a value for between quotes, or with none as text.
func (f *XML) escape(value string, quote byte) (string, error) {
	if !utf8.ValidString(value) {
		return "", fmt.Errorf("%q is no UTF-8", value)
	}
	var b strings.Builder
	for _, r := range value {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>' && quote == 0:
			b.WriteString("&gt;")
		case r == '"' && quote == '"':
			b.WriteString("&quot;")
		case r == '\'' && quote == '\'':
			b.WriteString("&apos;")
		case r == '\r', quote != 0 && (r == '\t' || r == '\n'), isSingleByte(f.encoding) && r >= utf8.RuneSelf && r&^1 != 0xFFFE:
			fmt.Fprintf(&b, "&#%d;", r)
		case r == '\t', r == '\n', r >= ' ' && r&^1 != 0xFFFE:
			b.WriteRune(r)
		default:
			return "", fmt.Errorf("%q has a character that XML cannot hold", value)
		}
	}
	return b.String(), nil
}
