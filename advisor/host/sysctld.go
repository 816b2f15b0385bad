package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// sysctlLimit bounds one file: the largest honest one has some kilobytes.
const sysctlLimit = 16 << 20

// sysctlDirs are read in this order by both loaders (CONF_PATHS of systemd's src/basic/constants.h; PreloadSystem in
// procps's src/sysctl.c): of two files with one name, that of the earlier directory hides the other. systemd reads the
// last only where it was built for a split /usr; on a merged one it is the fourth again.
func sysctlDirs() []string {
	return []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}
}

const sysctlConf = "/etc/sysctl.conf"

// sysctlAssignment is one line that assigns a key, or keeps one out of globs.
type sysctlAssignment struct {
	Key     string // canonical name (conf.SysctlName), or a pattern of names
	Value   string // as the loader writes it; empty for an exclusion
	Path    string // the file as the loader names it: /etc/sysctl.d/99-sysctl.conf
	File    string // the file that holds the line, links followed: /etc/sysctl.conf
	Line    int    // 1-based
	Column  int    // 1-based byte column of the value; of the key for an exclusion
	Start   int    // byte offset of the value (or key) in the file
	End     int    // byte offset just after it
	Target  string // path below /proc/sys, by which the loader knows whether two lines speak of one key
	Glob    bool   // the key is a pattern
	Exclude bool   // a bare -key: assigns nothing
	Ignore  bool   // '-' in front: a failure to write is no failure of the loader
	Refused string // why the loader never writes it, though the kernel may have the key; empty: it does
	By      int    // index in All of the later line that takes this one's place; -1: none
}

// sysctlWrite is one write to the kernel.
type sysctlWrite struct {
	Key   string // canonical name; a pattern if Glob
	Value string
	From  int  // index in All of the line that says so
	Glob  bool // a pattern that was not expanded, because the names that exist are not known
}

// sysctlSource is one file that a loader opens.
type sysctlSource struct {
	Path   string           // as the loader names it
	File   string           // links followed; empty for a link that leads nowhere
	Syntax *conf.SysctlFile // nil where there is nothing to read: a mask, a broken link, a directory
}

// sysctlMask is a file that is never opened, because one of the same name is found in an earlier directory.
type sysctlMask struct {
	Path string
	By   string
}

// sysctlLoad is what a loader makes of a tree. Its lists are in the loader's own order.
type sysctlLoad struct {
	Loader string // as a person calls it: "systemd-sysctl", "sysctl --system", "sysctl -p FILE"
	All    []sysctlAssignment
	Writes []sysctlWrite
	Files  []sysctlSource
	Masked []sysctlMask
	Gaps   []advisor.Gap // files that the loader reads, and we could not

	t       tree
	expand  func(pattern string) []string
	systemd bool                     // else procps
	read    map[string]*sysctlSource // by File: 99-sysctl.conf and sysctl.conf are often one
	parsed  parsedFiles              // shared with another reading; nil: with none
	named   map[string]bool          // targets that no glob may touch
	byKey   map[string][]int         // indices in All by name, exclusions included, patterns not
	globs   []int                    // indices in All of patterns
	last    map[string]int           // index in Writes of the last write of a name
	open    []int                    // indices in Writes of patterns not expanded
}

// newSysctlLoad prepares a load. expand gives the paths below /proc/sys that match a pattern of such paths (see
// expandSysctls); nil where the names that exist are not known, and then patterns stay patterns.
func newSysctlLoad(loader string, t tree, expand func(string) []string) *sysctlLoad {
	return &sysctlLoad{Loader: loader, t: t, expand: expand, read: map[string]*sysctlSource{}}
}

// loadSystemd does what systemd-sysctl does at boot (systemd-sysctl.service(8), sysctl.d(5); src/sysctl/sysctl.c of
// systemd 252). It does not read /etc/sysctl.conf, which Debian 12 therefore links as /etc/sysctl.d/99-sysctl.conf. Not
// modelled: the credential sysctl.extra, and what udev applies to interfaces that appear later.
func loadSystemd(t tree, expand func(pattern string) []string, parsed parsedFiles) *sysctlLoad {
	l := newSysctlLoad("systemd-sysctl", t, expand)
	l.parsed = parsed
	l.systemd = true
	// FOREACH_DIRENT passes over hidden files (src/basic/dirent-util.h).
	for _, name := range l.listDirs(func(name string) bool { return !strings.HasPrefix(name, ".") }) {
		src := l.source(name)
		if src == nil || src.Syntax == nil {
			continue
		}
		for i := range src.Syntax.Lines {
			for r := range src.Syntax.SystemdReads(i) {
				l.add(src, i, r)
			}
		}
	}
	l.settleSystemd()
	return l
}

// loadProcps does what sysctl --system does (sysctl(8); PreloadSystem in src/sysctl.c of procps 4.0.2).
func loadProcps(t tree, expand func(pattern string) []string, parsed parsedFiles) *sysctlLoad {
	l := newSysctlLoad("sysctl --system", t, expand)
	l.parsed = parsed
	for _, name := range l.listDirs(func(string) bool { return true }) {
		for _, match := range l.preloadGlob(name) {
			l.preload(match)
		}
	}
	if _, err := t.resolve(sysctlConf); !errors.Is(err, fs.ErrNotExist) {
		l.preload(sysctlConf)
	}
	l.settleProcps()
	return l
}

// loadFile does what sysctl -p FILE does.
func loadFile(t tree, file string, expand func(pattern string) []string) *sysctlLoad {
	l := newSysctlLoad("sysctl -p "+file, t, expand)
	l.preload(file)
	l.settleProcps()
	return l
}

// listDirs returns the paths of the *.conf files to read, by base name in strcmp order, whichever directory they are in.
// A name counts once, and whatever it is: also a link to /dev/null, an empty file or a directory hides the later ones.
func (l *sysctlLoad) listDirs(accept func(name string) bool) []string {
	found := map[string]string{} // path by base name
	seen := map[string]bool{}    // directories, links followed: /lib is often /usr/lib
	for _, dir := range sysctlDirs() {
		real, err := l.t.resolve(dir)
		if err != nil {
			l.gap(dir, err)
			continue
		}
		if seen[real] {
			continue
		}
		seen[real] = true
		entries, err := l.t.list(dir)
		if err != nil {
			l.gap(dir, err)
			continue
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name, ".conf") || !accept(e.Name) {
				continue
			}
			name := dir + "/" + e.Name
			if by, hidden := found[e.Name]; hidden {
				l.Masked = append(l.Masked, sysctlMask{Path: name, By: by})
				continue
			}
			found[e.Name] = name
		}
	}
	paths := make([]string, 0, len(found))
	for _, p := range found {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return paths
}

// gap notes what could not be read. What does not exist is no gap: then the loader reads nothing either.
func (l *sysctlLoad) gap(name string, err error) {
	if nothingThere(err) {
		return
	}
	l.Gaps = append(l.Gaps, advisor.Gap{
		Source: name, Why: fmt.Sprintf("%s reads it, and tcpadvise could not: %v", l.Loader, err),
		Broken: !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errNotCaptured),
	})
}

// nothingThere tells what the loader cannot read either: a name without a file, and links in a circle (ELOOP).
func nothingThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errOutside)
}

// unreadable is the reason of what a gap leaves unknown, with what would help.
func unreadable(gap advisor.Gap) string {
	if gap.Broken {
		return gap.Source + " could not be read"
	}
	return gap.Source + " could not be read: run as root"
}

// source reads and parses one file, once for all of its names; nil if it is a gap.
func (l *sysctlLoad) source(name string) *sysctlSource {
	src := sysctlSource{Path: name}
	file, err := l.t.resolve(name)
	switch {
	case nothingThere(err): // a link that leads nowhere: both loaders complain or not, and go on
		l.Files = append(l.Files, src)
		return &src
	case err != nil:
		l.gap(name, err)
		return nil
	}
	src.File = file
	if old := l.read[file]; old != nil {
		src.Syntax = old.Syntax
	} else if src.Syntax, err = l.parse(file); err != nil {
		l.gap(name, err)
		return nil
	}
	l.read[file] = &src
	l.Files = append(l.Files, src)
	return &src
}

// parse returns nil for what has no content to the loaders: /dev/null, and a directory (EISDIR).
func (l *sysctlLoad) parse(file string) (*conf.SysctlFile, error) {
	if file == devNull {
		return nil, nil
	}
	if f := l.parsed[file]; f != nil {
		return f, nil
	}
	data, err := l.t.read(file, sysctlLimit)
	if errors.Is(err, errNotRegular) {
		if _, listErr := l.t.list(file); listErr == nil {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	f := conf.ParseSysctl(data)
	if l.parsed != nil {
		l.parsed[file] = f
	}
	return f, nil
}

// preload is Preload of procps for one file.
func (l *sysctlLoad) preload(name string) {
	src := l.source(name)
	if src == nil || src.Syntax == nil {
		return
	}
	for i := range src.Syntax.Lines {
		if r, ok := src.Syntax.ProcpsReads(i); ok {
			l.add(src, i, r)
		}
	}
}

// preloadGlob: procps hands each path that it found to glob(3) with GLOB_NOCHECK, GLOB_BRACE and GLOB_TILDE. A file
// called "[x].conf" is therefore never read, unless no "x.conf" stands beside it.
func (l *sysctlLoad) preloadGlob(name string) []string {
	dir, base := path.Split(name)
	if !strings.ContainsAny(base, `*?[{\`) {
		return []string{name}
	}
	var matches []string
	entries, err := l.t.list(path.Clean(dir))
	if err != nil {
		l.gap(dir, err)
	}
	for _, pattern := range expandBraces(base) {
		for _, e := range entries {
			hidden := strings.HasPrefix(e.Name, ".") && !strings.HasPrefix(pattern, ".")
			if !hidden && matchPart(pattern, e.Name) {
				matches = append(matches, dir+e.Name)
			}
		}
	}
	if matches == nil {
		return []string{name}
	}
	return matches
}

// add takes one reading of a line into All.
func (l *sysctlLoad) add(src *sysctlSource, line int, r conf.SysctlReading) {
	where := r.Value
	exclude := r.Kind == conf.SysctlExclusion
	if exclude {
		where = r.Key
	}
	l.All = append(l.All, sysctlAssignment{
		Key: l.name(r), Value: src.Syntax.Text(r.Value), Path: src.Path, File: src.File,
		Line: line + 1, Column: where.Start - src.Syntax.Lines[line].Span.Start + 1, Start: where.Start, End: where.End,
		Target: r.Target, Glob: r.Glob, Exclude: exclude, Ignore: r.Ignore, By: -1,
	})
}

// name is the key that a reading means. Of a path with ".." the kernel makes what path_resolution(7) says, so that with
// procps, which only demands that it ends below /proc/sys, it may well name a key.
func (l *sysctlLoad) name(r conf.SysctlReading) string {
	if !l.systemd && hasDotDot(r.Target) {
		return conf.SysctlName(path.Clean("/" + r.Target))
	}
	return r.Name()
}

func hasDotDot(target string) bool {
	return strings.Contains(target, "..") && slices.Contains(strings.Split(target, "/"), "..")
}

// index fills the maps that chain and winner look into.
func (l *sysctlLoad) index() {
	l.byKey, l.last = make(map[string][]int, len(l.All)), make(map[string]int, len(l.Writes))
	for i, a := range l.All {
		if a.Glob {
			l.globs = append(l.globs, i)
		} else {
			l.byKey[a.Key] = append(l.byKey[a.Key], i)
		}
	}
	for i, w := range l.Writes {
		if w.Glob {
			l.open = append(l.open, i)
		} else {
			l.last[w.Key] = i
		}
	}
}

// settleSystemd is the ordered hash of parse_file and the loop of apply_all. A line takes the place of an earlier one
// with the same target, an exclusion that of an assignment too. It then stands at the end, unless both say the same: then
// it keeps the earlier one's place in the order (streq_ptr), though we name the later line.
func (l *sysctlLoad) settleSystemd() {
	place := map[string]int{} // index in order, by target
	order := make([]int, 0, len(l.All))
	for i := range l.All {
		a := &l.All[i]
		at, again := place[a.Target]
		if again {
			old := &l.All[order[at]]
			old.By = i
			if old.Value == a.Value && old.Exclude == a.Exclude {
				a.Ignore = a.Ignore || old.Ignore
				order[at] = i
				continue
			}
			order[at] = -1
		}
		place[a.Target] = len(order)
		order = append(order, i)
	}
	l.named = make(map[string]bool, len(place))
	for target := range place {
		l.named[target] = true
	}
	for _, i := range order {
		if i >= 0 && !l.All[i].Exclude {
			l.write(i)
		}
	}
	l.index()
}

// settleProcps is write_setting_list: all lines are written in order. Nothing takes an assignment back, an exclusion
// only keeps globs off; and a pattern excludes no more than its own text (strcmp in settinglist_findpath; procps after
// 4.0.4 matches it with fnmatch(3)).
func (l *sysctlLoad) settleProcps() {
	next := make(map[string]int, len(l.All)) // index in All of the next assignment, by name
	l.named = make(map[string]bool, len(l.All))
	l.Writes = make([]sysctlWrite, 0, len(l.All))
	for i := len(l.All) - 1; i >= 0; i-- {
		a := &l.All[i]
		l.named[a.Target] = true
		if a.Exclude || procpsRefuses(a.Target) != "" {
			continue
		}
		if by, ok := next[a.Key]; ok {
			a.By = by
		}
		next[a.Key] = i
	}
	for i, a := range l.All {
		if !a.Exclude {
			l.All[i].Refused = procpsRefuses(a.Target)
			l.write(i)
		}
	}
	l.index()
}

// procpsRefuses tells the targets that stat(2) does not find, though their names would be good: systemd tidies these.
// glob(3) drops a final slash, unless the part before it is a pattern: then it wants directories.
func procpsRefuses(target string) string {
	tidy := strings.TrimRight(target, "/")
	const meta = "*?["
	dropped := strings.ContainsAny(tidy, meta) && !strings.ContainsAny(path.Base(tidy), meta)
	if tidy != target && !dropped || strings.HasSuffix(tidy, "/.") {
		return "the key ends in a separator, which sysctl takes for a directory"
	}
	return ""
}

// write notes what an assignment writes: one key, or all that a glob matches and no line names.
func (l *sysctlLoad) write(i int) {
	a := &l.All[i]
	if l.systemd && hasDotDot(a.Target) {
		a.Refused = "the key has a part \"..\", which systemd-sysctl refuses" // path_is_normalized in sysctl_write
	}
	switch {
	case a.Refused != "":
	case !a.Glob:
		l.Writes = append(l.Writes, sysctlWrite{Key: a.Key, Value: a.Value, From: i})
	case l.expand == nil:
		l.Writes = append(l.Writes, sysctlWrite{Key: a.Key, Value: a.Value, From: i, Glob: true})
	default:
		for _, pattern := range l.patterns(a.Target) {
			for _, target := range l.expand(pattern) {
				if !l.named[respell(a.Target, target)] {
					l.Writes = append(l.Writes, sysctlWrite{Key: conf.SysctlName(target), Value: a.Value, From: i})
				}
			}
		}
	}
}

// patterns is what the loader's glob(3) makes of a target: systemd's takes {a,b} apart (GLOB_BRACE in safe_glob,
// src/shared/glob-util.c), but only in a key that is a pattern without it. procps leaves a path untidy; its matches are
// the same, in another spelling.
func (l *sysctlLoad) patterns(target string) []string {
	if l.systemd {
		return expandBraces(target)
	}
	return []string{strings.TrimPrefix(path.Clean("/"+target), "/")}
}

// respell gives the match of a pattern the spelling that glob(3) does: it keeps doubled slashes, "." and "..", and drops
// a final slash. By that spelling procps looks whether another line names the key (strcmp in settinglist_findpath).
func respell(pattern, match string) string {
	parts, matched := strings.Split(strings.TrimRight(pattern, "/"), "/"), strings.Split(match, "/")
	var standing []int // indices of the parts that no ".." takes back
	for i, part := range parts {
		switch {
		case part == ".." && len(standing) > 0:
			standing = standing[:len(standing)-1]
		case part != "" && part != "." && part != "..":
			standing = append(standing, i)
		}
	}
	if len(standing) == len(parts) || len(standing) != len(matched) { // tidy, or braces
		return match
	}
	for n, i := range standing {
		parts[i] = matched[n]
	}
	return strings.Join(parts, "/")
}

func (l *sysctlLoad) matches(i int, target string) bool {
	for _, pattern := range l.patterns(l.All[i].Target) {
		if matchTarget(pattern, target) {
			return true
		}
	}
	return false
}

// winner returns the write that the key ends with; false if the loader leaves it alone.
func (l *sysctlLoad) winner(key string) (sysctlWrite, bool) {
	at := -1
	if i, ok := l.last[key]; ok {
		at = i
	}
	for _, i := range slices.Backward(l.open) {
		if i < at {
			break
		}
		target := conf.SysctlTarget(key)
		if from := l.Writes[i].From; l.matches(from, target) && !l.named[respell(l.All[from].Target, target)] {
			at = i
			break
		}
	}
	if at < 0 {
		return sysctlWrite{}, false
	}
	return l.Writes[at], true
}

// sysctlFate says what became of a line, for one key. The zero fate is invalid.
type sysctlFate uint8

const (
	sysctlWins      sysctlFate = iota + 1 // the key ends with this value
	sysctlReplaced                        // line By assigns the key again
	sysctlTakenBack                       // line By is an exclusion, which to systemd undoes the assignment
	sysctlYields                          // a pattern, which leaves the key to line By that names it
	sysctlExcludes                        // an exclusion
	sysctlRefused                         // never written: see Refused of the line
)

// sysctlStep is one line of the chain of a key.
type sysctlStep struct {
	Index int // in All
	Fate  sysctlFate
	By    int // index in All; -1 unless the fate names a line
}

// chain returns every line that names or matches a key, in the order read.
func (l *sysctlLoad) chain(key string) []sysctlStep {
	target := conf.SysctlTarget(key)
	lines := slices.Clone(l.byKey[key])
	for _, i := range l.globs {
		if !l.All[i].Exclude && l.matches(i, target) {
			lines = append(lines, i)
		}
	}
	slices.Sort(lines)
	winner := -1
	if w, ok := l.winner(key); ok {
		winner = w.From
	}
	steps := make([]sysctlStep, 0, len(lines))
	for _, i := range lines {
		steps = append(steps, l.fate(i, key, target, winner))
	}
	return steps
}

func (l *sysctlLoad) fate(i int, key, target string, winner int) sysctlStep {
	a := l.All[i]
	switch {
	case a.Exclude:
		return sysctlStep{i, sysctlExcludes, -1}
	case a.Refused != "":
		return sysctlStep{i, sysctlRefused, -1}
	case i == winner:
		return sysctlStep{i, sysctlWins, -1}
	case a.Glob && len(l.byKey[key]) > 0 && l.named[respell(a.Target, target)]:
		return sysctlStep{i, sysctlYields, l.byKey[key][len(l.byKey[key])-1]}
	case l.systemd && a.By >= 0 && l.All[a.By].Exclude:
		return sysctlStep{i, sysctlTakenBack, a.By}
	case a.By >= 0:
		return sysctlStep{i, sysctlReplaced, a.By}
	}
	return sysctlStep{i, sysctlReplaced, winner}
}

// expandSysctls returns what a loader's glob does on a tree: the names under /proc/sys are asked once. It is nil where
// the tree has none, as a directory of files and most captures.
func expandSysctls(t tree) func(pattern string) []string {
	const procSys = "/proc/sys"
	if _, err := t.list(procSys); err != nil {
		return nil
	}
	listed := map[string][]entry{}
	list := func(dir string) []entry {
		if entries, ok := listed[dir]; ok {
			return entries
		}
		entries, _ := t.list(path.Join(procSys, dir)) // a directory that is gone, or no directory, has no names: glob(3)
		listed[dir] = entries
		return entries
	}
	return func(pattern string) []string {
		dirs, keys := []string{""}, []string(nil)
		for part := range strings.SplitSeq(pattern, "/") {
			if part == "" || part == "." {
				continue
			}
			var below []string
			keys = nil
			for _, dir := range dirs {
				for _, e := range list(dir) {
					switch {
					case !matchPart(part, e.Name):
					case e.Type.IsDir():
						below = append(below, path.Join(dir, e.Name))
					default:
						keys = append(keys, path.Join(dir, e.Name))
					}
				}
			}
			dirs = below
		}
		return keys // a directory matches too, but to write there fails
	}
}

// matchTarget is glob(3) without a file system: '*', '?' and '[' never match a slash.
func matchTarget(pattern, target string) bool {
	for {
		p, restP, moreP := strings.Cut(pattern, "/")
		n, restN, moreN := strings.Cut(target, "/")
		if moreP != moreN || !matchPart(p, n) {
			return false
		}
		if !moreP {
			return true
		}
		pattern, target = restP, restN
	}
}

// matchPart is fnmatch(3) on one part of a path, by bytes, without the classes of [[:alpha:]]. It tries only the last
// '*' again, so that its time is bounded by the product of the lengths.
func matchPart(pattern, name string) bool {
	star, mark := -1, 0
	p, n := 0, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, n
			p++
			continue
		}
		if width, ok := matchByte(pattern[p:], name[n]); ok {
			p += width
			n++
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchByte matches the first element of a pattern; width is its length.
func matchByte(pattern string, c byte) (width int, ok bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	case '[':
		if width, ok := matchSet(pattern, c); width > 0 {
			return width, ok
		}
	}
	return 1, pattern[0] == c
}

// matchSet matches [abc], [a-z] and, negated by '!' or '^', their complements; a ']' right after the opening is one of
// the set. Width 0: never closed, and so no set.
func matchSet(pattern string, c byte) (width int, ok bool) {
	i := 1
	negated := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negated {
		i++
	}
	in := false
	for first := i; i < len(pattern); i++ {
		low := pattern[i]
		if low == ']' && i > first {
			return i + 1, in != negated
		}
		high := low
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			high = pattern[i+2]
			i += 2
		}
		in = in || low <= c && c <= high
	}
	return 0, false
}

// expandBraces takes {a,b} apart as GLOB_BRACE of glob(3) does; what cannot be a path is left as it is.
func expandBraces(pattern string) []string {
	const pathMax, most = 4096, 4096 // limits.h; more keys than a kernel has
	if len(pattern) >= pathMax {
		return []string{pattern}
	}
	out := []string{}
	todo := []string{pattern}
	for len(todo) > 0 && len(out)+len(todo) < most {
		p := todo[0]
		todo = todo[1:]
		before, choices, after, ok := cutBraces(p)
		if !ok {
			out = append(out, p)
			continue
		}
		next := make([]string, 0, len(choices)+len(todo))
		for _, c := range choices {
			next = append(next, before+c+after)
		}
		todo = append(next, todo...)
	}
	return out
}

// cutBraces splits a pattern at its first pair of braces, and what is in it at its own commas.
func cutBraces(p string) (before string, choices []string, after string, ok bool) {
	open := strings.IndexByte(p, '{')
	if open < 0 || strings.HasPrefix(p[open:], "{}") {
		return "", nil, "", false
	}
	depth, from := 0, open+1
	for i := open; i < len(p); i++ {
		switch {
		case p[i] == '{':
			depth++
		case p[i] == ',' && depth == 1:
			choices = append(choices, p[from:i])
			from = i + 1
		case p[i] == '}':
			if depth--; depth == 0 {
				return p[:open], append(choices, p[from:i]), p[i+1:], true
			}
		}
	}
	return "", nil, "", false
}

// What writes the files' settings at boot.
const (
	bootSystemd = "systemd-sysctl"
	bootProcps  = "procps"  // an init script that runs sysctl --system
	bootOpenRC  = "openrc"  // its own service: sysctl --system where procps is installed
	bootBusybox = "busybox" // sysctl -p of busybox
	bootNothing = "nothing" // systemd-sysctl.service is masked
	bootUnknown = ""
)

// bootLoader tells from the tree which loader boots the host, and why we think so. Only what marks the init that really
// runs is decisive (sd_booted(3)): systemd-sysctl is installed in many a container and virtual machine that never runs it.
func bootLoader(t tree) (loader, why string) {
	has := func(name string) bool { _, err := t.resolve(name); return err == nil }
	first := func(names ...string) string {
		if i := slices.IndexFunc(names, has); i >= 0 {
			return names[i]
		}
		return ""
	}
	if target, err := t.resolve("/etc/systemd/system/systemd-sysctl.service"); err == nil && target == devNull {
		return bootNothing, "/etc/systemd/system/systemd-sysctl.service is a mask"
	}
	if name := first("/run/systemd/system"); name != "" {
		return bootSystemd, name + " exists: systemd is the running init"
	}
	if name := first("/run/openrc/softlevel", "/run/openrc"); name != "" {
		return bootOpenRC, name + " exists: OpenRC booted the host"
	}
	systemd := first("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")
	if comm, err := t.read("/proc/1/comm", 4096); err == nil {
		switch init := strings.TrimSpace(string(comm)); init {
		case "systemd":
			return bootSystemd, "process 1 is systemd"
		case "init": // System V's or busybox's
			systemd = ""
		default:
			return bootUnknown, fmt.Sprintf("process 1 is %q, which is neither systemd nor init", init)
		}
	}
	for _, c := range []struct{ loader, name string }{
		{bootSystemd, systemd},
		{bootOpenRC, first("/sbin/openrc", "/usr/sbin/openrc", "/sbin/openrc-run")},
		{bootProcps, first("/etc/init.d/procps", "/etc/init.d/procps.sh")},
	} {
		if c.name != "" {
			return c.loader, c.name + " is installed"
		}
	}
	for _, name := range []string{"/sbin/sysctl", "/usr/sbin/sysctl"} {
		if target, err := t.resolve(name); err == nil && path.Base(target) == "busybox" {
			return bootBusybox, name + " is busybox"
		}
	}
	return bootUnknown, "neither systemd, OpenRC nor an init script that runs sysctl is among the files"
}
