//! Which copies of a function are one and the same.
//!
//! Two variants share a function if its instructions are equal under both and so are those of all it calls. This is
//! partition refinement: begin with equal code, split by the classes of callees until nothing splits.

use std::collections::HashMap;

use crate::Object;
use crate::insn::{Insn, SIZE};
use crate::variant::Variant;

/// For each function, the class of each variant; equal numbers mean equal code. Numbers count from 0 in the order of
/// variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes(Vec<Vec<usize>>);

impl Classes {
    /// Sorts `variants` of `object`.
    pub fn of(object: &Object, variants: &[Variant<'_>]) -> Classes {
        let callees: Vec<_> = (0..object.functions().len()).map(|f| callees(object, f)).collect();
        let own = |f| number(variants.iter().map(|v| v.patches(f)));
        let mut classes: Vec<Vec<usize>> = (0..object.functions().len()).map(own).collect();
        loop {
            let refine = |(own, callees): (&Vec<usize>, &Vec<usize>)| -> Vec<usize> {
                let key = |variant: usize| {
                    let of_callee = |c: &usize| classes.get(*c).and_then(|c| c.get(variant)).copied();
                    (own.get(variant).copied(), callees.iter().map(of_callee).collect::<Vec<_>>())
                };
                number((0..variants.len()).map(key))
            };
            let finer: Vec<Vec<usize>> = classes.iter().zip(&callees).map(refine).collect();
            if finer == classes {
                return Classes(classes);
            }
            classes = finer;
        }
    }

    /// The class of `function` under `variant`.
    pub fn class(&self, function: usize, variant: usize) -> usize {
        self.0.get(function).and_then(|f| f.get(variant)).copied().unwrap_or(0)
    }

    /// Whether `function` is the same under all variants.
    pub fn is_shared(&self, function: usize) -> bool {
        self.0.get(function).is_none_or(|f| f.iter().all(|c| *c == 0))
    }
}

/// The functions that `function` calls or takes the address of.
pub fn callees(object: &Object, function: usize) -> Vec<usize> {
    let Some(function) = object.functions().get(function) else { return Vec::new() };
    let (code, mut at, mut out) = (object.code(function), 0usize, Vec::new());
    while let Some(insn) = Insn::at(code, at, object.order()) {
        out.extend(object.callee(function, at));
        at = at.saturating_add(if insn.is_wide() { 2 * SIZE } else { SIZE });
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// Numbers equal things equally, from 0 in the order they come.
fn number<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> Vec<usize> {
    let mut seen = HashMap::new();
    keys.map(|key| {
        let next = seen.len();
        *seen.entry(key).or_insert(next)
    })
    .collect()
}
