package host

import (
	"bytes"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// ansibleTask is one use of the module ansible.posix.sysctl on a file.
type ansibleTask struct {
	name   string // the key as the file spells it: the module compares text
	value  string
	absent bool
}

// task notes a task; the module edits all lines of a key at once.
func (e *editing) task(t ansibleTask) {
	for _, old := range e.tasks {
		if old.name == t.name {
			return
		}
	}
	e.tasks = append(e.tasks, t)
}

// apply does what the module does (plugins/modules/sysctl.py of ansible.posix 1.4, fix_lines and write_sysctl): it writes
// each assignment anew as KEY=VALUE, once, at the place and with the value of its first line. Of a key with two values, which
// had the last, the first one is left: that is why what it makes of a file is judged again.
func (t ansibleTask) apply(data []byte) []byte {
	var out bytes.Buffer
	seen := map[string]bool{}
	for raw := range strings.Lines(universalNewlines(string(data))) {
		line := strings.TrimFunc(raw, isPythonSpace)
		if line == "" || line[0] == '#' || line[0] == ';' || !strings.Contains(line, "=") {
			out.WriteString(line + "\n")
			continue
		}
		k, v, _ := strings.Cut(line, "=")
		k, v = strings.TrimFunc(k, isPythonSpace), strings.TrimFunc(v, isPythonSpace)
		switch {
		case seen[k]:
			continue
		case k != t.name:
			out.WriteString(strings.TrimFunc(k+"="+v, isPythonSpace) + "\n")
		case !t.absent:
			out.WriteString(k + "=" + t.value + "\n")
		}
		seen[k] = true
	}
	if !seen[t.name] && !t.absent {
		out.WriteString(t.name + "=" + t.value + "\n")
	}
	return out.Bytes()
}

// universalNewlines is how Python's open(FILE, "r") reads line ends.
func universalNewlines(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// isPythonSpace is str.isspace within ASCII, and the other blanks that str.strip takes off.
func isPythonSpace(r rune) bool {
	switch r {
	case ' ', '\t', '\n', '\v', '\f', '\r', 0x1c, 0x1d, 0x1e, 0x1f, 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000:
		return true
	}
	return r >= 0x2000 && r <= 0x200a
}

// edited is some whole lines of a file, and what edits make of them.
type edited struct {
	lines conf.Span
	edits []conf.Edit
}

// asReplaces are uses of the module ansible.builtin.replace that make of a file what it is to become, and nothing of that a second
// time; why says that there are none.
func (e *editing) asReplaces(data []byte) (all []advisor.PatchedReplace, why string) {
	var parts []edited
	for _, edit := range e.allEdits() {
		lines := e.wholeLines(edit)
		if n := len(parts) - 1; n >= 0 && lines.Start < parts[n].lines.End {
			parts[n].lines.End = max(parts[n].lines.End, lines.End)
			parts[n].edits = append(parts[n].edits, edit)
			continue
		}
		parts = append(parts, edited{lines, []conf.Edit{edit}})
	}
	alike := map[[2]string]int{}
	for _, part := range parts {
		alike[e.replace(part)]++
	}
	at := map[[2]string]int{} // in all
	made, again := e.old, data
	for _, part := range parts {
		r := e.replace(part)
		const most = 10 // lines before, to tell it from others
		for range most {
			if bytes.Count(e.old, []byte(r[0])) == alike[r] || part.lines.Start == 0 {
				break
			}
			part.lines.Start = bytes.LastIndexByte(e.old[:part.lines.Start-1], '\n') + 1
			r = e.replace(part)
			alike[r] = 1
		}
		i, known := at[r]
		if !known {
			i, at[r] = len(all), len(all)
			all = append(all, advisor.PatchedReplace{Path: e.path, Old: r[0], New: r[1]})
			made, again = replaceLines(made, all[i]), replaceLines(again, all[i])
		}
		all[i].Hunks = append(all[i].Hunks, e.hunksIn(part.lines)...)
	}
	if !bytes.Equal(made, data) || !bytes.Equal(again, data) {
		return nil, "no module of Ansible makes exactly this edit of " + e.path + ": --format diff does"
	}
	return all, ""
}

// wholeLines are the lines that an edit touches; for new lines the one before them, which says where they go.
func (e *editing) wholeLines(edit conf.Edit) conf.Span {
	s := edit.Span
	if s.Len() == 0 && s.Start > 0 && e.old[s.Start-1] == '\n' {
		s.Start--
	}
	s.Start = bytes.LastIndexByte(e.old[:s.Start], '\n') + 1
	if s.End == 0 || e.old[s.End-1] != '\n' {
		if n := bytes.IndexByte(e.old[s.End:], '\n'); n >= 0 {
			s.End += n + 1
		} else {
			s.End = len(e.old)
		}
	}
	return s
}

// replace is the old lines and the new ones.
func (e *editing) replace(part edited) (r [2]string) {
	edits := slices.Clone(part.edits)
	for i := range edits {
		edits[i].Span.Start -= part.lines.Start
		edits[i].Span.End -= part.lines.Start
	}
	old := e.old[part.lines.Start:part.lines.End]
	data, err := conf.Apply(old, edits)
	if err != nil {
		data = old // content has failed as well
	}
	return [2]string{string(old), string(data)}
}

func (e *editing) hunksIn(lines conf.Span) (all []advisor.Hunk) {
	first, last := e.line(lines.Start), e.line(max(lines.End-1, 0))
	for _, h := range e.hunks {
		if first <= h.Line && h.Line <= last {
			all = append(all, h.Hunk)
		}
	}
	return all
}

// replaceLines does what the module does with the expression that the report writes: the old lines where a line begins, unless what
// the new ones add stands below them.
func replaceLines(data []byte, r advisor.PatchedReplace) []byte {
	var out bytes.Buffer
	for at := 0; ; {
		n := bytes.Index(data[at:], []byte(r.Old))
		if n < 0 || r.Old == "" {
			out.Write(data[at:])
			return out.Bytes()
		}
		rest := data[at+n+len(r.Old):]
		adds, adding := strings.CutPrefix(r.New, r.Old)
		switch {
		case at+n > 0 && data[at+n-1] != '\n', adding && bytes.HasPrefix(rest, []byte(adds)):
			out.Write(data[at : at+n+1])
			at += n + 1
		default:
			out.Write(data[at : at+n])
			out.WriteString(r.New)
			at += n + len(r.Old)
		}
	}
}
