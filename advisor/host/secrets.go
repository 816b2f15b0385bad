package host

import (
	"bytes"
	"regexp"
	"strings"
)

// masked is a tree whose contents hold no secrets: what a capture, a report or a patch must never show never gets further
// than here. A secret is replaced by as many asterisks, so that positions stay true.
type masked struct{ tree }

func (m masked) read(path string, limit int64) ([]byte, error) {
	data, err := m.tree.read(path, limit)
	return maskSecrets(path, data), err
}

// secretWords mark the names of settings whose values are secrets.
func secretWords() []string {
	return []string{"password", "passwd", "secret", "token", "credential", "key"}
}

var (
	secretSetting = regexp.MustCompile(`(?i)^([\s"'-]*[\w./-]*(?:password|passwd|secret|token|credential|key)[\w./-]*["']?\s*[=:]\s*)(\S.*?)\s*$`)
	urlUserinfo   = regexp.MustCompile(`://[^/@\s"']+@`)
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
	if !holdsSecretWord(data) {
		return data
	}
	out := bytes.Clone(data)
	for start := 0; start < len(out); {
		end := len(out)
		if n := bytes.IndexByte(out[start:], '\n'); n >= 0 {
			end = start + n
		}
		maskLine(out[start:end])
		start = end + 1
	}
	return out
}

func holdsSecretWord(data []byte) bool {
	if bytes.Contains(data, []byte("://")) {
		return true
	}
	lower := bytes.ToLower(data)
	for _, word := range secretWords() {
		if bytes.Contains(lower, []byte(word)) {
			return true
		}
	}
	return false
}

func maskLine(line []byte) {
	if len(line) > 4096 { // no setting of a person is as long, and a regular expression must not walk 1 MB lines
		return
	}
	if m := secretSetting.FindSubmatchIndex(line); m != nil {
		copy(line[m[4]:m[5]], bytes.Repeat([]byte("*"), m[5]-m[4]))
	}
	for _, m := range urlUserinfo.FindAllIndex(line, -1) {
		copy(line[m[0]+3:m[1]-1], bytes.Repeat([]byte("*"), m[1]-m[0]-4))
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
