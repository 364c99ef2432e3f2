#!/usr/bin/env bash
# Builds the program without any shared library, with libelf and zlib as the archives of Debian's libelf-dev and zlib1g-dev.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${CARGO_TARGET_DIR:-target}/static
host=$(rustc -vV | sed -n 's/^host: //p')
# rustc looks for archives only where it is told. With --target, the flags do not reach build scripts and macros, which
# are loaded as shared libraries.
LIBBPF_SYS_LIBRARY_PATH=$(pkg-config --variable=libdir libelf) RUSTFLAGS='-C target-feature=+crt-static' \
    "${CARGO:-cargo}" build --release -p xhint-cli --bin xhint --features libbpf-sys/static --target "$host" --target-dir "$dir"
binary=$dir/$host/release/xhint
if readelf -d "$binary" | grep NEEDED; then
    echo "static: $binary still needs the libraries above" >&2
    exit 1
fi
echo "static: $binary"
