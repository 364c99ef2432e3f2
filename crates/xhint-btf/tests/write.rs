//! Written BTF reads back as it was, and bpftool, which shares no code with us, reads it too.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use xhint_btf::{Btf, Builder, ByteOrder, Def, Enumeration, Enumerator, Kind, Member, Param, merge};
use xhint_testkit::fixture;

/// `int`, `struct meta { int rx_hash; int *next; }` and a tag on its first member.
fn small(order: ByteOrder) -> Vec<u8> {
    let mut w = Builder::new(order);
    let int = w.add(&Def::signed("int", 4)).unwrap();
    let ptr = w.add(&Def::Ptr(int)).unwrap();
    let members = [Member::new("rx_hash", int, 0), Member::new("next", ptr, 64)];
    let target = w.add(&Def::structure("meta", 16, &members)).unwrap();
    w.add(&Def::DeclTag { text: "xhint:layout", target, component: Some(0), attribute: false }).unwrap();
    w.finish()
}

/// A split BTF: `struct desc { struct meta m; enum { A = -1 } e; void (*f)(struct desc *d); }`.
fn split(base: &Btf) -> Vec<u8> {
    let mut w = Builder::split(base);
    let first = w.next_id();
    let members = [Member::new("m", 3, 0), Member::new("e", first + 1, 128), Member::new("f", first + 3, 192)];
    w.add(&Def::structure("desc", 32, &members)).unwrap();
    let values = vec![Enumerator { name: "A", value: u64::MAX }].into();
    w.add(&Def::Enum(Enumeration { name: "", size: 4, signed: true, values })).unwrap();
    let params = vec![Param { name: "d", type_id: first + 4 }].into();
    w.add(&Def::FuncProto { result: 0, params }).unwrap();
    w.add(&Def::Ptr(first + 2)).unwrap();
    w.add(&Def::Ptr(first)).unwrap();
    w.finish()
}

#[test]
fn reads_back_in_both_byte_orders() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let btf = Btf::parse(small(order)).unwrap();
        assert_eq!(btf.order(), order);
        let meta = btf.ty(3).unwrap();
        let members: Vec<_> = meta.members().map(|m| (m.name, m.type_id, m.bit_offset)).collect();
        assert_eq!(members, [("rx_hash", 1, 0), ("next", 2, 64)]);
        let tag = btf.ty(4).unwrap();
        assert_eq!((tag.name(), tag.target(), tag.component()), ("xhint:layout", 3, Some(0)));
        assert_eq!(Builder::extend(&btf).finish(), *btf.raw());
    }
}

#[test]
fn a_merge_moves_every_reference() {
    let base = Arc::new(Btf::parse(small(ByteOrder::Little)).unwrap());
    let split = Btf::parse_split(split(&base), base.clone()).unwrap();
    let alone = Btf::parse(small(ByteOrder::Little)).unwrap();
    let flat = Btf::parse(merge(&base, &[&alone, &split]).unwrap()).unwrap();

    let copy = flat.ty(7).unwrap();
    assert_eq!(copy.name(), "meta");
    assert_eq!(copy.members().map(|m| m.type_id).collect::<Vec<_>>(), [5, 6]);

    let desc = flat.types().find(|t| t.name() == "desc").unwrap();
    let members: Vec<_> = desc.members().collect();
    assert_eq!(flat.ty(members[0].type_id).unwrap().id(), 3, "base types keep their ids");
    let values: Vec<_> = flat.ty(members[1].type_id).unwrap().enumerators().collect();
    assert_eq!((values[0].name, values[0].value), ("A", u64::MAX));
    let proto = flat.ty(flat.ty(members[2].type_id).unwrap().target()).unwrap();
    let param = proto.params().next().unwrap();
    assert_eq!((param.name, flat.ty(param.type_id).unwrap().target()), ("d", desc.id()));
}

#[test]
fn bpftool_reads_a_merge_as_we_do() {
    let base = Arc::new(Btf::parse(small(ByteOrder::Little)).unwrap());
    let split = Btf::parse_split(split(&base), base.clone()).unwrap();
    let file = std::env::temp_dir().join(format!("xhint-btf-merge-{}.btf", std::process::id()));
    std::fs::write(&file, merge(&base, &[&split]).unwrap()).unwrap();
    let out = Command::new("bpftool").args(["btf", "dump", "file"]).arg(&file).output();
    std::fs::remove_file(&file).unwrap();
    let Ok(out) = out else {
        eprintln!("SKIPPED bpftool_reads_a_merge_as_we_do: bpftool is not installed");
        return;
    };
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("[5] STRUCT 'desc' size=32 vlen=3\n\t'm' type_id=3 bits_offset=0"), "{text}");
    assert!(text.contains("[6] ENUM '(anon)' encoding=SIGNED size=4 vlen=1\n\t'A' val=-1"), "{text}");
    assert!(text.contains("[4] DECL_TAG 'xhint:layout' type_id=3 component_idx=0"), "{text}");
}

#[test]
fn what_is_defined_again_is_the_same_to_bpftool() {
    let kernel = fixture::corpus_path("vmlinux.btf");
    let old = Btf::parse(fixture::corpus("vmlinux.btf")).unwrap();
    let mut w = Builder::new(old.order());
    for ty in old.types() {
        let def = ty.def().unwrap();
        assert_eq!((w.add(&def).unwrap(), def.kind()), (ty.id(), ty.kind()));
    }
    let again = fixture::keep("defined", "btf", &w.finish());
    let new = Btf::parse(std::fs::read(&again).unwrap()).unwrap();
    assert!(old.types().zip(new.types()).all(|(a, b)| a.def() == b.def()));
    let dump = |file: &Path| Command::new("bpftool").args(["btf", "dump", "file"]).arg(file).output();
    let (Ok(theirs), Ok(ours)) = (dump(&kernel), dump(&again)) else {
        eprintln!("SKIPPED what_is_defined_again_is_the_same_to_bpftool: bpftool is not installed");
        return;
    };
    assert!(theirs.status.success() && !theirs.stdout.is_empty());
    assert!(theirs.stdout == ours.stdout);
}

#[test]
fn kinds_newer_than_this_crate_stay_where_they_are_and_are_not_moved() {
    // A kernel's BTF of 2026: a header of 32 bytes, a type of kind 22, and the sizes that let it be skipped.
    let mut w = Builder::new(ByteOrder::Little);
    w.add(&Def::signed("int", 4)).unwrap();
    let mut bytes = w.finish();
    let (types, layouts) = ([0, 22 << 24 | 1, 0, 1, 2, 3u32], [[0u8; 4]; 22]);
    let strings = bytes.split_off(24 + 16);
    bytes.extend(types.iter().flat_map(|w| w.to_le_bytes()));
    bytes.extend(layouts.concat());
    bytes.extend([0, 12, 0, 0]);
    bytes.extend(&strings);
    for (at, word) in [(4, 32), (12, 40), (16, 40 + 23 * 4)] {
        bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
    }
    bytes.splice(24..24, [40u32.to_le_bytes(), 92u32.to_le_bytes()].concat());
    let btf = Btf::parse(bytes.clone()).unwrap();
    assert_eq!(btf.ty(2).unwrap().kind(), Kind::Unknown);
    assert_eq!(Builder::extend(&btf).finish(), bytes);

    let other = Btf::parse(small(ByteOrder::Little)).unwrap();
    let grown = Btf::parse(merge(&btf, &[&other]).unwrap()).unwrap();
    assert_eq!(grown.types().filter(|t| t.kind() == Kind::Unknown).count(), 1);
    assert_eq!(grown.ty(5).unwrap().name(), "meta");
    let error = merge(&other, &[&btf]).unwrap_err();
    assert_eq!(error, xhint_btf::Error::Immovable { id: 2, kind: 22 });
}
