package report_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// TestBrief: one line that can be printed, beginning as the text report ends.
func TestBrief(t *testing.T) {
	for name, d := range diagnoses() {
		got := report.Brief(d)
		lines := strings.Split(strings.TrimSpace(write(t, "text", d, report.Options{Width: -1})), "\n")
		if !strings.HasPrefix(got, lines[len(lines)-1]) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: %q, and the report ends in %q", name, got, lines[len(lines)-1])
		}
	}
	got := report.Brief(badNight())
	for _, want := range []string{"; close-wait/unaccepted java 8080: 8 clients", "; unsafe/tcp-tw-recycle /etc/sysctl.d/99-tuning.conf:12:28: net.ipv4"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q in %q", want, got)
		}
	}
	many := manyAlike()
	many.Summary.FailOn, many.Summary.Verdict = "warning", "fail"
	if got := report.Brief(many); strings.Count(got, "; ") != 4 || !strings.HasSuffix(got, "; and 29 more") {
		t.Error(got)
	}
	if got := report.Brief(manyAlike()); strings.Count(got, "; ") != 0 {
		t.Errorf("findings below the gate are told: %q", got)
	}
	if got := report.Brief(waivedOnly()); !strings.HasSuffix(got, "; unsafe/tcp-timestamps-off is waived: the load test of 2026-03 needs it; ends with ticket OPS-1412") {
		t.Error(got)
	}
}
