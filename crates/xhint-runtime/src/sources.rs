//! NIC BTFs on disk, read again only when they changed.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::files::read_btf;
use crate::linker::Linker;
use crate::state::Source;

/// A file that was written less long ago than this may be written again without its times telling.
const SETTLED: Duration = Duration::from_secs(1);

/// The NIC BTFs of some paths. It remembers what it made of each file: /sys/kernel/btf has one for each module, hundreds
/// that describe no layout.
#[derive(Debug, Default)]
pub struct Sources {
    seen: HashMap<PathBuf, Seen>,
    wrong: Vec<Error>,
    /// They are looked at again and again, so none may be a pipe or a device, whatever stood there before.
    followed: bool,
}

/// What was made of a file.
#[derive(Debug)]
struct Seen {
    stamps: Stamps,
    /// Whether the stamps tell of any change since.
    settled: bool,
    /// `None` if it describes no layout.
    source: Option<Source>,
}

/// What tells whether a file is the one that was read: device, inode, length, and times of content and inode. Of the file,
/// and of the distilled base beside it.
type Stamps = [Option<(u64, u64, u64, [i64; 4])>; 2];

/// The NIC BTFs at `paths`, each once: files, and of directories those files that have layouts.
///
/// # Errors
/// [`xhint_host::Error::File`] for what cannot be read, [`Error::Source`] for what is no BTF.
pub fn read_nics(linker: &Linker, paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut once = Vec::new();
    for nic in Sources::default().read(linker, paths)? {
        if !once.contains(&nic) {
            once.push(nic);
        }
    }
    Ok(once)
}

/// That all of `paths` are files or directories: what else there is can be read once, and never followed.
///
/// # Errors
/// [`xhint_host::Error::File`].
pub fn check(paths: &[PathBuf]) -> Result<()> {
    paths.iter().try_for_each(|path| {
        let meta = fs::metadata(path).map_err(Error::file(path))?;
        let neither = || io::Error::new(io::ErrorKind::InvalidInput, "is no file or directory, and cannot be followed");
        if meta.is_file() || meta.is_dir() { Ok(()) } else { Err(Error::file(path)(neither())) }
    })
}

impl Sources {
    /// Those that are read again whenever they change.
    pub fn followed() -> Sources {
        Sources { followed: true, ..Sources::default() }
    }

    /// The NIC BTFs at `paths`: files, and of directories those files that have layouts. What did not change is not
    /// read again.
    ///
    /// # Errors
    /// [`xhint_host::Error::File`] for what cannot be read, [`Error::Source`] for what is no BTF, unless it was right before: then
    /// that stays, since who writes it anew may not be done yet, and [`Sources::wrong`] tells.
    pub fn read(&mut self, linker: &Linker, paths: &[PathBuf]) -> Result<Vec<Source>> {
        let (mut out, mut there) = (Vec::new(), HashSet::new());
        self.wrong.clear();
        for path in paths {
            if !path.is_dir() {
                let followed = self.followed;
                out.extend(self.one(path, |had| {
                    if followed {
                        check(std::slice::from_ref(path))?;
                    }
                    named(linker, path, had)
                })?);
                there.insert(path.clone());
                continue;
            }
            let entries = fs::read_dir(path).map_err(Error::file(path))?;
            let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
            files.sort_unstable();
            // The base lies beside the modules in /sys/kernel/btf.
            files.retain(|f| f.file_name().is_some_and(|n| n != "vmlinux"));
            for file in files {
                out.extend(self.one(&file, |had| described(linker, &file, had))?);
                there.insert(file);
            }
        }
        // What is gone is forgotten.
        self.seen.retain(|file, _| there.contains(file));
        Ok(out)
    }

    /// What was wrong the last time with files that had been right.
    pub fn wrong(&self) -> &[Error] {
        &self.wrong
    }

    /// What `read` makes of a file, if it changed; it is told whether the file had layouts before.
    fn one(&mut self, file: &Path, read: impl FnOnce(bool) -> Result<Option<Source>>) -> Result<Option<Source>> {
        let stamps = stamps(file);
        let before = self.seen.get(file);
        if let Some(same) = before.filter(|seen| seen.settled && seen.stamps == stamps) {
            return Ok(same.source.clone());
        }
        let had = before.and_then(|seen| seen.source.clone());
        let source = match (read(had.is_some()), had) {
            (Err(error), Some(had)) => {
                self.wrong.push(error);
                return Ok(Some(had));
            }
            (read, _) => read?,
        };
        let seen = Seen { stamps, settled: settled(&stamps), source: source.clone() };
        self.seen.insert(file.to_owned(), seen);
        Ok(source)
    }
}

/// The file that the user named: a struct in it may yet be named a layout. One that was right before is looked into.
fn named(linker: &Linker, file: &Path, had: bool) -> Result<Option<Source>> {
    let source = Source::new(file, read_btf(file)?);
    if had {
        linker.universe(std::slice::from_ref(&source))?;
    }
    Ok(Some(source))
}

/// The file's BTF, if it describes a layout. What is wrong with one is told if it `had` some before.
fn described(linker: &Linker, file: &Path, had: bool) -> Result<Option<Source>> {
    let read = || {
        if !had && !begins_well(file).map_err(Error::file(file))? {
            return Ok(None);
        }
        let source = Source::new(file, read_btf(file)?);
        let universe = linker.universe(std::slice::from_ref(&source))?;
        Ok((!universe.layouts().is_empty()).then_some(source))
    };
    if had { read() } else { Ok(read().unwrap_or_default()) }
}

/// Whether it begins as a BTF of either byte order does, or an ELF object: a folder may hold large files of any kind.
fn begins_well(file: &Path) -> io::Result<bool> {
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
    let mut head = [0; 4];
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| xhint_object::is_raw(&head) || head == *b"\x7fELF"),
    }
}

fn stamps(file: &Path) -> Stamps {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".base");
    [file, Path::new(&beside)].map(|path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.len(), [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()]))
    })
}

fn settled(stamps: &Stamps) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let latest = now.saturating_sub(SETTLED).as_secs();
    stamps
        .iter()
        .flatten()
        .all(|(.., [written, _, changed, _])| u64::try_from((*written).max(*changed)).is_ok_and(|last| last < latest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Arc;
    use std::thread::sleep;

    use xhint_btf::{Btf, Builder, ByteOrder, Def, Member};

    use super::*;

    /// `struct NAME { u32 btf_id; }`, a layout if it is tagged.
    fn nic(name: &str, tagged: bool) -> Vec<u8> {
        let mut w = Builder::new(ByteOrder::NATIVE);
        let u32 = w.add(&Def::unsigned("u32", 4)).unwrap();
        let ty = w.add(&Def::structure(name, 4, &[Member::new("btf_id", u32, 0)])).unwrap();
        if tagged {
            w.add(&Def::tag("xhint:layout", ty)).unwrap();
        }
        w.finish()
    }

    #[test]
    fn only_what_changed_is_read_again() {
        let base = Arc::new(Btf::parse(nic("kernel", false)).unwrap());
        let (linker, dir) = (Linker::on(base), tempfile::tempdir().unwrap());
        let [one, two] = ["one.btf", "two.btf"].map(|name| dir.path().join(name));
        fs::write(&one, nic("first", true)).unwrap();
        fs::write(&two, nic("other", false)).unwrap();
        let mut sources = Sources::default();
        let read = |sources: &mut Sources| sources.read(&linker, &[dir.path().to_owned()]).unwrap();
        assert_eq!(read(&mut sources).len(), 1);
        assert!(sources.seen.values().all(|s| !s.settled), "written this moment, they may change without a sign");
        sleep(SETTLED.saturating_mul(2).saturating_add(SETTLED));
        read(&mut sources);
        assert!(sources.seen.len() == 2 && sources.seen.values().all(|s| s.settled));
        // What is kept is what is given.
        sources.seen.get_mut(&one).unwrap().source = Some(Source::new(&one, "kept"));
        assert_eq!(*read(&mut sources)[0].bytes().unwrap(), *b"kept");
        // The length is the same, and the time is set back; that it was is seen.
        let written = fs::metadata(&one).unwrap().modified().unwrap();
        fs::write(&one, nic("newer", true)).unwrap();
        fs::File::options().write(true).open(&one).unwrap().set_modified(written).unwrap();
        assert_eq!(read(&mut sources)[0].bytes().unwrap(), nic("newer", true));
        // A distilled base that comes is a change, too, and so is a file that goes.
        fs::write(dir.path().join("two.btf.base"), nic("kernel", false)).unwrap();
        read(&mut sources);
        assert!(!sources.seen[&two].settled);
        fs::remove_file(&one).unwrap();
        assert!(read(&mut sources).is_empty());
    }
}
