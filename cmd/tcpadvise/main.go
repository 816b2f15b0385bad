// Command tcpadvise judges the TCP settings and sockets of a Linux host, or configuration files, and says what to change.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

// The exit codes, as docs/cli.md promises them.
const (
	exitPass       = 0
	exitFail       = 1 // judged, and a finding reaches the gate
	exitUsage      = 2 // wrong usage, a bad configuration or rule set: nothing was judged
	exitIncomplete = 3 // an input that was asked for could not be read
)

// version is stamped at release by -ldflags "-X main.version=...".
var version = "0.1.0-dev"

func main() {
	survivePipes()
	collectLate()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() { // a second signal ends the program at once
		<-ctx.Done()
		stop()
	}()
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// collectLate puts the first garbage collection off until the heap has 16 MB, which most runs never reach; from then on the
// heap may double between two, as usual, and not grow fivefold.
func collectLate() {
	usual := debug.SetGCPercent(400)
	runtime.AddCleanup(new([16]byte), func(percent int) { debug.SetGCPercent(percent) }, usual)
}

// survivePipes lets a reader that leaves be an error of a write, so that the exit code stays the judgement's.
func survivePipes() { signal.Ignore(syscall.SIGPIPE) }

// app is what the commands share: streams, and the exit code that they decide.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	code   int
	color  string
	lang   string
}

// exitError carries an exit code with a failure; the message goes to standard error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func incomplete(err error) error { return &exitError{exitIncomplete, err} }

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	if task, ok := moduleArguments(args); ok {
		return runModule(ctx, task, stdout)
	}
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(stderr, "tcpadvise: internal error: %v\nplease report this with the lines below\n%s", p, debug.Stack())
			code = exitIncomplete
		}
	}()
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return a.code
	case errors.As(err, &exit):
		code = exit.code
	case errors.Is(err, syscall.EPIPE): // the reader has left: it has all that it wanted
		return a.code
	case failedWriting(err):
		code = exitIncomplete
	default:
		code = exitUsage
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "tcpadvise: %s\n", line)
	}
	return code
}

// failedWriting reports that all was judged, and the result could not be handed over, as on a full disk.
func failedWriting(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file) && file.Op == "write"
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tcpadvise",
		Short: "Judge the TCP settings and sockets of a Linux host, and say what to change",
		Long: `tcpadvise reads kernel parameters, limits, counters, sockets and configuration files, evaluates its rules, and prints
findings with their evidence. It tells TIME_WAIT (the kernel's, held by the side that closed first) from CLOSE_WAIT (the
program's: it has not called close), and writes nothing to the host.`,
		Example: `  tcpadvise check                          judge this host
  tcpadvise check /etc/sysctl.d            lint files, no host needed
  tcpadvise explain tcp_tw_recycle         what a kernel parameter does, by version`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&a.color, "color", "auto", "colour the text `WHEN`: auto (on a terminal), always or never")
	root.PersistentFlags().StringVar(&a.lang, "lang", "", "`LANGUAGE` of the text, en or zh (default: the locale)")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.color != "auto" && a.color != "always" && a.color != "never" {
			return fmt.Errorf("--color takes auto, always or never, not %q", a.color)
		}
		switch a.lang {
		case "en", "zh":
		case "":
			a.lang = localeLanguage()
		default:
			return fmt.Errorf("--lang takes en or zh, not %q", a.lang)
		}
		return nil
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())
	})
	root.AddCommand(a.checkCommand(), a.explainCommand(), a.whyCommand(), a.rulesCommand(), a.captureCommand(), a.reportCommand(), a.watchCommand(), a.patchCommand(), a.versionCommand(), a.docsCommand())
	return root
}

// localeLanguage follows setlocale(3): LC_ALL, then LC_MESSAGES, then LANG.
func localeLanguage() string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			if strings.HasPrefix(v, "zh") {
				return "zh"
			}
			return "en"
		}
	}
	return "en"
}

// terminal returns whether standard output is one that shows colour, and its width (0: no terminal).
func (a *app) terminal() (color bool, width int) {
	f, ok := a.stdout.(*os.File)
	if ok && term.IsTerminal(int(f.Fd())) {
		width, _, _ = term.GetSize(int(f.Fd())) // no size: 0, the report's default
		color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	switch a.color {
	case "always":
		color = true
	case "never":
		color = false
	}
	return color, width
}

// loadRules loads the built-in rules and the directories named by the user.
func loadRules(dirs []string) (*advisor.RuleSet, error) {
	more, err := ruleDirs(dirs)
	if err != nil {
		return nil, err
	}
	return advisor.Load(rules.FS, more...)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of the program and of its rule set",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.stdout, "tcpadvise %s\nrules %s\n", version, rules.Version)
			return err
		},
	}
}
