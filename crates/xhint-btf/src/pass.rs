//! What the checking pass looks at: the type section in words, and each type of it as a record.

use crate::kind::{KindInfo, Role};
use crate::{ByteOrder, Error};

/// The longest chain of modifiers, typedefs and arrays; the kernel's `MAX_RESOLVE_DEPTH` (kernel/bpf/btf.c).
pub const MAX_CHAIN: usize = 32;

/// Words of `struct btf_type`.
pub(crate) const HEAD: usize = 3;

/// Four bytes as they stand in the file.
pub(crate) type Word = [u8; 4];

/// What the pass needs to know.
pub(crate) struct Pass<'a> {
    /// The type section, in words.
    pub(crate) types: &'a [Word],
    pub(crate) layouts: &'a [u8],
    /// Where the type section starts, for messages.
    pub(crate) section: usize,
    /// Bytes behind the last whole word.
    pub(crate) over: usize,
    pub(crate) first_id: u32,
    pub(crate) order: ByteOrder,
}

/// One type, read without haste.
pub(crate) struct Record<'a> {
    pub(crate) info: &'static KindInfo,
    pub(crate) flag: bool,
    name: u32,
    /// Size or type id.
    pub(crate) third: u32,
    /// The words behind the common three.
    pub(crate) tail: &'a [Word],
}

impl<'a> Pass<'a> {
    /// The type at word `at`; `None` if its kind is not known or not all of it is there.
    pub(crate) fn record_at(&self, at: usize) -> Option<Record<'a>> {
        let [name, word, third, rest @ ..] = self.types.get(at..)? else { return None };
        let word = self.read(*word);
        let tail = rest.get(..self.tail_len(word)?)?;
        Some(Record {
            info: KindInfo::of(word),
            flag: word >> 31 != 0,
            name: self.read(*name),
            third: self.read(*third),
            tail,
        })
    }

    pub(crate) fn read(&self, word: Word) -> u32 {
        match self.order {
            ByteOrder::Little => u32::from_le_bytes(word),
            ByteOrder::Big => u32::from_be_bytes(word),
        }
    }

    /// Words behind the common three of a type with this `info` word; `None` if its kind is not known. The sizes of
    /// kinds newer than this crate are in the layout section: bytes `{u8 info_sz, u8 elem_sz, u16 flags}` a kind.
    fn tail_len(&self, word: u32) -> Option<usize> {
        let (info, vlen) = (KindInfo::of(word), word & 0x00ff_ffff);
        if info.known() {
            return Some(info.tail(vlen));
        }
        let raw_kind = (word >> 24) as usize & 0x7f;
        if raw_kind == 0 {
            return None;
        }
        let [once, each, _, _] = *self.layouts.get(raw_kind.saturating_mul(4)..)?.first_chunk::<4>()?;
        // Types stay aligned to words. 24 bits times 6 bits and a little: fits in 32.
        let words = vlen.wrapping_mul((each / 4).into()).wrapping_add((once / 4).into());
        (once.is_multiple_of(4) && each.is_multiple_of(4)).then_some(words as usize)
    }

    /// Why there is no record at `at`.
    #[cold]
    pub(crate) fn no_record(&self, at: usize, id: u32) -> Error {
        let rest = self.types.get(at..).unwrap_or_default();
        let have = rest.len().saturating_mul(4);
        let Some(word) = rest.get(1).map(|word| self.read(*word)) else {
            return Error::Truncated { what: "a type", at: self.place(at), need: HEAD.saturating_mul(4), have };
        };
        match self.tail_len(word) {
            Some(words) => {
                let need = HEAD.saturating_add(words).saturating_mul(4);
                Error::Truncated { what: "a type", at: self.place(at), need, have }
            }
            None => Error::Kind { id, at: self.place(at), kind: (word >> 24) as u8 & 0x7f },
        }
    }

    /// Where word `at` of the type section stands in the file.
    pub(crate) fn place(&self, at: usize) -> usize {
        self.section.saturating_add(at.saturating_mul(4))
    }

    /// The words of a type that may be references, and which they are.
    pub(crate) fn words(&self, record: &Record<'a>) -> impl Iterator<Item = (u32, Role)> {
        let head = [(record.name, Role::Str), (record.third & record.info.refers, Role::Id)];
        let tail = record.tail.iter().map(|word| self.read(*word));
        head.into_iter().chain(tail.zip(record.info.shape.roles().iter().copied().cycle()))
    }

    /// The chain of the type with `number` types before it does not end.
    #[cold]
    pub(crate) fn endless(&self, offsets: &[u32], number: u32) -> Error {
        let at = offsets.get(number as usize).map_or(0, |offset| *offset as usize / 4);
        Error::Chain { id: self.first_id.saturating_add(number), at: self.place(at), limit: MAX_CHAIN }
    }
}
