package advisor

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind says which of the closed set of types a Value holds. The zero Kind is invalid.
type Kind uint8

// The kinds of a Value.
const (
	KindInt       Kind = iota + 1 // a 64-bit integer; its unit stands in the vocabulary
	KindText                      // a string, as read
	KindBool                      // true or false
	KindTuple                     // integers in the kernel's order: tcp_rmem, ip_local_port_range, a version
	KindPorts                     // a set of TCP ports
	KindDuration                  // a length of time
	KindUnlimited                 // no limit: larger than each integer, equal to itself
)

func (k Kind) String() string {
	switch k {
	case KindInt:
		return "integer"
	case KindText:
		return "text"
	case KindBool:
		return "boolean"
	case KindTuple:
		return "tuple"
	case KindPorts:
		return "port set"
	case KindDuration:
		return "duration"
	case KindUnlimited:
		return "unlimited"
	}
	return "invalid"
}

// Value is one thing that was read or computed. It is immutable; the zero Value is invalid.
type Value struct {
	kind Kind
	num  int64 // integer, boolean (0, 1) or nanoseconds
	text string
	list *list // of the kinds that few values have: Values are copied and kept in great numbers
}

// list is what a tuple or a port set holds.
type list struct {
	tuple []int64
	ports PortSet
}

func (v Value) numbers() []int64 {
	if v.list == nil {
		return nil
	}
	return v.list.tuple
}

func (v Value) portSet() PortSet {
	if v.list == nil {
		return PortSet{}
	}
	return v.list.ports
}

// Int makes an integer.
func Int(n int64) Value { return Value{kind: KindInt, num: n} }

// Text makes a string.
func Text(s string) Value { return Value{kind: KindText, text: s} }

// Bool makes a boolean.
func Bool(b bool) Value {
	v := Value{kind: KindBool}
	if b {
		v.num = 1
	}
	return v
}

// Tuple makes an integer tuple; it copies ns.
func Tuple(ns ...int64) Value { return Value{kind: KindTuple, list: &list{tuple: slices.Clone(ns)}} }

// Ports makes a port set.
func Ports(p PortSet) Value { return Value{kind: KindPorts, list: &list{ports: p}} }

// Duration makes a length of time.
func Duration(d time.Duration) Value { return Value{kind: KindDuration, num: int64(d)} }

// Unlimited is the value of a limit that does not exist.
func Unlimited() Value { return Value{kind: KindUnlimited} }

// apart is v with a text of its own: one that was cut from a file's content keeps all of that content in memory.
func (v Value) apart() Value {
	v.text = strings.Clone(v.text)
	return v
}

// Kind reports what v holds; 0 for the zero Value.
func (v Value) Kind() Kind { return v.kind }

// IsZero reports whether v is the invalid zero Value.
func (v Value) IsZero() bool { return v.kind == 0 }

// Int returns the integer, and whether v holds one.
func (v Value) Int() (int64, bool) { return v.num, v.kind == KindInt }

// Text returns the string, and whether v holds one.
func (v Value) Text() (string, bool) { return v.text, v.kind == KindText }

// Bool returns the boolean, and whether v holds one.
func (v Value) Bool() (value, ok bool) { return v.num != 0, v.kind == KindBool }

// Tuple returns a copy of the tuple, and whether v holds one.
func (v Value) Tuple() ([]int64, bool) { return slices.Clone(v.numbers()), v.kind == KindTuple }

// Ports returns the port set, and whether v holds one.
func (v Value) Ports() (PortSet, bool) { return v.portSet(), v.kind == KindPorts }

// Duration returns the length of time, and whether v holds one.
func (v Value) Duration() (time.Duration, bool) { return time.Duration(v.num), v.kind == KindDuration }

// Equal reports whether both hold the same kind and content.
func (v Value) Equal(w Value) bool {
	return v.kind == w.kind && v.num == w.num && v.text == w.text &&
		slices.Equal(v.numbers(), w.numbers()) && slices.Equal(v.portSet().ranges, w.portSet().ranges)
}

// String renders v as a person reads it and as a sysctl file holds it: "4096 131072 6291456", "8080,9000-9010", "33 s".
func (v Value) String() string {
	switch v.kind {
	case KindInt:
		return strconv.FormatInt(v.num, 10)
	case KindText:
		return v.text
	case KindBool:
		return strconv.FormatBool(v.num != 0)
	case KindTuple:
		parts := make([]string, len(v.numbers()))
		for i, n := range v.numbers() {
			parts[i] = strconv.FormatInt(n, 10)
		}
		return strings.Join(parts, " ")
	case KindPorts:
		return v.portSet().String()
	case KindDuration:
		return formatDuration(time.Duration(v.num))
	case KindUnlimited:
		return "unlimited"
	}
	return "invalid"
}

// MarshalJSON follows docs/json.md: a tuple is an array, unlimited the word, a port set and a duration a string.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.kind {
	case KindInt:
		return strconv.AppendInt(nil, v.num, 10), nil
	case KindBool:
		return strconv.AppendBool(nil, v.num != 0), nil
	case KindTuple:
		return json.Marshal(v.numbers())
	case 0:
		return nil, fmt.Errorf("the zero Value has no JSON form")
	default:
		return json.Marshal(v.String())
	}
}

// formatDuration prints two significant steps at most: "0.4 s", "33 s", "7 min 5 s", "3 h 20 min", "2 d 4 h".
func formatDuration(d time.Duration) string {
	neg := ""
	if d < 0 {
		neg, d = "-", -max(d, -math.MaxInt64)
	}
	type step struct {
		unit time.Duration
		name string
	}
	steps := []step{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	if d < 10*time.Second && d%time.Second != 0 {
		if d < 100*time.Millisecond {
			return fmt.Sprintf("%s%d ms", neg, d.Milliseconds())
		}
		return fmt.Sprintf("%s%.1f s", neg, d.Seconds())
	}
	for i, s := range steps {
		if d < s.unit {
			continue
		}
		out := fmt.Sprintf("%s%d %s", neg, d/s.unit, s.name)
		if i+1 < len(steps) {
			if rest := d % s.unit / steps[i+1].unit; rest > 0 {
				out += fmt.Sprintf(" %d %s", rest, steps[i+1].name)
			}
		}
		return out
	}
	return "0 s"
}
