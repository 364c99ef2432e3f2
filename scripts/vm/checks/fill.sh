# Without any NIC's BTF: fields come from the packet and the driver, by root and by an ordinary user
# shellcheck shell=bash
. "$(dirname "$0")/lib.sh"

# A wire whose packets carry nothing.
plain() {
    local device
    for device in all default; do echo 1 >/proc/sys/net/ipv6/conf/$device/disable_ipv6; done
    ip link add nic0 type veth peer name wire0 && ip link set nic0 up && ip link set wire0 up || return 1
    ip address add 192.0.2.1/24 dev wire0
    ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wire0
}
# read_all: of 50 packets all have a hash that is not 0
read_all() {
    local packets read sum
    packets=$(seen 0) read=$(seen 1) sum=$(seen 2)
    for _ in {1..50}; do echo >/dev/udp/192.0.2.2/9 || return 1; done
    sleep 0.2
    packets=$(($(seen 0) - packets)) read=$(($(seen 1) - read)) sum=$(($(seen 2) - sum))
    echo "$packets packets, $read read, sum $sum"
    [ $packets = 50 ] && [ $read = 50 ] && [ $sum != 0 ]
}
user() { timeout 120 setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all,+bpf,+net_admin --ambient-caps=-all,+bpf,+net_admin --bounding-set=-all,+bpf,+net_admin "$@"; }
# Whether the kernel has the functions by which XDP programs ask a driver (6.3).
kfuncs() { grep -q bpf_xdp_metadata_rx_hash /proc/kallsyms; }
refused() { ! ./xhint attach prog.bpf.o --dev nic0 --fill rx_hash=kfunc && says ./xhint probe nic0 -- 'bpf_xdp_metadata_rx_hash: .*no such function'; }

# goes OBJECT OPTION...: the device goes while a program runs that asks its driver, and the kernel lives
goes() {
    [ -e /sys/class/net/nic0 ] || plain || return 1
    ./xhint attach "$1" --dev nic0 "${@:2}" && timeout 30 ip link del nic0 && ! dmesg | grep -A3 BUG:
}

# A UDP packet of 43 bytes from /dev/udp: 9 + 0x800 + 14 + 34 + 43 + 1 + 17 + 64 and 1|8|32 for the hash over ports, and 1.
many=$((9 + 2048 + 14 + 34 + 43 + 1 + 17 + 64 + 41 + 1))

ok "a wire without metadata" plain
ok "probe" says ./xhint probe nic0 -- '^driver: +veth$' '^rx_hash +software'
ok "attach" says ./xhint attach prog.bpf.o --dev nic0 -- 'rx_hash +software'
ok "reads the hash of every packet" read_all
if kfuncs; then
    ok "the driver's hash, in its place" says ./xhint attach prog.bpf.o --dev nic0 --fill rx_hash=kfunc -- 'rx_hash +kfunc'
    ok "reads that" read_all
else
    ok "a driver that cannot be asked" refused
fi
ok "status" says ./xhint status nic0 -- 'rx_hash +(software|kfunc)'
ok "detach" xhint detach nic0
ok "as many fields as 32 bytes hold" says ./xhint attach many.bpf.o --dev nic0 -- 'pkt_type +software' 'l4_offset +software'
ok "reads them" gives 50 $((50 * many))
ok "detach that" xhint detach nic0
if kfuncs; then
    for harden in 0 2; do
        nsenter -t 1 -n sysctl -q net.core.bpf_jit_harden=$harden
        ok "a device goes with a long program that asks its driver, bpf_jit_harden=$harden" goes asks.bpf.o
        ok "with a filler, bpf_jit_harden=$harden" goes many.bpf.o --fill rx_hash=kfunc
    done
    ok "another wire" plain
fi
mkdir -p /run/xhint /sys/fs/bpf/xhint
chown -R 1000:1000 /run/xhint /sys/fs/bpf/xhint
ok "CAP_BPF and CAP_NET_ADMIN: attach" user ./xhint attach prog.bpf.o --dev nic0
ok "CAP_BPF and CAP_NET_ADMIN: reads" read_all
if kfuncs; then
    ok "CAP_BPF and CAP_NET_ADMIN: the driver's hash" user ./xhint attach prog.bpf.o --dev nic0 --fill rx_hash=kfunc
    ok "CAP_BPF and CAP_NET_ADMIN: reads that" read_all
fi
ok "CAP_BPF and CAP_NET_ADMIN: detach" user ./xhint detach nic0
ok "CAP_BPF and CAP_NET_ADMIN: as many fields" user ./xhint attach many.bpf.o --dev nic0
ok "CAP_BPF and CAP_NET_ADMIN: reads them" gives 50 $((50 * many))
ok "CAP_BPF and CAP_NET_ADMIN: detach that" user ./xhint detach nic0
exit $failed
