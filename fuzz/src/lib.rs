//! What reads bytes that others wrote, as functions of bytes, with valid bytes to start from.
//!
//! [`TARGETS`] is the only list of them. The test `broken` feeds each with files broken systematically, `smoke` with
//! random damage for a set time, and `guided` lets libFuzzer look for inputs by coverage (`make fuzz`).
//!
//! A target fails by panicking, by taking longer than [`TIME`], or by taking more memory than [`memory_for`] allows.

// A fuzz target that meets the unexpected fails, and panicking is how.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod guard;
mod linking;
mod paths;
mod seeds;
mod targets;

pub use guard::{Guard, TIME, memory_for};
pub use targets::TARGETS;

/// One thing to feed with bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Reads the bytes and uses all that it could make of them.
    pub run: fn(&[u8]),
    /// Of the files broken systematically, the tests take every so manyth: slow targets fewer.
    pub every: usize,
    /// Valid inputs, each with a name.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// The target called `name`.
///
/// # Panics
/// When there is none, naming those that are there.
#[must_use]
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    let names = || TARGETS.map(|target| target.name).join(", ");
    *found.unwrap_or_else(|| panic!("no target {name}; there are {}", names()))
}
