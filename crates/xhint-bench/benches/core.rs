//! Parsing the kernel's BTF, and linking objects, beside libbpf. `cargo bench -p xhint-bench --bench core`, as root.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use xhint_bench::clock::{medians, ms};
use xhint_bench::workload::{self, SIZES, Size};
use xhint_bench::{KERNEL_BTF, memory, read, splits};
use xhint_btf::Btf;
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::flat::{Nic, merge};
use xhint_testkit::oracle::{self, quiet};
use xhint_testkit::{fixture, privileged};
use xhint_universe::Universe;

const ROUNDS: usize = 31;
/// How many split BTFs lie over the kernel's.
const SPLITS: [usize; 3] = [0, 1, 20];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => all(),
        ["--child", who, what @ ..] => child(who, what),
        other => panic!("unknown arguments {other:?}"),
    }
}

fn all() {
    if !privileged() {
        return;
    }
    let kernel = Path::new(KERNEL_BTF);
    let btf = Btf::parse(read(kernel)).expect("the kernel's BTF");
    println!("libbpf {}; {} types in {KERNEL_BTF}; medians of {ROUNDS}", oracle::version(), btf.end_id());
    println!("{:<42} {:>9} {:>9} {:>8}", "milliseconds", "xhint", "libbpf", "ratio");
    let times = medians(ROUNDS, [&mut || Box::new(Btf::parse(read(kernel)).unwrap()), &mut || quiet::parse(kernel)]);
    row("parse the kernel's BTF", times);
    let made = splits::make(&btf, SPLITS[2]);
    for count in SPLITS {
        let world = World::new(&btf, &made[..count]);
        for size in SIZES {
            let object = workload::object(&btf, size);
            row(&format!("link {}", words(size, count)), link_times(&world, &object));
        }
    }
    println!("\n{:<42} {:>9} {:>9} {:>8}", "peak KiB, a process each", "xhint", "libbpf", "ratio");
    peak("parse the kernel's BTF", [Vec::new(), Vec::new()]);
    for count in [0, SPLITS[2]] {
        let world = World::new(&btf, &made[..count]);
        for size in [SIZES[0], SIZES[3]] {
            let object = workload::object(&btf, size);
            peak(&format!("link {}", words(size, count)), world.arguments(&object));
        }
    }
}

fn words(size: Size, splits: usize) -> String {
    format!("{} relocations, {} types, {splits} splits", size.relocations, size.types)
}

/// The kernel's BTF with split ones, as files for us and as one flat file for libbpf.
struct World {
    splits: Vec<PathBuf>,
    flat: PathBuf,
}

impl World {
    fn new(base: &Btf, splits: &[Vec<u8>]) -> World {
        let parts: Vec<_> = splits.iter().map(|bytes| Nic::Split(bytes)).collect();
        let flat = match splits {
            [] => PathBuf::from(KERNEL_BTF),
            _ => fixture::keep("bench-flat", "btf", &merge(base.raw(), &parts)),
        };
        World { splits: splits.iter().map(|bytes| fixture::keep("bench-split", "btf", bytes)).collect(), flat }
    }

    /// What a child needs to link `object`, for us and for libbpf.
    fn arguments(&self, object: &Path) -> [Vec<String>; 2] {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let ours = [text(object)].into_iter().chain(self.splits.iter().map(|split| text(split))).collect();
        [ours, vec![text(object), text(&self.flat)]]
    }
}

/// Ours: read and check all BTFs, read the object, relocate, write. libbpf's: parse the BTF and relocate, which is what
/// it takes to prepare the object less what it takes to prepare the linked one (reading ELF, creating maps).
fn link_times(world: &World, object: &Path) -> [Duration; 2] {
    let linked = fixture::keep("bench-linked", "o", &link(object, &world.splits));
    let [ours, theirs, rest] = medians(
        ROUNDS,
        [
            &mut || Box::new(link(object, &world.splits)) as Box<dyn Any>,
            &mut || quiet::prepare(object, Some(&world.flat)),
            &mut || quiet::prepare(&linked, None),
        ],
    );
    [ours, theirs.saturating_sub(rest)]
}

fn link(object: &Path, splits: &[PathBuf]) -> Vec<u8> {
    let base = Arc::new(Btf::parse(read(Path::new(KERNEL_BTF))).unwrap());
    let mut universe = Universe::new(Arc::clone(&base));
    for path in splits {
        let split = Btf::parse_split(std::fs::read(path).unwrap(), Arc::clone(&base)).unwrap();
        universe.add(path.to_str().unwrap(), Arc::new(split)).unwrap();
    }
    let object = Object::parse(std::fs::read(object).unwrap()).unwrap();
    let options = LinkOptions { dispatch: Dispatch::None, ..LinkOptions::default() };
    object.link(&universe, &options).unwrap().bytes
}

fn row(what: &str, [ours, theirs]: [Duration; 2]) {
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("{what:<42} {:>9} {:>9} {ratio:>7.2}x", ms(ours), ms(theirs));
}

fn peak(what: &str, arguments: [impl AsRef<[String]>; 2]) {
    let [ours, theirs] = [("ours", &arguments[0]), ("libbpf", &arguments[1])].map(|(who, arguments)| {
        let arguments = arguments.as_ref().iter().map(String::as_str);
        memory::of_child(&["--child", who].into_iter().chain(arguments).collect::<Vec<_>>())
    });
    println!("{what:<42} {ours:>9} {theirs:>9} {:>7.2}x", theirs as f64 / ours as f64);
}

/// Does one thing once and prints the memory it took. Nothing is freed before.
fn child(who: &str, what: &[&str]) {
    let kernel = Path::new(KERNEL_BTF);
    let done: Box<dyn Any> = match (who, what) {
        ("ours", []) => Box::new(Btf::parse(read(kernel)).unwrap()),
        ("libbpf", []) => quiet::parse(kernel),
        ("ours", [object, splits @ ..]) => {
            Box::new(link(Path::new(object), &splits.iter().map(PathBuf::from).collect::<Vec<_>>()))
        }
        ("libbpf", [object, flat]) => quiet::prepare(Path::new(object), Some(Path::new(flat))),
        _ => panic!("unknown child {who} {what:?}"),
    };
    memory::report();
    drop(done);
}
