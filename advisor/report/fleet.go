package report

import (
	"io"
	"maps"
	"slices"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// fleetFormats is the one list of formats for many hosts.
func fleetFormats() map[string]format[*advisor.FleetReport] {
	return map[string]format[*advisor.FleetReport]{"html": writeFleetHTML, "json": writeFleetJSON, "text": writeFleetText}
}

// FleetFormats lists the names that WriteFleet takes, sorted.
func FleetFormats() []string { return slices.Sorted(maps.Keys(fleetFormats())) }

// WriteFleet writes what is to be said of many hosts in the named format. On an unknown format nothing is written.
func WriteFleet(w io.Writer, format string, r *advisor.FleetReport, o Options) error {
	return writeAs(w, fleetFormats(), format, r, o)
}
