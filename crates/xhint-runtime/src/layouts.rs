//! Layouts that come and go while a program runs.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::sync::Arc;

use xhint_link::{Dispatch, Link, LinkOptions, c_name, selectors};
use xhint_universe::{Layout, LayoutId, LayoutRef, SourceId, Universe};

use crate::attach::{Done, Running, attach_held};
use crate::counters::Forgotten;
use crate::described::Described;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::linker::{Linker, link_options};
use crate::load::{Load, load};
use crate::named::names;
use crate::parsed::{Parsed, only_program};
use crate::rights::may_walk;
use crate::site::Held;
use crate::slots::Slots;
use crate::state::{Change, LayoutState, LinkedAs, Source, State};
use crate::too_long::{TooLong, too_long};
use xhint_host::pin;

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

/// Which layouts of a NIC BTF are to come, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Only those that are called so, by name, by id or by a name that they answer to; a struct becomes one by being named. None
    /// stands for all.
    pub layouts: Vec<String>,
    /// Names or ids of those that are tried first, where a packet can pass for several.
    pub first: Vec<String>,
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
            if !running.state.nics.contains(&coming.nic) {
                running.write(state, state.addition(state.layouts.len(), &coming.named))?;
            }
            return Ok(Changed::default());
        }
        // Who is to be tried first is written into the entry.
        if !running.is_tail() || !which.first.is_empty() || !running.takes(&coming.universe, new)? {
            let ids =
                running.state.layouts.iter().map(|l| l.id).chain(coming.layouts().map(|l| l.id)).collect::<Vec<_>>();
            let again = |name: &&String| !which.first.contains(name);
            let first = which.first.iter().chain(state.options.first.iter().filter(again)).cloned().collect();
            // The same file again is there already.
            let nics = if running.state.nics.contains(&coming.nic) { &running.state.nics } else { &state.nics };
            return self.relink(
                linker,
                running,
                object,
                nics.clone(),
                LinkedAs { first, ..state.options.clone() },
                &ids,
            );
        }
        self.add_in_place(linker, running, &object, coming)
    }

    /// Adds layouts each by a program in a slot of its own.
    fn add_in_place(&self, linker: &Linker, running: &Running, object: &Parsed, coming: Coming) -> Result<Changed> {
        let Coming { universe, number: nic, mut state, new, named, .. } = coming;
        let (first, mut warnings) = (state.layouts.len(), Vec::new());
        for layout in new.iter().filter_map(|n| universe.layouts().get(*n)) {
            if layout.selector.is_none() {
                let layout = format!("{} ({})", layout.name, LayoutId(layout.id));
                return Err(Error::NoSelector { device: self.device.name().to_owned(), layout });
            }
            let wanted = LayoutState {
                name: layout.name.clone(),
                id: layout.id,
                size: layout.size,
                nic,
                also: Vec::new(),
                slot: Some(running.slot_for(&state, layout)?),
                added: Some(c_name(ADDED, &format!("{}_{:08x}", layout.name, layout.id))),
                fallback: false,
                lacks: String::new(),
                selector: true,
            };
            let said = running.prepare(linker, &universe, object, self.device, &wanted);
            warnings.extend(said.inspect_err(|_| running.drop_unused())?);
            state.take_slot(&wanted);
            state.layouts.push(wanted);
        }
        let recounted: Vec<_> = state.recounted(&running.state).collect();
        warnings.extend(recounted.iter().map(|taken| taken.note()));
        // Before the state tells of the layouts: a call that finds them there brings them, and forgets nothing.
        let forgotten = Forgotten::of(&running.generation, recounted.iter().map(|taken| taken.slot));
        let write = |forgotten: Forgotten| {
            running.write(&state, state.addition(first, &named)).inspect_err(|_| forgotten.put_back())
        };
        let done = forgotten.and_then(write).and_then(|()| running.bring(&state));
        done.inspect_err(|_| running.drop_unused())?;
        let layouts = state.layouts.split_off(first);
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
        let mut next = state.clone();
        next.remove(&removal);
        // Where packets can pass for several layouts, the entry must not go on looking for one that is gone.
        let in_place = running.is_tail() && (state.options.first.is_empty() || next.layouts.is_empty());
        if in_place || gone.is_empty() {
            // Else nothing but the file goes, and all that runs stays.
            running.write(&next, Some(Change::Removed(removal)))?;
            if running.is_tail() {
                running.settle(&next)?;
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
        let options = LinkedAs { only: ids.to_vec(), ..options };
        let job = linker.link_again(state, object, nics, options)?;
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

/// A NIC BTF that is to come to what runs.
struct Coming {
    nic: Source,
    /// Its place among those of the state.
    number: usize,
    /// What is known of all that are there, and the one that comes.
    universe: Universe,
    /// What will be written down, but for the layouts that come.
    state: State,
    /// The places of these among the universe's.
    new: Vec<usize>,
    /// Names that make layouts of structs which no tag does.
    named: Vec<String>,
}

impl Coming {
    /// # Errors
    /// [`Error::NoLayout`] and [`Error::NotAsked`] if nothing can come of it; [`Error::Layout`] if it cannot stand beside
    /// what is there.
    fn new(linker: &Linker, before: &State, object: &Parsed, nic: Source, which: &Which) -> Result<Coming> {
        let named = names(&which.layouts).filter(|name| !before.options.named.contains(name));
        let named: Vec<String> = named.cloned().collect();
        let mut state = before.clone();
        state.nics.push(nic.clone());
        state.options.named.extend_from_slice(&named);
        // All together, so that two layouts with one id are found out.
        let universe = linker.universe_beside(&state, &object.object)?;
        let number = before.nics.len();
        let source = SourceId(u32::try_from(state.nics.len()).unwrap_or(u32::MAX));
        let own: Vec<&Layout> = universe.layouts().iter().filter(|l| l.is_of(source)).collect();
        let called = |name: &String| {
            LayoutRef::read(name).among(&own, |l| (LayoutId(l.id), l.name.as_str()), |l, name| l.answers(name))
        };
        let called: Vec<Vec<usize>> = which.layouts.iter().map(called).collect();
        if let Some((name, _)) = which.layouts.iter().zip(&called).find(|(_, called)| called.is_empty()) {
            let have: Vec<_> = own.iter().map(|l| format!("{} ({})", l.name, LayoutId(l.id))).collect();
            return Err(Error::NoLayoutCalled { path: nic.path, which: name.clone(), have: have.join(", ") });
        }
        if own.is_empty() {
            return Err(Error::NoLayout { path: nic.path });
        }
        let options = link_options(&state.options);
        let described = Arc::new(Described::of(&universe, source, &object.object, &options));
        state.nics.last_mut().into_iter().for_each(|nic| nic.described = Some(Arc::clone(&described)));
        let asked = object.object.asked(&universe, &options).map_err(|e| object.refused(e))?;
        let asked: HashSet<u32> = asked.into_iter().map(|l| l.id).collect();
        let chosen = |n: usize| called.is_empty() || called.iter().flatten().any(|called| *called == n);
        let wanted = own.iter().enumerate().filter(|(n, l)| asked.contains(&l.id) && chosen(*n));
        let wanted: HashSet<u32> = wanted.map(|(_, l)| l.id).collect();
        let there: HashSet<u32> = before.layouts.iter().map(|l| l.id).collect();
        let (new, ids) =
            (positions(&universe, |l| wanted.contains(&l.id) && !there.contains(&l.id)), own.iter().map(|l| l.id));
        let own: HashSet<u32> = ids.collect();
        for layout in state.layouts.iter_mut().filter(|l| own.contains(&l.id)) {
            layout.also.push(number);
        }
        if new.is_empty() && own.is_disjoint(&there) {
            return Err(Error::NotAsked { path: nic.path });
        }
        Ok(Coming { nic, number, universe, state, new, named })
    }

    /// The layouts that come.
    fn layouts(&self) -> impl Iterator<Item = &Layout> {
        self.new.iter().filter_map(|n| self.universe.layouts().get(*n))
    }
}

/// The places among the universe's of layouts that are so.
fn positions(universe: &Universe, is_so: impl Fn(&Layout) -> bool) -> Vec<usize> {
    let all = universe.layouts().iter().enumerate();
    all.filter(|(_, layout)| is_so(layout)).map(|(n, _)| n).collect()
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
        if self.is_tail() { self.settle(&self.state) } else { Ok(()) }
    }

    /// Links and loads the program for one more layout, and pins it; nothing leads to it yet. What is worth knowing of that.
    fn prepare(
        &self,
        linker: &Linker,
        universe: &Universe,
        object: &Parsed,
        device: &Device,
        layout: &LayoutState,
    ) -> Result<Vec<String>> {
        let options = LinkedAs {
            only: vec![layout.id],
            asked: Dispatch::None,
            // Alone it is tried as it is, whoever is to be tried before others.
            first: Vec::new(),
            count: false,
            walk: self.state.options.walk && may_walk(),
            ..self.state.options.clone()
        };
        let linked = linker.link_in(universe, object, &options, LinkOptions::default())?;
        object.reads_right(&linked.report)?;
        let keep = self.generation.maps()?;
        let entry = options.program.unwrap_or_else(|| only_program(&object.object));
        let entry = Some(entry.as_str()).filter(|e| !e.is_empty());
        let loaded =
            load(&Load { object: &linked.bytes.into(), entry, keep: &keep, same: true, device: device.name() })?;
        let path = self.generation.program_path(layout.added.as_deref().unwrap_or_default());
        let _none = std::fs::remove_file(&path);
        pin::put(loaded.entry_fd()?.as_fd(), &path).map_err(Error::file(&path))?;
        Ok(linked.report.warnings)
    }

    /// The slot for a layout that comes. The entry must not know it as another's.
    fn slot_for(&self, state: &State, layout: &Layout) -> Result<u32> {
        if let Some(slot) = state.slot_for(layout.id, layout.size) {
            return Ok(slot);
        }
        let live = |slot: u32| state.layouts.iter().any(|l| l.slot == Some(slot));
        let free = state.slots.iter().find(|t| !t.linked && !live(t.slot));
        free.map(|t| t.slot).ok_or(Error::TableFull { id: layout.id })
    }

    /// Makes `state`, which is what `change` made of the one that counts, the one that does. If what follows is broken off,
    /// the next call goes on with it.
    fn write(&self, state: &State, change: Option<Change>) -> Result<()> {
        change.map_or(Ok(()), |change| state.write_change(&self.generation.state, &change))
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
                slots.empty(slot.number());
                slots.forget(id, size);
            }
        }
        self.bring_into(&slots, state)?;
        self.drop_but(state)
    }

    /// Lets packets find the layouts of `state` that they do not find yet.
    fn bring(&self, state: &State) -> Result<()> {
        self.bring_into(&Slots::open(&self.generation, &state.entry)?, state)
    }

    fn bring_into(&self, slots: &Slots, state: &State) -> Result<()> {
        let table = slots.table();
        for layout in &state.layouts {
            if let (Some(slot), Some(pin)) = (layout.slot, &layout.added)
                && table.find(layout.id, layout.size).is_none()
            {
                let path = self.generation.program_path(pin);
                let program = pin::open(&path).map_err(Error::file(&path))?;
                slots.fill(slot, program.as_fd())?;
                slots.point(layout.id, layout.size, slot)?;
            }
        }
        Ok(())
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
