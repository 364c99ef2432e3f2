# The demo; then attach, read, swap, add, remove, status and detach by each dispatch, on metadata that inject.bpf.o writes
# shellcheck shell=bash
. "$(dirname "$0")/lib.sh"

demo() {
    says xhint demo --json --packets 3000 -- '"sent": 3000,' '"seen": 3000,' '"lost": 0,' '"misread": 0,'
}

ok "kernel BTF" test -s /sys/kernel/btf/vmlinux
ok demo demo
ok "a wire" wire
for dispatch in static tail table; do
    by() { ok "$dispatch: $1" "${@:2}"; }
    by attach xhint attach prog.bpf.o --dev nic0 --nic nic1.o --dispatch $dispatch
    by "reads a layout" gives 10 43690
    by swap xhint attach prog.bpf.o --dev nic0 --nic nic1.o --nic nic2.o --dispatch $dispatch
    by "the maps stay" test "$(seen 0)" = 50
    by "reads two layouts" gives 20 131070
    by "layouts add" xhint layouts add nic0 nic3.o
    by "reads the added one" gives 30 262140
    by "layouts remove" xhint layouts remove nic0 0x5101
    by "reads all but the removed one" gives 20 218450
    by "layouts list" says xhint layouts list nic0 -- 0x0*5102 0x0*5103
    by status says xhint status nic0 -- "$dispatch" '0x0*5102.* 30( |$)' '0x0*5103.* 20( |$)' '0x0*dead.* 40( |$)'
    by detach xhint detach nic0
    by "leaves nothing" gone
done
ok "none: attach" xhint attach prog.bpf.o --dev nic0 --nic nic2.o --dispatch none
ok "none: reads its layout" gives 10 87380
ok "none: detach" xhint detach nic0
ok "none: leaves nothing" gone
exit $failed
