package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The playbooks of docs/ansible are run as they lie there, by the real ansible-playbook, on hosts of their own: name spaces with
// their own files, sockets, processes and kernel parameters. The hosts are said to have no Python where only the module runs.

const ansibleScript = mountScript + `
boot
hostname web1
export ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_NOCOLOR=1 ANSIBLE_LOCAL_TEMP=$root/tmp ANSIBLE_REMOTE_TEMP=$root/tmp ANSIBLE_LIBRARY=$root/library
cd "$root"
playbook() {
	echo "== $*"
	code=0
	ansible-playbook -i web1, -e ansible_connection=local -e ansible_become=false "$@" || code=$?
	echo "exit code $code"
}
`

// docsAnsible is the directory of the playbooks.
func docsAnsible(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../docs/ansible")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// saneHost boots with systemd, and nothing is wrong with it.
func saneHost() image {
	return image{
		"/usr/lib/sysctl.d/50-vendor.conf": "net.ipv4.tcp_sack = 1\n",
		"/etc/sysctl.d/60-web.conf":        "net.ipv4.tcp_keepalive_time = 600\n",
		"/etc/machine-id":                  "",
		"/etc/passwd":                      "root:x:0:0:root:/root:/bin/sh\n",
		"/run/lock":                        "",
		"/run/systemd/system/nothing":      "",
		"/usr/local/lib/nothing":           "",
		"/bin/nothing":                     "",
		"/keep/nothing":                    "",
		"/library/nothing":                 "",
		"/tmp/nothing":                     "",
	}
}

// with is the image with further files.
func (im image) with(more image) image {
	out := maps.Clone(im)
	maps.Copy(out, more)
	return out
}

// play runs a script on a host, in which playbook is ansible-playbook, and $1 the host's own directory.
func play(t *testing.T, im image, script string) (said, root string) {
	t.Helper()
	needTools(t, map[string]string{"ansible-playbook": "ansible", "/lib/systemd/systemd-sysctl": "systemd", "unshare": "util-linux"})
	root = im.lay(t)
	layProgram(t, root)
	if err := os.Symlink("../bin/tcpadvise", filepath.Join(root, "library/tcpadvise")); err != nil {
		t.Fatal(err)
	}
	return inNamespace(t, ansibleScript+script, root, "systemd", docsAnsible(t)), root
}

// wantAll complains of what was not said.
func wantAll(t *testing.T, said string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(said, want) {
			t.Errorf("%q was not said\n%s", want, said)
			return
		}
	}
}

// TestAnsibleGate: a host with a fault stops the play, as does one that cannot be read; a sane one goes on, and one whose fault
// is waived goes on and says so.
func TestAnsibleGate(t *testing.T) {
	const goOn = `cat >next.yml <<'.'
- import_playbook: "{{ gate }}"
- hosts: all
  gather_facts: false
  tasks:
    - debug: msg="the deployment goes on"
.
export ANSIBLE_PYTHON_INTERPRETER=/no/such/python
`
	const run = goOn + `playbook -e gate=$3/gate.yml next.yml
`
	old := image{"/etc/sysctl.d/70-old.conf": "# from the web\nnet.ipv4.tcp_tw_recycle = 1\n"}
	for name, c := range map[string]struct {
		host   image
		script string
		stops  bool
		wants  []string
	}{
		"sane": {saneHost(), run, false, []string{"exit code 0", "passes: no finding at or above warning", "changed=0 "}},
		"fault": {saneHost().with(old), goOn + "playbook --check --diff -e gate=$3/gate.yml next.yml\n", true, []string{
			"exit code 2", `"msg": "fails: 1 finding at or above warning; unsafe/tcp-tw-recycle`, "ERROR unsafe/tcp-tw-recycle /etc/sysctl.d/70-old.conf:2:27", "-net.ipv4.tcp_tw_recycle = 1",
		}},
		"waived": {saneHost().with(old), goOn + `cat >vars.yml <<'.'
tcpadvise_configuration:
  waivers:
    - {rule: unsafe/tcp-tw-recycle, host: web1, reason: "appliance kernel, replaced in March", until: "2999-12-31"}
.
playbook -e @vars.yml -e gate=$3/gate.yml next.yml
`, false, []string{"exit code 0", "unsafe/tcp-tw-recycle is waived: appliance kernel, replaced in March"}},
		"unreadable": {saneHost(), "mkfifo /etc/sysctl.d/80-fifo.conf\n" + run, true, []string{
			"exit code 2", `"msg": "incomplete: 1 input could not be read; /etc/sysctl.d/80-fifo.conf: `,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			said, _ := play(t, c.host, c.script)
			wantAll(t, said, c.wants...)
			if strings.Contains(said, "the deployment goes on") == c.stops {
				t.Errorf("stops: want %v\n%s", c.stops, said)
			}
		})
	}
}

// TestAnsiblePreflight: what a repository is about to set is judged before any host is touched: its tasks and files as they
// lie there, and its templates as a host would get them.
func TestAnsiblePreflight(t *testing.T) {
	const script = `cat >repo/sane.conf.j2 <<'.'
net.ipv4.tcp_fin_timeout = {{ sane }}
.
sed s/sane/hasty/ repo/sane.conf.j2 >repo/hasty.conf.j2
playbook -e '{"sane": 60, "hasty": 3}' -e "{\"tcpadvise_templates\": [\"$root/repo/sane.conf.j2\", \"$root/repo/hasty.conf.j2\"]}" \
	-e tcpadvise_paths="['$root/repo']" "$3/preflight.yml"
cat >repo/tasks.yml <<'.'
- hosts: all
  tasks:
    - ansible.posix.sysctl: {name: net.ipv4.tcp_tw_recycle, value: "1"}
.
playbook -e tcpadvise_paths="['$root/repo']" "$3/preflight.yml"
`
	said, root := play(t, saneHost().with(image{"/repo/nothing": ""}), script)
	_, runs, _ := strings.Cut(said, "== ")
	first, second, _ := strings.Cut(runs, "== ")
	wantAll(t, first, "exit code 2", "ok: [web1 -> localhost] => (item="+root+"/repo/sane.conf.j2)",
		"failed: [web1 -> localhost] (item="+root+"/repo/hasty.conf.j2)", "net.ipv4.tcp_fin_timeout = 3 (default 60 s)")
	wantAll(t, second, "exit code 2", "fails: 1 finding at or above warning; unsafe/tcp-tw-recycle "+root+"/repo/tasks.yml:3:")
	if strings.Contains(second, "web1") {
		t.Errorf("a host was touched\n%s", second)
	}
}

// TestAnsibleApply: with --check nothing changes and the tasks are there to be read; then they are run, and nothing is left of
// what was proposed.
func TestAnsibleApply(t *testing.T) {
	const script = `
sysctl -qw net.ipv4.tcp_window_scaling=0
play="playbook -e tcpadvise_proposals=$root/proposed -e tcpadvise_propose=review $3/apply.yml"
$play --check
cat /etc/sysctl.d/70-old.conf proposed/web1.yml; sysctl net.ipv4.tcp_sack
$play
cat /etc/sysctl.d/70-old.conf; sysctl net.ipv4.tcp_sack net.ipv4.tcp_window_scaling
tcpadvise patch --include review
`
	im := saneHost().with(image{"/etc/sysctl.d/70-old.conf": "net.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_sack = 0\n", "/proposed/nothing": ""})
	said, _ := play(t, im, script)
	_, runs, _ := strings.Cut(said, "== ")
	first, second, _ := strings.Cut(runs, "== ")
	wantAll(t, first, "exit code 0\nnet.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_sack = 0\n---\n", "ansible.posix.sysctl", "\nnet.ipv4.tcp_sack = 0\n")
	wantAll(t, second, "changed=3 ", "exit code 0\nnet.ipv4.tcp_sack=1\nnet.ipv4.tcp_sack = 1\nnet.ipv4.tcp_window_scaling = 1\n", "nothing to change")
}

// TestAnsibleFleet: the hosts are recorded, the captures fetched, and one report tells of all. Two hosts of one name stay two.
func TestAnsibleFleet(t *testing.T) {
	im := saneHost().with(image{"/etc/sysctl.d/70-old.conf": "net.ipv4.tcp_tw_recycle = 1\n"})
	said, root := play(t, im, `export TMPDIR=$root/tmp
playbook -i web2, -e tcpadvise_binary=$root/bin/tcpadvise -e tcpadvise_captures=$root/captures "$3/fleet.yml"
stat -c %a captures
`)
	wantAll(t, said, "ERROR unsafe/tcp-tw-recycle on 2 of 2 hosts", "web1 ("+root+"/captures/web2.tcpadvise)", `"msg": "fails: 2 hosts have findings at or above warning"`,
		"exit code 2\n700\n")
	after := files(t, root)
	if !strings.Contains(after["/captures/report.html"], "<h1>2 hosts</h1>") || after["/captures/web1.tcpadvise"] == "" {
		t.Errorf("%v\n%s", slices.Sorted(maps.Keys(after)), said)
	}
	for name := range after {
		if strings.HasPrefix(name, "/tmp/tcpadvise.") {
			t.Errorf("%s stays on the host", name)
		}
	}
}

// TestAnsiblePlaybooksAreClean: ansible-lint has nothing to say, at its strictest.
func TestAnsiblePlaybooksAreClean(t *testing.T) {
	needTools(t, map[string]string{"ansible-lint": "ansible-lint", "ansible-doc": "ansible"})
	books, _ := filepath.Glob(filepath.Join(docsAnsible(t), "*.yml"))
	lint := exec.Command("ansible-lint", append([]string{"--offline", "--nocolor", "--profile", "production"}, books...)...)
	lint.Dir = t.TempDir()
	lint.Env = append(os.Environ(), "ANSIBLE_LIBRARY="+programLibrary(t), "HOME="+t.TempDir())
	if out, err := lint.CombinedOutput(); err != nil || len(books) < 4 {
		t.Errorf("%d playbooks: %v\n%s", len(books), err, out)
	}
	library := programLibrary(t)
	if err := os.Symlink(filepath.Join(docsAnsible(t), "library/tcpadvise.yml"), filepath.Join(library, "tcpadvise.yml")); err != nil {
		t.Fatal(err)
	}
	doc := exec.Command("ansible-doc", "--module-path", library, "tcpadvise")
	if out, err := doc.CombinedOutput(); err != nil || !strings.Contains(string(out), "\n- fail_on\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

// programLibrary is a directory with the program as a module.
func programLibrary(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "tcpadvise"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
