package host

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// tree is where collectors read: the live machine, a directory that holds a host's files, or a capture. Paths are
// absolute on the judged host ("/etc/sysctl.conf", "/proc/meminfo"); links are resolved as a chroot does: an absolute
// link restarts at the root and nothing outside is ever read. All methods are safe for concurrent use.
//
// A tree is one look at a host: a recording keeps the first answer for a path and gives it again, so that the replay
// is the same. A second sample is therefore an ask under its own name ("sample2/proc/net/snmp"), never a second read.
type tree interface {
	// read returns the content of a regular file (files of /proc count). A file larger than limit bytes is errTooLarge,
	// never a shorter answer; a FIFO, device, socket or directory is errNotRegular.
	read(path string, limit int64) ([]byte, error)
	// list returns the names in a directory, sorted, without "." and "..". Too many names are errTooLarge.
	list(path string) ([]entry, error)
	// resolve follows all links and returns the path that they end at, as this host names it. A missing target is
	// fs.ErrNotExist; but a link to /dev/null answers "/dev/null" even where the tree has no such device, for in an
	// image it is a mask all the same (sysctl.d(5)). On the live machine a link of /proc that is no path answers what
	// readlink(2) shows: "socket:[4711]", "/usr/bin/java (deleted)".
	resolve(path string) (string, error)
	// ask gets the answer of a source that is no file, under a stable name ("sock_diag/listen"). On the live machine
	// it calls live, which hands its answer over piece by piece; each piece reaches use as it comes and must not be kept.
	// A capture calls use with the recorded pieces and returns the recorded failure. A directory answers errNotLive.
	// When use fails, ask stops and returns that error as it is, whatever live makes of it.
	ask(name string, live func(emit func(piece []byte) error) error, use func(piece []byte) error) error
	// source is "live", "root" or "capture".
	source() string
}

// entry is one name in a directory.
type entry struct {
	Name string
	Type fs.FileMode // type bits only: fs.ModeDir, fs.ModeSymlink, ...; 0 for a regular file
}

// What a tree answers beside fs.ErrNotExist and fs.ErrPermission; test with errors.Is.
var (
	errTooLarge   = errors.New("larger than the limit")
	errNotRegular = errors.New("not a regular file")
	errNotLive    = errors.New("needs a running kernel")
	errOutside    = errors.New("too many links, or a link that leaves the root")
	// errNotCaptured is a question that the recording run never asked: the capture knows nothing, neither yes nor no.
	errNotCaptured = errors.New("not in this capture")
)

// tooLarge is the one wording of errTooLarge for contents, so that a replay says what the machine said.
func tooLarge(path string, limit int64) error {
	return fmt.Errorf("read %s: %w of %d bytes", path, errTooLarge, limit)
}

// checkPath refuses what no path on a host can be, before a tree spends a system call or a capture a record on it.
func checkPath(op, path string) error {
	const pathMax = 4096 // PATH_MAX of limits.h, with its final NUL
	if !strings.HasPrefix(path, "/") || len(path) >= pathMax || strings.IndexByte(path, 0) >= 0 {
		return &fs.PathError{Op: op, Path: path, Err: fs.ErrInvalid}
	}
	return nil
}
