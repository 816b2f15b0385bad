package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// escape makes s safe to print: any user may name his process "\x1b]0;..." and any file name may turn the direction of
// writing. Such bytes come out as \x1b, \n, \u202e, and bytes that are not UTF-8 as \xff. Backslashes stay single, or
// commands with a backslash could not be copied; so the escaped form is for reading, and the JSON is the one to parse.
func escape(s string) string {
	if strings.IndexFunc(s, hidden) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case hidden(r):
			b.WriteString(escaped(r))
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

func escaped(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\t':
		return `\t`
	case r == '\r':
		return `\r`
	case r < utf8.RuneSelf:
		return fmt.Sprintf(`\x%02x`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}

// hidden reports whether a reader would not see r for what it is. IsPrint refuses controls, format characters (the bidi
// controls and the zero-width ones among them), private and unassigned characters and all blanks but the ASCII one: a
// no-break space in a sysctl file is a fault that must show. It admits letters and marks without a glyph, listed here.
func hidden(r rune) bool {
	const brailleBlank = '\u2800'
	return !unicode.IsPrint(r) || r == brailleBlank ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// width is the number of terminal columns of escaped text. Characters of ambiguous width count as one column in each
// locale, so that one diagnosis gives the same bytes everywhere.
func width(s string) int {
	return displaywidth.Options{EastAsianWidth: false}.String(s)
}
