//! From up to down, whatever happens between.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use caps::{CapSet, Capability};
use common::{Down, alone, btf, compile, mixed, plan, privileged, send, unique, up};
use nix::mount::{MsFlags, mount};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use xhint_softnic::{Config, Credit, Error, SendOptions, SoftNic, Spread, Traffic, max_meta};

fn netns(name: &str) -> String {
    format!("/run/netns/xhint-{name}")
}

/// Nothing of the device is left anywhere.
fn gone(name: &str) {
    assert!(if_nametoindex(name).is_err());
    assert!(!SoftNic::list().unwrap().contains(&name.to_string()));
    assert!(!Path::new(&netns(name)).exists());
    for lock in ["nic-changes", "nic-sends"] {
        assert!(!Path::new(&format!("/sys/fs/bpf/xhint/{lock}/{name}")).exists());
    }
}

#[test]
fn it_outlives_its_maker_and_goes_whole() {
    if !privileged() {
        return;
    }
    alone();
    let layouts = btf(&compile("layouts.c"));
    let (nic, down) = up(&[plan(&layouts, "third", 0x33)], Spread::Flow);
    let name = nic.name().to_string();
    drop(nic);
    let again = SoftNic::up(&name, &Config::default(), &[], Spread::Flow).unwrap_err();
    assert!(matches!(again, Error::Exists { .. }), "{again}");
    let nic = SoftNic::open(&name).unwrap();
    assert_eq!(nic.status().unwrap().layouts[0].name, "third");
    assert!(SoftNic::list().unwrap().contains(&name));
    nic.send(&mixed(&nic), &send(10)).unwrap();
    nic.down().unwrap();
    gone(&name);
    for error in [SoftNic::open(&name).map(drop), SoftNic::down_by_name(&name)] {
        assert!(matches!(error.unwrap_err(), Error::NotFound { .. }));
    }
    gone(&name);
    drop(down);
}

#[test]
fn what_is_half_there_is_repaired() {
    if !privileged() {
        return;
    }
    alone();
    let (nic, down) = up(&[], Spread::Flow);
    let name = nic.name().to_string();
    // As if `up` had been killed before its last step.
    std::fs::remove_file(format!("/sys/fs/bpf/xhint/nic/{name}/link")).unwrap();
    assert!(matches!(SoftNic::open(&name).unwrap_err(), Error::Broken { .. }));
    let nic = SoftNic::up(&name, &Config::default(), &[], Spread::Flow).unwrap();
    assert_eq!(nic.send(&mixed(&nic), &send(100)).unwrap().arrived, 100);
    // Or before the first thing in its namespace was made.
    nic.down().unwrap();
    std::fs::write(netns(&name), "").unwrap();
    SoftNic::down_by_name(&name).unwrap();
    gone(&name);
    // Or someone removed the device.
    let nic = SoftNic::up(&name, &Config::default(), &[], Spread::Flow).unwrap();
    if Command::new("ip").args(["link", "del", &name]).status().is_ok_and(|s| s.success()) {
        assert!(matches!(SoftNic::open(&name).unwrap_err(), Error::Broken { .. }));
        assert!(nic.flash(&[], Spread::Flow).is_err());
    }
    drop(down);
    gone(&name);
}

/// What takes things away needs no room for more.
#[test]
fn it_goes_where_no_file_can_be_made() {
    if !privileged() {
        return;
    }
    alone();
    let (nic, down) = up(&[], Spread::Flow);
    let name = nic.name().to_string();
    // A view of the files for this thread alone, with `/run/netns` in common still.
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    for path in ["/", "/run"] {
        let _no_mount = mount(none, path, none, MsFlags::MS_PRIVATE, none);
    }
    std::fs::create_dir_all("/run/xhint").unwrap();
    mount(Some("tmpfs"), "/run/xhint", Some("tmpfs"), MsFlags::empty(), Some("nr_inodes=1")).unwrap();
    let full = std::fs::create_dir("/run/xhint/one-more").unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    nic.down().unwrap();
    gone(&name);
    drop(down);
}

/// Not a test: what `killed_at_any_moment_the_next_call_repairs` kills.
#[test]
fn child_that_goes_up_and_down() {
    let Ok(name) = std::env::var("SOFTNIC_CHILD") else { return };
    let netns = format!("/proc/{}/task/{}/ns/net", parent(), std::env::var("SOFTNIC_TASK").unwrap());
    loop {
        SoftNic::up(&name, &Config { netns: Some(netns.clone()), ..Config::default() }, &[], Spread::Flow).unwrap();
        SoftNic::down_by_name(&name).unwrap();
    }
}

fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

#[test]
fn killed_at_any_moment_the_next_call_repairs() {
    if !privileged() {
        return;
    }
    alone();
    let name = unique();
    let _down = Down(name.clone());
    for n in 0..20u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_goes_up_and_down"])
            .env("SOFTNIC_CHILD", &name)
            .env("SOFTNIC_TASK", nix::unistd::gettid().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Moments all over a round of some 300 ms.
        std::thread::sleep(Duration::from_millis(40 + n * 37 % 400));
        child.kill().unwrap();
        child.wait().unwrap();
        if n % 2 == 0 {
            match SoftNic::up(&name, &Config::default(), &[], Spread::Flow) {
                Ok(_) | Err(Error::Exists { .. }) => {}
                Err(other) => panic!("{other}"),
            }
            let nic = SoftNic::open(&name).unwrap();
            assert_eq!(nic.send(&mixed(&nic), &send(100)).unwrap().arrived, 100);
        }
        match SoftNic::down_by_name(&name) {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        gone(&name);
    }
}

#[test]
fn a_taken_name_is_left_alone() {
    if !privileged() {
        return;
    }
    alone();
    let error = SoftNic::up("lo", &Config::default(), &[], Spread::Flow).unwrap_err();
    assert!(matches!(error, Error::NameTaken { .. }), "{error}");
    assert!(if_nametoindex("lo").is_ok());
    assert!(!Path::new(&netns("lo")).exists());
    assert!(!Path::new("/sys/fs/bpf/xhint/nic-changes/lo").exists());
    assert!(!SoftNic::list().unwrap().contains(&"lo".to_string()));
}

#[test]
fn another_namespace_and_another_mtu() {
    if !privileged() {
        return;
    }
    // The device goes into the namespace of this thread, made by another that knows its path only.
    alone();
    let path = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
    let name = unique();
    let _down = Down(name.clone());
    let config = Config { netns: Some(path), mtu: 3400 };
    let made =
        std::thread::scope(|scope| scope.spawn(|| SoftNic::up(&name, &config, &[], Spread::Flow)).join().unwrap());
    let nic = made.unwrap();
    assert!(if_nametoindex(name.as_str()).is_ok());
    let long = |len| Traffic::frames(vec![vec![0xff; len]]);
    assert_eq!(nic.send(&long(3418), &send(50)).unwrap().arrived, 50);
    let error = nic.send(&long(3419), &send(1)).unwrap_err();
    assert!(error.to_string().contains("frame 1 of the traffic has 3419 bytes; 14 to 3418 can be sent"), "{error}");
    assert!(matches!(nic.send(&Traffic::frames(vec![]), &send(1)), Err(Error::NoFrames)));
}

/// As under `ip netns exec`, whose child has a mount namespace and a `/sys` of its own. In a new PID
/// namespace, as the first process of the old one may be nobody's business.
#[test]
fn it_is_found_from_other_mount_namespaces() {
    if !privileged() {
        return;
    }
    let child = Command::new("unshare")
        .args(["--fork", "--pid", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_in_other_mount_namespaces", "--nocapture"])
        .env("SOFTNIC_MOUNTS", unique())
        .output();
    let Ok(child) = child else { return xhint_testkit::privilege::skipped("no unshare(1)") };
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("found, and gone"), "{out}{err}");
}

/// Not a test: the first process of a PID namespace.
#[test]
fn child_in_other_mount_namespaces() {
    let Ok(name) = std::env::var("SOFTNIC_MOUNTS") else { return };
    // Dots are nothing that a BPF file system takes.
    let name = format!("{name}.1");
    let _down = Down(name.clone());
    // The device is to outlive the thread that makes it, so it goes into a namespace of the main one.
    alone();
    let netns = format!("/proc/1/task/{}/ns/net", nix::unistd::gettid());
    let work = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none).unwrap();
        mount(Some("sys"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
        let nic = SoftNic::up(&name, &Config { netns: Some(netns), ..Config::default() }, &[], Spread::Flow).unwrap();
        assert_eq!(nic.send(&mixed(&nic), &send(10)).unwrap().arrived, 10);
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    assert_eq!(SoftNic::open(&name).unwrap().status().unwrap().arrived, 10);
    assert!(SoftNic::list().unwrap().contains(&name));
    SoftNic::down_by_name(&name).unwrap();
    gone(&name);
    println!("found, and gone");
}

#[test]
fn bad_wishes_are_refused() {
    if !privileged() {
        return;
    }
    let up = |name: &str, config: Config| SoftNic::up(name, &config, &[], Spread::Flow).unwrap_err();
    let mtu = |mtu| up("snbad0", Config { mtu, ..Config::default() });
    assert!(matches!(mtu(67), Error::BadMtu { .. }));
    assert!(matches!(mtu(3401), Error::BadMtu { .. }));
    assert!(matches!(up("a/b", Config::default()), Error::BadName { .. }));
    for netns in ["no-such-namespace", "/etc/passwd"] {
        let error = up("snbad0", Config { netns: Some(netns.to_string()), ..Config::default() });
        assert!(matches!(error, Error::Host(xhint_host::Error::Netns { .. })), "{error}");
    }
    let layouts = btf(&compile("layouts.c"));
    let (third, mut none) = (plan(&layouts, "third", 1), plan(&layouts, "third", 1));
    none.id = 0;
    for plans in [vec![third.clone(), third], vec![none]] {
        let error = SoftNic::up("snbad0", &Config::default(), &plans, Spread::Flow).unwrap_err();
        assert!(matches!(error, Error::BadFirmware { .. }), "{error}");
    }
    let (most, mut long) = (max_meta().unwrap(), plan(&layouts, "third", 1));
    long.size = most + 4;
    let error = SoftNic::up("snbad0", &Config::default(), &[long], Spread::Flow).unwrap_err().to_string();
    let limits = [format!("layout third has {} bytes", most + 4), format!("at most {most} bytes of metadata")];
    assert!(limits.iter().all(|l| error.contains(l)), "{error}");
    gone("snbad0");
}

#[test]
fn without_the_rights_nothing_is_begun() {
    if !privileged() {
        return;
    }
    // Of this thread alone.
    caps::drop(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap();
    caps::drop(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap();
    let error = SoftNic::up("snnocap0", &Config::default(), &[], Spread::Flow).unwrap_err();
    assert_eq!(error.to_string(), "the soft NIC needs CAP_NET_ADMIN, CAP_NET_RAW; run as root or grant it");
    gone("snnocap0");
}

#[test]
fn two_devices_do_not_meet() {
    if !privileged() {
        return;
    }
    alone();
    let layouts = btf(&compile("layouts.c"));
    let (one, _down1) = up(&[plan(&layouts, "first", 1)], Spread::Flow);
    let (two, _down2) = up(&[plan(&layouts, "second", 2)], Spread::Flow);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| one.send(&mixed(&one), &send(5_000)).unwrap());
        assert_eq!(two.send(&mixed(&two), &send(7_000)).unwrap().arrived, 7_000);
        assert_eq!(other.join().unwrap().arrived, 5_000);
    });
    let (one, two) = (one.status().unwrap(), two.status().unwrap());
    assert_eq!((one.packets, one.by_layout[&1], one.by_layout.len()), (5_000, 5_000, 1));
    assert_eq!((two.packets, two.by_layout[&2], two.by_layout.len()), (7_000, 7_000, 1));
}

#[test]
fn sending_keeps_to_rate_credit_and_stop() {
    if !privileged() {
        return;
    }
    alone();
    let (nic, _down) = up(&[], Spread::Flow);
    let traffic = mixed(&nic);
    let sent = nic.send(&traffic, &SendOptions { rate: Some(5_000), ..send(2_500) }).unwrap();
    let took = sent.elapsed.as_secs_f64();
    assert!((0.45..2.0).contains(&took), "{took}");

    let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let credit = Credit { taken: Arc::clone(&taken), ahead: 100 };
    let options = SendOptions { stop: Some(Arc::clone(&stop)), credit: Some(credit), ..SendOptions::default() };
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| nic.send(&traffic, &options).unwrap());
        let arrived = |n: u64| {
            let start = Instant::now();
            while nic.status().unwrap().arrived < 2_500 + n {
                assert!(start.elapsed() < Duration::from_secs(10));
            }
        };
        arrived(100);
        assert!(matches!(nic.send(&traffic, &send(1)), Err(Error::Busy { .. })));
        taken.store(50, Ordering::Release);
        arrived(150);
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    assert_eq!((sent.packets, sent.arrived), (150, 150));
}

#[test]
fn a_device_that_is_down_loses_and_says_so() {
    if !privileged() {
        return;
    }
    alone();
    let (nic, _down) = up(&[], Spread::Flow);
    let status = Command::new("ip").args(["link", "set", nic.name(), "down"]).status();
    if !status.is_ok_and(|s| s.success()) {
        xhint_testkit::privilege::skipped("no ip(8)");
        return;
    }
    let start = Instant::now();
    let sent = nic.send(&mixed(&nic), &send(100)).unwrap();
    assert_eq!((sent.packets, sent.arrived), (100, 0));
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// Whoever else made a namespace of the name that a soft NIC's would have keeps it, with all that is in it.
#[test]
fn a_namespace_of_others_is_theirs() {
    if !privileged() {
        return;
    }
    let name = unique();
    let inner = format!("xhint-{name}");
    let ip = |arguments: &str| {
        let done = Command::new("ip").args(arguments.split(' ')).output().unwrap();
        assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    ip(&format!("netns add {inner}"));
    ip(&format!("-n {inner} link add port type veth peer name wire0"));
    let up = || SoftNic::up(&name, &Config::default(), &[], Spread::Flow).unwrap_err();
    for error in [up(), SoftNic::down_by_name(&name).unwrap_err()] {
        assert!(matches!(&error, Error::NotOurs { netns } if *netns == inner), "{error}");
    }
    assert!(matches!(xhint_softnic::remove_netns(&inner), Err(Error::NotOurs { .. })));
    assert!(!xhint_softnic::owns_netns(&inner));
    let links = ip(&format!("-n {inner} -br link"));
    assert!(links.contains("port") && links.contains("wire0"), "{links}");

    // Nor when it took the name of one of ours, whose pins are all that is left then.
    ip(&format!("netns del {inner}"));
    let _down = Down(name.clone());
    SoftNic::up(&name, &Config::default(), &[], Spread::Flow).unwrap();
    assert!(xhint_softnic::owns_netns(&inner));
    ip(&format!("netns del {inner}"));
    ip(&format!("netns add {inner}"));
    assert!(matches!(SoftNic::open(&name), Err(Error::Broken { .. })));
    SoftNic::down_by_name(&name).unwrap();
    assert!(!SoftNic::list().unwrap().contains(&name));
    assert!(ip("netns").contains(&inner));
    ip(&format!("netns del {inner}"));
}
