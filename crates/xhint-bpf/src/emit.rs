//! Writing instructions with labels in place of distances.

use std::collections::HashMap;

use xhint_btf::ByteOrder;
use xhint_btf::ext::LineInfo;

use crate::insn::{
    ALU64, CALL, EXIT, Insn, JA, JMP, JMP32, LDDW, LDX, MOV64_IMM, MOV64_REG, PSEUDO_CALL, SRC_REG, ST, STX,
};
use crate::{Instruction, Label, Reference, SymbolId};

/// Registers.
#[expect(missing_docs, reason = "their names say it")]
pub mod reg {
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
}

/// Comparisons of a conditional jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum If {
    /// `==`
    Equal = 0x10,
    /// `>`, unsigned
    Above = 0x20,
    /// `!=`
    NotEqual = 0x50,
    /// `<`, unsigned
    Below = 0xa0,
}

impl If {
    fn code(self) -> u8 {
        self as u8
    }
}

/// Operations on a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// `+`
    Add = 0x00,
    /// `|`
    Or = 0x40,
    /// `&`
    And = 0x50,
    /// `<<`
    Lsh = 0x60,
    /// `>>, unsigned`
    Rsh = 0x70,
    /// `^`
    Xor = 0xa0,
}

impl Op {
    fn code(self) -> u8 {
        self as u8
    }
}

/// An immediate: 32 bits, which a 64-bit operation extends by their sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imm(i32);

impl From<i32> for Imm {
    fn from(number: i32) -> Imm {
        Imm(number)
    }
}

/// These bits.
impl From<u32> for Imm {
    fn from(bits: u32) -> Imm {
        Imm(bits.cast_signed())
    }
}

impl From<i16> for Imm {
    fn from(number: i16) -> Imm {
        Imm(number.into())
    }
}

impl From<u16> for Imm {
    fn from(number: u16) -> Imm {
        Imm(number.into())
    }
}

/// Code in the making.
#[derive(Debug)]
pub struct Emit {
    order: ByteOrder,
    code: Vec<Instruction>,
    /// The next label that nobody has.
    next: usize,
    /// The label that stands where the next instruction will be, and the line that begins there.
    here: Option<Label>,
    line: Option<LineInfo>,
    /// Labels that stand where another stands already.
    same: HashMap<Label, Label>,
}

impl Emit {
    /// Code for a machine of this byte order.
    #[must_use]
    pub fn new(order: ByteOrder) -> Emit {
        Emit { order, code: vec![], next: 0, here: None, line: None, same: HashMap::new() }
    }

    /// A label that stands nowhere yet.
    pub fn label(&mut self) -> Label {
        self.next = self.next.saturating_add(1);
        Label(self.next)
    }

    /// The label stands here.
    pub fn put(&mut self, label: Label) {
        match self.here {
            Some(here) => drop(self.same.insert(label, here)),
            None => self.here = Some(label),
        }
    }

    /// Whether anything jumps to the label.
    #[must_use]
    pub fn is_wanted(&self, label: Label) -> bool {
        self.code.iter().any(|i| i.target == Some(label))
    }

    /// An instruction with all that hangs on it; its labels are of this code.
    pub fn push(&mut self, instruction: Instruction) {
        instruction.label.into_iter().for_each(|own| self.put(own));
        let line = self.line.take();
        self.code.push(Instruction { label: self.here.take(), line: instruction.line.or(line), ..instruction });
    }

    /// The next instruction begins this line.
    pub fn line_here(&mut self, line: LineInfo) {
        self.line = Some(line);
    }

    /// An instruction.
    pub fn insn(&mut self, insn: Insn) {
        self.push(insn.into());
    }

    fn raw(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: impl Into<Imm>) {
        self.insn(Insn { code, dst, src, off, imm: imm.into().0.into() });
    }

    fn jump_raw(&mut self, to: Label, code: u8, dst: u8, src: u8, imm: impl Into<Imm>) {
        let imm = imm.into().0.into();
        self.push(Instruction { target: Some(to), ..Insn { code, dst, src, off: 0, imm }.into() });
    }

    fn referring(&mut self, insn: Insn, symbol: SymbolId, kind: u32) {
        self.push(Instruction { reference: Some(Reference { symbol, kind, addend: 0 }), ..insn.into() });
    }

    /// `dst = src`.
    pub fn mov(&mut self, dst: u8, src: u8) {
        self.raw(MOV64_REG, dst, src, 0, 0);
    }

    /// `dst = imm`.
    pub fn mov_imm(&mut self, dst: u8, imm: impl Into<Imm>) {
        self.raw(MOV64_IMM, dst, 0, 0, imm);
    }

    /// Loads a 64-bit constant.
    pub fn wide(&mut self, dst: u8, value: u64) {
        self.insn(Insn { code: LDDW, dst, src: 0, off: 0, imm: value.cast_signed() });
    }

    /// Loads the address of what `symbol` names (a map, or a variable `offset` bytes in).
    pub fn address(&mut self, dst: u8, symbol: SymbolId, offset: u32) {
        self.referring(Insn { code: LDDW, dst, src: 0, off: 0, imm: offset.into() }, symbol, Reference::ADDRESS);
    }

    /// `dst = dst op imm`.
    pub fn op(&mut self, op: Op, dst: u8, imm: impl Into<Imm>) {
        self.raw(op.code() | ALU64, dst, 0, 0, imm);
    }

    /// `dst = dst op src`.
    pub fn op_reg(&mut self, op: Op, dst: u8, src: u8) {
        self.raw(op.code() | SRC_REG | ALU64, dst, src, 0, 0);
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
        self.raw(0x24, dst, 0, 0, imm);
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
    pub fn store_imm(&mut self, bytes: u32, dst: u8, off: i16, imm: impl Into<Imm>) {
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
        self.raw(0xd0 | to | 4, dst, 0, 0, bytes << 3);
    }

    /// 64-bit comparison of two registers.
    pub fn jump_if(&mut self, cond: If, a: u8, b: u8, to: Label) {
        self.jump_raw(to, cond.code() | SRC_REG | JMP, a, b, 0);
    }

    /// 64-bit comparison with a small constant.
    pub fn jump_if_imm(&mut self, cond: If, a: u8, imm: impl Into<Imm>, to: Label) {
        self.jump_raw(to, cond.code() | JMP, a, 0, imm);
    }

    /// 32-bit unsigned comparison with a constant.
    pub fn jump_if_imm32(&mut self, cond: If, a: u8, imm: u32, to: Label) {
        self.jump_raw(to, cond.code() | JMP32, a, 0, imm);
    }

    /// Goes there.
    pub fn jump(&mut self, to: Label) {
        self.jump_raw(to, JA, 0, 0, 0);
    }

    /// Calls a function of this object.
    pub fn call(&mut self, symbol: SymbolId) {
        // A loader adds one to it, for the distance counts from the next instruction.
        self.referring(Insn { code: CALL, dst: 0, src: PSEUDO_CALL, off: 0, imm: -1 }, symbol, Reference::CALL);
    }

    /// Calls a helper of the kernel.
    pub fn helper(&mut self, number: i32) {
        self.raw(CALL, 0, 0, 0, number);
    }

    /// Goes on with the instructions of another function.
    pub fn body(&mut self, code: Vec<Instruction>) {
        let imported = self.import(code);
        imported.into_iter().for_each(|instruction| self.push(instruction));
    }

    /// `code` with labels of this code in place of its own.
    #[must_use]
    pub fn import(&mut self, mut code: Vec<Instruction>) -> Vec<Instruction> {
        let mut new: HashMap<Label, Label> = HashMap::new();
        for label in code.iter_mut().flat_map(|i| [&mut i.label, &mut i.target]).flatten() {
            *label = *new.entry(*label).or_insert_with(|| self.label());
        }
        code
    }

    /// Ends the function.
    pub fn exit(&mut self) {
        self.raw(EXIT, 0, 0, 0, 0);
    }

    /// The code.
    #[must_use]
    pub fn finish(mut self) -> Vec<Instruction> {
        for target in self.code.iter_mut().filter_map(|i| i.target.as_mut()) {
            // What stands where another stands was put there when that stood already.
            while let Some(same) = self.same.get(target) {
                *target = *same;
            }
        }
        self.code
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
