# make run    build a release binary and start a store on six local directories
# make test   everything that has to pass before a change is merged

# Where `make run` keeps its six "disks"; one directory per real disk is what production looks like.
DATA   ?= ./data
DISKS  ?= $(foreach n,1 2 3 4 5 6,$(DATA)/disk$(n))
LISTEN ?= 127.0.0.1:9000

# RocksDB is most of a first build, and clang compiles it a third faster than gcc does.
ifeq ($(origin CXX),default)
export CXX := clang++
endif

# The clients of `compat` drive what `unit` builds, and all of it shares two cores.
.NOTPARALLEL:
.PHONY: run build test fmt lint unit compat deny doc bench setup setup-tests

run: build
	mkdir -p $(DISKS)
	./target/release/cairn serve $(foreach disk,$(DISKS),--data $(disk)) --listen $(LISTEN)

build: setup
	cargo build --release --package cairn-tools --bin cairn

test: setup-tests fmt lint doc unit compat
	@echo "all tests passed"

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --quiet -- -D warnings

# The system tests drive the binary of the same profile: one profile, one build of the libraries.
unit:
	cargo build --workspace --all-targets --quiet
	cargo test --workspace --quiet

compat:
	CAIRN_BINARY="$(CURDIR)/target/debug/cairn" compat-tests/run

# Advisories, licences, sources. Needs cargo-deny, whose build takes longer than all our tests: not part of `test`.
deny:
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet

# Figures for docs/performance.md, against a server that is running.
bench: build
	./target/release/cairn bench

setup:
	@scripts/setup build

setup-tests:
	@scripts/setup test
