package host

import (
	"fmt"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// limitsKind are limits of open files in limits.conf(5) and limits.d, as limits:FILE:LINE:nofile.
func limitsKind() settingKind {
	return settingKind{prefix: "limits", operands: []string{"limits"}, edit: editLimits, after: func(*plan, *placing) advisor.PatchedService {
		return advisor.PatchedService{
			Connections: "sessions that are opened anew have the limit, and no connection ends; keep a root session open, and try one: su - USER -c 'ulimit -Hn'",
		}
	}}
}

func editLimits(p *plan, s *placing) (why string) {
	e, why := p.openService(s.place.file)
	if why != "" {
		return why
	}
	f := parsed(e.original, conf.ParseLimits)
	line := s.place.line - 1
	if line < 0 || line >= len(f.Lines) {
		return fmt.Sprintf("%s:%d is not what it was: run again", e.path, s.place.line)
	}
	if _, _, item, old := f.Words(line); item == s.place.name && !s.change.Remove {
		edit, err := f.Set(line, s.change.To.String())
		if err != nil {
			return fmt.Sprintf("%s:%d: %v", e.path, s.place.line, err)
		}
		e.edit(edit)
		e.noteHunk(s.place.line, s, fmt.Sprintf("%s: %s -> %s", s.key, old, s.change.To))
		return ""
	}
	return fmt.Sprintf("%s:%d sets no %s that could be changed so: change it by hand", e.path, s.place.line, s.place.name)
}
