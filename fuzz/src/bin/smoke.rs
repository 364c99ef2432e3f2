//! Random damage for a set time, each target in turn.
//!
//! ```text
//! smoke SECONDS [SEED]        each target for so long
//! smoke --list                the targets
//! smoke --run TARGET FILE     one input, kept from a failure
//! smoke --seeds TARGET DIR    the target's valid inputs as files, for a fuzzer to start from
//! ```
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use xhint_fuzz::{Guard, TARGETS, Target, target};
use xhint_testkit::damage::{Random, mutate};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match *arguments {
        ["--list"] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        ["--seeds", name, folder] => write_seeds(&target(name), Path::new(folder)),
        ["--run", name, file] => Guard::new(target(name)).run(file, &fs::read(file).expect("an input")),
        [seconds] => smoke_all(number(seconds), 1),
        [seconds, seed] => smoke_all(number(seconds), number(seed)),
        _ => panic!("usage: smoke SECONDS [SEED] | --list | --run TARGET FILE | --seeds TARGET DIR"),
    }
}

fn write_seeds(target: &Target, folder: &Path) {
    for (name, bytes) in (target.seeds)() {
        fs::write(folder.join(format!("seed {name}")), bytes).expect("writing a seed");
    }
}

fn smoke_all(seconds: u64, seed: u64) {
    for target in &TARGETS {
        smoke(target, Duration::from_secs(seconds), seed);
    }
}

fn smoke(target: &Target, time: Duration, seed: u64) {
    let guard = Guard::new(*target);
    let mut random = Random::new(seed);
    let seeds = (target.seeds)();
    for (name, bytes) in &seeds {
        guard.run(name, bytes);
    }
    let (start, mut inputs) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        for (name, bytes) in &seeds {
            guard.run(name, &mutate(bytes, &mut random));
            inputs += 1;
        }
    }
    println!("{}: {inputs} inputs, seed {seed}", target.name);
}
