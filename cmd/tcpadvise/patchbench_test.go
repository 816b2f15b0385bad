package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/host"
	"github.com/tcpadvise/tcpadvise/advisor/report"
	"github.com/tcpadvise/tcpadvise/rules"
)

// BenchmarkRatioPatchToReadAndWrite compares what a patch of a file of 10 MB with 50 changes costs beyond the check, its proof
// included, with reading that file and writing it anew; command-ratio is that of the whole command, the check included. Medians of
// 9 interleaved pairs.
func BenchmarkRatioPatchToReadAndWrite(b *testing.B) {
	const name = "/etc/sysctl.d/99-big.conf"
	root := image{name: largeSysctls(), "/usr/lib/systemd/systemd-sysctl": ""}.lay(b)
	set, err := advisor.Load(rules.FS)
	if err != nil {
		b.Fatal(err)
	}
	var ratios, commands []float64
	for range 9 {
		patch := secondsToPatch(b, root, set)
		start := time.Now()
		tcpadvise(b, exitPass, "patch", "--root", root, "--kernel", "6.1")
		command := time.Since(start).Seconds()
		start = time.Now()
		data, err := os.ReadFile(filepath.Join(root, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(root, "copy"), data, 0o600)
		}
		if err != nil {
			b.Fatal(err)
		}
		yardstick := time.Since(start).Seconds()
		ratios, commands = append(ratios, patch/yardstick), append(commands, command/yardstick)
	}
	slices.Sort(ratios)
	slices.Sort(commands)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(commands[len(commands)/2], "command-ratio")
}

// secondsToPatch is how long it takes from the diagnosis of a tree to the diff.
func secondsToPatch(b *testing.B, root string, set *advisor.RuleSet) float64 {
	h, err := host.Open(host.Options{Root: root, Kernel: "6.1", Catalogue: set.Catalogue, Edits: true})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Abort()
	facts, id, _ := h.Facts(b.Context())
	judge := func(f *advisor.Facts) *advisor.Diagnosis { return set.Evaluate(f, advisor.Options{Host: id}) }
	d := judge(facts)
	changes, _ := d.Changes(advisor.SafetySafe)
	start := time.Now()
	p := h.Edits(b.Context(), facts, d, changes, host.PatchOptions{Style: advisor.PatchInPlace, Judge: judge})
	if err := report.WritePatch(io.Discard, io.Discard, "diff", p, report.PatchOptions{Include: advisor.SafetySafe}); err != nil || len(p.Files) != 1 {
		b.Fatal(err, p.Withheld)
	}
	return time.Since(start).Seconds()
}
