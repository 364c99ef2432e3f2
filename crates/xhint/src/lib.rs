//! One XDP program, any NIC metadata.
//!
//! The crates behind the command `xhint`, under one name:
//! - [`btf`]: read and write BTF.
//! - [`object`]: read eBPF objects, link them for metadata layouts, write them for any loader.
#![forbid(unsafe_code)]

pub use xhint_btf as btf;
pub use xhint_object as object;
