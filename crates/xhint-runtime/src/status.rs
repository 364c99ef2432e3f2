//! What runs where.

use std::path::PathBuf;

use libbpf_rs::query::ProgInfoIter;
use nix::net::if_::if_indextoname;
use serde::Serialize;

use crate::counters::Counters;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::home::{Home, pin_name};
use crate::netns::Netns;
use crate::site::{Generation, Live, Site};
use crate::state::State;

/// One device with a program of ours on it.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The device's name.
    pub device: String,
    /// Its number.
    pub ifindex: u32,
    /// Inode of its network namespace.
    pub netns: u64,
    /// Id of the program.
    pub program_id: u32,
    /// How often the kernel ran it and for how long, if it counts (`sysctl kernel.bpf_stats_enabled=1`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<Runs>,
    /// Where its maps are pinned.
    pub maps_dir: Option<PathBuf>,
    /// Their names.
    pub maps: Vec<String>,
    /// Packets by layout, and of unknown ids; `None` if it was attached without counting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<Counters>,
    /// What it was made from; `None` if that was lost, see `trouble`.
    #[serde(flatten)]
    pub state: Option<State>,
    /// What is not as it should be, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// The kernel's own count for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Runs {
    /// Calls.
    pub count: u64,
    /// Nanoseconds in all of them.
    pub nanoseconds: u64,
}

impl Status {
    /// Where the map `name` is pinned; `None` if the program has no such map.
    pub fn map_path(&self, name: &str) -> Option<PathBuf> {
        let dir = self.maps_dir.as_ref().filter(|_| self.maps.iter().any(|m| m == name))?;
        Some(dir.join(pin_name(name)))
    }
}

/// What runs on `device`.
///
/// # Errors
/// [`Error::NotAttached`] if nothing of ours does.
pub fn status(home: &Home, device: &Device) -> Result<Status> {
    let site = Site::find(home, device)?;
    match site.live()? {
        Some(live) => describe(&site, &live, device.name().to_owned(), device.netns().inode()),
        None => Err(Error::NotAttached(device.name().to_owned())),
    }
}

/// What runs on all devices of all namespaces.
///
/// # Errors
/// If a pin cannot be read.
pub fn all(home: &Home) -> Result<Vec<Status>> {
    let here = Netns::current()?.inode();
    let mut found = Vec::new();
    for site in Site::all(home)? {
        let Some(live) = site.live()? else { continue };
        // By its number, in case it was renamed.
        let now = if site.netns == here { if_indextoname(live.ifindex).ok() } else { None };
        let name = now.and_then(|n| n.into_string().ok()).unwrap_or_else(|| site.name.clone());
        found.push(describe(&site, &live, name, site.netns)?);
    }
    Ok(found)
}

fn describe(site: &Site, live: &Live, device: String, netns: u64) -> Result<Status> {
    let generation = site.current(live)?;
    let read = generation.as_ref().map(|g| g.state());
    let trouble = match &read {
        Some(Ok(_)) => None,
        Some(Err(e)) => Some(format!("what it was made from is lost ({e}); attach again")),
        None => Some("it runs a program that xhint did not put there; attach again or detach".to_owned()),
    };
    let counters = match (&generation, &read) {
        (Some(generation), Some(Ok(state))) => Counters::read(generation, state),
        _ => Ok(None),
    };
    let trouble = trouble.or_else(|| counters.as_ref().err().map(|e| format!("its counters cannot be read: {e}")));
    let stats = ProgInfoIter::default().find(|p| p.id == live.program);
    let runs = stats.filter(|p| p.run_cnt > 0).map(|p| Runs { count: p.run_cnt, nanoseconds: p.run_time_ns });
    let maps = generation.as_ref().map(Generation::maps).transpose()?.unwrap_or_default();
    Ok(Status {
        device,
        ifindex: live.ifindex,
        netns,
        program_id: live.program,
        runs,
        maps: maps.into_iter().map(|m| m.0).collect(),
        maps_dir: generation.map(|g| g.maps_dir()),
        counters: counters.unwrap_or_default(),
        state: read.and_then(Result::ok),
        trouble,
    })
}
