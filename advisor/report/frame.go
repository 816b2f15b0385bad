package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clipperhouse/displaywidth"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// Frame is one picture of a host's sockets for a terminal: state counts with their trend, the worst groups, the findings.
type Frame struct {
	Title     string // what is watched
	Clock     string
	Keys      string // how to leave; empty: the picture is the only one
	Places    []Place
	Diagnosis *advisor.Diagnosis
	Before    map[string]int64 // sockets by state in the picture before; nil: there is none
	Minute    map[string]int64 // the same of the oldest picture within the last minute
	Width     int              // columns
	Height    int              // lines; 0: as many as there are
	Color     bool
}

// Place is what was read in one network namespace; the first one's name is empty.
type Place struct {
	Name  string
	Facts *advisor.Facts
}

// Lines draws the picture; no line is wider and there are no more than the terminal has.
func (f *Frame) Lines() []string {
	p := &picture{frame: f}
	p.add(plain, escape(f.Title)+"  "+f.Clock, f.Keys)
	p.states()
	p.section("CLOSE_WAIT held by programs", 2, f.rows("close_wait", closeWaitLine))
	p.section("ports used up towards", 1, f.rows("dialled", f.dialledLine))
	p.section("accept queues", 1, f.rows("listeners", listenerLine))
	p.findings()
	return p.lines
}

// picture is a frame in the making.
type picture struct {
	frame *Frame
	lines []string
}

// left is how many lines there is room for.
func (p *picture) left() int {
	const plenty = 1 << 10
	if p.frame.Height <= 0 {
		return plenty
	}
	return max(p.frame.Height-len(p.lines), 0)
}

// add writes one line: a text, and another at the right edge if there is room for both.
func (p *picture) add(s style, text, right string) {
	if p.left() == 0 {
		return
	}
	text = cut(text, p.frame.Width)
	if gap := p.frame.Width - width(text) - width(right); right != "" && gap > 1 {
		text += strings.Repeat(" ", gap) + right
	}
	p.lines = append(p.lines, s.paint(p.frame.Color, text))
}

// states writes two columns of states: the ones that matter for whose turn it is to close on the right.
func (p *picture) states() {
	const half = 38
	columns := [2][]string{{"listen", "syn_sent", "syn_recv", "established", "last_ack"}, {"close_wait", "fin_wait1", "fin_wait2", "closing", "time_wait"}}
	p.add(plain, "", "")
	head := pad("state", 12) + inColumn("now") + inColumn("change") + inColumn("1 min")
	p.add(isFaint, pad(head, half)+"  "+head, "")
	for i := range columns[0] {
		p.add(plain, pad(p.state(columns[0][i]), half)+"  "+p.state(columns[1][i]), "")
	}
}

func (p *picture) state(name string) string {
	now, ok := p.frame.Diagnosis.Sockets[name]
	line := pad(strings.ToUpper(name), 12)
	if !ok {
		return line + inColumn("?")
	}
	line += inColumn(strconv.FormatInt(now, 10))
	for _, earlier := range []map[string]int64{p.frame.Before, p.frame.Minute} {
		change := ""
		if was, known := earlier[name]; known && was != now {
			change = fmt.Sprintf("%+d", now-was)
		}
		line += inColumn(change)
	}
	return line
}

// ranked is one line of a group, and how bad it is.
type ranked struct {
	rank int64
	text string
	bad  bool
}

// rows collects the lines of a table over all places, the worst first. A line without text is left out.
func (f *Frame) rows(table string, line func(p Place, row advisor.Row) ranked) []ranked {
	var all []ranked
	for _, place := range f.Places {
		for _, row := range place.Facts.Table(table).Rows {
			if r := line(place, row); r.text != "" {
				if place.Name != "" {
					r.text += "  in " + escape(place.Name)
				}
				all = append(all, r)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(b.rank, a.rank) })
	return all
}

// section writes a heading and as many lines as leave room for what follows.
func (p *picture) section(heading string, share int, rows []ranked) {
	const shares, forFindings, around = 5, 4, 2
	if len(rows) == 0 {
		return
	}
	room := max((p.left()-forFindings)*share/shares-around+1, 1)
	more := ""
	if n := len(rows) - room; n > 0 {
		more = fmt.Sprintf("and %d more", n)
	}
	p.add(plain, "", "")
	p.add(isFaint, heading, more)
	for _, r := range rows[:min(len(rows), room)] {
		s := plain
		if r.bad {
			s = isWarning
		}
		p.add(s, "  "+r.text, "")
	}
}

// cell reads an integer; 0 where it is not known.
func cell(row advisor.Row, column string) int64 {
	n, _ := row.Cells[column].Value.Int()
	return n
}

// said is a known cell as text, escaped; else the word for ignorance.
func said(row advisor.Row, column, otherwise string) string {
	if f := row.Cells[column]; f.State == advisor.StateKnown {
		return escape(f.Value.String())
	}
	return otherwise
}

// endpoint is an address and a port as people write them.
func endpoint(row advisor.Row, address string) string {
	host := said(row, address, "?")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + said(row, "port", "?")
}

func closeWaitLine(_ Place, row advisor.Row) ranked {
	count := cell(row, "count")
	where := "on " + endpoint(row, "address")
	if said(row, "side", "") == "dialled" {
		where = "to " + endpoint(row, "address")
	}
	text := fmt.Sprintf("%6d %s %s", count, pad(where, 24), said(row, "process", "process unknown"))
	if pid := said(row, "pid", ""); pid != "" {
		text += " " + pid
	}
	if grew := cell(row, "grew"); grew != 0 {
		text += fmt.Sprintf(", %+d", grew)
	}
	if oldest, ok := row.Cells["oldest_at_least"].Value.Duration(); ok && oldest >= time.Second {
		text += ", oldest " + oldest.Truncate(time.Second).String()
	}
	if left, ok := row.Cells["until_fd_limit"].Value.Duration(); ok {
		text += ", fd limit in " + left.Truncate(time.Second).String()
	}
	return ranked{count, text, cell(row, "stale") > 0}
}

// dialledLine tells what part of the local ports one destination takes; below a tenth nothing.
func (f *Frame) dialledLine(p Place, row advisor.Row) ranked {
	const tenth, half = 10, 50
	ports, ok := p.Facts.Member("sysctl", "net.ipv4.ip_local_port_range").Value.Tuple()
	holding := cell(row, "holding")
	if !ok || len(ports) != 2 || ports[1] < ports[0] {
		return ranked{}
	}
	percent := holding * 100 / (ports[1] - ports[0] + 1)
	if percent < tenth {
		return ranked{}
	}
	text := fmt.Sprintf("%5d%% %s %d ports, %d in TIME_WAIT", percent, pad(endpoint(row, "destination"), 24), holding, cell(row, "time_wait"))
	return ranked{percent, text, percent >= half}
}

// listenerLine tells of queues in which somebody waits, and of losses.
func listenerLine(_ Place, row advisor.Row) ranked {
	used, limit, lost := cell(row, "queue_used"), cell(row, "queue_limit"), cell(row, "drops_grew")
	if used == 0 && lost == 0 {
		return ranked{}
	}
	text := fmt.Sprintf("%6d %s of %s, %s", used, pad("on "+endpoint(row, "address"), 24), said(row, "queue_limit", "?"), said(row, "process", "process unknown"))
	if lost > 0 {
		text += fmt.Sprintf(", %d lost", lost)
	}
	full := limit > 0 && used > limit
	return ranked{lost<<32 + used*100/max(limit, 1), text, full || lost > 0}
}

// findings writes one line each, and in the last line how many there are.
func (p *picture) findings() {
	var shown []advisor.Finding
	for _, f := range p.frame.Diagnosis.Findings {
		if f.Waived == nil {
			shown = append(shown, f)
		}
	}
	p.add(plain, "", "")
	if len(shown) == 0 {
		p.add(isPass, "no finding", "")
		return
	}
	more := ""
	room := max(p.left()-1, 0)
	if n := len(shown) - room; n > 0 {
		more = fmt.Sprintf("and %d more", n)
	}
	p.add(isFaint, "findings; tcpadvise check tells what to do", more)
	for _, f := range shown[:min(len(shown), room)] {
		label, s := "note", isNote
		switch f.Severity {
		case advisor.SeverityError:
			label, s = "ERROR", isError
		case advisor.SeverityWarning:
			label, s = "WARNING", isWarning
		case advisor.SeverityInfo:
		}
		p.add(s, fmt.Sprintf("  %s %s: %s", pad(label, 7), f.Rule, escape(f.Message)), "")
	}
}

func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(columns-width(s), 0))
}

// inColumn sets a number to the right of its column.
func inColumn(s string) string {
	const columns = 8
	return strings.Repeat(" ", max(columns-width(s), 0)) + s
}

// cut shortens escaped text to at most so many columns; what is cut ends in dots.
func cut(s string, columns int) string {
	const dots = "..."
	if width(s) <= columns {
		return s
	}
	room, used := columns-len(dots), 0
	var b strings.Builder
	for g := displaywidth.StringGraphemes(s); g.Next(); {
		if used += g.Width(); used > room {
			break
		}
		b.WriteString(g.Value())
	}
	if room < 0 {
		return dots[:max(columns, 0)]
	}
	return b.String() + dots
}
