package advisor

import (
	"fmt"
	"slices"
	"strings"
)

// Withhold takes back the proposed changes of kernel parameters that cannot be made where the facts were read: refuse says why
// not, empty where a change can be made. The finding stays and says so. Removals stay too: what is removed is a line of a file.
func (d *Diagnosis) Withhold(refuse func(key string) string) {
	why := func(setting string, remove bool) (key, reason string) {
		key, ok := strings.CutPrefix(setting, "sysctl:")
		if !ok || remove {
			return key, ""
		}
		key, _ = splitElement(key)
		return key, refuse(key)
	}
	taken := false
	for i := range d.Findings {
		f := &d.Findings[i]
		f.Changes = slices.DeleteFunc(f.Changes, func(c ProposedChange) bool {
			key, reason := why(c.Setting, c.Remove)
			if reason != "" {
				f.Do = append(f.Do, fmt.Sprintf("no value is proposed for %s: %s", key, reason))
				taken = true
			}
			return reason != ""
		})
	}
	if !taken {
		return
	}
	d.wants = slices.DeleteFunc(d.wants, func(w Want) bool {
		_, reason := why(w.Setting, w.Op == OpRemove)
		return reason != ""
	})
	_, d.Conflicts = mergeWants(d.live(SafetyManual))
}

// Locate marks all findings as those of one place of the host, such as another network namespace. What they propose is for
// that place: nothing of it goes into changes of the host's files.
func (d *Diagnosis) Locate(place string) {
	for i := range d.Findings {
		f := &d.Findings[i]
		f.Subject.locate(place)
		f.cause.locate(place)
		f.Message = fmt.Sprintf("in %s: %s", place, f.Message)
	}
	for i := range d.Conflicts {
		d.Conflicts[i].Why = fmt.Sprintf("in %s: %s", place, d.Conflicts[i].Why)
	}
	d.wants = nil
}

// Within says first of each finding how to enter the network namespace that the other commands are for: typed outside, ss would show
// nothing of what was found.
func (d *Diagnosis) Within(enter string) {
	for i := range d.Findings {
		f := &d.Findings[i]
		f.Do = slices.Insert(slices.Clone(f.Do), 0, "what follows is for its network namespace: "+enter+" sh")
	}
}

func (s *Subject) locate(place string) { s.Key = strings.TrimSuffix(place+": "+s.Key, ": ") }

// MergePlaces folds the diagnoses of several places of one host into one, as Merge does, and adds their sockets up.
func MergePlaces(parts []*Diagnosis) *Diagnosis {
	out := Merge(slices.Values(parts))
	for _, p := range parts {
		for state, n := range p.Sockets {
			if out.Sockets == nil {
				out.Sockets = map[string]int64{}
			}
			out.Sockets[state] += n
		}
	}
	return out
}
