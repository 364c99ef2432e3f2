//! Peak memory, each way in a process of its own.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Runs this executable again with `arguments`, which must end in [`report`], and returns the kibibytes it reported.
///
/// # Panics
/// When the child fails.
#[must_use]
pub fn of_child(arguments: &[&str]) -> u64 {
    let me = env::current_exe().expect("this executable");
    let output = Command::new(me).args(arguments).output().expect("a child");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("kibibytes")
}

/// Prints the most memory this process has held so far (`VmHWM`), in kibibytes.
///
/// # Panics
/// Without `/proc`.
pub fn report() {
    let status = fs::read_to_string(Path::new("/proc/self/status")).expect("/proc/self/status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    println!("{}", peak.trim().trim_end_matches(" kB"));
}
