//! Where ids are looked for in metadata that no layout describes.

use std::collections::BTreeMap;

use super::case::{Case, IdAt};

/// Where the ids stand in metadata of each length that there are layouts of, in the order in which every dispatch looks
/// there.
pub fn selectors(cases: impl Iterator<Item = Case>) -> BTreeMap<u32, Vec<IdAt>> {
    let mut soonest = BTreeMap::<u32, BTreeMap<IdAt, usize>>::new();
    for case in cases {
        let rank = soonest.entry(case.size).or_default().entry(case.at).or_insert(case.rank);
        *rank = case.rank.min(*rank);
    }
    let in_order = |places: BTreeMap<IdAt, usize>| {
        let mut places: Vec<_> = places.into_iter().collect();
        places.sort_by_key(|(at, rank)| (*rank, *at));
        places.into_iter().map(|(at, _)| at).collect()
    };
    soonest.into_iter().map(|(length, places)| (length, in_order(places))).collect()
}

/// Whether an entry of tail calls that was linked for the cases `linked` looks for `new` in the table.
pub fn looks_for(linked: &[Case], new: Case) -> bool {
    let known = selectors(linked.iter().copied());
    let usual = Usual::of(&known).at(new.size);
    known.get(&new.size).map_or(usual.as_slice(), Vec::as_slice).contains(&new.at)
}

/// Where an id stands in metadata of a length that no layout has yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usual {
    /// So many bytes before the packet.
    FromEnd(u32, IdAt),
    /// At the same place from the start.
    FromStart(IdAt),
}

impl Usual {
    /// As in all the layouts there are, if they agree; else the last four bytes.
    pub fn of(known: &BTreeMap<u32, Vec<IdAt>>) -> Usual {
        let all: Vec<(u32, IdAt)> = known.iter().flat_map(|(l, list)| list.iter().map(|at| (*l, *at))).collect();
        let default = IdAt { offset: 0, bytes: 4, swapped: false, shift: 0, bits: 32 };
        let Some((length, first)) = all.first().copied() else { return Usual::FromEnd(4, default) };
        let back = |length: u32, at: IdAt| (length.saturating_sub(at.offset), IdAt { offset: 0, ..at });
        let (distance, at) = back(length, first);
        if all.iter().all(|(l, a)| back(*l, *a) == (distance, at)) {
            Usual::FromEnd(distance, at)
        } else if all.iter().all(|(_, a)| *a == first) {
            Usual::FromStart(first)
        } else {
            Usual::FromEnd(4, default)
        }
    }

    /// The place in metadata of this length; `None` if that is too short.
    pub fn at(self, length: u32) -> Option<IdAt> {
        let at = match self {
            Usual::FromEnd(distance, at) => IdAt { offset: length.checked_sub(distance)?, ..at },
            Usual::FromStart(at) => at,
        };
        (at.offset.checked_add(at.bytes)? <= length).then_some(at)
    }
}
