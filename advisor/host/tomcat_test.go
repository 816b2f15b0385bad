package host

import (
	"archive/zip"
	"bytes"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
)

func tomcatFactsOf(t testing.TB, m tree, bases ...string) (*advisor.Facts, []advisor.Gap) {
	t.Helper()
	var b advisor.Builder
	gaps := collectTomcat(m, findServices(t.Context(), m), newUnits(m), bases, &b)
	return b.Facts(), gaps
}

// serverXML is a server.xml around connectors.
func serverXML(global, service string) string {
	return "<Server port=\"8005\">\n<GlobalNamingResources>" + global + "</GlobalNamingResources>\n<Service name=\"Catalina\">" + service +
		"<Engine name=\"Catalina\"><Host name=\"localhost\" appBase=\"webapps\"/></Engine></Service></Server>\n"
}

// runningTomcat is the answer about one that runs.
func runningTomcat(version string) map[string][]string {
	v := service{kind: javaService, pid: 71, soft: "4096", hard: "4096", unit: "tomcat.service", args: []serviceArg{
		{"-Dcatalina.base", "/srv/t"}, {"-Dcatalina.home", "/opt/t"}, {"version", version},
	}}
	return map[string][]string{"services": {string(v.encode())}}
}

func TestTomcatEffectiveValues(t *testing.T) {
	m := &memTree{kind: "capture", asks: runningTomcat("10.1.60"), files: map[string]string{
		"/srv/t/conf/catalina.properties": "# x\nhttp.port = 8180\nidle=5000\n",
		"/srv/t/conf/server.xml": serverXML("", `
  <!-- <Connector port="1"/> -->
  <Executor name="pool" maxThreads="40"/><Executor name="default"/>
  <Connector port="${http.port}" connectionTimeout="20000" executor="pool"/>
  <Connector port="8081" connectionTimeout="-1" keepAliveTimeout="${idle}" maxKeepAliveRequests="0" maxConnections="-1" acceptCount="500" address="127.0.0.1" SSLEnabled="true"/>
  <Connector port="${ajp:-8009}" protocol="AJP/1.3" executor="default"/>
  <Connector port="${none}" protocol="org.apache.coyote.http11.Http11Nio2Protocol" keepAliveTimeout="x" maxThreads="7"/>
  <Connector port="-1"/><Connector port="0" executor="gone"/>
  <Connector unixDomainSocketPath="/run/t.sock" protocol="org.example.Own"/>
  <Connector port="8443" connectionTimeout="30000" address="::1" socket.soKeepAlive="true" protocol="org.apache.coyote.http11.Http11AprProtocol"/>`),
	}}
	f, gaps := tomcatFactsOf(t, m)
	if len(gaps) > 0 {
		t.Error(gaps)
	}
	wantCells(t, f, "tomcat_connectors", []string{"id", "address", "port", "protocol", "implementation", "backlog", "backlog_written", "connection_timeout", "waits_forever", "keepalive_timeout", "keepalive_timeout_written"},
		"/srv/t/conf/server.xml 8180 | :: | 8180 | http | nio | 100 | false | 20 s | false | 20 s | false",
		"/srv/t/conf/server.xml 8081 | 127.0.0.1 | 8081 | http | nio | 500 | true | - | true | 5 s | true",
		"/srv/t/conf/server.xml 8009 | 127.0.0.1 | 8009 | ajp | nio | 100 | false | - | true | - | false",
		"/srv/t/conf/server.xml connector | :: | unknown: the property none decides it | http | nio2 | 100 | false | 1 min | false | unknown: \"x\" is nothing that Tomcat takes here | true",
		"/srv/t/conf/server.xml connector #2 | :: | - | http | nio | 100 | false | 1 min | false | 1 min | false",
		"/srv/t/conf/server.xml /run/t.sock | - | - | http | - | 100 | false | 1 min | false | 1 min | false",
		"/srv/t/conf/server.xml 8443 | ::1 | 8443 | http | apr | 100 | false | 30 s | false | 30 s | true",
	)
	wantCells(t, f, "tomcat_connectors", []string{"max_keepalive_requests", "max_connections", "max_threads", "executor", "so_keepalive", "ssl", "nofile_hard", "unit", "assumed"},
		"100 | 8192 | 40 | pool | false | false | 4096 | tomcat.service | -",
		"unlimited | unlimited | 200 | - | false | true | 4096 | tomcat.service | -",
		"100 | 8192 | 200 | default | false | false | 4096 | tomcat.service | -",
		"100 | 8192 | 7 | - | false | false | 4096 | tomcat.service | -",
		"100 | 8192 | unknown: its thread pool gone was not found | gone | false | false | 4096 | tomcat.service | -",
		"100 | 8192 | 200 | - | false | - | 4096 | tomcat.service | -",
		"100 | 8192 | 200 | - | true | false | 4096 | tomcat.service | -",
	)
	row := f.Table("tomcat_connectors").Rows[1].Cells
	if o := row["backlog"].Origin; o.Path != "/srv/t/conf/server.xml" || o.Line != 7 || m.files[o.Path][o.Start:o.End] != "500" {
		t.Errorf("%+v", o)
	}
}

func TestTomcatDataSources(t *testing.T) {
	m := &memTree{kind: "capture", asks: runningTomcat("9.0.80"), files: map[string]string{
		"/srv/t/conf/server.xml": serverXML(`<Resource name="UserDatabase" type="org.apache.catalina.UserDatabase"/>
<Resource name="jdbc/a" type="javax.sql.DataSource" maxActive="50" maxWait="10000"/>`, ""),
		"/srv/t/conf/context.xml": `<Context><Resource name="jdbc/b" type="javax.sql.DataSource" factory="org.apache.tomcat.jdbc.pool.DataSourceFactory" removeAbandoned="true"/></Context>`,
		"/srv/t/conf/Catalina/localhost/shop.xml": `<Context><Resource name="jdbc/c" type="javax.sql.DataSource" maxTotal="20" maxWaitMillis="-1"
  removeAbandonedOnMaintenance="true"/></Context>`,
		"/srv/t/webapps/shop/META-INF/context.xml":  `<Context><Resource name="jdbc/overridden" type="javax.sql.DataSource"/></Context>`,
		"/srv/t/webapps/other/META-INF/context.xml": `<Context><Resource name="jdbc/d" type="javax.sql.DataSource" factory="com.zaxxer.hikari.HikariJNDIFactory" maximumPoolSize="4"/></Context>`,
	}}
	f, gaps := tomcatFactsOf(t, m)
	if len(gaps) > 0 {
		t.Error(gaps)
	}
	wantCells(t, f, "tomcat_datasources", []string{"name", "pool", "max_total", "max_wait", "waits_forever", "max_wait_written", "reclaims", "ignored", "meant"},
		"jdbc/a | dbcp2 | 8 | - | true | false | false | maxActive, maxWait | maxTotal, maxWaitMillis",
		"jdbc/b | tomcat-jdbc | 100 | 30 s | false | false | true | - | -",
		"jdbc/c | dbcp2 | 20 | - | true | true | true | - | -",
		"jdbc/d | hikari | 4 | 30 s | false | false | - | - | -",
	)
}

func TestTomcatFound(t *testing.T) {
	xml := serverXML("", `<Connector port="8080"/>`)
	jar := func() string {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.Create("org/apache/catalina/util/ServerInfo.properties")
		if err == nil {
			_, err = w.Write([]byte("server.info=Apache Tomcat/11.0.4\nserver.number=11.0.4.0\n"))
		}
		if err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		return b.String()
	}()
	for name, c := range map[string]struct {
		tree  memTree
		bases []string
		want  string
		gaps  string
	}{
		"Debian's": {tree: memTree{files: map[string]string{
			"/etc/tomcat10/server.xml": xml, "/var/lib/tomcat10/x": "",
			"/var/lib/dpkg/status": "Package: tomcat10-common\nStatus: install ok installed\nVersion: 10.1.34-0+deb12u2\n",
		}, links: map[string]string{"/var/lib/tomcat10/conf/server.xml": "/etc/tomcat10/server.xml"}}, want: "/var/lib/tomcat10/conf/server.xml | 10.1.34"},
		"a tarball in /opt": {tree: memTree{files: map[string]string{
			"/opt/apache-tomcat-9.0.1/conf/server.xml": xml, "/opt/apache-tomcat-9.0.1/RELEASE-NOTES": "\n  Apache Tomcat Version 9.0.1\n",
		}}, want: "/opt/apache-tomcat-9.0.1/conf/server.xml | 9.0.1"},
		"the jar tells": {tree: memTree{files: map[string]string{"/x/conf/server.xml": xml, "/x/lib/catalina.jar": jar}}, bases: []string{"/x"}, want: "/x/conf/server.xml | 11.0.4"},
		"nothing tells": {tree: memTree{files: map[string]string{"/x/conf/server.xml": xml}}, bases: []string{"/x/"},
			want: "/x/conf/server.xml | unknown: /x/lib/catalina.jar does not tell its version, or could not be read"},
		"a flag in vain": {tree: memTree{files: map[string]string{"/etc/passwd": ""}}, bases: []string{"/x"}, gaps: "/x/conf/server.xml no such file: --tomcat-base names the directory with conf/server.xml"},
		"none":           {tree: memTree{files: map[string]string{"/etc/passwd": ""}}},
		"broken":         {tree: memTree{files: map[string]string{"/x/conf/server.xml": "<Server>\n  <Service></Server>"}}, bases: []string{"/x"}, gaps: "/x/conf/server.xml:2:12 no valid XML: </Server> stands where </Service> is missing, which closes the <Service> of line 2"},
		"in a container": {tree: memTree{kind: "capture", asks: map[string][]string{"services": {`java 9 "container=container abc" "-Dcatalina.base=/t"` + "\n"}}},
			gaps: "Tomcat, process 9 runs in container abc and has files of its own: not judged"},
		"no base": {tree: memTree{kind: "capture", asks: map[string][]string{"services": {`java 9 "main=org.apache.catalina.startup.Bootstrap"` + "\n"}}},
			gaps: "Tomcat, process 9 its catalina.base is not known: run as root, or name it with --tomcat-base DIR"},
	} {
		f, gaps := tomcatFactsOf(t, &c.tree, c.bases...)
		if got := strings.Join(nginxCells(f, "tomcat_connectors", "path", "version"), "\n"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		got := ""
		for _, g := range gaps {
			got += g.Source + " " + g.Why
		}
		if got != c.gaps {
			t.Errorf("%s: gap %s, want %s", name, got, c.gaps)
		}
		table := f.Table("tomcat_connectors")
		if (table.Absent == noTomcat) != (c.want == "" && c.gaps == "") || (table.Unknown != "") != (c.gaps != "") {
			t.Errorf("%s: %+v", name, table)
		}
	}
}

// TestTomcatVocabulary: each cell is a column of the vocabulary, and each column is filled by some cell.
func TestTomcatVocabulary(t *testing.T) {
	set := builtinSet(t)
	m := &memTree{kind: "capture", asks: runningTomcat("9.0.80"), files: map[string]string{"/srv/t/conf/server.xml": serverXML(
		`<Resource name="jdbc/a" type="javax.sql.DataSource" maxActive="50" factory="org.apache.tomcat.jdbc.pool.DataSourceFactory" maxTotal="3"/>`,
		`<Executor name="e"/><Connector port="${p:-8080}" executor="e" unixDomainSocketPath="/x" maxThreads="${q:-1}"/>`)}}
	f, _ := tomcatFactsOf(t, m)
	filled := map[string]bool{}
	for _, table := range tomcatTables() {
		columns := set.Vocabulary.Columns(table)
		for _, row := range f.Table(table).Rows {
			for name := range row.Cells {
				if _, ok := columns.Type(name); !ok {
					t.Errorf("%s.%s is not in the vocabulary", table, name)
				}
				filled[table+"."+name] = true
			}
		}
		for _, column := range columns.Names() {
			if !filled[table+"."+column] {
				t.Errorf("%s.%s is never filled", table, column)
			}
		}
	}
}

func TestTomcatFilesAlone(t *testing.T) {
	set := builtinSet(t)
	files := OpenFiles(nil, nil, FileOptions{Catalogue: set.Catalogue})
	recognised := func(name, text string) string {
		kind, _ := files.recognise(name, []byte(text), true)
		return kind.name
	}
	for text, want := range map[string]string{
		serverXML("", ""): "server.xml", "<?xml version='1.0'?>\n<!-- a < b -->\n<!DOCTYPE Server [<!ENTITY a \"b\">]>\n" + serverXML("", ""): "server.xml",
		"{{ ansible_managed | comment('xml') }}\n" + serverXML("", ""): "server.xml",
		`<Context><Resource name="a"/></Context>`:                      "context.xml",
		`<server description="Liberty"/>`:                              "",
		"<beans><Resource/></beans>":                                   "",
	} {
		if got := recognised("x.xml", text); got != want {
			t.Errorf("%.60q is %q, want %q", text, got, want)
		}
	}
	judge := func(text string) (*advisor.Facts, error) {
		facts, err := tomcatFacts("Server")("server.xml.j2", []byte(text), files)
		return facts[0], err
	}
	f, err := judge("{% if x %}\n" + serverXML("", "\n{% for c in all %}\n<Connector port=\"{{ c }}\" {% if y %}acceptCount=\"5\"{% endif %} maxConnections=\"{{ n }}\"/>\n{% endfor %}\n") + "{% endif %}")
	if err != nil {
		t.Error(err)
	}
	wantCells(t, f, "tomcat_connectors", []string{"port", "max_connections", "connection_timeout"}, "unknown: a template fills it in | unknown: a template fills it in | 1 min")
	f, err = judge(`<!DOCTYPE Server [<!ENTITY c SYSTEM "c.xml">]><Server><Service>&c;<Connector port="1"/></Service></Server>`)
	if err == nil || !strings.Contains(err.Error(), "the entity &c; in <Service> is not followed") || f.Table("tomcat_connectors").Unknown == "" || len(f.Table("tomcat_connectors").Rows) != 1 {
		t.Error(err, f.Table("tomcat_connectors"))
	}
	if _, err = judge("<Context/>"); err == nil || err.Error() != "its first element is <Context>, not <Server>" {
		t.Error(err)
	}
}

// TestXMLSecrets: what is masked is as long as before, as well-formed, and leaves the other attributes alone.
func TestXMLSecrets(t *testing.T) {
	text := `<?xml version="1.0"?>
<Context>
  <Resource name="jdbc/a" maxTotal="5"
    password="geheim1" maxWaitMillis="7"
    url="jdbc:mysql://me:geheim2@db/x?user=a&amp;password=geheim3&amp;b=c" username='x' connectionProperties='trustPassword=geheim4;a=b' keystorePass='y'
    keystorePassword = 'gehe
im5'/>
  <bean><property name="userPassword" value="geheim6"/><property name="password"><value>geheim7</value></property><secret>geheim8</secret></bean>
  <!-- <x password="geheim9"/> -->
</Context>
`
	out := string(maskSecrets("/x/context.xml", []byte(text)))
	if strings.Contains(out, "geheim") || strings.Contains(out, "im5") || len(out) != len(text) {
		t.Error(out)
	}
	for _, kept := range []string{`maxTotal="5"`, `maxWaitMillis="7"`, "user=a&amp;", "@db/x", "b=c", "a=b", "username='x'", `name="userPassword"`} {
		if !strings.Contains(out, kept) {
			t.Errorf("%s is gone:\n%s", kept, out)
		}
	}
	if f := parseXMLFile("x", []byte(out)); f.broken != nil {
		t.Error(f.broken)
	}
}

// TestDebiansTomcatVersion reads the jar that the tests install, see tools/test-deps.sh.
func TestDebiansTomcatVersion(t *testing.T) {
	if v := readTomcatVersion("/usr/share/tomcat10"); !strings.HasPrefix(v, "10.") {
		t.Errorf("%q", v)
	}
}
