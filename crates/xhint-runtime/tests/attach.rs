//! Attaching, swapping and detaching on real devices, and what happens when it fails half-way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use caps::Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN};
use common::{World, counter as job, sh, with_only};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use xhint_runtime::Job;
use xhint_runtime::attach::attach;
use xhint_runtime::detach::detach;
use xhint_runtime::layouts::Layouts;
use xhint_runtime::status::status;
use xhint_runtime::{Device, Error, Home, Mode, Source};
use xhint_testkit::privileged;

/// One that takes the place of another object.
fn other(arguments: &[&str]) -> Job {
    Job { replace: true, ..job(arguments) }
}

fn device(world: &World) -> Device {
    Device::find("near", world.netns()).unwrap()
}

fn value(maps: &Option<PathBuf>, map: &str) -> u64 {
    let map = MapHandle::from_pinned_path(maps.as_ref().unwrap().join(map)).unwrap();
    let bytes = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
    u64::from_ne_bytes(bytes[..8].try_into().unwrap())
}

/// Sends packets to the device from the other end until its program counts them: ARP requests, which nobody answers.
/// Returns the count.
fn send(world: &World, maps: &Option<PathBuf>) -> u64 {
    let before = value(maps, "counts");
    let n = &world.name;
    for _ in 0..100 {
        let _ = sh(&format!(
            "ip -n {n} addr replace 192.0.2.1/24 dev far; ip netns exec {n} ping -c 2 -i 0.002 -W 0.02 192.0.2.9; true"
        ));
        if value(maps, "counts") > before {
            break;
        }
    }
    // What is under way (IPv6 asks for its own address, too) comes to rest.
    let mut last = 0;
    while last != value(maps, "counts") {
        last = value(maps, "counts");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    last
}

#[test]
fn attach_swap_detach() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let first = attach(&world.home, &device, &job(&[])).unwrap();
    assert_eq!(first.before, None);
    assert_eq!(device.programs().unwrap().native, first.program);
    let before = status(&world.home, &device).unwrap();
    let counted = send(&world, &before.maps_dir);
    assert!(counted > 0);
    assert_eq!(value(&before.maps_dir, "xhint%2ebss"), counted);
    assert_eq!((before.device.as_deref(), before.program_id), (Some("near"), first.program));
    assert_eq!(before.state.unwrap().entry, "count");

    // The same object: the map and the variable go on.
    let second = attach(&world.home, &device, &job(&[])).unwrap();
    assert_eq!((second.before, device.programs().unwrap().native), (Some(first.program), second.program));
    let after = status(&world.home, &device).unwrap();
    assert!(value(&after.maps_dir, "counts") >= counted);
    assert!(value(&after.maps_dir, "xhint%2ebss") >= counted);
    assert!(!before.maps_dir.unwrap().exists(), "the generation before is gone");

    // The same once more, after what was kept in /run was lost.
    fs::remove_dir_all(world.state()).unwrap();
    assert!(status(&world.home, &device).unwrap().trouble.unwrap().contains("attach again"));
    let layouts = Layouts::of(&world.home, &device);
    assert!(matches!(layouts.list(), Err(Error::Lost { .. })));
    attach(&world.home, &device, &job(&[])).unwrap();
    let after = status(&world.home, &device).unwrap();
    assert!(value(&after.maps_dir, "counts") >= counted);
    assert!(value(&after.maps_dir, "xhint%2ebss") >= counted);

    // Another object: the map goes on, the variable starts anew, for it may stand elsewhere.
    // It takes the place of the first only if asked to.
    let other = job(&["-DVERDICT=XDP_DROP"]);
    let runs = device.programs().unwrap().native;
    let text = match attach(&world.home, &device, &other) {
        Err(e @ Error::OtherObject { .. }) => e.to_string(),
        done => panic!("{done:?}"),
    };
    assert!(text.contains("count of another object, /") && text.contains("replace it"), "{text}");
    assert_eq!(device.programs().unwrap().native, runs);
    attach(&world.home, &device, &Job { replace: true, ..other }).unwrap();
    // What the same file holds by now is no other object.
    let mut rebuilt = job(&["-DVERDICT=XDP_TX"]);
    rebuilt.state.object = Source::new(job(&["-DVERDICT=XDP_DROP"]).state.object.path, rebuilt.linked.clone());
    attach(&world.home, &device, &rebuilt).unwrap();
    attach(&world.home, &device, &Job { replace: true, ..job(&["-DVERDICT=XDP_DROP"]) }).unwrap();
    let third = status(&world.home, &device).unwrap();
    let variable = value(&third.maps_dir, "xhint%2ebss");
    assert!(value(&third.maps_dir, "counts") >= counted + variable);
    let lasting = third.maps_dir.unwrap().parent().unwrap().parent().unwrap().join("maps/counts");
    assert!(lasting.exists(), "maps leads to the current ones");

    assert!(detach(&world.home, &device).unwrap().is_some());
    assert_eq!(device.programs().unwrap().ids().count(), 0, "off when detach returns");
    assert_eq!(world.left(), Vec::<PathBuf>::new());
    assert!(matches!(detach(&world.home, &device), Err(Error::NotAttached(_))));
}

#[test]
fn what_runs_stays_when_the_next_one_fails() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let first = attach(&world.home, &device, &job(&[])).unwrap();
    let still = || {
        assert_eq!(device.programs().unwrap().native, first.program);
        assert_eq!(status(&world.home, &device).unwrap().program_id, first.program);
    };

    match attach(&world.home, &device, &other(&["-DBROKEN"])) {
        Err(Error::Load { program, reason, .. }) => {
            assert_eq!(program, "count");
            assert!(
                reason.contains("invalid access to packet") || reason.contains("outside of the packet"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    still();
    match attach(&world.home, &device, &other(&["-DENTRIES=8"])) {
        Err(e @ Error::MapChanged { .. }) => assert!(e.to_string().contains("had 4 entries and has 8"), "{e}"),
        other => panic!("{other:?}"),
    }
    still();
    let mut generic = job(&[]);
    generic.state.mode = Mode::Generic;
    assert!(matches!(attach(&world.home, &device, &generic), Err(Error::Mode { .. })));
    still();
    assert!(matches!(attach(&world.home, &device, &other(&["-DSECOND"])), Err(Error::ManyPrograms(_))));
    let mut named = other(&["-DSECOND"]);
    named.state.entry = "nothing".into();
    assert!(matches!(attach(&world.home, &device, &named), Err(Error::NoProgram { .. })));
    let mut broken = job(&[]);
    broken.linked.truncate(300);
    assert!(matches!(attach(&world.home, &device, &broken), Err(Error::Load { .. })));
    still();
    detach(&world.home, &device).unwrap();
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_foreign_program_is_named_and_only_replaced_when_asked() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let path = job(&["-DSECOND"]).state.object.path;
    let put = || sh(&format!("ip -n {} link set dev near xdpdrv obj {} program count", world.name, path.display()));
    put();
    let foreign = device.programs().unwrap().native;
    let error = attach(&world.home, &device, &job(&[])).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("'count' (id {foreign})")) && text.contains("replace it"), "{text}");
    assert_eq!(device.programs().unwrap().native, foreign);
    assert_eq!(world.left(), Vec::<PathBuf>::new());

    let mut replace = job(&[]);
    replace.replace = true;
    let done = attach(&world.home, &device, &replace).unwrap();
    assert_eq!(done.replaced, Some(format!("'count' (id {foreign})")));
    assert_eq!(device.programs().unwrap().native, done.program);
    detach(&world.home, &device).unwrap();

    // What can't be put there leaves the foreign one where it was.
    put();
    let foreign = device.programs().unwrap().native;
    let mut bad = job(&["-DBROKEN"]);
    bad.replace = true;
    attach(&world.home, &device, &bad).unwrap_err();
    assert_eq!(device.programs().unwrap().native, foreign);
}

#[test]
fn leftovers_of_a_crash_are_cleared() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    attach(&world.home, &device, &job(&[])).unwrap();
    let dir = status(&world.home, &device).unwrap().maps_dir.unwrap();
    let site = dir.parent().unwrap().parent().unwrap().to_owned();

    // A swap that died before its link update leaves a generation that does not run.
    fs::create_dir_all(site.join("g77/maps")).unwrap();
    let map = MapHandle::from_pinned_path(dir.join("counts")).unwrap();
    sh(&format!("bpftool map pin pinned {} {}", dir.join("counts").display(), site.join("g77/maps/counts").display()));
    drop(map);
    let counted = send(&world, &Some(dir));
    attach(&world.home, &device, &job(&[])).unwrap();
    assert!(!site.join("g77").exists());
    assert!(value(&status(&world.home, &device).unwrap().maps_dir, "counts") >= counted);

    // A detach that died after its first step leaves a link without a device.
    sh(&format!("bpftool link detach pinned {}", site.join("link").display()));
    assert!(matches!(status(&world.home, &device), Err(Error::NotAttached(_))));
    let done = attach(&world.home, &device, &job(&[])).unwrap();
    assert_eq!((done.before, device.programs().unwrap().native), (None, done.program));

    // The same when the device went away and came back.
    sh(&format!(
        "ip -n {n} link del near && ip -n {n} link add near type veth peer name far && ip -n {n} link set near up",
        n = world.name
    ));
    let again = Device::find("near", world.netns()).unwrap();
    assert!(matches!(status(&world.home, &again), Err(Error::NotAttached(_))));
    attach(&world.home, &again, &job(&[])).unwrap();

    // Lost state does not keep anyone from going on or from detaching.
    let program = status(&world.home, &again).unwrap().program_id;
    fs::remove_dir_all(std::env::temp_dir().join(&world.name).join("dev")).unwrap();
    assert!(status(&world.home, &again).unwrap().trouble.unwrap().contains("attach again"));
    assert_eq!(attach(&world.home, &again, &job(&[])).unwrap().before, Some(program));
    assert!(detach(&world.home, &again).unwrap().is_some());
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn what_was_kept_for_devices_that_are_gone_is_cleared() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let n = &world.name;
    sh(&format!("ip -n {n} link add other type veth peer name far2"));
    let other = Device::find("other", world.netns()).unwrap();
    attach(&world.home, &other, &job(&[])).unwrap();
    attach(&world.home, &device(&world), &job(&[])).unwrap();
    sh(&format!("ip -n {n} link del other"));
    assert!(world.left().contains(&world.site(&other)));
    detach(&world.home, &device(&world)).unwrap();
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

/// As in a container that has the host's `/run` and a BPF file system of its own.
#[test]
fn state_is_left_to_those_who_have_the_pins() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let done = attach(&world.home, &device, &job(&[])).unwrap();
    let pins = PathBuf::from(format!("/sys/fs/bpf/{}-other", world.name));
    let elsewhere = Home::at(&pins, world.state().parent().unwrap());
    assert!(matches!(detach(&elsewhere, &device), Err(Error::NotAttached(_))));
    attach(&elsewhere, &device, &job(&[])).unwrap_err();
    let now = status(&world.home, &device).unwrap();
    assert_eq!((now.program_id, now.trouble), (done.program, None));
    detach(&world.home, &device).unwrap();
    fs::remove_dir_all(&pins).unwrap();
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_strangers_link_is_told_and_taken_off_when_asked() {
    if !privileged() {
        return;
    }
    let (world, stranger) = (World::new(), World::new());
    let device = device(&world);
    let first = attach(&stranger.home, &device, &job(&[])).unwrap();
    let text = attach(&world.home, &device, &job(&[])).unwrap_err().to_string();
    assert!(text.contains("`bpftool link`") && !text.contains("xdp off"), "{text}");
    assert_eq!(device.programs().unwrap().native, first.program);
    let done = attach(&world.home, &device, &Job { replace: true, ..job(&[]) }).unwrap();
    assert_eq!(done.replaced, Some(format!("'count' (id {})", first.program)));
    detach(&world.home, &device).unwrap();
    assert_eq!((world.left(), device.programs().unwrap().ids().count()), (vec![], 0));
}

#[test]
fn a_renamed_device_keeps_its_program() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let first = attach(&world.home, &device(&world), &job(&[])).unwrap();
    sh(&format!(
        "ip -n {n} link set near down && ip -n {n} link set near name eth0.5 && ip -n {n} link set eth0.5 up",
        n = world.name
    ));
    let renamed = Device::find("eth0.5", world.netns()).unwrap();
    let seen = status(&world.home, &renamed).unwrap();
    assert_eq!((seen.device.as_deref(), seen.program_id), (Some("eth0.5"), first.program));
    assert_eq!(attach(&world.home, &renamed, &job(&[])).unwrap().before, Some(first.program));
    detach(&world.home, &renamed).unwrap();
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn rights_and_devices_that_are_missing_are_told() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let text = |e: Error| e.to_string();
    let lacking =
        with_only(&[CAP_NET_ADMIN, CAP_SYS_ADMIN], || attach(&world.home, &device, &job(&[])).map(|d| d.program));
    assert!(lacking.is_ok(), "CAP_SYS_ADMIN stands for CAP_BPF: {lacking:?}");
    detach(&world.home, &device).unwrap();
    let lacking = with_only(&[CAP_BPF], || attach(&world.home, &device, &job(&[])));
    assert!(text(lacking.unwrap_err()).contains("missing CAP_NET_ADMIN"));
    let lacking = with_only(&[], || attach(&world.home, &device, &job(&[])));
    assert!(text(lacking.unwrap_err()).contains("missing CAP_BPF and CAP_NET_ADMIN"));
    assert_eq!(world.left(), Vec::<PathBuf>::new());

    assert!(text(Device::find("nope", world.netns()).unwrap_err()).contains("nope: no such network device"));
    for bad in ["", "a\0b", &"x".repeat(128)] {
        assert!(matches!(Device::find(bad, world.netns()), Err(Error::BadDevice(_))), "{bad}");
    }
    for none in ["a/b", "..", "sixteencharacter", "a b"] {
        assert!(matches!(Device::find(none, world.netns()), Err(Error::NoDevice { .. })), "{none}");
    }
    sh(&format!("ip -n {} tuntap add flat mode tun", world.name));
    let dummy = Device::find("flat", world.netns()).unwrap();
    let refused = text(attach(&world.home, &dummy, &job(&[])).unwrap_err());
    assert!(refused.contains("generic XDP"), "{refused}");
    assert_eq!(world.left(), Vec::<PathBuf>::new());
    let mut generic = job(&[]);
    generic.state.mode = Mode::Generic;
    let done = attach(&world.home, &dummy, &generic).unwrap();
    assert_eq!(dummy.programs().unwrap().generic, done.program);
    detach(&world.home, &dummy).unwrap();
}

#[test]
fn modes_hang_on_no_umask_and_all_that_status_prints_is_there() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let done = attach(&world.home, &device, &job(&[]));
    nix::sys::stat::umask(old);
    done.unwrap();
    for path in world.left() {
        let found = fs::symlink_metadata(&path).unwrap();
        let wanted = match found.file_type() {
            kind if kind.is_dir() => 0o700,
            kind if kind.is_file() => 0o600,
            _ => continue,
        };
        assert_eq!(found.mode() & 0o7777, wanted, "{}", path.display());
    }
    let seen = status(&world.home, &device).unwrap();
    let names: Vec<&str> = seen.maps.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["counts", "xhint.bss"]);
    for map in &seen.maps {
        assert_eq!(map.path.parent(), seen.maps_dir.as_deref());
        MapHandle::from_pinned_path(&map.path).unwrap();
    }

    // What others could have changed is not linked again, nor is what is not what it was.
    let dir = world.state().join(world.site(&device).file_name().unwrap()).join("g1");
    let object = seen.state.unwrap().object.bytes().unwrap();
    let kept = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).find(|p| !p.ends_with("state.json")).unwrap();
    let lost = || status(&world.home, &device).unwrap().trouble.unwrap();
    fs::write(&kept, [&object[..], b"x"].concat()).unwrap();
    assert!(lost().contains("is not what was written there"), "{}", lost());
    fs::write(&kept, &object).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o606)).unwrap();
    assert!(lost().contains("may be written by others (mode 0606)"), "{}", lost());
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&kept, Some(65534), None).unwrap();
    assert!(lost().contains("belongs to the user with id 65534"), "{}", lost());
    chown(&kept, Some(0), None).unwrap();
    assert_eq!(status(&world.home, &device).unwrap().trouble, None);

    // A home that another made is none.
    let run = world.state().parent().unwrap().to_owned();
    chown(&run, Some(65534), None).unwrap();
    for says in [
        attach(&world.home, &device, &job(&[])).unwrap_err().to_string(),
        status(&world.home, &device).unwrap_err().to_string(),
        detach(&world.home, &device).unwrap_err().to_string(),
    ] {
        assert!(says.contains("belongs to the user with id 65534, so what is in it is not trusted"), "{says}");
    }
    chown(&run, Some(0), None).unwrap();
    detach(&world.home, &device).unwrap();
    assert_eq!(world.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_full_disk_changes_nothing_and_leaves_nothing() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let run = world.state().parent().unwrap().to_owned();
    fs::create_dir_all(&run).unwrap();
    sh(&format!("mount -t tmpfs -o size=256k,mode=0700 tmpfs {}", run.display()));
    let fill = || sh(&format!("dd if=/dev/zero of={}/fill bs=4k 2>/dev/null; true", run.display()));
    let empty = || fs::remove_file(run.join("fill")).unwrap();
    let rest = || world.left().into_iter().filter(|p| !p.ends_with("fill")).collect::<Vec<_>>();

    fill();
    let says = attach(&world.home, &device, &job(&[])).unwrap_err().to_string();
    assert!(says.contains("No space left on device"), "{says}");
    assert_eq!((device.programs().unwrap().native, rest()), (0, vec![]));
    empty();
    let first = attach(&world.home, &device, &job(&[])).unwrap();
    let kept = rest();
    fill();
    attach(&world.home, &device, &job(&["-DVERDICT=XDP_DROP"])).unwrap_err();
    assert_eq!((device.programs().unwrap().native, rest()), (first.program, kept));
    assert_eq!(status(&world.home, &device).unwrap().trouble, None);
    detach(&world.home, &device).unwrap();
    assert_eq!(rest(), Vec::<PathBuf>::new());
    sh(&format!("umount {}", run.display()));
}
