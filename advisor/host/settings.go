package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// collectSettings reads the sysctl files as the loader that boots this host does: the table settings, and the family
// declared with the values that the next boot ends with.
func (h *Host) collectSettings(_ context.Context, b *advisor.Builder) []advisor.Gap {
	loads := loadSysctls(h.tree, nil)
	if h.options.Edits {
		h.loads = &loads
	}
	h.recordSettings(loads, b)
	if h.record != nil { // for `why`, which also says what is in the files that no loader opens
		for _, m := range slices.Concat(loads.boot.Masked, loads.reload.Masked) {
			maskedLines(h.tree, m.Path, "", false) // it reads them, and so they are recorded
		}
	}
	return distinctGaps(slices.Concat(loads.boot.Gaps, loads.reload.Gaps))
}

// recordSettings tells what the loads come to.
func (h *Host) recordSettings(loads sysctlLoads, b *advisor.Builder) {
	if loads.loader == bootUnknown {
		b.Set("boot.loader", advisor.Unknown(loads.why, advisor.Origin{}))
	} else {
		b.Set("boot.loader", advisor.Known(advisor.Text(loads.loader), advisor.Origin{Source: loads.why}))
	}
	release, _ := b.Scalar("kernel.release").Value.Text()
	more := hostRows{
		loads: loads, catalogue: h.options.Catalogue, winners: map[string]int{},
		running: func(key string) advisor.Fact { return runningText(b.Member("sysctl", key)) },
		modules: bootModules(h.tree, loads.loader, release),
	}
	s := settings{
		load: loads.boot, catalogue: h.options.Catalogue, exists: h.keyExists, more: more.add,
		sources: slices.Concat(loads.boot.Files, loads.reload.Files),
	}
	s.record(b)
	loads.record(h.tree, b, h.options.Catalogue)
}

// keyExists asks the running kernel for a key; absent where none runs.
func (h *Host) keyExists(key string) advisor.Fact {
	if _, err := h.tree.resolve(procSys); err != nil {
		return advisor.Absent(noKernel, advisor.Origin{})
	}
	path, err := sysctlPath(key)
	if err != nil {
		return advisor.Known(advisor.Bool(false), advisor.Origin{Path: procSys})
	}
	_, err = h.tree.resolve(path)
	switch {
	case err == nil:
		return advisor.Known(advisor.Bool(true), advisor.Origin{Path: path})
	case errors.Is(err, fs.ErrNotExist):
		return advisor.Known(advisor.Bool(false), advisor.Origin{Path: path})
	}
	return advisor.Unknown(err.Error(), advisor.Origin{Path: path})
}

// settings turns what a loader read into facts.
type settings struct {
	load      *sysctlLoad
	catalogue *advisor.Catalogue
	exists    func(key string) advisor.Fact
	unknown   map[int]string // by index in load.All: why a value is not known
	// lists tells, by index in load.All, which lines follow on one another: those of one list. Where there are several, no
	// one knows which of them come to be. nil: all lines are of one list, and the load says which win.
	lists    []int
	ids      map[string]int                                                 // how many lines of a file and key other settings have had; nil: there are no others
	readings bool                                                           // the lines are not to set anything: sysctl -a printed them
	more     func(i int, a sysctlAssignment, cells map[string]advisor.Fact) // what a host adds to the row of load.All[i]; nil: nothing
	sources  []sysctlSource                                                 // searched for malformed lines; a file may be among them twice
}

// printed reports whether the lines are not to set anything: sysctl -a printed them. It is told by the keys that nobody can
// set. The line that names the kernel which printed them has a zero Key where it was left out.
func (s settings) printed() (release sysctlAssignment, ok bool) {
	const most, least = 100, 2 // more lines than a person writes; a read-only key alone may be a person's error
	readOnly := 0
	for _, a := range s.load.All {
		switch {
		case a.Exclude:
		case a.Key == "kernel.osrelease":
			return a, true
		case s.isReadOnly(a.Key):
			readOnly++
		}
	}
	return sysctlAssignment{}, readOnly >= least && len(s.load.All) > most
}

// disputed are the keys to which different lists give different values.
func (s settings) disputed() map[string]bool {
	if s.lists == nil {
		return nil
	}
	first, out := map[string]int{}, map[string]bool{}
	for i, a := range s.load.All {
		if j, ok := first[a.Key]; !ok {
			first[a.Key] = i
		} else if s.list(i) != s.list(j) && !s.catalogue.SameValue(a.Key, a.Value, s.load.All[j].Value) {
			out[a.Key] = true
		}
	}
	return out
}

// apart are n lists of one line each.
func apart(n int) []int {
	lists := make([]int, n)
	for i := range lists {
		lists[i] = i
	}
	return lists
}

// list is the list that a line is of.
func (s settings) list(i int) int {
	if s.lists == nil {
		return 0
	}
	return s.lists[i]
}

// value is the text of a line.
func (s settings) value(i int) advisor.Fact {
	a := s.load.All[i]
	if why, ok := s.unknown[i]; ok {
		return advisor.Unknown(why, origin(a))
	}
	return advisor.Known(advisor.Text(a.Value), origin(a))
}

func (s settings) record(b *advisor.Builder) {
	unread := ""
	for _, gap := range s.load.Gaps {
		unread = unreadable(gap)
	}
	if unread != "" {
		b.SetFamily("declared", advisor.Unknown(unread, advisor.Origin{}))
	}
	disputed := s.disputed()
	for _, w := range s.load.Writes {
		if winner, ok := s.load.winner(w.Key); ok && !w.Glob {
			b.SetMember("declared", w.Key, s.declared(winner, disputed))
		}
	}
	b.SetTable("inline_waivers", inlineWaivers(s.load))
	b.SetTable("settings", advisor.Table{Unknown: unread})
	for row := range s.rows() {
		b.AddRow("settings", row)
	}
	b.SetTable("malformed", advisor.Table{Rows: s.malformed(), Unknown: unread})
}

// declared is the value that the kernel would make of a write.
func (s settings) declared(w sysctlWrite, disputed map[string]bool) advisor.Fact {
	origin := origin(s.load.All[w.From])
	if why, ok := s.unknown[w.From]; ok {
		return advisor.Unknown(why, origin)
	}
	if disputed[w.Key] {
		return advisor.Unknown("it is set more than once, and which of these comes last is not in the file", origin)
	}
	v, err := s.catalogue.ParseSysctl(w.Key, w.Value)
	if err != nil {
		return advisor.Unknown("the kernel refuses it: "+err.Error(), origin)
	}
	return advisor.Known(v, origin)
}

func origin(a sysctlAssignment) advisor.Origin {
	return advisor.Origin{Path: a.File, Line: a.Line, Column: a.Column, Start: a.Start, End: a.End}
}

// rows makes a row of each line that assigns a key. The rows share one map.
func (s settings) rows() iter.Seq[advisor.Row] {
	return func(yield func(advisor.Row) bool) {
		type group struct {
			file, key string
			list      int
		}
		last := make(map[group]int, len(s.load.All))
		for i, a := range s.load.All {
			if !a.Exclude {
				last[group{a.File, a.Key, s.list(i)}] = i
			}
		}
		ids := s.ids
		if ids == nil {
			ids = make(map[string]int, len(s.load.All))
		}
		cells := map[string]advisor.Fact{}
		for i, a := range s.load.All {
			if a.Exclude || s.readings && s.isReadOnly(a.Key) {
				continue
			}
			id := a.File + " " + a.Key
			if ids[id]++; ids[id] > 1 {
				id += fmt.Sprintf(" #%d", ids[id])
			}
			clear(cells)
			s.fill(cells, i, last[group{a.File, a.Key, s.list(i)}])
			cells["id"] = advisor.Known(advisor.Text(id), origin(a))
			if !yield(advisor.Row{Origin: origin(a), Cells: cells}) {
				return
			}
		}
	}
}

// fill writes the row of load.All[i]; later is the last line of its list that assigns the same key.
func (s settings) fill(cells map[string]advisor.Fact, i, later int) {
	a := s.load.All[i]
	o := origin(a)
	known := func(column string, v advisor.Value) { cells[column] = advisor.Known(v, o) }
	w, ok := s.load.winner(a.Key)
	effective := ok && w.From == i
	if s.lists != nil {
		effective = later == i && a.Refused == ""
	}
	known("key", advisor.Text(a.Key))
	cells["value"] = s.value(i)
	known("path", advisor.Text(a.File))
	known("line", advisor.Int(int64(a.Line)))
	known("ignores_errors", advisor.Bool(a.Ignore))
	known("glob", advisor.Bool(a.Glob))
	known("effective", advisor.Bool(effective))
	if !a.Glob {
		cells["exists"] = s.exists(a.Key)
	}
	if later != i {
		cells["last_value"] = s.value(later)
		known("last_line", advisor.Int(int64(s.load.All[later].Line)))
	}
	if s.more != nil {
		s.more(i, a, cells)
	}
}

func (s settings) isReadOnly(key string) bool {
	p, _ := s.catalogue.Lookup(key)
	return p.ReadOnly
}

// loadText reads one sysctl file alone, as sysctl -p FILE would.
func loadText(name string, data []byte) *sysctlLoad {
	l := newSysctlLoad("sysctl -p", nil, nil)
	src := sysctlSource{Path: name, File: name, Syntax: conf.ParseSysctl(data)}
	l.All = make([]sysctlAssignment, 0, len(src.Syntax.Lines))
	for i := range src.Syntax.Lines {
		if r, ok := src.Syntax.ProcpsReads(i); ok {
			l.add(&src, i, r)
		}
	}
	l.Files = append(l.Files, src)
	l.settleProcps()
	return l
}
