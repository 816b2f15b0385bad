package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/report"
	"github.com/tcpadvise/tcpadvise/advisor/ruletest"
	"github.com/tcpadvise/tcpadvise/rules"
)

func (a *app) explainCommand() *cobra.Command {
	var kernel string
	var dirs []string
	cmd := &cobra.Command{
		Use:   "explain SUBJECT",
		Short: "Explain a rule, a kernel parameter, a TCP state or a counter",
		Long:  `explain prints the full page of a rule (AREA/SLUG), a kernel parameter (short or full name), a TCP state or a counter. It needs no host.`,
		Example: `  tcpadvise explain unsafe/tcp-tw-recycle
  tcpadvise explain tcp_tw_recycle
  tcpadvise explain --kernel 3.10 somaxconn
  tcpadvise explain CLOSE_WAIT
  tcpadvise explain ListenOverflows`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.explain(args[0], kernel, dirs) },
		ValidArgsFunction: func(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			set, err := loadRules(nil)
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return slices.Concat(set.IDs(), set.Catalogue.Keys()), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringVar(&kernel, "kernel", "", "say also what holds on this kernel `VERSION`")
	cmd.Flags().StringArrayVar(&dirs, "rules", nil, "know also the rules in `DIR`; repeatable")
	return cmd
}

func (a *app) explain(subject, kernel string, dirs []string) error {
	var version advisor.Version
	if kernel != "" {
		var err error
		if version, err = advisor.ParseVersion(kernel); err != nil {
			return fmt.Errorf("--kernel: %w", err)
		}
	}
	set, err := loadRules(dirs)
	if err != nil {
		return err
	}
	_, width := a.terminal()
	if width <= 0 {
		width = 80
	}
	page, err := explanation(set, subject, version, a.lang, width)
	if err != nil {
		return err
	}
	_, err = io.WriteString(a.stdout, page)
	return err
}

// explanation finds the subject among rules, kernel parameters and topics, in this order.
func explanation(set *advisor.RuleSet, subject string, kernel advisor.Version, lang string, width int) (string, error) {
	if r := set.Rule(subject); r != nil {
		return report.ForTerminal(report.RulePage(r, example(set, r, lang), lang), width), nil
	}
	if keys := parametersNamed(set, subject); len(keys) > 0 {
		var pages []string
		for _, key := range keys {
			p, _ := set.Catalogue.Lookup(key)
			pages = append(pages, report.ParameterPage(p, set, kernel)+rulesInFull(set, key))
		}
		return report.ForTerminal(strings.Join(pages, "\n"), width), nil
	}
	topics, err := advisor.LoadTopics(rules.FS)
	if err != nil {
		return "", err
	}
	if t, ok := advisor.FindTopic(topics, subject); ok {
		return report.TopicPage(t), nil
	}
	return "", unknownSubject(set, topics, subject)
}

// parametersNamed finds a kernel parameter by its full name, with dots or slashes, or by its last part.
func parametersNamed(set *advisor.RuleSet, subject string) []string {
	name := strings.ReplaceAll(strings.TrimPrefix(subject, "/proc/sys/"), "/", ".")
	var found []string
	for _, key := range set.Catalogue.Keys() {
		if key == name {
			return []string{key}
		}
		if strings.HasSuffix(key, "."+name) {
			found = append(found, key)
		}
	}
	return found
}

// rulesInFull appends what the rules that would change a key say of it: the page must answer "what instead" by itself.
func rulesInFull(set *advisor.RuleSet, key string) string {
	var b strings.Builder
	for _, r := range set.Rules {
		if slices.ContainsFunc(r.Body().Wants, func(w string) bool { return strings.HasPrefix(w, "sysctl:"+key) }) {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n", r.ID, r.Body().Why)
			if d := example(set, r, "en"); d != nil {
				for _, s := range d.Findings[0].Do {
					fmt.Fprintf(&b, "* do: %s\n", s)
				}
				for _, s := range d.Findings[0].Dont {
					fmt.Fprintf(&b, "* not: %s\n", s)
				}
			}
		}
	}
	return b.String()
}

// example judges the rule's first firing test case, in a language; nil where it has none (a user's rule without tests).
func example(set *advisor.RuleSet, r *advisor.Rule, lang string) *advisor.Diagnosis {
	cases, err := ruletest.Load(rules.FS, set, r.ID)
	if err != nil {
		return nil
	}
	for _, c := range cases {
		if c.Expect == "firing" {
			c.Lang = lang
			if d := c.Judge(set); len(d.Findings) > 0 {
				return d
			}
		}
	}
	return nil
}

func unknownSubject(set *advisor.RuleSet, topics []advisor.Topic, subject string) error {
	candidates := slices.Concat(set.IDs(), set.Catalogue.Keys())
	for _, key := range set.Catalogue.Keys() {
		candidates = append(candidates, key[strings.LastIndexByte(key, '.')+1:])
	}
	for _, t := range topics {
		candidates = append(candidates, t.Name)
	}
	hint := "; 'tcpadvise rules list' names the rules"
	var near []string
	for _, c := range candidates {
		if strings.Contains(strings.ToLower(c), strings.ToLower(subject)) && len(near) < 5 {
			near = append(near, c)
		}
	}
	if n := advisor.Nearest(subject, candidates); n != "" {
		near = []string{n}
	}
	if len(near) > 0 {
		hint = "; near are " + strings.Join(near, ", ")
	}
	return errors.New("nothing is known of " + fmt.Sprintf("%q", subject) + hint)
}
