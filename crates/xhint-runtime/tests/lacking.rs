//! A layout that lacks what the program reads, and that packets of another can pass for: it is looked for as long as it is
//! there, and what is tried first outlives it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::World;
use common::nic::linker;
use common::sh;
use xhint_link::Dispatch;
use xhint_runtime::attach::{attach, running};
use xhint_runtime::follow::{EventKind, Follow};
use xhint_runtime::layouts::Layouts;
use xhint_runtime::read_nics;
use xhint_runtime::status::status;
use xhint_runtime::{Device, LinkedAs, Mode, Source};
use xhint_testkit::fixture::{Compile, keep};
use xhint_testkit::privileged;

const PROGRAM: &str = r#"
#include "kernel.h"
struct nic_meta { __u32 flow_mark; } CORE;
__u64 sum;
SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct nic_meta *m = (void *)(long)ctx->data_meta;

	if (!bpf_core_type_exists(struct nic_meta))
		return XDP_PASS;
	if ((void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data)
		return XDP_ABORTED;
	sum += m->flow_mark;
	return XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"#;
const PASS: u32 = 2;
const DROP: u32 = 1;

/// The ids: of `pa` at the front, of `pb` and `pc` at the end.
const PA: u32 = 0xa;
const PB: u32 = 0xb;
const PC: u32 = 0xc;

fn nic(name: &str, c: &str) -> Source {
    let head = "#include \"kernel.h\"\n#define tag(t) __attribute__((btf_decl_tag(t)))\n#define L(n) tag(\"xhint:layout\") \
                tag(\"xhint:as=nic_meta\") tag(\"xhint:id=\" #n)\n";
    let object = Compile::new(&keep(name, "c", format!("{head}{c}").as_bytes())).object();
    Source::new(format!("{name}.btf"), fs::read(object).unwrap())
}

fn pa() -> Source {
    nic("pa", "struct pa { __u32 kind tag(\"xhint:selector\"); __u32 rx_hash; __u32 x; } L(0xa); struct pa *p;")
}

fn pb() -> Source {
    nic("pb", "struct pb { __u32 flow_mark; __u32 rx_hash; __u32 btf_id; } L(0xb); struct pb *p;")
}

fn pc() -> Source {
    nic("pc", "struct pc { __u32 rx_hash; __u32 flow_mark; __u32 btf_id; } L(0xc); struct pc *p;")
}

fn options(asked: &str) -> LinkedAs {
    LinkedAs {
        asked: Dispatch::named(asked).unwrap(),
        first: vec!["pa".to_owned()],
        count: true,
        ..LinkedAs::default()
    }
}

/// What the program on the device returns for metadata of these words.
fn returns(world: &World, device: &Device, words: [u32; 3]) -> u32 {
    let id = status(&world.home, device).unwrap().program_id;
    let metadata: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let data = keep("packet", "bin", &[metadata.as_slice(), &[0; 64]].concat());
    let context: Vec<u8> = [12u32, 76, 0, 0, 0, 0].iter().flat_map(|w| w.to_ne_bytes()).collect();
    let context = keep("context", "bin", &context);
    let says = sh(&format!("bpftool -j prog run id {id} data_in {} ctx_in {}", data.display(), context.display()));
    let value = says.split("\"retval\":").nth(1).unwrap_or_else(|| panic!("{says}"));
    value.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Packets counted by the layouts' names, and of unknown ids.
fn counts(world: &World, device: &Device) -> (Vec<(String, u64)>, u64) {
    let counters = status(&world.home, device).unwrap().counters.unwrap();
    let mut named: Vec<_> = counters.layouts.iter().map(|l| (l.name.clone(), l.count.packets)).collect();
    named.sort();
    (named, counters.unknown.packets)
}

fn named(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn its_packets_are_told_from_others_for_as_long_as_it_is_there() {
    if !privileged() {
        return;
    }
    let program = Source::read(Compile::new(&keep("prog", "bpf.c", PROGRAM.as_bytes())).object()).unwrap();
    for asked in ["static", "tail", "table"] {
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        let job = linker().link(program.clone(), vec![pa(), pb()], options(asked), Mode::Native).unwrap();
        attach(home, device, &job).unwrap();
        let run = |words| returns(&world, device, words);
        // Of `pa`, with the id of `pb` where that has it.
        assert_eq!(run([PA, 1, PB]), PASS, "{asked}");
        assert_eq!(run([1, 1, PB]), DROP, "{asked}");
        assert_eq!(run([1, 1, 1]), PASS, "{asked}");
        assert_eq!(counts(&world, device), (named(&[("pa", 1), ("pb", 1)]), 1), "{asked}");
        let layouts = Layouts::of(home, device);
        let lacks = |name: &str| layouts.list().unwrap().iter().any(|l| l.layout.name == name && l.layout.fallback);
        assert!(lacks("pa") && !lacks("pb"));

        layouts.add(linker(), pc()).unwrap();
        assert_eq!((run([PA, 1, PC]), run([1, 1, PC])), (PASS, DROP), "{asked}");
        assert_eq!(counts(&world, device), (named(&[("pa", 2), ("pb", 1), ("pc", 1)]), 1), "{asked}");

        // Once it is gone, nothing stands in the way of the others, and what is tried first is waited for.
        layouts.remove(linker(), "pa").unwrap();
        assert_eq!((run([PA, 1, PC]), run([PA, 1, 1])), (DROP, PASS), "{asked}");
        layouts.remove(linker(), "pc").unwrap();
        layouts.add(linker(), pc()).unwrap();
        let state = running(home, device).unwrap().unwrap();
        assert_eq!(state.options.first, ["pa"]);
        let says = layouts.add(linker(), pa()).unwrap_err().to_string();
        assert!(says.contains("flow_mark"), "{asked}: {says}");
        let again = linker().link_after(Some(&state), program.clone(), vec![pb(), pc()], options(asked), Mode::Native);
        let again = again.unwrap();
        assert!(again.warnings.iter().any(|w| w.contains("'pa' any more")), "{asked}: {:?}", again.warnings);
        attach(home, device, &again).unwrap();
        let back = linker().link_after(Some(&state), program.clone(), vec![pb(), pa()], options(asked), Mode::Native);
        attach(home, device, &back.unwrap()).unwrap();
        assert_eq!(run([PA, 1, PB]), PASS, "{asked}");
        // A name that never was right is an error, as it always was.
        let wrong = LinkedAs { first: vec!["pz".to_owned()], ..options(asked) };
        assert!(linker().link_after(Some(&state), program.clone(), vec![pb(), pc()], wrong, Mode::Native).is_err());
    }
}

#[test]
fn following_goes_on_when_it_is_gone_and_when_it_comes_back() {
    if !privileged() {
        return;
    }
    let program = Source::read(Compile::new(&keep("prog", "bpf.c", PROGRAM.as_bytes())).object()).unwrap();
    for asked in ["static", "tail"] {
        let (world, dir) = (World::new(), tempfile::tempdir().unwrap());
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        let put = |source: &Source| fs::write(dir.path().join(&source.path), source.bytes().unwrap()).unwrap();
        put(&pa());
        put(&pb());
        let paths = vec![dir.path().to_owned()];
        let nics = read_nics(linker(), &paths).unwrap();
        let job = linker().link(program.clone(), nics, options(asked), Mode::Native).unwrap();
        attach(home, device, &job).unwrap();
        let mut follow = Follow::start(home, device, linker(), paths).unwrap();
        let mut swapped = || {
            let end = Instant::now() + Duration::from_secs(20);
            while Instant::now() < end {
                let events = follow.next().unwrap();
                assert!(events.iter().all(|e| e.kind != EventKind::Kept), "{asked}: {events:?}");
                if events.iter().any(|e| e.kind == EventKind::Swapped) {
                    return;
                }
            }
            panic!("{asked}: nothing was swapped in");
        };
        // Its file goes; its packets are told from others until the next change.
        fs::remove_file(dir.path().join("pa.btf")).unwrap();
        swapped();
        assert_eq!(returns(&world, device, [PA, 1, PB]), PASS, "{asked}");
        put(&pc());
        swapped();
        assert_eq!(returns(&world, device, [PA, 1, PC]), DROP, "{asked}");
        put(&pa());
        swapped();
        assert_eq!(returns(&world, device, [PA, 1, PC]), PASS, "{asked}");
    }
}
