//! A walk through `nic`, `attach`, `status` and `detach` as the README has it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::fs;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{World, bad, example, good, json, xhint};
use serde_json::Value;
use xhint_testkit::privileged;

#[test]
fn a_walk_by_hand() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["a"]);
    let (n, nic) = (world.netns[0].clone(), format!("wa{}", process::id()));
    let (prog, fw1, fw2) = (example("hints.bpf.c"), example("nics/alpha_fw1.c"), example("nics/alpha_fw2.c"));
    world.nic(&nic, &fw1, &n);

    let one = json(&["attach", &prog, "--dev", &nic, "--netns", &n, "--nic", &fw1, "--json"]);
    assert_eq!((&one["program"], &one["before"]), (&"hints".into(), &Value::Null));
    assert_eq!(one["layouts"].as_array().unwrap().len(), 1);
    assert!(good(&["nic", "send", &nic, "--count", "500"]).starts_with("500 packets sent, 500 arrived, 0 dropped"));
    let status = json(&["status", &nic, "--netns", &n, "--json"]);
    assert_eq!((&status["device"], &status["program_id"]), (&nic.as_str().into(), &one["program_id"]));

    let both = json(&["attach", &prog, "--dev", &nic, "--netns", &n, "--nic", &fw1, "--nic", &fw2, "--json"]);
    assert_eq!((&both["dispatch"], &both["before"]), (&"static".into(), &one["program_id"]));
    assert_eq!(both["layouts"].as_array().unwrap().len(), 2);
    good(&["nic", "flash", &nic, "--layout", &fw2]);
    good(&["nic", "send", &nic, "--count", "500"]);
    let all = good(&["status", "--netns", &n]);
    assert!(all.contains(&nic) && all.contains("nic_meta"), "{all}");

    let text = good(&["detach", &nic, "--netns", &n]);
    assert!(text.contains("detached"), "{text}");
    assert!(bad(&["status", &nic, "--netns", &n]).contains("nothing attached"));
    assert!(bad(&["detach", &nic, "--netns", &n]).contains("nothing attached"));
}

#[test]
fn two_namespaces_may_have_one_name() {
    if !privileged() {
        return;
    }
    let world = World::new(&["b", "c"]);
    let (prog, beta) = (example("hints.bpf.c"), example("nics/beta.c"));
    for n in &world.netns {
        let ip = |args: &[&str]| assert!(Command::new("ip").args(["-n", n]).args(args).status().unwrap().success());
        ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]);
        good(&["attach", &prog, "--dev", "eth0", "--netns", n, "--nic", &beta]);
    }
    let [b, c] = [&world.netns[0], &world.netns[1]];
    let id = |n: &str| json(&["status", "eth0", "--netns", n, "--json"])["program_id"].clone();
    assert_ne!(id(b), id(c));
    let before = id(c);
    good(&["detach", "eth0", "--netns", b]);
    assert_eq!(id(c), before);
    // From inside a namespace, as `ip netns exec` starts it, with a /sys of its own.
    let inside = |args: &[&str]| {
        let output = Command::new("ip").args(["netns", "exec", c, env!("CARGO_BIN_EXE_xhint")]).args(args).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(inside(&["status", "eth0"]).contains(&before.to_string()));
    inside(&["attach", &prog, "--dev", "eth0", "--nic", &beta]);
    assert_ne!(id(c), before, "what was attached inside is seen outside");
    inside(&["detach", "eth0"]);
    assert!(bad(&["status", "eth0", "--netns", c]).contains("nothing attached"));
}

#[test]
fn several_at_once_take_turns() {
    if !privileged() {
        return;
    }
    let world = World::new(&["d"]);
    let (n, prog, beta) = (world.netns[0].clone(), example("hints.bpf.c"), example("nics/beta.c"));
    let ip =
        Command::new("ip").args(["-n", &n, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]).status();
    assert!(ip.unwrap().success());
    let arguments = ["attach", &prog, "--dev", "eth0", "--netns", &n, "--nic", &beta, "--json"];
    let outputs: Vec<Value> = std::thread::scope(|s| {
        let all: Vec<_> = (0..6).map(|_| s.spawn(|| in_turn(&arguments))).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    // Each took the place of another, and one was first.
    let mut before: Vec<_> = outputs.iter().map(|o| o["before"].as_u64()).collect();
    before.sort_unstable();
    before.dedup();
    assert_eq!(before.len(), 6, "{before:?}");
    assert_eq!(before[0], None);
    let now = json(&["status", "eth0", "--netns", &n, "--json"])["program_id"].as_u64();
    assert!(!before.contains(&now), "the last one runs");
    good(&["detach", "eth0", "--netns", &n]);
}

/// Who waits longer than xhint does, on a slow machine, is told so and asks again.
fn in_turn(arguments: &[&str]) -> Value {
    loop {
        let output = xhint(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).unwrap();
        }
        assert!(said.contains("try again when it is done"), "{said}");
    }
}

#[test]
fn who_follows_in_json_ends_in_json() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["follow"]);
    let (n, nic) = (world.netns[0].clone(), format!("wj{}", process::id()));
    let (prog, beta) = (example("hints.bpf.c"), example("nics/beta.c"));
    world.nic(&nic, &beta, &n);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
    command.args(["attach", &prog, "--dev", &nic, "--netns", &n, "--nic", &beta, "--follow", "--json"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    while !xhint(&["detach", &nic, "--netns", &n]).status.success() {
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let values: Vec<Value> = values.map(Result::unwrap).collect();
    assert!(output.status.success() && values.len() == 2, "{values:?}");
    assert_eq!((&values[0]["device"], &values[1]["kind"]), (&nic.as_str().into(), &"ended".into()));
}

/// As an ordinary user with the two capabilities, who owns what xhint keeps; in a mount namespace of its own, so that
/// nobody else's is touched.
#[test]
fn an_ordinary_user_needs_two_capabilities_and_two_directories() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["user"]);
    let (n, nic) = (world.netns[0].clone(), format!("wu{}", process::id()));
    let (prog, alpha, beta) = (example("hints.bpf.c"), example("nics/alpha_fw1.c"), example("nics/beta.c"));
    world.nic(&nic, &alpha, &n);
    let dir = tempfile::tempdir().unwrap();
    let files = [(env!("CARGO_BIN_EXE_xhint"), "xhint"), (&prog, "prog.o"), (&alpha, "alpha.o"), (&beta, "beta.o")];
    for (from, to) in files {
        fs::copy(from, dir.path().join(to)).unwrap();
    }
    let script = r#"set -e
        chmod -R a+rX . && mkdir -p /run/xhint && mount -t tmpfs -o mode=0700 run /run/xhint && mount -t bpf bpf /sys/fs/bpf
        mkdir /sys/fs/bpf/xhint && chown 65534 /run/xhint /sys/fs/bpf/xhint
        user="setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+bpf,+net_admin --ambient-caps=+bpf,+net_admin"
        $user ./xhint attach prog.o --dev $1 --nic alpha.o --dispatch tail
        $user ./xhint layouts add $1 beta.o && $user ./xhint status $1 && $user ./xhint detach $1"#;
    let inside = ["--net".to_owned() + "=/run/netns/" + &n, "unshare".to_owned(), "--mount".to_owned()];
    let mut command = Command::new("nsenter");
    command.args(inside).args(["sh", "-c", script, "sh", &nic]).current_dir(dir.path());
    let output = command.output().unwrap();
    let (said, shown) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    assert!(output.status.success(), "{said}{shown}");
    assert!(shown.contains("without CAP_PERFMON") && shown.contains("beta_rx_completion"), "{shown}");
}
