//! Files in and out: the kernel's own mapped for reading, others replaced in one step for writing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use xhint_btf::Btf;

/// The running kernel's BTF, which `--base` defaults to.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The bytes of the file at `path`.
///
/// # Errors
/// Names the file.
pub fn read(path: &Path) -> anyhow::Result<Bytes> {
    // An object or NIC BTF is small and may be rewritten while we hold it, so it is read; only sysfs is worth mapping
    // and cannot change.
    if path.starts_with("/sys/kernel/btf")
        && let Some(bytes) = map(path)
    {
        return Ok(bytes);
    }
    Ok(xhint_runtime::read(path)?.into())
}

/// Maps a file of the kernel's own, privately as sysfs asks. `None` where the kernel cannot map it (before 6.16).
fn map(path: &Path) -> Option<Bytes> {
    let file = File::open(path).ok()?;
    // SAFETY: sysfs maps the kernel's own BTF, which is read-only and stays as it is while the kernel runs (a module's
    // while it is loaded, and the mapping holds the pages).
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) }.ok()?;
    Some(Bytes::from_owner(map))
}

/// The BTF at `path` (the running kernel's if `None`), as what other BTF is split on.
///
/// # Errors
/// Names the file.
pub fn base(path: Option<&Path>) -> anyhow::Result<Arc<Btf>> {
    let file = path.unwrap_or(Path::new(KERNEL_BTF));
    let bytes = read(file).with_context(|| match path {
        Some(_) => "cannot read the base BTF".to_owned(),
        None => "cannot read the running kernel's BTF; give one with --base".to_owned(),
    })?;
    let btf = xhint_object::btf_of(bytes, None).with_context(|| format!("{}", file.display()))?;
    Ok(Arc::new(btf))
}

/// The BTF at `path`, raw or in an ELF object, split on `base` if there is one.
///
/// # Errors
/// Names the file.
pub fn btf(path: &Path, base: Option<Arc<Btf>>) -> anyhow::Result<Btf> {
    xhint_object::btf_of(read(path)?, base).with_context(|| format!("{}", path.display()))
}

/// Writes `bytes` to `path` in one step: whoever opens it sees the old file or the whole new one.
///
/// # Errors
/// Names the file; the old one, if there was one, is untouched.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = || format!("cannot write {}", path.display());
    if path.is_dir() {
        bail!("{}: is a directory", name());
    }
    // Devices and pipes cannot be replaced by renaming: they are written to.
    if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return fs::write(path, bytes).with_context(name);
    }
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::metadata(dir).with_context(name)?;
    let mut file = tempfile::Builder::new()
        .prefix(".xhint-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(dir)
        // Its own words would name a file nobody has asked for.
        .map_err(|e| io::Error::from(e.kind()))
        .with_context(name)?;
    file.write_all(bytes).with_context(name)?;
    file.persist(path).map_err(|e| e.error).with_context(name)?;
    Ok(())
}

/// Refuses an output that is one of the inputs, by whatever name.
///
/// # Errors
/// Names the file.
pub fn check_distinct<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    let Ok(real) = output.canonicalize() else { return Ok(()) };
    for input in inputs {
        if input.canonicalize().is_ok_and(|i| i == real) {
            bail!("{} is an input too; name another file with -o", output.display());
        }
    }
    Ok(())
}

/// The NIC BTF at `path`: raw or in an ELF object, standing alone or split on `base`.
///
/// # Errors
/// Names the file.
pub fn nic(path: &Path, base: &Arc<Btf>) -> anyhow::Result<Btf> {
    xhint_object::nic_btf(read(path)?, Arc::clone(base)).with_context(|| format!("{}", path.display()))
}
