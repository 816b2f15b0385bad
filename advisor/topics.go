package advisor

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Topic is one page of `tcpadvise explain`: a TCP state, a counter, a gauge or a message of the kernel's log.
type Topic struct {
	Name     string // CLOSE_WAIT, TcpExt.ListenOverflows, sockstat.TCP.tw, log.syn-flooding
	Kind     string // state, counter, gauge or log
	Aliases  []string
	Title    string
	Sections []Section
	Keys     []string // kernel parameters that have to do with it
	Sources  []string
}

// Section is a part of a topic. Its lines are broken as they are to be printed, at most 78 columns wide; printed under
// its title, without blank lines between the sections, the page of a state fits one screen.
type Section struct{ Title, Text string }

var topicKinds = map[string]string{"state": "state", "counter": "counter", "gauge": "gauge", "log": "log"}

// LoadTopics reads topics.yaml of the base rule set (rules.FS) and returns its topics in file order. Only explaining and
// the documentation need them, so Load leaves them alone. All faults come back together as LoadErrors.
func LoadTopics(base fs.FS) ([]Topic, error) {
	const file = "topics.yaml"
	data, err := fs.ReadFile(base, file)
	if err != nil {
		return nil, fmt.Errorf("the base rule set has no topics: %w", err)
	}
	var errs LoadErrors
	var topics []Topic
	d := &doc{path: file, errs: &errs}
	if top := d.parse(data); top != nil {
		owners := map[string]string{}
		d.mapping(top, "the list of topics", func(name string, k, v *yaml.Node) {
			t := d.topic(name, k, v)
			for _, spelling := range t.spellings() {
				if owner, taken := owners[spelling]; taken && owner != name {
					d.fail(k, "%s and %s both answer to %q", owner, name, spelling)
				}
				owners[spelling] = name
			}
			topics = append(topics, t)
		})
	}
	if err := errs.sorted(); err != nil {
		return nil, err
	}
	return topics, nil
}

func (d *doc) topic(name string, k, v *yaml.Node) Topic {
	t := Topic{Name: name}
	d.fields(v, name, map[string]func(*yaml.Node){
		"kind":    func(n *yaml.Node) { t.Kind = oneOf(d, n, topicKinds) },
		"aliases": func(n *yaml.Node) { t.Aliases = d.filled(n) },
		"title":   func(n *yaml.Node) { t.Title = d.text(n) },
		"keys":    func(n *yaml.Node) { t.Keys = d.filled(n) },
		"sources": func(n *yaml.Node) { t.Sources = d.filled(n) },
		"sections": func(n *yaml.Node) {
			for _, item := range d.items(n) {
				t.Sections = append(t.Sections, d.section(item))
			}
		},
	})
	if fold(name) == "" || t.Kind == "" || t.Title == "" || len(t.Sections) == 0 || len(t.Sources) == 0 {
		d.fail(k, "%q needs a name, kind, title, sections and sources", name)
	}
	return t
}

func (d *doc) section(n *yaml.Node) Section {
	var s Section
	d.fields(n, "a section", map[string]func(*yaml.Node){
		"title": func(n *yaml.Node) { s.Title = d.text(n) },
		"text":  func(n *yaml.Node) { s.Text = strings.TrimRight(d.text(n), "\n") },
	})
	if s.Title == "" || s.Text == "" {
		d.fail(n, "a section needs title and text")
	}
	return s
}

// filled is texts, none of them empty.
func (d *doc) filled(n *yaml.Node) []string {
	texts := d.texts(n)
	for i, item := range d.items(n) {
		if item.Kind == yaml.ScalarNode && strings.TrimSpace(texts[i]) == "" {
			d.fail(item, "want a text here, found an empty one")
		}
	}
	return texts
}

// FindTopic returns the topic of that name or alias; case and the difference between "-", "_", blanks and nothing do not
// count, so close-wait, CLOSE_WAIT and closewait are one.
func FindTopic(topics []Topic, subject string) (Topic, bool) {
	subject = fold(subject)
	i := slices.IndexFunc(topics, func(t Topic) bool { return slices.Contains(t.spellings(), subject) })
	if i < 0 {
		return Topic{}, false
	}
	return topics[i], true
}

// spellings are the folded forms of all names of t.
func (t Topic) spellings() []string {
	names := []string{fold(t.Name)}
	for _, alias := range t.Aliases {
		names = append(names, fold(alias))
	}
	return names
}

var topicFolder = strings.NewReplacer("-", "", "_", "", " ", "")

func fold(name string) string { return strings.ToLower(topicFolder.Replace(name)) }
