//! A program that reads what a filler gave, run by the kernel.
// Each test of this folder takes what it needs.
#![allow(dead_code)]
// A test that meets the unexpected fails.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xhint_fill::{Asked, Fill, Filler, Offer, Offers, Origin, Standing};
use xhint_layout::vocabulary::{WORDS, Word};
use xhint_link::{FillerCall, Link, LinkOptions, Linked, Object};
use xhint_testkit::fixture::{self, Compile};
use xhint_testkit::run::Loaded;
use xhint_universe::Universe;

/// In the order of `out` in `reads.bpf.c`.
pub const NAMES: [&str; 30] = [
    "rx_hash",
    "rx_hash_type",
    "pkt_type",
    "vlan_tci",
    "vlan_proto",
    "rx_queue",
    "pkt_len",
    "src_port",
    "dst_port",
    "ip_proto",
    "ipv4_src",
    "ipv4_dst",
    "ipv6_flow",
    "ipv6_src[0]",
    "ipv6_src[15]",
    "ipv6_dst[0]",
    "ipv6_dst[3]",
    "icmp_type",
    "icmp_code",
    "tos",
    "ip_ttl",
    "tcp_flags",
    "arp_op",
    "eth_proto",
    "l3_offset",
    "l4_offset",
    "ifindex",
    "valid",
    "rx_timestamp",
    "flow_mark",
];

/// What the program read of one packet.
#[derive(Debug, PartialEq)]
pub struct Read {
    pub returned: u32,
    /// Packet and metadata as the program left them.
    pub data: Vec<u8>,
    words: Vec<u64>,
}

impl Read {
    pub fn value(&self, name: &str) -> u64 {
        self.words[NAMES.iter().position(|own| *own == name).unwrap()]
    }

    /// The fields that there are.
    pub fn there(&self) -> Vec<&'static str> {
        NAMES.iter().enumerate().filter(|(n, _)| self.words[39] >> n & 1 == 1).map(|(_, name)| *name).collect()
    }
}

/// All that software has, and nothing else.
pub fn software() -> Vec<Offers> {
    let of = |word: &Word, origin| {
        let offer = Offer { origin, standing: Standing::Usable, why: None, nanoseconds: None };
        Offers { hint: word.hint, name: word.name, all: vec![offer] }
    };
    let words = WORDS.iter().filter_map(|word| {
        Some(match word.name {
            "csum" | "csum_state" => return None,
            "rx_hash" | "rx_hash_type" => of(word, Origin::Toeplitz),
            "rx_queue" | "ifindex" => of(word, Origin::Context("a member")),
            "valid" => of(word, Origin::Filler),
            _ if word.in_packet => of(word, Origin::Packet),
            _ => return None,
        })
    });
    words.collect()
}

pub fn program() -> Compile {
    Compile::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reads.bpf.c"))
}

/// The program with a filler in front, linked.
pub fn filled(object: &Path, offers: &[Offers], fill: &Fill, keep: bool, walk: bool) -> Linked {
    let object = Object::parse(std::fs::read(object).unwrap()).unwrap();
    let base = xhint_btf::Btf::parse(fixture::corpus("vmlinux.btf")).unwrap();
    let mut universe = Universe::new(Arc::new(base));
    let options = LinkOptions::default();
    let (choice, filler) =
        Filler::of(&object, &Asked::of(&object, &universe, &options).unwrap(), offers, fill, walk).unwrap();
    let filler = filler.unwrap_or_else(|| panic!("{choice:?}"));
    universe.add("filler", Arc::clone(&filler.btf)).unwrap();
    let layout = universe.layouts()[0].id;
    let call = FillerCall { function: Filler::FUNCTION.to_owned(), layout, keep };
    let options = LinkOptions { filler: Some(call), walk, ..options };
    filler.join(&object).unwrap().link(&universe, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Where the linked object lies.
pub fn written(linked: &Linked, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.o", std::process::id()));
    std::fs::write(&path, &linked.bytes).unwrap();
    path
}

/// With headers read where they lie, and the same with copies of them.
pub fn filled_and_run(fill: &Fill, packets: &[Vec<u8>]) -> Vec<Read> {
    let [lying, copied] = [true, false].map(|walk| {
        let linked = filled(&program().object(), &software(), fill, false, walk);
        let path = written(&linked, &format!("{walk}{:?}", std::thread::current().id()));
        let loaded = Loaded::load(&path, None).unwrap_or_else(|error| panic!("{error}"));
        packets.iter().map(|packet| run(&loaded, packet)).collect::<Vec<_>>()
    });
    assert_eq!(lying, copied);
    lying
}

pub fn run(loaded: &Loaded, packet: &[u8]) -> Read {
    let outcome = loaded.run("reads", &[], packet).unwrap();
    let words = loaded.global(".bss").chunks_exact(8).map(|w| u64::from_ne_bytes(w.try_into().unwrap())).collect();
    Read { returned: outcome.returned, data: outcome.data, words }
}
