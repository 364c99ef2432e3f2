//! What the tests share.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use object::{Object, ObjectSection};
use xhint_btf::{Btf, Kind};
use xhint_layout::Plan;
use xhint_testkit::fixture::Compile;
pub use xhint_testkit::privileged;

/// A device name that no other test has.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("sn{:x}t{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Compiles tests/bpf/NAME for BPF.
pub fn compile(name: &str) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bpf").join(name);
    let machine = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    std::fs::read(Compile::new(&source).argument(machine).object()).unwrap()
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
