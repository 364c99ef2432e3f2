//! An object's code as relocated under one binding: for one layout, or for none.

use std::collections::BTreeMap;

use xhint_bpf::insn::SRC_REG;
use xhint_bpf::{Arena, Code, FunctionId, Hook, Insn, Instruction, Reach, reach_if};

use crate::{Error, Object, Relo};

/// A variant of an object, by its place among those of one link: one for each layout, and one for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariantId(usize);

impl From<usize> for VariantId {
    fn from(number: usize) -> VariantId {
        VariantId(number)
    }
}

impl From<VariantId> for usize {
    fn from(id: VariantId) -> usize {
        id.0
    }
}

/// The variants of one link.
pub type Variants<'a> = Arena<VariantId, Variant<'a>>;

/// The patches of one binding, and the code they make.
#[derive(Debug, Clone)]
pub struct Variant<'a> {
    object: &'a Object,
    patches: BTreeMap<FunctionId, Vec<Patch>>,
}

/// What became of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Patch {
    /// Its number in the function.
    pub at: usize,
    /// What it is now; `None` if it must never run.
    pub insn: Option<Insn>,
}

impl Patch {
    /// Makes it so in the code of the function.
    fn apply(self, code: &mut [Instruction]) {
        let Some(instruction) = code.get_mut(self.at) else { return };
        match self.insn {
            Some(insn) => instruction.insn = insn,
            None => instruction.poison(),
        }
    }
}

impl<'a> Variant<'a> {
    /// Lets `patch` say what becomes of each relocated instruction, given the relocation and its index: `None` if it must
    /// never run.
    ///
    /// # Errors
    /// Those of `patch`; [`Error::NoRelo`].
    pub fn new(
        object: &'a Object,
        mut patch: impl FnMut(usize, &Relo, Insn) -> Result<Option<Insn>, Error>,
    ) -> Result<Variant<'a>, Error> {
        let mut out = Variant { object, patches: BTreeMap::new() };
        for (index, relo) in object.relos().iter().enumerate() {
            let instruction = object.function_of(relo).code.get(relo.instruction);
            let instruction = instruction.ok_or(Error::NoRelo { number: index })?;
            let insn = patch(index, relo, instruction.insn)?;
            out.patches.entry(relo.function).or_default().push(Patch { at: relo.instruction, insn });
        }
        Ok(out)
    }

    /// Applies the patches of `function` to its code, or to a copy of it that differs elsewhere.
    pub fn apply(&self, function: FunctionId, code: &mut [Instruction]) {
        self.patches(function).iter().for_each(|patch| patch.apply(code));
    }

    /// What relocation made of an instruction.
    pub fn patch_at(&self, function: FunctionId, at: usize) -> Option<Patch> {
        self.patches(function).iter().rev().find(|p| p.at == at).copied()
    }

    /// The patches of `function`.
    pub fn patches(&self, function: FunctionId) -> &[Patch] {
        self.patches.get(&function).map_or(&[], Vec::as_slice)
    }

    /// Writes constants that are added to or taken from a register into the instruction itself, in all that `reach`
    /// has reached: without CAP_PERFMON the verifier refuses `r1 = 16; r2 += r1` on a pointer into metadata, which is
    /// what `bpf_core_type_size` compiles to, and takes `r2 += 16`.
    pub fn fold(&mut self, reach: &Reach) {
        for ((function, at), value) in &reach.addends {
            let Some(imm) = value.and_then(|v| i32::try_from(v as i64).ok()) else { continue };
            let Some(insn) = self.object.functions().at(*function).code.get(*at).map(|i| i.insn) else { continue };
            let new = Insn { code: insn.code & !SRC_REG, src: 0, imm: imm.into(), ..insn };
            self.patches.entry(*function).or_default().push(Patch { at: *at, insn: Some(new) });
        }
    }

    /// What can be reached from the functions `entries`.
    pub fn reach(&self, entries: impl IntoIterator<Item = FunctionId>) -> Reach {
        self.reach_if(entries, &|_| false)
    }

    /// The same as if the instructions that `keeps` accepts wrote nothing in the stack.
    pub fn reach_if(
        &self,
        entries: impl IntoIterator<Item = FunctionId>,
        keeps: &dyn Fn((FunctionId, usize)) -> bool,
    ) -> Reach {
        let patched = |id: &FunctionId| {
            let mut own = self.object.functions().at(*id).code.clone();
            self.apply(*id, &mut own);
            (*id, own)
        };
        let code = self.patches.keys().map(patched).collect();
        reach_if(&Patched { object: self.object, code, calls_back: self.object.calls_back() }, entries, keeps)
    }
}

struct Patched<'a> {
    object: &'a Object,
    code: BTreeMap<FunctionId, Vec<Instruction>>,
    calls_back: bool,
}

impl Code for Patched<'_> {
    fn code(&self, function: FunctionId) -> &[Instruction] {
        self.code.get(&function).unwrap_or_else(|| &self.object.functions().at(function).code)
    }

    fn calls_back(&self) -> bool {
        self.calls_back
    }

    fn is_global(&self, function: FunctionId) -> bool {
        self.object.functions().at(function).global
    }

    fn hook(&self, function: FunctionId) -> Option<Hook> {
        self.object.functions().at(function).hook()
    }
}
