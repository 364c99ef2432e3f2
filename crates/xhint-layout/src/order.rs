//! In which order the bytes of a field stand.

use xhint_btf::{Btf, ByteOrder, Kind};

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

impl FieldOrder {
    /// The order of a field that is declared so, in a BTF of this order.
    pub fn within(self, btf: ByteOrder) -> ByteOrder {
        match self {
            FieldOrder::Host => btf,
            FieldOrder::Little => ByteOrder::Little,
            FieldOrder::Big => ByteOrder::Big,
        }
    }
}

/// The byte order that a type declares by a typedef on the way to its number.
pub fn field_order(btf: &Btf, mut type_id: u32) -> FieldOrder {
    // The check of the BTF has bounded every chain.
    loop {
        let ty = btf.skip_mods(type_id);
        type_id = match (ty.kind(), ty.name(), ty.array()) {
            (Kind::Typedef, "__be16" | "__be32" | "__be64", _) => return FieldOrder::Big,
            (Kind::Typedef, "__le16" | "__le32" | "__le64", _) => return FieldOrder::Little,
            (Kind::Typedef, ..) => ty.target(),
            (.., Some(array)) => array.elem,
            _ => return FieldOrder::Host,
        };
    }
}
