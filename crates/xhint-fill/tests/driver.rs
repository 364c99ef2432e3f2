//! Values read from the kernel's own structures, by both ways of reading, held against what the kernel says of the same things
//! elsewhere. A test run's packet comes in by `lo`, in a `struct xdp_buff` without a driver's around it.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::fs;
use std::sync::Arc;

use common::{Read, filled, program, run, software, written};
use xhint_btf::{Btf, Kind};
use xhint_fill::driver::{DriverPaths, Fetch, PathFile, routes};
use xhint_fill::{Fill, Offer, Offers, Origin, Standing};
use xhint_host::{KernelReads, kernel_reads};
use xhint_testkit::fixture::corpus;
use xhint_testkit::privileged;
use xhint_testkit::run::Loaded;

/// Of `struct net_device` what does not change while tests run.
const PATHS: &str = r#"
drivers = ["test"]

[[path]]
hint = "flow_mark"
path = "xdp_buff.rxq->dev->ifindex"
valid-when = [{ not = 0 }, { path = "xdp_buff.rxq->dev->mtu", not = 0 }, { mask = 0xffff, is = 1 }]
says = "kernel"
read-from = "bpf_prog_test_run_xdp in net/bpf/test_run.c"

[[path]]
hint = "rx_hash"
path = "xdp_buff.rxq->dev->mtu"
shift = 4
mask = 0xfffff
says = "kernel"
read-from = "the same"

[[path]]
hint = "rx_hash_type"
path = "xdp_buff.rxq->dev->ifindex"
order = "big"
says = "kernel"
read-from = "the same"

[[path]]
hint = "rx_timestamp"
path = "xdp_buff.rxq->dev"
valid-when = [{ path = "xdp_buff.rxq->dev->name[0]", is = 0x6c }, { path = "xdp_buff.rxq->dev->name[1]", is = 0x6f }]
says = "kernel"
read-from = "the same"

[[path]]
hint = "vlan_tci"
path = "xdp_buff.rxq->dev->mtu"
mask = 0xffff
valid-when = [{ path = "xdp_buff.rxq->dev->ifindex", is = 2 }]
says = "kernel"
read-from = "the same"

[[path]]
hint = "vlan_proto"
path = "xdp_buff.rxq->dev->mtu"
mask = 0xffff
valid-when = [{ path = "xdp_buff.rxq->dev->ifindex", not = 1 }]
says = "kernel"
read-from = "the same"
"#;

fn kernel() -> Btf {
    Btf::parse(fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap()
}

/// What the paths lead to, and for all else what software has.
fn offers(text: &str, fetch: Fetch) -> Vec<Offers> {
    let file = PathFile { name: "test.toml".to_owned(), text: text.to_owned() };
    offered("test", &DriverPaths::with(&[file]).unwrap(), &kernel(), fetch)
}

fn offered(driver: &str, paths: &DriverPaths, types: &Btf, fetch: Fetch) -> Vec<Offers> {
    let mut all = software();
    for (hint, route) in routes(paths.of(driver), types, fetch) {
        let origin = Origin::Driver(Arc::new(route.unwrap_or_else(|why| panic!("{hint}: {why}"))));
        let offer = Offer { origin, standing: Standing::Usable, why: None, nanoseconds: None };
        all.retain(|of| of.hint != hint);
        all.push(Offers { hint, name: hint.word().unwrap().name, all: vec![offer] });
    }
    all
}

/// The ways that this kernel takes.
fn ways() -> Vec<Fetch> {
    match kernel_reads().unwrap() {
        Ok(KernelReads::ByCast) => vec![Fetch::Cast, Fetch::Helper],
        Ok(KernelReads::ByHelper) => vec![Fetch::Helper],
        Err(_) => vec![],
    }
}

fn read(text: &str, fetch: Fetch, packet: &[u8]) -> Read {
    let linked = filled(&program().object(), &offers(text, fetch), &Fill::default(), false, true);
    let path = written(&linked, &format!("driver-{fetch:?}-{:?}", std::thread::current().id()));
    run(&Loaded::load(&path, None).unwrap_or_else(|error| panic!("{fetch:?}: {error}")), packet)
}

/// Ethernet, of a protocol of nobody's.
fn packet() -> Vec<u8> {
    let mut packet = vec![0u8; 64];
    packet[12..14].copy_from_slice(&0x88b5u16.to_be_bytes());
    packet
}

#[test]
fn what_is_read_is_what_the_kernel_says_elsewhere() {
    if !privileged() {
        return;
    }
    let lo =
        |name: &str| fs::read_to_string(format!("/sys/class/net/lo/{name}")).unwrap().trim().parse::<u64>().unwrap();
    let mut devices = Vec::new();
    for fetch in ways() {
        let read = read(PATHS, fetch, &packet());
        assert_eq!(read.value("flow_mark"), lo("ifindex"), "{fetch:?}");
        assert_eq!(read.value("flow_mark"), read.value("ifindex"), "{fetch:?}");
        assert_eq!(read.value("rx_hash"), lo("mtu") >> 4, "{fetch:?}");
        assert_eq!(read.value("rx_hash_type"), u64::from((lo("ifindex") as u32).swap_bytes()), "{fetch:?}");
        devices.push(read.value("rx_timestamp"));
        assert!(["flow_mark", "rx_hash", "vlan_tci"].iter().all(|name| read.there().contains(name)));
        // What the packet does not have is 0, and no bit of `valid`.
        assert_eq!((read.value("vlan_tci"), read.value("vlan_proto")), (0, 0), "{fetch:?}");
        let bits = |names: &[u32]| names.iter().fold(0u64, |all, bit| all | 1 << bit);
        // rx_timestamp, rx_hash, rx_hash_type, flow_mark; vlan_tci, vlan_proto
        assert_eq!(read.value("valid") & bits(&[2, 3, 4, 9, 6, 7]), bits(&[2, 3, 4, 9]), "{fetch:?}");
    }
    assert!(devices.iter().all(|device| device >> 48 == 0xffff && *device == devices[0]), "{devices:x?}");
}

/// No packet of theirs is at hand; but the verifier looks at what their code would do.
#[test]
fn the_kernel_takes_the_code_for_every_driver() {
    if !privileged() {
        return;
    }
    let base = Arc::new(Btf::parse(corpus("vmlinux.btf")).unwrap());
    let shipped = DriverPaths::shipped().unwrap();
    let takes = |name: &str, offers: &[Offers]| {
        let linked = filled(&program().object(), offers, &Fill::default(), false, true);
        let path = written(&linked, &format!("takes-{name}"));
        Loaded::load(&path, None).unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    for fetch in ways() {
        for (driver, module) in [("veth", "veth"), ("igc", "igc"), ("ice", "ice"), ("mlx5_core", "mlx5_core")] {
            let types = Btf::parse_split(corpus(&format!("{module}.btf")), Arc::clone(&base)).unwrap();
            takes(&format!("{driver}-{fetch:?}"), &offered(driver, &shipped, &types, fetch));
        }
        // Farther than an instruction's own offset leads. Kernels before 6.10 say of no such array.
        let far = r#"
drivers = ["test"]
[[path]]
hint = "flow_mark"
path = "xdp_buff.rxq->dev->priv[40000]"
says = "kernel"
read-from = "nothing: it is not read"
"#;
        let types = kernel();
        let device = types.of_kinds([Kind::Struct]).find(|ty| ty.name() == "net_device").unwrap();
        if device.members().any(|member| member.name == "priv") {
            takes(&format!("far-{fetch:?}"), &offers(far, fetch));
        }
    }
}

#[test]
fn what_leads_through_null_is_0() {
    if !privileged() {
        return;
    }
    // No program of a driver's runs on lo, which has none; and what is on such a way is read all the same.
    let text = r#"
drivers = ["test"]
[[path]]
hint = "flow_mark"
path = "xdp_buff.rxq->dev->xdp_prog->aux->id"
says = "kernel"
read-from = "struct net_device"
"#;
    for fetch in ways() {
        let read = read(text, fetch, &packet());
        assert_eq!(read.value("flow_mark"), 0, "{fetch:?}");
        assert!(read.there().contains(&"flow_mark"));
    }
}

#[test]
fn a_tag_that_the_driver_has_not_is_looked_for_in_the_packet() {
    if !privileged() {
        return;
    }
    let mut tagged = packet();
    tagged[12..18].copy_from_slice(&[0x81, 0x00, 0x20, 0x07, 0x88, 0xb5]);
    for fetch in ways() {
        let read = read(PATHS, fetch, &tagged);
        assert_eq!(
            (read.value("vlan_tci"), read.value("vlan_proto")),
            (0x2007, u64::from(0x8100u16.to_be())),
            "{fetch:?}"
        );
    }
}
