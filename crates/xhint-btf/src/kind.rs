//! The kinds of types, and how many bytes each takes.

use crate::number::index;

/// Words of `struct btf_type`.
pub(crate) const HEAD: u32 = 3;

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

/// What the checking pass needs to know of a kind.
#[derive(Clone, Copy)]
pub(crate) struct KindInfo {
    pub(crate) kind: Kind,
    /// What stands behind the three words of `struct btf_type`.
    pub(crate) shape: Shape,
    /// Words there for each of `vlen` elements.
    pub(crate) each: u8,
    /// Words there once; [`KindInfo::NEVER`] for void and what is newer than this crate.
    pub(crate) once: u32,
    /// All ones where the third word is a type id, else 0.
    pub(crate) refers: u32,
    /// What is noted beside a type's offset, in the two low bits, which words leave free: [`KindInfo::LINK`] and
    /// [`KindInfo::NAMED`]. So those who look for the like need not look at the other types.
    pub(crate) marks: u32,
    /// Of which kinds may be what the third word refers to, or a data section's elements. All, if they refer to nothing.
    pub(crate) targets: Kinds,
}

/// Kinds, a bit for each; all that are newer than this crate have one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinds(u32);

impl Kinds {
    pub(crate) const ALL: Kinds = Kinds(u32::MAX);

    pub(crate) const fn of<const N: usize>(kinds: [Kind; N]) -> Kinds {
        let (mut bits, mut left) = (0, kinds.as_slice());
        while let [kind, rest @ ..] = left {
            bits |= 1 << if kind.number() > 31 { 31 } else { kind.number() };
            left = rest;
        }
        Kinds(bits)
    }

    pub(crate) const fn and(self, others: Kinds) -> Kinds {
        Kinds(self.0 | others.0)
    }

    pub(crate) const fn but(self, others: Kinds) -> Kinds {
        Kinds(self.0 & !others.0)
    }

    /// Whether the kind that this `info` word tells is one of them.
    #[inline(always)]
    pub(crate) fn have(self, info: u32) -> bool {
        self.0 >> (info >> 24 & 0x7f).min(31) & 1 != 0
    }

    /// Whether this is one of them.
    #[inline]
    pub(crate) fn include(self, kind: Kind) -> bool {
        self.0 >> kind.number().min(31) & 1 != 0
    }

    /// Whether they have the kind of this number, or one that differs from it by 32.
    #[inline(always)]
    pub(crate) fn may_have(self, kind: u32) -> bool {
        self.0 & 1u32.wrapping_shl(kind) != 0
    }
}

/// The number of a kind, known or not, by the `info` word of a type.
pub(crate) fn kind_number(info: u32) -> u8 {
    let [.., kind] = info.to_le_bytes();
    kind & 0x7f
}

/// What a type has behind the three words of `struct btf_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing, or one number.
    Plain,
    /// Nothing; the third word is the next link of a chain that has to end: typedefs and modifiers.
    Link,
    /// An array's element, index and length; the element is the next link.
    Array,
    /// Name, type and offset of each member.
    Members,
    /// Name and type of each parameter.
    Params,
    /// Name and value of each enumerator.
    Names,
    /// Name and value, in two words, of each enumerator.
    WideNames,
    /// Type, offset and size of each variable.
    Vars,
}

/// What a word behind the three of `struct btf_type` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Id,
    Str,
    Plain,
}

/// By the upper byte of the `info` word, all of them, so that no look-up can miss.
static INFO: [KindInfo; 256] = {
    const fn info(kind: Kind, shape: Shape, once: u32, each: u8) -> KindInfo {
        let refers = matches!(kind, Kind::Ptr | Kind::Func | Kind::FuncProto | Kind::Var | Kind::DeclTag);
        let refers = if refers || matches!(shape, Shape::Link) { u32::MAX } else { 0 };
        let link = matches!(shape, Shape::Link | Shape::Array);
        let named = matches!(kind, Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Fwd)
            || matches!(kind, Kind::Typedef | Kind::Float | Kind::Enum64);
        let marks = if link { KindInfo::LINK } else { 0 } | if named { KindInfo::NAMED } else { 0 };
        // What stands for a type in a program, and what does not.
        const TYPES: Kinds = Kinds::ALL.but(Kinds::of([Kind::Func, Kind::Var, Kind::Datasec, Kind::DeclTag]));
        let targets = match kind {
            Kind::Func => Kinds::of([Kind::FuncProto]),
            Kind::Datasec => Kinds::of([Kind::Var, Kind::Func]),
            Kind::DeclTag => Kinds::ALL.but(Kinds::of([Kind::Void, Kind::Datasec, Kind::DeclTag])),
            _ if refers != 0 => TYPES,
            _ => Kinds::ALL,
        };
        KindInfo { kind, shape, each, once, refers, marks, targets }
    }
    let known = [
        info(Kind::Void, Shape::Plain, KindInfo::NEVER, 0),
        info(Kind::Int, Shape::Plain, 1, 0),
        info(Kind::Ptr, Shape::Plain, 0, 0),
        info(Kind::Array, Shape::Array, 3, 0),
        info(Kind::Struct, Shape::Members, 0, 3),
        info(Kind::Union, Shape::Members, 0, 3),
        info(Kind::Enum, Shape::Names, 0, 2),
        info(Kind::Fwd, Shape::Plain, 0, 0),
        info(Kind::Typedef, Shape::Link, 0, 0),
        info(Kind::Volatile, Shape::Link, 0, 0),
        info(Kind::Const, Shape::Link, 0, 0),
        info(Kind::Restrict, Shape::Link, 0, 0),
        info(Kind::Func, Shape::Plain, 0, 0),
        info(Kind::FuncProto, Shape::Params, 0, 2),
        info(Kind::Var, Shape::Plain, 1, 0),
        info(Kind::Datasec, Shape::Vars, 0, 3),
        info(Kind::Float, Shape::Plain, 0, 0),
        info(Kind::DeclTag, Shape::Plain, 1, 0),
        info(Kind::TypeTag, Shape::Link, 0, 0),
        info(Kind::Enum64, Shape::WideNames, 0, 3),
    ];
    let mut table = [info(Kind::Unknown, Shape::Plain, KindInfo::NEVER, 0); 256];
    let mut n = 0;
    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated when compiled
    while n < known.len() {
        table[n] = known[n];
        table[n + 128] = known[n];
        n += 1;
    }
    table
};

impl KindInfo {
    /// More words than a file can have.
    pub(crate) const NEVER: u32 = 1 << 30;
    /// A link of a chain that has to end.
    pub(crate) const LINK: u32 = 1;
    /// A type that C code can ask for by its name.
    pub(crate) const NAMED: u32 = 2;
    /// Both.
    pub(crate) const MARKS: u32 = KindInfo::LINK | KindInfo::NAMED;

    /// By the `info` word of a type.
    #[inline(always)]
    pub(crate) fn of(info: u32) -> &'static KindInfo {
        #[allow(clippy::indexing_slicing)] // 8 bits, 256 entries
        &INFO[index(info >> 24)]
    }

    /// Neither void nor newer than this crate.
    #[inline]
    pub(crate) fn known(&self) -> bool {
        self.once != KindInfo::NEVER
    }

    /// Words of a type with `vlen` elements, the common three among them.
    #[inline(always)]
    pub(crate) fn words(&self, vlen: u32) -> usize {
        // 24 bits times 2 bits and a little more than 30 bits: fits in 32.
        index(vlen.wrapping_mul(self.each.into()).wrapping_add(self.once).wrapping_add(HEAD))
    }
}

impl Shape {
    /// The words of one element, repeated to the end of the type.
    pub(crate) fn roles(self) -> &'static [Role] {
        use Role::{Id, Plain, Str};
        match self {
            Shape::Plain | Shape::Link => &[Plain],
            Shape::Array => &[Id, Id, Plain],
            Shape::Members => &[Str, Id, Plain],
            Shape::Params => &[Str, Id],
            Shape::Names => &[Str, Plain],
            Shape::WideNames => &[Str, Plain, Plain],
            Shape::Vars => &[Id, Plain, Plain],
        }
    }
}

impl Kind {
    /// Its number in the format.
    pub(crate) const fn number(self) -> u32 {
        self as u32
    }

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
