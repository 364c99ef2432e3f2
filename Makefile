# What a person or CI types. Everything here works on a bare Debian 12 with Rust, git and make: `setup` brings the rest.
SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help setup setup-vm build demo test vm-test lint doc bench fuzz fuzz-smoke ci

help:
	@echo 'make demo        build and run the demonstration (root)'
	@echo 'make test        every test of the workspace'
	@echo 'make vm-test     the demo, each dispatch, rights and our tests on Debian kernels: make vm-test KERNELS="6.1 7"'
	@echo 'make ci          what .ci/run runs: lint, test, vm-test, doc, fuzz-smoke, and that the benches compile'
	@echo 'make bench       the benchmarks, beside libbpf in the same run'
	@echo 'make fuzz        coverage-guided fuzzing: make fuzz FUZZ=btf FUZZ_SECONDS=60'
	@echo 'make setup       install what is missing (root, apt)'

setup:
	@scripts/setup.sh

setup-vm:
	@scripts/setup.sh vm

build: setup
	$(CARGO) build --release

demo: setup
	$(CARGO) build --release --bin xhint
	$(TARGET)/release/xhint demo

test: setup
	$(CARGO) test --workspace

# Debian's own kernels under QEMU; each is downloaded once.
vm-test: setup-vm
	@scripts/vm/test $(or $(KERNELS),6.1 6.12 6.18 newest)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps

bench: setup
	$(CARGO) bench --workspace

# libFuzzer on stable Rust; what it needs beyond setup is a C++ compiler.
fuzz: setup
	scripts/fuzz.sh

# Random damage from a fixed seed, a few seconds for each target.
fuzz-smoke: setup
	$(CARGO) run --release --quiet -p xhint-fuzz --bin smoke -- $(or $(FUZZ_SECONDS),10)

ci: setup lint test doc fuzz-smoke
	PARTS='$(or $(PARTS),dispatch rights base)' $(MAKE) vm-test KERNELS='$(or $(KERNELS),6.1 6.12 newest)'
	$(CARGO) bench --workspace --no-run
