//! The BPF file system that pins live in, and the mount namespace that it is seen from.
//!
//! Pins and names of network namespaces have to be seen by later calls. `ip netns exec` runs its child in a mount namespace
//! of its own, with a `/sys` that has no BPF file system: what is mounted or pinned there goes away with the child. So from
//! there, the file system of a process we come from is used: of the nearest that has one, else of the first of all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::error::{Error, Result};
use crate::process::ancestors;
use crate::thread::on_thread;

/// Where it is mounted by custom.
const BPFFS: &str = "/sys/fs/bpf";

/// Where there is one, as this process can reach it; mounted, where it is kept, if nobody sees any.
///
/// # Errors
/// [`Error::NoBpffs`] if it may not be mounted.
pub fn find() -> Result<PathBuf> {
    let path = at(BPFFS);
    if is_bpffs(&path) {
        return Ok(path);
    }
    let mounted = on_thread(|| {
        enter()?;
        mount_here()
    });
    mounted.map_err(|cause| Error::NoBpffs { path: BPFFS.into(), cause: Box::new(cause) })?;
    Ok(at(BPFFS))
}

/// `path`, which is absolute, in the mount namespace that is kept, as this process can reach it.
pub fn at(path: &str) -> PathBuf {
    keeper().map_or_else(|| PathBuf::from(path), |pid| root(pid, path))
}

/// Moves the calling thread, and whatever it starts, into the mount namespace that is kept. Not for threads that others
/// look after.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`.
pub fn enter() -> Result<()> {
    let Some(pid) = keeper() else { return Ok(()) };
    let path = mounts(pid);
    let theirs = File::open(&path).map_err(Error::file(&path))?;
    // The kernel moves only threads that share neither working directory nor root with others.
    unshare(CloneFlags::CLONE_FS).map_err(Error::system("leaving the process's working directory"))?;
    setns(&theirs, CloneFlags::CLONE_NEWNS).map_err(Error::system("entering the mount namespace that pins are kept in"))
}

/// Mounts it where there is none, as bpftool does.
fn mount_here() -> Result<()> {
    let here = Path::new(BPFFS);
    if is_bpffs(here) {
        return Ok(());
    }
    mount(Some("bpf"), here, Some("bpf"), MsFlags::empty(), Some("mode=0700")).map_err(Error::file(here))
}

/// The process in whose mount namespace things are kept; `None` if this thread is in it. One that may not be looked at says
/// nothing.
fn keeper() -> Option<u32> {
    if is_bpffs(Path::new(BPFFS)) {
        return None;
    }
    let all = ancestors();
    if let Some(near) = all.iter().find(|pid| is_bpffs(&root(**pid, BPFFS))) {
        return Some(*near);
    }
    let ours = fs::read_link("/proc/thread-self/ns/mnt").ok();
    let (first, theirs) = all.iter().rev().find_map(|pid| Some((*pid, fs::read_link(mounts(*pid)).ok()?)))?;
    (ours? != theirs).then_some(first)
}

fn root(pid: u32, path: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("root").join(path.trim_start_matches('/'))
}

fn mounts(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("ns/mnt")
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|s| s.filesystem_type() == BPF_FS_MAGIC)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use caps::{CapSet, Capability};
    use nix::mount::{MntFlags, umount2};

    use super::*;

    /// On a thread that sees none, nor any process that might, and may mount none.
    #[test]
    fn why_none_can_be_mounted_is_told() {
        if !xhint_testkit::privileged() {
            return;
        }
        let found = on_thread(|| {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
            while is_bpffs(Path::new(BPFFS)) {
                umount2(BPFFS, MntFlags::MNT_DETACH).unwrap();
            }
            mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), none).unwrap();
            caps::drop(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap();
            find()
        });
        let says = found.unwrap_err().to_string();
        assert!(says.starts_with("/sys/fs/bpf: no BPF file system, and none can be mounted ("), "{says}");
        assert!(says.contains("Operation not permitted"), "{says}");
    }
}
