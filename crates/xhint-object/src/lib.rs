//! eBPF ELF objects: read, link for metadata layouts, write.
#![forbid(unsafe_code)]

mod assembly;
mod carrier;
mod dispatch;
mod error;
mod image;
mod insn;
mod model;
mod reach;
mod report;
mod variant;

pub use carrier::{btf_of, nic_btf};
pub use dispatch::{Fallback, table};
pub use error::Error;
pub use model::{Function, Object, Place, Relo};
pub use report::{DispatchReport, LayoutReport, PlaceReport, RelocationReport, Report, ResultReport};
