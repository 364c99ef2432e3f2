//! NIC BTFs from files: together as a universe, and each layout as a plan of its fields.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use xhint_layout::Plan;
use xhint_universe::Universe;

use crate::files;

/// The NIC BTFs in `nics` on `base` (the running kernel's if `None`).
///
/// # Errors
/// Names the file at fault.
pub fn universe(nics: &[PathBuf], base: Option<&Path>) -> anyhow::Result<Universe> {
    let mut universe = Universe::new(files::base(base)?);
    for path in nics {
        let btf = files::nic(path, universe.base())?;
        // The universe names the file by itself.
        universe.add(&path.display().to_string(), Arc::new(btf))?;
    }
    Ok(universe)
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
