package host

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// patchOfChange is the patch that one change comes to, whichever rule wants it.
func patchOfChange(t *testing.T, files sysctlHost, c advisor.Change, style advisor.PatchStyle) *advisor.Patch {
	t.Helper()
	h := openRoot(t, files.lay(t))
	set := builtinSet(t)
	facts, id, _ := h.Facts(t.Context())
	judge := func(f *advisor.Facts) *advisor.Diagnosis { return set.Evaluate(f, advisor.Options{Host: id}) }
	c.Safety = advisor.SafetyReview
	return h.Edits(t.Context(), facts, judge(facts), []advisor.Change{c}, PatchOptions{Style: style, Judge: judge})
}

// TestKindsEdited: one change of each kind and shape.
func TestKindsEdited(t *testing.T) {
	const limits = "/etc/security/limits.d/90-db.conf"
	const server, context, app, yml, broker = "/opt/tomcat/conf/server.xml", "/etc/tomcat10/context.xml", "/srv/app/application.properties", "/srv/app/config/application.yml", "/opt/activemq/conf/activemq.xml"
	change := func(setting string, to advisor.Value) advisor.Change { return advisor.Change{Setting: setting, To: to} }
	remove := func(setting string) advisor.Change { return advisor.Change{Setting: setting, Remove: true} }
	for _, c := range []struct {
		name          string
		change        advisor.Change
		file          string
		before, after string // the same: nothing is changed
		withheld      string
	}{
		{"an attribute, by its element's line", change("tomcat:"+server+":2:connectionTimeout", advisor.Duration(20*time.Second)), server,
			"<Server>\n  <Connector port=\"8080\"\n             connectionTimeout='-1'/>\n</Server>\n", "<Server>\n  <Connector port=\"8080\"\n             connectionTimeout='20000'/>\n</Server>\n", ""},
		{"by its own line", change("tomcat:"+server+":3:maxConnections", advisor.Int(1000)), server,
			"<Server>\r\n  <Connector port=\"8080\"\r\n    maxConnections=\"-1\"/>\r\n</Server>", "<Server>\r\n  <Connector port=\"8080\"\r\n    maxConnections=\"1000\"/>\r\n</Server>", ""},
		{"one that is missing", change("tomcat:"+context+":2:maxWaitMillis", advisor.Duration(10*time.Second)), context,
			"<Context>\n  <Resource name=\"jdbc/a\" />\n</Context>\n", "<Context>\n  <Resource name=\"jdbc/a\" maxWaitMillis=\"10000\" />\n</Context>\n", ""},
		{"one that goes", remove("tomcat:" + server + ":2:socket.soKeepAlive"), server,
			"<Server>\n  <Connector socket.soKeepAlive=\"true\" port=\"1\"/>\n</Server>\n", "<Server>\n  <Connector port=\"1\"/>\n</Server>\n", ""},
		{"of two on a line the one that has it", change("tomcat:"+server+":1:maxThreads", advisor.Int(7)), server,
			`<Server><Connector maxThreads="1"/><Connector/></Server>`, `<Server><Connector maxThreads="7"/><Connector/></Server>`, ""},
		{"of two on a line no one knows which", change("tomcat:"+server+":2:maxThreads", advisor.Int(7)), server, "<Server>\n<Connector/><Connector/></Server>", "", "holds several elements"},
		{"a line of other files", change("tomcat:"+server+":9:maxThreads", advisor.Int(7)), server, "<Server>\n</Server>", "", "is not what it was"},
		{"a package's file", change("tomcat:/usr/share/tomcat9/etc/server.xml:1:port", advisor.Int(7)), "/usr/share/tomcat9/etc/server.xml", "<Server port=\"1\"/>", "", "is not the administrator's"},
		{"a secret beside it", change("tomcat:"+context+":2:maxWaitMillis", advisor.Int(7)), context,
			"<Context>\n<Resource maxWaitMillis=\"-1\"\n  password=\"hunter2\"/></Context>", "", "which holds a secret: change it by hand"},
		{"an option of a URI", change("activemq:"+broker+":2:maximumConnections", advisor.Int(500)), broker,
			"<broker>\n<transportConnector uri=\"tcp://0.0.0.0:61616?maximumConnections=1000&amp;wireFormat.maxFrameSize=104857600\"/>\n</broker>",
			"<broker>\n<transportConnector uri=\"tcp://0.0.0.0:61616?maximumConnections=500&amp;wireFormat.maxFrameSize=104857600\"/>\n</broker>", ""},
		{"a further one", change("activemq:"+broker+":2:wireFormat.maxInactivityDuration", advisor.Duration(30*time.Second)), broker,
			"<broker>\n<transportConnector uri='tcp://0.0.0.0:61616?a=b'/>\n</broker>", "<broker>\n<transportConnector uri='tcp://0.0.0.0:61616?a=b&amp;wireFormat.maxInactivityDuration=30000'/>\n</broker>", ""},
		{"the first", change("activemq:"+broker+":2:maximumConnections", advisor.Int(5)), broker,
			"<broker>\n<transportConnector uri=\"tcp://0.0.0.0:61616\"/>\n</broker>", "<broker>\n<transportConnector uri=\"tcp://0.0.0.0:61616?maximumConnections=5\"/>\n</broker>", ""},
		{"the last goes", remove("activemq:" + broker + ":2:wireFormat.maxInactivityDuration"), broker,
			"<broker>\n<transportConnector uri=\"tcp://0.0.0.0:61616?wireFormat.maxInactivityDuration=0\"/>\n</broker>", "<broker>\n<transportConnector uri=\"tcp://0.0.0.0:61616\"/>\n</broker>", ""},
		{"a URI made of several", change("activemq:"+broker+":2:maximumConnections", advisor.Int(5)), broker, "<broker>\n<networkConnector uri=\"static:(tcp://a:1)\"/>\n</broker>", "", "it is made of several"},
		{"a property", change("spring:"+app+":2:server.tomcat.max-connections", advisor.Int(1000)), app,
			"# c\nserver.tomcat.max-connections : -1\nx=y", "# c\nserver.tomcat.max-connections : 1000\nx=y", ""},
		{"a property that goes", remove("spring:" + app + ":1:a.b"), app, "a.b=1\r\nc=2\r\n", "c=2\r\n", ""},
		{"a property that a placeholder decides", change("spring:"+app+":1:a.b", advisor.Int(1)), app, "a.b=${AB:0}\n", "", "a placeholder decides it, ${AB:0}"},
		{"a key of YAML", change("spring:"+yml+":4:spring.datasource.hikari.connection-timeout", advisor.Int(30000)), yml,
			"spring:\n  datasource:\n    hikari:\n      connection-timeout: 0 # never\n      minimum-idle: 1\n", "spring:\n  datasource:\n    hikari:\n      connection-timeout: 30000 # never\n      minimum-idle: 1\n", ""},
		{"a key with dots, in a second document", change("spring:"+yml+":3:server.tomcat.threads.max", advisor.Int(9)), yml,
			"a: 1\n---\nserver.tomcat: {threads: {max: '8'}}\n", "a: 1\n---\nserver.tomcat: {threads: {max: '9'}}\n", ""},
		{"a limit of open files", change("limits:"+limits+":2:nofile", advisor.Int(1048576)), limits,
			"# c\n*\thard   nofile 4000000000 # more\n* soft nofile 1024", "# c\n*\thard   nofile 1048576 # more\n* soft nofile 1024", ""},
		{"a limit of other files", change("limits:"+limits+":1:nofile", advisor.Int(5)), limits, "* hard nproc 5\n", "", "sets no nofile"},
		{"inside a jar", change("spring:/srv/app.jar!/BOOT-INF/classes/application.yml:3:a", advisor.Int(9)), app, "", "", "stands inside /srv/app.jar"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, style := range []advisor.PatchStyle{advisor.PatchInPlace, advisor.PatchAnsible} {
				p := patchOfChange(t, sysctlHost{c.file: c.before}, c.change, style)
				got, want := map[string]string{}, map[string]string{}
				for _, f := range p.Files {
					got[f.Path] = string(f.New)
				}
				if c.after != "" {
					want[c.file] = c.after
				}
				if c.withheld != "" && (len(p.Withheld) != 1 || !strings.Contains(p.Withheld[0].Why, c.withheld)) || c.withheld == "" && len(p.Withheld) > 0 {
					t.Errorf("withheld %v, want %q", p.Withheld, c.withheld)
				}
				if !maps.Equal(got, want) || c.withheld == "" && len(p.Services) != 1 {
					t.Errorf("got %q, want %q; %v", got, want, p.Services)
				}
			}
			for _, style := range []advisor.PatchStyle{advisor.PatchDropIn, advisor.PatchCommands} {
				if p := patchOfChange(t, sysctlHost{c.file: c.before}, c.change, style); len(p.Withheld) != 1 || !strings.Contains(p.Withheld[0].Why, "--format diff") || !p.Empty() {
					t.Errorf("style %d: %+v", style, p)
				}
			}
		})
	}
}
