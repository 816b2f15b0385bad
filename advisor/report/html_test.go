package report_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// tag is one tag of a page.
type tag struct {
	name       string
	attributes map[string]string
	end, empty bool
}

var (
	tagForm       = regexp.MustCompile(`<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z:-]+(?:="[^"<>]*")?)*)\s*(/?)>`)
	attributeForm = regexp.MustCompile(`([a-zA-Z:-]+)(?:="([^"]*)")?`)
)

// tags is a strict tokenizer: whatever "<" is not one of our own kind of tag is an error, so no planted one can hide.
func tags(t *testing.T, page string) []tag {
	t.Helper()
	page = strings.TrimPrefix(page, "<!DOCTYPE html>\n")
	found := tagForm.FindAllStringSubmatch(page, -1)
	if loose := tagForm.ReplaceAllString(page, ""); strings.ContainsAny(loose, "<") {
		i := strings.Index(loose, "<")
		t.Fatalf("a tag of another kind: %q", loose[i:min(len(loose), i+80)])
	}
	var out []tag
	for _, m := range found {
		tg := tag{name: m[2], end: m[1] != "", empty: m[4] != "", attributes: map[string]string{}}
		for _, a := range attributeForm.FindAllStringSubmatch(m[3], -1) {
			if _, twice := tg.attributes[a[1]]; twice {
				t.Errorf("%s has %s twice", m[0], a[1])
			}
			tg.attributes[a[1]] = html.UnescapeString(a[2])
		}
		out = append(out, tg)
	}
	return out
}

// TestHTML: each page is balanced, loads and runs nothing, points only at itself, and has the picture.
func TestHTML(t *testing.T) {
	for name, d := range diagnoses() {
		body, style := cutStyle(t, write(t, "html", d, report.Options{Tool: "0.1.0"}))
		checkTags(t, name, body)
		checkPolicy(t, name, body, style)
		checkMachine(t, name, body, d)
	}
}

// checkTags: each element is closed, loads and runs nothing, and points only at what is there.
func checkTags(t *testing.T, name, body string) {
	t.Helper()
	void := []string{"meta", "br"}
	var open, wanted []string
	ids := map[string]bool{}
	for _, tg := range tags(t, body) {
		switch {
		case tg.end:
			if len(open) == 0 || open[len(open)-1] != tg.name {
				t.Fatalf("%s: </%s> closes %v", name, tg.name, open)
			}
			open = open[:len(open)-1]
		case !tg.empty && !slices.Contains(void, tg.name):
			open = append(open, tg.name)
		}
		wanted = append(wanted, harmless(t, name, tg)...)
		if id := tg.attributes["id"]; id != "" && ids[id] {
			t.Errorf("%s: two elements are called %s", name, id)
		} else if id != "" {
			ids[id] = true
		}
	}
	if len(open) > 0 {
		t.Errorf("%s: %v stay open", name, open)
	}
	for _, id := range wanted {
		if !ids[id] {
			t.Errorf("%s: nothing is called %s", name, id)
		}
	}
}

func cutStyle(t *testing.T, page string) (body, style string) {
	t.Helper()
	before, rest, _ := strings.Cut(page, "<style>")
	style, after, ok := strings.Cut(rest, "</style>")
	if !ok || strings.Contains(after, "<style") {
		t.Fatal("not one style element")
	}
	return before + after, style
}

// harmless returns the ids that a tag refers to, and complains of what loads, runs or leads away.
func harmless(t *testing.T, name string, tg tag) (ids []string) {
	t.Helper()
	if slices.Contains([]string{"script", "iframe", "object", "embed", "link", "img", "image", "base", "form", "use", "style", "foreignObject"}, tg.name) {
		t.Errorf("%s: there is a <%s>", name, tg.name)
	}
	for attribute, value := range tg.attributes {
		local, isLocal := strings.CutPrefix(value, "#")
		switch {
		case attribute == "href" && isLocal:
			ids = append(ids, local)
		case attribute == "aria-labelledby":
			ids = append(ids, strings.Fields(value)...)
		case attribute == "marker-end":
			ids = append(ids, strings.TrimSuffix(strings.TrimPrefix(value, "url(#"), ")"))
		case attribute == "href" || attribute == "src" || attribute == "style" || strings.HasPrefix(attribute, "on"),
			strings.Contains(attribute, ":"), strings.Contains(strings.ToLower(value), "http"):
			t.Errorf("%s: <%s %s=%q>", name, tg.name, attribute, value)
		}
	}
	return ids
}

func checkPolicy(t *testing.T, name, body, style string) {
	t.Helper()
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
	m := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`).FindStringSubmatchIndex(body)
	if m == nil || html.UnescapeString(body[m[2]:m[3]]) != want || strings.Index(body, "<title") < m[0] {
		t.Errorf("%s: the policy is missing, wrong or late", name)
	}
	if regexp.MustCompile(`@import|url\(|expression|https?:`).MatchString(style) {
		t.Errorf("%s: the style loads something", name)
	}
}

// checkMachine: the eleven states stand in the picture, and this host's numbers in ten of them.
func checkMachine(t *testing.T, name, body string, d *advisor.Diagnosis) {
	t.Helper()
	_, picture, _ := strings.Cut(body, `<svg viewBox="0 0 400 700" role="img"`)
	picture, table, ok := strings.Cut(picture, "</figure>")
	if !ok || !strings.Contains(picture, "<title id=") || !strings.Contains(picture, "<desc id=") {
		t.Fatalf("%s: no picture", name)
	}
	table, _, _ = strings.Cut(table, "</table>")
	if !strings.Contains(picture, ">CLOSED</text>") {
		t.Errorf("%s: no CLOSED", name)
	}
	for _, state := range advisor.SocketStates() {
		label := strings.ToUpper(state)
		_, box, ok := strings.Cut(picture, ">"+label+"</text>")
		box, _, _ = strings.Cut(box, "</g>")
		if !ok || !strings.Contains(table, label) {
			t.Errorf("%s: no %s", name, label)
		}
		if _, known := d.Sockets[state]; known == strings.Contains(box, "not read") {
			t.Errorf("%s: %s shows %q", name, label, box)
		}
	}
}

// TestHTMLShowsAll: every text of a diagnosis is on the page, as text.
func TestHTMLShowsAll(t *testing.T) {
	for name, d := range diagnoses() {
		if name == "hostile" || name == "markup" {
			continue // the same, escaped
		}
		page := write(t, "html", d, report.Options{})
		text := html.UnescapeString(tagForm.ReplaceAllString(page, ""))
		has := func(what string) {
			t.Helper()
			if !strings.Contains(squeezed(text), squeezed(what)) {
				t.Errorf("%s: %q is missing", name, what)
			}
		}
		for _, f := range d.Findings {
			has(f.Rule)
			has(f.Message)
			for _, s := range slices.Concat(f.Do, f.Dont) {
				has(s)
			}
			if f.Waived != nil {
				has(*f.Waived)
			}
		}
		for _, u := range d.Unknown {
			has(u.Rule)
			has(u.Why)
		}
		for _, g := range slices.Concat(d.Gaps, d.Notices) {
			has(g.Source)
			has(g.Why)
		}
		for _, c := range d.Conflicts {
			has(c.Why)
		}
	}
}

func squeezed(s string) string { return strings.Join(strings.Fields(s), "") }
