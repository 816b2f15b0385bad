package advisor_test

import (
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

// TestMyths: each belief has an answer that exists; and their number, so that none is lost unseen.
func TestMyths(t *testing.T) {
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	myths, err := advisor.LoadMyths(rules.FS, set)
	if err != nil {
		t.Fatal(err)
	}
	const known = 59
	if len(myths) < known {
		t.Errorf("%d myths, there were %d", len(myths), known)
	}
}
