//! One device's pins and state, and what they say is running.
//!
//! ```text
//! /sys/fs/bpf/xhint/dev/NETNS/IFNAME/link          the bpf_link: as long as it is there, the device runs its program
//!                                   /maps          leads to the current generation's maps
//!                                   /g7/programs/  one pin per program
//!                                   /g7/maps/      one pin per map
//!                                   /g7/object     leads nowhere: its target tells which object it was made from
//! /run/xhint/dev/NETNS/IFNAME/g7/                  what it was made from (state.rs)
//! ```
//! Nothing says which generation is the current one but the link itself: it is the one with the link's program.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libbpf_rs::query::{LinkInfo, LinkTypeInfo};
use libbpf_rs::{Link, Program};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::home::{Home, name_of_pin, pin_name, remove_dir, remove_empty};
use crate::load::Loaded;
use crate::state::{Source, State};
use crate::sys;

/// Where one device's pins and state are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// Inode of the network namespace that the device was in.
    pub netns: u64,
    /// Its name then.
    pub name: String,
    pins: PathBuf,
    state: PathBuf,
}

/// The link of a site, alive.
#[derive(Debug)]
pub(crate) struct Live {
    pub link: Link,
    /// The program it runs.
    pub program: u32,
    /// The device it is on.
    pub ifindex: u32,
}

/// One load: its pins and the state it was made from.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    pub number: u64,
    pub pins: PathBuf,
    pub state: PathBuf,
}

impl Site {
    /// That of a device by its present name.
    pub fn of(home: &Home, device: &Device) -> Site {
        Site::at(home, device.netns().inode(), device.name())
    }

    fn at(home: &Home, netns: u64, name: &str) -> Site {
        Site { netns, name: name.to_owned(), pins: home.pins(netns, name), state: home.state(netns, name) }
    }

    /// The one whose program `device` runs: under another name, if it was renamed or moved since.
    pub fn find(home: &Home, device: &Device) -> Result<Site> {
        let own = Site::of(home, device);
        if own.live()?.is_some() {
            return Ok(own);
        }
        let ids: Vec<u32> = device.programs()?.ids().collect();
        if !ids.is_empty() {
            for other in Site::all(home)? {
                if other.live()?.is_some_and(|l| ids.contains(&l.program)) {
                    return Ok(other);
                }
            }
        }
        Ok(own)
    }

    /// All sites there are.
    pub fn all(home: &Home) -> Result<Vec<Site>> {
        let mut all = Vec::new();
        for dir in names(&home.all_pins())? {
            let Ok(netns) = dir.parse() else { continue };
            let pins = names(&home.all_pins().join(&dir))?;
            all.extend(pins.iter().map(|pin| Site::at(home, netns, &name_of_pin(pin))));
        }
        Ok(all)
    }

    pub fn link_path(&self) -> PathBuf {
        self.pins.join("link")
    }

    /// Whether anything is here.
    pub fn exists(&self) -> Result<bool> {
        Ok(is_there(&self.pins)? || is_there(&self.state)?)
    }

    /// The link, if it is there and still on a device. One that was detached, or whose device is gone, has no ifindex.
    pub fn live(&self) -> Result<Option<Live>> {
        let path = self.link_path();
        if !is_there(&path)? {
            return Ok(None);
        }
        let link = match Link::open(&path) {
            // Taken off just now.
            Err(e) if e.kind() == libbpf_rs::ErrorKind::NotFound => return Ok(None),
            link => link.map_err(Error::file(&path))?,
        };
        let LinkInfo { info, prog_id, .. } = link.info().map_err(Error::file(&path))?;
        Ok(match info {
            LinkTypeInfo::Xdp(xdp) if xdp.ifindex != 0 => Some(Live { link, program: prog_id, ifindex: xdp.ifindex }),
            _ => None,
        })
    }

    /// All generations, oldest first.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        let all = [names(&self.pins)?, names(&self.state)?].concat();
        let mut numbers: Vec<u64> = all.iter().filter_map(|n| n.strip_prefix('g')?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers.into_iter().map(|n| self.generation(n)).collect())
    }

    fn generation(&self, number: u64) -> Generation {
        let name = format!("g{number}");
        Generation { number, pins: self.pins.join(&name), state: self.state.join(&name) }
    }

    /// The generation that `live` runs.
    pub fn current(&self, live: &Live) -> Result<Option<Generation>> {
        for generation in self.generations()?.into_iter().rev() {
            if generation.has_program(live.program)? {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    /// A generation that there is none of yet.
    pub fn next(&self) -> Result<Generation> {
        let last = self.generations()?.last().map_or(0, |g| g.number);
        Ok(self.generation(last.saturating_add(1)))
    }

    /// Clears away what steps left that did not come to their end. The caller holds the device's lock.
    pub fn repair(&self) -> Result<()> {
        let Some(live) = self.live()? else { return self.clear() };
        let Some(current) = self.current(&live)? else { return Ok(()) };
        self.keep_only(&current)
    }

    /// Clears away all generations but one, which `maps` then leads to.
    pub fn keep_only(&self, current: &Generation) -> Result<()> {
        for old in self.generations()?.iter().filter(|g| g.number != current.number) {
            old.clear()?;
        }
        let (maps, fresh) = (self.pins.join("maps"), self.pins.join("maps-new"));
        let target = Path::new(&format!("g{}", current.number)).join("maps");
        if fs::read_link(&maps).is_ok_and(|t| t == target) {
            return Ok(());
        }
        // In two steps, so that there always is one.
        let _none = fs::remove_file(&fresh);
        symlink(&target, &fresh).map_err(Error::file(&fresh))?;
        fs::rename(&fresh, &maps).map_err(Error::file(&maps))
    }

    /// Clears away all. The link must be off the device.
    pub fn clear(&self) -> Result<()> {
        // The link goes first: as long as it is there, there is something to tell about.
        let _none = fs::remove_file(self.link_path());
        remove_dir(&self.pins)?;
        remove_dir(&self.state)?;
        for dir in [&self.pins, &self.state] {
            dir.parent().into_iter().for_each(remove_empty);
        }
        Ok(())
    }

    /// Takes over the pins and state of `other`: the device was renamed or moved since.
    pub fn take_over(&self, other: &Site) -> Result<()> {
        for (from, to) in [(&other.pins, &self.pins), (&other.state, &self.state)] {
            if let Some(dir) = to.parent() {
                fs::create_dir_all(dir).map_err(Error::file(dir))?;
            }
            if from.exists() {
                fs::rename(from, to).map_err(Error::file(from))?;
            }
            from.parent().into_iter().for_each(remove_empty);
        }
        Ok(())
    }
}

impl Generation {
    /// Pins all programs and maps of `loaded` and writes `state` down. If it cannot do all, what it did is the caller's
    /// to clear away.
    pub fn make(&self, loaded: &Loaded, state: &State) -> Result<()> {
        state.write(&self.state)?;
        for (dir, pins) in [(self.programs_dir(), loaded.program_pins()), (self.maps_dir(), loaded.map_pins())] {
            fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
            for (name, fd) in pins? {
                let path = dir.join(pin_name(&name));
                sys::pin(fd.as_fd(), &path).map_err(Error::file(&path))?;
            }
        }
        let path = self.object_path();
        symlink(state.object.digest(), &path).map_err(Error::file(&path))
    }

    /// Whether it was made from this object: told beside its pins, since the state may be lost while they live on.
    pub fn is_of(&self, object: &Source) -> bool {
        fs::read_link(self.object_path()).is_ok_and(|told| told == Path::new(object.digest()))
    }

    fn object_path(&self) -> PathBuf {
        self.pins.join("object")
    }

    /// What it was made from.
    pub fn state(&self) -> Result<State> {
        State::read(&self.state)
    }

    /// Its maps by name, and where each is pinned.
    pub fn maps(&self) -> Result<Vec<(String, PathBuf)>> {
        let dir = self.maps_dir();
        Ok(names(&dir)?.into_iter().map(|pin| (name_of_pin(&pin), dir.join(&pin))).collect())
    }

    /// Where its maps are pinned.
    pub fn maps_dir(&self) -> PathBuf {
        self.pins.join("maps")
    }

    /// Where its programs are pinned.
    pub fn programs_dir(&self) -> PathBuf {
        self.pins.join("programs")
    }

    /// Where the map of this name is pinned.
    pub fn map_path(&self, name: &str) -> PathBuf {
        self.maps_dir().join(pin_name(name))
    }

    /// Where the program of this name is pinned.
    pub fn program_path(&self, name: &str) -> PathBuf {
        self.programs_dir().join(pin_name(name))
    }

    /// Unpins the programs whose name `gone` says so of.
    pub fn drop_programs(&self, gone: impl Fn(&str) -> bool) -> Result<()> {
        let dir = self.programs_dir();
        for pin in names(&dir)?.iter().filter(|pin| gone(&name_of_pin(pin))) {
            let path = dir.join(pin);
            fs::remove_file(&path).map_err(Error::file(&path))?;
        }
        Ok(())
    }

    fn has_program(&self, id: u32) -> Result<bool> {
        let dir = self.programs_dir();
        Ok(names(&dir)?.iter().any(|pin| program_id(&dir.join(pin)).is_ok_and(|i| i == id)))
    }

    pub fn clear(&self) -> Result<()> {
        remove_dir(&self.pins)?;
        remove_dir(&self.state)
    }
}

fn program_id(pin: &Path) -> libbpf_rs::Result<u32> {
    Program::id_from_fd(Program::fd_from_pinned_path(pin)?.as_fd())
}

/// The names in a directory, sorted; none if there is no such directory.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries.map_err(Error::file(dir))?,
    };
    let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// Whether there is such a file. One that may not be looked for is not just absent.
fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().map_err(Error::file(path))
}
