package advisor

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMergeWants(t *testing.T) {
	known := func(v Value) Fact { return Known(v, Origin{}) }
	absent := Absent("", Origin{})
	const key = "sysctl:net.x"
	rmem := Tuple(4096, 8388608, 16777216)
	for _, c := range []struct {
		name string
		now  presence
		want []Want
		to   string // "removed", or "conflict: ..."
	}{
		{"the larger of two at_least", presence{declared: known(Int(1))}, []Want{{Op: OpAtLeast, Value: Int(5)}, {Op: OpAtLeast, Value: Int(7)}}, "7"},
		{"a range", presence{declared: known(Int(1))}, []Want{{Op: OpAtLeast, Value: Int(5)}, {Op: OpAtMost, Value: Int(9)}}, "5"},
		{"what holds stays", presence{declared: known(Int(6))}, []Want{{Op: OpAtLeast, Value: Int(5)}, {Op: OpAtMost, Value: Int(9)}}, "6"},
		{"an empty range", presence{declared: known(Int(1))}, []Want{{Op: OpAtLeast, Value: Int(9)}, {Op: OpAtMost, Value: Int(5)}}, "conflict: no value"},
		{"exactly within", presence{declared: known(Int(1))}, []Want{{Op: OpAtLeast, Value: Int(5)}, {Op: OpExactly, Value: Int(7)}}, "7"},
		{"exactly twice", presence{declared: known(Int(1))}, []Want{{Op: OpExactly, Value: Int(5)}, {Op: OpExactly, Value: Int(7)}}, "conflict: no value"},
		{"the choice that the others allow", presence{declared: known(Int(0))}, []Want{{Op: OpOneOf, Value: Tuple(1, 4)}, {Op: OpAtLeast, Value: Int(2)}}, "4"},
		{"the present choice", presence{declared: known(Int(4))}, []Want{{Op: OpOneOf, Value: Tuple(1, 4)}}, "4"},
		{"no choice left", presence{declared: known(Int(0))}, []Want{{Op: OpOneOf, Value: Tuple(1, 4)}, {Op: OpAtLeast, Value: Int(5)}}, "conflict: no value"},
		{"removed by all", presence{declared: known(Int(0))}, []Want{{Op: OpRemove}, {Op: OpRemove}}, "removed"},
		{"removed and set", presence{declared: known(Int(0))}, []Want{{Op: OpRemove}, {Op: OpAtLeast, Value: Int(5)}}, "conflict: one rule wants the setting removed"},
		{"removed, and the kernel's own value is what is wanted", presence{declared: known(Int(100)), byDefault: Int(4096)}, []Want{{Op: OpRemove}, {Op: OpAtLeast, Value: Int(511)}}, "removed"},
		{"removed, and the kernel's own value is not enough", presence{declared: known(Int(100)), byDefault: Int(4096)}, []Want{{Op: OpRemove}, {Op: OpAtLeast, Value: Int(8192)}}, "8192"},
		{"removed, and no kernel has it", presence{declared: known(Int(100)), byDefault: Int(4096), gone: true}, []Want{{Op: OpRemove}, {Op: OpAtLeast, Value: Int(511)}}, "conflict: one rule wants the setting removed"},
		{"removed, and only to be spelt otherwise", presence{declared: known(Int(100))}, []Want{{Op: OpRemove}, {Op: OpExactly, Value: Int(100), respell: true}}, "removed"},
		{"set, and only to be spelt otherwise", presence{declared: known(Int(3))}, []Want{{Op: OpAtLeast, Value: Int(15)}, {Op: OpExactly, Value: Int(3), respell: true}}, "15"},
		{"one number", presence{declared: known(rmem)}, []Want{{Setting: key + "[1]", Op: OpAtMost, Value: Int(131072)}}, "4096 131072 16777216"},
		{"two numbers", presence{declared: known(rmem)}, []Want{{Setting: key + "[1]", Op: OpAtMost, Value: Int(131072)}, {Setting: key + "[2]", Op: OpAtMost, Value: Int(6291456)}}, "4096 131072 6291456"},
		{"a number and the whole", presence{declared: known(rmem)}, []Want{{Setting: key + "[1]", Op: OpAtMost, Value: Int(131072)}, {Op: OpExactly, Value: Tuple(1, 2, 3)}}, "1 2 3"},
		{"a number against the whole", presence{declared: known(rmem)}, []Want{{Setting: key + "[1]", Op: OpAtLeast, Value: Int(5)}, {Op: OpExactly, Value: Tuple(1, 2, 3)}}, "conflict: no value"},
		{"a number of none", presence{}, []Want{{Setting: key + "[1]", Op: OpAtLeast, Value: Int(5)}}, "conflict: no value"},
		{"the files are right, the kernel follows", presence{declared: known(Int(30)), running: known(Int(2))}, []Want{{Op: OpAtLeast, Value: Int(15)}}, "30"},
		{"no file sets it, and the kernel's own value is good", presence{declared: absent, running: known(Int(2)), byDefault: Int(60)}, []Want{{Op: OpAtLeast, Value: Int(15)}}, "60"},
		{"no file sets it, and the kernel's own value is not", presence{declared: absent, running: known(Int(2)), byDefault: Int(10)}, []Want{{Op: OpAtLeast, Value: Int(15)}}, "15"},
		{"ports unite", presence{declared: known(ports("80"))}, []Want{{Op: OpInclude, Value: ports("8080")}, {Op: OpInclude, Value: ports("81")}}, "80-81,8080"},
	} {
		for i := range c.want {
			c.want[i].now = c.now
			c.want[i].Safety = SafetySafe
			if c.want[i].Setting == "" {
				c.want[i].Setting = key
			}
		}
		for range 2 {
			changes, conflicts := mergeWants(c.want)
			got := ""
			switch {
			case len(conflicts) == 1 && len(changes) == 0:
				got = "conflict: " + conflicts[0].Why
			case len(changes) != 1 || len(conflicts) > 0:
				t.Fatalf("%s: %v %v", c.name, changes, conflicts)
			case changes[0].Remove:
				got = "removed"
			default:
				got = changes[0].To.String()
			}
			if !strings.HasPrefix(got, c.to) {
				t.Errorf("%s: %s, want %s", c.name, got, c.to)
			}
			slices.Reverse(c.want) // the order of the findings does not count
		}
	}
}

func ports(text string) Value {
	p, err := ParsePorts(text)
	if err != nil {
		panic(err)
	}
	return Ports(p)
}

// TestReverse: the reverse of an edit restores each byte, and its own reverse is the edit.
func TestReverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := rapid.StringMatching(`[ab\n]{0,20}`).Draw(t, "old")
		e := FileEdit{Old: []byte(old)}
		at, fresh := 0, ""
		for range rapid.IntRange(0, 4).Draw(t, "edits") {
			start := rapid.IntRange(at, len(old)).Draw(t, "start")
			end := rapid.IntRange(start, len(old)).Draw(t, "end")
			text := rapid.StringMatching(`[xy\n]{0,3}`).Draw(t, "new")
			e.Edits = append(e.Edits, TextEdit{start, end, text})
			fresh += old[at:start] + text
			at = end
		}
		e.New = []byte(fresh + old[at:])
		back := e.Reverse()
		restored, at := "", 0
		for _, edit := range back.Edits {
			restored += string(back.Old[at:edit.Start]) + edit.New
			at = edit.End
		}
		if restored += string(back.Old[at:]); restored != old {
			t.Fatalf("%q, want %q", restored, old)
		}
		if again := back.Reverse(); !slices.Equal(again.Edits, e.Edits) {
			t.Fatalf("%v, want %v", again.Edits, e.Edits)
		}
	})
}
