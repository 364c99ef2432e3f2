//! Network namespaces: which one a device is in, and doing something there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{FsType, fstatfs};

use crate::error::{Error, Result};
use crate::sys;

/// Where `ip netns` keeps names.
const NAMED: &str = "/run/netns";
/// The one of the calling thread.
const CURRENT: &str = "/proc/thread-self/ns/net";
/// `NSFS_MAGIC` of `linux/magic.h`.
const NSFS: FsType = FsType(0x6e73_6673);

/// A network namespace. Cheap to copy.
#[derive(Debug, Clone)]
pub struct Netns {
    way: Way,
    inode: u64,
    cookie: u64,
    /// What the user calls it; `None` for the one this process is in.
    name: Option<String>,
}

/// How to come into it.
#[derive(Debug, Clone)]
enum Way {
    /// It is ours, and lives as long as we do anyway.
    Held(Arc<File>),
    /// Opened each time: one that is deleted is not kept alive by us.
    Path(PathBuf),
}

impl Netns {
    /// The one the calling thread is in.
    ///
    /// # Errors
    /// Without `/proc`.
    pub fn current() -> Result<Netns> {
        let err = |cause| Error::Netns { name: CURRENT.to_owned(), cause };
        let (file, inode) = open(Path::new(CURRENT)).map_err(err)?;
        let cookie = sys::netns_cookie().map_err(err)?.unwrap_or(inode);
        Ok(Netns { way: Way::Held(Arc::new(file)), inode, cookie, name: None })
    }

    /// The one that `ip netns` knows by `name`, or that a path such as `/proc/123/ns/net` leads to.
    ///
    /// # Errors
    /// [`Error::Netns`] if there is none, or if it may not be entered (`CAP_SYS_ADMIN`).
    pub fn named(name: &str) -> Result<Netns> {
        let path = if name.contains('/') { PathBuf::from(name) } else { Path::new(NAMED).join(name) };
        Netns::at(path, name)
    }

    fn at(path: PathBuf, name: &str) -> Result<Netns> {
        let err = |cause| Error::Netns { name: name.to_owned(), cause };
        let (file, inode) = open(&path).map_err(err)?;
        let cookie = inside(&file, inode, sys::netns_cookie).map_err(err)?.map_err(err)?;
        Ok(Netns { way: Way::Path(path), inode, cookie: cookie.unwrap_or(inode), name: Some(name.to_owned()) })
    }

    /// All that can be found: this one, those with a name, and those that a process is in. In this order, each once.
    pub(crate) fn all() -> impl Iterator<Item = Netns> {
        let named = names(Path::new(NAMED)).into_iter().map(|name| (Path::new(NAMED).join(&name), name));
        let processes = names(Path::new("/proc")).into_iter().filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let processes = processes.map(|pid| {
            let path = Path::new("/proc").join(pid).join("ns/net");
            (path.clone(), path.display().to_string())
        });
        let mut seen = Vec::new();
        let mut new = move |inode| {
            let new = !seen.contains(&inode);
            seen.push(inode);
            new
        };
        let others = named.chain(processes).map(Some);
        std::iter::once(None).chain(others).filter_map(move |there| {
            let Some((path, name)) = there else { return Netns::current().ok().filter(|n| new(n.inode)) };
            // Looking at it is cheaper than entering it, and there are many processes.
            let inode = fs::metadata(&path).ok()?.ino();
            new(inode).then(|| Netns::at(path, &name).ok()).flatten()
        })
    }

    /// Its inode number, by which `ls -l /proc/*/ns/net` and `lsns` tell one from another while it exists. Another may
    /// have it later.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The number that no other has, nor ever gets, until the next start (`SO_NETNS_COOKIE`); before Linux 5.14 its
    /// inode number.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// What the user calls it, if not the one we are in.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Does `work` in the namespace and returns what it did.
    ///
    /// In another namespace than the caller's it runs on a thread of its own, so no caller ever finds itself moved.
    ///
    /// # Errors
    /// [`Error::Netns`] if it is gone, or may not be entered (`CAP_SYS_ADMIN`), else what `work` returns.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let err = |cause| Error::Netns { name: self.name.clone().unwrap_or_else(|| CURRENT.to_owned()), cause };
        let path = match &self.way {
            Way::Held(file) => return inside(file, self.inode, work).map_err(err)?,
            Way::Path(path) => path,
        };
        let gone = || io::Error::new(io::ErrorKind::NotFound, "is gone");
        let (file, inode) =
            open(path).map_err(|e| if e.kind() == io::ErrorKind::NotFound { gone() } else { e }).map_err(err)?;
        let checked = || {
            let cookie = sys::netns_cookie().map_err(err)?.unwrap_or(inode);
            if (inode, cookie) == (self.inode, self.cookie) { work() } else { Err(err(gone())) }
        };
        inside(&file, inode, checked).map_err(err)?
    }
}

/// Opens a namespace; with its inode.
fn open(path: &Path) -> io::Result<(File, u64)> {
    // A pipe is not waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if fstatfs(&file)?.filesystem_type() != NSFS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no network namespace"));
    }
    let inode = file.metadata()?.ino();
    Ok((file, inode))
}

/// Does `work` in the namespace of `file`; the error is that it cannot be entered.
fn inside<T: Send>(file: &File, inode: u64, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if fs::metadata(CURRENT)?.ino() == inode {
        return Ok(work());
    }
    let enter = || match setns(file, CloneFlags::CLONE_NEWNET) {
        Ok(()) => Ok(work()),
        Err(nix::errno::Errno::EINVAL) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "is a namespace of another kind"))
        }
        Err(e) => Err(e.into()),
    };
    thread::scope(|s| match s.spawn(enter).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The names in a directory that can be read, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}
