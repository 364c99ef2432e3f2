//! Every relocation in words, for each choice of layouts.

use xhint_bpf::Reach;
use xhint_relo::RelocKind;
use xhint_universe::Universe;

use crate::bind::Bound;
use crate::choice::Choice;
use crate::missing::is_reached;
use crate::report::{LayoutReport, PlaceReport, RelocationReport, Report, ResultReport};
use crate::{Error, LinkOptions, Object};

/// What linking for each layout alone would do, without linking. That a layout lacks something is no error here.
///
/// # Errors
/// Faults of the object and of relocations; [`Error::NoLayout`].
pub fn explain(object: &Object, universe: &Universe, options: &LinkOptions) -> Result<Report, Error> {
    let choice = Choice::of(object, universe, options)?;
    let mut report = Report {
        layouts: choice.layouts.iter().filter_map(|n| LayoutReport::of(universe, *n)).collect(),
        unbound: choice.unbound,
        plain: choice.plain,
        warnings: choice.warnings,
        ..Report::default()
    };
    let sets: Vec<Vec<usize>> = match choice.layouts.as_slice() {
        [] => vec![vec![]],
        some => some.iter().map(|n| vec![*n]).collect(),
    };
    let (mut bounds, mut reaches) = (Vec::new(), Vec::new());
    for layouts in &sets {
        let (bound, variant) = Bound::new(object, universe, layouts, options)?;
        reaches.push(variant.reach(object.entries()));
        bounds.push(bound);
    }
    report.relocations = explain_all(object, &mut bounds, &reaches, &report.layouts)?;
    Ok(report)
}

pub fn explain_all(
    object: &Object,
    bounds: &mut [Bound<'_>],
    reaches: &[Reach],
    layouts: &[LayoutReport],
) -> Result<Vec<RelocationReport>, Error> {
    (0..object.relos().len()).map(|number| explain_one(object, number, bounds, reaches, layouts)).collect()
}

fn explain_one(
    object: &Object,
    number: usize,
    bounds: &mut [Bound<'_>],
    reaches: &[Reach],
    layouts: &[LayoutReport],
) -> Result<RelocationReport, Error> {
    let relo = object.relos().get(number).ok_or(Error::NoRelo { number })?;
    let function = object.function_of(relo);
    let mut access = String::new();
    let mut results = Vec::with_capacity(bounds.len());
    for (n, (bound, reach)) in bounds.iter_mut().zip(reaches).enumerate() {
        let words = bound.explain(number)?;
        let value = bound.value(number);
        let why = words.miss.is_some() || value.is_none();
        let in_reached = reach.functions.contains(&relo.function);
        results.push(ResultReport {
            layout: layouts.get(n).map(|l| l.name.clone()),
            target: words
                .found
                .as_ref()
                .map(|f| format!("{} ({}, {} bits)", path(&words.access, &words.root, &f.root), f.ty, f.bits)),
            was: bound.was(number),
            value,
            why: why.then(|| bound.why(number, &words)),
            reached: if value.is_none() { is_reached(object, reach, number) } else { in_reached },
        });
        access = words.access;
    }
    Ok(RelocationReport {
        number,
        section: function.section_name.clone(),
        function: function.name.clone(),
        instruction: object.insn_number(relo),
        kind: RelocKind::from_raw(relo.core.kind).ok_or(Error::NoRelo { number })?,
        access,
        place: object.place_of(relo).map(|p| PlaceReport {
            file: p.file,
            line: p.line,
            column: p.column,
            text: p.text,
        }),
        results,
    })
}

/// The access as it reads in the target: its own root, the program's path.
fn path(access: &str, local: &str, target: &str) -> String {
    match access.strip_prefix(local) {
        Some(rest) => format!("{target}{rest}"),
        None => access.to_owned(),
    }
}
