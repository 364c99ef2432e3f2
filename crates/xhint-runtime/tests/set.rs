//! Constants that were set at the attach are what the program sees, however it is linked again after.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::fs;

use common::nic::{Nic, linker, sources};
use common::{World, example};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use xhint_layout::Plan;
use xhint_link::Dispatch;
use xhint_runtime::Job;
use xhint_runtime::attach::{attach, running};
use xhint_runtime::follow::{EventKind, Follow};
use xhint_runtime::layouts::Layouts;
use xhint_runtime::status::status;
use xhint_runtime::{Device, Error, LinkedAs, Mode, Source};
use xhint_softnic::{Mix, SendOptions, Traffic};
use xhint_testkit::fixture::{Compile, keep};
use xhint_testkit::privileged;

/// Adds up what is set, for packets of its layouts and for others.
const PROGRAM: &str = r#"
#include <xhint.h>
enum gear { SLOW = 3, FAST = 11 };
const volatile __u32 step = 1;
const volatile enum gear gear;
struct nic_meta { __u32 rx_hash; __u32 btf_id; } __attribute__((preserve_access_index));
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} sums SEC(".maps");
SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
	__u32 key = xhint_fits(ctx, m) && xhint_is(m, struct nic_meta) && bpf_core_field_exists(m->rx_hash);
	__u64 *sum = bpf_map_lookup_elem(&sums, &key);

	if (sum)
		__sync_fetch_and_add(sum, step + gear);
	return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"#;

struct Stage {
    world: World,
    nic: Nic,
}

impl Stage {
    fn new(asked: &str) -> Stage {
        let world = World::new();
        let name = format!("xs{}{}", &asked[..2], std::process::id());
        let nic = Nic::up(&world, &name, &["alpha_fw1"], xhint_softnic::Spread::Flow);
        Stage { world, nic }
    }

    fn device(&self) -> &Device {
        &self.nic.device
    }

    fn job(&self, asked: &str, set: &[(&str, &str)]) -> Result<Job, Error> {
        let object = Source::read(Compile::new(&keep("set", "bpf.c", PROGRAM.as_bytes())).object()).unwrap();
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = LinkedAs { asked: Dispatch::named(asked).unwrap(), count: true, set, ..LinkedAs::default() };
        let before = running(&self.world.home, self.device()).unwrap();
        linker().link_after(before.as_ref(), object, sources(&["alpha_fw1"]), options, Mode::Native)
    }

    fn attach(&self, asked: &str, set: &[(&str, &str)]) {
        attach(&self.world.home, self.device(), &self.job(asked, set).unwrap()).unwrap();
    }

    fn flash(&self, nic: &str) {
        let universe = linker().universe(&sources(&[nic])).unwrap();
        let plan = |l: &xhint_universe::Layout| {
            Plan::of(universe.source(l.source).unwrap().btf(), l.type_id, &l.name, l.id).unwrap()
        };
        let plans: Vec<Plan> = universe.layouts().iter().map(plan).collect();
        self.nic.nic.flash(&plans, xhint_softnic::Spread::Flow).unwrap();
    }

    /// What ten more packets add, each: of its layouts, and of others.
    fn each(&self) -> [u64; 2] {
        let before = self.sums();
        let traffic = Traffic::mixed(&Mix { to: self.nic.nic.mac(), ..Mix::default() });
        let sent = self.nic.nic.send(&traffic, &SendOptions { count: Some(10), ..SendOptions::default() }).unwrap();
        assert_eq!(sent.arrived, 10);
        let after = self.sums();
        [0, 1].map(|n| {
            assert_eq!((after[n] - before[n]) % 10, 0);
            (after[n] - before[n]) / 10
        })
    }

    /// First of its layouts.
    fn sums(&self) -> [u64; 2] {
        let path = status(&self.world.home, self.device()).unwrap().maps_dir.unwrap().join("sums");
        let map = MapHandle::from_pinned_path(path).unwrap();
        [1u32, 0].map(|key| {
            let value = map.lookup(&key.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
            u64::from_ne_bytes(value.try_into().unwrap())
        })
    }
}

#[test]
fn what_is_set_stays_when_layouts_come_and_go() {
    if !privileged() {
        return;
    }
    for asked in ["static", "tail", "table"] {
        let stage = Stage::new(asked);
        stage.attach(asked, &[]);
        assert_eq!(stage.each(), [1, 0], "{asked}: as compiled");
        stage.attach(asked, &[("step", "0x64"), ("gear", "FAST")]);
        assert_eq!(stage.each(), [111, 0], "{asked}");
        // Packets of no layout, then the same ones of a layout that was added.
        stage.flash("alpha_fw2");
        assert_eq!(stage.each(), [0, 111], "{asked}");
        let layouts = Layouts::of(&stage.world.home, stage.device());
        let added = layouts.add(linker(), sources(&["alpha_fw2"]).remove(0)).unwrap();
        assert_eq!(added.swap.is_none(), asked == "tail");
        assert_eq!(stage.each(), [111, 0], "{asked}: added");
        layouts.remove(linker(), &format!("{:#010x}", stage.nic.plans[0].id)).unwrap();
        assert_eq!(stage.each(), [111, 0], "{asked}: the other removed");

        // What does not fit changes nothing.
        let refused = stage.job(asked, &[("step", "4294967296")]).unwrap_err().to_string();
        assert!(refused.contains("variable 'step': '4294967296' does not fit"), "{refused}");
        let refused = stage.job(asked, &[("stop", "1")]).unwrap_err().to_string();
        assert!(refused.contains("variable 'stop': there is none; the program has gear, step"), "{refused}");
        let refused = stage.job(asked, &[("step", "1"), ("step", "2")]).unwrap_err().to_string();
        assert!(refused.contains("variable 'step': it is set to '1' and to '2'"), "{refused}");
        assert_eq!(stage.each(), [111, 0], "{asked}: refused");
        let kept = running(&stage.world.home, stage.device()).unwrap().unwrap().options.set;
        assert_eq!(kept, [("step".to_owned(), "0x64".to_owned()), ("gear".to_owned(), "FAST".to_owned())]);
    }
}

#[test]
fn what_is_set_stays_when_a_file_is_followed() {
    if !privileged() {
        return;
    }
    let stage = Stage::new("follow");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nic.o");
    let describe = |nic: &str| {
        let fresh = dir.path().join(".fresh");
        fs::copy(example(&format!("nics/{nic}.c")).object(), &fresh).unwrap();
        fs::rename(fresh, &file).unwrap();
    };
    describe("alpha_fw1");
    let mut job = stage.job("static", &[("gear", "SLOW")]).unwrap();
    job.state.nics[0].path.clone_from(&file);
    attach(&stage.world.home, stage.device(), &job).unwrap();
    assert_eq!(stage.each(), [4, 0]);
    let mut follow = Follow::start(&stage.world.home, stage.device(), linker(), vec![file.clone()]).unwrap();
    describe("alpha_fw2");
    let begin = std::time::Instant::now();
    while !follow.next().unwrap().iter().any(|event| event.kind == EventKind::Swapped) {
        assert!(begin.elapsed().as_secs() < 60, "nothing happened");
    }
    stage.flash("alpha_fw2");
    assert_eq!(stage.each(), [4, 0]);
}
