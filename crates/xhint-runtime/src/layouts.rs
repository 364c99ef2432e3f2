//! Layouts that come and go while a program runs.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::PathBuf;

use serde::Serialize;

use xhint_object::{c_name, selectors};
use xhint_universe::{Layout, LayoutId, SourceId, Universe};

use crate::attach::{Done, Running, attach_held};
use crate::counters::reset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::linker::{Linker, only_program};
use crate::load::{Plan, load};
use crate::long::{TooLong, too_long};
use crate::rights::Rights;
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

    /// Adds the layouts of `nic`. Those that are there already, the same as in another file, stay; nothing else is done if
    /// that is all of them.
    ///
    /// # Errors
    /// [`Error::LayoutThere`] for the same file again; any other. What ran goes on as it was.
    pub fn add(&self, linker: &Linker, nic: Source) -> Result<Changed> {
        let (_held, running) = self.take()?;
        let (before, path) = (&running.state, nic.path.clone());
        let again = before.nics.iter().any(|n| (&n.path, &n.bytes) == (&nic.path, &nic.bytes));
        let mut state = State { nics: [before.nics.as_slice(), &[nic]].concat(), ..before.clone() };
        // All together, so that two layouts with one id are found out.
        let universe = linker.universe_as(&before.options, &state.nics)?;
        let number = before.nics.len();
        let source = SourceId(u32::try_from(state.nics.len()).unwrap_or(u32::MAX));
        let own: Vec<usize> = positions(&universe, |l| l.is_of(source));
        if own.is_empty() {
            return Err(Error::NoLayout { path });
        }
        let wanted = linker.asked(before, &universe)?;
        let is_new = |l: &Layout| wanted.contains(&l.id) && before.layouts.iter().all(|s| s.id != l.id);
        let new: Vec<usize> = own.iter().copied().filter(|n| universe.layouts().get(*n).is_some_and(is_new)).collect();
        let ids =
            |list: &[usize]| list.iter().filter_map(|n| universe.layouts().get(*n)).map(|l| l.id).collect::<Vec<_>>();
        let shared = ids(&own);
        for layout in state.layouts.iter_mut().filter(|l| shared.contains(&l.id)) {
            layout.also.push(number);
        }
        if new.is_empty() {
            return self.add_nothing(&running, &state, path, again);
        }
        if !running.is_tail() || !running.takes(&universe, &new)? {
            let ids = before.layouts.iter().map(|l| l.id).chain(ids(&new)).collect::<Vec<_>>();
            return self.relink(linker, &running, state.nics, &ids);
        }
        let first = before.layouts.len();
        for layout in new.iter().filter_map(|n| universe.layouts().get(*n)) {
            let wanted = LayoutState {
                name: layout.name.clone(),
                id: layout.id,
                size: layout.size,
                nic: number,
                also: Vec::new(),
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
            running.prepare(linker, &universe, self.device, &wanted).inspect_err(|_| running.drop_unused())?;
            state.layouts.push(wanted);
            state.take_slots();
        }
        let written = state.write_added(&running.generation.state, first);
        written.and_then(|()| running.settle(&state)).inspect_err(|_| running.drop_unused())?;
        let layouts = state.layouts.split_off(first);
        let too_long = too_long(self.device, &layouts);
        Ok(Changed { layouts, swap: None, too_long })
    }

    /// Notes a file that has no layout but those that are there.
    fn add_nothing(&self, running: &Running, state: &State, path: PathBuf, again: bool) -> Result<Changed> {
        let number = state.nics.len().saturating_sub(1);
        let Some(there) = state.layouts.iter().find(|l| l.also.contains(&number)) else {
            return Err(Error::NotAsked { path });
        };
        if again {
            let (device, layout) = (self.device.name().to_owned(), there.name.clone());
            return Err(Error::LayoutThere { device, layout });
        }
        state.write_added(&running.generation.state, state.layouts.len())?;
        Ok(Changed { layouts: Vec::new(), swap: None, too_long: Vec::new() })
    }

    /// Takes layouts away: those of this name, this id (`0x…` or decimal), or that this file alone has. Their packets go to
    /// the fallback from then on.
    ///
    /// # Errors
    /// [`Error::NoSuchLayout`] if there is none; otherwise as [`Layouts::add`].
    pub fn remove(&self, linker: &Linker, which: &str) -> Result<Changed> {
        let (_held, running) = self.take()?;
        let state = &running.state;
        let (gone, kept) = state.without(which);
        if gone.is_empty() && kept == state.layouts {
            let have: Vec<_> = state.layouts.iter().map(|l| format!("{} ({})", l.name, LayoutId(l.id))).collect();
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

    /// Links anew for the layouts of `nics` with these ids, and swaps.
    fn relink(&self, linker: &Linker, running: &Running, nics: Vec<Source>, ids: &[u32]) -> Result<Changed> {
        let state = &running.state;
        if state.options.asked == "none" && ids.len() > 1 {
            return Err(Error::OneLayout { device: self.device.name().to_owned() });
        }
        let layouts = ids.iter().map(|id| LayoutId(*id).to_string()).collect();
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

/// The places among the universe's of layouts that are so.
fn positions(universe: &Universe, is_so: impl Fn(&Layout) -> bool) -> Vec<usize> {
    let all = universe.layouts().iter().enumerate();
    all.filter(|(_, layout)| is_so(layout)).map(|(n, _)| n).collect()
}

impl Running {
    fn is_tail(&self) -> bool {
        self.state.options.dispatch == "tail"
    }

    /// Whether the entry that runs finds packets of these layouts once they are in its table, and of them alone.
    ///
    /// # Errors
    /// [`Error::Link`] if a packet could pass for two of all the layouts.
    fn takes(&self, universe: &Universe, new: &[usize]) -> Result<bool> {
        let state = &self.state;
        let live = |l: &Layout| state.layouts.iter().find(|s| s.id == l.id);
        let all = [positions(universe, |l| live(l).is_some()), new.to_vec()].concat();
        let err = |cause| Error::Link { path: state.object.path.clone(), cause: Box::new(cause) };
        let clashes = selectors::check(universe, &all, &state.options.first).map_err(err)?;
        let linked = positions(universe, |l| live(l).is_some_and(|s| s.added.is_none() && !s.fallback));
        // What the entry knew of layouts that are gone cannot be told any more.
        let gone = state.slots.iter().any(|t| t.linked && state.layouts.iter().all(|l| l.slot != Some(t.slot)));
        let size = |n: &usize| universe.layouts().get(*n).map(|l| l.size);
        let finds = |n: &usize| {
            let like: Vec<_> = linked.iter().copied().filter(|l| !gone || size(l) == size(n)).collect();
            !(gone && like.is_empty()) && selectors::looks_for(universe, &like, *n)
        };
        let has_none = |n: &usize| universe.layouts().get(*n).is_some_and(|l| l.selector.is_none());
        Ok(clashes.is_empty() && new.iter().all(|n| finds(n) || has_none(n)))
    }

    /// Clears away what broken-off steps left, and makes the maps say what the state says.
    fn repair(&self, device: &Device) -> Result<()> {
        debug_assert!(self.live.program != 0);
        self.site.repair(device)?;
        if self.is_tail() { self.settle(&self.state) } else { Ok(()) }
    }

    /// Links and loads the program for one more layout, and pins it; nothing leads to it yet.
    fn prepare(&self, linker: &Linker, universe: &Universe, device: &Device, layout: &LayoutState) -> Result<()> {
        let options = LinkedAs {
            layouts: vec![LayoutId(layout.id).to_string()],
            asked: "none".to_owned(),
            count: false,
            walk: self.state.options.walk && Rights::current().walk(),
            ..self.state.options.clone()
        };
        let linked = linker.link_in(universe, &self.state.object, &options, &[])?;
        let keep = self.generation.maps()?;
        let entry = options.program.clone().unwrap_or_else(|| only_program(&self.state.object));
        let entry = Some(entry.as_str()).filter(|e| !e.is_empty());
        let loaded = load(&Plan { object: &linked.bytes, entry, keep: &keep, same: true, device: device.name() })?;
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
        let live: HashSet<(u32, u32)> = state.layouts.iter().map(|l| (l.id, l.size)).collect();
        for (id, size) in slots.layouts() {
            if !live.contains(&(id, size))
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
        let used: HashSet<&str> = state.layouts.iter().filter_map(|l| l.added.as_deref()).collect();
        self.generation.drop_programs(|pin| pin.starts_with(ADDED) && !used.contains(pin))
    }

    /// What a step that failed has pinned goes: all that the state on disk does not speak of.
    fn drop_unused(&self) {
        let _later = self.generation.state().and_then(|state| self.drop_but(&state));
    }
}
