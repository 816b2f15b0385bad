package host

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// malformed makes a row for each kind of fault of each file: lines that set nothing, or not what they seem to. Two hundred
// lines of a shell script that was saved as a sysctl file are one mistake.
func (s settings) malformed() []advisor.Row {
	type group struct{ file, defect string }
	at := map[group]int{}
	seen := map[string]bool{}
	var rows []advisor.Row
	count := map[int]int64{}
	for _, src := range s.sources {
		if src.Syntax == nil || seen[src.File] {
			continue
		}
		seen[src.File] = true
		for i := range src.Syntax.Lines {
			defect := s.defect(src.Syntax, i)
			if defect == "" {
				continue
			}
			key := group{src.File, defect}
			n, again := at[key]
			if !again {
				n = len(rows)
				at[key] = n
				rows = append(rows, s.malformedRow(src, i, defect))
			}
			count[n]++
			rows[n].Cells["lines"] = advisor.Known(advisor.Int(count[n]), rows[n].Origin)
		}
	}
	return rows
}

func (s settings) malformedRow(src sysctlSource, i int, defect string) advisor.Row {
	span := src.Syntax.Lines[i].Span
	text := src.Syntax.Text(span)
	start := len(text) - len(strings.TrimLeft(text, " \t"))
	o := advisor.Origin{Path: src.File, Line: i + 1, Column: start + 1, Start: span.Start + start, End: span.End}
	known := func(v advisor.Value) advisor.Fact { return advisor.Known(v, o) }
	meant := s.meant(text)
	if holdsSecretWord([]byte(text)) { // what stands in a broken line is not masked as a setting is
		text, _, _ = strings.Cut(text, "=")
		text, meant = text+"= ***", ""
	}
	cells := map[string]advisor.Fact{
		"id": known(advisor.Text(src.File + " " + defect)), "path": known(advisor.Text(src.File)), "line": known(advisor.Int(int64(i + 1))),
		"text": known(advisor.Text(excerpt(text))), "defect": known(advisor.Text(defect)),
	}
	if meant != "" {
		cells["meant"] = known(advisor.Text(meant))
	}
	return advisor.Row{Origin: o, Cells: cells}
}

// biting are the defects that keep a line from doing what it says, always or in some cases.
const biting = conf.SysctlNoEquals | conf.SysctlNoKey | conf.SysctlCommand | conf.SysctlQuotes | conf.SysctlBlankInKey | conf.SysctlBOM |
	conf.SysctlInvisibleKey | conf.SysctlInvisibleValue | conf.SysctlFullWidth | conf.SysctlNotUTF8 | conf.SysctlNUL | conf.SysctlLoneCR |
	conf.SysctlDoubleDash | conf.SysctlTooLong

// defect names what is wrong with a line; empty where nothing is, or where a rule on the value says it.
func (s settings) defect(f *conf.SysctlFile, i int) string {
	l := f.Lines[i]
	d := l.Defects & biting
	if d == 0 {
		return ""
	}
	key := f.Text(l.Key)
	oddKey := l.Kind == conf.SysctlMalformed || strings.ContainsFunc(key, func(r rune) bool { return r >= utf8.RuneSelf })
	for _, c := range []struct {
		name string
		is   bool
	}{
		{"too-long", d&conf.SysctlTooLong != 0},
		{"nul", d&conf.SysctlNUL != 0 && readDifferently(f, i)},
		{"lone-cr", d&conf.SysctlLoneCR != 0 && readDifferently(f, i)},
		{"command", d&conf.SysctlCommand != 0},
		{"full-width", d&conf.SysctlFullWidth != 0 && oddKey},
		{"bom", d&conf.SysctlBOM != 0},
		{"invisible", d&conf.SysctlInvisibleKey != 0},
		{"not-utf8", d&conf.SysctlNotUTF8 != 0 && oddKey},
		{"no-key", d&conf.SysctlNoKey != 0},
		{"no-equals", d&conf.SysctlNoEquals != 0},
		{"double-dash", d&conf.SysctlDoubleDash != 0},
		{"quotes", d&conf.SysctlQuotes != 0 && strings.ContainsAny(key, `"'`)},
		{"blank-in-key", d&conf.SysctlBlankInKey != 0},
		{"quotes", d&conf.SysctlQuotes != 0 && s.passes(f, i)},
		{"invisible-value", d&conf.SysctlInvisibleValue != 0 && s.passes(f, i)},
		{"full-width", d&conf.SysctlFullWidth != 0 && s.passes(f, i)},
	} {
		if c.is {
			return c.name
		}
	}
	return ""
}

// passes reports that no kernel is known to refuse the value: then nothing else tells of what is wrong with it.
func (s settings) passes(f *conf.SysctlFile, i int) bool {
	return s.catalogue.Refuses(f.Key(i), f.Text(f.Lines[i].Value), advisor.Version{}) == ""
}

// readDifferently reports whether systemd-sysctl and sysctl(8) take different assignments from a line.
func readDifferently(f *conf.SysctlFile, i int) bool {
	type one struct {
		key, value string
		kind       conf.SysctlKind
	}
	var systemd, procps []one
	for r := range f.SystemdReads(i) {
		systemd = append(systemd, one{r.Name(), f.Text(r.Value), r.Kind})
	}
	if r, ok := f.ProcpsReads(i); ok {
		procps = append(procps, one{r.Name(), f.Text(r.Value), r.Kind})
	}
	return !slices.Equal(systemd, procps)
}

// excerpt is the beginning of a line with what cannot be seen written out.
func excerpt(text string) string {
	const most = 60
	var b strings.Builder
	n := 0
	for i, r := range strings.TrimSpace(strings.TrimRight(text, "\r\x00")) {
		if n++; n > most {
			return b.String() + "..."
		}
		switch {
		case r == utf8.RuneError:
			b.WriteString(`\x` + strconv.FormatUint(uint64(strings.TrimSpace(text)[i]), 16))
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\t':
			b.WriteByte(' ')
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// meant is the assignment that a line seems to be meant as; empty where that is not plain.
func (s settings) meant(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 0xFF01 && r <= 0xFF5E: // full-width forms of ASCII
			return r - 0xFF01 + '!'
		case unicode.Is(unicode.Zs, r), r == '\t':
			return ' '
		case unicode.In(r, unicode.Cf, unicode.Cc, unicode.Zl, unicode.Zp):
			return -1
		}
		return r
	}, text)
	fields := strings.Fields(text)
	for len(fields) > 0 && (fields[0] == "sudo" || fields[0] == "$" || strings.HasPrefix(fields[0], "-w") && len(fields[0]) == 2 ||
		fields[0] == "sysctl" || strings.HasSuffix(fields[0], "/sysctl") || fields[0] == "-q") {
		fields = fields[1:]
	}
	text = unquote(strings.Join(fields, " "))
	key, value, found := strings.Cut(text, "=")
	if !found {
		key, value, found = strings.Cut(text, " ")
	}
	name := conf.SysctlName(conf.SysctlTarget(unquote(strings.TrimSpace(key))))
	value = unquote(strings.TrimSpace(value))
	if !found || value == "" || strings.ContainsAny(value, "=#;|&><`$") {
		return ""
	}
	if p, ok := s.catalogue.Lookup(name); !ok || p.MistakenFor != "" {
		return ""
	}
	if s.catalogue.Refuses(name, value, advisor.Version{}) != "" {
		return ""
	}
	return name + " = " + value
}

func unquote(s string) string {
	if n := len(s); n > 1 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return strings.TrimSpace(s[1 : n-1])
	}
	return s
}
