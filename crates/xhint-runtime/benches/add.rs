//! What it takes to add one more layout beside ever more of them, to a program that runs: as a library does it whose
//! linker is there, and with a new one, as each call of the command line does. As root:
//! `cargo bench -p xhint-runtime --bench add`. With `-- --child COUNT`, one more beside so many, for valgrind, which counts
//! from the adding on (`--toggle-collect='*Layouts*add_some*'`).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::World;
use common::nic::linker;
use xhint_btf::{Builder, ByteOrder, Def, Member};
use xhint_link::Dispatch;
use xhint_runtime::attach::attach;
use xhint_runtime::layouts::Layouts;
use xhint_runtime::{Device, LinkedAs, Linker, Mode, Source};
use xhint_testkit::fixture::example;
use xhint_testkit::privileged;

const ROUNDS: u32 = 15;
const COUNTS: [u32; 4] = [1, 10, 100, 1000];

fn main() {
    if !privileged() {
        return;
    }
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(child) = arguments.iter().position(|a| a == "--child") {
        let (world, count) = (World::new(), arguments[child + 1].parse().unwrap());
        let device = attached(&world, count);
        let changed = Layouts::of(&world.home, &device).add(&Linker::new().unwrap(), nic(count)).unwrap();
        assert!(changed.swap.is_none());
        return;
    }
    println!(
        "medians of {ROUNDS}; as attached: the others were there when the program came; one by one: they came later"
    );
    println!("{:>7} {:>14} {:>14} {:>14}", "layouts", "as attached ms", "one by one ms", "cold ms");
    for count in COUNTS {
        let [attached, added] = [count, 1].map(|first| {
            let world = World::new();
            let device = attached(&world, first);
            let layouts = Layouts::of(&world.home, &device);
            for n in first..count {
                layouts.add(linker(), nic(n)).unwrap();
            }
            let add = |cold: bool, n: u32| {
                let nic = nic(count + n);
                let start = Instant::now();
                let fresh = cold.then(|| Linker::new().unwrap());
                let changed = layouts.add(fresh.as_ref().unwrap_or(linker()), nic).unwrap();
                let time = start.elapsed();
                assert!(changed.swap.is_none() && changed.layouts.len() == 1);
                layouts.remove(linker(), &format!("nic{:04}.btf", count + n)).unwrap();
                time
            };
            [false, true].map(|cold| median((0..ROUNDS).map(|n| add(cold, n)).collect()))
        });
        println!("{count:>7} {:>14} {:>14} {:>14}", ms(attached[0]), ms(added[0]), ms(attached[1]));
    }
}

/// A device with the example on it, linked for so many layouts.
fn attached(world: &World, count: u32) -> Device {
    let device = Device::find("near", world.netns()).unwrap();
    let object = Source::read(example("hints.bpf.c").object()).unwrap();
    let options = LinkedAs { asked: Dispatch::Tail, ..LinkedAs::default() };
    let job = linker().link(object, (0..count).map(nic).collect(), options, Mode::Native).unwrap();
    attach(&world.home, &device, &job).unwrap();
    device
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

/// A layout that the example reads, with another content and another id for each `n`.
fn nic(n: u32) -> Source {
    let mut w = Builder::new(ByteOrder::NATIVE);
    let u32 = w.add(&Def::unsigned("unsigned int", 4)).unwrap();
    let own = format!("own{n:04}");
    let names = ["rx_hash", own.as_str(), "flow_mark", "seq", "btf_id"];
    let members: Vec<_> = (0u32..).zip(names).map(|(at, name)| Member::new(name, u32, at * 32)).collect();
    let ty = w.add(&Def::structure(&format!("layout{n:04}"), 20, members)).unwrap();
    for text in ["xhint:layout", "xhint:as=nic_meta"] {
        w.add(&Def::tag(text, ty)).unwrap();
    }
    Source::new(format!("nic{n:04}.btf"), w.finish())
}
