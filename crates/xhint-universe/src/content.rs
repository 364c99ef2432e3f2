//! A layout's content as text, and the id derived from it.
//!
//! The text is specified in `docs/layout-abi.md`, to the byte; a second implementation has to come to the same.

use std::fmt::Write;

use xhint_btf::{Btf, Kind, Type};

use crate::discover::join;
use crate::layout::{FieldOrder, field_order};

/// Levels of structs, unions and arrays.
const MAX_DEPTH: usize = 16;
/// Members looked at; 252 bytes of metadata have no use for more.
const MAX_FIELDS: usize = 4096;

/// The content of the struct `type_id` as text, one line a leaf; what is wrong with it, if it can't be a layout.
///
/// # Errors
/// A sentence on why the struct has no content that could be told.
pub fn content(btf: &Btf, name: &str, type_id: u32) -> Result<String, String> {
    told(btf, name, type_id).map(|content| content.text)
}

/// The content, as far as it is known.
pub(crate) struct Content {
    pub(crate) text: String,
    /// Why some of it is not: a field's type was kept of a distilled base, where only its size stands.
    pub(crate) unknown: Option<String>,
}

pub(crate) fn told(btf: &Btf, name: &str, type_id: u32) -> Result<Content, String> {
    let ty = btf.skip_mods_and_typedefs(type_id);
    let mut walk = Walk { btf, text: format!("layout {name} {}\n", ty.size()), fields: 0, unknown: None };
    walk.composite(ty, "", 0, 0)?;
    Ok(Content { text: walk.text, unknown: walk.unknown })
}

/// The id of a layout that declares none: FNV-1a over its content, folded to 32 bits, never 0.
pub fn derived_id(content: &str) -> u32 {
    let hash = content
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    match (hash >> 32) as u32 ^ hash as u32 {
        0 => 1,
        id => id,
    }
}

struct Walk<'a> {
    btf: &'a Btf,
    text: String,
    /// Members seen, with or without a line of their own: empty structs that fan out must end too.
    fields: usize,
    unknown: Option<String>,
}

impl Walk<'_> {
    fn composite(&mut self, ty: Type<'_>, prefix: &str, base: u64, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("'{prefix}' nests deeper than {MAX_DEPTH} levels"));
        }
        for member in ty.members() {
            let path = join(prefix, member.name);
            let offset = base.saturating_add(member.bit_offset.into());
            self.field(&path, member.type_id, offset, member.bit_size, depth)?;
        }
        Ok(())
    }

    fn field(&mut self, path: &str, type_id: u32, offset: u64, bit_size: u32, depth: usize) -> Result<(), String> {
        self.fields = self.fields.saturating_add(1);
        if self.fields > MAX_FIELDS {
            return Err(format!("more than {MAX_FIELDS} fields"));
        }
        let ty = self.btf.skip_mods_and_typedefs(type_id);
        let size = u64::from(self.btf.type_size(type_id).unwrap_or(0)).saturating_mul(8);
        if let Some(why) = self.btf.differs(ty.id()) {
            self.unknown.get_or_insert_with(|| format!("'{path}' is a {} '{}', and {why}", ty.kind(), ty.name()));
            return self.line(path, offset, size, "unknown");
        }
        let letter = match ty.kind() {
            Kind::Struct | Kind::Union => return self.composite(ty, path, offset, depth.saturating_add(1)),
            Kind::Array => {
                let Some(array) = ty.array() else { return Err(format!("'{path}' is a misshapen array")) };
                let stride = u64::from(self.btf.type_size(array.elem).unwrap_or(0)).saturating_mul(8);
                let path = format!("{path}[{}]", array.len);
                self.line(&path, offset, stride, "array")?;
                if depth > MAX_DEPTH {
                    return Err(format!("'{path}' nests deeper than {MAX_DEPTH} levels"));
                }
                return self.field(&path, array.elem, offset, 0, depth.saturating_add(1));
            }
            Kind::Int if ty.int().is_some_and(|i| i.signed) => "int",
            Kind::Int => "uint",
            Kind::Enum | Kind::Enum64 => "enum",
            Kind::Ptr => "ptr",
            Kind::Float => "float",
            kind => return Err(format!("'{path}' is a {kind}, which has no place in a packet's metadata")),
        };
        // Older encoders put a bitfield's place and width into its int.
        let (offset, bits) = match ty.int() {
            _ if bit_size != 0 => (offset, u64::from(bit_size)),
            Some(int) if u64::from(int.bits) < size => (offset.saturating_add(int.bit_offset.into()), int.bits.into()),
            _ => (offset, size),
        };
        let order = match field_order(self.btf, type_id) {
            FieldOrder::Host => "",
            FieldOrder::Little => " le",
            FieldOrder::Big => " be",
        };
        self.line(path, offset, bits, &format!("{letter}{order}"))
    }

    fn line(&mut self, path: &str, offset: u64, bits: u64, kind: &str) -> Result<(), String> {
        writeln!(self.text, "{path} {offset} {bits} {kind}").map_err(|e| e.to_string())
    }
}
