//! What `xhint probe` says of a device.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::process::{Command, Output};

use common::{World, bad, good, json};
use serde_json::Value;
use xhint_testkit::privileged;

fn run(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap()
}

/// A namespace with a veth and a tap.
fn world(what: &str) -> World {
    let world = World::new(&[what]);
    let n = &world.netns[0];
    assert!(run("ip", &["-n", n, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"]).status.success());
    assert!(run("ip", &["-n", n, "tuntap", "add", "dev", "tap0", "mode", "tap"]).status.success());
    world
}

/// The value of a line `key: value`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

#[test]
fn its_lines_are_those_of_ethtool_and_its_json() {
    if !privileged() {
        return;
    }
    let world = world("probe");
    let n = &world.netns[0];
    for device in ["veth0", "tap0"] {
        let told = run("ip", &["netns", "exec", n, "ethtool", "-i", device]);
        let told = String::from_utf8(told.stdout).unwrap();
        let text = good(&["probe", device, "--netns", n]);
        for key in ["driver", "version", "firmware-version", "bus-info"] {
            let theirs = value(&told, key).map(|v| if v.is_empty() { "–" } else { v });
            assert!(theirs.is_some() && value(&text, key) == theirs, "{key}: {text}");
        }
        let json = json(&["probe", device, "--netns", n, "--json"]);
        assert_eq!((&json["device"], &json["netns_name"]), (&device.into(), &n.as_str().into()));
        for kfunc in json["kfuncs"].as_array().unwrap() {
            let (name, answer, why) = (&kfunc["name"], &kfunc["answer"], &kfunc["why"]);
            let line = value(&text, name.as_str().unwrap()).unwrap();
            assert!(line.contains(&format!("{}: {}", answer.as_str().unwrap(), why.as_str().unwrap())), "{line}");
            assert!(kfunc["function"].as_str().is_none_or(|function| line.starts_with(function)), "{line}");
        }
        // A row a hint, and what it comes from.
        let (_, table) = text.split_once("\nhint ").unwrap();
        let hints = json["hints"].as_array().unwrap();
        assert_eq!(table.lines().count(), hints.len() + 1);
        for (row, hint) in table.lines().skip(1).zip(hints) {
            let mut words = row.split_whitespace();
            assert_eq!(words.next(), hint["hint"].as_str());
            assert_eq!(words.next(), Some(hint["from"].as_str().unwrap_or("–")), "{row}");
        }
        let from = |name: &str| &hints.iter().find(|hint| hint["hint"] == name).unwrap()["from"];
        assert_eq!(
            (from("ipv4_src"), from("rx_timestamp"), from("flow_mark")),
            (&"software".into(), &Value::Null, &Value::Null)
        );
    }
}

/// Nothing runs on it before, and nothing does then.
#[test]
fn a_probe_leaves_no_trace() {
    if !privileged() {
        return;
    }
    let world = world("trace");
    let n = &world.netns[0];
    let link = || String::from_utf8(run("ip", &["-n", n, "-d", "-s", "link", "show", "veth0"]).stdout).unwrap();
    let before = link();
    good(&["probe", "veth0", "--netns", n]);
    assert_eq!(link(), before);
    // What runs is told, and goes on.
    let prog = common::example("hints.bpf.c");
    good(&["attach", &prog, "--dev", "veth0", "--netns", n, "--nic", &common::example("nics/beta.c")]);
    let id = json(&["status", "veth0", "--netns", n, "--json"])["program_id"].clone();
    assert_eq!(json(&["probe", "veth0", "--netns", n, "--json"])["programs"]["native"], id);
    assert_eq!(json(&["status", "veth0", "--netns", n, "--json"])["program_id"], id);
    good(&["detach", "veth0", "--netns", n]);
}

#[test]
fn what_cannot_be_asked_is_told() {
    if !privileged() {
        return;
    }
    assert!(bad(&["probe", "nosuchdev0"]).contains("nosuchdev0: no such network device"));
    assert!(bad(&["probe", ""]).contains("cannot be the name of a network device"));
    assert!(bad(&["probe", "lo", "--netns", "no-such-namespace"]).contains("no-such-namespace"));
    // Without any rights, in a namespace of its own.
    let world = world("few");
    let bare = ["setpriv", "--bounding-set=-all", env!("CARGO_BIN_EXE_xhint"), "probe", "veth0"];
    let done = run("ip", &[&["netns", "exec", &world.netns[0]][..], &bare].concat());
    let (text, said) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    assert_eq!(value(&text, "driver"), Some("veth"));
    assert_eq!(value(&text, "metadata-room"), Some("not known: asking takes CAP_BPF and CAP_NET_ADMIN"));
    assert!(value(&text, "capabilities").unwrap().starts_with("–; lacking CAP_BPF"), "{text}");
}
