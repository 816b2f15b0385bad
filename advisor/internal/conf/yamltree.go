package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// YAML is a file of YAML documents, each scalar with the bytes that it stands in. Aliases are followed and merge keys
// (<<) are merged; a node may therefore be reached on several ways, but on no endless one.
type YAML struct {
	Docs     []*YAMLNode // the top of each document that is not empty
	Template bool        // it is YAML only with its template markers hidden (see HideMarkers)
	Guarded  bool        // and some of these decide whether other lines are there at all

	data []byte // as read
	text []byte // as parsed: of the same length
}

// YAMLKind is what a node is. The zero YAMLKind is invalid.
type YAMLKind uint8

// The kinds of a node.
const (
	YAMLScalar YAMLKind = iota + 1
	YAMLSequence
	YAMLMapping
)

// YAMLNode is a scalar, a sequence or a mapping.
type YAMLNode struct {
	Kind  YAMLKind
	Text  string // of a scalar: its value, always as text, template markers included
	Null  bool   // of a scalar: nothing, ~ or null without quotes
	Plain bool   // of a scalar: without quotes, and no block
	Items []*YAMLNode
	Pairs []YAMLPair
	start int    // offset of the node; of a scalar in quotes of the quote; of a block of the first byte after its header line
	quote byte   // '\'', '"', '|' (either block) or 0
	fixed string // why it cannot be set where it stands: it has an anchor, an alias leads to it, a tag types it
}

// YAMLPair is a key of a mapping with its value.
type YAMLPair struct{ Key, Value *YAMLNode }

// Get returns the value of a key; nil where the node is no mapping or has no such key. Of a key that stands there twice it
// is the last, as all readers of YAML do that take it at all.
func (n *YAMLNode) Get(key string) *YAMLNode {
	if n == nil {
		return nil
	}
	for i := len(n.Pairs) - 1; i >= 0; i-- {
		if k := n.Pairs[i].Key; k.Kind == YAMLScalar && k.Text == key {
			return n.Pairs[i].Value
		}
	}
	return nil
}

// List returns the items of a sequence; none of anything else, nil included.
func (n *YAMLNode) List() []*YAMLNode {
	if n == nil {
		return nil
	}
	return n.Items
}

// IsMarker reports whether the node is in truth an unquoted {{ marker }}, which to YAML is a mapping in a mapping.
func (y *YAML) IsMarker(n *YAMLNode) bool {
	return n.Kind == YAMLMapping && n.start+1 < len(y.data) && y.data[n.start] == '{' && y.data[n.start+1] == '{'
}

// MarkerSpan is the span of the marker that a node is.
func (y *YAML) MarkerSpan(n *YAMLNode) Span {
	end := bytes.Index(y.data[n.start:], []byte("}}"))
	if end < 0 {
		return Span{n.start, n.start}
	}
	return Span{n.start, n.start + end + 2}
}

// Start is the offset of a node in the file: of a scalar in quotes that of its first byte inside.
func (y *YAML) Start(n *YAMLNode) int {
	if n.Kind == YAMLScalar && (n.quote == '"' || n.quote == '\'') {
		return n.start + 1
	}
	return n.start
}

// Bytes returns what stands in the file.
func (y *YAML) Bytes(s Span) string { return string(y.data[s.Start:s.End]) }

// The limits of a YAML file. One that goes beyond is refused, never cut.
const (
	yamlLimit  = 4 << 20 // bytes
	mergeLimit = 100_000 // pairs that << copies, over the whole file
	depthLimit = 1000    // nodes inside nodes
)

// ErrTooLarge is returned for YAML beyond the limits.
var ErrTooLarge = errors.New("YAML larger or deeper than any that a person writes")

// ParseYAML reads a file. If it is no YAML because of template markers, these are hidden. An error is a *SyntaxError with
// the line, or ErrTooLarge; the documents before the error are returned with it.
func ParseYAML(data []byte) (*YAML, error) {
	if len(data) > yamlLimit {
		return &YAML{}, ErrTooLarge
	}
	y := &YAML{data: data, text: data}
	err := y.parse()
	if err == nil || errors.Is(err, ErrTooLarge) {
		return y, err
	}
	markers := Markers(data)
	if len(markers) == 0 {
		return y, err
	}
	hidden := &YAML{data: data, text: HideMarkers(data, markers, 'x'), Template: true}
	for _, m := range markers {
		hidden.Guarded = hidden.Guarded || m.Control
	}
	return hidden, hidden.parse()
}

func (y *YAML) parse() (err error) {
	if bytes.HasPrefix(y.text, []byte{0xff, 0xfe}) || bytes.HasPrefix(y.text, []byte{0xfe, 0xff}) {
		return &SyntaxError{1, "UTF-16: tcpadvise reads UTF-8 only"}
	}
	if deep(y.text) {
		return ErrTooLarge
	}
	defer func() { // yaml.v3 has panicked on hostile input more than once; that must not end the judgement of other files
		if r := recover(); r != nil {
			err = &SyntaxError{1, "no YAML that can be read"}
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(y.text))
	t := treeMaker{y: y, lines: yamlLines(y.text), made: map[*yaml.Node]*YAMLNode{}, merges: mergeLimit}
	for {
		var top yaml.Node
		if err := decoder.Decode(&top); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return y.syntaxError(err)
		}
		if len(top.Content) == 0 {
			continue
		}
		n, err := t.node(top.Content[0], 0)
		if err != nil {
			return err
		}
		y.Docs = append(y.Docs, n)
	}
}

// deep finds flow collections inside one another beyond all sense before yaml.v3 spends its time on them.
func deep(text []byte) bool {
	depth := 0
	for _, c := range text {
		switch c {
		case '[', '{':
			if depth++; depth > 4*depthLimit {
				return true
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return false
}

var (
	yamlErrorLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	quotedText    = regexp.MustCompile(`'[^']*'|"[^"]*"|` + "`[^`]*`")
)

// syntaxError gives yaml.v3's message its true line. For errors of its parser (not of its scanner) it names the line
// before; it names none for the first line; and it may quote the file, which could be a secret.
func (y *YAML) syntaxError(err error) error {
	text := err.Error()
	e := &SyntaxError{Line: 1}
	if m := yamlErrorLine.FindStringSubmatch(text); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			e.Line = n
		}
		text = text[len(m[0]):]
		if m[1] != "" && strings.HasPrefix(text, "did not find expected ") && !strings.HasPrefix(text, "did not find expected digit") {
			e.Line++
		}
	}
	switch {
	case strings.Contains(text, "UTF-8"), strings.Contains(text, "control characters"):
		e.Line = y.badByte()
	case strings.HasPrefix(text, "unknown anchor"):
		text = "an alias (*name) without its anchor (&name)"
	case !strings.Contains(text, "expected"): // what a parser expects is its own text, not the file's
		text = quotedText.ReplaceAllString(text, "...")
	}
	e.Message = text
	return e
}

// badByte is the line of the first byte that YAML does not take.
func (y *YAML) badByte() int {
	line := 1
	for i := 0; i < len(y.text); {
		r, size := utf8.DecodeRune(y.text[i:])
		if r == utf8.RuneError && size == 1 || r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f {
			break
		}
		if r == '\n' {
			line++
		}
		i += size
	}
	return line
}

// yamlLines is the offset of each line as YAML 1.1 counts them: "\r" alone and three characters of Unicode end one too.
func yamlLines(text []byte) []int {
	starts := []int{0}
	if bytes.HasPrefix(text, []byte(bom)) {
		starts[0] = len(bom)
	}
	for i := 0; i < len(text); i++ {
		if n := breakAt(text, i); n > 0 {
			i += n - 1
			starts = append(starts, i+1)
		}
	}
	return starts
}

// breakAt is the length of the line end at a byte; 0 where there is none.
func breakAt(text []byte, i int) int {
	switch c := text[i]; {
	case c == '\r' && i+1 < len(text) && text[i+1] == '\n':
		return 2
	case c == '\r' || c == '\n':
		return 1
	case c == 0xc2 && i+1 < len(text) && text[i+1] == 0x85:
		return 2
	case c == 0xe2 && i+2 < len(text) && text[i+1] == 0x80 && (text[i+2] == 0xa8 || text[i+2] == 0xa9):
		return 3
	}
	return 0
}

// treeMaker makes our nodes of yaml.v3's.
type treeMaker struct {
	y      *YAML
	lines  []int
	made   map[*yaml.Node]*YAMLNode // nil while a node is being made: an alias to it would be an endless way
	merges int
	// the last place that was looked up, from which the next is counted: lines may be long
	line, column, offset int
}

func (t *treeMaker) node(n *yaml.Node, depth int) (*YAMLNode, error) {
	if depth > depthLimit {
		return nil, ErrTooLarge
	}
	if n.Kind == yaml.AliasNode {
		if made := t.made[n.Alias]; made != nil {
			made.share(n.Value)
			return made, nil
		}
		return &YAMLNode{Kind: YAMLScalar, Null: true, start: t.place(n.Line, n.Column)}, nil // it contains itself
	}
	out := &YAMLNode{start: t.place(n.Line, n.Column)}
	t.made[n] = nil
	var err error
	switch n.Kind {
	case yaml.SequenceNode:
		out.Kind = YAMLSequence
		out.start = t.skipProperties(out.start)
		err = t.sequence(n, out, depth)
	case yaml.MappingNode:
		out.Kind = YAMLMapping
		out.start = t.skipProperties(out.start)
		err = t.mapping(n, out, depth)
	default:
		t.scalar(n, out)
	}
	if err != nil {
		return nil, err
	}
	if n.Style&yaml.TaggedStyle != 0 {
		out.fixed = "a tag types it: " + n.Tag
	}
	if n.Anchor != "" {
		out.fixed = "it is the anchor &" + n.Anchor
	}
	t.made[n] = out
	return out, nil
}

// share notes that an alias leads to a node, and so to all below it.
func (n *YAMLNode) share(name string) {
	why := "the alias *" + name + " shares it"
	if strings.HasPrefix(n.fixed, "the alias") {
		return
	}
	n.fixed = why
	for _, p := range n.Pairs {
		p.Key.share(name)
		p.Value.share(name)
	}
	for _, item := range n.Items {
		item.share(name)
	}
}

func (t *treeMaker) sequence(n *yaml.Node, out *YAMLNode, depth int) error {
	for _, item := range n.Content {
		made, err := t.node(item, depth+1)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, made)
	}
	return nil
}

func (t *treeMaker) mapping(n *yaml.Node, out *YAMLNode, depth int) error {
	var merged []*YAMLNode
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, err := t.node(n.Content[i], depth+1)
		if err != nil {
			return err
		}
		v, err := t.node(n.Content[i+1], depth+1)
		switch {
		case err != nil:
			return err
		case n.Content[i].Tag != "!!merge":
			out.Pairs = append(out.Pairs, YAMLPair{k, v})
		case v.Kind == YAMLSequence:
			merged = append(merged, v.Items...)
		default:
			merged = append(merged, v)
		}
	}
	if len(merged) == 0 {
		return nil
	}
	own := map[string]bool{}
	for _, p := range out.Pairs {
		own[p.Key.Text] = true
	}
	for _, from := range merged {
		for _, p := range from.Pairs {
			if t.merges--; t.merges < 0 {
				return ErrTooLarge
			}
			if !own[p.Key.Text] {
				own[p.Key.Text] = true
				out.Pairs = append(out.Pairs, p)
			}
		}
	}
	return nil
}

func (t *treeMaker) scalar(n *yaml.Node, out *YAMLNode) {
	out.Kind, out.Text = YAMLScalar, n.Value
	out.Null = n.Tag == "!!null"
	start := t.skipProperties(out.start)
	out.start = start
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		out.quote = '|'
		if end := bytes.IndexAny(t.y.text[start:], "\r\n"); end >= 0 {
			out.start = start + end + 1
		}
	case n.Style&yaml.DoubleQuotedStyle != 0:
		out.quote = '"'
	case n.Style&yaml.SingleQuotedStyle != 0:
		out.quote = '\''
	default:
		out.Plain = true
	}
	if t.y.Template {
		t.unhide(out)
	}
}

// unhide puts the markers back into the text of a scalar.
func (t *treeMaker) unhide(n *YAMLNode) {
	at, ok := t.y.Locate(n)
	if !ok {
		return
	}
	text := []byte(n.Text)
	for i, offset := range at {
		if t.y.text[offset] != t.y.data[offset] {
			text[i] = t.y.data[offset]
		}
	}
	n.Text = string(text)
}

// skipProperties goes over the anchor and the tag before a node.
func (t *treeMaker) skipProperties(at int) int {
	text := t.y.text
	for at < len(text) && (text[at] == '&' || text[at] == '!') {
		for at < len(text) && !isSpace(text[at]) {
			at++
		}
		for at < len(text) && (isSpace(text[at]) || text[at] == '#') {
			if text[at] == '#' { // a comment between the anchor and its node
				for at < len(text) && text[at] != '\n' {
					at++
				}
				continue
			}
			at++
		}
	}
	return at
}

// place is the offset of a position of yaml.v3, which counts columns in characters from 1.
func (t *treeMaker) place(line, column int) int {
	if line < 1 || line > len(t.lines) {
		return 0
	}
	if line != t.line || column < t.column {
		t.line, t.column, t.offset = line, 1, t.lines[line-1]
	}
	for ; t.column < column && t.offset < len(t.y.text); t.column++ {
		_, size := utf8.DecodeRune(t.y.text[t.offset:])
		t.offset += size
	}
	return t.offset
}

// Locate returns, for each byte of a scalar's text, the offset in the file of the byte that it comes from; false where
// that cannot be told, and then each is the scalar's start.
func (y *YAML) Locate(n *YAMLNode) ([]int, bool) {
	at := make([]int, len(n.Text))
	j := y.Start(n)
	for i := 0; i < len(n.Text); {
		if isSpace(n.Text[i]) {
			at[i] = min(j, len(y.text)-1)
			j += y.blankWidth(n, j)
			i++
			continue
		}
		j = y.skipBlanks(n, i, j)
		if j >= len(y.text) {
			return y.unlocated(n, at), false
		}
		width, raw := y.match(n, i, j)
		if width == 0 {
			return y.unlocated(n, at), false
		}
		for k := range min(width, len(n.Text)-i) {
			at[i+k] = j + min(k, raw-1)
			if k > 0 && k == width-1 {
				at[i+k] = j + raw - 1
			}
		}
		i += width
		j += raw
	}
	return at, true
}

func (y *YAML) unlocated(n *YAMLNode, at []int) []int {
	for i := range at {
		at[i] = min(y.Start(n), len(y.text)-1)
	}
	return at
}

// blankWidth is how many bytes of the file stand for one blank of a scalar's text: none where lines were folded.
func (y *YAML) blankWidth(n *YAMLNode, j int) int {
	switch {
	case j >= len(y.text):
		return 0
	case y.isHidden(j) || isSpace(y.text[j]):
		return 1
	case n.quote == '"' && y.text[j] == '\\':
		return 2
	}
	return 0
}

// isHidden reports whether a byte of a marker stands there.
func (y *YAML) isHidden(j int) bool { return y.text[j] != y.data[j] }

// skipBlanks goes over what the file has between two bytes of a scalar's text that are no blanks.
func (y *YAML) skipBlanks(n *YAMLNode, i, j int) int {
	for j < len(y.text) && (!y.isHidden(j) || y.data[j] != n.Text[i]) {
		switch {
		case isSpace(y.text[j]):
			j++
		case n.quote == '"' && y.text[j] == '\\' && j+1 < len(y.text) && isBlankEscape(y.text[j+1]):
			j += 2
		default:
			return j
		}
	}
	return j
}

// match compares a byte of a scalar's text that is no blank with the file: raw bytes there stand for width of the text.
// The width is 0 where they differ.
func (y *YAML) match(n *YAMLNode, i, j int) (width, raw int) {
	c := n.Text[i]
	switch {
	case n.quote == '"' && y.text[j] == '\\' && j+1 < len(y.text) && !y.isHidden(j):
		return y.escapeWidth(n, i, j), rawEscape(y.text[j+1])
	case n.quote == '\'' && c == '\'' && y.text[j] == '\'' && !y.isHidden(j):
		return 1, 2
	case y.text[j] == c || y.data[j] == c:
		return 1, 1
	}
	return 0, 0
}

// isBlankEscape: \ before a line end, \n, \t, \r, \v, \f and a blank make blanks or nothing.
func isBlankEscape(c byte) bool { return isSpace(c) || strings.IndexByte("ntrvf", c) >= 0 }

// escapeWidth is how many bytes of the text an escape in the file stands for.
func (y *YAML) escapeWidth(n *YAMLNode, i, j int) int {
	if j+1 < len(y.text) && strings.IndexByte("xuUNL_P", y.text[j+1]) >= 0 {
		_, size := utf8.DecodeRuneInString(n.Text[i:])
		return size
	}
	return 1
}

// End is the offset just after the byte of a scalar's text that lies at an offset: an escape such as \x31 is longer than one.
func (y *YAML) End(offset int) int {
	if offset+1 < len(y.data) && y.data[offset] == '\\' && strings.IndexByte("xuU", y.data[offset+1]) >= 0 {
		return min(offset+rawEscape(y.data[offset+1]), len(y.data))
	}
	return offset + 1
}

// rawEscape is the length of an escape, by the byte after its backslash.
func rawEscape(c byte) int {
	switch c {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	}
	return 2
}

// String is for messages in tests.
func (n *YAMLNode) String() string {
	switch {
	case n == nil:
		return "nothing"
	case n.Kind == YAMLScalar:
		return strconv.Quote(n.Text)
	}
	return fmt.Sprintf("%d items", len(n.Items)+len(n.Pairs))
}
