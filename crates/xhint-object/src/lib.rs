//! eBPF ELF objects: read, taken apart, put together and written.
//!
//! 1. [`Object`] reads an object: its functions and their instructions, what is relocated in them, where that stands in
//!    the source.
//! 2. [`Image`] is the ELF file, ready to be changed: the one place where sections, symbols and relocations are made.
//! 3. [`Assembly`] takes the code into functions that can be copied and moved, and puts it together again.
//! 4. [`Object::join`] puts another object's code and data beside, [`Object::replace`] other code in the place of a function's.
//! 5. [`maps`] declares maps and data as a compiler would; [`Object::set`] fills in a program's constants.
//!
//! Nothing here knows of linking. BTF in files of any kind is found by [`btf_of`] and [`nic_btf`].
#![forbid(unsafe_code)]

pub mod assembly;
mod btf_file;
pub mod dwarf;
mod error;
pub mod image;
mod join;
pub mod maps;
mod model;
mod records;
mod replace;
mod set;

pub use assembly::{Assembly, Body};
pub use btf_file::{btf_of, is_raw, nic_btf, with_base};
pub use error::{Error, SetError};
pub use image::{Image, SectionId};
pub use model::{Function, Object, Place, Relo};
