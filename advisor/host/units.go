package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// unitDirs are where the system's service manager finds units, the first first (systemd.unit(5), "systemd-analyze unit-paths").
func unitDirs() []string {
	return []string{
		"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early",
		"/etc/systemd/system", "/etc/systemd/system.attached", "/run/systemd/system", "/run/systemd/system.attached", "/run/systemd/generator",
		"/usr/local/lib/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system", "/run/systemd/generator.late",
	}
}

// adminUnitDirs are those of them whose services are judged whether they run or not.
func adminUnitDirs() []string { return []string{"/etc/systemd/system", "/run/systemd/system"} }

// unitLimit bounds one file of systemd: the largest honest one has some kilobytes.
const unitLimit = 4 << 20

// units answers for the units of one host. The directories are listed once, a file is read when a unit needs it.
type units struct {
	tree    tree
	names   map[string]map[string]fs.FileMode // by directory, the names in it
	targets map[string]string                 // of links to services, see links
	files   map[string]*unitFile
	preset  *limitSetting // of system.conf
	builtIn *limitPair    // what systemd itself gives
	hidden  string        // why a unit may have files that are not known; empty: all directories were read
	gaps    []advisor.Gap
}

// unitFile is one file, parsed; without syntax there is none, or it could not be read.
type unitFile struct {
	path   string // as systemd names it
	syntax *conf.Unit
	lines  conf.LineIndex
	shown  []byte // of a file alone, as it was written; else nil
	masked bool   // a link to /dev/null, or empty
	unread string // why it could not be read
}

// limitPair is both limits of open files.
type limitPair struct{ soft, hard advisor.Value }

// limitSetting is a limit as a file sets it.
type limitSetting struct {
	limitPair
	text   string // as written
	origin advisor.Origin
}

func (s *limitSetting) place() string { return fmt.Sprintf("%s:%d", s.origin.Path, s.origin.Line) }

// unitNoFile is the LimitNOFILE= that holds for a unit.
type unitNoFile struct {
	soft, hard advisor.Fact
	written    bool   // by the unit's files; else it is systemd's default, or that of system.conf
	text       string // as written
	from       string // whose limit it is, for a sentence: "LimitNOFILE=65536 in PATH:LINE"
	place      string // PATH:LINE; empty: systemd's own
	fragment   string // the unit file; empty: drop-ins alone, or none
	masked     bool
}

func newUnits(t tree) *units {
	return &units{tree: t, names: map[string]map[string]fs.FileMode{}, files: map[string]*unitFile{}}
}

func (u *units) gap(source, why string) {
	if gap := (advisor.Gap{Source: source, Why: why}); !slices.Contains(u.gaps, gap) {
		u.gaps = append(u.gaps, gap)
	}
}

// in lists a directory once. One that is not there is empty.
func (u *units) in(dir string) map[string]fs.FileMode {
	if names, ok := u.names[dir]; ok {
		return names
	}
	names := map[string]fs.FileMode{}
	entries, err := u.tree.list(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		u.hidden = cmp.Or(u.hidden, dir+": "+cannotRead(err))
		u.gap(dir, cannotRead(err))
	}
	for _, e := range entries {
		names[e.Name] = e.Type
	}
	u.names[dir] = names
	return names
}

func cannotRead(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return runAsRoot
	case errors.Is(err, errNotRegular):
		return "is no regular file"
	case errors.Is(err, errTooLarge):
		return "is larger than " + advisor.FormatBytes(unitLimit)
	case errors.Is(err, errNotCaptured):
		return errNotCaptured.Error()
	}
	return err.Error()
}

// file reads a file once.
func (u *units) file(name string) *unitFile {
	if f := u.files[name]; f != nil {
		return f
	}
	f := &unitFile{path: name}
	u.files[name] = f
	if target, err := u.tree.resolve(name); err == nil && target == "/dev/null" {
		f.masked = true
		return f
	}
	data, err := u.tree.read(name, unitLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist): // a link that leads nowhere
	case err != nil:
		f.unread = cannotRead(err)
		u.gap(name, f.unread)
	case len(data) == 0:
		f.masked = true
	default:
		f.syntax, f.lines = conf.ParseUnit(data), conf.IndexLines(data)
	}
	return f
}

// last is the assignment of a limit in a file that systemd goes by: the last one that it understands.
func (f *unitFile) last(section, key string) *limitSetting {
	if f.syntax == nil {
		return nil
	}
	for _, a := range slices.Backward(f.syntax.Assignments) {
		if a.Section != section || a.Key != key {
			continue
		}
		if pair, ok := parseRlimit(a.Text); ok {
			line, column := f.lines.Position(a.Value.Start)
			return &limitSetting{pair, a.Text, advisor.Origin{Path: f.path, Line: line, Column: column, Start: a.Value.Start, End: a.Value.End}}
		}
	}
	return nil
}

// parseRlimit reads "N", "SOFT:HARD" and "infinity" as rlimit_parse does (src/basic/rlimit-util.c): LimitNOFILE= takes no
// suffixes, and what it does not take, an empty value too, changes nothing.
func parseRlimit(text string) (limitPair, bool) {
	first, second, two := strings.Cut(text, ":")
	soft, ok := rlimit(first)
	hard := soft
	if two && ok {
		hard, ok = rlimit(second)
	}
	return limitPair{soft, hard}, ok && !above(soft, hard)
}

// rlimit is one number, as safe_atou64 reads it: blanks in front, a '+', and the bases of C, 0b and 0o too.
func rlimit(text string) (advisor.Value, bool) {
	text = strings.TrimLeft(text, " \t\n\r")
	if text == "infinity" {
		return advisor.Unlimited(), true
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 0, 63)
	return advisor.Int(int64(n)), err == nil && !strings.Contains(text, "_")
}

// noFile is the limit that systemd gives a unit: its file, then all its drop-ins, ordered by their names whichever directory they
// are in, the last assignment counting; else DefaultLimitNOFILE=.
func (u *units) noFile(unit string) unitNoFile {
	var out unitNoFile
	fragment := u.fragment(unit)
	files := u.dropIns(unit)
	unread := u.hidden
	if fragment != nil {
		if f := fragment.syntax; f != nil && f.Stopped { // of a drop-in what comes before counts
			unread = fmt.Sprintf("%s:%d: systemd refuses the unit: %s", fragment.path, f.Faults[len(f.Faults)-1].Line, f.Faults[len(f.Faults)-1].Message)
		}
		out.fragment, out.masked = fragment.path, fragment.masked
		files = append([]*unitFile{fragment}, files...)
	}
	var set *limitSetting
	for _, f := range files {
		if f.unread != "" {
			unread = f.path + ": " + f.unread
		}
		if s := f.last("Service", "LimitNOFILE"); s != nil {
			set = s
		}
	}
	if unread != "" {
		out.soft = advisor.Unknown(unread, advisor.Origin{Source: "systemd"})
		out.hard = out.soft
		return out
	}
	if set != nil {
		out.written, out.text, out.place = true, set.text, set.place()
		out.from = fmt.Sprintf("LimitNOFILE=%s in %s", set.text, set.place())
		out.soft, out.hard = advisor.Known(set.soft, set.origin), advisor.Known(set.hard, set.origin)
		return out
	}
	if preset := u.manager(); preset != nil {
		out.place, out.from = preset.place(), fmt.Sprintf("DefaultLimitNOFILE=%s in %s", preset.text, preset.place())
		out.soft, out.hard = advisor.Known(preset.soft, preset.origin), advisor.Known(preset.hard, preset.origin)
		return out
	}
	out.from = "systemd's default"
	origin := advisor.Origin{Source: "systemd's default"}
	own := u.ownDefault()
	out.soft, out.hard = advisor.Known(own.soft, origin), advisor.Known(own.hard, origin)
	if own.hard.IsZero() {
		out.hard = advisor.Unknown("systemd's default depends on its version, which is not known", origin)
	}
	return out
}

// fragment is the unit's own file, in the first directory that has one; of an instance else the template's; nil: none.
func (u *units) fragment(unit string) *unitFile {
	for _, name := range []string{unit, templateOf(unit)} {
		for _, dir := range unitDirs() {
			if mode, ok := u.in(dir)[name]; ok && name != "" && mode != fs.ModeDir {
				return u.file(path.Join(dir, name))
			}
		}
	}
	return nil
}

// templateOf is foo@.service of foo@bar.service; "" of another unit.
func templateOf(unit string) string {
	prefix, instance, ok := strings.Cut(strings.TrimSuffix(unit, path.Ext(unit)), "@")
	if !ok || instance == "" {
		return ""
	}
	return prefix + "@" + path.Ext(unit)
}

// dropIns are the unit's drop-ins in the order that they count in, hidden and masked ones left out.
func (u *units) dropIns(unit string) []*unitFile { return u.byName(u.dropInDirs(unit)) }

// dropInDirs are where the unit's drop-ins may be, the directory first whose files hide others of their name.
func (u *units) dropInDirs(unit string) (dirs []string) {
	for _, name := range append([]string{unit}, u.alias(unit)...) {
		for _, dir := range unitDirs() {
			for _, of := range dropInNames(name) {
				dirs = append(dirs, path.Join(dir, of+".d"))
			}
		}
	}
	for _, dir := range unitDirs() {
		dirs = append(dirs, path.Join(dir, strings.TrimPrefix(path.Ext(unit), ".")+".d"))
	}
	return dirs
}

// present are those of directories that are there; it spares a system call for each that could be.
func (u *units) present(dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool {
		_, there := u.in(path.Dir(dir))[path.Base(dir)]
		return !there
	})
}

// byName reads the *.conf files of directories, ordered by name; of two with one name that of the earlier directory hides the
// other (conf_files_list_strv, src/basic/conf-files.c).
func (u *units) byName(dirs []string) []*unitFile {
	at := map[string]string{}
	for _, dir := range u.present(dirs) {
		for name, mode := range u.in(dir) {
			if at[name] == "" && strings.HasSuffix(name, ".conf") && !strings.HasPrefix(name, ".") && mode != fs.ModeDir {
				at[name] = path.Join(dir, name)
			}
		}
	}
	var files []*unitFile
	for _, name := range slices.Sorted(maps.Keys(at)) {
		if f := u.file(at[name]); !f.masked {
			files = append(files, f)
		}
	}
	return files
}

// dropInNames are the names whose directories hold drop-ins of a unit: foo-bar@x.service, foo-bar@.service, foo-@x.service,
// foo-@.service (unit_file_find_dirs, src/basic/unit-file.c); of one basename the earlier hides the later.
func dropInNames(unit string) []string {
	names := []string{unit}
	if template := templateOf(unit); template != "" {
		names = append(names, template)
	}
	ext := path.Ext(unit)
	prefix, instance, at := strings.Cut(strings.TrimSuffix(unit, ext), "@")
	for prefix = strings.TrimSuffix(prefix, "-"); ; prefix = prefix[:strings.LastIndexByte(prefix, '-')] {
		n := strings.LastIndexByte(prefix, '-')
		if n <= 0 {
			return names
		}
		shorter := prefix[:n+1]
		if at {
			shorter += "@" + instance
		}
		names = append(names, shorter+ext)
		if at && instance != "" {
			names = append(names, prefix[:n+1]+"@"+ext)
		}
	}
}

// links is where the links to services in the unit directories lead, by their path; one that another directory's file hides is
// left out. A link to a file of another name is an alias.
func (u *units) links() map[string]string {
	if u.targets != nil {
		return u.targets
	}
	u.targets = map[string]string{}
	seen := map[string]bool{}
	for _, dir := range unitDirs() {
		for name, mode := range u.in(dir) {
			link := path.Join(dir, name)
			hidden := seen[name]
			if seen[name] = true; hidden || mode != fs.ModeSymlink || !strings.HasSuffix(name, ".service") {
				continue
			}
			if target, err := u.tree.resolve(link); err == nil {
				u.targets[link] = target
			}
		}
	}
	return u.targets
}

func isAlias(link, target string) bool {
	return target != "" && target != "/dev/null" && path.Base(link) != path.Base(target)
}

// alias is the other names of a unit.
func (u *units) alias(unit string) []string {
	var names []string
	for link, target := range u.links() {
		if isAlias(link, target) && path.Base(target) == unit {
			names = append(names, path.Base(link))
		}
	}
	slices.Sort(names)
	return names
}

// manager is DefaultLimitNOFILE= of system.conf and its drop-ins; nil where none is set (systemd-system.conf(5)).
func (u *units) manager() *limitSetting {
	if u.preset != nil {
		return u.preset
	}
	bases := []string{"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"}
	var files []*unitFile
	var dirs []string
	for _, base := range bases { // until version 256 only /etc/systemd/system.conf; from then on the first that is there
		if _, there := u.in(base)["system.conf"]; there && len(files) == 0 {
			files = append(files, u.file(path.Join(base, "system.conf")))
		}
		dirs = append(dirs, path.Join(base, "system.conf.d"))
	}
	for _, f := range append(files, u.byName(dirs)...) {
		if s := f.last("Manager", "DefaultLimitNOFILE"); s != nil {
			u.preset = s
		}
	}
	return u.preset
}

// ownDefault is what systemd gives where nothing is set: the kernel's soft limit of 1024, and since version 240 a hard one of 524288,
// before that the kernel's 4096 (NEWS of 240). Distributions have patched the latter.
func (u *units) ownDefault() limitPair {
	if u.builtIn != nil {
		return *u.builtIn
	}
	const soft, hard, since = 1024, 524288, 240
	u.builtIn = &limitPair{soft: advisor.Int(soft)}
	for _, dir := range []string{"/usr/lib/systemd", "/lib/systemd", "/usr/lib/x86_64-linux-gnu/systemd", "/usr/lib/aarch64-linux-gnu/systemd"} {
		for name := range u.in(dir) {
			rest, ok := strings.CutPrefix(name, "libsystemd-shared-")
			digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
			if version, err := strconv.Atoi(digits); ok && err == nil && version >= since {
				u.builtIn.hard = advisor.Int(hard)
			}
		}
	}
	return *u.builtIn
}

// isSystemUnit reports whether a unit of that control group is one of the system's manager: slices alone lead to it. Below
// user@1000.service stand those of a user's manager, below a container's those of another machine.
func isSystemUnit(cgroup string) bool {
	for part := range strings.SplitSeq(strings.TrimPrefix(cgroup, "/"), "/") {
		if !strings.HasSuffix(part, ".slice") {
			return part != "" && part == unitOf(cgroup)
		}
	}
	return false
}

// candidates are the services to tell of: those that run, those that the administrator's directories speak of, and those named.
func (u *units) candidates(running []string, named ...string) []string {
	wanted := map[string]bool{}
	for _, name := range running {
		wanted[name] = strings.HasSuffix(name, ".service")
	}
	for _, dir := range adminUnitDirs() {
		for name := range u.in(dir) {
			name = strings.TrimSuffix(name, ".d")
			stem, service := strings.CutSuffix(name, ".service")
			link := path.Join(dir, name)
			if !service || stem == "" || strings.HasSuffix(stem, "-") || isAlias(link, u.links()[link]) {
				continue
			}
			wanted[name] = true
		}
	}
	for _, name := range named {
		if u.fragment(name) != nil {
			wanted[name] = true
		}
	}
	maps.DeleteFunc(wanted, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(wanted))
}
