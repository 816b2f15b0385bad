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
// included, with reading that file from the page cache and writing it anew to the disk: only fsync(2) says that it is written.
// command-ratio is that of the whole command, the check and the parsing of all rules included; the cached ratios leave the
// disk out, and compare with two copies by the kernel. Medians of 9 interleaved pairs.
func BenchmarkRatioPatchToReadAndWrite(b *testing.B) {
	const name = "/etc/sysctl.d/99-big.conf"
	root := image{name: largeSysctls(), "/usr/lib/systemd/systemd-sysctl": ""}.lay(b)
	set, err := advisor.Load(rules.FS)
	if err != nil {
		b.Fatal(err)
	}
	ratios := map[string][]float64{}
	for range 9 {
		patch := secondsToPatch(b, root, set)
		start := time.Now()
		tcpadvise(b, exitPass, "patch", "--root", root, "--kernel", "6.1")
		command := time.Since(start).Seconds()
		cached, written := secondsToCopy(b, filepath.Join(root, name), filepath.Join(root, "copy"))
		for metric, ratio := range map[string]float64{
			"ratio": patch / written, "command-ratio": command / written, "cached-ratio": patch / cached, "cached-command-ratio": command / cached,
		} {
			ratios[metric] = append(ratios[metric], ratio)
		}
	}
	for metric, all := range ratios {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], metric)
	}
}

// secondsToCopy is how long it takes to read a file and write it anew, until the page cache and until the disk has it.
func secondsToCopy(b *testing.B, from, to string) (cached, written float64) {
	start := time.Now()
	data, err := os.ReadFile(from)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		b.Fatal(err)
	}
	cached = time.Since(start).Seconds()
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return cached, time.Since(start).Seconds()
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
