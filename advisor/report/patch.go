package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// PatchOptions say how a patch is written. None of them changes what is in it.
type PatchOptions struct {
	Tool    string            // version of tcpadvise; empty: not said
	Reverse bool              // undo: diff and commands only
	Alone   bool              // the files are judged alone: paths are as the user named them
	Root    string            // directory with the host's files; empty: "/"
	Include advisor.Safety    // the least safety that was asked for
	Left    []advisor.Change  // what a lower one would add
	Steps   []advisor.Finding // findings that no patch helps
}

type patchFormat struct {
	style   advisor.PatchStyle
	reverse bool // can be undone
	empty   func(p *advisor.Patch) bool
	write   func(d *patchDoc) error
}

// patchFormats is the one list of formats of a patch.
func patchFormats() map[string]patchFormat {
	return map[string]patchFormat{
		"ansible":  {advisor.PatchAnsible, false, noFileSetting, writeAnsible},
		"commands": {advisor.PatchCommands, true, func(p *advisor.Patch) bool { return len(p.Commands) == 0 }, writeCommands},
		"diff":     {advisor.PatchInPlace, true, noFile, writeDiff},
		"drop-in":  {advisor.PatchDropIn, false, noFile, writeDropIn},
	}
}

func noFile(p *advisor.Patch) bool { return len(p.Files)+len(p.NewFiles) == 0 }

func noFileSetting(p *advisor.Patch) bool {
	return len(p.Replaces)+len(p.NewFiles) == 0 && !slices.ContainsFunc(p.Settings, func(s advisor.PatchedSetting) bool { return s.Path != "" })
}

// PatchFormats lists the names that WritePatch takes, sorted.
func PatchFormats() []string { return slices.Sorted(maps.Keys(patchFormats())) }

// PatchStyle is the style in which changes must be made for a format, and whether it can be written in reverse; 0 for an
// unknown format.
func PatchStyle(format string) (style advisor.PatchStyle, reverse bool) {
	f := patchFormats()[format]
	return f.style, f.reverse
}

// WritePatch writes p in the named format to out. Where that format has nothing to show, out gets no byte, and what there is
// to say goes to notes.
func WritePatch(out, notes io.Writer, format string, p *advisor.Patch, o PatchOptions) error {
	f, ok := patchFormats()[format]
	if !ok {
		return fmt.Errorf("there is no format %q: choose one of %s", format, strings.Join(PatchFormats(), ", "))
	}
	d := &patchDoc{Patch: p, o: o}
	to := out
	if f.empty(p) {
		to = notes
		d.nothing(f.style)
	} else if err := f.write(d); err != nil {
		return fmt.Errorf("write the patch as %s: %w", format, err)
	}
	if _, err := to.Write(d.buf.Bytes()); err != nil {
		return fmt.Errorf("write the patch as %s: %w", format, err)
	}
	return nil
}

// patchDoc is one patch on its way out.
type patchDoc struct {
	*advisor.Patch
	o   PatchOptions
	buf bytes.Buffer
	raw bool // lines without '#': for a person, not for a program

	told map[string]bool // reasons that were given
}

// say writes a paragraph as comment lines, the further ones indented by two more.
func (d *patchDoc) say(indent int, text string) {
	columns, mark := 118, "# "
	if d.raw { // as all messages are: one line, to be found by grep
		columns, mark = math.MaxInt, "tcpadvise: "
	}
	line := mark + strings.Repeat(" ", indent)
	empty := true
	for word := range strings.FieldsSeq(escape(text)) {
		if !empty && width(line)+1+width(word) > columns {
			d.buf.WriteString(line + "\n")
			line, empty = mark+strings.Repeat(" ", indent+2), true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	d.buf.WriteString(strings.TrimRight(line, " ") + "\n")
}

func (d *patchDoc) sayf(format string, args ...any) {
	d.say(0, fmt.Sprintf(format, args...))
}

// command writes a line to copy: it is never broken.
func (d *patchDoc) command(text string) {
	mark := "#   "
	if d.raw {
		mark = "  "
	}
	d.buf.WriteString(mark + escape(text) + "\n")
}

func (d *patchDoc) title(what string) {
	name := "tcpadvise"
	if d.o.Tool != "" {
		name += " " + d.o.Tool
	}
	if d.o.Reverse {
		what = "the reverse of " + what
	}
	d.sayf("%s: %s", name, what)
}

// nothing is what is said where there is nothing to write.
func (d *patchDoc) nothing(style advisor.PatchStyle) {
	d.raw = true
	if d.Empty() && len(d.Withheld)+len(d.Remarks)+len(d.o.Left)+len(d.o.Steps) == 0 {
		d.say(0, "nothing to change")
		return
	}
	if style == advisor.PatchCommands {
		d.say(0, "no command is to run")
	} else {
		d.say(0, "no file is to change")
		d.commandsAfter("for the kernel that runs:")
	}
	d.rest()
}

// commandsAfter lists what is to run, or to undo.
func (d *patchDoc) commandsAfter(heading string) {
	var refused []string
	var lines []string
	for _, c := range d.Commands {
		switch {
		case !d.o.Reverse:
			lines = append(lines, sysctlCommand(c.Key, c.Value))
		case c.Undo != "":
			lines = append(lines, sysctlCommand(c.Key, c.Undo))
		default:
			refused = append(refused, fmt.Sprintf("%s in the running kernel is not undone: %s", c.Key, c.UndoWhy))
		}
	}
	if len(lines) > 0 {
		d.say(0, heading)
	}
	for _, line := range lines {
		d.command(line)
	}
	for _, why := range refused {
		d.say(0, why)
	}
}

// servicesAfter says what programs must be told once their files are changed, or changed back, and what becomes of their
// connections.
func (d *patchDoc) servicesAfter() {
	for _, s := range d.Services {
		if s.Name == "" {
			d.sayf("then: %s", s.Connections)
			continue
		}
		if len(s.Commands) == 0 {
			d.sayf("then restart %s: %s", s.Name, s.Connections)
			continue
		}
		d.sayf("then, for %s to take it up:", s.Name)
		for _, c := range s.Commands {
			d.command(c)
		}
		d.say(0, s.Connections)
	}
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_.,:/@%+=-]+$`)

func sysctlCommand(key, value string) string {
	word := key + "=" + value
	if !plainWord.MatchString(word) {
		word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return "sysctl -w " + word
}

// rest is what concerns the reader beside the patch: warnings, what was withheld, what more could be had, and what no patch
// helps.
func (d *patchDoc) rest() {
	if d.o.Reverse { // what was withheld needs no undoing
		return
	}
	for _, w := range d.Warnings {
		d.say(0, "WARNING: "+w)
	}
	for _, r := range d.Remarks {
		d.say(0, "note: "+r)
	}
	for _, w := range d.Withheld {
		d.sayf("withheld: %s (%s): %s", settingName(w.Setting), strings.Join(w.Rules, ", "), w.Why)
	}
	for _, c := range d.o.Left {
		d.sayf("left out: %s (%s): needs --include %s", settingName(c.Setting), strings.Join(c.Rules, ", "), c.Safety)
	}
	d.steps()
}

var placedSetting = regexp.MustCompile(`^[a-z-]+:(.+?:\d+):([^:]+)$`)

// settingName is what a person calls a setting: "net.ipv4.tcp_sack", "keepalive_timeout in /etc/nginx/nginx.conf:7".
func settingName(setting string) string {
	if m := placedSetting.FindStringSubmatch(setting); m != nil {
		return m[2] + " in " + m[1]
	}
	return strings.TrimPrefix(setting, "sysctl:")
}

// steps are what the owner of a program must do: one list for each rule, however many sockets it found.
func (d *patchDoc) steps() {
	told := map[string]bool{}
	for _, f := range d.o.Steps {
		d.sayf("no patch exists for %s, only the program's code helps: %s", f.Rule, f.Message)
		if told[f.Rule] {
			continue
		}
		told[f.Rule] = true
		for _, do := range f.Do {
			d.say(2, "do: "+do)
		}
	}
}

func writeDiff(d *patchDoc) error {
	d.title(fmt.Sprintf("changes of safety %q and above", d.o.Include))
	if d.o.Alone {
		d.say(0, "apply: patch -p1 < THIS, or git apply THIS, in the directory from which the files were named")
	} else {
		root := cmp.Or(d.o.Root, "/")
		d.sayf("apply: patch -p1 -d %s < THIS, or in %s git apply THIS", root, root)
	}
	d.commandsAfter("then run, for the kernel that runs:")
	d.servicesAfter()
	for _, f := range slices.Concat(d.Files, d.NewFiles) {
		d.hunks(f)
	}
	d.rest()
	for _, f := range d.Files {
		if err := d.diff(f, false); err != nil {
			return err
		}
	}
	for _, f := range d.NewFiles {
		if err := d.diff(f, true); err != nil {
			return err
		}
	}
	return nil
}

func (d *patchDoc) hunks(f advisor.FileEdit) {
	for _, h := range f.Hunks {
		place := f.Path
		if f.Old != nil {
			place = fmt.Sprintf("%s:%d", f.Path, h.Line)
		}
		if d.o.Reverse {
			d.sayf("%s takes back %s", f.Path, h.What)
			continue
		}
		d.hunk(place+" "+h.What, h)
	}
	if f.Hash != "" && !d.o.Reverse {
		d.sayf("%s was read with sha256 %s", f.Path, f.Hash)
	}
}

// hunk says what an edit does, and why.
func (d *patchDoc) hunk(what string, h advisor.Hunk) {
	d.sayf("%s (%s)", what, h.Safety)
	for i, rule := range h.Rules {
		reason := rule + ": " + h.Reasons[i]
		if d.told[reason] {
			reason = rule + ", as above"
		} else if d.told == nil {
			d.told = map[string]bool{}
		}
		d.told[rule+": "+h.Reasons[i]] = true
		d.say(2, reason)
	}
}

// diff writes one file's hunks, below headers that patch(1) and git apply understand alike: git's own say that a file is new
// or goes, and that one which ends up empty stays.
func (d *patchDoc) diff(f advisor.FileEdit, created bool) error {
	if d.o.Reverse {
		f = f.Reverse()
	}
	name := strings.TrimPrefix(path.Clean(f.Path), "/")
	if strings.HasPrefix(name, "../") {
		return fmt.Errorf("%s: patch(1) refuses names with ..: name the file from a directory above it", f.Path)
	}
	tail := ""
	if strings.ContainsAny(name, " ") {
		tail = "\t" // ends a name with blanks: git's diff does the same
	}
	from, to := "a/"+name+tail, "b/"+name+tail
	fmt.Fprintf(&d.buf, "diff --git a/%s b/%s\n", name, name)
	switch {
	case created && d.o.Reverse:
		fmt.Fprintf(&d.buf, "deleted file mode 100644\n")
		to = "/dev/null"
	case created:
		fmt.Fprintf(&d.buf, "new file mode 100644\n")
		from = "/dev/null"
	}
	text, err := unified(from, to, f.Old, f.Edits)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	d.buf.WriteString(text)
	return nil
}

// unified is the diff of known edits. The library looks at all of a file for each edit, so it is given only the lines around
// edits that are near each other, and the numbers in its headers are set right: those of the new file are wrong, too, where
// a hunk holds several edits (v0.4.1 forgets the lines between them).
func unified(from, to string, old []byte, edits []advisor.TextEdit) (string, error) {
	var b strings.Builder
	before, grown, last := 0, 0, 0 // lines before the window, lines added before the hunk, and where the window begins
	for len(edits) > 0 {
		start, end := linesBack(old, edits[0].Start), linesOn(old, edits[0].End)
		n := 1
		for n < len(edits) && linesBack(old, edits[n].Start) <= end {
			end = max(end, linesOn(old, edits[n].End))
			n++
		}
		before += bytes.Count(old[last:start], []byte{'\n'})
		last = start
		window := make([]udiff.Edit, n)
		for i, e := range edits[:n] {
			window[i] = udiff.Edit{Start: e.Start - start, End: e.End - start, New: e.New}
		}
		edits = edits[n:]
		text, err := udiff.ToUnified(from, to, string(old[start:end]), window, udiff.DefaultContextLines)
		if err != nil {
			return "", err
		}
		if b.Len() > 0 {
			text = text[max(strings.Index(text, "\n@@")+1, 0):] // the file's header stands once
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "@@") { // a line of the file has a mark before it
				line = moveHunk(line, before, &grown)
			}
			b.WriteString(line)
		}
	}
	return b.String(), nil
}

var hunkHeader = regexp.MustCompile(`^@@ -([0-9]+)(?:,([0-9]+))? [+]([0-9]+)(?:,([0-9]+))? @@`)

// moveHunk gives a hunk's header its place in the whole file. An empty side is at line 0, as diff(1) has it.
func moveHunk(header string, before int, grown *int) string {
	m := hunkHeader.FindStringSubmatch(header)
	if m == nil {
		return header
	}
	var ns [5]int
	for i := 1; i < len(m); i++ {
		ns[i], _ = strconv.Atoi(cmp.Or(m[i], "1")) // digits, by the expression; a count that is not said is 1
	}
	from, fromCount, toCount := ns[1]+before, ns[2], ns[4]
	to := from + *grown
	switch {
	case fromCount == 0:
		to = 1
	case toCount == 0:
		to = 0
	}
	*grown += toCount - fromCount
	side := func(line, count int) string {
		if count == 1 {
			return strconv.Itoa(line)
		}
		return fmt.Sprintf("%d,%d", line, count)
	}
	return fmt.Sprintf("@@ -%s +%s @@\n", side(from, fromCount), side(to, toCount))
}

// linesBack is the beginning of the line that holds a byte, and of the context before it.
func linesBack(text []byte, at int) int {
	for range udiff.DefaultContextLines + 1 {
		if at = bytes.LastIndexByte(text[:at], '\n'); at < 0 {
			return 0
		}
	}
	return at + 1
}

// linesOn is the end of the line that holds a byte, and of the context after it.
func linesOn(text []byte, at int) int {
	for range udiff.DefaultContextLines + 1 {
		n := bytes.IndexByte(text[at:], '\n')
		if n < 0 {
			return len(text)
		}
		at += n + 1
	}
	return at
}

func writeDropIn(d *patchDoc) error {
	f := d.NewFiles[0]
	d.title(fmt.Sprintf("changes of safety %q and above, as one file", d.o.Include))
	d.sayf("put it into %s, which is read after all other lines of these keys; then run:", f.Path)
	d.command("sysctl -p " + f.Path)
	d.rest()
	d.buf.WriteString("\n")
	d.buf.Write(f.New)
	return nil
}

func writeCommands(d *patchDoc) error {
	d.title(fmt.Sprintf("changes of safety %q and above, for this boot only", d.o.Include))
	for _, c := range d.Commands {
		d.buf.WriteString("\n")
		for _, s := range d.Settings {
			if s.Key != c.Key {
				continue
			}
			if d.o.Reverse {
				d.sayf("takes back what %s asked for", strings.Join(s.Rules, ", "))
				continue
			}
			for i, rule := range s.Rules {
				d.sayf("%s: %s", rule, s.Reasons[i])
			}
			if s.Lost != "" {
				d.sayf("at the next boot this is lost: %s", s.Lost)
			}
		}
		switch {
		case !d.o.Reverse:
			d.buf.WriteString(sysctlCommand(c.Key, c.Value) + "\n")
		case c.Undo != "":
			d.buf.WriteString(sysctlCommand(c.Key, c.Undo) + "\n")
		default:
			d.sayf("refused: %s is not undone: %s", c.Key, c.UndoWhy)
		}
	}
	if !d.o.Reverse && len(d.Warnings)+len(d.Remarks)+len(d.Withheld)+len(d.o.Left)+len(d.o.Steps) > 0 {
		d.buf.WriteString("\n")
	}
	d.rest()
	return nil
}
