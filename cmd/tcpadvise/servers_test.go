package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The suite with real servers: each case runs nginx, Tomcat, Apache HttpClient or ActiveMQ in a network namespace of its own
// and asks the program what it sees there. The ports are fixed, since nobody else is in the namespace. Waits are for states or
// for times that a rule names; ages are compared with this process's clock, for the machine may be slow.

const (
	caseEnv   = "TCPADVISE_TEST_CASE"   // the name of the test that runs in its own namespace
	sharedEnv = "TCPADVISE_TEST_SHARED" // a directory of this run of the tests, see TestMain
)

// inOwnNetns runs the test again in user and network namespaces of its own and reports whether this is that run. As the tests
// of advisor/host, it fails where the kernel refuses: what is skipped is soon not tested.
func inOwnNetns(t *testing.T) bool {
	t.Helper()
	if os.Getenv(caseEnv) == t.Name() {
		must(t, run1("ip", "link", "set", "lo", "up"))
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.timeout=150s",
		"-test.run=^"+strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^")+"$")
	cmd.Env = append(os.Environ(), caseEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Fatalf("the tests with real servers did not run: they need user and network namespaces, and the kernel refuses them here: %v\n"+
			"allow them: sysctl user.max_user_namespaces (above 0), kernel.unprivileged_userns_clone=1 (Debian), "+
			"kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), or run the container with its seccomp filter off", err)
	case err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("in its own namespace: %v\n%s", err, out)
	default:
		t.Logf("%s", out)
	}
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run1(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// setSysctl writes parameters of this namespace, "tcp_fin_timeout=5".
func setSysctl(t *testing.T, settings ...string) {
	t.Helper()
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		must(t, os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0))
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 40 s: %s", what)
		}
	}
}

// sockets counts the sockets of this namespace in a state, as /proc/net/tcp writes it, with this local port; 0: any.
func sockets(state string, port int) int { return socketsWhere(state, 1, port) }

// dialled counts those to this port of their peer.
func dialled(state string, port int) int { return socketsWhere(state, 2, port) }

func socketsWhere(state string, column, port int) (n int) {
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, _ := os.ReadFile(name)
		for _, line := range strings.Split(string(text), "\n")[1:] {
			f := strings.Fields(line)
			if len(f) > 3 && f[3] == state && (port == 0 || strings.HasSuffix(f[column], fmt.Sprintf(":%04X", port))) {
				n++
			}
		}
	}
	return n
}

const ( // as /proc/net/tcp writes states, include/net/tcp_states.h
	stEstablished, stFinWait1, stTimeWait, stCloseWait, stListen = "01", "04", "06", "08", "0A"
)

// server is a process that the test has started, with its files in dir.
type server struct {
	pid    int
	dir    string
	orders io.Writer // its standard input
}

// start runs a command until the end of the test and waits until it listens on the port; 0: it does not wait. How it is asked to end
// is what the kernel sends as well, should the test die first.
func start(t *testing.T, dir string, port int, end syscall.Signal, command ...string) *server {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "out.log"))
	must(t, err)
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: end}
	orders, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	s := &server{pid: cmd.Process.Pid, dir: dir, orders: orders}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		cmd.Process.Signal(end)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", command[0], s.log(t, "out.log"))
		}
	})
	if port > 0 {
		eventually(t, fmt.Sprintf("%s listens on %d", command[0], port), func() bool {
			select {
			case <-done:
				t.Fatalf("%s ended: %v\n%s", command[0], cmd.ProcessState, s.log(t, "out.log"))
			default:
			}
			return sockets(stListen, port) > 0
		})
	}
	return s
}

// log is what a file of the server says.
func (s *server) log(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	must(t, err)
	return string(text)
}

// children are the pids of its workers.
func (s *server) children(t *testing.T) (pids []int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.pid, s.pid))
	must(t, err)
	for _, f := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(f)
		must(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// worker is the first of a server's processes, which nginx starts after it has begun to listen.
func (s *server) worker(t *testing.T) (pid int) {
	t.Helper()
	eventually(t, "there is a worker", func() bool {
		pids := s.children(t)
		if len(pids) > 0 {
			pid = pids[0]
		}
		return len(pids) > 0
	})
	return pid
}

func writeFiles(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// nginxFiles is a directory for runNginx: a main file of one worker with this http block.
func nginxFiles(t *testing.T, http string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	text := "user root root;\nworker_processes 1;\ndaemon off;\npid nginx.pid;\nerror_log error.log info;\n" +
		"events { worker_connections 8192; }\nhttp {\n\taccess_log access.log;\n"
	for _, module := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += fmt.Sprintf("\t%s_temp_path %s;\n", module, filepath.Join(dir, module))
	}
	return writeFiles(t, dir, map[string]string{"nginx.conf": text + http + "\n}\n"})
}

// runNginx runs the nginx.conf of a directory. Its pid is the master's.
func runNginx(t *testing.T, dir string, port int) *server {
	t.Helper()
	needTools(t, map[string]string{"nginx": "nginx-light"})
	return start(t, dir, port, syscall.SIGTERM, "nginx", "-p", dir, "-e", "error.log", "-c", filepath.Join(dir, "nginx.conf"))
}

// startNginx runs one worker with this http block, one of whose servers listens on the port.
func startNginx(t *testing.T, port int, http string) *server {
	t.Helper()
	return runNginx(t, nginxFiles(t, http), port)
}

// tomcatFiles is a directory for runTomcat: CATALINA_BASE with the connector on 8080, its further attributes, and SlowServlet.
func tomcatFiles(t *testing.T, attributes string) (base string) {
	t.Helper()
	base = t.TempDir()
	must(t, os.CopyFS(filepath.Join(base, "webapps/ROOT/WEB-INF/classes"), os.DirFS(javaClasses(t))))
	return writeFiles(t, base, map[string]string{
		"conf/server.xml": `<Server port="-1">
  <Service name="Catalina">
    <Connector port="8080" protocol="HTTP/1.1" ` + attributes + `/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" autoDeploy="false"/>
    </Engine>
  </Service>
</Server>
`,
		// without JSP and WebSocket, whose search through all jars would take most of the start
		"conf/context.xml": `<Context containerSciFilter="JasperInitializer|WsSci"/>` + "\n",
		"webapps/ROOT/WEB-INF/web.xml": `<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0" metadata-complete="true">
  <absolute-ordering/>
  <servlet><servlet-name>slow</servlet-name><servlet-class>SlowServlet</servlet-class></servlet>
  <servlet-mapping><servlet-name>slow</servlet-name><url-pattern>/</url-pattern></servlet-mapping>
</web-app>
`,
		"logs/none": "", "temp/none": "", "work/none": "",
	})
}

// runTomcat runs what lies in a CATALINA_BASE; its log is out.log.
func runTomcat(t *testing.T, base string, port int) *server {
	t.Helper()
	const home = "/usr/share/tomcat10"
	s := start(t, base, port, syscall.SIGKILL, javaCommand("-cp", home+"/bin/bootstrap.jar:"+home+"/bin/tomcat-juli.jar",
		"-Dcatalina.home="+home, "-Dcatalina.base="+base, "org.apache.catalina.startup.Bootstrap", "start")...)
	eventually(t, "Tomcat has started", func() bool { return strings.Contains(s.log(t, "out.log"), "Server startup in") })
	return s
}

// startTomcat runs Tomcat with one connector on 8080 that has these attributes. GET /?seconds=S answers after that time.
func startTomcat(t *testing.T, attributes string) *server {
	t.Helper()
	return runTomcat(t, tomcatFiles(t, attributes), 8080)
}

// javaCommand keeps the start of a virtual machine short.
func javaCommand(args ...string) []string {
	return append([]string{"java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx128m"}, args...)
}

// startJava runs a program of testdata/servers, perhaps under another program, and waits for its port; 0: it does not wait.
func startJava(t *testing.T, under []string, port int, class string, args ...string) *server {
	t.Helper()
	command := slices.Concat(under, javaCommand("-cp", javaClasses(t)+":"+jars(), class), args)
	return start(t, t.TempDir(), port, syscall.SIGKILL, command...)
}

// jars are what the programs of testdata/servers need, as Debian names them; see tools/test-deps.sh.
func jars() string {
	var paths []string
	for _, name := range strings.Fields("tomcat10-servlet-api httpclient httpcore commons-logging commons-codec activemq-broker activemq-client " +
		"activemq-openwire-legacy hawtbuf geronimo-jms_1.1_spec geronimo-j2ee-management-1.1-spec slf4j-api slf4j-simple") {
		paths = append(paths, "/usr/share/java/"+name+".jar")
	}
	return strings.Join(paths, ":")
}

// javaClasses are the compiled programs of testdata/servers, once for all tests of this run.
func javaClasses(t *testing.T) (dir string) {
	t.Helper()
	needTools(t, map[string]string{"javac": "default-jdk-headless", "java": "default-jdk-headless"})
	dir = filepath.Join(os.Getenv(sharedEnv), "classes")
	lock, err := os.Create(dir + ".lock")
	must(t, err)
	defer lock.Close()
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	if exists(dir) {
		return dir
	}
	sources, err := filepath.Glob("testdata/servers/*.java")
	must(t, err)
	must(t, run1("javac", append([]string{"-d", dir + ".new", "-cp", jars()}, sources...)...))
	must(t, os.Rename(dir+".new", dir))
	return dir
}

// get sends a request and returns the connection, without keepalive, as most clients have it.
func get(t *testing.T, port int, path string) net.Conn {
	t.Helper()
	d := net.Dialer{KeepAlive: -1, Timeout: 20 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
	must(t, err)
	return c
}

// leaving are n clients that ask, wait that long and close. It returns the time in which they closed.
func leaving(t *testing.T, n, port int, path string, patience time.Duration) (closed span) {
	t.Helper()
	var conns []net.Conn
	for range n {
		conns = append(conns, get(t, port, path))
	}
	time.Sleep(patience)
	closed.from = time.Now()
	for _, c := range conns {
		c.Close()
	}
	closed.to = time.Now()
	return closed
}

// span is when something happened, as far as this process can tell.
type span struct{ from, to time.Time }

// diagnosis is what a check says, as a pipeline reads it.
type diagnosis struct {
	Summary  struct{ Verdict string }
	Findings []finding
	Gaps     []gap
	Sockets  map[string]int

	exit int
	at   span   // of the look, both of them where it took two
	text string // the same for people
}

type gap struct{ Source, Why string }

type finding struct {
	Rule, Severity, Confidence, Remedy, Message string
	Subject                                     struct{ Table, Key string }
	Changes                                     []struct {
		Setting, Safety string
		To              any
	}
	Do, Dont    []string
	ExplainedBy string `json:"explained_by"`
}

// check runs tcpadvise check in this namespace. It judges what depends on the namespace's sockets; processes and files are the
// machine's, and their rules are named by --only where a case needs them. Whatever the case is, CLOSE_WAIT is the program's fault: no
// such finding may propose a change.
func check(t *testing.T, args ...string) diagnosis {
	t.Helper()
	dir := t.TempDir()
	all := []string{"check", "--format", "json", "-o", dir + "/json", "--format", "text", "-o", dir + "/text"}
	for _, rules := range []string{"close-wait/*", "time-wait/*", "fin-wait2/*", "established/*", "queue/*", "ports/*", "fd/time-to-exhaustion"} {
		all = append(all, "--only", rules)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv(sharedEnv), "tcpadvise"), append(all, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var r diagnosis
	r.at.from = time.Now()
	out, err := cmd.CombinedOutput()
	r.at.to = time.Now()
	var exit *exec.ExitError
	if r.exit = cmd.ProcessState.ExitCode(); err != nil && !errors.As(err, &exit) || r.exit > 1 {
		t.Fatalf("%s: %v\n%s", args, err, out)
	}
	text, err := os.ReadFile(dir + "/text")
	must(t, err)
	r.text = string(text)
	t.Logf("tcpadvise %s: exit %d\n%s", strings.Join(args, " "), r.exit, r.text)
	data, err := os.ReadFile(dir + "/json")
	must(t, err)
	must(t, json.Unmarshal(data, &r))
	for _, f := range r.Findings {
		if strings.HasPrefix(f.Rule, "close-wait/") && (len(f.Changes) > 0 || f.Remedy != "application") {
			t.Errorf("%s: remedy %s, changes %v", f.Rule, f.Remedy, f.Changes)
		}
	}
	return r
}

// rules are the rules that found something, worst first.
func (r diagnosis) rules() (names []string) {
	for _, f := range r.Findings {
		names = append(names, f.Rule)
	}
	return names
}

// only is the one finding of a rule.
func (r diagnosis) only(t *testing.T, rule, severity, confidence string) finding {
	t.Helper()
	var found []finding
	for _, f := range r.Findings {
		if f.Rule == rule {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d findings of %s, want 1; found: %v", len(found), rule, r.rules())
	}
	if f := found[0]; f.Severity != severity || f.Confidence != confidence {
		t.Errorf("%s: %s, confidence %s, want %s, %s", rule, f.Severity, f.Confidence, severity, confidence)
	}
	return found[0]
}

// explained is the finding of a rule, which must be shown as the symptom of another.
func (r diagnosis) explained(t *testing.T, rule, by string) finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Rule == rule {
			if f.ExplainedBy != by {
				t.Errorf("%s is explained by %q, want %s", rule, f.ExplainedBy, by)
			}
			return f
		}
	}
	t.Fatalf("no finding of %s; found: %v", rule, r.rules())
	return finding{}
}

// quiet wants no finding but those named.
func (r diagnosis) quiet(t *testing.T, but ...string) {
	t.Helper()
	for _, f := range r.Findings {
		if !slices.Contains(but, f.Rule) {
			t.Errorf("unexpected: %s %s: %s", f.Severity, f.Rule, f.Message)
		}
	}
}

func (r diagnosis) exits(t *testing.T, code int) {
	t.Helper()
	if r.exit != code {
		t.Errorf("exit code %d, want %d", r.exit, code)
	}
}

// says compares the message with a pattern, in which %d is a number, %f perhaps a broken one and %t a time or a range, of
// which the end counts, and returns these in order.
func (f finding) says(t *testing.T, pattern string) (numbers []float64) {
	t.Helper()
	const length = `\d+(?:\.\d)? (?:ms|s|min|h|d)(?: \d+ (?:s|min|h))?`
	p := strings.NewReplacer("%d", `(\d+)`, "%f", `(\d+(?:\.\d+)?)`, "%t", "(?:"+length+" to )?("+length+")").Replace(regexp.QuoteMeta(pattern))
	m := regexp.MustCompile("^" + p + "$").FindStringSubmatch(f.Message)
	if m == nil {
		t.Fatalf("%s says\n\t%s\nwant\n\t%s", f.Rule, f.Message, pattern)
	}
	for _, text := range m[1:] {
		numbers = append(numbers, inSeconds(t, text))
	}
	return numbers
}

// changes wants these, "SETTING=VALUE SAFETY".
func (f finding) changes(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, c := range f.Changes {
		got = append(got, fmt.Sprintf("%s=%v %s", c.Setting, c.To, c.Safety))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s changes %q, want %q", f.Rule, got, want)
	}
}

// inSeconds reads a time as people write it, or a number.
func inSeconds(t *testing.T, text string) (sum float64) {
	t.Helper()
	words := append(strings.Fields(text), "s")
	for i := 0; i+1 < len(words); i += 2 {
		n, err := strconv.ParseFloat(words[i], 64)
		must(t, err)
		sum += n * map[string]float64{"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}[words[i+1]]
	}
	return sum
}

// near wants a number between two bounds.
func near(t *testing.T, what string, got, low, high float64) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %g, want %g to %g", what, got, low, high)
	}
}

// age wants the seconds that a look can have seen since something happened. Above 10 s people read whole seconds.
func (r diagnosis) age(t *testing.T, what string, got float64, since span) {
	t.Helper()
	near(t, what, got, r.at.from.Sub(since.to).Seconds()-1, r.at.to.Sub(since.from).Seconds()+0.1)
}
