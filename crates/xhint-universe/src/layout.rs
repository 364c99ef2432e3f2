//! Layouts: what is known of a struct that describes metadata.

use xhint_btf::{Btf, Kind};

use crate::SourceId;

/// The most metadata a packet can carry: `xdp_buff` counts it in words of 4 up to 252 bytes (kernel net/core/xdp.c).
pub const MAX_SIZE: u32 = 252;

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
