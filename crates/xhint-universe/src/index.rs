//! Types by essential name.
//!
//! An object asks for a handful of names; a kernel has 130,000 types. So nothing is indexed beforehand: all names an
//! object asks for are looked for in one pass over the kinds that can answer, and what was found is kept for the next
//! object. A filter on the first bytes of a name lets nearly every type pass by without its name being read.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use xhint_btf::{Btf, Kind};

use crate::name::essential;

/// A type that answers to an essential name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its id in the BTF it was found in.
    pub id: u32,
    /// Its kind.
    pub kind: Kind,
}

/// Types of one BTF (its own, not its base's) by essential name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    known: RwLock<HashMap<String, Arc<[Candidate]>>>,
}

impl Index {
    /// Looks for those of `names` that were not looked for before.
    pub(crate) fn require<'n>(&self, btf: &Btf, names: impl IntoIterator<Item = &'n str>) {
        let missing: Vec<&str> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            names.into_iter().filter(|name| !known.contains_key(*name)).collect()
        };
        if missing.is_empty() {
            return;
        }
        let found = scan(btf, &missing);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(found.into_iter().map(|(name, list)| (name.to_owned(), list.into())));
    }

    /// What was found for `name`, in order of id.
    pub(crate) fn get(&self, btf: &Btf, name: &str) -> Arc<[Candidate]> {
        if let Some(list) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return list.clone();
        }
        self.require(btf, [name]);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned().unwrap_or_default()
    }
}

/// One pass over the BTF's own types.
fn scan<'n>(btf: &Btf, names: &[&'n str]) -> HashMap<&'n str, Vec<Candidate>> {
    let mut found: HashMap<&str, Vec<Candidate>> = names.iter().map(|name| (*name, Vec::new())).collect();
    let filter = Filter::new(names);
    for ty in btf.types() {
        let kind = ty.kind();
        if can_answer(kind) && filter.may_have(btf.string_tail(ty.name_offset())) {
            let name = ty.name();
            if let Some(list) = found.get_mut(essential(name)) {
                list.push(Candidate { id: ty.id(), kind });
            }
        }
    }
    found
}

/// Kinds that CO-RE can ask for by name.
fn can_answer(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Typedef | Kind::Fwd | Kind::Float
    )
}

/// One bit for each value that the first four bytes of a wanted name can have, hashed.
struct Filter {
    bits: [u64; Filter::BITS / 64],
}

impl Filter {
    /// 4 KiB: stays in the nearest cache.
    const BITS: usize = 1 << 15;

    fn new(names: &[&str]) -> Filter {
        let mut filter = Filter { bits: [0; Filter::BITS / 64] };
        for name in names {
            filter.add(first_four(name.as_bytes()));
            if name.len() < 4 {
                // A flavour may follow, and then underscores do.
                filter.add(first_four(format!("{name}___").as_bytes()));
            }
        }
        filter
    }

    fn add(&mut self, start: u32) {
        let (word, bit) = Filter::place(start);
        if let Some(word) = self.bits.get_mut(word) {
            *word |= bit;
        }
    }

    /// Whether the string at the start of `tail`, which a zero ends, can be one of the names with or without a flavour.
    #[inline]
    fn may_have(&self, tail: &[u8]) -> bool {
        let (word, bit) = Filter::place(first_four(tail));
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    #[inline]
    fn place(start: u32) -> (usize, u64) {
        // Fibonacci hashing: the upper bits of a product are mixed best.
        let hash = start.wrapping_mul(0x9e37_79b9) >> 17;
        ((hash >> 6) as usize, 1 << (hash & 63))
    }
}

/// The first four bytes, zeros from the first zero or the end on.
#[inline]
fn first_four(text: &[u8]) -> u32 {
    match text.first_chunk::<4>().map(|raw| u32::from_be_bytes(*raw)) {
        // No byte is zero: none borrows in this subtraction but those that had their topmost bit set.
        Some(word) if word.wrapping_sub(0x0101_0101) & !word & 0x8080_8080 == 0 => word,
        _ => first_few(text),
    }
}

#[cold]
fn first_few(text: &[u8]) -> u32 {
    let mut kept = [0; 4];
    for (to, from) in kept.iter_mut().zip(text.iter().take_while(|b| **b != 0)) {
        *to = *from;
    }
    u32::from_be_bytes(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xhint_btf::ByteOrder;
    use xhint_btf::write::{NewType, Writer};

    #[test]
    fn a_name_is_found_with_any_flavour_and_nothing_else() {
        let names = ["a", "ab", "abc", "abcd", "abcde", "a___x", "ab___x", "abc___x", "abcd___x", "abcde___x", "a__b"];
        let mut writer = Writer::new(ByteOrder::NATIVE);
        for name in names.iter().chain(&["xyz", "", "ab__", "a___", "abcd_"]) {
            writer.push(NewType { name, ..NewType::of(Kind::Struct) }).unwrap();
        }
        // Of a kind that nobody asks for.
        writer.push(NewType { name: "abc", ..NewType::of(Kind::Ptr) }).unwrap();
        let btf = Btf::parse(writer.finish()).unwrap();
        for wanted in ["a", "ab", "abc", "abcd", "abcde", "a__b", "nothing", "ab__", "a___"] {
            let want: Vec<u32> = btf
                .types()
                .filter(|t| t.kind() == Kind::Struct && essential(t.name()) == wanted)
                .map(|t| t.id())
                .collect();
            let found: Vec<u32> = Index::default().get(&btf, wanted).iter().map(|c| c.id).collect();
            assert_eq!(found, want, "{wanted}");
        }
    }

    #[test]
    fn what_was_found_is_kept() {
        let mut writer = Writer::new(ByteOrder::NATIVE);
        writer.push(NewType { name: "one", ..NewType::of(Kind::Struct) }).unwrap();
        let btf = Btf::parse(writer.finish()).unwrap();
        let index = Index::default();
        index.require(&btf, ["one", "two"]);
        let (first, again) = (index.get(&btf, "one"), index.get(&btf, "one"));
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(*first, [Candidate { id: 1, kind: Kind::Struct }]);
        assert!(index.get(&btf, "two").is_empty());
    }

    #[test]
    fn the_filter_lets_every_wanted_name_pass() {
        for name in ["a", "ab", "abc", "abcd", "abcdefgh"] {
            let filter = Filter::new(&[name]);
            for text in [format!("{name}\0"), format!("{name}___v2\0"), format!("{name}\0zzzz"), name.to_owned()] {
                assert!(filter.may_have(text.as_bytes()), "{text:?}");
            }
            assert!(!filter.may_have(b"zzzz\0"));
        }
    }
}
