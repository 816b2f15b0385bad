package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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

// BenchmarkRatioReport folds 1,000 captures and 100: the time of a capture in the one to that in the other, 1 where it is linear,
// and the peak memory of both, which is to be flat.
func BenchmarkRatioReport(b *testing.B) {
	program, dir := filepath.Join(b.TempDir(), "tcpadvise"), b.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	first := filepath.Join(dir, "0")
	if out, err := exec.Command(program, "capture", "-o", first).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	captures := []string{first}
	for i := 1; i < 1000; i++ {
		captures = append(captures, filepath.Join(dir, strconv.Itoa(i)))
		if err := os.Link(first, captures[i]); err != nil {
			b.Fatal(err)
		}
	}
	report := func(n int) (perCapture, peak float64) {
		cmd := exec.Command(program, append([]string{"report", "--fail-on", "never", "-o", os.DevNull}, captures[:n]...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() / float64(n), float64(usage.Maxrss) / 1024
	}
	var few []float64
	var small float64
	for range 3 {
		per, peak := report(100)
		few, small = append(few, per), peak
	}
	slices.Sort(few)
	per, large := report(1000)
	b.ReportMetric(per/few[1], "ratio")
	b.ReportMetric(per*1000, "ms/capture")
	b.ReportMetric(large, "peak-MiB-1000")
	b.ReportMetric(small, "peak-MiB-100")
}
