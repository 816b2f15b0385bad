package report

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// writeAnsible writes a list of tasks. Each names its file, for the module's default is /etc/sysctl.conf whatever the loader
// reads; and none reloads the file, for that would set all its other lines, too: sysctl_set sets the one key.
func writeAnsible(d *patchDoc) error {
	d.buf.WriteString("---\n")
	needs := ""
	if len(d.Settings) > 0 {
		needs = "; the collection ansible.posix is needed"
	}
	d.title(fmt.Sprintf("changes of safety %q and above, as tasks%s", d.o.Include, needs))
	for _, c := range d.Commands {
		if !d.setsRunning(c.Key) {
			d.sayf("no task sets %s in the kernel that runs, this does:", c.Key)
			d.command(sysctlCommand(c.Key, c.Value))
		}
	}
	d.servicesAfter()
	d.rest()
	for _, s := range d.Settings {
		if s.Path == "" {
			continue
		}
		for _, name := range s.Names {
			d.task(s, name)
		}
	}
	for _, r := range d.Replaces {
		d.replaceTask(r)
	}
	for _, f := range d.NewFiles {
		if !slices.ContainsFunc(d.Settings, func(s advisor.PatchedSetting) bool { return s.Path == f.Path }) {
			d.copyTask(f)
		}
	}
	return nil
}

func (d *patchDoc) reasons(hunks []advisor.Hunk) {
	d.buf.WriteString("\n")
	for _, h := range hunks {
		d.hunk(h.What, h)
	}
}

// replaceTask writes lines in the place of others. The expression does not match what the task has made, so that it changes
// nothing when it runs again.
func (d *patchDoc) replaceTask(r advisor.PatchedReplace) {
	d.reasons(r.Hunks)
	tabs := strings.NewReplacer("\t", `\t`) // Python undoes it in both, and ansible-lint wants none
	expression := "^" + regexp.QuoteMeta(r.Old)
	if added, ok := strings.CutPrefix(r.New, r.Old); ok {
		expression += "(?!" + regexp.QuoteMeta(added) + ")"
	}
	fmt.Fprintf(&d.buf, "- name: %s\n  ansible.builtin.replace:\n    path: %s\n    regexp: %s\n    replace: %s\n",
		yamlText(changed(r.Hunks, r.Path)), yamlText(r.Path), yamlFolded(tabs.Replace(expression)), yamlFolded(tabs.Replace(strings.ReplaceAll(r.New, `\`, `\\`))))
}

// changed names a task: "Change keepalive_timeout in FILE".
func changed(hunks []advisor.Hunk, path string) string {
	var names []string
	for _, h := range hunks {
		if name, _, _ := strings.Cut(h.What, ": "); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return fmt.Sprintf("Change %s in %s", strings.Join(names, ", "), path)
}

// copyTask writes a new file, below a directory that may be new as well.
func (d *patchDoc) copyTask(f advisor.FileEdit) {
	dir := path.Dir(f.Path)
	d.reasons(f.Hunks)
	fmt.Fprintf(&d.buf, "- name: %s\n  ansible.builtin.file:\n    path: %s\n    state: directory\n    owner: root\n    group: root\n    mode: \"0755\"\n\n",
		yamlText("Have the directory "+dir), yamlText(dir))
	fmt.Fprintf(&d.buf, "- name: %s\n  ansible.builtin.copy:\n    dest: %s\n    content: %s\n    owner: root\n    group: root\n    mode: \"0644\"\n",
		yamlText("Write "+f.Path), yamlText(f.Path), yamlFolded(string(f.New)))
}

// setsRunning reports whether a task sets a key in a file, and with it in the running kernel.
func (d *patchDoc) setsRunning(key string) bool {
	return slices.ContainsFunc(d.Settings, func(s advisor.PatchedSetting) bool { return s.Key == key && s.Path != "" && !s.Remove })
}

func (d *patchDoc) task(s advisor.PatchedSetting, name string) {
	d.buf.WriteString("\n")
	for i, rule := range s.Rules {
		d.sayf("%s (%s): %s", rule, s.Safety, s.Reasons[i])
	}
	title := fmt.Sprintf("Set %s in %s", s.Key, s.Path)
	if s.Remove {
		title = fmt.Sprintf("Remove %s from %s", s.Key, s.Path)
	}
	fmt.Fprintf(&d.buf, "- name: %s\n  ansible.posix.sysctl:\n    name: %s\n", yamlText(title), yamlText(name))
	if !s.Remove {
		fmt.Fprintf(&d.buf, "    value: %s\n", yamlQuoted(s.Value))
	}
	state := "present"
	if s.Remove {
		state = "absent"
	}
	fmt.Fprintf(&d.buf, "    state: %s\n    sysctl_file: %s\n", state, yamlText(s.Path))
	if !s.Remove && slices.ContainsFunc(d.Commands, func(c advisor.PatchedCommand) bool { return c.Key == s.Key }) {
		d.buf.WriteString("    sysctl_set: true\n")
	}
	d.buf.WriteString("    reload: false\n")
}

var yamlPlain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./ -]*[A-Za-z0-9_./-]$`)

// yamlText is a text as YAML; plain where no reader could take it for anything else.
func yamlText(s string) string {
	switch strings.ToLower(s) {
	case "yes", "no", "on", "off", "true", "false", "null":
		return yamlQuoted(s)
	}
	if yamlPlain.MatchString(s) {
		return s
	}
	return yamlQuoted(s)
}

// yamlFolded is a text in double quotes, broken after the ends of its lines and where it gets long: a backslash at the end of a
// line joins it with the next, whose blanks are left out (https://yaml.org/spec/1.2.2/#731-double-quoted-style).
func yamlFolded(s string) string {
	const columns = 100
	quoted := yamlQuoted(s)
	var b strings.Builder
	for len(quoted) > columns {
		at := 0 // behind the last escape or character that fits
		for i := 0; i < columns; {
			n := 1
			switch {
			case quoted[i] == '\\' && quoted[i+1] == 'u':
				n = len(`\u0000`)
			case quoted[i] == '\\':
				n = 2
			}
			for i+n < len(quoted) && !utf8.RuneStart(quoted[i+n]) {
				n++
			}
			i += n
			at = i
		}
		b.WriteString(quoted[:at] + "\\\n      ")
		if quoted = quoted[at:]; quoted[0] == ' ' {
			b.WriteByte('\\') // a blank that counts
		}
	}
	return b.String() + quoted
}

// yamlQuoted is a text in double quotes, whose escapes YAML shares with JSON. Ansible takes braces for a template, unless the
// text is tagged.
func yamlQuoted(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return `""` // no string is refused
	}
	quoted := strings.TrimSuffix(b.String(), "\n")
	if strings.Contains(s, "{{") || strings.Contains(s, "{%") || strings.Contains(s, "{#") {
		return "!unsafe " + quoted
	}
	return quoted
}
