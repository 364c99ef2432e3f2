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
//!
//! `data` is taken once, at the start. A call that may move the packet makes the verifier forget it, and what it says would
//! be wrong: a function that reads metadata behind such a call is not rewritten.

use std::collections::{BTreeMap, BTreeSet};

use xhint_bpf::reg::{R3, R10};
use xhint_bpf::{Emit, If, Insn, Instruction, Label, Liveness, Op, Regs, Targets, jumps_anywhere};

use super::alike::Site;
use super::rows::Cell;
use super::stack::{STACK_END, lowest};

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
    /// How to rewrite the function with this code at these sites; `moves` says which instructions may move the packet.
    /// `None` if it has no stack or registers left for that, jumps that are not understood, or loads behind such an
    /// instruction.
    pub fn new(
        code: &[Instruction],
        sites: &BTreeMap<usize, Site>,
        moves: impl Fn(&Instruction) -> bool,
    ) -> Option<Rewrite> {
        let is_load = |at: &usize| matches!(sites.get(at), Some(Site::Load(..)));
        if jumps_anywhere(code) || behind(code, moves).iter().any(is_load) {
            return None;
        }
        let live = Liveness::of(code);
        let untouched = sites.keys().fold(Regs::ALL, |all, at| all.both(live.untouched(*at)));
        let mut kept = untouched.iter();
        let low = lowest(code);
        let slot = |n: i32| i16::try_from(low.div_euclid(8).saturating_sub(n).saturating_mul(8)).ok();
        let row = kept.next().map_or(Home::Stack(slot(1)?), Home::Reg);
        let data = kept.next().map_or(Home::Stack(slot(2)?), Home::Reg);
        let out = Rewrite { live, row, data, saved: [slot(3)?, slot(4)?] };
        let loads =
            sites.iter().filter_map(|(at, s)| if let Site::Load(insn, _) = s { Some((*at, *insn)) } else { None });
        let spares: Option<Vec<Spare>> = loads.map(|(at, insn)| out.spare(at, insn)).collect();
        let saves = spares?.iter().any(|s| s.save != [None, None]);
        let on_stack = saves || matches!(row, Home::Stack(_)) || matches!(data, Home::Stack(_));
        (!on_stack || i32::from(slot(4)?) >= STACK_END).then_some(out)
    }

    /// Emits `code` with the sites in place.
    pub fn emit(&self, emit: &mut Emit, code: Vec<Instruction>, sites: &BTreeMap<usize, Site>, bad: Label) {
        for (at, instruction) in emit.import(code).into_iter().enumerate() {
            let Some(site) = sites.get(&at) else {
                emit.push(instruction);
                continue;
            };
            // The first of what comes in its place has its label and line.
            instruction.label.into_iter().for_each(|label| emit.put(label));
            instruction.line.into_iter().for_each(|line| emit.line_here(line));
            match site {
                Site::Value(value, field) => {
                    let row = self.row.get(emit, value.dst);
                    load_field(emit, value.dst, row, *field);
                }
                Site::Load(load, field) => self.load(emit, at, *load, *field, bad),
            }
        }
    }

    fn load(&self, emit: &mut Emit, at: usize, insn: Insn, field: Cell, bad: Label) {
        let Some(spare) = self.spare(at, insn) else { return };
        let bytes = i16::from(insn.access_bytes());
        let saves = || spare.save.into_iter().zip(self.saved);
        for (reg, slot) in saves() {
            reg.into_iter().for_each(|reg| emit.store(8, R10, slot, reg));
        }
        let row = self.row.get(emit, spare.pointer);
        load_field(emit, spare.pointer, row, field);
        emit.op_reg(Op::Add, spare.pointer, insn.src);
        emit.op(Op::Add, spare.pointer, bytes);
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

/// `dst` = the field of a row.
pub fn load_field(emit: &mut Emit, dst: u8, row: u8, field: Cell) {
    emit.load(field.bytes, dst, row, field.offset);
}

/// The instructions that can be reached from behind one that is `first`.
fn behind(code: &[Instruction], first: impl Fn(&Instruction) -> bool) -> BTreeSet<usize> {
    let targets = Targets::of(code);
    let next = |n: usize, i: &Instruction| targets.after(n, i).into_iter().flatten();
    let mut todo: Vec<usize> =
        code.iter().enumerate().filter(|(_, i)| first(i)).flat_map(|(n, i)| next(n, i)).collect();
    let mut out = BTreeSet::new();
    while let Some(n) = todo.pop() {
        let Some(instruction) = code.get(n).filter(|_| out.insert(n)) else { continue };
        todo.extend(next(n, instruction));
    }
    out
}
