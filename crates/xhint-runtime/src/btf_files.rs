//! BTF from files, raw or in ELF objects: the base that others are split on, and NICs' own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use xhint_btf::Btf;

use crate::error::{Error, Result};
use crate::files::read_btf;

/// The running kernel's BTF, which is the base if no other is given.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The BTF that others are split on: that of `paths`, each split on the one before; the running kernel's if there is none.
///
/// # Errors
/// [`Error::Host`] and [`Error::Source`].
pub fn base(paths: &[PathBuf]) -> Result<Arc<Btf>> {
    match chain(paths)? {
        Some(base) => Ok(base),
        None => btf(Path::new(KERNEL_BTF), None).map(Arc::new),
    }
}

/// The BTF of `paths`, each split on the one before. `None` if there is none.
///
/// # Errors
/// As [`base`].
pub fn chain(paths: &[PathBuf]) -> Result<Option<Arc<Btf>>> {
    paths.iter().try_fold(None, |below, path| Ok(Some(Arc::new(btf(path, below)?))))
}

/// The BTF at `path`, split on `base` if there is one.
///
/// # Errors
/// As [`base`].
pub fn btf(path: &Path, base: Option<Arc<Btf>>) -> Result<Btf> {
    xhint_object::btf_of(bytes(path)?, base).map_err(|cause| fault(path, cause))
}

/// The NIC BTF at `path`: standalone, split on `base`, or split on a distilled base, which is taken from `.BTF.base`, or
/// from the file `PATH.base` beside a raw one.
///
/// # Errors
/// As [`base`].
pub fn nic(path: &Path, base: &Arc<Btf>) -> Result<Btf> {
    xhint_object::nic_btf(bytes(path)?, || Some(base)).map_err(|cause| fault(path, cause))
}

fn fault(path: &Path, cause: xhint_object::Error) -> Error {
    Error::Source { path: path.to_owned(), cause: Box::new(cause) }
}

/// The bytes of the BTF at `path`, and of a distilled base that stands beside it.
fn bytes(path: &Path) -> Result<Bytes> {
    // A NIC BTF is small and may be rewritten while we hold it, so it is read; only sysfs is worth mapping and cannot
    // change.
    if path.starts_with("/sys/kernel/btf")
        && let Some(bytes) = map(path)
    {
        return Ok(bytes);
    }
    Ok(read_btf(path)?.into())
}

/// Maps a file of the kernel's own, privately as sysfs asks. `None` where the kernel cannot map it (before 6.16).
#[allow(unsafe_code)]
fn map(path: &Path) -> Option<Bytes> {
    let file = File::open(path).ok()?;
    // SAFETY: sysfs maps the kernel's own BTF, which is read-only and stays as it is while the kernel runs (a module's
    // while it is loaded, and the mapping holds the pages).
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) }.ok()?;
    Some(Bytes::from_owner(map))
}
