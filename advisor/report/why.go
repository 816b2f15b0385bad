package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// WriteWhy writes the story of one kernel parameter as text. Colour and width are those of the options.
func WriteWhy(w io.Writer, y *advisor.Why, o Options) error {
	p := &printer{limit: cmp.Or(o.Width, defaultWidth), colour: o.Color}
	p.line(0, styled(isRule, whole(y.Key)))
	p.fact("running", whyRunning(y))
	p.fact("kernel's own", whyDefault(y))
	p.fact("after a boot", whyOutcome(y.Boot))
	if y.Reload.Loader != "" {
		p.fact("after reload", whyOutcome(y.Reload))
	} else if y.ReloadWhy != "" {
		p.fact("after reload", "no such command: "+y.ReloadWhy)
	}
	if slices.Equal(y.Boot.Steps, y.Reload.Steps) && y.Reload.Loader != "" {
		p.story(y.Boot.Loader+" (boot) and "+y.Reload.Loader+" read alike", y.Boot)
	} else {
		p.story(y.Boot.Loader+" (boot)", y.Boot)
		if y.Reload.Loader != "" && y.Reload.Loader != y.Boot.Loader {
			p.story(y.Reload.Loader, y.Reload)
		}
	}
	if len(y.Others) > 0 {
		p.space()
		p.line(0, prose("set elsewhere too:"))
		for _, other := range y.Others {
			text := other.Who
			if other.Value != "" {
				text = shownText(other.Value) + " by " + text
			}
			p.line(2, append(prose(text), parenthesised([]word{whole(other.Place)})...))
		}
	}
	if len(y.Notes) > 0 {
		p.space()
		for _, note := range y.Notes {
			p.line(0, append(styled(isWarning, whole("note:")), prose(note)...))
		}
	}
	if len(y.Gaps) > 0 {
		p.space()
		p.inputs(p.count(len(y.Gaps), "%d input could not be read:", "%d inputs could not be read:"), y.Gaps)
	}
	p.space()
	p.line(0, styled(isFaint, append(prose("what it does:"), whole("tcpadvise explain "+y.Key))...))
	_, err := w.Write(p.buf.Bytes())
	return err
}

// fact writes one labelled line.
func (p *printer) fact(label, text string) {
	const column = 15
	p.buf.WriteString("  " + isFaint.paint(p.colour, label+":"))
	for n := 2 + len(label) + 1; n < 2+column; n++ {
		p.buf.WriteByte(' ')
	}
	p.fill(2+column, 2+column, prose(text))
}

func whyRunning(y *advisor.Why) string {
	switch y.Running.State {
	case advisor.StateKnown:
		return shownText(y.Running.Value.String())
	case advisor.StateAbsent:
		return "nothing: " + cmp.Or(y.Running.Why, "this kernel has no such key")
	case advisor.StateUnknown:
	}
	return "unknown: " + y.Running.Why
}

func whyDefault(y *advisor.Why) string {
	text := "not known"
	if !y.Default.IsZero() {
		text = shownText(y.Default.String())
	}
	if y.DefaultNote != "" {
		text += ", " + y.DefaultNote
	}
	return fmt.Sprintf("%s (Linux %s)", text, y.Kernel)
}

func whyOutcome(l advisor.WhyLoad) string {
	if step, ok := l.Winning(); ok {
		return fmt.Sprintf("%s, by %s:%d (%s)", shownText(step.Value), step.Path, step.Line, l.Loader)
	}
	return fmt.Sprintf("no file sets it (%s)", l.Loader)
}

// story lists the lines in the order read; an arrow marks the one that wins.
func (p *printer) story(title string, l advisor.WhyLoad) {
	if len(l.Steps) == 0 {
		return
	}
	p.space()
	p.line(0, prose(title+":"))
	for _, s := range l.Steps {
		mark := "  "
		if s.Won {
			mark = "> "
		}
		p.buf.WriteString(mark)
		words := []word{whole(fmt.Sprintf("%s:%d", s.Path, s.Line))}
		setting := "-" + s.Key
		if !s.Exclude {
			setting = s.Key + " = " + shownText(s.Value)
		}
		words = append(words, prose(setting)...)
		fate := prose(s.Fate)
		if s.Won {
			fate = styled(isAction, fate...)
		}
		words = append(tail(words, ":"), fate...)
		if s.As != "" {
			words = append(words, styled(isFaint, parenthesised(append(prose("read as"), whole(s.As)))...)...)
		}
		p.fill(2, 6, words)
	}
}

func shownText(s string) string { return shown(advisor.Text(s)) }
