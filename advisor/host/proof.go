package host

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

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
	wayKind                    // as its kind of settings is edited
)

// placing is one change on its way into a patch.
type placing struct {
	change advisor.Change
	key    string       // of the kernel parameter; else the setting's name in its file
	kind   *settingKind // nil: a kernel parameter
	place  settingAt    // of a kind's setting
	ways   []way
	at     int        // in ways
	first  string     // what was against the first way
	why    string     // withheld
	with   []*placing // it is made for these only; empty: it is wanted for itself
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
	facts    *advisor.Facts // before
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
	facts     *advisor.Facts
	diagnosis *advisor.Diagnosis
	options   PatchOptions
	load      *sysctlLoad
	reload    *sysctlLoad
	tried     map[string]bool // findings for which companions were made, by sameFinding
}

func (s *site) patch(facts *advisor.Facts, before *advisor.Diagnosis, changes []advisor.Change, o PatchOptions) *advisor.Patch {
	loads := s.load(nil)
	pr := &proof{site: s, facts: facts, diagnosis: before, options: o, load: loads.boot, reload: loads.reload, tried: map[string]bool{}}
	var steps []*placing
	for _, c := range changes {
		steps = append(steps, pr.step(c))
	}
	for {
		active := slices.DeleteFunc(slices.Clone(steps), func(s *placing) bool { return s.why != "" })
		a := pr.attempt(active, true)
		if len(a.faults) == 0 && len(a.needs) == 0 {
			return pr.finish(a, steps)
		}
		for s, why := range a.faults {
			s.next(why)
		}
		steps = slices.DeleteFunc(steps, (*placing).isLost)
		steps = append(steps, a.needs...)
	}
}

// step finds the ways to make a change.
func (pr *proof) step(c advisor.Change) *placing {
	key, isSysctl := strings.CutPrefix(c.Setting, "sysctl:")
	s := &placing{change: c, key: key}
	if s.kind, s.place = kindOf(c.Setting); s.kind != nil {
		s.key = s.place.name
	}
	switch {
	case s.kind != nil:
		s.ways, s.why = pr.waysOfKind(s)
	case isSysctl && pr.options.Style == advisor.PatchCommands && len(pr.facts.Members("sysctl")) == 0 && pr.alone == "":
		s.why = "no kernel runs on these files: there is none to command"
	case !isSysctl:
		s.why = "no patch is made of such a setting: follow the steps that tcpadvise check prints"
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

// attempt is what one way for each change comes to.
type attempt struct {
	*plan
	steps    []*placing
	changed  map[string][]byte
	shown    map[string][]byte // the same without secrets, for the collectors
	loads    sysctlLoads       // after
	load     *sysctlLoad       // that of the boot
	found    map[string]bool   // what is found then, by sameFinding; nil: it did not come to that
	commands []advisor.PatchedCommand
	remarks  []string
	needs    []*placing              // without which these steps do harm
	running  map[string]advisor.Fact // of the keys that commands, or a reboot, change
}

// attempt makes all steps, and finds which of them do not do. search says that harm without a known culprit is worth looking
// for one.
func (pr *proof) attempt(steps []*placing, search bool) *attempt {
	a := &attempt{
		plan:  &plan{site: pr.site, facts: pr.facts, style: pr.options.Style, before: pr.load, reload: pr.reload, files: map[string]*editing{}, faults: map[*placing]string{}},
		steps: steps, changed: map[string][]byte{}, shown: map[string][]byte{}, running: map[string]advisor.Fact{},
	}
	a.place()
	if len(a.faults) > 0 {
		return a
	}
	a.write()
	a.hideSecrets()
	if len(a.faults) > 0 {
		return a
	}
	a.loads = pr.site.load(a.shown)
	a.load = a.loads.boot
	for _, s := range steps {
		if s.kind == nil {
			pr.effective(a, s)
			pr.command(a, s)
		}
	}
	if len(a.faults) == 0 && len(steps) > 0 {
		pr.judge(a, search)
	}
	return a
}

// write finds what the files will hold.
func (a *attempt) write() {
	for _, file := range a.files {
		data, err := file.content()
		why := ""
		switch {
		case err != nil:
			why = fmt.Sprintf("%s: %v", file.path, err)
		case a.style == advisor.PatchAnsible && len(file.tasks) == 0 && !file.created:
			file.replaces, why = file.asReplaces(data)
		}
		for s := range file.changes {
			if why != "" {
				a.fault(s, why)
			}
		}
		if len(file.hunks) > 0 {
			a.changed[file.path], a.shown[file.path] = data, file.withoutSecrets(data)
		}
	}
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
		case wayKind:
			why = s.kind.edit(p.plan, s)
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
		return p.openSysctl(p.site.alone)
	}
	return p.confFile()
}

// hideSecrets gives up the edits whose diff would show a secret. Tasks for kernel parameters show no lines.
func (a *attempt) hideSecrets() {
	for _, e := range a.files {
		if len(e.tasks) > 0 {
			continue
		}
		line, near := e.shownSecret()
		for _, s := range near {
			why := fmt.Sprintf("a diff would show line %d of %s, which holds a secret: ", line, e.path)
			if s.kind != nil {
				why += "change it by hand"
			} else {
				why += "--format commands or ansible show no lines"
			}
			a.fault(s, why)
		}
	}
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
	pr.site.facts(a.shown, a.loads, b) // last: it compares with what runs
	if slices.ContainsFunc(a.steps, func(s *placing) bool { return s.kind != nil }) {
		pr.services(a.shown, b)
	}
	return b.Facts()
}

// finish makes the patch of an attempt without a fault.
func (pr *proof) finish(a *attempt, steps []*placing) *advisor.Patch {
	out := &advisor.Patch{Settings: a.settings, Commands: a.commands, Remarks: a.remarks}
	for _, file := range slices.Sorted(maps.Keys(a.changed)) {
		a.files[file].into(out, a.changed[file])
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
	// What goes along with another change is needed as soon as that one acts: its service is named first.
	slices.SortStableFunc(steps, func(a, b *placing) int { return b2i(len(b.with) > 0) - b2i(len(a.with) > 0) })
	for _, s := range steps {
		if s.why != "" {
			out.Withheld = append(out.Withheld, advisor.WithheldChange{Setting: s.change.Setting, Rules: s.change.Rules, Why: s.why})
			continue
		}
		if len(s.with) > 0 {
			out.Remarks = append(out.Remarks, fmt.Sprintf("%s: without this change %s would be found once the others are made", s.key, strings.Join(s.change.Rules, ", ")))
		}
		out.Remarks = append(out.Remarks, s.notes()...)
		if s.kind != nil {
			out.AddService(s.kind.after(a.plan, s))
		}
	}
	return out
}

// into adds a file to a patch.
func (e *editing) into(out *advisor.Patch, data []byte) {
	edit := e.fileEdit(data)
	switch {
	case bytes.Equal(edit.Old, edit.New):
		return
	case e.created:
		out.NewFiles = append(out.NewFiles, edit)
	default:
		out.Files = append(out.Files, edit)
		out.Replaces = append(out.Replaces, e.replaces...)
	}
	if tool := managedBy(e.old); tool != "" {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s says that %s manages it: an edit here will be overwritten; make it there (for Ansible, --format ansible prints the tasks)", e.path, tool))
	}
}
