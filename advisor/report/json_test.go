package report_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// document is docs/json.md as a reader in Go would write it down. It is not the writer's own type, so that a member that
// appears or changes there does not slip through here.
type document struct {
	Schema string `json:"schema"`
	Tool   struct {
		Version string `json:"version"`
		Rules   string `json:"rules"`
	} `json:"tool"`
	Host struct {
		Name   string `json:"name,omitempty"`
		Kernel string `json:"kernel,omitempty"`
		OS     string `json:"os,omitempty"`
		Source string `json:"source"`
		Netns  string `json:"netns,omitempty"`
	} `json:"host"`
	Summary struct {
		Error         int    `json:"error"`
		Warning       int    `json:"warning"`
		Info          int    `json:"info"`
		Waived        int    `json:"waived"`
		Quiet         int    `json:"quiet"`
		NotApplicable int    `json:"not_applicable"`
		Unknown       int    `json:"unknown"`
		Skipped       int    `json:"skipped"`
		FailOn        string `json:"fail_on"`
		Verdict       string `json:"verdict"`
	} `json:"summary"`
	Findings []struct {
		Rule       string `json:"rule"`
		Severity   string `json:"severity"`
		Remedy     string `json:"remedy"`
		Confidence string `json:"confidence"`
		Subject    struct {
			Table string `json:"table,omitempty"`
			Key   string `json:"key,omitempty"`
		} `json:"subject"`
		Title    string `json:"title"`
		Message  string `json:"message"`
		Evidence []struct {
			What   string `json:"what"`
			Value  any    `json:"value"`
			Origin struct {
				Path   string `json:"path,omitempty"`
				Line   int    `json:"line,omitempty"`
				Column int    `json:"column,omitempty"`
				Source string `json:"source,omitempty"`
			} `json:"origin"`
		} `json:"evidence"`
		Changes []struct {
			Setting string `json:"setting"`
			From    *any   `json:"from,omitempty"`
			To      *any   `json:"to,omitempty"`
			Remove  bool   `json:"remove,omitempty"`
			Safety  string `json:"safety"`
			Note    string `json:"note,omitempty"`
		} `json:"changes"`
		Do          []string `json:"do"`
		Dont        []string `json:"dont"`
		ExplainedBy *string  `json:"explained_by"`
		Waived      *string  `json:"waived"`
		Known       bool     `json:"known,omitempty"`
		Docs        string   `json:"docs"`
	} `json:"findings"`
	Unknown []struct {
		Rule  string   `json:"rule"`
		Needs []string `json:"needs"`
		Why   string   `json:"why"`
	} `json:"unknown"`
	Conflicts []struct {
		Setting string   `json:"setting"`
		Rules   []string `json:"rules"`
		Why     string   `json:"why"`
	} `json:"conflicts"`
	Gaps    []gap `json:"gaps"`
	Sockets struct {
		Listen      *int64 `json:"listen,omitempty"`
		SynSent     *int64 `json:"syn_sent,omitempty"`
		SynRecv     *int64 `json:"syn_recv,omitempty"`
		Established *int64 `json:"established,omitempty"`
		FinWait1    *int64 `json:"fin_wait1,omitempty"`
		FinWait2    *int64 `json:"fin_wait2,omitempty"`
		Closing     *int64 `json:"closing,omitempty"`
		TimeWait    *int64 `json:"time_wait,omitempty"`
		CloseWait   *int64 `json:"close_wait,omitempty"`
		LastAck     *int64 `json:"last_ack,omitempty"`
	} `json:"sockets,omitzero"`
}

type gap struct {
	Source string `json:"source"`
	Why    string `json:"why"`
	Asked  bool   `json:"asked"`
}

// TestJSONRoundTrip reads each report into the documented type, writes that, and finds the same members and values.
func TestJSONRoundTrip(t *testing.T) {
	for name, d := range diagnoses() {
		out := write(t, "json", d, report.Options{Tool: "0.1.0", RulesVersion: "0.1.0"})
		dec := json.NewDecoder(strings.NewReader(out))
		dec.DisallowUnknownFields()
		var doc document
		if err := dec.Decode(&doc); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(generic(t, []byte(out)), generic(t, again)); diff != "" {
			t.Errorf("%s: (-written +read):\n%s", name, diff)
		}
	}
}

func generic(t *testing.T, data []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestJSONStrings: making strings harmless to print keeps what they say.
func TestJSONStrings(t *testing.T) {
	for _, s := range []string{"<b>&\u2028", `\u003c \\u003e \n "`, "\x1b[0m\u009b\u202e\ufeff\u00ad\U000e0041\x7f", "网关 ü €"} {
		d := &advisor.Diagnosis{Host: advisor.Host{Name: s}, Findings: []advisor.Finding{{Evidence: []advisor.Evidence{read(s, advisor.Text(s), advisor.Origin{})}}}}
		var doc document
		if err := json.Unmarshal([]byte(write(t, "json", d, report.Options{})), &doc); err != nil {
			t.Fatal(err)
		}
		if e := doc.Findings[0].Evidence[0]; doc.Host.Name != s || e.What != s || e.Value != s {
			t.Errorf("%q became %q, %q, %q", s, doc.Host.Name, e.What, e.Value)
		}
	}
	if out := write(t, "json", &advisor.Diagnosis{Findings: []advisor.Finding{{Evidence: []advisor.Evidence{read("x", advisor.Text("<&>"), sockDiag)}}}}, report.Options{}); !strings.Contains(out, `"<&>"`) {
		t.Errorf("HTML is escaped in %s", out)
	}
}

// TestJSONIsWhole: what is set for the eyes changes no byte of it, and no list is null.
func TestJSONIsWhole(t *testing.T) {
	for name, d := range diagnoses() {
		whole := write(t, "json", d, report.Options{})
		thin := write(t, "json", d, report.Options{Quiet: true, MinSeverity: advisor.SeverityError, Color: true, Width: 20, Lang: "zh"})
		if whole != thin {
			t.Errorf("%s: options for the text change the JSON", name)
		}
		for line := range strings.Lines(whole) {
			if strings.Contains(line, ": null") && !strings.Contains(line, `"explained_by"`) && !strings.Contains(line, `"waived"`) {
				t.Errorf("%s: %s", name, line)
			}
		}
		if !strings.HasPrefix(whole, "{\n  \"schema\"") || !strings.HasSuffix(whole, "\n}\n") {
			t.Errorf("%s: indentation or last newline", name)
		}
	}
}

func TestInvalidValueIsAnError(t *testing.T) {
	var buf bytes.Buffer
	d := &advisor.Diagnosis{Findings: []advisor.Finding{{Evidence: []advisor.Evidence{{What: "x"}}}}}
	if err := report.Write(&buf, "json", d, report.Options{}); err == nil || buf.Len() > 0 {
		t.Errorf("got %v and %q", err, buf.String())
	}
}

const schemaPath = "../../docs/schema/report-v1.json"

// compileSchema compiles the published schema. When strict it refuses members that are not described: the published one
// lets them pass, since old readers must accept newer reports.
func compileSchema(t *testing.T, path string, strict bool) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if strict {
		closeObjects(doc)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(path, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(path)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func closeObjects(node any) {
	switch n := node.(type) {
	case map[string]any:
		if n["type"] == "object" {
			n["additionalProperties"] = false
		}
		for _, child := range n {
			closeObjects(child)
		}
	case []any:
		for _, child := range n {
			closeObjects(child)
		}
	}
}

func TestJSONSchema(t *testing.T) {
	published, strict := compileSchema(t, schemaPath, false), compileSchema(t, schemaPath, true)
	for name, d := range diagnoses() {
		doc := instance(t, write(t, "json", d, report.Options{}))
		for _, schema := range []*jsonschema.Schema{published, strict} {
			if err := schema.Validate(doc); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	base := write(t, "json", badNight(), report.Options{})
	for _, c := range []struct{ old, new string }{
		{`"verdict": "fail"`, `"verdict": "failed"`},
		{`"tcpadvise.report/1"`, `"tcpadvise.report/2"`},
		{`"evidence": [`, `"proof": [`},
		{`"severity": "error"`, `"severity": "critical"`},
		{`"do": []`, `"do": null`},
		{`"line": 12`, `"line": 0`},
		{`"remove": true`, `"remove": false`},
	} {
		broken := strings.Replace(base, c.old, c.new, 1)
		if broken == base || published.Validate(instance(t, broken)) == nil {
			t.Errorf("the schema accepts %s for %s", c.new, c.old)
		}
	}
	if newer := strings.Replace(base, `"tool": {`, `"future": 1, "tool": {"future": 1, `, 1); published.Validate(instance(t, newer)) != nil {
		t.Error("the published schema refuses a report with more members")
	}
}

func instance(t *testing.T, doc string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
