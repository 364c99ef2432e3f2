//! One object for many layouts.

mod emit;
mod entry;
