//! A view of one type.

use std::ops::Range;

use crate::kind::KindInfo;
use crate::number::{bits, bytes, index};
use crate::pass::HEAD;
use crate::{Btf, Kind};

/// Behind the words of any type section, which has no more than 30 bits count, and so far from the end of `usize` that no
/// type's words lead there.
const VOID: usize = 1 << 31;

/// One type of a [`Btf`], read from its bytes when asked. Cheap to copy.
///
/// The third word of a type is a size or a type id, by its kind: [`Type::size`] and [`Type::target`] answer 0 where
/// the kind has none. The iterators are empty for kinds they do not fit.
#[derive(Clone, Copy)]
pub struct Type<'a> {
    btf: &'a Btf,
    id: u32,
    /// Words in the type section before it; more than there are for void.
    at: usize,
}

/// A field of a struct or union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name, empty for an anonymous one.
    pub name: &'a str,
    /// Its type.
    pub type_id: u32,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Width in bits of a bitfield, else 0 (also for a bitfield that only its int's encoding tells, see
    /// [`IntEncoding`]).
    pub bit_size: u32,
}

impl<'a> Member<'a> {
    /// One that is no bitfield.
    #[must_use]
    pub fn new(name: &'a str, type_id: u32, bit_offset: u32) -> Member<'a> {
        Member { name, type_id, bit_offset, bit_size: 0 }
    }
}

/// A name for a value of an enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enumerator<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, sign-extended to 64 bits if the enum is signed.
    pub value: u64,
}

/// An array's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// Type id of an element.
    pub elem: u32,
    /// Type id of the index.
    pub index: u32,
    /// Number of elements, 0 for a flexible array.
    pub len: u32,
}

/// How an int is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntEncoding {
    /// Two's complement.
    pub signed: bool,
    /// A `char`.
    pub char: bool,
    /// A `bool`.
    pub bool: bool,
    /// Bits from the member's offset to the value (older encoders describe bitfields so).
    pub bit_offset: u8,
    /// Bits of the value.
    pub bits: u8,
}

impl IntEncoding {
    /// From the word of a type.
    fn of(raw: u32) -> IntEncoding {
        let [bits, _, bit_offset, encoding] = raw.to_le_bytes();
        IntEncoding { signed: encoding & 1 != 0, char: encoding & 2 != 0, bool: encoding & 4 != 0, bit_offset, bits }
    }

    /// The word of a type.
    pub(crate) fn word(self) -> u32 {
        let encoding = u32::from(self.signed) | u32::from(self.char) << 1 | u32::from(self.bool) << 2;
        encoding << 24 | u32::from(self.bit_offset) << 16 | u32::from(self.bits)
    }
}

/// A function's parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name, empty in a prototype without names.
    pub name: &'a str,
    /// Its type; 0 with an empty name stands for `...`.
    pub type_id: u32,
}

/// A variable of a data section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecVar {
    /// The variable's type id (kind VAR, or FUNC for an extern).
    pub type_id: u32,
    /// Bytes from the start of the section.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
}

/// Linkage of a function or variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// Seen in its unit only.
    Static = 0,
    /// Defined here for all.
    Global = 1,
    /// Defined elsewhere.
    Extern = 2,
}

impl Linkage {
    /// Its number in the format.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}

impl<'a> Type<'a> {
    pub(crate) fn at(btf: &'a Btf, id: u32, at: usize) -> Self {
        Type { btf, id, at }
    }

    pub(crate) fn void(btf: &'a Btf) -> Self {
        Type { btf, id: 0, at: VOID }
    }

    /// The `n`-th 32-bit word, `struct btf_type` first. Those of void are 0; no other type is asked for more words than it
    /// has, and all that it has are there ([`crate::check`]).
    #[inline]
    pub(crate) fn word(self, n: usize) -> u32 {
        self.btf.type_words().get(self.at.wrapping_add(n)).map_or(0, |word| self.btf.order().word(*word))
    }

    /// What is to be known of its kind.
    pub(crate) fn info(self) -> &'static KindInfo {
        KindInfo::of(self.word(1))
    }

    /// The words behind those of `struct btf_type`; none if its kind is not known.
    pub(crate) fn tail(self) -> impl Iterator<Item = u32> {
        let (info, vlen) = (self.info(), self.vlen());
        let words = if info.known() { info.words(vlen) } else { 0 };
        (HEAD..words).map(move |n| self.word(n))
    }

    /// The bytes it takes in the type section; `None` for void, and if its kind is not known.
    pub(crate) fn place(self) -> Option<Range<usize>> {
        let words = Some(self.info()).filter(|info| info.known())?.words(self.vlen());
        Some(bytes(self.at)..bytes(self.at.checked_add(words)?))
    }

    /// The BTF it stands in (the base, if it is the base's).
    pub fn btf(self) -> &'a Btf {
        self.btf
    }

    /// Its id.
    pub fn id(self) -> u32 {
        self.id
    }

    /// Its kind.
    #[inline]
    pub fn kind(self) -> Kind {
        Kind::of(self.word(1))
    }

    /// Number of members, enumerators, parameters or variables.
    #[inline]
    pub fn vlen(self) -> u32 {
        self.word(1) & 0x00ff_ffff
    }

    /// The top bit of `info`: bitfields in a struct, signed in an enum, union in a forward declaration.
    #[inline]
    pub fn kind_flag(self) -> bool {
        self.word(1) >> 31 != 0
    }

    /// Offset of its name among the strings, 0 if anonymous.
    #[inline]
    pub fn name_offset(self) -> u32 {
        self.word(0)
    }

    /// Its name, empty if anonymous.
    #[inline]
    pub fn name(self) -> &'a str {
        self.string(self.name_offset())
    }

    /// A name of its own: those are all there ([`crate::check`]).
    fn string(self, offset: u32) -> &'a str {
        self.btf.str_at(offset).unwrap_or("")
    }

    /// Size in bytes of an int, float, struct, union, enum or data section; 0 for others.
    #[inline]
    pub fn size(self) -> u32 {
        match self.kind() {
            Kind::Int | Kind::Float | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Datasec => {
                self.word(2)
            }
            _ => 0,
        }
    }

    /// The same in bits.
    #[inline]
    pub fn bits(self) -> u64 {
        bits(self.size())
    }

    /// The type id it refers to (a pointer's target, a typedef's or modifier's type, a function's prototype, a
    /// prototype's return type, a variable's type, what a tag is on); 0 for others.
    #[inline]
    pub fn target(self) -> u32 {
        self.word(2) & self.info().refers
    }

    /// Fields of a struct or union.
    pub fn members(self) -> impl ExactSizeIterator<Item = Member<'a>> + Clone {
        let flag = self.kind_flag();
        self.elements(self.kind().is_composite(), 3).map(move |at| self.member_at(at, flag))
    }

    /// The field with this number.
    pub fn member(self, n: u32) -> Option<Member<'a>> {
        let at = self.elements(self.kind().is_composite(), 3).nth(index(n))?;
        Some(self.member_at(at, self.kind_flag()))
    }

    /// Offsets of the fields' names among the strings: for a search, as reading every name takes longer than comparing
    /// it ([`Btf::is_string`]).
    pub fn member_names(self) -> impl ExactSizeIterator<Item = u32> + Clone {
        self.elements(self.kind().is_composite(), 3).map(move |at| self.word(at))
    }

    fn member_at(self, at: usize, flag: bool) -> Member<'a> {
        let offset = self.word(at.wrapping_add(2));
        let (bit_offset, bit_size) = if flag { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
        Member { name: self.string(self.word(at)), type_id: self.word(at.wrapping_add(1)), bit_offset, bit_size }
    }

    /// Names and values of an enum of either width.
    pub fn enumerators(self) -> impl ExactSizeIterator<Item = Enumerator<'a>> + Clone {
        let (words, signed) = self.enumerator_shape();
        self.elements(self.kind().is_any_enum(), words).map(move |at| self.enumerator_at(at, words, signed))
    }

    /// The name and value with this number.
    pub fn enumerator(self, n: u32) -> Option<Enumerator<'a>> {
        let (words, signed) = self.enumerator_shape();
        let at = self.elements(self.kind().is_any_enum(), words).nth(index(n))?;
        Some(self.enumerator_at(at, words, signed))
    }

    /// Words of an enumerator, and whether 32-bit values are signed.
    fn enumerator_shape(self) -> (usize, bool) {
        (if self.kind() == Kind::Enum64 { 3 } else { 2 }, self.kind_flag())
    }

    fn enumerator_at(self, at: usize, words: usize, signed: bool) -> Enumerator<'a> {
        let low = self.word(at.wrapping_add(1));
        let value = match (words, signed) {
            (3, _) => u64::from(self.word(at.wrapping_add(2))) << 32 | u64::from(low),
            (_, true) => i64::from(low.cast_signed()).cast_unsigned(),
            (_, false) => u64::from(low),
        };
        Enumerator { name: self.string(self.word(at)), value }
    }

    /// Parameters of a function prototype.
    pub fn params(self) -> impl ExactSizeIterator<Item = Param<'a>> + Clone {
        self.elements(self.kind() == Kind::FuncProto, 2)
            .map(move |at| Param { name: self.string(self.word(at)), type_id: self.word(at.wrapping_add(1)) })
    }

    /// Variables of a data section.
    pub fn vars(self) -> impl ExactSizeIterator<Item = SecVar> + Clone {
        self.elements(self.kind() == Kind::Datasec, 3).map(move |at| SecVar {
            type_id: self.word(at),
            offset: self.word(at.wrapping_add(1)),
            size: self.word(at.wrapping_add(2)),
        })
    }

    /// Word offsets of the elements behind the three common words, if this kind has them.
    fn elements(self, fits: bool, words: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
        let count = if fits { index(self.vlen()) } else { 0 };
        (0..count).map(move |n| n.wrapping_mul(words).wrapping_add(HEAD))
    }

    /// An array's shape.
    pub fn array(self) -> Option<Array> {
        (self.kind() == Kind::Array).then(|| Array { elem: self.word(3), index: self.word(4), len: self.word(5) })
    }

    /// An int's encoding.
    pub fn int(self) -> Option<IntEncoding> {
        (self.kind() == Kind::Int).then(|| IntEncoding::of(self.word(3)))
    }

    /// Linkage of a function or variable.
    pub fn linkage(self) -> Option<Linkage> {
        let raw = match self.kind() {
            Kind::Func => self.vlen(),
            Kind::Var => self.word(3),
            _ => return None,
        };
        match raw {
            0 => Some(Linkage::Static),
            1 => Some(Linkage::Global),
            2 => Some(Linkage::Extern),
            _ => None,
        }
    }

    /// Which member or parameter a declaration tag is on; -1 for the type itself. `None` for other kinds.
    pub fn component(self) -> Option<i32> {
        (self.kind() == Kind::DeclTag).then(|| self.word(3).cast_signed())
    }
}

impl std::fmt::Debug for Type<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {} '{}'", self.id, self.kind(), self.name())
    }
}

/// Same type of the same BTF, not the same content.
impl PartialEq for Type<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && std::ptr::eq(self.btf, other.btf)
    }
}
