//! The instructions of a function, free of its place.
//!
//! A jump names the label that it leads to, so that instructions can be put in, taken out and moved, and no distance is
//! ever wrong; distances are there in bytes only. What else hangs on an instruction goes with it: what the loader is to
//! put into it, and the line of source that begins there.

use std::collections::HashMap;

use xhint_btf::ByteOrder;
use xhint_btf::ext::LineInfo;

use crate::effect::{Flow, flow};
use crate::insn::{CALL, Insn, JA32, POISON, SIZE};
use crate::{Named, SymbolId};

/// A place to jump to. Labels of one function differ; of two functions they mean nothing to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(pub(crate) usize);

/// An instruction and all that hangs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does. A jump's distance is 0 here.
    pub insn: Insn,
    /// Jumps to this label lead here.
    pub label: Option<Label>,
    /// Where its jump leads; a distance that leads to no instruction is a label that stands nowhere.
    pub target: Option<Label>,
    /// What the loader is to put into it.
    pub reference: Option<Reference>,
    /// What it calls or takes the address of.
    pub named: Named,
    /// The line of source that begins with it. `insn_off` means nothing.
    pub line: Option<LineInfo>,
    /// It must never run, and has the bytes of poison, in so many slots as it had before; 0 if it may.
    pub poisoned: usize,
}

/// An ELF relocation of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// The symbol.
    pub symbol: SymbolId,
    /// Which relocation: `R_BPF_64_64`, `R_BPF_64_32`.
    pub kind: u32,
    /// What is added to the symbol's value, where the file says it beside the instruction.
    pub addend: i64,
}

impl Reference {
    /// `R_BPF_64_64`: an address in a wide load.
    pub const ADDRESS: u32 = 1;
    /// `R_BPF_64_32`: the function that is called.
    pub const CALL: u32 = 10;
}

/// Why bytes are no code, or code cannot be written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Bytes that are no whole instruction.
    #[error("the bytes at {at:#x} are not a whole instruction")]
    Cut {
        /// Its first byte, from the start of the function.
        at: usize,
    },
    /// A jump that leads to no instruction.
    #[error("the jump at {at:#x} leads to no instruction of its function")]
    Nowhere {
        /// Its first byte, from the start of the function.
        at: usize,
    },
    /// A jump longer than an instruction can hold.
    #[error("a jump over {distance} instructions is longer than eBPF allows")]
    TooFar {
        /// How far.
        distance: i64,
    },
}

impl From<Insn> for Instruction {
    fn from(insn: Insn) -> Instruction {
        let (label, target, reference, line) = (None, None, None, None);
        Instruction { insn, label, target, reference, named: Named::Nothing, line, poisoned: 0 }
    }
}

impl Instruction {
    /// Slots of 8 bytes that it takes.
    #[must_use]
    pub fn slots(&self) -> usize {
        if self.poisoned > 0 { self.poisoned } else { self.insn.slots() }
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.slots().saturating_mul(SIZE)
    }

    /// Puts poison in its place.
    pub fn poison(&mut self) {
        self.poisoned = self.slots();
        self.insn = POISON;
        self.target = None;
    }

    /// A call of another function of this object.
    #[must_use]
    pub fn is_local_call(&self) -> bool {
        self.insn.code == CALL && matches!(self.named, Named::Function(_))
    }
}

/// The instructions in `bytes`, which are a whole function's.
///
/// # Errors
/// [`Fault::Cut`].
pub fn decode(bytes: &[u8], order: ByteOrder) -> Result<Vec<Instruction>, Fault> {
    let (mut out, mut at): (Vec<Instruction>, usize) = (Vec::with_capacity(bytes.len() / SIZE), 0);
    // By slot, the instruction that begins there.
    let mut begins = vec![None; bytes.len() / SIZE];
    while at < bytes.len() {
        let slot = at / SIZE;
        let insn = Insn::decode(bytes.get(at..).unwrap_or_default(), order).ok_or(Fault::Cut { at })?;
        if let Some(place) = begins.get_mut(slot) {
            *place = Some(out.len());
        }
        let mut new = Instruction::from(insn);
        if matches!(flow(insn), Flow::To | Flow::If | Flow::Either) {
            let distance = if insn.code == JA32 { insn.imm } else { insn.off.into() };
            // What leads out of the function leads nowhere.
            let to = (slot as i64).checked_add(1).and_then(|next| next.checked_add(distance));
            new.target = Some(Label(to.and_then(|to| usize::try_from(to).ok()).unwrap_or(usize::MAX)));
            new.insn = if insn.code == JA32 { Insn { imm: 0, ..insn } } else { Insn { off: 0, ..insn } };
        }
        at = at.saturating_add(new.size());
        out.push(new);
    }
    for n in 0..out.len() {
        let Some(target) = out.get(n).and_then(|i| i.target) else { continue };
        if let Some(to) = begins.get(target.0).copied().flatten().and_then(|to| out.get_mut(to)) {
            to.label = Some(target);
        }
    }
    Ok(out)
}

/// The bytes of `code`, and where in them each instruction begins.
///
/// # Errors
/// [`Fault::Nowhere`], [`Fault::TooFar`].
pub fn encode(code: &[Instruction], order: ByteOrder) -> Result<(Vec<u8>, Vec<usize>), Fault> {
    let mut starts = Vec::with_capacity(code.len());
    let mut labels = HashMap::new();
    let mut end = 0usize;
    for instruction in code {
        labels.extend(instruction.label.map(|label| (label, end)));
        starts.push(end);
        end = end.saturating_add(instruction.size());
    }
    let mut bytes = Vec::with_capacity(end);
    for (instruction, at) in code.iter().zip(&starts) {
        let insn = match instruction.target {
            Some(target) => {
                let to = labels.get(&target).ok_or(Fault::Nowhere { at: *at })?;
                jump(instruction.insn, at / SIZE, to / SIZE)?
            }
            None => instruction.insn,
        };
        for _ in 0..instruction.poisoned.max(1) {
            insn.encode(order, &mut bytes);
        }
    }
    Ok((bytes, starts))
}

/// The jump `insn`, in slot `from`, with the distance to slot `to`.
fn jump(insn: Insn, from: usize, to: usize) -> Result<Insn, Fault> {
    let distance = (to as i64).saturating_sub(from as i64).saturating_sub(1);
    if insn.code == JA32 {
        return i32::try_from(distance)
            .map(|imm| Insn { imm: imm.into(), ..insn })
            .map_err(|_| Fault::TooFar { distance });
    }
    i16::try_from(distance).map(|off| Insn { off, ..insn }).map_err(|_| Fault::TooFar { distance })
}

/// Where the jumps of a function lead, by number of the instruction.
#[derive(Debug)]
pub struct Targets(HashMap<Label, usize>);

impl Targets {
    /// Those of `code`.
    #[must_use]
    pub fn of(code: &[Instruction]) -> Targets {
        Targets(code.iter().enumerate().filter_map(|(n, i)| Some((i.label?, n))).collect())
    }

    /// Where the jump leads; `None` for what is no jump, and for a jump to no instruction.
    #[must_use]
    pub fn target(&self, jump: &Instruction) -> Option<usize> {
        self.0.get(&jump.target?).copied()
    }

    /// Where the instruction of this number can go on: at its target, and at the next. `None` twice for a jump of which it
    /// is not known where it leads.
    #[must_use]
    pub fn after(&self, number: usize, instruction: &Instruction) -> [Option<usize>; 2] {
        let (target, next) = (self.target(instruction), number.checked_add(1));
        match flow(instruction.insn) {
            Flow::Next => [None, next],
            Flow::To => [target, None],
            Flow::If | Flow::Either => [target, next],
            Flow::End | Flow::Anywhere => [None, None],
        }
    }
}

/// Whether `code` has a jump of which it is not known where it leads.
#[must_use]
pub fn jumps_anywhere(code: &[Instruction]) -> bool {
    code.iter().any(|i| flow(i.insn) == Flow::Anywhere)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insn::{JA, LDDW};

    const MOV: Insn = Insn { code: crate::insn::MOV64_IMM, dst: 0, src: 0, off: 0, imm: -1 };
    const EXIT: Insn = Insn { code: crate::insn::EXIT, dst: 0, src: 0, off: 0, imm: 0 };

    fn jump_to(code: u8, off: i16) -> Insn {
        Insn { code, dst: 0, src: 0, off, imm: 0 }
    }

    fn bytes(code: &[Insn], order: ByteOrder) -> Vec<u8> {
        let mut out = Vec::new();
        code.iter().for_each(|insn| insn.encode(order, &mut out));
        out
    }

    #[test]
    fn what_is_decoded_is_encoded_the_same() {
        let wide = Insn { code: LDDW, dst: 3, src: 1, off: 0, imm: 0x1122_3344_5566_7788 };
        let far = Insn { code: JA32, dst: 0, src: 0, off: 0, imm: -4 };
        let code = [MOV, wide, jump_to(JA, -4), far, jump_to(0x15, 0), EXIT];
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let bytes = bytes(&code, order);
            let decoded = decode(&bytes, order).unwrap();
            assert_eq!(decoded.len(), 6);
            assert_eq!(decoded[1].insn, wide);
            assert_eq!(Targets::of(&decoded).target(&decoded[2]), Some(0));
            assert_eq!(encode(&decoded, order).unwrap(), (bytes, vec![0, 8, 24, 32, 40, 48]));
        }
    }

    #[test]
    fn a_jump_goes_where_it_went_when_code_comes_and_goes() {
        let order = ByteOrder::Little;
        let mut code = decode(&bytes(&[jump_to(JA, 1), MOV, EXIT], order), order).unwrap();
        code.insert(1, MOV.into());
        assert_eq!(encode(&code, order).unwrap().0, bytes(&[jump_to(JA, 2), MOV, MOV, EXIT], order));
        code.drain(1..3);
        assert_eq!(encode(&code, order).unwrap().0, bytes(&[jump_to(JA, 0), EXIT], order));
    }

    #[test]
    fn what_leads_nowhere_or_is_cut_is_refused() {
        let order = ByteOrder::Little;
        for off in [-2, 1, 5] {
            let code = decode(&bytes(&[jump_to(JA, off), EXIT], order), order).unwrap();
            assert_eq!(encode(&code, order), Err(Fault::Nowhere { at: 0 }), "{off}");
        }
        // Into the midst of a wide load.
        let wide = Insn { code: LDDW, dst: 1, src: 0, off: 0, imm: 0 };
        let code = decode(&bytes(&[jump_to(JA, 1), wide, EXIT], order), order).unwrap();
        assert_eq!(encode(&code, order), Err(Fault::Nowhere { at: 0 }));
        let cut = bytes(&[EXIT, wide], order);
        assert_eq!(decode(&cut[..16], order), Err(Fault::Cut { at: 8 }));
        assert_eq!(decode(&cut[..12], order), Err(Fault::Cut { at: 8 }));
        let mut code = vec![Instruction { target: Some(Label(7)), ..jump_to(JA, 0).into() }];
        code.resize(40_000, MOV.into());
        code.push(Instruction { label: Some(Label(7)), ..EXIT.into() });
        assert_eq!(encode(&code, order), Err(Fault::TooFar { distance: 39_999 }));
    }

    #[test]
    fn poison_takes_the_slots_of_what_it_stands_for() {
        let order = ByteOrder::Little;
        let wide = Insn { code: LDDW, dst: 1, src: 0, off: 0, imm: 0 };
        let mut code = decode(&bytes(&[wide, EXIT], order), order).unwrap();
        code[0].poison();
        assert_eq!(encode(&code, order).unwrap().0, bytes(&[POISON, POISON, EXIT], order));
    }
}
