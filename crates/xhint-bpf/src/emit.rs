//! Writing instructions with labels in place of distances.

use std::collections::BTreeMap;

use object::elf;
use xhint_btf::ByteOrder;
use xhint_btf::ext::LineInfo;

use crate::assembly::Body;
use crate::image::Relocation;
use crate::insn::{
    ALU64, CALL, EXIT, Insn, JA, JA32, JMP, JMP32, LDDW, LDX, MOV64_IMM, MOV64_REG, PSEUDO_CALL, SIZE, SRC_REG, ST, STX,
};
use crate::{Error, assembly};

/// A place to jump to, before it is known where that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(usize);

/// Registers.
pub const R0: u8 = 0;
pub const R1: u8 = 1;
pub const R2: u8 = 2;
pub const R3: u8 = 3;
pub const R4: u8 = 4;
pub const R5: u8 = 5;
pub const R6: u8 = 6;
pub const R7: u8 = 7;
pub const R8: u8 = 8;
pub const R9: u8 = 9;
/// The frame pointer.
pub const R10: u8 = 10;

/// Comparisons of a conditional jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum If {
    Equal = 0x10,
    Above = 0x20,
    NotEqual = 0x50,
    Below = 0xa0,
}

/// Operations on a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    Add = 0x00,
    Or = 0x40,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Xor = 0xa0,
}

/// Instructions, their relocations and lines; offsets count from the first.
pub struct Code {
    pub bytes: Vec<u8>,
    pub relocations: Vec<Relocation>,
    pub lines: Vec<LineInfo>,
}

/// Code in the making.
pub struct Emit {
    order: ByteOrder,
    code: Vec<u8>,
    relocations: Vec<Relocation>,
    lines: Vec<LineInfo>,
    /// Where each label stands, once it was put.
    labels: BTreeMap<Label, usize>,
    /// Jumps that want their distance: where they stand, and what they jump to.
    jumps: Vec<(usize, Label)>,
    next: usize,
}

impl Emit {
    pub fn new(order: ByteOrder) -> Emit {
        let labels = BTreeMap::new();
        Emit { order, code: vec![], relocations: vec![], lines: vec![], labels, jumps: vec![], next: 0 }
    }

    pub fn label(&mut self) -> Label {
        self.next = self.next.saturating_add(1);
        Label(self.next)
    }

    /// The label stands here.
    pub fn put(&mut self, label: Label) {
        self.labels.insert(label, self.code.len());
    }

    /// Whether anything jumps to the label.
    pub fn is_wanted(&self, label: Label) -> bool {
        self.jumps.iter().any(|(_, to)| *to == label)
    }

    pub fn insn(&mut self, insn: Insn) {
        self.code.extend(insn.bytes(self.order));
    }

    fn raw(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insn(Insn { code, dst, src, off, imm });
    }

    pub fn mov(&mut self, dst: u8, src: u8) {
        self.raw(MOV64_REG, dst, src, 0, 0);
    }

    pub fn mov_imm(&mut self, dst: u8, imm: i32) {
        self.raw(MOV64_IMM, dst, 0, 0, imm);
    }

    /// Loads a 64-bit constant.
    pub fn wide(&mut self, dst: u8, value: u64) {
        self.raw(LDDW, dst, 0, 0, value as u32 as i32);
        self.raw(0, 0, 0, 0, (value >> 32) as u32 as i32);
    }

    /// Loads the address of what `symbol` names (a map, or a variable `offset` bytes in).
    pub fn address(&mut self, dst: u8, symbol: usize, offset: i32) {
        self.relocation(elf::R_BPF_64_64, symbol);
        self.raw(LDDW, dst, 0, 0, offset);
        self.raw(0, 0, 0, 0, 0);
    }

    pub fn op(&mut self, op: Op, dst: u8, imm: i32) {
        self.raw(op as u8 | ALU64, dst, 0, 0, imm);
    }

    pub fn op_reg(&mut self, op: Op, dst: u8, src: u8) {
        self.raw(op as u8 | SRC_REG | ALU64, dst, src, 0, 0);
    }

    /// `second` = the eight bytes that are the low half of `first` followed in memory by that of `second`, which is all
    /// there is in them. `first` is used up.
    pub fn pair(&mut self, second: u8, first: u8) {
        let behind = if self.order == ByteOrder::Little { second } else { first };
        self.op(Op::Lsh, behind, 32);
        self.op_reg(Op::Or, second, first);
    }

    /// 32-bit multiplication; the upper half becomes 0.
    pub fn mul32(&mut self, dst: u8, imm: u32) {
        self.raw(0x24, dst, 0, 0, imm as i32);
    }

    /// `dst = *(uN *)(src + off)`; `bytes` is 1, 2, 4 or 8.
    pub fn load(&mut self, bytes: u32, dst: u8, src: u8, off: i16) {
        self.raw(width(bytes) | LDX, dst, src, off, 0);
    }

    /// `*(uN *)(dst + off) = src`; `bytes` as in [`Emit::load`].
    pub fn store(&mut self, bytes: u32, dst: u8, off: i16, src: u8) {
        self.raw(width(bytes) | STX, dst, src, off, 0);
    }

    /// `*(uN *)(dst + off) = imm`, which is extended by its sign.
    pub fn store_imm(&mut self, bytes: u32, dst: u8, off: i16, imm: i32) {
        self.raw(width(bytes) | ST, dst, 0, off, imm);
    }

    /// `*(u64 *)(dst + off) += src`, whole for all processors.
    pub fn atomic_add(&mut self, dst: u8, off: i16, src: u8) {
        // BPF_STX | BPF_ATOMIC | BPF_DW; the operation, BPF_ADD, is 0.
        self.raw(0xdb, dst, src, off, 0);
    }

    /// Turns the low `bytes` around.
    pub fn swap(&mut self, dst: u8, bytes: u32) {
        // To the order that is not the target's.
        let to = if self.order == ByteOrder::Little { SRC_REG } else { 0 };
        self.raw(0xd0 | to | 4, dst, 0, 0, (bytes as i32).saturating_mul(8));
    }

    /// 64-bit comparison of two registers.
    pub fn jump_if(&mut self, cond: If, a: u8, b: u8, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.raw(cond as u8 | SRC_REG | JMP, a, b, 0, 0);
    }

    /// 64-bit comparison with a small constant.
    pub fn jump_if_imm(&mut self, cond: If, a: u8, imm: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.raw(cond as u8 | JMP, a, 0, 0, imm);
    }

    /// 32-bit unsigned comparison with a constant.
    pub fn jump_if_imm32(&mut self, cond: If, a: u8, imm: u32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.raw(cond as u8 | JMP32, a, 0, 0, imm as i32);
    }

    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.raw(JA, 0, 0, 0, 0);
    }

    /// A jump like `insn`, to `to`.
    pub fn jump_as(&mut self, insn: Insn, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.insn(if insn.code == JA32 { Insn { code: JA, imm: 0, ..insn } } else { insn });
    }

    /// The next instruction is relocated like this.
    pub fn relocation_here(&mut self, relocation: Relocation) {
        self.relocations.push(Relocation { offset: self.code.len() as u64, ..relocation });
    }

    /// The next instruction begins this line.
    pub fn line_here(&mut self, line: LineInfo) {
        self.lines.push(LineInfo { insn_off: self.code.len() as u32, ..line });
    }

    /// Calls a function of this object.
    pub fn call(&mut self, symbol: usize) {
        self.relocation(elf::R_BPF_64_32, symbol);
        self.raw(CALL, 0, PSEUDO_CALL, 0, -1);
    }

    /// Calls a helper of the kernel.
    pub fn helper(&mut self, number: i32) {
        self.raw(CALL, 0, 0, 0, number);
    }

    /// Goes on with the instructions of `body`, its relocations and lines.
    pub fn body(&mut self, body: Body) {
        let start = self.code.len();
        let moved = |r: Relocation| Relocation { offset: r.offset.saturating_add(start as u64), ..r };
        self.relocations.extend(body.relocations.into_iter().map(moved));
        let moved = |l: LineInfo| LineInfo { insn_off: l.insn_off.saturating_add(start as u32), ..l };
        self.lines.extend(body.lines.into_iter().map(moved));
        self.code.extend(body.code);
    }

    pub fn exit(&mut self) {
        self.raw(EXIT, 0, 0, 0, 0);
    }

    fn relocation(&mut self, kind: elf::RelocationType, symbol: usize) {
        self.relocations.push(Relocation { offset: self.code.len() as u64, kind, symbol, addend: 0 });
    }

    /// The code, each jump with its distance.
    ///
    /// # Errors
    /// [`Error::TooFar`] for a jump beyond 32,767 instructions.
    pub fn finish(mut self) -> Result<Code, Error> {
        for (at, label) in std::mem::take(&mut self.jumps) {
            let to = self.labels.get(&label).copied().unwrap_or(0) / SIZE;
            let from = (at / SIZE).saturating_add(1);
            let distance = (to as i64).saturating_sub(from as i64);
            let off = i16::try_from(distance).map_err(|_| Error::TooFar { distance })?;
            if let Some(insn) = Insn::at(&self.code, at, self.order) {
                assembly::set(&mut self.code, at, &Insn { off, ..insn }.bytes(self.order));
            }
        }
        Ok(Code { bytes: self.code, relocations: self.relocations, lines: self.lines })
    }
}

/// The part of a load's or store's code that says how wide it is, with BPF_MEM.
fn width(bytes: u32) -> u8 {
    let size = match bytes {
        1 => 0x10,
        2 => 0x08,
        8 => 0x18,
        _ => 0x00,
    };
    size | 0x60
}
