package advisor

import (
	"maps"
	"slices"

	"gopkg.in/yaml.v3"
)

// Type is the type of a vocabulary entry and of an expression. The zero Type is invalid.
type Type uint8

// The types of the vocabulary.
const (
	TypeInteger   Type = iota + 1
	TypeText           //
	TypeBoolean        //
	TypeTuple          // integers; an element is reached by [0]
	TypePorts          // a set of TCP ports
	TypeDuration       //
	TypeLimit          // an integer or unlimited
	TypeVersion        // a kernel version, compared number by number
	TypeCatalogue      // the type that the kernel parameter catalogue gives the key
)

var typeNames = map[string]Type{
	"integer": TypeInteger, "text": TypeText, "boolean": TypeBoolean, "tuple": TypeTuple, "ports": TypePorts,
	"duration": TypeDuration, "limit": TypeLimit, "version": TypeVersion, "catalogue": TypeCatalogue,
}

func (t Type) String() string {
	for name, other := range typeNames {
		if t == other {
			return name
		}
	}
	return "invalid"
}

// Term is one entry of the vocabulary: a scalar, a family of scalars, or a column of a table.
type Term struct {
	Name string
	Type Type
	Unit string // as it follows a number: "bytes", "sockets"; empty where there is none
	Doc  string // one sentence: what it is and where it is read
	// NamedBy is the column whose value names this one in evidence: a setting's value is shown under the setting's key.
	// Empty: the column is shown as table.column.
	NamedBy string
}

// TableTerm is a table of the vocabulary.
type TableTerm struct {
	Name    string
	Doc     string
	Key     []string // the columns that name a row, stable over runs
	Joins   []string // columns that name a thing which rows of other tables may be about as well: port, pid
	Columns map[string]Term
}

// Vocabulary is the contract between collectors and rules: each fact that may be read, with its type.
type Vocabulary struct {
	Scalars  map[string]Term
	Families map[string]Term
	Tables   map[string]TableTerm
}

// loadVocabulary decodes facts.yaml.
func loadVocabulary(path string, data []byte, errs *LoadErrors) *Vocabulary {
	d := &doc{path: path, errs: errs}
	v := &Vocabulary{Scalars: map[string]Term{}, Families: map[string]Term{}, Tables: map[string]TableTerm{}}
	top := d.parse(data)
	if top == nil {
		return v
	}
	d.fields(top, "the vocabulary", map[string]func(*yaml.Node){
		"scalars":  func(n *yaml.Node) { v.Scalars = d.terms(n, "scalars") },
		"families": func(n *yaml.Node) { v.Families = d.terms(n, "families") },
		"tables": func(n *yaml.Node) {
			d.mapping(n, "tables", func(name string, k, n *yaml.Node) { v.Tables[name] = d.tableTerm(name, n) })
		},
	})
	return v
}

func (d *doc) terms(n *yaml.Node, what string) map[string]Term {
	out := map[string]Term{}
	d.mapping(n, what, func(name string, k, n *yaml.Node) {
		t := Term{Name: name}
		d.fields(n, name, map[string]func(*yaml.Node){
			"type":     func(n *yaml.Node) { t.Type = oneOf(d, n, typeNames) },
			"unit":     func(n *yaml.Node) { t.Unit = d.text(n) },
			"doc":      func(n *yaml.Node) { t.Doc = d.text(n) },
			"named_by": func(n *yaml.Node) { t.NamedBy = d.text(n) },
		})
		if t.Type == 0 || t.Doc == "" {
			d.fail(k, "%s needs a type and a doc", name)
		}
		out[name] = t
	})
	return out
}

func (d *doc) tableTerm(name string, n *yaml.Node) TableTerm {
	t := TableTerm{Name: name, Columns: map[string]Term{}}
	d.fields(n, name, map[string]func(*yaml.Node){
		"doc":     func(n *yaml.Node) { t.Doc = d.text(n) },
		"key":     func(n *yaml.Node) { t.Key = d.texts(n) },
		"joins":   func(n *yaml.Node) { t.Joins = d.texts(n) },
		"columns": func(n *yaml.Node) { t.Columns = d.terms(n, "columns") },
	})
	if t.Doc == "" || len(t.Key) == 0 {
		d.fail(n, "table %s needs a doc and a key", name)
	}
	for _, column := range append(slices.Clone(t.Key), t.Joins...) {
		if _, ok := t.Columns[column]; !ok {
			d.fail(n, "table %s has no column %q%s", name, column, didYouMean(column, slices.Sorted(maps.Keys(t.Columns))))
		}
	}
	return t
}
