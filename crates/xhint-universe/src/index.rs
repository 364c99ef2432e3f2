//! Types by essential name.
//!
//! An object asks for a handful of names; a kernel has 130,000 types. So nothing is indexed beforehand: all names an
//! object asks for are looked for in one pass over the kinds that can answer, and what was found is kept for the next
//! object. A filter on the first bytes of a name lets nearly every type pass by without its name being read.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use xhint_btf::{Btf, Kind};

use crate::name::essential;

/// A type that answers to an essential name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its id in the BTF it was found in.
    pub id: u32,
    /// Its kind.
    pub kind: Kind,
}

/// Types of one BTF (its own, not its base's) by essential name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    known: RwLock<HashMap<String, Arc<[Candidate]>>>,
}

impl Index {
    /// Looks for those of `names` that were not looked for before.
    pub(crate) fn require<'n>(&self, btf: &Btf, names: impl IntoIterator<Item = &'n str>) {
        let missing: Vec<&str> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            names.into_iter().filter(|name| !known.contains_key(*name)).collect()
        };
        if missing.is_empty() {
            return;
        }
        let mut found: HashMap<&str, Vec<Candidate>> = missing.iter().map(|name| (*name, Vec::new())).collect();
        for ty in btf.types() {
            let kind = ty.kind();
            if !can_answer(kind) {
                continue;
            }
            if let Some(list) = found.get_mut(essential(ty.name())) {
                list.push(Candidate { id: ty.id(), kind });
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(found.into_iter().map(|(name, list)| (name.to_owned(), list.into())));
    }

    /// What was found for `name`, in order of id.
    pub(crate) fn get(&self, btf: &Btf, name: &str) -> Arc<[Candidate]> {
        self.require(btf, [name]);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned().unwrap_or_default()
    }
}

/// Kinds that CO-RE can ask for by name.
fn can_answer(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Typedef | Kind::Fwd | Kind::Float
    )
}
