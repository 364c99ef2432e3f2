//! eBPF ELF objects: read, link for metadata layouts, write.
#![forbid(unsafe_code)]

mod carrier;
mod error;
mod image;
mod insn;
mod model;
mod reach;

pub use carrier::btf_of;
pub use error::Error;
pub use model::{Function, Object, Place, Relo};
