//! Which maps of what ran before go on in what comes.
//!
//! A map that goes on is the same one in the kernel: its contents, whoever has it open or pinned, and what user space
//! adds from now on. That takes a map of the same shape. Three sorts cannot go on, and are made anew: those that hold
//! what is the old object's (its programs, its constants), those whose layout is known to the old object only (variables,
//! arenas), and those that the kernel ties to one load (struct_ops, and kinds that we do not know).

use std::os::fd::AsFd;
use std::path::PathBuf;

use libbpf_rs::{AsRawLibbpf, MapCore, MapHandle, MapType, OpenMap, OpenMapMut, OpenObject, num_possible_cpus};
use libbpf_sys::bpf_map_info;
use nix::unistd::{SysconfVar, sysconf};
use xhint_link::table::IDS_SECTION;

use crate::error::{Error, Result};

/// Maps of what runs, by name, and where each is pinned.
pub type Pinned = [(String, PathBuf)];

/// A map that was there and does not go on in what comes, which may have a new one in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anew {
    /// Its name.
    pub map: String,
    /// Why it does not go on.
    pub why: &'static str,
}

/// What became of the maps of an object.
#[derive(Debug, Default)]
pub struct Reused {
    /// Names of all that are made, in the order libbpf has them.
    pub names: Vec<String>,
    /// Those that were there and begin anew, but for constants.
    pub anew: Vec<Anew>,
}

/// Hands the maps `kept` that can go on to libbpf. `same` says that they are of this very object; `device` is for
/// messages.
///
/// # Errors
/// [`Error::MapChanged`] for one that could go on, but that the new object declares otherwise.
pub fn reuse(object: &mut OpenObject, kept: &Pinned, same: bool, device: &str) -> Result<Reused> {
    let mut out = Reused::default();
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if map.map_type() == MapType::StructOps {
            // No XDP program comes to it. Made, it would only wait for somebody to register it.
            map.set_autocreate(false).map_err(Error::system(format!("map {name}")))?;
            continue;
        }
        if let Some((_, path)) = kept.iter().find(|k| k.0 == name) {
            match end(&name, kind(&map), same) {
                None => go_on(&mut map, &name, path, device)?,
                Some(CONSTANT | OURS) => {}
                Some(why) => out.anew.push(Anew { map: name.clone(), why }),
            }
        }
        out.names.push(name);
    }
    let gone = kept.iter().map(|k| &k.0).filter(|name| !out.names.contains(name) && !is_made_anew(name));
    let why = "the program has no such map any more";
    let gone: Vec<Anew> = gone.map(|map| Anew { map: map.clone(), why }).collect();
    out.anew.extend(gone);
    Ok(out)
}

fn go_on(map: &mut OpenMapMut<'_>, name: &str, path: &PathBuf, device: &str) -> Result<()> {
    let old = MapHandle::from_pinned_path(path).map_err(Error::file(path))?;
    let info = old.info().map_err(Error::file(path))?.info;
    if let Some(what) = differs(map, &info) {
        return Err(Error::MapChanged { device: device.to_owned(), map: name.to_owned(), what });
    }
    map.reuse_fd(old.as_fd()).map_err(Error::file(path))
}

/// The kind that an object declares a map to be. [`MapCore::map_type`] knows no `CGRP_STORAGE` (libbpf-rs 0.27).
fn kind(map: &OpenMap<'_>) -> MapType {
    // SAFETY: the pointer is that of a map of an open object, which `map` borrows.
    match unsafe { libbpf_sys::bpf_map__type(map.as_libbpf_object().as_ptr()) } {
        libbpf_sys::BPF_MAP_TYPE_CGRP_STORAGE => MapType::CGrpStorage,
        other => MapType::from(other),
    }
}

const CONSTANT: &str = "it holds the new object's constants";
const OURS: &str = "xhint fills it";

/// Whether a map of this name holds nothing that could go on.
pub(crate) fn is_made_anew(name: &str) -> bool {
    matches!(end(name, MapType::Array, true), Some(CONSTANT | OURS))
}

/// Why a map cannot go on; `None` if it can.
fn end(name: &str, kind: MapType, same: bool) -> Option<&'static str> {
    if name == IDS_SECTION || name.starts_with(xhint_link::table::SLOTS) {
        return Some(OURS);
    }
    // Only the maps that loaders make of data sections have a dot.
    let section = name.split_once('.').map_or("", |s| s.1);
    match section.split('.').next().unwrap_or("") {
        "rodata" | "kconfig" => return Some(CONSTANT),
        "data" | "bss" => return (!same).then_some("its variables may be at other places in another object"),
        _ => {}
    }
    use MapType as M;
    match kind {
        M::Hash | M::Array | M::PercpuHash | M::PercpuArray | M::LruHash | M::LruPercpuHash | M::LpmTrie => None,
        M::Queue | M::Stack | M::BloomFilter | M::StackTrace | M::RingBuf | M::UserRingBuf | M::PerfEventArray => None,
        M::ArrayOfMaps | M::HashOfMaps | M::Devmap | M::DevmapHash | M::Cpumap | M::Xskmap => None,
        M::Sockmap | M::Sockhash | M::ReuseportSockarray | M::CgroupArray => None,
        M::CgroupStorage | M::PercpuCgroupStorage | M::CGrpStorage => None,
        M::SkStorage | M::InodeStorage | M::TaskStorage => None,
        M::Arena => (!same).then_some("only its own object knows what is in an arena"),
        M::ProgArray => Some("the programs in it are the old object's"),
        _ => Some("the kernel ties it to one load"),
    }
}

/// What is another between a map of the object and the one in the kernel.
fn differs(new: &OpenMap<'_>, old: &bpf_map_info) -> Option<String> {
    let kind = kind(new);
    if kind as u32 != old.type_ {
        return Some(format!("was {:?} and is {kind:?}", MapType::from(old.type_)));
    }
    // A device map always shows as read-only for programs (libbpf's `map_is_reuse_compat`).
    let shown = if matches!(kind, MapType::Devmap | MapType::DevmapHash) { libbpf_sys::BPF_F_RDONLY_PROG } else { 0 };
    let pairs = [
        ("keys", old.key_size, new.key_size()),
        ("values", old.value_size, new.value_size()),
        ("entries", old.max_entries, made(kind, new.map_flags(), new.max_entries()).unwrap_or(old.max_entries)),
        ("flags", old.map_flags & !shown, new.map_flags() & !shown),
    ];
    let (what, was, is) = pairs.into_iter().find(|p| p.1 != p.2)?;
    Some(match what {
        "entries" => format!("had {was} entries and has {is}"),
        "flags" => format!("had flags {was:#x} and has {is:#x}"),
        _ => format!("had {what} of {was} bytes and has {is}"),
    })
}

/// How many entries the kernel makes of so many declared; `None` where it decides by itself.
fn made(kind: MapType, flags: u32, declared: u32) -> Option<u32> {
    match kind {
        // A slot per processor, if none are declared.
        MapType::PerfEventArray => Some(declared).filter(|n| *n != 0),
        // Pages, a power of two of them: libbpf's `adjust_ringbuf_sz`.
        MapType::RingBuf | MapType::UserRingBuf => declared.max(page_size()?).checked_next_power_of_two(),
        // As many for each processor: `htab_map_alloc` in kernel/bpf/hashtab.c.
        MapType::LruHash | MapType::LruPercpuHash if flags & libbpf_sys::BPF_F_NO_COMMON_LRU != 0 => {
            declared.checked_next_multiple_of(u32::try_from(num_possible_cpus().ok()?).ok()?)
        }
        _ => Some(declared),
    }
}

/// Bytes of a page.
fn page_size() -> Option<u32> {
    u32::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on() {
        let goes_on = |name, kind, same| end(name, kind, same).is_none();
        assert!(goes_on("counts", MapType::Array, false));
        assert!(!goes_on("slots", MapType::ProgArray, true));
        assert!(!goes_on("xhint.rodata", MapType::Array, true));
        assert!(!goes_on(".rodata.cfg", MapType::Array, true));
        assert!(goes_on("xhint.bss", MapType::Array, true));
        assert!(!goes_on("xhint.bss", MapType::Array, false));
        assert!(!goes_on(".data.xhint", MapType::Array, true));
        assert!(!goes_on(".data.hot", MapType::Array, false));
        assert!(!goes_on("ops", MapType::StructOps, true));
        assert!(goes_on("heap", MapType::Arena, true) && !goes_on("heap", MapType::Arena, false));
        assert!(!goes_on("new", MapType::Unknown, true));
    }
}
