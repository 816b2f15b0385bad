package advisor

import "fmt"

// Why is the story of one kernel parameter on one host: what it is, who sets it, and who wins.
type Why struct {
	Key     string
	Known   bool   // the catalogue or its list of further names holds it
	Kernel  string // release or version that the default is for; empty: no kernel was read
	Running Fact   // what the running kernel has
	// Default is the kernel's own value; zero where none can be given, and then DefaultNote says why. Where it is computed
	// DefaultNote says how.
	Default     Value
	DefaultNote string
	Boot        WhyLoad // what sets the files' values at boot
	BootWhy     string  // why we think so
	Reload      WhyLoad // what `sysctl --system` would do; Loader is empty where the host has no such command
	ReloadWhy   string  // why there is none
	Others      []WhyWriter
	Notes       []string // what the steps do not show: drift, a value that is refused
	Gaps        []Gap    // files that a loader reads, and we could not
}

// WhyLoad is what one loader does with the parameter.
type WhyLoad struct {
	Loader string
	Steps  []WhyStep // in the order read
	Winner int       // index in Steps; -1: the loader leaves the parameter alone
}

// WhyStep is one line that names the parameter, or matches it.
type WhyStep struct {
	Path    string // the file that holds the line
	As      string // the name under which the loader opens it, where that is another
	Line    int
	Key     string // as the line means it; a pattern where it is one
	Value   string // empty for an exclusion
	Exclude bool
	Fate    string // what becomes of it, as a phrase: "wins", "replaced by /etc/sysctl.d/99-x.conf:3"
	Won     bool
}

// WhyWriter is something beside the loaders that sets the parameter.
type WhyWriter struct {
	Who   string
	Value string
	Place string // PATH:LINE, or PATH
}

// Winning is the step that decides; false where none does.
func (l WhyLoad) Winning() (WhyStep, bool) {
	if l.Winner < 0 || l.Winner >= len(l.Steps) {
		return WhyStep{}, false
	}
	return l.Steps[l.Winner], true
}

// DefaultValue computes a parameter's default on a kernel, from the facts that its formula reads. The zero Value means that
// none can be given; the note says why, or how it was computed.
func (c *Catalogue) DefaultValue(key string, kernel Version, facts *Facts) (v Value, note string) {
	p, ok := c.Lookup(key)
	switch {
	case !ok:
		return Value{}, "not in the catalogue"
	case p.MistakenFor != "":
		return Value{}, "no kernel has it: people mean " + p.MistakenFor
	case kernel.IsZero():
		return Value{}, "no kernel was read: use --kernel"
	case !p.Removed.IsZero() && !kernel.Before(p.Removed):
		return Value{}, "removed in " + p.Removed.String()
	case kernel.Before(p.Introduced):
		return Value{}, "introduced in " + p.Introduced.String()
	}
	def, ok := p.DefaultFor(kernel)
	switch {
	case !ok:
		return Value{}, "not known for this kernel"
	case def.Unknown != "":
		return Value{}, def.Unknown
	case def.formula == nil:
		return def.Is, ""
	}
	f := &frame{facts: facts, catalogue: c, kernel: kernel}
	r := f.formula(def.formula, p.Type)
	if r.state != StateKnown {
		return Value{}, fmt.Sprintf("computed: %s", def.About)
	}
	return r.value, "computed: " + def.About
}

// View is what was collected so far, for those who compute further facts from it. It changes with the Builder.
func (b *Builder) View() *Facts { return &b.f }
