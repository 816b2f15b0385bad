package conf

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// SetScalar returns the edit that gives a scalar a new value, which readers then take for that text, number or boolean.
// Quotes stay as they are, and come where the value needs them. A scalar that other places share, a block and what a template
// fills in are refused.
func (y *YAML) SetScalar(n *YAMLNode, value string) ([]Edit, error) {
	if why := y.unsettable(n, value); why != "" {
		return nil, errors.New("not set: " + why)
	}
	s, ok := y.scalarSpan(n)
	if !ok || y.hides(s) {
		return nil, errors.New("not set: where its value begins and ends cannot be told")
	}
	edits := []Edit{{s, yamlText(value, n.quote)}}
	if !y.changesOnly(n, edits, value) {
		return nil, errors.New("not set: the file's odd layout would make something else of it")
	}
	return edits, nil
}

// changesOnly reads the edited file: YAML has corners (a tab under a plain scalar at the margin) where no rule about quotes holds.
func (y *YAML) changesOnly(n *YAMLNode, edits []Edit, value string) bool {
	out, err := Apply(y.data, edits)
	if err != nil {
		return false
	}
	again, err := ParseYAML(out)
	if err != nil || again.Template != y.Template || again.Guarded != y.Guarded {
		return false
	}
	was, is := y.values(), again.values()
	for i := range was {
		want := was[i].Text
		if was[i] == n {
			want = value
		}
		if i >= len(is) || is[i].Text != want {
			return false
		}
	}
	return len(was) == len(is)
}

// values lists the scalars that are no keys, each once, in the order of the file.
func (y *YAML) values() []*YAMLNode {
	var out []*YAMLNode
	seen := map[*YAMLNode]bool{}
	var walk func(n *YAMLNode)
	walk = func(n *YAMLNode) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, p := range n.Pairs {
			walk(p.Value)
		}
		for _, item := range n.Items {
			walk(item)
		}
		if n.Kind == YAMLScalar {
			out = append(out, n)
		}
	}
	for _, doc := range y.Docs {
		walk(doc)
	}
	return out
}

// unsettable is why a scalar is not set; "" if it may be.
func (y *YAML) unsettable(n *YAMLNode, value string) string {
	switch {
	case n == nil || n.Kind != YAMLScalar:
		return "it is a list or a mapping, or a template fills it in"
	case n.fixed != "":
		return n.fixed
	case n.quote == '|':
		return "it is a block of lines"
	case n.Plain && n.Text == "":
		return "nothing is written there"
	case value == "":
		return "the new value is empty"
	case !utf8.ValidString(value):
		return errNotText.Error()
	}
	return ""
}

// hides reports whether a template's marker lies within a span.
func (y *YAML) hides(s Span) bool {
	for i := s.Start; i < s.End; i++ {
		if y.isHidden(i) {
			return true
		}
	}
	return false
}

// scalarSpan is where a scalar stands, its quotes included.
func (y *YAML) scalarSpan(n *YAMLNode) (Span, bool) {
	if n.Plain {
		at, ok := y.Locate(n)
		if !ok {
			return Span{}, false
		}
		return Span{at[0], y.End(at[len(at)-1])}, at[0] == n.start
	}
	for i := n.start + 1; i < len(y.text); i++ {
		switch c := y.text[i]; {
		case c == '\\' && n.quote == '"':
			i++
		case c != n.quote:
		case c == '\'' && i+1 < len(y.text) && y.text[i+1] == '\'':
			i++
		default:
			return Span{n.start, i + 1}, y.text[n.start] == n.quote
		}
	}
	return Span{}, false
}

// plainYAML is what needs no quotes: numbers that are decimal to all readers, durations, and words that mean nothing else.
// YAML 1.1, which SnakeYAML reads, has octal numbers (010), sexagesimal ones (1:30) and booleans in many words.
var plainYAML = regexp.MustCompile(`^(0|-?[1-9][0-9]*|[1-9][0-9]*[A-Za-z]+|[A-Za-z][A-Za-z0-9_./-]*)$`)

func isPlainYAML(value string) bool {
	words := []string{"y", "n", "yes", "no", "on", "off", "null"}
	return plainYAML.MatchString(value) && !slices.Contains(words, strings.ToLower(value))
}

// yamlText writes a value in the quotes that stood there, or in such as it needs.
func yamlText(value string, quote byte) string {
	control := strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
	switch {
	case quote == 0 && isPlainYAML(value):
		return value
	case quote != '"' && !control:
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	}
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r < ' ' || r > '~':
			fmt.Fprintf(&out, `\U%08X`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}
