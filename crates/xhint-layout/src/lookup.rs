//! The fields of a layout as programs find them that call them by other names: by names that a field answers to beside its
//! own, and by what it means.
//!
//! What is in an array is not found so, since one name would mean many fields; the array itself is.

use xhint_btf::Btf;

use crate::fields::holds_structs;
use crate::hint::Hint;
use crate::order::FieldOrder;
use crate::tags::Tags;
use crate::walk::{Go, Visit, Visited, WalkFault, What, walk};

/// All fields of a layout that are in no array.
#[derive(Debug)]
pub struct Lookup<'a> {
    fields: Vec<FieldAt<'a>>,
}

/// A field, and where it stands.
#[derive(Debug)]
pub struct FieldAt<'a> {
    /// Its path, as C writes it from the struct on. What has no name is called by one that it answers to.
    pub path: String,
    /// The members that lead to it, itself last, each by its struct and number in that; others without a name are left out.
    pub steps: Vec<(u32, u32)>,
    /// Its type as declared.
    pub type_id: u32,
    /// Bits from the layout's start.
    pub bit_offset: u64,
    /// Its width in bits.
    pub bits: u64,
    /// What it means.
    hint: Option<Hint>,
    what: What,
    order: FieldOrder,
    /// Its own name, if it has one, and those that it answers to beside.
    names: Vec<&'a str>,
    /// The field with a name that it is in.
    within: Option<usize>,
}

impl<'a> Lookup<'a> {
    /// The fields of the struct or union `type_id`.
    ///
    /// # Errors
    /// What keeps the struct from being a layout.
    pub fn of(btf: &'a Btf, tags: &Tags<'a>, type_id: u32) -> Result<Lookup<'a>, WalkFault> {
        let mut gather = Gather { btf, tags, fields: Vec::new(), open: Vec::new() };
        walk(btf, btf.skip_mods_and_typedefs(type_id), &mut gather)?;
        Ok(Lookup { fields: gather.fields })
    }

    /// The paths of all.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.path.as_str())
    }

    /// The field with this path.
    pub fn at(&self, path: &str) -> Option<&FieldAt<'a>> {
        self.fields.iter().find(|field| field.path == path)
    }

    /// The field that the names lead to, each being a field's own or one that it answers to.
    pub fn called(&self, names: &[&str]) -> Option<&FieldAt<'a>> {
        self.fields.iter().find(|field| self.answers(field, names))
    }

    fn answers(&self, field: &FieldAt<'a>, names: &[&str]) -> bool {
        let Some((last, before)) = names.split_last() else { return false };
        field.names.contains(last)
            && match field.within {
                None => before.is_empty(),
                Some(outer) => self.fields.get(outer).is_some_and(|outer| self.answers(outer, before)),
            }
    }

    /// The fields that mean this, by a tag or by their names. Of several that are one number in one place, the first.
    pub fn meaning(&self, hint: Hint) -> Vec<&FieldAt<'a>> {
        let mut found: Vec<&FieldAt<'a>> = Vec::new();
        for field in self.fields.iter().filter(|field| field.hint == Some(hint)) {
            if !found.iter().any(|other| other.is_same(field)) {
                found.push(field);
            }
        }
        found
    }
}

impl FieldAt<'_> {
    fn is_same(&self, other: &FieldAt<'_>) -> bool {
        let place = |field: &FieldAt<'_>| (field.bit_offset, field.bits, field.what, field.order);
        place(self) == place(other)
    }
}

struct Gather<'a, 't> {
    btf: &'a Btf,
    tags: &'t Tags<'a>,
    fields: Vec<FieldAt<'a>>,
    /// For each field that the walk is in, the innermost with a name.
    open: Vec<Option<usize>>,
}

impl<'a> Visit<'a> for Gather<'a, '_> {
    type Error = WalkFault;

    fn enter(&mut self, field: &Visited<'a>) -> Result<Go, WalkFault> {
        let within = self.open.last().copied().flatten();
        let names: Vec<&str> =
            [field.name].into_iter().filter(|name| !name.is_empty()).chain(self.tags.also(field)).collect();
        let Some(first) = names.first() else {
            self.open.push(within);
            return Ok(Go::Each);
        };
        let meaning = self.tags.meaning(field)?;
        let hint = if holds_structs(self.btf, field) { meaning.tagged() } else { meaning.hint_of(field.name) };
        let outer = within.and_then(|outer| self.fields.get(outer));
        let above = outer.map_or(&[][..], |outer| outer.steps.as_slice());
        let path = match outer {
            _ if !field.name.is_empty() => field.path.clone(),
            Some(outer) => format!("{}.{first}", outer.path),
            None => (*first).to_owned(),
        };
        // What lies in a struct without a name is in what that is in, whatever the struct answers to.
        self.open.push(if field.name.is_empty() { within } else { Some(self.fields.len()) });
        self.fields.push(FieldAt {
            path,
            steps: above.iter().copied().chain([field.member]).collect(),
            type_id: field.type_id,
            bit_offset: field.bit_offset,
            bits: field.bits,
            hint,
            what: field.what,
            order: field.order,
            names,
            within,
        });
        Ok(if matches!(field.what, What::Array { .. }) { Go::Past } else { Go::Each })
    }

    fn leave(&mut self, _: &Visited<'a>) -> Result<(), WalkFault> {
        self.open.pop();
        Ok(())
    }
}
