package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// Outcome is what a comparison with the running kernel came to. The zero Outcome is invalid.
type Outcome uint8

// The outcomes.
const (
	Holds   Outcome = iota + 1 // the kernel has the value
	Differs                    // it has another one, or refuses this
	NotRead                    // it could not be read
	Secret                     // it is none of our business
)

// Verified is one value that a file sets, compared with the running kernel.
type Verified struct {
	Key     string
	Line    int
	Outcome Outcome
	Text    string // empty where it holds
}

// Verify compares each value that a sysctl file of this machine sets with the running kernel. as is the type that a person gave the
// file; empty: what it looks like. A file of another type is refused: a service's settings are no kernel parameters.
func (h *Host) Verify(ctx context.Context, name, as string) ([]Verified, error) {
	absolute, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	data, err := (&dirTree{root: "/"}).read(absolute, sysctlLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: no such file", name)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read: %w", name, cause(err))
	}
	files := OpenFiles([]string{name}, nil, FileOptions{As: as, Catalogue: h.options.Catalogue})
	if t, ok := files.recognise(name, data, true); ok && t.name != "sysctl" {
		return nil, fmt.Errorf("%s is no sysctl file but of type %s: --verify compares kernel parameters, and no kernel tells what a service took up "+
			"(--as sysctl reads it as one all the same)", name, t.name)
	}
	l := newSysctlLoad("sysctl -p", nil, expandSysctls(h.tree))
	src := sysctlSource{Path: name, File: name, Syntax: conf.ParseSysctl(data)}
	for i := range src.Syntax.Lines {
		if r, ok := src.Syntax.ProcpsReads(i); ok {
			l.add(&src, i, r)
		}
	}
	l.settleProcps()
	var out []Verified
	for _, w := range l.Writes {
		if last, ok := l.winner(w.Key); !ok || last != w {
			continue // a later line of the file has the last word
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v := Verified{Key: w.Key, Line: l.All[w.From].Line}
		v.Outcome, v.Text = h.compare(w)
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b Verified) int { return a.Line - b.Line })
	return out, nil
}

func (h *Host) compare(w sysctlWrite) (Outcome, string) {
	if isSecret(w.Key) {
		return Secret, w.Key + " is a secret: not compared"
	}
	file, err := sysctlPath(w.Key)
	if err != nil {
		return Differs, err.Error()
	}
	data, err := h.tree.read(file, 1<<20)
	running := strings.Join(strings.Fields(string(data)), " ")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Differs, w.Key + " is not set: this kernel has no such key"
	case err != nil:
		return NotRead, fmt.Sprintf("%s cannot be read: %v", w.Key, cause(err))
	case h.options.Catalogue.SameValue(w.Key, w.Value, running):
		return Holds, ""
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	kernel, _ := advisor.ParseVersion(strings.TrimSpace(string(release))) // unknown: only what no kernel takes is told
	if why := h.options.Catalogue.Refuses(w.Key, w.Value, kernel); why != "" {
		return Differs, fmt.Sprintf("%s runs with %s, not %s, which the kernel refuses: %s", w.Key, running, w.Value, why)
	}
	return Differs, fmt.Sprintf("%s runs with %s, not %s: it was not applied, the kernel has clamped it, or something has set it since", w.Key, running, w.Value)
}
