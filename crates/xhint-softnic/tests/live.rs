//! A soft NIC in the kernel: what its packets carry, and that none is lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use common::{alone, btf, compile, mixed, plan, privileged, send, up};
use libbpf_rs::{Link, MapCore, Object, ObjectBuilder, RingBufferBuilder};
use xhint_layout::{Hint, Plan};
use xhint_softnic::{SendOptions, Spread, Truth};

fn load() -> Object {
    ObjectBuilder::default().open_memory(&compile("reader.bpf.c")).unwrap().load().unwrap()
}

fn attach(object: &Object, program: &str, device: &str) -> Link {
    let index = nix::net::if_::if_nametoindex(device).unwrap();
    let program = object.progs_mut().find(|p| p.name() == program).unwrap();
    program.attach_xdp(index as i32).unwrap()
}

/// Key and metadata of each packet that the reader saw.
fn seen(object: &Object) -> HashMap<u64, Vec<u8>> {
    let seen = Rc::new(RefCell::new(HashMap::new()));
    let sink = Rc::clone(&seen);
    let map = object.maps().find(|m| m.name() == "seen_log").unwrap();
    let mut builder = RingBufferBuilder::new();
    builder
        .add(&map, move |r| {
            let key = u64::from_ne_bytes(r[..8].try_into().unwrap());
            let len = u32::from_ne_bytes(r[8..12].try_into().unwrap()) as usize;
            assert!(sink.borrow_mut().insert(key, r[16..16 + len].to_vec()).is_none(), "{key:#x} twice");
            0
        })
        .unwrap();
    builder.build().unwrap().consume().unwrap();
    seen.take()
}

/// Compares every field of every packet; returns how many comparisons said something.
fn compare(plans: &[Plan], truths: &[Truth], seen: &HashMap<u64, Vec<u8>>) -> u64 {
    let mut compared = 0;
    for truth in truths {
        let meta = &seen[&truth.key];
        let plan = plans.iter().find(|p| p.id == truth.layout).unwrap();
        assert_eq!(meta.len(), plan.size as usize);
        for field in &plan.fields {
            let Some(expected) = truth.expect(field) else { continue };
            let read = field.read(meta).unwrap();
            assert_eq!(read, expected, "{} of {} in packet {:#x}", field.path, plan.name, truth.key);
            compared += 1;
        }
    }
    compared
}

#[test]
fn every_field_of_every_packet() {
    if !privileged() {
        return;
    }
    alone();
    let layouts = btf(&compile("layouts.c"));
    let plans = [plan(&layouts, "first", 0x11), plan(&layouts, "second", 0x22), plan(&layouts, "third", 0x33)];
    let (nic, _down) = up(&plans, Spread::Random);
    let object = load();
    let _link = attach(&object, "reader", nic.name());
    let log = nic.truth().unwrap();
    let sent = nic.send(&mixed(&nic), &send(10_000)).unwrap();
    assert_eq!((sent.packets, sent.arrived, sent.dropped), (10_000, 10_000, 0));

    let truths = log.take(Duration::ZERO).unwrap();
    let seen = seen(&object);
    assert_eq!((truths.len(), seen.len()), (10_000, 10_000));
    let compared = compare(&plans, &truths, &seen);
    assert!(compared > 50_000, "{compared}");

    // The mix has everything in it.
    let pkt_types: std::collections::BTreeSet<_> = truths.iter().filter_map(|t| t.value(Hint::PktType)).collect();
    assert_eq!(pkt_types.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9]);
    let sums = |state| truths.iter().filter(|t| t.value(Hint::CsumState) == Some(state)).count();
    assert!(sums(1) > 6_000 && sums(2) > 500, "{} good, {} bad", sums(1), sums(2));

    let status = nic.status().unwrap();
    assert_eq!((status.packets, status.forwarded, status.arrived), (10_000, 10_000, 10_000));
    assert_eq!(status.dropped.total() + status.truth_lost, 0);
    assert_eq!(status.layouts.iter().map(|l| l.packets).sum::<u64>(), 10_000);
}

#[test]
fn flash_is_atomic_and_loses_nothing() {
    if !privileged() {
        return;
    }
    alone();
    let layouts = btf(&compile("layouts.c"));
    let plans = [plan(&layouts, "first", 0x11), plan(&layouts, "second", 0x22)];
    let (nic, _down) = up(&plans[..1], Spread::Flow);
    let object = load();
    let _link = attach(&object, "reader", nic.name());
    let log = nic.truth().unwrap();
    let traffic = mixed(&nic);
    let options = SendOptions { rate: Some(20_000), ..send(20_000) };
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| nic.send(&traffic, &options).unwrap());
        for n in 1.. {
            nic.flash(&plans[n % 2..][..1], Spread::Flow).unwrap();
            if sender.is_finished() {
                break;
            }
        }
        sender.join().unwrap()
    });
    assert_eq!((sent.packets, sent.arrived), (20_000, 20_000));
    let mut truths = Vec::new();
    loop {
        let more = log.take(Duration::ZERO).unwrap();
        if more.is_empty() {
            break;
        }
        truths.extend(more);
    }
    assert_eq!(truths.len(), 20_000);
    compare(&plans, &truths, &seen(&object));
    let flashes: std::collections::BTreeSet<_> = truths.iter().map(|t| t.flash).collect();
    println!("{} flashes under 20,000 packets in {:?}", flashes.len(), sent.elapsed);
    assert!(flashes.len() > 5);
}

#[test]
fn programs_come_and_go_without_loss() {
    if !privileged() {
        return;
    }
    alone();
    let layouts = btf(&compile("layouts.c"));
    let (nic, _down) = up(&[plan(&layouts, "first", 0x11)], Spread::Flow);
    let object = load();
    let traffic = mixed(&nic);
    let (sent, swaps) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| nic.send(&traffic, &send(200_000)).unwrap());
        let mut link = attach(&object, "counter", nic.name());
        let mut swaps = 0;
        while !sender.is_finished() {
            for name in ["reader", "counter"] {
                let program = object.progs_mut().find(|p| p.name() == name).unwrap();
                link.update_prog(&program).unwrap();
                swaps += 1;
            }
        }
        (sender.join().unwrap(), swaps)
    });
    println!("{swaps} swaps under {} packets in {:?}", sent.packets, sent.elapsed);
    assert_eq!((sent.packets, sent.arrived, sent.dropped), (200_000, 200_000, 0));
    assert!(swaps > 2);
}

#[test]
fn one_after_the_other_gets_each_layout() {
    if !privileged() {
        return;
    }
    alone();
    let layouts = btf(&compile("layouts.c"));
    let plans: Vec<_> = (1..=8).map(|id| plan(&layouts, ["first", "second"][id % 2], id as u32)).collect();
    let (nic, _down) = up(&plans, Spread::Round);
    nic.send(&mixed(&nic), &send(8_000)).unwrap();
    let status = nic.status().unwrap();
    assert_eq!(status.by_layout.values().copied().collect::<Vec<_>>(), [1000; 8]);
    nic.flash(&[], Spread::Round).unwrap();
    nic.send(&mixed(&nic), &send(500)).unwrap();
    let status = nic.status().unwrap();
    assert_eq!((status.plain, status.layouts.len(), status.arrived), (500, 0, 8_500));
}

/// A program walks from the metadata's pointer to the device the packet came in by.
#[test]
fn the_receive_descriptor_can_be_walked() {
    if !privileged() {
        return;
    }
    alone();
    let layouts = btf(&compile("layouts.c"));
    let (nic, _down) = up(&[plan(&layouts, "walked", 0x44)], Spread::Flow);
    let object = ObjectBuilder::default().open_memory(&compile("walker.bpf.c")).unwrap().load().unwrap();
    let _link = attach(&object, "walker", nic.name());
    nic.send(&mixed(&nic), &send(100)).unwrap();
    let found = |what: u32| {
        let map = object.maps().find(|m| m.name() == "found").unwrap();
        let value = map.lookup(&what.to_ne_bytes(), libbpf_rs::MapFlags::ANY).unwrap().unwrap();
        u64::from_ne_bytes(value.try_into().unwrap())
    };
    assert_eq!((found(0), found(1), found(2)), (100, nic.rx_device().unwrap().into(), 0));
}
