//! What can go wrong with files and directories that nobody else may change.

use std::io;
use std::path::{Path, PathBuf};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory.
    #[error("{}: {cause}", .path.display())]
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
}

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Ties an error to the file that it came of.
pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |cause| Error::File { path: path.to_owned(), cause }
}
