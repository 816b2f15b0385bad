#!/bin/sh
# build.sh [ARCH...]: static binaries and their deb and rpm packages, in dist/; by default for amd64 and arm64. It needs Go, dpkg-deb
# and rpmbuild, and no network once Go's modules are there. The same commit gives the same bytes.
#   OUT      where to (dist)
#   VERSION  of the program (what main.go says)
set -eu
cd "$(dirname "$0")/../.."
out=${OUT:-dist}
version=${VERSION:-$(sed -n 's/^var version = "\(.*\)"$/\1/p' cmd/tcpadvise/main.go)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH GOTOOLCHAIN=local CGO_ENABLED=0
[ $# -gt 0 ] || set -- amd64 arm64
umask 022
release=$(echo "$version" | sed 's/-/~/; s/-/./g') # 0.2.0-rc1 comes before 0.2.0: both formats say that with a tilde

mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { # compile ARCH FILE
	GOOS=linux GOARCH=$1 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$2" ./cmd/tcpadvise
}

tree() { # tree ROOT ARCH ZSH: all that is installed; ZSH is the directory of zsh's completions
	mkdir -p "$1/usr/bin" "$1/$3"
	cp -a "$work/tree/." "$1/"
	cp "$work/_tcpadvise" "$1/$3/"
	cp "$out/tcpadvise-linux-$2" "$1/usr/bin/tcpadvise"
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

deb() { # deb ARCH
	root=$work/deb-$1
	tree "$root" "$1" usr/share/zsh/vendor-completions
	mkdir "$root/DEBIAN"
	size=$(find "$root/usr" -type f -printf '%s\n' | awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }')
	sed "s/@VERSION@/$release/; s/@ARCH@/$1/; s/@SIZE@/$size/" tools/package/control >"$root/DEBIAN/control"
	(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
	install -m 0755 tools/package/before-removal.sh "$root/DEBIAN/prerm"
	install -m 0755 tools/package/reload.sh "$root/DEBIAN/postinst"
	install -m 0755 tools/package/reload.sh "$root/DEBIAN/postrm"
	dpkg-deb --root-owner-group -Zgzip -z9 --build "$root" "$out/tcpadvise_${release}_$1.deb" >/dev/null
}

rpm() { # rpm ARCH
	case $1 in
	amd64) cpu=x86_64 ;;
	arm64) cpu=aarch64 ;;
	*) cpu=$1 ;;
	esac
	tree "$work/rpm-$1" "$1" usr/share/zsh/site-functions
	rpmbuild --quiet -bb --target "$cpu-linux" --define "_topdir $work/rpm" --define "_rpmdir $out" \
		--define "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" --define "version $release" \
		--define "tree $work/rpm-$1" --define "scripts $PWD/tools/package" tools/package/tcpadvise.spec >/dev/null
}

compile "$(go env GOHOSTARCH)" "$work/here"
sh tools/package/tree.sh "$work/here" "$work"
for arch; do
	compile "$arch" "$out/tcpadvise-linux-$arch"
	deb "$arch"
	rpm "$arch"
done
ls -l "$out"
