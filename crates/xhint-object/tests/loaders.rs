//! Linked objects are ordinary: bpftool, libbpf-rs and aya load them, from a file, with no BTF but the kernel's.

#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use common::{link, universe};
use xhint_testkit::matrix::{WORLDS, World};
use xhint_testkit::{fixture, privileged};

/// A program, a NIC for which all of it passes the verifier, and the names of its programs.
const LOADABLE: [(&str, &str, &[&str]); 6] = [
    ("fields.bpf.c", "plain.c", &["read_fields", "describe_fields", "write_fields"]),
    ("nested.bpf.c", "nested.c", &["read_nested", "read_arrays", "index_roots", "read_typedef"]),
    ("kinds.bpf.c", "pointers.c", &["describe_kinds", "read_kinds"]),
    ("enums.bpf.c", "enums.c", &["enumerators_there", "enumerator_values"]),
    ("matches.bpf.c", "matches.c", &["match", "exist"]),
    ("types.bpf.c", "plain.c", &["type_ids", "type_existence", "type_sizes", "type_matches"]),
];

/// Each of them linked on the running kernel's BTF or the cut-down one, as a file.
fn linked() -> Vec<(PathBuf, &'static [&'static str])> {
    let world = |nic: &str| -> &World { WORLDS.iter().find(|w| w.nics.len() == 1 && w.nics[0].0 == nic).unwrap() };
    let link = |(source, nic, names): (&str, &str, &'static [_])| {
        let object = fixture::program(source).object();
        let bytes = link(&object, &universe(world(nic), true).unwrap()).unwrap();
        (fixture::keep("loadable", "o", &bytes), names)
    };
    LOADABLE.into_iter().map(link).collect()
}

/// A BPF file system of this test's own, gone when dropped.
struct Bpffs(PathBuf);

impl Bpffs {
    fn new() -> Bpffs {
        let path = std::env::temp_dir().join(format!("xhint-loaders-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&path).status().unwrap();
        assert!(mounted.success());
        Bpffs(path)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn bpftool_loads_and_pins_all_programs() {
    if !privileged() {
        return;
    }
    let bpffs = Bpffs::new();
    for (number, (object, names)) in linked().iter().enumerate() {
        let folder = bpffs.0.join(number.to_string());
        let output = Command::new("bpftool").args(["prog", "loadall"]).args([object, &folder]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", object.display());
        let mut pinned: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        pinned.sort();
        let mut expected = names.to_vec();
        expected.sort_unstable();
        assert_eq!(pinned, expected);
    }
}

#[test]
fn libbpf_rs_loads_all_programs() {
    if !privileged() {
        return;
    }
    for (object, names) in linked() {
        let opened = libbpf_rs::ObjectBuilder::default().open_file(&object).unwrap();
        let loaded = opened.load().unwrap_or_else(|error| panic!("{}: {error}", object.display()));
        let programs: Vec<_> = loaded.progs().map(|p| p.name().to_str().unwrap().to_owned()).collect();
        assert_eq!(programs, names, "{}", object.display());
    }
}

#[test]
fn aya_loads_all_programs() {
    if !privileged() {
        return;
    }
    for (object, names) in linked() {
        load_with_aya(&object, names);
    }
}

fn load_with_aya(object: &Path, names: &[&str]) {
    let bytes = fs::read(object).unwrap();
    // Aya takes programs by name, and must not be given BTF to relocate with: there is nothing left to relocate.
    let mut loaded = aya::EbpfLoader::new().btf(None).load(&bytes).unwrap();
    for name in names {
        let program = loaded.program_mut(name).unwrap_or_else(|| panic!("{}: no {name}", object.display()));
        let program: &mut aya::programs::Xdp = program.try_into().unwrap();
        program.load().unwrap_or_else(|error| panic!("{} {name}: {error:?}", object.display()));
    }
}
