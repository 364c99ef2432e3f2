//! An object's code as relocated under one binding: for one layout, or for none.

use std::collections::{BTreeMap, HashSet};

use xhint_btf::ByteOrder;

use crate::effect::Named;
use crate::insn::{Insn, SRC_REG};
use crate::model::Relo;
use crate::reach::{Code, Reach, reach_if};
use crate::{Error, Function, Object, assembly};

/// The patches of one binding, and the code they make.
#[derive(Debug, Clone)]
pub struct Variant<'a> {
    object: &'a Object,
    /// By function: where in it, and the instruction that stands there now.
    patches: BTreeMap<usize, Vec<(usize, Vec<u8>)>>,
    /// Function and place of what has no value.
    poisoned: HashSet<(usize, usize)>,
}

/// What became of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has its value.
    Patched,
    /// It must never run.
    Poisoned,
}

impl<'a> Variant<'a> {
    /// Lets `patch` change a copy of each relocated instruction (16 bytes of a wide one), given the relocation and its
    /// index.
    ///
    /// # Errors
    /// Those of `patch`.
    pub fn new(
        object: &'a Object,
        mut patch: impl FnMut(usize, &Relo, &mut [u8]) -> Result<Fate, Error>,
    ) -> Result<Variant<'a>, Error> {
        let mut out = Variant { object, patches: BTreeMap::new(), poisoned: HashSet::new() };
        for (index, relo) in object.relos.iter().enumerate() {
            let Some(function) = object.functions.get(relo.function) else { continue };
            let at = (relo.core.insn_off as usize).saturating_sub(function.start);
            let mut insn = object.insn_bytes(function, at).to_vec();
            if patch(index, relo, &mut insn)? == Fate::Poisoned {
                out.poisoned.insert((relo.function, at));
            }
            out.patches.entry(relo.function).or_default().push((at, insn));
        }
        Ok(out)
    }

    /// Applies the patches of `function` to its code, or to a copy of it that differs elsewhere.
    pub fn apply(&self, function: usize, code: &mut [u8]) {
        for (at, insn) in self.patches.get(&function).into_iter().flatten() {
            assembly::set(code, *at, insn);
        }
    }

    /// The instruction that relocation left at byte `at` of `function`.
    pub fn patch_at(&self, function: usize, at: usize) -> &[u8] {
        let patched = self.patches(function).iter().rev().find(|p| p.0 == at);
        patched.map_or(&[], |p| p.1.as_slice())
    }

    /// Whether that has no value under this variant.
    pub fn is_poisoned(&self, function: usize, at: usize) -> bool {
        self.poisoned.contains(&(function, at))
    }

    /// The patches of `function`.
    pub fn patches(&self, function: usize) -> &[(usize, Vec<u8>)] {
        self.patches.get(&function).map_or(&[], Vec::as_slice)
    }

    /// Writes constants that are added to or taken from a register into the instruction itself, in all that `reach`
    /// has reached: without CAP_PERFMON the verifier refuses `r1 = 16; r2 += r1` on a pointer into metadata, which is
    /// what `bpf_core_type_size` compiles to, and takes `r2 += 16`.
    pub fn fold(&mut self, reach: &Reach) {
        for ((function, at), value) in &reach.addends {
            let Some(imm) = value.and_then(|v| i32::try_from(v as i64).ok()) else { continue };
            let Some(code) = self.object.functions.get(*function).map(|f| self.object.code(f)) else { continue };
            let Some(insn) = Insn::at(code, *at, self.object.order()) else { continue };
            let new = Insn { code: insn.code & !SRC_REG, src: 0, imm, ..insn };
            self.patches.entry(*function).or_default().push((*at, new.bytes(self.object.order()).to_vec()));
        }
    }

    /// What can be reached from the functions `entries`.
    pub fn reach(&self, entries: impl IntoIterator<Item = usize>) -> Reach {
        self.reach_if(entries, &|_| false)
    }

    /// The same as if the instructions that `keeps` accepts wrote nothing in the stack.
    pub fn reach_if(&self, entries: impl IntoIterator<Item = usize>, keeps: &dyn Fn((usize, usize)) -> bool) -> Reach {
        let mut code = BTreeMap::new();
        for index in self.patches.keys() {
            if let Some(function) = self.object.functions.get(*index) {
                let mut own = self.object.code(function).to_vec();
                self.apply(*index, &mut own);
                code.insert(*index, own);
            }
        }
        reach_if(&Patched { variant: self, code, calls_back: self.object.calls_back() }, entries, keeps)
    }
}

impl Object {
    /// The bytes of the instruction at byte `at` of a function.
    pub(crate) fn insn_bytes(&self, function: &crate::Function, at: usize) -> &[u8] {
        let code = self.code(function);
        let end = at.saturating_add(Insn::at(code, at, self.order()).map_or(0, Insn::size));
        code.get(at..end).unwrap_or_default()
    }
}

struct Patched<'a> {
    variant: &'a Variant<'a>,
    code: BTreeMap<usize, Vec<u8>>,
    calls_back: bool,
}

impl Code for Patched<'_> {
    fn code(&self, function: usize) -> &[u8] {
        let object = self.variant.object;
        let original = || object.functions.get(function).map_or(&[][..], |f| object.code(f));
        self.code.get(&function).map_or_else(original, Vec::as_slice)
    }

    fn named(&self, function: usize, at: usize) -> Named {
        let object = self.variant.object;
        object.functions.get(function).map_or(Named::Nothing, |f| object.named(f, at))
    }

    fn calls_back(&self) -> bool {
        self.calls_back
    }

    fn is_poisoned(&self, function: usize, at: usize) -> bool {
        self.variant.is_poisoned(function, at)
    }

    fn is_global(&self, function: usize) -> bool {
        self.variant.object.functions.get(function).is_some_and(|f| f.global)
    }

    fn is_xdp(&self, function: usize) -> bool {
        self.variant.object.functions().get(function).is_some_and(Function::is_xdp)
    }

    fn order(&self) -> ByteOrder {
        self.variant.object.order()
    }
}
