//! What reads and writes metadata and is touched by no relocation, and what in the source it comes from.
//!
//! A program may read metadata by hand, at places that it knows. So a load is certain to be one of a struct's member only
//! where the source names the member: at the very column of the load's expression (for `m->hash` clang notes the place of
//! `hash`, for `*(__u32 *)meta` that of the star), or, where that is another, as in a macro's arguments, behind a `->` of
//! its line, as the only member of that place and width. And no other struct of the program may have a member so called.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use xhint_bpf::{Access, AccessKind, Code, FunctionId, Hook, Instruction, Named, Reach, reach_if, remaining};
use xhint_btf::Type;
use xhint_btf::ext::CoreRelo;
use xhint_object::dwarf;
use xhint_relo::meeting::{LayoutFields, LocalField, Whereabouts};
use xhint_relo::spec::Spec;
use xhint_relo::{FieldBind, RelocKind, Shared};
use xhint_universe::Universe;

use crate::bind::Bound;
use crate::structs::{Member, Struct};
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
    /// By layout: how the program is linked for it, if it can be.
    linked: HashMap<usize, Option<LinkedFor<'a>>>,
    /// By layout: what it has.
    layouts: HashMap<usize, Option<Has<'a>>>,
    shared: Rc<Shared<'a>>,
}

/// What a layout has.
struct Has<'a> {
    members: Struct,
    /// The same to be met by other names.
    fields: Option<LayoutFields<'a>>,
}

/// A struct of the program, and the layouts that answer to it.
pub type Meant<'d> = (&'d Struct, Vec<usize>);

/// What an access may be of.
struct Evidence<'s> {
    /// The struct, and the layouts that answer to it.
    ty: &'s Struct,
    meant: &'s [usize],
    /// Which member; not known of an access that may be of any.
    member: Option<&'s Member>,
    /// The relocated field that it lies in, if so.
    within: Option<RelocatedField>,
    /// Bits that are read.
    bits: Range<u32>,
    /// Whether the source names the member there.
    named: bool,
    /// Whether the struct as compiled has the member elsewhere: the object was linked before.
    linked: bool,
}

/// A field whose place relocation tells.
#[derive(Clone, Copy)]
struct RelocatedField {
    /// The relocation that does.
    relo: usize,
    /// Its first bit, as compiled.
    start: u32,
}

/// The object as it is linked for one layout.
struct LinkedFor<'a> {
    bound: Bound<'a>,
    /// The instructions that can be reached.
    alive: HashSet<At>,
}

impl<'a> ByHand<'a> {
    pub fn of(object: &'a Object, universe: &'a Universe, options: &'a LinkOptions) -> ByHand<'a> {
        let reach = reach_if(&Unlinked::of(object), options.running(object), |_| false);
        ByHand {
            object,
            universe,
            options,
            reach,
            linked: HashMap::new(),
            layouts: HashMap::new(),
            shared: Rc::default(),
        }
    }

    /// Whether an address in the metadata was lost.
    pub fn astray(&self) -> bool {
        self.reach.astray
    }

    /// Where the first load stands.
    pub fn first(&self) -> Option<String> {
        let plain = |access: &Access| access.anywhere || !access.offsets.is_empty();
        let (at, _) =
            self.reach.metadata.iter().find(|(_, access)| access.kind == AccessKind::Load && plain(access))?;
        Some(self.place(*at).unwrap_or_else(|| self.object.functions().at(at.0).name.clone()))
    }

    fn place(&self, at: At) -> Option<String> {
        self.object.place_in(at.0, at.1).map(|p| format!("{}:{}:{}", p.file, p.line, p.column))
    }

    /// By struct, an access that is certain, or one that one of the layouts which answer to it has elsewhere; and the layout.
    /// One that is certain, if there is such. Where it may be of several structs, it is taken for one of the first. Of structs that are not
    /// such nothing is certain.
    pub fn reads(
        &mut self,
        structs: &[Meant<'_>],
        may_be_certain: impl Fn(&Struct, &[usize]) -> bool,
    ) -> BTreeMap<String, (usize, PlainRead)> {
        let mut out = BTreeMap::<String, (usize, PlainRead)>::new();
        for (at, access) in self.reach.metadata.clone() {
            for evidence in self.all_evidence(structs, at, &access) {
                let Evidence { ty, meant, member, within, .. } = evidence;
                let own = access.offsets.iter().any(|offset| self.is_written(&access, *offset));
                let certain = evidence.named
                    && access.kind != AccessKind::Store
                    && !own
                    && may_be_certain(ty, meant)
                    && !member.is_some_and(|member| self.others_have(structs, &member.name));
                let name = member.filter(|_| within.is_some()).map_or(&ty.name, |member| &member.owner);
                if evidence.linked && !certain || out.get(name).is_some_and(|(_, old)| old.certain || !certain) {
                    continue;
                }
                // What the source names there is read as it was compiled, even where this layout has it just there. A struct
                // within one that is read by CO-RE may be one that is the same everywhere.
                let there_too = certain && within.is_none();
                let mut of = meant.iter().copied();
                let elsewhere = of.clone().find(|l| self.is_wrong(*l, &evidence) && self.lives(*l, at));
                let there = || of.find(|l| there_too && self.lives(*l, at));
                let Some(layout) = elsewhere.or_else(there) else { continue };
                let read = PlainRead {
                    member: member.map(|member| member.name.clone()),
                    within: within.map(|_| ty.name.clone()),
                    place: self.place(at),
                    kind: access.kind,
                    certain,
                    elsewhere: elsewhere.is_some(),
                };
                out.insert(name.clone(), (layout, read));
            }
        }
        out
    }

    /// What an access may be of, each place for one struct: of several, the first that has something there.
    fn all_evidence<'s>(&self, structs: &'s [Meant<'_>], at: At, access: &Access) -> Vec<Evidence<'s>> {
        let source = SourceLine::of(self.object, at);
        let source = source.as_ref();
        let each = || structs.iter().map(|(ty, meant)| (*ty, meant.as_slice()));
        let at_place = |offset: &u16| each().find_map(|of| self.evidence(of, source, access, *offset));
        let mut out: Vec<_> = access.offsets.iter().filter_map(at_place).collect();
        out.extend(access.fields.iter().filter_map(|(field, by)| self.within(structs, source, access, *field, *by)));
        if access.anywhere {
            let some = |(ty, meant)| {
                let member = member_called(ty, source, |_| true)?;
                Some(Evidence {
                    ty,
                    meant,
                    member: Some(member),
                    within: None,
                    bits: member.start(),
                    named: true,
                    linked: false,
                })
            };
            let any = |(ty, meant)| Evidence {
                ty,
                meant,
                member: None,
                within: None,
                bits: 0..0,
                named: false,
                linked: false,
            };
            out.extend(each().find_map(some).or_else(|| each().next().map(any)));
        }
        out
    }

    /// The access as one of a member of a struct within a field whose place relocation tells, and `by` bytes behind that.
    fn within<'s>(
        &self,
        structs: &'s [Meant<'_>],
        source: Option<&SourceLine<'_>>,
        access: &Access,
        field: u16,
        by: Option<u16>,
    ) -> Option<Evidence<'s>> {
        let (root, spec) = self.spec(field.into())?;
        let (ty, meant) = structs.iter().find(|(ty, _)| ty.in_btf && ty.name == root.name())?;
        let within = Some(RelocatedField { relo: field.into(), start: spec.bit_offset });
        let deeper = |m: &&Member| m.is_within(&spec.names()) && m.bits.start >= spec.bit_offset;
        let with = |member, bits, named| {
            Some(Evidence { ty, meant, member: Some(member), within, bits, named, linked: false })
        };
        let Some(by) = by else {
            let member = member_called(ty, source, |m| deeper(&m))?;
            return with(member, member.start(), true);
        };
        let start = spec.bit_offset.checked_add(u32::from(by).checked_mul(8)?)?;
        let bits = start..start.checked_add(width(access)?)?;
        if let Some(member) = member_called(ty, source, |m| deeper(&m) && m.meets(&bits)) {
            return with(member, bits, true);
        }
        let member = ty.members.iter().find(|m| deeper(m) && access.bytes.is_some() && m.bits == bits)?;
        with(member, bits, false)
    }

    /// The struct that relocation `number` starts from, and the way that it goes.
    fn spec(&self, number: usize) -> Option<(Type<'a>, Spec<'a>)> {
        let btf = self.object.btf();
        let CoreRelo { type_id, access_str_off, .. } = self.object.relos().get(number)?.core;
        let spec = Spec::parse(btf, type_id, btf.str_at(access_str_off)?, RelocKind::FieldByteOffset).ok()?;
        Some((btf.ty(type_id)?, spec))
    }

    /// The access as one of a member of `ty`: the source names it there, or it is of its size and place.
    fn evidence<'s>(
        &self,
        (ty, meant): (&'s Struct, &'s [usize]),
        source: Option<&SourceLine<'_>>,
        access: &Access,
        offset: u16,
    ) -> Option<Evidence<'s>> {
        let start = u32::from(offset).checked_mul(8)?;
        let bits = start..start.checked_add(width(access)?)?;
        let with = |member, named, linked| {
            let bits = bits.clone();
            Some(Evidence { ty, meant, member: Some(member), within: None, bits, named, linked })
        };
        if let Some(member) = member_called(ty, source, |m| m.meets(&bits)) {
            return with(member, true, false);
        }
        let exact = source.and_then(SourceLine::exact);
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
        let describe = || {
            let layout = universe.layouts().get(layout)?;
            // One that cannot be gone through is refused where it is linked for.
            let fields = LayoutFields::of(universe, layout, &self.shared).ok().flatten();
            Struct::layout(universe, layout).map(|members| Has { members, fields })
        };
        if self.layouts.entry(layout).or_insert_with(describe).is_none() {
            return false;
        }
        let Evidence { ty, member, within, bits, .. } = evidence;
        let Some(member) = member else { return true };
        let there = match within {
            Some(field) => self.is_same_within(layout, evidence, member, *field),
            None => {
                let has = self.layouts.get(&layout).and_then(Option::as_ref);
                has.is_some_and(|has| has.has_there(ty, member, bits, &self.options.bind_fields))
            }
        };
        evidence.linked || !there
    }

    /// Whether a layout has a member as far behind a relocated field as the program has it. True where the field itself has no place:
    /// that is told elsewhere. Of members with one name that may be meant, one that is the same will do.
    fn is_same_within(
        &mut self,
        layout: usize,
        evidence: &Evidence<'_>,
        member: &Member,
        field: RelocatedField,
    ) -> bool {
        let own_path = self.spec(field.relo).map(|(_, spec)| spec.names()).unwrap_or_default();
        let place = |linked: &mut LinkedFor<'_>| {
            let start = linked.bound.bit_offset(field.relo)?;
            Some((start, linked.bound.path(field.relo)?))
        };
        let Some((start, path)) = self.linked(layout).and_then(place) else { return true };
        let Some(Has { members: has, .. }) = self.layouts.get(&layout).and_then(Option::as_ref) else { return true };
        let Evidence { ty, bits, .. } = evidence;
        let in_layout = |own: &str| own.strip_prefix(&own_path).map_or(own.to_owned(), |rest| format!("{path}{rest}"));
        let behind = |bits: &Range<u32>, start: u32| (bits.start.checked_sub(start), bits.end.checked_sub(start));
        let is_same = |own: &Member| {
            // Elements of arrays have one path.
            let alike = |m: &&Member| m.path == own.path;
            let number = ty.members.iter().filter(alike).position(|m| m.bits == own.bits);
            let path = in_layout(&own.path);
            let there = number.and_then(|number| has.members.iter().filter(|m| m.path == path).nth(number));
            there.is_some_and(|there| behind(&there.bits, start) == behind(&own.bits, field.start))
        };
        let may_be =
            |m: &&Member| m.name == member.name && m.bits.start >= field.start && (bits.is_empty() || m.meets(bits));
        // Of an element that is not known, each has to be.
        let mut by_path = BTreeMap::<&str, bool>::new();
        for own in ty.members.iter().filter(may_be) {
            let all = by_path.entry(&own.path).or_insert(true);
            *all = *all && is_same(own);
        }
        by_path.into_values().any(|all| all)
    }

    /// Whether an instruction can be reached once the program is linked for a layout. Of one for which it cannot be linked,
    /// nothing: that is told elsewhere.
    fn lives(&mut self, layout: usize, at: At) -> bool {
        self.linked(layout).is_some_and(|linked| linked.alive.contains(&at))
    }

    fn linked(&mut self, layout: usize) -> Option<&mut LinkedFor<'a>> {
        let ByHand { object, universe, options, ref shared, .. } = *self;
        self.linked.entry(layout).or_insert_with(|| LinkedFor::new(object, universe, options, layout, shared)).as_mut()
    }

    /// Whether the program writes there by itself, so that what is read may be its own.
    fn is_written(&self, access: &Access, offset: u16) -> bool {
        let end = |at: u16, access: &Access| at.saturating_add(access.bytes.unwrap_or(1).into());
        let meets = |at: &u16, by: &Access| *at < end(offset, access) && offset < end(*at, by);
        let stores = self.reach.metadata.values().filter(|other| other.kind == AccessKind::Store);
        stores.into_iter().any(|other| other.offsets.iter().any(|at| meets(at, other)))
    }

    /// Whether the program has a struct that is none of `structs`, nor within one, and has a member so called.
    fn others_have(&self, structs: &[Meant<'_>], member: &str) -> bool {
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
struct SourceLine<'a> {
    /// Up to the column of its expression.
    before: &'a str,
    /// From there on.
    here: &'a str,
}

impl<'a> SourceLine<'a> {
    fn of(object: &'a Object, (function, number): At) -> Option<SourceLine<'a>> {
        let code = object.functions().at(function).code.get(..=number)?;
        let line = code.iter().rev().find_map(|i| i.line)?;
        let text = object.btf().str_at(line.line_off)?;
        let (before, here) = text.split_at_checked((line.column() as usize).checked_sub(1)?)?;
        Some(SourceLine { before, here })
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

/// Bits that an access reads.
fn width(access: &Access) -> Option<u32> {
    u32::from(access.bytes.unwrap_or(1)).checked_mul(8)
}

/// The member that the source names, among those that `may` be meant.
fn member_called<'s>(
    ty: &'s Struct,
    source: Option<&SourceLine<'_>>,
    may: impl Fn(&Member) -> bool,
) -> Option<&'s Member> {
    let source = source?;
    let all = || ty.members.iter().filter(|m| may(m));
    let (exact, behind) = (source.exact(), source.behind_arrows());
    let exactly = all().find(|m| Some(m.name.as_str()) == exact);
    // The innermost.
    let innermost = || all().filter(|m| behind.contains(m.name.as_str())).min_by_key(|m| m.bits.len());
    exactly.or_else(innermost)
}

impl Has<'_> {
    /// Whether the layout has the program's member at the very place, of which `bits` are read.
    fn has_there(&self, of: &Struct, member: &Member, bits: &Range<u32>, binds: &[FieldBind]) -> bool {
        let named = || self.members.members.iter().filter(|m| m.name == member.name);
        let Some(fields) = &self.fields else { return false };
        // Of what only debug information has, the way to a member is not known.
        let path = if member.path.is_empty() { &member.name } else { &member.path };
        let names: Vec<&str> = path.split('.').collect();
        let local = LocalField { root: &of.name, names: &names, hints: &member.hints };
        match fields.find(binds, local, named().next().is_some()) {
            Whereabouts::Named => named().any(|m| m.bits.start == member.bits.start && bits.end <= m.bits.end),
            Whereabouts::Is(field) => {
                let end = field.bit_offset.saturating_add(field.bits);
                field.bit_offset == u64::from(member.bits.start) && u64::from(bits.end) <= end
            }
            Whereabouts::Nowhere => false,
        }
    }
}

impl<'a> LinkedFor<'a> {
    fn new(
        object: &'a Object,
        universe: &'a Universe,
        options: &LinkOptions,
        layout: usize,
        shared: &Rc<Shared<'a>>,
    ) -> Option<LinkedFor<'a>> {
        let (bound, variant) = Bound::new(object, universe, &[layout], options, shared).ok()?;
        let reach = variant.reach(options.running(object));
        let mut alive = HashSet::new();
        for function in reach.functions {
            let mut code = object.functions().at(function).code.clone();
            variant.apply(function, &mut code);
            let branches = reach.branches.get(&function).cloned().unwrap_or_default();
            alive.extend(remaining(&code, &branches).into_iter().map(|number| (function, number)));
        }
        Some(LinkedFor { bound, alive })
    }
}

/// The object's code before it is linked: what a relocation will put into it is any number.
struct Unlinked<'a> {
    object: &'a Object,
    code: BTreeMap<FunctionId, Vec<Instruction>>,
}

impl<'a> Unlinked<'a> {
    fn of(object: &'a Object) -> Unlinked<'a> {
        let mut code = BTreeMap::<FunctionId, Vec<Instruction>>::new();
        for (number, relo) in object.relos().iter().enumerate() {
            if relo.core.kind == RelocKind::TypeIdLocal.raw() {
                continue;
            }
            let own = code.entry(relo.function).or_insert_with(|| object.function_of(relo).code.clone());
            if let Some(instruction) = own.get_mut(relo.instruction) {
                let is_place = relo.core.kind == RelocKind::FieldByteOffset.raw();
                instruction.named = Named::Relocated(u16::try_from(number).ok().filter(|_| is_place));
            }
        }
        Unlinked { object, code }
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
