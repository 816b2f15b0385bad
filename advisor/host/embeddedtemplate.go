package host

import (
	"regexp"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// What a template fills in is followed only as far as the file itself tells it for certain: variables that it defines,
// literal defaults, and the few filters of Jinja that turn a mapping into a loop. All else is not known.

// held is what an expression or a variable stands for. The zero held is: not known.
type held struct {
	kind heldKind
	node *conf.YAMLNode // heldNode
	file *embeddedFile  // of node
	text placed         // heldText
	list []held         // heldList
	pair *[2]held       // heldPair: an entry of a mapping, as dict2items and with_dict give it
}

type heldKind uint8

const (
	heldUnknown   heldKind = iota // it exists, or may, and we cannot tell what it is
	heldUndefined                 // no file that we know defines it
	heldNode
	heldText
	heldList
	heldPair
)

// vars are the variables that hold at a place: its own, then those further out.
type vars struct {
	mapping *conf.YAMLNode
	file    *embeddedFile
	name    string // or one variable
	value   held
	outer   *vars
	finder  *finder // outermost: it counts the steps, and knows what the files beside define
}

func (v *vars) with(mapping *conf.YAMLNode, file *embeddedFile) *vars {
	if mapping == nil || mapping.Kind != conf.YAMLMapping {
		return v
	}
	return &vars{mapping: mapping, file: file, outer: v}
}

func (v *vars) lookup(name string) held {
	if !v.spend(1) {
		return held{}
	}
	for ; v != nil; v = v.outer {
		switch {
		case v.name == name && v.name != "":
			return v.value
		case v.finder != nil:
			return v.finder.beside(name)
		}
		if n := v.mapping.Get(name); n != nil {
			return held{kind: heldNode, node: n, file: v.file}
		}
	}
	return held{kind: heldUndefined}
}

// spend counts steps: an expression of a few lines can name variables that name variables until nothing else runs.
func (v *vars) spend(steps int) bool {
	for v != nil && v.finder == nil {
		v = v.outer
	}
	if v == nil {
		return true
	}
	v.finder.steps += steps
	return v.finder.step()
}

// maxRender bounds what one text may become, and deepest how often variables lead to variables.
const (
	maxRender = 1 << 20
	deepest   = 8
)

// renderText fills in the markers of a text.
func renderText(p placed, v *vars) placed { return renderDepth(p, v, 0) }

func renderDepth(p placed, v *vars, depth int) placed {
	markers := conf.Markers([]byte(p.text))
	if len(markers) == 0 {
		return p
	}
	if depth > deepest {
		return holeAt(p)
	}
	var out placer
	last := 0
	for _, m := range markers {
		if m.Control { // it may decide about any part of the text
			return holeAt(p)
		}
		out.add(p.slice(last, m.Span.Start))
		last = m.Span.End
		whole := p.slice(m.Span.Start, m.Span.End)
		if t := asText(evaluate(whole.inner(), v, depth+1), v, depth+1); t.text != "" {
			out.add(t)
		} else {
			out.add(holeAt(whole))
		}
		if len(out.text) > maxRender {
			return holeAt(p)
		}
	}
	out.add(p.slice(last, len(p.text)))
	return out.placed()
}

// inner is the expression of a marker; nothing where it is not Jinja's or Go's.
func (p placed) inner() placed {
	if len(p.text) < 4 || p.text[:2] != "{{" {
		return placed{}
	}
	p = p.slice(2, len(p.text)-2)
	p = p.slice(len(p.text)-len(strings.TrimPrefix(p.text, "-")), len(p.text))
	return p.slice(0, len(strings.TrimSuffix(p.text, "-"))).trim()
}

// asText is the text of what an expression gave; empty where it is no text, or not known.
func asText(h held, v *vars, depth int) placed {
	switch {
	case h.kind == heldText:
		return h.text
	case h.kind == heldNode && h.node.Kind == conf.YAMLScalar && !h.node.Null:
		return renderDepth(plainNumber(h.node, placeNode(h.file, h.node)), v, depth)
	case h.kind == heldNode && h.file.yaml.IsMarker(h.node):
		s := h.file.yaml.MarkerSpan(h.node)
		return renderDepth(placeBytes(h.file, h.file.yaml.Bytes(s), s.Start), v, depth)
	}
	return placed{}
}

// settle follows a text that is one marker, "{{ settings }}", to what that stands for.
func settle(h held, v *vars, depth int) held {
	for ; h.kind == heldNode && h.node.Kind == conf.YAMLScalar && depth <= deepest; depth++ {
		if !v.spend(len(h.node.Text) / 8) {
			return held{}
		}
		p := placeNode(h.file, h.node).trim()
		markers := conf.Markers([]byte(p.text))
		if len(markers) == 0 {
			return h
		}
		if len(markers) > 1 || markers[0].Span != (conf.Span{Start: 0, End: len(p.text)}) || markers[0].Control {
			return held{kind: heldText, text: renderDepth(p, v, depth)}
		}
		h = evaluate(p.inner(), v, depth+1)
	}
	return h
}

// evaluate reads an expression.
func evaluate(p placed, v *vars, depth int) held {
	if depth > deepest || len(p.text) > 4096 {
		return held{}
	}
	if h, ok := goDefault(p); ok {
		return h
	}
	e := &expression{p: p, vars: v, depth: depth}
	h := e.sum()
	if e.space(); e.bad || e.at < len(p.text) {
		return held{}
	}
	return h
}

var (
	goDefaultFirst = regexp.MustCompile(`^default\s+("[^"]*"|[0-9.]+)\s+[.$][\w.$]*\s*(?:\|\s*(?:quote|squote|int|int64|toString|trim)\s*)*$`)
	goDefaultPiped = regexp.MustCompile(`^[.$][\w.$]*\s*\|\s*default\s+("[^"]*"|[0-9.]+)\s*(?:\|\s*(?:quote|squote|int|int64|toString|trim)\s*)*$`)
)

// goDefault reads {{ .Values.x | default 4096 }} and {{ default 4096 .Values.x | quote }}.
func goDefault(p placed) (held, bool) {
	for _, form := range []*regexp.Regexp{goDefaultFirst, goDefaultPiped} {
		if m := form.FindStringSubmatchIndex(p.text); m != nil {
			from, to := m[2], m[3]
			if p.text[from] == '"' {
				from, to = from+1, to-1
			}
			return held{kind: heldText, text: p.slice(from, to)}, true
		}
	}
	return held{}, false
}

// expression reads the part of Jinja that can be told for certain: sum = piped {"+" piped}; piped = primary {"." name |
// "[" literal "]"} {"|" filter ["(" arguments ")"]}.
type expression struct {
	p     placed
	at    int
	vars  *vars
	depth int
	bad   bool // it is beyond us
}

func (e *expression) space() {
	for e.at < len(e.p.text) && strings.IndexByte(" \t\r\n", e.p.text[e.at]) >= 0 {
		e.at++
	}
}

// take goes over a byte if it is the next.
func (e *expression) take(c byte) bool {
	e.space()
	if e.at < len(e.p.text) && e.p.text[e.at] == c {
		e.at++
		return true
	}
	return false
}

func (e *expression) name() string {
	e.space()
	from := e.at
	for e.at < len(e.p.text) && (isWordByte(e.p.text[e.at]) && (e.at > from || e.p.text[e.at] > '9')) {
		e.at++
	}
	return e.p.text[from:e.at]
}

func isWordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func (e *expression) fail() held {
	e.bad = true
	return held{}
}

// sum joins lists.
func (e *expression) sum() held {
	h := e.piped()
	for !e.bad && e.take('+') {
		next := e.piped()
		a, okA := e.items(h)
		b, okB := e.items(next)
		if !okA || !okB {
			h = held{}
			continue
		}
		if !e.vars.spend(len(a) + len(b)) {
			return e.fail()
		}
		h = held{kind: heldList, list: slices.Concat(a, b)}
	}
	return h
}

// items are those of a list.
func (e *expression) items(h held) ([]held, bool) {
	h = settle(h, e.vars, e.depth)
	switch {
	case h.kind == heldList:
		return h.list, true
	case h.kind == heldNode && h.node.Kind == conf.YAMLSequence:
		return nodesOf(h.node, h.file), e.vars.spend(len(h.node.Items))
	}
	return nil, false
}

func nodesOf(n *conf.YAMLNode, file *embeddedFile) []held {
	list := make([]held, len(n.Items))
	for i, item := range n.Items {
		list[i] = held{kind: heldNode, node: item, file: file}
	}
	return list
}

func (e *expression) piped() held {
	if e.depth++; e.depth > 4*deepest {
		return e.fail()
	}
	defer func() { e.depth-- }()
	h := e.primary()
	for !e.bad {
		switch {
		case e.take('.'):
			name := e.name()
			if name == "" {
				return e.fail()
			}
			if e.take('(') { // settings.items()
				if name != "items" || !e.take(')') {
					return e.fail()
				}
				h = e.entries(h)
				continue
			}
			h = e.member(h, name)
		case e.take('['):
			key, ok := e.literal()
			if !ok || !e.take(']') {
				return e.fail()
			}
			h = e.member(h, key.text)
		case e.take('|'):
			h = e.filter(h)
		default:
			return h
		}
	}
	return held{}
}

func (e *expression) primary() held {
	if e.take('(') {
		h := e.sum()
		if !e.take(')') {
			return e.fail()
		}
		return h
	}
	if e.take('{') {
		if !e.take('}') {
			return e.fail()
		}
		return held{kind: heldList} // an empty mapping has no entries
	}
	if e.take('[') {
		h := held{kind: heldList}
		for !e.take(']') {
			h.list = append(h.list, e.sum())
			if !e.take(',') && (e.at >= len(e.p.text) || e.p.text[e.at] != ']') || e.bad {
				return e.fail()
			}
		}
		return h
	}
	if t, ok := e.literal(); ok {
		return held{kind: heldText, text: t}
	}
	name := e.name()
	switch name {
	case "", "not", "if", "lookup", "query", "q":
		return e.fail()
	case "omit":
		return held{}
	}
	h := e.vars.lookup(name)
	if h.kind == heldUndefined && (strings.HasPrefix(name, "ansible_") || slices.Contains([]string{"hostvars", "groups", "inventory_hostname"}, name)) {
		return held{} // facts of the host, which are always there
	}
	return h
}

// literal is a number or a text in quotes, with or without a backslash before these.
func (e *expression) literal() (placed, bool) {
	e.space()
	from := e.at
	rest := e.p.text[from:]
	if rest == "" {
		return placed{}, false
	}
	quote := 0
	if rest[0] == '\\' && len(rest) > 1 { // a marker in quotes of YAML that was hidden keeps its backslashes
		quote = 1
	}
	if c := rest[quote]; c == '"' || c == '\'' {
		n := strings.Index(rest[quote+1:], rest[:quote+1])
		if n < 0 {
			return placed{}, false
		}
		e.at = from + 2*(quote+1) + n
		return e.p.slice(from+quote+1, from+quote+1+n), true
	}
	n := len(rest) - len(strings.TrimLeft(strings.TrimPrefix(rest, "-"), "0123456789_."))
	if n == 0 || rest[:n] == "-" || strings.HasPrefix(rest, ".") {
		return placed{}, false
	}
	e.at = from + n
	return e.p.slice(from, from+n), true
}

func (e *expression) member(h held, name string) held {
	h = settle(h, e.vars, e.depth)
	switch {
	case h.kind == heldUndefined:
		return h
	case h.kind == heldPair && name == "key":
		return h.pair[0]
	case h.kind == heldPair && name == "value":
		return h.pair[1]
	case h.kind == heldNode && h.node.Kind == conf.YAMLMapping && !h.file.yaml.IsMarker(h.node):
		if n := h.node.Get(name); n != nil {
			return held{kind: heldNode, node: n, file: h.file}
		}
		return held{kind: heldUndefined}
	case h.kind == heldNode && h.node.Kind == conf.YAMLSequence, h.kind == heldList: // item.0 of a pair from items()
		list, _ := e.items(h)
		if len(name) == 1 && name[0] >= '0' && int(name[0]-'0') < len(list) {
			return list[name[0]-'0']
		}
	}
	return held{}
}

// entries are the pairs of a mapping; unknown where it is none.
func (e *expression) entries(h held) held {
	h = settle(h, e.vars, e.depth)
	if h.kind == heldList && len(h.list) == 0 || h.kind == heldList && h.list[0].kind == heldPair {
		return h
	}
	if h.kind != heldNode || h.node.Kind != conf.YAMLMapping || h.file.yaml.IsMarker(h.node) {
		return held{}
	}
	if !e.vars.spend(len(h.node.Pairs)) {
		return held{}
	}
	out := held{kind: heldList}
	for _, p := range h.node.Pairs {
		out.list = append(out.list, held{kind: heldPair, pair: &[2]held{
			{kind: heldNode, node: p.Key, file: h.file}, {kind: heldNode, node: p.Value, file: h.file},
		}})
	}
	return out
}

func (e *expression) filter(h held) held {
	name := e.name()
	for e.take('.') { // ansible.builtin.dict2items
		name = e.name()
	}
	var arguments []held
	if e.take('(') {
		for !e.take(')') {
			from := e.at
			if e.name(); !e.take('=') { // default(value=4096) too
				e.at = from
			}
			arguments = append(arguments, e.sum())
			if !e.take(',') && (e.at >= len(e.p.text) || e.p.text[e.at] != ')') || e.bad {
				return e.fail()
			}
		}
	}
	switch name {
	case "default", "d":
		if h.kind == heldUndefined && len(arguments) > 0 {
			return arguments[0]
		}
		return h
	case "int", "string", "trim", "list", "unique", "flatten", "quote":
		return h
	case "dict2items":
		if len(arguments) > 0 {
			return held{}
		}
		return e.entries(h)
	case "combine":
		return e.combine(h, arguments)
	}
	return held{}
}

// combine lays mappings over another; what a later one holds replaces an earlier one's.
func (e *expression) combine(h held, with []held) held {
	out := held{kind: heldList}
	place := map[string]int{}
	for _, w := range append([]held{h}, with...) {
		more := e.entries(w)
		if more.kind != heldList || !e.vars.spend(len(more.list)) {
			return held{}
		}
		for _, p := range more.list {
			if p.kind != heldPair || p.pair[0].node == nil {
				return held{}
			}
			key := p.pair[0].node.Text
			if i, ok := place[key]; ok {
				out.list[i] = p
				continue
			}
			place[key] = len(out.list)
			out.list = append(out.list, p)
		}
	}
	return out
}
