//! Types by essential name.
//!
//! An object asks for a handful of names; a kernel has 130,000 types. So nothing is indexed beforehand: all names an
//! object asks for are looked for in one pass over the kinds that can answer, and what was found is kept for the next
//! object. The first four bytes of a name tell for nearly every type that it is none of those wanted, and what follows the
//! wanted name for nearly all others; names are read, cut and hashed only to be found.

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
    let wanted = Wanted::new(names);
    for ty in btf.types() {
        let kind = ty.kind();
        if can_answer(kind)
            && wanted.may_have(btf.string_tail(ty.name_offset()))
            && let Some(list) = found.get_mut(essential(ty.name()))
        {
            list.push(Candidate { id: ty.id(), kind });
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

/// Wanted names by a hash of their first four bytes.
struct Wanted<'n> {
    /// Where the list of each hash begins in `names`, 0 where there is none. 8 KiB: stays in the nearest cache.
    first: [u32; Wanted::HASHES],
    /// A name, and where its list goes on, 0 at the end. The one at 0 is no name.
    names: Vec<(&'n str, u32)>,
}

impl<'n> Wanted<'n> {
    const HASHES: usize = 1 << 11;

    fn new(names: &[&'n str]) -> Wanted<'n> {
        let mut wanted = Wanted { first: [0; Wanted::HASHES], names: vec![("", 0)] };
        for name in names {
            wanted.add(first_four(name.as_bytes()), name);
            if name.len() < 4 {
                // A flavour may follow, and then underscores do.
                wanted.add(first_four(format!("{name}___").as_bytes()), name);
            }
        }
        wanted
    }

    fn add(&mut self, start: u32, name: &'n str) {
        if let Some(first) = self.first.get_mut(Wanted::hash(start)) {
            let next = std::mem::replace(first, self.names.len() as u32);
            self.names.push((name, next));
        }
    }

    /// Whether the string at the start of `tail`, which a zero ends, can be one of the names with or without a flavour.
    #[inline]
    fn may_have(&self, tail: &[u8]) -> bool {
        let first = self.first.get(Wanted::hash(first_four(tail))).copied().unwrap_or(0);
        first != 0 && self.has_start(first, tail)
    }

    /// Whether one of the names in the list at `at` is followed in `tail` by the string's end or a flavour.
    fn has_start(&self, mut at: u32, tail: &[u8]) -> bool {
        while at != 0 {
            let Some((name, next)) = self.names.get(at as usize) else { return false };
            if matches!(tail.strip_prefix(name.as_bytes()), Some([] | [0 | b'_', ..])) {
                return true;
            }
            at = *next;
        }
        false
    }

    #[inline]
    fn hash(start: u32) -> usize {
        // Fibonacci hashing: the upper bits of a product are mixed best.
        (start.wrapping_mul(0x9e37_79b9) >> 21) as usize
    }
}

/// The first four bytes, zeros from the first zero or the end on.
#[inline]
fn first_four(text: &[u8]) -> u32 {
    let word = u32::from_le_bytes(text.first_chunk().copied().unwrap_or_else(|| padded(text)));
    // The top bit of the first zero byte, maybe of some behind it; all bits below that are kept.
    let zeros = word.wrapping_sub(0x0101_0101) & !word & 0x8080_8080;
    word & (zeros & zeros.wrapping_neg()).wrapping_sub(1)
}

#[cold]
fn padded(text: &[u8]) -> [u8; 4] {
    let mut start = [0; 4];
    start.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    start
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
    fn every_wanted_name_passes_and_what_only_begins_like_it_does_not() {
        for name in ["a", "ab", "abc", "abcd", "abcdefgh"] {
            let wanted = Wanted::new(&[name, "nothing"]);
            for text in [format!("{name}\0"), format!("{name}___v2\0"), format!("{name}\0zzzz"), name.to_owned()] {
                assert!(wanted.may_have(text.as_bytes()), "{text:?}");
            }
            for text in ["zzzz\0".to_owned(), format!("{name}x\0"), "\0".to_owned(), String::new()] {
                assert!(!wanted.may_have(text.as_bytes()), "{text:?}");
            }
        }
    }
}
