package host

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// activemqXML is an activemq.xml with these connectors.
func activemqXML(connectors string) string {
	return `<?xml version="1.0"?><beans xmlns="http://www.springframework.org/schema/beans"><broker xmlns="http://activemq.apache.org/schema/core"><transportConnectors>
` + connectors + "\n</transportConnectors></broker></beans>\n"
}

func activemqColumns() []string {
	return []string{"name", "scheme", "address", "port", "maximum_connections", "max_inactivity", "monitor_off_by", "so_keepalive", "assumed"}
}

func TestActiveMQFiles(t *testing.T) {
	set := builtinSet(t)
	facts, err := activemqFacts("activemq.xml", []byte(activemqXML(`<transportConnector name="openwire" uri="tcp://0.0.0.0:61616?maximumConnections=1000&amp;wireFormat.maxFrameSize=104857600"/>
<transportConnector name="off" uri="nio://127.0.0.1:1?wireFormat.maxInactivityDuration=0&amp;transport.keepAlive=true"/>
<transportConnector uri='auto+nio+ssl://[::1]:2?transport.useInactivityMonitor=false'/>
<transportConnector name="stomp" uri="stomp://h:61613?wireFormat.maxInactivityDuration=0"/>
<transportConnector name="one" uri="${uri}"/><transportConnector name="two" uri="tcp://0.0.0.0:${port:7}?maximumConnections=${most:x}"/>
<transportConnector name="three" uri="tcp://a:pw@b:%openwire.port%?wireFormat.maxInactivityDuration=1m"/>
<transportConnector name="none" discoveryUri="multicast://default"/><!-- <transportConnector uri="tcp://0.0.0.0:9"/> -->`)), OpenFiles(nil, nil, FileOptions{Catalogue: set.Catalogue}))
	if err != nil {
		t.Fatal(err)
	}
	wantCells(t, facts[0], "activemq_connectors", activemqColumns(),
		"openwire | tcp | 0.0.0.0 | 61616 | 1000 | 30 s | - | - | -",
		"off | nio | 127.0.0.1 | 1 | unlimited | 0 s | wireFormat.maxInactivityDuration | true | -",
		"auto+nio+ssl://[::1]:2 | auto+nio+ssl | ::1 | 2 | unlimited | 30 s | transport.useInactivityMonitor | - | -",
		"stomp | stomp | h | 61613 | unlimited | - | - | - | -",
		"one | unknown: the property uri decides it | unknown: the property uri decides it | unknown: the property uri decides it | unknown: the property uri decides it | unknown: the property uri decides it | unknown: the property uri decides it | unknown: the property uri decides it | -",
		`two | tcp | 0.0.0.0 | 7 | unknown: not understood: "x" | 30 s | - | - | nothing sets the property most`,
		`three | tcp | b | unknown: "%openwire.port%" is no port | unlimited | unknown: not understood: "1m" | unknown: not understood: "1m" | - | -`,
	)
	var broken *brokenFile
	if _, err := activemqFacts("activemq.xml", []byte("<beans>\n<transportConnector uri='a'>\n</beans>"), OpenFiles(nil, nil, FileOptions{Catalogue: set.Catalogue})); !errors.As(err, &broken) || broken.line != 3 {
		t.Errorf("%v", err)
	}
}

func TestActiveMQIsFound(t *testing.T) {
	xml := activemqXML(`<transportConnector name="x" uri="tcp://0.0.0.0:1?maximumConnections=5"/>`)
	running := func(args ...serviceArg) map[string][]string {
		v := service{kind: javaService, pid: 9, soft: "1024", hard: "4096", unit: "activemq.service", cwd: "/", args: args}
		return map[string][]string{"services": {string(v.encode())}}
	}
	for name, c := range map[string]struct {
		m    *memTree
		want string
		gaps int
	}{
		"conf":     {&memTree{kind: "capture", asks: running(serviceArg{"-Dactivemq.home", "/opt/a"}, serviceArg{"-Dactivemq.conf", "/etc/a"}), files: map[string]string{"/etc/a/activemq.xml": xml}}, "/etc/a/activemq.xml 5 4096 9", 0},
		"base":     {&memTree{kind: "capture", asks: running(serviceArg{"-Dactivemq.home", "/opt/a"}, serviceArg{"-Dactivemq.base", "/srv/b"}), files: map[string]string{"/srv/b/conf/activemq.xml": xml}}, "/srv/b/conf/activemq.xml 5 4096 9", 0},
		"xbean":    {&memTree{kind: "capture", asks: running(serviceArg{"-Dactivemq.home", "/opt/a"}, serviceArg{"xbean", "conf/own.xml"}), files: map[string]string{"/opt/a/conf/own.xml": xml}}, "/opt/a/conf/own.xml 5 4096 9", 0},
		"absolute": {&memTree{kind: "capture", asks: running(serviceArg{"-Dactivemq.home", "/opt/a"}, serviceArg{"xbean", "file:/x/own.xml"}), files: map[string]string{"/x/own.xml": xml}}, "/x/own.xml 5 4096 9", 0},
		"main":     {&memTree{kind: "capture", asks: running(serviceArg{"main", "org.apache.activemq.console.Main"})}, "", 1},
		"gone":     {&memTree{kind: "capture", asks: running(serviceArg{"-Dactivemq.home", "/opt/a"})}, "", 1},
		"debian":   {&memTree{files: map[string]string{"/etc/activemq/instances-enabled/main/activemq.xml": xml}}, "/etc/activemq/instances-enabled/main/activemq.xml 5 unknown: no ActiveMQ runs here -", 0},
		"opt":      {&memTree{files: map[string]string{"/opt/apache-activemq-5.18/conf/activemq.xml": xml, "/opt/other/conf/activemq.xml": xml}}, "/opt/apache-activemq-5.18/conf/activemq.xml 5 unknown: no ActiveMQ runs here -", 0},
		"nothing":  {&memTree{files: map[string]string{"/etc/hosts": ""}}, "", 0},
	} {
		var b advisor.Builder
		gaps := collectActiveMQ(c.m, findServices(t.Context(), c.m), &b)
		f := b.Facts()
		got := strings.ReplaceAll(strings.Join(nginxCells(f, "activemq_connectors", "path", "maximum_connections", "nofile_hard", "pid"), "; "), " |", "")
		if got != c.want || len(gaps) != c.gaps || (f.Table("activemq_connectors").Absent == noActiveMQ) != (name == "nothing") {
			t.Errorf("%s: %q, gaps %v, absent %q", name, got, gaps, f.Table("activemq_connectors").Absent)
		}
	}
}

// TestActiveMQReadsItsURIsSo hands URIs to ActiveMQ itself and compares what its server has with the table.
func TestActiveMQReadsItsURIsSo(t *testing.T) {
	uris := []string{
		"tcp://127.0.0.1:0", "tcp://127.0.0.1:0?maximumConnections=7&wireFormat.maxFrameSize=1000", "tcp://127.0.0.1:0?wireFormat.maxInactivityDuration=0&transport.keepAlive=true",
		"tcp://127.0.0.1:0?transport.useInactivityMonitor=false&wireFormat.maxInactivityDuration=5000", "nio://127.0.0.1:0?maximumConnections=12&transport.keepAlive=false",
	}
	var classes []string
	for _, jar := range strings.Fields("activemq-broker activemq-client activemq-openwire-legacy hawtbuf geronimo-jms_1.1_spec geronimo-j2ee-management-1.1-spec slf4j-api slf4j-simple") {
		file := "/usr/share/java/" + jar + ".jar"
		if _, err := os.Stat(file); err != nil {
			t.Fatalf("%v: tools/test-deps.sh installs it", err)
		}
		classes = append(classes, file)
	}
	out, err := exec.Command("java", append([]string{"-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", strings.Join(classes, ":"), "testdata/activemq/Bind.java"}, uris...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(uris) {
		t.Fatalf("%d answers for %d URIs: %s", len(lines), len(uris), out)
	}
	const most = "2147483647" // no limit
	for i, uri := range uris {
		cells := map[string]advisor.Fact{}
		activemqOptions(uri, advisor.Origin{}, cells)
		f := strings.Fields(lines[i])
		want := map[string]string{"maximum_connections": f[0], "so_keepalive": f[3], "monitor_off_by": "-"}
		switch {
		case f[2] == "false":
			want["monitor_off_by"] = "transport.useInactivityMonitor"
		case f[1] == "0":
			want["monitor_off_by"] = "wireFormat.maxInactivityDuration"
		}
		want["max_inactivity"] = map[string]string{"0": "0 s", "5000": "5 s", "30000": "30 s"}[f[1]]
		for column, text := range want {
			got := showFact(cells[column])
			if cells[column].State == 0 {
				got = "-"
			}
			if text == most {
				text = "unlimited"
			}
			if got != text && (text != "null" || got != "-") {
				t.Errorf("%s: %s is %s, ActiveMQ has %s", uri, column, got, text)
			}
		}
	}
}

// TestActiveMQOfDebianIsQuiet judges the configuration that Debian's package has for new instances, word for word but for its comments.
func TestActiveMQOfDebianIsQuiet(t *testing.T) {
	set := builtinSet(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "etc/activemq/instances-enabled/main/activemq.xml")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(activemqXML(`<transportConnector name="openwire" uri="tcp://127.0.0.1:61616"/>`)), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := Open(Options{Root: dir, Catalogue: set.Catalogue})
	if err != nil {
		t.Fatal(err)
	}
	facts, identity, gaps := h.Facts(t.Context())
	if n := len(facts.Table("activemq_connectors").Rows); n != 1 {
		t.Fatalf("%d connectors", n)
	}
	d := set.Evaluate(facts, advisor.Options{Host: identity, Gaps: gaps, FailOn: advisor.SeverityWarning})
	for _, f := range d.Findings {
		t.Errorf("%s %s: %s", f.Severity, f.Rule, f.Message)
	}
}
