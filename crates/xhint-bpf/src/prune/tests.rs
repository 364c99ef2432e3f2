#![allow(clippy::arithmetic_side_effects)]

use xhint_btf::ByteOrder;
use xhint_btf::ext::LineInfo;

use super::*;
use crate::insn::{EXIT, LDDW, MOV64_IMM, POISON};
use crate::{Reference, SymbolId, decode, encode};

const O: ByteOrder = ByteOrder::Little;

fn i(code: u8, dst: u8, src: u8, off: i16, imm: i64) -> Insn {
    Insn { code, dst, src, off, imm }
}

fn line(number: u32) -> Option<LineInfo> {
    Some(LineInfo { insn_off: 0, file_name_off: 1, line_off: 1, line_col: number << 10 })
}

fn names(symbol: usize) -> Option<Reference> {
    Some(Reference { symbol: SymbolId(symbol), kind: Reference::ADDRESS, addend: 0 })
}

fn code(insns: &[Insn]) -> Vec<Instruction> {
    let mut bytes = Vec::new();
    insns.iter().for_each(|i| i.encode(O, &mut bytes));
    decode(&bytes, O).unwrap()
}

/// Prunes this code; its first comparisons can go these branches.
fn pruned(code: Vec<Instruction>, known: &[(usize, [bool; 2])]) -> Vec<Instruction> {
    let mut branches = Branches::default();
    known.iter().for_each(|(insn, taken)| branches.add(*insn, *taken));
    prune(code, &branches)
}

/// As bytes say it, distances included.
fn insns(code: &[Instruction]) -> Vec<Insn> {
    let (bytes, starts) = encode(code, O).unwrap();
    starts.iter().map(|at| Insn::decode(&bytes[*at..], O).unwrap()).collect()
}

const MOV: Insn = Insn { code: MOV64_IMM, dst: 0, src: 0, off: 0, imm: 1 };
const END: Insn = Insn { code: EXIT, dst: 0, src: 0, off: 0, imm: 0 };

#[test]
fn a_guarded_arm_goes_with_its_guard_reference_and_line() {
    let all = [
        i(MOV64_IMM, 1, 0, 0, 0),
        i(0x15, 1, 0, 3, 0), // if r1 == 0 goto 4: always
        i(LDDW, 2, 0, 0, 0),
        POISON,
        i(LDDW, 3, 0, 0, 0),
        MOV,
        END,
    ];
    let mut code = code(&all);
    for (n, number) in [(0, 1), (1, 2), (2, 3), (5, 4)] {
        code[n].line = line(number);
    }
    (code[2].reference, code[4].reference) = (names(8), names(9));
    let code = pruned(code, &[(1, [true, false])]);
    assert_eq!(insns(&code), [all[0], all[4], MOV, END]);
    assert_eq!(code.iter().map(|i| i.reference).collect::<Vec<_>>(), [None, names(9), None, None]);
    // What had no line of its own keeps the one above it, which went.
    assert_eq!(code.iter().map(|i| i.line).collect::<Vec<_>>(), [line(1), line(3), line(4), None]);
}

#[test]
fn jumps_over_what_went_reach_what_they_reached() {
    let all = [
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
    let body = pruned(code(&all), &[(0, [true, true]), (1, [false, true]), (5, [true, true])]);
    assert_eq!(insns(&body), [i(0x15, 1, 0, 0, 7), i(0x55, 3, 0, -2, 9), END]);
}

#[test]
fn a_comparison_that_always_jumps_back_becomes_a_jump() {
    let all = [i(0xe5, 0, 0, 3, 0), MOV, i(0x1d, 1, 2, -3, 0), POISON, END];
    let body = pruned(code(&all), &[(2, [true, false])]);
    assert_eq!(insns(&body), [i(0xe5, 0, 0, 2, 0), MOV, i(JA, 0, 0, -3, 0), END]);
}

#[test]
fn a_long_jump_keeps_its_form_and_code_with_unknown_jumps_stays() {
    let all = [i(0x06, 0, 0, 0, 2), POISON, MOV, i(0x15, 1, 0, -2, 0), END];
    let body = pruned(code(&all), &[(3, [true, true])]);
    assert_eq!(insns(&body)[..1], [i(0x06, 0, 0, 0, 1)]);
    let all = [i(0x0d, 1, 0, 0, 0), POISON, END];
    assert_eq!(insns(&pruned(code(&all), &[])), all);
}

#[test]
fn a_jump_that_leads_nowhere_is_not_taken_for_nothing() {
    let out = pruned(code(&[i(0x15, 1, 0, 9, 0), MOV, END]), &[(0, [true, true])]);
    assert_eq!(out.len(), 3);
    assert!(encode(&out, O).is_err());
}
