//! `xhint nic` as a user runs it: where the NIC is kept, what is not ours, and packets that do not arrive.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::{self, Command};

use common::{World, bad, example, good, json, xhint};
use serde_json::Value;
use xhint_testkit::privileged;

fn ip(arguments: &[&str]) -> String {
    let done = Command::new("ip").args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// What `ip netns exec` runs has mounts of its own, which go when it ends; the NIC does not.
#[test]
fn brought_up_under_ip_netns_exec_it_stays() {
    if !privileged() {
        return;
    }
    let world = World::new(&["exec"]);
    let (n, name) = (&world.netns[0], format!("we{}", process::id()));
    let within = ["netns", "exec", n, env!("CARGO_BIN_EXE_xhint"), "nic"];
    ip(&[&within[..], &["up", &name, "--layout", &example("nics/beta.c")]].concat());
    assert!(ip(&["-n", n, "-br", "link"]).contains(&name), "the device is in the namespace it was brought up in");
    assert_eq!(json(&["nic", "status", &name, "--json"])["layouts"][0]["name"], "beta_rx_completion");
    good(&["nic", "send", &name, "--count", "10"]);
    ip(&[&within[..], &["down", &name]].concat());
    assert!(bad(&["nic", "status", &name]).contains("there is no soft NIC"));
    assert!(!ip(&["netns"]).contains(&name));
}

#[test]
fn what_others_made_is_left_alone() {
    if !privileged() {
        return;
    }
    let name = format!("wf{}", process::id());
    let inner = format!("xhint-{name}");
    ip(&["netns", "add", &inner]);
    for says in [bad(&["nic", "up", &name]), bad(&["nic", "down", &name])] {
        assert!(says.contains(&inner) && says.contains("is no soft NIC's"), "{says}");
    }
    ip(&["netns", "del", &inner]);
}

#[test]
fn packets_that_do_not_arrive_are_told() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["lost"]);
    let (n, name) = (world.netns[0].clone(), format!("wl{}", process::id()));
    world.nic(&name, &example("nics/beta.c"), &n);
    ip(&["-n", &n, "link", "set", &name, "down"]);
    let output = xhint(&["nic", "send", &name, "--count", "20", "--json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("20 of 20 packets did not arrive") && said.lines().count() == 1, "{said}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lost = ["dropped", "no_room", "no_device", "malformed", "lost"].map(|why| told[why].as_u64().unwrap());
    assert_eq!((told["arrived"].as_u64(), lost.iter().sum::<u64>()), (Some(0), 20), "{told}");
    ip(&["-n", &n, "link", "set", &name, "up"]);
    good(&["nic", "send", &name, "--count", "20"]);
}

/// No user may hold the locks or look at the pins, whatever the umask of whoever brings the NIC up. Where what is kept
/// stood before, it stays as it was.
#[test]
fn modes_do_not_hang_on_the_umask() {
    if !privileged() {
        return;
    }
    let world = World::new(&["umask"]);
    let (n, name) = (&world.netns[0], format!("wm{}", process::id()));
    let up = format!("umask 0; exec {} nic up {name} --netns {n}", env!("CARGO_BIN_EXE_xhint"));
    assert!(Command::new("sh").args(["-c", &up]).status().unwrap().success());
    let kept = ["/sys/fs/bpf/xhint".to_owned(), format!("/sys/fs/bpf/xhint/nic/{name}")];
    let modes = kept.map(|path| std::fs::metadata(path).unwrap().permissions().mode() & 0o077);
    good(&["nic", "down", &name]);
    assert_eq!(modes, [0, 0]);
}

#[test]
fn a_place_that_another_made_is_not_trusted() {
    if !privileged() {
        return;
    }
    let made = "umount -l /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf && mkdir /sys/fs/bpf/xhint && chown 65534 /sys/fs/bpf/xhint";
    let up = format!("{made} && exec {} nic up wo{}", env!("CARGO_BIN_EXE_xhint"), process::id());
    let output =
        Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", &up]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("/sys/fs/bpf/xhint: belongs to the user with id 65534, so what is in it is not trusted"),
        "{said}"
    );
}
