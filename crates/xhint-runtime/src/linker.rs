//! From the files that the user has to an object for the kernel.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use xhint_btf::{Btf, Kind, essential};
use xhint_link::table::{SLOT_COUNT, Slot};
use xhint_link::{Dispatch, LayoutReport, Link, LinkOptions, Linked, Object, Report, TakenSlot, names_lacking};
use xhint_object::{SetError, nic_btf};
use xhint_universe::{Layout, LayoutId, SourceId, Universe};

use crate::described::Described;
use crate::error::{Error, Result};
use crate::job::{Job, Otherwise};
use crate::rights::may_walk;
use crate::state::{LayoutState, LinkedAs, Mode, Source, State, Taken};

/// Where the running kernel's BTF is.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Links programs for NICs' layouts. Keeps the base BTF and what was found in it, so the second link is faster.
#[derive(Debug, Clone)]
pub struct Linker {
    base: Universe,
}

impl Linker {
    /// On the running kernel's BTF.
    ///
    /// # Errors
    /// [`xhint_host::Error::File`] if the kernel has none.
    pub fn new() -> Result<Linker> {
        let path = Path::new(KERNEL);
        let bytes = std::fs::read(path).map_err(Error::file(path))?;
        let err = |cause| Error::Source { path: path.to_owned(), cause: Box::new(cause) };
        let btf = xhint_object::btf_of(bytes, None).map_err(err)?;
        Ok(Linker::on(Arc::new(btf)))
    }

    /// On another base.
    pub fn on(base: Arc<Btf>) -> Linker {
        Linker { base: Universe::new(base) }
    }

    /// The base and these NIC BTFs: raw or in ELF objects, alone or split on the base.
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
            let err = |cause| Error::Source { path: nic.path.clone(), cause: Box::new(cause) };
            let btf = nic_btf(nic.bytes()?, Arc::clone(universe.base())).map_err(err)?;
            universe.add(&name, Arc::new(btf)).map_err(Error::Layout)?;
        }
        Ok(universe)
    }

    /// The same, with the structs that `options` have named as layouts, where there are such.
    pub(crate) fn universe_as(&self, options: &LinkedAs, nics: &[Source]) -> Result<Universe> {
        self.universe(nics).map(|universe| with_named(universe, options))
    }

    /// The base, what is known of the NIC BTFs of `state`, and the last of them, of which nothing is known yet. Those that it
    /// takes to link for that are read again.
    pub(crate) fn universe_beside(&self, state: &State, object: &Object) -> Result<Universe> {
        let nics = state.nics.as_slice();
        let (options, new) = (link_options(&state.options), SourceId(u32::try_from(nics.len()).unwrap_or(u32::MAX)));
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

    /// The same for another loader: nothing is asked of the kernel or of who links, so that the object is the same
    /// wherever it is linked.
    ///
    /// # Errors
    /// As [`Linker::link`].
    pub fn link_only(&self, object: Source, nics: Vec<Source>, options: LinkedAs) -> Result<Job> {
        let object = Parsed::of(object, &options.set)?;
        self.make(None, object, nics, options, Mode::Native, None)
    }

    /// The same, to take the place of `before`: layouts keep their slots, so that counts go on.
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
        self.make(before, object, nics, options, mode, Some(&[]))
    }

    /// The same for the object of `before`, which was read for that before.
    pub(crate) fn link_again(
        &self,
        before: &State,
        object: Parsed,
        nics: Vec<Source>,
        options: LinkedAs,
    ) -> Result<Job> {
        self.make(Some(before), object, nics, options, before.mode, Some(&[]))
    }

    /// Links; for a device, if it is known what its kernel refused of that before.
    fn make(
        &self,
        before: Option<&State>,
        object: Parsed,
        nics: Vec<Source>,
        options: LinkedAs,
        mode: Mode,
        for_device: Option<&[Dispatch]>,
    ) -> Result<Job> {
        let again = (object.clone(), nics.clone(), options.clone());
        // With most slots taken by layouts that are gone, counting begins anew.
        let taken = before.map(|b| b.slots.as_slice()).filter(|s| s.len() < SLOT_COUNT as usize / 2);
        // What the old entry knew, the new one need not.
        let slots: Vec<_> = taken.unwrap_or_default().iter().map(|t| Taken { linked: false, ..t.clone() }).collect();
        let mut universe = self.universe_as(&options, &nics)?;
        // What was asked for by name may be gone since.
        let asked = if options.only.is_empty() { options.layouts.as_slice() } else { &[] };
        declare(&mut universe, asked, &options.bind).map_err(Error::Layout)?;
        if let Some(before) = before {
            self.check_ids(before, &universe)?;
        }
        let names = options.layouts.iter().filter(|l| !l.starts_with("0x") && !options.named.contains(l));
        let named = options.named.iter().chain(names).cloned().collect();
        let walk = options.walk && (for_device.is_none() || may_walk());
        let options = LinkedAs { named, walk, ..options };
        let now = LinkedAs { first: options.first_in(&universe, before), ..options.clone() };
        let how = LinkOptions {
            slots: slots.iter().filter_map(taken_slot).collect(),
            table: for_device.is_some(),
            refused: for_device.unwrap_or_default().to_vec(),
            ..LinkOptions::default()
        };
        let mut linked = self.link_in(&universe, &object, &now, how)?;
        if for_device.is_some()
            && let Some(plain) = linked.report.plain.iter().find(|p| p.certain)
        {
            let cause = Box::new(xhint_link::Error::Plain(plain.clone()));
            return Err(Error::Link { path: object.source.path, cause });
        }
        let refused = linked.report.dispatch.kind.filter(|_| linked.report.dispatch.otherwise.is_some());
        let otherwise = for_device.zip(refused).map(|(before_that, kind)| -> Arc<dyn Otherwise> {
            let refused = [before_that, &[kind]].concat();
            Arc::new(Again { linker: self.clone(), before: before.cloned(), asked: again, mode, refused })
        });
        let gone = options.first.iter().filter(|name| !now.first.contains(name));
        linked.report.warnings.extend(
            gone.map(|name| format!("no layout is called '{name}' any more; once one is, it is tried first again")),
        );
        let report = &linked.report;
        let layout = |l: &LayoutReport| {
            let found = universe.layout_of_id(l.id);
            LayoutState {
                name: l.name.clone(),
                id: l.id,
                size: l.size,
                nic: found.map_or(0, |u| number(u.source)),
                also: found.map_or_else(Vec::new, |u| u.also.iter().map(|s| number(*s)).collect()),
                slot: l.slot.map(Slot::number),
                added: None,
                fallback: l.fallback,
                lacks: l.lacks.clone(),
                selector: found.is_some_and(|u| u.selector.is_some()),
            }
        };
        let mut nics = nics;
        for (n, nic) in (1u32..).zip(&mut nics) {
            let described = Described::of(&universe, SourceId(n), &object.object, &link_options(&options));
            nic.described = Some(Arc::new(described));
        }
        let mut state = State {
            entry: options.program.clone().unwrap_or_else(|| only_program(&object.object)),
            mode,
            since: 0,
            layouts: report.layouts.iter().map(layout).collect(),
            slots,
            options: LinkedAs { dispatch: report.dispatch.kind.unwrap_or_default(), only: Vec::new(), ..options },
            object: object.source,
            nics,
        };
        state.take_slots();
        let Report { mut warnings, unbound, dispatch, .. } = linked.report;
        warnings.extend(before.into_iter().flat_map(|before| state.recounted(before)).map(Taken::note));
        warnings.extend(mode.misses().filter(|_| !state.layouts.is_empty()).map(str::to_owned));
        let (linked, why) = (linked.bytes.into(), dispatch.why);
        Ok(Job { linked, state, warnings, unbound, why, otherwise, after: None, replace: false })
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

    /// Links `object` with `options`; what those do not say is as in `how`.
    pub(crate) fn link_in(
        &self,
        universe: &Universe,
        object: &Parsed,
        options: &LinkedAs,
        how: LinkOptions,
    ) -> Result<Linked> {
        let only = options.only.iter().map(|id| LayoutId(*id).to_string()).collect();
        let options = LinkOptions {
            layouts: if options.only.is_empty() { options.layouts.clone() } else { only },
            program: options.program.clone().or_else(|| Some(only_program(&object.object)).filter(|p| !p.is_empty())),
            fallback: options.fallback,
            walk: options.walk,
            first: options.first.clone(),
            // Without the capability, verifiers before Linux 6.18 walk arms that are never taken. With it they do not, and
            // an object without dispatch stays as it was compiled.
            prune: !options.walk,
            dispatch: options.asked,
            count: options.count,
            allow_missing: options.allow_missing,
            bind: options.bind.clone(),
            ..how
        };
        object.object.link(universe, &options).map_err(|cause| object.refused(cause))
    }
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
        self.linker.make(self.before.as_ref(), object, nics, options, self.mode, Some(&self.refused))
    }
}

/// What the names that an object asks for hang on.
pub(crate) fn link_options(options: &LinkedAs) -> LinkOptions {
    LinkOptions { bind: options.bind.clone(), ..LinkOptions::default() }
}

/// An object, read once for all that is done with it, its constants as they were asked to be.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    pub source: Source,
    pub object: Object,
}

impl Parsed {
    pub fn of(source: Source, values: &[(String, String)]) -> Result<Parsed> {
        let refused = |cause: xhint_object::Error| refused(&source.path, cause.into());
        let mut object = Object::parse(source.bytes()?).map_err(refused)?;
        set(&mut object, values).map_err(refused)?;
        Ok(Parsed { source, object })
    }

    /// What is wrong with it, or with what it is linked for.
    pub fn refused(&self, cause: xhint_link::Error) -> Error {
        refused(&self.source.path, cause)
    }
}

fn refused(path: &Path, cause: xhint_link::Error) -> Error {
    Error::Link { path: path.to_owned(), cause: Box::new(cause) }
}

/// With the structs that `options` have named as layouts, where there are such.
fn with_named(mut universe: Universe, options: &LinkedAs) -> Universe {
    for name in options.named.iter().chain(options.bind.iter().map(|(_, target)| target)) {
        let _elsewhere = universe.add_layout(name);
    }
    universe
}

/// The place among NIC BTFs of what is so numbered in a universe of them.
fn number(source: SourceId) -> usize {
    (source.0 as usize).saturating_sub(1)
}

/// Makes layouts of the structs that `layouts` and the targets of `bind` name, tagged or not. Ids are left alone: they
/// are not known before there is a layout.
///
/// # Errors
/// For a name that is nowhere: what it is not in, and the layouts there are.
pub fn declare(
    universe: &mut Universe,
    layouts: &[String],
    bind: &[(String, String)],
) -> std::result::Result<(), xhint_universe::Error> {
    for name in layouts.iter().filter(|l| LayoutId::read(l).is_none()) {
        universe.add_layout(name)?;
    }
    for (_, target) in bind {
        let is_layout = universe.layouts().iter().any(|l| l.name == *target || l.answers(essential(target)));
        // With no NIC BTF yet, the one that has it may be still to come.
        let of_base = || universe.sources().first().is_some_and(|base| base.types().any(|t| t.name() == target));
        let elsewhere = || universe.sources().len() == 1 || of_base();
        if !is_layout && (is_struct_of_a_nic(universe, target) || !elsewhere()) {
            universe.add_layout(target)?;
        }
    }
    Ok(())
}

/// Whether a NIC BTF has such a struct or typedef, so that binding a name to it makes it a layout.
fn is_struct_of_a_nic(universe: &Universe, name: &str) -> bool {
    let fits = |t: xhint_btf::Type<'_>| matches!(t.kind(), Kind::Struct | Kind::Typedef) && t.name() == name;
    universe.sources().iter().skip(1).any(|s| s.types().any(fits))
}

/// The object's XDP program, if it has but one: a linked object may have more, one for each layout.
pub(crate) fn only_program(object: &Object) -> String {
    match object.functions().iter().filter(|f| f.is_xdp()).collect::<Vec<_>>().as_slice() {
        [one] => one.name.clone(),
        _ => String::new(),
    }
}

/// Gives constants of the object their values, each one value.
fn set(object: &mut Object, values: &[(String, String)]) -> std::result::Result<(), xhint_object::Error> {
    for (n, (name, value)) in values.iter().enumerate() {
        if let Some((_, first)) = values.iter().take(n).find(|(other, old)| other == name && old != value) {
            let source = SetError::Twice { first: first.clone(), second: value.clone() };
            return Err(xhint_object::Error::Set { name: name.clone(), source });
        }
        object.set(name, value)?;
    }
    Ok(())
}
