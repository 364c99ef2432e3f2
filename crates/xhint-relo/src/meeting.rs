//! By what a field of the program meets one of a layout. The first of these that there is:
//!
//! 1. The field that it is bound to ([`FieldBind`]).
//! 2. Of `btf_id`, the layout's selector, wherever that stands.
//! 3. The field with its name, which for a member of a member is the whole path.
//! 4. The field that answers to its name beside its own (`xhint:as=`).
//! 5. The one field that means the same: a word of the vocabulary, by a tag (`xhint:hint=`) or by the name. It may lie in
//!    another struct of the layout, or in none, for a word means the same everywhere. Several are none.
//!
//! What there is and does not fit is not passed over for what comes after. The third is the local spec's names, followed by
//! [`crate::matching`]; the others are here. Of an access through several members the last is looked for first, then the
//! one that it is in.

use std::fmt;
use std::rc::Rc;

use xhint_btf::Btf;
use xhint_layout::tags::Meaning;
pub use xhint_layout::{FieldAt, Hint};
use xhint_layout::{FieldTag, Lookup, TagFault, Tags, WalkFault};
use xhint_universe::{Layout, Universe};

use crate::RelocKind;
use crate::binding::FieldBind;
use crate::matching::{Nonsense, Target, Way, by_names, from_field};
use crate::shared::Shared;
use crate::spec::Spec;
use crate::value::{conflict, value};

/// The field of the program's struct that `xhint_is` of xhint.h asks for.
pub(crate) const ID_FIELD: &str = "btf_id";

/// By what a field was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetBy {
    /// Its name.
    #[default]
    Name,
    /// The options bind it.
    Bind,
    /// It holds the layout's id.
    Selector,
    /// A name that the layout's field answers to beside its own.
    As,
    /// What it means.
    Hint(Hint),
}

impl fmt::Display for MetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetBy::Name => f.write_str("name"),
            MetBy::Bind => f.write_str("bind"),
            MetBy::Selector => f.write_str("selector"),
            MetBy::As => f.write_str("as"),
            MetBy::Hint(hint) => write!(f, "hint {hint}"),
        }
    }
}

/// The fields of a layout, to be met.
#[derive(Debug)]
pub struct LayoutFields<'u> {
    layout: &'u Layout,
    lookup: Lookup<'u>,
}

/// A field of the program, by the names of the members that lead to it and what each of those means.
#[derive(Debug, Clone, Copy)]
pub struct LocalField<'n> {
    /// The struct's name.
    pub root: &'n str,
    /// The members' names.
    pub names: &'n [&'n str],
    /// What they mean, in the same order.
    pub hints: &'n [Option<Hint>],
}

/// A field of the layout that some of the names are.
#[derive(Debug, Clone, Copy)]
pub struct Meets<'f> {
    /// The field.
    pub field: &'f FieldAt<'f>,
    /// So many of the names it is.
    pub names: usize,
    /// By what.
    pub by: MetBy,
}

/// Where a field of the program is found.
#[derive(Debug, Clone, Copy)]
pub enum Whereabouts<'f> {
    /// By its name.
    Named,
    /// It is this one.
    Is(&'f FieldAt<'f>),
    /// Nowhere.
    Nowhere,
}

/// What can be met where a layout has no field of the name.
#[derive(Debug, Default)]
pub struct Others<'f> {
    /// What is tried in turn.
    pub fields: Vec<Meets<'f>>,
    /// After that: what several fields mean, so that none is met, and their paths.
    pub several: Option<(Hint, Vec<String>)>,
}

impl<'u> LayoutFields<'u> {
    /// Those of a layout; `None` if its BTF is not at hand.
    ///
    /// # Errors
    /// What keeps a struct from being a layout.
    pub fn of(
        universe: &'u Universe,
        layout: &'u Layout,
        shared: &Shared<'u>,
    ) -> Result<Option<LayoutFields<'u>>, WalkFault> {
        let Some(source) = universe.source(layout.source).filter(|_| layout.is_at_hand()) else { return Ok(None) };
        let btf: &Btf = source.btf();
        let Some(tags) = shared.tags(universe, layout.source) else { return Ok(None) };
        let lookup = Lookup::of(btf, &tags, layout.type_id)?;
        Ok(Some(LayoutFields { layout, lookup }))
    }

    /// The field with this path.
    pub fn at(&self, path: &str) -> Option<&FieldAt<'u>> {
        self.lookup.at(path)
    }

    /// The paths of all.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.lookup.paths()
    }

    /// What is met whatever the layout's fields are called.
    pub fn before_names(&self, binds: &[FieldBind], local: LocalField<'_>) -> Option<Meets<'_>> {
        let bound = |names: usize| {
            let path = local.names.get(..names)?.join(".");
            let path = FieldBind::target(binds, self.layout, local.root, &path)?;
            Some(Meets { field: self.lookup.at(path)?, names, by: MetBy::Bind })
        };
        let selector = || {
            let field = self.selector().filter(|field| local.names == [ID_FIELD] && field.path != ID_FIELD)?;
            Some(Meets { field, names: 1, by: MetBy::Selector })
        };
        (1..=local.names.len()).rev().find_map(bound).or_else(selector)
    }

    /// What is met where no field has the name.
    pub fn after_names(&self, local: LocalField<'_>) -> Others<'_> {
        let counts = || (1..=local.names.len()).rev();
        let called = |names: usize| {
            let field = self.lookup.called(local.names.get(..names)?)?;
            Some(Meets { field, names, by: MetBy::As })
        };
        let mut out = Others { fields: counts().filter_map(called).collect(), several: None };
        for names in counts() {
            let Some(hint) = names.checked_sub(1).and_then(|last| *local.hints.get(last)?) else { continue };
            match self.meaning(hint).as_slice() {
                [] => continue,
                [field] => out.fields.push(Meets { field, names, by: MetBy::Hint(hint) }),
                more => out.several = Some((hint, more.iter().map(|field| field.path.clone()).collect())),
            }
            break;
        }
        out
    }

    /// Where a field of the program is found that is read without CO-RE, so that no more than its names are known.
    /// `is_named` says whether the layout has the field by its name.
    pub fn find(&self, binds: &[FieldBind], local: LocalField<'_>, is_named: bool) -> Whereabouts<'_> {
        let whole = |meets: Meets<'_>| {
            let rest = local.names.get(meets.names..)?;
            let path = [meets.field.path.as_str()].into_iter().chain(rest.iter().copied()).collect::<Vec<_>>();
            self.lookup.at(&path.join("."))
        };
        let is = |field: Option<_>| field.map_or(Whereabouts::Nowhere, Whereabouts::Is);
        match self.before_names(binds, local) {
            Some(meets) => is(whole(meets)),
            None if is_named => Whereabouts::Named,
            None => is(self.after_names(local).fields.into_iter().find_map(whole)),
        }
    }

    fn meaning(&self, hint: Hint) -> Vec<&FieldAt<'u>> {
        match hint {
            // A number that is always the same says nothing of where it is from.
            Hint::Const(_) => Vec::new(),
            Hint::LayoutId => self.selector().into_iter().collect(),
            hint => self.lookup.meaning(hint),
        }
    }

    fn selector(&self) -> Option<&FieldAt<'u>> {
        self.layout.selector.as_ref().and_then(|selector| self.lookup.at(&selector.field))
    }
}

/// What an access of the program meets in a layout.
#[derive(Debug)]
pub(crate) enum Met<'a> {
    /// The target spec, and by what.
    Field(Spec<'a>, MetBy),
    /// A field of another type, which is called otherwise there: its path and type.
    Unfit(String, u32),
    /// As many fields as can be meant.
    Several(Hint, Vec<String>),
    /// Nothing, as the names tell.
    Nothing,
}

/// The local side of an access.
#[derive(Clone, Copy)]
pub(crate) struct Access<'l, 's> {
    pub(crate) local: &'l Btf,
    pub(crate) hints: &'s LocalHints<'l>,
    pub(crate) spec: &'s Spec<'l>,
    pub(crate) binds: &'s [FieldBind],
}

impl<'l> Access<'l, '_> {
    /// What it meets in `target`, whose fields are `fields`.
    pub(crate) fn meet<'a>(self, target: Target<'a>, fields: &LayoutFields<'_>) -> Result<Met<'a>, Nonsense> {
        // What lies behind an index is met by its name alone.
        let named = || self.spec.steps.iter().skip(1).map_while(|step| Some((step, step.name?)));
        let names: Vec<&str> = named().map(|(_, name)| name).collect();
        let hints: Vec<Option<Hint>> = named().map(|(step, _)| self.hints.hint(step.type_id, step.index)).collect();
        let root = self.local.ty(self.spec.root).map_or("", |ty| ty.name());
        let local = LocalField { root, names: &names, hints: &hints };
        if let Some(meets) = fields.before_names(self.binds, local) {
            let met = self.from(target, meets)?;
            return Ok(met.unwrap_or(Met::Nothing));
        }
        match by_names(self.local, self.spec, target)? {
            Way::To(spec) => return Ok(Met::Field(spec, MetBy::Name)),
            Way::Unfit => return Ok(Met::Nothing),
            Way::Lacking => {}
        }
        let others = fields.after_names(local);
        for meets in others.fields {
            if let Some(met) = self.from(target, meets)? {
                return Ok(met);
            }
        }
        Ok(others.several.map_or(Met::Nothing, |(hint, fields)| Met::Several(hint, fields)))
    }

    /// Goes on from a field of the layout; `None` if it lacks what the access wants within it.
    fn from<'a>(self, target: Target<'a>, meets: Meets<'_>) -> Result<Option<Met<'a>>, Nonsense> {
        let Meets { field, names, by } = meets;
        let done = names.checked_add(1).ok_or("the local spec is too long")?;
        let unfit = || Met::Unfit(field.path.clone(), field.type_id);
        Ok(match from_field(self.local, self.spec, done, target, field)? {
            Way::To(spec) if is_id(by) && !self.holds_id(&spec, target)? => Some(unfit()),
            Way::To(spec) => Some(Met::Field(spec, by)),
            Way::Unfit => Some(unfit()),
            Way::Lacking => None,
        })
    }

    /// Whether a plain read of the selector gives the id: programs ask for `btf_id` where packets may say nothing.
    fn holds_id(self, spec: &Spec<'_>, target: Target<'_>) -> Result<bool, Nonsense> {
        let kind = RelocKind::FieldByteOffset;
        let order = self.local.order();
        let (own, there) = (value(self.local, self.spec, kind, order)?, value(target.btf, spec, kind, order)?);
        // Of a bitfield no size is told.
        Ok(there.size != 0 && !conflict(own, there))
    }
}

/// What the fields of a program mean.
#[derive(Debug)]
pub struct LocalHints<'a> {
    btf: &'a Btf,
    tags: Rc<Tags<'a>>,
}

impl<'a> LocalHints<'a> {
    /// Those of the program's BTF.
    pub fn of(btf: &'a Btf) -> LocalHints<'a> {
        LocalHints { btf, tags: Rc::new(Tags::of(btf)) }
    }

    /// The same, beside others for that program.
    pub(crate) fn sharing(btf: &'a Btf, shared: &Shared<'a>) -> LocalHints<'a> {
        LocalHints { btf, tags: shared.own_tags(btf) }
    }

    /// Why a tag is not understood, if there is one: its struct, its member's number, itself, and what is wrong.
    pub(crate) fn fault(&self) -> Option<(u32, u32, &'a str, TagFault)> {
        let wrong = |((id, member), tags): ((u32, u32), &[&'a str])| {
            let bad = |tag: &&'a str| FieldTag::parse(tag).err().map(|cause| (id, member, *tag, cause));
            tags.iter().find_map(bad)
        };
        // The first of them, so that the answer is always the same.
        self.tags.members().filter_map(wrong).min_by_key(|(id, member, ..)| (*id, *member))
    }

    /// What a member of a struct means. One that holds others means nothing by its name alone.
    pub fn hint(&self, of: u32, index: u32) -> Option<Hint> {
        let meaning = self.tags.of_member((of, index)).ok()?;
        let member = self.btf.ty(of)?.member(index)?;
        let holds = self.btf.skip_to_element(member.type_id).kind().is_composite();
        if holds { meaning.tagged() } else { meaning.hint_of(member.name) }
    }
}

/// What a member means of which no more than the name is known.
pub fn hint_by_name(name: &str) -> Option<Hint> {
    Meaning::default().hint_of(name)
}

/// Whether an access asks for the id of a layout that has it under another name.
pub(crate) fn asks_elsewhere(layout: &Layout, spec: &Spec<'_>) -> bool {
    let is_id = matches!(spec.steps.as_slice(), [_, step] if step.name == Some(ID_FIELD));
    is_id && layout.selector.as_ref().is_some_and(|selector| selector.field != ID_FIELD)
}

fn is_id(by: MetBy) -> bool {
    matches!(by, MetBy::Selector | MetBy::Hint(Hint::LayoutId))
}
