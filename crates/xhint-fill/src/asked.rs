//! What a program asks of its packets' metadata.

use std::collections::{BTreeMap, BTreeSet};

use xhint_btf::{Type, essential};
use xhint_layout::walk::{self, Go, Visit, What, walk};
use xhint_layout::{FieldOrder, Hint, Tags, WalkFault};
use xhint_link::{LinkOptions, Object, RelocKind, names_lacking};
use xhint_relo::Wanted;
use xhint_relo::spec::Spec;
use xhint_universe::Universe;

use crate::Error;

/// The structs that are metadata to a program, and the fields of them that it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// Essential names, in the order of the program.
    pub structs: Vec<String>,
    /// Fields, by name; of several structs' fields of one name the first.
    pub fields: BTreeMap<String, AskedField>,
}

/// A field that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedField {
    /// What it means.
    pub hint: Option<Hint>,
    /// How it is to lie in metadata; or why it cannot be filled.
    pub shape: Result<Shape, String>,
}

/// How the program reads a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A number of so many bytes in the machine's order.
    Host(u32),
    /// A number of so many bytes, most significant first.
    Network(u32),
    /// An enum of the program's, by its type there.
    Enum(u32),
    /// Bytes, so many.
    Bytes(u32),
    /// Big-endian words of four bytes, so many.
    Words(u32),
}

impl Asked {
    /// What `object` asks for of structs that the base does not have: those that a layout of `universe` answers to, and those
    /// with a field that has a hint of the vocabulary.
    ///
    /// # Errors
    /// [`Error::Struct`] for a struct that cannot be looked through.
    pub fn of(object: &Object, universe: &Universe, options: &LinkOptions) -> Result<Asked, Error> {
        let btf = object.btf();
        let lacking = names_lacking(object, universe, None, options);
        let mut roots = BTreeMap::<u32, BTreeSet<(u32, u32)>>::new();
        for relo in object.relos() {
            let Some(kind) = RelocKind::from_raw(relo.core.kind).filter(|kind| kind.is_field()) else { continue };
            let root = btf.skip_mods_and_typedefs(relo.core.type_id);
            let is_metadata = || Wanted::of(&options.bind, root.name()).is_metadata(universe);
            if !root.kind().is_composite() || !lacking.contains(essential(root.name())) && !is_metadata() {
                continue;
            }
            // What makes no sense linking refuses, in its own words.
            let text = btf.str_at(relo.core.access_str_off).unwrap_or("");
            let Ok(spec) = Spec::parse(btf, relo.core.type_id, text, kind) else { continue };
            let first = spec.steps.iter().find(|step| step.name.is_some());
            roots.entry(root.id()).or_default().extend(first.map(|step| (step.type_id, step.index)));
        }
        let mut asked = Asked::default();
        let tags = Tags::of(btf);
        for (root, members) in roots {
            let Some(root) = btf.ty(root) else { continue };
            let mut found = Found { tags: &tags, members: &members, fields: BTreeMap::new() };
            let fault = |source| Error::Struct { name: root.name().to_owned(), source };
            walk(btf, root, &mut found).map_err(fault)?;
            if found.fields.values().any(|field| field.hint.is_some_and(|hint| hint.word().is_some())) {
                asked.add(root, found.fields);
            }
        }
        Ok(asked)
    }

    fn add(&mut self, root: Type<'_>, fields: BTreeMap<String, AskedField>) {
        let name = essential(root.name()).to_owned();
        if !self.structs.contains(&name) {
            self.structs.push(name);
        }
        for (name, field) in fields {
            self.fields.entry(name).or_insert(field);
        }
    }
}

struct Found<'a, 't> {
    tags: &'t Tags<'a>,
    members: &'t BTreeSet<(u32, u32)>,
    fields: BTreeMap<String, AskedField>,
}

impl<'a> Visit<'a> for Found<'a, '_> {
    type Error = WalkFault;

    fn enter(&mut self, field: &walk::Visited<'a>) -> Result<Go, WalkFault> {
        if field.name.is_empty() && field.what.is_composite() {
            return Ok(Go::Each);
        }
        if self.members.contains(&field.member) {
            let hint = self.tags.meaning(field)?.hint_of(field.name);
            self.fields.insert(field.name.to_owned(), AskedField { hint, shape: shape(field, hint) });
        }
        Ok(Go::Past)
    }
}

/// How a field is to lie in metadata.
fn shape(field: &walk::Visited<'_>, hint: Option<Hint>) -> Result<Shape, String> {
    let Some(word) = hint.and_then(Hint::word) else { return Err("it has no hint of the vocabulary".to_owned()) };
    let wide = word.bits > 64;
    let least = u64::from(word.least);
    if field.bits < least {
        return Err(format!("it has {} bits, and {least} are the least that tell enough", field.bits));
    }
    let bytes = u32::try_from(field.bits.div_ceil(8).next_power_of_two()).map_err(|_| "it is too large".to_owned())?;
    match (field.what, field.order) {
        (What::Int { .. }, _) if wide => Err("it is no array of 16 bytes".to_owned()),
        (What::Int { .. }, FieldOrder::Host) if bytes <= 8 => Ok(Shape::Host(bytes)),
        (What::Int { .. }, FieldOrder::Big) if u64::from(word.bits.next_power_of_two()) == field.bits => {
            Ok(Shape::Network(bytes))
        }
        (What::Int { .. }, FieldOrder::Big) => {
            Err(format!("it is big-endian and {} bits wide, its value {}", field.bits, word.bits))
        }
        (What::Int { .. }, FieldOrder::Little) => Err("it is declared little-endian".to_owned()),
        (What::Enum { .. }, _) if hint == Some(Hint::PktType) => Ok(Shape::Enum(field.ty.id())),
        (What::Enum { .. }, _) => Err("it is an enum, and its values have no names".to_owned()),
        (What::Array { len, stride: 8 }, FieldOrder::Host) if wide && len == 16 => Ok(Shape::Bytes(len)),
        (What::Array { len, stride: 32 }, FieldOrder::Big) if wide && len == 4 => Ok(Shape::Words(len)),
        _ => Err("a filler writes numbers, enums, and addresses as __u8[16] or __be32[4]".to_owned()),
    }
}
