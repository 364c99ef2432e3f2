//! NIC BTFs from files: together as a universe, and each layout as a plan of its fields.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use xhint_layout::{Plan, Tags};
use xhint_universe::{Layout, SourceId, Universe};

use crate::{files, print};

/// The NIC BTFs in `nics` on `base`, each of which is split on the one before (the running kernel's if there is none). A
/// host whose kernel has no BTF does without, as far as nobody asks for one of its types.
///
/// # Errors
/// Names the file at fault.
pub fn universe(nics: &[PathBuf], base: &[PathBuf]) -> anyhow::Result<Universe> {
    let mut universe = match files::base(base) {
        Ok(base) => Universe::new(base),
        Err(why) if base.is_empty() => Universe::without_base(&format!("{why:#}"))?,
        Err(why) => return Err(why),
    };
    for path in nics {
        let btf = match universe.absent_base() {
            None => files::nic(path, universe.base())?,
            Some(_) => files::btf(path, None)?,
        };
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
    let tags = tags(universe);
    let plan = |layout: &Layout| {
        let source = universe.source(layout.source).context("a layout without its BTF")?;
        let tags = tags.get(&layout.source).context("a layout without its BTF")?;
        let plan = Plan::tagged(source.btf(), tags, layout.type_id, &layout.name, layout.id);
        plan.with_context(|| source.name().to_owned())
    };
    universe.layouts().iter().map(plan).collect()
}

/// The tags of each BTF that has layouts, gathered once for all of them.
pub fn tags(universe: &Universe) -> HashMap<SourceId, Tags<'_>> {
    let mut all = HashMap::new();
    for id in universe.layouts().iter().map(|l| l.source) {
        if let Some(source) = universe.source(id) {
            all.entry(id).or_insert_with(|| Tags::of(source.btf()));
        }
    }
    all
}
