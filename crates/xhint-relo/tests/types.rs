//! Types and enumerators as libbpf sees them.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use common::{Build, resolve, universe, value};
use xhint_btf::Def;
use xhint_relo::{Binding, Error, RelocKind};

use RelocKind::{EnumeratorExists, EnumeratorValue, TypeExists, TypeIdLocal, TypeIdTarget, TypeMatches, TypeSize};

type Make = fn(&mut Build) -> u32;

fn ask(kind: RelocKind, access: &str, local: Make, target: Make) -> Option<u64> {
    let (mut here, mut there) = (Build::new(), Build::new());
    let own = local(&mut here);
    target(&mut there);
    let relo = here.relo(kind, own, access);
    value(&here.done(), &universe(there, vec![]), &Binding::default(), relo)
}

#[test]
fn a_missing_type_has_no_size_and_no_id() {
    let strukt: Make = |b| b.strukt("s", 12, &[]);
    let nothing: Make = |b| b.u32();
    assert_eq!(ask(TypeExists, "0", strukt, nothing), Some(0));
    assert_eq!(ask(TypeMatches, "0", strukt, nothing), Some(0));
    assert_eq!(ask(TypeSize, "0", strukt, nothing), Some(0));
    assert_eq!(ask(TypeIdTarget, "0", strukt, nothing), Some(0));
    assert_eq!(ask(TypeIdLocal, "0", strukt, nothing), Some(1));
}

#[test]
fn kinds_have_to_be_equal() {
    let strukt: Make = |b| b.strukt("s", 12, &[]);
    let union: Make = |b| b.union("s", 8, &[]);
    let small: Make = |b| b.enumeration("s", 1, false, &[]);
    let large: Make = |b| b.enumeration64("s", &[]);
    let int: Make = |b| b.int("s", 2, 1);
    let typedef: Make = |b| {
        let own = b.strukt("s_body", 4, &[]);
        b.typedef("s", own)
    };
    for (local, target, want) in [
        (strukt, strukt, 1),
        (strukt, union, 0),
        (union, strukt, 0),
        (small, large, 1),
        (large, small, 1),
        (small, int, 0),
        (int, int, 1),
        (typedef, typedef, 1),
        (typedef, strukt, 0),
        (strukt, typedef, 0),
    ] {
        assert_eq!(ask(TypeExists, "0", local, target), Some(want));
    }
}

#[test]
fn function_types_are_compared_all_the_way() {
    // Each side: (int, ptr to struct) -> int.
    let plain: Make = |b| {
        let (int, ctx) = (b.u32(), b.strukt("ctx", 4, &[]));
        let ptr = b.ptr(ctx);
        let proto = b.proto(int, &[int, ptr]);
        let ptr = b.ptr(proto);
        b.typedef("callback", ptr)
    };
    let two_ints: Make = |b| {
        let int = b.u64();
        let proto = b.proto(int, &[int, int]);
        let ptr = b.ptr(proto);
        b.typedef("callback", ptr)
    };
    let three: Make = |b| {
        let int = b.u32();
        let proto = b.proto(int, &[int, int, int]);
        let ptr = b.ptr(proto);
        b.typedef("callback", ptr)
    };
    assert_eq!(ask(TypeExists, "0", plain, plain), Some(1));
    assert_eq!(ask(TypeExists, "0", plain, two_ints), Some(0));
    assert_eq!(ask(TypeExists, "0", two_ints, three), Some(0));
}

#[test]
fn what_matches_is_a_matter_of_names_sizes_and_signs() {
    let strukt: Make = |b| {
        let int = b.u32();
        b.strukt("s", 8, &[("a", int, 0), ("b", int, 4)])
    };
    let reordered: Make = |b| {
        let (int, long) = (b.u32(), b.u64());
        b.strukt("s", 24, &[("more", long, 0), ("b", int, 8), ("a", int, 12)])
    };
    let widened: Make = |b| {
        let (int, long) = (b.u32(), b.u64());
        b.strukt("s", 16, &[("a", int, 0), ("b", long, 8)])
    };
    let signed: Make = |b| {
        let (int, sint) = (b.u32(), b.int("unsigned int", 4, 1));
        b.strukt("s", 8, &[("a", int, 0), ("b", sint, 4)])
    };
    let renamed: Make = |b| {
        let int = b.int("u32", 4, 0);
        b.strukt("s", 8, &[("a", int, 0), ("b", int, 4)])
    };
    let lacking: Make = |b| {
        let int = b.u32();
        b.strukt("s", 8, &[("a", int, 0), ("c", int, 4)])
    };
    for (target, want) in [(strukt, 1), (reordered, 1), (widened, 0), (signed, 0), (renamed, 0), (lacking, 0)] {
        assert_eq!(ask(TypeMatches, "0", strukt, target), Some(want));
    }
    assert_eq!(ask(TypeMatches, "0", reordered, strukt), Some(0), "more local members than the target's");
}

#[test]
fn behind_pointers_only_names_and_kinds_count() {
    let full: Make = |b| {
        let int = b.u32();
        let to = b.strukt("to", 4, &[("x", int, 0)]);
        let ptr = b.ptr(to);
        b.strukt("s", 8, &[("p", ptr, 0)])
    };
    let empty: Make = |b| {
        let to = b.strukt("to___other", 9, &[]);
        let ptr = b.ptr(to);
        b.strukt("s", 8, &[("p", ptr, 0)])
    };
    let forward: Make = |b| {
        let to = b.add(&Def::Fwd { name: "to", union: false });
        let ptr = b.ptr(to);
        b.strukt("s", 8, &[("p", ptr, 0)])
    };
    let union: Make = |b| {
        let to = b.union("to", 4, &[]);
        let ptr = b.ptr(to);
        b.strukt("s", 8, &[("p", ptr, 0)])
    };
    let other: Make = |b| {
        let to = b.strukt("other", 4, &[]);
        let ptr = b.ptr(to);
        b.strukt("s", 8, &[("p", ptr, 0)])
    };
    for (local, target, want) in [
        (full, empty, 1),
        (full, forward, 1),
        (forward, full, 1),
        (forward, forward, 1),
        (full, union, 0),
        (forward, union, 0),
        (full, other, 0),
    ] {
        assert_eq!(ask(TypeMatches, "0", local, target), Some(want));
    }
}

#[test]
fn enums_match_by_names_and_size() {
    let small: Make = |b| b.enumeration("e", 4, false, &[("A", 1), ("B", 2)]);
    let renumbered: Make = |b| b.enumeration("e", 4, true, &[("B", -7), ("C", 3), ("A___old", 9)]);
    let byte: Make = |b| b.enumeration("e", 1, false, &[("A", 1), ("B", 2)]);
    let wide: Make = |b| b.enumeration64("e", &[("A", 1), ("B", 2)]);
    let eight: Make = |b| b.enumeration("e", 8, false, &[("A", 1)]);
    let lacking: Make = |b| b.enumeration("e", 4, false, &[("A", 1), ("C", 2)]);
    for (local, target, want) in
        [(small, renumbered, 1), (small, byte, 0), (small, wide, 0), (eight, wide, 1), (small, lacking, 0)]
    {
        assert_eq!(ask(TypeMatches, "0", local, target), Some(want));
    }
}

#[test]
fn enumerators_are_found_by_essential_name() {
    let local: Make = |b| b.enumeration("e", 4, false, &[("A", 1), ("B___mine", 2), ("GONE", 3)]);
    let target: Make = |b| b.enumeration("e", 4, true, &[("B", -2), ("A___old", 7), ("A", 8)]);
    let wide: Make = |b| b.enumeration64("e", &[("A", 0xfe_dcba_9876), ("B", u64::MAX)]);
    assert_eq!(ask(EnumeratorValue, "0", local, target), Some(7), "the first that fits");
    // libbpf sign-extends 32-bit enumerators, whatever the enum says.
    assert_eq!(ask(EnumeratorValue, "1", local, target), Some(-2i64 as u64));
    let unsigned: Make = |b| b.enumeration("e", 4, false, &[("A", 0xffff_fffe)]);
    assert_eq!(ask(EnumeratorValue, "0", local, unsigned), Some(-2i64 as u64));
    assert_eq!(ask(EnumeratorValue, "0", local, wide), Some(0xfe_dcba_9876));
    assert_eq!(ask(EnumeratorValue, "1", local, wide), Some(u64::MAX));
    assert_eq!(ask(EnumeratorExists, "2", local, target), Some(0));
    assert_eq!(ask(EnumeratorValue, "2", local, target), None);
    assert_eq!(ask(EnumeratorExists, "1", local, target), Some(1));
}

#[test]
fn relocations_that_make_no_sense_are_refused() {
    let mut local = Build::new();
    let int = local.u32();
    let array = local.array(int, 2);
    let own = local.strukt("s", 16, &[("x", int, 0), ("a", array, 4)]);
    let anonymous = local.strukt("", 4, &[("x", int, 0)]);
    let colours = local.enumeration("e", 4, false, &[("A", 1)]);
    let many = vec!["0"; 65].join(":");
    use RelocKind::FieldByteOffset as Offset;
    let cases = [
        (Offset, own, ""),
        (Offset, own, ":"),
        (Offset, own, "0:"),
        (Offset, own, ":0"),
        (Offset, own, "0::0"),
        (Offset, own, "-1"),
        (Offset, own, "+0:0"),
        (Offset, own, "0x0"),
        (Offset, own, "0:2"),
        (Offset, own, "0:0:0"),
        (Offset, own, "0:1:2"),
        (Offset, own, "0:99999999999"),
        (Offset, own, "4294967295:0"),
        (Offset, own, &many),
        (Offset, anonymous, "0:0"),
        (RelocKind::FieldSigned, own, "0:1:1"),
        (TypeSize, own, "1"),
        (TypeSize, own, "0:0"),
        (TypeExists, own, "x"),
        (EnumeratorValue, own, "0"),
        (EnumeratorValue, colours, "1"),
        (EnumeratorValue, colours, "0:0"),
        (Offset, 0, "0"),
        (Offset, 99, "0"),
    ];
    let relos = cases.map(|(kind, ty, access)| local.relo(kind, ty, access));
    let (unknown, outside) = (local.relo(Offset, own, "0:0"), local.relo(Offset, own, "0:0"));
    let local = local.done();
    let universe = universe(Build::new(), vec![]);
    for ((_, _, access), relo) in cases.iter().zip(relos) {
        assert!(resolve(&local, &universe, &Binding::default(), relo).is_err(), "{access}");
    }
    let unknown = xhint_btf::ext::CoreRelo { kind: 13, ..unknown };
    assert_eq!(resolve(&local, &universe, &Binding::default(), unknown), Err(Error::Kind(13)));
    let outside = xhint_btf::ext::CoreRelo { access_str_off: u32::MAX, ..outside };
    assert!(resolve(&local, &universe, &Binding::default(), outside).is_err());
}

#[test]
fn types_that_fan_out_come_to_an_end() {
    // A function that takes functions that take functions…, and a struct of structs of structs…, many at each level;
    // members without a name, likewise.
    let build = || {
        let mut btf = Build::new();
        let int = btf.u32();
        let (mut proto, mut strukt, mut hidden) =
            (btf.proto(int, &[]), btf.strukt("leaf", 4, &[]), btf.strukt("", 4, &[]));
        for _ in 0..24 {
            let ptr = btf.ptr(proto);
            proto = btf.proto(ptr, &[ptr; 12]);
            let members: Vec<_> = ["a", "b", "c", "d", "e", "f"].iter().map(|n| (*n, strukt, 0)).collect();
            strukt = btf.strukt("level", 4, &members);
            hidden = btf.strukt("", 4, &[("", hidden, 0); 12]);
        }
        let top = btf.strukt("top", 4, &[("", hidden, 0), ("x", int, 0)]);
        let own = btf.next();
        btf.strukt("own", 4, &[("self", own, 0), ("", own, 0)]);
        (btf, [proto, strukt, top, own])
    };
    let ((mut local, [proto, strukt, top, own]), (target, _)) = (build(), build());
    let named = local.typedef("callback", proto);
    let mut target = target;
    target.typedef("callback", proto);
    let relos = [
        local.relo(TypeExists, named, "0"),
        local.relo(TypeMatches, named, "0"),
        local.relo(TypeMatches, strukt, "0"),
        local.relo(RelocKind::FieldExists, top, "0:1"),
        local.relo(RelocKind::FieldExists, own, "0:0:0:0:0"),
        local.relo(TypeMatches, own, "0"),
    ];
    let (local, universe) = (local.done(), universe(target, vec![]));
    let start = std::time::Instant::now();
    for relo in relos {
        // Some are refused, some answered; none takes long.
        let _ = resolve(&local, &universe, &Binding::default(), relo);
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
