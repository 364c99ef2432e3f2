//! Every relocation of every fixture, resolved and patched, beside libbpf's.
//!
//! The instructions are changed in place in the object's own bytes, so that nothing but this crate and the BTF reader
//! is under test here; the linker has a test of its own.

#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "common/elf.rs"]
mod elf;

use std::sync::Arc;

use elf::link;
use xhint_btf::Btf;
use xhint_relo::Binding;
use xhint_testkit::matrix::{self, WORLDS, World, subjects};
use xhint_testkit::{fixture, may_load};
use xhint_universe::Universe;

#[test]
fn instructions_are_those_of_libbpf() {
    if !may_load() {
        return;
    }
    let worlds: Vec<_> = WORLDS.iter().collect();
    let all = fixture::variants();
    let ends = [all[0], all[all.len() - 1]];
    matrix::compare(&worlds, &subjects(&ends), |world, object| {
        link(object, &universe(world, None)?, Binding::default())
    });
}

/// The variants between, in the one world that has something for every program.
#[test]
fn instructions_are_those_of_libbpf_for_every_compiler() {
    if !may_load() {
        return;
    }
    let worlds: Vec<_> = WORLDS.iter().filter(|world| world.splits.len() > 1).collect();
    matrix::compare(&worlds, &subjects(&fixture::variants()), |world, object| {
        link(object, &universe(world, None)?, Binding::default())
    });
}

/// A NIC's struct as a layout that is bound by name: the same, but that it has an id of its own.
#[test]
fn a_bound_layout_changes_no_instruction() {
    if !may_load() {
        return;
    }
    let has_layout = |world: &&World| world.nics.len() == 1 && layout_of(world).is_some();
    let worlds: Vec<_> = WORLDS.iter().filter(has_layout).collect();
    assert!(worlds.len() > 5);
    let newest = *fixture::variants().last().unwrap();
    matrix::compare(&worlds, &subjects(&[newest]), |world, object| {
        let binding = Binding { layout: Some(0), ..Binding::default() };
        link(object, &universe(world, layout_of(world))?, binding)
    });
}

/// The name of the one live layout of a world's NIC. `two.c` has two, on which libbpf and a bound layout rightly differ.
fn layout_of(world: &World) -> Option<&'static str> {
    match world.nics[0].0.as_str() {
        "flavoured.c" => Some("nic_meta___fw7"),
        "enums.c" | "matches.c" | "two.c" => None,
        _ => Some("nic_meta"),
    }
}

fn universe(world: &World, layout: Option<&str>) -> Result<Universe, String> {
    let base = Arc::new(Btf::parse(world.base.clone()).map_err(|e| e.to_string())?);
    let mut universe = Universe::new(Arc::clone(&base));
    for (name, bytes) in &world.splits {
        let split = Btf::parse_split(bytes.clone(), Arc::clone(&base)).map_err(|e| e.to_string())?;
        universe.add(name, Arc::new(split)).map_err(|e| e.to_string())?;
    }
    for (name, bytes) in &world.nics {
        let nic = Btf::parse(bytes.clone()).map_err(|e| e.to_string())?;
        universe.add(name, Arc::new(nic)).map_err(|e| e.to_string())?;
    }
    if let Some(layout) = layout {
        universe.add_layout(layout).map_err(|e| e.to_string())?;
    }
    Ok(universe)
}
