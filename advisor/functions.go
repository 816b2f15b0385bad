package advisor

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
)

// function is one pure function of the rule language. Arguments that are absent or unknown make the result so.
type function struct {
	params []Type // 0 accepts each type
	result Type
	apply  func(f *frame, args []Value) result
	doc    string // for docs/writing-rules.md
}

// emptyIfAbsent says of which functions an argument that is absent counts as no ports, where another one is there: of two tables
// of ports a host may have only one.
func emptyIfAbsent(name string, argument int) bool {
	return name == "union" || name == "without" && argument == 1
}

// Functions describes each function of the rule language by name, for the documentation.
func Functions() map[string]string {
	out := maps.Clone(quantifiers)
	for name, fn := range functions {
		out[name] = fn.doc
	}
	return out
}

// quantifiers are compiled by hand, not called.
var quantifiers = map[string]string{
	"any":   "any(table, predicate): true if a row fulfils the predicate; its evidence is that row",
	"all":   "all(table, predicate): true if no row fails the predicate",
	"none":  "none(table, predicate): true if no row fulfils the predicate",
	"count": "count(table, predicate): how many rows fulfil the predicate",
	"sum":   "sum(table, .column): the sum of an integer column; rows without a cell add nothing",
	"has":   "has(reading): false if the kernel, file or host does not have it; unknown if that could not be read",
	"known": "known(reading): true if a value was read; never unknown itself",
	"ports": "ports(table), ports(filter(table, predicate)): the ports in column port, of all rows or of those that fulfil the predicate",
}

const (
	tInt  = TypeInteger
	tText = TypeText
)

var functions = map[string]function{
	"min": {[]Type{TypeLimit, TypeLimit}, TypeLimit, func(_ *frame, a []Value) result {
		return knownResult(slices.MinFunc(a, order))
	}, "min(a, b): the smaller number"},
	"max": {[]Type{TypeLimit, TypeLimit}, TypeLimit, func(_ *frame, a []Value) result {
		return knownResult(slices.MaxFunc(a, order))
	}, "max(a, b): the larger number"},
	"percent": {[]Type{TypeLimit, TypeLimit}, tInt, func(_ *frame, a []Value) result {
		if a[1].kind == KindUnlimited {
			return knownResult(Int(0))
		}
		p, ok := multiply(a[0].num, 100)
		if !ok || a[1].num == 0 || a[0].kind == KindUnlimited {
			return unknownResult("percent", "overflow or division by zero")
		}
		return knownResult(Int(p / a[1].num))
	}, "percent(part, whole): part in percent of whole, rounded down; 0 of an unlimited whole"},
	"pow2ceil": {[]Type{tInt}, tInt, func(_ *frame, a []Value) result {
		if a[0].num < 1 || a[0].num > 1<<62 {
			return unknownResult("pow2ceil", "out of range")
		}
		return knownResult(Int(1 << bits.Len64(uint64(a[0].num-1))))
	}, "pow2ceil(n): the smallest power of two not below n"},
	"version": {[]Type{tText}, TypeVersion, func(_ *frame, a []Value) result {
		v, err := ParseVersion(a[0].text)
		if err != nil {
			return unknownResult("version", err.Error())
		}
		return knownResult(v.value())
	}, "version(text): a kernel version, for comparison with kernel.version"},
	"pages": {[]Type{tInt, tInt}, tInt, func(_ *frame, a []Value) result {
		n, ok := calculate("/", a[0].num, a[1].num)
		if !ok {
			return unknownResult("pages", "page size 0")
		}
		return knownResult(Int(n))
	}, "pages(bytes, page_size): bytes in whole pages"},
	"bytes": {[]Type{tInt}, tText, func(_ *frame, a []Value) result {
		return knownResult(Text(FormatBytes(a[0].num)))
	}, "bytes(n): n bytes as a person writes them: \"4 MiB\""},
	"text": {[]Type{0}, tText, func(_ *frame, a []Value) result {
		return knownResult(Text(a[0].String()))
	}, "text(value): as it would be printed"},
	"fill": {[]Type{tText, 0}, tText, func(_ *frame, a []Value) result {
		return knownResult(Text(strings.Replace(a[0].text, "%", a[1].String(), 1)))
	}, "fill(text, value): the text with the value in place of its first %; nested for more"},
	"dotted": {[]Type{TypeVersion}, tText, func(_ *frame, a []Value) result {
		var v Version
		copy(v[:], a[0].numbers())
		return knownResult(Text(v.String()))
	}, "dotted(version): a kernel version as people write it: \"6.12\""},
	"milliseconds": {[]Type{tInt}, TypeDuration, durationOf(time.Millisecond), "milliseconds(n): a duration"},
	"seconds":      {[]Type{tInt}, TypeDuration, durationOf(time.Second), "seconds(n): a duration"},
	"minutes":      {[]Type{tInt}, TypeDuration, durationOf(time.Minute), "minutes(n): a duration"},
	"in_seconds": {[]Type{TypeDuration}, tInt, func(_ *frame, a []Value) result {
		return knownResult(Int(a[0].num / int64(time.Second)))
	}, "in_seconds(duration): whole seconds, rounded down"},
	"size": {[]Type{TypePorts}, tInt, func(_ *frame, a []Value) result {
		return knownResult(Int(int64(a[0].portSet().Len())))
	}, "size(ports): how many ports"},
	"port_range": {[]Type{tInt, tInt}, TypePorts, func(_ *frame, a []Value) result {
		lo, hi := a[0].num, a[1].num
		if lo < 0 || hi > 65535 || lo > hi {
			return unknownResult("port_range", fmt.Sprintf("%d to %d is no port range", lo, hi))
		}
		return knownResult(Ports(PortRange(uint16(lo), uint16(hi))))
	}, "port_range(low, high): the ports from low to high"},
	"overlap": {[]Type{TypePorts, TypePorts}, TypePorts, func(_ *frame, a []Value) result {
		return knownResult(Ports(a[0].portSet().Intersect(a[1].portSet())))
	}, "overlap(ports, ports): the ports in both"},
	"union": {[]Type{TypePorts, TypePorts}, TypePorts, func(_ *frame, a []Value) result {
		return knownResult(Ports(a[0].portSet().Union(a[1].portSet())))
	}, "union(ports, ports): the ports in either; one that is absent adds none"},
	"without": {[]Type{TypePorts, TypePorts}, TypePorts, func(_ *frame, a []Value) result {
		return knownResult(Ports(a[0].portSet().Intersect(complement(a[1].portSet()))))
	}, "without(ports, ports): the ports of the first that are not in the second, which may be absent"},
	"usable_ports": {nil, tInt, func(f *frame, _ []Value) result {
		return f.usablePorts()
	}, "usable_ports(): how many local ports connect() may choose from: net.ipv4.ip_local_port_range as it runs, without ip_local_reserved_ports"},
	"exposed_ports": {[]Type{TypePorts}, TypePorts, func(f *frame, a []Value) result {
		return f.exposedPorts(a[0].portSet())
	}, "exposed_ports(ports): those that connect() may pick, now or after the next boot: in ip_local_port_range as it runs or is declared, and in no ip_local_reserved_ports"},
	"tw_reuse_acts": {[]Type{TypeBoolean}, TypeBoolean, func(f *frame, a []Value) result {
		return f.reuseActs(a[0].num != 0)
	}, "tw_reuse_acts(loopback): connect() takes over ports in TIME_WAIT, on loopback or to elsewhere: tcp_tw_reuse (2 is loopback only) and tcp_timestamps as they run"},
	"retransmission_timeout": {[]Type{tInt}, TypeDuration, func(_ *frame, a []Value) result {
		return modelTimeout(a[0].num, 200*time.Millisecond)
	}, "retransmission_timeout(n): how long a connection with n retransmissions lasts at the smallest RTO of 200 ms (net/ipv4/tcp_timer.c tcp_model_timeout)"},
	"handshake_timeout": {[]Type{tInt}, TypeDuration, func(_ *frame, a []Value) result {
		return modelTimeout(a[0].num, time.Second)
	}, "handshake_timeout(n): how long a SYN or SYN-ACK with n repetitions is waited for, first time-out 1 s (RFC 6298)"},
	"key_known": {[]Type{tText}, TypeBoolean, func(f *frame, a []Value) result {
		return knownResult(Bool(f.catalogue.Known(a[0].text)))
	}, "key_known(key): the catalogue or its list of further names holds this kernel parameter"},
	"key_near": {[]Type{tText}, tText, func(f *frame, a []Value) result {
		return textOrAbsent(f.catalogue.Near(a[0].text))
	}, "key_near(key): the known name that an unknown key is a slip of; absent if none"},
	"key_introduced_in": {[]Type{tText}, tText, versioned(func(p *Parameter, k Version) string {
		if p.Introduced.IsZero() || !k.Before(p.Introduced) {
			return ""
		}
		return p.Introduced.String()
	}), "key_introduced_in(key): the first kernel with this key; absent unless the judged kernel is older"},
	"key_removed_in": {[]Type{tText}, tText, versioned(func(p *Parameter, k Version) string {
		if p.Removed.IsZero() || k.Before(p.Removed) {
			return ""
		}
		return p.Removed.String()
	}), "key_removed_in(key): the first kernel without this key; absent unless the judged kernel is that or newer"},
	"key_no_effect": {[]Type{tText}, tText, versioned(func(p *Parameter, k Version) string {
		if p.NoEffect == nil || k.Before(p.NoEffect.Since) {
			return ""
		}
		return p.NoEffect.Because
	}), "key_no_effect(key): why the key does nothing on the judged kernel; absent if it works"},
	"key_no_effect_since": {[]Type{tText}, tText, versioned(func(p *Parameter, k Version) string {
		if p.NoEffect == nil || k.Before(p.NoEffect.Since) {
			return ""
		}
		return p.NoEffect.Since.String()
	}), "key_no_effect_since(key): the kernel from which the key does nothing; absent if it works on the judged kernel"},
	"key_replaced_by": {[]Type{tText}, tText, func(f *frame, a []Value) result {
		p, _ := f.catalogue.Lookup(a[0].text)
		return textOrAbsent(p.ReplacedBy)
	}, "key_replaced_by(key): the key that took its place; absent if none"},
	"key_mistaken_for": {[]Type{tText}, tText, func(f *frame, a []Value) result {
		p, _ := f.catalogue.Lookup(a[0].text)
		return textOrAbsent(p.MistakenFor)
	}, "key_mistaken_for(key): the key that people mean who write this one, which never existed; absent for real keys"},
	"key_module": {[]Type{tText}, tText, func(f *frame, a []Value) result {
		p, _ := f.catalogue.Lookup(a[0].text)
		return textOrAbsent(p.Module)
	}, "key_module(key): the kernel module that brings the key; absent if it is always there"},
	"key_vendor": {[]Type{tText}, tText, func(f *frame, a []Value) result {
		p, _ := f.catalogue.Lookup(a[0].text)
		return textOrAbsent(p.Vendor)
	}, "key_vendor(key): the vendor whose kernels alone have the key; absent for mainline keys"},
	"key_default": {[]Type{tText}, tText, func(f *frame, a []Value) result {
		return f.keyDefault(a[0].text, true)
	}, "key_default(key): the judged kernel's default as text; absent where none can be given"},
	"key_default_number": {[]Type{tText}, tInt, func(f *frame, a []Value) result {
		return f.keyDefault(a[0].text, false)
	}, "key_default_number(key): the judged kernel's default of an integer key; absent where none can be given"},
	"backports": {nil, TypeBoolean, func(f *frame, _ []Value) result {
		return knownResult(Bool(f.backports))
	}, "backports(): the judged kernel is a distribution's that carries newer code under an old number (RHEL, Amazon, SUSE), so facts by version are only likely"},
	"kernel_number": {[]Type{tText}, tInt, func(_ *frame, a []Value) result {
		ns, _ := ParseKernelNumbers(a[0].text)
		if len(ns) == 0 {
			return absentResult()
		}
		return knownResult(Int(ns[0]))
	}, "kernel_number(text): the number that the kernel reads at the start of a text; absent if there is none"},
	"inline_comment": {[]Type{tText}, tText, func(_ *frame, a []Value) result {
		_, comment := cutComment(a[0].text)
		return textOrAbsent(comment)
	}, "inline_comment(text): the # or ; at the start, after a blank or right behind numbers, with what follows it; absent if there is none"},
	"without_comment": {[]Type{tText}, tText, func(_ *frame, a []Value) result {
		value, _ := cutComment(a[0].text)
		return knownResult(Text(value))
	}, "without_comment(text): the text before its inline comment and the blanks there; the whole text if it has none"},
	"refused": {
		[]Type{tText, tText},
		tText, judged((*Catalogue).Refuses),
		"refused(key, text): why the judged kernel does not take this text; absent if it takes it, or if we cannot tell",
	},
	"refused_always": {[]Type{tText, tText}, tText, func(f *frame, a []Value) result {
		return textOrAbsent(f.catalogue.Refuses(a[0].text, a[1].text, Version{}))
	}, "refused_always(key, text): why no kernel takes this text, whatever its version; absent if some do"},
	"refused_by_newest": {[]Type{tText, tText}, tText, func(f *frame, a []Value) result {
		return textOrAbsent(f.catalogue.Refuses(a[0].text, a[1].text, f.catalogue.Newest()))
	}, "refused_by_newest(key, text): why the newest kernel that the catalogue knows does not take this text; absent if it takes it"},
	"senseless": {
		[]Type{tText, tText},
		tText, judged((*Catalogue).Senseless),
		"senseless(key, text): what is wrong with a text that the kernel takes; absent if nothing",
	},
	"same_value": {[]Type{tText, tText, tText}, TypeBoolean, func(f *frame, a []Value) result {
		return knownResult(Bool(f.catalogue.SameValue(a[0].text, a[1].text, a[2].text)))
	}, "same_value(key, a, b): the kernel takes both texts for the same: \"1\" and \"01\", \"4096 87380\" with other blanks"},
	"key_type": {[]Type{tText}, tText, func(f *frame, a []Value) result {
		p, ok := f.catalogue.Lookup(a[0].text)
		switch {
		case !ok:
			return absentResult()
		case p.Bitmap:
			return knownResult(Text("bitmap"))
		}
		return knownResult(Text(p.Type.String()))
	}, "key_type(key): integer, bitmap, tuple, ports or text; absent for a key outside the catalogue"},
	"key_read_only": {[]Type{tText}, TypeBoolean, func(f *frame, a []Value) result {
		p, _ := f.catalogue.Lookup(a[0].text)
		return knownResult(Bool(p.ReadOnly))
	}, "key_read_only(key): the key can only be read"},
	"key_value": {[]Type{tText, tText}, 0, func(f *frame, a []Value) result {
		v, err := f.catalogue.ParseSysctl(a[0].text, a[1].text)
		if err != nil {
			return absentResult()
		}
		return knownResult(v)
	}, "key_value(key, text): a text as a value of the key's type, for wants; absent if it is none"},
}

func durationOf(unit time.Duration) func(*frame, []Value) result {
	return func(_ *frame, a []Value) result {
		n, ok := multiply(a[0].num, int64(unit))
		if !ok {
			return unknownResult("duration", "overflow")
		}
		return knownResult(Duration(time.Duration(n)))
	}
}

// sysctl is the running value of a kernel parameter.
func (f *frame) sysctl(key string) result { return f.read(f.facts.Member("sysctl", key), key) }

func (f *frame) usablePorts() result {
	all, reserved := asPorts(f.sysctl("net.ipv4.ip_local_port_range")), f.sysctl("net.ipv4.ip_local_reserved_ports")
	if got := weaker(all, reserved); got.state != StateKnown {
		return got
	}
	return knownResult(Int(int64(all.value.portSet().Len() - all.value.portSet().Intersect(reserved.value.portSet()).Len())))
}

// exposedPorts takes from the files what they are known to say, and spares a port that either the kernel or a file reserves:
// that these two differ is the matter of other rules. Where no kernel runs, what it would start with stands for what is not declared.
func (f *frame) exposedPorts(of PortSet) result {
	const rangeKey, reservedKey = "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports"
	declared, spared := asPorts(f.read(f.facts.Member("declared", rangeKey), rangeKey)), f.read(f.facts.Member("declared", reservedKey), reservedKey)
	running, reserved := asPorts(f.sysctl(rangeKey)), f.sysctl(reservedKey)
	if running.state == StateAbsent {
		running, reserved = declared, spared
		if running.state == StateAbsent {
			p, _ := f.catalogue.Lookup(rangeKey)
			def, ok := p.DefaultFor(f.kernel)
			if !ok {
				return absentResult()
			}
			running = asPorts(knownResult(def.Is))
		}
		if reserved.state == StateAbsent {
			reserved = knownResult(Ports(PortSet{}))
		}
	}
	if got := weaker(running, reserved); got.state != StateKnown {
		return got
	}
	at, kept := running.value.portSet(), reserved.value.portSet()
	if declared.state == StateKnown {
		at = at.Union(declared.value.portSet())
	}
	if spared.state == StateKnown {
		kept = kept.Union(spared.value.portSet())
	}
	return knownResult(Ports(of.Intersect(at).Intersect(complement(kept))))
}

// asPorts makes a port set of the two numbers of ip_local_port_range.
func asPorts(r result) result {
	if r.state != StateKnown {
		return r
	}
	t := r.value.numbers()
	if len(t) != 2 || t[0] < 0 || t[1] > 65535 || t[0] > t[1] {
		return unknownResult("net.ipv4.ip_local_port_range", r.value.String()+" is no port range")
	}
	return knownResult(Ports(PortRange(uint16(t[0]), uint16(t[1]))))
}

// reuseActs follows net/ipv4/tcp_ipv4.c tcp_twsk_unique(). The keys are absent in the containers of kernels that do not know
// them by namespace: then the defaults of these kernels hold, no reuse and timestamps. Before 4.18 a 2 was as good as a 1.
func (f *frame) reuseActs(loopback bool) result {
	reuse, timestamps := f.sysctl("net.ipv4.tcp_tw_reuse"), f.sysctl("net.ipv4.tcp_timestamps")
	switch {
	case reuse.state == StateAbsent, reuse.isFalse(), timestamps.isFalse():
		return knownResult(Bool(false))
	case reuse.state == StateUnknown, timestamps.state == StateUnknown:
		return weaker(reuse, timestamps)
	}
	loopbackOnly := reuse.value.num == 2 && (f.kernel.IsZero() || !f.kernel.Before(Version{4, 18}))
	return knownResult(Bool(loopback || !loopbackOnly))
}

// complement is the set of the ports 0 to 65535 that p lacks.
func complement(p PortSet) PortSet {
	var out PortSet
	next := 0
	for _, r := range p.ranges {
		if next < int(r.lo) {
			out.ranges = append(out.ranges, portRange{uint16(next), r.lo - 1})
		}
		next = int(r.hi) + 1
	}
	if next <= 65535 {
		out.ranges = append(out.ranges, portRange{uint16(next), 65535})
	}
	return out
}

func textOrAbsent(s string) result {
	if s == "" {
		return absentResult()
	}
	return knownResult(Text(s))
}

// cutComment separates what its author took for a comment at the end of a value: a # or ; at its start, after a blank, or
// right behind numbers. Elsewhere these may be part of a text (kernel.core_pattern).
func cutComment(text string) (value, comment string) {
	numbers := true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '#' || c == ';':
			if numbers || text[i-1] == ' ' || text[i-1] == '\t' {
				return strings.TrimRight(text[:i], " \t"), text[i:]
			}
		case c != ' ' && c != '\t' && c != '-' && (c < '0' || c > '9'):
			numbers = false
		}
	}
	return text, ""
}

// judged asks the catalogue what the judged kernel makes of a text. Where no kernel was read and the answer hangs on its
// version, it is unknown.
func judged(ask func(*Catalogue, string, string, Version) string) func(*frame, []Value) result {
	return func(f *frame, a []Value) result {
		if why := ask(f.catalogue, a[0].text, a[1].text, f.kernel); why != "" {
			return knownResult(Text(why))
		}
		if p, _ := f.catalogue.Lookup(a[0].text); f.kernel.IsZero() && len(p.Accepts) > 0 {
			return unknownResult("kernel.version", "no kernel was read: use --kernel")
		}
		return absentResult()
	}
}

// versioned asks a catalogue entry about the judged kernel.
func versioned(ask func(*Parameter, Version) string) func(*frame, []Value) result {
	return func(f *frame, a []Value) result {
		p, ok := f.catalogue.Lookup(a[0].text)
		if !ok {
			return absentResult()
		}
		if f.kernel.IsZero() {
			return unknownResult("kernel.version", "no kernel was read: use --kernel")
		}
		return textOrAbsent(ask(p, f.kernel))
	}
}

// modelTimeout is the time after n back-offs that start at base and are capped at TCP_RTO_MAX, 120 s.
func modelTimeout(n int64, base time.Duration) result {
	const rtoMax = 120 * time.Second
	if n < 0 || n > 255 {
		return unknownResult("time-out", "the count is outside 0 to 255")
	}
	threshold := int64(bits.Len64(uint64(rtoMax/base)) - 1)
	if n <= threshold {
		return knownResult(Duration(time.Duration((2<<n)-1) * base))
	}
	return knownResult(Duration(time.Duration((2<<threshold)-1)*base + time.Duration(n-threshold)*rtoMax))
}

// FormatBytes prints n in the largest binary unit that divides it to at most one decimal: "4 MiB", "1.5 GiB", "212992 bytes".
func FormatBytes(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for i := len(units); i > 0; i-- {
		unit := int64(1) << (10 * i)
		if n < unit {
			continue
		}
		if n%unit == 0 {
			return fmt.Sprintf("%d %s", n/unit, units[i-1])
		}
		return strings.Replace(fmt.Sprintf("%.1f %s", float64(n)/float64(unit), units[i-1]), ".0 ", " ", 1)
	}
	return fmt.Sprintf("%d bytes", n)
}

// call compiles a function or quantifier.
func (c *compiler) call(n ast.Node, name string, args []ast.Node) (evalFunc, Type) {
	switch name {
	case "any", "all", "none", "count", "sum":
		return c.quantifier(n, name, args)
	case "has", "known":
		return c.presence(n, name, args)
	case "ports":
		return c.portsOf(n, args)
	}
	fn, ok := functions[name]
	if !ok {
		return c.fail(n, "unknown function %q%s", name,
			didYouMean(name, slices.Collect(maps.Keys(Functions()))))
	}
	if len(args) != len(fn.params) {
		return c.fail(n, "%s takes %d arguments, found %d", name, len(fn.params), len(args))
	}
	evals := make([]evalFunc, len(args))
	for i, arg := range args {
		eval, typ := c.node(arg)
		if c.err == nil && fn.params[i] != 0 && !assignable(typ, fn.params[i]) {
			return c.fail(arg, "argument %d of %s must be %s, found %s", i+1, name, fn.params[i], typ)
		}
		evals[i] = eval
	}
	return func(f *frame) result {
		mark := len(f.args)
		got, spared := knownResult(Value{}), 0
		for i, eval := range evals {
			r := eval(f)
			f.args = append(f.args, r.value)
			if r.state == StateAbsent && emptyIfAbsent(name, i) {
				spared++
				continue
			}
			got = weaker(got, r)
		}
		if spared > 0 && spared == len(evals) {
			got = absentResult()
		}
		if got.state == StateKnown {
			got = fn.apply(f, f.args[mark:])
		}
		f.args = f.args[:mark]
		return got
	}, fn.result
}

// presence compiles has(reading) and known(reading).
func (c *compiler) presence(n ast.Node, name string, args []ast.Node) (evalFunc, Type) {
	if len(args) != 1 {
		return c.fail(n, "%s takes one reading", name)
	}
	eval, _ := c.node(args[0])
	return func(f *frame) result {
		r := eval(f)
		if r.state == StateUnknown && name == "has" {
			return r
		}
		return knownResult(Bool(r.state == StateKnown))
	}, TypeBoolean
}

// portsOf compiles ports(table) and ports(filter(table, predicate)).
func (c *compiler) portsOf(n ast.Node, args []ast.Node) (evalFunc, Type) {
	if len(args) != 1 {
		return c.fail(n, "ports takes a table, or filter(table, predicate)")
	}
	source, predicate := args[0], ast.Node(&ast.BoolNode{Value: true})
	if b, ok := source.(*ast.BuiltinNode); ok && b.Name == "filter" && len(b.Arguments) == 2 {
		source, predicate = b.Arguments[0], b.Arguments[1]
	}
	table, ok := source.(*ast.IdentifierNode)
	if !ok || !c.vocabulary.HasTable(table.Value) {
		return c.fail(args[0], "ports takes a table, or filter(table, predicate)")
	}
	if typ, ok := c.vocabulary.Columns(table.Value).Type("port"); !ok || typ != TypeInteger {
		return c.fail(source, "table %s has no column port", table.Value)
	}
	if len(c.tables) >= maxNesting {
		return c.fail(n, "tables may be walked at most %d deep, each included", maxNesting)
	}
	if p, ok := predicate.(*ast.PredicateNode); ok {
		predicate = p.Node
	}
	c.tables = append(c.tables, table.Value)
	inner, typ := c.node(predicate)
	port, _ := c.column(source, len(c.tables)-1, "port")
	c.tables = c.tables[:len(c.tables)-1]
	if c.err == nil && typ != TypeBoolean {
		return c.fail(predicate, "filter wants a boolean here, found %s", typ)
	}
	return gatherPorts(table.Value, inner, port), TypePorts
}

// gatherPorts makes a port set of the rows that fulfil the predicate; an undecided row makes it unknown.
func gatherPorts(table string, predicate, port evalFunc) evalFunc {
	return func(f *frame) result {
		mark, undecided := len(f.trace), result{}
		var found PortSet
		end := f.walk(table, func() bool {
			r := predicate(f)
			if r.isTrue() {
				r = port(f)
				if n := r.value.num; r.state == StateKnown && 0 <= n && n <= 65535 {
					found.ranges = append(found.ranges, portRange{uint16(n), uint16(n)})
				}
			}
			f.trace = f.trace[:mark]
			if r.state == StateUnknown {
				undecided = r
			}
			return r.state != StateUnknown
		})
		switch {
		case undecided.state != 0:
			return undecided
		case end.state != StateKnown:
			return end
		}
		found.normalise()
		return f.read(Known(Ports(found), Origin{Source: "computed"}), "ports of "+table)
	}
}

// quantifier compiles any, all, none, count and sum over a table.
func (c *compiler) quantifier(n ast.Node, name string, args []ast.Node) (evalFunc, Type) {
	if len(args) != 2 {
		return c.fail(n, "%s takes a table and a predicate", name)
	}
	table, ok := args[0].(*ast.IdentifierNode)
	if !ok || !c.vocabulary.HasTable(table.Value) {
		return c.fail(args[0], "%s wants the name of a table", name)
	}
	if len(c.tables) >= maxNesting {
		return c.fail(n, "tables may be walked at most %d deep, each included", maxNesting)
	}
	body := args[1]
	if p, ok := body.(*ast.PredicateNode); ok {
		body = p.Node
	}
	c.tables = append(c.tables, table.Value)
	inner, typ := c.node(body)
	c.tables = c.tables[:len(c.tables)-1]
	want, yields := TypeBoolean, TypeBoolean
	switch name {
	case "sum":
		want, yields = TypeInteger, TypeInteger
	case "count":
		yields = TypeInteger
	}
	if c.err == nil && typ != want {
		return c.fail(args[1], "%s wants a %s here, found %s", name, want, typ)
	}
	if name == "count" || name == "sum" {
		return tally(name, table.Value, inner), yields
	}
	eval := exists(table.Value, inner, name != "all")
	if name == "any" {
		return eval, yields
	}
	return lift1(eval, func(v Value) result { return knownResult(Bool(v.num == 0)) }), yields
}

// walk binds each row in turn until visit returns false. It returns why the rows are not all there: nothing, absent or unknown.
func (f *frame) walk(table string, visit func() (more bool)) result {
	t := f.facts.table(table)
	if t.about.Absent != "" {
		return absentResult()
	}
	f.rows = append(f.rows, boundRow{})
	defer func() { f.rows = f.rows[:len(f.rows)-1] }()
	for _, row := range t.bound() {
		if f.steps++; f.steps > maxSteps {
			return unknownResult(table, "too many rows for one rule")
		}
		f.rows[len(f.rows)-1] = row
		if !visit() {
			return knownResult(Bool(true))
		}
	}
	switch {
	case t.about.Unknown != "":
		return unknownResult(table, t.about.Unknown)
	case t.about.Omitted > 0:
		return unknownResult(table, fmt.Sprintf("%d more rows were not kept", t.about.Omitted))
	}
	return knownResult(Bool(false))
}

// exists looks for a row on which the predicate yields wanted; its trace is that row's. Absent predicates pass over the row.
func exists(table string, predicate evalFunc, wanted bool) evalFunc {
	return func(f *frame) result {
		mark, undecided := len(f.trace), result{}
		end := f.walk(table, func() bool {
			r := predicate(f)
			if r.state == StateKnown && (r.value.num != 0) == wanted {
				return false
			}
			f.trace = f.trace[:mark]
			if r.state == StateUnknown && undecided.state == 0 {
				undecided = r
			}
			return true
		})
		if end.isFalse() && undecided.state == StateUnknown {
			return undecided
		}
		return end
	}
}

// tally computes count and sum; an undecided row makes the number unknown.
func tally(name, table string, inner evalFunc) evalFunc {
	return func(f *frame) result {
		mark, total, undecided := len(f.trace), int64(0), result{}
		end := f.walk(table, func() bool {
			r := inner(f)
			f.trace = f.trace[:mark]
			switch {
			case r.state == StateUnknown:
				undecided = r
				return false
			case r.state == StateKnown && name == "sum":
				n, ok := calculate("+", total, r.value.num)
				if !ok {
					undecided = unknownResult("sum of "+table, "overflow")
					return false
				}
				total = n
			case r.isTrue():
				total++
			}
			return true
		})
		switch {
		case undecided.state != 0:
			return undecided
		case end.state != StateKnown:
			return end
		}
		return f.read(Known(Int(total), Origin{Source: "computed"}), name+" of "+table)
	}
}
