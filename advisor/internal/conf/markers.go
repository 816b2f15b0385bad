package conf

import (
	"bytes"
	"strings"
)

// Marker is a place that a template engine fills in or takes out: Jinja's {{ }}, {% %} and {# #}, Go's {{ }}, ERB's <% %>.
type Marker struct {
	Span    Span
	Control bool // it decides about other text, or is a comment, and leaves nothing itself: {% if %}, {{ end }}, <% end %>
}

// Markers finds the template markers of a file, in order. What is opened and never closed is no marker.
func Markers(data []byte) []Marker {
	if bytes.IndexByte(data, '{') < 0 && bytes.IndexByte(data, '<') < 0 {
		return nil
	}
	var found []Marker
	never := map[string]bool{} // an end that does not occur any more; looked for once, so that time stays linear
	for at := 0; at+1 < len(data); at++ {
		end := markerEnd(data, at)
		if end == "" || never[end] {
			continue
		}
		n := bytes.Index(data[at+2:], []byte(end))
		if n < 0 {
			never[end] = true
			continue
		}
		m := Marker{Span: Span{at, at + 2 + n + len(end)}}
		for end == "}}" && m.Span.End < len(data) && data[m.Span.End] == '}' { // {{ {'a': {}}}}: the last two close it
			m.Span.End++
		}
		m.Control = isControl(data[m.Span.Start:m.Span.End])
		found = append(found, m)
		at = m.Span.End - 1
	}
	return found
}

// markerEnd is what closes the marker that opens at a byte; "" where none does.
func markerEnd(data []byte, at int) string {
	switch {
	case data[at] == '{' && data[at+1] == '{':
		return "}}"
	case data[at] == '{' && data[at+1] == '%':
		return "%}"
	case data[at] == '{' && data[at+1] == '#' && (at == 0 || data[at-1] != '$'): // not the shell's ${#x}
		return "#}"
	case data[at] == '<' && data[at+1] == '%':
		return "%>"
	}
	return ""
}

func isControl(marker []byte) bool {
	switch {
	case marker[0] == '<':
		return !bytes.HasPrefix(marker, []byte("<%="))
	case marker[1] != '{':
		return true
	}
	inner := strings.TrimLeft(string(marker[2:min(len(marker)-2, 66)]), "- \t\n")
	if strings.HasPrefix(inner, "/*") {
		return true
	}
	word, _, _ := strings.Cut(strings.TrimRight(inner, "- \t\n"), " ")
	switch word {
	case "if", "else", "end", "range", "with", "define", "block", "template", "break", "continue":
		return true
	}
	return strings.HasPrefix(word, "$") && strings.Contains(inner, ":=")
}

// HideMarkers returns data with markers made harmless to a parser that knows none, each byte at its place: those that stand
// alone on their lines and those that leave nothing become blanks. Of the others fill takes the place of each byte; where
// it is zero they stay.
func HideMarkers(data []byte, markers []Marker, fill byte) []byte {
	out := bytes.Clone(data)
	for i := 0; i < len(markers); {
		// The markers between two line ends that are not inside markers.
		first, last := i, i
		for last+1 < len(markers) && bytes.IndexByte(data[markers[last].Span.End:markers[last+1].Span.Start], '\n') < 0 {
			last++
		}
		alone := aloneOnLines(data, markers[first:last+1])
		for ; i <= last; i++ {
			c := fill
			if alone || markers[i].Control {
				c = ' '
			}
			blank(out[markers[i].Span.Start:markers[i].Span.End], c)
		}
	}
	return out
}

func aloneOnLines(data []byte, markers []Marker) bool {
	from := bytes.LastIndexByte(data[:markers[0].Span.Start], '\n') + 1
	for _, m := range markers {
		if len(bytes.TrimSpace(data[from:m.Span.Start])) > 0 {
			return false
		}
		from = m.Span.End
	}
	rest, _, _ := bytes.Cut(data[from:], []byte{'\n'})
	return len(bytes.TrimSpace(rest)) == 0
}

func blank(text []byte, c byte) {
	for i := range text {
		if c != 0 && text[i] != '\n' && text[i] != '\r' {
			text[i] = c
		}
	}
}
