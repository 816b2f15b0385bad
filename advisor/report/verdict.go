package report

import "github.com/tcpadvise/tcpadvise/advisor"

// summary is what was judged, in one line: findings first, then rules.
func (p *printer) summary(d *advisor.Diagnosis, below int, o Options) {
	s := d.Summary
	var found, rules []string
	add := func(list *[]string, n int, one, many string) {
		if n > 0 {
			*list = append(*list, p.count(n, one, many))
		}
	}
	add(&found, s.Error, "%d error", "%d errors")
	add(&found, s.Warning, "%d warning", "%d warnings")
	add(&found, s.Info, "%d note", "%d notes")
	if len(found) == 0 {
		found = append(found, p.nothing(d))
	} else {
		add(&rules, s.Quiet, "%d rule quiet", "%d rules quiet")
	}
	add(&found, s.Waived, "%d waived", "%d waived")
	add(&rules, s.NotApplicable, "%d does not apply", "%d do not apply")
	add(&rules, s.Unknown, "%d undecided", "%d undecided")
	add(&rules, s.Skipped, "%d skipped", "%d skipped")
	p.space()
	p.line(0, p.pieces(found, rules))
	if below > 0 {
		p.line(0, prose(p.count(below, "%d finding below %s is not shown", "%d findings below %s are not shown", o.MinSeverity)))
	}
}

// pieces joins two lists, the second after a semicolon. A number is never parted from what it counts.
func (p *printer) pieces(lists ...[]string) []word {
	var words []word
	for _, list := range lists {
		for i, piece := range list {
			if len(words) > 0 && i == 0 {
				words = tail(words, p.say(";"))
			} else if len(words) > 0 {
				words = tail(words, p.say(","))
			}
			words = append(words, whole(piece))
		}
	}
	return words
}

// nothing says how much silence is worth: it is no praise where little was judged.
func (p *printer) nothing(d *advisor.Diagnosis) string {
	judged := map[string]bool{} // a rule with a waived finding was judged too
	for _, f := range d.Findings {
		judged[f.Rule] = true
	}
	n := d.Summary.Quiet + len(judged)
	switch {
	case n == 0:
		return p.say("no rule was judged")
	case d.Summary.Unknown > 0 || len(d.Gaps) > 0:
		return p.count(n, "no finding in what could be read: %d rule judged", "no finding in what could be read: %d rules judged")
	}
	return p.count(n, "no finding: %d rule judged", "no finding: %d rules judged")
}

// verdict is the exit code in words. It repeats the diagnosis's verdict and never computes its own.
func (p *printer) verdict(d *advisor.Diagnosis, quiet bool) {
	var look style
	var text string
	switch n, known := gating(d); d.Summary.Verdict {
	case advisor.VerdictFail:
		look, text = isError, p.count(n, "fails: %d finding at or above %s", "fails: %d findings at or above %s", d.Summary.FailOn)
	case advisor.VerdictIncomplete:
		look, text = isWarning, p.count(len(d.Gaps), "incomplete: %d input could not be read", "incomplete: %d inputs could not be read")
		if n > 0 {
			text += p.say("; ") + p.count(n, "%d finding at or above %s", "%d findings at or above %s", d.Summary.FailOn)
		}
	default:
		look, text = p.passes(d, n+known)
	}
	if quiet {
		p.space()
	}
	p.line(0, styled(look, prose(text)...))
}

// gating counts the findings at or above the gate, those that a baseline knows apart; 0 where there is no gate ("never").
func gating(d *advisor.Diagnosis) (fresh, known int) {
	gate, err := advisor.ParseSeverity(d.Summary.FailOn)
	for _, f := range d.Findings {
		switch {
		case err != nil || f.Waived != nil || f.Severity < gate:
		case f.Known:
			known++
		default:
			fresh++
		}
	}
	return fresh, known
}

// passes words a pass with its reservations; only one without any is green.
func (p *printer) passes(d *advisor.Diagnosis, gating int) (style, string) {
	s := d.Summary
	text := p.say("passes: no finding at or above %s", s.FailOn)
	switch {
	case s.Quiet+s.Error+s.Warning+s.Info+s.Waived == 0:
		return plain, p.say("passes: nothing was found because nothing was judged")
	case s.FailOn == "never":
		text = p.say("passes: --fail-on never")
	case gating > 0: // a baseline knows them
		text = p.say("passes: no new finding at or above %s", s.FailOn)
	case s.Waived > 0:
		text = p.say("passes: no unwaived finding at or above %s", s.FailOn)
	}
	var but []string
	if s.Unknown > 0 {
		but = append(but, p.count(s.Unknown, "%d rule is undecided", "%d rules are undecided"))
	}
	if len(d.Gaps) > 0 {
		but = append(but, p.count(len(d.Gaps), "%d input was not read", "%d inputs were not read"))
	}
	if len(but) == 0 {
		return isPass, text
	}
	return plain, text + p.say("; ") + p.join(but)
}
