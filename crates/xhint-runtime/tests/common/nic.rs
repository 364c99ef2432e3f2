//! The example program on a soft NIC, and what it must have read.
#![allow(dead_code)]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use libbpf_rs::{MapHandle, RingBufferBuilder};
use xhint_layout::{Hint, Plan};
use xhint_link::Dispatch;
use xhint_runtime::Job;
use xhint_runtime::status::status;
use xhint_runtime::{Device, Error, LinkedAs, Linker, Mode, Source};
use xhint_softnic::{Config, Mix, SendOptions, SoftNic, Traffic, Truth};
use xhint_testkit::fixture::{Variant, clangs};

use super::{World, example};

/// Places in the program's record, as examples/hints.bpf.c has them.
pub const RX_HASH: usize = 1;
pub const CSUM_STATE: usize = 4;
pub const FLOW_MARK: usize = 5;
pub const IFINDEX: usize = 15;

/// A soft NIC that goes when dropped.
pub struct Nic {
    pub nic: SoftNic,
    pub device: Device,
    pub plans: Vec<Plan>,
}

impl Nic {
    /// In `world`, with the layouts of these files of `examples/nics`.
    pub fn up(world: &World, name: &str, layouts: &[&str], mode: xhint_softnic::Spread) -> Nic {
        let universe = linker().universe(&sources(layouts)).unwrap();
        let plan = |l: &xhint_universe::Layout| {
            Plan::of(universe.source(l.source).unwrap().btf(), l.type_id, &l.name, l.id).unwrap()
        };
        let plans: Vec<Plan> = universe.layouts().iter().map(plan).collect();
        let config = Config { netns: Some(world.name.clone()), ..Config::default() };
        let nic = SoftNic::up(name, &config, &plans, mode).unwrap();
        let device = Device::find(name, world.netns()).unwrap();
        Nic { nic, device, plans }
    }

    /// Sends packets and returns, of each, what the NIC knew and what the program's record says.
    pub fn run(&self, world: &World, count: u64) -> Vec<(Truth, Record)> {
        let path = status(&world.home, &self.device).unwrap().maps_dir.unwrap().join("records");
        let map = MapHandle::from_pinned_path(path).unwrap();
        let read: Arc<Mutex<HashMap<u64, Record>>> = Arc::default();
        let sink = Arc::clone(&read);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&map, move |bytes| {
                let record = Record::parse(bytes);
                sink.lock().unwrap().insert(record.key, record);
                0
            })
            .unwrap();
        let ring = builder.build().unwrap();
        let log = self.nic.truth().unwrap();
        let traffic = Traffic::mixed(&Mix { to: self.nic.mac(), bad_checksums: 5, ..Mix::default() });
        let sent = self.nic.send(&traffic, &SendOptions { count: Some(count), ..SendOptions::default() }).unwrap();
        assert_eq!((sent.packets, sent.arrived), (count, count));
        ring.consume().unwrap();
        let read = read.lock().unwrap();
        let truths = log.take(Duration::from_millis(100)).unwrap();
        assert_eq!(truths.len() as u64, count);
        truths.into_iter().map(|t| (t, *read.get(&t.key).expect("every packet is seen"))).collect()
    }
}

impl Nic {
    /// The number of the device whose ring the NIC's pointer leads to.
    pub fn ring(&self) -> u64 {
        self.nic.rx_device().unwrap().into()
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        let _ = SoftNic::down_by_name(self.nic.name());
    }
}

/// A `struct record`.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub key: u64,
    pub present: u64,
    pub id: u32,
    pub outcome: u32,
    pub values: [u64; 16],
}

impl Record {
    pub fn parse(bytes: &[u8]) -> Record {
        let word = |n: usize| u64::from_ne_bytes(bytes[n * 8..n * 8 + 8].try_into().unwrap());
        let half = |n: usize| u32::from_ne_bytes(bytes[n * 4..n * 4 + 4].try_into().unwrap());
        let values = std::array::from_fn(|n| word(3 + n));
        Record { key: word(0), present: word(1), id: half(4), outcome: half(5), values }
    }

    pub fn value(&self, place: usize) -> Option<u64> {
        (self.present & (1 << place) != 0).then(|| self.values[place])
    }
}

pub fn linker() -> &'static Linker {
    static LINKER: LazyLock<Linker> = LazyLock::new(|| Linker::new().unwrap());
    &LINKER
}

pub fn sources(nics: &[&str]) -> Vec<Source> {
    nics.iter().map(|n| Source::read(example(&format!("nics/{n}.c")).object()).unwrap()).collect()
}

pub fn job(clang: &'static str, nics: &[&str], asked: &str) -> Result<Job, Error> {
    let object = Source::read(example("hints.bpf.c").variant(Variant { clang, cpu: "v3" }).object()).unwrap();
    let options = LinkedAs { asked: Dispatch::named(asked).unwrap(), ..LinkedAs::default() };
    linker().link(object, sources(nics), options, Mode::Native)
}

pub fn newest() -> &'static str {
    clangs().last().unwrap()
}

pub fn expected(nic: &Nic, truth: &Truth, hint: Hint) -> Option<u64> {
    let plan = nic.plans.iter().find(|p| p.id == truth.layout).unwrap();
    truth.expect(plan.fields.iter().find(|f| f.hint == hint)?)
}

pub fn check(nic: &Nic, pairs: &[(Truth, Record)], ring: Option<u64>) {
    for (truth, record) in pairs {
        assert_eq!((record.id, record.outcome), (truth.layout, 0), "read as the layout it carries");
        for (place, hint) in [(RX_HASH, Hint::RxHash), (CSUM_STATE, Hint::CsumState), (FLOW_MARK, Hint::FlowMark)] {
            assert_eq!(record.value(place), expected(nic, truth, hint), "{hint} of {:#x}", truth.key);
        }
        let walks = expected(nic, truth, Hint::RxDesc).and(ring);
        assert_eq!(record.value(IFINDEX), walks, "the walk of {:#x}", truth.key);
    }
}
