package host

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// This file finds what becomes of sysctl files on a host: who overrides whom, what a reload makes of them that a boot does
// not, what the running kernel has instead, and who else writes kernel parameters.

// sysctlLoads are both readings of a host's sysctl files.
type sysctlLoads struct {
	boot   *sysctlLoad // by what sets them at boot
	reload *sysctlLoad // by `sysctl --system`; the same as boot where that is what runs at boot
	loader string      // see bootLoader
	why    string
	parsed parsedFiles
}

// parsedFiles are files by the path that links lead to, parsed once for both readings.
type parsedFiles map[string]*conf.SysctlFile

// loadSysctls reads them; known are files that are parsed already, which it does not change.
func loadSysctls(t tree, known parsedFiles) sysctlLoads {
	l := sysctlLoads{parsed: maps.Clone(known)}
	if l.parsed == nil {
		l.parsed = parsedFiles{}
	}
	l.loader, l.why = bootLoader(t)
	expand := expandSysctls(t)
	l.reload = loadProcps(t, expand, l.parsed)
	l.boot = l.reload
	if l.loader == bootSystemd || l.loader == bootUnknown { // nearly all hosts boot by systemd; containers are started by none
		l.boot = loadSystemd(t, expand, l.parsed)
	}
	return l
}

// reloadCommand tells whether a person can type `sysctl --system` here; why says why not. A tree without any directory of
// commands holds configuration only, and says nothing about commands.
func reloadCommand(t tree) (ok bool, why string) {
	anywhere := false
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if _, err := t.resolve(dir); err != nil {
			continue
		}
		anywhere = true
		target, err := t.resolve(dir + "/sysctl")
		switch {
		case err != nil:
		case path.Base(target) == "busybox":
			return false, dir + "/sysctl is busybox, which has no --system"
		default:
			return true, ""
		}
	}
	if anywhere {
		return false, "sysctl(8) is not installed"
	}
	return true, ""
}

// fileOwner says whose a file is, by the directory in which a loader finds it (sysctl.d(5)).
func fileOwner(name string) string {
	switch {
	case strings.HasPrefix(name, "/etc/"):
		return "admin"
	case strings.HasPrefix(name, "/run/"):
		return "runtime"
	}
	return "vendor"
}

// hostRows knows what the rows of the table settings say on a host and not in a file alone.
type hostRows struct {
	loads     sysctlLoads
	catalogue *advisor.Catalogue
	running   func(key string) advisor.Fact
	modules   func(module string) bool // loaded before the files are read
	winners   map[string]int
}

func (h *hostRows) add(i int, a sysctlAssignment, cells map[string]advisor.Fact) {
	o := origin(a)
	known := func(s string) advisor.Fact { return advisor.Known(advisor.Text(s), o) }
	cells["owner"] = known(fileOwner(a.Path))
	if a.Glob {
		return
	}
	if w := h.winner(a.Key); w >= 0 && w != i && h.loads.boot.All[w].File != a.File {
		by := h.loads.boot.All[w]
		cells["shadowed_by"] = known(whereOf(by))
		if !by.Exclude {
			cells["shadowed_value"] = known(by.Value)
		}
		cells["shadowed_by_owner"] = known(fileOwner(by.Path))
	}
	if running := h.running(a.Key); running.State != advisor.StateAbsent && h.catalogued(a.Key) {
		if _, err := h.catalogue.ParseSysctl(a.Key, a.Value); err == nil {
			cells["running"] = running
		}
	}
	if module := moduleOf(h.catalogue, a.Key); module != "" {
		cells["module"] = known(module)
		cells["module_at_boot"] = advisor.Known(advisor.Bool(h.modules(module)), o)
	}
}

func (h *hostRows) catalogued(key string) bool {
	_, ok := h.catalogue.TypeOf(key)
	return ok
}

// winner is the line of the boot's load that decides a key; one that takes the key back counts, for it decides too.
func (h *hostRows) winner(key string) int {
	if at, ok := h.winners[key]; ok {
		return at
	}
	at := -1
	if w, ok := h.loads.boot.winner(key); ok {
		at = w.From
	} else if lines := h.loads.boot.byKey[key]; len(lines) > 0 && h.loads.boot.All[lines[len(lines)-1]].Exclude {
		at = lines[len(lines)-1]
	}
	h.winners[key] = at
	return at
}

func whereOf(a sysctlAssignment) string { return fmt.Sprintf("%s:%d", a.File, a.Line) }

// runningText is the running value as a file would have it.
func runningText(fact advisor.Fact) advisor.Fact {
	if fact.State == advisor.StateKnown {
		return advisor.Known(advisor.Text(fact.Value.String()), fact.Origin)
	}
	return fact
}

// differences finds the keys with which the host ends differently after a boot and after `sysctl --system`, a row for each
// file at fault: one that only one of both reads makes all its lines differ, and that is one mistake.
func (l sysctlLoads) differences(c *advisor.Catalogue) []advisor.Row {
	keys := map[string]bool{}
	for _, load := range []*sysctlLoad{l.boot, l.reload} {
		for key := range load.last {
			keys[key] = true
		}
	}
	type outcome struct {
		key          string
		boot, reload *sysctlAssignment
	}
	byFile := map[string][]outcome{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		boot, reload := l.boot.decides(key), l.reload.decides(key)
		switch {
		case boot == nil && reload == nil, boot != nil && reload != nil && c.SameValue(key, boot.Value, reload.Value):
			continue
		}
		at := cmp.Or(reload, boot)
		byFile[at.File] = append(byFile[at.File], outcome{key, boot, reload})
	}
	reads := func(load *sysctlLoad, file string) bool { return load.read[file] != nil }
	var rows []advisor.Row
	for _, file := range slices.Sorted(maps.Keys(byFile)) {
		all := byFile[file]
		slices.SortStableFunc(all, func(a, b outcome) int {
			return cmp.Compare(cmp.Or(a.reload, a.boot).Line, cmp.Or(b.reload, b.boot).Line)
		})
		first := all[0]
		o := origin(*cmp.Or(first.reload, first.boot))
		known := func(v advisor.Value) advisor.Fact { return advisor.Known(v, o) }
		var names []string
		for _, one := range all {
			names = append(names, one.key)
		}
		cells := map[string]advisor.Fact{
			"path": known(advisor.Text(file)), "line": known(advisor.Int(int64(o.Line))), "settings": known(advisor.Int(int64(len(all)))),
			"first": known(advisor.Text(first.key)), "all": known(advisor.Text(listed(names, 5))),
			"read_at_boot": known(advisor.Bool(reads(l.boot, file))), "read_at_reload": known(advisor.Bool(reads(l.reload, file))),
		}
		for _, side := range []struct {
			name string
			a    *sysctlAssignment
		}{{"boot", first.boot}, {"reload", first.reload}} {
			if side.a != nil {
				cells[side.name+"_value"] = advisor.Known(advisor.Text(side.a.Value), origin(*side.a))
				cells[side.name+"_place"] = advisor.Known(advisor.Text(whereOf(*side.a)), origin(*side.a))
			}
		}
		rows = append(rows, advisor.Row{Origin: o, Cells: cells})
	}
	return rows
}

// decides is the line that a key ends with; nil if the loader leaves it alone.
func (l *sysctlLoad) decides(key string) *sysctlAssignment {
	if w, ok := l.winner(key); ok {
		return &l.All[w.From]
	}
	return nil
}

// listed joins the first few of many names.
func listed(names []string, most int) string {
	if len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// moduleOf is the module that brings a key; empty where none is needed.
func moduleOf(c *advisor.Catalogue, key string) string {
	if p, ok := c.Lookup(key); ok {
		return p.Module
	}
	for _, known := range []struct{ prefix, module string }{
		{"net.netfilter.nf_conntrack_", "nf_conntrack"}, {"net.bridge.bridge-nf-", "br_netfilter"},
	} {
		if strings.HasPrefix(key, known.prefix) {
			return known.module
		}
	}
	return ""
}

// bootModules tells which modules are there when the sysctl files are read at boot, asking only when asked.
func bootModules(t tree, loader, release string) func(module string) bool {
	var loaded map[string]bool
	answers := map[string]bool{}
	return func(module string) bool {
		if loaded == nil {
			loaded = modulesToLoad(t, loader)
			maps.Copy(loaded, builtinModules(t, release))
		}
		answer, ok := answers[module]
		if !ok {
			answer = slices.ContainsFunc(slices.Collect(maps.Keys(loaded)), func(m string) bool { return brings(m, module) }) || udevApplies(t, module)
			answers[module] = answer
		}
		return answer
	}
}

// brings reports whether loading one module loads another that it needs.
func brings(loaded, module string) bool {
	if loaded == module {
		return true
	}
	if module != "nf_conntrack" {
		return false
	}
	for _, prefix := range []string{"nf_conntrack", "nf_nat", "nft_ct", "nft_nat", "nft_masq", "iptable_nat", "ip6table_nat", "xt_conntrack", "xt_MASQUERADE", "xt_CT", "ip_vs"} {
		if strings.HasPrefix(loaded, prefix) {
			return true
		}
	}
	return false
}

// modulesToLoad reads modules-load.d(5), and /etc/modules where that is read at boot.
func modulesToLoad(t tree, loader string) map[string]bool {
	files := map[string]string{} // path by base name; the first directory wins
	for _, dir := range []string{"/etc/modules-load.d", "/run/modules-load.d", "/usr/local/lib/modules-load.d", "/usr/lib/modules-load.d", "/lib/modules-load.d"} {
		entries, _ := t.list(dir) // a directory that is not there lists nothing
		for _, e := range entries {
			if _, hidden := files[e.Name]; !hidden && strings.HasSuffix(e.Name, ".conf") {
				files[e.Name] = dir + "/" + e.Name
			}
		}
	}
	if loader != bootSystemd {
		files["/etc/modules"] = "/etc/modules"
	}
	modules := map[string]bool{}
	for _, name := range files {
		data, err := t.read(name, smallFile)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 0 && f[0][0] != '#' && f[0][0] != ';' {
				modules[strings.ReplaceAll(f[0], "-", "_")] = true
			}
		}
	}
	return modules
}

// builtinModules are those that are a part of the kernel.
func builtinModules(t tree, release string) map[string]bool {
	modules := map[string]bool{}
	data, err := t.read("/lib/modules/"+release+"/modules.builtin", largeFile)
	if release == "" || err != nil {
		return modules
	}
	for line := range strings.Lines(string(data)) {
		modules[strings.ReplaceAll(strings.TrimSuffix(path.Base(strings.TrimSpace(line)), ".ko"), "-", "_")] = true
	}
	return modules
}

// udevApplies finds a rule of udev that runs systemd-sysctl when the module is loaded, as sysctl.d(5) advises.
func udevApplies(t tree, module string) bool {
	dashed := strings.ReplaceAll(module, "_", "-")
	for _, dir := range []string{"/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"} {
		entries, _ := t.list(dir)
		for _, e := range entries {
			if !strings.HasSuffix(e.Name, ".rules") {
				continue
			}
			data, err := t.read(dir+"/"+e.Name, smallFile)
			if err != nil || !strings.Contains(string(data), "sysctl") {
				continue
			}
			for line := range strings.Lines(string(data)) {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && strings.Contains(line, "sysctl") &&
					(strings.Contains(line, module) || strings.Contains(line, dashed)) {
					return true
				}
			}
		}
	}
	return false
}

// sysctlWriter is something beside the loaders that sets a kernel parameter.
type sysctlWriter struct {
	who        string
	key, value string // key "*": it may set any
	origin     advisor.Origin
}

// otherWriters finds firewalls and tuning daemons that set kernel parameters from files of their own.
func otherWriters(t tree) []sysctlWriter {
	return append(ufwWrites(t), tunedWrites(t)...)
}

// ufwWrites is what ufw sets when it starts, after the loader (ufw-framework(8)).
func ufwWrites(t tree) []sysctlWriter {
	if settingIn(t, "/etc/ufw/ufw.conf", "ENABLED") != "yes" {
		return nil
	}
	file := cmp.Or(settingIn(t, "/etc/default/ufw", "IPT_SYSCTL"), "/etc/ufw/sysctl.conf")
	data, err := t.read(file, sysctlLimit)
	if err != nil {
		return nil
	}
	var all []sysctlWriter
	syntax := conf.ParseSysctl(data)
	for i, line := range syntax.Lines {
		if line.Kind == conf.SysctlAssignment {
			all = append(all, sysctlWriter{"ufw", syntax.Key(i), syntax.Text(line.Value), lineOrigin(file, i+1, line.Span, line.Value)})
		}
	}
	return all
}

func lineOrigin(file string, line int, whole, part conf.Span) advisor.Origin {
	return advisor.Origin{Path: file, Line: line, Column: part.Start - whole.Start + 1, Start: part.Start, End: part.End}
}

// settingIn reads NAME=VALUE of a file that a shell sources; the last one counts.
func settingIn(t tree, file, name string) string {
	data, err := t.read(file, smallFile)
	if err != nil {
		return ""
	}
	value := ""
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			value = strings.Trim(v, `"' `)
		}
	}
	return value
}

// tunedWrites is what the active profile of TuneD sets (tuned.conf(5)); a profile that cannot be read may set anything.
func tunedWrites(t tree) []sysctlWriter {
	const active = "/etc/tuned/active_profile"
	data, err := t.read(active, smallFile)
	if err != nil {
		return nil
	}
	var all []sysctlWriter
	done := map[string]bool{}
	todo := strings.Fields(string(data))
	for len(todo) > 0 && len(done) < 32 { // profiles include others; more than that is a circle
		name := todo[0]
		todo = todo[1:]
		if done[name] || strings.ContainsAny(name, "/") {
			continue
		}
		done[name] = true
		writes, includes, ok := tunedProfile(t, name)
		if !ok {
			writes = []sysctlWriter{{"TuneD", "*", "", advisor.Origin{Path: active}}}
		}
		all = append(all, writes...)
		todo = append(todo, includes...)
	}
	return all
}

func tunedProfile(t tree, name string) (writes []sysctlWriter, includes []string, ok bool) {
	for _, dir := range []string{"/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned"} {
		file := path.Join(dir, name, "tuned.conf")
		data, err := t.read(file, smallFile)
		if err != nil {
			continue
		}
		section := ""
		for i, line := range strings.Split(string(data), "\n") {
			line = strings.TrimSpace(line)
			key, value, found := strings.Cut(line, "=")
			key, value = strings.TrimSpace(key), strings.Trim(strings.TrimSpace(value), `"`)
			switch {
			case strings.HasPrefix(line, "["):
				section = strings.Trim(line, "[]")
			case line == "" || line[0] == '#' || line[0] == ';' || !found:
			case section == "main" && key == "include":
				for _, other := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
					includes = append(includes, strings.TrimPrefix(other, "-"))
				}
			case section == "sysctl" && strings.Contains(key, "$"):
				writes = append(writes, sysctlWriter{"TuneD profile " + name, "*", "", advisor.Origin{Path: file, Line: i + 1, Column: 1}})
			case section == "sysctl":
				writes = append(writes, sysctlWriter{
					"TuneD profile " + name, conf.SysctlName(conf.SysctlTarget(key)), value,
					advisor.Origin{Path: file, Line: i + 1, Column: 1},
				})
			}
		}
		return writes, includes, true
	}
	return nil, nil, false
}

func writerRows(all []sysctlWriter) []advisor.Row {
	rows := []advisor.Row{}
	for _, w := range all {
		known := func(s string) advisor.Fact { return advisor.Known(advisor.Text(s), w.origin) }
		cells := map[string]advisor.Fact{"writer": known(w.who), "key": known(w.key)}
		if w.value != "" {
			cells["value"] = known(w.value)
		}
		rows = append(rows, advisor.Row{Origin: w.origin, Cells: cells})
	}
	return rows
}

// unsaved finds running values that are neither the kernel's own nor in any file: the next boot loses them. Only keys whose
// default is one number on each machine are compared: what is computed from memory, or set by a distribution's build, is not.
func unsaved(b *advisor.Builder, c *advisor.Catalogue, loads sysctlLoads, writers []sysctlWriter) {
	sets := map[string]bool{}
	for _, w := range writers {
		sets[w.key] = true
	}
	for _, row := range b.View().Table("cmdline_sysctls").Rows {
		key, _ := row.Cells["key"].Value.Text()
		sets[key] = true
	}
	kernel, ok := kernelOf(b)
	release, _ := b.Scalar("kernel.release").Value.Text()
	count := func(f advisor.Fact) { b.Set("unsaved.settings", f) }
	list := func(f advisor.Fact) { b.Set("unsaved.list", f) }
	switch {
	case !ok || b.Member("sysctl", "net.ipv4.tcp_mem").State == advisor.StateAbsent: // only the first namespace has that key
		why := advisor.Absent("no running kernel was read, or another network namespace than the machine's first", advisor.Origin{})
		count(why)
		list(why)
		return
	case sets["*"]:
		why := advisor.Absent("a tuning daemon may have set any of them", advisor.Origin{})
		count(why)
		list(why)
		return
	case len(loads.boot.Gaps)+len(loads.reload.Gaps) > 0:
		why := advisor.Unknown(unreadable(slices.Concat(loads.boot.Gaps, loads.reload.Gaps)[0]), advisor.Origin{})
		count(why)
		list(why)
		return
	}
	var found []string
	for _, key := range c.Keys() {
		if sets[key] || !worthSaving(key) || loads.boot.decides(key) != nil || loads.reload.decides(key) != nil {
			continue
		}
		running := b.Member("sysctl", key)
		if running.State != advisor.StateKnown {
			continue
		}
		p, _ := c.Lookup(key)
		if def, ok := plainDefault(p, kernel, running.Value, advisor.Backports(release)); ok {
			found = append(found, fmt.Sprintf("%s = %s (default %s)", key, running.Value, def))
		}
	}
	origin := advisor.Origin{Path: procSys}
	count(advisor.Known(advisor.Int(int64(len(found))), origin))
	list(advisor.Known(advisor.Text(strings.ReplaceAll(listed(found, 12), "), ", "); ")), origin))
}

func kernelOf(b *advisor.Builder) (v advisor.Version, ok bool) {
	ns, ok := b.Scalar("kernel.version").Value.Tuple()
	copy(v[:], ns)
	return v, ok
}

// worthSaving are the keys of which a person would want to know: those of TCP and of the queues before it.
func worthSaving(key string) bool {
	switch key {
	case "net.core.default_qdisc", "net.ipv4.tcp_congestion_control", "net.ipv4.tcp_allowed_congestion_control", // chosen by the build
		"net.core.warnings", "net.core.devconf_inherit_init_net", "net.ipv4.tcp_fastopen_key":
		return false
	}
	for _, prefix := range []string{"net.ipv4.tcp_", "net.core.", "net.ipv4.ip_local_"} {
		if strings.HasPrefix(key, prefix) {
			return !strings.HasPrefix(key, "net.core.bpf_jit")
		}
	}
	return false // fs.file-max and fs.nr_open too: systemd raises both at boot
}

// plainDefault is the default that a running value differs from; false where it does not, or where that is not certain. On a
// kernel that carries newer code under an old number the value must differ from the defaults of all versions.
func plainDefault(p *advisor.Parameter, kernel advisor.Version, running advisor.Value, backports bool) (advisor.Value, bool) {
	def, ok := p.DefaultFor(kernel)
	if !ok || def.Is.IsZero() || def.Confidence < advisor.ConfidenceHigh || p.ReadOnly || def.Is.Equal(running) || def.Is.Kind() != running.Kind() {
		return advisor.Value{}, false
	}
	if backports && slices.ContainsFunc(p.Defaults, func(d advisor.Default) bool { return d.Is.Equal(running) }) {
		return advisor.Value{}, false
	}
	return def.Is, true
}

// record adds what is known of the loads as a whole.
func (l sysctlLoads) record(t tree, b *advisor.Builder, c *advisor.Catalogue) {
	reload, why := reloadCommand(t)
	if reload {
		b.Set("reload.loader", advisor.Known(advisor.Text(l.reload.Loader), advisor.Origin{Source: "sysctl(8)"}))
	} else {
		b.Set("reload.loader", advisor.Absent(why, advisor.Origin{}))
	}
	table := advisor.Table{}
	switch gaps := slices.Concat(l.boot.Gaps, l.reload.Gaps); {
	case l.loader != bootSystemd:
		table.Absent = "what boots the host reads the files as sysctl --system does, or is not known"
	case !reload:
		table.Absent = why
	default:
		table.Rows = l.differences(c)
		if len(gaps) > 0 {
			table.Unknown = unreadable(gaps[0])
		}
	}
	b.SetTable("boot_differs", table)
	writers := otherWriters(t)
	b.SetTable("sysctl_writers", advisor.Table{Rows: writerRows(writers)})
	unsaved(b, c, l, writers)
}

// distinctGaps drops what both loaders could not read; each says it in its own name.
func distinctGaps(all []advisor.Gap) []advisor.Gap {
	var out []advisor.Gap
	for _, g := range all {
		if !slices.ContainsFunc(out, func(o advisor.Gap) bool { return o.Source == g.Source }) {
			out = append(out, g)
		}
	}
	return out
}
