//! Swaps and layouts that come and go, while packets of eight layouts arrive interleaved.
//!
//! `XHINT_STRESS=1000 cargo test --release -p xhint-runtime --test stress -- --nocapture` makes so many of each, under
//! at least two million packets; without it there are a few of each.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::expect_used
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use common::nic::linker;
use common::{World, own};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use xhint_layout::Plan;
use xhint_link::Dispatch;
use xhint_runtime::Job;
use xhint_runtime::attach::{attach, running};
use xhint_runtime::counters::Counters;
use xhint_runtime::detach::detach;
use xhint_runtime::layouts::Layouts;
use xhint_runtime::status::status;
use xhint_runtime::{Device, LinkedAs, Mode, Source, State};
use xhint_softnic::{Config, Mix, SendOptions, SoftNic, Traffic};
use xhint_testkit::privileged;

const LAYOUTS: usize = 8;

fn nic(n: usize) -> Source {
    Source::read(own("stress.c").argument(format!("-DN={n}")).object()).unwrap()
}

fn job(before: Option<&State>, nics: Vec<Source>, asked: &str) -> Job {
    let object = Source::read(own("stress.bpf.c").object()).unwrap();
    let options = LinkedAs { asked: Dispatch::named(asked).unwrap(), count: true, ..LinkedAs::default() };
    linker().link_after(before, object, nics, options, Mode::Native).unwrap()
}

/// How many of each to make, and under how many packets at least.
fn amount() -> (usize, u64) {
    let wanted = std::env::var("XHINT_STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    (wanted, if wanted >= 1000 { 2_000_000 } else { 20_000 })
}

/// A soft NIC whose packets carry all layouts in turn; gone when dropped.
struct Stage {
    world: World,
    nic: SoftNic,
    device: Device,
    plans: Vec<Plan>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _gone = SoftNic::down_by_name(self.nic.name());
    }
}

impl Stage {
    fn new(name: &str) -> Stage {
        let world = World::new();
        let universe = linker().universe(&(0..LAYOUTS).map(nic).collect::<Vec<_>>()).unwrap();
        let plan = |l: &xhint_universe::Layout| {
            Plan::of(universe.source(l.source).unwrap().btf(), l.type_id, &l.name, l.id).unwrap()
        };
        let plans: Vec<Plan> = universe.layouts().iter().map(plan).collect();
        let config = Config { netns: Some(world.name.clone()), ..Config::default() };
        let nic = SoftNic::up(name, &config, &plans, xhint_softnic::Spread::Random).unwrap();
        let device = Device::find(name, world.netns()).unwrap();
        Stage { world, nic, device, plans }
    }

    /// Does `step` over and over while packets flow: so often, and until so many packets have come. How many packets.
    fn under_load(&self, mut step: impl FnMut(usize)) -> u64 {
        let (times, packets) = amount();
        let stop = Arc::new(AtomicBool::new(false));
        thread::scope(|s| {
            let options = SendOptions { stop: Some(Arc::clone(&stop)), ..SendOptions::default() };
            let traffic = Traffic::mixed(&Mix { to: self.nic.mac(), ..Mix::default() });
            let sender = s.spawn(move || self.nic.send(&traffic, &options).unwrap());
            let begin = Instant::now();
            let mut done = 0;
            let seen = || self.counters().total();
            let before = seen();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                while done < times || seen() - before < packets {
                    for _ in 0..16 {
                        step(done);
                        done += 1;
                    }
                }
            }));
            stop.store(true, Ordering::Relaxed);
            let sent = sender.join().unwrap();
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
            println!("{done} steps under {} packets in {:.1} s", sent.packets, begin.elapsed().as_secs_f64());
            assert_eq!((sent.arrived, sent.dropped), (sent.packets, 0), "none lost");
            sent.packets
        })
    }

    fn counters(&self) -> Counters {
        status(&self.world.home, &self.device).unwrap().counters.expect("it counts")
    }

    /// What the program itself counted: read rightly, not read, read as another layout, read wrongly.
    fn seen(&self) -> [u64; 4] {
        let path = status(&self.world.home, &self.device).unwrap().maps_dir.unwrap().join("seen");
        let map = MapHandle::from_pinned_path(path).unwrap();
        std::array::from_fn(|n| {
            let all = map.lookup_percpu(&(n as u32).to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
            all.iter().map(|v| u64::from_ne_bytes(v[..8].try_into().unwrap())).sum()
        })
    }

    /// Packets the NIC wrote, by layout.
    fn written(&self) -> BTreeMap<u32, u64> {
        let status = self.nic.status().unwrap();
        status.layouts.iter().map(|l| (l.id, l.packets)).collect()
    }
}

/// Packets of each layout, read or not.
fn by_layout(counters: &Counters) -> BTreeMap<u32, u64> {
    let mut all = BTreeMap::new();
    for (id, packets) in counters
        .layouts
        .iter()
        .map(|l| (l.id, l.count.packets))
        .chain(counters.ids.iter().map(|i| (i.id, i.count.packets)))
    {
        *all.entry(id).or_insert(0) += packets;
    }
    all
}

#[test]
fn swaps_lose_and_misread_nothing() {
    if !privileged() {
        return;
    }
    let stage = Stage::new(&format!("xls{}", std::process::id()));
    let nics: Vec<Source> = (0..LAYOUTS).map(nic).collect();
    let first = job(None, nics.clone(), "static");
    let jobs = ["tail", "table", "static"].map(|asked| job(Some(&first.state), nics.clone(), asked));
    attach(&stage.world.home, &stage.device, &first).unwrap();
    let packets = stage.under_load(|n| {
        let done = attach(&stage.world.home, &stage.device, &jobs[n % 3]).unwrap();
        assert!(done.before.is_some());
    });
    assert_eq!(stage.seen(), [packets, 0, 0, 0]);
    let counters = stage.counters();
    assert_eq!((counters.total(), counters.unknown.packets, counters.no_metadata.packets), (packets, 0, 0));
    assert_eq!(by_layout(&counters), stage.written());
    assert_eq!(stage.plans.len(), LAYOUTS);
    detach(&stage.world.home, &stage.device).unwrap();
    assert!(stage.world.left().is_empty(), "{:?}", stage.world.left());
}

#[test]
fn layouts_come_and_go_in_place() {
    come_and_go("tail", LAYOUTS - 1, &format!("xlt{}", std::process::id()));
}

#[test]
fn layouts_that_the_entry_knows_go_and_come_in_place() {
    come_and_go("tail", LAYOUTS, &format!("xlk{}", std::process::id()));
}

#[test]
fn layouts_come_and_go_by_swap_of_a_table() {
    come_and_go("table", LAYOUTS - 1, &format!("xlv{}", std::process::id()));
}

#[test]
fn layouts_come_and_go_by_swap() {
    come_and_go("static", LAYOUTS - 1, &format!("xlu{}", std::process::id()));
}

/// With so many layouts from the start, the last of all comes and goes.
fn come_and_go(asked: &str, linked: usize, name: &str) {
    if !privileged() {
        return;
    }
    let stage = Stage::new(name);
    let (home, device) = (&stage.world.home, &stage.device);
    attach(home, device, &job(None, (0..linked).map(nic).collect(), asked)).unwrap();
    let last = nic(LAYOUTS - 1);
    let id = stage.plans[LAYOUTS - 1].id;
    let layouts = Layouts::of(home, device);
    let packets = stage.under_load(|n| {
        let changed = if (n + LAYOUTS - linked) % 2 == 1 {
            layouts.add(linker(), last.clone()).unwrap()
        } else {
            layouts.remove(linker(), &format!("{id:#x}")).unwrap()
        };
        assert_eq!(changed.swap.is_none(), asked == "tail");
    });
    let [read, not_read, wrong_id, wrong] = stage.seen();
    assert_eq!((wrong_id, wrong), (0, 0), "none is read by another layout's program");
    assert_eq!(read + not_read, packets);
    let counters = stage.counters();
    assert_eq!((counters.total(), counters.unknown.packets, counters.no_metadata.packets), (packets, not_read, 0));
    assert!(counters.ids.iter().all(|i| i.id == id), "{:?}", counters.ids);
    assert_eq!(by_layout(&counters), stage.written());
    // What was counted under the layout's slot is still there, and goes on.
    if !running(home, device).unwrap().unwrap().layouts.iter().any(|l| l.id == id) {
        layouts.add(linker(), last.clone()).unwrap();
    }
    assert_eq!(stage.counters().total(), packets);
    assert!(running(home, device).unwrap().unwrap().layouts.iter().any(|l| l.id == id));
    detach(home, device).unwrap();
    assert!(stage.world.left().is_empty(), "{:?}", stage.world.left());
}
