//! What the tests share.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, unshare};
use object::{Object, ObjectSection};
use xhint_btf::{Btf, Kind};
use xhint_layout::Plan;
use xhint_softnic::{Config, Mix, SendOptions, SoftNic, Spread, Traffic};
use xhint_testkit::fixture::Compile;
pub use xhint_testkit::privileged;

/// A device name that no other test has.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("sn{:x}t{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Compiles tests/bpf/NAME for BPF; its layouts are short where the kernel lets little metadata through.
pub fn compile(name: &str) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bpf").join(name);
    std::fs::read(Compile::new(&source).for_room(80).object()).unwrap()
}

/// The BTF of an ELF object.
pub fn btf(elf: &[u8]) -> Btf {
    let file = object::File::parse(elf).unwrap();
    Btf::parse(file.section_by_name(".BTF").unwrap().data().unwrap().to_vec()).unwrap()
}

/// The plan of a struct in a BTF.
pub fn plan(btf: &Btf, name: &str, id: u32) -> Plan {
    let ty = btf.types().find(|t| t.kind() == Kind::Struct && t.name() == name).unwrap();
    Plan::of(btf, ty.id(), name, id).unwrap()
}

/// Removes the device however the test ends.
pub struct Down(pub String);

impl Drop for Down {
    fn drop(&mut self) {
        let _ = SoftNic::down_by_name(&self.0);
    }
}

/// The test's thread gets a namespace of its own, in which the device is to be.
pub fn alone() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
}

pub fn up(plans: &[Plan], mode: Spread) -> (SoftNic, Down) {
    let name = unique();
    let nic = SoftNic::up(&name, &Config::default(), plans, mode).unwrap();
    (nic, Down(name))
}

pub fn mixed(nic: &SoftNic) -> Traffic {
    Traffic::mixed(&Mix { flows: 420, to: nic.mac(), bad_checksums: 10, ..Mix::default() })
}

pub fn send(count: u64) -> SendOptions {
    SendOptions { count: Some(count), ..SendOptions::default() }
}
