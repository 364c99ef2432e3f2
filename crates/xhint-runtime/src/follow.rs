//! Following a NIC: when its BTF or its firmware changes, the program is linked anew and swapped in.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xhint_link::{LayoutReport, Link};
use xhint_universe::{Layout, LayoutId, Universe};

use crate::attach::{Done, Running, attach};
use crate::described::Described;
use crate::device::Device;
use crate::diff::diff;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::job::Job;
use crate::linker::{Linker, link_options};
use crate::locate::locate;
use crate::named::names;
use crate::parsed::Parsed;
use crate::site::Site;
use crate::sources::Sources;
pub use crate::sources::check;
use crate::state::{LayoutState, LinkedAs, Source, State, absolute};
use crate::too_long::TooLong;
use crate::watch::Watch;
use xhint_host::DriverInfo;

/// What tells nobody when it changes (sysfs, the firmware's version) is looked at so often.
const LOOK: Duration = Duration::from_secs(1);

/// NIC BTFs on disk, and the program on a device that follows them.
///
/// ```no_run
/// # use xhint_runtime::{Device, Home, Linker, Netns, follow::Follow};
/// # fn main() -> xhint_runtime::Result<()> {
/// let (home, linker) = (Home::system()?, Linker::new()?);
/// let device = Device::find("eth0", Netns::current()?)?;
/// let mut follow = Follow::start(&home, &device, &linker, vec!["/lib/firmware/nic.btf".into()])?;
/// loop {
///     for event in follow.next()? {
///         println!("{event}");
///     }
/// }
/// # }
/// ```
pub struct Follow<'a> {
    home: &'a Home,
    device: Device,
    linker: &'a Linker,
    paths: Vec<PathBuf>,
    sources: Sources,
    watch: Watch,
    /// What is followed: the link's id and the object. Another that was attached since is none of ours.
    of: (u32, String),
    /// What was there when it was last looked at.
    seen: Vec<Source>,
    /// What was wrong then, so that it is said once.
    wrong: Vec<String>,
    driver: Option<DriverInfo>,
    looked: Instant,
}

/// Something that happened, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What became of it.
    pub kind: EventKind,
    /// What happened.
    pub text: String,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The program was linked anew and swapped in.
    Swapped,
    /// It could not be; what ran goes on.
    Kept,
    /// Worth knowing.
    Note,
    /// The program was taken off; nothing is left to follow.
    Ended,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'a> Follow<'a> {
    /// Begins to follow `paths` for what is attached to `device`.
    ///
    /// # Errors
    /// [`Error::NotAttached`]; [`xhint_host::Error::File`] for what is not there.
    pub fn start(home: &'a Home, device: &'a Device, linker: &'a Linker, paths: Vec<PathBuf>) -> Result<Follow<'a>> {
        check(&paths)?;
        // As files are kept, wherever they were named from.
        let paths: Vec<PathBuf> = paths.iter().map(|path| absolute(path)).collect();
        let watch = Watch::on(&paths)?;
        let running = Running::whole(home, device)?;
        let (of, seen) = (identity(&running), running.state.nics);
        let driver = device.driver().ok();
        let (mut sources, looked) = (Sources::followed(), Instant::now());
        // So that it is known what is right from now on.
        sources.read(linker, &paths)?;
        let device = device.clone();
        Ok(Follow { home, device, linker, paths, sources, watch, of, seen, wrong: Vec::new(), driver, looked })
    }

    /// Waits for something to happen, at most a second, and does what is to be done. Often that is nothing.
    ///
    /// # Errors
    /// [`Error::NotAttached`] once the program was taken off, [`Error::OtherAttached`] once another was attached; [`Error::NoDevice`] and
    /// [`xhint_host::Error::Netns`] once the device or its namespace is gone, [`Error::Moved`] if it went where it cannot be followed.
    /// What is wrong with a source is an [`Event`].
    #[allow(clippy::should_implement_trait)] // it has no end
    pub fn next(&mut self) -> Result<Vec<Event>> {
        let touched = self.watch.wait(LOOK)?;
        let mut events = Vec::new();
        if !touched && self.looked.elapsed() < LOOK {
            return Ok(events);
        }
        self.looked = Instant::now();
        if let Err(lost) = self.check() {
            events.push(self.find_again(lost)?);
        }
        self.look_at_firmware(&mut events);
        let looked = self.look();
        let mut wrong: Vec<String> = self.sources.wrong().iter().map(Error::to_string).collect();
        match looked {
            Ok(new) => events.extend(new),
            Err(error) => wrong.push(error.to_string()),
        }
        for text in wrong.iter().filter(|text| !self.wrong.contains(text)) {
            events.push(Event { kind: EventKind::Kept, text: format!("{text}; what ran goes on") });
        }
        self.wrong = wrong;
        Ok(events)
    }

    /// That the device is there, and runs what is followed.
    fn check(&self) -> Result<()> {
        let runs = self.running(Running::on).map(drop);
        // Of a device that is gone nothing was taken off. It is asked for last: it goes before its link does.
        self.device.programs()?;
        runs
    }

    /// Goes after a device that is `lost` where it was: one that moves to another network namespace takes its link along.
    fn find_again(&mut self, lost: Error) -> Result<Event> {
        if !lost.is_gone() && !matches!(lost, Error::NotAttached(_) | Error::OtherAttached(_)) {
            return Err(lost);
        }
        let mut links = Site::all(self.home)?.into_iter().filter_map(|site| site.live().ok().flatten());
        let Some(link) = links.find(|link| link.id == self.of.0) else { return Err(lost) };
        let was = self.device.name().to_owned();
        let Some(device) = locate(&[&link]).pop().flatten() else { return Err(Error::Moved { device: was }) };
        self.device = device;
        self.check()?;
        let (name, netns) = (self.device.name(), self.device.netns());
        let netns = netns.name().map_or_else(|| "this one".to_owned(), str::to_owned);
        let text = format!("{was}: moved to another network namespace, {netns}; followed there as {name}");
        Ok(Event { kind: EventKind::Note, text })
    }

    fn look_at_firmware(&mut self, events: &mut Vec<Event>) {
        let now = self.device.driver().ok();
        if let (Some(was), Some(is)) = (&self.driver, &now)
            && was != is
        {
            let text = format!("{}: {was} became {is}; its BTF is looked at again", self.device.known_as());
            events.push(Event { kind: EventKind::Note, text });
        }
        self.driver = now.or_else(|| self.driver.take());
    }

    /// Looks at all sources, and swaps if need be.
    fn look(&mut self) -> Result<Vec<Event>> {
        let now = self.sources.read(self.linker, &self.paths)?;
        if same(&now, &self.seen) {
            return Ok(Vec::new());
        }
        let state = &self.running(Running::whole)?.state;
        let universe = |nics| self.linker.universe_as(&state.options, nics);
        let (old, new) = (universe(&self.seen)?, universe(&now)?);
        let files = self.files(state, &now);
        let mut events = Vec::new();
        let Some(job) = self.job(state, &files, &old)? else {
            self.seen = now;
            return Ok(events);
        };
        let done = match attach(self.home, &self.device, &job) {
            // It is looked at again.
            Err(Error::Changed(_)) => return Ok(Vec::new()),
            done => done?,
        };
        let before: Vec<&LayoutState> = job.state.layouts.iter().filter(|l| files.is_of_gone(l)).collect();
        events.push(self.swapped(&old, &new, &done, &before));
        let warnings = job.warnings.iter().cloned().chain(done.too_long.iter().map(TooLong::to_string));
        events.extend(warnings.map(|text| Event { kind: EventKind::Note, text }));
        self.seen = now;
        Ok(events)
    }

    /// What runs, unless it is another than what is followed.
    fn running(&self, look: fn(&Home, &Device) -> Result<Running>) -> Result<Running> {
        let running = look(self.home, &self.device)?;
        match identity(&running) == self.of {
            true => Ok(running),
            false => Err(Error::OtherAttached(self.device.name().to_owned())),
        }
    }

    fn is_ours(&self, path: &Path) -> bool {
        self.paths.iter().any(|p| p == path || path.parent() == Some(p))
    }

    /// What there is to link for, after `now` was found where `self.seen` was.
    fn files(&self, state: &State, now: &[Source]) -> Files {
        // What was removed since is not brought back, neither what is there still nor what was before.
        let stays = |s: &&Source| !has(&self.seen, s) || has(&state.nics, s);
        let gone = self.seen.iter().filter(|s| self.is_ours(&s.path) && !has(now, s) && has(&state.nics, s));
        // What came by `layouts add` stays, whatever else holds the same.
        let others = state.nics.iter().filter(|s| !self.is_ours(&s.path));
        Files { new: now.iter().filter(stays).chain(others).cloned().collect(), gone: gone.cloned().collect() }
    }

    /// Links for the new BTFs and those they replace, so that packets on the way and a NIC that is not flashed yet are
    /// read right; where that cannot be, for the new ones alone. `None` if there is nothing to read, as before.
    fn job(&self, state: &State, files: &Files, old: &Universe) -> Result<Option<Job>> {
        let link = |nics: Vec<Source>| -> Result<Option<Job>> {
            let only = self.chosen(state, &nics, old)?;
            if only.is_empty() && state.layouts.is_empty() {
                return Ok(None);
            }
            let options = LinkedAs { only: Some(only), ..state.options.clone() };
            let job = self.linker.for_device(&self.device).link_after(
                Some(state),
                state.object.clone(),
                nics,
                options,
                state.mode,
            )?;
            Ok(Some(Job { after: Some(State::mark_of(Some(state))), ..job }))
        };
        let both = if files.gone.is_empty() { None } else { link([files.new.as_slice(), &files.gone].concat()).ok() };
        both.map_or_else(|| link(files.new.clone()), Ok)
    }

    /// Ids of the layouts of `nics` that are to be read: those that are, and those that are new. One of a file that is
    /// known by now, but that is not read, was removed, or not wanted in the first place.
    fn chosen(&self, state: &State, nics: &[Source], old: &Universe) -> Result<Vec<u32>> {
        let universe = self.linker.universe_as(&state.options, nics)?;
        let object = Parsed::of(state.object.clone(), &state.options.set)?;
        let live: HashSet<u32> = state.layouts.iter().map(|l| l.id).collect();
        let known = state.nics.iter().filter_map(|nic| nic.described.as_deref()).flat_map(Described::layouts);
        let known: HashSet<u32> = known.map(|l| l.id).chain(old.layouts().iter().map(|l| l.id)).collect();
        let names: Vec<&String> = names(&state.options.layouts).collect();
        let called = names.iter().flat_map(|name| universe.called(name));
        let called: HashSet<u32> = called.filter_map(|n| universe.layouts().get(n)).map(|l| l.id).collect();
        let wanted = |l: &LayoutReport| names.is_empty() || called.contains(&l.id);
        let asked = object.object.asked(&universe, &link_options(&state.options)).map_err(|e| object.refused(e))?;
        let chosen = asked.into_iter().filter(|l| live.contains(&l.id) || !known.contains(&l.id) && wanted(l));
        Ok(chosen.map(|l| l.id).collect())
    }

    /// What a swap changed; `before` are the layouts of files that are gone, as far as they are linked for still.
    fn swapped(&self, old: &Universe, new: &Universe, done: &Done, before: &[&LayoutState]) -> Event {
        let mut parts: Vec<String> = Vec::new();
        let mut replaced = Vec::new();
        for layout in new.layouts() {
            let was = counterpart(layout, new, old);
            replaced.extend(was.map(|l| l.id));
            match was {
                Some(was) if was.id == layout.id && was.name == layout.name => {
                    parts.extend(changes(layout.name.clone(), (was, old), (layout, new)));
                }
                Some(was) => {
                    let title =
                        format!("{} ({}) became {} ({})", was.name, LayoutId(was.id), layout.name, LayoutId(layout.id));
                    parts.push(changes(title.clone(), (was, old), (layout, new)).unwrap_or(title));
                }
                None => parts.push(format!("{} ({}) is new", layout.name, LayoutId(layout.id))),
            }
        }
        for layout in old.layouts() {
            let file = old.source(layout.source).map_or("", |s| s.name());
            if !replaced.contains(&layout.id) && new.layouts().iter().all(|l| l.id != layout.id) {
                parts.push(format!("{} ({}) of {file} is gone", layout.name, LayoutId(layout.id)));
            }
        }
        let device = self.device.known_as();
        let rest = match new.layouts().iter().chain(old.layouts()).find(|l| l.selector.is_none()) {
            Some(layout) => format!(
                "; packets of {} carry no id, so those between this and the NIC's own change are read wrongly",
                layout.name
            ),
            None => [(false, "are still read"), (true, "go to the fallback")]
                .map(|(fallback, what)| {
                    let named = before.iter().filter(|l| l.fallback == fallback);
                    let named: Vec<_> = named.map(|l| format!("{} ({})", l.name, LayoutId(l.id))).collect();
                    match named.as_slice() {
                        [] => String::new(),
                        [one] => format!("; packets of the old layout {what}: {one}"),
                        all => format!("; packets of old layouts {what}: {}", all.join(", ")),
                    }
                })
                .concat(),
        };
        let what = if parts.is_empty() { "nothing moved".to_owned() } else { parts.join("; ") };
        let text = format!("{device}: {what}; linked anew and swapped in as program {}{rest}", done.program);
        Event { kind: EventKind::Swapped, text }
    }
}

/// NIC BTFs after a change.
struct Files {
    /// What there is now.
    new: Vec<Source>,
    /// What was there before in the place of some of it.
    gone: Vec<Source>,
}

impl Files {
    /// Whether a layout of a job for `new` and `gone` is of the latter alone.
    fn is_of_gone(&self, layout: &LayoutState) -> bool {
        layout.nics().all(|nic| nic >= self.new.len())
    }
}

/// The layout of `old` that `layout` of `new` takes the place of: the one with its id, else the one of its name in the
/// same file, else the only one there.
fn counterpart<'o>(layout: &Layout, new: &Universe, old: &'o Universe) -> Option<&'o Layout> {
    if let Some(same) = old.layouts().iter().find(|l| l.id == layout.id) {
        return Some(same);
    }
    let file = new.source(layout.source)?.name();
    let there = |l: &&Layout| old.source(l.source).is_some_and(|s| s.name() == file);
    let all: Vec<&Layout> = old.layouts().iter().filter(there).collect();
    let named = all.iter().find(|l| l.name == layout.name).copied();
    named.or(if let [one] = all.as_slice() { Some(*one) } else { None })
}

fn changes(title: String, old: (&Layout, &Universe), new: (&Layout, &Universe)) -> Option<String> {
    let at = |(layout, universe): (&Layout, &Universe)| universe.source(layout.source).map(|s| s.btf().clone());
    let (was, is) = (at(old)?, at(new)?);
    let mut list = diff((&was, old.0.type_id), (&is, new.0.type_id));
    if old.0.size != new.0.size {
        list.push(format!("{} bytes became {}", old.0.size, new.0.size));
    }
    (!list.is_empty()).then(|| format!("{title}: {}", list.join(", ")))
}

fn identity(running: &Running) -> (u32, String) {
    (running.live.id, running.state.object.digest().to_owned())
}

fn same(a: &[Source], b: &[Source]) -> bool {
    fn key(all: &[Source]) -> BTreeMap<&Path, &str> {
        all.iter().map(|s| (s.path.as_path(), s.digest())).collect()
    }
    key(a) == key(b)
}

fn has(all: &[Source], one: &Source) -> bool {
    all.iter().any(|s| s.digest() == one.digest())
}
