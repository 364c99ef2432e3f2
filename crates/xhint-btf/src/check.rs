//! The checking pass.
//!
//! It looks at every type once, in file order, and notes where each starts:
//!
//! 1. The string section begins and ends with a zero byte and is UTF-8, so every offset within it is a whole string.
//! 2. Each type lies within the type section, by its kind's size and its number of elements; the sizes of unknown
//!    kinds come from the layout section.
//! 3. While walking, only the largest type id and string offset are kept. They are compared once at the end, when
//!    the number of types is known: forward references are legal.
//! 4. Chains of typedefs, modifiers and arrays end. A chain can loop only by a forward reference, so only those are
//!    followed.
//!
//! The walk is monomorphic in the byte order. Only when step 3 finds a fault is the section walked a second time, to
//! say which type is to blame.

use crate::header::Header;
use crate::kind::KindInfo;
use crate::{Btf, ByteOrder, Error, Kind};

/// The longest chain of modifiers, typedefs and arrays; the kernel's `MAX_RESOLVE_DEPTH` (kernel/bpf/btf.c).
pub const MAX_CHAIN: usize = 32;

/// Words of `struct btf_type`.
const HEAD: usize = 3;

/// Checks `raw` and yields the offset of each type within the type section.
pub(crate) fn check(raw: &[u8], header: &Header, base: Option<&Btf>) -> Result<Vec<u32>, Error> {
    let strings = raw.get(header.strings.clone()).unwrap_or_default();
    // Names are ASCII nearly always, and that is faster to see than that they are UTF-8.
    let ascii = strings.is_ascii();
    check_strings(strings, ascii, header, base)?;
    let (types, rest) = raw.get(header.types.clone()).unwrap_or_default().as_chunks::<4>();
    let pass = Pass {
        types,
        layouts: raw.get(header.layouts.clone()).unwrap_or_default(),
        section: header.types.start,
        first_id: base.map_or(1, Btf::end_id),
        order: header.order,
    };
    let seen = match header.order {
        ByteOrder::Little => pass.walk(u32::from_le_bytes)?,
        ByteOrder::Big => pass.walk(u32::from_be_bytes)?,
    };
    if !rest.is_empty() {
        return Err(pass.no_record(types.len(), 0));
    }
    check_references(&pass, &seen, strings, ascii, base.map_or(0, Btf::end_string))?;
    for &id in &seen.forward {
        pass.check_chain(&seen.offsets, id)?;
    }
    Ok(seen.offsets)
}

/// Every type id and string offset exists, and no name starts inside a character.
fn check_references(pass: &Pass<'_>, seen: &Seen, strings: &[u8], ascii: bool, first_string: u32) -> Result<(), Error> {
    let count = |len: usize, first: u32, what| {
        u32::try_from(len).ok().and_then(|len| first.checked_add(len)).ok_or(Error::TooLarge { what })
    };
    let end_id = count(seen.offsets.len(), pass.first_id, "the number of types")?;
    // Offset 0 means no name, also where there are no strings.
    let end = count(strings.len(), first_string, "the string section")?.max(1);
    let inside = |offset: u32| match offset.checked_sub(first_string) {
        Some(own) => strings.get(own as usize).is_some_and(|byte| byte & 0xc0 == 0x80),
        None => false,
    };
    if seen.max_id < end_id && seen.max_string < end && ascii {
        return Ok(());
    }
    let fault = pass.first_fault(&seen.offsets, |id, at, reference| match reference {
        Ref::Id(target) if target >= end_id => Some(Error::TypeId { id, at, target, last: end_id.saturating_sub(1) }),
        Ref::Str(offset) if offset >= end || inside(offset) => Some(Error::StringOffset { id, at, offset, end }),
        _ => None,
    });
    fault.map_or(Ok(()), Err)
}

fn check_strings(strings: &[u8], ascii: bool, header: &Header, base: Option<&Btf>) -> Result<(), Error> {
    let at = header.strings.start;
    match strings {
        // A split BTF may add no string of its own.
        [] if base.is_some() => return Ok(()),
        [0, ..] => {}
        // The strings of a split BTF go on where the base's end, so the first need not be the empty one.
        _ if base.is_some() => {}
        _ => return Err(Error::Strings { what: "begin", at }),
    }
    if strings.last() != Some(&0) {
        return Err(Error::Strings { what: "end", at });
    }
    match std::str::from_utf8(if ascii { &[] } else { strings }) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::NotUtf8 { at: at.saturating_add(e.valid_up_to()) }),
    }
}

/// What the walk needs to know.
struct Pass<'a> {
    /// The type section, in words.
    types: &'a [Word],
    layouts: &'a [u8],
    /// Where the type section starts, for messages.
    section: usize,
    first_id: u32,
    order: ByteOrder,
}

/// Four bytes as they stand in the file.
type Word = [u8; 4];

/// What the walk keeps.
#[derive(Default)]
struct Seen {
    /// Where each type starts, in bytes.
    offsets: Vec<u32>,
    max_id: u32,
    max_string: u32,
    /// Ids of links that point forwards.
    forward: Vec<u32>,
}

/// One type as the walk sees it.
struct Record<'a, R> {
    read: R,
    info: &'static KindInfo,
    flag: bool,
    name: u32,
    /// Size or type id.
    third: u32,
    /// The words behind the common three.
    tail: &'a [Word],
}

/// What the walk wants of a tail.
#[derive(Default)]
struct Tail {
    max_id: u32,
    max_string: u32,
    /// An array's element, else 0.
    link: u32,
    /// A member starts beyond its struct's end.
    outside: bool,
}

/// A reference that a type holds.
enum Ref {
    Id(u32),
    Str(u32),
}

impl<'a> Pass<'a> {
    #[inline(always)]
    fn walk(&self, read: impl Fn(Word) -> u32 + Copy) -> Result<Seen, Error> {
        // No type takes fewer than three words. Pages that are never written to cost nothing.
        let most = self.types.len() / HEAD;
        if u32::try_from(most).ok().and_then(|most| self.first_id.checked_add(most)).is_none() {
            return Err(Error::TooLarge { what: "the number of types" });
        }
        let (mut offsets, mut forward) = (Vec::with_capacity(most), Vec::new());
        let (mut max_id, mut max_string) = (0, 0);
        let (mut left, mut id) = (self.types, self.first_id);
        while let [name, word, third, rest @ ..] = left {
            let info = KindInfo::of(read(*word));
            max_string = max_string.max(read(*name));
            let target = read(*third) & info.refers;
            max_id = max_id.max(target);
            let mut link = target & info.link;
            // A branch, since where the next type starts is then guessed, and needs no waiting for this one's length.
            let next = if info.bare {
                rest
            } else {
                let Some((record, next)) = self.record(read, left) else { break };
                let tail = record.tail();
                if tail.outside {
                    return Err(self.outside(&record, self.types.len().wrapping_sub(left.len()), id));
                }
                max_id = max_id.max(tail.max_id);
                max_string = max_string.max(tail.max_string);
                link = tail.link;
                next
            };
            if link >= id {
                forward.push(id);
            }
            // The header's lengths are 32 bits wide, so every offset is.
            offsets.push((self.types.len().wrapping_sub(left.len()) as u32).wrapping_mul(4));
            left = next;
            id = id.wrapping_add(1);
        }
        if !left.is_empty() {
            return Err(self.no_record(self.types.len().wrapping_sub(left.len()), id));
        }
        Ok(Seen { offsets, max_id, max_string, forward })
    }

    #[cold]
    fn outside<R: Fn(Word) -> u32 + Copy>(&self, record: &Record<'_, R>, at: usize, id: u32) -> Error {
        let (member, bit) = record.member_outside().unwrap_or_default();
        Error::MemberOffset { id, at: self.place(at), member, bit, size: record.third }
    }

    /// The type at the start of `words` and what follows it; `None` if its kind is not known or not all of it is there.
    #[inline(always)]
    fn record<'w, R: Fn(Word) -> u32 + Copy>(&self, read: R, words: &'w [Word]) -> Option<(Record<'w, R>, &'w [Word])> {
        let [name, word, third, rest @ ..] = words else { return None };
        let word = read(*word);
        let info = KindInfo::of(word);
        // A branch, since where the next type starts is then guessed, and needs no waiting for this one's length.
        let (tail, next) =
            if info.bare { ([].as_slice(), rest) } else { rest.split_at_checked(self.tail_len(info, word)?)? };
        Some((Record { read, info, flag: word >> 31 != 0, name: read(*name), third: read(*third), tail }, next))
    }

    /// The type at word `at`, read without haste.
    fn record_at(&self, at: usize) -> Option<Record<'a, impl Fn(Word) -> u32 + Copy>> {
        let order = self.order;
        let read = move |word| match order {
            ByteOrder::Little => u32::from_le_bytes(word),
            ByteOrder::Big => u32::from_be_bytes(word),
        };
        Some(self.record(read, self.types.get(at..)?)?.0)
    }

    /// Words behind the common three of a type with this `info` word; `None` if its kind is not known.
    #[inline(always)]
    fn tail_len(&self, info: &KindInfo, word: u32) -> Option<usize> {
        let (once, each) = if info.known { (info.once, info.each) } else { self.layout(word)? };
        // 24 bits times 6 bits and a little: fits in 32.
        Some((word & 0x00ff_ffff).wrapping_mul(each.into()).wrapping_add(once.into()) as usize)
    }

    /// Words of a kind we do not know, by the layout section: bytes `{u8 info_sz, u8 elem_sz, u16 flags}` for each kind.
    #[cold]
    fn layout(&self, word: u32) -> Option<(u8, u8)> {
        let raw_kind = (word >> 24) as usize & 0x7f;
        if raw_kind == 0 {
            return None;
        }
        let [once, each, _, _] = *self.layouts.get(raw_kind.saturating_mul(4)..)?.first_chunk::<4>()?;
        // Types stay aligned to words.
        (once.is_multiple_of(4) && each.is_multiple_of(4)).then_some((once / 4, each / 4))
    }

    /// Why there is no record at `at`.
    #[cold]
    fn no_record(&self, at: usize, id: u32) -> Error {
        let rest = self.types.get(at..).unwrap_or_default();
        let have = rest.len().saturating_mul(4);
        let Some(word) = self.order.u32(rest.as_flattened(), 4) else {
            return Error::Truncated { what: "a type", at: self.place(at), need: HEAD.saturating_mul(4), have };
        };
        match self.tail_len(KindInfo::of(word), word) {
            Some(words) => {
                let need = HEAD.saturating_add(words).saturating_mul(4);
                Error::Truncated { what: "a type", at: self.place(at), need, have }
            }
            None => Error::Kind { id, at: self.place(at), kind: (word >> 24) as u8 & 0x7f },
        }
    }

    /// Where word `at` of the type section stands in the file.
    fn place(&self, at: usize) -> usize {
        self.section.saturating_add(at.saturating_mul(4))
    }

    /// Follows the chain from `start` to its end.
    fn check_chain(&self, offsets: &[u32], start: u32) -> Result<(), Error> {
        let word_of = |id: u32| offsets.get(id.checked_sub(self.first_id)? as usize).map(|at| *at as usize / 4);
        let mut id = start;
        for _ in 0..=MAX_CHAIN {
            // What lies in the base has been checked there.
            let Some(at) = word_of(id) else { return Ok(()) };
            let Some(next) = self.record_at(at).and_then(|r| r.link()) else { return Ok(()) };
            id = next;
        }
        Err(Error::Chain { id: start, at: self.place(word_of(start).unwrap_or(0)), limit: MAX_CHAIN })
    }

    /// The first type with a reference that `bad` finds a fault in.
    #[cold]
    fn first_fault(&self, offsets: &[u32], bad: impl Fn(u32, usize, Ref) -> Option<Error>) -> Option<Error> {
        offsets.iter().zip(self.first_id..).find_map(|(offset, id)| {
            let at = *offset as usize / 4;
            let mut fault = None;
            self.record_at(at)?.references(|r| {
                if fault.is_none() {
                    fault = bad(id, self.place(at), r);
                }
            });
            fault
        })
    }
}

impl<R: Fn(Word) -> u32 + Copy> Record<'_, R> {
    /// Hands every type id and string offset of the type to `on`.
    #[inline(always)]
    fn references(&self, mut on: impl FnMut(Ref)) {
        on(Ref::Str(self.name));
        on(Ref::Id(self.third & self.info.refers));
        self.tail_references(on);
    }

    #[inline(always)]
    fn tail_references(&self, mut on: impl FnMut(Ref)) {
        match self.info.kind {
            Kind::Struct | Kind::Union => self.elements().for_each(|[name, ty, _]| {
                on(Ref::Str(name));
                on(Ref::Id(ty));
            }),
            Kind::Enum => self.elements().for_each(|[name, _]| on(Ref::Str(name))),
            Kind::Enum64 => self.elements().for_each(|[name, _, _]| on(Ref::Str(name))),
            Kind::FuncProto => self.elements().for_each(|[name, ty]| {
                on(Ref::Str(name));
                on(Ref::Id(ty));
            }),
            Kind::Array => self.elements().for_each(|[elem, index, _]| {
                on(Ref::Id(elem));
                on(Ref::Id(index));
            }),
            Kind::Datasec => self.elements().for_each(|[ty, _, _]| on(Ref::Id(ty))),
            _ => {}
        }
    }

    /// By the table rather than by kind: what a branch would ask, a mask answers.
    #[inline(always)]
    fn tail(&self) -> Tail {
        let info = &self.info.tail;
        let max = match self.info.each {
            2 => maxima(self.tail.as_chunks::<2>().0, self.read, u32::MAX),
            _ => maxima(self.tail.as_chunks::<3>().0, self.read, self.offset_mask()),
        };
        let [id0, id1, _] = info.ids;
        let [string0, _, _] = info.strings;
        let [first, second, third] = max;
        Tail {
            max_id: (first & id0).max(second & id1),
            max_string: first & string0,
            link: first & info.link,
            outside: u64::from(third & info.offset) > self.bits(),
        }
    }

    /// What of a member's third word is its offset in bits.
    #[inline(always)]
    fn offset_mask(&self) -> u32 {
        if self.flag { 0x00ff_ffff } else { u32::MAX }
    }

    /// Bits in a struct.
    #[inline(always)]
    fn bits(&self) -> u64 {
        u64::from(self.third).wrapping_mul(8)
    }

    /// The number and bit offset of a member that starts beyond its struct's end.
    #[cold]
    fn member_outside(&self) -> Option<(u32, u32)> {
        let (bits, mask) = (self.bits(), self.offset_mask());
        let beyond = |(_, [_, _, offset]): &(u32, [u32; 3])| u64::from(offset & mask) > bits;
        (0..).zip(self.elements()).find(beyond).map(|(n, [_, _, offset])| (n, offset & mask))
    }

    /// The next type of a chain that has to end: of a modifier, typedef or array.
    #[inline(always)]
    fn link(&self) -> Option<u32> {
        match self.info.kind {
            Kind::Array => self.elements().next().map(|[elem, _, _]| elem),
            _ => (self.info.link != 0).then_some(self.third),
        }
    }

    /// The tail in elements of `N` words.
    #[inline(always)]
    fn elements<const N: usize>(&self) -> impl Iterator<Item = [u32; N]> {
        self.tail.as_chunks::<N>().0.iter().map(|words| words.map(self.read))
    }
}

/// The largest of each word of the elements, 0 where there is none; of the third, only what `mask` leaves.
#[inline(always)]
fn maxima<const N: usize>(elements: &[[Word; N]], read: impl Fn(Word) -> u32 + Copy, mask: u32) -> [u32; 3] {
    let (mut first, mut second, mut third) = (0, 0, 0);
    for words in elements {
        let word = |n: usize| words.get(n).map_or(0, |word| read(*word));
        first = first.max(word(0));
        second = second.max(word(1));
        third = third.max(word(2) & mask);
    }
    [first, second, third]
}
