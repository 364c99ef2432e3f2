//! What holds for layouts beyond libbpf: binding, byte order, pointers, ids.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use std::sync::Arc;

use common::{Build, bound, explain, resolve, universe, value};
use xhint_btf::ext::CoreRelo;
use xhint_btf::{Btf, ByteOrder};
use xhint_relo::{Binding, RelocKind, Resolver};
use xhint_universe::Universe;

use RelocKind::{FieldByteOffset, FieldExists, TypeExists, TypeIdTarget, TypeMatches, TypeSize};

/// A program with one struct of this name, one field `hash` of type u32, and a relocation of each kind asked for.
fn program(name: &str, kinds: &[RelocKind]) -> (Btf, Vec<CoreRelo>) {
    let mut local = Build::new();
    let int = local.u32();
    let own = local.strukt(name, 4, &[("hash", int, 0)]);
    let relos = kinds.iter().map(|kind| local.relo(*kind, own, if kind.is_field() { "0:0" } else { "0" })).collect();
    (local.done(), relos)
}

/// A NIC whose layout has this name and id, and `hash` at this byte.
fn nic(name: &str, id: u32, at: u32, tags: &[&str]) -> Build {
    let mut nic = Build::new();
    let int = nic.u32();
    let layout = nic.strukt(name, at + 8, &[("hash", int, at), ("btf_id", int, at + 4)]);
    nic.tag(&format!("xhint:id={id}"), layout);
    for tag in tags {
        nic.tag(tag, layout);
    }
    nic
}

fn base() -> Build {
    let mut base = Build::new();
    let int = base.u32();
    // A kernel type of the same name as the layouts, and one of its own.
    base.strukt("nic_meta", 64, &[("hash", int, 60)]);
    base.strukt("sk_buff", 32, &[("hash", int, 12)]);
    base
}

#[test]
fn each_link_sees_its_own_layout_alone() {
    let universe = universe(base(), vec![nic("nic_meta", 7, 8, &[]), nic("nic_meta___v2", 9, 16, &[])]);
    let (local, r) = program("nic_meta___mine", &[FieldByteOffset, TypeSize, TypeIdTarget, TypeExists, FieldExists]);
    let all = |binding: &Binding| r.iter().map(|r| value(&local, &universe, binding, *r)).collect::<Vec<_>>();
    assert_eq!(all(&bound(0)), [Some(8), Some(16), Some(7), Some(1), Some(1)]);
    assert_eq!(all(&bound(1)), [Some(16), Some(24), Some(9), Some(1), Some(1)]);
    // The fallback: nowhere, not even to the kernel's type of that name.
    assert_eq!(all(&Binding::default()), [None, Some(0), Some(0), Some(0), Some(0)]);
}

#[test]
fn another_layouts_name_leads_nowhere() {
    let universe = universe(base(), vec![nic("mlx_rx", 7, 8, &[]), nic("ice_rx", 9, 16, &[])]);
    let (local, r) = program("ice_rx", &[FieldExists]);
    assert_eq!(value(&local, &universe, &bound(0), r[0]), Some(0));
    assert_eq!(value(&local, &universe, &bound(1), r[0]), Some(1));
}

#[test]
fn kernel_types_are_found_beside_any_layout() {
    let universe = universe(base(), vec![nic("mlx_rx", 7, 8, &[])]);
    let (local, r) = program("sk_buff", &[FieldByteOffset, TypeIdTarget]);
    for binding in [bound(0), Binding::default()] {
        assert_eq!(value(&local, &universe, &binding, r[0]), Some(12));
        assert_eq!(value(&local, &universe, &binding, r[1]), Some(3), "the kernel's own id");
    }
}

#[test]
fn a_layout_answers_to_aliases_and_renames() {
    let universe = universe(base(), vec![nic("mlx_rx", 7, 8, &["xhint:as=nic_meta"]), nic("ice_rx___fw2", 9, 16, &[])]);
    let (local, r) = program("nic_meta", &[FieldByteOffset]);
    assert_eq!(value(&local, &universe, &bound(0), r[0]), Some(8));
    assert_eq!(value(&local, &universe, &bound(1), r[0]), None);
    for (from, to) in
        [("nic_meta", "ice_rx"), ("nic_meta", "ice_rx___fw2"), ("nic_meta___v9", "ice_rx"), ("nic_meta", "sk_buff")]
    {
        let bind = vec![(from.to_owned(), to.to_owned())];
        let binding = Binding { bind, ..bound(1) };
        let want = match (from, to) {
            ("nic_meta___v9", _) => None,
            (_, "sk_buff") => Some(12),
            _ => Some(16),
        };
        assert_eq!(value(&local, &universe, &binding, r[0]), want, "{from}={to}");
    }
}

#[test]
fn a_flavour_can_be_bound_elsewhere_than_its_like() {
    let universe = universe(base(), vec![nic("mlx_rx", 7, 8, &["xhint:as=nic_meta"])]);
    let (local, r) = program("nic_meta___kernel", &[FieldByteOffset]);
    let bind = vec![("nic_meta___kernel".to_owned(), "sk_buff".to_owned())];
    assert_eq!(value(&local, &universe, &Binding { bind, ..bound(0) }, r[0]), Some(12));
}

#[test]
fn a_typedef_is_a_layout_for_structs_of_its_name() {
    let mut nic = Build::new();
    let int = nic.u32();
    let body = nic.strukt("", 8, &[("hash", int, 4)]);
    let typedef = nic.typedef("nic_meta", body);
    nic.tag("xhint:id=3", typedef);
    let universe = universe(base(), vec![nic]);
    let (local, r) = program("nic_meta", &[FieldByteOffset, TypeExists, TypeSize, TypeIdTarget, TypeMatches]);
    let all: Vec<_> = r.iter().map(|r| value(&local, &universe, &bound(0), *r)).collect();
    assert_eq!(all, [Some(4), Some(1), Some(8), Some(3), Some(1)]);
}

#[test]
fn a_type_of_the_only_split_has_its_id_there() {
    let base = Arc::new(base().done());
    let mut driver = Build::split(&base);
    let ring = driver.strukt("rx_ring", 4, &[]);
    let mut universe = Universe::new(base.clone());
    universe.add("driver", Arc::new(driver.done_split(&base))).unwrap();
    let mut local = Build::new();
    let own = local.strukt("rx_ring", 4, &[]);
    let relo = local.relo(TypeIdTarget, own, "0");
    assert_eq!(value(&local.done(), &universe, &Binding::default(), relo), Some(ring.into()));
    assert_eq!(ring, base.end_id());
}

#[test]
fn the_base_wins_over_a_nics_own_copy() {
    let mut copy = Build::new();
    let int = copy.u32();
    copy.strukt("sk_buff", 99, &[("hash", int, 88)]);
    let universe = universe(base(), vec![copy]);
    let (local, r) = program("sk_buff", &[FieldByteOffset]);
    assert_eq!(value(&local, &universe, &Binding::default(), r[0]), Some(12));
}

#[test]
fn nics_that_disagree_are_an_error_that_names_them() {
    let driver = |at| {
        let mut driver = Build::new();
        let int = driver.u32();
        driver.strukt("rx_ring", 64, &[("hash", int, at)]);
        driver
    };
    let (local, r) = program("rx_ring", &[FieldByteOffset, TypeSize, FieldExists]);
    let agreeing = universe(base(), vec![driver(8), driver(8)]);
    assert_eq!(value(&local, &agreeing, &Binding::default(), r[0]), Some(8));
    let differing = universe(base(), vec![driver(8), driver(12)]);
    let error = resolve(&local, &differing, &Binding::default(), r[0]).unwrap_err().to_string();
    for part in ["rx_ring.hash", "0.btf", "1.btf", "8", "12", "struct 'rx_ring'"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // They agree on the size.
    assert_eq!(value(&local, &differing, &Binding::default(), r[1]), Some(64));
}

#[test]
fn a_layouts_own_file_answers_for_its_helpers_first() {
    let with_ring = |name: &str, id, at| {
        let mut nic = nic(name, id, 8, &[]);
        let int = nic.u32();
        nic.strukt("rx_ring", 64, &[("hash", int, at)]);
        nic
    };
    let universe = universe(base(), vec![with_ring("a_rx", 1, 8), with_ring("b_rx", 2, 12)]);
    let (local, r) = program("rx_ring", &[FieldByteOffset]);
    assert_eq!(value(&local, &universe, &bound(0), r[0]), Some(8));
    assert_eq!(value(&local, &universe, &bound(1), r[0]), Some(12));
}

/// Builds `struct nic_meta { <type> hash; }` on both sides from the names of the typedefs, and asks whether `hash` exists.
fn exists(order: ByteOrder, local_type: &[&str], target_type: &[&str], size: u32) -> u64 {
    let side = |names: &[&str], array: bool| {
        let mut btf = Build::in_order(order);
        let int = btf.int("number", size, 0);
        let mut ty = names.iter().rev().fold(int, |id, name| btf.typedef(name, id));
        if array {
            ty = btf.array(ty, 2);
        }
        let own = btf.strukt("nic_meta", 16, &[("hash", ty, 0)]);
        (btf, own)
    };
    let mut answers = [0, 0].into_iter().enumerate().map(|(n, _)| {
        let ((mut local, own), (mut nic, layout)) = (side(local_type, n == 1), side(target_type, n == 1));
        nic.tag("xhint:layout", layout);
        let relo = local.relo(FieldExists, own, "0:0");
        let universe = universe(Build::in_order(order), vec![nic]);
        value(&local.done(), &universe, &bound(0), relo).unwrap()
    });
    let (plain, array) = (answers.next().unwrap(), answers.next().unwrap());
    assert_eq!(plain, array, "arrays as their elements");
    plain
}

#[test]
fn byte_order_is_part_of_a_numbers_type() {
    use ByteOrder::{Big, Little};
    for (order, same) in [(Little, "__le32"), (Big, "__be32")] {
        let other = if order == Little { "__be32" } else { "__le32" };
        assert_eq!(exists(order, &[], &[], 4), 1);
        assert_eq!(exists(order, &["__u32"], &["my_u32", "__u32"], 4), 1);
        // The machine's own order by name is the machine's own order.
        assert_eq!(exists(order, &["__u32"], &[same], 4), 1);
        assert_eq!(exists(order, &[same], &["__u32"], 4), 1);
        assert_eq!(exists(order, &[other], &[other], 4), 1);
        assert_eq!(exists(order, &[other], &["vendor_t", other, "__u32"], 4), 1);
        assert_eq!(exists(order, &["__u32"], &[other], 4), 0);
        assert_eq!(exists(order, &[other], &["__u32"], 4), 0);
        assert_eq!(exists(order, &[same], &[other], 4), 0);
        // A byte has no order.
        assert_eq!(exists(order, &["__u8"], &[other], 1), 1);
    }
}

#[test]
fn byte_order_counts_only_in_layouts() {
    let side = |typedef: Option<&str>| {
        let mut btf = Build::new();
        let int = btf.u32();
        let ty = typedef.map_or(int, |name| btf.typedef(name, int));
        let own = btf.strukt("iphdr", 4, &[("saddr", ty, 0)]);
        (btf, own)
    };
    let ((mut local, own), (kernel, _)) = (side(None), side(Some("__be32")));
    let relo = local.relo(FieldExists, own, "0:0");
    assert_eq!(value(&local.done(), &universe(kernel, vec![]), &Binding::default(), relo), Some(1));
}

#[test]
fn both_orders_can_be_asked_for() {
    let mut nic = Build::new();
    let int = nic.u32();
    let big = nic.typedef("__be32", int);
    let layout = nic.strukt("nic_meta", 4, &[("hash", big, 0)]);
    nic.tag("xhint:layout", layout);
    let mut local = Build::new();
    let int = local.u32();
    let big = local.typedef("__be32", int);
    let host = local.strukt("nic_meta", 4, &[("hash", int, 0)]);
    let flavour = local.strukt("nic_meta___be", 4, &[("hash", big, 0)]);
    let relos = [host, flavour].map(|ty| {
        [FieldExists, FieldByteOffset, TypeMatches]
            .map(|kind| local.relo(kind, ty, if kind == TypeMatches { "0" } else { "0:0" }))
    });
    let (local, universe) = (local.done(), universe(base(), vec![nic]));
    let got = relos.map(|relos| relos.map(|relo| value(&local, &universe, &bound(0), relo)));
    assert_eq!(got, [[Some(0), None, Some(0)], [Some(1), Some(0), Some(1)]]);
    let why = explain(&local, &universe, &bound(0), relos[0][1]).miss.unwrap().to_string();
    assert!(why.contains("'hash' is __be32") && why.contains("byte order"), "{why}");
}

#[test]
fn without_the_right_to_walk_pointers_are_absent() {
    let side = |name: &str| {
        let mut btf = Build::new();
        let int = btf.u32();
        let ring = btf.strukt("rx_ring", 4, &[("queue", int, 0)]);
        let ptr = btf.ptr(ring);
        let typedef = btf.typedef("ring_ptr", ptr);
        let array = btf.array(ptr, 2);
        let members = [("ring", typedef, 0), ("rings", array, 8), ("hash", int, 24)];
        let own = btf.strukt(name, 28, &members);
        (btf, own, ring)
    };
    let (mut local, own, ring) = side("nic_meta");
    let (mut nic, layout, _) = side("nic_meta");
    nic.tag("xhint:layout", layout);
    let asked = [
        (FieldExists, own, "0:0"),
        (FieldByteOffset, own, "0:0"),
        (FieldByteOffset, own, "0:1:1"),
        (FieldByteOffset, own, "0:1"),
        (FieldByteOffset, own, "0:2"),
        (TypeMatches, own, "0"),
        // Not in the layout but behind a pointer of some other origin.
        (FieldByteOffset, ring, "0:0"),
    ];
    let relos = asked.map(|(kind, ty, access)| local.relo(kind, ty, access));
    let (local, universe) = (local.done(), universe(Build::new(), vec![nic]));
    let all = |walk| relos.map(|relo| value(&local, &universe, &Binding { walk, ..bound(0) }, relo));
    assert_eq!(all(true), [Some(1), Some(0), Some(16), Some(8), Some(24), Some(1), Some(0)]);
    assert_eq!(all(false), [Some(0), None, None, None, Some(24), Some(0), Some(0)]);
    let why = explain(&local, &universe, &Binding { walk: false, ..bound(0) }, relos[1]).miss.unwrap().to_string();
    assert!(why.contains("'ring' is a pointer") && why.contains("CAP_PERFMON"), "{why}");
}

#[test]
fn what_was_resolved_is_remembered() {
    let universe = universe(base(), vec![nic("nic_meta", 7, 8, &[])]);
    let (local, r) = program("nic_meta", &[FieldByteOffset, FieldExists]);
    let mut resolver = Resolver::new(&local, &universe, bound(0));
    resolver.prepare(&r);
    let first = resolver.resolve(&r[0]).unwrap();
    assert_eq!(resolver.resolve(&CoreRelo { insn_off: 800, ..r[0] }).unwrap(), first);
    assert_eq!(first.new, 8);
}

#[test]
fn one_flavour_is_cut_and_no_second() {
    // By libbpf's rule the essential name of nic_meta___a___b is nic_meta___a, which is another name than nic_meta.
    let plain = universe(Build::new(), vec![nic("nic_meta", 7, 8, &[])]);
    let flavoured = universe(Build::new(), vec![nic("nic_meta___a___z", 7, 8, &[])]);
    let other = universe(Build::new(), vec![nic("nic_meta___a", 7, 8, &[])]);
    let named = universe(Build::new(), vec![nic("mlx", 7, 8, &["xhint:as=nic_meta___a___x"])]);
    let (local, r) = program("nic_meta___a___b", &[TypeExists]);
    let (single, s) = program("nic_meta___a", &[TypeExists]);
    for (universe, double, one) in [(plain, 0, 1), (flavoured, 1, 0), (other, 0, 1), (named, 1, 0)] {
        assert_eq!(value(&local, &universe, &bound(0), r[0]), Some(double));
        assert_eq!(value(&single, &universe, &bound(0), s[0]), Some(one));
        // The same without a layout, where nobody answers.
        assert_eq!(value(&local, &universe, &Binding::default(), r[0]), Some(0));
    }
    // Kernel types, too, and what is bound by the user.
    let mut kernel = Build::new();
    kernel.strukt("ring___a___k", 4, &[]);
    let universe = universe(kernel, vec![nic("mlx", 7, 8, &[])]);
    for (name, want) in [("ring___a___b", 1), ("ring___a", 0), ("ring", 0)] {
        let (local, r) = program(name, &[TypeExists]);
        assert_eq!(value(&local, &universe, &bound(0), r[0]), Some(want), "{name}");
    }
    let bind = vec![("mine___a".to_owned(), "mlx".to_owned())];
    for (name, want) in [("mine___a___b", 1), ("mine___a", 1), ("mine", 0)] {
        let (local, r) = program(name, &[TypeExists]);
        assert_eq!(value(&local, &universe, &Binding { bind: bind.clone(), ..bound(0) }, r[0]), Some(want), "{name}");
    }
}

#[test]
fn ambiguity_in_one_btf_is_an_error_bound_or_not_and_between_nics_it_is_open() {
    let two_rings = || {
        let mut base = base();
        base.strukt("ring", 4, &[]);
        base.strukt("ring___other", 8, &[]);
        base
    };
    let driver = |size| {
        let mut driver = Build::new();
        driver.strukt("rx_ring", size, &[]);
        driver
    };
    let (local, r) = program("ring", &[TypeSize]);
    let universe_ = universe(two_rings(), vec![nic("mlx", 7, 8, &[])]);
    for binding in [bound(0), Binding::default()] {
        let error = resolve(&local, &universe_, &binding, r[0]).unwrap_err();
        assert!(!error.is_between_nics() && error.to_string().contains("ring is ambiguous"), "{error}");
    }
    // Within one NIC's BTF it is that BTF's fault, whichever copy is linked.
    let mut twice = nic("mlx", 7, 8, &[]);
    twice.strukt("ring", 4, &[]);
    twice.strukt("ring___other", 8, &[]);
    let within = universe(base(), vec![twice]);
    for binding in [bound(0), Binding::default()] {
        assert!(resolve(&local, &within, &binding, r[0]).is_err());
    }
    // Between NICs: for a packet of no layout none of them counts, and that is what is said.
    let (local, r) = program("rx_ring", &[TypeSize]);
    let drivers = universe(base(), vec![nic("mlx", 7, 8, &[]), driver(8), driver(12)]);
    assert!(resolve(&local, &drivers, &bound(0), r[0]).unwrap_err().is_between_nics());
    assert_eq!(value(&local, &drivers, &Binding::default(), r[0]), Some(0));
    let miss = explain(&local, &drivers, &Binding::default(), r[0]).miss.unwrap().to_string();
    for part in ["rx_ring is ambiguous", "1.btf gives 8", "2.btf gives 12"] {
        assert!(miss.contains(part), "{part}: {miss}");
    }
}

#[test]
fn files_that_share_a_layout_must_agree_on_what_goes_with_it() {
    let firmware = |size| {
        let mut nic = nic("mlx", 7, 8, &[]);
        nic.strukt("rx_ring", size, &[]);
        nic
    };
    let (local, r) = program("rx_ring", &[TypeSize]);
    let agreeing = universe(base(), vec![firmware(8), firmware(8)]);
    assert_eq!(agreeing.layouts().len(), 1);
    assert_eq!(value(&local, &agreeing, &bound(0), r[0]), Some(8));
    let error = resolve(&local, &universe(base(), vec![firmware(8), firmware(12)]), &bound(0), r[0]).unwrap_err();
    assert!(error.is_between_nics(), "{error}");
}
