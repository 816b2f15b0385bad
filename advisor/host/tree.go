package host

import (
	"errors"
	"io/fs"
)

// tree is where collectors read: the live machine, a directory that holds a host's files, or a capture. Paths are
// absolute on the judged host ("/etc/sysctl.conf", "/proc/meminfo"); links are resolved as a chroot does: an absolute
// link restarts at the root and nothing outside is ever read.
type tree interface {
	// read returns the content of a regular file (files of /proc count). A file larger than limit bytes is errTooLarge,
	// never a shorter answer; a FIFO, device, socket or directory is errNotRegular.
	read(path string, limit int64) ([]byte, error)
	// list returns the names in a directory, sorted, without "." and "..".
	list(path string) ([]entry, error)
	// resolve follows all links and returns the path that they end at, as this host names it. A missing target is fs.ErrNotExist.
	resolve(path string) (string, error)
	// ask gets the answer of a source that is no file, under a stable name ("sock_diag/4/listen"). On the live machine
	// it calls live, which hands its answer over piece by piece; each piece reaches use as it comes and must not be kept.
	// A capture calls use with the recorded pieces and returns the recorded failure. A directory answers errNotLive.
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
)
