//! Changing an instruction from the local answer to the target's.

use xhint_btf::ByteOrder;

use crate::Resolution;

/// Bytes of an instruction.
const SIZE: usize = 8;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_LD | BPF_IMM | BPF_DW`, the first of two instructions that load 64 bits.
const LDIMM64: u8 = 0x18;
/// The helper that libbpf lets poisoned instructions call: 0xbad2310, "bad relo".
const POISON: i32 = 195_896_080;

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
    #[error("offset {0} does not fit in the 15 bits of an instruction")]
    Range(u64),
    /// The field's new size is no load's or store's.
    #[error("the field changes from {from} to {to} bytes, which no load or store can follow")]
    Size {
        /// Size that the program was compiled for.
        from: u32,
        /// Size in the target.
        to: u32,
    },
}

/// Changes the instruction at byte `at`. Yields whether it was poisoned.
///
/// # Errors
/// See [`PatchError`]; the instructions are unchanged then.
pub fn patch(code: &mut [u8], at: usize, order: ByteOrder, res: &Resolution) -> Result<bool, PatchError> {
    let end = code.len();
    let (first, rest) =
        code.get_mut(at..end).and_then(|tail| tail.split_first_chunk_mut::<SIZE>()).ok_or(PatchError::Nowhere(at))?;
    let mut insn = Insn { bytes: first, order };
    let wide = insn.code() == LDIMM64;
    let second = rest.first_chunk_mut::<SIZE>();
    if wide && second.is_none() {
        return Err(PatchError::Nowhere(at.saturating_add(SIZE)));
    }
    let second = second.filter(|_| wide).map(|bytes| Insn { bytes, order });
    if res.poison {
        poison(insn, second);
        return Ok(true);
    }
    match insn.code() & 7 {
        // LD
        0 => match second {
            Some(second) => insn.patch_wide(second, res)?,
            None => return Err(PatchError::Opcode(insn.code())),
        },
        // LDX, ST, STX
        1..=3 => {
            insn.check(insn.off().into(), res)?;
            let off = i16::try_from(res.new).map_err(|_| PatchError::Range(res.new))?;
            if res.size_conflict {
                poison(insn, second);
                return Ok(true);
            }
            insn.resize(res)?;
            insn.set_off(off);
        }
        // ALU, ALU64 with a constant
        4 | 7 if insn.code() & 8 == 0 => {
            insn.check(insn.imm().into(), res)?;
            insn.set_imm(res.new as i32);
        }
        _ => return Err(PatchError::Opcode(insn.code())),
    }
    Ok(false)
}

fn poison(mut first: Insn<'_>, second: Option<Insn<'_>>) {
    // The second half as well, lest the verifier stumble over half an instruction.
    if let Some(mut second) = second {
        second.poison();
    }
    first.poison();
}

/// An instruction: opcode, two registers, 16-bit offset, 32-bit constant.
struct Insn<'a> {
    bytes: &'a mut [u8; SIZE],
    order: ByteOrder,
}

impl Insn<'_> {
    fn code(&self) -> u8 {
        let [code, ..] = *self.bytes;
        code
    }

    fn off(&self) -> i16 {
        self.order.u16(self.bytes, 2).unwrap_or(0) as i16
    }

    fn imm(&self) -> i32 {
        self.order.u32(self.bytes, 4).unwrap_or(0) as i32
    }

    fn set_code(&mut self, new: u8) {
        let [code, ..] = self.bytes;
        *code = new;
    }

    fn set_off(&mut self, new: i16) {
        let [_, _, a, b, ..] = self.bytes;
        [*a, *b] = match self.order {
            ByteOrder::Little => new.to_le_bytes(),
            ByteOrder::Big => new.to_be_bytes(),
        };
    }

    fn set_imm(&mut self, new: i32) {
        let [_, _, _, _, a, b, c, d] = self.bytes;
        [*a, *b, *c, *d] = self.order.bytes(new as u32);
    }

    fn poison(&mut self) {
        *self.bytes = [CALL, 0, 0, 0, 0, 0, 0, 0];
        self.set_imm(POISON);
    }

    fn check(&self, found: i64, res: &Resolution) -> Result<(), PatchError> {
        if res.sure && found as u64 != res.orig {
            return Err(PatchError::Mismatch { found, expected: res.orig });
        }
        Ok(())
    }

    fn patch_wide(&mut self, mut second: Insn<'_>, res: &Resolution) -> Result<(), PatchError> {
        let [_, registers, o1, o2, ..] = *self.bytes;
        // A source register would make it a map, a function or the like.
        if registers_source(registers, self.order) != 0 || [o1, o2] != [0, 0] || second.bytes[..4] != [0; 4] {
            return Err(PatchError::Opcode(self.code()));
        }
        let found = u64::from(self.imm() as u32) | u64::from(second.imm() as u32) << 32;
        self.check(found as i64, res)?;
        self.set_imm(res.new as i32);
        second.set_imm((res.new >> 32) as i32);
        Ok(())
    }

    /// Follows the field's size, where that is safe.
    fn resize(&mut self, res: &Resolution) -> Result<(), PatchError> {
        if res.new_size == res.orig_size {
            return Ok(());
        }
        let failed = PatchError::Size { from: res.orig_size, to: res.new_size };
        if size_bits(res.orig_size) != Some(self.code() & 0x18) {
            return Err(failed);
        }
        let bits = size_bits(res.new_size).ok_or(failed)?;
        self.set_code(self.code() & !0x18 | bits);
        Ok(())
    }
}

/// The source register: the high half of the byte on little-endian machines, the low half on big-endian ones.
fn registers_source(registers: u8, order: ByteOrder) -> u8 {
    match order {
        ByteOrder::Little => registers >> 4,
        ByteOrder::Big => registers & 0xf,
    }
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
