//! What is written down about an attached program, so that a later xhint can go on with it.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::mem::take;
use std::path::{self, Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use xhint_object::Dispatch;
use xhint_object::table::SLOT_COUNT;

use crate::error::{Error, Result};
use crate::files::{read, read_btf};
use crate::private::{append, get, is_there, make_dir, put, remove_empty};

/// In which way a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, where metadata is.
    Native,
    /// Behind the driver, on any device; the NIC's metadata is gone by then.
    Generic,
}

impl Mode {
    /// What a program that reads metadata misses in this mode.
    pub fn misses(self) -> Option<&'static str> {
        match self {
            Mode::Native => None,
            // `bpf_prog_run_generic_xdp` (net/core/dev.c) begins with an empty metadata area, whatever the driver left.
            Mode::Generic => Some(
                "in generic mode the kernel takes the NIC's metadata away before the program runs, so no packet is of any \
                 layout and all go to the fallback; native mode keeps it",
            ),
        }
    }
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
    /// All slots that were ever taken, since counting began.
    #[serde(default)]
    pub slots: Vec<Taken>,
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
    /// That file, named by its content (SHA-256), so that writing one state down never touches another's files, and what
    /// is read again is what was kept.
    file: String,
}

impl Source {
    /// What was read from `path`.
    pub fn new(path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Source {
        let (path, bytes) = (path.into(), bytes.into());
        let file = digest(&bytes);
        Source { path, bytes, file }
    }

    /// Puts it into `dir`, if it is not there, and notes in `fresh` that it did.
    fn keep(&self, dir: &Path, fresh: &mut Vec<PathBuf>) -> Result<()> {
        let path = dir.join(&self.file);
        if !path.exists() {
            put(&path, &self.bytes)?;
            fresh.push(path);
        }
        Ok(())
    }

    /// What tells its content from any other's.
    pub(crate) fn digest(&self) -> &str {
        &self.file
    }

    /// What is in the file at `path` now.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn read(path: impl Into<PathBuf>) -> Result<Source> {
        let path = path.into();
        let bytes = read(&path)?;
        Ok(Source::new(path, bytes))
    }

    /// What is in the BTF at `path` now, its distilled base with it if one stands beside it.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Source`].
    pub fn read_btf(path: impl Into<PathBuf>) -> Result<Source> {
        let path = path.into();
        let bytes = read_btf(&path)?;
        // Whoever names it later may do so from another directory.
        Ok(Source::new(absolute(&path), bytes))
    }
}

/// The same path from everywhere.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
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
    /// Others of them that have it, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<usize>,
    /// Its slot, under which its packets are counted, and by which tail calls find its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// The pin of its program, if it came while the program ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<String>,
    /// Whether the program reads what it lacks, so that its packets go to the fallback.
    #[serde(default)]
    pub fallback: bool,
    /// What it lacks then, in the linker's words; known only where it was just linked.
    #[serde(skip)]
    pub lacks: String,
    /// Whether its packets say that they carry it. If not, every packet is taken for it.
    #[serde(default)]
    pub selector: bool,
}

impl LayoutState {
    /// The NIC BTFs that have it.
    pub fn nics(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.nic).chain(self.also.iter().copied())
    }
}

/// A slot that a layout has or had: counts under it are that layout's for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The layout's id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u32,
    /// The slot.
    pub slot: u32,
    /// Whether the entry was linked for it: then it goes to this slot without asking the table.
    #[serde(default)]
    pub linked: bool,
}

/// The options of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedAs {
    /// The program asked for.
    pub program: Option<String>,
    /// The layouts asked for; none stands for all.
    pub layouts: Vec<String>,
    /// Names that were ever asked for: they make layouts of structs that no tag does.
    #[serde(default)]
    pub named: Vec<String>,
    /// Local names and what they are to be bound to.
    pub bind: Vec<(String, String)>,
    /// The dispatch asked for: `auto`, `none`, `static`, `tail` or `table`.
    pub asked: String,
    /// The one there is.
    pub dispatch: String,
    /// The XDP action for packets that no layout is for; `None` runs the program for them, linked for none.
    #[serde(default)]
    pub fallback: Option<u32>,
    /// Whether pointers in metadata may be walked. What is attached walks them only if who attaches has CAP_PERFMON, too.
    pub walk: bool,
    /// Whether packets are counted by layout.
    #[serde(default)]
    pub count: bool,
    /// Names or ids of layouts that are tried first, where packets can pass for several.
    #[serde(default)]
    pub first: Vec<String>,
}

impl Default for LinkedAs {
    fn default() -> LinkedAs {
        LinkedAs {
            program: None,
            layouts: Vec::new(),
            named: Vec::new(),
            bind: Vec::new(),
            asked: Dispatch::Auto.name().to_owned(),
            dispatch: String::new(),
            fallback: None,
            walk: true,
            count: false,
            first: Vec::new(),
        }
    }
}

const STATE: &str = "state.json";
/// What came since that was written: its digest, then a line for each [`Addition`].
const ADDED: &str = "added";

/// A state with what makes it another each time: what was added before it came to be the same again is not added to it.
#[derive(Debug, Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    state: &'a State,
    written: String,
}

/// A NIC BTF that came while the program ran.
#[derive(Debug, Serialize, Deserialize)]
struct Addition {
    nic: Source,
    /// The layouts there were that it has, too, by their places.
    also: Vec<usize>,
    /// Those that came with it.
    layouts: Vec<LayoutState>,
}

/// What tells some bytes from any others, as a file's name.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines after `head`, but for a last one that was broken off; `None` if that is not what they begin with.
fn whole<'a>(there: &'a [u8], head: &str) -> Option<&'a [u8]> {
    let lines = there.strip_prefix(head.as_bytes())?;
    let end = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last.saturating_add(1));
    lines.get(..end)
}

impl State {
    /// Writes it into the directory `dir`, which is made: all of it or, on a full disk say, nothing.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        make_dir(dir)?;
        let mut fresh = Vec::new();
        self.put(dir, &mut fresh).inspect_err(|_| {
            for path in fresh {
                let _none = fs::remove_file(path);
            }
            remove_empty(dir);
        })
    }

    fn put(&self, dir: &Path, fresh: &mut Vec<PathBuf>) -> Result<()> {
        for source in self.nics.iter().chain([&self.object]) {
            source.keep(dir, fresh)?;
        }
        let path = dir.join(STATE);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let written = Written { state: self, written: format!("{now:?}") };
        put(&path, &serde_json::to_vec_pretty(&written).map_err(Error::state(&path))?)
    }

    /// Writes down that the last NIC BTF came, and all layouts from the `first` on: all of it or nothing. What is in `dir`
    /// already is not written again.
    pub(crate) fn write_added(&self, dir: &Path, first: usize) -> Result<()> {
        let Some((nic, before)) = self.nics.split_last() else { return self.write(dir) };
        let (old, new) = self.layouts.split_at_checked(first).unwrap_or((&self.layouts, &[]));
        let has = |l: &LayoutState| l.also.contains(&before.len());
        let also = old.iter().enumerate().filter(|(_, l)| has(l)).map(|(n, _)| n).collect();
        let path = dir.join(ADDED);
        let line = Addition { nic: nic.clone(), also, layouts: new.to_vec() };
        let line = [serde_json::to_vec(&line).map_err(Error::state(&path))?, b"\n".to_vec()].concat();
        let head = digest(&get(&dir.join(STATE))?) + "\n";
        let there = if is_there(&path)? { get(&path)? } else { Vec::new() };
        let mut fresh = Vec::new();
        let written = nic.keep(dir, &mut fresh).and_then(|()| match whole(&there, &head) {
            Some(whole) => append(&path, head.len().saturating_add(whole.len()) as u64, &line),
            None => put(&path, &[head.as_bytes(), &line].concat()),
        });
        written.inspect_err(|_| {
            for path in fresh {
                let _none = fs::remove_file(path);
            }
        })
    }

    /// Reads what [`State::write`] and [`State::write_added`] wrote.
    pub(crate) fn read(dir: &Path) -> Result<State> {
        let (path, added) = (dir.join(STATE), dir.join(ADDED));
        let mut text = get(&path)?;
        let additions = loop {
            let there = if is_there(&added)? { get(&added)? } else { Vec::new() };
            if let Some(whole) = whole(&there, &(digest(&text) + "\n")) {
                break whole.to_vec();
            }
            // They are of one that was written before, or of one that was written just now.
            let now = get(&path)?;
            if now == text {
                break Vec::new();
            }
            text = now;
        };
        let mut state: State = serde_json::from_slice(&text).map_err(Error::state(&path))?;
        for line in additions.split_inclusive(|byte| *byte == b'\n') {
            state.push(serde_json::from_slice(line).map_err(Error::state(&added))?);
        }
        if !additions.is_empty() {
            state.take_slots();
        }
        for source in state.nics.iter_mut().chain([&mut state.object]) {
            let path = dir.join(&source.file);
            source.bytes = get(&path)?;
            if digest(&source.bytes) != source.file {
                return Err(Error::Altered { path });
            }
        }
        Ok(state)
    }

    fn push(&mut self, Addition { nic, also, layouts }: Addition) {
        let number = self.nics.len();
        self.nics.push(nic);
        for place in also {
            if let Some(layout) = self.layouts.get_mut(place) {
                layout.also.push(number);
            }
        }
        self.layouts.extend(layouts);
    }

    /// Whether a layout is called so: by name or by id.
    pub fn is_called(&self, layout: &LayoutState, name: &str) -> bool {
        layout.name == name || xhint_universe::LayoutId(layout.id).is(name)
    }

    /// The layouts that go when what is called so does, by name, by id or by file, and those that stay: also of a file
    /// that goes those that another has.
    pub(crate) fn without(&self, which: &str) -> (Vec<LayoutState>, Vec<LayoutState>) {
        let paths = [PathBuf::from(which), absolute(Path::new(which))];
        let is_other = |n: &usize| self.nics.get(*n).is_none_or(|nic| !paths.contains(&nic.path));
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        for layout in &self.layouts {
            let mut others = layout.nics().filter(is_other);
            match others.next() {
                Some(nic) if !self.is_called(layout, which) => {
                    kept.push(LayoutState { nic, also: others.collect(), ..layout.clone() });
                }
                _ => gone.push(layout.clone()),
            }
        }
        (gone, kept)
    }

    /// The same with these layouts, and with none of the NIC BTFs that no layout is from any more.
    pub(crate) fn with_layouts(&self, layouts: Vec<LayoutState>) -> State {
        let is_used = |n: &usize| layouts.iter().any(|l| l.nics().any(|nic| nic == *n));
        let used: Vec<usize> = (0..self.nics.len()).filter(is_used).collect();
        let moved = |l: LayoutState| {
            let mut nics =
                l.nics().filter_map(|nic| used.iter().position(|n| *n == nic)).collect::<Vec<_>>().into_iter();
            LayoutState { nic: nics.next().unwrap_or(0), also: nics.collect(), ..l }
        };
        State {
            nics: used.iter().filter_map(|n| self.nics.get(*n).cloned()).collect(),
            layouts: layouts.into_iter().map(moved).collect(),
            ..self.clone()
        }
    }

    /// The slot for a layout: the one it has or had, else the lowest that none ever had. `None` if there is none left.
    pub(crate) fn slot_for(&self, id: u32, size: u32) -> Option<u32> {
        let own = self.slots.iter().find(|t| (t.id, t.size) == (id, size)).map(|t| t.slot);
        let taken: HashSet<u32> = self.slots.iter().map(|t| t.slot).collect();
        own.or_else(|| (0..SLOT_COUNT).find(|n| !taken.contains(n)))
    }

    /// Notes the slots of all layouts there are.
    pub(crate) fn take_slots(&mut self) {
        let mut slots: BTreeMap<u32, Taken> = take(&mut self.slots).into_iter().map(|t| (t.slot, t)).collect();
        for layout in &self.layouts {
            let Some(slot) = layout.slot else { continue };
            let linked = layout.added.is_none() || slots.get(&slot).is_some_and(|t| t.linked);
            slots.insert(slot, Taken { id: layout.id, name: layout.name.clone(), size: layout.size, slot, linked });
        }
        self.slots = slots.into_values().collect();
    }

    /// Whether counts under the slots of `before` mean the same here.
    pub(crate) fn goes_on_counting(&self, before: &State) -> bool {
        before.slots.iter().all(|b| self.slots.iter().any(|t| (t.id, t.slot) == (b.id, b.slot)))
    }

    /// When it was put there.
    pub fn since(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.since)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
