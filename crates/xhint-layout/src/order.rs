//! In which order the bytes of a field stand.

use xhint_btf::{Btf, Kind};

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
