#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::insn::{ALU64, MOV64_IMM};

const O: ByteOrder = ByteOrder::Little;

struct Program {
    functions: Vec<Vec<u8>>,
    calls: HashMap<(usize, usize), usize>,
    poison: HashSet<(usize, usize)>,
}

impl Code for Program {
    fn code(&self, function: usize) -> &[u8] {
        &self.functions[function]
    }
    fn callee(&self, function: usize, at: usize) -> Option<usize> {
        self.calls.get(&(function, at)).copied()
    }
    fn is_poisoned(&self, function: usize, at: usize) -> bool {
        self.poison.contains(&(function, at))
    }
    fn is_global(&self, _: usize) -> bool {
        false
    }
    fn order(&self) -> ByteOrder {
        O
    }
}

fn i(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

fn program(functions: &[&[Insn]], calls: &[((usize, usize), usize)], poison: &[(usize, usize)]) -> Program {
    let bytes = |f: &&[Insn]| f.iter().flat_map(|i| i.bytes(O)).collect();
    Program {
        functions: functions.iter().map(bytes).collect(),
        calls: calls.iter().map(|((f, n), to)| ((*f, n * SIZE), *to)).collect(),
        poison: poison.iter().map(|(f, n)| (*f, n * SIZE)).collect(),
    }
}

fn poisoned(p: &Program) -> Vec<(usize, usize)> {
    reach(p, [0]).poisoned.iter().map(|(f, at)| (*f, at / SIZE)).collect()
}

const EXIT_INSN: Insn = Insn { code: EXIT, dst: 0, src: 0, off: 0, imm: 0 };

#[test]
fn a_guard_that_is_zero_hides_what_it_guards() {
    let guarded = |exists| {
        let code = [i(MOV64_IMM, 1, 0, 0, exists), i(0x15, 1, 0, 1, 0), i(0x61, 0, 2, 4, 0), EXIT_INSN];
        poisoned(&program(&[&code], &[], &[(0, 2)]))
    };
    assert_eq!(guarded(0), []);
    assert_eq!(guarded(1), [(0, 2)]);
}

#[test]
fn knowledge_is_lost_where_two_ways_meet() {
    // r1 is 0 or 1 by what r2 holds; then `if (!r1)` may go either way.
    let code = [
        i(MOV64_IMM, 1, 0, 0, 0),
        i(0x15, 2, 0, 1, 7),
        i(MOV64_IMM, 1, 0, 0, 1),
        i(0x15, 1, 0, 1, 0),
        i(0x61, 0, 2, 4, 0),
        EXIT_INSN,
    ];
    assert_eq!(poisoned(&program(&[&code], &[], &[(0, 4)])), [(0, 4)]);
}

#[test]
fn a_guard_survives_a_spill_and_arithmetic() {
    let code = [
        i(MOV64_IMM, 1, 0, 0, 0),
        i(0x7b, 10, 1, -8, 0), // *(u64 *)(r10 - 8) = r1
        i(CALL, 0, 0, 0, 5),
        i(0x79, 3, 10, -8, 0),       // r3 = *(u64 *)(r10 - 8)
        i(0x47, 3, 0, 0, 4),         // r3 |= 4
        i(ALU64 | 0x50, 3, 0, 0, 1), // r3 &= 1
        i(0x55, 3, 0, 1, 0),         // if r3 != 0 goto +1
        EXIT_INSN,
        i(0x61, 0, 2, 4, 0),
        EXIT_INSN,
    ];
    assert_eq!(poisoned(&program(&[&code], &[], &[(0, 8)])), []);
}

#[test]
fn a_callee_is_reached_by_reached_calls_only_and_knows_its_constant_arguments() {
    let main = [
        i(MOV64_IMM, 1, 0, 0, 0),
        i(0x15, 1, 0, 1, 0), // if r1 == 0 skip the call of function 1
        i(CALL, 0, 1, 0, 0),
        i(MOV64_IMM, 1, 0, 0, 0),
        i(CALL, 0, 1, 0, 0), // function 2 with r1 = 0
        EXIT_INSN,
    ];
    let poison = [i(0x61, 0, 2, 4, 0), EXIT_INSN];
    let guarded = [i(0x15, 1, 0, 1, 0), i(0x61, 0, 2, 4, 0), EXIT_INSN];
    let p = program(&[&main, &poison, &guarded], &[((0, 2), 1), ((0, 4), 2)], &[(1, 0), (2, 1)]);
    assert_eq!(poisoned(&p), []);
    assert_eq!(reach(&p, [0]).functions, BTreeSet::from([0, 2]));
}

#[test]
fn a_loop_ends() {
    let code = [i(MOV64_IMM, 1, 0, 0, 0), i(0x07, 1, 0, 0, 1), i(0x55, 1, 0, -2, 100), i(0x61, 0, 2, 4, 0), EXIT_INSN];
    assert_eq!(poisoned(&program(&[&code], &[], &[(0, 3)])), [(0, 3)]);
}

#[test]
fn an_addend_is_known_if_it_is_the_same_each_time() {
    let add = i(ADD64_REG, 2, 1, 0, 0);
    let code = [i(MOV64_IMM, 1, 0, 0, 16), add, i(0x15, 3, 0, 1, 0), i(MOV64_IMM, 1, 0, 0, 8), add, EXIT_INSN];
    let addends = reach(&program(&[&code], &[], &[]), [0]).addends;
    assert_eq!(addends, BTreeMap::from([((0, SIZE), Some(16)), ((0, 4 * SIZE), None)]));
}
