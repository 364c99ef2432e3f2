//! Putting a program on a device, or another in its place.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use libbpf_rs::Program;

use xhint_host::{Right, pin, xdp};
use xhint_link::Dispatch;
use xhint_link::counts::{COUNTS, UNKNOWN};

use crate::counters::Forgotten;
use crate::device::Device;
use crate::error::HeldBy;
use crate::error::{Error, Result};
use crate::foreign::{Foreign, program_name, refused as refused_for};
use crate::home::Home;
use crate::job::Job;
use crate::load::{Load, Loaded, load};
use crate::reuse::{Anew, Pinned, is_made_anew};
use crate::rights::may_attach;
use crate::site::{Generation, Held, Live, Site};
use crate::state::{Mode, Source, State, absolute};
use crate::too_long::{TooLong, too_long};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Name of the program that the device runs now.
    pub entry: String,
    /// Its id.
    pub program: u32,
    /// Id of the one of ours that it ran before, which made room in one step.
    pub before: Option<u32>,
    /// Name and id of someone else's that was taken off.
    pub replaced: Option<String>,
    /// Maps of the one before that do not go on, and why; constants are not counted among them.
    pub anew: Vec<Anew>,
    /// Layouts that no packet can carry on this device.
    pub too_long: Vec<TooLong>,
    /// How packets are dispatched.
    pub dispatch: Dispatch,
    /// Why so, if that was left to us.
    pub why: String,
}

/// Puts the program of `job` on `device`, in the place of one that an earlier call put there, if there is one: in one
/// step, with its maps.
///
/// 1. The object is loaded and pinned; until then nothing on the device has changed.
/// 2. A link is made, or the one that is there updated. This is the step that counts.
/// 3. What the generation before had pinned is cleared away.
///
/// # Errors
/// Any [`Error`]. What ran before runs still.
pub fn attach(home: &Home, device: &Device, job: &Job) -> Result<Done> {
    may_attach()?;
    Site::sweep(home);
    let held = Held::of(home, device)?;
    attach_held(&held.site, device, job).inspect_err(|_| {
        // What was taken off and could not be put back is not left unsaid.
        if let Ok(Some(kept)) = held.site.kept() {
            home.tell_of_kept(&kept);
        }
    })
}

/// What an earlier call put on `device`, as far as it is known: what [`crate::Linker::link_after`] goes on from.
///
/// # Errors
/// If pins cannot be read.
pub fn running(home: &Home, device: &Device) -> Result<Option<State>> {
    match Running::whole(home, device) {
        Ok(running) => Ok(Some(running.state)),
        Err(Error::NotAttached(_) | Error::Lost { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What of ours runs on a device, and all that is known of it.
pub(crate) struct Running {
    pub site: Site,
    pub live: Live,
    pub generation: Generation,
    pub state: State,
}

impl Running {
    /// Looks at `device`.
    ///
    /// # Errors
    /// [`Error::NotAttached`]; [`Error::Lost`] if what it was made from cannot be told any more.
    pub fn on(home: &Home, device: &Device) -> Result<Running> {
        Running::look(home, device, Ok)
    }

    /// The same, with the bytes of all files, which nobody but who holds the site can read later.
    ///
    /// # Errors
    /// As [`Running::on`].
    pub fn whole(home: &Home, device: &Device) -> Result<Running> {
        Running::look(home, device, State::loaded)
    }

    fn look(home: &Home, device: &Device, more: impl Fn(State) -> Result<State>) -> Result<Running> {
        let none = || Error::NotAttached(device.name().to_owned());
        loop {
            let (site, live) = Site::find(home, device)?.ok_or_else(none)?;
            let was = (site.clone(), live.program);
            let looked = Running::at(device, site, live, &more);
            // A swap that comes between clears away what is being looked at.
            let now = |looked: &Result<Running>| match looked {
                Ok(_) => Ok(None),
                Err(_) => Site::find(home, device),
            };
            match now(&looked)? {
                Some((site, live)) if (&site, live.program) != (&was.0, was.1) => {}
                _ => return looked,
            }
        }
    }

    fn at(device: &Device, site: Site, live: Live, more: impl Fn(State) -> Result<State>) -> Result<Running> {
        let generation = site.current(&live)?.ok_or_else(|| Error::NotAttached(device.name().to_owned()))?;
        let lost = |cause| Error::Lost { device: device.name().to_owned(), cause: Box::new(cause) };
        let state = generation.state().and_then(more).map_err(lost)?;
        Ok(Running { site, live, generation, state })
    }
}

/// What ran before.
struct Before {
    live: Live,
    generation: Option<Generation>,
    /// What it was made from, unless that is lost.
    state: Option<State>,
    /// Whether someone else's program runs on our link.
    anothers: bool,
}

impl Before {
    fn on(site: &Site) -> Result<Option<Before>> {
        let Some(live) = site.live()? else { return Ok(None) };
        let generation = site.current(&live)?;
        // As `running` has it, which the job goes on from.
        let state = generation.as_ref().and_then(|g| g.state().and_then(State::loaded).ok());
        let anothers = site.runs_anothers(&live)?;
        Ok(Some(Before { live, generation, state, anothers }))
    }

    /// Whether the maps with counts are among those it had.
    fn counted(&self) -> bool {
        let counted = |was: &State| was.options.count && was.layouts.iter().any(|l| l.slot.is_some());
        self.state.as_ref().is_some_and(counted)
    }

    /// Maps of `loaded` that it had, too, and that were not among the pins `kept` to go on with, with why.
    fn unpinned(&self, loaded: &Loaded, kept: &Pinned, object: &Source) -> Vec<Anew> {
        let why = match &self.generation {
            None if self.anothers => "someone else's program ran in between",
            None => "the pins of what ran are gone",
            Some(_) => "its pin is gone",
        };
        let had = |name: &str| match &self.generation {
            None => true,
            Some(_) if is_count(name) => self.counted(),
            Some(generation) => generation.is_of(object),
        };
        let is_new = |name: &&str| had(name) && !is_made_anew(name) && !kept.iter().any(|k| k.0 == **name);
        loaded.maps().map(|map| map.0).filter(is_new).map(|map| Anew { map: map.to_owned(), why }).collect()
    }
}

/// [`attach`], by who holds the device's site.
pub(crate) fn attach_held(site: &Site, device: &Device, job: &Job) -> Result<Done> {
    site.repair(device)?;
    let before = Before::on(site)?;
    let foreign = match &before {
        Some(before) if before.anothers && !job.replace => {
            return Err(refused_for(device, before.live.program, HeldBy::OurLink));
        }
        Some(_) => None,
        None => Foreign::on(device, job.replace)?,
    };
    let was = before.as_ref().and_then(|b| b.state.as_ref());
    if job.after.as_ref().is_some_and(|after| *after != State::mark_of(was)) {
        return Err(Error::Changed(device.name().to_owned()));
    }
    if let Some(before) = before.as_ref().filter(|_| !job.replace) {
        check_object(before, device, &job.state.object)?;
    }
    let (job, loaded, uncounted) = load_after(before.as_ref(), device, job)?;
    let next = site.next()?;
    let mut state = job.state.clone();
    state.entry = loaded.entry().to_owned();
    state.object.path = absolute(&state.object.path);
    state.since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let goes_on = !uncounted.iter().any(|anew| is_count(&anew.map));
    let put = || match &before {
        Some(before) => {
            let forgotten = if goes_on { recount(before, &state)? } else { None };
            update(site, device, before, &loaded, &job).inspect_err(|_| forgotten.iter().for_each(Forgotten::put_back))
        }
        None => create(site, device, &loaded, state.mode, foreign.as_ref()),
    };
    next.make(&loaded, &state).and_then(|()| put()).inspect_err(|_| {
        // The first error counts. What cannot be undone now the next call undoes.
        let _first = next.clear();
        let _rest = if before.is_some() { Ok(()) } else { site.repair(device) };
    })?;
    // From here on it runs, whatever becomes of the tidying up: the next call does that again.
    let _later = site.keep_only(&next);
    let program = Program::id_from_fd(loaded.entry_fd()?).map_err(Error::system("the program's id"))?;
    let (too_long, anew) = (too_long(device, &state.layouts), [loaded.anew(), &uncounted].concat());
    let (before, replaced) = match before {
        Some(Before { live, anothers: true, .. }) => (None, Some(program_name(live.program))),
        before => (before.map(|b| b.live.program), foreign.map(|f| f.name)),
    };
    let (dispatch, why) = (state.options.dispatch, job.why.clone());
    Ok(Done { entry: state.entry, program, before, replaced, too_long, anew, dispatch, why })
}

/// What runs gives way to the object that it was made from, linked anew, and to what that file holds by now. Another object
/// is another program, as a stranger's is.
fn check_object(before: &Before, device: &Device, object: &Source) -> Result<()> {
    if before.generation.as_ref().is_none_or(|g| g.is_of(object)) {
        return Ok(());
    }
    let (program, was) = match &before.state {
        Some(was) if was.object.path == absolute(&object.path) => return Ok(()),
        Some(was) => (was.entry.clone(), was.object.path.display().to_string()),
        None => ("a program".to_owned(), "of which nothing is known any more".to_owned()),
    };
    Err(Error::OtherObject { device: device.name().to_owned(), program, object: was })
}

/// Whether the kernel takes what is to run on `device`; nothing is kept of it.
pub fn kernel_takes(device: &Device, job: &Job) -> bool {
    load_after(None, device, job).is_ok()
}

/// Loads the job's object with the maps of `before`, or what takes its place if the kernel refuses it: the job that it is
/// then. Tells of counts that begin anew.
fn load_after<'j>(before: Option<&Before>, device: &Device, job: &'j Job) -> Result<(Cow<'j, Job>, Loaded, Vec<Anew>)> {
    match (load_one(before, device, job), &job.otherwise) {
        (Err(Error::Load { .. }), Some(otherwise)) => {
            let job = otherwise.link()?;
            let (loaded, anew) = load_one(before, device, &job)?;
            Ok((Cow::Owned(job), loaded, anew))
        }
        (done, _) => done.map(|(loaded, anew)| (Cow::Borrowed(job), loaded, anew)),
    }
}

fn load_one(before: Option<&Before>, device: &Device, job: &Job) -> Result<(Loaded, Vec<Anew>)> {
    let generation = before.and_then(|b| b.generation.as_ref());
    let was = before.and_then(|b| b.state.as_ref());
    let mut keep = generation.map(Generation::maps).transpose()?.unwrap_or_default();
    let mut uncounted = Vec::new();
    if !was.is_some_and(|was| job.state.goes_on_counting(was)) {
        let why = match was {
            Some(_) => "layouts have other slots now",
            None => "it is lost which layouts were counted in it",
        };
        keep.retain(|(name, _)| {
            uncounted.extend(is_count(name).then(|| Anew { map: name.clone(), why }));
            !is_count(name)
        });
    }
    let same = generation.is_some_and(|g| g.is_of(&job.state.object));
    let entry = Some(job.state.entry.as_str()).filter(|e| !e.is_empty());
    let loaded = load(&Load {
        object: &job.linked,
        entry,
        keep: &keep,
        same,
        device: device.name(),
        bound: job.bound.then_some(device),
    })?;
    let unpinned = before.map(|b| b.unpinned(&loaded, &keep, &job.state.object)).unwrap_or_default();
    let told = |map: &str| uncounted.iter().any(|u| u.map == map);
    let unpinned: Vec<_> = unpinned.into_iter().filter(|a| !told(&a.map)).collect();
    Ok((loaded, [uncounted, unpinned].concat()))
}

/// Whether the entry counts in the map of this name.
fn is_count(name: &str) -> bool {
    name == COUNTS || name == UNKNOWN
}

/// Forgets counts under slots that are another layout's from now on.
fn recount(before: &Before, state: &State) -> Result<Option<Forgotten>> {
    let Some((generation, was)) = before.generation.as_ref().zip(before.state.as_ref()) else { return Ok(None) };
    Forgotten::of(generation, state.recounted(was).map(|taken| taken.slot)).map(Some)
}

/// Another program on the link that is there.
fn update(site: &Site, device: &Device, before: &Before, loaded: &Loaded, job: &Job) -> Result<()> {
    if before.state.as_ref().is_some_and(|was| was.mode != job.state.mode) {
        return Err(Error::Mode { device: device.name().to_owned() });
    }
    // Linux 6.18 takes what is bound to one device on a link to another; this one may have moved since it was loaded for.
    if job.bound && site.live()?.is_none_or(|live| live.ifindex != device.ifindex()) {
        return Err(Error::Changed(device.name().to_owned()));
    }
    xdp::update(before.live.link.as_fd(), loaded.entry_fd()?).map_err(|e| refused(device, e))
}

/// A first link, pinned.
fn create(site: &Site, device: &Device, loaded: &Loaded, mode: Mode, foreign: Option<&Foreign>) -> Result<()> {
    let (entry, flags) = (loaded.entry_fd()?, flags(mode));
    let link = || device.netns().run(|| xdp::link(entry, device.ifindex(), flags).map_err(|e| refused(device, e)));
    let keep = |link: OwnedFd| {
        let path = site.link_path();
        pin::put(link.as_fd(), &path).map_err(Error::file(&path)).inspect_err(|_| {
            let _off = xdp::detach(link.as_fd());
        })
    };
    if let Some(foreign) = foreign {
        foreign.take_off(site.pins(), device)?;
    }
    link().and_then(keep)
}

fn flags(mode: Mode) -> u32 {
    match mode {
        Mode::Native => xdp::NATIVE,
        Mode::Generic => xdp::GENERIC,
    }
}

/// The kernel's refusal in words that help.
fn refused(device: &Device, cause: io::Error) -> Error {
    let name = device.name().to_owned();
    let said = match cause.raw_os_error() {
        Some(libc::EOPNOTSUPP) => return Error::NoNative { device: name },
        Some(libc::ENODEV) => return Error::NoDevice { device: name, netns: device.netns().name().map(str::to_owned) },
        Some(libc::EPERM) => return Error::Rights { lacking: vec![Right::NetAdmin] },
        Some(libc::EBUSY) => "another program is there; see `ip link show dev`",
        Some(libc::EINVAL | libc::ERANGE) => {
            "most often an MTU too large for XDP without frags, LRO, or too few queues: `ip link show dev`, `ethtool -k`"
        }
        _ => "",
    };
    Error::Attach { device: name, cause, said: said.to_owned() }
}
