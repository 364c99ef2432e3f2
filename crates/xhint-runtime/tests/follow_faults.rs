//! Following goes on, or ends in words, whatever becomes of the files, the device and its namespace.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::expect_used
)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::nic::{job, linker, newest};
use common::{World, example, sh};
use xhint_runtime::attach::attach;
use xhint_runtime::follow::{Event, EventKind, Follow, check};
use xhint_runtime::status::status;
use xhint_runtime::{Device, Error};
use xhint_testkit::privileged;

/// A device with the example program, and a folder for its NIC's BTF.
struct Stage {
    world: World,
    device: Device,
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let world = World::new();
        let device = Device::find("near", world.netns()).unwrap();
        let stage = Stage { world, device, dir: tempfile::tempdir().unwrap() };
        fs::write(stage.file(), bytes("alpha_fw1")).unwrap();
        let mut job = job(newest(), &["alpha_fw1"], "static").unwrap();
        job.state.nics[0].path = stage.file();
        attach(&stage.world.home, &stage.device, &job).unwrap();
        stage
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("nic.o")
    }

    fn follow(&self, what: PathBuf) -> Follow<'_> {
        Follow::start(&self.world.home, &self.device, linker(), vec![what]).unwrap()
    }

    /// Another firmware's file in the place of the first, in one step.
    fn replace(&self, nic: &str) {
        let fresh = self.dir.path().join(".fresh");
        fs::write(&fresh, bytes(nic)).unwrap();
        fs::rename(fresh, self.file()).unwrap();
    }

    fn program(&self) -> u32 {
        status(&self.world.home, &self.device).unwrap().program_id
    }
}

fn bytes(nic: &str) -> Vec<u8> {
    fs::read(example(&format!("nics/{nic}.c")).object()).unwrap()
}

/// What happens next, within some seconds.
fn next(follow: &mut Follow<'_>) -> Result<Vec<Event>, Error> {
    let begin = Instant::now();
    loop {
        let events = follow.next()?;
        if !events.is_empty() {
            return Ok(events);
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing happened");
    }
}

/// A pipe has one content, once: following it would wait for ever.
#[test]
fn a_pipe_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    sh(&format!("mkfifo {}", pipe.display()));
    let error = check(&[pipe]).unwrap_err().to_string();
    assert!(error.contains("pipe") && error.contains("cannot be followed"), "{error}");
    check(&[dir.path().to_owned()]).unwrap();
}

/// Other files of the folder change all the time, which wakes nobody, and keeps nothing from being seen.
#[test]
fn a_pipe_in_the_place_of_a_folder_is_refused_too() {
    if !privileged() {
        return;
    }
    let stage = Stage::new();
    let mut follow = stage.follow(stage.file());
    fs::remove_file(stage.file()).unwrap();
    fs::create_dir(stage.file()).unwrap();
    let _folder = follow.next();
    thread::sleep(Duration::from_millis(1100));
    let _folder = follow.next();
    let program = stage.program();
    fs::remove_dir(stage.file()).unwrap();
    sh(&format!("mkfifo {}", stage.file().display()));
    let text = next(&mut follow).unwrap().remove(0).text;
    assert!(text.contains("no file or directory") && text.contains("what ran goes on"), "{text}");
    assert_eq!(stage.program(), program);
}

#[test]
fn what_goes_on_beside_is_not_ours() {
    if !privileged() {
        return;
    }
    // The file alone, and all of the folder.
    for folder in [false, true] {
        let stage = Stage::new();
        let stop = Arc::new(AtomicBool::new(false));
        let (dir, told) = (stage.dir.path().to_owned(), Arc::clone(&stop));
        let noise = thread::spawn(move || {
            for n in (0u32..).take_while(|_| !told.load(Ordering::Relaxed)) {
                fs::write(dir.join(format!("log{}", n % 10)), [0x7f, b'E', 0, 0, 0]).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut follow = stage.follow(if folder { stage.dir.path().to_owned() } else { stage.file() });
        for _ in 0..3 {
            let begin = Instant::now();
            assert_eq!(follow.next().unwrap(), []);
            // Of a folder any file may be one to follow, so that a pause of the noise may be a change that is over.
            let slept = begin.elapsed() >= Duration::from_millis(900);
            assert!(slept || folder, "woken by changes that are none of ours");
        }
        stage.replace("alpha_fw2");
        let events = next(&mut follow).unwrap();
        assert_eq!(events[0].kind, EventKind::Swapped, "{events:?}");
        stop.store(true, Ordering::Relaxed);
        noise.join().unwrap();
    }
}

/// Half a BTF, none, and then all of it.
#[test]
fn a_file_that_is_not_right_yet_changes_nothing() {
    if !privileged() {
        return;
    }
    for folder in [false, true] {
        let stage = Stage::new();
        let mut follow = stage.follow(if folder { stage.dir.path().to_owned() } else { stage.file() });
        let (before, new) = (stage.program(), bytes("alpha_fw2"));
        fs::write(stage.file(), &new[..new.len() / 2]).unwrap();
        let events = next(&mut follow).unwrap();
        assert_eq!((events.len(), events[0].kind), (1, EventKind::Kept), "{events:?}");
        assert!(events[0].text.contains("nic.o") && events[0].text.contains("goes on"), "{events:?}");
        assert_eq!(follow.next().unwrap(), [], "it is said once");
        if !folder {
            fs::remove_file(stage.file()).unwrap();
            symlink("/nonexistent", stage.file()).unwrap();
            let events = next(&mut follow).unwrap();
            assert_eq!((events.len(), events[0].kind), (1, EventKind::Kept), "{events:?}");
            fs::remove_file(stage.file()).unwrap();
        }
        assert_eq!(stage.program(), before);
        fs::write(stage.file(), &new).unwrap();
        let events = next(&mut follow).unwrap();
        assert_eq!(events[0].kind, EventKind::Swapped, "{events:?}");
        assert!(stage.program() != before);
    }
}

/// One that is wrong keeps nobody from following the others.
#[test]
fn one_that_is_wrong_does_not_hold_the_others_up() {
    if !privileged() {
        return;
    }
    let stage = Stage::new();
    let other = stage.dir.path().join("other.o");
    fs::write(&other, bytes("beta")).unwrap();
    let mut follow = stage.follow(stage.dir.path().to_owned());
    assert_eq!(next(&mut follow).unwrap()[0].kind, EventKind::Swapped);
    fs::write(&other, "junk").unwrap();
    let events = next(&mut follow).unwrap();
    assert_eq!((events.len(), events[0].kind), (1, EventKind::Kept), "{events:?}");
    stage.replace("alpha_fw2");
    let events = next(&mut follow).unwrap();
    assert_eq!((events.len(), events[0].kind), (1, EventKind::Swapped), "{events:?}");
    assert!(!events[0].text.contains("beta_rx_completion"), "{events:?}");
}

/// A file that changes once more within a tick of the file system's clock, to the same length.
#[test]
fn no_change_is_missed() {
    if !privileged() {
        return;
    }
    let stage = Stage::new();
    let mut follow = stage.follow(stage.file());
    let [one, other] = ["alpha_fw2", "alpha_fw1"].map(bytes);
    let mut one = one;
    one.resize(one.len().max(other.len()), 0);
    fs::write(stage.file(), &one).unwrap();
    next(&mut follow).unwrap();
    let times = fs::metadata(stage.file()).unwrap().modified().unwrap();
    let mut other = other;
    other.resize(one.len(), 0);
    fs::write(stage.file(), &other).unwrap();
    fs::File::options().write(true).open(stage.file()).unwrap().set_modified(times).unwrap();
    let events = next(&mut follow).unwrap();
    assert_eq!(events[0].kind, EventKind::Swapped, "{events:?}");
}

#[test]
fn a_device_that_goes_ends_it() {
    if !privileged() {
        return;
    }
    let stage = Stage::new();
    let mut follow = stage.follow(stage.file());
    assert_eq!(follow.next().unwrap(), []);
    sh(&format!("ip -n {} link del near", stage.world.name));
    let error = next(&mut follow).unwrap_err();
    assert!(matches!(error, Error::NoDevice { .. }), "{error}");
}

/// A namespace that is deleted goes at once: its device's other end, which is elsewhere, goes with it.
#[test]
fn a_namespace_that_goes_is_not_kept() {
    if !privileged() {
        return;
    }
    let (stage, other) = (Stage::new(), World::new());
    let (name, far) = (&stage.world.name, format!("far{}", std::process::id()));
    sh(&format!("ip -n {name} link set far netns {} name {far}", other.name));
    let mut follow = stage.follow(stage.file());
    assert_eq!(follow.next().unwrap(), []);
    sh(&format!("ip netns del {name}"));
    let error = next(&mut follow).unwrap_err();
    assert!(error.is_gone(), "{error}");
    let begin = Instant::now();
    while sh(&format!("ip -n {} -br link", other.name)).contains(&far) {
        assert!(begin.elapsed() < Duration::from_secs(30), "the namespace lives on");
        thread::sleep(Duration::from_millis(50));
    }
}
