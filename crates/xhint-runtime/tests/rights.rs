//! The example program with the rights it may have. In a process of its own: libbpf asks once what the kernel lets it
//! do and remembers, whoever asks later.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::fs::{self, File};

use caps::Capability;
use caps::Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON};
use common::nic::{Nic, check, job, linker};
use common::{World, with_only};
use nix::sched::{CloneFlags, setns};
use xhint_link::Dispatch;
use xhint_runtime::Job;
use xhint_runtime::attach::attach;
use xhint_runtime::detach::detach;
use xhint_runtime::load::{Load, load};
use xhint_runtime::{LinkedAs, Mode, Source};
use xhint_testkit::fixture::{Compile, clangs, keep};
use xhint_testkit::privileged;

#[test]
fn the_least_rights_read_all_but_what_a_pointer_leads_to() {
    if !privileged() {
        return;
    }
    // One after the other, the first with all rights first: see above.
    one_layout();
    many_layouts();
    tests_for_null();
}

const NULL: &str = r#"
#include "kernel.h"
struct nic_meta { __u32 rx_hash; __u32 btf_id; } CORE;
SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct nic_meta *m = (void *)(long)ctx->data_meta;

	if (!bpf_core_type_exists(struct nic_meta) || (void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data)
		return 2;
	asm volatile(MOVE "if %0 == 0 goto +1; %0 += 0;" : "+r"(m));
	return m->rx_hash;
}
char LICENSE[] SEC("license") = "GPL";
"#;

/// Whether a pointer is 0 may be asked without CAP_PERFMON where that is decided beforehand; else the refusal says what it
/// takes.
fn tests_for_null() {
    let tags = "__attribute__((btf_decl_tag(\"xhint:layout\"), btf_decl_tag(\"xhint:as=nic_meta\")))";
    let nic = format!("#include \"kernel.h\"\nstruct a {{ __u32 rx_hash; __u32 btf_id; }} {tags}; struct a *v;\n");
    let nic = Compile::new(&keep("null-nic", "c", nic.as_bytes())).object();
    let nics = vec![Source::new("a.btf", fs::read(nic).unwrap())];
    let load_with = |moved: &str, asked: &str| {
        let source = keep("null", "bpf.c", NULL.replace("MOVE", moved).as_bytes());
        let program = Source::read(Compile::new(&source).argument("-w").object()).unwrap();
        let options = LinkedAs { asked: Dispatch::named(asked).unwrap(), count: true, ..LinkedAs::default() };
        with_only(&[CAP_BPF, CAP_NET_ADMIN], || {
            let job = linker().link(program, nics.clone(), options, Mode::Native).unwrap();
            load(&Load { object: &job.linked, entry: Some("prog"), keep: &[], same: false, device: "", bound: None })
                .map(|_| ())
        })
    };
    for asked in ["none", "static", "tail"] {
        load_with("\"\"", asked).unwrap_or_else(|e| panic!("{asked}: {e}"));
        let refused = load_with("\"%0 += 4;\"", asked).unwrap_err().to_string();
        assert!(refused.contains("pointer comparison prohibited") && refused.contains("CAP_PERFMON"), "{refused}");
    }
}

fn one_layout() {
    let world = World::new();
    for layout in ["alpha_fw1", "alpha_fw2", "beta"] {
        let name = format!("rtl{}", std::process::id());
        let nic = Nic::up(&world, &name, &[layout], xhint_softnic::Spread::Flow);
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
    let nic = Nic::up(&world, &format!("rtk{}", std::process::id()), &layouts, xhint_softnic::Spread::Random);
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
