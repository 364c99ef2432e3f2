//! Loading a linked object through libbpf, with maps of an earlier load kept.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use libbpf_rs::{MapHandle, MapType, Object, ObjectBuilder, OpenObject, OpenProgram, ProgramType};

use xhint_host::{bound, libbpf_log};
use xhint_link::initial_programs;
use xhint_link::table::SLOTS;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::reuse::{Anew, Pinned, Reused, reuse};
use crate::rights::may_attach;

/// What to load, and of what.
#[derive(Debug)]
pub struct Load<'a> {
    /// The linked object.
    pub object: &'a Bytes,
    /// The program that goes on the device; `None` if the object has but one.
    pub entry: Option<&'a str>,
    /// Maps to go on with, by name and where each is pinned.
    pub keep: &'a Pinned,
    /// Whether the object is the same as the one the kept maps are of, so that its global data may be kept too.
    pub same: bool,
    /// The device, for messages.
    pub device: &'a str,
    /// The same, if the program is for it alone, since it asks the driver.
    pub bound: Option<&'a Device>,
}

/// `BPF_F_XDP_DEV_BOUND_ONLY` of include/uapi/linux/bpf.h.
const DEV_BOUND_ONLY: u32 = 1 << 6;

/// An object in the kernel, on no device yet. What is not pinned goes away with it.
#[derive(Debug)]
pub struct Loaded {
    object: Object,
    entry: String,
    maps: Reused,
}

/// Loads the programs and maps of `load`.
///
/// # Errors
/// [`Error::Load`] with the verifier's words, [`Error::MapChanged`], [`Error::NoProgram`], [`Error::ManyPrograms`].
/// Nothing is left in the kernel.
pub fn load(load: &Load<'_>) -> Result<Loaded> {
    let (opened, said) =
        libbpf_log::captured(|| ObjectBuilder::default().name("xhint").and_then(|b| b.open_memory(load.object)));
    let mut opened = opened.map_err(|e| refused("the object", &e, said))?;
    let entry = choose(&opened, load.entry)?;
    select(&mut opened, &entry, load.object)?;
    if let Some(device) = load.bound {
        bind(&mut opened, &entry, device.ifindex());
    }
    let maps = reuse(&mut opened, load.keep, load.same, load.device)?;
    // A device's number means it in its own namespace.
    let (loaded, said) = match load.bound {
        Some(device) => device.netns().run(|| Ok::<_, Error>(libbpf_log::captured(|| opened.load())))?,
        None => libbpf_log::captured(|| opened.load()),
    };
    match loaded {
        Ok(object) => {
            let loaded = Loaded { object, entry, maps };
            if load.bound.is_some() {
                loaded.check_length()?;
            }
            Ok(loaded)
        }
        Err(e) => {
            may_attach()?;
            Err(refused(&entry, &e, said))
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

    /// That the kernel added no more to that than there was room for ([`xhint_link::with_slack`]): of what it moved to another
    /// place it loses track.
    fn check_length(&self) -> Result<()> {
        let given = self.object.progs().find(|p| p.name() == self.entry.as_str()).map_or(0, |p| p.insn_cnt());
        let length = bound::length(self.entry_fd()?).map_err(Error::system("the program's length"))?;
        if length <= given { Ok(()) } else { Err(Error::Outgrown { program: self.entry.clone(), given, length }) }
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
        self.maps.names.iter().map(String::as_str).zip(self.object.maps()).filter_map(|(name, map)| {
            let handle = MapHandle::try_from(&map).ok()?;
            Some((name, handle))
        })
    }

    /// Maps that were there before and begin anew.
    pub fn anew(&self) -> &[Anew] {
        &self.maps.anew
    }

    /// Names and descriptors of all programs, for pinning.
    pub(crate) fn program_pins(&self) -> Result<Vec<(String, OwnedFd)>> {
        self.programs().map(|(name, fd)| Ok((name, copy(fd)?))).collect()
    }

    /// Names and descriptors of all maps, for pinning.
    pub(crate) fn map_pins(&self) -> Result<Vec<(String, OwnedFd)>> {
        self.maps().map(|(name, map)| Ok((name.to_owned(), copy(map.as_fd())?))).collect()
    }
}

fn copy(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().map_err(Error::system("cannot copy a descriptor"))
}

/// Has the program `entry` loaded for the device `ifindex` alone.
fn bind(object: &mut OpenObject, entry: &str, ifindex: u32) {
    for mut program in object.progs_mut().filter(|p| p.name() == entry) {
        program.set_ifindex(ifindex);
        // What libbpf sets by the section's name it sets later.
        program.set_flags(DEV_BOUND_ONLY);
    }
}

/// Which program goes on the device.
fn choose(object: &OpenObject, wanted: Option<&str>) -> Result<String> {
    let all: Vec<_> = object.progs().map(|p| (text(p.name()), text(p.section()), fits(&p))).collect();
    let xdp: Vec<&str> = all.iter().filter(|p| p.2 == Fit::Device).map(|p| p.0.as_str()).collect();
    let named = wanted.and_then(|name| all.iter().find(|p| p.0 == name));
    match (wanted, named, xdp.as_slice()) {
        (_, Some((name, _, Fit::Device)), _) => Ok(name.clone()),
        (_, Some((program, section, Fit::Entry)), _) => {
            Err(Error::ForMapEntry { program: program.clone(), section: section.clone() })
        }
        (Some(_), Some((program, section, Fit::Unknown)), _) => {
            Err(Error::UnknownSection { program: program.clone(), section: section.clone() })
        }
        (None, _, [one]) => Ok((*one).to_owned()),
        (None, _, many) if !many.is_empty() => Err(Error::ManyPrograms(many.join(", "))),
        (None, _, _) if let Some((program, section, _)) = all.iter().find(|p| p.2 == Fit::Unknown) => {
            Err(Error::UnknownSection { program: program.clone(), section: section.clone() })
        }
        (wanted, _, have) => Err(Error::NoProgram {
            wanted: wanted.map(|w| format!("{w} ")).unwrap_or_default(),
            have: if have.is_empty() { "none".to_owned() } else { have.join(", ") },
        }),
    }
}

/// Where a program can be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// On a device.
    Device,
    /// On an entry of a device map or processor map.
    Entry,
    /// Its section says nothing that libbpf knows.
    Unknown,
    /// Elsewhere.
    Other,
}

fn fits(program: &OpenProgram<'_>) -> Fit {
    let section = text(program.section());
    match program.prog_type() {
        ProgramType::Xdp if section.ends_with("/devmap") || section.ends_with("/cpumap") => Fit::Entry,
        ProgramType::Xdp => Fit::Device,
        ProgramType::Unspec => Fit::Unknown,
        _ => Fit::Other,
    }
}

fn text(name: &std::ffi::OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// Only the entry is loaded, and what stands in program arrays from the start: another program of the object may ask for
/// what this host has not. With a program array that the user fills, any program that is not for on-demand loading may
/// come to stand in it.
fn select(object: &mut OpenObject, entry: &str, file: &Bytes) -> Result<()> {
    let initial = initial_programs(file).map_err(|e| Error::Load {
        program: "the object".to_owned(),
        reason: e.to_string(),
        log: String::new(),
    })?;
    let users = |name: &str| !name.starts_with(SLOTS);
    let fills = object.maps().any(|m| m.map_type() == MapType::ProgArray && users(&text(m.name())));
    for mut program in object.progs_mut() {
        let (name, section) = (text(program.name()), text(program.section()));
        let may = fills && fits(&program) == Fit::Device && !section.starts_with('?');
        program.set_autoload(name == entry || may || initial.contains(&name));
    }
    Ok(())
}

/// The kernel's refusal, or libbpf's.
fn refused(what: &str, error: &libbpf_rs::Error, log: String) -> Error {
    Error::Load {
        program: libbpf_log::program(&log).unwrap_or(what).to_owned(),
        reason: libbpf_log::reason(&log).unwrap_or_else(|| format!("{error:#}")),
        log,
    }
}
