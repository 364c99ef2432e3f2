//! Linking: from an object and a universe to an object that needs no CO-RE any more.

use std::collections::{BTreeMap, HashSet};

use xhint_bpf::Instruction;
use xhint_bpf::insn::POISON;
use xhint_object::{Image, SectionId};
use xhint_universe::Universe;

use crate::bind::Bound;
use crate::choice::Choice;
use crate::dispatch::{Copies, reserved};
use crate::explain::{explain, explain_all};
use crate::report::{DispatchReport, LayoutReport, Linked, Report};
use crate::variant::Variant;
use crate::{Dispatch, Error, LinkOptions, Missing, Object, multi};

/// Why there is no entry that counts.
const UNCOUNTED: &str = "for one layout only, and nothing tells its packets from others or there is nothing to give to \
                         those, so every packet is taken for it and none is counted";

/// What can be done with an object and a universe of types.
pub trait Link {
    /// Links for layouts of `universe`.
    ///
    /// # Errors
    /// [`Error::Missing`] where a program would read what the layout lacks; [`Error::SeveralLayouts`]; faults of the
    /// object and of relocations.
    fn link(&self, universe: &Universe, options: &LinkOptions) -> Result<Linked, Error>;

    /// What linking for each layout alone would do, without linking. That a layout lacks something is no error here.
    ///
    /// # Errors
    /// Faults of the object and of relocations; [`Error::NoLayout`].
    fn explain(&self, universe: &Universe, options: &LinkOptions) -> Result<Report, Error>;

    /// The layouts of `universe` that the object asks for, or those of them that `options` names.
    ///
    /// # Errors
    /// [`Error::NoLayout`] for a name that no layout has.
    fn asked(&self, universe: &Universe, options: &LinkOptions) -> Result<Vec<LayoutReport>, Error>;
}

impl Link for Object {
    fn link(&self, universe: &Universe, options: &LinkOptions) -> Result<Linked, Error> {
        if let Some(name) = reserved(self) {
            return Err(Error::Reserved { name: name.to_owned() });
        }
        let choice = Choice::of(self, universe, options)?;
        let crowded = choice.several.as_ref();
        match (options.dispatch, crowded) {
            (Dispatch::None, Some((name, layouts))) => {
                Err(Error::SeveralLayouts { name: name.clone(), layouts: layouts.join(", ") })
            }
            (Dispatch::None, None) => link_one(self, universe, options, choice, String::new()),
            (Dispatch::Auto, None) if options.count && !choice.layouts.is_empty() => {
                match multi::link(self, universe, options, choice.clone()) {
                    Err(Error::NothingToDispatch | Error::NoSelector { .. } | Error::FallbackMissing { .. }) => {
                        link_one(self, universe, options, choice, UNCOUNTED.to_owned())
                    }
                    done => done,
                }
            }
            (Dispatch::Auto, None) => {
                let why = "no name has more than one layout to answer to it".to_owned();
                link_one(self, universe, options, choice, why)
            }
            _ => multi::link(self, universe, options, choice),
        }
    }

    fn explain(&self, universe: &Universe, options: &LinkOptions) -> Result<Report, Error> {
        explain(self, universe, options)
    }

    fn asked(&self, universe: &Universe, options: &LinkOptions) -> Result<Vec<LayoutReport>, Error> {
        let choice = Choice::of(self, universe, options)?;
        Ok(choice.layouts.iter().filter_map(|n| LayoutReport::of(universe, *n)).collect())
    }
}

fn link_one(
    object: &Object,
    universe: &Universe,
    options: &LinkOptions,
    choice: Choice,
    why: String,
) -> Result<Linked, Error> {
    let (mut bound, mut variant) = Bound::new(object, universe, &choice.layouts, options)?;
    let entries = object.entries().into_iter().filter(|id| options.runs(object.functions().at(*id)));
    let reach = variant.reach(entries);
    let mut report = Report {
        layouts: choice.layouts.iter().filter_map(|n| LayoutReport::of(universe, *n)).collect(),
        dispatch: DispatchReport { kind: "none", why, ..DispatchReport::default() },
        unbound: choice.unbound,
        plain: choice.plain,
        warnings: choice.warnings,
        ..Report::default()
    };
    let missing = Missing::all(object, &mut bound, &reach, &report.layout_words())?;
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
    if options.explain {
        let reaches = [reach];
        report.relocations = explain_all(object, &mut [bound], &reaches, &report.layouts)?;
    }
    let image = if options.prune { pruned(object, variant)? } else { image_of(object, &variant) };
    let bytes = image.write()?;
    Ok(Linked { bytes, report })
}

/// The object under the variant, without what cannot be reached.
fn pruned(object: &Object, variant: Variant<'_>) -> Result<Image, Error> {
    let variants = [variant];
    let mut copies = Copies::new(object, &variants, vec![String::new()], 0, HashSet::new())?;
    copies.prune();
    copies.finish()
}

/// The object with the variant's instructions in place and no CO-RE relocations.
fn image_of(object: &Object, variant: &Variant<'_>) -> Image {
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
    image.set_btf(object.btf().raw().clone(), &ext);
    image
}
