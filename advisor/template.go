package advisor

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// template is a text with expressions in braces: "port {listener.port} is full". "{{" and "}}" stand for a brace.
type template struct {
	source string
	parts  []templatePart
}

type templatePart struct {
	text string
	code *code // nil: text as it stands
}

func (r *ruleDecoder) templates(n *yaml.Node) []*template {
	var out []*template
	for _, item := range r.items(n) {
		out = append(out, r.template(item))
	}
	return out
}

func (r *ruleDecoder) template(n *yaml.Node) *template {
	src := strings.TrimSpace(r.text(n))
	t := &template{source: src}
	var text strings.Builder
	for i := 0; i < len(src); {
		switch {
		case strings.HasPrefix(src[i:], "{{"), strings.HasPrefix(src[i:], "}}"):
			text.WriteByte(src[i])
			i += 2
		case src[i] == '{':
			end := strings.IndexByte(src[i:], '}')
			if end < 0 {
				r.failInside(n, len([]rune(src[:i])), "this brace is never closed; write {{ for a brace")
				return t
			}
			c, err := r.compile(src[i+1:i+end], 0)
			if err != nil {
				r.failInside(n, len([]rune(src[:i+1]))+err.offset, "%s", err.message)
				return t
			}
			t.parts = append(t.parts, templatePart{text: text.String()}, templatePart{code: c})
			text.Reset()
			i += end + 1
		case src[i] == '}':
			r.failInside(n, len([]rune(src[:i])), "a closing brace without an opening one; write }} for a brace")
			return t
		default:
			text.WriteByte(src[i])
			i++
		}
	}
	t.parts = append(t.parts, templatePart{text: text.String()})
	return t
}

// render fills the template. What is absent prints as "none", what is unknown as "unknown (why)". Nothing is traced.
func (t *template) render(f *frame) string {
	if len(t.parts) == 1 { // all findings share it
		return t.parts[0].text
	}
	mark := len(f.trace)
	var b strings.Builder
	for _, p := range t.parts {
		if p.code == nil {
			b.WriteString(p.text)
			continue
		}
		switch r := p.code.eval(f); r.state {
		case StateKnown:
			b.WriteString(r.value.String())
		case StateAbsent:
			b.WriteString("none")
		default:
			b.WriteString("unknown")
			if r.needs[0].why != "" {
				b.WriteString(" (" + r.needs[0].why + ")")
			}
		}
	}
	f.trace = f.trace[:mark]
	return b.String()
}

func renderAll(ts []*template, f *frame) []string {
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = t.render(f)
	}
	return out
}
