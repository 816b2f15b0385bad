package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A crowd is 100,000 sockets of a busy host in a namespace of their own: 50,000 ESTABLISHED, held by five servers and their
// clients, and 50,000 TIME_WAIT of both sides. It falls ill when of the ESTABLISHED 5,000 become FIN_WAIT2 and as many
// CLOSE_WAIT.
const (
	crowdPairs     = 5
	crowdHeld      = 5000   // connections of a pair, each of which is two sockets
	crowdHalfOpen  = 1000   // of these, which the client shuts at last
	crowdTimeWait  = 10_000 // of a pair
	crowdRole      = "TCPADVISE_CROWD_ROLE"
	crowdNamespace = "TCPADVISE_CROWD_NAMESPACE"
)

// BenchmarkRatioCheckToSS compares the program with ss(8) over a crowd, by medians of interleaved pairs: the whole check with
// `ss -tan`, at most 0.5 is the aim; and once 5,000 sockets are in CLOSE_WAIT with `ss -tanp`, since then both look for owners, at
// most 0.4. Beside these the same check with `ss -tan`, which looks for none, what --deep costs, and how much memory the check needs.
func BenchmarkRatioCheckToSS(b *testing.B) {
	if role := os.Getenv(crowdRole); role != "" {
		crowdMember(b, role)
		return
	}
	if os.Getenv(crowdNamespace) == "" {
		intoCrowdNamespace(b)
		return
	}
	program := buildProgram(b)
	host := startCrowd(b)
	defer host.end()
	check := []string{program, "check", "--fail-on", "never"}
	deep := append(slices.Clone(check), "--deep")
	var peak int64
	compare := func(name string, pairs int, first, second []string) {
		host.tell("come") // TIME_WAIT lasts a minute
		wall, cpu := ratios(pairs, func() usage { return runQuietly(b, first) }, func() usage { return runQuietly(b, second) }, &peak)
		b.ReportMetric(wall, name)
		b.ReportMetric(cpu, name+"-cpu")
	}
	compare("check/ss-tan", 15, check, []string{"ss", "-tan"})
	host.tell("leave")
	compare("ill/ss-tan", 15, check, []string{"ss", "-tan"})
	compare("ill/ss-tanp", 5, check, []string{"ss", "-tanp"})
	compare("deep/check", 5, deep, check)
	b.ReportMetric(float64(peak)/1024, "peak-MiB")
}

// usage is what a command cost: seconds on the clock, seconds of processors, and the most memory in KiB (getrusage(2)).
type usage struct {
	wall, cpu float64
	memory    int64
}

// ratios runs two things in turn and returns the medians of the first's cost over the second's. On a busy machine the clock
// says how long one waited for a processor as well; the processor's time then tells more.
func ratios(pairs int, first, second func() usage, peak *int64) (wall, cpu float64) {
	walls, cpus := make([]float64, pairs), make([]float64, pairs)
	for i := range pairs {
		x, y := first(), second()
		walls[i], cpus[i] = x.wall/y.wall, x.cpu/y.cpu
		*peak = max(*peak, x.memory)
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	return walls[pairs/2], cpus[pairs/2]
}

// runQuietly runs a command for its cost.
func runQuietly(b *testing.B, command []string) usage {
	cmd := exec.Command(command[0], command[1:]...)
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v", command, err)
	}
	u := usage{wall: time.Since(start).Seconds(), cpu: (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.memory = r.Maxrss
	}
	return u
}

func buildProgram(b *testing.B) string {
	program := filepath.Join(b.TempDir(), "tcpadvise")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return program
}

// intoCrowdNamespace runs the benchmark again in user and network namespaces of its own, and reports what it says there.
func intoCrowdNamespace(b *testing.B) {
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^"+b.Name()+"$", "-test.benchtime=1x", "-test.timeout=280s")
	cmd.Env = append(os.Environ(), crowdNamespace+"=1", caseEnv+"="+b.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("in a network namespace of its own: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "Benchmark") {
			continue
		}
		fields := strings.Fields(line)
		for i := 2; i+1 < len(fields); i += 2 {
			if n, err := strconv.ParseFloat(fields[i], 64); err == nil && fields[i+1] != "ns/op" {
				b.ReportMetric(n, fields[i+1])
			}
		}
	}
}

// busyHost is the processes that hold the sockets, a server and a client in turn.
type busyHost struct {
	b       *testing.B
	members []crowdProcess
}

type crowdProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startCrowd starts the processes one after the other, each of which holds its sockets when the next is started.
func startCrowd(b *testing.B) *busyHost {
	if err := run1("ip", "link", "set", "lo", "up"); err != nil {
		b.Fatal(err)
	}
	c := &busyHost{b: b}
	for i := range 2 * crowdPairs {
		cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^"+b.Name()+"$", "-test.benchtime=1x")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", crowdRole, []string{"server", "client"}[i%2], i/2))
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		in, errIn := cmd.StdinPipe()
		out, errOut := cmd.StdoutPipe()
		if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
			b.Fatal(err)
		}
		c.members = append(c.members, crowdProcess{cmd, in, bufio.NewReader(out)})
		c.await(i)
	}
	return c
}

// await waits until a process has done what it was last told.
func (c *busyHost) await(i int) {
	for {
		line, err := c.members[i].out.ReadString('\n')
		if err != nil {
			c.b.Fatalf("a member of the crowd ended early: %v", err)
		}
		if line == "done\n" {
			return
		}
	}
}

// tell lets the clients fill up TIME_WAIT again ("come"), or shut connections that the servers do not look at ("leave").
func (c *busyHost) tell(word string) {
	for i := 1; i < len(c.members); i += 2 {
		if _, err := fmt.Fprintln(c.members[i].in, word); err != nil {
			c.b.Fatal(err)
		}
	}
	for i := 1; i < len(c.members); i += 2 {
		c.await(i)
	}
}

// end ends the processes, which they do when their input ends.
func (c *busyHost) end() {
	for _, m := range c.members {
		m.in.Close()
	}
	for _, m := range c.members {
		if err := m.cmd.Wait(); err != nil {
			c.b.Error(err)
		}
	}
}

// crowdMember is a process of the crowd until its input ends.
func crowdMember(b *testing.B, role string) {
	kind, number, _ := strings.Cut(role, " ")
	pair, err := strconv.Atoi(number)
	if err != nil {
		b.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.%d:%d", pair+1, 8000+pair)
	var held []*net.TCPConn
	if kind == "server" {
		ln, err := net.Listen("tcp4", address)
		if err != nil {
			b.Fatal(err)
		}
		defer ln.Close()
		go crowdServe(ln)
	} else {
		for range crowdHeld {
			held = append(held, crowdDial(b, address, 'k'))
		}
	}
	fmt.Println("\ndone")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "come" {
			crowdCome(b, address)
		} else {
			for _, c := range held[crowdHeld-crowdHalfOpen:] {
				c.CloseWrite()
			}
		}
		fmt.Println("\ndone")
	}
	for _, c := range held {
		c.Close()
	}
}

// crowdCome leaves connections in TIME_WAIT, by turns on the client's side and on the server's.
func crowdCome(b *testing.B, address string) {
	const workers = 4
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range crowdTimeWait / workers {
				if i%2 == 0 {
					crowdDial(b, address, 'c').Close()
					continue
				}
				c := crowdDial(b, address, 's')
				io.Copy(io.Discard, c)
				c.Close()
			}
		})
	}
	all.Wait()
}

func crowdDial(b *testing.B, address string, word byte) *net.TCPConn {
	d := net.Dialer{KeepAlive: -1, Timeout: 20 * time.Second}
	c, err := d.DialContext(b.Context(), "tcp4", address)
	if err == nil {
		_, err = c.Write([]byte{word})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return c.(*net.TCPConn)
}

// crowdServe keeps a connection, waits for its client to close it, or closes it first, as its first byte says. No goroutine
// stays with a kept one.
func crowdServe(ln net.Listener) {
	var kept []net.Conn
	var mu sync.Mutex
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			var word [1]byte
			if _, err := io.ReadFull(c, word[:]); err == nil && word[0] == 'k' {
				mu.Lock()
				defer mu.Unlock()
				kept = append(kept, c)
				return
			}
			if word[0] == 'c' {
				io.Copy(io.Discard, c)
			}
			c.Close()
		}()
	}
}
