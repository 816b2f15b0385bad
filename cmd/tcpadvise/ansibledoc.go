package main

import (
	_ "embed" // what the flags do not say
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/spf13/pflag"
)

//go:embed ansible.yml.tmpl
var moduleDocs string

// argument is how ansible-doc shows one.
type argument struct {
	Name, Type, Elements, Choices, Default string
	Description                            []string // as YAML
}

// modulePage is docs/ansible/library/tcpadvise.yml: the arguments are check's flags, so they are told in the flags' words.
func modulePage() (string, error) {
	arguments := map[string]argument{
		"configuration": {Type: "raw", Description: []string{
			"The configuration itself instead of a file on the host: a mapping as docs/configuration.md describes it, or its text.",
		}},
		"content": {Type: "str", Description: []string{"Judge this text, such as a rendered template, instead of the host; C(as) tells its type."}},
		"files": {Type: "list", Elements: "str", Description: []string{
			"Judge these files and directories, each file by itself, instead of the host. They are read where the task runs.",
		}},
		"lang": {Type: "str", Choices: "en, zh", Default: "en", Description: []string{"Language of the rules' texts."}},
		"propose": {Type: "str", Choices: "safe, review, manual", Description: []string{
			"Return the changes of this safety or more as C(proposal). They are not made.",
		}},
	}
	words := asArguments()
	moduleFlags(new(checkFlags)).VisitAll(func(f *pflag.Flag) {
		a := argument{Name: argumentName(f.Name), Type: "str", Default: f.DefValue}
		switch f.Value.Type() {
		case "stringArray":
			a.Type, a.Elements, a.Default = "list", "str", ""
		case "bool":
			a.Type = "bool"
		}
		usage := words.Replace(strings.ReplaceAll(strings.ReplaceAll(f.Usage, "`", ""), "; repeatable", ""))
		a.Description = []string{strings.ToUpper(usage[:1]) + usage[1:] + "."}
		arguments[a.Name] = a
	})
	var list []argument
	for _, name := range slices.Sorted(maps.Keys(arguments)) {
		a := arguments[name]
		a.Name = name
		for i, text := range a.Description {
			a.Description[i] = strconv.Quote(text)
		}
		list = append(list, a)
	}
	page, err := template.New("module").Parse(moduleDocs)
	if err != nil {
		return "", fmt.Errorf("the module's documentation: %w", err)
	}
	var b strings.Builder
	err = page.Execute(&b, struct{ Options []argument }{list})
	return b.String(), err
}
