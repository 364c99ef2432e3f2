//! Which device is meant: names, numbers, namespaces' inodes change hands; a call for one device touches no other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{World, counter, sh};
use nix::fcntl::{Flock, FlockArg};
use xhint_runtime::attach::attach;
use xhint_runtime::detach::detach;
use xhint_runtime::status::{all, status};
use xhint_runtime::{Device, Error, Netns, Result};
use xhint_testkit::privileged;

fn device(world: &World, name: &str) -> Device {
    Device::find(name, world.netns()).unwrap()
}

/// What the device runs, by the kernel's word.
fn runs(world: &World, name: &str) -> u32 {
    device(world, name).programs().unwrap().native
}

fn is_none<T: std::fmt::Debug>(result: Result<T>) -> bool {
    matches!(result, Err(Error::NotAttached(_)))
}

/// `near` and `other`, each with a program of its own; their ids.
fn two(world: &World) -> [u32; 2] {
    sh(&format!("ip -n {n} link add other type veth peer name far2 && ip -n {n} link set other up", n = world.name));
    ["near", "other"].map(|name| attach(&world.home, &device(world, name), &counter(&[])).unwrap().program)
}

#[test]
fn names_that_change_hands() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let n = &world.name;
    let [near, other] = two(&world);
    sh(&format!(
        "ip -n {n} link set near down && ip -n {n} link set other down && ip -n {n} link set near name x && \
         ip -n {n} link set other name near && ip -n {n} link set x name other"
    ));
    assert_eq!([runs(&world, "other"), runs(&world, "near")], [near, other]);
    let seen = |name| status(&world.home, &device(&world, name)).unwrap();
    assert_eq!([seen("other").program_id, seen("near").program_id], [near, other]);
    let shown: Vec<_> = all(&world.home).unwrap().into_iter().map(|s| (s.device.unwrap(), s.program_id)).collect();
    assert!(shown.contains(&("other".to_owned(), near)) && shown.contains(&("near".to_owned(), other)), "{shown:?}");

    // A swap for one leaves the other as it was.
    let done = attach(&world.home, &device(&world, "near"), &counter(&[])).unwrap();
    assert_eq!((done.before, runs(&world, "other")), (Some(other), near));
    // So does taking off.
    assert_eq!(detach(&world.home, &device(&world, "near")).unwrap(), Some(done.program));
    assert_eq!([runs(&world, "other"), runs(&world, "near")], [near, 0]);

    // A namesake that has nothing.
    sh(&format!(
        "ip -n {n} link set other down && ip -n {n} link set other name old && ip -n {n} link add other type veth peer name far3"
    ));
    assert!(is_none(status(&world.home, &device(&world, "other"))));
    assert!(is_none(detach(&world.home, &device(&world, "other"))));
    let new = attach(&world.home, &device(&world, "other"), &counter(&[])).unwrap();
    assert_eq!((new.before, runs(&world, "old")), (None, near));
    for name in ["other", "old"] {
        detach(&world.home, &device(&world, name)).unwrap();
    }
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_device_that_moves_and_one_that_gets_its_number() {
    if !privileged() {
        return;
    }
    let (world, there) = (World::new(), World::new());
    let (n, t) = (&world.name, &there.name);
    let [near, _] = two(&world);
    let index = device(&world, "near").ifindex();
    sh(&format!("ip -n {n} link set near name moved netns {t}"));
    assert_eq!(runs(&there, "moved"), near);
    let seen = status(&world.home, &device(&there, "moved")).unwrap();
    assert_eq!((seen.program_id, seen.netns), (near, Some(there.netns().inode())));
    let shown = all(&world.home).unwrap();
    let moved = shown.iter().find(|s| s.program_id == near).unwrap();
    assert_eq!((moved.device.as_deref(), moved.netns), (Some("moved"), Some(there.netns().inode())));
    assert_eq!(moved.netns_name.as_deref(), Some(t.as_str()));

    // Another where it was, with its number and its name.
    sh(&format!("ip -n {n} link add near index {index} type veth peer name far4"));
    assert_eq!(device(&world, "near").ifindex(), index);
    assert!(is_none(status(&world.home, &device(&world, "near"))));
    assert!(is_none(detach(&world.home, &device(&world, "near"))));
    let new = attach(&world.home, &device(&world, "near"), &counter(&[])).unwrap();
    assert_eq!((new.before, runs(&there, "moved")), (None, near));
    let swapped = attach(&world.home, &device(&there, "moved"), &counter(&[])).unwrap();
    assert_eq!((swapped.before, runs(&world, "near")), (Some(near), new.program));

    // Back again: the number is taken, so it gets another.
    sh(&format!("ip -n {t} link set moved netns {n}"));
    assert_ne!(device(&world, "moved").ifindex(), index);
    assert_eq!(status(&world.home, &device(&world, "moved")).unwrap().program_id, swapped.program);
    assert_eq!(detach(&world.home, &device(&world, "moved")).unwrap(), Some(swapped.program));
    assert_eq!(runs(&world, "near"), new.program);
    let again = attach(&world.home, &device(&world, "near"), &counter(&[])).unwrap();
    assert_eq!(again.before, Some(new.program));
    for name in ["near", "other"] {
        detach(&world.home, &device(&world, name)).unwrap();
    }
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_device_that_is_gone_and_its_number_used_again() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let n = &world.name;
    let [_, other] = two(&world);
    let gone = device(&world, "near");
    sh(&format!("ip -n {n} link del near"));
    let text = |e: Error| e.to_string();
    for says in [
        text(status(&world.home, &gone).unwrap_err()),
        text(attach(&world.home, &gone, &counter(&[])).unwrap_err()),
        text(detach(&world.home, &gone).unwrap_err()),
    ] {
        assert!(says.contains(&format!("near: no such network device in network namespace {n}")), "{says}");
    }
    sh(&format!("ip -n {n} link add near index {} type veth peer name far5", gone.ifindex()));
    assert!(is_none(status(&world.home, &device(&world, "near"))));
    let new = attach(&world.home, &device(&world, "near"), &counter(&[])).unwrap();
    assert_eq!((new.before, runs(&world, "other")), (None, other));
    for name in ["near", "other"] {
        detach(&world.home, &device(&world, name)).unwrap();
    }
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_namespace_that_is_gone_and_its_name_and_inode_used_again() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let n = &world.name;
    let (netns, gone) = (world.netns(), device(&world, "near"));
    let first = attach(&world.home, &gone, &counter(&[])).unwrap();
    // Inodes of namespaces are given anew at once: some of many will have it.
    let mut same_inode = false;
    for _ in 0..200 {
        sh(&format!("ip netns del {n} && ip netns add {n}"));
        same_inode = world.netns().inode() == netns.inode();
        if same_inode {
            break;
        }
        // A namespace is taken down some time after its name.
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("the inode was used again: {same_inode}");
    assert_ne!(world.netns().cookie(), netns.cookie());
    let says = status(&world.home, &gone).unwrap_err().to_string();
    assert!(says.contains(&format!("network namespace {n}: is gone")), "{says}");
    sh(&format!("ip -n {n} link add near index {} type veth peer name far", gone.ifindex()));
    assert!(is_none(status(&world.home, &device(&world, "near"))));
    let new = attach(&world.home, &device(&world, "near"), &counter(&[])).unwrap();
    assert_ne!(new.program, first.program);
    assert_eq!((new.before, runs(&world, "near")), (None, new.program));
    detach(&world.home, &device(&world, "near")).unwrap();
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_no_namespace_is_told() {
    if !privileged() {
        return;
    }
    let says = |name: &str| Netns::named(name).unwrap_err().to_string();
    assert!(says("/proc/self/ns/mnt").contains("is a namespace of another kind"));
    assert!(says("/etc/passwd").contains("is no network namespace"));
    assert!(says("no-such-namespace").contains("No such file"));
}

#[test]
fn alternative_names_are_names() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (n, long) = (&world.name, "enp131s0f1npf0vf22-and-more");
    sh(&format!(
        "ip -n {n} link property add dev near altname {long} && ip -n {n} link property add dev near altname alt5"
    ));
    assert_eq!(device(&world, long).ifindex(), device(&world, "near").ifindex());
    let done = attach(&world.home, &device(&world, long), &counter(&[])).unwrap();
    assert_eq!(runs(&world, "near"), done.program);
    assert_eq!(status(&world.home, &device(&world, "alt5")).unwrap().device.as_deref(), Some("near"));
    let by_long = device(&world, long);
    assert_eq!(by_long.known_as(), long);
    assert_eq!(by_long.driver().unwrap().driver, "veth");
    sh(&format!("ip -n {n} link property del dev near altname {long}"));
    assert_eq!(by_long.known_as(), "near");
    detach(&world.home, &by_long).unwrap();
    assert_eq!(world.left(), Vec::<PathBuf>::new());
    assert!(matches!(Device::find(&"x".repeat(128), world.netns()), Err(Error::BadDevice(_))));
}

#[test]
fn names_that_change_while_programs_do_tear_nothing() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let n = &world.name;
    two(&world);
    // Before Linux 6.2 only those that are down change their names.
    sh(&format!("ip -n {n} link set near down && ip -n {n} link set other down"));
    // By their numbers, as a process that follows has them.
    let both = [device(&world, "near"), device(&world, "other")];
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                sh(&format!(
                    "ip -n {n} link set near name x && ip -n {n} link set other name near && ip -n {n} link set x name other"
                ));
            }
        });
        let mut last = both.each_ref().map(|d| d.programs().unwrap().native);
        for turn in 0..30 {
            let which = turn % 2;
            let swap = attach(&world.home, &both[which], &counter(&[])).unwrap();
            assert_eq!(swap.before, Some(last[which]));
            last[which] = swap.program;
            assert_eq!(both.each_ref().map(|d| d.programs().unwrap().native), last);
        }
        done.store(true, Ordering::Relaxed);
    });
    for device in &both {
        detach(&world.home, device).unwrap();
    }
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn two_at_once_wait_for_each_other() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let near = device(&world, "near");
    let first = attach(&world.home, &near, &counter(&[])).unwrap();
    let site = world.site(&near);
    std::thread::scope(|s| {
        let swaps: Vec<_> = (0..4).map(|_| s.spawn(|| attach(&world.home, &near, &counter(&[])).unwrap())).collect();
        let swaps: Vec<_> = swaps.into_iter().map(|s| s.join().unwrap()).collect();
        // Each took the place of another: none was lost.
        let mut before: Vec<u32> = swaps.iter().map(|d| d.before.unwrap()).collect();
        before.push(near.programs().unwrap().native);
        let mut programs: Vec<u32> = swaps.iter().map(|d| d.program).collect();
        programs.push(first.program);
        before.sort_unstable();
        programs.sort_unstable();
        assert_eq!(before, programs);
    });
    // Who holds the pins' directory holds the device, and is told.
    let held = Flock::lock(fs::File::open(&site).unwrap(), FlockArg::LockExclusive).unwrap();
    let says = attach(&world.home, &near, &counter(&[])).unwrap_err().to_string();
    assert!(says.contains(&format!("another xhint (pid {}) is at work", std::process::id())), "{says}");
    drop(held);
    detach(&world.home, &near).unwrap();
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn what_an_older_xhint_attached_is_found() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let near = device(&world, "near");
    let first = attach(&world.home, &near, &counter(&[])).unwrap();
    // As 0.1 had it: by the namespace's inode and the device's name.
    for kept in [world.site(&near), world.state().join(world.site(&near).file_name().unwrap())] {
        let old = kept.parent().unwrap().join(near.netns().inode().to_string());
        fs::create_dir(&old).unwrap();
        fs::rename(&kept, old.join("near")).unwrap();
    }
    assert_eq!(status(&world.home, &near).unwrap().program_id, first.program);
    assert_eq!(all(&world.home).unwrap()[0].program_id, first.program);
    let second = attach(&world.home, &near, &counter(&[])).unwrap();
    assert_eq!(second.before, Some(first.program));
    assert_eq!(detach(&world.home, &near).unwrap(), Some(second.program));
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}
