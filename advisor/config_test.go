package advisor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

// TestConfigAgreesWithItsSchema: the published schema and the decoder accept and refuse the same files.
func TestConfigAgreesWithItsSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "docs", "schema", "config-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	for text, good := range map[string]bool{
		"waivers: []":                       true,
		"waivers: [{rule: a/b, reason: r}]": true,
		"waivers: [{rule: a/b, reason: r, until: \"2027-01-31\", host: h, subject: s}]": true,
		"severity: {a/b: info}":                          true,
		"params: {a/b: {percent: 60, age: 30s}}":         true,
		"rules: [/etc/tcpadvise/rules]":                  true,
		"waivers: [{rule: a/b}]":                         false,
		"waivers: [{reason: r}]":                         false,
		"waivers: [{rule: a/b, reason: \" \"}]":          false,
		"waivers: [{rule: a/b, reason: r, until: soon}]": false,
		"waivers: [{rule: a/b, reason: r, because: x}]":  false,
		"waivers: {rule: a/b, reason: r}":                false,
		"severity: {a/b: fatal}":                         false,
		"params: {a/b: {percent: [1]}}":                  false,
		"severities: {}":                                 false,
		"waivers:\n- {rule: a/b, reason: r}\n- {rule: c/d, reason: r, until: \"2027-13-01\"}\n": false,
	} {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		_, ours := advisor.LoadConfig("c.yaml", []byte(text))
		theirs := schema.Validate(value)
		if (ours == nil) != good || (theirs == nil) != good {
			t.Errorf("%s: want accepted=%v, decoder says %v, schema says %v", text, good, ours, theirs)
		}
	}
}

// An example whose lines are all commented out is a configuration of nothing.
func TestConfigOfComments(t *testing.T) {
	for _, text := range []string{"", "\n \n", "# waivers:\n#   - rule: a/b\n"} {
		if _, err := advisor.LoadConfig("c.yaml", []byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParametersAreOverridden(t *testing.T) {
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	var rule *advisor.Rule
	for _, r := range set.Rules {
		if p := r.Body().Params; len(p) > 0 && p[0].Value.Kind() == advisor.KindInt {
			rule = r
			break
		}
	}
	if rule == nil {
		t.Fatal("no rule has an integer parameter")
	}
	name := rule.Body().Params[0].Name
	config, err := advisor.LoadConfig("c.yaml", []byte("params:\n  "+rule.ID+": {"+name+": 123456}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Configure(config); err != nil {
		t.Fatal(err)
	}
	if v, _ := set.Rule(rule.ID).Body().Params[0].Value.Int(); v != 123456 {
		t.Errorf("%s of %s is %d after the override", name, rule.ID, v)
	}
	for text, want := range map[string]string{
		"params: {" + rule.ID + ": {no-such: 1}}":        "has no parameter \"no-such\"",
		"params: {" + rule.ID + ": {" + name + ": 30s}}": "is of kind integer",
		"params: {unsafe/no-such-rule: {x: 1}}":          "no rule is called \"unsafe/no-such-rule\"",
		"severity: {unsafe/no-such-rule: info}":          "no rule is called \"unsafe/no-such-rule\"",
	} {
		config, err := advisor.LoadConfig("c.yaml", []byte(text))
		if err == nil {
			err = set.Configure(config)
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "c.yaml:1:") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestExitCodesOverAllCombinations: the verdict by worst finding, gate, waiver, baseline and gaps.
func TestExitCodesOverAllCombinations(t *testing.T) {
	reason := "known"
	for _, severity := range []advisor.Severity{0, advisor.SeverityInfo, advisor.SeverityWarning, advisor.SeverityError} {
		for _, failOn := range []advisor.Severity{0, advisor.SeverityInfo, advisor.SeverityWarning, advisor.SeverityError} {
			for _, quieted := range []string{"", "waived", "baseline"} {
				for _, gap := range []string{"", "asked", "notice", "allowed"} {
					d := &advisor.Diagnosis{}
					if severity != 0 {
						f := advisor.Finding{Rule: "a/b", Severity: severity}
						if quieted == "waived" {
							f.Waived = &reason
						}
						f.Known = quieted == "baseline"
						d.Findings = []advisor.Finding{f}
					}
					o := advisor.Options{FailOn: failOn, AllowGaps: gap == "allowed", Now: time.Unix(0, 0)}
					if gap != "" {
						o.Gaps = []advisor.Gap{{Source: "x", Why: "y", Notice: gap == "notice"}}
					}
					want := advisor.VerdictPass
					if severity != 0 && failOn != 0 && severity >= failOn && quieted == "" {
						want = advisor.VerdictFail
					}
					if gap == "asked" {
						want = advisor.VerdictIncomplete
					}
					d.Finish(o)
					if d.Summary.Verdict != want {
						t.Errorf("finding %v, fail-on %v, %q, gap %q: %s, want %s", severity, failOn, quieted, gap, d.Summary.Verdict, want)
					}
				}
			}
		}
	}
}

func TestSchemaFilesAreJSON(t *testing.T) {
	files, _ := filepath.Glob("../docs/schema/*.json")
	if len(files) < 2 {
		t.Fatalf("found %v", files)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
