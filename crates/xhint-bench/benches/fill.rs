//! What a filler costs a packet, beside the same written by hand. `cargo bench -p xhint-bench --bench fill`, as root.
//!
//! Programs run under `BPF_PROG_TEST_RUN`, which tells nanoseconds a run; all take turns, and of each the fastest turn counts.
//! Nothing here asks a driver: that needs a device.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use libbpf_rs::{Object, ObjectBuilder, ProgramInput};
use xhint_bench::{KERNEL_BTF, read};
use xhint_btf::Btf;
use xhint_fill::{Asked, Fill, Filler, Offer, Offers, Origin, Standing};
use xhint_layout::vocabulary::WORDS;
use xhint_link::{FillerCall, Link, LinkOptions};
use xhint_testkit::fixture::Compile;
use xhint_testkit::may_load;
use xhint_universe::Universe;

const ROUNDS: usize = 15;
/// Packets of one turn.
const RUNS: u32 = 400_000;
/// The fields that are also fetched by hand.
const FIVE: [&str; 5] = ["src_port", "dst_port", "vlan_tci", "l4_offset", "ip_proto"];
/// Fields that are measured alone.
const ALONE: [&str; 9] =
    ["rx_queue", "pkt_len", "pkt_type", "vlan_tci", "ip_proto", "src_port", "tcp_flags", "ipv4_src", "rx_hash"];

fn main() {
    if !may_load() {
        return;
    }
    let base = Arc::new(Btf::parse(read(Path::new(KERNEL_BTF))).unwrap());
    let mut ways =
        ["EMPTY", "PARSES", "WRITES"].map(|kind| Way::new(kind, &by_hand(kind))).into_iter().collect::<Vec<_>>();
    ways.push(Way::new("filled", &filled(&base, &FIVE)));
    ways.extend(ALONE.iter().map(|field| Way::new(field, &filled(&base, &[field]))));
    let all: Vec<&str> = ALONE.iter().chain(&["dst_port", "l4_offset"]).copied().collect();
    ways.push(Way::new("all of these", &filled(&base, &all)));
    let packets = [tcp_over_ipv4(), udp_over_ipv6()];
    for _ in 0..ROUNDS {
        for way in &mut ways {
            for (best, packet) in way.best.iter_mut().zip(&packets) {
                *best = best.min(time(&way.object, packet));
            }
        }
    }
    print(&ways);
}

/// A program to measure, and its least nanoseconds with each packet.
struct Way {
    name: String,
    object: Object,
    best: [f64; 2],
}

impl Way {
    fn new(name: &str, bytes: &[u8]) -> Way {
        let object = ObjectBuilder::default().open_memory(bytes).unwrap().load().unwrap();
        Way { name: name.to_owned(), object, best: [f64::INFINITY; 2] }
    }
}

fn source() -> Compile {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    Compile::new(&top.join("bpf/fill.bpf.c"))
        .argument(format!("-I{}", top.join("../../include").canonicalize().unwrap().display()))
}

fn by_hand(kind: &str) -> Vec<u8> {
    std::fs::read(source().argument(format!("-D{kind}")).object()).unwrap()
}

/// The program that asks for these fields, with a filler in front of it.
fn filled(base: &Arc<Btf>, fields: &[&str]) -> Vec<u8> {
    let asked: Vec<_> = fields.iter().map(|field| format!("FIELD({field})")).collect();
    let compile = source().argument("-DCORE").argument(format!("-DASKED={}", asked.join("+")));
    let object = xhint_link::Object::parse(std::fs::read(compile.object()).unwrap()).unwrap();
    let mut universe = Universe::new(Arc::clone(base));
    let options = LinkOptions::default();
    let asked = Asked::of(&object, &universe, &options).unwrap();
    let filler = Filler::of(&object, &asked, &software(), &Fill::default(), true).unwrap().1.unwrap();
    universe.add("filler", Arc::clone(&filler.btf)).unwrap();
    let layout = universe.layouts()[0].id;
    let call = FillerCall { function: Filler::FUNCTION.to_owned(), layout, keep: false };
    let options = LinkOptions { filler: Some(call), ..options };
    filler.join(&object).unwrap().link(&universe, &options).unwrap().bytes
}

/// What comes from the packet and the context.
fn software() -> Vec<Offers> {
    let all = WORDS.iter().filter_map(|word| {
        let origin = match word.name {
            "csum" | "csum_state" => return None,
            "rx_hash" | "rx_hash_type" => Origin::Toeplitz,
            "rx_queue" | "ifindex" => Origin::Context("a member"),
            _ if word.in_packet => Origin::Packet,
            _ => return None,
        };
        let offer = Offer { origin, standing: Standing::Usable, why: None, nanoseconds: None };
        Some(Offers { hint: word.hint, name: word.name, all: vec![offer] })
    });
    all.collect()
}

/// With one VLAN tag.
fn tcp_over_ipv4() -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 5, 8, 0];
    out.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    out.extend([0x10, 0x92, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 0, 100, 0, 0, 0, 0]);
    out.resize(64, 0);
    out
}

fn udp_over_ipv6() -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64];
    out.extend([[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat());
    out.extend([0x10, 0x92, 0, 53, 0, 8, 0, 0]);
    out.resize(80, 0);
    out
}

/// Nanoseconds of a packet.
fn time(object: &Object, packet: &[u8]) -> f64 {
    let program = object.progs_mut().find(|p| p.name() == "reader").unwrap();
    let input = ProgramInput { data_in: Some(packet), repeat: RUNS, ..Default::default() };
    let output = program.test_run(input).unwrap();
    assert_eq!(output.return_value, 2, "every packet is read");
    output.duration.as_nanos() as f64
}

fn print(ways: &[Way]) {
    let best = |name: &str| ways.iter().find(|way| way.name == name).unwrap().best;
    let (nothing, parses, writes) = (best("EMPTY"), best("PARSES"), best("WRITES"));
    println!(
        "a program that does nothing: {:.0} ns with TCP over IPv4, {:.0} ns with UDP over IPv6",
        nothing[0], nothing[1]
    );
    println!("{:<40} {:>34} {:>34}", "", "TCP over IPv4, one tag", "UDP over IPv6");
    println!(
        "{:<40} {:>10}{:>12}{:>12} {:>10}{:>12}{:>12}",
        "", "ns above", "parses", "writes", "ns above", "parses", "writes"
    );
    for way in ways {
        let columns = [0, 1].map(|n| {
            let five = ["PARSES", "WRITES", "filled"].contains(&way.name.as_str());
            let ratio = |to: f64| if five { format!("{:.2}x", way.best[n] / to) } else { String::new() };
            format!("{:>10.1}{:>12}{:>12}", way.best[n] - nothing[n], ratio(parses[n]), ratio(writes[n]))
        });
        println!("{:<40} {} {}", label(&way.name), columns[0], columns[1]);
    }
}

fn label(name: &str) -> String {
    match name {
        "EMPTY" => "nothing".to_owned(),
        "PARSES" => "five fields by hand, no metadata".to_owned(),
        "WRITES" => "five fields by hand, as metadata".to_owned(),
        "filled" => "five fields, filled".to_owned(),
        field => format!("{field}, filled"),
    }
}
