#![allow(clippy::arithmetic_side_effects)]

use xhint_btf::ByteOrder;

use super::*;
use crate::decode;
use crate::insn::{ALU64, EXIT, MOV64_IMM, MOV64_REG};

fn reach(p: &impl Code, entries: impl IntoIterator<Item = FunctionId>) -> Reach {
    reach_if(p, entries, |_| false)
}

const O: ByteOrder = ByteOrder::Little;

struct Program(Vec<Vec<Instruction>>);

impl Code for Program {
    fn code(&self, function: FunctionId) -> &[Instruction] {
        &self.0[function.0]
    }
    fn calls_back(&self) -> bool {
        false
    }
    fn is_global(&self, _: FunctionId) -> bool {
        false
    }
    fn hook(&self, _: FunctionId) -> Option<Hook> {
        Some(Hook::Xdp)
    }
}

fn i(code: u8, dst: u8, src: u8, off: i16, imm: i64) -> Insn {
    Insn { code, dst, src, off, imm }
}

/// Functions, which instructions call which of them, and which are poisoned.
fn program(functions: &[&[Insn]], calls: &[((usize, usize), usize)], poison: &[(usize, usize)]) -> Program {
    let code = |f: &&[Insn]| {
        let mut bytes = Vec::new();
        f.iter().for_each(|i| i.encode(O, &mut bytes));
        decode(&bytes, O).unwrap()
    };
    let mut out = Program(functions.iter().map(code).collect());
    calls.iter().for_each(|((f, n), to)| out.0[*f][*n].named = Named::Function(FunctionId(*to)));
    poison.iter().for_each(|(f, n)| out.0[*f][*n].poison());
    out
}

fn poisoned(p: &Program) -> Vec<(usize, usize)> {
    reach(p, [FunctionId(0)]).poisoned.iter().map(|(f, n)| (f.0, *n)).collect()
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
    assert_eq!(reach(&p, [FunctionId(0)]).functions, BTreeSet::from([FunctionId(0), FunctionId(2)]));
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
    let addends = reach(&program(&[&code], &[], &[]), [FunctionId(0)]).addends;
    assert_eq!(addends, BTreeMap::from([((FunctionId(0), 1), Some(16)), ((FunctionId(0), 4), None)]));
}

/// Whether the zero in the slot at -8 is still believed after `between`, in a program whose functions and calls are these.
fn believed(between: &[Insn], calls: &[((usize, usize), usize)]) -> bool {
    let head = [i(0x7a, 10, 0, -8, 0), i(MOV64_REG, 2, 10, 0, 0), i(0x07, 2, 0, 0, -8)];
    let tail = [i(0x79, 1, 10, -8, 0), i(0x15, 1, 0, 1, 0), i(0x61, 0, 2, 4, 0), EXIT_INSN];
    let code = [&head, between, &tail].concat();
    let poison = code.len() - 2;
    let callee = [EXIT_INSN];
    let calls: Vec<_> = calls.iter().map(|((f, n), to)| ((*f, n + head.len()), *to)).collect();
    poisoned(&program(&[&code, &callee], &calls, &[(0, poison)])).is_empty()
}

const LOOK_UP: Insn = Insn { code: CALL, dst: 0, src: 0, off: 0, imm: 1 };

#[test]
fn a_slot_is_forgotten_by_whatever_may_write_it() {
    let r2_is = |offset: i64| i(0x07, 2, 0, 0, offset + 8);
    let local = i(CALL, 0, 1, 0, 0);
    let tries: [(&str, Vec<Insn>, bool); 21] = [
        ("nothing", vec![], true),
        ("a helper with its address", vec![LOOK_UP], false),
        ("a helper with an address below it", vec![r2_is(-16), LOOK_UP], false),
        ("a helper with an address above it", vec![r2_is(0), LOOK_UP], true),
        ("a helper without address", vec![i(MOV64_IMM, 2, 0, 0, 0), LOOK_UP], true),
        ("one that calls back, with an address above it", vec![r2_is(0), i(CALL, 0, 0, 0, 181)], false),
        ("a helper of no known number, with an address above it", vec![r2_is(0), i(CALL, 0, 0, 0, 212)], false),
        ("a kernel function with its address", vec![i(CALL, 0, 2, 0, 7)], false),
        ("a kernel function with an address above it", vec![r2_is(0), i(CALL, 0, 2, 0, 7)], true),
        ("a store by a copy of its address", vec![i(0x7b, 2, 3, 0, 0)], false),
        ("a store of a byte of it", vec![i(0x72, 10, 0, -1, 1)], false),
        ("a store across it", vec![i(0x62, 10, 0, -6, 1)], false),
        ("a store beside it", vec![i(0x62, 10, 0, -12, 1)], true),
        ("a store by any other address", vec![i(0x7b, 1, 3, 0, 0)], true),
        ("a store at a variable offset", vec![i(ADD64_REG, 2, 3, 0, 0), i(0x72, 2, 0, 0, 1)], false),
        ("an atomic addition", vec![i(0xdb, 2, 3, 0, 0)], false),
        ("an exchange beside it", vec![i(0xdb, 10, 3, -16, 0xe1)], true),
        ("a release", vec![i(0xdb, 10, 3, -8, 0x110)], false),
        ("an opcode that is not known", vec![i(0xff, 2, 0, 0, 0)], false),
        ("an atomic operation that is not known", vec![i(0xdb, 1, 3, 0, 0x7777)], false),
        ("a jump to anywhere", vec![i(0x0d, 2, 0, 0, 0)], false),
    ];
    for (what, between, still) in tries {
        assert_eq!(believed(&between, &[]), still, "{what}");
    }
    // Functions may go below what they are given, and follow what is spilled, unless their code shows that they do not.
    assert!(!believed(&[r2_is(0), local], &[]));
    assert!(believed(&[r2_is(0), local], &[((0, 1), 1)]));
    assert!(believed(&[i(MOV64_IMM, 2, 0, 0, 0), local], &[((0, 1), 1)]));
    // By an address that was spilled and brought back.
    let back = [i(0x7b, 10, 2, -16, 0), LOOK_UP, i(0x79, 3, 10, -16, 0), i(0x7a, 10, 0, -8, 0)];
    assert!(believed(&back, &[]));
    assert!(!believed(&[&back[..], &[i(0x7b, 3, 0, 0, 0)]].concat(), &[]));
}

/// Whether the zero in the slot at -8 is believed behind the call of `callee`, or by `bpf_loop`, with r10 - 16 for r1.
fn kept_by(callee: &[Insn], by_loop: bool) -> bool {
    let head = [i(0x7a, 10, 0, -8, 0), i(0x7a, 10, 0, -16, 0), i(0x7a, 10, 0, -24, 0)];
    let lent = |reg| [i(MOV64_REG, reg, 10, 0, 0), i(0x07, reg, 0, 0, -16)];
    let call = match by_loop {
        false => [&lent(1)[..], &[i(CALL, 0, 1, 0, 0)]].concat(),
        true => [&[i(0x18, 2, 4, 0, 0)][..], &lent(3), &[i(CALL, 0, 0, 0, 181)]].concat(),
    };
    let named = if by_loop { head.len() } else { head.len() + call.len() - 1 };
    let tail = [i(0x79, 1, 10, -8, 0), i(0x15, 1, 0, 1, 0), i(0x61, 0, 2, 4, 0), EXIT_INSN];
    let code = [&head[..], &call, &tail].concat();
    let poison = code.len() - 2;
    let helper = [i(0x7b, 1, 2, 8, 0), EXIT_INSN];
    let inner = callee.iter().position(|i| (i.code, i.src) == (CALL, 1));
    let calls: Vec<_> = [((0, named), 1)].into_iter().chain(inner.map(|n| ((1, n), 2))).collect();
    poisoned(&program(&[&code, callee, &helper], &calls, &[(0, poison)])).is_empty()
}

#[test]
fn what_a_function_is_seen_to_write_is_forgotten_and_no_more() {
    let add = |reg, by| i(0x07, reg, 0, 0, by);
    let (local, stored) = (i(CALL, 0, 1, 0, 0), i(0x7b, 1, 2, 0, 0));
    let tries: [(&str, Vec<Insn>, bool); 17] = [
        ("nothing", vec![], true),
        ("what it was given the address of", vec![stored], true),
        ("what lies behind it", vec![i(0x7b, 1, 2, 8, 0)], false),
        ("a part of what lies behind it", vec![i(0x7b, 1, 2, 1, 0)], false),
        ("what lies below", vec![i(0x7b, 1, 2, -8, 0)], true),
        ("by a sum of constants", vec![add(1, 8), stored], false),
        ("by a difference that leads back", vec![add(1, 8), i(0x17, 1, 0, 0, 8), stored], true),
        ("by a variable sum", vec![i(ADD64_REG, 1, 2, 0, 0), stored], false),
        ("by a copy", vec![i(MOV64_REG, 6, 1, 0, 0), i(0x7b, 6, 2, 8, 0)], false),
        ("on one of two ways", vec![i(0x15, 2, 0, 1, 0), add(1, 8), stored], false),
        ("in a loop", vec![stored, add(1, 8), i(0x15, 2, 0, -3, 0)], false),
        ("by what was spilled", vec![i(0x7b, 10, 1, -8, 0), i(0x79, 3, 10, -8, 0), i(0x7b, 3, 2, 0, 0)], false),
        ("by what it found there", vec![i(0x79, 3, 1, 0, 0), i(0x7b, 3, 2, 0, 0)], false),
        ("its own frame", vec![i(0x7b, 10, 1, -8, 0), i(0x7a, 10, 0, -16, 3)], true),
        ("by a helper", vec![i(MOV64_REG, 2, 1, 0, 0), LOOK_UP], false),
        ("by another function", vec![local], false),
        ("by another function, from below", vec![add(1, -8), local], true),
    ];
    for (what, body, kept) in tries {
        let body = [&body[..], &[EXIT_INSN]].concat();
        assert_eq!(kept_by(&body, false), kept, "{what}");
        // A loop's function is given it as the second argument.
        let moved = [&[i(MOV64_REG, 1, 2, 0, 0), i(MOV64_IMM, 2, 0, 0, 0)][..], &body].concat();
        assert_eq!(kept_by(&moved, true), kept, "{what}, in a loop");
    }
    // One that calls itself.
    assert!(!believed(&[i(MOV64_REG, 1, 2, 0, 0), i(CALL, 0, 1, 0, 0)], &[((0, 1), 0)]));
}

#[test]
fn addresses_in_the_packet_are_never_0() {
    // r2 = ctx->data_meta, or what else `load` brings; if r2 == 0, then poison.
    let null = |load: Insn, test: Insn| {
        let code =
            [load, i(MOV64_REG, 6, 2, 0, 0), i(CALL, 0, 0, 0, 5), test, EXIT_INSN, i(0x61, 0, 2, 4, 0), EXIT_INSN];
        poisoned(&program(&[&code], &[], &[(0, 5)])).is_empty()
    };
    let load = |off| i(0x61, 2, 1, off, 0);
    for off in [0, 4, 8] {
        assert!(null(load(off), i(0x15, 6, 0, 1, 0)), "{off}");
        assert!(null(load(off), i(0x16, 6, 0, 1, 0)), "{off}");
    }
    assert!(!null(load(8), i(0x55, 6, 0, 1, 0)), "it is other than 0");
    assert!(!null(load(8), i(0x15, 6, 0, 1, 1)), "other numbers say nothing");
    assert!(!null(load(12), i(0x15, 6, 0, 1, 0)), "the interface's number");
    assert!(!null(i(0x61, 2, 3, 8, 0), i(0x15, 6, 0, 1, 0)), "what is not loaded from the context");
    assert!(!null(i(0x69, 2, 1, 8, 0), i(0x15, 6, 0, 1, 0)), "half of it");
}

#[test]
fn registers_are_forgotten_by_what_fetches_into_them() {
    let zero = |reg, insn| {
        let code = [i(MOV64_IMM, reg, 0, 0, 0), insn, i(0x15, reg, 0, 1, 0), i(0x61, 0, 2, 4, 0), EXIT_INSN];
        poisoned(&program(&[&code], &[], &[(0, 3)])).is_empty()
    };
    assert!(zero(3, i(0xdb, 1, 3, 0, 0)), "an addition that fetches nothing");
    for fetching in [1, 0x41, 0x51, 0xa1, 0xe1] {
        assert!(!zero(3, i(0xdb, 1, 3, 0, fetching)), "{fetching:#x}");
        assert!(zero(0, i(0xdb, 1, 3, 0, fetching)), "{fetching:#x}");
    }
    assert!(!zero(0, i(0xdb, 1, 3, 0, 0xf1)) && zero(3, i(0xdb, 1, 3, 0, 0xf1)), "compare and exchange");
    assert!(!zero(3, i(0xdb, 3, 1, 0, 0x100)), "load-acquire");
    assert!(!zero(0, i(0x20, 0, 0, 0, 4)), "a packet load of old");
    assert!(zero(6, LOOK_UP) && !zero(0, LOOK_UP) && !zero(1, LOOK_UP));
}

#[test]
fn what_a_relocation_names_is_no_number() {
    // if (a weak kernel symbol) ...
    let code = [i(0x18, 1, 0, 0, 0), i(0x15, 1, 0, 1, 0), i(0x61, 0, 2, 4, 0), EXIT_INSN];
    let mut p = program(&[&code], &[], &[(0, 2)]);
    assert_eq!(poisoned(&p), []);
    p.0[0][0].named = Named::Kernel;
    assert_eq!(poisoned(&p), [(0, 2)]);
}

#[test]
fn narrow_spills_are_followed() {
    // r1 = 0, spilled and filled as 32 bits.
    let code = |value| {
        [
            i(MOV64_IMM, 1, 0, 0, value),
            i(0x63, 10, 1, -4, 0),
            i(CALL, 0, 0, 0, 5),
            i(0x61, 1, 10, -4, 0),
            i(0x15, 1, 0, 1, 0),
            i(0x61, 0, 2, 4, 0),
            EXIT_INSN,
        ]
    };
    assert_eq!(poisoned(&program(&[&code(0)], &[], &[(0, 5)])), []);
    assert_eq!(poisoned(&program(&[&code(1)], &[], &[(0, 5)])), [(0, 5)]);
}

#[test]
fn loads_from_metadata_are_told_by_their_places() {
    let (load, add) = (|off| i(0x61, 3, 2, off, 0), i(0x07, 2, 0, 0, 4));
    let data_meta = i(0x61, 2, 1, 8, 0);
    let all_reads = |code: &[Insn]| -> Vec<(usize, Vec<u16>, Option<u8>)> {
        let reach = reach(&program(&[code], &[], &[]), [FunctionId(0)]);
        reach.metadata.iter().map(|(at, read)| (at.1, read.offsets.iter().copied().collect(), read.bytes)).collect()
    };
    let reads = |code: &[Insn]| -> Vec<(usize, Option<(u16, u8)>)> {
        let one = |(at, places, bytes): (usize, Vec<u16>, Option<u8>)| (at, places.first().copied().zip(bytes));
        all_reads(code).into_iter().map(one).collect()
    };
    assert_eq!(reads(&[data_meta, add, load(8), EXIT_INSN]), [(2, Some((12, 4)))]);
    assert_eq!(reads(&[i(0x61, 2, 1, 0, 0), add, load(8), EXIT_INSN]), []);
    // Another distance each time that it comes by.
    let looping = [data_meta, load(0), add, i(0x15, 4, 0, -3, 7), EXIT_INSN];
    assert_eq!(all_reads(&looping), [(1, (0..64).map(|n| n * 4).collect(), Some(4))]);
    // bpf_xdp_adjust_meta, behind which the start of the metadata is another.
    let kept = i(MOV64_REG, 6, 1, 0, 0);
    let again = i(0x61, 2, 6, 8, 0);
    assert_eq!(reads(&[kept, i(crate::insn::CALL, 0, 0, 0, 54), again, load(8), EXIT_INSN]), []);
    assert_eq!(reads(&[kept, i(crate::insn::CALL, 0, 0, 0, 5), again, load(8), EXIT_INSN]), [(3, Some((8, 4)))]);
    // bpf_xdp_adjust_head, which takes the metadata along.
    assert_eq!(reads(&[kept, i(crate::insn::CALL, 0, 0, 0, 44), again, load(8), EXIT_INSN]), [(3, Some((8, 4)))]);
}
