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
use crate::{Btf, ByteOrder, Error, Kind};

/// The longest chain of modifiers, typedefs and arrays; the kernel's `MAX_RESOLVE_DEPTH` (kernel/bpf/btf.c).
pub const MAX_CHAIN: usize = 32;
/// Bytes of `struct btf_type`.
const TYPE_LEN: usize = 12;

/// Checks `raw` and yields the offset of each type within the type section.
pub(crate) fn check(raw: &[u8], header: &Header, base: Option<&Btf>) -> Result<Vec<u32>, Error> {
    let strings = raw.get(header.strings.clone()).unwrap_or_default();
    check_strings(strings, header, base)?;
    let pass = Pass {
        types: raw.get(header.types.clone()).unwrap_or_default(),
        layouts: raw.get(header.layouts.clone()).unwrap_or_default(),
        section: header.types.start,
        first_id: base.map_or(1, Btf::end_id),
        order: header.order,
    };
    let first_string = base.map_or(0, Btf::end_string);
    let end_string = u32::try_from(strings.len())
        .ok()
        .and_then(|len| first_string.checked_add(len))
        .ok_or(Error::TooLarge { what: "the string section" })?;
    let mut seen = Seen::default();
    match header.order {
        ByteOrder::Little => pass.walk(u32::from_le_bytes, &mut seen)?,
        ByteOrder::Big => pass.walk(u32::from_be_bytes, &mut seen)?,
    }
    let count = u32::try_from(seen.offsets.len()).map_err(|_| Error::TooLarge { what: "the number of types" })?;
    let end_id = pass.first_id.checked_add(count).ok_or(Error::TooLarge { what: "the number of types" })?;
    if seen.max_id >= end_id || seen.max_string >= end_string.max(1) {
        return Err(pass.blame(&seen.offsets, end_id, end_string.max(1)));
    }
    pass.check_characters(&seen.offsets, strings, first_string)?;
    for &id in &seen.forward {
        pass.check_chain(&seen.offsets, id)?;
    }
    Ok(seen.offsets)
}

fn check_strings(strings: &[u8], header: &Header, base: Option<&Btf>) -> Result<(), Error> {
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
    match std::str::from_utf8(strings) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::NotUtf8 { at: at.saturating_add(e.valid_up_to()) }),
    }
}

/// What the walk needs to know.
struct Pass<'a> {
    types: &'a [u8],
    layouts: &'a [u8],
    /// Where the type section starts, for messages.
    section: usize,
    first_id: u32,
    order: ByteOrder,
}

/// What the walk keeps.
#[derive(Default)]
struct Seen {
    offsets: Vec<u32>,
    max_id: u32,
    max_string: u32,
    /// Per type, how many links of its chain point backwards, up to the first that does not.
    depth: Vec<u8>,
    /// Ids of links that point forwards.
    forward: Vec<u32>,
}

/// One type as the walk sees it.
struct Record<'a, R> {
    read: R,
    kind: Kind,
    flag: bool,
    name: u32,
    /// Size or type id.
    third: u32,
    /// The bytes behind the common 12.
    tail: &'a [u8],
}

/// A reference that a type holds.
enum Ref {
    Id(u32),
    Str(u32),
}

impl<'a> Pass<'a> {
    #[inline(always)]
    fn walk(&self, read: impl Fn([u8; 4]) -> u32 + Copy, seen: &mut Seen) -> Result<(), Error> {
        // Types of real kernels take 26 bytes on average; reserving for them avoids growing.
        seen.offsets.reserve(self.types.len() / 24);
        seen.depth.reserve(self.types.len() / 24);
        let (mut at, mut id) = (0usize, self.first_id);
        while at < self.types.len() {
            let record = self.record(read, at, id)?;
            seen.offsets.push(u32::try_from(at).map_err(|_| Error::TooLarge { what: "the type section" })?);
            record.references(|r| match r {
                Ref::Id(target) => seen.max_id = seen.max_id.max(target),
                Ref::Str(offset) => seen.max_string = seen.max_string.max(offset),
            });
            if record.kind.is_composite() {
                self.check_members(&record, at, id)?;
            }
            let depth = match record.link() {
                Some(target) if target >= id => {
                    seen.forward.push(id);
                    1
                }
                Some(target) => {
                    let before = target.checked_sub(self.first_id).and_then(|n| seen.depth.get(n as usize));
                    before.map_or(1, |d| d.saturating_add(1))
                }
                None => 0,
            };
            if usize::from(depth) > MAX_CHAIN {
                return Err(self.chain(id, at));
            }
            seen.depth.push(depth);
            at = at.saturating_add(TYPE_LEN).saturating_add(record.tail.len());
            id = id.checked_add(1).ok_or(Error::TooLarge { what: "the number of types" })?;
        }
        Ok(())
    }

    /// The type at `at`, if all of it lies within the section.
    #[inline(always)]
    fn record<R: Fn([u8; 4]) -> u32 + Copy>(&self, read: R, at: usize, id: u32) -> Result<Record<'a, R>, Error> {
        let bytes = self.types.get(at..).unwrap_or_default();
        let place = self.section.saturating_add(at);
        let truncated = |what, need| Error::Truncated { what, at: place, need, have: bytes.len() };
        let (head, rest) = bytes.split_first_chunk::<TYPE_LEN>().ok_or(truncated("a type", TYPE_LEN))?;
        let [n0, n1, n2, n3, i0, i1, i2, i3, t0, t1, t2, t3] = *head;
        let info = read([i0, i1, i2, i3]);
        let raw_kind = (info >> 24) as u8 & 0x7f;
        let unknown = Error::Kind { id, at: place, kind: raw_kind };
        let (once, each) = match Kind::sizes(raw_kind) {
            _ if raw_kind == 0 => return Err(unknown),
            Some(sizes) => sizes,
            None => self.layout(raw_kind).ok_or(unknown)?,
        };
        let len = u64::from(info & 0x00ff_ffff).saturating_mul(u64::from(each)).saturating_add(u64::from(once));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let tail = rest.get(..len).ok_or(truncated("a type", TYPE_LEN.saturating_add(len)))?;
        Ok(Record {
            read,
            kind: Kind::from_raw(raw_kind),
            flag: info >> 31 != 0,
            name: read([n0, n1, n2, n3]),
            third: read([t0, t1, t2, t3]),
            tail,
        })
    }

    /// Sizes of a kind we do not know, by the layout section: `{u8 info_sz, u8 elem_sz, u16 flags}` for each kind.
    fn layout(&self, raw_kind: u8) -> Option<(u8, u8)> {
        let at = usize::from(raw_kind).saturating_mul(4);
        let [once, each, _, _] = *self.layouts.get(at..)?.first_chunk::<4>()?;
        // Types stay aligned to words.
        (once.is_multiple_of(4) && each.is_multiple_of(4)).then_some((once, each))
    }

    #[inline(always)]
    fn check_members<R: Fn([u8; 4]) -> u32 + Copy>(&self, r: &Record<'_, R>, at: usize, id: u32) -> Result<(), Error> {
        let bits = u64::from(r.third).saturating_mul(8);
        for (member, [_, _, offset]) in r.triples().enumerate() {
            let bit = if r.flag { offset & 0x00ff_ffff } else { offset };
            if u64::from(bit) > bits {
                let at = self.section.saturating_add(at);
                return Err(Error::MemberOffset { id, at, member: member as u32, bit, size: r.third });
            }
        }
        Ok(())
    }

    fn chain(&self, id: u32, at: usize) -> Error {
        Error::Chain { id, at: self.section.saturating_add(at), limit: MAX_CHAIN }
    }

    /// Follows the chain from `start` to its end.
    fn check_chain(&self, offsets: &[u32], start: u32) -> Result<(), Error> {
        let place = |id: u32| offsets.get(id.checked_sub(self.first_id)? as usize).map(|at| *at as usize);
        let mut id = start;
        for _ in 0..=MAX_CHAIN {
            // What lies in the base has been checked there.
            let Some(at) = place(id) else { return Ok(()) };
            let order = self.order;
            let link = self.record(|raw| order.u32(&raw, 0).unwrap_or(0), at, id)?.link();
            let Some(next) = link else { return Ok(()) };
            id = next;
        }
        Err(self.chain(start, place(start).unwrap_or(0)))
    }

    /// The first type that refers to something that does not exist.
    fn blame(&self, offsets: &[u32], end_id: u32, end_string: u32) -> Error {
        let order = self.order;
        for (n, at) in offsets.iter().enumerate() {
            let (at, id) = (*at as usize, self.first_id.saturating_add(n as u32));
            let place = self.section.saturating_add(at);
            let Ok(record) = self.record(|raw| order.u32(&raw, 0).unwrap_or(0), at, id) else { continue };
            let mut fault = None;
            record.references(|r| match r {
                Ref::Id(target) if target >= end_id => {
                    let last = end_id.saturating_sub(1);
                    fault = fault.take().or(Some(Error::TypeId { id, at: place, target, last }));
                }
                Ref::Str(offset) if offset >= end_string => {
                    let new = Error::StringOffset { id, at: place, offset, end: end_string };
                    fault = fault.take().or(Some(new));
                }
                _ => {}
            });
            if let Some(fault) = fault {
                return fault;
            }
        }
        Error::TooLarge { what: "a reference" }
    }

    /// No name starts inside a character. Names are ASCII nearly always, and then there is nothing to look for.
    fn check_characters(&self, offsets: &[u32], strings: &[u8], first_string: u32) -> Result<(), Error> {
        let Ok(text) = std::str::from_utf8(strings) else { return Ok(()) };
        if text.is_ascii() {
            return Ok(());
        }
        let order = self.order;
        for (n, at) in offsets.iter().enumerate() {
            let (at, id) = (*at as usize, self.first_id.saturating_add(n as u32));
            let mut bad = None;
            self.record(|raw| order.u32(&raw, 0).unwrap_or(0), at, id)?.references(|r| {
                if let Ref::Str(offset) = r
                    && let Some(own) = offset.checked_sub(first_string)
                    && !text.is_char_boundary(own as usize)
                {
                    bad = Some(offset);
                }
            });
            if let Some(offset) = bad {
                let at = self.section.saturating_add(at);
                return Err(Error::StringOffset {
                    id,
                    at,
                    offset,
                    end: first_string.saturating_add(text.len() as u32),
                });
            }
        }
        Ok(())
    }
}

impl<R: Fn([u8; 4]) -> u32 + Copy> Record<'_, R> {
    /// Hands every type id and string offset of the type to `on`.
    #[inline(always)]
    fn references(&self, mut on: impl FnMut(Ref)) {
        on(Ref::Str(self.name));
        if self.kind.refers() {
            on(Ref::Id(self.third));
        }
        match self.kind {
            Kind::Struct | Kind::Union => self.triples().for_each(|[name, ty, _]| {
                on(Ref::Str(name));
                on(Ref::Id(ty));
            }),
            Kind::Enum => self.pairs().for_each(|[name, _]| on(Ref::Str(name))),
            Kind::Enum64 => self.triples().for_each(|[name, ..]| on(Ref::Str(name))),
            Kind::FuncProto => self.pairs().for_each(|[name, ty]| {
                on(Ref::Str(name));
                on(Ref::Id(ty));
            }),
            Kind::Array => self.triples().for_each(|[elem, index, _]| {
                on(Ref::Id(elem));
                on(Ref::Id(index));
            }),
            Kind::Datasec => self.triples().for_each(|[ty, ..]| on(Ref::Id(ty))),
            _ => {}
        }
    }

    /// The next type of a chain that has to end: of a modifier, typedef or array.
    #[inline(always)]
    fn link(&self) -> Option<u32> {
        match self.kind {
            Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => Some(self.third),
            Kind::Array => self.triples().next().map(|[elem, ..]| elem),
            _ => None,
        }
    }

    #[inline(always)]
    fn triples(&self) -> impl Iterator<Item = [u32; 3]> {
        let read = self.read;
        self.tail.as_chunks::<12>().0.iter().map(move |c| {
            let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] = *c;
            [read([a0, a1, a2, a3]), read([b0, b1, b2, b3]), read([c0, c1, c2, c3])]
        })
    }

    #[inline(always)]
    fn pairs(&self) -> impl Iterator<Item = [u32; 2]> {
        let read = self.read;
        self.tail.as_chunks::<8>().0.iter().map(move |c| {
            let [a0, a1, a2, a3, b0, b1, b2, b3] = *c;
            [read([a0, a1, a2, a3]), read([b0, b1, b2, b3])]
        })
    }
}
