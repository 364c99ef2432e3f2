//! What the machine offers, found by asking it rather than by its version.

mod room;
pub mod said;

pub use room::{HEADROOM, Room, room};
