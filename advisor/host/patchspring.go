package host

import (
	"fmt"
	"path"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// springKind are properties of Spring Boot, as spring:FILE:LINE:KEY with the key as the file has it, of nested YAML joined by dots.
func springKind() settingKind {
	return settingKind{prefix: "spring", operands: []string{"spring"}, edit: editSpring, after: restart("the application", "spring_settings",
		"it reads its properties when it starts. A restart ends all connections; with server.shutdown=graceful it first finishes the requests that it has"), told: "The application must be restarted"}
}

func editSpring(p *plan, s *placing) (why string) {
	if i := strings.Index(s.place.file, ".jar!"); i >= 0 {
		return fmt.Sprintf("%s stands inside %s: change its source, or a file beside it (config/application.properties) that overrides it", path.Base(s.place.file), s.place.file[:i+4])
	}
	e, why := p.openService(s.place.file)
	if why != "" {
		return why
	}
	set := e.setProperty
	if isYAMLPath(s.place.file) {
		set = e.setYAML
	}
	edits, old, why := set(s)
	switch {
	case why != "":
		return fmt.Sprintf("%s:%d: %s", e.path, s.place.line, why)
	case strings.Contains(old, "${"):
		return fmt.Sprintf("%s:%d: a placeholder decides it, %s: change that by hand", e.path, s.place.line, old)
	}
	value := "removed"
	if !s.change.Remove {
		value = javaText(s.change.To)
	}
	for _, edit := range edits {
		e.edit(edit)
	}
	e.noteHunk(s.place.line, s, fmt.Sprintf("%s: %s -> %s", s.key, old, value))
	return ""
}

// setProperty edits a .properties file.
func (e *editing) setProperty(s *placing) (edits []conf.Edit, old, why string) {
	f := parsed(e.original, func(data []byte) *conf.Properties {
		f, _ := conf.ParseProperties(data) // what was judged could be parsed
		return f
	})
	for i, entry := range f.Entries {
		if entry.Key != s.place.name || e.line(entry.ValueSpan.Start) != s.place.line {
			continue
		}
		var err error
		if s.change.Remove {
			edits, err = f.Remove(i)
		} else {
			edits, err = f.Set(i, javaText(s.change.To))
		}
		if err != nil {
			return nil, "", err.Error()
		}
		return edits, entry.Value, ""
	}
	return nil, "", "it is not what it was: run again"
}

// setYAML edits a YAML file.
func (e *editing) setYAML(s *placing) (edits []conf.Edit, old, why string) {
	y := parsed(e.original, func(data []byte) *conf.YAML {
		y, _ := conf.ParseYAML(data) // what was judged could be parsed
		return y
	})
	var found *conf.YAMLNode
	var walk func(n *conf.YAMLNode, key string)
	walk = func(n *conf.YAMLNode, key string) {
		if n.Kind == conf.YAMLScalar && key == s.place.name && e.line(y.Start(n)) == s.place.line {
			found = n
		}
		for _, p := range n.Pairs {
			if key == "" {
				walk(p.Value, p.Key.Text)
			} else if strings.HasPrefix(s.place.name, key) {
				walk(p.Value, key+"."+p.Key.Text)
			}
		}
	}
	for _, doc := range y.Docs {
		walk(doc, "")
	}
	switch {
	case found == nil:
		return nil, "", "it is not what it was: run again"
	case s.change.Remove:
		return nil, "", "delete the key by hand: an empty mapping must go with it"
	}
	edits, err := y.SetScalar(found, javaText(s.change.To))
	if err != nil {
		return nil, "", err.Error()
	}
	return edits, found.Text, ""
}
