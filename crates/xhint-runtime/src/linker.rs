//! From the files that the user has to an object for the kernel.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use xhint_btf::{Btf, ByteOrder};
use xhint_host::bound::may_be_hardened;
use xhint_link::table::{SLOT_COUNT, Slot};
use xhint_link::{
    Dispatch, LayoutReport, Link, LinkOptions, Linked, Object, Report, TakenSlot, names_lacking, with_slack,
};
use xhint_object::nic_btf;
use xhint_universe::{Layout, LayoutId, SourceId, Universe};

use crate::btf_files;
use crate::described::Described;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::fields::Filling;
use crate::filling::{Made, fill};
use crate::for_file::ForFile;
use crate::job::{Job, Otherwise};
use crate::named::{declare, names, with_named};
use crate::parsed::{Parsed, only_program};
use crate::rights::may_walk;
use crate::state::{LayoutState, LinkedAs, Mode, Source, State, Taken};

/// Why NIC BTFs of the other byte order than this machine's do without the base that nobody has named.
const OTHER_ORDER: &str = "the running kernel's BTF has the other byte order; name another base";

/// Links programs for NICs' layouts. Keeps the base BTF and what was found in it, so the second link is faster.
#[derive(Debug, Clone)]
pub struct Linker {
    base: Universe,
    /// Whether nobody has named the base, so that NIC BTFs may do without it.
    is_default: bool,
    /// What is linked for it alone may have its fields filled in from what it has.
    device: Option<Device>,
}

impl Linker {
    /// On the running kernel's BTF, which is read when one of its types is asked for. Where the kernel has none, that is an
    /// error for who asks, and for nobody else; so it is where NIC BTFs stand alone and are of the other byte order.
    ///
    /// # Errors
    /// None in practice ([`Universe::deferred`]).
    pub fn new() -> Result<Linker> {
        let read = || {
            let kernel = btf_files::btf(Path::new(btf_files::KERNEL_BTF), None);
            kernel.map_err(|why| format!("cannot read the running kernel's BTF: {why}; name another base"))
        };
        Ok(Linker { is_default: true, ..Linker::deferred(ByteOrder::NATIVE, read) })
    }

    /// On another base, of this byte order, which is read when one of its types is asked for; the error is why it cannot be had.
    pub fn deferred(
        order: ByteOrder,
        read: impl Fn() -> std::result::Result<Btf, String> + Send + Sync + 'static,
    ) -> Linker {
        Linker { base: Universe::deferred(order, read), is_default: false, device: None }
    }

    /// Whether something was asked of the base.
    pub fn has_read_base(&self) -> bool {
        self.base.has_read_base()
    }

    /// On another base.
    pub fn on(base: Arc<Btf>) -> Linker {
        Linker { base: Universe::new(base), is_default: false, device: None }
    }

    /// The same for `device`: where a program is linked for no NIC BTF, the fields that it asks for are filled in from what the
    /// device has, as [`LinkedAs::fill`] says.
    #[must_use]
    pub fn for_device(&self, device: &Device) -> Linker {
        Linker { device: Some(device.clone()), ..self.clone() }
    }

    /// The base and these NIC BTFs: raw or in ELF objects, alone or split on the base. All that is linked and shown is looked
    /// for in a universe that this made.
    ///
    /// # Errors
    /// [`Error::Source`] and [`Error::Layout`] name the file at fault.
    pub fn universe(&self, nics: &[Source]) -> Result<Universe> {
        self.universe_of(nics, |_| None)
    }

    /// The same; of those that `known` tells of, no more than that.
    fn universe_of<'d>(
        &self,
        nics: &'d [Source],
        known: impl Fn(&'d Source) -> Option<&'d Described>,
    ) -> Result<Universe> {
        let mut universe = self.base.clone();
        for nic in nics {
            let name = nic.path.display().to_string();
            if let Some(known) = known(nic) {
                universe.add_known(&name, known.layouts());
                continue;
            }
            let btf = read(nic, &universe)?;
            if self.is_default && universe.sources().len() == 1 && btf.order() != universe.order() {
                let why = universe.absent_base().unwrap_or(OTHER_ORDER);
                universe = Universe::without_base(why, btf.order());
            }
            universe.add(&name, Arc::new(btf)).map_err(Error::Layout)?;
        }
        Ok(universe)
    }

    /// The same, with the structs that `options` have named as layouts, where there are such.
    pub(crate) fn universe_as(&self, options: &LinkedAs, nics: &[Source]) -> Result<Universe> {
        self.universe(nics).map(|universe| with_named(universe, options))
    }

    /// The base, what is known of the NIC BTFs of `state`, and `new` of them, of which nothing is known yet. Those that it
    /// takes to link for that are read again.
    pub(crate) fn universe_beside(&self, state: &State, new: SourceId, object: &Object) -> Result<Universe> {
        let (nics, options) = (state.nics.as_slice(), link_options(&state.options));
        let universe = self.universe_of(nics, |nic| nic.described.as_deref())?;
        let universe = with_named(universe, &state.options);
        // What goes with a layout is looked for in all BTFs that have it.
        let shared: HashSet<SourceId> =
            universe.layouts().iter().filter(|l| l.is_of(new)).flat_map(Layout::sources).collect();
        let [all, others] = [None, Some(new)].map(|source| names_lacking(object, &universe, source, &options));
        let asked = |(n, nic): (u32, &Source)| {
            let lacking = if shared.contains(&SourceId(n)) { &all } else { &others };
            nic.described.as_ref().is_some_and(|d| !d.names.is_disjoint(lacking)).then(|| nic.digest().to_owned())
        };
        let asked: Vec<String> = (1u32..).zip(nics).filter_map(asked).collect();
        if asked.is_empty() {
            return Ok(universe);
        }
        let known = |nic: &Source| asked.iter().all(|a| a != nic.digest());
        self.universe_of(nics, |nic| nic.described.as_deref().filter(|_| known(nic)))
            .map(|universe| with_named(universe, &state.options))
    }

    /// Links `object` for the layouts of `nics`, for a device: what [`crate::attach::attach`] takes. Without
    /// `CAP_PERFMON` pointers in metadata count as absent. With it, dispatch that is left to us may be a table;
    /// [`Job::otherwise`] is for a kernel that refuses that. A program that reads metadata without CO-RE is refused.
    ///
    /// # Errors
    /// [`Error::Source`], [`Error::Layout`] or [`Error::Link`].
    pub fn link(&self, object: Source, nics: Vec<Source>, options: LinkedAs, mode: Mode) -> Result<Job> {
        self.link_after(None, object, nics, options, mode)
    }

    /// The same for another loader, as `options` say.
    ///
    /// # Errors
    /// [`Error::Source`], [`Error::Layout`], [`Error::Link`].
    pub fn for_file(
        &self,
        object: Source,
        set: &[(String, String)],
        nics: &[Source],
        options: LinkOptions,
    ) -> Result<ForFile> {
        ForFile::new(object, set, self.universe(nics)?, options)
    }

    /// As [`Linker::link`], to take the place of `before`: layouts keep their slots, so that counts go on.
    ///
    /// # Errors
    /// As [`Linker::link`]; [`Error::IdTaken`] if an id that packets carry now would mean another layout.
    pub fn link_after(
        &self,
        before: Option<&State>,
        object: Source,
        nics: Vec<Source>,
        options: LinkedAs,
        mode: Mode,
    ) -> Result<Job> {
        let object = Parsed::of(object, &options.set)?;
        self.make(before, object, nics, options, mode, &[])
    }

    /// The same for the object of `before`, which was read for that before.
    pub(crate) fn link_again(
        &self,
        before: &State,
        object: Parsed,
        nics: Vec<Source>,
        options: LinkedAs,
    ) -> Result<Job> {
        self.make(Some(before), object, nics, options, before.mode, &[])
    }

    /// Links for a device whose kernel has `refused` so many ways of that before.
    fn make(
        &self,
        before: Option<&State>,
        object: Parsed,
        nics: Vec<Source>,
        asked: LinkedAs,
        mode: Mode,
        refused: &[Dispatch],
    ) -> Result<Job> {
        let (mut nics, mut asked) = (nics, asked);
        nics.retain(|nic| !nic.made);
        let made: Vec<u32> = before.into_iter().flat_map(State::made).collect();
        asked.only.iter_mut().for_each(|only| only.retain(|id| !made.contains(id)));
        let mut universe = self.universe_for(before, &nics, &asked)?;
        let again = (object.clone(), nics.clone(), asked.clone());
        let (filling, made) = self.fill(&mut universe, &object, &nics, &asked, mode)?;
        let (object, filler) = match made {
            Some(made) => {
                nics.push(made.nic);
                (made.object, Some(made.call))
            }
            None => (object, None),
        };
        let new = names(&asked.layouts).filter(|name| !asked.named.contains(name));
        let named = asked.named.iter().chain(new).cloned().collect();
        let options = LinkedAs { named, walk: asked.walk && may_walk(), ..asked };
        let now = LinkedAs { first: options.first_in(&universe, before), ..options.clone() };
        let slots = slots_after(before);
        let how = LinkOptions {
            slots: slots.iter().filter_map(taken_slot).collect(),
            table: true,
            refused: refused.to_vec(),
            filler,
            ..LinkOptions::default()
        };
        let bound = object.object.asks_driver();
        let Linked { bytes, report } = self.link_in(&universe, &object, &now, how)?;
        let linked =
            if bound { with_slack(bytes, may_be_hardened()).map_err(|cause| object.refused(cause))? } else { bytes };
        object.reads_right(&report)?;
        let refused_kind = report.dispatch.kind.filter(|_| report.dispatch.otherwise.is_some());
        let otherwise = refused_kind.map(|kind| -> Arc<dyn Otherwise> {
            let (linker, before, refused) = (self.clone(), before.cloned(), [refused, &[kind]].concat());
            Arc::new(Again { linker, before, asked: again, mode, refused })
        });
        let layouts = report.layouts.iter().map(|l| layout_state(&universe, l).ok_or_else(|| unknown(&object, l)));
        let mut state = State {
            entry: options.program.clone().unwrap_or_else(|| only_program(&object.object)),
            mode,
            since: 0,
            layouts: layouts.collect::<Result<_>>()?,
            slots,
            nics: described(&universe, &object.object, nics, &options),
            options: LinkedAs { dispatch: report.dispatch.kind.unwrap_or_default(), only: None, ..options },
            object: object.source,
            filling: filling.clone().filter(Filling::is_any),
        };
        if state.filling.is_some() {
            // Whatever BTF comes later, it goes on being filled.
            state.options.fill.all.get_or_insert_default();
        }
        state.take_slots();
        let Report { mut warnings, unbound, dispatch, .. } = report;
        warnings.extend(warnings_of(before, &state, &now));
        Ok(Job {
            linked: linked.into(),
            state,
            warnings,
            unbound,
            why: dispatch.why,
            otherwise,
            after: None,
            filling,
            bound,
            replace: false,
        })
    }

    /// What fills packets without metadata, if that is wanted and the device is known.
    fn fill(
        &self,
        universe: &mut Universe,
        object: &Parsed,
        nics: &[Source],
        asked: &LinkedAs,
        mode: Mode,
    ) -> Result<(Option<Filling>, Option<Made>)> {
        let unsaid = nics.is_empty() && matches!(asked.asked, Dispatch::Auto | Dispatch::Static);
        match self.device.as_ref().filter(|_| asked.fill.is_wanted(unsaid)) {
            Some(device) => fill(device, mode, universe, object, asked, &link_options(asked)),
            None => Ok((None, None)),
        }
    }

    /// The universe of `nics` in which a program is linked that takes the place of `before`.
    fn universe_for(&self, before: Option<&State>, nics: &[Source], options: &LinkedAs) -> Result<Universe> {
        let mut universe = self.universe_as(options, nics)?;
        // What was asked for by name may be gone since.
        let asked = if options.only.is_none() { options.layouts.as_slice() } else { &[] };
        declare(&mut universe, asked, &options.bind).map_err(Error::Layout)?;
        if let Some(before) = before {
            self.check_ids(before, &universe)?;
        }
        Ok(universe)
    }

    /// That each id which packets are read by now still means the same layout.
    fn check_ids(&self, before: &State, universe: &Universe) -> Result<()> {
        // Those of which nothing is known are read. On another base than they were read on, they may be no BTF any more, and
        // there is nothing to compare with.
        let Ok(old) = self.universe_of(&before.nics, |nic| nic.described.as_deref()) else { return Ok(()) };
        let old = with_named(old, &before.options);
        for live in &before.layouts {
            let Some(was) = old.layout_of_id(live.id).filter(|was| old.contradicts(was, universe)) else { continue };
            let Some(is) = universe.layout_of_id(live.id) else { continue };
            let file =
                |of: &Universe, l: &Layout| of.source(l.source).map_or_else(String::new, |s| s.name().to_owned());
            return Err(Error::IdTaken {
                id: live.id,
                was: was.name.clone(),
                was_file: file(&old, was),
                is: is.name.clone(),
                is_file: file(universe, is),
            });
        }
        Ok(())
    }

    /// Links `object` for a device with `options`; of what those do not say, slots, tables and what was refused are as in `how`.
    pub(crate) fn link_in(
        &self,
        universe: &Universe,
        object: &Parsed,
        options: &LinkedAs,
        how: LinkOptions,
    ) -> Result<Linked> {
        let mut own = options.options();
        // Whichever layouts are asked for by name, what is filled is read.
        let filled = how.filler.iter().map(|filler| LayoutId(filler.layout).to_string());
        own.layouts.iter_mut().for_each(|named| named.extend(filled.clone()));
        let options = LinkOptions {
            program: options.program.clone().or_else(|| Some(only_program(&object.object)).filter(|p| !p.is_empty())),
            // Without the capability, verifiers before Linux 6.18 walk arms that are never taken. With it they do not, and
            // an object without dispatch stays as it was compiled.
            prune: !options.walk,
            slots: how.slots,
            table: how.table,
            refused: how.refused,
            filler: how.filler,
            ..own
        };
        object.object.link(universe, &options).map_err(|cause| object.refused(cause))
    }
}

/// A NIC's BTF, which may be split on the base of `universe` if there is one.
fn read(nic: &Source, universe: &Universe) -> Result<Btf> {
    let fault = |cause| Error::Source { path: nic.path.clone(), cause: Box::new(cause) };
    let base = || Some(universe.base()).filter(|_| universe.absent_base().is_none());
    nic_btf(nic.bytes()?, base).map_err(|cause| match universe.absent_base().filter(|_| cause.lacks_base()) {
        Some(why) => Error::NoBase { path: nic.path.clone(), cause: Box::new(cause), why: why.to_owned() },
        None => fault(cause),
    })
}

/// The slots that layouts had in `before`. What the old entry knew, the new one need not.
fn slots_after(before: Option<&State>) -> Vec<Taken> {
    // With most slots taken by layouts that are gone, counting begins anew.
    let taken = before.map(|b| b.slots.as_slice()).filter(|s| s.len() < SLOT_COUNT as usize / 2);
    taken.unwrap_or_default().iter().map(|t| Taken { linked: false, ..t.clone() }).collect()
}

/// A layout as it was linked for. `None` if `universe` has it in no NIC BTF.
fn layout_state(universe: &Universe, layout: &LayoutReport) -> Option<LayoutState> {
    let found = universe.layout_of_id(layout.id)?;
    Some(LayoutState {
        name: layout.name.clone(),
        id: layout.id,
        size: layout.size,
        nic: found.source.of_nic()?,
        also: found.also.iter().map(|source| source.of_nic()).collect::<Option<_>>()?,
        slot: layout.slot.map(Slot::number),
        added: None,
        fallback: layout.fallback,
        lacks: layout.lacks.clone(),
        selector: found.selector.is_some(),
    })
}

/// That `object` was linked for a layout that no NIC BTF has.
fn unknown(object: &Parsed, layout: &LayoutReport) -> Error {
    object.refused(xhint_link::Error::NoLayout { name: layout.label(), have: "none of a NIC BTF".to_owned() })
}

/// `nics`, each with what is to be known of it without reading it again.
fn described(universe: &Universe, object: &Object, mut nics: Vec<Source>, options: &LinkedAs) -> Vec<Source> {
    let options = link_options(options);
    for (n, nic) in (1u32..).zip(&mut nics) {
        nic.described = Some(Arc::new(Described::of(universe, SourceId(n), object, &options)));
    }
    nics
}

/// What is worth knowing of `state`, which was linked as `now` to take the place of `before`.
fn warnings_of(before: Option<&State>, state: &State, now: &LinkedAs) -> Vec<String> {
    let gone = state.options.first.iter().filter(|name| !now.first.contains(name));
    let gone = gone.map(|name| format!("no layout is called '{name}' any more; once one is, it is tried first again"));
    let recounted = before.into_iter().flat_map(|before| state.recounted(before)).map(Taken::note);
    let reads = state.layouts.len() > state.made().count();
    let misses = state.mode.misses().filter(|_| reads).map(str::to_owned);
    gone.chain(recounted).chain(misses).collect()
}

/// The slot that a layout had; a state may tell of one that there is not.
fn taken_slot(taken: &Taken) -> Option<TakenSlot> {
    Some(TakenSlot { id: taken.id, size: taken.size, slot: Slot::new(taken.slot)? })
}

/// What was linked, to be linked again without what a kernel refused.
#[derive(Debug)]
struct Again {
    linker: Linker,
    before: Option<State>,
    asked: (Parsed, Vec<Source>, LinkedAs),
    mode: Mode,
    refused: Vec<Dispatch>,
}

impl Otherwise for Again {
    fn link(&self) -> Result<Job> {
        let (object, nics, options) = self.asked.clone();
        self.linker.make(self.before.as_ref(), object, nics, options, self.mode, &self.refused)
    }
}

/// What the names that an object asks for hang on.
pub(crate) fn link_options(options: &LinkedAs) -> LinkOptions {
    LinkOptions { bind: options.bind.clone(), bind_fields: options.bind_fields.clone(), ..LinkOptions::default() }
}
