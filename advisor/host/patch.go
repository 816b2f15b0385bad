package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	raw       func(file string) ([]byte, error)                   // with secrets, for the lines around an edit
	refuse    func(file string) string                            // why the file that is judged alone must be left alone
	load      func(changed map[string][]byte) *sysctlLoad         // as the loader would read it
	facts     func(changed map[string][]byte, b *advisor.Builder) // what the files say, read anew
	live      func(key string) (string, bool)                     // a running value that is not among the facts
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
func (h *Host) Edits(ctx context.Context, facts *advisor.Facts, before *advisor.Diagnosis, changes []advisor.Change, o PatchOptions) *advisor.Patch {
	raw := h.tree
	if h.record != nil {
		raw = h.record.inner
	}
	if m, ok := raw.(masked); ok {
		raw = m.tree
	}
	loader, _ := bootLoader(h.tree)
	load := loadProcps
	if loader == bootSystemd || loader == bootUnknown { // as loadSysctls chooses
		load = loadSystemd
	}
	expand := expandSysctls(h.tree)
	s := &site{
		tree: h.tree, onlyConf: loader == bootBusybox, catalogue: h.options.Catalogue,
		raw: func(file string) ([]byte, error) { return raw.read(file, sysctlLimit) },
		load: func(changed map[string][]byte) *sysctlLoad {
			return load(overlay{h.tree, changed}, expand)
		},
		facts: func(changed map[string][]byte, b *advisor.Builder) {
			after := &Host{tree: overlay{h.tree, changed}, options: h.options}
			after.collectSettings(ctx, b)
		},
		live: func(key string) (string, bool) {
			file, err := sysctlPath(key)
			if err != nil || isSecret(key) {
				return "", false
			}
			data, err := h.tree.read(file, 1<<20)
			return strings.TrimSpace(string(data)), err == nil
		},
	}
	return s.patch(ctx, facts, before, changes, o)
}

// Edits turns changes into edits of the one file that facts are about. It must be a sysctl file.
func (f *Files) Edits(ctx context.Context, facts *advisor.Facts, before *advisor.Diagnosis, changes []advisor.Change, o PatchOptions) *advisor.Patch {
	name, why := f.sysctlFile(facts)
	if why != "" {
		p := &advisor.Patch{}
		for _, c := range changes {
			p.Withheld = append(p.Withheld, advisor.WithheldChange{Setting: c.Setting, Rules: c.Rules, Why: why})
		}
		return p
	}
	s := &site{tree: f.tree, alone: name, catalogue: f.options.Catalogue, live: func(string) (string, bool) { return "", false }}
	s.raw = func(file string) ([]byte, error) { return f.tree.read(s.absolute(file), sysctlLimit) }
	s.refuse = func(file string) string {
		if info, err := os.Lstat(file); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return file + " is a symbolic link: name the file that it leads to"
		}
		return ""
	}
	content := func(changed map[string][]byte) []byte {
		data, ok := changed[name]
		if !ok {
			data, _ = s.raw(name) // it was read a moment ago; what is gone is empty, and then no change is proven
		}
		return maskSecrets(s.absolute(name), data)
	}
	s.load = func(changed map[string][]byte) *sysctlLoad { return loadText(name, content(changed)) }
	s.facts = func(changed map[string][]byte, b *advisor.Builder) {
		again := *f // what it counts while judging is of no interest
		again.gaps = nil
		again.judge(name, content(changed), slices.Contains(f.operands, name), func(read *advisor.Facts) bool {
			*b = *read.Revise()
			return false
		})
	}
	return s.patch(ctx, facts, before, changes, o)
}

// sysctlFile is the file that facts are about; why says that it cannot be edited.
func (f *Files) sysctlFile(facts *advisor.Facts) (name, why string) {
	for row := range facts.Rows("settings") {
		switch {
		case name == "":
			name = row.Origin.Path
		case name != row.Origin.Path:
			return "", "the settings are spread over several files: change them by hand"
		}
	}
	if name == "-" {
		return "", "standard input has no name that a patch could give: name the file"
	}
	data, err := f.tree.read((&site{}).absolute(name), fileLimit)
	if err != nil {
		return "", fmt.Sprintf("%s cannot be read again: %v", name, err)
	}
	t, ok := f.recognise(name, maskSecrets(name, data), slices.Contains(f.operands, name))
	switch {
	case !ok || t.name != "sysctl":
		return "", name + " is no sysctl file: change it by hand"
	case len(conf.Markers(data)) > 0:
		return "", name + " is a template: change it by hand"
	}
	return name, ""
}

// overlay is a tree with some files changed or added. It holds what the collectors may see: secrets are masked on reading.
type overlay struct {
	tree
	changed map[string][]byte
}

func (o overlay) read(file string, limit int64) ([]byte, error) {
	real := file
	if _, ok := o.changed[file]; !ok {
		if r, err := o.tree.resolve(file); err == nil {
			real = r
		}
	}
	if data, ok := o.changed[real]; ok {
		return maskSecrets(real, data), nil
	}
	return o.tree.read(file, limit)
}

func (o overlay) resolve(file string) (string, error) {
	if _, ok := o.changed[file]; ok {
		return file, nil
	}
	real, err := o.tree.resolve(file)
	if err != nil && o.hasBelow(file) {
		return file, nil
	}
	return real, err
}

func (o overlay) hasBelow(dir string) bool {
	for file := range o.changed {
		if strings.HasPrefix(file, dir+"/") {
			return true
		}
	}
	return false
}

func (o overlay) list(dir string) ([]entry, error) {
	entries, err := o.tree.list(dir)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || !o.hasBelow(dir)) {
		return entries, err
	}
	entries = slices.Clone(entries)
	for file := range o.changed {
		if below, name := filepath.Split(file); filepath.Clean(below) == dir && !slices.ContainsFunc(entries, func(e entry) bool { return e.Name == name }) {
			entries = append(entries, entry{Name: name})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// way is one of the ways to make a change; the first that can be proven is taken.
type way uint8

const (
	wayKernel   way = iota + 1 // no file: these are right, or the style wants none touched
	wayInPlace                 // the line that wins
	wayDropIn                  // a file that is read later
	wayConf                    // /etc/sysctl.conf, which sysctl --system reads last
	wayAppend                  // the end of the file that is judged alone
	wayRemove                  // take out the administrator's lines
	wayOverride                // and set the kernel's default over those that are not his
)

// placing is one change on its way into a patch.
type placing struct {
	change advisor.Change
	key    string
	ways   []way
	at     int    // in ways
	first  string // what was against the first way
	why    string // withheld
}

func (s *placing) way() way { return s.ways[s.at] }

// value is what the step writes.
func (s *placing) value() string {
	if s.change.Remove {
		return s.change.Default.String()
	}
	return s.change.To.String()
}

// next takes the next way; where there is none the change is withheld, for the reason against the first, which is the natural one.
func (s *placing) next(why string) {
	if s.first == "" {
		s.first = why
	}
	if s.at++; s.at >= len(s.ways) {
		s.why = s.first
	}
}

// plan is one attempt to make all changes.
type plan struct {
	site     *site
	style    advisor.PatchStyle
	before   *sysctlLoad
	reload   *sysctlLoad // by `sysctl --system`; the same as before where that is what runs at boot
	files    map[string]*editing
	settings []advisor.PatchedSetting
	faults   map[*placing]string
}

func (p *plan) fault(s *placing, why string) {
	if _, ok := p.faults[s]; !ok {
		p.faults[s] = why
	}
}

func (p *plan) noteHunk(e *editing, line int, s *placing, what string) {
	c := s.change
	e.hunks = append(e.hunks, advisor.Hunk{Line: line, What: what, Safety: c.Safety, Rules: c.Rules, Reasons: c.Reasons})
	e.changes[s] = true
}

func (p *plan) noteSetting(s *placing, file, name, value, before string) {
	for i := range p.settings {
		if old := &p.settings[i]; old.Key == s.key && old.Path == file {
			if !slices.Contains(old.Names, name) {
				old.Names = append(old.Names, name)
			}
			return
		}
	}
	c := s.change
	p.settings = append(p.settings, advisor.PatchedSetting{
		Key: s.key, Value: value, Remove: value == "", Path: file, Names: []string{name}, Before: before,
		Safety: c.Safety, Rules: c.Rules, Reasons: c.Reasons, Notes: c.Notes,
	})
}

// proof is what an attempt is judged by.
type proof struct {
	*site
	ctx       context.Context
	facts     *advisor.Facts
	diagnosis *advisor.Diagnosis
	options   PatchOptions
	load      *sysctlLoad
	reload    *sysctlLoad
}

func (s *site) patch(ctx context.Context, facts *advisor.Facts, before *advisor.Diagnosis, changes []advisor.Change, o PatchOptions) *advisor.Patch {
	pr := &proof{site: s, ctx: ctx, facts: facts, diagnosis: before, options: o, load: s.load(nil)}
	pr.reload = pr.load
	if s.alone == "" && pr.load.systemd {
		pr.reload = loadProcps(s.tree, expandSysctls(s.tree))
	}
	var steps []*placing
	for _, c := range changes {
		steps = append(steps, pr.step(c))
	}
	for {
		active := slices.DeleteFunc(slices.Clone(steps), func(s *placing) bool { return s.why != "" })
		a := pr.attempt(active, true)
		if len(a.faults) == 0 {
			return pr.finish(a, steps)
		}
		for s, why := range a.faults {
			s.next(why)
		}
	}
}

// step finds the ways to make a change.
func (pr *proof) step(c advisor.Change) *placing {
	key, isSysctl := strings.CutPrefix(c.Setting, "sysctl:")
	s := &placing{change: c, key: key}
	switch {
	case isSysctl && pr.options.Style == advisor.PatchCommands && len(pr.facts.Members("sysctl")) == 0 && pr.alone == "":
		s.why = "no kernel runs on these files: there is none to command"
	case !isSysctl:
		s.why = "no patch is made of such a setting yet: follow the steps that tcpadvise check prints"
	case c.Remove:
		s.ways, s.why = pr.waysToRemove(s)
	case pr.refused(key, c.To) != "":
		s.why = fmt.Sprintf("the kernel would refuse %s: %s", c.To, pr.refused(key, c.To))
	case pr.gaps() != "":
		s.why = pr.gaps()
	default:
		s.ways = pr.waysToSet(s)
	}
	return s
}

// gaps says which file that the loader reads could not be read: what such a file sets is not known, and might win.
func (pr *proof) gaps() string {
	if len(pr.load.Gaps) == 0 || pr.options.Style == advisor.PatchCommands {
		return ""
	}
	return pr.load.Gaps[0].Source + " could not be read, and may decide: run as root"
}

func (pr *proof) refused(key string, v advisor.Value) string {
	var kernel advisor.Version
	if ns, ok := pr.facts.Scalar("kernel.version").Value.Tuple(); ok {
		copy(kernel[:], ns)
	}
	return pr.catalogue.Refuses(key, v.String(), kernel)
}

func (pr *proof) waysToSet(s *placing) []way {
	w, declared := pr.load.winner(s.key)
	right := declared && pr.catalogue.SameValue(s.key, w.Value, s.value()) && !s.change.Respell
	byDefault := !declared && !s.change.Default.IsZero() && pr.catalogue.SameValue(s.key, s.change.Default.String(), s.value())
	switch style := pr.options.Style; {
	case style == advisor.PatchCommands || right || byDefault:
		return []way{wayKernel}
	case style == advisor.PatchDropIn:
		return []way{wayDropIn}
	case pr.alone != "":
		return []way{wayInPlace, wayAppend}
	case pr.load.systemd:
		return []way{wayInPlace, wayDropIn}
	}
	return []way{wayInPlace, wayDropIn, wayConf}
}

func (pr *proof) waysToRemove(s *placing) (ways []way, why string) {
	lines := pr.load.assignments(s.key)
	known := !s.change.Default.IsZero() && !s.change.Gone
	w, declared := pr.load.winner(s.key)
	switch style := pr.options.Style; {
	case pr.gaps() != "":
		return nil, pr.gaps()
	case style == advisor.PatchCommands || !declared && len(lines) == 0:
		return []way{wayKernel}, ""
	case style == advisor.PatchDropIn && known:
		return []way{wayDropIn}, ""
	case style == advisor.PatchDropIn && s.change.Gone:
		return nil, fmt.Sprintf("the line in %s must go, and a drop-in can only override: --format diff removes it", pr.at(w))
	case style == advisor.PatchDropIn:
		return nil, "the kernel's own value is not known, so that no line can set it: --format diff removes the old one"
	case known && pr.alone == "":
		return []way{wayRemove, wayOverride}, ""
	}
	return []way{wayRemove}, ""
}

// at is where a write stands.
func (pr *proof) at(w sysctlWrite) string {
	a := pr.load.All[w.From]
	return fmt.Sprintf("%s:%d", a.File, a.Line)
}

// attempt is what one way for each change comes to.
type attempt struct {
	*plan
	steps    []*placing
	changed  map[string][]byte
	load     *sysctlLoad // after
	commands []advisor.PatchedCommand
	remarks  []string
	running  map[string]advisor.Fact // of the keys that commands, or a reboot, change
}

// attempt makes all steps, and finds which of them do not do. search says that harm without a known culprit is worth looking
// for one.
func (pr *proof) attempt(steps []*placing, search bool) *attempt {
	a := &attempt{
		plan:  &plan{site: pr.site, style: pr.options.Style, before: pr.load, reload: pr.reload, files: map[string]*editing{}, faults: map[*placing]string{}},
		steps: steps, changed: map[string][]byte{}, running: map[string]advisor.Fact{},
	}
	a.place()
	if len(a.faults) > 0 {
		return a
	}
	for _, file := range a.files {
		data, _, err := file.content(a.style)
		for s := range file.changes {
			if err != nil {
				a.fault(s, fmt.Sprintf("%s: %v", file.path, err))
			}
		}
		if len(file.hunks) > 0 {
			a.changed[file.path] = data
		}
	}
	a.hideSecrets()
	if len(a.faults) > 0 {
		return a
	}
	a.load = pr.site.load(a.changed)
	for _, s := range steps {
		pr.effective(a, s)
		pr.command(a, s)
	}
	if len(a.faults) == 0 && len(steps) > 0 {
		pr.judge(a, search)
	}
	return a
}

// place makes the edits.
func (p *attempt) place() {
	var late []*placing
	for _, s := range p.steps {
		var why string
		switch s.way() {
		case wayKernel:
			p.noteSetting(s, "", s.key, s.kernelValue(), p.saysNow(s))
		case wayInPlace:
			why = p.setInPlace(s, s.value())
		case wayDropIn:
			late = append(late, s)
		case wayConf, wayAppend:
			e, whyNot := p.last()
			if why = whyNot; why == "" {
				p.add(e, s, s.value())
			}
		case wayOverride:
			if why = p.remove(s); why == "" {
				late = append(late, s)
			}
		case wayRemove:
			why = p.remove(s)
		}
		if why != "" {
			p.fault(s, why)
		}
	}
	p.addToDropIn(late)
}

func (s *placing) kernelValue() string {
	if s.change.Remove {
		return ""
	}
	return s.value()
}

// last is the file whose end is read last.
func (p *plan) last() (*editing, string) {
	if p.site.alone != "" {
		return p.open(p.site.alone)
	}
	return p.confFile()
}

// hideSecrets gives up the edits whose diff would show a secret.
func (p *attempt) hideSecrets() {
	if p.style != advisor.PatchInPlace {
		return
	}
	for _, e := range p.files {
		line, near := e.shownSecret()
		if line == 0 {
			continue
		}
		for s := range e.changes {
			for _, h := range e.hunks {
				if slices.Contains(near, h.Line) && strings.HasPrefix(h.What, s.key+":") {
					p.fault(s, fmt.Sprintf("a diff would show line %d of %s, which holds a secret: --format commands or ansible show no lines", line, e.path))
				}
			}
		}
	}
}

// effective checks that the loader would end with what the change wants.
func (pr *proof) effective(a *attempt, s *placing) {
	w, ok := a.load.winner(s.key)
	switch {
	case s.way() == wayKernel:
	case s.way() == wayRemove:
		for _, left := range a.load.assignments(s.key) {
			if strings.HasPrefix(left.File, etc) || pr.alone != "" {
				a.fault(s, fmt.Sprintf("%s:%d still sets it", left.File, left.Line))
			}
		}
	case !ok:
		a.fault(s, "no line would set it")
	case !pr.catalogue.SameValue(s.key, w.Value, s.value()) || s.change.Respell && w.Value != s.value():
		left := a.load.All[w.From]
		a.fault(s, fmt.Sprintf("%s:%d would still win, with %s", left.File, left.Line, w.Value))
	}
}

// command is what brings the running kernel to the value that the next boot ends with.
func (pr *proof) command(a *attempt, s *placing) {
	c := s.change
	final, known := pr.final(a, s)
	now, runs := "", c.Running.State == advisor.StateKnown
	if runs {
		now = c.Running.Value.String()
	} else {
		now, runs = pr.live(s.key)
	}
	kernel := len(pr.facts.Members("sysctl")) > 0
	switch {
	case c.Gone, !kernel && pr.alone == "", kernel && !runs && c.Running.State == advisor.StateAbsent:
		return // there is nothing to command
	case known && runs && pr.catalogue.SameValue(s.key, now, final):
		return
	case !known && c.Remove:
		a.remarks = append(a.remarks, fmt.Sprintf("%s%s until the next boot: the kernel's own value for this machine is not known well enough to write it", s.key, keeps(now)))
		a.running[s.key] = advisor.Unknown("the next boot decides", advisor.Origin{})
		return
	}
	cmd := advisor.PatchedCommand{Key: s.key, Value: final, Undo: now}
	if !runs {
		cmd.UndoWhy = "the running value was not read"
		if c.Running.State == advisor.StateUnknown {
			cmd.UndoWhy = c.Running.Why
		}
	}
	a.commands = append(a.commands, cmd)
	if v, err := pr.catalogue.ParseSysctl(s.key, final); err == nil && kernel {
		a.running[s.key] = advisor.Known(v, advisor.Origin{Source: "sysctl -w"})
	}
}

func keeps(now string) string {
	if now == "" {
		return " keeps its running value"
	}
	return " keeps its value " + now
}

// final is the value that the next boot ends with.
func (pr *proof) final(a *attempt, s *placing) (string, bool) {
	if pr.options.Style == advisor.PatchCommands {
		return s.value(), !s.change.Remove || !s.change.Default.IsZero()
	}
	if w, ok := a.load.winner(s.key); ok {
		if v, err := pr.catalogue.ParseSysctl(s.key, w.Value); err == nil {
			return v.String(), true // without the file's tabs
		}
		return w.Value, true
	}
	if s.change.Remove || s.way() == wayKernel {
		return s.change.Default.String(), !s.change.Default.IsZero()
	}
	return s.value(), true
}

// mirrors are scalars that repeat a kernel parameter.
func mirrors() map[string]string {
	return map[string]string{"net.netfilter.nf_conntrack_max": "conntrack.max", "fs.file-max": "files.max"}
}

// factsAfter are the facts once the files are changed and the commands run.
func (pr *proof) factsAfter(a *attempt) *advisor.Facts {
	b := pr.facts.Revise("declared", "settings", "malformed", "boot_differs", "sysctl_writers", "inline_waivers")
	for key, fact := range a.running {
		b.SetMember("sysctl", key, fact)
		if scalar, ok := mirrors()[key]; ok && pr.facts.Scalar(scalar).State == advisor.StateKnown && fact.State == advisor.StateKnown {
			b.Set(scalar, fact)
		}
	}
	pr.site.facts(a.changed, b) // last: it compares with what runs
	return b.Facts()
}

// judge compares what is found after with what was found before.
func (pr *proof) judge(a *attempt, search bool) {
	facts := pr.factsAfter(a)
	after := pr.options.Judge(facts)
	if pr.options.Style != advisor.PatchCommands { // of these the files know nothing, and that may be a finding
		for _, f := range after.Findings {
			for _, s := range a.steps {
				if !pr.mustGo(f, s, a) {
					continue
				}
				why := fmt.Sprintf("%s would still say: %s", f.Rule, f.Message)
				if left := a.load.assignments(s.key); s.way() == wayRemove && len(left) > 0 {
					why = fmt.Sprintf("%s:%d, which is not the administrator's, sets it, too", left[0].File, left[0].Line)
				}
				a.fault(s, why)
			}
		}
	}
	if len(a.faults) > 0 {
		return
	}
	if why, culprits := pr.harm(a, facts, after); why != "" {
		pr.blame(a, why, culprits, search)
	}
}

// mustGo reports whether a finding afterwards is one that the change was to silence: its rule read the setting, and all that
// it wants is part of the attempt.
func (pr *proof) mustGo(f advisor.Finding, s *placing, a *attempt) bool {
	if f.Waived != nil || !slices.Contains(s.change.Rules, f.Rule) || !about(f, s.key) {
		return false
	}
	for _, old := range pr.diagnosis.Findings {
		if old.Rule != f.Rule || old.Subject.Table != f.Subject.Table || !about(old, s.key) {
			continue
		}
		for _, c := range old.Changes {
			if !slices.ContainsFunc(a.steps, func(o *placing) bool {
				return c.Setting == o.change.Setting || strings.HasPrefix(c.Setting, o.change.Setting+"[")
			}) {
				return false
			}
		}
	}
	return true
}

// about reports whether a finding reads a kernel parameter.
func about(f advisor.Finding, key string) bool {
	if f.Subject.Table == "settings" {
		return slices.Contains(strings.Fields(f.Subject.Key), key)
	}
	return slices.ContainsFunc(f.Evidence, func(e advisor.Evidence) bool { return e.What == key })
}

// sameFinding tells findings apart over an edit: the number of a line among those of its key may change.
func sameFinding(f advisor.Finding) string {
	subject, _, _ := strings.Cut(f.Subject.Key, " #")
	return f.Rule + "\x00" + f.Subject.Table + "\x00" + subject
}

// harm is what the attempt makes worse: a finding that was not there, or another setting that would change.
func (pr *proof) harm(a *attempt, facts *advisor.Facts, after *advisor.Diagnosis) (why string, culprits []*placing) {
	before := map[string][]advisor.Severity{}
	for _, f := range pr.diagnosis.Findings {
		before[sameFinding(f)] = append(before[sameFinding(f)], f.Severity)
	}
	for _, f := range after.Findings {
		id := sameFinding(f)
		known := slices.IndexFunc(before[id], func(s advisor.Severity) bool { return s >= f.Severity })
		if known >= 0 {
			before[id] = slices.Delete(before[id], known, known+1)
			continue
		}
		if f.Waived != nil || pr.expected(f, facts) {
			continue
		}
		milder := false
		for _, s := range a.steps {
			if about(f, s.key) {
				culprits = append(culprits, s)
				milder = milder || len(f.Changes) == 0 && pr.worse(s, f.Severity)
			}
		}
		if milder { // of a bad value and a fair one the fair one is better, though there is something to say about it
			a.remarks = append(a.remarks, fmt.Sprintf("%s will mention then: %s", f.Rule, f.Message))
			culprits = nil
			continue
		}
		return fmt.Sprintf("%s would say then: %s", f.Rule, f.Message), culprits
	}
	return pr.sideEffect(a, facts), nil
}

// worse reports whether what a change silences is worse than a mention.
func (pr *proof) worse(s *placing, than advisor.Severity) bool {
	return than == advisor.SeverityInfo && slices.ContainsFunc(pr.diagnosis.Findings, func(f advisor.Finding) bool {
		return f.Severity > than && slices.Contains(s.change.Rules, f.Rule) && about(f, s.key)
	})
}

// expected are findings that a style brings by its nature: a drop-in overrides lines, and a command leaves the files as they
// are.
func (pr *proof) expected(f advisor.Finding, facts *advisor.Facts) bool {
	switch pr.options.Style {
	case advisor.PatchCommands:
		return f.Severity < advisor.SeverityError
	case advisor.PatchDropIn:
		for row := range facts.Rows("settings") {
			id, _ := row.Cells["id"].Value.Text()
			effective, known := row.Cells["effective"].Value.Bool()
			if f.Subject.Table == "settings" && f.Subject.Key == id && known && !effective {
				return true
			}
		}
	case advisor.PatchInPlace, advisor.PatchAnsible:
	}
	return false
}

// sideEffect names a kernel parameter that no change speaks of, and that the next boot would set otherwise than before.
func (pr *proof) sideEffect(a *attempt, facts *advisor.Facts) string {
	meant := func(key string) bool {
		return slices.ContainsFunc(a.steps, func(s *placing) bool { return s.key == key })
	}
	for _, key := range slices.Sorted(slices.Values(append(pr.facts.Members("declared"), facts.Members("declared")...))) {
		was, is := pr.facts.Member("declared", key), facts.Member("declared", key)
		if !meant(key) && (was.State != is.State || !was.Value.Equal(is.Value)) {
			return key + " would change, too"
		}
	}
	return ""
}

// blame finds the change that does the harm: known by its key, or the one without which there is none. Where no single one
// is at fault all are given up.
func (pr *proof) blame(a *attempt, why string, culprits []*placing, search bool) {
	for i := 0; search && len(culprits) == 0 && i < len(a.steps); i++ {
		rest := slices.Delete(slices.Clone(a.steps), i, i+1)
		if without := pr.attempt(rest, false); len(without.faults) == 0 {
			culprits = a.steps[i : i+1]
		}
	}
	if len(culprits) == 0 {
		culprits = a.steps
	}
	for _, s := range culprits {
		a.fault(s, why)
	}
}

// finish makes the patch of an attempt without a fault.
func (pr *proof) finish(a *attempt, steps []*placing) *advisor.Patch {
	out := &advisor.Patch{Settings: a.settings, Commands: a.commands, Remarks: a.remarks}
	for _, file := range slices.Sorted(maps.Keys(a.changed)) {
		e := a.files[file]
		edit, err := e.fileEdit(a.style)
		switch {
		case err != nil || bytes.Equal(edit.Old, edit.New): // an error was a fault before
			continue
		case e.created:
			out.NewFiles = append(out.NewFiles, edit)
		default:
			out.Files = append(out.Files, edit)
		}
		if tool := managedBy(e.old); tool != "" {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s says that %s manages it: an edit here will be overwritten; make it there (for Ansible, --format ansible prints the tasks)", file, tool))
		}
	}
	if pr.options.Style == advisor.PatchCommands {
		for i := range out.Settings {
			out.Settings[i].Lost = pr.lost(out.Settings[i])
		}
	}
	slices.SortStableFunc(out.Settings, func(a, b advisor.PatchedSetting) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Path, b.Path))
	})
	slices.SortStableFunc(out.Commands, func(a, b advisor.PatchedCommand) int { return strings.Compare(a.Key, b.Key) })
	for _, s := range steps {
		if s.why != "" {
			out.Withheld = append(out.Withheld, advisor.WithheldChange{Setting: s.change.Setting, Rules: s.change.Rules, Why: s.why})
			continue
		}
		for _, note := range s.change.Notes {
			out.Remarks = append(out.Remarks, s.key+": "+note)
		}
	}
	return out
}

// lost is what becomes of a running value at the next boot.
func (pr *proof) lost(s advisor.PatchedSetting) string {
	w, ok := pr.load.winner(s.Key)
	switch {
	case !ok:
		return "the next boot brings back the kernel's own value: no file sets it"
	case pr.catalogue.SameValue(s.Key, w.Value, s.Value) && !s.Remove:
		return "the next boot sets the same, by " + pr.at(w)
	}
	return fmt.Sprintf("the next boot sets it to %s again, by %s", w.Value, pr.at(w))
}
