//! Structs of a program that a layout answers to, and that are read without CO-RE: at the offsets that they were compiled
//! with, wherever the layout has its fields.
//!
//! What clang leaves in an object does not say which instruction reads which struct, unless it is relocated. So addresses
//! of metadata are followed through the code, and what no relocation touches is held against the members of such structs
//! ([`crate::by_hand`]). Certain is what the source names, also where a chosen layout has it just there. Where nothing is found,
//! something is said only if an address was lost, and a struct is there that no relocation reads.

use std::collections::HashSet;

use xhint_bpf::insn::LDX;
use xhint_bpf::{Context, Hook, Instruction};
use xhint_btf::{Btf, Kind};
use xhint_relo::{RelocKind, Wanted};
use xhint_universe::Universe;

use crate::by_hand::ByHand;
use crate::report::LayoutReport;
use crate::structs::Struct;
use crate::{LinkOptions, Object, Plain, PlainRead, Relo};

/// What is read without CO-RE.
#[derive(Debug, Default)]
pub struct Found {
    /// Of structs that layouts answer to.
    pub plain: Vec<Plain>,
    /// Whether anything of metadata is, of whatever struct, and where.
    pub anything: Option<String>,
}

impl Found {
    fn add(&mut self, object: &Object, universe: &Universe, name: &str, layout: usize, read: Option<PlainRead>) {
        self.plain.push(Plain {
            name: name.to_owned(),
            layout: LayoutReport::of(universe, layout).map_or_else(String::new, |l| l.label()),
            certain: read.as_ref().is_some_and(|read| read.certain),
            bare: object.relos().is_empty(),
            read,
        });
    }
}

/// All of it, as far as one of these layouts (indices among the universe's) has it elsewhere.
pub fn plain(object: &Object, universe: &Universe, options: &LinkOptions, layouts: &[usize]) -> Found {
    if layouts.is_empty() || !may_take_metadata(object) {
        return Found::default();
    }
    let (read, named, sized) = (roots(object, reads_field), roots(object, only_names), roots(object, takes_size));
    let meant = |name: &str| -> Vec<usize> {
        let Some(wanted) = Some(Wanted::of(&options.bind, name)).filter(|w| w.is_metadata(universe)) else {
            return Vec::new();
        };
        let means = |n: &usize| universe.layouts().get(*n).is_some_and(|l| wanted.means(l));
        layouts.iter().copied().filter(means).collect()
    };
    let otherwise: HashSet<usize> = read.iter().flat_map(|name| meant(name)).collect();
    let held = held(object.btf());
    let mut structs = Struct::all(object, |name| !meant(name).is_empty());
    // Of several, a load that no relocation touches is rather of one that none touches.
    structs.sort_by_key(|ty| read.contains(ty.name.as_str()));
    let mut by_hand = ByHand::of(object, universe, options);
    let of_structs: Vec<(&Struct, Vec<usize>)> = structs.iter().map(|ty| (ty, meant(&ty.name))).collect();
    // What only debug information has beside what is read by CO-RE is told of, but may be no more than that.
    let may_be_certain = |ty: &Struct, meant: &[usize]| ty.in_btf || !meant.iter().any(|l| otherwise.contains(l));
    let mut reads = by_hand.reads(&of_structs, may_be_certain);
    let mut out = Found { plain: Vec::new(), anything: by_hand.first() };
    for (ty, meant) in &of_structs {
        let name = ty.name.as_str();
        let elsewhere = meant.iter().any(|layout| otherwise.contains(layout));
        let asked = named.contains(name) && !sized.contains(name);
        let explained = read.contains(name) || elsewhere && (held.contains(name) || asked);
        let lost = by_hand.astray() && !explained;
        match (reads.remove(name), meant.first()) {
            (Some((layout, read)), _) => out.add(object, universe, name, layout, Some(read)),
            (None, Some(first)) if lost => out.add(object, universe, name, *first, None),
            _ => {}
        }
    }
    // Structs within those.
    for (name, (layout, read)) in reads {
        out.add(object, universe, &name, layout, Some(read));
    }
    out.plain.sort_by(|a, b| a.name.cmp(&b.name));
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

/// Whether a program of the object can have come to the metadata: the verifier lets it load `data_meta` from the context
/// in no other way. Many other loads look like that one.
fn may_take_metadata(object: &Object) -> bool {
    let takes = |i: &Instruction| {
        let word = i.insn.class() == LDX && i.insn.access_bytes() == Context::WORD;
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
