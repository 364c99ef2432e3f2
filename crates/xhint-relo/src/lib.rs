//! CO-RE relocation against a universe of BTFs, one metadata layout at a time.
//!
//! A relocation names a local type, an access string (`0:1:2`) and a question ([`RelocKind`]). In the order in which
//! it is answered:
//!
//! 1. [`spec`]: the access string becomes the local spec: which member of which member, with which bit offset.
//! 2. [`binding`]: where the local root's name leads: to the bound layout, nowhere, or to types of the base or a NIC BTF.
//! 3. [`matching`]: each candidate is walked by the local spec's names, which gives a target spec or nothing.
//!    [`compat`] says when two types can stand for each other.
//!    [`meeting`] says by what else than its name a field of a layout can be met.
//! 4. [`value`]: what the question's answer is, for the local spec and for the target spec.
//! 5. [`mod@patch`]: the instruction is changed from the first to the second, or poisoned.
//!
//! [`Resolver`] does 1 to 4 for an object and remembers; [`explain`] tells a person what happened and what could be
//! meant instead.
//!
//! Worked by hand: a program reads `m->l3.v6.flow`, compiled where `flow` lies at byte 12. Its relocation is
//! `{type nic_meta, "0:2:1:0", FieldByteOffset}`. Local spec: `nic_meta`, then the named members `l3`, `v6`, `flow`;
//! 96 bits. The layout calls itself `mlx_rx` and answers to `nic_meta`; its `l3` sits in an anonymous struct at byte 16,
//! and `flow` is its first member: 128 bits. Both are 4 bytes wide. The instruction's offset 12 becomes 16.
//!
//! Semantics are libbpf's (`src/relo_core.c`), surprises included, but for what `ARCHITECTURE.md` lists.
#![forbid(unsafe_code)]

mod bind_check;
pub mod binding;
pub mod compat;
mod error;
pub mod explain;
mod kind;
pub mod matching;
pub mod meeting;
pub mod patch;
mod resolver;
mod shared;
pub mod spec;
pub mod value;

pub use bind_check::{BindFault, check_binds};
pub use binding::{Binding, FieldBind, FieldName, Wanted};
pub use error::Error;
pub use explain::{Explanation, Miss};
pub use kind::RelocKind;
pub use meeting::MetBy;
pub use patch::{PatchError, patch, patch_bytes};
pub use resolver::{Bits, Resolution, Resolver};
pub use shared::Shared;
