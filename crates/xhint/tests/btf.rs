//! `xhint btf`: what it prints is what bpftool prints, and what it stitches is what libbpf merges.

#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use xhint_testkit::fixture;

fn xhint(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xhint")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What bpftool prints, or nothing if it is not installed.
fn bpftool(args: &[&str]) -> Option<String> {
    match Command::new("bpftool").args(args).output() {
        Ok(output) if output.status.success() => Some(text(&output.stdout)),
        Ok(output) => panic!("bpftool {args:?}: {}", text(&output.stderr)),
        Err(_) => {
            xhint_testkit::privilege::skipped("no bpftool");
            None
        }
    }
}

/// The first line that differs, so that a failure can be read.
fn assert_same_lines(what: &str, ours: &str, theirs: &str) {
    for (n, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "{what}, line {}", n + 1);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count(), "{what}");
}

#[test]
fn raw_is_bpftools_text_line_for_line() {
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let Some(theirs) = bpftool(&["btf", "dump", "file", &base, "format", "raw"]) else { return };
    assert_same_lines("base", &text(&xhint(&["btf", "dump", &base]).stdout), &theirs);
    for split in ["ice.btf", "igc.btf", "mlx5_core.btf", "veth.btf"] {
        let file = fixture::corpus_path(split).display().to_string();
        let theirs = bpftool(&["-B", &base, "btf", "dump", "file", &file, "format", "raw"]).unwrap();
        assert_same_lines(split, &text(&xhint(&["btf", "dump", &file, "--base", &base]).stdout), &theirs);
    }
    for source in fixture::names("programs", ".bpf.c") {
        let object = fixture::program(&source).object().display().to_string();
        let theirs = bpftool(&["btf", "dump", "file", &object, "format", "raw"]).unwrap();
        assert_same_lines(&source, &text(&xhint(&["btf", "dump", &object]).stdout), &theirs);
    }
}

#[test]
fn json_says_the_same_as_raw() {
    let object = fixture::program("enums.bpf.c").object().display().to_string();
    let raw = text(&xhint(&["btf", "dump", &object]).stdout);
    let json: serde_json::Value =
        serde_json::from_slice(&xhint(&["btf", "dump", &object, "--format", "json"]).stdout).unwrap();
    let types = json["types"].as_array().unwrap();
    let heads = raw.lines().filter(|l| l.starts_with('['));
    assert_eq!(types.len(), heads.clone().count());
    for (ty, head) in types.iter().zip(heads) {
        let own = format!("[{}] {} '{}'", ty["id"], ty["kind"].as_str().unwrap(), ty["name"].as_str().unwrap());
        assert!(head.starts_with(&own), "{head}: {ty}");
    }
}

#[test]
fn a_stitched_btf_holds_the_base_and_then_the_nics() {
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let split = fixture::corpus_path("veth.btf").display().to_string();
    let nic = fixture::keep("nic", "btf", &fixture::nic("plain.c")).display().to_string();
    let flat = fixture::cache().join("stitched.btf").display().to_string();
    let done = xhint(&["btf", "stitch", "--base", &base, &split, &nic, "-o", &flat]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let count = |args: &[&str]| text(&xhint(args).stdout).lines().filter(|l| l.starts_with('[')).count();
    let parts = [
        count(&["btf", "dump", &base]),
        count(&["btf", "dump", &split, "--base", &base]),
        count(&["btf", "dump", &nic]),
    ];
    assert_eq!(count(&["btf", "dump", &flat]), parts.iter().sum::<usize>());
    if let Some(theirs) = bpftool(&["btf", "dump", "file", &flat, "format", "raw"]) {
        assert_same_lines("stitched", &text(&xhint(&["btf", "dump", &flat]).stdout), &theirs);
    }
}

#[test]
fn bad_input_gets_one_line_that_names_the_file() {
    let empty = fixture::keep("empty", "btf", b"").display().to_string();
    let garbage = fixture::keep("garbage", "btf", b"neither this nor that").display().to_string();
    let cut = fixture::keep("cut", "btf", &fixture::corpus("veth.btf")[..50]).display().to_string();
    for file in [empty.as_str(), &garbage, &cut, "/nowhere/at/all.btf", "/", "/dev/null", "/dev/zero"] {
        let output = xhint(&["btf", "dump", file]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {error}");
        assert!(error.starts_with("error: ") && error.contains(file), "{file}: {error}");
        assert_eq!(error.lines().count(), 1, "{file}: {error}");
    }
    assert_eq!(xhint(&["btf", "dump"]).status.code(), Some(2));
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let base = fixture::corpus_path("vmlinux.btf");
    let mut child = Command::new(env!("CARGO_BIN_EXE_xhint"))
        .args(["btf", "dump"])
        .arg(base.as_path() as &Path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}
