//! Which instructions can be reached, once relocation has turned `bpf_core_field_exists` and its like into constants.
//!
//! libbpf poisons an instruction whose relocation has no answer, and leaves it to the verifier whether it is ever run.
//! We want to tell beforehand, in words of the source. So this follows what the verifier would: constants in registers
//! and in stack slots, from every entry on, through each branch that a constant does not decide. It knows less than
//! the verifier (no ranges, of pointers only those into the stack), so it may take dead code for alive, never the other
//! way round: a constant that it knows is one on every way that the kernel can take ([`crate::effect`] says what can
//! write what).
//!
//! 1. Each function is cut into blocks at its jump targets; a block is run with the state at its start.
//! 2. A block's end gives its state to the blocks it can go to; where two meet, what differs becomes unknown. A block
//!    whose start state changed is run again. States only ever lose knowledge, so this ends.
//! 3. A call that is reached makes its callee reached, with what is known of the arguments; a function whose address
//!    is taken is reached with nothing known. So is every instruction of a function with a jump that is not understood.

mod state;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use xhint_btf::ByteOrder;

use crate::effect::{Callee, Effect, Flow, Named, effect, flow};
use crate::insn::{ADD64_REG, CALL, Insn, SIZE, SUB64_REG, instructions};
use crate::prune::Ways;
use state::{State, Value};
use writes::{Known, Writes};

/// What is asked of a program's functions. Functions are told apart by a number of the caller's.
pub trait Code {
    /// The instructions of a function, relocations applied.
    fn code(&self, function: usize) -> &[u8];
    /// What the instruction at byte `at` calls, or takes the address of.
    fn named(&self, function: usize, at: usize) -> Named;
    /// Whether the address of any function is taken, so that the kernel may call one.
    fn calls_back(&self) -> bool;
    /// Whether the instruction at byte `at` is poisoned: it cannot be run, and what it would yield is not known.
    fn is_poisoned(&self, function: usize, at: usize) -> bool;
    /// Whether the kernel verifies this function by itself, whatever its callers pass.
    fn is_global(&self, function: usize) -> bool;
    /// Whether the kernel runs this function by itself as an XDP program.
    fn is_xdp(&self, function: usize) -> bool;
    fn order(&self) -> ByteOrder;
}

/// What can be reached from some entries.
#[derive(Debug, Default)]
pub struct Reach {
    /// Functions.
    pub functions: BTreeSet<usize>,
    /// Poisoned instructions: function and byte.
    pub poisoned: BTreeSet<(usize, usize)>,
    /// Additions and subtractions of a register, and its value where that is always the same.
    pub addends: BTreeMap<(usize, usize), Option<u64>>,
    /// By function, which ways comparisons can go.
    pub ways: BTreeMap<usize, Ways>,
    /// Calls behind which a number in the frame was not known any more: function and byte.
    pub lost: BTreeSet<(usize, usize)>,
}

/// What can be reached when any of `entries` is run, as if the calls that `keeps` accepts, by function and byte, wrote
/// nothing in the frame: what is not reached then is reached only because it is not known what they write.
pub fn reach_if(
    code: &impl Code,
    entries: impl IntoIterator<Item = usize>,
    keeps: impl Fn((usize, usize)) -> bool,
) -> Reach {
    let (at_entry, known) = (HashMap::new(), Known::default());
    let mut walk = Walk { code, keeps, at_entry, known, out: Reach::default(), todo: Vec::new() };
    for entry in entries {
        walk.enter(entry, if code.is_xdp(entry) { State::of_xdp() } else { State::default() });
    }
    while let Some(function) = walk.todo.pop() {
        walk.function(function);
    }
    walk.out
}

struct Walk<'a, C, K> {
    code: &'a C,
    keeps: K,
    /// What functions may write of their callers' frames.
    known: Known,
    /// What is known at the start of each function that was reached.
    at_entry: HashMap<usize, State>,
    out: Reach,
    /// Functions to run, for the first time or again.
    todo: Vec<usize>,
}

impl<C: Code, K: Fn((usize, usize)) -> bool> Walk<'_, C, K> {
    fn enter(&mut self, function: usize, state: State) {
        let changed = match self.at_entry.get_mut(&function) {
            Some(known) => known.join(&state),
            None => {
                self.at_entry.insert(function, state);
                true
            }
        };
        self.out.functions.insert(function);
        if changed && !self.todo.contains(&function) {
            self.todo.push(function);
        }
    }

    fn function(&mut self, function: usize) {
        let targets = jump_targets(self.code.code(function), self.code.order());
        let start = self.at_entry.get(&function).cloned().unwrap_or_default();
        let mut at_block: BTreeMap<usize, State> = BTreeMap::from([(0, start)]);
        let mut todo = BTreeSet::from([0]);
        while let Some(block) = todo.pop_first() {
            let Some(state) = at_block.get(&block).cloned() else { continue };
            for (next, state) in self.block(function, block, state, &targets) {
                let changed = match at_block.get_mut(&next) {
                    Some(known) => known.join(&state),
                    None => {
                        at_block.insert(next, state);
                        true
                    }
                };
                if changed {
                    todo.insert(next);
                }
            }
        }
    }

    /// Runs one block; gives the blocks it can go on to, each with the state it is entered in.
    fn block(
        &mut self,
        function: usize,
        start: usize,
        mut state: State,
        targets: &BTreeSet<usize>,
    ) -> Vec<(usize, State)> {
        let code = self.code.code(function);
        for (at, insn) in instructions(code, self.code.order(), start) {
            let next = at.saturating_add(insn.size());
            if at != start && targets.contains(&at) {
                return vec![(at, state)];
            }
            if self.code.is_poisoned(function, at) {
                self.out.poisoned.insert((function, at));
                state.poisoned();
                continue;
            }
            let named = self.code.named(function, at);
            if let Named::Function(callee) = named {
                let known = insn.code == CALL && !self.code.is_global(callee);
                self.enter(callee, if known { state.arguments() } else { State::default() });
            }
            if matches!(insn.code, ADD64_REG | SUB64_REG) {
                let value = if let Value::Const(number) = state.operand(insn) { Some(number) } else { None };
                let known = self.out.addends.entry((function, at)).or_insert(value);
                *known = known.filter(|k| Some(*k) == value);
            }
            match flow(insn, at) {
                Flow::Next => {
                    let second = Insn::at(code, next.saturating_sub(SIZE), self.code.order());
                    self.step((function, at), insn, second, named, &mut state);
                }
                Flow::End => return Vec::new(),
                Flow::To(target) => return vec![(target, state)],
                Flow::Either(target) => return vec![(target, state.clone()), (next, state)],
                Flow::If(target) => {
                    let ways = ways(&state, insn);
                    self.out.ways.entry(function).or_default().add(at, ways);
                    return branch(insn, [target, next], ways, &state);
                }
                Flow::Anywhere => return targets.iter().map(|at| (*at, State::ignorant())).collect(),
            }
        }
        // Beyond the last instruction: a function that does not end, which the verifier will refuse.
        Vec::new()
    }

    /// Runs an instruction that the next one follows.
    fn step(&mut self, at: (usize, usize), insn: Insn, second: Option<Insn>, named: Named, state: &mut State) {
        let effect = effect(insn, named, self.code.calls_back());
        let writes = match (effect, named, state.function(2)) {
            (Effect::Call(Callee::Function), ..) if !state.lends() => Writes::All,
            (Effect::Call(Callee::Function), Named::Function(callee), _) => self.known.of(self.code, callee),
            (Effect::Call(Callee::Function), Named::Nothing, Some(callee)) => self.known.back(self.code, insn, callee),
            _ => Writes::All,
        };
        let before = matches!(effect, Effect::Call(_)).then(|| state.clone());
        state.run(insn, second, named, self.code.calls_back(), &writes);
        if let Some(before) = before.filter(|before| state.numbers() < before.numbers()) {
            self.out.lost.insert(at);
            if (self.keeps)(at) {
                state.keep(&before);
            }
        }
    }
}

/// Whether a comparison can lead to its target, and on.
fn ways(state: &State, insn: Insn) -> [bool; 2] {
    let decided = state.decide(insn);
    [decided != Some(false), decided != Some(true)]
}

/// Where a comparison can lead, and what is known there.
fn branch(insn: Insn, to: [usize; 2], ways: [bool; 2], state: &State) -> Vec<(usize, State)> {
    let each = to.into_iter().zip(ways).zip([true, false]);
    each.filter(|((_, way), _)| *way).map(|((to, _), taken)| (to, state.assume(insn, taken))).collect()
}

/// Where jumps lead; every instruction if that of any is not known.
fn jump_targets(code: &[u8], order: ByteOrder) -> BTreeSet<usize> {
    let mut out = BTreeSet::new();
    for (at, insn) in instructions(code, order, 0) {
        match flow(insn, at) {
            Flow::To(target) | Flow::If(target) | Flow::Either(target) => {
                out.insert(target);
            }
            Flow::Anywhere => return instructions(code, order, 0).map(|(at, _)| at).collect(),
            Flow::Next | Flow::End => {}
        }
    }
    out
}

#[cfg(test)]
mod tests;
