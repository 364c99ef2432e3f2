//! Where xhint keeps what outlives it: pins in a BPF file system, the state beside them in `/run`.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use xhint_host::ancestors;

use crate::error::{Error, Result};
use xhint_host::private::{check_root, make_root};

/// Where a BPF file system is mounted by custom.
const BPFFS: &str = "/sys/fs/bpf";
/// State: gone after a restart, as pins are.
const RUN: &str = "/run/xhint";

/// The two places.
#[derive(Debug, Clone)]
pub struct Home {
    pins: PathBuf,
    run: PathBuf,
    on_wait: Option<fn(&str, Option<u32>)>,
}

impl Home {
    /// The system's own: `/sys/fs/bpf/xhint` and `/run/xhint`. Mounts a BPF file system where there is none yet.
    ///
    /// # Errors
    /// [`Error::NoBpffs`] if it may not.
    pub fn system() -> Result<Home> {
        Ok(Home { pins: bpffs()?.join("xhint"), run: RUN.into(), on_wait: None })
    }

    /// Another place: `pins` must lie in a BPF file system.
    pub fn at(pins: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Home {
        Home { pins: pins.into(), run: run.into(), on_wait: None }
    }

    /// The same; `tell` is called once when another process is waited for that changes a device: with the device's name, and
    /// the process's id if it is known.
    pub fn on_wait(self, tell: fn(&str, Option<u32>)) -> Home {
        Home { on_wait: Some(tell), ..self }
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
    /// [`Error::NotOurs`] if someone else was there first.
    pub(crate) fn make(&self) -> Result<()> {
        make_root(&self.pins)?;
        Ok(make_root(&self.run)?)
    }

    /// That nobody else may change what is in them, if they are there.
    ///
    /// # Errors
    /// [`Error::NotOurs`].
    pub(crate) fn check(&self) -> Result<()> {
        check_root(&self.pins)?;
        Ok(check_root(&self.run)?)
    }
}

/// A map's or program's name as a file name in a BPF file system, which takes no dots (`bpf_lookup` in
/// `kernel/bpf/inode.c`).
pub(crate) fn pin_name(name: &str) -> String {
    name.replace('%', "%25").replace('.', "%2e").replace('/', "%2f")
}

/// The name that [`pin_name`] was given.
pub(crate) fn name_of_pin(pin: &str) -> String {
    pin.replace("%2f", "/").replace("%2e", ".").replace("%25", "%")
}

/// The BPF file system: ours, or the one that a process we come from sees, for `ip netns exec` gives its child a `/sys`
/// with none; mounted if nobody sees any.
fn bpffs() -> Result<PathBuf> {
    let here = Path::new(BPFFS);
    if is_bpffs(here) {
        return Ok(here.to_owned());
    }
    let from = ancestors();
    let theirs = |pid: &u32| Path::new("/proc").join(pid.to_string()).join("root").join(BPFFS.trim_start_matches('/'));
    if let Some(path) = from.iter().map(theirs).find(|p| is_bpffs(p)) {
        return Ok(path);
    }
    // A mount in a mount namespace of our own would go away with us, and the pins with it. A process that may not be
    // looked at says nothing.
    let mounts = |pid: &str| fs::read_link(Path::new("/proc").join(pid).join("ns/mnt")).ok();
    let ours = mounts("self");
    if from.iter().filter_map(|pid| mounts(&pid.to_string())).any(|theirs| ours.as_ref() != Some(&theirs)) {
        return Err(Error::NoBpffs(here.to_owned()));
    }
    mount(Some("bpf"), here, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .map_err(|_| Error::NoBpffs(here.to_owned()))?;
    Ok(here.to_owned())
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|s| s.filesystem_type() == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_have_no_dots_and_tell_their_name() {
        for name in ["eth0", "eth0.100", "a%2eb", "%", "a.%25.b", "a/b%2f"] {
            let pin = pin_name(name);
            assert!(!pin.contains(['.', '/']), "{pin}");
            assert_eq!(name_of_pin(&pin), name);
        }
    }
}
