package advisor_test

import (
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

// TestChangeOfALine: a line whose number is right and whose text is not is to change; what the key's value is for other
// wants stays the number.
func TestChangeOfALine(t *testing.T) {
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	const key = "net.ipv4.tcp_fin_timeout"
	at := advisor.Origin{Path: "/etc/sysctl.conf", Line: 3, Column: 28}
	text := func(s string) advisor.Fact { return advisor.Known(advisor.Text(s), at) }
	var b advisor.Builder
	b.Set("kernel.version", advisor.Known(advisor.Tuple(6, 1, 0), advisor.Origin{}))
	b.SetMember("declared", key, advisor.Known(advisor.Int(30), at))
	b.SetTable("settings", advisor.Table{Rows: []advisor.Row{{Origin: at, Cells: map[string]advisor.Fact{
		"id": text("x"), "key": text(key), "value": text("30 # short"), "path": text(at.Path),
		"line": advisor.Known(advisor.Int(3), at), "effective": advisor.Known(advisor.Bool(true), at),
	}}}})
	d := set.Evaluate(b.Facts(), advisor.Options{Only: []string{"sysctl/inline-comment-*"}, Host: advisor.Host{Kernel: "6.1"}})
	if len(d.Findings) != 1 || len(d.Findings[0].Changes) != 1 {
		t.Fatalf("findings %+v", d.Findings)
	}
	if c := d.Findings[0].Changes[0]; c.From.String() != "30 # short" || c.To.String() != "30" {
		t.Errorf("changes %s to %s", c.From, c.To)
	}
	changes, conflicts := d.Changes(advisor.SafetyManual)
	if len(changes) != 1 || len(conflicts) != 0 || changes[0].To.String() != "30" || changes[0].From.Kind() == advisor.KindText {
		t.Errorf("changes %+v, conflicts %+v", changes, conflicts)
	}
}
