//! Programs on devices whose packets carry nothing: their fields come from the driver, the packet and the context.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::net::UdpSocket;

use caps::Capability::{CAP_BPF, CAP_NET_ADMIN};
use common::{World, own, sh, with_only};
use libbpf_rs::{MapCore, MapFlags, MapHandle, ObjectBuilder, TC_INGRESS, TcHookBuilder};
use std::os::fd::AsFd;
use xhint_fill::{Fill, Provider};
use xhint_link::Dispatch;
use xhint_runtime::attach::{attach, running};
use xhint_runtime::layouts::Layouts;
use xhint_runtime::load::{Load, load};
use xhint_runtime::status::status;
use xhint_runtime::{Device, Error, Job, LinkedAs, Linker, Mode, Result, Source};
use xhint_testkit::{privileged, skipped};

/// In the order of `seen` in `filled.bpf.c`.
const SEEN: [&str; 11] =
    ["filled", "empty", "there", "hash", "timestamp", "port", "queue", "vlan", "valid", "same", "differs"];
const PORT: u16 = 4242;
const PACKETS: u64 = 20;

/// The world with an address on each end, and its device `near`.
fn world() -> (World, Device) {
    let world = World::new();
    let n = &world.name;
    // The other end has a namespace of its own, so that packets between the two go by the wire.
    sh(&format!("ip netns add {n}-far && ip -n {n} link set far netns {n}-far && ip -n {n}-far link set far up"));
    sh(&format!("ip -n {n} addr add 10.77.0.2/24 dev near && ip -n {n}-far addr add 10.77.0.1/24 dev far"));
    let mac = sh(&format!("ip netns exec {n} cat /sys/class/net/near/address"));
    sh(&format!("ip -n {n}-far neigh add 10.77.0.2 lladdr {} dev far", mac.trim()));
    let near = Device::find("near", world.netns()).unwrap();
    (world, near)
}

/// Sends packets from the far end and yields what the program has seen of them since it was attached.
fn send(world: &World, device: &Device) -> Vec<u64> {
    let far = xhint_runtime::Netns::named(&format!("{}-far", world.name)).unwrap();
    let sent: Result<()> = far.run(|| {
        let socket = UdpSocket::bind(("10.77.0.1", PORT)).unwrap();
        (0..PACKETS).for_each(|_| assert_eq!(socket.send_to(&[7; 40], "10.77.0.2:5353").unwrap(), 40));
        Ok(())
    });
    sent.unwrap();
    seen(world, device)
}

fn seen(world: &World, device: &Device) -> Vec<u64> {
    let maps = status(&world.home, device).unwrap().maps;
    let bss = maps.iter().find(|map| map.name.ends_with(".bss")).unwrap();
    let map = MapHandle::from_pinned_path(&bss.path).unwrap();
    let bytes = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
    bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
}

fn value(seen: &[u64], name: &str) -> u64 {
    seen[SEEN.iter().position(|own| *own == name).unwrap()]
}

fn fill(texts: &[&str]) -> Fill {
    let mut fill = Fill::default();
    texts.iter().for_each(|text| fill.say(text).unwrap());
    fill
}

struct How<'a> {
    arguments: &'a [&'a str],
    options: LinkedAs,
    mode: Mode,
    nics: Vec<Source>,
}

impl Default for How<'_> {
    fn default() -> Self {
        let options = LinkedAs { count: true, ..LinkedAs::default() };
        How { arguments: &[], options, mode: Mode::Native, nics: Vec::new() }
    }
}

fn job(device: &Device, how: How<'_>) -> Result<Job> {
    let object = how.arguments.iter().fold(own("filled.bpf.c"), |c, a| c.argument(*a)).object();
    let object = Source::read(object).unwrap();
    Linker::new()?.for_device(device).link(object, how.nics, how.options, how.mode)
}

fn put(world: &World, device: &Device, how: How<'_>) -> Result<Job> {
    let job = job(device, how)?;
    attach(&world.home, device, &job).map(|_| job)
}

fn with(fill: Fill) -> How<'static> {
    let how = How::default();
    How { options: LinkedAs { fill, ..how.options.clone() }, ..how }
}

fn provider(job: &Job, field: &str) -> Option<Provider> {
    job.filling.as_ref().unwrap().fields.iter().find(|f| f.field == field).unwrap().provider
}

fn words(job: &Job, field: &str) -> String {
    job.filling.as_ref().unwrap().fields.iter().find(|f| f.field == field).unwrap().words.clone()
}

#[test]
fn fields_come_from_wherever_a_veth_has_them() {
    if !privileged() {
        return;
    }
    let (world, near) = world();
    let job = put(&world, &near, How::default()).unwrap();
    let seen = send(&world, &near);
    assert_eq!((value(&seen, "filled") >= PACKETS, value(&seen, "empty")), (true, 0), "{seen:?}");
    assert_eq!((value(&seen, "port"), value(&seen, "queue"), value(&seen, "vlan")), (PORT.into(), 0, 0));
    // What nobody has is absent, and no clock stands in for the NIC's unasked.
    assert_eq!(value(&seen, "there"), 0b101_1101);
    assert_eq!((provider(&job, "rx_timestamp"), provider(&job, "flow_mark")), (None, None));
    assert_eq!(provider(&job, "src_port"), Some(Provider::Software));
    // By the published algorithm, over addresses and ports.
    let input = [&[10, 77, 0, 1, 10, 77, 0, 2][..], &PORT.to_be_bytes(), &5353u16.to_be_bytes()].concat();
    let hash = xhint_softnic::toeplitz(&xhint_softnic::MICROSOFT_KEY, &input);
    assert_eq!(value(&seen, "hash"), u64::from(hash));
    let bit = |name: &str| 1u64 << xhint_layout::Hint::from_name(name).unwrap().word().unwrap().bit;
    assert_eq!(value(&seen, "valid") & bit("src_port"), bit("src_port"));
    assert_eq!(value(&seen, "valid") & (bit("vlan_tci") | bit("rx_timestamp")), 0);
    // Counted as packets of the layout that was made for them.
    let counters = status(&world.home, &near).unwrap().counters.unwrap();
    assert_eq!((counters.layouts.len(), counters.no_metadata.packets), (1, 0));
    assert_eq!(counters.layouts[0].count.packets, value(&seen, "filled"));
    // And written down, for whoever asks later.
    let state = running(&world.home, &near).unwrap().unwrap();
    assert_eq!(state.filling, job.filling);
}

#[test]
fn the_driver_is_asked_as_the_program_asks_it() {
    if !privileged() {
        return;
    }
    let (world, near) = world();
    let how = With { fill: fill(&["rx_hash=kfunc", "rx_timestamp=software"]), arguments: &["-DASKS"] };
    let job = match put(&world, &near, how.how()) {
        Err(error @ Error::Fill { .. }) => return skipped(&format!("this kernel has no metadata kfuncs: {error}")),
        job => job.unwrap(),
    };
    assert!(job.bound);
    let (hash, port) = {
        let seen = send(&world, &near);
        assert_eq!((value(&seen, "same") >= PACKETS, value(&seen, "differs")), (true, 0), "{seen:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let off = value(&seen, "timestamp").abs_diff(now);
        assert!(off < 120_000_000_000, "CLOCK_TAI is less than two minutes from CLOCK_REALTIME: {off}");
        (value(&seen, "hash"), value(&seen, "port"))
    };
    // From one provider to another is a swap as any other.
    let before = near.programs().unwrap().native;
    let how = With { fill: fill(&["rx_hash=software"]), arguments: &["-DASKS"] };
    let job = put(&world, &near, how.how()).unwrap();
    assert!(job.bound, "it asks the driver itself");
    let seen = send(&world, &near);
    assert_ne!(near.programs().unwrap().native, before);
    assert_eq!((value(&seen, "port"), value(&seen, "hash") == hash), (port, false));
    assert!(value(&seen, "differs") >= PACKETS, "the kernel's hash is another than Toeplitz': {seen:?}");
    assert_eq!(value(&seen, "empty"), 0);
}

struct With<'a> {
    fill: Fill,
    arguments: &'a [&'a str],
}

impl<'a> With<'a> {
    fn how(self) -> How<'a> {
        How { arguments: self.arguments, ..with(self.fill) }
    }
}

#[test]
fn what_goes_on_to_the_stack_goes_without_unless_it_is_kept() {
    if !privileged() {
        return;
    }
    let (world, near) = world();
    let (path, ifindex) = (own("behind.bpf.c").object(), near.ifindex().cast_signed());
    // Such hooks are on every kernel, and stay without whoever made them.
    let behind = near.netns().run(|| -> Result<MapHandle> {
        let object = ObjectBuilder::default().open_file(path).unwrap().load().unwrap();
        let program = object.progs().next().unwrap();
        let mut hook = TcHookBuilder::new(program.as_fd()).ifindex(ifindex).hook(TC_INGRESS);
        hook.create().unwrap();
        hook.attach().unwrap();
        let bss = object.maps().find(|m| m.name().to_string_lossy().ends_with(".bss")).unwrap();
        Ok(MapHandle::try_from(&bss).unwrap())
    });
    let behind = behind.unwrap();
    let counts = || {
        let bytes = behind.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
        [0, 8].map(|at| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap()))
    };
    put(&world, &near, How::default()).unwrap();
    let seen = send(&world, &near);
    assert!(value(&seen, "filled") >= PACKETS);
    assert_eq!((counts()[0], counts()[1] >= PACKETS), (0, true), "{:?}", counts());
    let keep = How::default();
    let keep = How { options: LinkedAs { keep_metadata: true, ..keep.options.clone() }, ..keep };
    put(&world, &near, keep).unwrap();
    let [_, without] = counts();
    send(&world, &near);
    assert_eq!((counts()[0] >= PACKETS, counts()[1]), (true, without), "{:?}", counts());
}

#[test]
fn without_the_right_to_walk_it_runs_all_the_same() {
    if !privileged() {
        return;
    }
    let (world, near) = world();
    // Without the driver, for going to the device's namespace takes CAP_SYS_ADMIN, which stands for CAP_PERFMON.
    let options = LinkedAs { walk: false, fill: fill(&["software"]), count: true, ..LinkedAs::default() };
    let job = job(&near, How { options, ..How::default() }).unwrap();
    assert!(!job.state.options.walk && !job.bound);
    let taken = with_only(&[CAP_BPF, CAP_NET_ADMIN], || {
        let how = Load { object: &job.linked, entry: None, keep: &[], same: false, device: near.name(), bound: None };
        load(&how).map(drop)
    });
    assert!(
        taken.is_ok(),
        "{}",
        match &taken {
            Err(Error::Load { log, .. }) => log.clone(),
            other => format!("{other:?}"),
        }
    );
    attach(&world.home, &near, &job).unwrap();
    let seen = send(&world, &near);
    assert_eq!((value(&seen, "filled") >= PACKETS, value(&seen, "port")), (true, PORT.into()), "{seen:?}");
}

#[test]
fn what_cannot_be_is_one_error_and_nothing_changes() {
    if !privileged() {
        return;
    }
    let (world, near) = world();
    let refuse = |how: How<'_>| {
        let error = put(&world, &near, how).unwrap_err();
        assert_eq!(near.programs().unwrap().native, 0);
        error.to_string()
    };
    let error = refuse(with(fill(&["rx_hsah=kfunc"])));
    assert!(error.ends_with("no field 'rx_hsah' is asked for; the program asks for btf_id, flow_mark, rx_hash, rx_queue, rx_timestamp, src_port, valid, vlan_tci"), "{error}");
    let error = refuse(with(fill(&["rx_timestamp=kfunc"])));
    assert!(error.contains("field 'rx_timestamp' cannot come from 'kfunc': "), "{error}");
    let error = refuse(with(fill(&["src_port=kfunc"])));
    assert!(error.ends_with("field 'src_port' cannot come from 'kfunc': it has no src_port"), "{error}");
    let big = refuse(How { arguments: &["-DBIG"], ..How::default() });
    assert!(big.contains("bytes of metadata, and this kernel lets at most"), "{big}");
    let tail = How::default();
    let tail = LinkedAs { asked: Dispatch::Tail, fill: fill(&["auto"]), ..tail.options };
    let error = refuse(How { options: tail, ..How::default() });
    assert!(error.contains("`static` dispatch"), "{error}");
    assert!(
        Fill::default().say("rx_hash=nic").unwrap_err().contains("there are auto, none, kfunc, driver and software")
    );
    // Where nothing is wanted, nothing is done, and the program gets packets as they are.
    let job = put(&world, &near, with(Fill::none())).unwrap();
    assert_eq!((job.filling, job.state.layouts.len()), (None, 0));
    assert_eq!(value(&send(&world, &near), "filled"), 0);
}

#[test]
fn in_generic_mode_the_packet_tells() {
    if !privileged() {
        return;
    }
    let (world, near) = world();
    let job = put(&world, &near, How { mode: Mode::Generic, ..How::default() }).unwrap();
    let seen = send(&world, &near);
    assert!(!job.bound);
    assert_eq!((value(&seen, "filled") >= PACKETS, value(&seen, "port")), (true, PORT.into()), "{seen:?}");
    assert!(!job.warnings.iter().any(|w| w.contains("generic mode")), "{:?}", job.warnings);
    let generic = words(&job, "rx_timestamp");
    assert!(generic.contains("software clock if asked"), "{generic}");
}

/// A NIC may have just the fields that are filled: its packets are its own.
#[test]
fn a_layout_of_a_nic_is_never_the_one_that_is_filled() {
    if !privileged() {
        return;
    }
    let (_world, near) = world();
    let filled = job(&near, with(fill(&["software"]))).unwrap();
    let own = filled.state.layouts[0].clone();
    let nic = common::nic_of(
        "struct my_meta { unsigned long long rx_timestamp, valid; unsigned rx_hash, rx_queue, src_port, vlan_tci, btf_id; } \
         __attribute__((packed, btf_decl_tag(\"xhint:layout\"))) m;",
    );
    let both = job(&near, How { nics: vec![nic], ..with(fill(&["software"])) }).unwrap();
    let sizes: Vec<_> = both.state.layouts.iter().map(|l| l.size).collect();
    assert_eq!((sizes, own.size), (vec![36, 36], 36), "the same fields, and two layouts");
    assert_eq!(own.name, "my_meta___filled");
}

#[test]
fn who_asks_the_driver_is_called_by_no_tail_call() {
    if !privileged() {
        return;
    }
    let (world, near) = world();
    let tail = LinkedAs { asked: Dispatch::Tail, fill: Fill::none(), count: true, ..LinkedAs::default() };
    let nic = common::nic_of(
        "struct my_meta { unsigned rx_hash, seq, btf_id; } __attribute__((btf_decl_tag(\"xhint:layout\"))) m;",
    );
    let how = || How { arguments: &["-DASKS"], options: tail.clone(), nics: vec![nic.clone()], ..How::default() };
    let job = job(&near, how()).unwrap();
    assert_eq!((job.bound, job.state.options.dispatch), (true, Dispatch::Static));
    assert!(job.why.contains("no such program be called by tail call"), "{}", job.why);
    match put(&world, &near, how()) {
        Err(Error::Load { reason, .. }) => skipped(&format!("this kernel has no metadata kfuncs: {reason}")),
        done => assert_eq!(done.unwrap().state.options.dispatch, Dispatch::Static),
    }
}

#[test]
fn packets_with_metadata_keep_theirs() {
    if !privileged() {
        return;
    }
    let (world, near) = world();
    // A NIC whose packets this device never sees: all of these are filled beside it.
    let nic = common::nic_of(
        "struct my_meta { unsigned rx_hash, seq, btf_id; } __attribute__((btf_decl_tag(\"xhint:layout\"))) m;",
    );
    let options = LinkedAs { fill: fill(&["auto"]), count: true, ..LinkedAs::default() };
    let how = How { nics: vec![nic.clone()], options, ..How::default() };
    let job = put(&world, &near, how).unwrap();
    assert_eq!(job.state.layouts.len(), 2);
    let seen = send(&world, &near);
    assert_eq!((value(&seen, "filled") >= PACKETS, value(&seen, "empty")), (true, 0), "{seen:?}");

    // One that comes later, too; and what fills goes on filling.
    put(&world, &near, How::default()).unwrap();
    let layouts = Layouts::of(&world.home, &near);
    let changed = layouts.add(&Linker::new().unwrap(), nic).unwrap();
    assert_eq!(changed.layouts.len(), 1, "{changed:?}");
    let before = value(&send(&world, &near), "filled");
    assert!(value(&send(&world, &near), "filled") >= before + PACKETS);
    let made = running(&world.home, &near).unwrap().unwrap().layouts.iter().find(|l| l.size > 12).unwrap().id;
    let error = layouts.remove(&Linker::new().unwrap(), &format!("{made:#x}")).unwrap_err();
    assert!(matches!(error, Error::IsFilled { .. }), "{error}");
}
