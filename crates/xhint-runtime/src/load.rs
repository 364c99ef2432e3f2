//! Loading a linked object through libbpf, with maps of an earlier load kept.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use libbpf_rs::{MapCore, MapHandle, MapType, Object, ObjectBuilder, OpenMap, OpenObject, ProgramType};

use xhint_host::said;
use xhint_object::table::IDS_SECTION;

use crate::error::{Error, Result};
use crate::rights::Rights;

/// What to load, and of what.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The linked object.
    pub object: &'a [u8],
    /// The program that goes on the device; `None` if the object has but one.
    pub entry: Option<&'a str>,
    /// Maps to go on with, by name and where each is pinned.
    pub keep: &'a [(String, PathBuf)],
    /// Whether the object is the same as the one the kept maps are of, so that its global data may be kept too.
    pub same: bool,
    /// The device, for messages.
    pub device: &'a str,
}

/// An object in the kernel, on no device yet. What is not pinned goes away with it.
#[derive(Debug)]
pub struct Loaded {
    object: Object,
    entry: String,
    maps: Vec<String>,
}

/// Loads the programs and maps of `plan`.
///
/// # Errors
/// [`Error::Load`] with the verifier's words, [`Error::MapChanged`], [`Error::NoProgram`], [`Error::ManyPrograms`].
/// Nothing is left in the kernel.
pub fn load(plan: &Plan<'_>) -> Result<Loaded> {
    let (opened, said) =
        said::heard(|| ObjectBuilder::default().name("xhint").and_then(|b| b.open_memory(plan.object)));
    let mut opened = opened.map_err(|e| Error::Load {
        program: "the object".to_owned(),
        reason: said::reason(&said).unwrap_or_else(|| format!("{e:#}")),
        log: said,
    })?;
    let entry = choose(&opened, plan.entry)?;
    select(&mut opened, &entry);
    let maps = keep(&mut opened, plan)?;
    let (loaded, said) = said::heard(|| opened.load());
    match loaded {
        Ok(object) => Ok(Loaded { object, entry, maps }),
        Err(e) => {
            Rights::current().check()?;
            Err(refused(&entry, &format!("{e:#}"), said))
        }
    }
}

impl Loaded {
    /// Name of the program that goes on the device.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// That program.
    pub fn entry_fd(&self) -> Result<BorrowedFd<'_>> {
        self.program(&self.entry)
            .ok_or_else(|| Error::NoProgram { wanted: format!("{} ", self.entry), have: String::new() })
    }

    /// The program `name`, if it was loaded.
    pub fn program(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.programs().find(|p| p.0 == name).map(|p| p.1)
    }

    /// All programs that were loaded.
    pub fn programs(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        // SAFETY: libbpf keeps a program's descriptor open as long as the object lives, which `self` is borrowed for.
        let fd = |raw| unsafe { BorrowedFd::borrow_raw(raw) };
        self.object
            .progs()
            .filter(|p| p.autoload())
            .map(move |p| (p.name().to_string_lossy().into_owned(), fd(p.as_fd().as_raw_fd())))
    }

    /// All maps, by the names they have in the object (the kernel's are cut off at 15 bytes).
    pub fn maps(&self) -> impl Iterator<Item = (&str, MapHandle)> {
        self.maps.iter().map(String::as_str).zip(self.object.maps()).filter_map(|(name, map)| {
            let handle = MapHandle::try_from(&map).ok()?;
            Some((name, handle))
        })
    }

    /// Names and descriptors of all programs, for pinning.
    pub(crate) fn program_pins(&self) -> Result<Vec<(String, OwnedFd)>> {
        self.programs().map(|(name, fd)| Ok((name, copy(fd)?))).collect()
    }

    /// Names and descriptors of all maps, for pinning.
    pub(crate) fn map_pins(&self) -> Result<Vec<(String, OwnedFd)>> {
        self.maps().map(|(name, map)| Ok((name.to_owned(), copy(map.as_fd())?))).collect()
    }

    /// The map `name`.
    pub fn map(&self, name: &str) -> Option<MapHandle> {
        self.maps().find(|m| m.0 == name).map(|m| m.1)
    }
}

fn copy(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().map_err(Error::system("cannot copy a descriptor"))
}

/// Which program goes on the device.
fn choose(object: &OpenObject, wanted: Option<&str>) -> Result<String> {
    let xdp: Vec<String> = object
        .progs()
        .filter(|p| p.prog_type() == ProgramType::Xdp)
        .map(|p| p.name().to_string_lossy().into_owned())
        .collect();
    let none = |wanted: String| Error::NoProgram {
        wanted,
        have: if xdp.is_empty() { "none".to_owned() } else { xdp.join(", ") },
    };
    match (wanted, xdp.as_slice()) {
        (Some(name), _) if xdp.iter().any(|p| p == name) => Ok(name.to_owned()),
        (Some(name), _) => Err(none(format!("{name} "))),
        (None, [one]) => Ok(one.clone()),
        (None, []) => Err(none(String::new())),
        (None, many) => Err(Error::ManyPrograms(many.join(", "))),
    }
}

/// Only the entry is loaded, and with a program array all that may stand in it: another program of the object may ask
/// for what this host has not.
fn select(object: &mut OpenObject, entry: &str) {
    let tail = object.maps().any(|m| m.map_type() == MapType::ProgArray);
    for mut program in object.progs_mut() {
        let load = program.name() == entry || (tail && program.prog_type() == ProgramType::Xdp);
        program.set_autoload(load);
    }
}

/// Hands the kept maps to libbpf. Returns the names of all, in the order libbpf has them.
fn keep(object: &mut OpenObject, plan: &Plan<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        let kept = plan.keep.iter().find(|k| k.0 == name).filter(|_| lasts(&name, map.map_type(), plan.same));
        if let Some((_, path)) = kept {
            let old = MapHandle::from_pinned_path(path).map_err(Error::file(path))?;
            let flags = old.info().map_err(Error::file(path))?.info.map_flags;
            if let Some(what) = differs(&map, &old, flags) {
                return Err(Error::MapChanged { device: plan.device.to_owned(), map: name, what });
            }
            map.reuse_fd(old.as_fd()).map_err(Error::file(path))?;
        }
        names.push(name);
    }
    Ok(names)
}

/// Whether a map's contents are the application's to keep. Constants are the new object's own; variables are kept
/// where the object is the same, since nothing else says that they still stand where they stood; the programs in a
/// program array are the old ones, and so are the ids that lead there.
fn lasts(name: &str, kind: MapType, same: bool) -> bool {
    if name == IDS_SECTION {
        return false;
    }
    let section = name.split_once('.').map_or("", |s| s.1);
    match section.split('.').next().unwrap_or("") {
        "rodata" | "kconfig" => false,
        "data" | "bss" => same,
        _ => kind != MapType::ProgArray,
    }
}

/// What is another between a map of the object and the one in the kernel.
fn differs(new: &OpenMap<'_>, old: &MapHandle, old_flags: u32) -> Option<String> {
    let kind = new.map_type();
    // The kernel rounds a ring's size up to whole pages and gives a perf array a slot per processor; a device map
    // always shows as read-only for programs (libbpf's `map_is_reuse_compat`).
    let sized = !matches!(kind, MapType::RingBuf | MapType::UserRingBuf | MapType::PerfEventArray);
    let shown = if matches!(kind, MapType::Devmap | MapType::DevmapHash) { libbpf_sys::BPF_F_RDONLY_PROG } else { 0 };
    if kind != old.map_type() {
        return Some(format!("was {:?} and is {kind:?}", old.map_type()));
    }
    let pairs = [
        ("keys", old.key_size(), new.key_size()),
        ("values", old.value_size(), new.value_size()),
        ("entries", old.max_entries(), if sized { new.max_entries() } else { old.max_entries() }),
        ("flags", old_flags & !shown, new.map_flags() & !shown),
    ];
    let (what, was, is) = pairs.into_iter().find(|p| p.1 != p.2)?;
    Some(match what {
        "entries" => format!("had {was} entries and has {is}"),
        "flags" => format!("had flags {was:#x} and has {is:#x}"),
        _ => format!("had {what} of {was} bytes and has {is}"),
    })
}

/// The kernel's refusal, with the line of the log that tells most.
fn refused(entry: &str, error: &str, log: String) -> Error {
    Error::Load {
        program: said::program(&log).unwrap_or(entry).to_owned(),
        reason: said::reason(&log).unwrap_or_else(|| error.to_owned()),
        log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept() {
        assert!(lasts("counts", MapType::Array, false));
        assert!(!lasts("slots", MapType::ProgArray, true));
        assert!(!lasts("xhint.rodata", MapType::Array, true));
        assert!(!lasts(".rodata.cfg", MapType::Array, true));
        assert!(lasts("xhint.bss", MapType::Array, true));
        assert!(!lasts("xhint.bss", MapType::Array, false));
        assert!(!lasts(".data.xhint", MapType::Array, true));
        assert!(!lasts(".data.hot", MapType::Array, false));
    }
}
