//! What is known of registers and of a function's own stack at one point.

use std::collections::BTreeMap;

use super::offsets::Offsets;
use super::value::{Value, cut, extended};
use super::writes::Writes;
use crate::effect::{Callee, Effect, Flow, effect, flow};
use crate::insn::{ALU, ALU64, Insn, JMP32, LD, SRC_REG, ST, STX};
use crate::{Context, FunctionId, Hook, Named};

/// The default is what a function starts with: nobody has an address in its frame but r10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineState {
    regs: [Value; 11],
    /// Whole slots that were written by their address, by offset from r10: their bytes, and what they hold.
    slots: BTreeMap<i32, (u8, Value)>,
    /// What other places in the frame hold.
    rest: Value,
    /// Contexts and addresses in the metadata that the caller's frame holds, by offset from its r10. The verifier lets nobody
    /// write an address into the frame of another.
    above: BTreeMap<i32, Value>,
    /// Whether the start of the metadata may have been moved since the program began.
    metadata_adjusted: bool,
}

impl Default for MachineState {
    fn default() -> MachineState {
        let mut state = MachineState {
            regs: [Value::Other; 11],
            slots: BTreeMap::new(),
            rest: Value::Other,
            above: BTreeMap::new(),
            metadata_adjusted: false,
        };
        state.set(FRAME, Value::Frame(0));
        state
    }
}

const FRAME: u8 = 10;

impl MachineState {
    /// That in which nothing is known but the frame's own address.
    pub fn ignorant() -> MachineState {
        let mut state = MachineState { metadata_adjusted: true, rest: Value::Any, ..MachineState::default() };
        state.regs = [Value::Any; 11];
        state.set(FRAME, Value::Frame(0));
        state
    }

    /// Keeps what `other` knows too. Whether anything was lost.
    pub fn join(&mut self, other: &MachineState) -> bool {
        let before = self.clone();
        for (mine, theirs) in self.regs.iter_mut().zip(other.regs) {
            *mine = mine.join(theirs);
        }
        self.rest = self.rest.join(other.rest);
        self.metadata_adjusted |= other.metadata_adjusted;
        for (at, theirs) in &other.above {
            self.above.entry(*at).and_modify(|mine| *mine = mine.join(*theirs)).or_insert(*theirs);
        }
        for (at, (bytes, value)) in &other.slots {
            if self.slots.get(at).is_none_or(|mine| mine.0 != *bytes) {
                self.rest = self.rest.join(value.hidden());
            }
        }
        let mut rest = self.rest;
        self.slots.retain(|at, (bytes, value)| {
            let theirs = other.slots.get(at).filter(|theirs| theirs.0 == *bytes);
            match theirs {
                Some(theirs) => *value = value.join(theirs.1),
                None => rest = rest.join(value.hidden()),
            }
            theirs.is_some()
        });
        self.rest = rest;
        *self != before
    }

    /// What is known at the start of a program that runs at this hook.
    pub fn at_hook(hook: Hook) -> MachineState {
        let mut state = MachineState::default();
        state.set(1, Value::Context { hook, certain: true });
        state
    }

    /// The places in the metadata that a register may be the address of, and so many bytes further on.
    pub fn in_metadata(&self, reg: u8, off: i16) -> Option<Offsets> {
        if let Value::Metadata { at, .. } = self.get(reg) { Some(at.plus(off.into())) } else { None }
    }

    /// What a callee knows at its start. What points into this frame does not point into its own.
    pub fn arguments(&self) -> MachineState {
        let mut out = MachineState { metadata_adjusted: self.metadata_adjusted, ..MachineState::default() };
        for reg in 1..=5 {
            out.set(
                reg,
                match self.get(reg) {
                    Value::Frame(at) => Value::Lent(at),
                    // It tells nothing of whoever called the caller.
                    Value::Any | Value::Lent(_) => Value::Other,
                    value => value,
                },
            );
        }
        if self.lends() {
            let whole = self.slots.iter().filter(|(_, (bytes, _))| *bytes == 8);
            let held = whole.map(|(at, (_, value))| (*at, value.doubtful()));
            out.above = held.filter(|(_, v)| matches!(v, Value::Metadata { .. } | Value::Context { .. })).collect();
        }
        out
    }

    /// The same of a callee that the kernel verifies by itself: it takes nothing for sure that its caller passes.
    pub fn arguments_of_global(&self) -> MachineState {
        let given = self.arguments();
        let mut out = MachineState { metadata_adjusted: given.metadata_adjusted, ..MachineState::default() };
        let leading = (1..=5).filter(|reg| given.get(*reg).leads_to_metadata());
        leading.for_each(|reg| out.set(reg, given.get(reg).doubtful()));
        out.above = given.above;
        out
    }

    /// The same of a function that the kernel calls, and gives r3 of its caller as argument `number`.
    pub fn arguments_back(&self, number: u8) -> MachineState {
        let given = self.arguments();
        let mut out = MachineState { metadata_adjusted: given.metadata_adjusted, ..MachineState::default() };
        out.set(number, given.get(3).doubtful());
        out.above = given.above;
        out
    }

    /// Whether who is called is given what leads to the metadata in a way that is not followed.
    pub fn leads_astray(&self) -> bool {
        self.lends() && self.slots.values().any(|slot| slot.1.leads_to_metadata())
            || (1..=5).any(|reg| matches!(self.get(reg), Value::Lent(_)))
    }

    /// Notes that the start of the metadata may be another from now on.
    pub fn adjust_metadata(&mut self) {
        self.metadata_adjusted = true;
    }

    /// The function whose address a register holds.
    pub fn function(&self, reg: u8) -> Option<FunctionId> {
        if let Value::Function(function) = self.get(reg) { Some(function) } else { None }
    }

    /// Whether any argument may be an address in the frame.
    pub fn lends(&self) -> bool {
        (1..=5).any(|reg| self.get(reg).may_point())
    }

    /// The numbers in the frame, by place and size.
    pub fn numbers(&self) -> usize {
        self.slots.values().filter(|slot| matches!(slot.1, Value::Const(_))).count()
    }

    /// The same, with what the frame of `before` held: as if what was just run had written none of it.
    pub fn keep(&mut self, before: &MachineState) {
        self.slots.clone_from(&before.slots);
        self.rest = before.rest;
    }

    /// Runs an instruction; `writes`, what a function it calls may write.
    pub fn run(&mut self, insn: Insn, named: Named, callbacks: bool, writes: &Writes) {
        match effect(insn, named, callbacks) {
            Effect::Compute => self.set(insn.dst, self.compute(insn, self.operand(insn))),
            Effect::Relocated => self.relocated(insn, named),
            Effect::Wide => {
                // A source other than 0, like a relocation, stands for a map, a variable or a function.
                self.set(
                    insn.dst,
                    match named {
                        Named::Function(function) => Value::Function(function),
                        Named::Nothing if insn.src == 0 => Value::Const(insn.imm.cast_unsigned()),
                        _ => Value::Other,
                    },
                );
            }
            Effect::Load { bytes: Context::WORD, signed: false } if self.address(insn).is_some() => {
                self.set(insn.dst, self.address(insn).unwrap_or(Value::Other));
            }
            Effect::Load { bytes, signed } => self.set(insn.dst, self.load(insn.src, insn.off, bytes, signed)),
            Effect::Store { bytes } => {
                let number = Value::Const(insn.imm.cast_unsigned());
                let value = if insn.class() == ST { number } else { self.get(insn.src) };
                self.store(insn, bytes, value);
            }
            Effect::Atomic { bytes, fetched } => {
                let there = self.load(insn.dst, insn.off, bytes, false).hidden();
                let new = there.join(self.get(insn.src).hidden());
                self.store(insn, bytes, new);
                fetched.into_iter().for_each(|reg| self.set(reg, there));
            }
            Effect::Packet => {
                self.set(0, Value::Other);
                self.lose_arguments();
            }
            Effect::Call(callee) => {
                self.call(callee, writes);
            }
            Effect::Nothing => {}
            Effect::Unknown => *self = MachineState::ignorant(),
        }
    }

    /// A poisoned instruction. The kernel never lets it run, so what is taken for true behind it matters to our words only.
    pub fn poisoned(&mut self) {
        self.set(0, Value::Other);
        self.lose_arguments();
    }

    /// Whether what is known decides a conditional jump, and how.
    pub fn decide(&self, insn: Insn) -> Option<bool> {
        // Where a program asks whether a pointer is 0, compilers may compare its lower half alone, too.
        let (one, other) = (self.get(insn.dst), self.operand(insn));
        if one.is_loaded() && other == Value::Const(0) || one == Value::Const(0) && other.is_loaded() {
            match insn.op() {
                0x10 => return Some(false),
                0x50 => return Some(true),
                _ => {}
            }
        }
        let (Value::Const(mut a), Value::Const(mut b)) = (self.get(insn.dst), self.operand(insn)) else { return None };
        let narrow = insn.class() == JMP32;
        if narrow {
            (a, b) = (a & 0xffff_ffff, b & 0xffff_ffff);
        }
        let signed = |v: u64| if narrow { extended(v, 4) } else { v }.cast_signed();
        Some(match insn.op() {
            0x10 => a == b,
            0x20 => a > b,
            0x30 => a >= b,
            0x40 => a & b != 0,
            0x50 => a != b,
            0x60 => signed(a) > signed(b),
            0x70 => signed(a) >= signed(b),
            0xa0 => a < b,
            0xb0 => a <= b,
            0xc0 => signed(a) < signed(b),
            0xd0 => signed(a) <= signed(b),
            _ => return None,
        })
    }

    /// The state on the side of a jump that is `taken` or not.
    pub fn assume(&self, insn: Insn, taken: bool) -> MachineState {
        let mut out = self.clone();
        let equal = matches!((insn.op(), taken), (0x10, true) | (0x50, false)) && insn.class() != JMP32;
        let compared = flow(insn) == Flow::If;
        if equal
            && compared
            && matches!(self.get(insn.dst), Value::Other | Value::Offset(_))
            && let number @ Value::Const(_) = self.operand(insn)
        {
            out.set(insn.dst, number);
        }
        out
    }

    /// The second operand of an ALU or jump instruction.
    pub fn operand(&self, insn: Insn) -> Value {
        if insn.code & SRC_REG != 0 { self.get(insn.src) } else { Value::Const(insn.imm.cast_unsigned()) }
    }

    /// The address that a load from the context gives.
    fn address(&self, insn: Insn) -> Option<Value> {
        let Value::Context { hook, certain } = self.get(insn.src) else { return None };
        let context = hook.context();
        match insn.off == context.data_meta && !self.metadata_adjusted {
            true => Some(Value::Metadata { at: Offsets::ZERO, loaded: certain }),
            false => context.is_address(insn.off).then_some(if certain { Value::Packet } else { Value::Other }),
        }
    }

    /// An instruction of which relocation will tell a number.
    fn relocated(&mut self, insn: Insn, named: Named) {
        let field = if let Named::Relocated(field) = named { field } else { None };
        match insn.class() {
            // Anywhere in the frame.
            ST | STX if self.get(insn.dst).may_point() => *self = MachineState::ignorant(),
            ST | STX => {}
            ALU | ALU64 => self.set(insn.dst, self.compute(insn, Value::number(Offsets::relocated(field)))),
            LD => self.set(insn.dst, Value::number(Offsets::relocated(field))),
            _ => self.set(insn.dst, self.get(insn.src).hidden()),
        }
    }

    /// What an instruction makes of its first operand and this second one.
    fn compute(&self, insn: Insn, operand: Value) -> Value {
        Value::of(insn, self.get(insn.dst), operand)
    }

    fn load(&self, address: u8, off: i16, bytes: u8, signed: bool) -> Value {
        let at = match self.get(address) {
            Value::Frame(base) => base.checked_add(off.into()),
            Value::Any => None,
            Value::Lent(base) => {
                let above = base.checked_add(off.into()).and_then(|at| self.above.get(&at)).filter(|_| bytes == 8);
                return above.copied().unwrap_or(Value::Other);
            }
            // What lies elsewhere is no address in this frame that could be used.
            _ => return Value::Other,
        };
        let whole = at.and_then(|at| self.slots.get(&at)).filter(|slot| slot.0 == bytes);
        match whole {
            Some((_, Value::Const(number))) if signed => Value::Const(extended(*number, bytes)),
            Some((_, value)) => *value,
            None => self.slots.values().fold(self.rest, |all, slot| all.join(slot.1.hidden())),
        }
    }

    fn store(&mut self, insn: Insn, bytes: u8, value: Value) {
        let at = match self.get(insn.dst) {
            Value::Frame(base) => base.checked_add(insn.off.into()),
            Value::Any => None,
            _ => return,
        };
        let Some(at) = at else {
            self.forget_from(i32::MIN);
            if value.may_point() {
                self.slots.clear();
                self.rest = Value::Any;
            }
            return;
        };
        let end = at.saturating_add(bytes.into());
        let mut rest = self.rest;
        self.slots.retain(|own, (size, value)| {
            let apart = *own >= end || own.saturating_add((*size).into()) <= at;
            if !apart {
                rest = rest.join(value.hidden());
            }
            apart
        });
        self.rest = rest;
        let held = match value {
            Value::Const(number) => Value::Const(cut(number, bytes)),
            other if bytes < 8 => other.hidden(),
            other => other,
        };
        self.slots.insert(at, (bytes, held));
    }

    fn call(&mut self, callee: Callee, writes: &Writes) {
        let given = (1..=5).filter_map(|reg| match self.get(reg) {
            Value::Frame(at) => Some((reg, Some(at))),
            Value::Any => Some((reg, None)),
            _ => None,
        });
        let given: Vec<(u8, Option<i32>)> = given.collect();
        let lowest = given.iter().map(|(_, at)| at.unwrap_or(i32::MIN)).min();
        match (callee, writes, lowest) {
            (_, _, None) => {}
            (Callee::Helper | Callee::Kernel, _, Some(at)) => self.forget_from(at),
            (Callee::Function, Writes::All, Some(_)) => self.forget_from(i32::MIN),
            (Callee::Function, Writes::Spans(_), Some(_)) => {
                for (reg, at) in given {
                    match (writes.of(reg), at) {
                        (None, _) => {}
                        (Some(_), None) => self.forget_from(i32::MIN),
                        (Some((low, high)), Some(at)) => {
                            self.forget(low.saturating_add(at.into()), high.saturating_add(at.into()));
                        }
                    }
                }
            }
        }
        self.set(0, if callee == Callee::Helper || lowest.is_none() { Value::Other } else { Value::Any });
        self.lose_arguments();
    }

    /// Forgets what is in the frame from `low` on, where something else may be now, though no address in the frame that
    /// was not there before.
    fn forget_from(&mut self, low: i32) {
        self.forget(low.into(), i64::MAX);
    }

    /// The same from `low` on and up to `high`.
    fn forget(&mut self, low: i64, high: i64) {
        for (at, (bytes, value)) in &mut self.slots {
            let at = i64::from(*at);
            if at.saturating_add((*bytes).into()) > low && at < high {
                // An address that is written over is none any more that could be used, and nobody else writes such.
                *value = value.doubtful();
            }
        }
    }

    fn lose_arguments(&mut self) {
        (1..=5).for_each(|reg| self.set(reg, Value::Other));
    }

    fn get(&self, reg: u8) -> Value {
        self.regs.get(usize::from(reg)).copied().unwrap_or(Value::Any)
    }

    fn set(&mut self, reg: u8, value: Value) {
        if let Some(slot) = self.regs.get_mut(usize::from(reg)) {
            *slot = value;
        }
    }
}
