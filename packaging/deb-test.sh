#!/usr/bin/env bash
# Installs the package that `make deb` made on a minimal Debian 12, in a chroot without Rust or any build tool, runs the
# demo there, and removes it. The Debian is kept in $DEB_CACHE [~/.cache/xhint-deb].
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "deb-test: chroot and the demo take root" >&2; exit 1; }
deb=$(find "${CARGO_TARGET_DIR:-target}/debian" -name 'xhint_*.deb' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -1 | cut -d' ' -f2-)
[ -n "$deb" ] || { echo "deb-test: no package; run 'make deb' first" >&2; exit 1; }
cache=${DEB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xhint-deb}
mkdir -p "$cache"
if [ ! -f "$cache/bookworm.tar" ]; then
    new=$(mktemp -d "$cache/new.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    debootstrap --variant=minbase bookworm "$new/root" >"$cache/debootstrap.log" || { tail "$cache/debootstrap.log" >&2; exit 1; }
    tar -C "$new/root" -cf "$new/tar" .
    mv "$new/tar" "$cache/bookworm.tar"
    rm -rf "$new"
fi

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
tar -C "$root" -xf "$cache/bookworm.tar"
cp "$deb" "$root/xhint.deb"
cp /etc/resolv.conf "$root/etc/"
# In namespaces of mounts and network of its own, so that nothing of it is seen or left here; apt alone needs the network.
inside() {
    unshare --mount --propagation private "$@"
}
chroot_sh='mount -t proc proc "$0/proc" && mount -t tmpfs run "$0/run" && exec chroot "$0" sh -euc "$1"'
inside sh -euc "$chroot_sh" "$root" '
    export DEBIAN_FRONTEND=noninteractive
    for tool in cargo rustc cc gcc clang make bpftool ip; do
        ! command -v $tool || { echo "deb-test: this Debian has $tool" >&2; exit 1; }
    done
    apt-get update -q && apt-get install -q -y -o Dpkg::Use-Pty=0 --no-install-recommends ./xhint.deb'
inside --net sh -euc 'mount -t sysfs sys "$0/sys" && mount -t bpf bpf "$0/sys/fs/bpf" && '"$chroot_sh" "$root" '
    mkdir -p /run/netns
    xhint --version
    xhint demo'
inside sh -euc "$chroot_sh" "$root" '
    dpkg --verify xhint
    apt-get purge -q -y -o Dpkg::Use-Pty=0 xhint
    for left in /usr/bin/xhint /usr/include/xhint.h /usr/share/doc/xhint /usr/lib/systemd/system/xhint@.service; do
        [ ! -e "$left" ] || { echo "deb-test: $left is left" >&2; exit 1; }
    done'
echo "deb-test: $(basename "$deb") installs on a minimal Debian 12, runs the demo, and goes without a trace"
