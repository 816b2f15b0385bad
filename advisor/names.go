package advisor

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The verdicts.
const (
	VerdictPass       Verdict = "pass"
	VerdictFail       Verdict = "fail"
	VerdictIncomplete Verdict = "incomplete"
)

func nameOf[T comparable](names map[string]T, v T) string {
	for name, other := range names {
		if other == v {
			return name
		}
	}
	return "invalid"
}

func (s Severity) String() string   { return nameOf(severityNames, s) }
func (c Confidence) String() string { return nameOf(confidenceNames, c) }
func (r Remedy) String() string     { return nameOf(remedyNames, r) }
func (s Safety) String() string     { return nameOf(safetyNames, s) }

// MarshalJSON writes the name.
func (s Severity) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalJSON writes the name.
func (c Confidence) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// MarshalJSON writes the name.
func (r Remedy) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// MarshalJSON writes the name.
func (s Safety) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// ParseSeverity reads "error", "warning" or "info".
func ParseSeverity(name string) (Severity, error) {
	if s, ok := severityNames[name]; ok {
		return s, nil
	}
	return 0, fmt.Errorf("%q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(severityNames)), ", "))
}
