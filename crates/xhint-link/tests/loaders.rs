//! Linked objects in the hands of other loaders: bpftool, libbpf-rs, aya.

#![allow(missing_docs, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;
mod own;

use std::path::PathBuf;
use std::process::Command;

use own::{compiled, nics, universe};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::matrix::WORLDS;
use xhint_testkit::{fixture, may_load};

/// Fixtures of the testkit, NICs for which all of each passes the verifier, and the names of its programs.
const FIXTURES: [(&str, &str, &[&str]); 6] = [
    ("fields.bpf.c", "plain.c", &["describe_fields", "read_fields", "write_fields"]),
    ("nested.bpf.c", "nested.c", &["index_roots", "read_arrays", "read_nested", "read_typedef"]),
    ("kinds.bpf.c", "pointers.c", &["describe_kinds", "read_kinds"]),
    ("enums.bpf.c", "enums.c", &["enumerator_values", "enumerators_there"]),
    ("matches.bpf.c", "matches.c", &["exist", "match"]),
    ("types.bpf.c", "plain.c", &["type_existence", "type_ids", "type_matches", "type_sizes"]),
];

/// All programs linked in every way that needs nobody to fill a map, with the names of their programs.
fn linked() -> Vec<(String, Vec<u8>, Vec<&'static str>)> {
    let mut all = fixtures();
    all.extend(own_programs());
    all
}

fn fixtures() -> Vec<(String, Vec<u8>, Vec<&'static str>)> {
    let link = |(source, nic, programs): (&str, &str, &'static [&'static str])| {
        let world = WORLDS.iter().find(|w| w.nics.len() == 1 && w.nics[0].0 == nic).unwrap();
        let object = fixture::program(source).object();
        let bytes = common::link(&object, &common::universe(world, true).unwrap()).unwrap();
        (format!("{source} for {nic}"), bytes, programs.to_vec())
    };
    FIXTURES.into_iter().map(link).collect()
}

fn own_programs() -> Vec<(String, Vec<u8>, Vec<&'static str>)> {
    let one = LinkOptions { layouts: Some(vec!["first_of_16".to_owned()]), ..LinkOptions::default() };
    let all = LinkOptions { dispatch: Dispatch::Static, ..LinkOptions::default() };
    let table = LinkOptions { dispatch: Dispatch::Table, ..LinkOptions::default() };
    let mut out = Vec::new();
    for (source, programs) in [("reader.bpf.c", vec!["reader"]), ("dispatch.bpf.c", vec!["first", "second"])] {
        let object = Object::parse(compiled(source)).unwrap();
        let universe = universe(&[("nics.c", nics())]);
        for options in [&one, &all, &table] {
            let linked = object.link(&universe, options).unwrap();
            out.push((format!("{source}, {}", linked.report.dispatch.kind.unwrap()), linked.bytes, programs.clone()));
        }
    }
    out
}

#[test]
fn aya_loads_them() {
    if !may_load() {
        return;
    }
    for (what, bytes, programs) in linked() {
        let mut object = aya::Ebpf::load(&bytes).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        for name in programs {
            let program: &mut aya::programs::Xdp = object.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap_or_else(|error| panic!("{what}: {name}: {error:?}"));
        }
    }
}

#[test]
fn libbpf_rs_loads_them() {
    if !may_load() {
        return;
    }
    for (what, bytes, programs) in linked() {
        let object = libbpf_rs::ObjectBuilder::default().open_memory(&bytes).unwrap();
        let object = object.load().unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut loaded: Vec<_> = object.progs().map(|p| p.name().to_str().unwrap().to_owned()).collect();
        loaded.sort();
        assert_eq!(loaded, programs, "{what}");
    }
}

#[test]
fn bpftool_loads_them() {
    if !may_load() {
        return;
    }
    let Some(bpffs) = Bpffs::mount() else { return };
    for (what, bytes, programs) in linked() {
        let (path, pins) = (fixture::keep("loaded", "o", &bytes), bpffs.0.join("pins"));
        let output = Command::new("bpftool").args(["prog", "loadall"]).arg(path).arg(&pins).output().unwrap();
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        let mut pinned: Vec<_> = std::fs::read_dir(&pins).unwrap().map(|f| f.unwrap().file_name()).collect();
        pinned.sort();
        assert_eq!(pinned, programs, "{what}");
        std::fs::remove_dir_all(&pins).unwrap();
    }
}

/// A bpffs of our own, gone when the test ends.
struct Bpffs(PathBuf);

impl Bpffs {
    fn mount() -> Option<Bpffs> {
        let dir = std::env::temp_dir().join(format!("xhint-link-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let done = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&dir).status().unwrap();
        let mounted = Bpffs(dir);
        if !done.success() || Command::new("bpftool").arg("version").output().is_err() {
            xhint_testkit::privilege::skipped("no bpffs, or no bpftool");
            return None;
        }
        Some(mounted)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}
