//! How many packets came of each layout, and of ids that nobody knows.

use std::time::{Duration, SystemTime};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::time::{ClockId, clock_gettime};
use xhint_link::counts::{COUNT_SIZE, COUNTS, NO_METADATA, UNKNOWN, UNKNOWN_ID};

use crate::error::{Error, Result};
use crate::site::Generation;
use crate::state::State;

/// Packets, and when the last one came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub packets: u64,
    /// In milliseconds since 1970, to a tick of the kernel's (1 to 10 ms); `None` if none came.
    pub last_seen: Option<u64>,
}

/// All counts of one device since counting began: when something was first attached, or since the slots of layouts
/// meant something else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// By layout: those there are, and those that were.
    pub layouts: Vec<LayoutCount>,
    /// Packets with metadata that no layout was known for, when they came.
    pub unknown: Count,
    /// The same by id and length, the most packets first. If there were very many ids, those not seen for longest are
    /// left out.
    pub ids: Vec<IdCount>,
    /// Packets without metadata.
    pub no_metadata: Count,
}

/// The packets of one layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutCount {
    /// The layout's name.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// Its length in bytes.
    pub size: u32,
    /// Whether it is looked for now.
    pub live: bool,
    /// Its packets.
    pub count: Count,
}

/// The packets of an id that no layout had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdCount {
    /// The id.
    pub id: u32,
    /// Bytes of metadata.
    pub size: u32,
    /// The layout that has this id and length now, having come later.
    pub layout: Option<String>,
    /// Its packets.
    pub count: Count,
}

impl Counters {
    /// All packets there were.
    pub fn total(&self) -> u64 {
        let layouts = self.layouts.iter().map(|l| l.count);
        layouts.chain([self.unknown, self.no_metadata]).map(|count| count.packets).sum()
    }

    /// Those of `generation`; `None` if it does not count.
    pub(crate) fn read(generation: &Generation, state: &State) -> Result<Option<Counters>> {
        if !generation.map_path(COUNTS).exists() {
            return Ok(None);
        }
        let clock = Clock::now()?;
        let counts = open(generation, COUNTS)?;
        let slot = |slot| count(&counts, slot, &clock);
        let mut layouts = Vec::with_capacity(state.slots.len());
        for taken in &state.slots {
            let live = state.layouts.iter().any(|l| l.id == taken.id && l.slot == Some(taken.slot));
            let count = slot(taken.slot)?;
            layouts.push(LayoutCount { name: taken.name.clone(), id: taken.id, size: taken.size, live, count });
        }
        layouts.retain(|l| l.live || l.count.packets > 0);
        let ids = ids(&open(generation, UNKNOWN)?, state, &clock)?;
        Ok(Some(Counters { layouts, unknown: slot(UNKNOWN_ID)?, ids, no_metadata: slot(NO_METADATA)? }))
    }
}

/// What was counted under slots that count from 0 again, so that it can be counted on if that comes to nothing.
#[derive(Debug)]
pub(crate) struct Forgotten {
    counts: Option<MapHandle>,
    /// By slot, what each processor had.
    slots: Vec<(u32, Vec<Vec<u8>>)>,
}

impl Forgotten {
    /// Forgets what was counted under `slots`: nothing of it, if it cannot forget all.
    pub fn of(generation: &Generation, slots: impl IntoIterator<Item = u32>) -> Result<Forgotten> {
        let counts = generation.map_path(COUNTS).exists().then(|| open(generation, COUNTS)).transpose()?;
        let mut forgotten = Forgotten { counts, slots: Vec::new() };
        slots.into_iter().try_for_each(|slot| forgotten.forget(slot)).inspect_err(|_| forgotten.put_back())?;
        Ok(forgotten)
    }

    fn forget(&mut self, slot: u32) -> Result<()> {
        let Some(counts) = &self.counts else { return Ok(()) };
        let none = vec![vec![0u8; COUNT_SIZE as usize]; libbpf_rs::num_possible_cpus().map_err(Error::system(COUNTS))?];
        let key = slot.to_ne_bytes();
        let had = counts.lookup_percpu(&key, MapFlags::ANY).map_err(Error::system(COUNTS))?.unwrap_or_default();
        counts.update_percpu(&key, &none, MapFlags::ANY).map_err(Error::system(COUNTS))?;
        self.slots.push((slot, had));
        Ok(())
    }

    /// Makes the counts what they were.
    pub fn put_back(&self) {
        for (slot, had) in &self.slots {
            let counts = self.counts.as_ref();
            let _first_error_counts = counts.map(|c| c.update_percpu(&slot.to_ne_bytes(), had, MapFlags::ANY));
        }
    }
}

fn open(generation: &Generation, name: &str) -> Result<MapHandle> {
    let path = generation.map_path(name);
    MapHandle::from_pinned_path(&path).map_err(Error::file(&path))
}

fn count(map: &MapHandle, slot: u32, clock: &Clock) -> Result<Count> {
    let all = map.lookup_percpu(&slot.to_ne_bytes(), MapFlags::ANY).map_err(Error::system(COUNTS))?.unwrap_or_default();
    let all: Vec<(u64, u64)> = all.iter().map(|v| packets_and_time(v)).collect();
    // An entry that finds a layout gone takes back what it counted. Where the slot was set to 0 in between, one too few stands
    // there for that moment.
    let packets = all.iter().fold(0, |sum: u64, w| sum.wrapping_add(w.0)).cast_signed().max(0).cast_unsigned();
    let last = all.iter().map(|w| w.1).max().unwrap_or(0);
    Ok(Count { packets, last_seen: clock.since_1970(last) })
}

fn ids(map: &MapHandle, state: &State, clock: &Clock) -> Result<Vec<IdCount>> {
    let mut out = Vec::new();
    for key in map.keys() {
        // One may be pushed out by another between the two calls.
        let Some(value) = map.lookup(&key, MapFlags::ANY).map_err(Error::system(UNKNOWN))? else { continue };
        let half = |n: usize| key.get(n..).and_then(|k| k.first_chunk()).map_or(0, |b| u32::from_ne_bytes(*b));
        let ((id, size), (packets, last)) = ((half(0), half(4)), packets_and_time(&value));
        let layout = state.layouts.iter().find(|l| (l.id, l.size) == (id, size)).map(|l| l.name.clone());
        out.push(IdCount { id, size, layout, count: Count { packets, last_seen: clock.since_1970(last) } });
    }
    out.sort_by_key(|i| (std::cmp::Reverse(i.count.packets), i.id, i.size));
    Ok(out)
}

fn packets_and_time(value: &[u8]) -> (u64, u64) {
    let word = |n: usize| value.get(n..).and_then(|v| v.first_chunk()).map_or(0, |b| u64::from_ne_bytes(*b));
    (word(0), word(8))
}

/// The kernel's clock and the calendar, read at one time.
struct Clock {
    monotonic: Duration,
    calendar: SystemTime,
}

impl Clock {
    fn now() -> Result<Clock> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(Error::system("the clock"))?;
        Ok(Clock { monotonic: Duration::from(now), calendar: SystemTime::now() })
    }

    fn since_1970(&self, nanoseconds: u64) -> Option<u64> {
        if nanoseconds == 0 {
            return None;
        }
        let ago = self.monotonic.saturating_sub(Duration::from_nanos(nanoseconds));
        let then = self.calendar.checked_sub(ago)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(then.as_millis()).ok()
    }
}
