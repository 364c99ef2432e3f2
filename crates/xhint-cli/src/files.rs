//! Files in and out, with the flags that would help where one cannot be read; what is written is replaced in one step.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use xhint::btf::Btf;
use xhint::{Error, Linker, read};

use crate::print;

/// The BTF that others are split on: that of `paths`, each split on the one before; the running kernel's if there is none.
///
/// # Errors
/// Names the file.
pub fn base(paths: &[PathBuf]) -> anyhow::Result<Arc<Btf>> {
    match chain(paths)? {
        Some(base) => Ok(base),
        None => read::base(&[]).context("cannot read the running kernel's BTF; give one with --base"),
    }
}

/// What links on the BTF of `paths`, each split on the one before; on the running kernel's if there is none.
///
/// # Errors
/// Names the file.
pub fn linker(paths: &[PathBuf]) -> anyhow::Result<Linker> {
    Ok(chain(paths)?.map_or_else(Linker::new, |base| Ok(Linker::on(base)))?)
}

/// The BTF of `paths`, each split on the one before. `None` if there is none.
///
/// # Errors
/// Names the file.
pub fn chain(paths: &[PathBuf]) -> anyhow::Result<Option<Arc<Btf>>> {
    paths.iter().try_fold(None, |below, path| {
        let btf = btf(path, below).context("cannot read the base BTF")?;
        Ok(Some(Arc::new(btf)))
    })
}

/// The BTF at `path`, raw or in an ELF object, split on `base` if there is one.
///
/// # Errors
/// Names the file, and `--base` where that may be what lacks.
pub fn btf(path: &Path, base: Option<Arc<Btf>>) -> anyhow::Result<Btf> {
    let alone = base.is_none();
    read::btf(path, base).map_err(|error| match &error {
        Error::Source { cause, .. } if alone && cause.lacks_base() => {
            anyhow!("{error} (if it is split on another BTF, give that with --base)")
        }
        _ => error.into(),
    })
}

/// Refuses to print a file and a report to the same place.
///
/// # Errors
/// If `output` is standard output and JSON is to go there too.
pub fn check_stdout(output: &Path, json: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        !(json && is_stdout(output)),
        "the file and --json cannot both go to standard output; name a file with -o"
    );
    Ok(())
}

/// Whether `path` stands for standard output. A file of that name is `./-`.
fn is_stdout(path: &Path) -> bool {
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
    // Of a directory, whatever lies in it.
    let is_input = |input: &Path| match input.canonicalize() {
        Ok(dir) if dir.is_dir() => real.parent() == Some(&dir),
        input => input.is_ok_and(|input| input == real),
    };
    for input in inputs {
        if is_input(input) {
            bail!("{} is an input too; name another file with -o", output.display());
        }
    }
    Ok(())
}
