# What a person or CI types. Everything here works on a bare Debian 12 with Rust, git and make: `setup` brings the rest.
SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

# Where `install` puts things, and what it installs. A package has DESTDIR in front, and may have other folders.
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man/man1
DOCDIR ?= $(PREFIX)/share/doc/xhint
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
XHINT ?= $(TARGET)/release/xhint
# What writes the manual pages and completions: when cross-compiling, an xhint that runs here.
GENERATE ?= $(XHINT)
PUBLISHED := --workspace --exclude xhint-testkit --exclude xhint-bench --exclude xhint-fuzz
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: help setup setup-vm build demo test vm-test lint package doc bench fuzz fuzz-smoke ci
.PHONY: install uninstall install-test deb deb-test static

help:
	@echo 'make demo        build and run the demonstration (root)'
	@echo 'make test        every test of the workspace'
	@echo 'make vm-test     the demo, each dispatch, rights and our tests on Debian kernels: make vm-test KERNELS="6.1 7"'
	@echo 'make ci          what .ci/run runs: lint, test, install-test, vm-test, doc, fuzz-smoke, and that the benches compile'
	@echo 'make package     build each crate that others would use from its package alone'
	@echo 'make bench       the benchmarks, beside libbpf in the same run'
	@echo 'make fuzz        coverage-guided fuzzing: make fuzz FUZZ=btf FUZZ_SECONDS=60'
	@echo 'make setup       install what is missing (root, apt)'
	@echo 'make install     what `make build` built, under PREFIX [/usr/local], DESTDIR in front; make uninstall removes it'
	@echo 'make deb         a Debian package (installs cargo-deb); make deb-test tries it in a Debian 12 without build tools'
	@echo 'make static      the program without any shared library'

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
	$(CARGO) package $(PUBLISHED) --quiet --locked --offline --allow-dirty --no-verify
	@! grep -L SPDX-License-Identifier $$(git ls-files '*.[ch]') | sed 's/$$/: says no licence/' | grep .

# Each crate that others would use, built from its package alone.
package: setup
	$(CARGO) package $(PUBLISHED) --allow-dirty

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

# Builds nothing: as root, cargo is often not there.
install:
	@[ -x '$(XHINT)' ] || { echo "install: no $(XHINT); run 'make build' first" >&2; exit 1; }
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(MANDIR) $(UNITDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR)) \
	    $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/pkgconfig $(DESTDIR)$(DOCDIR)/{docs,examples/nics}
	install -m 755 $(XHINT) $(DESTDIR)$(BINDIR)/xhint
	$(GENERATE) generate man $(DESTDIR)$(MANDIR)
	$(GENERATE) generate bash $(DESTDIR)$(BASHDIR)
	$(GENERATE) generate zsh $(DESTDIR)$(ZSHDIR)
	$(GENERATE) generate fish $(DESTDIR)$(FISHDIR)
	install -m 644 include/xhint.h $(DESTDIR)$(PREFIX)/include
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' packaging/xhint.pc.in >$(DESTDIR)$(PREFIX)/share/pkgconfig/xhint.pc
	sed 's|@BINDIR@|$(BINDIR)|' packaging/xhint@.service.in >$(DESTDIR)$(UNITDIR)/xhint@.service
	install -m 644 README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md COPYING.md LICENSE-* $(DESTDIR)$(DOCDIR)
	install -m 644 docs/*.md $(DESTDIR)$(DOCDIR)/docs
	install -m 644 examples/hints.bpf.c examples/Makefile packaging/device.conf $(DESTDIR)$(DOCDIR)/examples
	install -m 644 examples/nics/*.[ch] $(DESTDIR)$(DOCDIR)/examples/nics

uninstall:
	rm -f $(addprefix $(DESTDIR),$(BINDIR)/xhint $(MANDIR)/xhint.1 $(MANDIR)/xhint-*.1 $(UNITDIR)/xhint@.service \
	    $(BASHDIR)/xhint $(ZSHDIR)/_xhint $(FISHDIR)/xhint.fish $(PREFIX)/include/xhint.h $(PREFIX)/share/pkgconfig/xhint.pc)
	rm -rf $(DESTDIR)$(DOCDIR)

# What `test` built is installed, looked at, and taken away again.
install-test:
	packaging/install-test.sh $(TARGET)/debug/xhint

# cargo-deb packs what `install` lays out.
deb: build
	@command -v cargo-deb >/dev/null || $(CARGO) install --locked cargo-deb
	@scripts/setup.sh deb
	packaging/deb.sh

deb-test: setup-deb
	packaging/deb-test.sh

setup-deb:
	@scripts/setup.sh deb

# With libelf and zlib as archives, of Debian's libelf-dev and zlib1g-dev.
static: setup
	packaging/static.sh

ci: setup lint test install-test doc fuzz-smoke
	PARTS='$(or $(PARTS),dispatch rights base fill)' $(MAKE) vm-test KERNELS='$(or $(KERNELS),6.1 6.12 newest)'
	$(CARGO) bench --workspace --no-run
