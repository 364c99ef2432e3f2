//! Where xhint keeps what outlives it: pins in a BPF file system, the state beside them in `/run`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::device::Device;
use crate::error::{Error, Result};

/// Where a BPF file system is mounted by custom.
const BPFFS: &str = "/sys/fs/bpf";
/// State: gone after a restart, as pins are.
const RUN: &str = "/run/xhint";
/// Where in it the locks are.
const LOCKS: &str = "lock";
/// How long to wait for another xhint to finish with a device: a swap takes some 25 ms, a link well below a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The two places.
#[derive(Debug, Clone)]
pub struct Home {
    pins: PathBuf,
    run: PathBuf,
}

/// The right to change what is attached to one device; ends when dropped.
#[derive(Debug)]
pub struct Lock {
    file: Flock<fs::File>,
    path: PathBuf,
}

impl Home {
    /// The system's own: `/sys/fs/bpf/xhint` and `/run/xhint`. Mounts a BPF file system where there is none yet.
    ///
    /// # Errors
    /// [`Error::NoBpffs`] if it may not.
    pub fn system() -> Result<Home> {
        Ok(Home { pins: bpffs()?.join("xhint"), run: RUN.into() })
    }

    /// Another place: `pins` must lie in a BPF file system.
    pub fn at(pins: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Home {
        Home { pins: pins.into(), run: run.into() }
    }

    /// Where the pins of all devices are: a directory per network namespace, in it one per device.
    pub(crate) fn all_pins(&self) -> PathBuf {
        self.pins.join("dev")
    }

    /// Where the pins of a device are, by its namespace's inode and its name.
    pub(crate) fn pins(&self, netns: u64, name: &str) -> PathBuf {
        self.all_pins().join(netns.to_string()).join(pin_name(name))
    }

    /// Where its state is.
    pub(crate) fn state(&self, netns: u64, name: &str) -> PathBuf {
        self.run.join("dev").join(netns.to_string()).join(pin_name(name))
    }

    /// Waits for the right to change what is attached to `device`.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process keeps it for too long.
    pub fn lock(&self, device: &Device) -> Result<Lock> {
        let since = Instant::now();
        loop {
            if let Some(lock) = self.try_lock(device.netns().inode(), device.name())? {
                return Ok(lock);
            }
            if since.elapsed() > PATIENCE {
                let path = self.lock_path(device.netns().inode(), device.name());
                let pid = fs::read_to_string(path).ok().filter(|p| !p.is_empty()).unwrap_or_else(|| "?".to_owned());
                return Err(Error::Busy { device: device.name().to_owned(), pid });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The right to change what is attached to a device, by its namespace's inode and its name; `None` while another
    /// process has it.
    pub(crate) fn try_lock(&self, netns: u64, name: &str) -> Result<Option<Lock>> {
        let path = self.lock_path(netns, name);
        let dir = self.run.join(LOCKS);
        fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
        let file = take(&path).map_err(Error::file(&path))?;
        Ok(file.map(|file| Lock { file, path }))
    }

    fn lock_path(&self, netns: u64, name: &str) -> PathBuf {
        self.run.join(LOCKS).join(format!("{netns}-{}", pin_name(name)))
    }
}

impl Lock {
    /// Takes the lock's file away too: nothing is left to be locked.
    pub(crate) fn remove(self) {
        // Before the lock itself goes, so that whoever waits for it sees that the file is another one.
        let _none = fs::remove_file(&self.path);
        drop(self.file);
    }
}

/// Locks the file at `path`; `None` while another holds it.
fn take(path: &Path) -> io::Result<Option<Flock<fs::File>>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => held,
        Err((_, nix::errno::Errno::EAGAIN)) => return Ok(None),
        Err((_, e)) => return Err(e.into()),
    };
    // Whoever held it may have taken the file away: then this one keeps nobody out.
    if fs::metadata(path).map(|m| m.ino()).ok() != Some(held.metadata()?.ino()) {
        return Ok(None);
    }
    // Who holds it, for messages; the lock itself does not depend on it.
    held.set_len(0)?;
    write!(held, "{}", std::process::id())?;
    Ok(Some(held))
}

/// A device's or map's name as a file name in a BPF file system, which takes no dots (`bpf_lookup` in
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
    let theirs = |pid: &i32| Path::new("/proc").join(pid.to_string()).join("root").join(BPFFS.trim_start_matches('/'));
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

/// The processes we come from, the nearest first, up to the first of all.
fn ancestors() -> Vec<i32> {
    let mut all = vec![nix::unistd::getppid().as_raw()];
    while let Some(pid) = all.last().copied().filter(|pid| *pid > 1 && all.len() < 64) {
        // "pid (name) state ppid ...", and the name may have anything in it: proc(5).
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        match parent {
            Some(parent) if parent > 0 => all.push(parent),
            _ => break,
        }
    }
    all
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|s| s.filesystem_type() == BPF_FS_MAGIC)
}

/// Removes a directory and all in it; that there is none is fine. Pins are files to this.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::File { path: path.to_owned(), cause: e }),
        _ => Ok(()),
    }
}

/// Removes a directory if nothing is in it.
pub(crate) fn remove_empty(path: &Path) {
    // Not empty, or not there: both are what is wanted.
    let _kept = fs::remove_dir(path);
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
