package advisor

import (
	"fmt"
	"io/fs"
	"strings"

	"gopkg.in/yaml.v3"
)

// Myth is a belief about TCP on Linux that is wrong, and where the answer stands: exactly one of Rule, Key and Topic is set.
type Myth struct {
	ID    string
	Claim string
	Truth string
	Rule  string // ID of the rule that judges it
	Key   string // kernel parameter whose page answers it
	Topic string
}

// Answer is what to type behind `tcpadvise explain`.
func (m Myth) Answer() string { return m.Rule + m.Key + m.Topic }

// LoadMyths reads myths.yaml of the base rule set (rules.FS) and returns its myths in file order. An answer that does not
// exist is a fault; all faults come back together as LoadErrors.
func LoadMyths(base fs.FS, set *RuleSet) ([]Myth, error) {
	const file = "myths.yaml"
	data, err := fs.ReadFile(base, file)
	if err != nil {
		return nil, fmt.Errorf("the base rule set has no myths: %w", err)
	}
	topics, err := LoadTopics(base)
	if err != nil {
		return nil, err
	}
	var errs LoadErrors
	var myths []Myth
	d := &doc{path: file, errs: &errs}
	seen := map[string]bool{}
	if top := d.parse(data); top != nil {
		for _, n := range d.items(top) {
			var m Myth
			text := func(to *string) func(*yaml.Node) { return func(n *yaml.Node) { *to = strings.TrimSpace(d.text(n)) } }
			d.fields(n, "a myth", map[string]func(*yaml.Node){
				"id": text(&m.ID), "claim": text(&m.Claim), "truth": text(&m.Truth), "rule": text(&m.Rule), "key": text(&m.Key), "topic": text(&m.Topic),
			})
			_, isKey := set.Catalogue.Lookup(m.Key)
			_, isTopic := FindTopic(topics, m.Topic)
			answers := 0
			for _, a := range []string{m.Rule, m.Key, m.Topic} {
				if a != "" {
					answers++
				}
			}
			switch {
			case m.ID == "" || m.Claim == "" || m.Truth == "" || answers != 1:
				d.fail(n, "a myth needs an id, a claim, a truth, and one of rule, key and topic")
			case seen[m.ID]:
				d.fail(n, "there are two myths %q", m.ID)
			case m.Rule != "" && set.Rule(m.Rule) == nil, m.Key != "" && !isKey, m.Topic != "" && !isTopic:
				d.fail(n, "%s: nothing is called %q", m.ID, m.Answer())
			}
			seen[m.ID] = true
			myths = append(myths, m)
		}
	}
	if err := errs.sorted(); err != nil {
		return nil, err
	}
	return myths, nil
}
