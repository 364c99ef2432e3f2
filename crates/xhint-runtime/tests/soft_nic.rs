//! The example program on soft NICs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;

use common::World;
use common::nic::{Nic, check, job, linker, newest, sources};
use libbpf_rs::Program;
use libbpf_rs::query::ProgInfoIter;
use xhint_runtime::attach::attach;
use xhint_runtime::detach::detach;
use xhint_runtime::status::status;
use xhint_runtime::{LinkedAs, Mode, Source};
use xhint_testkit::privileged;

#[test]
fn packets_of_many_layouts_are_each_read_right() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let name = format!("rtm{}", std::process::id());
    let nic = Nic::up(&world, &name, &["alpha_fw1", "alpha_fw2", "beta"], xhint_softnic::Spread::Random);
    for asked in ["static", "tail", "auto"] {
        let job = job(newest(), &["alpha_fw1", "alpha_fw2", "beta"], asked).unwrap();
        assert_eq!(job.state.layouts.len(), 3);
        attach(&world.home, &nic.device, &job).unwrap();
        let pairs = nic.run(&world, 3000);
        check(&nic, &pairs, Some(nic.ring()));
        let layouts: std::collections::HashSet<u32> = pairs.iter().map(|p| p.0.layout).collect();
        assert_eq!(layouts.len(), 3);
    }
    // A program that knows but one of them leaves the others unread, and says so.
    attach(&world.home, &nic.device, &job(newest(), &["beta"], "auto").unwrap()).unwrap();
    let beta = nic.plans.iter().find(|p| p.name == "beta_rx_completion").unwrap().id;
    for (truth, record) in nic.run(&world, 1000) {
        let (id, outcome) = if truth.layout == beta { (beta, 0) } else { (0, 2) };
        assert_eq!((record.id, record.outcome), (id, outcome));
        assert!(truth.layout == beta || record.present == 0);
    }
    // And on packets without metadata it reads nothing.
    nic.nic.flash(&[], xhint_softnic::Spread::Flow).unwrap();
    assert!(nic.run(&world, 200).iter().all(|(_, r)| (r.id, r.outcome, r.present) == (0, 1, 0)));
    detach(&world.home, &nic.device).unwrap();
}

/// What docs/live.md says of run times: the kernel knows no other than the entry's, which is that of all it leads to.
#[test]
fn the_kernel_books_all_run_time_on_the_entry() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let name = format!("rtr{}", std::process::id());
    let nic = Nic::up(&world, &name, &["alpha_fw1", "beta"], xhint_softnic::Spread::Random);
    for (asked, copies) in [("static", 0), ("tail", 2)] {
        attach(&world.home, &nic.device, &job(newest(), &["alpha_fw1", "beta"], asked).unwrap()).unwrap();
        // SAFETY: takes a number and opens a descriptor; the kernel counts as long as that is open.
        let counting = unsafe { OwnedFd::from_raw_fd(libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME)) };
        nic.run(&world, 500);
        drop(counting);
        let status = status(&world.home, &nic.device).unwrap();
        let runs = status.runs.unwrap();
        assert!(runs.count == 500 && runs.nanoseconds > 0, "{runs:?}");
        let pins = status.maps_dir.unwrap().with_file_name("programs").read_dir().unwrap();
        let id = |pin: &Path| Program::id_from_fd(Program::fd_from_pinned_path(pin).unwrap().as_fd()).unwrap();
        let others: Vec<u32> = pins.map(|p| id(&p.unwrap().path())).filter(|id| *id != status.program_id).collect();
        let counts: Vec<u64> = ProgInfoIter::default().filter(|p| others.contains(&p.id)).map(|p| p.run_cnt).collect();
        assert_eq!(counts, vec![0; copies], "{asked}");
    }
    detach(&world.home, &nic.device).unwrap();
}

#[test]
fn two_layouts_without_dispatch_are_refused_in_words() {
    let error = job(newest(), &["alpha_fw1", "beta"], "none").unwrap_err().to_string();
    assert!(error.contains("several layouts answer to 'nic_meta'"), "{error}");
}

#[test]
fn files_at_fault_are_named() {
    let none = linker().universe(&[Source::new("nothing.btf", *b"x")]).unwrap_err().to_string();
    assert!(none.starts_with("nothing.btf: neither BTF nor an ELF object"), "{none}");
    let object = Source::new("prog.o", *b"\x7fELF");
    let error = linker().link(object, sources(&["beta"]), LinkedAs::default(), Mode::Native).unwrap_err().to_string();
    assert!(error.starts_with("prog.o: "), "{error}");
    let missing = Source::read("/nonexistent/nic.btf").unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/nic.btf: No such file"), "{missing}");
}
