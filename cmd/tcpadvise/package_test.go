package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/tcpadvise/tcpadvise/rules"
)

// These tests build the packages as 'make package' does, for this machine, and put them into a root of their own with the real
// dpkg and rpm: what a package brings must run, render, load and leave again.

// inOwnUser runs a script as root of a user namespace, and fails the test unless it ends well. Standard error comes with the output.
func inOwnUser(t *testing.T, script string, args ...string) string {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"-Urm", "sh", "-euc", script, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, script, out)
	}
	return string(out)
}

func built(t *testing.T) (deb, rpm string) {
	t.Helper()
	out := t.TempDir()
	build := exec.Command("sh", "../../tools/package/build.sh", runtime.GOARCH)
	build.Env = append(os.Environ(), "OUT="+out, "VERSION=9.8.7-rc1", "SOURCE_DATE_EPOCH=1700000000")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	one := func(pattern string) string {
		found, _ := filepath.Glob(filepath.Join(out, pattern)) // the pattern is well-formed
		if len(found) != 1 {
			t.Fatalf("%s: %v", pattern, found)
		}
		return found[0]
	}
	return one("tcpadvise_9.8.7~rc1_" + runtime.GOARCH + ".deb"), one("tcpadvise-9.8.7~rc1-1.*.rpm")
}

func TestPackages(t *testing.T) {
	deb, rpm := built(t)
	root := t.TempDir()
	const dpkg = `dpkg="dpkg --root=$1 --force-script-chrootless --log=/dev/null"` + "\n"
	inOwnUser(t, dpkg+`
mkdir -p $1/var/lib/dpkg/info $1/var/lib/dpkg/updates $1/var/lib/prometheus/node-exporter
: >$1/var/lib/dpkg/status
$dpkg -i $2
$dpkg -V tcpadvise
[ ! -e $1/etc ]`, root, deb)
	installed(t, root)
	fromDeb := filesUnder(t, root)

	inOwnUser(t, dpkg+`
: >$1/var/lib/prometheus/node-exporter/tcpadvise.prom
systemctl --quiet --root=$1 enable tcpadvise.timer 2>/dev/null
[ -L $1/etc/systemd/system/timers.target.wants/tcpadvise.timer ]
$dpkg -i $2
[ -e $1/var/lib/prometheus/node-exporter/tcpadvise.prom ] # an upgrade keeps what runs
[ -L $1/etc/systemd/system/timers.target.wants/tcpadvise.timer ]
$dpkg -r tcpadvise`, root, deb)
	if left := filesUnder(t, root); len(left) > 0 {
		t.Errorf("dpkg -r leaves %v", left)
	}

	root = t.TempDir()
	const rpmIn = `rpm="rpm --root=$1 --dbpath=/var/lib/rpm"` + "\n"
	said := inOwnUser(t, rpmIn+`
$rpm --nodeps --noscripts -i $2
$rpm -V --nodeps tcpadvise
$1/usr/bin/tcpadvise version
rpm -K --nosignature $2`, root, rpm)
	if !strings.Contains(said, "tcpadvise 9.8.7-rc1\n") || !strings.Contains(said, "digests OK") {
		t.Error(said)
	}
	fromRPM := filesUnder(t, root)
	for i, name := range fromRPM {
		fromRPM[i] = strings.Replace(name, "/zsh/site-functions/", "/zsh/vendor-completions/", 1)
	}
	slices.Sort(fromRPM)
	if !slices.Equal(fromDeb, fromRPM) {
		t.Errorf("deb has %v\nrpm has %v", fromDeb, fromRPM)
	}
	inOwnUser(t, rpmIn+`$rpm --noscripts -e tcpadvise`, root)
	if left := filesUnder(t, root); len(left) > 0 {
		t.Errorf("rpm -e leaves %v", left)
	}
}

// installed tries all that a package brings.
func installed(t *testing.T, root string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, "usr", name) }
	said := inOwnUser(t, `
$1/usr/bin/tcpadvise version
printf 'net.ipv4.tcp_tw_recycle = 1\n' | $1/usr/bin/tcpadvise check --as sysctl - && exit 9
printf 'net.ipv4.tcp_syncookies = 1\n' | $1/usr/bin/tcpadvise check --as sysctl --config $1/usr/share/doc/tcpadvise/examples/config.yaml -
`, root)
	for _, want := range []string{"tcpadvise 9.8.7-rc1\nrules " + rules.Version + "\n", "unsafe/tcp-tw-recycle", "passes: "} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	if dynamic := inOwnUser(t, `readelf -d $1/usr/bin/tcpadvise 2>&1 || :`, root); !strings.Contains(dynamic, "no dynamic section") {
		t.Errorf("the binary is not static:\n%s", dynamic)
	}

	pages, _ := filepath.Glob(at("share/man/man1/*.1.gz"))
	if want := len(manPages((&app{}).rootCommand())); len(pages) != want {
		t.Errorf("%d manuals of %d", len(pages), want)
	}
	for _, page := range pages {
		text := inOwnUser(t, `MANROFFSEQ= MANWIDTH=80 man --warnings -l $1 2>&1 >/dev/null; man -l $1 | cat`, page)
		if !strings.HasPrefix(text, "TCPADVISE") || !strings.Contains(text, "EXIT STATUS") {
			t.Errorf("%s: %s", page, text)
		}
	}

	for shell, script := range map[string]string{
		"bash": `bash --noprofile --norc -euc '. "$1" && complete -p tcpadvise' bash $1/usr/share/bash-completion/completions/tcpadvise`,
		"zsh":  `zsh -fc 'autoload -U compinit; compinit -uD; . "$1"; print -r -- $_comps[tcpadvise]' zsh $1/usr/share/zsh/vendor-completions/_tcpadvise`,
		"fish": `HOME=$1/home PATH=$1/usr/bin:$PATH fish --no-config -c 'source $argv[1]; complete -C "tcpadvise check --al"' $1/usr/share/fish/vendor_completions.d/tcpadvise.fish; rm -rf $1/home`,
	} {
		said := inOwnUser(t, script, root)
		want := map[string]string{
			"bash": "complete -o default -F __start_tcpadvise tcpadvise\n", "zsh": "_tcpadvise\n",
			"fish": "--allow-gaps\tdo not exit 3 where an input that was asked for could not be read\n",
		}[shell]
		if said != want {
			t.Errorf("%s: %q, want %q", shell, said, want)
		}
	}
	units(t, root)
}

// units: systemd has no complaint of them, and what the service runs writes the metrics.
func units(t *testing.T, root string) {
	t.Helper()
	said := inOwnUser(t, `
mkdir $1/verify
cp -r $1/usr $1/verify/
cp /lib/systemd/system/*.target $1/verify/usr/lib/systemd/system/
systemd-analyze verify --man=no --root=$1/verify tcpadvise.timer tcpadvise.service
rm -r $1/verify`, root)
	if said != "" {
		t.Error(said)
	}
	unit, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/tcpadvise.service"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ExecStart=(/usr/bin/tcpadvise check .*) -o \$\{TCPADVISE_TEXTFILE\}$`).FindSubmatch(unit)
	if line == nil {
		t.Fatal("no ExecStart")
	}
	command := strings.Replace(string(line[1]), "--sample 10s", "--sample 100ms", 1)
	metrics := filepath.Join(t.TempDir(), "tcpadvise.prom")
	inOwnUser(t, root+command+` -o $1 || [ $? = 3 ]`, metrics)
	if data, err := os.ReadFile(metrics); err != nil || !bytes.Contains(data, []byte("\ntcpadvise_verdict{")) {
		t.Errorf("%v\n%s", err, data)
	}
}

// filesUnder lists what a root holds beside directories and the package managers' own records.
func filesUnder(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if e.IsDir() && slices.Contains([]string{"var/lib/dpkg", "var/lib/rpm"}, name) {
			return fs.SkipDir
		}
		if !e.IsDir() {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestGoreleaser holds the release's configuration against what 'make package' builds: goreleaser takes minutes to compile, so
// only releases run it.
func TestGoreleaser(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var release struct {
		Builds []struct {
			Main                              string
			Env, Goos, Goarch, Flags, Ldflags []string
		}
		Nfpms []struct {
			Homepage, Maintainer, License, Description string
			Formats                                    []string
			Scripts                                    map[string]string
			Contents                                   []struct{ Src, Dst, Type, Packager string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(".goreleaser.yaml")), &release); err != nil || len(release.Builds) != 1 || len(release.Nfpms) != 1 {
		t.Fatalf("%v: %+v", err, release)
	}
	script, control, spec := read("tools/package/build.sh"), read("tools/package/control"), read("tools/package/tcpadvise.spec")
	b, p := release.Builds[0], release.Nfpms[0]
	for _, c := range []struct{ what, in, want string }{
		{"architectures", script, "set -- " + strings.Join(b.Goarch, " ")},
		{"flags", script, "go build " + strings.Join(b.Flags, " ")},
		{"version", script, strings.Replace(strings.Join(b.Ldflags, " "), "{{ .Version }}", "$version", 1)},
		{"program", script, b.Main},
		{"homepage", control, "Homepage: " + p.Homepage},
		{"maintainer", control, "Maintainer: " + p.Maintainer},
		{"description", control, "Description: " + strings.ReplaceAll(p.Description, "\n", "\n ")},
		{"licence", spec, "License: " + p.License},
	} {
		if !strings.Contains(c.in, c.want) {
			t.Errorf("%s: make package does not say %q", c.what, c.want)
		}
	}
	if !slices.Contains(b.Env, "CGO_ENABLED=0") || !slices.Equal(b.Goos, []string{"linux"}) || !slices.Equal(p.Formats, []string{"deb", "rpm"}) {
		t.Errorf("%+v %+v", b, p)
	}
	for when, own := range map[string]string{"preremove": "prerm", "postinstall": "postinst", "postremove": "postrm"} {
		if name := p.Scripts[when]; !strings.Contains(script, "install -m 0755 "+name+" \"$root/DEBIAN/"+own) {
			t.Errorf("%s: build.sh does not install %q as %s", when, name, own)
		}
	}
	for _, c := range p.Contents[1:] {
		if !strings.Contains(script, "usr/share/zsh/") || !strings.Contains(script, strings.TrimPrefix(filepath.Dir(c.Dst), "/")) {
			t.Errorf("build.sh does not know %s", c.Dst)
		}
	}
	if c := p.Contents[0]; c.Src != ".package/tree" || c.Dst != "/" || c.Type != "tree" {
		t.Errorf("%+v", c)
	}
}
