//! Split BTFs with a distilled base, put on other bases: as libbpf does where it does, and further where it refuses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use std::sync::Arc;

use xhint_btf::{Btf, Builder, ByteOrder, Composite, Def, Differs, Enumeration, Error, Kind, Member, rebase};
use xhint_testkit::distill::{Distilled, distill};
use xhint_testkit::fixture::corpus;

const MODULES: [&str; 4] = ["ice.btf", "igc.btf", "mlx5_core.btf", "veth.btf"];

fn distilled(module: &str) -> Distilled {
    distill(&corpus(module), &corpus("vmlinux.btf"))
}

/// The split BTF on its distilled base.
fn read(made: &Distilled) -> Btf {
    let base = Arc::new(Btf::parse(made.base.clone()).unwrap());
    Btf::parse_split(made.split.clone(), base).unwrap()
}

fn kernel() -> Arc<Btf> {
    Arc::new(Btf::parse(corpus("vmlinux.btf")).unwrap())
}

/// The kernel's types behind some others, so that none has its old id.
fn moved() -> Arc<Btf> {
    let mut w = Builder::new(ByteOrder::Little);
    for name in ["first", "second", "third"] {
        w.add(&Def::structure(name, 4, &[])).unwrap();
    }
    w.append(&kernel()).unwrap();
    Arc::new(Btf::parse(w.finish()).unwrap())
}

/// All that is said of the own types, names in words and ids as they are.
fn types(btf: &Btf) -> Vec<String> {
    let one = |t: xhint_btf::Type<'_>| {
        let members: Vec<_> = t.members().collect();
        let (names, params): (Vec<_>, Vec<_>) = (t.enumerators().collect(), t.params().collect());
        let head = (t.id(), t.kind(), t.name(), t.size(), t.target(), t.vlen(), t.kind_flag());
        format!("{head:?} {members:?} {names:?} {params:?} {:?} {:?} {:?}", t.array(), t.int(), t.component())
    };
    btf.types().map(one).collect()
}

#[test]
fn what_libbpf_relocates_comes_out_the_same() {
    for module in MODULES {
        let made = distilled(module);
        for base in [kernel(), moved()] {
            let theirs = Btf::parse_split(made.relocate(base.raw()).unwrap(), base.clone()).unwrap();
            let ours = rebase(&read(&made), base).unwrap();
            assert_eq!(ours.kept(), []);
            for (ours, theirs) in types(&ours).iter().zip(types(&theirs)) {
                assert_eq!(*ours, theirs, "{module}");
            }
            assert_eq!(ours.end_id(), theirs.end_id());
        }
    }
}

/// The kernel's BTF with another size of this struct.
fn resized(name: &str, size: u32) -> Arc<Btf> {
    let mut bytes = corpus("vmlinux.btf");
    let old = kernel();
    let ty = old.types().find(|t| t.kind() == Kind::Struct && t.name() == name).unwrap();
    let head: Vec<u8> =
        [ty.name_offset(), (Kind::Struct as u32) << 24 | ty.vlen(), ty.size()].map(u32::to_le_bytes).concat();
    let flagged: Vec<u8> =
        [ty.name_offset(), 1 << 31 | (Kind::Struct as u32) << 24 | ty.vlen(), ty.size()].map(u32::to_le_bytes).concat();
    let at = bytes.windows(12).position(|w| *w == head[..] || *w == flagged[..]).unwrap();
    bytes[at + 8..at + 12].copy_from_slice(&size.to_le_bytes());
    Arc::new(Btf::parse(bytes).unwrap())
}

#[test]
fn a_type_within_another_that_changed_its_size_is_kept_and_no_more_than_that() {
    let made = distilled("ice.btf");
    let old = kernel();
    let size = |name: &str| old.types().find(|t| t.kind() == Kind::Struct && t.name() == name).unwrap().size();
    let base = resized("xdp_buff", size("xdp_buff") + 8);
    made.relocate(base.raw()).unwrap_err();
    let ours = rebase(&read(&made), base.clone()).unwrap();
    let [kept] = ours.kept() else { panic!("{:?}", ours.kept()) };
    assert_eq!(kept.why, Differs::Size(size("xdp_buff") + 8));
    assert_eq!(ours.differs(kept.id), Some(kept.why));
    let copy = ours.ty(kept.id).unwrap();
    assert_eq!((copy.name(), copy.size(), copy.vlen()), ("xdp_buff", size("xdp_buff"), 0));
    // It is behind the own types, which keep their order, and is not found by name.
    assert_eq!(copy.id() + 1, ours.end_id());
    let own = ours.types().find(|t| t.name() == "ice_xdp_buff").unwrap();
    let member = own.members().next().unwrap();
    assert_eq!(ours.skip_mods_and_typedefs(member.type_id).id(), kept.id);
    let mut named = Vec::new();
    ours.for_each_named(|id, _| named.push(id));
    assert!(named.contains(&own.id()) && !named.contains(&kept.id));

    // What is only pointed to may have any size, for libbpf too.
    let base = resized("net_device", size("net_device") + 64);
    made.relocate(base.raw()).unwrap();
    assert_eq!(rebase(&read(&made), base).unwrap().kept(), []);
}

/// A distilled base and, split on it, `struct own { T within; T *to; }` for each of its types.
fn pair(fill: impl Fn(&mut Builder)) -> Btf {
    let mut w = Builder::new(ByteOrder::Little);
    fill(&mut w);
    let base = Arc::new(Btf::parse(w.finish()).unwrap());
    let mut w = Builder::split(&base);
    for ty in base.types() {
        let pointer = w.add(&Def::Ptr(ty.id())).unwrap();
        let members = [Member::new("within", ty.id(), 0), Member::new("to", pointer, 0)];
        w.add(&Def::structure("own", 64, &members)).unwrap();
    }
    Btf::parse_split(w.finish(), base).unwrap()
}

fn structure(name: &str, size: u32) -> Def<'_> {
    Def::structure(name, size, &[])
}

fn union(name: &str, size: u32) -> Def<'_> {
    Def::Union(Composite::new(name, size, &[]))
}

fn enumeration(name: &str, size: u32) -> Enumeration<'_> {
    Enumeration { name, size, signed: false, values: (&[]).into() }
}

#[test]
fn each_kind_finds_its_like_and_nothing_else() {
    let split = pair(|w| {
        w.add(&Def::signed("int", 4)).unwrap();
        w.add(&Def::Enum(enumeration("state", 4))).unwrap();
        w.add(&Def::Enum(enumeration("wide", 8))).unwrap();
        w.add(&Def::Fwd { name: "declared", union: false }).unwrap();
        w.add(&structure("both", 8)).unwrap();
        w.add(&union("both", 4)).unwrap();
        w.add(&structure("twice", 8)).unwrap();
        w.add(&structure("same", 8)).unwrap();
        w.add(&structure("gone", 8)).unwrap();
        w.add(&Def::unsigned("odd", 2)).unwrap();
        w.add(&structure("empty", 0)).unwrap();
    });
    let mut w = Builder::new(ByteOrder::Little);
    let mut ids = Vec::new();
    for new in [
        // In another order, and among others of the same names.
        structure("twice", 16),
        structure("twice", 8),
        structure("same", 8),
        structure("same", 8),
        union("both", 4),
        structure("both", 8),
        Def::Fwd { name: "declared", union: false },
        union("declared", 8),
        Def::Struct(Composite { bitfields: true, ..Composite::new("declared", 8, &[]) }),
        Def::unsigned("int", 4),
        Def::signed("int", 4),
        Def::Enum(enumeration("state", 4)),
        Def::Enum64(enumeration("wide", 8)),
        union("gone", 8),
        Def::signed("odd", 2),
    ] {
        ids.push(w.add(&new).unwrap());
    }
    let base = Arc::new(Btf::parse(w.finish()).unwrap());
    let btf = rebase(&split, base.clone()).unwrap();
    let within = |n: usize| btf.types().filter(|t| t.name() == "own").nth(n).unwrap().member(0).unwrap().type_id;
    let want = [Some(11), Some(12), Some(13), Some(9), Some(6), Some(5), Some(2), None, None, None, None];
    for (n, want) in want.into_iter().enumerate() {
        let name = btf.ty(within(n)).unwrap().name();
        match want {
            Some(id) => assert_eq!(within(n), id, "{name}"),
            None => assert!(within(n) >= btf.end_id() - 4, "{name}"),
        }
    }
    // Of ints and of what is empty the copy says all.
    let kept: Vec<_> = btf.kept().iter().map(|k| (btf.ty(k.id).unwrap().name(), k.why)).collect();
    assert_eq!(kept, [("same", Differs::Several), ("gone", Differs::Missing)]);
}

#[test]
fn a_base_that_is_a_whole_one_is_as_good() {
    // Kinds that no distilled base has, and structs with members: what is not found by name is copied with all it has.
    let split = pair(|w| {
        let int = w.add(&Def::signed("int", 4)).unwrap();
        w.add(&Def::structure("mine", 4, &[Member::new("field", int, 0)])).unwrap();
        w.add(&Def::Typedef { name: "mine_t", target: 2 }).unwrap();
    });
    let btf = rebase(&split, kernel()).unwrap();
    let own = btf.types().filter(|t| t.name() == "own").last().unwrap();
    let mine = btf.skip_mods_and_typedefs(own.member(0).unwrap().type_id);
    let field = mine.members().next().unwrap();
    assert_eq!((mine.name(), field.name, btf.ty(field.type_id).unwrap().name()), ("mine", "field", "int"));
    assert!(field.type_id < kernel().end_id() && btf.kept().is_empty());
}

#[test]
fn other_byte_orders_and_kinds_that_cannot_move_are_refused() {
    let split = read(&distilled("veth.btf"));
    let big = Arc::new(Btf::parse(Builder::new(ByteOrder::Big).finish()).unwrap());
    assert_eq!(rebase(&split, big).unwrap_err(), Error::BaseOrder { own: ByteOrder::Little, base: ByteOrder::Big });
    // On a base that has none of its types all is kept.
    let empty = Arc::new(Btf::parse(Builder::new(ByteOrder::Little).finish()).unwrap());
    let btf = rebase(&split, empty).unwrap();
    assert!(!btf.kept().is_empty() && btf.kept().iter().all(|k| k.why == Differs::Missing));
}
