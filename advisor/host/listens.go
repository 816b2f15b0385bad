package host

import (
	"context"
	"net/netip"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// listenSource is a table of addresses that a configuration lets a service listen on. To join another: its rows have address (absent
// or a wildcard for each), port, backlog, and whether that is written; where each of them may belong to a service of its own, a pid.
type listenSource struct {
	table   string
	service string   // for messages
	process []string // names of its processes
	written string   // column: the backlog is written, else the product's own
	owner   string   // table with the column pid and the same path; empty: the row itself has pid
}

func listenSources() []listenSource {
	return []listenSource{
		{"nginx_listens", "nginx", []string{"nginx", "openresty"}, "backlog_written", "nginx_main"},
		{"tomcat_connectors", "Tomcat", []string{"java", "jsvc", "jsvc.exec"}, "backlog_written", ""},
		{"spring_servers", "Spring Boot", []string{"java"}, "backlog_written", ""},
	}
}

func collectListens(_ context.Context, b *advisor.Builder) []advisor.Gap {
	joinListens(b)
	return nil
}

// joinListens makes the table service_listens of all that configurations say, and tells each of them and the live listener of one
// another.
func joinListens(b *advisor.Builder) {
	var j listenJoin
	j.live = b.Table("listeners")
	for i := range j.live.Rows {
		j.live.Rows[i].Cells["backlog_configured"] = advisor.Unknown("no configuration that was read says it", j.live.Rows[i].Origin)
	}
	out := advisor.Table{Absent: "no configuration of a server was found"}
	for _, s := range listenSources() {
		t := b.Table(s.table)
		if t.Absent == "" {
			out.Absent = ""
		}
		if t.Unknown != "" {
			out.Unknown = t.Unknown
		}
		out.Omitted += t.Omitted
		pids := pidsByPath(b, s.owner)
		for _, row := range t.Rows {
			if _, ok := row.Cells["port"].Value.Int(); ok {
				out.Rows = append(out.Rows, j.join(s, row, pids))
			}
		}
	}
	if len(out.Rows) > 0 || out.Unknown != "" {
		out.Absent = ""
	}
	b.SetTable("service_listens", out)
	b.SetTable("listeners", j.live)
}

// pidsByPath is the running process of each main file.
func pidsByPath(b *advisor.Builder, table string) map[string]advisor.Fact {
	pids := map[string]advisor.Fact{}
	if table == "" {
		return pids
	}
	for _, row := range b.Table(table).Rows {
		if path, ok := row.Cells["path"].Value.Text(); ok {
			pids[path] = row.Cells["pid"]
		}
	}
	return pids
}

type listenJoin struct{ live advisor.Table }

// join makes a row of one configured address.
func (j *listenJoin) join(s listenSource, row advisor.Row, pids map[string]advisor.Fact) advisor.Row {
	at := row.Cells["port"].Origin
	cells := map[string]advisor.Fact{"service": knownText(s.service, at), "backlog_written": row.Cells[s.written]}
	for _, column := range []string{"path", "address", "port", "backlog", "pid"} {
		if fact, ok := row.Cells[column]; ok {
			cells[column] = fact
		}
	}
	if path, ok := row.Cells["path"].Value.Text(); ok && s.owner != "" {
		cells["pid"] = pids[path]
	}
	if backlog := row.Cells["backlog"].Origin; backlog.Line > 0 {
		cells["path"], at = knownText(backlog.Path, backlog), backlog
	}
	cells["line"] = knownInt(at.Line, at)
	if cells["pid"].State != advisor.StateKnown { // what does not run has opened nothing
		delete(cells, "pid")
		return advisor.Row{Origin: row.Origin, Cells: cells}
	}
	if live := j.find(s, cells); live != nil {
		cells["queue_limit"] = live.Cells["queue_limit"]
		live.Cells["backlog_configured"] = cells["backlog"]
	}
	return advisor.Row{Origin: row.Origin, Cells: cells}
}

// find is the live listener of a configured address: the one that has it, else one for each address that takes this family too, as
// Java's. Another program's is none; whose it is may be hidden from who is not root, and then the address decides.
func (j *listenJoin) find(s listenSource, configured map[string]advisor.Fact) *advisor.Row {
	port, _ := configured["port"].Value.Int()
	want, _ := configured["address"].Value.Text()
	ip, err := netip.ParseAddr(want)
	anyAddress := want == "" || err == nil && ip.IsUnspecified()
	var second *advisor.Row
	for i := range j.live.Rows {
		row := &j.live.Rows[i]
		if n, ok := row.Cells["port"].Value.Int(); !ok || n != port || !isOneOf(row.Cells["process"], s.process) {
			continue
		}
		address, _ := row.Cells["address"].Value.Text()
		wildcard, _ := row.Cells["wildcard"].Value.Bool()
		switch {
		case address == want:
			return row
		case anyAddress && wildcard:
			second = row
		}
	}
	return second
}

func isOneOf(process advisor.Fact, names []string) bool {
	name, known := process.Value.Text()
	for _, n := range names {
		if name == n {
			return true
		}
	}
	return !known
}
