package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// TestFormatsOfACapture: one capture gives the same bytes in each format, run after run, alone or beside others; and each
// format says what could not be read and which rules are undecided for it.
func TestFormatsOfACapture(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"root/etc/sysctl.d/99-tuning.conf": "net.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_sack = 0\n",
		"root/etc/nginx/nginx.conf":        "events {}\nhttp { server { listen 80; }\n",
		"root/etc/os-release":              "ID=debian\nVERSION_ID=12\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	capture := filepath.Join(dir, "host.tcpadvise")
	tcpadvise(t, exitPass, "capture", "--root", filepath.Join(dir, "root"), "-o", capture)

	together := []string{"check", "--capture", capture}
	for _, format := range report.Formats() {
		together = append(together, "--format", format, "-o", filepath.Join(dir, format))
	}
	tcpadvise(t, exitIncomplete, together...)
	for _, format := range report.Formats() {
		first, _ := tcpadvise(t, exitIncomplete, "check", "--capture", capture, "--format", format)
		for range 2 {
			if again, _ := tcpadvise(t, exitIncomplete, "check", "--capture", capture, "--format", format); again != first {
				t.Errorf("%s differs from run to run", format)
			}
		}
		if data, err := os.ReadFile(filepath.Join(dir, format)); err != nil || string(data) != first {
			t.Errorf("%s differs beside other formats: %v", format, err)
		}
		gap, undecided := "/etc/nginx/nginx.conf", "nginx/keepalive-off"
		if format == "prometheus" { // it counts
			gap, undecided = "\ntcpadvise_verdict{verdict=\"incomplete\"} 1\n", "\ntcpadvise_undecided{rule=\"nginx/keepalive-off\"} 1\n"
			if strings.Contains(first, "\ntcpadvise_gaps 0\n") {
				t.Error("prometheus counts no gap")
			}
		}
		if !strings.Contains(first, gap) || !strings.Contains(first, undecided) {
			t.Errorf("%s tells no gap or no undecided rule:\n%s", format, first)
		}
	}
}
