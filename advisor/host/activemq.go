package host

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// noActiveMQ is why the table is absent.
const noActiveMQ = "no ActiveMQ was found"

// activemqInstance is one running broker, or one that is installed.
type activemqInstance struct {
	service service // no pid: it does not run
	file    string  // its activemq.xml
}

// collectActiveMQ fills the table of connectors from each broker that runs, else from those in the usual places.
func (p *part) collectActiveMQ(_ context.Context, b *advisor.Builder) []advisor.Gap {
	return collectActiveMQ(p.tree, p.services, b)
}

func collectActiveMQ(t tree, s *services, b *advisor.Builder) []advisor.Gap {
	found, gaps := findActiveMQ(t, s)
	if err := s.failed(); err != nil && len(found) == 0 {
		gaps = append(gaps, advisor.Gap{Source: "ActiveMQ", Why: err.Error()})
	}
	var r activemqRecord
	for _, n := range found {
		file, gap, err := readXMLFile(t, n.file)
		if err != nil {
			gaps = append(gaps, gap)
			continue
		}
		r.add(file, &n.service)
	}
	if len(gaps) > 0 {
		r.unread = gaps[0].Source + " " + gaps[0].Why
	}
	r.record(b, noActiveMQ)
	return gaps
}

// findActiveMQ names the files to read. A broker starts with the file that its command line names as xbean:FILE, else with
// activemq.xml of its directory of configuration.
func findActiveMQ(t tree, s *services) (found []activemqInstance, gaps []advisor.Gap) {
	running, gaps := s.of("ActiveMQ", func(v *service) bool {
		return v.kind == javaService && (v.arg("-Dactivemq.home", "-Dactivemq.base", "-Dactivemq.conf") != "" || v.arg("main") == "org.apache.activemq.console.Main")
	})
	for _, v := range running {
		conf := v.path("-Dactivemq.conf")
		for _, base := range []string{"-Dactivemq.base", "-Dactivemq.home"} {
			if conf == "" && v.path(base) != "" {
				conf = path.Join(v.path(base), "conf")
			}
		}
		file := strings.TrimPrefix(v.arg("xbean"), "file:")
		switch {
		case path.IsAbs(file):
		case conf == "":
			gaps = append(gaps, advisor.Gap{Source: fmt.Sprintf("ActiveMQ, process %d", v.pid), Why: "its directory of configuration is not known: " + runAsRoot})
			continue
		case file == "":
			file = path.Join(conf, "activemq.xml")
		default: // relative to the class path, in which the directory of configuration comes first
			file = path.Join(conf, strings.TrimPrefix(file, "conf/"))
		}
		found = append(found, activemqInstance{service: v, file: file})
	}
	if len(found) > 0 || len(gaps) > 0 || errors.Is(s.err, errNotCaptured) {
		return found, gaps
	}
	for _, parent := range []string{"/etc/activemq/instances-enabled", "/opt"} {
		below := map[string]string{"/opt": "conf"}[parent]
		names, _ := t.list(parent) // mostly there is none
		for _, e := range names {
			if parent == "/opt" && !strings.HasPrefix(e.Name, "activemq") && !strings.HasPrefix(e.Name, "apache-activemq") {
				continue
			}
			file := path.Join(parent, e.Name, below, "activemq.xml")
			if _, err := t.resolve(file); err == nil {
				found = append(found, activemqInstance{file: file})
			}
		}
	}
	return found, nil
}

// activemqRecord turns files into rows.
type activemqRecord struct {
	rows   []advisor.Row
	ids    map[string]int
	unread string
	any    bool
}

func (r *activemqRecord) record(b *advisor.Builder, none string) {
	t := advisor.Table{Rows: r.rows, Unknown: r.unread}
	if !r.any && r.unread == "" {
		t.Absent = none
	}
	b.SetTable("activemq_connectors", t)
}

func byActiveMQ() advisor.Origin { return advisor.Origin{Source: "ActiveMQ's default"} }

// add makes the rows of a file; its elements may have a prefix: amq:transportConnector.
func (r *activemqRecord) add(file *xmlFile, v *service) {
	r.any = true
	for i := range file.syntax.Len() {
		if file.syntax.LocalName(i) == "transportConnector" {
			r.connector(xmlRef{file, i}, v)
		}
	}
}

// activemqPlaceholder is what Spring puts a property in place of, with its default if there is one; and what Ant and others
// fill in before the broker sees the file.
var activemqPlaceholder = regexp.MustCompile(`\$\{([^{}:]*)(?::([^{}]*))?\}`)

// connector makes the row of one transportConnector.
func (r *activemqRecord) connector(e xmlRef, v *service) {
	uri, at, set, why := e.text("uri")
	if !set { // one that is only discovered, or made by a program
		return
	}
	assumed := ""
	if why == "" {
		uri, assumed, why = fillActiveMQ(uri)
	}
	name, _, named, _ := e.text("name")
	if !named {
		name, _, _ = strings.Cut(uri, "?")
	}
	id := e.file.path + " " + maskText(name)
	if r.ids == nil {
		r.ids = map[string]int{}
	}
	if r.ids[id]++; r.ids[id] > 1 {
		id += fmt.Sprintf(" #%d", r.ids[id])
	}
	cells := map[string]advisor.Fact{"id": knownText(id, at), "path": knownText(e.file.path, at), "line": knownInt(at.Line, at), "name": knownText(maskText(name), at)}
	if assumed != "" {
		cells["assumed"] = knownText(assumed, advisor.Origin{Source: "assumed"})
	}
	if why != "" {
		for _, column := range []string{"scheme", "openwire", "address", "port", "maximum_connections", "maximum_connections_written", "max_inactivity", "monitor_off_by", "so_keepalive"} {
			cells[column] = advisor.Unknown(why, at)
		}
	} else {
		activemqOptions(uri, at, cells)
	}
	if v != nil && v.pid != 0 {
		cells["pid"] = advisor.Known(advisor.Int(v.pid), advisor.Origin{Path: fmt.Sprintf("/proc/%d", v.pid)})
		cells["nofile_hard"] = processNumber(v.hard, advisor.Origin{Path: fmt.Sprintf("/proc/%d/limits", v.pid)})
		if v.unit != "" {
			cells["unit"] = knownText(v.unit, advisor.Origin{Path: fmt.Sprintf("/proc/%d/cgroup", v.pid)})
		}
	} else if v != nil {
		cells["nofile_hard"] = advisor.Unknown("no ActiveMQ runs here", at)
	}
	r.rows = append(r.rows, advisor.Row{Origin: at, Cells: cells})
}

// fillActiveMQ puts the defaults in the place of placeholders.
func fillActiveMQ(uri string) (filled, assumed, why string) {
	filled = activemqPlaceholder.ReplaceAllStringFunc(uri, func(text string) string {
		m := activemqPlaceholder.FindStringSubmatch(text)
		if !strings.Contains(text, ":") {
			why = "the property " + m[1] + " decides it"
			return ""
		}
		assumed = "nothing sets the property " + m[1]
		return m[2]
	})
	if why == "" && (strings.Contains(filled, "${") || strings.Contains(filled, "{{")) {
		why = "a placeholder decides it"
	}
	if why != "" {
		return "", "", why
	}
	return filled, assumed, ""
}

// activemqOptions takes a URI apart: scheme://host:port?option=value&... The monitor of idle connections that these options are
// about belongs to OpenWire (TcpTransportFactory.compositeConfigure); STOMP, MQTT and AMQP have heart-beats of their own.
func activemqOptions(uri string, at advisor.Origin, cells map[string]advisor.Fact) {
	const byDefault = 30 * time.Second // WireFormatInfo, OpenWireFormatFactory.maxInactivityDuration
	scheme, rest, _ := strings.Cut(uri, "://")
	rest, query, _ := strings.Cut(rest, "?")
	authority, _, _ := strings.Cut(rest, "/")
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	openwire := false
	switch strings.TrimPrefix(scheme, "auto+") {
	case "tcp", "nio", "ssl", "nio+ssl", "auto":
		openwire = true
	}
	cells["scheme"], cells["openwire"] = knownText(scheme, at), knownBool(openwire, at)
	if authority != "" {
		addAddress(cells, authority, at, -1)
	}
	options := map[string]string{}
	for _, pair := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if text, err := url.QueryUnescape(value); err == nil {
			value = text
		}
		options[name] = value
	}
	most, written := options["maximumConnections"]
	cells["maximum_connections_written"] = knownBool(written, at)
	cells["maximum_connections"] = advisor.Known(advisor.Unlimited(), byActiveMQ())
	if written {
		cells["maximum_connections"] = counted(most, at)
	}
	if text, ok := options["transport.keepAlive"]; ok {
		cells["so_keepalive"] = knownBool(text == "true", at)
	}
	if !openwire {
		return
	}
	cells["max_inactivity"] = advisor.Known(advisor.Duration(byDefault), byActiveMQ())
	if text, ok := options["wireFormat.maxInactivityDuration"]; ok {
		n, err := strconv.ParseInt(text, 10, 64)
		d, fits := scaled(n, time.Millisecond)
		switch {
		case err != nil || !fits:
			cells["max_inactivity"] = advisor.Unknown(notUnderstood([]byte(text)), at)
			cells["monitor_off_by"] = cells["max_inactivity"]
		case n <= 0:
			cells["monitor_off_by"] = knownText("wireFormat.maxInactivityDuration", at)
			fallthrough
		default:
			cells["max_inactivity"] = advisor.Known(advisor.Duration(d), at)
		}
	}
	if options["transport.useInactivityMonitor"] == "false" {
		cells["monitor_off_by"] = knownText("transport.useInactivityMonitor", at)
	}
}

// looksLikeActiveMQ reports whether a file is XML with a broker's connectors: Spring's beans around it are common to many programs.
func looksLikeActiveMQ(name string, data []byte, f *Files, named bool) bool {
	return looksLikeTomcat("beans", "transportConnector")(name, data, f, named) || looksLikeTomcat("broker", "transportConnector")(name, data, f, named)
}

// activemqFacts is what an activemq.xml says when it is judged alone.
func activemqFacts(name string, data []byte, f *Files) ([]*advisor.Facts, error) {
	file := parseXMLFile(name, maskSecrets(name, data))
	var r activemqRecord
	if file.broken == nil {
		r.add(file, nil)
	} else {
		r.unread = file.broken.why
	}
	var b advisor.Builder
	setKernel(&b, Options{Kernel: f.options.Kernel, Catalogue: f.options.Catalogue})
	r.record(&b, "")
	if file.broken != nil {
		return []*advisor.Facts{b.Facts()}, file.broken
	}
	return []*advisor.Facts{b.Facts()}, nil
}
