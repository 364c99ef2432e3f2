//! NIC BTFs with a distilled base, as a user gives them: beside a raw BTF, and in an ELF object.

#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use xhint::btf::{Btf, Builder, Def, Kind, Member};
use xhint_testkit::distill::{Distilled, distill};
use xhint_testkit::fixture::{Compile, cache, clangs, corpus, keep};
use xhint_testkit::privileged;

const PROGRAM: &str = r#"
#include "meta.h"
struct nic_meta { __u32 rx_hash; } __attribute__((preserve_access_index));
struct xdp_buff { __u32 frame_sz; } __attribute__((preserve_access_index));
struct vendor_ring { struct xdp_buff buff; __u32 queue; } __attribute__((preserve_access_index));
SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct nic_meta *m = meta_of(ctx, bpf_core_type_size(struct nic_meta));

	if (!m)
		return 0;
	return m->rx_hash + bpf_core_field_offset(struct vendor_ring, queue)
#ifdef WITHIN
		+ bpf_core_field_offset(struct vendor_ring, buff.frame_sz)
#endif
		;
}
"#;

fn xhint(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xhint")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn size_of(name: &str) -> u32 {
    let kernel = Btf::parse(corpus("vmlinux.btf")).unwrap();
    kernel.types().find(|t| t.kind() == Kind::Struct && t.name() == name).unwrap().size()
}

/// `struct vendor_ring { struct xdp_buff buff; __u32 queue; }` and the layout `vendor_rx`, which has an id or an
/// `xdp_buff` of its own.
fn nic(declared: bool) -> Distilled {
    nic_as("vendor_rx", declared.then_some(0x77))
}

fn nic_as(name: &str, declared: Option<u32>) -> Distilled {
    let kernel = Btf::parse(corpus("vmlinux.btf")).unwrap();
    let buff = kernel.types().find(|t| t.kind() == Kind::Struct && t.name() == "xdp_buff").unwrap();
    let u32 = kernel.types().find(|t| t.kind() == Kind::Int && t.name() == "unsigned int").unwrap().id();
    let (id, bits) = (buff.id(), buff.size() * 8);
    let mut w = Builder::split(&kernel);
    let ring = [Member::new("buff", id, 0), Member::new("queue", u32, bits)];
    w.add(&Def::structure("vendor_ring", buff.size() + 8, &ring)).unwrap();
    let hash = Member::new("rx_hash", u32, 0);
    let (size, fields) = if declared.is_some() {
        (8, vec![hash, Member::new("btf_id", u32, 32)])
    } else {
        (buff.size() + 12, vec![hash, Member::new("buff", id, 64), Member::new("btf_id", u32, 64 + bits)])
    };
    let layout = w.add(&Def::structure(name, size, fields)).unwrap();
    let id = declared.map(|id| format!("xhint:id={id}"));
    for text in id.iter().map(String::as_str).chain(["xhint:as=nic_meta"]) {
        w.add(&Def::tag(text, layout)).unwrap();
    }
    distill(&w.finish(), &corpus("vmlinux.btf"))
}

/// The pair beside each other, and in an ELF object.
fn files(stem: &str, made: &Distilled) -> [String; 2] {
    let dir = cache().join(format!("distilled-{}-{stem}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (raw, elf, assembly) = (dir.join("nic.btf"), dir.join("nic.o"), dir.join("nic.s"));
    fs::write(&raw, &made.split).unwrap();
    let beside = dir.join("nic.btf.base");
    fs::write(&beside, &made.base).unwrap();
    let section = |name: &str, file: &Path| format!(".section {name},\"\",@progbits\n.incbin \"{}\"\n", file.display());
    fs::write(&assembly, [section(".BTF", &raw), section(".BTF.base", &beside)].concat()).unwrap();
    let clang = clangs().last().unwrap();
    let done = Command::new(clang).args(["-target", "bpf", "-c"]).arg(&assembly).arg("-o").arg(&elf).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    [raw, elf].map(|path| path.display().to_string())
}

fn program(within: bool) -> String {
    let source = Compile::new(&keep("distilled", "c", PROGRAM.as_bytes()));
    let source = if within { source.argument("-DWITHIN") } else { source };
    source.object().display().to_string()
}

/// The kernel's BTF, and one in which `xdp_buff` has become larger.
fn bases() -> [PathBuf; 2] {
    let kernel = Btf::parse(corpus("vmlinux.btf")).unwrap();
    let buff = kernel.types().find(|t| t.kind() == Kind::Struct && t.name() == "xdp_buff").unwrap();
    let head = |flag: u32| [buff.name_offset(), flag | (Kind::Struct as u32) << 24 | buff.vlen(), buff.size()];
    let mut bytes = corpus("vmlinux.btf");
    let is_head = |w: &[u8]| [0, 1 << 31].iter().any(|flag| *w == head(*flag).map(u32::to_le_bytes).concat()[..]);
    let at = bytes.windows(12).position(is_head).unwrap();
    bytes[at + 8..at + 12].copy_from_slice(&(buff.size() + 8).to_le_bytes());
    [keep("same", "btf", &corpus("vmlinux.btf")), keep("larger", "btf", &bytes)]
}

#[test]
fn works_wherever_a_nic_btf_is_taken_and_says_what_is_not_as_it_was() {
    let (program, [same, larger]) = (program(false), bases().map(|b| b.display().to_string()));
    for file in files("works", &nic(true)) {
        for (base, warned) in [(&same, false), (&larger, true)] {
            let args = ["--nic", &file, "--base", base];
            let done = xhint(&[&["explain", "--json", &program], &args[..]].concat());
            let report: Value =
                serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&done.stderr)));
            let relocations = report["relocations"].as_array().unwrap();
            let values: Vec<_> = relocations.iter().map(|r| r["results"][0]["value"].as_u64().unwrap()).collect();
            assert!(values.contains(&size_of("xdp_buff").into()), "{values:?}");
            let words = text(&done.stderr);
            let says =
                words.contains("xdp_buff") && words.contains(&format!("{} bytes in the base", size_of("xdp_buff") + 8));
            assert_eq!((says, words.is_empty()), (warned, !warned), "{words}");
            let shown = xhint(&["layout", "show", &file, "--base", base]);
            assert!(shown.status.success() && text(&shown.stdout).contains("vendor_rx"), "{}", text(&shown.stderr));
            let out = format!("{file}.out");
            assert!(xhint(&[&["link", &program, "-o", &out], &args[..]].concat()).status.success());
        }
        let dumped = xhint(&["btf", "dump", &file]);
        assert!(text(&dumped.stdout).contains("STRUCT 'vendor_ring'"), "{}", text(&dumped.stderr));
    }
}

#[test]
fn what_a_program_needs_of_a_type_that_changed_is_refused_with_the_reason() {
    let (program, [same, larger]) = (program(true), bases().map(|b| b.display().to_string()));
    for file in files("needs", &nic(true)) {
        let out = format!("{file}.out");
        let link = |base: &str| xhint(&["link", &program, "--nic", &file, "--base", base, "-o", &out]);
        assert!(link(&same).status.success(), "{}", text(&link(&same).stderr));
        let refused = link(&larger);
        let words = text(&refused.stderr);
        let error = words.lines().find(|l| l.starts_with("error: ")).unwrap();
        assert_eq!(refused.status.code(), Some(1));
        for part in ["frame_sz", "struct xdp_buff", "bytes in the base"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[test]
fn no_id_is_derived_from_what_is_not_known() {
    let [same, larger] = bases().map(|b| b.display().to_string());
    for file in files("derived", &nic(false)) {
        let on = |base: &str| xhint(&["layout", "show", &file, "--base", base]);
        // A large one is no layout, whatever it is made of; this one fits.
        assert!(size_of("xdp_buff") + 12 <= 252);
        assert!(on(&same).status.success(), "{}", text(&on(&same).stderr));
        let refused = text(&on(&larger).stderr);
        assert!(refused.contains("xdp_buff") && refused.contains("declare one"), "{refused}");
    }
}

#[test]
fn a_base_beside_that_is_none_is_named() {
    let [raw, _] = files("bad", &nic(true));
    for (bytes, what) in [(&b"nothing"[..], "not BTF"), (&corpus("ice.btf")[..], "split")] {
        fs::write(format!("{raw}.base"), bytes).unwrap();
        let done = xhint(&["layout", "show", &raw, "--base", &bases()[0].display().to_string()]);
        let words = text(&done.stderr);
        assert_eq!((done.status.code(), words.lines().count()), (Some(1), 1), "{what}: {words}");
        assert!(words.contains("nic.btf") && words.contains("base"), "{what}: {words}");
    }
}

/// Attached, added to what runs, and followed; on a base from which it differs, too.
#[test]
fn works_on_a_device() {
    if !privileged() {
        return;
    }
    let (program, bases) = (program(false), bases().map(|b| b.display().to_string()));
    let [first, second] =
        [("vendor_rx", 0x77), ("vendor_rx2", 0x78)].map(|(name, id)| files(name, &nic_as(name, Some(id))));
    for (n, (file, other)) in first.iter().zip(&second).enumerate() {
        let world = common::World::new(&[&format!("distil{n}")]);
        let ns = &world.netns[0];
        let link = format!("-n {ns} link add near type veth peer name far");
        assert!(Command::new("ip").args(link.split(' ')).status().unwrap().success());
        for (base, differs) in bases.iter().zip([false, true]) {
            let run = |args: &[&str]| {
                let done = xhint(&[args, &["--netns", ns, "--base", base]].concat());
                let words = text(&done.stderr);
                assert!(done.status.success(), "{args:?}: {words}");
                assert_eq!(words.contains("xdp_buff"), differs, "{args:?}: {words}");
                text(&done.stdout)
            };
            let attached =
                run(&["attach", &program, "--dev", "near", "--nic", file, "--fallback", "pass", "--dispatch", "tail"]);
            assert!(attached.contains("vendor_rx "), "{attached}");
            let added = run(&["layouts", "add", "near", other]);
            assert!(added.contains("vendor_rx2") && added.contains("in place"), "{added}");
            assert!(xhint(&["detach", "near", "--netns", ns]).status.success());
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
        command
            .args(["attach", &program, "--dev", "near", "--netns", ns, "--base", &bases[0], "--nic", file, "--follow"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(out.any(|line| line.contains("linked for vendor_rx ")));
        // Only now is it followed.
        std::thread::sleep(std::time::Duration::from_millis(500));
        fs::rename(other, file).unwrap();
        assert!(out.any(|line| line.contains("vendor_rx2 (0x00000078)") && line.contains("swapped in")));
        assert!(xhint(&["detach", "near", "--netns", ns]).status.success());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_linker_of_the_library_takes_it_too() {
    let base = Arc::new(Btf::parse(corpus("vmlinux.btf")).unwrap());
    let linker = xhint::runtime::Linker::on(base);
    for file in files("library", &nic(true)) {
        let source = xhint::runtime::Source::read_btf(&file).unwrap();
        assert_eq!(linker.universe(&[source]).unwrap().layouts()[0].name, "vendor_rx");
    }
}
