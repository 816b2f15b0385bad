package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// sample is one reading of everything that the kernel counts: facts by family and key. A family that could not be read
// wholly has a fact for the keys that it does not hold.
type sample struct {
	members map[string]map[string]advisor.Fact
	whole   map[string]advisor.Fact
	odd     []advisor.Fact // what was not readable or not understood
}

// collectCounters reads the kernel's counters and gauges of TCP, sockets, queues, connection tracking and open files.
func collectCounters(_ context.Context, t tree, b *advisor.Builder) []advisor.Gap {
	return readCounters(t).record(t, b)
}

// oneSample is why there is no rate and no growth.
const oneSample = "one sample only: use --sample"

// facts hands the sample over.
func (s *sample) facts(b *advisor.Builder) {
	for _, family := range slices.Sorted(maps.Keys(s.whole)) {
		b.SetFamily(family, s.whole[family])
		for key, fact := range s.members[family] {
			b.SetMember(family, key, fact)
		}
	}
}

// record hands a first sample over with what only that needs, and says what was not readable.
func (s *sample) record(t tree, b *advisor.Builder) []advisor.Gap {
	s.facts(b)
	b.SetFamily("rate", advisor.Absent(oneSample, advisor.Origin{}))
	odd := s.odd
	for key, fact := range readTables(t) {
		b.Set(key, fact)
		odd = append(odd, fact)
	}
	slices.SortStableFunc(odd, func(a, b advisor.Fact) int { return strings.Compare(a.Origin.Path, b.Origin.Path) })
	return gapsOf(odd...)
}

// readCounters takes one sample.
func readCounters(t tree) *sample {
	s := &sample{members: map[string]map[string]advisor.Fact{}, whole: map[string]advisor.Fact{}}
	for _, src := range []struct {
		family, path string
		parse        func(data []byte, path string, into map[string]advisor.Fact) (bad []byte)
	}{
		{"counter", "/proc/net/netstat", parseNetstat},
		{"counter", "/proc/net/snmp", parseNetstat},
		{"sockstat", "/proc/net/sockstat", parseSockstat},
		{"sockstat", "/proc/net/sockstat6", parseSockstat},
		{"softnet", "/proc/net/softnet_stat", parseSoftnet},
		{"conntrack", "/proc/net/stat/nf_conntrack", parseConntrack},
	} {
		data, err := t.read(src.path, largeFile)
		if err != nil {
			s.unread(t, src.family, src.path, err)
			continue
		}
		members := s.family(src.family)
		had := len(members)
		if bad := src.parse(data, src.path, members); bad != nil || len(members) == had {
			s.fail(src.family, advisor.Unknown(notUnderstood(bad), advisor.Origin{Path: src.path}))
		} else if s.whole[src.family].State == 0 {
			s.whole[src.family] = advisor.Absent("this kernel does not count it", advisor.Origin{Path: src.path})
		}
	}
	return s
}

func (s *sample) family(name string) map[string]advisor.Fact {
	if s.members[name] == nil {
		s.members[name] = map[string]advisor.Fact{}
	}
	return s.members[name]
}

// fail makes the keys that the family does not hold unknown. The first reason stays.
func (s *sample) fail(family string, fact advisor.Fact) {
	if s.whole[family].State != advisor.StateUnknown {
		s.whole[family] = fact
	}
	s.odd = append(s.odd, fact)
}

// unread takes a source that could not be read. That there is no /proc/net/sockstat6 says that IPv6 is off.
func (s *sample) unread(t tree, family, path string, err error) {
	fact := unread(t, path, err)
	if errors.Is(err, fs.ErrNotExist) && family == "conntrack" {
		fact = noConntrack(t, path, err)
	}
	if fact.State == advisor.StateUnknown {
		s.fail(family, fact)
	} else if s.whole[family].State == 0 {
		s.whole[family] = fact
	}
}

// noConntrack tells a kernel without connection tracking from one that was built without its statistics in /proc
// (CONFIG_NF_CONNTRACK_PROCFS), where only conntrack(8) can ask by netlink.
func noConntrack(t tree, path string, err error) advisor.Fact {
	fact := unread(t, path, err)
	if fact.Why == noKernel {
		return fact
	}
	if _, err := t.read(conntrackCount, smallFile); err == nil {
		return advisor.Unknown("this kernel has no statistics of connection tracking in /proc: ask conntrack -S", fact.Origin)
	}
	return advisor.Absent("connection tracking is not loaded", fact.Origin)
}

const conntrackCount = "/proc/sys/net/netfilter/nf_conntrack_count"

// readTables reads how full the tables of connection tracking and of open files are.
func readTables(t tree) map[string]advisor.Fact {
	facts := map[string]advisor.Fact{
		"conntrack.count": conntrackNumber(t, conntrackCount),
		"conntrack.max":   conntrackNumber(t, "/proc/sys/net/netfilter/nf_conntrack_max"),
	}
	if n, ok := facts["conntrack.max"].Value.Int(); ok && n == 0 {
		// "if (ct_max && unlikely(ct_count > ct_max))", net/netfilter/nf_conntrack_core.c: 0 is no limit.
		facts["conntrack.max"] = advisor.Known(advisor.Unlimited(), facts["conntrack.max"].Origin)
	}
	facts["files.open"], facts["files.max"] = fileTable(t)
	return facts
}

func conntrackNumber(t tree, path string) advisor.Fact {
	data, err := t.read(path, smallFile)
	if err != nil {
		fact := unread(t, path, err)
		if fact.State == advisor.StateAbsent && fact.Why != noKernel {
			fact.Why = "connection tracking is not loaded"
		}
		return fact
	}
	return counted(string(bytes.TrimSpace(data)), advisor.Origin{Path: path})
}

// fileTable reads /proc/sys/fs/file-nr: allocated, free and greatest number of open files (proc_sys_fs(5)). Since 2.6 free
// is always 0; before, the free ones were counted as allocated too.
func fileTable(t tree) (open, most advisor.Fact) {
	const path = "/proc/sys/fs/file-nr"
	origin := advisor.Origin{Path: path}
	data, err := t.read(path, smallFile)
	if err != nil {
		fact := unread(t, path, err)
		return fact, fact
	}
	f := strings.Fields(string(data))
	if len(f) != 3 {
		fact := advisor.Unknown(notUnderstood(data), origin)
		return fact, fact
	}
	open, free := counted(f[0], origin), counted(f[1], origin)
	all, _ := open.Value.Int()
	if n, ok := free.Value.Int(); !ok || n < 0 || n > all {
		open = advisor.Unknown(notUnderstood(data), origin)
	} else if open.State == advisor.StateKnown {
		open = advisor.Known(advisor.Int(all-n), origin)
	}
	return open, counted(f[2], origin)
}

// counted is the fact of one number of the kernel's. The counters are unsigned; one above 63 bits is unknown, never
// negative. A few values are signed, such as Tcp.MaxConn, where -1 says that there is no fixed limit (RFC 4022).
func counted(s string, origin advisor.Origin) advisor.Fact {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return advisor.Known(advisor.Int(n), origin)
	}
	if _, err := strconv.ParseUint(s, 10, 64); err == nil {
		return advisor.Unknown(s+" does not fit into 63 bits", origin)
	}
	return advisor.Unknown(notUnderstood([]byte(s)), origin)
}

// parseNetstat reads /proc/net/netstat and /proc/net/snmp: a line of names and a line of numbers for each protocol, both
// after "TcpExt:" (net/ipv4/proc.c). It goes by name, for each kernel adds names; it returns the first line that has
// another form, and keeps the rest.
func parseNetstat(data []byte, path string, into map[string]advisor.Fact) (bad []byte) {
	origin := advisor.Origin{Path: path}
	var names []string
	var header []byte
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		switch {
		case len(fields) == 0:
		case names != nil && fields[0] == names[0]:
			if len(fields) != len(names) {
				bad = firstOf(bad, line)
			} else {
				addNetstat(into, names, fields, origin)
			}
			names, header = nil, nil
		case !isNetstatHeader(fields):
			bad = firstOf(bad, line)
		default: // a header; one before it has no numbers
			bad = firstOf(bad, header)
			names, header = fields, line
		}
	}
	return firstOf(bad, header)
}

// isNetstatHeader keeps a line of numbers whose header is missing from being read as names.
func isNetstatHeader(fields []string) bool {
	if !strings.HasSuffix(fields[0], ":") {
		return false
	}
	_, err := strconv.ParseFloat(fields[len(fields)-1], 64)
	return err != nil
}

func addNetstat(into map[string]advisor.Fact, names, numbers []string, origin advisor.Origin) {
	protocol := strings.TrimSuffix(names[0], ":")
	for i, number := range numbers[1:] {
		into[protocol+"."+names[i+1]] = counted(number, origin)
	}
}

// firstOf keeps the first line that was not understood; it is never the empty one.
func firstOf(bad, line []byte) []byte {
	if bad == nil {
		return line
	}
	return bad
}

// parseSockstat reads "TCP: inuse 5 orphan 0 tw 2 alloc 7 mem 1" (net/ipv4/proc.c sockstat_seq_show): gauges, by name.
func parseSockstat(data []byte, path string, into map[string]advisor.Fact) (bad []byte) {
	origin := advisor.Origin{Path: path}
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 {
			continue
		}
		protocol, ok := strings.CutSuffix(fields[0], ":")
		if !ok || len(fields)%2 != 1 {
			bad = firstOf(bad, line)
			continue
		}
		for pair := range slices.Chunk(fields[1:], 2) {
			into[protocol+"."+pair[0]] = counted(pair[1], origin)
		}
	}
	return bad
}

// softnetColumns are the columns of /proc/net/softnet_stat that count, in hexadecimal (net/core/net-procfs.c
// softnet_seq_show). Those between are fixed zeros or, later ones, no counters: 12 the length of a queue, 13 the processor.
var softnetColumns = [...]struct {
	column int
	name   string
}{{0, "processed"}, {1, "dropped"}, {2, "time_squeeze"}, {9, "received_rps"}, {10, "flow_limit_count"}}

// parseSoftnet sums the processors' lines. Each number has 32 bits and wraps on its own, so the sum may go back.
func parseSoftnet(data []byte, path string, into map[string]advisor.Fact) (bad []byte) {
	origin := advisor.Origin{Path: path}
	for line := range bytes.Lines(data) {
		numbers, ok := hexNumbers(line)
		if !ok || len(numbers) < 3 {
			bad = firstOf(bad, line)
			continue
		}
		for _, c := range softnetColumns {
			if c.column < len(numbers) {
				addTo(into, c.name, numbers[c.column], origin)
			}
		}
	}
	if bad != nil { // a sum that lacks a processor is no sum
		clear(into)
	}
	return bad
}

// parseConntrack sums the processors' lines of /proc/net/stat/nf_conntrack by the names in its first line
// (nf_conntrack_standalone.c ct_cpu_seq_show). "entries" is the same number in each line, and no counter.
func parseConntrack(data []byte, path string, into map[string]advisor.Fact) (bad []byte) {
	origin := advisor.Origin{Path: path}
	var names []string
	for line := range bytes.Lines(data) {
		if names == nil {
			names = strings.Fields(string(line))
			continue
		}
		numbers, ok := hexNumbers(line)
		if !ok || len(numbers) != len(names) {
			bad = firstOf(bad, line)
			continue
		}
		for i, name := range names {
			if name != "entries" {
				addTo(into, name, numbers[i], origin)
			}
		}
	}
	if bad != nil {
		clear(into)
	}
	return bad
}

func hexNumbers(line []byte) ([]uint64, bool) {
	var numbers []uint64
	for field := range strings.FieldsSeq(string(line)) {
		n, err := strconv.ParseUint(field, 16, 64)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, len(numbers) > 0
}

// addTo adds n to a sum; once the sum is unknown it stays so.
func addTo(into map[string]advisor.Fact, key string, n uint64, origin advisor.Origin) {
	fact, ok := into[key]
	have, known := fact.Value.Int()
	if ok && !known {
		return
	}
	sum, carry := bits.Add64(uint64(have), n, 0)
	if carry != 0 || sum > math.MaxInt64 {
		into[key] = advisor.Unknown("the sum does not fit into 63 bits", origin)
		return
	}
	into[key] = advisor.Known(advisor.Int(int64(sum)), origin)
}

// isGauge names what stands among the counters and does not count (RFC 4022, RFC 4293): a rate of it means nothing.
func isGauge(key string) bool {
	switch key {
	case "Ip.Forwarding", "Ip.DefaultTTL", "Tcp.RtoAlgorithm", "Tcp.RtoMin", "Tcp.RtoMax", "Tcp.MaxConn", "Tcp.CurrEstab",
		"MPTcpExt.MPCurrEstab":
		return true
	}
	return false
}

// cumulative are the counters of a sample under the names that they have in the family of rates: "TcpExt.ListenDrops",
// "softnet.dropped", "conntrack.drop".
func (s *sample) cumulative() map[string]advisor.Fact {
	out := map[string]advisor.Fact{}
	for key, fact := range s.members["counter"] {
		if !isGauge(key) {
			out[key] = fact
		}
	}
	for _, family := range []string{"softnet", "conntrack"} {
		for key, fact := range s.members[family] {
			out[family+"."+key] = fact
		}
	}
	return out
}

// rates are events per second between two samples, rounded up: that a rate is 0 says that nothing happened. A counter
// that went back has wrapped, or is another namespace's: unknown, as is one that a sample lacks.
func rates(before, after map[string]advisor.Fact, dt time.Duration) map[string]advisor.Fact {
	out := make(map[string]advisor.Fact, len(after))
	for key, end := range after {
		start, ok := before[key]
		a, knownStart := start.Value.Int()
		z, knownEnd := end.Value.Int()
		switch {
		case !knownEnd:
			out[key] = end
		case ok && !knownStart:
			out[key] = start
		case !ok:
			out[key] = advisor.Unknown("the first sample does not have it", end.Origin)
		case dt <= 0:
			out[key] = advisor.Unknown("no time passed between the samples", end.Origin)
		case z < a || a < 0:
			out[key] = advisor.Unknown("the counter went back between the samples", end.Origin)
		default:
			out[key] = perSecond(z-a, dt, end.Origin)
		}
	}
	return out
}

func perSecond(events int64, dt time.Duration, origin advisor.Origin) advisor.Fact {
	hi, lo := bits.Mul64(uint64(events), uint64(time.Second))
	if hi >= uint64(dt) { // the quotient needs more than 64 bits
		return advisor.Unknown("the rate does not fit into 63 bits", origin)
	}
	quotient, rest := bits.Div64(hi, lo, uint64(dt))
	if rest > 0 && quotient < math.MaxUint64 {
		quotient++
	}
	if quotient > math.MaxInt64 {
		return advisor.Unknown("the rate does not fit into 63 bits", origin)
	}
	return advisor.Known(advisor.Int(int64(quotient)), origin)
}
