//! Instructions that came with -mcpu=v4 and after: linked rightly, or refused by name.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use std::path::{Path, PathBuf};

use own::{nic_of, universe};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::fixture::{self, Compile, Variant};
use xhint_testkit::run::Loaded;
use xhint_testkit::{may_load, privilege};

const NICS: &str = "struct one { __u32 pad; __s16 small; __s8 smaller; __u8 pad2; __u32 value; __u32 btf_id; } LAYOUT(1);\n\
                    struct two { __u32 value; __s8 smaller; __u8 pad; __s16 small; __u32 pad2; __u32 btf_id; } LAYOUT(2);\n\
                    struct one *one; struct two *two;";

/// A fixture for -mcpu=v4; `None` without a clang that knows it.
fn compiled(name: &str) -> Option<PathBuf> {
    let variant = Variant { clang: fixture::clangs().iter().find(|c| **c == "clang-19")?, cpu: "v4" };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    Some(Compile::new(&source).variant(variant).object())
}

fn packet(id: u8) -> [u8; 16] {
    let value = [0xfe, 0xff, 0xff, 0xff];
    match id {
        1 => [[0; 4], [0xfd, 0xff, 0xfc, 0], value, [1, 0, 0, 0]].concat().try_into().unwrap(),
        _ => [value, [0xfc, 0, 0xfd, 0xff], [0; 4], [2, 0, 0, 0]].concat().try_into().unwrap(),
    }
}

#[test]
fn what_v4_added_means_the_same_in_every_copy() {
    if !may_load() {
        return;
    }
    let Some(path) = compiled("newer.bpf.c") else { return privilege::skipped("no clang that knows -mcpu=v4") };
    let base = fixture::corpus_path("vmlinux.btf");
    if let Err(error) = Loaded::load(&path, Some(&base)) {
        let why = error.lines().find(|line| line.contains("opcode")).unwrap_or_else(|| panic!("{error}"));
        return privilege::skipped(&format!("this kernel does not take may_goto: {why}"));
    }
    let object = Object::parse(std::fs::read(path).unwrap()).unwrap();
    let universe = universe(&[("nics", nic_of(NICS))]);
    let options = |dispatch| LinkOptions { dispatch, ..LinkOptions::default() };
    let alone =
        |n: u8, name: &str| (vec![n], LinkOptions { layouts: Some(vec![name.to_owned()]), ..options(Dispatch::None) });
    let pruned = LinkOptions { prune: true, walk: false, ..alone(1, "one").1 };
    let all = [Dispatch::Static, Dispatch::Tail, Dispatch::Table].map(|d| (vec![1, 2], options(d)));
    let without = [Dispatch::Static, Dispatch::Tail].map(|d| (vec![1, 2], LinkOptions { walk: false, ..options(d) }));
    for (ids, options) in [alone(1, "one"), alone(2, "two"), (vec![1], pruned)].into_iter().chain(all).chain(without) {
        let linked = object.link(&universe, &options).unwrap();
        let what = format!("{:?}, walk {}", options.dispatch, options.walk);
        let loaded = Loaded::load(&fixture::keep("newer", "o", &linked.bytes), None);
        let loaded = loaded.unwrap_or_else(|error| panic!("{what}: {error}"));
        for id in ids {
            assert_eq!(loaded.run("newer", &packet(id), &[0; 64]).unwrap().returned, 2, "{what}, layout {id}");
            let out: Vec<i64> =
                loaded.global(".bss").chunks_exact(8).map(|w| i64::from_ne_bytes(w.try_into().unwrap())).collect();
            assert_eq!(out[..7], [-3, -4, -2, 0xfeff_ffff, 0, 3, 0xffff_fffe], "{what}, layout {id}");
        }
    }
}

/// The tables say where code stands, so it stays where it is, or linking is refused.
#[test]
fn code_that_jumps_by_tables_is_not_moved() {
    let Some(path) = compiled("jumptable.bpf.c") else { return privilege::skipped("no clang that knows -mcpu=v4") };
    let bytes = std::fs::read(path).unwrap();
    let object = Object::parse(bytes.clone()).unwrap();
    let universe = universe(&[("nics", nic_of(NICS))]);
    let one = |dispatch| LinkOptions { dispatch, layouts: Some(vec!["one".to_owned()]), ..LinkOptions::default() };
    for options in [
        one(Dispatch::Static),
        one(Dispatch::Tail),
        one(Dispatch::Table),
        LinkOptions { dispatch: Dispatch::Auto, ..LinkOptions::default() },
    ] {
        let error = object.link(&universe, &options).unwrap_err().to_string();
        for part in ["jumps", ".jumptables", "-fno-jump-tables"] {
            assert!(error.contains(part), "{:?}: {error}", options.dispatch);
        }
    }
    let section = |bytes: &[u8], name: &str| fixture::section(bytes, name).unwrap().to_vec();
    for options in [
        one(Dispatch::None),
        LinkOptions { count: true, ..one(Dispatch::Auto) },
        LinkOptions { prune: true, walk: false, ..one(Dispatch::None) },
    ] {
        let linked = object.link(&universe, &options).unwrap().bytes;
        assert_eq!(section(&linked, ".jumptables"), section(&bytes, ".jumptables"));
        let (was, is) = (section(&bytes, "xdp"), section(&linked, "xdp"));
        let changed: Vec<usize> =
            was.chunks(8).zip(is.chunks(8)).enumerate().filter(|(_, (a, b))| a != b).map(|(n, _)| n).collect();
        assert_eq!(was.len(), is.len());
        // The size that is added, as such without CAP_PERFMON, and where the value stands.
        assert!(changed.iter().all(|n| [4, 6, 9].contains(n)), "{changed:?}");
        assert!(changed.contains(&9));
    }
}
