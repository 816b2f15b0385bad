package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// busyFrame is a host with a leak, a full queue and a destination that has used up the ports.
func busyFrame() *Frame {
	known := func(v any) advisor.Fact {
		switch v := v.(type) {
		case int:
			return advisor.Known(advisor.Int(int64(v)), advisor.Origin{})
		case time.Duration:
			return advisor.Known(advisor.Duration(v), advisor.Origin{})
		}
		return advisor.Known(advisor.Text(fmt.Sprint(v)), advisor.Origin{})
	}
	row := func(pairs ...any) advisor.Row {
		r := advisor.Row{Cells: map[string]advisor.Fact{}}
		for i := 0; i < len(pairs); i += 2 {
			r.Cells[pairs[i].(string)] = known(pairs[i+1])
		}
		return r
	}
	var b advisor.Builder
	b.SetMember("sysctl", "net.ipv4.ip_local_port_range", advisor.Known(advisor.Tuple(32768, 60999), advisor.Origin{}))
	b.SetTable("close_wait", advisor.Table{Rows: []advisor.Row{
		row("side", "dialled", "address", "10.0.0.9", "port", 5432, "process", "evil\x1b]0;x\x07", "count", 3),
		row("side", "accepted", "address", "::", "port", 8080, "process", "java", "pid", 4711, "count", 40, "grew", 4, "stale", 40,
			"oldest_at_least", 33*time.Second, "until_fd_limit", 7*time.Minute),
	}})
	b.SetTable("dialled", advisor.Table{Rows: []advisor.Row{
		row("destination", "10.0.0.7", "port", 443, "holding", 26000, "time_wait", 25990),
		row("destination", "10.0.0.8", "port", 443, "holding", 12, "time_wait", 1),
	}})
	b.SetTable("listeners", advisor.Table{Rows: []advisor.Row{
		row("address", "0.0.0.0", "port", 80, "queue_used", 0, "queue_limit", 511, "process", "nginx"),
		row("address", "0.0.0.0", "port", 8080, "queue_used", 129, "queue_limit", 128, "process", "java", "drops_grew", 17),
	}})
	d := &advisor.Diagnosis{Sockets: map[string]int64{"close_wait": 43, "listen": 2, "time_wait": 25991, "established": 100}}
	for i := range 12 {
		d.Findings = append(d.Findings, advisor.Finding{Rule: "close-wait/x", Severity: advisor.SeverityError, Message: fmt.Sprintf("finding %d \x1b[2J%s", i, strings.Repeat("界", 60))})
	}
	return &Frame{
		Title: "tcpadvise watch  web\x1b1", Clock: "10:00:00", Keys: "q quits", Diagnosis: d, Width: 79, Height: 24,
		Places: []Place{{Facts: b.Facts()}}, Before: map[string]int64{"close_wait": 39, "time_wait": 25991}, Minute: map[string]int64{"close_wait": 13, "time_wait": 30000},
	}
}

func TestFrame(t *testing.T) {
	lines := busyFrame().Lines()
	want := []string{
		`tcpadvise watch  web\x1b1  10:00:00                                     q quits`,
		``,
		`state            now  change   1 min    state            now  change   1 min`,
		`LISTEN             2                    CLOSE_WAIT        43      +4     +30`,
		`SYN_SENT           ?                    FIN_WAIT1          ?`,
		`SYN_RECV           ?                    FIN_WAIT2          ?`,
		`ESTABLISHED      100                    CLOSING            ?`,
		`LAST_ACK           ?                    TIME_WAIT      25991           -4009`,
		``,
		`CLOSE_WAIT held by programs`,
		`      40 on [::]:8080             java 4711, +4, oldest 33s, fd limit in 7m0s`,
		`       3 to 10.0.0.9:5432         evil\x1b]0;x\x07`,
		``,
		`ports used up towards`,
		`     92% 10.0.0.7:443             26000 ports, 25990 in TIME_WAIT`,
		``,
		`accept queues`,
		`     129 on 0.0.0.0:8080          of 128, java, 17 lost`,
		``,
		`findings; tcpadvise check tells what to do                           and 8 more`,
		`  ERROR   close-wait/x: finding 0 \x1b[2J界界界界界界界界界界界界界界界界界...`,
	}
	for i, line := range want {
		if i >= len(lines) || strings.TrimRight(lines[i], " ") != line {
			t.Fatalf("line %d, want\n%s\ngot\n%s", i+1, line, strings.Join(lines, "\n"))
		}
	}
}

// No line leaves the terminal, however small that is.
func TestFrameFits(t *testing.T) {
	for columns := range 100 {
		for _, height := range []int{1, 2, 6, 10, 24, 60} {
			f := busyFrame()
			f.Width, f.Height = columns, height
			lines := f.Lines()
			if len(lines) > height {
				t.Errorf("%d lines of %d", len(lines), height)
			}
			for _, line := range lines {
				if w := width(line); w > columns || strings.ContainsAny(line, "\x1b\x07\n") {
					t.Errorf("%d columns of %d: %q", w, columns, line)
				}
			}
		}
	}
}

func TestFrameWithColourAndPlaces(t *testing.T) {
	f := busyFrame()
	f.Color, f.Height = true, 0
	f.Places = append(f.Places, Place{Name: "web 7", Facts: f.Places[0].Facts})
	text := strings.Join(f.Lines(), "\n")
	for _, part := range []string{"\x1b[1;33m", "\x1b[1;31m", "in web 7", "finding 11"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	f.Diagnosis.Findings = nil
	if last := f.Lines(); !strings.Contains(last[len(last)-1], "no finding") {
		t.Errorf("%q", last)
	}
}
