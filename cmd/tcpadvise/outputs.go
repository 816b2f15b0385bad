package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// outputs are the pairs of --format and -o, in the order of the command line: -o belongs to the --format before it, or, if
// there is none yet, to the one after it.
type outputs struct {
	formats []string
	list    []output
}

type output struct{ format, path string }

func (o *outputs) register(f *pflag.FlagSet, formats []string) {
	o.formats = formats
	f.Var(formatFlag{o}, "format", "report format: "+strings.Join(formats, ", ")+"; repeatable, each with its -o (default text)")
	f.VarP(pathFlag{o}, "output", "o", "write the report to `FILE` (default: standard output); repeatable")
}

type formatFlag struct{ *outputs }

func (f formatFlag) String() string { return "" }
func (f formatFlag) Type() string   { return "FORMAT" }
func (f formatFlag) Set(s string) error {
	if !slices.Contains(f.formats, s) {
		return fmt.Errorf("known are %s", strings.Join(f.formats, ", "))
	}
	if n := len(f.list); n > 0 && f.list[n-1].format == "" {
		f.list[n-1].format = s
	} else {
		f.list = append(f.list, output{format: s})
	}
	return nil
}

type pathFlag struct{ *outputs }

func (f pathFlag) String() string { return "" }
func (f pathFlag) Type() string   { return "FILE" }
func (f pathFlag) Set(s string) error {
	if s == "" {
		return errors.New("want a file name")
	}
	if n := len(f.list); n > 0 && f.list[n-1].path == "" {
		f.list[n-1].path = s
	} else {
		f.list = append(f.list, output{path: s})
	}
	return nil
}

// verify fills in the defaults and refuses two reports for one place.
func (o *outputs) verify() error {
	if len(o.list) == 0 {
		o.list = []output{{format: "text"}}
	}
	seen := map[string]bool{}
	for i := range o.list {
		if o.list[i].format == "" {
			o.list[i].format = "text"
		}
		place := o.list[i].path
		if seen[place] {
			if place == "" {
				place = "standard output"
			}
			return fmt.Errorf("two reports would go to %s: give each --format its own -o", place)
		}
		seen[place] = true
	}
	return nil
}

// write writes each report as report does in a format, to where it goes.
func (o *outputs) write(a *app, show report.Options, report func(w io.Writer, format string, show report.Options) error) error {
	for _, out := range o.list {
		if out.path == "" {
			show.Color, show.Width = a.terminal()
			if err := report(a.stdout, out.format, show); err != nil {
				return err
			}
			continue
		}
		show.Color, show.Width = a.color == "always", 0
		err := writeFile(out.path, func(w io.Writer) error { return report(w, out.format, show) })
		if err != nil {
			return incomplete(err)
		}
	}
	return nil
}

// writeFile writes beside the target and renames, so that a reader never sees half a file and a full disk leaves the old
// one. What is no regular file, such as /dev/null or a pipe, is written to directly.
func writeFile(path string, write func(io.Writer) error) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, errors.Unwrap(err))
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) // nothing to do about a failure: the message below names the cause
		return fmt.Errorf("cannot write %s, which is unchanged: %w", path, err)
	}
	return nil
}
