package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/ruletest"
	"github.com/tcpadvise/tcpadvise/rules"
)

// ruleDir is a user's rule directory that knows its name, for messages.
type ruleDir struct {
	fs.FS
	name string
}

func (d ruleDir) Name() string { return strings.TrimSuffix(d.name, "/") }

func ruleDirs(names []string) ([]fs.FS, error) {
	var dirs []fs.FS
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("rule directory %s: %w", name, errors.Unwrap(err))
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("rule directory %s is no directory: name the one that holds AREA/SLUG.yaml", name)
		}
		dirs = append(dirs, ruleDir{os.DirFS(name), name})
	}
	return dirs, nil
}

func (a *app) rulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List, check and test rules",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "list [DIR...]",
			Short: "List the built-in rules, and those of the directories",
			RunE: func(_ *cobra.Command, dirs []string) error {
				set, err := loadRules(dirs)
				if err != nil {
					return err
				}
				return a.listRules(set)
			},
		},
		&cobra.Command{
			Use:     "lint DIR...",
			Short:   "Check the rules in directories: all faults with file, line and column",
			Example: `  tcpadvise rules lint ./rules`,
			Args:    cobra.MinimumNArgs(1),
			RunE:    func(_ *cobra.Command, dirs []string) error { return a.lintRules(dirs) },
		},
		&cobra.Command{
			Use:   "test [DIR...]",
			Short: "Run the tests beside the rules: those of the directories, else the built-in ones",
			RunE:  func(_ *cobra.Command, dirs []string) error { return a.testRules(dirs) },
		},
	)
	return cmd
}

func (a *app) listRules(set *advisor.RuleSet) error {
	width := 0
	for _, r := range set.Rules {
		width = max(width, len(r.ID))
	}
	for _, r := range set.Rules {
		var levels []string
		for _, s := range r.Body().Severities {
			levels = append(levels, s.String())
		}
		if _, err := fmt.Fprintf(a.stdout, "%-*s  %-18s  %s\n", width, r.ID, strings.Join(levels, "/"), r.Body().Title); err != nil {
			return err
		}
	}
	return nil
}

// isWholeSet recognises the one directory that brings its own vocabulary: the source of the built-in set.
func isWholeSet(dirs []string) bool {
	_, err := os.Stat(filepath.Join(dirs[0], "facts.yaml"))
	return len(dirs) == 1 && err == nil
}

func loadForLint(dirs []string) (*advisor.RuleSet, error) {
	if isWholeSet(dirs) {
		return advisor.Load(os.DirFS(dirs[0]))
	}
	return loadRules(dirs)
}

// lintRules reports faults as findings of the lint: exit 1, on standard output.
func (a *app) lintRules(dirs []string) error {
	set, err := loadForLint(dirs)
	if err == nil {
		err = set.Check()
	}
	var faults advisor.LoadErrors
	switch {
	case errors.As(err, &faults):
		a.code = exitFail
		_, err := fmt.Fprintln(a.stdout, faults.Error())
		return err
	case err != nil:
		return err
	}
	own := 0
	for _, r := range set.Rules {
		if isWholeSet(dirs) || slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(r.Path, strings.TrimSuffix(dir, "/")+"/") }) {
			own++
		}
	}
	_, err = fmt.Fprintf(a.stdout, "%d rules checked, no fault\n", own)
	return err
}

func (a *app) testRules(dirs []string) error {
	set, err := loadRules(dirs)
	if err != nil {
		return err
	}
	sources, err := ruleDirs(dirs)
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		sources = []fs.FS{rules.FS}
	}
	run, failed := 0, 0
	for _, dir := range sources {
		for _, rule := range set.Rules {
			if _, err := fs.Stat(dir, rule.ID+".yaml"); err != nil {
				continue
			}
			cases, err := ruletest.Load(dir, set, rule.ID)
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%s has no test: write %s_test.yaml", rule.ID, rule.ID)
			}
			if err != nil {
				failed++
				fmt.Fprintln(a.stdout, err)
				continue
			}
			for _, c := range cases {
				run++
				if faults := c.Run(set); len(faults) > 0 {
					failed++
					fmt.Fprintf(a.stdout, "%s:%d: %s: %s\n", c.Path, c.Line, c.Name, strings.Join(faults, "; "))
				}
			}
		}
	}
	if failed > 0 {
		a.code = exitFail
	}
	_, err = fmt.Fprintf(a.stdout, "%d cases run, %d failed\n", run, failed)
	return err
}
