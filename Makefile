# Every target is one line of go or a script. The project is pure Go; only the race detector wants a C compiler.
export CGO_ENABLED = 0
SHELL = /bin/bash -o pipefail

# Packages without real sockets and devices, which run everywhere and fast under the race detector.
PURE = ./bench $(addsuffix /...,$(wildcard ./bench/tunnels ./config ./convert ./doctor ./draft ./esp ./explain ./gateway ./ident ./ike ./internal/conftext ./internal/inet ./internal/secrecy ./internal/sim ./metrics ./natt ./psk ./suite ./ts ./vici))
PLATFORMS = linux/amd64 linux/arm64 linux/arm linux/386 linux/riscv64 darwin/arm64 freebsd/amd64

# The published test vectors are no part of the repository. Tests that want them may be skipped even when CI=true,
# which makes every other skipped test a failure.
TESTSUM = go run ./internal/testsum $(if $(filter true,$(CI)),-strict) -optional vector

RUN =
BENCH = .
COUNT = 1
FUZZTIME = 5m
BENCHFLAGS =
# Where strongSwan is installed: the tree that the scenarios with real peers have fetched, or else this machine's.
STRONGSWAN = $(firstword $(wildcard .cache/peers/*/root))

.PHONY: build demo test test-offloads check fmt vet staticcheck tidy arch rules race cross e2e e2e-long soak fuzz bench bench-programs bench-compare bench-profile bench-publish deb release test-release test-deb clean

build:
	go build -trimpath -o bin/culvert ./cmd/culvert

demo: build
	bin/culvert demo

# -count=1: the scenarios start the daemon as a program, which the cache of results does not look at.
test:
	go test -json -count=1 -timeout 9m ./... | $(TESTSUM)

check: fmt vet staticcheck tidy arch rules cross race

fmt:
	@test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"

vet:
	go vet ./...

staticcheck:
	go tool staticcheck ./...

tidy:
	go mod tidy -diff
	cd bench/compare/wireguard && go mod tidy -diff
	cd packaging/prometheus && go mod tidy -diff
	cd packaging/tools && go mod tidy -diff

arch:
	go test ./internal/archtest

# Prometheus reads the alerts and the queries of the dashboard; it is in a module of its own.
rules:
	cd packaging/prometheus && go test ./...

race:
	scripts/compiler
	CGO_ENABLED=1 go test -race -timeout 20m $(PURE)

cross:
	for p in $(PLATFORMS); do echo $$p; GOOS=$${p%/*} GOARCH=$${p#*/} go build ./... && GOOS=$${p%/*} GOARCH=$${p#*/} go vet ./... || exit; done

e2e:
	CULVERT_E2E_KEEP=$(CURDIR)/artifacts go test -count=1 -v -timeout 30m -run '$(RUN)' ./internal/e2e/...

# The scenarios that are a matter of time, at their full length: the storm of rekeying for 5 minutes, floods for 2 each, streams of 1 GB
# each way.
e2e-long:
	CULVERT_E2E_KEEP=$(CURDIR)/artifacts go test -count=1 -v -timeout 60m -run 'RobustRekeyStorm|RobustFlood|Transfer' ./internal/e2e -long

# The tests of the gateway and the scenarios once for each fast path that can be off, and without all.
test-offloads:
	for off in tso uso queues coalesce udp-segment udp-gro batch all; do echo "== without $$off"; \
	CULVERT_TEST_NO_OFFLOAD=$$off go test -count=1 -timeout 20m ./tun ./udp ./gateway ./internal/e2e || exit; done
	echo "== without the processor's instructions"; GODEBUG=cpu.all=off go test -count=1 -timeout 20m ./esp ./suite/... ./tun ./internal/inet ./gateway

# Half a year of simulation, a month of two gateways in a time of their own, and ten minutes of daemons that live fast: they end with what
# they began with. make test has all three in short.
soak:
	go test -count=1 -v -timeout 60m -run Soak ./internal/sim ./gateway ./internal/e2e -long

fuzz:
	scripts/fuzz $(FUZZTIME)

# In the format of benchstat: make -s bench COUNT=10 >old; ...; make -s bench COUNT=10 >new; benchstat old new
bench:
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./...

# The programs that bench-compare compares with: the pipeline without cipher, and wireguard-go of the version in its module.
bench-programs: build
	go build -trimpath -tags culvert_bench_nocipher -o bin/bench/culvert-nocipher ./cmd/culvert
	cd bench/compare/wireguard && go build -trimpath -o $(CURDIR)/bin/bench/wireguard-go golang.zx2c4.com/wireguard

# Tunnels side by side, as root, ten minutes; BENCHFLAGS="--case tcp1,udp64 --rounds 3" is quicker. See culvert bench --help.
bench-compare: bench-programs
	bin/culvert bench --strongswan-root "$(STRONGSWAN)" --output artifacts/bench $(BENCHFLAGS)

# Where the daemon spends its time; needs perf.
bench-profile: build
	bin/culvert bench --subject culvert --case tcp1-out,udp64,udp1300 --rounds 1 --window 3s --profile artifacts/profile

# The same as bench-compare for docs/performance.md, and what it shows. Do it on a machine that does nothing else.
bench-publish: bench-programs
	bin/culvert bench --strongswan-root "$(STRONGSWAN)" --output docs/performance --insert docs/performance.md $(BENCHFLAGS)

# Debian packages for amd64 and arm64 into dist/. What builds them is a module of its own.
deb:
	cd packaging/tools && go run ./release -repo $(CURDIR) -out $(CURDIR)/dist deb

# All that is published: binaries, packages, archives, lists of components and their checksums. The same commit gives the same bytes.
release:
	cd packaging/tools && go run ./release -repo $(CURDIR) -out $(CURDIR)/dist binary deb tar sbom

# Builds twice, in different directories, and compares; and what the packages hold.
test-release:
	cd packaging/tools && go test -count=1 ./...

# Installs, upgrades and removes the package on a Debian 12 with systemd running, as root, with debootstrap.
test-deb:
	scripts/test-deb

clean:
	rm -rf bin artifacts dist
