#!/usr/bin/env bash
# Packs what `make install` lays out, by cargo-deb; [package.metadata.deb] in crates/xhint-cli/Cargo.toml says the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
stage=$target/release/deb
rm -rf "$stage"
make -s install DESTDIR="$stage" PREFIX=/usr ZSHDIR=/usr/share/zsh/vendor-completions
strip "$stage/usr/bin/xhint"
gzip -9n "$stage"/usr/share/man/man1/*.1

doc=$stage/usr/share/doc/xhint
packaging/third-party.sh | gzip -9n >"$doc/third-party.txt.gz"
version=$("$stage/usr/bin/xhint" --version | cut -d' ' -f2)
gzip -9n >"$doc/changelog.Debian.gz" <<LOG
xhint ($version-1) unstable; urgency=medium

  * What changed is in CHANGELOG.md.

 -- The xhint authors  $(date -R -d "@$(git log -1 --format=%ct)")
LOG
"${CARGO:-cargo}" deb --locked --no-build --package xhint-cli --output "$target/debian/" "$@"
