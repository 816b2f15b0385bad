package host

import (
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// A masked file has the length, and to its parser the structure, that it had.
func TestMaskedSettingsOfSpring(t *testing.T) {
	for path, text := range map[string]string{
		"/srv/application.properties": "spring.datasource.password=hunter2\nspring.datasource.url=jdbc:mysql://h/db?user=a&password=hunter2&x=1\napp.token=\\\n  hunter2,\\\n  \\u0068unter2\nserver.port=8080\n",
		"/srv/application.yml":        "spring:\n  datasource: {password: hunter2, url: 'jdbc:x://a:hunter2@h/db;password=hunter2'}\n  password: \"hunter2\\nhunter2\\u0041\"\n  secret: |\n    hunter2\n    hunter2\n  tokens:\n  - hunter2\n  - 'it''s hunter2'\n  api-key:\n    hunter2\nserver: {port: 8080}\n",
	} {
		masked := maskSecrets(path, []byte(text))
		if strings.Contains(string(masked), "unter2") || len(masked) != len(text) || strings.Count(string(masked), "\n") != strings.Count(text, "\n") {
			t.Errorf("%s: a secret is left, or the form lost:\n%s", path, masked)
		}
		documents, err := parseSpring(path, masked)
		if err != nil {
			t.Errorf("%s: %v:\n%s", path, err, masked)
			continue
		}
		plain, _ := parseSpring(path, []byte(text))
		if len(documents) != 1 || len(documents[0].entries) != len(plain[0].entries) {
			t.Errorf("%s: %d entries, had %d:\n%s", path, len(documents[0].entries), len(plain[0].entries), masked)
		}
		for _, e := range documents[0].entries {
			if e.key == "server.port" && e.value != "8080" {
				t.Errorf("%s: the port became %q", path, e.value)
			}
		}
	}
}

func FuzzMaskSecrets(f *testing.F) {
	f.Add([]byte("password=a\\\n b\\u0041\nkey: c\n"))
	f.Add([]byte("a: {password: \"b\\n\\u0041\", key: [c, 'd''e']}\nsecret: |\n x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, path := range []string{"/a.properties", "/a.yml", "/a.conf"} {
			masked := maskSecrets(path, data)
			if len(masked) != len(data) || strings.Count(string(masked), "\n") != strings.Count(string(data), "\n") {
				t.Fatalf("%s: %q became %q", path, data, masked)
			}
		}
		if _, err := conf.ParseProperties(data); err == nil {
			if _, err := conf.ParseProperties(maskSecrets("/a.properties", data)); err != nil {
				t.Fatalf("%q became %q: %v", data, maskSecrets("/a.properties", data), err)
			}
		}
	})
}
