package report

import (
	"fmt"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// Brief is the answer in one line, for those who have but one: the verdict as the text report ends, then what decided it, the
// worst first, or what was waived.
func Brief(d *advisor.Diagnosis) string {
	const most = 3
	var why []string
	for _, g := range d.Gaps {
		why = append(why, escape(g.Source+": "+g.Why))
	}
	for _, f := range d.Findings {
		if gates(d, f) {
			why = append(why, escape(strings.Join(strings.Fields(f.Rule+" "+subjectText(f)), " ")+": "+f.Message))
		}
	}
	if len(why) == 0 {
		for _, f := range d.Findings {
			if f.Waived != nil {
				why = append(why, escape(f.Rule+" is waived: "+*f.Waived))
			}
		}
	}
	if more := len(why) - most; more > 1 { // one more is as short as to say so
		why = append(why[:most:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(append([]string{verdictText(d)}, why...), "; ")
}
