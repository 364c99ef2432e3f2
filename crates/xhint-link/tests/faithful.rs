//! What linking must not touch, and what it must take out.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use std::collections::BTreeMap;
use std::sync::Arc;

use own::universe;
use xhint_btf::ByteOrder;
use xhint_btf::ext::BtfExt;
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::fixture::{self, section};
use xhint_testkit::oracle::relocate;
use xhint_testkit::{may_load, skipped};
use xhint_universe::Universe;

/// Every program of the testkit with every NIC that it can be linked for, little- and big-endian.
fn linked_pairs() -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let options = LinkOptions { dispatch: Dispatch::None, allow_missing: true, ..LinkOptions::default() };
    let mut out = Vec::new();
    for source in fixture::names("programs", ".bpf.c") {
        let bytes = std::fs::read(fixture::program(&source).object()).unwrap();
        let object = Object::parse(bytes.clone()).unwrap();
        for nic in fixture::names("nics", ".c") {
            let mut universe = universe(&[(&nic, fixture::nic(&nic).into())]);
            if universe.layouts().is_empty() && universe.add_layout("nic_meta").is_err() {
                continue;
            }
            if let Ok(linked) = object.link(&universe, &options) {
                out.push((format!("{source} for {nic}"), bytes.clone(), linked.bytes));
            }
        }
    }
    assert!(out.len() > 50, "only {} pairs link", out.len());
    out
}

#[test]
fn types_and_lines_stay_and_relocations_go() {
    for (what, before, after) in linked_pairs() {
        assert_eq!(section(&before, ".BTF"), section(&after, ".BTF"), "{what}");
        let ext = |bytes: &[u8]| BtfExt::parse(section(bytes, ".BTF.ext").unwrap()).unwrap();
        let (before_ext, after_ext) = (ext(&before), ext(&after));
        assert_eq!(before_ext.funcs, after_ext.funcs, "{what}");
        assert_eq!(before_ext.lines, after_ext.lines, "{what}");
        assert!(after_ext.relos.is_empty(), "{what}");
        let (old, new) = (Object::parse(before).unwrap(), Object::parse(after).unwrap());
        assert_eq!(old.functions().len(), new.functions().len(), "{what}");
        let name =
            |o: &Object| o.functions().iter().map(|f| (f.name.clone(), f.section_name.clone())).collect::<Vec<_>>();
        assert_eq!(name(&old), name(&new), "{what}");
    }
}

#[test]
fn linking_what_is_linked_changes_nothing() {
    let universe = universe(&[]);
    for (what, _, after) in linked_pairs() {
        let again = Object::parse(after.clone()).unwrap().link(&universe, &LinkOptions::default()).unwrap();
        assert_eq!(again.bytes, after, "{what}");
    }
}

#[test]
fn libbpf_finds_the_maps_and_programs_it_found_before() {
    if !may_load() {
        return;
    }
    let (mut seen, mut compared) = (BTreeMap::new(), 0);
    for (what, before, after) in linked_pairs() {
        let names = |bytes: &[u8]| {
            let relocated =
                relocate(&fixture::keep("faithful", "o", bytes), Some(&fixture::corpus_path("vmlinux.btf")));
            relocated.map(|r| (r.maps, r.programs.into_iter().map(|p| (p.name, p.section)).collect::<Vec<_>>()))
        };
        let old = seen.entry(before.clone()).or_insert_with(|| names(&before)).clone();
        let new = match names(&after) {
            // Linking resolves fields, not the functions that a program asks its kernel for.
            Err(error) if error.contains("(func ksym)") && error.contains("not found in kernel") => {
                skipped(&format!("{what}: this kernel lacks a function that it calls"));
                continue;
            }
            new => new.unwrap_or_else(|e| panic!("{what}: {e}")),
        };
        // What libbpf itself cannot resolve against the kernel alone it cannot be compared with.
        if let Ok(old) = old {
            assert_eq!(old, new, "{what}");
            compared += 1;
        }
    }
    assert!(compared > 10, "only {compared} pairs compared");
}

#[test]
fn a_big_endian_object_needs_a_big_endian_universe() {
    let bytes = std::fs::read(fixture::program("fields.bpf.c").big_endian().object()).unwrap();
    let object = Object::parse(bytes).unwrap();
    assert_eq!(object.order(), ByteOrder::Big);
    let error = object.link(&universe(&[]), &LinkOptions::default()).unwrap_err().to_string();
    assert!(error.contains("byte order"), "{error}");
}

#[test]
fn big_endian_objects_are_linked_alike() {
    let reports = [false, true].map(|big| {
        let bytes = |name| own::compiled_for(name, big);
        let btf = |name| Arc::new(xhint_object::btf_of(bytes(name), None).unwrap());
        let mut universe = Universe::new(btf("dispatch.bpf.c"));
        universe.add("nics.c", btf("nics.c")).unwrap();
        let object = Object::parse(bytes("reader.bpf.c")).unwrap();
        let mut ways = Vec::new();
        for dispatch in [Dispatch::Static, Dispatch::Tail] {
            let options = LinkOptions { dispatch, explain: true, ..LinkOptions::default() };
            let linked = object.link(&universe, &options).unwrap();
            let again = Object::parse(linked.bytes.clone()).unwrap();
            assert_eq!(again.order(), object.order());
            let names = again.functions().iter().map(|f| f.name.clone()).collect::<Vec<_>>();
            ways.push((names, linked.report.relocations));
        }
        ways
    });
    assert_eq!(reports[0], reports[1]);
}
