//! One eBPF instruction: RFC 9669, section 3.

use xhint_btf::ByteOrder;

/// Bytes of an instruction; a wide one takes two.
pub const SIZE: usize = 8;

// Classes, the low three bits of the code.

/// Load a constant, or of old from the packet.
pub const LD: u8 = 0;
/// Load from memory.
pub const LDX: u8 = 1;
/// Store a constant.
pub const ST: u8 = 2;
/// Store a register.
pub const STX: u8 = 3;
/// Arithmetic on 32 bits.
pub const ALU: u8 = 4;
/// Jump by a comparison of 64 bits, call, end.
pub const JMP: u8 = 5;
/// Jump by a comparison of 32 bits.
pub const JMP32: u8 = 6;
/// Arithmetic on 64 bits.
pub const ALU64: u8 = 7;

/// The source operand is a register.
pub const SRC_REG: u8 = 0x08;

// Codes that are asked for by name.

/// Load 64 bits: the wide instruction.
pub const LDDW: u8 = 0x18;
/// Call.
pub const CALL: u8 = 0x85;
/// End the function.
pub const EXIT: u8 = 0x95;
/// Jump by the offset.
pub const JA: u8 = 0x05;
/// Jump by the 32-bit immediate.
pub const JA32: u8 = 0x06;
/// Move a constant.
pub const MOV64_IMM: u8 = 0xb7;
/// Move a register.
pub const MOV64_REG: u8 = 0xbf;
/// The operation of an ALU instruction that moves.
pub const MOV_OP: u8 = 0xb0;
/// Add a register.
pub const ADD64_REG: u8 = 0x0f;
/// Subtract a register.
pub const SUB64_REG: u8 = 0x1f;

/// `src` of a call: another function of this object, by distance.
pub const PSEUDO_CALL: u8 = 1;
/// `src` of a wide load: the address of a function of this object.
pub const PSEUDO_FUNC: u8 = 4;

/// What libbpf puts in the place of an instruction whose relocation has no answer: a call of the helper 0xbad2310, "bad
/// relo", which there is none of.
pub const POISON: Insn = Insn { code: CALL, dst: 0, src: 0, off: 0, imm: 0xbad_2310 };

/// A decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Insn {
    /// What to do.
    pub code: u8,
    /// The register it is done to.
    pub dst: u8,
    /// The other register, or what kind of thing the constant is.
    pub src: u8,
    /// Bytes from an address, or instructions to jump over.
    pub off: i16,
    /// The constant: 32 bits with a sign, all 64 of a wide load.
    pub imm: i64,
}

impl Insn {
    /// The instruction that `bytes` begin with. `None` if they end within it, or if it is a wide load whose second half is
    /// none.
    #[must_use]
    pub fn decode(bytes: &[u8], order: ByteOrder) -> Option<Insn> {
        let (raw, rest) = bytes.split_first_chunk::<SIZE>()?;
        let [code, regs, ..] = *raw;
        let (dst, src) = match order {
            ByteOrder::Little => (regs & 0xf, regs >> 4),
            ByteOrder::Big => (regs >> 4, regs & 0xf),
        };
        let (off, low) = (order.u16(raw, 2)?.cast_signed(), order.u32(raw, 4)?);
        let imm = match code {
            LDDW => {
                let second = rest.first_chunk::<SIZE>().filter(|second| second.starts_with(&[0; 4]))?;
                (u64::from(order.u32(second, 4)?) << 32 | u64::from(low)).cast_signed()
            }
            _ => low.cast_signed().into(),
        };
        Some(Insn { code, dst, src, off, imm })
    }

    /// Appends its bytes.
    pub fn encode(self, order: ByteOrder, out: &mut Vec<u8>) {
        let regs = match order {
            ByteOrder::Little => self.dst | self.src << 4,
            ByteOrder::Big => self.dst << 4 | self.src,
        };
        let off = match order {
            ByteOrder::Little => self.off.to_le_bytes(),
            ByteOrder::Big => self.off.to_be_bytes(),
        };
        out.extend([self.code, regs]);
        out.extend(off);
        out.extend(order.bytes(self.imm as u32));
        if self.is_wide() {
            out.extend([0; 4]);
            out.extend(order.bytes((self.imm >> 32) as u32));
        }
    }

    /// Its class.
    #[must_use]
    pub fn class(self) -> u8 {
        self.code & 7
    }

    /// The operation of an ALU or jump instruction.
    #[must_use]
    pub fn op(self) -> u8 {
        self.code & 0xf0
    }

    /// Whether it loads 64 bits, in two slots.
    #[must_use]
    pub fn is_wide(self) -> bool {
        self.code == LDDW
    }

    /// Slots of 8 bytes that it takes.
    #[must_use]
    pub fn slots(self) -> usize {
        if self.is_wide() { 2 } else { 1 }
    }

    /// Bytes that a load or store moves.
    #[must_use]
    pub fn access_bytes(self) -> u8 {
        match self.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        }
    }

    /// A call of another function of this object by distance, before a relocation says otherwise.
    #[must_use]
    pub fn is_local_call(self) -> bool {
        self.code == CALL && self.src == PSEUDO_CALL
    }
}
