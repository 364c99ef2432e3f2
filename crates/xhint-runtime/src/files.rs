//! Reading the user's files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use xhint_fill::driver::{DriverPaths, PathFile};

use crate::error::{Error, Result};

/// The most that is read from what is no regular file: many times a kernel's BTF.
const MAX_PIPED: u64 = 64 << 20;
/// The most that is read from a regular file: a kernel with all its debugging information has room in it.
const MAX_FILE: u64 = 1 << 30;

/// The bytes of the file at `path`, which may be a pipe.
///
/// # Errors
/// [`xhint_host::Error::File`]; for a directory, too, for a device or pipe that gives more than 64 MiB, and for a file of
/// more than 1 GiB.
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

/// The file at `path`, which says where drivers keep what, and says it rightly.
///
/// # Errors
/// As [`read`]; [`Error::Paths`].
pub fn path_file(path: &Path) -> Result<PathFile> {
    let text = String::from_utf8(read(path)?).map_err(|error| Error::file(path)(io::Error::other(error)))?;
    let file = PathFile { name: path.display().to_string(), text };
    DriverPaths::with(std::slice::from_ref(&file))?;
    Ok(file)
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let there = file.metadata()?;
    if there.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory, not a file"));
    }
    let (most, what) = if there.is_file() {
        (MAX_FILE, format!("has more than {} MiB, which no BTF or BPF object needs", MAX_FILE >> 20))
    } else {
        (MAX_PIPED, format!("is no regular file and gives more than {} MiB", MAX_PIPED >> 20))
    };
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, what);
    if there.len() > most {
        return Err(too_large());
    }
    // A pipe says no length, a device may never end, and a file may grow.
    let mut bytes = Vec::with_capacity(usize::try_from(there.len()).map_err(io::Error::other)?);
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_file_that_is_wrong_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own.toml");
        let text = "drivers = [\"veth\"]\n[[path]]\nhint = \"rx_hash\"\npath = \"veth_xdp_buff.skb->hash\"\nsays = \"kernel\"\nread-from = \"here\"\n";
        std::fs::write(&path, text).unwrap();
        assert_eq!(path_file(&path).unwrap().text, text);
        std::fs::write(&path, text.replace("->", "=>")).unwrap();
        let says = path_file(&path).unwrap_err().to_string();
        let right = format!("{}:4: path 'veth_xdp_buff.skb=>hash': '=>hash' is none of", path.display());
        assert!(says.starts_with(&right), "{says}");
        std::fs::write(&path, b"\xff").unwrap();
        assert!(path_file(&path).unwrap_err().to_string().contains("own.toml"));
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.btf");
        File::create(&path).unwrap().set_len(MAX_FILE.saturating_add(1)).unwrap();
        let says = read(&path).unwrap_err().to_string();
        assert!(says.contains("large.btf") && says.contains("1024 MiB"), "{says}");
        let says = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(says.contains("64 MiB"), "{says}");
    }
}
