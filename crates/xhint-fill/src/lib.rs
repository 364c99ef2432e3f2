//! Fields come from wherever the NIC keeps them: what a program asks of its packets' metadata, and no NIC puts in front of
//! them, is fetched by a *filler* that runs before the program.
//!
//! 1. [`Asked`]: the structs and fields of metadata that the program asks for.
//! 2. [`Provider`]: where a value can come from; [`Offers`]: whether it can on a device, and what it costs there.
//!    [`driver`] finds values in the driver's own structures.
//! 3. [`Choice`]: which provider each field gets, by what the user prefers. [`Row`]s tell of it.
//! 4. `layout`: the layout that holds what is fetched, made for this program, as BTF.
//! 5. [`Filler`]: the object that fetches, joined to the program's; both are then linked for that layout.
//!
//! The filler itself is `bpf/fill.bpf.c`: an ordinary CO-RE program that writes, compiled once. `docs/fill.md` tells users
//! of it.
#![forbid(unsafe_code)]

mod asked;
mod choice;
pub mod driver;
mod error;
mod filler;
mod layout;
mod offer;
mod provider;

pub use asked::{Asked, AskedField, Shape};
pub use choice::{Choice, Row};
pub use error::Error;
pub use filler::Filler;
pub use offer::{Offer, Offers, Origin, Standing};
pub use provider::{Fill, Prefer, Provider};
