//! Which dispatch there is, where it is left to us.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use caps::Capability::{CAP_BPF, CAP_NET_ADMIN};
use common::nic::linker;
use common::{World, own, with_only};
use xhint_link::{Dispatch, LinkOptions};
use xhint_runtime::attach::{attach, kernel_takes, running};
use xhint_runtime::load::{Load, load};
use xhint_runtime::{Device, Error, Job, LinkedAs, Mode, Source};
use xhint_testkit::privileged;

/// What stress.bpf.c is linked as for so many layouts, `argument` given to the compiler.
fn link(layouts: usize, asked: &str, argument: &str) -> Job {
    let (object, nics) = sources(layouts, argument);
    let options = LinkedAs { asked: Dispatch::named(asked).unwrap(), ..LinkedAs::default() };
    linker().link(object, nics, options, Mode::Native).unwrap()
}

fn sources(layouts: usize, argument: &str) -> (Source, Vec<Source>) {
    let nic = |n| Source::read(own("stress.c").argument(format!("-DN={n}")).object()).unwrap();
    let object = Source::read(own("stress.bpf.c").argument(argument).object()).unwrap();
    (object, (0..layouts).map(nic).collect())
}

fn kind(job: &Job) -> &str {
    job.state.options.dispatch.name()
}

#[test]
fn many_layouts_of_few_kinds_are_read_by_a_table() {
    if !privileged() {
        return;
    }
    let job = link(8, "auto", "-DPLAIN");
    assert!(kind(&job) == "table" && job.why.starts_with("8 layouts are of 2 kinds"), "{}", job.why);
    assert_eq!(kind(&link(3, "auto", "-DPLAIN")), "static");
    // A table takes a right that linking for another loader must not presume, and that not everybody has.
    let (object, nics) = sources(8, "-DPLAIN");
    let linked = linker().for_file(object, &[], &nics, LinkOptions::default()).unwrap().link().unwrap();
    assert_eq!(linked.report.dispatch.kind, Some(Dispatch::Static));
    with_only(&[CAP_BPF, CAP_NET_ADMIN], || assert_eq!(kind(&link(8, "auto", "-DPLAIN")), "static"));
}

#[test]
fn what_the_kernel_refuses_as_a_table_is_linked_otherwise() {
    if !privileged() {
        return;
    }
    let job = link(8, "auto", "-DCOPIES");
    assert_eq!(kind(&job), "table");
    let plan = Load { object: &job.linked, entry: None, keep: &[], same: false, device: "none", bound: None };
    let Err(Error::Load { .. }) = load(&plan) else { panic!("then the test is about nothing") };
    let other = job.otherwise.as_ref().unwrap().link().unwrap();
    assert!(kind(&other) == "static" && other.otherwise.is_none(), "{}", other.why);
    // Who asks for a table gets one, or the kernel's refusal.
    assert!(link(8, "table", "-DCOPIES").otherwise.is_none());
    let world = World::new();
    let device = Device::find("near", world.netns()).unwrap();
    assert!(kernel_takes(&device, &job) && !kernel_takes(&device, &link(8, "table", "-DCOPIES")));
    let done = attach(&world.home, &device, &job).unwrap();
    assert_eq!((done.dispatch, &done.why), (Dispatch::Static, &other.why));
    assert_eq!(running(&world.home, &device).unwrap().unwrap().options.dispatch, Dispatch::Static);
}

#[test]
fn a_packet_that_moves_has_a_copy_a_layout_even_with_a_table() {
    if !privileged() {
        return;
    }
    assert_eq!(kind(&link(8, "auto", "-DMOVES")), "static");
    let table = link(8, "table", "-DMOVES");
    load(&Load { object: &table.linked, entry: None, keep: &[], same: false, device: "none", bound: None }).unwrap();
}
