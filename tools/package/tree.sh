#!/bin/sh
# tree.sh BINARY DIR: lays out in DIR/tree what a package installs beside the binary, and in DIR/_tcpadvise the completion for zsh, whose
# place is another with each distribution. BINARY is one that runs here; it writes the completions.
set -eu
export GOTOOLCHAIN=local
cd "$(dirname "$0")/../.."
binary=$1 tree=$2/tree zsh=$2/_tcpadvise
umask 022

share=$tree/usr/share
mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/fish/vendor_completions.d" \
	"$share/doc/tcpadvise/examples" "$tree/usr/lib/systemd/system"
"$binary" completion bash >"$share/bash-completion/completions/tcpadvise"
"$binary" completion fish >"$share/fish/vendor_completions.d/tcpadvise.fish"
"$binary" completion zsh >"$zsh"
for page in docs/man/*.1; do
	gzip -9n <"$page" >"$share/man/man1/${page##*/}.gz"
done
cp tools/package/tcpadvise.service tools/package/tcpadvise.timer "$tree/usr/lib/systemd/system/"
cp README.md docs/cli.md docs/configuration.md docs/json.md "$share/doc/tcpadvise/"
cp tools/package/config.yaml "$share/doc/tcpadvise/examples/"
# The licences of what is linked in ask to be shipped with the binary.
cp LICENSE "$share/doc/tcpadvise/copyright"
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/tcpadvise | sort -u |
	while read -r path version dir; do
		printf '\n\n%s %s\n\n' "$path" "$version"
		cat "$dir"/LICENSE* "$dir"/NOTICE* 2>/dev/null || :
	done >>"$share/doc/tcpadvise/copyright"
find "$tree" "$zsh" -type f -exec chmod 0644 {} +
