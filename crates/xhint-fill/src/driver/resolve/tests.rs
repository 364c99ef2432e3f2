//! Offsets are those that `bpftool btf dump` shows of the same files.

use std::sync::Arc;

use xhint_testkit::fixture::corpus;

use super::super::file::{DriverPaths, PathFile};
use super::*;

fn module(name: &str) -> Btf {
    let base = Arc::new(Btf::parse(corpus("vmlinux.btf")).unwrap());
    Btf::parse_split(corpus(&format!("{name}.btf")), base).unwrap()
}

fn place(hops: &[u32], offset: u32, bytes: u32, swapped: bool) -> Place {
    Place { hops: hops.to_vec(), offset, bytes, swapped, shift: 0, bits: bytes * 8 }
}

fn all(place: Place) -> Bits {
    let mask = u64::MAX >> (64 - place.bits);
    Bits { place, shift: 0, mask }
}

/// Of what comes with xhint for the driver.
fn shipped(driver: &str, btf: &str, hint: Hint) -> Route {
    let paths = DriverPaths::shipped().unwrap();
    let all = routes(paths.of(driver), &module(btf), Fetch::Cast);
    all.into_iter().find(|(own, _)| *own == hint).unwrap().1.unwrap()
}

#[test]
fn what_is_shipped_leads_to_where_the_driver_has_it() {
    let hash = shipped("mlx5_core", "mlx5_core", Hint::RxHash);
    assert_eq!(hash.value, all(place(&[56], 12, 4, true)));
    let kind = Bits { place: place(&[56], 16, 1, false), shift: 0, mask: 0x0c };
    assert_eq!(hash.conditions, [(Some(kind), 0x0c, Want::Not(0))]);
    let mark = shipped("mlx5_core", "mlx5_core", Hint::FlowMark);
    assert_eq!(mark.value, Bits { place: place(&[56], 56, 4, true), shift: 0, mask: 0xff_ffff });
    assert_eq!(mark.words, "mlx5e_xdp_buff.cqe->sop_drop_qpn & 0xffffff");
    assert_eq!(shipped("mlx5_core", "mlx5_core", Hint::VlanTci).value, all(place(&[56], 30, 2, true)));
    assert_eq!(shipped("mlx5_core", "mlx5_core", Hint::RxDesc).value, all(place(&[], 56, 8, false)));

    let hash = shipped("igc", "igc", Hint::RxHash);
    assert_eq!(hash.value, all(place(&[56], 4, 4, false)));
    let kind = Bits { place: place(&[56], 0, 4, false), shift: 0, mask: 0xf };
    assert_eq!(hash.conditions, [(Some(kind), 0xf, Want::Not(0))]);

    let hash = shipped("ice", "ice", Hint::RxHash);
    assert_eq!(hash.value, all(place(&[56], 12, 4, false)));
    let profile = (Some(all(place(&[56], 0, 1, false))), 0xff, Want::Is(2));
    assert_eq!(hash.conditions, [profile, (None, u64::MAX, Want::Not(0))]);

    let hash = shipped("veth", "veth", Hint::RxHash);
    assert_eq!((hash.value, hash.says), (all(place(&[56], 152, 4, false)), Says::Kernel));
    assert_eq!(shipped("veth", "veth", Hint::VlanTci).value, all(place(&[56], 158, 2, false)));
    assert_eq!(shipped("veth", "veth", Hint::VlanProto).value, all(place(&[56], 156, 2, true)));
}

/// What becomes of a file's only path, with `more` lines in it.
fn one(btf: &str, path: &str, more: &str) -> Result<Route, String> {
    let text = format!(
        "drivers = [\"own\"]\n[[path]]\nhint = \"rx_hash\"\npath = \"{path}\"\nsays = \"nic\"\nread-from = \"here\"\n{more}"
    );
    let paths = DriverPaths::with(&[PathFile { name: "own.toml".to_owned(), text }]).unwrap();
    routes(paths.of("own"), &module(btf), Fetch::Helper).remove(0).1
}

#[test]
fn bitfields_arrays_and_nameless_structs_are_found() {
    // `l4_hash` is bit 17 behind the 128 bytes before `headers`.
    let bit = Place { shift: 1, bits: 1, ..place(&[56], 130, 1, false) };
    assert_eq!(one("veth", "veth_xdp_buff.skb->l4_hash", "").unwrap().value, Bits { place: bit, shift: 0, mask: 1 });
    // `cb` is an array of char at byte 40.
    assert_eq!(one("veth", "veth_xdp_buff.skb->cb[3]", "").unwrap().value, all(place(&[56], 43, 1, false)));
    let two = one("veth", "veth_xdp_buff.xdp.rxq->dev->ifindex", "").unwrap().value.place.hops;
    assert_eq!(two.len(), 2);
    let shifted = one("mlx5_core", "mlx5e_xdp_buff.cqe->sop_drop_qpn", "shift = 24\nmask = 0x7f").unwrap();
    assert_eq!((shifted.value.shift, shifted.value.mask), (24, 0x7f));
    assert_eq!(shifted.words, "mlx5e_xdp_buff.cqe->sop_drop_qpn >> 24 & 0x7f");
}

#[test]
fn what_leads_nowhere_says_why() {
    let cases = [
        ("veth_xdp_buff.skb->none", "", "veth_xdp_buff.skb->none: struct sk_buff has no none"),
        ("veth_xdp_buff.skb.hash", "", "what has hash is a pointer: ->hash"),
        ("veth_xdp_buff.xdp->data", "", "struct xdp_buff is no pointer"),
        ("veth_xdp_buff.xdp", "", "struct xdp_buff is no number"),
        ("veth_xdp_buff.skb->cb[48]", "", "[48] of 48 elements"),
        ("veth_xdp_buff.skb[0]", "", "[0] of what is no array"),
        ("veth_xdp_buff.skb:none->hash", "", "there is no struct or union none"),
        ("veth_xdp_buff.skb:xdp_buff", "", "nothing is read of the struct xdp_buff that it is taken for"),
        ("veth_xdp_buff.skb:xdp_buff.data", "", "behind : there is a pointer: ->data"),
        ("sk_buff.hash", "", "sk_buff does not begin with a struct xdp_buff"),
        ("none.hash", "", "there is no struct none"),
        ("veth_xdp_buff.skb->hash", "order = \"big\"\nshift = 32", "it has 32 bits, and is shifted by 32"),
        ("veth_xdp_buff.skb->hash", "mask = 0x100000000", "the mask 0x100000000 has bits that it does not"),
        ("veth_xdp_buff.skb->hash", "mask = 0", "the mask leaves nothing"),
        ("veth_xdp_buff.skb->vlan_proto", "order = \"little\"", "it is declared Big, and said to be Little"),
        ("veth_xdp_buff.skb->head", "", "it has 64 bits, and rx_hash has 32"),
        (
            "veth_xdp_buff.skb->hash",
            "since = \"sk_buff.none\"",
            "only where there is sk_buff.none: struct sk_buff has no none",
        ),
        ("veth_xdp_buff.skb->hash", "until = \"sk_buff.vlan_all\"", "only where there is no sk_buff.vlan_all"),
        (
            "veth_xdp_buff.skb->hash",
            "mask = 1\nvalid-when = [{ is = 2, mask = 1 }]",
            "it is compared with 0x2, which it cannot be",
        ),
    ];
    for (path, more, why) in cases {
        let fault = one("veth", path, more).unwrap_err();
        assert!(fault.ends_with(why), "{path}: {fault}");
    }
}

#[test]
fn of_several_paths_the_first_that_leads_somewhere_counts() {
    let path =
        |path: &str| format!("[[path]]\nhint = \"rx_hash\"\npath = \"{path}\"\nsays = \"nic\"\nread-from = \"here\"\n");
    let text = format!("drivers = [\"veth\"]\n{}{}", path("veth_xdp_buff.none"), path("veth_xdp_buff.skb->len"));
    let paths = DriverPaths::with(&[PathFile { name: "own.toml".to_owned(), text }]).unwrap();
    let all = routes(paths.of("veth"), &module("veth"), Fetch::Cast);
    let hash = all.iter().find(|(hint, _)| *hint == Hint::RxHash).unwrap().1.as_ref().unwrap();
    assert_eq!(hash.words, "veth_xdp_buff.skb->len");
    assert_eq!(all.iter().filter(|(hint, _)| *hint == Hint::RxHash).count(), 1);
}
