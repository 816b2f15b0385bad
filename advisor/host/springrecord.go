package host

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// springRecord turns scopes into rows.
type springRecord struct {
	rows   []advisor.Row
	server []advisor.Row
	taken  map[springPlaced]int // rows by property and place of their value: of several scopes that share a line the first has it
	ids    map[string]int
	unread string
	any    bool
}

// springPlaced is a property in one place.
type springPlaced struct {
	key string
	at  advisor.Origin
}

func (r *springRecord) record(b *advisor.Builder, none string) {
	t := advisor.Table{Rows: r.rows, Unknown: r.unread}
	if !r.any && r.unread == "" {
		t.Absent = none
	}
	b.SetTable("spring_settings", t)
	t.Rows = r.server
	b.SetTable("spring_servers", t)
}

const hikariPrefix = "spring.datasource.hikari."

// springKeys are the properties that a rule is about. All of the pool's are milliseconds or numbers, never durations: the
// fields of com.zaxxer.hikari.HikariConfig are long and int.
func springKeys() []string {
	keys := []string{
		"server.connection-timeout", "server.tomcat.max-threads", "server.tomcat.threads.max", "server.tomcat.max-connections", "server.tomcat.accept-count",
		"server.tomcat.connection-timeout", "server.tomcat.keep-alive-timeout", "server.tomcat.max-keep-alive-requests",
	}
	for _, key := range []string{"connection-timeout", "validation-timeout", "idle-timeout", "keepalive-time", "max-lifetime", "leak-detection-threshold", "maximum-pool-size", "minimum-idle"} {
		keys = append(keys, hikariPrefix+key)
	}
	return keys
}

func (r *springRecord) add(a *springApp, s *springScope) {
	r.any = true
	hikari := s.usesHikari()
	for _, key := range springKeys() {
		if strings.HasPrefix(key, hikariPrefix) && !hikari {
			continue
		}
		if v, ok := s.text(key); ok {
			r.setting(a, s, key, v)
		}
	}
	if a.process != nil && a.jar.libraries["tomcat-embed-core"] != "" {
		r.tomcat(a, s)
	}
}

// tomcat makes the row of the Tomcat in a running application.
func (r *springRecord) tomcat(a *springApp, s *springScope) {
	const port, connections, queue = 8080, 8192, 100 // ServerProperties: 10000 connections until 2.1
	at := advisor.Origin{Path: a.name}
	byDefault := advisor.Origin{Source: "Spring Boot's default"}
	cells := map[string]advisor.Fact{
		"application": knownText(a.name, at), "boot": knownText(a.jar.boot, at), "tomcat": knownText(a.jar.libraries["tomcat-embed-core"], at),
		"port": advisor.Known(advisor.Int(port), byDefault), "address": knownText("::", byDefault),
		"max_connections": advisor.Known(advisor.Int(connections), byDefault), "backlog": knownInt(queue, byDefault),
		"pid":         advisor.Known(advisor.Int(a.process.pid), advisor.Origin{Path: fmt.Sprintf("/proc/%d", a.process.pid)}),
		"nofile_hard": processNumber(a.process.hard, advisor.Origin{Path: fmt.Sprintf("/proc/%d/limits", a.process.pid)}),
	}
	if !a.notBefore(2, 2) {
		cells["max_connections"] = advisor.Unknown("its default depends on the version of Spring Boot before 2.2", byDefault)
	}
	if a.process.unit != "" {
		cells["unit"] = knownText(a.process.unit, advisor.Origin{Path: fmt.Sprintf("/proc/%d/cgroup", a.process.pid)})
	}
	var assumed []string
	number := func(column, key string) bool {
		v, ok := s.text(key)
		if ok = ok && s.ignored(key, v) == ""; ok {
			cells[column] = counted(v.text, v.entry.origin)
			if v.why != "" {
				cells[column] = advisor.Unknown(v.why, v.entry.origin)
			}
			at = v.entry.origin
			assumed = append(assumed, s.assumed(v))
		}
		return ok
	}
	cells["backlog_written"] = knownBool(number("backlog", "server.tomcat.accept-count"), at)
	most := number("max_connections", "server.tomcat.max-connections")
	cells["max_connections_written"] = knownBool(most, at)
	if most {
		cells["max_connections_place"] = knownText(springAt(at), at)
	}
	assumed = append(assumed, s.idle(cells))
	if v, ok := s.text("server.address"); ok && v.why == "" {
		addAddress(cells, v.text, v.entry.origin, -1)
	}
	number("port", "server.port")
	if n, ok := cells["port"].Value.Int(); ok && n <= 0 {
		if n < 0 { // it serves nobody
			return
		}
		cells["port"] = advisor.Absent("the kernel chooses one", at)
	}
	cells["id"], cells["path"] = knownText(a.name+" "+cells["port"].Value.String(), at), knownText(at.Path, at)
	if at.Line > 0 {
		cells["line"] = knownInt(at.Line, at)
	}
	for _, text := range assumed {
		if text != "" {
			cells["assumed"] = knownText(text, advisor.Origin{Source: "assumed"})
		}
	}
	r.server = append(r.server, advisor.Row{Origin: at, Cells: cells})
}

// springAt is a place as settings are written with.
func springAt(at advisor.Origin) string {
	if at.Line == 0 {
		return at.Path
	}
	return fmt.Sprintf("%s:%d", at.Path, at.Line)
}

// idle fills in how long an idle connection is kept: keep-alive-timeout since 2.5, else connection-timeout, else Tomcat's own 60 s
// (org.apache.coyote.http11.Constants.DEFAULT_CONNECTION_TIMEOUT). What it rests on comes back.
func (s *springScope) idle(cells map[string]advisor.Fact) (assumed string) {
	cells["keepalive_timeout"] = advisor.Known(advisor.Duration(time.Minute), advisor.Origin{Source: "Tomcat's default"})
	cells["keepalive_timeout_written"] = knownBool(false, advisor.Origin{Path: s.app.name})
	setting := ""
	for _, key := range []string{"server.tomcat.keep-alive-timeout", "server.tomcat.connection-timeout", "server.connection-timeout"} {
		v, ok := s.text(key)
		if s.ignored(key, v) != "" {
			continue
		}
		if setting == "" || ok {
			setting = key
		}
		if !ok {
			continue
		}
		at := v.entry.origin
		d, known := v.duration()
		cells["keepalive_timeout_written"] = knownBool(true, at)
		switch {
		case !known || v.why != "":
			cells["keepalive_timeout"] = advisor.Unknown(cmp.Or(v.why, "it is no time"), at)
		case d <= 0:
			cells["keepalive_timeout"] = advisor.Absent("it never ends", at)
		default:
			cells["keepalive_timeout"] = advisor.Known(advisor.Duration(d), at)
		}
		assumed = s.assumed(v)
		break
	}
	cells["keepalive_setting"] = knownText(setting, advisor.Origin{Path: s.app.name})
	return assumed
}

// usesHikari reports whether the pool is HikariCP, as Spring Boot takes it unless another is named, or brings itself as
// Alibaba's Druid does. One that a jar without HikariCP is set for is none.
func (s *springScope) usesHikari() bool {
	if kind, ok := s.text("spring.datasource.type"); ok && kind.why == "" && !strings.HasSuffix(kind.text, ".HikariDataSource") {
		return false
	}
	for name := range s.entries {
		if strings.HasPrefix(name, "spring.datasource.druid.") {
			return false
		}
	}
	if jar := s.app.jar; jar != nil {
		return jar.libraries["HikariCP"] != ""
	}
	return true
}

// setting makes the row of one property. A line that counts in several scopes makes one, with the first fault found.
func (r *springRecord) setting(a *springApp, s *springScope, key string, v springValue) {
	at := v.entry.origin
	replaced, refused, ignored := s.replaced(key, v), s.refused(key, v), s.ignored(key, v)
	if n, ok := r.taken[springPlaced{key, at}]; ok {
		if cells := r.rows[n].Cells; replaced != "" && cells["replaced"].State != advisor.StateKnown {
			cells["replaced"] = knownText(replaced, at)
		}
		return
	}
	id := at.Path + " " + key
	if s.profile != "" {
		id += " for " + s.profile
	}
	if r.ids == nil {
		r.ids, r.taken = map[string]int{}, map[springPlaced]int{}
	}
	if r.ids[id]++; r.ids[id] > 1 {
		id = fmt.Sprintf("%s #%d", id, r.ids[id])
	}
	cells := map[string]advisor.Fact{
		"id": knownText(id, at), "application": knownText(a.name, at), "path": knownText(at.Path, at), "key": knownText(key, at),
		"written": knownText(v.entry.key, at), "value": knownText(v.text, at),
	}
	if at.Line > 0 {
		cells["line"] = knownInt(at.Line, at)
	}
	cells["place"] = knownText(springAt(at), at)
	if v.why != "" {
		for _, column := range []string{"value", "number", "duration", "replaced", "refused"} {
			cells[column] = advisor.Unknown(v.why, at)
		}
	}
	for column, text := range map[string]string{"replaced": replaced, "refused": refused, "ignored": ignored, "profile": s.profile, "assumed": s.assumed(v)} {
		if text != "" {
			cells[column] = knownText(text, at)
		}
	}
	s.measure(key, v, cells)
	if a.jar != nil {
		cells["boot"] = knownText(a.jar.boot, advisor.Origin{Path: a.name})
	}
	r.taken[springPlaced{key, at}] = len(r.rows)
	r.rows = append(r.rows, advisor.Row{Origin: at, Cells: cells})
}

// measure fills in the value as a number and as a time, and beside a pool's size how many threads there are for it.
func (s *springScope) measure(key string, v springValue, cells map[string]advisor.Fact) {
	at := v.entry.origin
	if v.why != "" {
		return
	}
	n, isNumber := v.number()
	if isNumber {
		cells["number"] = advisor.Known(advisor.Int(n), at)
	}
	switch {
	case strings.HasSuffix(key, ".maximum-pool-size"):
		cells["threads"] = s.threads()
	case strings.HasPrefix(key, hikariPrefix):
		if d, ok := scaled(n, time.Millisecond); ok && isNumber && !strings.HasSuffix(key, ".minimum-idle") {
			cells["duration"] = advisor.Known(advisor.Duration(d), at)
		}
	case strings.HasSuffix(key, "-timeout"):
		if d, ok := v.duration(); ok {
			cells["duration"] = advisor.Known(advisor.Duration(d), at)
		}
	}
}

// threads is how many requests Tomcat works on at once, if it is the server and its threads are not virtual.
func (s *springScope) threads() advisor.Fact {
	if v, ok := s.text("spring.threads.virtual.enabled"); ok && v.text != "false" {
		return advisor.Absent("virtual threads have no number", v.entry.origin)
	}
	if jar := s.app.jar; jar != nil && jar.libraries["tomcat-embed-core"] == "" {
		return advisor.Absent("the application has no Tomcat", advisor.Origin{Path: s.app.name})
	}
	for _, key := range []string{"server.tomcat.threads.max", "server.tomcat.max-threads"} {
		v, ok := s.text(key)
		if !ok || s.ignored(key, v) != "" {
			continue
		}
		if n, ok := v.number(); ok {
			return advisor.Known(advisor.Int(n), v.entry.origin)
		}
		return advisor.Unknown(v.why+" no number", v.entry.origin)
	}
	if s.app.jar != nil {
		const byDefault = 200 // ServerProperties.Tomcat of all versions, and Tomcat's own
		return advisor.Known(advisor.Int(byDefault), advisor.Origin{Source: "Spring Boot's default"})
	}
	return advisor.Absent("not set, and the server need not be Tomcat", advisor.Origin{Path: s.app.name})
}

// assumed is what the value rests on that was not read.
func (s *springScope) assumed(v springValue) string {
	if v.why != "" {
		return ""
	}
	var all []string
	if v.assumed {
		all = append(all, "nothing overrides the default of the placeholder "+maskText(v.entry.value))
	}
	if s.imports {
		all = append(all, "what is imported from elsewhere sets nothing else")
	}
	return strings.Join(all, ", and ")
}

// milliseconds is a setting of the pool; its default where it is not set, not ok where it is not known.
func (s *springScope) milliseconds(key string, byDefault int64) (int64, bool) {
	v, ok := s.text(hikariPrefix + key)
	if !ok {
		return byDefault, true
	}
	n, ok := v.number()
	return n, ok && v.why == ""
}

// The bounds of HikariConfig.validateNumerics(), and the defaults beside it, in milliseconds; those of the pool's size in
// connections.
const (
	hikariFloor       = 250
	hikariLeastLife   = 30_000
	hikariLife        = 1_800_000
	hikariLeastIdle   = 10_000
	hikariLeastLeak   = 2_000
	hikariLeastAlive  = 30_000
	hikariDefaultSize = 10
)

// replaced is what HikariCP puts in the place of a value that it does not take, with a warning in the log; "" where it takes it.
func (s *springScope) replaced(key string, v springValue) string {
	n, ok := v.number()
	key, pool := strings.CutPrefix(key, hikariPrefix)
	if !ok || !pool || v.why != "" {
		return ""
	}
	life, lifeKnown := s.milliseconds("max-lifetime", hikariLife)
	if life != 0 && life < hikariLeastLife {
		life = hikariLife
	}
	size, sizeKnown := s.milliseconds("maximum-pool-size", hikariDefaultSize)
	least, leastKnown := s.milliseconds("minimum-idle", size)
	switch key {
	case "max-lifetime":
		if n != 0 && n < hikariLeastLife {
			return "less than 30000 ms: connections live 30 min, the default"
		}
	case "keepalive-time":
		if n != 0 && n < hikariLeastAlive {
			return "less than 30000 ms: the default takes its place, which up to HikariCP 6.2.0 is no keepalive"
		}
		if lifeKnown && life != 0 && n >= life {
			return fmt.Sprintf("not less than the lifetime of %d ms: the default takes its place, which up to HikariCP 6.2.0 is no keepalive", life)
		}
	case "leak-detection-threshold":
		if n > 0 && n < hikariLeastLeak {
			return "less than 2000 ms: no leak is reported"
		}
		if lifeKnown && life > 0 && n > life {
			return fmt.Sprintf("more than the lifetime of %d ms: no leak is reported", life)
		}
	case "idle-timeout":
		if n > 0 && n < hikariLeastIdle && sizeKnown && leastKnown && least < size {
			return "less than 10000 ms: idle connections are kept 10 min, the default"
		}
	}
	return ""
}

// refused is why the application does not start with a value; "" where it does.
func (s *springScope) refused(key string, v springValue) string {
	key, pool := strings.CutPrefix(key, hikariPrefix)
	if !pool || v.why != "" {
		return ""
	}
	n, ok := v.number()
	switch {
	case !ok && (key == "maximum-pool-size" || key == "minimum-idle"):
		return "it is no number"
	case !ok:
		return "it is no number of milliseconds, and a duration such as 30s is not taken here"
	case key == "connection-timeout" && n != 0 && n < hikariFloor, key == "validation-timeout" && n < hikariFloor:
		return "it is in milliseconds, and less than 250 is refused"
	case key == "maximum-pool-size" && n < 1:
		return "a pool has at least one connection"
	case n < 0 && (key == "idle-timeout" || key == "minimum-idle"):
		return "it is negative"
	}
	return ""
}

// ignored is why nobody reads a setting; "" where it is read, or where that depends on a version that is not known.
func (s *springScope) ignored(key string, v springValue) string {
	n, isNumber := v.number()
	known := s.app.jar != nil
	switch key {
	case "server.connection-timeout":
		if s.app.notBefore(3, 0) {
			return "Spring Boot " + s.app.jar.boot + " has no such property any more: it is server.tomcat.connection-timeout"
		}
	case "server.tomcat.max-threads":
		if s.app.notBefore(3, 0) {
			return "Spring Boot " + s.app.jar.boot + " has no such property any more: it is server.tomcat.threads.max"
		}
	case "server.tomcat.threads.max":
		if known && !s.app.notBefore(2, 3) {
			return "Spring Boot " + s.app.jar.boot + " has no such property yet: it is server.tomcat.max-threads"
		}
	case "server.tomcat.keep-alive-timeout", "server.tomcat.max-keep-alive-requests":
		if known && !s.app.notBefore(2, 5) {
			return "Spring Boot " + s.app.jar.boot + " has no such property yet: it came with 2.5"
		}
	}
	switch key {
	case "server.tomcat.max-threads", "server.tomcat.threads.max", "server.tomcat.max-connections", "server.tomcat.accept-count":
		if isNumber && n <= 0 {
			return "Spring Boot hands only positive numbers to Tomcat, so that Tomcat's default stays"
		}
	}
	return ""
}
