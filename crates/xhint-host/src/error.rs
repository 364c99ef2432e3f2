//! What can go wrong on the way to what the machine offers.

use std::io;
use std::path::{Path, PathBuf};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory.
    #[error("{}: {cause}{}", .path.display(), rights(.cause))]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// One that another could have made or changed.
    #[error(
        "{}: {why}, so what is in it is not trusted; see who put it there, and remove it, or make it yours (chown) and \
         yours alone (chmod go-w)", .path.display()
    )]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A network namespace that is not there or may not be entered.
    #[error("network namespace {name}: {cause}; see `ip netns`")]
    Netns {
        /// As given.
        name: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// A network namespace that was to be made or removed, and is somebody else's.
    #[error(
        "the network namespace {name} exists and was not made by xhint; choose another name, or rename or remove it first"
    )]
    NetnsTaken {
        /// Its name.
        name: String,
    },
    /// No BPF file system to pin in.
    #[error("{0}: no BPF file system, and none can be mounted ({cause}); mount one: mount -t bpf bpf {0}", .path.display())]
    NoBpffs {
        /// Where one would be.
        path: PathBuf,
        /// Why it cannot be mounted.
        cause: Box<Error>,
    },
    /// A call of the system's, or of libbpf's.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: String,
        /// What came of it.
        cause: io::Error,
    },
}

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Ties an error to the file or pin that it came of.
    pub fn file<E: Cause>(path: &Path) -> impl FnOnce(E) -> Error + '_ {
        move |cause| Error::File { path: path.to_owned(), cause: cause.io() }
    }

    /// Ties an error to what was tried.
    pub fn system<E: Cause>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        move |cause| Error::System { what: what.into(), cause: cause.io() }
    }

    /// The kernel's number for what came of it, if it gave one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Error::File { cause, .. } | Error::Netns { cause, .. } | Error::System { cause, .. } => {
                cause.raw_os_error()
            }
            Error::NoBpffs { cause, .. } => cause.raw_os_error(),
            Error::NotOurs { .. } | Error::NetnsTaken { .. } => None,
        }
    }
}

/// What the system, or libbpf, says of a call that failed.
pub trait Cause {
    /// As the standard library has it.
    fn io(self) -> io::Error;
}

impl Cause for io::Error {
    fn io(self) -> io::Error {
        self
    }
}

impl Cause for nix::Error {
    fn io(self) -> io::Error {
        self.into()
    }
}

impl Cause for libbpf_rs::Error {
    fn io(self) -> io::Error {
        let kind = match self.kind() {
            libbpf_rs::ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, format!("{self:#}"))
    }
}

/// What to do about a file that may not be touched.
fn rights(cause: &io::Error) -> &'static str {
    if cause.kind() == io::ErrorKind::PermissionDenied { "; run as root, or as who owns it" } else { "" }
}
