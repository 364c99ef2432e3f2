//! Discovery: which structs of a NIC BTF are layouts.
//!
//! 1. A struct, union or typedef with one of the declaration tags `xhint:layout`, `xhint:id=` and `xhint:as=`.
//! 2. Where there is no such tag: the members of unions that list layouts. Such a union is called `xdp_hints_union`, the
//!    convention proposed on the mailing list, or `xhint_layouts`.
//! 3. Where there is no such union either: the members of any named union that is no member of something else itself,
//!    if each of them ends in a `btf_id` as the default selector wants it. Chance does not make such a union.
//! 4. A struct or typedef that the user names ([`crate::Universe::add_layout`]).

use std::collections::{BTreeMap, HashSet};

use xhint_btf::{Btf, Kind, Type};

use crate::content::{derived_id, told};
use crate::layout::{Layout, MAX_SIZE, Selector, field_order};
use crate::name::essential;
use crate::{Error, SourceId};

/// Unions that list layouts, by the convention proposed on the mailing list, and ours.
const LISTS: [&str; 2] = ["xdp_hints_union", "xhint_layouts"];
/// Members looked at for a selector.
const MAX_FIELDS: usize = 4096;
/// Levels of structs and unions in which a selector is looked for.
const MAX_DEPTH: usize = 16;

/// All layouts that `btf` declares or lists, in order of the struct's id.
pub(crate) fn find(file: &str, source: SourceId, btf: &Btf) -> Result<Vec<Layout>, Error> {
    let maker = Maker { file, source, btf, tags: Tags::of(btf) };
    // By struct: a typedef and its struct may both be tagged.
    let mut found: BTreeMap<u32, (u32, Vec<&str>)> = BTreeMap::new();
    for (&id, list) in &maker.tags.types {
        let body = btf.skip_mods_and_typedefs(id).id();
        let (named, tags) = found.entry(body).or_insert((id, Vec::new()));
        if *named == body {
            *named = id;
        }
        tags.extend(list);
    }
    if found.is_empty() {
        let listed = maker.listed();
        found.extend(listed.into_iter().map(|id| (btf.skip_mods_and_typedefs(id).id(), (id, Vec::new()))));
    }
    found.into_values().map(|(id, tags)| maker.layout(id, &tags)).collect()
}

/// The struct or typedef called `name` as a layout; `None` if there is none.
pub(crate) fn named(file: &str, source: SourceId, btf: &Btf, name: &str) -> Result<Option<Layout>, Error> {
    let fits = |t: &Type<'_>| {
        matches!(t.kind(), Kind::Struct | Kind::Typedef)
            && t.name() == name
            && btf.skip_mods_and_typedefs(t.id()).kind() == Kind::Struct
    };
    let Some(ty) = btf.types().find(fits) else { return Ok(None) };
    let maker = Maker { file, source, btf, tags: Tags::of(btf) };
    let tags = maker.tags.types.get(&ty.id()).cloned().unwrap_or_default();
    maker.layout(ty.id(), &tags).map(Some)
}

/// What one pass over a BTF finds: declaration tags, by what they are on, and unions that could list layouts.
#[derive(Default)]
struct Tags<'a> {
    types: BTreeMap<u32, Vec<&'a str>>,
    /// All that have a name.
    unions: Vec<Type<'a>>,
    /// Type and member of each `xhint:selector`.
    selectors: HashSet<(u32, u32)>,
}

impl<'a> Tags<'a> {
    fn of(btf: &'a Btf) -> Self {
        let mut tags = Tags::default();
        for ty in btf.types() {
            match ty.kind() {
                Kind::DeclTag if btf.string_tail(ty.name_offset()).starts_with(b"xhint:") => tags.add(ty),
                Kind::Union if !btf.is_string(ty.name_offset(), "") => tags.unions.push(ty),
                _ => {}
            }
        }
        tags
    }

    fn add(&mut self, tag: Type<'a>) {
        match tag.component().map(u32::try_from) {
            Some(Ok(member)) if tag.name() == "xhint:selector" => _ = self.selectors.insert((tag.target(), member)),
            Some(Err(_)) => self.types.entry(tag.target()).or_default().push(tag.name()),
            _ => {}
        }
    }
}

struct Maker<'a> {
    file: &'a str,
    source: SourceId,
    btf: &'a Btf,
    tags: Tags<'a>,
}

impl<'a> Maker<'a> {
    /// Types that a union lists as layouts.
    fn listed(&self) -> Vec<u32> {
        let unions = || self.tags.unions.iter().copied();
        let members = |union: Type<'_>| union.members().map(|m| m.type_id).collect::<Vec<_>>();
        let listed: Vec<u32> = unions().filter(|t| LISTS.contains(&t.name())).flat_map(members).collect();
        if !listed.is_empty() {
            return listed;
        }
        let mut candidates = unions().filter(|u| self.lists_layouts(*u)).peekable();
        if candidates.peek().is_none() {
            return Vec::new();
        }
        let inner: HashSet<u32> = self
            .btf
            .types()
            .flat_map(|t| t.members())
            .map(|m| self.btf.skip_mods_and_typedefs(m.type_id).id())
            .collect();
        candidates.filter(|u| !inner.contains(&u.id())).flat_map(members).collect()
    }

    /// Whether all members are structs with a name and a `btf_id` at their end.
    fn lists_layouts(&self, union: Type<'_>) -> bool {
        let fits = |id: u32| {
            let (ty, body) = (self.btf.skip_mods(id), self.btf.skip_mods_and_typedefs(id));
            let last = || body.members().last().filter(|m| m.name == "btf_id" && m.bit_size == 0);
            let ends = |m: xhint_btf::Member<'_>| m.bit_offset.checked_add(32) == body.size().checked_mul(8);
            let sized = |m: &xhint_btf::Member<'_>| self.btf.type_size(m.type_id) == Some(4);
            body.kind() == Kind::Struct && !ty.name().is_empty() && last().filter(sized).is_some_and(ends)
        };
        union.vlen() > 0 && union.members().all(|m| !m.name.is_empty() && fits(m.type_id))
    }

    fn layout(&self, type_id: u32, tags: &[&str]) -> Result<Layout, Error> {
        let body = self.btf.skip_mods_and_typedefs(type_id);
        let ty = self.named(self.btf.skip_mods(type_id), body);
        let name = ty.name();
        let not = |why: String| Error::NotALayout { file: self.file.into(), id: type_id, name: name.into(), why };
        if !body.kind().is_composite() {
            return Err(not(format!("it is a {}, not a struct", body.kind())));
        }
        if name.is_empty() {
            return Err(not("it has no name; give it one, or a typedef".into()));
        }
        let size = body.size();
        if size == 0 || size > MAX_SIZE || !size.is_multiple_of(4) {
            return Err(not(format!("its size is {size} bytes; metadata takes 4 to {MAX_SIZE}, a multiple of 4")));
        }
        let (declared, answers_to) = self.read_tags(ty, body, tags)?;
        // Also when the id is declared: what has no content can't be read.
        let content = told(self.btf, name, type_id).map_err(not)?;
        let id = match (declared, content.unknown) {
            (Some(id), _) => id,
            (None, None) => derived_id(&content.text),
            (None, Some(why)) => {
                let cure = "declare one (tag xhint:id=…)";
                return Err(not(format!("no id can be derived from its content, since {why}; {cure}")));
            }
        };
        let selector = self.selector(body, name)?;
        if let Some(selector) = selector.as_ref().filter(|s| s.bits < 32 && id >> s.bits != 0) {
            let Selector { field, bits, .. } = selector;
            return Err(not(match declared {
                Some(id) => format!("its id {id:#x} does not fit in the {bits} bits of its selector '{field}'"),
                None => format!(
                    "its selector '{field}' has {bits} bits, too few for a derived id; declare one (tag xhint:id=…)"
                ),
            }));
        }
        let (name, declared) = (name.to_owned(), declared.is_some());
        Ok(Layout { name, id, declared, source: self.source, type_id: ty.id(), size, answers_to, selector })
    }

    /// The type whose name the layout bears: the type itself, or the first typedef of a struct without a name.
    fn named(&self, ty: Type<'a>, body: Type<'a>) -> Type<'a> {
        if !ty.name().is_empty() {
            return ty;
        }
        let names = |t: &Type<'_>| t.kind() == Kind::Typedef && self.btf.skip_mods(t.target()).id() == body.id();
        self.btf.types().find(names).unwrap_or(ty)
    }

    /// The declared id and all names.
    fn read_tags(&self, ty: Type<'_>, body: Type<'_>, tags: &[&str]) -> Result<(Option<u32>, Vec<String>), Error> {
        let mut answers_to = vec![essential(ty.name()).to_owned()];
        let mut answer = |name: &str| {
            let name = essential(name);
            if !name.is_empty() && !answers_to.iter().any(|n| n == name) {
                answers_to.push(name.to_owned());
            }
        };
        answer(body.name());
        let mut declared = None;
        for tag in tags {
            let bad = |why| {
                let (file, name, tag) = (self.file.to_owned(), ty.name().to_owned(), (*tag).to_owned());
                Error::Tag { file, id: ty.id(), name, tag, why }
            };
            match tag.strip_prefix("xhint:").unwrap_or_default().split_once('=') {
                Some(("id", text)) => {
                    let id = parse_id(text).ok_or_else(|| bad(BAD_ID))?;
                    if declared.replace(id).is_some_and(|other| other != id) {
                        return Err(bad("another tag declares another id"));
                    }
                }
                Some(("as", "")) => return Err(bad("a name must follow the '='")),
                Some(("as", alias)) => answer(alias),
                None if *tag == "xhint:layout" => {}
                _ => return Err(bad("not known; on a struct go xhint:layout, xhint:id=NUMBER and xhint:as=NAME")),
            }
        }
        Ok((declared, answers_to))
    }

    /// The tagged field, else a `btf_id` of 32 bits that ends the struct.
    fn selector(&self, body: Type<'_>, name: &str) -> Result<Option<Selector>, Error> {
        let mut fields = Vec::new();
        self.fields(body, &Field::default(), &mut 0, &mut fields);
        let end = body.size().saturating_mul(8);
        let not = |why: String| Error::NotALayout { file: self.file.into(), id: body.id(), name: name.into(), why };
        let mut tagged = fields.iter().filter(|f| f.tagged);
        let (first, second) = (tagged.next(), tagged.next());
        if let (Some(first), Some(second)) = (first, second) {
            return Err(not(format!("it has two selectors, '{}' and '{}'", first.path, second.path)));
        }
        let default = |f: &&Field| f.path == "btf_id" && f.bits == 32 && f.bit_offset.saturating_add(32) == end;
        let Some(field) = first.or_else(|| fields.iter().find(default)) else { return Ok(None) };
        let number = self.btf.skip_mods_and_typedefs(field.type_id).kind();
        let within = field.bit_offset.saturating_add(field.bits) <= end;
        if !matches!(number, Kind::Int | Kind::Enum) || !(1..=32).contains(&field.bits) || !within {
            return Err(not(format!("its selector '{}' is not a number of 1 to 32 bits", field.path)));
        }
        let order = field_order(self.btf, field.type_id);
        let (bit_offset, bits) = (field.bit_offset, field.bits);
        Ok(Some(Selector { field: field.path.clone(), bit_offset, bits, order }))
    }

    /// Fields of the struct and of the structs and unions in it; those in arrays are none that could select.
    fn fields(&self, ty: Type<'_>, at: &Field, depth: &mut usize, out: &mut Vec<Field>) {
        for (n, member) in (0u32..).zip(ty.members()) {
            // What is cut off here has been refused for its content.
            if *depth > MAX_DEPTH || out.len() > MAX_FIELDS {
                return;
            }
            let size = self.btf.type_size(member.type_id).unwrap_or(0).saturating_mul(8);
            let field = Field {
                path: join(&at.path, member.name),
                type_id: member.type_id,
                bit_offset: at.bit_offset.saturating_add(member.bit_offset),
                bits: if member.bit_size == 0 { size } else { member.bit_size },
                tagged: self.tags.selectors.contains(&(ty.id(), n)),
            };
            let target = self.btf.skip_mods_and_typedefs(member.type_id);
            if target.kind().is_composite() && !field.tagged {
                *depth = depth.saturating_add(1);
                self.fields(target, &field, depth, out);
                *depth = depth.saturating_sub(1);
            }
            out.push(field);
        }
    }
}

/// `prefix.name`, without the dot where either is empty.
pub(crate) fn join(prefix: &str, name: &str) -> String {
    match (prefix, name) {
        ("", name) => name.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, name) => format!("{prefix}.{name}"),
    }
}

#[derive(Default)]
struct Field {
    path: String,
    type_id: u32,
    bit_offset: u32,
    bits: u32,
    tagged: bool,
}

const BAD_ID: &str = "an id is a number from 1 to 0xffffffff, decimal or 0x…";

fn parse_id(text: &str) -> Option<u32> {
    let id = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        // `from_str_radix` alone would take a sign.
        Some(hex) if !hex.starts_with('+') => u32::from_str_radix(hex, 16),
        _ if text.starts_with('+') => return None,
        _ => text.parse(),
    };
    id.ok().filter(|id| *id != 0)
}
