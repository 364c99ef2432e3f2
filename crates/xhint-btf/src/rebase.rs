//! Rebasing: a split BTF with a distilled base, put on a real one.
//!
//! A distilled base holds what a split BTF refers to of the base it was made with, and no more: ints and floats, enums by
//! name and size only, structs and unions by name and size only, forward declarations. All else that it refers to stands
//! in the split BTF itself (`btf__distill_base`). So a BTF that travels with one need not be made for the kernel it
//! meets:
//!
//! 1. Structs and unions that types of the split BTF have within them must have the same size in both bases. Those that
//!    are only pointed to may differ.
//! 2. One pass over the base finds, for each name of the distilled one, the types that may answer to it: of the same kind;
//!    ints and floats of the same encoding, enums of the same size; an enum of either width; for a forward declaration
//!    what it declares, or another such declaration. Of several structs those of the same size, of which there must be
//!    one.
//! 3. What finds none is **kept**: its copy follows the types of the split BTF, and references lead there. libbpf refuses
//!    the whole BTF then. [`Btf::kept`] names those whose copy says less than the type does.
//! 4. References and string offsets are renumbered. The distilled base's strings come along.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::number::index;
use crate::shift::Shift;
use crate::{Btf, Builder, Differs, Error, KeptType, Kind, Type};

/// Puts `split`, whose own base is a distilled one, on `base`.
///
/// # Errors
/// [`Error::BaseOrder`]; [`Error::Immovable`] for kinds newer than this crate; what [`Btf::parse_split`] gives.
pub fn rebase(split: &Btf, base: Arc<Btf>) -> Result<Btf, Error> {
    let Some(distilled) = split.base() else { return Btf::parse_split(split.raw().clone(), base) };
    if distilled.order() != base.order() {
        return Err(Error::BaseOrder { own: distilled.order(), base: base.order() });
    }
    let embedded = embedded(split, distilled);
    let found = Found::of(distilled, &base);
    // Own types follow the base's, and what is kept follows them.
    let own = Shift::new("the number of types", split.first_id(), split.end_id(), base.end_id())?;
    let copies_from = own.of(split.end_id());
    let mut next = copies_from;
    let (mut ids, mut copies, mut kept) = (vec![0], Vec::new(), Vec::new());
    for ty in distilled.chain().into_iter().flat_map(Btf::types) {
        match found.answer(ty, embedded.contains(&ty.id())) {
            Ok(id) => ids.push(id),
            Err(why) => {
                let bare = ty.vlen() == 0 && ty.size() > 0;
                if bare && (ty.kind().is_composite() || ty.kind().is_any_enum()) {
                    kept.push(KeptType { id: next, why });
                }
                copies.push(ty);
                ids.push(next);
                next = next.checked_add(1).ok_or(Error::TooLarge { what: "the number of types" })?;
            }
        }
    }
    let id = |id: u32| ids.get(index(id)).copied().unwrap_or_else(|| own.of(id));
    // Nothing is unnamed but by offset 0, and the strings of both follow the base's.
    let strings = Shift::new("the string section", 0, split.end_string(), base.end_string())?;
    let string = |off: u32| if off == 0 { 0 } else { strings.of(off) };
    let mut builder = Builder::split(&base);
    for link in distilled.chain() {
        builder.append_strings(link.string_bytes())?;
    }
    builder.append_strings(split.string_bytes())?;
    for ty in split.types().chain(copies) {
        builder.copy(ty, id, string)?;
    }
    let mut btf = Btf::parse_split(builder.finish(), base)?;
    btf.keep(kept, copies_from);
    Ok(btf)
}

/// Structs and unions of the distilled base that types of the split BTF have within them.
fn embedded(split: &Btf, distilled: &Btf) -> HashSet<u32> {
    let mut out = HashSet::new();
    for member in split.types().flat_map(Type::members) {
        let ty = split.skip_to_element(member.type_id);
        if ty.kind().is_composite() && ty.id() < distilled.end_id() {
            out.insert(ty.id());
        }
    }
    out
}

/// Types of the base by the names of the distilled one.
struct Found<'a> {
    base: &'a Btf,
    by_name: HashMap<&'a [u8], Vec<u32>>,
}

impl<'a> Found<'a> {
    fn of(distilled: &'a Btf, base: &'a Btf) -> Found<'a> {
        let named = distilled.chain().into_iter().flat_map(Btf::types).map(|ty| ty.name().as_bytes());
        let mut by_name: HashMap<&[u8], Vec<u32>> = named.map(|name| (name, Vec::new())).collect();
        by_name.remove(&b""[..]);
        // The first bytes of a name tell for most that it is none of those.
        let start = |name: &[u8]| name.iter().take(4).fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let starts: HashSet<u32> = by_name.keys().map(|name| start(name)).collect();
        for link in base.chain() {
            link.for_each_named(|id, name| {
                let tail = link.string_tail(name);
                let until = tail.iter().take(4).take_while(|byte| **byte != 0).count();
                if starts.contains(&start(tail.get(..until).unwrap_or_default()))
                    && let Some(text) = link.str_at(name)
                    && let Some(list) = by_name.get_mut(text.as_bytes())
                {
                    list.push(id);
                }
            });
        }
        Found { base, by_name }
    }

    /// The base's type that a distilled one stands for.
    fn answer(&self, ty: Type<'_>, embedded: bool) -> Result<u32, Differs> {
        let ids = || self.by_name.get(ty.name().as_bytes()).into_iter().flatten();
        let all = || ids().filter_map(|id| self.base.ty(*id)).filter(|other| fits(ty, *other));
        if ty.kind() == Kind::Fwd {
            // What it declares, rather than another declaration.
            let declared = one(all().filter(|other| other.kind() != Kind::Fwd));
            return declared.or_else(|why| if why == Differs::Missing { one(all().take(1)) } else { Err(why) });
        }
        if !ty.kind().is_composite() {
            let same = all().filter(|other| other.size() == ty.size());
            return one(same).map_err(|why| all().next().filter(|_| why == Differs::Missing).map_or(why, size));
        }
        let several = all().nth(1).is_some();
        let same = one(all().filter(|other| other.size() == ty.size()));
        match (same, all().next()) {
            (Err(Differs::Missing), Some(other)) if !embedded && !several => Ok(other.id()),
            (Err(Differs::Missing), Some(other)) if !several => Err(size(other)),
            (Err(Differs::Missing), Some(_)) => Err(Differs::Several),
            (same, _) => same,
        }
    }
}

fn size(other: Type<'_>) -> Differs {
    Differs::Size(other.size())
}

/// Whether `other`, of the same name, may be what the distilled `ty` stands for, sizes aside.
fn fits(ty: Type<'_>, other: Type<'_>) -> bool {
    match (ty.kind(), other.kind()) {
        (Kind::Int, Kind::Int) => ty.int() == other.int(),
        (Kind::Enum | Kind::Enum64, of) => of.is_any_enum(),
        (Kind::Fwd, Kind::Fwd) => ty.kind_flag() == other.kind_flag(),
        (Kind::Fwd, Kind::Struct) => !ty.kind_flag(),
        (Kind::Fwd, Kind::Union) => ty.kind_flag(),
        (kind @ (Kind::Float | Kind::Struct | Kind::Union), of) => kind == of,
        _ => false,
    }
}

/// The only one.
fn one<'t>(mut types: impl Iterator<Item = Type<'t>>) -> Result<u32, Differs> {
    let first = types.next().ok_or(Differs::Missing)?;
    types.next().map_or(Ok(first.id()), |_| Err(Differs::Several))
}
