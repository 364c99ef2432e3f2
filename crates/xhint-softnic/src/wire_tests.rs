//! The wire program on packets made by hand, by `BPF_PROG_TEST_RUN`.
#![allow(clippy::arithmetic_side_effects)]

use libbpf_rs::ProgramInput;
use object::{Object as _, ObjectSection as _};
use xhint_btf::{Btf, Kind};
use xhint_layout::{ByteOrder, Class, Hint, PlanField};
use xhint_testkit::fixture::Compile;

use super::*;
use crate::abi::{MAX_OPS, NAME, OP_SIZE, PLAN_SIZE, SLOTS, TRUTH_SIZE};
use crate::wire::Refused;

/// `enum xdp_action`
const XDP_REDIRECT: u32 = 4;

struct Bench {
    object: Object,
    maps: Maps,
}

impl Bench {
    /// The wire program, its port plugged into `lo`, where nothing goes in a test run.
    fn new() -> Option<Bench> {
        if !xhint_testkit::privileged() {
            return None;
        }
        let object = load().unwrap();
        plug(&object, 1).unwrap();
        let maps = Maps::of(&object).unwrap();
        Some(Bench { object, maps })
    }

    /// What the program returns, and the metadata it put in front of the packet.
    fn run(&self, packet: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; packet.len() + 256];
        let input = ProgramInput { data_in: Some(packet), data_out: Some(&mut out), ..Default::default() };
        let done = program(&self.object).unwrap().test_run(input).unwrap();
        let data = done.data.unwrap();
        let meta = data.len() - packet.len();
        assert_eq!(&data[meta..], packet);
        (done.return_value, data[..meta].to_vec())
    }

    /// The values of these hints in a packet, each through a plan of one field of 64 bits; `None` for
    /// one that the packet does not have.
    fn values<const N: usize>(&self, packet: &[u8], hints: [Hint; N]) -> [Option<u64>; N] {
        hints.map(|hint| {
            // Two fields in a union: the constant stays if the other is not written.
            let mut fields = vec![field("c", Hint::Const(UNSET), 0, 64), field("f", hint, 0, 64)];
            fields[1].values = hint.values().map_or(Vec::new(), |v| v.iter().map(|row| row.1).collect());
            self.maps.flash(&[Plan { fields, ..plan("values", 1, 8) }], Spread::Flow).unwrap();
            let (code, meta) = self.run(packet);
            assert_eq!(code, XDP_REDIRECT);
            let value = u64::from_le_bytes(meta.try_into().unwrap());
            (value != UNSET).then_some(value)
        })
    }
}

const UNSET: u64 = 0xfeed_f00d_dead_beef;

#[test]
fn what_the_nic_has_no_value_for_is_told_and_left_alone() {
    let hints = ["seq", "ifindex", "acme.lane", "valid", "const=7"].map(|name| Hint::from_name(name).unwrap());
    let fields = hints.iter().zip(0u32..).map(|(hint, n)| field(&hint.to_string(), *hint, n * 64, 64)).collect();
    let plan = Plan { fields, ..plan("some", 1, 40) };
    let told: Vec<_> = crate::unwritten(&plan).map(|field| field.path.as_str()).collect();
    assert_eq!(told, ["ifindex", "acme.lane", "valid"]);
}

/// Bytes of metadata that this kernel lets through.
fn room() -> u32 {
    crate::flash::max_meta().unwrap()
}

fn plan(name: &str, id: u32, size: u32) -> Plan {
    Plan { name: name.to_string(), id, size, fields: Vec::new(), silent: Vec::new() }
}

fn field(path: &str, hint: Hint, bit_offset: u32, bits: u32) -> PlanField {
    PlanField {
        path: path.to_string(),
        hint,
        bit_offset,
        bits,
        order: ByteOrder::Little,
        signed: false,
        pointer: false,
        shift: 0,
        when: Vec::new(),
        shared: false,
        values: Vec::new(),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const MACS: &str = "020000000001 027800000001";

/// 66.9.149.187:2794 to 161.142.100.80:1766, the first of Microsoft's vectors, as TCP with SYN and ACK.
/// Its sums are those that RFC 1071 gives, worked out apart.
fn tcp4() -> Vec<u8> {
    let ip = "4500 0028 1234 4000 4006 4af9 420995bb a18e6450";
    let tcp = "0aea 06e6 00000001 00000002 5012 2000 a05c 0000";
    hex(&format!("{MACS} 0800 {ip} {tcp}"))
}

#[test]
fn the_abi_is_that_of_the_header() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf/abi.c");
    let object = std::fs::read(Compile::new(&source).object()).unwrap();
    let file = object::File::parse(&*object).unwrap();
    let btf = Btf::parse(file.section_by_name(".BTF").unwrap().data().unwrap().to_vec()).unwrap();
    let named = |kind, name: &str| btf.types().find(|t| t.kind() == kind && t.name() == name).unwrap();
    let size = |name| named(Kind::Struct, name).size() as usize;
    assert_eq!((size("op"), size("plan"), size("truth")), (OP_SIZE, PLAN_SIZE, TRUTH_SIZE));

    let offset = |of: &str, member: &str| {
        named(Kind::Struct, of).members().find(|m| m.name == member).unwrap().bit_offset as usize / 8
    };
    assert_eq!((offset("plan", "slots"), offset("plan", "name")), (24, 32));
    assert_eq!(offset("plan", "tables"), 32 + NAME);
    assert_eq!(offset("plan", "op"), PLAN_SIZE - MAX_OPS * OP_SIZE);
    assert_eq!((offset("truth", "present"), offset("truth", "id"), offset("truth", "values")), (8, 16, 24));
    assert_eq!((offset("op", "bit_offset"), offset("op", "slot"), offset("op", "flags")), (16, 19, 21));

    let value = |of: &str, name: &str| {
        let found = named(Kind::Enum, of).enumerators().find(|e| e.name == name);
        found.unwrap_or_else(|| panic!("{of} has no {name}")).value
    };
    assert_eq!(value("slot", "SLOTS") as usize, SLOTS);
    for word in xhint_layout::hint::WORDS {
        if let Some(slot) = crate::abi::slot_of(word.hint) {
            assert_eq!(value("slot", &format!("SLOT_{}", word.name.to_uppercase())), slot.into());
        }
    }
    for class in xhint_layout::class::CLASSES {
        let number = value("class", &format!("CLASS_{}", class.name().to_uppercase()));
        assert_eq!(1 << number, crate::abi::class_bit(*class));
    }
    for (name, number, ..) in xhint_layout::hint::PKT_TYPES {
        assert_eq!(value("pkt_type", &format!("PKT_{}", name.to_uppercase())), *number);
    }
    for mode in [Spread::Flow, Spread::Round, Spread::Random] {
        assert_eq!(value("plan_mode", &format!("MODE_{}", mode.name().to_uppercase())), mode as u64);
    }
    assert_eq!(value("counter", "COUNT_TRUTH_LOST"), Counter::TruthLost as u64);
    for (name, number, ..) in xhint_layout::hint::CSUM_STATES {
        assert_eq!(value("csum_state", &format!("CSUM_{}", name.to_uppercase())), *number);
    }
}

#[test]
fn parses_tcp_over_ipv4() {
    let Some(bench) = Bench::new() else { return };
    let hints = [
        Hint::PktType,
        Hint::IpProto,
        Hint::Ipv4Src,
        Hint::Ipv4Dst,
        Hint::SrcPort,
        Hint::DstPort,
        Hint::TcpFlags,
        Hint::PktLen,
        Hint::L4Offset,
        Hint::CsumState,
        Hint::IpTtl,
        Hint::EthProto,
    ];
    let expected = [4, 6, 0x4209_95bb, 0xa18e_6450, 2794, 1766, 0x12, 54, 34, 1, 64, 0x0800];
    assert_eq!(bench.values(&tcp4(), hints), expected.map(Some));
    let absent = [Hint::VlanTci, Hint::Ipv6Flow, Hint::Ipv6Src, Hint::ArpOp, Hint::IcmpType];
    assert_eq!(bench.values(&tcp4(), absent), [None; 5]);
}

#[test]
fn sees_wrong_checksums() {
    let Some(bench) = Bench::new() else { return };
    for at in [14 + 8, 14 + 20 + 4, 14 + 20 + 16] {
        let mut packet = tcp4();
        packet[at] ^= 0x40;
        assert_eq!(bench.values(&packet, [Hint::CsumState]), [Some(2)], "byte {at}");
    }
    // A fragment's cannot be told.
    let mut packet = tcp4();
    packet[14 + 6] = 0x20;
    packet[14 + 10] = 0x6a;
    let hints = [Hint::CsumState, Hint::SrcPort, Hint::RxHashType, Hint::PktType];
    assert_eq!(bench.values(&packet, hints), [Some(0), None, Some(1), Some(1)]);
}

/// The hash of Microsoft's vectors over packets that hold them, with ports and without.
#[test]
fn hashes_microsofts_vectors() {
    let Some(bench) = Bench::new() else { return };
    let hashes = [Hint::RxHash, Hint::RxHashType];
    // XDP_RSS_TYPE_L4_IPV4_TCP of include/net/xdp.h
    assert_eq!(bench.values(&tcp4(), hashes), [Some(0x51cc_c178), Some(1 | 1 << 3 | 1 << 4)]);
    let mut icmp = tcp4();
    icmp[14 + 9] = 1;
    assert_eq!(bench.values(&icmp, hashes), [Some(0x323e_8fc2), Some(1)]);

    let (src, dst) = ("3ffe250102001fff0000000000000007", "3ffe2501020000030000000000000001");
    let udp = hex(&format!("{MACS} 86dd 6 00 12345 0008 11 40 {src} {dst} 0aea06e6 0008 0000"));
    assert_eq!(bench.values(&udp, hashes), [Some(0x4020_7d3d), Some(2 | 1 << 3 | 1 << 5)]);
    let none = hex(&format!("{MACS} 86dd 6 00 12345 0000 3b 40 {src} {dst}"));
    assert_eq!(bench.values(&none, hashes), [Some(0x2cc1_8cd5), Some(2)]);
}

#[test]
fn parses_ipv6_with_extension_headers_and_tags() {
    let Some(bench) = Bench::new() else { return };
    let (src, dst) = ("20010db8000000000000000000000001", "20010db8000000000000000000000002");
    // Hop-by-hop, destination options of 16 bytes, an atomic fragment, ICMPv6 echo.
    let extensions = "3c00 01040000 0000 | 2c01 010c 000000000000000000000000 | 3a00 0000 00000001";
    let icmp = "8000 2445 0001 0002";
    let payload = format!("{extensions} {icmp}");
    let len = hex(&payload).len();
    let tags = "88a8 a064 8100 0007";
    let packet = hex(&format!("{MACS} {tags} 86dd 6 5a abcde {len:04x} 00 3f {src} {dst} {payload}"));
    let hints = [
        Hint::PktType,
        Hint::IpProto,
        Hint::Ipv6Flow,
        Hint::IpTos,
        Hint::IpTtl,
        Hint::VlanTci,
        Hint::VlanProto,
        Hint::IcmpType,
        Hint::IcmpCode,
        Hint::L4Offset,
        Hint::EthProto,
        Hint::CsumState,
    ];
    let at = 14 + 8 + 40 + 8 + 16 + 8;
    let expected = [9, 58, 0xabcde, 0x5a, 63, 0xa064, 0x88a8, 128, 0, at, 0x86dd, 1];
    assert_eq!(bench.values(&packet, hints), expected.map(Some));
}

#[test]
fn parses_arp_and_what_it_does_not_know() {
    let Some(bench) = Bench::new() else { return };
    let arp = hex(&format!("{MACS} 0806 0001 0800 06 04 0002 020000000001 0a000001 020000000002 0a000002"));
    let hints = [Hint::PktType, Hint::ArpOp, Hint::RxHash, Hint::IpProto];
    assert_eq!(bench.values(&arp, hints), [Some(3), Some(2), None, None]);
    let lldp = hex(&format!("{MACS} 88cc 0000"));
    assert_eq!(bench.values(&lldp, hints), [Some(0), None, None, None]);
}

/// Every prefix of a packet, and every byte of it set to each of a few values.
#[test]
fn survives_any_packet() {
    let Some(bench) = Bench::new() else { return };
    let fields = xhint_layout::hint::WORDS.iter().zip(0u32..).filter(|(w, _)| w.bits <= 64 && w.name != "rx_desc");
    let fields: Vec<_> = fields.take(24).map(|(w, _)| field(w.name, w.hint, 0, 64)).collect();
    // As many at once as this kernel lets through.
    for some in fields.chunks(room() as usize / 8) {
        let at = |(field, n): (&PlanField, u32)| PlanField { bit_offset: n * 64, ..field.clone() };
        survives(&bench, some.iter().zip(0u32..).map(at).collect());
    }
}

fn survives(bench: &Bench, fields: Vec<PlanField>) {
    let size = fields.len() * 8;
    bench.maps.flash(&[Plan { fields, ..plan("all", 1, size as u32) }], Spread::Flow).unwrap();
    let packet = tcp4();
    for len in 14..packet.len() {
        let (code, meta) = bench.run(&packet[..len]);
        assert_eq!((code, meta.len()), (XDP_REDIRECT, size), "{len} bytes");
    }
    for at in 12..packet.len() {
        for byte in [0x00, 0x45, 0x46, 0x60, 0x81, 0xff] {
            let mut packet = packet.clone();
            packet[at] = byte;
            assert_eq!(bench.run(&packet).0, XDP_REDIRECT, "byte {at} as {byte:#x}");
        }
    }
}

/// Bits and bytes against a table worked out by hand.
#[test]
fn writes_bits_where_they_belong() {
    let Some(bench) = Bench::new() else { return };
    let konst = |path, value, at, bits| field(path, Hint::Const(value), at, bits);
    let big = |path, value, at, bits| PlanField { order: ByteOrder::Big, ..konst(path, value, at, bits) };
    let size = room();
    let (last, end) = (size as usize - 6, size as usize);
    let fields = vec![
        konst("three bits", 0b101, 0, 3),
        konst("fourteen bits over two byte borders", 0x2abc, 3, 14),
        konst("seven bits, the value has more", 0xfff, 17, 7),
        konst("byte", 0xa5, 24, 8),
        big("big 16", 0x1234, 32, 16),
        konst("little 16", 0x1234, 48, 16),
        big("big 32", 0x0102_0304, 64, 32),
        konst("36 bits", 0x9_8765_4321, 100, 36),
        big("big 64", 0x0102_0304_0506_0708, 136, 64),
        konst("one bit", 1, 207, 1),
        konst("last word", 0xcafe_f00d, (size - 6) * 8, 32),
        konst("very last", 0x11, (size - 1) * 8, 8),
    ];
    bench.maps.flash(&[Plan { fields, ..plan("bits", 1, size) }], Spread::Flow).unwrap();
    let (code, meta) = bench.run(&tcp4());
    assert_eq!(code, XDP_REDIRECT);
    assert_eq!(meta.len(), end);
    // 101 | 10 1010 1011 1100 << 3 = 0x155e5; bit 16 is its last; 1111111 << 17 on top.
    assert_eq!(meta[..4], [0xe5, 0x55, 0xff, 0xa5]);
    assert_eq!(meta[4..12], [0x12, 0x34, 0x34, 0x12, 0x01, 0x02, 0x03, 0x04]);
    // 0x987654321 << 4 from byte 12 on.
    assert_eq!(meta[12..17], [0x10, 0x32, 0x54, 0x76, 0x98]);
    assert_eq!(meta[17..25], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(meta[25], 0x80);
    assert!(meta[26..last].iter().all(|byte| *byte == 0));
    assert_eq!(meta[last..], [0x0d, 0xf0, 0xfe, 0xca, 0, 0x11]);
}

#[test]
fn writes_only_what_the_packet_has() {
    let Some(bench) = Bench::new() else { return };
    let when = |class, f: PlanField| PlanField { when: vec![class], shared: true, ..f };
    let fields = vec![
        when(Class::Ipv4, field("v4.src", Hint::Ipv4Src, 0, 32)),
        when(Class::Ipv6, field("v6.proto", Hint::IpProto, 0, 8)),
        when(Class::Ipv6, field("v6.flow", Hint::Ipv6Flow, 32, 32)),
        field("op", Hint::ArpOp, 64, 32),
    ];
    bench.maps.flash(&[Plan { fields, ..plan("union", 1, 12) }], Spread::Flow).unwrap();
    assert_eq!(bench.run(&tcp4()).1, hex("bb950942 00000000 00000000"));
    let v6 = hex(&format!("{MACS} 86dd 6 00 12345 0000 3b 40 {} {}", "11".repeat(16), "22".repeat(16)));
    assert_eq!(bench.run(&v6).1, hex("3b000000 45230100 00000000"));
}

#[test]
fn a_packet_without_firmware_is_plain() {
    let Some(bench) = Bench::new() else { return };
    // An Ethernet header alone is enough; a test run takes nothing shorter.
    assert_eq!(bench.run(&tcp4()[..14]), (XDP_REDIRECT, Vec::new()));
    let counters = [Counter::Packets, Counter::Bytes, Counter::Plain, Counter::Forwarded, Counter::DropLoad];
    assert_eq!(counters.map(|c| bench.maps.counter(c).unwrap()), [1, 14, 1, 1, 0]);
}

/// What does not arrive is told by reason: here metadata for which there is no room, by a plan that is flashed past the
/// check of its length.
#[test]
fn what_the_nic_lets_go_of_is_counted() {
    let Some(bench) = Bench::new() else { return };
    bench.maps.flash(&[plan("long", 1, room() + 4)], Spread::Flow).unwrap();
    let (code, meta) = bench.run(&tcp4());
    assert_eq!((code, meta.len()), (1, 0)); // XDP_DROP
    assert_eq!(bench.maps.refused().unwrap(), Refused { no_room: 1, ..Refused::default() });
}
