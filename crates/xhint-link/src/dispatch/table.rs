//! Where dispatch by tail calls looks an id up: the agreement between the linked object and whoever adds layouts to it while
//! it runs.
//!
//! The object has, for each program that is dispatched, a map `xhint_slots_PROGRAM` of type PROG_ARRAY, and for all of
//! them one variable [`IDS`] in the data section [`IDS_SECTION`] (an array map of one element, as loaders make of data
//! sections). A layout has one slot, the same in the map of each program.
//!
//! [`IDS`] is [`BUCKETS`] buckets of [`BUCKET_WORDS`] words of 64 bits in the byte order of the machine. A word says which slot
//! a layout has:
//!
//! ```text
//! bits 63–32  the layout's id        bits 31–24  its length in words of 4 bytes        bits 23–0  its slot
//! ```
//! It stands in one of the two buckets that the id hashes to: for each of [`MULTIPLIERS`] the upper [`BUCKET_BITS`] of
//! `(id * multiplier) mod 2^32`. Whoever adds a layout puts it where more words are free, so that 4,096 layouts find room,
//! as many as there are slots. A word of 0 is free. The entry reads all words of both buckets, the first bucket first, so
//! order means nothing and holes do no harm.
//!
//! To add a layout: load its program, write its slot in each program array, then write its word, at once as 64 bits.
//! To take one away: empty its slots, then clear the word. An empty slot sends its packets to the fallback. To replace
//! one: write the new program into the slot.
//!
//! The entry goes to the slots of the layouts it was linked with without reading the table; the table has them for
//! whoever adds and removes. Such a slot must never be given to a layout of another id or length.

use serde::Serialize;
use xhint_btf::ByteOrder;

use crate::name::c_name;

/// The data section that holds the ids.
pub const IDS_SECTION: &str = ".data.xhint";
/// The variable in it.
pub const IDS: &str = "xhint_ids";
/// What the name of a program's array of slots begins with; the program's name follows.
pub const SLOTS: &str = "xhint_slots_";
/// Slots of an array.
pub const SLOT_COUNT: u32 = 4096;
/// Bits of a bucket's number.
pub const BUCKET_BITS: u32 = 10;
/// How far the product of an id is shifted down to be a bucket's number.
pub const BUCKET_SHIFT: u32 = 32 - BUCKET_BITS;
/// Buckets of the table.
pub const BUCKETS: usize = 1 << BUCKET_BITS;
/// Words of a bucket.
pub const BUCKET_WORDS: usize = 8;
/// Bytes of the table.
pub const TABLE_SIZE: usize = BUCKETS * BUCKET_WORDS * 8;
/// Bits of a slot's number in a word.
pub const SLOT_BITS: u32 = 24;
/// What an id is multiplied by, for its first bucket and its second: 2^32 divided by the golden ratio (Knuth's
/// multiplicative hashing), and the last constant of MurmurHash3's 32-bit finalizer.
pub const MULTIPLIERS: [u32; 2] = [0x9e37_79b1, 0xc2b2_ae35];

/// A layout's place in each program array, and among counts: below [`SLOT_COUNT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Slot(u16);

impl Slot {
    /// The slot of this number, if there is one.
    #[must_use]
    pub fn new(number: u32) -> Option<Slot> {
        u16::try_from(number).ok().filter(|number| u32::from(*number) < SLOT_COUNT).map(Slot)
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..SLOT_COUNT).map_while(Slot::new)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0.into()
    }

    /// As many slots as it takes to have this one.
    pub(crate) fn up_to(self) -> impl Iterator<Item = Slot> {
        (0..=self.0).map(Slot)
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of the slots of `program`; where that is no C name, or very long, with a hash in place of what goes.
pub fn slots_name(program: &str) -> String {
    c_name(SLOTS, program)
}

/// The buckets of an id.
pub fn buckets(id: u32) -> [usize; 2] {
    MULTIPLIERS.map(|multiplier| (id.wrapping_mul(multiplier) >> BUCKET_SHIFT) as usize)
}

/// The word of a layout with this id, of `size` bytes, in slot 0: what its packets are compared with.
pub fn key(id: u32, size: u32) -> u64 {
    u64::from(id) << 32 | u64::from(length_key(size))
}

/// The lower half of that.
pub fn length_key(size: u32) -> u32 {
    ((size / 4) & 0xff) << SLOT_BITS
}

/// The table, as it stands in the data section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    words: Vec<u64>,
}

impl Default for Table {
    fn default() -> Table {
        Table { words: vec![0; BUCKETS * BUCKET_WORDS] }
    }
}

impl Table {
    /// The table in the bytes of a data section, by the machine's order. `None` if they are too few.
    pub fn from_ne_bytes(bytes: &[u8]) -> Option<Table> {
        let own = bytes.get(..TABLE_SIZE)?;
        Some(Table { words: own.as_chunks().0.iter().map(|w| u64::from_ne_bytes(*w)).collect() })
    }

    /// Its bytes in a data section.
    pub(crate) fn bytes(&self, order: ByteOrder) -> Vec<u8> {
        let word = |w: &u64| if order == ByteOrder::Little { w.to_le_bytes() } else { w.to_be_bytes() };
        self.words.iter().flat_map(word).collect()
    }

    /// Its words in order.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Ids and lengths of all layouts in it.
    pub fn layouts(&self) -> impl Iterator<Item = (u32, u32)> {
        let taken = self.words.iter().filter(|word| **word != 0);
        taken.map(|word| ((word >> 32) as u32, ((word >> SLOT_BITS) as u32 & 0xff) << 2))
    }

    /// Where in the table (a word's index) the layout with this id and size stands, and its slot.
    pub fn find(&self, id: u32, size: u32) -> Option<(usize, Slot)> {
        let slot = |word: u64| u32::try_from(word ^ key(id, size)).ok().and_then(Slot::new);
        let mut all = buckets(id).into_iter().flat_map(words_of);
        all.find_map(|index| Some((index, slot(*self.words.get(index)?)?)))
    }

    /// Puts a layout into `slot` and tells the index of its word. A layout that is there moves to the new slot. `None`
    /// if both its buckets are full: such a layout needs another id.
    pub fn put(&mut self, id: u32, size: u32, slot: Slot) -> Option<usize> {
        let index = self.find(id, size).map(|found| found.0).or_else(|| self.free(id))?;
        *self.words.get_mut(index)? = key(id, size) | u64::from(slot.0);
        Some(index)
    }

    /// Takes a layout out and tells the index of its word.
    pub fn remove(&mut self, id: u32, size: u32) -> Option<usize> {
        let (index, _) = self.find(id, size)?;
        *self.words.get_mut(index)? = 0;
        Some(index)
    }

    /// A free word for this id, in the emptier of its buckets; in the first, if they are equally full.
    fn free(&self, id: u32) -> Option<usize> {
        let free = |bucket| words_of(bucket).filter(|n| self.words.get(*n) == Some(&0));
        let [first, second] = buckets(id).map(free);
        let (mut emptier, other) = (first.clone(), second.clone());
        if other.count() > first.count() {
            emptier = second;
        }
        emptier.next()
    }
}

/// The indices of the words of a bucket.
fn words_of(bucket: usize) -> impl Iterator<Item = usize> + Clone {
    (bucket << BUCKET_WORDS.trailing_zeros()..).take(BUCKET_WORDS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn slot(number: u32) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn a_layout_is_found_where_it_was_put_until_it_is_removed() {
        let mut table = Table::default();
        let index = table.put(0x11, 16, slot(3)).unwrap();
        assert_eq!(table.words()[index], 0x11_0400_0003);
        assert_eq!(index / BUCKET_WORDS, buckets(0x11)[0]);
        assert_eq!(table.find(0x11, 16), Some((index, slot(3))));
        assert_eq!(table.find(0x11, 20), None);
        assert_eq!(table.layouts().collect::<Vec<_>>(), [(0x11, 16)]);
        assert_eq!(table.put(0x11, 16, slot(5)), Some(index));
        assert_eq!(table.find(0x11, 16), Some((index, slot(5))));
        let bytes: Vec<u8> = table.words().iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert_eq!(Table::from_ne_bytes(&bytes).unwrap(), table);
        assert_eq!(table.remove(0x11, 16), Some(index));
        assert_eq!(table, Table::default());
    }

    /// Ids as they are derived, which look like random numbers, and as people number things.
    fn ids() -> impl Iterator<Item = (String, Vec<u32>)> {
        let derived = |seed: u32| {
            let mix = |id: u32| (id ^ id >> 16).wrapping_mul(0x7feb_352d) ^ seed.wrapping_mul(0x846c_a68b);
            let ids = (0..SLOT_COUNT).map(move |n| mix(mix(n ^ seed << 12) ^ n << 7)).collect();
            (format!("derived {seed}"), ids)
        };
        let apart = |step: u32| (format!("{step:#x} apart"), (1..=SLOT_COUNT).map(|n| n.wrapping_mul(step)).collect());
        let steps = (0..=20).map(|n| 1 << n).chain([3, 10, 100, 1000, 0x101, 0x0101_0101, 0x1001, 0xffff]);
        (0..200).map(derived).chain(steps.map(apart))
    }

    #[test]
    fn as_many_layouts_fit_as_there_are_slots() {
        for (what, ids) in ids() {
            let mut table = Table::default();
            for (slot, id) in Slot::all().zip(&ids) {
                assert!(table.put(*id, 64, slot).is_some(), "{what}: {slot} fit");
            }
            // Of two with one id the later has it.
            let last: HashMap<u32, Slot> = ids.iter().copied().zip(Slot::all()).collect();
            for (id, slot) in last {
                assert_eq!(table.find(id, 64).map(|found| found.1), Some(slot), "{what}");
            }
        }
    }

    #[test]
    fn full_buckets_say_so() {
        let mut table = Table::default();
        let same: Vec<u32> = (1..).filter(|id| buckets(*id) == buckets(7)).take(17).collect();
        let put: Vec<bool> = same.iter().map(|id| table.put(*id, 8, slot(0)).is_some()).collect();
        assert_eq!(put, [[true; 16].as_slice(), &[false]].concat());
        // Room that is made is found.
        table.remove(same[3], 8).unwrap();
        assert!(table.put(same[16], 8, slot(1)).is_some());
        assert_eq!(table.find(same[16], 8).unwrap().1, slot(1));
    }
}
