//! What is known of registers and stack slots at one point.

use std::collections::BTreeMap;

use crate::insn::{ALU, ALU64, CALL, Insn, JMP32, LD, LDDW, LDX, MOV_OP, SRC_REG, ST, STX};

/// Constants that are known. The default knows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    regs: [Option<u64>; 11],
    /// Eight-byte stack slots by their offset from r10. Only what is spilled by r10 is followed: a callee that writes
    /// through a pointer into a slot the compiler spilled to would be a program the compiler did not make.
    slots: BTreeMap<i16, u64>,
}

const FRAME: u8 = 10;
const MEM_DW: u8 = 0x78;

impl State {
    /// Keeps what `other` knows too. Whether anything was lost.
    pub fn join(&mut self, other: &State) -> bool {
        let before = (self.regs, self.slots.len());
        for (mine, theirs) in self.regs.iter_mut().zip(other.regs) {
            if *mine != theirs {
                *mine = None;
            }
        }
        self.slots.retain(|off, value| other.slots.get(off) == Some(value));
        before != (self.regs, self.slots.len())
    }

    /// What a callee knows at its start.
    pub fn arguments(&self) -> State {
        let mut out = State::default();
        for (to, from) in out.regs.iter_mut().zip(self.regs).take(6).skip(1) {
            *to = from;
        }
        out
    }

    /// Runs an instruction that is no jump; `second` is the one behind it, for wide loads.
    pub fn run(&mut self, insn: Insn, second: Option<Insn>) {
        match insn.class() {
            ALU | ALU64 => {
                let value = self.alu(insn);
                self.set(insn.dst, value);
            }
            LD if insn.code == LDDW => {
                // A source other than 0 stands for a map, a variable or a function: an address.
                let high = second.filter(|_| insn.src == 0).map(|s| (s.imm as u32 as u64) << 32);
                self.set(insn.dst, high.map(|h| h | u64::from(insn.imm as u32)));
            }
            LD => self.clobber(),
            LDX => {
                let spilled = insn.src == FRAME && insn.code == MEM_DW | 1;
                let value = if spilled { self.slots.get(&insn.off).copied() } else { None };
                self.set(insn.dst, value);
            }
            ST | STX if insn.dst == FRAME => self.store(insn),
            STX if insn.code & 0xe0 == 0xc0 => self.forget_result(Insn { dst: insn.src, ..insn }),
            _ if insn.code == CALL => self.clobber(),
            _ => {}
        }
    }

    /// An instruction whose result cannot be known.
    pub fn forget_result(&mut self, insn: Insn) {
        match insn.class() {
            ALU | ALU64 | LD | LDX => self.set(insn.dst, None),
            // An atomic operation may fetch into its source or into r0.
            ST | STX => {
                self.set(insn.dst, None);
                self.set(0, None);
                self.slots.clear();
            }
            _ => self.clobber(),
        }
    }

    /// Whether the constants decide a conditional jump, and how.
    pub fn decide(&self, insn: Insn) -> Option<bool> {
        let (mut a, mut b) = (self.get(insn.dst)?, self.operand(insn)?);
        let narrow = insn.class() == JMP32;
        if narrow {
            (a, b) = (a & 0xffff_ffff, b & 0xffff_ffff);
        }
        let signed = |v: u64| if narrow { i64::from(v as u32 as i32) } else { v as i64 };
        Some(match insn.op() {
            0x10 => a == b,
            0x20 => a > b,
            0x30 => a >= b,
            0x40 => a & b != 0,
            0x50 => a != b,
            0x60 => signed(a) > signed(b),
            0x70 => signed(a) >= signed(b),
            0xa0 => a < b,
            0xb0 => a <= b,
            0xc0 => signed(a) < signed(b),
            0xd0 => signed(a) <= signed(b),
            _ => return None,
        })
    }

    /// The state on the side of a conditional jump that is `taken` or not.
    pub fn assume(&self, insn: Insn, taken: bool) -> State {
        let mut out = self.clone();
        let equal = matches!((insn.op(), taken), (0x10, true) | (0x50, false));
        if equal
            && insn.class() != JMP32
            && let Some(value) = self.operand(insn)
        {
            out.set(insn.dst, Some(value));
        }
        out
    }

    fn alu(&self, insn: Insn) -> Option<u64> {
        let narrow = insn.class() == ALU;
        let cut = |v: u64| if narrow { v & 0xffff_ffff } else { v };
        let b = cut(match insn.op() {
            0x80 | 0xd0 => 0, // negation and byte swaps have no second operand
            _ => self.operand(insn)?,
        });
        if insn.op() == MOV_OP {
            let extended = match insn.off {
                0 => b,
                8 => b as i8 as u64,
                16 => b as i16 as u64,
                32 => b as i32 as u64,
                _ => return None,
            };
            return Some(cut(extended));
        }
        let a = cut(self.get(insn.dst)?);
        let shift = (b & if narrow { 31 } else { 63 }) as u32;
        Some(cut(match insn.op() {
            0x00 => a.wrapping_add(b),
            0x10 => a.wrapping_sub(b),
            0x20 => a.wrapping_mul(b),
            // Signed division has offset 1; by zero gives zero, modulo zero the dividend.
            0x30 if insn.off == 0 => a.checked_div(b).unwrap_or(0),
            0x90 if insn.off == 0 => a.checked_rem(b).unwrap_or(a),
            0x40 => a | b,
            0x50 => a & b,
            0x60 => a.wrapping_shl(shift),
            0x70 => a.wrapping_shr(shift),
            0x80 => a.wrapping_neg(),
            0xa0 => a ^ b,
            0xc0 if narrow => u64::from((a as u32 as i32).wrapping_shr(shift) as u32),
            0xc0 => (a as i64).wrapping_shr(shift) as u64,
            _ => return None,
        }))
    }

    /// The second operand of an ALU or jump instruction.
    pub fn operand(&self, insn: Insn) -> Option<u64> {
        if insn.code & SRC_REG != 0 { self.get(insn.src) } else { Some(i64::from(insn.imm) as u64) }
    }

    fn store(&mut self, insn: Insn) {
        // What overlaps the eight bytes from here on is no longer known, whatever the width.
        let (low, high) = (insn.off.saturating_sub(7), insn.off.saturating_add(7));
        self.slots.retain(|off, _| *off < low || *off > high);
        let value = match insn.code {
            c if c == MEM_DW | STX => self.get(insn.src),
            c if c == MEM_DW | ST => Some(i64::from(insn.imm) as u64),
            _ => None,
        };
        if let Some(value) = value {
            self.slots.insert(insn.off, value);
        }
    }

    fn clobber(&mut self) {
        self.regs.iter_mut().take(6).for_each(|r| *r = None);
    }

    fn get(&self, reg: u8) -> Option<u64> {
        self.regs.get(usize::from(reg)).copied().flatten()
    }

    fn set(&mut self, reg: u8, value: Option<u64>) {
        if let Some(slot) = self.regs.get_mut(usize::from(reg)) {
            *slot = value;
        }
    }
}
