# By an ordinary user with few capabilities, the CPU's mitigations on: without them the verifier lets more pass
# shellcheck shell=bash disable=SC2086 # $two is several words
. "$(dirname "$0")/lib.sh"

mitigated() { grep . /sys/devices/system/cpu/vulnerabilities/spectre_v1 | grep ^Mitigation; }
as() { timeout 120 setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all,"$1" --ambient-caps=-all,"$1" --bounding-set=-all,"$1" "${@:2}"; }
may() { as +bpf,+net_admin "$@"; }
perfmon() { as +bpf,+net_admin,+perfmon "$@"; }
# lacks CAPS WORD COMMAND...: refused, and the error says what is missing
lacks() {
    local out
    out=$(as "$1" "${@:3}" 2>&1) && return 1
    echo "$out"
    grep -q "$2" <<<"$out"
}

two="--dev nic0 --nic nic1.o --nic nic2.o"
four="--dev nic0 --nic nic1.o --nic nic4.o"
ok "a wire" wire
mkdir -p /run/xhint /sys/fs/bpf/xhint
chown 1000:1000 /run/xhint /sys/fs/bpf/xhint
ok "mitigations are on" mitigated
ok "link without any" as -all ./xhint link prog.bpf.o --nic nic1.o --nic nic2.o -o /run/tmp/linked.o
ok "attach without CAP_NET_ADMIN says so" lacks +bpf CAP_NET_ADMIN ./xhint attach prog.bpf.o $two
ok "attach without CAP_BPF says so" lacks +net_admin CAP_BPF ./xhint attach prog.bpf.o $two
ok "table without CAP_PERFMON says so" lacks +bpf,+net_admin CAP_PERFMON ./xhint attach prog.bpf.o $two --dispatch table
for dispatch in static tail; do
    by() { ok "CAP_BPF and CAP_NET_ADMIN, $dispatch: $1" "${@:2}"; }
    by attach may ./xhint attach prog.bpf.o $two --dispatch $dispatch
    by "reads two layouts" gives 20 131070
    by "layouts add" may ./xhint layouts add nic0 nic3.o
    by "reads the added one" gives 30 262140
    by status may ./xhint status nic0
    by detach may ./xhint detach nic0
    by "attach a guarded pointer walk" may ./xhint attach ptr.bpf.o $four --dispatch $dispatch
    by "reads beside the walk" gives 10 43690
    by "detach that" may ./xhint detach nic0
done
for dispatch in static tail table; do
    by() { ok "CAP_PERFMON too, $dispatch: $1" "${@:2}"; }
    by "attach a pointer walk" perfmon ./xhint attach ptr.bpf.o $four --dispatch $dispatch
    by reads gives 10 43690
    by detach perfmon ./xhint detach nic0
done
exit $failed
