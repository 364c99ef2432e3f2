//! One object for many layouts: copies of each program, and an entry that goes to the right one.
//!
//! - [`direct`]: the entry tests length and id and jumps to the copy. Nothing is needed at run time, any loader will do.
//! - [`tail`]: the entry tail-calls the layout's slot. Layouts can be added while it runs; [`table`] is the agreement with
//!   whoever does.
//! - [`by_row`]: the entry looks the id up and finds a row of numbers, by which one copy reads all layouts that are alike.

mod alike;
mod by_row;
mod case;
mod classes;
mod copies;
mod count;
mod direct;
mod entry;
mod filled;
mod rewrite;
mod rows;
mod stack;
pub mod table;
mod tail;
mod usual;

pub use case::{Case, IdAt};

use xhint_bpf::{Arena, FunctionId, Hook};

use crate::Error;
use crate::counts::{COUNTS, UNKNOWN};
use crate::variant::{VariantId, Variants};
use table::{IDS, IDS_SECTION, SLOTS, Slot};

/// Bytes that metadata can have: `xdp_metalen_invalid` of include/net/xdp.h.
const MAX_METADATA: u32 = 252;

/// A layout, and the copy that its packets come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub case: Case,
    /// Its place among the request's layouts, which is that of its slot.
    pub layout: usize,
    /// The variant that reads it: its own or, if it lacks what the program reads, the one for no layout.
    pub variant: VariantId,
}

/// A program that is dispatched, and all layouts, also those that it cannot read: only who looks for all of them takes no
/// packet of one for another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatched {
    /// The function.
    pub function: FunctionId,
    /// Where it runs.
    pub hook: Hook,
    pub routes: Vec<Route>,
    /// Whether it is loaded by itself, or only if somebody asks for it (`SEC("?xdp")`).
    pub optional: bool,
}

impl Dispatched {
    /// How packets of its layouts are told apart.
    pub fn cases(&self) -> impl Iterator<Item = Case> {
        self.routes.iter().map(|r| r.case)
    }
}

impl Request<'_> {
    /// Whether packets that come so get what those of no layout get.
    pub fn falls_back(&self, route: &Route) -> bool {
        route.variant == self.fallback
    }

    /// The slot of a route's layout.
    ///
    /// # Errors
    /// [`Error::NoSlot`].
    pub fn slot(&self, route: &Route) -> Result<Slot, Error> {
        self.slots.get(route.layout).copied().flatten().ok_or(Error::NoSlot)
    }
}

/// The variants of an object: one for each layout, and one for none.
#[derive(Clone)]
pub struct Request<'a> {
    pub object: &'a crate::Object,
    pub variants: &'a Variants<'a>,
    /// What each variant's copies are named by.
    pub names: Arena<VariantId, String>,
    /// The variant for no layout.
    pub fallback: VariantId,
    /// What packets of no layout get.
    pub or_else: crate::Fallback,
    pub programs: Vec<Dispatched>,
    /// The slot of each layout: where tail calls find it, and what it is counted under. There may be more layouts than slots.
    pub slots: Vec<Option<Slot>>,
    /// By relocation, whether it is about metadata.
    pub metadata: Vec<bool>,
    /// Count packets in the entry, as [`crate::counts`] says.
    pub count: bool,
    /// Remove from copies what cannot be reached.
    pub prune: bool,
    /// What fills packets that come without metadata.
    pub filled: Option<Filled>,
}

pub use by_row::{kinds, link as link_by_row};
pub use classes::Classes;
pub use copies::Copies;
pub use direct::link as link_direct;
pub use filled::Filled;
pub use tail::link as link_tail;
pub use usual::looks_for;

/// A map, variable or section of the object that is called as one that dispatch generates.
pub fn reserved(object: &crate::Object) -> Option<&str> {
    let variables = object.image().symbols.iter().filter(|s| !s.is_function()).map(|s| s.name.as_str());
    let sections = object.image().sections.iter().map(|s| s.name.as_str());
    let own = |name: &str| {
        [COUNTS, UNKNOWN, IDS, IDS_SECTION, rows::SECTION].contains(&name)
            || [SLOTS, rows::ROWS].iter().any(|prefix| name.starts_with(prefix))
    };
    variables.chain(sections).find(|name| own(name))
}

/// Which variants share which functions.
pub fn classes_of(object: &crate::Object, variants: &Variants<'_>) -> Classes {
    Classes::of(object, variants)
}

#[cfg(test)]
mod count_tests;
#[cfg(test)]
mod tests;
