//! Objects with a map of each kind, over a swap; programs that cannot be attached, and what is said of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{World, own, plain};
use libbpf_rs::{MapCore, MapHandle};
use xhint_runtime::Job;
use xhint_runtime::attach::{Done, attach};
use xhint_runtime::status::status;
use xhint_runtime::{Device, Error};
use xhint_testkit::fixture::{Compile, keep};
use xhint_testkit::privileged;

fn job(compile: &Compile) -> Job {
    Job { replace: true, ..plain(compile) }
}

fn maps(arguments: &[&str]) -> Job {
    job(&arguments.iter().fold(own("maps.bpf.c"), |c, a| c.argument(*a)))
}

fn device(world: &World) -> Device {
    Device::find("near", world.netns()).unwrap()
}

/// The kernel's ids of all maps, by name.
fn ids(world: &World) -> BTreeMap<String, u32> {
    let dir = status(&world.home, &device(world)).unwrap().maps_dir.unwrap();
    let pins = fs::read_dir(dir).unwrap().map(|p| p.unwrap().path());
    let id = |pin: &std::path::Path| MapHandle::from_pinned_path(pin).unwrap().info().unwrap().info.id;
    pins.map(|p| (p.file_name().unwrap().to_string_lossy().replace("%2e", "."), id(&p))).collect()
}

/// Names of maps whose id is another.
fn changed<'a>(before: &'a BTreeMap<String, u32>, after: &BTreeMap<String, u32>) -> Vec<&'a str> {
    before.iter().filter(|(name, id)| after.get(*name) != Some(id)).map(|(name, _)| name.as_str()).collect()
}

fn anew(done: &Done) -> Vec<&str> {
    let mut names: Vec<_> = done.anew.iter().map(|a| a.map.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn maps_of_each_kind_go_on_or_are_said_to_begin_anew() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    assert!(attach(&world.home, &device, &maps(&[])).unwrap().anew.is_empty(), "nothing was there before");
    let first = ids(&world);
    assert!(first.len() > 30 && !first.contains_key("ops"), "{first:?}");

    // The same object: all but constants and the old object's programs.
    let done = attach(&world.home, &device, &maps(&[])).unwrap();
    let second = ids(&world);
    assert_eq!(changed(&first, &second), ["jumps", "xhint.rodata"]);
    assert_eq!(anew(&done), ["jumps"]);

    // Another one: nobody knows where its variables stand, and what is in the arena.
    let done = attach(&world.home, &device, &maps(&["-DOTHER"])).unwrap();
    let third = ids(&world);
    assert_eq!(changed(&second, &third), [".data.own", "arena", "jumps", "xhint.bss", "xhint.rodata"]);
    assert_eq!(anew(&done), [".data.own", "arena", "jumps", "xhint.bss"]);

    // Another shape is refused, of a ring too.
    for (argument, what) in
        [("-DENTRIES=5", "had 4 entries and has 5"), ("-DRING=9000", "had 8192 entries and has 16384")]
    {
        let error = attach(&world.home, &device, &maps(&[argument])).unwrap_err();
        assert!(matches!(error, Error::MapChanged { .. }) && error.to_string().contains(what), "{error}");
    }
    assert_eq!(ids(&world), third);
}

#[test]
fn what_the_kernel_refuses_is_told_with_the_reason_the_instruction_and_the_line() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let cases: [(&str, &[&str]); 6] = [
        (
            "UNCHECKED",
            &[
                "refused: ",
                "invalid access to packet",
                "at instruction ",
                "of `return *(int *)data;`",
                "refused.bpf.c:",
            ],
        ),
        ("MAYBE_NULL", &["invalid mem access 'map_value_or_null'", "of `*n = 1;`", "refused.bpf.c:"]),
        ("ENDLESS", &["infinite loop detected"]),
        ("PRIVATE_HELPER", &["bpf_override_return#58", "call "]),
        ("NO_KFUNC", &["bpf_no_kernel_has_this", "not found"]),
        ("BAD_MAP", &["map 'counts': failed to create", "EINVAL"]),
    ];
    for (case, parts) in cases {
        let refused = job(&own("refused.bpf.c").argument(format!("-D{case}")));
        let error = attach(&world.home, &device, &refused).unwrap_err();
        let text = error.to_string();
        let Error::Load { log, .. } = error else { panic!("{case}: {text}") };
        assert!(parts.iter().all(|p| text.contains(p)), "{case}: {text}\n{log}");
        assert!(!text.contains('\n') && !text.contains("processed "), "{case}: {text}");
        assert!(!log.is_empty(), "{case}");
    }
    assert!(world.left().is_empty());
}

const OTHERS: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#ifdef OLD
SEC("xdp_prog1") int prog(struct xdp_md *ctx) { return XDP_PASS; }
#else
SEC("xdp") int prog(struct xdp_md *ctx) { return XDP_PASS; }
#ifdef TWO
SEC("xdp.frags") int prog2(struct xdp_md *ctx) { return XDP_PASS; }
#endif
SEC("xdp/devmap") int egress(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp/cpumap") int on_cpu(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tc") int ingress(struct __sk_buff *skb) { return 0; }
#endif
char LICENSE[] SEC("license") = "GPL";
"#;

#[test]
fn programs_for_elsewhere_are_not_offered_and_refused_for_that() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let device = device(&world);
    let source = keep("others", "bpf.c", OTHERS.as_bytes());
    let try_it = |arguments: &[&str], program: &str| {
        let mut job = job(&arguments.iter().fold(Compile::new(&source), |c, a| c.argument(*a)));
        job.state.entry = program.to_owned();
        attach(&world.home, &device, &job).map(|done| done.entry).map_err(|e| e.to_string())
    };
    assert_eq!(try_it(&[], "").unwrap(), "prog", "the only one for a device");
    let several = try_it(&["-DTWO"], "").unwrap_err();
    assert!(several.contains("programs, prog, prog2;"), "{several}");
    for (program, parts) in [("egress", ["xdp/devmap", "not for a device"]), ("on_cpu", ["xdp/cpumap", "cpumap, not"])]
    {
        let text = try_it(&[], program).unwrap_err();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    }
    let text = try_it(&[], "ingress").unwrap_err();
    assert!(text.contains("no XDP program ingress") && text.ends_with("it has: prog"), "{text}");
    for program in ["", "prog"] {
        let text = try_it(&["-DOLD"], program).unwrap_err();
        assert!(text.contains("section xdp_prog1") && text.contains("SEC(\"xdp\")"), "{text}");
    }
}
