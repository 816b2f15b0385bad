package host

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// noHop is why there is no table of hops.
const noHop = "no server that nginx proxies to has a configuration here that is read"

// backendTable is a table whose rows may stand behind nginx. Its rows have path, line, port and address or unix, and, where they
// are known, keepalive_timeout, keepalive_timeout_written, keepalive_setting, max_connections and assumed: what a row lacks is
// absent in the hop.
type backendTable struct {
	table, name string // name: what a person calls one
	kind        string // the prefix of its settings: tomcat:PATH:LINE:keepAliveTimeout
	process     []string
}

func backendTables() []backendTable {
	return []backendTable{
		{"tomcat_connectors", "Tomcat's connector", "tomcat", []string{"java", "jsvc", "jsvc.exec"}},
		{"spring_servers", "Spring Boot's Tomcat", "spring", []string{"java"}},
	}
}

// collectHops joins the servers that nginx proxies to with their own configurations on this host, by address and port.
func collectHops(_ context.Context, b *advisor.Builder) []advisor.Gap {
	b.SetTable("hops", hopTable(b.View()))
	return nil
}

// hopTable makes the rows, and tells what may be missing.
func hopTable(f *advisor.Facts) (t advisor.Table) {
	j := newHopJoin(f)
	servers := f.Table("nginx_servers")
	t.Unknown = servers.Unknown
	read := false
	for _, backend := range backendTables() {
		rows := f.Table(backend.table)
		t.Unknown = cmp.Or(t.Unknown, rows.Unknown)
		read = read || rows.Absent == "" && len(rows.Rows) > 0
		for _, server := range servers.Rows {
			for _, row := range rows.Rows {
				if j.meets(backend, server, row) {
					t.Rows = append(t.Rows, j.hop(backend, server, row))
				}
			}
		}
	}
	if t.Unknown == "" && (servers.Absent != "" || !read) {
		t.Absent = noHop
	}
	return t
}

// hopJoin is what the join looks things up in.
type hopJoin struct {
	facts     *advisor.Facts
	host      string
	listening map[int64][]advisor.Row // listeners by port
	upstreams map[[2]string]advisor.Row
}

func newHopJoin(f *advisor.Facts) *hopJoin {
	j := &hopJoin{facts: f, listening: map[int64][]advisor.Row{}, upstreams: map[[2]string]advisor.Row{}}
	j.host, _ = f.Scalar("host.name").Value.Text()
	for _, row := range f.Table("listeners").Rows {
		if port, ok := row.Cells["port"].Value.Int(); ok {
			j.listening[port] = append(j.listening[port], row)
		}
	}
	for _, row := range f.Table("nginx_upstreams").Rows {
		j.upstreams[[2]string{cellText(row, "path"), cellText(row, "name")}] = row
	}
	return j
}

func cellText(row advisor.Row, column string) string {
	text, _ := row.Cells[column].Value.Text()
	return text
}

// meets reports whether nginx's server is that backend. Where the kernel shows that another program listens on the port, it is not.
func (j *hopJoin) meets(backend backendTable, server, row advisor.Row) bool {
	if cellText(row, "protocol") == "ajp" { // which nginx does not speak
		return false
	}
	if socket := cellText(server, "unix"); socket != "" {
		return socket == cellText(row, "unix")
	}
	port, ok := server.Cells["port"].Value.Int()
	other, also := row.Cells["port"].Value.Int()
	if !ok || !also || port != other {
		return false
	}
	listeners := j.listening[port]
	mine := func(listener advisor.Row) bool { return backend.listens(listener, row) }
	return (len(listeners) == 0 || slices.ContainsFunc(listeners, mine)) && j.sameAddress(cellText(server, "address"), cellText(row, "address"))
}

// listens reports whether a listener may be that backend: its program, and the same process where both are known. Another one of
// its kind may have the port in another network namespace.
func (t *backendTable) listens(listener, row advisor.Row) bool {
	name := cellText(listener, "process")
	pid, known := listener.Cells["pid"].Value.Int()
	own, runs := row.Cells["pid"].Value.Int()
	switch {
	case name == "":
		return true
	case name == "java" && known && runs:
		return pid == own
	}
	return slices.Contains(t.process, name)
}

// sameAddress reports whether a connection to one address reaches a listener on another of this host: the same, or one of the
// host itself where the listener has each.
func (j *hopJoin) sameAddress(to, listener string) bool {
	a, errA := netip.ParseAddr(to)
	b, errB := netip.ParseAddr(listener)
	localhost := to == "localhost" || to != "" && to == j.host
	switch {
	case to == listener && to != "":
		return true
	case errB == nil && b.IsUnspecified():
		return localhost || errA == nil && (a.IsLoopback() || a.IsUnspecified())
	case errB == nil && b.IsLoopback():
		return to == "localhost"
	case listener == "localhost":
		return errA == nil && a.IsLoopback()
	}
	return false
}

// hop makes the row of a pair.
func (j *hopJoin) hop(backend backendTable, server, row advisor.Row) advisor.Row {
	at := server.Origin
	where := cellText(row, "unix")
	if port := row.Cells["port"]; where == "" && port.State == advisor.StateKnown {
		where = port.Value.String()
	}
	place := cellText(row, "path")
	if line, ok := row.Cells["line"].Value.Int(); ok {
		place = fmt.Sprintf("%s:%d", place, line)
	}
	name := fmt.Sprintf("%s %s (%s)", backend.name, where, place)
	cells := map[string]advisor.Fact{
		"id":      knownText(fmt.Sprintf("%s %s %s -> %s", cellText(server, "path"), cellText(server, "upstream"), cellText(server, "server"), name), at),
		"backend": knownText(name, row.Origin), "backend_kind": knownText(backend.kind, row.Origin),
		"max_connections": row.Cells["max_connections"], "backend_keepalive_timeout": row.Cells["keepalive_timeout"],
		"backend_keepalive_written": row.Cells["keepalive_timeout_written"], "backend_setting": row.Cells["keepalive_setting"],
		"backend_path": row.Cells["path"], "backend_line": row.Cells["line"], "backend_port": row.Cells["port"],
	}
	for _, column := range []string{"path", "upstream", "server", "keepalive", "keepalive_written", "keepalive_timeout", "keepalive_timeout_written", "assumed"} {
		cells[column] = server.Cells[column]
	}
	if _, ok := row.Cells["assumed"]; ok {
		cells["assumed"] = row.Cells["assumed"]
	}
	j.keeps(cells, server)
	j.pool(cells, server)
	j.readTimeout(cells)
	j.poolWait(cells, row)
	for column, fact := range cells { // what a row lacks
		if fact.State == 0 {
			delete(cells, column)
		}
	}
	return advisor.Row{Origin: at, Cells: cells}
}

// keeps tells whether nginx keeps connections to that server at all: a location must let it.
func (j *hopJoin) keeps(cells map[string]advisor.Fact, server advisor.Row) {
	upstream := j.upstreams[[2]string{cellText(server, "path"), cellText(server, "upstream")}]
	cells["line"] = upstream.Cells["line"]
	keepalive, locations, inert := server.Cells["keepalive"], upstream.Cells["locations"], upstream.Cells["inert"]
	kept, ok := keepalive.Value.Int()
	all, _ := locations.Value.Int()
	lost, known := inert.Value.Int()
	switch {
	case keepalive.State != advisor.StateKnown:
		cells["keeps"] = keepalive
	case ok && kept == 0:
		cells["keeps"] = knownBool(false, keepalive.Origin)
	case !known:
		cells["keeps"] = inert
	default:
		cells["keeps"] = knownBool(all > lost, keepalive.Origin)
	}
}

// pool is how many idle connections all workers may keep.
func (j *hopJoin) pool(cells map[string]advisor.Fact, server advisor.Row) {
	cells["workers"] = advisor.Unknown("in the file of another nginx", server.Origin)
	for _, main := range j.facts.Table("nginx_main").Rows {
		if cellText(main, "path") == cellText(server, "main") {
			cells["workers"] = main.Cells["worker_processes"]
		}
	}
	workers, ok := cells["workers"].Value.Int()
	each, known := cells["keepalive"].Value.Int()
	switch {
	case !ok:
		cells["pool"] = cells["workers"]
	case !known:
		cells["pool"] = cells["keepalive"]
	case each > 0 && workers > (1<<62)/each:
		cells["pool"] = advisor.Unknown("more than any host has", cells["keepalive"].Origin)
	default:
		cells["pool"] = advisor.Known(advisor.Int(workers*each), cells["keepalive"].Origin)
	}
}

// readTimeout is the shortest proxy_read_timeout of the locations that lead to the upstream.
func (j *hopJoin) readTimeout(cells map[string]advisor.Fact) {
	upstream, _ := cells["upstream"].Value.Text()
	for _, row := range j.facts.Table("nginx_locations").Rows {
		read := row.Cells["read_timeout"]
		d, ok := read.Value.Duration()
		if cellText(row, "upstream") != upstream || !ok || cellText(row, "upstream") == "" {
			continue
		}
		if least, set := cells["read_timeout"].Value.Duration(); !set || d < least {
			cells["read_timeout"], cells["read_timeout_at"] = read, row.Cells["id"]
		}
	}
}

// poolWait is the longest time that a data source of the same server lets a request wait for a connection, if it is written.
func (j *hopJoin) poolWait(cells map[string]advisor.Fact, row advisor.Row) {
	for _, source := range j.facts.Table("tomcat_datasources").Rows {
		wait := source.Cells["max_wait"]
		d, ok := wait.Value.Duration()
		if written, _ := source.Cells["max_wait_written"].Value.Bool(); !ok || !written || cellText(source, "server") != cellText(row, "path") {
			continue
		}
		if most, set := cells["pool_wait"].Value.Duration(); !set || d > most {
			line, _ := source.Cells["line"].Value.Int()
			cells["pool_wait"] = wait
			cells["pool_name"] = knownText(fmt.Sprintf("%s (%s:%d)", cellText(source, "name"), cellText(source, "path"), line), wait.Origin)
		}
	}
}
