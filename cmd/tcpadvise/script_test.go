package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	seed := os.Getenv("TCPADVISE_RAPID_SEED") // 0: other trees each time
	if seed == "" {
		seed = "20261121" // CI says the same of one commit each time
	}
	if err := flag.Set("rapid.seed", seed); err != nil {
		panic(err)
	}
	program := func() {
		survivePipes()
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	testscript.Main(inSharedDir{m}, map[string]func(){
		"tcpadvise":           program,
		"AnsiballZ_tcpadvise": program, // what Ansible calls a module on the host
	})
}

// inSharedDir gives the tests with real servers a directory for what they make once: see sharedEnv. Their cases mostly wait, so
// more of them run at once than there are processors.
type inSharedDir struct{ m *testing.M }

func (s inSharedDir) Run() int {
	if os.Getenv(caseEnv) != "" { // the directory is the parent's
		return s.m.Run()
	}
	dir, err := os.MkdirTemp("", "tcpadvise")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err := errors.Join(err, os.Symlink(self, filepath.Join(dir, "tcpadvise")), os.Setenv(sharedEnv, dir),
		flag.Set("test.parallel", strconv.Itoa(2*runtime.NumCPU()))); err != nil {
		panic(err)
	}
	return s.m.Run()
}

// TestScripts runs the command as its users do: each file of testdata/script is one topic.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("LANG", "C.UTF-8")
			e.Setenv("LC_ALL", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
		},
	})
}
