package advisor

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseValue reads a text as a value of a type: "4096", "unlimited", "4096 131072 6291456", "8080,9000-9010", "30s", "true",
// "6.12". TypeCatalogue is no type of a value.
func ParseValue(t Type, text string) (Value, error) {
	switch t {
	case TypeInteger, TypeLimit:
		if t == TypeLimit && text == "unlimited" {
			return Unlimited(), nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Value{}, fmt.Errorf("%q is no integer of 64 bits", text)
		}
		return Int(n), nil
	case TypeText:
		return Text(text), nil
	case TypeBoolean:
		if text == "true" || text == "false" {
			return Bool(text == "true"), nil
		}
		return Value{}, fmt.Errorf("%q is neither true nor false", text)
	case TypeTuple:
		return parseTuple(text)
	case TypePorts:
		p, err := ParsePorts(text)
		return Ports(p), err
	case TypeDuration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return Value{}, fmt.Errorf("%q is no duration such as 30s", text)
		}
		return Duration(d), nil
	case TypeVersion:
		v, err := ParseVersion(text)
		return v.value(), err
	}
	return Value{}, fmt.Errorf("no value has the type %s", t)
}

func parseTuple(text string) (Value, error) {
	var ns []int64
	for field := range strings.FieldsSeq(text) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Value{}, fmt.Errorf("%q in %q is no integer of 64 bits", field, text)
		}
		ns = append(ns, n)
	}
	if ns == nil {
		return Value{}, fmt.Errorf("%q holds no number", text)
	}
	return Tuple(ns...), nil
}

// ParseSysctl reads the text of a kernel parameter as its catalogued type, by the kernel's own rules for numbers; what
// follows the numbers that the key takes is ignored, as the kernel ignores it. A key outside the catalogue is text.
func (c *Catalogue) ParseSysctl(key, text string) (Value, error) {
	p, ok := c.Lookup(key)
	if !ok {
		return Text(text), nil
	}
	switch p.Type {
	case TypeInteger, TypeTuple:
		ns, _ := ParseKernelNumbers(text)
		switch {
		case len(ns) < max(p.Elements, 1):
			return Value{}, fmt.Errorf("%q does not hold the %d numbers that %s takes", text, max(p.Elements, 1), key)
		case p.Type == TypeInteger:
			return Int(ns[0]), nil
		}
		return Tuple(ns[:p.Elements]...), nil
	default:
		return ParseValue(p.Type, text)
	}
}
