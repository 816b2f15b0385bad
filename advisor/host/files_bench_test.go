package host

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// lint judges files as `check FILE...` does.
func lint(t testing.TB, set *advisor.RuleSet, stdin []byte, operands ...string) *advisor.Diagnosis {
	files := OpenFiles(operands, bytes.NewReader(stdin), FileOptions{As: "sysctl", Catalogue: set.Catalogue})
	var parts iter.Seq[*advisor.Diagnosis] = func(yield func(*advisor.Diagnosis) bool) {
		for facts := range files.Facts(t.Context()) {
			if !yield(set.Evaluate(facts, advisor.Options{Host: files.Host()})) {
				return
			}
		}
	}
	d := advisor.Merge(parts)
	d.Finish(advisor.Options{Host: files.Host(), Gaps: files.Gaps()})
	return d
}

// BenchmarkLintManyKeys is one file of 100,000 lines, each with a key of its own: what is read, kept and judged of each.
func BenchmarkLintManyKeys(b *testing.B) {
	set := builtinSet(b)
	var text bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&text, "net.ipv4.conf.eth%d.rp_filter = 1\n", i)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		lint(b, set, text.Bytes(), "-")
	}
}

// fiftyLines are what people write.
func fiftyLines() string {
	var text strings.Builder
	text.WriteString("# tuning\nnet.core.somaxconn = 4096\nvm.swappiness = 10\nnet.ipv4.tcp_rmem = 4096 131072 6291456\n\n")
	for i := range 45 {
		fmt.Fprintf(&text, "net.ipv4.conf.eth%d.rp_filter = 1\n", i)
	}
	return text.String()
}

// manyFiles writes files of the same text below a directory that sysctl files lie in.
func manyFiles(t testing.TB, n int, text string) string {
	dir := t.TempDir()
	for i := range n {
		within := filepath.Join(dir, fmt.Sprint(i), "sysctl.d")
		if err := os.MkdirAll(within, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(within, "90-tuning.conf"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// BenchmarkLintManyFiles is a directory of 1,000 files of 50 lines, read, parsed and judged.
func BenchmarkLintManyFiles(b *testing.B) {
	set := builtinSet(b)
	text := fiftyLines()
	dir := manyFiles(b, 1000, text)
	b.SetBytes(int64(1000 * len(text)))
	b.ReportAllocs()
	for b.Loop() {
		lint(b, set, nil, dir)
	}
}

// kept is the memory that a diagnosis holds.
func kept(diagnose func() *advisor.Diagnosis) (bytes int64, d *advisor.Diagnosis) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first left to be swept
	runtime.ReadMemStats(&before)
	d = diagnose()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes = int64(after.HeapAlloc) - int64(before.HeapAlloc)
	runtime.KeepAlive(d)
	return bytes, d
}

// TestMemoryDoesNotGrowWithFiles: of a file without finding nothing is kept.
func TestMemoryDoesNotGrowWithFiles(t *testing.T) {
	set := builtinSet(t)
	lint(t, set, []byte(fiftyLines()+"net.ipv4.tcp_tw_recycle = 1\n"), "-") // rules and parameters are decoded, once
	const n = 300
	quiet := manyFiles(t, n, fiftyLines())
	if bytes, d := kept(func() *advisor.Diagnosis { return lint(t, set, nil, quiet) }); bytes > n*200 || len(d.Findings) > 0 {
		t.Errorf("%d bytes are kept of %d files with %d findings, want none but for the noise of the runtime", bytes, n, len(d.Findings))
	}
}
