//! `--dispatch tail`: the entry looks the id up in a table and tail-calls the slot it finds there.
//!
//! Its price does not grow with the number of layouts, and layouts can be added while it runs: a program into a slot,
//! a word into the table ([`super::table`]). Where the id leads to no slot, or the slot is empty, the entry goes on
//! with the fallback, which stands right behind it.
//!
//! The kernel empties a program array when the last file descriptor and pin of it are gone. So the slots that a loader
//! fills by itself (libbpf does) last only as long as it keeps or pins the map.

use std::collections::BTreeMap;

use super::copies::{Code, Copies};
use super::emit::{Emit, If, Label, Op, R0, R1, R2, R3, R4, R5, R6};
use super::entry::{IdAt, find_length, load_ends, load_id};
use super::maps::{Slots, declare, place_ids, place_slots};
use super::table::{BUCKET_BITS, IDS, MULTIPLIER, SLOT_BITS, Table, WAYS, slots_name};
use super::{Dispatched, Fallback, Plan};
use crate::Error;
use crate::image::Image;

/// `bpf_tail_call` among the kernel's helpers.
const TAIL_CALL: i32 = 12;
/// Bytes that metadata can have: `xdp_metalen_invalid` of include/net/xdp.h.
const MAX_METADATA: u32 = 252;

/// Links the plan's programs so that each has an entry of its own name, in its own place, and a program
/// `PROGRAM__LAYOUT` beside it for each layout, in slot 0 and up in the order of the plan's variants. Copies that are
/// equal are one program in several slots.
///
/// # Errors
/// [`Error::TableFull`] for ids that hash together too often, and faults of the object.
pub fn link(plan: Plan<'_>) -> Result<Image, Error> {
    let entries = plan.programs.iter().map(|p| p.function).collect();
    let mut copies = Copies::new(plan.object, plan.variants, plan.names, plan.fallback, entries)?;
    let ids = declare(&mut copies.image, IDS);
    let mut table = Table::default();
    let mut all = Vec::new();
    for program in &plan.programs {
        let name = plan.object.functions().get(program.function).map_or("", |f| f.name.as_str());
        let name = slots_name(name);
        let symbol = declare(&mut copies.image, &name);
        let mut programs = vec![None; plan.fallback];
        for (case, variant) in &program.cases {
            let copy = copies.program(program.function, *variant);
            if let Some(slot) = programs.get_mut(*variant) {
                *slot = Some(copy);
            }
            let full = Error::TableFull { id: case.id };
            table.put(case.id, case.size, *variant as u32).ok_or(full)?;
        }
        let code = entry(&copies, program, plan.or_else, ids, symbol)?;
        let rest = match plan.or_else {
            Fallback::Program => Some(copies.body(program.function, plan.fallback)),
            Fallback::Action(_) => None,
        };
        copies.set_entry(program.function, code, rest)?;
        all.push(Slots { name, symbol, programs });
    }
    place_slots(copies.object, &mut copies.image, &mut copies.btf, &all)?;
    place_ids(&mut copies.image, &mut copies.btf, ids, &table)?;
    copies.finish()
}

fn entry(
    copies: &Copies<'_>,
    program: &Dispatched,
    or_else: Fallback,
    ids: usize,
    slots: usize,
) -> Result<Code, Error> {
    let mut emit = Emit::new(copies.object.order());
    let (hit, none, last) = (emit.label(), emit.label(), emit.label());
    // The lookup that all lengths share wants the id in r5 and the length's part of the key in r0.
    let on_length = |emit: &mut Emit, length: u32, selectors: &[IdAt]| {
        for (n, at) in selectors.iter().enumerate() {
            load_id(emit, *at);
            emit.mov_imm(R0, super::table::key(0, length) as i32);
            if n == selectors.len().saturating_sub(1) {
                emit.jump(last);
            } else {
                let miss = emit.label();
                // `load_id` and the lookup use r2, which the next selector needs.
                look_up(emit, ids, hit, miss);
                emit.put(miss);
                load_ends(emit);
                let keep = emit.label();
                test_length(emit, length, none, keep);
                emit.put(keep);
            }
        }
        if selectors.is_empty() {
            emit.jump(none);
        }
    };
    let known = selectors(program);
    let usual = usual_selector(&known);
    emit.mov(R6, R1);
    load_ends(&mut emit);
    let other = emit.label();
    let lengths: Vec<_> = known.keys().copied().collect();
    find_length(&mut emit, &lengths, other, &mut |emit, length| {
        on_length(emit, length, known.get(&length).map_or(&[], Vec::as_slice));
    });
    emit.put(other);
    let rest: Vec<_> = (4..=MAX_METADATA).step_by(4).filter(|l| !known.contains_key(l)).collect();
    find_length(&mut emit, &rest, none, &mut |emit, length| {
        on_length(emit, length, usual.at(length).as_slice());
    });
    emit.put(last);
    look_up(&mut emit, ids, hit, none);
    emit.put(hit);
    emit.mov(R1, R6);
    emit.address(R2, slots, 0);
    emit.mov(R3, R4);
    emit.helper(TAIL_CALL);
    emit.put(none);
    match or_else {
        Fallback::Program => emit.mov(R1, R6),
        Fallback::Action(action) => {
            emit.mov_imm(R0, action as i32);
            emit.exit();
        }
    }
    emit.finish()
}

/// Looks the id in r5, of the length in r0, up: to `hit` with the slot in r4, or to `miss`. Uses r0, r2, r4 and r5.
fn look_up(emit: &mut Emit, ids: usize, hit: Label, miss: Label) {
    emit.mov(R4, R5);
    emit.op(Op::Lsh, R4, 32);
    emit.op_reg(Op::Or, R0, R4);
    emit.mul32(R5, MULTIPLIER);
    emit.op(Op::Rsh, R5, 32_i32.saturating_sub(BUCKET_BITS as i32));
    // Bytes of a bucket.
    emit.op(Op::Lsh, R5, (WAYS * 8).trailing_zeros() as i32);
    emit.address(R2, ids, 0);
    emit.op_reg(Op::Add, R2, R5);
    for way in 0..WAYS {
        emit.load(8, R4, R2, (way as i16).saturating_mul(8));
        emit.op_reg(Op::Xor, R4, R0);
        emit.jump_if_imm(If::Below, R4, 1 << SLOT_BITS, hit);
    }
    emit.jump(miss);
}

/// Makes the verifier know again that the metadata has this length.
fn test_length(emit: &mut Emit, length: u32, none: Label, equal: Label) {
    emit.mov(R4, R2);
    emit.op(Op::Add, R4, length as i32);
    emit.jump_if(If::Above, R4, R3, none);
    emit.jump(equal);
}

/// Where the ids stand in metadata of each length that the program's layouts have.
fn selectors(program: &Dispatched) -> BTreeMap<u32, Vec<IdAt>> {
    let mut out: BTreeMap<u32, Vec<IdAt>> = BTreeMap::new();
    for (case, _) in &program.cases {
        let list = out.entry(case.size).or_default();
        if !list.contains(&case.at) {
            list.push(case.at);
        }
    }
    out
}

/// Where an id stands in metadata of a length that no layout has yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usual {
    /// So many bytes before the packet.
    FromEnd(u32, IdAt),
    FromStart(IdAt),
}

/// As in all the layouts there are, if they agree; else the last four bytes.
fn usual_selector(known: &BTreeMap<u32, Vec<IdAt>>) -> Usual {
    let all: Vec<(u32, IdAt)> = known.iter().flat_map(|(l, list)| list.iter().map(|at| (*l, *at))).collect();
    let default = IdAt { offset: 0, bytes: 4, swapped: false, shift: 0, bits: 32 };
    let Some((length, first)) = all.first().copied() else { return Usual::FromEnd(4, default) };
    let back = |length: u32, at: IdAt| (length.saturating_sub(at.offset), IdAt { offset: 0, ..at });
    let (distance, at) = back(length, first);
    if all.iter().all(|(l, a)| back(*l, *a) == (distance, at)) {
        Usual::FromEnd(distance, at)
    } else if all.iter().all(|(_, a)| *a == first) {
        Usual::FromStart(first)
    } else {
        Usual::FromEnd(4, default)
    }
}

impl Usual {
    fn at(self, length: u32) -> Option<IdAt> {
        let at = match self {
            Usual::FromEnd(distance, at) => IdAt { offset: length.checked_sub(distance)?, ..at },
            Usual::FromStart(at) => at,
        };
        (at.offset.checked_add(at.bytes)? <= length).then_some(at)
    }
}
