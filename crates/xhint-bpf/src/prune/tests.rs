#![allow(clippy::arithmetic_side_effects, clippy::unwrap_used)]

use object::elf;

use super::*;
use crate::insn::{CALL, EXIT, LDDW, MOV64_IMM, SIZE};

const O: ByteOrder = ByteOrder::Little;

fn i(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

fn line(insn: usize, number: u32) -> LineInfo {
    LineInfo { insn_off: (insn * SIZE) as u32, file_name_off: 1, line_off: 1, line_col: number << 10 }
}

fn relocation(insn: usize, symbol: usize) -> Relocation {
    Relocation { offset: (insn * SIZE) as u64, kind: elf::R_BPF_64_64, symbol, addend: 0 }
}

/// Prunes this code; its first comparisons can go these ways.
fn pruned(code: &[Insn], lines: Vec<LineInfo>, relocations: Vec<Relocation>, known: &[(usize, [bool; 2])]) -> Body {
    let bytes: Vec<u8> = code.iter().flat_map(|i| i.bytes(O)).collect();
    let mut ways = Ways::default();
    known.iter().for_each(|(insn, way)| ways.add(insn * SIZE, *way));
    prune(Body { symbol: 3, code: bytes, relocations, func: Some(7), lines }, &ways, O)
}

fn insns(body: &Body) -> Vec<Insn> {
    instructions(&body.code, O, 0).map(|(_, insn)| insn).collect()
}

const MOV: Insn = Insn { code: MOV64_IMM, dst: 0, src: 0, off: 0, imm: 1 };
const END: Insn = Insn { code: EXIT, dst: 0, src: 0, off: 0, imm: 0 };
const POISON: Insn = Insn { code: CALL, dst: 0, src: 0, off: 0, imm: 0xbad_2310 };

#[test]
fn a_guarded_arm_goes_with_its_guard_relocation_and_line() {
    let code = [
        i(MOV64_IMM, 1, 0, 0, 0),
        i(0x15, 1, 0, 3, 0), // if r1 == 0 goto 5: always
        i(LDDW, 2, 0, 0, 0),
        i(0, 0, 0, 0, 0),
        POISON,
        i(LDDW, 3, 0, 0, 0),
        i(0, 0, 0, 0, 0),
        MOV,
        END,
    ];
    let lines = vec![line(0, 1), line(1, 2), line(2, 3), line(7, 4)];
    let body = pruned(&code, lines, vec![relocation(2, 8), relocation(5, 9)], &[(1, [true, false])]);
    assert_eq!(insns(&body), [code[0], code[5], MOV, END]);
    assert_eq!(body.relocations, [relocation(1, 9)]);
    // What had no line of its own keeps the one above it, which went.
    assert_eq!(body.lines, [line(0, 1), line(1, 3), line(3, 4)]);
    assert_eq!((body.symbol, body.func), (3, Some(7)));
}

#[test]
fn jumps_over_what_went_reach_what_they_reached() {
    let code = [
        i(0x15, 1, 0, 4, 7), // to 5
        i(0x15, 2, 0, 1, 0), // never
        i(0x05, 0, 0, 1, 0), // to 4
        POISON,
        i(0x05, 0, 0, 0, 0),  // to the next
        i(0x55, 3, 0, -6, 9), // to 0
        i(0x05, 0, 0, 1, 0),  // to 8
        POISON,
        END,
    ];
    let body = pruned(&code, vec![], vec![], &[(0, [true, true]), (1, [false, true]), (5, [true, true])]);
    assert_eq!(insns(&body), [i(0x15, 1, 0, 0, 7), i(0x55, 3, 0, -2, 9), END]);
}

#[test]
fn a_comparison_that_always_jumps_back_becomes_a_jump() {
    let code = [i(0xe5, 0, 0, 3, 0), MOV, i(0x1d, 1, 2, -3, 0), POISON, END];
    let body = pruned(&code, vec![], vec![], &[(2, [true, false])]);
    assert_eq!(insns(&body), [i(0xe5, 0, 0, 2, 0), MOV, i(JA, 0, 0, -3, 0), END]);
}

#[test]
fn a_long_jump_keeps_its_form_and_code_with_unknown_jumps_stays() {
    let code = [i(0x06, 0, 0, 0, 2), POISON, MOV, i(0x15, 1, 0, -2, 0), END];
    let body = pruned(&code, vec![], vec![], &[(3, [true, true])]);
    assert_eq!(insns(&body)[..1], [i(0x06, 0, 0, 0, 1)]);
    let code = [i(0x0d, 1, 0, 0, 0), POISON, END];
    assert_eq!(insns(&pruned(&code, vec![], vec![], &[])), code);
}
