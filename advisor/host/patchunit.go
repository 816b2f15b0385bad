package host

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// unitKind is LimitNOFILE of a service of systemd, as unit:NAME.service:LimitNOFILE.
func unitKind() settingKind {
	return settingKind{prefix: "unit", operands: []string{"unit"}, edit: editUnit, after: restartUnit, told: "then systemctl daemon-reload and restart the service"}
}

// adminUnits is where the administrator's units and drop-ins are; what is in the other directories of /etc systemctl writes.
const adminUnits = "/etc/systemd/system/"

// editUnit sets the limit in the file of the unit that decides, where that is the administrator's and this unit's alone; else in a
// drop-in that is read after it.
func editUnit(p *plan, s *placing) (why string) {
	unit := s.place.file
	if p.site.alone != "" {
		return "a unit is more than one file: --format diff without FILE changes it"
	}
	limit := p.site.units().noFile(unit)
	text, why := unitValue(s, limit)
	if why != "" {
		return why
	}
	if limit.written && p.site.isOwnUnitFile(limit.soft.Origin.Path, unit) {
		return p.setUnit(s, limit, text)
	}
	return p.addUnitDropIn(s, limit, text)
}

// unitValue is what LimitNOFILE is set to. A hard limit that is higher stays: one number alone would lower it
// (systemd.exec(5): "soft:hard"), and a program may raise its own soft limit up to it.
func unitValue(s *placing, limit unitNoFile) (text, why string) {
	switch {
	case s.place.name != "LimitNOFILE":
		return "", s.place.name + " of a unit is changed by hand"
	case s.change.Remove:
		return "", "take it out by hand: what decides then may be another of the unit's files"
	case limit.masked:
		return "", s.place.file + " is masked"
	case limit.fragment == "" && limit.soft.State == advisor.StateKnown:
		return "", "there is no unit file of " + s.place.file
	case strings.HasPrefix(limit.fragment, "/run/systemd/transient/"):
		return "", s.place.file + " was made by systemd-run, and is gone when it stops: start it with -p LimitNOFILE="
	}
	for _, fact := range []advisor.Fact{limit.soft, limit.hard} {
		if fact.State != advisor.StateKnown {
			return "", "the present limit is not known: " + fact.Why
		}
	}
	text = limitText(s.change.To)
	_, valid := parseRlimit(text)
	switch {
	case !valid:
		return "", fmt.Sprintf("systemd does not take %q as a number of files", text)
	case s.change.To.Equal(limit.soft.Value):
		return "", limit.from + " is that already: a restart of the service takes it up"
	case above(limit.hard.Value, s.change.To):
		text += ":" + limitText(limit.hard.Value)
	}
	return text, ""
}

// limitText is a limit as systemd writes it.
func limitText(v advisor.Value) string {
	if v.Equal(advisor.Unlimited()) {
		return "infinity"
	}
	return v.String()
}

// isOwnUnitFile reports whether a file is the administrator's, and of no other unit: a drop-in of a template, or a file that a link
// leads to, may be.
func (s *site) isOwnUnitFile(file, unit string) bool {
	real, err := s.tree.resolve(file)
	return err == nil && (real == adminUnits+unit || path.Dir(real) == adminUnits+unit+".d")
}

// setUnit edits the assignment that decides.
func (p *plan) setUnit(s *placing, limit unitNoFile, text string) (why string) {
	e, why := p.openService(limit.soft.Origin.Path)
	if why != "" {
		return why
	}
	f := parsed(e.original, conf.ParseUnit)
	at := slices.IndexFunc(f.Assignments, func(a conf.UnitAssignment) bool {
		return a.Key == s.place.name && a.Value.Start == limit.soft.Origin.Start && a.Text == limit.text
	})
	if at < 0 {
		return limit.place + " is not what it was: run again"
	}
	edit, err := f.Set(at, text)
	if err != nil {
		return fmt.Sprintf("%s: %v", limit.place, err)
	}
	e.edit(edit)
	e.noteHunk(e.line(edit.Span.Start), s, fmt.Sprintf("%s: %s -> %s", s.key, limit.text, text))
	return ""
}

// addUnitDropIn makes a drop-in that is read after all others that set the limit: they count in the order of their names, in whichever
// directory they are. A name that another directory has would hide, or be hidden.
func (p *plan) addUnitDropIn(s *placing, limit unitNoFile, text string) (why string) {
	u, unit := p.site.units(), s.place.file
	dir := adminUnits + unit + ".d"
	if real, err := p.site.tree.resolve(dir); err == nil && real != dir {
		return dir + " is a link to " + real
	}
	taken, latest := map[string]bool{}, ""
	for _, d := range u.present(u.dropInDirs(unit)) {
		for name := range u.in(d) {
			taken[name] = true
		}
	}
	for _, f := range u.dropIns(unit) {
		if f.last("Service", s.place.name) != nil {
			latest = path.Base(f.path)
		}
	}
	for _, name := range laterNames(latest) {
		if taken[name] || name <= latest {
			continue
		}
		file := dir + "/" + name
		if why := p.leaveAlone(file, ownedService); why != "" {
			return why
		}
		e := p.create(file)
		e.addReasons(s.change)
		e.added = append(e.added, strings.TrimSuffix(conf.UnitText("Service", s.place.name, text), "\n"))
		e.noteHunk(0, s, fmt.Sprintf("%s: %s (%s) -> %s", s.key, limitText(limit.soft.Value), limit.from, text))
		return ""
	}
	return "no name is free that is read after " + latest
}

// restartUnit is how a service gets the limit: systemd sets it before it starts a process, and never again (systemd.exec(5)).
func restartUnit(_ *plan, s *placing) advisor.PatchedService {
	return advisor.PatchedService{
		Name:        s.place.file,
		Commands:    []string{"systemctl daemon-reload && systemctl restart " + shellWord(s.place.file)},
		Connections: "a process keeps the limit that it was started with. The restart ends all of the service's open connections: take it out of the load balancer first",
	}
}

// restarted gives the processes of services whose limit is another than before that limit: they have it once they are restarted.
func (p *part) restarted(before *units, b *advisor.Builder) {
	table, now := b.Table("processes"), p.unitFiles()
	limits := map[string]*unitNoFile{} // nil: it stays
	for i, row := range table.Rows {
		unit, ok := systemUnit(row)
		if !ok {
			continue
		}
		limit, known := limits[unit]
		if !known {
			was, is := before.noFile(unit), now.noFile(unit)
			if is.soft.State == advisor.StateKnown && (!is.soft.Value.Equal(was.soft.Value) || !is.hard.Value.Equal(was.hard.Value)) {
				limit = &is
			}
			limits[unit] = limit
		}
		if limit != nil {
			table.Rows[i].Cells = maps.Clone(row.Cells)
			table.Rows[i].Cells["nofile_soft"], table.Rows[i].Cells["nofile_hard"] = limit.soft, limit.hard
		}
	}
	b.SetTable("processes", table)
}
