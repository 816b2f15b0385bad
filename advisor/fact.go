package advisor

import (
	"maps"
	"slices"
)

// Origin says where a Value was read. Either Path or Source is set.
type Origin struct {
	Path   string `json:"path,omitempty"`   // file on the judged host, as that host names it
	Line   int    `json:"line,omitempty"`   // 1-based line of the value; 0 where lines mean nothing (/proc)
	Column int    `json:"column,omitempty"` // 1-based byte column of the value; 0 like Line
	Start  int    `json:"-"`                // byte offset of the value in the file
	End    int    `json:"-"`                // byte offset just after the value; 0 where unknown
	Source string `json:"source,omitempty"` // a source that is no file: "sock_diag", "computed"
}

// IsZero reports whether o names nothing.
func (o Origin) IsZero() bool { return o == Origin{} }

// State tells knowledge from ignorance. The zero State is invalid.
type State uint8

// The states of a Fact.
const (
	StateKnown   State = iota + 1 // the Value is what the machine says
	StateAbsent                   // this kernel, file or host does not have it: that is knowledge
	StateUnknown                  // it could not be read; Why says why
)

// Fact is one reading. A Fact is never zero or false for want of knowledge: see State.
type Fact struct {
	State  State
	Value  Value  // valid only in StateKnown
	Why    string // for StateUnknown the reason, with what would help ("run as root"); for StateAbsent optional
	Origin Origin
}

// Known is a fact that was read.
func Known(v Value, o Origin) Fact { return Fact{State: StateKnown, Value: v, Origin: o} }

// Absent is the knowledge that there is nothing: why may be empty.
func Absent(why string, o Origin) Fact { return Fact{State: StateAbsent, Why: why, Origin: o} }

// Unknown is a fact that could not be read, for the reason why.
func Unknown(why string, o Origin) Fact { return Fact{State: StateUnknown, Why: why, Origin: o} }

// Facts is what is known of one host or one set of files: scalars by key, families of scalars by name and key
// ("sysctl", "net.ipv4.tcp_sack"), and tables. It is read-only once built; a Builder makes it.
type Facts struct {
	scalars  map[string]Fact
	families map[string]map[string]Fact
	whole    map[string]Fact // what a family answers for keys that it does not hold
	tables   map[string]*table
}

// Scalar returns the fact of that key; absent if no collector gave one.
func (f *Facts) Scalar(key string) Fact {
	if fact, ok := f.scalars[key]; ok {
		return fact
	}
	return Absent("", Origin{})
}

// Member returns the fact of one key of a family, such as Member("sysctl", "net.ipv4.tcp_sack").
func (f *Facts) Member(family, key string) Fact {
	if fact, ok := f.families[family][key]; ok {
		return fact
	}
	if fact, ok := f.whole[family]; ok {
		return fact
	}
	return Absent("", Origin{})
}

// Members returns the keys that a family holds, sorted.
func (f *Facts) Members(family string) []string {
	return slices.Sorted(maps.Keys(f.families[family]))
}

// Scalars returns the keys of all scalars, sorted.
func (f *Facts) Scalars() []string { return slices.Sorted(maps.Keys(f.scalars)) }

// Families returns the names of all families, sorted.
func (f *Facts) Families() []string { return slices.Sorted(maps.Keys(f.families)) }

// Tables returns the names of all tables, sorted.
func (f *Facts) Tables() []string { return slices.Sorted(maps.Keys(f.tables)) }

// Builder collects facts. The zero Builder is ready for use; it is not safe for concurrent use.
type Builder struct {
	f Facts
}

// Set records a scalar; a later Set of the same key replaces it.
func (b *Builder) Set(key string, fact Fact) {
	if b.f.scalars == nil {
		b.f.scalars = map[string]Fact{}
	}
	b.f.scalars[key] = fact
}

// SetMember records one member of a family.
func (b *Builder) SetMember(family, key string, fact Fact) {
	if b.f.families == nil {
		b.f.families = map[string]map[string]Fact{}
	}
	if b.f.families[family] == nil {
		b.f.families[family] = map[string]Fact{}
	}
	b.f.families[family][key] = fact
}

// SetFamily records what the family answers for the keys that it does not hold: why a whole family is unknown or absent.
func (b *Builder) SetFamily(family string, fact Fact) {
	if b.f.whole == nil {
		b.f.whole = map[string]Fact{}
	}
	b.f.whole[family] = fact
}

// Scalar returns a scalar recorded so far, as Facts.Scalar does.
func (b *Builder) Scalar(key string) Fact { return b.f.Scalar(key) }

// Member returns a member of a family recorded so far, as Facts.Member does.
func (b *Builder) Member(family, key string) Fact { return b.f.Member(family, key) }

// Table returns a table recorded so far, as Facts.Table does.
func (b *Builder) Table(name string) Table { return b.f.Table(name) }

// Facts hands over what was collected; the Builder must not be used afterwards.
func (b *Builder) Facts() *Facts {
	f := b.f
	b.f = Facts{}
	return &f
}
