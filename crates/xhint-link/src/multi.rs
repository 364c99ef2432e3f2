//! Linking for several layouts at once: a variant for each, one for none, and dispatch between them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use xhint_bpf::{Arena, FunctionId};
use xhint_object::Image;
use xhint_universe::{Layout, Universe};

use crate::bind::{Bound, asks_for};
use crate::choice::Choice;
use crate::dispatch::{
    Case, Dispatched, Filled, Request, Route, classes_of, kinds, link_by_row, link_direct, link_tail,
};
use crate::explain::explain_all;
use crate::missing::Reached;
use crate::policy::{self, Candidate, Criteria};
use crate::report::{DispatchReport, LayoutReport, Report};
use crate::selectors;
use crate::table::{SLOT_COUNT, Slot};
use crate::variant::{VariantId, Variants};
use crate::{Clash, Dispatch, Error, Fallback, Function, LinkOptions, Missing, Object, TakenSlot};

/// What an object with program arrays asks of a loader.
const TAIL_NEEDS: &str = "a loader that loads all programs of the object and keeps its program arrays, as libbpf does; \
                          those that load only the program they attach (iproute2, libxdp) cannot load it, and can load \
                          what `static` and `table` make";

/// Links `object` for the chosen layouts, with dispatch.
///
/// # Errors
/// As [`crate::Link::link`]; [`Error::NothingToDispatch`] if no XDP program's code depends on the layout;
/// [`Error::NoSelector`] for a layout whose packets carry no id.
pub fn link(
    object: &Object,
    universe: &Universe,
    options: &LinkOptions,
    choice: &Choice,
    report: &mut Report,
) -> Result<Image, Error> {
    if !options.explain && too_many(object, options, choice.layouts.len()) {
        return Err(Error::NoSlot);
    }
    let mut all = Bindings::new(object, universe, options, &choice.layouts)?;
    let programs = all.programs();
    if options.explain {
        all.explain(programs.as_deref().unwrap_or_default(), options, report)?;
    }
    let programs = programs?;
    all.check_fallback(&programs, options, report)?;
    let filled = filled(object, universe, options, choice)?;
    let case = |n: &usize| case(object, universe, *n, options);
    let cases = choice.layouts.iter().map(case).collect::<Result<Vec<_>, _>>()?;
    let clashes = selectors::check(universe, &choice.layouts, &options.first)?;
    report.warnings.extend(clashes.iter().map(Clash::to_string));
    report.ranked = !clashes.is_empty();
    let (mut dispatched, mut lacks) = (Vec::new(), Vec::new());
    for function in programs {
        let (routes, lacking) = all.routes(function, &cases, options, report)?;
        lacks.extend(lacking);
        let own = object.functions().at(function);
        let optional = options.program.is_none() && own.is_optional();
        let Some(hook) = own.hook() else { continue };
        dispatched.push(Dispatched { function, hook, routes, optional });
    }
    if !options.walk {
        if options.dispatch == Dispatch::Table {
            return Err(Error::TableNeedsWalk);
        }
        all.fold(filled.map(|filled| filled.function));
    }
    let slots = slots(&report.layouts, &options.slots);
    if options.count && slots.contains(&None) {
        return Err(Error::NoSlot);
    }
    report.layouts.iter_mut().zip(&slots).for_each(|(layout, slot)| layout.slot = *slot);
    let layouts = || choice.layouts.iter().filter_map(|n| universe.layouts().get(*n));
    let metadata = |relo: &crate::Relo| layouts().any(|l| asks_for(object, relo, l, options));
    let request = Request {
        object,
        variants: &all.variants,
        names: names(universe, &choice.layouts),
        fallback: all.fallback,
        or_else: options.fallback,
        programs: dispatched,
        slots,
        metadata: object.relos().iter().map(metadata).collect(),
        count: options.count,
        // Copies are new code anyway, and without the capability a verifier may walk all of it.
        prune: options.prune || !options.walk,
        filled,
    };
    let (image, dispatch) = dispatch(&request, options)?;
    report.dispatch = dispatch;
    // Only now do packets go anywhere.
    for Lack { layout, text, .. } in lacks {
        report.warnings.push(format!("packets of this layout go to the fallback: {text}"));
        if let Some(layout) = report.layouts.get_mut(layout) {
            layout.fallback = true;
            layout.lacks = text;
        }
    }
    Ok(image)
}

/// What a program that is to run reads of a layout that lacks it.
struct Lack {
    /// The layout's place in the report.
    layout: usize,
    /// Which program reads what, and where.
    text: String,
    first: Missing,
    more: usize,
}

/// What a table asks of a loader that is not known to have it.
const TABLE_NEEDS: &str = "a loader with CAP_PERFMON, on which nothing that holds so many layouts can do without; fewer \
                           layouts (`layouts` of the options) can be linked in ways that ask for no more than CAP_BPF and \
                           CAP_NET_ADMIN";

/// Links with the first dispatch of those that fit which is within its limits.
fn dispatch(request: &Request<'_>, options: &LinkOptions) -> Result<(Image, DispatchReport), Error> {
    let layouts = request.slots.len();
    if let Some(filled) = request.filled {
        let why = "packets without metadata are filled before the program runs".to_owned();
        let kept = if filled.keep { "" } else { "; what the program passes on goes without" };
        return dispatch_by(request, options, Candidate { kind: Dispatch::Static, why: format!("{why}{kept}") });
    }
    let may = options.table || policy::exceeds_slots(layouts);
    let table = match may && options.walk && policy::considers_table(options.dispatch, layouts) {
        true => kinds(request).ok(),
        false => None,
    };
    let criteria = Criteria {
        layouts,
        insns: request.object.functions().iter().map(|f| f.code.len()).sum(),
        programs: request.programs.len(),
        no_slots: no_slots(request, options),
        table,
        may_load: options.table,
    };
    let mut candidates = policy::candidates(options.dispatch, &criteria, &options.refused).into_iter().peekable();
    loop {
        let Some(candidate) = candidates.next() else { return Err(Error::AllRefused) };
        let next = candidates.peek().map(|next| next.kind);
        // A table asks more of a kernel than copies do, so what refuses those is not asked to take one.
        let otherwise = next.filter(|kind| *kind != Dispatch::Table);
        match dispatch_by(request, options, candidate) {
            Err(error) if error.is_limit() && next.is_some() => {}
            done => return done.map(|(image, report)| (image, DispatchReport { otherwise, ..report })),
        }
    }
}

/// Links with one dispatch.
fn dispatch_by(
    request: &Request<'_>,
    options: &LinkOptions,
    candidate: Candidate,
) -> Result<(Image, DispatchReport), Error> {
    let Candidate { kind, why } = candidate;
    let report = DispatchReport { kind: Some(kind), why, ..DispatchReport::default() };
    Ok(match kind {
        Dispatch::Tail => {
            // A program array has the loader load all that is to stand in it: nothing of what does not run.
            let programs = request.programs.iter().filter(|p| runs(request, options, p)).cloned().collect();
            let image = link_tail(&Request { programs, ..request.clone() })?;
            (image, DispatchReport { needs: TAIL_NEEDS, ..report })
        }
        Dispatch::Table => {
            let (kinds, image) = (kinds(request)?, link_by_row(request)?);
            let why = if report.why.is_empty() { kinds.to_string() } else { report.why };
            let unasked = options.dispatch == Dispatch::Auto && !options.table;
            let needs = if unasked { TABLE_NEEDS } else { "" };
            (image, DispatchReport { why, copies: Some(kinds.copies), needs, ..report })
        }
        _ => (link_direct(request)?, report),
    })
}

fn runs(request: &Request<'_>, options: &LinkOptions, program: &Dispatched) -> bool {
    options.runs(request.object.functions().at(program.function))
}

/// Why slots would be of no program that is loaded, if so.
fn no_slots(request: &Request<'_>, options: &LinkOptions) -> Option<String> {
    let runs = |p: &&Dispatched| runs(request, options, p);
    if request.object.asks_driver() {
        let why = "the object asks the driver, so it is loaded for one device, and the kernel lets no such program be called by tail call";
        return Some(why.to_owned());
    }
    if request.programs.iter().filter(runs).any(|p| !p.optional) {
        return None;
    }
    Some(match (request.programs.iter().any(|p| runs(&p)), &options.program) {
        (false, Some(name)) => {
            format!("{name} does not depend on the layout, so it is called as it is, and `tail` means nothing for it")
        }
        _ => "programs that are loaded on demand have no slots to be called by".to_owned(),
    })
}

/// Whether so many layouts would need more slots than there are, so that all work for them would be lost.
fn too_many(object: &Object, options: &LinkOptions, layouts: usize) -> bool {
    let tail = options.dispatch == Dispatch::Tail && options.program.is_none();
    let in_slots = tail || options.count && options.dispatch != Dispatch::None;
    let mut programs = object.functions().iter().filter(|f| f.is_xdp()).peekable();
    layouts > SLOT_COUNT as usize && in_slots && programs.peek().is_some() && programs.all(|f| !f.is_optional())
}

/// What the object becomes for each layout, in order, and last for none.
struct Bindings<'a> {
    object: &'a Object,
    bounds: Arena<VariantId, Bound<'a>>,
    variants: Variants<'a>,
    fallback: VariantId,
}

impl<'a> Bindings<'a> {
    fn new(
        object: &'a Object,
        universe: &'a Universe,
        options: &LinkOptions,
        layouts: &[usize],
    ) -> Result<Bindings<'a>, Error> {
        let (mut bounds, mut variants, shared) = (Arena::new(), Variants::new(), Rc::default());
        let mut add = |set: &[usize]| {
            let (bound, variant) = Bound::new(object, universe, set, options, &shared)?;
            bounds.push(bound);
            Ok::<_, Error>(variants.push(variant))
        };
        for layout in layouts {
            add(std::slice::from_ref(layout))?;
        }
        let fallback = add(&[])?;
        Ok(Bindings { object, bounds, variants, fallback })
    }

    /// The XDP programs that are not the same for all layouts.
    fn programs(&self) -> Result<Vec<FunctionId>, Error> {
        let classes = classes_of(self.object, &self.variants);
        let functions = self.object.functions().entries();
        let own = functions.filter(|(n, f)| f.hook().is_some() && !classes.is_shared(*n)).map(|(n, _)| n);
        let programs: Vec<_> = own.collect();
        if !programs.is_empty() {
            return Ok(programs);
        }
        let old = self.object.functions().iter().find(|f| f.is_xdp_of_old());
        Err(match old.filter(|_| !self.object.functions().iter().any(Function::is_xdp)) {
            Some(f) => Error::OldSection { program: f.name.clone(), section: f.section_name.clone() },
            None => Error::NothingToDispatch,
        })
    }

    /// What is linked for no layout must not run into what is missing: the fallback, and every program that is not
    /// dispatched.
    fn check_fallback(
        &mut self,
        dispatched: &[FunctionId],
        options: &LinkOptions,
        report: &mut Report,
    ) -> Result<(), Error> {
        let entries = self.entries_of_fallback(dispatched, options);
        let (bound, variant) = (self.bounds.at_mut(self.fallback), self.variants.at(self.fallback));
        let reach = variant.reach(entries.iter().copied());
        let missing = Missing::all(self.object, bound, Reached { variant, entries: &entries, reach: &reach }, &[])?;
        match missing.split_first() {
            Some((first, rest)) if !options.allow_missing => {
                return Err(Error::FallbackMissing { first: Box::new(first.clone()), more: rest.len() });
            }
            _ => report.warnings.extend(missing.iter().map(Missing::to_string)),
        }
        Ok(())
    }

    /// Where packets of each layout go: those of one that lacks what program `function` reads without a guard to the
    /// fallback; and what each of those lacks.
    ///
    /// # Errors
    /// [`Error::Missing`] if all lack something, so that the program would read nothing.
    fn routes(
        &mut self,
        function: FunctionId,
        cases: &[Case],
        options: &LinkOptions,
        report: &mut Report,
    ) -> Result<(Vec<Route>, Vec<Lack>), Error> {
        let program = self.object.functions().at(function);
        let (name, runs) = (&program.name, options.runs(program));
        let fallback = self.fallback;
        let (mut out, mut lacking) = (Vec::with_capacity(cases.len()), Vec::new());
        for ((n, case), id) in cases.iter().enumerate().zip(self.variants.ids()) {
            let (bound, variant) = (self.bounds.at_mut(id), self.variants.at(id));
            let labels: Vec<_> = report.layouts.get(n).map(LayoutReport::label).into_iter().collect();
            let reached = Reached { variant, entries: &[function], reach: &variant.reach([function]) };
            let missing = Missing::all(self.object, bound, reached, &labels)?;
            let variant = match missing.split_first() {
                Some(_) if !options.allow_missing && !runs => fallback,
                Some((first, rest)) if !options.allow_missing => {
                    let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
                    let text = format!("{name}: {first}{more}");
                    lacking.push(Lack { layout: n, text, first: first.clone(), more: rest.len() });
                    fallback
                }
                _ => id,
            };
            out.push(Route { case: *case, layout: n, variant });
        }
        if lacking.is_empty() || out.iter().any(|route| route.variant != fallback) {
            return Ok((out, lacking));
        }
        // Each is refused for a reason of its own, and linking for that of the first.
        let mut first = None;
        for Lack { layout, text, first: missing, more } in lacking {
            let error = Error::Missing { first: Box::new(missing), more };
            if let Some(layout) = report.layouts.get_mut(layout) {
                layout.refused = Some(error.to_string());
                layout.lacks = text;
            }
            first.get_or_insert(error);
        }
        first.map_or(Ok((out, Vec::new())), Err)
    }

    fn fold(&mut self, filler: Option<FunctionId>) {
        for variant in &mut self.variants {
            let reach = variant.reach(self.object.entries().into_iter().chain(filler));
            variant.fold(&reach);
        }
    }

    fn entries_of_fallback(&self, dispatched: &[FunctionId], options: &LinkOptions) -> Vec<FunctionId> {
        let runs = |n: &FunctionId| options.fallback == Fallback::Program || !dispatched.contains(n);
        self.object.entries().into_iter().filter(runs).collect()
    }

    /// What each relocation becomes: for each layout, and for none.
    fn explain(&mut self, dispatched: &[FunctionId], options: &LinkOptions, report: &mut Report) -> Result<(), Error> {
        let running = options.running(self.object);
        let of_fallback = self.entries_of_fallback(dispatched, options);
        let entries = |id| if id == self.fallback { &of_fallback } else { &running };
        let reaches: Vec<_> = self.variants.entries().map(|(id, v)| v.reach(entries(id).iter().copied())).collect();
        let mut bindings: Vec<_> = self.bounds.iter_mut().zip(&reaches).collect();
        report.relocations = explain_all(self.object, &mut bindings)?;
        Ok(())
    }
}

/// What `options` say of a filler, found in the object and among the layouts.
fn filled(
    object: &Object,
    universe: &Universe,
    options: &LinkOptions,
    choice: &Choice,
) -> Result<Option<Filled>, Error> {
    let Some(call) = &options.filler else { return Ok(None) };
    let none = || Error::NoFiller { function: call.function.clone() };
    let function = object.functions().entries().find(|(_, f)| f.name == call.function).map(|(id, _)| id);
    let of = |n: &usize| universe.layouts().get(*n);
    let layout = choice.layouts.iter().position(|n| of(n).is_some_and(|layout| layout.id == call.layout));
    let size = layout.and_then(|n| choice.layouts.get(n)).and_then(of).map(|layout| layout.size);
    let (function, layout, size) = (function.ok_or_else(none)?, layout.ok_or_else(none)?, size.ok_or_else(none)?);
    Ok(Some(Filled { function, layout, size, keep: call.keep, careful: !options.walk }))
}

/// How packets of a layout are told from others.
fn case(object: &Object, universe: &Universe, layout: usize, options: &LinkOptions) -> Result<Case, Error> {
    let label = LayoutReport::of(universe, layout).map_or_else(String::new, |l| l.label());
    let rank = selectors::rank(universe, layout, &options.first);
    let Some(layout) = universe.layouts().get(layout) else { return Err(Error::NoSelector { layout: label }) };
    let at = selectors::id_at(object.order(), layout).ok_or(Error::NoSelector { layout: label })?;
    Ok(Case { size: layout.size, at, id: layout.id, rank })
}

/// What the copies are named by: the layouts' names, with the id where two have the same.
fn names(universe: &Universe, layouts: &[usize]) -> Arena<VariantId, String> {
    let all: Vec<&Layout> = layouts.iter().filter_map(|n| universe.layouts().get(*n)).collect();
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    twice.extend(all.iter().map(|l| l.name.as_str()).filter(|name| !seen.insert(*name)));
    let name = |l: &&Layout| {
        if twice.contains(l.name.as_str()) { format!("{}_{:08x}", l.name, l.id) } else { l.name.clone() }
    };
    all.iter().map(name).chain(["fallback".to_owned()]).collect()
}

/// The slot of each layout: the one it has, else the lowest that nobody has or had, as long as there are any.
fn slots(layouts: &[LayoutReport], given: &[TakenSlot]) -> Vec<Option<Slot>> {
    let taken: HashSet<Slot> = given.iter().map(|g| g.slot).collect();
    let slots: HashMap<_, _> = given.iter().rev().map(|g| ((g.id, g.size), g.slot)).collect();
    let mut free = Slot::all().filter(|slot| !taken.contains(slot));
    let own = |l: &LayoutReport| slots.get(&(l.id, l.size)).copied();
    layouts.iter().map(|l| own(l).or_else(|| free.next())).collect()
}
