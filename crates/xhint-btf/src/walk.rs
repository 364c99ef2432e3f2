//! The walk of the checking pass over the type section: where each type starts, and the largest type id and string
//! offset there are. On the kernel's BTF it is what parsing takes its time for, so it is made for the processor:
//!
//! - Where a type starts is known only when the length of the one before is. That most types are bare, three words
//!   and no more, is a branch: the processor guesses it and goes on, and waits for nothing.
//! - Five types in six are bare or prototypes, and are asked for first. A `match` for all kinds would be a jump through
//!   a table each time, which is guessed badly.
//! - A prototype, and every fourth type is one, is read as four parameters, whether it has as many or not, so that there
//!   is no loop to guess the end of. The largest are kept by place in [`Largest::params`], and four words are compared
//!   at once.
//! - What happens to few types is noted in a list, in which the next place moves on only if it does: that is no branch.
//! - The loop calls nothing, so all it needs is in registers. It fills a block of fixed size, and leaves the block to
//!   [`Pass::odd_one`] at a type that is rare: of a kind that only the layout section knows, say.
//!
//! Chains are followed behind the walk, all of them together, a link each at a time.

use crate::kind::{KindInfo, Kinds, Role};
use crate::number::index;
use crate::pass::{HEAD, MAX_CHAIN, Pass, Word};
use crate::references::Names;
use crate::{Error, Kind};

/// What the walk keeps.
#[derive(Default)]
pub(crate) struct Seen {
    /// Where each type starts, in bytes, and the marks of its kind.
    pub(crate) offsets: Vec<u32>,
    /// In order.
    pub(crate) links: Vec<Link>,
    /// The largest type id and string offset.
    pub(crate) id: i64,
    pub(crate) string: i64,
    /// Some member starts beyond its struct's end.
    pub(crate) outside: bool,
    /// What is asked of names ([`Names`]) is so of all.
    pub(crate) named: bool,
}

/// The largest reference of either sort. All fit in 32 bits, but to choose the larger by a comparison with sign takes the
/// processor one step, and two without.
#[derive(Clone, Copy)]
struct Largest<N> {
    id: i64,
    string: i64,
    outside: bool,
    /// Name, type, name, type: of the first four parameters of prototypes. Added to the others at the end.
    params: [u32; 4],
    named: bool,
    names: N,
}

/// A modifier, typedef or array, or what became of it by following.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    /// How many types stand before it.
    pub(crate) number: u32,
    /// The id of what it is one of; while that is looked up, where it starts, in words.
    target: u32,
}

/// Types in a block.
const BLOCK: usize = 256;

/// Some types in a row.
struct Block {
    len: usize,
    /// Where each starts, in words that are left to the end, and the marks of its kind in the two bits above those.
    starts: [u32; BLOCK],
    links: usize,
    /// Which of them are links.
    places: [u8; BLOCK],
    /// Their names, if something is asked of those.
    names: [Word; BLOCK],
}

/// Bits of a word count.
const MOST_WORDS: u32 = (1 << 30) - 1;
/// Bits of an `info` word that are the number of elements.
const VLEN: u32 = 0x00ff_ffff;

/// What is noted of types that are no links; those of the base have been followed there.
const NO_LINK: u32 = 0;

/// How many there are: of words and types no more than 30 bits count, as the header counts bytes in 32.
#[inline(always)]
fn len<T>(of: &[T]) -> u32 {
    of.len() as u32
}

/// Its size or type is the next link of a chain that has to end, and nothing stands behind it.
const LINKS: Kinds = Kinds::of([Kind::Typedef, Kind::Volatile, Kind::Const, Kind::Restrict, Kind::TypeTag]);
/// Its size or type is a type id, and nothing stands behind it.
const BARE: Kinds = LINKS.and(Kinds::of([Kind::Ptr, Kind::Func]));
const PROTO: u32 = Kind::FuncProto.number();
const STRUCT: u32 = Kind::Struct.number();
const UNION: u32 = Kind::Union.number();
const ENUM: u32 = Kind::Enum.number();
const ARRAY: u32 = Kind::Array.number();
const VAR: u32 = Kind::Var.number();
const DECL_TAG: u32 = Kind::DeclTag.number();

/// Parameters that are looked at together.
const WINDOW: usize = 4;
/// By number of parameters: which words of a window are theirs.
static MASKS: [[u32; WINDOW * 2]; WINDOW + 1] = {
    const ALL: u32 = u32::MAX;
    [
        [0; WINDOW * 2],
        [ALL, ALL, 0, 0, 0, 0, 0, 0],
        [ALL, ALL, ALL, ALL, 0, 0, 0, 0],
        [ALL, ALL, ALL, ALL, ALL, ALL, 0, 0],
        [ALL; WINDOW * 2],
    ]
};

impl<'a> Pass<'a> {
    /// Walks over all types. The error is that of the first type that is not whole, or of a size that is not known.
    #[inline(always)]
    pub(crate) fn walk<N: Names>(&self, read: impl Fn(Word) -> u32 + Copy, names: N) -> Result<Seen, Error> {
        // No type takes fewer than three words. Pages that are never written to cost nothing.
        let most = (self.types.len() / HEAD).wrapping_add(BLOCK);
        let mut seen = Seen { offsets: Vec::with_capacity(most), ..Seen::default() };
        let mut largest = Largest { id: 0, string: 0, outside: false, params: [0; 4], named: true, names };
        let mut block = Block { len: 0, starts: [0; BLOCK], links: 0, places: [0; BLOCK], names: [[0; 4]; BLOCK] };
        let mut left = self.types;
        while !left.is_empty() {
            left = self.block(read, left, &mut block, &mut largest);
            self.links(read, &mut block, &mut seen);
            let names = block.names.iter().take(block.len);
            largest.named &= largest.names.all(read, names);
            let total = len(self.types);
            // Words become bytes, which shifts the marks out, and they come back below.
            let offset = |start: &u32| total.wrapping_sub(*start) << 2 | *start >> 30;
            seen.offsets.extend(block.starts.iter().take(block.len).map(offset));
            if block.len < BLOCK {
                left = self.odd_one(left, &mut seen.offsets, &mut largest)?;
            }
        }
        let [name, ty, other_name, other_ty] = largest.params;
        largest.id(ty.max(other_ty));
        let string = largest.string.max(name.max(other_name).into());
        Ok(Seen { id: largest.id, string, outside: largest.outside, named: largest.named, ..seen })
    }

    /// Takes types from `left` on until `block` is full or one is rare or not whole; yields what follows them.
    #[inline(never)]
    fn block<N: Names>(
        &self,
        read: impl Fn(Word) -> u32 + Copy,
        mut left: &'a [Word],
        block: &mut Block,
        sum: &mut Largest<N>,
    ) -> &'a [Word] {
        let (mut largest, mut count, mut links) = (*sum, 0usize, 0usize);
        for (start, own_name) in block.starts.iter_mut().zip(&mut block.names) {
            let [name, word, size_or_type, rest @ ..] = left else { break };
            let word = read(*word);
            let kind = word >> 24 & 0x7f;
            if kind > 31 {
                break;
            }
            *start = len(left);
            if let Some(place) = block.places.get_mut(links % BLOCK) {
                // Below the length of a block.
                *place = count as u8;
            }
            if N::ASKED {
                *own_name = *name;
            } else {
                largest.string(read(*name));
            }
            if BARE.may_have(kind) {
                largest.id(read(*size_or_type));
                links = links.wrapping_add(LINKS.may_have(kind).into());
                left = rest;
            } else if kind == PROTO {
                largest.id(read(*size_or_type));
                let Some(next) = largest.params(read, word & VLEN, rest) else { break };
                left = next;
            } else {
                let Some(next) = largest.other(read, word, read(*size_or_type), rest) else { break };
                *start |= KindInfo::of(word).marks << 30;
                links = links.wrapping_add((kind == ARRAY).into());
                left = next;
            }
            count = count.wrapping_add(1);
        }
        *sum = largest;
        (block.len, block.links) = (count, links);
        left
    }

    /// Marks the links of a block, and keeps them.
    #[inline(never)]
    fn links(&self, read: impl Fn(Word) -> u32 + Copy, block: &mut Block, seen: &mut Seen) {
        let before = len(&seen.offsets);
        for place in block.places.iter().take(block.links) {
            let Some(start) = block.starts.get_mut(usize::from(*place)) else { continue };
            let at = self.types.len().wrapping_sub(index(*start & MOST_WORDS));
            let Some([_, word, ..]) = self.types.get(at..) else { continue };
            *start |= KindInfo::of(read(*word)).marks << 30;
            seen.links.push(Link { number: before.wrapping_add((*place).into()), target: self.target(read, at) });
        }
    }

    /// Follows all chains together, a link each at a time. `links` keeps those that do not end soon.
    #[inline(never)]
    pub(crate) fn follow(&self, read: impl Fn(Word) -> u32 + Copy, seen: &mut Seen) {
        let Seen { offsets, links, .. } = seen;
        for _ in 0..MAX_CHAIN {
            let mut kept = 0usize;
            for n in 0..links.len() {
                let Some(Link { number, target }) = links.get(n).copied() else { break };
                // All ids exist by now, and what lies in the base has been checked there.
                let own = target.wrapping_sub(self.first_id);
                let offset = offsets.get(index(own)).unwrap_or(&NO_LINK);
                if let Some(link) = links.get_mut(kept) {
                    *link = Link { number, target: offset / 4 };
                }
                kept = kept.wrapping_add(index(offset & KindInfo::LINK));
            }
            links.truncate(kept);
            // Few lead to another link, and only those types are looked at.
            for link in links.iter_mut() {
                link.target = self.target(read, index(link.target));
            }
        }
    }

    /// What the link at word `at` is one of; something or other for a type that is no link.
    #[inline(always)]
    fn target(&self, read: impl Fn(Word) -> u32, at: usize) -> u32 {
        let Some([_, word, size_or_type, tail @ ..]) = self.types.get(at..) else { return 0 };
        match tail {
            [elem, ..] if read(*word) >> 24 & 0x7f == ARRAY => read(*elem),
            _ => read(*size_or_type),
        }
    }

    /// Takes the type at the start of `left`, of whatever kind.
    #[cold]
    fn odd_one<N: Names>(
        &self,
        left: &'a [Word],
        offsets: &mut Vec<u32>,
        largest: &mut Largest<N>,
    ) -> Result<&'a [Word], Error> {
        if left.is_empty() {
            return Ok(left);
        }
        let at = self.types.len().wrapping_sub(left.len());
        let Some(record) = self.record_at(at) else {
            return Err(self.no_record(at, self.first_id.wrapping_add(len(offsets))));
        };
        offsets.push(len(self.types).wrapping_sub(len(left)) << 2 | record.info.marks);
        // The block took it, or it is cut short.
        debug_assert!(record.info.marks & KindInfo::LINK == 0, "a link is not rare");
        for (value, role) in self.words(&record) {
            match role {
                Role::Id => largest.id(value),
                Role::Str => {
                    largest.string(value);
                    largest.named &= largest.names.fault(value) == 0;
                }
                Role::Plain => {}
            }
        }
        Ok(record.next)
    }
}

impl<N: Names> Largest<N> {
    #[inline(always)]
    fn id(&mut self, id: u32) {
        self.id = self.id.max(id.into());
    }

    #[inline(always)]
    fn string(&mut self, offset: u32) {
        self.string = self.string.max(offset.into());
    }

    /// The parameters of a prototype; yields what follows it, if it and a whole window are there.
    #[inline(always)]
    fn params<'a>(&mut self, read: impl Fn(Word) -> u32 + Copy, count: u32, rest: &'a [Word]) -> Option<&'a [Word]> {
        let count = index(count);
        let window = rest.first_chunk::<{ WINDOW * 2 }>()?;
        let (tail, next) = rest.split_at_checked(count.wrapping_mul(2))?;
        let (front, back) = (window.first_chunk::<4>()?, window.last_chunk::<4>()?);
        let mask = MASKS.get(count.min(WINDOW))?;
        let masks = (mask.first_chunk::<4>()?, mask.last_chunk::<4>()?);
        let both = front.iter().zip(masks.0).zip(back.iter().zip(masks.1));
        for (largest, ((front, front_mask), (back, back_mask))) in self.params.iter_mut().zip(both) {
            *largest = (*largest).max(read(*front) & front_mask).max(read(*back) & back_mask);
        }
        self.named &= self.names.all(read, tail.iter().step_by(2));
        if count > WINDOW {
            let mut tail = tail.get(WINDOW * 2..)?;
            while let [name, ty, rest @ ..] = tail {
                self.string(read(*name));
                self.id(read(*ty));
                tail = rest;
            }
        }
        Some(next)
    }

    /// A type of a kind that is neither frequent nor rare, whose size or type is `size_or_type` and behind which `rest` follows;
    /// yields what follows it.
    #[inline(always)]
    fn other<'a>(
        &mut self,
        read: impl Fn(Word) -> u32 + Copy,
        word: u32,
        size_or_type: u32,
        rest: &'a [Word],
    ) -> Option<&'a [Word]> {
        let vlen = index(word & VLEN);
        match word >> 24 & 0x7f {
            STRUCT | UNION => {
                let (tail, next) = rest.split_at_checked(vlen.wrapping_mul(3))?;
                // Bitfields keep their width above the offset.
                self.members(read, tail, if word >> 31 != 0 { 0x00ff_ffff } else { u32::MAX }, size_or_type);
                Some(next)
            }
            ENUM => {
                let (tail, next) = rest.split_at_checked(vlen.wrapping_mul(2))?;
                self.enumerators(read, tail);
                Some(next)
            }
            ARRAY => {
                let [elem, index, _, next @ ..] = rest else { return None };
                self.id(read(*elem));
                self.id(read(*index));
                Some(next)
            }
            VAR | DECL_TAG => {
                self.id(size_or_type);
                rest.get(1..)
            }
            _ => None,
        }
    }

    /// The members of a struct of `size` bytes; `mask` leaves the offset of what stands in the offset's word.
    #[inline(always)]
    fn members(&mut self, read: impl Fn(Word) -> u32 + Copy, mut tail: &[Word], mask: u32, size: u32) {
        let (mut farthest, mut fault) = (0i64, 0);
        while let [name, ty, offset, rest @ ..] = tail {
            if N::ASKED {
                fault |= self.names.fault(read(*name));
            } else {
                self.string(read(*name));
            }
            self.id(read(*ty));
            farthest = farthest.max((read(*offset) & mask).into());
            tail = rest;
        }
        self.named &= fault == 0;
        self.outside |= farthest > i64::from(size).wrapping_mul(8);
    }

    #[inline(always)]
    fn enumerators(&mut self, read: impl Fn(Word) -> u32 + Copy, mut tail: &[Word]) {
        self.named &= self.names.all(read, tail.iter().step_by(2));
        if N::ASKED {
            return;
        }
        while let [name, _, rest @ ..] = tail {
            self.string(read(*name));
            tail = rest;
        }
    }
}
