//! Changing an instruction from the local answer to the target's.

use xhint_bpf::insn::{ALU, ALU64, LD, LDDW, LDX, POISON, SRC_REG, ST, STX};
use xhint_bpf::{Insn, SIZE};
use xhint_btf::ByteOrder;

use crate::{Bits, Resolution};

/// Why an instruction can't be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The relocation's offset is no whole instruction's.
    #[error("there is no instruction at byte {0}")]
    Nowhere(usize),
    /// An instruction that holds no offset or constant.
    #[error("an instruction with opcode {0:#04x} can't be relocated")]
    Opcode(u8),
    /// The instruction does not hold what the local type says it should.
    #[error(
        "the instruction holds {found}, but by its BTF it should hold {expected}; object and BTF do not belong together"
    )]
    Mismatch {
        /// What the instruction holds.
        found: i64,
        /// What the local spec gives.
        expected: u64,
    },
    /// The new offset is too large for an instruction.
    #[error("offset {0} is too large for an instruction, which has 15 bits for it")]
    Range(u64),
    /// The field's new size is no load's or store's.
    #[error("the field changes from {from} to {to} bytes, and no load or store has that size")]
    Size {
        /// Size that the program was compiled for.
        from: u32,
        /// Size in the target.
        to: u32,
    },
}

/// The instruction as it is in the target; `None` if it has to be poisoned.
///
/// # Errors
/// See [`PatchError`].
pub fn patch(insn: Insn, res: &Resolution) -> Result<Option<Insn>, PatchError> {
    if res.poison {
        return Ok(None);
    }
    match insn.class() {
        // A source register would make it a map, a function or the like.
        LD if insn.is_wide() && insn.src == 0 && insn.off == 0 => {
            check(insn.imm, res)?;
            Ok(Some(Insn { imm: res.new as i64, ..insn }))
        }
        LDX | ST | STX => {
            match res.bits {
                Bits::Plain => {}
                Bits::Same => return Ok(Some(insn)),
                Bits::Differ => return Ok(None),
            }
            check(insn.off.into(), res)?;
            let off = i16::try_from(res.new).map_err(|_| PatchError::Range(res.new))?;
            if res.size_conflict {
                return Ok(None);
            }
            Ok(Some(Insn { code: resized(insn.code, res)?, off, ..insn }))
        }
        ALU | ALU64 if insn.code & SRC_REG == 0 => {
            check(insn.imm, res)?;
            Ok(Some(Insn { imm: (res.new as i32).into(), ..insn }))
        }
        _ => Err(PatchError::Opcode(insn.code)),
    }
}

/// Changes the instruction at byte `at`. Yields whether it was poisoned, each half of a wide one.
///
/// # Errors
/// See [`PatchError`]; the instructions are unchanged then.
pub fn patch_bytes(code: &mut [u8], at: usize, order: ByteOrder, res: &Resolution) -> Result<bool, PatchError> {
    let here = code.get(at..).unwrap_or_default();
    let wide = here.first() == Some(&LDDW);
    let insn = match Insn::decode(here, order) {
        Some(insn) => insn,
        None if wide && here.len() >= 2 * SIZE => return Err(PatchError::Opcode(LDDW)),
        None if wide && here.len() >= SIZE => return Err(PatchError::Nowhere(at.saturating_add(SIZE))),
        None => return Err(PatchError::Nowhere(at)),
    };
    let new = patch(insn, res)?;
    let mut bytes = Vec::with_capacity(2 * SIZE);
    match new {
        Some(new) => new.encode(order, &mut bytes),
        // The second half as well, lest the verifier stumble over half an instruction.
        None => (0..insn.slots()).for_each(|_| POISON.encode(order, &mut bytes)),
    }
    code.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = from);
    Ok(new.is_none())
}

fn check(found: i64, res: &Resolution) -> Result<(), PatchError> {
    if res.validate && found as u64 != res.orig {
        return Err(PatchError::Mismatch { found, expected: res.orig });
    }
    Ok(())
}

/// The code of a load or store that follows the field's size, where that is safe.
fn resized(code: u8, res: &Resolution) -> Result<u8, PatchError> {
    if res.new_size == res.orig_size {
        return Ok(code);
    }
    let failed = PatchError::Size { from: res.orig_size, to: res.new_size };
    if size_bits(res.orig_size) != Some(code & 0x18) {
        return Err(failed);
    }
    Ok(code & !0x18 | size_bits(res.new_size).ok_or(failed)?)
}

/// `BPF_B`, `BPF_H`, `BPF_W`, `BPF_DW`.
fn size_bits(bytes: u32) -> Option<u8> {
    Some(match bytes {
        1 => 0x10,
        2 => 0x08,
        4 => 0x00,
        8 => 0x18,
        _ => return None,
    })
}
