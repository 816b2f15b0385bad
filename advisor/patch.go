package advisor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// PatchStyle says in what form changes are made. The zero PatchStyle is invalid.
type PatchStyle uint8

// The styles.
const (
	PatchInPlace  PatchStyle = iota + 1 // the fewest bytes of the administrator's files
	PatchDropIn                         // one new file of sysctl.d that overrides all others
	PatchAnsible                        // as the module ansible.posix.sysctl writes files
	PatchCommands                       // the running kernel only, no file
)

// Patch is what to change, where, and what was left out and why. What it holds was applied in memory and judged again.
type Patch struct {
	Files    []FileEdit       // files that exist, by path
	NewFiles []FileEdit       // files to create, by path
	Settings []PatchedSetting // by key; the judged ones only
	Commands []PatchedCommand // for the running kernel, to run after; by key
	Replaces []PatchedReplace // in the style of Ansible: what edits files other than sysctl files
	Services []PatchedService // what programs must be told afterwards
	Withheld []WithheldChange // by setting
	Warnings []string         // who will overwrite an edit, and the like
	Remarks  []string         // what no command can do, and what follows for services
}

// FileEdit is one file before and after.
type FileEdit struct {
	Path  string // on the judged host; for files alone as the user named it
	Old   []byte // nil for a new file
	New   []byte
	Hash  string // SHA-256 of Old in hexadecimal digits
	Edits []TextEdit
	Hunks []Hunk
}

// TextEdit replaces the bytes from Start to before End of the old content. Edits are in order and never overlap.
type TextEdit struct {
	Start, End int
	New        string
}

// Hunk is one edit's reasons.
type Hunk struct {
	Line    int    // in the old content, from 1; of a new line that of the line it follows
	What    string // "net.core.somaxconn: 128 -> 4096"
	Safety  Safety
	Rules   []string
	Reasons []string
}

// PatchedSetting is where and how one kernel parameter is set or taken out.
type PatchedSetting struct {
	Key     string
	Value   string // as the file will hold it; empty where Remove is
	Remove  bool
	Path    string   // the file that sets it afterwards, or did before; empty where no file is changed
	Names   []string // the key as that file spells it, each spelling once
	Before  string   // what the file or the kernel says now; empty: not known
	Lost    string   // what the next boot does to the running value where no file is changed
	Safety  Safety
	Rules   []string
	Reasons []string
	Notes   []string
}

// PatchedCommand sets one parameter of the running kernel: sysctl -w KEY=VALUE.
type PatchedCommand struct {
	Key, Value string
	Undo       string // the present value; empty: UndoWhy says why it is not known
	UndoWhy    string
}

// PatchedReplace puts some lines of a file in the place of others. The old ones stand there as often as they are to be replaced.
type PatchedReplace struct {
	Path     string
	Old, New string // whole lines; New may begin with Old
	Hunks    []Hunk
}

// PatchedService is how a program takes up what its files say, and what becomes of its connections.
type PatchedService struct {
	Name        string // empty: nothing needs to be restarted
	Commands    []string
	Connections string
}

// WithheldChange is a change that is not made.
type WithheldChange struct {
	Setting string
	Rules   []string
	Why     string
}

// Empty reports that there is nothing to do, neither in a file nor in the kernel.
func (p *Patch) Empty() bool {
	return len(p.Files)+len(p.NewFiles)+len(p.Commands) == 0
}

// Add takes the parts of another patch in: each file that is judged alone has its own.
func (p *Patch) Add(q *Patch) {
	p.Files = append(p.Files, q.Files...)
	p.NewFiles = append(p.NewFiles, q.NewFiles...)
	p.Settings = append(p.Settings, q.Settings...)
	for _, c := range q.Commands {
		if !slices.Contains(p.Commands, c) {
			p.Commands = append(p.Commands, c)
		}
	}
	p.Replaces = append(p.Replaces, q.Replaces...)
	for _, s := range q.Services {
		p.AddService(s)
	}
	p.Withheld = append(p.Withheld, q.Withheld...)
	p.Warnings = append(p.Warnings, q.Warnings...)
	for _, remark := range q.Remarks {
		if !slices.Contains(p.Remarks, remark) {
			p.Remarks = append(p.Remarks, remark)
		}
	}
}

func (s PatchedService) same(o PatchedService) bool {
	return s.Name == o.Name && s.Connections == o.Connections && slices.Equal(s.Commands, o.Commands)
}

// AddService takes in what a program must be told, once.
func (p *Patch) AddService(s PatchedService) {
	if !slices.ContainsFunc(p.Services, s.same) {
		p.Services = append(p.Services, s)
	}
}

// Reverse is the edit that restores the file.
func (e FileEdit) Reverse() FileEdit {
	back := FileEdit{Path: e.Path, Old: e.New, New: e.Old, Hunks: e.Hunks}
	shift := 0
	for _, edit := range e.Edits {
		start := edit.Start + shift
		back.Edits = append(back.Edits, TextEdit{start, start + len(edit.New), string(e.Old[edit.Start:edit.End])})
		shift += len(edit.New) - (edit.End - edit.Start)
	}
	return back
}

// Revise returns a Builder that starts with the facts of f, without those that a collector is to read anew: families and
// tables by name.
func (f *Facts) Revise(anew ...string) *Builder {
	b := &Builder{}
	for key, fact := range f.scalars {
		b.Set(key, fact)
	}
	for family, members := range f.families {
		for key, fact := range members {
			if !slices.Contains(anew, family) {
				b.SetMember(family, key, fact)
			}
		}
	}
	for family, fact := range f.whole {
		if !slices.Contains(anew, family) {
			b.SetFamily(family, fact)
		}
	}
	for name, t := range f.tables {
		if !slices.Contains(anew, name) {
			b.setTable(name, t.clone())
		}
	}
	return b
}

// ParseSafety reads "safe", "review" or "manual".
func ParseSafety(name string) (Safety, error) {
	if s, ok := safetyNames[name]; ok {
		return s, nil
	}
	return 0, fmt.Errorf("%q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(safetyNames)), ", "))
}
