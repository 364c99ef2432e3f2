//! The type universe: one base BTF and any number of NIC BTFs, addressed together.
//!
//! 1. [`index`]: types by [essential name](xhint_btf::essential), by which local and target types meet, found in one pass over a BTF for all names that are asked for, and kept.
//! 2. [`layout`]: what is known of a layout; `discover`: which structs of a NIC BTF are some.
//! 3. [`Universe`]: the sources together, and which of them answers for a name.
//!
//! What stands in front of a packet, how layouts are tagged and how ids are derived is specified in
//! `docs/layout-abi.md`; this crate follows it.
#![forbid(unsafe_code)]

mod base;
mod discover;
mod error;
mod id;
pub mod index;
pub mod layout;
mod universe;

pub use error::Error;
pub use id::{SourceId, TypeRef};
pub use index::Candidate;
pub use layout::{KnownLayout, Layout};
pub use universe::{Source, Universe};
pub use xhint_layout::{FieldOrder, LayoutId, LayoutRef, Selector, content, derived_id, field_order};
