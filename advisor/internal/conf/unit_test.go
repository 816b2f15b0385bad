package conf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unitAsText is a parse in short: SECTION KEY=TEXT <span's bytes, where they differ>, then the faults.
func unitAsText(u *Unit) []string {
	var out []string
	for _, a := range u.Assignments {
		text := fmt.Sprintf("%s %s=%s", a.Section, a.Key, a.Text)
		if span := u.text[a.Value.Start:a.Value.End]; span != a.Text {
			text += fmt.Sprintf(" <%s>", span)
		}
		out = append(out, text)
	}
	for _, f := range u.Faults {
		out = append(out, fmt.Sprintf("%d: %s", f.Line, f.Message))
	}
	return out
}

func TestParseUnit(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"[Service]\nLimitNOFILE=65536\n", []string{"Service LimitNOFILE=65536"}},
		{"\uFEFF[Service]\r\n  LimitNOFILE\t= 1:2 \r\n", []string{"Service LimitNOFILE=1:2"}},
		{"[Service]\nA=1\nA=\nA=2 # no comment\n#A=3\n ;A=4\n", []string{"Service A=1", "Service A=", "Service A=2 # no comment"}},
		{"[Service]\nA=1\rB=2\x00C=3", []string{"Service A=1", "Service B=2", "Service C=3"}},
		{"[S]\nA=x \\\n# in between = so\n  y\\\n;\nz\nB=1\n", []string{"S A=x    y z <x \\\n# in between = so\n  y\\\n;\nz>", "S B=1"}},
		{"[S]\nA\\\n=1\n", []string{"S A=1"}},
		{"[S]\nA=1\\\n\nB=2\n", []string{`S A=1 <1\>`, "S B=2"}},
		{"[S]\nA=1\\\\\nB=2\n", []string{`S A=1\\`, "S B=2"}},
		{"[S]\nA=1\\", []string{`S A=1 <1\>`}},
		{"[S]\nA=1\\\n# end", []string{`S A=1 <1\>`}},
		{"# x\\\n[S]\nA=1\n", []string{"S A=1"}},
		{"A=1\n[S]\n=2\nB\nC==3\n", []string{"S C==3", "1: an assignment outside of any section", "3: nothing before the =", `4: neither a comment nor KEY=VALUE: "B"`}},
		{"[S]\nA=1\n[S # x\nB=2\n", []string{"S A=1", `3: the section header "[S # x" does not end in ]: systemd reads the file no further`}},
		{"[S]\nA=1\\\n[T]\nB=2\n", []string{"S A=1 [T] <1\\\n[T]>", "S B=2"}},
	} {
		if diff := cmp.Diff(c.want, unitAsText(ParseUnit([]byte(c.text)))); diff != "" {
			t.Errorf("%q:\n%s", c.text, diff)
		}
	}
	long := ParseUnit([]byte("[S]\nA=1\nB=" + strings.Repeat("x", longLine) + "\nC=2\n"))
	if len(long.Assignments) != 1 || !long.Stopped {
		t.Errorf("a line that systemd does not read: %d assignments", len(long.Assignments))
	}
}

func TestUnitEdits(t *testing.T) {
	const text = "[Unit]\nDescription=x\n[Service]\n# files\nLimitNOFILE=1024\nExecStart=/bin/a \\\n  -b\n\n[Install]\nWantedBy=multi-user.target"
	for _, c := range []struct {
		name string
		edit func(u *Unit) (Edit, error)
		want string
	}{
		{"set", func(u *Unit) (Edit, error) { return u.Set(u.Last("Service", "LimitNOFILE"), "65536") }, strings.Replace(text, "1024", "65536", 1)},
		{"set a continued value", func(u *Unit) (Edit, error) { return u.Set(u.Last("Service", "ExecStart"), "/bin/c") }, strings.Replace(text, "/bin/a \\\n  -b", "/bin/c", 1)},
		{"add", func(u *Unit) (Edit, error) { return u.Add("Service", "LimitCORE", "0") }, strings.Replace(text, "  -b\n", "  -b\nLimitCORE=0\n", 1)},
		{"add at the end", func(u *Unit) (Edit, error) { return u.Add("Install", "Alias", "y.service") }, text + "\nAlias=y.service"},
		{"new section", func(u *Unit) (Edit, error) { return u.Add("Slice", "A", "b") }, text + "\n[Slice]\nA=b\n"},
	} {
		e, err := c.edit(ParseUnit([]byte(text)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, string(mustApply(t, []byte(text), e))); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
	for text, section := range map[string]string{"[S]\nA=1\\": "S", "[S]\nA=1\n# x\\\n": "T", "[S]\nA=1\n[T\n": "U"} {
		if e, err := ParseUnit([]byte(text)).Add(section, "B", "2"); err == nil {
			t.Errorf("%q: %+v", text, e)
		}
	}
	for _, value := range []string{" a", "a\n", `a\`, "a\x00b"} {
		if _, err := ParseUnit([]byte(text)).Set(0, value); err == nil {
			t.Errorf("%q was taken", value)
		}
	}
	if u := ParseUnit([]byte(UnitText("Service", "LimitNOFILE", "infinity"))); u.Assignments[0].Text != "infinity" || len(u.Faults) > 0 {
		t.Errorf("%+v", u)
	}
}

func mustApply(t testing.TB, data []byte, edits ...Edit) []byte {
	t.Helper()
	out, err := Apply(data, edits)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzUnit is the law "parse, set, parse": the value is the new one, and each other assignment and fault is as it was.
func FuzzUnit(f *testing.F) {
	f.Add([]byte("[Unit]\nDescription=a = b\n[Service]\nType=notify\nExecStart=/usr/bin/x \\\n  -a \"b c\"\nLimitNOFILE=1:2\n\n[Install]\nWantedBy=m.target\n"), 3, "65536")
	f.Add([]byte("[S]\nA=x \\\n# c = d\n  y\\\n;\nz\nB=1\n"), 0, "v")
	f.Add([]byte("\uFEFF[S]\r\nA=1\rB=2\x00C=3\\\\\\"), 2, "v=w")
	f.Fuzz(func(t *testing.T, data []byte, which int, value string) {
		u := ParseUnit(data)
		for _, a := range u.Assignments {
			if s := a.Value; s.Start < 0 || s.End < s.Start || s.End > len(data) {
				t.Fatalf("span %v of %d bytes", s, len(data))
			}
		}
		if len(u.Assignments) == 0 {
			return
		}
		which = int(uint(which) % uint(len(u.Assignments)))
		e, err := u.Set(which, value)
		if err == nil {
			after := ParseUnit(mustApply(t, data, e))
			sameUnit(t, u, after, which, value)
		}
		if e, err := u.Add("Service", "LimitNOFILE", "42"); err == nil {
			after := ParseUnit(mustApply(t, data, e))
			i := after.Last("Service", "LimitNOFILE")
			if len(after.Assignments) != len(u.Assignments)+1 || i < 0 || after.Assignments[i].Text != "42" {
				t.Fatalf("added to %q: %q", data, unitAsText(after))
			}
		}
	})
}

func sameUnit(t *testing.T, before, after *Unit, which int, value string) {
	t.Helper()
	if len(before.Assignments) != len(after.Assignments) || len(before.Faults) != len(after.Faults) {
		t.Fatalf("%q became %q", before.text, after.text)
	}
	for i, a := range before.Assignments {
		b := after.Assignments[i]
		if i == which {
			a.Text = value
		}
		if a.Section != b.Section || a.Key != b.Key || a.Text != b.Text {
			t.Fatalf("assignment %d: %+v became %+v in %q", i, a, b, after.text)
		}
	}
}
