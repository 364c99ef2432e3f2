//! Structs that are layouts because somebody names them.

use xhint_btf::{Kind, essential};
use xhint_universe::{LayoutRef, Universe};

use crate::state::LinkedAs;

/// Those of `texts` that call a layout by a name, not by its id.
pub(crate) fn names(texts: &[String]) -> impl Iterator<Item = &String> {
    texts.iter().filter(|text| LayoutRef::read(text).name().is_some())
}

/// With the structs that `options` have named as layouts, where there are such.
pub(crate) fn with_named(mut universe: Universe, options: &LinkedAs) -> Universe {
    for name in options.named.iter().chain(options.bind.iter().map(|(_, target)| target)) {
        let _elsewhere = universe.add_layout(name);
    }
    universe
}

/// Makes layouts of the structs that `layouts` and the targets of `bind` name, tagged or not. Ids are left alone: they
/// are not known before there is a layout.
///
/// # Errors
/// For a name that is nowhere: what it is not in, and the layouts there are.
pub fn declare(
    universe: &mut Universe,
    layouts: &[String],
    bind: &[(String, String)],
) -> std::result::Result<(), xhint_universe::Error> {
    for name in names(layouts) {
        universe.add_layout(name)?;
    }
    for (_, target) in bind {
        let is_layout = universe.layouts().iter().any(|l| l.name == *target || l.answers(essential(target)));
        // With no NIC BTF yet, the one that has it may be still to come.
        let of_base = || universe.sources().first().is_some_and(|base| base.types().any(|t| t.name() == target));
        let elsewhere = || universe.sources().len() == 1 || of_base();
        if !is_layout && (is_struct_of_a_nic(universe, target) || !elsewhere()) {
            universe.add_layout(target)?;
        }
    }
    Ok(())
}

/// Whether a NIC BTF has such a struct or typedef, so that binding a name to it makes it a layout.
fn is_struct_of_a_nic(universe: &Universe, name: &str) -> bool {
    let fits = |t: xhint_btf::Type<'_>| matches!(t.kind(), Kind::Struct | Kind::Typedef) && t.name() == name;
    universe.sources().iter().skip(1).any(|s| s.types().any(fits))
}
