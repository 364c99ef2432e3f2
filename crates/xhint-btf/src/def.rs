//! One definition of a type, to be read and to be written.
//!
//! [`Type`] is the fast way to look at what stands in a BTF; a [`Def`] is the same, free of it: what [`Type::def`] gives,
//! [`Builder::add`](crate::Builder::add) takes. Type ids in it mean those of the BTF that it came from or goes to.

use std::borrow::Cow;

use crate::number::{bits, index};
use crate::{Array, Enumerator, Error, IntEncoding, Kind, Linkage, Member, Param, SecVar, Type};

/// The component of a declaration tag on the whole of its target.
const WHOLE: u32 = u32::MAX;

/// What a type is. Sizes are in bytes; an empty name is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Def<'a> {
    /// A number, a `char` or a `bool`.
    Int {
        /// Its name in C.
        name: &'a str,
        /// Its size.
        size: u32,
        /// What its bits mean.
        encoding: IntEncoding,
    },
    /// A pointer to a type.
    Ptr(u32),
    /// An array.
    Array(Array),
    /// A struct.
    Struct(Composite<'a>),
    /// A union.
    Union(Composite<'a>),
    /// An enum, whose values have 32 bits.
    Enum(Enumeration<'a>),
    /// An enum whose values have 64 bits.
    Enum64(Enumeration<'a>),
    /// A declaration without its members.
    Fwd {
        /// Its name.
        name: &'a str,
        /// Of a union, not of a struct.
        union: bool,
    },
    /// Another name for a type.
    Typedef {
        /// The name.
        name: &'a str,
        /// The type.
        target: u32,
    },
    /// `volatile` before a type.
    Volatile(u32),
    /// `const` before a type.
    Const(u32),
    /// `restrict` before a type.
    Restrict(u32),
    /// A function.
    Func {
        /// Its name.
        name: &'a str,
        /// Its prototype.
        proto: u32,
        /// Who sees it.
        linkage: Linkage,
    },
    /// What a function takes and gives.
    FuncProto {
        /// What it gives; 0 for nothing.
        result: u32,
        /// What it takes.
        params: Cow<'a, [Param<'a>]>,
    },
    /// A variable.
    Var {
        /// Its name.
        name: &'a str,
        /// Its type.
        target: u32,
        /// Who sees it.
        linkage: Linkage,
    },
    /// A section of variables.
    Datasec {
        /// Its name.
        name: &'a str,
        /// Its size.
        size: u32,
        /// What stands in it.
        vars: Cow<'a, [SecVar]>,
    },
    /// A floating-point number.
    Float {
        /// Its name.
        name: &'a str,
        /// Its size.
        size: u32,
    },
    /// A tag on a declaration.
    DeclTag {
        /// What it says.
        text: &'a str,
        /// What it is on.
        target: u32,
        /// Which member or parameter of that; `None` for the whole.
        component: Option<u32>,
        /// It is another attribute than `btf_decl_tag`.
        attribute: bool,
    },
    /// A tag on a type.
    TypeTag {
        /// What it says.
        text: &'a str,
        /// The type.
        target: u32,
        /// It is another attribute than `btf_type_tag`.
        attribute: bool,
    },
}

/// A struct or union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composite<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its size.
    pub size: u32,
    /// Its members have widths, so that bitfields can be among them.
    pub bitfields: bool,
    /// Its members.
    pub members: Cow<'a, [Member<'a>]>,
}

/// An enum of either width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enumeration<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its size.
    pub size: u32,
    /// Whether its values have a sign.
    pub signed: bool,
    /// Its values; of [`Def::Enum`], the low 32 bits count.
    pub values: Cow<'a, [Enumerator<'a>]>,
}

impl<'a> Composite<'a> {
    /// One with these members, which are bitfields if any has a width.
    pub fn new(name: &'a str, size: u32, members: impl Into<Cow<'a, [Member<'a>]>>) -> Composite<'a> {
        let members = members.into();
        Composite { name, size, bitfields: members.iter().any(|m| m.bit_size != 0), members }
    }
}

impl<'a> Def<'a> {
    /// An unsigned number of so many bytes.
    #[must_use]
    pub fn unsigned(name: &'a str, size: u32) -> Def<'a> {
        Def::Int { name, size, encoding: IntEncoding { bits: int_bits(size), ..IntEncoding::default() } }
    }

    /// A number with a sign, of so many bytes.
    #[must_use]
    pub fn signed(name: &'a str, size: u32) -> Def<'a> {
        Def::Int { name, size, encoding: IntEncoding { signed: true, bits: int_bits(size), ..IntEncoding::default() } }
    }

    /// A struct.
    pub fn structure(name: &'a str, size: u32, members: impl Into<Cow<'a, [Member<'a>]>>) -> Def<'a> {
        Def::Struct(Composite::new(name, size, members))
    }

    /// A declaration tag on a whole type.
    #[must_use]
    pub fn tag(text: &'a str, target: u32) -> Def<'a> {
        Def::DeclTag { text, target, component: None, attribute: false }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Def::Int { .. } => Kind::Int,
            Def::Ptr(_) => Kind::Ptr,
            Def::Array(_) => Kind::Array,
            Def::Struct(_) => Kind::Struct,
            Def::Union(_) => Kind::Union,
            Def::Enum(_) => Kind::Enum,
            Def::Enum64(_) => Kind::Enum64,
            Def::Fwd { .. } => Kind::Fwd,
            Def::Typedef { .. } => Kind::Typedef,
            Def::Volatile(_) => Kind::Volatile,
            Def::Const(_) => Kind::Const,
            Def::Restrict(_) => Kind::Restrict,
            Def::Func { .. } => Kind::Func,
            Def::FuncProto { .. } => Kind::FuncProto,
            Def::Var { .. } => Kind::Var,
            Def::Datasec { .. } => Kind::Datasec,
            Def::Float { .. } => Kind::Float,
            Def::DeclTag { .. } => Kind::DeclTag,
            Def::TypeTag { .. } => Kind::TypeTag,
        }
    }

    /// Its words in a file; `string` gives the offset of a name.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more elements than a type can count; those of `string`.
    pub(crate) fn words(&self, mut string: impl FnMut(&str) -> Result<u32, Error>) -> Result<Vec<u32>, Error> {
        let Head { name, flag, count, size_or_type } = self.head();
        let vlen = u32::try_from(count).ok().filter(|n| *n < 1 << 24);
        let vlen = vlen.ok_or(Error::TooLarge { what: "the number of elements of a type" })?;
        let info = u32::from(flag) << 31 | self.kind().number() << 24 | vlen;
        let mut out = vec![string(name)?, info, size_or_type];
        match self {
            Def::Int { encoding, .. } => out.push(encoding.word()),
            Def::Array(Array { elem, index, len }) => out.extend([*elem, *index, *len]),
            Def::Struct(body) | Def::Union(body) => {
                for m in body.members.iter() {
                    let width = if body.bitfields { m.bit_size << 24 } else { 0 };
                    out.extend([string(m.name)?, m.type_id, width | m.bit_offset]);
                }
            }
            Def::Enum(Enumeration { values, .. }) => {
                for e in values.iter() {
                    out.extend([string(e.name)?, low(e.value)]);
                }
            }
            Def::Enum64(Enumeration { values, .. }) => {
                for e in values.iter() {
                    out.extend([string(e.name)?, low(e.value), low(e.value >> 32)]);
                }
            }
            Def::FuncProto { params, .. } => {
                for p in params.iter() {
                    out.extend([string(p.name)?, p.type_id]);
                }
            }
            Def::Var { linkage, .. } => out.push(linkage.number()),
            Def::Datasec { vars, .. } => out.extend(vars.iter().flat_map(|v| [v.type_id, v.offset, v.size])),
            Def::DeclTag { component, .. } => out.push(component.unwrap_or(WHOLE)),
            _ => {}
        }
        Ok(out)
    }

    /// What all types have in common.
    fn head(&self) -> Head<'a> {
        let head = |name, size_or_type| Head { name, flag: false, count: 0, size_or_type };
        match self {
            Def::Int { name, size, .. } | Def::Float { name, size } => head(name, *size),
            Def::Ptr(target) | Def::Volatile(target) | Def::Const(target) | Def::Restrict(target) => head("", *target),
            Def::Array(_) => head("", 0),
            Def::Struct(Composite { name, size, bitfields, members })
            | Def::Union(Composite { name, size, bitfields, members }) => {
                Head { flag: *bitfields, count: members.len(), ..head(name, *size) }
            }
            Def::Enum(Enumeration { name, size, signed, values })
            | Def::Enum64(Enumeration { name, size, signed, values }) => {
                Head { flag: *signed, count: values.len(), ..head(name, *size) }
            }
            Def::Fwd { name, union } => Head { flag: *union, ..head(name, 0) },
            Def::Typedef { name, target } | Def::Var { name, target, .. } => head(name, *target),
            Def::Func { name, proto, linkage } => Head { count: index(linkage.number()), ..head(name, *proto) },
            Def::FuncProto { result, params } => Head { count: params.len(), ..head("", *result) },
            Def::Datasec { name, size, vars } => Head { count: vars.len(), ..head(name, *size) },
            Def::DeclTag { text, target, attribute, .. } | Def::TypeTag { text, target, attribute } => {
                Head { flag: *attribute, ..head(text, *target) }
            }
        }
    }
}

/// Bits of an int of so many bytes, of which C has 16 at most; the format counts them in eight bits.
fn int_bits(size: u32) -> u8 {
    u8::try_from(bits(size)).unwrap_or(u8::MAX)
}

/// The lower half.
fn low(value: u64) -> u32 {
    value as u32
}

/// The first three words of a type.
struct Head<'a> {
    name: &'a str,
    flag: bool,
    count: usize,
    size_or_type: u32,
}

impl<'a> Type<'a> {
    /// Its definition; `None` for void, for kinds newer than this crate, and for a linkage that is none.
    #[must_use]
    pub fn def(self) -> Option<Def<'a>> {
        let (name, size, target) = (self.name(), self.size(), self.target());
        let composite = || {
            let members = self.members().collect::<Vec<_>>().into();
            Composite { name, size, bitfields: self.kind_flag(), members }
        };
        let enumeration = || {
            let values = self.enumerators().collect::<Vec<_>>().into();
            Enumeration { name, size, signed: self.kind_flag(), values }
        };
        Some(match self.kind() {
            Kind::Void | Kind::Unknown => return None,
            Kind::Int => Def::Int { name, size, encoding: self.int()? },
            Kind::Ptr => Def::Ptr(target),
            Kind::Array => Def::Array(self.array()?),
            Kind::Struct => Def::Struct(composite()),
            Kind::Union => Def::Union(composite()),
            Kind::Enum => Def::Enum(enumeration()),
            Kind::Enum64 => Def::Enum64(enumeration()),
            Kind::Fwd => Def::Fwd { name, union: self.kind_flag() },
            Kind::Typedef => Def::Typedef { name, target },
            Kind::Volatile => Def::Volatile(target),
            Kind::Const => Def::Const(target),
            Kind::Restrict => Def::Restrict(target),
            Kind::Func => Def::Func { name, proto: target, linkage: self.linkage()? },
            Kind::FuncProto => Def::FuncProto { result: target, params: self.params().collect::<Vec<_>>().into() },
            Kind::Var => Def::Var { name, target, linkage: self.linkage()? },
            Kind::Datasec => Def::Datasec { name, size, vars: self.vars().collect::<Vec<_>>().into() },
            Kind::Float => Def::Float { name, size },
            Kind::DeclTag => {
                let component = self.component().and_then(|n| u32::try_from(n).ok());
                Def::DeclTag { text: name, target, component, attribute: self.kind_flag() }
            }
            Kind::TypeTag => Def::TypeTag { text: name, target, attribute: self.kind_flag() },
        })
    }
}
