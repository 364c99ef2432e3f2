//! Where a soft NIC's BPF objects live on: `/sys/fs/bpf/xhint/nic/NAME`.

use std::path::PathBuf;

use xhint_host::bpffs;
use xhint_host::pin::{of_pin, to_pin};
use xhint_host::private::{self, make_dir, remove_dir};

use crate::error::Result;

const DIR: &str = "/sys/fs/bpf/xhint/nic";

/// The pinned maps that later calls work with, by their names in the wire program.
pub(crate) const MAPS: &[&str] = &["firmware", "counters", "layouts", "settings", "truth_log", "works", "port"];

/// The pinned XDP link. It is pinned last: with it the NIC is whole.
pub(crate) const LINK: &str = "link";

/// The directory of this NIC.
pub(crate) fn dir(name: &str) -> PathBuf {
    bpffs::at(DIR).join(to_pin(name))
}

/// Makes the directory.
pub(crate) fn create(name: &str) -> Result<PathBuf> {
    let dir = dir(name);
    make_dir(&dir)?;
    Ok(dir)
}

/// Unpins everything of this NIC. Fine if there is nothing.
pub(crate) fn remove(name: &str) -> Result<()> {
    Ok(remove_dir(&dir(name))?)
}

/// The names of all soft NICs that have pins, whole or not.
pub(crate) fn names() -> Result<Vec<String>> {
    let mut names: Vec<String> = private::names(&bpffs::at(DIR))?.iter().map(|pin| of_pin(pin)).collect();
    names.sort();
    Ok(names)
}
