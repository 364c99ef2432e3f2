//! The checking pass.
//!
//! It looks at every type once, in file order, and notes where each starts:
//!
//! 1. The string section begins and ends with a zero byte and is UTF-8, so every offset within it is a whole string.
//! 2. Each type lies within the type section, by its kind's size and its number of elements; the sizes of unknown
//!    kinds come from the layout section.
//! 3. While walking, only the largest type id and string offset are kept, and whether a member starts beyond its
//!    struct. They are judged once at the end, when the number of types is known: forward references are legal.
//! 4. Chains of typedefs, modifiers and arrays end, and soon. They are followed when all types are known.
//! 5. A split BTF may have been made for another base, so of its names and references more is asked (`references.rs`): of
//!    names while walking, of references when all types are known.
//! 6. Only when step 3 or 5 finds a fault are references looked at one by one, to say which is to blame.
//!
//! Steps 2 to 4 are the file `walk.rs`, monomorphic in the byte order.

use crate::header::Header;
use crate::kind::{KindInfo, Role};
use crate::references::{Begins, Limits};
use crate::{Btf, ByteOrder, Error};

/// The longest chain of modifiers, typedefs and arrays; the kernel's `MAX_RESOLVE_DEPTH` (kernel/bpf/btf.c).
pub const MAX_CHAIN: usize = 32;

/// Words of `struct btf_type`.
pub(crate) const HEAD: usize = 3;

/// Four bytes as they stand in the file.
pub(crate) type Word = [u8; 4];

/// What the pass yields.
pub(crate) struct Checked {
    /// The offset of each type within the type section, and the marks of its kind.
    pub(crate) offsets: Vec<u32>,
    /// All strings are ASCII, the base's too, so every offset is that of a character.
    pub(crate) ascii: bool,
}

/// Checks `raw`.
pub(crate) fn check(raw: &[u8], header: &Header, base: Option<&Btf>) -> Result<Checked, Error> {
    let strings = raw.get(header.strings.clone()).unwrap_or_default();
    let ascii = check_strings(strings, header, base)? && base.is_none_or(Btf::is_ascii);
    let (types, rest) = raw.get(header.types.clone()).unwrap_or_default().as_chunks::<4>();
    let pass = Pass {
        types,
        layouts: match raw.get(header.layouts.clone()) {
            Some(own) if !own.is_empty() => own,
            _ => base.map_or(&[], Btf::layouts),
        },
        section: header.types.start,
        over: rest.len(),
        first_id: base.map_or(1, Btf::end_id),
        order: header.order,
    };
    let strings = Strings { own: strings, first: base.map_or(0, Btf::end_string), ascii };
    let offsets = match header.order {
        ByteOrder::Little => pass.check(u32::from_le_bytes, &strings, base)?,
        ByteOrder::Big => pass.check(u32::from_be_bytes, &strings, base)?,
    };
    Ok(Checked { offsets, ascii })
}

/// Says whether the strings are ASCII.
fn check_strings(strings: &[u8], header: &Header, base: Option<&Btf>) -> Result<bool, Error> {
    let at = header.strings.start;
    match strings {
        // A split BTF may add no string of its own.
        [] if base.is_some() => return Ok(true),
        [0, ..] => {}
        // The strings of a split BTF go on where the base's end, so the first need not be the empty one.
        _ if base.is_some() => {}
        _ => return Err(Error::Strings { what: "begin", at }),
    }
    if strings.last() != Some(&0) {
        return Err(Error::Strings { what: "end", at });
    }
    // Names are ASCII nearly always, and that is faster to see.
    let ascii = strings.is_ascii();
    match std::str::from_utf8(if ascii { &[] } else { strings }) {
        Ok(_) => Ok(ascii),
        Err(e) => Err(Error::NotUtf8 { at: at.saturating_add(e.valid_up_to()) }),
    }
}

/// The strings of a BTF.
struct Strings<'a> {
    own: &'a [u8],
    /// The offset of its own first.
    first: u32,
    ascii: bool,
}

/// What the pass needs to know.
pub(crate) struct Pass<'a> {
    /// The type section, in words.
    pub(crate) types: &'a [Word],
    layouts: &'a [u8],
    /// Where the type section starts, for messages.
    section: usize,
    /// Bytes behind the last whole word.
    over: usize,
    pub(crate) first_id: u32,
    order: ByteOrder,
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
    /// Where each type starts.
    fn check(
        &self,
        read: impl Fn(Word) -> u32 + Copy,
        strings: &Strings,
        base: Option<&Btf>,
    ) -> Result<Vec<u32>, Error> {
        let mut seen = match base {
            None => self.walk(read, ())?,
            Some(base) => self.walk(read, Begins::new(strings.own, base))?,
        };
        let count = |len: usize, first: u32, what| {
            u32::try_from(len).ok().and_then(|len| first.checked_add(len)).ok_or(Error::TooLarge { what })
        };
        let end_id = count(seen.offsets.len(), self.first_id, "the number of types")?;
        if self.over != 0 {
            return Err(self.no_record(self.types.len(), end_id));
        }
        // Offset 0 means no name, also where there are no strings.
        let end_string = count(strings.own.len(), strings.first, "the string section")?.max(1);
        let limits = Limits {
            end_id,
            end_string,
            first_string: strings.first,
            strings: strings.own,
            offsets: &seen.offsets,
            base,
        };
        let exist = seen.id < end_id.into() && seen.string < end_string.into() && !seen.outside;
        let sound = || match base {
            None => strings.ascii,
            Some(_) => seen.named && self.right_kinds(read, &limits) && self.names_own(&limits),
        };
        if !exist || !sound() {
            self.check_references(&limits)?;
        } else {
            debug_assert_eq!(self.check_references(&limits), Ok(()), "what is quick finds as much as what is careful");
        }
        self.follow(read, &mut seen);
        match seen.links.first() {
            Some(link) => Err(self.endless(&seen.offsets, link.number)),
            None => Ok(seen.offsets),
        }
    }

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
    fn endless(&self, offsets: &[u32], number: u32) -> Error {
        let at = offsets.get(number as usize).map_or(0, |offset| *offset as usize / 4);
        Error::Chain { id: self.first_id.saturating_add(number), at: self.place(at), limit: MAX_CHAIN }
    }
}
