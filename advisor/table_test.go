package advisor

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTableGivesBackWhatItWasGiven: how Facts keep a table loses no fact, no reason and no origin.
func TestTableGivesBackWhatItWasGiven(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		given := rapid.Custom(drawTable).Draw(rt, "table")
		var b Builder
		if rapid.Bool().Draw(rt, "row by row") {
			b.SetTable("t", Table{Unknown: given.Unknown, Absent: given.Absent, Omitted: given.Omitted})
			cells := map[string]Fact{} // one for all rows, as a collector may have it
			for _, row := range given.Rows {
				clear(cells)
				maps.Copy(cells, row.Cells)
				b.AddRow("t", Row{row.Origin, cells})
			}
		} else {
			b.SetTable("t", given)
		}
		facts := b.Facts()
		revised := facts.Revise()
		revised.AddRow("t", Row{Cells: map[string]Fact{"further": Known(Int(1), Origin{})}})
		got := facts.Table("t")
		if got.Unknown != given.Unknown || got.Absent != given.Absent || got.Omitted != given.Omitted {
			rt.Errorf("%+v, given %+v", got, given)
		}
		if !slices.EqualFunc(got.Rows, given.Rows, sameRow) {
			rt.Errorf("rows %+v\ngiven %+v", got.Rows, given.Rows)
		}
		if each := slices.Collect(facts.Rows("t")); !slices.EqualFunc(each, given.Rows, sameRow) {
			rt.Errorf("one by one %+v\ngiven %+v", each, given.Rows)
		}
	})
}

func sameRow(a, b Row) bool {
	return a.Origin == b.Origin && maps.EqualFunc(a.Cells, b.Cells, func(x, y Fact) bool { return x.equal(y) })
}

func drawTable(t *rapid.T) Table {
	return Table{
		Rows:    rapid.SliceOfN(rapid.Custom(drawRow), 0, 6).Draw(t, "rows"),
		Unknown: rapid.SampledFrom([]string{"", "run as root"}).Draw(t, "unknown"),
		Omitted: rapid.IntRange(0, 2).Draw(t, "omitted"),
	}
}

func drawRow(t *rapid.T) Row {
	columns := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	return Row{drawOrigin(t), rapid.MapOfN(columns, rapid.Custom(drawFact), 0, 5).Draw(t, "cells")}
}

func drawOrigin(t *rapid.T) Origin {
	return rapid.SampledFrom([]Origin{{}, {Path: "/a", Line: 1}, {Path: "/a", Line: 2}, {Source: "sock_diag"}}).Draw(t, "origin")
}

func drawFact(t *rapid.T) Fact {
	values := []Value{Int(0), Int(-7), Text(""), Text("x"), Bool(true), Tuple(1, 2, 3), Ports(PortRange(1, 9)), Duration(5), Unlimited()}
	why := rapid.SampledFrom([]string{"", "closed"}).Draw(t, "why")
	return rapid.SampledFrom([]Fact{
		Known(rapid.SampledFrom(values).Draw(t, "value"), drawOrigin(t)), Absent(why, drawOrigin(t)), Unknown(why, drawOrigin(t)), {},
	}).Draw(t, "fact")
}

// TestRowsAreKeptSmall: a file of 100,000 lines has as many rows. As maps of facts they would take 2.4 kB each.
func TestRowsAreKeptSmall(t *testing.T) {
	const rows, most = 1000, 900 // bytes of a row with 11 cells, its texts apart
	columns := strings.Split("abcdefghijk", "")
	cells := map[string]Fact{}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var b Builder
	b.SetTable("t", Table{})
	for i := range rows {
		o := Origin{Path: "/etc/sysctl.conf", Line: i + 1, Column: 5}
		for _, column := range columns {
			cells[column] = Known(Text("x"), o)
		}
		cells["k"] = Absent("no kernel runs here", Origin{})
		b.AddRow("t", Row{o, cells})
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / rows; each > most {
		t.Errorf("%d bytes for a row, want at most %d", each, most)
	}
	runtime.KeepAlive(&b)
}
