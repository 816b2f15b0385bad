package host

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tcpadvise/tcpadvise/advisor"
)

func limitChange(unit string, to advisor.Value) advisor.Change {
	return advisor.Change{Setting: "unit:" + unit + ":LimitNOFILE", To: to, Safety: advisor.SafetyReview, Rules: []string{"fd/limits-conf-ignored"}, Reasons: []string{"a reason"}}
}

// TestUnitEdits: where the limit of a unit is set, and that systemd itself takes it from there.
func TestUnitEdits(t *testing.T) {
	const etc, run, lib = "/etc/systemd/system/", "/run/systemd/system/", "/usr/lib/systemd/system/"
	const service, most = "[Service]\nExecStart=/bin/true\n", ":524288"
	set := func(text string) string { return "[Service]\nLimitNOFILE=" + text + "\n" }
	added := func(text string) string { return "# fd/limits-conf-ignored: a reason\n" + set(text) }
	base := sysctlHost{"/usr/lib/systemd/libsystemd-shared-252.so": ""}
	var changes []advisor.Change
	want, limits, withheld := map[string]string{}, map[string]string{}, map[string]string{}
	for unit, c := range map[string]struct {
		files    sysctlHost
		to       advisor.Value
		file     string // that is new, or edited
		after    string
		limit    string // as systemd has it
		withheld string
	}{
		"plain.service":  {sysctlHost{lib + "plain.service": service}, advisor.Int(65536), etc + "plain.service.d/90-tcpadvise.conf", added("65536" + most), "65536" + most, ""},
		"admin.service":  {sysctlHost{etc + "admin.service": service}, advisor.Int(65536), etc + "admin.service.d/90-tcpadvise.conf", added("65536" + most), "65536" + most, ""},
		"most.service":   {sysctlHost{lib + "most.service": service}, advisor.Unlimited(), etc + "most.service.d/90-tcpadvise.conf", added("infinity"), "infinity:infinity", ""},
		"above.service":  {sysctlHost{lib + "above.service": service}, advisor.Int(1000000), etc + "above.service.d/90-tcpadvise.conf", added("1000000"), "1000000:1000000", ""},
		"vendor.service": {sysctlHost{lib + "vendor.service": service + "LimitNOFILE=4096"}, advisor.Int(8192), etc + "vendor.service.d/90-tcpadvise.conf", added("8192"), "8192:8192", ""},
		"own.service":    {sysctlHost{etc + "own.service": service + "LimitNOFILE=2048\nLimitNOFILE=4096 \n\n[Install]"}, advisor.Int(8192), etc + "own.service", service + "LimitNOFILE=2048\nLimitNOFILE=8192 \n\n[Install]", "8192:8192", ""},
		"ours.service": {
			sysctlHost{lib + "ours.service": service, etc + "ours.service.d/override.conf": "# why\r\n[Service]\r\nLimitNOFILE = 4096:9000\r\nLimitNOFILE=4k\r\n"}, advisor.Int(8192),
			etc + "ours.service.d/override.conf", "# why\r\n[Service]\r\nLimitNOFILE = 8192:9000\r\nLimitNOFILE=4k\r\n", "8192:9000", "",
		},
		"later.service": {
			sysctlHost{lib + "later.service": service, etc + "later.service.d/10.conf": set("10"), run + "later.service.d/override.conf": set("20")}, advisor.Int(8192),
			etc + "later.service.d/zz-tcpadvise.conf", added("8192"), "8192:8192", "",
		},
		"last.service": {
			sysctlHost{lib + "last.service": service, lib + "last.service.d/zzz.conf": set("20"), lib + "last.service.d/zzzz.conf": "[Service]\nNice=1\n"}, advisor.Int(8192),
			etc + "last.service.d/zzz_tcpadvise.conf", added("8192"), "8192:8192", "",
		},
		"taken.service": { // a name that an earlier directory has would hide ours
			sysctlHost{lib + "taken.service": service, "/run/systemd/system.control/taken.service.d/90-tcpadvise.conf": "[Service]\nNice=1\n", run + "taken.service.d/91-tcpadvise.conf": "->/dev/null"}, advisor.Int(8192),
			etc + "taken.service.d/92-tcpadvise.conf", added("8192" + most), "8192" + most, "",
		},
		"inst@one.service": { // the template's drop-in is all instances'
			sysctlHost{lib + "inst@.service": service, etc + "inst@.service.d/95.conf": set("20")}, advisor.Int(8192),
			etc + "inst@one.service.d/96-tcpadvise.conf", added("8192"), "8192:8192", "",
		},
		"linked.service": { // another unit may have the same file
			sysctlHost{lib + "linked.service": service, etc + "linked.service.d/a.conf": "->../shared.conf", etc + "shared.conf": set("20")}, advisor.Int(8192),
			etc + "linked.service.d/zz-tcpadvise.conf", added("8192"), "8192:8192", "",
		},
		"right.service":       {sysctlHost{etc + "right.service": service + "LimitNOFILE=8192"}, advisor.Int(8192), "", "", "8192:8192", "is that already: a restart of the service takes it up"},
		"masked.service":      {sysctlHost{etc + "masked.service": "->/dev/null"}, advisor.Int(8192), "", "", "", "masked.service is masked"},
		"none.service":        {nil, advisor.Int(8192), "", "", "", "there is no unit file of none.service"},
		"transient.service":   {sysctlHost{"/run/systemd/transient/transient.service": service}, advisor.Int(8192), "", "", "", "was made by systemd-run"},
		"dir.service":         {sysctlHost{lib + "dir.service": service, etc + "dir.service.d": "->../../dir", "/etc/dir/a.conf": "[Service]\nNice=1\n"}, advisor.Int(8192), "", "", "", "dir.service.d is a link to /etc/dir"},
		"negative.service":    {sysctlHost{lib + "negative.service": service}, advisor.Int(-1), "", "", "", `systemd does not take "-1"`},
		`esc\x2daped.service`: {sysctlHost{lib + `esc\x2daped.service`: service}, advisor.Int(8192), "", "", "", "cannot stand in a diff"},
		"secret.service": {
			sysctlHost{etc + "secret.service": service + "LimitNOFILE=1\nEnvironment=DB_PASSWORD=hunter2\n"}, advisor.Int(8192), "", "", "", "which holds a secret: change it by hand",
		},
	} {
		maps.Copy(base, c.files)
		changes = append(changes, limitChange(unit, c.to))
		if c.file != "" {
			want[c.file] = c.after
		}
		if c.limit != "" {
			limits[unit] = c.limit
		}
		if c.withheld != "" {
			withheld["unit:"+unit+":LimitNOFILE"] = c.withheld
		}
	}
	root := base.lay(t)
	h := openRoot(t, root)
	facts, _, _ := h.Facts(t.Context())
	quiet := func(*advisor.Facts) *advisor.Diagnosis { return &advisor.Diagnosis{} }
	for _, style := range []advisor.PatchStyle{advisor.PatchAnsible, advisor.PatchInPlace} {
		p := h.Edits(t.Context(), facts, &advisor.Diagnosis{}, changes, PatchOptions{Style: style, Judge: quiet})
		got, why := map[string]string{}, map[string]string{}
		for _, f := range slices.Concat(p.Files, p.NewFiles) {
			got[f.Path] = string(f.New)
			made := f.Old
			for _, r := range p.Replaces {
				if r.Path == f.Path {
					made = replaceLines(made, r)
				}
			}
			if style == advisor.PatchAnsible && f.Old != nil && !bytes.Equal(made, f.New) {
				t.Errorf("tasks make %q of %s", made, f.Path)
			}
		}
		for _, w := range p.Withheld {
			why[w.Setting] = w.Why
			if !strings.Contains(w.Why, withheld[w.Setting]) || withheld[w.Setting] == "" {
				t.Errorf("style %d: %s is withheld: %s", style, w.Setting, w.Why)
			}
		}
		if len(why) != len(withheld) {
			t.Errorf("withheld %v, want %v", why, withheld)
		}
		for file := range want {
			if got[file] != want[file] {
				t.Errorf("style %d: %s is %q, want %q", style, file, got[file], want[file])
			}
		}
		if len(got) != len(want) || len(p.Services) != len(want) {
			t.Errorf("style %d: %d files, want %d; %d services", style, len(got), len(want), len(p.Services))
		}
	}
	for file, text := range want {
		layFile(t, filepath.Join(root, file), []byte(text))
	}
	readable(t, root)
	said := systemdLimits(t, root, slices.Sorted(maps.Keys(limits)))
	for unit, limit := range limits {
		if said[unit] != limit {
			t.Errorf("systemd gives %s %s, want %s", unit, said[unit], limit)
		}
	}
	for _, style := range []advisor.PatchStyle{advisor.PatchDropIn, advisor.PatchCommands} {
		p := h.Edits(t.Context(), facts, &advisor.Diagnosis{}, changes[:1], PatchOptions{Style: style, Judge: quiet})
		if len(p.Withheld) != 1 || !strings.Contains(p.Withheld[0].Why, "--format diff") || !p.Empty() {
			t.Errorf("style %d: %+v", style, p)
		}
	}
}

// TestUnitPatchSilences: the finding is gone once the service is restarted, nothing comes instead, and a second patch is empty.
func TestUnitPatchSilences(t *testing.T) {
	set := builtinSet(t)
	run := func(m *memTree) (*advisor.Diagnosis, *advisor.Patch) {
		h := &Host{tree: m, options: Options{Catalogue: set.Catalogue, Kernel: "6.1.0"}}
		if err := h.findParts(t.Context()); err != nil {
			t.Fatal(err)
		}
		facts, id, _ := h.Facts(t.Context())
		judge := func(f *advisor.Facts) *advisor.Diagnosis {
			return set.Evaluate(f, advisor.Options{Host: id, Only: []string{"fd/*"}})
		}
		d := judge(facts)
		changes, _ := d.Changes(advisor.SafetyReview)
		return d, h.Edits(t.Context(), facts, d, changes, PatchOptions{Style: advisor.PatchInPlace, Judge: judge})
	}
	m := limitsHost()
	before, p := run(m)
	const file = "/etc/systemd/system/orders.service.d/90-tcpadvise.conf"
	if len(p.NewFiles) != 1 || p.NewFiles[0].Path != file || settingsIn(p.NewFiles[0].New) != "[Service]|LimitNOFILE=65536:524288" || len(p.Withheld) > 0 || len(p.Files) > 0 {
		t.Fatalf("%+v", p)
	}
	if !strings.HasPrefix(string(p.NewFiles[0].New), "# fd/limits-conf-ignored: ") {
		t.Errorf("%s gives no reason", p.NewFiles[0].New)
	}
	if len(p.Services) != 1 || !slices.Equal(p.Services[0].Commands, []string{"systemctl daemon-reload && systemctl restart orders.service"}) || len(p.Remarks) > 0 {
		t.Errorf("%v %v", p.Services, p.Remarks)
	}
	m.files[file] = string(p.NewFiles[0].New)
	for i, line := range m.asks["processes"] {
		if strings.Contains(line, "system.slice/orders.service") {
			m.asks["processes"][i] = strings.ReplaceAll(line, " 1024 524288 ", " 65536 524288 ")
		}
	}
	after, again := run(m)
	if !again.Empty() || len(again.Withheld) > 0 {
		t.Errorf("a second patch: %+v", again)
	}
	had := map[string]bool{}
	for _, f := range before.Findings {
		had[sameFinding(f)] = true
	}
	for _, f := range after.Findings {
		if f.Rule == "fd/limits-conf-ignored" || !had[sameFinding(f)] {
			t.Errorf("%s: %s", f.Rule, f.Message)
		}
	}
}

// TestUnitEditsWin: wherever the files of a unit are, the limit that is asked for is the one that counts then, the hard one is no lower
// than before, no other unit's changes, and what is below /usr and /run stays as it is.
func TestUnitEditsWin(t *testing.T) {
	units := []string{"x.service", "x-y.service", "t@1.service", "t@2.service"}
	made := 0
	rapid.Check(t, func(r *rapid.T) {
		m := &memTree{files: map[string]string{"/usr/lib/systemd/libsystemd-shared-252.so": "", "/proc/sys/x": ""}}
		for _, unit := range []string{"x.service", "x-y.service", "t@.service"} {
			m.files[rapid.SampledFrom([]string{"/etc/systemd/system/", "/usr/lib/systemd/system/"}).Draw(r, "fragment")+unit] = "[Service]\nExecStart=/x\n"
		}
		texts := []string{"", "[Service]\nLimitNOFILE=4096\n", "[Service]\nLimitNOFILE=10:20000", "[Service]\r\nNice=1\r\nLimitNOFILE=\\\r\n5\r\nLimitNOFILE=x\r\n", "[Unit]\nLimitNOFILE=7\n", "[Service]\nLimitNOFILE=infinity\n", "[Service]\nNice=1"}
		for range rapid.IntRange(0, 8).Draw(r, "drop-ins") {
			dir := rapid.SampledFrom(unitDirs()).Draw(r, "dir")
			of := rapid.SampledFrom(append([]string{"x-.service", "t@.service", "service"}, units...)).Draw(r, "of")
			name := rapid.SampledFrom([]string{"10.conf", "90-tcpadvise.conf", "override.conf", "zz-tcpadvise.conf", "zzz.conf", "~.conf"}).Draw(r, "name")
			m.files[dir+"/"+of+".d/"+name] = rapid.SampledFrom(texts).Draw(r, "text")
		}
		unit, to := rapid.SampledFrom(units).Draw(r, "unit"), advisor.Int(rapid.Int64Range(1, 40000).Draw(r, "to"))
		before, old := newUnits(m), maps.Clone(m.files)
		h := &Host{tree: m, options: Options{Catalogue: builtinSet(t).Catalogue}}
		if err := h.findParts(t.Context()); err != nil {
			r.Fatal(err)
		}
		facts, _, _ := h.Facts(t.Context())
		p := h.Edits(t.Context(), facts, &advisor.Diagnosis{}, []advisor.Change{limitChange(unit, to)},
			PatchOptions{Style: advisor.PatchInPlace, Judge: func(*advisor.Facts) *advisor.Diagnosis { return &advisor.Diagnosis{} }})
		if len(p.Withheld) > 0 {
			if !strings.Contains(p.Withheld[0].Why, "is that already") {
				r.Fatalf("withheld: %v", p.Withheld)
			}
			return
		}
		made++
		for _, f := range slices.Concat(p.Files, p.NewFiles) {
			if !strings.HasPrefix(f.Path, adminUnits+unit) || string(f.Old) != m.files[f.Path] {
				r.Errorf("%s is not the unit's own, or was %q", f.Path, f.Old)
			}
			m.files[f.Path] = string(f.New)
		}
		after := newUnits(m)
		for _, u := range units {
			was, is := before.noFile(u), after.noFile(u)
			switch {
			case u != unit && showLimit(was) != showLimit(is):
				r.Errorf("%s has %s then, instead of %s", u, showLimit(is), showLimit(was))
			case u == unit && (!is.soft.Value.Equal(to) || above(was.hard.Value, is.hard.Value)):
				r.Errorf("%s has %s then, instead of %s; before %s", u, showLimit(is), fmt.Sprint(to), showLimit(was))
			}
		}
		for _, f := range p.Files {
			m.files[f.Path] = string(f.Reverse().New)
		}
		for _, f := range p.NewFiles {
			delete(m.files, f.Path)
		}
		if !maps.Equal(m.files, old) {
			r.Errorf("the reverse does not restore %q: %q", old, m.files)
		}
	})
	if made < 20 {
		t.Errorf("only %d patches were made", made)
	}
}
