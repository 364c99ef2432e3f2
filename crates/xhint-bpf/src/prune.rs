//! Removing what cannot be reached: the arms that constants decide against, and what stands behind poison's guards.
//!
//! The verifier needs that where it also walks arms that are never taken, as it does before Linux 6.18 without
//! CAP_PERFMON and with the processor's mitigations on: there a register counts as unknown that is 0, and poison as run.
//!
//! 1. From the first instruction on, along the branches that the analysis found possible, instructions are marked.
//! 2. A marked comparison that takes one branch only becomes a jump, or nothing. A jump to what then comes next anyway
//!    becomes nothing too. This is decided from the end to the start, so that what lies between is known.
//! 3. What is left stays in its order. Labels of what went stand at what came next, and an instruction that had no line of
//!    its own keeps the one it was under.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::jumps_anywhere;
use crate::effect::{Flow, flow};
use crate::insn::{Insn, JA};
use crate::{Instruction, Targets};

/// Which branches each comparison of a function can take, by its number: to its target, and on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branches(BTreeMap<usize, [bool; 2]>);

impl Branches {
    /// The comparison of this number can take these branches too.
    pub fn add(&mut self, number: usize, [taken, on]: [bool; 2]) {
        let branches = self.0.entry(number).or_default();
        *branches = [branches[0] || taken, branches[1] || on];
    }

    /// All that `other` can take, too.
    pub fn join(&mut self, other: &Branches) {
        other.0.iter().for_each(|(number, branches)| self.add(*number, *branches));
    }
}

/// `code` without what cannot be reached if comparisons take these branches only; the whole of it, where it has jumps that are
/// not understood.
#[must_use]
pub fn prune(code: Vec<Instruction>, branches: &Branches) -> Vec<Instruction> {
    if jumps_anywhere(&code) {
        return code;
    }
    let left = left(&code, branches);
    keep(&code, left)
}

/// The branches from an instruction, given those of comparisons: where its jump leads, and whether it goes on.
fn successors(
    number: usize,
    instruction: &Instruction,
    targets: &Targets,
    branches: &Branches,
) -> (Option<usize>, bool) {
    let target = targets.target(instruction);
    match flow(instruction.insn) {
        Flow::Next => (None, true),
        Flow::To => (target, false),
        Flow::Either => (target, true),
        Flow::If => {
            let [taken, on] = branches.0.get(&number).copied().unwrap_or_default();
            (target.filter(|_| taken), on)
        }
        Flow::End | Flow::Anywhere => (None, false),
    }
}

/// The numbers of the instructions that can be reached if comparisons take these branches only; all of them, where `code` has
/// jumps that are not understood.
#[must_use]
pub fn remaining(code: &[Instruction], branches: &Branches) -> BTreeSet<usize> {
    if jumps_anywhere(code) {
        return (0..code.len()).collect();
    }
    let targets = Targets::of(code);
    let (mut reached, mut todo) = (BTreeSet::new(), vec![0]);
    while let Some(n) = todo.pop() {
        let Some(instruction) = code.get(n).filter(|_| reached.insert(n)) else { continue };
        let (target, on) = successors(n, instruction, &targets, branches);
        todo.extend(target);
        todo.extend(n.checked_add(1).filter(|_| on));
    }
    reached
}

/// The instructions that stay, as they stay and with where they jump to, by their numbers.
fn left(code: &[Instruction], branches: &Branches) -> BTreeMap<usize, (Instruction, Option<usize>)> {
    let (targets, reached) = (Targets::of(code), remaining(code, branches));
    let mut left: BTreeMap<usize, (Instruction, Option<usize>)> = BTreeMap::new();
    for n in reached.into_iter().rev() {
        let Some(instruction) = code.get(n) else { continue };
        let next = left.keys().next().copied();
        let comes_next = |target: usize| target > n && left.range(target..).next().map(|(n, _)| *n) == next;
        let stays = match (flow(instruction.insn), successors(n, instruction, &targets, branches)) {
            (Flow::To | Flow::If, (Some(target), false)) if comes_next(target) => continue,
            (Flow::If, (Some(_), false)) => {
                Instruction { insn: Insn { code: JA, dst: 0, src: 0, off: 0, imm: 0 }, ..*instruction }
            }
            // A jump that is taken and leads nowhere stays, to be refused when it is written.
            (Flow::If, (None, _)) if targets.target(instruction).is_some() => continue,
            _ => *instruction,
        };
        left.insert(n, (stays, targets.target(instruction)));
    }
    left
}

/// `code` without the instructions of these numbers, none of which jumps.
pub(crate) fn without(code: &[Instruction], gone: &BTreeSet<usize>) -> Vec<Instruction> {
    let targets = Targets::of(code);
    let stays = code.iter().enumerate().filter(|(n, _)| !gone.contains(n));
    keep(code, stays.map(|(n, instruction)| (n, (*instruction, targets.target(instruction)))).collect())
}

/// The code that is left, with labels and lines in their new places.
fn keep(old: &[Instruction], mut left: BTreeMap<usize, (Instruction, Option<usize>)>) -> Vec<Instruction> {
    left.values_mut().for_each(|(instruction, _)| instruction.label = None);
    let jumps: Vec<_> = left.iter().filter_map(|(n, (i, to))| Some((*n, i.target?, (*to)?))).collect();
    for (n, label, to) in jumps {
        // What was removed leads to what comes next.
        let label = left.range_mut(to..).next().map_or(label, |(_, (at, _))| *at.label.get_or_insert(label));
        if let Some((jump, _)) = left.get_mut(&n) {
            jump.target = Some(label);
        }
    }
    let (mut out, mut above, mut told) = (Vec::with_capacity(left.len()), None, None);
    for (n, instruction) in old.iter().enumerate() {
        above = instruction.line.map(|line| (n, line)).or(above);
        let Some((mut stays, _)) = left.remove(&n) else { continue };
        stays.line = above.filter(|line| told != Some(line.0)).map(|(number, line)| {
            told = Some(number);
            line
        });
        out.push(stays);
    }
    out
}

#[cfg(test)]
mod tests;
