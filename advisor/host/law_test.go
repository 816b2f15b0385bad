package host

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

func builtinSet(t testing.TB) *advisor.RuleSet {
	t.Helper()
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// kindsOf says which kinds of values a vocabulary type holds.
func kindsOf(t advisor.Type) []advisor.Kind {
	switch t {
	case advisor.TypeInteger:
		return []advisor.Kind{advisor.KindInt}
	case advisor.TypeText:
		return []advisor.Kind{advisor.KindText}
	case advisor.TypeBoolean:
		return []advisor.Kind{advisor.KindBool}
	case advisor.TypeTuple, advisor.TypeVersion:
		return []advisor.Kind{advisor.KindTuple}
	case advisor.TypePorts:
		return []advisor.Kind{advisor.KindPorts}
	case advisor.TypeDuration:
		return []advisor.Kind{advisor.KindDuration}
	case advisor.TypeLimit:
		return []advisor.Kind{advisor.KindInt, advisor.KindUnlimited}
	}
	return nil
}

// TestVocabulary is the law that collectors and vocabulary agree: each fact that this host gives is in the vocabulary with
// its type, and each scalar, family and table of the vocabulary is given by the live host, if only as absent or unknown.
func TestVocabulary(t *testing.T) {
	set := builtinSet(t)
	h, err := Open(Options{Catalogue: set.Catalogue})
	if err != nil {
		t.Fatal(err)
	}
	facts, _, _ := h.Facts(t.Context())
	v := set.Vocabulary
	fits := func(what string, typ advisor.Type, known bool, f advisor.Fact) {
		t.Helper()
		switch {
		case !known:
			t.Errorf("%s is not in the vocabulary", what)
		case f.State == 0:
			t.Errorf("%s has no state", what)
		case f.State == advisor.StateUnknown && f.Why == "":
			t.Errorf("%s is unknown for no reason", what)
		case f.State == advisor.StateKnown && !slices.Contains(kindsOf(typ), f.Value.Kind()):
			t.Errorf("%s is of kind %s, the vocabulary says %s", what, f.Value.Kind(), typ)
		}
	}
	for _, key := range facts.Scalars() {
		typ, ok := v.Scalars.Type(key)
		fits(key, typ, ok, facts.Scalar(key))
	}
	for _, family := range facts.Families() {
		typ, ok := v.Families.Type(family)
		for _, key := range facts.Members(family) {
			memberType := typ
			if typ == advisor.TypeCatalogue {
				var catalogued bool
				if memberType, catalogued = set.Catalogue.TypeOf(key); !catalogued {
					memberType = advisor.TypeText
				}
			}
			fits(family+"["+key+"]", memberType, ok, facts.Member(family, key))
		}
	}
	for _, table := range facts.Tables() {
		columns := v.Columns(table)
		if !v.HasTable(table) {
			t.Errorf("table %s is not in the vocabulary", table)
		}
		for _, row := range facts.Table(table).Rows {
			for column, f := range row.Cells {
				typ, ok := columns.Type(column)
				fits(table+"."+column, typ, ok, f)
			}
		}
	}
	missing := func(kind string, all, have []string) {
		for _, name := range all {
			if !slices.Contains(have, name) {
				t.Errorf("no collector gives the %s %s", kind, name)
			}
		}
	}
	missing("scalar", v.Scalars.Names(), facts.Scalars())
	missing("table", v.Tables(), facts.Tables())
}

// TestCaptureReplaysTheSameFacts: recording changes nothing, and the replay gives each fact, reason and origin again.
func TestCaptureReplaysTheSameFacts(t *testing.T) {
	set := builtinSet(t)
	file := filepath.Join(t.TempDir(), "host.tcpadvise")
	h, err := Open(Options{Catalogue: set.Catalogue, Record: file, Tool: "test"})
	if err != nil {
		t.Fatal(err)
	}
	facts, id, gaps := h.Facts(t.Context())
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	replay, err := Open(Options{Catalogue: set.Catalogue, Capture: file})
	if err != nil {
		t.Fatal(err)
	}
	again, id2, gaps2 := replay.Facts(t.Context())
	id2.Source = id.Source // live and capture
	if id != id2 || !slices.Equal(gaps, gaps2) {
		t.Errorf("identity %+v and %+v, gaps %v and %v", id, id2, gaps, gaps2)
	}
	for _, key := range facts.Scalars() {
		if a, b := facts.Scalar(key), again.Scalar(key); !sameFact(a, b) {
			t.Errorf("%s: %+v, replayed %+v", key, a, b)
		}
	}
	for _, family := range facts.Families() {
		for _, key := range facts.Members(family) {
			if a, b := facts.Member(family, key), again.Member(family, key); !sameFact(a, b) {
				t.Errorf("%s[%s]: %+v, replayed %+v", family, key, a, b)
			}
		}
	}
	for _, table := range facts.Tables() {
		a, b := facts.Table(table), again.Table(table)
		if a.Unknown != b.Unknown || a.Absent != b.Absent || a.Omitted != b.Omitted ||
			!slices.EqualFunc(a.Rows, b.Rows, func(x, y advisor.Row) bool { return maps.EqualFunc(x.Cells, y.Cells, sameFact) }) {
			t.Errorf("table %s is replayed otherwise", table)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func sameFact(a, b advisor.Fact) bool {
	return a.State == b.State && a.Value.Equal(b.Value) && a.Why == b.Why && a.Origin == b.Origin
}
