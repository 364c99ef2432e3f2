//! What the packet itself says, read by a program of the user's from a layout that was made for it, and compared with
//! packets taken apart by hand and with published hashes.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use common::{Read, filled_and_run};
use xhint_fill::{Fill, Provider};
use xhint_testkit::may_load;

/// The packets of "Verifying the RSS hash calculation" in Microsoft's documents: addresses, ports, and the hash with and
/// without ports.
const VERIFIED_V4: [(&str, u16, &str, u16, u32, u32); 5] = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e_8fc2, 0x51cc_c178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718_262a, 0xc626_b0ea),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0_a5de, 0x5c2b_394a),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x8298_9176, 0xafc7_327f),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d18_09c5, 0x10e8_28a2),
];
const VERIFIED_V6: [(&str, u16, &str, u16, u32, u32); 3] = [
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc1_8cd5, 0x4020_7d3d),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c_461c, 0xdde5_1bbf),
    ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4b61_e985, 0x02d1_feef),
];

fn ipv4(src: &str, dst: &str, proto: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap();
    let address = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let mut out = vec![0x45, 0xb8];
    out.extend(total.to_be_bytes());
    out.extend([0, 1]);
    out.extend(fragment.to_be_bytes());
    out.extend([61, proto, 0, 0]);
    out.extend(address(src));
    out.extend(address(dst));
    out.extend(payload);
    out
}

fn ipv6(src: &str, dst: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut out = vec![0x62, 0xa1, 0x23, 0x45];
    out.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    out.extend([next, 99]);
    out.extend(address(src));
    out.extend(address(dst));
    out.extend(payload);
    out
}

fn tcp(src: u16, dst: u16) -> Vec<u8> {
    let mut out = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    out.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 0, 100, 0, 0, 0, 0]);
    out
}

fn udp(src: u16, dst: u16) -> Vec<u8> {
    let mut out = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    out.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    out
}

/// With these tags, outer first.
fn ethernet(tags: &[(u16, u16)], proto: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (tpid, tci) in tags {
        out.extend(tpid.to_be_bytes());
        out.extend(tci.to_be_bytes());
    }
    out.extend(proto.to_be_bytes());
    out.extend(payload);
    out.resize(out.len().max(60), 0);
    out
}

fn run(packets: &[Vec<u8>]) -> Vec<Read> {
    filled_and_run(&Fill { all: Some(xhint_fill::Prefer::From(Provider::Software)), fields: vec![] }, packets)
}

#[test]
fn hashes_are_those_that_are_published() {
    if !may_load() {
        return;
    }
    let mut packets = Vec::new();
    let mut want = Vec::new();
    for (src, sport, dst, dport, plain, ports) in VERIFIED_V4 {
        packets.push(ethernet(&[], 0x800, &ipv4(src, dst, 6, 0, &tcp(sport, dport))));
        want.push((ports, 1 | 8 | 16));
        packets.push(ethernet(&[], 0x800, &ipv4(src, dst, 17, 0, &udp(sport, dport))));
        want.push((ports, 1 | 8 | 32));
        // A fragment has no ports that anybody could know.
        packets.push(ethernet(&[], 0x800, &ipv4(src, dst, 17, 0x2000, &udp(sport, dport))));
        want.push((plain, 1));
    }
    for (src, sport, dst, dport, plain, ports) in VERIFIED_V6 {
        packets.push(ethernet(&[], 0x86dd, &ipv6(src, dst, 6, &tcp(sport, dport))));
        want.push((ports, 2 | 8 | 16));
        packets.push(ethernet(&[], 0x86dd, &ipv6(src, dst, 59, &[])));
        want.push((plain, 2));
    }
    for ((read, (hash, kind)), packet) in run(&packets).iter().zip(want).zip(&packets) {
        assert_eq!((read.value("rx_hash"), read.value("rx_hash_type")), (u64::from(hash), kind), "{packet:02x?}");
    }
}

#[test]
fn every_header_is_told_as_it_is() {
    if !may_load() {
        return;
    }
    let v4 = ethernet(&[(0x88a8, 0x6123), (0x8100, 5)], 0x800, &ipv4("10.0.0.1", "10.0.0.2", 6, 0, &tcp(4242, 80)));
    // Behind an options header of hop-by-hop and an atomic fragment.
    let options = [[44, 0, 1, 4, 0, 0, 0, 0], [17, 0, 0, 0, 0, 0, 0, 9]].concat();
    let v6 = ethernet(&[], 0x86dd, &ipv6("2001:db8::1", "2001:db8::ff", 0, &[options, udp(53, 5353)].concat()));
    let arp = ethernet(&[], 0x806, &[0, 1, 8, 0, 6, 4, 0, 2]);
    let icmp = ethernet(&[], 0x800, &ipv4("10.0.0.1", "10.0.0.2", 1, 0, &[3, 4, 0, 0, 0, 0, 0, 0]));
    let other = ethernet(&[], 0x88b5, &[1, 2, 3]);
    let reads = run(&[v4.clone(), v6.clone(), arp, icmp, other]);
    let [v4_read, v6_read, arp, icmp, other] = &reads[..] else { panic!("{}", reads.len()) };

    let want = [
        ("vlan_tci", 0x6123),
        ("vlan_proto", u64::from(0x88a8u16.to_be())),
        ("eth_proto", 0x800),
        ("l3_offset", 22),
        ("l4_offset", 42),
        ("pkt_type", 40),
        ("ip_proto", 6),
        ("tos", 0xb8),
        ("ip_ttl", 61),
        ("src_port", 4242),
        ("dst_port", u64::from(80u16.to_be())),
        ("ipv4_src", u64::from(0x0a00_0001u32.to_be())),
        ("ipv4_dst", 0x0a00_0002),
        ("tcp_flags", 0x12),
        ("pkt_len", v4.len() as u64),
        ("ipv6_flow", 0),
        ("icmp_type", 0),
        ("arp_op", 0),
    ];
    want.iter().for_each(|(name, value)| assert_eq!(v4_read.value(name), *value, "{name}"));
    let want = [
        ("vlan_tci", 0),
        ("eth_proto", 0x86dd),
        ("l4_offset", 14 + 40 + 16),
        ("pkt_type", 7),
        ("ip_proto", 17),
        ("tos", 0x2a),
        ("ip_ttl", 99),
        ("ipv6_flow", 0x12345),
        ("ipv6_src[0]", 0x20),
        ("ipv6_src[15]", 1),
        ("ipv6_dst[0]", u64::from(0x2001_0db8u32.to_be())),
        ("ipv6_dst[3]", u64::from(0xffu32.to_be())),
        ("src_port", 53),
        ("dst_port", u64::from(5353u16.to_be())),
        ("ipv4_src", 0),
        ("tcp_flags", 0),
    ];
    want.iter().for_each(|(name, value)| assert_eq!(v6_read.value(name), *value, "{name}"));
    assert_eq!((arp.value("pkt_type"), arp.value("arp_op"), arp.value("rx_hash")), (60, 2, 0));
    // What the program has no number for is what it falls back to.
    assert_eq!((icmp.value("pkt_type"), icmp.value("icmp_type"), icmp.value("icmp_code")), (21, 3, 4));
    assert_eq!((other.value("pkt_type"), other.value("eth_proto"), other.value("ip_proto")), (0, 0x88b5, 0));
    // Bits of `valid` are the vocabulary's.
    let bit = |name: &str| 1u64 << xhint_layout::Hint::from_name(name).unwrap().word().unwrap().bit;
    for (read, there, not) in [
        (v4_read, ["vlan_tci", "ipv4_src", "tcp_flags", "rx_hash", "src_port"], ["ipv6_src", "icmp_type", "arp_op"]),
        (v6_read, ["ipv6_flow", "ipv6_dst", "rx_hash", "src_port", "l4_offset"], ["vlan_tci", "ipv4_src", "tcp_flags"]),
        (arp, ["arp_op", "eth_proto", "pkt_type", "l3_offset", "pkt_len"], ["ip_proto", "rx_hash", "l4_offset"]),
    ] {
        there.iter().for_each(|name| assert_ne!(read.value("valid") & bit(name), 0, "{name}"));
        not.iter().for_each(|name| assert_eq!(read.value("valid") & bit(name), 0, "{name}"));
    }
}

#[test]
fn what_is_cut_short_or_lies_is_0_and_nothing_is_read_beyond() {
    if !may_load() {
        return;
    }
    let whole = ethernet(&[(0x8100, 5)], 0x800, &ipv4("10.0.0.1", "10.0.0.2", 6, 0, &tcp(4242, 80)));
    let v6 = ethernet(&[], 0x86dd, &ipv6("2001:db8::1", "2001:db8::ff", 17, &udp(53, 5353)));
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for packet in [&whole, &v6] {
        packets.extend((14..packet.len()).map(|len| packet[..len].to_vec()));
    }
    // Lengths that lie, headers of 0 words, extension headers without end.
    for (at, value) in [(20, 0xff), (18, 0x40), (18, 0x4f), (21, 0), (21, 3)] {
        let mut lies = whole.clone();
        lies[at] = value;
        packets.push(lies);
    }
    packets.push(ethernet(&[], 0x86dd, &ipv6("2001:db8::1", "2001:db8::ff", 0, &[0; 1000])));
    for (read, packet) in run(&packets).iter().zip(&packets) {
        let transport = read.value("src_port") != 0;
        assert!(!transport || packet == &whole || packet == &v6 || packet.len() > 50, "{packet:02x?}");
        assert_eq!(read.value("pkt_len"), packet.len() as u64);
    }
}
