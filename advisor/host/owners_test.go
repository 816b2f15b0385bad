package host

import (
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	inode := uint32(info.Sys().(*syscall.Stat_t).Ino)
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
		// 0 is no socket's: the walk does not end before each process was looked at.
		o := findOwners(t.Context(), thisMachine{}, map[uint32]struct{}{inode: {}, 0: {}})
		if own := o.byInode[inode]; o.err != nil || own == nil || own.pid != os.Getpid() {
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
	w := ownerWalk{want: map[uint32]struct{}{1: {}}, left: 1, buf: make([]byte, 4096)}
	if fds, err := w.process(cmd.Process.Pid); err == nil || fds != 0 || len(w.hits) != 0 {
		t.Errorf("%d descriptors, hits %v, %v of a process that has ended", fds, w.hits, err)
	}
	if line := string(w.record(cmd.Process.Pid, 0)); (&owners{byInode: map[uint32]*owner{}}).piece([]byte(line)) != nil {
		t.Errorf("the record of a process that has ended is not understood: %s", line)
	}
}
