//! eBPF code, free of its place: instructions that carry what they name, where they jump and what line they come from.
//!
//! 1. [`decode`] takes a function's bytes apart; [`encode`] writes instructions as bytes, each jump with its distance.
//! 2. [`Emit`] writes new code, with labels to jump to.
//! 3. [`effect`] says what each instruction can do. On it rest [`reach_if`], which follows constants and tells what can be
//!    reached, [`prune`], which removes the rest, and [`Liveness`], which finds free registers.
//!
//! Nothing here knows ELF or BTF types. What an instruction names is a number of whoever owns the code ([`Reference`]).
#![forbid(unsafe_code)]

mod arena;
mod code;
pub mod effect;
mod emit;
mod hook;
mod id;
pub mod insn;
mod liveness;
mod named;
mod prune;
mod reach;
mod useless;

pub use arena::Arena;
pub use code::{Fault, Instruction, Label, Reference, Targets, decode, encode, jumps_anywhere};
pub use effect::Regs;
pub use emit::{Emit, If, Imm, Op, reg};
pub use hook::{Context, Hook};
pub use id::{FunctionId, SymbolId};
pub use insn::{Insn, SIZE};
pub use liveness::Liveness;
pub use named::Named;
pub use prune::{Branches, prune, remaining};
pub use reach::{Access, AccessKind, Code, Reach, reach_if};
pub use useless::drop_useless;
