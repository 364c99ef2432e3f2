//! In whose mount namespace a soft NIC is kept.
//!
//! Its pins and its namespace's name have to be seen by later calls. `ip netns exec` runs its child in
//! a mount namespace of its own, with a `/sys` that has no BPF file system: what is mounted or pinned
//! there goes away with the child. So from there, the first process's is used.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::error::{Result, file, system};

const BPFFS: &str = "/sys/fs/bpf";

/// The first process's files.
const INIT: &str = "/proc/1/root";

/// `path`, which is absolute, where soft NICs are kept.
pub(crate) fn at(path: &str) -> PathBuf {
    if elsewhere() { Path::new(INIT).join(path.trim_start_matches('/')) } else { PathBuf::from(path) }
}

/// Moves the calling thread, and whatever it starts, to where soft NICs are kept. Not for threads that
/// others look after.
pub(crate) fn enter() -> Result<()> {
    if !elsewhere() {
        return Ok(());
    }
    let path = "/proc/1/ns/mnt";
    let init = File::open(path).map_err(file("opening", path))?;
    // The kernel moves only threads that share neither working directory nor root with others.
    unshare(CloneFlags::CLONE_FS).map_err(system("leaving the process's working directory"))?;
    setns(&init, CloneFlags::CLONE_NEWNS).map_err(system("entering the first process's mount namespace"))
}

/// Mounts the BPF file system where there is none, as bpftool does. On a thread that has [`enter`]ed.
pub(crate) fn mount_bpffs() -> Result<()> {
    if is_bpffs(Path::new(BPFFS)) {
        return Ok(());
    }
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .map_err(file("mounting bpffs on", BPFFS))
}

/// Makes a directory, and those above it that are not there, for us alone, whatever the umask allows.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file("creating", path))
}

/// Whether this thread is not where soft NICs are kept. If the first process may not be looked at, this
/// is as good a place as any.
fn elsewhere() -> bool {
    if is_bpffs(Path::new(BPFFS)) {
        return false;
    }
    match (fs::read_link("/proc/thread-self/ns/mnt"), fs::read_link("/proc/1/ns/mnt")) {
        (Ok(ours), Ok(init)) => ours != init,
        _ => false,
    }
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|s| s.filesystem_type() == BPF_FS_MAGIC)
}
