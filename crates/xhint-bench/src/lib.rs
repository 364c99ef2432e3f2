//! What the benchmarks work on, and how they measure.
//!
//! Both sides of a comparison run in turns in one process, warm, and the median counts, so that a machine that is busy
//! for a while slows both. What is compared is the ratio; the times are this machine's.

// A benchmark that meets the unexpected ends, and panicking is how.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod clock;
pub mod layouts;
pub mod memory;
pub mod splits;
pub mod workload;

use std::fs::File;
use std::path::Path;

use bytes::Bytes;

/// The running kernel's BTF.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The file's bytes, mapped where the kernel can map it, as the command line reads it.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn read(path: &Path) -> Bytes {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // SAFETY: the kernel's own BTF does not change, and nobody else writes what the benchmark made.
    match unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) } {
        Ok(map) => Bytes::from_owner(map),
        Err(_) => std::fs::read(path).expect("a file that opens").into(),
    }
}
