//! A layout's content as text, and the id derived from it.
//!
//! The text is specified in `docs/layout-abi.md`, to the byte; a second implementation has to come to the same.

use std::fmt::Write;

use xhint_btf::Btf;

use crate::order::FieldOrder;
use crate::walk::{Go, Visit, Visited, WalkFault, What, walk};

/// The content of the struct `type_id` as text, one line a leaf.
///
/// # Errors
/// What is wrong with it, if it can't be a layout.
pub fn content(btf: &Btf, name: &str, type_id: u32) -> Result<String, WalkFault> {
    told(btf, name, type_id).map(|content| content.text)
}

/// The content, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The text.
    pub text: String,
    /// Why some of it is not: a field's type was kept of a distilled base, where only its size stands.
    pub unknown: Option<String>,
}

/// The content of the struct `type_id`, and whether all of it is known.
///
/// # Errors
/// As [`content`].
pub fn told(btf: &Btf, name: &str, type_id: u32) -> Result<Content, WalkFault> {
    let ty = btf.skip_mods_and_typedefs(type_id);
    let mut tell = Tell { btf, content: Content { text: format!("layout {name} {}\n", ty.size()), unknown: None } };
    walk(btf, ty, &mut tell)?;
    Ok(tell.content)
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

struct Tell<'b> {
    btf: &'b Btf,
    content: Content,
}

impl<'a> Visit<'a> for Tell<'_> {
    type Error = WalkFault;

    fn enter(&mut self, field: &Visited<'a>) -> Result<Go, WalkFault> {
        let Visited { path, bit_offset, bits, .. } = field;
        let order = match field.order {
            FieldOrder::Host => "",
            FieldOrder::Little => " le",
            FieldOrder::Big => " be",
        };
        if field.what == What::Unknown
            && let Some(why) = self.btf.differs(field.ty.id())
        {
            let said = || format!("'{path}' is a {} '{}', and {why}", field.ty.kind(), field.ty.name());
            self.content.unknown.get_or_insert_with(said);
        }
        // A string takes all that is written to it.
        let text = &mut self.content.text;
        let _ = match field.what {
            What::Struct | What::Union => Ok(()),
            What::Array { len, stride } => writeln!(text, "{path}[{len}] {bit_offset} {stride} array"),
            what => writeln!(text, "{path} {bit_offset} {bits} {}{order}", letters(what)),
        };
        Ok(Go::Once)
    }
}

fn letters(what: What) -> &'static str {
    match what {
        What::Int { signed: true } => "int",
        What::Int { signed: false } => "uint",
        What::Enum { .. } => "enum",
        What::Ptr => "ptr",
        What::Float => "float",
        What::Array { .. } => "array",
        What::Unknown => "unknown",
        What::Struct | What::Union => "",
    }
}
