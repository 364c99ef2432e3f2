//! The wire program: into the kernel, and its maps read and written.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, MapType, Object, ObjectBuilder, ProgramMut, libbpf_sys};
use xhint_host::libbpf_log;
use xhint_layout::Plan;

use crate::abi::{self, Counter, Firmware};
use crate::error::{Error, Result, bpf};
use crate::flash::Spread;
use crate::pins;
use crate::record::Reader;
use crate::toeplitz::{MICROSOFT_KEY, table};

/// libbpf wants ELF to be aligned as its headers are.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/wire.bpf.o")));

/// The program's name in the object.
const PROGRAM: &str = "wire";

/// The one key of the maps that have one entry.
const ZERO: [u8; 4] = [0; 4];

/// Loads the wire program and fills the tables it works from.
pub(crate) fn load() -> Result<Object> {
    let (object, said) =
        libbpf_log::captured(|| ObjectBuilder::default().open_memory(&OBJECT.0).and_then(|open| open.load()));
    let object = object.map_err(|cause| Error::Refused { why: libbpf_log::reason(&said), cause })?;
    let toeplitz = map(&object, "toeplitz")?;
    toeplitz.update(&ZERO, &table(&MICROSOFT_KEY), MapFlags::ANY).map_err(bpf("filling the hash's table"))?;
    Ok(object)
}

/// The wire program of a loaded object.
pub(crate) fn program(object: &Object) -> Result<ProgramMut<'_>> {
    object.progs_mut().find(|p| p.name() == PROGRAM).ok_or_else(|| absent(PROGRAM))
}

/// A map of a loaded object.
pub(crate) fn map(object: &Object, name: &str) -> Result<MapHandle> {
    let found = object.maps().find(|m| m.name() == name).ok_or_else(|| absent(name))?;
    MapHandle::try_from(&found).map_err(bpf(format!("taking the map {name}")))
}

fn absent(what: &str) -> Error {
    bpf(format!("looking for {what} in the wire program"))(libbpf_rs::Error::from_raw_os_error(libc::ENOENT))
}

/// Lets redirected packets out at the device `index` of the calling thread's namespace.
pub(crate) fn plug(object: &Object, index: u32) -> Result<()> {
    map(object, "port")?
        .update(&ZERO, &index.to_ne_bytes(), MapFlags::ANY)
        .map_err(bpf("putting the device into the map of ports"))
}

/// Attaches the program to the device `index` of the calling thread's namespace.
pub(crate) fn attach(object: &Object, index: u32) -> Result<Link> {
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    program(object)?.attach_xdp(index).map_err(bpf("attaching the wire program"))
}

/// Pins what later calls need, the link last.
pub(crate) fn pin(object: &Object, mut link: Link, dir: &Path) -> Result<()> {
    for name in pins::MAPS {
        let path = dir.join(name);
        map(object, name)?.pin(&path).map_err(bpf(format!("pinning {}", path.display())))?;
    }
    let path = dir.join(pins::LINK);
    link.pin(&path).map_err(bpf(format!("pinning {}", path.display())))
}

/// The maps of a NIC that is up.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) firmware: MapHandle,
    pub(crate) counters: MapHandle,
    pub(crate) layouts: MapHandle,
    pub(crate) settings: MapHandle,
    pub(crate) truth_log: MapHandle,
}

/// Packets that never came to the device, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// No room for the metadata: the kernel does not let as much stand in front of a packet.
    pub no_room: u64,
    /// No device to hand them to.
    pub no_device: u64,
    /// Too short for an Ethernet header.
    pub malformed: u64,
}

impl Refused {
    /// All of them.
    pub fn total(&self) -> u64 {
        [self.no_room, self.no_device, self.malformed].into_iter().sum()
    }

    /// Those that came since `before`.
    pub(crate) fn since(self, before: Refused) -> Refused {
        Refused {
            no_room: self.no_room.saturating_sub(before.no_room),
            no_device: self.no_device.saturating_sub(before.no_device),
            malformed: self.malformed.saturating_sub(before.malformed),
        }
    }
}

/// A plan as the kernel holds it: what status tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flashed {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) size: u32,
    pub(crate) fields: u32,
    pub(crate) mode: u32,
    pub(crate) serial: u32,
}

impl Maps {
    /// Opens them by their pins.
    pub(crate) fn open(dir: &Path) -> Result<Maps> {
        let open = |name: &str| {
            let path = dir.join(name);
            MapHandle::from_pinned_path(&path).map_err(bpf(format!("opening {}", path.display())))
        };
        Ok(Maps {
            firmware: open("firmware")?,
            counters: open("counters")?,
            layouts: open("layouts")?,
            settings: open("settings")?,
            truth_log: open("truth_log")?,
        })
    }

    /// The maps of an object that is not pinned.
    #[cfg(test)]
    pub(crate) fn of(object: &Object) -> Result<Maps> {
        Ok(Maps {
            firmware: map(object, "firmware")?,
            counters: map(object, "counters")?,
            layouts: map(object, "layouts")?,
            settings: map(object, "settings")?,
            truth_log: map(object, "truth_log")?,
        })
    }

    /// Replaces all plans in one step. When it returns, no packet is being described by the old ones.
    pub(crate) fn flash(&self, plans: &[Plan], mode: Spread) -> Result<()> {
        if plans.is_empty() {
            return match self.firmware.delete(&ZERO) {
                Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                    Err(bpf("removing the firmware")(error))
                }
                _ => Ok(()),
            };
        }
        let serial = self.flashed()?.first().map_or(0, |f| f.serial).wrapping_add(1);
        let slots = plans.iter().fold(0, |bits, plan| bits | abi::slots(plan)) | self.slots_for(mode);
        let count = u32::try_from(plans.len()).unwrap_or(u32::MAX);
        let firmware = Firmware { mode: mode as u32, count, serial, slots };
        let inner = new_plans(count)?;
        for (i, plan) in (0u32..).zip(plans) {
            let doing = || format!("writing the plan of layout {}", plan.name);
            inner.update(&i.to_ne_bytes(), &abi::plan(plan, firmware), MapFlags::ANY).map_err(|e| bpf(doing())(e))?;
            self.count_layout(plan.id)?;
        }
        let fd = std::os::fd::AsRawFd::as_raw_fd(&inner.as_fd());
        self.firmware.update(&ZERO, &fd.to_ne_bytes(), MapFlags::ANY).map_err(bpf("flashing the firmware"))
    }

    /// Makes sure that packets of this layout are counted.
    fn count_layout(&self, id: u32) -> Result<()> {
        let cpus = libbpf_rs::num_possible_cpus().map_err(bpf("counting the CPUs"))?;
        let zeroes = vec![vec![0; 8]; cpus];
        match self.layouts.update_percpu(&id.to_ne_bytes(), &zeroes, MapFlags::NO_EXIST) {
            Err(error) if error.kind() != libbpf_rs::ErrorKind::AlreadyExists => {
                Err(bpf(format!("making the counter of layout {}", xhint_layout::LayoutId(id)))(error))
            }
            _ => Ok(()),
        }
    }

    /// What the choice among plans looks at.
    fn slots_for(&self, mode: Spread) -> u64 {
        match mode {
            Spread::Flow => abi::slot_bit(abi::FLOW_MARK),
            Spread::Round | Spread::Random => 0,
        }
    }

    /// The plans in force, in their order.
    pub(crate) fn flashed(&self) -> Result<Vec<Flashed>> {
        let doing = "reading the firmware";
        let Some(id) = self.firmware.lookup(&ZERO, MapFlags::ANY).map_err(bpf(doing))? else {
            return Ok(Vec::new());
        };
        let id = Reader(&id).u32().unwrap_or(0);
        let inner = match MapHandle::from_map_id(id) {
            // Replaced between the two calls: what replaced it is as good an answer.
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => return self.flashed(),
            other => other.map_err(bpf(doing))?,
        };
        let mut plans = Vec::new();
        for i in 0..inner.max_entries() {
            let bytes = inner.lookup(&i.to_ne_bytes(), MapFlags::ANY).map_err(bpf(doing))?;
            plans.extend(bytes.as_deref().and_then(flashed));
        }
        Ok(plans)
    }

    /// A counter's sum over all CPUs.
    pub(crate) fn counter(&self, which: Counter) -> Result<u64> {
        let key = (which as u32).to_ne_bytes();
        let cpus = self.counters.lookup_percpu(&key, MapFlags::ANY).map_err(bpf("reading a counter"))?;
        Ok(cpus.map_or(0, |cpus| sum(&cpus)))
    }

    /// Packets that never came to the device.
    pub(crate) fn refused(&self) -> Result<Refused> {
        Ok(Refused {
            no_room: self.counter(Counter::DropMeta)?,
            no_device: self.counter(Counter::DropPort)?,
            malformed: self.counter(Counter::DropLoad)?,
        })
    }

    /// Packets per layout id, over all firmwares there were.
    pub(crate) fn packets(&self) -> Result<BTreeMap<u32, u64>> {
        let doing = "reading the counters of layouts";
        let mut packets = BTreeMap::new();
        for key in self.layouts.keys() {
            let cpus = self.layouts.lookup_percpu(&key, MapFlags::ANY).map_err(bpf(doing))?;
            if let (Some(id), Some(cpus)) = (Reader(&key).u32(), cpus) {
                packets.insert(id, sum(&cpus));
            }
        }
        Ok(packets)
    }

    /// Switches the truth log.
    pub(crate) fn keep_truth(&self, on: bool) -> Result<()> {
        self.settings.update(&ZERO, &u64::from(on).to_ne_bytes(), MapFlags::ANY).map_err(bpf("switching the truth log"))
    }

    /// Whether the truth log is on.
    pub(crate) fn keeps_truth(&self) -> Result<bool> {
        let value = self.settings.lookup(&ZERO, MapFlags::ANY).map_err(bpf("reading the settings"))?;
        Ok(value.and_then(|v| Reader(&v).u64()).unwrap_or(0) != 0)
    }
}

/// Whether a pinned link is really there.
pub(crate) fn link_exists(dir: &Path) -> bool {
    let path = dir.join(pins::LINK);
    // libbpf would print that there is no such file.
    path.exists() && Link::open(path).is_ok()
}

fn new_plans(count: u32) -> Result<MapHandle> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        // The outer map takes arrays of any length only so.
        map_flags: libbpf_sys::BPF_F_INNER_MAP,
        ..Default::default()
    };
    let size = u32::try_from(abi::PLAN_SIZE).unwrap_or(u32::MAX);
    MapHandle::create(MapType::Array, Some("plans"), 4, size, count, &options).map_err(bpf("making the array of plans"))
}

fn flashed(bytes: &[u8]) -> Option<Flashed> {
    let mut r = Reader(bytes);
    let (id, size, fields, mode, _count, serial) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?, r.u32()?, r.u32()?);
    r.u64()?;
    let name = r.bytes(abi::NAME)?.split(|b| *b == 0).next()?;
    let name = String::from_utf8_lossy(name).into_owned();
    Some(Flashed { name, id, size, fields, mode, serial })
}

fn sum(cpus: &[Vec<u8>]) -> u64 {
    cpus.iter().filter_map(|cpu| Reader(cpu).u64()).fold(0, u64::wrapping_add)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
