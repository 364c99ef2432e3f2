//! Files that went into a link, as they were then.

use std::fs;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::described::Described;
use crate::error::{Error, Result};
use crate::files::{read, read_btf};
use xhint_host::private::{get, put};

/// A file that went into the link: where it was, and its bytes as they were. Two are equal if both are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// Where the user has it; it may be another file by now.
    pub path: PathBuf,
    /// SHA-256 of what is in it: the name of the file that keeps it, so that writing one state down never touches
    /// another's files, and what is read again is what was kept.
    file: String,
    /// What is in it. Kept in a file of its own, which is read when it is asked for: there may be a thousand.
    #[serde(skip)]
    content: Content,
    /// Of a NIC BTF that was linked for, what is known without reading it again.
    /// Whether no user has it: it was made for one link, and is made again for the next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) made: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "inner", deserialize_with = "shared")]
    pub(crate) described: Option<Arc<Described>>,
}

fn inner<S: Serializer>(described: &Option<Arc<Described>>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    described.as_deref().serialize(serializer)
}

fn shared<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Arc<Described>>, D::Error> {
    Ok(Option::deserialize(from)?.map(Arc::new))
}

/// Where a file's bytes are.
#[derive(Debug, Clone, Default)]
enum Content {
    #[default]
    Unknown,
    Here(Bytes),
    /// In the file of this name, in this directory.
    Kept(Arc<Path>),
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        (&self.path, &self.file) == (&other.path, &other.file)
    }
}

impl Eq for Source {}

impl Source {
    /// What was read from `path`.
    pub fn new(path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Source {
        let (path, bytes) = (path.into(), Bytes::from(bytes.into()));
        let file = digest(&bytes);
        Source { path, file, content: Content::Here(bytes), made: false, described: None }
    }

    /// What nobody has in a file: it was made for one link.
    pub(crate) fn made(name: &str, bytes: Vec<u8>) -> Source {
        Source { made: true, ..Source::new(name, bytes) }
    }

    /// What is in the file at `path` now.
    ///
    /// # Errors
    /// [`xhint_host::Error::File`].
    pub fn read(path: impl Into<PathBuf>) -> Result<Source> {
        let path = path.into();
        let bytes = read(&path)?;
        Ok(Source::new(path, bytes))
    }

    /// What is in the BTF at `path` now, its distilled base with it if one stands beside it.
    ///
    /// # Errors
    /// [`xhint_host::Error::File`], [`Error::Source`].
    pub fn read_btf(path: impl Into<PathBuf>) -> Result<Source> {
        let path = path.into();
        let bytes = read_btf(&path)?;
        // Whoever names it later may do so from another directory.
        Ok(Source::new(absolute(&path), bytes))
    }

    /// What is in it.
    ///
    /// # Errors
    /// If it is kept in a file: [`xhint_host::Error::File`], [`xhint_host::Error::NotOurs`], and [`Error::Altered`] if that is not what was kept.
    pub fn bytes(&self) -> Result<Bytes> {
        let dir = match &self.content {
            Content::Here(bytes) => return Ok(bytes.clone()),
            Content::Kept(dir) => dir,
            Content::Unknown => Path::new(""),
        };
        let path = dir.join(&self.file);
        let bytes = get(&path)?;
        if digest(&bytes) == self.file { Ok(bytes.into()) } else { Err(Error::Altered { path }) }
    }

    /// The same with its bytes, whatever becomes of the file that keeps them.
    pub(crate) fn loaded(self) -> Result<Source> {
        Ok(Source { content: Content::Here(self.bytes()?), ..self })
    }

    /// Puts it into `dir`, if it is not there, and notes in `fresh` that it did.
    pub(crate) fn keep(&self, dir: &Path, fresh: &mut Vec<PathBuf>) -> Result<()> {
        let path = dir.join(&self.file);
        if path.exists() {
            return Ok(());
        }
        // What is kept already is the same file under one more name.
        let linked =
            matches!(&self.content, Content::Kept(from) if fs::hard_link(from.join(&self.file), &path).is_ok());
        if !linked {
            put(&path, &self.bytes()?)?;
        }
        fresh.push(path);
        Ok(())
    }

    /// Notes that [`Source::keep`] put it into `dir`.
    pub(crate) fn kept_in(&mut self, dir: &Arc<Path>) {
        self.content = Content::Kept(Arc::clone(dir));
    }

    /// What tells its content from any other's.
    pub(crate) fn digest(&self) -> &str {
        &self.file
    }
}

/// The same path from everywhere.
pub fn absolute(path: &Path) -> PathBuf {
    let whole = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // Where `..` leads to hangs on links; what the file itself is called stays.
    let climbs = whole.components().any(|part| part == path::Component::ParentDir);
    match (whole.parent().map(fs::canonicalize), whole.file_name()) {
        (Some(Ok(dir)), Some(name)) if climbs => dir.join(name),
        _ => whole,
    }
}

/// What tells some bytes from any others, as a file's name.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
