//! What is written down about an attached program, so that a later xhint can go on with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// In which way a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, where metadata is.
    Native,
    /// Behind the driver, on any device; the NIC's metadata is gone by then.
    Generic,
}

/// How one object came to be what runs: enough to link it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The program that the device runs, by its name in the linked object.
    pub entry: String,
    /// In which way.
    pub mode: Mode,
    /// When it was put there, in seconds since 1970.
    pub since: u64,
    /// The object that the user gave.
    pub object: Source,
    /// The NIC BTFs, in the order given.
    pub nics: Vec<Source>,
    /// The layouts that it is linked for, in the order tried.
    pub layouts: Vec<LayoutState>,
    /// How it was asked to be linked.
    pub options: LinkedAs,
}

/// A file that went into the link: where it was, and its bytes as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where the user has it; it may be another file by now.
    pub path: PathBuf,
    /// What is in it. Kept in a file of its own.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// A layout that the program reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutState {
    /// Name of its struct.
    pub name: String,
    /// By which packets say that they carry it.
    pub id: u32,
    /// Its length in bytes.
    pub size: u32,
    /// Which of the NIC BTFs it is from.
    pub nic: usize,
    /// The program that is linked for it, by its name in the linked object.
    pub program: String,
}

/// The options of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedAs {
    /// The program asked for.
    pub program: Option<String>,
    /// The layouts asked for; none stands for all.
    pub layouts: Vec<String>,
    /// Local names and what they are to be bound to.
    pub bind: Vec<(String, String)>,
    /// Name of the dispatch.
    pub dispatch: String,
    /// Whether pointers in metadata may be walked.
    pub walk: bool,
}

const STATE: &str = "state.json";
const OBJECT: &str = "object.o";

impl State {
    /// Writes it into the directory `dir`, which is made.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        put(&dir.join(OBJECT), &self.object.bytes)?;
        for (n, nic) in self.nics.iter().enumerate() {
            put(&dir.join(nic_name(n)), &nic.bytes)?;
        }
        let path = dir.join(STATE);
        let text = serde_json::to_vec_pretty(self).map_err(|cause| Error::State { path: path.clone(), cause })?;
        put(&path, &text)
    }

    /// Reads what [`State::write`] wrote.
    pub(crate) fn read(dir: &Path) -> Result<State> {
        let path = dir.join(STATE);
        let mut state: State =
            serde_json::from_slice(&get(&path)?).map_err(|cause| Error::State { path: path.clone(), cause })?;
        state.object.bytes = get(&dir.join(OBJECT))?;
        for (n, nic) in state.nics.iter_mut().enumerate() {
            nic.bytes = get(&dir.join(nic_name(n)))?;
        }
        Ok(state)
    }

    /// When it was put there.
    pub fn since(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.since)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

fn nic_name(n: usize) -> String {
    format!("nic-{n}.btf")
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::file(path))
}

fn get(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::file(path))
}
