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

use std::collections::BTreeSet;

use crate::effect::{Regs, loses, reads, touches, writes};
use crate::{Insn, Instruction, Targets};

/// What is known of the registers at each instruction of a function.
#[derive(Debug, Default)]
pub struct Liveness(Vec<Around>);

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
    #[must_use]
    pub fn of(code: &[Instruction]) -> Liveness {
        let (targets, nothing) = (Targets::of(code), Regs::default());
        let around = |(n, i): (usize, &Instruction)| {
            let next = targets.after(n, i);
            let (needed_before, needed_behind, touched) = (nothing, nothing, nothing);
            Around { insn: i.insn, next, needed_before, needed_behind, held: Regs::ALL, touched }
        };
        let mut out = Liveness(code.iter().enumerate().map(around).collect());
        out.needed();
        out.forwards();
        out
    }

    /// Registers that nobody needs behind the instruction `at`, and that it does not read.
    #[must_use]
    pub fn free(&self, at: usize) -> Regs {
        self.0.get(at).map_or(Regs::default(), |a| Regs::ALL.without(a.needed_behind).without(reads(a.insn)))
    }

    /// Whether anybody needs one of these registers behind the instruction `at`.
    #[must_use]
    pub fn needs(&self, at: usize, regs: Regs) -> bool {
        self.0.get(at).is_none_or(|around| around.needed_behind.both(regs) != Regs::default())
    }

    /// Registers that have a value before the instruction `at`.
    #[must_use]
    pub fn held_at(&self, at: usize) -> Regs {
        self.0.get(at).map_or(Regs::default(), |a| a.held)
    }

    /// Registers that have what they had at the start of the function before the instruction `at`, which does
    /// not read them.
    #[must_use]
    pub fn untouched(&self, at: usize) -> Regs {
        self.0.get(at).map_or(Regs::default(), |a| Regs::ALL.without(a.touched).without(reads(a.insn)))
    }

    fn needed(&mut self) {
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); self.0.len()];
        for (at, around) in self.0.iter().enumerate() {
            for next in around.next.into_iter().flatten() {
                before.get_mut(next).into_iter().for_each(|before| before.push(at));
            }
        }
        let mut todo: BTreeSet<usize> = (0..self.0.len()).collect();
        while let Some(at) = todo.pop_last() {
            let Some(around) = self.0.get(at) else { continue };
            let of = |next: usize| self.0.get(next).map_or(Regs::default(), |a| a.needed_before);
            let behind = around.next.into_iter().flatten().map(of).fold(Regs::default(), Regs::with);
            let Some(around) = self.0.get_mut(at) else { continue };
            let was = around.needed_before;
            around.needed_behind = behind;
            around.needed_before = reads(around.insn).with(behind.without(writes(around.insn)));
            if around.needed_before != was {
                todo.extend(before.get(at).into_iter().flatten());
            }
        }
    }

    fn forwards(&mut self) {
        if let Some(first) = self.0.first_mut() {
            first.held = Regs::one(1);
            first.touched = Regs::one(1);
        }
        let mut todo: BTreeSet<usize> = (0..self.0.len()).collect();
        while let Some(at) = todo.pop_first() {
            let Some(around) = self.0.get(at).copied() else { continue };
            let held = around.held.with(writes(around.insn)).without(loses(around.insn));
            let touched = around.touched.with(touches(around.insn));
            for next in around.next.into_iter().flatten() {
                let Some(to) = self.0.get_mut(next) else { continue };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reg::{R0, R1, R2, R3, R6};
    use crate::{Emit, If, Op};
    use xhint_btf::ByteOrder;

    fn regs(all: &[u8]) -> Regs {
        all.iter().fold(Regs::default(), |set, r| set.with(Regs::one(*r)))
    }

    #[test]
    fn what_a_branch_needs_is_not_free_before_it() {
        let mut emit = Emit::new(ByteOrder::Little);
        let other = emit.label();
        emit.mov(R6, R1); // 0
        emit.load(4, R2, R1, 0); // 1: r1 is needed by one way on, r3 by none before it is written
        emit.jump_if_imm(If::Equal, R2, 0, other); // 2
        emit.mov_imm(R0, 1); // 3
        emit.exit(); // 4
        emit.put(other);
        emit.load(4, R3, R1, 4); // 5
        emit.mov(R0, R3); // 6
        emit.op_reg(Op::Add, R0, R6); // 7
        emit.exit(); // 8
        let live = Liveness::of(&emit.finish());
        assert_eq!(live.free(1), Regs::ALL.without(regs(&[1, 2, 6])));
        assert_eq!(live.free(3), Regs::ALL.without(regs(&[0])));
        assert_eq!(live.free(5), Regs::ALL.without(regs(&[1, 3, 6])));
        assert_eq!(live.held_at(2), regs(&[1, 2, 6]));
        assert_eq!(live.untouched(3), Regs::ALL.without(regs(&[1, 2, 6])));
        assert_eq!(live.untouched(7), Regs::ALL.without(regs(&[0, 1, 2, 3, 6])));
    }

    #[test]
    fn a_call_takes_its_arguments_and_a_loop_comes_back() {
        let mut emit = Emit::new(ByteOrder::Little);
        let again = emit.label();
        emit.mov(R6, R1); // 0
        emit.mov_imm(R2, 8); // 1
        emit.put(again);
        emit.mov(R3, R6); // 2
        emit.helper(5); // 3
        emit.mov_imm(R2, 7); // 4
        emit.jump_if_imm(If::NotEqual, R0, 0, again); // 5
        emit.exit(); // 6
        let live = Liveness::of(&emit.finish());
        // r2 comes round to the call again.
        assert_eq!(live.free(4).both(regs(&[2, 6])), regs(&[]));
        assert_eq!(live.held_at(3), regs(&[2, 3, 6]));
        assert_eq!(live.held_at(4), regs(&[6]));
        assert_eq!(live.untouched(2), regs(&[7, 8, 9]));
    }
}
