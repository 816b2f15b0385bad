package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	sysctl "github.com/lorenzosaino/go-sysctl"
	"golang.org/x/sys/unix"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// sysctlKey is a kernel parameter to read: its name as sysctl(8) writes it, "net.ipv4.conf.eth0/100.rp_filter", and the
// type of its value.
type sysctlKey struct {
	name string
	kind advisor.Type
}

const procSys = "/proc/sys"

// collectSysctls fills the family of running kernel parameters. On the live machine plain keys come from go-sysctl, asked
// in one question that a capture replays; names that hold an interface's, and all keys of a directory, are read as files.
func collectSysctls(ctx context.Context, t tree, b *advisor.Builder, keys []sysctlKey) []advisor.Gap {
	const family = "sysctl"
	origin := advisor.Origin{Path: procSys}
	r := sysctlReader{t: t, texts: map[string]sysctlText{}, dirs: map[string]bool{}}
	r.askPlain(ctx, keys)
	if _, err := t.resolve(procSys); r.asked != nil && errors.Is(err, fs.ErrNotExist) && t.source() != "live" { // a directory, or a capture of one
		b.SetFamily(family, advisor.Absent(noKernel, origin))
		return nil
	}
	b.SetFamily(family, advisor.Unknown("not read", origin))
	odd := []advisor.Fact{r.failed(ctx)}
	for _, k := range keys {
		fact, isOdd := r.fact(k)
		b.SetMember(family, k.name, fact)
		if isOdd {
			odd = append(odd, fact)
		}
	}
	return gapsOf(odd...)
}

// sysctlReader holds what the kernel said about plain keys.
type sysctlReader struct {
	t     tree
	texts map[string]sysctlText
	dirs  map[string]bool // of a directory of files: which directories below /proc/sys it has
	asked error           // why the question for the plain keys has no, or no complete answer
}

type sysctlText struct {
	text string
	err  error
}

// failed is the fact that stands for an incomplete answer, which only the end of the run's time can make.
func (r *sysctlReader) failed(ctx context.Context) advisor.Fact {
	if err := ctx.Err(); err != nil && r.asked != nil {
		return advisor.Unknown(err.Error(), advisor.Origin{Path: procSys})
	}
	return advisor.Fact{}
}

// askPlain asks for all plain keys at once. A piece is "KEY=TEXT", or "KEY!KIND MESSAGE" where there is none: neither mark
// is in a plain key.
func (r *sysctlReader) askPlain(ctx context.Context, keys []sysctlKey) {
	r.asked = r.t.ask("sysctl", func(emit func([]byte) error) error {
		client, err := sysctl.NewClient(procSys)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !isPlain(k.name) || isSecret(k.name) {
				continue
			}
			if err := emit(encodeSysctl(k.name, getSysctl(client, k.name))); err != nil {
				return err
			}
		}
		return nil
	}, func(piece []byte) error {
		key, text, err := decodeSysctl(string(piece))
		if err == nil {
			r.texts[key] = text
		}
		return err
	})
}

// getSysctl reads one plain key. go-sysctl reads by os.ReadFile, whose first buffer has 512 bytes; but the kernel answers
// the first read(2) only and cuts its answer to the buffer (proc_do_large_bitmap, proc_dointvec in kernel/sysctl.c), so a
// long list of reserved ports would come back short, without an error. What may have been cut is read anew.
func getSysctl(client *sysctl.Client, key string) sysctlText {
	const mayBeCut = 256
	text, err := client.Get(key)
	if err == nil && len(text) >= mayBeCut {
		text, err = readOnce(procSys + "/" + strings.ReplaceAll(key, ".", "/"))
	}
	return sysctlText{text, err}
}

// readOnce reads a file of /proc/sys by one read(2). The longest text is that of 65536 port bits, below 256 KiB.
func readOnce(file string) (string, error) {
	fd, err := unix.Open(file, readFlags, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: file, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 512<<10)
	n, err := readSome(fd, buf)
	switch {
	case err != nil:
		return "", &fs.PathError{Op: "read", Path: file, Err: err}
	case n == len(buf):
		return "", tooLarge(file, int64(len(buf)))
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

func encodeSysctl(key string, s sysctlText) []byte {
	var path *fs.PathError
	switch {
	case s.err == nil:
		return []byte(key + "=" + s.text)
	case errors.Is(s.err, fs.ErrNotExist):
		return []byte(key + "!absent")
	case errors.Is(s.err, fs.ErrPermission):
		return []byte(key + "!denied")
	case errors.As(s.err, &path):
		return []byte(key + "!failed " + path.Err.Error())
	}
	return []byte(key + "!failed " + s.err.Error())
}

func decodeSysctl(piece string) (key string, s sysctlText, err error) {
	at := strings.IndexAny(piece, "=!")
	if at < 0 {
		return "", s, fmt.Errorf("record of kernel parameters %q", piece)
	}
	key = piece[:at]
	if piece[at] == '=' {
		return key, sysctlText{text: piece[at+1:]}, nil
	}
	switch kind, message, _ := strings.Cut(piece[at+1:], " "); kind {
	case "absent":
		s.err = fs.ErrNotExist
	case "denied":
		s.err = fs.ErrPermission
	case "failed":
		s.err = errors.New(message)
	default:
		err = fmt.Errorf("record of kernel parameters %q", piece)
	}
	return key, s, err
}

// fact reads a key that was not asked for as a file, and gives the text its type. Odd is what nobody expects and a report
// should tell; that nobody may read some key, or that a capture lacks it, is told by the rules that need the key.
func (r *sysctlReader) fact(k sysctlKey) (fact advisor.Fact, odd bool) {
	file, err := sysctlPath(k.name)
	origin := advisor.Origin{Path: file}
	switch {
	case err != nil:
		return advisor.Unknown(err.Error(), advisor.Origin{Path: procSys}), true
	case isSecret(k.name):
		return advisor.Unknown("a secret: never read", origin), false
	}
	s, asked := r.texts[k.name]
	if !asked {
		const most = 1 << 20
		data, err := r.t.read(file, most)
		s = sysctlText{strings.TrimSpace(string(data)), err}
	}
	if s.err == nil {
		return sysctlFact(k.kind, s.text, origin)
	}
	return r.missing(file, s.err)
}

// missing is the fact of a key whose file gave no text.
func (r *sysctlReader) missing(file string, err error) (fact advisor.Fact, odd bool) {
	origin := advisor.Origin{Path: file}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return advisor.Unknown(runAsRoot, origin), false
	case errors.Is(err, errNotCaptured):
		return advisor.Unknown(errNotCaptured.Error(), origin), false
	case !errors.Is(err, fs.ErrNotExist):
		return advisor.Unknown(err.Error(), origin), true
	case r.t.source() == "root" && !r.hasDir(path.Dir(file)):
		return advisor.Unknown("this directory holds a part of /proc/sys only", origin), false
	}
	return advisor.Absent("this kernel has no such key", origin), false
}

// hasDir tells a key that the kernel lacked from one that nobody copied into the directory.
func (r *sysctlReader) hasDir(dir string) bool {
	has, known := r.dirs[dir]
	if !known {
		has = exists(r.t, dir)
		r.dirs[dir] = has
	}
	return has
}

// sysctlFact gives the text its type. A number beyond 63 bits is unknown, not unlimited: kernel.shmmax starts at
// 18446744073692774399 because its authors meant "no limit in practice" (include/uapi/linux/shm.h), but in another key such
// a number is one that somebody typed. As that default is on each host, it is not odd.
func sysctlFact(kind advisor.Type, text string, origin advisor.Origin) (fact advisor.Fact, odd bool) {
	v, err := advisor.ParseValue(kind, text)
	if err == nil {
		return advisor.Known(v, origin), false
	}
	if kind == advisor.TypeInteger || kind == advisor.TypeTuple {
		for field := range strings.FieldsSeq(text) {
			if isHuge(field) {
				return advisor.Unknown(field+" does not fit into 63 bits", origin), false
			}
		}
	}
	return advisor.Unknown(notUnderstood([]byte(text)), origin), true
}

// isHuge reports whether s is a number of the kernel's that only fits unsigned.
func isHuge(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	_, errSigned := strconv.ParseInt(s, 10, 64)
	return err == nil && errSigned != nil
}

// isPlain reports whether go-sysctl finds the file of a key: it makes each dot a slash, so a name with the dot of an
// interface in it has no spelling that it understands.
func isPlain(key string) bool {
	for _, p := range []string{"net.ipv4.conf.", "net.ipv6.conf.", "net.ipv4.neigh.", "net.ipv6.neigh.", "net.mpls.conf."} {
		if strings.HasPrefix(key, p) {
			return false
		}
	}
	_, err := sysctlPath(key)
	return err == nil && !strings.ContainsAny(key, "/=!")
}

// isSecret names the parameters whose value must not leave the machine: net.ipv4.tcp_fastopen_key, and
// net.ipv6.conf.*.stable_secret.
func isSecret(key string) bool {
	return strings.HasSuffix(key, "_key") || strings.HasSuffix(key, "_secret")
}

// sysctlPath is the file of a key, as sysctl(8) and systemd find it: where the first of both separators is a dot, dots
// part the names and a slash stands for a dot in a name; where it is a slash, the key is a path already.
func sysctlPath(key string) (string, error) {
	names := strings.Split(key, "/")
	if at := strings.IndexAny(key, "./"); at >= 0 && key[at] == '.' {
		names = strings.Split(key, ".")
		for i, name := range names {
			names[i] = strings.ReplaceAll(name, "/", ".")
		}
	}
	for _, name := range names {
		if name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0) || strings.ContainsRune(name, os.PathSeparator) {
			return "", fmt.Errorf("%q names no kernel parameter", key)
		}
	}
	return procSys + "/" + strings.Join(names, "/"), nil
}
