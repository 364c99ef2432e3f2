//! Written BTF reads back as it was, and bpftool, which shares no code with us, reads it too.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::process::Command;
use std::sync::Arc;

use xhint_btf::write::{NewType, Writer, merge};
use xhint_btf::{Btf, ByteOrder, Kind};

/// `int`, `struct meta { int rx_hash; int *next; }` and a tag on its first member.
fn small(order: ByteOrder) -> Vec<u8> {
    let mut w = Writer::new(order);
    let int = w.push(NewType { name: "int", third: 4, tail: &[1 << 24 | 32], ..NewType::of(Kind::Int) }).unwrap();
    let ptr = w.push(NewType { third: int, ..NewType::of(Kind::Ptr) }).unwrap();
    let (hash, next) = (w.string("rx_hash").unwrap(), w.string("next").unwrap());
    let tail = [hash, int, 0, next, ptr, 64];
    let meta = w.push(NewType { name: "meta", vlen: 2, third: 16, tail: &tail, ..NewType::of(Kind::Struct) }).unwrap();
    w.push(NewType { name: "xhint:layout", third: meta, tail: &[0], ..NewType::of(Kind::DeclTag) }).unwrap();
    w.finish()
}

/// A split BTF: `struct desc { struct meta m; enum { A = -1 } e; void (*f)(struct desc *d); }`.
fn split(base: &Btf) -> Vec<u8> {
    let mut w = Writer::split(base);
    let (a, m, e, f, d) = (w.string("A"), w.string("m"), w.string("e"), w.string("f"), w.string("d"));
    let (a, m, e, f, d) = (a.unwrap(), m.unwrap(), e.unwrap(), f.unwrap(), d.unwrap());
    let first = w.next_id();
    let tail = [m, 3, 0, e, first + 1, 128, f, first + 3, 192];
    w.push(NewType { name: "desc", vlen: 3, third: 32, tail: &tail, ..NewType::of(Kind::Struct) }).unwrap();
    w.push(NewType { flag: true, vlen: 1, third: 4, tail: &[a, u32::MAX], ..NewType::of(Kind::Enum) }).unwrap();
    w.push(NewType { vlen: 1, third: 0, tail: &[d, first + 4], ..NewType::of(Kind::FuncProto) }).unwrap();
    w.push(NewType { third: first + 2, ..NewType::of(Kind::Ptr) }).unwrap();
    w.push(NewType { third: first, ..NewType::of(Kind::Ptr) }).unwrap();
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
        assert_eq!(Writer::extend(&btf).finish(), *btf.raw());
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
fn kinds_newer_than_this_crate_stay_where_they_are_and_are_not_moved() {
    // A kernel's BTF of 2026: a header of 32 bytes, a type of kind 22, and the sizes that let it be skipped.
    let mut w = Writer::new(ByteOrder::Little);
    w.push(NewType { name: "int", third: 4, tail: &[1 << 24 | 32], ..NewType::of(Kind::Int) }).unwrap();
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
    assert_eq!(Writer::extend(&btf).finish(), bytes);

    let other = Btf::parse(small(ByteOrder::Little)).unwrap();
    let grown = Btf::parse(merge(&btf, &[&other]).unwrap()).unwrap();
    assert_eq!(grown.types().filter(|t| t.kind() == Kind::Unknown).count(), 1);
    assert_eq!(grown.ty(5).unwrap().name(), "meta");
    let error = merge(&other, &[&btf]).unwrap_err();
    assert_eq!(error, xhint_btf::Error::Immovable { id: 2, kind: 22 });
}
