//! Linking the example program for ever more layouts, each in a NIC BTF of its own: time, and the most memory that a
//! process holds which does it once. `cargo bench -p xhint-bench --bench many`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xhint_bench::clock::{medians, ms};
use xhint_bench::{KERNEL_BTF, memory, read};
use xhint_btf::{Btf, Builder, ByteOrder, Def, Member};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::fixture;
use xhint_universe::Universe;

const ROUNDS: usize = 11;
const COUNTS: [usize; 4] = [1, 10, 100, 1000];

/// Fields that the example reads, with their bytes.
const FIELDS: [(&str, u32); 8] = [
    ("rx_hash", 4),
    ("flow_mark", 4),
    ("seq", 4),
    ("vlan_tci", 2),
    ("pkt_len", 2),
    ("src_port", 2),
    ("dst_port", 2),
    ("rx_queue", 2),
];
/// Words of a layout, without the id at the end.
const WORDS: u32 = 15;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => all(),
        ["--child", object, nics @ ..] => {
            let nics: Vec<_> = nics.iter().map(PathBuf::from).collect();
            let linked = link(&Universe::new(base()), Path::new(object), &nics);
            memory::report();
            drop(linked);
        }
        other => panic!("unknown arguments {other:?}"),
    }
}

fn all() {
    let nics: Vec<PathBuf> = (0..COUNTS[3]).map(|n| fixture::keep("bench-many", "btf", &nic(n))).collect();
    let object = fixture::example("hints.bpf.c").object();
    let warm = Universe::new(base());
    println!("medians of {ROUNDS}; cold: with the kernel's BTF read and checked; peak: of a process that does it once");
    println!("{:>7} {:>11} {:>11} {:>10} {:>14}", "layouts", "warm ms", "cold ms", "peak KiB", "bytes written");
    for count in COUNTS {
        let nics = &nics[..count];
        let [quick, whole] = medians(
            ROUNDS,
            [&mut || Box::new(link(&warm, &object, nics)), &mut || {
                Box::new(link(&Universe::new(base()), &object, nics))
            }],
        );
        let paths = [object.as_path()].into_iter().chain(nics.iter().map(PathBuf::as_path));
        let arguments: Vec<&str> = ["--child"].into_iter().chain(paths.map(|p| p.to_str().unwrap())).collect();
        let (peak, bytes) = (memory::of_child(&arguments), link(&warm, &object, nics).len());
        println!("{count:>7} {:>11} {:>11} {peak:>10} {bytes:>14}", ms(quick), ms(whole));
    }
}

fn base() -> Arc<Btf> {
    Arc::new(Btf::parse(read(Path::new(KERNEL_BTF))).unwrap())
}

/// Reads the NIC BTFs and the object, and links for all layouts.
fn link(base: &Universe, object: &Path, nics: &[PathBuf]) -> Vec<u8> {
    let mut universe = base.clone();
    for path in nics {
        let btf = Btf::parse(std::fs::read(path).unwrap()).unwrap();
        universe.add(path.to_str().unwrap(), Arc::new(btf)).unwrap();
    }
    let object = Object::parse(std::fs::read(object).unwrap()).unwrap();
    let options = LinkOptions { dispatch: Dispatch::Tail, ..LinkOptions::default() };
    let linked = object.link(&universe, &options).unwrap();
    assert_eq!(linked.report.layouts.len(), nics.len());
    linked.bytes
}

/// The BTF of layout `n`: no two have all fields in the same places, so each has its own id and its own copy.
fn nic(n: usize) -> Vec<u8> {
    let mut btf = Builder::new(ByteOrder::NATIVE);
    let mut int = |name, bytes| btf.add(&Def::unsigned(name, bytes)).unwrap();
    let (short, long) = (int("unsigned short", 2), int("unsigned int", 4));
    let mut free: Vec<u32> = (0..WORDS).collect();
    let mut rest = n;
    let mut members: Vec<(u32, &str, u32)> = FIELDS
        .iter()
        .map(|(name, bytes)| {
            let word = free.remove(rest % free.len());
            rest /= free.len() + 1;
            (word * 32, *name, if *bytes == 2 { short } else { long })
        })
        .collect();
    members.push((WORDS * 32, "btf_id", long));
    members.sort_unstable();
    let members: Vec<_> = members.iter().map(|(at, name, ty)| Member::new(name, *ty, *at)).collect();
    let name = format!("layout{n}");
    let id = btf.add(&Def::structure(&name, (WORDS + 1) * 4, members)).unwrap();
    for text in ["xhint:layout", "xhint:as=nic_meta"] {
        btf.add(&Def::tag(text, id)).unwrap();
    }
    btf.finish()
}
