package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// nginxTables are the tables that a configuration of nginx fills.
func nginxTables() []string {
	return []string{"nginx_main", "nginx_listens", "nginx_upstreams", "nginx_servers", "nginx_locations", "nginx_settings"}
}

// noNginx is why the tables are absent.
const noNginx = "no nginx was found"

// nginxInstance is one running master, or the nginx that is installed.
type nginxInstance struct {
	pid     int64  // 0: none runs
	conf    string // its main file
	soft    string // limit of open files of its workers; a number, unlimited or denied
	version productVersion
}

func (p *part) collectNginx(_ context.Context, b *advisor.Builder) []advisor.Gap {
	return collectNginx(p.tree, p.services, p.unitFiles(), p.host.options.NginxConfs, b)
}

// collectNginx fills the tables of nginx from the configuration of each that runs, else of the one that is installed.
func collectNginx(t tree, s *services, u *units, confs []string, b *advisor.Builder) []advisor.Gap {
	instances, gaps := findNginx(t, s, confs)
	if err := s.failed(); err != nil {
		gaps = append(gaps, advisor.Gap{Source: "nginx", Why: err.Error()})
		instances = nil
	}
	if len(instances) == 0 && len(gaps) > 0 { // all of them have files of their own, or none is known
		for _, name := range nginxTables() {
			b.SetTable(name, advisor.Table{Unknown: gaps[0].Source + " " + gaps[0].Why})
		}
		return gaps
	}
	r := nginxRecord{units: u}
	r.cpus = b.Scalar("cpus")
	if len(gaps) > 0 {
		r.unread = gaps[0].Source + " " + gaps[0].Why
	}
	for _, n := range instances {
		c := &nginxConf{tree: t, main: n.conf, prefix: path.Dir(n.conf), version: n.version}
		c.read()
		c.resolve()
		r.add(c, n)
		gaps = append(gaps, c.gaps...)
	}
	r.record(b, noNginx)
	return gaps
}

// findNginx names the configurations to read. On the live machine that is what runs.
func findNginx(t tree, s *services, confs []string) (found []nginxInstance, gaps []advisor.Gap) {
	running, gaps := s.of("nginx", func(v *service) bool { return v.kind == nginxService })
	for i := range running {
		n := newNginxInstance(&running[i])
		if !slices.ContainsFunc(found, func(o nginxInstance) bool { return o.conf == n.conf }) {
			found = append(found, n)
		}
	}
	for _, file := range confs {
		if _, err := t.resolve(file); err != nil {
			gaps = append(gaps, advisor.Gap{Source: file, Why: "no such file: --nginx-conf names nginx's main file", Broken: true})
			continue
		}
		if n := (nginxInstance{conf: path.Clean(file)}); !slices.ContainsFunc(found, func(o nginxInstance) bool { return o.conf == n.conf }) {
			n.version = packagedNginx(t)
			found = append(found, n)
		}
	}
	if len(found) > 0 || len(gaps) > 0 || errors.Is(s.err, errNotCaptured) { // a capture of a version that did not ask has no more
		return found, gaps
	}
	installed := newNginxInstance(&s.installed)
	for _, file := range []string{installed.conf, "/etc/nginx/nginx.conf", "/usr/local/nginx/conf/nginx.conf", "/usr/local/openresty/nginx/conf/nginx.conf"} {
		if file == "" {
			continue
		}
		if _, err := t.resolve(file); err != nil {
			continue
		}
		n := nginxInstance{conf: file, version: installed.version}
		if n.version.text == "" {
			n.version = packagedNginx(t)
		}
		return []nginxInstance{n}, gaps
	}
	return nil, gaps
}

func newNginxInstance(v *service) nginxInstance {
	binary := v.arg("binary")
	n := nginxInstance{pid: v.pid, conf: v.arg("conf"), soft: v.soft, version: productVersion{text: v.arg("version"), origin: advisor.Origin{Path: binary}}}
	if n.version.text == "" {
		n.version.why = binary + " does not tell its version, or could not be read"
	}
	return n
}

// packagedNginx is the version that dpkg has installed.
func packagedNginx(t tree) productVersion {
	v, read := packagedVersion(t, "nginx")
	switch {
	case !read:
		v.why = "neither a running nginx nor a package of dpkg names its version"
	case v.text == "":
		v.why = "no package of dpkg is nginx"
	}
	return v
}

// nginxTitle takes the command line of a process apart: "nginx: master process nginx -c FILE", or the arguments themselves
// where no master is wanted (master_process off).
func nginxTitle(title string) (role, file, prefix string) {
	words := strings.FieldsFunc(title, func(r rune) bool { return r == 0 || r == ' ' })
	switch {
	case strings.HasPrefix(title, "nginx: master process"):
		role, words = "master", words[3:]
	case strings.HasPrefix(title, "nginx: worker process"):
		return "worker", "", ""
	case strings.HasPrefix(title, "nginx: "): // cache manager, cache loader
		return "helper", "", ""
	default:
		role = "master"
	}
	for i, word := range words {
		for flag, to := range map[string]*string{"-c": &file, "-p": &prefix} {
			switch {
			case word == flag && i+1 < len(words):
				*to = words[i+1]
			case strings.HasPrefix(word, flag) && len(word) > len(flag):
				*to = word[len(flag):]
			}
		}
	}
	return role, file, prefix
}

// nginxMainFile is the main file by ngx_process_options() of src/core/nginx.c: -c, relative to -p, else what was compiled in.
func nginxMainFile(file, prefix string, bin nginxBinary) string {
	base := cmp.Or(prefix, bin.prefix, "/usr/share/nginx")
	file = cmp.Or(file, bin.conf, "/etc/nginx/nginx.conf")
	if !path.IsAbs(file) {
		file = path.Join(base, file)
	}
	return path.Clean(file)
}

// nginxBinary is what a binary tells of itself without being run.
type nginxBinary struct{ path, version, conf, prefix string }

// nginxMarks are what stands before a value in the binary; each is looked for as bytes, since an expression over the whole
// of it would take longer than all else that a check does.
func (bin *nginxBinary) nginxMarks() map[string]*string {
	return map[string]*string{"nginx/": &bin.version, "openresty/": &bin.version, "--conf-path=": &bin.conf, "--prefix=": &bin.prefix}
}

var (
	nginxVersionMark = regexp.MustCompile(`^(\d+\.\d+\.\d+)[^\w]`)
	nginxPathMark    = regexp.MustCompile(`^([^\s\x00]+)`)
)

// search fills in what the marks in a piece of the binary tell and is not known yet.
func (bin *nginxBinary) search(piece []byte) {
	const longest = 512
	for mark, to := range bin.nginxMarks() {
		value := nginxPathMark
		if to == &bin.version {
			value = nginxVersionMark
		}
		for rest := piece; *to == ""; {
			i := bytes.Index(rest, []byte(mark))
			if i < 0 {
				break
			}
			rest = rest[i+len(mark):]
			if m := value.FindSubmatch(rest[:min(len(rest), longest)]); m != nil {
				*to = string(m[1])
			}
		}
	}
}

// readNginxBinary looks for the version and the compiled-in paths, "nginx/1.22.1" and the arguments of configure that nginx -V
// prints, in the first 64 MiB.
func readNginxBinary(file, name string) (nginxBinary, error) {
	const limit, overlap = 64 << 20, 512
	bin := nginxBinary{path: name}
	fd, err := unix.Open(file, readFlags, 0)
	if err != nil {
		return bin, err
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	if err := fstatRegular(fd); err != nil {
		return bin, err
	}
	buf := make([]byte, 256<<10)
	kept := 0
	for total := 0; total < limit; {
		n, err := io.ReadFull(f, buf[kept:])
		total += n
		bin.search(buf[:kept+n])
		if bin.version != "" && bin.conf != "" && bin.prefix != "" {
			break
		}
		if err != nil {
			break
		}
		kept = copy(buf, buf[len(buf)-overlap:])
	}
	return bin, nil
}

// nginxRecord turns configurations into rows.
type nginxRecord struct {
	units  *units // nil: a file alone
	cpus   advisor.Fact
	rows   map[string][]advisor.Row
	unread string
	any    bool
}

// maxNginxRows bounds each table.
const maxNginxRows = 20_000

func (r *nginxRecord) row(table string, origin advisor.Origin, cells map[string]advisor.Fact) {
	if r.rows == nil {
		r.rows = map[string][]advisor.Row{}
	}
	r.rows[table] = append(r.rows[table], advisor.Row{Origin: origin, Cells: cells})
}

// record hands the tables over. A part that could not be read makes all of them incomplete: it may hold anything.
func (r *nginxRecord) record(b *advisor.Builder, none string) {
	for _, name := range nginxTables() {
		t := advisor.Table{Rows: r.rows[name], Unknown: r.unread}
		if !r.any {
			t.Absent = none
		}
		if len(t.Rows) > maxNginxRows {
			t.Rows, t.Omitted = t.Rows[:maxNginxRows], len(t.Rows)-maxNginxRows
		}
		b.SetTable(name, t)
	}
}

func (r *nginxRecord) add(c *nginxConf, n nginxInstance) {
	r.any = true
	if len(c.gaps) > 0 && r.unread == "" {
		r.unread = c.gaps[0].Source + ": " + c.gaps[0].Why
	}
	if !c.fragment || c.events != nil || len(c.root.names) > 0 {
		r.main(c, n)
	}
	for _, l := range c.listened {
		r.listen(c, l)
	}
	for _, u := range c.upstreams {
		r.upstream(c, u)
	}
	ids := map[string]int{}
	for _, g := range c.groups {
		r.location(c, g, ids)
	}
	for _, s := range c.written {
		r.setting(s)
	}
}

func knownText(s string, o advisor.Origin) advisor.Fact { return advisor.Known(advisor.Text(s), o) }

func knownInt(n int, o advisor.Origin) advisor.Fact { return advisor.Known(advisor.Int(int64(n)), o) }

func knownBool(v bool, o advisor.Origin) advisor.Fact { return advisor.Known(advisor.Bool(v), o) }

// number is the first argument as a number, with its place.
func (r nginxRef) number() advisor.Fact {
	text, why := r.text(1)
	if why != "" {
		return advisor.Unknown(why, r.origin(1))
	}
	return counted(text, r.origin(1))
}

// duration is the first argument as a time.
func (r nginxRef) duration() advisor.Fact {
	text, why := r.text(1)
	if why != "" {
		return advisor.Unknown(why, r.origin(1))
	}
	d, ok := nginxTime(text)
	if !ok {
		return advisor.Unknown(fmt.Sprintf("%q is no time that nginx takes", text), r.origin(1))
	}
	return advisor.Known(advisor.Duration(d), r.origin(1))
}

// flag is the first argument as on or off.
func (r nginxRef) flag() advisor.Fact {
	text, why := r.text(1)
	if why != "" {
		return advisor.Unknown(why, r.origin(1))
	}
	return knownBool(text == "on", r.origin(1))
}

// implied is a default: a value with no place of its own.
func implied() advisor.Origin { return advisor.Origin{Source: "nginx's default"} }

// otherwise is a setting's fact, or its default; unknown where a file that may set it was not read.
func otherwise(ref nginxRef, read func(nginxRef) advisor.Fact, unread string, byDefault advisor.Value) advisor.Fact {
	switch {
	case ref.set():
		return read(ref)
	case unread != "":
		return advisor.Unknown(unread, implied())
	}
	return advisor.Known(byDefault, implied())
}

// main records what holds for the whole of one nginx.
func (r *nginxRecord) main(c *nginxConf, n nginxInstance) {
	const connectionsByDefault, logsByDefault = 512, 1 // ngx_event.c DEFAULT_CONNECTIONS
	at := advisor.Origin{Path: c.main}
	events := c.events
	if events == nil {
		events = c.root
	}
	cells := map[string]advisor.Fact{
		"path":                 knownText(c.main, at),
		"version":              advisor.Unknown(c.version.why, c.version.origin),
		"worker_processes":     otherwise(c.root.names["worker_processes"], r.workers, c.root.unread, advisor.Int(1)),
		"worker_connections":   otherwise(events.names["worker_connections"], nginxRef.number, events.unread, advisor.Int(connectionsByDefault)),
		"worker_rlimit_nofile": advisor.Absent("not set", at),
		"listens":              knownInt(len(c.listened), at),
		"logs":                 knownInt(max(len(c.logs), logsByDefault), at),
		"nofile":               advisor.Unknown("no nginx runs here, and no unit starts it", at),
		"nofile_from":          advisor.Absent("", at),
	}
	if c.tree == nil {
		cells["nofile"] = advisor.Absent("a file has no limit", at)
	}
	if c.version.text != "" {
		cells["version"] = knownText(c.version.text, c.version.origin)
	}
	if limit := r.unitLimit(n); limit != nil { // workers have the soft limit that systemd gave their master
		cells["nofile"], cells["nofile_from"] = limit.soft, knownText(limit.from+" (nginx.service)", limit.soft.Origin)
	}
	if n.pid != 0 {
		cells["pid"] = advisor.Known(advisor.Int(n.pid), advisor.Origin{Path: fmt.Sprintf("/proc/%d", n.pid)})
		limits := advisor.Origin{Path: fmt.Sprintf("/proc/%d/limits", n.pid)}
		cells["nofile"] = processNumber(n.soft, limits)
		cells["nofile_from"] = knownText("the running workers' limit", limits)
	}
	if ref := c.root.names["worker_rlimit_nofile"]; ref.set() {
		cells["worker_rlimit_nofile"] = ref.number()
		cells["nofile"] = cells["worker_rlimit_nofile"]
		cells["nofile_from"] = knownText("worker_rlimit_nofile", ref.origin(1))
	} else if c.root.unread != "" {
		cells["nofile"] = advisor.Unknown(c.root.unread, at)
	}
	r.row("nginx_main", at, cells)
}

// unitLimit is the limit that the unit gives an nginx that does not run; nil where it runs, or there is no unit.
func (r *nginxRecord) unitLimit(n nginxInstance) *unitNoFile {
	if n.pid != 0 || r.units == nil {
		return nil
	}
	if limit := r.units.noFile("nginx.service"); limit.fragment != "" && !limit.masked {
		return &limit
	}
	return nil
}

// workers reads worker_processes; auto is one for each processor.
func (r *nginxRecord) workers(ref nginxRef) advisor.Fact {
	if ref.arg(1) != "auto" {
		return ref.number()
	}
	if r.cpus.State == advisor.StateKnown {
		return advisor.Known(r.cpus.Value, ref.origin(1))
	}
	return advisor.Unknown("auto: as many as there are processors", ref.origin(1))
}

func (r *nginxRecord) listen(c *nginxConf, l *nginxListen) {
	const byDefault = 511 // NGX_LISTEN_BACKLOG on Linux, ngx_linux_config.h
	origin := l.ref.origin(0)
	cells := map[string]advisor.Fact{
		"path": knownText(c.main, origin), "listen": knownText(l.name, origin), "protocol": knownText(l.protocol, origin),
		"backlog": advisor.Known(advisor.Int(byDefault), implied()), "backlog_written": knownBool(l.backlog.set(), origin),
		"servers": knownInt(l.servers, origin), "ssl": knownBool(l.ssl, origin),
	}
	if l.backlog.set() {
		n := nginxListenArg(l.backlog, "backlog=")
		text, why := l.backlog.text(n)
		cells["backlog"] = counted(strings.TrimPrefix(text, "backlog="), l.backlog.origin(n))
		if why != "" {
			cells["backlog"] = advisor.Unknown(why, l.backlog.origin(n))
		}
	}
	if socket, ok := strings.CutPrefix(l.name, "unix:"); ok {
		cells["unix"] = knownText(socket, origin)
	} else {
		addAddress(cells, l.name, origin, 80)
	}
	r.row("nginx_listens", origin, cells)
}

// addAddress takes HOST:PORT apart.
func addAddress(cells map[string]advisor.Fact, text string, origin advisor.Origin, port int) {
	host := text
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		host = text[:i]
		n, err := strconv.ParseUint(text[i+1:], 10, 16)
		if err != nil {
			cells["port"] = advisor.Unknown(fmt.Sprintf("%q is no port", text[i+1:]), origin)
			port = -1
		} else {
			port = int(n)
		}
	}
	if port >= 0 {
		cells["port"] = knownInt(port, origin)
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "*" {
		host = "0.0.0.0"
	}
	cells["address"] = knownText(host, origin)
	if ip, err := netip.ParseAddr(host); err == nil {
		cells["address"] = knownText(ip.Unmap().String(), origin)
	}
}

// assumptions are what a fact rests on that was not read.
func (c *nginxConf) assumptions(version, outside bool) string {
	var all []string
	if version && c.version.text == "" {
		all = append(all, "nginx is older than 1.29.7")
	}
	if outside && c.fragment {
		all = append(all, "the blocks around this file set nothing else")
	} else if outside && c.assumed != "" {
		all = append(all, c.assumed)
	}
	return strings.Join(all, ", and ")
}

func (r *nginxRecord) upstream(c *nginxConf, u *nginxUpstream) {
	name := maskText(strings.TrimPrefix(u.name, "https://"))
	origin := u.at.origin(0)
	if u.scope != nil || u.at.file.syntax.Name(u.at.at) == "proxy_pass" {
		origin = u.at.origin(1)
	}
	file := u.at.file.path
	cells := map[string]advisor.Fact{
		"path": knownText(file, origin), "name": knownText(name, origin), "line": knownInt(origin.Line, origin),
		"block": knownBool(u.scope != nil, origin),
	}
	var servers []nginxRef
	version := false
	keepalive := advisor.Known(advisor.Int(0), implied())
	timeout, requests := advisor.Absent("no connection is kept", origin), advisor.Absent("no connection is kept", origin)
	written := nginxRef{}
	if u.scope != nil {
		servers = u.scope.servers
		written = u.scope.names["keepalive"]
		version = !written.set()
		const sinceOneTwentyNine = 32
		byDefault := 0
		if c.keepsAlive() {
			byDefault = sinceOneTwentyNine
		}
		keepalive = otherwise(written, nginxRef.number, u.scope.unread, advisor.Int(int64(byDefault)))
		perConnection := int64(100)
		if c.version.notBefore(1, 19, 10) || c.version.text == "" {
			perConnection = 1000
		}
		if n, ok := keepalive.Value.Int(); !ok || n > 0 {
			timeout = otherwise(u.scope.names["keepalive_timeout"], nginxRef.duration, u.scope.unread, advisor.Duration(time.Minute))
			requests = otherwise(u.scope.names["keepalive_requests"], nginxRef.number, u.scope.unread, advisor.Int(perConnection))
		}
		cells["keepalive_timeout_written"] = knownBool(u.scope.names["keepalive_timeout"].set(), origin)
	}
	if u.absent != "" {
		keepalive = advisor.Unknown(u.absent, origin)
		timeout, requests, cells["block"] = keepalive, keepalive, keepalive
	}
	cells["keepalive"], cells["keepalive_written"] = keepalive, knownBool(written.set(), origin)
	cells["keepalive_timeout"], cells["keepalive_requests"] = timeout, requests
	cells["servers"] = knownInt(len(servers), origin)
	if u.scope == nil {
		cells["servers"] = knownInt(1, origin)
	}
	sockets := strings.HasPrefix(name, "unix:")
	for i, ref := range servers {
		sockets = strings.HasPrefix(ref.arg(1), "unix:") && (sockets || i == 0)
	}
	cells["unix"] = knownBool(sockets, origin)
	if u.absent != "" {
		for _, column := range []string{"servers", "keepalive_written", "unix"} {
			cells[column] = keepalive
		}
	}
	idleVersion, outside := r.uses(u, cells, origin)
	if u.scope == nil { // keeps none, whatever the version is
		version, idleVersion, outside = false, false, false
	} else if !written.set() { // what its users do makes no difference
		idleVersion, outside = false, false
	}
	version = version || idleVersion
	if text := c.assumptions(version, outside); text != "" {
		cells["assumed"] = knownText(text, advisor.Origin{Source: "assumed"})
	}
	r.row("nginx_upstreams", origin, cells)
	r.servers(c, u, servers, cells)
}

// uses records how locations make use of an upstream.
func (r *nginxRecord) uses(u *nginxUpstream, cells map[string]advisor.Fact, origin advisor.Origin) (version, outside bool) {
	locations, websockets, inert := 0, 0, 0
	unknown := ""
	var first *nginxGroup
	var why string
	for _, g := range u.groups {
		locations += g.count
		if g.upgrades() {
			websockets += g.count
		}
		idle := g.idles()
		unknown = cmp.Or(unknown, idle.unknown)
		if !idle.inert {
			continue
		}
		inert += g.count
		version, outside = version || idle.version, outside || idle.outside
		if first == nil {
			first, why = g, idle.why
		}
	}
	cells["locations"], cells["websockets"] = knownInt(locations, origin), knownInt(websockets, origin)
	cells["inert"] = knownInt(inert, origin)
	switch {
	case first != nil:
		at := first.scope.passes.origin(1)
		cells["inert"] = knownInt(inert, at)
		cells["inert_at"] = knownText(fmt.Sprintf("%s:%d", at.Path, at.Line), at)
		cells["inert_why"] = knownText(why, at)
	case unknown != "":
		cells["inert"] = advisor.Unknown(unknown, origin)
	}
	return version, outside
}

// servers makes a row of each address that an upstream has.
func (r *nginxRecord) servers(c *nginxConf, u *nginxUpstream, servers []nginxRef, of map[string]advisor.Fact) {
	add := func(text string, origin advisor.Origin, why string, port int) {
		cells := map[string]advisor.Fact{"main": knownText(c.main, origin), "path": of["path"], "upstream": of["name"], "server": knownText(text, origin)}
		for _, column := range []string{"keepalive", "keepalive_written", "keepalive_timeout", "keepalive_timeout_written", "block", "locations", "inert", "inert_at", "inert_why", "assumed"} {
			if fact, ok := of[column]; ok {
				cells[column] = fact
			}
		}
		switch socket, ok := strings.CutPrefix(text, "unix:"); {
		case why != "":
			cells["server"], cells["address"], cells["port"] = advisor.Unknown(why, origin), advisor.Unknown(why, origin), advisor.Unknown(why, origin)
		case ok:
			cells["unix"] = knownText(socket, origin)
		default:
			addAddress(cells, text, origin, port)
		}
		r.row("nginx_servers", origin, cells)
	}
	for _, ref := range servers {
		text, why := ref.text(1)
		add(text, ref.origin(1), why, 80)
	}
	if u.scope == nil && u.absent == "" {
		text, secure := strings.CutPrefix(u.name, "https://")
		add(text, u.at.origin(1), "", map[bool]int{false: 80, true: 443}[secure])
	}
}

// location records blocks that proxy alike.
func (r *nginxRecord) location(c *nginxConf, g *nginxGroup, ids map[string]int) {
	origin := g.scope.passes.origin(1)
	file := g.scope.passes.file.path
	id := file + " " + maskText(g.scope.name())
	if ids[id]++; ids[id] > 1 {
		id += fmt.Sprintf(" #%d", ids[id])
	}
	s := g.scope
	time60 := advisor.Duration(time.Minute)
	cells := map[string]advisor.Fact{
		"id": knownText(id, origin), "path": knownText(file, origin), "line": knownInt(origin.Line, origin),
		"block": knownText(maskText(s.name()), origin), "count": knownInt(g.count, origin), "upgrade": knownBool(g.upgrades(), origin),
		"upstream":             knownText(maskText(strings.TrimPrefix(g.target, "https://")), origin),
		"http_version":         knownText(g.version, s.place(s.values[nginxHTTPVersion])),
		"connection":           knownText(g.connection, s.place(s.connection)),
		"read_timeout":         otherwise(s.values[nginxProxyRead], nginxRef.duration, s.unread, time60),
		"send_timeout":         otherwise(s.values[nginxProxySend], nginxRef.duration, s.unread, time60),
		"connect_timeout":      otherwise(s.values[nginxProxyConnect], nginxRef.duration, s.unread, time60),
		"ignores_client_abort": otherwise(s.values[nginxIgnoreAbort], nginxRef.flag, s.unread, advisor.Bool(false)),
	}
	if g.why != "" {
		cells["upstream"] = advisor.Unknown(g.why, origin)
	}
	if g.unknownVersion != "" {
		cells["http_version"] = advisor.Unknown(g.unknownVersion, origin)
	}
	if g.unknownHeaders != "" {
		cells["connection"] = advisor.Unknown(g.unknownHeaders, origin)
	}
	if text := c.assumptions(!s.connection.set() || !s.values[nginxHTTPVersion].set(), true); text != "" {
		cells["assumed"] = knownText(text, advisor.Origin{Source: "assumed"})
	}
	r.row("nginx_locations", origin, cells)
}

// place is where a setting stands, or that it is a default.
func (s *nginxScope) place(ref nginxRef) advisor.Origin {
	if !ref.set() {
		return implied()
	}
	return ref.origin(ref.file.syntax.Args(ref.at))
}

func (r *nginxRecord) setting(s *nginxSetting) {
	origin := s.ref.origin(1)
	id := strings.Join([]string{s.path, s.name, s.value}, " ")
	for _, more := range []struct {
		is   bool
		text string
	}{{s.upgrade, " for WebSockets"}, {s.context != "http", " of " + s.context}} {
		if more.is {
			id += more.text
		}
	}
	cells := map[string]advisor.Fact{
		"id": knownText(id, origin), "path": knownText(s.path, origin), "line": knownInt(origin.Line, origin), "name": knownText(s.name, origin),
		"context": knownText(s.context, origin), "block": knownText(maskText(s.scope.name()), origin),
		"count": knownInt(s.count, origin), "upgrade": knownBool(s.upgrade, origin),
	}
	text, why := s.ref.text(1)
	if why != "" {
		cells["value"] = advisor.Unknown(why, origin)
	} else {
		cells["value"] = knownText(text, origin)
	}
	switch nginxMeaning[s.name] - nginxWords {
	case nginxProxyRead, nginxProxySend, nginxProxyConnect, nginxKeepalive:
		cells["duration"] = s.ref.duration()
	case nginxKeepaliveRequests:
		cells["number"] = s.ref.number()
	}
	r.row("nginx_settings", origin, cells)
}

// maskText hides the user information of URLs in what is shown.
func maskText(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	b := []byte(text)
	maskLine(b)
	return string(b)
}

// isNginxPath says by its name that a file is a configuration of nginx.
func isNginxPath(name string) bool {
	base := withoutTemplateSuffix(name)
	dir := filepath.Base(filepath.Dir(name))
	return isCalled(base, "nginx.conf") || dir == "sites-available" || dir == "sites-enabled"
}

// looksLikeNginx reports whether most directives of a file are nginx's own, as far as it can be read.
func looksLikeNginx(name string, data []byte, _ *Files, named bool) bool {
	if len(data) > fileLimit || bytes.IndexByte(data, ';') < 0 || bytes.IndexByte(data, 0) >= 0 {
		return false
	}
	if ext := filepath.Ext(withoutTemplateSuffix(name)); !named && ext != ".conf" && ext != ".nginx" && ext != "" && ext != ".vhost" && ext != ".inc" {
		return false
	}
	const enough = 64 << 10
	whole := len(data) <= enough
	data = bytes.TrimPrefix(data[:min(len(data), enough)], []byte("\uFEFF"))
	f, err := conf.ParseNginx(data)
	own, other := f.Recognise()
	if err != nil && whole {
		if markers := nginxMarkers(data); len(markers) > 0 {
			f, err = conf.ParseNginxTemplate(conf.HideMarkers(data, markers, 'x'))
			own, other = f.Recognise()
		}
	}
	if err != nil && whole {
		return own > 2*other && own >= 2
	}
	return own > other
}

// nginxFacts is what a file says when it is judged alone. Its includes are not followed.
func nginxFacts(name string, data []byte, f *Files) ([]*advisor.Facts, error) {
	c, broken := nginxAlone(name, data, false)
	var b advisor.Builder
	setKernel(&b, Options{Kernel: f.options.Kernel, Catalogue: f.options.Catalogue})
	var r nginxRecord
	r.add(c, nginxInstance{})
	r.record(&b, "")
	return []*advisor.Facts{b.Facts()}, broken
}

// nginxAlone is the configuration that one file holds; broken says why it does not.
func nginxAlone(name string, data []byte, whole bool) (c *nginxConf, broken error) {
	c = &nginxConf{main: name, version: productVersion{why: "a file does not tell nginx's version"}, whole: whole}
	c.prepare()
	file := &nginxFile{path: name}
	c.parse(file, data)
	if markers := nginxMarkers(data); len(markers) > 0 && file.unread != "" {
		c.gaps = nil
		file = &nginxFile{path: name, markers: markers}
		c.parse(file, data)
	} else {
		file.markers, file.shown = markers, data
	}
	if file.unread != "" {
		return c, &brokenFile{line: file.line, column: file.column, why: file.unread, template: len(file.markers) > 0 || isTemplate(name)}
	}
	c.fragment = !isWholeNginx(file.syntax)
	c.block(c.root, file)
	c.resolve()
	return c, nil
}

// nginxMarkers is conf.Markers, which walks over each byte, for files in which almost never is one.
func nginxMarkers(data []byte) []conf.Marker {
	for _, opening := range []string{"{{", "{%", "{#", "<%"} {
		if bytes.Contains(data, []byte(opening)) {
			return conf.Markers(data)
		}
	}
	return nil
}

// isWholeNginx reports whether a file has the blocks that a main file has.
func isWholeNginx(f *conf.Nginx) bool {
	for i := range f.Block(-1) {
		if name := f.Name(i); name == "http" || name == "events" || name == "stream" {
			return true
		}
	}
	return false
}
