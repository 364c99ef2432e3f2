//! Loads from metadata that no relocation touches, and what in the source they come from.
//!
//! A program may read metadata by hand, at places that it knows. So a load is certain to be one of a struct's member only
//! where the line info has the member's name at the very column of the load's expression: for `m->hash` clang notes the
//! place of `hash`, for `*(__u32 *)meta` that of the star. And no other struct of the program may have a member so called.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use xhint_bpf::insn::{LDDW, ST, STX};
use xhint_bpf::{Code, FunctionId, Hook, Insn, Instruction, MetadataRead, Named, reach_if, remaining};
use xhint_btf::{Btf, Type};
use xhint_object::dwarf;
use xhint_relo::RelocKind;
use xhint_universe::Universe;

use crate::bind::Bound;
use crate::{LinkOptions, Object, PlainRead};

/// Structs within structs that are looked into: more than the compiler makes.
const MAX_DEPTH: usize = 16;

/// For some of `structs`, which layouts answer to, a load that reads the place of a member, by its size or its name; one that
/// is certain, if there is such. Where a load may be of several, it is taken for one of the first.
pub fn reads(
    object: &Object,
    universe: &Universe,
    options: &LinkOptions,
    structs: &[Type<'_>],
) -> BTreeMap<String, PlainRead> {
    let mut out = BTreeMap::<String, PlainRead>::new();
    let mut alive = None;
    for (at, read) in loads(object, options) {
        let of = |ty: &Type<'_>| Some((ty.name().to_owned(), of_member(object, structs, *ty, at, read)?));
        let Some((name, new)) = structs.iter().find_map(of) else { continue };
        let alive = alive.get_or_insert_with(|| Alive::of(object, universe, options));
        if alive.has(at) && out.get(&name).is_none_or(|old| new.certain && !old.certain) {
            out.insert(name, new);
        }
    }
    out
}

/// The loads, whatever relocation makes of guards.
fn loads(object: &Object, options: &LinkOptions) -> Vec<((FunctionId, usize), MetadataRead)> {
    let reach = reach_if(&Unlinked::of(object), options.running(object), |_| false);
    reach.metadata.into_iter().filter_map(|(at, read)| Some((at, read?))).collect()
}

/// The load as one of a member of `ty`, one of `structs`: the source names it there, or it is of its size and place.
fn of_member(
    object: &Object,
    structs: &[Type<'_>],
    ty: Type<'_>,
    at: (FunctionId, usize),
    read: MetadataRead,
) -> Option<PlainRead> {
    let start = u32::try_from(read.offset).ok()?.checked_mul(8)?;
    let bits = start..start.checked_add(u32::from(read.bytes).checked_mul(8)?)?;
    let mut members = Vec::new();
    overlapping(object.btf(), ty.id(), 0, &bits, &mut members, MAX_DEPTH);
    let named = member_at(object, at).and_then(|name| members.iter().find(|m| m.0 == name));
    let (name, _) = named.or_else(|| members.iter().find(|m| m.1 == bits))?;
    let place = object.place_in(at.0, at.1).map(|p| format!("{}:{}:{}", p.file, p.line, p.column));
    Some(PlainRead {
        member: (*name).to_owned(),
        place,
        certain: named.is_some() && !others_have(object, structs, name),
    })
}

/// The members with a name, at any depth, that have bits in common with `bits`, each with its own.
fn overlapping<'b>(
    btf: &'b Btf,
    ty: u32,
    base: u32,
    bits: &Range<u32>,
    out: &mut Vec<(&'b str, Range<u32>)>,
    depth: usize,
) {
    let Some(deeper) = depth.checked_sub(1) else { return };
    for member in btf.skip_mods_and_typedefs(ty).members() {
        let own = || {
            let size = match member.bit_size {
                0 => btf.type_size(member.type_id)?.checked_mul(8)?,
                bits => bits,
            };
            let start = base.checked_add(member.bit_offset)?;
            Some(start..start.checked_add(size)?)
        };
        let Some(own) = own().filter(|own| own.start < bits.end && bits.start < own.end) else { continue };
        if !member.name.is_empty() {
            out.push((member.name, own.clone()));
        }
        let element = btf.skip_to_element(member.type_id);
        let into = bits.start.saturating_sub(own.start);
        let Some(past) = element.size().checked_mul(8).and_then(|size| into.checked_rem(size)) else { continue };
        let base = own.start.saturating_add(into.saturating_sub(past));
        overlapping(btf, element.id(), base, bits, out, deeper);
    }
}

/// The name of the member that stands in the source where the instruction's expression does.
fn member_at(object: &Object, (function, number): (FunctionId, usize)) -> Option<&str> {
    let code = object.functions().at(function).code.get(..=number)?;
    let line = code.iter().rev().find_map(|i| i.line)?;
    let text = object.btf().str_at(line.line_off)?;
    let (before, here) = text.split_at_checked((line.column() as usize).checked_sub(1)?)?;
    let before = before.trim_end();
    if !before.ends_with("->") && !before.ends_with('.') {
        return None;
    }
    let end = here.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(here.len());
    here.get(..end).filter(|name| !name.is_empty())
}

/// Whether the program has a struct that is none of `structs` and has a member so called.
fn others_have(object: &Object, structs: &[Type<'_>], member: &str) -> bool {
    let ours: HashSet<&str> = structs.iter().map(|s| s.name()).collect();
    let inside: BTreeSet<u32> = structs.iter().map(|s| object.btf().skip_mods_and_typedefs(s.id()).id()).collect();
    let has = |t: &Type<'_>| !t.name().is_empty() && t.members().any(|m| m.name == member);
    let in_btf = object.btf().types().filter(has).any(|t| !ours.contains(t.name()) && !inside.contains(&t.id()));
    in_btf || dwarf::having(object.image(), member).iter().any(|name| !ours.contains(name.as_str()))
}

/// The object's code before it is linked: what a relocation will put into it is any number.
struct Unlinked<'a> {
    object: &'a Object,
    code: BTreeMap<FunctionId, Vec<Instruction>>,
}

impl<'a> Unlinked<'a> {
    fn of(object: &'a Object) -> Unlinked<'a> {
        let mut code = BTreeMap::<FunctionId, Vec<Instruction>>::new();
        for relo in object.relos().iter().filter(|r| r.core.kind != RelocKind::TypeIdLocal.raw()) {
            let own = code.entry(relo.function).or_insert_with(|| object.function_of(relo).code.clone());
            if let Some(instruction) = own.get_mut(relo.instruction) {
                any_number(instruction);
            }
        }
        Unlinked { object, code }
    }
}

/// Puts what is as little understood as what relocation will make of it in an instruction's place.
fn any_number(instruction: &mut Instruction) {
    /// No store that there is: it may have written anything anywhere.
    const STORE: u8 = STX | 0xe0;
    match instruction.insn.class() {
        ST | STX => instruction.insn.code = STORE,
        _ => {
            instruction.insn = Insn { code: LDDW, src: 0, off: 0, imm: 0, ..instruction.insn };
            instruction.named = Named::Other;
        }
    }
}

impl Code for Unlinked<'_> {
    fn code(&self, function: FunctionId) -> &[Instruction] {
        self.code.get(&function).unwrap_or_else(|| &self.object.functions().at(function).code)
    }

    fn calls_back(&self) -> bool {
        self.object.calls_back()
    }

    fn is_global(&self, function: FunctionId) -> bool {
        self.object.functions().at(function).global
    }

    fn hook(&self, function: FunctionId) -> Option<Hook> {
        self.object.functions().at(function).hook()
    }
}

/// The instructions that can be reached once the program is linked for some layout.
struct Alive(HashSet<(FunctionId, usize)>);

impl Alive {
    /// Of layouts for which it cannot be linked, nothing: that is told elsewhere.
    fn of(object: &Object, universe: &Universe, options: &LinkOptions) -> Alive {
        let running = options.running(object);
        let mut out = HashSet::new();
        for layout in 0..universe.layouts().len() {
            let Ok((_, variant)) = Bound::new(object, universe, &[layout], options) else { continue };
            let reach = variant.reach(running.iter().copied());
            for function in reach.functions {
                let mut code = object.functions().at(function).code.clone();
                variant.apply(function, &mut code);
                let branches = reach.branches.get(&function).cloned().unwrap_or_default();
                out.extend(remaining(&code, &branches).into_iter().map(|number| (function, number)));
            }
        }
        Alive(out)
    }

    fn has(&self, at: (FunctionId, usize)) -> bool {
        self.0.contains(&at)
    }
}
