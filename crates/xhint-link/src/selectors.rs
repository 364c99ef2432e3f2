//! Whether each packet can be of one layout only.
//!
//! Layouts of one length are told apart by their ids. Where these stand in one place, a packet holds one of them; where
//! they stand in several, it can hold two by chance.

use std::collections::{BTreeMap, HashMap};

use xhint_btf::ByteOrder;
use xhint_universe::{Layout, Universe};

use crate::choice::named;
use crate::dispatch::{self, Case, IdAt};
use crate::report::LayoutReport;
use crate::{Clash, Error};

/// What a layout's packets hold at one byte: where, which bits, and what.
type Held = (u32, u8, u8);

/// Checks these layouts of `universe`; tells of those that clash and are allowed to, since `first` (names or ids) says
/// which is tried first.
///
/// # Errors
/// [`Error::Selectors`]; [`Error::NoLayout`] if `first` names what is none.
pub fn check(universe: &Universe, layouts: &[usize], first: &[String]) -> Result<Vec<Clash>, Error> {
    let order = universe.order();
    let mut ranked = Vec::new();
    for name in first {
        ranked.extend(named(universe, name)?);
    }
    let mut allowed = Vec::new();
    for places in by_length(universe, layouts, order).values() {
        for (n, (_, one)) in places.iter().enumerate() {
            for (_, other) in places.iter().skip(n.saturating_add(1)) {
                let Some(pair) = clash(one, other) else { continue };
                let clash = told(universe, pair);
                if ![pair.0.number, pair.1.number].iter().any(|l| ranked.contains(l)) {
                    return Err(Error::Selectors(clash));
                }
                allowed.push(clash);
            }
        }
    }
    Ok(allowed)
}

/// Whether what was linked for tail calls and for the layouts `linked` of `universe` finds packets of its layout `new` once
/// that is in its table: it looks for ids only where it knows that they stand.
pub fn looks_for(universe: &Universe, linked: &[usize], new: usize) -> bool {
    let order = universe.order();
    let case = |n: &usize| {
        let layout = universe.layouts().get(*n)?;
        Some(Case { size: layout.size, at: id_at(order, layout)?, id: layout.id, rank: usize::MAX })
    };
    let known: Vec<Case> = linked.iter().filter_map(case).collect();
    case(&new).is_some_and(|new| dispatch::looks_for(&known, new))
}

/// Whether `universe` has a layout of this name or id.
pub fn is_layout(universe: &Universe, name: &str) -> bool {
    named(universe, name).is_ok()
}

/// How soon the universe's layout with this number is tried: its place in `first`, or last.
pub fn rank(universe: &Universe, layout: usize, first: &[String]) -> usize {
    first.iter().position(|name| universe.called(name).contains(&layout)).unwrap_or(usize::MAX)
}

/// Where packets of a layout have its id; `None` if nowhere that one load could read.
pub fn id_at(order: ByteOrder, layout: &Layout) -> Option<IdAt> {
    let selector = layout.selector.as_ref()?;
    let at = IdAt::field(selector.bit_offset, selector.bits, selector.order.within(order), order)?;
    (at.offset.checked_add(at.bytes)? <= layout.size).then_some(at)
}

/// A layout, its place among the universe's, and what of its id its packets hold.
struct Ided<'u> {
    number: usize,
    layout: &'u Layout,
    held: Vec<Held>,
}

/// By length, then by where the id stands.
fn by_length<'u>(
    universe: &'u Universe,
    layouts: &[usize],
    order: ByteOrder,
) -> BTreeMap<u32, BTreeMap<IdAt, Vec<Ided<'u>>>> {
    let mut out = BTreeMap::<u32, BTreeMap<IdAt, Vec<Ided<'u>>>>::new();
    for n in layouts {
        let Some((layout, at)) = universe.layouts().get(*n).and_then(|l| Some((l, id_at(order, l)?))) else { continue };
        let held = held(at, layout.id, order);
        out.entry(layout.size).or_default().entry(at).or_default().push(Ided { number: *n, layout, held });
    }
    out
}

fn held(at: IdAt, id: u32, order: ByteOrder) -> Vec<Held> {
    let bits = !u64::MAX.unbounded_shl(at.bits);
    let word = |value: u64| value.unbounded_shl(at.shift).to_le_bytes();
    let pairs = word(bits).into_iter().zip(word(u64::from(id) & bits));
    let mut pairs: Vec<(u8, u8)> = pairs.take(at.bytes as usize).collect();
    if (order == ByteOrder::Big) != at.swapped {
        pairs.reverse();
    }
    let all = (at.offset..).zip(pairs).map(|(at, (mask, value))| (at, mask, value));
    all.filter(|(_, mask, _)| *mask != 0).collect()
}

/// A layout of each list that one packet can pass for both of. All of a list have their ids in one place.
fn clash<'a, 'u>(one: &'a [Ided<'u>], other: &'a [Ided<'u>]) -> Option<(&'a Ided<'u>, &'a Ided<'u>)> {
    let masks = |list: &'a [Ided<'u>]| list.first().map_or(&[][..], |l| l.held.as_slice());
    let shared: Vec<(u32, u8)> = masks(one)
        .iter()
        .flat_map(|(at, mask, _)| masks(other).iter().filter(move |o| o.0 == *at).map(move |o| (*at, mask & o.1)))
        .collect();
    let part = |l: &Ided<'_>| -> Vec<Option<u8>> {
        let value = |at: u32| l.held.iter().find(|h| h.0 == at).map(|h| h.2);
        shared.iter().map(|(at, mask)| Some(value(*at)? & mask)).collect()
    };
    let known: HashMap<Vec<Option<u8>>, &Ided<'u>> = one.iter().map(|l| (part(l), l)).collect();
    other.iter().find_map(|l| Some((*known.get(&part(l))?, l)))
}

fn told(universe: &Universe, (a, b): (&Ided<'_>, &Ided<'_>)) -> Clash {
    let bits = |of: &Ided<'_>, given: &Ided<'_>| -> u32 {
        let unknown = |(at, mask, _): &Held| {
            let given = given.held.iter().filter(|h| h.0 == *at);
            given.fold(*mask, |left, (_, known, _)| left & !known).count_ones()
        };
        of.held.iter().map(unknown).sum()
    };
    let label = |l: &Ided<'_>| LayoutReport::new(universe, l.layout).label();
    // A packet of the first holds the second's id where the second has it.
    Clash { layouts: [label(a), label(b)], size: a.layout.size, bits: [bits(b, a), bits(a, b)] }
}
