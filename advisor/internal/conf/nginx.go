package conf

import (
	_ "embed" // the table of directives
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
)

// Nginx is the syntax of one file in the language of nginx's configuration: words, directives, blocks. It follows
// ngx_conf_read_token() and ngx_conf_handler() of src/core/ngx_conf_file.c byte by byte, and for the blocks of the Lua module
// ngx_http_lua_conf_lua_block_parse(): what they refuse is an error here. Directives that this package does not know may
// belong to a module and are kept.
type Nginx struct {
	nodes []nginxNode // each directive before those of its block
	words []nginxWord
	text  string
}

// nginxNode is one directive: name and arguments, then ';' or a block.
type nginxNode struct {
	word   int32 // its first word, the name; the words end where those of the next node begin
	parent int32 // the node whose block it stands in; -1 at the top
	after  int32 // the first node behind it and its block
	open   int32 // offset of its '{'; -1 without a block
	end    int32 // offset of its ';' or '}'
}

// nginxWord is what stands between blanks, without its quotes.
type nginxWord struct {
	start, end int32
	quote      byte // '"', '\'' or 0
	escapes    bool // holds a backslash
}

// NginxError is why nginx would not read a file.
type NginxError struct {
	Line, Column int // 1-based; the column counts bytes
	Message      string
}

func (e *NginxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// Limits of a file: nginx has the first (NGX_CONF_BUFFER), the others are ours.
const (
	nginxBuffer   = 4096    // a word, with its quotes, or a comment ends before
	nginxMaxDepth = 200     // blocks within blocks
	nginxMaxSize  = 1 << 30 // bytes
)

// ParseNginx reads a file. The error is an *NginxError; what stands before it is returned with it.
func ParseNginx(data []byte) (*Nginx, error) { return parseNginx(data, nginxDirectives()) }

// ParseNginxTemplate reads a file whose markers were hidden. The alternatives of {% if %} stand side by side in it, so nothing is
// said of how many arguments a directive takes.
func ParseNginxTemplate(data []byte) (*Nginx, error) { return parseNginx(data, nil) }

func parseNginx(data []byte, known map[string]nginxShape) (*Nginx, error) {
	f := &Nginx{text: string(data)}
	if len(data) > nginxMaxSize {
		return f, &NginxError{1, 1, "the file is larger than 1 GiB"}
	}
	// One directive for each 36 bytes is what hand-written files have; more only costs another allocation.
	f.nodes = make([]nginxNode, 0, len(data)/36+8)
	f.words = make([]nginxWord, 0, len(data)/16+16)
	p := nginxParser{f: f, text: f.text, parent: -1, known: known}
	p.parse()
	if p.message == "" {
		return f, nil
	}
	f.words = f.words[:p.first]
	for parent := p.parent; parent >= 0; parent = f.nodes[parent].parent { // what is open ends with the file
		f.nodes[parent].after, f.nodes[parent].end = int32(len(f.nodes)), int32(len(data))
	}
	line, column := IndexLines(data).Position(p.at)
	return f, &NginxError{line, column, p.message}
}

// nginxParser walks over the text once.
type nginxParser struct {
	f       *Nginx
	text    string
	pos     int
	parent  int32 // the innermost open block; -1 outside
	depth   int
	first   int32 // first word of the directive at hand
	at      int   // of the error
	message string
	known   map[string]nginxShape
}

func (p *nginxParser) fail(at int, format string, args ...any) bool {
	p.at, p.message = at, fmt.Sprintf(format, args...)
	return false
}

// What a byte does in an unquoted word.
const (
	nginxPlain = iota
	nginxEnds  // a blank, ';' or '{'
	nginxEscape
	nginxDollar
)

var nginxClass = [256]uint8{
	' ': nginxEnds, '\t': nginxEnds, '\r': nginxEnds, '\n': nginxEnds, ';': nginxEnds, '{': nginxEnds,
	'\\': nginxEscape, '$': nginxDollar,
}

func (p *nginxParser) parse() {
	if strings.HasPrefix(p.text, bom) {
		p.fail(0, "the file begins with a byte order mark (U+FEFF), which nginx takes for a part of the first word: save it without")
		return
	}
	for p.token() {
	}
}

// token reads one word, or what ends a directive; false at the end and at an error.
func (p *nginxParser) token() bool {
	text := p.text
	i := p.pos
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
		i++
	}
	p.pos = i
	if i == len(text) {
		return p.atEnd()
	}
	switch c := text[i]; c {
	case '#':
		return p.comment()
	case ';', '{':
		if int(p.first) == len(p.f.words) {
			return p.fail(i, "unexpected %q: no directive stands before it", string(c))
		}
		if c == '{' {
			return p.openBlock()
		}
		return p.endSimple()
	case '}':
		return p.closeBlock()
	case '"', '\'':
		return p.quoted(c)
	}
	return p.unquoted()
}

func (p *nginxParser) comment() bool {
	n := strings.IndexByte(p.text[p.pos:], '\n')
	if n < 0 {
		n = len(p.text) - p.pos
	} else {
		n++
	}
	if n > nginxBuffer {
		return p.fail(p.pos, "a comment of %d bytes or more, which nginx refuses: break the line", nginxBuffer)
	}
	p.pos += n
	return true
}

// unquoted reads a word that ends at a blank, ';' or '{'. The braces of "${name}" are part of it, and so is '}'.
func (p *nginxParser) unquoted() bool {
	text, start := p.text, p.pos
	i, escapes := start, false
	for i < len(text) {
		switch nginxClass[text[i]] {
		case nginxPlain:
			i++
			continue
		case nginxEscape:
			escapes = true
			i += 2
			continue
		case nginxDollar:
			for i++; i < len(text) && text[i] == '{'; i++ {
			}
			continue
		}
		break
	}
	if i >= start+nginxBuffer {
		return p.fail(start, "a word of %d bytes or more, which nginx refuses: is a ';' missing?", nginxBuffer)
	}
	if i >= len(text) {
		return p.endsInside(start)
	}
	p.f.words = append(p.f.words, nginxWord{int32(start), int32(i), 0, escapes})
	p.pos = i
	return true
}

// quoted reads a word in quotes. A blank, ';', '{' or ')' must follow; the last begins another word.
func (p *nginxParser) quoted(quote byte) bool {
	text, start := p.text, p.pos+1
	i, escapes := start, false
	for i < len(text) && text[i] != quote {
		if text[i] == '\\' {
			escapes = true
			i++
		}
		i++
	}
	if i >= start+nginxBuffer {
		return p.fail(p.pos, "a quoted word of %d bytes or more, which nginx refuses: is the closing %c missing?", nginxBuffer, quote)
	}
	if i >= len(text) {
		return p.fail(p.pos, "this %c is never closed", quote)
	}
	p.f.words = append(p.f.words, nginxWord{int32(start), int32(i), quote, escapes})
	p.pos = i + 1
	switch {
	case p.pos == len(text):
		return p.endsInside(start)
	case p.pos >= start+nginxBuffer:
		return p.fail(start-1, "a quoted word of %d bytes or more, which nginx refuses", nginxBuffer-1)
	case text[p.pos] == ')':
		return p.unquoted()
	case nginxClass[text[p.pos]] != nginxEnds:
		return p.fail(p.pos, "unexpected %q: a blank, ';' or '{' must follow the closing %c", text[p.pos:p.pos+1], quote)
	}
	return true
}

func (p *nginxParser) atEnd() bool {
	switch {
	case int(p.first) < len(p.f.words):
		return p.endsInside(len(p.text))
	case p.parent >= 0:
		return p.fail(int(p.f.nodes[p.parent].open), "the '{' of %q is never closed", shorten(p.word(p.f.nodes[p.parent].word)))
	}
	return false
}

// endsInside is the failure at the end of a file whose last directive, or its only word at start, has no ';'.
func (p *nginxParser) endsInside(start int) bool {
	if int(p.first) < len(p.f.words) {
		start = p.f.wordSpan(int(p.first)).Start
	}
	return p.fail(start, "the file ends inside this directive: its ';' is missing")
}

func (p *nginxParser) word(i int32) string {
	w := p.f.words[i]
	return p.text[w.start:w.end]
}

// node appends the directive whose words have been read.
func (p *nginxParser) node(open, end int) {
	p.f.nodes = append(p.f.nodes, nginxNode{word: p.first, parent: p.parent, after: int32(len(p.f.nodes) + 1), open: int32(open), end: int32(end)})
	p.first = int32(len(p.f.words))
}

func (p *nginxParser) endSimple() bool {
	if !p.shapeFits(false) {
		return false
	}
	p.node(-1, p.pos)
	p.pos++
	return true
}

func (p *nginxParser) openBlock() bool {
	if !p.shapeFits(true) {
		return false
	}
	if strings.HasSuffix(p.word(p.first), "_by_lua_block") {
		end, why := luaEnd(p.text, p.pos+1)
		if end < 0 {
			return p.fail(p.pos, "%s", why)
		}
		p.node(p.pos, end)
		p.pos = end + 1
		return true
	}
	if p.depth++; p.depth > nginxMaxDepth {
		return p.fail(p.pos, "more than %d blocks within one another", nginxMaxDepth)
	}
	p.node(p.pos, 0)
	p.parent = int32(len(p.f.nodes) - 1)
	p.pos++
	return true
}

func (p *nginxParser) closeBlock() bool {
	if n := int32(len(p.f.words)); n > p.first {
		return p.fail(p.pos, "unexpected '}': the ';' after %q is missing", shorten(p.word(n-1)))
	}
	if p.parent < 0 {
		return p.fail(p.pos, "unexpected '}': no block is open")
	}
	block := &p.f.nodes[p.parent]
	block.after, block.end = int32(len(p.f.nodes)), int32(p.pos)
	p.parent = block.parent
	p.depth--
	p.pos++
	return true
}

func shorten(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

//go:embed nginx_directives.txt
var nginxTable string

// nginxShape is how a directive of nginx's own may stand.
type nginxShape struct {
	block, simple bool
	fewest, most  int16
	holds         bool // a block of directives, so that those inside have shapes too
	data          bool // a block of lines that are no directives, and no blocks either
}

// nginxDirectives is made at the first use, and 700 names do not take long.
var nginxDirectives = sync.OnceValue(func() map[string]nginxShape {
	all := make(map[string]nginxShape, 800)
	for line := range strings.Lines(nginxTable) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] == "#" {
			continue
		}
		fewest, _ := strconv.Atoi(f[1])
		most, err := strconv.Atoi(f[2])
		if err != nil {
			most = 1<<15 - 1
		}
		for _, name := range f[3:] {
			all[name] = nginxShape{strings.Contains(f[0], "b"), strings.Contains(f[0], "s"), int16(fewest), int16(most), false, false}
		}
	}
	for _, name := range []string{"http", "server", "location", "events", "upstream", "if", "limit_except", "stream", "mail"} {
		shape := all[name]
		shape.holds = true
		all[name] = shape
	}
	for _, name := range []string{"types", "map", "num_map", "geo", "charset_map", "split_clients"} {
		shape := all[name]
		shape.data = true
		all[name] = shape
	}
	return all
})

// shapeFits refuses what ngx_conf_handler() refuses of nginx's own directives: a block without '{', another with one, and
// a wrong number of arguments. In maps and their like, and in blocks of unknown modules, words are data.
func (p *nginxParser) shapeFits(block bool) bool {
	if p.parent >= 0 {
		outer := p.word(p.f.nodes[p.parent].word)
		switch shape := p.known[outer]; {
		case shape.data && block:
			return p.fail(p.pos, "unexpected '{': %q holds no blocks. Is a ';' missing?", outer)
		case !shape.holds:
			return true
		}
	}
	name := p.word(p.first)
	shape, ok := p.known[name]
	if !ok {
		if p.parent >= 0 && name != "" && name[0] >= '0' && name[0] <= '9' && strings.Contains(name, "}") { // location ~ ^/x{1,3}$ {
			return p.fail(int(p.f.nodes[p.parent].open), "this '{' begins a block: a regular expression with braces must stand in quotes")
		}
		return true
	}
	if shape.block && shape.simple && p.parent >= 0 { // "server" is simple in upstream, and a block elsewhere
		shape.simple = p.word(p.f.nodes[p.parent].word) == "upstream"
		shape.block = !shape.simple
	}
	n := len(p.f.words) - int(p.first) - 1
	at := int(p.f.words[p.first].start)
	switch {
	case block && !shape.block:
		return p.fail(p.pos, "%q takes no block: is the ';' before this '{' missing?%s", name, p.slip())
	case !block && !shape.simple:
		return p.fail(p.pos, "%q needs a block, and a ';' ends it here", name)
	case n < int(shape.fewest):
		return p.fail(at, "%q needs %s, %d given", name, plural(int(shape.fewest)), n)
	case n > int(shape.most):
		return p.fail(at, "%q takes %s, %d given: is a ';' missing?%s", name, plural(int(shape.most)), n, p.slip())
	}
	return true
}

func plural(n int) string {
	switch n {
	case 0:
		return "no arguments"
	case 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// slip says after which word of the directive at hand the ';' is most likely missing: where a line begins with the name of
// another directive.
func (p *nginxParser) slip() string {
	for i := p.first + 1; int(i) < len(p.f.words); i++ {
		before, w := p.f.words[i-1], p.f.words[i]
		if _, ok := p.known[p.word(i)]; ok && strings.IndexByte(p.text[before.end:w.start], '\n') >= 0 {
			line, _ := IndexLines([]byte(p.text[:before.end])).Position(int(before.end))
			return fmt.Sprintf(" Line %d ends without one", line)
		}
	}
	return ""
}

// luaEnd finds the '}' that closes a block of Lua, as src/ngx_http_lua_lex.c does: braces in comments, strings and long brackets
// do not count, and a quote that its own line does not close is no string. -1 if there is none.
func luaEnd(text string, i int) (end int, why string) {
	depth := 0
	for i < len(text) {
		switch c := text[i]; c {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i, ""
			}
			depth--
		case '"', '\'':
			i = luaString(text, i)
			continue
		case '-':
			if !strings.HasPrefix(text[i:], "--") {
				break
			}
			i += 2
			if _, ok := longBracket(text, i); ok {
				continue
			}
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				return -1, "the block of Lua is never closed"
			}
			i += n
			continue
		case '[':
			level, ok := longBracket(text, i)
			if !ok {
				break
			}
			closing := "]" + strings.Repeat("=", level) + "]"
			n := strings.Index(text[i:], closing)
			if n < 0 {
				return -1, fmt.Sprintf("a long bracket of the Lua code is never closed: %s is missing", closing)
			}
			i += n + len(closing)
			continue
		}
		i++
	}
	return -1, "the block of Lua is never closed"
}

// longBracket reports whether "[[", "[=[" and so on begins here, and how many '=' it has.
func longBracket(text string, i int) (level int, ok bool) {
	if i >= len(text) || text[i] != '[' {
		return 0, false
	}
	j := i + 1
	for j < len(text) && text[j] == '=' {
		j++
	}
	return j - i - 1, j < len(text) && text[j] == '['
}

// luaString returns the offset behind a string, or behind its quote if the line ends first.
func luaString(text string, i int) int {
	for j := i + 1; j < len(text) && text[j] != '\n'; j++ {
		switch text[j] {
		case text[i]:
			return j + 1
		case '\\':
			if j++; j < len(text) && text[j] == '\n' {
				return i + 1
			}
		}
	}
	return i + 1
}

// Len is the number of directives. They are numbered from 0 in the order of the file.
func (f *Nginx) Len() int { return len(f.nodes) }

// Block yields the directives of a block, or of the file if block is -1.
func (f *Nginx) Block(block int) iter.Seq[int] {
	return func(yield func(int) bool) {
		end := len(f.nodes)
		if block >= 0 {
			end = int(f.nodes[block].after)
		}
		for i := block + 1; i < end; i = int(f.nodes[i].after) {
			if !yield(i) {
				return
			}
		}
	}
}

// Parent is the directive whose block one stands in; -1 at the top.
func (f *Nginx) Parent(directive int) int { return int(f.nodes[directive].parent) }

// HasBlock reports whether a block belongs to a directive.
func (f *Nginx) HasBlock(directive int) bool { return f.nodes[directive].open >= 0 }

// Name is a directive's first word.
func (f *Nginx) Name(directive int) string { return f.word(int(f.nodes[directive].word)) }

// Args is the number of words behind the name.
func (f *Nginx) Args(directive int) int {
	end := len(f.words)
	if directive+1 < len(f.nodes) {
		end = int(f.nodes[directive+1].word)
	}
	return end - int(f.nodes[directive].word) - 1
}

// Arg is a word behind the name, counted from 1, as nginx takes it: quotes off, escapes undone. Word 0 is the name; of a
// word that is not there it is empty.
func (f *Nginx) Arg(directive, n int) string {
	if n > f.Args(directive) {
		return ""
	}
	return f.word(int(f.nodes[directive].word) + n)
}

// ArgSpan is where a word stands, with its quotes.
func (f *Nginx) ArgSpan(directive, n int) Span {
	return f.wordSpan(int(f.nodes[directive].word) + n)
}

func (f *Nginx) wordSpan(i int) Span {
	w := f.words[i]
	if w.quote != 0 {
		return Span{int(w.start) - 1, int(w.end) + 1}
	}
	return Span{int(w.start), int(w.end)}
}

// Span is where a directive stands, with its ';' or its block.
func (f *Nginx) Span(directive int) Span {
	return Span{f.ArgSpan(directive, 0).Start, min(int(f.nodes[directive].end)+1, len(f.text))}
}

func (f *Nginx) word(i int) string {
	w := f.words[i]
	s := f.text[w.start:w.end]
	if w.escapes {
		return nginxUnescape(s)
	}
	return s
}

// nginxUnescape does what the end of ngx_conf_read_token() does; a backslash before any other character stays.
func nginxUnescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			switch s[i+1] {
			case '"', '\'', '\\':
				i++
			case 't', 'r', 'n':
				i++
				b = append(b, map[byte]byte{'t': '\t', 'r': '\r', 'n': '\n'}[s[i]])
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// nginxQuote writes a word so that nginx reads value: as it stands where that is safe, in the quotes given otherwise.
func nginxQuote(value string, quote byte) string {
	if quote == 0 && isPlainWord(value) {
		return value
	}
	if quote == 0 {
		quote = '"'
	}
	b := []byte{quote}
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' || value[i] == quote {
			b = append(b, '\\')
		}
		b = append(b, value[i])
	}
	return string(append(b, quote))
}

func isPlainWord(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c == 0x7f || strings.IndexByte(`;{}"'\#$`, c) >= 0 {
			if c != '$' || i+1 == len(s) || s[i+1] == '{' { // a block might follow the word
				return false
			}
		}
	}
	return s != ""
}

// SetArg replaces one argument, counted from 1. Quotes stay as they are, and come where the value needs them.
func (f *Nginx) SetArg(directive, n int, value string) (Edit, error) {
	if n < 1 || n > f.Args(directive) {
		return Edit{}, fmt.Errorf("%s has %d arguments, and none of number %d", f.Name(directive), f.Args(directive), n)
	}
	text := nginxQuote(value, f.words[int(f.nodes[directive].word)+n].quote)
	if len(text) >= nginxBuffer {
		return Edit{}, errLongWord
	}
	at := f.ArgSpan(directive, n)
	if f.ArgSpan(directive, n-1).End == at.Start && text[0] != ')' { // 'a')b: nothing else may follow a quote so closely
		text = " " + text
	}
	return Edit{at, text}, nil
}

var (
	errLongWord = errors.New("nginx takes no word that long")
	errLua      = errors.New("the block holds Lua, and no directives")
)

// InsertDirective adds a simple directive at the end of a block, or of the file if block is -1: on a line of its own, indented
// as its neighbours are, unless the block stands on one line.
func (f *Nginx) InsertDirective(block int, words ...string) (Edit, error) {
	text, err := simpleDirective(words)
	if err != nil {
		return Edit{}, err
	}
	if block >= 0 && f.isLua(block) {
		return Edit{}, errLua
	}
	if block < 0 {
		return f.appendLine(text), nil
	}
	if f.nodes[block].open < 0 {
		return Edit{}, fmt.Errorf("%s has no block", f.Name(block))
	}
	open, end := int(f.nodes[block].open), int(f.nodes[block].end)
	if strings.IndexByte(f.text[open:end], '\n') < 0 { // { a; }
		at := end
		for at > open+1 && isSpace(f.text[at-1]) {
			at--
		}
		text = " " + text
		if at == end {
			text += " "
		}
		return Edit{Span{at, at}, text}, nil
	}
	last := -1
	for i := range f.Block(block) {
		last = i
	}
	at, indent := open, f.indentAt(f.ArgSpan(block, 0).Start)+f.indentUnit()
	if last >= 0 {
		at = f.Span(last).End - 1
		indent = f.indentAt(f.ArgSpan(last, 0).Start)
	}
	at = f.restOfLine(at+1, end)
	return Edit{Span{at, at}, f.newline(at) + indent + text}, nil
}

// simpleDirective writes a directive without a block.
func simpleDirective(words []string) (string, error) {
	quoted := make([]string, len(words))
	for i, w := range words {
		if quoted[i] = nginxQuote(w, 0); len(quoted[i]) >= nginxBuffer {
			return "", errLongWord
		}
	}
	return strings.Join(quoted, " ") + ";", nil
}

// InsertAfter adds a simple directive behind another: on a line of its own below it, unless more stands on its line.
func (f *Nginx) InsertAfter(directive int, words ...string) (Edit, error) {
	text, err := simpleDirective(words)
	if err != nil {
		return Edit{}, err
	}
	end := f.Span(directive).End
	at := f.restOfLine(end, len(f.text))
	for at < len(f.text) && isBlank(f.text[at]) {
		at++
	}
	if at < len(f.text) && f.text[at] != '\n' {
		return Edit{Span{end, end}, " " + text}, nil
	}
	if at > end && f.text[at-1] == '\r' {
		at--
	}
	return Edit{Span{at, at}, f.newline(at) + f.indentAt(f.ArgSpan(directive, 0).Start) + text}, nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

func (f *Nginx) isLua(directive int) bool {
	return f.HasBlock(directive) && strings.HasSuffix(f.Name(directive), "_by_lua_block")
}

func (f *Nginx) appendLine(text string) Edit {
	at := len(f.text)
	nl := f.newline(at)
	if at > 0 && f.text[at-1] != '\n' {
		return Edit{Span{at, at}, nl + text + nl}
	}
	return Edit{Span{at, at}, text + nl}
}

// restOfLine is the end of the line if only blanks and a comment follow, else the offset itself.
func (f *Nginx) restOfLine(at, limit int) int {
	i := at
	for i < limit && (f.text[i] == ' ' || f.text[i] == '\t') {
		i++
	}
	if i < limit && f.text[i] == '#' {
		if n := strings.IndexByte(f.text[i:limit], '\n'); n >= 0 {
			i += n
		}
		if f.text[i-1] == '\r' {
			i--
		}
		return i
	}
	return at
}

// indentAt is the blanks that the line of an offset begins with.
func (f *Nginx) indentAt(at int) string {
	start := strings.LastIndexByte(f.text[:at], '\n') + 1
	end := start
	for end < at && (f.text[end] == ' ' || f.text[end] == '\t') {
		end++
	}
	return f.text[start:end]
}

// indentUnit is how far the file's first indented directive stands from its block.
func (f *Nginx) indentUnit() string {
	for i := range f.nodes {
		if p := f.nodes[i].parent; p >= 0 {
			outer, inner := f.indentAt(f.ArgSpan(int(p), 0).Start), f.indentAt(f.ArgSpan(i, 0).Start)
			if rest, ok := strings.CutPrefix(inner, outer); ok && rest != "" {
				return rest
			}
		}
	}
	return "    "
}

// newline is how the line before an offset ends.
func (f *Nginx) newline(at int) string {
	n := strings.LastIndexByte(f.text[:at], '\n')
	if n < 0 {
		n = strings.IndexByte(f.text, '\n')
	}
	if n > 0 && f.text[n-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// RemoveDirective takes a directive out, with its line if nothing else stands there.
func (f *Nginx) RemoveDirective(directive int) Edit {
	s := f.Span(directive)
	start, end := s.Start, s.End
	for start > 0 && (f.text[start-1] == ' ' || f.text[start-1] == '\t') {
		start--
	}
	for end < len(f.text) && (f.text[end] == ' ' || f.text[end] == '\t' || f.text[end] == '\r') {
		end++
	}
	first, last := start == 0 || f.text[start-1] == '\n', end == len(f.text) || f.text[end] == '\n'
	switch {
	case first && last:
		return Edit{Span{start, min(end+1, len(f.text))}, ""}
	case last:
		return Edit{Span{start, s.End}, ""} // the blanks before it are nobody's
	}
	return Edit{s, ""}
}

// Recognise counts the directives of a file, as far as it can be read, that are nginx's own, and the others.
func (f *Nginx) Recognise() (own, other int) {
	known := nginxDirectives()
	for i := range f.nodes {
		if p := f.nodes[i].parent; p >= 0 && !known[f.Name(int(p))].holds {
			continue
		}
		if _, ok := known[f.Name(i)]; ok {
			own++
		} else {
			other++
		}
	}
	return own, other
}
