//! Structs with their members, whoever describes them: a program's BTF, its debug information, or the BTF of a NIC.

use std::ops::Range;

use xhint_btf::{Btf, Type};
use xhint_object::dwarf;
use xhint_relo::binding::may_be_layout;
use xhint_relo::meeting::{Hint, LocalHints, hint_by_name};
use xhint_universe::{Layout, TypeRef, Universe};

use crate::Object;

/// Structs within structs that are looked into: more than the compiler makes.
const MAX_DEPTH: usize = 16;
/// Members of one struct that are looked at: more than there are.
const MAX_MEMBERS: usize = 4096;
/// Metadata is no longer, in bits.
const MAX_BITS: u32 = 256 * 8;

/// A struct or union.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Struct {
    pub name: String,
    /// Those with a name, at any depth.
    pub members: Vec<Member>,
    /// The names of structs within it.
    pub inner: Vec<String>,
    /// Whether the program's BTF has it: not so of what local variables and casts alone are of.
    pub in_btf: bool,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// The names on the way to it, where that is known; elements of an array have one.
    pub path: String,
    /// What each of those means in a program, itself last.
    pub hints: Vec<Option<Hint>>,
    /// The name of the struct that it is a member of, where that is known.
    pub owner: String,
    /// From the start of the struct.
    pub bits: Range<u32>,
}

impl Member {
    /// Where it begins.
    pub fn start(&self) -> Range<u32> {
        self.bits.start..self.bits.start
    }

    /// Whether it has one of these bits.
    pub fn meets(&self, bits: &Range<u32>) -> bool {
        self.bits.start < bits.end && bits.start < self.bits.end
    }

    /// Whether it is a member of what stands at this path, or of a struct in that.
    pub fn is_within(&self, path: &str) -> bool {
        self.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// Where members are looked for.
#[derive(Clone, Copy)]
struct Within<'p> {
    path: &'p str,
    hints: &'p [Option<Hint>],
    owner: &'p str,
    /// Its first bit.
    base: u32,
    /// How much deeper to look.
    depth: usize,
}

impl Struct {
    /// The structs and unions that the program has with their members and whose name `fits`, each once.
    pub fn all(object: &Object, fits: impl Fn(&str) -> bool) -> Vec<Struct> {
        let btf = object.btf();
        let ours = btf.types().filter(|t| may_be_layout(t.kind()) && fits(t.name()));
        let hints = LocalHints::of(btf);
        let mut out: Vec<Struct> = ours.filter_map(|t| Struct::of(btf, t, Some(&hints))).collect();
        if dwarf::may_have(object.image(), &fits) {
            for found in dwarf::structs(object.image(), &fits) {
                let member = |(name, bits): (String, _)| Member {
                    hints: vec![hint_by_name(&name)],
                    name,
                    path: String::new(),
                    owner: String::new(),
                    bits,
                };
                let members = found.members.into_iter().map(member).collect();
                out.push(Struct { name: found.name, members, inner: found.inner, in_btf: false });
            }
        }
        out.sort_by(|a, b| (&a.name, !a.in_btf).cmp(&(&b.name, !b.in_btf)));
        out.dedup_by(|later, first| later.name == first.name);
        out
    }

    /// What a layout's BTF says of it, if that is at hand.
    pub fn layout(universe: &Universe, layout: &Layout) -> Option<Struct> {
        let btf = layout.is_at_hand().then(|| universe.source(layout.source))??.btf();
        let ty = universe.ty(TypeRef { source: layout.source, id: layout.type_id })?;
        Struct::of(btf, ty, None)
    }

    /// What a BTF says of a struct, or of a typedef of one, if it has members; and what those mean, if that is asked for.
    fn of(btf: &Btf, ty: Type<'_>, hints: Option<&LocalHints<'_>>) -> Option<Struct> {
        let body = btf.skip_mods_and_typedefs(ty.id());
        let has_members = body.kind().is_composite() && body.vlen() > 0;
        let mut left = MAX_MEMBERS;
        let mut out = Struct { name: ty.name().to_owned(), in_btf: true, ..Struct::default() };
        let within = Within { path: "", hints: &[], owner: ty.name(), base: 0, depth: MAX_DEPTH };
        out.add((btf, hints), body, within, &mut left);
        has_members.then_some(out)
    }

    fn add(&mut self, of: (&Btf, Option<&LocalHints<'_>>), ty: Type<'_>, within: Within<'_>, left: &mut usize) {
        let Some(depth) = within.depth.checked_sub(1) else { return };
        let (btf, meant) = of;
        for (index, member) in (0u32..).zip(ty.members()) {
            let bits = || {
                let size = match member.bit_size {
                    0 => btf.type_size(member.type_id)?.checked_mul(8)?,
                    bits => bits,
                };
                let start = within.base.checked_add(member.bit_offset)?;
                Some(start..start.checked_add(size)?)
            };
            let Some(bits) = bits().filter(|bits| bits.start < MAX_BITS) else { continue };
            let Some(fewer) = left.checked_sub(1) else { return };
            *left = fewer;
            let path = match (within.path, member.name) {
                (path, "") => path.to_owned(),
                ("", name) => name.to_owned(),
                (path, name) => format!("{path}.{name}"),
            };
            let mut hints = within.hints.to_vec();
            if !member.name.is_empty() {
                hints.push(meant.and_then(|meant| meant.hint(ty.id(), index)));
                let (name, owner) = (member.name.to_owned(), within.owner.to_owned());
                self.members.push(Member { name, path: path.clone(), hints: hints.clone(), owner, bits: bits.clone() });
            }
            let element = btf.skip_to_element(member.type_id);
            let size = element.size().checked_mul(8).filter(|size| *size > 0 && element.kind().is_composite());
            let Some(size) = size else { continue };
            if !element.name().is_empty() {
                self.inner.push(element.name().to_owned());
            }
            let owner = if element.name().is_empty() { within.owner } else { element.name() };
            for start in (bits.start..bits.end.min(MAX_BITS)).step_by(size as usize) {
                self.add(of, element, Within { path: &path, hints: &hints, owner, base: start, depth }, left);
            }
        }
    }
}
