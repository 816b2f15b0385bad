package host

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// tomcatTables are the tables that a configuration of Tomcat fills.
func tomcatTables() []string { return []string{"tomcat_connectors", "tomcat_datasources"} }

// noTomcat is why the tables are absent.
const noTomcat = "no Tomcat was found"

// tomcatInstance is one running Tomcat, or one that is installed.
type tomcatInstance struct {
	service service // no pid: it does not run
	base    string  // catalina.base
	home    string  // catalina.home, where the libraries lie
	server  string  // its server.xml
}

func (p *part) collectTomcat(_ context.Context, b *advisor.Builder) []advisor.Gap {
	return collectTomcat(p.tree, p.services, p.unitFiles(), p.host.options.TomcatBases, b)
}

// collectTomcat fills the tables of Tomcat from the bases that were named, else from each that runs, else from those installed.
func collectTomcat(t tree, s *services, u *units, bases []string, b *advisor.Builder) []advisor.Gap {
	found, gaps := findTomcat(t, s, bases)
	if err := s.failed(); err != nil && len(found) == 0 {
		gaps = append(gaps, advisor.Gap{Source: "Tomcat", Why: err.Error()})
	}
	r := tomcatRecord{units: u}
	if len(gaps) > 0 {
		r.unread = gaps[0].Source + " " + gaps[0].Why
	}
	for _, n := range found {
		c := &tomcatConf{tree: t, base: n.base, dir: path.Dir(n.server), server: n.server, properties: n.properties(), version: n.version(t)}
		c.read()
		if unit := path.Base(n.base) + ".service"; n.service.pid == 0 && u.fragment(unit) != nil { // as packages name them
			n.service.unit = unit
		}
		r.add(c, &n.service)
		gaps = append(gaps, c.gaps...)
	}
	r.record(b, noTomcat)
	return gaps
}

// findTomcat names the configurations to read.
func findTomcat(t tree, s *services, bases []string) (found []tomcatInstance, gaps []advisor.Gap) {
	running, gaps := s.of("Tomcat", func(v *service) bool {
		return v.arg("-Dcatalina.base", "-Dcatalina.home") != "" || v.arg("main") == "org.apache.catalina.startup.Bootstrap"
	})
	add := func(n tomcatInstance) bool {
		server, err := t.resolve(n.server)
		if err != nil && n.service.pid == 0 {
			return false
		}
		known := slices.ContainsFunc(found, func(o tomcatInstance) bool {
			other, _ := t.resolve(o.server)
			return o.server == n.server || err == nil && other == server
		})
		if !known {
			found = append(found, n)
		}
		return true
	}
	for _, v := range running {
		n := tomcatInstance{service: v, base: v.path("-Dcatalina.base"), home: v.path("-Dcatalina.home")}
		if n.base == "" {
			n.base = n.home
		}
		if n.base == "" {
			gaps = append(gaps, advisor.Gap{Source: fmt.Sprintf("Tomcat, process %d", v.pid), Why: "its catalina.base is not known: run as root, or name it with --tomcat-base DIR"})
			continue
		}
		n.server = path.Join(n.base, "conf/server.xml")
		if file := v.arg("-config"); path.IsAbs(file) {
			n.server = file
		} else if file != "" {
			n.server = path.Join(n.base, file)
		}
		add(n)
	}
	for _, base := range bases {
		n := tomcatInstance{base: path.Clean(base), home: path.Clean(base), server: path.Join(base, "conf/server.xml")}
		if !add(n) {
			gaps = append(gaps, advisor.Gap{Source: n.server, Why: "no such file: --tomcat-base names the directory with conf/server.xml", Broken: true})
		}
	}
	if len(found) > 0 || len(gaps) > 0 || errors.Is(s.err, errNotCaptured) {
		return found, gaps
	}
	for _, parent := range []string{"/var/lib", "/opt", "/usr/local", "/usr/share", "/srv", "/etc"} {
		entries, _ := t.list(parent) // there is none, or nobody may look: then the flag names it
		for _, e := range entries {
			if !strings.HasPrefix(e.Name, "tomcat") && !strings.HasPrefix(e.Name, "apache-tomcat") {
				continue
			}
			base := path.Join(parent, e.Name)
			n := tomcatInstance{base: base, home: base, server: path.Join(base, "conf/server.xml")}
			if parent == "/var/lib" {
				n.home = path.Join("/usr/share", e.Name)
			}
			if parent == "/etc" {
				n.server = path.Join(base, "server.xml")
				n.base, n.home = path.Join("/var/lib", e.Name), path.Join("/usr/share", e.Name)
			}
			add(n)
		}
	}
	return found, gaps
}

// properties are those that the command line gives and that are read of it.
func (n *tomcatInstance) properties() map[string]string {
	out := map[string]string{"catalina.base": n.base, "catalina.home": n.home}
	for _, a := range n.service.args {
		if name, ok := strings.CutPrefix(a.name, "-D"); ok {
			out[name] = a.value
		}
	}
	return out
}

var (
	tomcatReleaseMark = regexp.MustCompile(`Apache Tomcat (?:Version )?(\d+\.\d+\.\d+)`)
	tomcatServerMark  = regexp.MustCompile(`(?m)^server\.number=(\d+\.\d+\.\d+)`)
	tomcatJarMark     = regexp.MustCompile(`(?m)^Implementation-Version: (\d+\.\d+\.\d+)`)
)

// version is told by the jar that is run, the release notes beside it, or the package that owns it.
func (n *tomcatInstance) version(t tree) productVersion {
	home := n.home
	if home == "" {
		home = n.base
	}
	jar := path.Join(home, "lib/catalina.jar")
	if text := n.service.arg("version"); text != "" {
		return productVersion{text: text, origin: advisor.Origin{Path: jar}}
	}
	const notesLimit, jarLimit = 1 << 20, 32 << 20
	notes := path.Join(home, "RELEASE-NOTES")
	if data, err := t.read(notes, notesLimit); err == nil {
		if m := tomcatReleaseMark.FindSubmatchIndex(data); m != nil {
			line, column := conf.IndexLines(data).Position(m[2])
			return productVersion{text: string(data[m[2]:m[3]]), origin: advisor.Origin{Path: notes, Line: line, Column: column}}
		}
	}
	if strings.HasPrefix(home, "/usr/share/tomcat") { // tomcat10-common owns /usr/share/tomcat10
		if v, _ := packagedVersion(t, path.Base(home)); v.text != "" {
			return v
		}
	}
	if data, err := t.read(jar, jarLimit); err == nil {
		if text := tomcatJarVersion(bytes.NewReader(data), int64(len(data))); text != "" {
			return productVersion{text: text, origin: advisor.Origin{Path: jar}}
		}
	}
	return productVersion{why: jar + " does not tell its version, or could not be read", origin: advisor.Origin{Path: jar}}
}

// readTomcatVersion looks into the jar of a catalina.home on the live machine; empty where it does not tell.
func readTomcatVersion(home string) string {
	fd, err := unix.Open(home+"/lib/catalina.jar", readFlags, 0)
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), "catalina.jar")
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return tomcatJarVersion(f, info.Size())
}

// tomcatJarVersion looks into catalina.jar.
func tomcatJarVersion(r io.ReaderAt, size int64) string {
	const most = 1 << 20
	z, err := zip.NewReader(r, size)
	if err != nil {
		return ""
	}
	for _, entry := range []struct {
		name string
		mark *regexp.Regexp
	}{{"org/apache/catalina/util/ServerInfo.properties", tomcatServerMark}, {"META-INF/MANIFEST.MF", tomcatJarMark}} {
		f, err := z.Open(entry.name)
		if err != nil {
			continue
		}
		data, _ := io.ReadAll(io.LimitReader(f, most)) // what could be read of a broken one has no mark
		_ = f.Close()
		if m := entry.mark.FindSubmatch(data); m != nil {
			return string(m[1])
		}
	}
	return ""
}

// tomcatRecord turns configurations into rows.
type tomcatRecord struct {
	units  *units // nil: a file alone
	rows   map[string][]advisor.Row
	unread string
	any    bool
}

func (r *tomcatRecord) row(table string, origin advisor.Origin, cells map[string]advisor.Fact) {
	if r.rows == nil {
		r.rows = map[string][]advisor.Row{}
	}
	r.rows[table] = append(r.rows[table], advisor.Row{Origin: origin, Cells: cells})
}

// record hands the tables over. A part that could not be read makes them incomplete: it may hold anything.
func (r *tomcatRecord) record(b *advisor.Builder, none string) {
	for _, name := range tomcatTables() {
		t := advisor.Table{Rows: r.rows[name], Unknown: r.unread}
		if !r.any && r.unread == "" {
			t.Absent = none
		}
		if len(t.Rows) > maxTomcatRows {
			t.Rows, t.Omitted = t.Rows[:maxTomcatRows], len(t.Rows)-maxTomcatRows
		}
		b.SetTable(name, t)
	}
}

func (r *tomcatRecord) add(c *tomcatConf, v *service) {
	r.any = true
	if r.unread == "" {
		r.unread = c.seen
	}
	ids := map[string]int{}
	unique := func(id string) string {
		if ids[id]++; ids[id] > 1 {
			return fmt.Sprintf("%s #%d", id, ids[id])
		}
		return id
	}
	for _, ref := range c.connectors {
		r.connector(c, v, ref, unique)
	}
	for _, ref := range c.resources {
		r.dataSource(c, v, ref, unique)
	}
}

// common are the cells that both tables have.
func (r *tomcatRecord) common(c *tomcatConf, v *service, ref xmlRef) map[string]advisor.Fact {
	origin := ref.origin()
	cells := map[string]advisor.Fact{
		"path": knownText(ref.file.path, origin), "line": knownInt(origin.Line, origin),
		"version": advisor.Unknown(c.version.why, c.version.origin),
	}
	if c.version.text != "" {
		cells["version"] = knownText(c.version.text, c.version.origin)
	}
	if v != nil && v.pid != 0 {
		cells["pid"] = advisor.Known(advisor.Int(v.pid), advisor.Origin{Path: fmt.Sprintf("/proc/%d", v.pid)})
	}
	return cells
}

// connector records one Connector with what holds in it. The defaults are those of org.apache.tomcat.util.net.AbstractEndpoint
// and org.apache.coyote.AbstractProtocol with their heirs, of Tomcat 8.5 and later.
func (r *tomcatRecord) connector(c *tomcatConf, v *service, ref xmlRef, unique func(string) string) {
	const acceptCount, requests, threads = 100, 100, 200
	origin := ref.origin()
	cells := r.common(c, v, ref)
	protocol, implementation := tomcatProtocol(c.value(ref, "protocol").text)
	if p := c.value(ref, "protocol"); p.unknown != "" {
		cells["protocol"] = advisor.Unknown(p.unknown, p.origin)
	} else {
		at := origin
		if p.set {
			at = p.origin
		}
		cells["protocol"] = knownText(protocol, at)
		if implementation != "" {
			cells["implementation"] = knownText(implementation, at)
		}
	}
	if !r.listens(c, ref, cells, protocol) {
		return
	}
	cells["name"] = knownText(tomcatName(cells), origin)
	cells["id"] = knownText(unique(ref.file.path+" "+tomcatName(cells)), origin)
	wait := tomcatWaits(time.Minute) // Constants.DEFAULT_CONNECTION_TIMEOUT of both packages
	if protocol == "ajp" {
		wait = tomcatWaits(-1)
	}
	connection := c.value(ref, "connectionTimeout")
	wait = connection.wait(wait, 1) // SocketWrapperBase.setReadTimeout(): what is not positive has no end
	cells["connection_timeout"], cells["waits_forever"] = wait.time, wait.endless
	cells["connection_timeout_written"] = knownBool(connection.set, origin)
	idle := c.value(ref, "keepAliveTimeout")
	kept := idle.wait(wait, 1)
	cells["keepalive_timeout"] = kept.time
	shipped := connection.set && connection.text == "20000" // as in the server.xml that is shipped
	cells["keepalive_timeout_written"] = knownBool(idle.set || connection.set && !shipped, origin)
	cells["keepalive_setting"] = knownText("keepAliveTimeout", origin)
	count := func(column, attribute string, byDefault advisor.Fact, read func(string) (advisor.Value, bool)) {
		value := c.value(ref, attribute)
		cells[column] = value.fact(byDefault, read)
		cells[column+"_written"] = knownBool(value.set, origin)
		if value.assumed != "" {
			cells["assumed"] = knownText(value.assumed, value.origin)
		}
	}
	count("backlog", "acceptCount", tomcatImplied(advisor.Int(acceptCount)), tomcatInt)
	count("max_keepalive_requests", "maxKeepAliveRequests", tomcatImplied(advisor.Int(requests)), tomcatLimit(1))
	count("max_connections", "maxConnections", c.defaultConnections(), tomcatLimit(0))
	count("max_threads", "maxThreads", tomcatImplied(advisor.Int(threads)), tomcatInt)
	count("so_keepalive", "socket.soKeepAlive", tomcatImplied(advisor.Bool(false)), tomcatBool)
	r.executor(c, ref, cells)
	for _, value := range []tomcatValue{connection, idle} {
		if value.assumed != "" {
			cells["assumed"] = knownText(value.assumed, value.origin)
		}
	}
	r.limits(v, cells, origin)
	r.row("tomcat_connectors", origin, cells)
}

// defaultConnections is maxConnections: 10000 until 8.5, 8192 since 9.
func (c *tomcatConf) defaultConnections() advisor.Fact {
	const old, since9 = 10_000, 8192
	switch {
	case c.version.text == "":
		return advisor.Unknown("its default depends on Tomcat's version: "+c.version.why, advisor.Origin{Source: "Tomcat's default"})
	case c.version.notBefore(9):
		return tomcatImplied(advisor.Int(since9))
	}
	return tomcatImplied(advisor.Int(old))
}

// executor lets the thread pool that a connector names decide about its threads.
func (r *tomcatRecord) executor(c *tomcatConf, ref xmlRef, cells map[string]advisor.Fact) {
	name := c.value(ref, "executor")
	if !name.set || name.text == "" {
		return
	}
	cells["executor"] = name.fact(advisor.Fact{}, func(s string) (advisor.Value, bool) { return advisor.Text(s), true })
	cells["max_threads"] = advisor.Unknown("its thread pool "+name.text+" was not found", name.origin)
	service := xmlRef{ref.file, ref.file.syntax.Parent(ref.element)}
	for _, pool := range service.children("Executor") {
		if c.value(pool, "name").text == name.text {
			cells["max_threads"] = c.value(pool, "maxThreads").fact(tomcatImplied(advisor.Int(200)), tomcatInt)
		}
	}
}

// listens records where a connector listens, and reports whether it does: port -1 turns it off.
func (r *tomcatRecord) listens(c *tomcatConf, ref xmlRef, cells map[string]advisor.Fact, protocol string) bool {
	origin := ref.origin()
	if socket := c.value(ref, "unixDomainSocketPath"); socket.set {
		cells["unix"] = socket.fact(advisor.Fact{}, func(s string) (advisor.Value, bool) { return advisor.Text(s), true })
	}
	port := c.value(ref, "port")
	cells["port"] = port.fact(advisor.Absent("no port is set", origin), tomcatInt)
	if n, ok := cells["port"].Value.Int(); ok {
		offset := c.value(xmlRef{ref.file, 0}, "portOffset")
		if own := c.value(ref, "portOffset"); own.set {
			offset = own
		}
		more, known := offset.fact(tomcatImplied(advisor.Int(0)), tomcatInt).Value.Int()
		switch {
		case n < 0:
			return false
		case n == 0:
			cells["port"] = advisor.Absent("the kernel chooses it at each start", port.origin)
		case !known:
			cells["port"] = advisor.Unknown("portOffset decides it", port.origin)
		case n+more > 0xFFFF:
			cells["port"] = advisor.Unknown(fmt.Sprintf("%d is no port", n+more), port.origin)
		default:
			cells["port"] = advisor.Known(advisor.Int(n+more), port.origin)
		}
	}
	address := c.value(ref, "address")
	if cells["unix"].State != 0 && !port.set {
		return true
	}
	wildcard := "::"
	if protocol == "ajp" { // since 9.0.31 and 8.5.51: InetAddress.getLoopbackAddress()
		wildcard = "127.0.0.1"
	}
	cells["address"] = address.fact(tomcatImplied(advisor.Text(wildcard)), func(s string) (advisor.Value, bool) {
		only := map[string]advisor.Fact{}
		addAddress(only, "["+strings.Trim(s, "[]")+"]", origin, 1)
		return only["address"].Value, s != ""
	})
	ssl := c.value(ref, "SSLEnabled")
	cells["ssl"] = ssl.fact(tomcatImplied(advisor.Bool(false)), tomcatBool)
	return true
}

// tomcatName is what a person calls a connector.
func tomcatName(cells map[string]advisor.Fact) string {
	for _, column := range []string{"port", "unix"} {
		if f := cells[column]; f.State == advisor.StateKnown {
			return f.Value.String()
		}
	}
	return "connector"
}

// limits records the limit of open files. The JVM raises its soft limit to the hard one (-XX:+MaxFDLimit, the default).
func (r *tomcatRecord) limits(v *service, cells map[string]advisor.Fact, origin advisor.Origin) {
	switch {
	case v == nil:
		cells["nofile_hard"] = advisor.Absent("a file has no limit", origin)
	case v.pid == 0 && v.unit == "":
		cells["nofile_hard"] = advisor.Unknown("no Tomcat runs here, and no unit of its name starts it", origin)
	case v.pid == 0:
		limit := r.units.noFile(v.unit)
		cells["nofile_hard"], cells["unit"] = limit.hard, knownText(v.unit, advisor.Origin{Path: limit.fragment})
		return
	default:
		cells["nofile_hard"] = processNumber(v.hard, advisor.Origin{Path: fmt.Sprintf("/proc/%d/limits", v.pid)})
	}
	if v != nil && v.unit != "" {
		cells["unit"] = knownText(v.unit, advisor.Origin{Path: fmt.Sprintf("/proc/%d/cgroup", v.pid)})
	}
}

// dataSourcePools are the pools that Resource elements make, by their factory.
func tomcatPool(factory string) string {
	switch {
	case factory == "" || strings.Contains(factory, "dbcp2"):
		return "dbcp2"
	case strings.HasPrefix(factory, "org.apache.tomcat.jdbc.pool."):
		return "tomcat-jdbc"
	case strings.Contains(factory, "dbcp"):
		return "dbcp1"
	case strings.Contains(factory, "hikari"):
		return "hikari"
	}
	return ""
}

// tomcatRenamed are attributes of one pool that another does not know, with what it calls them:
// org.apache.tomcat.dbcp.dbcp2.BasicDataSourceFactory, NUI_WARNTEXT_MAP and what it silently ignores.
func tomcatRenamed(pool string) [][2]string {
	switch pool {
	case "dbcp2":
		return [][2]string{{"maxActive", "maxTotal"}, {"maxWait", "maxWaitMillis"}, {"removeAbandoned", "removeAbandonedOnBorrow"}}
	case "tomcat-jdbc":
		return [][2]string{{"maxTotal", "maxActive"}, {"maxWaitMillis", "maxWait"}, {"removeAbandonedOnBorrow", "removeAbandoned"}}
	}
	return nil
}

// dataSource records a Resource that is a pool of database connections.
func (r *tomcatRecord) dataSource(c *tomcatConf, v *service, ref xmlRef, unique func(string) string) {
	origin := ref.origin()
	kind, factory := c.value(ref, "type"), c.value(ref, "factory")
	if kind.text != "javax.sql.DataSource" && !strings.HasSuffix(factory.text, "DataSourceFactory") && !strings.Contains(factory.text, "ikari") {
		return
	}
	cells := r.common(c, v, ref)
	cells["server"] = knownText(c.server, origin)
	name := maskText(c.value(ref, "name").text)
	cells["name"] = knownText(name, origin)
	cells["id"] = knownText(unique(ref.file.path+" "+name), origin)
	pool := tomcatPool(factory.text)
	cells["pool"] = advisor.Absent("a pool of another maker", origin)
	if factory.unknown != "" {
		cells["pool"], pool = advisor.Unknown(factory.unknown, factory.origin), ""
	} else if pool != "" {
		cells["pool"] = knownText(pool, origin)
	}
	size, wait, least, reclaims := "maxTotal", "maxWaitMillis", int64(0), []string{"removeAbandonedOnBorrow", "removeAbandonedOnMaintenance"}
	defaultSize, defaultWait := int64(8), tomcatWaits(-1)
	switch pool {
	case "tomcat-jdbc":
		size, wait, least, reclaims = "maxActive", "maxWait", 1, []string{"removeAbandoned"}
		defaultSize, defaultWait = 100, tomcatWaits(30*time.Second)
	case "dbcp1":
		size, wait, reclaims = "maxActive", "maxWait", []string{"removeAbandoned"}
	case "hikari":
		size, wait, least, reclaims = "maximumPoolSize", "connectionTimeout", 1, nil
		defaultSize, defaultWait = 10, tomcatWaits(30*time.Second)
	}
	if pool != "" {
		r.pool(c, ref, cells, size, wait, least, defaultSize, defaultWait)
		r.renamed(c, ref, cells, pool)
	}
	if pool != "" && reclaims != nil {
		cells["reclaims"] = tomcatImplied(advisor.Bool(false))
		for _, attribute := range reclaims {
			if f := c.value(ref, attribute).fact(cells["reclaims"], tomcatBool); f.State != advisor.StateKnown || f.Value.Equal(advisor.Bool(true)) {
				cells["reclaims"] = f
			}
		}
		cells["reclaims_setting"] = knownText(reclaims[0], origin)
	}
	r.row("tomcat_datasources", origin, cells)
}

func (r *tomcatRecord) pool(c *tomcatConf, ref xmlRef, cells map[string]advisor.Fact, size, wait string, least, defaultSize int64, defaultWait tomcatWait) {
	origin := ref.origin()
	cells["max_total"] = c.value(ref, size).fact(tomcatImplied(advisor.Int(defaultSize)), tomcatLimit(0))
	cells["max_total_written"] = knownBool(c.value(ref, size).set, origin)
	value := c.value(ref, wait)
	w := value.wait(defaultWait, least)
	cells["max_wait"], cells["waits_forever"] = w.time, w.endless
	cells["max_wait_written"] = knownBool(value.set, origin)
	cells["wait_setting"] = knownText(wait, origin)
}

// renamed records the attributes that the pool does not know.
func (r *tomcatRecord) renamed(c *tomcatConf, ref xmlRef, cells map[string]advisor.Fact, pool string) {
	var ignored, known []string
	origin := ref.origin()
	for _, pair := range tomcatRenamed(pool) {
		if v := c.value(ref, pair[0]); v.set {
			if ignored == nil {
				origin = v.origin
			}
			ignored, known = append(ignored, pair[0]), append(known, pair[1])
		}
	}
	cells["ignored"] = advisor.Absent("none", origin)
	if ignored != nil {
		cells["ignored"] = knownText(strings.Join(ignored, ", "), origin)
		cells["ignored_line"] = knownInt(origin.Line, origin)
		cells["ignored_first"] = knownText(ignored[0], origin)
		cells["meant"] = knownText(strings.Join(known, ", "), origin)
	}
}

// looksLikeTomcat reports whether a file's first element is one of Tomcat's, and something of Tomcat's is in it.
func looksLikeTomcat(root, holds string) func(string, []byte, *Files, bool) bool {
	return func(name string, data []byte, _ *Files, _ bool) bool {
		if len(data) > fileLimit || !bytes.Contains(data, []byte(holds)) {
			return false
		}
		if first := rootElement(data); first != root && (first != "" || rootElement(conf.HideMarkers(data, conf.Markers(data), ' ')) != root) {
			return false
		}
		ext := filepath.Ext(withoutTemplateSuffix(name))
		return ext == ".xml" || ext == "" || name == "-"
	}
}

// tomcatFacts is what a server.xml or context.xml says when it is judged alone.
func tomcatFacts(root string) func(string, []byte, *Files) ([]*advisor.Facts, error) {
	return func(name string, data []byte, f *Files) ([]*advisor.Facts, error) {
		file := parseXMLFile(name, maskSecrets(name, data))
		if file.broken == nil && (xmlRef{file, 0}).name() != root {
			file.broken = &brokenFile{line: 1, why: fmt.Sprintf("its first element is <%s>, not <%s>", (xmlRef{file, 0}).name(), root)}
		}
		c := &tomcatConf{server: name, properties: map[string]string{}, version: productVersion{why: "a file does not tell Tomcat's version"}}
		r := tomcatRecord{any: true}
		broken := file.broken
		if broken == nil {
			c.take(file)
			r.add(c, nil)
		} else {
			r.unread = broken.why
		}
		if len(c.gaps) > 0 {
			broken = &brokenFile{why: c.gaps[0].Why}
		}
		var b advisor.Builder
		setKernel(&b, Options{Kernel: f.options.Kernel, Catalogue: f.options.Catalogue})
		r.record(&b, "")
		if broken != nil {
			return []*advisor.Facts{b.Facts()}, broken
		}
		return []*advisor.Facts{b.Facts()}, nil
	}
}
