//! What probing a device finds, and what the hints come from by that.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{World, sh, with_only};
use xhint_btf::Btf;
use xhint_fill::driver::{DriverPaths, Fetch, Route, routes};
use xhint_fill::{Offers, Origin, Provider, Standing};
use xhint_layout::Hint;
use xhint_layout::vocabulary::{Kfunc, WORDS};
use xhint_runtime::kfunc::Callee;
use xhint_runtime::netdev::XdpSupport;
use xhint_runtime::offers::offers;
use xhint_runtime::probe::{Answer, Asked, DRIVERS, Probe, known, probe, refuses_metadata};
use xhint_runtime::{Device, DriverInfo, Error, Facts, Offloads, Programs};
use xhint_testkit::fixture::corpus;
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
        (good.clone(), hash.clone()),
        (Answer::Unknown, hash.clone()),
        (Answer::Lies("so it is"), toeplitz.clone()),
        (fails(), toeplitz.clone()),
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

/// What comes with xhint for a driver, by the BTF of its module.
fn paths(driver: &str, module: &str) -> Vec<(Hint, std::result::Result<Route, String>)> {
    let base = Arc::new(Btf::parse(corpus("vmlinux.btf")).unwrap());
    let types = Btf::parse_split(corpus(&format!("{module}.btf")), base).unwrap();
    routes(DriverPaths::shipped().unwrap().of(driver), &types, Fetch::Cast)
}

#[test]
fn what_the_driver_has_comes_after_what_it_says_and_before_what_software_makes_up() {
    let good = Answer::Good(xhint_runtime::probe::Evidence::Code);
    let fails = || Answer::AlwaysFails("so it is".to_owned());
    let with = |driver: &str, module: &str, told: Answer| {
        offers(&Probe { paths: paths(driver, module), ..probed(facts(driver), [fails(), told, fails()]) })
    };
    let providers = |all: &[Offers], hint| of(all, hint).all.iter().map(|o| o.origin.provider()).collect::<Vec<_>>();
    let (kfunc, driver, software) = (Provider::Kfunc, Provider::Driver, Provider::Software);
    let all = with("mlx5_core", "mlx5_core", good);
    assert_eq!(providers(&all, Hint::RxHash), [kfunc, driver, software]);
    let mark = best(&all, Hint::FlowMark).unwrap();
    assert_eq!((mark.provider(), mark.name()), (driver, "mlx5e_xdp_buff.cqe->sop_drop_qpn & 0xffffff"));
    // What the driver does not tell can be read.
    assert_eq!(providers(&with("igc", "igc", fails()), Hint::RxHash), [driver, software, kfunc]);
    // The kernel's word is none of a NIC's; to read it is cheaper than to let it be worked out.
    let all = with("veth", "veth", Answer::Software("so it is"));
    assert_eq!(providers(&all, Hint::RxHash), [software, driver, kfunc]);
    // By the BTF of another driver's module nothing leads anywhere.
    let all = with("mlx5_core", "igc", fails());
    assert_eq!(best(&all, Hint::FlowMark), None);
    let why = of(&all, Hint::FlowMark).absent();
    assert!(why.contains("driver path refused") && why.contains("there is no struct mlx5e_xdp_buff"), "{why}");
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
    assert_eq!(vlan, if kernel_has { Origin::Kfunc(Kfunc::RxVlanTag) } else { from_packet.clone() });
    // Whether its paths lead anywhere, the kernel's BTF tells; that they are known, the driver's name.
    assert!(veth.paths.iter().any(|(hint, _)| *hint == Hint::RxHash));
    for name in ["tap", "lo"] {
        let probe = of(name);
        assert!(probe.kfuncs.iter().all(|asked| asked.offered == Some(false)), "{probe:?}");
        assert_eq!(best(&offers(&probe), Hint::VlanTci), Some(from_packet.clone()));
        assert!(probe.paths.is_empty(), "{probe:?}");
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
    let says = |route: &std::result::Result<_, String>| route.as_ref().is_err_and(|why| why.contains("CAP_PERFMON"));
    assert!(!few.paths.is_empty() && few.paths.iter().all(|(_, route)| says(route)), "{:?}", few.paths);
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
