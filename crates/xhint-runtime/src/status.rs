//! What runs where.

use std::path::PathBuf;

use libbpf_rs::query::ProgInfoIter;
use xhint_host::Netns;

use crate::counters::Counters;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::locate::locate;
use crate::site::{Generation, Live, Site};
use crate::state::State;
use crate::taken_off::Kept;

/// One device with a program of ours on it.
#[derive(Debug, Clone)]
pub struct Status {
    /// The device's name; `None` if it is in a network namespace that cannot be found or entered.
    pub device: Option<String>,
    /// Its number there.
    pub ifindex: u32,
    /// Inode of its network namespace, as `lsns` shows it; `None` if that cannot be found.
    pub netns: Option<u64>,
    /// By what the namespace can be named if it is not ours: its name for `ip netns`, or a path.
    pub netns_name: Option<String>,
    /// Id of the program.
    pub program_id: u32,
    /// How often the kernel ran it and for how long, if it counts (`sysctl kernel.bpf_stats_enabled=1`).
    pub runs: Option<Runs>,
    /// Where its maps are pinned.
    pub maps_dir: Option<PathBuf>,
    /// The maps.
    pub maps: Vec<Pin>,
    /// Packets by layout, and of unknown ids; `None` if it was attached without counting.
    pub counters: Option<Counters>,
    /// What it was made from; `None` if that was lost, see `trouble`.
    pub state: Option<State>,
    /// What is not as it should be, and what to do.
    pub trouble: Option<String>,
}

/// A map and where it is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Its name in the object.
    pub name: String,
    /// Its pin, until the next swap. A BPF file system takes no dots in names, so these are written as `%2e`.
    pub path: PathBuf,
}

/// The kernel's own count for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// Calls.
    pub count: u64,
    /// Nanoseconds in all of them.
    pub nanoseconds: u64,
}

impl Status {
    /// Where the map `name` is pinned; `None` if the program has no such map.
    pub fn map_path(&self, name: &str) -> Option<PathBuf> {
        self.maps.iter().find(|m| m.name == name).map(|m| m.path.clone())
    }
}

/// What runs on `device`.
///
/// # Errors
/// [`Error::NotAttached`] if nothing of ours does; [`Error::Kept`] if then something of someone else's waits to be put back.
pub fn status(home: &Home, device: &Device) -> Result<Status> {
    let Some((site, live)) = Site::find(home, device)? else {
        let none = Error::NotAttached(device.name().to_owned());
        return Err(Site::kept_for(home, device)?.map_or(none, Error::Kept));
    };
    // Both by the names they have, whatever they were found by.
    let shown = Netns::all().find(|n| n.inode() == device.netns().inode());
    let netns = shown.unwrap_or_else(|| device.netns().clone());
    describe(&site, &live, Some(&Device::known(device.own_name(), live.ifindex, netns)))
}

/// What runs on all devices of all namespaces.
///
/// # Errors
/// If a pin cannot be read.
pub fn all(home: &Home) -> Result<Vec<Status>> {
    let mut found = Vec::new();
    for site in Site::all(home)? {
        if let Some(live) = site.live()? {
            found.push((site, live));
        }
    }
    let lives: Vec<&Live> = found.iter().map(|f| &f.1).collect();
    let devices = locate(&lives);
    found.iter().zip(devices).map(|((site, live), device)| describe(site, live, device.as_ref())).collect()
}

/// Programs of someone else's that calls which were killed took off and did not put back.
///
/// # Errors
/// If a pin cannot be read.
pub fn kept(home: &Home) -> Result<Vec<Kept>> {
    let mut found = Vec::new();
    for site in Site::all(home)? {
        found.extend(site.waits()?);
    }
    Ok(found)
}

fn describe(site: &Site, live: &Live, device: Option<&Device>) -> Result<Status> {
    let generation = site.current(live)?;
    let read = generation.as_ref().map(|g| g.state().and_then(State::loaded));
    let trouble = match &read {
        Some(Ok(_)) => None,
        Some(Err(e)) => Some(format!("what it was made from is lost ({e}); attach again")),
        None => Some(
            "it runs a program that xhint did not put there, or whose pins are gone; attach again or detach".to_owned(),
        ),
    };
    let counters = match (&generation, &read) {
        (Some(generation), Some(Ok(state))) => Counters::read(generation, state),
        _ => Ok(None),
    };
    let trouble = trouble.or_else(|| counters.as_ref().err().map(|e| format!("its counters cannot be read: {e}")));
    let state = read.and_then(Result::ok);
    let reads = state.as_ref().filter(|state| state.layouts.len() > state.made().count());
    let trouble = trouble.or_else(|| reads?.mode.misses().map(str::to_owned));
    let stats = ProgInfoIter::default().find(|p| p.id == live.program);
    let runs = stats.filter(|p| p.run_cnt > 0).map(|p| Runs { count: p.run_cnt, nanoseconds: p.run_time_ns });
    let maps = generation.as_ref().map(Generation::maps).transpose()?.unwrap_or_default();
    Ok(Status {
        device: device.map(|d| d.name().to_owned()),
        ifindex: live.ifindex,
        netns: device.map(|d| d.netns().inode()),
        netns_name: device.and_then(|d| d.netns().name()).map(str::to_owned),
        program_id: live.program,
        runs,
        maps: maps.into_iter().map(|(name, path)| Pin { name, path }).collect(),
        maps_dir: generation.map(|g| g.maps_dir()),
        counters: counters.unwrap_or_default(),
        state,
        trouble,
    })
}
