//! What a relocation asks.

/// The kernel's `enum bpf_core_relo_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RelocKind {
    /// Byte offset of a field.
    FieldByteOffset = 0,
    /// Size of a field in bytes.
    FieldByteSize = 1,
    /// Whether a field exists.
    FieldExists = 2,
    /// Whether a field is signed.
    FieldSigned = 3,
    /// By how much to shift a bitfield's 64-bit load left.
    FieldLeftShift = 4,
    /// By how much to shift it right again.
    FieldRightShift = 5,
    /// Id of the local type.
    TypeIdLocal = 6,
    /// Id of the target type; of a layout, its layout id.
    TypeIdTarget = 7,
    /// Whether a type exists.
    TypeExists = 8,
    /// Size of a type in bytes.
    TypeSize = 9,
    /// Whether an enumerator exists.
    EnumeratorExists = 10,
    /// Value of an enumerator.
    EnumeratorValue = 11,
    /// Whether a type matches, member by member.
    TypeMatches = 12,
}

impl RelocKind {
    /// The kind with this number.
    pub fn from_raw(raw: u32) -> Option<RelocKind> {
        use RelocKind::*;
        const ALL: [RelocKind; 13] = [
            FieldByteOffset,
            FieldByteSize,
            FieldExists,
            FieldSigned,
            FieldLeftShift,
            FieldRightShift,
            TypeIdLocal,
            TypeIdTarget,
            TypeExists,
            TypeSize,
            EnumeratorExists,
            EnumeratorValue,
            TypeMatches,
        ];
        ALL.into_iter().find(|kind| kind.raw() == raw)
    }

    /// Its number.
    pub fn raw(self) -> u32 {
        self as u32
    }

    /// Whether it asks about a field.
    pub fn is_field(self) -> bool {
        use RelocKind::*;
        matches!(self, FieldByteOffset | FieldByteSize | FieldExists | FieldSigned | FieldLeftShift | FieldRightShift)
    }

    /// Whether it asks about an enumerator.
    pub fn is_enumerator(self) -> bool {
        matches!(self, RelocKind::EnumeratorExists | RelocKind::EnumeratorValue)
    }

    /// libbpf's word for it.
    pub fn name(self) -> &'static str {
        match self {
            RelocKind::FieldByteOffset => "byte_off",
            RelocKind::FieldByteSize => "byte_sz",
            RelocKind::FieldExists => "field_exists",
            RelocKind::FieldSigned => "signed",
            RelocKind::FieldLeftShift => "lshift_u64",
            RelocKind::FieldRightShift => "rshift_u64",
            RelocKind::TypeIdLocal => "local_type_id",
            RelocKind::TypeIdTarget => "target_type_id",
            RelocKind::TypeExists => "type_exists",
            RelocKind::TypeSize => "type_size",
            RelocKind::EnumeratorExists => "enumval_exists",
            RelocKind::EnumeratorValue => "enumval_value",
            RelocKind::TypeMatches => "type_matches",
        }
    }
}
