//! Types that an object asks for and that are no layouts: which of the sources of a universe has them.

use std::collections::BTreeSet;

use xhint_btf::Kind;
use xhint_relo::binding::may_be_layout;
use xhint_relo::{RelocKind, Wanted};
use xhint_universe::{Candidate, SourceId, Universe};

use crate::{LinkOptions, Object};

/// Of the names that the object asks for, those that `source` has a type for.
pub fn names_in(object: &Object, universe: &Universe, source: SourceId, options: &LinkOptions) -> BTreeSet<String> {
    names(object, options).into_iter().filter(|n| has(universe, source, *n)).map(|(_, w)| w.name.to_owned()).collect()
}

/// Of the names that the object asks for, those that mean no layout of `universe` and that the base has no type for, nor
/// `source`, if one is given: what other NIC BTFs are asked for.
pub fn names_lacking(
    object: &Object,
    universe: &Universe,
    source: Option<SourceId>,
    options: &LinkOptions,
) -> BTreeSet<String> {
    let lacks = |n: &(Kind, Wanted<'_>)| {
        let is_layout = may_be_layout(n.0) && n.1.is_metadata(universe);
        !is_layout && ![Some(SourceId::BASE), source].into_iter().flatten().any(|s| has(universe, s, *n))
    };
    names(object, options).into_iter().filter(lacks).map(|(_, w)| w.name.to_owned()).collect()
}

/// All names that relocations ask for, each with the kind of type that is to have it.
fn names<'o>(object: &'o Object, options: &'o LinkOptions) -> Vec<(Kind, Wanted<'o>)> {
    let mut roots: Vec<u32> =
        object.relos().iter().filter(|r| r.core.kind != RelocKind::TypeIdLocal.raw()).map(|r| r.core.type_id).collect();
    roots.sort_unstable();
    roots.dedup();
    let roots = roots.into_iter().filter_map(|id| object.btf().ty(id)).filter(|ty| !ty.name().is_empty());
    roots.map(|ty| (ty.kind(), Wanted::of(&options.bind, ty.name()))).collect()
}

fn has(universe: &Universe, source: SourceId, (kind, wanted): (Kind, Wanted<'_>)) -> bool {
    let fits = |c: &Candidate| c.kind == kind || c.kind.is_any_enum() && kind.is_any_enum();
    universe.candidates(source, wanted.name).iter().any(fits)
}
