//! Names of soft NICs and what is named after them.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use xhint_host::private::make_root;

use crate::error::{Error, Result, file, system};

/// Longest name of a device, IFNAMSIZ less the terminator.
const MAX: usize = 15;

const LOCKS: &str = "/run/xhint";

/// Checks that `name` can name a device and a file.
pub(crate) fn check(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." || name == "all" || name == "default" {
        "it has a meaning of its own"
    } else if name.contains('%') {
        "the kernel would number it at a %"
    } else if name.bytes().any(|b| b == b'/' || b == b':' || !b.is_ascii_graphic()) {
        "letters, digits and other signs are allowed, but no / : or blanks"
    } else {
        return Ok(());
    };
    Err(Error::BadName { name: name.to_string(), why })
}

/// The inner namespace's name.
pub(crate) fn netns(name: &str) -> String {
    format!("xhint-{name}")
}

/// A MAC address that is the same each time: locally administered, told apart by `end`.
pub(crate) fn mac(name: &str, end: u8) -> [u8; 6] {
    // FNV-1a, 32 bits.
    let hash = name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    [0x06, a, b, c, d, end]
}

/// Keeps others from changing (`what` is empty) or feeding (`"send-"`) the NIC until it is dropped.
pub(crate) fn lock(name: &str, what: &str, doing: &'static str) -> Result<Flock<fs::File>> {
    make_root(Path::new(LOCKS))?;
    let path = lock_path(name, what);
    loop {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let opened = options.open(&path).map_err(file("opening", &path))?;
        let locked = Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
            nix::Error::EWOULDBLOCK => Error::Busy { name: name.to_string(), doing },
            other => system("locking")(io::Error::from(other)),
        })?;
        // Whoever held it may have removed it: then it keeps nobody out any more.
        let inode = locked.metadata().map_err(file("looking at", &path))?.ino();
        if fs::metadata(&path).is_ok_and(|now| now.ino() == inode) {
            return Ok(locked);
        }
    }
}

/// Removes the locks of a NIC that is gone. The caller holds the first.
pub(crate) fn forget(name: &str) -> Result<()> {
    for what in ["send-", ""] {
        let path = lock_path(name, what);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file("removing", &path)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn lock_path(name: &str, what: &str) -> PathBuf {
    Path::new(LOCKS).join(format!("nic-{name}.{what}lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names() {
        for good in ["mynic0", "a", "fifteen-bytes-x", "eth0.5"] {
            check(good).unwrap();
        }
        for bad in ["", "sixteen-bytes-xx", "a/b", "..", "a b", "a:1", "nic%d", "naïve", "a\n"] {
            assert!(matches!(check(bad), Err(Error::BadName { .. })), "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_local_and_unicast() {
        assert_eq!(mac("mynic0", 1)[0] & 3, 2);
        assert_ne!(mac("mynic0", 1), mac("mynic1", 1));
        assert_ne!(mac("mynic0", 1), mac("mynic0", 2));
    }
}
