# The commands of the README and of CI. GOTOOLCHAIN=local: no toolchain is fetched behind anyone's back.
export GOTOOLCHAIN := local
GO ?= go

.PHONY: test lint bench fuzz generate build package release test-deps test-html

# test passes all tests on a fresh machine, package after package, since several measure the kernel's timing; on Debian and Ubuntu it installs what they need.
test: test-deps
	$(GO) vet ./...
	$(GO) test -p 1 -timeout 25m ./...

test-deps:
	sh tools/test-deps.sh

# test-html opens the HTML report in Chromium, which is larger than all that the other tests need together.
test-html:
	sh tools/test-deps.sh browser
	$(GO) test -tags browser -run InBrowser ./advisor/report

lint:
	$(GO) tool -modfile=tools/go.mod golangci-lint run ./...

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o tcpadvise ./cmd/tcpadvise

# package builds deb and rpm for amd64 and arm64 in dist/, without network; the same commit gives the same bytes.
package:
	sh tools/package/build.sh

# release makes what a release publishes, and publishes nothing. It compiles goreleaser first, which takes minutes.
release:
	$(GO) tool -modfile=tools/release/go.mod goreleaser release --snapshot --clean

generate:
	$(GO) generate ./...

# bench prints ratios against named yardsticks, medians of interleaved pairs: machines are noisy, ratios less so. Then the
# benchmarks that stand beside the code.
bench: test-deps
	$(GO) test -run '^$$' -bench 'Ratio' -benchtime 1x -timeout 20m ./cmd/tcpadvise ./advisor/...
	$(GO) test -run '^$$' -bench '^Benchmark[^R]' -benchmem -timeout 20m ./advisor/...

fuzz:
	for target in $$($(GO) list -f '{{.ImportPath}}' ./... ); do \
		for name in $$($(GO) test -list '^Fuzz' $$target | grep '^Fuzz'); do \
			$(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime 20s $$target || exit 1; \
		done; \
	done
