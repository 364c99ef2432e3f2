//! Dispatch by tail calls: the entry tail-calls the slot of the packet's layout.
//!
//! It knows the slots of the layouts it was linked with, and decides among them as [`super::direct`] does. A tail call of
//! a constant slot is a direct jump on x86-64: the JIT writes the program's address into the code, and writes it anew when
//! the slot gets another program (`map_poke_run` of kernel/bpf/arraymap.c). That is far from the price of an indirect one.
//!
//! Layouts that come later are found in a table of ids: a program into a slot, a word into the table ([`super::table`]),
//! and no packet notices. Where the id leads to no slot, or the slot is empty, the entry goes on with the fallback, which
//! stands right behind it.
//!
//! A program that is loaded only if somebody asks for it (`SEC("?xdp")`) has no slots: libbpf could not fill them from
//! programs that it has not loaded, and would give the whole object up. Its copies stand behind its entry.
//!
//! The kernel empties a program array when the last file descriptor and pin of it are gone. So the slots that a loader
//! fills by itself (libbpf does) last only as long as it keeps or pins the map.

use std::collections::BTreeMap;

use xhint_bpf::reg::{R0, R1, R2, R3, R4, R5, R6, R7};
use xhint_bpf::{Emit, Hook, If, Instruction, Label, Op, SymbolId};

use super::case::{Case, IdAt};
use super::copies::Copies;
use super::count::{Counters, Index};
use super::direct::{Routing, put_entry};
use super::entry::{decide, find_length, load_ends, load_id, retest_length};
use super::table::{
    BUCKET_SHIFT, BUCKET_WORDS, IDS, IDS_SECTION, MULTIPLIERS, SLOT_BITS, SLOT_COUNT, Slot, Table, length_key,
    slots_name,
};
use super::usual::{Usual, selectors};
use super::{Dispatched, MAX_METADATA, Request};
use crate::Error;
use crate::Fallback;
use xhint_object::Image;
use xhint_object::maps::{Declared, PROG_ARRAY, place_data, place_maps};

/// `bpf_tail_call` among the kernel's helpers.
const TAIL_CALL: i32 = 12;
/// Layouts that the entry decides among by itself: about as many as jumps can span once the kernel has put lookups in
/// place of calls. Others are found in the table.
const MAX_DIRECT: usize = 1000;
/// The same where it counts.
const MAX_COUNTED: usize = 500;

/// Links the request's programs so that each has an entry of its own name, in its own place, and a program
/// `PROGRAM__LAYOUT` beside it for each layout, in the slot that the request says. Copies that are equal are one
/// program in several slots, and in those of layouts that lack what is read stands `PROGRAM__fallback`.
///
/// # Errors
/// [`Error::NoSlot`] for more layouts than slots, [`Error::TableFull`] for ids that hash together too often, and faults of the object.
pub fn link(request: &Request<'_>) -> Result<Image, Error> {
    let mut copies = Copies::of(request)?;
    let ids = copies.image.add_variable(IDS);
    let counters = request.count.then(|| Counters::declare(&mut copies.image));
    let mut table = Table::default();
    let mut all: Vec<_> = counters.iter().flat_map(|c| c.maps()).collect();
    for program in &request.programs {
        if program.optional {
            put_entry(&mut copies, program, counters, Routing::of(request))?;
            continue;
        }
        let name = slots_name(&request.object.functions().at(program.function).name);
        let symbol = copies.image.add_variable(&name);
        let (mut programs, mut slots) = (BTreeMap::new(), Vec::new());
        for route in &program.routes {
            let case = route.case;
            let slot = request.slot(route)?;
            let copy = match request.or_else {
                Fallback::Action(action) if request.falls_back(route) => copies.action(program.function, action),
                _ => copies.program(program.function, route.variant),
            };
            programs.insert(slot, copy);
            let full = Error::TableFull { id: case.id };
            table.put(case.id, case.size, slot).ok_or(full)?;
            slots.push(slot);
        }
        let rest = match request.or_else {
            Fallback::Program => Rest::Program(copies.named_code(program.function, request.fallback, 0)?),
            Fallback::Action(action) => Rest::Action(action),
        };
        let mut emit = Emit::new(copies.object.order());
        entry(&mut emit, program, Maps { ids, slots: symbol, counters }, &slots, rest);
        copies.set_entry(program.function, emit.finish())?;
        let last = programs.keys().next_back().copied();
        let programs = last.into_iter().flat_map(Slot::up_to).map(|slot| programs.get(&slot).copied()).collect();
        let (kind, entries) = (PROG_ARRAY, SLOT_COUNT);
        all.push(Declared { name, symbol, kind, entries, key_size: 4, value_size: 4, programs });
    }
    place_maps(copies.object, &mut copies.image, &mut copies.btf, &all)?;
    let words = table.bytes(copies.object.order());
    place_data(&mut copies.image, &mut copies.btf, IDS_SECTION, &[(ids, IDS.to_owned(), words)])?;
    copies.finish()
}

/// Symbols of what an entry uses.
#[derive(Debug, Clone, Copy)]
struct Maps {
    ids: SymbolId,
    slots: SymbolId,
    counters: Option<Counters>,
}

/// What packets get that no slot is for.
enum Rest {
    Program(Vec<Instruction>),
    Action(u32),
}

/// Labels in an entry.
#[derive(Debug, Clone, Copy)]
struct Labels {
    /// The lookup that all lengths share: the id in r5, the length's part of the key in r0.
    look_up: Label,
    /// A slot was found: in r2.
    hit: Label,
    /// The slot has no program: the packet was counted as the slot's and is not.
    empty: Label,
    /// The packet is of no layout.
    none: Label,
}

fn entry(emit: &mut Emit, program: &Dispatched, maps: Maps, slots: &[Slot], rest: Rest) {
    let labels = Labels { look_up: emit.label(), hit: emit.label(), empty: emit.label(), none: emit.label() };
    let other = emit.label();
    // Helpers leave r6 alone.
    emit.mov(R6, R1);
    let most = if maps.counters.is_some() { MAX_COUNTED } else { MAX_DIRECT };
    // Where ids stand in several labels these are tried in one order, here or in the table.
    let known = selectors(program.cases());
    let one_place = |case: &Case| known.get(&case.size).is_none_or(|places| places.len() == 1);
    let all_fit = program.routes.len() <= most;
    let direct = program.cases().zip(slots).filter(|(case, _)| all_fit || one_place(case)).take(most);
    let (direct, slots): (Vec<_>, Vec<_>) = direct.map(|(case, slot)| ((case, emit.label()), *slot)).unzip();
    decide(emit, program.hook, &direct, other);
    for ((_, label), slot) in direct.iter().zip(&slots) {
        emit.put(*label);
        go(emit, maps, (*slot).into(), labels);
    }
    emit.put(other);
    find_other(emit, program, maps, labels);
    emit.put(labels.hit);
    emit.mov(R7, R2);
    go(emit, maps, Index::InR7, labels);
    emit.put(labels.empty);
    if let Some(counters) = maps.counters {
        counters.take_back(emit);
    }
    emit.put(labels.none);
    if let Some(counters) = maps.counters {
        counters.unknown(emit, program.hook, program.cases());
    }
    match rest {
        Rest::Program(code) => {
            emit.mov(R1, R6);
            emit.body(code);
        }
        Rest::Action(action) => {
            emit.mov_imm(R0, action);
            emit.exit();
        }
    }
}

/// Looks the id up in metadata of any length. The context is in r1 and r6.
fn find_other(emit: &mut Emit, program: &Dispatched, maps: Maps, labels: Labels) {
    let known = selectors(program.cases());
    let usual = Usual::of(&known);
    load_ends(emit, program.hook);
    let lengths: Vec<_> = (4..=MAX_METADATA).step_by(4).collect();
    find_length(emit, &lengths, labels.none, &mut |emit, length| {
        let usual = usual.at(length);
        let own = known.get(&length).map_or(usual.as_slice(), Vec::as_slice);
        on_length(emit, program.hook, length, own, maps.ids, labels);
    });
    emit.put(labels.look_up);
    look_up(emit, maps.ids, labels.hit, labels.none);
}

/// Looks the id up in metadata of a known length, in each place where it may stand.
fn on_length(emit: &mut Emit, hook: Hook, length: u32, selectors: &[IdAt], ids: SymbolId, labels: Labels) {
    let Some((last, rest)) = selectors.split_last() else { return emit.jump(labels.none) };
    for at in rest {
        load_key(emit, *at, length);
        let miss = emit.label();
        look_up(emit, ids, labels.hit, miss);
        emit.put(miss);
        // The lookup used r2, which the next selector needs.
        retest_length(emit, hook, length, labels.none);
    }
    load_key(emit, *last, length);
    emit.jump(labels.look_up);
}

/// r5 = the id, r0 = the length's part of the key.
fn load_key(emit: &mut Emit, at: IdAt, length: u32) {
    load_id(emit, at);
    emit.mov_imm(R0, length_key(length));
}

/// Counts the packet and goes to the program in the slot.
fn go(emit: &mut Emit, maps: Maps, index: Index, labels: Labels) {
    if let Some(counters) = maps.counters {
        counters.known(emit, index, labels.none);
    }
    emit.mov(R1, R6);
    emit.address(R2, maps.slots, 0);
    match index {
        Index::Known(index) => emit.mov_imm(R3, index),
        Index::InR7 => emit.mov(R3, R7),
    }
    emit.helper(TAIL_CALL);
    emit.jump(labels.empty);
}

/// Looks the id in r5, of the length in r0, up: to `hit` with the slot in r2, or to `miss`. Uses r0, r2 and r4.
fn look_up(emit: &mut Emit, ids: SymbolId, hit: Label, miss: Label) {
    emit.mov(R4, R5);
    emit.op(Op::Lsh, R4, 32);
    emit.op_reg(Op::Or, R0, R4);
    for multiplier in MULTIPLIERS {
        emit.mov(R2, R5);
        emit.mul32(R2, multiplier);
        emit.op(Op::Rsh, R2, BUCKET_SHIFT);
        // Bytes of a bucket.
        emit.op(Op::Lsh, R2, (BUCKET_WORDS * 8).trailing_zeros());
        emit.address(R4, ids, 0);
        emit.op_reg(Op::Add, R4, R2);
        for word in (0..).step_by(8).take(BUCKET_WORDS) {
            emit.load(8, R2, R4, word);
            emit.op_reg(Op::Xor, R2, R0);
            emit.jump_if_imm(If::Below, R2, 1 << SLOT_BITS, hit);
        }
    }
    emit.jump(miss);
}
