//! What stands where in front of a packet.
//!
//! A layout is a struct in BTF. [`walk`](mod@walk) is the one walk over its fields; all else folds over it:
//!
//! 1. [`content()`]: the text by which two layouts are the same, and the id derived from it.
//! 2. [`selector()`]: where the id stands.
//! 3. [`Fields`]: every field and every gap, to be shown.
//! 4. [`Lookup`]: the fields as a program finds them that calls them by other names.
//! 5. [`Plan`]: the fields that mean something, each with its bit offset, width and byte order and the [`Hint`] that says
//!    what. The soft NIC writes metadata by it, user space reads metadata by it.
//!
//! [`tag`]s are how a BTF says what it means, by the words of the [`vocabulary`](mod@vocabulary). `docs/layout-abi.md` specifies all of it.

#![forbid(unsafe_code)]

pub mod class;
pub mod content;
pub mod derive;
pub mod error;
pub mod fields;
pub mod hint;
pub mod id;
mod limits;
pub mod lookup;
pub mod order;
pub mod plan;
pub mod selector;
pub mod tag;
pub mod tags;
pub mod vendor;
pub mod vocabulary;
pub mod walk;

pub use class::Class;
pub use content::{content, derived_id};
pub use error::Error;
pub use fields::{Field, Fields, Gap};
pub use hint::Hint;
pub use id::{LayoutId, LayoutRef};
pub use limits::{MAX_FIELDS, MAX_SIZE};
pub use lookup::{FieldAt, Lookup};
pub use order::{FieldOrder, field_order};
pub use plan::{Plan, PlanField};
pub use selector::{Almost, Selection, Selector, SelectorFault, ends_in_id, selector};
pub use tag::{FieldTag, TagFault};
pub use tags::Tags;
pub use walk::WalkFault;
pub use xhint_btf::ByteOrder;
