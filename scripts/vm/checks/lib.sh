# Sourced by the checks, which run in the VM as root, in a folder with xhint and the objects of ../bpf.
# shellcheck shell=bash
set -u
failed=0
said=$(mktemp)

# ok NAME COMMAND ARG...: one check, one line
ok() {
    local name=$1 code
    shift
    if "$@" >"$said" 2>&1; then
        echo "ok $name"
    else
        code=$?
        failed=1
        echo "FAIL $name: exit $code: $(tr -s '\n\t ' ' ' <"$said" | cut -c1-600)"
    fi
}

# A hang ends the one check.
xhint() { timeout 120 ./xhint "$@"; }

# seen N: entry N of the program's map `seen`
seen() {
    bpftool map lookup name seen key "$1" 0 0 0 2>/dev/null | tr -d '\n ' |
        sed -n 's/.*"value":"\{0,1\}\([0-9]*\).*/\1/p'
}

# wire: nic0, whose packets come from wire0 through inject.bpf.o
wire() {
    local device
    for device in all default; do echo 1 >/proc/sys/net/ipv6/conf/$device/disable_ipv6; done
    ip link add nic0 type veth peer name port && ip link add wire1 type veth peer name wire0 || return 1
    for device in nic0 port wire0 wire1; do ip link set "$device" up || return 1; done
    ip address add 192.0.2.1/24 dev wire0
    ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wire0
    bpftool prog load inject.bpf.o /sys/fs/bpf/inject pinmaps /sys/fs/bpf/inject-maps &&
        bpftool map update pinned /sys/fs/bpf/inject-maps/port key 0 0 0 0 \
            value "$(cat /sys/class/net/port/ifindex)" 0 0 0 &&
        ip link set dev wire1 xdpdrv pinned /sys/fs/bpf/inject
}

# gives READ SUM: 50 packets (10 of each kind), of which READ have a hash that the program reads; SUM is theirs
gives() {
    local packets read sum got want="50 packets, $1 read, sum $2"
    packets=$(seen 0) read=$(seen 1) sum=$(seen 2)
    for _ in {1..50}; do echo >/dev/udp/192.0.2.2/9 || return 1; done
    sleep 0.2
    got="$(($(seen 0) - packets)) packets, $(($(seen 1) - read)) read, sum $(($(seen 2) - sum))"
    echo "$got; right is: $want"
    [ "$got" = "$want" ]
}

# says COMMAND... -- REGEX...: each stands in a line of what the command prints
says() {
    local command=() out
    while [ "$1" != -- ]; do command+=("$1") && shift; done
    shift
    out=$("${command[@]}") || return 1
    echo "$out"
    for regex; do grep -Eq -e "$regex" <<<"$out" || { echo "no line like $regex"; return 1; }; done
}

gone() { ! ip -d link show nic0 | grep prog/xdp && ! find /sys/fs/bpf/xhint /run/xhint -name '*nic0*' | grep .; }
