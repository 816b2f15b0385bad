package conf

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// xmlCorpus is what is well-formed, and what is not.
func xmlCorpus(t testing.TB) map[string][]byte { return corpus(t, "xml/*.xml") }

func TestXMLCorpus(t *testing.T) {
	for name, data := range xmlCorpus(t) {
		f, err := ParseXML(data)
		xmlWellFormed(t, f)
		if strings.HasPrefix(name, "ok-") {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var at *XMLError
		if !errors.As(err, &at) {
			t.Errorf("%s: read without an error", name)
			continue
		}
		if want := fmt.Sprintf("bad-%d-%d-", at.Line, at.Column); !strings.HasPrefix(name, want) {
			t.Errorf("%s: the error is at %v", name, err)
		}
	}
}

// xmlWellFormed checks what the tree promises, whatever was read.
func xmlWellFormed(t testing.TB, f *XML) {
	t.Helper()
	seen := 0
	var walk func(element, depth int)
	walk = func(element, depth int) {
		seen++
		if depth > xmlMaxDepth {
			t.Fatal("too deep")
		}
		last := f.nodes[element].open.Start
		for _, a := range f.Attrs(element) {
			if a.Span.Start <= last || a.Span.Len() < 0 || a.Span.End >= f.nodes[element].open.End {
				t.Fatalf("attribute %v of %v", a, f.Span(element))
			}
			last = a.Span.End
		}
		for child := range f.Children(element) {
			if f.Parent(child) != element {
				t.Fatalf("element %d has parent %d, found in %d", child, f.Parent(child), element)
			}
			walk(child, depth+1)
		}
	}
	if f.Len() > 0 {
		walk(0, 1)
	}
	if seen != f.Len() {
		t.Fatalf("%d of %d elements found", seen, f.Len())
	}
}

// TestXMLAgainstJava: the parser of the JDK, which is what Tomcat and ActiveMQ read their files with, agrees about what is
// well-formed, and about each name and value that no entity has a part in.
func TestXMLAgainstJava(t *testing.T) {
	files := xmlCorpus(t)
	names := slices.Sorted(maps.Keys(files))
	args := []string{"testdata/Oracle.java"}
	for _, name := range names {
		args = append(args, "testdata/xml/"+name+".xml")
	}
	out, err := exec.Command("java", args...).CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	verdicts := strings.Split(string(out), "file ")[1:]
	if len(verdicts) != len(names) {
		t.Fatalf("%d verdicts on %d files:\n%s", len(verdicts), len(names), out)
	}
	for i, name := range names {
		head, elements, _ := strings.Cut(verdicts[i], "\n")
		f, err := ParseXML(files[name])
		if strings.Contains(name, "-deep") { // a limit of ours
			continue
		}
		if (head == "ok") != (err == nil) {
			t.Errorf("%s: ours %v, Java's %s", name, err, head)
		}
		if err != nil {
			continue
		}
		var ours strings.Builder
		for e := range f.Len() {
			fmt.Fprintf(&ours, "element %s", base64.StdEncoding.EncodeToString([]byte(f.Name(e))))
			for _, a := range f.Attrs(e) {
				if a.Entity != "" {
					a.Value = xmlExpanded(f, a.Value)
				}
				fmt.Fprintf(&ours, " %s=%s", base64.StdEncoding.EncodeToString([]byte(a.Name)), base64.StdEncoding.EncodeToString([]byte(a.Value)))
			}
			ours.WriteString("\n")
		}
		if diff := cmp.Diff(elements, ours.String()); diff != "" {
			t.Errorf("%s: Java's, ours:\n%s", name, diff)
		}
	}
}

// xmlExpanded is a value with the entities of the corpus put in, of which those of other files are empty.
func xmlExpanded(f *XML, value string) string {
	for _, e := range f.Entities {
		text := ""
		if parts := strings.Split(f.text[e.Span.Start:e.Span.End], `"`); len(parts) == 3 && e.System == "" {
			text = parts[1]
		}
		value = strings.ReplaceAll(value, "&"+e.Name+";", text)
	}
	return strings.ReplaceAll(value, "&unknown;", "")
}

func TestXMLEntities(t *testing.T) {
	f, err := ParseXML(xmlCorpus(t)["ok-entities"])
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range f.Entities {
		got = append(got, e.Name+" "+e.System)
	}
	if diff := cmp.Diff([]string{"port ", "conn connector.xml", "copy copy>.xml"}, got); diff != "" {
		t.Error(diff)
	}
	a, _ := f.Attr(0, "port")
	if a.Entity != "port" || a.Value != "&port;" || f.Entity(0) != "conn" || f.Entity(1) != "port" || f.Text(1) != "a&port;b" {
		t.Errorf("%+v %q %q %q", a, f.Entity(0), f.Entity(1), f.Text(1))
	}
	if f, _ = ParseXML(xmlCorpus(t)["ok-external-dtd"]); f.External != "http://127.0.0.1:1/web.dtd" || f.Entity(0) != "other" {
		t.Errorf("%+v", f)
	}
}

func TestXMLNamespacesAndText(t *testing.T) {
	f, err := ParseXML(xmlCorpus(t)["ok-namespaces"])
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range f.Len() {
		got = append(got, f.LocalName(i)+" "+f.Namespace(i))
	}
	const beans, amq = "http://www.springframework.org/schema/beans", "http://activemq.apache.org/schema/core"
	want := []string{"beans " + beans, "broker " + amq, "transportConnectors " + amq, "broker " + amq, "such ", "bean " + beans, "property " + beans, "value " + beans}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if f.Text(7) != " 10 " {
		t.Errorf("%q", f.Text(7))
	}
	if f, _ = ParseXML(xmlCorpus(t)["ok-comments"]); f.Text(0) != `<Connector port="3" & ]]>` {
		t.Errorf("%q", f.Text(0))
	}
	if f, _ = ParseXML(xmlCorpus(t)["ok-latin1"]); f.Text(0) != "täxt" || f.Attrs(0)[0].Value != "été à" || f.Attrs(0)[1].Value != "1" {
		t.Errorf("%q %+v", f.Text(0), f.Attrs(0))
	}
}

func TestXMLEdits(t *testing.T) {
	text := "<Server>\r\n\t<Connector port='8080'\r\n\t\tprotocol = \"HTTP/1.1\"/>\r\n\t<Bare/><v> 1 </v></Server>\r\n"
	f, err := ParseXML([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	edit := func(e Edit, err error) string {
		if err != nil {
			return "error: " + err.Error()
		}
		out, err := Apply([]byte(text), []Edit{e})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	with := func(old, new string) string { return strings.Replace(text, old, new, 1) }
	for i, c := range [][2]string{
		{edit(f.SetAttr(1, "port", `it's "<&>"`)), with("'8080'", `'it&apos;s "&lt;&amp;>"'`)},
		{edit(f.SetAttr(1, "protocol", "a\t\"\n")), with(`"HTTP/1.1"`, `"a&#9;&quot;&#10;"`)},
		{edit(f.AddAttr(1, "acceptCount", "200")), with(`"HTTP/1.1"`, "\"HTTP/1.1\"\r\n\t\tacceptCount = \"200\"")},
		{edit(f.AddAttr(2, "x", "1")), with("<Bare/>", `<Bare x="1"/>`)},
		{edit(f.RemoveAttr(1, "protocol")), with("\r\n\t\tprotocol = \"HTTP/1.1\"", "")},
		{edit(f.SetText(3, "2 < 3")), with(" 1 ", " 2 &lt; 3 ")},
		{edit(f.SetAttr(1, "none", "")), "error: <Connector> has no attribute none"},
		{edit(f.AddAttr(1, "port", "")), "error: <Connector> has an attribute port"},
		{edit(f.AddAttr(1, "a b", "")), `error: "a b" is no name of an attribute`},
		{edit(f.SetAttr(1, "port", "\x00")), `error: "\x00" has a character that XML cannot hold`},
		{edit(f.SetAttr(1, "port", "\xff")), `error: "\xff" is no UTF-8`},
		{edit(f.SetText(2, "x")), "error: <Bare/> has no text"},
		{edit(f.SetText(0, "x")), "error: <Server> has more than text"},
	} {
		if c[0] != c[1] {
			t.Errorf("%d: %q, want %q", i, c[0], c[1])
		}
	}
	f, _ = ParseXML(xmlCorpus(t)["ok-utf16le"])
	if _, err := f.SetAttr(0, "b", "x"); err == nil || f.Attrs(0)[0].Value != "中😀" {
		t.Error("UTF-16:", err, f.Attrs(0))
	}
}

// xmlEditsHold is the law: parse, edit, parse gives the value, and nothing else is another.
func xmlEditsHold(t testing.TB, data []byte, pick int, value string) {
	t.Helper()
	f, err := ParseXML(data)
	xmlWellFormed(t, f)
	if err != nil || f.Len() == 0 {
		return
	}
	i := pick % f.Len()
	attrs := f.Attrs(i)
	again := func(e Edit, err error, changed string) *XML {
		if err != nil {
			return nil
		}
		out, err := Apply(data, []Edit{e})
		if err != nil {
			t.Fatal(err)
		}
		g, err := ParseXML(out)
		if err != nil || g.Len() != f.Len() {
			t.Fatalf("%q became %q: %v", data, out, err)
		}
		for j := range f.Len() {
			for _, a := range f.Attrs(j) {
				if b, _ := g.Attr(j, a.Name); a.Value != b.Value && (j != i || a.Name != changed) {
					t.Fatalf("%q became %q: %s of element %d was %q, is %q", data, out, a.Name, j, a.Value, b.Value)
				}
			}
		}
		return g
	}
	shows := func(g *XML, name, want string) {
		if a, _ := g.Attr(i, name); g != nil && a.Value != want {
			t.Fatalf("%q: %s is %q, want %q", data, name, a.Value, want)
		}
	}
	if len(attrs) > 0 {
		a := attrs[pick%len(attrs)]
		e, err := f.SetAttr(i, a.Name, value)
		if g := again(e, err, a.Name); g != nil && !strings.HasPrefix(a.Name, "xmlns") {
			shows(g, a.Name, value)
		}
		e, err = f.RemoveAttr(i, a.Name)
		if g := again(e, err, a.Name); g != nil && len(g.Attrs(i)) != len(attrs)-1 {
			t.Fatalf("%q: %s was not removed", data, a.Name)
		}
	}
	e, err := f.AddAttr(i, "tcpadvise", value)
	if g := again(e, err, ""); g != nil {
		shows(g, "tcpadvise", value)
	}
	e, err = f.SetText(i, value)
	if g := again(e, err, ""); g != nil && strings.Trim(g.Text(i), " \t\r\n") != strings.Trim(value, " \t\r\n") {
		t.Fatalf("%q: the text is %q, want %q", data, g.Text(i), value)
	}
}

func TestXMLEditsHoldOnCorpus(t *testing.T) {
	for _, data := range xmlCorpus(t) {
		for pick := range 7 {
			for _, value := range []string{"x", "", "a b", `it's "so"`, "<&>", "]]>", "${x}", "\r\n\t", "é中", "\x01"} {
				xmlEditsHold(t, data, pick, value)
			}
		}
	}
}

func TestXMLEditsHold(t *testing.T) {
	word := rapid.StringOfN(rapid.SampledFrom([]rune("ab\"'<>& \n\r\té")), 0, 6, -1)
	quote := rapid.SampledFrom([]string{`"`, "'"})
	rapid.Check(t, func(r *rapid.T) {
		escape := strings.NewReplacer("<", "&lt;", "&", "&#38;", "'", "&#x27;", `"`, "&quot;")
		var b strings.Builder
		b.WriteString(rapid.SampledFrom([]string{"", "<?xml version='1.0'?>", bom, "<!-- -->\n"}).Draw(r, "prolog") + "<r>")
		for range rapid.IntRange(0, 5).Draw(r, "n") {
			b.WriteString("<e")
			for n := range rapid.IntRange(0, 3).Draw(r, "attrs") {
				q := quote.Draw(r, "quote")
				fmt.Fprintf(&b, "%sa%d%s=%s%s%s", rapid.SampledFrom([]string{" ", "\n\t", "\r\n"}).Draw(r, "blank"), n,
					rapid.SampledFrom([]string{"", " "}).Draw(r, "gap"), q, escape.Replace(word.Draw(r, "value")), q)
			}
			b.WriteString(rapid.SampledFrom([]string{"/>", " />", "></e>", ">\n</e >", "> text </e>", "><x/></e>"}).Draw(r, "end"))
		}
		b.WriteString("</r>")
		xmlEditsHold(t, []byte(b.String()), rapid.IntRange(0, 20).Draw(r, "pick"), word.Draw(r, "new"))
	})
}

func FuzzXML(f *testing.F) {
	for _, data := range xmlCorpus(f) {
		f.Add(data, 3, "a b")
	}
	f.Fuzz(func(t *testing.T, data []byte, pick int, value string) {
		if pick >= 0 && len(value) < 1000 {
			xmlEditsHold(t, data, pick, value)
		}
	})
}

// TestXMLIsLinear: what is meant to take long is refused at once, or takes as long as it is large.
func TestXMLIsLinear(t *testing.T) {
	for name, text := range map[string]string{
		"deep":       strings.Repeat("<a>", 1_000_000),
		"attributes": "<a" + strings.Repeat(` a="1"`, 1_000_000) + "/>",
		"wide":       "<a>" + strings.Repeat("<b c='1'/>", 200_000) + "</a>",
		"entities":   "<!DOCTYPE a [" + strings.Repeat("<!ENTITY a 'b'>", 50_000) + "]><a>" + strings.Repeat("&a;", 100_000) + "</a>",
		"brackets":   "<!DOCTYPE a [" + strings.Repeat("<", 100_000),
		"comments":   "<a>" + strings.Repeat("<!--", 100_000),
	} {
		start := time.Now()
		f, _ := ParseXML([]byte(text))
		xmlWellFormed(t, f)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: %v", name, d)
		}
	}
	many := "<a"
	for i := range xmlMaxAttrs + 1 {
		many += fmt.Sprintf(" a%d='1'", i)
	}
	if _, err := ParseXML([]byte(many + "/>")); err == nil || !strings.Contains(err.Error(), "more than 256 attributes") {
		t.Error(err)
	}
	if _, err := ParseXML([]byte("<?xml version='1.0' encoding='gbk'?><a/>")); err == nil || !strings.Contains(err.Error(), "gbk is not read") {
		t.Error(err)
	}
}
