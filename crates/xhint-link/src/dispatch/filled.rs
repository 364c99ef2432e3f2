//! Packets that come without metadata, in an entry that has a filler: they are given some before the program runs, and lose
//! it again behind it.

use std::collections::BTreeSet;

use xhint_bpf::effect::{Flow, flow};
use xhint_bpf::reg::{R0, R1, R2, R3, R4, R6, R10};
use xhint_bpf::{Emit, FunctionId, Hook, If, Instruction, Label, Op, SymbolId};

use super::entry::load_ends;
use super::stack::{below, kept, lowest};

/// `bpf_xdp_adjust_meta`.
const ADJUST_META: i32 = 54;

/// Instructions that stand in an entry for what is filled. A jump spans 32,767, but the verifier puts up to a dozen in place of
/// one.
const MOST: usize = 8_000;

/// What fills, in a request.
#[derive(Debug, Clone, Copy)]
pub struct Filled {
    /// The function.
    pub function: FunctionId,
    /// The place of its layout among the request's.
    pub layout: usize,
    /// Bytes of that.
    pub size: u32,
    /// Whether the metadata stays in front of packets that go on to the stack.
    pub keep: bool,
    /// Whether it is loaded without CAP_PERFMON.
    pub careful: bool,
}

/// A filler and the copy behind it, to stand in the entry: a call costs a packet more than most fields do.
#[derive(Debug, Clone)]
pub struct Inlined {
    filler: Vec<Instruction>,
    /// The copy for what is filled, if something is left to do behind it.
    copy: Option<Vec<Instruction>>,
    /// Where the context is kept, below all that either uses of the stack.
    context: i16,
    /// Whether the verifier may object to what the filler leaves on the stack.
    careful: bool,
}

impl Inlined {
    /// `None` if there is no stack for that, or so much code that jumps may not reach over it.
    pub fn new(filler: Vec<Instruction>, copy: Option<Vec<Instruction>>, careful: bool) -> Option<Inlined> {
        let all = || filler.iter().chain(copy.iter().flatten());
        let end = lowest(&filler).min(copy.as_deref().map_or(0, lowest));
        let context = below(end, 1).filter(|_| all().map(Instruction::slots).sum::<usize>() <= MOST)?;
        Some(Inlined { filler, copy, context, careful })
    }
}

/// Emits the filler `fill` for packets without metadata: those that it fills go to `full`, those that it cannot to `none`.
/// With the context in r1 and r6; what follows is for packets that have metadata.
pub fn fill(emit: &mut Emit, hook: Hook, fill: &Fill, full: Label, none: Label) {
    let there = emit.label();
    load_ends(emit, hook);
    emit.jump_if(If::Below, R2, R3, there);
    match fill {
        Fill::Call { filler, .. } => emit.call(*filler),
        Fill::Inlined(Inlined { filler, context, careful, .. }) => {
            emit.store(8, R10, *context, R1);
            inline(emit, filler.clone());
            emit.load(8, R6, R10, *context);
            // Linux 6.1 lets nobody without CAP_PERFMON put less than eight bytes where a pointer was.
            let left = if *careful { kept(filler) } else { BTreeSet::new() };
            left.into_iter().for_each(|at| emit.store_imm(8, R10, at, 0));
        }
    }
    emit.jump_if_imm(If::Equal, R0, 0, none);
    emit.jump(full);
    emit.put(there);
}

/// How the filler is run, and the copy behind it.
#[derive(Debug, Clone)]
pub enum Fill {
    /// Both are called.
    Call {
        filler: SymbolId,
        copy: Option<SymbolId>,
    },
    Inlined(Inlined),
}

/// Emits the copy for a packet that was filled, with the context in r6, if there is one for that alone. What it passes on
/// loses the metadata, if that is still as long.
pub fn run(emit: &mut Emit, hook: Hook, fill: &Fill, size: u32) {
    let (as_it_is, end) = (emit.label(), emit.label());
    emit.mov(R1, R6);
    match fill {
        Fill::Call { copy, .. } => copy.iter().for_each(|copy| emit.call(*copy)),
        Fill::Inlined(Inlined { copy, context, .. }) => {
            inline(emit, copy.clone().unwrap_or_default());
            emit.load(8, R6, R10, *context);
        }
    }
    emit.jump_if_imm(If::NotEqual, R0, hook.passes(), end);
    emit.mov(R1, R6);
    load_ends(emit, hook);
    emit.mov(R4, R2);
    emit.op(Op::Add, R4, size);
    emit.jump_if(If::Above, R4, R3, as_it_is);
    emit.jump_if(If::Below, R4, R3, as_it_is);
    emit.mov_imm(R2, size);
    emit.helper(ADJUST_META);
    emit.put(as_it_is);
    emit.mov_imm(R0, hook.passes());
    emit.put(end);
    emit.exit();
}

/// Emits a function's code where it would be called: what follows comes where it ends.
fn inline(emit: &mut Emit, code: Vec<Instruction>) {
    let end = emit.label();
    for instruction in emit.import(code) {
        if flow(instruction.insn) == Flow::End {
            instruction.label.into_iter().for_each(|label| emit.put(label));
            instruction.line.into_iter().for_each(|line| emit.line_here(line));
            emit.jump(end);
        } else {
            emit.push(instruction);
        }
    }
    emit.put(end);
}
