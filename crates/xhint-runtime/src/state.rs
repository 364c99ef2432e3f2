//! What is written down about an attached program, so that a later xhint can go on with it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use xhint_fill::Fill;
use xhint_fill::driver::PathFile;
use xhint_link::table::SLOT_COUNT;
use xhint_link::{Dispatch, Fallback, FieldBind, LinkOptions, selectors};
use xhint_universe::{LayoutId, LayoutRef, Universe};

use crate::error::{Error, Result};
use crate::fields::Filling;
pub use crate::source::Source;
pub(crate) use crate::source::absolute;
use crate::source::digest;
use xhint_host::private::{append_line, cut, get, make_dir, put, remove_empty};

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
    /// As options and reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }

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
    /// Where the fields come from, if they are filled in because packets carry none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filling: Option<Filling>,
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
    /// Notes that the NIC BTF at this place has it.
    pub(crate) fn is_also_of(&mut self, nic: usize) {
        if self.nics().all(|n| n != nic) {
            self.also.push(nic);
        }
    }

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
    /// What tells its content from that of another layout with its id, which may come when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Whether the entry was linked for it: then it goes to this slot without asking the table.
    #[serde(default)]
    pub linked: bool,
}

impl Taken {
    /// That its slot was another layout's.
    pub(crate) fn note(&self) -> String {
        let (name, id) = (&self.name, LayoutId(self.id));
        format!("{name} ({id}) has the slot of another layout, which is gone: it is counted from 0")
    }

    /// Whether counts under its slot are the other's, too.
    fn is_same(&self, other: &Taken) -> bool {
        let differs = |(a, b): (&String, &String)| a != b;
        (self.id, self.size) == (other.id, other.size)
            && !self.content.as_ref().zip(other.content.as_ref()).is_some_and(differs)
    }
}

/// The options of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedAs {
    /// The program asked for.
    pub program: Option<String>,
    /// The layouts asked for; none stands for all.
    pub layouts: Vec<String>,
    /// Ids of those that this link is for, where layouts have come or gone since that was asked; `None` stands for what was
    /// asked.
    #[serde(skip)]
    pub only: Option<Vec<u32>>,
    /// Names that were ever asked for: they make layouts of structs that no tag does.
    #[serde(default)]
    pub named: Vec<String>,
    /// Local names and what they are to be bound to.
    pub bind: Vec<(String, String)>,
    /// Fields of local structs, and the layouts' fields that they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bind_fields: Vec<FieldBind>,
    /// The dispatch asked for.
    pub asked: Dispatch,
    /// The one there is, once it is linked.
    pub dispatch: Dispatch,
    /// What packets get that no layout is for.
    #[serde(default)]
    pub fallback: Fallback,
    /// Whether pointers in metadata may be walked. What is attached walks them only if who attaches has CAP_PERFMON, too.
    pub walk: bool,
    /// Whether packets are counted by layout.
    #[serde(default)]
    pub count: bool,
    /// Whether reads of what a layout lacks stay unresolved rather than be an error.
    #[serde(default)]
    pub allow_missing: bool,
    /// Names or ids of layouts that are tried first, where packets can pass for several. One that is gone is waited for: it
    /// is tried first again when it comes back.
    #[serde(default)]
    pub first: Vec<String>,
    /// Constants of the program, and the values they are given ([`xhint_object::Object::set`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, String)>,
    /// From where fields are to be filled in on a device whose packets carry no metadata: without NIC BTFs.
    #[serde(default)]
    pub fill: Fill,
    /// Files that say where drivers keep what, beside those that come with xhint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<PathFile>,
    /// Whether what is filled in stays in front of packets that the program passes on.
    #[serde(default)]
    pub keep_metadata: bool,
}

impl LinkedAs {
    /// As options for linking, for whoever is to load it.
    #[must_use]
    pub fn options(&self) -> LinkOptions {
        let asked = || (!self.layouts.is_empty()).then(|| self.layouts.clone());
        let only = |ids: &Vec<u32>| ids.iter().map(|id| LayoutId(*id).to_string()).collect();
        LinkOptions {
            layouts: self.only.as_ref().map(only).or_else(asked),
            bind: self.bind.clone(),
            bind_fields: self.bind_fields.clone(),
            program: self.program.clone(),
            walk: self.walk,
            dispatch: self.asked,
            first: self.first.clone(),
            fallback: self.fallback,
            allow_missing: self.allow_missing,
            count: self.count,
            ..LinkOptions::default()
        }
    }

    /// What is to be tried first, but for names that were right with `before` and are of no layout now.
    pub(crate) fn first_in(&self, universe: &Universe, before: Option<&State>) -> Vec<String> {
        let was = |name: &&String| before.is_some_and(|b| b.options.first.contains(name));
        let stays = |name: &&String| !was(name) || selectors::is_layout(universe, name);
        self.first.iter().filter(stays).cloned().collect()
    }
}

impl Default for LinkedAs {
    fn default() -> LinkedAs {
        LinkedAs {
            program: None,
            layouts: Vec::new(),
            only: None,
            named: Vec::new(),
            bind: Vec::new(),
            bind_fields: Vec::new(),
            asked: Dispatch::Auto,
            dispatch: Dispatch::Auto,
            fallback: Fallback::Program,
            walk: true,
            count: false,
            allow_missing: false,
            first: Vec::new(),
            set: Vec::new(),
            fill: Fill::default(),
            drivers: Vec::new(),
            keep_metadata: false,
        }
    }
}

/// One file tells all of a state, a line of JSON each: its [`Header`], the state as it was written, and each [`Change`] since.
const STATE: &str = "state.json";
/// Of how that is written. What is in `/run` is gone after a restart, so others are refused rather than read.
const VERSION: u32 = 2;

/// How the lines below it are to be read.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
}

/// What happened while the program ran.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    /// A NIC BTF came.
    Added(Addition),
    /// Layouts or NIC BTFs went.
    Removed(Removal),
}

/// A NIC BTF that came.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Addition {
    pub nic: Source,
    /// Its place, if it had come before with fewer layouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<usize>,
    /// The layouts there were that it has, too, by their places.
    pub also: Vec<usize>,
    /// Those that came with it.
    pub layouts: Vec<LayoutState>,
    /// Names that were asked for with it, as in [`LinkedAs`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<String>,
}

/// What went, by its places.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Removal {
    pub layouts: BTreeSet<usize>,
    pub nics: BTreeSet<usize>,
}

/// After so many times that something went, all of the state is written anew: what came and went again is not kept.
const MAX_REMOVALS: usize = 64;

/// A change that was written down.
#[derive(Debug)]
pub(crate) struct Written {
    path: PathBuf,
    /// Where its line begins.
    end: Option<u64>,
    /// The files that came with it.
    fresh: Vec<PathBuf>,
}

impl Written {
    fn put(&mut self, dir: &Path, change: &Change) -> Result<()> {
        if let Change::Added(Addition { nic, .. }) = change {
            nic.keep(dir, &mut self.fresh)?;
        }
        self.end = Some(append_line(&self.path, &line(&self.path, change)?)?);
        Ok(())
    }

    /// Makes what is written what it was before. That takes no room, so it does not fail where a disk is full.
    pub(crate) fn take_back(&self) {
        let _unwritten = self.end.map(|end| cut(&self.path, end));
        for path in &self.fresh {
            let _none = fs::remove_file(path);
        }
    }
}

/// Keeps what stands at places that `stays` says so of.
fn retain<T>(all: &mut Vec<T>, stays: impl Fn(usize) -> bool) {
    let mut places = 0..;
    all.retain(|_| places.next().is_some_and(&stays));
}

/// A line of the file at `path`.
fn line(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value).map_err(Error::state(path))?;
    line.push(b'\n');
    Ok(line)
}

/// How often something went since the state in `text` was written.
fn removals(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"removed\"")).count()
}

impl State {
    /// Ids of its layouts that were made to be filled.
    pub(crate) fn made(&self) -> impl Iterator<Item = u32> {
        let made = |l: &&LayoutState| self.nics.get(l.nic).is_some_and(|nic| nic.made);
        self.layouts.iter().filter(made).map(|l| l.id)
    }

    /// What tells what runs, or that nothing does, from what did before and will after a change.
    #[must_use]
    pub fn mark_of(running: Option<&State>) -> String {
        running.map_or_else(String::new, |state| digest(&serde_json::to_vec(state).unwrap_or_default()))
    }

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
        Ok(put(&path, &[line(&path, &Header { version: VERSION })?, line(&path, self)?].concat())?)
    }

    /// Puts a NIC BTF at its place, or behind the others if it has none; its place then.
    pub(crate) fn put_nic(&mut self, at: Option<usize>, nic: Source) -> usize {
        match at.and_then(|at| Some((at, self.nics.get_mut(at)?))) {
            Some((at, there)) => {
                *there = nic;
                at
            }
            None => {
                self.nics.push(nic);
                self.nics.len().wrapping_sub(1)
            }
        }
    }

    /// Writes down that `change` came to this, which is in `dir`: all of it or nothing. What is there already is written again
    /// only where much came and went.
    pub(crate) fn write_change(&self, dir: &Path, change: &Change) -> Result<Written> {
        let path = dir.join(STATE);
        if matches!(change, Change::Removed(_)) && removals(&get(&path)?) >= MAX_REMOVALS {
            self.write(dir)?;
        }
        let mut written = Written { path, end: None, fresh: Vec::new() };
        written.put(dir, change).inspect_err(|_| written.take_back())?;
        Ok(written)
    }

    /// Reads what [`State::write`] and [`State::write_change`] wrote.
    pub(crate) fn read(dir: &Path) -> Result<State> {
        let path = dir.join(STATE);
        let text = get(&path)?;
        // A last line that was broken off counts as not written.
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let mut next = || lines.next().unwrap_or_default();
        match serde_json::from_slice(next()) {
            Ok(Header { version: VERSION }) => {}
            _ => {
                // Another version's is JSON too, if without an end of the line.
                let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let _json: serde::de::IgnoredAny = serde_json::from_slice(first).map_err(Error::state(&path))?;
                return Err(Error::StateVersion { path });
            }
        }
        let mut state: State = serde_json::from_slice(next()).map_err(Error::state(&path))?;
        for line in lines {
            match serde_json::from_slice(line).map_err(Error::state(&path))? {
                Change::Added(addition) => state.push(addition),
                Change::Removed(removal) => state.remove(&removal),
            }
        }
        let dir: Arc<Path> = dir.into();
        for source in state.nics.iter_mut().chain([&mut state.object]) {
            source.kept_in(&dir);
        }
        Ok(state)
    }

    /// The same with the bytes of all files, whatever becomes of those that keep them.
    pub(crate) fn loaded(self) -> Result<State> {
        let nics = self.nics.into_iter().map(Source::loaded).collect::<Result<_>>()?;
        Ok(State { nics, object: self.object.loaded()?, ..self })
    }

    fn push(&mut self, addition: Addition) {
        let nic = self.put_nic(addition.at, addition.nic);
        for place in addition.also {
            self.layouts.get_mut(place).into_iter().for_each(|layout| layout.is_also_of(nic));
        }
        addition.layouts.iter().for_each(|layout| self.take_slot(layout));
        self.layouts.extend(addition.layouts);
        self.options.named.extend(addition.named);
    }

    /// The places of the layouts that are called so: by name or by id, else by a name that they are declared `as`.
    fn called(&self, which: &str) -> Vec<usize> {
        let described = |nic: usize| self.nics.get(nic).and_then(|nic| nic.described.as_ref());
        let answers =
            |l: &LayoutState, name: &str| l.nics().any(|n| described(n).is_some_and(|d| d.answers(l.id, name)));
        LayoutRef::read(which).among(&self.layouts, |l| (LayoutId(l.id), &l.name), answers)
    }

    /// What goes when what is called so does: a layout by name, by id or by a name that it is declared `as`, or a file and
    /// the layouts that no other has.
    pub(crate) fn removal(&self, which: &str) -> Removal {
        let paths = [PathBuf::from(which), absolute(Path::new(which))];
        let is_it = |nic: &Source| paths.contains(&nic.path);
        let nics: BTreeSet<usize> = self.nics.iter().enumerate().filter(|(_, n)| is_it(n)).map(|(n, _)| n).collect();
        let all = self.layouts.iter().enumerate();
        let of_those = all.filter(|(_, l)| l.nics().all(|nic| nics.contains(&nic))).map(|(n, _)| n);
        Removal { layouts: self.called(which).into_iter().chain(of_those).collect(), nics }
    }

    /// Takes away what went, and the NIC BTFs whose last layout that was.
    pub(crate) fn remove(&mut self, removal: &Removal) {
        let of_all = |all: &[LayoutState]| all.iter().flat_map(LayoutState::nics).collect::<HashSet<usize>>();
        let had = of_all(&self.layouts);
        retain(&mut self.layouts, |n| !removal.layouts.contains(&n));
        let have = of_all(&self.layouts);
        let stays = |n: usize| !removal.nics.contains(&n) && (have.contains(&n) || !had.contains(&n));
        let places: HashMap<usize, usize> = (0..self.nics.len()).filter(|n| stays(*n)).zip(0..).collect();
        retain(&mut self.nics, stays);
        for layout in &mut self.layouts {
            let mut nics = layout.nics().filter_map(|nic| places.get(&nic).copied()).collect::<Vec<_>>().into_iter();
            (layout.nic, layout.also) = (nics.next().unwrap_or(0), nics.collect());
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
        self.slots.sort_unstable_by_key(|t| t.slot);
        for layout in self.layouts.clone() {
            self.take_slot(&layout);
        }
    }

    /// Notes the slot of one; they stand in order.
    pub(crate) fn take_slot(&mut self, layout: &LayoutState) {
        let Some(slot) = layout.slot else { return };
        let described = self.nics.get(layout.nic).and_then(|nic| nic.described.as_deref());
        let mut taken = Taken {
            id: layout.id,
            name: layout.name.clone(),
            size: layout.size,
            slot,
            content: described.and_then(|d| d.content(layout.id)).map(str::to_owned),
            linked: layout.added.is_none(),
        };
        match self.slots.binary_search_by_key(&slot, |t| t.slot) {
            Ok(n) => {
                if let Some(there) = self.slots.get_mut(n) {
                    taken.linked |= there.linked;
                    *there = taken;
                }
            }
            Err(n) => self.slots.insert(n, taken),
        }
    }

    /// The slots under which another layout is counted than in `before`: its counts begin anew.
    pub(crate) fn recounted<'s>(&'s self, before: &'s State) -> impl Iterator<Item = &'s Taken> {
        let by_slot: HashMap<u32, &Taken> = before.slots.iter().map(|taken| (taken.slot, taken)).collect();
        self.slots.iter().filter(move |taken| by_slot.get(&taken.slot).is_some_and(|was| !was.is_same(taken)))
    }

    /// Whether counts under the slots of `before` mean the same here.
    pub(crate) fn goes_on_counting(&self, before: &State) -> bool {
        let now: HashSet<(u32, u32)> = self.slots.iter().map(|taken| (taken.id, taken.slot)).collect();
        before.slots.iter().all(|taken| now.contains(&(taken.id, taken.slot)))
    }

    /// The files that have a layout of it, the one it came from first.
    pub fn sources_of(&self, layout: &LayoutState) -> Vec<String> {
        layout.nics().filter_map(|nic| self.nics.get(nic)).map(|nic| nic.path.display().to_string()).collect()
    }

    /// When it was put there.
    pub fn since(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.since)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
