package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

func processesOf(t tree) (advisor.Table, []advisor.Gap) {
	var b advisor.Builder
	gaps := collectProcesses(context.Background(), t, &b)
	return b.Facts().Table("processes"), gaps
}

func processRow(tab advisor.Table, pid int) (advisor.Row, bool) {
	for _, r := range tab.Rows {
		if n, _ := r.Cells["pid"].Value.Int(); n == int64(pid) {
			return r, true
		}
	}
	return advisor.Row{}, false
}

// sleeper starts a process with a name of the kernel's choice of bytes, some open files and limits of its own.
func sleeper(t *testing.T, name string) int {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	sleep, _ = filepath.EvalSymlinks(sleep)
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, program, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `ulimit -S -n 100; exec "$0" 60 3</dev/null 4</dev/null`, file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	want := name[:min(len(name), 15)] // TASK_COMM_LEN
	for range 1000 {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		if string(comm) == want+"\n" {
			return cmd.Process.Pid
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 5e6}, nil)
	}
	t.Fatalf("%s did not start", sleep)
	return 0
}

func TestProcessesLive(t *testing.T) {
	const name = "a )\n\\b\x01\xff"
	pid := sleeper(t, name)
	tab, gaps := processesOf(liveTree(t))
	if tab.Unknown != "" || len(gaps) > 0 {
		t.Error(tab.Unknown, gaps)
	}
	r, ok := processRow(tab, pid)
	if !ok {
		t.Fatalf("process %d is not among %d", pid, len(tab.Rows))
	}
	if got, _ := r.Cells["name"].Value.Text(); got != name {
		t.Errorf("name %q", got)
	}
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var own unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &own)
	for column, want := range map[string]string{
		"fds": strconv.Itoa(len(names)), "nofile_soft": "100", "nofile_hard": strconv.FormatUint(own.Max, 10), "uid": strconv.Itoa(os.Geteuid()),
	} {
		if got := showFact(r.Cells[column]); got != want {
			t.Errorf("%s: %s, want %s", column, got, want)
		}
	}
	if r.Cells["fds"].Origin.Path != fmt.Sprintf("/proc/%d/fd", pid) {
		t.Error(r.Cells["fds"].Origin)
	}
	for _, not := range []int{2, os.Getpid()} {
		if r, ok := processRow(tab, not); ok && showFact(r.Cells["name"]) != "init" && (not != 2 || showFact(r.Cells["name"]) == "kthreadd") {
			t.Errorf("%d is in the table: %s", not, showFact(r.Cells["name"]))
		}
	}
}

func TestCountFDsBothWays(t *testing.T) {
	pid := sleeper(t, "fds")
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	if !statCountsFDs() {
		t.Skip("this kernel is older than 6.2")
	}
	var list, size string
	for range 100 { // while a program starts, its loader opens and closes files
		var errList, errSize error
		list, errList = (&processWalk{}).countFDs(dir)
		size, errSize = (&processWalk{fdSize: true}).countFDs(dir)
		if errList != nil || errSize != nil || list == denied {
			t.Fatal(list, errList, errSize)
		}
		if size == list {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if size != list {
		t.Errorf("%s by stat, %s by list", size, list)
	}
	for _, w := range []processWalk{{}, {fdSize: true}} {
		if _, err := w.countFDs("/proc/4194305/fd"); !errors.Is(err, fs.ErrNotExist) { // above any pid_max
			t.Error(err)
		}
	}
}

func TestProcessesAsNobody(t *testing.T) {
	pid, live := sleeper(t, "theirs"), liveTree(t)
	bySize := statCountsFDs()
	asNobody(t, func() {
		tab, _ := processesOf(live)
		r, ok := processRow(tab, pid)
		if !ok {
			if tab.Unknown == "" {
				t.Error("a process is missing and nobody says so")
			}
			return
		}
		for column, cell := range r.Cells {
			if cell.State == advisor.StateUnknown && (bySize || column != "fds") {
				t.Errorf("%s: %s", column, showFact(cell))
			}
		}
		if got, err := (&processWalk{}).countFDs(fmt.Sprintf("/proc/%d/fd", pid)); os.Getuid() == 0 && (got != denied || err != nil) {
			t.Errorf("older kernels: %s, %v", got, err)
		}
	})
}

func TestProcessesReplay(t *testing.T) {
	r := newMemRecorder(liveTree(t))
	live, liveGaps := processesOf(r)
	replay, gaps := processesOf(&r.replay)
	if !reflect.DeepEqual(live, replay) || !reflect.DeepEqual(liveGaps, gaps) {
		t.Error("live and replay differ")
	}
}

func TestProcessesComposed(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	m := &memTree{kind: "capture", asks: map[string][]string{"processes": {
		"10 33 12 1024 524288 \"nginx\" \"www-data\" \"/system.slice/nginx.service\"\n" +
			"11 1000 denied 1024 unlimited \"java\" \"\" \"/system.slice/docker-" + id + ".scope\"\n",
		"12 denied denied denied denied \"x\" \"\" \"\"\nhidden\n",
	}}}
	tab, gaps := processesOf(m)
	var got []string
	for _, r := range tab.Rows {
		line := ""
		for _, column := range []string{"pid", "name", "uid", "user", "unit", "container", "fds", "nofile_soft", "nofile_hard"} {
			line += "|" + showFact(r.Cells[column])
		}
		got = append(got, line)
	}
	want := []string{
		"|10|nginx|33|www-data|nginx.service|absent: in no container of this machine|12|1024|524288",
		"|11|java|1000|absent: no user of that number in /etc/passwd|docker-" + id + ".scope|0123456789ab|unknown: permission denied: run as root|1024|unlimited",
		"|12|x|unknown: permission denied: run as root|absent: no user of that number in /etc/passwd" +
			strings.Repeat("|unknown: the control group could not be read", 2) + strings.Repeat("|unknown: permission denied: run as root", 3),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.Contains(tab.Unknown, "hidepid") || len(gaps) != 1 || !gaps[0].Notice {
		t.Error(tab.Unknown, gaps)
	}
}

func TestProcessesUnreadable(t *testing.T) {
	for name, c := range map[string]struct {
		tree                    *memTree
		unknown, absent, prefix string
		rows                    int
	}{
		"directory":    {debianRoot(), "", noKernel, "", 0},
		"not captured": {&memTree{kind: "capture"}, "not in this capture", "", "", 0},
		"odd record":   {&memTree{kind: "capture", asks: map[string][]string{"processes": {"1 0 3 4 5 \"ok\" \"\" \"/\"\nnonsense\n"}}}, "nonsense", "", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			tab, gaps := processesOf(c.tree)
			if tab.Absent != c.absent || !strings.Contains(tab.Unknown, c.unknown) || (tab.Unknown == "") != (c.unknown == "") || len(tab.Rows) != c.rows {
				t.Errorf("%+v", tab)
			}
			if len(gaps) > 0 != (c.unknown != "") {
				t.Error(gaps)
			}
		})
	}
}

func TestMostDescriptors(t *testing.T) {
	rows := []process{{pid: 1, fds: "3"}, {pid: 2, fds: "900"}, {pid: 3, fds: denied}, {pid: 4, fds: "10"}}
	kept, omitted := mostDescriptors(rows, 3)
	var pids []int64
	for _, p := range kept {
		pids = append(pids, p.pid)
	}
	if !reflect.DeepEqual(pids, []int64{2, 3, 4}) || omitted != 1 {
		t.Error(pids, omitted)
	}
	if kept, omitted = mostDescriptors(rows, 9); len(kept) != 4 || omitted != 0 {
		t.Error(kept, omitted)
	}
}

func TestParseStat(t *testing.T) {
	for stat, want := range map[string]string{
		"1 (systemd) S 0 1 1 0 -1 4194560 1 2":  "systemd true",
		"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0": "kthreadd false",
		"9 (a) b) (c) R 1 9 9 0 -1 4194304 1":   "a) b) (c true",
		"9 (dead) Z 1 9 9 0 -1 4194304 1":       " false",
		"9 (short) S 1":                         " false",
		"":                                      " false",
		")(":                                    " false",
		"9 (odd) S 1 9 9 0 -1 flags 1":          "odd false",
		"9 (user thread of an io_uring) S 1 9 9 0 -1": " false",
	} {
		comm, ours := parseStat([]byte(stat))
		if got := fmt.Sprint(comm, " ", ours); got != want {
			t.Errorf("%q: %s, want %s", stat, got, want)
		}
	}
}

func TestContainerOf(t *testing.T) {
	id := strings.Repeat("f0", 32)
	for cgroup, want := range map[string]string{
		"/docker/" + id:                         "f0f0f0f0f0f0",
		"/system.slice/docker-" + id + ".scope": "f0f0f0f0f0f0",
		"/kubepods.slice/kubepods-podab.slice/cri-containerd-" + id + ".scope": "f0f0f0f0f0f0",
		"/machine.slice/libpod-" + id + ".scope/container":                     "f0f0f0f0f0f0",
		"/system.slice/containerd.service/kubepods-pod1:cri-containerd:" + id:  "f0f0f0f0f0f0",
		"/system.slice/nginx.service":                                          "", "/": "", "": "", "/x" + id: "", "/docker/" + strings.ToUpper(id): "",
	} {
		if got := containerOf(cgroup); got != want {
			t.Errorf("%s: %q, want %q", cgroup, got, want)
		}
	}
}

func TestParseLimits(t *testing.T) {
	const head = "Limit                     Soft Limit           Hard Limit           Units     \n"
	for text, want := range map[string]string{
		head + "Max open files            20000                unlimited            files     \n": "20000 unlimited true",
		head: "  false", "Max open files": "  false", "Max open files 1\n": "  false",
	} {
		soft, hard, ok := parseLimits([]byte(text))
		if got := fmt.Sprint(soft, " ", hard, " ", ok); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestReadUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	os.WriteFile(file, []byte("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nodd\nwww:x:33:33"), 0o600)
	if got := readUsers(file); !reflect.DeepEqual(got, map[string]string{"0": "root", "33": "www"}) {
		t.Error(got)
	}
	for _, not := range []string{"/dev/zero", "/no such file", t.TempDir()} {
		if got := readUsers(not); len(got) > 0 {
			t.Error(not, got)
		}
	}
}

func FuzzProcesses(f *testing.F) {
	f.Add("10 33 12 1024 524288 \"nginx\" \"www-data\" \"/system.slice/nginx.service\"", []byte("9 (a) b) R 1 9 9 0 -1 4194304 1"))
	f.Add("hidden", []byte("Max open files 1 2 files"))
	f.Fuzz(func(t *testing.T, line string, file []byte) {
		var p process
		if p.decode(line) == nil {
			var again process
			if err := again.decode(strings.TrimSuffix(string(p.encode(nil)), "\n")); err != nil || again != p {
				t.Errorf("%q: %+v, again %+v: %v", line, p, again, err)
			}
			p.row()
		}
		parseStat(file)
		parseLimits(file)
		containerOf(line)
	})
}

func BenchmarkProcesses(b *testing.B) {
	live := liveTree(b)
	b.ReportAllocs()
	var n int
	for b.Loop() {
		tab, _ := processesOf(live)
		n = len(tab.Rows)
	}
	b.ReportMetric(float64(n), "processes")
}
