//! `xhint demo` as a user runs it: what it says, and that nothing of it stays.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xhint_testkit::privileged;

/// One demo at a time, so that each test may look for what it left.
static ONE: Mutex<()> = Mutex::new(());

fn demo(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
    command.arg("demo").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Namespaces and pins of the demo with this process id.
fn left(pid: u32) -> Vec<String> {
    let names = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).collect()
    };
    let all = [names("/run/netns"), names("/sys/fs/bpf/xhint/nic")].concat();
    all.into_iter().filter(|n| n.ends_with(&pid.to_string())).collect()
}

#[test]
fn every_field_of_every_packet_is_right() {
    if !privileged() {
        return;
    }
    let _one = ONE.lock().unwrap();
    let start = Instant::now();
    let child = demo(&["--packets", "6000", "--json"]);
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(300));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "", "no progress where nobody watches");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |key: &str| report[key].as_u64().unwrap();
    assert_eq!([number("sent"), number("seen"), number("lost"), number("misread")], [6000, 6000, 0, 0]);
    assert!(number("swaps") >= 2);
    let runs = report["runs"].as_array().unwrap();
    let name = |r: &Value| format!("{} {} {}", r["nic"], r["firmware"], r["layout"]);
    let names: Vec<_> = runs.iter().map(name).collect();
    assert_eq!(names, [r#""alpha" 1 "nic_meta""#, r#""alpha" 2 "nic_meta""#, r#""beta" 1 "beta_rx_completion""#]);
    assert_eq!(runs.iter().map(|r| r["packets"].as_u64().unwrap()).sum::<u64>(), 6000);
    let field =
        |run: &Value, name: &str| run["fields"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap().clone();
    // What moves, narrows, vanishes, comes; and what the other vendor has the other way round.
    assert_ne!(field(&runs[0], "rx_hash")["bit_offset"], field(&runs[1], "rx_hash")["bit_offset"]);
    assert_eq!(field(&runs[0], "rx_queue")["bits"], 16);
    assert_eq!(field(&runs[1], "rx_queue")["bits"], 8);
    assert_eq!(field(&runs[1], "flow_mark")["path"], Value::Null);
    assert_eq!(field(&runs[1], "flow_mark")["read"], 0);
    assert_eq!(field(&runs[1], "seq")["read"], runs[1]["packets"]);
    assert_eq!(field(&runs[2], "rx_hash")["big_endian"], true);
    assert_eq!(left(pid), Vec::<String>::new());
}

#[test]
fn nothing_is_left_however_it_ends() {
    if !privileged() {
        return;
    }
    let _one = ONE.lock().unwrap();
    for (signal, wait) in [(Signal::SIGINT, 700), (Signal::SIGTERM, 1500), (Signal::SIGHUP, 300)] {
        let child = started(wait);
        let pid = child.id();
        let output = end(child, signal).unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("interrupted"), "{said}");
        assert_eq!(left(pid), Vec::<String>::new(), "after {signal}");
    }
    // Who is killed can clear nothing away; the next one does.
    let child = started(1500);
    let pid = child.id();
    end(child, Signal::SIGKILL).unwrap();
    assert!(!left(pid).is_empty());
    assert!(demo(&["--packets", "3000"]).wait_with_output().unwrap().status.success());
    assert_eq!(left(pid), Vec::<String>::new());
}

/// A demo with much to do, `wait` milliseconds after its namespace was made.
fn started(wait: u64) -> Child {
    let child = demo(&["--packets", "10000000"]);
    let netns = format!("/run/netns/xhint-demo-{}", child.id());
    let since = Instant::now();
    while !Path::new(&netns).exists() {
        assert!(since.elapsed() < Duration::from_secs(20), "it does not begin");
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(wait));
    child
}

fn end(child: Child, signal: Signal) -> io::Result<std::process::Output> {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, signal)?;
    child.wait_with_output()
}

#[test]
fn two_at_once_do_not_meet() {
    if !privileged() {
        return;
    }
    let _one = ONE.lock().unwrap();
    let both = [demo(&["--packets", "3000"]), demo(&["--packets", "3000"])];
    for child in both {
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(left(pid), Vec::<String>::new());
    }
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [&["--packets", "0"][..], &["--nonsense"], &["--packets", "many"]] {
        assert_eq!(demo(arguments).wait_with_output().unwrap().status.code(), Some(2), "{arguments:?}");
    }
}
