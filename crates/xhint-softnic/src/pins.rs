//! Where a soft NIC's BPF objects live on: `/sys/fs/bpf/xhint/nic/NAME`.

use std::fs;
use std::io;
use std::path::PathBuf;

use xhint_host::private::make_dir;

use crate::error::{Result, file};
use crate::home;

const DIR: &str = "/sys/fs/bpf/xhint/nic";

/// The pinned maps that later calls work with, by their names in the wire program.
pub(crate) const MAPS: &[&str] = &["firmware", "counters", "layouts", "settings", "truth_log", "works", "port"];

/// The pinned XDP link. It is pinned last: with it the NIC is whole.
pub(crate) const LINK: &str = "link";

/// The directory of this NIC. A BPF file system takes no dots in names (`bpf_lookup` in
/// kernel/bpf/inode.c).
pub(crate) fn dir(name: &str) -> PathBuf {
    home::at(DIR).join(name.replace('%', "%25").replace('.', "%2e"))
}

/// Makes the directory, in a BPF file system. On a thread that has entered [`home`].
pub(crate) fn create(name: &str) -> Result<PathBuf> {
    home::mount_bpffs()?;
    let dir = dir(name);
    make_dir(&dir)?;
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
    let dir = home::at(DIR);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(file("listing", &dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file("listing", &dir))?;
        let pin = entry.file_name().to_string_lossy().into_owned();
        names.push(pin.replace("%2e", ".").replace("%25", "%"));
    }
    names.sort();
    Ok(names)
}
