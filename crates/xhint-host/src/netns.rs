//! Network namespaces: which one a device is in, and doing something there.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{FsType, fstatfs};

use crate::bpffs;
use crate::error::{Error, Result};
use crate::thread::on_thread;

/// Where `ip netns` keeps names.
pub(crate) const NAMED: &str = "/run/netns";
/// The one of the calling thread.
pub(crate) const CURRENT: &str = "/proc/thread-self/ns/net";
/// `NSFS_MAGIC` of `linux/magic.h`.
const NSFS: FsType = FsType(0x6e73_6673);

/// A network namespace. Cheap to copy.
#[derive(Debug, Clone)]
pub struct Netns {
    source: Source,
    inode: u64,
    cookie: u64,
    /// What the user calls it; `None` for the one this process is in.
    name: Option<String>,
}

/// How to come into it.
#[derive(Debug, Clone)]
enum Source {
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
        let cookie = current_cookie().map_err(err)?.unwrap_or(inode);
        Ok(Netns { source: Source::Held(Arc::new(file)), inode, cookie, name: None })
    }

    /// The one that `ip netns` knows by `name`, or that a path such as `/proc/123/ns/net` leads to.
    ///
    /// # Errors
    /// [`Error::Netns`] if there is none, or if it may not be entered (`CAP_SYS_ADMIN`).
    pub fn named(name: &str) -> Result<Netns> {
        Netns::at(if name.contains('/') { PathBuf::from(name) } else { path(name) }, name)
    }

    fn at(path: PathBuf, name: &str) -> Result<Netns> {
        let err = |cause| Error::Netns { name: name.to_owned(), cause };
        let (file, inode) = open(&path).map_err(err)?;
        let cookie = inside(&file, inode, err, || current_cookie().map_err(err))?;
        Ok(Netns { source: Source::Path(path), inode, cookie: cookie.unwrap_or(inode), name: Some(name.to_owned()) })
    }

    /// The names that there are for `ip netns`, whether or not they still lead anywhere.
    pub fn names() -> Vec<String> {
        names(Path::new(NAMED))
    }

    /// All that can be found: this one, those with a name, and those that a process is in. In this order, each once.
    pub fn all() -> impl Iterator<Item = Netns> {
        let named = Netns::names().into_iter().map(|name| (Path::new(NAMED).join(&name), name));
        let processes = names(Path::new("/proc")).into_iter().filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let processes = processes.map(|pid| {
            let path = Path::new("/proc").join(pid).join("ns/net");
            (path.clone(), path.display().to_string())
        });
        let mut seen = HashSet::new();
        let mut new = move |inode| seen.insert(inode);
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
    pub fn run<T: Send, E: From<Error> + Send>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, E> + Send,
    ) -> std::result::Result<T, E> {
        let err = |cause| self.failed(cause);
        let path = match &self.source {
            Source::Held(file) => return inside(file, self.inode, err, work),
            Source::Path(path) => path,
        };
        let (file, inode) = self.open_at(path)?;
        let checked = || {
            let cookie = current_cookie().map_err(err)?.unwrap_or(inode);
            if (inode, cookie) == (self.inode, self.cookie) { work() } else { Err(err(gone()).into()) }
        };
        inside(&file, inode, err, checked)
    }

    /// A descriptor of it, by which devices are put there.
    ///
    /// # Errors
    /// [`Error::Netns`] if it is gone.
    pub fn open(&self) -> Result<File> {
        match &self.source {
            Source::Held(file) => file.try_clone().map_err(|cause| self.failed(cause)),
            Source::Path(path) => Ok(self.open_at(path)?.0),
        }
    }

    fn open_at(&self, path: &Path) -> Result<(File, u64)> {
        let missing = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { gone() } else { e };
        open(path).map_err(|e| self.failed(missing(e)))
    }

    fn failed(&self, cause: io::Error) -> Error {
        Error::Netns { name: self.name.clone().unwrap_or_else(|| CURRENT.to_owned()), cause }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "is gone")
}

/// Where `ip netns` has the namespace of this name.
pub(crate) fn path(name: &str) -> PathBuf {
    bpffs::at(NAMED).join(name)
}

/// Opens a namespace; with its inode.
fn open(path: &Path) -> io::Result<(File, u64)> {
    // A pipe is not waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if fstatfs(&file)?.filesystem_type() != NSFS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no network namespace, or one that is gone"));
    }
    let inode = file.metadata()?.ino();
    Ok((file, inode))
}

/// Does `work` in the namespace of `file`; `failed` is the error where that cannot be entered.
fn inside<T: Send, E: From<Error> + Send>(
    file: &File,
    inode: u64,
    failed: impl Fn(io::Error) -> Error + Sync,
    work: impl FnOnce() -> std::result::Result<T, E> + Send,
) -> std::result::Result<T, E> {
    if fs::metadata(CURRENT).map_err(&failed)?.ino() == inode {
        return work();
    }
    on_thread(|| {
        setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| {
            failed(match errno {
                Errno::EINVAL => io::Error::new(io::ErrorKind::Unsupported, "is a namespace of another kind"),
                errno => errno.into(),
            })
        })?;
        work()
    })
}

/// `SO_NETNS_COOKIE` of `asm-generic/socket.h`.
const NETNS_COOKIE: libc::c_int = 71;

/// The number that the calling thread's network namespace has to itself until the next start; `None` before Linux 5.14.
fn current_cookie() -> io::Result<Option<u64>> {
    let any = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let (mut cookie, mut size) = (0u64, libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?);
    // SAFETY: the descriptor is open; the kernel writes at most `size` bytes to `cookie`, which is that large, and both
    // outlive the call.
    let result = unsafe {
        let to = (&raw mut cookie).cast();
        libc::getsockopt(any.as_raw_fd(), libc::SOL_SOCKET, NETNS_COOKIE, to, &raw mut size)
    };
    match Errno::result(result) {
        Ok(_) => Ok(Some(cookie)),
        Err(Errno::ENOPROTOOPT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The names in a directory that can be read, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}
