//! The vocabulary: one row for each word. The hints, what is known of each, and the documentation follow it.
//!
//! It is open: who needs a word adds a row at the end, with the next free bit, and a line to `docs/hints.md`. Nothing else
//! has to know it; whoever writes metadata maps those words that it has values for.

use crate::class::Class;
use crate::vendor::VendorWord;

/// A row of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// The hint; of constants, that of 0.
    pub hint: Hint,
    /// Its name, in tags, as a field's name and in output.
    pub name: &'static str,
    /// Its bit in [`Hint::Valid`]. No other word ever gets it.
    pub bit: u8,
    /// Bits of its largest value.
    pub bits: u32,
    /// A field of fewer bits, which holds the low ones, does not tell enough.
    pub least: u32,
    /// What the number counts or names.
    pub unit: Unit,
    /// The one kind of packet that has it; `None` if several or all do.
    pub class: Option<Class>,
    /// The kernel's function that asks the driver for it.
    pub kfunc: Option<Kfunc>,
    /// Drivers whose receive descriptor holds it, of those that were looked at: ice (`struct ice_32b_rx_flex_desc_nic`)
    /// and mlx5 (`struct mlx5_cqe64`).
    pub descriptors: &'static [&'static str],
    /// It can be worked out from the packet's bytes alone.
    pub in_packet: bool,
    /// What it is, in a line.
    pub about: &'static str,
}

/// What a number counts or names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nothing by itself: it can be compared.
    Mark,
    /// Things of which there are so many, or which are numbered.
    Number,
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// A bit for each thing that is so.
    Flags,
    /// One of a registry's numbers, such as an EtherType.
    Code,
    /// One of a few values that have names, see [`Hint::values`].
    Values,
    /// An address.
    Address,
    /// A pointer of the kernel's.
    Pointer,
}

impl Unit {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Mark => "mark",
            Unit::Number => "number",
            Unit::Nanoseconds => "ns",
            Unit::Bytes => "bytes",
            Unit::Flags => "flags",
            Unit::Code => "code",
            Unit::Values => "values",
            Unit::Address => "address",
            Unit::Pointer => "pointer",
        }
    }
}

/// A function of the kernel's by which an XDP program asks the driver (include/net/xdp.h, `XDP_METADATA_KFUNC_xxx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kfunc {
    /// When the packet came.
    RxTimestamp,
    /// Its hash, and what went into that.
    RxHash,
    /// Its VLAN tag, and of which sort that is.
    RxVlanTag,
}

impl Kfunc {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kfunc::RxTimestamp => "bpf_xdp_metadata_rx_timestamp",
            Kfunc::RxHash => "bpf_xdp_metadata_rx_hash",
            Kfunc::RxVlanTag => "bpf_xdp_metadata_rx_vlan_tag",
        }
    }

    /// Drivers that answer (`xdp_metadata_ops` of Linux 7.3).
    pub fn drivers(self) -> &'static [&'static str] {
        match self {
            Kfunc::RxTimestamp => &["gve", "ice", "idpf", "igc", "mlx4", "mlx5", "stmmac", "veth"],
            Kfunc::RxHash => &["bnxt", "ice", "idpf", "igc", "mlx4", "mlx5", "veth", "virtio_net"],
            Kfunc::RxVlanTag => &["ice", "mlx5", "veth"],
        }
    }
}

/// Makes the hints and their rows: bit, bits and the least of them, unit, class, kfunc, descriptors, whether the packet
/// tells, and what it is.
macro_rules! vocabulary {
    ($($(#[doc = $doc:literal])+ $hint:ident = $name:literal,
       $bit:literal, $bits:literal, $least:literal, $unit:ident, $class:expr, $kfunc:expr, $descriptors:expr,
       $in_packet:literal, $about:literal;)*) => {
        /// What one field of a layout means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Hint {
            /// The same number in every packet: `xhint:hint=const=N`.
            Const(u64),
            /// What a vendor has a word of its own for.
            Vendor(VendorWord),
            $($(#[doc = $doc])+ $hint,)*
        }

        impl Hint {
            /// Its row; `None` for a vendor's.
            pub fn word(self) -> Option<&'static Word> {
                match self {
                    Hint::Vendor(_) => None,
                    Hint::Const(_) => Some(&CONST),
                    known => WORDS.iter().find(|word| word.hint == known),
                }
            }
        }

        /// All rows.
        pub const WORDS: &[Word] = &[CONST, $(Word {
            hint: Hint::$hint, name: $name, bit: $bit, bits: $bits, least: $least, unit: Unit::$unit,
            class: $class, kfunc: $kfunc, descriptors: &$descriptors, in_packet: $in_packet, about: $about,
        },)*];
    };
}

const CONST: Word = Word {
    hint: Hint::Const(0),
    name: "const",
    bit: 1,
    bits: 64,
    least: 1,
    unit: Unit::Number,
    class: None,
    kfunc: None,
    descriptors: &[],
    in_packet: false,
    about: "the number N of xhint:hint=const=N",
};

#[rustfmt::skip]
vocabulary! {
    /// The selector: which layout this packet carries.
    LayoutId = "layout_id", 0, 32, 1, Number, None, None, [], false, "which layout this is";
    /// When the packet came off the wire: nanoseconds, `CLOCK_TAI`, as a NIC's PTP clock counts.
    RxTimestamp = "rx_timestamp", 2, 64, 32, Nanoseconds, None, Some(Kfunc::RxTimestamp), ["ice", "mlx5"], false, "when it came, ns of CLOCK_TAI";
    /// Toeplitz hash over addresses, and ports where there are, with the NIC's key; the soft NIC's is that of Microsoft's RSS
    /// documents.
    RxHash = "rx_hash", 3, 32, 16, Mark, None, Some(Kfunc::RxHash), ["ice", "mlx5"], false, "Toeplitz hash over addresses and ports";
    /// What went into the hash: the bits of `enum xdp_rss_hash_type`, include/net/xdp.h.
    RxHashType = "rx_hash_type", 4, 32, 8, Flags, None, Some(Kfunc::RxHash), ["mlx5"], false, "what was hashed, enum xdp_rss_hash_type";
    /// What the parser found, see [`PKT_TYPES`](crate::hint::PKT_TYPES).
    PktType = "pkt_type", 5, 8, 4, Values, None, None, ["ice", "mlx5"], true, "what the parser found";
    /// The outer VLAN tag's priority, DEI and id. Absent without a tag.
    VlanTci = "vlan_tci", 6, 16, 12, Code, Some(Class::Vlan), Some(Kfunc::RxVlanTag), ["ice", "mlx5"], true, "outer VLAN tag";
    /// The outer VLAN tag's EtherType: 0x8100 or 0x88a8. Absent without a tag.
    VlanProto = "vlan_proto", 7, 16, 16, Code, Some(Class::Vlan), Some(Kfunc::RxVlanTag), [], true, "outer VLAN EtherType";
    /// Whether the checksums hold, see [`CSUM_STATES`](crate::hint::CSUM_STATES).
    CsumState = "csum_state", 8, 8, 2, Values, None, None, ["ice", "mlx5"], true, "whether the checksums hold";
    /// A number that all packets of a flow have in common, and other flows most likely not; or what a rule of the NIC's
    /// marked it with.
    FlowMark = "flow_mark", 9, 32, 16, Mark, None, None, ["ice", "mlx5"], false, "the same for all packets of a flow";
    /// The receive queue.
    RxQueue = "rx_queue", 10, 32, 8, Number, None, None, [], false, "receive queue";
    /// Bytes of the packet, from the Ethernet header on.
    PktLen = "pkt_len", 11, 32, 14, Bytes, None, None, ["ice", "mlx5"], true, "bytes of the packet";
    /// Source port of TCP or UDP.
    SrcPort = "src_port", 12, 16, 16, Code, None, None, [], true, "TCP or UDP source port";
    /// Destination port of TCP or UDP.
    DstPort = "dst_port", 13, 16, 16, Code, None, None, [], true, "TCP or UDP destination port";
    /// The IP protocol; of IPv6, the one behind the extension headers.
    IpProto = "ip_proto", 14, 8, 8, Code, None, None, [], true, "IP protocol";
    /// IPv4 source address.
    Ipv4Src = "ipv4_src", 15, 32, 32, Address, Some(Class::Ipv4), None, [], true, "IPv4 source address";
    /// IPv4 destination address.
    Ipv4Dst = "ipv4_dst", 16, 32, 32, Address, Some(Class::Ipv4), None, [], true, "IPv4 destination address";
    /// IPv6 flow label.
    Ipv6Flow = "ipv6_flow", 17, 20, 20, Mark, Some(Class::Ipv6), None, [], true, "IPv6 flow label";
    /// IPv6 source address, whole as an array of bytes or big-endian words.
    Ipv6Src = "ipv6_src", 18, 128, 32, Address, Some(Class::Ipv6), None, [], true, "IPv6 source address";
    /// IPv6 destination address, in the same way.
    Ipv6Dst = "ipv6_dst", 20, 128, 32, Address, Some(Class::Ipv6), None, [], true, "IPv6 destination address";
    /// ARP operation: 1 request, 2 reply.
    ArpOp = "arp_op", 22, 16, 8, Code, Some(Class::Arp), None, [], true, "ARP operation";
    /// ICMP or ICMPv6 type.
    IcmpType = "icmp_type", 23, 8, 8, Code, Some(Class::Icmp), None, [], true, "ICMP type";
    /// ICMP or ICMPv6 code.
    IcmpCode = "icmp_code", 24, 8, 8, Code, Some(Class::Icmp), None, [], true, "ICMP code";
    /// A running number over all packets of the device, from 0.
    Seq = "seq", 25, 64, 16, Number, None, None, [], false, "running number of the device";
    /// A kernel pointer to the receive descriptor.
    RxDesc = "rx_desc", 26, 64, 64, Pointer, None, None, [], false, "kernel pointer to the receive descriptor";
    /// IPv4 type of service, IPv6 traffic class: DSCP and ECN.
    IpTos = "ip_tos", 27, 8, 8, Code, None, None, [], true, "DSCP and ECN";
    /// IPv4 time to live, IPv6 hop limit.
    IpTtl = "ip_ttl", 28, 8, 8, Number, None, None, [], true, "time to live, hop limit";
    /// TCP flags, FIN being bit 0.
    TcpFlags = "tcp_flags", 29, 8, 6, Flags, Some(Class::Tcp), None, [], true, "TCP flags";
    /// The EtherType behind any VLAN tags.
    EthProto = "eth_proto", 30, 16, 16, Code, None, None, [], true, "EtherType behind VLAN tags";
    /// Bytes from the packet's start to its TCP, UDP or ICMP header.
    L4Offset = "l4_offset", 31, 16, 8, Bytes, None, None, [], true, "where the transport header starts";
    /// Bytes from the packet's start to its IP or ARP header.
    L3Offset = "l3_offset", 32, 16, 8, Bytes, None, None, [], true, "where the network header starts";
    /// The number of the device that the packet came in by.
    IfIndex = "ifindex", 33, 32, 32, Number, None, None, [], false, "number of the receiving device";
    /// The ones' complement sum over the packet's bytes behind the Ethernet header, as in CHECKSUM_COMPLETE of
    /// include/linux/skbuff.h.
    Csum = "csum", 34, 16, 16, Number, None, None, ["mlx5"], true, "sum over all behind the Ethernet header";
    /// Which of the layout's hints this packet has: a bit for each word, by [`Word::bit`].
    Valid = "valid", 35, 64, 1, Flags, None, None, [], false, "which hints this packet has, by their bits";
}
