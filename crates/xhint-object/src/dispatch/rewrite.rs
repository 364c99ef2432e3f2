//! Code that reads what differs between layouts from a row of numbers.
//!
//! A load `dst = *(u32 *)(src + off)` becomes
//!
//! ```text
//! t = *(u8 *)(row + field)        the offset
//! t += src
//! t += 4
//! if t > data goto bad            what the verifier wants of a pointer that moved by a variable
//! dst = *(u32 *)(t - 4)
//! ```
//!
//! and a constant `dst = imm` becomes `dst = *(u8 *)(row + field)`. `row` and `data` are kept in registers that the
//! function does not name before the last such place, or else on its stack; `t` is a register that nobody needs there,
//! or one that is saved. That `bad` is never reached follows from the length that the entry tested.

use std::collections::BTreeMap;

use super::alike::Site;
use super::emit::{Emit, If, Label, Op, R3, R10};
use super::liveness::Liveness;
use super::rows::Field;
use crate::assembly::Body;
use crate::effect::{Flow, Regs, flow};
use crate::insn::{Insn, SIZE, instructions};
use xhint_btf::ByteOrder;

/// The least offset from r10: `MAX_BPF_STACK` of include/linux/filter.h.
const STACK_END: i32 = -512;

/// Where a value is kept throughout a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Reg(u8),
    Stack(i16),
}

impl Home {
    /// Puts there what `value` puts into the register it is given, or has in another.
    pub fn set(self, emit: &mut Emit, value: impl FnOnce(&mut Emit, u8) -> u8) {
        match self {
            Home::Reg(own) => match value(emit, own) {
                there if there == own => {}
                other => emit.mov(own, other),
            },
            Home::Stack(at) => {
                let reg = value(emit, R3);
                emit.store(8, R10, at, reg);
            }
        }
    }

    /// The register that has it, which is `spare` if it has to be loaded.
    fn get(self, emit: &mut Emit, spare: u8) -> u8 {
        match self {
            Home::Reg(own) => own,
            Home::Stack(at) => {
                emit.load(8, spare, R10, at);
                spare
            }
        }
    }
}

/// A function that can be rewritten.
pub struct Rewrite {
    order: ByteOrder,
    live: Liveness,
    pub row: Home,
    pub data: Home,
    /// Where registers are saved.
    saved: [i16; 2],
}

/// Registers for one load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spare {
    pointer: u8,
    data: u8,
    /// Those of them that have to be saved.
    save: [Option<u8>; 2],
}

impl Rewrite {
    /// How to rewrite the function with this code at these sites. `None` if it has no stack or registers left for that, or
    /// jumps that are not understood.
    pub fn new(code: &[u8], order: ByteOrder, sites: &BTreeMap<usize, Site>) -> Option<Rewrite> {
        if instructions(code, order, 0).any(|(at, insn)| flow(insn, at) == Flow::Anywhere) {
            return None;
        }
        let live = Liveness::of(code, order);
        let untouched = sites.keys().fold(Regs::ALL, |all, at| all.both(live.untouched(*at)));
        let mut kept = untouched.iter();
        let low = lowest(code, order).div_euclid(8).saturating_mul(8);
        let slot = |n: i32| i16::try_from(low.saturating_sub(n.saturating_mul(8))).ok();
        let row = kept.next().map_or(Home::Stack(slot(1)?), Home::Reg);
        let data = kept.next().map_or(Home::Stack(slot(2)?), Home::Reg);
        let out = Rewrite { order, live, row, data, saved: [slot(3)?, slot(4)?] };
        let loads =
            sites.iter().filter_map(|(at, s)| if let Site::Load(insn, _) = s { Some((*at, *insn)) } else { None });
        let spares: Option<Vec<Spare>> = loads.map(|(at, insn)| out.spare(at, insn)).collect();
        let saves = spares?.iter().any(|s| s.save != [None, None]);
        let on_stack = saves || matches!(row, Home::Stack(_)) || matches!(data, Home::Stack(_));
        (!on_stack || i32::from(slot(4)?) >= STACK_END).then_some(out)
    }

    /// Emits `body` with the sites in place.
    pub fn emit(&self, emit: &mut Emit, body: &Body, sites: &BTreeMap<usize, Site>, bad: Label) {
        let mut labels: BTreeMap<usize, Label> = BTreeMap::new();
        for (at, insn) in instructions(&body.code, self.order, 0) {
            if let Some(to) = jump_target(insn, at) {
                labels.entry(to).or_insert_with(|| emit.label());
            }
        }
        let lines: BTreeMap<usize, _> = body.lines.iter().map(|l| (l.insn_off as usize, l)).collect();
        let relocations: BTreeMap<usize, _> = body.relocations.iter().map(|r| (r.offset as usize, r)).collect();
        let mut behind = 0;
        for (at, insn) in instructions(&body.code, self.order, 0) {
            if at < behind {
                // The second half of what was poisoned.
                continue;
            }
            if let Some(label) = labels.get(&at) {
                emit.put(*label);
            }
            lines.get(&at).into_iter().for_each(|l| emit.line_here(**l));
            relocations.get(&at).into_iter().for_each(|r| emit.relocation_here(**r));
            match (sites.get(&at), jump_target(insn, at).and_then(|to| labels.get(&to))) {
                (Some(Site::Value(value, field)), _) => {
                    let row = self.row.get(emit, value.dst);
                    load_field(emit, value.dst, row, *field);
                    behind = at.saturating_add(value.size());
                }
                (Some(Site::Load(load, field)), _) => self.load(emit, at, *load, *field, bad),
                (None, Some(label)) => emit.jump_as(insn, *label),
                (None, None) => {
                    emit.insn(insn);
                    if let Some(second) =
                        Insn::at(&body.code, at.saturating_add(SIZE), self.order).filter(|_| insn.is_wide())
                    {
                        emit.insn(second);
                    }
                }
            }
        }
    }

    fn load(&self, emit: &mut Emit, at: usize, insn: Insn, field: Field, bad: Label) {
        let Some(spare) = self.spare(at, insn) else { return };
        let bytes = bytes_of(insn);
        let saves = || spare.save.into_iter().zip(self.saved);
        for (reg, slot) in saves() {
            reg.into_iter().for_each(|reg| emit.store(8, R10, slot, reg));
        }
        let row = self.row.get(emit, spare.pointer);
        load_field(emit, spare.pointer, row, field);
        emit.op_reg(Op::Add, spare.pointer, insn.src);
        emit.op(Op::Add, spare.pointer, bytes.into());
        let data = self.data.get(emit, spare.data);
        emit.jump_if(If::Above, spare.pointer, data, bad);
        emit.insn(Insn { src: spare.pointer, off: bytes.saturating_neg(), ..insn });
        for (reg, slot) in saves() {
            reg.into_iter().for_each(|reg| emit.load(8, reg, R10, slot));
        }
    }

    /// Registers that the load at `at` can use: first its own, then those that nobody needs, then any that hold a value.
    fn spare(&self, at: usize, insn: Insn) -> Option<Spare> {
        let homes = [self.row, self.data].into_iter().filter_map(|h| if let Home::Reg(r) = h { Some(r) } else { None });
        let taken = homes.fold(Regs::one(insn.src), |set, r| set.with(Regs::one(r)));
        let own = Regs::one(insn.dst);
        let free = self.live.free(at).with(own).without(taken);
        let held = self.live.held_at(at).without(taken).without(free);
        let mut all = free.iter().map(|r| (r, None)).chain(held.iter().map(|r| (r, Some(r))));
        let (pointer, first) = all.next()?;
        let (data, second) = match self.data {
            Home::Reg(reg) => (reg, None),
            Home::Stack(_) => all.next()?,
        };
        Some(Spare { pointer, data, save: [first, second] })
    }
}

fn load_field(emit: &mut Emit, dst: u8, row: u8, field: Field) {
    emit.load(field.bytes, dst, row, field.offset);
}

/// Bytes that a load reads.
fn bytes_of(insn: Insn) -> i16 {
    match insn.code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

fn jump_target(insn: Insn, at: usize) -> Option<usize> {
    match flow(insn, at) {
        Flow::To(target) | Flow::If(target) | Flow::Either(target) => Some(target),
        Flow::Next | Flow::End | Flow::Anywhere => None,
    }
}

/// The end of the stack that the function uses, as far as can be seen: an offset that is added to a pointer, and one
/// that it is read with. If it uses more, the verifier finds a row there that is none.
fn lowest(code: &[u8], order: ByteOrder) -> i32 {
    const ADD64_IMM: u8 = 0x07;
    let small = |offset: i32| if (STACK_END..0).contains(&offset) { offset } else { 0 };
    let (mut added, mut read) = (0, 0);
    for (_, insn) in instructions(code, order, 0) {
        match insn.class() {
            _ if insn.code == ADD64_IMM => added = added.min(small(insn.imm)),
            1..=3 => read = read.min(small(insn.off.into())),
            _ => {}
        }
    }
    added.saturating_add(read)
}
