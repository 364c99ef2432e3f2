//! What devices offer, compared with what ethtool, sysfs and libbpf say of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{self, Command};

use libbpf_sys as sys;
use xhint_host::kfunc::{Callee, callees};
use xhint_host::{Error, Facts, Netns, xdp};
use xhint_testkit::{privileged, skipped};

const KFUNCS: [&str; 3] = ["bpf_xdp_metadata_rx_timestamp", "bpf_xdp_metadata_rx_hash", "bpf_xdp_metadata_rx_vlan_tag"];

/// A network namespace with devices of several kinds, by name.
struct World {
    name: String,
    devices: Vec<&'static str>,
}

impl World {
    fn new(what: &str) -> World {
        let name = format!("xhfacts-{what}-{}", process::id());
        assert!(ip(&["netns", "add", &name]));
        let mut world = World { name, devices: vec!["lo"] };
        for (device, kind) in
            [("veth0", "veth peer name veth1"), ("dummy0", "dummy"), ("br0", "bridge"), ("vlan5", "vlan id 5")]
        {
            let link = if device == "vlan5" { vec!["link", "veth0"] } else { Vec::new() };
            let words: Vec<_> = kind.split(' ').collect();
            world.add(device, &[&["link", "add"][..], &link, &["name", device, "type"], &words].concat());
        }
        world.add("tun0", &["tuntap", "add", "dev", "tun0", "mode", "tun"]);
        world.add("tap0", &["tuntap", "add", "dev", "tap0", "mode", "tap"]);
        assert!(["veth0", "tap0"].iter().all(|device| world.devices.contains(device)), "{:?}", world.devices);
        world
    }

    /// Not every kernel has every kind.
    fn add(&mut self, device: &'static str, words: &[&str]) {
        if ip(&[&["-n", &self.name], words].concat()) {
            self.devices.push(device);
        }
    }

    fn netns(&self) -> Netns {
        Netns::named(&self.name).unwrap()
    }

    /// Does `work` there with the number of a device.
    fn with<T: Send>(&self, device: &str, work: impl FnOnce(u32) -> T + Send) -> T {
        let number = || nix::net::if_::if_nametoindex(device).unwrap();
        self.netns().run(|| Ok::<_, Error>(work(number()))).unwrap()
    }

    /// What `ethtool FLAG DEVICE` prints, if it can.
    fn ethtool(&self, flag: &str, device: &str) -> Option<String> {
        let mut command = Command::new("ip");
        let out = command.args(["netns", "exec", &self.name, "ethtool", flag, device]).output().unwrap();
        out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.name]);
    }
}

fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).output().unwrap().status.success()
}

/// The value of a key in `key: value` lines.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("{key}: {text}"))
        .trim()
}

#[test]
fn drivers_and_offloads_are_as_ethtool_has_them() {
    if !privileged() {
        return;
    }
    let world = World::new("driver");
    for device in &world.devices {
        let facts = world.with(device, |number| Facts::of(number).unwrap());
        let told = world.ethtool("-i", device);
        assert_eq!(facts.driver.is_some(), told.is_some(), "{device}");
        if let (Some(driver), Some(told)) = (facts.driver, told) {
            let has = [driver.driver, driver.driver_version, driver.firmware, driver.bus];
            let keys = ["driver", "version", "firmware-version", "bus-info"];
            assert_eq!(has.each_ref().map(String::as_str), keys.map(|key| value(&told, key)), "{device}");
        }
        let told = world.ethtool("-k", device).unwrap();
        let is_on = |key| value(&told, key).starts_with("on");
        assert_eq!(
            (facts.offloads.rx_hash, facts.offloads.rx_vlan),
            (is_on("receive-hashing"), is_on("rx-vlan-offload"))
        );
        assert_eq!(facts.parent, None, "{device}");
    }
    // The other answer is read too.
    world.ethtool("-K", "veth0").unwrap_or_default();
    let set = ["netns", "exec", &world.name, "ethtool", "-K", "veth0", "rxvlan", "off"];
    assert!(ip(&set));
    assert!(!world.with("veth0", |number| Facts::of(number).unwrap()).offloads.rx_vlan);
}

/// As libbpf reads the same family, by code of its own.
#[test]
fn xdp_features_are_as_libbpf_has_them() {
    if !privileged() {
        return;
    }
    let world = World::new("xdp");
    for device in &world.devices {
        let (support, theirs) = world.with(device, |number| {
            let size = size_of::<sys::bpf_xdp_query_opts>() as sys::size_t;
            let mut theirs = sys::bpf_xdp_query_opts { sz: size, ..Default::default() };
            // SAFETY: the options outlive the call, tell their own size and are ours alone to write.
            let code = unsafe { sys::bpf_xdp_query(number.try_into().unwrap(), 0, &raw mut theirs) };
            assert_eq!(code, 0);
            (Facts::of(number).unwrap().xdp, theirs)
        });
        let ours = support.map_or((0, 0), |s| (s.features, s.zero_copy_segments.unwrap_or(0)));
        assert_eq!(ours, (theirs.feature_flags, theirs.xdp_zc_max_segs), "{device}");
    }
    let names = |device| world.with(device, |number| Facts::of(number).unwrap().xdp.map(|s| s.names()));
    if let Some(names) = names("tap0") {
        assert_eq!(names, ["basic", "redirect", "ndo-xmit"]);
    }
}

/// Two ways to ask the kernel for one thing: what the driver says that it has, and where a call leads.
#[test]
fn calls_lead_to_drivers_that_say_so() {
    if !privileged() {
        return;
    }
    let world = World::new("kfunc");
    let mut seen = 0;
    for device in &world.devices {
        let (facts, callees) =
            world.with(device, |number| (Facts::of(number).unwrap(), callees(number, &KFUNCS).unwrap()));
        assert_eq!(facts.programs, xdp::Programs::default(), "nothing was attached");
        let Some(offered) = facts.xdp.and_then(|support| support.rx_metadata) else { continue };
        for ((bit, kfunc), callee) in (0..).zip(KFUNCS).zip(callees) {
            let said = format!("{device}: {kfunc}: {callee:?}");
            match callee {
                Callee::Driver { function, .. } => {
                    assert!(offered >> bit & 1 == 1 && function.contains("rx_"), "{said}")
                }
                Callee::Nobody | Callee::NoXdp => assert!(offered >> bit & 1 == 0, "{said}"),
                Callee::Hidden => skipped("the kernel's addresses are hidden"),
                Callee::Unknown => assert!(fs::read_to_string("/proc/kallsyms").unwrap().contains(kfunc), "{said}"),
            }
            seen += 1;
        }
    }
    let veth = world.with("veth0", |number| callees(number, &["no_such_kfunc", KFUNCS[1]]).unwrap());
    assert_eq!(veth[0], Callee::Unknown);
    if seen == 0 {
        return skipped("this kernel does not tell what drivers offer");
    }
    assert!(matches!(&veth[1], Callee::Driver { function, .. } if function == "veth_xdp_rx_hash"), "{veth:?}");
    let of = |device| world.with(device, |number| callees(number, &KFUNCS[..1]).unwrap());
    assert_eq!((of("tap0"), of("lo")), (vec![Callee::Nobody], vec![Callee::NoXdp]));
}

#[test]
fn a_device_that_is_gone_is_an_error() {
    if !privileged() {
        return;
    }
    let world = World::new("gone");
    let number = world.with("veth0", |number| number);
    assert!(ip(&["-n", &world.name, "link", "del", "veth0"]));
    let (facts, calls) = world.with("lo", |_| (Facts::of(number), callees(number, &KFUNCS)));
    assert_eq!(facts.unwrap_err().raw_os_error(), Some(libc::ENODEV));
    let has = fs::read_to_string("/proc/kallsyms").unwrap().contains(KFUNCS[0]);
    assert_eq!(calls.is_err(), has, "{calls:?}");
}

#[test]
fn what_takes_rights_says_so_and_the_rest_is_told() {
    if !privileged() {
        return;
    }
    let world = World::new("rights");
    let (facts, calls) = world.with("veth0", |number| {
        // On a thread of its own, as that namespace is not ours.
        for right in [caps::Capability::CAP_BPF, caps::Capability::CAP_SYS_ADMIN] {
            caps::drop(None, caps::CapSet::Effective, right).unwrap();
        }
        (Facts::of(number), callees(number, &KFUNCS))
    });
    assert_eq!(facts.unwrap().driver_name(), Some("veth"));
    if calls.as_ref().is_ok_and(|calls| calls.iter().all(|c| *c == Callee::Unknown)) {
        return skipped("this kernel has no metadata kfuncs");
    }
    let said = calls.unwrap_err().to_string();
    assert!(said.contains("Operation not permitted") && said.contains(KFUNCS[0]), "{said}");
}

/// Those that this machine has, by the paths that sysfs has for them in this namespace.
#[test]
fn what_hangs_on_a_bus_is_found_there() {
    if !privileged() {
        return;
    }
    let mut on_bus = 0;
    for entry in fs::read_dir("/sys/class/net").unwrap() {
        let dir = entry.unwrap().path();
        let number: u32 = fs::read_to_string(dir.join("ifindex")).unwrap().trim().parse().unwrap();
        let Some(name) = xdp::name_of(number).filter(|name| dir.ends_with(name)) else { continue };
        let facts = Facts::of(number).unwrap();
        let Ok(device) = fs::canonicalize(dir.join("device")) else {
            assert_eq!(facts.parent, None, "{name}");
            continue;
        };
        on_bus += 1;
        let parent = facts.parent.unwrap();
        assert_eq!(device.file_name().unwrap().to_str(), Some(parent.name.as_str()), "{name}");
        let bus = fs::canonicalize(device.join("subsystem")).unwrap();
        assert_eq!(bus.file_name().unwrap().to_str(), Some(parent.bus.as_str()), "{name}");
        let bits = fs::read_to_string(device.join("features")).ok().map(|text| text.replace(['0', '\n'], "").len());
        assert_eq!(facts.virtio.map(|bits| bits.len()), bits, "{name}");
        let module = facts.module.unwrap();
        let loaded = fs::canonicalize(device.join("driver/module")).ok();
        let loaded = loaded.filter(|path| path.join("initstate").exists());
        assert_eq!(module.is_loaded, loaded.is_some(), "{name}");
        if let Some(path) = loaded {
            assert_eq!(path.file_name().unwrap().to_str(), Some(module.name.as_str()), "{name}");
        }
        assert!(module.btf.iter().all(|path| Path::new(path).exists()));
    }
    if on_bus == 0 {
        skipped("no network device here hangs on a bus");
    }
}
