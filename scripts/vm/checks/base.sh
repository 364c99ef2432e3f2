# Objects that were linked on the host, against this kernel's BTF, run here; any loader loads them
# shellcheck shell=bash
. "$(dirname "$0")/lib.sh"

# The walk's end is the parent of the process that runs the program, which is this shell.
parent() {
    bpftool prog load linked-walk.o /sys/fs/bpf/walk && head -c 64 /dev/zero >/run/tmp/packet &&
        bpftool prog run pinned /sys/fs/bpf/walk data_in /run/tmp/packet || return 1
    echo "read $(seen 0), right is $BASHPID"
    [ "$(seen 0)" = $BASHPID ]
}
put() { # OBJECT PIN
    bpftool prog load "$1" /sys/fs/bpf/linked && ip link set dev nic0 xdpdrv pinned /sys/fs/bpf/linked
}
off() { ip link set dev nic0 xdpdrv off && rm /sys/fs/bpf/linked; }

ok "a wire" wire
ok "linked with --base on the host: walks this kernel's structs" parent
rm -f /sys/fs/bpf/walk
ok "linked with --base and --nic: loads" put linked.o
ok "linked with --base and --nic: reads two layouts" gives 20 131070
ok "linked with --base and --nic: detach" off
exit $failed
