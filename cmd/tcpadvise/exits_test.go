package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// exits is the script command "exits CODE tcpadvise ARG...": it runs the program in the script's directory and checks the
// exit code exactly, which testscript's own exec cannot. The output is kept in the files out and err.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "tcpadvise" {
		ts.Fatalf("usage: exits CODE tcpadvise ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var out, errOut bytes.Buffer
	input, err := os.ReadFile(ts.MkAbs("stdin"))
	if err != nil {
		input = nil // no file called stdin: nothing is typed
	}
	operands := make([]string, len(args)-2)
	for i, arg := range args[2:] {
		operands[i] = inDirectory(ts, arg)
	}
	code := run(context.Background(), operands, bytes.NewReader(input), &out, &errOut)
	clean := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(ts.MkAbs(".")+"/"), nil) }
	ts.Check(os.WriteFile(ts.MkAbs("out"), clean(out.Bytes()), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("err"), clean(errOut.Bytes()), 0o644))
	ts.Logf("%s%s", out.String(), errOut.String())
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// inDirectory makes a path that the script holds absolute: the program runs inside the test's process.
func inDirectory(ts *testscript.TestScript, arg string) string {
	if strings.HasPrefix(arg, "-") || filepath.IsAbs(arg) || strings.Contains(arg, "*") {
		return arg
	}
	if _, err := os.Lstat(ts.MkAbs(arg)); err == nil || strings.HasPrefix(arg, "./") {
		return ts.MkAbs(arg)
	}
	return arg
}
