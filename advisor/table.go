package advisor

import (
	"iter"
	"maps"
	"slices"
)

// Row is one row of a table, as collectors make it and as readers get it: cells by column. A column without a cell is absent.
type Row struct {
	Origin Origin
	Cells  map[string]Fact
}

// Table is the rows of one table, or the reason why it could not be read.
type Table struct {
	Rows    []Row
	Unknown string // not empty: the table, or a part of it, could not be read, and this is why
	Absent  string // not empty: this input has no such table (files alone have no sockets)
	Omitted int    // rows beyond the collector's cap: summed, not kept
}

// table is a Table as Facts keep it: a file may have 100,000 lines, and a row as a map of facts takes 3 kB. Here the rows share
// one list of columns, and a cell takes 40 bytes: most are a number or a text that was read where the row was.
type table struct {
	about   Table // all but its rows
	columns map[string]int
	rows    []storedRow
}

// storedRow is the cells of a row in the order of the table's columns; those that it has not may be missing at its end.
type storedRow struct {
	origin Origin
	cells  []cell
}

// cell is a fact less what its row says too. Where state is zero it is whole; where that is nil there is no cell.
type cell struct {
	state State
	kind  Kind
	num   int64
	text  string // the Value's, or why there is none
	whole *Fact  // read elsewhere than the row, or of a kind that num and text do not hold
}

// newTable stores a Table.
func newTable(t Table) *table {
	stored := &table{about: t, columns: map[string]int{}, rows: make([]storedRow, 0, len(t.Rows))}
	stored.about.Rows = nil
	for _, row := range t.Rows {
		stored.add(row)
	}
	return stored
}

// clone is a table that grows apart from t.
func (t *table) clone() *table {
	return &table{about: t.about, columns: maps.Clone(t.columns), rows: slices.Clip(t.rows)}
}

// add stores a row; it keeps nothing of the row's map.
func (t *table) add(row Row) {
	for column := range row.Cells {
		if _, ok := t.columns[column]; !ok {
			t.columns[column] = len(t.columns)
		}
	}
	stored := storedRow{row.Origin, make([]cell, len(t.columns))}
	for column, fact := range row.Cells {
		i := t.columns[column]
		stored.cells[i] = t.shared(i, newCell(fact, row.Origin))
	}
	t.rows = append(t.rows, stored)
}

func newCell(f Fact, row Origin) cell {
	v := f.Value
	plain := v.list == nil && (v.text == "" || f.Why == "") && (v.kind == 0) == (f.State != StateKnown)
	if !plain || f.State == 0 || f.Origin != row {
		whole := f
		return cell{whole: &whole}
	}
	return cell{state: f.State, kind: v.kind, num: v.num, text: v.text + f.Why}
}

// shared is c, or the same as the row before has it: what each line of a file says alike is kept once.
func (t *table) shared(column int, c cell) cell {
	if c.whole == nil || len(t.rows) == 0 {
		return c
	}
	above := t.rows[len(t.rows)-1].cells
	if column < len(above) && above[column].whole != nil && above[column].whole.equal(*c.whole) {
		return above[column]
	}
	return c
}

func (f *Fact) equal(g Fact) bool {
	return f.State == g.State && f.Why == g.Why && f.Origin == g.Origin && f.Value.Equal(g.Value)
}

func (c cell) fact(row Origin) (f Fact, ok bool) {
	switch {
	case c.whole != nil:
		return *c.whole, true
	case c.state == StateKnown:
		return Fact{State: c.state, Value: Value{kind: c.kind, num: c.num, text: c.text}, Origin: row}, true
	}
	return Fact{State: c.state, Why: c.text, Origin: row}, c.state != 0
}

// boundRow is a row that an expression looks at.
type boundRow struct {
	storedRow
	table *table
}

// cell returns the fact in a column, and whether there is one; the zero Fact where there is none.
func (r boundRow) cell(column string) (Fact, bool) {
	i, ok := r.table.columns[column]
	if !ok || i >= len(r.cells) {
		return Fact{}, false
	}
	return r.cells[i].fact(r.origin)
}

// known returns the Value in a column; the zero Value where none is known.
func (r boundRow) known(column string) Value {
	if fact, _ := r.cell(column); fact.State == StateKnown {
		return fact.Value
	}
	return Value{}
}

// bound yields the rows without copying them.
func (t *table) bound() iter.Seq2[int, boundRow] {
	return func(yield func(int, boundRow) bool) {
		for i, row := range t.rows {
			if !yield(i, boundRow{row, t}) {
				return
			}
		}
	}
}

// row is a stored row as others see it.
func (t *table) row(stored storedRow) Row {
	row := Row{stored.origin, make(map[string]Fact, len(stored.cells))}
	for column := range t.columns {
		if fact, ok := (boundRow{stored, t}).cell(column); ok {
			row.Cells[column] = fact
		}
	}
	return row
}

// SetTable records a table; a later SetTable of the same name replaces it.
func (b *Builder) SetTable(name string, t Table) { b.setTable(name, newTable(t)) }

// AddRow adds a row to a table that SetTable began. It copies the cells, so that their map may serve for the next row: tables
// that grow with the input are recorded row by row.
func (b *Builder) AddRow(name string, row Row) { b.f.tables[name].add(row) }

func (b *Builder) setTable(name string, t *table) {
	if b.f.tables == nil {
		b.f.tables = map[string]*table{}
	}
	b.f.tables[name] = t
}

// Table returns the table of that name; absent if no collector gave one. Its rows are made for the caller: Rows makes one at a time.
func (f *Facts) Table(name string) Table {
	stored := f.table(name)
	t := stored.about
	for _, row := range stored.rows {
		t.Rows = append(t.Rows, stored.row(row))
	}
	return t
}

// Rows yields the rows of a table.
func (f *Facts) Rows(name string) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		stored := f.table(name)
		for _, row := range stored.rows {
			if !yield(stored.row(row)) {
				return
			}
		}
	}
}

func (f *Facts) table(name string) *table {
	if t, ok := f.tables[name]; ok {
		return t
	}
	return &table{about: Table{Absent: "not collected"}}
}
