package host

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// settingKind is a kind of settings that stand in a program's files, and how these are changed. A kind makes edits; that they
// are the right ones is proven for all kinds alike, by reading the files again and judging again.
type settingKind struct {
	prefix   string                                           // "nginx" of "nginx:FILE:LINE:DIRECTIVE"
	operands []string                                         // the types of its files among FILE operands
	edit     func(p *plan, s *placing) (why string)           // why it cannot be edited
	after    func(p *plan, s *placing) advisor.PatchedService // what the program must be told
	told     string                                           // the same in a rule's note: it is not said twice
}

// settingKinds is the one list of kinds beside kernel parameters.
func settingKinds() []settingKind {
	return []settingKind{nginxKind(), tomcatKind(), activemqKind(), springKind(), unitKind(), limitsKind()}
}

// kindOf finds the kind of a setting, and where it stands; nil for kernel parameters and what is not known here.
func kindOf(setting string) (*settingKind, settingAt) {
	prefix, rest, _ := strings.Cut(setting, ":")
	for _, k := range settingKinds() {
		if k.prefix == prefix {
			if at, ok := parseSetting(rest); ok {
				return &k, at
			}
		}
	}
	return nil, settingAt{}
}

// settingAt is where a setting stands: FILE:LINE:NAME, or OWNER:NAME where no line is known.
type settingAt struct {
	file string // as its collector named it; or what the setting belongs to, such as a unit
	line int    // from 1; 0: none
	name string // as the file writes it, with what else is needed to tell it from others
}

var settingText = regexp.MustCompile(`^(.+?):(?:(\d+):)?([^:]+)$`)

func parseSetting(text string) (settingAt, bool) {
	m := settingText.FindStringSubmatch(text)
	if m == nil {
		return settingAt{}, false
	}
	line, _ := strconv.Atoi(m[2]) // digits; those of no line are no number, and 0
	return settingAt{m[1], line, m[3]}, true
}

// ownedService says why a file of a service is not the administrator's. He has them in /etc, and in other places all over a host;
// below /usr only in /usr/local.
func ownedService(file string) string {
	for _, dir := range []string{"/usr/local/", "/usr/lib/", "/usr/", "/lib/", "/lib64/", "/bin/", "/sbin/", "/run/", "/proc/", "/sys/", "/dev/", "/boot/", "/snap/", "/nix/store/", "/gnu/store/"} {
		if strings.HasPrefix(file, dir) {
			if dir == "/usr/local/" {
				return ""
			}
			return file + " is not the administrator's: what is below " + strings.TrimSuffix(dir, "/") + " comes from a package or is made anew at boot"
		}
	}
	return ""
}

// openService prepares a service's file for editing; asked is its name as the collector read it.
func (p *plan) openService(asked string) (e *editing, why string) {
	if p.site.alone != "" {
		return p.open(asked, asked, ownedService)
	}
	file, err := p.site.tree.resolve(asked)
	if err != nil {
		return nil, fmt.Sprintf("%s cannot be read: %v", asked, err)
	}
	return p.open(file, asked, ownedService)
}

// restart is what follows for a program that reads its files when it starts. A table has its files' paths and systemd units.
func restart(name, table, connections string) func(p *plan, s *placing) advisor.PatchedService {
	return func(p *plan, s *placing) advisor.PatchedService {
		after := advisor.PatchedService{Name: name, Connections: connections}
		for row := range p.facts.Rows(table) {
			file, _ := row.Cells["path"].Value.Text()
			if unit, ok := row.Cells["unit"].Value.Text(); ok && file == s.place.file {
				after.Commands = []string{"systemctl restart " + shellWord(unit)}
			}
		}
		return after
	}
}

// waysOfKind are the ways to change a setting of a service: in its file.
func (pr *proof) waysOfKind(s *placing) (ways []way, why string) {
	switch pr.options.Style {
	case advisor.PatchCommands:
		return nil, fmt.Sprintf("no command changes it in a %s that runs: --format diff changes its file", s.kind.prefix)
	case advisor.PatchDropIn:
		return nil, "a file of sysctl.d sets kernel parameters only: --format diff changes the file that it is in"
	case advisor.PatchInPlace, advisor.PatchAnsible:
	}
	return []way{wayKind}, ""
}

// notes are what rules say must follow, without what after says for all changes of the kind.
func (s *placing) notes() (all []string) {
	for _, note := range s.change.Notes {
		if s.kind != nil && s.kind.told != "" {
			note = strings.Trim(strings.TrimSuffix(strings.TrimPrefix(note, s.kind.told), s.kind.told), ";. ")
		}
		if note != "" {
			all = append(all, s.key+": "+note)
		}
	}
	return all
}

// stays reports whether a finding is one that a change of a service's setting was to silence.
func (pr *proof) stays(f advisor.Finding, s *placing) bool {
	return f.Waived == nil && slices.ContainsFunc(pr.diagnosis.Findings, func(old advisor.Finding) bool {
		return sameFinding(old) == sameFinding(f) && slices.ContainsFunc(old.Changes, func(c advisor.ProposedChange) bool { return c.Setting == s.change.Setting })
	})
}
