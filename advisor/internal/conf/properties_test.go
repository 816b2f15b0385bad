package conf

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// show lists the entries of a file: DOCUMENT KEY=VALUE@LINE:COLUMN, the place being that of the value.
func showProperties(f *Properties, data []byte) string {
	var out []string
	lines := IndexLines(data)
	for _, e := range f.Entries {
		line, column := lines.Position(e.ValueSpan.Start)
		out = append(out, fmt.Sprintf("%d %s=%s@%d:%d", e.Document, e.Key, e.Value, line, column))
	}
	return strings.Join(out, "|")
}

func TestParseProperties(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a=b\nc : d\n  e f\n", "0 a=b@1:3|0 c=d@2:5|0 e=f@3:5"},
		{"# x\n! y\n\na\n", "0 a=@4:2"},
		{"a = b \\\n    c\n", "0 a=b c@1:5"},
		{"a=\\\n  b\r\nc=\r", "0 a=b@2:3|0 c=@3:3"},
		{"a\\ b\\=c=d\\u00e9\\uD83D\\uDE00\\q\\\\\\t", "0 a b=c=dé😀q\\\t@1:9"},
		{"a==b\na := c\na  d\n", "0 a==b@1:3|0 a== c@2:4|0 a=d@3:4"},
		{"a=1\n#---\na=2\n!---  \na=3\n", "0 a=1@1:3|1 a=2@3:3|2 a=3@5:3"},
		{"#---\na=1\n#---\n#---\na=2\n #---\na=3\n#--- x\na=4\n#----\na=5", "0 a=1@2:3|1 a=2@5:3|1 a=3@7:3|1 a=4@9:3|1 a=5@11:3"},
		{"a=1\n# x\n#---\na=2\n# x\n\n#---\na=3\n! x\n#---\na=4\n#---\n\n# y\na=5\n", "0 a=1@1:3|0 a=2@4:3|1 a=3@8:3|2 a=4@11:3|2 a=5@15:3"},
		{"", ""},
	} {
		f, err := ParseProperties([]byte(c.text))
		if got := showProperties(f, []byte(c.text)); got != c.want || err != nil {
			t.Errorf("%q: %v\n got %q\nwant %q", c.text, err, got, c.want)
		}
	}
	for text, line := range map[string]int{"a=1\nb=\\u00g0\nc=2\n": 2, "a=\\u12": 1, "\n\\u000": 2, strings.Repeat("a", propertiesLimit+1): 1} {
		_, err := ParseProperties([]byte(text))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Line != line {
			t.Errorf("%.20q: error %v, want one in line %d", text, err, line)
		}
	}
}

func TestEditProperties(t *testing.T) {
	type edit func(f *Properties) ([]Edit, error)
	set := func(n int, value string) edit { return func(f *Properties) ([]Edit, error) { return f.Set(n, value) } }
	add := func(document int, key, value string) edit {
		return func(f *Properties) ([]Edit, error) { return f.Add(document, key, value) }
	}
	remove := func(n int) edit { return func(f *Properties) ([]Edit, error) { return f.Remove(n) } }
	for _, c := range []struct {
		text string
		edit edit
		want string // "!" where it is refused
	}{
		{"a: b\nc = d # e\n", set(1, "20s"), "a: b\nc = 20s\n"},
		{"a\nb\n", set(0, "x"), "a=x\nb\n"},
		{"a = 1,\\\r\n    2\r\nb=3\r\n", set(0, " é\\\n"), "a = \\ \\u00E9\\\\\\n\r\nb=3\r\n"},
		{"a =b", set(0, "=b"), "a =\\=b"},
		{"a=b", set(0, "\xff"), "!"},
		{"a=b", set(1, "c"), "!"},
		{"a=1\n\n#---\nb=2\n# end\n", add(0, "c d", "3"), "a=1\nc\\ d=3\n\n#---\nb=2\n# end\n"},
		{"a=1\r\nb=2", add(0, "c", "3"), "a=1\r\nb=2\r\nc=3"},
		{"# only\n", add(0, "c", "3"), "# only\nc=3\n"},
		{"# only", add(0, "c", "3"), "# only\nc=3"},
		{"", add(0, "c", "3"), "c=3\n"},
		{"a=b\\", add(0, "c", "3"), "!"},
		{"a=b\\\n", add(0, "c", "3"), "!"},
		{"a=b", add(1, "c", "3"), "!"},
		{"a=b", add(0, "", "3"), "!"},
		{"a=b", add(0, "c", "\xff"), "!"},
		{"# x\na=1\\\n 2\nb=3", remove(0), "# x\nb=3"},
		{"a=1\rb=3", remove(1), "a=1\r"},
		{"a=1\n#---\nb=3\n", remove(1), "!"},
		{"\\\na=1\n", remove(0), "!"},
		{"a=1", remove(7), "!"},
	} {
		f, err := ParseProperties([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		got := "!"
		if edits, err := c.edit(f); err == nil {
			out, err := Apply([]byte(c.text), edits)
			if err != nil {
				t.Fatal(err)
			}
			got = string(out)
		}
		if got != c.want {
			t.Errorf("%q became %q, want %q", c.text, got, c.want)
		}
	}
}

// nastyProperties are what the format's readers have stumbled on, and random texts over the characters that mean something.
func nastyProperties() []string {
	files := []string{
		"", "\\", "\\\n", "\\\n# a\nb=c", "\\\n\nb=c", "a=b\\", "a=b\\\\", "a=b\\\\\\", "a=b\\\n\nc=d", "a\\\n\\\n\\\n=b", "a\\\n#b=c\n", "a=b\\\r\n\t\fc\rd=e",
		"=", ":", "==", " = ", "=a", ":a", "\\=a", "a\\", "a\\:b:c", "a \\=b", "a=\\ b", "a= \\tb\\", "a\fb", "a\u00a0b=c", "\ufeffa=b", "a=\x00b", "a\x0bb",
		"a=\\u0041\\u00E9\\uD83D\\uDE00", "a=\\uD83D", "a=\\uDE00x", "a=\\uD83D\\u0041", "a=\\u004", "a=\\u004g", "a=\\U0041", "a=\\u00\\\n41", "\\u0061=\\u003d", "a=\\\\u0041",
		"a=é", "a=\xe9", "#é\r#\ra=b", "! \\\na=b", "a=1\na=2\n", "#---\na=1\n#---\na=2\n", "a=1\r\r\n\n\rb=2\r", "a b c\na\tb\na:b:c", strings.Repeat("a\\\n", 1000) + "=b",
		"a=" + strings.Repeat("x", 20_000) + "\\\n" + strings.Repeat("y", 20_000),
	}
	const alphabet = "aab1==:: \t\f\\\\\\\n\n\r##!!-u0é"
	letters := []rune(alphabet)
	r := rand.New(rand.NewPCG(7, 11))
	for range 3000 {
		var b strings.Builder
		for range r.IntN(40) {
			b.WriteRune(letters[r.IntN(len(letters))])
		}
		files = append(files, b.String())
	}
	return files
}

// units is a text as Java keeps it; halves of pairs stand as U+FFFD, as we read them.
func units(digits string) string {
	var all []uint16
	for i := 1; i+4 <= len(digits); i += 4 {
		n, err := strconv.ParseUint(digits[i:i+4], 16, 16)
		if err != nil {
			return err.Error()
		}
		all = append(all, uint16(n))
	}
	return string(utf16.Decode(all))
}

// latin1 makes a character of each byte, as load(InputStream) does.
func latin1(text string) []byte {
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		out = utf8.AppendRune(out, rune(text[i]))
	}
	return out
}

// TestPropertiesAgainstJava compares with java.util.Properties itself, in both encodings.
func TestPropertiesAgainstJava(t *testing.T) {
	dir := t.TempDir()
	files := nastyProperties()
	for i, text := range files {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "testdata/properties/Load.java", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("java, which tools/test-deps.sh installs: %v", err)
	}
	answers := strings.Split(string(out), "file ")[1:]
	if len(answers) != 2*len(files) {
		t.Fatalf("%d answers for %d files", len(answers), len(files))
	}
	for i, answer := range answers {
		text := files[i/2]
		data := []byte(text)
		if i%2 == 0 {
			data = latin1(text)
		} else if !utf8.ValidString(text) {
			continue
		}
		var want []string
		bad := false
		for _, line := range strings.Split(strings.TrimSpace(answer), "\n")[1:] {
			key, value, entry := strings.Cut(line, " ")
			if bad = !entry; entry {
				want = append(want, units(key)+"="+units(value))
			}
		}
		f, err := ParseProperties(data)
		var got []string
		for _, e := range f.Entries {
			got = append(got, e.Key+"="+e.Value)
		}
		if !slices.Equal(got, want) || bad != (err != nil) {
			t.Errorf("%q: got %q, %v; Java %q, refused: %t", data, got, err, want, bad)
		}
	}
}

func hostileProperties() map[string][]byte {
	return map[string][]byte{
		"blank": bytes.Repeat([]byte(" "), 1<<20), "slashes": bytes.Repeat([]byte("\\"), 1<<20), "continued": bytes.Repeat([]byte("\\\n"), 1<<20),
		"comments": bytes.Repeat([]byte("#---\n"), 1<<19), "entries": bytes.Repeat([]byte("a=\\u0041\n"), 1<<18), "high": bytes.Repeat([]byte{0xff}, 1<<20),
		"documents": bytes.Repeat([]byte("a=b\n#---\n"), 1<<18), "returns": bytes.Repeat([]byte("\r"), 1<<20), "zeros": make([]byte, 1<<20),
	}
}

func TestParsePropertiesSurvives(t *testing.T) {
	for name, data := range hostileProperties() {
		if f, err := ParseProperties(data); err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			checkProperties(t, data, f)
		}
	}
}

// checkProperties holds the laws of any parse: the lines of the entries follow each other, and each span lies in its lines.
func checkProperties(t testing.TB, data []byte, f *Properties) {
	t.Helper()
	last, document := 0, 0
	for i, e := range f.Entries {
		for _, s := range []Span{e.Line, e.KeySpan, e.ValueSpan} {
			if s.Start < last || s.End < s.Start || s.End > len(data) || s.End > e.Line.End {
				t.Fatalf("%.200q: entry %d: %+v after byte %d", data, i, e, last)
			}
		}
		if e.KeySpan.End > e.ValueSpan.Start || e.Document < 0 || e.Document > document+1 {
			t.Fatalf("%.200q: entry %d: %+v", data, i, e)
		}
		last, document = e.Line.End, e.Document
	}
}

// FuzzProperties holds the laws of the package on any bytes: parse, set, parse gives the new value, and nothing else moves;
// what is added stands in its document, what is removed is gone, and all else is as before.
func FuzzProperties(f *testing.F) {
	for i, text := range nastyProperties()[:200] {
		f.Add([]byte(text), uint(i), "20s")
	}
	f.Add([]byte("a=1\n#---\nb = 2 \\\n 3\n"), uint(1), " =:#!\\\u00e9\U0001F600\n\t")
	f.Fuzz(func(t *testing.T, data []byte, pick uint, value string) {
		file, err := ParseProperties(data)
		checkProperties(t, data, file)
		if err != nil || len(file.Entries) == 0 {
			return
		}
		n := int(pick % uint(len(file.Entries)))
		e := file.Entries[n]
		apply := func(what string, edits []Edit, want []string) {
			out, err := Apply(data, edits)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseProperties(out)
			if err != nil {
				t.Fatalf("%q: %s %d gave %q: %v", data, what, n, out, err)
			}
			checkProperties(t, out, again)
			if got := bare(again); !slices.Equal(got, want) {
				t.Fatalf("%q: %s %d gave %q: %q, want %q", data, what, n, out, got, want)
			}
		}
		all := bare(file)
		if edits, err := file.Set(n, value); err == nil {
			want := slices.Clone(all)
			want[n] = fmt.Sprint(e.Document, e.Key, "=", value)
			apply("setting", edits, want)
		} else if utf8.ValidString(value) {
			t.Fatalf("%q: %v", data, err)
		}
		if edits, err := file.Remove(n); err == nil {
			apply("removing", edits, slices.Delete(slices.Clone(all), n, n+1))
		}
		if edits, err := file.Add(e.Document, "new: key", value); err == nil {
			at := n + 1
			for at < len(all) && file.Entries[at].Document == e.Document {
				at++
			}
			apply("adding", edits, slices.Insert(slices.Clone(all), at, fmt.Sprint(e.Document, "new: key", "=", value)))
		}
	})
}

// bare lists entries without their places.
func bare(f *Properties) []string {
	var all []string
	for _, e := range f.Entries {
		all = append(all, fmt.Sprint(e.Document, e.Key, "=", e.Value))
	}
	return all
}
