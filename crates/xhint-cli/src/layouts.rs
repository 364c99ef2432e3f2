//! NIC BTFs from files: together as a universe, and each layout as a plan of its fields.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use xhint::btf::ByteOrder;
use xhint::layout::{Plan, layouts};
use xhint::read;
use xhint::universe::Universe;

use crate::{files, print};

/// Why there is no base where nobody has named one.
const OTHER_ORDER: &str = "the running kernel's BTF has the other byte order; give one with --base";

/// The NIC BTFs in `nics` on `base`, each of which is split on the one before (the running kernel's if there is none). A
/// host whose kernel has no BTF does without, as far as nobody asks for one of its types; so do NIC BTFs that stand alone
/// and are of the other byte order than that kernel.
///
/// # Errors
/// Names the file at fault.
pub fn universe(nics: &[PathBuf], base: &[PathBuf]) -> anyhow::Result<Universe> {
    let mut universe = match files::base(base) {
        Ok(base) => Universe::new(base),
        Err(why) if base.is_empty() => Universe::without_base(&format!("{why:#}"), ByteOrder::NATIVE)?,
        Err(why) => return Err(why),
    };
    for path in nics {
        let btf = match universe.absent_base() {
            None => read::nic(path, universe.base())?,
            Some(_) => files::btf(path, None)?,
        };
        if base.is_empty() && universe.sources().len() == 1 && btf.order() != universe.base().order() {
            universe = Universe::without_base(OTHER_ORDER, btf.order())?;
        }
        // The universe names the file by itself.
        universe.add(&path.display().to_string(), Arc::new(btf))?;
    }
    Ok(universe)
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
