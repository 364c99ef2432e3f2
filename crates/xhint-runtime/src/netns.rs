//! Network namespaces: which one a device is in, and doing something there.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::{Error, Result};

/// A network namespace, held open. Cheap to copy.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<File>,
    inode: u64,
    /// What the user calls it; `None` for the one this process is in.
    name: Option<String>,
}

impl Netns {
    /// The one the calling thread is in.
    ///
    /// # Errors
    /// Without `/proc`.
    pub fn current() -> Result<Netns> {
        Netns::open(Path::new("/proc/thread-self/ns/net"), None)
    }

    /// The one that `ip netns` knows by `name`, or that a path such as `/proc/123/ns/net` leads to.
    ///
    /// # Errors
    /// [`Error::Netns`] if there is none.
    pub fn named(name: &str) -> Result<Netns> {
        let path = if name.contains('/') { PathBuf::from(name) } else { Path::new("/run/netns").join(name) };
        Netns::open(&path, Some(name))
    }

    fn open(path: &Path, name: Option<&str>) -> Result<Netns> {
        let said = name.map_or_else(|| path.display().to_string(), str::to_owned);
        let err = |cause| Error::Netns { name: said, cause };
        let open = || {
            let file = File::open(path)?;
            let inode = file.metadata()?.ino();
            io::Result::Ok((file, inode))
        };
        let (file, inode) = open().map_err(err)?;
        Ok(Netns { file: Arc::new(file), inode, name: name.map(str::to_owned) })
    }

    /// Its inode number, by which the kernel tells one from another while it exists.
    pub fn inode(&self) -> u64 {
        self.inode
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
    /// [`Error::Netns`] if it may not be entered (`CAP_SYS_ADMIN`), else what `work` returns.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        if Netns::current()?.inode == self.inode {
            return work();
        }
        let enter = || {
            setns(&*self.file, CloneFlags::CLONE_NEWNET)
                .map_err(|e| Error::Netns { name: self.name.clone().unwrap_or_default(), cause: e.into() })?;
            work()
        };
        thread::scope(|s| match s.spawn(enter).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}
