package host

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// nginxKind are directives of nginx, as nginx:FILE:LINE:DIRECTIVE, with the words that tell one of several of that name:
// "proxy_set_header Connection". LINE is that of the directive, and then all lines of the file that say the same are meant; or one
// of the block that it is missing from: a proxy_pass, and then all blocks that proxy to the same upstream and lack it; 1 is
// the main block.
func nginxKind() settingKind {
	return settingKind{prefix: "nginx", operands: []string{"nginx"}, edit: editNginx, after: reloadNginx, told: "nginx -t and nginx -s reload"}
}

// wholeNginx reads the configurations of a host's nginx with all lines.
func wholeNginx(t tree, s *services, confs []string) (all []*nginxConf) {
	instances, _ := findNginx(t, s, confs)
	for _, n := range instances {
		c := &nginxConf{tree: t, main: n.conf, prefix: path.Dir(n.conf), version: n.version, whole: true}
		c.read()
		c.resolve()
		all = append(all, c)
	}
	return all
}

// nginxEdit is one change on its way into the files.
type nginxEdit struct {
	plan   *plan
	step   *placing
	words  []string // the directive, and what tells it from others of its name
	value  string
	remove bool
}

func editNginx(p *plan, s *placing) (why string) {
	e := &nginxEdit{plan: p, step: s, words: strings.Fields(s.place.name), value: nginxText(s.change.To), remove: s.change.Remove}
	found := false
	for _, c := range p.site.nginx() {
		edit := e.find(c)
		if edit == nil {
			continue
		}
		found = true
		if why := edit(); why != "" {
			return why
		}
	}
	if !found {
		return fmt.Sprintf("%s:%d is not what it was: run again", s.place.file, s.place.line)
	}
	return ""
}

// find says how one configuration is edited; nil where the setting is none of its own.
func (e *nginxEdit) find(c *nginxConf) func() (why string) {
	at := e.step.place
	for _, w := range c.written {
		if w.path == at.file && w.name == e.words[0] && w.ref.origin(0).Line == at.line {
			return func() string { return e.each(append([]nginxRef{w.ref}, w.more...)) }
		}
	}
	for _, u := range c.upstreams {
		if first := u.inertAt(); first != nil && first.passes.file.path == at.file && first.passes.origin(1).Line == at.line {
			return func() string { return e.keepAlive(u) }
		}
	}
	if c.main == at.file && at.line == 1 && len(e.words) == 1 {
		return func() string { return e.mainLevel(c) }
	}
	return nil
}

// each edits directives that say the same.
func (e *nginxEdit) each(refs []nginxRef) (why string) {
	for _, ref := range refs {
		if why := e.set(ref, len(e.words)); why != "" {
			return why
		}
	}
	return ""
}

// set gives an argument of a directive its value, or takes the directive out.
func (e *nginxEdit) set(ref nginxRef, arg int) (why string) {
	f, why := e.open(ref.file)
	if why != "" {
		return why
	}
	var edit conf.Edit
	var err error
	what := "removed"
	if e.remove {
		edit = f.nginx().RemoveDirective(ref.at)
	} else {
		what = shownWord(e.value)
		edit, err = f.nginx().SetArg(ref.at, arg, e.value)
	}
	if err != nil {
		return fmt.Sprintf("%s: %v", f.path, err)
	}
	if !f.touched[ref.at] {
		f.touched[ref.at] = true
		f.edit(edit)
	}
	f.noteHunk(ref.origin(0).Line, e.step, fmt.Sprintf("%s: %s -> %s", e.step.key, shownWord(ref.arg(arg)), what))
	return ""
}

func shownWord(value string) string {
	if value == "" {
		return `""`
	}
	return value
}

// mainLevel sets a directive of the main block, below worker_processes where it is missing.
func (e *nginxEdit) mainLevel(c *nginxConf) (why string) {
	if ref := c.root.names[e.words[0]]; ref.set() {
		return e.set(ref, 1)
	}
	return e.insert(c.files[c.main], -1, c.root.names["worker_processes"])
}

// insert adds a directive to a block: below a neighbour that stands in it, else at its end. Of two changes that want the same
// line in one block, the second only gives its reason.
func (e *nginxEdit) insert(file *nginxFile, block int, neighbour nginxRef) (why string) {
	f, why := e.open(file)
	if why != "" {
		return why
	}
	syntax, words := f.nginx(), append(slices.Clone(e.words), e.value)
	var edit conf.Edit
	var err error
	if neighbour.set() && neighbour.file == file && syntax.Parent(neighbour.at) == block {
		edit, err = syntax.InsertAfter(neighbour.at, words...)
	} else {
		edit, err = syntax.InsertDirective(block, words...)
	}
	if err != nil {
		return fmt.Sprintf("%s: %v", f.path, err)
	}
	once := fmt.Sprint(block, words)
	if by := f.inserted[once]; by == e.step {
		return ""
	} else if by == nil {
		f.inserted[once] = e.step
		f.edit(edit)
	}
	f.noteHunk(f.line(edit.Span.Start), e.step, fmt.Sprintf("%s: not set -> %s", e.step.key, shownWord(e.value)))
	return ""
}

// keepAlive sets the directive for each block that proxies to an upstream and lets no connection be used again.
func (e *nginxEdit) keepAlive(u *nginxUpstream) (why string) {
	for _, g := range u.groups {
		if !g.idles().inert {
			continue
		}
		for _, s := range append([]*nginxScope{g.scope}, g.more...) {
			pass := s.passes
			for s.kind == "if" || s.kind == "limit_except" { // which inherit it, and may not have it
				s = s.parent
			}
			if e.words[0] == "proxy_set_header" {
				why = e.header(s, pass)
			} else {
				why = e.version(s, pass)
			}
			if why != "" {
				return why
			}
		}
	}
	return ""
}

// version sets proxy_http_version for a block, beside its proxy_pass.
func (e *nginxEdit) version(s *nginxScope, pass nginxRef) (why string) {
	switch ref := s.values[nginxHTTPVersion]; {
	case !ref.set():
		return e.insertIn(s, pass)
	case ref.arg(1) == "1.0":
		return e.set(ref, 1)
	}
	return ""
}

// header sets a proxy_set_header where all of them come from: a line in a block that has none of its own would undo those that it
// inherits (https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_set_header).
func (e *nginxEdit) header(s *nginxScope, pass nginxRef) (why string) {
	if ref := s.connection; ref.set() {
		if strings.Contains(strings.ToLower(ref.arg(2)), "close") {
			return e.set(ref, 2)
		}
		return ""
	}
	for s.headers.set() && !s.own {
		s = s.parent
	}
	if s.own {
		pass = s.headers
	}
	return e.insertIn(s, pass)
}

// insertIn adds the directive to the block of a scope.
func (e *nginxEdit) insertIn(s *nginxScope, neighbour nginxRef) (why string) {
	file := s.at.file
	if file == nil { // no block, but the file that is judged alone
		file = neighbour.file
	}
	return e.insert(file, s.at.block(), neighbour)
}

// open prepares the file that a directive stands in. What it was parsed from was masked, which moves nothing.
func (e *nginxEdit) open(file *nginxFile) (f *editing, why string) {
	f, why = e.plan.openService(file.path)
	if why != "" {
		return nil, why
	}
	if f.nginx().Len() != file.syntax.Len() {
		return nil, f.path + " has changed since it was read: run again"
	}
	return f, ""
}

func (e *editing) nginx() *conf.Nginx {
	return parsed(e.original, func(data []byte) *conf.Nginx {
		f, _ := conf.ParseNginx(data) // what was judged could be parsed
		return f
	})
}

// inertAt is the first block that proxies to an upstream and lets no connection be used again, as its row names it.
func (u *nginxUpstream) inertAt() *nginxScope {
	for _, g := range u.groups {
		if g.idles().inert {
			return g.scope
		}
	}
	return nil
}

// nginxText is a value as nginx reads it.
func nginxText(v advisor.Value) string {
	if d, ok := v.Duration(); ok {
		if d%time.Second == 0 {
			return strconv.FormatInt(int64(d/time.Second), 10) + "s"
		}
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	}
	if on, ok := v.Bool(); ok {
		return map[bool]string{true: "on", false: "off"}[on]
	}
	return v.String()
}

// reloadNginx is how nginx takes up what its files say (https://nginx.org/en/docs/control.html). A file that is not the main one of
// any nginx here is read by whichever names it.
func reloadNginx(p *plan, s *placing) advisor.PatchedService {
	main := ""
	for _, c := range p.site.nginx() {
		if c.files[s.place.file] != nil && c.tree != nil && c.main != "/etc/nginx/nginx.conf" {
			main = " -c " + shellWord(c.main)
		}
	}
	return advisor.PatchedService{
		Name:     "nginx",
		Commands: []string{"nginx -t" + main, "nginx" + main + " -s reload"},
		Connections: "a reload breaks no request: new workers take the new ones, the old workers close idle kept ones, finish the " +
			"requests that they have and go; WebSockets and long transfers keep an old worker, with the old settings, until they end",
	}
}

func shellWord(word string) string {
	if !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("/._-+:@%,", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
