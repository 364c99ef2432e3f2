//! NIC BTFs on disk, read again only when they changed.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::linker::Linker;
use crate::state::Source;

/// A file that was written less long ago than this may be written again without its times telling.
const SETTLED: Duration = Duration::from_secs(1);

/// The NIC BTFs of some paths. Of a directory it remembers what it made of each file: /sys/kernel/btf has one for each
/// module, hundreds that describe no layout.
#[derive(Debug, Default)]
pub struct Sources {
    seen: HashMap<PathBuf, (Stamps, Option<Source>)>,
}

/// What tells whether a file is the one that was read: device, inode, length, and times of content and inode. Of the file,
/// and of the distilled base beside it.
type Stamps = [Option<(u64, u64, u64, [i64; 4])>; 2];

impl Sources {
    /// The NIC BTFs at `paths`: files, and of directories those files that have layouts.
    ///
    /// # Errors
    /// [`Error::File`] for what cannot be read.
    pub fn read(&mut self, linker: &Linker, paths: &[PathBuf]) -> Result<Vec<Source>> {
        let mut out = Vec::new();
        let mut seen = HashMap::new();
        for path in paths {
            if !path.is_dir() {
                out.push(Source::read_btf(path)?);
                continue;
            }
            let entries = fs::read_dir(path).map_err(Error::file(path))?;
            let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
            files.sort_unstable();
            // The base lies beside the modules in /sys/kernel/btf.
            files.retain(|f| f.file_name().is_some_and(|n| n != "vmlinux"));
            for file in files {
                let stamps = stamps(&file);
                let source = match self.seen.remove(&file) {
                    Some((before, source)) if before == stamps => source,
                    _ => described(linker, &file),
                };
                out.extend(source.clone());
                if settled(&stamps) {
                    seen.insert(file, (stamps, source));
                }
            }
        }
        // What is gone is forgotten.
        self.seen = seen;
        Ok(out)
    }
}

/// The file's BTF, if it describes a layout.
fn described(linker: &Linker, file: &Path) -> Option<Source> {
    let source = Source::read_btf(file).ok()?;
    let universe = linker.universe(std::slice::from_ref(&source)).ok()?;
    (!universe.layouts().is_empty()).then_some(source)
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
