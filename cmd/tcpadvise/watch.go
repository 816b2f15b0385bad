package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/host"
	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// watchedRules are those about sockets and queues: what moves.
func watchedRules() []string {
	return []string{"close-wait/*", "time-wait/*", "fin-wait2/*", "established/*", "queue/*", "ports/*", "fd/*"}
}

func (a *app) watchCommand() *cobra.Command {
	var observe observation
	interval := 2 * time.Second
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show the judgement of sockets, refreshed on a terminal",
		Long: `watch judges the sockets of this host again and again: the number in each state with its change since the picture before and
within a minute, the worst groups, and the findings, one line each. q or Ctrl-C ends it. Where standard output is no terminal it
prints one picture.`,
		Example: `  tcpadvise watch
  tcpadvise watch --interval 5s
  sudo tcpadvise watch --netns web`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.watch(cmd.Context(), observe, interval)
		},
	}
	cmd.Flags().Var((*sampleFlag)(&interval), "interval", "`DURATION` from picture to picture (default 2s)")
	observe.registerNetns(cmd.Flags())
	return cmd
}

func (a *app) watch(ctx context.Context, observe observation, interval time.Duration) error {
	const shortest = 100 * time.Millisecond
	if interval < shortest {
		return fmt.Errorf("--interval wants at least %s", shortest)
	}
	set, err := loadRules(nil)
	if err != nil {
		return err
	}
	h, err := host.Open(host.Options{Catalogue: set.Catalogue, Netns: observe.netns, Follow: true})
	if err != nil {
		return incomplete(err)
	}
	defer h.Abort() // it lets go of what was opened
	w := &watcher{app: a, host: h, set: set, interval: interval}
	out, ok := a.stdout.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		const columns = 80
		frame, err := w.look(ctx)
		if err != nil {
			return err
		}
		frame.Width, frame.Color = columns, a.color == "always"
		_, err = io.WriteString(a.stdout, strings.Join(frame.Lines(), "\n")+"\n")
		return err
	}
	return w.run(ctx, out)
}

// watcher draws one picture after the other.
type watcher struct {
	app      *app
	host     *host.Host
	set      *advisor.RuleSet
	interval time.Duration
	before   []counted // of the last minute, the newest last
}

// counted is how many sockets a picture had in each state.
type counted struct {
	at     time.Time
	states map[string]int64
}

// look reads the host and judges it.
func (w *watcher) look(ctx context.Context) (*report.Frame, error) {
	parts := w.host.Parts(ctx)
	d, _, err := judge(ctx, parts, w.set, advisor.Options{Only: watchedRules(), Lang: w.app.lang})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	name := d.Host.Name
	if d.Host.Netns != "" {
		name += " " + d.Host.Netns
	}
	frame := &report.Frame{Title: "tcpadvise watch  " + name, Clock: now.Format(time.TimeOnly), Diagnosis: d}
	for i, p := range parts {
		place := report.Place{Facts: p.Facts}
		if i > 0 {
			place.Name = p.Name
		}
		frame.Places = append(frame.Places, place)
	}
	w.before = slices.DeleteFunc(w.before, func(c counted) bool { return now.Sub(c.at) > time.Minute })
	if n := len(w.before); n > 0 {
		frame.Before, frame.Minute = w.before[n-1].states, w.before[0].states
	}
	w.before = append(w.before, counted{now, d.Sockets})
	return frame, nil
}

// The sequences of xterm that each terminal over ssh knows (ctlseqs): the alternate screen and the cursor.
const (
	screenOn  = "\x1b[?1049h\x1b[?25l"
	screenOff = "\x1b[?25h\x1b[?1049l"
	home      = "\x1b[H"
	clearEnd  = "\x1b[K"
	clearRest = "\x1b[J"
)

// run draws until a key, a signal or an error ends it. Whatever does, the terminal is as it was.
func (w *watcher) run(ctx context.Context, out *os.File) error {
	keys := make(chan byte)
	if in, ok := w.app.stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		state, err := term.MakeRaw(int(in.Fd()))
		if err == nil { // else q does nothing, and Ctrl-C is a signal
			defer func() { _ = term.Restore(int(in.Fd()), state) }() // a terminal that is gone needs none
			go readKeys(in, keys)
		}
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if _, err := io.WriteString(out, screenOn); err != nil {
		return err
	}
	defer fmt.Fprint(out, screenOff)
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	frame, err := w.look(ctx)
	for {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.draw(out, frame); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case k := <-keys:
			const ctrlC, ctrlD = 3, 4
			if k == 'q' || k == 'Q' || k == ctrlC || k == ctrlD {
				return nil
			}
		case <-resized:
		case <-tick.C:
			frame, err = w.look(ctx)
		}
	}
}

// draw writes one picture over the other, without a blank one between.
func (w *watcher) draw(out *os.File, frame *report.Frame) error {
	columns, lines, err := term.GetSize(int(out.Fd()))
	if err != nil || columns <= 0 || lines <= 0 {
		columns, lines = 80, 24
	}
	// The last column stays free: what is cleared behind a full line would be its last character.
	frame.Width, frame.Height, frame.Keys = columns-1, lines, "q quits"
	frame.Color, _ = w.app.terminal()
	_, err = io.WriteString(out, home+strings.Join(frame.Lines(), clearEnd+"\r\n")+clearEnd+clearRest)
	return err
}

// readKeys hands over what is typed, until the end of the input, which counts as leaving.
func readKeys(in io.Reader, keys chan<- byte) {
	b := make([]byte, 1)
	for {
		n, err := in.Read(b)
		if n > 0 {
			keys <- b[0]
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			keys <- 'q'
			return
		}
	}
}
