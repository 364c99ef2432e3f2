//! What `--json` prints has the shape that docs/json.md promises: no member more, none less, and each is told of.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{self, Command};

use common::{World, example, good, json, xhint};
use serde_json::Value;
use xhint_testkit::{fixture, privileged};

const DOCS: &str = include_str!("../../../docs/json.md");
const EXPLAINED: &str = include_str!("../../../docs/explain-json.md");

const LAYOUT: &str = "fallback id name selector size slot sources";
const CHANGED: &str = "fallback id name selector size slot";

/// The names of an object's members, in order, each of which docs/json.md tells of under `heading`.
fn members(heading: &str, value: &Value) -> String {
    let told = DOCS.split("\n## ").find(|part| part.lines().next() == Some(heading)).unwrap();
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    for name in &names {
        assert!(value[*name] != "", "{name} has an empty text for null: {value}");
        assert!(told.contains(&format!("`{name}`")), "docs/json.md does not tell of {name} under {heading}");
    }
    names.join(" ")
}

#[test]
fn shapes_stay() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["json"]);
    let (n, name) = (world.netns[0].clone(), format!("wj{}", process::id()));
    let (prog, alpha, beta) = (example("hints.bpf.c"), example("nics/alpha_fw1.c"), example("nics/beta.c"));
    world.nic(&name, &alpha, &n);
    let nic = json(&["nic", "status", &name, "--json"]);
    let all = "arrived by_layout bytes dropped flash forwarded layouts mode name packets plain";
    assert_eq!(members("nic", &nic), all);
    assert_eq!(members("nic", &nic["layouts"][0]), "fields id name packets size");
    assert_eq!(members("nic", &nic["dropped"]), "malformed no_device no_room ring wire");

    let on = ["--dev", &name, "--netns", &n, "--nic", &alpha, "--dispatch", "tail", "--json"];
    let attached = json(&[&["attach", &prog][..], &on].concat());
    let all = "anew before device dispatch fields layouts program program_id replaced walk warnings why";
    assert_eq!((members("attach", &attached).as_str(), &attached["why"]), (all, &Value::Null));
    assert_eq!(members("A layout", &attached["layouts"][0]), LAYOUT);
    assert_eq!(attached["layouts"][0]["sources"], Value::from(vec![alpha.clone()]));

    let within = ["--netns", &n, "--json"];
    let call = |words: &[&str]| json(&[words, &within].concat());
    let added = call(&["layouts", "add", &name, &beta]);
    assert_eq!(members("layouts", &added), "added device swapped_to warnings");
    assert_eq!(members("A layout", &added["added"][0]), CHANGED);
    let list = call(&["layouts", "list", &name]);
    assert_eq!((list.as_array().unwrap().len(), members("A layout", &list[1]).as_str()), (2, LAYOUT));
    assert_eq!(list[1]["sources"], Value::from(vec![beta.clone()]));

    let sent = json(&["nic", "send", &name, "--count", "10", "--json"]);
    assert_eq!(members("nic", &sent), "arrived bytes dropped lost malformed no_device no_room packets seconds");

    let status = call(&["status", &name]);
    let all = "counters device dispatch fields ifindex layouts maps maps_dir mode netns netns_name nics object options program \
               program_id runs since trouble";
    assert_eq!(members("status", &status), all);
    assert_eq!(status["layouts"], list, "a layout is told the same everywhere");
    assert_eq!(members("status", &status["maps"][0]), "name path");
    let options = &status["options"];
    assert_eq!(
        members("status", options),
        "allow_missing bind bind_fields count dispatch drivers fallback fill first keep_metadata layouts program set walk"
    );
    assert_eq!(
        (&options["dispatch"], &status["dispatch"], &status["mode"]),
        (&"tail".into(), &"tail".into(), &"native".into())
    );
    let counters = &status["counters"];
    assert_eq!(members("status", counters), "ids layouts no_metadata unknown");
    assert_eq!(members("status", &counters["layouts"][0]), "id last_seen live name packets size");
    assert_eq!(members("status", &counters["unknown"]), "last_seen packets");

    let removed = call(&["layouts", "remove", &name, &beta]);
    assert_eq!(members("layouts", &removed), "device removed swapped_to warnings");
    assert_eq!(removed["removed"], added["added"], "what came has gone");
    assert_eq!(members("detach", &call(&["detach", &name])), "device program_id");

    let shown = json(&["layout", "show", &alpha, "--json"]);
    let all = "answers_to declared fields gaps id name no_selector selector size unwritable";
    assert_eq!(members("layout show", &shown[0]), all);
    let all = "bit_offset bits hint kind order path pointer signed type";
    assert_eq!(members("layout show", &shown[0]["fields"][0]), all);
    good(&["nic", "down", &name]);
}

#[test]
fn a_probe_has_its_shape_whatever_the_device() {
    if !privileged() {
        return;
    }
    for device in ["lo", "veth"] {
        let world = (device == "veth").then(|| World::new(&["probe"]));
        let within = world.as_ref().map_or(Vec::new(), |w| vec!["--netns", &*w.netns[0]]);
        if let Some(world) = &world {
            let link = ["-n", &world.netns[0], "link", "add", "veth", "type", "veth"];
            assert!(Command::new("ip").args(link).status().unwrap().success());
        }
        let probe = json(&[&["probe", device, "--json"], &within[..]].concat());
        let all = "bus capabilities device driver driver_version firmware hints ifindex kfuncs module netns netns_name \
                   offloads parent paths programs refuses_metadata room rx_metadata virtio_features xdp_features zero_copy_segments";
        assert_eq!(members("probe", &probe), all);
        assert_eq!(members("probe", &probe["kfuncs"][0]), "answer function module name nanoseconds offered why");
        assert_eq!(members("probe", &probe["offloads"]), "rx_hash rx_timestamps rx_vlan");
        assert_eq!(members("probe", &probe["programs"]), "generic native offloaded");
        let rights = "CAP_BPF CAP_NET_ADMIN CAP_NET_RAW CAP_PERFMON CAP_SYS_ADMIN";
        assert_eq!(members("probe", &probe["capabilities"]), rights);
        assert_eq!(members("probe", &probe["hints"][0]), "from hint offers");
        assert_eq!(members("probe", &probe["hints"][0]["offers"][0]), "nanoseconds provider standing what why");
        assert_eq!(probe["module"].is_null(), device == "lo");
        if device == "veth" {
            assert_eq!(members("probe", &probe["module"]), "btf loaded name unreadable");
            assert_eq!(members("probe", &probe["room"]), "found written");
            assert_eq!(members("probe", &probe["paths"][0]), "hint path says why");
        }
    }
}

/// Every field that the tables of docs/explain-json.md name, by the heading above.
fn documented() -> Vec<Vec<&'static str>> {
    let parts = EXPLAINED.split("\n## ");
    let rows = |part: &'static str| part.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
    let mut all: Vec<Vec<&str>> = parts.map(rows).collect();
    all.iter_mut().for_each(|names| names.sort_unstable());
    all
}

/// That each object has the fields of its table, no more and no less, and none of them is an empty text.
fn explained(report: &Value) {
    let [top, layout, dispatch, relocation, place, result] = <[_; 6]>::try_from(documented()).unwrap();
    let is = |value: &Value, table: &[&str]| {
        let object = value.as_object().unwrap();
        let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, table, "{value}");
        assert!(object.values().all(|v| v != ""), "an empty text for null: {value}");
    };
    let each = |value: &Value| value.as_array().unwrap().clone();
    is(report, &top);
    is(&report["dispatch"], &dispatch);
    each(&report["layouts"]).iter().for_each(|l| is(l, &layout));
    for one in each(&report["relocations"]) {
        is(&one, &relocation);
        each(&one["results"]).iter().for_each(|r| is(r, &result));
        if !one["place"].is_null() {
            is(&one["place"], &place);
        }
    }
}

#[test]
fn reports_have_every_field_whatever_came_of_linking() {
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let nics = ["alpha_fw1", "alpha_fw2", "beta"].map(|n| example(&format!("nics/{n}.c")));
    let [prog, out] = [example("hints.bpf.c"), fixture::cache().join("shape.o").display().to_string()];
    let nics: Vec<&str> = nics.iter().flat_map(|nic| ["--nic", nic.as_str()]).collect();
    let given = [&[prog.as_str(), "--json", "--base", &base], &nics[..]].concat();
    let mut seen = (0, 0);
    for more in ["auto", "none", "static", "tail", "table"] {
        let output = xhint(&[&["explain", "--dispatch", more], &given[..]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        explained(&report);
        assert!(!report["relocations"].as_array().unwrap().is_empty());
        *if report["refused"].is_null() { &mut seen.0 } else { &mut seen.1 } += 1;
        if output.status.success() {
            explained(&json(&[&["link", "-o", &out, "--dispatch", more], &given[..]].concat()));
        }
    }
    assert_eq!(seen, (4, 1), "linked and refused");
}

/// Of a file whose name is no text, too: what is no UTF-8 is replaced.
#[test]
fn stitching_tells_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join(OsStr::from_bytes(b"flat\xff.btf"));
    let nic = example("nics/alpha_fw1.c");
    let mut stitch = Command::new(env!("CARGO_BIN_EXE_xhint"));
    let done = stitch.args(["btf", "stitch", &nic, "--json", "-o"]).arg(&output).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(members("btf", &told), "bytes output warnings");
    assert_eq!(told["output"], output.display().to_string());
    assert_eq!(told["bytes"], output.metadata().unwrap().len());
}
