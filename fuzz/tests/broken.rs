//! Every target meets valid files, files broken systematically, and files made to hurt: no panic, no hang, no memory
//! out of proportion.

#![allow(missing_docs, clippy::arithmetic_side_effects)]

use xhint_fuzz::{Guard, TARGETS, Target};
use xhint_testkit::damage::{self, Broken};
use xhint_testkit::hostile;

/// How often each sort of damage is done to a file.
const EACH: usize = 60;

/// One test for all targets: the allocator counts for the whole process, so no two may run at once.
#[test]
fn broken_and_hostile_files_are_refused_or_understood() {
    for target in &TARGETS {
        let guard = Guard::new(*target);
        valid(target, &guard);
        broken(target, &guard);
        for (how, bytes) in hostile::all() {
            guard.run(how, &bytes);
        }
    }
}

fn valid(target: &Target, guard: &Guard) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    for (name, bytes) in seeds {
        guard.run(&name, &bytes);
    }
}

fn broken(target: &Target, guard: &Guard) {
    let mut number = 0;
    for (seed, (name, bytes)) in (target.seeds)().iter().enumerate() {
        let mut run = |broken: &Broken| {
            number += 1;
            if number % target.every == 0 {
                guard.run(&format!("{name}, {}", broken.how), &broken.bytes);
            }
        };
        damage::each(bytes, EACH, seed as u64, &mut run);
        if let Some(elf) = damage::Elf::read(bytes) {
            elf.each_broken(4, &mut run);
        }
    }
}
