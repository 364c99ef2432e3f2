//! The kinds of types, and how many bytes each takes.

/// What a type is: the kernel's `BTF_KIND_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the documentation: linux/btf.h
pub enum Kind {
    /// Type 0, `void`.
    Void = 0,
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
    /// A kind newer than this crate, skipped by what the layout section says of it.
    Unknown = 255,
}

/// What the checking pass needs to know of a kind, by its number. All 7 bits' worth, so that no look-up can miss.
#[derive(Clone, Copy)]
pub(crate) struct KindInfo {
    pub(crate) kind: Kind,
    /// Neither void nor newer than this crate.
    pub(crate) known: bool,
    /// Known, and nothing stands behind its three words.
    pub(crate) bare: bool,
    /// Words behind the three of `struct btf_type`, once.
    pub(crate) once: u8,
    /// Words for each of `vlen` elements.
    pub(crate) each: u8,
    /// All ones where the third word is a type id, else 0.
    pub(crate) refers: u32,
    /// All ones where that id is the next link of a chain that has to end: typedefs and modifiers.
    pub(crate) link: u32,
    /// What the words behind the three are.
    pub(crate) tail: TailInfo,
}

/// What the words of each element are: all ones at those of the sort, 0 at others.
#[derive(Clone, Copy)]
pub(crate) struct TailInfo {
    pub(crate) ids: [u32; 3],
    pub(crate) strings: [u32; 3],
    /// A member's offset.
    pub(crate) offset: u32,
    /// The first word is the next link of a chain: an array's element.
    pub(crate) link: u32,
}

const fn tail(kind: Kind) -> TailInfo {
    const ALL: u32 = u32::MAX;
    let (ids, strings) = match kind {
        Kind::Struct | Kind::Union => ([0, ALL, 0], [ALL, 0, 0]),
        Kind::FuncProto => ([0, ALL, 0], [ALL, 0, 0]),
        Kind::Enum | Kind::Enum64 => ([0; 3], [ALL, 0, 0]),
        Kind::Array => ([ALL, ALL, 0], [0; 3]),
        Kind::Datasec => ([ALL, 0, 0], [0; 3]),
        _ => ([0; 3], [0; 3]),
    };
    TailInfo {
        ids,
        strings,
        offset: if matches!(kind, Kind::Struct | Kind::Union) { ALL } else { 0 },
        link: if matches!(kind, Kind::Array) { ALL } else { 0 },
    }
}

static INFO: [KindInfo; 128] = {
    const fn info(kind: Kind, once: u8, each: u8) -> KindInfo {
        let link = matches!(kind, Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag | Kind::Typedef);
        let refers = link || matches!(kind, Kind::Ptr | Kind::Func | Kind::FuncProto | Kind::Var | Kind::DeclTag);
        KindInfo {
            kind,
            known: !matches!(kind, Kind::Void | Kind::Unknown),
            bare: once == 0 && each == 0 && !matches!(kind, Kind::Void | Kind::Unknown),
            once,
            each,
            refers: if refers { u32::MAX } else { 0 },
            link: if link { u32::MAX } else { 0 },
            tail: tail(kind),
        }
    }
    let mut table = [info(Kind::Unknown, 0, 0); 128];
    let known = [
        info(Kind::Void, 0, 0),
        info(Kind::Int, 1, 0),
        info(Kind::Ptr, 0, 0),
        info(Kind::Array, 3, 0),
        info(Kind::Struct, 0, 3),
        info(Kind::Union, 0, 3),
        info(Kind::Enum, 0, 2),
        info(Kind::Fwd, 0, 0),
        info(Kind::Typedef, 0, 0),
        info(Kind::Volatile, 0, 0),
        info(Kind::Const, 0, 0),
        info(Kind::Restrict, 0, 0),
        info(Kind::Func, 0, 0),
        info(Kind::FuncProto, 0, 2),
        info(Kind::Var, 1, 0),
        info(Kind::Datasec, 0, 3),
        info(Kind::Float, 0, 0),
        info(Kind::DeclTag, 1, 0),
        info(Kind::TypeTag, 0, 0),
        info(Kind::Enum64, 0, 3),
    ];
    let mut n = 0;
    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated when compiled
    while n < known.len() {
        table[n] = known[n];
        n += 1;
    }
    table
};

impl KindInfo {
    /// By the `info` word of a type.
    #[inline(always)]
    pub(crate) fn of(info: u32) -> &'static KindInfo {
        #[allow(clippy::indexing_slicing)] // 7 bits, 128 entries
        &INFO[(info >> 24 & 0x7f) as usize]
    }
}

impl Kind {
    /// The kind by the `info` word of a type; [`Kind::Unknown`] for a number above 19.
    #[inline]
    pub(crate) fn of(info: u32) -> Kind {
        KindInfo::of(info).kind
    }

    /// `const`, `volatile`, `restrict` or a type tag: what CO-RE looks through.
    #[inline]
    pub fn is_modifier(self) -> bool {
        matches!(self, Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag)
    }

    /// Struct or union.
    #[inline]
    pub fn is_composite(self) -> bool {
        matches!(self, Kind::Struct | Kind::Union)
    }

    /// Enum of either width.
    #[inline]
    pub fn is_any_enum(self) -> bool {
        matches!(self, Kind::Enum | Kind::Enum64)
    }

    /// The word C and bpftool use for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Void => "void",
            Kind::Int => "int",
            Kind::Ptr => "pointer",
            Kind::Array => "array",
            Kind::Struct => "struct",
            Kind::Union => "union",
            Kind::Enum => "enum",
            Kind::Fwd => "forward declaration",
            Kind::Typedef => "typedef",
            Kind::Volatile => "volatile",
            Kind::Const => "const",
            Kind::Restrict => "restrict",
            Kind::Func => "function",
            Kind::FuncProto => "function prototype",
            Kind::Var => "variable",
            Kind::Datasec => "data section",
            Kind::Float => "float",
            Kind::DeclTag => "declaration tag",
            Kind::TypeTag => "type tag",
            Kind::Enum64 => "enum",
            Kind::Unknown => "unknown kind",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
