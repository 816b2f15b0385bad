package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// exits is the script command "exits CODE tcpadvise ARG...": it runs the program in the script's directory and checks the
// exit code exactly, which testscript's own exec cannot. A file called stdin is typed in; the output is kept in the files
// out and err.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "tcpadvise" {
		ts.Fatalf("usage: exits CODE tcpadvise ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var out, errOut bytes.Buffer
	cmd := exec.Command(programIn(ts.Getenv("PATH")), args[2:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), &out, &errOut
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "LANG=C.UTF-8", "LC_ALL=", "GOCOVERDIR="+ts.Getenv("GOCOVERDIR"))
	if input, err := os.Open(ts.MkAbs("stdin")); err == nil {
		defer input.Close()
		cmd.Stdin = input
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.Bytes(), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("err"), errOut.Bytes(), 0o644))
	ts.Logf("%s%s", out.String(), errOut.String())
	if code := cmd.ProcessState.ExitCode(); code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// programIn finds the program that testscript put in front of the path.
func programIn(path string) string {
	for _, dir := range filepath.SplitList(path) {
		if name := filepath.Join(dir, "tcpadvise"); exists(name) {
			return name
		}
	}
	return "tcpadvise"
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
