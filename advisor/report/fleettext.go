package report

import (
	"cmp"
	"io"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// perFinding is how many wordings of one rule's findings are shown: where each host has numbers of its own, a few tell it.
const perFinding = 3

// writeFleetText writes what many hosts have in common, from the worst, and last the answer.
func writeFleetText(w io.Writer, r *advisor.FleetReport, o Options) error {
	p := &printer{limit: cmp.Or(o.Width, defaultWidth), colour: o.Color}
	if o.Lang == "zh" {
		p.zh = chinese()
	}
	if !o.Quiet {
		p.fleetHead(r)
	}
	below := 0
	for i := range r.Findings {
		switch f := &r.Findings[i]; {
		case len(f.Hosts) == 0: // all waived
		case f.Severity < o.MinSeverity:
			below++
		default:
			p.fleetFinding(f, len(r.Hosts))
		}
	}
	p.inputs(p.count(len(r.Unread), "%d capture could not be read:", "%d captures could not be read:"), r.Unread)
	if !o.Quiet {
		p.fleetSettings(r)
		p.fleetWaived(r)
		p.fleetUndecided(r)
		p.fleetGaps(p.count(len(r.Gaps), "%d input could not be read:", "%d inputs could not be read:"), r.Gaps, len(r.Hosts))
		p.fleetConflicts(r)
		p.fleetGaps(p.say("not read, and not asked for:"), r.Notices, len(r.Hosts))
		p.space()
		if below > 0 {
			p.line(0, prose(p.count(below, "%d finding below %s is not shown", "%d findings below %s are not shown", o.MinSeverity)))
		}
	} else {
		p.space()
	}
	look, text := p.fleetVerdict(r)
	p.line(0, styled(look, prose(text)...))
	_, err := w.Write(p.buf.Bytes())
	return err
}

// onHosts tells where: all of them, as many, or which ones where they are few.
func (p *printer) onHosts(hosts []string, all int) []word {
	if len(hosts) == all && all > perGroup {
		return prose(p.say("on all %d hosts", all))
	}
	if len(hosts) > perGroup {
		return prose(p.say("on %d of %d hosts", len(hosts), all))
	}
	return append(prose(p.say("on")), p.names(hosts)...)
}

func (p *printer) fleetHead(r *advisor.FleetReport) {
	s := r.Summary
	var verdicts []string
	add := func(n int, one, many string) {
		if n > 0 {
			verdicts = append(verdicts, p.count(n, one, many))
		}
	}
	add(s.Fail, "%d fails", "%d fail")
	add(s.Incomplete, "%d incomplete", "%d incomplete")
	add(s.Pass, "%d passes", "%d pass")
	hosts := p.count(s.Hosts, "%d host", "%d hosts")
	if len(verdicts) > 0 {
		hosts += p.say(": ") + p.join(verdicts)
	}
	p.line(0, prose(hosts))
	p.mixture(p.say("kernels:"), r.Kernels, s.Hosts)
	p.mixture(p.say("systems:"), r.Systems, s.Hosts)
}

// mixture lists values and who has them; nothing where nobody differs.
func (p *printer) mixture(label string, values []advisor.FleetValue, all int) {
	if len(values) > 1 {
		p.line(0, append([]word{whole(label)}, p.valueList(values, all)...))
	}
}

// valueList writes "VALUE on HOSTS; VALUE on HOSTS".
func (p *printer) valueList(values []advisor.FleetValue, all int) []word {
	var words []word
	for i, v := range values {
		if i > 0 {
			words = tail(words, p.say(";"))
		}
		switch {
		case v.Value == nil:
			words = append(words, prose(p.say("the default, which each kernel computes,"))...)
		case v.Value.String() == "":
			words = append(words, prose(p.say("unknown"))...)
		default:
			words = append(words, prose(shown(*v.Value))...)
			if v.Default {
				words = append(words, prose(p.say("(default)"))...)
			}
		}
		words = append(words, p.onHosts(v.Hosts, all)...)
	}
	return words
}

func (p *printer) fleetFinding(f *advisor.FleetFinding, all int) {
	p.space()
	name, look := p.severity(f.Severity)
	words := append(styled(look, whole(name)), styled(isRule, whole(f.Rule))...)
	words = append(words, prose(p.say("on %d of %d hosts", len(f.Hosts), all))...)
	if f.Few {
		words = append(words, styled(isFaint, parenthesised(prose(p.say("on few only")))...)...)
	}
	p.line(0, words)
	for i, m := range f.Messages {
		if i == perFinding && len(f.Messages) > perFinding+1 {
			p.line(2, prose(p.say("and %d more like it, with other numbers or subjects", len(f.Messages)-i)))
			break
		}
		p.block(2, prose(m.Message))
		where := p.onHosts(m.Hosts, all)
		if m.Path != "" {
			where = append(tail(where, p.say(",")), prose(p.say("in"))...)
			where = append(where, whole(m.Path))
		}
		if m.Severity != f.Severity {
			name, look := p.severity(m.Severity)
			where = append(where, styled(look, parenthesised([]word{whole(name)})...)...)
		}
		p.line(4, where)
		for _, c := range m.Changes {
			p.item(4, p.say("change:"), isAction, p.change(c))
		}
	}
	for _, s := range f.Do {
		p.item(2, p.say("do:"), isAction, code(s))
	}
	for _, s := range f.Dont {
		p.item(2, p.say("not:"), isWarning, prose(s))
	}
}

func (p *printer) fleetSettings(r *advisor.FleetReport) {
	if len(r.Settings) == 0 {
		return
	}
	p.space()
	p.line(0, prose(p.count(len(r.Settings), "the hosts differ in %d kernel parameter:", "the hosts differ in %d kernel parameters:")))
	for _, s := range r.Settings[:min(len(r.Settings), perRule)] {
		p.line(2, append([]word{whole(s.Key + p.say(":"))}, p.valueList(s.Values, len(r.Hosts))...))
	}
	p.more(2, len(r.Settings)-perRule)
}

func (p *printer) fleetWaived(r *advisor.FleetReport) {
	var lines [][]word
	for _, f := range r.Findings {
		for _, w := range f.Waived {
			words := append([]word{whole(f.Rule)}, p.onHosts(w.Hosts, len(r.Hosts))...)
			lines = append(lines, append(tail(words, p.say(":")), prose(w.Reason)...))
		}
	}
	p.listing(p.count(len(lines), "%d waiver holds:", "%d waivers hold:"), lines)
}

// listing writes a heading and a line for each item.
func (p *printer) listing(heading string, lines [][]word) {
	if len(lines) == 0 {
		return
	}
	p.space()
	p.line(0, prose(heading))
	for _, words := range lines[:min(len(lines), perRule)] {
		p.line(2, words)
	}
	p.more(2, len(lines)-perRule)
}

// fleetUndecided puts together the rules that are undecided on the same hosts for the same reason.
func (p *printer) fleetUndecided(r *advisor.FleetReport) {
	var lines [][]word
	for _, g := range undecidedTogether(r.Unknown) {
		why := parenthesised(prose(cmp.Or(g.Why, p.say("for no stated reason"))))
		words := append(p.onHosts(g.Hosts, len(r.Hosts)), why...)
		lines = append(lines, append(tail(words, p.say(":")), p.names(g.Rules)...))
	}
	p.listing(p.count(r.Summary.Unknown, "%d rule undecided:", "%d rules undecided:"), lines)
}

// together are rules that are undecided on the same hosts for the same reason.
type together struct {
	Why          string
	Rules, Hosts []string
}

func undecidedTogether(all []advisor.FleetUndecided) []together {
	var out []together
	at := map[string]int{}
	for _, u := range all {
		key := u.Why + "\x00" + strings.Join(u.Hosts, "\x00")
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, together{Why: u.Why, Hosts: u.Hosts})
		}
		out[i].Rules = append(out[i].Rules, u.Rule)
	}
	return out
}

func (p *printer) fleetGaps(heading string, all []advisor.FleetGap, hosts int) {
	var lines [][]word
	for _, g := range all {
		words := append([]word{whole(g.Source + p.say(":"))}, prose(g.Why)...)
		lines = append(lines, append(tail(words, p.say(",")), p.onHosts(g.Hosts, hosts)...))
	}
	p.listing(heading, lines)
}

func (p *printer) fleetConflicts(r *advisor.FleetReport) {
	var lines [][]word
	for _, c := range r.Conflicts {
		words := append([]word{whole(strings.TrimPrefix(c.Setting, "sysctl:") + p.say(":"))}, prose(c.Why)...)
		words = append(words, parenthesised(p.names(c.Rules))...)
		lines = append(lines, append(tail(words, p.say(",")), p.onHosts(c.Hosts, len(r.Hosts))...))
	}
	p.listing(p.count(len(lines), "findings disagree on %d setting; no change is proposed:", "findings disagree on %d settings; no change is proposed:"), lines)
}

// fleetVerdict is the exit code in words. It repeats the report's verdict.
func (p *printer) fleetVerdict(r *advisor.FleetReport) (style, string) {
	s := r.Summary
	switch {
	case s.Verdict == advisor.VerdictFail:
		return isError, p.count(s.Fail, "fails: %d host has findings at or above %s", "fails: %d hosts have findings at or above %s", s.FailOn)
	case s.Verdict == advisor.VerdictIncomplete:
		var why []string
		if s.Unread > 0 {
			why = append(why, p.count(s.Unread, "%d capture could not be read", "%d captures could not be read"))
		}
		if s.Incomplete > 0 {
			why = append(why, p.count(s.Incomplete, "%d host could not be read in full", "%d hosts could not be read in full"))
		}
		if s.Fail > 0 {
			why = append(why, p.count(s.Fail, "%d host has findings at or above %s", "%d hosts have findings at or above %s", s.FailOn))
		}
		return isWarning, p.say("incomplete: %s", strings.Join(why, p.say("; ")))
	case s.Hosts == 0:
		return plain, p.say("passes: nothing was found because nothing was judged")
	case s.FailOn == "never":
		return plain, p.say("passes: --fail-on never")
	}
	text := p.count(s.Hosts, "passes: no finding at or above %[2]s on %[1]d host", "passes: no finding at or above %[2]s on %[1]d hosts", s.FailOn)
	if s.Waived > 0 {
		text = p.count(s.Hosts, "passes: no unwaived finding at or above %[2]s on %[1]d host", "passes: no unwaived finding at or above %[2]s on %[1]d hosts", s.FailOn)
	}
	var but []string
	if s.Unknown > 0 {
		but = append(but, p.count(s.Unknown, "%d rule is undecided", "%d rules are undecided"))
	}
	if n := s.Unread + len(r.Gaps); n > 0 {
		but = append(but, p.count(n, "%d input was not read", "%d inputs were not read"))
	}
	if len(but) == 0 {
		return isPass, text
	}
	return plain, text + p.say("; ") + p.join(but)
}
