//! How `xhint attach --follow` ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{World, bad, example, good, json, xhint};
use xhint_testkit::fixture::{Compile, keep};
use xhint_testkit::privileged;

/// A namespace with a veth pair, a copy of a NIC's file, and who follows it.
struct Stage {
    world: World,
    dir: tempfile::TempDir,
}

impl Stage {
    fn new(letter: &str) -> Stage {
        let world = World::new(&[letter]);
        let link = format!("-n {} link add near type veth peer name far", world.netns[0]);
        assert!(Command::new("ip").args(link.split(' ')).status().unwrap().success());
        Stage { world, dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> String {
        self.dir.path().join("nic.o").display().to_string()
    }

    fn put(&self, nic: &str) {
        let fresh = self.dir.path().join(".fresh");
        fs::copy(example(nic), &fresh).unwrap();
        fs::rename(fresh, self.file()).unwrap();
    }

    fn follow(&self) -> Child {
        self.follow_told(None)
    }

    /// Following, with a service manager to be told at that socket.
    fn follow_told(&self, socket: Option<&Path>) -> Child {
        self.put("nics/alpha_fw1.c");
        let (program, file) = (example("hints.bpf.c"), self.file());
        let n = &self.world.netns[0];
        let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
        command.args(["attach", &program, "--dev", "near", "--netns", n, "--nic", &file, "--follow"]);
        match socket {
            Some(socket) => command.env("NOTIFY_SOCKET", socket),
            None => command.env_remove("NOTIFY_SOCKET"),
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// The code it ends with, and what it said on standard error.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn a_device_that_goes_is_an_error() {
    if !privileged() {
        return;
    }
    let stage = Stage::new("fgone");
    let mut child = stage.follow();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    let del = format!("-n {} link del near", stage.world.netns[0]);
    assert!(Command::new("ip").args(del.split(' ')).status().unwrap().success());
    let (code, said) = ended(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("near") && said.contains("nothing left to follow") && said.lines().count() == 1, "{said}");
}

#[test]
fn without_a_reader_it_ends_in_words() {
    if !privileged() {
        return;
    }
    let stage = Stage::new("fdeaf");
    let mut child = stage.follow();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        out.read_line(&mut String::new()).unwrap();
    }
    // Nothing happens that would be told.
    drop(out);
    let (code, said) = ended(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nobody reads") && said.lines().count() == 1, "{said}");
    let n = stage.world.netns[0].as_str();
    assert!(xhint(&["detach", "near", "--netns", n]).status.success(), "what runs goes on");
}

#[test]
fn a_pipe_cannot_be_followed() {
    if !privileged() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("nic.pipe").display().to_string();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let says = bad(&["attach", &example("hints.bpf.c"), "--dev", "lo", "--nic", &pipe, "--follow"]);
    assert!(says.contains("nic.pipe") && says.contains("cannot be followed"), "{says}");
}

#[test]
fn a_service_manager_is_told_once_the_program_runs() {
    if !privileged() {
        return;
    }
    let stage = Stage::new("ftold");
    let socket = stage.dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let child = stage.follow_told(Some(&socket));
    let mut buffer = [0; 64];
    let length = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");
    let n = &stage.world.netns[0];
    assert!(xhint(&["status", "near", "--netns", n]).status.success());
    // To detach is a good end, after which it is not to be started again.
    assert!(xhint(&["detach", "near", "--netns", n]).status.success());
    let (code, said) = ended(child);
    assert_eq!(code, Some(0), "{said}");
}

/// The flash of a firmware that goes on with a layout of the one before: packets of it are never of an unknown layout, and
/// those of the old one's own are read until the last of them has come.
#[test]
fn a_flash_that_shares_a_layout_is_followed() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["fshare"]);
    let dir = tempfile::tempdir().unwrap();
    let tag = |t: &str| format!("__attribute__((btf_decl_tag(\"{t}\")))");
    let layout = |name: &str, pad: u32| {
        let (l, a) = (tag("xhint:layout"), tag("xhint:as=nic_meta"));
        format!("struct {name} {{ unsigned pad[{pad}], rx_hash, btf_id; }} {l} {a}; struct {name} *of_{name};\n")
    };
    let firmware = |n: u32| {
        let source = layout("shared", 1) + &layout(&format!("own{n}"), n + 1);
        Compile::new(&keep(&format!("share{n}"), "c", source.as_bytes())).object().display().to_string()
    };
    let [one, two] = [1, 2].map(firmware);
    let file = dir.path().join("nic.o").display().to_string();
    fs::copy(&one, &file).unwrap();
    let (n, name) = (world.netns[0].clone(), format!("wfs{}", std::process::id()));
    world.nic(&name, &one, &n);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
    command.args(["attach", &example("hints.bpf.c"), "--dev", &name, "--netns", &n, "--nic", &file, "--follow"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(out.any(|line| line.contains("linked for own1")));
    good(&["nic", "send", &name, "--count", "100"]);
    // Only now it is sure to be followed.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let fresh = dir.path().join(".fresh");
    fs::copy(&two, &fresh).unwrap();
    fs::rename(fresh, &file).unwrap();
    let swapped = out.find(|line| line.contains("swapped in as")).unwrap();
    assert!(swapped.contains("own1 (0x") && swapped.contains("own2 (0x"), "{swapped}");
    assert!(swapped.contains("packets of the old layout are still read"), "{swapped}");
    // The NIC is flashed later than its file came.
    good(&["nic", "send", &name, "--count", "100"]);
    good(&["nic", "flash", &name, "--layout", &two]);
    let status = json(&["nic", "status", &name, "--json"]);
    let names: Vec<_> = status["layouts"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["shared", "own2"]);
    // Two files that share it, as well.
    good(&["nic", "flash", &name, "--layout", &one, "--layout", &two]);
    assert_eq!(json(&["nic", "status", &name, "--json"])["layouts"].as_array().unwrap().len(), 3);
    good(&["nic", "send", &name, "--count", "100"]);
    let counters = &json(&["status", &name, "--netns", &n, "--json"])["counters"];
    assert_eq!(counters["unknown"]["packets"], 0, "{counters}");
    let all = counters["layouts"].as_array().unwrap().iter().map(|l| l["packets"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(all, 300, "{counters}");
    good(&["detach", &name, "--netns", &n]);
    assert!(child.wait().unwrap().success());
}
