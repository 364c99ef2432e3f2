//! Devices on which others' programs are, or were.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{World, counter as job, sh};
use xhint_host::lock::Lock;
use xhint_runtime::Job;
use xhint_runtime::attach::attach;
use xhint_runtime::detach::detach;
use xhint_runtime::status::{kept, status};
use xhint_runtime::{Device, Error, HeldBy};
use xhint_testkit::{privileged, skipped};

fn device(world: &World) -> Device {
    Device::find("near", world.netns()).unwrap()
}

/// Takes a stranger's program off as a call does that is killed before ours is on.
fn take_off(world: &World, near: &Device) {
    let (site, n, id) = (world.site(near), &world.name, near.programs().unwrap().native);
    sh(&format!("bpftool prog pin id {id} {}", site.join("replaced-native").display()));
    let (from, index) = (site.join("replaced-from"), near.ifindex().to_ne_bytes().map(|b| b.to_string()).join(" "));
    let from = from.display();
    sh(&format!("bpftool map create {from} type devmap key 4 value 4 entries 1 name from"));
    sh(&format!("nsenter --net=/run/netns/{n} bpftool map update pinned {from} key 0 0 0 0 value {index}"));
    std::os::unix::fs::symlink(near.name(), site.join("replaced-name")).unwrap();
    sh(&format!("ip -n {n} link set near xdpdrv off"));
    assert_eq!(near.programs().unwrap().native, 0);
}

#[test]
fn what_made_room_comes_back_when_the_call_is_killed() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let near = device(&world);
    let n = &world.name;
    let path = job(&["-DSECOND"]).state.object.path;
    sh(&format!("ip -n {n} link set near xdpdrv obj {} program count", path.display()));
    let foreign = near.programs().unwrap().native;
    // As a call leaves it that is killed when the other's program is off, and ours not yet on.
    let killed = || {
        fs::create_dir_all(world.site(&near).join("g1/programs")).unwrap();
        take_off(&world, &near);
    };
    killed();
    // A call that is at work puts it back itself.
    let work = Lock::try_take(&world.site(&near)).unwrap().unwrap();
    assert!(matches!(status(&world.home, &near), Err(Error::NotAttached(_))));
    assert_eq!(kept(&world.home).unwrap(), []);
    drop(work);
    assert_eq!(kept(&world.home).unwrap().len(), 1);
    let waits = status(&world.home, &near).unwrap_err();
    assert!(matches!(&waits, Error::Kept(kept) if kept.device == "near" && kept.ifindex.is_some()), "{waits}");
    let error = attach(&world.home, &near, &job(&[])).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "it is back, and refused as ever: {error}");
    assert_eq!((near.programs().unwrap().native, world.left()), (foreign, vec![]));

    killed();
    assert_eq!(detach(&world.home, &near).unwrap(), None);
    assert_eq!((near.programs().unwrap().native, world.left()), (foreign, vec![]));

    // By a call for another device.
    killed();
    sh(&format!("ip -n {n} link add other type veth peer name far2"));
    let other = Device::find("other", world.netns()).unwrap();
    attach(&world.home, &other, &job(&[])).unwrap();
    assert_eq!(near.programs().unwrap().native, foreign);
    detach(&world.home, &other).unwrap();

    // In place of it, nothing of it is kept.
    attach(&world.home, &near, &Job { replace: true, ..job(&[]) }).unwrap();
    assert!(!world.site(&near).join("replaced-native").exists());
    detach(&world.home, &near).unwrap();
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

/// A device that goes away or moves while its program is off: another that has its number by then does not get it, and it is
/// not lost.
#[test]
fn what_made_room_is_put_on_no_other_device() {
    if !privileged() {
        return;
    }
    for goes in ["link del near", "link set near netns 1"] {
        let world = World::new();
        let (near, n) = (device(&world), &world.name);
        let path = job(&["-DSECOND"]).state.object.path;
        sh(&format!("ip -n {n} link set near xdpdrv obj {} program count", path.display()));
        let (site, index) = (world.site(&near), near.ifindex());
        fs::create_dir_all(&site).unwrap();
        take_off(&world, &near);
        // Its name is nobody else's in the namespace it goes to.
        sh(&format!(
            "ip -n {n} link set near down && ip -n {n} link set near name {n} && ip -n {n} {goes}",
            goes = goes.replace("near", n)
        ));
        sh(&format!("ip -n {n} link add near index {index} type veth peer name far3"));
        let other = Device::find("near", world.netns()).unwrap();
        assert_eq!(world.site(&other), site);

        // Neither one's own call nor one for another device.
        sh(&format!("ip -n {n} link add third type veth peer name far4"));
        let third = Device::find("third", world.netns()).unwrap();
        attach(&world.home, &third, &job(&[])).unwrap();
        detach(&world.home, &third).unwrap();
        assert_eq!(other.programs().unwrap(), Default::default(), "{goes}");
        assert!(matches!(status(&world.home, &other), Err(Error::NotAttached(_))));
        attach(&world.home, &other, &job(&[])).unwrap();
        detach(&world.home, &other).unwrap();
        assert_eq!(other.programs().unwrap(), Default::default());
        let kept = kept(&world.home).unwrap();
        assert!(matches!(kept.as_slice(), [one] if one.path == site.join("replaced-native") && one.ifindex.is_none()));
        assert_eq!(world.left().len(), 4, "the directory, the program, the map and the name");
        fs::remove_file(&kept[0].path).unwrap();
        attach(&world.home, &third, &job(&[])).unwrap();
        detach(&world.home, &third).unwrap();
        assert_eq!(world.left(), Vec::<PathBuf>::new());
        let _moved = std::process::Command::new("ip").args(["link", "del", n]).output();
    }
}

/// A program that somebody puts on our link is a stranger's as any.
#[test]
fn a_strangers_program_on_our_link_is_only_replaced_when_asked() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let first = attach(&world.home, &device, &job(&[])).unwrap();
    let strangers = xhint_runtime::load::load(&xhint_runtime::load::Load {
        object: &job(&["-DVERDICT=XDP_DROP"]).linked,
        entry: None,
        keep: &[],
        same: false,
        device: "near",
        bound: None,
    })
    .unwrap();
    let link = xhint_host::pin::open(&world.site(&device).join("link")).unwrap();
    xhint_host::xdp::update(std::os::fd::AsFd::as_fd(&link), strangers.entry_fd().unwrap()).unwrap();
    drop(link);
    let foreign = device.programs().unwrap().native;
    assert_ne!(foreign, first.program);
    let error = attach(&world.home, &device, &job(&[])).unwrap_err();
    assert!(matches!(error, Error::Foreign { by: HeldBy::OurLink, .. }), "{error}");
    assert_eq!(device.programs().unwrap().native, foreign);
    let done = attach(&world.home, &device, &Job { replace: true, ..job(&[]) }).unwrap();
    assert_eq!((done.before, done.replaced), (None, Some(format!("'count' (id {foreign})"))));
    assert!(done.anew.iter().any(|anew| anew.map == "counts"), "{:?}", done.anew);

    // What goes on is what is pinned.
    let again = || attach(&world.home, &device, &job(&[])).unwrap().anew.into_iter().map(|a| a.map).collect::<Vec<_>>();
    assert_eq!(again(), Vec::<String>::new());
    let pin = |file: &str| status(&world.home, &device).unwrap().maps_dir.unwrap().join(file);
    fs::remove_file(pin("counts")).unwrap();
    assert_eq!(again(), ["counts"]);
    fs::remove_dir_all(pin("../")).unwrap();
    assert!(again().contains(&"counts".to_owned()));
    detach(&world.home, &device).unwrap();
}

#[test]
fn how_a_strangers_program_goes_is_told_rightly() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (device, n) = (device(&world), &world.name);
    let path = job(&["-DSECOND"]).state.object.path;
    sh(&format!("ip -n {n} link set dev near xdpgeneric obj {} program count", path.display()));
    let says = attach(&world.home, &device, &job(&[])).unwrap_err().to_string();
    assert!(says.contains("ip link set dev near xdpgeneric off"), "{says}");
    sh(&format!("ip -n {n} link set dev near xdpgeneric off"));
    let stranger = World::new();
    attach(&stranger.home, &device, &job(&[])).unwrap();
    let says = attach(&world.home, &device, &job(&[])).unwrap_err().to_string();
    assert!(says.contains("bpftool link"), "{says}");
    detach(&stranger.home, &device).unwrap();
}

#[test]
fn a_link_of_a_stranger_is_not_mistaken_for_anothers() {
    if !privileged() {
        return;
    }
    // One program on devices with one number in two namespaces, each by a link: no link tells which it is on.
    let (world, there, stranger) = (World::new(), World::new(), World::new());
    let near = device(&world);
    let (t, index) = (&there.name, near.ifindex());
    sh(&format!("ip -n {t} link del near; ip -n {t} link add twin index {index} type veth peer name far index 99"));
    let twin = Device::find("twin", there.netns()).unwrap();
    assert_eq!(twin.ifindex(), index);
    let first = attach(&stranger.home, &near, &job(&[])).unwrap();
    let pin = stranger.site(&near).join("g1/programs/count");
    sh(&format!("nsenter --net=/run/netns/{t} bpftool net attach xdpdrv pinned {} dev twin", pin.display()));
    assert_eq!(twin.programs().unwrap().native, first.program);

    assert!(matches!(status(&stranger.home, &twin), Err(Error::NotAttached(_))));
    assert!(matches!(detach(&stranger.home, &twin), Err(Error::NotAttached(_))));

    // The twin's is held by no link, so near's stays.
    let says = attach(&world.home, &twin, &job(&[])).unwrap_err().to_string();
    assert!(says.contains("ip link set dev twin xdp off"), "{says}");
    let done = attach(&world.home, &twin, &Job { replace: true, ..job(&[]) }).unwrap();
    assert_eq!([near.programs().unwrap().native, twin.programs().unwrap().native], [first.program, done.program]);
    detach(&world.home, &twin).unwrap();
    detach(&stranger.home, &near).unwrap();
    assert_eq!([world.left(), stranger.left()], [Vec::<PathBuf>::new(), Vec::new()]);
}

/// `lo` has no native XDP, which comes out only when the other program is off.
#[test]
fn what_made_room_comes_back_when_ours_cannot_go_on() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let lo = Device::find("lo", world.netns()).unwrap();
    let path = job(&["-DSECOND"]).state.object.path;
    sh(&format!("ip -n {} link set lo xdpgeneric obj {} program count", world.name, path.display()));
    let foreign = lo.programs().unwrap().generic;
    assert_ne!(foreign, 0);
    let error = attach(&world.home, &lo, &Job { replace: true, ..job(&[]) }).unwrap_err();
    assert!(matches!(error, Error::NoNative { .. }), "{error}");
    assert_eq!(lo.programs().unwrap().generic, foreign);
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

/// A program that runs in the device itself goes by another way than those before and behind the driver, and comes back by it.
#[test]
fn an_offloaded_program_is_one_of_its_own_kind() {
    if !privileged() {
        return;
    }
    let (world, number) = (World::new(), std::process::id());
    let n = &world.name;
    let made =
        format!("modprobe netdevsim && ip netns exec {n} sh -c 'echo {number} 1 > /sys/bus/netdevsim/new_device'");
    let made = std::process::Command::new("sh").args(["-c", &made]).output().unwrap();
    if !made.status.success() {
        return skipped(&format!(
            "no netdevsim, whose devices run programs: {}",
            String::from_utf8_lossy(&made.stderr)
        ));
    }
    let _gone = Simulated(number);
    let name = sh(&format!("ip -n {n} -br link | grep -o '^e[a-z0-9]*'")).trim().to_owned();
    let device = Device::find(&name, world.netns()).unwrap();
    let path = job(&["-DBARE"]).state.object.path;
    let pin = world.site(&device).with_file_name("stranger");
    fs::create_dir_all(pin.parent().unwrap()).unwrap();
    sh(&format!(
        "ip netns exec {n} bpftool prog load {} {pin} type xdp offload_dev {name} && ip -n {n} link set {name} xdpoffload pinned {pin}",
        path.display(),
        pin = pin.display()
    ));
    let foreign = device.programs().unwrap();
    assert!(foreign.offloaded != 0 && foreign.ids().count() == 1, "{foreign:?}");
    let error = attach(&world.home, &device, &job(&[])).unwrap_err();
    assert!(matches!(error, Error::Foreign { by: HeldBy::Offloaded, .. }), "{error}");
    assert!(error.to_string().contains(&format!("ip link set dev {name} xdpoffload off")), "{error}");
    let done = attach(&world.home, &device, &Job { replace: true, ..job(&[]) }).unwrap();
    let now = device.programs().unwrap();
    assert_eq!((now.native, now.ids().count()), (done.program, 1));
    detach(&world.home, &device).unwrap();
}

/// A device of netdevsim's that goes when dropped.
struct Simulated(u32);

impl Drop for Simulated {
    fn drop(&mut self) {
        let _gone = fs::write("/sys/bus/netdevsim/del_device", self.0.to_string());
    }
}
