//! What the checking pass looks at: the type section in words, and each type of it as a record.

use crate::kind::{self, KindInfo, Role, kind_number};
use crate::number::{bytes, index};
use crate::{ByteOrder, Error};

/// The longest chain of modifiers, typedefs and arrays; the kernel's `MAX_RESOLVE_DEPTH` (kernel/bpf/btf.c).
pub const MAX_CHAIN: usize = 32;

/// [`kind::HEAD`] as an index.
pub(crate) const HEAD: usize = index(kind::HEAD);

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
    pub(crate) size_or_type: u32,
    /// The words behind the common three.
    pub(crate) tail: &'a [Word],
    /// What follows the type.
    pub(crate) next: &'a [Word],
}

impl<'a> Pass<'a> {
    /// The type at word `at`; `None` if its kind is not known or not all of it is there.
    pub(crate) fn record_at(&self, at: usize) -> Option<Record<'a>> {
        let words @ [name, word, size_or_type, ..] = self.types.get(at..)? else { return None };
        let word = self.read(*word);
        let (own, next) = words.split_at_checked(self.words_of(word)?)?;
        let tail = own.get(HEAD..)?;
        Some(Record {
            info: KindInfo::of(word),
            flag: word >> 31 != 0,
            name: self.read(*name),
            size_or_type: self.read(*size_or_type),
            tail,
            next,
        })
    }

    pub(crate) fn read(&self, word: Word) -> u32 {
        self.order.word(word)
    }

    /// Words of a type with this `info` word; `None` if its kind is not known. The sizes of kinds newer than this crate
    /// are in the layout section: bytes `{u8 info_sz, u8 elem_sz, u16 flags}` a kind.
    fn words_of(&self, word: u32) -> Option<usize> {
        let (info, vlen) = (KindInfo::of(word), word & 0x00ff_ffff);
        if info.known() {
            return Some(info.words(vlen));
        }
        let number = Some(kind_number(word)).filter(|number| *number != 0)?;
        let [once, each, _, _] = *self.layouts.as_chunks::<4>().0.get(usize::from(number))?;
        // Types stay aligned to words.
        let aligned = once.is_multiple_of(4) && each.is_multiple_of(4);
        let info = KindInfo { once: (once / 4).into(), each: each / 4, ..*info };
        aligned.then_some(info.words(vlen))
    }

    /// Why there is no record at `at`.
    #[cold]
    pub(crate) fn no_record(&self, at: usize, id: u32) -> Error {
        let rest = self.types.get(at..).unwrap_or_default();
        let truncated = |words| {
            let (at, need, have) = (self.place(at), bytes(words), size_of_val(rest));
            Error::Truncated { what: "a type", at, need, have }
        };
        let [_, word, ..] = rest else { return truncated(HEAD) };
        let word = self.read(*word);
        match self.words_of(word) {
            Some(words) => truncated(words),
            None => Error::Kind { id, at: self.place(at), kind: kind_number(word) },
        }
    }

    /// Where word `at` of the type section stands in the file.
    pub(crate) fn place(&self, at: usize) -> usize {
        self.section.wrapping_add(bytes(at))
    }

    /// The words of a type that may be references, and which they are.
    pub(crate) fn words(&self, record: &Record<'a>) -> impl Iterator<Item = (u32, Role)> {
        let head = [(record.name, Role::Str), (record.size_or_type & record.info.refers, Role::Id)];
        let tail = record.tail.iter().map(|word| self.read(*word));
        head.into_iter().chain(tail.zip(record.info.shape.roles().iter().copied().cycle()))
    }

    /// The chain of the type `id`, which starts at word `at`, does not end.
    #[cold]
    pub(crate) fn endless(&self, id: u32, at: usize) -> Error {
        Error::Chain { id, at: self.place(at), limit: MAX_CHAIN }
    }
}
