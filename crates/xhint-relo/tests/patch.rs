//! Instructions: what changes in them, what is refused, and what poison looks like.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use common::{Build, resolve, universe};
use xhint_btf::ByteOrder;
use xhint_relo::{Binding, PatchError, RelocKind, Resolution, patch_bytes};

/// Opcodes, as in linux/bpf.h.
const LDX: [u8; 4] = [0x71, 0x69, 0x61, 0x79];
const LDX_SIGNED: u8 = 0x81; // BPF_MEMSX | BPF_W
const STX_W: u8 = 0x63;
const ST_W: u8 = 0x62;
const MOV_IMM: u8 = 0xb7;
const ADD_IMM: u8 = 0x07;
const MOV32_IMM: u8 = 0xb4;
const MOV_REG: u8 = 0xbf;
const LDDW: u8 = 0x18;
const POISON: [u8; 8] = [0x85, 0, 0, 0, 0x10, 0x23, 0xad, 0x0b];

fn insn(code: u8, off: i16, imm: i32) -> Vec<u8> {
    let mut out = vec![code, 0x21];
    out.extend(off.to_le_bytes());
    out.extend(imm.to_le_bytes());
    out
}

fn wide(imm: u64) -> Vec<u8> {
    let mut out = vec![LDDW, 0x01, 0, 0];
    out.extend((imm as u32).to_le_bytes());
    out.extend([0; 4]);
    out.extend(((imm >> 32) as u32).to_le_bytes());
    out
}

/// The resolution of the offset of a field that is a `local` at byte 4 here and a `target` at byte 20 there: size and
/// int encoding.
fn offset((local_size, local_enc): (u32, u32), (target_size, target_enc): (u32, u32)) -> Resolution {
    let (mut local, mut target) = (Build::new(), Build::new());
    let (here, there) = (local.int("l", local_size, local_enc), target.int("t", target_size, target_enc));
    let own = local.strukt("s", 16, &[("f", here, 4)]);
    target.strukt("s", 32, &[("f", there, 20)]);
    let relo = local.relo(RelocKind::FieldByteOffset, own, "0:0");
    resolve(&local.done(), &universe(target, vec![]), &Binding::default(), relo).unwrap()
}

/// The resolution of an enumerator: 3 here, `target` there, or missing.
fn number(target: Option<u64>) -> Resolution {
    let (mut local, mut base) = (Build::new(), Build::new());
    let own = local.enumeration64("e", &[("A", 3)]);
    base.enumeration64("e", &[(if target.is_some() { "A" } else { "B" }, target.unwrap_or(0))]);
    let relo = local.relo(RelocKind::EnumeratorValue, own, "0");
    resolve(&local.done(), &universe(base, vec![]), &Binding::default(), relo).unwrap()
}

fn patched(mut code: Vec<u8>, resolution: &Resolution) -> Result<(Vec<u8>, bool), PatchError> {
    let before = code.clone();
    let result = patch_bytes(&mut code, 0, ByteOrder::Little, resolution);
    assert!(result.is_ok() || code == before, "what is refused stays as it was");
    result.map(|poisoned| (code, poisoned))
}

const U: u32 = 0;
const S: u32 = 1;

#[test]
fn offsets_move_in_loads_and_stores() {
    let res = offset((4, U), (4, U));
    for code in [0x61, STX_W, ST_W, LDX_SIGNED] {
        assert_eq!(patched(insn(code, 4, 77), &res), Ok((insn(code, 20, 77), false)), "{code:#x}");
    }
    // And in sums and constants.
    for code in [ADD_IMM, MOV_IMM, MOV32_IMM] {
        assert_eq!(patched(insn(code, 9, 4), &res), Ok((insn(code, 9, 20), false)), "{code:#x}");
    }
}

#[test]
fn loads_follow_the_fields_size_where_zeros_extend_it() {
    for (from, local) in [1, 2, 4, 8].into_iter().enumerate() {
        for (to, target) in [1, 2, 4, 8].into_iter().enumerate() {
            let res = offset((local, U), (target, U));
            assert_eq!(patched(insn(LDX[from], 4, 0), &res), Ok((insn(LDX[to], 20, 0), false)));
        }
    }
    // A `char` that is marked as signed and char counts as unsigned, as in libbpf.
    let res = offset((1, 3), (4, U));
    assert_eq!(patched(insn(LDX[0], 4, 0), &res), Ok((insn(LDX[2], 20, 0), false)));
}

#[test]
fn signed_fields_that_changed_size_are_poisoned_in_loads_alone() {
    for res in [offset((4, S), (8, S)), offset((4, U), (2, S)), offset((4, S), (2, U))] {
        assert_eq!(patched(insn(LDX[2], 4, 0), &res), Ok((POISON.to_vec(), true)));
        assert_eq!(patched(insn(ADD_IMM, 0, 4), &res), Ok((insn(ADD_IMM, 0, 20), false)));
    }
    let same_size = offset((4, S), (4, U));
    assert_eq!(patched(insn(LDX_SIGNED, 4, 0), &same_size), Ok((insn(LDX_SIGNED, 20, 0), false)));
}

#[test]
fn a_size_that_no_load_has_is_refused() {
    assert!(matches!(patched(insn(LDX[2], 4, 0), &offset((4, U), (16, U))), Err(PatchError::Size { from: 4, to: 16 })));
    // The instruction moves other than the local field's bytes.
    assert!(matches!(patched(insn(LDX[3], 4, 0), &offset((4, U), (8, U))), Err(PatchError::Size { .. })));
    // While sizes stay, nobody asks.
    assert!(patched(insn(LDX[3], 4, 0), &offset((4, U), (4, U))).is_ok());
}

#[test]
fn what_the_instruction_holds_must_be_what_its_types_say() {
    let res = offset((4, U), (4, U));
    let mismatch = Err(PatchError::Mismatch { found: 8, expected: 4 });
    assert_eq!(patched(insn(LDX[2], 8, 0), &res), mismatch);
    assert_eq!(patched(insn(ADD_IMM, 0, 8), &res), mismatch);
    assert_eq!(patched(wide(8), &res), mismatch);
    // Poison asks nothing.
    assert_eq!(patched(insn(MOV_IMM, 0, 8), &number(None)), Ok((POISON.to_vec(), true)));
}

#[test]
fn constants_of_64_bits_take_both_halves() {
    let big = 0x1234_5678_9abc_def0;
    assert_eq!(patched(wide(3), &number(Some(big))), Ok((wide(big), false)));
    // One of 32 bits takes the lower half, as libbpf's.
    assert_eq!(patched(insn(MOV_IMM, 0, 3), &number(Some(big))), Ok((insn(MOV_IMM, 0, 0x9abc_def0_u32 as i32), false)));
    assert_eq!(patched(wide(3), &number(None)), Ok(([POISON, POISON].concat(), true)));
}

#[test]
fn a_wide_load_of_something_else_is_refused() {
    let res = number(Some(5));
    for (at, byte) in [(1, 0x11), (2, 1), (8, 0x85), (9, 1), (10, 1)] {
        let mut code = wide(3);
        code[at] = byte;
        assert!(patched(code, &res).is_err(), "byte {at}");
    }
    // Cut off in the middle, poison or not.
    for res in [number(Some(5)), number(None)] {
        let mut code = wide(3);
        code.truncate(8);
        assert!(matches!(patched(code, &res), Err(PatchError::Nowhere(_))));
    }
}

#[test]
fn other_instructions_are_refused() {
    let res = number(Some(5));
    for code in [MOV_REG, 0x05, 0x85, 0x95, 0x20, 0x16] {
        assert!(matches!(patched(insn(code, 3, 3), &res), Err(PatchError::Opcode(_))), "{code:#x}");
    }
    let mut code = insn(MOV_IMM, 0, 3);
    for at in [1, 8, 800, usize::MAX] {
        assert!(matches!(patch_bytes(&mut code, at, ByteOrder::Little, &res), Err(PatchError::Nowhere(_))), "{at}");
    }
}

#[test]
fn pointers_of_a_32_bit_kernel_are_loaded_with_32_bits() {
    let (mut local, mut target) = (Build::new(), Build::new());
    local.int("long", 8, 1);
    let here = local.ptr(0);
    let own = local.strukt("s", 16, &[("f", here, 8)]);
    target.int("long unsigned int", 4, 0);
    let there = target.ptr(0);
    target.strukt("s", 16, &[("f", there, 4)]);
    let relo = local.relo(RelocKind::FieldByteOffset, own, "0:0");
    let res = resolve(&local.done(), &universe(target, vec![]), &Binding::default(), relo).unwrap();
    assert_eq!(patched(insn(LDX[3], 8, 0), &res), Ok((insn(LDX[2], 4, 0), false)));
}

#[test]
fn an_offset_has_15_bits() {
    let far = |bytes: u32| {
        let (mut local, mut target) = (Build::new(), Build::new());
        let (here, there) = (local.u32(), target.u32());
        let own = local.strukt("s", 16, &[("f", here, 4)]);
        target.strukt("s", 1 << 17, &[("f", there, bytes)]);
        let relo = local.relo(RelocKind::FieldByteOffset, own, "0:0");
        let base = universe(target, vec![]);
        resolve(&local.done(), &base, &Binding::default(), relo).unwrap()
    };
    assert_eq!(patched(insn(LDX[2], 4, 0), &far(32767)), Ok((insn(LDX[2], 32767, 0), false)));
    assert_eq!(patched(insn(LDX[2], 4, 0), &far(32768)), Err(PatchError::Range(32768)));
    assert_eq!(patched(insn(ADD_IMM, 0, 4), &far(32768)), Ok((insn(ADD_IMM, 0, 32768), false)));
}

#[test]
fn big_endian_code_is_patched_in_its_order() {
    let res = offset((4, U), (2, U));
    let mut code = vec![0x61, 0x12, 0, 4, 0, 0, 0, 0];
    assert_eq!(patch_bytes(&mut code, 0, ByteOrder::Big, &res), Ok(false));
    assert_eq!(code, [0x69, 0x12, 0, 20, 0, 0, 0, 0]);
    // The registers of a wide load: the source is the lower half.
    let mut code = vec![LDDW, 0x10, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(patch_bytes(&mut code, 0, ByteOrder::Big, &number(Some(0x5_0000_0007))), Ok(false));
    assert_eq!(code, [LDDW, 0x10, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5]);
    let mut code = vec![0xb7, 0x10, 0, 0, 0, 0, 0, 3];
    assert_eq!(patch_bytes(&mut code, 0, ByteOrder::Big, &number(None)), Ok(true));
    assert_eq!(code, [0x85, 0, 0, 0, 0x0b, 0xad, 0x23, 0x10]);
}
