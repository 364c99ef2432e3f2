//! Every relocation in words, for each choice of layouts.

use xhint_universe::Universe;

use crate::bind::Bound;
use crate::choice::Choice;
use crate::link::LinkOptions;
use crate::missing::is_reached;
use crate::reach::Reach;
use crate::report::{PlaceReport, RelocationReport, Report, ResultReport, kind_name};
use crate::{Error, Object};

/// What linking would do.
#[derive(Debug)]
#[non_exhaustive]
pub struct Explained {
    /// All that is found out, up to where linking is refused.
    pub report: Report,
    /// Why it is refused.
    pub refused: Option<Error>,
}

impl Object {
    /// What [`Object::link`] would do with these options, found out by doing it; nothing is kept of the object that is
    /// made. The report tells of every relocation, also where linking is refused, unless one makes no sense itself.
    pub fn explain(&self, universe: &Universe, options: &LinkOptions) -> Explained {
        let options = LinkOptions { explain: true, ..options.clone() };
        let mut report = Report::default();
        let refused = self.link_telling(universe, &options, &mut report).err();
        if let Some(error) = &refused {
            report.refuse(error);
        }
        Explained { report, refused }
    }

    /// What each relocation becomes for each layout alone, where linking is refused whatever that is. One that makes no
    /// sense leaves nothing to tell.
    pub(crate) fn explain_each(
        &self,
        universe: &Universe,
        options: &LinkOptions,
        choice: &Choice,
        report: &mut Report,
    ) {
        let one = |n: &usize| Bound::new(self, universe, std::slice::from_ref(n), options);
        let Ok(all) = choice.layouts.iter().map(one).collect::<Result<Vec<_>, _>>() else { return };
        let running = self.running(options);
        let (mut bounds, variants): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let reaches: Vec<_> = variants.iter().map(|v| v.reach(running.iter().copied())).collect();
        report.relocations = self.explain_all(&mut bounds, &reaches).unwrap_or_default();
    }

    pub(crate) fn explain_all(
        &self,
        bounds: &mut [Bound<'_>],
        reaches: &[Reach],
    ) -> Result<Vec<RelocationReport>, Error> {
        (0..self.relos.len()).map(|number| self.explain_one(number, bounds, reaches)).collect()
    }

    fn explain_one(
        &self,
        number: usize,
        bounds: &mut [Bound<'_>],
        reaches: &[Reach],
    ) -> Result<RelocationReport, Error> {
        let relo = self.relos.get(number).ok_or(Error::NoRelo { number })?;
        let function = self.function_of(relo);
        let mut access = String::new();
        let mut results = Vec::with_capacity(bounds.len());
        for (bound, reach) in bounds.iter_mut().zip(reaches) {
            let words = bound.explain(number)?;
            let value = bound.value(number);
            let why = words.miss.is_some() || value.is_none();
            let in_reached = reach.functions.contains(&relo.function);
            results.push(ResultReport {
                layout: bound.layout(number).map(str::to_owned),
                target: words
                    .found
                    .as_ref()
                    .map(|f| format!("{} ({}, {} bits)", path(&words.access, &words.root, &f.root), f.ty, f.bits)),
                was: bound.was(number),
                value,
                why: why.then(|| bound.why(number, &words)),
                reached: if value.is_none() { is_reached(self, reach, number) } else { in_reached },
            });
            access = words.access;
        }
        Ok(RelocationReport {
            number,
            section: function.map_or_else(String::new, |f| f.section_name.clone()),
            function: function.map_or_else(String::new, |f| f.name.clone()),
            instruction: self.insn_number(relo),
            kind: kind_name(relo.core.kind),
            access,
            place: self.place_of(relo).map(|p| PlaceReport {
                file: p.file,
                line: p.line,
                column: p.column,
                text: p.text,
            }),
            results,
        })
    }
}

/// The access as it reads in the target: its own root, the program's path.
fn path(access: &str, local: &str, target: &str) -> String {
    match access.strip_prefix(local) {
        Some(rest) => format!("{target}{rest}"),
        None => access.to_owned(),
    }
}
