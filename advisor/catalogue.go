package advisor

import (
	"bytes"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"
)

// Parameter is what is known of one kernel parameter (sysctl). Empty fields mean: nothing to say.
type Parameter struct {
	Key           string // dotted: net.ipv4.tcp_tw_reuse
	Group         string
	Type          Type // integer, text, tuple or ports
	Bitmap        bool // a number whose bits are flags; the Type is text
	Elements      int  // of a tuple: how many numbers the kernel holds
	Unit          string
	Values        map[int64]string // meaning of the numbers of a flag or an enumeration
	Summary       string
	Accepts       []Bounds // what the kernel enforces with EINVAL, by first version, oldest first
	Sane          *Bounds  // outside it a value is taken but means nothing
	Defaults      []Default
	Introduced    Version
	Removed       Version // the first kernel without it
	ReplacedBy    string
	NoEffect      *NoEffect
	Namespaced    string // first kernel with a value for each network namespace, or "never"
	Inherits      bool   // a new network namespace starts with a copy
	Module        string // exists only while this module is loaded
	ReadOnly      bool
	Vendor        string // exists only in this vendor's kernels
	MistakenFor   string // this key never existed; people mean that one
	TakesEffect   string
	Restart       bool // a running service must restart or listen again to see a change
	DependsOn     []string
	Misconception []string
	Sources       []string
}

// Bounds is an inclusive range from a kernel version on; Min or Max nil: open on that side.
type Bounds struct {
	Since    Version
	Min, Max *int64
}

// contains reports whether n is within b.
func (b Bounds) contains(n int64) bool {
	return (b.Min == nil || *b.Min <= n) && (b.Max == nil || n <= *b.Max)
}

func (b Bounds) String() string {
	switch {
	case b.Min == nil && b.Max == nil:
		return "any number"
	case b.Min == nil:
		return fmt.Sprintf("at most %d", *b.Max)
	case b.Max == nil:
		return fmt.Sprintf("at least %d", *b.Min)
	}
	return fmt.Sprintf("%d to %d", *b.Min, *b.Max)
}

// Default is a parameter's default from a kernel version on: a value, a formula over the machine, or unknown.
type Default struct {
	Since      Version
	Is         Value    // zero where Computed or Unknown is set
	Computed   []string // one expression an element
	About      string   // the formula in words
	Unknown    string   // why no number can be given
	Confidence Confidence
	formula    []evalFunc
}

// NoEffect says from which kernel on a parameter that still exists does nothing.
type NoEffect struct {
	Since   Version
	Because string
}

// Catalogue is the knowledge of kernel parameters. Entries are decoded when first asked for.
type Catalogue struct {
	path    string
	chunks  map[string]chunk
	keys    []string    // sorted
	others  []otherName // names and patterns that exist but are not ours to judge
	newest  Version
	decode  func(key string, c chunk) (*Parameter, error)
	mu      sync.Mutex
	entries map[string]*Parameter
	none    Parameter // empty
}

// otherName is a name, or a pattern and what stands before its first asterisk.
type otherName struct{ pattern, head string }

// Keys returns the names of all catalogued parameters, sorted.
func (c *Catalogue) Keys() []string { return c.keys }

// Newest is the newest kernel that the catalogue knows: the one that files alone are judged for.
func (c *Catalogue) Newest() Version { return c.newest }

// Lookup returns the entry of a key; an empty one and false where there is none.
func (c *Catalogue) Lookup(key string) (*Parameter, bool) {
	part, ok := c.chunks[key]
	if !ok {
		return &c.none, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.entries[key]; ok {
		return p, true
	}
	p, err := c.decode(key, part)
	if err != nil { // the embedded catalogue is decoded whole in the tests
		return &c.none, false
	}
	c.entries[key] = p
	return p, true
}

// TypeOf returns a key's type without decoding its whole entry; false where there is none.
func (c *Catalogue) TypeOf(key string) (Type, bool) {
	t, ok := parameterTypes[c.chunks[key].field("type")]
	return t, ok
}

// Known reports whether a key is catalogued or among the further names that exist.
func (c *Catalogue) Known(key string) bool {
	if _, ok := c.chunks[key]; ok {
		return true
	}
	for _, o := range c.others {
		if strings.HasPrefix(key, o.head) && (o.head == o.pattern && key == o.pattern || wildcard(o.pattern, key, 1)) {
			return true
		}
	}
	return false
}

// Near returns the known name that key is a slip of, "" where none is near.
func (c *Catalogue) Near(key string) string {
	candidates := slices.Clone(c.keys)
	for _, o := range c.others {
		if o.head == o.pattern {
			candidates = append(candidates, o.pattern)
		}
	}
	return Nearest(key, candidates)
}

// loadCatalogue takes the file apart without decoding the entries.
func loadCatalogue(file string, data []byte, s *scope) *Catalogue {
	c := &Catalogue{path: file, entries: map[string]*Parameter{}}
	c.keys, c.chunks = chunk{1, data}.split(0)
	c.newest, _ = ParseVersion(strings.Trim(c.chunks["newest"].field("newest"), `"`)) // checked by Check
	for line := range bytes.Lines(c.chunks["others"].text) {
		if item, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("- ")); ok {
			pattern := strings.Trim(string(item), `"'`)
			head, _, _ := strings.Cut(pattern, "*")
			c.others = append(c.others, otherName{pattern, head})
		}
	}
	for _, name := range []string{"newest", "others"} {
		delete(c.chunks, name)
		c.keys = slices.DeleteFunc(c.keys, func(key string) bool { return key == name })
	}
	slices.Sort(c.keys)
	c.decode = func(key string, part chunk) (*Parameter, error) { return decodeParameter(file, key, part, s) }
	return c
}

// Check decodes each entry and returns all faults.
func (c *Catalogue) Check() error {
	var errs LoadErrors
	for _, key := range c.keys {
		_, err := c.decode(key, c.chunks[key])
		joinLoadErrors(&errs, err)
	}
	if c.newest.IsZero() {
		errs = append(errs, LoadError{Path: c.path, Message: "needs a line such as: newest: \"7.2\""})
	}
	return errs.sorted()
}

var parameterTypes = map[string]Type{
	"integer": TypeInteger, "text": TypeText, "tuple": TypeTuple, "ports": TypePorts, "bitmap": TypeText,
}

func decodeParameter(file, key string, part chunk, s *scope) (*Parameter, error) {
	var errs LoadErrors
	d := &doc{path: file, errs: &errs}
	p := &Parameter{Key: key}
	top := d.parse(part.text)
	if top != nil && len(top.Content) == 2 {
		d.fields(top.Content[1], key, d.parameterFields(p, s))
		if p.Type == 0 || p.Group == "" || p.Summary == "" || len(p.Sources) == 0 {
			d.fail(top, "%s needs group, type, summary and sources", key)
		}
		if p.Type == TypeTuple && p.Elements == 0 {
			d.fail(top, "%s is a tuple: say how many elements", key)
		}
	}
	for i := range errs { // positions within the chunk become positions in the file
		errs[i].Line += part.line - 1
	}
	return p, errs.sorted()
}

func (d *doc) parameterFields(p *Parameter, s *scope) map[string]func(*yaml.Node) {
	text := func(to *string) func(*yaml.Node) { return func(n *yaml.Node) { *to = d.text(n) } }
	texts := func(to *[]string) func(*yaml.Node) { return func(n *yaml.Node) { *to = d.texts(n) } }
	flag := func(to *bool) func(*yaml.Node) { return func(n *yaml.Node) { *to = d.boolean(n) } }
	version := func(to *Version) func(*yaml.Node) { return func(n *yaml.Node) { *to = d.version(n) } }
	return map[string]func(*yaml.Node){
		"group": text(&p.Group), "unit": text(&p.Unit), "summary": text(&p.Summary), "replaced_by": text(&p.ReplacedBy),
		"namespaced": text(&p.Namespaced), "module": text(&p.Module), "vendor": text(&p.Vendor),
		"mistaken_for": text(&p.MistakenFor), "takes_effect": text(&p.TakesEffect),
		"inherits": flag(&p.Inherits), "read_only": flag(&p.ReadOnly), "restart": flag(&p.Restart),
		"introduced": version(&p.Introduced), "removed": version(&p.Removed),
		"depends_on": texts(&p.DependsOn), "misconceptions": texts(&p.Misconception), "sources": texts(&p.Sources),
		"type": func(n *yaml.Node) {
			p.Type, p.Bitmap = oneOf(d, n, parameterTypes), n.Value == "bitmap"
		},
		"elements": func(n *yaml.Node) { p.Elements = int(d.integer(n)) },
		"values":   func(n *yaml.Node) { p.Values = d.meanings(n) },
		"accepts": func(n *yaml.Node) {
			for _, item := range d.items(n) {
				p.Accepts = append(p.Accepts, d.bounds(item))
			}
		},
		"sane": func(n *yaml.Node) { b := d.bounds(n); p.Sane = &b },
		"defaults": func(n *yaml.Node) {
			for _, item := range d.items(n) {
				p.Defaults = append(p.Defaults, d.defaultOf(item, p, s))
			}
		},
		"no_effect": func(n *yaml.Node) {
			p.NoEffect = &NoEffect{}
			d.fields(n, "no_effect", map[string]func(*yaml.Node){
				"since": version(&p.NoEffect.Since), "because": text(&p.NoEffect.Because),
			})
		},
	}
}

func (d *doc) meanings(n *yaml.Node) map[int64]string {
	out := map[int64]string{}
	d.mapping(n, "values", func(key string, k, v *yaml.Node) { out[d.integer(k)] = d.text(v) })
	return out
}

func (d *doc) bounds(n *yaml.Node) Bounds {
	var b Bounds
	limit := func(to **int64) func(*yaml.Node) { return func(n *yaml.Node) { v := d.integer(n); *to = &v } }
	d.fields(n, "a range", map[string]func(*yaml.Node){
		"since": func(n *yaml.Node) { b.Since = d.version(n) }, "min": limit(&b.Min), "max": limit(&b.Max),
	})
	return b
}

var confidenceNames = map[string]Confidence{
	"certain": ConfidenceCertain, "high": ConfidenceHigh, "medium": ConfidenceMedium, "low": ConfidenceLow,
}

func (d *doc) defaultOf(n *yaml.Node, p *Parameter, s *scope) Default {
	def := Default{Confidence: ConfidenceHigh}
	d.fields(n, "a default", map[string]func(*yaml.Node){
		"since":      func(n *yaml.Node) { def.Since = d.version(n) },
		"is":         func(n *yaml.Node) { def.Is = d.defaultValue(n, p.Type) },
		"about":      func(n *yaml.Node) { def.About = d.text(n) },
		"unknown":    func(n *yaml.Node) { def.Unknown = d.text(n) },
		"confidence": func(n *yaml.Node) { def.Confidence = oneOf(d, n, confidenceNames) },
		"computed": func(n *yaml.Node) {
			def.Computed = d.texts(n)
			for i, item := range d.items(n) {
				if code, err := s.compile(def.Computed[i], TypeInteger); err != nil {
					d.fail(item, "%s", err.message)
				} else {
					def.formula = append(def.formula, code.eval)
				}
			}
		},
	})
	if def.Is.IsZero() && def.Computed == nil && def.Unknown == "" {
		d.fail(n, "a default needs one of is, computed and unknown")
	}
	return def
}

func (d *doc) defaultValue(n *yaml.Node, t Type) Value {
	switch t {
	case TypeInteger:
		return Int(d.integer(n))
	case TypeTuple:
		var ns []int64
		for _, item := range d.items(n) {
			ns = append(ns, d.integer(item))
		}
		return Tuple(ns...)
	case TypePorts:
		set, err := ParsePorts(d.text(n))
		if err != nil {
			d.fail(n, "%v", err)
		}
		return Ports(set)
	}
	return Text(d.text(n))
}

// DefaultFor returns the entry that holds for a kernel; false where the kernel is older than the first.
func (p *Parameter) DefaultFor(kernel Version) (Default, bool) {
	for _, def := range slices.Backward(p.Defaults) {
		if !kernel.Before(def.Since) {
			return def, true
		}
	}
	return Default{}, false
}

// keyDefault evaluates the judged kernel's default of a key.
func (f *frame) keyDefault(key string, asText bool) result {
	p, _ := f.catalogue.Lookup(key)
	if !asText && p.Type != TypeInteger {
		return absentResult()
	}
	if f.kernel.IsZero() {
		return unknownResult("kernel.version", "no kernel was read: use --kernel")
	}
	def, ok := p.DefaultFor(f.kernel)
	if !ok || def.Unknown != "" {
		return absentResult()
	}
	v := def.Is
	if def.formula != nil {
		r := f.formula(def.formula, p.Type)
		if r.state != StateKnown {
			return r
		}
		v = r.value
	}
	if asText {
		v = Text(v.String())
	}
	return knownResult(v)
}

// formula computes the elements of a default; its readings leave no trace.
func (f *frame) formula(elements []evalFunc, t Type) result {
	mark := len(f.trace)
	defer func() { f.trace = f.trace[:mark] }()
	var ns []int64
	for _, eval := range elements {
		r := eval(f)
		if r.state != StateKnown {
			return r
		}
		ns = append(ns, r.value.num)
	}
	if t == TypeInteger {
		return knownResult(Int(ns[0]))
	}
	return knownResult(Tuple(ns...))
}

// ParseKernelNumbers reads text as the kernel's integer handlers do (kernel/sysctl.c proc_get_long): numbers in base 10,
// 0x or 0 for base 16 and 8, an optional minus, separated by blanks. It returns the numbers up to the first thing that is
// none, and that rest. What 64 bits without a sign hold but an int64 does not, such as the kernel's own default of
// kernel.shmmax, becomes the nearest int64.
func ParseKernelNumbers(text string) (ns []int64, rest string) {
	for {
		text = strings.TrimLeft(text, " \t\n")
		end := strings.IndexAny(text, " \t\n")
		if end < 0 {
			end = len(text)
		}
		n, err := parseKernelNumber(text[:end])
		if err != nil {
			return ns, text
		}
		ns = append(ns, n)
		text = text[end:]
	}
}

func parseKernelNumber(s string) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	base := 10
	switch {
	case len(digits) > 2 && (strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X")):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base = 8
	}
	u, err := strconv.ParseUint(digits, base, 64)
	n := int64(min(u, math.MaxInt64))
	if negative {
		return -n, err
	}
	return n, err
}

// numeric reports whether the kernel reads numbers for the key and stops behind the last that it wants.
func (p *Parameter) numeric() bool { return p.Type == TypeInteger || p.Type == TypeTuple || p.Bitmap }

// taken cuts numbers to those that the kernel reads for the key.
func (p *Parameter) taken(ns []int64) []int64 { return ns[:min(len(ns), max(p.Elements, 1))] }

// Refuses says why the kernel would answer EINVAL to this text; "" where it takes it or where we cannot tell. The zero
// Version asks only for what no kernel takes.
func (c *Catalogue) Refuses(key, text string, kernel Version) string {
	p, ok := c.Lookup(key)
	if !ok || p.MistakenFor != "" {
		return ""
	}
	if p.ReadOnly {
		return "the key is read-only"
	}
	if p.Type == TypePorts {
		return refusesPorts(text)
	}
	if !p.numeric() {
		return ""
	}
	ns, rest := ParseKernelNumbers(text)
	switch {
	case len(ns) == 0 && rest == "":
		return "there is no value"
	case len(ns) == 0 && strings.ContainsAny(rest[:1], `"'`):
		return "the quotes are handed to it with the value, and are no part of a number: leave them out"
	case len(ns) == 0:
		return fmt.Sprintf("%q is not a number as the kernel reads them", word(rest))
	case rest != "" && len(ns) < p.Elements:
		return fmt.Sprintf("%q is not a number, and the key takes %d", word(rest), p.Elements)
	}
	return p.refusesNumbers(p.taken(ns), kernel)
}

// refusesPorts says why the kernel's handler of port lists (kernel/sysctl.c proc_do_large_bitmap) does not take a text. It
// is stricter than ParsePorts: it takes no blank, and no comma without a port before it.
func refusesPorts(text string) string {
	if strings.ContainsAny(text, " \t") {
		return "the list of ports holds a blank"
	}
	list := strings.TrimSuffix(text, ",")
	if list == "" && text == "" {
		return ""
	}
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		l, errLow := parseKernelNumber(low)
		h, errHigh := parseKernelNumber(high)
		if errLow != nil || errHigh != nil || l < 0 || h < l || h > 65535 {
			return fmt.Sprintf("%q is no port or port range", part)
		}
	}
	return ""
}

// word is the first word of a text.
func word(text string) string {
	if end := strings.IndexAny(text, " \t\n"); end >= 0 {
		return text[:end]
	}
	return text
}

func (p *Parameter) refusesNumbers(ns []int64, kernel Version) string {
	if p.Key == "net.ipv4.ip_local_port_range" && len(ns) == 2 && ns[0] > ns[1] {
		return fmt.Sprintf("the low port %d is above the high port %d", ns[0], ns[1])
	}
	for _, b := range slices.Backward(p.Accepts) {
		if kernel.Before(b.Since) {
			continue
		}
		for _, n := range ns {
			if !b.contains(n) {
				return fmt.Sprintf("this kernel takes %s", b)
			}
		}
		return ""
	}
	return ""
}

// Senseless says what is wrong with a text that the kernel takes; "" where nothing is.
func (c *Catalogue) Senseless(key, text string, kernel Version) string {
	p, ok := c.Lookup(key)
	if !ok || !p.numeric() || p.MistakenFor != "" || p.ReadOnly {
		return ""
	}
	ns, _ := ParseKernelNumbers(text)
	ns = p.taken(ns)
	if len(ns) == 0 || p.refusesNumbers(ns, kernel) != "" {
		return ""
	}
	if p.Sane != nil {
		for _, n := range ns {
			if !p.Sane.contains(n) {
				return "a sensible value is " + p.Sane.String()
			}
		}
	}
	if p.Elements == 3 && !slices.IsSorted(ns) {
		return "the numbers are a least, a middle and a greatest one, and these do not rise"
	}
	return ""
}

// SameValue reports whether the kernel takes both texts for the same value of a key.
func (c *Catalogue) SameValue(key, a, b string) bool {
	p, known := c.Lookup(key)
	if known && p.Type == TypePorts {
		x, errX := ParsePorts(a)
		y, errY := ParsePorts(b)
		if errX == nil && errY == nil {
			return Ports(x).Equal(Ports(y))
		}
	}
	x, restX := ParseKernelNumbers(a)
	y, restY := ParseKernelNumbers(b)
	if known && p.numeric() && len(x) >= max(p.Elements, 1) && len(y) >= max(p.Elements, 1) {
		return slices.Equal(p.taken(x), p.taken(y))
	}
	if restX == "" && restY == "" && (!known || p.numeric()) {
		return slices.Equal(x, y)
	}
	return slices.Equal(strings.Fields(a), strings.Fields(b))
}

// Describe is the catalogue's file and line of a key, for messages to the set's authors.
func (c *Catalogue) Describe(key string) string {
	return fmt.Sprintf("%s:%d", path.Base(c.path), c.chunks[key].line)
}
