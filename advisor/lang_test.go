package advisor_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

const testVocabulary = `
scalars:
  kernel.version: {type: version, doc: x}
  memory.total: {type: integer, unit: bytes, doc: x}
  host.name: {type: text, doc: x}
  missing: {type: integer, doc: x}
  broken: {type: integer, doc: x}
  limit: {type: limit, doc: x}
  reserved: {type: ports, doc: x}
  age: {type: duration, doc: x}
families:
  sysctl: {type: catalogue, doc: x}
  counter: {type: integer, doc: x}
tables:
  listeners:
    doc: x
    key: [port]
    columns:
      port: {type: integer, doc: x}
      used: {type: integer, doc: x}
      name: {type: text, doc: x}
  empty:
    doc: x
    key: [a]
    columns:
      a: {type: integer, doc: x}
  lost:
    doc: x
    key: [a]
    columns:
      a: {type: integer, doc: x}
`

const testCatalogue = `
newest: "6.12"
net.a: {group: g, type: integer, summary: s, sources: [x]}
net.range: {group: g, type: tuple, elements: 2, summary: s, sources: [x]}
`

// setWith loads a rule set of one rule that has this condition.
func setWith(t *testing.T, condition, extra string) (*advisor.RuleSet, error) {
	t.Helper()
	rule := fmt.Sprintf("title: t\nseverity: warning\nconfidence: certain\nremedy: kernel\nsince: 0.1.0\nwhen:\n  - '%s'\nsays: s\nwhy: w\nunless: u\nrefs: [r]\n%s",
		strings.ReplaceAll(condition, "'", "''"), extra)
	set, err := advisor.Load(fstest.MapFS{
		"facts.yaml":   {Data: []byte(testVocabulary)},
		"sysctls.yaml": {Data: []byte(testCatalogue)},
		"area/it.yaml": {Data: []byte(rule)},
	})
	if err == nil {
		err = set.Check()
	}
	return set, err
}

func testFacts() *advisor.Facts {
	var b advisor.Builder
	o := advisor.Origin{Source: "test"}
	b.Set("kernel.version", advisor.Known(advisor.Tuple(6, 1, 0), o))
	b.Set("memory.total", advisor.Known(advisor.Int(1<<30), o))
	b.Set("host.name", advisor.Known(advisor.Text("web1"), o))
	b.Set("broken", advisor.Unknown("run as root", o))
	b.Set("limit", advisor.Known(advisor.Unlimited(), o))
	b.Set("age", advisor.Known(advisor.Duration(3*time.Second), o))
	set, _ := advisor.ParsePorts("8080,9000-9010")
	b.Set("reserved", advisor.Known(advisor.Ports(set), o))
	b.SetMember("sysctl", "net.a", advisor.Known(advisor.Int(5), o))
	b.SetMember("sysctl", "net.range", advisor.Known(advisor.Tuple(10, 20), o))
	row := func(port, used int64, name string) advisor.Row {
		cells := map[string]advisor.Fact{"port": advisor.Known(advisor.Int(port), o), "name": advisor.Known(advisor.Text(name), o)}
		if used >= 0 {
			cells["used"] = advisor.Known(advisor.Int(used), o)
		} else {
			cells["used"] = advisor.Unknown("run as root", o)
		}
		return advisor.Row{Cells: cells}
	}
	b.SetTable("listeners", advisor.Table{Rows: []advisor.Row{row(80, 5, "nginx"), row(8080, 0, "java"), row(22, -1, "sshd")}})
	b.SetTable("empty", advisor.Table{})
	b.SetTable("lost", advisor.Table{Unknown: "sock_diag refused"})
	return b.Facts()
}

func verdictOf(d *advisor.Diagnosis) string {
	switch {
	case len(d.Findings) > 0:
		return "firing"
	case d.Summary.Unknown > 0:
		return "unknown"
	case d.Summary.NotApplicable > 0:
		return "not applicable"
	}
	return "quiet"
}

func TestLanguageMeaning(t *testing.T) {
	facts := testFacts()
	for _, c := range []struct{ condition, want string }{
		// A missing key is never zero.
		{`counter["no.such"] < 1024`, "not applicable"},
		{`missing == 0`, "not applicable"},
		{`missing != 0`, "not applicable"},
		{`broken < 1024`, "unknown"},
		{`not (broken < 1024)`, "unknown"},
		{`has(missing)`, "quiet"},
		{`not has(missing)`, "firing"},
		{`has(broken)`, "unknown"},
		{`known(broken)`, "quiet"},
		{`(missing ?? 7) == 7`, "firing"},
		{`(broken ?? 7) == 7`, "unknown"},
		// Arithmetic failures are no answers.
		{`1 / 0 > 1`, "unknown"},
		{`5 % (1 - 1) == 0`, "unknown"},
		{`5 / 2 == 2`, "firing"},
		{`9223372036854775807 + 1 < 0`, "unknown"},
		{`9223372036854775807 * 2 != 0`, "unknown"},
		{`-9223372036854775807 - 2 > 0`, "unknown"},
		// Kleene.
		{`broken > 1 or memory.total > 1`, "firing"},
		{`memory.total > 1 or broken > 1`, "firing"},
		{`broken > 1 and memory.total < 1`, "quiet"},
		{`broken > 1 and memory.total > 1`, "unknown"},
		{`missing > 1 or memory.total < 1`, "quiet"},
		{`missing > 1 or memory.total > 1`, "firing"},
		{`missing > 1 and memory.total > 1`, "not applicable"},
		{`missing > 1 and broken > 1`, "unknown"},
		{`missing > 1 ? false : true`, "not applicable"},
		// Types.
		{`kernel.version >= version("4.12")`, "firing"},
		{`kernel.version < version("6.10")`, "firing"},
		{`limit > 9223372036854775807`, "firing"},
		{`limit == unlimited`, "firing"},
		{`percent(5, limit) == 0`, "firing"},
		{`8080 in reserved and not (80 in reserved)`, "firing"},
		{`size(overlap(reserved, port_range(9000, 9004))) == 5`, "firing"},
		{`age > milliseconds(2999)`, "firing"},
		{`sysctl["net.range"][1] == 20`, "firing"},
		{`sysctl["net.a"] in [4, 5]`, "firing"},
		{`host.name startsWith "web" and host.name matches "^web[0-9]$"`, "firing"},
		{`in_seconds(retransmission_timeout(15)) == 924`, "firing"},
		{`in_seconds(handshake_timeout(5)) == 63`, "firing"},
		// Quantifiers.
		{`any(listeners, .used > 4)`, "firing"},
		{`any(listeners, .used > 5)`, "unknown"},
		{`all(listeners, .port > 0)`, "firing"},
		{`all(listeners, .used > 0)`, "quiet"},
		{`none(listeners, .used > 4)`, "quiet"},
		{`count(listeners, .port > 79) == 2`, "firing"},
		{`count(listeners, .used > 0) == 1`, "unknown"},
		{`sum(listeners, .port) == 8182`, "firing"},
		{`any(empty, .a > 0)`, "quiet"},
		{`any(lost, .a > 0)`, "unknown"},
		{`any(listeners, any(listeners, .used > 4))`, "firing"},
	} {
		set, err := setWith(t, c.condition, "")
		if err != nil {
			t.Errorf("%s: %v", c.condition, err)
			continue
		}
		if got := verdictOf(set.Evaluate(facts, advisor.Options{})); got != c.want {
			t.Errorf("%s: got %s, want %s", c.condition, got, c.want)
		}
	}
}

func TestLanguageFaults(t *testing.T) {
	for _, c := range []struct{ condition, want string }{
		{`memory.totl > 1`, `area/it.yaml:7:6: unknown name "memory.totl", did you mean "memory.total"?`},
		{`memory.total > "x"`, `cannot compare integer with text`},
		{`sysctl["net.b"] > 1`, `the catalogue has no kernel parameter "net.b", did you mean "net.a"?`},
		{`memory.total`, `is of type integer; want boolean`},
		{`0.5 * memory.total > 1`, `fractions are not part of the rule language`},
		{`any(listeners, any(listeners, any(listeners, false)))`, `tables may be walked at most 2 deep`},
		{`any(listeners, .prt > 0)`, `table listeners has no column "prt", did you mean "port"?`},
		{`len(filter(listeners, true)) > 0`, `unknown function "len"`},
		{`map(listeners, .port) == 1`, `unknown function "map"`},
		{`host.name matches "("`, `missing closing )`},
		{`memory.total >`, `unexpected token EOF`},
		{`1..5 == 3`, `.. does not join integer and integer`},
		{`let x = 1; x == 1`, `not part of the rule language`},
		{`host.name > "a"`, `text has no order`},
		{`(((` + strings.Repeat("1+", 500) + `1))) > 0`, `exceeds maximum allowed nodes`},
		{strings.Repeat(" ", 5000) + `true`, `the limit is 4096`},
	} {
		_, err := setWith(t, c.condition, "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: got %v, want %q", c.condition, err, c.want)
		}
	}
}

// TestLoadFaultsAllTogether: each fault of each file is reported, with its position.
func TestLoadFaultsAllTogether(t *testing.T) {
	_, err := advisor.Load(rules.FS, fstest.MapFS{
		"mine/a.yaml":     {Data: []byte("title: x\nseverty: error\nwhen: [tru]\n")},
		"mine/b.yaml":     {Data: []byte("title: [\n")},
		"mine/c.yaml":     {Data: []byte("title: a\ntitle: b\nremedy: application\nseverity: warning\nconfidence: high\nsince: 1\nsays: '{memory.total'\nwhy: w\nunless: u\nrefs: [r]\nwhen: [true]\nwant:\n  - {setting: \"sysctl:net.core.somaxconn\", exactly: 1, safety: safe}\n")},
		"mine/Upper.yaml": {Data: []byte("title: x\n")},
	})
	if err == nil {
		t.Fatal("loaded")
	}
	for _, want := range []string{
		`mine/a.yaml:2:1: a rule has no field "severty", did you mean "severity"?`,
		`mine/a.yaml:3:8: unknown name "tru"`,
		`mine/a.yaml:1:1: a rule needs the field "why"`,
		`mine/b.yaml:1: is no valid YAML`,
		`mine/c.yaml:2:1: "title" stands here a second time; the first is in line 1`,
		`mine/c.yaml:7:8: this brace is never closed`,
		`mine/c.yaml:13:5: no kernel setting helps where the remedy is the application`,
		`mine/Upper.yaml: a rule's file is AREA/SLUG.yaml`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
}

func TestEvidenceIsWhatDecided(t *testing.T) {
	set, err := setWith(t, `(missing > 1 or memory.total < 5 or sysctl["net.a"] == 5) and any(listeners, .used > 4 and .name == "nginx")`, "")
	if err != nil {
		t.Fatal(err)
	}
	d := set.Evaluate(testFacts(), advisor.Options{})
	var got []string
	for _, e := range d.Findings[0].Evidence {
		got = append(got, e.What+"="+e.Value.String())
	}
	if want := "net.a=5 listeners.used=5 listeners.name=nginx"; strings.Join(got, " ") != want {
		t.Errorf("evidence %q, want %q", got, want)
	}
}

func TestDuplicateRuleNeedsReplaces(t *testing.T) {
	body := "title: x\nseverity: info\nconfidence: high\nremedy: kernel\nsince: 1\nwhen: ['false']\nsays: s\nwhy: w\nunless: u\nrefs: [r]\n"
	base := fstest.MapFS{"facts.yaml": {Data: []byte(testVocabulary)}, "sysctls.yaml": {Data: []byte(testCatalogue)}, "area/it.yaml": {Data: []byte(body)}}
	if _, err := advisor.Load(base, fstest.MapFS{"area/it.yaml": {Data: []byte(body)}}); err == nil || !strings.Contains(err.Error(), "replaces: true") {
		t.Errorf("a second rule of the same ID: %v", err)
	}
	set, err := advisor.Load(base, fstest.MapFS{"area/it.yaml": {Data: []byte(body + "replaces: true\n")}})
	if err != nil || len(set.Rules) != 1 {
		t.Errorf("replacing: %v", err)
	}
}

// FuzzCompile: no condition makes the loader panic or hang.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{"true", `any(listeners, .used > 4)`, `sysctl["net.a"][2] ?? 1`, "a?.b", "#", "{", "1..9999999999", `"\u0000" in [1]`, "not not -1", ".port", "$env"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, condition string) {
		if strings.ContainsAny(condition, "\n\r") {
			return
		}
		set, err := setWith(t, condition, "")
		if err == nil {
			set.Evaluate(testFacts(), advisor.Options{})
		}
	})
}
