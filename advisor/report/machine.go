package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// The TCP state machine, placed as textbooks place it: opening above ESTABLISHED, below it on the left the side that closes
// first, on the right the other one. All is drawn on a canvas of 400 by 700, narrow enough for a phone.

// state is one box, with this host's sockets in it.
type state struct {
	Name   string
	Means  string // in a few words
	X, Y   int    // centre
	Count  string // digits, grouped; empty: not counted
	Zero   bool   // counted, and none
	Bar    int    // per cent of the fullest state
	Level  string // worst severity of its findings; empty: none
	Number int    // of findings
	Anchor string // of the first
	Leaves []edge
}

// edge is a way from state to state. Who is "program" (this host's), "peer" or "kernel".
type edge struct {
	from, To  string
	Who, What string
	Path      string // of the line, from border to border
	X, Y      int    // of the label
	Anchor    string // of the label's text: start, middle or end
	Two       bool   // the label stands on two lines
}

func states() []state {
	return []state{
		{Name: "LISTEN", Means: "a service waits for connections", X: 61, Y: 112},
		{Name: "SYN_SENT", Means: "dialled from here, no answer yet", X: 339, Y: 222},
		{Name: "SYN_RECV", Means: "answered a SYN; the last ACK of the handshake is missing", X: 61, Y: 222},
		{Name: "ESTABLISHED", Means: "open in both directions", X: 200, Y: 314},
		{Name: "FIN_WAIT1", Means: "closed here first; the FIN is not acknowledged yet", X: 61, Y: 436},
		{Name: "FIN_WAIT2", Means: "closed here, not by the peer; tcp_fin_timeout ends those without a process", X: 61, Y: 546},
		{Name: "CLOSING", Means: "both sides closed at the same moment", X: 200, Y: 546},
		{Name: "TIME_WAIT", Means: "closed in good order; the kernel guards the address pair", X: 130, Y: 662},
		{Name: "CLOSE_WAIT", Means: "the peer has closed; the program here has not", X: 339, Y: 436},
		{Name: "LAST_ACK", Means: "closed here second; the FIN is not acknowledged yet", X: 339, Y: 546},
	}
}

func edges() []edge {
	return []edge{
		{"CLOSED", "LISTEN", "program", "listen()", "M158 34H71q-10 0-10 10V84", 152, 27, "end", false},
		{"CLOSED", "SYN_SENT", "program", "connect()", "M242 34h87q10 0 10 10V194", 248, 27, "start", false},
		{"LISTEN", "SYN_RECV", "peer", "SYN", "M61 136v58", 69, 162, "start", true},
		{"SYN_SENT", "SYN_RECV", "peer", "SYN (both dial)", "M286 222H120", 200, 215, "middle", false},
		{"SYN_RECV", "ESTABLISHED", "peer", "ACK", "M61 246v58q0 10 10 10h70", 101, 307, "middle", false},
		{"SYN_SENT", "ESTABLISHED", "peer", "SYN+ACK", "M339 246v58q0 10-10 10h-70", 347, 272, "start", true},
		{"ESTABLISHED", "FIN_WAIT1", "program", "close()", "M178 338v16q0 10-10 10H71q-10 0-10 10v34", 118, 357, "middle", false},
		{"ESTABLISHED", "CLOSE_WAIT", "peer", "FIN", "M222 338v16q0 10 10 10h66q10 0 10 10v34", 268, 357, "middle", false},
		{"FIN_WAIT1", "FIN_WAIT2", "peer", "ACK", "M61 460v58", 69, 486, "start", true},
		{"FIN_WAIT1", "CLOSING", "peer", "FIN", "M114 428h76q10 0 10 10v80", 157, 421, "middle", false},
		{"FIN_WAIT1", "TIME_WAIT", "peer", "FIN+ACK", "M114 446h6q10 0 10 10v178", 137, 486, "start", true},
		{"FIN_WAIT2", "TIME_WAIT", "peer", "FIN", "M61 570v26q0 10 10 10h17q10 0 10 10v18", 69, 596, "start", false},
		{"CLOSING", "TIME_WAIT", "peer", "ACK", "M200 570v26q0 10-10 10h-18q-10 0-10 10v18", 208, 596, "start", false},
		{"CLOSE_WAIT", "LAST_ACK", "program", "close()", "M339 460v58", 344, 486, "start", true},
		{"LAST_ACK", "CLOSED", "peer", "ACK", "M339 570v69", 347, 601, "start", true},
		{"TIME_WAIT", "CLOSED", "kernel", "after 60 s", "M183 662h108", 239, 655, "middle", false},
	}
}

// machine is the picture with this host's numbers.
type machine struct {
	States []state
	Edges  []edge
	Desc   string // the picture in words
	Note   string // why numbers are missing
}

// newMachine puts the counts and findings into the states; shown are the findings as they are numbered on the page.
func newMachine(d *advisor.Diagnosis, shown []advisor.Finding) machine {
	m := machine{States: states(), Edges: edges()}
	most := int64(1)
	for _, n := range d.Sockets {
		most = max(most, n)
	}
	var words []string
	for i := range m.States {
		s := &m.States[i]
		if n, ok := d.Sockets[strings.ToLower(s.Name)]; ok {
			s.Count, s.Zero, s.Bar = grouped(n), n == 0, percent(n, most)
			words = append(words, s.Name+" "+s.Count)
		} else {
			words = append(words, s.Name+" not read")
		}
		for _, e := range m.Edges {
			if e.from == s.Name {
				s.Leaves = append(s.Leaves, e)
			}
		}
		worst := advisor.Severity(0)
		for j, f := range shown {
			if stateOf(f) != s.Name {
				continue
			}
			if s.Number++; s.Number == 1 {
				s.Anchor = anchor(j)
			}
			worst = max(worst, f.Severity)
		}
		if worst != 0 {
			s.Level = worst.String()
			words[i] += fmt.Sprintf(" (findings: %d, worst: %s)", s.Number, worst)
		}
	}
	m.Desc = "Sockets of this host by TCP state: " + strings.Join(words, ", ") + "."
	m.Note = uncounted(d)
	return m
}

// uncounted says why numbers are missing, where some are.
func uncounted(d *advisor.Diagnosis) string {
	switch missing := unread(d); {
	case len(missing) == 0:
		return ""
	case len(d.Sockets) > 0:
		return "Not every state was counted."
	case d.Host.Source == "files":
		return "Files alone were judged, so no socket was read."
	}
	return "The sockets of this host were not read: nothing is known of them."
}

// stateOf is the state that a finding is about; empty where it is about none. The subject says it, else the rule's area.
func stateOf(f advisor.Finding) string {
	byTable := map[string]string{
		"listeners": "LISTEN", "established": "ESTABLISHED", "fin_wait2": "FIN_WAIT2", "time_wait": "TIME_WAIT",
		"close_wait": "CLOSE_WAIT", "hidden_sockets": "CLOSE_WAIT",
	}
	byArea := map[string]string{
		"queue": "LISTEN", "established": "ESTABLISHED", "keepalive": "ESTABLISHED", "fin-wait2": "FIN_WAIT2",
		"time-wait": "TIME_WAIT", "close-wait": "CLOSE_WAIT",
	}
	if state := byTable[f.Subject.Table]; state != "" {
		return state
	}
	return byArea[area(f.Rule)]
}

// percent is n of all, at least 2 where there is any: a few stuck sockets must not vanish beside many good ones.
func percent(n, all int64) int {
	if n <= 0 || all <= 0 {
		return 0
	}
	return max(2, int(min(100, float64(n)/float64(all)*100)))
}

// grouped writes digits in threes.
func grouped(n int64) string {
	const three = 3
	s := strconv.FormatInt(n, 10)
	for i := len(s) - three; i > 0 && s[i-1] != '-'; i -= three {
		s = s[:i] + "," + s[i:]
	}
	return s
}
