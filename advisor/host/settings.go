package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// collectSettings reads the sysctl files as the loader that boots this host does: the table settings, and the family
// declared with the values that the next boot ends with.
func (h *Host) collectSettings(_ context.Context, b *advisor.Builder) []advisor.Gap {
	loader, why := bootLoader(h.tree)
	load := loadProcps
	if loader == bootSystemd || loader == bootUnknown { // nearly all hosts boot by systemd; containers are started by none
		load = loadSystemd
	}
	if loader == bootUnknown {
		b.Set("boot.loader", advisor.Unknown(why, advisor.Origin{}))
	} else {
		b.Set("boot.loader", advisor.Known(advisor.Text(loader), advisor.Origin{Source: why}))
	}
	l := load(h.tree, expandSysctls(h.tree))
	s := settings{load: l, catalogue: h.options.Catalogue, exists: h.keyExists}
	s.record(b)
	return l.Gaps
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
}

func (s settings) record(b *advisor.Builder) {
	unread := ""
	for _, gap := range s.load.Gaps {
		unread = gap.Source + " could not be read: run as root"
	}
	if unread != "" {
		b.SetFamily("declared", advisor.Unknown(unread, advisor.Origin{}))
	}
	for _, w := range s.load.Writes {
		if winner, ok := s.load.winner(w.Key); ok && !w.Glob {
			b.SetMember("declared", w.Key, s.declared(winner))
		}
	}
	b.SetTable("inline_waivers", inlineWaivers(s.load))
	b.SetTable("settings", advisor.Table{Rows: s.rows(), Unknown: unread})
}

// declared is the value that the kernel would make of a write.
func (s settings) declared(w sysctlWrite) advisor.Fact {
	a := s.load.All[w.From]
	origin := origin(a)
	v, err := s.catalogue.ParseSysctl(w.Key, w.Value)
	if err != nil {
		return advisor.Unknown("the kernel refuses it: "+err.Error(), origin)
	}
	return advisor.Known(v, origin)
}

func origin(a sysctlAssignment) advisor.Origin {
	return advisor.Origin{Path: a.File, Line: a.Line, Column: a.Column, Start: a.Start, End: a.End}
}

// rows makes a row of each line that assigns a key.
func (s settings) rows() []advisor.Row {
	type place struct{ file, key string }
	last, count := map[place]int{}, map[place]int{}
	for i, a := range s.load.All {
		if !a.Exclude {
			last[place{a.File, a.Key}] = i
		}
	}
	winners := map[string]int{}
	var rows []advisor.Row
	for i, a := range s.load.All {
		if a.Exclude {
			continue
		}
		at := place{a.File, a.Key}
		count[at]++
		id := fmt.Sprintf("%s %s", a.File, a.Key)
		if n := count[at]; n > 1 {
			id += fmt.Sprintf(" #%d", n)
		}
		if _, ok := winners[a.Key]; !ok {
			winners[a.Key] = -1
			if w, ok := s.load.winner(a.Key); ok {
				winners[a.Key] = w.From
			}
		}
		o := origin(a)
		known := func(v advisor.Value) advisor.Fact { return advisor.Known(v, o) }
		cells := map[string]advisor.Fact{
			"id": known(advisor.Text(id)), "key": known(advisor.Text(a.Key)), "value": known(advisor.Text(a.Value)),
			"path": known(advisor.Text(a.File)), "line": known(advisor.Int(int64(a.Line))),
			"ignores_errors": known(advisor.Bool(a.Ignore)), "glob": known(advisor.Bool(a.Glob)),
			"effective": known(advisor.Bool(winners[a.Key] == i)),
		}
		if !a.Glob {
			cells["exists"] = s.exists(a.Key)
		}
		if later := last[at]; later != i {
			cells["last_value"] = known(advisor.Text(s.load.All[later].Value))
			cells["last_line"] = known(advisor.Int(int64(s.load.All[later].Line)))
		}
		rows = append(rows, advisor.Row{Origin: o, Cells: cells})
	}
	return rows
}

// loadText reads one sysctl file alone, as sysctl -p FILE would.
func loadText(name string, data []byte) *sysctlLoad {
	l := newSysctlLoad("sysctl -p", nil, nil)
	src := sysctlSource{Path: name, File: name, Syntax: conf.ParseSysctl(data)}
	for i := range src.Syntax.Lines {
		if r, ok := src.Syntax.ProcpsReads(i); ok {
			l.add(&src, i, r)
		}
	}
	l.Files = append(l.Files, src)
	l.settleProcps()
	return l
}
