//! What is said of a program that a killed call took off a device: [`crate::kept`] keeps it.

use std::fmt;
use std::path::PathBuf;

/// A program that a call took off a device and, since it was killed, neither replaced nor put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The name that the device had.
    pub device: String,
    /// Where the program is pinned.
    pub path: PathBuf,
    /// The device's number, as long as it is where it was.
    pub ifindex: Option<u32>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (device, path) = (&self.device, self.path.display());
        write!(f, "{device}: its XDP program was taken off by a call that was killed, and is kept as {path}; ")?;
        match self.ifindex {
            Some(_) => write!(
                f,
                "the next call that attaches or detaches something, and can enter that device's network namespace, puts it back"
            ),
            None => write!(
                f,
                "that device is gone or has moved, so put it back where it belongs (bpftool net attach xdp pinned {path} \
                 dev …), then remove that file"
            ),
        }
    }
}
