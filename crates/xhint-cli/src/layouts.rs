//! NIC BTFs from files: together as a universe, and each layout as a plan of its fields.

use std::path::PathBuf;

use anyhow::anyhow;
use xhint::layout::{Plan, layouts};
use xhint::universe::Universe;

use crate::{files, flags, print};

/// The NIC BTFs in `nics` on `base`, each of which is split on the one before (the running kernel's if there is none).
///
/// # Errors
/// Names the file at fault.
pub fn universe(nics: &[PathBuf], base: &[PathBuf]) -> anyhow::Result<Universe> {
    files::linker(base)?.universe(nics).map_err(|error| flags::Of::Link.runtime(error))
}

/// Warns of NIC BTFs whose distilled base is not quite the base.
pub fn tell_differing(universe: &Universe) {
    universe.sources().iter().filter_map(xhint::universe::Source::differs).for_each(|text| print::warning(&text));
}

/// Where the fields of each layout of `universe` stand.
///
/// # Errors
/// Names the layout and the field that cannot be told.
pub fn plans(universe: &Universe) -> anyhow::Result<Vec<Plan>> {
    let all = layouts(universe)?;
    all.iter().map(|layout| layout.plan().cloned().map_err(|why| anyhow!("{}: {why}", layout.file))).collect()
}
