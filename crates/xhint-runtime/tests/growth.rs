//! What one more layout costs beside many: it must not grow with them. Bytes and calls are counted, not time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use std::fs;
use std::path::Path;

use common::growing::{attach_as, attach_one, nic};
use common::nic::linker;
use common::{World, sh};
use inotify::{EventMask, Inotify, WatchMask};
use xhint_btf::ByteOrder;
use xhint_link::Dispatch;
use xhint_runtime::attach::running;
use xhint_runtime::detach::detach;
use xhint_runtime::layouts::Layouts;
use xhint_runtime::status::status;
use xhint_runtime::{Device, Linker};
use xhint_testkit::privileged;

/// The bytes that this thread has written into files, and how often it has read from some.
fn done() -> [u64; 2] {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    ["wchar: ", "syscr: "].map(|what| io.lines().find_map(|l| l.strip_prefix(what)).unwrap().parse().unwrap())
}

fn only_dir(dir: &Path) -> std::path::PathBuf {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir()).unwrap()
}

#[test]
fn one_more_layout_is_written_down_alone() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    attach_one(home, device);
    let layouts = Layouts::of(home, device);
    let add = |n: u32| {
        let before = done();
        let changed = layouts.add(linker(), nic(n)).unwrap();
        assert!(changed.swap.is_none() && changed.layouts.len() == 1);
        let after = done();
        [after[0] - before[0], after[1] - before[1]]
    };
    let costs: Vec<[u64; 2]> = (1..=200).map(add).collect();
    // Numbers of more digits are all that may be longer.
    let ([few, few_reads], [many, many_reads]) = (costs[19], costs[199]);
    assert!(many <= few + 64, "{few} bytes beside 20 layouts, {many} beside 200");
    // What is known of the others stands in one file.
    assert!(many_reads <= few_reads + 8, "{few_reads} reads beside 20 layouts, {many_reads} beside 200");
    let before = done();
    assert_eq!(layouts.list().unwrap().len(), 201);
    assert!(done()[1] - before[1] < 100, "to list them, their files are not read");
    let whole = running(home, device).unwrap().unwrap();
    assert_eq!((whole.layouts.len(), whole.nics.len(), whole.slots.len()), (201, 201, 201));

    // A line that was broken off is as if it had never been begun, and the next one takes its place.
    let path = only_dir(&only_dir(&world.state())).join("state.json");
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 5]).unwrap();
    let torn = running(home, device).unwrap().unwrap();
    assert_eq!((torn.layouts.as_slice(), torn.nics.len()), (&whole.layouts[..200], 200));
    add(200);
    assert_eq!(running(home, device).unwrap().unwrap(), whole);
    assert_eq!(fs::read(&path).unwrap(), text);

    let before = done();
    layouts.remove(linker(), "nic0007.btf").unwrap();
    let removed = done()[0] - before[0];
    assert!(removed < few, "{removed} bytes to remove one, {few} to add one");
    let fewer = running(home, device).unwrap().unwrap();
    assert!(
        fewer.layouts.len() == 200 && fewer.layouts.iter().all(|l| fewer.nics[l.nic].path != Path::new("nic0007.btf"))
    );
    add(201);
    assert_eq!(running(home, device).unwrap().unwrap().layouts.len(), 201);
    // Of what comes and goes for ever not all is kept, and what is added to a state that was written anew counts.
    let length = || fs::metadata(&path).unwrap().len();
    let most = length() + 100 * many;
    for _ in 0..70 {
        layouts.remove(linker(), "nic0201.btf").unwrap();
        add(201);
        assert!(length() < most);
    }
    let left = running(home, device).unwrap().unwrap();
    assert_eq!((left.layouts.len(), left.nics.len(), left.slots.len()), (201, 201, 202));
    let removals = fs::read_to_string(&path).unwrap().matches("{\"removed\"").count();
    assert!(removals < 10, "{removals}");
}

#[test]
fn a_full_disk_adds_nothing_and_leaves_nothing() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    let run = world.state().parent().unwrap().to_owned();
    fs::create_dir_all(&run).unwrap();
    sh(&format!("mount -t tmpfs -o size=256k,mode=0700 tmpfs {}", run.display()));
    attach_one(home, device);
    let layouts = Layouts::of(home, device);
    layouts.add(linker(), nic(1)).unwrap();
    let rest = || world.left().into_iter().filter(|p| !p.ends_with("fill")).collect::<Vec<_>>();
    let (kept, state) = (rest(), running(home, device).unwrap());
    sh(&format!("dd if=/dev/zero of={}/fill bs=4k 2>/dev/null; true", run.display()));
    let says = layouts.add(linker(), nic(2)).unwrap_err().to_string();
    assert!(says.contains("No space left on device"), "{says}");
    assert_eq!((rest(), running(home, device).unwrap()), (kept, state));
    fs::remove_file(run.join("fill")).unwrap();
    layouts.add(linker(), nic(2)).unwrap();
    assert_eq!(layouts.list().unwrap().len(), 3);
    // The same where something was taken away, and that takes no room.
    sh(&format!("dd if=/dev/zero of={}/fill bs=4k 2>/dev/null; true", run.display()));
    layouts.remove(linker(), "nic0001.btf").unwrap();
    sh(&format!("dd if=/dev/zero of={}/fill bs=4k 2>/dev/null; true", run.display()));
    let (kept, state) = (rest(), running(home, device).unwrap());
    let says = layouts.add(linker(), nic(3)).unwrap_err().to_string();
    assert!(says.contains("No space left on device"), "{says}");
    assert_eq!((rest(), running(home, device).unwrap()), (kept, state));
    fs::remove_file(run.join("fill")).unwrap();
    layouts.add(linker(), nic(3)).unwrap();
    assert_eq!(layouts.list().unwrap().len(), 3);
    detach(home, device).unwrap();
    sh(&format!("umount {}", run.display()));
}

#[test]
fn what_comes_goes_and_comes_again() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    attach_one(home, device);
    let first = running(home, device).unwrap();
    let layouts = Layouts::of(home, device);
    for _ in 0..3 {
        layouts.add(linker(), nic(1)).unwrap();
        assert_eq!(layouts.list().unwrap().len(), 2);
        // But for the slot that it had, all is as it was: also what is written down.
        layouts.remove(linker(), "nic0001.btf").unwrap();
        let left = running(home, device).unwrap();
        assert_eq!(left.map(|s| (s.layouts, s.nics)), first.clone().map(|s| (s.layouts, s.nics)));
    }
}

/// What an older or newer xhint wrote is not read as something else, and the program that runs is replaced all the same.
#[test]
fn a_state_of_another_version_is_refused_in_words() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    let anothers = "was written by another version of xhint";
    let damaged = "not a state of xhint's";
    for (other, what) in [
        (r#"{"entry":"prog","mode":"native","since":0}"#, anothers),
        ("{\"version\":1}\n{}\n", anothers),
        ("", damaged),
        ("\u{1}\u{fffd}x\n", damaged),
    ] {
        attach_one(home, device);
        let path = only_dir(&only_dir(&world.state())).join("state.json");
        fs::write(&path, other).unwrap();
        assert!(running(home, device).unwrap().is_none());
        let trouble = status(home, device).unwrap().trouble.unwrap();
        assert!(trouble.contains(&format!("state.json: {what}")), "{trouble}");
        assert!(trouble.contains("attach again"), "{trouble}");
        let says = Layouts::of(home, device).add(linker(), nic(1)).unwrap_err().to_string();
        assert!(says.contains(what), "{says}");
    }
    attach_one(home, device);
    assert_eq!(running(home, device).unwrap().unwrap().layouts.len(), 1);
}

/// The kernel's BTF is read for who asks for one of its types, and this program asks for none.
#[test]
fn the_base_is_read_only_when_asked() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    attach_one(home, device);
    let linker = Linker::deferred(ByteOrder::NATIVE, || Err("nobody may".to_owned()));
    let layouts = Layouts::of(home, device);
    layouts.add(&linker, nic(1)).unwrap();
    layouts.remove(&linker, "nic0001.btf").unwrap();
    assert!(!linker.has_read_base());
    // Whoever asks is told.
    let universe = linker.universe(&[]).unwrap();
    assert_eq!((universe.absent_base(), linker.has_read_base()), (Some("nobody may"), true));
}

/// A step reads the object that runs, which is kept in a file, once.
#[test]
fn the_object_is_read_once() {
    if !privileged() {
        return;
    }
    for asked in [Dispatch::Tail, Dispatch::Static] {
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        attach_as(home, device, asked);
        let layouts = Layouts::of(home, device);
        layouts.add(linker(), nic(1)).unwrap();
        let object = running(home, device).unwrap().unwrap().object.bytes().unwrap();
        let generations = fs::read_dir(only_dir(&world.state())).unwrap().map(|e| e.unwrap().path());
        let files = generations.flat_map(|g| fs::read_dir(g).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>());
        let [kept] = files.filter(|f| fs::read(f).unwrap() == object).collect::<Vec<_>>().try_into().unwrap();
        let mut opened = Inotify::init().unwrap();
        opened.watches().add(&kept, WatchMask::OPEN).unwrap();
        let swap = layouts.add(linker(), nic(2)).unwrap().swap;
        assert_eq!(swap.is_some(), asked == Dispatch::Static);
        let times = opened.read_events(&mut [0; 4096]).unwrap().filter(|e| e.mask.contains(EventMask::OPEN)).count();
        assert_eq!(times, 1, "{asked}");
    }
}
