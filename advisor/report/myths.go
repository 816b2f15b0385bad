package report

import (
	"fmt"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// MythsPage is docs/myths.md: what people believe, what is true, and where the reasons stand.
func MythsPage(myths []advisor.Myth) string {
	var b strings.Builder
	b.WriteString("# Myths\n\nWhat many guides say of TCP on Linux, and what is true. The last column has the reasons and the versions; " +
		"`tcpadvise explain` prints each of them. Where it is a rule, `tcpadvise check` says so about the line at hand.\n\n" +
		"| people say | but | see |\n|---|---|---|\n")
	for _, m := range myths {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m.Claim, m.Truth, mythAnswer(m))
	}
	return b.String()
}

func mythAnswer(m advisor.Myth) string {
	switch {
	case m.Rule != "":
		return fmt.Sprintf("[%s](rules/%s.md)", m.Rule, m.Rule)
	case m.Key != "":
		return fmt.Sprintf("[%s](sysctls.md#%s)", m.Key, strings.ReplaceAll(m.Key, ".", ""))
	}
	return "`tcpadvise explain " + m.Topic + "`"
}
