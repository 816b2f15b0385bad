package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// nginxConf is one configuration of nginx: the main file with all that it includes, and what its blocks come to.
type nginxConf struct {
	tree    tree // nil: a file that is judged alone, whose includes are not followed
	main    string
	prefix  string // the directory that relative includes start from: the main file's
	version productVersion
	files   map[string]*nginxFile
	gaps    []advisor.Gap
	bytes   int64
	visited int
	open    []string // files being read, outermost first, to see an include that leads back

	fragment  bool   // a file for inside http, server or location: the blocks around it are in other files
	assumed   string // an include between http and server that was not read; empty: none
	events    *nginxScope
	root      *nginxScope
	upstreams []*nginxUpstream // as they are defined, then those that only a proxy_pass names
	byName    map[string]*nginxUpstream
	proxied   map[nginxProxied]*nginxGroup
	groups    []*nginxGroup // in order
	settings  map[nginxWritten]*nginxSetting
	written   []*nginxSetting // in order
	listens   map[string]*nginxListen
	listened  []*nginxListen // in order
	logs      map[string]bool
	whole     bool // keep each line that a setting stands in, and each block that proxies, not the first alone: to edit them
}

// keepsAlive: since 1.29.7 proxied connections are HTTP/1.1, no "Connection: close" is sent, and upstream blocks keep 32 idle
// connections (commit 4fbe4b62746f, https://nginx.org/en/CHANGES).
func (c *nginxConf) keepsAlive() bool { return c.version.notBefore(1, 29, 7) }

// Limits: hosters' trees of 15,000 servers stay far below.
const (
	nginxFileLimit  = fileLimit
	nginxTotalLimit = 512 << 20
	nginxMaxFiles   = 50_000
	nginxMaxVisited = 20_000_000 // directives, counted each time that they are included
	nginxMaxOpen    = 50         // files within one another
)

// nginxFile is one file, parsed.
type nginxFile struct {
	path    string
	syntax  *conf.Nginx
	data    []byte // as it was parsed
	shown   []byte // of a template as it was written; else nil
	lines   *conf.LineIndex
	markers []conf.Marker
	unread  string // why it could not be read; empty: it could

	line, column int // where it is not understood
}

func (f *nginxFile) origin(s conf.Span) advisor.Origin {
	if f.lines == nil {
		x := conf.IndexLines(f.data)
		f.lines = &x
	}
	line, column := f.lines.Position(s.Start)
	return advisor.Origin{Path: f.path, Line: line, Column: column, Start: s.Start, End: s.End}
}

// filled reports whether a template fills in a part of a span.
func (f *nginxFile) filled(s conf.Span) bool {
	return slices.ContainsFunc(f.markers, func(m conf.Marker) bool { return m.Span.Start < s.End && s.Start < m.Span.End })
}

// nginxRef is a directive in a file; the zero nginxRef is none.
type nginxRef struct {
	file *nginxFile
	at   int
}

func (r nginxRef) set() bool { return r.file != nil }

func (r nginxRef) arg(n int) string { return r.file.syntax.Arg(r.at, n) }

func (r nginxRef) origin(n int) advisor.Origin { return r.file.origin(r.file.syntax.ArgSpan(r.at, n)) }

// text is an argument, or why its value cannot be known.
func (r nginxRef) text(n int) (value, unknown string) {
	value = r.arg(n)
	switch {
	case len(r.file.markers) > 0 && !r.file.syntax.HasBlock(r.at) && r.file.filled(r.file.syntax.Span(r.at)):
		return "", "a template fills it in"
	case n > r.file.syntax.Args(r.at):
		return "", "the value is missing"
	case strings.Contains(value, "$"):
		return value, "a variable decides it: " + value
	}
	return value, ""
}

// label is an argument as a person wrote it.
func (r nginxRef) label(n int) string {
	if r.file.shown == nil || n > r.file.syntax.Args(r.at) {
		return r.arg(n)
	}
	s := r.file.syntax.ArgSpan(r.at, n)
	return string(r.file.shown[s.Start:s.End])
}

// The settings that blocks inherit.
const (
	nginxHTTPVersion = iota
	nginxProxyRead
	nginxProxySend
	nginxProxyConnect
	nginxIgnoreAbort
	nginxKeepalive
	nginxKeepaliveRequests
	nginxInherited // how many
)

// nginxWord is what a directive means here.
type nginxWord uint8

const (
	nginxOther nginxWord = iota
	nginxInclude
	nginxHeader
	nginxPass
	nginxListenWord
	nginxServerName
	nginxLog
	nginxMainWord // one of the main or events level
	nginxServerLine
	nginxWords // from here on: nginxWords + an inherited setting
)

var nginxMeaning = map[string]nginxWord{
	"include": nginxInclude, "proxy_set_header": nginxHeader, "proxy_pass": nginxPass, "listen": nginxListenWord, "server_name": nginxServerName,
	"access_log": nginxLog, "error_log": nginxLog, "server": nginxServerLine,
	"worker_processes": nginxMainWord, "worker_connections": nginxMainWord, "worker_rlimit_nofile": nginxMainWord, "keepalive": nginxMainWord,
	"proxy_http_version": nginxWords + nginxHTTPVersion, "proxy_read_timeout": nginxWords + nginxProxyRead,
	"proxy_send_timeout": nginxWords + nginxProxySend, "proxy_connect_timeout": nginxWords + nginxProxyConnect,
	"proxy_ignore_client_abort": nginxWords + nginxIgnoreAbort, "keepalive_timeout": nginxWords + nginxKeepalive,
	"keepalive_requests": nginxWords + nginxKeepaliveRequests,
}

// nginxScope is a block with what holds in it.
type nginxScope struct {
	parent *nginxScope
	kind   string // "main", or the name of the block
	label  string // of a server its first name, of a location its pattern, of an upstream its name
	at     nginxRef
	depth  int
	values [nginxInherited]nginxRef // inherited or its own
	// proxy_set_header is inherited as a whole, and only by a block that has none of its own.
	headers, connection, upgrade nginxRef
	own                          bool                // headers are its own
	names                        map[string]nginxRef // worker_connections and their like
	servers                      []nginxRef          // lines of an upstream
	listens                      []nginxRef
	written                      []nginxRef // inherited settings that stand here
	passes                       nginxRef
	blocks                       []nginxRef
	unread                       string // a file included here that was not read; inherited by the blocks inside
}

func (s *nginxScope) child(at nginxRef) *nginxScope {
	c := &nginxScope{
		parent: s, kind: at.file.syntax.Name(at.at), at: at, depth: s.depth + 1, values: s.values,
		headers: s.headers, connection: s.connection, upgrade: s.upgrade, unread: s.unread,
	}
	switch c.kind {
	case "location":
		c.label = at.label(at.file.syntax.Args(at.at))
	case "upstream":
		c.label = at.label(1)
	}
	return c
}

// name is what a person calls a block: "server example.com, location /api".
func (s *nginxScope) name() string {
	var parts []string
	for ; s != nil && s.parent != nil; s = s.parent {
		if s.kind == "http" && len(parts) > 0 {
			break
		}
		parts = append(parts, strings.TrimSpace(s.kind+" "+s.label))
	}
	slices.Reverse(parts)
	if len(parts) == 0 {
		return "outside of all blocks"
	}
	return strings.Join(parts, ", ")
}

// nginxUpstream is a group of servers that requests are proxied to.
type nginxUpstream struct {
	name   string
	scope  *nginxScope // nil: an address that a proxy_pass names
	at     nginxRef    // the block, or the proxy_pass
	absent string      // why a block of that name may be in a file that was not read; empty: there is none, or it is here
	groups []*nginxGroup
}

// nginxProxied is what tells one group of proxied locations from another.
type nginxProxied struct {
	target, version, connection    string
	read, send, connect, ignore    string
	unknownVersion, unknownHeaders string
}

// nginxGroup is the locations, or ifs, that proxy to one target in one way.
type nginxGroup struct {
	nginxProxied
	scope *nginxScope   // the first of them
	more  []*nginxScope // the others, where the whole is kept
	count int
	why   string // why the target is not known; empty: it is
}

// nginxWritten tells one kind of written setting from another.
type nginxWritten struct {
	path, name, value, context string
	upgrade                    bool
}

// nginxSetting is a setting as it is written, in one file perhaps many times over.
type nginxSetting struct {
	nginxWritten
	ref   nginxRef   // the first
	more  []nginxRef // the others, where the whole is kept
	scope *nginxScope
	count int
}

// nginxListen is an address that servers listen on.
type nginxListen struct {
	name     string
	protocol string   // http, stream or mail
	ref      nginxRef // the line with the backlog, else the first
	backlog  nginxRef // zero: none is written
	servers  int
	ssl      bool
}

// load reads and parses a file once.
func (c *nginxConf) load(name string) *nginxFile {
	if f := c.files[name]; f != nil {
		return f
	}
	f := &nginxFile{path: name}
	c.files[name] = f
	data, err := c.tree.read(name, nginxFileLimit)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		f.unread = "no such file"
	case errors.Is(err, fs.ErrPermission):
		f.unread = "permission denied: run as root"
	case errors.Is(err, errNotRegular):
		f.unread = "is no regular file"
	case errors.Is(err, errTooLarge):
		f.unread = "is larger than " + advisor.FormatBytes(nginxFileLimit)
	default:
		f.unread = err.Error()
	}
	if c.bytes += int64(len(data)); c.bytes > nginxTotalLimit {
		f.unread = "the configuration is larger than " + advisor.FormatBytes(nginxTotalLimit)
	}
	if f.unread != "" {
		c.gap(name, f.unread)
		return f
	}
	c.parse(f, data)
	return f
}

// parse parses a file; what it is not understood for is a gap at its place.
func (c *nginxConf) parse(f *nginxFile, data []byte) {
	var err error
	f.data = data
	if f.markers == nil {
		f.syntax, err = conf.ParseNginx(data)
	} else {
		f.data, f.shown = conf.HideMarkers(data, f.markers, 'x'), data
		f.syntax, err = conf.ParseNginxTemplate(f.data)
	}
	var syntax *conf.NginxError
	if errors.As(err, &syntax) {
		f.unread, f.line, f.column = syntax.Message, syntax.Line, syntax.Column
		c.note(advisor.Gap{Source: fmt.Sprintf("%s:%d:%d", f.path, syntax.Line, syntax.Column), Why: syntax.Message, Broken: true})
	}
}

func (c *nginxConf) gap(source, why string) { c.note(advisor.Gap{Source: source, Why: why}) }

func (c *nginxConf) note(gap advisor.Gap) {
	if !slices.Contains(c.gaps, gap) {
		c.gaps = append(c.gaps, gap)
	}
}

// read reads the configuration from its main file on.
func (c *nginxConf) read() {
	c.prepare()
	f := c.load(c.main)
	if f.unread != "" {
		return
	}
	c.open = []string{c.main}
	c.block(c.root, f)
}

func (c *nginxConf) prepare() {
	c.files = map[string]*nginxFile{}
	c.byName = map[string]*nginxUpstream{}
	c.proxied = map[nginxProxied]*nginxGroup{}
	c.settings = map[nginxWritten]*nginxSetting{}
	c.listens = map[string]*nginxListen{}
	c.logs = map[string]bool{}
	c.root = &nginxScope{kind: "main"}
}

// block takes in all of a block, then the blocks inside: what stands behind an inner block holds in it as well.
func (c *nginxConf) block(s *nginxScope, f *nginxFile) {
	c.scan(s, f, s.at.block())
	c.settle(s)
	if s.depth > 200 {
		c.gap(f.path, "blocks are nested deeper than 200")
		return
	}
	for _, at := range s.blocks {
		switch child := s.child(at); child.kind {
		case "events":
			c.events = child
			c.block(child, at.file)
		case "http", "server", "location", "if", "limit_except", "stream", "mail", "upstream":
			c.block(child, at.file)
		}
	}
}

// block is the number of the block that a reference leads to; -1 is the whole file.
func (r nginxRef) block() int {
	if r.file == nil {
		return -1
	}
	return r.at
}

// scan takes in the directives of a block, or of a file that is included there.
func (c *nginxConf) scan(s *nginxScope, f *nginxFile, block int) {
	for i := range f.syntax.Block(block) {
		if c.visited++; c.visited > nginxMaxVisited {
			c.gap(c.main, "the includes lead to more directives than a person can mean: read up to a part")
			s.unread = "the configuration was read in part only"
			return
		}
		ref := nginxRef{f, i}
		name := f.syntax.Name(i)
		meaning := nginxMeaning[name]
		if f.syntax.HasBlock(i) {
			s.blocks = append(s.blocks, ref)
			continue
		}
		switch meaning {
		case nginxOther:
		case nginxInclude:
			c.include(s, ref)
		case nginxHeader:
			s.header(ref)
		case nginxPass:
			s.passes = ref
		case nginxListenWord:
			s.listens = append(s.listens, ref)
		case nginxServerName:
			if s.label == "" {
				s.label = ref.label(1)
			}
		case nginxLog:
			c.logs[ref.arg(1)] = true
		case nginxMainWord:
			s.setName(name, ref)
		case nginxServerLine:
			s.servers = append(s.servers, ref)
		default:
			if s.kind == "upstream" {
				s.setName(name, ref)
				continue
			}
			s.values[meaning-nginxWords] = ref
			s.written = append(s.written, ref)
		}
	}
}

func (s *nginxScope) setName(name string, ref nginxRef) {
	if s.names == nil {
		s.names = map[string]nginxRef{}
	}
	s.names[name] = ref
}

// header takes in a proxy_set_header. The first in a block takes the place of all that are inherited.
func (s *nginxScope) header(ref nginxRef) {
	if !s.own {
		s.own, s.headers, s.connection, s.upgrade = true, ref, nginxRef{}, nginxRef{}
	}
	switch name := ref.arg(1); {
	case strings.EqualFold(name, "Connection"):
		s.connection = ref
	case strings.EqualFold(name, "Upgrade"):
		s.upgrade = ref
	}
}

// include takes in the files that an include names, in order.
func (c *nginxConf) include(s *nginxScope, ref nginxRef) {
	pattern, unknown := ref.text(1)
	if unknown == "" && !isGlob(pattern) && slices.Contains(nginxHarmless(), path.Base(pattern)) {
		return
	}
	if c.tree == nil || unknown != "" {
		c.notFollowed(s, ref)
		return
	}
	if !path.IsAbs(pattern) {
		pattern = path.Join(c.prefix, pattern)
	}
	names := []string{path.Clean(pattern)}
	if isGlob(pattern) {
		names = c.glob(path.Clean(pattern))
	}
	for _, name := range names {
		if why := c.includeFile(s, name); why != "" && s.unread == "" {
			s.unread = name + " was not read: " + why
		}
	}
}

func (c *nginxConf) includeFile(s *nginxScope, name string) (why string) {
	if i := slices.Index(c.open, name); i >= 0 {
		why = "includes itself: " + strings.Join(append(slices.Clone(c.open[i:]), name), " includes ")
		c.gap(name, why)
		return why
	}
	if len(c.open) >= nginxMaxOpen || len(c.files) >= nginxMaxFiles {
		why = "too many files are included within one another"
		c.gap(name, why)
		return why
	}
	f := c.load(name)
	if f.unread != "" {
		return f.unread
	}
	c.open = append(c.open, name)
	c.scan(s, f, -1)
	c.open = c.open[:len(c.open)-1]
	return ""
}

// nginxHarmless are included files that are known to set nothing of what is judged.
func nginxHarmless() []string {
	return []string{"mime.types", "fastcgi_params", "fastcgi.conf", "uwsgi_params", "scgi_params", "koi-utf", "koi-win", "win-utf", "options-ssl-nginx.conf"}
}

func isGlob(pattern string) bool { return strings.ContainsAny(pattern, "*?[") }

// notFollowed notes an include of a file that is judged alone. What stands beside servers is mostly other servers; inside a
// server or location it is as a rule the very settings that are judged.
func (c *nginxConf) notFollowed(s *nginxScope, ref nginxRef) {
	what := ref.arg(1) + " was not read: a file that is named is judged alone"
	switch {
	case s.kind == "main" && !c.fragment:
	case s.kind == "main" || s.kind == "http":
		c.assumed = "what " + ref.arg(1) + " includes sets nothing for all servers"
	case s.unread == "":
		s.unread = what
	}
}

// glob is glob(3): sorted names, none where nothing matches.
func (c *nginxConf) glob(pattern string) []string {
	found := []string{"/"}
	for part := range strings.SplitSeq(strings.TrimPrefix(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			if !isGlob(part) {
				next = append(next, path.Join(dir, part))
				continue
			}
			entries, err := c.tree.list(dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotRegular) {
				c.gap(dir, "cannot be listed: "+err.Error())
			}
			for _, e := range entries {
				if matchPart(part, e.Name) && (e.Name[0] != '.' || part[0] == '.') {
					next = append(next, path.Join(dir, e.Name))
				}
			}
		}
		found = next
	}
	if last := path.Base(pattern); !isGlob(last) { // a name below a pattern need not be there
		found = slices.DeleteFunc(found, func(name string) bool {
			_, err := c.tree.resolve(name)
			return errors.Is(err, fs.ErrNotExist)
		})
	}
	slices.Sort(found)
	return found
}

// settle records what a block holds, once all of it is known.
func (c *nginxConf) settle(s *nginxScope) {
	for _, ref := range s.written {
		c.setting(s, ref)
	}
	if s.passes.set() && s.context() == "http" {
		c.pass(s)
	}
	switch s.kind {
	case "server":
		c.server(s)
	case "upstream":
		if s.context() == "http" {
			c.upstream(s)
		}
	}
}

// context is http, stream, mail or main; of a fragment http.
func (s *nginxScope) context() string {
	for b := s; b != nil; b = b.parent {
		switch b.kind {
		case "http", "stream", "mail", "events":
			return b.kind
		}
	}
	return "http"
}

func (c *nginxConf) setting(s *nginxScope, ref nginxRef) {
	value, unknown := ref.text(1)
	if unknown != "" {
		value = ""
	}
	key := nginxWritten{ref.file.path, ref.file.syntax.Name(ref.at), value, s.context(), s.upgrade.set()}
	if n := c.settings[key]; n != nil {
		n.count++
		if c.whole {
			n.more = append(n.more, ref)
		}
		return
	}
	n := &nginxSetting{nginxWritten: key, ref: ref, scope: s, count: 1}
	c.settings[key] = n
	c.written = append(c.written, n)
}

func (c *nginxConf) server(s *nginxScope) {
	protocol := s.context()
	if len(s.listens) == 0 && protocol == "http" {
		c.listen(s, nginxRef{}, "*:80", protocol)
	}
	for _, ref := range s.listens {
		address, unknown := ref.text(1)
		if unknown != "" {
			continue
		}
		for _, one := range nginxAddresses(address) {
			c.listen(s, ref, one, protocol)
		}
	}
}

// nginxAddresses is the form in which nginx -T does not print them but ss does: "80" is "*:80", "a" is "a:80".
func nginxAddresses(address string) []string {
	if strings.HasPrefix(address, "unix:") {
		return []string{address}
	}
	host, port := "*", address
	if i := strings.LastIndexByte(address, ':'); i >= 0 && !strings.HasSuffix(address, "]") {
		host, port = address[:i], address[i+1:]
	} else if strings.Trim(address, "0123456789-") != "" {
		host, port = address, "80"
	}
	if host == "0.0.0.0" {
		host = "*"
	}
	low, high, isRange := strings.Cut(port, "-")
	from, err := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	if !isRange || err != nil || err2 != nil || to < from || to-from > 1024 {
		return []string{host + ":" + low}
	}
	var all []string
	for p := from; p <= to; p++ {
		all = append(all, fmt.Sprintf("%s:%d", host, p))
	}
	return all
}

func (c *nginxConf) listen(s *nginxScope, ref nginxRef, address, protocol string) {
	if protocol == "stream" && ref.set() && nginxListenHas(ref, "udp") {
		return
	}
	if protocol == "http" && ref.set() && nginxListenHas(ref, "quic") {
		return
	}
	n := c.listens[address]
	if n == nil {
		n = &nginxListen{name: address, protocol: protocol, ref: ref}
		if !ref.set() {
			n.ref = s.at
		}
		c.listens[address] = n
		c.listened = append(c.listened, n)
	}
	n.servers++
	if !ref.set() {
		return
	}
	n.ssl = n.ssl || nginxListenHas(ref, "ssl")
	if !n.backlog.set() && nginxListenArg(ref, "backlog=") > 0 {
		n.backlog, n.ref = ref, ref
	}
}

func nginxListenHas(ref nginxRef, word string) bool {
	for n := 2; n <= ref.file.syntax.Args(ref.at); n++ {
		if ref.arg(n) == word {
			return true
		}
	}
	return false
}

// nginxListenArg is the number of the argument with that beginning; 0 if there is none.
func nginxListenArg(ref nginxRef, prefix string) int {
	for n := 2; n <= ref.file.syntax.Args(ref.at); n++ {
		if strings.HasPrefix(ref.arg(n), prefix) {
			return n
		}
	}
	return 0
}

func (c *nginxConf) upstream(s *nginxScope) {
	name := strings.ToLower(s.label)
	if c.byName[name] != nil {
		return // nginx refuses a second of that name
	}
	u := &nginxUpstream{name: s.label, scope: s, at: s.at}
	c.byName[name] = u
	c.upstreams = append(c.upstreams, u)
}

// pass records a block that proxies.
func (c *nginxConf) pass(s *nginxScope) {
	key := nginxProxied{}
	url, why := s.passes.text(1)
	if why == "" {
		key.target, why = nginxTarget(url)
	}
	if why != "" {
		key.target = "? " + s.passes.arg(1)
	}
	key.version, key.unknownVersion = c.httpVersion(s)
	key.connection, key.unknownHeaders = c.connection(s)
	for i, to := range map[int]*string{nginxProxyRead: &key.read, nginxProxySend: &key.send, nginxProxyConnect: &key.connect, nginxIgnoreAbort: &key.ignore} {
		if s.values[i].set() {
			*to = s.values[i].arg(1)
		} else if s.unread != "" {
			*to = "?"
		}
	}
	if g := c.proxied[key]; g != nil {
		g.count++
		if c.whole {
			g.more = append(g.more, s)
		}
		return
	}
	g := &nginxGroup{nginxProxied: key, scope: s, count: 1, why: why}
	c.proxied[key] = g
	c.groups = append(c.groups, g)
}

// nginxTarget is what a proxy_pass leads to: the name of an upstream, or address:port, or unix:PATH.
func nginxTarget(url string) (target, why string) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return "", "it is no URL"
	}
	if i := strings.LastIndexByte(strings.SplitN(rest, "/", 2)[0], '@'); i >= 0 {
		rest = rest[i+1:]
	}
	if socket, ok := strings.CutPrefix(rest, "unix:"); ok {
		file, _, _ := strings.Cut(socket, ":")
		return "unix:" + file, ""
	}
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, "?")
	if host == "" {
		return "", "it names no host"
	}
	if strings.EqualFold(scheme, "https") {
		return "https://" + strings.ToLower(host), ""
	}
	return strings.ToLower(host), ""
}

// httpVersion is the version of HTTP that a block's requests to the other side have.
func (c *nginxConf) httpVersion(s *nginxScope) (version, unknown string) {
	ref := s.values[nginxHTTPVersion]
	switch {
	case ref.set():
		return ref.text(1)
	case s.unread != "":
		return "", s.unread
	case c.keepsAlive():
		return "1.1", ""
	}
	return "1.0", ""
}

// connection is the header Connection that goes to the other side: "" is none.
func (c *nginxConf) connection(s *nginxScope) (value, unknown string) {
	switch {
	case s.connection.set():
		return s.connection.text(2)
	case s.unread != "":
		return "", s.unread
	case c.keepsAlive():
		return "", ""
	}
	return "close", ""
}

// idleness is whether a group's connections to the other side are of no further use after one request.
type idleness struct {
	inert   bool
	why     string
	unknown string // why it cannot be told; empty: it can
	version bool   // it hangs on a default of nginx's version
	outside bool   // it hangs on what the blocks around a fragment do not set
}

func (g *nginxGroup) idles() idleness {
	connection := strings.ToLower(g.connection)
	switch {
	case g.unknownHeaders != "":
		return idleness{unknown: g.unknownHeaders}
	case g.upgrades() && connection != "close": // a WebSocket keeps its connection to itself
		return idleness{}
	case !strings.Contains(connection, "close"):
	case g.scope.connection.set():
		return idleness{inert: true, why: "the header Connection is set to \"" + g.connection + "\""}
	case g.scope.own:
		return idleness{inert: true, version: true, why: "the header Connection is not cleared (a block with proxy_set_header lines of its own inherits none)"}
	default:
		return idleness{inert: true, version: true, outside: !g.scope.headers.set(), why: "the header Connection is not cleared"}
	}
	switch {
	case g.unknownVersion != "":
		return idleness{unknown: g.unknownVersion}
	case g.version != "1.0" || connection == "keep-alive":
		return idleness{}
	case g.scope.values[nginxHTTPVersion].set():
		return idleness{inert: true, why: "proxy_http_version is 1.0"}
	}
	return idleness{inert: true, version: true, outside: true, why: "proxy_http_version is not 1.1"}
}

// upgrades reports whether a group passes the header Upgrade on, as WebSockets need it.
func (g *nginxGroup) upgrades() bool { return g.scope.upgrade.set() }

// resolve ties what is proxied to upstreams; a target that no block names is an upstream of one server.
func (c *nginxConf) resolve() {
	for _, g := range c.groups {
		if g.why != "" {
			continue
		}
		name := strings.TrimPrefix(g.target, "https://")
		u := c.byName[name]
		if host, _, ok := strings.Cut(name, ":"); u == nil && ok && c.byName[host] != nil && c.byName[host].scope != nil {
			u = c.byName[host]
		}
		if u == nil {
			u = c.byName[g.target]
		}
		if u == nil {
			u = &nginxUpstream{name: g.target, at: g.scope.passes}
			if isBareName(name) && (c.fragment || c.assumed != "" || len(c.gaps) > 0) {
				u.absent = "an upstream block of that name may be in a file that was not read"
			}
			c.byName[g.target] = u
			c.upstreams = append(c.upstreams, u)
		}
		u.groups = append(u.groups, g)
	}
}

// isBareName reports whether a target can be the name of a block: it has no port and is no address.
func isBareName(target string) bool {
	_, err := netip.ParseAddr(strings.Trim(target, "[]"))
	return err != nil && !strings.Contains(target, ":")
}

// nginxTime is ngx_parse_time() of src/core/ngx_parse.c: "60", "1m30s", "1h 30m", "500ms"; units come in falling order.
func nginxTime(text string) (time.Duration, bool) {
	const most = 100 * 365 * 24 * time.Hour
	units := []string{"y", "M", "w", "d", "h", "m", "s", "ms"}
	sizes := []time.Duration{365 * 24 * time.Hour, 30 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second, time.Millisecond}
	var total time.Duration
	for rest, step := text, 0; ; {
		rest = strings.TrimLeft(rest, " ")
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 32)
		rest = rest[digits:]
		unit := rest[:len(rest)-len(strings.TrimLeft(rest, "yMwdhms"))]
		rest = rest[len(unit):]
		if unit == "" {
			unit = "s"
		}
		i := slices.Index(units, unit)
		if err != nil || i < step || n > int64(most/sizes[i]) || total > most {
			return 0, false
		}
		total += time.Duration(n) * sizes[i]
		if rest == "" {
			return total, true
		}
		step = i + 1
	}
}
