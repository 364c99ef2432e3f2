//! What can be wrong with BTF bytes, and where.

use crate::{ByteOrder, Kind};

/// A fault in BTF or `.BTF.ext` bytes. Offsets count from the start of the section's bytes, header included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end before something that must be there.
    #[error("truncated: {what} needs {need} bytes at offset {at}, {have} are there")]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Where it starts.
        at: usize,
        /// Its length in bytes.
        need: usize,
        /// How many bytes are left there.
        have: usize,
    },
    /// The first two bytes are not 0xEB9F in either byte order.
    #[error("not BTF: the first two bytes are {0:#06x}, not 0xeb9f")]
    Magic(u16),
    /// A version other than 1.
    #[error("BTF version {0} is not known; this reads version 1")]
    Version(u8),
    /// A header field that makes no sense.
    #[error("bad header: {what} is {value} (offset {at})")]
    Header {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u32,
        /// Where the field stands.
        at: usize,
    },
    /// The string section does not begin or does not end with a zero byte.
    #[error("the string section (offset {at}) does not {what} with a zero byte")]
    Strings {
        /// `begin` or `end`.
        what: &'static str,
        /// Where the string section starts.
        at: usize,
    },
    /// A string that is not UTF-8.
    #[error("the string section holds bytes that are not UTF-8 at offset {at}")]
    NotUtf8 {
        /// Where the first bad byte stands.
        at: usize,
    },
    /// A kind that neither we nor the layout section know.
    #[error("type [{id}] at offset {at} has kind {kind}, which is not known and not in the layout section")]
    Kind {
        /// The type's id.
        id: u32,
        /// Where it stands.
        at: usize,
        /// The kind's number.
        kind: u8,
    },
    /// A type id that names no type.
    #[error("type [{id}] at offset {at} refers to type [{target}], but the last is [{last}]")]
    TypeId {
        /// The referring type.
        id: u32,
        /// Where it stands.
        at: usize,
        /// The id that does not exist.
        target: u32,
        /// The last id there is.
        last: u32,
    },
    /// A string offset outside the string section.
    #[error("type [{id}] at offset {at} names string {offset}, but the strings end at {end}")]
    StringOffset {
        /// The type's id.
        id: u32,
        /// Where it stands.
        at: usize,
        /// The offset that was asked for.
        offset: u32,
        /// One past the last valid offset.
        end: u32,
    },
    /// A name of a split BTF that begins in the middle of another string, or any that begins inside a character.
    #[error("type [{id}] at offset {at} names string {offset}, which is in the middle of another string")]
    InsideString {
        /// The type's id.
        id: u32,
        /// Where it stands.
        at: usize,
        /// The offset that was asked for.
        offset: u32,
    },
    /// A reference to a type of a kind that it cannot mean.
    #[error("type [{id}] at offset {at}, a {kind}, refers to [{target}], which is a {found} and must be {wanted}")]
    TargetKind {
        /// The referring type.
        id: u32,
        /// Where it stands.
        at: usize,
        /// Its kind.
        kind: Kind,
        /// What it refers to.
        target: u32,
        /// Of which kind that is.
        found: Kind,
        /// What it should be.
        wanted: &'static str,
    },
    /// Strings of a split BTF, none of which a type of it names.
    #[error("none of its types has a name from its own strings (offsets {first} to {end})")]
    NoOwnName {
        /// Offset of its first string.
        first: u32,
        /// One past the last offset.
        end: u32,
    },
    /// References of a split BTF that make no sense on the base it is read on.
    #[error("made for another base: {0}")]
    OtherBase(Box<Error>),
    /// A type of a kind that is newer than this crate, where its references would have to be changed.
    #[error("type [{id}] has kind {kind}, which is not known, so the types it refers to cannot be renumbered")]
    Immovable {
        /// The type's id.
        id: u32,
        /// The kind's number.
        kind: u8,
    },
    /// A chain of modifiers, typedefs or arrays that never ends, or is longer than any compiler makes.
    #[error(
        "type [{id}] at offset {at}: its chain of modifiers, typedefs and arrays does not end within {limit} steps"
    )]
    Chain {
        /// Where the chain begins.
        id: u32,
        /// Where that type stands.
        at: usize,
        /// The bound.
        limit: usize,
    },
    /// A member outside its struct.
    #[error("type [{id}] at offset {at}: member {member} starts at bit {bit}, beyond the {size} bytes of the type")]
    MemberOffset {
        /// The struct or union.
        id: u32,
        /// Where it stands.
        at: usize,
        /// The member's number, from 0.
        member: u32,
        /// Its bit offset.
        bit: u32,
        /// The type's size in bytes.
        size: u32,
    },
    /// A BTF of the other byte order than its base.
    #[error("it is {own}, but the base BTF is {base}; give the base that it was made for")]
    BaseOrder {
        /// Its own.
        own: ByteOrder,
        /// The base's.
        base: ByteOrder,
    },
    /// A BTF that is split on more than what it was to be put behind.
    #[error("its own types begin with [{first}], but the next here is [{here}]: it is split on something else")]
    Base {
        /// The id of its first own type.
        first: u32,
        /// Which id that would get here.
        here: u32,
    },
    /// More types or strings than 32-bit offsets can count.
    #[error("too large: {what} does not fit in 32 bits")]
    TooLarge {
        /// What overflowed.
        what: &'static str,
    },
    /// A `.BTF.ext` record that is misshapen.
    #[error(".BTF.ext {what} at offset {at}: {why}")]
    Ext {
        /// `func_info`, `line_info` or `core_relo`.
        what: &'static str,
        /// Where it stands.
        at: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Error {
    /// The fault of a split BTF: of those that another base would explain, that one is likely the wrong one.
    pub(crate) fn of_split(self) -> Error {
        match self {
            Error::TypeId { .. }
            | Error::StringOffset { .. }
            | Error::InsideString { .. }
            | Error::TargetKind { .. }
            | Error::NoOwnName { .. } => Error::OtherBase(Box::new(self)),
            other => other,
        }
    }
}
