//! What the machine offers, found by asking it rather than by its version; and what of its files is ours alone.

mod error;
pub mod lock;
pub mod private;
mod process;
mod room;
pub mod said;

pub use error::{Error, Result};
pub use process::ancestors;
pub use room::{HEADROOM, Room, room};
