# What a person or CI types. Everything here works on a bare Debian 12 with Rust and git: `setup` brings the rest.
SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help setup build demo test lint doc bench ci

help:
	@echo 'make demo        build and run the demonstration (root)'
	@echo 'make test        every test of the workspace'
	@echo 'make ci          what .ci/run runs: lint, test, doc, and that the benches compile'
	@echo 'make bench       the benchmarks, beside libbpf in the same run'
	@echo 'make setup       install what is missing (root, apt)'

setup:
	@scripts/setup.sh

build: setup
	$(CARGO) build --release

demo: setup
	$(CARGO) build --release --bin xhint
	$(TARGET)/release/xhint demo

test: setup
	$(CARGO) test --workspace

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps

bench: setup
	$(CARGO) bench --workspace

ci: setup lint test doc
	$(CARGO) bench --workspace --no-run
