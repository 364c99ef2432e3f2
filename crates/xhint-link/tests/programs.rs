//! Programs that hold more than reads of metadata, linked in every way and run.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use own::{compiled, nics, universe};
use xhint_btf::{Btf, Kind};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, may_load};

fn loaded(source: &str, options: &LinkOptions) -> Loaded {
    let object = Object::parse(compiled(source)).unwrap();
    let linked = object.link(&universe(&[("nics.c", nics())]), options).unwrap();
    let what = format!("{source} {:?}", options.dispatch);
    Loaded::load(&fixture::keep("programs", "o", &linked.bytes), None).unwrap_or_else(|e| panic!("{what}: {e}"))
}

fn kernel_has(function: &str) -> bool {
    let kernel = Btf::parse(std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap();
    kernel.types().any(|ty| ty.kind() == Kind::Func && ty.name() == function)
}

fn words<const N: usize>(loaded: &Loaded) -> [u64; N] {
    let bytes = loaded.global(".bss");
    std::array::from_fn(|n| u64::from_ne_bytes(bytes[n * 8..n * 8 + 8].try_into().unwrap()))
}

fn first_of_16(mark: u8) -> [u8; 16] {
    [0, 0, 0, 0, mark, 0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0, 0]
}

fn second_of_16(mark: u8) -> [u8; 16] {
    [0, 0, 0, 0, 9, 0, 0, 0, mark, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff]
}

#[test]
fn everything_else_in_an_object_survives() {
    if !may_load() {
        return;
    }
    if !kernel_has("bpf_rcu_read_lock") {
        return xhint_testkit::privilege::skipped("this kernel has no bpf_rcu_read_lock, which the program calls");
    }
    let layouts = vec!["first_of_16".to_owned(), "second_of_16".to_owned()];
    for dispatch in [Dispatch::Static, Dispatch::Tail] {
        let options = LinkOptions { dispatch, layouts: Some(layouts.clone()), ..LinkOptions::default() };
        let loaded = loaded("everything.bpf.c", &options);
        let mut runs = 0;
        // Three rounds of size 4 and the mark's offset, and 0 + 1 + 2.
        for (metadata, mark, sum) in [(first_of_16(7), 7, 3 * 8 + 3), (second_of_16(8), 8, 3 * 12 + 3)] {
            runs += 1;
            let outcome = loaded.run("everything", &metadata, &[0; 64]).unwrap();
            assert_eq!(outcome.returned, 3, "{dispatch:?}: the program's own tail call leads to XDP_TX");
            let [own, of_rounds, version, of_inner, of_last] = words(&loaded);
            assert_eq!((own, of_rounds, of_inner, of_last), (mark, sum, runs, runs), "{dispatch:?}");
            assert_ne!(version, 0);
        }
        assert_eq!(loaded.run("everything", &[0; 16], &[0; 64]).unwrap().returned, 2, "{dispatch:?}: fallback");
    }
}

#[test]
fn a_program_that_switches_by_itself_needs_no_dispatch() {
    if !may_load() {
        return;
    }
    let object = Object::parse(compiled("switches.bpf.c")).unwrap();
    let linked = object.link(&universe(&[("nics.c", nics())]), &LinkOptions::default()).unwrap();
    assert_eq!(linked.report.dispatch.kind, Some(Dispatch::None));
    check_switches(&loaded("switches.bpf.c", &LinkOptions::default()));
}

#[test]
fn a_program_that_switches_by_itself_can_be_dispatched_as_well() {
    if !may_load() {
        return;
    }
    for dispatch in [Dispatch::Static, Dispatch::Tail] {
        check_switches(&loaded("switches.bpf.c", &LinkOptions { dispatch, ..LinkOptions::default() }));
    }
}

fn check_switches(loaded: &Loaded) {
    let mut first = first_of_16(0);
    first[0] = 42;
    for (metadata, expected) in [(first, [1, 42]), (second_of_16(0), [2, 9]), ([0; 16], [0, 0])] {
        assert_eq!(loaded.run("switches", &metadata, &[0; 64]).unwrap().returned, 2);
        assert_eq!(words::<2>(loaded), expected);
    }
}
