package host

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// noUnits is why the tables are absent.
const noUnits = "no unit of systemd was found"

// unitFiles is the units of the host, looked at by several collectors. A collector that knows its service's unit asks
//
//	limit := p.unitFiles().noFile("tomcat10.service") // limit.soft, limit.hard, limit.from
//
// for what the service gets when it is started next; rules join the table units by its name.
func (p *part) unitFiles() *units {
	if p.units == nil {
		p.units = newUnits(p.tree)
	}
	return p.units
}

// collectUnits tells what limits of open files services get, and what sessions would.
func (p *part) collectUnits(_ context.Context, b *advisor.Builder) []advisor.Gap {
	p.units = nil // each run looks anew
	u, l := p.unitFiles(), loadLimits(p.tree)
	r := &unitRecord{units: u, limits: l, running: map[string][]advisor.Row{}}
	r.collectRunning(b.Table("processes"))
	r.findAccounts()
	names := u.candidates(slices.Collect(maps.Keys(r.running)), "nginx.service")
	for _, name := range names {
		r.unit(name)
	}
	r.lines = append(r.lines, l.rows()...)
	gaps := slices.Concat(u.gaps, l.gaps)
	incomplete := r.incomplete
	if len(gaps) > 0 {
		incomplete = cmp.Or(incomplete, gaps[0].Source+": "+gaps[0].Why)
	}
	table := advisor.Table{Rows: r.rows, Unknown: incomplete}
	if len(names) == 0 {
		table.Absent = noUnits
	}
	b.SetTable("units", table)
	lines := advisor.Table{Rows: r.lines}
	if len(gaps) > 0 {
		lines.Unknown = incomplete
	}
	b.SetTable("nofile_lines", lines)
	return gaps
}

// unitRecord turns units and limits into rows.
type unitRecord struct {
	units      *units
	limits     *loginLimits
	running    map[string][]advisor.Row // processes by unit
	accounts   map[string]*account      // nil: not asked for
	unknown    string                   // why accounts are not known
	incomplete string                   // why there may be further units
	rows       []advisor.Row
	lines      []advisor.Row
	told       map[string]bool // files whose lines are in lines
}

// collectRunning sorts the processes by the units of the system's manager.
func (r *unitRecord) collectRunning(processes advisor.Table) {
	r.incomplete = processes.Unknown
	for _, row := range processes.Rows {
		if unit, ok := systemUnit(row); ok {
			r.running[unit] = append(r.running[unit], row)
		}
	}
}

// systemUnit is the unit of the system's manager that a process belongs to.
func systemUnit(process advisor.Row) (unit string, ok bool) {
	system, _ := process.Cells["system_unit"].Value.Bool()
	unit, ok = process.Cells["unit"].Value.Text()
	return unit, ok && system && process.Cells["container"].State == advisor.StateAbsent
}

// findAccounts asks for the groups of the users who run services, if a line speaks of groups.
func (r *unitRecord) findAccounts() {
	if !r.limits.needsGroups() {
		return
	}
	names := map[string]bool{}
	for _, rows := range r.running {
		for _, row := range rows {
			if name, ok := row.Cells["user"].Value.Text(); ok {
				names[name] = true
			}
		}
	}
	found, err := findAccounts(r.units.tree, slices.Sorted(maps.Keys(names)))
	if r.accounts = found; err != nil {
		r.unknown = "the groups of users could not be read: " + err.Error()
	}
}

// unit makes the row of one service.
func (r *unitRecord) unit(name string) {
	limit := r.units.noFile(name)
	if limit.masked && len(r.running[name]) == 0 {
		return
	}
	at := advisor.Origin{Path: cmp.Or(limit.fragment, limit.soft.Origin.Path)}
	if at.Path == "" {
		at = advisor.Origin{Source: "systemd"}
	}
	cells := map[string]advisor.Fact{
		"unit": knownText(name, at), "nofile_soft": limit.soft, "nofile_hard": limit.hard,
		"nofile_written": knownBool(limit.written, at), "nofile_from": knownText(limit.from, at), "processes": knownInt(len(r.running[name]), at),
	}
	if limit.from == "" {
		cells["nofile_from"] = advisor.Unknown(limit.soft.Why, at)
		cells["nofile_written"] = cells["nofile_from"]
	}
	if limit.fragment != "" {
		cells["path"] = knownText(limit.fragment, at)
	}
	if rows := r.running[name]; len(rows) > 0 {
		r.fullest(cells, rows)
	}
	r.rows = append(r.rows, advisor.Row{Origin: at, Cells: cells})
	r.unitLines(name, limit)
}

// fullest tells of the process that uses most of its limit.
func (r *unitRecord) fullest(cells map[string]advisor.Fact, rows []advisor.Row) {
	share := func(row advisor.Row) float64 {
		used, known := row.Cells["fds"].Value.Int()
		soft, finite := row.Cells["nofile_soft"].Value.Int()
		if !known || !finite || soft == 0 {
			return -1
		}
		return float64(used) / float64(soft)
	}
	row := slices.MaxFunc(rows, func(a, b advisor.Row) int { return cmp.Compare(share(a), share(b)) })
	for to, from := range map[string]string{
		"pid": "pid", "process": "name", "user": "user", "fds": "fds", "running_soft": "nofile_soft", "running_hard": "nofile_hard",
	} {
		cells[to] = row.Cells[from]
	}
	user, ok := row.Cells["user"].Value.Text()
	uid, known := row.Cells["uid"].Value.Int()
	if !ok || !known {
		return
	}
	a := &account{name: user, uid: uid}
	if r.limits.needsGroups() {
		if a = r.accounts[user]; a == nil {
			why := advisor.Unknown(cmp.Or(r.unknown, "the user is not in /etc/passwd"), row.Origin)
			cells["login_soft"], cells["login_at"] = why, why
			return
		}
	}
	if len(r.limits.gaps) > 0 {
		why := advisor.Unknown(r.limits.gaps[0].Source+": "+r.limits.gaps[0].Why, row.Origin)
		cells["login_soft"], cells["login_at"] = why, why
		return
	}
	soft, hard := r.limits.login(a)
	if soft == nil {
		return
	}
	value := soft.value
	if hard != nil && above(value, hard.value) { // pam_limits lowers it
		value = hard.value
	}
	cells["login_soft"], cells["login_at"] = advisor.Known(value, soft.origin), knownText(soft.place(), soft.origin)
}

// above compares two limits.
func above(a, b advisor.Value) bool {
	x, finite := a.Int()
	y, bounded := b.Int()
	return bounded && (!finite || x > y)
}

// unitLines makes rows of the lines in a unit's files that set its limit, and of those of system.conf; each file once.
func (r *unitRecord) unitLines(name string, limit unitNoFile) {
	if r.told == nil {
		r.told = map[string]bool{}
		r.units.manager()
		for _, file := range slices.Sorted(maps.Keys(r.units.files)) {
			if strings.Contains(file, "/system.conf") {
				r.file(r.units.files[file], "Manager", "DefaultLimitNOFILE", everyService, r.units.preset)
			}
		}
	}
	var decides *limitSetting
	if limit.written {
		decides = &limitSetting{origin: limit.soft.Origin}
	}
	files := r.units.dropIns(name)
	if f := r.units.fragment(name); f != nil {
		files = append(files, f)
	}
	for _, f := range files {
		if !r.told[f.path] {
			r.told[f.path] = true
			r.file(f, "Service", "LimitNOFILE", name, decides)
		}
	}
}

func (r *unitRecord) file(f *unitFile, section, key, domain string, decides *limitSetting) {
	r.lines = append(r.lines, f.rows(section, key, domain, nil, decides)...)
}

// rows makes a row of each assignment of a limit. Without decides the last one that is read counts.
func (f *unitFile) rows(section, key, domain string, markers []conf.Marker, decides *limitSetting) []advisor.Row {
	if f.syntax == nil {
		return nil
	}
	var rows []advisor.Row
	last := cmp.Or(decides, f.last(section, key))
	for _, a := range f.syntax.Assignments {
		if a.Section != section || a.Key != key {
			continue
		}
		line, column := f.lines.Position(a.Value.Start)
		at := advisor.Origin{Path: f.path, Line: line, Column: column, Start: a.Value.Start, End: a.Value.End}
		cells := lineCells("unit", domain, a.Text, at)
		if f.shown != nil {
			cells["value"] = knownText(string(f.shown[a.Value.Start:a.Value.End]), at)
		}
		pair, ok := parseRlimit(a.Text)
		switch {
		case slices.ContainsFunc(markers, func(m conf.Marker) bool { return m.Span.Start < a.Value.End && a.Value.Start < m.Span.End }):
			cells["number"] = advisor.Unknown("a template fills it in", at)
		case ok:
			cells["number"] = advisor.Known(pair.hard, at)
		default:
			cells["misread"] = knownText(rlimitMisread(key, a.Text), at)
		}
		cells["decides_hard"] = knownBool(last != nil && last.origin == at, at)
		if n := cells["number"]; n.State == advisor.StateUnknown {
			cells["decides_hard"] = n
		}
		rows = append(rows, advisor.Row{Origin: at, Cells: cells})
	}
	return rows
}

func lineCells(kind, domain, value string, at advisor.Origin) map[string]advisor.Fact {
	return map[string]advisor.Fact{
		"id": knownText(fmt.Sprintf("%s:%d", at.Path, at.Line), at), "path": knownText(at.Path, at), "line": knownInt(at.Line, at),
		"kind": knownText(kind, at), "domain": knownText(domain, at), "value": knownText(value, at),
	}
}

// rlimitMisread is why systemd ignores an assignment.
func rlimitMisread(key, text string) string {
	why := "it is no number"
	first, second, _ := strings.Cut(text, ":")
	_, soft := rlimit(first)
	_, hard := rlimit(second)
	switch {
	case text == "":
		why = "an empty value takes nothing back here"
	case soft && hard:
		why = "the soft limit, in front, is above the hard one"
	case strings.ContainsAny(text, "#;"):
		why = "a comment needs a line of its own"
	case strings.EqualFold(first, "unlimited"), strings.EqualFold(second, "unlimited"):
		why = "the word is infinity"
	case strings.ContainsAny(text, `"'`):
		why = "it takes no quotes"
	case strings.ContainsAny(text, ",_ "):
		why = "it is no number: the digits must stand together"
	case strings.ContainsAny(text, "kKmMgG"):
		why = "it takes no suffixes"
	}
	return fmt.Sprintf("systemd ignores the line: %s (%s)", why, key)
}

// rows makes a row of each line of limits.conf.
func (l *loginLimits) rows() []advisor.Row {
	var rows []advisor.Row
	for i := range l.lines {
		line := &l.lines[i]
		if line.LimitsKind == conf.LimitsExempt {
			continue
		}
		cells := lineCells("limits.conf", line.domain, line.written, line.origin)
		switch {
		case line.unknown != "":
			cells["number"] = advisor.Unknown(line.unknown, line.origin)
		case !line.value.IsZero():
			cells["number"] = advisor.Known(line.value, line.origin)
		}
		if line.misread != "" {
			cells["misread"] = knownText(line.misread, line.origin)
		}
		later := slices.ContainsFunc(l.lines[i+1:], func(o limitsLine) bool {
			return o.domain == line.domain && o.sets("hard") && !o.value.IsZero()
		})
		cells["decides_hard"] = knownBool(line.sets("hard") && !line.value.IsZero() && !later, line.origin)
		rows = append(rows, advisor.Row{Origin: line.origin, Cells: cells})
	}
	return rows
}

// isUnitPath says by its name that a file is a service, a drop-in of one, or a configuration of systemd itself.
func isUnitPath(name string) bool {
	base, dir := withoutTemplateSuffix(name), filepath.Base(filepath.Dir(name))
	conf := strings.HasSuffix(base, ".conf")
	return strings.HasSuffix(base, ".service") || conf && (strings.HasSuffix(dir, ".service.d") || dir == "service.d") || isManagerPath(name)
}

func isManagerPath(name string) bool {
	base, dir := withoutTemplateSuffix(name), filepath.Base(filepath.Dir(name))
	return base == "system.conf" && dir == "systemd" || strings.HasSuffix(base, ".conf") && dir == "system.conf.d"
}

// looksLikeUnit reports whether a file has a section of a service and a key that belongs there.
func looksLikeUnit(_ string, data []byte, _ *Files, _ bool) bool {
	if len(data) > unitLimit || !hasLine(data, "[Service]") {
		return false
	}
	u := conf.ParseUnit(data)
	return u.Last("Service", "ExecStart") >= 0 || u.Last("Service", "LimitNOFILE") >= 0
}

// unitFacts is what a file says when it is judged alone.
func unitFacts(name string, data []byte, f *Files) ([]*advisor.Facts, error) {
	markers := conf.Markers(data)
	hidden := conf.HideMarkers(data, markers, 'x')
	file := &unitFile{path: name, syntax: conf.ParseUnit(hidden), lines: conf.IndexLines(data), shown: data}
	var broken error
	if u := file.syntax; u.Stopped {
		last := u.Faults[len(u.Faults)-1]
		broken = &brokenFile{line: last.Line, why: last.Message, template: len(markers) > 0 || isTemplate(name)}
	}
	unit := withoutTemplateSuffix(name)
	if dir, ok := strings.CutSuffix(filepath.Base(filepath.Dir(name)), ".d"); ok {
		unit = dir
	}
	rows := file.rows("Service", "LimitNOFILE", unit, markers, nil)
	if isManagerPath(name) {
		rows = file.rows("Manager", "DefaultLimitNOFILE", everyService, markers, nil)
	}
	return []*advisor.Facts{limitFacts(rows, f)}, broken
}

func limitFacts(rows []advisor.Row, f *Files) *advisor.Facts {
	var b advisor.Builder
	setKernel(&b, Options{Kernel: f.options.Kernel, Catalogue: f.options.Catalogue})
	b.SetTable("nofile_lines", advisor.Table{Rows: rows})
	return b.Facts()
}

// everyService stands for the unit in a row of system.conf.
const everyService = "every service"

// isLimitsPath says by its name that a file is one of limits.conf(5).
func isLimitsPath(name string) bool {
	base := withoutTemplateSuffix(name)
	return isCalled(base, "limits.conf") || strings.HasSuffix(base, ".conf") && filepath.Base(filepath.Dir(name)) == "limits.d"
}

// looksLikeLimits reports whether most lines that say something set a limit that pam_limits knows.
func looksLikeLimits(_ string, data []byte, _ *Files, _ bool) bool {
	if len(data) > unitLimit {
		return false
	}
	items := []string{
		"nofile", "nproc", "core", "data", "fsize", "memlock", "rss", "stack", "cpu", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio",
		"maxlogins", "maxsyslogins", "priority",
	}
	limits, other := 0, 0
	file := conf.ParseLimits(data)
	for i, line := range file.Lines {
		_, kind, item, _ := file.Words(i)
		switch {
		case line.Kind == conf.LimitsSet && slices.Contains(items, item) && slices.Contains([]string{"soft", "hard", "-"}, kind):
			limits++
		case line.Kind != conf.LimitsBlank:
			other++
		}
	}
	return limits > other
}

// limitsFacts is what a file of limits.conf(5) says when it is judged alone.
func limitsFacts(name string, data []byte, f *Files) ([]*advisor.Facts, error) {
	l := &loginLimits{}
	l.add(name, data, conf.Markers(data))
	return []*advisor.Facts{limitFacts(l.rows(), f)}, nil
}
