//! Holds what the program read of each packet against what the NIC wrote.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};
use xhint::layout::{LayoutId, Plan};
use xhint_softnic::{SoftNic, Truth, TruthLog};

use super::fields::{RECORD, Record, expected};

/// How long to wait for what has not come yet, once all is sent: only what is lost makes anybody wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of the packets of one layout.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Packets that the program read.
    pub packets: u64,
    /// Of these, packets with a field that is not what the NIC wrote, or packets not read at all.
    pub misread: u64,
    /// By place: in how many packets the field was read and right.
    pub right: [u64; RECORD.len()],
    /// In how many it was not.
    pub wrong: [u64; RECORD.len()],
    /// What was wrong first, in words.
    pub first: Option<String>,
}

/// What is known so far; shared with whoever waits for it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Both logs are open, so that no packet is missed.
    pub open: AtomicBool,
    /// Packets that the NIC has described.
    pub described: Arc<AtomicU64>,
    /// Packets of which both sides are known.
    pub compared: AtomicU64,
    /// The layout of the last of them.
    pub layout: AtomicU64,
    /// Steps of the change that are done: new firmware, then the program for it alone.
    pub steps: AtomicU64,
    /// Set when no more packets will be sent.
    pub sent: AtomicBool,
}

impl Progress {
    /// What is another number whenever a packet made a step.
    pub fn moved(&self) -> (u64, u64) {
        (self.described.load(Ordering::Acquire), self.compared.load(Ordering::Acquire))
    }
}

/// Compares until all that was sent has been compared, or nothing more comes. `plans` are by layout id.
pub fn collect(
    nic: &SoftNic,
    records: &Path,
    plans: &HashMap<u32, Plan>,
    ring: Option<u64>,
    progress: &Progress,
) -> anyhow::Result<BTreeMap<u32, Tally>> {
    let log = nic.truth()?;
    let (reader, read) = open(records)?;
    progress.open.store(true, Ordering::Release);
    let mut open = Open { plans, ring, truths: HashMap::new(), records: HashMap::new(), tallies: BTreeMap::new() };
    let mut last = Instant::now();
    loop {
        let new = step(&log, &reader, &read, &mut open, progress)?;
        if new {
            last = Instant::now();
        }
        let sent = progress.sent.load(Ordering::Acquire);
        let all = open.truths.is_empty() && open.records.is_empty();
        if sent && !new && (all || last.elapsed() > PATIENCE) {
            return Ok(open.tallies);
        }
    }
}

/// The program's records, as they come.
type Read = Arc<Mutex<Vec<Record>>>;

fn open(records: &Path) -> anyhow::Result<(RingBuffer<'static>, Read)> {
    let map = MapHandle::from_pinned_path(records).with_context(|| format!("{}", records.display()))?;
    let read = Read::default();
    let sink = Arc::clone(&read);
    let mut builder = RingBufferBuilder::new();
    builder.add(&map, move |bytes| {
        sink.lock().unwrap_or_else(PoisonError::into_inner).extend(Record::parse(bytes));
        0
    })?;
    Ok((builder.build()?, read))
}

/// Takes what there is from both sides; whether there was anything.
fn step(
    log: &TruthLog<'_>,
    reader: &RingBuffer<'_>,
    read: &Read,
    open: &mut Open<'_>,
    progress: &Progress,
) -> anyhow::Result<bool> {
    let truths = log.take(Duration::from_millis(5))?;
    reader.consume()?;
    let records = std::mem::take(&mut *read.lock().unwrap_or_else(PoisonError::into_inner));
    let new = !truths.is_empty() || !records.is_empty();
    progress.described.fetch_add(truths.len() as u64, Ordering::Release);
    for truth in truths {
        open.truth(truth, progress);
    }
    for record in records {
        open.record(record, progress);
    }
    Ok(new)
}

/// Packets of which one side is known.
struct Open<'a> {
    plans: &'a HashMap<u32, Plan>,
    ring: Option<u64>,
    truths: HashMap<u64, Truth>,
    records: HashMap<u64, Record>,
    tallies: BTreeMap<u32, Tally>,
}

impl Open<'_> {
    fn truth(&mut self, truth: Truth, progress: &Progress) {
        match self.records.remove(&truth.key) {
            Some(record) => self.compare(&truth, &record, progress),
            None => drop(self.truths.insert(truth.key, truth)),
        }
    }

    fn record(&mut self, record: Record, progress: &Progress) {
        match self.truths.remove(&record.key) {
            Some(truth) => self.compare(&truth, &record, progress),
            None => drop(self.records.insert(record.key, record)),
        }
    }

    fn compare(&mut self, truth: &Truth, record: &Record, progress: &Progress) {
        let tally = self.tallies.entry(truth.layout).or_default();
        tally.packets += 1;
        match self.plans.get(&truth.layout) {
            Some(plan) if record.layout == truth.layout => tally.compare(plan, truth, record, self.ring),
            _ => tally.misread(format!("layout {} was taken for {}", LayoutId(truth.layout), LayoutId(record.layout))),
        }
        progress.layout.store(truth.layout.into(), Ordering::Relaxed);
        progress.compared.fetch_add(1, Ordering::Release);
    }
}

impl Tally {
    fn compare(&mut self, plan: &Plan, truth: &Truth, record: &Record, ring: Option<u64>) {
        let mut wrong = None;
        for (n, place) in RECORD.iter().enumerate() {
            let (must, is) = (expected(place, plan, truth, ring), record.value(n));
            let counts = if must == is { &mut self.right } else { &mut self.wrong };
            if let Some(count) = counts.get_mut(n).filter(|_| must.is_some() || must != is) {
                *count += 1;
            }
            if must != is {
                wrong.get_or_insert(format!("{}: the NIC wrote {}, read was {}", place.name, say(must), say(is)));
            }
        }
        if let Some(what) = wrong {
            self.misread(what);
        }
    }

    fn misread(&mut self, what: String) {
        self.misread += 1;
        self.first.get_or_insert(what);
    }
}

fn say(value: Option<u64>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |v| format!("{v:#x}"))
}
