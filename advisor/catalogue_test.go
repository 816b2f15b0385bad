package advisor_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

func catalogue(t *testing.T) *advisor.Catalogue {
	t.Helper()
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	return set.Catalogue
}

// What the kernel reads was checked with sysctl -p on Linux 6.18.
func TestParseKernelNumbers(t *testing.T) {
	for _, c := range []struct {
		text string
		want []int64
		rest string
	}{
		{"", nil, ""},
		{"30", []int64{30}, ""},
		{" 4096\t87380 6291456 ", []int64{4096, 87380, 6291456}, ""},
		{"030", []int64{24}, ""},
		{"080", nil, "080"},
		{"0x1e", []int64{30}, ""},
		{"0x", nil, "0x"},
		{"-5", []int64{-5}, ""},
		{"- 5", nil, "- 5"},
		{"+30", nil, "+30"},
		{"30s", nil, "30s"},
		{"30 # s", []int64{30}, "# s"},
		{"18446744073692774399", []int64{math.MaxInt64}, ""},
		{"-18446744073692774399", []int64{-math.MaxInt64}, ""},
		{"18446744073709551616", nil, "18446744073709551616"},
	} {
		if ns, rest := advisor.ParseKernelNumbers(c.text); !slices.Equal(ns, c.want) || rest != c.rest {
			t.Errorf("ParseKernelNumbers(%q) = %v, %q; want %v, %q", c.text, ns, rest, c.want, c.rest)
		}
	}
}

// Each of these was tried with sysctl -p on Linux 6.18; what an older kernel does is read from its source.
func TestRefuses(t *testing.T) {
	cat := catalogue(t)
	const ports = "net.ipv4.ip_local_reserved_ports"
	for _, c := range []struct {
		key, text, kernel string
		want              string // part of the reason; empty: taken
	}{
		{ports, "8080,9000-9010", "6.18", ""},
		{ports, "", "6.18", ""},
		{ports, "8080,", "6.18", ""},
		{ports, "8080-8090,8085", "6.18", ""},
		{ports, "0x1f90", "6.18", ""},
		{ports, "8080, 9000", "6.18", "blank"},
		{ports, "8080 9000", "6.18", "blank"},
		{ports, ",8080", "6.18", "no port"},
		{ports, ",", "6.18", "no port"},
		{ports, "8080,,9000", "6.18", "no port"},
		{ports, "08080", "6.18", "no port"},
		{ports, "9000-8080", "6.18", "no port"},
		{ports, "8080-", "6.18", "no port"},
		{ports, "-5", "6.18", "no port"},
		{ports, "65536", "6.18", "no port"},
		{"net.ipv4.tcp_fin_timeout", "", "6.18", "no value"},
		{"net.ipv4.tcp_fin_timeout", "30;", "6.18", "not a number"},
		{"net.ipv4.tcp_fin_timeout", "30 ;x", "6.18", ""},
		{"net.ipv4.tcp_fin_timeout", "-5", "6.18", ""},
		{"net.ipv4.tcp_fastopen", "0x603", "6.18", ""},
		{"net.ipv4.tcp_fastopen", "yes", "6.18", "not a number"},
		{"net.ipv4.tcp_rmem", "4096 87380", "6.18", ""},
		{"net.ipv4.tcp_rmem", "4096 87380 # two", "6.18", "the key takes 3"},
		{"net.ipv4.tcp_rmem", "4096 87380 6291456 # three", "6.18", ""},
		{"net.ipv4.tcp_rmem", "4096 87380 4294967296", "6.18", "2147483647"},
		{"net.ipv4.tcp_rmem", "4096 87380 4294967296", "3.10", ""},
		{"net.core.somaxconn", "2147483648", "6.18", "2147483647"},
		{"net.core.somaxconn", "65536", "3.12", "65535"},
		{"net.core.somaxconn", "65536", "4.4", ""},
		{"net.ipv4.tcp_syncookies", "256", "5.13", "255"},
		{"net.ipv4.tcp_syncookies", "256", "5.12", ""},
		{"net.ipv4.tcp_congestion_control", "nosuch", "6.18", ""},
		{"net.ipv4.tcp_max_syn.backlog", "x", "6.18", ""},
		{"kernel.core_pattern", "core", "6.18", ""},
		{"kernel.shmmax", "18446744073692774399", "6.18", ""},
		{"net.ipv4.tcp_available_congestion_control", "reno", "6.18", "read-only"},
	} {
		kernel, err := advisor.ParseVersion(c.kernel)
		if err != nil {
			t.Fatal(err)
		}
		got := cat.Refuses(c.key, c.text, kernel)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("Refuses(%s, %q, %s) = %q; want %q in it", c.key, c.text, c.kernel, got, c.want)
		}
	}
}

func TestSenseless(t *testing.T) {
	cat := catalogue(t)
	for _, c := range []struct {
		key, text string
		want      bool
	}{
		{"net.ipv4.tcp_sack", "2", true},
		{"net.ipv4.tcp_sack", "1", false},
		{"net.ipv4.tcp_sack", "300", false}, // refused
		{"net.ipv4.tcp_sack", "yes", false}, // refused
		{"net.ipv4.tcp_recovery", "8", true},
		{"net.ipv4.tcp_recovery", "7", false},
		{"net.ipv4.tcp_rmem", "4096 8388608 4194304", true},
		{"net.ipv4.tcp_rmem", "8388608 4194304", true},
		{"net.ipv4.tcp_rmem", "4096 4194304 4194304", false},
		{"net.ipv4.ip_local_port_range", "1024 65000 99999", false}, // the third is not read
		{"net.ipv4.tcp_available_congestion_control", "reno", false},
		{"net.ipv4.tcp_max_syn.backlog", "-1", false},
	} {
		if got := cat.Senseless(c.key, c.text, cat.Newest()); (got != "") != c.want {
			t.Errorf("Senseless(%s, %q) = %q; want one: %v", c.key, c.text, got, c.want)
		}
	}
}

func TestSameValue(t *testing.T) {
	cat := catalogue(t)
	for _, c := range []struct {
		key, a, b string
		want      bool
	}{
		{"net.core.somaxconn", "1024", "1024", true},
		{"net.core.somaxconn", "0x400", "1024 # as hex", true},
		{"net.core.somaxconn", "1024", "4096", false},
		{"net.core.somaxconn", "", "1024", false},
		{"net.ipv4.tcp_rmem", "1 2 3", "1\t2  3", true},
		{"net.ipv4.tcp_rmem", "1 2 3", "1 2", false}, // two leave the third as it is
		{"net.ipv4.ip_local_reserved_ports", "8080,8081", "8080-8081", true},
		{"net.ipv4.ip_local_reserved_ports", "8080", "8081", false},
		{"net.ipv4.tcp_congestion_control", "bbr", "cubic", false},
		{"net.core.default_qdisc", "010", "8", false}, // a name
		{"kernel.printk", "4 4 1 7", "4  4 1 7", true},
		{"kernel.core_pattern", "core.%p", "core.%e", false},
	} {
		if got := cat.SameValue(c.key, c.a, c.b); got != c.want {
			t.Errorf("SameValue(%s, %q, %q) = %v", c.key, c.a, c.b, got)
		}
	}
}
