package host

import (
	"math/rand/v2"
	"regexp"
	"slices"
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

// The one pass finds what a look at each line for each word does.
func TestSuspectLines(t *testing.T) {
	pieces := []string{"password", "PassWd", "sEcret", "TOKEN", "credential", "Key", "kEy", "authorization", "COOKIE", "://", "@", "\n", "\n", " ",
		"x", "w", "k", "c", "z", ":", "passw", "se", "cret", "\u212Aey", "toke", "\r"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		text, want, start := b.String(), []int(nil), 0
		for line := range strings.Lines(text) {
			_, behind, found := strings.Cut(line, "://")
			found = found && strings.Contains(behind, "@")
			for _, word := range append(secretWords(), "authorization", "cookie") {
				found = found || regexp.MustCompile(`(?i)`+word).MatchString(strings.ReplaceAll(line, "\u212A", "?"))
			}
			if found {
				want = append(want, start)
			}
			start += len(line)
		}
		if got := suspectLines([]byte(text)); !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", text, got, want)
		}
	}
}

// What a unit's file gives its service is masked, and the limits beside it are what they were.
func TestMaskedSettingsOfUnits(t *testing.T) {
	const text = "[Service]\nEnvironment=DB_PASSWORD=hunter2\nEnvironment=\"A=b\" \"API_TOKEN=hunter2 hunter2\" C=d\r\n Environment = A=b \\\n  SECRET_KEY=hunter2\n" +
		"ExecStart=/usr/bin/shop --port 80 --password hunter2 --secret=hunter2\nExecStartPre=-/bin/x -Dapi.key=hunter2\nLimitNOFILE=4096\nEnvironment=LANG=C\n"
	masked := maskSecrets("/etc/systemd/system/shop.service", []byte(text))
	if strings.Contains(string(masked), "unter2") || !strings.Contains(string(masked), "/usr/bin/shop --port 80 --password ") || !strings.HasSuffix(string(masked), "\nLimitNOFILE=4096\nEnvironment=LANG=C\n") {
		t.Errorf("%s", masked)
	}
	if got, want := len(conf.ParseUnit(masked).Assignments), len(conf.ParseUnit([]byte(text)).Assignments); got != want || len(masked) != len(text) {
		t.Errorf("%d assignments, had %d:\n%s", got, want, masked)
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
