//! The BPF Type Format: bytes in, bytes out.
//!
//! The format is that of the kernel's `include/uapi/linux/btf.h` and `Documentation/bpf/btf.rst`. In the order of a
//! file:
//!
//! 1. [`header`]: where the types, the strings and the kind layouts stand, and in which byte order.
//! 2. [`check`]: one pass that looks at every type once, so that nothing later has to doubt a reference.
//! 3. [`Btf`]: a checked BTF, alone or split on a base; it owns its bytes and one offset per type, nothing per member.
//! 4. [`Type`]: a view of one type, read from the bytes when asked.
//! 5. [`ext`]: `.BTF.ext`, which ties instructions to functions, source lines and CO-RE relocations.
//! 6. [`rebase()`]: a split BTF with a distilled base, put on a real one.
//! 7. [`Def`]: a type free of its BTF, to be read and written; [`Builder`]: a BTF that grows; [`merge()`]: the flat merge of a
//!    base and its splits.
//!
//! The crate does no I/O and has no `unsafe`: whoever maps the file hands over [`bytes::Bytes`].
#![forbid(unsafe_code)]

mod btf;
mod builder;
pub mod check;
mod def;
mod error;
pub mod ext;
pub mod header;
mod kept;
mod kind;
mod name;
mod number;
mod order;
mod pass;
mod read;
mod reader;
mod rebase;
mod references;
mod shift;
mod walk;

pub use btf::{Array, Btf, Enumerator, IntEncoding, Linkage, Member, Param, SecVar, Type};
pub use builder::{Builder, Moved, merge};
pub use def::{Composite, Def, Enumeration};
pub use error::Error;
pub use kept::{Differs, KeptType};
pub use kind::Kind;
pub use name::essential;
pub use order::ByteOrder;
pub use rebase::rebase;
