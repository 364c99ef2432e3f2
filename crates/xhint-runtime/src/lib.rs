//! Attaching linked XDP programs to devices, so that it lasts and can be undone.
//!
//! The kernel is the only truth about what runs: it says which program a device has, and a pinned bpf_link which program
//! it runs on which device; names and where a link was attached only say where to look. Beside the link stand
//! *generations*, each with the pins of one load and the state it was made from. The one whose program the link runs
//! is the current one; any other is what a step left that did not come to its end, and the next call clears it away.
//! So there is no step at which a crash leaves a device without a program, or a state that cannot be told.
//!
//! 1. [`Home`] is where pins and state stand, [`Device`] what they are for.
//! 2. [`probe`](mod@probe) asks a device what it offers, [`offers`](mod@offers) what each hint can come from there.
//! 3. [`load`] brings a linked object into the kernel, with those maps of the generation before that can go on.

pub mod attach;
pub mod btf_files;
mod coming;
pub mod counters;
mod described;
pub mod detach;
mod device;
mod diff;
mod error;
mod fields;
mod files;
mod filling;
pub mod follow;
mod for_file;
mod foreign;
mod home;
mod in_place;
mod job;
mod kept;
pub mod layouts;
mod linker;
pub mod load;
mod locate;
mod named;
pub mod offers;
mod parsed;
pub mod probe;
mod reuse;
mod rights;
mod site;
mod slots;
mod source;
mod sources;
mod state;
pub mod status;
mod taken_off;
mod too_long;
mod watch;

pub use device::Device;
pub use error::{Error, HeldBy, Result};
pub use fields::{Filled, Filling};
pub use files::{path_file, read, read_btf};
pub use for_file::ForFile;
pub use home::Home;
pub use job::{Job, Otherwise};
pub use linker::Linker;
pub use named::declare;
pub use reuse::Anew;
pub use source::absolute;
pub use sources::read_nics;
pub use state::{LayoutState, LinkedAs, Mode, Source, State, Taken};
pub use taken_off::Kept;
pub use too_long::TooLong;
pub use xhint_host::module::Module;
pub use xhint_host::{DriverInfo, Facts, Netns, Offloads, Programs, Right, Room, kfunc, netdev};
