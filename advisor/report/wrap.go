package report

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// word is what a line is never broken in. Its text is escaped: words are only made by prose, whole, code and bind.
type word struct {
	text  string
	tight bool // follows the word before it without a blank, as Chinese characters do
	style style
}

// prose makes words of a text that may be broken at each blank, and between East Asian characters; but an assignment
// ("net.ipv4.tcp_sack = 1") stays on one line.
func prose(s string) []word {
	return bind(s, func(field string) bool { return field == "=" })
}

// whole makes one word: a file name, a rule's ID, a command. It overflows a narrow line rather than be broken, so that a
// double click or a copied line gets all of it.
func whole(s string) word { return word{text: escape(s)} }

// code makes words of an advice: a command, prose, prose that ends in a colon and a command, or prose with a command inside.
// Nothing marks the commands, so they are told by what shells need and prose does not. A command by itself stays whole; of one
// within a sentence at least each option stays beside its neighbours, and what is quoted in one piece.
func code(s string) []word {
	if isCommand(s) {
		return []word{whole(s)}
	}
	for _, colon := range []string{": ", "："} {
		if before, after, ok := cutLast(s, colon); ok && isCommand(after) {
			words := append(prose(before+strings.TrimSpace(colon)), whole(after))
			words[len(words)-1].tight = colon == "："
			return words
		}
	}
	return bind(s, func(field string) bool { return field == "=" || isShell(field) })
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// isCommand reports whether all of s is to be typed. A few words are kept together like a command ("jcmd 4711 Thread.print");
// where they are prose it does no harm. Chinese prose has few blanks, but its words do not begin like a command's.
func isCommand(s string) bool {
	const few = 4
	fields := strings.Fields(s)
	if slices.ContainsFunc(fields, func(f string) bool { return beginsWide(f) || strings.ContainsAny(f, "，；（") }) {
		return false
	}
	if len(fields) <= few {
		return true
	}
	return !strings.Contains(s, ", ") && !strings.Contains(s, " (") && slices.ContainsFunc(fields[1:], isShell)
}

func beginsWide(s string) bool {
	g := displaywidth.StringGraphemes(s)
	return g.Next() && g.Width() == 2
}

// isShell reports an option or an operator of the shell.
func isShell(field string) bool {
	switch field {
	case "|", "||", "&&", ">", ">>", "<":
		return true
	}
	return len(field) > 1 && field[0] == '-' && field[1] != '>' && (field[1] < '0' || '9' < field[1])
}

// bind splits s at blanks, but keeps what binds says beside its neighbours, and what stands between quotes together.
func bind(s string, binds func(field string) bool) []word {
	var words []word
	fields := strings.Fields(escape(s))
	joined := 0 // that many further fields belong to the last word
	for i, field := range fields {
		parts := splitWide(field)
		if n := len(words); n > 0 && (joined > 0 || binds(field) || isUnit(field) && isNumber(fields[i-1])) {
			words[n-1].text += " " + parts[0]
		} else {
			words = append(words, word{text: parts[0]})
		}
		for _, part := range parts[1:] {
			words = append(words, word{text: part, tight: true})
		}
		joined = max(joined-1, quoted(fields[i:]))
		if binds(field) {
			joined = max(joined, 1)
		}
	}
	return words
}

// isUnit reports what must not be parted from the number before it.
func isUnit(field string) bool {
	switch strings.TrimRight(field, ",.;:)") {
	case "ms", "s", "min", "h", "d", "B", "KiB", "MiB", "GiB", "TiB", "Mbit/s", "%":
		return true
	}
	return false
}

func isNumber(field string) bool {
	last := field[len(field)-1]
	return '0' <= last && last <= '9'
}

// quoted returns how many fields after the first are in the quotes that it opens; 0 where they are not closed soon, as prose
// has apostrophes and a process may have any name.
func quoted(fields []string) int {
	const soon = 12
	quote := fields[0][:1]
	if quote != "'" && quote != `"` {
		return 0
	}
	for i, field := range fields[:min(len(fields), soon)] {
		if i == 0 {
			field = field[1:]
		}
		if strings.HasSuffix(strings.TrimRight(field, ",.;:)"), quote) {
			return i
		}
	}
	return 0
}

func styled(s style, words ...word) []word {
	for i := range words {
		words[i].style = s
	}
	return words
}

// parenthesised puts words between parentheses.
func parenthesised(words []word) []word {
	if len(words) > 0 {
		words[0].text = "(" + words[0].text
		words[len(words)-1].text += ")"
	}
	return words
}

// tail adds text to the last word, for the punctuation after it.
func tail(words []word, text string) []word {
	words[len(words)-1].text += text
	return words
}

// fill writes words from column at on and breaks lines before the limit; continuation lines begin at hang. A limit below
// zero never breaks.
func (p *printer) fill(at, hang int, words []word) {
	var run strings.Builder // words in one style, painted together
	var look style
	flush := func(next style) {
		p.buf.WriteString(look.paint(p.colour, run.String()))
		run.Reset()
		look = next
	}
	for i, w := range words {
		blank := 0
		if i > 0 && !w.tight && !endsWide(words[i-1].text) {
			blank = 1
		}
		size := width(w.text)
		if i > 0 && p.limit >= 0 && at+blank+size > p.limit {
			flush(w.style)
			p.buf.WriteString("\n" + strings.Repeat(" ", hang))
			at, blank = hang, 0
		}
		if w.style != look {
			flush(w.style)
			p.buf.WriteString(strings.Repeat(" ", blank))
		} else {
			run.WriteString(strings.Repeat(" ", blank))
		}
		run.WriteString(w.text)
		at += blank + size
	}
	flush(plain)
	p.buf.WriteByte('\n')
}

// endsWide reports East Asian punctuation at the end: it brings its own blank.
func endsWide(s string) bool {
	r, size := utf8.DecodeLastRuneInString(s)
	return size > 1 && strings.ContainsRune("，。、；：？！）」』》】〉", r)
}

// Characters that do not begin a line, and that do not end one (JIS X 4051 and CLREQ, as far as our texts use them).
const (
	closing = "，。、；：？！）」』》】〉”’…,.;:?!)]}%"
	opening = "（「『《【〈“‘([{"
)

// splitWide breaks a blankless text where an East Asian reader would let a line end: beside a wide character, but not away
// from its punctuation and not inside a file name.
func splitWide(s string) []string {
	cs := clusters(s)
	var parts []string
	var part strings.Builder
	for i, c := range cs {
		if i > 0 && mayBreak(cs, i) {
			parts = append(parts, part.String())
			part.Reset()
		}
		part.WriteString(c.text)
	}
	return append(parts, part.String())
}

type cluster struct {
	text string
	wide bool
	name bool // a wide character in a file name: /etc/sysctl.d/调优.conf
}

func clusters(s string) []cluster {
	var cs []cluster
	for g := displaywidth.StringGraphemes(s); g.Next(); {
		cs = append(cs, cluster{text: g.Value(), wide: g.Width() == 2})
	}
	for start := 0; start < len(cs); start++ {
		if !letter(cs[start]) {
			continue
		}
		end := start
		for end < len(cs) && letter(cs[end]) {
			end++
		}
		before := start > 0 && joins(cs[start-1])
		after := end+1 < len(cs) && joins(cs[end]) && cs[end].text != "/" && !cs[end+1].wide
		for i := start; i < end; i++ {
			cs[i].name = before || after
		}
		start = end
	}
	return cs
}

func letter(c cluster) bool {
	return c.wide && !strings.Contains(closing, c.text) && !strings.Contains(opening, c.text)
}

// joins reports what holds the parts of a file name together.
func joins(c cluster) bool {
	switch c.text {
	case "/", ".", "_", "-":
		return true
	}
	return false
}

func mayBreak(cs []cluster, i int) bool {
	a, b := cs[i-1], cs[i]
	switch {
	case !a.wide && !b.wide, strings.Contains(opening, a.text), strings.Contains(closing, b.text):
		return false
	case a.name && b.name:
		return false
	case b.name && joins(a), a.name && joins(b):
		return false
	}
	return true
}
