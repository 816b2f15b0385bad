package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// etc is where the administrator's files are: all else that a loader reads belongs to a package, or is made at boot.
const (
	etc       = "/etc/"
	dropInDir = "/etc/sysctl.d"
)

// contextLines are shown around an edit by a unified diff: what they hold is shown, too.
const contextLines = 3

// editing is one file that is being changed.
type editing struct {
	path    string
	old     []byte
	created bool
	syntax  *conf.SysctlFile
	edits   []conf.Edit
	tasks   []ansibleTask // in the style of Ansible these take the place of the edits
	added   []string      // lines to add at the end
	hunks   []advisor.Hunk
	touched map[int]bool // lines edited already, from 0: a loader may read one file under two names
	changes map[*placing]bool
}

// open prepares a file for editing, once; why says that it must be left alone.
func (p *plan) open(file string) (e *editing, why string) {
	if e := p.files[file]; e != nil {
		return e, ""
	}
	if why := p.leaveAlone(file); why != "" {
		return nil, why
	}
	old, err := p.site.raw(file)
	switch {
	case err != nil:
		return nil, fmt.Sprintf("%s cannot be read: %v", file, err)
	case bytes.IndexByte(old, 0) >= 0:
		return nil, file + " holds a zero byte: it is no text"
	case p.style == advisor.PatchAnsible && !utf8.Valid(old):
		return nil, file + " is not UTF-8, which Ansible's module cannot read"
	case !p.before.hasRead(file, maskSecrets(p.site.absolute(file), old)), !p.reload.hasRead(file, maskSecrets(p.site.absolute(file), old)):
		return nil, file + " has changed since it was read: run again"
	}
	e = &editing{path: file, old: old, syntax: conf.ParseSysctl(old), touched: map[int]bool{}, changes: map[*placing]bool{}}
	p.files[file] = e
	return e, ""
}

// create prepares a new file.
func (p *plan) create(file string) *editing {
	e := p.files[file]
	if e == nil {
		e = &editing{path: file, created: true, syntax: conf.ParseSysctl(nil), touched: map[int]bool{}, changes: map[*placing]bool{}}
		p.files[file] = e
	}
	return e
}

// leaveAlone says why a file is not ours to edit; "" where it is.
func (p *plan) leaveAlone(file string) string {
	switch {
	case strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' }):
		return fmt.Sprintf("the name %q cannot stand in a diff", file)
	case p.site.alone != "":
		return p.site.refuse(file)
	case !strings.HasPrefix(file, etc):
		return file + " is not the administrator's: only files below /etc are edited"
	}
	return ""
}

// hasRead reports whether the loader read this content in a file; true also where it did not read the file at all.
func (l *sysctlLoad) hasRead(file string, data []byte) bool {
	for _, src := range l.Files {
		if src.File != file || src.Syntax == nil {
			continue
		}
		end := 0
		if n := len(src.Syntax.Lines); n > 0 {
			end = src.Syntax.Lines[n-1].Span.End
		}
		return len(data) >= end && len(data) <= end+1 && src.Syntax.Text(conf.Span{End: end}) == string(data[:end])
	}
	return true
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
	e, why := p.open(winner.File)
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
		if e, why := p.open(a.File); why == "" {
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
	written := e.syntax.Text(e.syntax.Lines[line].Key)
	if p.style == advisor.PatchAnsible {
		e.task(ansibleTask{name: written, value: value})
	} else {
		old := a.Value
		if c, ok := e.syntax.Comment(line); ok {
			old = strings.TrimRight(e.syntax.Text(conf.Span{Start: e.syntax.Lines[line].Value.Start, End: c.Start}), " \t")
		}
		edits, err := e.syntax.Set(line, respaced(old, value))
		if err != nil {
			return fmt.Sprintf("%s: %v", e.path, err)
		}
		for i := range edits { // a comment that moves above a last line without an end
			if n := edits[i].New; strings.HasSuffix(n, "\n") && !strings.HasSuffix(n, "\r\n") {
				edits[i].New = strings.TrimSuffix(n, "\n") + e.eol()
			}
		}
		e.edits = append(e.edits, edits...)
	}
	e.touched[line] = true
	p.noteHunk(e, a.Line, s, fmt.Sprintf("%s: %s -> %s", s.key, a.Value, value))
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
		e, why := p.open(a.File)
		if why != "" {
			return why
		}
		line := a.Line - 1
		if e.touched[line] {
			continue
		}
		written := e.syntax.Text(e.syntax.Lines[line].Key)
		if p.style == advisor.PatchAnsible {
			e.task(ansibleTask{name: written, absent: true})
		} else {
			edits, err := e.syntax.Remove(line)
			if err != nil {
				return fmt.Sprintf("%s: %v", e.path, err)
			}
			e.edits = append(e.edits, edits...)
			e.removeWaiver(line - 1)
		}
		e.touched[line] = true
		p.noteHunk(e, a.Line, s, fmt.Sprintf("%s: %s -> removed", s.key, a.Value))
		p.noteSetting(s, e.path, written, "", a.Value)
	}
	return ""
}

// removeWaiver takes out a waiver for a line that goes: it would fall upon the next one.
func (e *editing) removeWaiver(line int) {
	if line < 0 || e.touched[line] || e.syntax.Lines[line].Kind != conf.SysctlComment {
		return
	}
	if _, _, ok := parseWaiver(e.syntax.Text(e.syntax.Lines[line].Span)); !ok {
		return
	}
	if edits, err := e.syntax.Remove(line); err == nil {
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
		for i, rule := range s.change.Rules {
			e.added = append(e.added, comment(rule+": "+s.change.Reasons[i])...)
		}
		e.added = append(e.added, s.key+" = "+value)
	}
	p.noteHunk(e, len(e.syntax.Lines), s, fmt.Sprintf("%s: %s -> %s", s.key, p.saysNow(s), value))
	p.noteSetting(s, e.path, s.key, value, p.saysNow(s))
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
	var names []string
	for n := 90; n <= 99; n++ {
		names = append(names, fmt.Sprintf("%d-tcpadvise.conf", n))
	}
	names = append(names, "zz-tcpadvise.conf", strings.TrimSuffix(latest, ".conf")+"_tcpadvise.conf")
	if p.style != advisor.PatchDropIn {
		for _, name := range names {
			if file := dropInDir + "/" + name; taken[name] == file && name >= latest {
				if e, why := p.open(file); why == "" {
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

// confFile is /etc/sysctl.conf, which sysctl --system reads last.
func (p *plan) confFile() (e *editing, why string) {
	file, err := p.site.tree.resolve(sysctlConf)
	if err != nil {
		return p.create(sysctlConf), ""
	}
	return p.open(file)
}

// content is the file after the edits.
func (e *editing) content(style advisor.PatchStyle) ([]byte, []conf.Edit, error) {
	if style == advisor.PatchAnsible {
		data := e.old
		for _, t := range e.tasks {
			data = t.apply(data)
		}
		return data, nil, nil
	}
	edits := slices.Clone(e.edits)
	if len(e.added) > 0 {
		edits = append(edits, conf.Edit{Span: conf.Span{Start: len(e.old), End: len(e.old)}, New: e.tail()})
	}
	slices.SortStableFunc(edits, func(a, b conf.Edit) int { return a.Span.Start - b.Span.Start })
	data, err := conf.Apply(e.old, edits)
	return data, edits, err
}

// tail is the added lines, ended as the file's own are; a file without a final line end stays one.
func (e *editing) tail() string {
	eol := e.eol()
	text := strings.Join(e.added, eol)
	if len(e.old) > 0 && e.old[len(e.old)-1] != '\n' {
		return eol + text
	}
	return text + eol
}

// eol is how the file's lines end. The last one may have no end.
func (e *editing) eol() string {
	if bytes.Contains(e.old, []byte("\r\n")) && bytes.Count(e.old, []byte("\r\n")) == bytes.Count(e.old, []byte("\n")) {
		return "\r\n"
	}
	return "\n"
}

// fileEdit is the file as a patch shows it.
func (e *editing) fileEdit(style advisor.PatchStyle) (advisor.FileEdit, error) {
	data, edits, err := e.content(style)
	f := advisor.FileEdit{Path: e.path, Old: e.old, New: data, Hunks: e.hunks}
	if !e.created {
		sum := sha256.Sum256(e.old)
		f.Hash = hex.EncodeToString(sum[:])
	}
	for _, edit := range edits {
		f.Edits = append(f.Edits, advisor.TextEdit{Start: edit.Span.Start, End: edit.Span.End, New: edit.New})
	}
	slices.SortStableFunc(f.Hunks, func(a, b advisor.Hunk) int { return a.Line - b.Line })
	return f, err
}

// shownSecret is the first line, from 1, that a diff of the file would show and that holds a secret; 0 where there is none.
// The edits whose context it is are named by their lines.
func (e *editing) shownSecret() (secret int, near []int) {
	if e.created || len(e.hunks) == 0 {
		return 0, nil
	}
	lines := e.editedLines()
	for first := 0; first < len(lines); {
		last := first
		for last+1 < len(lines) && lines[last+1]-lines[last] <= 2*contextLines+1 {
			last++
		}
		for n := max(lines[first]-contextLines, 1); n <= min(lines[last]+contextLines, len(e.syntax.Lines)); n++ {
			if holdsSecret(e.syntax.Text(e.syntax.Lines[n-1].Span)) {
				return n, lines[first : last+1]
			}
		}
		first = last + 1
	}
	return 0, nil
}

// editedLines are the lines that a diff shows as changed, from 1; for added ones the last.
func (e *editing) editedLines() []int {
	var lines []int
	for line := range e.touched {
		lines = append(lines, line+1)
	}
	if len(e.added) > 0 {
		lines = append(lines, max(len(e.syntax.Lines), 1))
	}
	slices.Sort(lines)
	return lines
}

// holdsSecret reports whether a line is one that maskSecrets masks, or has masked, or would if it were shorter.
func holdsSecret(line string) bool {
	if !holdsSecretWord([]byte(line)) {
		return false
	}
	const long = 4096 // as in maskLine
	return len(line) > long || secretSetting.MatchString(line) || urlUserinfo.MatchString(line)
}

var managers = regexp.MustCompile(`(?i)^\s*[#;].*\b(ansible|puppet|chef|cloud-init)\b`)

var managing = regexp.MustCompile(`(?i)\b(managed|generated|created|written|rendered|maintained|controlled|do not edit|don't edit|overwritten)\b`)

// managedBy is the tool that the comments at the top of a file say to manage it; "" where they name none.
func managedBy(data []byte) string {
	const top = 40 // lines
	names := map[string]string{"ansible": "Ansible", "puppet": "Puppet", "chef": "Chef", "cloud-init": "cloud-init"}
	n := 0
	for line := range bytes.Lines(data) {
		if n++; n > top || len(line) > 1000 {
			break
		}
		if m := managers.FindSubmatch(line); m != nil && managing.Match(line) {
			return names[strings.ToLower(string(m[1]))]
		}
	}
	return ""
}
