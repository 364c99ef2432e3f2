//! The example program with the rights it may have. In a process of its own: libbpf asks once what the kernel lets it
//! do and remembers, whoever asks later.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::fs::File;

use caps::Capability;
use caps::Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON};
use common::nic::{Nic, check, job};
use common::{World, with_only};
use nix::sched::{CloneFlags, setns};
use xhint_runtime::attach::{Job, attach};
use xhint_runtime::detach::detach;
use xhint_testkit::fixture::clangs;
use xhint_testkit::privileged;

#[test]
fn the_least_rights_read_all_but_what_a_pointer_leads_to() {
    if !privileged() {
        return;
    }
    // One after the other, the first with all rights first: see above.
    one_layout();
    many_layouts();
}

fn one_layout() {
    let world = World::new();
    for layout in ["alpha_fw1", "alpha_fw2", "beta"] {
        let name = format!("rtl{}", std::process::id());
        let nic = Nic::up(&world, &name, &[layout], xhint_softnic::Mode::Flow);
        for clang in clangs() {
            let walk = put(&world, &nic, clang, (&[layout], "auto"), &[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON]);
            assert!(walk, "{layout}, {clang}: walks with CAP_PERFMON");
            check(&nic, &nic.run(&world, 500), Some(nic.ring()));
            let walk = put(&world, &nic, clang, (&[layout], "auto"), &[CAP_BPF, CAP_NET_ADMIN]);
            assert!(!walk, "{layout}, {clang}: none without");
            check(&nic, &nic.run(&world, 500), None);
            detach(&world.home, &nic.device).unwrap();
        }
    }
}

fn many_layouts() {
    let world = World::new();
    let layouts = ["alpha_fw1", "alpha_fw2", "beta"];
    let nic = Nic::up(&world, &format!("rtk{}", std::process::id()), &layouts, xhint_softnic::Mode::Random);
    for clang in clangs() {
        for dispatch in ["static", "tail"] {
            put(&world, &nic, clang, (&layouts, dispatch), &[CAP_BPF, CAP_NET_ADMIN]);
            check(&nic, &nic.run(&world, 1000), None);
        }
        put(&world, &nic, clang, (&layouts, "table"), &[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON]);
        check(&nic, &nic.run(&world, 1000), Some(nic.ring()));
    }
    let refused = with_only(&[CAP_BPF, CAP_NET_ADMIN], || job(clangs()[0], &layouts, "table").unwrap_err());
    assert!(refused.to_string().contains("CAP_PERFMON"), "{refused}");
    detach(&world.home, &nic.device).unwrap();
}

/// Links for layouts with a dispatch and attaches, with these rights; whether pointers may be followed.
fn put(
    world: &World,
    nic: &Nic,
    clang: &'static str,
    (layouts, dispatch): (&[&str], &str),
    rights: &[Capability],
) -> bool {
    // The namespace is entered before rights are given up, as a service manager does: it takes CAP_SYS_ADMIN.
    let netns = File::open(format!("/run/netns/{}", world.name)).unwrap();
    let work = || {
        // Compilers make different objects of one program.
        let job = Job { replace: true, ..job(clang, layouts, dispatch).unwrap() };
        let done = attach(&world.home, &nic.device, &job);
        done.unwrap_or_else(|e| panic!("{layouts:?}, {dispatch}, {clang}, {rights:?}: {e}"));
        job.state.options.walk
    };
    std::thread::scope(|s| {
        let inside = s.spawn(|| {
            setns(&netns, CloneFlags::CLONE_NEWNET).unwrap();
            with_only(rights, work)
        });
        inside.join().unwrap()
    })
}
