package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRatioCheckToVersion compares the whole check on this host with the start of the program alone: the median of 15
// interleaved pairs, at most 10 is the aim, and the check's peak memory, at most 40 MB.
func BenchmarkRatioCheckToVersion(b *testing.B) {
	program := filepath.Join(b.TempDir(), "tcpadvise")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	var peak int64
	timed := func(args ...string) float64 {
		cmd := exec.Command(program, args...)
		start := time.Now()
		if err := cmd.Run(); err != nil {
			b.Fatalf("%v: %v", args, err)
		}
		elapsed := time.Since(start).Seconds()
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			peak = max(peak, usage.Maxrss) // KiB, getrusage(2)
		}
		return elapsed
	}
	check := []string{"check", "--fail-on", "never"}
	timed(check...)
	var ratios []float64
	for range 15 {
		x := timed(check...)
		ratios = append(ratios, x/timed("version"))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(float64(peak)/1024, "peak-MiB")
}
