//! Linked objects, run by the kernel: they read what was worked out by hand, and are what libbpf makes of the same.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use xhint_btf::Btf;
use xhint_object::{Dispatch, LinkOptions, Object};
use xhint_testkit::cases::CASES;
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, privileged};
use xhint_universe::Universe;

fn universe(nic: &str) -> Universe {
    let base = Arc::new(Btf::parse(fixture::corpus("vmlinux.btf")).unwrap());
    let mut universe = Universe::new(base);
    universe.add(nic, Arc::new(Btf::parse(fixture::nic(nic)).unwrap())).unwrap();
    universe
}

#[test]
fn linked_programs_read_what_was_worked_out_by_hand() {
    if !privileged() {
        return;
    }
    for case in CASES {
        let universe = universe(case.nic);
        for variant in fixture::variants().into_iter().filter(|v| v.compiles_all_of(case.source)) {
            let bytes = Bytes::from(std::fs::read(fixture::program(case.source).variant(variant).object()).unwrap());
            let options = LinkOptions { dispatch: Dispatch::None, allow_missing: true, ..LinkOptions::default() };
            let linked = Object::parse(bytes).unwrap().link(&universe, &options);
            let linked = linked.unwrap_or_else(|error| panic!("{variant:?} {case:?}: {error}"));
            let path = fixture::keep("linked", "o", &linked.bytes);
            let loaded = Loaded::load_one(&path, None, case.program);
            let loaded = loaded.unwrap_or_else(|error| panic!("{variant:?} {case:?}: {error}"));
            assert_eq!(loaded.read(case), case.out, "{variant:?} {case:?}");
        }
    }
}
