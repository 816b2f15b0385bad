package advisor

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// RuleSet is a loaded rule set with its vocabulary and catalogue. It is read-only and safe for concurrent use.
type RuleSet struct {
	Rules      []*Rule // sorted by ID
	Vocabulary *Vocabulary
	Catalogue  *Catalogue

	config *Config // nil: none
}

// Load reads the base rule set (rules.FS: facts.yaml, sysctls.yaml and AREA/SLUG.yaml) and then further directories of
// rules. The same ID twice is an error unless the later says `replaces: true`. All faults come back together as LoadErrors.
// The base is decoded as it is needed, and checked by Check; further directories are decoded and checked at once.
func Load(base fs.FS, more ...fs.FS) (*RuleSet, error) {
	facts, err := fs.ReadFile(base, "facts.yaml")
	if err != nil {
		return nil, fmt.Errorf("the base rule set has no vocabulary: %w", err)
	}
	parameters, err := fs.ReadFile(base, "sysctls.yaml")
	if err != nil {
		return nil, fmt.Errorf("the base rule set has no catalogue: %w", err)
	}
	s := &RuleSet{Vocabulary: loadVocabulary("facts.yaml", facts)}
	sc := scope{vocabulary: s.Vocabulary}
	s.Catalogue = loadCatalogue("sysctls.yaml", parameters, &sc)
	sc.catalogue = s.Catalogue
	var errs LoadErrors
	l := loader{scope: sc, rules: map[string]*Rule{}, errs: &errs}
	l.dir(base, "")
	for _, dir := range more {
		name := "rules"
		if d, ok := dir.(interface{ Name() string }); ok {
			name = d.Name()
		}
		l.dir(dir, name+"/")
	}
	s.Rules = slices.SortedFunc(maps.Values(l.rules), func(a, b *Rule) int { return strings.Compare(a.ID, b.ID) })
	if len(errs) == 0 { // a rule that failed to load is no unknown rule
		s.checkReferences(l.users, &errs)
	}
	if err := errs.sorted(); err != nil {
		return nil, err
	}
	return s, nil
}

// Check decodes all of the rule set and returns all its faults.
func (s *RuleSet) Check() error {
	var errs LoadErrors
	s.Vocabulary.check(&errs)
	joinLoadErrors(&errs, s.Catalogue.Check())
	for _, r := range s.Rules {
		if body := r.Translated(); body.fault != nil {
			joinLoadErrors(&errs, body.fault)
		} else if r.Table != body.table || r.head().fault != nil { // the short reading must agree with the whole one
			errs = append(errs, LoadError{Path: r.Path, Message: "write its top-level fields unindented, as KEY: VALUE"})
		}
	}
	s.checkReferences(s.Rules, &errs)
	return errs.sorted()
}

// Prepare decodes what judging needs, so that a caller can have that done while the facts are read.
func (s *RuleSet) Prepare() {
	for _, r := range s.Rules {
		r.head()
	}
}

// IsRuleFile reports whether a path inside a rule directory is a rule: AREA/SLUG.yaml, not a test.
func IsRuleFile(name string) bool {
	return strings.Count(name, "/") == 1 && path.Ext(name) == ".yaml" && !strings.HasSuffix(name, "_test.yaml")
}

// loader collects the rules of several directories.
type loader struct {
	scope scope
	rules map[string]*Rule
	users []*Rule // those of further directories
	errs  *LoadErrors
}

// dir reads a directory of rules; prefix is empty for the base set.
func (l *loader) dir(dir fs.FS, prefix string) {
	fail := func(name, format string, args ...any) {
		*l.errs = append(*l.errs, LoadError{Path: prefix + name, Message: fmt.Sprintf(format, args...)})
	}
	found := 0
	err := fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			fail(name, "cannot be read: %v", err)
			return nil
		}
		if !IsRuleFile(name) || e.IsDir() {
			return nil
		}
		found++
		data, err := readRegular(dir, name)
		if err != nil {
			fail(name, "%v", err)
			return nil
		}
		l.rule(strings.TrimSuffix(name, ".yaml"), prefix+name, data, prefix != "")
		return nil
	})
	if err == nil && found == 0 && prefix != "" {
		fail("", "holds no rule: want AREA/SLUG.yaml")
	}
}

func (l *loader) rule(id, file string, data []byte, user bool) {
	r := newRule(id, file, data, l.scope)
	if user {
		body := decodeRule(id, file, data, l.scope, l.errs)
		if body.fault != nil {
			return
		}
		if old := l.rules[id]; old != nil && !body.replaces {
			*l.errs = append(*l.errs, LoadError{Path: file, Message: fmt.Sprintf(
				"rule %s exists already (%s): say `replaces: true` if this one is to take its place", id, old.Path)})
			return
		}
		r.Table = body.table
		r.head = func() *Body { return body }
		r.full, r.whole = r.head, r.head // decoded already; with other parameters it is decoded anew
		l.users = append(l.users, r)
	}
	l.rules[id] = r
}

// readRegular refuses what a user's directory may hold beside files: reading a FIFO would never end.
func readRegular(dir fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(dir, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("is no regular file")
	case info.Size() > maxYAML:
		return nil, fmt.Errorf("is %d bytes long; the limit is %d", info.Size(), maxYAML)
	}
	return fs.ReadFile(dir, name)
}

// checkReferences finds rules named in explains and supersedes that do not exist.
func (s *RuleSet) checkReferences(rules []*Rule, errs *LoadErrors) {
	ids := s.IDs()
	for _, r := range rules {
		for _, name := range slices.Concat(r.Body().Explains, r.Body().Supersedes) {
			if !slices.ContainsFunc(ids, func(id string) bool { return MatchID(name, id) }) {
				*errs = append(*errs, LoadError{Path: r.Path, Message: fmt.Sprintf("names a rule %q that does not exist%s", name, didYouMean(name, ids))})
			}
		}
	}
}

// IDs returns the IDs of all rules, sorted.
func (s *RuleSet) IDs() []string {
	ids := make([]string, len(s.Rules))
	for i, r := range s.Rules {
		ids[i] = r.ID
	}
	return ids
}

// Rule returns the rule of that ID, nil if there is none.
func (s *RuleSet) Rule(id string) *Rule {
	i, ok := slices.BinarySearchFunc(s.Rules, id, func(r *Rule, id string) int { return strings.Compare(r.ID, id) })
	if !ok {
		return nil
	}
	return s.Rules[i]
}

// parseParam reads a parameter's value. The fault, if any, is returned.
func parseParam(n *yaml.Node) (Value, string) {
	const want = "a parameter is an integer, a duration such as 30s, or a text"
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!str" {
		return Value{}, want
	}
	v, err := ParseParam(n.Value)
	if err != nil {
		return Value{}, want
	}
	return v, ""
}

// ParseParam reads the value of a rule's parameter: an integer, a duration such as 30s, else a text.
func ParseParam(text string) (Value, error) {
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return Int(v), nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return Duration(d), nil
	}
	if text == "" {
		return Value{}, errors.New("a parameter is not empty")
	}
	return Text(text), nil
}

// With is the set with other parameters for one rule; the set itself where there are none.
func (s *RuleSet) With(rule string, params map[string]Value) *RuleSet {
	if len(params) == 0 {
		return s
	}
	other := &RuleSet{Vocabulary: s.Vocabulary, Catalogue: s.Catalogue, config: s.config}
	for _, r := range s.Rules {
		if r.ID == rule {
			r = r.remake(params)
		}
		other.Rules = append(other.Rules, r)
	}
	return other
}

// typeOf is the expression type of a value.
func typeOf(v Value) Type {
	switch v.Kind() {
	case KindInt:
		return TypeInteger
	case KindText:
		return TypeText
	case KindBool:
		return TypeBoolean
	case KindTuple:
		return TypeTuple
	case KindPorts:
		return TypePorts
	case KindDuration:
		return TypeDuration
	case KindUnlimited:
		return TypeLimit
	}
	return 0
}

// MatchID matches a pattern in which * stands for any characters, none and slashes included.
func MatchID(pattern, name string) bool { return wildcard(pattern, name, 0) }

// wildcard is MatchID where * stands for at least so many characters. It takes linear time.
func wildcard(pattern, name string, least int) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		if len(rest) < least {
			return false
		}
		i := strings.Index(rest[least:], part)
		if i < 0 {
			return false
		}
		rest = rest[least+i+len(part):]
	}
	return len(rest) >= least+len(parts[last]) && strings.HasSuffix(rest, parts[last])
}
