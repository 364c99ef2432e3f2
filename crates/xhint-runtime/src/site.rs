//! One link's pins and state, and which device it is on.
//!
//! ```text
//! /sys/fs/bpf/xhint/dev/NETNS-IFINDEX/link          the bpf_link: as long as it is there, the device runs its program
//!                                    /maps          leads to the current generation's maps
//!                                    /g7/programs/  one pin per program
//!                                    /g7/maps/      one pin per map
//!                                    /g7/entry      leads to the program that the device runs
//!                                    /g7/object     leads nowhere: its target tells which object it was made from
//! /run/xhint/dev/NETNS-IFINDEX/g7/                  what it was made from (state.rs)
//! ```
//! NETNS is the cookie of the network namespace that the device was in when the program was attached, IFINDEX its number
//! there: neither changes with a name. But a device may move to another namespace, and its number may be another's then,
//! so the directory's name tells where to look first and proves nothing. A site is a device's if the kernel says so: the
//! device runs the program that the link runs, and the link is on the device's number. It stays where it is until it ends.
//!
//! Nothing says which generation is the current one but the link itself: it is the one with the link's program.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libbpf_rs::query::{LinkInfo, LinkTypeInfo};
use libbpf_rs::{Link, Program};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::kept;
use crate::load::Loaded;
use crate::state::{Source, State};
use crate::taken_off::Kept;
use xhint_host::lock::{Lock, at_rest, holder};
use xhint_host::pin::{self, of_pin, to_pin};
use xhint_host::private::{is_there, make_dir, names, remove_dir, remove_empty};
use xhint_host::{Netns, Programs, xdp};

/// How long to wait for another xhint to finish with a device: a swap takes some 25 ms, a link well below a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// After so long that is told.
const SILENCE: Duration = Duration::from_secs(1);

/// Where one link's pins and state are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pins: PathBuf,
    state: PathBuf,
}

/// A site and the right to change it, which ends when this is dropped; so does the site if nothing is in it.
#[derive(Debug)]
pub(crate) struct Held {
    pub site: Site,
    _lock: Lock,
}

/// The link of a site, alive.
#[derive(Debug)]
pub(crate) struct Live {
    pub link: Link,
    /// Its id, which no other link gets.
    pub id: u32,
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

impl Held {
    /// The site for `device`, for whoever changes what it runs.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process keeps it for too long.
    pub fn of(home: &Home, device: &Device) -> Result<Held> {
        home.make()?;
        let since = Instant::now();
        let mut told = false;
        loop {
            let site = Site::of(home, device)?;
            if let Some(held) = Held::try_take(&site)? {
                // Until it was held, the device could move, and others could attach and detach.
                if Site::of(home, device)? == site {
                    return Ok(held);
                }
            } else if since.elapsed() > PATIENCE {
                return Err(Error::Busy { device: device.name().to_owned(), pid: holder(&site.pins) });
            } else {
                if !told && since.elapsed() > SILENCE {
                    told = true;
                    home.tell_of_wait(device.name(), holder(&site.pins));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// `site`; `None` while another process has it.
    pub fn try_take(site: &Site) -> Result<Option<Held>> {
        Ok(Lock::try_take(&site.pins)?.map(|lock| Held { site: site.clone(), _lock: lock }))
    }
}

impl Site {
    fn at(home: &Home, key: &str) -> Site {
        Site { pins: home.all_pins().join(key), state: home.all_state().join(key) }
    }

    /// Where to look for a device first.
    fn key(device: &Device) -> String {
        format!("{}-{}", device.netns().cookie(), device.ifindex())
    }

    /// Whether what is here was attached to a device that was where `device` is.
    fn is_from(&self, device: &Device) -> bool {
        let name = self.pins.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(&Site::key(device)).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// The one whose program `device` runs; if it runs none of ours, one that nothing runs of.
    pub fn of(home: &Home, device: &Device) -> Result<Site> {
        if let Some((site, _)) = Site::find(home, device)? {
            return Ok(site);
        }
        let (key, mut number) = (Site::key(device), 1u32);
        let mut site = Site::at(home, &key);
        // It may be that of one that moved away, and whose number this one got.
        while site.live()?.is_some() || site.keeps_anothers(device)? {
            number = number.saturating_add(1);
            site = Site::at(home, &format!("{key}-{number}"));
        }
        Ok(site)
    }

    /// Whether a program is kept here that was taken off another device, which had the number of `device`.
    fn keeps_anothers(&self, device: &Device) -> Result<bool> {
        Ok(Kept::of(&self.pins)?.is_some_and(|kept| kept.ifindex != Some(device.ifindex())))
    }

    /// The program that waits to be put back on `device`.
    pub fn kept_for(home: &Home, device: &Device) -> Result<Option<Kept>> {
        for site in Site::all(home)?.iter().filter(|site| site.is_from(device)) {
            let kept = site.waits()?.filter(|kept| kept.ifindex == Some(device.ifindex()));
            if kept.is_some() {
                return Ok(kept);
            }
        }
        Ok(None)
    }

    /// The program that is kept here, by who holds this.
    pub fn kept(&self) -> Result<Option<Kept>> {
        Kept::of(&self.pins)
    }

    /// The program that waits here to be put back. What a call keeps that is at work does not wait.
    pub fn waits(&self) -> Result<Option<Kept>> {
        let kept = || if self.live()?.is_none() { self.kept() } else { Ok(None) };
        at_rest(&self.pins, kept)?.unwrap_or(Ok(None))
    }

    /// The one whose program `device` runs, whatever it is called and wherever it was attached.
    pub fn find(home: &Home, device: &Device) -> Result<Option<(Site, Live)>> {
        home.check()?;
        loop {
            let programs = device.programs()?;
            if let Some(found) = Site::running(home, device, programs)? {
                return Ok(Some(found));
            }
            // A swap may have come between the two questions.
            if device.programs()? == programs {
                return Ok(None);
            }
        }
    }

    fn running(home: &Home, device: &Device, programs: Programs) -> Result<Option<(Site, Live)>> {
        if programs == Programs::default() {
            return Ok(None);
        }
        let is_it = |live: &Live| live.ifindex == device.ifindex() && programs.has(live.program);
        let own = Site::at(home, &Site::key(device));
        if let Some(live) = own.live()?.filter(is_it) {
            return Ok(Some((own, live)));
        }
        for site in Site::all(home)? {
            // What is wrong with another's is none of this device's business. One that has not moved is another's, even if
            // somebody put its program on this device, too, whose number is the same.
            let its = |live: &Live| is_it(live) && (site.is_from(device) || !site.is_at_origin(live));
            if let Some(live) = site.live().ok().flatten().filter(its) {
                return Ok(Some((site, live)));
            }
        }
        Ok(None)
    }

    /// All sites there are.
    pub fn all(home: &Home) -> Result<Vec<Site>> {
        home.check()?;
        let (mut all, dir) = (Vec::new(), home.all_pins());
        for name in names(&dir)? {
            if name.contains('-') {
                all.push(Site::at(home, &name));
            } else {
                // xhint 0.1 had a directory per namespace, in it one per device.
                all.extend(names(&dir.join(&name))?.iter().map(|old| Site::at(home, &format!("{name}/{old}"))));
            }
        }
        Ok(all)
    }

    /// Clears away what was kept for devices that are gone: nobody can ask for them any more.
    pub fn sweep(home: &Home) {
        for site in Site::all(home).unwrap_or_default() {
            // One that another xhint is at work on is its own to tidy.
            if matches!(site.live(), Ok(None))
                && let Ok(Some(held)) = Held::try_take(&site)
                && matches!(held.site.live(), Ok(None))
            {
                let _later = held.site.end(home);
            }
        }
    }

    pub fn link_path(&self) -> PathBuf {
        self.pins.join("link")
    }

    /// Whether anything is here.
    pub fn exists(&self) -> Result<bool> {
        Ok(!names(&self.pins)?.is_empty() || is_there(&self.state)?)
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
        let LinkInfo { info, prog_id, id, .. } = link.info().map_err(Error::file(&path))?;
        Ok(match info {
            LinkTypeInfo::Xdp(xdp) if xdp.ifindex != 0 => {
                Some(Live { link, id, program: prog_id, ifindex: xdp.ifindex })
            }
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

    /// Whether what `live` runs came to our link by someone else: what we put there is pinned still, and does not run.
    pub fn runs_anothers(&self, live: &Live) -> Result<bool> {
        let ours = self.generations()?.iter().any(|g| program_id(&g.entry_path()).is_ok());
        Ok(ours && self.current(live)?.is_none())
    }

    /// A generation that there is none of yet.
    pub fn next(&self) -> Result<Generation> {
        let last = self.generations()?.last().map_or(0, |g| g.number);
        Ok(self.generation(last.saturating_add(1)))
    }

    /// Clears away what steps left that did not come to their end. The caller holds this, and `device` runs its program,
    /// or none of ours.
    pub fn repair(&self, device: &Device) -> Result<()> {
        let Some(live) = self.live()? else {
            if self.is_anothers(device)? {
                return Ok(());
            }
            if !self.restore(device.netns(), device.ifindex())? {
                let netns = device.netns().name().map(str::to_owned);
                return Err(Error::NoDevice { device: device.name().to_owned(), netns });
            }
            return self.clear();
        };
        let Some(current) = self.current(&live)? else { return Ok(()) };
        self.keep_only(&current)
    }

    /// Whether nothing is kept here any more.
    fn restore(&self, netns: &Netns, ifindex: u32) -> Result<bool> {
        kept::restore(&self.pins, &|programs| self.has_program_of(programs), netns, ifindex)
    }

    /// Whether the state here may be that of a program whose pins are in another BPF file system, as that of a container
    /// with `/run` of the host: the device runs one, and of no load there are pins here.
    pub fn is_anothers(&self, device: &Device) -> Result<bool> {
        let pinned = names(&self.pins)?.iter().any(|name| name != "maps-new");
        Ok(!pinned && device.programs()?.ids().next().is_some())
    }

    /// The same for one that nobody asks for and that has no link: its device is told by the directory's name.
    fn end(&self, home: &Home) -> Result<()> {
        let Some(kept) = self.kept()? else { return self.clear() };
        // Where it is gone from, nobody need look for.
        let there = kept.ifindex.and_then(|_| self.origin());
        let is_back = there.map(|(netns, ifindex)| self.restore(&netns, ifindex)).transpose()?;
        if is_back == Some(true) {
            return self.clear();
        }
        home.tell_of_kept(&kept);
        Ok(())
    }

    /// Where its device was when it was attached to, if the namespace can be found: told by the directory's name.
    fn origin(&self) -> Option<(Netns, u32)> {
        let mut numbers = self.pins.file_name()?.to_str()?.split('-');
        let cookie: u64 = numbers.next()?.parse().ok()?;
        let ifindex = numbers.next()?.parse().ok()?;
        Some((Netns::all().find(|netns| netns.cookie() == cookie)?, ifindex))
    }

    /// Whether the device there runs the link's program still.
    fn is_at_origin(&self, live: &Live) -> bool {
        self.origin().is_some_and(|(netns, ifindex)| {
            let programs = netns.run(|| Ok::<_, Error>(xdp::query(ifindex).unwrap_or_default()));
            ifindex == live.ifindex && programs.is_ok_and(|programs| programs.has(live.program))
        })
    }

    /// The directory of the pins.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Whether one of `programs` is pinned here.
    pub fn has_program_of(&self, programs: Programs) -> bool {
        let generations = self.generations().unwrap_or_default();
        programs.ids().any(|id| generations.iter().any(|g| g.has_program(id).unwrap_or(false)))
    }

    /// Clears away all generations but one, which `maps` then leads to.
    pub fn keep_only(&self, current: &Generation) -> Result<()> {
        for old in self.generations()?.iter().filter(|g| g.number != current.number) {
            old.clear()?;
        }
        kept::forget(&self.pins);
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

    /// Clears away all but the directory that is locked. The link must be off the device.
    pub fn clear(&self) -> Result<()> {
        // The link goes first: as long as it is there, there is something to tell about.
        let _none = fs::remove_file(self.link_path());
        for name in names(&self.pins)? {
            let path = self.pins.join(name);
            let dir = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if dir { remove_dir(&path)? } else { fs::remove_file(&path).map_err(Error::file(&path))? }
        }
        remove_dir(&self.state)?;
        // One of xhint 0.1's has another above it.
        self.state.parent().into_iter().for_each(remove_empty);
        Ok(())
    }
}

impl Generation {
    /// Pins all programs and maps of `loaded` and writes `state` down. If it cannot do all, what it did is the caller's
    /// to clear away.
    pub fn make(&self, loaded: &Loaded, state: &State) -> Result<()> {
        state.write(&self.state)?;
        for (dir, pins) in [(self.programs_dir(), loaded.program_pins()), (self.maps_dir(), loaded.map_pins())] {
            make_dir(&dir)?;
            for (name, fd) in pins? {
                let path = dir.join(to_pin(&name));
                pin::put(fd.as_fd(), &path).map_err(Error::file(&path))?;
            }
        }
        let (entry, path) = (Path::new("programs").join(to_pin(loaded.entry())), self.entry_path());
        symlink(entry, &path).map_err(Error::file(&path))?;
        let path = self.object_path();
        symlink(state.object.digest(), &path).map_err(Error::file(&path))
    }

    /// Whether it was made from this object: told beside its pins, since the state may be lost while they live on.
    pub fn is_of(&self, object: &Source) -> bool {
        fs::read_link(self.object_path()).is_ok_and(|told| told == Path::new(object.digest()))
    }

    fn entry_path(&self) -> PathBuf {
        self.pins.join("entry")
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
        Ok(names(&dir)?.into_iter().map(|pin| (of_pin(&pin), dir.join(&pin))).collect())
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
        self.maps_dir().join(to_pin(name))
    }

    /// Where the program of this name is pinned.
    pub fn program_path(&self, name: &str) -> PathBuf {
        self.programs_dir().join(to_pin(name))
    }

    /// Unpins the programs whose name `gone` says so of.
    pub fn drop_programs(&self, gone: impl Fn(&str) -> bool) -> Result<()> {
        let dir = self.programs_dir();
        for pin in names(&dir)?.iter().filter(|pin| gone(&of_pin(pin))) {
            let path = dir.join(pin);
            fs::remove_file(&path).map_err(Error::file(&path))?;
        }
        Ok(())
    }

    fn has_program(&self, id: u32) -> Result<bool> {
        let is_it = |pin: &Path| program_id(pin).is_ok_and(|i| i == id);
        // Almost always it is that one, and there may be a thousand others.
        if is_it(&self.entry_path()) {
            return Ok(true);
        }
        let dir = self.programs_dir();
        Ok(names(&dir)?.iter().any(|pin| is_it(&dir.join(pin))))
    }

    pub fn clear(&self) -> Result<()> {
        remove_dir(&self.pins)?;
        Ok(remove_dir(&self.state)?)
    }
}

fn program_id(pin: &Path) -> libbpf_rs::Result<u32> {
    Program::id_from_fd(Program::fd_from_pinned_path(pin)?.as_fd())
}
