//! What the machine offers, found by asking it rather than by its version.

mod process;
mod room;
pub mod said;

pub use process::ancestors;
pub use room::{HEADROOM, Room, room};
