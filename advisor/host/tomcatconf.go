package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// tomcatConf is one configuration of Tomcat: server.xml with the contexts beside it.
type tomcatConf struct {
	tree       tree              // nil: a file that is judged alone
	base       string            // catalina.base; empty: a file alone
	dir        string            // where server.xml lies
	server     string            // server.xml itself
	properties map[string]string // catalina.properties and the -D of the command line that are read
	unread     string            // why catalina.properties was not read; empty: it was, or there is none
	version    productVersion
	connectors []xmlRef
	resources  []xmlRef
	seen       string // why there may be more than what was found; empty: there is not
	gaps       []advisor.Gap
}

// Limits on contexts: an application server of a university has some hundred.
const (
	tomcatMaxContexts   = 5_000
	tomcatContextLimit  = 4 << 20
	maxTomcatRows       = 20_000
	tomcatMaxProperties = 1_000 // replaced in one value
)

func (c *tomcatConf) gap(g advisor.Gap) {
	if !slices.Contains(c.gaps, g) {
		c.gaps = append(c.gaps, g)
	}
	if c.seen == "" {
		c.seen = g.Source + ": " + g.Why
	}
}

// read reads server.xml and the contexts.
func (c *tomcatConf) read() {
	c.readProperties()
	f, gap, err := readXMLFile(c.tree, c.server)
	if err != nil {
		c.gap(gap)
		return
	}
	c.take(f)
	c.readContext(path.Join(c.dir, "context.xml"))
	for _, engine := range (xmlRef{f, 0}).inside("Engine") {
		for _, host := range engine.inside("Host") {
			c.readHost(c.text(engine, "name"), c.text(host, "name"), c.text(host, "appBase"))
		}
	}
}

// text is an attribute as it is; empty where it is not known.
func (c *tomcatConf) text(r xmlRef, name string) string {
	v := c.value(r, name)
	if v.unknown != "" {
		return ""
	}
	return v.text
}

// take takes in the elements of a file that matter.
func (c *tomcatConf) take(f *xmlFile) {
	root := xmlRef{f, 0}
	if root.name() == "Server" {
		for _, service := range root.children("Service") {
			c.connectors = append(c.connectors, service.children("Connector")...)
			c.included(service)
		}
		c.included(root)
	}
	c.resources = append(c.resources, root.inside("Resource")...)
}

// included notes that an entity may bring more elements.
func (c *tomcatConf) included(r xmlRef) {
	if entity := r.file.syntax.Entity(r.element); entity != "" {
		c.gap(advisor.Gap{Source: r.file.path, Why: "the entity &" + entity + "; in <" + r.name() + "> is not followed: what it brings is not judged"})
	}
}

// readContext reads a context.xml, if there is one.
func (c *tomcatConf) readContext(name string) {
	switch f, gap, err := readXMLFile(c.tree, name); {
	case err == nil:
		c.take(f)
	case !errors.Is(err, fs.ErrNotExist):
		c.gap(gap)
	}
}

// readHost reads the contexts of a host: those in conf/ENGINE/HOST, and of the unpacked applications without one there their
// META-INF/context.xml (org.apache.catalina.startup.HostConfig).
func (c *tomcatConf) readHost(engine, host, apps string) {
	if engine == "" || host == "" || strings.ContainsAny(engine+host, "/\x00") {
		return
	}
	dir := path.Join(c.dir, engine, host)
	have := map[string]bool{}
	entries, err := c.tree.list(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.gap(advisor.Gap{Source: dir, Why: err.Error()})
	}
	for _, e := range entries[:min(len(entries), tomcatMaxContexts)] {
		if app, ok := strings.CutSuffix(e.Name, ".xml"); ok && !e.Type.IsDir() {
			have[app] = true
			c.readContext(path.Join(dir, e.Name))
		}
	}
	if apps == "" {
		apps = "webapps"
	}
	if !path.IsAbs(apps) {
		apps = path.Join(c.base, apps)
	}
	entries, err = c.tree.list(apps)
	if err != nil {
		return // no applications
	}
	for _, e := range entries[:min(len(entries), tomcatMaxContexts)] {
		if !have[e.Name] && !strings.HasSuffix(e.Name, ".war") {
			c.readContext(path.Join(apps, e.Name, "META-INF/context.xml"))
		}
	}
}

func (c *tomcatConf) readProperties() {
	const name = "catalina.properties"
	data, err := c.tree.read(path.Join(c.dir, name), tomcatContextLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		c.unread = path.Join(c.dir, name) + " could not be read"
		return
	}
	f, err := conf.ParseProperties(data)
	if err != nil {
		c.unread = path.Join(c.dir, name) + ": " + err.Error()
	}
	for _, e := range f.Entries {
		if _, given := c.properties[e.Key]; !given { // the command line is first
			c.properties[e.Key] = e.Value
		}
	}
}

// tomcatValue is what an attribute comes to.
type tomcatValue struct {
	set     bool
	text    string
	origin  advisor.Origin
	unknown string // why it cannot be known; empty: it is
	assumed string // a property that is taken for not set on the command line
}

// value is an attribute, ${property} replaced as IntrospectionUtils.replaceProperties() does.
func (c *tomcatConf) value(r xmlRef, name string) tomcatValue {
	text, origin, set, unknown := r.text(name)
	v := tomcatValue{set: set, text: text, origin: origin, unknown: unknown}
	if unknown != "" {
		return v
	}
	for n := 0; n < tomcatMaxProperties; n++ {
		start := strings.LastIndex(v.text, "${") // the innermost
		if start < 0 {
			return v
		}
		length := strings.IndexByte(v.text[start:], '}')
		if length < 0 {
			return v
		}
		property, byDefault, has := strings.Cut(v.text[start+2:start+length], ":-")
		value, known := c.properties[property]
		switch {
		case !known && !has:
			v.unknown = "the property " + property + " decides it"
			return v
		case !known && c.unread != "":
			v.unknown = c.unread
			return v
		case !known:
			value = byDefault
			v.assumed = "nothing sets the property " + property
		}
		v.text = v.text[:start] + value + v.text[start+length+1:]
	}
	v.unknown = "too many properties decide it"
	return v
}

// read makes a fact of a value, or of its default.
func (v tomcatValue) fact(byDefault advisor.Fact, read func(string) (advisor.Value, bool)) advisor.Fact {
	switch {
	case !v.set:
		return byDefault
	case v.unknown != "":
		return advisor.Unknown(v.unknown, v.origin)
	}
	value, ok := read(v.text)
	if !ok {
		return advisor.Unknown(fmt.Sprintf("%q is nothing that Tomcat takes here", v.text), v.origin)
	}
	return advisor.Known(value, v.origin)
}

func tomcatInt(text string) (advisor.Value, bool) {
	n, err := strconv.ParseInt(text, 10, 32)
	return advisor.Int(n), err == nil
}

// tomcatLimit is a number of which none below that one is a limit.
func tomcatLimit(least int64) func(string) (advisor.Value, bool) {
	return func(text string) (advisor.Value, bool) {
		n, err := strconv.ParseInt(text, 10, 32)
		if n < least {
			return advisor.Unlimited(), err == nil
		}
		return advisor.Int(n), err == nil
	}
}

func tomcatBool(text string) (advisor.Value, bool) {
	switch strings.ToLower(text) {
	case "true":
		return advisor.Bool(true), true
	case "false":
		return advisor.Bool(false), true
	}
	return advisor.Value{}, false
}

// tomcatImplied is a default: a value with no place of its own.
func tomcatImplied(v advisor.Value) advisor.Fact {
	return advisor.Known(v, advisor.Origin{Source: "Tomcat's default"})
}

// tomcatWait is a time in milliseconds that may be endless. Fact is absent then, and endless says so.
type tomcatWait struct{ time, endless advisor.Fact }

// wait reads a time-out. What is below least never ends it.
func (v tomcatValue) wait(byDefault tomcatWait, least int64) tomcatWait {
	if !v.set {
		return byDefault
	}
	n := v.fact(advisor.Fact{}, tomcatInt)
	ms, ok := n.Value.Int()
	switch {
	case !ok:
		return tomcatWait{n, n}
	case ms < least:
		return tomcatWait{advisor.Absent("it waits without end", v.origin), knownBool(true, v.origin)}
	}
	return tomcatWait{advisor.Known(advisor.Duration(time.Duration(ms)*time.Millisecond), v.origin), knownBool(false, v.origin)}
}

// tomcatWaits is a default.
func tomcatWaits(d time.Duration) tomcatWait {
	if d < 0 {
		o := advisor.Origin{Source: "Tomcat's default"}
		return tomcatWait{advisor.Absent("it waits without end", o), knownBool(true, o)}
	}
	return tomcatWait{tomcatImplied(advisor.Duration(d)), tomcatImplied(advisor.Bool(false))}
}

// tomcatProtocol is what a connector speaks, and by which implementation; it is "" where that is none of Tomcat's.
func tomcatProtocol(text string) (protocol, implementation string) {
	switch text {
	case "", "HTTP/1.1":
		return "http", "nio"
	case "AJP/1.3":
		return "ajp", "nio"
	}
	class, ours := strings.CutPrefix(text, "org.apache.coyote.")
	switch {
	case !ours:
		return "http", ""
	case strings.HasPrefix(class, "ajp."):
		protocol = "ajp"
	default:
		protocol = "http"
	}
	class = class[strings.LastIndexByte(class, '.')+1:]
	for _, kind := range []struct{ in, name string }{{"Nio2", "nio2"}, {"Nio", "nio"}, {"Apr", "apr"}} {
		if strings.Contains(class, kind.in) {
			return protocol, kind.name
		}
	}
	if class == "Http11Protocol" || class == "AjpProtocol" {
		return protocol, "bio"
	}
	return protocol, ""
}
