//! The one walk over the fields of a layout. Its content and id, its selector, its plan and what is shown of it are folds
//! over this: where a field lies, how wide it is and in which order its bytes stand is found out here and nowhere else.
//!
//! Members come in the order of the BTF, each before what is in it. A path is as C writes it from the struct on; an
//! anonymous member adds nothing to it.

use xhint_btf::{Array, Btf, Kind, Member, Type};

use crate::limits::bits;
use crate::order::{FieldOrder, field_order};
use crate::tag::TagFault;

/// Levels of structs, unions and arrays.
pub const MAX_DEPTH: usize = 16;
/// Members looked at; 252 bytes of metadata have no use for more.
pub const MAX_FIELDS: usize = 4096;

/// A member of a struct or union, or an element of one that is an array.
#[derive(Debug)]
pub struct Visited<'a> {
    /// Its path.
    pub path: String,
    /// The member's name; an element has its array's.
    pub name: &'a str,
    /// Struct or union, and number of the member in it.
    pub member: (u32, u32),
    /// Its type as declared.
    pub type_id: u32,
    /// The type behind typedefs and modifiers.
    pub ty: Type<'a>,
    /// What it is.
    pub what: What,
    /// Bits from the layout's start.
    pub bit_offset: u64,
    /// Its width in bits: of an array, all of it.
    pub bits: u64,
    /// As its type declares it; of an array, its elements'.
    pub order: FieldOrder,
    /// Whether a union is above it.
    pub in_union: bool,
    /// Whether an array is.
    pub in_array: bool,
    /// Whether it is an element and no member.
    pub element: bool,
    bit_end: u64,
    depth: usize,
}

/// What a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A struct.
    Struct,
    /// A union.
    Union,
    /// An array.
    Array {
        /// Number of elements.
        len: u32,
        /// Bits of one.
        stride: u64,
    },
    /// An integer.
    Int {
        /// Two's complement.
        signed: bool,
    },
    /// An enumeration of either width.
    Enum {
        /// Whether its values have a sign.
        signed: bool,
    },
    /// A pointer.
    Ptr,
    /// A floating-point number.
    Float,
    /// Something of which only the size is known: its type was kept of a distilled base.
    Unknown,
}

impl What {
    /// A struct or union.
    pub fn is_composite(self) -> bool {
        matches!(self, What::Struct | What::Union)
    }

    /// Whether a negative number can stand there.
    pub fn signed(self) -> bool {
        matches!(self, What::Int { signed: true } | What::Enum { signed: true })
    }
}

/// Where to go on from a field that others are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// Into it: all members, each element (`a[0]`, `a[1]`).
    Each,
    /// Into it: all members, of an array one element that stands for all (`a[2]`).
    Once,
    /// Past it.
    Past,
}

/// Why a struct cannot be walked through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalkFault {
    /// Structs in structs without end.
    #[error("'{path}' nests deeper than {MAX_DEPTH} levels")]
    TooDeep {
        /// Where it was given up.
        path: String,
    },
    /// A place that cannot be counted.
    #[error("'{path}' has no size, or is too large or too far from the start")]
    NoSize {
        /// The field.
        path: String,
    },
    /// A tag that says nothing we understand.
    #[error("field {path} has the tag {tag:?}: {cause}")]
    Tag {
        /// The field.
        path: String,
        /// The tag in full.
        tag: String,
        /// What is wrong with it.
        cause: TagFault,
    },
    /// More of them than there are places.
    #[error("more than {MAX_FIELDS} fields")]
    TooMany,
    /// Functions and the like.
    #[error("'{path}' is a {kind}, which has no place in a packet's metadata")]
    NoPlace {
        /// The field.
        path: String,
        /// Its kind.
        kind: Kind,
    },
}

/// What is done about each field.
pub trait Visit<'a> {
    /// Why it may end early.
    type Error: From<WalkFault>;

    /// Looks at a field; says where to go on, if there is anything in it.
    ///
    /// # Errors
    /// Ends the walk.
    fn enter(&mut self, field: &Visited<'a>) -> Result<Go, Self::Error>;

    /// All that is in the field has been looked at.
    ///
    /// # Errors
    /// Ends the walk.
    fn leave(&mut self, _field: &Visited<'a>) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Walks over the fields of the struct or union `ty`.
///
/// # Errors
/// [`WalkFault`], and those of `visit`.
pub fn walk<'a, V: Visit<'a>>(btf: &'a Btf, ty: Type<'a>, visit: &mut V) -> Result<(), V::Error> {
    let top = Above { path: String::new(), bit_offset: 0, in_union: false, in_array: false, depth: 0 };
    Walk { btf, visit, left: MAX_FIELDS }.members(ty, &top)
}

struct Walk<'a, 'v, V> {
    btf: &'a Btf,
    visit: &'v mut V,
    /// Fields still to be seen: empty structs that fan out must end too.
    left: usize,
}

/// What a field inherits.
struct Above {
    path: String,
    bit_offset: u64,
    in_union: bool,
    in_array: bool,
    depth: usize,
}

impl<'a, V: Visit<'a>> Walk<'a, '_, V> {
    fn members(&mut self, ty: Type<'a>, above: &Above) -> Result<(), V::Error> {
        if above.depth > MAX_DEPTH {
            return Err(WalkFault::TooDeep { path: above.path.clone() }.into());
        }
        for (number, member) in (0u32..).zip(ty.members()) {
            let field = self.field((ty.id(), number), member, above)?;
            self.one(field)?;
        }
        Ok(())
    }

    fn one(&mut self, field: Visited<'a>) -> Result<(), V::Error> {
        self.left = self.left.checked_sub(1).ok_or(WalkFault::TooMany)?;
        let go = self.visit.enter(&field)?;
        match (field.what, field.ty.array()) {
            _ if go == Go::Past => {}
            (What::Struct | What::Union, _) => self.members(field.ty, &field.above())?,
            (What::Array { stride, .. }, Some(array)) => self.elements(&field, array, stride, go)?,
            _ => {}
        }
        self.visit.leave(&field)
    }

    fn elements(&mut self, field: &Visited<'a>, array: Array, stride: u64, go: Go) -> Result<(), V::Error> {
        if field.depth > MAX_DEPTH {
            return Err(WalkFault::TooDeep { path: field.path.clone() }.into());
        }
        if go == Go::Once {
            let path = format!("{}[{}]", field.path, array.len);
            return self.element(field, array, path, field.bit_offset);
        }
        // Elements without bits hold nothing, however many they say they are.
        let Ok(stride @ 1..) = usize::try_from(stride) else { return Ok(()) };
        for (n, offset) in (0..array.len).zip((field.bit_offset..).step_by(stride)) {
            self.element(field, array, format!("{}[{n}]", field.path), offset)?;
        }
        Ok(())
    }

    fn element(&mut self, field: &Visited<'a>, array: Array, path: String, bit_offset: u64) -> Result<(), V::Error> {
        let above = Above { path, bit_offset, in_array: true, ..field.above() };
        let element = self.field(field.member, Member::new("", array.elem, 0), &above)?;
        self.one(Visited { name: field.name, element: true, ..element })
    }

    fn field(&self, member: (u32, u32), of: Member<'a>, above: &Above) -> Result<Visited<'a>, V::Error> {
        let path = join(&above.path, of.name);
        let ty = self.btf.skip_mods_and_typedefs(of.type_id);
        let no_size = || WalkFault::NoSize { path: path.clone() };
        let Some(what) = self.what(ty) else {
            return Err(WalkFault::NoPlace { path, kind: ty.kind() }.into());
        };
        let (within, bits) = self.within(of, ty).ok_or_else(no_size)?;
        let bit_offset = above.bit_offset.checked_add(within).ok_or_else(no_size)?;
        let bit_end = bit_offset.checked_add(bits).ok_or_else(no_size)?;
        Ok(Visited {
            path,
            name: of.name,
            member,
            type_id: of.type_id,
            ty,
            what,
            bit_offset,
            bits,
            order: field_order(self.btf, of.type_id),
            in_union: above.in_union || self.btf.ty(member.0).is_some_and(|t| t.kind() == Kind::Union),
            in_array: above.in_array,
            element: false,
            bit_end,
            depth: above.depth,
        })
    }

    /// First bit within what the member is in, and width.
    fn within(&self, member: Member<'a>, ty: Type<'a>) -> Option<(u64, u64)> {
        let size = bits(self.btf.type_size(member.type_id)?);
        let start = u64::from(member.bit_offset);
        // Older encoders put a bitfield's place and width into its int.
        match ty.int() {
            _ if member.bit_size != 0 => Some((start, member.bit_size.into())),
            Some(int) if u64::from(int.bits) < size => {
                Some((start.checked_add(int.bit_offset.into())?, int.bits.into()))
            }
            _ => Some((start, size)),
        }
    }

    fn what(&self, ty: Type<'a>) -> Option<What> {
        Some(match ty.kind() {
            _ if self.btf.differs(ty.id()).is_some() => What::Unknown,
            Kind::Struct => What::Struct,
            Kind::Union => What::Union,
            Kind::Array => {
                let array = ty.array()?;
                What::Array { len: array.len, stride: bits(self.btf.type_size(array.elem)?) }
            }
            Kind::Int => What::Int { signed: ty.int().is_some_and(|i| i.signed) },
            Kind::Enum | Kind::Enum64 => What::Enum { signed: ty.kind_flag() },
            Kind::Ptr => What::Ptr,
            Kind::Float => What::Float,
            _ => return None,
        })
    }
}

impl Visited<'_> {
    fn above(&self) -> Above {
        let Visited { bit_offset, in_union, in_array, depth, .. } = *self;
        // No deeper than a little below the limit.
        Above { path: self.path.clone(), bit_offset, in_union, in_array, depth: depth.wrapping_add(1) }
    }

    /// Whether it is an arm of a union.
    pub fn is_arm(&self) -> bool {
        !self.element && self.ty.btf().ty(self.member.0).is_some_and(|t| t.kind() == Kind::Union)
    }

    /// One past its last bit.
    pub fn bit_end(&self) -> u64 {
        self.bit_end
    }
}

/// `prefix.name`, without the dot where either is empty.
fn join(prefix: &str, name: &str) -> String {
    match (prefix, name) {
        ("", name) => name.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, name) => format!("{prefix}.{name}"),
    }
}
