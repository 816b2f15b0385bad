package host

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// etc is where the administrator's files are: all else that a loader reads belongs to a package, or is made at boot.
const (
	etc       = "/etc/"
	dropInDir = "/etc/sysctl.d"
)

// openSysctl prepares a sysctl file for editing.
func (p *plan) openSysctl(file string) (e *editing, why string) {
	if e := p.files[file]; e != nil {
		return e, ""
	}
	if e, why = p.open(file, file, ownedSysctl); why != "" {
		return nil, why
	}
	for _, load := range []*sysctlLoad{p.before, p.reload} {
		src := load.read[file]
		switch {
		case src == nil || src.Syntax == nil || e.syntax == any(src.Syntax): // the loader did not read it, or it is compared already
		case !holds(src.Syntax, e.shown):
			delete(p.files, file)
			return nil, file + " has changed since it was read: run again"
		case len(e.old) > 0 && &e.old[0] == &e.shown[0]: // it has no secrets
			e.syntax = src.Syntax
		}
	}
	return e, ""
}

// ownedSysctl says why a sysctl file is not the administrator's.
func ownedSysctl(file string) string {
	if strings.HasPrefix(file, etc) {
		return ""
	}
	return file + " is not the administrator's: only files below /etc are edited"
}

func (e *editing) sysctl() *conf.SysctlFile { return parsed(e.original, conf.ParseSysctl) }

// holds reports whether a file is parsed from this content.
func holds(f *conf.SysctlFile, data []byte) bool {
	text := allLines(f)
	return len(data) >= len(text) && len(data) <= len(text)+1 && text == string(data[:len(text)])
}

// allLines is the text of a file, but for the end of its last line.
func allLines(f *conf.SysctlFile) string {
	if len(f.Lines) == 0 {
		return ""
	}
	return f.Text(conf.Span{End: f.Lines[len(f.Lines)-1].Span.End})
}

// assignments are the lines that assign a key by name, in the order read; a line that is read twice counts once.
func (l *sysctlLoad) assignments(key string) []sysctlAssignment {
	var all []sysctlAssignment
	for _, i := range l.byKey[key] {
		a := l.All[i]
		again := func(b sysctlAssignment) bool { return a.File == b.File && a.Line == b.Line }
		if !a.Exclude && !slices.ContainsFunc(all, again) {
			all = append(all, a)
		}
	}
	return all
}

// assignments are the lines for a key that a boot reads, and those that only `sysctl --system` does: what a person types next
// week must not bring the old value back.
func (p *plan) assignments(key string) []sysctlAssignment {
	all := p.before.assignments(key)
	for _, a := range p.reload.assignments(key) {
		if !slices.ContainsFunc(all, func(b sysctlAssignment) bool { return a.File == b.File && a.Line == b.Line }) {
			all = append(all, a)
		}
	}
	return all
}

// setInPlace gives the winning line of a key its new value, and with it all lines that say the same and lose: else these
// would contradict it.
func (p *plan) setInPlace(s *placing, value string) (why string) {
	w, ok := p.before.winner(s.key)
	if !ok {
		return "no line sets it"
	}
	winner := p.before.All[w.From]
	if winner.Glob {
		return fmt.Sprintf("the pattern in %s:%d sets it, together with others", winner.File, winner.Line)
	}
	e, why := p.openSysctl(winner.File)
	if why != "" {
		return why
	}
	if why := p.setLine(e, winner, s, value); why != "" {
		return why
	}
	for _, a := range p.assignments(s.key) {
		if !p.site.catalogue.SameValue(s.key, a.Value, winner.Value) {
			continue
		}
		if e, why := p.openSysctl(a.File); why == "" {
			p.setLine(e, a, s, value) // a line that cannot be edited loses as it did before
		}
	}
	return ""
}

func (p *plan) setLine(e *editing, a sysctlAssignment, s *placing, value string) (why string) {
	line := a.Line - 1
	if e.touched[line] {
		return ""
	}
	written := e.sysctl().Text(e.sysctl().Lines[line].Key)
	if p.style == advisor.PatchAnsible {
		e.task(ansibleTask{name: written, value: value})
	} else {
		old := a.Value
		if c, ok := e.sysctl().Comment(line); ok {
			old = strings.TrimRight(e.sysctl().Text(conf.Span{Start: e.sysctl().Lines[line].Value.Start, End: c.Start}), " \t")
		}
		edits, err := e.sysctl().Set(line, respaced(old, value))
		if err != nil {
			return fmt.Sprintf("%s: %v", e.path, err)
		}
		for i := range edits { // a comment that moves above a last line without an end
			if n := edits[i].New; strings.HasSuffix(n, "\n") && !strings.HasSuffix(n, "\r\n") {
				edits[i].New = strings.TrimSuffix(n, "\n") + e.eol()
			}
		}
		for _, edit := range edits {
			e.edit(edit)
		}
	}
	e.touched[line] = true
	e.noteHunk(a.Line, s, fmt.Sprintf("%s: %s -> %s", s.key, a.Value, value))
	p.noteSetting(s, e.path, written, value, a.Value)
	return ""
}

// respaced writes numbers with the blanks that stood between the old ones.
func respaced(old, value string) string {
	from, to := strings.Fields(old), strings.Fields(value)
	if len(from) != len(to) || len(to) < 2 {
		return value
	}
	var b strings.Builder
	for i, number := range to {
		at := strings.Index(old, from[i])
		b.WriteString(old[:at] + number)
		old = old[at+len(from[i]):]
	}
	return b.String()
}

// remove takes all lines of a key out of the administrator's files. Comments beside them stay.
func (p *plan) remove(s *placing) (why string) {
	for _, a := range p.assignments(s.key) {
		if p.site.alone == "" && !strings.HasPrefix(a.File, etc) {
			continue // overridden, or withheld, when the files are read again
		}
		e, why := p.openSysctl(a.File)
		if why != "" {
			return why
		}
		line := a.Line - 1
		if e.touched[line] {
			continue
		}
		written := e.sysctl().Text(e.sysctl().Lines[line].Key)
		if p.style == advisor.PatchAnsible {
			e.task(ansibleTask{name: written, absent: true})
		} else {
			edits, err := e.sysctl().Remove(line)
			if err != nil {
				return fmt.Sprintf("%s: %v", e.path, err)
			}
			e.edits = append(e.edits, edits...)
			e.removeWaiver(line - 1)
		}
		e.touched[line] = true
		e.noteHunk(a.Line, s, fmt.Sprintf("%s: %s -> removed", s.key, a.Value))
		p.noteSetting(s, e.path, written, "", a.Value)
	}
	return ""
}

// removeWaiver takes out a waiver for a line that goes: it would fall upon the next one.
func (e *editing) removeWaiver(line int) {
	if line < 0 || e.touched[line] || e.sysctl().Lines[line].Kind != conf.SysctlComment {
		return
	}
	if _, _, ok := parseWaiver(e.sysctl().Text(e.sysctl().Lines[line].Span)); !ok {
		return
	}
	if edits, err := e.sysctl().Remove(line); err == nil {
		e.edits = append(e.edits, edits...)
		e.touched[line] = true
	}
}

// add puts a line at the end of a file, below the reasons for it.
func (p *plan) add(e *editing, s *placing, value string) {
	if p.style == advisor.PatchAnsible {
		e.task(ansibleTask{name: s.key, value: value})
	} else {
		if e.created && len(e.added) > 0 {
			e.added = append(e.added, "")
		}
		e.addReasons(s.change)
		e.added = append(e.added, s.key+" = "+value)
	}
	e.noteHunk(len(e.sysctl().Lines), s, fmt.Sprintf("%s: %s -> %s", s.key, p.saysNow(s), value))
	p.noteSetting(s, e.path, s.key, value, p.saysNow(s))
}

// addReasons says who wants what is added next.
func (e *editing) addReasons(c advisor.Change) {
	for i, rule := range c.Rules {
		e.added = append(e.added, comment(rule+": "+c.Reasons[i])...)
	}
}

// comment breaks a text into lines of a sysctl file; what could end a line or hide in one becomes a question mark.
func comment(text string) []string {
	const columns = 110
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xFFFD || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
	var lines []string
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line) > 4 && len(line)+1+len(word) > columns {
			lines = append(lines, line)
			line = "#  "
		}
		line += " " + word
	}
	return append(lines, line)
}

// saysNow is the present value in words.
func (p *plan) saysNow(s *placing) string {
	if w, ok := p.before.winner(s.key); ok {
		return w.Value
	}
	return "not set"
}

// addToDropIn puts settings into a file of sysctl.d that is read after all other lines of these keys.
func (p *plan) addToDropIn(steps []*placing) {
	if len(steps) == 0 {
		return
	}
	e, why := p.dropIn(steps)
	for _, s := range steps {
		if why != "" {
			p.fault(s, why)
			continue
		}
		p.add(e, s, s.value())
	}
}

// dropIn chooses the file: one of ours where that comes late enough, else a new name. sysctl.d(5) gives 60 to 90 to the
// administrator; names are compared as bytes, whatever the directory.
func (p *plan) dropIn(steps []*placing) (e *editing, why string) {
	if p.site.onlyConf {
		return p.confFile()
	}
	if real, err := p.site.tree.resolve(dropInDir); err == nil && real != dropInDir {
		return nil, dropInDir + " is a link to " + real
	}
	latest := ""
	for _, s := range steps {
		for _, c := range p.before.chain(s.key) {
			if a := p.before.All[c.Index]; a.Path != sysctlConf || p.before.systemd {
				latest = max(latest, path.Base(a.Path))
			}
		}
	}
	taken := map[string]string{}
	for _, src := range p.before.Files {
		taken[path.Base(src.Path)] = src.Path
	}
	names := laterNames(latest)
	if p.style != advisor.PatchDropIn {
		for _, name := range names {
			if file := dropInDir + "/" + name; taken[name] == file && name >= latest {
				if e, why := p.openSysctl(file); why == "" {
					return e, ""
				}
			}
		}
	}
	for _, name := range names {
		if _, exists := taken[name]; !exists && name > latest {
			return p.create(dropInDir + "/" + name), ""
		}
	}
	return nil, "no name is free that is read after " + latest
}

// laterNames are names for a drop-in; the last of them comes after the latest one of others, whatever that is.
func laterNames(latest string) (names []string) {
	for n := 90; n <= 99; n++ {
		names = append(names, fmt.Sprintf("%d-tcpadvise.conf", n))
	}
	return append(names, "zz-tcpadvise.conf", strings.TrimSuffix(latest, ".conf")+"_tcpadvise.conf")
}

// confFile is /etc/sysctl.conf, which sysctl --system reads last.
func (p *plan) confFile() (e *editing, why string) {
	file, err := p.site.tree.resolve(sysctlConf)
	if err != nil {
		return p.create(sysctlConf), ""
	}
	return p.openSysctl(file)
}
