package report

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// writeAnsible writes a list of tasks. Each names its file, for the module's default is /etc/sysctl.conf whatever the loader
// reads; and none reloads the file, for that would set all its other lines, too: sysctl_set sets the one key.
func writeAnsible(d *patchDoc) error {
	d.buf.WriteString("---\n")
	d.title(fmt.Sprintf("changes of safety %q and above, as tasks; the collection ansible.posix is needed", d.o.Include))
	for _, c := range d.Commands {
		if !d.setsRunning(c.Key) {
			d.sayf(0, "no task sets %s in the kernel that runs, this does:", c.Key)
			d.command(sysctlCommand(c.Key, c.Value))
		}
	}
	d.rest()
	for _, s := range d.Settings {
		if s.Path == "" {
			continue
		}
		for _, name := range s.Names {
			d.task(s, name)
		}
	}
	return nil
}

// setsRunning reports whether a task sets a key in a file, and with it in the running kernel.
func (d *patchDoc) setsRunning(key string) bool {
	return slices.ContainsFunc(d.Settings, func(s advisor.PatchedSetting) bool { return s.Key == key && s.Path != "" && !s.Remove })
}

func (d *patchDoc) task(s advisor.PatchedSetting, name string) {
	d.buf.WriteString("\n")
	for i, rule := range s.Rules {
		d.sayf(0, "%s (%s): %s", rule, s.Safety, s.Reasons[i])
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
