//! Worlds of the testkit as universes, and objects linked in them.

// Each test uses some of it.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use xhint_btf::Btf;
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::matrix::World;
use xhint_universe::Universe;

/// The world's BTFs as a universe. With `layouts`, the NICs' structs that the programs know as `nic_meta` are layouts.
pub fn universe(world: &World, layouts: bool) -> Result<Universe, String> {
    let base = Arc::new(Btf::parse(world.base.clone()).map_err(words)?);
    let mut universe = Universe::new(Arc::clone(&base));
    for (name, bytes) in &world.splits {
        let split = Btf::parse_split(bytes.clone(), Arc::clone(&base)).map_err(words)?;
        universe.add(name, Arc::new(split)).map_err(words)?;
    }
    for (name, bytes) in &world.nics {
        let nic = Btf::parse(bytes.clone()).map_err(words)?;
        universe.add(name, Arc::new(nic)).map_err(words)?;
        if layouts && let Some(layout) = layout_of(name) {
            universe.add_layout(layout).map_err(words)?;
        }
    }
    Ok(universe)
}

/// The one live layout of a fixture NIC. `two.c` has two, on which libbpf and a bound layout rightly differ.
pub fn layout_of(nic: &str) -> Option<&'static str> {
    match nic {
        "flavoured.c" => Some("nic_meta___fw7"),
        "enums.c" | "matches.c" | "two.c" => None,
        _ => Some("nic_meta"),
    }
}

/// As libbpf links: what is missing stays poisoned.
pub fn link(object: &Path, universe: &Universe) -> Result<Vec<u8>, String> {
    let options = LinkOptions { dispatch: Dispatch::None, allow_missing: true, ..LinkOptions::default() };
    let object = Object::parse(std::fs::read(object).map_err(words)?).map_err(words)?;
    Ok(object.link(universe, &options).map_err(words)?.bytes)
}

pub fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
