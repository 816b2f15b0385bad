package advisor

import (
	"slices"
	"sync"

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

func (t Type) String() string { return nameOf(typeNames, t) }

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

// Terms are the entries of one kind.
type Terms struct {
	names   []string // sorted
	entries map[string]chunk
}

// Names returns the names of all terms, sorted.
func (t Terms) Names() []string { return t.names }

// Type returns the type of a term; false where there is none of that name.
func (t Terms) Type(name string) (Type, bool) {
	e, ok := t.entries[name]
	return typeNames[e.field("type")], ok
}

// TableTerm is a table of the vocabulary.
type TableTerm struct {
	Name    string
	Doc     string
	Key     []string // the columns that name a row, stable over runs
	Joins   []string // columns that name a thing which rows of other tables may be about as well: port, pid
	Columns Terms
}

// Vocabulary is the contract between collectors and rules: each fact that may be read, with its type.
type Vocabulary struct {
	path     string
	Scalars  Terms
	Families Terms
	tables   Terms
	columns  map[string]func() Terms // by table; taken apart when first asked for
}

// loadVocabulary takes facts.yaml apart; entries are decoded when asked for, and all of them by Check.
func loadVocabulary(path string, data []byte) *Vocabulary {
	_, sections := chunk{1, data}.split(0)
	v := &Vocabulary{
		path:    path,
		Scalars: termsOf(sections["scalars"], 2), Families: termsOf(sections["families"], 2), tables: termsOf(sections["tables"], 2),
		columns: map[string]func() Terms{},
	}
	for name, entry := range v.tables.entries {
		v.columns[name] = sync.OnceValue(func() Terms {
			_, parts := entry.body().split(4)
			return termsOf(parts["columns"], 6)
		})
	}
	return v
}

func termsOf(section chunk, indent int) Terms {
	names, entries := section.body().split(indent)
	slices.Sort(names)
	return Terms{names, entries}
}

// Tables returns the names of all tables, sorted.
func (v *Vocabulary) Tables() []string { return v.tables.names }

// HasTable reports whether there is a table of that name.
func (v *Vocabulary) HasTable(name string) bool {
	_, ok := v.tables.entries[name]
	return ok
}

// HasFamily reports whether there is a family of that name.
func (v *Vocabulary) HasFamily(name string) bool {
	_, ok := v.Families.entries[name]
	return ok
}

// Columns returns the columns of a table; none where there is no such table.
func (v *Vocabulary) Columns(table string) Terms {
	if columns, ok := v.columns[table]; ok {
		return columns()
	}
	return Terms{}
}

// Table decodes a table's entry; false where there is none of that name.
func (v *Vocabulary) Table(name string) (TableTerm, bool) {
	e, ok := v.tables.entries[name]
	if !ok {
		return TableTerm{}, false
	}
	t := TableTerm{Name: name, Columns: v.Columns(name)}
	var ignored LoadErrors // found by Check
	v.decodeTable(&t, e, &ignored)
	return t, true
}

func (v *Vocabulary) decodeTable(t *TableTerm, e chunk, errs *LoadErrors) {
	_, parts := e.body().split(4)
	for field, to := range map[string]func(*doc, *yaml.Node){
		"doc":   func(d *doc, n *yaml.Node) { t.Doc = d.text(n) },
		"key":   func(d *doc, n *yaml.Node) { t.Key = d.texts(n) },
		"joins": func(d *doc, n *yaml.Node) { t.Joins = d.texts(n) },
	} {
		if part, ok := parts[field]; ok {
			part.decode(v.path, errs, to)
		}
	}
}

// decode parses an entry "KEY: VALUE" and hands the value over. Positions are those in the file.
func (c chunk) decode(path string, errs *LoadErrors, value func(*doc, *yaml.Node)) {
	var found LoadErrors
	d := &doc{path: path, errs: &found}
	if top := d.parse(c.text); top != nil && len(top.Content) == 2 {
		value(d, unalias(top.Content[1]))
	}
	for _, e := range found {
		e.Line += c.line - 1
		*errs = append(*errs, e)
	}
}

// Term decodes a term; the zero Term where there is none of that name.
func (t Terms) Term(name string) Term {
	var ignored LoadErrors // found by Check
	return t.decode("", name, &ignored)
}

func (t Terms) decode(path, name string, errs *LoadErrors) Term {
	term := Term{Name: name}
	t.entries[name].decode(path, errs, func(d *doc, n *yaml.Node) {
		d.fields(n, name, map[string]func(*yaml.Node){
			"type":     func(n *yaml.Node) { term.Type = oneOf(d, n, typeNames) },
			"unit":     func(n *yaml.Node) { term.Unit = d.text(n) },
			"doc":      func(n *yaml.Node) { term.Doc = d.text(n) },
			"named_by": func(n *yaml.Node) { term.NamedBy = d.text(n) },
		})
		if term.Type == 0 || term.Doc == "" {
			d.fail(n, "%s needs a type and a doc", name)
		}
	})
	return term
}

// check decodes all of the vocabulary.
func (v *Vocabulary) check(errs *LoadErrors) {
	for _, terms := range []Terms{v.Scalars, v.Families} {
		for _, name := range terms.names {
			terms.decode(v.path, name, errs)
		}
	}
	for _, name := range v.Tables() {
		t := TableTerm{Name: name, Columns: v.Columns(name)}
		v.decodeTable(&t, v.tables.entries[name], errs)
		for _, column := range t.Columns.names {
			t.Columns.decode(v.path, column, errs)
		}
		fail := func(format string, args ...any) {
			(&doc{path: v.path, errs: errs}).fail(&yaml.Node{Line: v.tables.entries[name].line, Column: 3}, format, args...)
		}
		if t.Doc == "" || len(t.Key) == 0 {
			fail("table %s needs a doc and a key", name)
		}
		for _, column := range slices.Concat(t.Key, t.Joins) {
			if _, ok := t.Columns.Type(column); !ok {
				fail("table %s has no column %q%s", name, column, didYouMean(column, t.Columns.names))
			}
		}
	}
}
