package host

import (
	"context"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// collector reads one source into facts. What it cannot read it records as unknown facts where the vocabulary has a
// place for them, and returns as gaps; it never fails the run.
type collector struct {
	name    string
	collect func(ctx context.Context, t tree, b *advisor.Builder) []advisor.Gap
}
