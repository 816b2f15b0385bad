package advisor

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// The rule language has the grammar of expr-lang/expr and semantics of its own: each value is known, absent or unknown;
// arithmetic is on integers and its failures are unknown, never an answer; there are no loops but the quantifiers over
// tables. Every expression is checked against the vocabulary and turned into closures when it is first needed.

const (
	maxExpression = 4096 // bytes of one expression
	maxNodes      = 400  // nodes of one expression
	maxNesting    = 2    // tables walked inside one another, `each` included
	maxSteps      = 5e6  // rows visited by the quantifiers of one rule, on all its subjects together
)

// evalFunc computes an expression.
type evalFunc func(*frame) result

// code is a checked expression.
type code struct {
	eval evalFunc
	typ  Type
	text string // the source, for messages
}

// scope is what an expression may name.
type scope struct {
	vocabulary *Vocabulary
	catalogue  *Catalogue
	params     map[string]Param
	overrides  map[string]Value // parameters that a user's configuration sets
	rowName    string           // name that `each` binds; empty: the host is the subject
	rowTable   string
}

// compiler checks one expression; depth counts the rows bound around the node at hand.
type compiler struct {
	*scope
	tables []string // table of each bound row, outermost first
	err    *exprError
}

// exprError is a fault in an expression; offset counts runes from its start.
type exprError struct {
	offset  int
	message string
}

func (e *exprError) Error() string { return e.message }

// compile parses and checks an expression. want 0 accepts each type.
func (s *scope) compile(src string, want Type) (*code, *exprError) {
	if len(src) > maxExpression {
		return nil, &exprError{message: fmt.Sprintf("is %d bytes long; the limit is %d", len(src), maxExpression)}
	}
	tree, err := parser.ParseWithConfig(src, &conf.Config{MaxNodes: maxNodes, DisableIfOperator: true})
	if err != nil {
		var fe *file.Error
		if errors.As(err, &fe) {
			return nil, &exprError{offset: fe.From, message: fe.Message}
		}
		return nil, &exprError{message: err.Error()}
	}
	c := &compiler{scope: s}
	if s.rowTable != "" {
		c.tables = append(c.tables, s.rowTable)
	}
	eval, typ := c.node(tree.Node)
	if c.err == nil && want != 0 && !assignable(typ, want) {
		c.fail(tree.Node, "is of type %s; want %s", typ, want)
	}
	if c.err != nil {
		return nil, c.err
	}
	return &code{eval: eval, typ: typ, text: src}, nil
}

func assignable(have, want Type) bool {
	return have == want || number(have) && number(want)
}

func number(t Type) bool { return t == TypeInteger || t == TypeLimit }

// fail records the first fault and returns what lets the walk go on.
func (c *compiler) fail(n ast.Node, format string, args ...any) (evalFunc, Type) {
	if c.err == nil {
		c.err = &exprError{offset: n.Location().From, message: fmt.Sprintf(format, args...)}
	}
	return func(*frame) result { return unknownResult("", "a broken expression") }, 0
}

func (c *compiler) node(n ast.Node) (evalFunc, Type) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		return constant(Int(int64(n.Value))), TypeInteger
	case *ast.BoolNode:
		return constant(Bool(n.Value)), TypeBoolean
	case *ast.StringNode:
		return constant(Text(n.Value)), TypeText
	case *ast.FloatNode:
		return c.fail(n, "fractions are not part of the rule language: compare x * 100 with y * 90")
	case *ast.IdentifierNode:
		return c.identifier(n)
	case *ast.MemberNode:
		return c.member(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.BuiltinNode:
		return c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			return c.call(n, callee.Value, n.Arguments)
		}
	}
	return c.fail(n, "this construct of expr is not part of the rule language")
}

func constant(v Value) evalFunc {
	r := knownResult(v)
	return func(*frame) result { return r }
}

func (c *compiler) identifier(n *ast.IdentifierNode) (evalFunc, Type) {
	name := n.Value
	if typ, ok := c.vocabulary.Scalars.Type(name); ok {
		return scalarAccess(name), typ
	}
	switch {
	case name == "unlimited":
		return constant(Unlimited()), TypeLimit
	case name == c.rowName && name != "":
		return c.fail(n, "%q is a whole row: name a column, such as %s.%s", name, name, c.vocabulary.Columns(c.rowTable).Names()[0])
	case c.vocabulary.HasFamily(name):
		return c.fail(n, "%q is a family: name a member, such as %s[\"...\"]", name, name)
	case c.vocabulary.HasTable(name):
		return c.fail(n, "%q is a table: use it in any, all, count, sum or each", name)
	}
	return c.fail(n, "unknown name %q%s", name, didYouMean(name, c.names()))
}

// names lists what may stand where a value is expected, for "did you mean".
func (c *compiler) names() []string {
	names := slices.Concat(c.vocabulary.Scalars.Names(), c.vocabulary.Families.Names(), c.vocabulary.Tables(),
		slices.Collect(maps.Keys(functions)))
	if c.rowName != "" {
		names = append(names, c.rowName)
	}
	return names
}

// member compiles row.column, family["key"], a.dotted.scalar, params.name and tuple[1].
func (c *compiler) member(n *ast.MemberNode) (evalFunc, Type) {
	if n.Optional || n.Method {
		return c.fail(n, "this construct of expr is not part of the rule language")
	}
	property, isName := n.Property.(*ast.StringNode)
	if _, ok := n.Node.(*ast.PointerNode); ok && isName {
		if len(c.tables) == 0 {
			return c.fail(n, "a leading dot names a column inside any, all, count or sum")
		}
		return c.column(n, len(c.tables)-1, property.Value)
	}
	if base, ok := n.Node.(*ast.IdentifierNode); ok && isName {
		switch {
		case base.Value == c.rowName && c.rowName != "":
			return c.column(n, 0, property.Value)
		case base.Value == "params":
			return c.param(n, property.Value)
		case c.vocabulary.HasFamily(base.Value):
			if typ, ok := c.vocabulary.Scalars.Type(base.Value + "." + property.Value); ok { // conntrack.count beside conntrack["drop"]
				return scalarAccess(base.Value + "." + property.Value), typ
			}
			return c.familyMember(n, base.Value, property.Value)
		}
	}
	if name, ok := dotted(n); ok {
		if typ, ok := c.vocabulary.Scalars.Type(name); ok {
			return scalarAccess(name), typ
		}
		if isName {
			return c.fail(leftmost(n), "unknown name %q%s", name, didYouMean(name, c.names()))
		}
	}
	if base, ok := n.Node.(*ast.IdentifierNode); ok && c.vocabulary.HasFamily(base.Value) {
		return c.fail(n.Property, "a member of %s must be a constant text", base.Value)
	}
	return c.element(n)
}

// dotted spells a chain of names as a scalar's key: memory.total.
func dotted(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value, true
	case *ast.MemberNode:
		base, ok := dotted(n.Node)
		name, isText := n.Property.(*ast.StringNode)
		if ok && isText {
			return base + "." + name.Value, true
		}
	}
	return "", false
}

// leftmost is where a chain of members starts: expr places a member at its dot.
func leftmost(n ast.Node) ast.Node {
	for {
		m, ok := n.(*ast.MemberNode)
		if !ok {
			return n
		}
		n = m.Node
	}
}

func (c *compiler) column(n ast.Node, depth int, column string) (evalFunc, Type) {
	table := c.tables[depth]
	columns := c.vocabulary.Columns(table)
	typ, ok := columns.Type(column)
	if !ok {
		return c.fail(n, "table %s has no column %q%s", table, column, didYouMean(column, columns.Names()))
	}
	what, namedBy := table+"."+column, columns.entries[column].field("named_by")
	return func(f *frame) result { return f.cell(depth, column, what, namedBy) }, typ
}

func (c *compiler) param(n ast.Node, name string) (evalFunc, Type) {
	p, ok := c.params[name]
	if !ok {
		return c.fail(n, "this rule has no parameter %q%s", name, didYouMean(name, slices.Sorted(maps.Keys(c.params))))
	}
	return constant(p.Value), typeOf(p.Value)
}

func (c *compiler) familyMember(n ast.Node, family, key string) (evalFunc, Type) {
	typ, _ := c.vocabulary.Families.Type(family)
	if typ == TypeCatalogue {
		var ok bool
		if typ, ok = c.catalogue.TypeOf(key); !ok {
			return c.fail(n, "the catalogue has no kernel parameter %q%s", key, didYouMean(key, c.catalogue.Keys()))
		}
	}
	return func(f *frame) result { return f.read(f.facts.Member(family, key), key) }, typ
}

func scalarAccess(key string) evalFunc {
	return func(f *frame) result { return f.read(f.facts.Scalar(key), key) }
}

// element compiles tuple[i].
func (c *compiler) element(n *ast.MemberNode) (evalFunc, Type) {
	base, typ := c.node(n.Node)
	index, ok := n.Property.(*ast.IntegerNode)
	if c.err == nil && (!ok || typ != TypeTuple && typ != TypeVersion) {
		return c.fail(n, "only a tuple has elements, reached by a constant number such as [2]")
	}
	if !ok {
		return base, typ
	}
	return func(f *frame) result {
		r := base(f)
		if r.state != StateKnown {
			return r
		}
		if index.Value < 0 || index.Value >= len(r.value.numbers()) {
			return absentResult()
		}
		return knownResult(Int(r.value.numbers()[index.Value]))
	}, TypeInteger
}

func (c *compiler) unary(n *ast.UnaryNode) (evalFunc, Type) {
	x, typ := c.node(n.Node)
	switch n.Operator {
	case "not", "!":
		if c.err == nil && typ != TypeBoolean {
			return c.fail(n, "not wants a boolean, found %s", typ)
		}
		return func(f *frame) result {
			r := x(f)
			if r.state == StateKnown {
				return knownResult(Bool(r.value.num == 0))
			}
			return r
		}, TypeBoolean
	case "-":
		if c.err == nil && typ != TypeInteger {
			return c.fail(n, "- wants an integer, found %s", typ)
		}
		zero := constant(Int(0))
		return arithmetic("-", zero, x), TypeInteger
	}
	return c.fail(n, "operator %s is not part of the rule language", n.Operator)
}

func (c *compiler) conditional(n *ast.ConditionalNode) (evalFunc, Type) {
	cond, condType := c.node(n.Cond)
	a, aType := c.node(n.Exp1)
	b, bType := c.node(n.Exp2)
	if c.err == nil && condType != TypeBoolean {
		return c.fail(n.Cond, "a condition must be boolean, found %s", condType)
	}
	if c.err == nil && !assignable(aType, bType) {
		return c.fail(n, "the branches differ in type: %s and %s", aType, bType)
	}
	return func(f *frame) result {
		r := cond(f)
		if r.state != StateKnown {
			return r
		}
		if r.value.num != 0 {
			return a(f)
		}
		return b(f)
	}, aType
}

func (c *compiler) binary(n *ast.BinaryNode) (evalFunc, Type) {
	if n.Operator == "in" {
		return c.membership(n)
	}
	a, aType := c.node(n.Left)
	b, bType := c.node(n.Right)
	if c.err != nil {
		return a, aType
	}
	switch n.Operator {
	case "and", "&&", "or", "||":
		if aType != TypeBoolean || bType != TypeBoolean {
			return c.fail(n, "%s wants booleans, found %s and %s", n.Operator, aType, bType)
		}
		if n.Operator == "and" || n.Operator == "&&" {
			return kleeneAnd(a, b), TypeBoolean
		}
		return kleeneOr(a, b), TypeBoolean
	case "==", "!=", "<", "<=", ">", ">=":
		return c.comparison(n, a, aType, b, bType)
	case "+", "-", "*", "/", "%":
		if number(aType) && number(bType) {
			return arithmetic(n.Operator, a, b), TypeInteger
		}
		if aType == TypeDuration && bType == TypeDuration && (n.Operator == "+" || n.Operator == "-") {
			return arithmetic(n.Operator, a, b), TypeDuration
		}
	case "??":
		if assignable(aType, bType) {
			return coalesce(a, b), aType
		}
	case "contains", "startsWith", "endsWith":
		if aType == TypeText && bType == TypeText {
			return textTest(n.Operator, a, b), TypeBoolean
		}
	case "matches":
		return c.matches(n, a, aType)
	}
	return c.fail(n, "%s does not join %s and %s", n.Operator, aType, bType)
}

func (c *compiler) comparison(n *ast.BinaryNode, a evalFunc, aType Type, b evalFunc, bType Type) (evalFunc, Type) {
	if !assignable(aType, bType) {
		return c.fail(n, "cannot compare %s with %s", aType, bType)
	}
	ordered := number(aType) || aType == TypeDuration || aType == TypeVersion || aType == TypeTuple
	if !ordered && n.Operator != "==" && n.Operator != "!=" {
		return c.fail(n, "%s has no order: use == or !=", aType)
	}
	return compare(n.Operator, a, b), TypeBoolean
}

func (c *compiler) matches(n *ast.BinaryNode, a evalFunc, aType Type) (evalFunc, Type) {
	pattern, ok := n.Right.(*ast.StringNode)
	if !ok || aType != TypeText {
		return c.fail(n, "matches wants a text and a constant regular expression")
	}
	re, err := regexp.Compile(pattern.Value)
	if err != nil {
		return c.fail(n.Right, "%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return lift1(a, func(v Value) result { return knownResult(Bool(re.MatchString(v.text))) }), TypeBoolean
}

// membership compiles x in [a, b], port in ports and part in text.
func (c *compiler) membership(n *ast.BinaryNode) (evalFunc, Type) {
	x, xType := c.node(n.Left)
	if list, ok := n.Right.(*ast.ArrayNode); ok {
		items := make([]evalFunc, len(list.Nodes))
		for i, item := range list.Nodes {
			eval, typ := c.node(item)
			if c.err == nil && !assignable(xType, typ) {
				return c.fail(item, "%s is looked for in a list with %s", xType, typ)
			}
			items[i] = compare("==", x, eval)
		}
		if len(items) == 0 {
			return c.fail(list, "the list is empty")
		}
		eval := items[0]
		for _, item := range items[1:] {
			eval = kleeneOr(eval, item)
		}
		return eval, TypeBoolean
	}
	set, setType := c.node(n.Right)
	if c.err == nil && (setType != TypePorts || xType != TypeInteger) {
		return c.fail(n, "in wants a list, or a port and a port set; found %s in %s", xType, setType)
	}
	return lift2(x, set, func(x, set Value) result { return knownResult(Bool(set.portSet().Contains(x.num))) }), TypeBoolean
}
