package advisor_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

// fleetHost is a host of a test: its running kernel parameters, and its memory.
type fleetHost struct {
	name, file string
	settings   map[string]int64
	memory     int64
}

// foldHosts judges hosts one after the other, with a configuration.
func foldHosts(t *testing.T, config string, hosts ...fleetHost) *advisor.FleetReport {
	t.Helper()
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	c, err := advisor.LoadConfig("config.yaml", []byte(config))
	if err == nil {
		err = set.Configure(c)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := advisor.Options{FailOn: advisor.SeverityWarning, Config: c, Now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Only: []string{"unsafe/*"}}
	fleet := advisor.NewFleet(set, o)
	for _, h := range hosts {
		var b advisor.Builder
		from := advisor.Origin{Source: "test"}
		b.Set("kernel.version", advisor.Known(advisor.Tuple(6, 1, 0), from))
		b.Set("memory.total", advisor.Known(advisor.Int(h.memory), from))
		for key, value := range h.settings {
			b.SetMember("sysctl", key, advisor.Known(advisor.Int(value), from))
		}
		o.Host = advisor.Host{Name: h.name, Kernel: "6.1.0", Source: "capture"}
		facts := b.Facts()
		fleet.Add(h.file, set.Evaluate(facts, o), facts)
	}
	return fleet.Report()
}

func sane(name string) fleetHost {
	return fleetHost{name, name + ".capture", map[string]int64{"net.ipv4.tcp_sack": 1, "net.core.somaxconn": 4096}, 8 << 30}
}

func (h fleetHost) with(key string, value int64) fleetHost {
	settings := map[string]int64{key: value}
	for k, v := range h.settings {
		if k != key {
			settings[k] = v
		}
	}
	h.settings = settings
	return h
}

// TestFleetFolds: one finding for all hosts that have it, with their names; what few have is marked, and so is who differs.
func TestFleetFolds(t *testing.T) {
	var hosts []fleetHost
	for i := range 10 {
		hosts = append(hosts, sane(fmt.Sprintf("web%d", i)))
	}
	hosts[3] = hosts[3].with("net.ipv4.tcp_sack", 0)
	hosts[7] = hosts[7].with("net.ipv4.tcp_sack", 0).with("net.core.somaxconn", 128)
	r := foldHosts(t, "", hosts...)
	if len(r.Findings) != 1 || r.Findings[0].Rule != "unsafe/tcp-sack-off" || !slices.Equal(r.Findings[0].Hosts, []string{"web3", "web7"}) ||
		!r.Findings[0].Few || len(r.Findings[0].Messages) != 1 || len(r.Findings[0].Do) == 0 {
		t.Errorf("%+v", r.Findings)
	}
	var differ []string
	for _, s := range r.Settings {
		for _, v := range s.Values {
			differ = append(differ, fmt.Sprint(s.Key, "=", v.Value, " ", v.Default, " ", len(v.Hosts)))
		}
	}
	if want := []string{
		"net.core.somaxconn=4096 true 9", "net.core.somaxconn=128 false 1", "net.ipv4.tcp_sack=1 true 8", "net.ipv4.tcp_sack=0 false 2",
	}; !slices.Equal(differ, want) {
		t.Errorf("%q", differ)
	}
	if s := r.Summary; s.Hosts != 10 || s.Fail != 2 || s.Pass != 8 || s.Warning != 1 || s.Verdict != advisor.VerdictFail || s.FailOn != "warning" {
		t.Errorf("%+v", s)
	}
	if all := foldHosts(t, "", hosts[3], hosts[7]); all.Findings[0].Few {
		t.Error("what all have is on few")
	}
}

// TestFleetDefaults: where each kernel computes its default from the machine, hosts with the default do not differ, however
// large they are; one that was set does.
func TestFleetDefaults(t *testing.T) {
	const key = "net.ipv4.tcp_max_tw_buckets"
	small, large := sane("small").with(key, 8192), sane("large").with(key, 131072)
	small.memory, large.memory = 2<<30, 32<<30
	if r := foldHosts(t, "", small, large); len(r.Settings) != 0 {
		t.Errorf("%+v", r.Settings)
	}
	r := foldHosts(t, "", small, large, sane("set").with(key, 5000))
	if len(r.Settings) != 1 || r.Settings[0].Values[0].Value != nil || !slices.Equal(r.Settings[0].Values[0].Hosts, []string{"large", "small"}) ||
		r.Settings[0].Values[1].Value.String() != "5000" {
		t.Errorf("%+v", r.Settings)
	}
}

// TestFleetWaivers: a waiver that matched on one host is of use, though it matches nothing on the others.
func TestFleetWaivers(t *testing.T) {
	const config = `waivers:
  - {rule: unsafe/tcp-sack-off, host: "web*", reason: old kernel}
  - {rule: unsafe/tcp-syncookies-off, reason: nobody knows}
  - {rule: unsafe/tcp-sack-off, host: "db*", reason: older kernel, until: 2026-01-31}
`
	r := foldHosts(t, config, sane("web1"), sane("web2").with("net.ipv4.tcp_sack", 0), sane("db1").with("net.ipv4.tcp_sack", 0))
	if len(r.Notices) != 2 || r.Notices[0].Source != "config.yaml:4" || !slices.Equal(r.Notices[0].Hosts, []string{"db1"}) ||
		r.Notices[1].Source != "config.yaml:3" || len(r.Notices[1].Hosts) != 3 {
		t.Errorf("%+v", r.Notices)
	}
	f := r.Findings[0]
	if !slices.Equal(f.Hosts, []string{"db1"}) || len(f.Waived) != 1 || !slices.Equal(f.Waived[0].Hosts, []string{"web2"}) || r.Summary.Waived != 0 {
		t.Errorf("%+v, %+v", f, r.Summary)
	}
	r = foldHosts(t, config, sane("web1").with("net.ipv4.tcp_sack", 0))
	if len(r.Findings[0].Hosts) != 0 || r.Summary.Waived != 1 || r.Summary.Verdict != advisor.VerdictPass {
		t.Errorf("%+v", r)
	}
}

// TestFleetNames: hosts of one name are kept apart by their files, and one without is called by its file.
func TestFleetNames(t *testing.T) {
	twin := sane("web1")
	twin.file = "copy.capture"
	nameless := sane("")
	r := foldHosts(t, "", sane("web1"), twin, sane("web0"), nameless)
	var names []string
	for _, h := range r.Hosts {
		names = append(names, h.Name)
	}
	if want := []string{".capture", "web0", "web1 (copy.capture)", "web1 (web1.capture)"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
}

// TestFleetOrder: whatever the order of the hosts, the report is the same.
func TestFleetOrder(t *testing.T) {
	var hosts []fleetHost
	for i := range int64(12) {
		h := sane(fmt.Sprintf("web%d", i%9)).with("net.ipv4.tcp_sack", i%3%2).with("net.ipv4.tcp_fin_timeout", i%5*20)
		h.file = fmt.Sprint(i)
		hosts = append(hosts, h)
	}
	const config = "waivers:\n  - {rule: unsafe/tcp-sack-off, host: web4, reason: x}\n  - {rule: unsafe/tcp-sack-off, host: web7, reason: y}\n"
	first, err := json.Marshal(foldHosts(t, config, hosts...))
	if err != nil || strings.Count(string(first), `"unsafe/`) < 2 {
		t.Fatalf("%v %s", err, first)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		random.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
		if again, err := json.Marshal(foldHosts(t, config, hosts...)); err != nil || string(again) != string(first) {
			t.Fatalf("%v\n%s\n%s", err, first, again)
		}
	}
}

// TestFleetVerdict: what could not be read decides, then one bad host.
func TestFleetVerdict(t *testing.T) {
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		hosts  []advisor.Verdict
		unread int
		allow  bool
		want   advisor.Verdict
	}{
		{nil, 0, false, "pass"},
		{[]advisor.Verdict{"pass", "pass"}, 0, false, "pass"},
		{[]advisor.Verdict{"pass", "fail"}, 0, false, "fail"},
		{[]advisor.Verdict{"pass", "fail", "incomplete"}, 0, false, "incomplete"},
		{[]advisor.Verdict{"pass", "fail"}, 1, false, "incomplete"},
		{[]advisor.Verdict{"pass", "fail"}, 1, true, "fail"},
		{[]advisor.Verdict{"pass"}, 1, true, "pass"},
	} {
		fleet := advisor.NewFleet(set, advisor.Options{AllowGaps: c.allow})
		for i, v := range c.hosts {
			fleet.Add(fmt.Sprint(i), &advisor.Diagnosis{Summary: advisor.Summary{Verdict: v}}, new(advisor.Builder).Facts())
		}
		for range c.unread {
			fleet.Unread("x", "y")
		}
		if got := fleet.Report().Summary.Verdict; got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}
