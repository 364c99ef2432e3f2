//! What a function uses of its stack, as far as its instructions tell.

use std::collections::BTreeSet;

use xhint_bpf::Instruction;
use xhint_bpf::reg::R10;

/// The least offset from r10: `MAX_BPF_STACK` of include/linux/filter.h.
pub const STACK_END: i32 = -512;

/// The end of the stack that the function uses, as far as can be seen: an offset that is added to a pointer, and one
/// that it is read with. If it uses more, the verifier finds something there that is not what it takes it for.
pub fn lowest(code: &[Instruction]) -> i32 {
    const ADD64_IMM: u8 = 0x07;
    let lower = |least: i32, offset: i64| {
        let small = i32::try_from(offset).ok().filter(|o| (STACK_END..0).contains(o));
        small.map_or(least, |offset| least.min(offset))
    };
    let (mut added, mut read) = (0, 0);
    for insn in code.iter().map(|i| i.insn) {
        match insn.class() {
            _ if insn.code == ADD64_IMM => added = lower(added, insn.imm),
            1..=3 => read = lower(read, insn.off.into()),
            _ => {}
        }
    }
    added.saturating_add(read)
}

/// The `n`th place of eight bytes below `end`, from 1, if there is so much stack.
pub fn below(end: i32, n: i32) -> Option<i16> {
    let at = end.div_euclid(8).saturating_sub(n).saturating_mul(8);
    i16::try_from(at).ok().filter(|_| at >= STACK_END)
}

/// Where the function keeps registers.
pub fn kept(code: &[Instruction]) -> BTreeSet<i16> {
    // BPF_STX | BPF_MEM | BPF_DW
    const STORE: u8 = 0x7b;
    code.iter().map(|i| i.insn).filter(|insn| insn.code == STORE && insn.dst == R10).map(|insn| insn.off).collect()
}
