package host

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

const (
	limitsConf = "/etc/security/limits.conf"
	limitsDir  = "/etc/security/limits.d"
)

// loginLimits is what pam_limits reads for each session: limits.conf, then limits.d/*.conf by name in the C locale's order
// (limits.conf(5)). The directories that some distributions have below /usr, and pam_limits' argument conf=, are not looked at.
type loginLimits struct {
	lines []limitsLine // those that set nofile, and those that exempt users from all limits, in that order
	gaps  []advisor.Gap
}

// limitsLine is one line.
type limitsLine struct {
	conf.LimitsKind
	domain, kind string        // kind is soft, hard or -
	written      string        // the value's text
	value        advisor.Value // zero: pam_limits takes none
	unknown      string        // why the value is not known: a template fills it in
	misread      string        // what pam_limits makes of it that nobody means; empty: it reads what stands there
	origin       advisor.Origin
}

func (l *limitsLine) place() string { return fmt.Sprintf("%s:%d", l.origin.Path, l.origin.Line) }

// sets reports whether a line sets the soft, or the hard limit.
func (l *limitsLine) sets(kind string) bool { return l.kind == kind || l.kind == "-" }

func loadLimits(t tree) *loginLimits {
	l := &loginLimits{}
	files := []string{limitsConf}
	entries, err := t.list(limitsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.gaps = append(l.gaps, advisor.Gap{Source: limitsDir, Why: cannotRead(err)})
	}
	for _, e := range entries { // sorted by bytes, as strcmp(3) does
		if strings.HasSuffix(e.Name, ".conf") && !strings.HasPrefix(e.Name, ".") { // glob(3) passes over hidden files
			files = append(files, path.Join(limitsDir, e.Name))
		}
	}
	for _, file := range files {
		data, err := t.read(file, unitLimit)
		switch {
		case err == nil:
			l.add(file, data, nil)
		case !errors.Is(err, fs.ErrNotExist):
			l.gaps = append(l.gaps, advisor.Gap{Source: file, Why: cannotRead(err)})
		}
	}
	return l
}

// add takes in one file; what a template fills in is not known.
func (l *loginLimits) add(file string, data []byte, markers []conf.Marker) {
	syntax, lines := conf.ParseLimits(data), conf.IndexLines(data)
	for i, line := range syntax.Lines {
		domain, kind, item, value := syntax.Words(i)
		if line.Kind != conf.LimitsExempt && item != "nofile" && kind != "nofile" {
			continue
		}
		at := line.Domain
		if line.Kind == conf.LimitsSet {
			at = line.Value
		}
		number, column := lines.Position(at.Start)
		out := limitsLine{
			LimitsKind: line.Kind, domain: domain, kind: kind, written: syntax.Text(line.Value),
			origin: advisor.Origin{Path: file, Line: number, Column: column, Start: at.Start, End: at.End},
		}
		switch {
		case slices.ContainsFunc(markers, func(m conf.Marker) bool { return m.Span.Start < line.Span.End && line.Span.Start < m.Span.End }):
			out.unknown = "a template fills it in"
		case line.Kind == conf.LimitsMalformed || item != "nofile" && line.Kind == conf.LimitsSet:
			out.LimitsKind, out.misread = conf.LimitsMalformed, "pam_limits skips the line: it wants four words, DOMAIN TYPE nofile VALUE"
		case line.Kind == conf.LimitsSet && !slices.Contains([]string{"soft", "hard", "-"}, kind):
			out.LimitsKind, out.misread = conf.LimitsMalformed, fmt.Sprintf("pam_limits skips the line: the type is soft, hard or -, and not %s", kind)
		case line.Kind == conf.LimitsSet:
			out.value = limitsValue(value)
			out.misread = limitsMisread(value, out.value)
		}
		l.lines = append(l.lines, out)
	}
}

// limitsMisread is what pam_limits makes of a value that it does not read to its end.
func limitsMisread(text string, value advisor.Value) string {
	n, finite := value.Int()
	switch {
	case value.IsZero():
		return fmt.Sprintf("pam_limits skips the line: %s is no number", text)
	case finite && strings.Trim(text, "+-0123456789") != "":
		return fmt.Sprintf("pam_limits takes the digits in front: %d", n)
	}
	return ""
}

// limitsValue is a number as strtoull(3) reads it: what follows the digits is ignored, so that 65,536 is 65. What does not fit, or is
// negative, is as good as unlimited; of that pam_limits makes fs.nr_open since version 1.3.1. The zero Value is no number.
func limitsValue(text string) advisor.Value {
	if slices.Contains([]string{"-1", "-", "unlimited", "infinity"}, text) {
		return advisor.Unlimited()
	}
	digits := strings.TrimLeft(text, "+-")
	digits = digits[:len(digits)-len(strings.TrimLeft(digits, "0123456789"))]
	switch n, err := strconv.ParseInt(digits, 10, 64); {
	case digits == "" || len(text)-len(strings.TrimLeft(text, "+-")) > 1:
		return advisor.Value{}
	case err != nil || text[0] == '-' && n > 0:
		return advisor.Unlimited()
	default:
		return advisor.Int(n)
	}
}

// account is a user as pam_limits looks at one.
type account struct {
	name     string
	uid, gid int64
	groups   []accountGroup
}

type accountGroup struct {
	name string
	gid  int64
}

// The sources of a limit; a line of an earlier one beats one of a later, and of lines of one source the last counts
// (pam_limits.c process_limit).
const (
	fromUser = iota + 1
	fromGroup
	fromAll
)

// matches is the source by which a line's domain speaks of a user; 0: it does not. Wildcards and groups do not reach root: so it is
// in Debian and its relatives (limits.conf(5) there).
func (a *account) matches(domain string) int {
	low, high, isRange := domainRange(domain)
	inRange := func(n int64) bool { return low <= n && n <= high }
	switch {
	case domain == a.name:
		return fromUser
	case strings.HasPrefix(domain, "%"), strings.Contains(domain, ":") && !isRange:
		return 0 // for maxlogins only, or no range
	case domain[0] == '@' && isRange && low == high:
		if a.gid == low || slices.ContainsFunc(a.groups, func(g accountGroup) bool { return g.gid == low }) {
			return fromGroup
		}
	case domain[0] == '@' && isRange:
		if inRange(a.gid) {
			return fromGroup
		}
	case isRange:
		if inRange(a.uid) {
			return fromUser
		}
	case domain[0] == '@':
		if a.uid != 0 && slices.ContainsFunc(a.groups, func(g accountGroup) bool { return g.name == domain[1:] }) {
			return fromGroup
		}
	case domain == "*" && a.uid != 0:
		return fromAll
	}
	return 0
}

// domainRange reads MIN:MAX, MIN: and :ONE, behind an @ for groups (parse_uid_range).
func domainRange(domain string) (low, high int64, ok bool) {
	const most = 1<<32 - 1
	from, to, ok := strings.Cut(strings.TrimPrefix(domain, "@"), ":")
	if !ok || from == "" && to == "" {
		return 0, 0, false
	}
	low, high = 0, most
	var bad, worse error
	if from != "" {
		low, bad = strconv.ParseInt(from, 10, 64)
	}
	if to != "" {
		high, worse = strconv.ParseInt(to, 10, 64)
	}
	if from == "" {
		low = high
	}
	return low, high, bad == nil && worse == nil
}

// login is the limits that a session of a user gets; nil: nothing sets them. A line for the user alone and a '-' exempts him from all.
func (l *loginLimits) login(a *account) (soft, hard *limitsLine) {
	best := func(kind string) *limitsLine {
		var found *limitsLine
		source := fromAll + 1
		for i := range l.lines {
			line := &l.lines[i]
			if line.LimitsKind != conf.LimitsSet || !line.sets(kind) || line.value.IsZero() {
				continue
			}
			if s := a.matches(line.domain); s != 0 && s <= source {
				found, source = line, s
			}
		}
		return found
	}
	for _, line := range l.lines {
		if line.LimitsKind == conf.LimitsExempt && line.domain != "*" && a.matches(line.domain) != 0 {
			return nil, nil
		}
	}
	return best("soft"), best("hard")
}

// needsGroups reports whether a line speaks of groups or numbers, so that a user's name alone does not decide.
func (l *loginLimits) needsGroups() bool {
	return slices.ContainsFunc(l.lines, func(line limitsLine) bool { return strings.ContainsAny(line.domain, "@:") })
}

// findAccounts reads users' groups from passwd(5) and group(5). Of the live machine only the users that are asked for leave this
// function, so that a capture holds no others.
func findAccounts(t tree, want []string) (map[string]*account, error) {
	const passwd, group, limit = "/etc/passwd", "/etc/group", 16 << 20
	found := map[string]*account{}
	err := t.ask("accounts", func(emit func([]byte) error) error {
		users, err := readRegular(passwd, limit)
		groups, bad := readRegular(group, limit)
		if err := cmp.Or(err, bad); err != nil {
			return err
		}
		for _, a := range parseAccounts(users, groups, want) {
			if err := emit(a.encode()); err != nil {
				return err
			}
		}
		return nil
	}, func(piece []byte) error {
		a := &account{}
		if err := a.decode(string(piece)); err != nil {
			return err
		}
		found[a.name] = a
		return nil
	})
	if !errors.Is(err, errNotLive) {
		return found, err
	}
	users, err := t.read(passwd, limit)
	groups, bad := t.read(group, limit)
	for _, a := range parseAccounts(users, groups, want) {
		found[a.name] = a
	}
	return found, cmp.Or(err, bad)
}

func parseAccounts(passwd, group []byte, want []string) []*account {
	var found []*account
	for line := range bytes.Lines(passwd) {
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		if len(f) < 4 || !slices.Contains(want, f[0]) || slices.ContainsFunc(found, func(a *account) bool { return a.name == f[0] }) {
			continue
		}
		uid, err := strconv.ParseInt(f[2], 10, 64)
		gid, bad := strconv.ParseInt(f[3], 10, 64)
		if err == nil && bad == nil {
			found = append(found, &account{name: f[0], uid: uid, gid: gid})
		}
	}
	for line := range bytes.Lines(group) {
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		if len(f) < 4 {
			continue
		}
		gid, err := strconv.ParseInt(f[2], 10, 64)
		members := strings.Split(f[3], ",")
		for _, a := range found {
			if err == nil && (a.gid == gid || slices.Contains(members, a.name)) {
				a.groups = append(a.groups, accountGroup{f[0], gid})
			}
		}
	}
	return found
}

func (a *account) encode() []byte {
	line := fmt.Appendf(nil, "%q %d %d", a.name, a.uid, a.gid)
	for _, g := range a.groups {
		line = fmt.Appendf(line, " %q %d", g.name, g.gid)
	}
	return append(line, '\n')
}

func (a *account) decode(line string) error {
	bad := fmt.Errorf("record of accounts %q", line)
	name, err := strconv.QuotedPrefix(line)
	if err != nil {
		return bad
	}
	a.name, _ = strconv.Unquote(name)
	r := strings.NewReader(line[len(name):])
	if _, err := fmt.Fscan(r, &a.uid, &a.gid); err != nil {
		return bad
	}
	for r.Len() > 1 {
		var g accountGroup
		if _, err := fmt.Fscanf(r, " %q %d", &g.name, &g.gid); err != nil {
			return bad
		}
		a.groups = append(a.groups, g)
	}
	return nil
}
