package host

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
)

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
		files := OpenFiles([]string{"-"}, bytes.NewReader(text.Bytes()), FileOptions{As: "sysctl", Catalogue: set.Catalogue})
		for facts := range files.Facts(b.Context()) {
			set.Evaluate(facts, advisor.Options{Host: files.Host()})
		}
	}
}
