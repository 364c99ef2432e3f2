//! Where a soft NIC's BPF objects live on: `/sys/fs/bpf/xhint/nic/NAME`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, statfs};

use crate::error::{Result, file};

const BPFFS: &str = "/sys/fs/bpf";

/// include/uapi/linux/magic.h, BPF_FS_MAGIC
const BPF_FS: FsType = FsType(0xcafe_4a11);

/// The pinned maps that later calls work with, by their names in the wire program.
pub(crate) const MAPS: &[&str] = &["firmware", "counters", "layouts", "settings", "truth_log", "works", "port"];

/// The pinned XDP link. It is pinned last: with it the NIC is whole.
pub(crate) const LINK: &str = "link";

/// The directory of this NIC.
pub(crate) fn dir(name: &str) -> PathBuf {
    Path::new(BPFFS).join("xhint/nic").join(name)
}

/// Makes the directory, and mounts bpffs where it is not, as bpftool does.
pub(crate) fn create(name: &str) -> Result<PathBuf> {
    let kind = statfs(BPFFS).map_err(file("looking at", BPFFS))?.filesystem_type();
    if kind != BPF_FS {
        let none: Option<&str> = None;
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none).map_err(file("mounting bpffs on", BPFFS))?;
    }
    let dir = dir(name);
    fs::create_dir_all(&dir).map_err(file("creating", &dir))?;
    Ok(dir)
}

/// Unpins everything of this NIC. Fine if there is nothing.
pub(crate) fn remove(name: &str) -> Result<()> {
    let dir = dir(name);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("removing", &dir)(error)),
        _ => Ok(()),
    }
}

/// The names of all soft NICs that have pins, whole or not.
pub(crate) fn names() -> Result<Vec<String>> {
    let dir = Path::new(BPFFS).join("xhint/nic");
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(file("listing", &dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file("listing", &dir))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
