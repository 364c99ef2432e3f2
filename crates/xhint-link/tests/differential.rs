//! Linked objects beside libbpf's own CO-RE: the same programs, maps, instructions, func and line info.

#![allow(missing_docs, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use common::{layout_of, link, universe};
use xhint_testkit::cases::CASES;
use xhint_testkit::flat::{Nic, merge};
use xhint_testkit::matrix::{self, WORLDS, World, subjects};
use xhint_testkit::run::Loaded;
use xhint_testkit::{damage, fixture, may_load};

#[test]
fn linked_objects_hold_the_instructions_that_libbpf_makes() {
    if !may_load() {
        return;
    }
    let worlds: Vec<_> = WORLDS.iter().collect();
    let all = fixture::variants();
    let ends = [all[0], all[all.len() - 1]];
    matrix::compare(&worlds, &subjects(&ends), |world, object| link(object, &universe(world, false)?));
}

#[test]
fn linked_for_a_layout_too() {
    if !may_load() {
        return;
    }
    let has_layout = |world: &&World| world.nics.len() == 1 && layout_of(&world.nics[0].0).is_some();
    let worlds: Vec<_> = WORLDS.iter().filter(has_layout).collect();
    matrix::compare(&worlds, &subjects(&fixture::variants()), |world, object| link(object, &universe(world, true)?));
}

#[test]
fn linked_for_big_endian_machines_too() {
    if !may_load() {
        return;
    }
    let nics = ["plain.c", "mlx_rx.c", "nested.c", "short.c", "kinds.c", "enums.c", "matches.c", "wide.c"];
    let worlds = nics.map(World::big_endian);
    let worlds: Vec<_> = worlds.iter().collect();
    matrix::compare(&worlds, &matrix::big_endian_subjects(), |world, object| link(object, &universe(world, false)?));
}

/// The linked object alone, without any BTF but the kernel's, reads the values worked out by hand.
#[test]
fn the_kernel_runs_linked_objects_to_the_values_worked_out_by_hand() {
    if !may_load() {
        return;
    }
    let base = fixture::corpus("vmlinux.btf");
    for case in CASES {
        let nic = fixture::nic(case.nic);
        let flat = fixture::keep("case", "btf", &merge(&base, &[Nic::Standalone(&nic)]));
        let nics = vec![(case.nic.to_owned(), nic)];
        let world = World { name: case.nic.to_owned(), base: base.clone(), splits: Vec::new(), nics, flat };
        for variant in fixture::variants() {
            if !variant.compiles_all_of(case.source) {
                continue;
            }
            let object = fixture::program(case.source).variant(variant).object();
            // With the NIC's struct as a layout, and as a type like any other.
            for layouts in [true, false] {
                let linked = link(&object, &universe(&world, layouts).unwrap()).unwrap();
                let linked = fixture::keep("case", "o", &linked);
                let loaded = Loaded::load_one(&linked, None, case.program);
                let loaded = loaded.unwrap_or_else(|error| panic!("{variant:?} {case:?}: {error}"));
                assert_eq!(loaded.read(case), case.out, "{variant:?} {case:?}");
            }
        }
    }
}

/// Symbols, sections and licence stay; nothing of CO-RE does.
#[test]
fn a_linked_object_keeps_its_sections_and_has_no_core_relocation_left() {
    let world = &WORLDS[1];
    for subject in subjects(&fixture::variants()) {
        let original = std::fs::read(&subject.object).unwrap();
        let linked = link(&subject.object, &universe(world, true).unwrap()).unwrap();
        let names = |bytes: &[u8]| -> Vec<String> {
            let sections = damage::Elf::read(bytes).unwrap().sections().into_iter().map(|s| s.name);
            // Relocations of `.BTF.ext` say again what its records say, and no loader reads them; DWARF is no matter.
            let gone = |name: &String| name.contains("debug") || name.contains("llvm") || name == ".rel.BTF.ext";
            let mut kept: Vec<_> = sections.filter(|name| !gone(name)).collect();
            kept.sort();
            kept
        };
        let (before, mut after) = (names(&original), names(&linked));
        after.retain(|name| before.contains(name));
        assert_eq!(before, after, "{}", subject.name);

        let ext = fixture::section(&linked, ".BTF.ext").unwrap();
        let ext = xhint_btf::ext::BtfExt::parse(ext).unwrap();
        assert!(ext.relos.is_empty(), "{}: {:?}", subject.name, ext.relos);
        assert!(!ext.funcs.is_empty() && !ext.lines.is_empty(), "{}", subject.name);
    }
}
