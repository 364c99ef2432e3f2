//! xhint killed at any moment of what it does to a device: the device goes on passing packets, and the next call finds
//! its way.
//!
//! `XHINT_STRESS=200 cargo test -p xhint-cli --test killed -- --nocapture` kills so often; without it, a few times.
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
use xhint_testkit::fixture::{Compile, example, keep};
use xhint_testkit::privileged;
use xhint_testkit::skipped;

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
    let cookie = xhint::runtime::Netns::named(&stage.netns).unwrap().cookie();
    for top in ["/sys/fs/bpf/xhint/dev", "/run/xhint/dev"] {
        let names = std::fs::read_dir(top).into_iter().flatten().map(|e| e.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = names.filter(|name| name.starts_with(&format!("{cookie}-"))).collect();
        assert!(left.is_empty(), "{left:?} is left in {top}");
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

/// A veth pair in a network namespace; gone when dropped.
struct Pair(String);

impl Pair {
    fn new() -> Pair {
        let pair = Pair(format!("xhkrep-{}", std::process::id()));
        pair.sh("ip netns add $n && ip -n $n link add near type veth peer name far && ip -n $n link set near up");
        pair
    }

    fn sh(&self, script: &str) -> Output {
        let output = Command::new("sh").env("n", &self.0).args(["-c", script]).output().unwrap();
        succeeded(&output);
        output
    }

    /// xhint in the namespace, killed as it enters a call of this name for the nth time. Those that change what is pinned
    /// or attached go to `log`.
    fn xhint(&self, words: &[&str], kill: Option<(&str, usize)>, log: &Path) -> Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.0)).args(["strace", "-qq", "-o", text_of(log)]);
        command.args(["-e", "trace=bpf,sendto,recvmsg,rename,unlink"]);
        if let Some((call, nth)) = kill {
            command.args(["-e", &format!("inject={call}:signal=KILL:when={nth}")]);
        }
        command.arg(env!("CARGO_BIN_EXE_xhint")).args(words).output().unwrap()
    }

    fn runs(&self) -> u32 {
        let netns = xhint::runtime::Netns::named(&self.0).unwrap();
        xhint::runtime::Device::find("near", netns).unwrap().programs().unwrap().native
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn killed_at_each_call_while_it_replaces() {
    if !privileged() {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return skipped("no strace");
    }
    let (pair, dir) = (Pair::new(), tempfile::tempdir().unwrap());
    let log = dir.path().join("log");
    let foreign = keep("foreign", "bpf.c", FOREIGN);
    let foreign = Compile::new(&foreign).object();
    let put = || {
        pair.sh(&format!("ip -n $n link set near xdpdrv obj {} section xdp", foreign.display()));
        pair.runs()
    };
    let (program, nic) = (text(&example("hints.bpf.c").object()), text(&example("nics/alpha_fw1.c").object()));
    let attach = ["attach", &program, "--dev", "near", "--nic", &nic, "--dispatch", "static", "--replace", "--yes"];
    put();
    succeeded(&pair.xhint(&attach, None, &log));
    succeeded(&pair.xhint(&["detach", "near"], None, &dir.path().join("other")));
    let calls = std::fs::read_to_string(&log).unwrap();
    // From the first pin on, each call and how many of its name there were.
    let names: Vec<&str> = calls.lines().filter_map(|line| line.split_once('(').map(|c| c.0)).collect();
    let first = calls.lines().position(|line| line.contains("BPF_OBJ_PIN")).unwrap();
    let (mut left, mut gap, mut came) = (0, 0, 0);
    for (at, name) in names.iter().enumerate().skip(first) {
        let nth = names[..=at].iter().filter(|n| *n == name).count();
        let theirs = put();
        let output = pair.xhint(&attach, Some((name, nth)), &log);
        if output.status.success() {
            // How many calls of bpf() there are hangs on how many programs this machine has.
            succeeded(&pair.xhint(&["detach", "near"], None, &log));
            continue;
        }
        assert_eq!(output.status.code(), None, "{name} {nth}: {}", String::from_utf8_lossy(&output.stderr));
        let ours = xhint(["status", "near", "--netns", &pair.0].map(str::to_owned)).output().unwrap().status.success();
        match pair.runs() {
            _ if ours => came += 1,
            now if now == theirs => left += 1,
            _ => gap += 1,
        }
        // The next call, whatever it is, finds all as it was, or the new one there.
        let next = xhint(["detach", "near", "--netns", &pair.0].map(str::to_owned)).output().unwrap();
        assert_eq!(
            pair.runs(),
            if ours { 0 } else { theirs },
            "{name} {nth}: {}",
            String::from_utf8_lossy(&next.stderr)
        );
        let cookie = xhint::runtime::Netns::named(&pair.0).unwrap().cookie();
        let names = std::fs::read_dir("/sys/fs/bpf/xhint/dev").into_iter().flatten().flatten();
        let kept: Vec<_> =
            names.filter(|d| d.file_name().to_string_lossy().starts_with(&format!("{cookie}-"))).collect();
        assert!(kept.is_empty(), "{name} {nth}: {kept:?}");
        pair.sh("ip -n $n link set near xdpdrv off");
    }
    println!(
        "killed {} times: theirs was left {left} times, ours was there {came} times, neither {gap}",
        left + gap + came
    );
    assert!(left > 0 && came > 0 && gap > 0, "{left} {came} {gap}");
}

const FOREIGN: &[u8] = br#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int theirs(struct xdp_md *ctx) { return XDP_PASS; }
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"#;
