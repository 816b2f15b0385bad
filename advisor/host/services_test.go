package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tcpadvise/tcpadvise/advisor"
)

// TestJavaArgs: what is not on the list is not kept, wherever it stands.
func TestJavaArgs(t *testing.T) {
	for line, want := range map[string]string{
		"java -Ddb.password=geheim -Dcatalina.base=/srv/a -Dcatalina.home=/opt/t -cp /x.jar org.apache.catalina.startup.Bootstrap -config conf/s.xml start": "" +
			"-Dcatalina.base=/srv/a -Dcatalina.home=/opt/t main=org.apache.catalina.startup.Bootstrap -config=conf/s.xml",
		"jsvc.exec -user tomcat -Dcatalina.base=/srv/a org.apache.catalina.startup.Bootstrap": "-Dcatalina.base=/srv/a main=org.apache.catalina.startup.Bootstrap",
		"java -Dactivemq.home=/opt/a -Dactivemq.conf=/etc/a -Djavax.net.ssl.keyStorePassword=x -jar /opt/a/bin/activemq.jar start xbean:file:/etc/a/a.xml?password=p": "" +
			"-Dactivemq.home=/opt/a -Dactivemq.conf=/etc/a -jar=/opt/a/bin/activemq.jar xbean=file:/etc/a/a.xml",
		"java -Dserver.port=81 -jar app.jar --server.port=82 --server.tomcat.threads.max=7 --spring.datasource.hikari.password=1234 --spring.datasource.password=x": "" +
			"-Dserver.port=81 -jar=app.jar --server.port=82 --server.tomcat.threads.max=7",
		"java --server.port=1 -jar app.jar -Dserver.port=2 --server.tomcat.basedir=/secret --spring.config.location=https://u:p@h/x": "-jar=app.jar --spring.config.location=https://***@h/x",
		"java -jar app.jar --server.port=${PORT} --server.tomcat.keep-alive-timeout=PT20S":                                           "-jar=app.jar --server.tomcat.keep-alive-timeout=PT20S",
		"java -jar": "-jar=",
		"java":      "",
	} {
		var got []string
		for _, a := range javaArgs(strings.Split(line, " ")) {
			got = append(got, a.name+"="+a.value)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s:\n%s\nwant\n%s", line, text, want)
		}
	}
}

func TestServiceRecord(t *testing.T) {
	all := []service{
		{kind: javaService, pid: 7, soft: "1024", hard: "unlimited", unit: "a.service", cwd: "/srv/\xff \"x\"\n", args: []serviceArg{{"-jar", "a=b.jar"}, {"-jar", "last.jar"}}},
		{kind: javaService, pid: 8, soft: denied, container: "container abc"},
		{kind: javaService, pid: 9},
		{kind: javaService, pid: 10, netns: "another"},
		{kind: javaService, pid: 11, netns: "another", container: "container def"},
	}
	var s services
	for i := range all {
		if err := s.piece(all[i].encode()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(all, s.running, cmp.AllowUnexported(service{}, serviceArg{})); diff != "" {
		t.Error(diff)
	}
	if got := s.running[0].path("-jar"); got != "/srv/\xff \"x\"\n/last.jar" {
		t.Error(got)
	}
	found, gaps := s.of("Java", func(v *service) bool { return v.pid != 9 })
	if len(found) != 1 || !slices.Equal(gaps, []advisor.Gap{
		{Source: "Java, process 8", Why: "runs in container abc and has files of its own: not judged"},
	}) {
		t.Error(found, gaps)
	}
	s.of("Java", func(*service) bool { return true })
	if !slices.Equal(s.apart, []advisor.Gap{{Source: "Java, process 11", Why: "runs in container def and has files of its own: not judged"}}) {
		t.Error(s.apart)
	}
	for _, bad := range []string{"java\n", "java x\n", `java 1 "a`, `java 1 "a"`, `java 1 a`} {
		if err := s.piece([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestServicesWalk finds a process by what it is, and one with another root directory as such.
func TestServicesWalk(t *testing.T) {
	dir := t.TempDir()
	sleeper := buildSleeper(t, dir)
	start := func(chroot string, args ...string) int {
		cmd := exec.Command(sleeper, args...)
		cmd.Dir = dir
		if chroot != "" {
			cmd.Dir = "/"
			cmd.Path = "/java"
			cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: chroot}
			if uid := os.Geteuid(); uid != 0 { // who is not root is so in a namespace of his own
				cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
			}
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd.Process.Pid
	}
	here := start("", "-Dcatalina.base=base", "-Dpassword=geheim", "-jar", "x.jar")
	there := start(dir, "-Dcatalina.base=/srv")
	var s services
	var raw strings.Builder
	if err := walkServices(t.Context(), func(b []byte) error { raw.Write(b); return s.piece(b) }); err != nil {
		t.Fatal(err)
	}
	byPID := func(pid int) *service {
		for i := range s.running {
			if s.running[i].pid == int64(pid) {
				return &s.running[i]
			}
		}
		t.Fatalf("process %d not found in\n%s", pid, raw.String())
		return nil
	}
	v := byPID(here)
	if v.kind != javaService || v.path("-Dcatalina.base") != filepath.Join(dir, "base") || v.arg("-jar") != "x.jar" || v.container != "" || v.soft == "" || v.hard == "" {
		t.Errorf("%+v", v)
	}
	if other := byPID(there); other.container == "" {
		t.Errorf("%+v", other)
	}
	if strings.Contains(raw.String(), "geheim") || slices.ContainsFunc(v.args, func(a serviceArg) bool { return a.name == "-Dpassword" }) {
		t.Error("a password was kept:", raw.String())
	}
}

// buildSleeper makes a static program of the name java that sleeps: only its name and arguments are looked at.
func buildSleeper(t *testing.T, dir string) string {
	t.Helper()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"time\"\n\nfunc main() { time.Sleep(time.Minute) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "java"), source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	return filepath.Join(dir, "java")
}
