package advisor

import (
	"slices"
	"strings"
	"testing"
)

func placed() *Diagnosis {
	cause := "a/cause"
	from, to := Int(128), Int(4096)
	somaxconn := Want{Setting: "sysctl:net.core.somaxconn", Op: OpAtLeast, Value: to, Safety: SafetySafe, Rule: "a/cause"}
	backlog := Want{Setting: "sysctl:net.core.netdev_max_backlog", Op: OpAtLeast, Value: to, Safety: SafetySafe, Rule: "a/cause"}
	change := func(w Want) ProposedChange {
		return ProposedChange{Setting: w.Setting, From: &from, To: &to, Safety: w.Safety}
	}
	row := Subject{Table: "listeners", Key: "0.0.0.0 80"}
	return &Diagnosis{
		Findings: []Finding{
			{Rule: "a/cause", Severity: SeverityWarning, Subject: row, Message: "full", Changes: []ProposedChange{change(somaxconn), change(backlog)}},
			{
				Rule: "b/symptom", Severity: SeverityError, Subject: Subject{}, Message: "drops", ExplainedBy: &cause, cause: row,
				Changes: []ProposedChange{{Setting: "sysctl:net.core.netdev_max_backlog", Remove: true}},
			},
		},
		Sockets:  map[string]int64{"listen": 2, "close_wait": 3},
		verdicts: map[string]verdict{"a/cause": firing},
		wants:    []Want{somaxconn, backlog},
	}
}

func TestWithhold(t *testing.T) {
	d := placed()
	d.Withhold(func(key string) string {
		if key == "net.core.netdev_max_backlog" {
			return "this network namespace does not have it"
		}
		return ""
	})
	f := d.Findings[0]
	if len(f.Changes) != 1 || f.Changes[0].Setting != "sysctl:net.core.somaxconn" {
		t.Errorf("%+v", f.Changes)
	}
	if !slices.Contains(f.Do, "no value is proposed for net.core.netdev_max_backlog: this network namespace does not have it") {
		t.Errorf("%q", f.Do)
	}
	if len(d.Findings[1].Changes) != 1 {
		t.Error("a line that should go has to stay")
	}
	if changes, conflicts := d.Changes(SafetyManual); len(changes) != 1 || len(conflicts) != 0 {
		t.Errorf("%+v %+v", changes, conflicts)
	}
}

// The commands of a finding are for its namespace, and the way there is said first; shared lists stay as they were.
func TestWithin(t *testing.T) {
	d := placed()
	shared := []string{"ss -tan"}
	d.Findings[0].Do, d.Findings[1].Do = shared, shared
	d.Within("sudo ip netns exec web")
	want := []string{"what follows is for its network namespace: sudo ip netns exec web sh", "ss -tan"}
	if !slices.Equal(d.Findings[0].Do, want) || !slices.Equal(d.Findings[1].Do, want) || len(shared) != 1 || shared[0] != "ss -tan" {
		t.Errorf("%q %q %q", d.Findings[0].Do, d.Findings[1].Do, shared)
	}
}

// Equal findings of two namespaces stay two, each symptom under its own cause, and no file of the host changes for the second.
func TestMergePlaces(t *testing.T) {
	own, other := placed(), placed()
	other.Locate("network namespace web")
	d := MergePlaces([]*Diagnosis{own, other})
	d.Finish(Options{})
	var got []string
	for _, f := range d.Findings {
		got = append(got, strings.Join([]string{f.Rule, f.Subject.Key, f.Message}, "|"))
	}
	want := []string{
		"a/cause|0.0.0.0 80|full", "b/symptom||drops",
		"a/cause|network namespace web: 0.0.0.0 80|in network namespace web: full",
		"b/symptom|network namespace web|in network namespace web: drops",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if changes, _ := d.Changes(SafetyManual); len(changes) != 2 || len(changes[0].Rules) != 1 {
		t.Errorf("%+v", changes)
	}
	if d.Sockets["close_wait"] != 6 || d.Sockets["listen"] != 4 {
		t.Error(d.Sockets)
	}
}

// What an error explains is read first, though the cause alone is a warning: a group ranks with its worst member.
func TestGroupsRankWithTheirWorst(t *testing.T) {
	d := placed()
	d.Findings = append(d.Findings, Finding{Rule: "a/a", Severity: SeverityWarning}, Finding{Rule: "z/z", Severity: SeverityError})
	d.Finish(Options{})
	var got []string
	for _, f := range d.Findings {
		got = append(got, f.Rule)
	}
	if want := "z/z a/cause b/symptom a/a"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
