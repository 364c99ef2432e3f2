//! eBPF ELF objects: read, link for metadata layouts, write.
//!
//! 1. [`Object`] reads an object: its functions, what is relocated in them, where that stands in the source.
//! 2. [`Object::link`] resolves the relocations against a universe and writes an object that needs no CO-RE any more,
//!    for one layout or, with dispatch, for many.
//! 3. [`Object::explain`] says what linking would do, relocation by relocation.
//!
//! Inside, `image` is ELF in and out, `assembly` takes code apart and puts it together, `reach` finds what a poisoned
//! relocation can do harm to by what `effect` says that instructions do, `prune` removes what it cannot reach, `bind`
//! and `variant` hold the code under one choice of layouts, and `dispatch` puts copies for many layouts behind one entry.
#![forbid(unsafe_code)]

mod assembly;
mod bind;
mod carrier;
mod choice;
pub mod counts;
mod dispatch;
mod dwarf;
mod effect;
mod elsewhere;
mod error;
mod explain;
mod image;
mod insn;
mod link;
mod missing;
mod model;
mod multi;
mod name;
mod plain;
mod prune;
mod reach;
mod report;
pub mod selectors;
mod set;
mod variant;

pub use carrier::{btf_of, is_raw, nic_btf, with_base};
pub use choice::Unbound;
pub use dispatch::{Fallback, initial_programs, table};
pub use error::Error;
pub use explain::Explained;
pub use link::{Dispatch, LinkOptions, Linked, TakenSlot};
pub use missing::Missing;
pub use model::{Function, Object, Place, Relo};
pub use name::c_name;
pub use plain::Plain;
pub use report::{DispatchReport, LayoutReport, PlaceReport, RelocationReport, Report, ResultReport};
pub use set::SetError;
pub use xhint_relo::Miss;
