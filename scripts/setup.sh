#!/usr/bin/env bash
# Installs the Debian packages that building and testing xhint need, and only those that are missing; called with `vm`,
# those that `make vm-test` needs as well; with `deb`, those of `make deb` and `make deb-test`.
set -euo pipefail

# clang compiles the BPF parts; clang-19 also knows -mcpu=v4, whose instructions the tests cover.
# libelf-dev, zlib1g-dev and pkg-config are for libbpf, which libbpf-sys builds. libbpf-dev has the headers that BPF
# programs in C include. bpftool, iproute2 and libcap2-bin
# (capsh), dwarves (pahole) and strace are used by the tests.
packages=(gcc libc6-dev make pkg-config libelf-dev zlib1g-dev libbpf-dev clang clang-19 bpftool iproute2 libcap2-bin dwarves strace)
# QEMU, and what unpacks Debian's kernels and makes an initramfs.
[ "${1:-}" != vm ] || packages+=(qemu-system-x86 busybox-static cpio kmod xz-utils zstd lz4 binutils debian-archive-keyring)
# What finds a package's dependencies, and a Debian to try it on.
[ "${1:-}" != deb ] || packages+=(binutils dpkg-dev debootstrap)

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

if ! command -v cargo >/dev/null; then
    echo "setup: there is no cargo in PATH; install Rust first, for example with rustup" >&2
    exit 1
fi
if ! command -v dpkg-query >/dev/null; then
    echo "setup: not a Debian system, so nothing is installed; what xhint needs is, by Debian's names: ${packages[*]}" >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "setup: missing packages; as root run: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q || echo "setup: apt-get update failed; trying with the lists that are there" >&2
apt-get install -q -y --no-install-recommends "${missing[@]}"
