//! `xhint btf`: what it prints is what bpftool prints, and what it stitches is what libbpf merges.

#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use xhint::btf::{Btf, Builder, Def, Kind, Member};
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
fn json_is_bpftools_byte_for_byte() {
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let same = |what: &str, ours: &[&str], theirs: &[&str]| {
        let Some(theirs) = bpftool(&[&["-j"], theirs].concat()) else { return };
        let ours = text(&xhint(ours).stdout);
        // What comes first of that which differs, so that a failure can be read.
        for (ours, theirs) in ours.split_inclusive('}').zip(theirs.split_inclusive('}')) {
            assert_eq!(ours, theirs, "{what}");
        }
        assert_eq!(ours.len(), theirs.len(), "{what}");
    };
    same("base", &["btf", "dump", "--json", &base], &["btf", "dump", "file", &base]);
    for split in ["ice.btf", "mlx5_core.btf", "veth.btf"] {
        let file = fixture::corpus_path(split).display().to_string();
        let (ours, theirs) =
            (["btf", "dump", "--json", &file, "--base", &base], ["-B", &base, "btf", "dump", "file", &file]);
        same(split, &ours, &theirs);
    }
    for source in fixture::names("programs", ".bpf.c") {
        let object = fixture::program(&source).object().display().to_string();
        same(&source, &["btf", "dump", "--json", &object], &["btf", "dump", "file", &object]);
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

/// `struct third { struct ice_xdp_buff *buff; struct sk_buff *skb; }`, split on `module`, which is split on `kernel`.
fn third_link(kernel: &[u8], module: &[u8]) -> Vec<u8> {
    let kernel = Arc::new(Btf::parse(kernel.to_vec()).unwrap());
    let module = Arc::new(Btf::parse_split(module.to_vec(), kernel).unwrap());
    let named = |name: &str| {
        let all = module.chain().into_iter().flat_map(Btf::types);
        all.into_iter().find(|t| t.kind() == Kind::Struct && t.name() == name).unwrap().id()
    };
    let mut w = Builder::split(&module);
    let [buff, skb] = ["ice_xdp_buff", "sk_buff"].map(|name| w.add(&Def::Ptr(named(name))).unwrap());
    w.add(&Def::structure("third", 16, &[Member::new("buff", buff, 0), Member::new("skb", skb, 64)])).unwrap();
    w.finish()
}

#[test]
fn a_base_may_itself_be_split() {
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let module = fixture::corpus_path("ice.btf").display().to_string();
    let (kernel, ice) = (fixture::corpus("vmlinux.btf"), fixture::corpus("ice.btf"));
    let bytes = third_link(&kernel, &ice);
    let third = fixture::keep("third", "btf", &bytes).display().to_string();
    let ours = text(&xhint(&["btf", "dump", "--base", &base, "--base", &module, &third]).stdout);

    let heads: Vec<String> = ours.lines().filter(|l| l.starts_with('[')).map(str::to_owned).collect();
    let libbpf = xhint_testkit::oracle::names(&[&kernel, &ice, &bytes]).unwrap();
    assert_eq!((heads.len(), libbpf.len()), (3, 3));
    for (head, (_, name)) in heads.iter().zip(libbpf) {
        let name = if name.is_empty() { "(anon)" } else { &name };
        assert!(head.contains(&format!("'{name}'")), "{head}: {name}");
    }
    // bpftool takes one base. Of the whole in one flat BTF it prints what we print of the links.
    let flat = fixture::cache().join("chain.btf").display().to_string();
    let done = xhint(&["btf", "stitch", "--base", &base, "--base", &module, &third, "-o", &flat]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    if let Some(theirs) = bpftool(&["btf", "dump", "file", &flat, "format", "raw"]) {
        let links = [vec![base.as_str()], vec![&module, "--base", &base]]
            .map(|args| text(&xhint(&[&["btf", "dump"], args.as_slice()].concat()).stdout));
        assert_same_lines("chain", &[&links[0], &links[1], &ours].map(String::as_str).concat(), &theirs);
    }
}

#[test]
fn a_split_btf_on_another_base_is_refused_by_name() {
    let path = |name| fixture::corpus_path(name).display().to_string();
    let (base, ice, igc) = (path("vmlinux.btf"), path("ice.btf"), path("igc.btf"));
    let third =
        fixture::keep("third", "btf", &third_link(&fixture::corpus("vmlinux.btf"), &fixture::corpus("ice.btf")));
    let third = third.display().to_string();
    for (file, bases) in [(&igc, [&base, &ice]), (&third, [&base, &igc]), (&third, [&base, &base])] {
        let done = xhint(&["btf", "dump", file, "--base", bases[0], "--base", bases[1]]);
        let error = text(&done.stderr);
        assert_eq!((done.status.code(), error.lines().count()), (Some(1), 1), "{file} on {bases:?}: {error}");
        assert!(error.contains(file.as_str()) || error.contains(bases[1].as_str()), "{error}");
        let standalone_on_one = bases[0] == bases[1];
        assert!(error.contains("made for another base") || standalone_on_one, "{error}");
    }
    let alone = text(&xhint(&["btf", "dump", &ice]).stderr);
    assert!(alone.contains("give that with --base"), "{alone}");
}

#[test]
fn a_stitched_btf_holds_the_base_and_then_the_nics() {
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let split = fixture::corpus_path("veth.btf").display().to_string();
    let nic = fixture::keep("nic", "btf", &fixture::nic("plain.c")).display().to_string();
    let flat = fixture::cache().join("stitched.btf").display().to_string();
    let done = xhint(&["btf", "stitch", "--base", &base, &split, &nic, "-o", &flat]);
    let piped = xhint(&["btf", "stitch", "--base", &base, &split, &nic, "-o", "-"]);
    assert_eq!(piped.stdout, std::fs::read(&flat).unwrap());
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
