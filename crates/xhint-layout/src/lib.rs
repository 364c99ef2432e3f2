//! What stands where in front of a packet.
//!
//! A [`Plan`] is a metadata layout flattened: each field with its path, bit offset, width and byte
//! order, and the [`Hint`] that says what it means. The soft NIC writes metadata by it, user space
//! reads metadata by it. [`Plan::of`] derives one from a struct in BTF.
//!
//! [`hint`] holds the vocabulary, [`plan`] the shape of a plan, [`derive`](mod@derive) the walk
//! through BTF.

#![forbid(unsafe_code)]

pub mod derive;
pub mod error;
pub mod hint;
pub mod plan;

pub use error::Error;
pub use hint::{Class, Hint};
pub use plan::{Field, Order, Plan};
