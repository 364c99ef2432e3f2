//! Layouts: which structs of a NIC BTF describe metadata, under which names and ids.
//!
//! In this order, all that apply:
//!
//! 1. A struct, union or typedef with the declaration tag `xhint:layout` (or any of `xhint:id=`, `xhint:as=`).
//! 2. The members of a union called `xdp_hints_union` or `xhint_layouts`.
//! 3. A struct or typedef that the user names ([`crate::Universe::add_layout`]).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use xhint_btf::{Btf, Kind, Type};

use crate::content::{content, derived_id};
use crate::name::essential;
use crate::{Error, SourceId};

/// The most metadata a packet can carry: `xdp_buff` counts it in words of 4 up to 252 bytes (kernel net/core/xdp.c).
pub const MAX_SIZE: u32 = 252;
/// Unions that list layouts, by the convention proposed on the mailing list, and ours.
const LISTS: [&str; 2] = ["xdp_hints_union", "xhint_layouts"];

/// One struct that describes all the metadata in front of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The struct's name, flavour included; the typedef's, if the struct is anonymous.
    pub name: String,
    /// The id that packets carry, never 0.
    pub id: u32,
    /// Whether the BTF declares the id; otherwise it was derived from the content.
    pub declared: bool,
    /// The BTF it stands in.
    pub source: SourceId,
    /// Its type there: the struct, or the typedef of an anonymous one.
    pub type_id: u32,
    /// Bytes of metadata.
    pub size: u32,
    /// Essential names that local types may call it by: its own first, then those it is declared `as`.
    pub answers_to: Vec<String>,
    /// Where the id stands; `None` if packets carry none.
    pub selector: Option<Selector>,
}

/// Where in the metadata the layout id stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The field's path.
    pub field: String,
    /// Bits from the first byte of the metadata, counted as BTF counts them.
    pub bit_offset: u32,
    /// Width in bits, at most 32.
    pub bits: u32,
    /// Byte order of the field.
    pub order: FieldOrder,
}

/// In which byte order a field is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldOrder {
    /// That of the machine.
    Host,
    /// Declared little-endian (`__le16`, `__le32`, `__le64`).
    Little,
    /// Declared big-endian (`__be16`, `__be32`, `__be64`).
    Big,
}

impl Layout {
    /// Whether a local type of this essential name means this layout.
    pub fn answers(&self, essential_name: &str) -> bool {
        self.answers_to.iter().any(|name| name == essential_name)
    }
}

/// The byte order that a type declares by a typedef on the way to its number.
pub fn field_order(btf: &Btf, type_id: u32) -> FieldOrder {
    let mut ty = btf.skip_mods(type_id);
    // The check of the BTF has bounded every chain; this only keeps the loop from having to know.
    for _ in 0..64 {
        match (ty.kind(), ty.name()) {
            (Kind::Typedef, "__be16" | "__be32" | "__be64") => return FieldOrder::Big,
            (Kind::Typedef, "__le16" | "__le32" | "__le64") => return FieldOrder::Little,
            (Kind::Typedef, _) => ty = btf.skip_mods(ty.target()),
            (Kind::Array, _) => ty = btf.skip_mods(ty.array().map_or(0, |a| a.elem)),
            _ => break,
        }
    }
    FieldOrder::Host
}

/// All layouts that `btf` declares, in order of type id.
pub(crate) fn find(file: &str, source: SourceId, btf: &Btf) -> Result<Vec<Layout>, Error> {
    let tags = Tags::of(btf);
    let mut found: BTreeMap<u32, Layout> = BTreeMap::new();
    for (&id, list) in &tags.types {
        let maker = Maker { file, source, btf, tags: &tags };
        if list.iter().any(|tag| tag.starts_with("xhint:")) {
            found.insert(id, maker.layout(id, list)?);
        }
    }
    for union in btf.types().filter(|t| t.kind() == Kind::Union && LISTS.contains(&t.name())) {
        for member in union.members() {
            let id = btf.skip_mods(member.type_id).id();
            if let Entry::Vacant(place) = found.entry(id) {
                place.insert(Maker { file, source, btf, tags: &tags }.layout(id, &[])?);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The struct or typedef called `name` as a layout; `None` if there is none.
pub(crate) fn named(file: &str, source: SourceId, btf: &Btf, name: &str) -> Result<Option<Layout>, Error> {
    let fits = |t: &Type<'_>| {
        let target = btf.skip_mods_and_typedefs(t.id());
        t.name() == name && matches!(t.kind(), Kind::Struct | Kind::Typedef) && target.kind() == Kind::Struct
    };
    let Some(ty) = btf.types().find(fits) else { return Ok(None) };
    let tags = Tags::of(btf);
    let list = tags.types.get(&ty.id()).cloned().unwrap_or_default();
    Maker { file, source, btf, tags: &tags }.layout(ty.id(), &list).map(Some)
}

/// Declaration tags, by what they are on.
#[derive(Default)]
struct Tags<'a> {
    types: BTreeMap<u32, Vec<&'a str>>,
    /// Type and member of each `xhint:selector`.
    selectors: Vec<(u32, u32)>,
}

impl<'a> Tags<'a> {
    fn of(btf: &'a Btf) -> Self {
        let mut tags = Tags::default();
        for tag in btf.types().filter(|t| t.kind() == Kind::DeclTag && t.name().starts_with("xhint:")) {
            match tag.component().map(u32::try_from) {
                Some(Ok(member)) if tag.name() == "xhint:selector" => tags.selectors.push((tag.target(), member)),
                Some(Err(_)) => tags.types.entry(tag.target()).or_default().push(tag.name()),
                _ => {}
            }
        }
        tags
    }
}

struct Maker<'a> {
    file: &'a str,
    source: SourceId,
    btf: &'a Btf,
    tags: &'a Tags<'a>,
}

impl Maker<'_> {
    fn layout(&self, type_id: u32, tags: &[&str]) -> Result<Layout, Error> {
        let ty = self.btf.skip_mods(type_id);
        let body = self.btf.skip_mods_and_typedefs(type_id);
        let name = if ty.name().is_empty() { body.name() } else { ty.name() };
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
        let mut answers_to = vec![essential(name).to_owned()];
        let mut declared = None;
        for tag in tags {
            let bad = |why| {
                let (file, name, tag) = (self.file.to_owned(), name.to_owned(), (*tag).to_owned());
                Error::Tag { file, id: type_id, name, tag, why }
            };
            match tag.strip_prefix("xhint:").unwrap_or_default().split_once('=') {
                Some(("id", text)) => declared = Some(parse_id(text).ok_or_else(|| bad(BAD_ID))?),
                Some(("as", "")) => return Err(bad("a name must follow the '='")),
                Some(("as", alias)) if answers_to.iter().any(|n| n == alias) => {}
                Some(("as", alias)) => answers_to.push(essential(alias).to_owned()),
                None if *tag == "xhint:layout" => {}
                _ => return Err(bad("not known; on a struct go xhint:layout, xhint:id=NUMBER and xhint:as=NAME")),
            }
        }
        // Also when the id is declared: what has no content can't be read.
        let content = content(self.btf, name, type_id).map_err(not)?;
        Ok(Layout {
            name: name.to_owned(),
            id: declared.unwrap_or_else(|| derived_id(&content)),
            declared: declared.is_some(),
            source: self.source,
            type_id: ty.id(),
            size,
            answers_to,
            selector: self.selector(body, name)?,
        })
    }

    /// The tagged field, else a `btf_id` of 32 bits that ends the struct.
    fn selector(&self, body: Type<'_>, name: &str) -> Result<Option<Selector>, Error> {
        let mut fields = Vec::new();
        self.fields(body, 0, 0, &mut fields);
        let end = body.size().saturating_mul(8);
        let tagged = fields.iter().find(|f| f.tagged);
        let Some(field) = tagged.or_else(|| {
            fields.iter().find(|f| f.name == "btf_id" && f.bits == 32 && f.bit_offset.saturating_add(32) == end)
        }) else {
            return Ok(None);
        };
        let number = self.btf.skip_mods_and_typedefs(field.type_id).kind();
        if !matches!(number, Kind::Int | Kind::Enum) || field.bits == 0 || field.bits > 32 {
            let why = format!("its selector '{}' is not a number of 1 to 32 bits", field.name);
            return Err(Error::NotALayout { file: self.file.into(), id: body.id(), name: name.into(), why });
        }
        let order = field_order(self.btf, field.type_id);
        let (bit_offset, bits) = (field.bit_offset, field.bits);
        Ok(Some(Selector { field: field.name.to_owned(), bit_offset, bits, order }))
    }

    /// Fields of the struct and of its anonymous members.
    fn fields<'b>(&'b self, ty: Type<'b>, base: u32, depth: usize, out: &mut Vec<Field<'b>>) {
        if depth > 8 || out.len() > 1024 {
            return;
        }
        for (n, member) in (0u32..).zip(ty.members()) {
            let bit_offset = base.saturating_add(member.bit_offset);
            let target = self.btf.skip_mods_and_typedefs(member.type_id);
            if member.name.is_empty() && target.kind().is_composite() {
                self.fields(target, bit_offset, depth.saturating_add(1), out);
                continue;
            }
            let size = self.btf.type_size(member.type_id).unwrap_or(0).saturating_mul(8);
            out.push(Field {
                name: member.name,
                type_id: member.type_id,
                bit_offset,
                bits: if member.bit_size == 0 { size } else { member.bit_size },
                tagged: self.tags.selectors.contains(&(ty.id(), n)),
            });
        }
    }
}

struct Field<'a> {
    name: &'a str,
    type_id: u32,
    bit_offset: u32,
    bits: u32,
    tagged: bool,
}

const BAD_ID: &str = "an id is a number from 1 to 0xffffffff, decimal or 0x…";

fn parse_id(text: &str) -> Option<u32> {
    let id = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    id.ok().filter(|id| *id != 0)
}
