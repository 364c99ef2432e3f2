//! What is sent: generated, or given.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header,
    Ipv4Options, Ipv6Extensions, Ipv6FlowLabel, Ipv6Header, PacketBuilder, PacketBuilderStep, SingleVlanHeader,
    VlanHeader, VlanId, VlanPcp,
};

/// The first two bytes of generated packets' source MAC addresses.
pub const KEY_PREFIX: [u8; 2] = [0x02, 0x78];

/// Most flows of generated traffic; their frames are kept in memory.
pub const MAX_FLOWS: usize = 1 << 20;

/// Frames to be sent, over and over.
#[derive(Debug, Clone)]
pub struct Traffic {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) keyed: bool,
}

/// What generated traffic consists of.
#[derive(Debug, Clone)]
pub struct Mix {
    /// How many flows, 1 to [`MAX_FLOWS`]; each is one frame, repeated.
    pub flows: usize,
    /// Other seeds, other traffic; the same seed, the same.
    pub seed: u64,
    /// The destination address, [`crate::SoftNic::mac`] of the device.
    pub to: [u8; 6],
    /// One flow in so many has a wrong checksum, if its protocol has any; 0 for none.
    pub bad_checksums: usize,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { flows: 512, seed: 1, to: [0xff; 6], bad_checksums: 0 }
    }
}

impl Traffic {
    /// IPv4 and IPv6 with TCP, UDP and ICMP, and ARP, with and without VLAN tags, all mixed.
    ///
    /// Each packet sent gets a key: its source MAC address is 02:78 and a running number of 32 bits.
    pub fn mixed(mix: &Mix) -> Traffic {
        let mut dice = Dice(mix.seed);
        let flows = mix.flows.clamp(1, MAX_FLOWS);
        let mut frames = Vec::with_capacity(flows);
        for n in 1..=flows {
            let mut frame = flow(n, mix.to, &mut dice);
            if n.checked_rem(mix.bad_checksums) == Some(0) {
                spoil(&mut frame);
            }
            frames.push(frame);
        }
        Traffic { frames, keyed: true }
    }

    /// These frames as they are, from the Ethernet header on.
    pub fn frames(frames: Vec<Vec<u8>>) -> Traffic {
        Traffic { frames, keyed: false }
    }

    /// Gives each packet sent a key, as [`Traffic::mixed`] does.
    pub fn keyed(mut self) -> Traffic {
        self.keyed = true;
        self
    }

    /// How many different frames there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().map(Vec::as_slice)
    }
}

/// Random numbers that are the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    fn below(&mut self, n: u64) -> u64 {
        self.next().checked_rem(n).unwrap_or(0)
    }

    fn u8(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn u16(&mut self) -> u16 {
        let [a, b, ..] = self.next().to_le_bytes();
        u16::from_le_bytes([a, b])
    }

    fn u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// The frame of flow `n`: its kind goes round all kinds, the rest is diced.
fn flow(n: usize, to: [u8; 6], dice: &mut Dice) -> Vec<u8> {
    let [a, b, c, d, ..] = n.to_le_bytes();
    let from = [KEY_PREFIX[0], KEY_PREFIX[1], d, c, b, a];
    let ethernet = PacketBuilder::ethernet2(from, to);
    let kind = n.checked_rem(7).unwrap_or(0);
    match n.checked_div(7).and_then(|n| n.checked_rem(3)) {
        Some(1) => tagged(ethernet.vlan(VlanHeader::Single(tag(dice))), kind, dice),
        Some(2) => tagged(ethernet.vlan(double(dice)), kind, dice),
        _ if kind == 6 => arp(dice, |packet, out| ethernet.arp(packet).write(out).is_ok()),
        _ => ip(ethernet.ip(ip_header(kind, dice)), kind, dice),
    }
}

fn tagged(vlan: PacketBuilderStep<VlanHeader>, kind: usize, dice: &mut Dice) -> Vec<u8> {
    if kind == 6 {
        return arp(dice, |packet, out| vlan.arp(packet).write(out).is_ok());
    }
    ip(vlan.ip(ip_header(kind, dice)), kind, dice)
}

fn tag(dice: &mut Dice) -> SingleVlanHeader {
    SingleVlanHeader {
        pcp: VlanPcp::try_new(dice.u8() & 7).unwrap_or_default(),
        drop_eligible_indicator: dice.below(8) == 0,
        vlan_id: VlanId::try_new(dice.u16() & 0xfff).unwrap_or_default(),
        ether_type: EtherType(0),
    }
}

/// An 802.1ad tag outside, an 802.1Q tag inside.
fn double(dice: &mut Dice) -> VlanHeader {
    VlanHeader::Double(etherparse::DoubleVlanHeader { outer: tag(dice), inner: tag(dice) })
}

fn arp(dice: &mut Dice, write: impl FnOnce(ArpPacket, &mut Vec<u8>) -> bool) -> Vec<u8> {
    let operation = if dice.below(2) == 0 { ArpOperation::REQUEST } else { ArpOperation::REPLY };
    let (sender, target) = (dice.u32().to_be_bytes(), dice.u32().to_be_bytes());
    let mac = [2, 0, 0, 0, 0, 1];
    let packet = ArpPacket::new(ArpHardwareId::ETHERNET, EtherType::IPV4, operation, &mac, &sender, &[0; 6], &target);
    let mut out = Vec::with_capacity(64);
    if let Ok(packet) = packet {
        write(packet, &mut out);
    }
    out.resize(out.len().max(60), 0);
    out
}

/// IPv4 for kinds 0 to 2, IPv6 for 3 to 5; addresses of the ranges for documentation.
fn ip_header(kind: usize, dice: &mut Dice) -> IpHeaders {
    if kind < 3 {
        let mut header = Ipv4Header {
            dscp: etherparse::IpDscp::try_new(dice.u8() >> 2).unwrap_or_default(),
            identification: dice.u16(),
            dont_fragment: true,
            time_to_live: dice.u8() | 1,
            source: Ipv4Addr::from(0xc000_0200 | (dice.u32() & 0xff)).octets(),
            destination: Ipv4Addr::from(0xc633_6400 | (dice.u32() & 0xff)).octets(),
            fragment_offset: IpFragOffset::ZERO,
            ..Default::default()
        };
        if dice.below(4) == 0 {
            // Router alert (RFC 2113), so that the header is longer than usual.
            header.options = Ipv4Options::from([0x94, 0x04, 0x00, 0x00]);
        }
        return IpHeaders::Ipv4(header, Ipv4Extensions::default());
    }
    let host = |dice: &mut Dice| Ipv6Addr::from((0x2001_0db8u128 << 96) | u128::from(dice.next())).octets();
    let header = Ipv6Header {
        traffic_class: dice.u8(),
        flow_label: Ipv6FlowLabel::try_new(dice.u32() & 0xf_ffff).unwrap_or_default(),
        hop_limit: dice.u8() | 1,
        next_header: IpNumber::IPV6_NO_NEXT_HEADER,
        source: host(dice),
        destination: host(dice),
        ..Default::default()
    };
    IpHeaders::Ipv6(header, Ipv6Extensions::default())
}

fn ip(step: PacketBuilderStep<IpHeaders>, kind: usize, dice: &mut Dice) -> Vec<u8> {
    // Never so short that the frame is padded: the last byte is the payload's.
    let len = dice.below(400).saturating_add(18);
    let payload: Vec<u8> = (0..len).map(|_| dice.u8()).collect();
    let mut out = Vec::with_capacity(512);
    let (a, b) = (dice.u16() | 1, dice.u16() | 1);
    let written = match kind {
        0 | 3 => step.tcp(a, b, dice.u32(), 1024).ack(dice.u32()).psh().write(&mut out, &payload),
        1 | 4 => step.udp(a, b).write(&mut out, &payload),
        2 => step.icmpv4_echo_request(a, b).write(&mut out, &payload),
        _ => step.icmpv6_echo_reply(a, b).write(&mut out, &payload),
    };
    debug_assert!(written.is_ok());
    out
}

/// Changes the last byte, so that the transport's checksum is wrong. ARP has none to be wrong.
fn spoil(frame: &mut [u8]) {
    if let Some(byte) = frame.last_mut() {
        *byte ^= 1;
    }
}
