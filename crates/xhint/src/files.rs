//! Files in and out: the kernel's own mapped for reading, others replaced in one step for writing.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use xhint_btf::Btf;

use crate::print;

/// The running kernel's BTF, which `--base` defaults to.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The bytes of the file at `path`.
///
/// # Errors
/// Names the file.
pub fn read(path: &Path) -> anyhow::Result<Bytes> {
    Ok(xhint_runtime::read(path)?.into())
}

/// The bytes of the BTF at `path`, and of a distilled base that stands beside it.
fn read_btf(path: &Path) -> anyhow::Result<Bytes> {
    // A NIC BTF is small and may be rewritten while we hold it, so it is read; only sysfs is worth mapping and cannot
    // change.
    if path.starts_with("/sys/kernel/btf")
        && let Some(bytes) = map(path)
    {
        return Ok(bytes);
    }
    Ok(xhint_runtime::read_btf(path)?.into())
}

/// Maps a file of the kernel's own, privately as sysfs asks. `None` where the kernel cannot map it (before 6.16).
fn map(path: &Path) -> Option<Bytes> {
    let file = File::open(path).ok()?;
    // SAFETY: sysfs maps the kernel's own BTF, which is read-only and stays as it is while the kernel runs (a module's
    // while it is loaded, and the mapping holds the pages).
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) }.ok()?;
    Some(Bytes::from_owner(map))
}

/// The BTF that others are split on: that of `paths`, each split on the one before; the running kernel's if there is none.
///
/// # Errors
/// Names the file.
pub fn base(paths: &[PathBuf]) -> anyhow::Result<Arc<Btf>> {
    if paths.is_empty() {
        let bytes =
            read_btf(Path::new(KERNEL_BTF)).context("cannot read the running kernel's BTF; give one with --base")?;
        return Ok(Arc::new(xhint_object::btf_of(bytes, None).context(KERNEL_BTF)?));
    }
    // There is a first one.
    chain(paths)?.context("no base BTF")
}

/// The BTF of `paths`, each split on the one before. `None` if there is none.
///
/// # Errors
/// Names the file.
pub fn chain(paths: &[PathBuf]) -> anyhow::Result<Option<Arc<Btf>>> {
    paths.iter().try_fold(None, |below, path| {
        let bytes = read_btf(path).context("cannot read the base BTF")?;
        Ok(Some(Arc::new(parse(path, bytes, below)?)))
    })
}

/// The BTF in `bytes`, which are those of `path`.
fn parse(path: &Path, bytes: Bytes, base: Option<Arc<Btf>>) -> anyhow::Result<Btf> {
    use xhint_btf::Error::{StringOffset, Strings, TypeId};
    let alone = base.is_none();
    let btf = xhint_object::btf_of(bytes, base).map_err(|error| match &error {
        xhint_object::Error::Btf {
            source: Strings { what: "begin", .. } | StringOffset { .. } | TypeId { .. },
            ..
        } if alone => anyhow::Error::from(error).context("not standalone; if it is split, --base gives what on"),
        _ => error.into(),
    });
    btf.with_context(|| format!("{}", path.display()))
}

/// The BTF at `path`, raw or in an ELF object, split on `base` if there is one.
///
/// # Errors
/// Names the file.
pub fn btf(path: &Path, base: Option<Arc<Btf>>) -> anyhow::Result<Btf> {
    parse(path, read_btf(path)?, base)
}

/// Whether `path` stands for standard output. A file of that name is `./-`.
pub fn is_stdout(path: &Path) -> bool {
    path == "-"
}

/// Writes `bytes` to `path` in one step: whoever opens it sees the old file or the whole new one. A file that is
/// replaced gives its mode and owner to the new one; the umask says the mode of one that there was not. `-` is standard
/// output.
///
/// # Errors
/// Names the file; the old one, if there was one, is untouched, and nothing else is left.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if is_stdout(path) {
        return print::bytes(bytes);
    }
    replace(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // The file that a link leads to, rather than the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = match fs::metadata(path) {
        Ok(old) => Some(old),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    match &old {
        Some(old) if old.is_dir() => return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")),
        // Devices and pipes cannot be replaced by renaming: they are written to.
        Some(old) if !old.is_file() => return fs::write(path, bytes),
        _ => {}
    }
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::metadata(dir)?;
    let file = tempfile::Builder::new()
        .prefix(".xhint-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        // Its own words would name a file nobody has asked for.
        .map_err(|e| match e.kind() {
            // The folder is there: its file system makes no files, as those of /proc do not.
            io::ErrorKind::NotFound => io::Error::other(format!("no file can be made in {}", dir.display())),
            kind => e.raw_os_error().map_or_else(|| io::Error::from(kind), io::Error::from_raw_os_error),
        })?;
    // Not through `file`, whose errors name it.
    let mut out = file.as_file();
    out.write_all(bytes)?;
    if let Some(old) = old {
        // Who may not give files away keeps this one; the mode is set after, since a new owner clears bits of it.
        let _own = fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
        file.as_file().set_permissions(old.permissions())?;
    }
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Refuses an output that is one of the inputs, by whatever name.
///
/// # Errors
/// Names the file.
pub fn check_distinct<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    let Some(real) = output.canonicalize().ok().filter(|_| !is_stdout(output)) else { return Ok(()) };
    for input in inputs {
        if input.canonicalize().is_ok_and(|i| i == real) {
            bail!("{} is an input too; name another file with -o", output.display());
        }
    }
    Ok(())
}

/// The NIC BTF at `path`: raw or in an ELF object, standing alone or split on `base` or on a distilled one.
///
/// # Errors
/// Names the file.
pub fn nic(path: &Path, base: &Arc<Btf>) -> anyhow::Result<Btf> {
    xhint_object::nic_btf(read_btf(path)?, Arc::clone(base)).with_context(|| format!("{}", path.display()))
}
