//! What only one process at a time may do with a soft NIC.

use xhint_host::bpffs;
use xhint_host::lock::Lock;
use xhint_host::pin::to_pin;
use xhint_host::private::make_root;

use crate::error::{Error, Result};

/// Such a thing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Make, flash or remove it.
    Change,
    /// Send packets into it.
    Send,
}

impl Work {
    /// Keeps others from doing the same with the NIC `name` until it is dropped. The lock is where the pins are, a directory
    /// of its own: so it excludes all who share them, and takes no room on a disk that may be full.
    pub fn begin(self, name: &str) -> Result<Lock> {
        let (dir, doing) = match self {
            Work::Change => ("nic-changes", "changes"),
            Work::Send => ("nic-sends", "sends into"),
        };
        let top = bpffs::find()?.join("xhint");
        make_root(&top)?;
        Lock::try_take(&top.join(dir).join(to_pin(name)))?.ok_or_else(|| Error::Busy { name: name.to_owned(), doing })
    }
}
