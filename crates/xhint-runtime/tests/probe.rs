//! What probing a device finds, and what the hints come from by that.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{World, sh, with_only};
use xhint_fill::{Offers, Origin, Standing};
use xhint_layout::Hint;
use xhint_layout::vocabulary::{Kfunc, WORDS};
use xhint_runtime::kfunc::Callee;
use xhint_runtime::netdev::XdpSupport;
use xhint_runtime::offers::offers;
use xhint_runtime::probe::{Answer, Asked, DRIVERS, Probe, known, probe, refuses_metadata};
use xhint_runtime::{Device, DriverInfo, Error, Facts, Offloads, Programs};
use xhint_testkit::privileged;

const ALL: [Kfunc; 3] = [Kfunc::RxTimestamp, Kfunc::RxHash, Kfunc::RxVlanTag];

/// A device of a driver, with everything that its answers hang on switched on.
fn facts(driver: &str) -> Facts {
    let driver = DriverInfo {
        driver: driver.to_owned(),
        driver_version: String::new(),
        firmware: String::new(),
        bus: String::new(),
    };
    Facts {
        driver: Some(driver),
        parent: None,
        module: None,
        virtio: None,
        xdp: Some(XdpSupport { features: 1, rx_metadata: Some(7), zero_copy_segments: None }),
        offloads: Offloads { rx_hash: true, rx_vlan: true },
        rx_timestamps: Some(true),
        programs: Programs::default(),
    }
}

/// What a driver answers to a kfunc that it has.
fn answer(facts: &Facts, kfunc: Kfunc) -> Answer {
    known(facts.driver_name().unwrap(), kfunc).map_or(Answer::Unknown, |known| known.answer(facts))
}

/// What would come of a device that has all kfuncs, with these answers.
fn probed(facts: Facts, answers: [Answer; 3]) -> Probe {
    let asked = |(kfunc, answer): (Kfunc, Answer)| Asked {
        kfunc,
        callee: None,
        offered: Some(true),
        answer,
        nanoseconds: None,
    };
    let refuses_metadata = facts.driver_name().and_then(refuses_metadata);
    Probe {
        facts,
        kfuncs: ALL.into_iter().zip(answers).map(asked).collect(),
        paths: vec![],
        room: None,
        refuses_metadata,
        rights: vec![],
    }
}

fn of(all: &[Offers], hint: Hint) -> &Offers {
    all.iter().find(|offers| offers.hint == hint).unwrap()
}

fn best(all: &[Offers], hint: Hint) -> Option<Origin> {
    of(all, hint).best().map(|offer| offer.origin.clone())
}

#[test]
fn the_table_is_that_of_the_vocabulary_and_of_the_document() {
    let document = include_str!("../../../docs/probe.md");
    for kfunc in ALL {
        let has = |d: &&xhint_runtime::probe::Driver| d.kfuncs.iter().any(|known| known.kfunc == kfunc);
        let ours: Vec<_> = DRIVERS.iter().filter(has).map(|driver| driver.source).collect();
        assert_eq!(ours, kfunc.drivers(), "{kfunc:?}");
    }
    for driver in DRIVERS {
        for known in driver.kfuncs {
            let cost = known.nanoseconds.map(|ns| ns.to_string()).unwrap_or_default();
            let row = format!("| `{}` | `{}` | {} |", driver.name, known.kfunc.name(), known.since);
            let line = document.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("docs/probe.md lacks a row that begins {row}"));
            assert!(line.ends_with(&format!("| {cost} |")), "{line}: {cost}");
            let how = answer(&facts(driver.name), known.kfunc);
            if let Answer::Good(_) | Answer::Lies(_) | Answer::Software(_) = how {
                assert!(line.contains(how.why()), "{line}: {}", how.why());
            }
        }
    }
    // All that the vocabulary names are asked for.
    assert!(WORDS.iter().filter_map(|word| word.kfunc).all(|kfunc| ALL.contains(&kfunc)));
}

#[test]
fn an_answer_hangs_on_how_the_device_is_set() {
    let mut device = facts("virtio_net");
    assert_eq!(answer(&device, Kfunc::RxHash), Answer::Unknown, "nothing is known of its header");
    for (bits, lies) in [(vec![5, 57, 60], false), (vec![5, 60], true)] {
        device.virtio = Some(bits);
        let told = answer(&device, Kfunc::RxHash);
        assert_eq!((matches!(told, Answer::Lies(_)), matches!(told, Answer::Good(_))), (lies, !lies), "{device:?}");
        device.offloads.rx_hash = false;
        assert!(matches!(answer(&device, Kfunc::RxHash), Answer::AlwaysFails(_)));
        device.offloads.rx_hash = true;
    }
    let mut device = facts("mlx5_core");
    let good = |device: &Facts| ALL.map(|kfunc| matches!(answer(device, kfunc), Answer::Good(_)));
    assert_eq!(good(&device), [true; 3]);
    device.rx_timestamps = None;
    assert_eq!(good(&device), [true; 3], "who does not tell may have it");
    device.rx_timestamps = Some(false);
    device.offloads = Offloads { rx_hash: false, rx_vlan: false };
    assert_eq!(good(&device), [false; 3]);
    // stmmac goes by several names.
    for name in ["st_gmac", "st_xgmac", "st_mac100"] {
        assert!(known(name, Kfunc::RxTimestamp).is_some(), "{name}");
    }
    assert!(known("i40e", Kfunc::RxHash).is_none());
}

#[test]
fn the_nics_word_comes_first_and_what_is_no_word_of_its_never() {
    let toeplitz = Origin::Toeplitz;
    let hash = Origin::Kfunc(Kfunc::RxHash);
    let good = Answer::Good(xhint_runtime::probe::Evidence::Code);
    let fails = || Answer::AlwaysFails("so it is".to_owned());
    for (told, first) in [
        (good.clone(), hash),
        (Answer::Unknown, hash),
        (Answer::Lies("so it is"), toeplitz),
        (fails(), toeplitz),
        (Answer::Software("so it is"), toeplitz),
    ] {
        let all = offers(&probed(facts("ice"), [fails(), told.clone(), good.clone()]));
        assert_eq!(best(&all, Hint::RxHash), Some(first), "{told:?}");
        let kfunc = of(&all, Hint::RxHash).all.iter().find(|offer| offer.origin == hash).unwrap();
        let refused = matches!(told, Answer::Lies(_) | Answer::AlwaysFails(_));
        assert_eq!(kfunc.standing == Standing::Refused, refused, "{told:?}");
        // A clock stands in for the NIC's only if asked.
        let time = of(&all, Hint::RxTimestamp);
        assert_eq!(time.best(), None);
        assert_eq!(time.all.iter().map(|o| o.standing).collect::<Vec<_>>(), [Standing::IfAsked, Standing::Refused]);
    }
    let all = offers(&probed(facts("vmxnet3"), [good.clone(), good.clone(), good]));
    assert!(all.iter().flat_map(|o| &o.all).all(|offer| offer.standing == Standing::Refused));
    // Each that says something of a packet, once.
    let names: BTreeSet<_> = all.iter().map(|offers| offers.name).collect();
    let words = WORDS.iter().map(|word| word.name).filter(|name| !["layout_id", "const", "valid"].contains(name));
    assert_eq!((names.len(), names), (all.len(), words.collect()));
}

#[test]
fn real_devices() {
    if !privileged() {
        return;
    }
    let world = World::new();
    sh(&format!("ip -n {} tuntap add dev tap mode tap", world.name));
    let of = |name: &str| probe(&Device::find(name, world.netns()).unwrap()).unwrap();
    let veth = of("near");
    assert_eq!(veth.facts.driver_name(), Some("veth"));
    assert!(veth.room.unwrap().written >= 4 && veth.rights.iter().all(|(_, held)| *held), "{veth:?}");
    assert_eq!(veth.kfuncs.iter().map(|asked| asked.kfunc).collect::<Vec<_>>(), ALL);
    let kernel_has = veth.kfuncs.iter().all(|asked| asked.callee != Some(Callee::Unknown));
    let vlan = best(&offers(&veth), Hint::VlanTci).unwrap();
    let from_packet = Origin::Packet;
    assert_eq!(vlan, if kernel_has { Origin::Kfunc(Kfunc::RxVlanTag) } else { from_packet });
    for name in ["tap", "lo"] {
        let probe = of(name);
        assert!(probe.kfuncs.iter().all(|asked| asked.offered == Some(false)), "{probe:?}");
        assert_eq!(best(&offers(&probe), Hint::VlanTci), Some(from_packet));
    }
}

/// What is told to everybody is told to those who may do nothing, and the rest is named as not known.
#[test]
fn whoever_may_not_ask_is_told_what_all_are() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = Device::find("near", world.netns()).unwrap();
    let all = probe(&device).unwrap();
    // On a thread that is there already, since entering takes rights.
    let few = world.netns().run(|| with_only(&[], || probe(&device))).unwrap();
    assert_eq!(few.facts, all.facts);
    assert!(few.rights.iter().all(|(_, held)| !held), "{:?}", few.rights);
    for (few, all) in few.kfuncs.iter().zip(&all.kfuncs) {
        if all.callee == Some(Callee::Unknown) {
            assert_eq!(few, all, "that takes no rights");
            continue;
        }
        assert_eq!(few.callee, None);
        if few.offered.is_some() {
            assert_eq!((few.offered, &few.answer), (all.offered, &all.answer), "the driver's word is enough");
        }
    }
}

/// Devices come and go while they are asked.
#[test]
fn a_device_that_vanishes_is_told_as_such() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (name, ended) = (world.name.clone(), AtomicBool::new(false));
    let (mut found, mut gone) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let ip = |words: &[&str]| Command::new("ip").args(["-n", &name]).args(words).output().unwrap();
                ip(&["link", "del", "near"]);
                ip(&["link", "add", "near", "type", "veth", "peer", "name", "far"]);
            }
        });
        for _ in 0..60 {
            match Device::find("near", world.netns()).and_then(|device| probe(&device)) {
                Ok(probe) => found += usize::from(probe.facts.driver_name() == Some("veth")),
                Err(Error::NoDevice { device, netns }) => {
                    assert_eq!((device.as_str(), netns.as_deref()), ("near", Some(name.as_str())));
                    gone += 1;
                }
                Err(other) => {
                    ended.store(true, Ordering::Relaxed);
                    panic!("{other}")
                }
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(found + gone, 60);
    assert!(gone > 0, "it was always there");
}
