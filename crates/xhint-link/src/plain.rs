//! Structs of a program that a layout answers to, and that are read without CO-RE: at the offsets that they were compiled
//! with, wherever the layout has its fields.
//!
//! What clang leaves in an object does not say which instruction reads which struct, unless it is relocated. Two things
//! are known all the same:
//!
//! - which loads from metadata no relocation touches, and whether the source names a member there ([`crate::by_hand`]);
//! - that the program takes the address of the metadata, its BTF or debug information describes such a struct, and no relocation
//!   reads a field of it.

use std::collections::{BTreeSet, HashSet};

use xhint_bpf::insn::LDX;
use xhint_bpf::{Context, Hook, Instruction};
use xhint_btf::{Btf, Kind, Type};
use xhint_object::dwarf;
use xhint_relo::binding::may_be_layout;
use xhint_relo::{RelocKind, Wanted};
use xhint_universe::Universe;

use crate::by_hand::reads;
use crate::report::LayoutReport;
use crate::{LinkOptions, Object, Plain, Relo};

/// All of them.
pub fn plain(object: &Object, universe: &Universe, options: &LinkOptions) -> Vec<Plain> {
    if universe.layouts().is_empty() || !takes_metadata(object) {
        return Vec::new();
    }
    let (read, named, sized) = (roots(object, reads_field), roots(object, only_names), roots(object, takes_size));
    let layout = |name: &str| -> Option<usize> {
        let wanted = Some(Wanted::of(&options.bind, name)).filter(|w| w.is_metadata(universe))?;
        universe.layouts().iter().position(|l| wanted.means(l))
    };
    let otherwise: HashSet<usize> = read.iter().filter_map(|name| layout(name)).collect();
    let held = held(object.btf());
    let mut structs: Vec<Type<'_>> = structs(object.btf(), |name| layout(name).is_some()).collect();
    // Of several, a load that no relocation touches is rather of one that none touches.
    structs.sort_by_key(|ty| read.contains(ty.name()));
    let reads = reads(object, universe, options, &structs);
    let mut out = Vec::new();
    for name in described(object, |name| layout(name).is_some()) {
        let Some(layout) = layout(&name) else { continue };
        let elsewhere = otherwise.contains(&layout);
        let kept = held.contains(name.as_str());
        let asked = named.contains(name.as_str()) && !sized.contains(name.as_str());
        let explained = read.contains(name.as_str()) || elsewhere && (kept || asked);
        let load = reads.get(&name);
        if explained && load.is_none() {
            continue;
        }
        out.push(Plain {
            layout: LayoutReport::of(universe, layout).map_or_else(String::new, |l| l.label()),
            certain: load.is_some_and(|load| load.certain) || !explained && !elsewhere && !kept && !asked,
            bare: object.relos().is_empty(),
            read: load.cloned(),
            name,
        });
    }
    out
}

/// The names of types that relocations of some kind start from, also behind typedefs.
fn roots(object: &Object, asks: fn(RelocKind) -> bool) -> HashSet<&str> {
    let btf = object.btf();
    let asking = |r: &&Relo| RelocKind::from_raw(r.core.kind).is_some_and(asks);
    let names = |r: &Relo| {
        let root = btf.ty(r.core.type_id).map_or("", |t| t.name());
        [root, btf.skip_mods_and_typedefs(r.core.type_id).name()]
    };
    object.relos().iter().filter(asking).flat_map(names).filter(|name| !name.is_empty()).collect()
}

/// Whether it takes where a field stands, without which none can be read.
fn reads_field(kind: RelocKind) -> bool {
    use RelocKind::{FieldByteOffset, FieldLeftShift, FieldRightShift};
    matches!(kind, FieldByteOffset | FieldLeftShift | FieldRightShift)
}

/// Whether it takes no more than the type's name or what it has: a program may do so and never look into the metadata.
fn only_names(kind: RelocKind) -> bool {
    use RelocKind::{FieldByteSize, FieldExists, FieldSigned, TypeExists, TypeIdLocal, TypeIdTarget, TypeMatches};
    matches!(kind, TypeExists | TypeIdLocal | TypeIdTarget | TypeMatches | FieldExists | FieldByteSize | FieldSigned)
}

/// Whether it is asked how many bytes may be read.
fn takes_size(kind: RelocKind) -> bool {
    kind == RelocKind::TypeSize
}

/// The names that fit of the structs and unions that the program has with their members.
fn described(object: &Object, fits: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut out: BTreeSet<String> = structs(object.btf(), &fits).map(|t| t.name().to_owned()).collect();
    if dwarf::may_have(object.image(), &fits) {
        out.extend(dwarf::structs(object.image()).into_iter().filter(|name| fits(name)));
    }
    out
}

/// Those in the object's BTF.
fn structs<'b>(btf: &'b Btf, fits: impl Fn(&str) -> bool) -> impl Iterator<Item = Type<'b>> {
    let has_members = |id| {
        let body = btf.skip_mods_and_typedefs(id);
        body.kind().is_composite() && body.vlen() > 0
    };
    btf.types().filter(move |t| may_be_layout(t.kind()) && fits(t.name()) && has_members(t.id()))
}

/// Whether a program of the object can have come to the metadata: the verifier lets it load `data_meta` from the context
/// in no other way.
fn takes_metadata(object: &Object) -> bool {
    let takes = |i: &Instruction| {
        let word = i.insn.class() == LDX && i.insn.bytes_moved() == Context::WORD;
        word && Hook::ALL.iter().any(|hook| hook.context().data_meta == i.insn.off)
    };
    object.functions().iter().any(|f| f.code.iter().any(takes))
}

/// Names of structs that variables and maps hold, which explains that the program has them.
fn held(btf: &Btf) -> HashSet<&str> {
    let (mut seen, mut names) = (HashSet::new(), HashSet::new());
    let mut left: Vec<u32> = btf.types().filter(|t| t.kind() == Kind::Var).map(|t| t.target()).collect();
    while let Some(id) = left.pop() {
        if !seen.insert(id) {
            continue;
        }
        let ty = btf.skip_mods(id);
        names.insert(ty.name());
        match ty.kind() {
            Kind::Ptr | Kind::Typedef => left.push(ty.target()),
            Kind::Array => left.extend(ty.array().map(|a| a.elem)),
            _ => left.extend(ty.members().map(|m| m.type_id)),
        }
    }
    names
}
