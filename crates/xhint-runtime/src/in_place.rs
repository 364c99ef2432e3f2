//! Layouts that come to a running entry and go from it, each as a program in a slot of its own: what `tail` can do.
//!
//! What is to run is written down first and done then, so that the next call goes on with a step that is broken off. So all
//! that can be asked before is asked before: whether there is room in the table, and what the kernel makes of the programs.
//! What it refuses after that is taken back.

use std::collections::HashSet;
use std::os::fd::AsFd;

use xhint_host::pin;
use xhint_link::table::{Slot, Table};
use xhint_link::{Dispatch, LinkOptions};
use xhint_universe::{Layout, Universe};

use crate::attach::Running;
use crate::counters::Forgotten;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::linker::Linker;
use crate::load::{Load, load};
use crate::parsed::{Parsed, only_program};
use crate::rights::may_walk;
use crate::slots::Slots;
use crate::state::{Change, LayoutState, LinkedAs, State};

/// What the pins of programs that were added are called, before the layout's name.
pub(crate) const ADDED: &str = "added_";

/// The slots of what runs, open.
pub(crate) struct InPlace<'r> {
    running: &'r Running,
    slots: Slots,
}

impl<'r> InPlace<'r> {
    /// Those of `running`, which has some.
    pub fn of(running: &'r Running) -> Result<InPlace<'r>> {
        Ok(InPlace { running, slots: Slots::open(&running.generation, &running.state.entry)? })
    }

    /// Links and loads the program for one more layout, and pins it; nothing leads to it yet. What is worth knowing of that.
    pub fn prepare(
        &self,
        linker: &Linker,
        universe: &Universe,
        object: &Parsed,
        device: &Device,
        layout: &LayoutState,
    ) -> Result<Vec<String>> {
        let options = LinkedAs {
            only: Some(vec![layout.id]),
            asked: Dispatch::None,
            // Alone it is tried as it is, whoever is to be tried before others.
            first: Vec::new(),
            count: false,
            walk: self.running.state.options.walk && may_walk(),
            ..self.running.state.options.clone()
        };
        let linked = linker.link_in(universe, object, &options, LinkOptions::default())?;
        object.reads_right(&linked.report)?;
        let keep = self.running.generation.maps()?;
        let entry = options.program.unwrap_or_else(|| only_program(&object.object));
        let entry = Some(entry.as_str()).filter(|e| !e.is_empty());
        let loaded = load(&Load {
            object: &linked.bytes.into(),
            entry,
            keep: &keep,
            same: true,
            device: device.name(),
            bound: None,
        })?;
        let path = self.running.generation.program_path(layout.added.as_deref().unwrap_or_default());
        let _none = std::fs::remove_file(&path);
        pin::put(loaded.entry_fd()?.as_fd(), &path).map_err(Error::file(&path))?;
        Ok(linked.report.warnings)
    }

    /// The slot for a layout that comes. The entry must not know it as another's.
    pub fn slot_for(&self, state: &State, layout: &Layout) -> Result<u32> {
        if let Some(slot) = state.slot_for(layout.id, layout.size) {
            return Ok(slot);
        }
        let live = |slot: u32| state.layouts.iter().any(|l| l.slot == Some(slot));
        let free = state.slots.iter().find(|t| !t.linked && !live(t.slot));
        free.map(|t| t.slot).ok_or(Error::TableFull { id: layout.id })
    }

    /// # Errors
    /// [`Error::TableFull`] if the table has no room for a layout of `state` once those are gone that are not in it.
    pub fn has_room(&self, state: &State) -> Result<()> {
        let mut table = self.slots.table();
        for (id, size) in gone(&table, state) {
            table.remove(id, size);
        }
        for (layout, slot, _) in to_come(&table.clone(), state) {
            room(layout, table.put(layout.id, layout.size, slot))?;
        }
        Ok(())
    }

    /// Makes `state`, which is what `change` made of the one that counts, the one that does, on disk and in the kernel. If it
    /// cannot, nothing of it is left.
    pub fn apply(&self, state: &State, change: &Change) -> Result<()> {
        self.has_room(state)?;
        let Running { state: before, generation, .. } = self.running;
        // Before the state tells of the layouts: a call that finds them there brings them, and forgets nothing.
        let forgotten = Forgotten::of(generation, state.recounted(before).map(|taken| taken.slot))?;
        let written = before.write_change(&generation.state, change).inspect_err(|_| forgotten.put_back())?;
        self.settle(state).inspect_err(|_| {
            // The first error counts. What cannot be undone now the next call undoes.
            written.take_back();
            forgotten.put_back();
            let _later = self.settle(before);
        })
    }

    /// Makes slots and ids those of `state`: first those that go, then those that come.
    pub fn settle(&self, state: &State) -> Result<()> {
        let mut table = self.slots.table();
        for (id, size) in gone(&table, state) {
            if let Some((_, slot)) = table.find(id, size) {
                self.slots.empty(slot)?;
            }
            table.remove(id, size).into_iter().for_each(|word| self.slots.store(word, &table));
        }
        for (layout, slot, pin) in to_come(&table.clone(), state) {
            let path = self.running.generation.program_path(pin);
            self.slots.fill(slot, pin::open(&path).map_err(Error::file(&path))?.as_fd())?;
            let word = room(layout, table.put(layout.id, layout.size, slot))?;
            self.slots.store(word, &table);
        }
        self.drop_but(state)
    }

    /// Unpins the programs that were added for no layout of `state`.
    fn drop_but(&self, state: &State) -> Result<()> {
        let used: HashSet<&str> = state.layouts.iter().filter_map(|l| l.added.as_deref()).collect();
        self.running.generation.drop_programs(|pin| pin.starts_with(ADDED) && !used.contains(pin))
    }

    /// What a step that failed has pinned goes.
    pub fn drop_unused(&self) {
        let _later = self.drop_but(&self.running.state);
    }
}

/// Ids and lengths of the layouts in the table that `state` does not have.
fn gone(table: &Table, state: &State) -> Vec<(u32, u32)> {
    let live: HashSet<(u32, u32)> = state.layouts.iter().map(|l| (l.id, l.size)).collect();
    table.layouts().filter(|layout| !live.contains(layout)).collect()
}

/// The layouts of `state` that came while the entry ran and are not in the table, each with its slot and its program's pin.
fn to_come<'s>(table: &'s Table, state: &'s State) -> impl Iterator<Item = (&'s LayoutState, Slot, &'s str)> {
    state.layouts.iter().filter_map(|layout| {
        let (slot, pin) = (Slot::new(layout.slot?)?, layout.added.as_deref()?);
        table.find(layout.id, layout.size).is_none().then_some((layout, slot, pin))
    })
}

fn room<T>(layout: &LayoutState, put: Option<T>) -> Result<T> {
    put.ok_or(Error::TableFull { id: layout.id })
}
