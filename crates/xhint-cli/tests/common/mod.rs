//! What the tests of the command line share: calling it, and devices to call it on.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::process::{self, Command, Output};

use serde_json::Value;
use xhint_testkit::fixture;

/// A file of `examples/`, compiled.
pub fn example(name: &str) -> String {
    fixture::example(name).object().display().to_string()
}

pub fn xhint(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xhint")).args(arguments).output().unwrap()
}

/// What it prints when all is well.
pub fn good(arguments: &[&str]) -> String {
    let output = xhint(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one line it says when it is not.
pub fn bad(arguments: &[&str]) -> String {
    let output = xhint(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// Network namespaces and soft NICs that go when dropped.
pub struct World {
    pub netns: Vec<String>,
    nics: Vec<String>,
}

impl World {
    pub fn new(letters: &[&str]) -> World {
        let name = |l: &&str| format!("xhcli-{l}-{}", process::id());
        let world = World { netns: letters.iter().map(name).collect(), nics: Vec::new() };
        for netns in &world.netns {
            assert!(Command::new("ip").args(["netns", "add", netns]).status().unwrap().success());
        }
        world
    }

    pub fn nic(&mut self, name: &str, layout: &str, netns: &str) {
        self.nics.push(name.to_owned());
        good(&["nic", "up", name, "--layout", layout, "--netns", netns]);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for nic in &self.nics {
            xhint(&["nic", "down", nic]);
        }
        for netns in &self.netns {
            let _ = Command::new("ip").args(["netns", "del", netns]).status();
        }
    }
}

pub fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&good(arguments)).unwrap()
}
