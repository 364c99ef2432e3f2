# Sourced by the scripts of this folder.
# shellcheck shell=bash
set -uo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
vm=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
top=$(readlink -f "$vm/../..")
VM_CACHE=${VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/xhint-vm}
mkdir -p "$VM_CACHE/kernels" && VM_CACHE=$(readlink -f "$VM_CACHE") || exit 1
export vm top VM_CACHE

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# newest_of WANTED: of the kernels on stdin, that of this name, else the newest ordinary one whose version begins so;
# "newest" is the newest of all
newest_of() {
    local names ordinary prefix=${1//./\\.}
    names=$(cat)
    grep -xF -e "$1" <<<"$names" && return
    ordinary=$(grep -E '^[0-9]+\.[0-9]+\.[0-9]' <<<"$names" | grep -vE '(-rt|-cloud|-unsigned)')
    [ "$1" = newest ] || ordinary=$(grep -E "^${prefix//+/\\+}([.+~-].*)?\$" <<<"$ordinary")
    sort -V <<<"$ordinary" | tail -1 | grep .
}

# kernel WANTED: the name of a kernel that get-kernel brought
kernel() {
    find "$VM_CACHE/kernels" -mindepth 1 -maxdepth 1 -printf '%f\n' | newest_of "$1" ||
        die "no kernel $1 in $VM_CACHE/kernels; run: $vm/get-kernel $1"
}

# unpacked FILE: its bytes, by what its first ones say
unpacked() {
    case $(od -An -N4 -tx1 "$1" | tr -d ' ') in
    fd377a58) xz -dc "$1" ;;
    28b52ffd) zstd -dcq "$1" ;;
    1f8b*) gzip -dcq "$1" ;;
    02214c18) lz4 -dcq "$1" ;;
    *) cat "$1" ;;
    esac
}
