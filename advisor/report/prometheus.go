package report

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// family is one metric with its samples: the value by the labels as they are written.
type family struct {
	name, help string
	samples    map[string]int64
}

func newFamily(name, help string) *family {
	return &family{name: "tcpadvise_" + name, help: help, samples: map[string]int64{}}
}

// add adds to a sample; labels are pairs of name and value. What looks the same is one sample, as it must be.
func (f *family) add(n int64, labels ...string) *family {
	f.samples[labelled(labels)] += n
	return f
}

// labelled writes labels as the format has them.
func labelled(pairs []string) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	var list []string
	for pair := range slices.Chunk(pairs, 2) {
		list = append(list, pair[0]+`="`+quote.Replace(escape(pair[1]))+`"`)
	}
	if len(list) == 0 {
		return ""
	}
	return "{" + strings.Join(list, ",") + "}"
}

// writePrometheus writes the text exposition format for node_exporter's textfile collector. It has no time: the collector
// publishes that of the file. What was not read has no sample, rather than a zero, and is counted beside.
func writePrometheus(w io.Writer, d *advisor.Diagnosis, o Options) error {
	var buf bytes.Buffer
	families := slices.Concat(findingMetrics(d), ruleMetrics(d), inputMetrics(d), []*family{
		newFamily("info", "Version of tcpadvise and of its rules, and the kernel that was judged.").
			add(1, "version", o.Tool, "rules", o.RulesVersion, "kernel", d.Host.Kernel),
	})
	slices.SortFunc(families, func(a, b *family) int { return strings.Compare(a.name, b.name) })
	for _, f := range families {
		fmt.Fprintf(&buf, "# HELP %s %s\n# TYPE %s gauge\n", f.name, f.help, f.name)
		for _, labels := range slices.Sorted(maps.Keys(f.samples)) {
			fmt.Fprintf(&buf, "%s%s %d\n", f.name, labels, f.samples[labels])
		}
	}
	_, err := w.Write(buf.Bytes())
	return err
}

func findingMetrics(d *advisor.Diagnosis) []*family {
	findings := newFamily("findings", "Unwaived findings by rule and severity.")
	bySeverity := newFamily("findings_by_severity", "Unwaived findings by severity.")
	gating := newFamily("findings_gating", "Findings that count for the gate: at or above its severity, neither waived nor known to the baseline.").add(0)
	known := newFamily("findings_known", "Unwaived findings that the baseline knows, by rule and severity.")
	waived := newFamily("findings_waived", "Waived findings by rule and severity.")
	for _, s := range []advisor.Severity{advisor.SeverityInfo, advisor.SeverityWarning, advisor.SeverityError} {
		bySeverity.add(0, "severity", s.String())
	}
	for _, f := range d.Findings {
		labels := []string{"rule", f.Rule, "severity", f.Severity.String()}
		if f.Waived != nil {
			waived.add(1, labels...)
			continue
		}
		findings.add(1, labels...)
		bySeverity.add(1, "severity", f.Severity.String())
		if f.Known {
			known.add(1, labels...)
		}
		if gates(d, f) {
			gating.add(1)
		}
	}
	return []*family{findings, bySeverity, gating, known, waived}
}

func ruleMetrics(d *advisor.Diagnosis) []*family {
	s := d.Summary
	rules := newFamily("rules", "Rules by what became of them; one that fires on one thing may be undecided on another.").
		add(int64(firing(d)), "verdict", "firing").add(int64(s.Quiet), "verdict", "quiet").
		add(int64(s.NotApplicable), "verdict", "not_applicable").
		add(int64(s.Unknown), "verdict", "undecided").add(int64(s.Skipped), "verdict", "skipped")
	undecided := newFamily("undecided", "1 for each rule that could not be judged.")
	for _, u := range d.Unknown {
		undecided.samples[labelled([]string{"rule", u.Rule})] = 1
	}
	verdict := newFamily("verdict", "1 for the verdict of the run, 0 for the others.")
	for _, v := range []advisor.Verdict{advisor.VerdictPass, advisor.VerdictFail, advisor.VerdictIncomplete} {
		verdict.add(0, "verdict", string(v))
	}
	verdict.add(1, "verdict", string(s.Verdict))
	conflicts := newFamily("conflicts", "Settings that findings disagree on, so that no change is proposed.").add(int64(len(d.Conflicts)))
	return []*family{rules, undecided, verdict, conflicts}
}

func inputMetrics(d *advisor.Diagnosis) []*family {
	sockets := newFamily("sockets", "TCP sockets by state; a state that was not counted has no sample.")
	for state, n := range d.Sockets {
		sockets.add(n, "state", state)
	}
	return []*family{
		sockets,
		newFamily("sockets_uncounted", "TCP states whose sockets were not counted.").add(int64(len(unread(d)))),
		newFamily("gaps", "Inputs that were asked for and could not be read.").add(int64(len(d.Gaps))),
		newFamily("notices", "Things that were not read, and not asked for.").add(int64(len(d.Notices))),
	}
}
