//! eBPF ELF objects: read, link for metadata layouts, write.
#![forbid(unsafe_code)]

mod carrier;
mod error;

pub use carrier::btf_of;
pub use error::Error;
