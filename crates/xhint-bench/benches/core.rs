//! Parsing a kernel's BTF, and linking objects, beside libbpf. `cargo bench -p xhint-bench --bench core [-- BTF]`, as root;
//! without BTF, that of the running kernel.
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
use xhint_testkit::{fixture, may_load};
use xhint_universe::Universe;

const ROUNDS: usize = 31;
/// How many split BTFs lie over the kernel's.
const SPLITS: [usize; 3] = [0, 1, 20];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => all(Path::new(KERNEL_BTF)),
        ["--child", who, what @ ..] => child(who, what),
        [kernel] => all(Path::new(kernel)),
        other => panic!("unknown arguments {other:?}"),
    }
}

fn all(kernel: &Path) {
    if !may_load() {
        return;
    }
    let btf = Btf::parse(read(kernel)).expect("the kernel's BTF");
    println!("libbpf {}; {} types in {}; medians of {ROUNDS}", oracle::version(), btf.end_id(), kernel.display());
    println!("{:<42} {:>9} {:>9} {:>8}", "milliseconds", "xhint", "libbpf", "ratio");
    let times = medians(ROUNDS, [&mut || Box::new(Btf::parse(read(kernel)).unwrap()), &mut || quiet::parse(kernel)]);
    row("parse the kernel's BTF", times);
    let made = splits::make(&btf, SPLITS[2]);
    for count in SPLITS {
        let world = World::new(kernel, &btf, &made[..count]);
        for size in SIZES {
            let object = workload::object(&btf, size);
            row(&format!("link {}", words(size, count)), link_times(&world, &object));
        }
    }
    let nothing = memory::of_child(&["--child", "nobody"]);
    println!("\nA process that does nothing has a peak of {nothing} KiB; the second ratio is of what is above.");
    println!("{:<42} {:>9} {:>9} {:>8} {:>8}", "peak KiB, a process each", "xhint", "libbpf", "ratio", "above");
    let text = text(kernel);
    peak("parse the kernel's BTF", nothing, [[text.clone()], [text]]);
    for count in [0, SPLITS[2]] {
        let world = World::new(kernel, &btf, &made[..count]);
        for size in [SIZES[0], SIZES[3]] {
            let object = workload::object(&btf, size);
            peak(&format!("link {}", words(size, count)), nothing, world.arguments(&object));
        }
    }
}

fn words(size: Size, splits: usize) -> String {
    format!("{} relocations, {} types, {splits} splits", size.relocations, size.types)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The kernel's BTF with split ones, as files for us and as one flat file for libbpf.
struct World {
    kernel: PathBuf,
    splits: Vec<PathBuf>,
    flat: PathBuf,
}

impl World {
    fn new(kernel: &Path, base: &Btf, splits: &[Vec<u8>]) -> World {
        let parts: Vec<_> = splits.iter().map(|bytes| Nic::Split(bytes)).collect();
        let flat = match splits {
            [] => kernel.to_owned(),
            _ => fixture::keep("bench-flat", "btf", &merge(base.raw(), &parts)),
        };
        let splits = splits.iter().map(|bytes| fixture::keep("bench-split", "btf", bytes)).collect();
        World { kernel: kernel.to_owned(), splits, flat }
    }

    /// What a child needs to link `object`, for us and for libbpf.
    fn arguments(&self, object: &Path) -> [Vec<String>; 2] {
        let splits = self.splits.iter().map(|split| text(split));
        let ours = [text(&self.kernel), text(object)].into_iter().chain(splits).collect();
        [ours, vec![text(&self.flat), text(object)]]
    }
}

/// Ours: read and check all BTFs, read the object, relocate, write. libbpf's: parse the BTF and relocate, which is what
/// it takes to prepare the object less what it takes to prepare the linked one (reading ELF, creating maps).
fn link_times(world: &World, object: &Path) -> [Duration; 2] {
    let linked = fixture::keep("bench-linked", "o", &link(&world.kernel, object, &world.splits));
    let [ours, theirs, rest] = medians(
        ROUNDS,
        [
            &mut || Box::new(link(&world.kernel, object, &world.splits)) as Box<dyn Any>,
            &mut || quiet::prepare(object, Some(&world.flat)),
            &mut || quiet::prepare(&linked, None),
        ],
    );
    [ours, theirs.saturating_sub(rest)]
}

fn link(kernel: &Path, object: &Path, splits: &[PathBuf]) -> Vec<u8> {
    let base = Arc::new(Btf::parse(read(kernel)).unwrap());
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

fn peak(what: &str, nothing: u64, arguments: [impl AsRef<[String]>; 2]) {
    let [ours, theirs] = [("ours", &arguments[0]), ("libbpf", &arguments[1])].map(|(who, arguments)| {
        let arguments = arguments.as_ref().iter().map(String::as_str);
        memory::of_child(&["--child", who].into_iter().chain(arguments).collect::<Vec<_>>())
    });
    let ratio = |less: u64| (theirs - less) as f64 / (ours - less) as f64;
    println!("{what:<42} {ours:>9} {theirs:>9} {:>7.2}x {:>7.2}x", ratio(0), ratio(nothing));
}

/// Does one thing once and prints the memory it took. Nothing is freed before.
fn child(who: &str, what: &[&str]) {
    let done: Box<dyn Any> = match (who, what) {
        ("nobody", []) => Box::new(()),
        ("ours", [kernel]) => Box::new(Btf::parse(read(Path::new(kernel))).unwrap()),
        ("libbpf", [kernel]) => quiet::parse(Path::new(kernel)),
        ("ours", [kernel, object, splits @ ..]) => {
            let splits = splits.iter().map(PathBuf::from).collect::<Vec<_>>();
            Box::new(link(Path::new(kernel), Path::new(object), &splits))
        }
        ("libbpf", [flat, object]) => quiet::prepare(Path::new(object), Some(Path::new(flat))),
        _ => panic!("unknown child {who} {what:?}"),
    };
    memory::report();
    drop(done);
}
