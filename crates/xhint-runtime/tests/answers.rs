//! What is known of drivers' answers is so, where the driver is at hand: veth.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod common;

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use common::{World, own, sh};
use libbpf_rs::{MapCore, MapFlags, ObjectBuilder, TC_EGRESS, TcHookBuilder};
use xhint_layout::vocabulary::Kfunc;
use xhint_runtime::kfunc::Callee;
use xhint_runtime::probe::{Evidence, Worth, known, probe};
use xhint_runtime::{Device, Error};
use xhint_testkit::{privileged, skipped};

/// `BPF_F_XDP_DEV_BOUND_ONLY`
const BOUND: u32 = 1 << 6;

/// `struct answers` of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answers {
    packets: u64,
    timestamp: (i32, u64),
    hash: (i32, u32, u32),
    vlan: (i32, u16, u16),
}

fn read(bytes: &[u8]) -> Answers {
    let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let i32_at = |at: usize| u32_at(at).cast_signed();
    let (proto, tci) = (u16::from_be_bytes([bytes[36], bytes[37]]), u16::from_ne_bytes([bytes[38], bytes[39]]));
    Answers {
        packets: u64_at(0),
        timestamp: (i32_at(16), u64_at(8)),
        hash: (i32_at(20), u32_at(24), u32_at(28)),
        vlan: (i32_at(32), proto, tci),
    }
}

/// What veth answers for a packet of one flow, first as it is and then with a tag beside it.
fn ask(near: i32, far: i32) -> [Answers; 3] {
    let mut open = ObjectBuilder::default().open_file(own("answers.bpf.c").object()).unwrap();
    for mut program in open.progs_mut().filter(|p| p.name() == "ask") {
        program.set_ifindex(near.cast_unsigned());
        program.set_flags(BOUND);
    }
    let object = open.load().unwrap();
    let program = |name: &str| object.progs_mut().find(|p| p.name() == name).unwrap();
    let _link = program("ask").attach_xdp(near).unwrap();
    let maps: Vec<_> = object.maps().filter(|m| m.name().to_string_lossy().ends_with(".bss")).collect();
    let told = || read(&maps[0].lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap());
    let socket = UdpSocket::bind("10.9.0.1:5000").unwrap();
    let send = || {
        let before = told().packets;
        for _ in 0..200 {
            socket.send_to(b"a packet", "10.9.0.2:6000").unwrap();
            thread::sleep(Duration::from_millis(10));
            if told().packets > before {
                return told();
            }
        }
        panic!("no packet came")
    };
    let plain = [send(), send()];
    let tag = program("tag");
    let mut hook = TcHookBuilder::new(tag.as_fd()).ifindex(far).replace(true).handle(1).priority(1).hook(TC_EGRESS);
    hook.create().unwrap();
    hook.attach().unwrap();
    [plain[0], plain[1], send()]
}

#[test]
fn veth_answers_what_is_known_of_it() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let name = &world.name;
    let [near, far] = ["near", "far"].map(|device| Device::find(device, world.netns()).unwrap());
    if probe(&near).unwrap().kfuncs.iter().any(|asked| asked.callee == Some(Callee::Unknown)) {
        return skipped("this kernel lacks a metadata kfunc");
    }
    // Nothing but ours is sent.
    sh(&format!("ip netns exec {name} sysctl -qw net.ipv6.conf.far.disable_ipv6=1 net.ipv6.conf.near.disable_ipv6=1"));
    sh(&format!("ip -n {name} addr add 10.9.0.1/24 dev far"));
    sh(&format!("ip -n {name} neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev far"));
    let number = |device: &Device| i32::try_from(device.ifindex()).unwrap();
    let run = || Ok::<_, Error>(ask(number(&near), number(&far)));
    let [first, second, tagged] = world.netns().run(run).unwrap();

    let worth = |kfunc| {
        let known = known("veth", kfunc).unwrap();
        assert_eq!(known.evidence, Evidence::Packets);
        known.worth
    };
    assert!(matches!(worth(Kfunc::RxTimestamp), Worth::Lies(_)));
    assert_eq!(first.timestamp, (0, 0), "success, and no time");
    assert!(matches!(worth(Kfunc::RxHash), Worth::Software(_)));
    assert!(first.hash.0 == 0 && first.hash.1 != 0 && first.hash.2 != 0, "{first:?}");
    assert_eq!(first.hash, second.hash, "one flow has one hash");
    assert_eq!(worth(Kfunc::RxVlanTag), Worth::Always);
    assert_eq!((first.vlan.0, tagged.vlan), (-libc::ENODATA, (0, 0x8100, 5)));
}
