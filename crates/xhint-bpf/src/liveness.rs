//! Which registers are free at an instruction, so that code can be put in its place that needs some.
//!
//! A register is *needed* behind an instruction if some way on reads it before writing it, *held* before one if every way
//! there has written it, and *touched* if some way there has named it. What is not needed can be overwritten; what is held
//! can be saved and brought back, which the verifier allows of no other; what is not touched still has what it had at
//! the start.
//!
//! 1. Instructions are listed with those that can follow.
//! 2. Backwards until nothing changes: needed before = read here, and needed behind but not written here.
//! 3. Forwards until nothing changes: held behind = held before, and written here; where ways meet, what all of them
//!    hold. Touched behind = touched before, and read or written here; where ways meet, what any of them touched.
//!
//! What an instruction reads may be taken for more than it is, never for less ([`crate::effect`] says what that is): a
//! call is taken to read all its five registers.

use std::collections::{BTreeMap, BTreeSet};

use xhint_btf::ByteOrder;

use crate::effect::{Flow, Regs, flow, loses, reads, touches, writes};
use crate::insn::{Insn, instructions};

/// What is known of the registers at each instruction of a function, by its byte.
#[derive(Debug, Default)]
pub struct Liveness(BTreeMap<usize, Around>);

#[derive(Debug, Clone, Copy)]
struct Around {
    insn: Insn,
    next: [Option<usize>; 2],
    needed_before: Regs,
    needed_behind: Regs,
    held: Regs,
    touched: Regs,
}

impl Liveness {
    /// That of a function with these instructions, which begins with its context in r1.
    pub fn of(code: &[u8], order: ByteOrder) -> Liveness {
        let mut out = Liveness::default();
        for (at, insn) in instructions(code, order, 0) {
            let nothing = Regs::default();
            let (needed_before, needed_behind) = (nothing, nothing);
            let next = next(insn, at);
            let around = Around { insn, next, needed_before, needed_behind, held: Regs::ALL, touched: nothing };
            out.0.insert(at, around);
        }
        out.needed();
        out.forwards();
        out
    }

    /// Registers that nobody needs behind the instruction at byte `at`, and that it does not read.
    pub fn free(&self, at: usize) -> Regs {
        self.0.get(&at).map_or(Regs::default(), |a| Regs::ALL.without(a.needed_behind).without(reads(a.insn)))
    }

    /// Registers that have a value before the instruction at byte `at`.
    pub fn held_at(&self, at: usize) -> Regs {
        self.0.get(&at).map_or(Regs::default(), |a| a.held)
    }

    /// Registers that have what they had at the start of the function before the instruction at byte `at`, which does
    /// not read them.
    pub fn untouched(&self, at: usize) -> Regs {
        self.0.get(&at).map_or(Regs::default(), |a| Regs::ALL.without(a.touched).without(reads(a.insn)))
    }

    fn needed(&mut self) {
        let mut before: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, around) in &self.0 {
            around.next.into_iter().flatten().for_each(|next| before.entry(next).or_default().push(*at));
        }
        let mut todo: BTreeSet<usize> = self.0.keys().copied().collect();
        while let Some(at) = todo.pop_last() {
            let Some(mut around) = self.0.get(&at).copied() else { continue };
            let of = |next: usize| self.0.get(&next).map_or(Regs::default(), |a| a.needed_before);
            around.needed_behind = around.next.into_iter().flatten().map(of).fold(Regs::default(), Regs::with);
            let was = around.needed_before;
            around.needed_before = reads(around.insn).with(around.needed_behind.without(writes(around.insn)));
            if around.needed_before != was {
                todo.extend(before.get(&at).into_iter().flatten());
            }
            self.0.insert(at, around);
        }
    }

    fn forwards(&mut self) {
        if let Some(first) = self.0.get_mut(&0) {
            first.held = Regs::one(1);
            first.touched = Regs::one(1);
        }
        let mut todo: BTreeSet<usize> = self.0.keys().copied().collect();
        while let Some(at) = todo.pop_first() {
            let Some(around) = self.0.get(&at).copied() else { continue };
            let held = around.held.with(writes(around.insn)).without(loses(around.insn));
            let touched = around.touched.with(touches(around.insn));
            for next in around.next.into_iter().flatten() {
                let Some(to) = self.0.get_mut(&next) else { continue };
                let was = (to.held, to.touched);
                to.held = to.held.both(held);
                to.touched = to.touched.with(touched);
                if was != (to.held, to.touched) {
                    todo.insert(next);
                }
            }
        }
    }
}

fn next(insn: Insn, at: usize) -> [Option<usize>; 2] {
    let behind = at.saturating_add(insn.size());
    match flow(insn, at) {
        Flow::Next => [Some(behind), None],
        Flow::To(target) => [Some(target), None],
        Flow::If(target) | Flow::Either(target) => [Some(target), Some(behind)],
        // Code with jumps to anywhere is not asked about.
        Flow::End | Flow::Anywhere => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::emit::{Emit, If, Op, R0, R1, R2, R3, R6};

    fn regs(all: &[u8]) -> Regs {
        all.iter().fold(Regs::default(), |set, r| set.with(Regs::one(*r)))
    }

    #[test]
    fn what_a_branch_needs_is_not_free_before_it() {
        let mut emit = Emit::new(ByteOrder::Little);
        let other = emit.label();
        emit.mov(R6, R1); // 0
        emit.load(4, R2, R1, 0); // 8: r1 is needed by one way on, r3 by none before it is written
        emit.jump_if_imm(If::Equal, R2, 0, other); // 16
        emit.mov_imm(R0, 1); // 24
        emit.exit(); // 32
        emit.put(other);
        emit.load(4, R3, R1, 4); // 40
        emit.mov(R0, R3); // 48
        emit.op_reg(Op::Add, R0, R6); // 56
        emit.exit(); // 64
        let live = Liveness::of(&emit.finish().unwrap().bytes, ByteOrder::Little);
        assert_eq!(live.free(8), Regs::ALL.without(regs(&[1, 2, 6])));
        assert_eq!(live.free(24), Regs::ALL.without(regs(&[0])));
        assert_eq!(live.free(40), Regs::ALL.without(regs(&[1, 3, 6])));
        assert_eq!(live.held_at(16), regs(&[1, 2, 6]));
        assert_eq!(live.untouched(24), Regs::ALL.without(regs(&[1, 2, 6])));
        assert_eq!(live.untouched(56), Regs::ALL.without(regs(&[0, 1, 2, 3, 6])));
    }

    #[test]
    fn a_call_takes_its_arguments_and_a_loop_comes_back() {
        let mut emit = Emit::new(ByteOrder::Little);
        let again = emit.label();
        emit.mov(R6, R1); // 0
        emit.mov_imm(R2, 8); // 8
        emit.put(again);
        emit.mov(R3, R6); // 16
        emit.helper(5); // 24
        emit.mov_imm(R2, 7); // 32
        emit.jump_if_imm(If::NotEqual, R0, 0, again); // 40
        emit.exit(); // 48
        let live = Liveness::of(&emit.finish().unwrap().bytes, ByteOrder::Little);
        // r2 comes round to the call again.
        assert_eq!(live.free(32).both(regs(&[2, 6])), regs(&[]));
        assert_eq!(live.held_at(24), regs(&[2, 3, 6]));
        assert_eq!(live.held_at(32), regs(&[6]));
        assert_eq!(live.untouched(16), regs(&[7, 8, 9]));
    }
}
