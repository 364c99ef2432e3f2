//! A base that is itself split: vmlinux, a module on it, what is split on the module.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use xhint_btf::{Btf, Builder, ByteOrder, Def, Kind, Member};
use xhint_testkit::fixture::corpus;
use xhint_universe::{Error, SourceId, TypeRef, Universe};

/// `struct NAME { POINTED *to; }` on `base`.
fn on(base: &Arc<Btf>, name: &str, pointed: u32) -> Arc<Btf> {
    let mut w = Builder::split(base);
    let pointer = w.add(&Def::Ptr(pointed)).unwrap();
    w.add(&Def::structure(name, 8, &[Member::new("to_what", pointer, 0)])).unwrap();
    Arc::new(Btf::parse_split(w.finish(), Arc::clone(base)).unwrap())
}

fn id_of(btf: &Btf, name: &str) -> u32 {
    btf.types().find(|t| t.kind() == Kind::Struct && t.name() == name).unwrap().id()
}

#[test]
fn names_are_found_in_each_link_and_nic_btfs_are_split_on_any() {
    let kernel = Arc::new(Btf::parse(corpus("vmlinux.btf")).unwrap());
    let module = Arc::new(Btf::parse_split(corpus("ice.btf"), kernel.clone()).unwrap());
    let third = on(&module, "third_link", id_of(&module, "ice_xdp_buff"));
    let mut universe = Universe::new(third.clone());
    universe.require(["sk_buff", "ice_xdp_buff", "third_link", "nowhere"]);
    for (name, link) in [("sk_buff", &kernel), ("ice_xdp_buff", &module), ("third_link", &third)] {
        let found = universe.candidates(SourceId::BASE, name);
        assert_eq!(found.iter().map(|c| c.id).collect::<Vec<_>>(), [id_of(link, name)], "{name}");
        let ty = universe.ty(TypeRef { source: SourceId::BASE, id: found[0].id }).unwrap();
        assert_eq!(ty.name(), name);
    }
    assert!(universe.candidates(SourceId::BASE, "nowhere").is_empty());
    assert_eq!(universe.sources()[0].types().count() as u32, third.end_id() - 1);

    for (name, link) in [("kernel", &kernel), ("module", &module), ("third", &third)] {
        let nic = on(link, &format!("of_{name}"), id_of(&kernel, "sk_buff"));
        let source = universe.add(name, nic).unwrap();
        assert_eq!(universe.nic_candidates(&format!("of_{name}"))[0].0, source);
        // Read again from the same bytes it is the same base.
        let again = Arc::new(Btf::parse(corpus("vmlinux.btf")).unwrap());
        universe.add(name, on(&again, "more", 0)).unwrap();
    }
    let other = Arc::new(Btf::parse_split(corpus("igc.btf"), kernel).unwrap());
    let refused = universe.add("stranger", on(&other, "stranger", 0)).unwrap_err();
    assert_eq!(refused, Error::OtherBase { file: "stranger".to_owned() });
}

#[test]
fn chains_of_modifiers_go_through_all_links() {
    let mut base: Option<Arc<Btf>> = None;
    for link in 0..12 {
        let mut w = base.as_deref().map_or_else(|| Builder::new(ByteOrder::NATIVE), Builder::split);
        let mut target = base.as_ref().map_or(0, |b| b.end_id() - 1);
        if link == 0 {
            target = w.add(&Def::unsigned("leaf", 4)).unwrap();
        }
        for _ in 0..30 {
            target = w.add(&Def::Const(target)).unwrap();
        }
        let bytes = w.finish();
        let btf = match base {
            Some(base) => Btf::parse_split(bytes, base),
            None => Btf::parse(bytes),
        };
        base = Some(Arc::new(btf.unwrap()));
    }
    let last = base.unwrap();
    assert_eq!(last.skip_mods(last.end_id() - 1).name(), "leaf");
    assert_eq!(last.type_size(last.end_id() - 1), Some(4));
}
