//! What a program reads and a layout does not have, in the terms of the source.

use xhint_relo::Miss;

use crate::bind::Bound;
use crate::reach::Reach;
use crate::{Error, Object};

/// A read, without a guard, of what is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Number of the relocation.
    pub number: usize,
    /// `file:line:column`.
    pub place: String,
    /// The text of the line.
    pub text: String,
    /// The access in C words, `nic_meta.seq`.
    pub access: String,
    /// Why it leads nowhere, and what there is instead.
    pub why: String,
    /// The same as data, if the access leads nowhere.
    pub miss: Option<Miss>,
    /// Whether it is there, in a form that this access cannot read, so that no guard keeps the program from it.
    pub exists: bool,
    /// The layouts that it was linked for, with their files.
    pub layouts: Vec<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Missing { place, access, why, layouts, .. } = self;
        write!(f, "{place}: {access}: {why}")?;
        if !layouts.is_empty() {
            write!(f, " (layout {})", layouts.join(", "))?;
        }
        Ok(())
    }
}

impl Missing {
    /// All that can be reached.
    ///
    /// # Errors
    /// As `Bound::explain`.
    pub fn all(
        object: &Object,
        bound: &mut Bound<'_>,
        reach: &Reach,
        layouts: &[String],
    ) -> Result<Vec<Missing>, Error> {
        let mut out = Vec::new();
        for number in 0..object.relos.len() {
            if bound.value(number).is_none() && is_reached(object, reach, number) {
                out.push(Missing::of(object, bound, number, layouts)?);
            }
        }
        Ok(out)
    }

    fn of(object: &Object, bound: &mut Bound<'_>, number: usize, layouts: &[String]) -> Result<Missing, Error> {
        let relo = object.relos.get(number).ok_or(Error::NoRelo { number })?;
        let words = bound.explain(number)?;
        Ok(Missing {
            number,
            place: object.place_words(relo),
            text: object.place_of(relo).map_or_else(String::new, |p| p.text),
            why: bound.why(number, &words),
            exists: words.found.is_some(),
            access: words.access,
            miss: words.miss,
            layouts: layouts.to_vec(),
        })
    }
}

/// Whether the instruction of relocation `number` was reached, if it is poisoned; its function, if not.
pub fn is_reached(object: &Object, reach: &Reach, number: usize) -> bool {
    let Some(relo) = object.relos.get(number) else { return false };
    let start = object.functions.get(relo.function).map_or(0, |f| f.start);
    reach.poisoned.contains(&(relo.function, (relo.core.insn_off as usize).saturating_sub(start)))
}
