//! Directories and files that nobody else may change: whatever the umask, and whoever was there before.
//!
//! What is read here is linked and loaded into the kernel. So it is only taken from directories and files that belong to
//! us or to root, that nobody else may write, and that no link leads to.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Result};

const DIR: u32 = 0o700;
const FILE: u32 = 0o600;
/// Writable by the group, or by all.
const OTHERS_WRITE: u32 = 0o022;

/// Makes the directory `path`, and those above it that are not there, for us alone.
pub fn make_dir(path: &Path) -> Result<()> {
    make(path).map_err(Error::file(path))
}

fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIR).create(path) {
        // The umask may have taken from it what we need.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(DIR)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            make(path.parent().ok_or(e)?)?;
            make(path)
        }
        Err(e) => Err(e),
    }
}

/// Makes the directory `path`, below which all is ours. One that others could look into is closed to them.
///
/// # Errors
/// As [`check_root`].
pub fn make_root(path: &Path) -> Result<()> {
    make_dir(path)?;
    check_root(path)?;
    let mode = fs::symlink_metadata(path).map_err(Error::file(path))?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(DIR)).map_err(Error::file(path))
}

/// That the directory `path`, if it is there, is one that only we or root may change.
///
/// # Errors
/// [`Error::NotOurs`].
pub fn check_root(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Ok(found) if !found.is_dir() => {
            Err(Error::NotOurs { path: path.to_owned(), why: "is no directory".to_owned() })
        }
        found => check(path, &found.map_err(Error::file(path))?),
    }
}

/// That nobody but us and root may change what was found at `path`.
fn check(path: &Path, found: &fs::Metadata) -> Result<()> {
    let not_ours = |why| Err(Error::NotOurs { path: path.to_owned(), why });
    let owner = found.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return not_ours(format!("belongs to the user with id {owner}"));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return not_ours(format!("may be written by others (mode {:04o})", found.mode() & 0o7777));
    }
    Ok(())
}

/// Writes a file in one step: whoever reads it finds all of it or none. What fails leaves nothing behind.
pub fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_extension("new");
    // What a call that was killed left.
    let _none = fs::remove_file(&fresh);
    let written = write(&fresh, bytes).and_then(|()| fs::rename(&fresh, path));
    written.map_err(Error::file(path)).inspect_err(|_| {
        let _none = fs::remove_file(&fresh);
    })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(FILE).custom_flags(libc::O_NOFOLLOW).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE))?;
    file.write_all(bytes)
}

/// Writes one more line, or some, at the end of a file that [`put`] wrote, in the place of a last one that was broken off.
/// What fails leaves it as it was. Where it begins, for [`cut`].
pub fn append_line(path: &Path, line: &[u8]) -> Result<u64> {
    append(path, line).map_err(Error::file(path))
}

/// Takes away what stands in a file from `end` on.
pub fn cut(path: &Path, end: u64) -> Result<()> {
    reopen(path).and_then(|file| file.set_len(end)).map_err(Error::file(path))
}

fn reopen(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn append(path: &Path, line: &[u8]) -> io::Result<u64> {
    let file = reopen(path)?;
    let end = last_end(&file)?;
    let written = file.set_len(end).and_then(|()| file.write_all_at(line, end));
    written.map(|()| end).inspect_err(|_| {
        let _torn = file.set_len(end);
    })
}

/// Where the last line ends that was not broken off.
fn last_end(mut file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut last = [0];
    let Some(at) = length.checked_sub(1) else { return Ok(0) };
    file.read_exact_at(&mut last, at)?;
    if last == *b"\n" {
        return Ok(length);
    }
    let mut all = Vec::new();
    file.read_to_end(&mut all)?;
    let whole = all.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    Ok(whole.map(|line| line.len() as u64).sum())
}

/// What [`put`] wrote.
///
/// # Errors
/// [`Error::NotOurs`] for a file that another could have changed.
pub fn get(path: &Path) -> Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    // A pipe is not waited for.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut open: File = options.read(true).custom_flags(flags).open(path).map_err(Error::file(path))?;
    let found = open.metadata().map_err(Error::file(path))?;
    check(path, &found)?;
    if !found.is_file() {
        return Err(Error::NotOurs { path: path.to_owned(), why: "is no file".to_owned() });
    }
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).map_err(Error::file(path))?;
    Ok(bytes)
}

/// Removes a directory and all in it; that there is none is fine. Pins are files to this.
pub fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::File { path: path.to_owned(), cause: e }),
        _ => Ok(()),
    }
}

/// Removes a directory if nothing is in it.
pub fn remove_empty(path: &Path) {
    // Not empty, or not there: both are what is wanted.
    let _kept = fs::remove_dir(path);
}

/// The names in a directory, sorted; none if there is no such directory.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries.map_err(Error::file(dir))?,
    };
    let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// Whether there is such a file. One that may not be looked for is not just absent.
pub fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().map_err(Error::file(path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn lines_are_added_behind_whole_ones() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("file");
        put(&file, b"").unwrap();
        append_line(&file, b"one\n").unwrap();
        append_line(&file, b"two").unwrap();
        let end = append_line(&file, b"three\n").unwrap();
        assert_eq!(get(&file).unwrap(), b"one\nthree\n");
        cut(&file, end).unwrap();
        assert_eq!(get(&file).unwrap(), b"one\n");
    }

    #[test]
    fn modes_hang_on_no_umask_and_what_others_could_write_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let (root, deep) = (top.path().join("root"), top.path().join("root/a/b"));
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        let old = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        make_root(&root).unwrap();
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o277));
        make_dir(&deep).unwrap();
        let file = deep.join("file");
        put(&file, b"text").unwrap();
        nix::sys::stat::umask(old);
        for dir in [&root, &root.join("a"), &deep] {
            assert_eq!(mode(dir), DIR, "{}", dir.display());
        }
        assert_eq!((mode(&file), get(&file).unwrap()), (FILE, b"text".to_vec()));

        let says = |path: &Path| get(path).unwrap_err().to_string();
        symlink(&file, deep.join("link")).unwrap();
        get(&deep.join("link")).unwrap_err();
        nix::unistd::mkfifo(&deep.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(says(&deep.join("pipe")).contains("is no file"));
        fs::set_permissions(&file, Permissions::from_mode(0o620)).unwrap();
        assert!(says(&file).contains("may be written by others (mode 0620)"));

        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        make_root(&root).unwrap();
        assert_eq!(mode(&root), DIR, "closed to who could look into it");
        fs::set_permissions(&root, Permissions::from_mode(0o777)).unwrap();
        assert!(make_root(&root).unwrap_err().to_string().contains("may be written by others"));
        fs::set_permissions(&root, Permissions::from_mode(DIR)).unwrap();
        symlink(&root, top.path().join("elsewhere")).unwrap();
        assert!(make_root(&top.path().join("elsewhere")).unwrap_err().to_string().contains("is no directory"));
        assert!(check_root(&top.path().join("none")).is_ok());
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&root, Some(65534), None).unwrap();
            assert!(check_root(&root).unwrap_err().to_string().contains("belongs to the user with id 65534"));
        }
    }
}
