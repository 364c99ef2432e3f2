//! NIC BTFs from files: together as a universe, and each layout as a plan of its fields.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use xhint_layout::Plan;
use xhint_universe::Universe;

use crate::{files, print};

/// The NIC BTFs in `nics` on `base`, each of which is split on the one before (the running kernel's if there is none).
///
/// # Errors
/// Names the file at fault.
pub fn universe(nics: &[PathBuf], base: &[PathBuf]) -> anyhow::Result<Universe> {
    let mut universe = Universe::new(files::base(base)?);
    for path in nics {
        let btf = files::nic(path, universe.base())?;
        // The universe names the file by itself.
        universe.add(&path.display().to_string(), Arc::new(btf))?;
    }
    Ok(universe)
}

/// Warns of NIC BTFs whose distilled base is not quite the base.
pub fn tell_differing(universe: &Universe) {
    universe.sources().iter().filter_map(xhint_universe::Source::differs).for_each(|text| print::warning(&text));
}

/// Where the fields of each layout of `universe` stand.
///
/// # Errors
/// Names the layout and the field that cannot be told.
pub fn plans(universe: &Universe) -> anyhow::Result<Vec<Plan>> {
    let plan = |layout: &xhint_universe::Layout| {
        let source = universe.source(layout.source).context("a layout without its BTF")?;
        Plan::of(source.btf(), layout.type_id, &layout.name, layout.id).with_context(|| source.name().to_owned())
    };
    universe.layouts().iter().map(plan).collect()
}
