//! When a local and a target type can stand for each other.
//!
//! Three questions, from lenient to strict, each as libbpf answers it: [`fields`] for what an access goes through,
//! [`types`] for `bpf_core_type_exists` and its like, [`matches()`] for `bpf_core_type_matches`.

use std::cell::Cell;

use xhint_btf::{Btf, ByteOrder, Kind, Type, essential};
use xhint_universe::field_order;

/// Levels of types that are compared (libbpf's and the kernel's bound).
const MAX_DEPTH: u32 = 32;
/// Pairs of types that are compared for one answer. Types that fan out at every level would otherwise never end.
const MAX_PAIRS: u32 = 1 << 16;

/// The types nest deeper than 32 levels, or fan out beyond reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooDeep;

/// What is left of [`MAX_PAIRS`].
struct Budget(Cell<u32>);

impl Budget {
    fn new() -> Self {
        Budget(Cell::new(MAX_PAIRS))
    }

    fn take(&self) -> Result<(), TooDeep> {
        self.0.set(self.0.get().checked_sub(1).ok_or(TooDeep)?);
        Ok(())
    }
}

/// A type on both sides.
#[derive(Clone, Copy)]
struct Pair<'a> {
    local: &'a Btf,
    local_id: u32,
    target: &'a Btf,
    target_id: u32,
}

impl<'a> Pair<'a> {
    fn with(self, local_id: u32, target_id: u32) -> Self {
        Pair { local_id, target_id, ..self }
    }

    /// Both behind modifiers and typedefs.
    fn types(self) -> (Type<'a>, Type<'a>) {
        (self.local.skip_mods_and_typedefs(self.local_id), self.target.skip_mods_and_typedefs(self.target_id))
    }
}

/// Whether a field of the local type can be read where a field of the target type is.
pub fn fields(local: &Btf, local_id: u32, target: &Btf, target_id: u32) -> bool {
    let mut pair = Pair { local, local_id, target, target_id };
    // Chains of arrays are bounded by the BTF's check.
    for _ in 0..=MAX_DEPTH {
        let (l, t) = pair.types();
        if l.kind().is_composite() && t.kind().is_composite() {
            return true;
        }
        if !same_kind(l.kind(), t.kind()) {
            return false;
        }
        match l.kind() {
            Kind::Ptr | Kind::Float => return true,
            // An anonymous enum is as good as any.
            Kind::Fwd | Kind::Enum | Kind::Enum64 => {
                return l.name().is_empty() || t.name().is_empty() || essential(l.name()) == essential(t.name());
            }
            Kind::Int => return is_whole(l) && is_whole(t),
            Kind::Array => {
                let (Some(l), Some(t)) = (l.array(), t.array()) else { return false };
                pair = pair.with(l.elem, t.elem);
            }
            _ => return false,
        }
    }
    false
}

/// Whether the target type is, roughly, what the local one says: same kind, for pointers and functions all the way.
///
/// # Errors
/// [`TooDeep`].
pub fn types(local: &Btf, local_id: u32, target: &Btf, target_id: u32) -> Result<bool, TooDeep> {
    let (Some(l), Some(t)) = (local.ty(local_id), target.ty(target_id)) else { return Ok(false) };
    if !same_kind(l.kind(), t.kind()) {
        return Ok(false);
    }
    types_at(Pair { local, local_id, target, target_id }, MAX_DEPTH, &Budget::new())
}

fn types_at(mut pair: Pair<'_>, depth: u32, budget: &Budget) -> Result<bool, TooDeep> {
    for depth in (0..=depth).rev() {
        budget.take()?;
        let (l, t) = pair.types();
        if !same_kind(l.kind(), t.kind()) {
            return Ok(false);
        }
        pair = match l.kind() {
            Kind::Void | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd => return Ok(true),
            Kind::Int => return Ok(is_whole(l) && is_whole(t)),
            Kind::Ptr => pair.with(l.target(), t.target()),
            Kind::Array => {
                let (Some(la), Some(ta)) = (l.array(), t.array()) else { return Ok(false) };
                pair.with(la.elem, ta.elem)
            }
            Kind::FuncProto => {
                if l.vlen() != t.vlen() {
                    return Ok(false);
                }
                let below = depth.checked_sub(1).ok_or(TooDeep)?;
                for (lp, tp) in l.params().zip(t.params()) {
                    if !types_at(pair.with(lp.type_id, tp.type_id), below, budget)? {
                        return Ok(false);
                    }
                }
                pair.with(l.target(), t.target())
            }
            _ => return Ok(false),
        };
    }
    Err(TooDeep)
}

/// Whether the target type has all that the local one says, by name, kind, size and sign. `layout` is set where the
/// target is a metadata layout: then the root's name is settled by the binding, byte order is part of a type, and without
/// `walk` pointers are not there.
///
/// # Errors
/// [`TooDeep`].
pub fn matches(
    (local, local_id): (&Btf, u32),
    (target, target_id): (&Btf, u32),
    layout: bool,
    walk: bool,
) -> Result<bool, TooDeep> {
    let matcher = Matcher { layout, walk, budget: Budget::new() };
    matcher.at(Pair { local, local_id, target, target_id }, false, MAX_DEPTH, layout)
}

struct Matcher {
    layout: bool,
    walk: bool,
    budget: Budget,
}

impl Matcher {
    fn at(&self, mut pair: Pair<'_>, mut behind_ptr: bool, depth: u32, root: bool) -> Result<bool, TooDeep> {
        let mut named = !root;
        for depth in (0..depth).rev() {
            self.budget.take()?;
            if self.layout && !behind_ptr && !same_order(pair.local, pair.local_id, pair.target, pair.target_id) {
                return Ok(false);
            }
            let (l, t) = pair.types();
            if named && !names_match(l.name(), t.name()) {
                return Ok(false);
            }
            named = true;
            let same = same_kind(l.kind(), t.kind());
            pair = match l.kind() {
                Kind::Fwd if behind_ptr => return Ok(is_forward_of(l, t)),
                Kind::Struct | Kind::Union if behind_ptr => return Ok(l.kind() == t.kind() || is_forward_of(t, l)),
                _ if !same => return Ok(false),
                Kind::Void => return Ok(true),
                Kind::Fwd => return Ok(l.kind_flag() == t.kind_flag()),
                Kind::Enum | Kind::Enum64 => return Ok(enums_match(l, t)),
                Kind::Struct | Kind::Union => return self.members_match(pair, behind_ptr, depth),
                Kind::Int => {
                    let signed = |ty: Type<'_>| ty.int().is_some_and(|i| i.signed);
                    return Ok(l.size() == t.size() && signed(l) == signed(t));
                }
                Kind::Ptr if self.layout && !self.walk && !behind_ptr => return Ok(false),
                Kind::Ptr => {
                    behind_ptr = true;
                    pair.with(l.target(), t.target())
                }
                Kind::Array => match (l.array(), t.array()) {
                    (Some(la), Some(ta)) if la.len == ta.len => pair.with(la.elem, ta.elem),
                    _ => return Ok(false),
                },
                Kind::FuncProto => {
                    if l.vlen() != t.vlen() {
                        return Ok(false);
                    }
                    for (lp, tp) in l.params().zip(t.params()) {
                        if !self.at(pair.with(lp.type_id, tp.type_id), behind_ptr, depth, false)? {
                            return Ok(false);
                        }
                    }
                    pair.with(l.target(), t.target())
                }
                _ => return Ok(false),
            };
        }
        Err(TooDeep)
    }

    /// Every local member has one of its name and type in the target.
    fn members_match(&self, pair: Pair<'_>, behind_ptr: bool, depth: u32) -> Result<bool, TooDeep> {
        let (l, t) = pair.types();
        if l.vlen() > t.vlen() {
            return Ok(false);
        }
        for lm in l.members() {
            let mut found = false;
            for tm in t.members().filter(|tm| names_match(lm.name, tm.name)) {
                if self.at(pair.with(lm.type_id, tm.type_id), behind_ptr, depth, false)? {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether both fields have the same byte order, as far as they have one: where a program reads a layout, that is part
/// of a number's type. A number that declares none has the machine's; one byte has none, nor has anything but a number.
pub(crate) fn same_order(local: &Btf, local_id: u32, target: &Btf, target_id: u32) -> bool {
    match (number(local, local_id), number(target, target_id)) {
        (Some((l_size, l_order)), Some((t_size, t_order))) => l_order == t_order || (l_size, t_size) == (1, 1),
        _ => true,
    }
}

/// Size and byte order of a number, or of those that an array holds.
fn number(btf: &Btf, id: u32) -> Option<(u32, ByteOrder)> {
    let mut ty = btf.skip_mods_and_typedefs(id);
    // Chains of arrays are bounded by the BTF's check.
    for _ in 0..MAX_DEPTH {
        match ty.array() {
            Some(array) => ty = btf.skip_mods_and_typedefs(array.elem),
            None => break,
        }
    }
    if ty.kind() != Kind::Int && !ty.kind().is_any_enum() {
        return None;
    }
    Some((ty.size(), field_order(btf, id).within(btf.order())))
}

fn enums_match(local: Type<'_>, target: Type<'_>) -> bool {
    local.size() == target.size()
        && local.vlen() <= target.vlen()
        && local.enumerators().all(|l| target.enumerators().any(|t| names_match(l.name, t.name)))
}

/// Whether `forward` is a forward declaration of what `other` is, or of the same.
fn is_forward_of(forward: Type<'_>, other: Type<'_>) -> bool {
    forward.kind() == Kind::Fwd
        && match other.kind() {
            Kind::Fwd => forward.kind_flag() == other.kind_flag(),
            Kind::Struct => !forward.kind_flag(),
            Kind::Union => forward.kind_flag(),
            _ => false,
        }
}

fn names_match(local: &str, target: &str) -> bool {
    essential(local) == essential(target)
}

/// Same kind, both widths of enum being one.
fn same_kind(local: Kind, target: Kind) -> bool {
    local == target || local.is_any_enum() && target.is_any_enum()
}

/// Not a bitfield in disguise, as older encoders made them.
fn is_whole(int: Type<'_>) -> bool {
    int.int().is_some_and(|i| i.bit_offset == 0)
}
