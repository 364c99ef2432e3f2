//! The oracle itself: what libbpf makes of the fixtures, and what the kernel then reads.

#![allow(missing_docs)]

use xhint_testkit::cases::CASES;
use xhint_testkit::flat::{Nic, merge};
use xhint_testkit::oracle::relocate;
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, privileged};

#[test]
fn the_kernel_reads_what_was_worked_out_by_hand() {
    if !privileged() {
        return;
    }
    let base = fixture::corpus("vmlinux.btf");
    for case in CASES {
        let flat = merge(&base, &[Nic::Standalone(&fixture::nic(case.nic))]);
        let flat = fixture::keep("oracle", "btf", &flat);
        for variant in fixture::variants() {
            if !variant.compiles_all_of(case.source) {
                continue;
            }
            let object = fixture::program(case.source).variant(variant).object();
            let loaded = Loaded::load_one(&object, Some(&flat), case.program);
            let loaded = loaded.unwrap_or_else(|error| panic!("{variant:?} {case:?}: {error}"));
            assert_eq!(loaded.read(case), case.out, "{variant:?} {case:?}");
        }
    }
}

#[test]
fn libbpf_shows_what_it_relocated() {
    if !privileged() {
        return;
    }
    let object = fixture::program("fields.bpf.c").object();
    let nic = fixture::nic("mlx_rx.c");
    let flat = merge(&fixture::corpus("vmlinux.btf"), &[Nic::Standalone(&nic)]);
    let flat = fixture::keep("oracle", "btf", &flat);
    let relocated = relocate(&object, Some(&flat)).unwrap();
    assert_eq!(relocated.maps, [".bss"]);
    let names: Vec<_> = relocated.programs.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["read_fields", "describe_fields", "write_fields"]);
    assert!(relocated.log.contains("CO-RE"), "{}", relocated.log);
}

#[test]
fn libbpf_says_why_it_refuses() {
    if !privileged() {
        return;
    }
    let object = fixture::keep("not-elf", "o", b"not an object");
    let error = relocate(&object, None).unwrap_err();
    assert!(error.contains("ELF"), "{error}");
}
