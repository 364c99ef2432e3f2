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
# Whether it lets programs come to the packet's struct xdp_buff (6.2), and veth keeps one of its own around that (6.3).
contexts() { grep -q bpf_cast_to_kern_ctx /proc/kallsyms; }
# tagged: another way to the same device, by packets with a VLAN tag
tagged() {
    ip link add link wire0 name wire0.5 type vlan id 5 && ip link set wire0.5 up &&
        ip address add 192.0.3.1/24 dev wire0.5 && ip neigh add 192.0.3.2 lladdr 02:00:00:00:00:02 dev wire0.5
}
# same_both_ways: of 20 packets, half of them tagged, all have the hash, and half the tag, that the driver says when it is asked
same_both_ways() {
    local packets hashes tags
    packets=$(seen 0) hashes=$(seen 1) tags=$(seen 2)
    for _ in {1..10}; do echo >/dev/udp/192.0.2.2/9 && echo >/dev/udp/192.0.3.2/9 || return 1; done
    sleep 0.2
    packets=$(($(seen 0) - packets)) hashes=$(($(seen 1) - hashes)) tags=$(($(seen 2) - tags))
    echo "$packets packets, $hashes hashes and $tags tags the same"
    [ $packets = 20 ] && [ $hashes = 20 ] && [ $tags = 10 ]
}
# refuses WORD COMMAND...: it fails, and says so with the word
refuses() {
    local out
    ! out=$("${@:2}" 2>&1) || return 1
    echo "$out"
    grep -q "$1" <<<"$out"
}
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
if contexts; then
    cat >own.toml <<'END'
drivers = ["veth"]
[[path]]
hint = "rx_hash"
path = "veth_xdp_buff.xdp.rxq->dev->ifindex"
says = "kernel"
read-from = "struct xdp_rxq_info"
END
    ok "another way to it" tagged
    ok "the driver's structures" says ./xhint attach both.bpf.o --dev nic0 --replace --yes --fill driver -- \
        'rx_hash +driver veth_xdp_buff.skb->hash' 'vlan_tci +driver veth_xdp_buff.skb->vlan_tci'
    ok "the same as it says itself" same_both_ways
    ok "not in generic mode" refuses 'in generic mode' ./xhint attach both.bpf.o --dev nic0 --mode generic --fill vlan_tci=driver
    ok "detach that program" xhint detach nic0
    ok "by a path of one's own" says ./xhint attach prog.bpf.o --dev nic0 --fill rx_hash=driver --drivers own.toml -- \
        'rx_hash +driver veth_xdp_buff.xdp.rxq->dev->ifindex'
    ok "reads what is there" gives 50 $((50 * $(cat /sys/class/net/nic0/ifindex)))
else
    ok "no way to the driver's structures" says ./xhint probe nic0 -- 'driver rx_hash: +nowhere: the kernel has no bpf_cast_to_kern_ctx'
fi
ok "status" says ./xhint status nic0 -- 'rx_hash +(software|kfunc|driver)'
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
if contexts; then
    ok "CAP_BPF and CAP_NET_ADMIN: not the driver's structures" refuses CAP_PERFMON \
        user ./xhint attach prog.bpf.o --dev nic0 --fill rx_hash=driver
fi
ok "CAP_BPF and CAP_NET_ADMIN: detach" user ./xhint detach nic0
ok "CAP_BPF and CAP_NET_ADMIN: as many fields" user ./xhint attach many.bpf.o --dev nic0
ok "CAP_BPF and CAP_NET_ADMIN: reads them" gives 50 $((50 * many))
ok "CAP_BPF and CAP_NET_ADMIN: detach that" user ./xhint detach nic0
exit $failed
