package host

import (
	"context"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// hopsOf reads nginx and Tomcat of a tree and joins them.
func hopsOf(t *testing.T, m tree, more func(*advisor.Builder)) *advisor.Facts {
	t.Helper()
	var b advisor.Builder
	b.Set("cpus", advisor.Known(advisor.Int(4), advisor.Origin{Source: "test"}))
	b.Set("host.name", advisor.Known(advisor.Text("app1"), advisor.Origin{Source: "test"}))
	if more != nil {
		more(&b)
	}
	p := &part{host: &Host{tree: m}, tree: m, machine: true, services: findServices(t.Context(), m)}
	for _, collect := range []func(context.Context, *advisor.Builder) []advisor.Gap{p.collectNginx, p.collectTomcat, collectHops} {
		for _, gap := range collect(t.Context(), &b) {
			t.Log(gap)
		}
	}
	return b.Facts()
}

func TestHops(t *testing.T) {
	m := &memTree{files: map[string]string{
		"/etc/nginx/nginx.conf": `worker_processes auto; events {} http {
	upstream app { server 127.0.0.1:8080; server localhost:8081; server 10.0.0.9:8080; server unix:/run/t.sock; keepalive 16; }
	proxy_http_version 1.1; proxy_set_header Connection "";
	server { listen 80;
		location / { proxy_pass http://app; }
		location /slow { proxy_pass http://app; proxy_read_timeout 20s; }
		location /direct { proxy_pass http://app1:8080; }
		location /ajp { proxy_pass http://[::1]:8009; }
		location /other { proxy_pass http://127.0.0.1:9000; } } }`,
		"/opt/tomcat/conf/server.xml": serverXML(`<Resource name="jdbc/a" type="javax.sql.DataSource" maxWaitMillis="30000"/>`, `
<Connector port="8080"/><Connector port="8081" address="127.0.0.1" connectionTimeout="20000"/><Connector port="8009" protocol="AJP/1.3"/>
<Connector unixDomainSocketPath="/run/t.sock" keepAliveTimeout="75000" maxConnections="50"/>`),
	}}
	f := hopsOf(t, m, nil)
	columns := []string{"upstream", "server", "backend", "keeps", "pool", "max_connections", "backend_keepalive_timeout", "backend_keepalive_written", "read_timeout", "pool_wait"}
	const unknownVersion = "unknown: its default depends on Tomcat's version: /opt/tomcat/lib/catalina.jar does not tell its version, or could not be read"
	wantCells(t, f, "hops", columns,
		"app | 127.0.0.1:8080 | Tomcat's connector 8080 (/opt/tomcat/conf/server.xml:4) | true | 64 | "+unknownVersion+" | 1 min | false | 20 s | 30 s",
		"app | localhost:8081 | Tomcat's connector 8081 (/opt/tomcat/conf/server.xml:4) | true | 64 | "+unknownVersion+" | 20 s | false | 20 s | 30 s",
		"app | unix:/run/t.sock | Tomcat's connector /run/t.sock (/opt/tomcat/conf/server.xml:5) | true | 64 | 50 | 1 min 15 s | true | 20 s | 30 s",
		"app1:8080 | app1:8080 | Tomcat's connector 8080 (/opt/tomcat/conf/server.xml:4) | false | 0 | "+unknownVersion+" | 1 min | false | 1 min | 30 s",
	)
	set := builtinSet(t)
	var found []string
	for _, finding := range set.Evaluate(f, advisor.Options{Only: []string{"hop/*"}}).Findings {
		found = append(found, finding.Severity.String()+" "+finding.Rule)
	}
	if got := strings.Join(found, "\n"); got != "warning hop/pool-larger-than-backend\nwarning hop/upstream-keepalive-outlives-backend\nwarning hop/upstream-keepalive-outlives-backend\n"+
		"info hop/proxy-gives-up-before-pool\ninfo hop/proxy-gives-up-before-pool\ninfo hop/proxy-gives-up-before-pool" {
		t.Errorf("found:\n%s", got)
	}
	columnsOf := set.Vocabulary.Columns("hops")
	for _, row := range f.Table("hops").Rows {
		for name := range row.Cells {
			if _, ok := columnsOf.Type(name); !ok {
				t.Errorf("hops.%s is not in the vocabulary", name)
			}
		}
	}
	for _, name := range columnsOf.Names() {
		if name != "assumed" && f.Table("hops").Rows[0].Cells[name].State == 0 {
			t.Errorf("hops.%s is not filled", name)
		}
	}
}

// TestHopsAnotherListener: what another program listens on is not Tomcat, whatever its configuration says.
func TestHopsAnotherListener(t *testing.T) {
	m := &memTree{files: map[string]string{
		"/etc/nginx/nginx.conf":       "events {} http { server { location / { proxy_pass http://127.0.0.1:8080; } } }",
		"/opt/tomcat/conf/server.xml": serverXML("", `<Connector port="8080"/>`),
	}}
	for process, want := range map[string]int{"docker-proxy": 0, "java": 1, "": 1} {
		f := hopsOf(t, m, func(b *advisor.Builder) {
			b.SetTable("listeners", advisor.Table{Rows: []advisor.Row{{Cells: map[string]advisor.Fact{
				"port": knownInt(8080, advisor.Origin{}), "process": knownText(process, advisor.Origin{}),
			}}}})
		})
		if rows := f.Table("hops").Rows; len(rows) != want {
			t.Errorf("%q listens: %d hops", process, len(rows))
		}
	}
	delete(m.files, "/opt/tomcat/conf/server.xml")
	if f := hopsOf(t, m, nil); f.Table("hops").Absent != noHop {
		t.Errorf("%+v", f.Table("hops"))
	}
}

// TestTomcatUntouched: an nginx and a Tomcat that nobody has configured are no warning, alone or one behind the other. The trees
// are composed; the numbers are those of Debian's packages.
func TestTomcatUntouched(t *testing.T) {
	set := builtinSet(t)
	for version, want := range map[string]string{"1.22.1": "", "1.29.7": "info hop/upstream-keepalive-outlives-backend"} {
		m := nginxHost(version, map[string]string{
			"/etc/nginx/nginx.conf": `user www-data; worker_processes auto; events { worker_connections 768; } http { keepalive_timeout 65;
	upstream app { server 127.0.0.1:8080; }
	server { listen 80 default_server; location / { proxy_pass http://app; } } }`,
			"/opt/tomcat/RELEASE-NOTES": "Apache Tomcat Version 10.1.34\n",
			"/opt/tomcat/conf/server.xml": serverXML(`<Resource name="UserDatabase" type="org.apache.catalina.UserDatabase" factory="org.apache.catalina.users.MemoryUserDatabaseFactory"/>`,
				`<Connector port="8080" protocol="HTTP/1.1" connectionTimeout="20000" redirectPort="8443"/>`),
			"/opt/tomcat/conf/context.xml": "<Context><WatchedResource>WEB-INF/web.xml</WatchedResource></Context>",
		})
		var found []string
		for _, finding := range set.Evaluate(hopsOf(t, m, nil), advisor.Options{}).Findings {
			if finding.Severity >= advisor.SeverityWarning || strings.HasPrefix(finding.Rule, "tomcat/") || strings.HasPrefix(finding.Rule, "hop/") {
				found = append(found, finding.Severity.String()+" "+finding.Rule)
			}
		}
		if got := strings.Join(found, "\n"); got != want {
			t.Errorf("nginx %s: %s", version, got)
		}
	}
}
