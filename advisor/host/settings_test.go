package host

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// booted is a host with systemd and procps; more files are laid over it.
func booted(more sysctlHost) sysctlHost {
	h := sysctlHost{"usr/lib/systemd/systemd-sysctl": "", "usr/sbin/sysctl": ""}
	maps.Copy(h, more)
	return h
}

func factsAt(t *testing.T, files sysctlHost, kernel string) *advisor.Facts {
	t.Helper()
	h, err := Open(Options{Root: files.lay(t), Kernel: kernel, Catalogue: builtinSet(t).Catalogue})
	if err != nil {
		t.Fatal(err)
	}
	facts, _, _ := h.Facts(t.Context())
	return facts
}

// cellsOf renders chosen columns of each row: "a=1 b=2"; a column without a cell is left out.
func cellsOf(table advisor.Table, columns ...string) string {
	var rows []string
	for _, row := range table.Rows {
		var cells []string
		for _, c := range columns {
			switch f := row.Cells[c]; f.State {
			case advisor.StateKnown:
				cells = append(cells, fmt.Sprintf("%s=%s", c, f.Value))
			case advisor.StateUnknown:
				cells = append(cells, c+"=?")
			case advisor.StateAbsent:
			}
		}
		rows = append(rows, strings.Join(cells, " "))
	}
	return strings.Join(rows, "\n")
}

func agree(t *testing.T, what, got string, want ...string) {
	t.Helper()
	if w := strings.Join(want, "\n"); got != w {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, w)
	}
}

func TestShadowedSettings(t *testing.T) {
	facts := factsAt(t, booted(sysctlHost{
		"etc/sysctl.d/50-mine.conf":       "net.ipv4.tcp_sack = 0\nnet.core.somaxconn = 1\nnet.core.somaxconn = 2\nnet.ipv4.tcp_ecn = 1\nnet.ipv4.tcp_frto = 0\n",
		"usr/lib/sysctl.d/99-theirs.conf": "net.ipv4.tcp_sack = 1\n",
		"run/sysctl.d/60-made.conf":       "-net.ipv4.tcp_frto\n",
		"etc/sysctl.conf":                 "net.core.somaxconn = 3\n",
		"etc/sysctl.d/99-sysctl.conf":     "->../sysctl.conf",
	}), "6.1")
	agree(t, "settings", cellsOf(facts.Table("settings"), "path", "line", "owner", "effective", "shadowed_by", "shadowed_value", "shadowed_by_owner"),
		"path=/etc/sysctl.d/50-mine.conf line=1 owner=admin effective=false shadowed_by=/usr/lib/sysctl.d/99-theirs.conf:1 shadowed_value=1 shadowed_by_owner=vendor",
		"path=/etc/sysctl.d/50-mine.conf line=2 owner=admin effective=false shadowed_by=/etc/sysctl.conf:1 shadowed_value=3 shadowed_by_owner=admin",
		"path=/etc/sysctl.d/50-mine.conf line=3 owner=admin effective=false shadowed_by=/etc/sysctl.conf:1 shadowed_value=3 shadowed_by_owner=admin",
		"path=/etc/sysctl.d/50-mine.conf line=4 owner=admin effective=true",
		"path=/etc/sysctl.d/50-mine.conf line=5 owner=admin effective=false shadowed_by=/run/sysctl.d/60-made.conf:1 shadowed_by_owner=runtime",
		"path=/etc/sysctl.conf line=1 owner=admin effective=true",
		"path=/usr/lib/sysctl.d/99-theirs.conf line=1 owner=vendor effective=true")
}

func TestBootAndReloadDiffer(t *testing.T) {
	columns := []string{"path", "line", "settings", "first", "all", "read_at_boot", "read_at_reload", "boot_value", "boot_place", "reload_value", "reload_place"}
	for name, c := range map[string]struct {
		files sysctlHost
		want  []string
	}{
		"sysctl.conf without a link": {sysctlHost{"etc/sysctl.conf": "# mine\nnet.core.somaxconn = 8192\nnet.ipv4.tcp_sack = 1\n"}, []string{
			"path=/etc/sysctl.conf line=2 settings=2 first=net.core.somaxconn all=net.core.somaxconn, net.ipv4.tcp_sack read_at_boot=false read_at_reload=true reload_value=8192 reload_place=/etc/sysctl.conf:2",
		}},
		"sysctl.conf as 99-sysctl.conf, and a file after it": {sysctlHost{
			"etc/sysctl.conf": "net.core.somaxconn = 1\n", "etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf", "etc/sysctl.d/99-tuning.conf": "net.core.somaxconn = 2\n",
		}, []string{
			"path=/etc/sysctl.conf line=1 settings=1 first=net.core.somaxconn all=net.core.somaxconn read_at_boot=true read_at_reload=true boot_value=2 boot_place=/etc/sysctl.d/99-tuning.conf:1 reload_value=1 reload_place=/etc/sysctl.conf:1",
		}},
		"an exclusion takes back at boot only": {sysctlHost{"etc/sysctl.d/1.conf": "net.ipv4.tcp_sack = 0\n", "etc/sysctl.d/2.conf": "-net.ipv4.tcp_sack\n"}, []string{
			"path=/etc/sysctl.d/1.conf line=1 settings=1 first=net.ipv4.tcp_sack all=net.ipv4.tcp_sack read_at_boot=true read_at_reload=true reload_value=0 reload_place=/etc/sysctl.d/1.conf:1",
		}},
		"the same value": {sysctlHost{"etc/sysctl.conf": "net.core.somaxconn = 01\n", "etc/sysctl.d/1.conf": "net.core.somaxconn = 1\n"}, nil},
		"a pattern":      {sysctlHost{"usr/lib/sysctl.d/50-default.conf": "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n"}, nil},
	} {
		facts := factsAt(t, booted(c.files), "6.1")
		agree(t, name, cellsOf(facts.Table("boot_differs"), columns...), c.want...)
	}
	busybox := sysctlHost{"usr/lib/systemd/systemd-sysctl": "", "bin/busybox": "", "usr/sbin/sysctl": "->/bin/busybox", "etc/sysctl.conf": "net.core.somaxconn = 8192\n"}
	facts := factsAt(t, busybox, "6.1")
	if facts.Table("boot_differs").Absent == "" || facts.Scalar("reload.loader").State != advisor.StateAbsent {
		t.Error("busybox has no sysctl --system")
	}
	procps := sysctlHost{"etc/init.d/procps": "", "usr/sbin/sysctl": "", "etc/sysctl.conf": "net.core.somaxconn = 8192\n"}
	if facts := factsAt(t, procps, "6.1"); facts.Table("boot_differs").Absent == "" {
		t.Error("where sysctl --system boots the host nothing differs")
	}
}

func TestMalformedLines(t *testing.T) {
	facts := factsAt(t, booted(sysctlHost{
		"etc/sysctl.d/1.conf": "sysctl -w net.core.somaxconn=1\nsudo sysctl -w net.ipv4.tcp_sack=1\n[main]\n\nnet.ipv4.tcp_ecn 1\n" +
			"# fine\n; fine\nnet.ipv4.tcp_sack = 1\r\n-net.ipv4.tcp_frto\n",
		"etc/sysctl.d/2.conf":      "\ufeffnet.ipv4.tcp_sack = 1\n\u200bnet.ipv4.tcp_ecn = 1\nnet.ipv4.tcp_frto\uff1d1\nnet.ipv4.tcp_fack\u00a0= 1\n",
		"etc/sysctl.d/3.conf":      "\ufeff# only a comment\n",
		"etc/sysctl.d/4.conf":      "net.ipv4.tcp_congestion_control = \"bbr\"\nnet.ipv4.tcp_sack = \"1\"\n\"net.ipv4.tcp_ecn\" = 1\nnet.ipv4.tcp_sack = 1\u200b\n",
		"etc/sysctl.d/5.conf":      "# old\rnet.ipv4.tcp_sack = 0\nnet.core.somaxconn = 1\x00net.ipv4.tcp_ecn = 1\n# a\r# b\n",
		"etc/sysctl.d/6.conf":      "sysctl -w net.ipv4.tcp_fastopen_key=0123-4567-89ab-cdef\n= 5\n--net.ipv4.tcp_sack = 1\nnet.ipv4. tcp_sack = 1\n",
		"etc/sysctl.d/7.conf":      "kernel.hostname = caf\xe9\n\xe9net.ipv4.tcp_sack = 1\n",
		"etc/sysctl.d/link.conf":   "->1.conf",
		"etc/sysctl.conf":          "garbage\n", // read by sysctl --system alone
		"usr/lib/sysctl.d/ok.conf": "kernel.core_pattern = |/usr/bin/x \"%e\"\nkernel.domainname = \u4f8b\u3048\n",
	}), "6.1")
	agree(t, "malformed", cellsOf(facts.Table("malformed"), "path", "line", "lines", "defect", "text", "meant"),
		`path=/etc/sysctl.d/1.conf line=1 lines=2 defect=command text=sysctl -w net.core.somaxconn=1 meant=net.core.somaxconn = 1`,
		`path=/etc/sysctl.d/1.conf line=3 lines=2 defect=no-equals text=[main]`,
		`path=/etc/sysctl.d/2.conf line=1 lines=1 defect=bom text=\ufeffnet.ipv4.tcp_sack = 1 meant=net.ipv4.tcp_sack = 1`,
		`path=/etc/sysctl.d/2.conf line=2 lines=2 defect=invisible text=\u200bnet.ipv4.tcp_ecn = 1 meant=net.ipv4.tcp_ecn = 1`,
		"path=/etc/sysctl.d/2.conf line=3 lines=1 defect=full-width text=net.ipv4.tcp_frto\uff1d1 meant=net.ipv4.tcp_frto = 1",
		`path=/etc/sysctl.d/3.conf line=1 lines=1 defect=bom text=\ufeff# only a comment`,
		`path=/etc/sysctl.d/4.conf line=1 lines=2 defect=quotes text=net.ipv4.tcp_congestion_control = "bbr" meant=net.ipv4.tcp_congestion_control = bbr`,
		`path=/etc/sysctl.d/5.conf line=1 lines=1 defect=lone-cr text=# old\rnet.ipv4.tcp_sack = 0`,
		`path=/etc/sysctl.d/5.conf line=2 lines=1 defect=nul text=net.core.somaxconn = 1\x00net.ipv4.tcp_ecn = 1`,
		`path=/etc/sysctl.d/6.conf line=1 lines=1 defect=command text=sysctl -w net.ipv4.tcp_fastopen_key= ***`,
		`path=/etc/sysctl.d/6.conf line=2 lines=1 defect=no-key text== 5`,
		`path=/etc/sysctl.d/6.conf line=3 lines=1 defect=double-dash text=--net.ipv4.tcp_sack = 1`,
		`path=/etc/sysctl.d/6.conf line=4 lines=1 defect=blank-in-key text=net.ipv4. tcp_sack = 1`,
		`path=/etc/sysctl.d/7.conf line=2 lines=1 defect=not-utf8 text=\xe9net.ipv4.tcp_sack = 1`,
		`path=/etc/sysctl.conf line=1 lines=1 defect=no-equals text=garbage`)
}

func TestRunningBesideSettings(t *testing.T) {
	facts := factsAt(t, booted(sysctlHost{
		"etc/sysctl.d/1.conf":                  "net.core.somaxconn = 1024\nnet.ipv4.tcp_rmem = 4096 87380\nvm.unheard_of = 1\nnet.ipv4.tcp_fastopen_key = 1-2-3-4\n",
		"proc/sys/net/core/somaxconn":          "4096\n",
		"proc/sys/net/core/rmem_max":           "212992\n",
		"proc/sys/net/ipv4/tcp_rmem":           "4096\t131072\t6291456\n",
		"proc/sys/net/ipv4/tcp_mem":            "1\t2\t3\n",
		"proc/sys/net/ipv4/tcp_tw_reuse":       "1\n",
		"proc/sys/net/ipv4/tcp_sack":           "1\n",
		"proc/sys/net/ipv4/tcp_fin_timeout":    "30\n",
		"proc/sys/net/ipv4/tcp_retries2":       "5\n",
		"proc/sys/net/ipv4/tcp_fastopen_key":   "1-2-3-4\n",
		"proc/sys/net/core/default_qdisc":      "fq\n",
		"proc/sys/kernel/osrelease":            "6.1.0-38-amd64\n",
		"proc/cmdline":                         "quiet sysctl.net.ipv4.tcp_retries2=5\n",
		"etc/ufw/ufw.conf":                     "ENABLED=yes\n",
		"etc/ufw/sysctl.conf":                  "net/ipv4/tcp_fin_timeout=30\n",
		"etc/tuned/active_profile":             "web\n",
		"etc/tuned/web/tuned.conf":             "[main]\ninclude=base\n[sysctl]\nnet.core.rmem_max=>212992\n",
		"usr/lib/tuned/base/tuned.conf":        "[sysctl]\nvm.swappiness = 10\n[other]\nnet.core.wmem_max=1\n",
		"proc/sys/net/ipv4/tcp_syncookies":     "1\n",
		"proc/sys/net/ipv4/tcp_max_tw_buckets": "5000\n",
	}), "")
	agree(t, "settings", cellsOf(facts.Table("settings"), "key", "running"),
		"key=net.core.somaxconn running=4096", "key=net.ipv4.tcp_rmem", "key=vm.unheard_of", "key=net.ipv4.tcp_fastopen_key running=?")
	agree(t, "writers", cellsOf(facts.Table("sysctl_writers"), "writer", "key", "value"),
		"writer=ufw key=net.ipv4.tcp_fin_timeout value=30",
		"writer=TuneD profile web key=net.core.rmem_max value=>212992",
		"writer=TuneD profile base key=vm.swappiness value=10")
	// Not somaxconn (in a file), fin_timeout (ufw), retries2 (command line), rmem_max (TuneD, and the default), nor what is
	// computed (tcp_max_tw_buckets) or chosen by the build (default_qdisc).
	agree(t, "unsaved", facts.Scalar("unsaved.list").Value.String(), "net.ipv4.tcp_tw_reuse = 1 (default 2)")

	lost := booted(sysctlHost{
		"proc/sys/net/ipv4/tcp_mem": "1 2 3\n", "proc/sys/net/ipv4/tcp_tw_reuse": "1\n",
		"proc/sys/kernel/osrelease": "6.1.0\n", "etc/tuned/active_profile": "gone\n",
	})
	facts = factsAt(t, lost, "")
	agree(t, "a profile that is not there", cellsOf(facts.Table("sysctl_writers"), "writer", "key"), "writer=TuneD key=*")
	if f := facts.Scalar("unsaved.settings"); f.State != advisor.StateAbsent {
		t.Errorf("a profile that is not there may set anything: %+v", f)
	}
}

func TestModulesAtBoot(t *testing.T) {
	const setting = "net.netfilter.nf_conntrack_max = 1\n"
	for name, c := range map[string]struct {
		more sysctlHost
		want string
	}{
		"nothing":          {sysctlHost{}, "false"},
		"named":            {sysctlHost{"etc/modules-load.d/fw.conf": "# first\nnf-conntrack\n"}, "true"},
		"a module above":   {sysctlHost{"usr/lib/modules-load.d/lb.conf": "ip_vs_rr\n"}, "true"},
		"hidden":           {sysctlHost{"etc/modules-load.d/fw.conf": "->/dev/null", "usr/lib/modules-load.d/fw.conf": "nf_conntrack\n"}, "false"},
		"commented out":    {sysctlHost{"etc/modules-load.d/fw.conf": "#nf_conntrack\n"}, "false"},
		"part of kernel":   {sysctlHost{"lib/modules/6.1.0/modules.builtin": "kernel/net/netfilter/nf_conntrack.ko\n", "lib/modules/6.1.0/modules.dep": ""}, "true"},
		"a rule of udev":   {sysctlHost{"etc/udev/rules.d/90-fw.rules": "ACTION==\"add\", SUBSYSTEM==\"module\", KERNEL==\"nf_conntrack\", RUN+=\"/usr/lib/systemd/systemd-sysctl --prefix=/net/netfilter\"\n"}, "true"},
		"for another init": {sysctlHost{"etc/modules": "nf_conntrack\n"}, "false"},
	} {
		files := booted(sysctlHost{"etc/sysctl.d/fw.conf": setting + "net.ipv4.tcp_sack = 1\n"})
		maps.Copy(files, c.more)
		agree(t, name, cellsOf(factsAt(t, files, "").Table("settings"), "module", "module_at_boot"), "module=nf_conntrack module_at_boot="+c.want, "")
	}
}

func TestWhy(t *testing.T) {
	dir := booted(sysctlHost{
		"usr/lib/sysctl.d/50-default.conf":     "net.core.somaxconn = 1\nnet.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n",
		"usr/lib/sysctl.d/60-a.conf":           "net.core.somaxconn = 5\n",
		"etc/sysctl.d/60-a.conf":               "net.core.somaxconn = 3\n",
		"etc/sysctl.conf":                      "net/core/somaxconn = 6\n",
		"proc/sys/net/core/somaxconn":          "4096\n",
		"proc/sys/kernel/osrelease":            "6.1.0-38-amd64\n",
		"proc/sys/net/ipv4/conf/lo/rp_filter":  "0\n",
		"proc/sys/net/ipv4/conf/all/rp_filter": "0\n",
	}).lay(t)
	h, err := Open(Options{Root: dir, Catalogue: builtinSet(t).Catalogue})
	if err != nil {
		t.Fatal(err)
	}
	steps := func(l advisor.WhyLoad) string {
		var all []string
		for _, s := range l.Steps {
			all = append(all, fmt.Sprintf("%s:%d %q %s", s.Path, s.Line, s.Value, s.Fate))
		}
		return strings.Join(all, "\n")
	}
	w := h.Why(t.Context(), "net/core/somaxconn")
	if w.Key != "net.core.somaxconn" || w.Running.Value.String() != "4096" || w.Default.String() != "4096" || w.Kernel != "6.1.0-38-amd64" {
		t.Errorf("%+v", w)
	}
	agree(t, "boot", steps(w.Boot),
		`/usr/lib/sysctl.d/50-default.conf:1 "1" replaced by /etc/sysctl.d/60-a.conf:1`,
		`/etc/sysctl.d/60-a.conf:1 "3" wins`,
		`/usr/lib/sysctl.d/60-a.conf:1 "5" not read: hidden by /etc/sysctl.d/60-a.conf`)
	agree(t, "reload", steps(w.Reload),
		`/usr/lib/sysctl.d/50-default.conf:1 "1" replaced by /etc/sysctl.d/60-a.conf:1`,
		`/etc/sysctl.d/60-a.conf:1 "3" replaced by /etc/sysctl.conf:1`,
		`/etc/sysctl.conf:1 "6" wins`,
		`/usr/lib/sysctl.d/60-a.conf:1 "5" not read: hidden by /etc/sysctl.d/60-a.conf`)
	if !slices.Equal(w.Notes, []string{"drift: 4096 runs, and the next boot sets 3", "a boot and sysctl --system end with different values"}) {
		t.Errorf("notes %q", w.Notes)
	}
	w = h.Why(t.Context(), "net.ipv4.conf.all.rp_filter")
	agree(t, "an exclusion", steps(w.Boot),
		`/usr/lib/sysctl.d/50-default.conf:2 "2" a pattern, which leaves the key to /usr/lib/sysctl.d/50-default.conf:3`,
		`/usr/lib/sysctl.d/50-default.conf:3 "" takes earlier lines back, and keeps patterns off the key`)
	w = h.Why(t.Context(), "net.ipv4.conf.lo.rp_filter")
	agree(t, "a pattern", steps(w.Boot), `/usr/lib/sysctl.d/50-default.conf:2 "2" wins`)
	if w.Known != true || w.DefaultNote == "" {
		t.Errorf("%+v", w)
	}
}

// FuzzMalformed: any bytes give rows with a place in the file and a text that can be shown; a file is never worse than its lines.
func FuzzMalformed(f *testing.F) {
	for _, seed := range []string{"sysctl -w a=1\n", "\ufeff# x\r\n", "a\x00b=1\rc", "\"a\" = \"b\"\n\xff\xfe=\n--x", "net.ipv4.tcp_sack\uff1d1"} {
		f.Add([]byte(seed))
	}
	c := builtinSet(f).Catalogue
	f.Fuzz(func(t *testing.T, data []byte) {
		l := loadText("x", data)
		rows := settings{load: l, catalogue: c, sources: l.Files}.malformed()
		for _, row := range rows {
			text, _ := row.Cells["text"].Value.Text()
			lines, _ := row.Cells["lines"].Value.Int()
			if strings.ContainsAny(text, "\r\n\x00\x1b") || row.Origin.Line < 1 || lines < 1 || lines > int64(len(l.Files[0].Syntax.Lines)) {
				t.Errorf("%q: %q, %d lines, %+v", data, text, lines, row.Origin)
			}
		}
	})
}
