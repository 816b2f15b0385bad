package conf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// scalars lists the scalars of a file with the bytes that they come from: TEXT@LINE:COLUMN[BYTES].
func scalars(t testing.TB, y *YAML, data []byte) []string {
	t.Helper()
	var out []string
	lines := IndexLines(data)
	seen := map[*YAMLNode]bool{}
	var walk func(n *YAMLNode)
	walk = func(n *YAMLNode) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, p := range n.Pairs {
			walk(p.Key)
			walk(p.Value)
		}
		for _, item := range n.Items {
			walk(item)
		}
		if n.Kind != YAMLScalar || n.Text == "" {
			return
		}
		at, ok := y.Locate(n)
		if len(at) != len(n.Text) {
			t.Fatalf("%q: %d places of %d bytes", n.Text, len(at), len(n.Text))
		}
		for i, offset := range at {
			if offset < 0 || offset >= len(data) || i > 0 && offset < at[i-1] {
				t.Fatalf("%q: byte %d of %d lies at %d of %d", n.Text, i, len(n.Text), offset, len(data))
			}
		}
		line, column := lines.Position(at[0])
		mark := ""
		if !ok {
			mark = "?"
		}
		out = append(out, fmt.Sprintf("%s@%d:%d[%s]%s", n.Text, line, column, data[at[0]:y.End(at[len(at)-1])], mark))
	}
	for _, doc := range y.Docs {
		walk(doc)
	}
	return out
}

func TestYAMLPlaces(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a: b c # d\n", "a@1:1[a] b c@1:4[b c]"},
		{"a: 'it''s'", "a@1:1[a] it's@1:5[it''s]"},
		{`{"a": "b\"\\\tc\x41\u00e9"}`, "a@1:3[a] b\"\\\tcAé@1:8[b\\\"\\\\\\tc\\x41\\u00e9]"},
		{"a: &x !!str 1\nb: *x\n", "a@1:1[a] 1@1:13[1] b@2:1[b]"},
		{"é: 中 x\n", "é@1:1[é] 中 x@1:5[中 x]"},
		{"a: |\n  b\n   c\n\n  d\n", "a@1:1[a] b\n c\n\nd\n@2:3[b\n   c\n\n  d\n]"},
		{"a: >- # x\n  b\n  c\n\n  d\n", "a@1:1[a] b c\nd@2:3[b\n  c\n\n  d]"},
		{"a: b\n  c\n", "a@1:1[a] b c@1:4[b\n  c]"},
		{"a: \"b\\\n    c\\n\\n d\"\n", "a@1:1[a] bc\n\n d@1:5[b\\\n    c\\n\\n d]"},
		{"\ufeffa: 1\r\nb: 2\r\n", "a@1:4[a] 1@1:7[1] b@2:1[b] 2@2:4[2]"},
		{"a: 1\u0085b: 2\rc: 3\n", "a@1:1[a] 1@1:4[1] b@1:7[b] 2@1:10[2] c@1:12[c] 3@1:15[3]"},
		{"--- a\n---\n- b\n...\n", "a@1:5[a] b@3:3[b]"},
		{"{% if x %}\na: {{ b }}\n{% endif %}\n", "a@2:1[a] {{ b }}@2:4[{{ b }}]"},
		{"a:\n  {{- include \"x\" . | nindent 2 }}\nb: \"{{ x | d(\\\"1\\\") }}2\"\n{{ end }}\n", "a@1:1[a] b@3:1[b] {{ x | d(\\\"1\\\") }}2@3:5[{{ x | d(\\\"1\\\") }}2]"},
		{"{% if x %}\na: 1{{ if y }}0{{ else }}{{ z }}{{ end }}0\n{% endif %}", "a@2:1[a] 1{{ if y }}0{{ else }}{{ z }}{{ end }}0@2:4[1{{ if y }}0{{ else }}{{ z }}{{ end }}0]"},
	} {
		y, err := ParseYAML([]byte(c.text))
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got := strings.Join(scalars(t, y, []byte(c.text)), " "); got != c.want {
			t.Errorf("%q:\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

func TestYAMLTree(t *testing.T) {
	y, err := ParseYAML([]byte("base: &b {a: 1, b: 2}\nmore: &m {a: 5, c: 3}\nx: {<<: [*b, *m], b: 9}\nself: &s [*s, ~]\nm: {{ x }}\nb: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	top := y.Docs[0]
	for key, want := range map[string]string{"a": `"1"`, "b": `"9"`, "c": `"3"`, "d": "nothing"} {
		if got := top.Get("x").Get(key).String(); got != want {
			t.Errorf("merged %s is %s, want %s", key, got, want)
		}
	}
	if items := top.Get("self").List(); len(items) != 2 || !items[0].Null || !items[1].Null || items[0].Get("x") != nil || items[0].List() != nil {
		t.Errorf("an alias within its anchor is %v", items)
	}
	if m := top.Get("m"); !y.IsMarker(m) || y.Bytes(y.MarkerSpan(m)) != "{{ x }}" || y.IsMarker(top.Get("x")) {
		t.Errorf("a marker without quotes is %v, %q", m, y.Bytes(y.MarkerSpan(m)))
	}
	if got := top.Get("b"); got.Text != "1" || !got.Plain {
		t.Errorf("b is %v", got)
	}
}

// The line of a fault is that which an editor shows, and the file is not quoted: it may hold secrets.
func TestYAMLErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		line int
	}{
		{"a: [\n", 2},
		{"a: b: c\n", 1},
		{"a: 1\nb: c: d\n", 2},
		{"a:\n - b\n  c: d\n", 3},
		{"a:\n  b: 1\n c: 2\n", 3},
		{"a:\n\tb: 1\n", 2},
		{"a: 1\nb: \"c\n\n", 2},
		{"a: *secret\n", 1},
		{"a: 1\nb: \xff\n", 2},
		{"a: 1\nb: \x01\n", 2},
		{"\xff\xfea\x00", 1},
		{"%YAML 3.0\n---\na\n", 1},
		{"{% if %}\na: [\n", 3},
	} {
		_, err := ParseYAML([]byte(c.text))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Line != c.line {
			t.Errorf("%q: error %v, want line %d", c.text, err, c.line)
		} else if strings.Contains(syntax.Message, "secret") {
			t.Errorf("%q: error %q quotes the file", c.text, syntax.Message)
		}
	}
	for name, data := range hostileYAML() {
		start := time.Now()
		y, err := ParseYAML(data)
		var syntax *SyntaxError
		if err != nil && !errors.As(err, &syntax) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		scalars(t, y, data)
		if took := time.Since(start); took > 20*time.Second { // seconds under the race detector
			t.Errorf("%s took %v", name, took)
		}
	}
}

func hostileYAML() map[string][]byte {
	merges := "m0: &m0 {a: 1}\n"
	for i := range 600 {
		merges += fmt.Sprintf("m%d: &m%d {<<: *m%d, k%d: 1}\n", i+1, i+1, i, i)
	}
	return map[string][]byte{
		"empty": nil, "too long": make([]byte, yamlLimit+1), "NUL": {0}, "merges": []byte(merges),
		"flow":      bytes.Repeat([]byte("["), 100_000),
		"flow keys": bytes.Repeat([]byte("{a: "), 3_000),
		"dashes":    bytes.Repeat([]byte("- "), 5_000),
		"questions": bytes.Repeat([]byte("? "), 5_000),
		"colons":    bytes.Repeat([]byte(": "), 5_000),
		"anchors":   bytes.Repeat([]byte("- &a\n"), 20_000),
		"documents": bytes.Repeat([]byte("---\n"), 20_000),
		"comments":  bytes.Repeat([]byte("# a\n\n"), 20_000),
		"tabs":      bytes.Repeat([]byte("\t"), 100_000),
		"quotes":    bytes.Repeat([]byte("'a''"), 20_000),
		"one line":  append([]byte("a: [\""), append(bytes.Repeat([]byte("é\\n"), 50_000), "\"]"...)...),
		"items":     append([]byte("["), append(bytes.Repeat([]byte("é, "), 50_000), ']')...),
	}
}

func FuzzParseYAML(f *testing.F) {
	for _, data := range hostileYAML() {
		if len(data) < 1<<13 {
			f.Add(data)
		}
	}
	for _, text := range []string{
		"a: &x !!str \"b\\\n \\x41\" # c\nd: {<<: [*x], e: 'f''g'}\n", "a: >+2\n   b\n\n   c\n---\n- |-\n x\n",
		"{% if x %}\na: {{ b }}\n{%- endif %}\n", "a: 1{{ if y }}0{{ end }}\nb: \"{{ x | d(\\\"1\\\") }}\"\n{{ end }}\n", "\ufeffa: \u2028b\r\nc: 'd\n\n e'\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		y, err := ParseYAML(data)
		var syntax *SyntaxError
		if errors.As(err, &syntax) && (syntax.Line < 1 || syntax.Line > 2+bytes.Count(data, []byte{'\n'})+bytes.Count(data, []byte{'\r'})+bytes.Count(data, []byte("\u0085"))+bytes.Count(data, []byte("\u2028"))+bytes.Count(data, []byte("\u2029"))) {
			t.Fatalf("%q: line %d", data, syntax.Line)
		}
		scalars(t, y, data)
	})
}

func TestMarkers(t *testing.T) {
	for _, c := range []struct{ text, want, hidden string }{
		{"a {{ b }} c", "{{ b }}", "a xxxxxxx c"},
		{"{% if a %}\nb{# c\nd #}e\n", "!{% if a %} !{# c\nd #}", "          \nb    \n    e\n"},
		{"  {{ x }}\n", "{{ x }}", "         \n"},
		{"{{ x }} {{ y }}\nz", "{{ x }} {{ y }}", "               \nz"},
		{"{{- if .a }}b{{ end -}}", "!{{- if .a }} !{{ end -}}", "            b          "},
		{"{{ {'a': {}}}}.", "{{ {'a': {}}}}", "xxxxxxxxxxxxxx."},
		{"{{/* a */}}b {{ $x := 1 }}c", "!{{/* a */}} !{{ $x := 1 }}", "           b              c"},
		{"<%= @a %>b<% end %>", "<%= @a %> !<% end %>", "xxxxxxxxxb         "},
		{"${#a} {#x {{ <% {%", "", "${#a} {#x {{ <% {%"},
		{"{{ ended }}, {{ iface }}", "{{ ended }} {{ iface }}", "xxxxxxxxxxx, xxxxxxxxxxx"},
	} {
		var got []string
		markers := Markers([]byte(c.text))
		for _, m := range markers {
			text := c.text[m.Span.Start:m.Span.End]
			if m.Control {
				text = "!" + text
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: markers %q, want %q", c.text, got, c.want)
		}
		if hidden := string(HideMarkers([]byte(c.text), markers, 'x')); hidden != c.hidden {
			t.Errorf("%q: hidden %q, want %q", c.text, hidden, c.hidden)
		}
	}
}

func TestINI(t *testing.T) {
	for _, c := range []struct {
		text, want string
		line       int // of the error; 0: none
	}{
		{"[a]\nb = c # d\ne=f#g\n; h\n #i\n[j]\nk=\n", "a b=c@2:5 a e=f#g@3:3 j k=@7:3", 0},
		{"\ufeff[a]\r\nb=1\r\n", "a b=1@2:3", 0},
		{"[a]\nb=1\n  2\n\n  3\n c=4\nd=5\n", "a b=1@2:3+ a d=5@7:3", 0},
		{" [a]\n b=1\n c=2\n", "a b=1@2:4 a c=2@3:4", 0},
		{"b=1\n", "", 1},
		{"[a]\nb\n", "", 2},
		{"[a\n", "", 1},
		{"[]\n", "", 1},
		{"[a]\n=b\n", "", 2},
		{"", "", 0},
	} {
		f, err := ParseINI([]byte(c.text))
		var syntax *SyntaxError
		line := 0
		if errors.As(err, &syntax) {
			line = syntax.Line
		}
		var got []string
		for _, e := range f.Entries {
			l, column := IndexLines([]byte(c.text)).Position(e.Value.Start)
			more := ""
			if e.Continued {
				more = "+"
			}
			got = append(got, fmt.Sprintf("%s %s=%s@%d:%d%s", e.Section, e.Key, f.Text(e.Value), l, column, more))
		}
		if strings.Join(got, " ") != c.want || line != c.line {
			t.Errorf("%q: %q, error in line %d; want %q, %d", c.text, got, line, c.want, c.line)
		}
	}
}

func FuzzParseINI(f *testing.F) {
	for _, text := range []string{"[a]\nb = c # d\n  e\n; f\n", "\ufeff[sysctl]\r\nnet.x=>1\r\n", "[a\n", "=\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ini, _ := ParseINI(data)
		last := 0
		for _, e := range ini.Entries {
			if e.Value.Start < last || e.Value.End < e.Value.Start || e.Value.End > len(data) || e.Key == "" || e.Section == "" {
				t.Fatalf("%q: %+v after byte %d", data, e, last)
			}
			last = e.Value.End
		}
		last = 0
		markers := Markers(data)
		for _, m := range markers {
			if m.Span.Start < last || m.Span.Len() < 4 || m.Span.End > len(data) {
				t.Fatalf("%q: %+v after byte %d", data, m, last)
			}
			last = m.Span.End
		}
		hidden := HideMarkers(data, markers, 'x')
		if len(hidden) != len(data) || bytes.Count(hidden, []byte{'\n'}) != bytes.Count(data, []byte{'\n'}) {
			t.Fatalf("%q: hidden %q", data, hidden)
		}
	})
}
