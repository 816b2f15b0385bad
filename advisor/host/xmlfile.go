package host

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// xmlFile is one XML file, parsed.
type xmlFile struct {
	path    string
	syntax  *conf.XML
	lines   conf.LineIndex
	markers []conf.Marker
	broken  *brokenFile // nil: it could be read
}

// parseXMLFile parses a file. Of a template that is no XML before it is filled in, what stands for other text is hidden.
func parseXMLFile(name string, data []byte) *xmlFile {
	f := &xmlFile{path: name}
	var err error
	f.syntax, err = conf.ParseXML(data)
	f.markers = conf.Markers(data)
	if err != nil && len(f.markers) > 0 {
		if hidden, bad := conf.ParseXML(conf.HideMarkers(data, f.markers, 'x')); bad == nil {
			f.syntax, err = hidden, nil
		}
	}
	f.lines = f.syntax.Lines()
	var syntax *conf.XMLError
	if errors.As(err, &syntax) {
		f.broken = &brokenFile{line: syntax.Line, column: syntax.Column, why: "no valid XML: " + syntax.Message, template: len(f.markers) > 0 || isTemplate(name)}
	}
	return f
}

// readXMLFile reads and parses a file of a host. The gap says why that failed; a file that is not there is fs.ErrNotExist.
func readXMLFile(t tree, name string) (*xmlFile, advisor.Gap, error) {
	data, err := t.read(name, fileLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, advisor.Gap{Source: name, Why: "no such file"}, err
	case errors.Is(err, fs.ErrPermission):
		return nil, advisor.Gap{Source: name, Why: "permission denied: run as root"}, err
	case err != nil:
		return nil, advisor.Gap{Source: name, Why: err.Error()}, err
	}
	f := parseXMLFile(name, data)
	if f.broken != nil {
		return nil, advisor.Gap{Source: fmt.Sprintf("%s:%d:%d", name, f.broken.line, f.broken.column), Why: f.broken.why, Broken: true}, f.broken
	}
	return f, advisor.Gap{}, nil
}

func (f *xmlFile) origin(s conf.Span) advisor.Origin {
	line, column := f.lines.Position(s.Start)
	return advisor.Origin{Path: f.path, Line: line, Column: column, Start: s.Start, End: s.End}
}

// filled reports whether a template fills in a part of a span.
func (f *xmlFile) filled(s conf.Span) bool {
	for _, m := range f.markers {
		if m.Span.Start < s.End && s.Start < m.Span.End {
			return true
		}
	}
	return false
}

// xmlRef is an element in a file.
type xmlRef struct {
	file    *xmlFile
	element int
}

func (r xmlRef) name() string { return r.file.syntax.Name(r.element) }

func (r xmlRef) origin() advisor.Origin { return r.file.origin(r.file.syntax.Span(r.element)) }

// children are the elements inside of that name.
func (r xmlRef) children(name string) (out []xmlRef) {
	for i := range r.file.syntax.Children(r.element) {
		if r.file.syntax.Name(i) == name {
			out = append(out, xmlRef{r.file, i})
		}
	}
	return out
}

// inside are all elements of that name at any depth.
func (r xmlRef) inside(name string) (out []xmlRef) {
	for i := r.element + 1; i < r.file.syntax.After(r.element); i++ {
		if r.file.syntax.Name(i) == name {
			out = append(out, xmlRef{r.file, i})
		}
	}
	return out
}

// text is an attribute's value with its place, or why it cannot be known.
func (r xmlRef) text(name string) (value string, origin advisor.Origin, set bool, unknown string) {
	a, ok := r.file.syntax.Attr(r.element, name)
	if !ok {
		return "", advisor.Origin{}, false, ""
	}
	origin = r.file.origin(a.Span)
	switch {
	case r.file.filled(a.Span):
		unknown = "a template fills it in"
	case a.Entity != "":
		unknown = "an entity of the DOCTYPE decides it: &" + a.Entity + ";"
	}
	return a.Value, origin, true, unknown
}

// rootElement is the name of the first element of a file that looks like XML; empty: it does not.
func rootElement(data []byte) string {
	const enough = 64 << 10
	text := strings.TrimPrefix(string(data[:min(len(data), enough)]), "\uFEFF")
	for {
		text = strings.TrimLeft(text, " \t\r\n")
		switch {
		case strings.HasPrefix(text, "<!--"):
			_, after, ok := strings.Cut(text, "-->")
			if !ok {
				return ""
			}
			text = after
		case strings.HasPrefix(text, "<?"), strings.HasPrefix(text, "<!"):
			end := ">"
			if head, _, _ := strings.Cut(text, ">"); strings.Contains(head, "[") {
				end = "]>"
			}
			_, after, ok := strings.Cut(text, end)
			if !ok {
				return ""
			}
			text = after
		case strings.HasPrefix(text, "<"):
			return strings.Trim(strings.FieldsFunc(text+">", func(r rune) bool { return r == '>' || r == ' ' || r == '\t' || r == '\r' || r == '\n' })[0], "</")
		default:
			return ""
		}
	}
}
