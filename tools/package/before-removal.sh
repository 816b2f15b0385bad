#!/bin/sh
# Run before the package goes. dpkg says "remove" then, and rpm 0; "upgrade" and 1 say that another version takes its place.
# DPKG_ROOT is set where dpkg installs under another root without changing into it (dpkg(1)).
case "${1:-}" in
remove | 0)
	root=${DPKG_ROOT:-}
	if command -v systemctl >/dev/null 2>&1; then
		[ -n "$root" ] || [ ! -d /run/systemd/system ] || systemctl stop tcpadvise.timer tcpadvise.service || :
		systemctl --quiet --root="$root/" disable tcpadvise.timer || :
	fi
	rm -f "$root/var/lib/prometheus/node-exporter/tcpadvise.prom" # or node_exporter would show its last numbers for ever
	;;
esac
exit 0
