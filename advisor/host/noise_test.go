package host

import (
	"os"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// TestNoise is law 7 over what distributions ship and manuals advise: no warning, no error. The trees are composed.
func TestNoise(t *testing.T) {
	set := builtinSet(t)
	for name, kernels := range map[string][]string{
		"debian12":        {"6.1.0-38-amd64", "6.12.43+deb12-amd64"},
		"debian13":        {"6.12.43+deb13-amd64"},
		"ubuntu2204":      {"5.15.0-118-generic", "6.8.0-45-generic"},
		"rhel8-like":      {"4.18.0-553.el8_10.x86_64"},
		"rhel9-like":      {"5.14.0-427.el9.x86_64", "6.12.0-55.el10.x86_64"},
		"amazon2023-like": {"4.14.336-257.562.amzn2.x86_64", "6.1.94-99.176.amzn2023.x86_64"},
		"docker-host":     {"6.8.0-45-generic"},
		"k8s-node":        {"5.15.0-118-generic", "6.8.0-45-generic"},
		"elasticsearch":   {"6.1.0-38-amd64"},
		"oracle":          {"4.18.0-553.el8_10.x86_64", "5.15.0-205.149.5.1.el8uek.x86_64"},
	} {
		dir := "testdata/hosts/" + name
		if text, err := os.ReadFile(dir + "/ORIGIN"); err != nil || !strings.HasPrefix(string(text), "composed") {
			t.Errorf("%s does not say where it is from: %v", dir, err)
		}
		for _, kernel := range kernels {
			h, err := Open(Options{Root: dir, Kernel: kernel, Catalogue: set.Catalogue})
			if err != nil {
				t.Fatal(err)
			}
			facts, identity, gaps := h.Facts(t.Context())
			if loader := facts.Scalar("boot.loader"); loader.Value.String() != bootSystemd {
				t.Errorf("%s: boot loader %v", name, loader)
			}
			if rows := len(facts.Table("settings").Rows); rows < 3 {
				t.Errorf("%s: %d settings: the tree was not read", name, rows)
			}
			d := set.Evaluate(facts, advisor.Options{Host: identity, Gaps: gaps, FailOn: advisor.SeverityWarning})
			for _, f := range d.Findings {
				if f.Severity >= advisor.SeverityWarning {
					t.Errorf("%s with %s: %s %s: %s", name, kernel, f.Severity, f.Rule, f.Message)
				} else {
					t.Logf("%s with %s: %s %s: %s", name, kernel, f.Severity, f.Rule, f.Message)
				}
			}
		}
	}
}
