//! Network namespaces that are made and removed here, kept as `ip netns` keeps them: a bind mount in `/run/netns`.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::bpffs;
use crate::error::{Error, Result};
use crate::netns::{self, NAMED, Netns};
use crate::rtnl::Rtnl;
use crate::thread::on_thread;

/// What `lo` is called for people in a namespace that was made here (`ip link` shows it as its alias). Whoever made
/// another of the same name has not called it so.
const MARK: &str = "made by xhint";

/// What stands where a namespace of ours would.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file without a namespace: whoever made it came no further.
    Empty,
    /// It.
    Ours(Netns),
    /// Somebody else's.
    Theirs,
}

/// Looks for a namespace of ours by its name.
///
/// # Errors
/// If it cannot be entered (`CAP_SYS_ADMIN`).
pub fn find(name: &str) -> Result<Found> {
    match Netns::named(name) {
        Ok(netns) => {
            let alias = netns.run(|| Rtnl::open()?.alias("lo"))?;
            Ok(if alias.as_deref() == Some(MARK) { Found::Ours(netns) } else { Found::Theirs })
        }
        Err(Error::Netns { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(Error::Netns { cause, .. }) if cause.kind() == io::ErrorKind::InvalidInput => Ok(Found::Empty),
        // A namespace of another kind.
        Err(Error::Netns { cause, .. }) if cause.kind() == io::ErrorKind::Unsupported => Ok(Found::Theirs),
        Err(other) => Err(other),
    }
}

/// Makes a namespace of this name, as `ip netns add` does; the caller stays where it is.
///
/// # Errors
/// If there is one of this name; without `CAP_SYS_ADMIN`.
pub fn add(name: &str) -> Result<()> {
    on_thread(|| {
        bpffs::enter()?;
        create(name)
    })
}

/// Makes a namespace of this name and moves the calling thread into it, which has entered where names are kept
/// ([`bpffs::enter`]). It is marked before it has the name.
///
/// # Errors
/// As [`add`].
pub fn create(name: &str) -> Result<()> {
    share_dir()?;
    let path = netns::path(name);
    let mut file = OpenOptions::new();
    file.write(true).create_new(true).mode(0o444).open(&path).map_err(Error::file(&path))?;
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(Error::system("making a network namespace"))?;
        Rtnl::open()?.set_alias("lo", MARK)?;
        let none: Option<&str> = None;
        mount(Some(netns::CURRENT), &path, none, MsFlags::MS_BIND, none).map_err(Error::file(&path))
    };
    make().inspect_err(|_| _ = fs::remove_file(&path))
}

/// Takes the name of a namespace of ours away, as `ip netns del` does; the namespace goes when nothing is in it. Fine
/// if there is none.
///
/// # Errors
/// [`Error::NetnsTaken`] if somebody else made it; without `CAP_SYS_ADMIN`.
pub fn remove(name: &str) -> Result<()> {
    on_thread(|| {
        bpffs::enter()?;
        match find(name)? {
            Found::Nothing => Ok(()),
            Found::Theirs => Err(Error::NetnsTaken { name: name.to_owned() }),
            Found::Empty | Found::Ours(_) => unname(name),
        }
    })
}

fn unname(name: &str) -> Result<()> {
    let path = netns::path(name);
    match umount2(&path, MntFlags::MNT_DETACH) {
        // EINVAL: there is a file, but nothing mounted on it.
        Ok(()) | Err(nix::Error::ENOENT | nix::Error::EINVAL) => {}
        Err(error) => return Err(Error::file(&path)(error)),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(&path)(error)),
        _ => Ok(()),
    }
}

/// Makes `/run/netns` a shared mount, so that every mount namespace sees what is mounted there. One at a time, by the lock
/// that iproute2 takes: of two who do it at once, one would hide what the other mounts.
fn share_dir() -> Result<()> {
    let dir = Path::new(NAMED);
    fs::create_dir_all(dir).map_err(Error::file(dir))?;
    let opened = fs::File::open(dir).map_err(Error::file(dir))?;
    let _one = Flock::lock(opened, FlockArg::LockExclusive).map_err(|(_, error)| Error::file(dir)(error))?;
    let none: Option<&str> = None;
    let share = || mount(none, dir, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match share() {
        Err(nix::Error::EINVAL) => {
            mount(Some(dir), dir, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).map_err(Error::file(dir))?;
            share().map_err(Error::file(dir))
        }
        other => other.map_err(Error::file(dir)),
    }
}
