//! Fields as libbpf sees them: which members stand for which, and what is asked of them. Values by hand.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use common::{Build, M, resolve, universe, value};
use xhint_btf::{ByteOrder, Def, Kind};
use xhint_relo::{Binding, Error, RelocKind, Resolver};

use RelocKind::{FieldByteOffset, FieldByteSize, FieldExists, FieldLeftShift, FieldRightShift, FieldSigned, TypeSize};

/// The value of one relocation on `struct s`, of which each side makes its own; `None` where it poisons.
fn ask(
    kind: RelocKind,
    access: &str,
    local: impl FnOnce(&mut Build) -> u32,
    target: impl FnOnce(&mut Build) -> u32,
) -> Option<u64> {
    let (mut here, mut there) = (Build::new(), Build::new());
    let own = local(&mut here);
    target(&mut there);
    let relo = here.relo(kind, own, access);
    value(&here.done(), &universe(there, vec![]), &Binding::default(), relo)
}

/// Whether a field of type `local` is found where the target has one of type `target`.
fn compatible(local: impl FnOnce(&mut Build) -> u32, target: impl FnOnce(&mut Build) -> u32) -> bool {
    let side = |btf: &mut Build, ty: u32| btf.strukt("s", 64, &[("f", ty, 0)]);
    ask(
        FieldExists,
        "0:0",
        |b| {
            let ty = local(b);
            side(b, ty)
        },
        |b| {
            let ty = target(b);
            side(b, ty)
        },
    ) == Some(1)
}

#[test]
fn which_fields_stand_for_which() {
    type Make = fn(&mut Build) -> u32;
    let int: Make = |b| b.u32();
    let long: Make = |b| b.int("long", 8, 1);
    let boolean: Make = |b| b.int("_Bool", 1, 4);
    let old_bitfield: Make = |b| b.odd_int("int", 4, (3 << 16) | 5);
    let ptr: Make = |b| b.ptr(0);
    let deep_ptr: Make = |b| {
        let one = b.ptr(0);
        b.ptr(one)
    };
    let strukt: Make = |b| b.strukt("a", 4, &[]);
    let union: Make = |b| b.union("b", 8, &[]);
    let colour: Make = |b| b.enumeration("colour", 4, false, &[("RED", 0)]);
    let flavour: Make = |b| b.enumeration64("colour___v2", &[("BLUE", 1 << 40)]);
    let shape: Make = |b| b.enumeration("shape", 4, false, &[]);
    let anonymous: Make = |b| b.enumeration("", 4, true, &[("X", -1)]);
    let float: Make = |b| b.add(&Def::Float { name: "float", size: 4 });
    let double: Make = |b| b.add(&Def::Float { name: "double", size: 8 });
    let ints: Make = |b| {
        let int = b.u32();
        b.array(int, 3)
    };
    let longs: Make = |b| {
        let int = b.u64();
        let inner = b.array(int, 2);
        let inner = b.typedef("row", inner);
        b.array(inner, 9)
    };
    let pointers: Make = |b| {
        let ptr = b.ptr(0);
        b.array(ptr, 3)
    };
    let qualified: Make = |b| {
        let int = b.u32();
        let constant = b.add(&Def::Const(int));
        let typedef = b.typedef("t", constant);
        let tagged = b.add(&Def::TypeTag { text: "user", target: typedef, attribute: false });
        b.add(&Def::Volatile(tagged))
    };
    for (local, target, want) in [
        (int, long, true),
        (int, boolean, true),
        (int, qualified, true),
        (qualified, int, true),
        (int, old_bitfield, false),
        (old_bitfield, int, false),
        (int, ptr, false),
        (int, colour, false),
        (colour, int, false),
        (ptr, deep_ptr, true),
        (strukt, union, true),
        (strukt, ptr, false),
        (colour, flavour, true),
        (flavour, colour, true),
        (colour, shape, false),
        (colour, anonymous, true),
        (anonymous, shape, true),
        (float, double, true),
        (float, int, false),
        (ints, int, false),
        (ints, pointers, false),
        (pointers, pointers, true),
        // Arrays of as many dimensions, of whatever length.
        (ints, longs, false),
        (longs, longs, true),
    ] {
        assert_eq!(compatible(local, target), want);
    }
}

#[test]
fn named_members_are_found_through_any_anonymous_ones() {
    let local = |b: &mut Build| {
        let int = b.u32();
        let inner = b.strukt("", 8, &[("pad", int, 0), ("x", int, 4)]);
        b.strukt("s", 16, &[("a", int, 0), ("", inner, 4)])
    };
    let target = |b: &mut Build| {
        let int = b.u32();
        let deepest = b.strukt("", 8, &[("y", int, 0), ("x", int, 4)]);
        let choice = b.union("", 8, &[("", deepest), ("z", int)]);
        let typedef = b.typedef("hidden", choice);
        b.strukt("s", 24, &[("", typedef, 12), ("a", int, 0)])
    };
    // The local access goes through its anonymous struct: 0:1:1.
    assert_eq!(ask(FieldByteOffset, "0:1:1", local, target), Some(16));
    assert_eq!(ask(FieldExists, "0:1:0", local, target), Some(0));
    assert_eq!(ask(FieldByteOffset, "0:1:0", local, target), None);
}

#[test]
fn a_named_member_is_not_looked_into() {
    let flat = |b: &mut Build| {
        let int = b.u32();
        b.strukt("s", 4, &[("x", int, 0)])
    };
    let nested = |b: &mut Build| {
        let int = b.u32();
        let inner = b.strukt("inner", 4, &[("x", int, 0)]);
        b.strukt("s", 4, &[("in", inner, 0)])
    };
    assert_eq!(ask(FieldExists, "0:0", flat, nested), Some(0));
    assert_eq!(ask(FieldExists, "0:0:0", nested, flat), Some(0));
}

#[test]
fn indices_have_to_lie_within_the_targets_array() {
    let side = |len: u32, last: bool, size: u32| {
        move |b: &mut Build| {
            let int = b.int("elem", size, 0);
            let array = b.array(int, len);
            if last {
                b.strukt("s", 40, &[("n", int, 0), ("a", array, 8)])
            } else {
                b.strukt("s", 40, &[("a", array, 8), ("n", int, 0)])
            }
        }
    };
    assert_eq!(ask(FieldByteOffset, "0:1:3", side(4, true, 4), side(6, true, 8)), Some(8 + 3 * 8));
    assert_eq!(ask(FieldByteOffset, "0:1:3", side(4, true, 4), side(3, true, 4)), None);
    // A flexible array is one without length at the end of its struct.
    assert_eq!(ask(FieldByteOffset, "0:1:3", side(4, true, 4), side(0, true, 4)), Some(8 + 3 * 4));
    assert_eq!(ask(FieldByteOffset, "0:1:3", side(4, true, 4), side(0, false, 4)), None);
    assert_eq!(ask(FieldByteOffset, "0:1:9", side(0, true, 4), side(10, true, 4)), Some(8 + 9 * 4));
    assert_eq!(ask(FieldByteSize, "0:1", side(4, true, 4), side(6, true, 8)), Some(48));
    assert_eq!(ask(FieldByteSize, "0:1:2", side(4, true, 4), side(6, true, 8)), Some(8));
}

#[test]
fn the_first_index_counts_whole_structs() {
    let side = |size: u32| {
        move |b: &mut Build| {
            let int = b.u32();
            b.strukt("s", size, &[("x", int, 4)])
        }
    };
    assert_eq!(ask(FieldByteOffset, "2:0", side(8), side(12)), Some(28));
    assert_eq!(ask(FieldByteOffset, "2", side(8), side(12)), Some(24));
}

#[test]
fn sign_is_the_targets() {
    let side = |encoding: u32| {
        move |b: &mut Build| {
            let int = b.int("int", 4, encoding);
            b.strukt("s", 4, &[("x", int, 0)])
        }
    };
    assert_eq!(ask(FieldSigned, "0:0", side(0), side(1)), Some(1));
    assert_eq!(ask(FieldSigned, "0:0", side(1), side(0)), Some(0));
    let enumeration = |signed: bool| {
        move |b: &mut Build| {
            let ty = b.enumeration("e", 4, signed, &[]);
            b.strukt("s", 4, &[("x", ty, 0)])
        }
    };
    assert_eq!(ask(FieldSigned, "0:0", enumeration(false), enumeration(true)), Some(1));
}

/// Offset, size, left and right shift of a bitfield at `bit` of this width, in an int of this size.
fn bitfield(order: ByteOrder, size: u32, bit: u32, width: u32) -> [u64; 4] {
    let side = |btf: &mut Build| {
        let int = btf.int("int", size, 0);
        let members: [M<'_>; 1] = [("f", int, bit, width)];
        btf.composite(Kind::Struct, "s", 16, &members)
    };
    let (mut local, mut target) = (Build::in_order(order), Build::in_order(order));
    let own = side(&mut local);
    side(&mut target);
    let relos =
        [FieldByteOffset, FieldByteSize, FieldLeftShift, FieldRightShift].map(|kind| local.relo(kind, own, "0:0"));
    let (local, universe) = (local.done(), universe(target, vec![]));
    relos.map(|relo| value(&local, &universe, &Binding::default(), relo).unwrap())
}

#[test]
fn bitfields_are_loaded_with_the_smallest_word_of_their_type() {
    use ByteOrder::{Big, Little};
    // Little: the field's end at bit `bit + width` of the word goes to the top.
    assert_eq!(bitfield(Little, 4, 5, 7), [0, 4, 64 - 12, 57]);
    assert_eq!(bitfield(Little, 4, 37, 7), [4, 4, 64 - 12, 57]);
    assert_eq!(bitfield(Little, 1, 9, 3), [1, 1, 64 - 4, 61]);
    // Across the word's end: twice the word.
    assert_eq!(bitfield(Little, 1, 14, 6), [0, 4, 64 - 20, 58]);
    assert_eq!(bitfield(Little, 4, 28, 20), [0, 8, 64 - 48, 44]);
    assert_eq!(bitfield(Little, 8, 0, 64), [0, 8, 0, 0]);
    // Big: what stands before the field goes out at the top.
    assert_eq!(bitfield(Big, 4, 5, 7), [0, 4, 32 + 5, 57]);
    assert_eq!(bitfield(Big, 4, 37, 7), [4, 4, 32 + 5, 57]);
    assert_eq!(bitfield(Big, 4, 28, 20), [0, 8, 28, 44]);
}

#[test]
fn a_bitfield_beyond_64_bits_is_an_error() {
    let (mut local, mut target) = (Build::new(), Build::new());
    for btf in [&mut local, &mut target] {
        let int = btf.u64();
        btf.composite(Kind::Struct, "s", 16, &[("f", int, 60, 8)]);
    }
    let relo = local.relo(FieldByteOffset, 2, "0:0");
    let error = resolve(&local.done(), &universe(target, vec![]), &Binding::default(), relo).unwrap_err();
    assert!(error.to_string().contains("64 bits"), "{error}");
}

#[test]
fn whole_numbers_and_bitfields_stand_for_each_other() {
    let whole = |b: &mut Build| {
        let int = b.u32();
        b.strukt("s", 8, &[("pad", int, 0), ("f", int, 4)])
    };
    let bits = |b: &mut Build| {
        let int = b.u32();
        b.composite(Kind::Struct, "s", 8, &[("f", int, 3, 5), ("pad", int, 8, 24)])
    };
    assert_eq!(ask(FieldLeftShift, "0:1", whole, bits), Some(56));
    assert_eq!(ask(FieldRightShift, "0:1", whole, bits), Some(59));
    assert_eq!(ask(FieldLeftShift, "0:0", bits, whole), Some(32));
    assert_eq!(ask(FieldRightShift, "0:0", bits, whole), Some(32));
    assert_eq!(ask(FieldByteOffset, "0:0", bits, whole), Some(4));
    // The older form: no flag, the int itself narrow. Such an int with an offset is refused, one without is whole.
    let old = |b: &mut Build| {
        let int = b.odd_int("int", 4, 5);
        b.strukt("s", 8, &[("f", int, 4)])
    };
    assert_eq!(ask(FieldRightShift, "0:1", whole, old), Some(32));
}

#[test]
fn candidates_have_to_agree_and_are_not_asked_again_in_vain() {
    let mut base = Build::new();
    let int = base.u32();
    base.strukt("s", 8, &[("x", int, 4), ("y", int, 0)]);
    base.strukt("s___other", 8, &[("x", int, 4), ("z", int, 0)]);
    base.strukt("s", 8, &[("w", int, 0)]);
    let universe = universe(base, vec![]);
    let mut local = Build::new();
    let int = local.u32();
    let own = local.strukt("s", 16, &[("x", int, 0), ("y", int, 4), ("z", int, 8), ("w", int, 12)]);
    let relos = ["0:0", "0:1", "0:2", "0:3"].map(|access| local.relo(FieldExists, own, access));
    let local = local.done();
    // As libbpf: each on its own finds what it asks for; in a row, types that failed where others fitted are out.
    assert_eq!(relos.map(|r| value(&local, &universe, &Binding::default(), r)), [Some(1); 4]);
    let mut resolver = Resolver::new(&local, &universe, Binding::default());
    let in_a_row = relos.map(|r| resolver.resolve(&r).unwrap().new);
    assert_eq!(in_a_row, [1, 1, 0, 0]);
}

#[test]
fn candidates_that_disagree_are_an_error() {
    let mut base = Build::new();
    let int = base.u32();
    base.strukt("s", 8, &[("x", int, 4)]);
    base.strukt("s___other", 8, &[("x", int, 0)]);
    base.strukt("s___third", 8, &[]);
    let universe = universe(base, vec![]);
    let mut local = Build::new();
    let int = local.u32();
    let own = local.strukt("s", 4, &[("x", int, 0)]);
    // Even whether it exists: the fields it could mean lie in different places.
    for kind in [FieldByteOffset, FieldExists] {
        let relo = local.relo(kind, own, "0:0");
        let error = resolve(&local.clone().done(), &universe, &Binding::default(), relo).unwrap_err();
        assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("s.x") && text.contains("'s'") && text.contains("'s___other'"), "{text}");
    }
    let relo = local.relo(TypeSize, own, "0");
    assert_eq!(value(&local.done(), &universe, &Binding::default(), relo), Some(8));
}

#[test]
fn an_access_through_a_typedef_looks_for_that_typedef() {
    let side = |with_typedef: bool| {
        move |b: &mut Build| {
            let int = b.u32();
            let own = b.strukt("s", 4, &[("x", int, 0)]);
            if with_typedef { b.typedef("s", own) } else { own }
        }
    };
    assert_eq!(ask(FieldExists, "0:0", side(true), side(true)), Some(1));
    assert_eq!(ask(FieldExists, "0:0", side(true), side(false)), Some(0));
}

#[test]
fn a_forward_declaration_matches_no_struct() {
    let strukt = |b: &mut Build| {
        let int = b.u32();
        b.strukt("s", 4, &[("x", int, 0)])
    };
    let forward = |b: &mut Build| b.add(&Def::Fwd { name: "s", union: false });
    assert_eq!(ask(RelocKind::TypeExists, "0", strukt, forward), Some(0));
    assert_eq!(ask(RelocKind::TypeExists, "0", forward, strukt), Some(0));
    assert_eq!(ask(RelocKind::TypeExists, "0", forward, forward), Some(1));
    assert_eq!(ask(FieldExists, "0:0", strukt, forward), Some(0));
}
