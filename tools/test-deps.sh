#!/bin/sh
# What the tests run beside Go: the real loaders and tools that the results are compared with. On Debian and Ubuntu what is
# missing is installed; elsewhere it is named, with the reason.
set -eu

missing=""
packages=""
need() { # need COMMAND-OR-PATH PACKAGE REASON
	case "$1" in
	/*) [ -x "$1" ] && return ;;
	*) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 && return ;;
	esac
	missing="$missing
  $1 (package $2): $3"
	packages="$packages $2"
}

need gcc gcc "the race detector"
need git git "git apply as an oracle for diffs"
need ip iproute2 "namespaces of the socket tests"
need ss iproute2 "oracle for the socket table"
need patch patch "oracle for diffs"
need ansible-playbook ansible "runs the playbooks of docs/ansible, and the tasks that patch --format ansible prints"
need ansible-lint ansible-lint "the playbooks of docs/ansible are clean"
need ansible-lint ansible-lint "judges these tasks"
need sysctl procps "oracle for sysctl files"
need dpkg-deb dpkg "builds the Debian package"
need rpmbuild rpm "builds the RPM package"
need man man-db "renders the manuals"
need readelf binutils "is the binary static"
need bash bash "loads the completions"
need zsh zsh "loads the completions"
need fish fish "loads the completions"
need systemd-analyze systemd "verifies the units"
need unshare util-linux "private network namespaces"
need prlimit util-linux "a limit of descriptors for one program of the tests"
need mount mount "bind mounts in the loader tests"
need javac default-jdk-headless "oracle for XML: the parser that Tomcat and ActiveMQ read their files with"
need nginx nginx-light "oracle for nginx's configuration, and the proxy of the tests with real servers"
need /usr/bin/python3 python3 "opens sessions with pam_limits, the oracle for limits.conf"
need systemd-analyze systemd "oracle for unit files and system.conf"
[ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] ||
	need /usr/lib/nginx/modules/ngx_http_lua_module.so libnginx-mod-http-lua "oracle for blocks of Lua in nginx's configuration"
need javac default-jdk-headless "compiles and runs the programs of the tests with real servers"
[ -e /usr/share/tomcat10/bin/bootstrap.jar ] ||
	need /usr/share/tomcat10/bin/bootstrap.jar tomcat10-common "Tomcat without its service, for the tests with real servers"
[ -e /usr/share/java/httpclient.jar ] ||
	need /usr/share/java/httpclient.jar libhttpclient-java "Apache HttpClient, whose pool leaks in the tests with real servers"
[ -e /usr/share/java/activemq-broker.jar ] ||
	need /usr/share/java/activemq-broker.jar libactivemq-java "ActiveMQ without its service, which throttles its producers there"
[ -x /usr/lib/systemd/systemd-sysctl ] || need /lib/systemd/systemd-sysctl systemd "oracle for sysctl.d files"

[ "${1:-}" != browser ] || need chromium chromium "opens the HTML report"

[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null 2>&1; then
	run=""
	[ "$(id -u)" = 0 ] || run="sudo"
	echo "installing for the tests:$packages"
	$run apt-get update -qq
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $packages >/dev/null
	exit 0
fi

echo "the tests need what this machine lacks:$missing" >&2
echo "install it with the system's package manager and run 'make test' again" >&2
exit 1
