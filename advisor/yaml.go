package advisor

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// LoadError is one fault in a file of the rule set or of the user's configuration.
type LoadError struct {
	Path         string
	Line, Column int // 1-based; 0 where the file as a whole is at fault
	Message      string
}

func (e LoadError) Error() string {
	switch {
	case e.Line == 0:
		return e.Path + ": " + e.Message
	case e.Column == 0:
		return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Path, e.Line, e.Column, e.Message)
}

// LoadErrors is all faults found in one load, in order of file and position.
type LoadErrors []LoadError

func (es LoadErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted returns es as an error, nil if empty.
func (es LoadErrors) sorted() error {
	if len(es) == 0 {
		return nil
	}
	slices.SortStableFunc(es, func(a, b LoadError) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return es
}

// maxYAML bounds a rule or configuration file: the largest of ours has 300 kB.
const maxYAML = 4 << 20

// doc decodes one YAML file strictly: each fault is recorded with its position, and decoding goes on.
type doc struct {
	path string
	errs *LoadErrors
}

func (d *doc) fail(n *yaml.Node, format string, args ...any) {
	e := LoadError{Path: d.path, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	*d.errs = append(*d.errs, e)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:unmarshal errors:\n\s*)?(?:line (\d+): )?`)

// parse returns the top node of the file's only document, nil after a fault.
func (d *doc) parse(data []byte) *yaml.Node {
	if len(data) > maxYAML {
		d.fail(nil, "is %d bytes long; the limit is %d", len(data), maxYAML)
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var top, more yaml.Node
	if err := dec.Decode(&top); err != nil {
		e := LoadError{Path: d.path, Message: "is no valid YAML: " + yamlLine.ReplaceAllString(err.Error(), "")}
		if err.Error() == "EOF" {
			e.Message = "is empty"
		}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			e.Line, _ = strconv.Atoi(m[1]) // no number: 0, the file as a whole
		}
		*d.errs = append(*d.errs, e)
		return nil
	}
	if err := dec.Decode(&more); err == nil {
		d.fail(&more, "a second YAML document: one file holds one")
	}
	if len(top.Content) == 0 {
		d.fail(nil, "is empty")
		return nil
	}
	return top.Content[0]
}

// mapping walks the pairs of a mapping node in order; aliases are followed once. Duplicate keys are faults.
func (d *doc) mapping(n *yaml.Node, what string, pair func(key string, k, v *yaml.Node)) {
	n = unalias(n)
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s must be a mapping (key: value)", what)
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if line, twice := seen[k.Value]; twice {
			d.fail(k, "%q stands here a second time; the first is in line %d", k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		pair(k.Value, k, unalias(n.Content[i+1]))
	}
}

// fields decodes a mapping with a known set of keys.
func (d *doc) fields(n *yaml.Node, what string, known map[string]func(v *yaml.Node)) {
	d.mapping(n, what, func(key string, k, v *yaml.Node) {
		if decode, ok := known[key]; ok {
			decode(v)
			return
		}
		names := slices.Sorted(maps.Keys(known))
		hint := didYouMean(key, names)
		if hint == "" {
			hint = "; known are " + strings.Join(names, ", ")
		}
		d.fail(k, "%s has no field %q%s", what, key, hint)
	})
}

func unalias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// text returns a scalar's text as written: "010" and "on" stay what they are.
func (d *doc) text(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fail(n, "want a text here")
		return ""
	}
	return n.Value
}

func (d *doc) texts(n *yaml.Node) []string {
	var out []string
	for _, item := range d.items(n) {
		out = append(out, d.text(item))
	}
	return out
}

// items returns the elements of a sequence; a single scalar counts as a list of one.
func (d *doc) items(n *yaml.Node) []*yaml.Node {
	switch n.Kind {
	case yaml.SequenceNode:
		items := make([]*yaml.Node, len(n.Content))
		for i, item := range n.Content {
			items[i] = unalias(item)
		}
		return items
	case yaml.ScalarNode:
		if n.Tag != "!!null" {
			return []*yaml.Node{n}
		}
	}
	d.fail(n, "want a list here")
	return nil
}

func (d *doc) integer(n *yaml.Node) int64 {
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.fail(n, "want a decimal integer here, found %q", n.Value)
	}
	return v
}

func (d *doc) boolean(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode && (n.Value == "true" || n.Value == "false") {
		return n.Value == "true"
	}
	d.fail(n, "want true or false here, found %q", n.Value)
	return false
}

func (d *doc) version(n *yaml.Node) Version {
	v, err := ParseVersion(d.text(n))
	if err != nil {
		d.fail(n, "%v", err)
	}
	return v
}

// oneOf decodes a name out of a closed set.
func oneOf[T any](d *doc, n *yaml.Node, names map[string]T) T {
	v, ok := names[n.Value]
	if n.Kind != yaml.ScalarNode || !ok {
		known := slices.Sorted(maps.Keys(names))
		d.fail(n, "%q is none of %s", n.Value, strings.Join(known, ", "))
	}
	return v
}

// joinLoadErrors flattens err into the list where it is one.
func joinLoadErrors(list *LoadErrors, err error) {
	var more LoadErrors
	if errors.As(err, &more) {
		*list = append(*list, more...)
	}
}
