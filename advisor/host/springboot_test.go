package host

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// settingsOf lists rows of spring_settings: PLACE KEY=VALUE with the faults.
func settingsOf(f *advisor.Facts) []string {
	var out []string
	t := f.Table("spring_settings")
	for _, row := range t.Rows {
		cell := func(column string) advisor.Fact { return row.Cells[column] }
		s := fmt.Sprintf("%s %s=%s", cell("place").Value, strings.TrimPrefix(cell("key").Value.String(), "spring.datasource."), showFact(cell("value")))
		for _, column := range []string{"profile", "threads", "replaced", "refused", "ignored", "assumed"} {
			if c := cell(column); c.State == advisor.StateKnown {
				s += fmt.Sprintf(" %s=%s", column, c.Value)
			}
		}
		out = append(out, s)
	}
	if t.Unknown != "" {
		out = append(out, "unknown: "+t.Unknown)
	}
	return out
}

func springFile(t *testing.T, name, text string) ([]string, error) {
	t.Helper()
	set := builtinSet(t)
	facts, err := springFacts(name, []byte(text), OpenFiles(nil, nil, FileOptions{Catalogue: set.Catalogue}))
	return settingsOf(facts[0]), err
}

func TestSpringFiles(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"application.properties", "spring.application.name=demo\n", nil},
		{"application.yml", "spring:\n  application:\n    name: demo\n", nil},
		{"application.properties", "a=1\nspring.datasource.hikari.maxLifetime: 1800\nspring.datasource.hikari.LEAK_DETECTION_THRESHOLD=60000\n", []string{
			"application.properties:2 hikari.max-lifetime=1800 replaced=less than 30000 ms: connections live 30 min, the default",
			"application.properties:3 hikari.leak-detection-threshold=60000",
		}},
		{"application.yml", "spring.datasource:\n  hikari: {keepalive-time: 600000, max-lifetime: 300000, connection-timeout: 30s, minimum-idle: 5, idle-timeout: 600}\n", []string{
			"application.yml:2 hikari.connection-timeout=30s refused=it is no number of milliseconds, and a duration such as 30s is not taken here",
			"application.yml:2 hikari.idle-timeout=600 replaced=less than 10000 ms: idle connections are kept 10 min, the default",
			"application.yml:2 hikari.keepalive-time=600000 replaced=not less than the lifetime of 300000 ms: the default takes its place, which up to HikariCP 6.2.0 is no keepalive",
			"application.yml:2 hikari.max-lifetime=300000",
			"application.yml:2 hikari.minimum-idle=5",
		}},
		{"application.yaml", "server:\n  tomcat:\n    threads.max: ${THREADS:50}\n    max-connections: -1\nspring:\n  datasource:\n    hikari:\n      maximum-pool-size: 1_00\n      validation-timeout: ${VALIDATION}\n", []string{
			"application.yaml:3 server.tomcat.threads.max=50 assumed=nothing overrides the default of the placeholder ${THREADS:50}",
			"application.yaml:4 server.tomcat.max-connections=-1 ignored=Spring Boot hands only positive numbers to Tomcat, so that Tomcat's default stays",
			"application.yaml:9 hikari.validation-timeout=unknown: ${VALIDATION} is set from outside, by the environment or the command line",
			"application.yaml:8 hikari.maximum-pool-size=1_00 threads=50",
		}},
		{"application.properties", "t=0\nspring.datasource.hikari.connection-timeout=${t}\n#---\nspring.config.activate.on-profile=prod\nspring.datasource.hikari.max-lifetime=20000\n", []string{
			"application.properties:2 hikari.connection-timeout=0",
			"application.properties:5 hikari.max-lifetime=20000 profile=prod replaced=less than 30000 ms: connections live 30 min, the default",
		}},
		{"application.yml", "spring:\n  datasource:\n    hikari: {leak-detection-threshold: 60000}\n---\nspring:\n  profiles: dev\n  datasource.hikari.max-lifetime: 30000\n---\nspring.config.activate.on-cloud-platform: kubernetes\nspring.datasource.hikari.idle-timeout: 1\n", []string{
			"application.yml:10 hikari.idle-timeout=unknown: it counts only on some cloud platform",
			"application.yml:3 hikari.leak-detection-threshold=60000 replaced=more than the lifetime of 30000 ms: no leak is reported",
			"application.yml:7 hikari.max-lifetime=30000 profile=dev",
		}},
		{"application.yml", "version: @project.version@\nspring:\n  datasource:\n    hikari:\n      max-lifetime: @life@\n      idle-timeout: {{ idle }}\n", []string{
			"application.yml:6 hikari.idle-timeout=unknown: a template decides it", "application.yml:5 hikari.max-lifetime=unknown: a template decides it",
		}},
		{"application.yml", "spring.datasource:\n  druid: {max-active: 5}\n  hikari: {max-lifetime: 1}\n", nil},
		{"application.yml", "spring.datasource:\n  type: com.alibaba.druid.pool.DruidDataSource\n  hikari: {max-lifetime: 1}\n", nil},
		{"application.properties.j2", "spring.datasource.hikari.max-lifetime={{ life }}\n{% if x %}\nspring.config.import=vault://\nspring.datasource.hikari.idle-timeout=0\n{% endif %}\n", []string{
			"application.properties.j2:4 hikari.idle-timeout=0 assumed=what is imported from elsewhere sets nothing else",
			"application.properties.j2:1 hikari.max-lifetime=unknown: a template decides it",
		}},
	} {
		got, err := springFile(t, c.name, c.text)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s %q: %v\n got %q\nwant %q", c.name, c.text, err, got, c.want)
		}
	}
	for name, text := range map[string]string{"application.yml": "a: b\nc: d: e\n", "application.properties": "a=1\nb=\\u00\n"} {
		var broken *brokenFile
		if _, err := springFile(t, name, text); !errors.As(err, &broken) || broken.line != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpringIsRecognised(t *testing.T) {
	for _, c := range []struct {
		name, text string
		named      bool
		want       string
	}{
		{"src/main/resources/application.yml", "a: b\n", false, "spring"},
		{"application-prod.properties.tmpl", "", false, "spring"},
		{"other.yml", "server:\n  port: 1\n", false, ""},
		{"other.yml", "server:\n  port: 1\n", true, "spring"},
		{"-", "spring:\n  main: {a: 1}\n", true, "spring"},
		{"-", "spring.main.a=1\n", true, "spring"},
		{"config.yml", "apiVersion: v1\nkind: ConfigMap\ndata:\n  application.yml: |\n    server.port: 1\n", true, "k8s"},
		{"x.properties", "log4j.rootLogger=a\n", true, ""},
	} {
		f := OpenFiles(nil, nil, FileOptions{Catalogue: builtinSet(t).Catalogue})
		if got, _ := f.recognise(c.name, []byte(c.text), c.named); got.name != c.want {
			t.Errorf("%s %q is %q, want %q", c.name, c.text, got.name, c.want)
		}
	}
}

func TestProfileExpressions(t *testing.T) {
	for expression, want := range map[string]bool{
		"prod": true, "dev": false, "!dev": true, "dev,prod": true, "prod & eu": true, "prod & !eu": false, "(dev | prod) & !us": true,
		"dev | eu": true, "": false, "prod &": false, "(prod": false, "prod)": false, "!!prod": true, strings.Repeat("(", 500): false,
	} {
		if got := profileHolds(expression, func(name string) bool { return name == "prod" || name == "eu" }); got != want {
			t.Errorf("%.20q is %t", expression, got)
		}
	}
}

func TestSpringDurations(t *testing.T) {
	for text, want := range map[string]string{
		"20000": "20s", "20s": "20s", "5M": "5m0s", "1d": "24h0m0s", "-1": "-1ms", "PT1H30M": "1h30m0s", "pt20s": "20s", "P1D": "24h0m0s", "-PT5S": "-5s",
		"20 s": "no", "x": "no", "1y": "no", "9999999999999999d": "no", "99999999999999999999": "no", "PT99999999999999999999S": "no",
	} {
		got := "no"
		if d, ok := (springValue{text: text}).duration(); ok {
			got = d.String()
		}
		if got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

// springJarFile packs a jar as Spring Boot's plugin does.
func springJarFile(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const springManifest = "Manifest-Version: 1.0\r\nMain-Class: Wait\r\nSpring-Boot-Version: 3.2.5\r\n"

// TestSpringThatRuns starts a JVM from a jar of that form and finds what counts for it: of the jar, of the files beside it, of a
// profile, and of the command line.
func TestSpringThatRuns(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Wait.java", "class Wait { public static void main(String[] a) throws Exception { System.out.println(); Thread.sleep(120000); } }")
	if out, err := exec.Command("javac", "-d", dir, filepath.Join(dir, "Wait.java")).CombinedOutput(); err != nil {
		t.Fatalf("javac, which tools/test-deps.sh installs: %v: %s", err, out)
	}
	class, err := os.ReadFile(filepath.Join(dir, "Wait.class"))
	if err != nil {
		t.Fatal(err)
	}
	write("shop.jar", string(springJarFile(t, map[string]string{
		"META-INF/MANIFEST.MF": springManifest, "Wait.class": string(class), "BOOT-INF/lib/tomcat-embed-core-10.1.20.jar": "", "BOOT-INF/lib/HikariCP-5.0.1.jar": "",
		"BOOT-INF/classes/application.yml":         "spring.profiles.active: prod\nserver.connection-timeout: 5s\nspring.datasource:\n  password: hunter2\n  hikari: {max-lifetime: 1, idle-timeout: 0, maximum-pool-size: 300}\n",
		"BOOT-INF/classes/application-prod.yml":    "spring.datasource.hikari.keepalive-time: 5\n",
		"BOOT-INF/classes/application-dev.yml":     "spring.datasource.hikari.minimum-idle: -5\n",
		"BOOT-INF/classes/config/application.yaml": "spring.datasource.hikari.leak-detection-threshold: 1000\n",
	})))
	write("application.properties", "spring.datasource.hikari.max-lifetime=600000\n")
	write("config/application.yml", "server.tomcat.max-connections: 0\nserver.tomcat.accept-count: 500\n")
	cmd := exec.Command("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Dserver.port=0", "-jar", "shop.jar", "--spring.datasource.hikari.connection-timeout=0", "--spring.datasource.password=hunter2")
	cmd.Dir = dir
	started, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if _, err := started.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	rec := newMemRecorder(masked{tree: liveTree(t)})
	collect := func(tr tree) []string {
		var b advisor.Builder
		s := findServices(t.Context(), tr)
		s.running = slices.DeleteFunc(s.running, func(v service) bool { return v.pid != int64(cmd.Process.Pid) })
		var r springRecord
		for _, gap := range r.collect(tr, s) {
			t.Errorf("%+v", gap)
		}
		r.record(&b, noSpring)
		f := b.Facts()
		wantCells(t, f, "spring_servers", []string{"path", "boot", "tomcat", "port", "address", "backlog", "backlog_written", "max_connections", "max_connections_written", "keepalive_timeout", "keepalive_timeout_written", "keepalive_setting"},
			fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)+" | 3.2.5 | 10.1.20 | - | :: | 500 | true | 8192 | false | 1 min | false | server.tomcat.keep-alive-timeout")
		return settingsOf(f)
	}
	got := collect(rec)
	want := []string{
		dir + "/shop.jar!/application.yml:2 server.connection-timeout=5s ignored=Spring Boot 3.2.5 has no such property any more: it is server.tomcat.connection-timeout",
		dir + "/config/application.yml:1 server.tomcat.max-connections=0 ignored=Spring Boot hands only positive numbers to Tomcat, so that Tomcat's default stays",
		dir + "/config/application.yml:2 server.tomcat.accept-count=500",
		fmt.Sprintf("/proc/%d/cmdline hikari.connection-timeout=0", cmd.Process.Pid),
		dir + "/shop.jar!/application.yml:5 hikari.idle-timeout=0",
		dir + "/shop.jar!/application-prod.yml:1 hikari.keepalive-time=5 replaced=less than 30000 ms: the default takes its place, which up to HikariCP 6.2.0 is no keepalive",
		dir + "/application.properties:1 hikari.max-lifetime=600000",
		dir + "/shop.jar!/config/application.yaml:1 hikari.leak-detection-threshold=1000 replaced=less than 2000 ms: no leak is reported",
		dir + "/shop.jar!/application.yml:5 hikari.maximum-pool-size=300 threads=200",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if again := collect(&rec.replay); !slices.Equal(again, got) {
		t.Errorf("replayed\n%s", strings.Join(again, "\n"))
	}
	for name, text := range rec.replay.files {
		if strings.HasPrefix(name, dir) && strings.Contains(text, "hunter2") {
			t.Errorf("%s holds a secret", name)
		}
	}
	for name, pieces := range rec.replay.asks {
		if strings.Contains(strings.Join(pieces, ""), "hunter2") {
			t.Errorf("the answer of %s holds a secret", name)
		}
	}
}

// Locations as the reference has them, over a tree in memory.
func TestSpringLocations(t *testing.T) {
	m := &memTree{files: map[string]string{
		"/etc/app/application.yml": "spring.datasource.hikari.max-lifetime: 40000\n", "/etc/app/application-eu.yml": "spring.datasource.hikari.max-lifetime: 50000\n",
		"/srv/one.properties": "spring.datasource.hikari.max-lifetime=60000\n", "/srv/conf/a/application.properties": "spring.datasource.hikari.max-lifetime=70000\n",
		"/srv/application.yml": "spring.datasource.hikari.max-lifetime: 80000\n", "/srv/broken/application.yml": "a: b: c\n", "/srv/shop.yml": "spring.datasource.hikari.max-lifetime: 90000\n",
	}, errs: map[string]error{"/srv/denied/application.yml": os.ErrPermission}}
	jar := func(boot string) *springJar {
		return &springJar{boot: boot, libraries: map[string]string{"HikariCP": "5"}, files: map[string][]byte{
			"application.yml": []byte("spring.datasource.hikari.max-lifetime: 31000\nspring.profiles:\n  active: ${P:eu}\n"), "application-eu.yml": []byte("spring.datasource.hikari.max-lifetime: 32000\n"),
		}}
	}
	for _, c := range []struct {
		boot, want string
		args       []serviceArg
	}{
		{"3.2.5", "/srv/application.yml:1 hikari.max-lifetime=80000", nil},
		{"2.3.9.RELEASE", "/srv/a.jar!/application-eu.yml:1 hikari.max-lifetime=32000", nil},
		{"3.2.5", "/etc/app/application-eu.yml:1 hikari.max-lifetime=50000", []serviceArg{{"--spring.config.additional-location", "optional:file:/etc/app/"}}},
		{"3.2.5", "/etc/app/application.yml:1 hikari.max-lifetime=40000", []serviceArg{{"-Dspring.config.location", "classpath:/,/etc/app/"}, {"--spring.profiles.active", "us"}}},
		{"3.2.5", "/srv/one.properties:1 hikari.max-lifetime=60000", []serviceArg{{"--spring.config.location", "one.properties"}}},
		{"3.2.5", "/srv/conf/a/application.properties:1 hikari.max-lifetime=70000", []serviceArg{{"--spring.config.location", "/etc/app/;conf/*/"}}},
		{"3.2.5", "/srv/shop.yml:1 hikari.max-lifetime=90000", []serviceArg{{"-Dspring.config.name", "application,shop"}}},
		{"3.2.5", "/srv/application.yml:1 hikari.max-lifetime=80000 !/srv/broken/application.yml:1 no valid configuration of Spring Boot: mapping values are not allowed in this context", []serviceArg{{"--spring.config.additional-location", "broken/"}}},
		{"3.2.5", "/srv/application.yml:1 hikari.max-lifetime=80000 !/srv/denied/application.yml cannot be read: permission denied", []serviceArg{{"--spring.config.additional-location", "denied/"}}},
	} {
		a := &springApp{name: "/srv/a.jar", tree: m, jar: jar(c.boot), process: &service{pid: 7, cwd: "/srv", args: c.args}}
		var r springRecord
		r.add(a, a.running())
		var b advisor.Builder
		r.record(&b, "")
		got := strings.Join(settingsOf(b.Facts()), " ")
		for i, gap := range a.gaps {
			if i == 0 || gap != a.gaps[i-1] {
				got += " !" + gap.Source + " " + gap.Why
			}
		}
		if got != c.want {
			t.Errorf("%s %v:\n got %s\nwant %s", c.boot, c.args, got, c.want)
		}
	}
}

// The Tomcat inside stands behind nginx as any other does.
func TestSpringBehindNginx(t *testing.T) {
	m := &memTree{files: map[string]string{"/srv/application.yml": "server:\n  port: 8081\n  address: 127.0.0.1\n  tomcat:\n    keep-alive-timeout: 15s\n    max-connections: 500\n"}}
	for boot, want := range map[string]string{
		"3.2.5": "Spring Boot's Tomcat 8081 (/srv/application.yml:2) | spring | /srv/application.yml | 2 | server.tomcat.keep-alive-timeout | 15 s | true | 500",
		"2.4.1": "Spring Boot's Tomcat 8081 (/srv/application.yml:2) | spring | /srv/application.yml | 2 | server.tomcat.connection-timeout | 1 min | false | 500",
	} {
		a := &springApp{name: "/srv/a.jar", tree: m, jar: &springJar{boot: boot, libraries: map[string]string{"tomcat-embed-core": "10.1.20"}}, process: &service{pid: 7, hard: "4096", cwd: "/srv"}}
		var r springRecord
		r.add(a, a.running())
		var b advisor.Builder
		r.record(&b, "")
		at := advisor.Origin{Path: "/etc/nginx/nginx.conf", Line: 3}
		b.SetTable("nginx_servers", advisor.Table{Rows: []advisor.Row{{Origin: at, Cells: map[string]advisor.Fact{
			"path": knownText(at.Path, at), "upstream": knownText("app", at), "server": knownText("localhost:8081", at), "address": knownText("localhost", at), "port": knownInt(8081, at), "keepalive": knownInt(8, at),
		}}}})
		b.SetTable("hops", hopTable(b.View()))
		wantCells(t, b.Facts(), "hops", []string{"backend", "backend_kind", "backend_path", "backend_line", "backend_setting", "backend_keepalive_timeout", "backend_keepalive_written", "max_connections"}, want)
	}
	none := &springApp{name: "/srv/a.jar", tree: &memTree{files: map[string]string{"/srv/application.yml": "server.port: -1\n"}}, jar: &springJar{boot: "3.2.5", libraries: map[string]string{"tomcat-embed-core": "10.1.20"}}, process: &service{pid: 7, hard: "4096", cwd: "/srv"}}
	var r springRecord
	if r.add(none, none.running()); len(r.server) != 0 {
		t.Errorf("%+v", r.server)
	}
}

func TestSpringJarsAreBounded(t *testing.T) {
	dir := t.TempDir()
	big := springJarFile(t, map[string]string{"META-INF/MANIFEST.MF": springManifest, "BOOT-INF/classes/application.yml": strings.Repeat("a: 1\n", jarFileLimit)})
	plain := springJarFile(t, map[string]string{"META-INF/MANIFEST.MF": "Main-Class: X\n", "BOOT-INF/classes/application.yml": "a: 1\n"})
	many := map[string]string{"META-INF/MANIFEST.MF": springManifest}
	for i := range jarFilesLimit + 1 {
		many[fmt.Sprintf("BOOT-INF/classes/application-%d.yml", i)] = "a: 1\n"
	}
	lying := bytes.Clone(plain)
	copy(lying[len(lying)-22+12:], []byte{0xff, 0xff, 0xff, 0x7f})
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"big.jar": {big, "BOOT-INF/classes/application.yml: larger than the limit"}, "plain.jar": {plain, ""}, "many.jar": {springJarFile(t, many), "more than 100 files application*.yml: larger than the limit"},
		"lying.jar": {lying, "larger than the limit"}, "empty.jar": {nil, "is no jar that can be read"}, "cut.jar": {plain[:len(plain)-1], "is no jar that can be read"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		jar, err := readSpringJar(liveTree(t), file)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want || name == "plain.jar" && jar.boot != "" || time.Since(start) > 10*time.Second {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if err := os.Remove(filepath.Join(dir, "cut.jar")); err != nil {
		t.Fatal(err)
	}
	if _, err := readSpringJar(liveTree(t), filepath.Join(dir, "cut.jar")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a jar that is gone: %v", err)
	}
}

func FuzzSpring(f *testing.F) {
	f.Add("application.yml", []byte("spring: {datasource: {hikari: {max-lifetime: '${A:${B:1}}', connection-timeout: @x@}}}\n---\nspring.profiles: [a, '!b & (c|d)']\n"))
	f.Add("application.properties", []byte("spring.datasource.hikari.maxLifetime=${a:${b}}\n#---\nspring.config.activate.on-profile=x\nserver.tomcat.threads.max=-1\na=${a}\nb=${${a}}\n"))
	set := builtinSet(f)
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		facts, err := springFacts(name, data, OpenFiles(nil, nil, FileOptions{Catalogue: set.Catalogue}))
		if len(facts) != 1 {
			t.Fatalf("%d facts, %v", len(facts), err)
		}
		lines := bytes.Count(data, []byte{'\n'}) + bytes.Count(data, []byte{'\r'}) + 1
		for _, row := range facts[0].Table("spring_settings").Rows {
			if row.Origin.Line < 1 || row.Origin.Line > lines {
				t.Fatalf("%q: line %d", data, row.Origin.Line)
			}
		}
	})
}
