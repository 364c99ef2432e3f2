//! Linking: from a compiled object and a universe of types to an object that needs no CO-RE any more.
//!
//! 1. [`LinkOptions`] say how; the choice of layouts follows from them and from what the object asks for.
//! 2. [`Link::link`] resolves the object's relocations against a universe and writes an object for one layout or, with
//!    dispatch, for many.
//! 3. [`Link::explain`] says what linking would do, relocation by relocation.
//!
//! Inside, `bind` and `variant` hold the code under one choice of layouts, `missing` and `plain` say what is wrong with it in
//! words of the source, and `dispatch` puts copies for many layouts behind one entry.
#![forbid(unsafe_code)]

mod bind;
mod by_hand;
mod choice;
pub mod counts;
mod dispatch;
mod elsewhere;
mod error;
mod explain;
mod link;
mod missing;
mod multi;
mod name;
mod options;
mod plain;
mod policy;
mod report;
pub mod selectors;
mod slack;
mod structs;
mod variant;

pub use dispatch::table;
pub use elsewhere::{names_in, names_lacking};
pub use error::{Clash, Error, Missing, Plain, PlainRead};
pub use explain::Explained;
pub use link::Link;
pub use name::c_name;
pub use options::{Dispatch, Fallback, FillerCall, LinkOptions, TakenSlot};
pub use report::{DispatchReport, LayoutReport, Linked, PlaceReport, RelocationReport, Report, ResultReport, Unbound};
pub use slack::with_slack;
pub use xhint_object::maps::initial_programs;
pub use xhint_object::{Function, Object, Place, Relo};
pub use xhint_relo::{FieldBind, FieldName, Miss, RelocKind};
