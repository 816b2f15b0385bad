package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const nginxRoundTrip = mountScript + `
tool=$3
apply() { if [ $tool = git ]; then git apply "$1"; else patch -s -p1 -d / <"$1"; fi; }
judge="tcpadvise check --only nginx/* --min-severity info --fail-on info"
set -f
wants 0 nginx -t -e stderr
wants 1 $judge
tcpadvise patch --only nginx/* --include manual >"$root/diff" 2>"$root/notes"
tcpadvise patch --only nginx/* --include manual --reverse >"$root/back" 2>>"$root/notes"
apply "$root/diff"
wants 0 nginx -t -e stderr
wants 0 $judge
cp -r /etc "$root/patched"
apply "$root/back"
wants 0 nginx -t -e stderr
`

// nginxHost is a host whose nginx has each mistake that a patch mends, in the files that Debian's package has.
func nginxHost() image {
	return image{
		"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "/etc/group": "root:x:0:\n",
		"/etc/nginx/nginx.conf": "user root;\nworker_processes 2;\nworker_rlimit_nofile 1024;\npid /run/nginx.pid;\nerror_log /run/error.log;\n\nevents {\n\tworker_connections 4096; # many\n}\n\n" +
			"http {\n\taccess_log off;\n\tclient_body_temp_path /run/body; proxy_temp_path /run/proxy; fastcgi_temp_path /run/fastcgi; uwsgi_temp_path /run/uwsgi; scgi_temp_path /run/scgi;\n\tkeepalive_timeout 0;\n\tkeepalive_requests 1; # one each\n\tinclude /etc/nginx/conf.d/*.conf;\n\tinclude /etc/nginx/sites-enabled/*;\n}\n",
		"/etc/nginx/proxy_params":          "proxy_set_header Host $http_host;\nproxy_set_header X-Real-IP $remote_addr;\n",
		"/etc/nginx/conf.d/up.conf":        "upstream shop {\n  server 127.0.0.1:8080;\n  keepalive 32;\n}\nupstream old { server 127.0.0.1:8081; keepalive 4; }\n",
		"/etc/nginx/sites-enabled/default": "->/etc/nginx/sites-available/default",
		"/etc/nginx/sites-available/default": "server {\r\n\tlisten 80;\r\n\tproxy_set_header Host $host;\r\n\tlocation / { proxy_pass http://shop; }\r\n\tlocation /p {\r\n\t\tinclude proxy_params;\r\n\t\tproxy_pass http://shop;\r\n" +
			"\t\tproxy_ignore_client_abort on;\r\n\t}\r\n\tlocation /old {\r\n\t\tproxy_http_version 1.0;\r\n\t\tproxy_set_header Connection close;\r\n\t\tproxy_connect_timeout 10m;\r\n\t\tif ($arg_x) {\r\n\t\t\tproxy_pass http://old;\r\n\t\t}\r\n" +
			"\t\tproxy_pass http://old;\r\n\t\tproxy_read_timeout 1d;\r\n\t}\r\n\tlocation ~ \"^/ws{1,2}/\" {\r\n\t\tproxy_pass http://shop;\r\n\t\tproxy_http_version 1.1;\r\n\t\tproxy_set_header Upgrade $http_upgrade;\r\n" +
			"\t\tproxy_set_header Connection \"upgrade\";\r\n\t\tproxy_read_timeout 1d;\r\n\t}\r\n}",
		"/run/lock": "", "/usr/lib/sysctl.d/nothing": "", "/usr/local/lib/nothing": "", "/bin/nothing": "", "/keep/nothing": "",
	}
}

// TestPatchNginxRoundTrip: nginx takes its files before the patch, after it, and after the reverse, which restores each byte.
func TestPatchNginxRoundTrip(t *testing.T) {
	needTools(t, map[string]string{"/usr/sbin/nginx": "nginx-light", "unshare": "util-linux", "patch": "patch", "git": "git"})
	for _, tool := range []string{"patch", "git"} {
		t.Run(tool, func(t *testing.T) {
			im := nginxHost()
			root := im.lay(t)
			layProgram(t, root)
			out := inNamespace(t, nginxRoundTrip, root, "none", tool)
			diff, err := os.ReadFile(filepath.Join(root, "diff"))
			if err != nil {
				t.Fatal(err, out)
			}
			for _, want := range []string{
				"#   nginx -t\n#   nginx -s reload\n", "\n-worker_rlimit_nofile 1024;\n+worker_rlimit_nofile 8192;\n", "\n-\tkeepalive_timeout 0;\n", "\n+\tproxy_set_header Connection \"\";\r\n",
				"\n-\t\tproxy_set_header Connection close;\r\n+\t\tproxy_set_header Connection \"\";\r\n", "\n-\t\tproxy_connect_timeout 10m;\r\n+\t\tproxy_connect_timeout 75s;\r\n",
			} {
				if !strings.Contains(string(diff), want) {
					t.Errorf("the diff lacks %q:\n%s", want, diff)
				}
			}
			after := files(t, root)
			if got, want := after.below("/etc/"), im.below("/etc/"); !maps.Equal(got, want) {
				t.Errorf("the reverse does not restore\n%q\n%q\n%s", want, got, diff)
			}
			if maps.Equal(after.below("/patched/"), im.below("/etc/")) {
				t.Error("nothing was patched")
			}
		})
	}
}
