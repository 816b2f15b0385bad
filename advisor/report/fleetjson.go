package report

import (
	"io"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// fleetSchema names the contract of docs/schema/fleet-v1.json.
const fleetSchema = "tcpadvise.fleet/1"

type jsonFleet struct {
	Schema string   `json:"schema"`
	Tool   jsonTool `json:"tool"`
	advisor.FleetReport
}

// writeFleetJSON writes all of it, whatever is set for the eyes.
func writeFleetJSON(w io.Writer, r *advisor.FleetReport, o Options) error {
	doc := jsonFleet{fleetSchema, jsonTool{Version: o.Tool, Rules: o.RulesVersion}, *r}
	doc.Hosts, doc.Unread, doc.Kernels, doc.Systems = listed(r.Hosts), listed(r.Unread), listed(r.Kernels), listed(r.Systems)
	doc.Findings, doc.Settings, doc.Unknown = listed(r.Findings), listed(r.Settings), listed(r.Unknown)
	doc.Conflicts, doc.Gaps, doc.Notices = listed(r.Conflicts), listed(r.Gaps), listed(r.Notices)
	for i := range doc.Findings {
		f := &doc.Findings[i]
		f.Hosts, f.Messages, f.Waived, f.Do, f.Dont = listed(f.Hosts), listed(f.Messages), listed(f.Waived), listed(f.Do), listed(f.Dont)
		for j := range f.Messages {
			f.Messages[j].Changes = listed(f.Messages[j].Changes)
		}
	}
	for i := range doc.Conflicts {
		doc.Conflicts[i].Rules = listed(doc.Conflicts[i].Rules)
	}
	return encodeJSON(w, doc)
}
