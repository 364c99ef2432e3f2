//! Layouts that come and go while a program runs.

use std::collections::{HashMap, HashSet};

use xhint_link::{Dispatch, c_name, selectors};
use xhint_universe::{Layout, LayoutId, Universe};

use crate::attach::{Done, Running, attach_held};
pub use crate::coming::Which;
use crate::coming::{Coming, positions};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::in_place::{ADDED, InPlace};
use crate::linker::Linker;
use crate::parsed::Parsed;
use crate::site::Held;
use crate::state::{Change, LayoutState, LinkedAs, Source, Taken};
use crate::too_long::{TooLong, too_long};

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
#[derive(Debug, Clone)]
pub struct LiveLayout {
    /// The layout.
    pub layout: LayoutState,
    /// The files that have it, the one it came from first.
    pub sources: Vec<String>,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct Changed {
    /// The layouts that came or went. None if they had come, or stay, with another file.
    pub layouts: Vec<LayoutState>,
    /// The swap it took; `None` if it was done in place.
    pub swap: Option<Done>,
    /// Of those that came, the ones that no packet can carry on this device.
    pub too_long: Vec<TooLong>,
    /// What is worth knowing and stops nothing.
    pub warnings: Vec<String>,
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
        Ok(state.layouts.iter().map(|l| LiveLayout { layout: l.clone(), sources: state.sources_of(l) }).collect())
    }

    /// Adds the layouts of `nic`. Those that are there already, the same as in another file, stay; nothing else is done if
    /// that is all of them.
    ///
    /// # Errors
    /// Any; what ran goes on as it was.
    pub fn add(&self, linker: &Linker, nic: Source) -> Result<Changed> {
        self.add_some(linker, nic, &Which::default())
    }

    /// The same for some of its layouts.
    ///
    /// # Errors
    /// As [`Layouts::add`].
    pub fn add_some(&self, linker: &Linker, nic: Source, which: &Which) -> Result<Changed> {
        let (_held, running) = self.take()?;
        self.add_to(&running, linker, nic, which).map_err(|e| running.or_lost(self.device, e))
    }

    fn add_to(&self, running: &Running, linker: &Linker, nic: Source, which: &Which) -> Result<Changed> {
        let object = running.object()?;
        let coming = Coming::new(linker, &running.state, &object, nic, which)?;
        let (state, new) = (&coming.state, coming.new.as_slice());
        if new.is_empty() && which.first.is_empty() {
            if coming.at.is_none() {
                running.state.write_change(&running.generation.state, &coming.change(Vec::new()))?;
            }
            return Ok(Changed::default());
        }
        // Who is to be tried first is written into the entry.
        if !running.is_tail() || !which.first.is_empty() || !running.takes(&coming.universe, new)? {
            let live = running.state.layouts.iter().map(|l| l.id);
            let ids: Vec<u32> = live.chain(coming.layouts().map(|l| l.id)).collect();
            let again = |name: &&String| !which.first.contains(name);
            let first = which.first.iter().chain(state.options.first.iter().filter(again)).cloned().collect();
            let options = LinkedAs { first, ..state.options.clone() };
            return self.relink(linker, running, object, state.nics.clone(), options, &ids);
        }
        let in_place = InPlace::of(running)?;
        self.add_in_place(linker, &in_place, &object, &coming).inspect_err(|_| in_place.drop_unused())
    }

    /// Adds layouts each by a program in a slot of its own.
    fn add_in_place(
        &self,
        linker: &Linker,
        in_place: &InPlace<'_>,
        object: &Parsed,
        coming: &Coming,
    ) -> Result<Changed> {
        let mut state = coming.state.clone();
        let mut layouts = Vec::new();
        for layout in coming.layouts() {
            if layout.selector.is_none() {
                let layout = format!("{} ({})", layout.name, LayoutId(layout.id));
                return Err(Error::NoSelector { device: self.device.name().to_owned(), layout });
            }
            let wanted = LayoutState {
                name: layout.name.clone(),
                id: layout.id,
                size: layout.size,
                nic: coming.number,
                also: Vec::new(),
                slot: Some(in_place.slot_for(&state, layout)?),
                added: Some(c_name(ADDED, &format!("{}_{:08x}", layout.name, layout.id))),
                fallback: false,
                lacks: String::new(),
                selector: true,
            };
            state.take_slot(&wanted);
            state.layouts.push(wanted.clone());
            layouts.push(wanted);
        }
        in_place.has_room(&state)?;
        let mut warnings = Vec::new();
        for layout in &layouts {
            warnings.extend(in_place.prepare(linker, &coming.universe, object, self.device, layout)?);
        }
        warnings.extend(state.recounted(coming.before).map(Taken::note));
        in_place.apply(&state, &coming.change(layouts.clone()))?;
        let too_long = too_long(self.device, &layouts);
        warnings.dedup();
        Ok(Changed { layouts, swap: None, too_long, warnings })
    }

    /// Takes layouts away: the one of this name, this id or this name that it is declared `as`, or those
    /// that this file alone has. Their packets go to the fallback from then on.
    ///
    /// # Errors
    /// [`Error::NoSuchLayout`] if there is none, [`Error::ManyLayouts`] if several are called so; otherwise as
    /// [`Layouts::add`].
    pub fn remove(&self, linker: &Linker, which: &str) -> Result<Changed> {
        let (_held, running) = self.take()?;
        self.remove_from(&running, linker, which).map_err(|e| running.or_lost(self.device, e))
    }

    fn remove_from(&self, running: &Running, linker: &Linker, which: &str) -> Result<Changed> {
        let (state, device) = (&running.state, || self.device.name().to_owned());
        let removal = state.removal(which);
        let gone: Vec<_> = removal.layouts.iter().filter_map(|n| state.layouts.get(*n).cloned()).collect();
        let words = |all: &[LayoutState]| {
            let all: Vec<_> = all.iter().map(|l| format!("{} ({})", l.name, LayoutId(l.id))).collect();
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        };
        if gone.is_empty() && removal.nics.is_empty() {
            let have = words(&state.layouts);
            return Err(Error::NoSuchLayout { device: device(), which: which.to_owned(), have });
        }
        if gone.len() > 1 && removal.nics.is_empty() {
            return Err(Error::ManyLayouts { device: device(), which: which.to_owned(), have: words(&gone) });
        }
        if let Some(made) = gone.iter().find(|layout| state.made().any(|id| id == layout.id)) {
            return Err(Error::IsFilled { device: device(), layout: made.name.clone() });
        }
        let mut next = state.clone();
        next.remove(&removal);
        // Where packets can pass for several layouts, the entry must not go on looking for one that is gone.
        let in_place = running.is_tail() && (state.options.first.is_empty() || next.layouts.is_empty());
        if in_place || gone.is_empty() {
            let change = Change::Removed(removal);
            if running.is_tail() {
                InPlace::of(running)?.apply(&next, &change)?;
            } else {
                // Nothing but the file goes, and all that runs stays.
                state.write_change(&running.generation.state, &change)?;
            }
            return Ok(Changed { layouts: gone, ..Changed::default() });
        }
        if next.layouts.is_empty() {
            return Err(Error::LastLayout { device: device() });
        }
        let ids: Vec<u32> = next.layouts.iter().map(|l| l.id).collect();
        let changed = self.relink(linker, running, running.object()?, next.nics, state.options.clone(), &ids)?;
        Ok(Changed { layouts: gone, too_long: Vec::new(), ..changed })
    }

    /// Links anew for the layouts of `nics` with these ids, and swaps.
    fn relink(
        &self,
        linker: &Linker,
        running: &Running,
        object: Parsed,
        nics: Vec<Source>,
        options: LinkedAs,
        ids: &[u32],
    ) -> Result<Changed> {
        let state = &running.state;
        if state.options.asked == Dispatch::None && ids.len() > 1 {
            return Err(Error::OneLayout { device: self.device.name().to_owned() });
        }
        let options = LinkedAs { only: Some(ids.to_vec()), ..options };
        let job = linker.for_device(self.device).link_again(state, object, nics, options)?;
        let known = |l: &LayoutState| state.layouts.iter().any(|k| k.id == l.id);
        let layouts: Vec<LayoutState> = job.state.layouts.iter().filter(|l| !known(l)).cloned().collect();
        if let Some(lacking) = layouts.iter().find(|l| l.fallback) {
            let (layout, why) = (lacking.name.clone(), lacking.lacks.clone());
            return Err(Error::Unreadable { device: self.device.name().to_owned(), layout, why });
        }
        let swap = attach_held(&running.site, self.device, &job)?;
        let too_long = too_long(self.device, &layouts);
        Ok(Changed { layouts, swap: Some(swap), too_long, warnings: job.warnings })
    }

    /// What runs, repaired, and the right to change it.
    fn take(&self) -> Result<(Held, Running)> {
        let held = Held::of(self.home, self.device)?;
        let running = Running::on(self.home, self.device)?;
        running.repair(self.device).map(|()| (held, running))
    }
}

impl Running {
    /// What came of a step, but where a file that was kept is lost that, and its cure: it may well be why.
    fn or_lost(&self, device: &Device, error: Error) -> Error {
        if !matches!(error, Error::Host(_) | Error::Altered { .. } | Error::Source { .. }) {
            return error;
        }
        match self.state.clone().loaded() {
            Err(cause) => Error::Lost { device: device.name().to_owned(), cause: Box::new(cause) },
            Ok(_) => error,
        }
    }

    fn object(&self) -> Result<Parsed> {
        Parsed::of(self.state.object.clone(), &self.state.options.set)
    }

    fn is_tail(&self) -> bool {
        self.state.options.dispatch == Dispatch::Tail
    }

    /// Whether the entry that runs finds packets of these layouts once they are in its table, and of them alone.
    ///
    /// # Errors
    /// [`Error::Link`] if a packet could pass for two of all the layouts.
    fn takes(&self, universe: &Universe, new: &[usize]) -> Result<bool> {
        let state = &self.state;
        let by_id: HashMap<u32, &LayoutState> = state.layouts.iter().map(|s| (s.id, s)).collect();
        let live = |l: &Layout| by_id.get(&l.id);
        let all = [positions(universe, |l| live(l).is_some()), new.to_vec()].concat();
        let err = |cause| Error::Link { path: state.object.path.clone(), cause: Box::new(cause) };
        let clashes = selectors::check(universe, &all, &state.options.first_in(universe, Some(state))).map_err(err)?;
        let linked = positions(universe, |l| live(l).is_some_and(|s| s.added.is_none()));
        // What the entry knew of layouts that are gone cannot be told any more.
        let slots: HashSet<u32> = state.layouts.iter().filter_map(|l| l.slot).collect();
        let gone = state.slots.iter().any(|t| t.linked && !slots.contains(&t.slot));
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
        if self.is_tail() { InPlace::of(self)?.settle(&self.state) } else { Ok(()) }
    }
}
