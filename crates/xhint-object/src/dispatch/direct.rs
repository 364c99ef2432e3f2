//! `--dispatch static`: the entry tests length and id, and calls the copy for that layout.

use std::collections::BTreeMap;

use super::copies::{Code, Copies};
use super::emit::{Emit, Label, R0};
use super::entry::decide;
use super::{Dispatched, Fallback, Plan};
use crate::Error;
use crate::image::Image;

/// Links the plan's programs so that each has an entry of its own name, in its own place, and a static copy
/// `PROGRAM__LAYOUT` in `.text` for each layout. Copies that are equal are one.
///
/// # Errors
/// [`Error::TooFar`] for more layouts than jumps can span, and faults of the object.
pub fn link(plan: Plan<'_>) -> Result<Image, Error> {
    let entries = plan.programs.iter().map(|p| p.function).collect();
    let mut copies = Copies::new(plan.object, plan.variants, plan.names, plan.fallback, entries)?;
    for program in &plan.programs {
        let code = entry(&mut copies, program, plan.fallback, plan.or_else)?;
        copies.set_entry(program.function, code, None)?;
    }
    copies.finish()
}

fn entry(copies: &mut Copies<'_>, program: &Dispatched, fallback: usize, or_else: Fallback) -> Result<Code, Error> {
    let mut emit = Emit::new(copies.object.order());
    let none = emit.label();
    let mut calls: BTreeMap<usize, Label> = BTreeMap::new();
    let mut cases = Vec::with_capacity(program.cases.len());
    for (case, variant) in &program.cases {
        let symbol = copies.function(program.function, *variant);
        let label = *calls.entry(symbol).or_insert_with(|| emit.label());
        cases.push((*case, label));
    }
    decide(&mut emit, &cases, none);
    emit.put(none);
    match or_else {
        Fallback::Program => {
            let symbol = copies.function(program.function, fallback);
            emit.call(symbol);
        }
        Fallback::Action(action) => emit.mov_imm(R0, action as i32),
    }
    emit.exit();
    for (symbol, label) in calls {
        emit.put(label);
        emit.call(symbol);
        emit.exit();
    }
    emit.finish()
}
