//! Where a row of numbers goes on elsewhere.

use crate::Error;

/// Ids or string offsets that move: those from `first` on go on elsewhere, those before stay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shift {
    first: u32,
    by: u32,
}

impl Shift {
    /// From `first` up to `end`, they begin at `to`; `what` is counted.
    pub(crate) fn new(what: &'static str, first: u32, end: u32, to: u32) -> Result<Shift, Error> {
        // So none of them moves out of 32 bits, forward or back.
        end.checked_sub(first).and_then(|count| to.checked_add(count)).ok_or(Error::TooLarge { what })?;
        Ok(Shift { first, by: to.wrapping_sub(first) })
    }

    /// Whether all stay where they are.
    pub(crate) fn is_none(self) -> bool {
        self.by == 0
    }

    /// By how much they move.
    pub(crate) fn by(self) -> u32 {
        self.by
    }

    /// Where `number` is now.
    pub(crate) fn of(self, number: u32) -> u32 {
        if number < self.first { number } else { number.wrapping_add(self.by) }
    }
}
