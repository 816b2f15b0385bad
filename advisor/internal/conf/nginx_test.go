package conf

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	crossplane "github.com/nginxinc/nginx-go-crossplane"
	"pgregory.net/rapid"
)

// corpus is the files of testdata by name without suffix: ok-NAME is read, bad-LINE-COLUMN-NAME is not.
func corpus(t testing.TB, pattern string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))] = data
	}
	return all
}

// nginxCorpus is what nginx reads, and what it does not.
func nginxCorpus(t testing.TB) map[string][]byte { return corpus(t, "nginx/*.conf") }

func TestNginxCorpus(t *testing.T) {
	for name, data := range nginxCorpus(t) {
		f, err := ParseNginx(data)
		wellFormed(t, f)
		if strings.HasPrefix(name, "ok-") {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var at *NginxError
		if !errors.As(err, &at) {
			t.Errorf("%s: read without an error", name)
			continue
		}
		if want := fmt.Sprintf("bad-%d-%d-", at.Line, at.Column); !strings.HasPrefix(name, want) {
			t.Errorf("%s: the error is at %v", name, err)
		}
	}
}

// wellFormed checks what the tree promises, whatever was read.
func wellFormed(t testing.TB, f *Nginx) {
	t.Helper()
	seen := 0
	var walk func(block, depth int)
	walk = func(block, depth int) {
		if depth > nginxMaxDepth {
			t.Fatal("too deep")
		}
		for i := range f.Block(block) {
			seen++
			if f.Parent(i) != block {
				t.Fatalf("directive %d has parent %d, found in %d", i, f.Parent(i), block)
			}
			s := f.Span(i)
			for n := range f.Args(i) + 1 {
				if w := f.ArgSpan(i, n); w.Start < s.Start || w.End > s.End || w.Len() < 0 {
					t.Fatalf("word %v outside of %v", w, s)
				}
			}
			walk(i, depth+1)
		}
	}
	walk(-1, 0)
	if seen != f.Len() {
		t.Fatalf("%d of %d directives found", seen, f.Len())
	}
}

func TestNginxMessages(t *testing.T) {
	for text, want := range map[string]string{
		"events {\n}}\n":                                      `2:2: unexpected '}': no block is open`,
		"http {\n  server {\n    listen 80;\n":                `2:10: the '{' of "server" is never closed`,
		"user www\nworker_processes 4;\n":                     `1:1: "user" takes 2 arguments, 3 given: is a ';' missing? Line 1 ends without one`,
		"gzip on\ngzip_types a b;\n":                          `1:1: "gzip" takes 1 argument, 4 given: is a ';' missing? Line 1 ends without one`,
		"server {\n  listen 80\n}\n":                          `3:1: unexpected '}': the ';' after "80" is missing`,
		"server {\n  server_name a\n  location / {\n  }\n}\n": `3:14: "server_name" takes no block: is the ';' before this '{' missing? Line 2 ends without one`,
		"proxy_set_header Connection \"upgrade;\n":            `1:29: this " is never closed`,
		"user www":                           `1:1: the file ends inside this directive: its ';' is missing`,
		"a {};":                              `1:5: unexpected ";": no directive stands before it`,
		"\uFEFFuser a;":                      "1:1: the file begins with a byte order mark (U+FEFF), which nginx takes for a part of the first word: save it without",
		"location / { return 200 a}b; }":     "",
		"location ~ ^/(.{1,3})$ { x; } }":    `1:16: this '{' begins a block: a regular expression with braces must stand in quotes`,
		strings.Repeat("a {", 201):           "1:603: more than 200 blocks within one another",
		"\n\n" + strings.Repeat("x", 5000):   "3:1: a word of 4096 bytes or more, which nginx refuses: is a ';' missing?",
		"access_by_lua_block { return [[ } ": "1:21: a long bracket of the Lua code is never closed: ]] is missing",
	} {
		_, err := ParseNginx([]byte(text))
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%.40q:\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestNginxWords(t *testing.T) {
	f, err := ParseNginx([]byte(`location ~* "^/a{2}\"" { set $x 'a\'b\\c\.d\te'; return 200 ${x}y\;z; a "" ) "b")c; }`))
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for i := range f.Len() {
		var words []string
		for n := range f.Args(i) + 1 {
			words = append(words, f.Arg(i, n))
		}
		got = append(got, words)
	}
	want := [][]string{{"location", "~*", `^/a{2}"`}, {"set", "$x", "a'b\\c\\.d\te"}, {"return", "200", `${x}y\;z`}, {"a", "", ")", "b", ")c"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if f.Arg(0, 9) != "" {
		t.Error("a word that is not there")
	}
}

// nginxBinary is where nginx is; the tests against it need it and, for Lua, its module.
func nginxBinary(t testing.TB) (path, globals string, lua bool) {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		if path = "/usr/sbin/nginx"; !fileExists(path) {
			t.Fatal("nginx is not installed: apt-get install nginx-light libnginx-mod-http-lua")
		}
	}
	const modules = "/usr/lib/nginx/modules/"
	lua = fileExists(modules + "ngx_http_lua_module.so")
	if lua {
		globals = "load_module " + modules + "ndk_http_module.so; load_module " + modules + "ngx_http_lua_module.so;"
	}
	return path, globals, lua
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

var (
	nginxEmerg  = regexp.MustCompile(`\[emerg\] \d+#\d+: (.*)`)
	nginxSyntax = regexp.MustCompile(`^(unexpected|too long parameter|directive ".*" (has no opening|is not terminated)|invalid number of arguments|Lua code block missing|unknown directive "\x{FEFF})`)
)

// nginxSays runs nginx -t: its first complaint, and whether that is one of syntax.
func nginxSays(t testing.TB, data []byte) (complaint string, syntax bool) {
	t.Helper()
	binary, globals, _ := nginxBinary(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "-t", "-q", "-e", "stderr", "-p", dir, "-c", file, "-g", globals).CombinedOutput()
	if m := nginxEmerg.FindSubmatch(out); m != nil {
		return string(m[1]), nginxSyntax.Match(m[1])
	}
	if err != nil {
		t.Skipf("nginx -t cannot run here: %v\n%s", err, out)
	}
	return "", false
}

// TestNginxAgreesWithNginx compares each verdict on the corpus with that of nginx -t itself.
func TestNginxAgreesWithNginx(t *testing.T) {
	_, _, lua := nginxBinary(t)
	for name, data := range nginxCorpus(t) {
		if strings.Contains(name, "lua") && !lua {
			continue
		}
		complaint, syntax := nginxSays(t, data)
		bad := strings.HasPrefix(name, "bad-")
		if strings.Contains(name, "regex-braces") { // nginx complains of the directive "1,3}" that it sees
			syntax = complaint != ""
		}
		if bad != syntax || !bad && complaint != "" {
			t.Errorf("%s: nginx says %q", name, complaint)
		}
	}
}

// TestNginxRandomAgreesWithNginx compares verdicts on random words inside a block that takes any.
func TestNginxRandomAgreesWithNginx(t *testing.T) {
	const count = 150
	if os.Getenv("NGINX_RANDOM") == "" && testing.Short() {
		t.Skip("short")
	}
	n := count
	fmt.Sscan(os.Getenv("NGINX_RANDOM"), &n)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	parts := []string{"a", "b", " ", "\n", ";", " x;", "{", "}", "\"", "'", "\\", "$", "#", ")", "${", "}", "\r\n", "\t", ";\n", "\"x\"", "'y'", "\x00", "ü"}
	for range n {
		var body strings.Builder
		for range 1 + random.IntN(14) {
			body.WriteString(parts[random.IntN(len(parts))])
		}
		text := "events {}\nhttp {\ntypes {\nt/t " + body.String() + "\n}\n}\n"
		_, err := ParseNginx([]byte(text))
		complaint, syntax := nginxSays(t, []byte(text))
		if complaint != "" && !syntax {
			continue
		}
		if syntax != (err != nil) {
			t.Errorf("seed %d: %q\n ours: %v\nnginx: %q", seed, text, err, complaint)
		}
	}
}

// crossplaneWords are the differences that are known to be crossplane's: it ends an unquoted word at '}', and reads Lua otherwise
// than the Lua module.
func crossplaneDiffers(data []byte, name string) bool {
	return strings.Contains(name, "lua") || regexp.MustCompile(`[^\s;{}]\}`).Match(data) || bytes.Contains(data, []byte("\\")) ||
		bytes.ContainsAny(data, "\x00\uFEFF") || strings.Contains(name, "409")
}

// TestNginxAgreesWithCrossplane compares trees: names, arguments, lines.
func TestNginxAgreesWithCrossplane(t *testing.T) {
	compared := 0
	for name, data := range nginxCorpus(t) {
		if crossplaneDiffers(data, name) || strings.Contains(name, "depth") {
			continue
		}
		f, err := ParseNginx(data)
		payload, theirs := crossplane.Parse("testdata/nginx/"+name+".conf", &crossplane.ParseOptions{
			SingleFile: true, SkipDirectiveContextCheck: true,
		})
		bad := theirs != nil || payload.Status != "ok"
		if bad != (err != nil) {
			if !slices.Contains([]string{"ok-types", "bad-3-11-block-in-types", "bad-3-20-block-in-map", "bad-3-21-server-block-in-upstream"}, name) {
				t.Errorf("%s: ours %v, crossplane %v %v", name, err, theirs, payload.Errors)
			}
			continue
		}
		if bad {
			continue
		}
		compared++
		lines := IndexLines(data)
		if diff := cmp.Diff(theirTree(payload.Config[0].Parsed), ourTree(f, lines, -1)); diff != "" {
			t.Errorf("%s: crossplane, ours:\n%s", name, diff)
		}
	}
	if compared < 15 {
		t.Errorf("only %d files compared", compared)
	}
}

type nginxTree struct {
	Line  int
	Words []string
	Block []nginxTree
}

func ourTree(f *Nginx, lines LineIndex, block int) []nginxTree {
	var out []nginxTree
	for i := range f.Block(block) {
		line, _ := lines.Position(f.ArgSpan(i, 0).Start)
		n := nginxTree{Line: line, Block: ourTree(f, lines, i)}
		for w := range f.Args(i) + 1 {
			n.Words = append(n.Words, f.Arg(i, w))
		}
		if n.Words[0] == "if" { // crossplane takes the parentheses off
			n.Words[1] = strings.TrimPrefix(n.Words[1], "(")
			last := len(n.Words) - 1
			if n.Words[last] = strings.TrimSuffix(n.Words[last], ")"); n.Words[last] == "" {
				n.Words = n.Words[:last]
			}
		}
		out = append(out, n)
	}
	return out
}

func theirTree(ds crossplane.Directives) []nginxTree {
	var out []nginxTree
	for _, d := range ds {
		out = append(out, nginxTree{d.Line, append([]string{d.Directive}, d.Args...), theirTree(d.Block)})
	}
	return out
}

func TestNginxEdits(t *testing.T) {
	find := func(f *Nginx, name string) int {
		for i := range f.Len() {
			if f.Name(i) == name {
				return i
			}
		}
		t.Fatal("no", name)
		return 0
	}
	type edit func(f *Nginx) (Edit, error)
	set := func(name string, n int, value string) edit {
		return func(f *Nginx) (Edit, error) { return f.SetArg(find(f, name), n, value) }
	}
	insert := func(block string, words ...string) edit {
		return func(f *Nginx) (Edit, error) {
			if block == "" {
				return f.InsertDirective(-1, words...)
			}
			return f.InsertDirective(find(f, block), words...)
		}
	}
	after := func(name string, words ...string) edit {
		return func(f *Nginx) (Edit, error) { return f.InsertAfter(find(f, name), words...) }
	}
	remove := func(name string) edit {
		return func(f *Nginx) (Edit, error) { return f.RemoveDirective(find(f, name)), nil }
	}
	for _, c := range []struct {
		name, text string
		edit       edit
		want       string
	}{
		{"value", "a 1; # 1\n", set("a", 1, "22"), "a 22; # 1\n"},
		{"quoted stays quoted", "a '1';", set("a", 1, "it's"), `a 'it\'s';`},
		{"quotes where needed", "a 1;", set("a", 1, ""), `a "";`},
		{"blank", "a 1;", set("a", 1, "b c"), `a "b c";`},
		{"backslash", "a 1;", set("a", 1, `b\c`), `a "b\\c";`},
		{"insert", "s {\n\tx 1; # why\n\t# end\n}\n", insert("s", "k", "8"), "s {\n\tx 1; # why\n\tk 8;\n\t# end\n}\n"},
		{"insert crlf", "s {\r\n  x 1;\r\n}\r\n", insert("s", "k", "8"), "s {\r\n  x 1;\r\n  k 8;\r\n}\r\n"},
		{"insert into nothing", "s {\n}\n", insert("s", "k", ""), "s {\n    k \"\";\n}\n"},
		{"insert into nothing, inner", "h {\n  s {\n  }\n}\n", insert("s", "k", "1"), "h {\n  s {\n    k 1;\n  }\n}\n"},
		{"insert on one line", "s { x 1; }\n", insert("s", "k", "8"), "s { x 1; k 8; }\n"},
		{"insert on one line, empty", "s {}\n", insert("s", "k", "8"), "s { k 8; }\n"},
		{"insert after a block", "h {\n  s {\n    x 1;\n  }\n}\n", insert("h", "k", "8"), "h {\n  s {\n    x 1;\n  }\n  k 8;\n}\n"},
		{"insert at the end", "a 1; # no newline", insert("", "k", "8"), "a 1; # no newline\nk 8;\n"},
		{"below a directive", "s {\n\tx 1; # why\n\ty 2;\n}\n", after("x", "k", "8"), "s {\n\tx 1; # why\n\tk 8;\n\ty 2;\n}\n"},
		{"below a directive, crlf", "s {\r\n  x 1;  \r\n}\r\n", after("x", "k", ""), "s {\r\n  x 1;  \r\n  k \"\";\r\n}\r\n"},
		{"below a directive, crlf and a comment", "s {\r\n  x 1; # why\r\n}\r\n", after("x", "k", "8"), "s {\r\n  x 1; # why\r\n  k 8;\r\n}\r\n"},
		{"behind a directive on one line", "s { x 1; y 2; }\n", after("x", "k", "8"), "s { x 1; k 8; y 2; }\n"},
		{"behind the last directive on one line", "s { x 1; }\n", after("x", "k", "8"), "s { x 1; k 8; }\n"},
		{"below the last line", "x 1;", after("x", "k", "8"), "x 1;\nk 8;"},
		{"below a block", "s {\n x 1;\n}\ny 1;\n", after("s", "k", "8"), "s {\n x 1;\n}\nk 8;\ny 1;\n"},
		{"remove a line", "a 1;\n  b 2;\nc 3;\n", remove("b"), "a 1;\nc 3;\n"},
		{"remove before a comment", "  b 2; # two\n", remove("b"), "   # two\n"},
		{"remove at the end of a line", "a 1; b 2;\n", remove("b"), "a 1;\n"},
		{"remove a block", "a 1;\nb {\n c 1;\n}\nd 1;\n", remove("b"), "a 1;\nd 1;\n"},
	} {
		f, err := ParseNginx([]byte(c.text))
		if err != nil {
			t.Fatal(c.name, err)
		}
		e, err := c.edit(f)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got, err := Apply([]byte(c.text), []Edit{e})
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n got %q\nwant %q", c.name, err, got, c.want)
		}
	}
	f, _ := ParseNginx([]byte("a 1; content_by_lua_block { x }"))
	for name, err := range map[string]error{
		"no such argument": second(f.SetArg(0, 2, "x")), "the name": second(f.SetArg(0, 0, "x")), "no block": second(f.InsertDirective(0, "x")),
		"Lua": second(f.InsertDirective(1, "x")), "too long": second(f.SetArg(0, 1, strings.Repeat("x", 5000))),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[A any](_ A, err error) error { return err }

// editsHold checks the law of editing on one file: the new value is read back, and nothing else has moved.
func editsHold(t testing.TB, data []byte, pick int, value string) {
	f, err := ParseNginx(data)
	wellFormed(t, f)
	if err != nil || f.Len() == 0 {
		return
	}
	i := pick % f.Len()
	n := pick%3 + 1
	if e, err := f.SetArg(i, n, value); err == nil {
		out, err := Apply(data, []Edit{e})
		if err != nil {
			t.Fatal(err)
		}
		g, err := ParseNginx(out)
		if err != nil || g.Len() != f.Len() || g.Arg(i, n) != value {
			t.Fatalf("%q: set word %d of directive %d to %q: %q %v", data, n, i, value, out, err)
		}
		for j := range f.Len() {
			for w := range f.Args(j) + 1 {
				if (j != i || w != n) && f.Arg(j, w) != g.Arg(j, w) {
					t.Fatalf("%q: word %d of directive %d was %q, is %q", data, w, j, f.Arg(j, w), g.Arg(j, w))
				}
			}
		}
	}
	out, err := Apply(data, []Edit{f.RemoveDirective(i)})
	if err != nil {
		t.Fatal(err)
	}
	if g, err := ParseNginx(out); err != nil || g.Len() != f.Len()-len(slices.Collect(below(f, i)))-1 {
		t.Fatalf("%q without directive %d: %q %v", data, i, out, err)
	}
	if e, err := f.InsertDirective(i, "tcpadvise", value); err == nil {
		out, err := Apply(data, []Edit{e})
		if err != nil {
			t.Fatal(err)
		}
		g, err := ParseNginx(out)
		if known := nginxDirectives()[f.Name(i)]; err != nil || g.Len() != f.Len()+1 {
			t.Fatalf("%q: inserted into %d (%v): %q %v", data, i, known, out, err)
		}
	}
	if e, err := f.InsertAfter(i, "tcpadvise", value); err == nil {
		out, err := Apply(data, []Edit{e})
		if err != nil {
			t.Fatal(err)
		}
		g, err := ParseNginx(out)
		if err != nil || g.Len() != f.Len()+1 || g.Name(int(f.nodes[i].after)) != "tcpadvise" || g.Parent(int(f.nodes[i].after)) != f.Parent(i) {
			t.Fatalf("%q: inserted after %d: %q %v", data, i, out, err)
		}
	}
}

// below yields the directives inside a block, at each depth.
func below(f *Nginx, block int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := block + 1; i < int(f.nodes[block].after); i++ {
			if !yield(i) {
				return
			}
		}
	}
}

func TestNginxEditsHoldOnCorpus(t *testing.T) {
	for _, data := range nginxCorpus(t) {
		for pick := range 7 {
			for _, value := range []string{"x", "", "a b", "it's", `"\`, "${x}", "a}b", "\n", "$", "#"} {
				editsHold(t, data, pick, value)
			}
		}
	}
}

func TestNginxEditsHold(t *testing.T) {
	word := rapid.StringOfN(rapid.SampledFrom([]rune("ab\\\"'$ {};#\n")), 0, 6, -1)
	rapid.Check(t, func(r *rapid.T) {
		var b strings.Builder
		for range rapid.IntRange(1, 6).Draw(r, "n") {
			b.WriteString(rapid.SampledFrom([]string{"", "  ", "\t", "\n"}).Draw(r, "blank"))
			for range rapid.IntRange(1, 3).Draw(r, "words") {
				b.WriteString(nginxQuote(word.Draw(r, "word"), rapid.SampledFrom([]byte{0, '"', '\''}).Draw(r, "quote")) + " ")
			}
			b.WriteString(rapid.SampledFrom([]string{";", ";\n", "; # c\n", "{}", "{ x; }", "{\n y 1;\r\n}"}).Draw(r, "end"))
		}
		editsHold(t, []byte(b.String()), rapid.IntRange(0, 20).Draw(r, "pick"), word.Draw(r, "value"))
	})
}

func FuzzNginx(f *testing.F) {
	for _, data := range nginxCorpus(f) {
		f.Add(data, 3, "a b")
	}
	f.Fuzz(func(t *testing.T, data []byte, pick int, value string) {
		if pick < 0 || len(value) > 1000 {
			return
		}
		if bytes.Contains(data, []byte("_by_lua_block")) && bytes.ContainsAny(data, `"'`) {
			// To the Lua module a quote is a string's only if its line has another, so a lone one, which no Lua has, pairs with
			// whatever is written behind the block on the same line. The laws of editing are not for such files.
			f, _ := ParseNginx(data)
			wellFormed(t, f)
			return
		}
		editsHold(t, data, pick, value)
	})
}

// FuzzNginxAgainstCrossplane compares what both read without complaint. Its Lexer takes time and memory that grow with the
// square of the depth, and so only shallow files are compared.
func FuzzNginxAgainstCrossplane(f *testing.F) {
	for name, data := range nginxCorpus(f) {
		if !crossplaneDiffers(data, name) {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if crossplaneDiffers(data, "") || bytes.Contains(data, []byte("${")) || bytes.Count(data, []byte("{")) > 50 || bytes.Contains(data, []byte("_by_lua")) || !isASCII(data) {
			return
		}
		ours, err := ParseNginx(data)
		if err != nil {
			return
		}
		var want, got []string
		for i := range ours.Len() {
			for n := range ours.Args(i) + 1 {
				want = append(want, ours.Arg(i, n))
			}
		}
		for token := range crossplane.Lex(bytes.NewReader(data)) {
			switch {
			case token.Error != nil:
				return
			case !token.IsQuoted && (token.Value == ";" || token.Value == "{" || token.Value == "}" || strings.HasPrefix(token.Value, "#")):
				continue
			}
			got = append(got, token.Value)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Fatalf("%q: crossplane, ours:\n%s", data, diff)
		}
	})
}

func isASCII(data []byte) bool {
	return !bytes.ContainsFunc(data, func(r rune) bool { return r > 126 || r < ' ' && r != '\n' && r != '\t' && r != '\r' })
}
