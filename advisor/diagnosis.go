package advisor

// Severity says how bad a finding is. The zero Severity is invalid.
type Severity uint8

// The severities, in rising order.
const (
	SeverityInfo    Severity = iota + 1 // worth knowing
	SeverityWarning                     // will hurt under load, or misleads and helps nobody
	SeverityError                       // breaks or loses traffic, or is certain to
)

// Confidence says how sure a finding is. The zero Confidence is invalid. Below ConfidenceHigh a finding is at most a warning.
type Confidence uint8

// The confidences, in rising order.
const (
	ConfidenceLow Confidence = iota + 1
	ConfidenceMedium
	ConfidenceHigh
	ConfidenceCertain
)

// Remedy says who can help. The zero Remedy is invalid.
type Remedy uint8

// The remedies.
const (
	RemedyKernel      Remedy = iota + 1 // a kernel setting helps
	RemedyService                       // a service's configuration helps
	RemedyApplication                   // only the program's code helps: no sysctl change may be proposed
)

// Safety says how a change may be applied; ordered, zero is invalid.
type Safety uint8

// The safeties, in rising order.
const (
	SafetyManual Safety = iota + 1 // a person must decide and do it
	SafetyReview                   // right in nearly all cases; read it first
	SafetySafe                     // cannot make a working host worse
)

// Host identifies what was judged. Empty fields were not known.
type Host struct {
	Name   string `json:"name,omitempty"`
	Kernel string `json:"kernel,omitempty"` // uname -r verbatim, or the version asked for
	OS     string `json:"os,omitempty"`     // PRETTY_NAME of os-release
	Source string `json:"source"`           // live, root, capture or files
	Netns  string `json:"netns,omitempty"`
}

// Gap is an input that was asked for and could not be read or understood.
type Gap struct {
	Source string `json:"source"`
	Why    string `json:"why"`
	// Notice marks what is reported but was not asked for by name: it does not make the verdict incomplete.
	Notice bool `json:"-"`
	// Broken marks what no user could have read: not the reader's rights are at fault, but the input. A host that was asked
	// for as a whole is then incomplete.
	Broken bool `json:"-"`
}

// Evidence is one reading that decided a finding.
type Evidence struct {
	What   string `json:"what"` // the setting, counter, or table.column
	Value  Value  `json:"value"`
	Origin Origin `json:"origin"`
}

// Subject is what a finding is about: one row of a table, or the host (Table empty).
type Subject struct {
	Table string `json:"table,omitempty"`
	Key   string `json:"key,omitempty"` // stable over runs: waivers and baselines match it
}

// ProposedChange is what a finding wants for one setting.
type ProposedChange struct {
	Setting string `json:"setting"`        // "sysctl:net.core.somaxconn", "nginx:...", "unit:..."
	From    *Value `json:"from,omitempty"` // the present value; nil where not known or not set
	To      *Value `json:"to,omitempty"`   // the wanted value; nil for a removal
	Remove  bool   `json:"remove,omitempty"`
	Safety  Safety `json:"safety"`
	Note    string `json:"note,omitempty"` // what must follow, such as the restart of a service
}

// Finding is one rule firing on one subject.
type Finding struct {
	Rule        string           `json:"rule"`
	Severity    Severity         `json:"severity"`
	Remedy      Remedy           `json:"remedy"`
	Confidence  Confidence       `json:"confidence"`
	Subject     Subject          `json:"subject"`
	Title       string           `json:"title"`   // the rule's, for grouping
	Message     string           `json:"message"` // one sentence with this host's numbers
	Evidence    []Evidence       `json:"evidence"`
	Changes     []ProposedChange `json:"changes"`
	Do          []string         `json:"do"`
	Dont        []string         `json:"dont"`
	ExplainedBy *string          `json:"explained_by"`    // rule ID of the cause that this finding is a symptom of
	Waived      *string          `json:"waived"`          // the waiver's reason; nil: not waived
	Known       bool             `json:"known,omitempty"` // the baseline has it: it does not gate
	Docs        string           `json:"docs"`            // path of the rule's page in the project

	cause Subject // of the finding that ExplainedBy names
	place Origin  // of the subject's row, where that is a line of a file
}

// Where is where an editor should open: the line that the finding is about, else the first position in a file among the
// evidence; zero where there is none.
func (f *Finding) Where() Origin {
	if f.place.Line > 0 {
		return f.place
	}
	for _, e := range f.Evidence {
		if e.Origin.Path != "" && e.Origin.Line > 0 {
			return e.Origin
		}
	}
	return Origin{}
}

// Undecided is a rule that could not be judged on some subject, and why.
type Undecided struct {
	Rule  string   `json:"rule"`
	Needs []string `json:"needs"` // the facts that could not be read
	Why   string   `json:"why"`
}

// Conflict is two findings that want incompatible values of one setting: neither is proposed.
type Conflict struct {
	Setting string   `json:"setting"`
	Rules   []string `json:"rules"`
	Why     string   `json:"why"`
}

// Summary counts: Error, Warning, Info and Waived count findings; Quiet, NotApplicable, Unknown and Skipped count rules.
type Summary struct {
	Error         int     `json:"error"`
	Warning       int     `json:"warning"`
	Info          int     `json:"info"`
	Waived        int     `json:"waived"`
	Quiet         int     `json:"quiet"`
	NotApplicable int     `json:"not_applicable"`
	Unknown       int     `json:"unknown"`
	Skipped       int     `json:"skipped"`
	FailOn        string  `json:"fail_on"`
	Verdict       Verdict `json:"verdict"`
}

// Verdict is a run's answer: "pass", "fail" or "incomplete" (an input that was asked for could not be read).
type Verdict string

// Diagnosis is all that a run found, in stable order: findings by severity (worst first), rule, place and subject.
// It holds no time and no duration, so two runs over one capture are equal byte for byte.
type Diagnosis struct {
	Host      Host        `json:"host"`
	Summary   Summary     `json:"summary"`
	Findings  []Finding   `json:"findings"`
	Unknown   []Undecided `json:"unknown"`
	Conflicts []Conflict  `json:"conflicts"`
	Gaps      []Gap       `json:"gaps"`
	Notices   []Gap       `json:"notices,omitempty"` // not read and not asked for: other network namespaces, files of unknown kind

	// Sockets counts the TCP sockets by state (established, syn_sent, ...). A state that was not counted is missing; nil: none was.
	Sockets map[string]int64 `json:"sockets,omitempty"`

	// ConfigFaults are waivers in the judged files that name no rule or give no reason: nothing may be concluded from a run with these.
	ConfigFaults LoadErrors `json:"-"`

	waiverNotices []Gap
	waiversUsed   []string           // places of the waivers that matched something
	waiversUnused []string           // and of those that did not, though they are for this host
	verdicts      map[string]verdict // by rule
	wants         []Want             // of all findings, for Changes
}

// SocketStates are the keys of Diagnosis.Sockets in the order of a connection's life. CLOSED has no socket that could be counted.
func SocketStates() []string {
	return []string{
		"listen", "syn_sent", "syn_recv", "established", "fin_wait1", "fin_wait2", "closing", "time_wait", "close_wait", "last_ack",
	}
}

// sockets counts by state what was counted: a state that could not be read is left out, never zero.
func (f *Facts) sockets() map[string]int64 {
	var counts map[string]int64
	for _, state := range SocketStates() {
		fact := f.Scalar("tcp." + state)
		if n, ok := fact.Value.Int(); ok && fact.State == StateKnown {
			if counts == nil {
				counts = map[string]int64{}
			}
			counts[state] = n
		}
	}
	return counts
}
