package report_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/report"
	"github.com/tcpadvise/tcpadvise/rules"
)

var update = flag.Bool("update", false, "rewrite testdata")

// looks are the options that each diagnosis is printed with, by the name of the section in its golden file.
func looks(name string) map[string]report.Options {
	o := report.Options{Tool: "0.1.0", RulesVersion: "0.1.0"}
	if name == "chinese" {
		o.Lang = "zh"
	}
	with := func(change func(*report.Options)) report.Options {
		o := o
		change(&o)
		return o
	}
	all := map[string]report.Options{"": o}
	switch name {
	case "bad-night", "chinese", "hostile":
		all["width 40"] = with(func(o *report.Options) { o.Width = 40 })
		all["width 120"] = with(func(o *report.Options) { o.Width = 120 })
		all["colour"] = with(func(o *report.Options) { o.Color = true })
		all["quiet"] = with(func(o *report.Options) { o.Quiet = true })
	}
	if name == "bad-night" {
		all["no wrapping"] = with(func(o *report.Options) { o.Width = -1 })
		all["errors only"] = with(func(o *report.Options) { o.MinSeverity = advisor.SeverityError })
		all["Chinese"] = with(func(o *report.Options) { o.Lang = "zh" })
	}
	return all
}

func write(t *testing.T, format string, d *advisor.Diagnosis, o report.Options) string {
	t.Helper()
	var buf bytes.Buffer
	if err := report.Write(&buf, format, d, o); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// TestGolden walks all formats over all diagnoses: a new format gets its golden sections by -update. Escape characters are
// shown as ␛ in the files, so that a diff of them can be read.
func TestGolden(t *testing.T) {
	for name, d := range diagnoses() {
		t.Run(name, func(t *testing.T) {
			got := &txtar.Archive{}
			options := looks(name)
			for _, format := range report.Formats() {
				for _, look := range slices.Sorted(maps.Keys(options)) {
					if look != "" && format != "text" {
						continue
					}
					title := strings.TrimSuffix(format+", "+look, ", ")
					data := unstyled(t, strings.ReplaceAll(write(t, format, d, options[look]), "\x1b", "␛"))
					got.Files = append(got.Files, txtar.File{Name: title, Data: []byte(data)})
				}
			}
			compare(t, filepath.Join("testdata", name+".txtar"), txtar.Format(got))
		})
	}
}

// unstyled takes the style, and its sum in the policy, out of a page: they are the same in all.
func unstyled(t *testing.T, page string) string {
	t.Helper()
	style, err := os.ReadFile("html.css")
	if err != nil {
		t.Fatal(err)
	}
	page = strings.Replace(page, "<style>"+string(style)+"</style>", "<style>html.css</style>", 1)
	return regexp.MustCompile(`sha256-[^&]*(&#43;[^&]*)*&#39;`).ReplaceAllString(page, "sha256-of-it&#39;")
}

func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: go test ./advisor/report -update\n%s", path, got)
	}
}

func TestUnknownFormat(t *testing.T) {
	var buf bytes.Buffer
	err := report.Write(&buf, "yaml", &advisor.Diagnosis{}, report.Options{})
	if err == nil || !strings.Contains(err.Error(), "html, json, junit, markdown, prometheus, sarif, text") || buf.Len() > 0 {
		t.Errorf("got %v and %q", err, buf.String())
	}
}

// TestSafeBytes holds for each format, present and future: what was planted reaches no terminal.
func TestSafeBytes(t *testing.T) {
	for _, format := range report.Formats() {
		for name, d := range diagnoses() {
			out := write(t, format, d, report.Options{})
			if !utf8.ValidString(out) {
				t.Errorf("%s of %s is not UTF-8", format, name)
			}
			for _, r := range out {
				if r != '\n' && (unicode.IsControl(r) || !unicode.IsPrint(r)) {
					t.Errorf("%s of %s holds %U", format, name, r)
				}
			}
		}
	}
}

// TestColourOnlyPaints: taking the codes away gives the plain text.
func TestColourOnlyPaints(t *testing.T) {
	codes := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for name, d := range diagnoses() {
		painted := write(t, "text", d, report.Options{Color: true})
		if len(d.Findings) > 0 && !codes.MatchString(painted) {
			t.Errorf("%s: no colour", name)
		}
		if codes.ReplaceAllString(painted, "") != write(t, "text", d, report.Options{}) {
			t.Errorf("%s: colour changes the text", name)
		}
	}
}

// TestWidth: a line is longer than asked for only where its first word, or what stands in one piece, is.
func TestWidth(t *testing.T) {
	for name, d := range diagnoses() {
		if name == "hostile" || name == "markup" {
			continue // are made of such words
		}
		for _, width := range []int{72, 80, 120} {
			for line := range strings.Lines(write(t, "text", d, report.Options{Width: width, Lang: looks(name)[""].Lang})) {
				line = strings.TrimSuffix(line, "\n")
				if line != strings.TrimRight(line, " ") {
					t.Errorf("%s: blanks at the end of %q", name, line)
				}
				if n := displaywidth.String(line); n > width && !strings.Contains(line, "/srv/images/") {
					t.Errorf("%s: %d columns instead of %d: %s", name, n, width, line)
				}
			}
		}
	}
}

// TestWordsStayWhole: what is copied from a narrow terminal works.
func TestWordsStayWhole(t *testing.T) {
	out := write(t, "text", badNight(), report.Options{Width: 30})
	for _, want := range []string{
		"ss -tnp state close-wait 'sport = :8080'\n", "jcmd 4711 Thread.print\n", "nstat -az TcpExtListenOverflows TcpExtListenDrops\n",
		"sysctl -w net.ipv4.tcp_sack=1\n", "/etc/sysctl.d/99-tuning.conf:12:28\n", "(/proc/sys/net/ipv4/tcp_sack)\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is broken in\n%s", want, out)
		}
	}
	if out := write(t, "text", chinese(), report.Options{Width: 30, Lang: "zh"}); !strings.Contains(out, "\n  /etc/sysctl.d/调优-网络.conf\n") {
		t.Errorf("a file name is broken in\n%s", out)
	}
}

// TestVerdict: words and exit code agree, and no pass hides what was not judged.
func TestVerdict(t *testing.T) {
	warning := advisor.Finding{Severity: advisor.SeverityWarning}
	known := warning
	known.Waived = ptr("known")
	for _, c := range []struct {
		findings []advisor.Finding
		gaps     int
		summary  advisor.Summary
		want     string
	}{
		{nil, 0, advisor.Summary{Quiet: 1, Verdict: "pass"}, "passes: no finding at or above warning"},
		{nil, 0, advisor.Summary{Quiet: 1, Unknown: 1, Verdict: "pass"}, "passes: no finding at or above warning; 1 rule is undecided"},
		{nil, 1, advisor.Summary{Quiet: 1, Verdict: "pass"}, "passes: no finding at or above warning; 1 input was not read"},
		{nil, 0, advisor.Summary{Verdict: "pass"}, "passes: nothing was found because nothing was judged"},
		{[]advisor.Finding{known}, 0, advisor.Summary{Waived: 1, Verdict: "pass"}, "passes: no unwaived finding at or above warning"},
		{[]advisor.Finding{warning}, 0, advisor.Summary{Warning: 1, Verdict: "pass"}, "passes: no new finding at or above warning"},
		{[]advisor.Finding{warning}, 0, advisor.Summary{Warning: 1, Verdict: "pass", FailOn: "never"}, "passes: --fail-on never"},
		{[]advisor.Finding{warning, known}, 0, advisor.Summary{Warning: 1, Verdict: "fail"}, "fails: 1 finding at or above warning"},
		{nil, 1, advisor.Summary{Quiet: 1, Verdict: "incomplete"}, "incomplete: 1 input could not be read"},
		{[]advisor.Finding{warning}, 2, advisor.Summary{Warning: 1, Verdict: "incomplete"}, "incomplete: 2 inputs could not be read; 1 finding at or above warning"},
	} {
		d := &advisor.Diagnosis{Findings: c.findings, Summary: c.summary, Gaps: make([]advisor.Gap, c.gaps)}
		if d.Summary.FailOn == "" {
			d.Summary.FailOn = "warning"
		}
		for _, quiet := range []bool{false, true} {
			lines := strings.Split(strings.TrimSpace(write(t, "text", d, report.Options{Quiet: quiet})), "\n")
			if got := lines[len(lines)-1]; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		}
	}
}

// TestChinesePages: each translated rule's page says none of its headings in English, and its paragraphs fill the lines of a
// terminal, in which a Chinese character takes two columns, without leaving them.
func TestChinesePages(t *testing.T) {
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	const columns = 60
	pages := 0
	for _, r := range set.Rules {
		if r.Translated().Zh == nil {
			continue
		}
		pages++
		widest := 0
		for line := range strings.Lines(report.ForTerminal(report.RulePage(r, nil, "zh"), columns)) {
			line = strings.TrimSuffix(line, "\n")
			if size := displaywidth.String(line); !strings.HasPrefix(line, "    ") && strings.ContainsFunc(line, wide) {
				widest = max(widest, size)
				if size > columns {
					t.Errorf("%s: %d columns: %s", r.ID, size, line)
				}
			}
			if !utf8.ValidString(line) || strings.ContainsRune(line, utf8.RuneError) {
				t.Errorf("%s: %q", r.ID, line)
			}
			if strings.HasPrefix(line, "##") && !strings.ContainsFunc(line, wide) {
				t.Errorf("%s: heading %s", r.ID, line)
			}
		}
		if widest < columns-2 {
			t.Errorf("%s: no line is wider than %d", r.ID, widest)
		}
	}
	if pages < 31 {
		t.Errorf("%d pages", pages)
	}
}

func wide(r rune) bool { return displaywidth.Rune(r) == 2 }

// TestChinese compares the phrases in the source with the translated ones: none is missing, none is left over.
func TestChinese(t *testing.T) {
	used := map[string]bool{}
	for _, file := range []string{"text.go", "finding.go", "verdict.go", "page.go", "fleettext.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && slices.Contains([]string{"say", "count", "add"}, called(call)) {
				for _, arg := range call.Args {
					if lit, ok := arg.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						phrase, _ := strconv.Unquote(lit.Value)
						used[phrase] = true
					}
				}
			}
			return true
		})
	}
	want, got := slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(report.Chinese()))
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("translated phrases differ from those used (-missing +left over):\n%s", cmp.Diff(want, got))
	}
}

func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name
	case *ast.Ident:
		return f.Name
	}
	return ""
}

func ExampleWrite() {
	d := &advisor.Diagnosis{
		Host:    advisor.Host{Name: "web-01", Source: "live"},
		Summary: advisor.Summary{Quiet: 61, FailOn: "warning", Verdict: advisor.VerdictPass},
	}
	if err := report.Write(os.Stdout, "text", d, report.Options{}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// web-01, live
	//
	// no finding: 61 rules judged
	// passes: no finding at or above warning
}
