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

mod offsets;
mod state;
mod value;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::code::jumps_anywhere;
use crate::effect::{self, Callee, Effect, Flow, adjusts_metadata, called_back, effect, flow};
use crate::insn::{ADD64_REG, CALL, LDX, ST, STX, SUB64_REG};
use crate::{Branches, FunctionId, Hook, Insn, Instruction, Named, Targets};
use offsets::Offsets;
use state::MachineState;
use value::Value;
use writes::{Known, Writes};

/// What is asked of an object's code.
pub trait Code {
    /// The instructions of a function, relocations applied. What is poisoned cannot be run, and what it would yield is not
    /// known.
    fn code(&self, function: FunctionId) -> &[Instruction];
    /// Whether the address of any function is taken, so that the kernel may call one.
    fn calls_back(&self) -> bool;
    /// Whether the kernel verifies this function by itself, whatever its callers pass.
    fn is_global(&self, function: FunctionId) -> bool;
    /// Where the kernel runs this function by itself, with metadata in front of the packet.
    fn hook(&self, function: FunctionId) -> Option<Hook>;
}

/// What can be reached from some entries. Instructions are told by function and number in it.
#[derive(Debug, Default)]
pub struct Reach {
    /// Functions.
    pub functions: BTreeSet<FunctionId>,
    /// Poisoned instructions.
    pub poisoned: BTreeSet<(FunctionId, usize)>,
    /// Additions and subtractions of a register, and its value where that is always the same.
    pub addends: BTreeMap<(FunctionId, usize), Option<u64>>,
    /// By function, which branches comparisons can take.
    pub branches: BTreeMap<FunctionId, Branches>,
    /// What reads and writes metadata, by instruction. Not metadata that the program may have moved the start of.
    pub metadata: BTreeMap<(FunctionId, usize), Access>,
    /// Whether metadata may be read by an address that was not followed.
    pub astray: bool,
    /// Calls behind which a number in the frame was not known any more.
    pub lost: BTreeSet<(FunctionId, usize)>,
}

/// How an instruction gets at metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// What it does there.
    pub kind: AccessKind,
    /// Where, on one way or another: bytes from the start of the metadata, which no relocation had a part in.
    pub offsets: BTreeSet<u16>,
    /// The same of what relocation has a part in: fields whose place it tells ([`Named::Relocated`]), and so many bytes behind;
    /// `None` if it is not known how many.
    pub fields: BTreeSet<(u16, Option<u16>)>,
    /// Whether it may be anywhere else, by no relocation.
    pub anywhere: bool,
    /// How many; not known of what a helper is given.
    pub bytes: Option<u8>,
}

/// What an instruction does with metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// It loads.
    Load,
    /// It stores.
    Store,
    /// It gives its address to a helper.
    Give,
}

/// What can be reached when any of `entries` is run, as if the calls that `keeps` accepts wrote nothing in the frame: what
/// is not reached then is reached only because it is not known what they write.
pub fn reach_if(
    code: &impl Code,
    entries: impl IntoIterator<Item = FunctionId>,
    keeps: impl Fn((FunctionId, usize)) -> bool,
) -> Reach {
    let (at_entry, known) = (HashMap::new(), Known::default());
    let mut walk =
        Walk { code, keeps, at_entry, known, adjusts: HashMap::new(), out: Reach::default(), todo: Vec::new() };
    for entry in entries {
        walk.enter(entry, code.hook(entry).map_or_else(MachineState::default, MachineState::at_hook));
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
    /// Which functions may make the metadata begin elsewhere.
    adjusts: HashMap<FunctionId, bool>,
    /// What is known at the start of each function that was reached.
    at_entry: HashMap<FunctionId, MachineState>,
    out: Reach,
    /// Functions to run, for the first time or again.
    todo: Vec<FunctionId>,
}

impl<C: Code, K: Fn((FunctionId, usize)) -> bool> Walk<'_, C, K> {
    fn enter(&mut self, function: FunctionId, state: MachineState) {
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

    fn function(&mut self, function: FunctionId) {
        let code = self.code.code(function);
        let jumps = Jumps { anywhere: jumps_anywhere(code), targets: Targets::of(code) };
        let start = self.at_entry.get(&function).cloned().unwrap_or_default();
        let mut at_block: BTreeMap<usize, MachineState> = BTreeMap::from([(0, start)]);
        let mut todo = BTreeSet::from([0]);
        while let Some(block) = todo.pop_first() {
            let Some(state) = at_block.get(&block).cloned() else { continue };
            for (next, state) in self.block(function, block, state, &jumps) {
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
        function: FunctionId,
        start: usize,
        mut state: MachineState,
        jumps: &Jumps,
    ) -> Vec<(usize, MachineState)> {
        let code = self.code.code(function);
        for (n, instruction) in code.iter().enumerate().skip(start) {
            let (insn, next) = (instruction.insn, n.checked_add(1));
            if n != start && (jumps.anywhere || instruction.label.is_some()) {
                return vec![(n, state)];
            }
            if instruction.poisoned > 0 {
                self.out.poisoned.insert((function, n));
                state.poisoned();
                continue;
            }
            if let Named::Function(callee) = instruction.named {
                let given = match (insn.code == CALL, self.code.is_global(callee)) {
                    (false, _) => MachineState::default(),
                    (true, true) => state.arguments_of_global(),
                    (true, false) => state.arguments(),
                };
                self.enter(callee, given);
            }
            if matches!(insn.code, ADD64_REG | SUB64_REG) {
                let value = if let Value::Const(number) = state.operand(insn) { Some(number) } else { None };
                let known = self.out.addends.entry((function, n)).or_insert(value);
                *known = known.filter(|k| Some(*k) == value);
            }
            let target = || jumps.targets.target(instruction);
            match flow(insn) {
                Flow::Next => self.step((function, n), instruction, &mut state),
                Flow::End => return Vec::new(),
                Flow::To => return target().map(|to| (to, state)).into_iter().collect(),
                Flow::Either => {
                    return [target(), next].into_iter().flatten().map(|to| (to, state.clone())).collect();
                }
                Flow::If => {
                    let branches = branches(&state, insn);
                    self.out.branches.entry(function).or_default().add(n, branches);
                    return branch(insn, [target(), next], branches, &state);
                }
                Flow::Anywhere => {
                    self.out.astray = true;
                    return (0..code.len()).map(|n| (n, MachineState::ignorant())).collect();
                }
            }
        }
        // Beyond the last instruction: a function that does not end, which the verifier will refuse.
        Vec::new()
    }

    /// Runs an instruction that the next one follows.
    fn step(&mut self, at: (FunctionId, usize), instruction: &Instruction, state: &mut MachineState) {
        let Instruction { insn, named, .. } = *instruction;
        let effect = effect(insn, named, self.code.calls_back());
        self.access(at, instruction, effect, state);
        let writes = match (effect, named, state.function(2)) {
            (Effect::Call(Callee::Function), ..) if !state.lends() => Writes::All,
            (Effect::Call(Callee::Function), Named::Function(callee), _) => self.known.of(self.code, callee),
            (Effect::Call(Callee::Function), Named::Nothing, Some(callee)) => self.known.back(self.code, insn, callee),
            _ => Writes::All,
        };
        if let (Some(callee), Some(number)) = (state.function(2), called_back(insn)) {
            self.enter(callee, state.arguments_back(number));
        }
        if matches!(effect, Effect::Call(_)) && self.adjusts(instruction, state) {
            state.adjust_metadata();
        }
        let before = matches!(effect, Effect::Call(_)).then(|| state.clone());
        state.run(insn, named, self.code.calls_back(), &writes);
        if let Some(before) = before.filter(|before| state.numbers() < before.numbers()) {
            self.out.lost.insert(at);
            if (self.keeps)(at) {
                state.keep(&before);
            }
        }
    }

    /// Notes what an instruction does with metadata this time.
    fn access(&mut self, at: (FunctionId, usize), instruction: &Instruction, effect: Effect, state: &MachineState) {
        let Instruction { insn, named, .. } = *instruction;
        match effect {
            Effect::Relocated => {
                let field = if let Named::Relocated(field) = named { field } else { None };
                let behind = |reg| state.in_metadata(reg, 0).map(|at| at.sums_with(Offsets::relocated(field)));
                match insn.class() {
                    LDX => self.note(at, AccessKind::Load, Some(insn.access_bytes()), behind(insn.src)),
                    ST | STX => self.note(at, AccessKind::Store, Some(insn.access_bytes()), behind(insn.dst)),
                    _ => {}
                }
            }
            Effect::Load { bytes, .. } => {
                self.note(at, AccessKind::Load, Some(bytes), state.in_metadata(insn.src, insn.off))
            }
            Effect::Store { bytes } => {
                self.note(at, AccessKind::Store, Some(bytes), state.in_metadata(insn.dst, insn.off))
            }
            Effect::Atomic { bytes, .. } => {
                self.note(at, AccessKind::Load, Some(bytes), state.in_metadata(insn.dst, insn.off));
            }
            Effect::Call(Callee::Helper | Callee::Kernel) => {
                (1..=5).for_each(|reg| self.note(at, AccessKind::Give, None, state.in_metadata(reg, 0)));
            }
            Effect::Call(Callee::Function) => self.out.astray |= state.leads_astray(),
            Effect::Unknown => self.out.astray = true,
            _ => {}
        }
    }

    fn note(&mut self, at: (FunctionId, usize), kind: AccessKind, bytes: Option<u8>, places: Option<Offsets>) {
        let Some(places) = places else { return };
        self.out.astray |= places.others;
        let new = || Access { kind, bytes, offsets: BTreeSet::new(), fields: BTreeSet::new(), anywhere: places.others };
        let access = self.out.metadata.entry(at).or_insert_with(new);
        access.offsets.extend(places.iter());
        access.fields.extend(places.sums());
        access.anywhere |= places.others;
    }

    /// Whether a call may make the metadata begin elsewhere.
    fn adjusts(&mut self, instruction: &Instruction, state: &MachineState) -> bool {
        let callee = match instruction.named {
            Named::Function(callee) => Some(callee),
            _ if effect::calls_back(instruction.insn) => match state.function(2) {
                None => return true,
                called => called,
            },
            _ => None,
        };
        let code = self.code;
        let inside =
            callee.is_some_and(|callee| *self.adjusts.entry(callee).or_insert_with(|| may_adjust(code, callee)));
        inside || adjusts_metadata(instruction.insn)
    }
}

/// Whether a function, or one that it calls, calls a helper that makes the metadata begin elsewhere.
fn may_adjust(code: &impl Code, function: FunctionId) -> bool {
    let (mut seen, mut todo) = (HashSet::new(), vec![function]);
    while let Some(function) = todo.pop() {
        if !seen.insert(function) {
            continue;
        }
        let all = code.code(function);
        if all.iter().any(|i| adjusts_metadata(i.insn)) {
            return true;
        }
        todo.extend(all.iter().filter_map(|i| if let Named::Function(other) = i.named { Some(other) } else { None }));
    }
    false
}

/// Where the blocks of a function begin.
struct Jumps {
    /// At every instruction, since there is a jump of which it is not known where it leads.
    anywhere: bool,
    targets: Targets,
}

/// Whether a comparison can lead to its target, and on.
fn branches(state: &MachineState, insn: Insn) -> [bool; 2] {
    let decided = state.decide(insn);
    [decided != Some(false), decided != Some(true)]
}

/// Where a comparison can lead, and what is known there.
fn branch(insn: Insn, to: [Option<usize>; 2], branches: [bool; 2], state: &MachineState) -> Vec<(usize, MachineState)> {
    let each = to.into_iter().zip(branches).zip([true, false]);
    each.filter(|((_, goes), _)| *goes).filter_map(|((to, _), taken)| Some((to?, state.assume(insn, taken)))).collect()
}

#[cfg(test)]
mod tests;
