//! Where the declaration tags of ours stand in a BTF, and what they say of its fields.

use std::collections::{BTreeMap, HashMap};

use xhint_btf::{Btf, Kind, Type};

use crate::class::Class;
use crate::hint::Hint;
use crate::tag::{FieldTag, PREFIX, TagFault};
use crate::walk::{Visited, WalkFault};

/// All tags of ours in a BTF, found in one pass over it.
#[derive(Debug, Default)]
pub struct Tags<'a> {
    /// By type, those on the type itself.
    types: BTreeMap<u32, Vec<&'a str>>,
    /// By struct and number of the member.
    fields: HashMap<(u32, u32), Vec<&'a str>>,
}

impl<'a> Tags<'a> {
    /// Those of `btf`.
    pub fn of(btf: &'a Btf) -> Self {
        let mut tags = Tags::default();
        btf.of_kinds([Kind::DeclTag]).for_each(|ty| tags.see(ty));
        tags
    }

    /// Takes note of `ty` if it is a tag of ours.
    pub fn see(&mut self, ty: Type<'a>) {
        if ty.kind() != Kind::DeclTag || !ty.btf().string_tail(ty.name_offset()).starts_with(PREFIX.as_bytes()) {
            return;
        }
        match ty.component().map(u32::try_from) {
            Some(Ok(member)) => self.fields.entry((ty.target(), member)).or_default().push(ty.name()),
            _ => self.types.entry(ty.target()).or_default().push(ty.name()),
        }
    }

    /// Types that bear tags, and which.
    pub fn types(&self) -> impl Iterator<Item = (u32, &[&'a str])> {
        self.types.iter().map(|(id, tags)| (*id, tags.as_slice()))
    }

    /// Those on one type itself.
    pub fn on_type(&self, id: u32) -> &[&'a str] {
        self.types.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Members that bear tags, by struct and number, and which; in no order.
    pub fn members(&self) -> impl Iterator<Item = ((u32, u32), &[&'a str])> {
        self.fields.iter().map(|(at, tags)| (*at, tags.as_slice()))
    }

    /// What the tags say of a field: those on the member, or where it is a struct or union without a name, those on that:
    /// C's grammar takes an attribute behind the closing brace for the struct's. Elements have none of their own.
    ///
    /// # Errors
    /// [`WalkFault::Tag`].
    pub fn meaning(&self, field: &Visited<'a>) -> Result<Meaning, WalkFault> {
        let fault = |(tag, cause): (&str, _)| WalkFault::Tag { path: field.path.clone(), tag: tag.to_owned(), cause };
        Meaning::of(self.on_field(field)).map_err(fault)
    }

    /// The same of a member by its struct and number in that.
    ///
    /// # Errors
    /// The tag, and what is wrong with it.
    pub fn of_member(&self, member: (u32, u32)) -> Result<Meaning, (&'a str, TagFault)> {
        Meaning::of(self.fields.get(&member).into_iter().flatten().copied())
    }

    /// Names beside its own that a field answers to.
    pub fn also<'t>(&'t self, field: &Visited<'a>) -> impl Iterator<Item = &'a str> + use<'a, 't> {
        let named = |tag| match FieldTag::parse(tag) {
            Ok(FieldTag::As(name)) => Some(name),
            _ => None,
        };
        self.on_field(field).filter_map(named)
    }

    fn on_field<'t>(&'t self, field: &Visited<'a>) -> impl Iterator<Item = &'a str> + use<'a, 't> {
        let own = self.fields.get(&field.member).filter(|_| !field.element);
        own.into_iter().flatten().chain(self.nameless(field)).copied()
    }

    fn nameless(&self, field: &Visited<'a>) -> &[&'a str] {
        if self.types.is_empty() || !field.what.is_composite() {
            return &[];
        }
        let body = field.ty.btf().skip_mods(field.type_id);
        if body.name().is_empty() { self.on_type(body.id()) } else { &[] }
    }
}

/// What tags say of a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meaning {
    /// The id stands here.
    pub selector: bool,
    /// What it means.
    pub hint: Option<Hint>,
    /// For which packets it is.
    pub when: Option<Class>,
}

impl Meaning {
    fn of<'a>(tags: impl Iterator<Item = &'a str>) -> Result<Meaning, (&'a str, TagFault)> {
        let mut meaning = Meaning::default();
        for tag in tags {
            match FieldTag::parse(tag).map_err(|cause| (tag, cause))? {
                FieldTag::Selector => meaning.selector = true,
                FieldTag::Hint(hint) => _ = meaning.hint.get_or_insert(hint),
                FieldTag::When(class) => _ = meaning.when.get_or_insert(class),
                FieldTag::As(_) => {}
            }
        }
        Ok(meaning)
    }

    /// What a field that is so tagged, or else is called `name`, means.
    pub fn hint_of(&self, name: &str) -> Option<Hint> {
        self.tagged().or_else(|| match name {
            "btf_id" => Some(Hint::LayoutId),
            name => Hint::from_name(name).filter(|h| !matches!(h, Hint::Const(_))),
        })
    }

    /// What it means by its tags alone.
    pub fn tagged(&self) -> Option<Hint> {
        if self.selector { Some(Hint::LayoutId) } else { self.hint }
    }
}
