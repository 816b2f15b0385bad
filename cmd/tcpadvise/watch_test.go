package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openPTY returns both ends of a terminal of that size.
func openPTY(t *testing.T, columns, lines uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: lines, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// onTerminal starts the program on a terminal of its own and hands over what it writes.
func onTerminal(t *testing.T, slave *os.File, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "tcpadvise") // by this name the test binary is the program: see TestMain
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = append(os.Environ(), "TERM=xterm", "LANG=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// reader collects what a terminal shows.
type reader struct {
	all  bytes.Buffer
	more chan []byte
}

func readTerminal(master *os.File) *reader {
	r := &reader{more: make(chan []byte)}
	go func() {
		for {
			b := make([]byte, 4096)
			n, err := master.Read(b)
			if n > 0 {
				r.more <- b[:n]
			}
			if err != nil {
				close(r.more)
				return
			}
		}
	}()
	return r
}

// until waits for the n-th occurrence of a text.
func (r *reader) until(t *testing.T, text string, n int) {
	t.Helper()
	late := time.After(20 * time.Second)
	for strings.Count(r.all.String(), text) < n {
		select {
		case b, ok := <-r.more:
			if !ok {
				t.Fatalf("the terminal closed before the %d. %q:\n%q", n, text, r.all.String())
			}
			r.all.Write(b)
		case <-late:
			t.Fatalf("no %d. %q:\n%q", n, text, r.all.String())
		}
	}
}

// However it ends, the terminal is as it was, and the exit code is 0.
func TestWatchRestoresTheTerminal(t *testing.T) {
	for name, end := range map[string]func(*os.File, *exec.Cmd) error{
		"q":       func(m *os.File, _ *exec.Cmd) error { _, err := io.WriteString(m, "q"); return err },
		"Ctrl-C":  func(m *os.File, _ *exec.Cmd) error { _, err := io.WriteString(m, "\x03"); return err },
		"SIGINT":  func(_ *os.File, c *exec.Cmd) error { return c.Process.Signal(syscall.SIGINT) },
		"SIGHUP":  func(_ *os.File, c *exec.Cmd) error { return c.Process.Signal(syscall.SIGHUP) },
		"SIGTERM": func(_ *os.File, c *exec.Cmd) error { return c.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master, slave := openPTY(t, 80, 24)
			before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			cmd := onTerminal(t, slave, "watch", "--interval", "200ms")
			r := readTerminal(master)
			r.until(t, "\x1b[H", 3)
			raw, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil || raw.Lflag&unix.ICANON != 0 {
				t.Errorf("keys wait for Enter: %v", err)
			}
			if err := end(master, cmd); err != nil {
				t.Fatal(err)
			}
			r.until(t, screenOff, 1)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil || *after != *before {
				t.Errorf("terminal %+v, was %+v (%v)", after, before, err)
			}
			text := r.all.String()
			if !strings.HasPrefix(text, screenOn+home) || !strings.HasSuffix(text, screenOff) {
				t.Errorf("%q", text)
			}
			for _, picture := range strings.Split(text, home)[1:] {
				lines := strings.Split(strings.TrimSuffix(picture, screenOff), "\r\n")
				if len(lines) > 24 || !strings.Contains(picture, "CLOSE_WAIT") || !strings.Contains(picture, "q quits") {
					t.Errorf("%d lines: %q", len(lines), picture)
				}
			}
		})
	}
}

// A small terminal, and one that changes its size.
func TestWatchFitsTheTerminal(t *testing.T) {
	master, slave := openPTY(t, 40, 6)
	cmd := onTerminal(t, slave, "watch", "--color", "never", "--interval", "60s")
	r := readTerminal(master)
	r.until(t, clearRest, 1)
	first := r.all.String()
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	r.until(t, clearRest, 2)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.until(t, screenOff, 1)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	_, picture, _ := strings.Cut(first, home)
	lines := strings.Split(picture, "\r\n")
	if len(lines) > 6 {
		t.Errorf("%d lines on a terminal of 6", len(lines))
	}
	for _, line := range lines {
		line = strings.NewReplacer(clearEnd, "", clearRest, "").Replace(line)
		if len(line) > 39 {
			t.Errorf("%d columns on a terminal of 40: %q", len(line), line)
		}
	}
	if second := r.all.String()[len(first):]; strings.Count(second, "\r\n") < 7 || !strings.Contains(second, "TIME_WAIT") {
		t.Errorf("after the resize: %q", second)
	}
}

func TestSampleFlag(t *testing.T) {
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "5": 5 * time.Second, "500ms": 500 * time.Millisecond, "0": 0} {
		var s sampleFlag
		if err := s.Set(text); err != nil || time.Duration(s) != want {
			t.Errorf("%s: %s, %v", text, time.Duration(s), err)
		}
	}
	for _, text := range []string{"", "x", "-1s", "25h", "5 s"} {
		var s sampleFlag
		if err := s.Set(text); err == nil {
			t.Errorf("%q: %s", text, time.Duration(s))
		}
	}
}
