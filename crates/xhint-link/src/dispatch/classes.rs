//! Which copies of a function are one and the same.
//!
//! Two variants share a function if its instructions are equal under both and so are those of all it calls. This is
//! partition refinement: begin with equal code, split by the classes of callees until nothing splits.

use std::collections::HashMap;

use xhint_bpf::{Arena, FunctionId, Named};

use crate::Object;
use crate::variant::{VariantId, Variants};

/// For each function, the class of each variant; equal numbers mean equal code. Numbers count from 0 in the order of
/// variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes(Arena<FunctionId, Arena<VariantId, usize>>);

impl Classes {
    /// Sorts `variants` of `object`.
    pub fn of(object: &Object, variants: &Variants<'_>) -> Classes {
        let callees: Vec<_> = object.functions().ids().map(|f| callees(object, f)).collect();
        let own = |f| number(variants.iter().map(|v| v.patches(f)));
        let mut classes: Arena<FunctionId, Arena<VariantId, usize>> = object.functions().ids().map(own).collect();
        loop {
            let refine = |(own, callees): (&Arena<VariantId, usize>, &Vec<FunctionId>)| {
                let key = |variant: VariantId| {
                    let of_callee = |c: &FunctionId| *classes.at(*c).at(variant);
                    (*own.at(variant), callees.iter().map(of_callee).collect::<Vec<_>>())
                };
                number(variants.ids().map(key))
            };
            let finer: Arena<FunctionId, Arena<VariantId, usize>> = classes.iter().zip(&callees).map(refine).collect();
            if finer == classes {
                return Classes(classes);
            }
            classes = finer;
        }
    }

    /// The class of `function` under `variant`.
    pub fn class(&self, function: FunctionId, variant: VariantId) -> usize {
        *self.0.at(function).at(variant)
    }

    /// Whether `function` is the same under all variants.
    pub fn is_shared(&self, function: FunctionId) -> bool {
        self.0.at(function).iter().all(|c| *c == 0)
    }
}

/// The functions that `function` calls or takes the address of.
pub fn callees(object: &Object, function: FunctionId) -> Vec<FunctionId> {
    let named = |i: &xhint_bpf::Instruction| if let Named::Function(callee) = i.named { Some(callee) } else { None };
    let mut out: Vec<_> = object.functions().at(function).code.iter().filter_map(named).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Numbers equal things equally, from 0 in the order they come.
fn number<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> Arena<VariantId, usize> {
    let mut seen = HashMap::new();
    keys.map(|key| {
        let next = seen.len();
        *seen.entry(key).or_insert(next)
    })
    .collect()
}
