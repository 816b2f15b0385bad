package advisor

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// result is what an expression yields: a known value, absent, or unknown with the readings that are missing.
type result struct {
	state State
	value Value
	needs []need
}

// need is a reading that could not be had.
type need struct{ what, why string }

func knownResult(v Value) result { return result{state: StateKnown, value: v} }
func absentResult() result       { return result{state: StateAbsent} }
func unknownResult(what, why string) result {
	return result{state: StateUnknown, needs: []need{{what, why}}}
}

func (r result) isTrue() bool  { return r.state == StateKnown && r.value.num != 0 }
func (r result) isFalse() bool { return r.state == StateKnown && r.value.num == 0 }

// frame is the state of one evaluation.
type frame struct {
	facts     *Facts
	catalogue *Catalogue
	kernel    Version // of the judged host; zero where unknown
	backports bool
	rows      []boundRow // outermost first
	trace     []Evidence // what was read, in order; cut back where a reading did not decide
	steps     int
	args      []Value // of the calls under way, a stack: a rule may be asked of 100,000 rows
}

// read turns a fact into a result and leaves a trace.
func (f *frame) read(fact Fact, what string) result {
	switch fact.State {
	case StateKnown:
		f.trace = append(f.trace, Evidence{What: what, Value: fact.Value, Origin: fact.Origin})
		return knownResult(fact.Value)
	case StateAbsent:
		return absentResult()
	default:
		return unknownResult(what, fact.Why)
	}
}

func (f *frame) cell(depth int, column, what, namedBy string) result {
	row := f.rows[depth]
	fact, ok := row.cell(column)
	if !ok {
		return absentResult()
	}
	if namedBy != "" {
		if name := row.known(namedBy); !name.IsZero() {
			what = name.String()
		}
	}
	return f.read(fact, what)
}

// kleeneAnd is false if a side is false; else unknown if a side is unknown; else absent if a side is absent.
func kleeneAnd(a, b evalFunc) evalFunc {
	return func(f *frame) result {
		mark := len(f.trace)
		x := a(f)
		if x.isFalse() {
			return x
		}
		middle := len(f.trace)
		y := b(f)
		if y.isFalse() {
			f.trace = slices.Delete(f.trace, mark, middle)
			return y
		}
		return weaker(x, y)
	}
}

// weaker returns the less known of two results that are true or undecided.
func weaker(x, y result) result {
	switch {
	case x.state == StateUnknown && y.state == StateUnknown:
		return result{state: StateUnknown, needs: append(slices.Clip(x.needs), y.needs...)}
	case x.state == StateUnknown || y.state == StateKnown:
		return x
	default:
		return y
	}
}

// kleeneOr is true if a side is true; else unknown if a side is unknown; else what the sides that exist say: an absent
// side is no alternative.
func kleeneOr(a, b evalFunc) evalFunc {
	return func(f *frame) result {
		mark := len(f.trace)
		x := a(f)
		if x.isTrue() {
			return x
		}
		middle := len(f.trace)
		y := b(f)
		switch {
		case y.isTrue():
			f.trace = slices.Delete(f.trace, mark, middle)
			return y
		case x.state == StateAbsent:
			return y
		case y.state == StateAbsent:
			return x
		}
		return weaker(x, y)
	}
}

// coalesce is b where a is absent.
func coalesce(a, b evalFunc) evalFunc {
	return func(f *frame) result {
		if r := a(f); r.state != StateAbsent {
			return r
		}
		return b(f)
	}
}

func lift1(a evalFunc, apply func(Value) result) evalFunc {
	return func(f *frame) result {
		x := a(f)
		if x.state != StateKnown {
			return x
		}
		return apply(x.value)
	}
}

func lift2(a, b evalFunc, apply func(x, y Value) result) evalFunc {
	return func(f *frame) result {
		x, y := a(f), b(f)
		if x.state != StateKnown || y.state != StateKnown {
			return weaker(x, y)
		}
		return apply(x.value, y.value)
	}
}

func textTest(op string, a, b evalFunc) evalFunc {
	test := map[string]func(s, part string) bool{
		"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix,
	}[op]
	return lift2(a, b, func(x, y Value) result { return knownResult(Bool(test(x.text, y.text))) })
}

func compare(op string, a, b evalFunc) evalFunc {
	return lift2(a, b, func(x, y Value) result {
		if op == "==" || op == "!=" {
			return knownResult(Bool(x.Equal(y) == (op == "==")))
		}
		return knownResult(Bool(holds(op, order(x, y))))
	})
}

func holds(op string, c int) bool {
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}

// order compares values of one type; unlimited is above each integer.
func order(x, y Value) int {
	if x.kind == KindUnlimited || y.kind == KindUnlimited {
		above := func(v Value) int {
			if v.kind == KindUnlimited {
				return 1
			}
			return 0
		}
		return above(x) - above(y)
	}
	if x.kind == KindTuple {
		return slices.Compare(x.numbers(), y.numbers())
	}
	return cmp.Compare(x.num, y.num)
}

// arithmetic computes on integers and durations. Overflow and division by zero are unknown; unlimited absorbs what is
// added to it and is unknown in each other place.
func arithmetic(op string, a, b evalFunc) evalFunc {
	return lift2(a, b, func(x, y Value) result {
		if x.kind == KindUnlimited || y.kind == KindUnlimited {
			if op == "+" || op == "-" && y.kind != KindUnlimited || op == "*" && max(x.num, y.num) > 0 {
				return knownResult(Unlimited())
			}
			return unknownResult(x.String()+" "+op+" "+y.String(), "has no value")
		}
		n, ok := calculate(op, x.num, y.num)
		if !ok {
			return unknownResult(x.String()+" "+op+" "+y.String(), "overflow or division by zero")
		}
		return knownResult(Value{kind: x.kind, num: n})
	})
}

func calculate(op string, x, y int64) (n int64, ok bool) {
	switch op {
	case "+":
		n = x + y
		return n, (n > x) == (y > 0)
	case "-":
		n = x - y
		return n, (n < x) == (y > 0)
	case "*":
		return multiply(x, y)
	case "/", "%":
		if y == 0 || x == math.MinInt64 && y == -1 {
			return 0, false
		}
		if op == "/" {
			return x / y, true
		}
		return x % y, true
	}
	return 0, false
}

func multiply(x, y int64) (int64, bool) {
	magnitude := func(n int64) uint64 {
		if n < 0 {
			return -uint64(n)
		}
		return uint64(n)
	}
	hi, lo := bits.Mul64(magnitude(x), magnitude(y))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	return x * y, true
}
