//! What linking hands to attaching.

use bytes::Bytes;
use xhint_link::Unbound;

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
    /// The mark of the state that it goes on from ([`State::mark_of`]), if it must be that still when it is attached.
    pub after: Option<String>,
    /// Take the place of a program that xhint did not put there, or that is of another object.
    pub replace: bool,
}
