package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// Spring Boot is found as `java -jar` processes whose jar Spring Boot packed. Their settings come from the command line, from
// files beside the jar, and from files in it; the environment, which may override them, is never read, for it holds secrets.

// noSpring is why the table is absent.
const noSpring = "no application of Spring Boot was found"

// springApp is one application, or one file that is judged alone.
type springApp struct {
	name    string // its jar, or the file
	process *service
	jar     *springJar // nil: a file is judged alone
	tree    tree
	gaps    []advisor.Gap

	profiles []string // active ones
}

// collectSpring fills the table of settings from each application that runs.
func (p *part) collectSpring(_ context.Context, b *advisor.Builder) []advisor.Gap {
	var r springRecord
	gaps := r.collect(p.tree, p.services)
	r.record(b, noSpring)
	return gaps
}

func (r *springRecord) collect(t tree, s *services) []advisor.Gap {
	if err := s.failed(); err != nil {
		r.unread = "the processes could not be read: " + err.Error()
		return nil
	}
	found, gaps := s.of("java -jar", func(v *service) bool {
		return v.kind == javaService && v.arg("-jar") != "" && v.arg("-Dactivemq.home", "-Dcatalina.base") == ""
	})
	for i := range found {
		v := &found[i]
		file := v.path("-jar")
		if file == "" {
			gaps = append(gaps, advisor.Gap{Source: fmt.Sprintf("java -jar, process %d", v.pid), Why: "its jar is named from a directory that only root may see: " + runAsRoot})
			continue
		}
		jar, err := readSpringJar(t, file)
		switch {
		case errors.Is(err, errNotCaptured):
		case err != nil:
			gaps = append(gaps, advisor.Gap{Source: file, Why: "cannot be read: " + cause(err).Error()})
		case jar.boot != "":
			a := &springApp{name: file, process: v, jar: jar, tree: t}
			r.add(a, a.running())
			gaps = append(gaps, a.gaps...)
		}
	}
	if len(gaps) > 0 {
		r.unread = gaps[0].Source + " " + gaps[0].Why
	}
	return gaps
}

// springFacts is what a file says when it is judged alone: once without profiles, and once more for each profile that one of
// its documents is for.
func springFacts(name string, data []byte, f *Files) ([]*advisor.Facts, error) {
	documents, err := parseSpring(name, data)
	var broken *brokenFile
	if errors.As(err, &broken) {
		broken.template = broken.template || isTemplate(name)
	}
	a := &springApp{name: name}
	var r springRecord
	for _, profile := range profilesOf(documents) {
		scope := a.scope(profile)
		for _, d := range documents {
			if d.profile == "" || d.profile == profile {
				scope.layer(d)
			}
		}
		r.add(a, scope)
	}
	var b advisor.Builder
	setKernel(&b, Options{Kernel: f.options.Kernel, Catalogue: f.options.Catalogue})
	r.record(&b, "")
	return []*advisor.Facts{b.Facts()}, err
}

// profilesOf are the expressions over profiles that documents are for, the empty one first.
func profilesOf(documents []springDocument) []string {
	all := []string{""}
	for _, d := range documents {
		if !slices.Contains(all, d.profile) {
			all = append(all, d.profile)
		}
	}
	return all
}

// running is the one scope of an application that runs: what is in its jar, then what lies outside, the profile-specific files
// after the others of the same group (ConfigDataEnvironment of Spring Boot, since 2.4; before, profile-specific
// ones of all places come last), then the command line.
func (a *springApp) running() *springScope {
	groups := a.groups()
	s := a.scope("")
	for _, files := range groups { // for spring.profiles.active alone
		s.layers(a.read(files, []string{""}), nil)
	}
	a.profiles = s.activeProfiles()
	s = a.scope("")
	for _, files := range groups {
		s.layers(a.read(files, []string{""}), a.profiles)
		if a.notBefore(2, 4) {
			s.layers(a.read(files, a.profiles), a.profiles)
		}
	}
	if !a.notBefore(2, 4) {
		for _, files := range groups {
			s.layers(a.read(files, a.profiles), a.profiles)
		}
	}
	return s
}

func (a *springApp) notBefore(want ...int64) bool {
	if a.jar == nil {
		return false
	}
	got, err := advisor.ParseVersion(a.jar.boot)
	return err == nil && slices.Compare(got[:len(want)], want) >= 0
}

// springPlace is a directory, or a file, that settings are looked for in.
type springPlace struct {
	path   string
	inside bool // in the jar, below its classes
	file   bool // it is named itself, with its ending
}

// groups are the places of settings, of which later ones win.
func (a *springApp) groups() [][]springPlace {
	v := a.process
	var groups [][]springPlace
	if location := v.arg("--spring.config.location", "-Dspring.config.location"); location != "" {
		groups = a.locations(location)
	} else {
		groups = [][]springPlace{{{path: "", inside: true}, {path: "config/", inside: true}}}
		if v.cwd == "" {
			a.gaps = append(a.gaps, advisor.Gap{Source: fmt.Sprintf("Spring Boot, process %d", v.pid), Why: "its working directory, where settings may lie: " + runAsRoot})
		} else {
			groups = append(groups, append([]springPlace{{path: v.cwd}, {path: path.Join(v.cwd, "config")}}, a.below(path.Join(v.cwd, "config"))...))
		}
	}
	return append(groups, a.locations(v.arg("--spring.config.additional-location", "-Dspring.config.additional-location"))...)
}

// locations reads a list such as optional:file:/etc/app/,classpath:/x.yml: parted by commas into groups, by semicolons within.
func (a *springApp) locations(list string) [][]springPlace {
	var groups [][]springPlace
	for _, part := range strings.Split(list, ",") {
		var group []springPlace
		for _, one := range strings.Split(part, ";") {
			one = strings.TrimPrefix(strings.TrimSpace(one), "optional:")
			if one == "" {
				continue
			}
			inside := strings.HasPrefix(one, "classpath:")
			one = strings.TrimPrefix(strings.TrimPrefix(one, "classpath:"), "file:")
			place := springPlace{path: one, inside: inside, file: !strings.HasSuffix(one, "/")}
			switch {
			case inside:
				place.path = strings.TrimPrefix(one, "/")
			case !path.IsAbs(one) && a.process.cwd == "":
				a.gaps = append(a.gaps, advisor.Gap{Source: "settings in " + one, Why: "below a working directory that only root may see: " + runAsRoot})
				continue
			case !path.IsAbs(one):
				place.path = path.Join(a.process.cwd, one)
			}
			if strings.HasSuffix(one, "/*/") && !inside {
				group = append(group, a.below(path.Dir(path.Clean(place.path)))...)
			} else {
				group = append(group, place)
			}
		}
		if group != nil {
			groups = append(groups, group)
		}
	}
	return groups
}

// below are the directories in a directory.
func (a *springApp) below(dir string) []springPlace {
	names, err := a.tree.list(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotCaptured) {
		a.gaps = append(a.gaps, advisor.Gap{Source: dir, Why: "cannot be listed: " + cause(err).Error()})
	}
	var out []springPlace
	for _, e := range names {
		if e.Type == fs.ModeDir {
			out = append(out, springPlace{path: path.Join(dir, e.Name)})
		}
	}
	return out
}

// read reads the files of places for profiles, of which the empty one is none; rising in precedence.
func (a *springApp) read(places []springPlace, profiles []string) []springDocument {
	var out []springDocument
	base := cmp.Or(a.process.arg("--spring.config.name", "-Dspring.config.name"), "application")
	for _, profile := range profiles {
		for _, place := range places {
			if place.file {
				name, ending := place.path, path.Ext(place.path)
				if profile != "" {
					name = strings.TrimSuffix(name, ending) + "-" + profile + ending
				}
				out = append(out, a.file(place, name)...)
				continue
			}
			for _, name := range strings.Split(base, ",") {
				if profile != "" {
					name += "-" + profile
				}
				for _, ending := range []string{".yaml", ".yml", ".properties"} {
					out = append(out, a.file(place, path.Join(place.path, name+ending))...)
				}
			}
		}
	}
	return out
}

// file reads one of the files; one that is not there says nothing.
func (a *springApp) file(place springPlace, name string) []springDocument {
	data, ok := a.jar.files[name]
	shown := name
	if place.inside {
		shown = a.name + "!/" + name
	} else {
		var err error
		data, err = a.tree.read(name, fileLimit)
		ok = err == nil
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotCaptured) {
			a.gaps = append(a.gaps, advisor.Gap{Source: name, Why: "cannot be read: " + cause(err).Error()})
		}
	}
	if !ok {
		return nil
	}
	documents, err := parseSpring(shown, data)
	var broken *brokenFile
	if errors.As(err, &broken) {
		a.gaps = append(a.gaps, advisor.Gap{Source: fmt.Sprintf("%s:%d", shown, broken.line), Why: broken.why, Broken: true})
	}
	return documents
}

// springScope is a set of properties that hold together, by name in one form.
type springScope struct {
	app     *springApp
	profile string
	entries map[string]springEntry
	imports bool // spring.config.import brings more than was read
}

func (a *springApp) scope(profile string) *springScope {
	return &springScope{app: a, profile: profile, entries: map[string]springEntry{}}
}

// layer puts a document over what is there.
func (s *springScope) layer(d springDocument) {
	for _, e := range d.entries {
		name := springName(e.key)
		if d.platform {
			e.value, e.unknown = "", "it counts only on some cloud platform"
		}
		s.imports = s.imports || strings.HasPrefix(name, "spring.config.import") || strings.HasPrefix(name, "spring.cloud.config.")
		s.entries[name] = e
	}
}

func (s *springScope) layers(documents []springDocument, active []string) {
	for _, d := range documents {
		if d.profile == "" || profileHolds(d.profile, func(name string) bool { return slices.Contains(active, name) }) {
			s.layer(d)
		}
	}
}

// get is the entry that counts for a property: of the command line, else of a file.
func (s *springScope) get(key string) (springEntry, bool) {
	name := springName(key)
	if v := s.app.process; v != nil {
		for _, prefix := range []string{"--", "-D"} {
			for _, arg := range slices.Backward(v.args) {
				if written, ok := strings.CutPrefix(arg.name, prefix); ok && springName(written) == name {
					return springEntry{key: arg.name, value: arg.value, origin: advisor.Origin{Path: fmt.Sprintf("/proc/%d/cmdline", v.pid)}}, true
				}
			}
		}
	}
	e, ok := s.entries[name]
	return e, ok
}

// text is a property's value with its placeholders filled in; ok is false where it is not set, or set to nothing.
func (s *springScope) text(key string) (v springValue, ok bool) {
	e, ok := s.get(key)
	if !ok {
		return v, false
	}
	v = springValue{entry: e, why: e.unknown}
	if e.unknown == "" {
		v.text, v.why = s.expand(e.value, 0, &v.assumed)
		v.text = strings.TrimSpace(v.text)
	}
	return v, v.why != "" || v.text != ""
}

// springValue is a property that is set.
type springValue struct {
	entry   springEntry
	text    string
	why     string // why it is not known; empty: it is
	assumed bool   // a placeholder's default was taken
}

// expand fills in ${name} and ${name:default}. The environment could set each of them and is not read: a default counts, what
// has none is not known. byDefaults tells that a default was taken.
func (s *springScope) expand(text string, depth int, byDefaults *bool) (value, why string) {
	var out strings.Builder
	for {
		n := strings.Index(text, "${")
		if n < 0 {
			out.WriteString(text)
			return out.String(), ""
		}
		end := placeholderEnd(text[n:])
		if end < 0 || depth > 8 || out.Len() > 4096 {
			return "", "its placeholder cannot be followed"
		}
		out.WriteString(text[:n])
		name, byDefault, has := cutPlaceholder(text[n+2 : n+end])
		e, set := s.get(name)
		switch {
		case set && e.unknown == "":
			byDefault = e.value
		case set || !has:
			return "", "${" + name + "} is set from outside, by the environment or the command line"
		default:
			*byDefaults = true
		}
		inner, why := s.expand(byDefault, depth+1, byDefaults)
		if why != "" {
			return "", why
		}
		out.WriteString(inner)
		text = text[n+end+1:]
	}
}

// placeholderEnd is where the brace stands that closes a placeholder.
func placeholderEnd(text string) int {
	depth := 0
	for i := range len(text) {
		switch {
		case strings.HasPrefix(text[i:], "${"):
			depth++
		case text[i] == '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// cutPlaceholder parts a name and its default.
func cutPlaceholder(text string) (name, byDefault string, has bool) {
	name, byDefault, has = strings.Cut(text, ":")
	if strings.Contains(name, "${") {
		return text, "", false
	}
	return name, byDefault, has
}

// activeProfiles are those that the command line names, else the files, and "default" where nobody does.
func (s *springScope) activeProfiles() []string {
	var names []string
	for _, key := range []string{"spring.profiles.include", "spring.profiles.active"} {
		names = append(names, s.list(key)...)
	}
	for i := 0; i < len(names) && len(names) < 100; i++ { // a group's members may be groups
		for _, member := range s.list("spring.profiles.group." + names[i]) {
			if !slices.Contains(names, member) {
				names = append(names, member)
			}
		}
	}
	if len(names) == 0 {
		return []string{"default"}
	}
	return names
}

// list is a property of several values: one text with commas, or one entry for each.
func (s *springScope) list(key string) []string {
	var names []string
	add := func(v springValue, ok bool) bool {
		for _, name := range strings.Split(v.text, ",") {
			if name = strings.TrimSpace(name); name != "" && !strings.ContainsAny(name, "/\x00") {
				names = append(names, name)
			}
		}
		return ok
	}
	if !add(s.text(key)) {
		for i := 0; add(s.text(fmt.Sprintf("%s[%d]", key, i))); i++ {
		}
	}
	return names
}

var (
	springNumberText   = regexp.MustCompile(`^[+-]?\d+$`)
	springGrouped      = regexp.MustCompile(`^[+-]?\d[\d_]*$`)
	springDurationText = regexp.MustCompile(`^([+-]?\d+)([a-zA-Z]{0,2})$`)
	isoDuration        = regexp.MustCompile(`^([+-]?)[pP](?:(\d+)[dD])?(?:[tT](?:(\d+)[hH])?(?:(\d+)[mM])?(?:(\d+)[sS])?)?$`)
)

// number reads an integer as NumberUtils.parseNumber of Spring does; YAML's own numbers may be grouped: 30_000.
func (v springValue) number() (int64, bool) {
	text := v.text
	if v.entry.yaml && springGrouped.MatchString(text) {
		text = strings.ReplaceAll(text, "_", "")
	}
	if !springNumberText.MatchString(text) {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// duration reads a time as DurationStyle of Spring Boot does: 20s, PT20S, or milliseconds.
func (v springValue) duration() (time.Duration, bool) {
	if n, ok := v.number(); ok {
		return scaled(n, time.Millisecond)
	}
	if m := springDurationText.FindStringSubmatch(v.text); m != nil {
		units := map[string]time.Duration{"": time.Millisecond, "ns": 1, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
		n, err := strconv.ParseInt(m[1], 10, 64)
		unit, ok := units[strings.ToLower(m[2])]
		if err != nil || !ok {
			return 0, false
		}
		return scaled(n, unit)
	}
	m := isoDuration.FindStringSubmatch(v.text)
	if m == nil {
		return 0, false
	}
	var sum time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, err := strconv.ParseInt(cmp.Or(m[i+2], "0"), 10, 64)
		d, ok := scaled(n, unit)
		if err != nil || !ok {
			return 0, false
		}
		sum += d
	}
	if m[1] == "-" {
		sum = -sum
	}
	return sum, sum >= 0 || m[1] == "-"
}

// scaled is n units, if they fit.
func scaled(n int64, unit time.Duration) (time.Duration, bool) {
	d := time.Duration(n) * unit
	return d, d/unit == time.Duration(n)
}

// looksLikeSpring reports whether a file that was named has properties of Spring Boot's. In a directory the name decides: other
// programs' files have a "server" as well.
func looksLikeSpring(name string, data []byte, _ *Files, named bool) bool {
	if !named || len(data) > 4<<20 || bytes.IndexByte(data, 0) >= 0 {
		return false
	}
	documents, _ := parseSpring(name, data)
	return slices.ContainsFunc(documents, func(d springDocument) bool {
		return slices.ContainsFunc(d.entries, func(e springEntry) bool {
			return strings.HasPrefix(e.key, "spring.") || strings.HasPrefix(e.key, "server.")
		})
	})
}
