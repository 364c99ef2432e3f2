//! What `xhint status` says of devices, and that all it names is there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{self, Command};

use common::{World, example, good, json, xhint};
use serde_json::Value;
use xhint_testkit::privileged;

/// Names of members that are not a map's or layout's own, at any depth.
fn members(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(all) => all.iter().for_each(|(name, value)| {
            into.insert(name.clone());
            members(value, into);
        }),
        Value::Array(all) => all.iter().for_each(|value| members(value, into)),
        _ => {}
    }
}

#[test]
fn what_it_prints_is_there_and_documented() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["stat", "moved"]);
    let (n, moved) = (world.netns[0].clone(), world.netns[1].clone());
    let name = format!("ws{}", process::id());
    let (prog, alpha, beta) = (example("hints.bpf.c"), example("nics/alpha_fw1.c"), example("nics/beta.c"));
    world.nic(&name, &alpha, &n);
    good(&["attach", &prog, "--dev", &name, "--netns", &n, "--nic", &alpha, "--dispatch", "tail"]);
    good(&["layouts", "add", &name, &beta, "--netns", &n]);
    good(&["nic", "send", &name, "--count", "10"]);

    let text = good(&["status", &name, "--netns", &n]);
    let (_, line) = text.split_once("maps in ").unwrap();
    let (dir, pins) = line.lines().next().unwrap().split_once(": ").unwrap();
    for pin in pins.split(", ") {
        assert!(Path::new(dir).join(pin).exists(), "{dir}/{pin}");
    }
    assert!(text.contains(&format!("network namespace {n}")), "{text}");

    let status = json(&["status", &name, "--netns", &n, "--json"]);
    for map in status["maps"].as_array().unwrap() {
        assert!(Path::new(map["path"].as_str().unwrap()).exists(), "{map}");
    }
    let mut names = BTreeSet::new();
    members(&status, &mut names);
    let docs = include_str!("../../../docs/json.md");
    let (_, docs) = docs.split_once("## A layout").unwrap();
    let missing: Vec<_> = names.iter().filter(|name| !docs.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/json.md says nothing of {missing:?}");

    // Moved and renamed, it is told by the name it has.
    let ip = |words: &[&str]| assert!(Command::new("ip").args(words).status().unwrap().success(), "{words:?}");
    let new = format!("{name}x");
    ip(&["-n", &n, "link", "set", &name, "name", &new, "netns", &moved]);
    let all = json(&["status", "--json"]);
    let it = all.as_array().unwrap().iter().find(|s| s["program_id"] == status["program_id"]).unwrap();
    assert_eq!((&it["device"], &it["netns_name"]), (&new.as_str().into(), &moved.as_str().into()));
    assert!(good(&["status", "--netns", &moved]).contains(&format!("{new} (index ")));
    assert!(!good(&["status", "--netns", &n]).contains("index"));
    good(&["detach", &new, "--netns", &moved]);
    ip(&["-n", &moved, "link", "set", &new, "name", &name, "netns", &n]);
}

/// Two files of one name are two, and each is the same from every directory.
#[test]
fn files_are_told_apart_by_where_they_are() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["files"]);
    let (n, name) = (world.netns[0].clone(), format!("wf{}", process::id()));
    let (prog, alpha, beta) = (example("hints.bpf.c"), example("nics/alpha_fw1.c"), example("nics/beta.c"));
    world.nic(&name, &alpha, &n);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for (dir, nic) in dirs.iter().zip([&alpha, &beta]) {
        std::fs::copy(nic, dir.path().join("nic.o")).unwrap();
    }
    let within = |dir: usize, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
        let done = command.args(arguments).args(["--netns", &n]).current_dir(&dirs[dir]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    within(0, &["attach", &prog, "--dev", &name, "--nic", "nic.o", "--dispatch", "tail"]);
    within(1, &["layouts", "add", &name, "nic.o"]);
    within(0, &["layouts", "remove", &name, "./nic.o"]);
    let left = within(0, &["layouts", "list", &name]);
    assert!(left.contains("beta_rx_completion") && !left.contains("nic_meta"), "{left}");
    good(&["detach", &name, "--netns", &n]);
}

#[test]
fn generic_mode_says_that_metadata_is_gone_and_it_is() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["gen"]);
    let (n, name) = (world.netns[0].clone(), format!("wg{}", process::id()));
    let (prog, alpha) = (example("hints.bpf.c"), example("nics/alpha_fw1.c"));
    world.nic(&name, &alpha, &n);
    let output = xhint(&["attach", &prog, "--dev", &name, "--netns", &n, "--nic", &alpha, "--mode", "generic"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("metadata") && said.contains("native mode"), "{said}");
    good(&["nic", "send", &name, "--count", "100"]);
    let status = json(&["status", &name, "--netns", &n, "--json"]);
    assert!(status["trouble"].as_str().unwrap().contains("in generic mode"), "{status}");
    assert_eq!(status["counters"]["layouts"][0]["packets"], 0, "{status}");
    assert!(status["counters"]["no_metadata"]["packets"].as_u64().unwrap() >= 100, "{status}");
    good(&["detach", &name, "--netns", &n]);
}
