//! Layouts that come and go while a program runs.

use std::os::fd::AsFd;

use serde::Serialize;

use xhint_object::c_name;
use xhint_universe::Layout;

use crate::attach::{Done, Job, Running, attach_held};
use crate::counters::reset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::linker::Linker;
use crate::load::{Plan, load};
use crate::long::{TooLong, too_long};
use crate::site::Held;
use crate::slots::Slots;
use crate::state::{LayoutState, LinkedAs, Source, State};
use crate::sys;

/// What the pins of programs that were added are called, before the layout's name.
const ADDED: &str = "added_";

/// The layouts of what runs on one device.
///
/// Where the program is dispatched by tail call, a layout comes as one more program in one more slot, and no other
/// packet notices. Otherwise the program is linked anew for all of its layouts and takes the place of the old one in
/// one step. Either way the kernel has verified everything before any packet meets it, and maps go on.
#[derive(Debug)]
pub struct Layouts<'a> {
    home: &'a Home,
    device: &'a Device,
}

/// A layout as it stands with the running program.
#[derive(Debug, Clone, Serialize)]
pub struct LiveLayout {
    /// The layout.
    #[serde(flatten)]
    pub layout: LayoutState,
    /// The file it came from.
    pub source: String,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The layouts that came or went.
    pub layouts: Vec<LayoutState>,
    /// The swap it took; `None` if it was done in place.
    pub swap: Option<Done>,
    /// Of those that came, the ones that no packet can carry on this device.
    pub too_long: Vec<TooLong>,
}

impl<'a> Layouts<'a> {
    /// Those of `device`.
    pub fn of(home: &'a Home, device: &'a Device) -> Layouts<'a> {
        Layouts { home, device }
    }

    /// The layouts that packets are read by now.
    ///
    /// # Errors
    /// [`Error::NotAttached`] if nothing of ours runs.
    pub fn list(&self) -> Result<Vec<LiveLayout>> {
        let state = Running::on(self.home, self.device)?.state;
        let source = |l: &LayoutState| state.nics.get(l.nic).map_or_else(String::new, |n| n.path.display().to_string());
        Ok(state.layouts.iter().map(|l| LiveLayout { layout: l.clone(), source: source(l) }).collect())
    }

    /// Adds the layouts of `nic`.
    ///
    /// # Errors
    /// Any; what ran goes on as it was.
    pub fn add(&self, linker: &Linker, nic: Source) -> Result<Changed> {
        let (_held, running) = self.take()?;
        self.check_new(linker, &running.state, &nic)?;
        let mut nics = running.state.nics.clone();
        nics.push(nic);
        if !running.is_tail() {
            let known = running.state.layouts.iter().map(|l| l.id);
            let universe = linker.universe_as(&running.state.options, &nics)?;
            let wanted = linker.asked(&running.state, &universe)?;
            let new = universe.layouts().iter().filter(|l| l.source.0 as usize == nics.len()).map(|l| l.id);
            let ids: Vec<u32> = known.chain(new.filter(|id| wanted.contains(id))).collect();
            if ids.len() == running.state.layouts.len() {
                return Err(Error::NotAsked { path: nics.last().map(|n| n.path.clone()).unwrap_or_default() });
            }
            return self.relink(linker, &running, nics, &ids);
        }
        // All together, so that two layouts with one id are found out.
        let universe = linker.universe_as(&running.state.options, &nics)?;
        let first = running.state.layouts.len();
        let number = nics.len().saturating_sub(1);
        let wanted = linker.asked(&running.state, &universe)?;
        let new = |l: &&Layout| l.source.0 as usize == nics.len() && wanted.contains(&l.id);
        let new: Vec<_> = universe.layouts().iter().filter(new).collect();
        if new.is_empty() {
            return Err(Error::NotAsked { path: nics.last().map(|n| n.path.clone()).unwrap_or_default() });
        }
        let mut state = State { nics, ..running.state.clone() };
        for layout in new {
            let wanted = LayoutState {
                name: layout.name.clone(),
                id: layout.id,
                size: layout.size,
                nic: number,
                slot: Some(running.slot_for(&mut state, layout)?),
                added: Some(c_name(ADDED, &format!("{}_{:08x}", layout.name, layout.id))),
                fallback: false,
                lacks: String::new(),
                selector: layout.selector.is_some(),
            };
            if layout.selector.is_none() {
                let layout = layout.name.clone();
                return Err(Error::NoSelector { device: self.device.name().to_owned(), layout });
            }
            running.prepare(linker, self.device, &state, &wanted).inspect_err(|_| running.drop_unused())?;
            state.layouts.push(wanted);
            state.take_slots();
        }
        running.commit(&state).inspect_err(|_| running.drop_unused())?;
        let layouts = state.layouts.split_off(first);
        let too_long = too_long(self.device, &layouts);
        Ok(Changed { layouts, swap: None, too_long })
    }

    /// Takes layouts away: those of this name, this id (`0x…` or decimal), or from this file. Their packets go to the
    /// fallback from then on.
    ///
    /// # Errors
    /// [`Error::NoSuchLayout`] if there is none; otherwise as [`Layouts::add`].
    pub fn remove(&self, linker: &Linker, which: &str) -> Result<Changed> {
        let (_held, running) = self.take()?;
        let state = &running.state;
        let (gone, kept): (Vec<_>, Vec<_>) = state.layouts.iter().cloned().partition(|l| state.is_called(l, which));
        if gone.is_empty() {
            let have: Vec<_> = state.layouts.iter().map(|l| format!("{} ({:#010x})", l.name, l.id)).collect();
            let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
            return Err(Error::NoSuchLayout { device: self.device.name().to_owned(), which: which.to_owned(), have });
        }
        let next = state.with_layouts(kept);
        if running.is_tail() {
            running.commit(&next)?;
            return Ok(Changed { layouts: gone, swap: None, too_long: Vec::new() });
        }
        if next.layouts.is_empty() {
            return Err(Error::LastLayout { device: self.device.name().to_owned() });
        }
        let ids: Vec<u32> = next.layouts.iter().map(|l| l.id).collect();
        let changed = self.relink(linker, &running, next.nics, &ids)?;
        Ok(Changed { layouts: gone, too_long: Vec::new(), ..changed })
    }

    /// That `nic` has layouts, and none that is there already.
    fn check_new(&self, linker: &Linker, state: &State, nic: &Source) -> Result<()> {
        let universe = linker.universe_as(&state.options, std::slice::from_ref(nic))?;
        let there = universe.layouts().iter().find(|l| state.layouts.iter().any(|s| s.id == l.id));
        if let Some(layout) = there {
            let (device, layout) = (self.device.name().to_owned(), layout.name.clone());
            return Err(Error::LayoutThere { device, layout });
        }
        if universe.layouts().is_empty() { Err(Error::NoLayout { path: nic.path.clone() }) } else { Ok(()) }
    }

    /// Links anew for the layouts of `nics` with these ids, and swaps.
    fn relink(&self, linker: &Linker, running: &Running, nics: Vec<Source>, ids: &[u32]) -> Result<Changed> {
        let state = &running.state;
        if state.options.asked == "none" && ids.len() > 1 {
            return Err(Error::OneLayout { device: self.device.name().to_owned() });
        }
        let layouts = ids.iter().map(|id| format!("{id:#x}")).collect();
        let options = LinkedAs { layouts, ..state.options.clone() };
        let job = linker.link_after(Some(state), state.object.clone(), nics, options, state.mode)?;
        let known = |l: &LayoutState| state.layouts.iter().any(|k| k.id == l.id);
        let layouts: Vec<LayoutState> = job.state.layouts.iter().filter(|l| !known(l)).cloned().collect();
        if let Some(lacking) = layouts.iter().find(|l| l.fallback) {
            let (layout, why) = (lacking.name.clone(), lacking.lacks.clone());
            return Err(Error::Unreadable { device: self.device.name().to_owned(), layout, why });
        }
        let swap = attach_held(&running.site, self.device, &job)?;
        let too_long = too_long(self.device, &layouts);
        Ok(Changed { layouts, swap: Some(swap), too_long })
    }

    /// What runs, repaired, and the right to change it.
    fn take(&self) -> Result<(Held, Running)> {
        let held = Held::of(self.home, self.device)?;
        let running = Running::on(self.home, self.device)?;
        running.repair(self.device).map(|()| (held, running))
    }
}

impl Running {
    fn is_tail(&self) -> bool {
        self.state.options.dispatch == "tail"
    }

    /// Clears away what broken-off steps left, and makes the maps say what the state says.
    fn repair(&self, device: &Device) -> Result<()> {
        debug_assert!(self.live.program != 0);
        self.site.repair(device)?;
        if self.is_tail() { self.settle(&self.state) } else { Ok(()) }
    }

    /// Links and loads the program for one more layout, and pins it; nothing leads to it yet.
    fn prepare(&self, linker: &Linker, device: &Device, state: &State, layout: &LayoutState) -> Result<()> {
        let nic = state.nics.get(layout.nic).cloned().into_iter().collect();
        let options = LinkedAs {
            layouts: vec![format!("{:#x}", layout.id)],
            asked: "none".to_owned(),
            count: false,
            ..state.options.clone()
        };
        let Job { linked, state: single, .. } = linker.link(state.object.clone(), nic, options, state.mode)?;
        let keep = self.generation.maps()?;
        let entry = Some(single.entry.as_str()).filter(|e| !e.is_empty());
        let loaded = load(&Plan { object: &linked, entry, keep: &keep, same: true, device: device.name() })?;
        let path = self.generation.program_path(layout.added.as_deref().unwrap_or_default());
        let _none = std::fs::remove_file(&path);
        sys::pin(loaded.entry_fd()?.as_fd(), &path).map_err(Error::file(&path))
    }

    /// The slot for a layout that comes. One that another had counts from 0; the entry must not know it as the other's.
    fn slot_for(&self, state: &mut State, layout: &Layout) -> Result<u32> {
        if let Some(slot) = state.slot_for(layout.id, layout.size) {
            return Ok(slot);
        }
        let live = |slot: u32| state.layouts.iter().any(|l| l.slot == Some(slot));
        let free = state.slots.iter().find(|t| !t.linked && !live(t.slot));
        let gone = free.map(|t| t.slot).ok_or(Error::TableFull { id: layout.id })?;
        reset(&self.generation, gone)?;
        state.slots.retain(|t| t.slot != gone);
        Ok(gone)
    }

    /// Makes `state` what counts. If this is broken off, the next call goes on with it.
    fn commit(&self, state: &State) -> Result<()> {
        state.write(&self.generation.state)?;
        self.settle(state)
    }

    /// Makes slots and ids those of `state`: first those that go, then those that come.
    fn settle(&self, state: &State) -> Result<()> {
        let slots = Slots::open(&self.generation, &state.entry)?;
        let table = slots.table();
        for (id, size) in slots.layouts() {
            if !state.layouts.iter().any(|l| (l.id, l.size) == (id, size))
                && let Some((_, slot)) = table.find(id, size)
            {
                slots.empty(slot);
                slots.forget(id, size);
            }
        }
        for layout in &state.layouts {
            if let (Some(slot), Some(pin)) = (layout.slot, &layout.added)
                && table.find(layout.id, layout.size).is_none()
            {
                let path = self.generation.program_path(pin);
                let program = sys::pinned(&path).map_err(Error::file(&path))?;
                slots.fill(slot, program.as_fd())?;
                slots.point(layout.id, layout.size, slot)?;
            }
        }
        self.drop_but(state)
    }

    /// Unpins the programs that were added for no layout of `state`.
    fn drop_but(&self, state: &State) -> Result<()> {
        let used: Vec<&str> = state.layouts.iter().filter_map(|l| l.added.as_deref()).collect();
        self.generation.drop_programs(|pin| pin.starts_with(ADDED) && !used.contains(&pin))
    }

    /// What a step that failed has pinned goes: all that the state on disk does not speak of.
    fn drop_unused(&self) {
        let _later = self.generation.state().and_then(|state| self.drop_but(&state));
    }
}
