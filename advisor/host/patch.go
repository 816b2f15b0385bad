package host

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// PatchOptions say in what form changes are made, and who judges the result.
type PatchOptions struct {
	Style advisor.PatchStyle
	Judge func(*advisor.Facts) *advisor.Diagnosis // with the rules and options that made the diagnosis
}

// site is where changes are made: a host, or one file that is judged alone.
type site struct {
	tree      tree   // as the collectors read it: without secrets
	alone     string // the file; empty: a host
	onlyConf  bool   // the loader reads /etc/sysctl.conf and nothing else
	catalogue *advisor.Catalogue
	readings  *readings                                                              // what the files held when they were judged
	raw       func(file string) ([]byte, error)                                      // with secrets, for the lines around an edit
	refuse    func(file string) string                                               // why the file that is judged alone must be left alone
	load      func(changed map[string][]byte) sysctlLoads                            // as the loaders would read the sysctl files
	facts     func(changed map[string][]byte, loads sysctlLoads, b *advisor.Builder) // what these say, or the file that is judged alone
	services  func(changed map[string][]byte, b *advisor.Builder)                    // what the files of services say, read anew
	live      func(key string) (string, bool)                                        // a running value that is not among the facts
	nginx     func() []*nginxConf                                                    // the configurations of nginx, with each line of what they hold
	units     func() *units                                                          // of a host, before

	originals map[string]*original // the files that were opened
}

// absolute is the path by which secrets are masked.
func (s *site) absolute(file string) string {
	if absolute, err := filepath.Abs(file); err == nil {
		return absolute
	}
	return file
}

// Edits turns changes into edits of this host's files, and proves them: they are made in memory, the files are read again
// and judged again. A change after which its finding stays, or another one comes, is withheld.
func (h *Host) Edits(ctx context.Context, facts *advisor.Facts, d *advisor.Diagnosis, changes []advisor.Change, o PatchOptions) *advisor.Patch {
	raw := h.tree
	if h.record != nil {
		raw = h.record.inner
	}
	if m, ok := raw.(masked); ok {
		raw = m.tree
	}
	before := h.loads
	if before == nil {
		now := loadSysctls(h.tree, nil)
		before = &now
	}
	units := sync.OnceValue(func() *units { return newUnits(h.tree) })
	s := &site{
		tree: h.tree, units: units, onlyConf: before.loader == bootBusybox, catalogue: h.options.Catalogue, readings: h.readings,
		raw: func(file string) ([]byte, error) {
			if kept := h.readings.kept(file); kept != nil {
				if disk, ok := raw.(*dirTree); ok && disk.holds(file, kept) {
					return kept, nil
				}
			}
			return raw.read(file, fileLimit)
		},
		load: func(changed map[string][]byte) sysctlLoads {
			if len(changed) == 0 {
				return *before
			}
			known := maps.Clone(before.parsed)
			maps.DeleteFunc(known, func(file string, _ *conf.SysctlFile) bool { _, ok := changed[file]; return ok })
			return loadSysctls(overlay{h.tree, changed}, known)
		},
		facts: func(changed map[string][]byte, loads sysctlLoads, b *advisor.Builder) {
			after := &Host{tree: overlay{h.tree, changed}, options: h.options}
			after.recordSettings(loads, b)
		},
		services: func(changed map[string][]byte, b *advisor.Builder) {
			after := h.after(overlay{h.tree, changed})
			if slices.ContainsFunc(slices.Collect(maps.Keys(changed)), isUnitPath) {
				after.restarted(units(), b)
			}
			for _, collect := range append(after.fileCollectors(), after.joiningCollectors()...) {
				collect(ctx, b)
			}
		},
		nginx: sync.OnceValue(func() []*nginxConf { return wholeNginx(h.tree, h.parts[0].services, h.options.NginxConfs) }),
		live: func(key string) (string, bool) {
			file, err := sysctlPath(key)
			if err != nil || isSecret(key) {
				return "", false
			}
			data, err := h.tree.read(file, 1<<20)
			return strings.TrimSpace(string(data)), err == nil
		},
	}
	return s.patch(facts, d, changes, o)
}

// after is this host once files are changed: the machine's own part, for whose services the files are.
func (h *Host) after(changed tree) *part {
	return &part{host: &Host{tree: changed, options: h.options}, tree: changed, machine: true, services: h.parts[0].services}
}

// Edits turns changes into edits of the one file that facts are about.
func (f *Files) Edits(_ context.Context, facts *advisor.Facts, before *advisor.Diagnosis, changes []advisor.Change, o PatchOptions) *advisor.Patch {
	name, kind, why := f.editable(facts, changes)
	if why != "" {
		p := &advisor.Patch{}
		for _, c := range changes {
			p.Withheld = append(p.Withheld, advisor.WithheldChange{Setting: c.Setting, Rules: c.Rules, Why: why})
		}
		return p
	}
	s := &site{
		tree: f.tree, alone: name, catalogue: f.options.Catalogue, readings: f.readings,
		live:     func(string) (string, bool) { return "", false },
		services: func(map[string][]byte, *advisor.Builder) {}, // facts does it
	}
	s.raw = func(file string) ([]byte, error) { return f.tree.read(s.absolute(file), fileLimit) }
	s.refuse = func(file string) string {
		if info, err := os.Lstat(file); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return file + " is a symbolic link: name the file that it leads to"
		}
		return ""
	}
	content := func(changed map[string][]byte) []byte {
		if data, ok := changed[name]; ok {
			return data
		}
		data, _ := s.raw(name) // it was read a moment ago; what is gone is empty, and then no change is proven
		return maskSecrets(s.absolute(name), data)
	}
	s.load = func(changed map[string][]byte) sysctlLoads {
		load := newSysctlLoad("", nil, nil)
		if kind == "sysctl" {
			load = loadText(name, content(changed))
		}
		return sysctlLoads{boot: load, reload: load}
	}
	s.nginx = sync.OnceValue(func() []*nginxConf {
		c, _ := nginxAlone(name, content(nil), true) // a broken file has no findings
		return []*nginxConf{c}
	})
	s.facts = func(changed map[string][]byte, _ sysctlLoads, b *advisor.Builder) {
		again := *f // what it counts while judging is of no interest
		again.gaps = nil
		again.judge(name, content(changed), slices.Contains(f.operands, name), func(read *advisor.Facts) bool {
			*b = *read.Revise()
			return false
		})
	}
	return s.patch(facts, before, changes, o)
}

// editable is the one file that all changes are of, and its type; why says that it cannot be edited.
func (f *Files) editable(facts *advisor.Facts, changes []advisor.Change) (name, kind, why string) {
	kinds := []string{"sysctl"}
	for _, c := range changes {
		k, at := kindOf(c.Setting)
		if k == nil {
			continue
		}
		kinds = k.operands
		if name == "" {
			name = at.file
		}
		if name != at.file {
			return "", "", "the settings are spread over several files: change them by hand"
		}
	}
	for row := range facts.Rows("settings") {
		switch {
		case name == "":
			name = row.Origin.Path
		case name != row.Origin.Path:
			return "", "", "the settings are spread over several files: change them by hand"
		}
	}
	if name == "-" {
		return "", "", "standard input has no name that a patch could give: name the file"
	}
	data, err := f.tree.read((&site{}).absolute(name), fileLimit)
	if err != nil {
		return "", "", fmt.Sprintf("%s cannot be read again: %v", name, err)
	}
	t, ok := f.recognise(name, maskSecrets(name, data), slices.Contains(f.operands, name))
	switch {
	case !ok || !slices.Contains(kinds, t.name):
		return "", "", fmt.Sprintf("%s is no %s file: change it by hand", name, strings.Join(kinds, " or "))
	case len(conf.Markers(data)) > 0:
		return "", "", name + " is a template: change it by hand"
	}
	return name, t.name, ""
}
