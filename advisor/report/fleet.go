package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
)

type fleetFormat func(w io.Writer, r *advisor.FleetReport, o Options) error

// fleetFormats is the one list of formats for many hosts.
func fleetFormats() map[string]fleetFormat {
	return map[string]fleetFormat{"html": writeFleetHTML, "json": writeFleetJSON, "text": writeFleetText}
}

// FleetFormats lists the names that WriteFleet takes, sorted.
func FleetFormats() []string { return slices.Sorted(maps.Keys(fleetFormats())) }

// WriteFleet writes what is to be said of many hosts in the named format. On an unknown format nothing is written.
func WriteFleet(w io.Writer, format string, r *advisor.FleetReport, o Options) error {
	write, ok := fleetFormats()[format]
	if !ok {
		return fmt.Errorf("there is no format %q: choose one of %s", format, strings.Join(FleetFormats(), ", "))
	}
	if err := write(w, r, o); err != nil {
		return fmt.Errorf("write the report as %s: %w", format, err)
	}
	return nil
}
