//! What a program reads and a layout does not have, in the terms of the source.

use xhint_bpf::{FunctionId, Reach};
use xhint_relo::RelocKind;

use crate::bind::Bound;
use crate::variant::Variant;
use crate::{Error, Missing, Object};

/// What can be reached, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Reached<'a> {
    pub variant: &'a Variant<'a>,
    pub entries: &'a [FunctionId],
    pub reach: &'a Reach,
}

impl Missing {
    /// All that can be reached.
    ///
    /// # Errors
    /// As `Bound::explain`.
    pub fn all(
        object: &Object,
        bound: &mut Bound<'_>,
        reached: Reached<'_>,
        layouts: &[String],
    ) -> Result<Vec<Missing>, Error> {
        let mut out = Vec::new();
        for number in 0..object.relos().len() {
            if bound.value(number)?.is_none() && is_reached(object, reached.reach, number) {
                out.push(Missing::of(object, bound, reached, number, layouts)?);
            }
        }
        Ok(out)
    }

    fn of(
        object: &Object,
        bound: &mut Bound<'_>,
        reached: Reached<'_>,
        number: usize,
        layouts: &[String],
    ) -> Result<Missing, Error> {
        let relo = object.relos().get(number).ok_or(Error::NoRelo { number })?;
        let explanation = bound.explain(number)?;
        Ok(Missing {
            number,
            place: object.location(relo),
            text: object.place_of(relo).map_or_else(String::new, |p| p.text),
            why: bound.why(number, &explanation)?,
            kind: RelocKind::from_raw(relo.core.kind),
            exists: explanation.found.is_some(),
            access: explanation.access,
            miss: explanation.miss,
            layouts: layouts.to_vec(),
            lost: lost(object, reached, (relo.function, relo.instruction)),
        })
    }
}

/// Whether the instruction of relocation `number` was reached, if it is poisoned; its function, if not.
pub fn is_reached(object: &Object, reach: &Reach, number: usize) -> bool {
    let relo = object.relos().get(number);
    relo.is_some_and(|relo| reach.poisoned.contains(&(relo.function, relo.instruction)))
}

/// Calls that are tried one by one as the one that is to blame.
const MOST_TRIED: usize = 32;

/// The call without which the instruction `at` would not be reached, in words: it is given an address in the stack, and
/// what it writes by that is not known.
fn lost(object: &Object, Reached { variant, entries, reach }: Reached<'_>, at: (FunctionId, usize)) -> Option<String> {
    let without = |keeps: &dyn Fn((FunctionId, usize)) -> bool| {
        !variant.reach_if(entries.iter().copied(), keeps).poisoned.contains(&at)
    };
    if reach.lost.is_empty() || !without(&|_| true) {
        return None;
    }
    let alone = reach.lost.iter().take(MOST_TRIED).find(|call| without(&|other| other == **call));
    let (function, call) = alone.or_else(|| reach.lost.first())?;
    Some(match object.place_in(*function, *call) {
        Some(p) => format!("`{}` in {}:{}, which is given an address in the stack", p.text, p.file, p.line),
        None => {
            let function = object.functions().at(*function);
            let slot = function.start_of(*call) / xhint_bpf::SIZE;
            format!("the call at instruction {slot} of {}, which is given an address in the stack", function.name)
        }
    })
}
