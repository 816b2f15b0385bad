package main

import (
	"context"
	"flag"
	"os"
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
	testscript.Main(m, map[string]func(){
		"tcpadvise": func() {
			os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
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
