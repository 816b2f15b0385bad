package conf

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLimits(t *testing.T) {
	const text = "# nothing\n\n*  soft\tnofile 65536 # why\n@Web - NoFile Unlimited and more\nroot -\n@web hard nofile\n  x -#y\n1000: HARD nofile 0x10\r\n#"
	f := ParseLimits([]byte(text))
	var got []string
	for i, l := range f.Lines {
		domain, kind, item, value := f.Words(i)
		got = append(got, fmt.Sprintf("%d %s|%s|%s|%s", l.Kind, domain, kind, item, value))
	}
	want := []string{
		"1 |||", "1 |||", "2 *|soft|nofile|65536", "2 @Web|-|nofile|unlimited", "3 root|-||", "4 @web|hard|nofile|",
		"3 x|-||", "2 1000:|hard|nofile|0x10", "1 |||",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if e, err := f.Set(2, "1048576"); err != nil || f.Text(e.Span) != "65536" {
		t.Errorf("%+v %v", e, err)
	}
	if _, err := f.Set(4, "1"); err == nil {
		t.Error("a line without a value was set")
	}
	if _, err := f.Add("*", "soft", "nofile", "1 # x"); err == nil {
		t.Error("a comment was written into a value")
	}
	e, err := f.Add("*", "hard", "nofile", "9")
	if err != nil {
		t.Fatal(err)
	}
	if out := string(mustApply(t, []byte(text), e)); out != text+"\n*\thard\tnofile\t9\n" {
		t.Errorf("%q", out)
	}
}

// FuzzLimits is the law "parse, set, parse".
func FuzzLimits(f *testing.F) {
	f.Add([]byte("*  soft\tnofile 65536 # why\n@Web - NoFile Unlimited and more\nroot -\n"), 0, "1024")
	f.Add([]byte("a b c d\r\n\x00a b c\n\va\fb c d\n#"), 1, "unlimited")
	f.Fuzz(func(t *testing.T, data []byte, which int, value string) {
		before := ParseLimits(data)
		if len(before.Lines) == 0 {
			return
		}
		which = int(uint(which) % uint(len(before.Lines)))
		e, err := before.Set(which, value)
		if err != nil {
			return
		}
		after := ParseLimits(mustApply(t, data, e))
		if len(after.Lines) != len(before.Lines) {
			t.Fatalf("%q became %q", before.text, after.text)
		}
		for i, l := range before.Lines {
			d1, t1, i1, v1 := before.Words(i)
			d2, t2, i2, v2 := after.Words(i)
			if i == which {
				v1 = asciiLower(value)
			}
			if l.Kind != after.Lines[i].Kind || d1 != d2 || t1 != t2 || i1 != i2 || v1 != v2 {
				t.Fatalf("line %d of %q changed in %q", i, before.text, after.text)
			}
		}
	})
}
