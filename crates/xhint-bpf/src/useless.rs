//! Removing what only fills registers that nobody reads: what is left of constants that decided a comparison, where that was
//! removed ([`crate::prune()`]).

use crate::effect::{Effect, effect};
use crate::prune::without;
use crate::{Instruction, Liveness, Named, Regs, jumps_anywhere};

/// `code` without instructions that write a register which nobody reads behind them, and do nothing else; the whole of it, where
/// it has jumps that are not understood.
#[must_use]
pub fn drop_useless(mut code: Vec<Instruction>) -> Vec<Instruction> {
    if jumps_anywhere(&code) {
        return code;
    }
    loop {
        let live = Liveness::of(&code);
        let useless =
            |(n, i): &(usize, &Instruction)| i.poisoned == 0 && fills(i).is_some_and(|reg| !live.needs(*n, reg));
        let gone = code.iter().enumerate().filter(useless).map(|(n, _)| n).collect::<std::collections::BTreeSet<_>>();
        if gone.is_empty() {
            return code;
        }
        code = without(&code, &gone);
    }
}

/// The register that an instruction writes, if that is all it does.
fn fills(instruction: &Instruction) -> Option<Regs> {
    match effect(instruction.insn, Named::Nothing, true) {
        Effect::Compute | Effect::Wide | Effect::Load { .. } => Some(Regs::one(instruction.insn.dst)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reg::{R0, R1, R2, R3, R6};
    use crate::{Emit, If, Op};
    use xhint_btf::ByteOrder;

    #[test]
    fn what_nobody_reads_goes_and_what_it_was_made_of() {
        let mut emit = Emit::new(ByteOrder::Little);
        let other = emit.label();
        emit.mov_imm(R3, 1); // read by what is read by nobody
        emit.mov(R6, R1);
        emit.op(Op::Add, R3, 2);
        emit.load(4, R2, R1, 0);
        emit.jump_if_imm(If::Equal, R2, 0, other);
        emit.mov_imm(R0, 1);
        emit.exit();
        emit.put(other);
        emit.wide(R3, 7); // the jump leads to it
        emit.load(4, R2, R1, 4); // read by nobody
        emit.mov_imm(R0, 0);
        emit.mov_imm(R0, 2); // the one before is never read
        emit.exit();
        let mut want = Emit::new(ByteOrder::Little);
        let other = want.label();
        want.load(4, R2, R1, 0);
        want.jump_if_imm(If::Equal, R2, 0, other);
        want.mov_imm(R0, 1);
        want.exit();
        want.put(other);
        want.mov_imm(R0, 2);
        want.exit();
        let bytes = |code: &[Instruction]| crate::encode(code, ByteOrder::Little).map(|bytes| bytes.0);
        assert_eq!(bytes(&drop_useless(emit.finish())), bytes(&want.finish()));
    }

    #[test]
    fn what_is_stored_called_with_or_comes_round_stays() {
        let mut emit = Emit::new(ByteOrder::Little);
        let again = emit.label();
        emit.mov_imm(R6, 3);
        emit.put(again);
        emit.mov_imm(R2, 8);
        emit.store(8, crate::reg::R10, -8, R2);
        emit.mov_imm(R1, 1);
        emit.helper(5);
        emit.op(Op::Add, R6, -1);
        emit.jump_if_imm(If::NotEqual, R6, 0, again);
        emit.exit();
        let code = emit.finish();
        assert_eq!(drop_useless(code.clone()), code);
    }
}
