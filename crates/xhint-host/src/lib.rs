//! What the machine offers, found by asking it rather than by its version; and what of its files is ours alone.
//!
//! 1. [`Netns`] is where devices are, [`rtnl`] and [`ethtool`] tell of them and change them, [`xdp`] what they run. What one
//!    offers to XDP programs are its [`Facts`], and where their calls to the driver lead tells [`kfunc`].
//! 2. [`bpffs`] is where pins live, [`pin`] what they are called, [`lock`] who may change them, and [`private`] keeps files
//!    from others.
//!    [`bound`] is what such programs must heed.
//! 3. [`rights`] is what this process may do, [`room`] how much metadata the kernel lets through, [`kernel_reads`] by what programs read
//!    its memory, and [`libbpf_log`] why it refused.

pub mod bound;
pub mod bpffs;
mod call;
mod error;
pub mod ethtool;
mod facts;
mod kernel_memory;
pub mod kfunc;
pub mod libbpf_log;
pub mod lock;
pub mod module;
pub mod netdev;
mod netlink;
pub mod netns;
pub mod owned;
pub mod pin;
pub mod private;
mod process;
mod program;
pub mod rights;
mod room;
pub mod rtnl;
mod thread;
pub mod virtio;
pub mod xdp;

pub use error::{Cause, Error, Result};
pub use ethtool::{DriverInfo, Offloads};
pub use facts::Facts;
pub use kernel_memory::{KernelReads, kernel_reads};
pub use netns::Netns;
pub use process::ancestors;
pub use rights::Right;
pub use room::{HEADROOM, Room, room};
pub use thread::on_thread;
pub use xdp::Programs;
