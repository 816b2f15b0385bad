package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What follows patches a host that boots: the real loaders, the real kernel, the real patch(1), git and ansible-playbook, in
// name spaces of their own. Our files are mounted over the directories that these read, the network name space gives them fresh
// keys to write, and the rest of /proc/sys is read-only there, so that the machine is never changed.

const mountScript = `
set -e
root=$1 loader=$2
export PATH=$root/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=$root
mount --bind /proc/sys/net "$root/keep"
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
mount --bind "$root/keep" /proc/sys/net
mount --bind "$root/usr/local/lib" /usr/local/lib
mount --bind "$root/usr/lib/sysctl.d" /usr/lib/sysctl.d
mount --bind "$root/run" /run
mount --bind "$root/etc" /etc
cd /
boot() {
	case $loader in
	systemd) SYSTEMD_LOG_TARGET=console SYSTEMD_LOG_LEVEL=err /lib/systemd/systemd-sysctl || true ;;
	procps) sysctl --system >/dev/null 2>&1 || true ;;
	esac
}
wants() {
	want=$1; shift
	code=0; "$@" >"$root/said" 2>&1 || code=$?
	if [ $code != $want ]; then echo "$*: exit code $code, want $want"; cat "$root/said"; exit 9; fi
}
`

const roundTrip = mountScript + `
tool=$3
apply() { if [ $tool = git ]; then git apply "$1"; else patch -s -p1 -d / <"$1"; fi; }
judge="tcpadvise check --only unsafe/* --only sysctl/*"
set -f
boot
wants 1 $judge
tcpadvise patch --include manual >"$root/diff" 2>"$root/notes"
tcpadvise patch --include manual --reverse >"$root/back" 2>>"$root/notes"
apply "$root/diff"
sed -n 's/^#   \(sysctl -w .*\)/\1/p' "$root/diff" >"$root/commands"
cp -r /etc "$root/patched"
echo "by the commands alone:"
sh -e "$root/commands" >/dev/null
wants 0 $judge
echo "by another boot:"
boot
wants 0 $judge
wants 0 tcpadvise patch --verify /etc/sysctl.d/60-web.conf
apply "$root/back"
`

// realHost is a host with mistakes of most kinds that a patch mends, all in the network name space.
func realHost(loader string) image {
	im := image{
		"/usr/lib/sysctl.d/50-vendor.conf": "# a package's\nnet.ipv4.tcp_window_scaling = 0\nnet.ipv4.tcp_sack = 1\n",
		"/etc/sysctl.d/60-web.conf": "# tuning found on the web\r\n# for NAT\r\nnet.ipv4.tcp_tw_recycle = 1\r\nnet/ipv4/tcp_timestamps = 0\r\n\r\n" +
			"net.ipv4.tcp_fin_timeout = 3 # fast\r\nnet.ipv4.tcp_retries2 = 3\r\nnet.ipv4.tcp_keepalive_time = 600\r\nnet.ipv4.tcp_max_tw_buckets = 5000",
		"/etc/sysctl.conf":       "net.ipv4.tcp_rmem = 4096\t16777216\t16777216\nnet.core.somaxconn = 100\nnet.ipv4.tcp_syncookies=0\n",
		"/etc/machine-id":        "",
		"/run/lock":              "",
		"/usr/local/lib/nothing": "",
		"/bin/nothing":           "",
		"/keep/nothing":          "",
	}
	if loader == "systemd" {
		im["/run/systemd/system/nothing"] = ""
		im["/etc/sysctl.d/99-sysctl.conf"] = "->../sysctl.conf"
	} else {
		im["/run/openrc/softlevel"] = "default\n"
	}
	return im
}

// needTools fails, for what is only skipped is soon not tested.
func needTools(t *testing.T, tools map[string]string) {
	t.Helper()
	for tool, pkg := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed to test against: apt-get install -y %s (make test does it)", tool, pkg)
		}
	}
}

// layProgram puts this program, as testscript runs it, into the tree's bin.
func layProgram(t *testing.T, root string) {
	t.Helper()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(root, "bin/tcpadvise"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func inNamespace(t *testing.T, script string, args ...string) string {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"-Urnmupf", "--mount-proc", "--kill-child", "--propagation", "private", "sh", "-c", script, "sh"}, args...)...)
	cmd.Env = []string{"LC_ALL=C.UTF-8", "GOCOVERDIR=" + t.TempDir()}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

// below are the files of a tree that lie under a directory, by their path in it.
func (im image) below(dir string) image {
	out := image{}
	for name, content := range im {
		if rest, ok := strings.CutPrefix(name, dir); ok {
			out[rest] = content
		}
	}
	return out
}

// TestPatchRoundTrip: a bad host, the patch, a boot: check passes. The reverse: each byte is back.
func TestPatchRoundTrip(t *testing.T) {
	needTools(t, map[string]string{"/lib/systemd/systemd-sysctl": "systemd", "sysctl": "procps", "unshare": "util-linux", "patch": "patch", "git": "git"})
	for _, loader := range []string{"systemd", "procps"} {
		for _, tool := range []string{"patch", "git"} {
			t.Run(loader+" "+tool, func(t *testing.T) {
				im := realHost(loader)
				root := im.lay(t)
				layProgram(t, root)
				out := inNamespace(t, roundTrip, root, loader, tool)
				diff, err := os.ReadFile(filepath.Join(root, "diff"))
				if err != nil || !bytes.Contains(diff, []byte("\n-net.ipv4.tcp_tw_recycle = 1\r\n")) {
					t.Fatalf("%v\n%s\n%s", err, out, diff)
				}
				after := files(t, root)
				if got, want := after.below("/etc/"), im.below("/etc/"); !maps.Equal(got, want) {
					t.Errorf("the reverse does not restore\n%q\n%q\n%s", want, got, diff)
				}
				if maps.Equal(after.below("/patched/"), im.below("/etc/")) {
					t.Error("nothing was patched")
				}
			})
		}
	}
}

const playScript = mountScript + `
mount --bind "$root/opt" /opt
set -f
judge="tcpadvise check --only unsafe/* --only sysctl/* --only nginx/* --only tomcat/* --only fd/nofile-above-nr-open --tomcat-base /opt/tomcat"
boot
wants 1 $judge
tcpadvise patch --include manual --tomcat-base /opt/tomcat --format ansible >"$root/tasks.yml" 2>"$root/notes"
tcpadvise patch --include manual --tomcat-base /opt/tomcat >"$root/diff"
sed 's/^/    /' "$root/tasks.yml" | sed '1s/.*/- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:/' >"$root/play.yml"
export ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_NOCOLOR=1 ANSIBLE_LOCAL_TEMP=$root/tmp ANSIBLE_REMOTE_TEMP=$root/tmp
ansible-playbook "$root/play.yml"
cp -r /etc "$root/patched"
echo ==
ansible-playbook "$root/play.yml"
sed -n 's/^#   \(sysctl -w .*\)/\1/p' "$root/tasks.yml" >"$root/commands"
sh -e "$root/commands" >/dev/null
wants 0 $judge
boot
wants 0 $judge
`

// TestPatchAsAnsible: the tasks run, change what they are to change, and nothing when they run again; ansible-lint has nothing to
// say of them; and of services' files they make what the diff makes.
func TestPatchAsAnsible(t *testing.T) {
	needTools(t, map[string]string{"ansible-playbook": "ansible", "ansible-lint": "ansible-lint", "/lib/systemd/systemd-sysctl": "systemd", "unshare": "util-linux"})
	im := realHost("systemd")
	maps.Copy(im, nginxHost())
	im["/opt/tomcat/conf/server.xml"] = badTomcat
	im["/etc/security/limits.d/90-db.conf"] = "*\thard\tnofile\t4000000000\n"
	root := im.lay(t)
	layProgram(t, root)
	if err := os.Mkdir(filepath.Join(root, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	out := inNamespace(t, playScript, root, "systemd")
	first, second, ok := strings.Cut(out, "==\n")
	tasks, _ := os.ReadFile(filepath.Join(root, "tasks.yml"))
	n := strings.Count(string(tasks), "ansible.posix.sysctl:") + strings.Count(string(tasks), "ansible.builtin.replace:")
	if !ok || n < 5 || !strings.Contains(first, fmt.Sprintf("changed=%d ", n)) || !strings.Contains(second, "changed=0 ") {
		t.Errorf("%d tasks\n%s\n%s", n, tasks, out)
	}
	after := files(t, root)
	if got, want := after.below("/etc/"), after.below("/patched/"); !maps.Equal(got, want) {
		t.Errorf("the second run changes files: %q, %q", want, got)
	}
	byDiff := im.lay(t)
	diff, _ := os.ReadFile(filepath.Join(root, "diff"))
	applyDiff(t, "patch", byDiff, string(diff))
	for _, dir := range []string{"/etc/nginx/", "/etc/security/", "/opt/"} {
		if got, want := after.below(dir), files(t, byDiff).below(dir); !maps.Equal(got, want) || maps.Equal(got, im.below(dir)) {
			t.Errorf("the tasks make %q of %s, the diff %q", got, dir, want)
		}
	}
	lint := exec.Command("ansible-lint", "--offline", "--nocolor", "-p", "tasks/main.yml")
	lint.Dir = t.TempDir()
	lint.Env = append(os.Environ(), "HOME="+lint.Dir, "LC_ALL=C.UTF-8")
	if err := errors.Join(os.Mkdir(filepath.Join(lint.Dir, "tasks"), 0o755), os.WriteFile(filepath.Join(lint.Dir, "tasks/main.yml"), tasks, 0o644)); err != nil {
		t.Fatal(err)
	}
	if said, err := lint.CombinedOutput(); err != nil {
		t.Errorf("ansible-lint: %v\n%s\n%s", err, said, tasks)
	}
}

// badTomcat has attributes that rules want changed, of an element on one line and of others on several.
const badTomcat = `<?xml version="1.0" encoding="UTF-8"?>
<Server port="8005" shutdown="SHUTDOWN">
  <GlobalNamingResources>
    <Resource name="jdbc/shop" auth="Container" type="javax.sql.DataSource"
              maxTotal="20" maxWaitMillis="-1"
              url="jdbc:mysql://db/shop"/>
  </GlobalNamingResources>
  <Service name="Catalina">
    <Connector port="9080" protocol="HTTP/1.1" connectionTimeout="-1" />
    <Connector port="9081" protocol="HTTP/1.1"
	maxKeepAliveRequests='1'
               redirectPort="8443"></Connector>
    <Engine name="Catalina" defaultHost="localhost"/>
  </Service>
</Server>
`
