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
    for name in &options.named {
        let _elsewhere = universe.add_layout(name);
    }
    for (_, target) in &options.bind {
        let _elsewhere = declare_target(&mut universe, target);
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
    bind.iter().try_for_each(|(_, target)| declare_target(universe, target))
}

/// Makes a layout of what a name is bound to, unless layouts answer to that already, or it is to be found elsewhere.
fn declare_target(universe: &mut Universe, target: &str) -> std::result::Result<(), xhint_universe::Error> {
    // Of a layout that has the very name, the universe decides whether it speaks for other files.
    let is_name = universe.layouts().iter().any(|l| l.name != target && l.answers(essential(target)));
    // With no NIC BTF yet, the one that has it may be still to come.
    let of_base = || universe.sources().first().is_some_and(|base| base.types().any(|t| t.name() == target));
    let elsewhere = || universe.sources().len() == 1 || of_base();
    if !is_name && (is_struct_of_a_nic(universe, target) || !elsewhere()) {
        universe.add_layout(target)?;
    }
    Ok(())
}

/// Whether a NIC BTF has such a struct or typedef, so that binding a name to it makes it a layout.
fn is_struct_of_a_nic(universe: &Universe, name: &str) -> bool {
    let fits = |t: xhint_btf::Type<'_>| matches!(t.kind(), Kind::Struct | Kind::Typedef) && t.name() == name;
    universe.sources().iter().skip(1).any(|s| s.types().any(fits))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use xhint_btf::{Btf, Builder, ByteOrder, Def, Member};

    use super::*;

    /// A NIC BTF with `struct NAME { u32 btf_id; }` for each, a layout if it has tags.
    fn nic(structs: &[(&str, &[&str])]) -> Arc<Btf> {
        let mut w = Builder::new(ByteOrder::NATIVE);
        let u32 = w.add(&Def::unsigned("u32", 4)).unwrap();
        for (name, tags) in structs {
            let ty = w.add(&Def::structure(name, 4, &[Member::new("btf_id", u32, 0)])).unwrap();
            tags.iter().for_each(|tag| _ = w.add(&Def::tag(tag, ty)).unwrap());
        }
        Arc::new(Btf::parse(w.finish()).unwrap())
    }

    /// What a name is bound to is the same layouts for a file and for a device, and so for a linker that knows of some files
    /// only what was written down.
    #[test]
    fn what_is_bound_to_is_a_layout_by_one_rule() {
        let mut universe = Universe::new(nic(&[("task_struct", &[])]));
        universe
            .add("one", nic(&[("tagged", &["xhint:layout", "xhint:as=meta"]), ("meta", &[]), ("plain", &[])]))
            .unwrap();
        let called = |universe: &Universe| universe.layouts().iter().map(|l| l.name.clone()).collect::<Vec<_>>();
        for (target, layouts) in [
            ("tagged", vec!["tagged"]),
            ("meta", vec!["tagged"]),
            ("plain", vec!["tagged", "plain"]),
            ("task_struct", vec!["tagged"]),
        ] {
            let bind = vec![("nic_meta".to_owned(), target.to_owned())];
            let mut for_file = universe.clone();
            declare(&mut for_file, &[], &bind).unwrap();
            let for_device = with_named(universe.clone(), &LinkedAs { bind: bind.clone(), ..LinkedAs::default() });
            assert_eq!(
                (called(&for_file), called(&for_device)),
                (layouts.iter().map(|l| (*l).to_owned()).collect(), called(&for_file)),
                "{target}"
            );
            // Beside a file that is not at hand, and has the struct, too.
            let mut beside = Universe::new(Arc::clone(universe.base()));
            beside.add_known("one", for_device.known(xhint_universe::SourceId::nic(0)));
            beside.add("two", nic(&[("plain", &[])])).unwrap();
            let beside = with_named(beside, &LinkedAs { bind, ..LinkedAs::default() });
            let at_hand = beside.layouts().iter().filter(|l| l.is_at_hand()).count();
            assert_eq!(at_hand, usize::from(target == "plain"), "{target}");
        }
    }
}
