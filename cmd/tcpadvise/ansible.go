package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// The program is an Ansible module too: copied or linked into a directory library beside a playbook, it is what a task
// "tcpadvise:" runs. Ansible takes a file that is no text for a binary module, copies it to the host and starts it with one
// argument, the absolute path of a JSON object: the task's arguments, and its own, whose names begin with _ansible_
// (ansible-core, lib/ansible/plugins/action/__init__.py, _execute_module and _update_module_args). The answer is one JSON object
// on standard output.

// moduleArguments returns the arguments of a call by Ansible. No command is an absolute path, and no other file says which
// module it is for, so a person's call is never taken for one, and the file may have any name: a link tcpadvise_arm64 beside
// tcpadvise is a module too.
func moduleArguments(args []string) (map[string]any, bool) {
	if len(args) != 1 || !filepath.IsAbs(args[0]) {
		return nil, false
	}
	data, err := readSmall(args[0])
	if err != nil {
		return nil, false
	}
	var all map[string]any
	decode := json.NewDecoder(bytes.NewReader(data))
	decode.UseNumber()
	if decode.Decode(&all) != nil || all["_ansible_module_name"] == nil {
		return nil, false
	}
	return all, true
}

// moduleTask is one task of a playbook: a check whose flags are the task's arguments.
type moduleTask struct {
	flags   checkFlags
	lang    string
	files   []string
	content *string // judged as if typed in
	diff    bool
	propose string // changes of this safety or more are proposed; empty: none
}

// runModule answers a task. Whatever happens, the answer is JSON: Ansible calls anything else a broken module.
func runModule(ctx context.Context, args map[string]any, stdout io.Writer) (code int) {
	var result map[string]any
	defer func() {
		if p := recover(); p != nil {
			result = map[string]any{
				"changed": false, "failed": true, "msg": fmt.Sprintf("internal error: %v; please report this with the member exception", p),
				"exception": string(debug.Stack()),
			}
		}
		if result["failed"] == true {
			code = exitFail
		}
		answer, err := json.Marshal(result)
		if err == nil {
			_, err = stdout.Write(append(answer, '\n'))
		}
		if err != nil { // Ansible shows what it got, and fails the task
			code = exitFail
		}
	}()
	m := &moduleTask{lang: "en"}
	err := m.take(args)
	if err == nil {
		result, err = m.answer(ctx)
	}
	if err != nil {
		result = map[string]any{"changed": false, "failed": true, "msg": asArguments().Replace(err.Error())}
	}
	return code
}

// moduleFlags are the flags of check that are arguments of the module. The others say how output looks and where it goes, and
// a module has but one way; and a task writes nothing, so no baseline either.
func moduleFlags(flags *checkFlags) *pflag.FlagSet {
	all, some := pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.register(all)
	all.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains([]string{"format", "output", "quiet", "min-severity", "write-baseline"}, f.Name) {
			some.AddFlag(f)
		}
	})
	return some
}

// argumentName is the flag's name as Ansible spells names.
func argumentName(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// asArguments makes messages name arguments instead of flags.
func asArguments() *strings.Replacer {
	var pairs []string
	moduleFlags(new(checkFlags)).VisitAll(func(f *pflag.Flag) { pairs = append(pairs, "--"+f.Name, argumentName(f.Name)) })
	return strings.NewReplacer(append(pairs, "FILE operands", "files and content", "the operands", "files and content",
		"exit 1 at", "fail at", "do not exit 3", "do not fail")...)
}

// take understands the arguments of a task.
func (m *moduleTask) take(args map[string]any) error {
	flags := moduleFlags(&m.flags)
	known := []string{"configuration", "content", "files", "lang", "propose"}
	flags.VisitAll(func(f *pflag.Flag) { known = append(known, argumentName(f.Name)) })
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(args)) {
		value := args[name]
		var err error
		switch flag := flags.Lookup(strings.ReplaceAll(name, "_", "-")); {
		case name == "_ansible_diff":
			m.diff = value == true
		case strings.HasPrefix(name, "_ansible_"): // Ansible's own; check mode changes nothing, since nothing is ever written
		case value == nil: // a variable without a value is not given
		case !slices.Contains(known, name):
			err = unknownArgument(name, known)
		case name == "content":
			var text string
			text, err = scalarText(value)
			m.content = &text
		case name == "files":
			m.files, err = listTexts(value)
		case name == "lang":
			m.lang, err = scalarText(value)
		case name == "propose":
			m.propose, err = scalarText(value)
		case name == "configuration":
			m.flags.inlineConfig, err = configurationText(value)
		default:
			err = setFlag(flag, value)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("argument %s: %w", name, err))
		}
	}
	return errors.Join(faults...)
}

func unknownArgument(name string, known []string) error {
	if near := advisor.Nearest(name, known); near != "" {
		return fmt.Errorf("there is none of this name, did you mean %q?", near)
	}
	slices.Sort(known)
	return fmt.Errorf("there is none of this name; known are %s", strings.Join(known, ", "))
}

// setFlag gives a flag the value of an argument: a list is a flag that is repeated.
func setFlag(f *pflag.Flag, value any) error {
	texts := []string{""}
	var err error
	if f.Value.Type() == "stringArray" {
		texts, err = listTexts(value)
	} else {
		texts[0], err = scalarText(value)
	}
	for _, text := range texts {
		if f.Value.Type() == "bool" {
			text = asBool(text)
		}
		if err == nil {
			err = f.Value.Set(text)
		}
	}
	return err
}

// asBool is what Ansible takes for a boolean beside what strconv does (ansible.module_utils.parsing.convert_bool): a template
// makes text of it.
func asBool(text string) string {
	switch strings.ToLower(text) {
	case "yes", "on", "y":
		return "true"
	case "no", "off", "n":
		return "false"
	}
	return text
}

func scalarText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case json.Number, bool:
		return fmt.Sprint(v), nil
	}
	return "", errors.New("want a single value")
}

// listTexts takes a list, or what Ansible takes for one: text with commas.
func listTexts(value any) ([]string, error) {
	items, ok := value.([]any)
	if !ok {
		text, err := scalarText(value)
		if err != nil {
			return nil, errors.New("want a list")
		}
		for item := range strings.SplitSeq(text, ",") {
			items = append(items, strings.TrimSpace(item))
		}
	}
	var texts []string
	for _, item := range items {
		text, err := scalarText(item)
		if err != nil || text == "" {
			return nil, errors.New("want a list of texts that are not empty")
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// configurationText is a configuration that stands in the playbook: as text, or as the mapping that the text means, which is
// written as JSON, since that is YAML too.
func configurationText(value any) ([]byte, error) {
	switch v := value.(type) {
	case string:
		return []byte(v), nil
	case map[string]any:
		return json.MarshalIndent(v, "", "  ")
	}
	return nil, errors.New("want a mapping, or the text of a configuration file")
}

// answer judges and says so.
func (m *moduleTask) answer(ctx context.Context) (map[string]any, error) {
	if m.lang != "en" && m.lang != "zh" {
		return nil, fmt.Errorf("argument lang: want en or zh, not %q", m.lang)
	}
	d, show, err := m.app(io.Discard).judge(ctx, &m.flags, m.operands())
	if err != nil {
		return nil, err
	}
	result, err := reportMembers(d, show)
	if err != nil {
		return nil, err
	}
	result["changed"], result["failed"], result["msg"] = false, d.Summary.Verdict != advisor.VerdictPass, report.Brief(d)
	result["verdict"] = d.Summary.Verdict
	if warnings := moduleWarnings(d); len(warnings) > 0 {
		result["warnings"] = warnings
	}
	return result, m.proposal(ctx, result)
}

// proposal adds what `tcpadvise patch` would print: tasks for the files and commands for the running kernel where they were
// asked for, and in diff mode the diff that callbacks and registered results hold.
func (m *moduleTask) proposal(ctx context.Context, result map[string]any) error {
	if m.propose != "" {
		tasks, err := m.patch(ctx, "ansible", m.propose)
		if err != nil {
			return err
		}
		commands, err := m.patch(ctx, "commands", m.propose)
		if err != nil {
			return err
		}
		list := []string{}
		for line := range strings.SplitSeq(commands, "\n") {
			if line != "" && line[0] != '#' {
				list = append(list, line)
			}
		}
		result["proposal"] = map[string]any{"tasks": tasks, "commands": list}
	}
	if m.diff {
		diff, err := m.patch(ctx, "diff", cmp.Or(m.propose, "safe"))
		if err != nil {
			return err
		}
		result["diff"] = map[string]any{"prepared": diff}
	}
	return nil
}

// app is the program with the task's content as its standard input.
func (m *moduleTask) app(stdout io.Writer) *app {
	content := ""
	if m.content != nil {
		content = *m.content
	}
	return &app{stdin: strings.NewReader(content), stdout: stdout, stderr: io.Discard, color: "never", lang: m.lang}
}

func (m *moduleTask) operands() []string {
	if m.content == nil {
		return m.files
	}
	return append(slices.Clone(m.files), "-")
}

// reportMembers are the members of the JSON report, and the text report by lines.
func reportMembers(d *advisor.Diagnosis, show report.Options) (map[string]any, error) {
	var doc, text bytes.Buffer
	if err := errors.Join(report.Write(&doc, "json", d, show), report.Write(&text, "text", d, show)); err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage // numbers stay as they are: some need 64 bits
	if err := json.Unmarshal(doc.Bytes(), &members); err != nil {
		return nil, err
	}
	result := map[string]any{"report": strings.Split(strings.TrimRight(text.String(), "\n"), "\n")}
	for name, value := range members {
		result[name] = value
	}
	return result, nil
}

// moduleWarnings are what Ansible prints even where the task succeeds: what somebody allowed, and should know of.
func moduleWarnings(d *advisor.Diagnosis) []string {
	var out []string
	for _, w := range d.WaiverNotices() {
		out = append(out, fmt.Sprintf("tcpadvise: %s: %s", w.Source, w.Why))
	}
	if len(d.Gaps) > 0 && d.Summary.Verdict != advisor.VerdictIncomplete {
		for _, gap := range d.Gaps {
			out = append(out, fmt.Sprintf("tcpadvise: not read, and allowed: %s: %s", gap.Source, gap.Why))
		}
	}
	return out
}

// patch is what `tcpadvise patch` would print.
func (m *moduleTask) patch(ctx context.Context, format, include string) (string, error) {
	var out bytes.Buffer
	flags := &patchFlags{input: m.flags.input, format: format, include: include}
	flags.observe = observation{} // a second look changes no file
	err := m.app(&out).patch(ctx, flags, m.operands())
	return out.String(), err
}
