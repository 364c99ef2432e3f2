//! `--dispatch tail`: the entry looks the id up in a table and tail-calls the slot it finds there.
//!
//! Its price does not grow with the number of layouts, and layouts can be added while it runs: a program into a slot,
//! a word into the table ([`super::table`]). Where the id leads to no slot, or the slot is empty, the entry goes on
//! with the fallback, which stands right behind it.
//!
//! The kernel empties a program array when the last file descriptor and pin of it are gone. So the slots that a loader
//! fills by itself (libbpf does) last only as long as it keeps or pins the map.

use xhint_btf::ByteOrder;

use super::copies::{Code, Copies};
use super::count::{Counters, Slot};
use super::emit::{Emit, If, Label, Op, R0, R1, R2, R3, R4, R5, R6, R7};
use super::entry::{IdAt, find_length, load_ends, load_id};
use super::maps::{Declared, PROG_ARRAY, declare, place_ids, place_maps};
use super::table::{BUCKET_BITS, IDS, MULTIPLIER, SLOT_BITS, SLOT_COUNT, Table, WAYS, slots_name};
use super::usual::{Usual, selectors};
use super::{Dispatched, Fallback, MAX_METADATA, Plan};
use crate::Error;
use crate::image::Image;

/// `bpf_tail_call` among the kernel's helpers.
const TAIL_CALL: i32 = 12;

/// Links the plan's programs so that each has an entry of its own name, in its own place, and a program
/// `PROGRAM__LAYOUT` beside it for each layout, in the slot that the plan says. Copies that are equal are one
/// program in several slots.
///
/// # Errors
/// [`Error::NoSlot`] for a slot beyond the last, [`Error::TableFull`] for ids that hash together too often, and faults of the object.
pub fn link(plan: Plan<'_>) -> Result<Image, Error> {
    let entries = plan.programs.iter().map(|p| p.function).collect();
    let mut copies = Copies::new(plan.object, plan.variants, plan.names, plan.fallback, entries)?;
    let ids = declare(&mut copies.image, IDS);
    let counters = plan.count.then(|| Counters::declare(&mut copies.image));
    let mut table = Table::default();
    let mut all: Vec<_> = counters.iter().flat_map(|c| c.maps()).collect();
    for program in &plan.programs {
        let own = plan.object.functions().get(program.function).map_or("", |f| f.name.as_str());
        let name = slots_name(own);
        let symbol = declare(&mut copies.image, &name);
        let mut programs = Vec::new();
        for (case, variant) in &program.cases {
            let slot = plan.slots.get(*variant).copied().unwrap_or(SLOT_COUNT);
            if slot >= SLOT_COUNT {
                return Err(Error::NoSlot { slot });
            }
            programs.resize(programs.len().max((slot as usize).saturating_add(1)), None);
            if let Some(place) = programs.get_mut(slot as usize) {
                *place = Some(copies.program(program.function, *variant));
            }
            let full = Error::TableFull { id: case.id };
            table.put(case.id, case.size, slot).ok_or(full)?;
        }
        let code = entry(copies.object.order(), program, plan.or_else, Maps { ids, slots: symbol, counters })?;
        let rest = match plan.or_else {
            Fallback::Program => Some(copies.body(program.function, plan.fallback)),
            Fallback::Action(_) => None,
        };
        copies.set_entry(program.function, code, rest)?;
        let (kind, entries) = (PROG_ARRAY, SLOT_COUNT);
        all.push(Declared { name, symbol, kind, entries, key_size: 4, value_size: 4, programs });
    }
    place_maps(copies.object, &mut copies.image, &mut copies.btf, &all)?;
    place_ids(&mut copies.image, &mut copies.btf, ids, &table)?;
    copies.finish()
}

/// Symbols of what an entry uses.
#[derive(Debug, Clone, Copy)]
struct Maps {
    ids: usize,
    slots: usize,
    counters: Option<Counters>,
}

fn entry(order: ByteOrder, program: &Dispatched, or_else: Fallback, maps: Maps) -> Result<Code, Error> {
    let mut emit = Emit::new(order);
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
                look_up(emit, maps.ids, hit, miss);
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
    let known = selectors(program.cases.iter().map(|c| c.0));
    let usual = Usual::of(&known);
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
    look_up(&mut emit, maps.ids, hit, none);
    emit.put(hit);
    let rest = emit.label();
    match maps.counters {
        Some(counters) => {
            emit.mov(R7, R4);
            counters.known(&mut emit, Slot::InR7);
            go(&mut emit, maps.slots, R7);
            emit.jump(rest);
            emit.put(none);
            counters.unknown(&mut emit, program.cases.iter().map(|c| c.0));
            emit.put(rest);
        }
        None => {
            go(&mut emit, maps.slots, R4);
            emit.put(none);
        }
    }
    match or_else {
        Fallback::Program => emit.mov(R1, R6),
        Fallback::Action(action) => {
            emit.mov_imm(R0, action as i32);
            emit.exit();
        }
    }
    emit.finish()
}

/// Goes to the program in the slot, or on if there is none.
fn go(emit: &mut Emit, slots: usize, slot: u8) {
    emit.mov(R1, R6);
    emit.address(R2, slots, 0);
    emit.mov(R3, slot);
    emit.helper(TAIL_CALL);
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
