package conf

import (
	"fmt"
	"slices"
	"testing"
)

func texts(y *YAML) []string {
	var out []string
	for _, n := range y.values() {
		out = append(out, n.Text)
	}
	return out
}

func TestSetScalar(t *testing.T) {
	for _, c := range []struct{ text, value, want string }{ // the first value of the file
		{"a: 1 # b\n", "20s", "a: 20s # b\n"},
		{"a: 1\n", "-1", "a: -1\n"},
		{"a: x\n", "010", "a: '010'\n"},
		{"a: x\n", "1:30", "a: '1:30'\n"},
		{"a: x\n", "on", "a: 'on'\n"},
		{"a: x\n", "true", "a: true\n"},
		{"a: '5'\n", "6", "a: '6'\n"},
		{"a: 'it''s' # c\n", "it's", "a: 'it''s' # c\n"},
		{"a: \"b\\\"c\"\r\nd: 1\r\n", "\"", "a: \"\\\"\"\r\nd: 1\r\n"},
		{"a: 'x'", "é\n", "a: \"\\U000000E9\\U0000000A\""},
		{"{a: b, c: d}", "[", "{a: '[', c: d}"},
		{"a: b\n  c\nd: e\n", "f", "a: f\nd: e\n"},
		{"- é\n- b\n", "x", "- x\n- b\n"},
		{"a: ''", "x", "a: 'x'"},
		{"a: ~\n", "1", "a: 1\n"},
	} {
		y, err := ParseYAML([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		edits, err := y.SetScalar(y.values()[0], c.value)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got, err := Apply([]byte(c.text), edits); err != nil || string(got) != c.want {
			t.Errorf("%q: %q, %v, want %q", c.text, got, err, c.want)
		}
	}
}

func TestSetScalarRefuses(t *testing.T) {
	for _, c := range []struct{ text, value, why string }{
		{"a: |\n  b\n", "1", "it is a block of lines"},
		{"a: >-\n  b\n", "1", "it is a block of lines"},
		{"a: &x 1\n", "2", "it is the anchor &x"},
		{"b: &x {a: 1}\nc: *x\n", "2", "the alias *x shares it"},
		{"b: &x {d: [1]}\nc: {<<: *x}\n", "2", "the alias *x shares it"},
		{"a: !!int 1\n", "2", "a tag types it: !!int"},
		{"a:\n", "2", "nothing is written there"},
		{"a: 1\n", "", "the new value is empty"},
		{"a\n\t", "b c", "the file's odd layout would make something else of it"},
		{"a: 1\n", "\xff", "a text that is not UTF-8 cannot be written"},
		{"{% if x %}\na: 1{{ b }}\n{% endif %}\n", "2", "where its value begins and ends cannot be told"},
	} {
		y, err := ParseYAML([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := y.SetScalar(y.values()[0], c.value); err == nil || err.Error() != "not set: "+c.why {
			t.Errorf("%q: %v, want %s", c.text, err, c.why)
		}
	}
	if _, err := (&YAML{}).SetScalar(nil, "1"); err == nil {
		t.Error("nothing was set")
	}
}

// FuzzSetScalar: parse, set, parse gives the new value, and every other scalar is what it was.
func FuzzSetScalar(f *testing.F) {
	for i, text := range []string{
		"server:\n  port: 8080 # x\n  tomcat: {max-connections: '5', b: \"c\\\n d\"}\n---\na: b\n  c\n", "- a\n- &x b\n- *x\n- |\n c\n", "{% if x %}\na: {{ b }}\nc: 1\n{%- endif %}\n",
		"\ufeffa: é\r\nb: 'c\n\n d'\r\n", "a: [b, {c: d}, ~, e]\n", "? a\n: b\n", "--- a\n--- 'b'\n", "a:\tb\t# c\n", "%YAML 1.1\n---\na: b\n...\n",
	} {
		f.Add([]byte(text), uint(i), "20s")
		f.Add([]byte(text), uint(i+1), "it's \"1: 2\"\n")
	}
	f.Fuzz(func(t *testing.T, data []byte, pick uint, value string) {
		y, err := ParseYAML(data)
		all := y.values()
		if err != nil || len(all) == 0 {
			return
		}
		n := int(pick % uint(len(all)))
		edits, err := y.SetScalar(all[n], value)
		if err != nil {
			return
		}
		out, err := Apply(data, edits)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseYAML(out)
		if err != nil {
			t.Fatalf("%q gave %q: %v", data, out, err)
		}
		want := texts(y)
		want[n] = value
		if got := texts(again); !slices.Equal(got, want) {
			t.Fatalf("%q gave %q: %q, want %q", data, out, got, want)
		}
		if fmt.Sprint(y.Template, y.Guarded) != fmt.Sprint(again.Template, again.Guarded) {
			t.Fatalf("%q gave %q: a template, or none any more", data, out)
		}
	})
}
