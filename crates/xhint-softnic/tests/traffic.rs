//! Traffic: what is generated, and what is read from capture files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use xhint_softnic::{KEY_PREFIX, Mix, Traffic};
use xhint_testkit::damage;

/// A file that is removed again.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("softnic-{}-{name}", std::process::id())))
    }

    fn read(&self, bytes: &[u8]) -> Result<Traffic, String> {
        std::fs::write(&self.0, bytes).unwrap();
        let read = Traffic::pcap(&self.0).map_err(|e| e.to_string());
        if let Err(error) = &read {
            assert!(error.starts_with(&self.0.display().to_string()) && !error.contains('\n'), "{error}");
        }
        read
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_mix_has_every_kind_with_and_without_tags() {
    let traffic = Traffic::mixed(&Mix { flows: 420, to: [6, 1, 2, 3, 4, 5], ..Mix::default() });
    let mut kinds = BTreeSet::new();
    for frame in traffic.iter() {
        assert!(frame.len() >= 60 && frame.len() <= 522, "{}", frame.len());
        assert_eq!((&frame[..6], &frame[6..8]), (&[6, 1, 2, 3, 4, 5][..], &KEY_PREFIX[..]));
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let tags = packet.link_exts.iter().filter(|e| matches!(e, LinkExtSlice::Vlan(_))).count();
        let net = match packet.net.unwrap() {
            NetSlice::Ipv4(_) => "ipv4",
            NetSlice::Ipv6(_) => "ipv6",
            NetSlice::Arp(_) => "arp",
        };
        let transport = packet.transport.map(|t| match t {
            TransportSlice::Tcp(_) => "tcp",
            TransportSlice::Udp(_) => "udp",
            TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) => "icmp",
            TransportSlice::Igmp(_) => "igmp",
        });
        kinds.insert((net, transport, tags));
    }
    // Six over IP and ARP, each with no tag, one and two.
    assert_eq!(kinds.len(), 7 * 3, "{kinds:?}");
}

#[test]
fn the_same_seed_gives_the_same_traffic() {
    let frames = |seed| -> Vec<Vec<u8>> {
        Traffic::mixed(&Mix { seed, flows: 50, ..Mix::default() }).iter().map(<[u8]>::to_vec).collect()
    };
    assert_eq!(frames(7), frames(7));
    assert_ne!(frames(7), frames(8));
}

/// A pcap file of these packets, each with the length it had on the wire; big-endian if asked.
fn pcap(packets: &[(&[u8], u32)], link: u32, big: bool) -> Vec<u8> {
    let u32s = |numbers: &[u32]| -> Vec<u8> {
        numbers.iter().flat_map(|n| if big { n.to_be_bytes() } else { n.to_le_bytes() }).collect()
    };
    let version = if big { 0x0002_0004 } else { 0x0004_0002 };
    let mut file = u32s(&[0xa1b2_c3d4, version, 0, 0, 65535, link]);
    for (data, original) in packets {
        file.extend(u32s(&[1, 2, data.len() as u32, *original]));
        file.extend(*data);
    }
    file
}

/// A block of pcapng.
fn block(kind: u32, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, &body, &len].concat()
}

/// That which begins a section.
fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0], &[0xff; 8]])
}

/// That which describes an interface.
fn interface(link: u16) -> Vec<u8> {
    block(1, &[&link.to_le_bytes(), &[0, 0, 0, 0, 4, 0]])
}

/// A packet of the interface with this number.
fn enhanced(interface: u32, data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u32).to_le_bytes();
    let padding = vec![0; data.len().next_multiple_of(4) - data.len()];
    block(6, &[&interface.to_le_bytes(), &[0; 8], &len, &len, data, &padding])
}

/// A pcapng file: section, interface, packets in enhanced blocks.
fn pcapng(packets: &[&[u8]], link: u16) -> Vec<u8> {
    let packets = packets.iter().flat_map(|data| enhanced(0, data));
    section().into_iter().chain(interface(link)).chain(packets).collect()
}

/// Whether a packet is Ethernet its interface says, and nothing else does.
#[test]
fn a_packet_of_no_interface_is_refused() {
    let scratch = Scratch::new("interface");
    let a = [1u8; 60];
    let simple = || block(3, &[&60u32.to_le_bytes(), &a]);
    let old = || block(2, &[&[1, 0, 0, 0], &[0; 8], &60u32.to_le_bytes(), &60u32.to_le_bytes(), &a]);
    let one = || pcapng(&[&a], 1);
    for (file, number, wanted) in [
        ([one(), enhanced(1, &a)].concat(), 2, 1),
        ([section(), enhanced(0, &a), interface(1)].concat(), 1, 0),
        ([section(), simple()].concat(), 1, 0),
        ([one(), old()].concat(), 2, 1),
        // A section describes its own.
        ([one(), section(), enhanced(0, &a)].concat(), 2, 0),
    ] {
        let told = scratch.read(&file).unwrap_err();
        let says = format!("packet {number} was captured on interface {wanted}, which the file does not describe");
        assert!(told.contains(&says), "{told}");
    }
    let fine = [one(), interface(1), enhanced(1, &a), simple(), old(), one()].concat();
    assert_eq!(scratch.read(&fine).unwrap().iter().count(), 5);
}

#[test]
fn captures_are_read_in_all_forms() {
    let scratch = Scratch::new("forms");
    let (a, b) = ([1u8; 60], [2u8; 71]);
    let packets = [(&a[..], 60), (&b[..], 71)];
    for file in [pcap(&packets, 1, false), pcap(&packets, 1, true), pcapng(&[&a, &b], 1)] {
        let traffic = scratch.read(&file).unwrap();
        assert_eq!(traffic.iter().collect::<Vec<_>>(), [&a[..], &b[..]]);
    }
}

#[test]
fn unfit_captures_are_told() {
    let scratch = Scratch::new("unfit");
    let a = [1u8; 60];
    let told = |bytes: &[u8]| scratch.read(bytes).unwrap_err();
    assert!(told(&[]).contains("too short for a capture file"));
    assert!(told(b"hello, world, this is no capture").contains("no pcap or pcapng file"));
    assert!(told(&pcap(&[], 1, false)).contains("it holds no packets"));
    assert!(told(&pcap(&[(&a, 60)], 113, false)).contains("only Ethernet can be sent"));
    assert!(told(&pcapng(&[&a], 113)).contains("only Ethernet can be sent"));
    assert!(told(&pcap(&[(&a, 60), (&a, 1500)], 1, false)).contains("packet 2 was cut from 1500 to 60 bytes"));
    let whole = pcap(&[(&a, 60), (&a, 60)], 1, false);
    assert!(told(&whole[..whole.len() - 3]).contains("damaged after packet 1 (it ends early)"));
    assert!(Traffic::pcap("/nowhere/x.pcap").unwrap_err().to_string().contains("opening /nowhere/x.pcap"));
}

#[test]
fn broken_captures_do_no_harm() {
    let scratch = Scratch::new("broken");
    let (a, b) = ([1u8; 60], [2u8; 71]);
    let mut count = 0;
    for file in [pcap(&[(&a, 60), (&b, 71)], 1, false), pcapng(&[&a, &b], 1)] {
        damage::each(&file, 300, 3, |broken| {
            count += 1;
            if let Ok(traffic) = scratch.read(&broken.bytes) {
                assert!(!traffic.is_empty());
            }
        });
    }
    assert!(count > 2000, "{count}");
}
