//! Layouts that lack what the program reads: every dispatch looks for them, so that none of their packets is read as
//! another layout's, and counts them under their own names.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use libbpf_rs::{MapCore, MapFlags, ObjectBuilder, ProgramInput};
use own::{compiled, nic_of, universe};
use xhint_link::counts::{COUNTS, UNKNOWN_ID};
use xhint_link::{Dispatch, Fallback, Link, LinkOptions, Linked, Object};
use xhint_testkit::{fixture, may_load};

const PASS: u32 = 2;
const DROP: u32 = 1;

/// No `value`, which reader.bpf.c reads.
const LACKS: &str =
    "struct lacks { __u16 kind tag(\"xhint:selector\"); __u16 pad; __u32 other; __u64 more; } LAYOUT(0x66);
                     struct lacks *n;";
const BACK: &str = "struct back { __u64 more; __u32 value; __u32 btf_id; } LAYOUT(0x1001); struct back *b;";
/// The same length and place.
const ALSO: &str = "struct also { __u32 value; __u32 more[2]; __u32 btf_id; } LAYOUT(0x1002); struct also *a;";
/// Lacks it too, at the place of `back` and `also`.
const THIRD: &str = "struct third { __u64 more; __u32 other; __u32 btf_id; } LAYOUT(0x1003); struct third *t;";
/// And one of another length.
const FLAT: &str = "struct flat { __u32 other; __u32 btf_id; } LAYOUT(9); struct flat *l;";

fn link(nics: &[&str], options: &LinkOptions) -> Linked {
    let nics: Vec<_> = nics.iter().map(|c| ("nic.c", nic_of(c))).collect();
    Object::parse(compiled("reader.bpf.c")).unwrap().link(&universe(&nics), options).unwrap()
}

fn packet(front: u16, back: u32) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes[..2].copy_from_slice(&front.to_le_bytes());
    bytes[4..8].copy_from_slice(&11u32.to_le_bytes());
    bytes[8..12].copy_from_slice(&22u32.to_le_bytes());
    bytes[12..].copy_from_slice(&back.to_le_bytes());
    bytes
}

/// Who a packet should be of, and the `value` in it.
type Sent = (Vec<u8>, Option<&'static str>, Option<u64>);

fn sent(first: &str) -> Vec<Sent> {
    let both = if first == "lacks" { (Some("lacks"), None) } else { (Some("back"), Some(22)) };
    let flat = [[7u32, 0, 0, 0], [9, 0, 0, 0]].concat().iter().map(|w| *w as u8).collect();
    vec![
        (packet(0x66, 0x1001), both.0, both.1),
        (packet(0x66, 0), Some("lacks"), None),
        (packet(0, 0x1001), Some("back"), Some(22)),
        // The lower half of the first word is `value`'s.
        (packet(0x67, 0x1002), Some("also"), Some(0x67)),
        (packet(0, 0x1003), Some("third"), None),
        (packet(0, 0), None, None),
        (flat, Some("flat"), None),
    ]
}

fn check(first: &str, dispatch: Dispatch, fallback: Fallback, count: bool) {
    let options = LinkOptions { dispatch, fallback, count, first: vec![first.to_owned()], ..LinkOptions::default() };
    let linked = link(&[FLAT, LACKS, BACK, ALSO, THIRD], &options);
    let lacking: Vec<_> = linked.report.layouts.iter().filter(|l| l.fallback).map(|l| l.name.as_str()).collect();
    assert_eq!(lacking, ["flat", "lacks", "third"]);
    let path = fixture::keep("lacking", "o", &linked.bytes);
    let loaded = ObjectBuilder::default().open_file(&path).unwrap().load().unwrap();
    let map = |name: &str| loaded.maps().find(|m| m.name().to_str().unwrap().ends_with(name)).unwrap();
    let counted = |slot: u32| -> u64 {
        let all = map(COUNTS).lookup_percpu(&slot.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
        all.iter().map(|v| u64::from_ne_bytes(v[..8].try_into().unwrap())).sum()
    };
    let slot = |name: &str| linked.report.layouts.iter().find(|l| l.name == name).unwrap().slot.unwrap().number();
    let reader = loaded.progs_mut().find(|p| p.name() == "reader").unwrap();
    let mut fell = 0;
    for (metadata, of, value) in sent(first) {
        let says = format!("{dispatch:?}, {fallback:?}, {first} first, counting {count}: {metadata:?}");
        let before = of.filter(|_| count).map(|of| counted(slot(of)));
        let unknown = count.then(|| counted(UNKNOWN_ID));
        let data = [metadata.as_slice(), &[0; 64]].concat();
        let context: [u32; 6] = [metadata.len() as u32, data.len() as u32, 0, 0, 0, 0];
        let mut context: Vec<u8> = context.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let input = ProgramInput { context_in: Some(&mut context), data_in: Some(&data), ..Default::default() };
        let returned = reader.test_run(input).unwrap().return_value;
        let out = map(".bss").lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
        let out = |n: usize| u64::from_ne_bytes(out[n * 8..n * 8 + 8].try_into().unwrap());
        match (value, fallback) {
            (Some(value), _) => assert_eq!((returned, out(1)), (PASS, value), "{says}"),
            (None, Fallback::Action(action)) => assert_eq!(returned, action, "{says}"),
            (None, Fallback::Program) => {
                fell += 1;
                assert_eq!((returned, out(1)), (PASS, 0), "{says}");
            }
        }
        assert_eq!(out(4), fell, "{says}");
        if let Some(before) = before {
            assert_eq!((counted(slot(of.unwrap())), counted(UNKNOWN_ID)), (before + 1, unknown.unwrap()), "{says}");
        } else if let Some(unknown) = unknown {
            assert_eq!(counted(UNKNOWN_ID), unknown + 1, "{says}");
        }
    }
}

#[test]
fn packets_of_layouts_that_go_to_the_fallback_are_found_and_counted_by_name() {
    if !may_load() {
        return;
    }
    for dispatch in [Dispatch::Static, Dispatch::Tail, Dispatch::Table] {
        for fallback in [Fallback::Program, Fallback::Action(DROP)] {
            for first in ["lacks", "back"] {
                for count in [false, true] {
                    check(first, dispatch, fallback, count);
                }
            }
        }
    }
}

#[test]
fn a_table_tells_of_the_layouts_that_it_reads() {
    let options = LinkOptions { dispatch: Dispatch::Table, ..LinkOptions::default() };
    let dispatch = link(&[BACK, ALSO, THIRD, FLAT], &options).report.dispatch;
    assert_eq!(dispatch.copies, Some(1));
    assert_eq!(dispatch.why, "2 layouts are of one kind, and one copy reads them all");
    let dispatch = link(&[BACK, THIRD], &options).report.dispatch;
    assert_eq!((dispatch.copies, dispatch.why.as_str()), (Some(1), "one layout is read, by one copy"));
}
