//! A program that follows its NIC's BTF.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::expect_used
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::nic::linker;
use common::{World, own, sh};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use xhint_layout::Plan;
use xhint_link::Dispatch;
use xhint_runtime::attach::{attach, running};
use xhint_runtime::counters::Counters;
use xhint_runtime::detach::detach;
use xhint_runtime::follow::{Event, EventKind, Follow};
use xhint_runtime::layouts::Layouts;
use xhint_runtime::read_nics;
use xhint_runtime::status::status;
use xhint_runtime::{Device, Error, LinkedAs, Mode, Source};
use xhint_softnic::{Config, Mix, SendOptions, SoftNic, Traffic};
use xhint_testkit::privileged;

fn layout(n: usize) -> PathBuf {
    // From 10 on those without an id.
    let id = if n < 10 { "-DID" } else { "-DNO_ID" };
    own("stress.c").argument(format!("-DN={}", n % 10)).argument(id).object()
}

/// A soft NIC with firmware that is one file; all gone when dropped.
struct Stage {
    world: World,
    nic: SoftNic,
    device: Device,
    dir: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _gone = SoftNic::down_by_name(self.nic.name());
    }
}

impl Stage {
    fn new(name: &str, program: &Path, nic: usize) -> Stage {
        let world = World::new();
        let config = Config { netns: Some(world.name.clone()), ..Config::default() };
        let dir = tempfile::tempdir().unwrap();
        let up = SoftNic::up(name, &config, &plans(nic), xhint_softnic::Spread::Flow).unwrap();
        let device = Device::find(name, world.netns()).unwrap();
        let stage = Stage { world, nic: up, device, dir };
        stage.describe(nic);
        let options = LinkedAs { asked: Dispatch::Auto, count: true, ..LinkedAs::default() };
        let nics = read_nics(linker(), &[stage.file()]).unwrap();
        let job = linker().link(Source::read(program).unwrap(), nics, options, Mode::Native).unwrap();
        attach(&stage.world.home, &stage.device, &job).unwrap();
        stage
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("nic.btf")
    }

    /// The NIC's file is that of this layout now.
    fn describe(&self, nic: usize) {
        let fresh = self.dir.path().join("fresh");
        fs::copy(layout(nic), &fresh).unwrap();
        fs::rename(fresh, self.file()).unwrap();
    }

    fn flash(&self, nic: usize) {
        self.nic.flash(&plans(nic), xhint_softnic::Spread::Flow).unwrap();
    }

    fn send(&self) {
        let traffic = Traffic::mixed(&Mix { to: self.nic.mac(), ..Mix::default() });
        let sent = self.nic.send(&traffic, &SendOptions { count: Some(100), ..SendOptions::default() }).unwrap();
        assert_eq!(sent.arrived, 100);
    }

    /// What the program itself counted: read rightly, not read, read as another layout, read wrongly.
    fn seen(&self) -> [u64; 4] {
        let path = status(&self.world.home, &self.device).unwrap().maps_dir.unwrap().join("seen");
        let map = MapHandle::from_pinned_path(path).unwrap();
        std::array::from_fn(|n| {
            let all = map.lookup_percpu(&(n as u32).to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
            all.iter().map(|v| u64::from_ne_bytes(v[..8].try_into().unwrap())).sum()
        })
    }

    /// Packets read, by layout, and those not read.
    fn counted(&self) -> (Vec<(String, u64)>, u64) {
        let counters: Counters = status(&self.world.home, &self.device).unwrap().counters.unwrap();
        let layouts = counters.layouts.into_iter().map(|l| (l.name, l.count.packets)).collect();
        (layouts, counters.unknown.packets)
    }
}

fn plans(nic: usize) -> Vec<Plan> {
    let universe = linker().universe(&[Source::read(layout(nic)).unwrap()]).unwrap();
    let plan = |l: &xhint_universe::Layout| {
        Plan::of(universe.source(l.source).unwrap().btf(), l.type_id, &l.name, l.id).unwrap()
    };
    universe.layouts().iter().map(plan).collect()
}

/// What happens next, within some seconds.
fn next(follow: &mut Follow<'_>) -> Vec<Event> {
    let begin = Instant::now();
    loop {
        let events = follow.next().unwrap();
        if !events.is_empty() {
            return events;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "nothing happened");
    }
}

#[test]
fn a_changed_file_is_followed() {
    if !privileged() {
        return;
    }
    let stage = Stage::new(&format!("xlf{}", std::process::id()), &own("stress.bpf.c").object(), 1);
    let mut follow = Follow::start(&stage.world.home, &stage.device, linker(), vec![stage.file()]).unwrap();
    stage.send();
    assert_eq!(stage.counted(), (vec![("stress1".to_owned(), 100)], 0));

    // The file comes first, the firmware later: packets of both layouts are read at any time.
    stage.describe(5);
    let events = next(&mut follow);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::Swapped);
    let text = &events[0].text;
    let word = if xhint_host::room().unwrap().written < 40 { 2 } else { 4 };
    let (moved, gone) =
        (format!("moved from byte {word} to byte {}", 5 * word), format!("gone from byte {}", 5 * word));
    assert!(text.contains("became stress5") && text.contains(&format!("pkt_len {moved}")), "{text}");
    assert!(text.contains(&format!("w5 is {gone}")), "{text}");
    let sizes = plans(1)[0].size..plans(5)[0].size;
    assert!(text.contains(&format!("{} bytes became {}", sizes.start, sizes.end)), "{text}");
    stage.send();
    stage.flash(5);
    stage.send();
    assert_eq!(stage.counted(), (vec![("stress1".to_owned(), 200), ("stress5".to_owned(), 100)], 0));

    // What is no BTF changes nothing, and is said once.
    fs::write(stage.file(), "not BTF").unwrap();
    let events = next(&mut follow);
    assert_eq!(events.len(), 1);
    assert!(events[0].kind == EventKind::Kept && events[0].text.contains("nic.btf: "), "{events:?}");
    assert!(follow.next().unwrap().is_empty());
    stage.send();
    assert_eq!(stage.counted().1, 0);

    // A third one takes the place of the second; the first is forgotten.
    stage.describe(6);
    assert_eq!(next(&mut follow)[0].kind, EventKind::Swapped);
    stage.flash(6);
    stage.send();
    let (layouts, unknown) = stage.counted();
    assert_eq!((layouts.last().unwrap(), unknown), (&("stress6".to_owned(), 100), 0));
    stage.flash(1);
    stage.send();
    assert_eq!(stage.counted().1, 100);

    detach(&stage.world.home, &stage.device).unwrap();
    assert!(matches!(follow.next(), Err(Error::NotAttached(_))));
}

#[test]
fn what_others_attach_add_and_remove_stays_as_they_left_it() {
    if !privileged() {
        return;
    }
    let stage = Stage::new(&format!("xlo{}", std::process::id()), &own("stress.bpf.c").object(), 1);
    let (home, device) = (&stage.world.home, &stage.device);
    let layouts = || -> Vec<String> {
        let all = Layouts::of(home, device).list().unwrap();
        all.into_iter().map(|l| l.layout.name).collect()
    };
    // By a relative path, as by any other.
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(stage.file().strip_prefix("/").unwrap());
    let mut follow = Follow::start(home, device, linker(), vec![relative]).unwrap();
    let mine = stage.dir.path().join("mine");
    fs::copy(layout(1), &mine).unwrap();
    Layouts::of(home, device).add(linker(), Source::read_btf(&mine).unwrap()).unwrap();
    for n in [5, 6] {
        stage.describe(n);
        assert_eq!(next(&mut follow)[0].kind, EventKind::Swapped);
    }
    // The oldest of what is followed is gone, but not what was added, though it is the same.
    let mut now = layouts();
    now.sort_unstable();
    assert_eq!(now, ["stress1", "stress5", "stress6"]);
    Layouts::of(home, device).remove(linker(), "stress6").unwrap();
    stage.describe(7);
    next(&mut follow);
    assert!(!layouts().contains(&"stress6".to_owned()), "{:?}", layouts());

    // Another program is none of who followed the first.
    detach(home, device).unwrap();
    let program = own("stress.bpf.c").argument("-DUNGUARDED").object();
    let options = LinkedAs { asked: Dispatch::Static, count: true, ..LinkedAs::default() };
    let nics = vec![Source::read_btf(&mine).unwrap()];
    let job = linker().link(Source::read(program).unwrap(), nics, options, Mode::Native).unwrap();
    let theirs = attach(home, device, &job).unwrap().program;
    stage.describe(5);
    assert!(matches!(follow.next(), Err(Error::OtherAttached(_))));
    assert_eq!(device.programs().unwrap().native, theirs);
}

#[test]
fn a_device_that_is_renamed_is_followed_and_its_namesake_is_not() {
    if !privileged() {
        return;
    }
    let stage = Stage::new(&format!("xlr{}", std::process::id()), &own("stress.bpf.c").object(), 1);
    let mut follow = Follow::start(&stage.world.home, &stage.device, linker(), vec![stage.file()]).unwrap();
    let (n, name) = (&stage.world.name, stage.device.name());
    let rename = |from: &str, to: &str| {
        sh(&format!(
            "ip -n {n} link set {from} down && ip -n {n} link set {from} name {to} && ip -n {n} link set {to} up"
        ));
    };
    rename(name, "renamed");
    rename("near", name);
    let namesake = Device::find(name, stage.world.netns()).unwrap();
    let before = stage.device.programs().unwrap().native;
    stage.describe(5);
    let text = next(&mut follow)[0].text.clone();
    assert!(text.starts_with("renamed: ") && text.contains("became stress5"), "{text}");
    assert_ne!(stage.device.programs().unwrap().native, before);
    assert_eq!(namesake.programs().unwrap().ids().count(), 0);
    rename(name, "near");
    rename("renamed", name);
    detach(&stage.world.home, &stage.device).unwrap();
    assert_eq!(stage.world.left(), Vec::<PathBuf>::new());
}

#[test]
fn files_that_come_and_go_in_a_directory_are_told() {
    if !privileged() {
        return;
    }
    let stage = Stage::new(&format!("xld{}", std::process::id()), &own("stress.bpf.c").object(), 1);
    let (dir, other) = (stage.dir.path().to_owned(), stage.dir.path().join("other.btf"));
    let mut follow = Follow::start(&stage.world.home, &stage.device, linker(), vec![dir]).unwrap();
    fs::copy(layout(3), &other).unwrap();
    let text = next(&mut follow).remove(0).text;
    assert!(text.contains("stress3 (0x") && text.contains(" is new; linked anew"), "{text}");
    fs::remove_file(&other).unwrap();
    let text = next(&mut follow).remove(0).text;
    assert!(text.contains("stress3 (0x") && text.contains("other.btf is gone; linked anew"), "{text}");
    // Not until the next change: what is on its way is still read.
    assert_eq!(stage.counted().0.len(), 2);

    // What it was made from is lost: that is no detaching.
    fs::remove_dir_all(stage.world.state()).unwrap();
    assert!(matches!(follow.next(), Err(Error::Lost { .. })));
}

#[test]
fn a_layout_that_lacks_what_is_needed_goes_to_the_fallback() {
    if !privileged() {
        return;
    }
    let program = own("stress.bpf.c").argument("-DUNGUARDED").object();
    let stage = Stage::new(&format!("xlg{}", std::process::id()), &program, 2);
    let mut follow = Follow::start(&stage.world.home, &stage.device, linker(), vec![stage.file()]).unwrap();
    stage.describe(8);
    let events = next(&mut follow);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0].kind, EventKind::Swapped);
    let note = &events[1].text;
    assert!(note.contains("go to the fallback") && note.contains("stress.bpf.c:"), "{note}");
    assert!(note.contains("pkt_len") && note.contains("stress8"), "{note}");
    // Old packets are read as before; new ones are not read, and counted by name all the same.
    stage.send();
    stage.flash(8);
    stage.send();
    assert_eq!(stage.counted(), (vec![("stress2".to_owned(), 100), ("stress8".to_owned(), 100)], 0));
}

#[test]
fn what_is_said_of_the_old_layout_is_so() {
    if !privileged() {
        return;
    }
    let program = own("stress.bpf.c").argument("-DUNGUARDED").object();
    let stage = Stage::new(&format!("xlx{}", std::process::id()), &program, 2);
    let mut follow = Follow::start(&stage.world.home, &stage.device, linker(), vec![stage.file()]).unwrap();
    // It lacks what is read unasked.
    stage.describe(8);
    let text = next(&mut follow).remove(0).text;
    assert!(text.contains("packets of the old layout are still read: stress2 (0x"), "{text}");
    stage.describe(3);
    let text = next(&mut follow).remove(0).text;
    assert!(text.contains("packets of the old layout go to the fallback: stress8 (0x"), "{text}");
    assert!(!text.contains("still read"), "{text}");
    stage.describe(4);
    let text = next(&mut follow).remove(0).text;
    assert!(text.contains("packets of the old layout are still read: stress3 (0x"), "{text}");
    // One that was removed is not spoken of.
    Layouts::of(&stage.world.home, &stage.device).remove(linker(), "stress4").unwrap();
    stage.describe(5);
    let text = next(&mut follow).remove(0).text;
    assert!(!text.contains("the old layout"), "{text}");
}

/// The link moves with the device, and so does who follows it.
#[test]
fn a_device_that_moves_is_followed_where_it_goes() {
    if !privileged() {
        return;
    }
    let stage = Stage::new(&format!("xlm{}", std::process::id()), &own("stress.bpf.c").object(), 1);
    let other = World::new();
    let mut follow = Follow::start(&stage.world.home, &stage.device, linker(), vec![stage.file()]).unwrap();
    let (from, to, name) = (&stage.world.name, &other.name, stage.device.name());
    sh(&format!("ip -n {from} link set {name} netns {to} name moved"));
    let events = next(&mut follow);
    assert_eq!((events.len(), events[0].kind), (1, EventKind::Note), "{events:?}");
    let says = format!("{name}: moved to another network namespace, {to}; followed there as moved");
    assert_eq!(events[0].text, says);
    stage.describe(5);
    let text = next(&mut follow).remove(0).text;
    assert!(text.starts_with("moved: ") && text.contains("became stress5"), "{text}");
    let moved = Device::find("moved", other.netns()).unwrap();
    detach(&stage.world.home, &moved).unwrap();
    assert!(matches!(follow.next(), Err(Error::NotAttached(_))));
}

#[test]
fn a_layout_that_lacks_what_is_needed_is_not_added() {
    if !privileged() {
        return;
    }
    let program = own("stress.bpf.c").argument("-DUNGUARDED").object();
    let stage = Stage::new(&format!("xlu{}", std::process::id()), &program, 2);
    let (home, device) = (&stage.world.home, &stage.device);
    for asked in ["static", "tail"] {
        let options = LinkedAs { asked: Dispatch::named(asked).unwrap(), count: true, ..LinkedAs::default() };
        let nics = read_nics(linker(), &[stage.file()]).unwrap();
        let job = linker().link(Source::read(&program).unwrap(), nics, options, Mode::Native).unwrap();
        attach(home, device, &job).unwrap();
        let before = status(home, device).unwrap().program_id;
        let refused = Layouts::of(home, device).add(linker(), Source::read(layout(8)).unwrap()).unwrap_err();
        let says = refused.to_string();
        assert!(says.contains("stress8") && says.contains("has no 'pkt_len'"), "{asked}: {says}");
        assert_eq!(Layouts::of(home, device).list().unwrap().len(), 1);
        assert_eq!(status(home, device).unwrap().program_id, before, "what ran runs");
    }
}

#[test]
fn a_nic_without_ids_is_served_one_layout_at_a_time() {
    if !privileged() {
        return;
    }
    let program = own("stress.bpf.c").argument("-DNO_ID").object();
    let stage = Stage::new(&format!("xlh{}", std::process::id()), &program, 11);
    let (home, device) = (&stage.world.home, &stage.device);
    let state = running(home, device).unwrap().unwrap();
    assert_eq!((state.options.dispatch, state.layouts[0].selector), (Dispatch::None, false));
    stage.send();
    assert_eq!(stage.seen(), [100, 0, 0, 0]);

    // None beside it, whether with an id or without.
    for other in [2, 12] {
        let refused = Layouts::of(home, device).add(linker(), Source::read(layout(other)).unwrap()).unwrap_err();
        assert!(refused.to_string().contains("cannot be told from others"), "{refused}");
    }
    stage.send();
    assert_eq!(stage.seen(), [200, 0, 0, 0]);

    // A change is followed, and what it costs is said.
    let mut follow = Follow::start(home, device, linker(), vec![stage.file()]).unwrap();
    stage.describe(12);
    let events = next(&mut follow);
    assert_eq!(events[0].kind, EventKind::Swapped);
    assert!(events[0].text.contains("carry no id") && events[0].text.contains("read wrongly"), "{}", events[0]);
    stage.flash(12);
    stage.send();
    assert_eq!(stage.seen(), [300, 0, 0, 0]);
}

#[test]
fn of_a_directory_files_with_layouts_count() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(layout(1), dir.path().join("b.o")).unwrap();
    fs::copy(layout(2), dir.path().join("a.btf")).unwrap();
    fs::write(dir.path().join("README"), "no BTF").unwrap();
    let found = read_nics(linker(), &[dir.path().to_owned()]).unwrap();
    let names: Vec<_> = found.iter().map(|s| s.path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["a.btf", "b.o"]);
}
