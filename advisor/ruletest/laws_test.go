package ruletest_test

import (
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/ruletest"
	"github.com/tcpadvise/tcpadvise/rules"
)

// TestEveryRuleIsTested is law 1: a firing and a quiet case, and one in which the facts could not be read. Rules over
// what files say are always readable facts of their own.
func TestEveryRuleIsTested(t *testing.T) {
	set := builtin(t)
	for _, rule := range set.Rules {
		cases, err := ruletest.Load(rules.FS, set, rule.ID)
		if err != nil {
			t.Errorf("%s: %v", rule.ID, err)
			continue
		}
		have := map[string]bool{}
		for _, c := range cases {
			have[c.Expect] = true
		}
		for _, want := range []string{"firing", "quiet", "unknown"} {
			if !have[want] {
				t.Errorf("%s has no case that expects %s", rule.ID, want)
			}
		}
	}
}

// TestClosure is law 2: what a finding wants, done, silences the rule.
func TestClosure(t *testing.T) {
	set := builtin(t)
	closed := 0
	for _, rule := range set.Rules {
		cases, err := ruletest.Load(rules.FS, set, rule.ID)
		if err != nil {
			continue // TestEveryRuleIsTested reports it
		}
		for _, c := range cases {
			d := c.Judge(set)
			changes, conflicts := d.Changes(advisor.SafetyManual)
			if len(conflicts) > 0 {
				t.Errorf("%s:%d: %s: the rule contradicts itself: %v", c.Path, c.Line, c.Name, conflicts)
			}
			if len(changes) == 0 || !allSysctl(changes) {
				continue
			}
			closed++
			c.Facts = applied(c.Facts, changes)
			if after := c.Judge(set); len(after.Findings) > 0 {
				t.Errorf("%s:%d: %s: after %v it still says: %s", c.Path, c.Line, c.Name, changes, after.Findings[0].Message)
			}
		}
	}
	if closed < 20 {
		t.Errorf("only %d cases proposed a change: the law was not tried", closed)
	}
}

func allSysctl(changes []advisor.Change) bool {
	for _, c := range changes {
		if !strings.HasPrefix(c.Setting, "sysctl:") {
			return false
		}
	}
	return true
}

// applied is what the facts become when the changes are made in the files and in the running kernel, and services restarted.
// Of a removed key nothing is declared any more, and what runs is the kernel's business.
func applied(f *advisor.Facts, changes []advisor.Change) *advisor.Facts {
	var b advisor.Builder
	for _, key := range f.Scalars() {
		b.Set(key, f.Scalar(key))
	}
	for _, family := range f.Families() {
		for _, key := range f.Members(family) {
			b.SetMember(family, key, f.Member(family, key))
		}
	}
	for _, name := range f.Tables() {
		t := f.Table(name)
		if name == "settings" {
			t = settingsAfter(t, changes)
		}
		b.SetTable(name, t)
	}
	for _, c := range changes {
		key, index, isElement := strings.Cut(strings.TrimPrefix(c.Setting, "sysctl:"), "[")
		after := advisor.Absent("removed", advisor.Origin{})
		if !c.Remove {
			after = advisor.Known(c.To, advisor.Origin{Source: "changed"})
		}
		for _, family := range []string{"declared", "sysctl"} {
			if isElement {
				after = element(b.Member(family, key), index, c.To)
			}
			b.SetMember(family, key, after)
		}
	}
	return b.Facts()
}

// element is a tuple with one number replaced; index reads "1]".
func element(fact advisor.Fact, index string, to advisor.Value) advisor.Fact {
	ns, ok := fact.Value.Tuple()
	n, _ := to.Int()
	if i := int(index[0] - '0'); ok && i < len(ns) {
		ns[i] = n
		return advisor.Known(advisor.Tuple(ns...), fact.Origin)
	}
	return fact
}

func settingsAfter(t advisor.Table, changes []advisor.Change) advisor.Table {
	var rows []advisor.Row
next:
	for _, row := range t.Rows {
		key, _ := row.Cells["key"].Value.Text()
		for _, c := range changes {
			if c.Setting != "sysctl:"+key {
				continue
			}
			if c.Remove {
				continue next
			}
			cells := map[string]advisor.Fact{}
			for name, fact := range row.Cells {
				if name != "last_value" && name != "last_line" {
					cells[name] = fact
				}
			}
			cells["value"] = advisor.Known(advisor.Text(c.To.String()), row.Origin)
			row.Cells = cells
		}
		rows = append(rows, row)
	}
	return advisor.Table{Rows: rows, Unknown: t.Unknown, Absent: t.Absent}
}

// TestApplicationRulesWantNoSysctl is law 6, over each case: the loader refuses literal ones, a template could still make one.
func TestApplicationRulesWantNoSysctl(t *testing.T) {
	set := builtin(t)
	for _, rule := range set.Rules {
		cases, _ := ruletest.Load(rules.FS, set, rule.ID)
		for _, c := range cases {
			for _, f := range c.Judge(set).Findings {
				for _, change := range f.Changes {
					if f.Remedy == advisor.RemedyApplication && strings.HasPrefix(change.Setting, "sysctl:") {
						t.Errorf("%s: %s wants %s though only the program helps", rule.ID, c.Name, change.Setting)
					}
				}
			}
		}
	}
}
