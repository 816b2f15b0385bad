package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// Servers whose configuration is judged are found by one walk over the running processes, asked for as "services" and shared
// by all that read configurations (part.services). A collector takes its own out of it:
//
//	found, gaps := s.of("Tomcat", func(v *service) bool { return v.kind == javaService && v.arg("-Dcatalina.base") != "" })
//
// What has another root directory has files that are not those seen here; of makes each such service a gap, except those whose
// ports are not those seen here either: collectApart names them. Relative paths of a service's arguments are relative to its
// working directory: v.path("-jar").

// The kinds of service.
const (
	nginxService = "nginx" // a master, and its workers with it; arguments "conf", "version", "binary", "workers"
	javaService  = "java"  // a JVM; arguments as javaArgs says
)

// service is one running server, or, with pid 0, the nginx that is installed where none runs.
type service struct {
	kind       string
	pid        int64
	soft, hard string       // limits of open files, of nginx its workers': a number, "unlimited" or denied; empty: none runs
	unit       string       // of systemd; empty: none
	container  string       // not empty: it has another root directory, "container ID" or "another root directory"
	netns      string       // "another" than was read: its ports are not those seen here; empty: the same
	cwd        string       // working directory; empty: not known (whose process it is, only root may look)
	args       []serviceArg // the white-listed ones, in the order of the command line
}

// serviceArg is a white-listed argument: "-Dcatalina.base" and its value, "-jar" and the file, "--server.port" and the number.
type serviceArg struct{ name, value string }

// arg is the value of the last argument that has one of the names, as the JVM takes it; empty: there is none.
func (v *service) arg(names ...string) string {
	for _, a := range slices.Backward(v.args) {
		if slices.Contains(names, a.name) {
			return a.value
		}
	}
	return ""
}

// path is such a value as a clean absolute path; empty: there is none, or it is relative to a directory that is not known.
func (v *service) path(names ...string) string {
	switch file := v.arg(names...); {
	case file == "":
		return ""
	case path.IsAbs(file):
		return path.Clean(file)
	case v.cwd == "":
		return ""
	default:
		return path.Join(v.cwd, file)
	}
}

// services is what the walk found.
type services struct {
	running   []service
	apart     []advisor.Gap // what has files and ports of its own, once it was looked for: nothing that is judged here depends on it
	installed service       // an nginx that does not run; no kind: none
	err       error         // why it is not known what runs: errNotLive in a directory, errNotCaptured in a capture that did not ask
}

// findServices asks for the services that run.
func findServices(ctx context.Context, t tree) *services {
	s := new(services)
	s.err = t.ask("services", func(emit func([]byte) error) error { return walkServices(ctx, emit) }, s.piece)
	return s
}

// failed is why the running services are not known, where they should be: a directory has none, and a capture of a version
// that did not ask tells nothing.
func (s *services) failed() error {
	if errors.Is(s.err, errNotLive) || errors.Is(s.err, errNotCaptured) || errors.Is(s.err, fs.ErrNotExist) {
		return nil
	}
	return s.err
}

// of picks the running services that is wants. One that has files of its own is a gap instead, under the name given; one in
// another network namespace, whose ports are not those seen here, belongs there: --netns judges it.
func (s *services) of(name string, is func(*service) bool) (found []service, gaps []advisor.Gap) {
	for i := range s.running {
		v := &s.running[i]
		gap := advisor.Gap{Source: fmt.Sprintf("%s, process %d", name, v.pid), Why: "runs in " + v.container + " and has files of its own: not judged"}
		switch {
		case !is(v):
		case v.container != "" && v.netns != "":
			if !slices.Contains(s.apart, gap) {
				s.apart = append(s.apart, gap)
			}
		case v.container != "":
			gaps = append(gaps, gap)
		case v.netns != "": // nothing of it is missing here; that its namespace was not read is said with its sockets, see collectNamespaces
		default:
			found = append(found, *v)
		}
	}
	return found, gaps
}

// collectApart names the services that other collectors passed over.
func (p *part) collectApart(context.Context, *advisor.Builder) []advisor.Gap { return p.services.apart }

// findServices looks for the services once for all collectors of the part.
func (p *part) findServices(ctx context.Context, _ *advisor.Builder) []advisor.Gap {
	p.services = &services{}
	if p.machine {
		p.services = findServices(ctx, p.tree)
	}
	return nil
}

// productVersion is the version of a server, or why it is not known.
type productVersion struct {
	text   string // "1.22.1"; empty: unknown
	why    string
	origin advisor.Origin
}

// notBefore reports whether the version is known, and that one or newer.
func (v productVersion) notBefore(want ...int64) bool {
	got, err := advisor.ParseVersion(v.text)
	return err == nil && slices.Compare(got[:len(want)], want) >= 0
}

// packagedVersion is the version of the first installed package whose name begins so; read is false where dpkg's list could
// not be read.
func packagedVersion(t tree, name string) (v productVersion, read bool) {
	const status, limit = "/var/lib/dpkg/status", 64 << 20
	v.origin = advisor.Origin{Path: status}
	data, err := t.read(status, limit)
	if err != nil {
		return v, false
	}
	at := 0
	for entry := range bytes.SplitSeq(data, []byte("\n\n")) {
		start := at
		at += len(entry) + 2
		first, _, _ := bytes.Cut(entry, []byte{'\n'})
		if !bytes.HasPrefix(first, []byte("Package: "+name)) || !bytes.Contains(entry, []byte("\nStatus: install ok installed")) {
			continue
		}
		n := bytes.Index(entry, []byte("\nVersion: "))
		if n < 0 {
			continue
		}
		n += len("\nVersion: ")
		text, _, _ := bytes.Cut(entry[n:], []byte{'\n'})
		if _, after, ok := bytes.Cut(text, []byte{':'}); ok { // the epoch
			text = after
		}
		if m := versionText.Find(text); m != nil {
			v.text = string(m)
			v.origin.Line, v.origin.Column = conf.IndexLines(data).Position(start + n)
			return v, true
		}
	}
	return v, true
}

var versionText = regexp.MustCompile(`^\d+\.\d+\.\d+`)

// encode makes a line: kind and number, then "name=value", quoted, for what there is.
func (v *service) encode() []byte {
	line := fmt.Appendf(nil, "%s %d", v.kind, v.pid)
	for name, text := range v.fields() {
		if *text != "" {
			line = fmt.Appendf(line, " %q", name+"="+*text)
		}
	}
	for _, a := range v.args {
		line = fmt.Appendf(line, " %q", a.name+"="+a.value)
	}
	return append(line, '\n')
}

// fields are what is told of each service.
func (v *service) fields() func(yield func(string, *string) bool) {
	return func(yield func(string, *string) bool) {
		_ = yield("soft", &v.soft) && yield("hard", &v.hard) && yield("unit", &v.unit) && yield("container", &v.container) && yield("netns", &v.netns) && yield("cwd", &v.cwd)
	}
}

// piece takes lines, one service each.
func (s *services) piece(b []byte) error {
	for line := range strings.Lines(string(b)) {
		var v service
		if err := v.decode(strings.TrimSuffix(line, "\n")); err != nil {
			return fmt.Errorf("record of services %q", line)
		}
		if v.pid == 0 {
			s.installed = v
		} else {
			s.running = append(s.running, v)
		}
	}
	return nil
}

func (v *service) decode(line string) (err error) {
	f := strings.SplitN(line, " ", 3)
	if len(f) < 2 {
		return strconv.ErrSyntax
	}
	v.kind = f[0]
	if v.pid, err = strconv.ParseInt(f[1], 10, 64); err != nil || len(f) == 2 {
		return err
	}
	fields := map[string]*string{}
	for name, to := range v.fields() {
		fields[name] = to
	}
	for rest := f[2]; rest != ""; {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return err
		}
		text, err := strconv.Unquote(quoted)
		name, value, ok := strings.Cut(text, "=")
		if err != nil || !ok {
			return strconv.ErrSyntax
		}
		if to := fields[name]; to != nil {
			*to = value
		} else {
			v.args = append(v.args, serviceArg{name, value})
		}
		rest = strings.TrimPrefix(rest[len(quoted):], " ")
	}
	return nil
}

// walkServices looks at each running process once, and at nginx's binary in the usual places where none of it runs.
func walkServices(ctx context.Context, emit func([]byte) error) error {
	pids, err := listPIDs()
	if err != nil {
		return err
	}
	slices.Sort(pids)
	w := serviceWalk{processWalk: processWalk{buf: make([]byte, 8<<10)}, masters: map[int]*service{}, workers: map[int]int{}}
	w.netns, _ = socketInode(threadNet() + "/sockstat")
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.look(pid)
	}
	for _, v := range w.found {
		if err := emit(v.encode()); err != nil {
			return err
		}
	}
	if len(w.masters) > 0 {
		return nil
	}
	for _, file := range []string{"/usr/sbin/nginx", "/usr/local/nginx/sbin/nginx", "/usr/local/openresty/nginx/sbin/nginx", "/usr/bin/nginx"} {
		if bin, err := readNginxBinary(file, file); err == nil {
			v := service{kind: nginxService, args: nginxArgs(bin.conf, bin)}
			return emit(v.encode())
		}
	}
	return nil
}

type serviceWalk struct {
	processWalk
	found   []*service
	masters map[int]*service // of nginx, by process
	workers map[int]int      // of a master
	netns   uint64           // socketInode of the namespace that is read
}

// look takes in one process. For most of them that is a look at their name. A worker comes after its master, unless numbers
// have wrapped; then only its limit is missed.
func (w *serviceWalk) look(pid int) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := w.read(dir + "/stat")
	if err != nil {
		return
	}
	comm, ours := parseStat(stat)
	if !ours {
		return
	}
	v := &service{pid: int64(pid)}
	parent := 0
	switch comm {
	case "nginx", "openresty":
		v.kind = nginxService
		if f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(f) > 1 {
			parent, _ = strconv.Atoi(string(f[1]))
		}
	case "java", "jsvc", "jsvc.exec": // jsvc of Apache Commons Daemon is a JVM in a process of its own
		v.kind = javaService
	default:
		return
	}
	line, err := w.read(dir + "/cmdline")
	if err != nil {
		return
	}
	command := string(line)
	if v.soft, v.hard, err = w.nofile(dir); err != nil {
		return
	}
	if v.kind == nginxService && !w.nginx(v, dir, parent, command) {
		return
	}
	if v.kind == javaService {
		v.args = javaArgs(strings.Split(command, "\x00"))
		v.cwd, _ = os.Readlink(dir + "/cwd")
		if home := v.path("-Dcatalina.home"); home != "" { // the jar is asked here, not read through the tree: it is too large for captures
			v.args = append(v.args, serviceArg{"version", readTomcatVersion(home)})
		}
	}
	w.place(v, dir)
	w.found = append(w.found, v)
}

// nginx takes in a master or a worker, and reports whether it is a master.
func (w *serviceWalk) nginx(v *service, dir string, parent int, title string) bool {
	role, file, prefix := nginxTitle(title)
	master := w.masters[parent]
	if role == "worker" && master != nil {
		w.workers[parent]++
		master.soft, master.hard = v.soft, v.hard
		master.set("workers", strconv.Itoa(w.workers[parent]))
	}
	if role != "master" || master != nil {
		return false
	}
	bin, err := readNginxBinary(dir+"/exe", "")
	if target, bad := os.Readlink(dir + "/exe"); bad == nil {
		bin.path = strings.TrimSuffix(target, " (deleted)")
	}
	if err != nil { // whose process it is, only root may look; the file itself mostly everyone
		if other, bad := readNginxBinary("/usr/sbin/nginx", "/usr/sbin/nginx"); bad == nil {
			bin = other
		}
	}
	v.args = nginxArgs(nginxMainFile(file, prefix, bin), bin)
	w.masters[int(v.pid)] = v
	return true
}

// nginxArgs are the main file, and what the binary tells.
func nginxArgs(file string, bin nginxBinary) []serviceArg {
	return []serviceArg{{"conf", file}, {"version", bin.version}, {"binary", bin.path}, {"workers", "0"}}
}

func (v *service) set(name, value string) {
	for i := range v.args {
		if v.args[i].name == name {
			v.args[i].value = value
		}
	}
}

// place finds the unit of a service, and whether its files and ports are those seen here.
func (w *serviceWalk) place(v *service, dir string) {
	cgroup := ""
	if text, err := w.read(dir + "/cgroup"); err == nil {
		cgroup = cgroupOf(text)
	}
	v.unit = unitOf(cgroup)
	if netns, ok := socketInode(dir + "/net/sockstat"); ok && netns != w.netns {
		v.netns = "another"
	}
	if sameRoot(dir, cgroup) {
		return
	}
	v.container, v.unit = "another root directory", ""
	if id := containerOf(cgroup); id != "" {
		v.container = "container " + id
	}
}

// sameRoot reports whether a process has this program's root directory: not a container's, a chroot's or an image's. Who may
// not look at it takes it for the same, unless its control group is a container's.
func sameRoot(dir, cgroup string) bool {
	var ours, theirs unix.Stat_t
	if unix.Stat("/", &ours) == nil && unix.Stat(dir+"/root/", &theirs) == nil {
		return ours.Dev == theirs.Dev && ours.Ino == theirs.Ino
	}
	return containerOf(cgroup) == ""
}

var (
	anyValue    = regexp.MustCompile(`^`)
	nameValue   = regexp.MustCompile(`^[\w.,:\[\]*-]*$`)
	numberValue = regexp.MustCompile(`^(?:-?\d+(?:ns|us|ms|s|m|h|d|B|KB|MB|GB)?|P[\dDTHMS.-]+|true|false)$`)
)

// javaValue is what a property's value may be to be kept; nil: it is not kept. Passwords have other names.
func javaValue(name string) *regexp.Regexp {
	switch name {
	case "catalina.base", "catalina.home", "activemq.home", "activemq.base", "activemq.conf", "spring.config.location", "spring.config.additional-location":
		return anyValue
	case "spring.config.name", "spring.profiles.active", "server.address":
		return nameValue
	case "server.port", "management.server.port":
		return numberValue
	}
	numbers := strings.HasPrefix(name, "server.tomcat.") || strings.HasPrefix(name, "spring.datasource.hikari.")
	if numbers && !holdsSecretWord([]byte(name)) {
		return numberValue
	}
	return nil
}

// javaMains are the classes that start a known server, as they stand on a command line.
func javaMains() []string {
	return []string{
		"org.apache.catalina.startup.Bootstrap", "org.apache.activemq.console.Main", "org.springframework.boot.loader.JarLauncher", "org.springframework.boot.loader.launch.JarLauncher",
		"org.springframework.boot.loader.WarLauncher", "org.springframework.boot.loader.launch.WarLauncher", "org.springframework.boot.loader.PropertiesLauncher", "org.springframework.boot.loader.launch.PropertiesLauncher",
	}
}

// javaArgs keeps of a JVM's command line what names files or is a known number, and nothing else: passwords stand there too.
//
//	-Dcatalina.base=DIR        "-Dcatalina.base", and so catalina.home, activemq.home, .base, .conf
//	-Dserver.port=N            "-Dserver.port", and all that Spring Boot takes with -- as well
//	-jar FILE                  "-jar"; only arguments behind it, or behind the class, are the program's
//	CLASS                      "main", if it is one of javaMains
//	-config FILE, xbean:FILE   "-config" of Tomcat, "xbean" of ActiveMQ (without its query)
//	--server.port=N            "--server.port"; --server.address; --server.tomcat.*, --spring.datasource.hikari.* if numbers;
//	                           --spring.config.location, .additional-location, .name, --spring.profiles.active
func javaArgs(words []string) (kept []serviceArg) {
	keep := func(name, value string) { kept = append(kept, serviceArg{name, maskText(value)}) }
	program := false
	for i, word := range words {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		name, value, _ := strings.Cut(word, "=")
		switch {
		case !program && word == "-jar":
			program = true
			keep(word, next)
		case !program && slices.Contains(javaMains(), word):
			program = true
			keep("main", word)
		case !program && strings.HasPrefix(name, "-D") && javaMayKeep(name[2:], value),
			program && strings.HasPrefix(name, "--") && javaMayKeep(name[2:], value):
			keep(name, value)
		case program && word == "-config":
			keep(word, next)
		case program && strings.HasPrefix(word, "xbean:"):
			file, _, _ := strings.Cut(strings.TrimPrefix(word, "xbean:"), "?")
			keep("xbean", file)
		}
	}
	return kept
}

// javaMayKeep reports whether a property is one of those that are kept, and its value like those.
func javaMayKeep(name, value string) bool {
	like := javaValue(name)
	return like != nil && like.MatchString(value)
}
