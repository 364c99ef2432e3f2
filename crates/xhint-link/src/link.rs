//! Linking: from an object and a universe to an object that needs no CO-RE any more.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use xhint_bpf::insn::POISON;
use xhint_bpf::{Arena, Instruction};
use xhint_object::{Image, SectionId};
use xhint_universe::Universe;

use crate::bind::Bound;
use crate::choice::{Choice, all_asked, named};
use crate::dispatch::{Copies, reserved};
use crate::explain::{Explained, explain_all, explain_each};
use crate::missing::Reached;
use crate::policy::{self, Entry};
use crate::report::{DispatchReport, LayoutReport, Linked, Report};
use crate::variant::{Variant, Variants};
use crate::{Dispatch, Error, LinkOptions, Missing, Object, multi};

/// What can be done with an object and a universe of types.
pub trait Link {
    /// Links for layouts of `universe`.
    ///
    /// # Errors
    /// [`Error::Missing`] where a program would read what the layout lacks; [`Error::SeveralLayouts`]; faults of the
    /// object and of relocations.
    fn link(&self, universe: &Universe, options: &LinkOptions) -> Result<Linked, Error>;

    /// What [`Link::link`] would do with these options, found out by doing it; nothing is kept of the object that is made.
    /// The report tells of every relocation, also where linking is refused, unless one makes no sense itself.
    fn explain(&self, universe: &Universe, options: &LinkOptions) -> Explained;

    /// The layouts of `universe` that the object asks for, its names bound as `options` say.
    ///
    /// # Errors
    /// [`Error::OtherOrder`] and its like.
    fn asked(&self, universe: &Universe, options: &LinkOptions) -> Result<Vec<LayoutReport>, Error>;
}

impl Link for Object {
    fn link(&self, universe: &Universe, options: &LinkOptions) -> Result<Linked, Error> {
        let mut report = Report::default();
        let bytes = link_telling(self, universe, options, &mut report)?;
        Ok(Linked { bytes, report })
    }

    fn explain(&self, universe: &Universe, options: &LinkOptions) -> Explained {
        let options = LinkOptions { explain: true, ..options.clone() };
        let mut report = Report::default();
        let refused = link_telling(self, universe, &options, &mut report).err();
        if let Some(error) = &refused {
            report.refuse(error);
        }
        Explained { report, refused }
    }

    fn asked(&self, universe: &Universe, options: &LinkOptions) -> Result<Vec<LayoutReport>, Error> {
        let asked = all_asked(self, universe, options)?;
        Ok(asked.into_iter().filter_map(|n| LayoutReport::of(universe, n)).collect())
    }
}

/// Why there is no entry that counts, if for this cause there need be none.
fn uncounted(cause: &Error) -> Option<String> {
    let why = match cause {
        Error::NothingToDispatch => "no XDP program of the object depends on it".to_owned(),
        Error::NoSelector { .. } => "its packets carry no id".to_owned(),
        Error::FallbackMissing { first, .. } => {
            format!("packets of no layout would need a fixed action: {first}")
        }
        Error::Object(cause @ xhint_object::Error::JumpTable { .. }) => cause.to_string(),
        _ => return None,
    };
    Some(format!("for one layout only: every packet is read by it and none is counted, because {why}"))
}

/// Links, and fills `report` as far as it comes: what is known of a refused object stands there too.
fn link_telling(
    object: &Object,
    universe: &Universe,
    options: &LinkOptions,
    report: &mut Report,
) -> Result<Vec<u8>, Error> {
    if let Some(name) = reserved(object) {
        return Err(Error::Reserved { name: name.to_owned() });
    }
    let choice = &Choice::of(object, universe, options)?;
    *report = choice.report(universe);
    for name in &options.first {
        named(universe, name)?;
    }
    let entry = match &options.filler {
        Some(_) if matches!(options.dispatch, Dispatch::Auto | Dispatch::Static) => Entry::Always,
        Some(_) => return Err(Error::FillerDispatch { dispatch: options.dispatch }),
        None => policy::entry(options.dispatch, choice.layouts.len(), choice.several.is_some(), options.count),
    };
    let image = match (entry, &choice.several) {
        (Entry::None(_), Some((name, layouts))) => {
            if options.explain {
                explain_each(object, universe, options, choice, report);
            }
            return Err(Error::SeveralLayouts { name: name.clone(), layouts: layouts.clone() });
        }
        (Entry::None(why), None) => link_one(object, universe, options, choice, report, why),
        (Entry::IfPossible, _) => multi::link(object, universe, options, choice, report).or_else(|cause| {
            let Some(why) = uncounted(&cause) else { return Err(cause) };
            *report = choice.report(universe);
            link_one(object, universe, options, choice, report, why)
        }),
        (Entry::Always, _) => multi::link(object, universe, options, choice, report),
    }?;
    report.useless(options);
    Ok(image.write()?)
}

fn link_one(
    object: &Object,
    universe: &Universe,
    options: &LinkOptions,
    choice: &Choice,
    report: &mut Report,
    why: String,
) -> Result<Image, Error> {
    report.dispatch = DispatchReport { kind: Some(Dispatch::None), why, ..DispatchReport::default() };
    let (mut bound, mut variant) = Bound::new(object, universe, &choice.layouts, options, &Rc::default())?;
    let entries = options.running(object);
    let reach = variant.reach(entries.iter().copied());
    if options.explain {
        report.relocations = explain_all(object, &mut [(&mut bound, &reach)])?;
    }
    let reached = Reached { variant: &variant, entries: &entries, reach: &reach };
    let missing = Missing::all(object, &mut bound, reached, &report.layout_labels())?;
    match missing.split_first() {
        Some((first, rest)) if !options.allow_missing => {
            return Err(Error::Missing { first: Box::new(first.clone()), more: rest.len() });
        }
        _ => report.warnings.extend(missing.iter().map(Missing::to_string)),
    }
    if !options.walk {
        let all = variant.reach(object.entries());
        variant.fold(&all);
    }
    // Where code has to stay, it stays whole: kernels that know jump tables do not walk arms that are never taken.
    let prune = options.prune && object.jumps_by_table().is_none();
    if prune { pruned(object, variant) } else { image_of(object, &variant) }
}

/// The object under the variant, without what cannot be reached.
fn pruned(object: &Object, variant: Variant<'_>) -> Result<Image, Error> {
    let (mut variants, mut names) = (Variants::new(), Arena::new());
    let only = variants.push(variant);
    names.push(String::new());
    let mut copies = Copies::new(object, &variants, names, only, HashSet::new())?;
    copies.prune(None);
    copies.finish()
}

/// The object with the variant's instructions in place and no CO-RE relocations.
fn image_of(object: &Object, variant: &Variant<'_>) -> Result<Image, Error> {
    let mut image = object.image().clone();
    let mut sections: BTreeMap<SectionId, Vec<u8>> = BTreeMap::new();
    for (id, function) in object.functions().entries() {
        for patch in variant.patches(id) {
            let own = || object.image().bytes(function.section).to_vec();
            let code = sections.entry(function.section).or_insert_with(own);
            let mut bytes = Vec::new();
            match (patch.insn, function.code.get(patch.at)) {
                (Some(insn), _) => insn.encode(object.order(), &mut bytes),
                (None, was) => {
                    let slots = was.map_or(1, Instruction::slots);
                    (0..slots).for_each(|_| POISON.encode(object.order(), &mut bytes));
                }
            }
            let start = function.start.saturating_add(function.start_of(patch.at));
            code.iter_mut().skip(start).zip(bytes).for_each(|(to, from)| *to = from);
        }
    }
    for (section, code) in sections {
        image.set_bytes(section, code.into());
    }
    let mut ext = object.ext().clone();
    ext.relos.clear();
    image.set_btf(object.btf().raw().clone(), &ext)?;
    Ok(image)
}
