package host

import (
	"bytes"
	"strings"
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
