package ruletest_test

import (
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/ruletest"
	"github.com/tcpadvise/tcpadvise/rules"
)

func builtin(t *testing.T) *advisor.RuleSet {
	t.Helper()
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestBuiltinSetDecodes(t *testing.T) {
	if err := builtin(t).Check(); err != nil {
		t.Fatal(err)
	}
}

func TestBuiltinRules(t *testing.T) {
	set := builtin(t)
	for _, rule := range set.Rules {
		cases, err := ruletest.Load(rules.FS, set, rule.ID)
		if err != nil {
			t.Errorf("%s: %v", rule.ID, err)
			continue
		}
		for _, c := range cases {
			t.Run(rule.ID+"/"+c.Name, func(t *testing.T) {
				for _, fault := range c.Run(set) {
					t.Errorf("%s:%d: %s", c.Path, c.Line, fault)
				}
			})
		}
	}
}
