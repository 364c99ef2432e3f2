//! Layouts that are longer than what this kernel lets stand in front of a packet.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use std::path::Path;

use common::World;
use common::nic::{job, linker, newest, sources};
use xhint_runtime::attach::attach;
use xhint_runtime::layouts::Layouts;
use xhint_runtime::{Device, Source};
use xhint_testkit::fixture::Compile;
use xhint_testkit::privileged;

/// A NIC whose layout has `size` bytes.
fn long(size: u32) -> Source {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bpf/long.c");
    Source::read(Compile::new(&source).argument(format!("-DSIZE={size}")).object()).unwrap()
}

#[test]
fn what_no_packet_can_carry_is_told() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = Device::find("near", world.netns()).unwrap();
    let most = xhint_host::room().unwrap().written;
    // The examples fit, whatever the kernel.
    let done = attach(&world.home, &device, &job(newest(), &["alpha_fw1", "alpha_fw2"], "tail").unwrap()).unwrap();
    assert_eq!(done.too_long, []);
    let layouts = Layouts::of(&world.home, &device);
    for (size, told) in [(most, false), (most + 4, true)] {
        let changed = layouts.add(linker(), long(size)).unwrap();
        assert_eq!(changed.too_long.len(), usize::from(told), "{size}");
        for long in changed.too_long {
            assert_eq!((long.size, long.most), (size, most));
            let words = [format!("layout long{size} "), format!("{size} bytes"), format!("at most {most} bytes")];
            assert!(words.iter().all(|w| long.to_string().contains(w)), "{long}");
        }
    }
    let all = [sources(&["beta"]), vec![long(most + 4)]].concat();
    let mut job = job(newest(), &["beta"], "static").unwrap();
    job = linker().link(job.state.object, all, job.state.options, job.state.mode).unwrap();
    assert_eq!(attach(&world.home, &device, &job).unwrap().too_long.len(), 1);
}
