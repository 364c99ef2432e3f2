//! What a person is told.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use common::{Build, bound, explain, universe};
use xhint_btf::{Def, Kind};
use xhint_relo::{Binding, RelocKind};

use RelocKind::{EnumeratorValue, FieldByteOffset, TypeExists, TypeSize};

/// A vendor's layout with most things in it.
fn vendor() -> Build {
    let mut nic = Build::new();
    let (byte, int) = (nic.u8(), nic.int("__u32", 4, 0));
    let big = nic.typedef("__be32", int);
    let hidden = nic.typedef("hash_t", big);
    let ptr = nic.ptr(int);
    let list = nic.array(byte, 4);
    let v6 = nic.strukt("", 8, &[("flow_label", int, 0), ("mark", int, 4)]);
    let l3 = nic.union("", 8, &[("v6", v6), ("raw", ptr)]);
    let layout = nic.strukt(
        "mlx_rx",
        40,
        &[("rx_hash", hidden, 0), ("l3", l3, 8), ("list", list, 16), ("ring", ptr, 24), ("timestamp", int, 32)],
    );
    nic.tag("xhint:as=nic_meta", layout);
    nic
}

/// Says what a program is told that has `struct nic_meta { <type> name; }`.
fn told(name: &str, make: impl FnOnce(&mut Build) -> u32, access: &str, binding: &Binding) -> String {
    let mut local = Build::new();
    let ty = make(&mut local);
    let own = local.strukt("nic_meta", 64, &[(name, ty, 0)]);
    let relo = local.relo(FieldByteOffset, own, access);
    let told = explain(&local.done(), &universe(Build::new(), vec![vendor()]), binding, relo);
    match (told.found, told.miss) {
        (Some(found), None) => format!("{} is {}: {} at {}", told.access, found.access, found.ty, found.bit_offset),
        (None, Some(miss)) => format!("{}: {miss}", told.access),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_found_is_named_with_its_type() {
    let int = |b: &mut Build| b.u32();
    assert_eq!(told("timestamp", int, "0:0", &bound(0)), "nic_meta.timestamp is mlx_rx.timestamp: __u32 at 256");
    let array = |b: &mut Build| {
        let byte = b.u8();
        b.array(byte, 4)
    };
    assert_eq!(told("list", array, "0:0:3", &bound(0)), "nic_meta.list[3] is mlx_rx.list[3]: unsigned char at 152");
    assert_eq!(told("list", array, "0:0", &bound(0)), "nic_meta.list is mlx_rx.list: unsigned char[4] at 128");
    let deep = |b: &mut Build| {
        let int = b.u32();
        let v6 = b.strukt("", 4, &[("mark", int, 0)]);
        b.union("", 4, &[("v6", v6)])
    };
    assert_eq!(told("l3", deep, "0:0:0:0", &bound(0)), "nic_meta.l3.v6.mark is mlx_rx.l3.v6.mark: __u32 at 96");
}

#[test]
fn what_is_missing_is_told_with_what_there_is() {
    let int = |b: &mut Build| b.u32();
    let near = told("timestmp", int, "0:0", &bound(0));
    assert_eq!(near, "nic_meta.timestmp: struct mlx_rx has no 'timestmp'; there is timestamp");
    let elsewhere = told("mark", int, "0:0", &bound(0));
    assert_eq!(elsewhere, "nic_meta.mark: struct mlx_rx has no 'mark'; there is l3.v6.mark");
    assert_eq!(told("queue", int, "0:0", &bound(0)), "nic_meta.queue: struct mlx_rx has no 'queue'");
}

#[test]
fn what_does_not_fit_is_told_with_both_types() {
    let array = |b: &mut Build| {
        let byte = b.u8();
        b.array(byte, 9)
    };
    assert_eq!(told("list", array, "0:0:7", &bound(0)), "nic_meta.list[7]: 'list' has 4 elements, none with index 7");
    let pointer = |b: &mut Build| b.ptr(0);
    assert_eq!(told("timestamp", pointer, "0:0", &bound(0)), "nic_meta.timestamp: 'timestamp' is __u32, not void *");
    assert_eq!(
        told("rx_hash", |b| b.u32(), "0:0", &bound(0)),
        "nic_meta.rx_hash: 'rx_hash' is hash_t (big-endian), but unsigned int in the program, the other byte order; \
         declare it so in a flavour of the struct, and ask for both"
    );
    let no_walk = Binding { walk: false, ..bound(0) };
    assert!(told("ring", pointer, "0:0", &no_walk).starts_with("nic_meta.ring: 'ring' is a pointer, and without"));
    assert_eq!(
        told("timestamp", |b| b.u32(), "0:0", &Binding::default()),
        "nic_meta.timestamp: no layout is bound that answers to this name"
    );
}

#[test]
fn a_flavour_of_the_right_byte_order_is_pointed_out() {
    let mut local = Build::new();
    let int = local.u32();
    let big = local.typedef("__be32", int);
    let own = local.strukt("nic_meta", 4, &[("rx_hash", int, 0)]);
    local.strukt("nic_meta___old", 4, &[("hash", big, 0)]);
    local.strukt("nic_meta___be", 4, &[("rx_hash", big, 0)]);
    let relo = local.relo(FieldByteOffset, own, "0:0");
    let told = explain(&local.done(), &universe(Build::new(), vec![vendor()]), &bound(0), relo);
    let why = told.miss.unwrap().to_string();
    assert!(why.ends_with("the other byte order; nic_meta___be has it so"), "{why}");
}

#[test]
fn missing_types_are_told_with_similar_names() {
    let mut base = Build::new();
    base.strukt("net_device", 8, &[]);
    base.add(&Def::Typedef { name: "net_devices", target: 0 });
    let universe = universe(base, vec![vendor()]);
    let why = |kind: Kind, name: &str| {
        let mut local = Build::new();
        let own = match kind {
            Kind::Enum => local.enumeration(name, 4, false, &[("A", 1)]),
            _ => local.strukt(name, 4, &[]),
        };
        let relo = local.relo(TypeSize, own, "0");
        let told = explain(&local.done(), &universe, &Binding::default(), relo);
        assert_eq!((told.access.as_str(), told.found), (name, None));
        told.miss.unwrap().to_string()
    };
    assert_eq!(
        why(Kind::Struct, "net_devise"),
        "no such type; if 'net_devise' stands for metadata, bind it to a layout, of which there is mlx_rx; of other types \
         there is net_device"
    );
    assert_eq!(why(Kind::Enum, "some_mode"), "no such type");
    assert_eq!(
        why(Kind::Struct, "vendor_md"),
        "no such type; if 'vendor_md' stands for metadata, bind it to a layout, of which there is mlx_rx"
    );
}

#[test]
fn enumerators_and_types_are_written_as_in_c() {
    let mut base = Build::new();
    base.enumeration("mode", 4, false, &[("MODE_ON", 1), ("MODE_OFF", 2)]);
    let universe = universe(base, vec![]);
    let mut local = Build::new();
    let own = local.enumeration("mode", 4, false, &[("MODE_OFF", 5), ("MODE_ONN", 6)]);
    let relos = [
        local.relo(EnumeratorValue, own, "0"),
        local.relo(EnumeratorValue, own, "1"),
        local.relo(TypeExists, own, "0"),
    ];
    let local = local.done();
    let told = relos.map(|relo| explain(&local, &universe, &Binding::default(), relo));
    assert_eq!(told[0].access, "mode::MODE_OFF");
    assert!(told[0].miss.is_none() && told[2].miss.is_none());
    assert_eq!(told[1].miss.as_ref().unwrap().to_string(), "enum mode has no 'MODE_ONN'; there is MODE_ON, MODE_OFF");
    assert_eq!(told[2].access, "mode");
}

#[test]
fn whole_structs_and_anonymous_members_are_told() {
    let mut base = Build::new();
    let int = base.u32();
    base.strukt("s", 12, &[("x", int, 4)]);
    let universe = universe(base, vec![]);
    let mut local = Build::new();
    let int = local.u32();
    let hidden = local.strukt("", 4, &[("x", int, 0)]);
    let own = local.strukt("s", 8, &[("", hidden, 4)]);
    let relo = local.relo(FieldByteOffset, own, "3:0:0");
    let told = explain(&local.done(), &universe, &Binding::default(), relo);
    assert_eq!(told.access, "s[3].x");
    assert_eq!(told.found.unwrap().bit_offset, (3 * 12 + 4) * 8);
}
