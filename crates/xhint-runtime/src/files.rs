//! Reading the user's files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// The most that is read from what is no regular file: many times a kernel's BTF.
const MAX_PIPED: u64 = 64 << 20;

/// The bytes of the file at `path`, which may be a pipe.
///
/// # Errors
/// [`xhint_host::Error::File`]; for a directory, too, and for a device or pipe that gives more than 64 MiB.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    bounded(path).map_err(Error::file(path))
}

/// The bytes of the BTF at `path`; if it is raw and the file `PATH.base` stands beside it, with that as its distilled base
/// ([`xhint_object::with_base`]).
///
/// # Errors
/// As [`read`]; [`Error::Source`] for a base that is none.
pub fn read_btf(path: &Path) -> Result<Vec<u8>> {
    let own = read(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".base");
    let beside = Path::new(&beside);
    if !xhint_object::is_raw(&own) || !beside.is_file() {
        return Ok(own);
    }
    let with = xhint_object::with_base(&own, &read(beside)?);
    with.map_err(|e| Error::Source { path: beside.to_owned(), cause: Box::new(e) })
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory, not a file"));
    }
    if kind.is_file() {
        return fs::read(path);
    }
    // A pipe says no length, and a device may never end.
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_PIPED.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PIPED {
        let what = format!("is no regular file and gives more than {} MiB", MAX_PIPED >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}
