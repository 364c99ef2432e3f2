//! The right to change what is pinned in a directory.
//!
//! The lock is on the directory itself, so it excludes all who share the pins, whatever `/run` they see and whatever the
//! device is called by now, and nobody else: who may not look into the directories above cannot open it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Result};
use crate::private::{make_dir, remove_empty};

/// Ends when dropped, and takes the directory, and the one above it, away if nothing is in it then.
#[derive(Debug)]
pub struct Lock {
    _dir: Flock<File>,
    path: PathBuf,
}

impl Lock {
    /// That of the directory at `path`, which is made; `None` while another process has it.
    pub fn try_take(path: &Path) -> Result<Option<Lock>> {
        loop {
            make_dir(path)?;
            match take(path, FlockArg::LockExclusiveNonblock).map_err(Error::file(path))? {
                Taken::Held(dir) => return Ok(Some(Lock { _dir: dir, path: path.to_owned() })),
                Taken::Busy => return Ok(None),
                Taken::Gone => {}
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: whoever waits for it sees that the directory is another one.
        remove_empty(&self.path);
        self.path.parent().into_iter().for_each(remove_empty);
    }
}

/// What came of locking a directory.
enum Taken {
    Held(Flock<File>),
    /// Another has it.
    Busy,
    /// Whoever held it took it away.
    Gone,
}

fn take(path: &Path, how: FlockArg) -> io::Result<Taken> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let dir = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if gone(&e) => return Ok(Taken::Gone),
        dir => dir?,
    };
    let held = match Flock::lock(dir, how) {
        Ok(held) => held,
        Err((_, nix::errno::Errno::EAGAIN)) => return Ok(Taken::Busy),
        Err((_, e)) => return Err(e.into()),
    };
    // Whoever held it may have taken the directory away: then this one keeps nobody out.
    let same = fs::symlink_metadata(path).is_ok_and(|now| held.metadata().is_ok_and(|h| h.ino() == now.ino()));
    Ok(if same { Taken::Held(held) } else { Taken::Gone })
}

/// What `look` finds in the directory at `path` while nobody changes what is pinned there. `None` if somebody does just now, or
/// there is no such directory.
pub fn at_rest<T>(path: &Path, look: impl FnOnce() -> T) -> Result<Option<T>> {
    match take(path, FlockArg::LockSharedNonblock).map_err(Error::file(path))? {
        Taken::Held(_shared) => Ok(Some(look())),
        Taken::Busy | Taken::Gone => Ok(None),
    }
}

/// The process that holds the lock of the directory at `path`, for messages.
pub fn holder(path: &Path) -> Option<u32> {
    let found = fs::symlink_metadata(path).ok()?;
    let (major, minor) = (libc::major(found.dev()), libc::minor(found.dev()));
    let inode = format!("{major:02x}:{minor:02x}:{}", found.ino());
    // "1: FLOCK  ADVISORY  WRITE 1234 00:21:77 0 EOF": proc_locks(5).
    fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|w| *w != "FLOCK").skip(3);
        let pid = words.next()?;
        (words.next()? == inode).then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_left() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("a/b");
        let held = Lock::try_take(&dir).unwrap().unwrap();
        assert!(Lock::try_take(&dir).unwrap().is_none());
        assert_eq!(at_rest(&dir, || 1).unwrap(), None);
        assert_eq!(holder(&dir), Some(std::process::id()));
        drop(held);
        assert!(!dir.exists());
        let held = Lock::try_take(&dir).unwrap().unwrap();
        fs::write(dir.join("file"), "").unwrap();
        drop(held);
        assert!(dir.join("file").exists());
        // Any number may look, and none may change anything meanwhile.
        let both = at_rest(&dir, || (at_rest(&dir, || 1).unwrap(), Lock::try_take(&dir).unwrap().is_none()));
        assert_eq!(both.unwrap(), Some((Some(1), true)));
        assert_eq!(holder(&dir), None);
    }
}
