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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Arc;
    use std::thread::sleep;

    use xhint_btf::write::{NewType, Writer};
    use xhint_btf::{Btf, ByteOrder, Kind};

    use super::*;

    /// `struct NAME { u32 btf_id; }`, a layout if it is tagged.
    fn nic(name: &str, tagged: bool) -> Vec<u8> {
        let mut w = Writer::new(ByteOrder::NATIVE);
        let u32 = w.push(NewType { name: "u32", third: 4, tail: &[32], ..NewType::of(Kind::Int) }).unwrap();
        let tail = [w.string("btf_id").unwrap(), u32, 0];
        let ty = w.push(NewType { name, vlen: 1, third: 4, tail: &tail, ..NewType::of(Kind::Struct) }).unwrap();
        if tagged {
            let tail = [u32::MAX];
            w.push(NewType { name: "xhint:layout", third: ty, tail: &tail, ..NewType::of(Kind::DeclTag) }).unwrap();
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
        assert!(sources.seen.is_empty(), "written this moment, they may change without a sign");
        sleep(SETTLED.saturating_mul(2).saturating_add(SETTLED));
        read(&mut sources);
        assert_eq!(sources.seen.len(), 2);
        // What is kept is what is given.
        sources.seen.get_mut(&one).unwrap().1 = Some(Source::new(&one, "kept"));
        assert_eq!(read(&mut sources)[0].bytes, b"kept");
        // The length is the same, and the time is set back; that it was is seen.
        let written = fs::metadata(&one).unwrap().modified().unwrap();
        fs::write(&one, nic("newer", true)).unwrap();
        fs::File::options().write(true).open(&one).unwrap().set_modified(written).unwrap();
        assert_eq!(read(&mut sources)[0].bytes, nic("newer", true));
        // A distilled base that comes is a change, too, and so is a file that goes.
        fs::write(dir.path().join("two.btf.base"), nic("kernel", false)).unwrap();
        read(&mut sources);
        assert!(!sources.seen.contains_key(&two));
        fs::remove_file(&one).unwrap();
        assert!(read(&mut sources).is_empty());
    }
}
