//! The walk of the checking pass over the type section: where each type starts, and the largest type id and string
//! offset there are. On the kernel's BTF it is what parsing takes its time for, so it is made for the processor:
//!
//! - Where a type starts is known only when the length of the one before is. That most types are bare, three words
//!   and no more, is a branch: the processor guesses it and goes on, and waits for nothing.
//! - Kinds are asked for one set after the other, by bits in a register. A `match` would be a jump through a table,
//!   which is guessed badly.
//! - Tails are a handful of words: slice patterns take them apart, which the compiler leaves scalar. A prototype, and
//!   every fourth type is one, is read as four parameters, whether it has as many or not, so that there is no loop to
//!   guess the end of.
//! - The loop calls nothing, so all it needs is in registers. It fills a block of fixed size, and leaves the block to
//!   [`Pass::odd_one`] at a type that is rare: of a kind that only the layout section knows, say.

use crate::check::{HEAD, MAX_CHAIN, Pass, Word};
use crate::kind::{KindInfo, Role, Shape};
use crate::{Error, Kind};

/// What the walk keeps.
#[derive(Default)]
pub(crate) struct Seen {
    /// Where each type starts, in bytes.
    pub(crate) offsets: Vec<u32>,
    pub(crate) largest: Largest,
    /// Links whose chain is not seen to end.
    pub(crate) open: Vec<Link>,
}

/// The largest reference of either sort.
#[derive(Default, Clone, Copy)]
pub(crate) struct Largest {
    pub(crate) id: u32,
    pub(crate) string: u32,
    /// Some member starts beyond its struct's end.
    pub(crate) outside: bool,
}

/// Types in a block.
const BLOCK: usize = 256;

/// A modifier, typedef or array.
#[derive(Default, Clone, Copy)]
pub(crate) struct Link {
    /// Where it starts, in words.
    pub(crate) start: u32,
    /// The id of what it is one of.
    pub(crate) target: u32,
}

/// The links in a block.
struct Links {
    len: usize,
    links: [Link; BLOCK],
}

/// Kinds below 32, a bit for each.
struct Kinds(u32);

/// Nothing stands behind the three words of `struct btf_type`.
const BARE: Kinds =
    Kinds(LINKS.0 | 1 << Kind::Ptr as u32 | 1 << Kind::Fwd as u32 | 1 << Kind::Func as u32 | 1 << Kind::Float as u32);
/// The third word is the next link of a chain that has to end.
const LINKS: Kinds = Kinds(
    1 << Kind::Typedef as u32
        | 1 << Kind::Volatile as u32
        | 1 << Kind::Const as u32
        | 1 << Kind::Restrict as u32
        | 1 << Kind::TypeTag as u32,
);
/// The third word is a type id.
const REFERS: Kinds = Kinds(
    LINKS.0
        | PARAMS.0
        | 1 << Kind::Ptr as u32
        | 1 << Kind::Func as u32
        | 1 << Kind::Var as u32
        | 1 << Kind::DeclTag as u32,
);
const PARAMS: Kinds = Kinds(1 << Kind::FuncProto as u32);
const MEMBERS: Kinds = Kinds(1 << Kind::Struct as u32 | 1 << Kind::Union as u32);
const NAMES: Kinds = Kinds(1 << Kind::Enum as u32);
const ARRAY: Kinds = Kinds(1 << Kind::Array as u32);
/// One word follows, which is no reference.
const NUMBER: Kinds = Kinds(1 << Kind::Int as u32 | 1 << Kind::Var as u32 | 1 << Kind::DeclTag as u32);

impl<'a> Pass<'a> {
    /// Walks over all types. The error is that of the first type that is not whole, or of a size that is not known.
    #[inline(always)]
    pub(crate) fn walk(&self, read: impl Fn(Word) -> u32 + Copy) -> Result<Seen, Error> {
        // No type takes fewer than three words. Pages that are never written to cost nothing.
        let most = (self.types.len() / HEAD).saturating_add(BLOCK);
        let mut seen = Seen { offsets: Vec::with_capacity(most), ..Seen::default() };
        let mut links = Links { len: 0, links: [Link::default(); BLOCK] };
        let mut left = self.types;
        while !left.is_empty() {
            let first = seen.offsets.len();
            seen.offsets.resize(first.saturating_add(BLOCK), 0);
            let offsets = seen.offsets.get_mut(first..).unwrap_or_default();
            let (count, next) = self.block(read, left, offsets, &mut seen.largest, &mut links);
            seen.offsets.truncate(first.saturating_add(count));
            for link in links.links.iter().take(links.len) {
                if !self.ends(read, &seen.offsets, link.target) {
                    seen.open.push(*link);
                }
            }
            left = if count < BLOCK { self.odd_one(next, &mut seen)? } else { next };
        }
        Ok(seen)
    }

    /// Takes types from `left` on until `offsets` is full or one is rare or not whole; yields how many, and what
    /// follows them.
    #[inline(never)]
    fn block(
        &self,
        read: impl Fn(Word) -> u32 + Copy,
        mut left: &'a [Word],
        offsets: &mut [u32],
        sum: &mut Largest,
        links: &mut Links,
    ) -> (usize, &'a [Word]) {
        let (mut largest, mut count) = (*sum, 0usize);
        links.len = 0;
        for offset in offsets {
            let [name, word, third, rest @ ..] = left else { break };
            let (word, third) = (read(*word), read(*third));
            let kind = word >> 24 & 0x7f;
            if kind > 31 {
                break;
            }
            // The header's lengths are 32 bits wide, so every start is.
            let start = self.types.len().wrapping_sub(left.len()) as u32;
            *offset = start.wrapping_mul(4);
            largest.string(read(*name));
            largest.id(if REFERS.has(kind) { third } else { 0 });
            let vlen = (word & 0x00ff_ffff) as usize;
            left = if BARE.has(kind) {
                if LINKS.has(kind) {
                    links.push(start, third);
                }
                rest
            } else if PARAMS.has(kind) {
                let Some((tail, next)) = rest.split_at_checked(vlen.wrapping_mul(2)) else { break };
                match rest.first_chunk() {
                    Some(window) if vlen <= 4 => largest.few_params(read, window, vlen),
                    _ => largest.params(read, tail),
                }
                next
            } else if MEMBERS.has(kind) {
                let Some((tail, next)) = rest.split_at_checked(vlen.wrapping_mul(3)) else { break };
                // Bitfields keep their width above the offset.
                largest.members(read, tail, if word >> 31 != 0 { 0x00ff_ffff } else { u32::MAX }, third);
                next
            } else if NAMES.has(kind) {
                let Some((tail, next)) = rest.split_at_checked(vlen.wrapping_mul(2)) else { break };
                largest.names(read, tail);
                next
            } else if ARRAY.has(kind) {
                let [elem, index, _, next @ ..] = rest else { break };
                largest.id(read(*elem));
                largest.id(read(*index));
                links.push(start, read(*elem));
                next
            } else if NUMBER.has(kind) {
                let [_, next @ ..] = rest else { break };
                next
            } else {
                break;
            };
            count = count.wrapping_add(1);
        }
        *sum = largest;
        (count, left)
    }

    /// Whether a link to `target` begins a chain that ends soon, as far as these types tell.
    #[inline(always)]
    pub(crate) fn ends(&self, read: impl Fn(Word) -> u32, offsets: &[u32], mut target: u32) -> bool {
        for _ in 0..MAX_CHAIN {
            // What lies in the base has been checked there.
            let Some(own) = target.checked_sub(self.first_id) else { return true };
            let Some(at) = offsets.get(own as usize) else { return false };
            let Some([_, word, third, tail @ ..]) = self.types.get(*at as usize / 4..) else { return false };
            target = match KindInfo::of(read(*word)).shape {
                Shape::Link => read(*third),
                Shape::Array => tail.first().map_or(0, |elem| read(*elem)),
                _ => return true,
            };
        }
        false
    }

    /// Takes the type at the start of `left`, of whatever kind.
    #[cold]
    fn odd_one(&self, left: &'a [Word], seen: &mut Seen) -> Result<&'a [Word], Error> {
        if left.is_empty() {
            return Ok(left);
        }
        let at = self.types.len().saturating_sub(left.len());
        let Some(record) = self.record_at(at) else {
            return Err(self.no_record(at, self.first_id.wrapping_add(seen.offsets.len() as u32)));
        };
        seen.offsets.push((at as u32).wrapping_mul(4));
        for (value, role) in self.words(&record) {
            match role {
                Role::Id => seen.largest.id(value),
                Role::Str => seen.largest.string(value),
                Role::Plain => {}
            }
        }
        Ok(left.get(HEAD.saturating_add(record.tail.len())..).unwrap_or_default())
    }
}

impl Largest {
    #[inline(always)]
    fn id(&mut self, id: u32) {
        self.id = self.id.max(id);
    }

    #[inline(always)]
    fn string(&mut self, offset: u32) {
        self.string = self.string.max(offset);
    }

    /// The first `count` of four parameters.
    #[inline(always)]
    fn few_params(&mut self, read: impl Fn(Word) -> u32, window: &[Word; 8], count: usize) {
        for (n, [name, ty]) in window.as_chunks::<2>().0.iter().enumerate() {
            let mask = if n < count { u32::MAX } else { 0 };
            self.string(read(*name) & mask);
            self.id(read(*ty) & mask);
        }
    }

    #[inline(always)]
    fn params(&mut self, read: impl Fn(Word) -> u32, mut tail: &[Word]) {
        while let [name, ty, rest @ ..] = tail {
            self.string(read(*name));
            self.id(read(*ty));
            tail = rest;
        }
    }

    /// The members of a struct of `size` bytes; `mask` leaves the offset of what stands in the offset's word.
    #[inline(always)]
    fn members(&mut self, read: impl Fn(Word) -> u32, mut tail: &[Word], mask: u32, size: u32) {
        let mut farthest = 0;
        while let [name, ty, offset, rest @ ..] = tail {
            self.string(read(*name));
            self.id(read(*ty));
            farthest = farthest.max(read(*offset) & mask);
            tail = rest;
        }
        self.outside |= u64::from(farthest) > u64::from(size).wrapping_mul(8);
    }

    #[inline(always)]
    fn names(&mut self, read: impl Fn(Word) -> u32, mut tail: &[Word]) {
        while let [name, _, rest @ ..] = tail {
            self.string(read(*name));
            tail = rest;
        }
    }
}

impl Links {
    #[inline(always)]
    fn push(&mut self, start: u32, target: u32) {
        if let Some(slot) = self.links.get_mut(self.len) {
            *slot = Link { start, target };
            self.len = self.len.wrapping_add(1);
        }
    }
}

impl Kinds {
    /// For a kind below 32.
    #[inline(always)]
    fn has(&self, kind: u32) -> bool {
        self.0 & 1u32.wrapping_shl(kind) != 0
    }
}
