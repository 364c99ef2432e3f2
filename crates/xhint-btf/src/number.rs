//! Numbers of the format as the machine's, and where a row of them goes on elsewhere.

use crate::Error;

/// A number of the format, which has 32 bits, as an index.
#[inline(always)]
pub(crate) const fn index(number: u32) -> usize {
    const { assert!(usize::BITS >= u32::BITS) };
    number as usize
}

/// Bytes of so many words, of which there are no more than a file can have.
#[inline(always)]
pub(crate) const fn bytes(words: usize) -> usize {
    words << 2
}

/// Bits of so many bytes.
#[inline(always)]
pub(crate) const fn bits(bytes: u32) -> u64 {
    (bytes as u64) << 3
}

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
