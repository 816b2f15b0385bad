package host

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// This file finds sysctl settings inside files of another purpose: Docker Compose, Kubernetes, TuneD; Ansible has its own
// file. Each setting is judged as a line of a sysctl file is, with the place of its value.

// byTemplate is why a value is not known.
const byTemplate = "a template decides it"

// spot is a byte of a file; the zero spot is none.
type spot struct {
	file *embeddedFile
	at   int
}

// embeddedFile is a file that settings or variables stand in.
type embeddedFile struct {
	name  string // as the user named it
	yaml  *conf.YAML
	lines conf.LineIndex
	notes *conf.SysctlFile // its lines, if comments among them may waive a rule; nil: none does
}

// newEmbeddedFile prepares a file. To waive a rule, a comment needs only be one: in YAML and TuneD profiles they begin with
// '#' as in sysctl files.
func newEmbeddedFile(name string, data []byte, y *conf.YAML) *embeddedFile {
	file := &embeddedFile{name: name, yaml: y, lines: conf.IndexLines(data)}
	if bytes.Contains(data, []byte(waiverMark)) {
		file.notes = conf.ParseSysctl(data)
	}
	return file
}

// placed is a text of which each byte knows where it stands. The byte hole stands for text that is not known.
type placed struct {
	text string
	at   []spot // as many as bytes
}

const hole = "\x1a"

func (p placed) slice(from, to int) placed { return placed{p.text[from:to], p.at[from:to]} }

// known reports whether the whole text is known.
func (p placed) known() bool { return !strings.Contains(p.text, hole) }

func (p placed) trim() placed {
	left := len(p.text) - len(strings.TrimLeft(p.text, " \t\r\n"))
	right := len(strings.TrimRight(p.text, " \t\r\n"))
	return p.slice(min(left, right), right)
}

// placer joins texts.
type placer struct {
	text []byte
	at   []spot
}

func (b *placer) add(p placed) {
	b.text = append(b.text, p.text...)
	b.at = append(b.at, p.at...)
}

func (b *placer) placed() placed { return placed{string(b.text), b.at} }

// holeAt is text that is not known, in the place of p.
func holeAt(p placed) placed {
	if len(p.at) == 0 {
		return placed{hole, []spot{{}}}
	}
	return placed{hole, p.at[:1]}
}

// placeBytes is the text of a run of bytes of a file.
func placeBytes(file *embeddedFile, text string, start int) placed {
	p := placed{text, make([]spot, len(text))}
	for i := range p.at {
		p.at[i] = spot{file, start + i}
	}
	return p
}

// placeNode is the text of a scalar.
func placeNode(file *embeddedFile, n *conf.YAMLNode) placed {
	at, _ := file.yaml.Locate(n)
	p := placed{n.Text, make([]spot, len(at))}
	for i, offset := range at {
		p.at[i] = spot{file, offset}
	}
	return p
}

// found is one setting inside a file.
type found struct {
	key     string
	value   string
	start   spot   // of the value
	end     int    // offset just after it, in the same file
	unknown string // why the value is not known; empty: it is
	ignore  bool   // a failure to set it is ignored on purpose
	scope   int    // settings of different scopes meet different hosts, pods or containers
	list    int    // within one list of a scope a later setting of a key replaces an earlier one; 0: of no list

	byModule bool // Ansible's module sysctl writes it, which makes numbers of booleans
}

// use is the place of a value, and the key that it is for; any key where that is empty.
type use struct {
	spot spot
	key  string
}

// finder collects the settings of one file.
type finder struct {
	f       *Files
	file    *embeddedFile
	found   []found
	used    map[use]bool // places of values that were found, or that are known to be no settings
	lists   map[any]int
	removed map[string]int // how often a task took a key out so far
	steps   int
	stopped bool // steps ran out
}

// stepLimit bounds the nodes that are looked at in one file: through aliases one may be reached very often.
const stepLimit = 2_000_000

func newFinder(f *Files, file *embeddedFile) *finder {
	return &finder{f: f, file: file, used: map[use]bool{}, lists: map[any]int{}, removed: map[string]int{}}
}

func (x *finder) step() bool {
	if x.steps++; x.steps > stepLimit {
		x.stopped = true
	}
	return !x.stopped
}

// list numbers the lists of settings by what tells them apart.
func (x *finder) list(id any) int {
	if _, ok := x.lists[id]; !ok {
		x.lists[id] = len(x.lists) + 1
	}
	return x.lists[id]
}

var sysctlKeyText = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*[./][A-Za-z0-9_./:@-]*$`)

// add takes a setting; what is no key of the kernel by its form, or was taken already, is none. A value of no text has no
// place, and what is not there cannot be judged.
func (x *finder) add(key placed, value placed, s found) {
	key, value = key.trim(), value.trim()
	if !sysctlKeyText.MatchString(key.text) || len(value.at) == 0 || value.at[0].file == nil || x.used[use{spot: value.at[0]}] {
		return
	}
	s.key = conf.SysctlName(conf.SysctlTarget(key.text))
	if x.used[use{value.at[0], s.key}] {
		return
	}
	x.used[use{value.at[0], s.key}] = true
	s.start, s.end = value.at[0], value.at[0].at+1
	if last := value.at[len(value.at)-1]; last.file == s.start.file {
		s.end = max(s.end, last.file.yaml.End(last.at))
	}
	if s.value = value.text; !value.known() {
		s.value, s.unknown = "", byTemplate
	} else if s.byModule {
		s.value = moduleValue(s.value)
	}
	if isSecret(s.key) {
		s.value = strings.Repeat("*", len(s.value))
	}
	x.found = append(x.found, s)
}

// facts makes the facts of each scope. A file without settings has one empty scope: it was judged.
func (x *finder) facts() []*advisor.Facts {
	x.onceEach()
	if len(x.found) == 0 {
		return []*advisor.Facts{x.scope(nil, nil)}
	}
	var scopes []int
	byScope := map[int][]found{}
	for _, s := range x.found {
		if byScope[s.scope] == nil {
			scopes = append(scopes, s.scope)
		}
		byScope[s.scope] = append(byScope[s.scope], s)
	}
	ids := map[string]int{}
	var all []*advisor.Facts
	for _, scope := range scopes {
		all = append(all, x.scope(byScope[scope], ids))
	}
	return all
}

// onceEach leaves out what another file of the directory led to already: tasks lead to the variables beside them.
func (x *finder) onceEach() {
	if x.f.within == "" {
		return
	}
	if x.f.judged == nil {
		x.f.judged = map[place]bool{}
	}
	x.found = slices.DeleteFunc(x.found, func(s found) bool {
		at := place{s.start.file.name, s.start.at, s.key}
		again := x.f.judged[at]
		x.f.judged[at] = true
		return again
	})
}

func (x *finder) scope(list []found, ids map[string]int) *advisor.Facts {
	var b advisor.Builder
	setKernel(&b, Options{Kernel: x.f.options.Kernel, Catalogue: x.f.options.Catalogue})
	l := newSysctlLoad("", nil, nil)
	s := settings{load: l, catalogue: x.f.options.Catalogue, exists: noHost, unknown: map[int]string{}, ids: ids}
	for i, one := range list {
		if file := one.start.file; file.notes != nil && !slices.ContainsFunc(l.Files, func(s sysctlSource) bool { return s.File == file.name }) {
			l.Files = append(l.Files, sysctlSource{Path: file.name, File: file.name, Syntax: file.notes})
		}
		line, column := one.start.file.lines.Position(one.start.at)
		if one.unknown != "" {
			s.unknown[i] = one.unknown
		}
		apart := one.list
		if apart == 0 {
			apart = -1 - i
		}
		s.lists = append(s.lists, apart)
		l.All = append(l.All, sysctlAssignment{
			Key: one.key, Value: one.value, Path: one.start.file.name, File: one.start.file.name, Line: line, Column: column,
			Start: one.start.at, End: one.end, Target: conf.SysctlTarget(one.key), Ignore: one.ignore, By: -1,
		})
	}
	l.settleProcps()
	s.record(&b)
	return b.Facts()
}

// noHost answers for a host that is not there: that is knowledge.
func noHost(string) advisor.Fact { return advisor.Absent(noKernel, advisor.Origin{}) }

// openYAML parses a file. Recognising it and reading it are two steps; the file is parsed once.
func (f *Files) openYAML(name string, data []byte) (*embeddedFile, error) {
	if p := f.parsed; p != nil && p.name == name && len(data) > 0 && &p.data[0] == &data[0] && len(p.data) == len(data) {
		return p.file, p.err
	}
	y, err := conf.ParseYAML(data)
	file := newEmbeddedFile(name, data, y)
	if len(data) > 0 {
		f.parsed = &parsedYAML{name, data, file, err}
	}
	return file, err
}

type parsedYAML struct {
	name string
	data []byte
	file *embeddedFile
	err  error
}

// brokenFile is why a file of a known type cannot be read.
type brokenFile struct {
	line     int // 0: the file as a whole
	column   int // 0: the line as a whole
	why      string
	template bool // it need not be readable before it is filled in
}

func (e *brokenFile) Error() string { return e.why }

// yamlFacts reads a file of YAML with one of the finders below.
func yamlFacts(find func(x *finder)) func(string, []byte, *Files) ([]*advisor.Facts, error) {
	return func(name string, data []byte, f *Files) ([]*advisor.Facts, error) {
		file, err := f.openYAML(name, data)
		f.parsed = nil
		var syntax *conf.SyntaxError
		switch {
		case errors.As(err, &syntax) && file.yaml.Template:
			return nil, &brokenFile{why: "a template that is no YAML before it is filled in: not judged", template: true}
		case errors.As(err, &syntax):
			return nil, &brokenFile{line: syntax.Line, why: "no valid YAML: " + syntax.Message}
		case err != nil:
			return nil, &brokenFile{why: err.Error()}
		}
		x := newFinder(f, file)
		find(x)
		if x.stopped {
			return nil, &brokenFile{why: "its aliases lead to more than a person can mean"}
		}
		return x.facts(), nil
	}
}

// guard takes the settings of a template off their lists: which of them are there, only the filled-in file tells.
func (x *finder) guard() {
	if x.file.yaml.Guarded {
		for i := range x.found {
			x.found[i].list = 0
		}
	}
}

// withoutTemplateSuffix is the name of the file that a template makes.
func withoutTemplateSuffix(path string) string {
	base := filepath.Base(path)
	for again := true; again; {
		again = false
		for _, suffix := range []string{".j2", ".jinja", ".jinja2", ".tmpl", ".tpl", ".template", ".gotmpl", ".erb", ".in"} {
			if cut, ok := strings.CutSuffix(base, suffix); ok && cut != "" {
				base, again = cut, true
			}
		}
	}
	return base
}

func isTemplate(path string) bool { return withoutTemplateSuffix(path) != filepath.Base(path) }

func isYAMLPath(path string) bool {
	base := withoutTemplateSuffix(path)
	return strings.HasSuffix(base, ".yml") || strings.HasSuffix(base, ".yaml")
}

// maySet is a quick look at whether a file could hold a setting at all: most files of a directory do not, and are not parsed.
func maySet(data []byte) bool {
	for _, word := range []string{"sysctl", "net.core.", "net.ipv4.", "net.ipv6.", "net.netfilter.", "net/", "vm.", "fs.", "kernel."} {
		if bytes.Contains(data, []byte(word)) {
			return true
		}
	}
	return false
}

// hasLine reports whether a line begins with these bytes.
func hasLine(data []byte, begin string) bool {
	return bytes.HasPrefix(data, []byte(begin)) || bytes.Contains(data, []byte("\n"+begin))
}

// yamlText makes a recogniser by content: a file that parses must have the shape, a broken one must clearly be meant as one.
func yamlText(shape func(doc *conf.YAMLNode, f *Files) bool, meant func(data []byte) bool) func(string, []byte, *Files, bool) bool {
	return func(name string, data []byte, f *Files, named bool) bool {
		if !named && !isYAMLPath(name) || !named && !maySet(data) || bytes.IndexByte(data, 0) >= 0 {
			return false
		}
		file, err := f.openYAML(name, data)
		if err != nil {
			return meant(data)
		}
		return slices.ContainsFunc(file.yaml.Docs, func(doc *conf.YAMLNode) bool { return shape(doc, f) })
	}
}

var composeName = regexp.MustCompile(`^(docker-)?compose([._-].*)?\.ya?ml$`)

func isComposePath(path string) bool { return composeName.MatchString(withoutTemplateSuffix(path)) }

func isCompose(doc *conf.YAMLNode, _ *Files) bool {
	services := doc.Get("services")
	return services != nil && services.Kind == conf.YAMLMapping && doc.Get("apiVersion") == nil &&
		slices.ContainsFunc(services.Pairs, func(p conf.YAMLPair) bool {
			return p.Value.Get("image") != nil || p.Value.Get("build") != nil || p.Value.Get("sysctls") != nil
		})
}

func meantAsCompose(data []byte) bool {
	return hasLine(data, "services:") && bytes.Contains(data, []byte("sysctls:"))
}

// findCompose reads services.*.sysctls, a mapping or a list of key=value.
func findCompose(x *finder) {
	for n, doc := range x.file.yaml.Docs {
		services := doc.Get("services")
		if services == nil {
			continue
		}
		for scope, service := range services.Pairs {
			x.compose(service.Value.Get("sysctls"), found{scope: n<<20 + scope, list: 1})
		}
	}
	x.guard()
}

func (x *finder) compose(sysctls *conf.YAMLNode, s found) {
	if sysctls == nil {
		return
	}
	for _, p := range sysctls.Pairs {
		if x.step() && p.Key.Kind == conf.YAMLScalar {
			x.add(placeNode(x.file, p.Key), interpolate(x.value(p.Value)), s)
		}
	}
	for _, item := range sysctls.Items {
		if !x.step() || item.Kind != conf.YAMLScalar {
			continue
		}
		text := x.value(item)
		if n := strings.IndexByte(text.text, '='); n > 0 {
			x.add(text.slice(0, n), interpolate(text.slice(n+1, len(text.text))), s)
		}
	}
}

// value is the text of a scalar, with template markers filled in where they say by what. Of anything else it is empty, or
// not known.
func (x *finder) value(n *conf.YAMLNode) placed {
	switch {
	case n == nil:
		return placed{}
	case n.Kind == conf.YAMLScalar && !n.Null:
		return renderText(plainNumber(n, placeNode(x.file, n)), nil)
	case x.file.yaml.IsMarker(n):
		s := x.file.yaml.MarkerSpan(n)
		return renderText(placeBytes(x.file, x.file.yaml.Bytes(s), s.Start), nil)
	}
	return placed{}
}

var grouped = regexp.MustCompile(`^[-+]?[0-9][0-9_]*_[0-9_]*$`)

// plainNumber takes out the underscores of a YAML integer: no reader hands them on.
func plainNumber(n *conf.YAMLNode, p placed) placed {
	if !n.Plain || !grouped.MatchString(p.text) {
		return p
	}
	var out placer
	for i := range len(p.text) {
		if p.text[i] != '_' {
			out.add(p.slice(i, i+1))
		}
	}
	return out.placed()
}

var composeVariable = regexp.MustCompile(`\$(?:\$|[A-Za-z_]\w*|\{[A-Za-z_]\w*(?:(:?[-?+])([^}]*))?\})`)

// interpolate fills in ${NAME:-default}; what the environment alone knows is a hole.
func interpolate(p placed) placed {
	if !strings.Contains(p.text, "$") {
		return p
	}
	var out placer
	last := 0
	for _, m := range composeVariable.FindAllStringSubmatchIndex(p.text, -1) {
		out.add(p.slice(last, m[0]))
		last = m[1]
		whole := p.slice(m[0], m[1])
		switch {
		case whole.text == "$$":
			out.add(whole.slice(1, 2))
		case m[2] >= 0 && strings.HasSuffix(p.text[m[2]:m[3]], "-") && m[4] < m[5] && !strings.Contains(p.text[m[4]:m[5]], "$"):
			out.add(p.slice(m[4], m[5]))
		default:
			out.add(holeAt(whole))
		}
	}
	out.add(p.slice(last, len(p.text)))
	return out.placed()
}

func isKubernetes(doc *conf.YAMLNode, _ *Files) bool {
	kind, version := doc.Get("kind"), doc.Get("apiVersion")
	return kind != nil && version != nil && kind.Kind == conf.YAMLScalar && version.Kind == conf.YAMLScalar
}

func meantAsKubernetes(data []byte) bool {
	return hasLine(data, "apiVersion:") && hasLine(data, "kind:") && bytes.Contains(data, []byte("sysctls:"))
}

// findKubernetes reads securityContext.sysctls wherever a pod, or the template of one, has it.
func findKubernetes(x *finder) {
	scope := 0
	for _, doc := range x.file.yaml.Docs {
		if isKubernetes(doc, nil) {
			x.pods(doc, &scope, 0)
		}
	}
	x.guard()
}

// nestLimit is how deep nodes are looked for: a pod template is some ten deep.
const nestLimit = 100

func (x *finder) pods(n *conf.YAMLNode, scope *int, depth int) {
	if depth > nestLimit || !x.step() {
		return
	}
	if sysctls := n.Get("securityContext").Get("sysctls"); sysctls != nil {
		*scope++
		for _, item := range sysctls.Items {
			if name := item.Get("name"); name != nil && name.Kind == conf.YAMLScalar {
				x.add(x.value(name), x.value(item.Get("value")), found{scope: *scope, list: 1})
			}
		}
	}
	for _, p := range n.Pairs {
		x.pods(p.Value, scope, depth+1)
	}
	for _, item := range n.Items {
		x.pods(item, scope, depth+1)
	}
}

func isTunedPath(path string) bool { return withoutTemplateSuffix(path) == "tuned.conf" }

func looksLikeTuned(_ string, data []byte, _ *Files, _ bool) bool {
	return len(data) <= 1<<20 && hasLine(data, "[sysctl]")
}

var tunedVariable = regexp.MustCompile(`\$\{([^{}]*)\}`)

// tunedFacts reads the section [sysctl] of a TuneD profile, and those with type=sysctl (tuned-profiles(7);
// tuned/plugins/plugin_sysctl.py).
func tunedFacts(name string, data []byte, f *Files) ([]*advisor.Facts, error) {
	file := newEmbeddedFile(name, data, &conf.YAML{})
	markers := conf.Markers(data)
	ini, err := conf.ParseINI(conf.HideMarkers(data, markers, 0))
	var syntax *conf.SyntaxError
	if errors.As(err, &syntax) {
		return nil, &brokenFile{line: syntax.Line, why: "no valid TuneD profile: " + syntax.Message}
	}
	file.yaml.Guarded = slices.ContainsFunc(markers, func(m conf.Marker) bool { return m.Control })
	x := newFinder(f, file)
	sysctl := map[string]bool{"sysctl": true}
	variables := map[string]placed{}
	for _, e := range ini.Entries {
		value := placeBytes(file, ini.Text(e.Value), e.Value.Start)
		switch {
		case e.Key == "type":
			sysctl[e.Section] = value.text == "sysctl"
		case e.Section == "variables" && !e.Continued:
			variables[e.Key] = value
		}
	}
	for _, e := range ini.Entries {
		if !sysctl[e.Section] || !strings.ContainsAny(e.Key, "./") {
			continue
		}
		value := renderText(placeBytes(file, ini.Text(e.Value), e.Value.Start), nil)
		if n := len(value.text); n > 1 && value.text[0] == '"' && value.text[n-1] == '"' {
			value = value.slice(1, n-1)
		}
		value = expandTuned(value, variables, 0)
		if e.Continued || strings.HasPrefix(value.text, ">") || strings.HasPrefix(value.text, "<") {
			value = holeAt(value) // more, or less, than now: what it becomes, only the host tells
		}
		x.add(placed{text: e.Key, at: make([]spot, len(e.Key))}, value, found{list: x.list(e.Section)})
	}
	x.guard()
	return x.facts(), nil
}

// expandTuned fills in ${name} from the section [variables]; ${f:...} and what an included file sets is a hole.
func expandTuned(p placed, variables map[string]placed, depth int) placed {
	if !strings.Contains(p.text, "${") {
		return p
	}
	var out placer
	last := 0
	for _, m := range tunedVariable.FindAllStringSubmatchIndex(p.text, -1) {
		out.add(p.slice(last, m[0]))
		last = m[1]
		if v, ok := variables[p.text[m[2]:m[3]]]; ok && depth < 8 {
			out.add(expandTuned(v, variables, depth+1))
		} else {
			out.add(holeAt(p.slice(m[0], m[1])))
		}
		if len(out.text) > 4096 {
			return holeAt(p)
		}
	}
	out.add(p.slice(last, len(p.text)))
	if bytes.Contains(out.text, []byte("${")) {
		return holeAt(p)
	}
	return out.placed()
}

// sysctlTemplate reads a sysctl file with template markers: lines that the template decides about are each for themselves,
// values that it decides are not known, and a line whose key it decides is none.
func sysctlTemplate(name string, data []byte, markers []conf.Marker, f *Files) settings {
	text := conf.HideMarkers(data, markers, 0)
	guarded := false
	seen := 0 // the file up to here was looked at
	for _, m := range markers {
		guarded = guarded || m.Control
		if m.Control || m.Span.Start < seen {
			continue
		}
		from := bytes.LastIndexByte(data[:m.Span.Start], '\n') + 1
		key := bytes.IndexByte(data[from:m.Span.Start], '=') < 0
		for seen = from; seen < len(text) && (seen < m.Span.End || text[seen] != '\n'); seen++ {
			if key && text[seen] != '\n' {
				text[seen] = ' '
			}
		}
	}
	s := settings{load: loadText(name, text), catalogue: f.options.Catalogue, exists: noHost, unknown: map[int]string{}}
	file := &embeddedFile{name: name, lines: conf.IndexLines(data)}
	if guarded {
		s.lists = apart(len(s.load.All))
	}
	for i := range s.load.All {
		a := &s.load.All[i]
		value := string(data[a.Start:a.End])
		if a.Exclude || !strings.ContainsAny(value, "{<$") {
			continue
		}
		v := interpolate(renderText(placeBytes(file, value, a.Start), nil)).trim()
		if !v.known() || len(v.at) == 0 {
			s.unknown[i] = byTemplate
			continue
		}
		a.Value, a.Start = v.text, v.at[0].at
		a.End = v.at[len(v.at)-1].at + 1
		a.Line, a.Column = file.lines.Position(a.Start)
	}
	return s
}

// broken notes the gap that a broken file makes. A template that nobody named need not be readable.
func (f *Files) broken(name string, named bool, b *brokenFile) {
	if b.line > 0 {
		name = fmt.Sprintf("%s:%d", name, b.line)
	}
	if b.column > 0 {
		name = fmt.Sprintf("%s:%d", name, b.column)
	}
	f.gaps = append(f.gaps, advisor.Gap{Source: name, Why: b.why, Notice: b.template && !named})
}
