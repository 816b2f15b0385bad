package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOwnersWhileProcessesEnd: processes that end between the list of them and the look at them cost nothing but themselves,
// and the owner of what is looked for is found beside them.
func TestOwnersWhileProcessesEnd(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	inode := inodeOf(t, int(file.Fd()))
	var stop atomic.Bool
	ended := make(chan int)
	go func() {
		n := 0
		for ; !stop.Load() && n < 5000; n++ {
			if exec.Command("true").Run() != nil {
				break
			}
		}
		ended <- n
	}()
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		want := newWantedInodes()
		want.ask(alone, inode)
		want.ask(alone, 1) // no socket's: the walk does not end before each process was looked at
		o := ownersOf(t, want)
		// Between fork(2) and execve(2) a child holds it too; its number is lower only where numbers have begun anew.
		if own := o.byInode[inode]; o.err != nil || own == nil || own.pid > os.Getpid() {
			t.Errorf("owner %+v, %v, want this process", own, o.err)
		}
	}
	stop.Store(true)
	if n := <-ended; n == 0 {
		t.Error("no process has ended meanwhile: nothing was tried")
	}
}

// A process that is gone, or that ends after its descriptors were opened, is no error of the walk.
func TestOwnerWalkOfAProcessThatIsGone(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	r := fdReader{walk: &ownerWalk{want: newWantedInodes()}}
	h := r.process(cmd.Process.Pid, 0, firstFDs)
	if h.fds != 0 || h.inodes != nil || h.more || h.denied {
		t.Errorf("%+v of a process that has ended", h)
	}
	if line := string(h.record(cmd.Process.Pid)); (&owners{byInode: map[uint32]*owner{}}).piece([]byte(line)) != nil {
		t.Errorf("the record of a process that has ended is not understood: %s", line)
	}
}

// TestOwnersOfHighDescriptors: the numbers of descriptors have gaps, and most of a large program's are beyond the first round.
func TestOwnersOfHighDescriptors(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	high, low := 700, int(file.Fd())
	if err := unix.Dup3(low, high, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	file.Close()
	inode := inodeOf(t, high)
	for _, bySize := range []bool{true, false} {
		if bySize && !statCountsFDs() {
			continue
		}
		want := newWantedInodes()
		want.ask(alone, 1, inode) // any of the two will do
		w := ownerWalk{bySize: bySize}
		o := &owners{byInode: map[uint32]*owner{}}
		err := w.find(t.Context(), want, o.piece)
		own := o.byInode[inode]
		if err != nil || own == nil || own.pid != os.Getpid() || own.fds < 4 || w.open.Load() != 0 {
			t.Errorf("%+v, %v, %d questions open: want this process, and none", own, err, w.open.Load())
		}
	}
}

// TestFirstHolderIsTheOwner: of a master and its workers, who all hold a listener, the one with the lowest number is named, each time.
func TestFirstHolderIsTheOwner(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	first := os.Getpid()
	for range 3 {
		first = min(first, processWith(t, []*os.File{file})) // numbers may have begun anew
	}
	inode := inodeOf(t, int(file.Fd()))
	for range 50 {
		want := newWantedInodes()
		want.ask(0, inode)
		o := ownersOf(t, want)
		if own := o.byInode[inode]; o.err != nil || own == nil || own.pid != first {
			t.Fatalf("%+v, %v: want process %d", own, o.err, first)
		}
	}
}

// processWith is a process that has these files open.
func processWith(t *testing.T, files []*os.File) (pid int) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

func inodeOf(t *testing.T, fd int) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

// TestSharedSocketsHaveOneOwner: a child may have inherited all that leaks, and both are looked at at once.
func TestSharedSocketsHaveOneOwner(t *testing.T) {
	files, inodes := newSockets(t, 500)
	first := min(processWith(t, files), processWith(t, files)) // numbers may have begun anew
	closeAll(files)
	for range 20 {
		want := newWantedInodes()
		for _, inode := range inodes {
			want.ask(0, inode)
		}
		o := ownersOf(t, want)
		for _, inode := range inodes {
			if own := o.byInode[inode]; o.err != nil || own == nil || own.pid != first {
				t.Fatalf("%+v, %v: want process %d for all", own, o.err, first)
			}
		}
	}
}

// TestFirstDiallerIsNamed: where two programs dial a destination, always the same one is named, with its own user.
func TestFirstDiallerIsNamed(t *testing.T) {
	filesA, inodesA := newSockets(t, 40)
	filesB, inodesB := newSockets(t, 40)
	a, b := processWith(t, filesA), processWith(t, filesB)
	closeAll(append(filesA, filesB...))
	if a > b { // numbers have begun anew
		a, inodesA, inodesB = b, inodesB, inodesA
	}
	for range 100 {
		g := &dialGroup{heldSocket: heldSocket{inode: inodesB[0], uid: 2}}
		for i := range inodesA {
			g.some = append(g.some, heldSocket{inode: inodesB[i], uid: 2}, heldSocket{inode: inodesA[i], uid: 1})
		}
		more := newWantedInodes()
		more.ask(alone, g.inodes()...)
		o := ownersOf(t, newWantedInodes(), more)
		g.nameDialler(o)
		if own := o.byInode[g.inode]; o.err != nil || own == nil || own.pid != a || g.uid != 1 {
			t.Fatalf("%+v, %v, user %d: want process %d", own, o.err, g.uid, a)
		}
	}
}

// newSockets are n sockets; the test closes them once others have them.
func newSockets(t *testing.T, n int) (files []*os.File, inodes []uint32) {
	t.Helper()
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, os.NewFile(uintptr(fd), "socket"))
		inodes = append(inodes, inodeOf(t, fd))
	}
	return files, inodes
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// TestOwnersWithoutTheRightToTrace: root may list the descriptors of others' processes, and without CAP_SYS_PTRACE not look at them.
func TestOwnersWithoutTheRightToTrace(t *testing.T) {
	const role = "TCPADVISE_WITHOUT_PTRACE"
	if pid, err := strconv.Atoi(os.Getenv(role)); err == nil {
		want := newWantedInodes()
		want.ask(alone, 1) // no socket's
		if o := ownersOf(t, want); o.unreadable == 0 || o.err != nil {
			t.Errorf("%d unreadable, %v", o.unreadable, o.err)
		}
		if err := (&hiddenWalk{}).process(pid); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("hidden sockets: %v", err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root has the right to give up")
	}
	other := exec.Command("sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	self := exec.Command("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", os.Args[0], "-test.run=^"+t.Name()+"$")
	self.Env = append(os.Environ(), fmt.Sprintf("%s=%d", role, other.Process.Pid))
	if out, err := self.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func ownersOf(t *testing.T, wants ...*wantedInodes) *owners {
	t.Helper()
	search := startSearch(t.Context(), thisMachine{})
	for _, want := range wants {
		search.add(want)
	}
	return search.end()
}
