package host

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// isAnsiblePath goes by the directories that Ansible itself looks into.
func isAnsiblePath(name string) bool {
	if !isYAMLPath(name) {
		return false
	}
	parts := strings.Split(filepath.ToSlash(filepath.Dir(name)), "/")
	role := slices.Contains(parts, "roles")
	for _, part := range parts {
		switch part {
		case "tasks", "handlers", "group_vars", "host_vars":
			return true
		case "defaults", "vars":
			if role || withoutTemplateSuffix(name) == "main.yml" {
				return true
			}
		}
	}
	return false
}

// isAnsible recognises a playbook, a file of tasks, and a file of variables that holds settings.
func isAnsible(doc *conf.YAMLNode, f *Files) bool {
	if isKubernetes(doc, f) || isCompose(doc, f) {
		return false
	}
	for _, item := range doc.Items {
		for _, p := range item.Pairs {
			if isModule(p.Key.Text) || qualifiedName.MatchString(p.Key.Text) || slices.Contains(taskWords(), p.Key.Text) {
				return true
			}
		}
	}
	if doc.Get("argument_specs") != nil { // meta/argument_specs.yml documents the defaults that stand elsewhere
		return false
	}
	x := newFinder(f, f.parsed.file)
	x.variables(doc, nil, 0, 0)
	return len(x.found) > 0
}

// qualifiedName is that of a module in a collection.
var qualifiedName = regexp.MustCompile(`^[a-z0-9_]+\.[a-z0-9_]+\.[a-z0-9_]+$`)

// taskWords are keywords of plays and tasks that hardly another list of mappings has.
func taskWords() []string {
	return []string{
		"hosts", "import_playbook", "block", "rescue", "become", "when", "notify", "register", "with_items", "with_dict", "loop",
		"changed_when", "failed_when", "include_tasks", "import_tasks", "include_role", "import_role", "set_fact",
	}
}

var sysctlTask = regexp.MustCompile(`(?m)^[ \t]*(?:-[ \t]+)?(?:ansible\.(?:posix|builtin)\.)?sysctl:(?:[ \t]|$)`)

func meantAsAnsible(data []byte) bool { return sysctlTask.Match(data) && !hasLine(data, "apiVersion:") }

// findAnsible reads playbooks, files of tasks and handlers, and files of variables.
func findAnsible(x *finder) {
	outer := &vars{finder: x}
	for _, doc := range x.file.yaml.Docs {
		switch {
		case isKubernetes(doc, nil): // a directory called tasks is not Ansible's alone
			scope := 0
			x.pods(doc, &scope, 0)
		case doc.Kind == conf.YAMLSequence:
			x.playbook(doc, outer)
		case doc.Get("argument_specs") == nil:
			x.variables(doc, outer.with(doc, x.file), 0, 0)
		}
	}
	x.guard()
}

// playbook walks the plays of a list, each a scope of its own, and the tasks that stand there without a play.
func (x *finder) playbook(doc *conf.YAMLNode, outer *vars) {
	var tasks conf.YAMLNode
	for i, item := range doc.Items {
		if item.Get("hosts") == nil {
			tasks.Items = append(tasks.Items, item)
			continue
		}
		scope := i + 1
		v := outer.with(item.Get("vars"), x.file)
		for _, part := range []string{"pre_tasks", "tasks", "post_tasks", "handlers"} {
			x.tasks(item.Get(part), v, taskPlace{scope: scope, list: part, loose: part == "handlers"})
		}
		x.variables(item.Get("roles"), v, scope, 0)
		x.variables(item.Get("vars"), v, scope, 0)
	}
	x.tasks(&tasks, outer, taskPlace{list: "file", loose: isHandlers(x.file.name)})
}

func isHandlers(name string) bool { return filepath.Base(filepath.Dir(name)) == "handlers" }

// listName names a list of tasks in a play.
type listName struct {
	scope int
	list  string
}

// afterRemoval names the rest of a list, after a task took a key out (state: absent).
type afterRemoval struct {
	list, removals int
}

// taskPlace says where a task stands.
type taskPlace struct {
	scope int
	list  string // names the list of tasks, and the conditions above it
	loose bool   // handlers: which of them run, and in which order, the play decides as it runs
	depth int
}

func (x *finder) tasks(list *conf.YAMLNode, v *vars, at taskPlace) {
	if list == nil || at.depth > nestLimit {
		return
	}
	for i, task := range list.Items {
		if !x.step() || task.Kind != conf.YAMLMapping || isNever(task.Get("when")) {
			continue
		}
		inner := v.with(task.Get("vars"), x.file)
		below := at
		below.depth++
		below.list = at.list + "\x00" + whenText(task)
		x.tasks(task.Get("block"), inner, below)
		for _, part := range []string{"rescue", "always"} {
			apart := below
			apart.list = fmt.Sprintf("%s\x00%s %d", below.list, part, i)
			x.tasks(task.Get(part), inner, apart)
		}
		if task.Get("block") == nil {
			x.task(task, inner, below)
		}
		x.variables(task.Get("vars"), inner, at.scope, 0)
	}
}

// isNever reports whether a condition is plainly false.
func isNever(when *conf.YAMLNode) bool {
	return when != nil && when.Kind == conf.YAMLScalar && slices.Contains([]string{"false", "False", "no", "never"}, when.Text)
}

// whenText tells the conditions of tasks apart.
func whenText(task *conf.YAMLNode) string {
	var b strings.Builder
	for _, key := range []string{"when", "delegate_to", "tags"} {
		n := task.Get(key)
		if n == nil {
			continue
		}
		b.WriteString(key + "\x01" + n.Text)
		for _, item := range n.Items {
			b.WriteString("\x01" + item.Text)
		}
	}
	return b.String()
}

// task reads one task, once for each item of its loop.
func (x *finder) task(task *conf.YAMLNode, v *vars, at taskPlace) {
	module, args := x.module(task)
	if module == "" {
		return
	}
	item := "item"
	if n := task.Get("loop_control").Get("loop_var"); n != nil {
		item = n.Text
	}
	s := found{scope: at.scope}
	if !at.loose && !strings.Contains(whenText(task), item) {
		s.list = x.list(listName{at.scope, at.list})
	}
	items, looped := x.loop(task, v)
	if !looped {
		x.apply(module, args, v, s)
		return
	}
	for _, h := range items {
		if !x.step() {
			return
		}
		x.apply(module, args, &vars{name: item, value: h, outer: v}, s)
		if module == "sysctl" {
			x.use(h)
		}
	}
}

// use notes that the values of a loop's item have been read, also where they make no setting (state: absent).
func (x *finder) use(h held) {
	if h.kind == heldPair {
		h = h.pair[1]
	}
	if h.kind != heldNode || h.file != x.file {
		return
	}
	mark := func(n *conf.YAMLNode) {
		if n.Kind == conf.YAMLScalar && n.Text != "" {
			x.used[use{spot: spot{h.file, h.file.yaml.Start(n)}}] = true
		}
	}
	mark(h.node)
	for _, p := range h.node.Pairs {
		mark(p.Value)
	}
}

func isModule(name string) bool {
	switch name {
	case "sysctl", "ansible.posix.sysctl", "ansible.builtin.sysctl":
		return true
	}
	return false
}

// moduleName takes the collection off the modules that can set a kernel parameter; "" for all others.
func moduleName(name string) string {
	if isModule(name) {
		return "sysctl"
	}
	short := strings.TrimPrefix(strings.TrimPrefix(name, "ansible.builtin."), "ansible.legacy.")
	switch short {
	case "lineinfile", "blockinfile", "copy", "command", "shell", "raw", "set_fact":
		return short
	}
	return ""
}

// arguments are those of a module: as a mapping, in one line, or both.
type arguments struct {
	mappings []*conf.YAMLNode
	words    []argument // key=value
	free     placed     // of command, shell and raw: the command
	marker   bool       // a template gives them
}

type argument struct {
	key   string
	value placed
}

// module finds what a task runs.
func (x *finder) module(task *conf.YAMLNode) (string, arguments) {
	for _, p := range task.Pairs {
		name, value := moduleName(p.Key.Text), p.Value
		text := placed{}
		if p.Key.Text == "action" || p.Key.Text == "local_action" {
			if n := value.Get("module"); n != nil {
				name = moduleName(n.Text)
			} else if value.Kind == conf.YAMLScalar {
				text = placeNode(x.file, value).trim()
				word, _, _ := strings.Cut(text.text, " ")
				name = moduleName(word)
				text = text.slice(len(word), len(text.text)).trim()
			}
		} else if value.Kind == conf.YAMLScalar && !value.Null {
			text = placeNode(x.file, value)
		}
		if name == "" {
			continue
		}
		args := arguments{free: text, marker: x.file.yaml.IsMarker(value)}
		for _, n := range []*conf.YAMLNode{value, task.Get("args")} {
			if n != nil && n.Kind == conf.YAMLMapping {
				args.mappings = append(args.mappings, n)
			}
		}
		if !isCommandModule(name) {
			for _, word := range splitWords(text) {
				if n := strings.IndexByte(word.text, '='); n > 0 {
					args.words = append(args.words, argument{word.text[:n], word.slice(n+1, len(word.text))})
				}
			}
		}
		return name, args
	}
	return "", arguments{}
}

func isCommandModule(name string) bool { return name == "command" || name == "shell" || name == "raw" }

// argument is the value of the first of several names; false where none is given.
func (x *finder) argument(args arguments, v *vars, names ...string) (placed, bool) {
	for _, name := range names {
		for _, m := range args.mappings {
			n := m.Get(name)
			if n == nil {
				continue
			}
			t := asText(held{kind: heldNode, node: n, file: x.file}, v, 0)
			if t.text == "" && (n.Kind != conf.YAMLScalar || strings.Contains(n.Text, "{{")) {
				t = placed{hole, []spot{{x.file, x.file.yaml.Start(n)}}}
			}
			return t, true
		}
		for _, w := range args.words {
			if w.key == name {
				return renderText(w.value, v), true
			}
		}
	}
	return placed{}, false
}

// apply reads what one run of a module sets.
func (x *finder) apply(module string, args arguments, v *vars, s found) {
	absent := false
	if state, ok := x.argument(args, v, "state"); ok && module != "set_fact" {
		absent = state.trim().text != "present"
	}
	if absent && module != "sysctl" {
		return
	}
	switch module {
	case "sysctl":
		key, _ := x.argument(args, v, "name", "key")
		name := key.trim().text
		if absent {
			x.removed[name]++
			return
		}
		if n := x.removed[name]; n > 0 && s.list > 0 {
			s.list = x.list(afterRemoval{s.list, n})
		}
		value, _ := x.argument(args, v, "value", "val")
		if ignore, ok := x.argument(args, v, "ignoreerrors"); ok {
			s.ignore = isTrue(ignore.text)
		}
		s.byModule = true
		x.add(key, value, s)
	case "lineinfile":
		x.contents(args, v, s, "line", "value")
	case "blockinfile":
		x.contents(args, v, s, "block", "content")
	case "copy":
		x.contents(args, v, s, "content")
	case "set_fact":
		for _, m := range args.mappings {
			x.variables(m, v, s.scope, 0)
		}
	default:
		x.command(args, v, s)
	}
}

func isTrue(text string) bool {
	switch strings.ToLower(text) {
	case "y", "yes", "on", "1", "true", "t":
		return true
	}
	return false
}

// moduleValue is what the module makes of its argument: booleans become numbers (_parse_value in its sysctl.py).
func moduleValue(text string) string {
	switch strings.ToLower(text) {
	case "y", "yes", "on", "true", "t":
		return "1"
	case "n", "no", "off", "false", "f":
		return "0"
	}
	return text
}

// contents reads lines that a module writes to a sysctl file.
func (x *finder) contents(args arguments, v *vars, s found, names ...string) {
	dest, _ := x.argument(args, v, "path", "dest", "destfile", "name")
	if !isSysctlPath(strings.TrimSpace(dest.text)) {
		return
	}
	text, ok := x.argument(args, v, names...)
	if !ok {
		return
	}
	if strings.IndexByte(text.text, 0) >= 0 { // the readers of sysctl files differ on it
		return
	}
	file := conf.ParseSysctl([]byte(text.text))
	for i, line := range file.Lines {
		if r, ok := file.ProcpsReads(i); ok && line.Kind == conf.SysctlAssignment && r.Kind == conf.SysctlAssignment && !line.Glob {
			s.ignore = r.Ignore
			x.add(text.slice(r.Key.Start, r.Key.End), text.slice(r.Value.Start, r.Value.End), s)
		}
	}
}

// command reads "sysctl -w key=value" out of a command line or a script. Whether a script comes to the line, only its run
// tells: each is for itself.
func (x *finder) command(args arguments, v *vars, s found) {
	text := args.free
	if t, ok := x.argument(args, v, "cmd"); ok {
		text = t
	}
	var words []placed
	for _, m := range args.mappings {
		for _, item := range m.Get("argv").List() {
			words = append(words, asText(held{kind: heldNode, node: item, file: x.file}, v, 0))
		}
	}
	if text.text != "" {
		if !strings.Contains(text.text, "sysctl") {
			return
		}
		words = splitWords(text)
	}
	s.list = 0
	inside := false // of a sysctl command
	for _, w := range words {
		w = renderText(w, v)
		if w.text == "" {
			continue
		}
		end := strings.TrimRight(w.text, ";&|)") != w.text
		name := strings.TrimRight(w.text, ";&|)")
		switch {
		case path.Base(name) == "sysctl":
			inside, s.ignore = true, false
		case inside && strings.HasPrefix(name, "-"):
			s.ignore = s.ignore || !strings.HasPrefix(name, "--") && strings.Contains(name, "e") || name == "--ignore"
		case inside && !strings.ContainsAny(name, "=<>"):
			inside = inside && name != "" // a key to print
		case inside:
			n := strings.IndexByte(name, '=')
			if n > 0 && !strings.ContainsAny(name, "$`<>") {
				x.add(w.slice(0, n), w.slice(n+1, len(name)), s)
			}
		}
		inside = inside && !end
	}
}

// splitWords parts a text at blanks, as a shell and Ansible's key=value form do: not within quotes, which are taken off,
// and not within {{ }}. A line end ends a command, and so becomes a word ";".
func splitWords(p placed) []placed {
	var words []placed
	var word placer
	var quote byte
	inWord, markers := false, 0
	flush := func() {
		if inWord {
			words = append(words, word.placed())
		}
		word, inWord = placer{}, false
	}
	keep := func(i int) {
		word.add(p.slice(i, i+1))
		inWord = true
	}
	for i := 0; i < len(p.text); i++ {
		c := p.text[i]
		two := p.text[i:min(i+2, len(p.text))]
		switch {
		case two == "{{" || two == "{%":
			markers++
			keep(i)
		case two == "}}" || two == "%}":
			markers = max(0, markers-1)
			keep(i)
		case markers > 0:
			keep(i)
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			keep(i)
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case c == '\\' && i+1 < len(p.text) && p.text[i+1] == '\n':
			i++
		case c == '\n':
			flush()
			words = append(words, placed{";", p.at[i : i+1]})
		case c == ' ' || c == '\t' || c == '\r':
			flush()
		default:
			keep(i)
		}
		if len(word.text) > maxRender/8 {
			return words // no shell takes such a word
		}
	}
	flush()
	return words
}

// loop gives the items of a task's loop. A loop that cannot be told has one item, which is not known.
func (x *finder) loop(task *conf.YAMLNode, v *vars) (items []held, looped bool) {
	for _, p := range task.Pairs {
		key := strings.TrimPrefix(p.Key.Text, "ansible.builtin.")
		if key != "loop" && !strings.HasPrefix(key, "with_") {
			continue
		}
		items, ok := x.loopOver(key, held{kind: heldNode, node: p.Value, file: x.file}, v)
		if !ok {
			return []held{{}}, true
		}
		return items, true
	}
	return nil, false
}

func (x *finder) loopOver(key string, over held, v *vars) ([]held, bool) {
	e := &expression{vars: v}
	if n := over.node; n.Kind == conf.YAMLScalar && bareName.MatchString(n.Text) { // with_items: settings, before Ansible 2.0
		if h := v.lookup(n.Text); h.kind == heldNode {
			over = h
		}
	}
	if over.node != nil && over.file.yaml.IsMarker(over.node) {
		s := over.file.yaml.MarkerSpan(over.node)
		over = evaluate(placeBytes(over.file, over.file.yaml.Bytes(s), s.Start).inner(), v, 1)
	}
	if key == "with_dict" {
		entries := e.entries(over)
		return entries.list, entries.kind == heldList
	}
	list, ok := e.items(over)
	if !ok {
		return nil, false
	}
	switch key {
	case "loop", "with_list":
		return x.settled(list, v), true
	case "with_items", "with_flattened":
		var flat []held
		for _, h := range list {
			if inner, ok := e.items(h); ok {
				flat = append(flat, inner...)
			} else {
				flat = append(flat, h)
			}
			if !v.spend(1) {
				return nil, false
			}
		}
		return x.settled(flat, v), true
	}
	return nil, false
}

// settled follows items that are texts of one marker.
func (x *finder) settled(list []held, v *vars) []held {
	out := make([]held, len(list))
	for i, h := range list {
		if out[i] = h; h.kind == heldNode && h.node.Kind == conf.YAMLScalar && strings.Contains(h.node.Text, "{{") {
			out[i] = settle(h, v, 0)
		}
	}
	return out
}

var bareName = regexp.MustCompile(`^[A-Za-z_]\w*$`)

// variables looks through variables for settings: mappings from known kernel parameters to values, and lists of such with
// name (or key) and value.
func (x *finder) variables(n *conf.YAMLNode, v *vars, scope, depth int) {
	if n == nil || depth > nestLimit || !x.step() {
		return
	}
	list := found{scope: scope, list: x.list(n)}
	for _, p := range n.Pairs {
		if p.Key.Kind == conf.YAMLScalar && x.isParameter(p.Key.Text) {
			x.variable(placeNode(x.file, p.Key), p.Value, v, list)
			continue
		}
		x.variables(p.Value, v, scope, depth+1)
	}
	for _, item := range n.Items {
		if key := scalarOf(item, "name", "key"); key != nil && x.isParameter(key.Text) {
			x.variable(placeNode(x.file, key), item, v, list)
			continue
		}
		x.variables(item, v, scope, depth+1)
	}
}

func (x *finder) isParameter(text string) bool {
	return strings.IndexByte(text, '.') > 0 && sysctlKeyText.MatchString(text) && x.f.options.Catalogue.Known(text)
}

func scalarOf(n *conf.YAMLNode, names ...string) *conf.YAMLNode {
	for _, name := range names {
		if found := n.Get(name); found != nil && found.Kind == conf.YAMLScalar {
			return found
		}
	}
	return nil
}

// variable takes one setting of the variables: its value, or a mapping with the value and perhaps a state.
func (x *finder) variable(key placed, n *conf.YAMLNode, v *vars, s found) {
	if n.Kind == conf.YAMLMapping && !x.file.yaml.IsMarker(n) {
		if state := n.Get("state"); state != nil {
			if t := asText(held{kind: heldNode, node: state, file: x.file}, v, 0); t.text != "present" {
				return
			}
		}
		if n = scalarOf(n, "value", "val"); n == nil {
			return
		}
	}
	if n.Kind == conf.YAMLScalar && n.Null || n.Kind == conf.YAMLSequence {
		return
	}
	t := asText(held{kind: heldNode, node: n, file: x.file}, v, 0)
	if t.text == "" {
		t = placed{hole, []spot{{x.file, x.file.yaml.Start(n)}}}
	}
	s.byModule = true
	x.add(key, t, s)
}

// beside looks a variable up in the files of the role, and in group_vars, if the directory that is judged holds them. It
// is known only where one file alone defines it, or the role's vars, which win over the others.
func (x *finder) beside(name string) held {
	var all []held
	for _, file := range x.f.besides(x.file.name) {
		for _, doc := range file.yaml.Docs {
			n := doc.Get(name)
			switch {
			case n == nil:
			case filepath.Base(filepath.Dir(file.name)) == "vars":
				return held{kind: heldNode, node: n, file: file}
			default:
				all = append(all, held{kind: heldNode, node: n, file: file})
			}
		}
	}
	switch len(all) {
	case 0:
		return held{kind: heldUndefined}
	case 1:
		return all[0]
	}
	return held{}
}

// besides are the files of variables that hold for a file of tasks: vars and defaults of its role, and group_vars.
func (f *Files) besides(name string) []*embeddedFile {
	if f.within == "" {
		return nil
	}
	var out []*embeddedFile
	for dir := filepath.Dir(name); f.inside(dir); dir = filepath.Dir(dir) {
		if base := filepath.Base(dir); base == "tasks" || base == "handlers" {
			role := filepath.Dir(dir)
			for _, part := range []string{"vars", "defaults"} {
				out = append(out, f.variableFiles(filepath.Join(role, part))...)
			}
		}
		out = append(out, f.variableFiles(filepath.Join(dir, "group_vars"))...)
		if dir == f.within || dir == filepath.Dir(dir) {
			break
		}
	}
	return out
}

// inside reports whether a directory is the operand, or below it.
func (f *Files) inside(dir string) bool {
	relative, err := filepath.Rel(f.within, dir)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, "../")
}

// variableFiles are the files of variables in a directory. They are read once for all files of one operand; what cannot be
// read is judged, and becomes a gap, on its own.
func (f *Files) variableFiles(dir string) []*embeddedFile {
	if files, ok := f.beside[dir]; ok {
		return files
	}
	const most = 100
	var files []*embeddedFile
	absolute, err := filepath.Abs(dir)
	if err == nil && f.inside(dir) {
		entries, _ := f.tree.list(absolute) // what is not there has no variables
		for _, e := range entries[:min(len(entries), most)] {
			isMain := filepath.Base(dir) == "group_vars" || strings.HasPrefix(e.Name, "main.")
			if !isMain || !isYAMLPath(e.Name) || !e.Type.IsRegular() {
				continue
			}
			data, err := f.tree.read(filepath.Join(absolute, e.Name), variableLimit)
			if err != nil || !maySet(data) {
				continue
			}
			if y, err := conf.ParseYAML(data); err == nil && !y.Template {
				files = append(files, newEmbeddedFile(filepath.Join(dir, e.Name), data, y))
			}
		}
	}
	if f.beside == nil || len(f.beside) > 1000 {
		f.beside = map[string][]*embeddedFile{}
	}
	f.beside[dir] = files
	return files
}

// variableLimit bounds a file of variables that is read beside another.
const variableLimit = 1 << 20
