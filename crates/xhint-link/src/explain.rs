//! Every relocation in words, for each choice of layouts.

use std::rc::Rc;

use xhint_bpf::Reach;
use xhint_relo::{MetBy, RelocKind};
use xhint_universe::Universe;

use crate::bind::Bound;
use crate::choice::Choice;
use crate::missing::is_reached;
use crate::report::{PlaceReport, RelocationReport, Report, ResultReport};
use crate::{Error, LinkOptions, Object};

/// What linking would do.
#[derive(Debug)]
#[non_exhaustive]
pub struct Explained {
    /// All that is found out, up to where linking is refused.
    pub report: Report,
    /// Why it is refused.
    pub refused: Option<Error>,
}

/// What each relocation becomes for each layout alone, where linking is refused whatever that is. One that makes no sense
/// leaves nothing to tell.
pub fn explain_each(object: &Object, universe: &Universe, options: &LinkOptions, choice: &Choice, report: &mut Report) {
    let shared = Rc::default();
    let one = |n: &usize| Bound::new(object, universe, std::slice::from_ref(n), options, &shared);
    let Ok(all) = choice.layouts.iter().map(one).collect::<Result<Vec<_>, _>>() else { return };
    let running = options.running(object);
    let (mut bounds, variants): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let reaches: Vec<_> = variants.iter().map(|v| v.reach(running.iter().copied())).collect();
    let mut bindings: Vec<_> = bounds.iter_mut().zip(&reaches).collect();
    report.relocations = explain_all(object, &mut bindings).unwrap_or_default();
}

/// What each relocation becomes under each binding, given what can be reached under it.
///
/// # Errors
/// Faults of relocations.
pub fn explain_all(object: &Object, bindings: &mut [(&mut Bound<'_>, &Reach)]) -> Result<Vec<RelocationReport>, Error> {
    (0..object.relos().len()).map(|number| explain_one(object, number, bindings)).collect()
}

fn explain_one(
    object: &Object,
    number: usize,
    bindings: &mut [(&mut Bound<'_>, &Reach)],
) -> Result<RelocationReport, Error> {
    let relo = object.relos().get(number).ok_or(Error::NoRelo { number })?;
    let function = object.function_of(relo);
    let mut access = String::new();
    let mut results = Vec::with_capacity(bindings.len());
    for (bound, reach) in bindings {
        let explanation = bound.explain(number)?;
        let value = bound.value(number)?;
        let why = explanation.miss.is_some() || value.is_none();
        let in_reached = reach.functions.contains(&relo.function);
        results.push(ResultReport {
            layout: bound.layout(number)?.map(str::to_owned),
            target: explanation.found.as_ref().map(|f| format!("{} ({}, {} bits)", f.access, f.ty, f.bits)),
            by: explanation.found.as_ref().map(|f| f.by).filter(|by| *by != MetBy::Name).map(|by| by.to_string()),
            was: bound.was(number)?,
            value,
            why: why.then(|| bound.why(number, &explanation)).transpose()?,
            reached: if value.is_none() { is_reached(object, reach, number) } else { in_reached },
        });
        access = explanation.access;
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
