package host

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A capture is a tar archive in gzip, in which a person sees at a glance what leaves his host:
//
//	manifest.json                   first
//	read/etc/sysctl.conf            the content of a file, masked
//	list/etc/sysctl.d%list          a directory: one line a name, the type before it
//	resolve/etc/localtime%link      where a path ends
//	failed/read/etc/shadow%error    kind and limit, then the message
//	ask/sock_diag/listen%1          pieces, each with its length before it (binary.Uvarint)
//	ask/sock_diag/listen%end        how the answer ended, written like a failure
//	end.json                        last: without it the archive was cut
//
// Paths are written so that no tool unpacks them elsewhere and no two collide: see escape.
const (
	captureFormat = "tcpadvise.capture/1"
	manifestName  = "manifest.json"
	endName       = "end.json"
	chunkSize     = 256 << 10 // pieces are gathered up to here: a tar header for each socket would be most of the archive
	makeNew       = "make a new one with: tcpadvise capture -o FILE"
)

// captureManifest says what a capture is.
type captureManifest struct {
	Format string    `json:"format"` // set by newRecorder
	Tool   string    `json:"tool"`   // version of tcpadvise
	Source string    `json:"source"` // live or root: what was recorded; set by newRecorder
	Time   time.Time `json:"time"`   // when it was recorded, whole seconds, UTC
}

type captureEnd struct {
	Entries int `json:"entries"` // before this one
}

// captureLimits bound what a capture may make of this machine's memory; what is recorded keeps to them too.
type captureLimits struct {
	total   int64 // bytes of all entries, unpacked
	entry   int64 // bytes of one
	names   int64 // bytes of all names: these are kept unpacked
	entries int
}

func defaultCaptureLimits() captureLimits {
	return captureLimits{total: 1 << 30, entry: 64 << 20, names: 128 << 20, entries: 1 << 19}
}

// spend takes one entry off the limits, and fails at the first that is used up.
func (l *captureLimits) spend(name string, size int64) error {
	l.total -= size
	l.names -= int64(len(name))
	l.entries--
	if size < 0 || size > l.entry || l.total < 0 || l.names < 0 || l.entries < 0 {
		return errCaptureLimit
	}
	return nil
}

var errCaptureLimit = errors.New("more than a capture may hold")

// record is what a tree answered: a payload or a failure.
type record struct {
	payload []byte
	packed  bool // payload is deflated
	fail    *failure
}

// recordKey is one question; op is "read", "list" or "resolve".
type recordKey struct{ op, path string }

// answers tells whether r is an answer under this limit: that a file is larger than 1 MiB says nothing about 2 MiB.
func (r record) answers(limit int64) bool {
	return r.fail == nil || r.fail.kind != kindTooLarge || r.fail.limit >= limit
}

// content is the answer to a read.
func (r record) content(path string, limit int64) ([]byte, error) {
	if r.fail != nil && r.fail.kind == kindTooLarge {
		return nil, tooLarge(path, limit)
	}
	b, err := r.unpack()
	if err == nil && int64(len(b)) > limit {
		return nil, tooLarge(path, limit)
	}
	return b, err
}

func (r record) names() ([]entry, error) {
	b, err := r.unpack()
	if err != nil {
		return nil, err
	}
	return decodeList(b)
}

func (r record) target() (string, error) {
	b, err := r.unpack()
	return string(b), err
}

// unpack returns a payload that is the caller's own.
func (r record) unpack() ([]byte, error) {
	if r.fail != nil {
		return nil, r.fail
	}
	if !r.packed {
		return append([]byte{}, r.payload...), nil
	}
	return io.ReadAll(flate.NewReader(bytes.NewReader(r.payload)))
}

// failure is a recorded error: the same words, and the same answer to errors.Is.
type failure struct {
	kind    string
	limit   int64 // of the read that failed with kindTooLarge
	message string
}

const (
	kindNone     = "ok"       // no failure: the end of a complete answer
	kindOther    = "other"    // a failure that nobody tests for
	kindStopped  = "stopped"  // the collector had heard enough: the rest of the answer is not known
	kindTooLarge = "toolarge" // see record.answers
)

type failureKind struct {
	name string
	is   error
}

// failureKinds are the errors that collectors test for.
func failureKinds() []failureKind {
	return []failureKind{
		{"notexist", fs.ErrNotExist},
		{"permission", fs.ErrPermission},
		{"invalid", fs.ErrInvalid},
		{kindTooLarge, errTooLarge},
		{"notregular", errNotRegular},
		{"notlive", errNotLive},
		{"outside", errOutside},
		{"notcaptured", errNotCaptured},
		{"canceled", context.Canceled},
		{"deadline", context.DeadlineExceeded},
	}
}

func newFailure(err error, limit int64) *failure {
	f := &failure{kind: kindOther, limit: limit, message: err.Error()}
	for _, k := range failureKinds() {
		if errors.Is(err, k.is) {
			f.kind = k.name
			break
		}
	}
	return f
}

func (f *failure) Error() string { return f.message }

func (f *failure) Unwrap() error {
	for _, k := range failureKinds() {
		if k.name == f.kind {
			return k.is
		}
	}
	return nil
}

// encode keeps the message as it is: it may name a path that is no UTF-8, which JSON would change.
func (f *failure) encode() []byte { return fmt.Appendf(nil, "%s %d\n%s", f.kind, f.limit, f.message) }

func decodeFailure(b []byte) (*failure, error) {
	head, message, ok := strings.Cut(string(b), "\n")
	kind, number, ok2 := strings.Cut(head, " ")
	limit, err := strconv.ParseInt(number, 10, 64)
	if !ok || !ok2 || err != nil || kind == "" {
		return nil, badCapture("a failure that is none")
	}
	return &failure{kind: kind, limit: limit, message: message}, nil
}

// typeLetters are those of ls(1), and "?" for what it has no letter for.
const typeLetters = "-dlpsbc?"

func letterTypes() []fs.FileMode {
	return []fs.FileMode{
		0, fs.ModeDir, fs.ModeSymlink, fs.ModeNamedPipe, fs.ModeSocket, fs.ModeDevice,
		fs.ModeDevice | fs.ModeCharDevice, fs.ModeIrregular,
	}
}

func encodeList(names []entry) []byte {
	var b []byte
	types := letterTypes()
	for _, n := range names {
		i := slices.Index(types, n.Type)
		if i < 0 {
			i = len(types) - 1
		}
		b = fmt.Appendf(b, "%c %s\n", typeLetters[i], escape(n.Name))
	}
	return b
}

func decodeList(b []byte) ([]entry, error) {
	names, types := []entry{}, letterTypes()
	for line := range strings.Lines(string(b)) {
		line, ok := strings.CutSuffix(line, "\n")
		letter, name, ok2 := strings.Cut(line, " ")
		i := strings.Index(typeLetters, letter)
		name, err := unescape(name)
		if !ok || !ok2 || len(letter) != 1 || i < 0 || err != nil || !nameable(name) {
			return nil, badCapture("a directory that is none")
		}
		names = append(names, entry{Name: name, Type: types[i]})
	}
	return names, nil
}

// nameable tells what readdir(3) can return, less "." and "..": a capture from elsewhere may claim anything.
func nameable(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.Contains(name, "/")
}

// escape writes a path or a name as printable ASCII without empty, "." and ".." components, so that tar(1) unpacks a
// capture nowhere but below itself: %XX for other bytes, %00 for an empty component (no path holds a NUL).
func escape(s string) string {
	parts := strings.Split(s, "/")
	for i, part := range parts {
		var b strings.Builder
		for _, c := range []byte(part) {
			if c <= ' ' || c >= 0x7f || c == '%' || part == "." || part == ".." {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
		parts[i] = b.String()
		if part == "" {
			parts[i] = "%00"
		}
	}
	return strings.Join(parts, "/")
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for rest := s; rest != ""; {
		if rest[0] != '%' {
			b.WriteByte(rest[0])
			rest = rest[1:]
			continue
		}
		if len(rest) < 3 {
			return "", badCapture("a broken name")
		}
		c, err := strconv.ParseUint(rest[1:3], 16, 8)
		if err != nil {
			return "", badCapture("a broken name")
		}
		if c != 0 {
			b.WriteByte(byte(c))
		}
		rest = rest[3:]
	}
	if out := b.String(); escape(out) == s { // one way to write a name, and none that leads out
		return out, nil
	}
	return "", badCapture("a broken name")
}

func (k recordKey) entryName(failed bool) string {
	name := k.op + "/" + escape(strings.TrimPrefix(k.path, "/"))
	if failed {
		return "failed/" + name + "%error"
	}
	return name + suffixOf(k.op)
}

// suffixOf keeps what is no file's content from standing where tar(1) must make a directory.
func suffixOf(op string) string {
	switch op {
	case "list":
		return "%list"
	case "resolve":
		return "%link"
	}
	return ""
}

// recorder is a tree that writes down what another answers. What it hands on is what it wrote, masked alike.
type recorder struct {
	inner tree
	mask  func(path string, content []byte) []byte
	path  string

	mu      sync.Mutex // guards what follows; never held while the inner tree or a collector runs
	file    *os.File   // the temporary file; nil once closed
	zip     *gzip.Writer
	tar     *tar.Writer
	stamp   time.Time
	left    captureLimits
	entries int
	seen    map[recordKey]record
	asked   map[string]*asked
	err     error // the first failure to write: nothing is written after it
}

// asked is one source that was asked; the first who asks records, the others wait.
type asked struct {
	done chan struct{} // closed when end is set and all is written
	end  *failure      // kindNone where it ended well
}

// newRecorder begins a capture of what inner answers. The archive appears under path when Close succeeds, never before
// and never in part. mask gets each content before anyone else does; nil masks nothing.
func newRecorder(inner tree, path string, manifest captureManifest, mask func(path string, content []byte) []byte) (*recorder, error) {
	if err := checkTarget(path); err != nil {
		return nil, fmt.Errorf("capture %s: %w", path, err)
	}
	// CreateTemp makes the file with mode 0600, and rename(2) keeps it: a capture tells much about a host.
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", path, cause(err))
	}
	manifest.Format, manifest.Source = captureFormat, inner.source()
	manifest.Time = manifest.Time.UTC().Truncate(time.Second)
	zip := gzip.NewWriter(file) // without a name and a time of its own, so that equal runs make equal bytes
	r := &recorder{
		inner: inner, mask: mask, path: path, file: file, zip: zip, tar: tar.NewWriter(zip),
		stamp: manifest.Time, left: defaultCaptureLimits(), seen: map[recordKey]record{}, asked: map[string]*asked{},
	}
	r.writeJSON(manifestName, manifest)
	if r.err != nil {
		err := r.err
		r.Abort()
		return nil, fmt.Errorf("capture %s: %w", path, err)
	}
	return r, nil
}

// checkTarget keeps rename(2) from replacing what is no file: as root, "-o /dev/null" would end that device.
func checkTarget(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%w, and would be replaced: name a new file", errNotRegular)
	}
	return nil
}

func (r *recorder) source() string { return r.inner.source() }

func (r *recorder) read(path string, limit int64) ([]byte, error) {
	if err := checkPath("read", path); err != nil {
		return nil, err
	}
	return r.once(recordKey{"read", path}, limit, func() ([]byte, error) {
		b, err := r.inner.read(path, limit)
		if err == nil && r.mask != nil {
			b = r.mask(path, b)
		}
		return b, err
	}).content(path, limit)
}

func (r *recorder) list(path string) ([]entry, error) {
	if err := checkPath("list", path); err != nil {
		return nil, err
	}
	return r.once(recordKey{"list", path}, 0, func() ([]byte, error) {
		names, err := r.inner.list(path)
		return encodeList(names), err
	}).names()
}

func (r *recorder) resolve(path string) (string, error) {
	if err := checkPath("resolve", path); err != nil {
		return "", err
	}
	return r.once(recordKey{"resolve", path}, 0, func() ([]byte, error) {
		target, err := r.inner.resolve(path)
		return []byte(target), err
	}).target()
}

// once returns the first answer to a question, and writes it when it is new. Two may ask at once: the first to come
// back is the answer for both, for a replay has only one.
func (r *recorder) once(k recordKey, limit int64, get func() ([]byte, error)) record {
	if rec, ok := r.known(k, limit); ok {
		return rec
	}
	var rec record
	payload, err := get()
	if err != nil {
		rec.fail = newFailure(err, limit)
	} else {
		rec.payload = payload
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first, ok := r.seen[k]; ok && first.answers(limit) {
		return first
	}
	r.seen[k] = rec
	if rec.fail != nil {
		payload = rec.fail.encode()
	}
	r.write(k.entryName(rec.fail != nil), payload)
	return rec
}

func (r *recorder) known(k recordKey, limit int64) (record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.seen[k]
	return rec, ok && rec.answers(limit)
}

func (r *recorder) ask(name string, live func(emit func(piece []byte) error) error, use func(piece []byte) error) error {
	if err := checkAsk(name); err != nil {
		return err
	}
	r.mu.Lock()
	a, again := r.asked[name]
	if !again {
		a = &asked{done: make(chan struct{}), end: &failure{kind: kindOther, message: "ask " + name + ": broken off"}}
		r.asked[name] = a
	}
	r.mu.Unlock()
	if again {
		<-a.done
		return r.askAgain(name, a, use)
	}
	defer close(a.done)
	return r.askFirst(name, a, live, use)
}

func (r *recorder) askFirst(name string, a *asked, live func(emit func(piece []byte) error) error, use func(piece []byte) error) error {
	var chunk []byte
	var stopped error
	chunks := 0
	flush := func() {
		chunks++
		r.writeLocked(chunkName(name, chunks), chunk)
		chunk = chunk[:0]
	}
	err := r.inner.ask(name, live, func(piece []byte) error {
		if stopped != nil {
			return stopped
		}
		chunk = append(binary.AppendUvarint(chunk, uint64(len(piece))), piece...)
		if len(chunk) >= chunkSize {
			flush()
		}
		stopped = use(piece)
		return stopped
	})
	if len(chunk) > 0 {
		flush()
	}
	switch {
	case stopped != nil:
		a.end = &failure{kind: kindStopped}
	case err != nil:
		a.end = newFailure(err, 0)
	default:
		a.end = &failure{kind: kindNone}
	}
	r.writeLocked(endOfAsk(name), a.end.encode())
	if stopped != nil {
		return stopped
	}
	return a.end.orNil(name)
}

// orNil is the error that ends an answer.
func (f *failure) orNil(name string) error {
	switch f.kind {
	case kindNone:
		return nil
	case kindStopped:
		return &fs.PathError{Op: "ask", Path: name, Err: errNotCaptured}
	}
	return f
}

// askAgain answers from what is written already: to keep the pieces in memory for this rare case would cost too much.
func (r *recorder) askAgain(name string, a *asked, use func(piece []byte) error) error {
	file, err := r.flushed()
	if err != nil {
		return fmt.Errorf("ask %s: reading the recording back: %w", name, err)
	}
	chunks, whole := 0, false
	err = scanCapture(file, defaultCaptureLimits(), func(entryName string, body io.Reader) error {
		if entryName == endOfAsk(name) {
			whole = true
			return io.EOF // any error ends the scan: the archive has no end of its own yet
		}
		if entryName != chunkName(name, chunks+1) {
			return nil
		}
		chunks++
		b, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		return eachPiece(b, use)
	})
	if whole {
		return a.end.orNil(name)
	}
	return err
}

func (r *recorder) flushed() (io.Reader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, r.err
	}
	if r.file == nil {
		return nil, os.ErrClosed
	}
	if err := r.tar.Flush(); err != nil {
		return nil, err
	}
	if err := r.zip.Flush(); err != nil {
		return nil, err
	}
	size, err := r.file.Seek(0, io.SeekCurrent)
	return io.NewSectionReader(r.file, 0, size), err
}

func chunkName(ask string, n int) string { return "ask/" + escape(ask) + "%" + strconv.Itoa(n) }

func endOfAsk(ask string) string { return "ask/" + escape(ask) + "%end" }

func checkAsk(name string) error {
	if name == "" || strings.IndexByte(name, 0) >= 0 {
		return &fs.PathError{Op: "ask", Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

func (r *recorder) writeLocked(name string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write(name, body)
}

func (r *recorder) writeJSON(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		r.err = err
		return
	}
	r.write(name, append(b, '\n'))
}

// write adds one entry. A failure does not disturb the collectors: it waits for Close.
func (r *recorder) write(name string, body []byte) {
	if r.err != nil || r.file == nil {
		return
	}
	if r.err = r.left.spend(name, int64(len(body))); r.err != nil {
		return
	}
	r.entries++
	head := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o600, ModTime: r.stamp}
	if r.err = r.tar.WriteHeader(head); r.err == nil {
		_, r.err = r.tar.Write(body)
	}
}

// Close ends the capture and puts it in its place. After an error nothing is left of it.
func (r *recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return fmt.Errorf("capture %s: %w", r.path, os.ErrClosed)
	}
	for name, a := range r.asked {
		select {
		case <-a.done:
		default:
			r.fail(fmt.Errorf("closed while %s is being read", name))
		}
	}
	r.writeJSON(endName, captureEnd{Entries: r.entries})
	for _, end := range []func() error{r.tar.Close, r.zip.Close, r.file.Sync} {
		if r.err == nil {
			r.err = end()
		}
	}
	r.fail(r.file.Close())
	temp := r.file.Name()
	r.file = nil
	if r.err == nil {
		r.err = os.Rename(temp, r.path)
	}
	if r.err != nil {
		os.Remove(temp)
		return fmt.Errorf("capture %s: %w", r.path, r.err)
	}
	syncDir(filepath.Dir(r.path))
	return nil
}

func (r *recorder) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// syncDir makes the new name outlive a power cut: fsync(2) of the file does not. Some file systems refuse it, and the
// capture is whole without it.
func syncDir(path string) {
	if dir, err := os.Open(path); err == nil {
		_ = dir.Sync()
		dir.Close()
	}
}

// Abort gives the capture up and removes what was written. After Close it does nothing, so that it can be deferred.
func (r *recorder) Abort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return
	}
	r.file.Close()
	os.Remove(r.file.Name())
	r.file = nil
}

// captureTree replays a capture. It holds all of it, packed: no more memory than the archive's own size or so, and
// nothing that happens to the file later changes an answer.
type captureTree struct {
	from    captureManifest
	records map[recordKey]record
	asks    map[string]*askRecord
}

type askRecord struct {
	chunks []record
	end    *failure // nil until it was read
}

// badCapture is what is wrong with an archive that is no capture as we write it.
type badCapture string

func (b badCapture) Error() string { return string(b) }

// openCapture reads a whole capture and checks it.
func openCapture(path string) (*captureTree, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", path, cause(err))
	}
	defer file.Close()
	c, err := readCapture(file, defaultCaptureLimits())
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", path, explainCapture(err))
	}
	return c, nil
}

// explainCapture tells the user what to do.
func explainCapture(err error) error {
	var newer newerCapture
	var read *fs.PathError
	switch {
	case errors.As(err, &read): // the disk, or a directory: that is no matter of the format
		return read.Err
	case errors.As(err, &newer):
		return fmt.Errorf("has the format %.40q of a newer tcpadvise: update tcpadvise, or %s", string(newer), makeNew)
	case errors.Is(err, errNoCapture):
		return fmt.Errorf("not a capture of tcpadvise: %s", makeNew)
	case errors.Is(err, errCaptureLimit):
		return fmt.Errorf("%w (%d MiB unpacked): %s", err, defaultCaptureLimits().total>>20, makeNew)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("cut short: copy it again, or %s", makeNew)
	}
	return fmt.Errorf("damaged (%w): copy it again, or %s", err, makeNew)
}

type newerCapture string

func (n newerCapture) Error() string { return "newer format" }

var errNoCapture = errors.New("not a capture")

func readCapture(file io.Reader, limits captureLimits) (*captureTree, error) {
	c := &captureReader{tree: &captureTree{records: map[recordKey]record{}, asks: map[string]*askRecord{}}}
	if err := scanCapture(file, limits, c.take); err != nil {
		if c.entries == 0 && (errors.Is(err, gzip.ErrHeader) || errors.Is(err, tar.ErrHeader)) {
			return nil, errNoCapture
		}
		return nil, err
	}
	if !c.ended {
		return nil, io.ErrUnexpectedEOF
	}
	for _, a := range c.tree.asks {
		if a.end == nil {
			return nil, badCapture("an answer without its end")
		}
	}
	return c.tree, nil
}

// scanCapture hands over the entries of an archive until its end or the first error. It never unpacks more than limits.
func scanCapture(file io.Reader, limits captureLimits, take func(name string, body io.Reader) error) error {
	zip, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	// Beside its content and its name an entry needs less than 3 KiB, for padding, header and PAX header; the rest is a bomb.
	bounded := &boundedReader{r: zip, left: limits.total + limits.names + 3<<10*int64(limits.entries+1)}
	archive := tar.NewReader(bounded)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, bounded) // to the checksum: gzip tells only there that all is as it was
			return err
		}
		if err != nil {
			return err
		}
		if head.Typeflag != tar.TypeReg {
			return badCapture("an entry that is no file")
		}
		// The size in the header counts, not what the archive spends on it: a sparse entry is a bomb of its own.
		if err := limits.spend(head.Name, head.Size); err != nil {
			return err
		}
		if err := take(head.Name, archive); err != nil {
			return err
		}
	}
}

// boundedReader fails where io.LimitedReader would feign an end.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errCaptureLimit
	}
	return n, err
}

// captureReader builds a captureTree from its entries.
type captureReader struct {
	tree    *captureTree
	entries int
	ended   bool
	deflate *flate.Writer // one for all: it weighs more than most payloads
}

func (c *captureReader) take(name string, body io.Reader) error {
	b, err := io.ReadAll(body)
	switch {
	case err != nil:
		return err
	case c.ended:
		return badCapture("more after the end")
	case c.entries == 0:
		err = c.manifest(name, b)
	case name == endName:
		err = c.end(b)
	default:
		err = c.entry(name, b)
	}
	c.entries++
	return err
}

func (c *captureReader) manifest(name string, b []byte) error {
	const family = "tcpadvise.capture/"
	var format struct { // first, for a newer format may have changed the other fields
		Format string `json:"format"`
	}
	if name != manifestName || json.Unmarshal(b, &format) != nil || !strings.HasPrefix(format.Format, family) {
		return errNoCapture
	}
	if format.Format != captureFormat {
		return newerCapture(format.Format)
	}
	if err := json.Unmarshal(b, &c.tree.from); err != nil {
		return badCapture("a manifest that is none")
	}
	return nil
}

func (c *captureReader) end(b []byte) error {
	var end captureEnd
	if json.Unmarshal(b, &end) != nil || end.Entries != c.entries {
		return badCapture("entries are missing")
	}
	c.ended = true
	return nil
}

func (c *captureReader) entry(name string, b []byte) error {
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case "ask":
		return c.ask(rest, b)
	case "failed":
		op, path, _ := strings.Cut(rest, "/")
		path, ok := strings.CutSuffix(path, "%error")
		f, err := decodeFailure(b)
		if !ok || err != nil {
			return badCapture("a failure that is none")
		}
		return c.record(op, path, record{fail: f})
	case "list":
		if _, err := decodeList(b); err != nil {
			return err
		}
	}
	rest, ok := strings.CutSuffix(rest, suffixOf(kind))
	if !ok {
		return badCapture("a broken name")
	}
	return c.record(kind, rest, c.pack(b))
}

// record keeps the answer to a question. A later one replaces it: it is the answer under a larger limit.
func (c *captureReader) record(op, escaped string, rec record) error {
	path, err := unescape(escaped)
	if err != nil {
		return err
	}
	k := recordKey{op, "/" + path}
	if err := checkPath(op, k.path); err != nil || !slices.Contains([]string{"read", "list", "resolve"}, op) {
		return badCapture("a broken name")
	}
	c.tree.records[k] = rec
	return nil
}

func (c *captureReader) ask(rest string, b []byte) error {
	i := strings.LastIndexByte(rest, '%')
	if i < 0 {
		return badCapture("a broken name")
	}
	name, err := unescape(rest[:i])
	if err != nil || checkAsk(name) != nil {
		return badCapture("a broken name")
	}
	a := c.tree.asks[name]
	if a == nil {
		a = &askRecord{}
		c.tree.asks[name] = a
	}
	switch {
	case a.end != nil:
		return badCapture("an answer goes on after its end")
	case rest[i:] == "%end":
		a.end, err = decodeFailure(b)
		return err
	case rest[i+1:] != strconv.Itoa(len(a.chunks)+1):
		return badCapture("a part of an answer is missing")
	}
	if err := eachPiece(b, func([]byte) error { return nil }); err != nil {
		return err
	}
	a.chunks = append(a.chunks, c.pack(b))
	return nil
}

// pack keeps a payload deflated where that pays, so that an archive that unpacks to much does not fill the memory.
func (c *captureReader) pack(b []byte) record {
	const worthIt = 1 << 10
	if len(b) < worthIt {
		return record{payload: b}
	}
	var out bytes.Buffer
	if c.deflate == nil {
		c.deflate, _ = flate.NewWriter(&out, flate.BestSpeed) // fails only for a level that there is not
	} else {
		c.deflate.Reset(&out)
	}
	_, _ = c.deflate.Write(b) // a bytes.Buffer takes all
	_ = c.deflate.Close()
	return record{payload: bytes.Clone(out.Bytes()), packed: true}
}

// eachPiece takes a chunk apart; the pieces are slices of it.
func eachPiece(chunk []byte, use func(piece []byte) error) error {
	for len(chunk) > 0 {
		size, n := binary.Uvarint(chunk)
		if n <= 0 || size > uint64(len(chunk)-n) {
			return badCapture("a piece that is longer than its entry")
		}
		if err := use(chunk[n : n+int(size)]); err != nil {
			return err
		}
		chunk = chunk[n+int(size):]
	}
	return nil
}

func (c *captureTree) manifest() captureManifest { return c.from }

func (c *captureTree) source() string { return "capture" }

func (c *captureTree) read(path string, limit int64) ([]byte, error) {
	rec, err := c.find("read", path, limit)
	if err != nil {
		return nil, err
	}
	return rec.content(path, limit)
}

func (c *captureTree) list(path string) ([]entry, error) {
	rec, err := c.find("list", path, 0)
	if err != nil {
		return nil, err
	}
	return rec.names()
}

func (c *captureTree) resolve(path string) (string, error) {
	rec, err := c.find("resolve", path, 0)
	if err != nil {
		return "", err
	}
	return rec.target()
}

func (c *captureTree) find(op, path string, limit int64) (record, error) {
	if err := checkPath(op, path); err != nil {
		return record{}, err
	}
	rec, ok := c.records[recordKey{op, path}]
	if !ok || !rec.answers(limit) {
		return record{}, &fs.PathError{Op: op, Path: path, Err: errNotCaptured}
	}
	return rec, nil
}

func (c *captureTree) ask(name string, _ func(emit func(piece []byte) error) error, use func(piece []byte) error) error {
	if err := checkAsk(name); err != nil {
		return err
	}
	a, ok := c.asks[name]
	if !ok {
		return &fs.PathError{Op: "ask", Path: name, Err: errNotCaptured}
	}
	for _, chunk := range a.chunks {
		b, err := chunk.unpack()
		if err != nil {
			return err
		}
		if err := eachPiece(b, use); err != nil {
			return err
		}
	}
	return a.end.orNil(name)
}
