package advisor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PortSet is a set of TCP ports (0 to 65535), immutable. The zero PortSet is empty.
type PortSet struct {
	ranges []portRange // sorted, disjoint, not adjacent
}

type portRange struct{ lo, hi uint16 }

// PortRange is the set of the ports lo to hi, both included; empty if hi < lo.
func PortRange(lo, hi uint16) PortSet {
	if hi < lo {
		return PortSet{}
	}
	return PortSet{ranges: []portRange{{lo, hi}}}
}

// ParsePorts reads the kernel's list form of ip_local_reserved_ports: "8080,9000-9010"; an empty string is the empty set.
func ParsePorts(s string) (PortSet, error) {
	var set PortSet
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		l, errLo := strconv.ParseUint(strings.TrimSpace(lo), 10, 16)
		h, errHi := strconv.ParseUint(strings.TrimSpace(hi), 10, 16)
		if errLo != nil || errHi != nil || h < l {
			return PortSet{}, fmt.Errorf("%q is no port or port range", part)
		}
		set.ranges = append(set.ranges, portRange{uint16(l), uint16(h)})
	}
	set.normalise()
	return set, nil
}

func (p *PortSet) normalise() {
	slices.SortFunc(p.ranges, func(a, b portRange) int { return int(a.lo) - int(b.lo) })
	out := p.ranges[:0]
	for _, r := range p.ranges {
		if n := len(out); n > 0 && int(r.lo) <= int(out[n-1].hi)+1 {
			out[n-1].hi = max(out[n-1].hi, r.hi)
		} else {
			out = append(out, r)
		}
	}
	p.ranges = out
}

// Contains reports whether port is in the set.
func (p PortSet) Contains(port int64) bool {
	for _, r := range p.ranges {
		if int64(r.lo) <= port && port <= int64(r.hi) {
			return true
		}
	}
	return false
}

// Len is the number of ports in the set.
func (p PortSet) Len() int {
	n := 0
	for _, r := range p.ranges {
		n += int(r.hi) - int(r.lo) + 1
	}
	return n
}

// Union is the set of ports in either.
func (p PortSet) Union(q PortSet) PortSet {
	u := PortSet{ranges: append(slices.Clone(p.ranges), q.ranges...)}
	u.normalise()
	return u
}

// Intersect is the set of ports in both.
func (p PortSet) Intersect(q PortSet) PortSet {
	var out PortSet
	for _, a := range p.ranges {
		for _, b := range q.ranges {
			if lo, hi := max(a.lo, b.lo), min(a.hi, b.hi); lo <= hi {
				out.ranges = append(out.ranges, portRange{lo, hi})
			}
		}
	}
	out.normalise()
	return out
}

// String is the form that the kernel reads and prints: "8080,9000-9010"; empty for the empty set.
func (p PortSet) String() string {
	var b strings.Builder
	for i, r := range p.ranges {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%d", r.lo)
		if r.hi > r.lo {
			fmt.Fprintf(&b, "-%d", r.hi)
		}
	}
	return b.String()
}
