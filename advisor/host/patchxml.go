package host

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// tomcatKind are attributes of Tomcat's server.xml and context.xml, as tomcat:FILE:LINE:ATTRIBUTE with the line that the element
// begins on, or that of the attribute. One that is missing is added.
func tomcatKind() settingKind {
	return settingKind{prefix: "tomcat", operands: []string{"server.xml", "context.xml"}, edit: editTomcat, after: restart("Tomcat", "tomcat_connectors",
		"Tomcat reads its files when it starts. A restart ends all connections, and requests under way fail unless a proxy asks another server: take it out of the load balancer first"), told: "then restart Tomcat"}
}

// activemqKind are options in the uri of a transportConnector of ActiveMQ, or its attributes, as activemq:FILE:LINE:OPTION with the
// line that the element begins on.
func activemqKind() settingKind {
	return settingKind{prefix: "activemq", operands: []string{"activemq.xml"}, edit: editActiveMQ, after: restart("ActiveMQ", "activemq_connectors",
		"the broker reads its file when it starts. A restart ends all connections: clients whose URI is failover:(...) come back by themselves, others must be restarted")}
}

func editTomcat(p *plan, s *placing) (why string) {
	e, why := p.openService(s.place.file)
	if why != "" {
		return why
	}
	element, why := e.element(s.place)
	if why != "" {
		return why
	}
	return e.setAttribute(element, s, s.place.name, javaText(s.change.To))
}

func editActiveMQ(p *plan, s *placing) (why string) {
	e, why := p.openService(s.place.file)
	if why != "" {
		return why
	}
	element, why := e.element(s.place)
	if why != "" {
		return why
	}
	uri, ok := e.xml().Attr(element, "uri")
	if _, own := e.xml().Attr(element, s.place.name); own || !ok {
		return e.setAttribute(element, s, s.place.name, javaText(s.change.To))
	}
	value, old, err := setOption(uri.Value, s.place.name, javaText(s.change.To), s.change.Remove)
	if err != nil || uri.Entity != "" {
		return fmt.Sprintf("%s:%d: the uri is changed by hand: %v", e.path, s.place.line, err)
	}
	edit, err := e.xml().SetAttr(element, "uri", value)
	return e.attributeEdit(edit, err, uri.Span, s, old, javaText(s.change.To))
}

func (e *editing) xml() *conf.XML {
	return parsed(e.original, func(data []byte) *conf.XML {
		f, _ := conf.ParseXML(data) // what was judged could be parsed
		return f
	})
}

// element is the one whose start tag, or whose attribute of that name, stands on a line.
func (e *editing) element(at settingAt) (element int, why string) {
	x, lines := e.xml(), conf.IndexLines(e.old)
	var begin, have []int
	for i := range x.Len() {
		a, ok := x.Attr(i, at.name)
		line, _ := lines.Position(x.Span(i).Start)
		attr, _ := lines.Position(a.Span.Start)
		if line != at.line && (!ok || attr != at.line) {
			continue
		}
		begin = append(begin, i)
		if ok {
			have = append(have, i)
		}
	}
	switch {
	case len(have) == 1:
		return have[0], ""
	case len(begin) == 1:
		return begin[0], ""
	case len(begin) == 0:
		return 0, fmt.Sprintf("%s:%d is not what it was: run again", e.path, at.line)
	}
	return 0, fmt.Sprintf("%s:%d holds several elements: change it by hand", e.path, at.line)
}

// setAttribute sets, adds or removes an attribute.
func (e *editing) setAttribute(element int, s *placing, name, value string) (why string) {
	x := e.xml()
	a, ok := x.Attr(element, name)
	switch {
	case ok && s.change.Remove:
		edit, err := x.RemoveAttr(element, name)
		return e.attributeEdit(edit, err, a.Span, s, a.Value, value)
	case ok:
		edit, err := x.SetAttr(element, name, value)
		return e.attributeEdit(edit, err, a.Span, s, a.Value, value)
	case s.change.Remove:
		return ""
	}
	edit, err := x.AddAttr(element, name, value)
	return e.attributeEdit(edit, err, edit.Span, s, "not set", value)
}

func (e *editing) attributeEdit(edit conf.Edit, err error, at conf.Span, s *placing, old, value string) (why string) {
	line := e.line(at.Start)
	if err != nil {
		return fmt.Sprintf("%s:%d: %v", e.path, line, err)
	}
	if s.change.Remove {
		value = "removed"
	}
	e.edit(edit)
	e.noteHunk(line, s, fmt.Sprintf("%s: %s -> %s", s.key, old, value))
	return ""
}

// setOption sets an option in the query of a URI, whose other bytes stay. old is its value, or that there is none.
func setOption(uri, name, value string, remove bool) (changed, old string, err error) {
	base, query, found := strings.Cut(uri, "?")
	switch {
	case strings.Contains(uri, "("):
		return "", "", errors.New("it is made of several")
	case strings.Contains(uri, "${"):
		return "", "", errors.New("a property is put into it")
	}
	old = "not set"
	var options []string
	if found && query != "" {
		options = strings.Split(query, "&")
	}
	at := slices.IndexFunc(options, func(o string) bool { key, _, _ := strings.Cut(o, "="); return key == name })
	option := name + "=" + url.QueryEscape(value)
	switch {
	case at >= 0:
		_, old, _ = strings.Cut(options[at], "=")
		if options[at] = option; remove {
			options = slices.Delete(options, at, at+1)
		}
	case !remove:
		options = append(options, option)
	}
	if len(options) == 0 {
		return base, old, nil
	}
	return base + "?" + strings.Join(options, "&"), old, nil
}

// javaText is a value as these programs read it: milliseconds, and -1 for no limit.
func javaText(v advisor.Value) string {
	if d, ok := v.Duration(); ok {
		return strconv.FormatInt(int64(d/time.Millisecond), 10)
	}
	if v.Equal(advisor.Unlimited()) {
		return "-1"
	}
	if is, ok := v.Bool(); ok {
		return strconv.FormatBool(is)
	}
	return v.String()
}
