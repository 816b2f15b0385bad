package host

import (
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// waiverMark begins a comment that waives a rule on the setting in the next line. It stands on a line of its own, because
// a comment behind a value is no comment to the loaders.
const waiverMark = "tcpadvise:ignore"

// inlineWaivers makes a row of each such comment in the files that a loader read.
func inlineWaivers(l *sysctlLoad) advisor.Table {
	var t advisor.Table
	seen := map[string]bool{}
	for _, src := range l.Files {
		if src.Syntax == nil || seen[src.File] {
			continue
		}
		seen[src.File] = true
		if !strings.Contains(allLines(src.Syntax), waiverMark) { // nearly all files; to ask once is far cheaper than to look at each line
			continue
		}
		for i, line := range src.Syntax.Lines {
			if line.Kind == conf.SysctlComment {
				if rule, reason, ok := parseWaiver(src.Syntax.Text(line.Span)); ok {
					t.Rows = append(t.Rows, waiverRow(src.File, i+1, rule, reason))
				}
			}
		}
	}
	return t
}

// parseWaiver reads "# tcpadvise:ignore RULE reason"; the reason may be missing.
func parseWaiver(comment string) (rule, reason string, ok bool) {
	text, ok := strings.CutPrefix(strings.TrimLeft(comment, "#; \t"), waiverMark)
	if !ok || text != "" && text[0] != ' ' && text[0] != '\t' {
		return "", "", false
	}
	rule, reason, _ = strings.Cut(strings.TrimSpace(text), " ")
	return rule, strings.TrimSpace(reason), true
}

func waiverRow(path string, line int, rule, reason string) advisor.Row {
	o := advisor.Origin{Path: path, Line: line, Column: 1}
	return advisor.Row{Origin: o, Cells: map[string]advisor.Fact{
		"path": advisor.Known(advisor.Text(path), o), "line": advisor.Known(advisor.Int(int64(line)), o),
		"rule": advisor.Known(advisor.Text(rule), o), "reason": advisor.Known(advisor.Text(reason), o),
	}}
}
