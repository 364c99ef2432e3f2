//! What linking hands to attaching.

use std::sync::Arc;

use bytes::Bytes;
use xhint_link::Unbound;

use crate::error::Result;
use crate::fields::Filling;
use crate::state::State;

/// What is to run on a device.
#[derive(Debug, Clone)]
pub struct Job {
    /// The linked object.
    pub linked: Bytes,
    /// What it was made from; `entry` names the program for the device, `since` is filled in.
    pub state: State,
    /// What is worth knowing of the link and stops nothing.
    pub warnings: Vec<String>,
    /// Names of the program that lead nowhere and could be bound to a layout.
    pub unbound: Option<Unbound>,
    /// Why packets are dispatched the way they are, if that was left to the linker.
    pub why: String,
    /// What to load if the kernel refuses this, where that is left to us.
    pub otherwise: Option<Arc<dyn Otherwise>>,
    /// The mark of the state that it goes on from ([`State::mark_of`]), if it must be that still when it is attached.
    pub after: Option<String>,
    /// Where each field comes from that the program asks for and packets do not carry, if that was asked of the device.
    pub filling: Option<Filling>,
    /// Whether it is to be loaded for its device alone, since it asks the driver.
    pub bound: bool,
    /// Take the place of a program that xhint did not put there, or that is of another object.
    pub replace: bool,
}

/// Another way to link for the same job, for a kernel that refuses the first.
pub trait Otherwise: std::fmt::Debug + Send + Sync {
    /// Links so.
    ///
    /// # Errors
    /// As [`crate::Linker::link`].
    fn link(&self) -> Result<Job>;
}
