//! Being told when NIC BTFs on disk may have changed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Error, Result};

/// How long files must have been left alone before they are read: longer than writing one takes.
const CALM: Duration = Duration::from_millis(100);
/// How long what happens meanwhile is left to gather.
const NAP: Duration = Duration::from_millis(50);

/// Tells when files may have changed.
pub(crate) struct Watch {
    inotify: Inotify,
    /// The directories, and in each the names that matter; none if all do.
    watched: HashMap<WatchDescriptor, Option<Vec<OsString>>>,
}

impl Watch {
    /// On files, and on all files of directories.
    pub(crate) fn on(paths: &[PathBuf]) -> Result<Watch> {
        let inotify = Inotify::init().map_err(Error::system("inotify"))?;
        let mut watch = Watch { inotify, watched: HashMap::new() };
        for path in paths {
            watch.add(path)?;
        }
        Ok(watch)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        // Files are most often replaced, so their directory tells.
        let all = path.is_dir();
        let dir = if all { path } else { parent(path) };
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB;
        let watch = self.inotify.watches().add(dir, mask).map_err(Error::file(dir))?;
        let names = self.watched.entry(watch).or_insert_with(|| Some(Vec::new()));
        match names {
            Some(names) if !all => names.extend(path.file_name().map(ToOwned::to_owned)),
            names => *names = None,
        }
        Ok(())
    }

    /// Waits until one of the files may have changed, and all are left alone, at most for `time`. Whether one may have.
    pub(crate) fn wait(&mut self, time: Duration) -> Result<bool> {
        let begin = Instant::now();
        let mut touched = false;
        loop {
            let left = time.saturating_sub(begin.elapsed());
            if left.is_zero() || !self.ready(if touched { left.min(CALM) } else { left })? {
                return Ok(touched);
            }
            touched |= self.take()?;
            // What goes on beside them wakes us seldom, however much it is.
            thread::sleep(NAP);
        }
    }

    fn ready(&self, time: Duration) -> Result<bool> {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(e) => Err(Error::system("inotify")(e)),
        }
    }

    /// Takes what happened; whether any of it matters.
    fn take(&mut self) -> Result<bool> {
        let mut buffer = [0; 16384];
        let mut matters = false;
        loop {
            let events = match self.inotify.read_events(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(matters),
                events => events.map_err(Error::system("inotify"))?,
            };
            for event in events {
                let names = self.watched.get(&event.wd);
                let of_ours = |names: &Vec<OsString>| event.name.is_some_and(|n| names.iter().any(|ours| ours == n));
                let told = names.is_none_or(|names| names.as_ref().is_none_or(of_ours));
                matters |= told || event.mask.contains(EventMask::Q_OVERFLOW);
            }
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
