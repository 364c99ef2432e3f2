//! Packets that come without metadata, in an entry that has a filler: they are given some before the program runs, and lose
//! it again behind it.

use xhint_bpf::reg::{R0, R1, R2, R3, R4, R6};
use xhint_bpf::{Emit, FunctionId, Hook, If, Label, Op, SymbolId};

use super::entry::load_ends;

/// `bpf_xdp_adjust_meta`.
const ADJUST_META: i32 = 54;

/// What fills, in a request.
#[derive(Debug, Clone, Copy)]
pub struct Filled {
    /// The function.
    pub function: FunctionId,
    /// The place of its layout among the request's.
    pub layout: usize,
    /// Bytes of that.
    pub size: u32,
    /// Whether the metadata stays in front of packets that go on to the stack.
    pub keep: bool,
}

/// Emits the call of the filler `fill` for packets without metadata: those that it fills go to `full`, those that it cannot
/// to `none`. With the context in r1 and r6; what follows is for packets that have metadata.
pub fn fill(emit: &mut Emit, hook: Hook, fill: SymbolId, full: Label, none: Label) {
    let there = emit.label();
    load_ends(emit, hook);
    emit.jump_if(If::Below, R2, R3, there);
    emit.call(fill);
    emit.jump_if_imm(If::Equal, R0, 0, none);
    emit.jump(full);
    emit.put(there);
}

/// Emits the call of `copy` for a packet that was filled, with the context in r6. What it passes on loses the metadata, if
/// that is still as long.
pub fn run(emit: &mut Emit, hook: Hook, copy: SymbolId, size: u32) {
    let (as_it_is, end) = (emit.label(), emit.label());
    emit.mov(R1, R6);
    emit.call(copy);
    emit.jump_if_imm(If::NotEqual, R0, hook.passes(), end);
    emit.mov(R1, R6);
    load_ends(emit, hook);
    emit.mov(R4, R2);
    emit.op(Op::Add, R4, size);
    emit.jump_if(If::Above, R4, R3, as_it_is);
    emit.jump_if(If::Below, R4, R3, as_it_is);
    emit.mov_imm(R2, size);
    emit.helper(ADJUST_META);
    emit.put(as_it_is);
    emit.mov_imm(R0, hook.passes());
    emit.put(end);
    emit.exit();
}
