//! Names come from files that others made. Whatever verb prints one, no terminal obeys it and no line is forged by it.
#![allow(clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{self, Command, Output};

use common::{World, example};
use xhint_testkit::fixture::{Compile, keep};
use xhint_testkit::hostile::Forge;
use xhint_testkit::privileged;

/// Colours, clears, rings, sets the title, turns the order of letters, in both ways to write an escape, and starts a line.
const EVIL: &str = "e\x1b[35m\x1b[2J\x07\x1b]0;owned\x07\u{9b}35m\u{202e}\r\nforged";
/// As long as `function_of_the_program`, for an ELF whose strings are written over.
const EVIL_SYMBOL: &[u8; 23] = b"f\x1b[35m\x1b[2J\x07\r\nforged____";

/// A layout whose every name is [`EVIL`], in a file that is called so.
struct Files {
    dir: PathBuf,
    nic: String,
    tagged: String,
    program: String,
    odd: String,
}

impl Files {
    fn new(test: &str) -> Files {
        let dir = std::env::temp_dir().join(format!("xhnames-{test}-{}", process::id())).join(EVIL);
        fs::create_dir_all(&dir).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.join(format!("{name}{EVIL}"));
            fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let own = Compile::new(&keep("names", "bpf.c", PROGRAM));
        let mut odd = fs::read(own.object()).unwrap();
        let before = odd.clone();
        for at in 0..odd.len() - EVIL_SYMBOL.len() {
            if before[at..].starts_with(b"function_of_the_program") {
                odd[at..at + EVIL_SYMBOL.len()].copy_from_slice(EVIL_SYMBOL);
            }
        }
        assert_ne!(odd, before);
        let (nic, tagged) = (file("nic", &btf("xhint:as=nic_meta")), file("tagged", &btf(&format!("xhint:{EVIL}"))));
        let program = file("prog", &fs::read(example("hints.bpf.c")).unwrap());
        let odd = file("odd", &odd);
        Files { nic, tagged, program, odd, dir }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.dir.parent().unwrap());
    }
}

/// Reads what the layout lacks, guarded, and what the verifier refuses.
const PROGRAM: &[u8] = br#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <xhint.h>
struct nic_meta { __u32 rx_hash, nowhere; } __attribute__((preserve_access_index));
SEC("xdp") int function_of_the_program(struct xdp_md *ctx)
{
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
	if (bpf_core_field_exists(m->nowhere))
		return XDP_DROP;
	return m->rx_hash;
}
char LICENSE[] SEC("license") = "GPL";
"#;

fn btf(tag: &str) -> Vec<u8> {
    let [int_kind, struct_kind, typedef_kind, enum_kind, tag_kind] = [1, 4, 8, 6, 17];
    let mut forge = Forge::new();
    let evil = forge.string(EVIL);
    let int = forge.ty(evil, int_kind, 0, 4, &[32]);
    let alias = forge.ty(evil, typedef_kind, 0, int, &[]);
    let kinds = forge.ty(evil, enum_kind, 1, 4, &[evil, 7]);
    let [hash, id] = ["rx_hash", "btf_id"].map(|name| forge.string(name));
    let members = [evil, alias, 0, evil, kinds, 32, hash, int, 64, id, int, 96];
    let ty = forge.ty(evil, struct_kind, 4, 16, &members);
    for tag in ["xhint:layout", tag] {
        let name = forge.string(tag);
        forge.ty(name, tag_kind, 0, ty, &[u32::MAX]);
    }
    forge.bytes()
}

/// Runs a verb, with styles or without, and looks at all it says.
fn harmless(arguments: &[&str], styled: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
    command.args(arguments).env_remove("CLICOLOR_FORCE").env_remove("NO_COLOR");
    command.env(if styled { "CLICOLOR_FORCE" } else { "NO_COLOR" }, "1");
    let output = command.output().unwrap();
    for (stream, bytes) in [("output", &output.stdout), ("errors", &output.stderr)] {
        let mut text = String::from_utf8(bytes.clone()).unwrap();
        if styled {
            // Ours and clap's; a name's is none of these.
            for own in ["0", "1", "2", "4", "1;31", "31", "32", "33"] {
                text = text.replace(&format!("\x1b[{own}m"), "");
            }
        }
        let harm = |c: &char| c.is_control() && !matches!(c, '\n' | '\t') || ('\u{202a}'..='\u{202e}').contains(c);
        assert_eq!(text.chars().find(harm), None, "{arguments:?} {stream}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "{arguments:?} {stream}: {text}");
    }
    let errors = String::from_utf8_lossy(&output.stderr).replace("\x1b[1;31m", "").replace("\x1b[0m", "");
    match output.status.code() {
        Some(0) => {}
        Some(1) if arguments[0] != "explain" => {
            assert_eq!(errors.lines().filter(|l| l.starts_with("error: ")).count(), 1, "{arguments:?}: {errors}");
        }
        code => assert!(matches!(code, Some(1 | 2)), "{arguments:?}: {code:?} {errors}"),
    }
    output
}

/// All verbs with nothing behind them, as the help tells.
fn verbs(before: &[String]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
    let help = String::from_utf8(command.args(before).arg("--help").output().unwrap().stdout).unwrap();
    let Some((_, listed)) = help.split_once("\nCommands:\n") else { return vec![before.join(" ")] };
    let names = listed.lines().take_while(|l| !l.is_empty()).filter(|l| l.starts_with("  ") && !l.starts_with("   "));
    let names = names.filter_map(|l| l.split_whitespace().next()).filter(|name| *name != "help");
    names.flat_map(|name| verbs(&[before, &[name.to_owned()]].concat())).collect()
}

#[test]
fn no_verb_lets_a_name_out() {
    let files = Files::new("all");
    let Files { nic, tagged, program, odd, .. } = &files;
    let out = files.dir.join("out").to_str().unwrap().to_owned();
    let dev = "e\x1b[35m\nforged";
    let all: Vec<Vec<&str>> = vec![
        vec!["link", program, "--nic", nic, "-o", &out],
        vec!["link", program, "--nic", nic, "-o", &out, "--json"],
        vec!["link", odd, "--nic", nic, "-o", &out],
        vec!["link", program, "--nic", tagged, "-o", &out],
        vec!["link", program, "--nic", nic, "-o", &out, "--layout", EVIL, "--bind", "nic_meta=forged\n"],
        vec!["link", program, "--nic", nic, "-o", "/nowhere/\x1b[35m\nforged"],
        vec!["link", program, EVIL, "--nic", nic, "-o", &out],
        vec!["link", EVIL, "--nic", nic, "-o", &out, "--fallback", EVIL],
        vec!["explain", program, "--nic", nic],
        vec!["explain", odd, "--nic", nic],
        vec!["explain", program, "--nic", tagged],
        vec!["explain", program, "--nic", nic, "--json"],
        vec!["btf", "dump", nic],
        vec!["btf", "dump", nic, "--format", "json"],
        vec!["btf", "dump", EVIL],
        vec!["btf", "stitch", nic, tagged, "-o", &out],
        vec!["btf", "stitch", nic, "-o", "/nowhere/\x1b[35m\nforged"],
        vec!["layout", "show", nic],
        vec!["layout", "show", nic, "--json"],
        vec!["layout", "show", tagged],
        vec!["layout", "show", nic, "--layout", "forged\x1b[35m\nforged"],
        vec!["attach", program, "--dev", dev, "--nic", nic],
        vec!["attach", program, "--dev", "lo", "--nic", tagged],
        vec!["status", dev],
        vec!["probe", dev],
        vec!["status", "--netns", dev],
        vec!["detach", dev],
        vec!["layouts", "add", dev, nic],
        vec!["layouts", "remove", dev, EVIL],
        vec!["layouts", "list", dev],
        vec!["nic", "up", dev, "--layout", nic],
        vec!["nic", "flash", dev, "--layout", nic],
        vec!["nic", "send", dev],
        vec!["nic", "status", dev],
        vec!["nic", "down", dev],
        vec!["demo", "--packets", dev],
        vec![dev],
    ];
    for verb in verbs(&[]) {
        let tried = all.iter().any(|one| one.join(" ").starts_with(&format!("{verb} ")));
        assert!(tried, "`xhint {verb}` prints names that are not tried here");
    }
    // Who asks for a device that there cannot be still asks the kernel.
    let of_devices = ["attach", "status", "probe", "detach", "layouts", "nic"];
    let devices = privileged();
    for arguments in all.iter().filter(|one| devices || !of_devices.contains(&one[0])) {
        for styled in [false, true] {
            harmless(arguments, styled);
        }
    }
    let linked = harmless(&all[0], false);
    assert!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr));
    // Six types, four members, one enumerator: each in its line.
    let dump = String::from_utf8(harmless(&["btf", "dump", nic], false).stdout).unwrap();
    assert_eq!(dump.lines().count(), 6 + 4 + 1, "{dump}");
    let shown = String::from_utf8(harmless(&["layout", "show", nic], false).stdout).unwrap();
    assert!(shown.starts_with("e\\x1b[35m\\x1b[2J\\x07\\x1b]0;owned\\x07\\u{9b}35m\\u{202e}\\r\\nforged"), "{shown}");
    // JSON says the same in other letters.
    let json = harmless(&["layout", "show", nic, "--json"], false).stdout;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&json).unwrap()[0]["name"], EVIL);
}

#[test]
fn nor_does_one_on_a_device() {
    if !privileged() {
        return;
    }
    let files = Files::new("device");
    let mut world = World::new(&["names"]);
    let (n, name) = (world.netns[0].clone(), format!("wn{}", process::id()));
    world.nic(&name, &files.nic, &n);
    let on = ["--dev", &name, "--netns", &n, "--nic", &files.nic, "--no-count", "--dispatch", "none"];
    let attached = harmless(&[&["attach", &files.program][..], &on].concat(), true);
    assert!(attached.status.success(), "{}", String::from_utf8_lossy(&attached.stderr));
    let within = ["--netns", &n];
    for verb in [
        &["status", &name][..],
        &["status", &name, "--json"],
        &["layouts", "list", &name],
        &["layouts", "list", &name, "--json"],
        &["layouts", "add", &name, &files.nic],
        &["layouts", "add", &name, &files.tagged],
        &["layouts", "remove", &name, EVIL],
        &["layouts", "remove", &name, "forged\n\x1b[35m"],
        &["detach", &name],
    ] {
        harmless(&[verb, &within].concat(), true);
    }
    // The kernel's and its verifier's own words.
    harmless(&[&["attach", &files.odd, "--verbose"][..], &on].concat(), true);
    harmless(&["nic", "status", &name], true);
    harmless(&["nic", "status", &name, "--json"], true);
    harmless(&["nic", "flash", &name, "--layout", &files.tagged], true);
    harmless(&["detach", &name, "--netns", &n], true);
}
