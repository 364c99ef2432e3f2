//! Layouts that come to a running entry, and what is left where one cannot.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use common::World;
use common::growing::{attach_one, nic, nic_with};
use common::nic::linker;
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use xhint_link::table::{buckets, slots_name};
use xhint_runtime::attach::running;
use xhint_runtime::detach::detach;
use xhint_runtime::layouts::{Layouts, Which};
use xhint_runtime::status::status;
use xhint_runtime::{Device, Error, Source};
use xhint_testkit::privileged;

/// Whether all is as it was, on disk, in the kernel and for whoever asks.
fn is_as_it_was(world: &World, device: &Device, work: impl FnOnce()) {
    let look = || {
        let status = status(&world.home, device).unwrap();
        let ids = MapHandle::from_pinned_path(status.map_path(".data.xhint").unwrap()).unwrap();
        let words = ids.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap();
        (world.left(), running(&world.home, device).unwrap(), status.program_id, words)
    };
    let before = look();
    work();
    assert_eq!(look(), before);
}

/// Ids that are looked for in the places of one another: as many as there is room for, and one more.
fn crowd() -> Vec<Source> {
    let first = (1u32..).filter(|id| buckets(*id) == buckets(7));
    (1..).zip(first.take(17)).map(|(n, id)| nic_with(n, &[&format!("xhint:id={id}")])).collect()
}

#[test]
fn where_the_table_is_full_the_layout_is_refused_and_nothing_else() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    attach_one(home, device);
    let layouts = Layouts::of(home, device);
    let mut crowd = crowd();
    let last = crowd.pop().unwrap();
    for nic in crowd {
        layouts.add(linker(), nic).unwrap();
    }
    is_as_it_was(&world, device, || {
        let error = layouts.add(linker(), last.clone()).unwrap_err();
        assert!(matches!(error, Error::TableFull { .. }), "{error}");
    });
    // Others have room, and room that is made is found.
    layouts.add(linker(), nic(18)).unwrap();
    layouts.remove(linker(), "nic0003.btf").unwrap();
    layouts.add(linker(), last).unwrap();
    assert_eq!(layouts.list().unwrap().len(), 18);
    detach(home, device).unwrap();
}

/// What the kernel refuses when the change is written down already: a frozen map takes no more.
#[test]
fn what_the_kernel_refuses_at_last_is_taken_back() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    attach_one(home, device);
    let layouts = Layouts::of(home, device);
    layouts.add(linker(), nic(1)).unwrap();
    let slots = status(home, device).unwrap().map_path(&slots_name("prog")).unwrap();
    let slots = MapHandle::from_pinned_path(slots).unwrap();
    // SAFETY: takes a number.
    assert_eq!(unsafe { libbpf_sys::bpf_map_freeze(slots.as_fd().as_raw_fd()) }, 0);
    is_as_it_was(&world, device, || {
        let says = layouts.add(linker(), nic(2)).unwrap_err().to_string();
        assert!(says.starts_with("slot 2: ") && says.contains("Operation not permitted"), "{says}");
        let says = layouts.remove(linker(), "nic0001.btf").unwrap_err().to_string();
        assert!(says.starts_with("slot 1: "), "{says}");
    });
    assert_eq!(layouts.list().unwrap().len(), 2);
    // Attached again, it has other slots.
    attach_one(home, device);
    layouts.add(linker(), nic(2)).unwrap();
    detach(home, device).unwrap();
}

/// A file of which one layout comes after another is one file.
#[test]
fn a_file_that_comes_again_is_noted_once() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    attach_one(home, device);
    let layouts = Layouts::of(home, device);
    let both = common::growing::both(1, 2);
    for (n, name) in [(2, "layout0001"), (3, "layout0002"), (3, "layout0001")] {
        let which = Which { layouts: vec![name.to_owned()], ..Which::default() };
        let changed = layouts.add_some(linker(), both.clone(), &which).unwrap();
        assert!(changed.swap.is_none());
        let state = running(home, device).unwrap().unwrap();
        assert_eq!((state.nics.len(), state.layouts.len()), (2, n));
        assert!(state.layouts[1..].iter().all(|l| (l.nic, l.also.is_empty()) == (1, true)));
    }
    // It goes with its last layout.
    layouts.remove(linker(), "layout0001").unwrap();
    assert_eq!(running(home, device).unwrap().unwrap().nics.len(), 2);
    layouts.remove(linker(), "layout0002").unwrap();
    let state = running(home, device).unwrap().unwrap();
    assert_eq!((state.nics.len(), state.nics[0].path.as_path()), (1, Path::new("nic0000.btf")));
    detach(home, device).unwrap();
}
