//! Removing what cannot be reached: the arms that constants decide against, and what stands behind poison's guards.
//!
//! The verifier needs that where it also walks arms that are never taken, as it does before Linux 6.18 without
//! CAP_PERFMON and with the processor's mitigations on: there a register counts as unknown that is 0, and poison as run.
//!
//! 1. From the first instruction on, along the ways that the analysis found possible, instructions are marked.
//! 2. A marked comparison that goes one way only becomes a jump, or nothing. A jump to what then comes next anyway
//!    becomes nothing too. This is decided from the end to the start, so that what lies between is known.
//! 3. What is left is laid down anew; jumps, relocations and lines follow. An instruction that had no line of its own
//!    keeps the one it was under.

use std::collections::{BTreeMap, BTreeSet};

use xhint_btf::ByteOrder;
use xhint_btf::ext::LineInfo;

use crate::assembly::{Body, set};
use crate::effect::{Flow, flow, retarget};
use crate::image::Relocation;
use crate::insn::{Insn, JA, instructions};

/// Which ways each comparison of a function can go, by its byte: to its target, and on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways(BTreeMap<usize, [bool; 2]>);

impl Ways {
    /// The comparison at byte `at` can go these ways too.
    pub fn add(&mut self, at: usize, [taken, on]: [bool; 2]) {
        let ways = self.0.entry(at).or_default();
        *ways = [ways[0] || taken, ways[1] || on];
    }

    /// All that `other` can go, too.
    pub fn join(&mut self, other: &Ways) {
        other.0.iter().for_each(|(at, ways)| self.add(*at, *ways));
    }
}

/// Removes from `body` what cannot be reached if comparisons go these ways only. Nothing, where it has jumps that are not
/// understood.
pub fn prune(body: Body, ways: &Ways, order: ByteOrder) -> Body {
    let all: BTreeMap<usize, Insn> = instructions(&body.code, order, 0).collect();
    if all.iter().any(|(at, insn)| flow(*insn, *at) == Flow::Anywhere) {
        return body;
    }
    let left = left(&all, ways);
    lay(body, &left, order)
}

/// The ways from an instruction, given those of comparisons: where its jump leads, and whether it goes on.
fn ways_from(at: usize, insn: Insn, ways: &Ways) -> (Option<usize>, bool) {
    match flow(insn, at) {
        Flow::Next => (None, true),
        Flow::To(target) => (Some(target), false),
        Flow::Either(target) => (Some(target), true),
        Flow::If(target) => {
            let [taken, on] = ways.0.get(&at).copied().unwrap_or_default();
            (taken.then_some(target), on)
        }
        Flow::End | Flow::Anywhere => (None, false),
    }
}

/// The instructions that stay, as they stay, by where they were.
fn left(all: &BTreeMap<usize, Insn>, ways: &Ways) -> BTreeMap<usize, Insn> {
    let mut reached = BTreeSet::new();
    let mut todo = vec![0];
    while let Some(at) = todo.pop() {
        let Some(insn) = all.get(&at).filter(|_| reached.insert(at)) else { continue };
        let (target, on) = ways_from(at, *insn, ways);
        todo.extend(target);
        todo.extend(on.then(|| at.saturating_add(insn.size())));
    }
    let mut left: BTreeMap<usize, Insn> = BTreeMap::new();
    for at in reached.into_iter().rev() {
        let Some(insn) = all.get(&at) else { continue };
        let next = left.keys().next().copied();
        let comes_next = |target: usize| target > at && left.range(target..).next().map(|(n, _)| *n) == next;
        let insn = match (flow(*insn, at), ways_from(at, *insn, ways)) {
            (Flow::To(target) | Flow::If(target), (Some(_), false)) if comes_next(target) => continue,
            (Flow::If(_), (Some(_), false)) => Insn { code: JA, dst: 0, src: 0, off: insn.off, imm: 0 },
            (Flow::If(_), (None, _)) => continue,
            _ => *insn,
        };
        left.insert(at, insn);
    }
    left
}

fn lay(body: Body, left: &BTreeMap<usize, Insn>, order: ByteOrder) -> Body {
    let mut place: BTreeMap<usize, usize> = BTreeMap::new();
    let mut code = Vec::with_capacity(body.code.len());
    for (at, insn) in left {
        place.insert(*at, code.len());
        let whole = body.code.get(*at..at.saturating_add(insn.size())).unwrap_or_default();
        code.extend_from_slice(whole);
    }
    // What was removed leads to what comes next.
    let moved = |at: usize| place.range(at..).next().map(|(_, new)| *new);
    for (at, insn) in left {
        let (Some(new), Flow::To(target) | Flow::If(target) | Flow::Either(target)) = (moved(*at), flow(*insn, *at))
        else {
            continue;
        };
        if let Some(insn) = moved(target).and_then(|target| retarget(*insn, new, target)) {
            set(&mut code, new, &insn.bytes(order));
        }
    }
    let here = |r: &Relocation| {
        let new = place.get(&(r.offset as usize))?;
        Some(Relocation { offset: *new as u64, ..*r })
    };
    let relocations = body.relocations.iter().filter_map(here).collect();
    let lines = lines(&body.lines, &place);
    Body { code, relocations, lines, ..body }
}

/// Lines that say of each instruction that is left what was said of it.
fn lines(old: &[LineInfo], place: &BTreeMap<usize, usize>) -> Vec<LineInfo> {
    let mut out: Vec<LineInfo> = Vec::new();
    let mut last = None;
    for (at, new) in place {
        let above = old.partition_point(|l| l.insn_off as usize <= *at).checked_sub(1);
        let Some((number, line)) = above.and_then(|n| Some((n, old.get(n)?))) else { continue };
        if last != Some(number) {
            out.push(LineInfo { insn_off: *new as u32, ..*line });
            last = Some(number);
        }
    }
    out
}

#[cfg(test)]
mod tests;
