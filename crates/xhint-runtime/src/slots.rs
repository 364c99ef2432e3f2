//! The maps of a program linked with `--dispatch tail`, as [`xhint_link::table`] specifies them: which id leads to
//! which slot, and which program stands there.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use memmap2::{MmapOptions, MmapRaw};
use xhint_link::table::{IDS_SECTION, Slot, TABLE_SIZE, Table, slots_name};

use crate::error::{Error, Result};
use crate::site::Generation;

/// Both maps of one program, open.
pub struct Slots {
    slots: MapHandle,
    ids: MmapRaw,
}

impl Slots {
    /// Those of `program` in `generation`.
    pub fn open(generation: &Generation, program: &str) -> Result<Slots> {
        let open = |name: &str| {
            let path = generation.map_path(name);
            MapHandle::from_pinned_path(&path).map_err(Error::file(&path))
        };
        let ids = open(IDS_SECTION)?;
        let map = MmapOptions::new().len(TABLE_SIZE).map_raw(ids.as_fd().as_raw_fd());
        let ids = map.map_err(Error::file(&generation.map_path(IDS_SECTION)))?;
        Ok(Slots { slots: open(&slots_name(program))?, ids })
    }

    /// The table as it is now.
    pub fn table(&self) -> Table {
        let mut bytes = Vec::with_capacity(TABLE_SIZE);
        (0..TABLE_SIZE / 8).for_each(|n| bytes.extend_from_slice(&self.load(n).to_ne_bytes()));
        Table::from_ne_bytes(&bytes).unwrap_or_default()
    }

    /// Puts `program` into a slot that no id leads to yet, or in the place of the one there.
    pub fn fill(&self, slot: Slot, program: BorrowedFd<'_>) -> Result<()> {
        let fd = program.as_raw_fd().to_ne_bytes();
        let filled = self.slots.update(&slot.number().to_ne_bytes(), &fd, MapFlags::ANY);
        filled.map_err(Error::system(format!("slot {slot}")))
    }

    /// Empties a slot: its packets go to the fallback from now on.
    pub fn empty(&self, slot: Slot) -> Result<()> {
        match self.slots.delete(&slot.number().to_ne_bytes()) {
            // It is empty already.
            Err(e) if e.kind() == libbpf_rs::ErrorKind::NotFound => Ok(()),
            emptied => emptied.map_err(Error::system(format!("slot {slot}"))),
        }
    }

    /// Makes a word of the table what it is in `table`: its packets go by that from one to the next.
    pub fn store(&self, index: usize, table: &Table) {
        if let (Some(word), Some(place)) = (table.words().get(index), self.word(index)) {
            place.store(*word, Ordering::Release);
        }
    }

    fn load(&self, index: usize) -> u64 {
        self.word(index).map_or(0, |w| w.load(Ordering::Acquire))
    }

    /// A word of the table, which the kernel's programs read while we write.
    fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= TABLE_SIZE / 8 {
            return None;
        }
        // SAFETY: the mapping is TABLE_SIZE bytes, shared with the kernel, aligned to a page, and lives as long as
        // `self`; the word lies in it. Both sides touch it only as whole aligned words, so a reader sees an old or a
        // new word, never a mixture.
        Some(unsafe { AtomicU64::from_ptr(self.ids.as_mut_ptr().cast::<u64>().add(index)) })
    }
}
