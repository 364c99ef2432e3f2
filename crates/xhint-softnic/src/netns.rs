//! Network namespaces with names, kept as `ip netns` keeps them: a bind mount in `/run/netns`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};

use crate::error::{Error, Result, file, system};
use crate::home;
use crate::rights::may;
use crate::rtnl::Rtnl;

const DIR: &str = "/run/netns";

/// What `lo` is called for people in a namespace that was made here (`ip link` shows it as its alias). Whoever made
/// another of the same name has not called it so.
const MARK: &str = "made by xhint";

/// The namespace file system's magic (include/uapi/linux/magic.h, NSFS_MAGIC).
const NSFS: FsType = FsType(0x6e73_6673);

/// Where `ip netns` has the namespace of this name.
pub(crate) fn path(name: &str) -> PathBuf {
    home::at(DIR).join(name)
}

/// What stands where a namespace of ours would.
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// A file without a namespace: whoever made it came no further.
    Empty,
    /// It.
    Ours(File),
    /// Somebody else's.
    Theirs,
}

/// Looks for a namespace of ours by its name.
pub(crate) fn find(name: &str) -> Result<Found> {
    match open(name) {
        Ok(netns) => {
            let alias = inside(&netns, || Rtnl::open()?.alias("lo"))?;
            Ok(if alias.as_deref() == Some(MARK) { Found::Ours(netns) } else { Found::Theirs })
        }
        Err(Error::Netns { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(Error::Netns { cause, .. }) if cause.kind() == io::ErrorKind::InvalidInput => Ok(Found::Empty),
        Err(other) => Err(other),
    }
}

/// Whether the namespace of this name was made by [`add`], or is a soft NIC's.
pub fn owned(name: &str) -> bool {
    matches!(find(name), Ok(Found::Ours(_)))
}

/// Opens a namespace by its name for `ip netns`, or by a path.
pub(crate) fn open(name: &str) -> Result<File> {
    let path = if name.contains('/') { PathBuf::from(name) } else { path(name) };
    let failed = |cause: io::Error| Error::Netns { name: name.to_string(), cause };
    // A pipe is not waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).map_err(failed)?;
    let kind = fstatfs(&file).map_err(|e| failed(e.into()))?.filesystem_type();
    if kind != NSFS {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a namespace")));
    }
    Ok(file)
}

/// The calling thread's namespace.
pub(crate) fn current() -> Result<File> {
    let path = "/proc/thread-self/ns/net";
    File::open(path).map_err(file("opening", path))
}

/// Runs `work` on a thread of its own, whose namespace it may change.
pub(crate) fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .name("softnic".to_string())
            .spawn_scoped(scope, work)
            .map_err(system("starting a thread"))?;
        match handle.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs `work` on a thread of its own inside `netns`.
pub(crate) fn inside<T: Send>(netns: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_thread(|| {
        setns(netns, CloneFlags::CLONE_NEWNET).map_err(system("entering a network namespace"))?;
        work()
    })
}

/// Makes a namespace of this name, as `ip netns add` does; the caller stays where it is.
///
/// # Errors
/// If there is one of this name, or without the rights that a soft NIC takes.
pub fn add(name: &str) -> Result<()> {
    may()?;
    on_thread(|| {
        home::enter()?;
        create(name)
    })
}

/// Makes a namespace of this name and moves the calling thread into it. On a thread that has entered
/// [`home`]. It is marked before it has the name.
pub(crate) fn create(name: &str) -> Result<()> {
    share_dir()?;
    let path = path(name);
    OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path).map_err(file("creating", &path))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(system("making a network namespace"))?;
    Rtnl::open()?.set_alias("lo", MARK)?;
    let none: Option<&str> = None;
    mount(Some("/proc/thread-self/ns/net"), &path, none, MsFlags::MS_BIND, none).map_err(file("mounting", &path))
}

/// Takes the name of a namespace of ours away, as `ip netns del` does; the namespace goes when nothing is in it. Fine
/// if there is none.
///
/// # Errors
/// [`Error::NotOurs`] if somebody else made it; without `CAP_SYS_ADMIN`.
pub fn remove(name: &str) -> Result<()> {
    on_thread(|| {
        home::enter()?;
        match find(name)? {
            Found::Nothing => Ok(()),
            Found::Theirs => Err(Error::NotOurs { netns: name.to_string() }),
            Found::Empty | Found::Ours(_) => unname(name),
        }
    })
}

fn unname(name: &str) -> Result<()> {
    let path = path(name);
    match umount2(&path, MntFlags::MNT_DETACH) {
        // EINVAL: there is a file, but nothing mounted on it.
        Ok(()) | Err(nix::Error::ENOENT | nix::Error::EINVAL) => {}
        Err(error) => return Err(file("unmounting", &path)(error)),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("removing", &path)(error)),
        _ => Ok(()),
    }
}

/// Makes `/run/netns` a shared mount, so that every mount namespace sees what is mounted there.
fn share_dir() -> Result<()> {
    fs::create_dir_all(DIR).map_err(file("creating", DIR))?;
    let none: Option<&str> = None;
    let share = || mount(none, DIR, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match share() {
        Err(nix::Error::EINVAL) => {
            mount(Some(DIR), DIR, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).map_err(file("mounting", DIR))?;
            share().map_err(file("sharing the mount", DIR))
        }
        other => other.map_err(file("sharing the mount", DIR)),
    }
}
