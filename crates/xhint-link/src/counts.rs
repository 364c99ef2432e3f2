//! What an entry that counts leaves behind: the agreement between a linked object and whoever reads its counters.
//!
//! Two maps, shared by all programs of the object that are dispatched. A value begins with two words of 64 bits in the
//! byte order of the machine: packets, and when the last one came, in nanoseconds of `CLOCK_MONOTONIC`, coarse (a tick
//! of 1 to 10 ms). A third word in [`COUNTS`] is the entry's own: the tick in which it last asked the clock.
//!
//! - [`COUNTS`], a PERCPU_ARRAY, by slot. A layout's slot is the one it was linked with, the same as with
//!   [`crate::table`]. Two entries behind the slots count packets of no known layout: with metadata ([`UNKNOWN_ID`]) and
//!   without ([`NO_METADATA`]). Each processor counts for itself: the sum is exact.
//! - [`UNKNOWN`], an LRU_HASH by id and length (a `u32` each): the packets that [`UNKNOWN_ID`] counts, apart. The id is
//!   read where layouts of that length have it, else where all layouts have it, else from the last four bytes. When ids
//!   are too many, those not seen for longest are forgotten; the sum under [`UNKNOWN_ID`] is right all the same.

use crate::table::SLOT_COUNT;

/// The map of counts by slot.
pub const COUNTS: &str = "xhint_counts";
/// The map of ids that no layout has.
pub const UNKNOWN: &str = "xhint_unknown";
/// Entry of [`COUNTS`]: packets with metadata that no layout is known for.
pub const UNKNOWN_ID: u32 = SLOT_COUNT;
/// Entry of [`COUNTS`]: packets without metadata.
pub const NO_METADATA: u32 = SLOT_COUNT + 1;
/// Entries of [`COUNTS`].
pub const ENTRIES: u32 = SLOT_COUNT + 2;
/// Entries of [`UNKNOWN`].
pub const UNKNOWN_ENTRIES: u32 = 1024;
/// Bytes of a value of [`COUNTS`].
pub const COUNT_SIZE: u32 = 24;
/// Bytes of a value of [`UNKNOWN`].
pub const UNKNOWN_SIZE: u32 = 16;
