//! `--dispatch static`: the entry tests length and id, and calls the copy for that layout.

use std::collections::BTreeMap;

use super::copies::{Code, Copies};
use super::count::{Counters, Slot};
use super::emit::{Emit, Label, R0, R1, R6};
use super::entry::decide;
use super::maps::place_maps;
use super::{Dispatched, Fallback, Plan};
use crate::Error;
use crate::counts::UNKNOWN_ID;
use crate::image::Image;

/// Links the plan's programs so that each has an entry of its own name, in its own place, and a static copy
/// `PROGRAM__LAYOUT` in `.text` for each layout. Copies that are equal are one.
///
/// # Errors
/// [`Error::TooManyFunctions`] for more than the kernel takes, [`Error::TooFar`] for more layouts than jumps can span,
/// and faults of the object.
pub fn link(plan: Plan<'_>) -> Result<Image, Error> {
    let entries = plan.programs.iter().map(|p| p.function).collect();
    let mut copies = Copies::new(plan.object, plan.variants, plan.names, plan.fallback, entries)?;
    let counters = plan.count.then(|| Counters::declare(&mut copies.image));
    for program in &plan.programs {
        let variants = program.cases.iter().map(|(_, variant)| *variant).chain([plan.fallback]);
        let functions = copies.functions_of(program.function, variants).saturating_add(1);
        if functions > MAX_FUNCTIONS {
            return Err(Error::TooManyFunctions { functions });
        }
        let code = match counters {
            Some(counters) => counting(&mut copies, program, plan.fallback, plan.or_else, &plan.slots, counters)?,
            None => entry(&mut copies, program, plan.fallback, plan.or_else)?,
        };
        copies.set_entry(program.function, code, None)?;
    }
    if let Some(counters) = counters {
        place_maps(copies.object, &mut copies.image, &mut copies.btf, &counters.maps())?;
    }
    copies.finish()
}

/// Functions of one program that the kernel takes: `BPF_MAX_SUBPROGS` of include/linux/bpf_verifier.h.
const MAX_FUNCTIONS: usize = 256;

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
    go_on(copies, &mut emit, program, fallback, or_else);
    for (symbol, label) in calls {
        emit.put(label);
        emit.call(symbol);
        emit.exit();
    }
    emit.finish()
}

/// The same with a count before each call, so that each layout has a call of its own.
fn counting(
    copies: &mut Copies<'_>,
    program: &Dispatched,
    fallback: usize,
    or_else: Fallback,
    slots: &[u32],
    counters: Counters,
) -> Result<Code, Error> {
    let mut emit = Emit::new(copies.object.order());
    let none = emit.label();
    let cases: Vec<_> = program.cases.iter().map(|(case, _)| (*case, emit.label())).collect();
    // Helpers leave r6 alone.
    emit.mov(R6, R1);
    decide(&mut emit, &cases, none);
    emit.put(none);
    counters.unknown(&mut emit, cases.iter().map(|c| c.0));
    emit.mov(R1, R6);
    go_on(copies, &mut emit, program, fallback, or_else);
    for ((_, label), (_, variant)) in cases.iter().zip(&program.cases) {
        emit.put(*label);
        counters.known(&mut emit, Slot::Known(slots.get(*variant).copied().unwrap_or(UNKNOWN_ID)));
        emit.mov(R1, R6);
        emit.call(copies.function(program.function, *variant));
        emit.exit();
    }
    emit.finish()
}

/// What packets of no layout get.
fn go_on(copies: &mut Copies<'_>, emit: &mut Emit, program: &Dispatched, fallback: usize, or_else: Fallback) {
    match or_else {
        Fallback::Program => {
            let symbol = copies.function(program.function, fallback);
            emit.call(symbol);
        }
        Fallback::Action(action) => emit.mov_imm(R0, action as i32),
    }
    emit.exit();
}
