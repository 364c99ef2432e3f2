//! The vocabulary: what a field of a layout can mean.
//!
//! A field has the hint its `xhint:hint=NAME` tag names, or else the one its own name is. Values are
//! numbers: an IPv4 address 10.0.0.1 is 0x0a000001, and a field declared `__be32` stores it most
//! significant byte first.

use std::fmt;

/// What one field of a layout means. The number a plain hint has is its slot: the place of its
/// value, and of its presence bit, in whatever records values by hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// The selector: which layout this packet carries.
    LayoutId,
    /// The same number in every packet: `xhint:hint=const=N`.
    Const(u64),
    /// When the packet came off the wire: nanoseconds, `CLOCK_TAI`, as a NIC's PTP clock counts.
    RxTimestamp,
    /// Toeplitz hash over addresses, and ports where there are, with the key of Microsoft's RSS
    /// documents, as most NICs' drivers do by default or for tests.
    RxHash,
    /// What went into the hash: the bits of `enum xdp_rss_hash_type`, include/net/xdp.h.
    RxHashType,
    /// What the parser found, see [`PKT_TYPES`].
    PktType,
    /// The outer VLAN tag's priority, DEI and id: 16 bits. Absent without a tag.
    VlanTci,
    /// The outer VLAN tag's EtherType: 0x8100 or 0x88a8. Absent without a tag.
    VlanProto,
    /// Whether the checksums hold, see [`CSUM_STATES`].
    CsumState,
    /// A number that all packets of a flow have in common, and other flows most likely not.
    FlowMark,
    /// The receive queue.
    RxQueue,
    /// Bytes of the packet, from the Ethernet header on.
    PktLen,
    /// Source port of TCP or UDP.
    SrcPort,
    /// Destination port of TCP or UDP.
    DstPort,
    /// The IP protocol; of IPv6, the one behind the extension headers.
    IpProto,
    /// IPv4 source address.
    Ipv4Src,
    /// IPv4 destination address.
    Ipv4Dst,
    /// IPv6 flow label: 20 bits.
    Ipv6Flow,
    /// IPv6 source address: 128 bits, whole as an array of bytes or big-endian words.
    Ipv6Src,
    /// IPv6 destination address, in the same way.
    Ipv6Dst,
    /// ARP operation: 1 request, 2 reply.
    ArpOp,
    /// ICMP or ICMPv6 type.
    IcmpType,
    /// ICMP or ICMPv6 code.
    IcmpCode,
    /// A running number over all packets of the device, from 0.
    Seq,
    /// A kernel pointer to the receive descriptor.
    RxDesc,
    /// IPv4 type of service, IPv6 traffic class: DSCP and ECN.
    IpTos,
    /// IPv4 time to live, IPv6 hop limit.
    IpTtl,
    /// TCP flags, FIN being bit 0.
    TcpFlags,
    /// The EtherType behind any VLAN tags.
    EthProto,
    /// Bytes from the packet's start to its TCP, UDP or ICMP header.
    L4Offset,
}

/// The kinds of packets that a part of a layout may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// IPv4.
    Ipv4 = 32,
    /// IPv6.
    Ipv6 = 33,
    /// ARP.
    Arp = 34,
    /// TCP over either IP.
    Tcp = 35,
    /// UDP over either IP.
    Udp = 36,
    /// ICMP or ICMPv6.
    Icmp = 37,
    /// With a VLAN tag.
    Vlan = 38,
    /// Neither IP nor ARP.
    Other = 39,
}

/// Every class with its name, as in `xhint:when=NAME`.
pub const CLASSES: &[(&str, Class)] = &[
    ("ipv4", Class::Ipv4),
    ("ipv6", Class::Ipv6),
    ("arp", Class::Arp),
    ("tcp", Class::Tcp),
    ("udp", Class::Udp),
    ("icmp", Class::Icmp),
    ("vlan", Class::Vlan),
    ("other", Class::Other),
];

impl Class {
    /// The class that is called so in a tag.
    pub fn from_name(name: &str) -> Option<Class> {
        CLASSES.iter().find(|(n, _)| *n == name).map(|(_, c)| *c)
    }

    /// Its bit where presence is recorded, above the 32 slots of hints.
    pub fn bit(self) -> u64 {
        1u64.wrapping_shl(self as u32)
    }

    /// The layer that decides it: two classes of one layer exclude each other.
    pub fn layer(self) -> u8 {
        match self {
            Class::Vlan => 2,
            Class::Ipv4 | Class::Ipv6 | Class::Arp | Class::Other => 3,
            Class::Tcp | Class::Udp | Class::Icmp => 4,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = CLASSES.iter().find(|(_, c)| c == self).map(|(n, _)| *n);
        f.write_str(name.unwrap_or("?"))
    }
}

/// A row of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// The hint.
    pub hint: Hint,
    /// Its name, in tags, as a field's name and in output.
    pub name: &'static str,
    /// Where its value stands among 32.
    pub slot: u8,
    /// Bits of its largest value.
    pub bits: u32,
    /// The one kind of packet that has it; `None` if several or all do.
    pub class: Option<Class>,
    /// What it is, in a line.
    pub about: &'static str,
}

const fn word(hint: Hint, name: &'static str, slot: u8, bits: u32, class: Option<Class>, about: &'static str) -> Word {
    Word { hint, name, slot, bits, class, about }
}

/// The vocabulary. One table: tags, the wire program's slots, and the documentation follow it.
#[rustfmt::skip]
pub const WORDS: &[Word] = &[
    word(Hint::LayoutId, "layout_id", 0, 32, None, "which layout this is"),
    word(Hint::Const(0), "const", 1, 64, None, "the number N of xhint:hint=const=N"),
    word(Hint::RxTimestamp, "rx_timestamp", 2, 64, None, "when it came, ns of CLOCK_TAI"),
    word(Hint::RxHash, "rx_hash", 3, 32, None, "Toeplitz hash over addresses and ports"),
    word(Hint::RxHashType, "rx_hash_type", 4, 32, None, "what was hashed, enum xdp_rss_hash_type"),
    word(Hint::PktType, "pkt_type", 5, 8, None, "what the parser found"),
    word(Hint::VlanTci, "vlan_tci", 6, 16, Some(Class::Vlan), "outer VLAN tag"),
    word(Hint::VlanProto, "vlan_proto", 7, 16, Some(Class::Vlan), "outer VLAN EtherType"),
    word(Hint::CsumState, "csum_state", 8, 8, None, "whether the checksums hold"),
    word(Hint::FlowMark, "flow_mark", 9, 32, None, "the same for all packets of a flow"),
    word(Hint::RxQueue, "rx_queue", 10, 32, None, "receive queue"),
    word(Hint::PktLen, "pkt_len", 11, 32, None, "bytes of the packet"),
    word(Hint::SrcPort, "src_port", 12, 16, None, "TCP or UDP source port"),
    word(Hint::DstPort, "dst_port", 13, 16, None, "TCP or UDP destination port"),
    word(Hint::IpProto, "ip_proto", 14, 8, None, "IP protocol"),
    word(Hint::Ipv4Src, "ipv4_src", 15, 32, Some(Class::Ipv4), "IPv4 source address"),
    word(Hint::Ipv4Dst, "ipv4_dst", 16, 32, Some(Class::Ipv4), "IPv4 destination address"),
    word(Hint::Ipv6Flow, "ipv6_flow", 17, 20, Some(Class::Ipv6), "IPv6 flow label"),
    word(Hint::Ipv6Src, "ipv6_src", 18, 128, Some(Class::Ipv6), "IPv6 source address"),
    word(Hint::Ipv6Dst, "ipv6_dst", 20, 128, Some(Class::Ipv6), "IPv6 destination address"),
    word(Hint::ArpOp, "arp_op", 22, 16, Some(Class::Arp), "ARP operation"),
    word(Hint::IcmpType, "icmp_type", 23, 8, Some(Class::Icmp), "ICMP type"),
    word(Hint::IcmpCode, "icmp_code", 24, 8, Some(Class::Icmp), "ICMP code"),
    word(Hint::Seq, "seq", 25, 64, None, "running number of the device"),
    word(Hint::RxDesc, "rx_desc", 26, 64, None, "kernel pointer to the receive descriptor"),
    word(Hint::IpTos, "ip_tos", 27, 8, None, "DSCP and ECN"),
    word(Hint::IpTtl, "ip_ttl", 28, 8, None, "time to live, hop limit"),
    word(Hint::TcpFlags, "tcp_flags", 29, 8, Some(Class::Tcp), "TCP flags"),
    word(Hint::EthProto, "eth_proto", 30, 16, None, "EtherType behind VLAN tags"),
    word(Hint::L4Offset, "l4_offset", 31, 16, None, "where the transport header starts"),
];

/// A value of an enumeration of ours: its name, its number, the name it falls back to, and the number
/// that fields get which are no enumeration.
pub type Value = (&'static str, u64, Option<&'static str>, u64);

/// Values of [`Hint::PktType`], finest first known. A field that is an enumeration gets its own
/// values for them: the enumerator whose name ends in the name here (`MY_PKT_IPV4_TCP`), or else in
/// that of the row named by the third column, and so on to 0. Any other field gets the last column.
pub const PKT_TYPES: &[Value] = &[
    ("unknown", 0, None, 0),
    ("ipv4", 1, Some("unknown"), 1),
    ("ipv6", 2, Some("unknown"), 2),
    ("arp", 3, Some("unknown"), 3),
    ("ipv4_tcp", 4, Some("ipv4"), 1),
    ("ipv4_udp", 5, Some("ipv4"), 1),
    ("ipv4_icmp", 6, Some("ipv4"), 1),
    ("ipv6_tcp", 7, Some("ipv6"), 2),
    ("ipv6_udp", 8, Some("ipv6"), 2),
    ("ipv6_icmp", 9, Some("ipv6"), 2),
];

/// Values of [`Hint::CsumState`], in the same way: not checked (a fragment, another protocol, UDP
/// without a checksum), all good, or bad.
pub const CSUM_STATES: &[Value] = &[("none", 0, None, 0), ("ok", 1, Some("none"), 1), ("bad", 2, Some("none"), 2)];

impl Hint {
    /// Its row of the vocabulary.
    pub fn word(self) -> &'static Word {
        let plain = match self {
            Hint::Const(_) => Hint::Const(0),
            other => other,
        };
        // Every variant has its row, as a test holds; the first row never stands in for another.
        WORDS.iter().find(|w| w.hint == plain).unwrap_or(&const { word(Hint::LayoutId, "layout_id", 0, 32, None, "") })
    }

    /// Its name, without the number of a constant.
    pub fn name(self) -> &'static str {
        self.word().name
    }

    /// Reads a tag's `NAME`, or `const=N` with N decimal or 0x hexadecimal.
    pub fn from_name(name: &str) -> Option<Hint> {
        if let Some(number) = name.strip_prefix("const=") {
            return number_from(number).map(Hint::Const);
        }
        WORDS.iter().find(|w| w.name == name && w.name != "const").map(|w| w.hint)
    }

    /// The names that its values have, if they are an enumeration of ours.
    pub fn values(self) -> Option<&'static [Value]> {
        match self {
            Hint::PktType => Some(PKT_TYPES),
            Hint::CsumState => Some(CSUM_STATES),
            _ => None,
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Const(n) => write!(f, "const={n:#x}"),
            other => f.write_str(other.name()),
        }
    }
}

/// A number as tags write them: decimal, or hexadecimal with 0x.
pub(crate) fn number_from(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_slots_are_unique_and_lead_back() {
        for (i, w) in WORDS.iter().enumerate() {
            for other in &WORDS[i + 1..] {
                assert_ne!(w.name, other.name);
                assert_ne!(w.slot, other.slot);
            }
            assert_eq!(w.hint.word().name, w.name);
            if w.name != "const" {
                assert_eq!(Hint::from_name(w.name), Some(w.hint));
            }
        }
    }

    #[test]
    fn constants_carry_their_number() {
        assert_eq!(Hint::from_name("const=0x2a"), Some(Hint::Const(42)));
        assert_eq!(Hint::from_name("const=42"), Some(Hint::Const(42)));
        assert_eq!(Hint::Const(42).to_string(), "const=0x2a");
        for wrong in ["const", "const=", "const=-1", "const=0x", "const=0x+1", "const=18446744073709551616"] {
            assert_eq!(Hint::from_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fallbacks_name_rows() {
        for table in [PKT_TYPES, CSUM_STATES] {
            for (i, row) in table.iter().enumerate() {
                assert_eq!(row.1, i as u64);
                if let Some(next) = row.2 {
                    assert!(table.iter().any(|r| r.0 == next));
                }
            }
        }
    }
}
