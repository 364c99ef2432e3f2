//! The way from a packet's metadata to the copy that reads it, in instructions.
//!
//! What the verifier lets a program do with `data_meta` shapes it: the id can be read only at a fixed distance from
//! `data_meta`, behind a test that so many bytes are there, and pointers into a packet compare by `<` and `>` only. So
//! the total length is found first: `data_meta + L` is neither above nor below `data`. In the case of each length the
//! id is then read where the selector of that length's layouts has it.

use std::collections::HashMap;

use xhint_bpf::reg::{R0, R1, R2, R3, R4, R5};
use xhint_bpf::{Context, Emit, Hook, If, Label, Op};

use super::case::{Case, IdAt};
use super::usual::selectors;

/// Emits the decision: jumps to the label of the case that the packet is, else to `none`. r1 keeps the context; r0 and
/// r2 to r5 are used.
pub fn decide(emit: &mut Emit, hook: Hook, cases: &[(Case, Label)], none: Label) {
    let places = selectors(cases.iter().map(|c| c.0));
    let mut ids = HashMap::<(u32, IdAt), Vec<(u32, Label)>>::new();
    for (case, label) in cases {
        ids.entry((case.size, case.at)).or_default().push((case.id, *label));
    }
    load_ends(emit, hook);
    let lengths: Vec<_> = places.keys().copied().collect();
    find_length(emit, &lengths, none, &mut |emit, length| {
        for at in places.get(&length).into_iter().flatten() {
            let other = emit.label();
            load_id(emit, *at);
            let mut ids = ids.get(&(length, *at)).cloned().unwrap_or_default();
            ids.sort_unstable();
            find_id(emit, &ids, other);
            emit.put(other);
        }
        emit.jump(none);
    });
}

/// r2 = `data_meta`, r3 = `data`.
pub fn load_ends(emit: &mut Emit, hook: Hook) {
    load_end(emit, R2, hook.context().data_meta);
    load_end(emit, R3, hook.context().data);
}

/// `dst` = the address that stands in the context at this offset.
pub fn load_end(emit: &mut Emit, dst: u8, offset: i16) {
    emit.load(Context::WORD.into(), dst, R1, offset);
}

/// Emits a search among `lengths`, which ascend: where `data_meta + length` is `data` goes what `found` emits.
pub fn find_length(emit: &mut Emit, lengths: &[u32], none: Label, found: &mut impl FnMut(&mut Emit, u32)) {
    let (low, rest) = lengths.split_at(lengths.len() / 2);
    let Some((middle, high)) = rest.split_first() else {
        emit.jump(none);
        return;
    };
    let below = if low.is_empty() { none } else { emit.label() };
    let above = if high.is_empty() { none } else { emit.label() };
    emit.mov(R4, R2);
    emit.op(Op::Add, R4, *middle);
    emit.jump_if(If::Above, R4, R3, below);
    emit.jump_if(If::Below, R4, R3, above);
    found(emit, *middle);
    if !low.is_empty() {
        emit.put(below);
        find_length(emit, low, none, found);
    }
    if !high.is_empty() {
        emit.put(above);
        find_length(emit, high, none, found);
    }
}

/// Makes the verifier know again that the metadata has this length, which it has: r2 and r3 anew, the context in r1.
pub fn retest_length(emit: &mut Emit, hook: Hook, length: u32, none: Label) {
    load_ends(emit, hook);
    emit.mov(R4, R2);
    emit.op(Op::Add, R4, length);
    emit.jump_if(If::Above, R4, R3, none);
}

/// r5 = the id, from metadata whose length is known.
pub fn load_id(emit: &mut Emit, at: IdAt) {
    emit.load(at.bytes, R5, R2, at.offset as i16);
    if at.swapped {
        emit.swap(R5, at.bytes);
    }
    if at.shift != 0 {
        emit.op(Op::Rsh, R5, at.shift);
    }
    if at.shift.saturating_add(at.bits) < at.bytes.saturating_mul(8) || at.bytes == 8 {
        let mask = 1u64.checked_shl(at.bits).map_or(u64::MAX, |m| m.wrapping_sub(1));
        match i32::try_from(mask) {
            Ok(mask) => emit.op(Op::And, R5, mask),
            Err(_) => {
                emit.wide(R0, mask);
                emit.op_reg(Op::And, R5, R0);
            }
        }
    }
}

/// Emits a search for the id in r5 among `ids`, which ascend.
pub fn find_id(emit: &mut Emit, ids: &[(u32, Label)], none: Label) {
    // So few are tested one by one faster than halved.
    if ids.len() <= 3 {
        for (id, label) in ids {
            emit.jump_if_imm32(If::Equal, R5, *id, *label);
        }
        emit.jump(none);
        return;
    }
    let (low, high) = ids.split_at(ids.len() / 2);
    let above = emit.label();
    if let Some((last, _)) = low.last() {
        emit.jump_if_imm32(If::Above, R5, *last, above);
    }
    find_id(emit, low, none);
    emit.put(above);
    find_id(emit, high, none);
}
