package conf

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
)

// Span is a run of bytes of a file: from Start to before End.
type Span struct{ Start, End int }

// Len is the number of bytes.
func (s Span) Len() int { return s.End - s.Start }

// Edit replaces the bytes of a span; an empty span inserts, an empty New removes.
type Edit struct {
	Span Span
	New  string
}

// Apply returns data with the edits made. Edits may come in any order; several insertions at one place are made in the
// order given. Edits that overlap or lie outside data are an error: each was computed against the same data, so one of
// them would change what the other means.
func Apply(data []byte, edits []Edit) ([]byte, error) {
	sorted := slices.Clone(edits)
	slices.SortStableFunc(sorted, func(a, b Edit) int { return a.Span.Start - b.Span.Start })
	size, last := len(data), 0
	for _, e := range sorted {
		if e.Span.Start < last || e.Span.End < e.Span.Start || e.Span.End > len(data) {
			return nil, fmt.Errorf("edit of bytes %d to %d overlaps another or lies outside the %d bytes", e.Span.Start, e.Span.End, len(data))
		}
		last = e.Span.End
		size += len(e.New) - e.Span.Len()
	}
	out := make([]byte, 0, size)
	last = 0
	for _, e := range sorted {
		out = append(out, data[last:e.Span.Start]...)
		out = append(out, e.New...)
		last = e.Span.End
	}
	return append(out, data[last:]...), nil
}

// LineIndex finds the line of a byte. Lines end at "\n", as editors and compilers count them.
type LineIndex struct {
	starts []int // offset of each line's first byte; the first is 0
}

// IndexLines reads data once. Data without a byte is one empty line.
func IndexLines(data []byte) LineIndex {
	starts := make([]int, 1, bytes.Count(data, []byte{'\n'})+1)
	for at := 0; ; {
		n := bytes.IndexByte(data[at:], '\n')
		if n < 0 {
			return LineIndex{starts}
		}
		at += n + 1
		starts = append(starts, at)
	}
}

// Position returns the 1-based line and the 1-based byte column of an offset. The offset just after the last byte is
// that of an insertion at the end; a larger one counts as on the last line, one below zero as the first byte.
func (x LineIndex) Position(offset int) (line, column int) {
	if len(x.starts) == 0 || offset < 0 {
		return 1, max(offset, 0) + 1
	}
	line = sort.SearchInts(x.starts, offset+1)
	return line, offset - x.starts[line-1] + 1
}
