//! Plans out of BTF that clang made.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use std::path::Path;

use object::{Object, ObjectSection};
use xhint_btf::{Btf, Kind};
use xhint_layout::{ByteOrder, Class, Error, Hint, Plan};
use xhint_testkit::damage;
use xhint_testkit::fixture::Compile;

fn section() -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts/shapes.c");
    let object = std::fs::read(Compile::new(&source).object()).unwrap();
    let file = object::File::parse(&*object).unwrap();
    file.section_by_name(".BTF").unwrap().data().unwrap().to_vec()
}

fn plan(name: &str, id: u32) -> Result<Plan, Error> {
    let btf = Btf::parse(section()).unwrap();
    let ty = btf.types().find(|t| matches!(t.kind(), Kind::Struct | Kind::Typedef) && t.name() == name).unwrap();
    Plan::of(&btf, ty.id(), name, id)
}

/// Path, hint, bit offset, bits, byte order, worked out from the C by hand.
#[test]
fn every_shape() {
    let plan = plan("all", 0x11).unwrap();
    let mut expected: Vec<(String, String, u32, u32, ByteOrder)> = Vec::new();
    let mut row = |path: &str, hint: &str, at, bits, order| {
        expected.push((path.to_string(), hint.to_string(), at, bits, order));
    };
    use ByteOrder::{Big, Little};
    row("rx_timestamp", "rx_timestamp", 0, 64, Little);
    row("rx_hash", "rx_hash", 64, 32, Big);
    row("ip_ttl", "ip_ttl", 96, 8, Little);
    row("vlan_tci", "vlan_tci", 112, 16, Big);
    row("in[0].port", "dst_port", 144, 16, Little);
    row("in[1].port", "dst_port", 176, 16, Little);
    for i in 0..16 {
        row(&format!("src[{i}]"), "ipv6_src", 192 + 8 * i, 8, Little);
    }
    row("bits_a", "ip_tos", 320, 5, Little);
    row("bits_b", "pkt_len", 325, 20, Little);
    row("pkt_type", "pkt_type", 352, 32, Little);
    row("seq", "seq", 384, 32, Little);
    row("ptr", "rx_desc", 448, 64, Little);
    row("magic", "const=0xbeef", 512, 16, Little);
    row("btf_id", "layout_id", 544, 32, Little);
    let got: Vec<_> =
        plan.fields.iter().map(|f| (f.path.clone(), f.hint.to_string(), f.bit_offset, f.bits, f.order)).collect();
    assert_eq!(got, expected);
    assert_eq!(plan.size, 72);
    assert_eq!(plan.silent, ["ignored", "in[0].pad", "in[1].pad", "number"]);
    assert_eq!(plan.field("src[0]").unwrap().shift, 120);
    assert_eq!(plan.field("src[15]").unwrap().shift, 0);
    assert!(plan.field("seq").unwrap().signed);
    assert!(plan.field("ptr").unwrap().pointer);
    assert_eq!(plan.selector().unwrap().path, "btf_id");
}

/// Widths and byte order are those of the machine that the BTF is of, not of this one.
#[test]
fn a_32_bit_machine_of_either_byte_order() {
    use xhint_btf::{Builder, ByteOrder, Def, Member};
    for (order, host) in [(ByteOrder::Little, ByteOrder::Little), (ByteOrder::Big, ByteOrder::Big)] {
        let mut w = Builder::new(order);
        let long = w.add(&Def::unsigned("long unsigned int", 4)).unwrap();
        let pointer = w.add(&Def::Ptr(0)).unwrap();
        let be32 = w.add(&Def::Typedef { name: "__be32", target: long }).unwrap();
        let members = [("rx_hash", long, 0), ("rx_desc", pointer, 32), ("ipv4_src", be32, 64), ("btf_id", long, 96)];
        let members = members.map(|(name, ty, bit)| Member::new(name, ty, bit));
        let layout = w.add(&Def::structure("meta", 16, &members)).unwrap();
        let btf = Btf::parse(w.finish()).unwrap();
        let plan = Plan::of(&btf, layout, "meta", 7).unwrap();
        let got: Vec<_> = plan.fields.iter().map(|f| (f.path.as_str(), f.bit_offset, f.bits, f.order)).collect();
        let want = [
            ("rx_hash", 0, 32, host),
            ("rx_desc", 32, 32, host),
            ("ipv4_src", 64, 32, ByteOrder::Big),
            ("btf_id", 96, 32, host),
        ];
        assert_eq!(got, want);
        assert_eq!(xhint_layout::content(&btf, "meta", layout).unwrap().lines().nth(2), Some("rx_desc 32 32 ptr"));
    }
}

#[test]
fn enumerations_have_their_own_values() {
    let plan = plan("all", 1).unwrap();
    // unknown, ipv4, ipv6, arp, and by transport: what is not there falls back.
    let expected = [3, 40, 60, 3, 40, 40, 40, 61, 60, 60];
    assert_eq!(plan.field("pkt_type").unwrap().values, expected);
}

#[test]
fn arms_are_for_the_packets_they_speak_of() {
    let plan = plan("arms", 1).unwrap();
    let when = |path: &str| plan.field(path).unwrap().when.clone();
    assert_eq!(when("l3.x.a"), [Class::Ipv4]);
    assert_eq!(when("l3.x.p"), [Class::Ipv4]);
    assert_eq!(when("l3.x.l4.flags"), [Class::Ipv4, Class::Tcp]);
    assert_eq!(when("l3.x.l4.type"), [Class::Ipv4, Class::Icmp]);
    assert_eq!(when("l3.y.p"), [Class::Ipv6]);
    assert_eq!(when("l3.arp.len"), [Class::Arp]);
    assert_eq!(when("l3.mark"), [Class::Other]);
    assert_eq!(when("btf_id"), []);
    assert!(plan.fields.iter().all(|f| f.shared == f.path.starts_with("l3")));
}

#[test]
fn names_and_selectors() {
    assert_eq!(plan("selected", 200).unwrap().selector().unwrap().path, "id");
    assert!(matches!(plan("selected", 256), Err(Error::IdTooWide { .. })));
    let by_typedef = plan("nameless", 1).unwrap();
    assert_eq!((by_typedef.name.as_str(), by_typedef.fields[0].hint), ("nameless", Hint::RxHash));
}

#[test]
fn what_is_no_layout_is_told() {
    let told = |name: &str| plan(name, 1).unwrap_err().to_string();
    assert!(told("too_large").contains("256 bytes, and at most 252"), "{}", told("too_large"));
    assert!(told("odd").contains("6 bytes, which is not a multiple of 4"));
    assert!(told("unknown_hint").contains(r#"field a has the tag "xhint:hint=rx_hsah""#));
    assert!(told("unknown_kind").contains(r#"field a has the tag "xhint:when=ipv5""#));
    assert!(told("no_number").contains("field a has the hint rx_hash, but is the struct inner"));
    assert!(told("floating").contains("field rx_hash has the hint rx_hash, but is the float float"));
    assert!(told("overlap").contains("fields rx_hash and flow_mark overlap"));
    assert!(told("crowd").contains("more than 64 fields with a hint; a[64] is the first beyond"));
    assert!(told("odd_order").contains("field a is big-endian by its type, but has 12 bits"));
    let btf = Btf::parse(section()).unwrap();
    let int = btf.types().find(|t| t.kind() == Kind::Int).unwrap();
    assert!(Plan::of(&btf, int.id(), "x", 1).unwrap_err().to_string().contains("a layout has to be a struct"));
    assert!(Plan::of(&btf, u32::MAX, "x", 1).is_err());
}

/// BTF with any fault gives a plan that holds what plans promise, or an error; never a panic.
#[test]
fn broken_btf_does_no_harm() {
    let (mut plans, mut refused) = (0, 0);
    damage::each(&section(), 1_500, 7, |broken| {
        let Ok(btf) = Btf::parse(broken.bytes.to_vec()) else { return };
        for ty in btf.types().filter(|t| t.kind().is_composite()) {
            match Plan::of(&btf, ty.id(), ty.name(), 1) {
                Ok(plan) => {
                    plans += 1;
                    assert!(plan.size <= 252 && plan.fields.len() <= 64);
                    let meta = vec![0xa5; plan.size as usize];
                    assert!(plan.fields.iter().all(|f| f.read(&meta).is_some()));
                }
                Err(_) => refused += 1,
            }
        }
    });
    assert!(plans > 1000 && refused > 1000, "{plans} plans, {refused} refused");
}
