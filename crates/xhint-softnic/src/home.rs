//! In whose mount namespace a soft NIC is kept.
//!
//! Its pins and its namespace's name have to be seen by later calls. `ip netns exec` runs its child in
//! a mount namespace of its own, with a `/sys` that has no BPF file system: what is mounted or pinned
//! there goes away with the child. So from there, that of a process we come from is used: the nearest
//! with a BPF file system, else the first of all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use xhint_host::ancestors;

use crate::error::{Result, file, system};

const BPFFS: &str = "/sys/fs/bpf";

/// `path`, which is absolute, where soft NICs are kept.
pub(crate) fn at(path: &str) -> PathBuf {
    keeper().map_or_else(|| PathBuf::from(path), |pid| root(pid, path))
}

fn root(pid: u32, path: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("root").join(path.trim_start_matches('/'))
}

/// Moves the calling thread, and whatever it starts, to where soft NICs are kept. Not for threads that
/// others look after.
pub(crate) fn enter() -> Result<()> {
    let Some(pid) = keeper() else { return Ok(()) };
    let path = mounts(pid);
    let theirs = File::open(&path).map_err(file("opening", path))?;
    // The kernel moves only threads that share neither working directory nor root with others.
    unshare(CloneFlags::CLONE_FS).map_err(system("leaving the process's working directory"))?;
    setns(&theirs, CloneFlags::CLONE_NEWNS).map_err(system("entering the mount namespace that soft NICs are kept in"))
}

/// Mounts the BPF file system where there is none, as bpftool does. On a thread that has [`enter`]ed.
pub(crate) fn mount_bpffs() -> Result<()> {
    if is_bpffs(Path::new(BPFFS)) {
        return Ok(());
    }
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .map_err(file("mounting bpffs on", BPFFS))
}

/// The process in whose mount namespace soft NICs are kept; `None` if this thread is in it. One that may not be looked
/// at says nothing.
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

fn mounts(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("ns/mnt")
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|s| s.filesystem_type() == BPF_FS_MAGIC)
}
