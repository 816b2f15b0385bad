package conf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// bigNginx is a configuration of 9,000 servers, some 14 MB, as a hoster's control panel writes it.
func bigNginx() []byte {
	var b bytes.Buffer
	b.WriteString("worker_processes auto;\nevents { worker_connections 4096; }\nhttp {\n\tupstream backend { server 127.0.0.1:8080; keepalive 32; }\n")
	for i := range 9000 {
		fmt.Fprintf(&b, `
	# customer %[1]d, written by the panel; changes are lost
	server {
		listen 80;
		listen [::]:80;
		listen 443 ssl;
		server_name customer%[1]d.example.com www.customer%[1]d.example.com "*.customer%[1]d.example.net";
		root /srv/www/customer%[1]d/htdocs;
		index index.html index.php;
		access_log /var/log/nginx/customer%[1]d.access.log combined buffer=32k flush=5s;
		error_log /var/log/nginx/customer%[1]d.error.log warn;
		ssl_certificate /etc/letsencrypt/live/customer%[1]d.example.com/fullchain.pem;
		ssl_certificate_key /etc/letsencrypt/live/customer%[1]d.example.com/privkey.pem;
		add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always;
		if ($scheme = 'http') { return 301 https://$host$request_uri; }
		location ~ "^/files/([0-9]{1,6})/" { alias /srv/files/$1; expires 30d; }
		location ~ \.php$ {
			fastcgi_split_path_info ^(.+\.php)(/.+)$;
			fastcgi_pass unix:/run/php/customer%[1]d.sock;
			fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
			fastcgi_read_timeout 120s;
		}
		location /api/ {
			proxy_pass http://backend;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_redirect http://customer%[1]d.example.com/ https://customer%[1]d.example.com/;
			proxy_read_timeout 30s;
		}
		location ^~ /.well-known/acme-challenge/ { root /var/lib/acme/customer%[1]d; default_type text/plain; }
		location = /robots.txt { access_log off; log_not_found off; }
	}
`, i)
	}
	b.WriteString("}\n")
	return b.Bytes()
}

type nginxToken struct {
	start, end, line int
	quoted           bool
}

// tokenize is what any reader of the language must do: words and punctuation with spans and lines, and nothing else.
func tokenize(data []byte) []nginxToken {
	tokens := make([]nginxToken, 0, len(data)/8)
	line := 1
	for i := 0; i < len(data); {
		switch c := data[i]; c {
		case '\n':
			line++
			i++
		case ' ', '\t', '\r':
			i++
		case '#':
			for i < len(data) && data[i] != '\n' {
				i++
			}
		case ';', '{', '}':
			tokens = append(tokens, nginxToken{i, i + 1, line, false})
			i++
		case '"', '\'':
			start, at := i, line
			for i++; i < len(data) && data[i] != c; i++ {
				switch data[i] {
				case '\\':
					i++
				case '\n':
					line++
				}
			}
			i++
			tokens = append(tokens, nginxToken{start, i, at, true})
		default:
			start := i
			for variable := false; i < len(data); i++ {
				c := data[i]
				if c == '{' && variable {
					continue
				}
				variable = c == '$'
				if c == '\\' {
					i++
					continue
				}
				if c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ';' || c == '{' {
					break
				}
			}
			tokens = append(tokens, nginxToken{start, i, line, false})
		}
	}
	return tokens
}

func BenchmarkNginx(b *testing.B) {
	data := bigNginx()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := ParseNginx(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRatioNginxToTokens compares the tree of 14 MB with its bare tokens: the median of 15 interleaved pairs.
func BenchmarkRatioNginxToTokens(b *testing.B) {
	data := bigNginx()
	for b.Loop() {
	}
	b.ReportMetric(medianRatio(15, func() { ParseNginx(data) }, func() { tokenize(data) }), "ratio")
}

// BenchmarkRatioCrossplaneToNginx compares crossplane's parse of 14 MB with ours: the median of 3 interleaved pairs.
func BenchmarkRatioCrossplaneToNginx(b *testing.B) {
	data := bigNginx()
	file := filepath.Join(b.TempDir(), "nginx.conf")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		b.Fatal(err)
	}
	theirs := func() {
		p, err := crossplane.Parse(file, &crossplane.ParseOptions{SingleFile: true})
		if err != nil || p.Status != "ok" {
			b.Fatal(err, p.Errors)
		}
	}
	for b.Loop() {
	}
	b.ReportMetric(medianRatio(3, theirs, func() { ParseNginx(data) }), "ratio")
}

// medianRatio times a and b in turn and returns the median of a's time over b's.
func medianRatio(pairs int, a, b func()) float64 {
	timed := func(f func()) float64 {
		start := time.Now()
		f()
		return time.Since(start).Seconds()
	}
	ratios := make([]float64, pairs)
	for i := range ratios {
		x := timed(a)
		ratios[i] = x / timed(b)
	}
	slices.Sort(ratios)
	return ratios[pairs/2]
}

// TestNginxHostileIsLinear refuses 100,000 blocks within one another, and reads other shapes that make bad parsers quadratic, in
// a time that grows with their length.
func TestNginxHostileIsLinear(t *testing.T) {
	for name, part := range map[string]string{
		"nested": "a {", "quotes": "'a' ", "lua": "x_by_lua_block { [=[ ]] } ]=] }", "lua quotes": "x_by_lua_block { ' \" \n ' }",
		"comments": "#\n", "dollars": "${", "brackets": "x_by_lua_block { [======== }",
	} {
		time1, time8 := nginxTime(part, 12_500), nginxTime(part, 100_000)
		if time8 > 40*time1+50*time.Millisecond {
			t.Errorf("%s: %v for 12,500, %v for 100,000", name, time1, time8)
		}
	}
}

func nginxTime(part string, n int) time.Duration {
	data := bytes.Repeat([]byte(part), n)
	best := time.Hour
	for range 3 {
		start := time.Now()
		ParseNginx(data)
		best = min(best, time.Since(start))
	}
	return best
}
