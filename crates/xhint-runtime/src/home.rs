//! Where xhint keeps what outlives it: pins in a BPF file system, the state beside them in `/run`.

use std::path::PathBuf;

use xhint_host::bpffs;
use xhint_host::private::{check_root, make_root};

use crate::error::Result;
use crate::taken_off::Kept;

/// State: gone after a restart, as pins are.
const RUN: &str = "/run/xhint";

/// The two places.
#[derive(Debug, Clone)]
pub struct Home {
    pins: PathBuf,
    run: PathBuf,
    on_wait: Option<fn(&str, Option<u32>)>,
    on_kept: Option<fn(&Kept)>,
}

impl Home {
    /// The system's own: `/sys/fs/bpf/xhint` and `/run/xhint`. Mounts a BPF file system where there is none yet.
    ///
    /// # Errors
    /// [`xhint_host::Error::NoBpffs`] if it may not.
    pub fn system() -> Result<Home> {
        Ok(Home { pins: bpffs::find()?.join("xhint"), run: RUN.into(), on_wait: None, on_kept: None })
    }

    /// Another place: `pins` must lie in a BPF file system.
    pub fn at(pins: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Home {
        Home { pins: pins.into(), run: run.into(), on_wait: None, on_kept: None }
    }

    /// The same; `tell` is called once when another process is waited for that changes a device: with the device's name, and
    /// the process's id if it is known.
    pub fn on_wait(self, tell: fn(&str, Option<u32>)) -> Home {
        Home { on_wait: Some(tell), ..self }
    }

    /// The same; `tell` is called for each program of someone else's that cannot be put back where it was.
    pub fn on_kept(self, tell: fn(&Kept)) -> Home {
        Home { on_kept: Some(tell), ..self }
    }

    pub(crate) fn tell_of_kept(&self, kept: &Kept) {
        if let Some(tell) = self.on_kept {
            tell(kept);
        }
    }

    pub(crate) fn tell_of_wait(&self, device: &str, pid: Option<u32>) {
        if let Some(tell) = self.on_wait {
            tell(device, pid);
        }
    }

    /// Where the pins of all sites are, a directory each.
    pub(crate) fn all_pins(&self) -> PathBuf {
        self.pins.join("dev")
    }

    /// Where what they were made from is.
    pub(crate) fn all_state(&self) -> PathBuf {
        self.run.join("dev")
    }

    /// Makes both places, closed to others.
    ///
    /// # Errors
    /// [`xhint_host::Error::NotOurs`] if someone else was there first.
    pub(crate) fn make(&self) -> Result<()> {
        make_root(&self.pins)?;
        Ok(make_root(&self.run)?)
    }

    /// That nobody else may change what is in them, if they are there.
    ///
    /// # Errors
    /// [`xhint_host::Error::NotOurs`].
    pub(crate) fn check(&self) -> Result<()> {
        check_root(&self.pins)?;
        Ok(check_root(&self.run)?)
    }
}
