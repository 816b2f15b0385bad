package host

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// contextLines are shown around an edit by a unified diff: what they hold is shown, too.
const contextLines = 3

// original is a file as it is before a patch. It is read and parsed once, however many attempts are made.
type original struct {
	path   string
	old    []byte
	shown  []byte        // without secrets, as the collectors read it
	sum    func() string // SHA-256 of old, made beside the rest
	syntax any           // by the parser of the kind of settings that are changed in it; nil: not parsed yet
}

// parsed is the original's syntax, by a parser that is run once.
func parsed[T any](s *original, parse func([]byte) T) T {
	if _, ok := s.syntax.(T); !ok {
		s.syntax = parse(s.old)
	}
	return s.syntax.(T) //nolint:forcetypeassert // made a line above
}

// editing is one file that is being changed.
type editing struct {
	*original
	created  bool
	edits    []conf.Edit
	tasks    []ansibleTask            // for kernel parameters in the style of Ansible: these take the place of the edits
	replaces []advisor.PatchedReplace // for other settings in that style: what makes the edits
	added    []string                 // lines to add at the end
	hunks    []hunk
	inserted map[string]*placing // what was added by whom: another change may want the same
	touched  map[int]bool        // lines or directives edited already: a loader may read one file under two names
	changes  map[*placing]bool
}

// hunk is one edit's reasons, and the change that it is a part of.
type hunk struct {
	advisor.Hunk
	by *placing
}

func newEditing(src *original, created bool) *editing {
	return &editing{original: src, created: created, touched: map[int]bool{}, inserted: map[string]*placing{}, changes: map[*placing]bool{}}
}

// open prepares a file for editing, once; why says that it must be left alone. asked is the name under which a collector
// read it, which may be that of a link.
func (p *plan) open(file, asked string, owned func(string) string) (e *editing, why string) {
	if e := p.files[file]; e != nil {
		return e, ""
	}
	if why := p.leaveAlone(file, owned); why != "" {
		return nil, why
	}
	src, why := p.site.original(file, asked)
	switch {
	case why != "":
		return nil, why
	case p.style == advisor.PatchAnsible && !utf8.Valid(src.old):
		return nil, file + " is not UTF-8, which Ansible's modules cannot read"
	}
	e = newEditing(src, false)
	p.files[file] = e
	return e, ""
}

// original reads a file to edit, once.
func (s *site) original(file, asked string) (src *original, why string) {
	if src := s.originals[file]; src != nil {
		return src, ""
	}
	old, err := s.raw(file)
	if err != nil {
		return nil, fmt.Sprintf("%s cannot be read: %v", file, err)
	}
	src = &original{path: file, old: old, shown: old}
	same := s.readings.same(file, old)
	if !same || s.alone != "" { // else it holds no secret: it was read without any
		src.shown = maskSecrets(s.absolute(file), old)
	}
	read := src.shown
	if s.alone != "" {
		read = old
	}
	switch {
	case bytes.IndexByte(old, 0) >= 0:
		return nil, file + " holds a zero byte: it is no text"
	case !same && s.readings.changed(file, read), asked != file && s.readings.changed(asked, read):
		return nil, file + " has changed since it was read: run again"
	}
	if s.originals == nil {
		s.originals = map[string]*original{}
	}
	src.sum = sumBeside(old)
	s.originals[file] = src
	return src, ""
}

// sumBeside begins to make a SHA-256, and returns what waits for it.
func sumBeside(data []byte) func() string {
	done := make(chan string, 1)
	go func() {
		sum := sha256.Sum256(data)
		done <- hex.EncodeToString(sum[:])
	}()
	return sync.OnceValue(func() string { return <-done })
}

// withoutSecrets is the file after the edits as collectors read it. Of one that holds no secret before only what is new can be one.
func (e *editing) withoutSecrets(data []byte) []byte {
	plain := len(e.old) > 0 && identical(e.old, e.shown) && len(e.tasks) == 0
	for _, edit := range e.allEdits() {
		plain = plain && len(suspectLines([]byte(e.replace(edited{e.wholeLines(edit), []conf.Edit{edit}})[1]))) == 0
	}
	if plain {
		return data
	}
	return maskSecrets(e.path, data)
}

// create prepares a new file.
func (p *plan) create(file string) *editing {
	e := p.files[file]
	if e == nil {
		e = newEditing(&original{path: file}, true)
		p.files[file] = e
	}
	return e
}

// leaveAlone says why a file is not ours to edit; "" where it is. owned says why it is not the administrator's.
func (p *plan) leaveAlone(file string, owned func(string) string) string {
	switch {
	case strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' }):
		return fmt.Sprintf("the name %q cannot stand in a diff", file)
	case p.site.alone != "":
		return p.site.refuse(file)
	}
	return owned(file)
}

// noteHunk notes why a line is edited. A line that is read twice is edited once.
func (e *editing) noteHunk(line int, s *placing, what string) {
	c := s.change
	if slices.ContainsFunc(e.hunks, func(h hunk) bool { return h.by == s && h.Line == line && h.What == what }) {
		return
	}
	e.hunks = append(e.hunks, hunk{advisor.Hunk{Line: line, What: what, Safety: c.Safety, Rules: c.Rules, Reasons: c.Reasons}, s})
	e.changes[s] = true
}

// allEdits are the edits in order, with the lines to add.
func (e *editing) allEdits() []conf.Edit {
	edits := slices.Clone(e.edits)
	if len(e.added) > 0 {
		edits = append(edits, conf.Edit{Span: conf.Span{Start: len(e.old), End: len(e.old)}, New: e.tail()})
	}
	slices.SortStableFunc(edits, func(a, b conf.Edit) int { return cmp.Compare(a.Span.Start, b.Span.Start) })
	return edits
}

// content is the file after the edits, or after the tasks that take their place.
func (e *editing) content() ([]byte, error) {
	if len(e.tasks) > 0 {
		data := e.old
		for _, t := range e.tasks {
			data = t.apply(data)
		}
		return data, nil
	}
	return conf.Apply(e.old, e.allEdits())
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
func (e *editing) fileEdit(data []byte) advisor.FileEdit {
	f := advisor.FileEdit{Path: e.path, Old: e.old, New: data}
	if !e.created {
		f.Hash = e.sum()
	}
	for _, edit := range e.allEdits() {
		f.Edits = append(f.Edits, advisor.TextEdit{Start: edit.Span.Start, End: edit.Span.End, New: edit.New})
	}
	for _, h := range e.hunks {
		f.Hunks = append(f.Hunks, h.Hunk)
	}
	slices.SortStableFunc(f.Hunks, func(a, b advisor.Hunk) int { return cmp.Compare(a.Line, b.Line) })
	return f
}

// shownSecret is the first line, from 1, that a diff of the file would show and that holds a secret; 0 where there is none.
// The changes whose context it is are given with it.
func (e *editing) shownSecret() (secret int, near []*placing) {
	if e.created {
		return 0, nil
	}
	edits := e.allEdits()
	for len(edits) > 0 {
		window, n := e.shownAround(edits[0]), 1
		for ; n < len(edits); n++ {
			next := e.shownAround(edits[n])
			if next.Start > window.End {
				break
			}
			window.End = max(window.End, next.End)
		}
		if at := e.secretIn(window); at >= 0 {
			first, last := e.line(window.Start), e.line(window.End)
			for _, h := range e.hunks {
				if first <= h.Line && h.Line <= last && !slices.Contains(near, h.by) {
					near = append(near, h.by)
				}
			}
			return e.line(at), near
		}
		edits = edits[n:]
	}
	return 0, nil
}

// secretIn is where a secret of a part of the file begins; -1 where it holds none. In a capture a secret is asterisks already:
// what would be masked in their place is one, too. A line that is longer than any that is masked is not looked into.
func (e *editing) secretIn(window conf.Span) int {
	const long = 4096 // as in maskLine
	at := window.Start
	for line := range bytes.Lines(e.old[window.Start:window.End]) {
		plain := bytes.ReplaceAll(line, []byte{'*'}, []byte{'x'})
		if !bytes.Equal(line, e.shown[at:at+len(line)]) || len(line) > long && holdsSecretWord(line) ||
			!bytes.Equal(plain, maskSecrets(e.path, plain)) {
			return at
		}
		at += len(line)
	}
	return -1
}

// line is the number of the line that holds a byte, from 1.
func (e *editing) line(at int) int { return bytes.Count(e.old[:min(at, len(e.old))], []byte{'\n'}) + 1 }

// lineBefore is the number that a line of the edited file had before, from 1.
func (e *editing) lineBefore(line int) int {
	shift := 0
	for _, edit := range e.allEdits() {
		if e.line(edit.Span.Start)+shift >= line {
			break
		}
		shift += strings.Count(edit.New, "\n") - bytes.Count(e.old[edit.Span.Start:edit.Span.End], []byte{'\n'})
	}
	return line - shift
}

// shownAround is what a diff shows of the old content for an edit: the lines that it touches, and those around.
func (e *editing) shownAround(edit conf.Edit) conf.Span {
	s := edit.Span
	for range contextLines + 1 {
		if s.Start = bytes.LastIndexByte(e.old[:s.Start], '\n'); s.Start < 0 {
			break
		}
	}
	s.Start++
	lines := contextLines
	if s.End > 0 && e.old[s.End-1] != '\n' || edit.Span.Len() == 0 && !strings.HasSuffix(edit.New, "\n") { // within a line, which is shown, too
		lines++
	}
	for range lines {
		n := bytes.IndexByte(e.old[s.End:], '\n')
		if n < 0 {
			s.End = len(e.old)
			break
		}
		s.End += n + 1
	}
	return s
}

// edit notes an edit. A new line below another is moved to where the next one begins, so that a diff does not show that one
// as changed.
func (e *editing) edit(edit conf.Edit) {
	for _, eol := range []string{"\r\n", "\n"} {
		if rest, ok := strings.CutPrefix(edit.New, eol); ok && edit.Span.Len() == 0 && bytes.HasPrefix(e.old[edit.Span.Start:], []byte(eol)) {
			at := edit.Span.Start + len(eol)
			edit = conf.Edit{Span: conf.Span{Start: at, End: at}, New: rest + eol}
			break
		}
	}
	e.edits = append(e.edits, edit)
}

var managers = regexp.MustCompile(`(?i)^\s*(?:[#;]|<!--).*\b(ansible|puppet|chef|cloud-init)\b`)

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
