//! Types by essential name.
//!
//! An object asks for a handful of names; a kernel has 130,000 types. So nothing is indexed beforehand: all names an
//! object asks for are looked for in one pass over the kinds that can answer, and what was found is kept for the next
//! object. The first four bytes of a name tell for nearly every type that it is none of those wanted, and the first eight and
//! what follows the wanted name for nearly all others; names are read and cut only to be found.
//!
//! Kernels since Linux 7.0 sort their BTF by name. Names could be found there by halving, but only after a proof that it is
//! sorted, which has to look at every name as the search here does, and takes nearly as long (docs/benchmarks.md).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use xhint_btf::{Btf, Kind, essential};

/// A type that answers to an essential name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its id in the BTF it was found in.
    pub id: u32,
    /// Its kind.
    pub kind: Kind,
}

/// Types of one source by essential name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    known: RwLock<HashMap<Arc<str>, Arc<[Candidate]>>>,
}

impl Index {
    /// What there is for each of the wanted names, in order of id: what was found before, or else in one pass for all.
    pub(crate) fn find<'a>(&self, links: impl FnOnce() -> Vec<&'a Btf>, wanted: &Wanted) -> Vec<Arc<[Candidate]>> {
        let names = || wanted.names.iter();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = names().map(|name| known.get(name).cloned()).collect() {
            return all;
        }
        drop(known);
        let found = scan(&links(), wanted);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let keep = |(name, list): (&Arc<str>, Vec<_>)| {
            // Most names are in one BTF only, and nothing takes no memory.
            let list = || if list.is_empty() { Arc::default() } else { list.into() };
            known.entry(name.clone()).or_insert_with(list).clone()
        };
        names().zip(found).map(keep).collect()
    }

    /// What there is for `name`, in order of id.
    pub(crate) fn get<'a>(&self, links: impl FnOnce() -> Vec<&'a Btf>, name: &str) -> Arc<[Candidate]> {
        if let Some(list) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return list.clone();
        }
        self.find(links, &Wanted::new([name])).pop().unwrap_or_default()
    }
}

/// One pass over the own types of each BTF. A list for each wanted name.
fn scan(links: &[&Btf], wanted: &Wanted) -> Vec<Vec<Candidate>> {
    let mut found = vec![Vec::new(); wanted.names.len()];
    for btf in links {
        btf.for_each_named(|id, name| {
            if wanted.may_have(btf.string_tail(name))
                && let Some(ty) = btf.ty(id)
                && let Some(list) = wanted.number(essential(ty.name())).and_then(|number| found.get_mut(number))
            {
                list.push(Candidate { id, kind: ty.kind() });
            }
        });
    }
    found
}

/// Essential names that are looked for.
pub(crate) struct Wanted {
    /// Sorted, each once.
    names: Vec<Arc<str>>,
    /// By a hash of a name's first four bytes: where the list of such names begins in `starts`, or [`END`].
    /// 8 KiB: stays in the nearest cache.
    first: [u32; Wanted::HASHES],
    starts: Vec<Start>,
    /// Some name has fewer than three bytes, so that of the first four not all are its own or what must follow it.
    short: bool,
}

/// How a name begins.
struct Start {
    /// The first eight bytes, and which of them are the name's.
    bytes: u64,
    mask: u64,
    /// Which name it is.
    number: usize,
    /// Where the list goes on, or [`END`].
    next: u32,
}

/// No place in `starts`.
const END: u32 = u32::MAX;

impl Wanted {
    const HASHES: usize = 1 << 11;

    pub(crate) fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Wanted {
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        let short = names.iter().any(|name| name.len() < 3);
        let (mut first, mut starts) = ([END; Wanted::HASHES], Vec::new());
        for (place, (number, four)) in (0..).zip(names.iter().enumerate().flat_map(with_firsts)) {
            if let (Some(list), Some(name)) = (first.get_mut(Wanted::hash(four)), names.get(number)) {
                starts.push(Start::new(number, name, std::mem::replace(list, place)));
            }
        }
        Wanted { names: names.into_iter().map(Arc::from).collect(), first, starts, short }
    }

    /// Sorted, each once.
    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.names.binary_search_by(|wanted| (**wanted).cmp(name)).ok()
    }

    /// Whether the string at the start of `tail`, which a zero ends, can be one of the names with or without a flavour.
    #[inline]
    fn may_have(&self, tail: &[u8]) -> bool {
        let four = first_bytes(tail).map_or_else(|| padded(tail), u32::from_le_bytes);
        let four = if self.short { to_zero(four) } else { four };
        self.first.get(Wanted::hash(four)).is_some_and(|first| *first != END && self.has_start(*first, tail))
    }

    /// Whether one of the names in the list at `at` is followed in `tail` by the string's end or a flavour.
    fn has_start(&self, mut at: u32, tail: &[u8]) -> bool {
        let bytes = first_bytes(tail).map(u64::from_le_bytes);
        while let Some(start) = usize::try_from(at).ok().and_then(|at| self.starts.get(at)) {
            // What is quickly told comes first: many a name has its first four bytes in common with others, fewer have
            // eight, and few end in the same place.
            if bytes.is_none_or(|bytes| bytes & start.mask == start.bytes)
                && let Some(name) = self.names.get(start.number)
                && let Some((begin, [] | [0 | b'_', ..])) = tail.split_at_checked(name.len())
                && begin == name.as_bytes()
            {
                return true;
            }
            at = start.next;
        }
        false
    }

    #[inline]
    fn hash(four: u32) -> usize {
        // Fibonacci hashing: the upper bits of a product are mixed best.
        (four.wrapping_mul(0x9e37_79b9) >> 21) as usize
    }
}

impl Start {
    fn new(number: usize, name: &str, next: u32) -> Start {
        let eight = |byte: fn(u8) -> u8| {
            let mut eight = [0; 8];
            eight.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = byte(from));
            u64::from_le_bytes(eight)
        };
        Start { bytes: eight(|byte| byte), mask: eight(|_| u8::MAX), number, next }
    }
}

/// A name's number with the first four bytes that it can have: what follows a shorter one is its end, or a flavour, which
/// begins with underscores.
fn with_firsts((number, name): (usize, &&str)) -> impl Iterator<Item = (usize, u32)> {
    let flavoured = (name.len() < 4).then(|| padded(format!("{name}___").as_bytes()));
    [padded(name.as_bytes())].into_iter().chain(flavoured).map(move |four| (number, four))
}

/// The first bytes, if there are so many.
#[inline]
fn first_bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    text.first_chunk().copied()
}

/// The first four bytes, and zeros where there are fewer.
#[cold]
fn padded(text: &[u8]) -> u32 {
    let mut four = [0; 4];
    four.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    u32::from_le_bytes(four)
}

/// Four bytes, zeros from the first zero on.
#[inline]
fn to_zero(four: u32) -> u32 {
    // The top bit of the first zero byte, maybe of some behind it; all bits below that are kept.
    let zeros = four.wrapping_sub(0x0101_0101) & !four & 0x8080_8080;
    four & (zeros & zeros.wrapping_neg()).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xhint_btf::{Builder, ByteOrder, Def};

    #[test]
    fn a_name_is_found_with_any_flavour_and_nothing_else() {
        let names = ["a", "ab", "abc", "abcd", "abcde", "a___x", "ab___x", "abc___x", "abcd___x", "abcde___x", "a__b"];
        let mut writer = Builder::new(ByteOrder::NATIVE);
        for name in names.iter().chain(&["xyz", "", "ab__", "a___", "abcd_"]) {
            writer.add(&Def::structure(name, 0, &[])).unwrap();
        }
        // Of a kind that nobody asks for.
        writer.add(&Def::TypeTag { text: "abc", target: 0, attribute: false }).unwrap();
        let btf = Btf::parse(writer.finish()).unwrap();
        for wanted in ["a", "ab", "abc", "abcd", "abcde", "a__b", "nothing", "ab__", "a___"] {
            let want: Vec<u32> = btf
                .types()
                .filter(|t| t.kind() == Kind::Struct && essential(t.name()) == wanted)
                .map(|t| t.id())
                .collect();
            let found: Vec<u32> = Index::default().get(|| vec![&btf], wanted).iter().map(|c| c.id).collect();
            assert_eq!(found, want, "{wanted}");
        }
    }

    #[test]
    fn what_was_found_is_kept() {
        let mut writer = Builder::new(ByteOrder::NATIVE);
        writer.add(&Def::structure("one", 0, &[])).unwrap();
        let btf = Btf::parse(writer.finish()).unwrap();
        let index = Index::default();
        let all = index.find(|| vec![&btf], &Wanted::new(["two", "one", "two"]));
        assert_eq!(all.iter().map(|list| list.len()).collect::<Vec<_>>(), [1, 0], "sorted, each once");
        let (first, again) = (index.get(|| vec![&btf], "one"), index.get(|| vec![&btf], "one"));
        assert!(Arc::ptr_eq(&first, &again) && Arc::ptr_eq(&first, &all[0]));
        // Also when it is asked for together with what was not.
        assert!(Arc::ptr_eq(&first, &index.find(|| vec![&btf], &Wanted::new(["one", "three"]))[0]));
        assert_eq!(*first, [Candidate { id: 1, kind: Kind::Struct }]);
        assert!(index.get(|| vec![&btf], "two").is_empty());
    }

    #[test]
    fn every_wanted_name_passes_and_what_only_begins_like_it_does_not() {
        for name in ["a", "ab", "abc", "abcd", "abcdefgh"] {
            let wanted = Wanted::new([name, "nothing"]);
            for text in [format!("{name}\0"), format!("{name}___v2\0"), format!("{name}\0zzzz"), name.to_owned()] {
                assert!(wanted.may_have(text.as_bytes()), "{text:?}");
            }
            for text in ["zzzz\0".to_owned(), format!("{name}x\0"), "\0".to_owned(), String::new()] {
                assert!(!wanted.may_have(text.as_bytes()), "{text:?}");
            }
        }
    }
}
