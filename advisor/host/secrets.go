package host

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// masked is a tree whose contents hold no secrets: what a capture, a report or a patch must never show never gets further
// than here. A secret is replaced by as many asterisks, so that positions stay true.
type masked struct {
	tree
	readings *readings // nil: nobody will ask
}

func (m masked) read(path string, limit int64) ([]byte, error) {
	data, err := m.tree.read(path, limit)
	shown := maskSecrets(path, data)
	if err == nil {
		m.readings.note(path, data, shown)
	}
	return shown, err
}

// secretWords mark the names of settings whose values are secrets.
func secretWords() []string {
	return []string{"password", "passwd", "secret", "token", "credential", "key"}
}

var (
	secretSetting = regexp.MustCompile(`(?i)^([\s"'-]*(?:local\s+|export\s+)?[\w./-]*(?:password|passwd|secret|token|credential|key)[\w./-]*["']?\s*[=:]\s*)(\S.*?)\s*$`)
	// unitSecret is what systemd gives a service to know, from the first such name of the line on.
	unitSecret   = regexp.MustCompile(`(?i)^\s*(?:Environment|Exec\w+)\s*=.*?(?:password|passwd|secret|token|credential|key)[\w.-]*["']?[\s=]+(\S.*)$`)
	urlParameter = regexp.MustCompile(`(?i)[?&;][\w.-]*(?:password|passwd|secret|token|credential|key)[\w.-]*=([^&;\s"']+)`) // of JDBC, mostly
	urlUserinfo  = regexp.MustCompile(`://[^/@\s"']+@`)
	// nginxSecret is a header, parameter or variable of nginx with such a name.
	nginxSecret = regexp.MustCompile(`(?:^|[\s;{])(?:secure_link_secret|(?:\w+_(?:set_header|param|header)|set|env|more_set_\w+)\s+["']?\$?[\w-]*` +
		`(?i:password|passwd|secret|token|credential|key|authorization|cookie)[\w-]*["']?)\s+("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^;]+)`)
)

// maskSecrets returns data with the values of secret settings, and the user information of URLs, masked; data itself if it
// holds none. Files of /proc are the kernel's; of these only keys below /proc/sys can be secret.
func maskSecrets(path string, data []byte) []byte {
	if strings.HasPrefix(path, "/proc/") {
		if strings.HasPrefix(path, procSys) && isSecret(path[strings.LastIndexByte(path, '/')+1:]) {
			return stars(data)
		}
		return data
	}
	if looksLikeXML(data) {
		return maskXML(data)
	}
	starts := suspectLines(data)
	if len(starts) == 0 {
		return data
	}
	out := bytes.Clone(data)
	yaml := isYAMLPath(path) && maskYAML(data, out)
	for _, start := range starts {
		end := len(out)
		if n := bytes.IndexByte(out[start:], '\n'); n >= 0 {
			end = start + n
		}
		if yaml {
			maskURLs(out[start:end])
		} else {
			maskLine(out[start:end])
		}
	}
	if strings.HasSuffix(withoutTemplateSuffix(path), ".properties") {
		maskProperties(data, out)
	}
	return out
}

// What hides secrets in XML: attributes, elements and pairs of name and value, and parameters of URLs. Attributes share lines
// with others and may be spread over several, so lines say nothing here.
var xmlSecrets = []*regexp.Regexp{
	regexp.MustCompile(`(?i)[\s:][\w.-]*(?:password|passwd|pwd|secret|token|credential|key)[\w.-]*\s*=\s*(?:"([^"]*)"|'([^']*)')`),
	regexp.MustCompile(`(?i)\s(?:name|key)\s*=\s*["'][^"']*(?:password|passwd|pwd|secret|token|credential|key)[^"']*["']\s*value\s*=\s*(?:"([^"]*)"|'([^']*)')`),
	regexp.MustCompile(`(?i)["'\w:.-](?:password|passwd|pwd|secret|token|credential|key)[\w.-]*["']?\s*>\s*(?:<value>)?([^<]+)<`),
	regexp.MustCompile(`(?i)<(?:password|passwd|secret|token|credential|key)[\w.-]*>([^<]+)<`),
	regexp.MustCompile(`(?i)(?:password|passwd|pwd|secret|token|credential)=([^&;"'<>\s]+)`),
	regexp.MustCompile(`://([^/@\s"'<>]+)@`),
}

// looksLikeXML reports whether a file begins as XML does.
func looksLikeXML(data []byte) bool {
	data = bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\uFEFF")), " \t\r\n")
	return bytes.HasPrefix(data, []byte("<?xml")) || bytes.HasPrefix(data, []byte("<!--")) || bytes.HasPrefix(data, []byte("<!DOCTYPE")) ||
		len(data) > 1 && data[0] == '<' && (data[1] >= 'A' && data[1] <= 'Z' || data[1] >= 'a' && data[1] <= 'z')
}

// maskXML masks all of a secret but line ends and references, so that the file stays as well-formed as it was.
func maskXML(data []byte) []byte {
	if !holdsSecretWord(data) && !bytes.Contains(bytes.ToLower(data), []byte("pwd")) {
		return data
	}
	out := bytes.Clone(data)
	for _, secret := range xmlSecrets {
		for _, m := range secret.FindAllSubmatchIndex(data, -1) {
			for group := 2; group < len(m); group += 2 {
				if m[group] >= 0 {
					copy(out[m[group]:m[group+1]], stars(data[m[group]:m[group+1]]))
				}
			}
		}
	}
	return out
}

// maskProperties masks in out the secrets of data that lie over several lines.
func maskProperties(data, out []byte) {
	f, _ := conf.ParseProperties(data)
	for _, e := range f.Entries {
		if holdsSecretWord([]byte(e.Key)) {
			maskLines(out[e.ValueSpan.Start:e.ValueSpan.End])
		}
	}
}

// maskYAML masks in out the secrets of data by its structure: a line does not tell where a value ends, and an asterisk at the
// front of one that has no quotes would be an alias. It reports whether data could be read.
func maskYAML(data, out []byte) bool {
	y, err := conf.ParseYAML(data)
	steps := stepLimit
	for _, doc := range y.Docs {
		maskNode(y, doc, out, false, 0, &steps)
	}
	return err == nil && steps >= 0
}

// maskNode masks the scalars, and lists of such, below keys that name secrets; in texts of several lines, which may be files
// themselves, it masks line by line.
func maskNode(y *conf.YAML, n *conf.YAMLNode, out []byte, secret bool, depth int, steps *int) {
	if *steps--; *steps < 0 || depth > nestLimit {
		*steps = -1
		return
	}
	if n.Kind == conf.YAMLScalar && n.Text != "" {
		at, ok := y.Locate(n)
		switch text := out[at[0]:y.End(at[len(at)-1])]; {
		case !ok:
			*steps = -1
		case secret:
			maskLines(text)
			if n.Plain && text[0] == '*' {
				text[0] = 'x'
			}
		case bytes.IndexByte(text, '\n') >= 0:
			for line := range bytes.Lines(text) {
				maskLine(bytes.TrimSuffix(line, []byte{'\n'}))
			}
		}
	}
	for _, item := range n.Items {
		maskNode(y, item, out, secret, depth+1, steps)
	}
	for _, p := range n.Pairs {
		maskNode(y, p.Value, out, p.Key.Kind == conf.YAMLScalar && holdsSecretWord([]byte(p.Key.Text)), depth+1, steps)
	}
}

func maskLines(text []byte) {
	for line := range bytes.Lines(text) {
		maskValue(bytes.TrimSuffix(line, []byte{'\n'}))
	}
}

func holdsSecretWord(data []byte) bool {
	if bytes.Contains(data, []byte("://")) {
		return true
	}
	lower := bytes.ToLower(data)
	return slices.ContainsFunc(secretWords(), func(word string) bool { return bytes.Contains(lower, []byte(word)) })
}

// marker is a word that marks a line, and where in it its rarest letter stands.
type marker struct {
	word string
	at   int
}

// markers are the words by their rarest letter, small and capital.
var markers = func() (by [256][]marker) {
	for _, word := range append(secretWords(), "authorization", "cookie", "://") {
		m := marker{word, strings.IndexAny(word, "kwcz:")}
		letter := word[m.at : m.at+1]
		by[letter[0]] = append(by[letter[0]], m)
		if capital := strings.ToUpper(letter); capital != letter {
			by[capital[0]] = append(by[capital[0]], m)
		}
	}
	return by
}()

var rareLetters = func() (rare [256]bool) {
	for letter, words := range markers {
		rare[letter] = words != nil
	}
	return rare
}()

// suspectLines finds the lines that a secret may stand in, by where they start. Files of 14 MB are read, and few of their lines
// are worth a regular expression; so one pass looks at the letters that are rare, and at a word only around one of these.
func suspectLines(data []byte) []int {
	const large = 1 << 20
	half := len(data) / 2
	if half += bytes.IndexByte(data[half:], '\n') + 1; len(data) < large || half == len(data)/2 {
		return suspectsIn(data)
	}
	first := make(chan []int)
	go func() { first <- suspectsIn(data[:half]) }()
	second := suspectsIn(data[half:])
	starts := <-first
	for _, at := range second {
		starts = append(starts, half+at)
	}
	return starts
}

func suspectsIn(data []byte) []int {
	var starts []int
	noUser := 0 // no '@' stands before the end of that line
	for at := 0; at < len(data); at++ {
		at += plainBytes(data[at:])
		if at == len(data) {
			break
		}
		for _, m := range markers[data[at]] {
			from, end := at-m.at, at-m.at+len(m.word)
			if from < 0 || end > len(data) || m.word == "://" && at < noUser || !bytes.EqualFold(data[from:end], []byte(m.word)) {
				continue
			}
			eol := len(data)
			if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
				eol = at + n
			}
			if m.word == "://" && bytes.IndexByte(data[at:eol], '@') < 0 {
				noUser = eol
				continue
			}
			starts = append(starts, bytes.LastIndexByte(data[:at], '\n')+1)
			at = eol
			break
		}
	}
	return starts
}

// plainBytes counts the bytes before the first that may belong to a marker. Eight tests in a row cost half of a loop of one.
func plainBytes(data []byte) (n int) {
	r := &rareLetters
	for ; n+8 <= len(data); n += 8 {
		if d := data[n : n+8 : n+8]; r[d[0]] || r[d[1]] || r[d[2]] || r[d[3]] || r[d[4]] || r[d[5]] || r[d[6]] || r[d[7]] {
			break
		}
	}
	for n < len(data) && !r[data[n]] {
		n++
	}
	return n
}

func maskLine(line []byte) {
	if len(line) > 4096 { // no setting of a person is as long, and a regular expression must not walk 1 MB lines
		return
	}
	if bytes.ContainsAny(line, "=:") { // what no regular expression can match is told faster without
		if m := secretSetting.FindSubmatchIndex(line); m != nil {
			maskValue(line[m[4]:m[5]])
		}
		if m := unitSecret.FindSubmatchIndex(line); m != nil {
			maskValue(line[m[2]:m[3]])
		}
	}
	if mayBeNginx(line) {
		for _, m := range nginxSecret.FindAllSubmatchIndex(line, -1) {
			maskValue(line[m[2]:m[3]])
		}
	}
	maskURLs(line)
}

// maskURLs masks user information and parameters of URLs.
func maskURLs(line []byte) {
	if len(line) > 4096 {
		return
	}
	if bytes.ContainsAny(line, "?&;") {
		for _, m := range urlParameter.FindAllSubmatchIndex(line, -1) {
			maskValue(line[m[2]:m[3]])
		}
	}
	if bytes.IndexByte(line, '@') >= 0 {
		for _, m := range urlUserinfo.FindAllIndex(line, -1) {
			maskValue(line[m[0]+3 : m[1]-1])
		}
	}
}

// mayBeNginx reports whether a line has one of the words that nginxSecret begins with.
func mayBeNginx(line []byte) bool {
	for _, word := range []string{"_header", "_param", "set", "env", "secure_link_secret"} {
		if bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}

// maskValue leaves what parsers of configuration look at, so that a masked file has the structure that it had.
func maskValue(value []byte) {
	comment := func(i int) bool { return i >= 0 && i+1 < len(value) && value[i] == '-' && value[i+1] == '-' } // Lua's
	const kept = " \t\r\"'\\;{}#$"
	dash := -1
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case comment(i):
			dash = i + 1
		case i == dash:
		case c == '\\' && i+1 < len(value) && strings.IndexByte(kept, value[i+1]) >= 0:
			i++ // it escapes what is structure
		case strings.IndexByte(kept, c) < 0, c == '\\' && i+1 < len(value): // an escape such as \u0041 must not be left in pieces
			value[i] = '*'
		}
	}
}

func stars(data []byte) []byte {
	out := bytes.Clone(data)
	for i, c := range out {
		if c != '\n' {
			out[i] = '*'
		}
	}
	return out
}
