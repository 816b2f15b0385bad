package host

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// springEntry is one property as a file has it.
type springEntry struct {
	key     string // as written, the names of nested mappings joined with dots
	value   string // as written, placeholders included
	unknown string // why the value is not known; empty: it is
	yaml    bool   // YAML has numbers of its own
	origin  advisor.Origin
}

// springDocument is one document of a file: application.yml may hold several, parted by ---, and application.properties by #---.
type springDocument struct {
	path     string
	profile  string // it counts only where this holds, an expression over names of profiles; empty: always
	platform bool   // it counts only on a cloud platform: spring.config.activate.on-cloud-platform
	entries  []springEntry
}

// springName makes one name of the ways in which relaxed binding lets a property be written: max-connections, maxConnections,
// max_connections and MAX_CONNECTIONS (ConfigurationPropertyName of org.springframework.boot.context.properties.source).
func springName(key string) string {
	if !strings.ContainsAny(key, "-_ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		return key
	}
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key))
}

// springFilter is what Maven's resource filtering and Gradle's expand put values in place of: @project.version@.
var springFilter = regexp.MustCompile(`@[A-Za-z][\w.-]*@`)

// yamlMapping is a line that only opens a mapping, by which YAML is told where the name of the file does not tell.
var yamlMapping = regexp.MustCompile(`(?m)^[\w.-]+:[ \t]*(?:#.*)?\r?$`)

// parseSpring reads an application.properties or .yaml. The documents before an error are returned with it.
func parseSpring(path string, data []byte) ([]springDocument, error) {
	x := springParser{path: path, data: data, lines: conf.IndexLines(data)}
	var err error
	yaml := isYAMLPath(path) || !strings.HasSuffix(withoutTemplateSuffix(path), ".properties") && yamlMapping.Match(data)
	if yaml {
		err = x.yaml()
	} else {
		err = x.properties()
	}
	for i := range x.documents {
		x.documents[i].activation()
		for j := range x.documents[i].entries {
			x.documents[i].entries[j].yaml = yaml
		}
	}
	return x.documents, err
}

type springParser struct {
	path      string
	data      []byte
	lines     conf.LineIndex
	documents []springDocument
	steps     int
}

func (x *springParser) origin(s conf.Span) advisor.Origin {
	line, column := x.lines.Position(s.Start)
	return advisor.Origin{Path: x.path, Line: line, Column: column}
}

func (x *springParser) properties() error {
	text := x.data
	if markers := conf.Markers(text); len(markers) > 0 {
		text = conf.HideMarkers(text, markers, 0)
	}
	f, err := conf.ParseProperties(text)
	for _, e := range f.Entries {
		for len(x.documents) <= e.Document {
			x.documents = append(x.documents, springDocument{path: x.path})
		}
		d := &x.documents[e.Document]
		d.add(e.Key, strings.TrimSpace(e.Value), x.origin(e.ValueSpan))
	}
	return x.broken(err, false)
}

func (x *springParser) yaml() error {
	y, err := conf.ParseYAML(x.data)
	if err != nil && springFilter.Match(x.data) { // an @ begins no scalar: such a file is YAML only when it was filtered
		text := springFilter.ReplaceAllFunc(x.data, func(at []byte) []byte { return bytes.Repeat([]byte("x"), len(at)) })
		if filtered, again := conf.ParseYAML(text); again == nil {
			y, err = filtered, nil
		}
	}
	for _, doc := range y.Docs {
		x.documents = append(x.documents, springDocument{path: x.path})
		x.flatten(y, doc, "", 0)
	}
	return x.broken(err, y.Template)
}

// broken makes an error of a parser one of a file.
func (x *springParser) broken(err error, template bool) error {
	var syntax *conf.SyntaxError
	switch {
	case err == nil && x.steps > stepLimit:
		return &brokenFile{why: "its aliases lead to more than a person can mean"}
	case errors.As(err, &syntax) && template:
		return &brokenFile{why: "a template that is no YAML before it is filled in: not judged", template: true}
	case errors.As(err, &syntax):
		return &brokenFile{line: syntax.Line, why: "no valid configuration of Spring Boot: " + syntax.Message}
	case err != nil:
		return &brokenFile{why: err.Error()}
	}
	return nil
}

// flatten makes properties of nested mappings and lists, as OriginTrackedYamlLoader does: a.b[0].c.
func (x *springParser) flatten(y *conf.YAML, n *conf.YAMLNode, prefix string, depth int) {
	if x.steps++; depth > nestLimit || x.steps > stepLimit || len(prefix) > 1024 {
		return
	}
	d := &x.documents[len(x.documents)-1]
	switch {
	case y.IsMarker(n):
		s := y.MarkerSpan(n)
		d.add(prefix, y.Bytes(s), x.origin(s))
	case n.Kind == conf.YAMLScalar && !n.Null && prefix != "":
		start := y.Start(n)
		d.add(prefix, x.written(y, n), x.origin(conf.Span{Start: start, End: start}))
	}
	for i, item := range n.Items {
		x.flatten(y, item, fmt.Sprintf("%s[%d]", prefix, i), depth+1)
	}
	for _, p := range n.Pairs {
		if p.Key.Kind != conf.YAMLScalar || y.IsMarker(n) {
			continue
		}
		key := p.Key.Text
		if prefix != "" {
			key = prefix + "." + key
		}
		x.flatten(y, p.Value, key, depth+1)
	}
}

// written is the text of a scalar, with what resource filtering puts in still in it.
func (x *springParser) written(y *conf.YAML, n *conf.YAMLNode) string {
	if !springFilter.Match(x.data) {
		return n.Text
	}
	at, ok := y.Locate(n)
	if !ok {
		return n.Text
	}
	text := []byte(n.Text)
	for i, offset := range at {
		if x.data[offset] == '@' {
			text[i] = '@'
		}
	}
	return string(text)
}

func (d *springDocument) add(key, value string, origin advisor.Origin) {
	e := springEntry{key: key, value: value, origin: origin}
	if strings.Contains(value, "{{") || strings.Contains(value, "{%") || strings.Contains(value, "<%") || springFilter.MatchString(value) {
		e.value, e.unknown = "", byTemplate
	}
	d.entries = append(d.entries, e)
}

// activation finds when the document counts. spring.profiles was the name until Spring Boot 2.4.
func (d *springDocument) activation() {
	var names []string
	for _, e := range d.entries {
		name, _, _ := strings.Cut(springName(e.key), "[")
		switch name {
		case "spring.config.activate.onprofile", "spring.profiles":
			names = append(names, e.value)
		case "spring.config.activate.oncloudplatform":
			d.platform = true
		}
	}
	d.profile = strings.Join(names, ",")
}

// profileHolds evaluates an expression such as "prod & (eu | us), !test" over the active profiles, as Profiles.of of Spring
// does; false as well for what is no expression.
func profileHolds(expression string, active func(string) bool) bool {
	for _, part := range strings.Split(expression, ",") {
		p := profileParser{text: part, active: active}
		if holds := p.or(0); holds && p.end() {
			return true
		}
	}
	return false
}

type profileParser struct {
	text   string
	at     int
	bad    bool
	active func(string) bool
}

func (p *profileParser) take(c byte) bool {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *profileParser) end() bool {
	p.take(0)
	return p.at == len(p.text) && !p.bad
}

func (p *profileParser) or(depth int) bool {
	holds := p.and(depth)
	for p.take('|') {
		other := p.and(depth)
		holds = holds || other
	}
	return holds
}

func (p *profileParser) and(depth int) bool {
	holds := p.not(depth)
	for p.take('&') {
		other := p.not(depth)
		holds = holds && other
	}
	return holds
}

func (p *profileParser) not(depth int) bool {
	switch {
	case depth > nestLimit:
		p.bad = true
		return false
	case p.take('!'):
		return !p.not(depth + 1)
	case p.take('('):
		holds := p.or(depth + 1)
		p.bad = p.bad || !p.take(')')
		return holds
	}
	start := p.at
	for p.at < len(p.text) && !strings.ContainsRune("&|!() ", rune(p.text[p.at])) {
		p.at++
	}
	p.bad = p.bad || p.at == start
	return p.active(p.text[start:p.at])
}
