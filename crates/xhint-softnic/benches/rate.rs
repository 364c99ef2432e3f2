//! How many packets a second arrive with none lost, and how long a flash takes under them. Prints a line per case.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{btf, compile, plan, privileged, unique};
use libbpf_rs::ObjectBuilder;
use nix::sched::{CloneFlags, unshare};
use xhint_layout::Plan;
use xhint_softnic::{Config, Mix, SendOptions, SoftNic, Spread, Traffic};

const PACKETS: u64 = 1_000_000;

fn main() {
    if !privileged() {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let nic = SoftNic::up(&unique(), &Config::default(), &[], Spread::Flow).unwrap();
    let reader = compile("reader.bpf.c");
    let object = ObjectBuilder::default().open_memory(&reader).unwrap().load().unwrap();
    let program = object.progs_mut().find(|p| p.name() == "counter").unwrap();
    let index = nix::net::if_::if_nametoindex(nic.name()).unwrap();
    let _link = program.attach_xdp(index as i32).unwrap();

    let layouts = btf(&compile("layouts.c"));
    let eight: Vec<Plan> = (1..=8).map(|id| plan(&layouts, ["first", "second"][id % 2], id as u32)).collect();
    rate(&nic, "no firmware", &[], Spread::Flow);
    rate(&nic, "4 bytes, 1 field", &[plan(&layouts, "third", 1)], Spread::Flow);
    rate(&nic, "48 bytes, 12 fields", &eight[1..2], Spread::Flow);
    rate(&nic, "88 bytes, 33 fields", &eight[0..1], Spread::Flow);
    rate(&nic, "8 layouts at random", &eight, Spread::Random);
    let log = nic.truth().unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| rate(&nic, "8 layouts, with the truth log", &eight, Spread::Random));
        let mut records = 0;
        while !sender.is_finished() {
            records += log.take(Duration::from_millis(10)).unwrap().len();
        }
        records += log.take(Duration::ZERO).unwrap().len();
        println!("{:>32} {records} records, {} lost", "", nic.status().unwrap().truth_lost);
    });
    drop(log);
    flashes(&nic, &eight);
    nic.down().unwrap();
}

fn rate(nic: &SoftNic, what: &str, plans: &[Plan], mode: Spread) {
    nic.flash(plans, mode).unwrap();
    let traffic = Traffic::mixed(&Mix { to: nic.mac(), ..Mix::default() });
    let sent = nic.send(&traffic, &SendOptions { count: Some(PACKETS), ..SendOptions::default() }).unwrap();
    let lost = sent.packets - sent.arrived;
    let rate = sent.packets as f64 / sent.elapsed.as_secs_f64() / 1000.0;
    println!("{what:>32} {rate:7.0} thousand packets a second, {lost} lost");
}

fn flashes(nic: &SoftNic, plans: &[Plan]) {
    let traffic = Traffic::mixed(&Mix { to: nic.mac(), ..Mix::default() });
    std::thread::scope(|scope| {
        let options = SendOptions { count: Some(PACKETS), ..SendOptions::default() };
        let sender = scope.spawn(move || nic.send(&traffic, &options).unwrap());
        let (start, mut count) = (Instant::now(), 0u32);
        while !sender.is_finished() {
            nic.flash(&plans[(count % 8) as usize..][..1], Spread::Flow).unwrap();
            count += 1;
        }
        let each = start.elapsed() / count.max(1);
        let sent = sender.join().unwrap();
        println!("{:>32} {each:?} each, {count} of them, {} lost", "flash under load", sent.packets - sent.arrived);
    });
}
