//! One eBPF instruction: RFC 9669, section 3.

use xhint_btf::ByteOrder;

/// Bytes of an instruction; a wide one takes two.
pub const SIZE: usize = 8;

/// Classes, the low three bits of the code.
pub const LD: u8 = 0;
pub const LDX: u8 = 1;
pub const ST: u8 = 2;
pub const STX: u8 = 3;
pub const ALU: u8 = 4;
pub const JMP: u8 = 5;
pub const JMP32: u8 = 6;
pub const ALU64: u8 = 7;

/// The source operand is a register.
pub const SRC_REG: u8 = 0x08;

/// Codes that are asked for by name.
pub const LDDW: u8 = 0x18;
pub const CALL: u8 = 0x85;
pub const EXIT: u8 = 0x95;
pub const JA: u8 = 0x05;
/// Jump by the 32-bit immediate.
pub const JA32: u8 = 0x06;
pub const MOV64_IMM: u8 = 0xb7;
pub const MOV64_REG: u8 = 0xbf;
/// The operation of an ALU instruction that moves.
pub const MOV_OP: u8 = 0xb0;
pub const ADD64_REG: u8 = 0x0f;
pub const SUB64_REG: u8 = 0x1f;

/// `src` of a call: another function of this object, by distance.
pub const PSEUDO_CALL: u8 = 1;
/// `src` of a wide load: the address of a function of this object.
pub const PSEUDO_FUNC: u8 = 4;

/// A decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    pub code: u8,
    pub dst: u8,
    pub src: u8,
    pub off: i16,
    pub imm: i32,
}

impl Insn {
    /// The instruction at byte `at`, or `None` if it does not lie within `code`.
    pub fn at(code: &[u8], at: usize, order: ByteOrder) -> Option<Insn> {
        let raw: [u8; SIZE] = *code.get(at..)?.first_chunk()?;
        let [op, regs, ..] = raw;
        let (dst, src) = match order {
            ByteOrder::Little => (regs & 0xf, regs >> 4),
            ByteOrder::Big => (regs >> 4, regs & 0xf),
        };
        let off = order.u16(&raw, 2)? as i16;
        Some(Insn { code: op, dst, src, off, imm: order.u32(&raw, 4)? as i32 })
    }

    /// The bytes of the instruction.
    pub fn bytes(self, order: ByteOrder) -> [u8; SIZE] {
        let regs = match order {
            ByteOrder::Little => self.dst | self.src << 4,
            ByteOrder::Big => self.dst << 4 | self.src,
        };
        let off = match order {
            ByteOrder::Little => self.off.to_le_bytes(),
            ByteOrder::Big => self.off.to_be_bytes(),
        };
        let [o0, o1] = off;
        let [i0, i1, i2, i3] = order.bytes(self.imm as u32);
        [self.code, regs, o0, o1, i0, i1, i2, i3]
    }

    pub fn class(self) -> u8 {
        self.code & 7
    }

    /// The operation of an ALU or jump instruction.
    pub fn op(self) -> u8 {
        self.code & 0xf0
    }

    pub fn is_wide(self) -> bool {
        self.code == LDDW
    }

    /// Bytes that it takes.
    pub fn size(self) -> usize {
        if self.is_wide() { 2 * SIZE } else { SIZE }
    }

    /// A call of another function of this object.
    pub fn is_local_call(self) -> bool {
        self.code == CALL && self.src == PSEUDO_CALL
    }
}

/// The instructions of `code` from byte `at` on, each with its place.
pub fn instructions(code: &[u8], order: ByteOrder, mut at: usize) -> impl Iterator<Item = (usize, Insn)> {
    std::iter::from_fn(move || {
        let (here, insn) = (at, Insn::at(code, at, order)?);
        at = at.saturating_add(insn.size());
        Some((here, insn))
    })
}
