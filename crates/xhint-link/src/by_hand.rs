//! What reads and writes metadata and is touched by no relocation, and what in the source it comes from.
//!
//! A program may read metadata by hand, at places that it knows. So a load is certain to be one of a struct's member only
//! where the source names the member: at the very column of the load's expression (for `m->hash` clang notes the place of
//! `hash`, for `*(__u32 *)meta` that of the star), or, where that is another, as in a macro's arguments, behind a `->` of
//! its line, as the only member of that place and width. And no other struct of the program may have a member so called.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use xhint_bpf::insn::{LDDW, ST, STX};
use xhint_bpf::{Access, AccessKind, Code, FunctionId, Hook, Insn, Instruction, Named, Reach, reach_if, remaining};
use xhint_object::dwarf;
use xhint_relo::RelocKind;
use xhint_universe::Universe;

use crate::bind::Bound;
use crate::described::{Described, Member};
use crate::{LinkOptions, Object, PlainRead};

/// An instruction.
type At = (FunctionId, usize);

/// How one object gets at metadata by itself.
pub struct ByHand<'a> {
    object: &'a Object,
    universe: &'a Universe,
    options: &'a LinkOptions,
    /// Whatever relocation makes of guards.
    reach: Reach,
    /// By layout: the instructions that can be reached once the program is linked for it.
    alive: HashMap<usize, HashSet<At>>,
    /// By layout: what it has.
    layouts: HashMap<usize, Option<Described>>,
}

/// What an access may be of.
struct Evidence<'s> {
    member: &'s Member,
    /// Bits that are read.
    bits: Range<u32>,
    /// Whether the source names the member there.
    named: bool,
    /// Whether the struct as compiled has the member elsewhere: the object was linked before.
    linked: bool,
}

impl<'a> ByHand<'a> {
    pub fn of(object: &'a Object, universe: &'a Universe, options: &'a LinkOptions) -> ByHand<'a> {
        let reach = reach_if(&Unlinked::of(object), options.running(object), |_| false);
        ByHand { object, universe, options, reach, alive: HashMap::new(), layouts: HashMap::new() }
    }

    /// Whether an address in the metadata was lost.
    pub fn astray(&self) -> bool {
        self.reach.astray
    }

    /// Where the first load stands.
    pub fn first(&self) -> Option<String> {
        let (at, _) = self.reach.metadata.iter().find(|(_, access)| access.kind == AccessKind::Load)?;
        Some(self.place(*at).unwrap_or_else(|| self.object.functions().at(at.0).name.clone()))
    }

    fn place(&self, at: At) -> Option<String> {
        self.object.place_in(at.0, at.1).map(|p| format!("{}:{}:{}", p.file, p.line, p.column))
    }

    /// By struct, an access that is certain, or one that one of the layouts which answer to it has elsewhere; and the layout.
    /// One that is certain, if there is such. Where it may be of several structs, it is taken for one of the first. Of structs that are not
    /// `sure` nothing is certain.
    pub fn reads(
        &mut self,
        structs: &[(&Described, Vec<usize>)],
        is_sure: impl Fn(&Described, &[usize]) -> bool,
    ) -> BTreeMap<String, (usize, PlainRead)> {
        let mut out = BTreeMap::<String, (usize, PlainRead)>::new();
        for (at, access) in self.reach.metadata.clone() {
            for offset in &access.offsets {
                let found = structs
                    .iter()
                    .find_map(|(ty, meant)| Some((*ty, meant.as_slice(), self.evidence(ty, at, &access, *offset)?)));
                let Some((ty, meant, evidence)) = found else { continue };
                let own = self.is_written(&access, *offset);
                let certain = evidence.named
                    && access.kind != AccessKind::Store
                    && !own
                    && is_sure(ty, meant)
                    && !self.others_have(structs, &evidence.member.name);
                if evidence.linked && !certain || out.get(&ty.name).is_some_and(|(_, old)| old.certain || !certain) {
                    continue;
                }
                // What the source names there is read as it was compiled, even where this layout has it just there.
                let mut of = meant.iter().copied();
                let elsewhere = of.clone().find(|l| self.is_wrong(*l, &evidence) && self.lives(*l, at));
                let there = || of.find(|l| certain && self.lives(*l, at));
                let Some(layout) = elsewhere.or_else(there) else { continue };
                let member = evidence.member.name.clone();
                let read = PlainRead {
                    member,
                    place: self.place(at),
                    kind: access.kind,
                    certain,
                    elsewhere: elsewhere.is_some(),
                };
                out.insert(ty.name.clone(), (layout, read));
            }
        }
        out
    }

    /// The access as one of a member of `ty`: the source names it there, or it is of its size and place.
    fn evidence<'s>(&self, ty: &'s Described, at: At, access: &Access, offset: u16) -> Option<Evidence<'s>> {
        let start = u32::from(offset).checked_mul(8)?;
        let width = u32::from(access.bytes.unwrap_or(1)).checked_mul(8)?;
        let bits = start..start.checked_add(width)?;
        let source = Source::of(self.object, at);
        let here = |m: &&Member| m.bits.start < bits.end && bits.start < m.bits.end;
        let exact = source.as_ref().and_then(Source::exact);
        let behind = source.map(|s| s.behind_arrows()).unwrap_or_default();
        let with = |member, named, linked| Some(Evidence { member, bits: bits.clone(), named, linked });
        if let Some(member) = ty.members.iter().filter(here).find(|m| Some(m.name.as_str()) == exact) {
            return with(member, true, false);
        }
        let starts = |m: &&Member| m.bits.start <= bits.start && bits.end <= m.bits.end;
        let fits: Vec<&Member> =
            ty.members.iter().filter(starts).filter(|m| behind.contains(m.name.as_str())).collect();
        // The innermost.
        if let Some(member) = fits.into_iter().min_by_key(|m| m.bits.end.wrapping_sub(m.bits.start)) {
            return with(member, true, false);
        }
        let bare = self.object.relos().is_empty() && access.kind == AccessKind::Load;
        if let Some(member) = ty.members.iter().find(|m| bare && Some(m.name.as_str()) == exact) {
            return with(member, true, true);
        }
        let member = ty.members.iter().find(|m| access.bytes.is_some() && m.bits == bits)?;
        with(member, false, false)
    }

    /// Whether a layout has the member elsewhere, or not at all.
    fn is_wrong(&mut self, layout: usize, evidence: &Evidence<'_>) -> bool {
        let universe = self.universe;
        let describe = || universe.layouts().get(layout).and_then(|l| Described::layout(universe, l));
        let Some(has) = self.layouts.entry(layout).or_insert_with(describe) else { return false };
        let Evidence { member, bits, .. } = evidence;
        let same = |m: &Member| m.name == member.name && m.bits.start == member.bits.start && bits.end <= m.bits.end;
        evidence.linked || !has.members.iter().any(same)
    }

    /// Whether an instruction can be reached once the program is linked for a layout. Of one for which it cannot be linked,
    /// nothing: that is told elsewhere.
    fn lives(&mut self, layout: usize, at: At) -> bool {
        let ByHand { object, universe, options, .. } = *self;
        self.alive.entry(layout).or_insert_with(|| alive(object, universe, options, layout)).contains(&at)
    }

    /// Whether the program writes there by itself, so that what is read may be its own.
    fn is_written(&self, access: &Access, offset: u16) -> bool {
        let end = |at: u16, access: &Access| at.saturating_add(access.bytes.unwrap_or(1).into());
        let meets = |at: &u16, by: &Access| *at < end(offset, access) && offset < end(*at, by);
        let stores = self.reach.metadata.values().filter(|other| other.kind == AccessKind::Store);
        stores.into_iter().any(|other| other.offsets.iter().any(|at| meets(at, other)))
    }

    /// Whether the program has a struct that is none of `structs`, nor within one, and has a member so called.
    fn others_have(&self, structs: &[(&Described, Vec<usize>)], member: &str) -> bool {
        let inner = structs.iter().flat_map(|(ty, _)| ty.inner.iter());
        let ours: HashSet<&str> = structs.iter().map(|(ty, _)| &ty.name).chain(inner).map(String::as_str).collect();
        let btf = self.object.btf();
        // Of a typedef, the struct has no name.
        let mut others = btf.types().filter(|t| !t.name().is_empty() && !ours.contains(t.name()));
        let in_btf = others.any(|t| t.kind().is_composite() && t.members().any(|m| m.name == member));
        in_btf || dwarf::having(self.object.image(), member).iter().any(|name| !ours.contains(name.as_str()))
    }
}

/// The line of source that an instruction comes from.
struct Source<'a> {
    /// Up to the column of its expression.
    before: &'a str,
    /// From there on.
    here: &'a str,
}

impl<'a> Source<'a> {
    fn of(object: &'a Object, (function, number): At) -> Option<Source<'a>> {
        let code = object.functions().at(function).code.get(..=number)?;
        let line = code.iter().rev().find_map(|i| i.line)?;
        let text = object.btf().str_at(line.line_off)?;
        let (before, here) = text.split_at_checked((line.column() as usize).checked_sub(1)?)?;
        Some(Source { before, here })
    }

    /// The member that stands just there.
    fn exact(&self) -> Option<&'a str> {
        let before = self.before.trim_end();
        let is_member = before.ends_with("->") || before.ends_with('.');
        Some(word(self.here)).filter(|name| is_member && !name.is_empty())
    }

    /// The members behind arrows, if the expression does not say by itself that it is none: `m->l3.v4` has two.
    fn behind_arrows(&self) -> BTreeSet<&'a str> {
        let mut out = BTreeSet::new();
        if self.here.starts_with('*') {
            return out;
        }
        for text in [self.before, self.here] {
            for mut rest in text.split("->").skip(1) {
                loop {
                    rest = rest.trim_start();
                    let name = word(rest);
                    out.insert(name);
                    let Some(more) = rest.get(name.len()..).and_then(|rest| rest.trim_start().strip_prefix('.')) else {
                        break;
                    };
                    rest = more;
                }
            }
        }
        out.remove("");
        // Where the expression begins behind an arrow.
        out.extend(self.exact());
        out
    }
}

/// The word that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// The instructions that can be reached once the program is linked for a layout.
fn alive(object: &Object, universe: &Universe, options: &LinkOptions, layout: usize) -> HashSet<At> {
    let mut out = HashSet::new();
    let Ok((_, variant)) = Bound::new(object, universe, &[layout], options) else { return out };
    let reach = variant.reach(options.running(object));
    for function in reach.functions {
        let mut code = object.functions().at(function).code.clone();
        variant.apply(function, &mut code);
        let branches = reach.branches.get(&function).cloned().unwrap_or_default();
        out.extend(remaining(&code, &branches).into_iter().map(|number| (function, number)));
    }
    out
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
