package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tcpadvise/tcpadvise/"

// allowedImports is section 1 of docs/design.md: what each package may import beside the standard library.
var allowedImports = map[string][]string{
	"rules":                 {},
	"advisor":               {"gopkg.in/yaml.v3", "github.com/expr-lang/expr"},
	"advisor/internal/conf": {"gopkg.in/yaml.v3"},
	"advisor/host":          {module + "advisor", "github.com/lorenzosaino/go-sysctl", "golang.org/x/sys"},
	"advisor/report":        {module + "advisor", "github.com/aymanbagabas/go-udiff", "github.com/clipperhouse/displaywidth"},
	"advisor/ruletest":      {module + "advisor", "gopkg.in/yaml.v3"},
	"cmd/tcpadvise":         {module, "github.com/spf13", "golang.org/x/term"},
	"tools/bench":           {},
}

// forbiddenImports: advisor is pure. It asks neither the machine nor the time.
var forbiddenImports = map[string][]string{"advisor": {"os", "net", "os/exec", "syscall"}}

// sideways are packages of one floor, which never import each other.
var sideways = []string{module + "advisor/host", module + "advisor/report", module + "advisor/ruletest"}

func TestImportsGoDownOnly(t *testing.T) {
	root := filepath.Join("..", "..")
	checked := 0
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == ".git" || e.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		pkg, _ := filepath.Rel(root, filepath.Dir(name))
		checked++
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if why := importFault(pkg, path); why != "" {
				t.Errorf("%s imports %s: %s", name, path, why)
			}
		}
		return nil
	})
	if err != nil || checked < 20 {
		t.Fatalf("%d files checked: %v", checked, err)
	}
}

func importFault(pkg, path string) string {
	allowed, known := allowedImports[pkg]
	if !known {
		return "docs/design.md knows no package " + pkg
	}
	if slices.Contains(forbiddenImports[pkg], path) {
		return "this package is pure"
	}
	if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
		return "" // standard library
	}
	if slices.Contains(sideways, module+pkg) && slices.Contains(sideways, path) {
		return "packages of one floor do not import each other"
	}
	if !slices.ContainsFunc(allowed, func(prefix string) bool { return strings.HasPrefix(path+"/", strings.TrimSuffix(prefix, "/")+"/") }) {
		return "not in the table of docs/design.md"
	}
	return ""
}

// TestDocsCurrent: the generated pages are those that the code would write now.
func TestDocsCurrent(t *testing.T) {
	pages, err := generatedPages((&app{stdout: os.Stdout, stderr: os.Stderr}).rootCommand())
	if err != nil {
		t.Fatal(err)
	}
	if err := stalePages(filepath.Join("..", "..", "docs"), pages); err != nil {
		t.Error(err)
	}
}
