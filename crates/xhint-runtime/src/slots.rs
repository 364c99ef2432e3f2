//! The maps of a program linked with `--dispatch tail`, as [`xhint_link::table`] specifies them: which id leads to
//! which slot, and which program stands there.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use memmap2::{MmapOptions, MmapRaw};
use xhint_link::table::{IDS_SECTION, SLOT_BITS, Slot, TABLE_SIZE, Table, slots_name};

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
    pub fn fill(&self, slot: u32, program: BorrowedFd<'_>) -> Result<()> {
        let fd = program.as_raw_fd().to_ne_bytes();
        self.slots.update(&slot.to_ne_bytes(), &fd, MapFlags::ANY).map_err(Error::system(format!("slot {slot}")))
    }

    /// Empties a slot: its packets go to the fallback from now on.
    pub fn empty(&self, slot: u32) {
        // One that is empty already is what is wanted.
        let _none = self.slots.delete(&slot.to_ne_bytes());
    }

    /// Lets packets with this id and this length go to `slot`: from one packet to the next.
    pub fn point(&self, id: u32, size: u32, slot: u32) -> Result<()> {
        let mut table = self.table();
        let index = Slot::new(slot).and_then(|slot| table.put(id, size, slot)).ok_or(Error::TableFull { id })?;
        self.store(index, &table);
        Ok(())
    }

    /// Takes this id of this length out of the table. Its slot must be empty.
    pub fn forget(&self, id: u32, size: u32) {
        let mut table = self.table();
        if let Some(index) = table.remove(id, size) {
            self.store(index, &table);
        }
    }

    /// Ids and lengths of all layouts that have a slot.
    pub fn layouts(&self) -> Vec<(u32, u32)> {
        let words = (0..TABLE_SIZE / 8).map(|n| self.load(n)).filter(|w| *w != 0);
        words.map(|w| ((w >> 32) as u32, ((w >> SLOT_BITS) as u32 & 0xff) << 2)).collect()
    }

    fn store(&self, index: usize, table: &Table) {
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
