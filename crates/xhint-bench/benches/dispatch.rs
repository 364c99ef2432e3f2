//! What dispatch costs a packet, and what one more layout costs. `cargo bench -p xhint-bench --bench dispatch`, as root.
//!
//! Every program is measured the same way: a driver puts the next id of a table into the metadata and tail-calls it,
//! under `BPF_PROG_TEST_RUN`, and times blocks of 8,192 packets. All programs take turns; of each the fastest block
//! counts. Nanoseconds are printed above those of a program that does nothing; ratios are of whole times, the driver's
//! included, to fixed offsets and to the peer: what a person would write by hand for as many layouts. Orders: *steady* is
//! each layout for 256 packets in turn, *random* is any, by a table of 65,536, too long for the processor to learn.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, ProgramInput};
use xhint_bench::{KERNEL_BTF, layouts, read};
use xhint_btf::Btf;
use xhint_link::{Dispatch, Link, LinkOptions};
use xhint_object::nic_btf;
use xhint_testkit::fixture::Compile;
use xhint_testkit::may_load;
use xhint_universe::Universe;

const ROUNDS: usize = 7;
/// Packets of one test run.
const RUNS: u32 = 500_000;
/// Packets that the driver times together.
const BLOCK: f64 = 8192.0;
const ORDER: usize = 65_536;
const SIZE: u32 = 64;
/// Names of what others are compared with.
const NOTHING: &str = "nothing";
const FIXED: &str = "fixed offsets, one layout";

fn main() {
    if !may_load() {
        return;
    }
    let base = Arc::new(Btf::parse(read(Path::new(KERNEL_BTF))).unwrap());
    costs(&base);
    links(&base);
}

fn source(name: &str) -> Compile {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    Compile::new(&top.join("bpf").join(name))
        .argument(format!("-I{}", top.join("../../include").canonicalize().unwrap().display()))
        .argument("-I/usr/include/x86_64-linux-gnu")
        .argument("-Wno-unused-variable")
}

fn load(bytes: &[u8]) -> Object {
    ObjectBuilder::default().open_memory(bytes).unwrap().load().unwrap()
}

fn plain(kind: &str, include: Option<&Path>) -> Object {
    let mut compile = source("reader.bpf.c").argument(format!("-D{kind}"));
    if let Some(dir) = include {
        compile = compile.argument(format!("-I{}", dir.display()));
    }
    load(&std::fs::read(compile.object()).unwrap())
}

fn link(base: &Arc<Btf>, count: usize, dispatch: Dispatch, counting: bool) -> Object {
    let object = xhint_link::Object::parse(std::fs::read(source("reader.bpf.c").argument("-DCORE").object()).unwrap());
    let universe = universe(base, &[layouts::nic(count)]);
    let options = LinkOptions { dispatch, count: counting, ..LinkOptions::default() };
    load(&object.unwrap().link(&universe, &options).unwrap().bytes)
}

fn universe(base: &Arc<Btf>, nics: &[Vec<u8>]) -> Universe {
    let mut universe = Universe::new(Arc::clone(base));
    for (n, nic) in nics.iter().enumerate() {
        let btf = nic_btf(nic.clone(), || Some(base)).unwrap();
        universe.add(&format!("nic{n}"), Arc::new(btf)).unwrap();
    }
    universe
}

/// A program to measure, and the ids its packets carry.
struct Way {
    name: String,
    object: Object,
    ids: Vec<u32>,
    /// What it is compared with, by its name.
    peer: String,
    /// Least nanoseconds in steady and in random order.
    best: [f64; 2],
}

impl Way {
    fn new(name: String, object: Object, count: usize, peer: &str) -> Way {
        let ids = (0..count).map(layouts::id).collect();
        Way { name, object, ids, peer: peer.to_owned(), best: [f64::INFINITY; 2] }
    }
}

fn costs(base: &Arc<Btf>) {
    let mut ways = vec![
        Way::new(NOTHING.to_owned(), plain("EMPTY", None), 1, ""),
        Way::new(FIXED.to_owned(), plain("FIXED", None), 1, ""),
        Way::new("linked for one layout".to_owned(), link(base, 1, Dispatch::None, false), 1, FIXED),
    ];
    for count in [2, 8, 64] {
        let peer = format!("switch by hand, {count}");
        ways.push(Way::new(peer.clone(), plain("SWITCH", Some(&layouts::switch(count))), count, ""));
        for (counting, name) in [(false, "static"), (true, "static counting")] {
            let object = link(base, count, Dispatch::Static, counting);
            ways.push(Way::new(format!("{name}, {count}"), object, count, &peer));
        }
    }
    for count in [2, 8, 64, 1000] {
        for (counting, name) in [(false, "table"), (true, "table counting")] {
            let object = link(base, count, Dispatch::Table, counting);
            ways.push(Way::new(format!("{name}, {count}"), object, count, FIXED));
        }
    }
    for count in [2, 8, 64, 1000] {
        let peer = format!("bare tail call, {count}");
        let tail = link(base, count, Dispatch::Tail, false);
        ways.push(bare(&tail, count, peer.clone()));
        ways.push(Way::new(format!("tail, {count}"), tail, count, &peer));
        let counting = link(base, count, Dispatch::Tail, true);
        ways.push(Way::new(format!("tail counting, {count}"), counting, count, &peer));
    }
    let driver = Driver::new();
    for _ in 0..ROUNDS {
        for way in &mut ways {
            for order in 0..2 {
                let time = driver.time(way, order == 1);
                way.best[order] = way.best[order].min(time);
            }
        }
    }
    print(&ways);
}

fn print(ways: &[Way]) {
    let best = |name: &str| ways.iter().find(|w| w.name == name).map(|w| w.best);
    let (nothing, fixed) = (best(NOTHING).unwrap(), best(FIXED).unwrap());
    println!("the driver and a program that does nothing: {:.1} ns steady, {:.1} ns random", nothing[0], nothing[1]);
    println!("{:<26} {:>26} {:>26}", "", "steady", "random");
    println!("{:<26} {:>10}{:>8}{:>8} {:>10}{:>8}{:>8}", "", "ns above", "fixed", "peer", "ns above", "fixed", "peer");
    for way in ways {
        let peer = best(&way.peer);
        let columns = [0, 1].map(|n| {
            let ratio = |to: [f64; 2]| format!("{:.2}x", way.best[n] / to[n]);
            let peer = peer.map_or(String::new(), ratio);
            format!("{:>10.1}{:>8}{peer:>8}", way.best[n] - nothing[n], ratio(fixed))
        });
        println!("{:<26} {} {}", way.name, columns[0], columns[1]);
    }
}

/// A program that tail-calls the slot that the packet names, with the same programs behind it.
fn bare(tail: &Object, count: usize, name: String) -> Way {
    let object = plain("BARE", None);
    let slots = object.maps().find(|m| m.name() == "bare_slots").unwrap();
    let programs: Vec<_> = tail.progs().filter(|p| p.name() != "reader").collect();
    assert!(programs.len() >= count);
    for (slot, program) in (0u32..).zip(programs) {
        let fd = program.as_fd().as_raw_fd();
        slots.update(&slot.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY).unwrap();
    }
    let ids = (0..count as u32).collect();
    Way { name, object, ids, peer: String::new(), best: [f64::INFINITY; 2] }
}

/// The driver, loaded.
struct Driver {
    object: Object,
}

impl Driver {
    fn new() -> Driver {
        Driver { object: load(&std::fs::read(source("driver.bpf.c").object()).unwrap()) }
    }

    /// Nanoseconds of a packet.
    fn time(&self, way: &Way, random: bool) -> f64 {
        let measured = way.object.progs().find(|p| p.name() == "reader").unwrap();
        let slot = self.object.maps().find(|m| m.name() == "measured").unwrap();
        let fd = measured.as_fd().as_raw_fd().to_ne_bytes();
        slot.update(&0u32.to_ne_bytes(), &fd, MapFlags::ANY).unwrap();
        self.fill(&way.ids, random);
        self.run(&way.name)
    }

    fn run(&self, what: &str) -> f64 {
        let program = self.object.progs_mut().find(|p| p.name() == "driver").unwrap();
        let packet = [0u8; SIZE as usize + 64];
        let words = [SIZE, packet.len() as u32, 0, 0, 0, 0];
        let mut context: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let input =
            ProgramInput { context_in: Some(&mut context), data_in: Some(&packet), repeat: RUNS, ..Default::default() };
        let map = self.object.maps().find(|m| m.name().to_string_lossy().ends_with(".data.timer")).unwrap();
        let start: Vec<u8> = [0u64, 0, u64::MAX].iter().flat_map(|w| w.to_ne_bytes()).collect();
        map.update(&0u32.to_ne_bytes(), &start, MapFlags::ANY).unwrap();
        let output = program.test_run(input).unwrap();
        assert_eq!(output.return_value, 2, "{what}: every packet is read");
        let end = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
        u64::from_ne_bytes(end[16..24].try_into().unwrap()) as f64 / BLOCK
    }

    fn fill(&self, ids: &[u32], random: bool) {
        let map = self.object.maps().find(|m| m.name().to_string_lossy().ends_with(".data.order")).unwrap();
        let map = MapHandle::try_from(&map).unwrap();
        let mut dice = 0x1234_5678_9abc_def1u64;
        let mut value = vec![0; ORDER * 4];
        for (n, place) in value.chunks_exact_mut(4).enumerate() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let which = if random { (dice >> 33) as usize } else { n / 256 };
            place.copy_from_slice(&ids[which % ids.len()].to_ne_bytes());
        }
        map.update(&0u32.to_ne_bytes(), &value, MapFlags::ANY).unwrap();
    }
}

/// Linking with a warm base.
fn links(base: &Arc<Btf>) {
    let object: PathBuf = source("reader.bpf.c").argument("-DCORE").object();
    let object = xhint_link::Object::parse(std::fs::read(object).unwrap()).unwrap();
    println!("\n{:<48} {:>12}", "linking with a warm base", "milliseconds");
    let one = layouts::nic_of(1000..1001);
    let warm = Universe::new(Arc::clone(base));
    let options = |dispatch| LinkOptions { dispatch, ..LinkOptions::default() };
    let add = |warm: &Universe, nic: &[u8]| {
        let mut universe = warm.clone();
        let btf = nic_btf(nic.to_vec(), || Some(base)).unwrap();
        universe.add("new", Arc::new(btf)).unwrap();
        universe
    };
    row("one layout more, tail", || object.link(&add(&warm, &one), &options(Dispatch::None)).unwrap().bytes.len());
    for count in [8, 63] {
        let there = universe(base, &[layouts::nic(count)]);
        row(&format!("one layout more beside {count}, static"), || {
            object.link(&add(&there, &one), &options(Dispatch::Static)).unwrap().bytes.len()
        });
    }
    let thousand = layouts::nic(1000);
    for (name, way) in [("tail", Dispatch::Tail), ("table", Dispatch::Table)] {
        let linked = || object.link(&add(&warm, &thousand), &options(way)).unwrap().bytes.len();
        row(&format!("1,000 layouts, {name}"), linked);
    }
}

fn row(what: &str, mut work: impl FnMut() -> usize) {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..=2 * ROUNDS {
        let begin = Instant::now();
        assert!(work() > 0);
        times.push(begin.elapsed());
    }
    times.sort();
    println!("{what:<48} {:>12.3}", times[ROUNDS].as_secs_f64() * 1e3);
}
