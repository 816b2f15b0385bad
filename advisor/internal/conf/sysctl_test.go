package conf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// line is the parse of one line, its spans as text.
func parseOne(t testing.TB, text string) (*SysctlFile, SysctlLine) {
	t.Helper()
	f := ParseSysctl([]byte(text))
	if len(f.Lines) != 1 {
		t.Fatalf("%q: %d lines, want 1", text, len(f.Lines))
	}
	return f, f.Lines[0]
}

func TestParseSysctlLine(t *testing.T) {
	const A, X, M, C, B = SysctlAssignment, SysctlExclusion, SysctlMalformed, SysctlComment, SysctlBlank
	for _, c := range []struct {
		text, key, value string // key is the canonical name
		kind             SysctlKind
		flags            string // "ignore", "glob"
		defects          SysctlDefects
	}{
		{"net.ipv4.tcp_sack = 1\n", "net.ipv4.tcp_sack", "1", A, "", 0},
		{"net.ipv4.tcp_sack=1", "net.ipv4.tcp_sack", "1", A, "", 0},
		{"\t net/ipv4/tcp_rmem \t=  4096\t87380  1 \t\n", "net.ipv4.tcp_rmem", "4096\t87380  1", A, "", 0},
		{"-net.ipv4.tcp_sack = 1\n", "net.ipv4.tcp_sack", "1", A, "ignore", 0},
		{"- net.ipv4.tcp_sack = 1\n", "net.ipv4.tcp_sack", "1", A, "ignore", 0},
		{"--net.ipv4.tcp_sack = 1\n", "-net.ipv4.tcp_sack", "1", A, "ignore", SysctlDoubleDash},
		{"-net.ipv4.conf.all.rp_filter\n", "net.ipv4.conf.all.rp_filter", "", X, "", 0},
		{"-net.ipv4.conf.a*.rp_filter\n", "net.ipv4.conf.a*.rp_filter", "", X, "glob", 0},
		{"net.ipv4.conf.*.rp_filter = 2\n", "net.ipv4.conf.*.rp_filter", "2", A, "glob", 0},
		{"net.ipv4.conf.eth0/100.rp_filter = 2\n", "net.ipv4.conf.eth0/100.rp_filter", "2", A, "", 0},
		{"net/ipv4/conf/eth0.100/rp_filter = 2\n", "net.ipv4.conf.eth0/100.rp_filter", "2", A, "", 0},
		{"net//ipv4/./tcp_sack/ = 2\n", "net.ipv4.tcp_sack", "2", A, "", 0},
		{"kernel.core_pattern = |/usr/lib/x %p=%e; a\n", "kernel.core_pattern", "|/usr/lib/x %p=%e; a", A, "", 0},
		{"kernel.x = a ;b\n", "kernel.x", "a ;b", A, "", SysctlInlineComment},
		{"x =\n", "x", "", A, "", 0},
		{"\n", "", "", B, "", 0},
		{" \t\n", "", "", B, "", 0},
		{"\r\n", "", "", B, "", SysctlCRLF},
		{"  # a = 1\n", "", "", C, "", 0},
		{";a = 1\n", "", "", C, "", 0},
		{"net.ipv4.tcp_sack 1\n", "", "", M, "", SysctlNoEquals},
		{"= 1\n", "", "1", M, "", SysctlNoKey},
		{"-\n", "", "", M, "", SysctlNoKey},
		{"-= 1\n", "", "1", M, "", SysctlNoKey},
		{"sysctl -w net.ipv4.tcp_sack=1\n", "sysctl -w net.ipv4.tcp_sack", "1", A, "", SysctlCommand | SysctlBlankInKey},
		{"sudo /sbin/sysctl net.ipv4.tcp_sack=1\n", "", "1", A, "", SysctlCommand | SysctlBlankInKey},
		{"sysctl -p\n", "", "", M, "", SysctlNoEquals | SysctlCommand},
		{"a = \"1\"\n", "a", `"1"`, A, "", SysctlQuotes},
		{"a = '1 2'\n", "a", `'1 2'`, A, "", SysctlQuotes},
		{"a = \"1\n", "a", `"1`, A, "", 0},
		{"a = 2 # two\n", "a", "2 # two", A, "", SysctlInlineComment},
		{"a = 2 ; two\n", "a", "2 ; two", A, "", SysctlInlineComment},
		{"a = 2# two\n", "a", "2# two", A, "", SysctlInlineComment},
		{"a = # two\n", "a", "# two", A, "", SysctlInlineComment},
		{"a = b#c\n", "a", "b#c", A, "", 0},
		{"a = 2 \\\n", "a", `2 \`, A, "", SysctlBackslash},
		{"\uFEFFa.b = 2\n", "\uFEFFa.b", "2", A, "", SysctlBOM | SysctlInvisibleKey},
		{"\uFEFF# a\n", "", "", M, "", SysctlBOM | SysctlInvisibleKey | SysctlNoEquals},
		{"\u200Ba.b = 2\n", "\u200Ba.b", "2", A, "", SysctlInvisibleKey},
		{"\u00A0a.b = 2\n", "\u00A0a.b", "2", A, "", SysctlInvisibleKey},
		{"a.b\v = 2\n", "a.b\v", "2", A, "", SysctlInvisibleKey},
		{"a.b =\u00A02\n", "a.b", "\u00A02", A, "", SysctlInvisibleValue},
		{"a.b ＝ 2\n", "", "", M, "", SysctlNoEquals | SysctlFullWidth},
		{"a．b = 2\n", "a．b", "2", A, "", SysctlFullWidth},
		{"a.b = １\n", "a.b", "１", A, "", SysctlFullWidth},
		{"a.b = caf\xe9\n", "a.b", "caf\xe9", A, "", SysctlNotUTF8},
		{"a.b = 值\n", "a.b", "值", A, "", 0},
		{"a = 1\r\n", "a", "1", A, "", SysctlCRLF},
		{"a = 1\rb = 2\n", "a", "1", A, "", SysctlLoneCR},
		{"a = 1\x00b = 2\n", "a", "1", A, "", SysctlNUL},
		{"\x00a = 1\n", "a", "1", A, "", SysctlNUL},
		{"# a\rb = 2\r\n", "", "", C, "", SysctlLoneCR | SysctlCRLF},
	} {
		f, l := parseOne(t, c.text)
		var flags []string
		if l.Ignore {
			flags = append(flags, "ignore")
		}
		if l.Glob {
			flags = append(flags, "glob")
		}
		key := f.Key(0)
		if c.key == "" && c.kind == A {
			key = ""
		}
		if got := strings.Join(flags, " "); l.Kind != c.kind || key != c.key || f.Text(l.Value) != c.value || got != c.flags || l.Defects != c.defects {
			t.Errorf("%q: kind %d key %q value %q flags %q defects %q, want %d %q %q %q %q", c.text,
				l.Kind, key, f.Text(l.Value), got, l.Defects, c.kind, c.key, c.value, c.flags, c.defects)
		}
	}
}

// readings renders what both programs take from a line: "target=value", a glob as it stands, an exclusion as "!target".
func readings(f *SysctlFile, line int) (systemd, procps string) {
	show := func(r SysctlReading) string {
		if r.Kind == SysctlExclusion {
			return "!" + r.Target
		}
		return r.Target + "=" + f.Text(r.Value)
	}
	var all []string
	for r := range f.SystemdReads(line) {
		all = append(all, show(r))
	}
	if r, ok := f.ProcpsReads(line); ok {
		procps = show(r)
	}
	return strings.Join(all, "|"), procps
}

// What the programs do with these lines was measured; advisor/host tests it against them.
func TestSysctlReadings(t *testing.T) {
	for _, c := range []struct{ text, systemd, procps string }{
		{"a.b = 1 # x\n", "a/b=1 # x", "a/b=1 # x"},
		{"a.b/c.d = 1\r\n", "a/b.c/d=1", "a/b.c/d=1"},
		{"a/b.c = 1", "a/b.c=1", "a/b.c=1"},
		{"--a.b = 1\n", "-a/b=1", "a/b=1"},
		{"- a.b = 1\n", "a/b=1", " a/b=1"},
		{"-a.b\n", "!a/b", "!a/b"},
		{"a//b = 1\n", "a/b=1", "a//b=1"},
		{"/a/b = 1\n", "a/b=1", "/a/b=1"},
		{"a.b. = 1\n", "a/b=1", "a/b/=1"},
		{"a.b = 1\rc.d = 2\n", "a/b=1|c/d=2", "a/b=1\rc.d = 2"},
		{"a.b = 1\x00c.d = 2\n", "a/b=1|c/d=2", "a/b=1"},
		{"# x\rc.d = 2\n", "c/d=2", ""},
		{"\x00c.d = 2\n", "c/d=2", ""},
		{"\va.b = 1\f\n", "\va/b=1\f", "a/b=1"},
		{"\v# a = 1\n", "\v# a=1", ""},
		{"a.b =\n", "a/b=", "a/b="},
		{"= 1\n", "", ""},
		{"-\n", "", ""},
		{"a b\n", "", ""},
	} {
		f, _ := parseOne(t, c.text)
		if systemd, procps := readings(f, 0); systemd != c.systemd || procps != c.procps {
			t.Errorf("%q: systemd reads %q, procps %q; want %q, %q", c.text, systemd, procps, c.systemd, c.procps)
		}
	}
}

func TestSysctlLongLineEndsTheFileForSystemd(t *testing.T) {
	for _, c := range []struct {
		long    string // the second line
		systemd string // what systemd takes from the third
	}{
		{"#" + strings.Repeat("x", longLine-2), "c=3"},
		{"#" + strings.Repeat("x", longLine-1), ""},
		{strings.Repeat("x", longLine/2) + "\r" + strings.Repeat("x", longLine/2), "c=3"},
		{"b = 2\x00" + strings.Repeat("x", longLine), ""},
	} {
		f := ParseSysctl([]byte("a = 1\n" + c.long + "\nc = 3\n"))
		systemd, procps := readings(f, 2)
		if systemd != c.systemd || procps != "c=3" {
			t.Errorf("after a line of %d bytes: systemd reads %q, procps %q; want %q, %q", len(c.long), systemd, procps, c.systemd, "c=3")
		}
		if long := f.Lines[1].Defects&SysctlTooLong != 0; long != (c.systemd == "") {
			t.Errorf("a line of %d bytes: defects %q", len(c.long), f.Lines[1].Defects)
		}
		if first, _ := readings(f, 0); first != "a=1" {
			t.Errorf("before a long line systemd reads %q", first)
		}
		if c.long[0] == 'b' {
			if second, _ := readings(f, 1); second != "b=2" {
				t.Errorf("before the NUL of a long line systemd reads %q", second)
			}
		}
	}
}

func TestSysctlSetAndRemove(t *testing.T) {
	for _, c := range []struct {
		text  string
		line  int // 0-based
		value string
		want  string // of Set; "!" and a part of the error otherwise
	}{
		{"a = 1\nb=2\n", 1, "3 4", "a = 1\nb=3 4\n"},
		{"a = 1\n -b\t=\t2 \n", 1, "3", "a = 1\n -b\t=\t3 \n"},
		{"a =\r\nb = 2\r\n", 0, "7", "a =7\r\nb = 2\r\n"},
		{"a = 1", 0, "22", "a = 22"},
		{"  a = 1  # why\nb = 2", 0, "3", "# why\n  a = 3\nb = 2"},
		{"a = 1 ; why \r\nb = 2", 0, "3", "; why\r\na = 3 \r\nb = 2"},
		{"a = 1\n-b\n", 1, "3", "!line 2: not an assignment"},
		{"a = 1\n", 1, "3", "!line 2: the file has 1 lines"},
		{"a = 1\n", 0, "3\nb = 1", "!cannot be written"},
		{"a = 1\n", 0, "", "!cannot be written"},
		{"a = 1\rb = 2\n", 0, "3", "!line 1: a NUL or a carriage return"},
		{"a = 1\x00b = 2\n", 0, "3", "!line 1: a NUL or a carriage return"},
	} {
		edits, err := ParseSysctl([]byte(c.text)).Set(c.line, c.value)
		if want, isErr := strings.CutPrefix(c.want, "!"); isErr {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: set line %d: error %v, want %q", c.text, c.line, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: set line %d: %v", c.text, c.line, err)
			continue
		}
		if got, err := Apply([]byte(c.text), edits); err != nil || string(got) != c.want {
			t.Errorf("%q: set line %d: %q, %v; want %q", c.text, c.line, got, err, c.want)
		}
	}
	for _, c := range []struct {
		text string
		line int
		want string
	}{
		{"a = 1\nb = 2\nc = 3\n", 1, "a = 1\nc = 3\n"},
		{"a = 1\r\nb = 2", 1, "a = 1\r\n"},
		{"a = 1", 0, ""},
	} {
		edits, err := ParseSysctl([]byte(c.text)).Remove(c.line)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Apply([]byte(c.text), edits); err != nil || string(got) != c.want {
			t.Errorf("%q: remove line %d: %q, %v; want %q", c.text, c.line, got, err, c.want)
		}
	}
}

func TestApplyRefusesWhatCannotBeMade(t *testing.T) {
	for _, edits := range [][]Edit{
		{{Span{1, 3}, "x"}, {Span{2, 4}, "y"}},
		{{Span{3, 5}, "x"}},
		{{Span{-1, 0}, "x"}},
		{{Span{2, 1}, "x"}},
	} {
		if got, err := Apply([]byte("abcd"), edits); err == nil {
			t.Errorf("%v: made %q, want an error", edits, got)
		}
	}
	got, err := Apply([]byte("abcd"), []Edit{{Span{4, 4}, "!"}, {Span{1, 1}, "1"}, {Span{1, 1}, "2"}, {Span{1, 2}, ""}})
	if err != nil || string(got) != "a12cd!" {
		t.Errorf("got %q, %v; want %q", got, err, "a12cd!")
	}
}

func TestLineIndex(t *testing.T) {
	data := []byte("ab\n\nc")
	for offset, want := range [][2]int{{1, 1}, {1, 2}, {1, 3}, {2, 1}, {3, 1}, {3, 2}, {3, 3}} {
		if line, column := IndexLines(data).Position(offset); line != want[0] || column != want[1] {
			t.Errorf("offset %d: %d:%d, want %d:%d", offset, line, column, want[0], want[1])
		}
	}
	if line, column := (LineIndex{}).Position(0); line != 1 || column != 1 {
		t.Errorf("no data: %d:%d", line, column)
	}
}

// hostile are inputs that must be survived; they are seeds of the fuzz target too.
func hostile() map[string][]byte {
	return map[string][]byte{
		"empty":        nil,
		"newlines":     bytes.Repeat([]byte{'\n'}, 100_000),
		"long":         bytes.Repeat([]byte("x"), 1<<20),
		"long value":   append([]byte("a = "), bytes.Repeat([]byte("9"), 1<<20)...),
		"carriage":     bytes.Repeat([]byte("a=1\r"), 100_000),
		"nul":          make([]byte, 100_000),
		"equals":       bytes.Repeat([]byte{'='}, 100_000),
		"dashes":       bytes.Repeat([]byte{'-'}, 100_000),
		"dots":         append(bytes.Repeat([]byte{'.'}, 100_000), '='),
		"high":         bytes.Repeat([]byte{0xff}, 100_000),
		"many lines":   bytes.Repeat([]byte("net.ipv4.tcp_fin_timeout = 30 # x\n"), 100_000),
		"shell script": []byte("#!/bin/sh\nif [ -f x ]; then\n  sysctl -w a.b=1 && echo $((1+2)) >> /proc/x\nfi\ncat <<EOF\n"),
	}
}

func TestParseSysctlSurvives(t *testing.T) {
	for name, data := range hostile() {
		f := ParseSysctl(data)
		checkSysctl(t, name, data, f)
	}
}

// checkSysctl holds the laws of any parse: the lines tile the file, and every span lies in its line.
func checkSysctl(t testing.TB, name string, data []byte, f *SysctlFile) {
	at := 0
	for i, l := range f.Lines {
		if l.Span.Start != at || l.Span.End < at || l.Kind == 0 {
			t.Fatalf("%s: line %d: span %v of kind %d, want a start at %d", name, i+1, l.Span, l.Kind, at)
		}
		at = l.Span.End + 1
		for _, s := range []Span{l.Key, l.Value} {
			if s != (Span{}) && (s.Start < l.Span.Start || s.End > l.Span.End || s.Start > s.End) {
				t.Fatalf("%s: line %d: span %v outside %v", name, i+1, s, l.Span)
			}
		}
		for r := range f.SystemdReads(i) {
			checkReading(t, name, i, l, r)
		}
		if r, ok := f.ProcpsReads(i); ok {
			checkReading(t, name, i, l, r)
		}
	}
	if at < len(data) || at > len(data)+1 {
		t.Fatalf("%s: the lines end at %d of %d bytes", name, at, len(data))
	}
}

func checkReading(t testing.TB, name string, i int, l SysctlLine, r SysctlReading) {
	for _, s := range []Span{r.Key, r.Value} {
		if s != (Span{}) && (s.Start < l.Span.Start || s.End > l.Span.End || s.Start > s.End) {
			t.Fatalf("%s: line %d: span %v of a reading outside %v", name, i+1, s, l.Span)
		}
	}
	if n := SysctlName(r.Target); n != r.Name() {
		t.Fatalf("%s: line %d: name %q, want %q", name, i+1, r.Name(), n)
	}
}

// FuzzParseSysctl holds the laws of the package on any bytes: parse, set, parse gives the new value to both programs
// that read the line before, and nothing else moves; remove takes out the line and no other.
func FuzzParseSysctl(f *testing.F) {
	for _, data := range hostile() {
		if len(data) < 4096 {
			f.Add(data, uint(0))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, pick uint) {
		file := ParseSysctl(data)
		checkSysctl(t, "fuzz", data, file)
		if len(file.Lines) == 0 {
			return
		}
		line := int(pick % uint(len(file.Lines)))
		checkSet(t, data, file, line)
		checkRemove(t, data, file, line)
	})
}

// lines returns the text of all lines.
func lines(f *SysctlFile) []string {
	var all []string
	for _, l := range f.Lines {
		all = append(all, f.Text(l.Span))
	}
	return all
}

func checkSet(t *testing.T, data []byte, file *SysctlFile, line int) {
	const value = "1024 65000"
	edits, err := file.Set(line, value)
	if err != nil {
		return
	}
	out, err := Apply(data, edits)
	if err != nil {
		t.Fatal(err)
	}
	again := ParseSysctl(out)
	at := line
	want := lines(file)
	if len(edits) == 2 { // the comment went above
		at++
		want = slices.Insert(want, line, again.Text(again.Lines[line].Span))
		if again.Lines[line].Kind != SysctlComment {
			t.Fatalf("%q: the comment became %q", data, want[line])
		}
	}
	l := again.Lines[at]
	if again.Text(l.Value) != value || again.Key(at) != file.Key(line) || l.Kind != SysctlAssignment || l.Ignore != file.Lines[line].Ignore {
		t.Fatalf("%q: line %d became %q", data, line+1, again.Text(l.Span))
	}
	want[at] = again.Text(l.Span)
	if got := lines(again); !slices.Equal(got, want) {
		t.Fatalf("%q: setting line %d moved others: %q", data, line+1, out)
	}
	systemdBefore, procpsBefore := readings(file, line)
	systemd, procps := readings(again, at)
	if systemdBefore != "" && !strings.HasSuffix(systemd, "="+value) || procpsBefore != "" && !strings.HasSuffix(procps, "="+value) {
		t.Fatalf("%q: after setting line %d systemd reads %q, procps %q", data, line+1, systemd, procps)
	}
}

func checkRemove(t *testing.T, data []byte, file *SysctlFile, line int) {
	edits, err := file.Remove(line)
	if err != nil {
		return
	}
	out, err := Apply(data, edits)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := lines(ParseSysctl(out)), slices.Delete(lines(file), line, line+1); !slices.Equal(got, want) {
		t.Fatalf("%q: removing line %d gave %q", data, line+1, out)
	}
}

// No line of what Debian itself ships is odd, and each can be set.
func TestParseSysctlOnDebiansOwnFiles(t *testing.T) {
	files, err := filepath.Glob("/usr/lib/sysctl.d/*.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(files, "/etc/sysctl.conf") {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // not on this machine
		}
		f := ParseSysctl(data)
		checkSysctl(t, path, data, f)
		for i, l := range f.Lines {
			if l.Defects != 0 || l.Kind == SysctlMalformed {
				t.Errorf("%s:%d: %q has %q", path, i+1, f.Text(l.Span), l.Defects)
			}
			checkSet(t, data, f, i)
		}
	}
}

func ordinary(lines int) []byte {
	var b bytes.Buffer
	for i := range lines / 5 {
		fmt.Fprintf(&b, "# Bump the number of connections, see tcp(7)\nnet.ipv4.tcp_fin_timeout = %d\nnet.core.somaxconn=4096\n\n", i)
		b.WriteString("net.ipv4.tcp_rmem = 4096\t131072\t6291456\n")
	}
	return b.Bytes()
}

func BenchmarkParseSysctl(b *testing.B) {
	for _, n := range []int{50, 100_000} {
		data := ordinary(n)
		b.Run(fmt.Sprint(n, "lines"), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				ParseSysctl(data)
			}
		})
	}
}

// BenchmarkSysctlReadings adds what both loaders take from each line.
func BenchmarkSysctlReadings(b *testing.B) {
	data := ordinary(50)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		f := ParseSysctl(data)
		for i := range f.Lines {
			for r := range f.SystemdReads(i) {
				_ = r.Name()
			}
			if r, ok := f.ProcpsReads(i); ok {
				_ = r.Name()
			}
		}
	}
}
