package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// program runs the program in a directory and returns what it writes to standard output.
func program(t *testing.T, dir string, want int, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv(sharedEnv), "tcpadvise"), args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, _ := cmd.Output()
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Fatalf("tcpadvise %v: exit %d, want %d\n%s%s", args, got, want, out, errs.Bytes())
	}
	return out
}

// TestPatchTomcatRoundTrip: patch(1) and git apply make the same of server.xml, Tomcat starts with it and does what it now says, check
// is silent, and the reverse restores each byte.
func TestPatchTomcatRoundTrip(t *testing.T) {
	needTools(t, map[string]string{"patch": "patch", "git": "git"})
	if !inOwnNetns(t) {
		return
	}
	base := tomcatFiles(t, "connectionTimeout=\"-1\"\r\n               maxKeepAliveRequests='1'")
	const file = "conf/server.xml"
	read := func() string {
		data, err := os.ReadFile(filepath.Join(base, file))
		must(t, err)
		return string(data)
	}
	apply := func(diff []byte, command ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Dir, cmd.Stdin = base, bytes.NewReader(diff)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s\n%s", command, err, out, diff)
		}
	}
	before := read()
	program(t, base, 1, "check", file)
	diff := program(t, base, 0, "patch", "--include", "review", file)
	back := program(t, base, 0, "patch", "--include", "review", "--reverse", file)

	patch, git := []string{"patch", "-s", "-p1"}, []string{"git", "apply", "-"}
	apply(diff, git...)
	byGit := read()
	apply(back, git...)
	if got := read(); got != before {
		t.Errorf("git apply does not restore %q: %q", before, got)
	}
	apply(diff, patch...)
	if got := read(); got != byGit || got == before {
		t.Errorf("patch(1) makes %q, git apply %q", got, byGit)
	}

	tomcat := runTomcat(t, base, 8080)
	client := http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	connections := opened(t, func() {
		for range 20 {
			answer, err := client.Get("http://127.0.0.1:8080/")
			must(t, err)
			_, err = io.Copy(io.Discard, answer.Body)
			must(t, err)
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Fatal(answer.Status, tomcat.log(t, "out.log"))
			}
		}
	})
	near(t, "connections for 20 requests", float64(connections), 1, 2)
	program(t, base, 0, "check", "--min-severity", "info", "--fail-on", "info", file)
	if again := program(t, base, 0, "patch", "--include", "manual", file); len(again) > 0 {
		t.Errorf("a second patch is not empty: %s", again)
	}
	apply(back, patch...)
	if got := read(); got != before {
		t.Errorf("patch(1) does not restore %q: %q", before, got)
	}
}
