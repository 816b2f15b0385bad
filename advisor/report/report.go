package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// Options say how a report looks. None of them changes what was found, or the verdict.
type Options struct {
	Color        bool             // write SGR codes; text only
	Width        int              // columns of the text; 0: 80; negative: lines are not wrapped
	Quiet        bool             // text: only the findings and the verdict
	MinSeverity  advisor.Severity // text: hide the findings below it, and say how many; 0: show all
	Tool         string           // version of tcpadvise; empty: not said
	RulesVersion string           // version of the rule set; empty: not said
	Rules        *advisor.RuleSet // sarif: where the rules' reasons and sources are taken from; nil: they are left out
	Lang         string           // "zh": the text's own words are Chinese; anything else: English
}

// format writes one kind of thing.
type format[T any] func(w io.Writer, v T, o Options) error

// formats is the one list of formats. It is a function because a package variable could be written to.
func formats() map[string]format[*advisor.Diagnosis] {
	return map[string]format[*advisor.Diagnosis]{
		"html":       writeHTML,
		"json":       writeJSON,
		"junit":      writeJUnit,
		"markdown":   writeMarkdown,
		"prometheus": writePrometheus,
		"sarif":      writeSARIF,
		"text":       writeText,
	}
}

// Formats lists the names that Write takes, sorted.
func Formats() []string { return slices.Sorted(maps.Keys(formats())) }

// Write writes d in the named format. On an unknown format nothing is written.
func Write(w io.Writer, format string, d *advisor.Diagnosis, o Options) error {
	return writeAs(w, formats(), format, d, o)
}

func writeAs[T any](w io.Writer, formats map[string]format[T], name string, v T, o Options) error {
	write, ok := formats[name]
	if !ok {
		return fmt.Errorf("there is no format %q: choose one of %s", name, strings.Join(slices.Sorted(maps.Keys(formats)), ", "))
	}
	if err := write(w, v, o); err != nil {
		return fmt.Errorf("write the report as %s: %w", name, err)
	}
	return nil
}
