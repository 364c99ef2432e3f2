//! xhint killed at any moment of what it does to a device: the device goes on passing packets, and the next call finds
//! its way.
//!
//! `XHINT_STRESS=200 cargo test -p xhint --test killed -- --nocapture` kills so often; without it, a few times.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::expect_used
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use xhint_softnic::{Mix, SendOptions, SoftNic, Traffic};
use xhint_testkit::fixture::example;
use xhint_testkit::privileged;

/// A soft NIC in a network namespace of its own; both gone when dropped.
struct Stage {
    netns: String,
    name: String,
    files: Files,
}

struct Files {
    program: PathBuf,
    alpha: PathBuf,
    beta: PathBuf,
    gamma: PathBuf,
}

impl Stage {
    fn new() -> Stage {
        let object = |name: &str| example(name).object();
        let files = Files {
            program: object("hints.bpf.c"),
            alpha: object("nics/alpha_fw1.c"),
            beta: object("nics/alpha_fw2.c"),
            gamma: object("nics/beta.c"),
        };
        let (netns, name) = (format!("xhkill-{}", std::process::id()), format!("xhk{}", std::process::id()));
        assert!(Command::new("ip").args(["netns", "add", &netns]).status().unwrap().success());
        let stage = Stage { netns, name, files };
        let up = ["nic", "up", &stage.name, "--netns", &stage.netns, "--mode", "round"].map(str::to_owned);
        let layouts = [&stage.files.alpha, &stage.files.beta, &stage.files.gamma];
        let layouts = layouts.into_iter().flat_map(|p| ["--layout".to_owned(), text(p)]);
        succeeded(&xhint(up.into_iter().chain(layouts)).output().unwrap());
        stage
    }

    /// One thing to do to the device.
    fn step(&self, step: Step) -> Command {
        let on = ["--netns", &self.netns];
        let words: Vec<&str> = match step {
            Step::Attach(dispatch) => {
                let nics = ["--nic", text_of(&self.files.alpha), "--nic", text_of(&self.files.beta)];
                let program = ["attach", text_of(&self.files.program), "--dev", &self.name, "--dispatch", dispatch];
                program.into_iter().chain(nics).collect()
            }
            Step::Add => vec!["layouts", "add", &self.name, text_of(&self.files.gamma)],
            Step::Remove => vec!["layouts", "remove", &self.name, "beta_rx_completion"],
            Step::Detach => vec!["detach", &self.name],
        };
        xhint(words.into_iter().chain(on).map(str::to_owned))
    }

    /// Sends a few packets; all must come through.
    fn passes(&self) {
        let nic = SoftNic::open(&self.name).unwrap();
        let traffic = Traffic::mixed(&Mix { to: nic.mac(), ..Mix::default() });
        let sent = nic.send(&traffic, &SendOptions { count: Some(64), ..SendOptions::default() }).unwrap();
        assert_eq!((sent.packets, sent.arrived, sent.dropped), (64, 64, 0));
    }

    /// Packets counted on the device, read or not; `None` if nothing is attached.
    fn counted(&self) -> Option<(u64, u64)> {
        let status =
            xhint(["status", &self.name, "--netns", &self.netns, "--json"].map(str::to_owned)).output().unwrap();
        if !status.status.success() {
            let said = String::from_utf8_lossy(&status.stderr);
            assert!(said.contains("nothing attached"), "{said}");
            return None;
        }
        let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert!(json["trouble"].is_null(), "{json}");
        let packets = |v: &serde_json::Value| v["packets"].as_u64().unwrap();
        let layouts = json["counters"]["layouts"].as_array().unwrap().iter().map(packets).sum();
        Some((layouts, packets(&json["counters"]["unknown"])))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _off = self.step(Step::Detach).output();
        let _down = xhint(["nic", "down", &self.name].map(str::to_owned)).output();
        let _gone = Command::new("ip").args(["netns", "del", &self.netns]).status();
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Attach(&'static str),
    Add,
    Remove,
    Detach,
}

/// What is done over and over: each step is possible after the one before.
const ROUND: [Step; 9] = [
    Step::Attach("tail"),
    Step::Add,
    Step::Remove,
    Step::Attach("static"),
    Step::Add,
    Step::Remove,
    Step::Attach("static"),
    Step::Attach("tail"),
    Step::Detach,
];

/// What a step says that was done before it was killed.
const DONE: [&str; 3] = ["is there already", "no layout there is called", "nothing attached"];

#[test]
fn killed_at_any_moment() {
    if !privileged() {
        return;
    }
    let kills: u32 = std::env::var("XHINT_STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(9);
    let stage = Stage::new();
    let took = ROUND.map(|step| {
        let begin = Instant::now();
        succeeded(&stage.step(step).output().unwrap());
        begin.elapsed()
    });
    let mut dice = u64::from(std::process::id());
    println!("seed {dice}, steps take {took:.0?}");
    let (mut dead, mut done) = (0u32, 0u32);
    let rounds = (0..).flat_map(|_| ROUND.into_iter().zip(took));
    for (step, took) in rounds {
        if dead >= kills {
            break;
        }
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = took.mul_f64((dice >> 11) as f64 / (1u64 << 53) as f64);
        if kill(&mut stage.step(step), after) {
            dead += 1;
        } else {
            done += 1;
        }
        stage.passes();
        stage.counted();
        // The same again must go through, or find that it was done.
        let again = stage.step(step).output().unwrap();
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(again.status.success() || DONE.iter().any(|d| said.contains(d)), "{step:?} after {after:?}: {said}");
        stage.passes();
        match (stage.counted(), step) {
            (None, Step::Detach) => {}
            (None, _) => panic!("{step:?}: nothing attached"),
            (Some(before), _) => {
                stage.passes();
                let (layouts, unknown) = stage.counted().unwrap();
                assert_eq!((layouts - before.0) + (unknown - before.1), 64, "{step:?}: every packet is counted");
                let all = matches!(step, Step::Add);
                assert_eq!(unknown == before.1, all, "{step:?}: each layout is read, or not, as it should be");
            }
        }
    }
    println!("{dead} killed, {done} were done before");
    succeeded_or_done(&stage.step(Step::Detach).output().unwrap());
    let inode = std::fs::metadata(Path::new("/run/netns").join(&stage.netns)).unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&inode);
    for left in [format!("/sys/fs/bpf/xhint/dev/{inode}"), format!("/run/xhint/dev/{inode}")] {
        assert!(!Path::new(&left).exists(), "{left} is left");
    }
}

/// Starts it and kills it after a while. Whether it was killed before it was done.
fn kill(command: &mut Command, after: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

fn xhint(words: impl IntoIterator<Item = String>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
    command.args(words);
    command
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn succeeded_or_done(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || DONE.iter().any(|d| said.contains(d)), "{said}");
}

fn text(path: &Path) -> String {
    text_of(path).to_owned()
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}
