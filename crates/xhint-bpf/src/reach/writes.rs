//! What a function of the object may write by the addresses it is given: how far its caller's stack must be forgotten.
//!
//! A function is given addresses in its caller's frame as arguments, and as what lies behind those. Each argument is
//! followed through registers and additions of constants; a store by it is noted, with its place. What is not followed
//! (an argument that was spilled, an address loaded from the caller's frame, any other arithmetic) may be any address, and
//! a store by it may hit all that the caller has. A global function may be replaced when it is loaded, so of those
//! nothing is claimed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Code;
use crate::effect::{Callee, Effect, Flow, called_back, effect, flow};
use crate::insn::{ALU64, CALL, Insn, LDX, MOV_OP, MOV64_REG, SRC_REG, ST, STX};
use crate::{FunctionId, Instruction, Named, Targets};

/// From an argument's address, the bytes that may be written: from the first to the one behind the last.
pub type Span = (i64, i64);

/// What a function may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writes {
    /// All that lies in the frame of an address it is given.
    All,
    /// By argument, from r1 on.
    Spans([Option<Span>; 5]),
}

/// What is known of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// The argument of this number, from 1, and so many bytes.
    Given(u8, i64),
    /// An address in the function's own frame.
    Own,
    /// This function's address.
    Function(FunctionId),
    /// No address in any frame.
    Safe,
    Any,
}

type Regs = [Held; 11];

/// What is known of functions so far.
#[derive(Debug, Default)]
pub struct Known(HashMap<FunctionId, Writes>);

impl Writes {
    const NOTHING: Writes = Writes::Spans([None; 5]);

    /// What argument `number`, from 1, is written by.
    pub fn of(&self, number: u8) -> Option<Span> {
        match self {
            Writes::All => Some((i64::MIN, i64::MAX)),
            Writes::Spans(all) => all.get(usize::from(number.wrapping_sub(1))).copied().flatten(),
        }
    }

    fn add(&mut self, number: u8, (low, high): Span) {
        let Writes::Spans(all) = self else { return };
        match all.get_mut(usize::from(number.wrapping_sub(1))) {
            Some(Some(span)) => *span = (span.0.min(low), span.1.max(high)),
            Some(none) => *none = Some((low, high)),
            None => *self = Writes::All,
        }
    }
}

impl Known {
    /// What `function` may write.
    pub fn of(&mut self, code: &impl Code, function: FunctionId) -> Writes {
        if let Some(known) = self.0.get(&function) {
            return known.clone();
        }
        // What calls itself may write anything, until more is known of it; the verifier takes none such.
        self.0.insert(function, Writes::All);
        let found = if code.is_global(function) { Writes::All } else { self.look(code, function) };
        self.0.insert(function, found.clone());
        found
    }

    /// What is written by the call of a function whose address r2 holds: `bpf_loop` and its like.
    pub fn back(&mut self, code: &impl Code, insn: Insn, function: FunctionId) -> Writes {
        let mut out = Writes::NOTHING;
        match called_back(insn) {
            Some(number) => self.of(code, function).of(number).into_iter().for_each(|span| out.add(3, span)),
            None => out = Writes::All,
        }
        out
    }

    fn look(&mut self, code: &impl Code, function: FunctionId) -> Writes {
        let mut out = Writes::NOTHING;
        let mut start = [Held::Safe; 11];
        (1..=5).for_each(|n| set(&mut start, n, Held::Given(n, 0)));
        set(&mut start, 10, Held::Own);
        let all = code.code(function);
        let targets = Targets::of(all);
        let (mut at_insn, mut todo) = (BTreeMap::from([(0, start)]), BTreeSet::from([0]));
        while let Some(at) = todo.pop_first() {
            let (Some(instruction), Some(regs)) = (all.get(at), at_insn.get(&at).copied()) else { continue };
            if flow(instruction.insn) == Flow::Anywhere {
                return Writes::All;
            }
            let Some(regs) = self.step(code, instruction, regs, &mut out) else { return Writes::All };
            for next in targets.after(at, instruction).into_iter().flatten() {
                let joined = at_insn.get(&next).map_or(regs, |there| join(there, &regs));
                if at_insn.insert(next, joined) != Some(joined) {
                    todo.insert(next);
                }
            }
        }
        out
    }

    /// Runs an instruction; `None` if it may write all.
    fn step(&mut self, code: &impl Code, instruction: &Instruction, mut regs: Regs, out: &mut Writes) -> Option<Regs> {
        let Instruction { insn, named, poisoned, .. } = *instruction;
        match effect(insn, named, code.calls_back()) {
            _ if poisoned > 0 => regs = [Held::Any; 11],
            Effect::Compute => {
                let held = compute(insn, &regs);
                set(&mut regs, insn.dst, held);
            }
            Effect::Wide => {
                let held = if let Named::Function(other) = named { Held::Function(other) } else { Held::Safe };
                set(&mut regs, insn.dst, held);
            }
            Effect::Relocated => match insn.class() {
                // Anywhere from there.
                ST | STX if !matches!(get(&regs, insn.dst), Held::Own | Held::Safe | Held::Function(_)) => return None,
                ST | STX => {}
                LDX => {
                    let held = behind(get(&regs, insn.src));
                    set(&mut regs, insn.dst, held);
                }
                _ if insn.op() == MOV_OP || insn.is_wide() => set(&mut regs, insn.dst, Held::Safe),
                _ => set(&mut regs, insn.dst, Held::Any),
            },
            Effect::Load { .. } => {
                let held = behind(get(&regs, insn.src));
                set(&mut regs, insn.dst, held);
            }
            Effect::Store { bytes } => store(insn, bytes, &regs, out)?,
            Effect::Atomic { bytes, fetched } => {
                store(insn, bytes, &regs, out)?;
                let there = behind(get(&regs, insn.dst));
                fetched.into_iter().for_each(|reg| set(&mut regs, reg, there));
            }
            Effect::Packet => lose(&mut regs, Held::Safe),
            Effect::Call(callee) => self.call(code, insn, named, callee, &mut regs, out)?,
            Effect::Nothing => {}
            Effect::Unknown => return None,
        }
        set(&mut regs, 10, Held::Own);
        Some(regs)
    }

    fn call(
        &mut self,
        code: &impl Code,
        insn: Insn,
        named: Named,
        callee: Callee,
        regs: &mut Regs,
        out: &mut Writes,
    ) -> Option<()> {
        let given: Vec<(u8, Held)> = (1..=5).map(|n| (n, get(regs, n))).collect();
        let safe = given.iter().all(|(_, held)| matches!(held, Held::Safe | Held::Function(_)));
        let writes = match (callee, named, get(regs, 2)) {
            _ if safe => Writes::NOTHING,
            // From each address upwards.
            (Callee::Helper | Callee::Kernel, ..) => Writes::Spans([Some((0, i64::MAX)); 5]),
            (Callee::Function, Named::Function(other), _) if insn.code == CALL => self.of(code, other),
            (Callee::Function, Named::Nothing, Held::Function(other)) => self.back(code, insn, other),
            (Callee::Function, ..) => Writes::All,
        };
        for (number, held) in given {
            match (held, writes.of(number)) {
                _ if writes == Writes::All => return None,
                (Held::Given(own, off), Some((low, high))) => {
                    out.add(own, (off.saturating_add(low), off.saturating_add(high)));
                }
                (Held::Any, Some(_)) => return None,
                _ => {}
            }
        }
        lose(regs, if callee == Callee::Helper || safe { Held::Safe } else { Held::Any });
        Some(())
    }
}

fn get(regs: &Regs, reg: u8) -> Held {
    regs.get(usize::from(reg)).copied().unwrap_or(Held::Any)
}

fn set(regs: &mut Regs, reg: u8, held: Held) {
    if let Some(place) = regs.get_mut(usize::from(reg)) {
        *place = held;
    }
}

/// What a call leaves: r0, and nothing in the arguments' registers.
fn lose(regs: &mut Regs, result: Held) {
    set(regs, 0, result);
    (1..=5).for_each(|n| set(regs, n, Held::Safe));
}

fn join(a: &Regs, b: &Regs) -> Regs {
    std::array::from_fn(|n| match (a.get(n), b.get(n)) {
        (Some(a), Some(b)) if a == b => *a,
        (Some(Held::Safe | Held::Function(_)), Some(Held::Safe | Held::Function(_))) => Held::Safe,
        _ => Held::Any,
    })
}

/// What may lie behind an address: in frames, other addresses.
fn behind(address: Held) -> Held {
    if matches!(address, Held::Safe | Held::Function(_)) { Held::Safe } else { Held::Any }
}

fn compute(insn: Insn, regs: &Regs) -> Held {
    let source = if insn.code & SRC_REG == 0 { Held::Safe } else { get(regs, insn.src) };
    if insn.op() == MOV_OP {
        return match source {
            held if insn.code == MOV64_REG && insn.off == 0 => held,
            Held::Safe | Held::Function(_) => Held::Safe,
            _ => Held::Any,
        };
    }
    let by = (insn.code & SRC_REG == 0 && insn.class() == ALU64).then_some(insn.imm);
    match (get(regs, insn.dst), insn.op(), by) {
        (Held::Given(number, off), 0x00, Some(by)) => Held::Given(number, off.saturating_add(by)),
        (Held::Given(number, off), 0x10, Some(by)) => Held::Given(number, off.saturating_sub(by)),
        (Held::Own, 0x00 | 0x10, _) if source == Held::Safe && insn.class() == ALU64 => Held::Own,
        (Held::Safe | Held::Function(_), ..) if matches!(source, Held::Safe | Held::Function(_)) => Held::Safe,
        _ => Held::Any,
    }
}

fn store(insn: Insn, bytes: u8, regs: &Regs, out: &mut Writes) -> Option<()> {
    match get(regs, insn.dst) {
        Held::Given(number, off) => {
            let low = off.saturating_add(insn.off.into());
            out.add(number, (low, low.saturating_add(bytes.into())));
            Some(())
        }
        Held::Any => None,
        Held::Own | Held::Safe | Held::Function(_) => Some(()),
    }
}
