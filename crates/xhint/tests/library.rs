//! The library, on soft NICs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::expect_used
)]

use std::path::PathBuf;
use std::process::Command;

use xhint::{Attached, Dispatch, Error, Hint, Linker};
use xhint_softnic::{Config, Mix, SendOptions, SoftNic, Spread, Traffic};
use xhint_testkit::fixture;
use xhint_testkit::privileged;

fn example(name: &str) -> PathBuf {
    fixture::example(name).object()
}

/// A network namespace; gone when dropped.
struct Netns(String);

impl Netns {
    fn new(what: &str) -> Netns {
        let netns = Netns(format!("xhlib{what}-{}", std::process::id()));
        assert!(Command::new("ip").args(["netns", "add", &netns.0]).status().unwrap().success());
        netns
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A soft NIC that writes these layouts in turn; gone when dropped.
struct Nic(SoftNic);

impl Nic {
    fn up(name: &str, netns: &Netns, layouts: &[&str]) -> Nic {
        let base = xhint::btf::Btf::parse(std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap();
        let mut universe = xhint_universe::Universe::new(base.into());
        for layout in layouts {
            let bytes = std::fs::read(example(&format!("nics/{layout}.c"))).unwrap();
            let btf = xhint::object::nic_btf(bytes, || Some(universe.base())).unwrap();
            universe.add(layout, btf.into()).unwrap();
        }
        let plan = |l: &xhint_universe::Layout| {
            let btf = universe.source(l.source).unwrap().btf();
            xhint_layout::Plan::of(btf, l.type_id, &l.name, l.id).unwrap()
        };
        let plans: Vec<_> = universe.layouts().iter().map(plan).collect();
        let config = Config { netns: Some(netns.0.clone()), ..Config::default() };
        Nic(SoftNic::up(name, &config, &plans, Spread::Round).unwrap())
    }

    fn send(&self, count: u64) {
        let traffic = Traffic::mixed(&Mix { to: self.0.mac(), ..Mix::default() });
        let sent = self.0.send(&traffic, &SendOptions { count: Some(count), ..SendOptions::default() }).unwrap();
        assert_eq!(sent.arrived, count);
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        let _gone = SoftNic::down_by_name(self.0.name());
    }
}

/// Packets read and packets of unknown ids.
fn counted(attached: &Attached) -> (u64, u64) {
    let counters = attached.status().unwrap().counters.unwrap();
    (counters.layouts.iter().map(|l| l.count.packets).sum(), counters.unknown.packets)
}

#[test]
fn an_application_attaches_and_follows_its_layouts() {
    if !privileged() {
        return;
    }
    let netns = Netns::new("a");
    let name = format!("xla{}", std::process::id());
    let nic = Nic::up(&name, &netns, &["alpha_fw1", "beta"]);
    let linker = Linker::new().unwrap();
    let link = linker.program(example("hints.bpf.c")).unwrap().nic(example("nics/alpha_fw1.c")).unwrap();
    let attached = link.dispatch(Dispatch::Tail).attach_in(Some(&netns.0), &name).unwrap();
    nic.send(100);
    assert_eq!(counted(&attached), (50, 50));

    let changed = attached.layouts().add(&linker, example("nics/beta.c")).unwrap();
    assert!(changed.swap.is_none(), "in place");
    nic.send(100);
    assert_eq!(counted(&attached), (150, 50));
    let twice = attached.layouts().add(&linker, example("nics/beta.c")).unwrap();
    assert!(twice.layouts.is_empty() && twice.swap.is_none(), "it is there already");

    // Another handle on the same, as another process would have it.
    let again = Attached::open_in(Some(&netns.0), &name).unwrap();
    let names: Vec<String> = again.layouts().list().unwrap().into_iter().map(|l| l.layout.name).collect();
    assert_eq!(names, ["nic_meta", "beta_rx_completion"]);
    assert!(again.map_path("outcomes").unwrap().exists());
    assert!(matches!(again.map_path("nothing"), Err(Error::NoMap { .. })));
    again.layouts().remove(&linker, "nic_meta").unwrap();
    nic.send(100);
    assert_eq!(counted(&attached), (200, 100));
    again.detach().unwrap();
    assert!(matches!(attached.status(), Err(Error::NotAttached(_))));
}

/// What is in memory is linked as what is in files is, and told by the name it was given.
#[test]
fn programs_and_nics_may_be_in_memory() {
    let base = [fixture::corpus_path("vmlinux.btf")];
    let linker = Linker::with_base(&base).unwrap();
    let (program, nic) = (example("hints.bpf.c"), example("nics/alpha_fw1.c"));
    let files = linker.program(&program).unwrap().nic(&nic).unwrap().link().unwrap();
    let bytes = |path: &PathBuf| std::fs::read(path).unwrap();
    let memory = linker.program_bytes("prog", bytes(&program)).nic_bytes("mynic", bytes(&nic));
    let linked = memory.link().unwrap();
    assert!(linked.bytes == files.bytes);
    assert_eq!(linked.report.layouts[0].source, "mynic");
    let wrong = linker.program_bytes("prog", *b"no object").link().unwrap_err().to_string();
    assert!(wrong.starts_with("prog: "), "{wrong}");
    let wrong = memory.nic_bytes("other", *b"no BTF").link().unwrap_err().to_string();
    assert!(wrong.starts_with("other: "), "{wrong}");
}

#[test]
fn fields_are_found_by_path_and_by_hint() {
    let linker = Linker::with_base(&[fixture::corpus_path("vmlinux.btf")]).unwrap();
    let layouts = linker.layouts(example("nics/beta.c")).unwrap();
    let [beta] = layouts.as_slice() else { panic!("{layouts:?}") };
    let mut hints = 0;
    for field in &beta.fields {
        assert_eq!(beta.field(&field.path), Some(field));
        let Some(hint) = field.hint else { continue };
        hints += 1;
        let first = beta.fields.iter().find(|f| f.hint == Some(hint));
        assert_eq!(beta.field_for(hint), first);
    }
    assert!(hints > 3, "{beta:?}");
    assert_eq!(beta.field_for(Hint::RxHash).map(|f| f.bits), Some(32));
    assert_eq!((beta.field("nothing"), beta.field_for(Hint::Ipv6Src)), (None, None));
}

#[test]
fn two_devices_and_two_applications_are_apart() {
    if !privileged() {
        return;
    }
    let netns = Netns::new("b");
    let names = ["x", "y"].map(|n| format!("xl{n}{}", std::process::id()));
    let nics = names.each_ref().map(|n| Nic::up(n, &netns, &["alpha_fw1", "alpha_fw2"]));
    let linker = Linker::new().unwrap();
    let attach = |nic: usize, layout: &str, dispatch: Dispatch| {
        let link = linker.program(example("hints.bpf.c")).unwrap().nic(example(layout)).unwrap();
        link.dispatch(dispatch).attach_in(Some(&netns.0), &names[nic]).unwrap()
    };
    let (one, two) = (attach(0, "nics/alpha_fw1.c", Dispatch::Tail), attach(1, "nics/alpha_fw2.c", Dispatch::Static));
    let before = two.status().unwrap().program_id;
    std::thread::scope(|s| {
        s.spawn(|| nics[0].send(2000));
        s.spawn(|| nics[1].send(2000));
        for _ in 0..3 {
            one.layouts().add(&linker, example("nics/beta.c")).unwrap();
            one.layouts().remove(&linker, "beta_rx_completion").unwrap();
        }
    });
    assert_eq!((counted(&one), counted(&two)), ((1000, 1000), (1000, 1000)));
    assert_eq!(two.status().unwrap().program_id, before);
    one.detach().unwrap();
    nics[1].send(100);
    assert_eq!(counted(&two), (1050, 1050));
    two.detach().unwrap();
}
